"""Standard streams that are closed, full or broken."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Buffer  # type: ignore[attr-defined, unused-ignore]

OUTPUT = "standard output"
"""The file name of errors in writing to it."""


class _Output(io.FileIO):
    """Standard output; errors name it."""

    def write(self, data: Buffer, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            raise OSError(error.errno, error.strerror, OUTPUT) from None


class _Messages(io.FileIO):
    """Standard error; what cannot be written is discarded, for messages must not change what a command does."""

    def write(self, data: Buffer, /) -> int:
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes


def open_streams() -> None:
    """Prepare the standard streams of the process for all states that they may be in.

    The null device takes the place of those that are closed, so that no file that is opened later gets their numbers.
    Bytes in file names that are not valid text are shown escaped.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number
    sys.stdout = _stream(sys.stdout, _Output, 1)
    sys.stderr = _stream(sys.stderr, _Messages, 2)


def ignore_impossible_size() -> None:
    """Remove the size of the terminal from the environment if rich cannot read it, such as one of 5,000 digits."""
    for name in ("COLUMNS", "LINES"):
        value = os.environ.get(name, "0")
        if not (value.isascii() and value.isdigit() and len(value) < 7):
            del os.environ[name]


def _stream(stream: Any, kind: type[io.FileIO], number: int) -> Any:
    """Return the stream to use instead of `stream`, which writes to the file descriptor `number` if it is Python's."""
    if stream is None:  # it was closed
        return io.TextIOWrapper(io.BufferedWriter(kind(number, "w", closefd=False)), "utf-8")
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    # On Windows the stream of a console is not a file.
    if os.name != "posix" or stream.fileno() != number:
        stream.reconfigure(errors="backslashreplace")
        return stream
    file: Any = kind(number, "w", closefd=False)
    return io.TextIOWrapper(
        file if stream.write_through else io.BufferedWriter(file),  # as Python does; see its option -u
        stream.encoding,
        "backslashreplace",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def discard_output() -> None:
    """Discard what is written to standard output from now on, since Python complains if it cannot write at its end."""
    with contextlib.suppress(OSError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
