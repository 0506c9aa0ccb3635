"""Keeps the review queue sorted by the uncertainty of the model in use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastnn.web.background import POLL_SECONDS, Background

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastnn.web.serving import ServedModel
    from fastnn.web.store import Store


class Rescorer(Background):
    """A thread that runs the model in use on pending digits whose scores come from another model, or from none.

    Parameters
    ----------
    store : Store
    current : callable
        Returns the model in use, or None.
    poll_seconds : float, optional
        Longest time between two passes over the queue.
    """

    def __init__(
        self, store: Store, current: Callable[[], ServedModel | None], *, poll_seconds: float = POLL_SECONDS
    ) -> None:
        self._store, self._current = store, current
        super().__init__("rescorer", "rescoring failed", poll_seconds=poll_seconds)

    def work(self) -> None:
        """Score the queue once."""
        self.rescore()

    def rescore(self) -> None:
        """Score pending digits until all scores come from the model in use, or another model replaces it."""
        model, last = self._current(), -1
        while model is not None and not self._stopping.is_set() and model is self._current():
            outdated = self._store.outdated(model.key, last)
            if outdated:
                pixels = np.frombuffer(b"".join(row[1] for row in outdated), np.uint8).reshape(len(outdated), -1)
                scores = model.scores(pixels, [row[2] for row in outdated], self._store.classes)
                numbers = [row[0] for row in outdated]
                self._store.save_scores(dict(zip(numbers, scores, strict=True)), model.key)
                last = numbers[-1]
            elif last < 0:
                return
            else:
                # Start again at the first digit: requests may have added digits with scores of the old model.
                last = -1
