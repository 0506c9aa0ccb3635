"""Rasterises pen strokes: where the page draws its dabs, and how they look after averaging to 28x28.

The original's page draws one filled circle of 30 px at each pointer event on a canvas of 280x280 px, whatever way
the pen has gone since the last event: a slow stroke is a line, a fast one leaves separate dots. It then averages the
canvas in cells of 10x10 px.

Sums and products are made one after the other, in an order that no compiler changes: the same pixels on every machine.
"""

import math

import numpy as np

from fastnn.kernels._jit import inner, jit
from fastnn.kernels.layout import CANVAS, CELL, DAB_ROW, DIAMETER, MARGIN, REGISTER, SIDE, WIDE
from fastnn.kernels.simd import add, data, load, mul, peek, poke, rolled, splat, store

# As in sgd.py: what Numba's cache would not notice.
_BUILT_IN = {"layout": "d9ed32721d214538", "simd": "024266e4576962cb"}

_RADIUS = DIAMETER // 2
_LOW, _HIGH = -_RADIUS, CANVAS + _RADIUS
_REACH = 4

_ONE, _TWO = (0,), (0, 0)
_ROUNDS = 1.5 * 2.0**52
"""Added and taken away again it rounds to a whole number, of two as near to the even one."""


@inner
def pen_events(path, p, pace, starts, strokes, arc, dabs, room):
    """Walk along the strokes as a hand does and write down where the pointer events come.

    Events come at a fixed rate. The hand slows down where the path bends (by the ratio of chord to arc over a few
    points) and near both ends of a stroke, so a fast hand leaves dots on the straights and ink in the corners.

    Parameters
    ----------
    path : pointer to float64
        Points of all strokes one after another, x and y in canvas pixels; the first is point `p`.
    pace : pointer to float64
        Pixels that the pen goes between two events where nothing slows it down; positive. One for each point.
    starts : pointer to int64
        Where each stroke begins, counted from point `p`; last, the number of points.
    strokes : int
    arc : pointer to float64
        To work in, as many as there are points.
    dabs : pointer to int64
        Filled with the events, x and y rounded to whole pixels; those beyond `room` are lost.

    Returns
    -------
    int
        How many events there are in `dabs`.
    """
    count = 0
    for stroke in range(strokes):
        rolled()
        first, last = peek(starts, stroke), peek(starts, stroke + 1) - 1
        poke(arc, first, 0.0)
        for i in range(first, last):
            rolled()
            k = 2 * (p + i)
            dx, dy = peek(path, k + 2) - peek(path, k), peek(path, k + 3) - peek(path, k + 1)
            poke(arc, i + 1, peek(arc, i) + math.sqrt(dx * dx + dy * dy))
        # `clock` counts events; the next one is due at a whole number, the first at once.
        clock, due, whole = 0.0, 0.0, peek(arc, last)
        for i in range(first, last + 1):
            rolled()
            x, y = peek(path, 2 * (p + i)), peek(path, 2 * (p + i) + 1)
            # Where the stroke ends there is an event too.
            x_way = y_way = duration = 0.0
            until = due
            if i < last:
                x_way, y_way = peek(path, 2 * (p + i) + 2) - x, peek(path, 2 * (p + i) + 3) - y
                # Numba's min and max would take 0.05 s each to compile.
                a, b = i - _REACH, i + 1 + _REACH
                a, b = a if a > first else first, b if b < last else last  # noqa: FURB136
                dx = peek(path, 2 * (p + b)) - peek(path, 2 * (p + a))
                dy = peek(path, 2 * (p + b) + 1) - peek(path, 2 * (p + a) + 1)
                along_arc = peek(arc, b) - peek(arc, a)
                square = along_arc * along_arc
                straight = (dx * dx + dy * dy) / (square if square > 1e-9 else 1e-9)  # noqa: FURB136
                gone, to_go = peek(arc, i), whole - peek(arc, i + 1)
                ease = 0.4 + (gone if gone < to_go else to_go) / 60.0  # noqa: FURB136
                speed = peek(pace, p + i) * (0.25 + 0.75 * straight) * (ease if ease < 1.0 else 1.0)  # noqa: FURB136
                duration = (peek(arc, i + 1) - peek(arc, i)) / speed
                until = clock + duration
            while due <= until:
                rolled()
                along = 0.0
                if duration > 0.0:
                    along = (due - clock) / duration
                if count < room:
                    poke(dabs, 2 * count, np.int64(x + along * x_way + _ROUNDS - _ROUNDS))
                    poke(dabs, 2 * count + 1, np.int64(y + along * y_way + _ROUNDS - _ROUNDS))
                    count += 1
                due += 1.0
            clock = until
    return count


