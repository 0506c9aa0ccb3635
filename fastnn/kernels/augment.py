"""Distorts images: an affine map and a smooth random field of displacements, sampled bilinearly.

What is drawn at random comes in as arrays; see ``fastnn.augment``. Positions are float32 without contracted operations
and weights whole numbers of 1/256, so that the pixels are the same on every machine.
"""

import numpy as np

from fastnn.kernels._jit import inner, jit

SIDE = 28
PIXELS = SIDE * SIDE

ROW = 32
"""Length of a row of positions and corners: whole registers of whatever width."""

_LOW, _HIGH, _SCALE = np.float32(-1), np.float32(27.999), np.float32(256)
_ZERO = np.float32(0)


@inner
def _corners(image, rows, corners):
    """Pack for each square between four pixel centres their ink, 16 bits each: a sample is then a single load.

    Square (y, x), at ``corners[y * 32 + x]``, has pixel (y, x) as its lower right corner; beyond the edge is no ink.
    From the lowest bits: upper left, lower left, upper right, lower right.
    """
    for y in range(SIDE):
        row, source = rows[y + 1], image[y * SIDE : y * SIDE + SIDE]
        for x in range(SIDE):
            row[x + 1] = 255 - np.int64(source[x])
    for y in range(SIDE + 1):
        upper, lower, square = rows[y], rows[y + 1], corners[y * ROW : y * ROW + ROW]
        for x in range(SIDE + 1):
            square[x] = upper[x] + (lower[x] << 16) + (upper[x + 1] << 32) + (lower[x + 1] << 48)


@inner
def _add_field(noise, smooth, part, positions):
    """Add ``smooth' noise smooth``, shape (28, 32), to the positions along one axis."""
    nodes = noise.shape[0]
    for k in range(nodes):
        row = part[k]
        for x in range(ROW):
            row[x] = _ZERO
        for j in range(nodes):
            a, source = noise[k, j], smooth[j]
            for x in range(ROW):
                row[x] += a * source[x]
    for y in range(SIDE):
        row = positions[y]
        for k in range(nodes):
            a, source = smooth[k, y], part[k]
            if a != _ZERO:
                for x in range(ROW):
                    row[x] += a * source[x]


@inner
def _start(a, b, c, columns, positions):
    """Write the positions of an affine map along one axis."""
    for y in range(SIDE):
        row, start = positions[y], b * np.float32(y) + c
        for x in range(ROW):
            row[x] = a * columns[x] + start


@inner
def _locate(along_x, along_y, squares, weights_x, weights_y):
    """Turn positions into the squares they lie in and the weights of these squares' right and lower sides."""
    for y in range(SIDE):
        for x in range(ROW):
            px = (min(max(along_x[y, x], _LOW), _HIGH) - _LOW) * _SCALE
            py = (min(max(along_y[y, x], _LOW), _HIGH) - _LOW) * _SCALE
            ix, iy = np.int32(px), np.int32(py)
            squares[y, x] = (iy >> 8) * ROW + (ix >> 8)
            weights_x[y, x] = ix & 255
            weights_y[y, x] = iy & 255


@inner
def _sample(corners, squares, weights_x, weights_y, out):
    """Write the image; return the sum of its ink."""
    total = 0
    for y in range(SIDE):
        row = out[y * SIDE : y * SIDE + SIDE]
        for x in range(SIDE):
            packed = corners[squares[y, x]]
            right, below = np.int64(weights_x[y, x]), np.int64(weights_y[y, x])
            upper, lower = packed & 255, (packed >> 16) & 255
            upper = (upper << 8) + (((packed >> 32) & 255) - upper) * right
            lower = (lower << 8) + (((packed >> 48) & 255) - lower) * right
            ink = ((upper << 8) + (lower - upper) * below + (1 << 15)) >> 16
            row[x] = 255 - ink
            total += ink
    return total


@jit
def distort(images, order, maps, noise, smooth, out, grey):
    """Distort images.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, 784)
        255 = paper.
    order : ndarray of int64, shape (m,)
        Which images.
    maps : ndarray of float32, shape (m, 6)
        For each image a, b, c, d, e, f: pixel (x, y) of the result is what stands at (a x + b y + e, c x + d y + f),
        plus the displacement.
    noise : ndarray of float32, shape (m, 2, nodes, nodes) or (0, 2, 0, 0)
        Displacements at the nodes of a coarse grid, along x and y, in pixels; none if empty.
    smooth : ndarray of float32, shape (nodes, 32)
        What each node gives to each row (column).
    out : ndarray of uint8, shape (m, 784)
        Filled.
    grey : ndarray of int64, shape (m,)
        Filled: the sum of each image's values.
    """
    rows = np.zeros((SIDE + 2, SIDE + 2), np.int64)
    corners = np.zeros(ROW * (SIDE + 1), np.int64)
    columns = np.arange(ROW).astype(np.float32)
    part = np.zeros((noise.shape[2], ROW), np.float32)
    along_x, along_y = np.zeros((SIDE, ROW), np.float32), np.zeros((SIDE, ROW), np.float32)
    squares, right, below = (
        np.zeros((SIDE, ROW), np.int32),
        np.zeros((SIDE, ROW), np.int32),
        np.zeros((SIDE, ROW), np.int32),
    )
    for i in range(order.shape[0]):
        _corners(images[order[i]], rows, corners)
        _start(maps[i, 0], maps[i, 1], maps[i, 4], columns, along_x)
        _start(maps[i, 2], maps[i, 3], maps[i, 5], columns, along_y)
        if noise.shape[0] > 0:
            _add_field(noise[i, 0], smooth, part, along_x)
            _add_field(noise[i, 1], smooth, part, along_y)
        _locate(along_x, along_y, squares, right, below)
        grey[i] = 255 * PIXELS - _sample(corners, squares, right, below, out[i])
