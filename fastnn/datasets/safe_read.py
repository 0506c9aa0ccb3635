"""Reading and decompressing the files of data sets within limits on memory."""

from __future__ import annotations

import mmap
import zlib
from typing import TYPE_CHECKING, Any, TypeAlias

from fastnn.errors import DataError
from fastnn.reading import open_file, read_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Content: TypeAlias = bytes | bytearray | mmap.mmap
LIMIT = 1 << 46
"""Largest file that is mapped, in bytes: half of the addresses of a process."""
FILE_LIMIT = 1 << 31
"""Larger files are refused rather than read into memory; a text file of 2 GiB holds some 700,000 digits."""
PIECE = 1 << 18
"""Bytes that are decompressed at a time."""
_PACKED_PIECE = 1 << 12
"""Compressed bytes that are given to zlib at a time, which copies those that follow a member."""
# Digits compress 5 to 30 fold; a file that unpacks to far more than that is a decompression bomb.
_RATIO = 100
ALWAYS_ALLOWED = 64 << 20
"""Bytes that any compressed file may unpack to."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def unpacked_limit(packed: int, most: int = FILE_LIMIT) -> int:
    """Return how many bytes `packed` compressed bytes may unpack to, at most `most`."""
    return min(most, max(ALWAYS_ALLOWED, _RATIO * packed))


def is_packed(name: str) -> bool:
    """Return whether a file of this name is compressed with gzip."""
    return name.lower().endswith(".gz")


def read_packed(path: Path) -> bytes:
    """Return the content of a data set's file as it is stored, compressed or not.

    Raises
    ------
    DataError
        If the file cannot be read, is empty, no regular file or too large.
    """
    content = read_file(path, FILE_LIMIT, what="a data set")
    if not content:
        raise DataError(f"{path}: the file is empty")
    return content


def map_packed(path: Path) -> mmap.mmap:
    """Return the content of a file as :func:`read_packed` does, of any size and left on the disk."""
    with open_file(path, LIMIT, what="a data set") as file:
        if not file.size:
            raise DataError(f"{path}: the file is empty")
        return mmap.mmap(file.fileno(), file.size, access=mmap.ACCESS_READ)


class _Plain:
    """Content that is not compressed, read without a copy of the whole."""

    def __init__(self, content: Content) -> None:
        self._content, self._position = memoryview(content), 0

    def read(self, size: int) -> bytes:
        """Return the next bytes, at most `size`; none at the end."""
        piece = bytes(self._content[self._position : self._position + size])
        self._position += len(piece)
        return piece


class _Gunzip:
    """Decompresses the members of a gzip file; Python's own reader takes the bytes of a header or padding one by one.

    `read` raises a zlib.error if the content is damaged, and an EOFError if it is truncated.
    """

    def __init__(self, content: Content) -> None:
        self._content = memoryview(content)
        self._position = 0
        self._member: Any = None

    def read(self, size: int) -> bytes:
        """Return the next bytes, at most `size`; none at the end."""
        while size > 0:
            packed = self._content[self._position : self._position + _PACKED_PIECE]
            if self._member is None:
                # The first bytes must be those of a member; zeros may follow one.
                skipped = len(packed) - len(bytes(packed).lstrip(b"\0")) if self._position else 0
                self._position += skipped
                if skipped:
                    continue
                if not packed:
                    return b""
                self._member = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
            piece: bytes = self._member.decompress(packed, size)
            # At the end of a member both hold what follows it.
            left = self._member.unused_data if self._member.eof else self._member.unconsumed_tail
            self._position += len(packed) - len(left)
            if self._member.eof:
                self._member = None
            elif not packed and not piece:
                raise EOFError
            if piece:
                return piece
        return b""


class Unpacked:
    """The content of a file, decompressed piece by piece if it is compressed, without a UTF-8 byte order mark.

    Parameters
    ----------
    content : bytes or mmap
        As :func:`read_packed` or :func:`map_packed` returns it.
    name : str
        Name of the file; what error messages call it.
    packed : bool, optional
        Whether it is compressed; by default its name says so.
    on_disk : bool
        Whether what is unpacked is not kept in memory, so that it may be larger than FILE_LIMIT.
    """

    def __init__(self, content: Content, name: str, *, packed: bool | None = None, on_disk: bool = False) -> None:
        self._name = name
        most = LIMIT if on_disk else FILE_LIMIT
        packed = is_packed(name) if packed is None else packed
        self._limit = unpacked_limit(len(content), most) if packed else len(content)
        self._done = 0
        self._file = _Gunzip(content) if packed else _Plain(content)
        self._head = b""
        self._head = self.read(len(_BYTE_ORDER_MARK)).removeprefix(_BYTE_ORDER_MARK)

    def read(self, size: int = PIECE) -> bytes:
        """Return the next bytes, at most `size`; none at the end.

        Raises
        ------
        DataError
            If the content is damaged, truncated or unpacks to more than :func:`unpacked_limit`.
        """
        if self._head:
            head, self._head = self._head[:size], self._head[size:]
            return head
        try:
            piece = self._file.read(min(size, PIECE))
        except EOFError:
            raise DataError(f"{self._name}: the compressed file is truncated") from None
        except zlib.error as error:
            raise DataError(f"{self._name}: not a gzip file, or damaged ({error})") from None
        self._done += len(piece)
        if self._done > self._limit:
            raise DataError(
                f"{self._name}: unpacks to more than {self._limit >> 20} MiB; if that is right, unpack the file first"
            )
        return piece

    def __iter__(self) -> Iterator[bytes]:
        """Yield the content in pieces."""
        while piece := self.read():
            yield piece

    def read_up_to(self, size: int, content: bytearray | None = None) -> bytearray:
        """Read until `content`, empty by default, has `size` bytes or all is read; return it."""
        content = bytearray() if content is None else content
        while len(content) < size and (piece := self.read(size - len(content))):
            content += piece
        return content


def unpack(content: bytes | bytearray, name: str) -> bytes | bytearray:
    """Return the whole decompressed content of a file; parameters and errors as for :class:`Unpacked`.

    The result may be a hundred times as large as `content`: where possible, read :class:`Unpacked` piece by piece.
    """
    if not is_packed(name):
        return content.removeprefix(_BYTE_ORDER_MARK)
    return Unpacked(content, name).read_up_to(FILE_LIMIT)
