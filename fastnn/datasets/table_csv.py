"""Writing tables as CSV and TSV files."""

from __future__ import annotations

import csv
import io
import shlex
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from fastnn.datasets.cells import MOST_CELLS, is_category
from fastnn.datasets.columns import Column
from fastnn.datasets.delimited import is_number, shown
from fastnn.datasets.sparse import SparseRows
from fastnn.datasets.table import TARGET_NAMES
from fastnn.datasets.table_arrays import check_names
from fastnn.datasets.targets import TargetColumn, make_targets
from fastnn.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import BinaryIO

    from numpy.typing import NDArray

    from fastnn.datasets.dataset import Dataset

_CELLS_AT_ONCE = 1 << 20
_SHOWN = 20


def table_notes(dataset: Dataset) -> list[str]:
    """Return how a table is read back from a CSV file, and which of its parts such a file cannot hold.

    Raises
    ------
    DataError
        If it could not be read back at all.
    """
    columns, targets = _names(dataset), _target_names(dataset)
    source = dataset.source
    _check_texts((*(column.name for column in columns), *targets), "column", source)
    for name in (*(column.name for column in columns), *targets):
        if is_number(name):
            raise DataError(f"{source}: the name {shown(name)} would be read back as a number; write it as .npz")
    for column in columns:
        _check_texts(column.categories or (), f"category of column {shown(column.name)}", source)
        wrong = [text for text in column.categories or () if not is_category(text)]
        if wrong:
            raise DataError(
                f"{source}: category {shown(wrong[0])} of column {shown(column.name)} would be read back as a number; "
                "write it as .npz"
            )
    if len(dataset) * (len(columns) + len(targets)) > MOST_CELLS:
        raise DataError(f"{source}: has too many cells for a text file; write it as .npz")
    options = " ".join(f"--target {shlex.quote(name)}" for name in targets)
    notes = [f"read it back with {options} --task {dataset.task}"]
    lost = [column.name for column, kept in zip(columns, _categories_kept(dataset, columns), strict=True) if not kept]
    if lost:
        more = ", ..." if len(lost) > _SHOWN else ""
        notes.append(
            f"the categories of {', '.join(map(shown, lost[:_SHOWN]))}{more} will be read back in alphabetical order, "
            "without those that no row has; .npz keeps them"
        )
    if dataset.task == "classification":
        _check_texts(dataset.names, "class", source)
        used = tuple(sorted({dataset.names[label] for label in dataset.labels.tolist()}))
        read = make_targets(
            [TargetColumn("target", None, used, np.arange(len(used), dtype=np.int64))], "classification", source
        )
        if read.names != dataset.names:
            notes.append(f"the classes will be read back as {_some(read.names)}; .npz keeps {_some(dataset.names)}")
    return notes


def _check_texts(texts: Sequence[str], what: str, source: str) -> None:
    check_names(texts, what, source)
    for text in texts:
        if text != text.strip():
            raise DataError(f"{source}: the blanks around {shown(text)} would be lost in a text file; write it as .npz")


def _categories_kept(dataset: Dataset, columns: tuple[Column, ...]) -> list[bool]:
    """Return for each column whether its categories are the same when they are read back."""
    if all(column.categories is None for column in columns):
        return [True] * len(columns)
    features = dataset.features
    if isinstance(features, SparseRows):
        end = features.row_starts[-1]
        used = np.bincount(features.indices[:end], features.values[:end] != 0, features.n_columns) > 0
    else:
        used = (features != 0).any(axis=0)
    kept, start = [], 0
    for column in columns:
        texts = column.categories or ()
        kept.append(bool(used[start : start + len(texts)].all()) and list(texts) == sorted(texts))
        start += column.width
    return kept


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")


def _names(dataset: Dataset) -> tuple[Column, ...]:
    if dataset.columns is not None:
        return dataset.columns
    return tuple(Column(f"column {k + 1}") for k in range(dataset.n_inputs))


def _target_names(dataset: Dataset) -> tuple[str, ...]:
    """Return the names of the columns that hold the targets."""
    if dataset.task != "classification":
        return dataset.names
    taken = {column.name.lower() for column in dataset.columns or ()}
    # The target's name in its file; a number is a position in a file without names.
    given = [name for name in dataset.target or () if not is_number(name)]
    names = (*given, *TARGET_NAMES, *(f"target {k}" for k in range(2, len(taken) + 3)))
    return (next(name for name in names if name.lower() not in taken),)


def write_table(dataset: Dataset, file: BinaryIO, delimiter: str = ",") -> None:
    """Write a table below a row of the names of its columns, without its test set.

    Parameters
    ----------
    dataset : Dataset
        For which :func:`table_notes` raises no error.
    file : binary file
    delimiter : str

    Raises
    ------
    DataError
        If a row has no category or several in a column of categories.
    """
    columns = _names(dataset)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n", delimiter=delimiter)
    writer.writerow([*(column.name for column in columns), *_target_names(dataset)])
    file.write(text.getvalue().encode())
    for rows, targets in _blocks(dataset):
        if all(column.categories is None for column in columns) and dataset.task != "classification":
            # As shortest numbers that are read back the same.
            lines = msgspec.json.encode(np.hstack([rows, targets]).tolist())[2:-2].replace(b"],[", b"\n")
            file.write(lines.replace(b",", delimiter.encode()) + b"\n")
            continue
        text.seek(text.truncate(0))
        cells = [*_cells(rows, columns, dataset.source), *_target_cells(targets, dataset)]
        writer.writerows(zip(*cells, strict=True))
        file.write(text.getvalue().encode())


def _blocks(dataset: Dataset) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """Yield some rows at a time as float64, and their targets."""
    at_once = max(1, _CELLS_AT_ONCE // dataset.n_inputs)
    for start in range(0, len(dataset), at_once):
        positions = np.arange(start, min(start + at_once, len(dataset)))
        features = dataset.features
        rows = features.take(positions).toarray() if isinstance(features, SparseRows) else features[positions]
        yield rows.astype(np.float64), dataset.targets[positions]


def _cells(rows: NDArray[np.float64], columns: tuple[Column, ...], source: str) -> list[list[Any]]:
    """Return the cells of each column."""
    cells: list[list[Any]] = []
    start = 0
    for column in columns:
        part = rows[:, start : start + column.width]
        start += column.width
        if column.categories is None:
            cells.append(part[:, 0].tolist())
            continue
        if ((part != 0) & (part != 1)).any() or (part.sum(axis=1) != 1).any():
            raise DataError(
                f"{source}: a row has not exactly one category in column {shown(column.name)}; write it as .npz"
            )
        cells.append([column.categories[k] for k in part.argmax(axis=1).tolist()])
    return cells


def _target_cells(targets: NDArray[Any], dataset: Dataset) -> list[list[Any]]:
    if dataset.task == "classification":
        return [[dataset.names[label] for label in targets.tolist()]]
    return list(targets.T.tolist())
