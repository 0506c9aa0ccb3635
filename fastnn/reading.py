"""Opens every input file: only regular files, and never more of them than their size and a limit allow.

Other modules open no file for reading; a test searches them for it.
"""

from __future__ import annotations

import csv
import errno
import functools
import io
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from fastnn.errors import DataError, cannot_read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from fastnn.errors import FastnnError

# Opening a named pipe without O_NONBLOCK waits for a writer. It does not change how regular files are read.
_FLAGS = os.O_RDONLY
for _flag in ("O_CLOEXEC", "O_NONBLOCK", "O_NOCTTY", "O_BINARY", "O_NOINHERIT"):
    _FLAGS |= getattr(os, _flag, 0)

LINE_LIMIT = 1 << 16
"""Longest line of a text file in bytes; a row of 784 pixels has at most 3,200, with quotes and blanks 6,400."""
_EMPTY_LINES = 10_000

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class InputFile(io.BufferedReader):
    """A regular file opened for reading; what is added to it after it was opened is not read.

    If the system fails to read it, the exception is the one given to :func:`open_file`.

    Attributes
    ----------
    size : int
        Its size in bytes when it was opened, at most the limit given to :func:`open_file`.
    """

    def __init__(self, descriptor: int, size: int, failed: Callable[[OSError], FastnnError]) -> None:
        super().__init__(_Snapshot(descriptor, size, failed))
        self.size = size

    def read(self, size: int | None = -1, /) -> bytes:
        """Return at most `size` bytes, by default all that are left."""
        # A damaged file may ask for any number of bytes, and a buffer of that size would be allocated.
        left = max(0, self.size - self.tell())
        return super().read(left if size is None or size < 0 else min(size, left))


class _Snapshot(io.FileIO):
    """The first `size` bytes of a file."""

    def __init__(self, descriptor: int, size: int, failed: Callable[[OSError], FastnnError]) -> None:
        super().__init__(descriptor, "rb")
        self._size, self._failed = size, failed

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        try:
            count = super().readinto(memoryview(buffer)[: max(0, self._size - self.tell())])
            if count is None:  # only files that are not on a disk, such as some of /proc
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        except OSError as fault:
            raise self._failed(fault) from None
        return count


def open_file(
    path: str | Path, limit: int, *, what: str = "an input", error: type[FastnnError] = DataError
) -> InputFile:
    """Open a regular file for reading.

    Pipes, devices, sockets and folders are refused without waiting for them or reading from them.

    Parameters
    ----------
    path : path-like
    limit : int
        Largest size in bytes.
    what : str
        What the file should be, such as "a recipe"; used in messages.
    error : type
        The exception to raise.

    Returns
    -------
    InputFile
        To be closed by the caller.

    Raises
    ------
    FastnnError
        An `error` with the file's name if the file is not a regular one, cannot be opened or is larger than `limit`.
    """
    try:
        # Opening a device can have side effects: check before, and again below, as the file may be replaced in between.
        _check_kind(Path(path).stat().st_mode, path, error)
        descriptor = os.open(path, _FLAGS)
    except OSError as fault:
        raise cannot_read(path, fault, error) from None
    except ValueError as fault:  # a null character in the path
        raise error(f"{os.fspath(path)!r}: cannot be read ({fault})") from None
    try:
        status = os.fstat(descriptor)
        _check_kind(status.st_mode, path, error)
        if status.st_size > limit:
            raise error(f"{path}: too large to be {what}; the limit is {_size(limit)}")
        return InputFile(descriptor, status.st_size, functools.partial(cannot_read, path, kind=error))
    except BaseException:
        os.close(descriptor)
        raise


def read_file(path: str | Path, limit: int, *, what: str = "an input", error: type[FastnnError] = DataError) -> bytes:
    """Return the content of a regular file; parameters and errors as for :func:`open_file`.

    A file that holds more than its size says, such as those of /proc, is refused too.
    """
    with open_file(path, limit, what=what, error=error) as file:
        content = file.read()
        try:
            os.lseek(file.fileno(), file.size, os.SEEK_SET)
            grows = os.read(file.fileno(), 1) != b""
        except OSError as fault:
            raise cannot_read(path, fault, error) from None
    if grows:
        raise error(f"{path}: holds more bytes than its size says; copy it to a regular file first")
    return content


