"""Arrays that readers leave on the disk, in files of a temporary folder, and those that they keep in memory."""

from __future__ import annotations

import contextlib
import itertools
import mmap
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from fastnn.datasets.dataset import PIXELS
from fastnn.datasets.mapped import MappedFile, MappedRows
from fastnn.datasets.store_files import FEATURES, ArrayWriter

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray


_SMALL = 1 << 18
"""Bytes of content that are not written to a file."""


def free_path(spool: Path, name: str = FEATURES) -> Path:
    """Return a path in a folder at which there is nothing yet."""
    path, number = spool / name, 1
    while path.exists():
        path, number = spool / f"{number}-{name}", number + 1
    return path


def rows_in(path: Path) -> MappedRows:
    """Return the rows of a ``.npy`` file, which is moved into a store if they are not changed."""
    file = MappedFile(path)
    return MappedRows(file.array, file=file)


def rows_on_disk(spool: Path, parts: Iterable[NDArray[Any]], dtype: np.dtype[Any], width: int) -> MappedRows:
    """Write rows to a new file, part by part.

    Parameters
    ----------
    spool : Path
        A temporary folder.
    parts : iterable of ndarray, each of shape (m, width)
    dtype : dtype
    width : int

    Returns
    -------
    MappedRows, shape (n, width)
    """
    path = free_path(spool)
    writer = ArrayWriter(path, dtype, (width,))
    try:
        with writer:
            for part in parts:
                writer.append(part)
    except BaseException:
        with contextlib.suppress(OSError):  # the error that ended the writing is the one to tell
            path.unlink()
        raise
    return rows_in(path)


def images_from(parts: Iterable[NDArray[np.uint8]], n: int, spool: Path | None) -> NDArray[np.uint8]:
    """Return the images of parts, in memory or, with a temporary folder, left on the disk.

    Parameters
    ----------
    parts : iterable of ndarray of uint8, each of shape (m, 784)
    n : int
        Number of all images.
    spool : Path or None

    Returns
    -------
    ndarray of uint8 or MappedRows, shape (n, 784)
    """
    if spool is not None:
        return cast("NDArray[np.uint8]", rows_on_disk(spool, parts, np.dtype(np.uint8), PIXELS))
    images, done = np.empty((n, PIXELS), np.uint8), 0
    for part in parts:
        images[done : done + len(part)] = part
        done += len(part)
    return images


def array_on_disk(spool: Path, parts: Iterable[NDArray[Any]]) -> NDArray[Any]:
    """Return an array of parts that follow each other, of which there is at least one, left on the disk."""
    left = iter(parts)
    first = next(left)
    path = free_path(spool, "array")
    with ArrayWriter(path, first.dtype, first.shape[1:]) as writer:
        for part in itertools.chain([first], left):
            writer.append(part)
    return array_in(path)


def array_in(path: Path) -> NDArray[Any]:
    """Return the array of a ``.npy`` file, which has no name any more when this returns."""
    array = MappedFile(path).array
    with contextlib.suppress(OSError):  # Windows keeps a file that is mapped
        path.unlink()
    return array


def content_on_disk(spool: Path, pieces: Iterable[Any]) -> mmap.mmap | bytearray:
    """Write content to a file that has no name any more when this returns; return it mapped.

    What is small is returned as it is: each map keeps a file open.

    Parameters
    ----------
    spool : Path
        A temporary folder.
    pieces : iterable of bytes
    """
    left, small = iter(pieces), bytearray()
    for piece in left:
        small += piece
        if len(small) > _SMALL:
            break
    else:
        return small
    path = free_path(spool, "content")
    try:
        with path.open("x+b") as file:
            file.write(small)
            for piece in left:
                file.write(piece)
            file.flush()
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    finally:
        with contextlib.suppress(OSError):  # Windows keeps a file that is mapped
            path.unlink()
