"""Archives of files, .zip, .tar, .tar.gz and .tgz, read as folders without unpacking them."""

from __future__ import annotations

import contextlib
import io
import mmap
import re
import stat
import tarfile
import zipfile
from array import array
from bisect import bisect_left
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Protocol

from fastnn.datasets.folders import MOST_ENTRIES, Folder, Listing, is_hidden
from fastnn.datasets.safe_read import ALWAYS_ALLOWED, FILE_LIMIT, LIMIT, PIECE, Content, Unpacked, map_packed
from fastnn.datasets.spool import content_on_disk
from fastnn.datasets.zip_members import ZipMembers
from fastnn.errors import NO_SPACE, DataError, fault
from fastnn.reading import open_file, read_file
from fastnn.storage import cache_dir
from fastnn.temporaries import temporary_beside

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from typing import BinaryIO

ARCHIVE_ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz")
"""Ends of the names of archives, in lower case."""

_ZIP_LIMIT = 1 << 36
"""Size in bytes of the largest .zip file, of which one member at a time is in memory."""
_RATIO = 100
"""How much larger than the archive all its members may be; pictures are hardly compressed, tables 5 to 30 fold."""
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Others may need gigabytes before they unpack a byte."""
_MOST_LEVELS = 32


class _Members(Protocol):
    """Where the members of an archive are."""

    def read(self, number: int, path: str, limit: int) -> bytes:
        """Return the content of a member up to `limit` bytes."""

    def pieces(self, number: int, path: str) -> Iterator[bytes]:
        """Yield the content of a member."""


class ArchiveFolder(Folder):
    """A folder in an archive.

    Parameters
    ----------
    shown : str
    members : _Members
    path : str
        Its path in the archive, with a slash at the end; empty for the archive itself.
    """

    choose = "unpack it and give the path of one of them"

    def __init__(self, shown: str, members: _Members, path: str = "") -> None:
        self.shown, self._members, self._path = shown, members, path
        # Two lists take a third of the memory of a dict. They are sorted when all files are known.
        self._names: list[str] = []
        self._numbers = array("q")
        self._folders: dict[str, ArchiveFolder] = {}
        self._passed: dict[str, list[str]] = {}
        self._listed: Listing | None = None

    def read(self, name: str, limit: int, what: str = "a picture") -> bytes:
        """Return the content of one of its files."""
        with self._as_data_error(name):
            content = self._members.read(self._number(name), self._path + name, limit + 1)
        if len(content) > limit:
            raise self._too_large(name, limit, what)
        return content

    def _copy(self, name: str, path: Path, limit: int) -> int:
        """Write the content of one of its files to a new file; return how many bytes it has."""
        left = limit
        with path.open("xb") as file, self._as_data_error(name):
            for piece in self._members.pieces(self._number(name), self._path + name):
                left -= len(piece)
                if left < 0:
                    raise self._too_large(name, limit, "a data set")
                file.write(piece)
        return limit - left

    @contextlib.contextmanager
    def _as_data_error(self, name: str) -> Iterator[None]:
        try:
            yield
        except (DataError, MemoryError):
            raise
        # zipfile and zlib raise a dozen kinds of exceptions for damaged bytes.
        except Exception as error:
            if isinstance(error, OSError) and error.errno in NO_SPACE:  # of the temporary folder
                raise
            raise DataError(f"{self.shown}/{name}: damaged in its archive ({_text(error)})") from None

    def _too_large(self, name: str, limit: int, what: str) -> DataError:
        return DataError(f"{self.shown}/{name}: too large to be {what}; the limit is {limit >> 20} MiB")

    @contextlib.contextmanager
    def on_disk(self, names: Iterable[str], spool: Path | None = None) -> Iterator[Path]:
        """Give a temporary folder with these files: in the cache folder, or in `spool`, where they may be large."""
        parent, left = (cache_dir(), FILE_LIMIT) if spool is None else (spool, LIMIT)
        with contextlib.ExitStack() as stack:
            try:
                parent.mkdir(parents=True, exist_ok=True)
                folder = stack.enter_context(temporary_beside(parent / "unpacked"))
                folder.mkdir()
                for name in names:
                    below, _, own = name.rpartition("/")
                    (folder / below).mkdir(exist_ok=True)
                    left -= (self._folders[below] if below else self)._copy(own, folder / name, left)
            except OSError as error:
                if spool is not None:
                    raise
                raise DataError(
                    f"{self.shown}: cannot be unpacked in {parent} ({fault(error)}); unpack it and give its folder"
                ) from None
            yield folder

    def _number(self, name: str) -> int:
        names = self._listing().files
        at = bisect_left(names, name)
        if names[at : at + 1] != [name]:
            raise KeyError(name)
        return self._numbers[at]

    def put(self, parts: list[str], number: int | None) -> None:
        """Add a member with its path in the archive and its number; None is a link, which is passed over."""
        folder = self
        for part in parts[:-1]:
            if is_hidden(part):
                folder._pass("hidden", part)
                return
            if part not in folder._folders:
                folder._folders[part] = ArchiveFolder(f"{folder.shown}/{part}", self._members, f"{folder._path}{part}/")
            folder = folder._folders[part]
        name = parts[-1]
        if is_hidden(name):
            folder._pass("hidden", name)
        elif number is None:
            folder._pass("link", name)
        else:
            folder._names.append(name)
            folder._numbers.append(number)

    def _listing(self) -> Listing:
        if self._listed is None:
            names, numbers = self._names, self._numbers
            order = sorted(range(len(names)), key=names.__getitem__)
            # Of two members with the same path the later one counts.
            order = [at for at, behind in zip_longest(order, order[1:]) if behind is None or names[at] != names[behind]]
            self._names, self._numbers = [names[at] for at in order], array("q", [numbers[at] for at in order])
            self._listed = Listing(self._names, dict(sorted(self._folders.items())), self._passed)
        return self._listed

    def _pass(self, kind: str, name: str) -> None:
        names = self._passed.setdefault(kind, [])
        if name not in names[-1:]:
            names.append(name)


def is_archive(name: str) -> bool:
    """Return whether a file of this name is an archive."""
    return name.lower().endswith(ARCHIVE_ENDINGS)


@contextlib.contextmanager
def open_archive(path: Path, spool: Path | None = None, shown: str = "") -> Iterator[ArchiveFolder]:
    """Give the folder that an archive holds; its files are read from the archive when they are asked for.

    Parameters
    ----------
    path : Path
    spool : Path, optional
        A temporary folder, if the content of a tar file is to be left on the disk.
    shown : str
        What messages call it; by default its path.

    Raises
    ------
    DataError
        If the file is not an archive, is damaged, encrypted, would unpack to far more than its size, or has a member
        with a path that leads out of it.
    """
    shown = shown or str(path)
    if path.name.lower().endswith(".zip"):
        with open_file(path, _ZIP_LIMIT, what="an archive") as file, _zip_folder(file, file.size, shown) as folder:
            yield folder
    elif spool is None:
        yield _tar_folder(_unpacked(read_file(path, FILE_LIMIT, what="an archive"), path.name, shown), shown)
    else:
        yield _tar_folder(_unpacked(map_packed(path), path.name, shown, spool), shown)


@contextlib.contextmanager
def archive_in(folder: Folder, name: str, spool: Path | None = None) -> Iterator[ArchiveFolder]:
    """Give the folder that an archive holds which is itself in a folder; errors as for :func:`open_archive`."""
    shown = f"{folder.shown}/{name}"
    if spool is not None:
        with folder.on_disk([name], spool) as here, open_archive(here / name, spool, shown) as inner:
            yield inner
        return
    content = folder.read(name, FILE_LIMIT, "an archive")
    if name.lower().endswith(".zip"):
        with _zip_folder(io.BytesIO(content), len(content), shown) as inner:
            yield inner
    else:
        yield _tar_folder(_unpacked(content, name, shown), shown)


@contextlib.contextmanager
def _zip_folder(file: BinaryIO, size: int, shown: str) -> Iterator[ArchiveFolder]:
    with _not_damaged(shown, ".zip"):
        members = ZipMembers(file, size)
    with contextlib.closing(members):
        root = ArchiveFolder(shown, members)
        with _not_damaged(shown, ".zip"):
            _put_zip_members(root, members, size, shown)
        yield root


def _put_zip_members(root: ArchiveFolder, members: ZipMembers, size: int, shown: str) -> None:
    unpacked = 0
    for count, info in enumerate(members.infos(), start=1):
        unpacked += info.file_size
        _check_size(count, unpacked, size, shown)
        parts = _parts(info.filename, shown)
        number = members.add(info, "/".join(parts))
        if not parts or info.filename.endswith(("/", "\\")):  # is_dir() fails for an empty name
            continue
        if info.flag_bits & 1:
            raise DataError(f"{shown}: is encrypted; unpack it and give its folder")
        if info.compress_type not in _METHODS:
            raise DataError(
                f"{shown}: compressed by a method that cannot be read (of {parts[-1][:60]!r}); "
                "unpack it and give its folder"
            )
        is_link = stat.S_ISLNK(info.external_attr >> 16)
        root.put(parts, None if is_link else number)


@contextlib.contextmanager
def _not_damaged(shown: str, kind: str) -> Iterator[None]:
    """Raise a DataError instead of any exception but that one; libraries raise a dozen kinds for damaged bytes."""
    try:
        yield
    except (DataError, MemoryError):
        raise
    except Exception as error:
        raise DataError(f"{shown}: not a {kind} file, or damaged ({_text(error)})") from None


class _TarMembers:
    """Members that are known by their first byte and their size."""

    def __init__(self, content: Content) -> None:
        self._content, self._begins, self._sizes = content, array("q"), array("q")

    def add(self, begin: int, size: int) -> int:
        """Return the number of a member."""
        self._begins.append(begin)
        self._sizes.append(size)
        return len(self._begins) - 1

    def read(self, number: int, _: str, limit: int) -> bytes:
        begin = self._begins[number]
        return bytes(self._content[begin : begin + min(self._sizes[number], limit)])

    def pieces(self, number: int, _: str) -> Iterator[bytes]:
        begin, size = self._begins[number], self._sizes[number]
        for start in range(begin, begin + size, PIECE):
            yield bytes(self._content[start : min(start + PIECE, begin + size)])


def _tar_folder(content: Content, shown: str) -> ArchiveFolder:
    members = _TarMembers(content)
    root = ArchiveFolder(shown, members)
    with _not_damaged(shown, ".tar"):
        file: Any = content if isinstance(content, mmap.mmap) else io.BytesIO(content)
        with tarfile.TarFile(fileobj=file) as archive:
            listed: Any = archive
            for count, member in enumerate(archive):
                # Else the archive keeps a kilobyte for each; "stream" of Python 3.13 does the same.
                listed.members.clear()
                if count >= MOST_ENTRIES:
                    raise DataError(f"{shown}: holds more than {MOST_ENTRIES:,} files")
                parts = _parts(member.name, shown)
                if member.isdir() or not parts:
                    continue
                if member.offset_data + member.size > len(content):
                    raise DataError(f"{shown}: is truncated")
                is_file = member.isreg() and not member.issparse()
                root.put(parts, members.add(member.offset_data, member.size) if is_file else None)
    return root


def _unpacked(content: Content, name: str, shown: str, spool: Path | None = None) -> Content:
    """Return the content of a tar file, decompressed if its name says that it is compressed."""
    if not name.lower().endswith((".gz", ".tgz")):
        return content
    if spool is None:
        return bytearray().join(Unpacked(content, shown, packed=True))
    return content_on_disk(spool, Unpacked(content, shown, packed=True, on_disk=True))


def _check_size(count: int, unpacked: int, packed: int, shown: str) -> None:
    """Raise a DataError if an archive has too many members, or they are too large for its size."""
    if count > MOST_ENTRIES:
        raise DataError(f"{shown}: holds more than {MOST_ENTRIES:,} files")
    if unpacked > max(ALWAYS_ALLOWED, _RATIO * packed):
        raise DataError(
            f"{shown}: unpacks to {unpacked >> 20:,} MiB or more, too much for its size; if that is right, unpack it "
            "and give its folder"
        )


def _parts(name: str, shown: str) -> list[str]:
    """Return the folders and the name of a member, none for the archive's own folder.

    Raises
    ------
    DataError
        If the path is absolute, leads out of the archive or is no text.
    """
    path = name.replace("\\", "/")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    bad = path.startswith("/") or re.match("[A-Za-z]:", path) or ".." in parts
    if bad or "\0" in path or len(parts) > _MOST_LEVELS or any(len(part) > 255 for part in parts):
        raise DataError(f"{shown}: has a member with the path {name[:60]!r}, which is not allowed in an archive")
    return parts


def _text(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
