"""Where a study is kept: a journal, which is a file of JSON lines that several processes append to, or a database.

Part of :mod:`fastnn.sweep.study`, which imports it.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from typing import TYPE_CHECKING, Any

import msgspec
import optuna
from optuna.storages import JournalStorage, RDBStorage
from optuna.storages.journal import BaseJournalBackend, JournalFileSymlinkLock

from fastnn.errors import FastnnError, MissingExtraError, TrainingError, cannot_write
from fastnn.reading import open_file
from fastnn.storage import check_name, open_locked, user_path
from fastnn.sweep.options import shown_source

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import FileIO
    from pathlib import Path

_JOURNAL_LIMIT = 1 << 32
_LINE_LIMIT = 1 << 22
_FLUSH_SECONDS = 1.0


@contextlib.contextmanager
def as_study_error(source: str) -> Iterator[None]:
    """Raise a FastnnError in place of an error of Optuna, of its database, or of a damaged journal."""
    try:
        yield
    except FastnnError:
        raise
    except OSError as error:
        raise cannot_write(shown_source(source), error) from None
    except Exception as error:
        text = " ".join(str(error).split())[:300]
        shown = f"{type(error).__name__}: {text}" if text else type(error).__name__
        raise FastnnError(f"{shown_source(source)}: the study cannot be used ({shown})") from None


def open_storage(source: str, *, create: bool) -> Any:
    """Return Optuna's storage of a study, see :class:`fastnn.sweep.study.Study`."""
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    if "://" in source:
        return _open_database(source)
    path = user_path(source)
    check_name(path)
    if path.exists():
        _check_journal(path)
    elif not create:
        raise FastnnError(f"{path}: no such study")
    lock = _JournalLock(path)
    if create:
        path.touch()
        with _locked(lock):
            _repair(path)
    return JournalStorage(_Journal(path, lock))


class _JournalLock(JournalFileSymlinkLock):
    """Locks a journal; the system releases the lock of a process that is killed.

    Optuna's own lock is a symbolic link, which a killed process leaves, and others wait for it for half a minute. It is
    used where the system or the disk has no locks.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self._path = path
        self._handle: int | None = None

    def acquire(self) -> bool:
        """Wait for the lock."""
        self._handle = open_locked(self._path)
        return self._handle is not None or super().acquire()

    def release(self) -> None:
        """Release the lock."""
        if self._handle is None:
            super().release()
        else:
            handle, self._handle = self._handle, None
            os.close(handle)


class _Journal(BaseJournalBackend):
    """A file of JSON lines that is flushed to the disk now and then.

    Optuna's own flushes each line: six of 4 ms for a trial. Of a process that is killed the system writes all lines;
    if the machine fails, the trials of the last second are done again. It also remembers where each line begins, for
    600 bytes a trial.
    """

    def __init__(self, path: Path, lock: _JournalLock) -> None:
        self._path, self._lock = path, lock
        self._read = self._offset = 0
        """Number of lines that were read, and where the next one begins."""
        self._flushed = 0.0

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """Yield the entries from a number on."""
        if log_number_from < self._read:
            self._read = self._offset = 0
        with open_file(self._path, _JOURNAL_LIMIT, what="a study", error=TrainingError) as file:
            if file.size < self._offset:
                raise TrainingError(f"{self._path}: another process has cut off the study; start again")
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):  # another process writes it
                    return
                self._read, self._offset = self._read + 1, self._offset + len(line)
                if self._read > log_number_from:
                    yield _decode(line)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Add entries."""
        lines = b"".join(json.dumps(log, separators=(",", ":")).encode() + b"\n" for log in logs)
        with _locked(self._lock):
            # Another sweep may have been killed while it wrote.
            _repair(self._path)
            with self._path.open("ab", buffering=0) as file:
                _append(file, lines)
                if time.monotonic() >= self._flushed + _FLUSH_SECONDS:
                    os.fsync(file.fileno())
                    self._flushed = time.monotonic()


@contextlib.contextmanager
def _locked(lock: _JournalLock) -> Iterator[None]:
    lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _append(file: FileIO, content: bytes) -> None:
    """Append content to a file; if that fails, leave the file as it was."""
    size, left = file.seek(0, os.SEEK_END), memoryview(content)
    try:
        while left:
            left = left[file.write(left) :]
    except OSError:
        with contextlib.suppress(OSError):
            file.truncate(size)
        raise


def _open_database(url: str) -> Any:
    url = url.replace("postgresql://", "postgresql+psycopg://", 1).replace("postgres://", "postgresql+psycopg://", 1)
    options = {"connect_args": {"timeout": 30}} if url.startswith("sqlite:") else {"pool_pre_ping": True}
    try:
        return RDBStorage(url, engine_kwargs=options)
    except ImportError as error:
        if url.startswith("postgresql+psycopg:"):
            raise MissingExtraError("a study in PostgreSQL", "postgres") from None
        raise FastnnError(f"{shown_source(url)}: the driver of this database is not installed ({error})") from None


def _decode(line: bytes) -> dict[str, Any]:
    try:
        # Keys that were seen before take no memory again.
        return msgspec.json.decode(line, type=dict[str, Any])
    except msgspec.DecodeError:
        # Python writes NaN and Infinity, which JSON does not know.
        found: dict[str, Any] = json.loads(line)
        return found


class _Line(msgspec.Struct):
    op_code: int
    worker_id: str


_line = msgspec.json.Decoder(_Line)


def _check_journal(path: Path) -> None:
    """Raise a FastnnError unless a file is a journal of Optuna; its last line may be unfinished."""
    with open_file(path, _JOURNAL_LIMIT, what="a study", error=FastnnError) as file:
        number, rest = 0, b""
        while block := file.read(1 << 20):
            *lines, rest = (rest + block).split(b"\n")
            for line in lines:
                number += 1
                try:
                    _line.decode(line)
                except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                    raise FastnnError(f"{path}: not a study of Optuna, or damaged (line {number})") from None
            if len(rest) > _LINE_LIMIT:
                raise FastnnError(f"{path}: not a study of Optuna (line {number + 1} is too long)")


def _repair(path: Path) -> None:
    """Cut off an unfinished last line, which a kill left; the lock must be held."""
    with open_file(path, _JOURNAL_LIMIT, what="a study", error=TrainingError) as file:
        if file.size:
            file.seek(file.size - 1)
        if not file.size or file.read(1) == b"\n":
            return
        end = max(0, file.size - _LINE_LIMIT)
        file.seek(end)
        whole = end + file.read().rfind(b"\n") + 1
    os.truncate(path, whole)
