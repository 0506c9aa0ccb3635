"""Student's t: intervals of a mean, the paired test of two models, and the corrected interval of cross-validation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Literal

import numpy as np

from fastnn.errors import DataError
from fastnn.evaluation.intervals import check_confidence

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

_NORMAL_FROM = 20_000
"""With so many degrees of freedom, Student's t is taken for normal; the 95 % quantile differs by 0.0001."""

_ROUNDING = 1e-12
"""Differences that spread by a smaller share of their mean are equal but for rounding."""


def t_probability(t: float, freedom: int) -> float:
    """Return the probability that Student's t is between -t and t.

    The finite sums for whole numbers of degrees of freedom (M. Abramowitz and I. A. Stegun, Handbook of Mathematical
    Functions, 1964, 26.7.3 and 26.7.4).

    Parameters
    ----------
    t : float
        Not negative; may be infinite.
    freedom : int
        Degrees of freedom, at least 1.
    """
    if freedom >= _NORMAL_FROM:
        return math.erf(t / math.sqrt(2))
    angle = math.atan(t / math.sqrt(freedom))
    sine, square = math.sin(angle), math.cos(angle) ** 2
    # Odd: 1 + 2/3 cos² + 2·4/(3·5) cos⁴ + ...; even: 1 + 1/2 cos² + 1·3/(2·4) cos⁴ + ...
    first = 2 if freedom % 2 else 1
    evens = np.arange(first, freedom - 2, 2)
    series = float(np.concatenate(([1.0], np.cumprod(evens / (evens + 1) * square))).sum())
    if freedom % 2 == 0:
        return min(1.0, sine * series)
    tail = sine * math.cos(angle) * series if freedom > 1 else 0.0
    return min(1.0, 2 / math.pi * (angle + tail))


def t_quantile(confidence: float, freedom: int) -> float:
    """Return the t for which :func:`t_probability` is `confidence`.

    Raises
    ------
    DataError
        If the confidence is out of range.
    """
    check_confidence(confidence)
    if freedom >= _NORMAL_FROM:
        return NormalDist().inv_cdf(0.5 + confidence / 2)
    low, high = 0.0, 1.0
    while t_probability(high, freedom) < confidence and high < math.inf:
        low, high = high, 2 * high
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if t_probability(middle, freedom) < confidence else (low, middle)
    return high


@dataclass(frozen=True)
class PairedTest:
    """Result of a paired t-test of two models on the same samples.

    Attributes
    ----------
    difference : float
        Mean score of the first model minus that of the second.
    low, high : float or None
        Confidence interval of the difference; None for one sample.
    p : float
        Probability of a difference at least as large, in either direction, if both models are equally good.
    method : {"paired t", "sign"}
        The sign test is used if all samples differ by the same amount, which has no spread.
    """

    difference: float
    low: float | None
    high: float | None
    p: float
    method: Literal["paired t", "sign"] = "paired t"


def paired_test(first: ArrayLike, second: ArrayLike, confidence: float = 0.95) -> PairedTest:
    """Test whether the mean scores of two models differ significantly.

    Student's t-test of the differences; for the squared errors of two regressions it is the test of F. X. Diebold and
    R. S. Mariano (Journal of Business & Economic Statistics 13, 1995) with Student's t as D. Harvey, S. Leybourne and
    P. Newbold propose (International Journal of Forecasting 13, 1997).

    Parameters
    ----------
    first, second : array_like of float, shape (n,)
        Score of each model on each sample, with the samples in the same order.
    confidence : float
        Confidence level of the interval; more than 0 and less than 1.

    Returns
    -------
    PairedTest

    Raises
    ------
    DataError
        If the two differ in length or are empty, or the confidence is out of range.
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape or not len(a):
        raise DataError(f"a paired test takes two lists of the same length, not {a.shape} and {b.shape}")
    check_confidence(confidence)
    differences, n = a - b, len(a)
    mean = float(differences.mean())
    if n == 1:
        return PairedTest(mean, None, None, 1.0, "sign")
    error = float(differences.std(ddof=1)) / math.sqrt(n)
    if error <= _ROUNDING * abs(mean):
        return PairedTest(mean, mean, mean, 2.0 ** (1 - n) if mean else 1.0, "sign")
    half = t_quantile(confidence, n - 1) * error
    return PairedTest(mean, mean - half, mean + half, 1 - t_probability(abs(mean) / error, n - 1))


def corrected_interval(
    scores: Sequence[float], test_share: float, confidence: float = 0.95
) -> tuple[float, float, float]:
    """Return the mean score of cross-validation and its interval, corrected for training sets that overlap.

    The scores of folds are not independent, so the usual variance of their mean is far too small. The correction adds
    the ratio of test to training samples to 1 / number of scores (C. Nadeau and Y. Bengio, Machine Learning 52, 2003;
    for repeated cross-validation R. R. Bouckaert and E. Frank, PAKDD 2004).

    Parameters
    ----------
    scores : sequence of float
        Score on each fold of each repeat, at least 2.
    test_share : float
        Number of test samples of a fold divided by the number of its training samples: 1 / (folds - 1).
    confidence : float
        More than 0 and less than 1.

    Returns
    -------
    mean, low, high : float
    """
    values = np.asarray(scores, dtype=np.float64)
    mean = float(values.mean())
    error = math.sqrt((1 / len(values) + test_share) * float(values.var(ddof=1)))
    half = t_quantile(confidence, len(values) - 1) * error
    return mean, mean - half, mean + half
