"""Connections: as many as the system allows, and none that stays open without a request."""

from __future__ import annotations

import contextlib
import errno
import logging
import time
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from fastnn.web.logs import json_line

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

HEADER_SECONDS = 15.0
"""Longest time for the head of a request to arrive, from the first byte or from the start of the connection."""

_OUT_OF_HANDLES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_SECONDS_BETWEEN_LINES = 60.0


class DeadlineProtocol(H11Protocol):
    """HTTP/1.1 that closes a connection whose request head does not arrive in time.

    Uvicorn has no such limit: each connection that sends half a request would hold a file handle for ever. The head is
    complete when the app is called, so the app is wrapped; what happens inside the parser does not matter.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.deadline: asyncio.TimerHandle | None = None
        self.running = 0
        app = self.app

        async def counted(scope: Any, receive: Any, send: Any) -> None:
            self.running += 1
            self.stop_deadline()
            try:
                await app(scope, receive, send)
            finally:
                self.running -= 1

        self.app = counted

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self.start_deadline()

    def data_received(self, data: bytes) -> None:
        """Begin to wait for a request unless one is being answered, whose body this may be."""
        if not self.running:
            self.start_deadline()
        super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self.stop_deadline()
        super().connection_lost(exc)

    def start_deadline(self) -> None:
        """Close the connection after a while; further bytes do not move the time."""
        if self.deadline is None:
            self.deadline = self.loop.call_later(HEADER_SECONDS, self.transport.close)

    def stop_deadline(self) -> None:
        """Let the connection stay open."""
        if self.deadline is not None:
            self.deadline.cancel()
            self.deadline = None


def raise_file_limit() -> None:
    """Allow this process as many open files, and so connections, as the system lets it have.

    The usual limit of 1,024 is less than the number of connections that the server accepts.
    """
    try:
        import resource
    except ModuleNotFoundError:  # Windows has no such limit
        return
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Some systems refuse the number that they name.
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class OutOfHandlesFilter(logging.Filter):
    """Lets one short line a minute through when no connection can be accepted for want of file handles.

    asyncio logs a traceback for each attempt, a thousand times a second: that fills a disk.

    Parameters
    ----------
    clock : callable, optional
        Returns a time in seconds that never goes back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock, self._last = clock, float("-inf")

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to log a record; one about file handles is shortened."""
        error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
        if not isinstance(error, OSError) or error.errno not in _OUT_OF_HANDLES:
            return True
        if self._clock() - self._last < _SECONDS_BETWEEN_LINES:
            return False
        self._last = self._clock()
        record.msg = json_line(
            "out of file handles",
            reason=error.strerror,
            fix="connections have to wait; raise the limit of open files (ulimit -n), or limit connections in a proxy",
        )
        record.args, record.exc_info, record.exc_text = (), None, None
        return True
