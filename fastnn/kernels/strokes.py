"""Rasterises pen strokes: computes where the original's page draws dabs, draws them and averages them to 28x28.

The original's page draws one filled circle of 30 px at each pointer event on a canvas of 280x280 px, however far the
pen moved since the last event: a slow stroke is a line, a fast one leaves separate dots. It then averages the canvas in
cells of 10x10 px.

Sums and products are computed in an order that no compiler changes: the same pixels on every machine.
"""

import math
from collections import namedtuple

import numpy as np
from numba import float32, float64, int64, uint8

from fastnn.kernels.records import (
    CANVAS,
    CANVAS_ROW,
    CELL,
    DAB_DIAMETER,
    DAB_ROW,
    FLOATS_PER_VECTOR,
    MARGIN,
    SIDE,
    STROKES,
)
from fastnn.kernels.vector import ONE, TWO, add, device, load, mul, pointer, record_at, small_code, splat, store

_RADIUS = DAB_DIAMETER // 2
_LOW, _HIGH = -_RADIUS, CANVAS + _RADIUS
_REACH = 4
_ROUNDING = 1.5 * 2.0**52
"""Adding and subtracting it rounds to a whole number, halves to even."""

Path = namedtuple("Path", "points pace starts n_strokes arc")
"""The strokes of one digit; see the fields of STROKES."""

Events = namedtuple("Events", "positions most")
"""Room for pointer events."""

Page = namedtuple("Page", "dab canvas row")
"""The canvas and its scratch memory."""


@device
def measure_arc(path, first, last):
    """Write the distance along the stroke of each point of a stroke from its start."""
    small_code()
    points, arc = path.points, path.arc
    arc[first] = 0.0
    for i in range(first, last):
        dx, dy = points[2 * i + 2] - points[2 * i], points[2 * i + 3] - points[2 * i + 1]
        arc[i + 1] = arc[i] + math.sqrt(dx * dx + dy * dy)


@device
def speed_at(path, i, first, last):
    """Return how far the pen moves between two events after point i, in canvas pixels.

    The hand slows down where the path bends (by the ratio of chord to arc over a few points) and near both ends of a
    stroke, so a fast hand leaves separate dots on straight parts and dense ink in corners.
    """
    points, arc = path.points, path.arc
    a, b = max(first, i - _REACH), min(last, i + 1 + _REACH)
    dx, dy = points[2 * b] - points[2 * a], points[2 * b + 1] - points[2 * a + 1]
    along_arc = arc[b] - arc[a]
    straight = (dx * dx + dy * dy) / max(along_arc * along_arc, 1e-9)
    done, to_do = arc[i], arc[last] - arc[i + 1]
    ease = 0.4 + min(done, to_do) / 60.0
    return path.pace[i] * (0.25 + 0.75 * straight) * min(ease, 1.0)


@device
def pen_events(path, events):
    """Write the pointer events of a hand that moves along the strokes; return their number.

    Events come at a fixed rate; positions are rounded to whole pixels. Events beyond `events.most` are lost.
    """
    small_code()
    count, points = 0, path.points
    for stroke in range(path.n_strokes):
        first, last = path.starts[stroke], path.starts[stroke + 1] - 1
        measure_arc(path, first, last)
        # `clock` counts events; the next one is due at a whole number, the first at once.
        clock, due = 0.0, 0.0
        for i in range(first, last + 1):
            x, y = points[2 * i], points[2 * i + 1]
            # At the end of a stroke there is an event too.
            x_way = y_way = duration = 0.0
            until = due
            if i < last:
                x_way, y_way = points[2 * i + 2] - x, points[2 * i + 3] - y
                duration = (path.arc[i + 1] - path.arc[i]) / speed_at(path, i, first, last)
                until = clock + duration
            while due <= until:
                along = 0.0
                if duration > 0.0:
                    along = (due - clock) / duration
                if count < events.most:
                    events.positions[2 * count] = np.int64(x + along * x_way + _ROUNDING - _ROUNDING)
                    events.positions[2 * count + 1] = np.int64(y + along * y_way + _ROUNDING - _ROUNDING)
                    count += 1
                due += 1.0
            clock = until
    return count


