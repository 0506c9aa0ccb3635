"""Downloads: from one of several addresses, into memory, checked, and only then onto the disk."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastnn.errors import FetchError
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
        What the file is called once it is here.
    urls : tuple of str
        Where it is to be had, tried in order.
    limit : int
        Bytes that it certainly does not exceed.
    fault : callable
        Returns what is wrong with a content, or None if it is the right one.
    """

    name: str
    urls: tuple[str, ...]
    limit: int
    fault: Callable[[bytes], str | None]


class _Buffer(io.BytesIO):
    """Memory that refuses to grow beyond a limit."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit

    def write(self, chunk: bytes) -> int:  # type: ignore[override]
        if self.tell() + len(chunk) > self._limit:
            raise ValueError(f"longer than the {self._limit} bytes that are allowed")
        return super().write(chunk)


class _Bar:
    """What pooch takes for a progress bar, passing the share done on."""

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
    """Download a file into `folder`.

    Parameters
    ----------
    remote : Remote
    folder : Path
        Made if it is not there.
    progress : callable, optional
        Called with a text and the share done, 0 to 1.

    Returns
    -------
    Path
        The file, whole and checked. If anything fails nothing is left behind.

    Raises
    ------
    FetchError
        If no address gives the right file, naming each with its fault, or `folder` cannot be written.
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
            return _keep(content, folder / remote.name)
        faults.append(f"{url}: {fault}; what arrived was deleted")
    raise FetchError(
        f"{remote.name} could not be downloaded; without network, put it into ./data or where FASTNN_DATA says "
        f"({'; '.join(faults)})"
    )


def _get(url: str, remote: Remote, progress: Progress | None) -> bytes:
    import pooch

    bar = _Bar(f"downloading {remote.name}", progress) if progress else False
    with _Buffer(remote.limit) as buffer:
        pooch.HTTPDownloader(progressbar=bar, chunk_size=1 << 16, timeout=_TIMEOUT)(url, buffer, None)
        return buffer.getvalue()


def _keep(content: bytes, path: Path) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            file.write(content)
    except OSError as error:
        raise FetchError(f"{path}: cannot be written ({error.strerror or error}); name a folder with --to") from None
    return path


def _reason(error: BaseException) -> str:
    """Return the innermost reason of a failed request, without the layers that wrapped it."""
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
