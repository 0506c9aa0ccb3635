"""Reports of exceptions that the command line does not know: faults of fastnn."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
import tempfile
import time
import traceback
from pathlib import Path

from fastnn import __version__
from fastnn.storage import atomic_write, cache_dir

CRASHED = 70
"""Exit code for a fault of fastnn itself, EX_SOFTWARE of sysexits.h."""

_MOST_LOGS = 20
"""Logs that are kept; older ones are removed."""


def crash_message(error: BaseException) -> str:
    """Write the traceback of an unknown exception to a log; return one line that asks to report it."""
    words = " ".join(str(error).split())[:200]
    log = _write_log(error)
    place = f"please report it with the log {log}" if log else "please report it; no log could be written"
    return f"a fault of fastnn: {type(error).__name__}{f': {words}' if words else ''}; {place}"


def _write_log(error: BaseException) -> Path | None:
    """Write a log to the cache folder, or else to that for temporary files; return its path, or None."""
    # Options may hold passwords: only the command's name is kept.
    head = (
        f"fastnn {__version__}, Python {platform.python_version()}, {platform.platform()}\n"
        f"command: {' '.join(sys.argv[1:2])}\n\n"
    )
    text = head + "".join(traceback.format_exception(error))
    name = f"fastnn-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
    for find in (_log_folder, _temporary_folder):
        with contextlib.suppress(OSError):
            path = find() / name
            with atomic_write(path) as file:
                file.write(text.encode(errors="backslashreplace"))
            return path
    return None


def _log_folder() -> Path:
    folder = cache_dir() / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    for old in sorted(folder.glob("fastnn-*.log"))[: -_MOST_LOGS + 1]:
        old.unlink(missing_ok=True)
    return folder


def _temporary_folder() -> Path:
    return Path(tempfile.gettempdir())
