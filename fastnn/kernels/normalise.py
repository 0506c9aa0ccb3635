"""Crops, scales and centres drawings, for :mod:`fastnn.images`.

Pictures are first turned into ink: 0 = paper, 255 = the darkest ink.
"""

from collections import namedtuple

import numpy as np
from numba import float64, int64, uint8

from fastnn.kernels.records import NORMALISE, SIDE
from fastnn.kernels.vector import device, pointer, record_at

BOX = 20
CENTRE = 14
"""Row and column of the centre of mass in the result, from 0, as in MNIST."""
FAINT = 8
"""Ink lighter than the darkest by more than this factor is ignored when the edges of a drawing are searched."""
LEAST = 16
"""A picture whose darkest ink is lighter than this is blank."""
ROUNDS = 24
"""How often a drawing is scaled again at most, see :func:`fit`."""

Picture = namedtuple("Picture", "levels height width")
"""Grey levels or ink, row by row, as a pointer to uint8."""


@device
def border_levels(picture, counts):
    """Return the lower quartile, the median and the upper quartile of the outermost pixels.

    Parameters
    ----------
    picture : Picture
    counts : pointer to int64
        Room for 256 numbers.

    Returns
    -------
    tuple of int
    """
    height, width, total = picture.height, picture.width, 0
    for level in range(256):
        counts[level] = 0
    for y in range(height):
        step = 1 if y == 0 or y == height - 1 or width == 1 else width - 1
        for x in range(0, width, step):
            counts[picture.levels[y * width + x]] += 1
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


