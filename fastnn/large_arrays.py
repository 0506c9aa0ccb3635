"""Arrays with a row for each sample: large ones are in a temporary file, and not in the memory of the process."""

from __future__ import annotations

import math
import mmap
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn.storage import reserve, unnamed_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import DTypeLike, NDArray

LARGE = 1 << 23
"""Bytes from which on an array is in a file."""
ROWS_IN_PART = 1 << 16
"""Rows that are worked on at a time in a pass over all of them, and samples whose outputs are in memory at a time."""
_MOST_VALUES = 1 << 20
"""Values of a part that has several rows."""


def zeros(shape: int | tuple[int, ...], dtype: DTypeLike = np.float64) -> NDArray[Any]:
    """Return an array of zeros, from 8 MiB on in a temporary file that is mapped into memory.

    Pages of a file are no memory of the process: the system writes them to the disk and drops them when it needs the
    room. The file is in the cache folder, has no name, is open as long as the array is used, and disappears with it or
    with the process. If it cannot be written, such as on a full disk, the array is in memory.

    Parameters
    ----------
    shape : int or tuple of int
    dtype : dtype
    """
    shape = (shape,) if isinstance(shape, int) else shape
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size < LARGE or not size:
        return np.zeros(shape, dtype)
    try:
        return zeros_in_file(shape, dtype)[1]
    except OSError:
        return np.zeros(shape, dtype)


def zeros_in_file(shape: tuple[int, ...], dtype: DTypeLike) -> tuple[mmap.mmap, NDArray[Any]]:
    """Return the pages of a temporary file as :func:`zeros` makes it, and the array in them.

    Parameters
    ----------
    shape : tuple of int
        Not of no values.
    dtype : dtype

    Raises
    ------
    OSError
        If the file cannot be written, such as on a full disk.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    with unnamed_file() as file:
        reserve(file, size)
        pages = mmap.mmap(file.fileno(), size)
    return pages, np.frombuffer(pages, dtype).reshape(shape)


def arange(n: int, dtype: DTypeLike = np.int64) -> NDArray[Any]:
    """Return the numbers from 0 to n - 1; many are in a temporary file, see :func:`zeros`."""
    numbers = zeros(n, dtype)
    for part in parts(n):
        numbers[part] = np.arange(part.start, part.stop)
    return numbers


def take(array: NDArray[Any], index: NDArray[np.integer[Any]]) -> NDArray[Any]:
    """Return some rows of an array; many are in a temporary file, see :func:`zeros`."""
    taken = zeros((len(index), *array.shape[1:]), array.dtype)
    for part in parts(len(index), math.prod(array.shape[1:])):
        taken[part] = array[index[part]]
    return taken


def flatnonzero(mask: NDArray[np.bool_]) -> NDArray[np.signedinteger[Any]]:
    """Return the positions of a mask, shape (n,), that are True, as int32 if that is enough for n.

    Many are in a temporary file, see :func:`zeros`.
    """
    small: DTypeLike = np.int32 if len(mask) <= np.iinfo(np.int32).max else np.int64
    found, done = zeros(int(np.count_nonzero(mask)), small), 0
    for part in parts(len(mask)):
        rows = np.flatnonzero(mask[part])
        found[done : done + len(rows)] = rows + part.start
        done += len(rows)
    return found


def parts(n: int, width: int = 1, rows: int | None = None) -> Iterator[slice]:
    """Yield slices of n rows: at most `rows`, by default ROWS_IN_PART, and fewer if rows of this width are large."""
    most = ROWS_IN_PART if rows is None else rows
    step = max(1, min(most, _MOST_VALUES // max(1, width)))
    for start in range(0, n, step):
        yield slice(start, min(n, start + step))


def smallest_uint(largest: int) -> np.dtype[Any]:
    """Return the smallest type of integers from 0 to `largest`."""
    return np.dtype(np.min_scalar_type(largest))
