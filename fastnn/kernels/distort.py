"""Distorts images: an affine map plus a smooth random field of displacements, sampled bilinearly.

Random numbers are arguments; see ``fastnn.images.distort``. Positions are float32, with fused multiply-adds only where
the code says so, and interpolation weights are multiples of 1/256: the pixels are the same on every machine.
"""

import numpy as np
from numba import float32, int32, int64, uint8

from fastnn.kernels.records import DISTORT, ROW, SIDE
from fastnn.kernels.vector import TWO, device, fma, load, pointer, record_at, small_code, splat, store, zeros

PIXELS = SIDE * SIDE

_LOW, _HIGH, _SCALE = np.float32(-1), np.float32(27.999), np.float32(256)


@device
def pack_corners(image, ink, corners):
    """Pack the ink at the corners of each square between four pixel centres, 16 bits each, to read them in one load.

    Square (y, x), at ``corners[y * ROW + x]``, has pixel (y, x) as its lower right corner; there is no ink outside.
    From the lowest bits: upper left, lower left, upper right, lower right.
    """
    for y in range(SIDE):
        row, source = (y + 1) * (SIDE + 2) + 1, y * SIDE
        for x in range(SIDE):
            ink[row + x] = 255 - int64(image[source + x])
    for y in range(SIDE + 1):
        upper, lower, square = y * (SIDE + 2), (y + 1) * (SIDE + 2), y * ROW
        for x in range(SIDE + 1):
            left, right = ink[upper + x] + (ink[lower + x] << 16), ink[upper + x + 1] + (ink[lower + x + 1] << 16)
            corners[square + x] = left + (right << 32)


@device
def add_field(noise, first, field, positions):
    """Add ``smooth' noise smooth``, shape (28, 32), to the positions along one axis; the noise begins at `first`."""
    small_code()
    smooth, n_nodes, part = field
    for k in range(n_nodes):
        row = zeros(part, TWO)
        for j in range(n_nodes):
            row = fma(splat(noise[first + k * n_nodes + j], TWO), load(smooth, j * ROW, TWO), row)
        store(part, k * ROW, row)
    for y in range(SIDE):
        row = load(positions, y * ROW, TWO)
        for k in range(n_nodes):
            row = fma(splat(smooth[k * ROW + y], TWO), load(part, k * ROW, TWO), row)
        store(positions, y * ROW, row)


@device
def map_axis(a, b, c, columns, positions):
    """Write the positions of an affine map along one axis: a x + b y + c."""
    for y in range(SIDE):
        start = b * np.float32(y) + c
        for x in range(ROW):
            positions[y * ROW + x] = a * columns[x] + start


@device
def locate(along_x, along_y, cells):
    """Write the square of each position (from bit 16 on) and the weights of its right and lower sides (8 bits each)."""
    for i in range(SIDE * ROW):
        # Numba's min and max check for NaN, which prevents vector instructions.
        x, y = along_x[i], along_y[i]
        x = x if x > _LOW else _LOW  # noqa: FURB136 - see above
        y = y if y > _LOW else _LOW  # noqa: FURB136 - see above
        x = x if x < _HIGH else _HIGH  # noqa: FURB136 - see above
        y = y if y < _HIGH else _HIGH  # noqa: FURB136 - see above
        ix, iy = np.int32((x - _LOW) * _SCALE), np.int32((y - _LOW) * _SCALE)
        cells[i] = (((iy >> 8) * ROW + (ix >> 8)) << 16) + ((ix & 255) << 8) + (iy & 255)


@device
def sample(corners, cells, found, out):
    """Write the image that is interpolated bilinearly at the positions of `cells`."""
    for i in range(SIDE * ROW):
        found[i] = corners[cells[i] >> 16]
    for y in range(SIDE):
        for x in range(SIDE):
            packed, cell = found[y * ROW + x], int64(cells[y * ROW + x])
            right, below = (cell >> 8) & 255, cell & 255
            # The upper and the lower pair of corners in one multiplication, 16 bits each.
            both = (packed & 0xFFFFFFFF) * (256 - right) + (packed >> 32) * right
            ink = ((both & 0xFFFF) * (256 - below) + (both >> 16) * below + (1 << 15)) >> 16
            out[y * SIDE + x] = 255 - ink


def distort():
    """Return the kernel that distorts the images of `order`; its argument is the address of a DISTORT record."""

    def run(address):
        args = record_at(address, DISTORT)
        order = pointer(args.order, int64)
        maps, noise, columns = pointer(args.maps, float32), pointer(args.noise, float32), pointer(args.columns, float32)
        field = pointer(args.smooth, float32), args.n_nodes, pointer(args.part, float32)
        ink, corners, found = pointer(args.ink, int64), pointer(args.corners, int64), pointer(args.found, int64)
        along_x, along_y, cells = (
            pointer(args.along_x, float32),
            pointer(args.along_y, float32),
            pointer(args.cells, int32),
        )
        size = args.n_nodes * args.n_nodes
        for i in range(args.n):
            pack_corners(pointer(args.images + order[i] * PIXELS, uint8), ink, corners)
            map_axis(maps[6 * i], maps[6 * i + 1], maps[6 * i + 4], columns, along_x)
            map_axis(maps[6 * i + 2], maps[6 * i + 3], maps[6 * i + 5], columns, along_y)
            if args.noise != 0:
                add_field(noise, 2 * i * size, field, along_x)
                add_field(noise, (2 * i + 1) * size, field, along_y)
            locate(along_x, along_y, cells)
            sample(corners, cells, found, pointer(args.out + i * PIXELS, uint8))

    return run
