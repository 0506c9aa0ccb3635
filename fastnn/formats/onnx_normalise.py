"""Normalises drawings inside an ONNX graph, step by step as :mod:`fastnn.kernels.normalise` does.

All numbers are float64, as there. Resampling is two products with matrices of interpolation weights, which are computed
from the box of each drawing. Terms are added in the kernel's order: so all grey levels are the same. With the operator
MatMul, one drawing in 60 has a grey level that is rounded to its neighbour, and one drawing takes as long.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from fastnn.datasets.dataset import PIXELS, SIDE
from fastnn.kernels.normalise import BOX, CENTRE, FAINT, LEAST, ROUNDS

if TYPE_CHECKING:
    from fastnn.formats.onnx_nodes import Graph, Value

_PLACES = np.arange(float(SIDE))
_DOWN, _ACROSS = _PLACES[:, None], _PLACES[None, :]
_BORDER = np.flatnonzero(np.pad(np.zeros((SIDE - 2, SIDE - 2)), 1, constant_values=1))
"""The outermost pixels."""
_QUARTILE = len(_BORDER) - -(-3 * len(_BORDER) // 4) + 1
"""Rank of the upper quartile among the levels of the border, counted from the lightest."""

Box: TypeAlias = "tuple[Value, Value, Value, Value]"
"""First row, first column, and the row and column after the last ones; each of shape (n, 1, 1)."""


def normalised(graph: Graph, pixels: Value) -> Value:
    """Return images of dark drawings cropped, scaled and centred; grey levels in float64, shape (n, 784).

    Parameters
    ----------
    graph : Graph
    pixels : Value of uint8, shape (n, 784)
        255 = white.
    """
    grey = pixels.cast(np.float64)
    ink = _ink(graph, grey)
    darkest = ink.max(1, 2)
    box = _bounds(ink, darkest)
    blank = darkest < LEAST
    fitted, *fitted_box = _fit(graph, ink, darkest, box, blank)
    placed = _place(fitted, (fitted_box[0], fitted_box[1], fitted_box[2], fitted_box[3]))
    return blank.where(grey.reshape(-1, SIDE, SIDE), 255 - placed).reshape(-1, PIXELS)


def _ink(graph: Graph, grey: Value) -> Value:
    """Return ink: 0 = paper, 255 = black; shape (n, 28, 28)."""
    border = graph.node("Gather", grey, graph.constant(_BORDER), dtype=np.float64, axis=1)
    paper = graph.largest(border, _QUARTILE)
    # Ink may cover most of the border: then the border's level is not the paper's.
    paper = (paper < 128).where(graph.constant(np.full((1, 1), 255.0)), paper)
    depth = (paper - grey).at_least(0)
    # Whole numbers below 2^53: the quotient is rounded down correctly.
    return ((depth * 255 + (paper / 2).floor()) / paper).floor().reshape(-1, SIDE, SIDE)


def _bounds(ink: Value, darkest: Value) -> Box:
    """Return the box of the ink that is at least an eighth of the darkest."""
    seen = ((ink > 0) & (ink * FAINT >= darkest)).cast(np.float64)
    rows, columns = seen.max(2), seen.max(1)
    return (_first(rows, 1), _first(columns, 2), _end(rows, 1), _end(columns, 2))


def _first(seen: Value, axis: int) -> Value:
    return seen.argmax(axis, keep=True).cast(np.float64)


def _end(seen: Value, axis: int) -> Value:
    return seen.argmax(axis, last=True, keep=True).cast(np.float64) + 1


def _side(box: Box) -> Value:
    """Return the longer side."""
    return (box[2] - box[0]).at_least(box[3] - box[1])


def _fit(graph: Graph, ink: Value, darkest: Value, box: Box, blank: Value) -> list[Value]:
    """Return drawings whose longer side is 20 pixels, and their boxes; see ``fit`` of the kernel.

    What is done is kept while others take another round: a drawing that has the right size, or none, from the start.
    """

    def round_of(states: list[Value]) -> tuple[Value, list[Value]]:
        before, found, source = states[0], states[1:5], states[5:9]
        top, left, bottom, right = source
        scale = (bottom - top).at_least(right - left) / BOX
        height, width = _length(bottom - top, scale), _length(right - left, scale)
        # The shorter side gets a part of a pixel on both ends, so that the aspect ratio is kept exactly.
        top, left = (top + bottom - height * scale) * 0.5, (left + right - width * scale) * 0.5
        rows = _product(_weights(graph, top, scale, height), ink)
        out = _product(rows, _weights(graph, left, scale, width).transpose(0, 2, 1))
        drawn = (out * (darkest / out.max(1, 2)) + 0.5).floor()
        bounds = _bounds(drawn, drawn.max(1, 2))
        done = blank | _side((found[0], found[1], found[2], found[3])).equals(BOX)
        after = done.where(before, drawn)
        new_box = [done.where(old, new) for old, new in zip(found, bounds, strict=True)]
        corner = (top, left, top, left)
        new_source = [edge + place * scale for edge, place in zip(corner, bounds, strict=True)]
        return _any_left(blank, new_box), [after, *new_box, *new_source]

    return graph.repeat(ROUNDS, _any_left(blank, list(box)), [ink, *box, *box], round_of)[:5]


def _any_left(blank: Value, box: list[Value]) -> Value:
    """Return whether a drawing has another size than it should, shape ()."""
    done = blank | _side((box[0], box[1], box[2], box[3])).equals(BOX)
    return (~done).cast(np.float64).sum(0, 1, 2).reshape() > 0


def _length(extent: Value, scale: Value) -> Value:
    """Return the number of output pixels of a side."""
    return (extent / scale - 1e-6).ceil().at_least(1).at_most(BOX)


def _weights(graph: Graph, start: Value, scale: Value, length: Value) -> Value:
    """Return what each source pixel (last axis) contributes to each output pixel, shape (n, 28, 28).

    See ``interpolation_weights`` of the kernel: the mean over the area if pixels are merged, and else linear.
    """
    place, source = graph.constant(_DOWN), graph.constant(_ACROSS)
    from_, to = start + place * scale, start + (place + 1) * scale
    area = (to.at_most(source + 1) - from_.at_least(source)).at_least(0) / scale
    centre = start + (place + 0.5) * scale - 0.5
    left = centre.floor()
    share = centre - left
    linear = left.equals(source).where(1 - share, (left + 1).equals(source).where(share, 0))
    return (place < length).where((scale > 1).where(area, linear), 0)


def _product(left: Value, right: Value) -> Value:
    """Return the matrix products, shape (n, 28, 28), whose terms are added one after the other, as in the kernel."""
    columns, rows = left.split(2, SIDE), right.split(1, SIDE)
    total = columns[0] * rows[0]
    for column, row in zip(columns[1:], rows[1:], strict=True):
        total = total + column * row
    return total


def _place(ink: Value, box: Box) -> Value:
    """Return the ink in the boxes, moved so that its centre of mass is the frame's; see ``place`` of the kernel."""
    top, left, bottom, right = box
    down, across = ink.graph.constant(_DOWN), ink.graph.constant(_ACROSS)
    inside = ~(down < top) & (down < bottom) & ~(across < left) & (across < right)
    drawn = inside.where(ink, 0)
    # A blank image has no mass, and is not used.
    mass = drawn.sum(1, 2).at_least(1)
    y = _moved(mass, (drawn * (down - top)).sum(1, 2), bottom - top)
    x = _moved(mass, (drawn * (across - left)).sum(1, 2), right - left)
    rows = (down - y).equals(across - top).cast(np.float64)
    columns = (down - left).equals(across - x).cast(np.float64)
    return rows @ drawn @ columns


def _moved(mass: Value, moment: Value, length: Value) -> Value:
    """Return where the box begins in the frame, along one axis."""
    place = (((mass * CENTRE - moment) * 2 + mass) / (mass * 2)).floor()
    return place.at_least(0).at_most(SIDE - length)
