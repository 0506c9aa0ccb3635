"""Timing by interleaved rounds: each round runs every candidate once, so that a slow minute of the machine hits all."""

from __future__ import annotations

import gc
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MOST_REPEATS = 20


@dataclass(frozen=True)
class Candidate:
    """Something that can be run on the first n items.

    Attributes
    ----------
    key, name : str
    run : callable
        ``run(n)`` does the work for n items; returns when it is done.
    limit : int
        Most items of one run.
    least : int
        Fewest items of one run; a run takes this many even where that is slow.
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
    """What was measured of one candidate.

    Attributes
    ----------
    key, name, dtype : str
        Of the candidate.
    items : int
        Items of one run.
    seconds : list of float
        Of each timed run.
    """

    key: str
    name: str
    dtype: str
    items: int
    seconds: list[float]

    @property
    def best(self) -> float:
        """Seconds an item in the fastest run: what the code costs where nothing disturbs it."""
        return min(self.seconds) / self.items

    @property
    def median(self) -> float:
        """Seconds an item in the median run."""
        return statistics.median(self.seconds) / self.items

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
    """Return how many times as long as another one took, an item, in rounds that timed both as often.

    The median over the runs. A slow phase of the machine, which lasts for seconds, hits both runs of a round, where the
    best of all runs of either may have found a quiet moment that the other did not. For ratios near 1, that is.
    """
    ratios = [a / b for a, b in zip(one.seconds, other.seconds, strict=True)]
    return statistics.median(ratios) * other.items / one.items


def clock(run: Callable[[int], object], n: int) -> float:
    """Return the seconds that ``run(n)`` takes, with the garbage collector held."""
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
        Rounds in which each candidate is timed, first to last and in the next round last to first.
    seconds : float
        What one candidate should take in a round, about: slow ones run on fewer items, fast ones several times.

    Returns
    -------
    list of Timing
        In the order of the candidates.
    """
    entrants = [_warmed(candidate, seconds) for candidate in candidates]
    # What is there by now stays: with the peers' modules to look through, looking for garbage would take longer than
    # most runs, a minute for the whole suite.
    gc.collect()
    gc.freeze()
    for number in range(rounds):
        for candidate, repeats, timing in entrants[:: -1 if number % 2 else 1]:
            gc.collect()
            timing.seconds += [clock(candidate.run, timing.items) for _ in range(repeats)]
    return [timing for _, _, timing in entrants]


def _warmed(candidate: Candidate, seconds: float) -> tuple[Candidate, int, Timing]:
    """Let the candidate compile, and find how many items and runs of it take about `seconds`."""
    items = candidate.least
    took = clock(candidate.run, items)
    # Not again what takes far longer than asked for, compiled or not.
    if items < candidate.limit or took < 10 * seconds:
        took = clock(candidate.run, items)
    while items < candidate.limit and took < seconds / 4:
        items = min(candidate.limit, 4 * items)
        candidate.run(items)  # some compile anew for each number of items
        took = clock(candidate.run, items)
    repeats = max(1, min(MOST_REPEATS, round(seconds / took)))
    return candidate, repeats, Timing(candidate.key, candidate.name, candidate.dtype, items, [])
