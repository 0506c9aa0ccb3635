"""Archives of files, .zip, .tar, .tar.gz and .tgz, read as folders without unpacking them."""

from __future__ import annotations

import contextlib
import io
import re
import stat
import tarfile
import zipfile
from typing import TYPE_CHECKING

from fastnn.datasets.folders import MOST_ENTRIES, Folder, Listing, is_hidden
from fastnn.datasets.safe_read import ALWAYS_ALLOWED, FILE_LIMIT, Unpacked
from fastnn.errors import DataError, fault
from fastnn.reading import open_file, read_file
from fastnn.storage import cache_dir
from fastnn.temporaries import temporary_beside

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
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


class ArchiveFolder(Folder):
    """A folder in an archive.

    Parameters
    ----------
    shown : str
    """

    choose = "unpack it and give the path of one of them"

    def __init__(self, shown: str) -> None:
        self.shown = shown
        self._files: dict[str, Callable[[int], bytes]] = {}
        self._folders: dict[str, ArchiveFolder] = {}
        self._passed: dict[str, list[str]] = {}
        self._listed: Listing | None = None

    def read(self, name: str, limit: int, what: str = "a picture") -> bytes:
        """Return the content of one of its files."""
        try:
            content = self._files[name](limit)
        except (DataError, MemoryError):
            raise
        # zipfile and zlib raise a dozen kinds of exceptions for damaged bytes.
        except Exception as error:
            raise DataError(f"{self.shown}/{name}: damaged in its archive ({_text(error)})") from None
        if len(content) > limit:
            raise DataError(f"{self.shown}/{name}: too large to be {what}; the limit is {limit >> 20} MiB")
        return content

    @contextlib.contextmanager
    def on_disk(self, names: Iterable[str]) -> Iterator[Path]:
        """Give a temporary folder in the cache folder with these files."""
        cache, left = cache_dir(), FILE_LIMIT
        with contextlib.ExitStack() as stack:
            try:
                cache.mkdir(parents=True, exist_ok=True)
                folder = stack.enter_context(temporary_beside(cache / "unpacked"))
                folder.mkdir()
                for name in names:
                    below, _, own = name.rpartition("/")
                    content = (self._folders[below] if below else self).read(own, left, "a data set")
                    (folder / below).mkdir(exist_ok=True)
                    (folder / name).write_bytes(content)
                    left -= len(content)
            except OSError as error:
                raise DataError(
                    f"{self.shown}: cannot be unpacked in {cache} ({fault(error)}); unpack it and give its folder"
                ) from None
            yield folder

    def put(self, parts: list[str], read: Callable[[int], bytes] | None) -> None:
        """Add a file with its path in the archive; without `read` it is a link, which is passed over."""
        folder = self
        for part in parts[:-1]:
            if is_hidden(part):
                folder._pass("hidden", part)
                return
            if part not in folder._folders:
                folder._folders[part] = ArchiveFolder(f"{folder.shown}/{part}")
            folder = folder._folders[part]
        name = parts[-1]
        if is_hidden(name):
            folder._pass("hidden", name)
        elif read is None:
            folder._pass("link", name)
        else:
            folder._files[name] = read

    def _listing(self) -> Listing:
        if self._listed is None:
            self._listed = Listing(sorted(self._files), dict(sorted(self._folders.items())), self._passed)
        return self._listed

    def _pass(self, kind: str, name: str) -> None:
        names = self._passed.setdefault(kind, [])
        if name not in names[-1:]:
            names.append(name)


def is_archive(name: str) -> bool:
    """Return whether a file of this name is an archive."""
    return name.lower().endswith(ARCHIVE_ENDINGS)


@contextlib.contextmanager
def open_archive(path: Path) -> Iterator[ArchiveFolder]:
    """Give the folder that an archive holds; its files are read from the archive when they are asked for.

    Raises
    ------
    DataError
        If the file is not an archive, is damaged, encrypted, would unpack to far more than its size, or has a member
        with a path that leads out of it.
    """
    if path.name.lower().endswith(".zip"):
        with open_file(path, _ZIP_LIMIT, what="an archive") as file, _zip_folder(file, file.size, str(path)) as folder:
            yield folder
    else:
        yield _tar_folder(read_file(path, FILE_LIMIT, what="an archive"), path.name, str(path))


