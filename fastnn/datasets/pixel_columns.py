"""Which columns of a text table are the pixels of images."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fastnn.datasets.pixel_ends import unnamed_pixels
from fastnn.datasets.pixel_layout import AS_NUMBERS, LARGEST_SIDE, MOST_OTHERS, SMALLEST_SIDE
from fastnn.datasets.pixel_names import named_pixels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastnn.datasets.delimited import DelimitedText
    from fastnn.datasets.pixel_layout import PixelLayout


def find_pixels(
    text: DelimitedText, wanted: Sequence[str] = (), task: str | None = None, *, needs_label: bool = True
) -> tuple[PixelLayout | None, tuple[str, ...]]:
    """Return which columns of a table are pixels, or None if it is a table of other numbers, and notes on that.

    Columns are pixels if they are named so, with numbers or with row and column; or if a table without names has 784
    columns beside a label at one of its ends.

    Parameters
    ----------
    text : DelimitedText
    wanted : sequence of str
        The target that the user gave: name, or position from 1 in a table without names.
    task : str, optional
        Images have classes: with another task the columns are numbers.
    needs_label : bool
        Whether a table without a label is an error.

    Raises
    ------
    DataError
        If the columns are named as pixels but not each once, or it is not clear which one is the label.
    """
    n = len(text.first)
    if not SMALLEST_SIDE**2 <= n <= LARGEST_SIDE**2 + MOST_OTHERS:
        return None, ()
    is_classes = task in (None, "classification")
    layout, notes = named_pixels(text)
    if layout is None:
        if notes or not is_classes:
            return None, notes
        return unnamed_pixels(text, wanted, needs_label=needs_label)
    if not is_classes:
        return None, (f"images have classes, but the task is {task}: {AS_NUMBERS}",)
    if not wanted:
        return layout, ()
    named = {layout.names[k]: k for k in layout.others}
    if len(wanted) > 1 or wanted[0] not in named:
        return None, (f"the target is not one of the columns beside the {len(layout.order):,} pixels: {AS_NUMBERS}",)
    return replace(layout, label=(named[wanted[0]],)), ()
