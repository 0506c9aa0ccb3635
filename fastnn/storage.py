"""Folders for data and caches, and atomic writes: a crash leaves the old file or the new one."""

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
    """Open a binary file that replaces `path` when the context ends without an error.

    The bytes go to a temporary file in the same folder, which is flushed to the disk and then renamed to `path`;
    finally the folder is flushed. If anything fails, the temporary file is removed and `path` stays as it was.

    Parameters
    ----------
    path : path-like
        The file to write; its folder must exist.

    Yields
    ------
    BinaryIO
        The temporary file.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    path = Path(path)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        # mkstemp lets only the owner read its files; the result gets the permissions of any other new file.
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


def check_new_file(path: Path, ending: str, *, force: bool = False) -> None:
    """Raise a DataError if a result cannot be written to `path`, before any work is done.

    Parameters
    ----------
    path : Path
    ending : str
        Required end of the name, such as ".png".
    force : bool
        Whether an existing file may be replaced.

    Raises
    ------
    DataError
        If the name ends otherwise, `path` is a folder or in a folder that does not exist, or it exists without `force`.
    """
    if path.suffix.lower() != ending:
        raise DataError(f"{path}: must end with {ending}")
    if path.is_dir():
        raise DataError(f"{path}: is a folder; give the name of a file")
    if not path.parent.is_dir():
        raise DataError(f"{path}: the folder {path.parent} does not exist; make it first")
    if path.exists() and not force:
        raise DataError(f"{path}: exists already; choose another name or replace it with --force")


def cache_dir() -> Path:
    """Return the folder for downloads, cached data sets and compiled kernels, which need not exist.

    ``$FASTNN_CACHE_DIR``, or else the user's cache folder of the system.
    """
    given = os.environ.get("FASTNN_CACHE_DIR")
    return Path(given) if given else Path(platformdirs.user_cache_dir("fastnn"))


def user_path(given: str | Path) -> Path:
    """Return a path as a user gives it, with ``~`` or ``~NAME`` replaced by the home folder.

    Raises
    ------
    DataError
        If the home folder is unknown: there is no such user, or the system does not say.
    """
    try:
        return Path(given).expanduser()
    except RuntimeError:
        raise DataError(f"{given}: the home folder is unknown; give the path without ~") from None


def data_path_from_environment() -> Path | None:
    """Return the file or folder that ``$FASTNN_DATA`` names, or None if it is not set.

    Raises
    ------
    DataError
        If it does not exist: a wrong path should not silently cause a download.
    """
    given = os.environ.get("FASTNN_DATA")
    if not given:
        return None
    path = user_path(given)
    try:
        exists = path.exists()
    except OSError:  # a name that is too long
        exists = False
    if not exists:
        raise DataError(f"FASTNN_DATA={given}: no such file or folder; correct or unset it")
    return path


def search_folders(name: str) -> list[Path]:
    """Return the folders to search for a data set, in this order.

    These are ``$FASTNN_DATA``, ``./data`` and the cache folder, each of the first two also with its sub-folder `name`.

    Parameters
    ----------
    name : str
        ``digits`` or ``mnist``.

    Returns
    -------
    list of Path
        They need not exist.
    """
    roots = [path for path in (data_path_from_environment(), Path("data")) if path is not None]
    folders = [folder for root in roots for folder in (root, root / name)]
    return [*folders, cache_dir() / name]
