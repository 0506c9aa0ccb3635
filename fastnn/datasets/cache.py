"""A cache, in the user's cache folder, of data sets that take long to parse."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from fastnn.datasets.npz import arrays_of, from_arrays, read_arrays
from fastnn.datasets.safe_read import FILE_LIMIT, is_packed
from fastnn.errors import DataError
from fastnn.reading import open_file, read_file
from fastnn.storage import atomic_write, cache_dir

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from fastnn.datasets.dataset import Dataset

WORTH_CACHING = 1 << 20
"""Sources with fewer bytes are not cached: they are parsed in a few milliseconds."""
# The number is raised when a parser returns another data set for the same bytes.
_FOLDER = "arrays-3"

_FINGERPRINT_AND_KEY = re.compile(rb"([0-9a-f]{64}) ([0-9a-f]{64})")
_SETTLED = 2_000_000_000
"""Nanoseconds after which a change to a file is sure to change its times; longer than the coarsest file times."""


def cache_key(content: bytes | bytearray, name: str) -> str:
    """Return the key of a file's content as it is stored; `name` says whether that is compressed."""
    # The name decides how bytes are read: compressed bytes are no data set in a file named .json.
    return hashlib.sha256(b"gzip" * is_packed(name) + content).hexdigest()


def cached(key: str, size: int, source: str, parse: Callable[[], Dataset]) -> Dataset:
    """Return the data set cached under `key`; if there is none, parse the source and cache the result.

    An entry holds the hash of its content and is used only if the two agree; otherwise the source is parsed again and
    the entry replaced. If the cache cannot be written, nothing is cached, without a message.

    Parameters
    ----------
    key : str
        See :func:`cache_key`.
    size : int
        Number of these bytes; below `WORTH_CACHING` the cache is not used.
    source : str
        The `source` of the returned data set.
    parse : callable
        Returns the data set, parsed from its source.

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
    """Return the data set cached for the content of a file, or None if there is none.

    The key is the hash of the content. It is stored with the file's size, times and inode, and a file for which these
    are unchanged is not hashed again: hashing 41 MB takes a hundredth of the time of training 60 epochs on them.
    """
    try:
        if not WORTH_CACHING <= path.stat().st_size <= FILE_LIMIT:
            return None
        fingerprint = _fingerprint([path])
        key = known = _known_key([path], fingerprint)
        if key is None:
            with open_file(path, FILE_LIMIT) as file:
                key = hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, DataError):
        return None
    dataset = _read(_entry(key), source)
    if dataset is not None and known is None:
        _save_key([path], fingerprint, key)
    return dataset


def cached_files(paths: Sequence[Path], source: str, parse: Callable[[], Dataset]) -> Dataset:
    """Return the data set of several files; from the cache if they were parsed before and are unchanged.

    As in :func:`cached_file`, a file is unchanged if its size, times and inode are. If the cache cannot be written,
    nothing is cached, without a message.

    Parameters
    ----------
    paths : sequence of Path
    source : str
        The `source` of the data set.
    parse : callable
        Returns the data set, with or without a test set, parsed from the files.

    Returns
    -------
    Dataset
    """
    fingerprint = _fingerprint(paths)
    key = _known_key(paths, fingerprint)
    dataset = None if key is None else _read(_entry(key), source)
    if dataset is not None:
        return dataset
    dataset = parse()
    if fingerprint is not None and fingerprint == _fingerprint(paths):
        key = hashlib.sha256(_checksum(dataset).encode()).hexdigest()
        with contextlib.suppress(OSError):
            _write(_entry(key), dataset)
            _save_key(paths, fingerprint, key)
    return dataset


def _fingerprint(paths: Sequence[Path]) -> str | None:
    """Return a hash of the sizes, times and inodes of files; None if one was written a moment ago, and may be again."""
    try:
        found = [path.stat() for path in paths]
    except OSError:
        return None
    if any(time.time_ns() - status.st_mtime_ns <= _SETTLED for status in found):
        return None
    parts = [(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino) for status in found]
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _known_key(paths: Sequence[Path], fingerprint: str | None) -> str | None:
    """Return the key that :func:`_save_key` stored for unchanged files, or None."""
    if fingerprint is None:
        return None
    try:
        stored = _FINGERPRINT_AND_KEY.fullmatch(read_file(_key_file(paths), 1 << 10))
    except DataError:
        return None
    return stored[2].decode() if stored and stored[1] == fingerprint.encode() else None


def _save_key(paths: Sequence[Path], fingerprint: str | None, key: str) -> None:
    """Store the key of the data set that files hold, if they have a fingerprint and the cache can be written."""
    if fingerprint is not None:
        with contextlib.suppress(OSError), atomic_write(_key_file(paths)) as file:
            file.write(f"{fingerprint} {key}".encode())


def _key_file(paths: Sequence[Path]) -> Path:
    """Return the path of the file that stores the fingerprint of other files, and the key of their data set."""
    names = b"\0".join(os.fsencode(path.resolve()) for path in paths)
    return cache_dir() / _FOLDER / f"{hashlib.sha256(names).hexdigest()}.seen"


def _entry(key: str) -> Path:
    return cache_dir() / _FOLDER / f"{key}.npz"


def _read(path: Path, source: str) -> Dataset | None:
    try:
        if not path.is_file():
            return None
        arrays = read_arrays(path)
        dataset = from_arrays(arrays, source)
        if dataset.is_images and "notes" in arrays:
            dataset = replace(dataset, notes=tuple(arrays["notes"].tolist()))
    except (OSError, DataError):
        # The folder may be forbidden, or its name impossible.
        return None
    return dataset if str(arrays.get("checksum")) == _checksum(dataset) else None


def _checksum(dataset: Dataset) -> str:
    return dataset.content_hash + ("" if dataset.test is None else dataset.test.content_hash)


def _write(path: Path, dataset: Dataset) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        arrays = arrays_of(dataset)
        # They say how the file was read.
        arrays["notes"] = np.array(dataset.notes, dtype=np.str_)
        np.savez(file, checksum=np.array(_checksum(dataset)), **arrays)
