"""Folders for data and caches, and atomic writes: a crash leaves the old file or the new one."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, cast

from fastnn.errors import DataError, FastnnError, cannot_write
from fastnn.temporaries import temporary_beside

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import BinaryIO

_BINARY: int = getattr(os, "O_BINARY", 0)  # Windows
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # Linux


@contextlib.contextmanager
def atomic_write(path: Path | str, *, like: Path | str | None = None) -> Iterator[BinaryIO]:
    """Open a binary file that replaces `path` when the context ends without an error.

    The bytes go to a temporary file in the same folder, which is flushed to the disk and then renamed to `path`;
    finally the folder is flushed. If anything fails, the temporary file is removed and `path` stays as it was. A
    replaced file keeps its permissions and, where the system allows it, its owner. If `path` is a symbolic link, the
    file that it leads to is replaced.

    Parameters
    ----------
    path : path-like
        The file to write; its folder must exist.
    like : path-like, optional
        If `path` does not exist yet, it gets the permissions of this file, if that exists.

    Yields
    ------
    BinaryIO
        The temporary file.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    check_name(path)
    target = follow(Path(path))
    old = _status(target)
    if old is not None and not stat.S_ISREG(old.st_mode):
        kind = "is a folder" if stat.S_ISDIR(old.st_mode) else "not a regular file"
        raise OSError(errno.EINVAL, kind, str(path))
    if old is None and like is not None:
        old = _status(Path(like))
    with temporary_beside(target) as temporary:
        # Nobody else may read the content of a private file while it is written.
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, 0o666 if old is None else 0o600)
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if old is not None:
            _set_owner_and_mode(temporary, old)
        temporary.replace(target)
    flush_folder(target.parent)


@contextlib.contextmanager
def temporary_folder(folder: Path) -> Iterator[Path]:
    """Make an empty temporary folder next to `folder`; what is left of it at the end is removed.

    Fill it with :func:`atomic_write`, and then call :func:`put_in_place`, or :func:`exchange` and :func:`move_file`.

    Raises
    ------
    OSError
        If it cannot be made.
    """
    check_name(folder)
    target = follow(folder.absolute())
    if not target.name:
        raise OSError(errno.EINVAL, "is the root of the file system", str(folder))
    _status(target)  # raises an OSError for a name that is too long
    with temporary_beside(target) as temporary:
        temporary.mkdir()
        yield temporary


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """Make an empty folder in the cache folder, which is removed at the end; OSError if it cannot be made."""
    cache = cache_dir()
    cache.mkdir(parents=True, exist_ok=True)
    with temporary_beside(cache / "scratch") as folder:
        folder.mkdir()
        yield folder


def unnamed_file() -> BinaryIO:
    """Open a temporary file in the cache folder that has no name; OSError if that is not possible.

    It disappears when it is closed and no longer mapped, and with the process.
    """
    import tempfile  # takes milliseconds

    cache = cache_dir()
    cache.mkdir(parents=True, exist_ok=True)
    return cast("BinaryIO", tempfile.TemporaryFile(dir=cache))


def reserve(file: BinaryIO, size: int) -> None:
    """Append zeros to a file up to `size` bytes, and take their room on the disk; OSError if it is full.

    With a hole in their place, a process that writes to a map of the file would be ended by a full disk (SIGBUS).
    """
    file.flush()
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):
                raise
        else:
            return
    piece = bytes(1 << 20)
    file.writelines(piece[: size - done] for done in range(file.seek(0, os.SEEK_END), size, len(piece)))
    file.flush()


def flush_file(path: Path) -> None:
    """Flush a file, and what was written to maps of it, to the disk."""
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def put_in_place(made: Path, folder: Path) -> None:
    """Rename a temporary folder to `folder`, which must not exist, in one step."""
    target = follow(folder.absolute())
    flush_folder(made)
    made.replace(target)
    flush_folder(target.parent)