@device
def ink_levels(light, paper, levels):
    """Fill a table from grey level to ink: paper and what is lighter (or darker) than it is 0, black (or white) 255.

    Parameters
    ----------
    light : bool
        Whether the paper is lighter than the ink.
    paper : int
        Grey level of the paper.
    levels : pointer to uint8
        Filled: 256 levels.
    """
    span = paper if light else 255 - paper
    for grey in range(256):
        depth = paper - grey if light else grey - paper
        levels[grey] = (depth * 255 + span // 2) // span if depth > 0 else 0


@device
def find_bounds(ink, box):
    """Find the rows and columns that hold ink of at least an eighth of the darkest.

    Parameters
    ----------
    ink : Picture
    box : pointer to int64
        Filled with first row, first column, and the row and column after the last ones.

    Returns
    -------
    int
        The darkest ink.
    """
    height, width, darkest = ink.height, ink.width, 0
    for k in range(height * width):
        darkest = max(darkest, np.int64(ink.levels[k]))
    top, left, bottom, right = height, width, 0, 0
    for y in range(height):
        for x in range(width):
            value = np.int64(ink.levels[y * width + x])
            if value > 0 and FAINT * value >= darkest:
                top, bottom = min(top, y), y + 1
                left, right = min(left, x), max(right, x + 1)
    box[0], box[1], box[2], box[3] = top, left, bottom, right
    return darkest


@device
def interpolation_weights(start, scale, length, position, weights):
    """Return the range of source pixels that contribute to the output pixel at `position`, and write their weights.

    Shrinking (more than 1 source pixel per output pixel) takes the mean over the area; enlarging interpolates linearly
    between the two nearest pixels. Pixels outside the picture are white and are left out.

    Returns
    -------
    first : int
        The first source pixel.
    count : int
        Number of source pixels; may be 0.
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


@device
def resample(ink, window, scratch):
    """Resample a window of the picture to `height` x `width` output pixels, each `scale` source pixels wide.

    Parameters
    ----------
    ink : Picture
    window : tuple of float, float, float, int, int
        Upper edge, left edge, scale, height and width.
    scratch : tuple of pointer to float64
        Room for one output row before its columns are resampled, for as many weights as an output pixel has, and for
        the result, BOX rows of BOX, which is filled up to height and width.
    """
    top, left, scale, height, width = window
    rows, weights, out = scratch
    first_column = max(0, int(np.floor(left - 1.0)))
    end_column = min(ink.width, int(np.ceil(left + width * scale + 1.0)))
    for i in range(height):
        first, count = interpolation_weights(top, scale, ink.height, i, weights)
        for x in range(first_column, end_column):
            rows[x] = 0.0
        for k in range(count):
            weight = weights[k]
            for x in range(first_column, end_column):
                rows[x] += weight * ink.levels[(first + k) * ink.width + x]
        for j in range(width):
            begin, count_across = interpolation_weights(left, scale, ink.width, j, weights)
            total = 0.0
            for k in range(count_across):
                total += weights[k] * rows[begin + k]
            out[i * BOX + j] = total


@device
def fit(ink, darkest, box, fitted, scratch):
    """Scale the drawing in `box` so that its longer side is exactly BOX pixels.

    Scaling can make thin ink at an edge too faint to be found. Such an edge is cut off and the rest is scaled again,
    until the visible part fills BOX pixels: therefore a second normalisation changes nothing. The darkest ink stays as
    dark as it was, also if lines become thin.

    Parameters
    ----------
    ink : Picture
    darkest : int
    box : pointer to int64
        Where the drawing is; filled with where it is in `fitted`.
    fitted : Picture
        BOX x BOX; filled.
    scratch : tuple of pointer to float64
        See :func:`resample`.
    """
    top, left, bottom, right = float(box[0]), float(box[1]), float(box[2]), float(box[3])
    out = scratch[2]
    for _ in range(ROUNDS):
        scale = max(bottom - top, right - left) / BOX
        height = min(BOX, max(1, int(np.ceil((bottom - top) / scale - 1e-6))))
        width = min(BOX, max(1, int(np.ceil((right - left) / scale - 1e-6))))
        # The shorter side gets a part of a pixel on both ends, so that the aspect ratio is kept exactly.
        top = 0.5 * (top + bottom - height * scale)
        left = 0.5 * (left + right - width * scale)
        resample(ink, (top, left, scale, height, width), scratch)
        peak = 0.0
        for i in range(height):
            for j in range(width):
                peak = max(peak, out[i * BOX + j])
        for i in range(BOX):
            for j in range(BOX):
                seen = i < height and j < width and peak > 0.0
                fitted.levels[i * BOX + j] = int(out[i * BOX + j] * (darkest / peak) + 0.5) if seen else 0
        find_bounds(fitted, box)
        if max(box[2] - box[0], box[3] - box[1]) == BOX:
            return
        bottom, right = top + box[2] * scale, left + box[3] * scale
        top, left = top + box[0] * scale, left + box[1] * scale


@device
def place(fitted, box, result):
    """Write the drawing in `box` to a 28x28 image, centred by mass; see :func:`normalise`.

    Parameters
    ----------
    fitted : Picture
        Ink.
    box : pointer to int64
        Where the drawing is; no side longer than BOX.
    result : pointer to uint8
        28 x 28; filled, 255 = white.
    """
    top, left = box[0], box[1]
    height, width = box[2] - top, box[3] - left
    mass, moment_y, moment_x = 0, 0, 0
    for i in range(height):
        for j in range(width):
            value = np.int64(fitted.levels[(top + i) * fitted.width + left + j])
            mass += value
            moment_y += value * i
            moment_x += value * j
    # Whole numbers, so that a second normalisation rounds ties the same way; the drawing is kept inside the frame.
    y = (2 * (CENTRE * mass - moment_y) + mass) // (2 * mass)
    x = (2 * (CENTRE * mass - moment_x) + mass) // (2 * mass)
    y, x = min(max(y, 0), SIDE - height), min(max(x, 0), SIDE - width)
    for k in range(SIDE * SIDE):
        result[k] = 255
    for i in range(height):
        for j in range(width):
            result[(y + i) * SIDE + x + j] = 255 - np.int64(fitted.levels[(top + i) * fitted.width + left + j])


def normalise():
    """Return the kernel that normalises drawings; its argument is the address of a NORMALISE record.

    It crops each drawing to its edges, scales the longer side to 20 pixels and centres it by mass in 28x28.
    """

    def run(address):
        args = record_at(address, NORMALISE)
        size = args.height * args.width
        ink = Picture(pointer(args.ink, uint8), args.height, args.width)
        small = Picture(pointer(args.small, uint8), BOX, BOX)
        scratch = pointer(args.rows, float64), pointer(args.weights, float64), pointer(args.out, float64)
        counts, levels = pointer(args.counts, int64), pointer(args.levels, uint8)
        box, blank = pointer(args.box, int64), pointer(args.blank, uint8)
        for i in range(args.n):
            picture = Picture(pointer(args.images + i * size, uint8), args.height, args.width)
            result = pointer(args.result + i * SIDE * SIDE, uint8)
            low, middle, high = border_levels(picture, counts)
            light = middle >= 128 if args.polarity == 0 else args.polarity > 0
            paper = high if light else low
            # If the polarity is given, ink may cover most of the border: then the border's level is not the paper's.
            if light and paper < 128:
                paper = 255
            if not light and paper >= 128:
                paper = 0
            ink_levels(light, paper, levels)
            for k in range(size):
                ink.levels[k] = levels[picture.levels[k]]
            darkest = find_bounds(ink, box)
            blank[i] = darkest < LEAST
            if darkest < LEAST:
                continue
            # A drawing that has the right size already is moved by whole pixels, without resampling.
            if max(box[2] - box[0], box[3] - box[1]) == BOX:
                place(ink, box, result)
            else:
                fit(ink, darkest, box, small, scratch)
                place(small, box, result)

    return run