@inner
def ink(dabs, count, dab, canvas, row, image, o):
    """Draw dabs on a canvas and average it to the image that the network sees.

    Parameters
    ----------
    dabs : pointer to int64
        Centres, x and y in canvas pixels; one that is too far outside to leave ink is passed over.
    count : int
        How many of them to draw.
    dab : pointer to float32
        What one leaves of the paper: DIAMETER rows of DAB_ROW.
    canvas : pointer to float32
        See ``layout.Page``. White before and after.
    row : pointer to float32
        To work in.
    image : pointer to uint8
        Filled from `o` on: 255 = paper, 0 = ink.
    """
    # Only the cells that dabs can reach are averaged and wiped: at the cost of the digit, not of the canvas.
    low_x, high_x, low_y, high_y = SIDE, 0, SIDE, 0
    last_x, last_y = _LOW, _LOW
    for d in range(count):
        rolled()
        x, y = peek(dabs, 2 * d), peek(dabs, 2 * d + 1)
        if (x != last_x or y != last_y) and x > _LOW and x < _HIGH and y > _LOW and y < _HIGH:
            at = (y - _RADIUS + MARGIN) * WIDE + x - _RADIUS + MARGIN
            for i in range(DIAMETER):
                rolled()
                store(canvas, at, mul(load(canvas, at, _TWO), load(dab, i * DAB_ROW, _TWO)))
                at += WIDE
            left, right = x - _RADIUS, (x + _RADIUS - 1) // CELL + 1
            top, bottom = y - _RADIUS, (y + _RADIUS - 1) // CELL + 1
            left, top = left // CELL if left > 0 else 0, top // CELL if top > 0 else 0
            low_x, high_x = left if left < low_x else low_x, right if right > high_x else high_x  # noqa: FURB136
            low_y, high_y = top if top < low_y else low_y, bottom if bottom > high_y else high_y  # noqa: FURB136
        last_x, last_y = x, y
    high_x, high_y = high_x if high_x < SIDE else SIDE, high_y if high_y < SIDE else SIDE  # noqa: FURB136
    for k in range(SIDE * SIDE):
        rolled()
        poke(image, o + k, 255)
    columns = (high_x - low_x) * CELL
    for y in range(low_y, high_y):
        rolled()
        start = (MARGIN + y * CELL) * WIDE + MARGIN + low_x * CELL
        for j in range(0, columns, REGISTER):
            rolled()
            total = load(canvas, start + j, _ONE)
            for i in range(1, CELL):
                rolled()
                total = add(total, load(canvas, start + j + i * WIDE, _ONE))
            store(row, j, total)
        for x in range(low_x, high_x):
            rolled()
            paper = 0.0
            for j in range((x - low_x) * CELL, (x - low_x + 1) * CELL):
                rolled()
                paper += peek(row, j)
            poke(image, o + y * SIDE + x, np.uint8((paper * 255.0 + 0.5 * CELL * CELL) / (CELL * CELL)))
    white = splat(np.float32(1), _ONE)
    if low_x < high_x:
        # Dabs over the edge leave ink in the margin too.
        for i in range(low_y * CELL, high_y * CELL + 2 * MARGIN):
            rolled()
            for j in range(low_x * CELL, high_x * CELL + 2 * MARGIN, REGISTER):
                rolled()
                store(canvas, i * WIDE + j, white)


@jit
def draw(paths, paces, starts, dab, page, images):
    """Draw a batch of digits that have the same strokes.

    Parameters
    ----------
    paths : ndarray of float64, shape (n, p, 2)
        As in :func:`pen_events`, one digit a row. C-contiguous, as all arrays here.
    paces : ndarray of float64, shape (n, p)
    starts : ndarray of int64, shape (strokes + 1,)
    dab : ndarray of float32, shape (30, 32)
        See :func:`ink`.
    page : Page
        To work in; its `arc` has room for p points.
    images : ndarray of uint8, shape (n, 784)
        Filled: 255 = paper, 0 = ink.
    """
    points, strokes, room = paces.shape[1], starts.shape[0] - 1, page.dabs.shape[0]
    arc, dabs, canvas, row = data(page.arc), data(page.dabs), data(page.canvas), data(page.row)
    for n in range(paths.shape[0]):
        count = pen_events(data(paths), n * points, data(paces), data(starts), strokes, arc, dabs, room)
        ink(dabs, count, data(dab), canvas, row, data(images), n * SIDE * SIDE)
