"""What the parts of the web app's benchmark share: rows of tables, limits, and clocks."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.page import Row


class NotMeasurableError(Exception):
    """A part that cannot be measured here; the text says why."""


@dataclass
class Measured:
    """What a part has measured.

    Attributes
    ----------
    rows : list of Row
        Rows of the table: what, and the figure.
    exceeded : list of str
        A message for each limit that was exceeded.
    """

    rows: list[Row] = field(default_factory=list)
    exceeded: list[str] = field(default_factory=list)

    def add(self, other: Measured) -> None:
        """Add the rows and messages of another part."""
        self.rows += other.rows
        self.exceeded += other.exceeded


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that some work takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def spread(seconds: Sequence[float]) -> str:
    """Return median, 95th percentile and maximum as text."""
    if not len(seconds):
        return "no response"
    median, p95, longest = np.quantile(seconds, (0.5, 0.95, 1.0)) * 1000
    return f"median {median:.1f} ms, p95 {p95:.1f} ms, longest {longest:.0f} ms"


def too_slow(what: str, seconds: Sequence[float], limit: float) -> list[str]:
    """Return a message if the 95th percentile is above a limit in seconds, or if there is no response at all."""
    p95 = float(np.quantile(seconds, 0.95)) if len(seconds) else np.inf
    if p95 <= limit:
        return []
    return [f"{what}: p95 is {p95 * 1000:.1f} ms, the limit is {limit * 1000:.0f} ms"]
