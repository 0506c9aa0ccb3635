"""Standardises rows of a stream by the running mean and variance of each column.

The moments follow Welford (1962), so that a step needs no earlier row and nothing cancels. A row holds some of the
columns; those that it does not hold keep their moments.
"""

import math

from numba import float64, int32

from fastnn.kernels.records import LARGEST, STANDARDISE
from fastnn.kernels.vector import device, pointer, record_at


@device
def first_bad(values, n):
    """Return the position of the first value that is NaN or not below LARGEST in size, or -1."""
    for k in range(n):
        if not -LARGEST < values[k] < LARGEST:
            return k
    return -1


@device
def update_moments(args, values, columns):
    """Add a row to the number of values, the mean and the sum of squared deviations of its columns."""
    counts, means, squares = pointer(args.counts, float64), pointer(args.means, float64), pointer(args.squares, float64)
    for k in range(args.n_values):
        j = columns[k]
        if j >= 0:
            counts[j] += 1.0
            deviation = values[k] - means[j]
            means[j] += deviation / counts[j]
            squares[j] += deviation * (values[k] - means[j])


@device
def standardised(args, j, value):
    """Return (value - mean) / standard deviation; 0 while all values of the column were equal.

    The size of the result is at most sqrt(n), which is the largest that a value can have among n + 1: the standard
    deviation of the first few values may be far too small.
    """
    squares, count = pointer(args.squares, float64)[j], pointer(args.counts, float64)[j]
    if squares <= 0.0:
        return 0.0
    scaled, largest = (value - pointer(args.means, float64)[j]) / math.sqrt(squares / count), math.sqrt(count)
    if scaled > largest:
        return largest
    return max(-largest, scaled)


def standardise():
    """Return the kernel that standardises rows; its argument is the address of a STANDARDISE record."""

    def run(address):
        args = record_at(address, STANDARDISE)
        n_values, columns = args.n_values, pointer(args.columns, int32)
        rows, dense, sparse = pointer(args.values, float64), pointer(args.dense, float64), pointer(args.sparse, float64)
        sparse_columns = pointer(args.sparse_columns, int32)
        args.bad = first_bad(rows, args.n_rows * n_values) + 1
        if args.bad > 0:
            return
        for k in range(args.n_rows * args.width):
            dense[k] = 0.0
        n_sparse = 0
        for i in range(args.n_rows):
            values = pointer(args.values + 8 * i * n_values, float64)
            if args.learns:
                update_moments(args, values, columns)
            for k in range(n_values):
                j = columns[k]
                if j >= 0:
                    value = standardised(args, j, values[k]) if args.standardises else values[k]
                    if args.width > 0:
                        dense[i * args.width + j] += value
                    else:
                        sparse[n_sparse], sparse_columns[n_sparse] = value, j
                        n_sparse += 1
        args.n_sparse = n_sparse

    return run