def exchange(made: Path, folder: Path, own: Sequence[str]) -> bool:
    """Exchange a temporary folder and an existing folder in one step, if that is possible.

    The new folder and files get the permissions and owners of the old ones.

    Parameters
    ----------
    made : Path
        The temporary folder.
    folder : Path
    own : sequence of str
        Names of files that may be replaced or removed.

    Returns
    -------
    bool
        False, and nothing is changed, if `folder` holds anything else, if a process would be left in a removed folder
        because it is or contains the current one, or if the system or the disk cannot exchange folders.
    """
    target = follow(folder.absolute())
    here = Path.cwd()
    if here == target or target in here.parents:
        return False
    for path in target.iterdir():
        if path.name not in own or path.is_symlink() or not path.is_file():
            return False
        if (made / path.name).exists():
            _set_owner_and_mode(made / path.name, path.stat())
    _set_owner_and_mode(made, target.stat())
    flush_folder(made)
    done = _exchange(made, target)
    if done:
        flush_folder(target.parent)
    return done


def move_file(source: Path, target: Path) -> None:
    """Replace a file by a temporary one, as :func:`atomic_write` does."""
    final = follow(target)
    keep_permissions(source, final)
    try:
        source.replace(final)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        # A symbolic link leads to another disk.
        with source.open("rb") as content, atomic_write(final) as file:
            shutil.copyfileobj(content, file)
    flush_folder(final.parent)


def keep_permissions(made: Path, target: Path) -> None:
    """Give a temporary file the permissions and the owner of the file that it will replace, if that exists."""
    old = _status(target)
    if old is not None:
        _set_owner_and_mode(made, old)


@contextlib.contextmanager
def file_lock(path: Path) -> Iterator[bool]:
    """Hold a lock that other processes wait for; the system releases it if the process is killed.

    Parameters
    ----------
    path : Path
        An empty file, made now and removed at the end.

    Yields
    ------
    bool
        Whether there is a lock: not if the file cannot be made, or its disk or the system has no locks.
    """
    handle = open_locked(path)
    try:
        yield handle is not None
    finally:
        if handle is not None:
            # Before the lock is released: whoever waits for it sees that this is no longer the file, and makes another.
            with contextlib.suppress(OSError):
                path.unlink()
            os.close(handle)


def open_locked(path: Path) -> int | None:
    """Return the descriptor of a locked file, which is made if it is not there; None if that is not possible.

    Closing the descriptor releases the lock, and so does the end of the process.
    """
    try:
        import fcntl  # not on Windows
    except ImportError:
        return None
    while True:
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError:
            return None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            if os.path.samestat(os.fstat(handle), path.stat()):
                return handle
        except FileNotFoundError:
            pass
        except OSError:
            os.close(handle)
            return None
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def remove_file(path: Path) -> None:
    """Remove a file if it exists; if it is a symbolic link, remove the file that it leads to and keep the link."""
    target = follow(path)
    target.unlink(missing_ok=True)
    flush_folder(target.parent)


def follow(path: Path) -> Path:
    """Return the path that a symbolic link leads to, or `path` if it is none.

    Raises
    ------
    OSError
        If links lead in a circle.
    """
    if not path.is_symlink():
        return path
    target = Path(os.path.realpath(path))
    if target.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    return target


def check_name(path: Path | str) -> None:
    """Raise an OSError, and never a ValueError, for a name that no file can have."""
    try:
        fault = "its name contains a NUL character" if b"\0" in os.fsencode(path) else None
    except UnicodeError:
        fault = "its name is not valid text"
    if fault is not None:
        raise OSError(errno.EINVAL, fault, str(path))


def flush_folder(folder: Path) -> None:
    """Flush a folder to the disk, where the system can do that, so that a renamed file keeps its new name."""
    if os.name != "posix":
        return
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except PermissionError:
        # A folder that may be written to but not listed.
        return
    try:
        os.fsync(handle)
    except OSError as error:
        # Some network file systems cannot flush folders.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _set_owner_and_mode(path: Path, old: os.stat_result) -> None:
    """Give a file or folder the permissions of an old one, and its owner and group where the system allows it."""
    new, mode = path.stat(), stat.S_IMODE(old.st_mode)
    if hasattr(os, "chown") and (new.st_uid, new.st_gid) != (old.st_uid, old.st_gid):
        try:
            os.chown(path, old.st_uid, old.st_gid)
        except PermissionError:
            # Only root may give files away, but a member of a group may give them to the group.
            try:
                os.chown(path, -1, old.st_gid)
            except PermissionError:
                # The new group must not get what the old one was allowed.
                mode &= ~(stat.S_IRWXG if new.st_gid != old.st_gid else 0)
    # After the change of owner, which clears some bits.
    path.chmod(mode)