@device
def draw_dabs(positions, count, page):
    """Draw a dab at each position on the canvas; return the cells reached: first and end row, first and end column.

    Positions too far outside to leave ink are skipped.
    """
    small_code()
    low_x, high_x, low_y, high_y = SIDE, 0, SIDE, 0
    last_x, last_y = _LOW, _LOW
    for d in range(count):
        x, y = positions[2 * d], positions[2 * d + 1]
        if (x != last_x or y != last_y) and x > _LOW and x < _HIGH and y > _LOW and y < _HIGH:
            at = (y - _RADIUS + MARGIN) * CANVAS_ROW + x - _RADIUS + MARGIN
            for i in range(DAB_DIAMETER):
                store(page.canvas, at, mul(load(page.canvas, at, TWO), load(page.dab, i * DAB_ROW, TWO)))
                at += CANVAS_ROW
            low_x, high_x = min(low_x, max(0, x - _RADIUS) // CELL), max(high_x, (x + _RADIUS - 1) // CELL + 1)
            low_y, high_y = min(low_y, max(0, y - _RADIUS) // CELL), max(high_y, (y + _RADIUS - 1) // CELL + 1)
        last_x, last_y = x, y
    return low_y, min(high_y, SIDE), low_x, min(high_x, SIDE)


@device
def average_cells(page, cells, image):
    """Write the means of the canvas's cells to the image: 255 = white, 0 = ink."""
    small_code()
    first_row, end_row, first_column, end_column = cells
    for k in range(SIDE * SIDE):
        image[k] = 255
    for y in range(first_row, end_row):
        start = (MARGIN + y * CELL) * CANVAS_ROW + MARGIN + first_column * CELL
        for j in range(0, (end_column - first_column) * CELL, FLOATS_PER_VECTOR):
            total = load(page.canvas, start + j, ONE)
            for i in range(1, CELL):
                total = add(total, load(page.canvas, start + j + i * CANVAS_ROW, ONE))
            store(page.row, j, total)
        for x in range(first_column, end_column):
            paper = 0.0
            for j in range((x - first_column) * CELL, (x - first_column + 1) * CELL):
                paper += page.row[j]
            image[y * SIDE + x] = np.uint8((paper * 255.0 + 0.5 * CELL * CELL) / (CELL * CELL))


@device
def erase(page, cells):
    """Make the canvas white again where dabs were drawn, and in the margin, which dabs over the edge reach."""
    small_code()
    first_row, end_row, first_column, end_column = cells
    white = splat(np.float32(1), ONE)
    if first_column < end_column:
        for i in range(first_row * CELL, end_row * CELL + 2 * MARGIN):
            for j in range(first_column * CELL, end_column * CELL + 2 * MARGIN, FLOATS_PER_VECTOR):
                store(page.canvas, i * CANVAS_ROW + j, white)


def draw():
    """Return the kernel that draws digits with the same strokes; its argument is the address of a STROKES record.

    Only the cells that dabs can reach are averaged and erased, so that the cost depends on the digit, not the canvas.
    """

    def run(address):
        args = record_at(address, STROKES)
        events = Events(pointer(args.events, int64), args.max_events)
        page = Page(pointer(args.dab, float32), pointer(args.canvas, float32), pointer(args.row, float32))
        for k in range(args.n):
            path = Path(
                pointer(args.paths + k * args.n_points * 16, float64),
                pointer(args.paces + k * args.n_points * 8, float64),
                pointer(args.starts, int64),
                args.n_strokes,
                pointer(args.arc, float64),
            )
            cells = draw_dabs(events.positions, pen_events(path, events), page)
            average_cells(page, cells, pointer(args.images + k * SIDE * SIDE, uint8))
            erase(page, cells)

    return run
