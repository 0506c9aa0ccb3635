"""Sparse rows: a matrix of which only the values that are not zero are stored, without SciPy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn import large_arrays
from fastnn.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, eq=False)
class SparseRows:
    """The rows of a matrix in compressed sparse row format (CSR).

    Attributes
    ----------
    values : ndarray of float32 or float64, shape (m,)
        Values of all rows, one row after the other; values of the same column in a row are added.
    indices : ndarray of int32, shape (m,)
        Column of each value, from 0, in any order within a row.
    row_starts : ndarray of int64, shape (n + 1,)
        Where each row begins in the other arrays, and where the last one ends.
    n_columns : int

    Raises
    ------
    DataError
        If an index is outside of the columns, or the rows do not begin in order.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn.datasets import SparseRows
    >>> rows = SparseRows(np.array([2.0, 3.0]), np.array([1, 0]), np.array([0, 1, 2]), 3)
    >>> rows.toarray()
    array([[0., 2., 0.],
           [3., 0., 0.]])
    """

    values: NDArray[Any]
    indices: NDArray[np.int32]
    row_starts: NDArray[np.int64]
    n_columns: int

    def __post_init__(self) -> None:
        values = np.asarray(self.values)
        if values.dtype.kind not in "biuf":
            raise DataError(f"a sparse matrix must hold numbers, not {values.dtype}")
        if values.dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
            values = values.astype(np.float64)
        if np.asarray(self.row_starts).dtype.kind not in "iu":
            raise DataError("the row starts of a sparse matrix must be whole numbers")
        starts = np.ascontiguousarray(self.row_starts, np.int64)
        check_structure(starts, np.asarray(self.indices), values, self.n_columns)
        if self.n_columns > np.iinfo(np.int32).max:
            raise DataError(f"a sparse matrix of {self.n_columns:,} columns is too wide")
        indices = np.ascontiguousarray(self.indices, np.int32)
        for name, array in (("values", np.ascontiguousarray(values)), ("indices", indices), ("row_starts", starts)):
            object.__setattr__(self, name, array)

    @classmethod
    def from_scipy(cls, matrix: Any) -> SparseRows:
        """Return the rows of a SciPy sparse matrix or array of any format."""
        if matrix.ndim != 2:
            raise DataError(f"a sparse matrix must have two dimensions, not {matrix.ndim}")
        rows = matrix.tocsr()
        return cls(rows.data, rows.indices, rows.indptr, rows.shape[1])

    def __len__(self) -> int:
        return len(self.row_starts) - 1

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and of columns."""
        return len(self), self.n_columns

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        return self.values.dtype

    @property
    def density(self) -> float:
        """Share of the matrix's values that are stored."""
        return float(self.row_starts[-1] - self.row_starts[0]) / max(1, len(self) * self.n_columns)

    def take(self, rows: ArrayLike) -> SparseRows:
        """Return the rows at these positions, in that order.

        Parameters
        ----------
        rows : array_like of int, shape (k,)
            Negative positions count from the end, as in NumPy.

        Returns
        -------
        SparseRows
            Of neighbours in their order, the values and indices are views.
        """
        positions = np.asarray(rows, dtype=np.int64)
        if len(positions) and 0 <= positions[0] <= positions[-1] < len(self) and (np.diff(positions) == 1).all():
            starts = self.row_starts[positions[0] : positions[-1] + 2]
            part = slice(int(starts[0]), int(starts[-1]))
            return SparseRows(self.values[part], self.indices[part], starts - starts[0], self.n_columns)
        chosen = np.arange(len(self))[positions]
        lengths = np.diff(self.row_starts)[chosen]
        starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        # Place of each value that is taken: those of a row follow the row's start.
        places = np.arange(starts[-1]) + np.repeat(self.row_starts[chosen] - starts[:-1], lengths)
        return SparseRows(self.values[places], self.indices[places], starts, self.n_columns)

    def toarray(self) -> NDArray[Any]:
        """Return the matrix with all its zeros, shape (n, n_columns)."""
        dense = np.zeros(self.shape, dtype=self.dtype)
        np.add.at(dense, (self.row_numbers(), self.indices[: self.row_starts[-1]]), self.values[: self.row_starts[-1]])
        return dense

    def without_zeros(self) -> SparseRows:
        """Return equal sparse rows whose columns ascend, each at most once in a row, and that store no 0."""
        used = slice(int(self.row_starts[-1]))
        cells = self.row_numbers() * np.int64(self.n_columns) + self.indices[used]
        values = self.values[used]
        if not self.is_in_order():
            # In float64, and equal columns as they stand in the row, so that the sums are the same everywhere.
            cells, where = np.unique(cells, return_inverse=True)
            values = np.bincount(where, weights=values, minlength=len(cells)).astype(self.dtype)
        kept = values != 0
        cells, values = cells[kept], values[kept]
        rows, indices = np.divmod(cells, self.n_columns)
        starts = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(self)))])
        return SparseRows(values, indices.astype(np.int32), starts, self.n_columns)

    def is_in_order(self) -> bool:
        """Return whether the columns of each row ascend, so that none is there twice; looks at all values."""
        indices = self.indices[: self.row_starts[-1]]
        return bool(((np.diff(indices) > 0) | (np.diff(self.row_numbers()) > 0)).all())

    def row_numbers(self) -> NDArray[np.int64]:
        """Return the row of each value, shape (m,)."""
        return np.repeat(np.arange(len(self)), np.diff(self.row_starts))


def _overlapping_parts(n: int) -> Iterator[slice]:
    """Yield slices of n numbers; the last number of each is the first one of the next."""
    for part in large_arrays.parts(n):
        yield slice(max(0, part.start - 1), part.stop)


def check_structure(starts: NDArray[Any], indices: NDArray[Any], values: NDArray[Any], n_columns: int) -> None:
    """Raise a DataError unless the arrays of a CSR matrix point only to what there is: kernels do not check them."""
    if not starts.ndim == indices.ndim == values.ndim == 1:
        raise DataError("the arrays of a sparse matrix must have one dimension")
    whole = len(starts) and starts[0] == 0 and starts[-1] <= min(len(indices), len(values))
    if not whole or not all((starts[part][1:] >= starts[part][:-1]).all() for part in _overlapping_parts(len(starts))):
        raise DataError("the rows of the sparse matrix do not begin in order (indptr)")
    if indices.dtype.kind not in "iu":
        raise DataError(f"the column indices of a sparse matrix must be whole numbers, not {indices.dtype}")
    used = indices[: starts[-1]]
    if used.size and not 0 <= used.min() <= used.max() < n_columns:
        wrong = used[(used < 0) | (used >= n_columns)][0]
        raise DataError(f"the sparse matrix has a column index of {wrong}, outside of its {n_columns} columns")
