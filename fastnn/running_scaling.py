"""Standardises rows of a stream by the running mean and standard deviation of each column."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn.datasets.sparse import SparseRows
from fastnn.kernels.loader import Kernel
from fastnn.kernels.records import STANDARDISE
from fastnn.kernels.workspace import ArgumentBlock

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


class RunningScaling:
    """Standardises rows by the mean and standard deviation of all values so far, column by column.

    A row holds values of some columns. The columns that it does not hold are 0 afterwards, which is their mean, and
    their moments do not change. A column whose values were all equal is 0.

    Parameters
    ----------
    n_columns : int
    standardises : bool
        Whether rows are standardised. If not, they are only checked and given the width of `n_columns`.

    Attributes
    ----------
    values : ndarray of float64
        Memory for the next row: begins with the values of the columns that :meth:`select` chose.
    row : ndarray of float64, shape (n_columns,)
        The last row that was read, unless it is sparse.
    """

    def __init__(self, n_columns: int, standardises: bool = True) -> None:
        self.n_columns, self._standardises = n_columns, standardises
        # Number of values, mean and sum of squared deviations of each column.
        self._moments = np.zeros((3, n_columns))
        self._prepare()

    def _prepare(self) -> None:
        self.row = np.zeros(self.n_columns)
        counts, means, squares = self._moments
        self._block = ArgumentBlock(
            STANDARDISE,
            standardises=self._standardises,
            counts=counts,
            means=means,
            squares=squares,
            n_rows=1,
            dense=self.row,
        )
        self._learns, self._bad = self._block.word("learns"), self._block.word("bad")
        self._n_sparse, self._address = self._block.word("n_sparse"), self._block.address
        self._run = standardise_kernel.load()
        self._reserve(1)
        self.select(np.arange(self.n_columns, dtype=np.int32))

    def __getstate__(self) -> dict[str, Any]:
        # The argument block holds addresses.
        return {name: vars(self)[name] for name in ("n_columns", "_standardises", "_moments")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._prepare()

    def grow(self, n_columns: int) -> None:
        """Add columns without values."""
        moments = np.zeros((3, n_columns))
        moments[:, : self.n_columns] = self._moments
        self.n_columns, self._moments = n_columns, moments
        self._prepare()

    def mean_and_deviation(self, column: int) -> tuple[float, float]:
        """Return mean and standard deviation of a column; 0 and 1 if it is not standardised, or without values."""
        count, mean, squares = self._moments[:, column].tolist()
        if not self._standardises or count == 0:
            return 0.0, 1.0
        return mean, (squares / count) ** 0.5

    def select(self, columns: NDArray[np.int32], sparse: bool = False) -> None:
        """Choose the columns whose values the next rows hold; by default all of them.

        Parameters
        ----------
        columns : ndarray of int32, shape (k,)
            In the order of the values; -1 for a value that is only checked. Values of the same column add up.
        sparse : bool
            Whether rows are returned without the columns that they do not hold, see :attr:`sparse_row`.
        """
        self._selected = columns, sparse
        k = len(columns)
        if k > len(self.values):
            self._reserve(2 * k)
        block = self._block
        block.put_array("columns", columns)
        block.put_word("n_values", k)
        block.put_word("width", 0 if sparse else self.n_columns)

    def _reserve(self, n_values: int) -> None:
        """Make memory for a row of so many values."""
        self.values, self._sparse = np.zeros(n_values), np.zeros(n_values)
        self._sparse_columns = np.zeros(n_values, dtype=np.int32)
        self._block.put(values=self.values, sparse=self._sparse, sparse_columns=self._sparse_columns)

    def read(self, learns: bool) -> int:
        """Standardise the row in :attr:`values`; with `learns`, by moments that hold it too.

        Returns
        -------
        int
            0, or which value is NaN or too large, counted from 1; then nothing has changed.
        """
        self._learns[0] = learns
        self._run(self._address)
        return self._bad[0]

    @property
    def sparse_row(self) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
        """The last row that was read, if it is sparse: values and their columns."""
        n = self._n_sparse[0]
        return self._sparse[:n], self._sparse_columns[:n]

    def read_many(
        self, rows: NDArray[np.float64], columns: NDArray[np.int32], *, learns: bool, sparse: bool = False
    ) -> NDArray[np.float64] | SparseRows:
        """Return rows that hold the same columns; with `learns`, each by moments that hold it and those before.

        Parameters
        ----------
        rows : ndarray of float64, shape (n, k)
            C-contiguous; finite values below ``fastnn.kernels.records.LARGEST`` in size.
        columns : ndarray of int32, shape (k,)
            As in :meth:`select`, whose choice for :meth:`read` stays.
        learns, sparse : bool

        Returns
        -------
        ndarray of float64 or SparseRows, shape (n, n_columns)
        """
        n, used, selected = len(rows), int((columns >= 0).sum()), self._selected
        self.select(columns, sparse)
        dense = np.zeros((0 if sparse else n, self.n_columns))
        values, indices = np.zeros(n * used * sparse), np.zeros(n * used * sparse, dtype=np.int32)
        self._block.put(values=rows, n_rows=n, dense=dense, sparse=values, sparse_columns=indices)
        self.read(learns)
        self._block.put(n_rows=1, dense=self.row)
        self._reserve(len(self.values))
        self.select(*selected)
        return SparseRows(values, indices, np.arange(n + 1) * used, self.n_columns) if sparse else dense


def _standardises_two_rows(kernel: Callable[[int], object]) -> bool:
    """Return whether two rows are standardised by their running moments."""
    rows, columns = np.array([[1.0, 3.0], [3.0, -5.0]]), np.array([2, 0], np.int32)
    (counts, means, squares), dense = np.zeros((3, 3)), np.ones((2, 3))
    block = ArgumentBlock(STANDARDISE, values=rows, columns=columns, n_rows=2, n_values=2, learns=1, standardises=1)
    block.put(counts=counts, means=means, squares=squares, dense=dense, width=3)
    kernel(block.address)
    return bool(np.allclose(dense, [[0, 0, 0], [-1, 0, 1]]) and np.allclose(squares, [32, 0, 2]))


standardise_kernel = Kernel("fastnn.kernels.standardise", "standardise", (), _standardises_two_rows)