@contextlib.contextmanager
def archive_in(folder: Folder, name: str) -> Iterator[ArchiveFolder]:
    """Give the folder that an archive holds which is itself in a folder; errors as for :func:`open_archive`."""
    content, shown = folder.read(name, FILE_LIMIT, "an archive"), f"{folder.shown}/{name}"
    if name.lower().endswith(".zip"):
        with _zip_folder(io.BytesIO(content), len(content), shown) as inner:
            yield inner
    else:
        yield _tar_folder(content, name, shown)


@contextlib.contextmanager
def _zip_folder(file: BinaryIO, size: int, shown: str) -> Iterator[ArchiveFolder]:
    with contextlib.ExitStack() as stack:
        try:
            archive = stack.enter_context(zipfile.ZipFile(file))
            members = archive.infolist()
        except (DataError, MemoryError):
            raise
        except Exception as error:
            raise DataError(f"{shown}: not a .zip file, or damaged ({_text(error)})") from None
        _check_sizes([member.file_size for member in members], size, shown)
        root = ArchiveFolder(shown)
        for member in members:
            parts = _parts(member.filename, shown)
            if not parts or member.filename.endswith(("/", "\\")):  # is_dir() fails for an empty name
                continue
            if member.flag_bits & 1:
                raise DataError(f"{shown}: is encrypted; unpack it and give its folder")
            if member.compress_type not in _METHODS:
                raise DataError(
                    f"{shown}: compressed by a method that cannot be read (of {parts[-1][:60]!r}); "
                    "unpack it and give its folder"
                )
            is_link = stat.S_ISLNK(member.external_attr >> 16)
            root.put(parts, None if is_link else _zip_reader(archive, member))
        yield root


def _zip_reader(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Callable[[int], bytes]:
    def read(limit: int) -> bytes:
        with archive.open(member) as file:
            return file.read(limit + 1)

    return read


def _tar_folder(content: bytes, name: str, shown: str) -> ArchiveFolder:
    file = _unpacked(content, name, shown)
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    root = ArchiveFolder(shown)
    try:
        with tarfile.TarFile(fileobj=file) as archive:
            for count, member in enumerate(archive):
                if count >= MOST_ENTRIES:
                    raise DataError(f"{shown}: holds more than {MOST_ENTRIES:,} files")
                parts = _parts(member.name, shown)
                if member.isdir() or not parts:
                    continue
                if member.offset_data + member.size > size:
                    raise DataError(f"{shown}: is truncated")
                is_file = member.isreg() and not member.issparse()
                root.put(parts, _tar_reader(file, member.offset_data, member.size) if is_file else None)
    except (DataError, MemoryError):
        raise
    except Exception as error:
        raise DataError(f"{shown}: not a .tar file, or damaged ({_text(error)})") from None
    return root


def _unpacked(content: bytes, name: str, shown: str) -> io.BytesIO:
    """Return the content of a tar file, decompressed if its name says that it is compressed."""
    if not name.lower().endswith((".gz", ".tgz")):
        return io.BytesIO(content)
    file = io.BytesIO()
    for piece in Unpacked(content, shown, packed=True):
        file.write(piece)
    return file


def _tar_reader(file: io.BytesIO, start: int, size: int) -> Callable[[int], bytes]:
    def read(limit: int) -> bytes:
        file.seek(start)
        return file.read(min(size, limit + 1))

    return read


def _check_sizes(sizes: list[int], packed: int, shown: str) -> None:
    """Raise a DataError if an archive has too many members, or they are too large for its size."""
    if len(sizes) > MOST_ENTRIES:
        raise DataError(f"{shown}: holds more than {MOST_ENTRIES:,} files")
    unpacked = sum(sizes)
    if unpacked > max(ALWAYS_ALLOWED, _RATIO * packed):
        raise DataError(
            f"{shown}: unpacks to {unpacked >> 20:,} MiB, too much for its size; if that is right, unpack it and give "
            "its folder"
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
