"""Confidence intervals of an accuracy, significance tests of two models on the same samples, and calibration."""

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
"""McNemar's test is exact if at most so many samples are classified correctly by one model only; else chi-squared."""


def wilson_interval(correct: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the Wilson score interval of a proportion.

    Unlike the normal interval p ± 1.96 s it stays within 0 and 1 and keeps its confidence for proportions near 1
    (E. B. Wilson, Journal of the American Statistical Association 22, 1927).

    Parameters
    ----------
    correct, total : int
        Number of successes and of trials; at least one trial.
    confidence : float
        More than 0 and less than 1.

    Returns
    -------
    low, high : float

    Raises
    ------
    DataError
        If there is no such proportion, or the confidence is out of range.
    """
    if not 0 <= correct <= total or total < 1:
        raise DataError(f"{correct} of {total} is not a proportion; give at least one sample, and 0 to all correct")
    check_confidence(confidence)
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share, square = correct / total, z * z / total
    centre = (share + square / 2) / (1 + square)
    half = z / (1 + square) * math.sqrt(share * (1 - share) / total + square / (4 * total))
    # Without rounding errors the ends would be 0 and 1 exactly.
    return (0.0 if correct == 0 else centre - half), (1.0 if correct == total else centre + half)


def check_confidence(confidence: float) -> None:
    """Raise DataError unless a confidence level is more than 0 and less than 1."""
    if not 0 < confidence < 1:
        raise DataError(f"the confidence must be between 0 and 1, such as 0.95, not {confidence}")


@dataclass(frozen=True)
class McNemar:
    """Result of McNemar's test of two models on the same samples.

    Attributes
    ----------
    only_first, only_second : int
        Number of samples that only this model classifies correctly.
    p : float
        Probability of a difference at least as large, in either direction, if both models are equally good.
    method : {"exact", "chi-squared"}
        The two-sided binomial test, or its approximation with Edwards' continuity correction.
    """

    only_first: int
    only_second: int
    p: float
    method: Literal["exact", "chi-squared"]


def mcnemar(first_correct: ArrayLike, second_correct: ArrayLike) -> McNemar:
    """Test whether two models differ significantly (Q. McNemar, Psychometrika 12, 1947).

    Only samples that exactly one model classifies correctly count. If the models are equally good, either of them is
    the one with probability 1/2.

    Parameters
    ----------
    first_correct, second_correct : array_like of bool, shape (n,)
        Whether each model classifies each sample correctly, with the samples in the same order.

    Returns
    -------
    McNemar

    Raises
    ------
    DataError
        If the two differ in length.
    """
    first, second = np.asarray(first_correct, dtype=bool), np.asarray(second_correct, dtype=bool)
    if first.ndim != 1 or first.shape != second.shape:
        raise DataError(f"McNemar's test takes two lists of the same length, not {first.shape} and {second.shape}")
    b, c = int(np.count_nonzero(first & ~second)), int(np.count_nonzero(~first & second))
    n = b + c
    if n <= EXACT_UP_TO:
        tail = sum(math.comb(n, i) for i in range(min(b, c) + 1))
        return McNemar(b, c, min(1.0, 2 * tail / 2**n), "exact")
    statistic = (abs(b - c) - 1) ** 2 / n if b != c else 0.0
    return McNemar(b, c, math.erfc(math.sqrt(statistic / 2)), "chi-squared")


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for multiple tests (S. Holm, Scandinavian Journal of Statistics 6, 1979).

    Among twenty comparisons of equally good models, one has p < 0.05 on average. After the adjustment, the probability
    that any has is at most 0.05.
    """
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


@dataclass(frozen=True, eq=False)
class Reliability:
    """Reliability diagram: accuracy by the highest predicted probability, in bins of equal width.

    Attributes
    ----------
    edges : ndarray of float64, shape (bins + 1,)
        From 0 to 1; a bin includes its upper edge.
    counts : ndarray of int64, shape (bins,)
        Number of samples whose highest probability lies in the bin.
    confidence, accuracy : ndarray of float64, shape (bins,)
        Mean highest probability, and fraction classified correctly; NaN in empty bins.
    ece : float
        Expected calibration error: mean over the samples of |accuracy - confidence| of their bin (C. Guo et al.,
        ICML 2017).
    """

    edges: NDArray[np.float64]
    counts: NDArray[np.int64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    ece: float

    def as_dict(self) -> dict[str, Any]:
        """Return the values, fit for JSON; None in empty bins."""
        return {
            "edges": self.edges.tolist(),
            "counts": self.counts.tolist(),
            "confidence": [None if math.isnan(value) else value for value in self.confidence.tolist()],
            "accuracy": [None if math.isnan(value) else value for value in self.accuracy.tolist()],
            "ece": self.ece,
        }


def reliability(probabilities: ArrayLike, labels: ArrayLike, bins: int = 10) -> Reliability:
    """Return the reliability diagram of predicted probabilities.

    Parameters
    ----------
    probabilities : array_like of float, shape (n, k)
        Each row sums to 1.
    labels : array_like of int, shape (n,)
    bins : int
        At least 1.

    Returns
    -------
    Reliability

    Raises
    ------
    DataError
        If there are no samples or the shapes do not agree.
    """
    table, truth = np.asarray(probabilities, dtype=np.float64), np.asarray(labels, dtype=np.int64)
    if table.ndim != 2 or truth.shape != (len(table),) or len(table) == 0 or bins < 1:
        raise DataError(
            f"a reliability diagram takes (n, k) probabilities and n labels, not {table.shape} {truth.shape}"
        )
    highest, correct = table.max(axis=1), table.argmax(axis=1) == truth
    edges = np.linspace(0.0, 1.0, bins + 1)
    bin_of = np.clip(np.searchsorted(edges, highest, side="left") - 1, 0, bins - 1)
    counts = np.bincount(bin_of, minlength=bins)
    divisors = np.where(counts > 0, counts, 1)
    confidence = np.bincount(bin_of, highest, bins) / divisors
    accuracy = np.bincount(bin_of, correct.astype(np.float64), bins) / divisors
    ece = float(np.sum(counts * np.abs(accuracy - confidence)) / len(table))
    empty = counts == 0
    return Reliability(
        edges,
        counts.astype(np.int64),
        np.where(empty, np.nan, confidence),
        np.where(empty, np.nan, accuracy),
        ece,
    )


def merge_reliability(parts: Sequence[Reliability]) -> Reliability:
    """Return the reliability diagram of all samples from those of its parts, which have the same bins."""
    if len(parts) == 1:
        return parts[0]
    counts = np.sum([part.counts for part in parts], axis=0)
    confidence, accuracy = (
        np.sum([np.where(part.counts > 0, values * part.counts, 0.0) for part, values in pairs], axis=0)
        / np.where(counts > 0, counts, np.nan)
        for pairs in (
            [(part, part.confidence) for part in parts],
            [(part, part.accuracy) for part in parts],
        )
    )
    ece = float(np.nansum(counts * np.abs(accuracy - confidence)) / counts.sum())
    return Reliability(parts[0].edges, counts, confidence, accuracy, ece)
