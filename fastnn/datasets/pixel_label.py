"""The label among the columns of a table that are not pixels."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fastnn.datasets.cells import position_name
from fastnn.datasets.delimited import shown
from fastnn.datasets.label_names import INDEX_NAMES, named_labels, plain_name
from fastnn.datasets.pixel_ends import is_index
from fastnn.datasets.pixel_layout import INDEX_OF_PANDAS
from fastnn.datasets.repeated_labels import ENOUGH_ROWS
from fastnn.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fastnn.datasets.pixel_layout import PixelLayout

MARKS = {"0": False, "0.0": False, "false": False, "1": True, "1.0": True, "true": True}
"""Cells of one-hot labels."""
_ONE_HOT_NAME = re.compile(r"(?:labels?|class|target|y|digit|category)(?=[\W_0-9])[\W_]*+(.+)")


@dataclass(frozen=True)
class Label:
    """The column of labels.

    Attributes
    ----------
    positions : tuple of int
        One, or several of a one-hot label; none if there is no label.
    classes : tuple of str
        Names of the classes of a one-hot label.
    how : str
        How it was chosen.
    """

    positions: tuple[int, ...]
    classes: tuple[str, ...] = ()
    how: str = ""


def choose_label(layout: PixelLayout, texts: Mapping[int, Sequence[str]], source: str) -> Label:
    """Return the label among the columns beside the pixels, by their names and values.

    Parameters
    ----------
    layout : PixelLayout
    texts : mapping of int to sequence of str
        The cells of each of its `others`.

    Raises
    ------
    DataError
        If several columns could be the label.
    """
    if layout.label is not None:
        if len(layout.label) > 1:
            classes = tuple(map(str, range(len(layout.label))))
            return Label(layout.label, classes, f"columns of 0 and 1 are the classes 0 to {len(classes) - 1}")
        if not layout.label:
            return Label(())
        return Label(layout.label, (), f"the label is {_described(layout, layout.label[0])}")
    found = label_among({k: layout.names[k] for k in layout.others}, texts, source)
    if len(found.positions) > 1:
        first, *_, last = found.positions
        how = f"columns {shown(layout.names[first])} to {shown(layout.names[last])} of 0 and 1 are the classes"
    elif found.positions:
        how = f"the label is {_described(layout, found.positions[0])}{', ' if found.how else ''}{found.how}"
    else:
        how = ""
    return replace(found, how=how)


def label_among(
    names: Mapping[int, str], texts: Mapping[int, Sequence[str]], source: str, choose: str = "choose one with --target"
) -> Label:
    """Return the label among columns that are not images, by their names and values; none if no column can be it.

    Parameters
    ----------
    names : mapping of int to str
        Names of the columns by position; any texts if they have none.
    texts : mapping of int to sequence of str
        The cells of each.
    source : str
    choose : str
        What to do if it is not clear.

    Raises
    ------
    DataError
        If several columns could be the label.
    """
    lower = {k: name.strip().casefold() for k, name in names.items()}
    named = named_labels(names, texts)
    if len(named) > 1:
        found = ", ".join(shown(names[k]) for k in named)
        raise DataError(f"{source}: {len(named)} columns could be the label; {choose} ({found})")
    if named:
        return Label((named[0],))
    one_hot = {k: names[k].strip()[match.start(1) :] for k in names if (match := _ONE_HOT_NAME.fullmatch(lower[k]))}
    if len(one_hot) > 1:
        return Label(tuple(one_hot), tuple(one_hot.values()))
    left = [k for k in names if lower[k] not in INDEX_OF_PANDAS and not is_index(texts[k])]
    if len(left) > 1 or len(texts[left[0]] if left else ()) < ENOUGH_ROWS:
        left = [k for k in left if plain_name(names[k]) not in INDEX_NAMES]
    if len(left) > 1 and _has_one_mark([texts[k] for k in left]):
        return Label(tuple(left), tuple(names[k].strip() for k in left))
    if len(left) > 1:
        found = ", ".join(shown(names[k]) for k in left[:8])
        raise DataError(f"{source}: no column is named label; {choose} ({found})")
    return Label((left[0],), (), "the only one that can be") if left else Label(())


def marked(row: Sequence[str]) -> int | None:
    """Return the position of the only mark among the cells of a one-hot label; None if they are no such label."""
    marks = [MARKS.get(cell.strip().lower()) for cell in row]
    return marks.index(True) if None not in marks and marks.count(True) == 1 else None


def _has_one_mark(columns: Sequence[Sequence[str]]) -> bool:
    """Return whether in each row one column has a mark and the others have none."""
    return all(marked(row) is not None for row in zip(*columns, strict=True))


def _described(layout: PixelLayout, position: int) -> str:
    """Return name and place of a column."""
    n = len(layout.names)
    place = {0: "the first", n - 1: "the last"}.get(position, f"number {position + 1}")
    if not layout.is_header or layout.names[position] == position_name(position):
        return f"{place} of {n:,} columns"
    return f"the column {shown(layout.names[position])}, {place} of {n:,}"
