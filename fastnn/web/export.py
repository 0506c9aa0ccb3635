"""What is shared: dataset.json, packed once for all who ask, and the mosaic."""

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
from fastnn.images.mosaic import DEFAULT_SIDE, mosaic
from fastnn.web.store import StoreError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from typing import BinaryIO

    from fastnn.web.store import Store

_CHUNK = 1 << 16
_SHARE = 10.0
"""A file that took longer than a second to make is given out ten times as long, changes or not."""


class Kept:
    """A file or picture made from one state of the database.

    Parameters
    ----------
    file : binary file
    revision : int
        Of the accepted digits.
    seconds : float
        What it took to make.
    """

    def __init__(self, file: BinaryIO, revision: int, seconds: float) -> None:
        self._file, self._lock = file, threading.Lock()
        # Those who are still being sent an older file hold on to it; it is closed with the last of them.
        weakref.finalize(self, file.close)
        self.revision = revision
        self.size = file.seek(0, 2)
        self._due = time.monotonic() + (_SHARE * seconds if seconds > 1 else 0.0)

    def is_fresh(self, revision: int) -> bool:
        """Whether it can be given out while the accepted digits are at `revision`."""
        return revision == self.revision or time.monotonic() < self._due

    def read(self, start: int, n: int = _CHUNK) -> bytes:
        """Return at most `n` bytes from `start` on."""
        with self._lock:
            self._file.seek(start)
            return self._file.read(n)

    async def chunks(self, *, unpacked: bool) -> AsyncIterator[bytes]:
        """Yield the content, of a gzip file unpacked on the way if asked for, in constant memory."""
        unpacker = zlib.decompressobj(wbits=31) if unpacked else None
        start = 0
        while chunk := await run_in_threadpool(self.read, start):
            start += len(chunk)
            if unpacker is None:
                yield chunk
                continue
            while chunk:
                yield unpacker.decompress(chunk, 1 << 20)
                chunk = unpacker.unconsumed_tail


class Export:
    """The shared files of a store, each made anew when it is asked for and the accepted digits have changed.

    Parameters
    ----------
    store : Store
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._locks = {"dataset": threading.Lock(), "mosaic": threading.Lock()}
        self._kept: dict[str, Kept] = {}

    def dataset(self) -> Kept:
        """Return dataset.json of the original's format, packed by gzip.

        Raises
        ------
        StoreError
            If the database fails, or there is no room for the file.
        """
        return self._current("dataset")

    def mosaic(self) -> Kept:
        """Return a PNG picture of at most 1,600 accepted digits; white if there are none.

        Raises
        ------
        StoreError
            If the database fails.
        """
        return self._current("mosaic")

    def _current(self, what: str) -> Kept:
        with self._locks[what]:
            kept = self._kept.get(what)
            if kept is None or not kept.is_fresh(self._store.revision()):
                start = time.monotonic()
                try:
                    file, revision = self._pack() if what == "dataset" else self._draw()
                except OSError as error:
                    raise StoreError(f"no room for {what}: {error.strerror}") from None
                kept = self._kept[what] = Kept(file, revision, time.monotonic() - start)
            return kept

    def _pack(self) -> tuple[BinaryIO, int]:
        # It has no name, so it is gone with the process.
        file: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115 - kept open
        try:
            with (
                self._store.accepted() as (revision, rows),
                gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=4, mtime=0) as packed,
            ):
                _write_json(rows, packed)
        except BaseException:
            file.close()
            raise
        return file, revision

    def _draw(self) -> tuple[BinaryIO, int]:
        from PIL import Image

        revision = self._store.revision()
        images = self._store.sample(DEFAULT_SIDE * DEFAULT_SIDE, seed=revision)
        if not len(images):
            images = np.full((1, PIXELS), 255, np.uint8)
        tiles = mosaic(Dataset(images, np.zeros(len(images), np.int64), DIGIT_CLASSES, "mosaic"))
        file = io.BytesIO()
        Image.fromarray(tiles).save(file, "PNG")
        return file, revision


def _write_json(rows: Iterable[tuple[bytes, int]], file: gzip.GzipFile) -> None:
    """Write digits as the original's file has them, one at a time in memory."""
    before = b"["
    for pixels, label in rows:
        file.write(before + msgspec.json.encode({"image": list(pixels), "label": label}))
        before = b","
    file.write(b"]" if before == b"," else b"[]")
