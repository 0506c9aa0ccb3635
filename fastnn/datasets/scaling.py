"""Standardising: each column centred on 0 and divided by its standard deviation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn import large_arrays
from fastnn.datasets.mapped import row_parts
from fastnn.datasets.sparse import SparseRows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

_ROWS_AT_ONCE = 1024
"""Rows in a part of a computation over all of them, so that it needs little memory."""

_EQUAL = 1e-12
"""A column whose standard deviation is a smaller share of its largest value is taken for constant."""


@dataclass(frozen=True, eq=False)
class Scaling:
    """Means and factors of columns; the scaled value is (value - mean) * factor.

    Attributes
    ----------
    mean, factor : ndarray of float64, shape (k,)

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.datasets import Scaling
    >>> scaling = Scaling.fit(np.array([[1.0, 5.0], [3.0, 5.0]]))
    >>> scaling.apply(np.array([[3.0, 5.0]]))
    array([[1., 0.]])
    """

    mean: NDArray[np.float64]
    factor: NDArray[np.float64]

    @classmethod
    def of_pixels(cls, n: int, *, invert: bool) -> Scaling:
        """Return the scaling of n grey levels from 0 to 255 to inputs from 0 to 1; inverted, 255 becomes 0."""
        return cls(np.full(n, 255.0 * invert), np.full(n, (1 - 2 * invert) / 255))

    @classmethod
    def fit(
        cls, rows: NDArray[Any] | SparseRows, keep: NDArray[np.bool_] | None = None, *, largest: float = np.inf
    ) -> Scaling:
        """Return the scaling that gives each column mean 0 and standard deviation 1.

        Sparse rows are not changed, and stay sparse: a network's input that is 0 in the data is -mean * factor.

        Parameters
        ----------
        rows : ndarray or SparseRows, shape (n, k)
        keep : ndarray of bool, shape (k,), optional
            Columns that are left as they are, with mean 0 and factor 1.
        largest : float
            Largest size that scaled values may have in columns of which more than half is one value; their factors are
            smaller if they must. Otherwise rare values, such as the ink at the edge of images, become very large.

        Returns
        -------
        Scaling
            The factor of a constant column is 1.
        """
        with np.errstate(over="ignore", invalid="ignore"):  # seen by `is_finite`
            limited = largest < np.inf and len(rows) > 0
            if isinstance(rows, SparseRows):
                mean, variance, deviations = _sparse_moments(rows, limited)
            else:
                mean, variance = _moments(rows)
                deviations = _deviations(rows, mean) if limited else np.zeros(len(mean))
            # A variance that is not finite gives the factor 0.
            constant = np.sqrt(variance) <= _EQUAL * np.abs(mean)
            factor = 1.0 / np.sqrt(np.where(constant, 1.0, variance))
            if limited:
                factor *= largest / np.maximum(factor * deviations, largest)
        if keep is not None:
            mean, factor = np.where(keep, 0.0, mean), np.where(keep, 1.0, factor)
        return cls(mean, factor)

    def apply(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Return scaled values; `values` has shape (..., k)."""
        return np.asarray((values - self.mean) * self.factor)

    def undo(self, scaled: NDArray[Any]) -> NDArray[np.float64]:
        """Return the values of which these are the scaled ones, shape (..., k)."""
        return np.asarray(scaled / self.factor + self.mean)

    def is_finite(self) -> bool:
        """Whether all means and factors are finite, and no factor is 0."""
        return self.first_unusable() is None

    def first_unusable(self) -> int | None:
        """Return the position of the first column whose values are too large to be standardised; None if all can be."""
        usable = np.isfinite(self.mean) & np.isfinite(self.factor) & (self.factor != 0)
        return None if usable.all() else int(usable.argmin())


