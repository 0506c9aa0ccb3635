"""The public files: dataset.json and the mosaic, each made once and sent to everybody who asks."""

from __future__ import annotations

import gzip
import io
import tempfile
import threading
import time
import weakref
import zlib
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from starlette.concurrency import run_in_threadpool

from fastnn.datasets.dataset import PIXELS, Dataset
from fastnn.datasets.labels import DIGIT_CLASSES
from fastnn.images.mosaic import DEFAULT_SIDE, as_png, mosaic
from fastnn.web.answers import SharedDigit
from fastnn.web.transactions import StoreError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence
    from typing import BinaryIO

    from fastnn.web.store import Store

_CHUNK_BYTES = 1 << 16
_REUSE_FACTOR = 10.0
"""A file that took more than a second to make is reused for ten times as long, even if the digits have changed."""


class CachedFile:
    """A file made from one state of the database.

    Parameters
    ----------
    file : binary file
        Closed when this object is no longer used.
    revision : int
        Revision of the accepted digits that the file was made from.
    seconds : float
        Time that it took to make.
    """

    def __init__(self, file: BinaryIO, revision: int, seconds: float) -> None:
        self._file, self._lock = file, threading.Lock()
        # Downloads that are still running keep an old file alive; it is closed after the last of them.
        weakref.finalize(self, file.close)
        self.revision = revision
        self.size = file.seek(0, 2)
        self._reuse_until = time.monotonic() + (_REUSE_FACTOR * seconds if seconds > 1 else 0.0)

    def is_fresh(self, revision: int) -> bool:
        """Return whether the file may still be sent when the accepted digits are at `revision`."""
        return revision == self.revision or time.monotonic() < self._reuse_until

    def read(self, start: int, n: int = _CHUNK_BYTES) -> bytes:
        """Return at most `n` bytes, beginning at byte `start`."""
        with self._lock:
            self._file.seek(start)
            return self._file.read(n)

    async def chunks(self, *, decompress: bool) -> AsyncIterator[bytes]:
        """Yield the content in constant memory; `decompress` undoes gzip on the way."""
        decompressor = zlib.decompressobj(wbits=31) if decompress else None
        start = 0
        while chunk := await run_in_threadpool(self.read, start):
            start += len(chunk)
            if decompressor is None:
                yield chunk
                continue
            while chunk:
                yield decompressor.decompress(chunk, 1 << 20)
                chunk = decompressor.unconsumed_tail


class Export:
    """The public files of a store; a request makes a file again if the accepted digits have changed.

    Parameters
    ----------
    store : Store
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._locks = {"dataset": threading.Lock(), "mosaic": threading.Lock()}
        self._cached: dict[str, CachedFile] = {}

    def dataset(self) -> CachedFile:
        """Return the accepted digits as gzipped JSON: an array of ``{"image": [784 pixels], "label": 0 to 9}``.

        Labels of other classes than digits are their names.

        Raises
        ------
        StoreError
            If the database fails, or the disk has no room for the file.
        """
        return self._current("dataset")

    def mosaic(self) -> CachedFile:
        """Return a PNG image of at most 1,600 accepted digits; a white one if there are none.

        Raises
        ------
        StoreError
            If the database fails.
        """
        return self._current("mosaic")

    def _current(self, name: str) -> CachedFile:
        with self._locks[name]:
            cached = self._cached.get(name)
            if cached is None or not cached.is_fresh(self._store.revision()):
                start = time.monotonic()
                try:
                    file, revision = self._make_dataset() if name == "dataset" else self._make_mosaic()
                except OSError as error:
                    raise StoreError(f"no room for {name}: {error.strerror}") from None
                cached = self._cached[name] = CachedFile(file, revision, time.monotonic() - start)
            return cached

    def _make_dataset(self) -> tuple[BinaryIO, int]:
        # A temporary file without a name: it disappears with the process.
        file: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115 - stays open
        try:
            with (
                self._store.accepted() as (revision, rows),
                gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=4, mtime=0) as compressed,
            ):
                # Digits are numbers, as in the original's file; other classes are written by their names. A number
                # always is a position, too: of the classes 1 to 5, the API takes the label 1 for the second one.
                labels = [k if name == str(k) else name for k, name in enumerate(self._store.classes)]
                _write_json(rows, labels, compressed)
        except BaseException:
            file.close()
            raise
        return file, revision

    def _make_mosaic(self) -> tuple[BinaryIO, int]:
        revision = self._store.revision()
        images = self._store.sample(DEFAULT_SIDE * DEFAULT_SIDE, seed=revision)
        if not len(images):
            images = np.full((1, PIXELS), 255, np.uint8)
        tiles = mosaic(Dataset(images, np.zeros(len(images), np.int64), DIGIT_CLASSES, "mosaic"))
        return io.BytesIO(as_png(tiles)), revision


def _write_json(rows: Iterable[tuple[bytes, int]], labels: Sequence[int | str], file: gzip.GzipFile) -> None:
    """Write digits in the format of the original project, with one digit at a time in memory."""
    separator = b"["
    for pixels, label in rows:
        if label not in range(len(labels)):
            raise ValueError(f"a digit is damaged: its label is not from 0 to {len(labels) - 1}")
        file.write(separator + msgspec.json.encode(SharedDigit(list(pixels), labels[label])))
        separator = b","
    file.write(b"]" if separator == b"," else b"[]")
