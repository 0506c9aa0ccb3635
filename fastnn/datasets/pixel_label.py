"""The label among the columns of a text table that are not pixels."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastnn.datasets.cells import position_name
from fastnn.datasets.delimited import shown
from fastnn.datasets.pixel_ends import is_index
from fastnn.datasets.pixel_layout import INDEX_OF_PANDAS
from fastnn.datasets.repeated_labels import ENOUGH_ROWS
from fastnn.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fastnn.datasets.pixel_layout import PixelLayout

LABEL_NAMES = (
    ("label", "class", "target", "y"),
    ("labels", "classes", "targets", "digit", "digits", "category", "letter"),
)
"""Names of the column of labels; the second ones count if there is none of the first."""
INDEX_NAMES = (
    *("id", "index", "idx", "no", "nr", "row", "#", "filename", "file", "file_name", "filepath", "path", "name"),
    *("image", "image_id", "imageid", "image_name", "img", "uid", "uuid"),
)
"""Names of columns that number or name the rows."""
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
    lower = {k: layout.names[k].casefold() for k in layout.others}
    for usual in LABEL_NAMES:
        named = [k for k in layout.others if lower[k] in usual]
        if len(named) > 1 and any(list(texts[k]) != list(texts[named[0]]) for k in named):
            found = ", ".join(shown(layout.names[k]) for k in named)
            raise DataError(f"{source}: {len(named)} columns could be the label; choose one with --target ({found})")
        if named:
            return Label((named[0],), (), f"the label is {_described(layout, named[0])}")
    one_hot = {
        k: layout.names[k][match.start(1) :] for k in layout.others if (match := _ONE_HOT_NAME.fullmatch(lower[k]))
    }
    if len(one_hot) > 1:
        return _one_hot(layout, one_hot)
    left = [k for k in layout.others if lower[k] not in INDEX_OF_PANDAS and not is_index(texts[k])]
    if len(left) > 1 or len(texts[left[0]] if left else ()) < ENOUGH_ROWS:
        left = [k for k in left if lower[k] not in INDEX_NAMES]
    if len(left) > 1 and _has_one_mark([texts[k] for k in left]):
        return _one_hot(layout, {k: layout.names[k] for k in left})
    if len(left) > 1:
        found = ", ".join(shown(layout.names[k]) for k in left[:8])
        raise DataError(f"{source}: no column is named label; choose one with --target ({found})")
    if not left:
        return Label(())
    return Label((left[0],), (), f"the label is {_described(layout, left[0])}, the only one that can be")


def _one_hot(layout: PixelLayout, classes: Mapping[int, str]) -> Label:
    """Return a one-hot label of these columns, by position, and their classes."""
    first, *_, last = classes
    how = f"columns {shown(layout.names[first])} to {shown(layout.names[last])} of 0 and 1 are the classes"
    return Label(tuple(classes), tuple(classes.values()), how)


def _has_one_mark(columns: Sequence[Sequence[str]]) -> bool:
    """Return whether in each row one column has a mark and the others have none."""
    return all(
        None not in marks and sum(map(bool, marks)) == 1
        for marks in ([MARKS.get(cell.lower()) for cell in row] for row in zip(*columns, strict=True))
    )


def _described(layout: PixelLayout, position: int) -> str:
    """Return name and place of a column."""
    n = len(layout.names)
    place = {0: "the first", n - 1: "the last"}.get(position, f"number {position + 1}")
    if not layout.is_header or layout.names[position] == position_name(position):
        return f"{place} of {n:,} columns"
    return f"the column {shown(layout.names[position])}, {place} of {n:,}"
