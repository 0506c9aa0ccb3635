"""Temporary files and folders: removed when their process ends, and cleared away by others if it was killed.

A name says which process made it: ``.NAME.MACHINE-PID-START-RANDOM.tmp``. A process that is killed (kill -9, power
failure) leaves its temporary files. The next process that writes to the same folder removes them.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import hashlib
import os
import re
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_NAME = re.compile(r"\..*\.([0-9a-f]{8})-([0-9]{1,10})-([0-9]{1,20})-[0-9a-f]{8}\.tmp", re.DOTALL)
_MAX_NAME = 255
"""Longest file name, in bytes, of all common file systems."""
_PROC = Path("/proc")
_DAY = 86_400

_owned: dict[Path, int] = {}
"""Paths of temporary files with the process that uses them: a forked child must not remove its parent's."""


@contextlib.contextmanager
def temporary_beside(path: Path) -> Iterator[Path]:
    """Reserve the path of a temporary file or folder next to `path`; whatever is there at the end is removed.

    First, what dead processes left in the folder is cleared. No signal handler is changed: a program that SIGTERM ends
    at once leaves its temporary files to the next process. The commands of ``fastnn`` take the signals over.

    Parameters
    ----------
    path : Path
        The file or folder that the temporary one will replace.

    Yields
    ------
    Path
        Nothing exists there yet.
    """
    clear_dead(path.parent)
    temporary = path.with_name(_temporary_name(path.name))
    # Known before it exists, so that no moment is left in which a signal would miss it.
    _owned[temporary] = os.getpid()
    try:
        yield temporary
    finally:
        _remove(temporary)
        del _owned[temporary]


def remove_own() -> None:
    """Remove all temporary files and folders of this process.

    This happens when Python exits. What ends the process in another way, such as ``os._exit``, must call it.
    """
    for path, pid in list(_owned.items()):
        if pid == os.getpid():
            _remove(path)


# A signal may have interrupted the removal at the end of a context.
atexit.register(remove_own)


def clear_dead(folder: Path) -> None:
    """Remove the temporary files and folders that dead processes of this user on this machine left in `folder`.

    Files of live processes, other users or other machines are never touched. Errors are ignored.
    """
    with contextlib.suppress(OSError, ValueError):
        with os.scandir(folder) as entries:
            found = [entry.name for entry in entries if entry.name.startswith(".") and entry.name.endswith(".tmp")]
        for name in found:
            _clear(folder / name)


def is_temporary(name: str) -> bool:
    """Return whether a file name is one that :func:`temporary_beside` gives."""
    return _NAME.fullmatch(name) is not None


def _clear(path: Path) -> None:
    match = _NAME.fullmatch(path.name)
    if match is None or match[1] != machine_id():
        return
    with contextlib.suppress(OSError):
        status = path.lstat()
        if (not hasattr(os, "getuid") or status.st_uid == os.getuid()) and _is_dead(
            int(match[2]), int(match[3]), status.st_mtime
        ):
            _remove(path)


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()
        return
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)


def _temporary_name(name: str) -> str:
    end = f".{machine_id()}-{os.getpid()}-{_start_time(os.getpid()) or 0}-{os.urandom(4).hex()}.tmp"
    while len(os.fsencode(f".{name}{end}")) > _MAX_NAME:
        name = name[:-1]
    return f".{name}{end}"


@functools.cache
def machine_id() -> str:
    """Return eight hexadecimal digits for this machine or container: elsewhere process ids mean other processes."""
    try:
        namespace = str((_PROC / "self" / "ns" / "pid").readlink())
    except OSError:
        namespace = ""
    host = os.uname().nodename if hasattr(os, "uname") else os.environ.get("COMPUTERNAME", "")
    return hashlib.sha256(f"{host} {namespace}".encode(errors="replace")).hexdigest()[:8]


def _start_time(pid: int) -> int | None:
    """Return when a process started, in clock ticks since the start of the system; None if there is no such process.

    Without ``/proc`` it is 0.
    """
    if not (_PROC / "self" / "stat").exists():
        return 0
    try:
        # The name of the program, in parentheses, may contain spaces and parentheses.
        state, *fields = (_PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # Z and X: it has ended, and its parent has not asked for its exit code yet.
    return None if state in (b"Z", b"X") else int(fields[18])


def may_exist(pid: int) -> bool:
    """Return whether a process of this machine may exist; True where the system has no cheap way to ask."""
    if (_PROC / "self" / "stat").exists():
        return _start_time(pid) is not None
    if os.name == "posix":
        try:
            os.kill(pid, 0)
        except (ProcessLookupError, OverflowError):
            return False
        except PermissionError:
            return True
    # On Windows, os.kill would end the process.
    return True


def _is_dead(pid: int, start: int, changed: float) -> bool:
    """Return whether the process that made a temporary file, last changed at this time, is sure to have ended."""
    if (_PROC / "self" / "stat").exists():
        # Another process may have its number by now.
        return _start_time(pid) != start
    return not may_exist(pid) if os.name == "posix" else time.time() - changed > _DAY
