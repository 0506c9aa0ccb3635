"""The queue for review, kept sorted by the doubts of the model in use."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np

from fastnn.web.guard import log

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastnn.web.recogniser import Loaded
    from fastnn.web.store import Store

_LOOK_EVERY = 60.0
"""Seconds after which it looks by itself: digits also come by ``fastnn data import``, and a database comes back."""


class Judge:
    """A thread that has the model in use judge the digits of the queue which another one judged, or none.

    Parameters
    ----------
    store : Store
    current : callable
        Returns the model in use, or None.
    """

    def __init__(self, store: Store, current: Callable[[], Loaded | None]) -> None:
        self._store, self._current = store, current
        self._wake, self._stopping = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to look for work; again, if it was stopped."""
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, name="judge", daemon=True)
        self._thread.start()

    def nudge(self) -> None:
        """Look now: another model is in use."""
        self._wake.set()

    def stop(self) -> None:
        """Stop after the digits that are being judged, and wait until that is done."""
        self._stopping.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self.judge()
            except Exception as error:  # tried again: whatever it is must not leave the queue unsorted for good
                log("queue not sorted anew", kind=type(error).__name__, reason=" ".join(str(error).split())[:300])
            self._wake.wait(_LOOK_EVERY)
            self._wake.clear()

    def judge(self) -> None:
        """Judge what the model in use has not judged yet, until nothing is left or another model is in use."""
        loaded, last = self._current(), -1
        while loaded is not None and not self._stopping.is_set() and loaded is self._current():
            waiting = self._store.stale(loaded.key, last)
            if waiting:
                pixels = np.frombuffer(b"".join(row[1] for row in waiting), np.uint8).reshape(len(waiting), -1)
                opinions = loaded.opinions(pixels, [row[2] for row in waiting])
                numbers = [row[0] for row in waiting]
                self._store.score(dict(zip(numbers, opinions, strict=True)), loaded.key)
                last = numbers[-1]
            elif last < 0:
                return
            else:
                # Once more from the first: what was judged by the old model may have come late.
                last = -1
