"""Connected parts of what is drawn on a picture, and the digits that they belong to, in reading order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastnn.images.boxes import Box, Part
from fastnn.images.lines import in_reading_order

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_DUST = 0.02
"""Parts with less than this share of the ink of the largest one are dust."""
_LOW = 0.4
"""Parts lower than this share of the highest are not digits of their own: hats, dots, dashes, letters beside."""
_FLAT = 4
"""Parts more than so many times wider than high are dashes and underlines, not digits."""
_NEAR = 0.12
"""A small part belongs to a digit that is nearer than this share of the digit's height."""
_GAP = 0.018
"""Gaps in a stroke up to twice this share of the height of what is drawn are closed; a fast mouse leaves them."""
MOST_PARTS = 1000
"""Parts that are looked at, those with the most ink first: the time grows with the square of their number."""


def labelled(inked: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Return the number of the connected part of each pixel, from 1; 0 where there is no ink.

    Pixels that share a corner are connected.

    Parameters
    ----------
    inked : ndarray of bool, shape (h, w)

    Returns
    -------
    ndarray of int32, shape (h, w)
    """
    edges = np.diff(np.pad(inked, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    rows, starts = np.nonzero(edges == 1)
    ends = np.nonzero(edges == -1)[1]
    parents = list(range(len(rows)))

    def root(run: int) -> int:
        while parents[run] != run:
            parents[run] = parents[parents[run]]
            run = parents[run]
        return run

    first_of_row = np.searchsorted(rows, np.arange(inked.shape[0] + 1)).tolist()
    begin, end = starts.tolist(), ends.tolist()
    for row in range(1, inked.shape[0]):
        above, run = first_of_row[row - 1], first_of_row[row]
        while above < first_of_row[row] and run < first_of_row[row + 1]:
            if begin[above] <= end[run] and begin[run] <= end[above]:
                a, b = root(above), root(run)
                parents[max(a, b)] = min(a, b)
            if end[above] < end[run]:
                above += 1
            else:
                run += 1
    roots = np.array([root(run) for run in range(len(rows))], dtype=np.int64)
    number = np.unique(roots, return_inverse=True)[1] + 1
    result = np.zeros(inked.shape, dtype=np.int32)
    lengths = ends - starts
    offsets = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    result[np.repeat(rows, lengths), np.repeat(starts, lengths) + offsets] = np.repeat(number, lengths)
    return result


def close_gaps(
    parts: list[Part], labels: NDArray[np.int32], ink: NDArray[np.uint8]
) -> tuple[list[Part], NDArray[np.int32]]:
    """Return the parts after small gaps between them were closed, and a new map of :func:`labelled`.

    Pixels of other parts keep numbers of their own in the map.
    """
    reach = int(_GAP * max((part.box.height for part in parts), default=0) + 0.3)
    if not 2 <= len(parts) <= MOST_PARTS or not reach:
        return parts, labels
    inked = np.isin(labels, [number for part in parts for number in part.labels])
    joined = np.where(inked, labelled(_widened(inked, reach)), 0).astype(np.int32)
    others = np.where(inked | (labels == 0), 0, labels + joined.max()).astype(np.int32)
    return parts_of(joined, ink), joined + others


def _widened(inked: NDArray[np.bool_], reach: int) -> NDArray[np.bool_]:
    """Return which pixels have ink within `reach` rows and columns."""
    for _ in range(2):
        # The number of inked pixels in a window is a difference of sums; then the same along the other axis.
        sums = np.pad(inked, ((reach + 1, reach), (0, 0))).cumsum(axis=0, dtype=np.int32)
        inked = (sums[2 * reach + 1 :] > sums[: -2 * reach - 1]).T
    return inked


def parts_of(labels: NDArray[np.int32], ink: NDArray[np.uint8]) -> list[Part]:
    """Return the connected parts of a map of :func:`labelled`, the one with the most ink first."""
    n = int(labels.max(initial=0))
    if not n:
        return []
    ys, xs = np.nonzero(labels)
    numbers = labels[ys, xs]
    mass = np.bincount(numbers, ink[ys, xs], n + 1)
    low, high = (np.full((2, n + 1), np.iinfo(np.int64).max), np.full((2, n + 1), -1))
    for axis, places in enumerate((xs, ys)):
        np.minimum.at(low[axis], numbers, places)
        np.maximum.at(high[axis], numbers, places)
    boxes = [
        Box(*(int(one) for one in (low[0, k], low[1, k], high[0, k] + 1, high[1, k] + 1))) for k in range(1, n + 1)
    ]
    parts = [Part(box, float(mass[k]), (k,)) for k, box in enumerate(boxes, start=1)]
    return sorted(parts, key=lambda part: -part.mass)


def digits_of(parts: Sequence[Part]) -> tuple[list[Part], list[Part]]:
    """Return the digits that parts belong to, in reading order, and the parts that belong to none.

    A part that is much lower than the highest belongs to the digit that it is near to or stands above, as the hat of
    a five does.

    Parameters
    ----------
    parts : sequence of Part
        The one with the most ink first.
    """
    kept = [part for part in parts if part.mass >= _DUST * parts[0].mass]
    kept, left = kept[:MOST_PARTS], kept[MOST_PARTS:]
    highest = max(_extent(part) for part in kept)
    digits = [part for part in kept if _extent(part) >= _LOW * highest]
    for part in (part for part in kept if _extent(part) < _LOW * highest):
        near = min(digits, key=lambda digit: digit.box.gap(part.box))
        if _belongs(part, near):
            digits[digits.index(near)] = near.joined(part)
        else:
            left.append(part)
    digits = _joined_strokes(digits)
    return in_reading_order(digits), left


def _extent(part: Part) -> int:
    """Return the size that decides whether a part is a digit of its own; a flat stroke is only as large as high."""
    flat = part.box.width > _FLAT * part.box.height
    return part.box.height if flat else max(part.box.height, part.box.width // 2)


def _belongs(part: Part, digit: Part) -> bool:
    """Return whether a small part is one of a digit."""
    gap, height = digit.box.gap(part.box), digit.box.height
    if gap < _NEAR * height:
        return True
    overlap = min(part.box.right, digit.box.right) - max(part.box.left, digit.box.left)
    return overlap > 0.5 * part.box.width and gap < 2.5 * _NEAR * height


def _joined_strokes(digits: list[Part]) -> list[Part]:
    """Join parts of similar height whose boxes overlap so much that they are strokes of one digit."""
    digits = sorted(digits, key=lambda part: -part.mass)
    done: list[Part] = []
    for part in digits:
        for k, other in enumerate(done):
            across = min(part.box.right, other.box.right) - max(part.box.left, other.box.left)
            down = min(part.box.bottom, other.box.bottom) - max(part.box.top, other.box.top)
            narrow, low = min(part.box.width, other.box.width), min(part.box.height, other.box.height)
            near = down > -_NEAR * max(part.box.height, other.box.height)
            if across > 0.5 * narrow and near and low > 0:
                done[k] = other.joined(part)
                break
        else:
            done.append(part)
    return done
