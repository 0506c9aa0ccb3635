"""Crops, scales and centres drawings: the compiled half of :mod:`fastnn.images`.

All of it works on ink: 0 = paper, 255 = the darkest ink.
"""

import numpy as np

from fastnn.kernels._jit import inner, jit

SIDE = 28
BOX = 20
CENTRE = 14
"""Where the centre of mass comes to lie, in rows and columns counted from 0: where MNIST has it."""
FAINT = 8
"""Ink lighter than the darkest by more than this factor is not counted when the edges of a drawing are sought."""
LEAST = 16
"""A picture whose darkest ink is lighter than this is blank."""
_ROUNDS = 24


@inner(vectorised=True)
def _border_levels(picture, counts):
    """Return the lower quartile, the median and the upper quartile of the outermost pixels.

    Parameters
    ----------
    picture : ndarray of uint8, shape (h, w)
    counts : ndarray of int64, shape (256,)
        Room.

    Returns
    -------
    tuple of int
    """
    height, width = picture.shape
    counts[:] = 0
    total = 0
    for y in range(height):
        step = 1 if y == 0 or y == height - 1 or width == 1 else width - 1
        for x in range(0, width, step):
            counts[picture[y, x]] += 1
            total += 1
    low, middle, high = -1, -1, -1
    seen = 0
    for level in range(256):
        seen += counts[level]
        if low < 0 and 4 * seen >= total:
            low = level
        if middle < 0 and 2 * seen >= total:
            middle = level
        if high < 0 and 4 * seen >= 3 * total:
            high = level
    return low, middle, high


