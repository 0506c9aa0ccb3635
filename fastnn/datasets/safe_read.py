"""Reading and decompressing untrusted files within limits on memory."""

from __future__ import annotations

import gzip
import zlib
from typing import TYPE_CHECKING

from fastnn.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

FILE_LIMIT = 1 << 31
"""Larger files are refused rather than read into memory; a text file of 2 GiB holds some 700,000 digits."""
_CHUNK = 1 << 20
# Digits compress 5 to 30 fold; a file that unpacks to far more than that is a decompression bomb.
_RATIO = 100
_ALWAYS_ALLOWED = 64 << 20


def unpacked_limit(packed: int) -> int:
    """Return how many bytes `packed` compressed bytes may unpack to."""
    return min(FILE_LIMIT, max(_ALWAYS_ALLOWED, _RATIO * packed))


def unpack(file: BinaryIO, packed: int, name: str) -> bytearray:
    """Return the decompressed content of a gzip stream, up to :func:`unpacked_limit`.

    Parameters
    ----------
    file : binary file
        The compressed bytes.
    packed : int
        Number of compressed bytes.
    name : str
        What error messages call the file.

    Returns
    -------
    bytearray

    Raises
    ------
    DataError
        If the stream is damaged, truncated or unpacks to too much.
    """
    limit = unpacked_limit(packed)
    content = bytearray()
    try:
        with gzip.GzipFile(fileobj=file) as unpacked:
            while chunk := unpacked.read(_CHUNK):
                content += chunk
                if len(content) > limit:
                    raise DataError(
                        f"{name}: unpacks to more than {limit >> 20} MiB; if that is right, unpack the file first"
                    )
    except EOFError:
        raise DataError(f"{name}: the compressed file is truncated") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{name}: not a gzip file, or damaged ({error})") from None
    return content


def read_file(path: Path) -> bytes | bytearray:
    """Return the content of a file, decompressed if its name ends with ``.gz``.

    Parameters
    ----------
    path : Path

    Returns
    -------
    bytes or bytearray
        Without the UTF-8 byte order mark, if there is one.

    Raises
    ------
    DataError
        If the file cannot be read, is empty, damaged or too large.
    """
    try:
        size = path.stat().st_size
        if size > FILE_LIMIT:
            raise DataError(f"{path}: {size >> 20} MiB are too large; the limit is {FILE_LIMIT >> 20} MiB")
        if path.suffix.lower() == ".gz":
            with path.open("rb") as file:
                content: bytes | bytearray = unpack(file, size, str(path))
        else:
            content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
    if not content:
        raise DataError(f"{path}: the file is empty")
    return content[3:] if content.startswith(b"\xef\xbb\xbf") else content
