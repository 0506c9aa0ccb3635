"""The members of a .zip file in few bytes each; zipfile keeps some 600 of each as long as the file is open."""

from __future__ import annotations

import io
import struct
import zipfile
from array import array
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastnn.datasets.safe_read import PIECE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from numpy.typing import NDArray

_END = struct.Struct("<4s4H2LH")
"""The end of the directory: mark, numbers of disks, numbers of members, size and offset, length of a comment."""
_LONGEST_COMMENT = (1 << 16) - 1
_END_64 = struct.Struct("<4sQ2H2L4Q")
"""Mark, bytes that follow, versions, numbers of disks, numbers of members, size and offset."""
_FOLLOW_64, _VERSION_64 = _END_64.size - 12, 45
_IN_64 = 0xFFFFFFFF
"""What the small end says of a number that only the large one has room for."""
_LOCATOR_64 = struct.Struct("<4sLQL")
"""Mark, number of the disk with the record above, its offset, number of disks."""
_END_MARK, _END_64_MARK, _LOCATOR_64_MARK, _MEMBER_MARK = b"PK\5\6", b"PK\6\6", b"PK\6\7", b"PK\1\2"
_LENGTHS = struct.Struct("<3H")
"""Lengths of the name, the extra fields and the comment of a member."""
_LENGTHS_AT, _FIXED = 28, 46
"""Where they are, and the bytes before the name."""
_LOCAL_FIXED = 30
"""Bytes before the name of a member where its content is."""


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
        self._file, self._size, self._parts = file, size, _directory(file, size)
        content: Any = _WithoutDirectory(file, size)
        self._archive = zipfile.ZipFile(content)
        self._begins, self._packed, self._sizes = array("q"), array("Q"), array("Q")
        self._checksums, self._flags, self._methods = array("Q"), array("H"), array("H")
        self._spellings = array("B")
        self._odd_names: dict[int, str] = {}
        self._ends = np.empty(0, np.int64)

    def infos(self) -> Iterator[zipfile.ZipInfo]:
        """Yield what the directory says of each member. Each must be added before one is read."""
        if self._parts is None:  # what is not usual, zipfile reads whole, or refuses
            with zipfile.ZipFile(self._file) as whole:
                yield from whole.infolist()
        for begin, size, n in self._parts or ():
            self._file.seek(begin)
            with zipfile.ZipFile(io.BytesIO(self._file.read(size) + _end(0, size, n))) as part:
                yield from part.infolist()

    def add(self, info: zipfile.ZipInfo, path: str) -> int:
        """Return the number of a member; `path` is the name by which it will be asked for."""
        number, name, usual = len(self._begins), info.orig_filename, _usual_names(path)
        # A damaged offset may have more bits than the array.
        self._begins.append(info.header_offset if 0 <= info.header_offset < self._size else -1)
        self._packed.append(info.compress_size)
        self._sizes.append(info.file_size)
        self._checksums.append(info.CRC)
        self._flags.append(info.flag_bits)
        self._methods.append(info.compress_type)
        self._spellings.append(usual.index(name) if name in usual else 0)
        if name not in usual:
            self._odd_names[number] = name
        return number

    def _opened(self, number: int, path: str) -> Any:
        info = zipfile.ZipInfo(self._odd_names.get(number, _usual_names(path)[self._spellings[number]]))
        info.header_offset, info.compress_size = self._begins[number], self._packed[number]
        info.file_size, info.CRC = self._sizes[number], self._checksums[number]
        info.flag_bits, info.compress_type = self._flags[number], self._methods[number]
        if info.header_offset < 0:
            raise zipfile.BadZipFile("begins outside of it")
        if len(self._ends) != len(self._begins):
            self._ends = _ends(self._begins, self._parts[0].begin if self._parts else self._size)
        # Newer versions of zipfile look for this, but only where they have read the directory themselves.
        content = info.header_offset + _LOCAL_FIXED + len(info.orig_filename)
        if content + info.compress_size > self._ends[number]:
            raise zipfile.BadZipFile("overlaps another member")
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


def _usual_names(path: str) -> tuple[str, ...]:
    """Return under which names an archive usually has a member that is asked for by this path."""
    return path, f"./{path}", path.replace("/", "\\"), f"{path}/"


def _ends(begins: array[int], last: int) -> NDArray[np.int64]:
    """Return for each member where the next one in the file begins; `last` for the last one."""
    # Of several with the same offset, all but the last one end where they begin.
    order = np.argsort(begins, kind="stable")
    ends = np.full(len(begins), last, np.int64)
    ends[order[:-1]] = np.asarray(begins)[order[1:]]
    return ends


def _directory(file: BinaryIO, size: int) -> list[_Part] | None:
    """Return the directory of an archive in parts; None if it is not as programs usually write it.

    Format: PKWARE, ".ZIP File Format Specification", 4.3.12 to 4.3.16.
    """
    bounds = _directory_bounds(file, size)
    if bounds is None:
        return None
    at, end = bounds
    parts = []
    while at < end:
        file.seek(at)
        content, used, n = file.read(min(PIECE, end - at)), 0, 0
        while used + _FIXED <= len(content):
            if content[used : used + 4] != _MEMBER_MARK:
                return None
            next_at = used + _FIXED + sum(_LENGTHS.unpack_from(content, used + _LENGTHS_AT))
            if next_at > len(content):
                break
            used, n = next_at, n + 1
        if not n:
            return None
        parts.append(_Part(at, used, n))
        at += used
    return parts


def _directory_bounds(file: BinaryIO, size: int) -> tuple[int, int] | None:
    """Return begin and end of the directory; None if what the archive says of it is not true."""
    tail_at = max(0, size - _END.size - _LONGEST_COMMENT)
    file.seek(tail_at)
    tail = file.read(size - tail_at)
    end_at = tail.rfind(_END_MARK)
    if end_at < 0 or end_at + _END.size > len(tail):
        return None
    _, *disks, n_here, n, length, begin, _ = _END.unpack_from(tail, end_at)
    end = tail_at + end_at
    if end >= _LOCATOR_64.size + _END_64.size:
        file.seek(end - _LOCATOR_64.size - _END_64.size)
        record, locator = file.read(_END_64.size), file.read(_LOCATOR_64.size)
        if locator[:4] == _LOCATOR_64_MARK:
            end -= _LOCATOR_64.size + _END_64.size
            mark, follow, _, _, *disks, n_here, n, length, begin = _END_64.unpack(record)
            if (mark, follow) != (_END_64_MARK, _FOLLOW_64):
                return None
            if locator != _LOCATOR_64.pack(_LOCATOR_64_MARK, 0, end, 1):
                return None
    return (begin, end) if not any(disks) and n_here == n and begin + length == end else None


def _end(begin: int, size: int, n: int) -> bytes:
    """Return what follows a directory of `n` members."""
    # The first two are of large archives only. Without them, zipfile would look for them in the bytes before the end.
    return (
        _END_64.pack(_END_64_MARK, _FOLLOW_64, _VERSION_64, _VERSION_64, 0, 0, n, n, size, begin)
        + _LOCATOR_64.pack(_LOCATOR_64_MARK, 0, begin + size, 1)
        + _END.pack(_END_MARK, 0, 0, n, n, min(size, _IN_64), min(begin, _IN_64), 0)
    )


class _WithoutDirectory:
    """The file of an archive, followed by the directory of an empty one.

    zipfile opens it without reading the true directory, and can still read each member that it is told of.
    """

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size, self._at = file, size, 0
        self._end = _end(size, 0, 0)

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        begin = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size + len(self._end)}[whence]
        self._at = max(0, begin + offset)
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
