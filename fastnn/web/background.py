"""Threads that work beside the requests: when they are told to, and now and then by themselves."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod

from fastnn.web.guard import log

_LOOK_EVERY = 60.0
"""Seconds until they look by themselves: digits also come by ``fastnn data import``, and a database comes back."""


class BrokenOffError(BaseException):
    """The server ends; raised in the midst of work.

    Like KeyboardInterrupt no Exception, so that nobody takes it for a failure.
    """


class Background(ABC):
    """A thread of this kind; what fails is logged and tried again.

    Parameters
    ----------
    name : str
        Of the thread.
    failed : str
        What the log calls a failure.
    """

    def __init__(self, name: str, failed: str) -> None:
        self._name, self._failed = name, failed
        self._wake, self._stopping = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    @abstractmethod
    def work(self) -> None:
        """Do what there is to do; :class:`BrokenOffError` ends the thread."""

    def start(self) -> None:
        """Begin to look for work; again, if it was stopped."""
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()

    def nudge(self) -> None:
        """Look now."""
        self._wake.set()

    def stop(self) -> None:
        """Break off what is being done, and wait until it is."""
        self._stopping.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self.work()
            except BrokenOffError:
                return
            except Exception as error:  # whatever it is: the next time it may be gone
                log(self._failed, kind=type(error).__name__, reason=" ".join(str(error).split())[:300])
            self._wake.wait(_LOOK_EVERY)
            self._wake.clear()
