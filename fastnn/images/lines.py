"""The lines of digits on a sheet, and the order in which they are read."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastnn.images.boxes import Box, Part

_SAME_LINE = 0.25
"""A digit belongs to a line if it and the line's last digit have this share of the lower one's height in common."""

_FAR = 0.1
"""How much of the height in common a distance of one height to the end of a line takes away."""


def in_reading_order(digits: Sequence[Part]) -> list[Part]:
    """Return digits line by line, each from left to right.

    Each digit belongs to the line whose last digit stands beside it. So lines may rise, fall and be uneven.
    """
    lines: list[list[Part]] = []
    for digit in sorted(digits, key=lambda one: one.box.left):
        beside = [line for line in lines if _beside(line[-1].box, digit.box) > _SAME_LINE]
        if beside:
            max(beside, key=partial(_fitness, digit)).append(digit)
        else:
            lines.append([digit])
    lines = _joined(lines)
    slopes = [_slope(left.box, right.box) for line in lines for left, right in pairwise(line)]
    slope = float(np.median(slopes)) if slopes else 0.0
    lines.sort(key=lambda line: sum(_middle(one.box)[1] - slope * _middle(one.box)[0] for one in line) / len(line))
    return [digit for line in lines for digit in line]


def _fitness(digit: Part, line: list[Part]) -> float:
    """Return how well a digit fits a line: the share of the height in common, less with distance."""
    last = line[-1].box
    return _beside(last, digit.box) - _FAR * max(digit.box.left - last.right, 0) / digit.box.height


def _beside(left: Box, right: Box) -> float:
    """Return the share of the height that two boxes have in common; 0 if one stands above the other."""
    across = min(left.right, right.right) - max(left.left, right.left)
    if across > 0.5 * min(left.width, right.width):
        return 0.0
    return (min(left.bottom, right.bottom) - max(left.top, right.top)) / min(left.height, right.height)


def _joined(lines: list[list[Part]]) -> list[list[Part]]:
    """Join lines that are one uneven line: they share rows, and nothing of one stands above the other."""
    result: list[list[Part]] = []
    for line in lines:
        for other in result:
            if _beside(_bounds(line), _bounds(other)) > _SAME_LINE or _interleaved(line, other):
                other[:] = sorted([*other, *line], key=lambda one: one.box.left)
                break
        else:
            result.append(line)
    return result


def _interleaved(line: list[Part], other: list[Part]) -> bool:
    """Return whether two lines share rows and no columns."""
    first, second = _bounds(line), _bounds(other)
    down = min(first.bottom, second.bottom) - max(first.top, second.top)
    if down <= _SAME_LINE * min(one.box.height for one in (*line, *other)):
        return False
    return not any(
        min(a.box.right, b.box.right) - max(a.box.left, b.box.left) > 0.2 * min(a.box.width, b.box.width)
        for a in line
        for b in other
    )


def _bounds(line: list[Part]) -> Box:
    bounds = line[0].box
    for digit in line[1:]:
        bounds = bounds.joined(digit.box)
    return bounds


def _middle(box: Box) -> tuple[float, float]:
    return (box.left + box.right) / 2, (box.top + box.bottom) / 2


def _slope(left: Box, right: Box) -> float:
    (x, y), (next_x, next_y) = _middle(left), _middle(right)
    return (next_y - y) / max(next_x - x, 1.0)