def _check_kind(mode: int, path: str | Path, error: type[FastnnError]) -> None:
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "something else")
        raise error(f"{path}: is {kind}, not a regular file")


def _size(limit: int) -> str:
    return f"{limit >> 20} MiB" if limit >= 1 << 20 else f"{limit >> 10} KiB"


def text_lines(
    pieces: Iterable[bytes],
    name: str,
    *,
    what: str,
    error: type[FastnnError] = DataError,
    longest: int = LINE_LIMIT,
) -> Iterator[bytes]:
    """Yield the lines of a text without their line feeds; only a piece and a line are in memory.

    Parameters
    ----------
    pieces : iterable of bytes
        The text.
    name : str
        What error messages call it.
    what : str
        What it should be; used in messages.
    error : type
        The exception to raise.
    longest : int
        Most bytes of a line.

    Raises
    ------
    FastnnError
        An `error` if a line has more bytes, or the text has far more empty lines than others.
    """

    def too_long(number: int) -> FastnnError:
        return error(f"{name}: not {what} (line {number} is longer than {_size(longest)})")

    rest, number, empty = b"", 0, 0
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            number += 1
            empty += len(line) < 2
            if empty > number // 2 + _EMPTY_LINES:
                raise error(f"{name}: not {what} (line {number} follows too many empty ones)")
            if len(line) > longest:
                raise too_long(number)
            yield line
        if len(rest) > longest:
            raise too_long(number + 1)
    if rest:
        yield rest


def read_csv_rows(
    path: str | Path, limit: int, *, what: str, error: type[FastnnError] = DataError
) -> Iterator[tuple[int, list[str]]]:
    """Yield line number and cells of each row of a CSV file; empty rows are skipped.

    Parameters and errors are those of :func:`open_file`; also an `error` if the file is not CSV in UTF-8, or a row has
    more than 64 KiB.
    """
    # Spreadsheets write a byte order mark.
    text = io.BytesIO(read_file(path, limit, what=what, error=error).removeprefix(b"\xef\xbb\xbf"))
    return csv_rows(iter(lambda: text.read(LINE_LIMIT), b""), str(path), what=what, error=error)


def csv_rows(
    pieces: Iterable[bytes],
    name: str,
    *,
    what: str,
    error: type[FastnnError] = DataError,
    longest: int = LINE_LIMIT,
    delimiter: str = ",",
    skip_blanks: bool = False,
) -> Iterator[tuple[int, list[str]]]:
    """Yield line number and cells of each row of a CSV text; empty rows are skipped.

    Parameters
    ----------
    pieces, name, what, error
        As for :func:`text_lines`.
    longest : int
        Most bytes of a row, which has several lines if a cell with quotes has.
    delimiter : str
    skip_blanks : bool
        Ignore blanks after a delimiter, also before a quote.

    Raises
    ------
    FastnnError
        An `error` if the text is not CSV in UTF-8, or a row is too long.
    """
    length = number = 0

    def lines() -> Iterator[str]:
        nonlocal length, number
        for line in text_lines(with_line_feeds(pieces), name, what=what, error=error, longest=longest):
            number += 1
            length += len(line)
            if length > longest:
                raise error(f"{name}: not {what} (the row in line {number} is longer than {_size(longest)})")
            yield line.decode() + "\n"

    reader = csv.reader(lines(), strict=True, delimiter=delimiter, skipinitialspace=skip_blanks)
    try:
        for row in reader:
            length = 0
            if row:
                yield reader.line_num, row
    except UnicodeDecodeError:
        raise error(f"{name}: not {what} (line {number} is not UTF-8 text; save it as UTF-8)") from None
    except csv.Error as fault:
        raise error(f"{name}: not {what} (line {number}: {fault})") from None


def with_line_feeds(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield a text with line feeds for the line ends of Windows, and for carriage returns alone."""
    held = b""
    for each in pieces:
        piece = held + each
        # A line feed may follow in the next piece.
        held = b"\r" if piece.endswith(b"\r") else b""
        yield piece.removesuffix(held).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if held:
        yield b"\n"