def _exchange(first: Path, second: Path) -> bool:
    """Exchange the names of two files or folders; return whether it was done. Only Linux can."""
    if sys.platform != "linux":
        return False
    import ctypes

    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    if rename is None:
        return False
    return bool(rename(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE) == 0)


def check_target(path: Path) -> None:
    """Raise a DataError if no file or folder can be made at `path`, before any work is done.

    Raises
    ------
    DataError
        If its name is impossible or too long, a part of its path is a file, or its folder does not exist or may not be
        written to.
    """
    try:
        check_name(path)
        check_home(path)
        exists = _status(path) is not None
        parent = follow(path.absolute()).parent
        if not parent.is_dir():
            raise DataError(f"{path}: the folder {path.parent} does not exist; make it first")
        if not exists or path.is_file():
            check_access(parent)
    except OSError as error:
        raise cannot_write(path, error, DataError) from None


def check_folder(folder: Path) -> None:
    """Raise an OSError if `folder` is not a folder and cannot become one."""
    check_name(folder)
    check_home(folder)
    status = _status(folder)
    if status is not None and not stat.S_ISDIR(status.st_mode):
        raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))


def check_access(folder: Path) -> None:
    """Raise an OSError if files cannot be made in a folder."""
    if os.access(folder, os.W_OK | os.X_OK):
        return
    # Making a file tells the reason, such as a read-only disk.
    with temporary_beside(folder / "probe") as temporary:
        temporary.touch(exist_ok=False)


def check_new_file(path: Path, ending: str | None = None, *, force: bool = False) -> None:
    """Raise a DataError if a result cannot be written to `path`, before any work is done.

    Parameters
    ----------
    path : Path
    ending : str, optional
        Required end of the name, such as ".png".
    force : bool
        Whether an existing file may be replaced.

    Raises
    ------
    DataError
        If the name ends otherwise, `path` is a folder or in a folder that does not exist or may not be written to, or
        it exists without `force`.
    """
    if ending is not None and path.suffix.lower() != ending:
        raise DataError(f"{path}: must end with {ending}")
    check_target(path)
    if path.is_dir():
        raise DataError(f"{path}: is a folder; give the name of a file")
    refuse_existing([path], force=force)


def refuse_existing(paths: Sequence[Path], *, force: bool) -> None:
    """Raise a DataError if one of the files or folders exists, unless `force` is given."""
    for path in paths:
        if path.exists() and not force:
            raise DataError(f"{path}: exists already; choose another name or replace it with --force")


def cache_dir() -> Path:
    """Return the folder for downloads, cached data sets and compiled kernels, which need not exist.

    ``$FASTNN_CACHE_DIR``, or else the user's cache folder of the system. Without a home folder it is one in the folder
    for temporary files.
    """
    import platformdirs

    try:
        folder = user_path(os.environ.get("FASTNN_CACHE_DIR") or platformdirs.user_cache_dir("fastnn"))
    except RuntimeError:  # some versions of platformdirs
        return _private_folder()
    return _private_folder() if folder.parts[:1] == ("~",) else folder


def _private_folder() -> Path:
    """Return a folder in that for temporary files which nobody else can write to, or a path that nobody can."""
    import tempfile  # takes milliseconds

    nowhere = Path(os.devnull) / "fastnn"
    try:
        folder = Path(tempfile.gettempdir()) / f"fastnn-{os.getuid() if hasattr(os, 'getuid') else 'user'}"
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        status = folder.lstat()
    except OSError:
        return nowhere
    # Compiled code is run from there: another user may have made the folder.
    own = not hasattr(os, "getuid") or status.st_uid == os.getuid()
    return folder if own and stat.S_ISDIR(status.st_mode) and not status.st_mode & 0o022 else nowhere


def user_path(given: str | Path) -> Path:
    """Return a path as a user gives it, with ``~`` or ``~NAME`` replaced by the home folder.

    A path whose home folder is unknown is returned unchanged: ``~`` is then part of a name.
    """
    try:
        return Path(given).expanduser()
    except RuntimeError:
        return Path(given)


def check_home(path: Path) -> None:
    """Raise a FastnnError for a path to write to that begins with a home folder which is unknown.

    Otherwise a folder called ``~`` would be made, which is hard to remove.
    """
    first = path.parts[0] if path.parts else ""
    if first == "~" or (first.startswith("~") and len(path.parts) > 1 and not Path(first).exists()):
        raise FastnnError(f"{path}: the home folder is unknown; give the path without ~")


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
