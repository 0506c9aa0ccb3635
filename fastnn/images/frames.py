"""Frames, cells and circles that are drawn round digits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from fastnn.images.boxes import Part

_SPANS, _STRAIGHT = 0.7, 0.75
"""Rows and columns of a frame that are inked in this share are its lines; they are this share of its pixels."""
_LEAST_INSIDE = 0.25
"""What is in a loop that is not straight is a digit if it has at least this share of the loop's height; dots in a zero
have less."""
_DUST = 0.03
"""Share of a frame's height; smaller marks in it are dust."""


def without_frames(parts: Sequence[Part], labels: NDArray[np.int32]) -> tuple[list[Part], bool, bool]:
    """Return the parts that are no frames round others.

    Parameters
    ----------
    parts : sequence of Part
        The one with the most ink first.
    labels : ndarray of int32, shape (h, w)
        Number of the part of each pixel.

    Returns
    -------
    parts : list of Part
    is_framed : bool
        Whether there is a frame.
    is_doubtful : bool
        Whether a frame is no rectangle, and may be a zero.
    """
    kept, is_framed, is_doubtful = list(parts), False, False
    # A frame is as large as anything on the picture; each look at one costs a copy of its pixels.
    for part in sorted(parts, key=lambda one: -one.box.width * one.box.height)[:4]:
        inside = [other for other in kept if other is not part and _is_around(part, other)]
        if not inside:
            continue
        box = part.box
        mask = np.isin(labels[box.top : box.bottom, box.left : box.right], part.labels)
        inside = [other for other in inside if _encloses(mask, part, other)]
        highest = max((other.box.height for other in inside), default=0)
        straight = _is_straight(mask)
        if highest >= (_DUST if straight else _LEAST_INSIDE) * box.height:
            kept.remove(part)
            is_framed, is_doubtful = True, is_doubtful or not straight
    return kept, is_framed, is_doubtful


def _is_around(part: Part, other: Part) -> bool:
    outer, inner = part.box, other.box
    return (
        outer.left < inner.left and outer.top < inner.top and outer.right > inner.right and outer.bottom > inner.bottom
    )


def _encloses(mask: NDArray[np.bool_], part: Part, other: Part) -> bool:
    """Return whether a part has ink on all four sides of another; `mask`: the pixels of its box that are its own."""
    left, top = other.box.left - part.box.left, other.box.top - part.box.top
    right, bottom = left + other.box.width, top + other.box.height
    rows, columns = mask[top:bottom], mask[:, left:right]
    sides = rows[:, :left], rows[:, right:], columns[:top], columns[bottom:]
    return all(bool(side.any()) for side in sides)


def _is_straight(mask: NDArray[np.bool_]) -> bool:
    """Return whether a part consists of lines along rows and columns that span it."""
    rows, columns = (mask.mean(axis=axis) >= _SPANS for axis in (1, 0))
    on_lines = mask & (rows[:, None] | columns[None, :])
    return bool(rows.any() and columns.any() and np.count_nonzero(on_lines) >= _STRAIGHT * np.count_nonzero(mask))
