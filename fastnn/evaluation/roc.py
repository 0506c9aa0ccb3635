"""Area under the ROC curve of two classes, and its confidence interval."""

from __future__ import annotations

from statistics import NormalDist
from typing import TYPE_CHECKING, Literal

import numpy as np

from fastnn import large_arrays
from fastnn.evaluation.intervals import check_confidence

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

_SIDES: tuple[Literal["left", "right"], ...] = ("left", "right")
_HALVINGS = 60
"""Steps of the bisection; the last interval is narrower than the spacing of floats."""


def roc_auc(positive: ArrayLike, scores: ArrayLike) -> float | None:
    """Return the area under the ROC curve: how often a positive sample has a higher score than a negative one.

    Computed from the order of the scores, so ties are exact: a pair with equal scores counts as half (the Mann-Whitney
    statistic; J. A. Hanley and B. J. McNeil, Radiology 143, 1982).

    Parameters
    ----------
    positive : array_like of bool, shape (n,)
        Whether each sample belongs to the class.
    scores : array_like of float, shape (n,)
        Finite; higher for samples that are more likely to belong to it.

    Returns
    -------
    float or None
        None if all samples are positive, or none is.
    """
    truth, values = np.asarray(positive, dtype=bool), np.asarray(scores)
    lower, higher = values[~truth], values[truth]
    if not len(lower) or not len(higher):
        return None
    # In place, and some at a time: there may be millions. In order, places are found near each other.
    lower.sort()
    higher.sort()
    # Twice the number of negative samples below, and one for each of the same score; whole numbers, so that the sum has
    # no rounding errors.
    twice_wins = sum(
        int(np.searchsorted(lower, higher[part], side=side).sum())
        for part in large_arrays.parts(len(higher))
        for side in _SIDES
    )
    return twice_wins / (2 * len(higher) * len(lower))


def auc_interval(auc: float, n_positive: int, n_negative: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the confidence interval of an area under the ROC curve.

    Like Wilson's interval of a proportion it takes the variance at its ends, so it stays within 0 and 1 and has a width
    even if the area is 1 (method 5 of R. G. Newcombe, Statistics in Medicine 25, 2006).

    Parameters
    ----------
    auc : float
        From :func:`roc_auc`.
    n_positive, n_negative : int
        Number of samples that belong to the class and that do not, at least 1 of each.
    confidence : float
        More than 0 and less than 1.

    Returns
    -------
    low, high : float

    Raises
    ------
    DataError
        If the confidence is out of range.
    """
    check_confidence(confidence)
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    more = (n_positive + n_negative) / 2 - 1

    def is_outside(area: float) -> bool:
        variance = area * (1 - area) / (n_positive * n_negative)
        variance *= 1 + more * ((1 - area) / (2 - area) + area / (1 + area))
        return (area - auc) ** 2 > z * z * variance

    def bound(inside: float, outside: float) -> float:
        for _ in range(_HALVINGS):
            middle = (inside + outside) / 2
            if is_outside(middle):
                outside = middle
            else:
                inside = middle
        return inside

    return (0.0 if auc == 0 else bound(auc, 0.0)), (1.0 if auc == 1 else bound(auc, 1.0))
