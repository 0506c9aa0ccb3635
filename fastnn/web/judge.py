"""The queue for review, kept sorted by the doubts of the model in use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastnn.web.background import Background

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastnn.web.recogniser import Loaded
    from fastnn.web.store import Store


class Judge(Background):
    """A thread that has the model in use judge the digits of the queue which another one judged, or none.

    Parameters
    ----------
    store : Store
    current : callable
        Returns the model in use, or None.
    """

    def __init__(self, store: Store, current: Callable[[], Loaded | None]) -> None:
        self._store, self._current = store, current
        super().__init__("judge", "queue not sorted anew")

    def work(self) -> None:
        """Judge what there is to judge."""
        self.judge()

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
