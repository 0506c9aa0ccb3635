"""Background threads of the server: they work when they are woken, and once a minute on their own."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod

from fastnn.web.logs import log

POLL_SECONDS = 60.0
"""Seconds between two runs without a wake-up: ``fastnn data import`` adds digits too, and a failed database may
be back."""


class ShutdownError(BaseException):
    """Raised inside :meth:`Background.work` to abandon the work because the server stops.

    Like KeyboardInterrupt, it is not an Exception, so that no handler mistakes it for a failure.
    """


class Background(ABC):
    """A daemon thread that calls :meth:`work` again and again; errors are logged, and the work is tried again.

    Parameters
    ----------
    name : str
        Name of the thread.
    failure_event : str
        Name of the log event for an error.
    poll_seconds : float, optional
        Longest time between two calls of :meth:`work`.
    """

    def __init__(self, name: str, failure_event: str, *, poll_seconds: float = POLL_SECONDS) -> None:
        self._name, self._failure_event, self._poll_seconds = name, failure_event, poll_seconds
        self._wake, self._stopping = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    @abstractmethod
    def work(self) -> None:
        """Do all pending work; :class:`ShutdownError` ends the thread."""

    def start(self) -> None:
        """Start the thread, also again after :meth:`stop`."""
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Make the thread look for work now."""
        self._wake.set()

    def stop(self) -> None:
        """Ask the thread to stop, and wait until it has."""
        self._stopping.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self.work()
            except ShutdownError:
                return
            except Exception as error:  # any error may be temporary: the next call may succeed
                log(self._failure_event, kind=type(error).__name__, reason=" ".join(str(error).split())[:300])
            self._wake.wait(self._poll_seconds)
            self._wake.clear()
