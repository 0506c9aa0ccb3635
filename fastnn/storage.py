"""Folders for data and caches, and writing files so that a crash leaves the old one or the new one."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from fastnn.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO


@contextlib.contextmanager
def atomic_write(path: Path | str) -> Iterator[BinaryIO]:
    """Open a binary file that takes the place of `path` only once it is wholly on disk.

    The bytes go to a temporary file in the same folder, which is flushed to the disk and then renamed over
    `path`; last the folder itself is flushed. If anything fails on the way the temporary file is removed and
    `path` stays as it was.

    Parameters
    ----------
    path : path-like
        The file to write; its folder must exist.

    Yields
    ------
    BinaryIO
        Where to write the content.

    Raises
    ------
    OSError
        If the folder or the disk refuses.
    """
    path = Path(path)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files for the owner alone; a result is as readable as any other new file.
        umask = os.umask(0)
        os.umask(umask)
        Path(temporary).chmod(0o666 & ~umask)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def cache_dir() -> Path:
    """Return the folder for downloads and cached arrays; ``$FASTNN_CACHE_DIR`` overrides it. It need not exist."""
    named = os.environ.get("FASTNN_CACHE_DIR")
    return Path(named) if named else Path(platformdirs.user_cache_dir("fastnn"))


def named_place() -> Path | None:
    """Return what ``$FASTNN_DATA`` names, or None where it is not set.

    Raises
    ------
    DataError
        If it names nothing that exists: a wrong path here should not quietly become a download.
    """
    named = os.environ.get("FASTNN_DATA")
    if not named:
        return None
    place = Path(named).expanduser()
    if not place.exists():
        raise DataError(f"FASTNN_DATA={named}: no such file or folder; correct or unset it")
    return place


def search_folders(name: str) -> list[Path]:
    """Return the folders in which the data set `name` is looked for, the first one first.

    Parameters
    ----------
    name : str
        ``digits`` or ``mnist``; a folder of that name within each place is searched too.
    """
    roots = [place for place in (named_place(), Path("data")) if place is not None]
    folders = [folder for root in roots for folder in (root, root / name)]
    return [*folders, cache_dir() / name]
