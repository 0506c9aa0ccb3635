"""Images of a data set, normalised once: that takes longer than to train on them."""

from __future__ import annotations

import shutil
import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from fastnn import large_arrays
from fastnn.datasets.mapped import MappedArray, MappedRows, changed, row_parts
from fastnn.images.normalise import normalise_batch
from fastnn.storage import cache_dir

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FREE_FOR_COPY = 2
"""The disk must have so many times the room of a copy."""


class _Normalised(NamedTuple):
    """Normalised images, shape (n, 784), and whether nothing is drawn on them, shape (n,)."""

    images: Any
    blank: NDArray[np.bool_]


@dataclass(eq=False)
class _Copy:
    """The copy of all images of a file, if it is made."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    made: _Normalised | None = None


_lock = threading.Lock()
_copies: WeakKeyDictionary[MappedArray, _Copy] = WeakKeyDictionary()
"""A copy is kept as long as the store of its images is open."""


def normalise_rows(images: NDArray[np.uint8] | MappedRows) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return images with dark ink on light paper normalised, and which are blank.

    Parameters
    ----------
    images : ndarray of uint8 or MappedRows, shape (n, 784)

    Returns
    -------
    images : ndarray of uint8 or MappedRows, shape (n, 784)
        Those of mapped rows are in a temporary file of the cache folder. It has no name and disappears with them or
        with the process. Rows that are picked from one file, such as the training sets of folds, share a copy of all
        of it, unless they are less than half of it. If the disk has no room for the copy, or if rows are picked twice,
        they are normalised each time they are read.
    blank : ndarray of bool, shape (n,)
    """
    if not isinstance(images, MappedRows):
        return _normalised(images)
    # Kernels find the target of a row by its place in the file, of which a row that is picked twice has one.
    copy = None if not len(images) or images.has_repeats() else _copy_of(images)
    if copy is None:
        blank = [_normalised(part)[1] for part in row_parts(images)]
        later = changed(images, lambda rows, _: _normalised(rows)[0])
        copy = _Normalised(later, np.concatenate([np.zeros(0, dtype=bool), *blank]))
    return copy


def _normalised(images: NDArray[np.uint8]) -> _Normalised:
    return _Normalised(*normalise_batch(images, polarity="dark-on-light"))


def _copy_of(images: MappedRows) -> _Normalised | None:
    """Return a copy in a temporary file; None if there is no room for it."""
    if type(images) is not MappedRows or images.file is None:
        return _written(images)
    with _lock:
        whole = _copies.setdefault(images.file, _Copy())
    with whole.lock:
        if whole.made is None and 2 * len(images) >= len(images.base):
            whole.made = _written(MappedRows(images.base))
        made = whole.made
    if made is None:
        return _written(images)
    if images.index is None:
        return made
    return _Normalised(replace(made.images, index=images.index), made.blank[images.index])


def _written(images: MappedRows) -> _Normalised | None:
    cache = cache_dir()
    try:
        cache.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(cache).free < _FREE_FOR_COPY * images.size:
            return None
        pages, array = large_arrays.zeros_in_file(images.shape, np.uint8)
    except OSError:
        return None
    blank, done = np.empty(len(images), dtype=bool), 0
    for rows in row_parts(images):
        part = slice(done, done + len(rows))
        array[part], blank[part] = _normalised(rows)
        done += len(rows)
    return _Normalised(MappedRows(array, file=MappedArray(pages, array)), blank)
