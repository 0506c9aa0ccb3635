"""Writing files so that a crash leaves the old one or the new one, never a broken one."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

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
