"""Timing in interleaved rounds: each round runs every candidate, so that a slow minute of the machine affects all."""

from __future__ import annotations

import gc
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MAX_REPEATS = 20


@dataclass(frozen=True)
class Candidate:
    """Work that can be timed on the first n items.

    Attributes
    ----------
    key, name : str
    run : callable
        ``run(n)`` does the work for n items and returns when it is done.
    limit : int
        Largest number of items in one run.
    least : int
        Smallest number of items in one run, even where that is slow.
    dtype : str
    """

    key: str
    name: str
    run: Callable[[int], object]
    limit: int = 1
    least: int = 1
    dtype: str = ""


@dataclass
class Timing:
    """The measured times of one candidate.

    Attributes
    ----------
    key, name, dtype : str
        Of the candidate.
    items : int
        Items in one run.
    seconds : list of float
        Seconds of each timed run.
    """

    key: str
    name: str
    dtype: str
    items: int
    seconds: list[float]

    @property
    def best(self) -> float:
        """Seconds per item in the fastest run: the cost of the code when nothing disturbs it."""
        return min(self.seconds) / self.items

    @property
    def median(self) -> float:
        """Seconds per item in the median run."""
        return statistics.median(self.seconds) / self.items

    def minus(self, other: Timing, key: str, name: str) -> Timing:
        """Return the difference of the best times per item, as a timing."""
        return Timing(key, name, self.dtype, 1, [max(0.0, self.best - other.best)])

    def record(self) -> dict[str, object]:
        """Return the figures, fit for JSON."""
        return {
            "key": self.key,
            "name": self.name,
            "dtype": self.dtype,
            "items": self.items,
            "runs": len(self.seconds),
            "best_us": 1e6 * self.best,
            "median_us": 1e6 * self.median,
        }


def side_by_side(one: Timing, other: Timing) -> float:
    """Return the ratio of the times per item of two candidates that were timed equally often in the same rounds.

    The median of the ratios of each round. For ratios near 1: a slow phase of the machine, which lasts for seconds,
    affects both runs of a round, but only one of the two best times.
    """
    ratios = [a / b for a, b in zip(one.seconds, other.seconds, strict=True)]
    return statistics.median(ratios) * other.items / one.items


def clock(run: Callable[[int], object], n: int) -> float:
    """Return the seconds that ``run(n)`` takes, with the garbage collector off."""
    gc.disable()
    try:
        start = time.perf_counter()
        run(n)
        return time.perf_counter() - start
    finally:
        gc.enable()


def race(candidates: Iterable[Candidate], *, rounds: int, seconds: float) -> list[Timing]:
    """Warm every candidate up, then time all in interleaved rounds.

    Parameters
    ----------
    candidates : iterable of Candidate
    rounds : int
        Each round times every candidate, alternately in forward and in reverse order.
    seconds : float
        Approximate time for one candidate in a round: slow ones run on fewer items, fast ones several times.

    Returns
    -------
    list of Timing
        In the order of the candidates.
    """
    entrants = [_warmed(candidate, seconds) for candidate in candidates]
    # Freeze what exists by now: scanning the peers' modules for garbage would take longer than most runs, a minute in
    # the whole suite.
    gc.collect()
    gc.freeze()
    for number in range(rounds):
        for candidate, repeats, timing in entrants[:: -1 if number % 2 else 1]:
            gc.collect()
            timing.seconds += [clock(candidate.run, timing.items) for _ in range(repeats)]
    return [timing for _, _, timing in entrants]


def _warmed(candidate: Candidate, seconds: float) -> tuple[Candidate, int, Timing]:
    """Let the candidate compile, and return how many items and repeats take about `seconds`."""
    items = candidate.least
    took = clock(candidate.run, items)
    # The first run may include compilation; it is not repeated if even so it is far too long.
    if items < candidate.limit or took < 10 * seconds:
        took = clock(candidate.run, items)
    while items < candidate.limit and took < seconds / 4:
        items = min(candidate.limit, 4 * items)
        candidate.run(items)  # some compile again for each number of items
        took = clock(candidate.run, items)
    repeats = max(1, min(MAX_REPEATS, round(seconds / took)))
    return candidate, repeats, Timing(candidate.key, candidate.name, candidate.dtype, items, [])
