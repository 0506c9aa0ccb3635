"""Downloads: a file is loaded into memory from one of several addresses, checked, and only then written."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastnn.errors import FetchError, cannot_write
from fastnn.storage import atomic_write

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Progress = Callable[[str, float], None]

# Seconds to wait for a connection, and for the next bytes once there is one.
_TIMEOUT = (5, 30)


@dataclass(frozen=True)
class Remote:
    """A file that can be downloaded.

    Attributes
    ----------
    name : str
        Name of the file on this machine.
    urls : tuple of str
        Addresses, tried in this order.
    limit : int
        Upper limit of its size in bytes; a longer download is stopped.
    fault : callable
        Returns None if its argument is the right content, else a text that says what is wrong with it.
    """

    name: str
    urls: tuple[str, ...]
    limit: int
    fault: Callable[[bytes], str | None]


class _Buffer(io.BytesIO):
    """A buffer that raises a ValueError when it would grow beyond a limit."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit

    def write(self, chunk: bytes) -> int:  # type: ignore[override]
        if self.tell() + len(chunk) > self._limit:
            raise ValueError(f"longer than the allowed {self._limit} bytes")
        return super().write(chunk)


class _ProgressBar:
    """The interface that pooch expects of a progress bar; calls `progress` with the fraction done."""

    def __init__(self, text: str, progress: Progress) -> None:
        self.total = 0
        self._text = text
        self._progress = progress
        self._done = 0

    def update(self, count: int) -> None:
        self._done += count
        if self.total > 0:
            self._progress(self._text, min(1.0, self._done / self.total))

    def reset(self) -> None:
        self._done = 0

    def close(self) -> None:
        self._progress(self._text, 1.0)


def download(remote: Remote, folder: Path, progress: Progress | None = None) -> Path:
    """Download a file into `folder` and check it.

    Parameters
    ----------
    remote : Remote
    folder : Path
        Created if it does not exist.
    progress : callable, optional
        Called with a text and the fraction done, 0 to 1.

    Returns
    -------
    Path
        The complete and checked file. If the download fails, nothing is written.

    Raises
    ------
    FetchError
        If no address has the right file (the message gives the fault of each), or `folder` cannot be written.
    """
    faults = []
    for url in remote.urls:
        try:
            content = _get(url, remote, progress)
        # requests' own errors are OSErrors.
        except (OSError, ValueError) as error:
            faults.append(f"{url}: {_reason(error)}")
            continue
        fault = remote.fault(content)
        if fault is None:
            return _write(content, folder / remote.name)
        faults.append(f"{url}: {fault}; what arrived was deleted")
    raise FetchError(
        f"{remote.name} could not be downloaded; without a network, put the file into ./data or the folder FASTNN_DATA "
        f"({'; '.join(faults)})"
    )


def _get(url: str, remote: Remote, progress: Progress | None) -> bytes:
    import pooch

    bar = _ProgressBar(f"downloading {remote.name}", progress) if progress else False
    with _Buffer(remote.limit) as buffer:
        pooch.HTTPDownloader(progressbar=bar, chunk_size=1 << 16, timeout=_TIMEOUT)(url, buffer, None)
        return buffer.getvalue()


def _write(content: bytes, path: Path) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            file.write(content)
    except OSError as error:
        raise cannot_write(path, error, FetchError, remedy="choose another folder with --to") from None
    return path


def _reason(error: BaseException) -> str:
    """Return the message of the innermost exception of a failed request, such as "Connection refused"."""
    reason: object = error
    seen = 0
    while isinstance(reason, BaseException) and seen < 10:
        if isinstance(reason, OSError) and reason.strerror:
            return reason.strerror
        inner = getattr(reason, "reason", None)
        nested = inner if isinstance(inner, BaseException) else reason.__cause__ or reason.__context__
        if nested is None and reason.args and isinstance(reason.args[0], BaseException):
            nested = reason.args[0]
        if nested is None:
            break
        reason, seen = nested, seen + 1
    return " ".join(str(reason).split()) or type(reason).__name__
