"""Digits that touch each other, cut apart where their strokes are thinnest."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from fastnn.images.boxes import Box, Part
from fastnn.images.parts import MOST_PARTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_WIDE = 1.25
"""Drawings that are more times wider than high than this may be several digits; 1.7 % of MNIST's digits are."""
_USUAL = 0.9
"""Digits beside others are wider than a digit only if they are wider than one with this share of the highest one's
height: a flat zero is as wide as others are high."""
_THICK = 3.0
"""A digit is at least so many line widths high; lower marks are dashes."""
_CROSSED = 1.0
"""A cut crosses at most so many line widths of ink: one stroke, or the place where two touch. Of 2,500 digits of MNIST
this cuts 6, of 197 wide pairs that touch 166."""
_NARROW, _LOW = 0.2, 0.8
"""Least width and height of a piece, as shares of the height of all."""
_SURELY, _SURELY_CROSSED, _SURELY_LOW = 1.6, 1.7, 0.5
"""The same for drawings that stand beside others, or are so many times wider than high: they are several digits."""
_MAYBE, _MAYBE_CROSSED = 0.85, 0.8
"""A drawing at least so many times wider than high may be two narrow digits, if a cut crosses so little ink: 1 % of
MNIST's digits, and 65 % of the narrow pairs that touch."""
_MOST_CUTS = 12


def cut_apart(parts: Sequence[Part], labels: NDArray[np.int32], ink: NDArray[np.uint8]) -> tuple[list[Part], int, int]:
    """Cut parts that are wider than a digit into digits.

    Parameters
    ----------
    parts : sequence of Part
    labels : ndarray of int32, shape (h, w)
        Number of the part of each pixel; changed where a part is cut.
    ink : ndarray of uint8, shape (h, w)

    Returns
    -------
    parts : list of Part
        The one with the most ink first.
    n_cuts : int
    n_doubtful : int
        Parts that may be several digits, and were not cut.
    """
    if len(parts) > MOST_PARTS:
        return list(parts), 0, 0
    done: list[Part] = []
    highest = max((part.box.height for part in parts), default=0)
    is_sheet = sum(2 * part.box.height >= highest for part in parts) > 1
    waiting, n_cuts, n_doubtful = list(parts), 0, 0
    while waiting:
        part = waiting.pop()
        box = part.box
        right = None
        if len(part.labels) == 1 and 2 * box.height >= highest and box.width > _MAYBE * box.height:
            mask = labels[box.top : box.bottom, box.left : box.right] == part.labels[0]
            width = _line_width(mask)
            is_wide = box.width > _WIDE * max(box.height, _USUAL * highest)
            if box.height >= _THICK * width and n_cuts < _MOST_CUTS:
                right = _right_of_cut(mask, width * (_CROSSED if is_wide else _MAYBE_CROSSED), _LOW)
                if right is None and is_wide and (is_sheet or box.width > _SURELY * box.height):
                    right = _right_of_cut(mask, width * _SURELY_CROSSED, _SURELY_LOW)
                n_doubtful += (right is None) == is_wide
            right = right if is_wide else None
        if right is None:
            done.append(part)
        else:
            n_cuts += 1
            waiting += _pieces(part, mask, right, labels, ink)
    return sorted(done, key=lambda part: -part.mass), n_cuts, n_doubtful


def _line_width(mask: NDArray[np.bool_]) -> float:
    """Return the width of the lines: twice their area divided by the length of their outline."""
    padded = np.pad(mask, 1)
    edges = np.count_nonzero(padded[1:] != padded[:-1]) + np.count_nonzero(padded[:, 1:] != padded[:, :-1])
    return 2.0 * np.count_nonzero(mask) / max(edges * np.pi / 4.0, 1.0)


def _right_of_cut(mask: NDArray[np.bool_], most: float, low: float) -> NDArray[np.bool_] | None:
    """Return which pixels are right of the best cut from top to bottom; None if no cut makes two digits.

    The cut is the path that crosses the least ink, and at most as many pixels as `most`, found row by row (dynamic
    programming), at most 45 degrees off the vertical.
    """
    height, width = mask.shape
    first, last = round(_NARROW * height), width - round(_NARROW * height)
    if last - first < 2:
        return None
    # Leaning costs a little, so that of equal paths the straight one is taken.
    cost = mask[:, first:last].astype(np.float64)
    total, came_from = cost[0], np.zeros(cost.shape, np.int8)
    for row in range(1, height):
        padded = np.pad(total, 1, constant_values=np.inf)
        steps = np.stack([padded[1:-1], padded[:-2] + 0.02, padded[2:] + 0.02])
        best = steps.argmin(axis=0)
        came_from[row] = np.array([0, -1, 1], np.int8)[best]
        total = steps[best, np.arange(len(total))] + cost[row]
    apart = max(1, round(0.1 * height))
    tried: list[int] = []
    for end in np.argsort(total, kind="stable"):
        if total[end] > most + 0.02 * height or len(tried) == 8:
            break
        if any(abs(int(end) - other) < apart for other in tried):
            continue
        tried.append(int(end))
        path = np.empty(height, np.int64)
        path[-1] = end
        for row in range(height - 1, 0, -1):
            path[row - 1] = path[row] + came_from[row, path[row]]
        right: NDArray[np.bool_] = np.arange(width)[None, :] >= (path + first)[:, None]
        if all(_is_digit(piece, low * height, 0.5 * _NARROW * height) for piece in (mask & right, mask & ~right)):
            return right
    return None


def _is_digit(piece: NDArray[np.bool_], height: float, width: float) -> bool:
    """Return whether a piece is at least so high and wide."""
    rows, columns = (np.flatnonzero(piece.any(axis=axis)) for axis in (1, 0))
    return bool(len(rows) and np.ptp(rows) + 1 >= height and np.ptp(columns) + 1 >= width)


def _pieces(
    part: Part, mask: NDArray[np.bool_], right: NDArray[np.bool_], labels: NDArray[np.int32], ink: NDArray[np.uint8]
) -> list[Part]:
    """Return the two pieces of a part; the right one gets a new number in the map of labels."""
    number = int(labels.max()) + 1
    rows, columns = slice(part.box.top, part.box.bottom), slice(part.box.left, part.box.right)
    view = labels[rows, columns]
    view[mask & right] = number
    pieces = []
    for label, piece in ((part.labels[0], mask & ~right), (number, mask & right)):
        ys, xs = np.nonzero(piece)
        box = Box(
            part.box.left + int(xs.min()),
            part.box.top + int(ys.min()),
            part.box.left + int(xs.max()) + 1,
            part.box.top + int(ys.max()) + 1,
        )
        pieces.append(replace(part, box=box, mass=float(ink[rows, columns][piece].sum()), labels=(label,)))
    return pieces
