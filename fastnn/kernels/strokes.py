"""Rasterises pen strokes: where the page draws its dabs, and how they look after averaging to 28x28.

The original's page draws one filled circle of 30 px at each pointer event on a canvas of 280x280 px, whatever way
the pen has gone since the last event: a slow stroke is a line, a fast one leaves separate dots. It then averages the
canvas in cells of 10x10 px.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastnn.kernels._jit import jit

if TYPE_CHECKING:
    from numpy.typing import NDArray

CANVAS = 280
CELL = 10
DIAMETER = 30
# A dab that just misses the canvas still lies on the array: the inner loops need no clipping.
MARGIN = 32
_RADIUS = DIAMETER // 2
_LOW, _HIGH = -_RADIUS, CANVAS + _RADIUS
_REACH = 4


def round_dab() -> NDArray[np.float32]:
    """Return what one dab leaves of the paper: 0 inside, 1 outside, between on the rim.

    The circle's centre is a corner of the pixel grid, as whole canvas coordinates are. A rim pixel's share is
    counted on 16x16 points, in whole numbers: the same on every machine.

    Returns
    -------
    ndarray of float32, shape (30, 32)
        Two columns of ones at the right make a row four whole vectors: twice as fast as 30 columns.
    """
    fine = 16
    position = 2 * np.arange(DIAMETER * fine) + 1 - DIAMETER * fine
    inside = position[:, None] ** 2 + position[None, :] ** 2 <= (DIAMETER * fine) ** 2
    share = inside.reshape(DIAMETER, fine, DIAMETER, fine).sum(axis=(1, 3))
    dab = np.ones((DIAMETER, DIAMETER + 2), np.float32)
    dab[:, :DIAMETER] = 1.0 - share / (fine * fine)
    return dab


@jit(allocates=True)
def pen_events(path, pace, starts, dabs):
    """Walk along the strokes as a hand does and write down where the pointer events come.

    Events come at a fixed rate. The hand slows down where the path bends (by the ratio of chord to arc over a few
    points) and near both ends of a stroke, so a fast hand leaves dots on the straights and ink in the corners.

    Parameters
    ----------
    path : ndarray of float64, shape (p, 2)
        Points of all strokes one after another, x and y in canvas pixels.
    pace : ndarray of float64, shape (p,)
        Pixels that the pen goes between two events where nothing slows it down; positive.
    starts : ndarray of int64, shape (strokes + 1,)
        Where each stroke begins in `path`; last, the number of points.
    dabs : ndarray of int64, shape (room, 2)
        Filled with the events, x and y rounded to whole pixels; those beyond `room` are lost.

    Returns
    -------
    int
        How many events there are in `dabs`.
    """
    room = dabs.shape[0]
    count = 0
    arc = np.zeros(path.shape[0])
    for stroke in range(starts.shape[0] - 1):
        first, last = starts[stroke], starts[stroke + 1] - 1
        arc[first] = 0.0
        for i in range(first, last):
            dx, dy = path[i + 1, 0] - path[i, 0], path[i + 1, 1] - path[i, 1]
            arc[i + 1] = arc[i] + np.sqrt(dx * dx + dy * dy)
        # `clock` counts events; the next one is due at a whole number, the first at once.
        clock, due = 0.0, 0.0
        for i in range(first, last):
            length = arc[i + 1] - arc[i]
            a, b = max(first, i - _REACH), min(last, i + 1 + _REACH)
            dx, dy = path[b, 0] - path[a, 0], path[b, 1] - path[a, 1]
            straight = (dx * dx + dy * dy) / max((arc[b] - arc[a]) * (arc[b] - arc[a]), 1e-9)
            from_end = min(arc[i], arc[last] - arc[i + 1])
            speed = pace[i] * (0.25 + 0.75 * straight) * min(1.0, 0.4 + from_end / 60.0)
            duration = length / speed
            while due <= clock + duration:
                along = (due - clock) / duration if duration > 0.0 else 0.0
                if count < room:
                    dabs[count, 0] = np.int64(np.rint(path[i, 0] + along * (path[i + 1, 0] - path[i, 0])))
                    dabs[count, 1] = np.int64(np.rint(path[i, 1] + along * (path[i + 1, 1] - path[i, 1])))
                    count += 1
                due += 1.0
            clock += duration
        if count < room:
            dabs[count, 0] = np.int64(np.rint(path[last, 0]))
            dabs[count, 1] = np.int64(np.rint(path[last, 1]))
            count += 1
    return count


@jit(allocates=True)
def ink(dabs, count, dab, canvas, image):
    """Draw dabs on a canvas and average it to the image that the network sees.

    Parameters
    ----------
    dabs : ndarray of int64, shape (room, 2)
        Centres, x and y in canvas pixels; one that is too far outside to leave ink is passed over.
    count : int
        How many of them to draw.
    dab : ndarray of float32, shape (30, 32)
        From :func:`round_dab`.
    canvas : ndarray of float32, shape (344, 344)
        Scratch: the canvas with a margin of 32 px, 1 = paper. White before and after.
    image : ndarray of uint8, shape (784,)
        Filled: 255 = paper, 0 = ink.
    """
    tall, wide = dab.shape
    side = CANVAS // CELL
    # Only the cells that dabs can reach are averaged and wiped: at the cost of the digit, not of the canvas.
    low_x, high_x, low_y, high_y = side, 0, side, 0
    for d in range(count):
        x, y = dabs[d, 0], dabs[d, 1]
        if x <= _LOW or x >= _HIGH or y <= _LOW or y >= _HIGH:
            continue
        if d > 0 and x == dabs[d - 1, 0] and y == dabs[d - 1, 1]:
            continue
        left, top = x - _RADIUS + MARGIN, y - _RADIUS + MARGIN
        for i in range(tall):
            # A row at a time and indices from 0: the compiler sees that they are contiguous and none is negative.
            row = canvas[top + i, left : left + wide]
            for j in range(wide):
                row[j] *= dab[i, j]
        low_x = min(low_x, max(0, (x - _RADIUS) // CELL))
        low_y = min(low_y, max(0, (y - _RADIUS) // CELL))
        high_x = max(high_x, min(side, (x + _RADIUS - 1) // CELL + 1))
        high_y = max(high_y, min(side, (y + _RADIUS - 1) // CELL + 1))
    image[:] = 255
    total = np.zeros(max(0, high_x - low_x) * CELL, np.float32)
    left = MARGIN + low_x * CELL
    for y in range(low_y, high_y):
        total[:] = 0.0
        for i in range(MARGIN + y * CELL, MARGIN + (y + 1) * CELL):
            row = canvas[i, left : left + total.shape[0]]
            for j in range(total.shape[0]):
                total[j] += row[j]
        for x in range(low_x, high_x):
            paper = 0.0
            for j in range(CELL):
                paper += total[(x - low_x) * CELL + j]
            image[y * side + x] = np.uint8((paper * 255.0 + 0.5 * CELL * CELL) / (CELL * CELL))
    if low_x < high_x:
        # Dabs over the edge leave ink in the margin too.
        for i in range(low_y * CELL, high_y * CELL + 2 * MARGIN):
            canvas[i, low_x * CELL : high_x * CELL + 2 * MARGIN] = 1.0


@jit(allocates=True)
def draw(paths, paces, starts, dab, images):
    """Draw a batch of digits that have the same strokes.

    Parameters
    ----------
    paths : ndarray of float64, shape (n, p, 2)
        As in :func:`pen_events`, one digit a row.
    paces : ndarray of float64, shape (n, p)
    starts : ndarray of int64, shape (strokes + 1,)
    dab : ndarray of float32, shape (30, 32)
        From :func:`round_dab`.
    images : ndarray of uint8, shape (n, 784)
        Filled: 255 = paper, 0 = ink.
    """
    canvas = np.ones((CANVAS + 2 * MARGIN, CANVAS + 2 * MARGIN), np.float32)
    dabs = np.zeros((1024, 2), np.int64)
    for n in range(paths.shape[0]):
        count = pen_events(paths[n], paces[n], starts, dabs)
        ink(dabs, count, dab, canvas, images[n])
