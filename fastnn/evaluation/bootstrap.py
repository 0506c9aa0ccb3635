"""Bootstrap confidence intervals of the metrics of a regression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fastnn.evaluation.intervals import check_confidence
from fastnn.evaluation.regression import r2_scores
from fastnn.large_arrays import ROWS_IN_PART

if TYPE_CHECKING:
    from numpy.typing import NDArray

Interval = tuple[float, float]

_RESAMPLES = 2_000
_SEED = 0xB0075
_MOST_GROUPS = 5_000
"""More rows are put into so many random groups, which are drawn instead: a sum over the rows has the same spread."""


_ROUNDING = 1e-12
"""A smaller share of a target's variance is a rounding error."""


@dataclass(frozen=True)
class RegressionIntervals:
    """Confidence intervals (low, high) of the metrics of a regression."""

    r2: Interval
    mae: Interval
    rmse: Interval


def regression_intervals(
    targets: NDArray[np.float64], predicted: NDArray[np.float64], confidence: float = 0.95
) -> RegressionIntervals:
    """Return confidence intervals of R2, MAE and RMSE: the percentiles of 2,000 bootstrap samples of the rows.

    The samples are drawn with a fixed seed, so the same data give the same intervals (B. Efron and R. J. Tibshirani, An
    Introduction to the Bootstrap, 1993, chapter 13).

    Parameters
    ----------
    targets, predicted : ndarray of float64, shape (n, t)
    confidence : float
        More than 0 and less than 1.

    Raises
    ------
    DataError
        If the confidence is out of range.
    """
    check_confidence(confidence)
    rng, n = np.random.default_rng(_SEED), len(targets)
    group = np.arange(n) if n <= _MOST_GROUPS else rng.permutation(n)
    group %= _MOST_GROUPS  # in place: there may be millions
    n_groups, mean_target = min(n, _MOST_GROUPS), targets.mean(axis=0)
    sums, squares = np.zeros((n_groups, 1 + 4 * targets.shape[1])), np.zeros(targets.shape[1])
    for start in range(0, n, ROWS_IN_PART):
        part = slice(start, start + ROWS_IN_PART)
        centred, errors = targets[part] - mean_target, targets[part] - predicted[part]
        columns = [np.ones(len(centred)), *centred.T, *(centred**2).T, *(errors**2).T, *np.abs(errors).T]
        # One column after the other: there may be many targets.
        sums += np.stack([np.bincount(group[part], column, n_groups) for column in columns], axis=1)
        squares += (centred**2).sum(axis=0)
    drawn = np.stack([_weights(rng, len(sums)) @ sums for _ in range(_RESAMPLES)])
    means = drawn[:, 1:] / drawn[:, :1]
    mean, square, squared_error, error = np.split(means, 4, axis=1)
    variance = square - mean**2
    # Some samples hold one row many times; what is left of their variance is rounding.
    variance[variance <= _ROUNDING * squares / n] = 0.0
    metrics = (
        r2_scores(squared_error, variance).mean(axis=1),
        error.mean(axis=1),
        np.sqrt(squared_error).mean(axis=1),
    )
    shares = ((1 - confidence) / 2, (1 + confidence) / 2)
    low_high = [tuple(np.quantile(values, shares).tolist()) for values in metrics]
    return RegressionIntervals(*low_high)


def _weights(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    """Return how often each of n rows is in a bootstrap sample of n rows, shape (n,)."""
    return np.bincount(rng.integers(0, n, n), minlength=n).astype(np.float64)
