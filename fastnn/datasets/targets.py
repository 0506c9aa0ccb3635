"""Targets of a table: what is to be learned, and how that is decided if it was not given."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn.datasets.delimited import is_number, shown
from fastnn.datasets.labels import check_classes
from fastnn.datasets.repeated_labels import ENOUGH_ROWS
from fastnn.errors import DataError
from fastnn.network import OUTPUTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from fastnn.network import Task

TASKS = tuple(OUTPUTS)

_WHOLE = re.compile(r"-?(0|[1-9][0-9]{0,17})(\.0*)?")
"""Whole numbers, also as spreadsheets and pandas write them: 1.0."""
_FEW = 20
"""Most different whole numbers that are taken for classes."""
_MOST_CLASSES = 1 << 16
_TRUTH = {"false": 0.0, "true": 1.0, "no": 0.0, "yes": 1.0}


@dataclass(frozen=True, eq=False)
class TargetColumn:
    """A column to learn: numbers, or texts.

    Attributes
    ----------
    name : str
    numbers : ndarray or None, shape (n,)
        Integers or floats; None for texts.
    texts : tuple of str
        The different texts, in order.
    codes : ndarray of int64, shape (n,)
        The position of each row's text in `texts`.
    """

    name: str
    numbers: NDArray[Any] | None
    texts: tuple[str, ...] = ()
    codes: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))

    @property
    def is_whole(self) -> bool:
        """Whether all values are whole numbers."""
        numbers = self.numbers
        return numbers is not None and bool(
            numbers.dtype.kind in "iu" or (np.isfinite(numbers) & (numbers == np.floor(numbers))).all()
        )


@dataclass(frozen=True, eq=False)
class Targets:
    """Targets as :class:`fastnn.datasets.Dataset` holds them.

    Attributes
    ----------
    values : ndarray
        As `targets` of a data set.
    names : tuple of str
    notes : tuple of str
        How the task was decided, if it was not given.
    """

    values: NDArray[Any]
    names: tuple[str, ...]
    notes: tuple[str, ...] = ()


def check_task(task: str | None) -> None:
    """Raise a DataError if `task` is neither None nor the name of a task."""
    if task is not None and task not in TASKS:
        raise DataError(f"task {task[:40]!r} is unknown; choose {', '.join(TASKS[:-1])} or {TASKS[-1]}")


def make_targets(columns: Sequence[TargetColumn], task: str | None, source: str) -> Targets:
    """Return the targets that some columns hold.

    Parameters
    ----------
    columns : sequence of TargetColumn
        At least one.
    task : {"classification", "multilabel", "regression"}, optional
        By default decided by the columns: one of texts, or of at most 20 different whole numbers that occur twice on
        average, is classification; several of 0 and 1 are multilabel; all others are regression.
    source : str
        What error messages call the data.

    Raises
    ------
    DataError
        If the columns do not hold what the task needs.
    """
    check_task(task)
    notes: tuple[str, ...] = ()
    if task is None:
        task, note = _decide(columns, source)
        notes = (note,)
    if task == "classification":
        values, names = _classes(columns, source)
        return Targets(values, names, notes)
    names = tuple(column.name for column in columns)
    if task == "multilabel":
        labels = np.stack([_zeros_and_ones(column, source) for column in columns], axis=1)
        return Targets(labels, names, notes)
    numbers = np.stack([_numbers(column, source) for column in columns], axis=1)
    return Targets(numbers.astype(np.float64), names, notes)


def _decide(columns: Sequence[TargetColumn], source: str) -> tuple[Task, str]:
    """Return the task, and a note that says how it was decided."""
    if len(columns) > 1:
        named = f"targets {', '.join(shown(column.name) for column in columns[:5])}{'...' if len(columns) > 5 else ''}"
        if all(_is_zeros_and_ones(column) for column in columns):
            return "multilabel", f"{named} are 0 or 1: the task is multilabel (or give --task regression)"
        for column in columns:
            _numbers(column, source)
        return "regression", f"{named} are numbers: the task is regression"
    column = columns[0]
    named = f"target {shown(column.name)}"
    if column.numbers is None:
        n = len(column.texts)
        if n == len(column.codes) >= ENOUGH_ROWS:
            raise DataError(
                f"{source}: {named} holds another text in each of the {n:,} rows, as names of the rows; choose another "
                "with --target, or give --task classification if they are classes"
            )
        counted = f"{n:,} class{'' if n == 1 else 'es'}"
        return "classification", f"{named} holds texts: the task is classification ({counted})"
    different = len(np.unique(column.numbers))
    if column.is_whole and different <= min(_FEW, max(2, len(column.numbers) // 2)):
        low, high = int(column.numbers.min()), int(column.numbers.max())
        return "classification", (
            f"{named} holds whole numbers from {low} to {high}, {different} different: the task is classification (or "
            "give --task regression)"
        )
    other = " (or give --task classification)" if column.is_whole else ""
    return "regression", f"{named} holds numbers: the task is regression{other}"


def _classes(columns: Sequence[TargetColumn], source: str) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return class indices and names: whole numbers in the order of their values, and texts in that of the alphabet."""
    if len(columns) > 1:
        raise DataError(
            f"{source}: classification has one target, not {len(columns)}; several columns of 0 and 1 are multilabel"
        )
    column = columns[0]
    numbers = column.numbers
    if numbers is None and all(map(_WHOLE.fullmatch, column.texts)):
        numbers = np.array([int(text.partition(".")[0]) for text in column.texts])[column.codes]
    elif numbers is None and all(map(is_number, column.texts)):
        # As texts, 0.5 and 0.50 would be two classes; 007 and 7 may be meant so.
        values = [float(text) for text in column.texts]
        numbers = None if all(map(float.is_integer, values)) else np.array(values)
    if numbers is None:
        names, indices = column.texts, column.codes
    else:
        if not TargetColumn(column.name, numbers).is_whole:
            example = next(value for value in numbers.tolist() if not float(value).is_integer())
            raise DataError(
                f"{source}: target {shown(column.name)} holds numbers that are not whole, such as {example}, which "
                "cannot be classes; choose the task regression"
            )
        unique, positions = np.unique(numbers, return_inverse=True)
        names, indices = tuple(str(int(value)) for value in unique.tolist()), positions.astype(np.int64)
    if len(names) > _MOST_CLASSES:
        raise DataError(
            f"{source}: target {shown(column.name)} has {len(names):,} classes; at most {_MOST_CLASSES:,} can be "
            "learned; choose the task regression, or another target"
        )
    check_classes(names, source)
    return indices, names


def _is_zeros_and_ones(column: TargetColumn) -> bool:
    if column.numbers is None:
        return {text.lower() for text in column.texts} <= _TRUTH.keys()
    return bool(np.isin(column.numbers, (0, 1)).all())


def _zeros_and_ones(column: TargetColumn, source: str) -> NDArray[np.uint8]:
    if not _is_zeros_and_ones(column):
        raise DataError(
            f"{source}: target {shown(column.name)} must hold 0 and 1, or true and false, for the task multilabel"
        )
    if column.numbers is None:
        return np.array([_TRUTH[text.lower()] for text in column.texts], dtype=np.uint8)[column.codes]
    return column.numbers.astype(np.uint8)


def _numbers(column: TargetColumn, source: str) -> NDArray[Any]:
    if column.numbers is None:
        raise DataError(
            f"{source}: target {shown(column.name)} holds texts, such as {shown(column.texts[0])}, but a regression "
            "needs numbers"
        )
    return column.numbers
