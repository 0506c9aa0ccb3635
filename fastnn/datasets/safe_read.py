"""Reading files whose size is not to be trusted."""

from __future__ import annotations

import gzip
import zlib
from typing import TYPE_CHECKING

from fastnn.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

# A text file of 2 GiB holds some 700,000 digits; larger ones are refused rather than read into memory.
FILE_LIMIT = 1 << 31
_CHUNK = 1 << 20
# Digits compress 5 to 30 fold. What claims to unpack to far more than that is no data set but a trap.
_RATIO = 100
_ALWAYS_ALLOWED = 64 << 20


def unpacked_limit(packed: int) -> int:
    """Return how many bytes `packed` compressed bytes may unpack to."""
    return min(FILE_LIMIT, max(_ALWAYS_ALLOWED, _RATIO * packed))


def unpack(file: BinaryIO, packed: int, name: str) -> bytearray:
    """Unpack a gzip stream, at most as far as `unpacked_limit` allows.

    Parameters
    ----------
    file : binary file
        The compressed bytes.
    packed : int
        How many there are.
    name : str
        What errors call the file.

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
                        f"{name}: unpacks to more than {limit >> 20} MiB; unpack it first if it is meant so"
                    )
    except EOFError:
        raise DataError(f"{name}: the compressed file is truncated") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{name}: not a gzip file, or damaged ({error})") from None
    return content


def read_file(path: Path) -> bytes | bytearray:
    """Return the content of a file, unpacked if its name ends with ``.gz``.

    Parameters
    ----------
    path : Path

    Returns
    -------
    bytes or bytearray
        The content without a UTF-8 byte order mark.

    Raises
    ------
    DataError
        If it cannot be read, is empty, damaged or too large.
    """
    try:
        size = path.stat().st_size
        if size > FILE_LIMIT:
            raise DataError(f"{path}: {size >> 20} MiB are more than the {FILE_LIMIT >> 20} MiB that can be read")
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
