"""Standardising: each column centred on 0 and divided by its standard deviation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn.datasets.sparse import SparseRows

if TYPE_CHECKING:
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
    def fit(cls, rows: NDArray[Any] | SparseRows, keep: NDArray[np.bool_] | None = None) -> Scaling:
        """Return the scaling that gives each column mean 0 and standard deviation 1.

        Sparse rows are not changed, and stay sparse: a network's input that is 0 in the data is -mean * factor.

        Parameters
        ----------
        rows : ndarray or SparseRows, shape (n, k)
        keep : ndarray of bool, shape (k,), optional
            Columns that are left as they are, with mean 0 and factor 1.

        Returns
        -------
        Scaling
            The factor of a constant column is 1.
        """
        with np.errstate(over="ignore", invalid="ignore"):  # seen by `is_finite`
            mean, variance = _sparse_moments(rows) if isinstance(rows, SparseRows) else _moments(rows)
        # A variance that is not finite gives the factor 0.
        constant = np.sqrt(variance) <= _EQUAL * np.abs(mean)
        factor = 1.0 / np.sqrt(np.where(constant, 1.0, variance))
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
        return bool(np.isfinite(self.mean).all() and np.isfinite(self.factor).all() and self.factor.all())


def _moments(rows: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and variance of each column, in float64."""
    n = max(1, len(rows))
    parts = [slice(start, start + _ROWS_AT_ONCE) for start in range(0, len(rows), _ROWS_AT_ONCE)]
    total, squares = np.zeros(rows.shape[1]), np.zeros(rows.shape[1])
    for part in parts:
        total += _in_c_order(rows[part]).sum(axis=0, dtype=np.float64)
    mean = total / n
    # A second pass: the difference of two large sums would lose the variance of columns far from 0.
    for part in parts:
        squares += np.square(_in_c_order(rows[part]) - mean).sum(axis=0)
    return mean, squares / n


def _in_c_order(rows: NDArray[Any]) -> NDArray[Any]:
    """Return an array whose rows are added one after the other, so that the sums are the same on every machine."""
    return np.ascontiguousarray(rows)


def _sparse_moments(rows: SparseRows) -> tuple[Any, Any]:
    """Return mean and variance of each column; values of one column in a row are added first."""
    n, k = max(1, len(rows)), rows.n_columns
    indices = rows.indices[: rows.row_starts[-1]].astype(np.int64)
    values: Any = rows.values[: rows.row_starts[-1]].astype(np.float64)
    mean = np.bincount(indices, weights=values, minlength=k) / n
    cells, where = np.unique(np.asarray(rows.row_numbers() * k + indices), return_inverse=True)
    if len(cells) < len(values):
        values = np.bincount(where, weights=values, minlength=len(cells))
        indices = np.asarray(cells % k, dtype=np.int64)
    stored: Any = np.bincount(indices, minlength=k)
    squares = np.bincount(indices, weights=np.square(values - mean[indices]), minlength=k)
    return mean, (squares + (n - stored) * np.square(mean)) / n
