"""The members of a .zip file in few bytes each; zipfile keeps some 600 of each as long as the file is open."""

from __future__ import annotations

import io
import struct
import zipfile
from array import array
from typing import TYPE_CHECKING, Any, NamedTuple

from fastnn.datasets.safe_read import PIECE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

_END = struct.Struct("<4s4H2LH")
"""The end of the directory: mark, numbers of disks, numbers of members, size and offset, length of a comment."""
_END_64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR_64 = struct.Struct("<4sLQL")
_END_MARK, _END_64_MARK, _LOCATOR_64_MARK, _MEMBER_MARK = b"PK\5\6", b"PK\6\6", b"PK\6\7", b"PK\1\2"
_LENGTHS = struct.Struct("<3H")
"""Lengths of the name, the extra fields and the comment of a member."""
_LENGTHS_AT, _FIXED = 28, 46
"""Where they are, and the bytes before the name."""


class _Part(NamedTuple):
    """Some members in the directory of an archive: where the first one begins, their bytes, and how many they are."""

    begin: int
    size: int
    n: int


class ZipMembers:
    """An open archive, of which each member has a number.

    Parameters
    ----------
    file : binary file
    size : int
        Its bytes.

    Raises
    ------
    zipfile.BadZipFile
        Or another exception, if it is damaged.
    """

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._parts = file, _directory(file, size)
        # What is not usual, zipfile reads whole, or refuses.
        content: Any = file if self._parts is None else _WithoutDirectory(file, size)
        self._archive = zipfile.ZipFile(content)
        self._offsets, self._packed, self._sizes = array("Q"), array("Q"), array("Q")
        self._checksums, self._flags, self._methods = array("Q"), array("H"), array("H")
        self._odd_names: dict[int, str] = {}

    def infos(self) -> Iterator[zipfile.ZipInfo]:
        """Yield what the directory says of each member."""
        if self._parts is None:
            yield from self._archive.infolist()
        for begin, size, n in self._parts or ():
            self._file.seek(begin)
            content = self._file.read(size) + _END.pack(_END_MARK, 0, 0, n, n, size, 0, 0)
            with zipfile.ZipFile(io.BytesIO(content)) as part:
                yield from part.infolist()

    def add(self, info: zipfile.ZipInfo, path: str) -> int:
        """Return the number of a member that may be read; `path` is the name by which it will be asked for."""
        number = len(self._offsets)
        self._offsets.append(info.header_offset)
        self._packed.append(info.compress_size)
        self._sizes.append(info.file_size)
        self._checksums.append(info.CRC)
        self._flags.append(info.flag_bits)
        self._methods.append(info.compress_type)
        if info.orig_filename != path:
            self._odd_names[number] = info.orig_filename
        return number

    def _opened(self, number: int, path: str) -> Any:
        info = zipfile.ZipInfo(self._odd_names.get(number, path))
        info.header_offset, info.compress_size = self._offsets[number], self._packed[number]
        info.file_size, info.CRC = self._sizes[number], self._checksums[number]
        info.flag_bits, info.compress_type = self._flags[number], self._methods[number]
        return self._archive.open(info)

    def read(self, number: int, path: str, limit: int) -> bytes:
        """Return the content of a member up to `limit` bytes."""
        with self._opened(number, path) as file:
            content: bytes = file.read(limit)
        return content

    def pieces(self, number: int, path: str) -> Iterator[bytes]:
        """Yield the content of a member."""
        with self._opened(number, path) as file:
            yield from iter(lambda: file.read(PIECE), b"")

    def close(self) -> None:
        """Close the archive, but not the file."""
        self._archive.close()


def _directory(file: BinaryIO, size: int) -> list[_Part] | None:
    """Return the directory of an archive in parts; None if it is not as programs usually write it.

    Format: PKWARE, ".ZIP File Format Specification", 4.3.12 to 4.3.16.
    """
    found = _place(file, size)
    if found is None:
        return None
    at, end = found
    parts = []
    while at < end:
        file.seek(at)
        content, used, n = file.read(min(PIECE, end - at)), 0, 0
        while used + _FIXED <= len(content):
            if content[used : used + 4] != _MEMBER_MARK:
                return None
            behind = used + _FIXED + sum(_LENGTHS.unpack_from(content, used + _LENGTHS_AT))
            if behind > len(content):
                break
            used, n = behind, n + 1
        if not n:
            return None
        parts.append(_Part(at, used, n))
        at += used
    return parts


def _place(file: BinaryIO, size: int) -> tuple[int, int] | None:
    """Return begin and end of the directory; None if there is a comment, or something before the archive."""
    end = size - _END.size
    if end < 0:
        return None
    file.seek(end)
    mark, *disks, n_here, n, length, begin, comment = _END.unpack(file.read(_END.size))
    if mark != _END_MARK or comment:
        return None
    if end >= _LOCATOR_64.size + _END_64.size:
        file.seek(end - _LOCATOR_64.size - _END_64.size)
        record, locator = file.read(_END_64.size), file.read(_LOCATOR_64.size)
        if locator[:4] == _LOCATOR_64_MARK:
            end -= _LOCATOR_64.size + _END_64.size
            mark, _, _, _, *disks, n_here, n, length, begin = _END_64.unpack(record)
            if mark != _END_64_MARK or _LOCATOR_64.unpack(locator)[2] != end:
                return None
    return (begin, end) if not any(disks) and n_here == n and begin + length == end else None


class _WithoutDirectory:
    """A file with an end behind it that says that it is an archive without members."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size, self._at = file, size, 0
        self._end = _END.pack(_END_MARK, 0, 0, 0, 0, 0, 0, 0)

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        begin = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size + len(self._end)}[whence]
        self._at = begin + offset
        return self._at

    def read(self, n: int = -1) -> bytes:
        if self._at < self._size:
            self._file.seek(self._at)
            piece = self._file.read(n)
        else:
            begin = self._at - self._size
            piece = self._end[begin:] if n < 0 else self._end[begin : begin + n]
        self._at += len(piece)
        return piece
