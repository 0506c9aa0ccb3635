"""Distorts images: an affine map and a smooth random field of displacements, sampled bilinearly.

What is drawn at random comes in as arrays; see ``fastnn.images.distort``. Positions are float32, contracted by name
alone, and weights whole numbers of 1/256, so that the pixels are the same on every machine.
"""

import numpy as np

from fastnn.kernels._jit import inner, jit
from fastnn.kernels.layout import ROW, SIDE
from fastnn.kernels.simd import data, fma, load, peek, rolled, splat, store

# As in sgd.py: what Numba's cache would not notice.
_BUILT_IN = {"layout": "d9ed32721d214538", "simd": "024266e4576962cb"}

PIXELS = SIDE * SIDE

_LOW, _HIGH, _SCALE = np.float32(-1), np.float32(27.999), np.float32(256)

_WHOLE = (0, 0)
"""Registers of a row."""


@inner(vectorised=True)
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


@inner(vectorised=True)
def _add_field(noise, n, smooth, nodes, part, positions):
    """Add ``smooth' noise smooth``, shape (28, 32), to the positions along one axis; `noise` begins at `n`."""
    zero = np.float32(0)
    for k in range(nodes):
        rolled()
        row = splat(zero, _WHOLE)
        for j in range(nodes):
            rolled()
            row = fma(splat(peek(noise, n + k * nodes + j), _WHOLE), load(smooth, j * ROW, _WHOLE), row)
        store(part, k * ROW, row)
    for y in range(SIDE):
        rolled()
        row = load(positions, y * ROW, _WHOLE)
        for k in range(nodes):
            rolled()
            row = fma(splat(peek(smooth, k * ROW + y), _WHOLE), load(part, k * ROW, _WHOLE), row)
        store(positions, y * ROW, row)


@inner(vectorised=True)
def _start(a, b, c, columns, positions):
    """Write the positions of an affine map along one axis."""
    for y in range(SIDE):
        row, start = positions[y * ROW : y * ROW + ROW], b * np.float32(y) + c
        for x in range(ROW):
            row[x] = a * columns[x] + start


@inner(vectorised=True)
def _locate(along_x, along_y, cells):
    """Turn positions into the squares they lie in (bits 16 on), and the weights of their right and lower sides."""
    for i in range(SIDE * ROW):
        x, y = along_x[i], along_y[i]
        # Numba's min and max look after NaN and are no vector operations.
        x = x if x > _LOW else _LOW  # noqa: FURB136 - see above
        y = y if y > _LOW else _LOW  # noqa: FURB136 - see above
        x = x if x < _HIGH else _HIGH  # noqa: FURB136 - see above
        y = y if y < _HIGH else _HIGH  # noqa: FURB136 - see above
        ix, iy = np.int32((x - _LOW) * _SCALE), np.int32((y - _LOW) * _SCALE)
        cells[i] = (((iy >> 8) * ROW + (ix >> 8)) << 16) + ((ix & 255) << 8) + (iy & 255)


@inner(vectorised=True)
def _sample(corners, cells, found, out):
    """Write the image; return the sum of its ink."""
    for i in range(SIDE * ROW):
        found[i] = corners[cells[i] >> 16]
    total = 0
    for y in range(SIDE):
        row, places, here = out[y * SIDE : y * SIDE + SIDE], cells[y * ROW : y * ROW + SIDE], found[y * ROW :]
        for x in range(row.shape[0]):
            packed, right, below = here[x], (places[x] >> 8) & 255, places[x] & 255
            # The upper and the lower pair of corners in one multiplication, 16 bits each.
            both = (packed & 0xFFFFFFFF) * (256 - right) + (packed >> 32) * right
            ink = ((both & 0xFFFF) * (256 - below) + (both >> 16) * below + (1 << 15)) >> 16
            row[x] = 255 - ink
            total += ink
    return total


@jit
def distort(images, order, maps, noise, smooth, room, out, grey):
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
    room : Room
        To work in.
    out : ndarray of uint8, shape (m, 784)
        Filled.
    grey : ndarray of int64, shape (m,)
        Filled: the sum of each image's values.
    """
    nodes = noise.shape[2]
    size = nodes * nodes
    for i in range(order.shape[0]):
        _corners(images[order[i]], room.rows, room.corners)
        _start(maps[i, 0], maps[i, 1], maps[i, 4], room.columns, room.along_x)
        _start(maps[i, 2], maps[i, 3], maps[i, 5], room.columns, room.along_y)
        if noise.shape[0] > 0:
            _add_field(data(noise), 2 * i * size, data(smooth), nodes, data(room.part), data(room.along_x))
            _add_field(data(noise), (2 * i + 1) * size, data(smooth), nodes, data(room.part), data(room.along_y))
        _locate(room.along_x, room.along_y, room.cells)
        grey[i] = 255 * PIXELS - _sample(room.corners, room.cells, room.found, out[i])