@inner(vectorised=True)
def _ink_levels(light, paper, levels):
    """Fill a table that turns grey into ink: paper and what is beyond it become 0, black (or white) becomes 255.

    Parameters
    ----------
    light : bool
        Whether the paper is lighter than the ink.
    paper : int
        Grey level of the paper.
    levels : ndarray of uint8, shape (256,)
        Filled.
    """
    span = paper if light else 255 - paper
    for grey in range(256):
        depth = paper - grey if light else grey - paper
        levels[grey] = (depth * 255 + span // 2) // span if depth > 0 else 0


@inner(vectorised=True)
def _bounds(ink, box):
    """Find the rows and columns that hold ink of at least an eighth of the darkest.

    Parameters
    ----------
    ink : ndarray of uint8, shape (h, w)
    box : ndarray of int64, shape (4,)
        Filled with first row, first column, and the row and column after the last ones.

    Returns
    -------
    int
        The darkest ink.
    """
    height, width = ink.shape
    darkest = 0
    for y in range(height):
        for x in range(width):
            darkest = max(darkest, np.int64(ink[y, x]))
    top, left, bottom, right = height, width, 0, 0
    for y in range(height):
        for x in range(width):
            value = np.int64(ink[y, x])
            if value > 0 and FAINT * value >= darkest:
                top, bottom = min(top, y), y + 1
                left, right = min(left, x), max(right, x + 1)
    box[0], box[1], box[2], box[3] = top, left, bottom, right
    return darkest


@inner(vectorised=True)
def _taps(start, scale, length, position, weights):
    """Write down the pixels that the output pixel at `position` is made of, with their weights.

    Shrinking (scale above 1 source pixels per output pixel) takes the mean over the area; growing is linear between
    the two nearest. Pixels off the picture are paper and are left out.

    Returns
    -------
    first : int
        The first source pixel.
    count : int
        How many follow it, itself included; may be 0.
    """
    if scale > 1.0:
        a, b = start + position * scale, start + (position + 1) * scale
        first = max(0, int(np.floor(a)))
        end = min(length, int(np.ceil(b)))
        for i in range(first, end):
            weights[i - first] = max(0.0, min(b, i + 1.0) - max(a, float(i))) / scale
        return first, max(0, end - first)
    centre = start + (position + 0.5) * scale - 0.5
    left = int(np.floor(centre))
    share = centre - left
    if left < -1 or left >= length:
        return 0, 0
    if left == -1:
        weights[0] = share
        return 0, 1
    weights[0] = 1.0 - share
    if left == length - 1:
        return left, 1
    weights[1] = share
    return left, 2


@inner(vectorised=True)
def _resample(ink, top, left, scale, height, width, rows, weights, out):
    """Resample height x width output pixels, each `scale` source pixels wide, from (top, left) on.

    Parameters
    ----------
    ink : ndarray of uint8, shape (h, w)
    rows : ndarray of float64, shape (w,)
        Room for one output row before its columns are resampled.
    weights : ndarray of float64
        Room for as many taps as an output pixel has.
    out : ndarray of float64, shape (BOX, BOX)
        Filled up to height and width.
    """
    first_column = max(0, int(np.floor(left - 1.0)))
    end_column = min(ink.shape[1], int(np.ceil(left + width * scale + 1.0)))
    for i in range(height):
        first, count = _taps(top, scale, ink.shape[0], i, weights)
        for x in range(first_column, end_column):
            rows[x] = 0.0
        for k in range(count):
            weight = weights[k]
            for x in range(first_column, end_column):
                rows[x] += weight * ink[first + k, x]
        for j in range(width):
            begin, taps = _taps(left, scale, ink.shape[1], j, weights)
            total = 0.0
            for k in range(taps):
                total += weights[k] * rows[begin + k]
            out[i, j] = total


@inner(vectorised=True)
def _fit(ink, darkest, box, fitted, room):
    """Scale the drawing in `box` so that the edges of the result are just BOX pixels apart.

    Scaling can leave thin ink at an edge too faint to count. Such an edge is cut off and the rest scaled anew, until
    what is seen fills BOX pixels: that is why a second normalisation finds nothing to do. The result is as dark as
    the drawing was, however thin its lines have become.

    Parameters
    ----------
    ink : ndarray of uint8, shape (h, w)
    darkest : int
    box : ndarray of int64, shape (4,)
        Where the drawing is; filled with where it is in `fitted`.
    fitted : ndarray of uint8, shape (BOX, BOX)
        Filled.
    room : fastnn.images.Room
    """
    top, left, bottom, right = float(box[0]), float(box[1]), float(box[2]), float(box[3])
    out = room.out
    for _ in range(_ROUNDS):
        scale = max(bottom - top, right - left) / BOX
        height = min(BOX, max(1, int(np.ceil((bottom - top) / scale - 1e-6))))
        width = min(BOX, max(1, int(np.ceil((right - left) / scale - 1e-6))))
        # The shorter side gets a part of a pixel on both ends, so that the aspect ratio is kept exactly.
        top = 0.5 * (top + bottom - height * scale)
        left = 0.5 * (left + right - width * scale)
        _resample(ink, top, left, scale, height, width, room.rows, room.weights, out)
        peak = 0.0
        for i in range(height):
            for j in range(width):
                peak = max(peak, out[i, j])
        for i in range(BOX):
            for j in range(BOX):
                seen = i < height and j < width and peak > 0.0
                fitted[i, j] = int(out[i, j] * (darkest / peak) + 0.5) if seen else 0
        _bounds(fitted, box)
        if max(box[2] - box[0], box[3] - box[1]) == BOX:
            return
        bottom, right = top + box[2] * scale, left + box[3] * scale
        top, left = top + box[0] * scale, left + box[1] * scale


@inner(vectorised=True)
def _place(fitted, box, result):
    """Write the drawing in `box` to a page of its own, centred by mass; see :func:`normalise_images`.

    Parameters
    ----------
    fitted : ndarray of uint8, shape (h, w)
        Ink.
    box : ndarray of int64, shape (4,)
        Where the drawing is; no side longer than BOX.
    result : ndarray of uint8, shape (28, 28)
        Filled; 255 = paper.
    """
    top, left = box[0], box[1]
    height, width = box[2] - top, box[3] - left
    mass, moment_y, moment_x = 0, 0, 0
    for i in range(height):
        for j in range(width):
            value = np.int64(fitted[top + i, left + j])
            mass += value
            moment_y += value * i
            moment_x += value * j
    # Whole numbers, so that a tie falls the same way the second time; the drawing is kept inside of the frame.
    y = (2 * (CENTRE * mass - moment_y) + mass) // (2 * mass)
    x = (2 * (CENTRE * mass - moment_x) + mass) // (2 * mass)
    y, x = min(max(y, 0), SIDE - height), min(max(x, 0), SIDE - width)
    for i in range(SIDE):
        for j in range(SIDE):
            result[i, j] = 255
    for i in range(height):
        for j in range(width):
            result[y + i, x + j] = 255 - fitted[top + i, left + j]


@jit
def normalise_images(images, polarity, room, result, blank):
    """Crop drawings to their edges, scale the longer side to 20 pixels and centre them by mass in 28x28.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, h, w)
        Grey.
    polarity : int
        1: the paper is lighter than the ink, -1: darker, 0: found from each picture's border.
    room : fastnn.images.Room
    result : ndarray of uint8, shape (n, 28, 28)
        Filled; 255 = paper. The places of blank pictures are not touched.
    blank : ndarray of bool, shape (n,)
        Filled.
    """
    levels, ink, small, box = room.levels, room.ink, room.small, room.box
    for n in range(images.shape[0]):
        low, middle, high = _border_levels(images[n], room.counts)
        light = middle >= 128 if polarity == 0 else polarity > 0
        paper = high if light else low
        # With the polarity given, ink may cover most of the border: then black (white) paper is no paper at all.
        if light and paper < 128:
            paper = 255
        if not light and paper >= 128:
            paper = 0
        _ink_levels(light, paper, levels)
        for y in range(ink.shape[0]):
            for x in range(ink.shape[1]):
                ink[y, x] = levels[images[n, y, x]]
        darkest = _bounds(ink, box)
        blank[n] = darkest < LEAST
        if blank[n]:
            continue
        # A drawing of the right size is moved by whole pixels and not resampled.
        if max(box[2] - box[0], box[3] - box[1]) == BOX:
            _place(ink, box, result[n])
        else:
            _fit(ink, darkest, box, small, room)
            _place(small, box, result[n])
