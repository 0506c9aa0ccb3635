"""Arrays of data sets that take long to parse, kept in the user's cache folder."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import time
from typing import TYPE_CHECKING

import numpy as np

from fastnn.datasets.npz import from_arrays, read_arrays
from fastnn.datasets.safe_read import FILE_LIMIT
from fastnn.errors import DataError
from fastnn.storage import atomic_write, cache_dir

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fastnn.datasets.dataset import Dataset

# Smaller sources are parsed in a few milliseconds and would only litter the cache.
WORTH_CACHING = 1 << 20
# Goes up when a parser changes what it makes of the same bytes.
_FOLDER = "arrays-1"

_NOTED = re.compile(rb"(\d+ \d+ \d+ \d+) ([0-9a-f]{64})")
_SETTLED = 2_000_000_000
"""Nanoseconds; longer than the coarsest file times."""


def cached(key: str, size: int, source: str, parse: Callable[[], Dataset]) -> Dataset:
    """Return the data set cached under `key`, or parse it and cache it.

    An entry carries the content hash of what was stored and is trusted only if it still has it; anything else
    is parsed and written anew. Where the cache cannot be written, nothing is cached and nothing is said.

    Parameters
    ----------
    key : str
        SHA-256 (hexadecimal) of the source's bytes.
    size : int
        Bytes of the source; below `WORTH_CACHING` the cache is left alone.
    source : str
        The `source` of the returned set.
    parse : callable
        Makes the data set from its source.

    Returns
    -------
    Dataset
    """
    if size < WORTH_CACHING:
        return parse()
    stored = _read(_entry(key), source)
    if stored is not None:
        return stored
    dataset = parse()
    with contextlib.suppress(OSError):
        _write(_entry(key), dataset)
    return dataset


def cached_file(path: Path, source: str) -> Dataset | None:
    """Return the data set cached for the content of a file, or None.

    The content is known by its hash, and that by the file's size, times and inode once it was hashed: hashing 41 MB
    takes as long as a hundredth of training 60 epochs on them.
    """
    try:
        status = path.stat()
        if not WORTH_CACHING <= status.st_size <= FILE_LIMIT:
            return None
        note = _note(path)
        seen = f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino}".encode()
        known = _NOTED.fullmatch(note.read_bytes()) if note.is_file() else None
        if known is not None and known[1] == seen:
            key = known[2].decode()
        else:
            known = None
            with path.open("rb") as file:
                key = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None
    dataset = _read(_entry(key), source)
    # What was written a moment ago may be written to again without a difference in its times.
    if dataset is not None and known is None and time.time_ns() - status.st_mtime_ns > _SETTLED:
        with contextlib.suppress(OSError), atomic_write(note) as file:
            file.write(seen + b" " + key.encode())
    return dataset


def _note(path: Path) -> Path:
    """Return the file that notes the hash of another's content."""
    return cache_dir() / _FOLDER / f"{hashlib.sha256(os.fsencode(path.resolve())).hexdigest()}.seen"


def _entry(key: str) -> Path:
    return cache_dir() / _FOLDER / f"{key}.npz"


def _read(path: Path, source: str) -> Dataset | None:
    if not path.is_file():
        return None
    try:
        arrays = read_arrays(path)
        dataset = from_arrays(arrays, source)
    except DataError:
        return None
    return dataset if str(arrays.get("checksum")) == dataset.content_hash else None


def _write(path: Path, dataset: Dataset) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        np.savez(
            file,
            images=dataset.images,
            labels=dataset.labels,
            classes=np.array(dataset.classes),
            checksum=np.array(dataset.content_hash),
        )
