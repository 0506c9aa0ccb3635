"""What chance alone may do: confidence intervals, a test for two models on the same digits, and calibration."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from fastnn.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

EXACT_UP_TO = 1000
"""McNemar's test is exact as long as two models differ on no more digits than this; beyond, it is chi-squared."""


def wilson_interval(correct: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the Wilson score interval of a share.

    Unlike the textbook's p ± 1.96 s it stays within 0 and 1 and holds its confidence for shares near 1 (E. B. Wilson,
    Journal of the American Statistical Association 22, 1927).

    Parameters
    ----------
    correct, total : int
        Hits, and tries (at least 1).
    confidence : float
        More than 0 and less than 1.

    Returns
    -------
    low, high : float

    Raises
    ------
    DataError
        If the numbers are no share, or the confidence is out of range.
    """
    if not 0 <= correct <= total or total < 1:
        raise DataError(f"{correct} of {total} is no share; it takes at least one digit, and hits among them")
    if not 0 < confidence < 1:
        raise DataError(f"a confidence of {confidence} means nothing; take 0.95 or so")
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share, square = correct / total, z * z / total
    centre = (share + square / 2) / (1 + square)
    half = z / (1 + square) * math.sqrt(share * (1 - share) / total + square / (4 * total))
    # At the ends the sum is exact in theory only.
    return (0.0 if correct == 0 else centre - half), (1.0 if correct == total else centre + half)


@dataclass(frozen=True)
class McNemar:
    """McNemar's test on two models that saw the same digits.

    Attributes
    ----------
    only_first, only_second : int
        Digits that one model alone has right.
    p : float
        The chance of a difference at least as large (either way) if both were equally good.
    method : {"exact", "chi-squared"}
        The two-sided binomial test, or its approximation with Edwards' continuity correction.
    """

    only_first: int
    only_second: int
    p: float
    method: Literal["exact", "chi-squared"]


def mcnemar(first_right: ArrayLike, second_right: ArrayLike) -> McNemar:
    """Test whether two models differ in more than chance (Q. McNemar, Psychometrika 12, 1947).

    Digits that both have right, or both wrong, say nothing. Of the others each model has half if they are equally
    good: a fair coin, thrown once a digit.

    Parameters
    ----------
    first_right, second_right : array_like of bool, shape (n,)
        Whether each model has each digit right, the digits in the same order.

    Returns
    -------
    McNemar

    Raises
    ------
    DataError
        If the two are not of one length.
    """
    first, second = np.asarray(first_right, dtype=bool), np.asarray(second_right, dtype=bool)
    if first.ndim != 1 or first.shape != second.shape:
        raise DataError(f"McNemar's test takes two lists of one length, not {first.shape} and {second.shape}")
    b, c = int(np.count_nonzero(first & ~second)), int(np.count_nonzero(~first & second))
    n = b + c
    if n <= EXACT_UP_TO:
        tail = sum(math.comb(n, i) for i in range(min(b, c) + 1))
        return McNemar(b, c, min(1.0, 2 * tail / 2**n), "exact")
    statistic = (abs(b - c) - 1) ** 2 / n if b != c else 0.0
    return McNemar(b, c, math.erfc(math.sqrt(statistic / 2)), "chi-squared")


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values for their number (S. Holm, Scandinavian Journal of Statistics 6, 1979).

    Of twenty comparisons of equals one has p < 0.05 by chance; adjusted, the chance of a single one is 0.05.
    """
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


@dataclass(frozen=True, eq=False)
class Reliability:
    """How often a model is right where it is how sure, in bins of equal width.

    Attributes
    ----------
    edges : ndarray of float64, shape (bins + 1,)
        From 0 to 1; a bin holds its upper edge.
    counts : ndarray of int64, shape (bins,)
        Images whose highest probability lies in the bin.
    confidence, accuracy : ndarray of float64, shape (bins,)
        Mean highest probability, and share of hits; NaN in empty bins.
    ece : float
        Expected calibration error: mean over the images of |accuracy - confidence| of their bin (C. Guo et al.,
        ICML 2017).
    """

    edges: NDArray[np.float64]
    counts: NDArray[np.int64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    ece: float

    def as_dict(self) -> dict[str, Any]:
        """Return the figures, fit for JSON; empty bins hold None."""
        return {
            "edges": self.edges.tolist(),
            "counts": self.counts.tolist(),
            "confidence": [None if math.isnan(value) else value for value in self.confidence.tolist()],
            "accuracy": [None if math.isnan(value) else value for value in self.accuracy.tolist()],
            "ece": self.ece,
        }


def reliability(probabilities: ArrayLike, labels: ArrayLike, bins: int = 10) -> Reliability:
    """Compare how sure a model is with how often it is right.

    Parameters
    ----------
    probabilities : array_like of float, shape (n, k)
        Rows sum to 1.
    labels : array_like of int, shape (n,)
    bins : int
        At least 1.

    Returns
    -------
    Reliability

    Raises
    ------
    DataError
        If there are no images or the shapes do not fit.
    """
    table, truth = np.asarray(probabilities, dtype=np.float64), np.asarray(labels, dtype=np.int64)
    if table.ndim != 2 or truth.shape != (len(table),) or len(table) == 0 or bins < 1:
        raise DataError(f"a reliability curve takes (n, k) probabilities and n labels, not {table.shape} {truth.shape}")
    sure, right = table.max(axis=1), table.argmax(axis=1) == truth
    edges = np.linspace(0.0, 1.0, bins + 1)
    place = np.clip(np.searchsorted(edges, sure, side="left") - 1, 0, bins - 1)
    counts = np.bincount(place, minlength=bins)
    filled = np.where(counts > 0, counts, 1)
    confidence = np.bincount(place, sure, bins) / filled
    accuracy = np.bincount(place, right.astype(np.float64), bins) / filled
    ece = float(np.sum(counts * np.abs(accuracy - confidence)) / len(table))
    empty = counts == 0
    return Reliability(
        edges,
        counts.astype(np.int64),
        np.where(empty, np.nan, confidence),
        np.where(empty, np.nan, accuracy),
        ece,
    )
