"""Images of a store, normalised once: that takes longer than to train on them."""

from __future__ import annotations

import mmap
import shutil
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from fastnn.datasets.mapped import ROWS_AT_ONCE, MappedArray, MappedRows
from fastnn.storage import cache_dir, reserve, unnamed_file

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Normalise = Callable[[NDArray[np.uint8]], tuple[NDArray[np.uint8], NDArray[np.bool_]]]

_LEFT = 2
"""The disk must have so many times the room of the copy."""


class NormalisedImages(NamedTuple):
    """Normalised images, shape (n, 784), and whether nothing is drawn on them, shape (n,)."""

    rows: MappedRows
    blank: NDArray[np.bool_]


_lock = threading.Lock()
_copies: WeakKeyDictionary[MappedArray, NormalisedImages] = WeakKeyDictionary()
"""Copies of all images of a file, which are kept as long as somebody has the file."""


def normalised_copy(images: MappedRows, normalise: Normalise) -> NormalisedImages | None:
    """Return a copy of images in a temporary file of the cache folder, normalised.

    The file has no name and disappears with the images, or with the process. Sets that are picked from one file, such
    as the training sets of folds, share a copy of all of it, unless they are less than half of it.

    Parameters
    ----------
    images : MappedRows of uint8, shape (n, 784)
    normalise : callable
        Takes an array of images; returns them normalised, and which are blank.

    Returns
    -------
    NormalisedImages or None
        None if the disk has too little room, or if images occur twice: kernels find targets by the place in the file.
    """
    if not len(images) or images.has_repeats():
        return None
    file = images.file
    if type(images) is not MappedRows or file is None or 2 * len(images) < len(images.base):
        return _written(images, normalise)
    with _lock:
        whole = _copies.get(file) or _written(MappedRows(images.base), normalise)
        if whole is None:
            return None
        _copies[file] = whole
    if images.index is None:
        return whole
    return NormalisedImages(replace(whole.rows, index=images.index), whole.blank[images.index])


def _written(images: MappedRows, normalise: Normalise) -> NormalisedImages | None:
    try:
        file = _room(images.shape)
    except OSError:
        return None
    blank = np.empty(len(images), dtype=bool)
    for start in range(0, len(images), ROWS_AT_ONCE):
        part = slice(start, start + ROWS_AT_ONCE)
        file.array[part], blank[part] = normalise(images[part])
    return NormalisedImages(MappedRows(file.array, file=file), blank)


def _room(shape: tuple[int, int]) -> MappedArray:
    """Return a mapped array of zeros; OSError if there is no room for it."""
    size = shape[0] * shape[1]
    with unnamed_file() as file:
        if shutil.disk_usage(cache_dir()).free < _LEFT * size:
            raise OSError("the disk has too little room")
        reserve(file, size)
        pages: Any = mmap.mmap(file.fileno(), size)
    return MappedArray(pages, np.frombuffer(pages, np.uint8).reshape(shape))