def _moments(rows: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and variance of each column, in float64."""
    n = max(1, len(rows))
    mean = _sum(rows, lambda part: part) / n
    # A second pass: the difference of two large sums would lose the variance of columns far from 0.
    return mean, _sum(rows, lambda part: np.square(part - mean)) / n


def _sum(rows: NDArray[Any], term: Callable[[NDArray[Any]], NDArray[Any]]) -> NDArray[np.float64]:
    """Return the sum of a function of some rows over all rows, in float64 and in an order that the width is no part of.

    The rows are added one after the other in groups of _ROWS_AT_ONCE, and then the groups: the same on every machine.
    """
    total = np.zeros(rows.shape[1])
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        group = range(start, min(start + _ROWS_AT_ONCE, len(rows)))
        for part in large_arrays.parts(len(group), rows.shape[1]):
            terms = term(np.ascontiguousarray(rows[group[part].start : group[part].stop]))
            if part.start == 0:
                sums = terms.sum(axis=0, dtype=np.float64)
                continue
            # Rows so wide that a group has several parts.
            for row in terms:
                sums += row
        total += sums
    return total


def _deviations(rows: NDArray[Any], mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the largest deviation from the mean of columns of which more than half is one value, and else 0."""
    chosen = rows[:: max(1, len(rows) // _ROWS_AT_ONCE)]
    # A value that is more than half of a column is about half of these rows, so that one of their quartiles is it.
    quartiles = np.empty((3, rows.shape[1]), chosen.dtype)
    for columns in large_arrays.parts(rows.shape[1], len(chosen)):
        ordered = np.sort(chosen[:, columns], axis=0)
        quartiles[:, columns] = ordered[[len(ordered) * quarter // 4 for quarter in (1, 2, 3)]]
    frequent = np.zeros(rows.shape[1], dtype=bool)
    for value in quartiles:
        frequent |= sum(np.count_nonzero(part == value, axis=0) for part in _parts(rows)) > len(rows) / 2
    highest, lowest = np.full(rows.shape[1], -np.inf), np.full(rows.shape[1], np.inf)
    for part in _parts(rows):
        np.maximum(highest, part.max(axis=0), out=highest)
        np.minimum(lowest, part.min(axis=0), out=lowest)
    return np.where(frequent, np.maximum(highest - mean, mean - lowest), 0.0)


def _parts(rows: NDArray[Any]) -> Iterator[NDArray[Any]]:
    return row_parts(rows, _ROWS_AT_ONCE)


def _sparse_moments(rows: SparseRows, limited: bool) -> tuple[Any, Any, Any]:
    """Return mean, variance and largest deviation of each column; values of one column in a row are added first.

    The deviation is 0 for columns of which no more than half is one value, and for all columns if it is not wanted.
    """
    n, k = max(1, len(rows)), rows.n_columns
    indices = rows.indices[: rows.row_starts[-1]].astype(np.int64)
    values: Any = rows.values[: rows.row_starts[-1]].astype(np.float64)
    mean = np.bincount(indices, weights=values, minlength=k) / n
    if not rows.is_in_order():
        cells, where = np.unique(rows.row_numbers() * k + indices, return_inverse=True)
        values = np.bincount(where, weights=values, minlength=len(cells))
        indices = np.asarray(cells % k, dtype=np.int64)
    stored: Any = np.bincount(indices, minlength=k)
    squares = np.bincount(indices, weights=np.square(values - mean[indices]), minlength=k)
    deviations = np.zeros(k)
    if limited:
        deviations = np.abs(mean)
        np.maximum.at(deviations, indices, np.abs(values - mean[indices]))
        filled = np.flatnonzero(np.bincount(indices[values != 0], minlength=k) >= n / 2)
        # All these columns together hold no more than twice the stored values.
        deviations[filled] = _deviations(_columns(rows, filled), mean[filled])
    return mean, (squares + (n - stored) * np.square(mean)) / n, deviations


def _columns(rows: SparseRows, chosen: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return some columns with all their zeros, shape (n, len(chosen))."""
    place = np.full(rows.n_columns, -1)
    place[chosen] = np.arange(len(chosen))
    n_values = int(rows.row_starts[-1])
    columns, row_numbers = place[rows.indices[:n_values]], rows.row_numbers()
    here = columns >= 0
    dense = np.zeros((len(rows), len(chosen)))
    np.add.at(dense, (row_numbers[here], columns[here]), rows.values[:n_values][here])
    return dense
