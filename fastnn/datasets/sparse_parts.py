"""Sparse rows that are read one part after the other, kept in memory or left on the disk."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from fastnn.datasets.mapped import row_parts
from fastnn.datasets.sparse import SparseRows
from fastnn.datasets.spool import array_in, array_on_disk, free_path
from fastnn.datasets.store_files import ArrayWriter

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from numpy.typing import ArrayLike, NDArray

_DTYPES = (np.dtype(np.float64), np.dtype(np.int32), np.dtype(np.int64))
"""Types of values, indices and row starts."""
_VALUES_AT_ONCE = 1 << 20


class SparseParts:
    """Collects sparse rows, as a context in which they are appended.

    Parameters
    ----------
    spool : Path or None
        A temporary folder, if they are to be left on the disk.
    """

    def __init__(self, spool: Path | None) -> None:
        self._spool, self._n_values = spool, 0
        self._parts: tuple[list[NDArray[Any]], ...] = ([], [], [])
        self._paths: list[Path] = []
        self._writers: list[ArrayWriter] = []
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        # If a file cannot be opened, those before it are closed.
        with contextlib.ExitStack() as stack:
            if self._spool is not None:
                for dtype in _DTYPES:
                    self._paths.append(free_path(self._spool, "sparse"))
                    self._writers.append(stack.enter_context(ArrayWriter(self._paths[-1], dtype, ())))
            self._add(np.zeros(0), np.zeros(0), np.zeros(1))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.__exit__(kind, error, at)

    def append(self, values: ArrayLike, indices: ArrayLike, lengths: ArrayLike) -> None:
        """Add rows.

        Parameters
        ----------
        values, indices : array_like, shape (m,)
            Those of all these rows, see :class:`fastnn.datasets.SparseRows`.
        lengths : array_like of int, shape (n,)
            Number of values of each row.
        """
        ends = self._n_values + np.cumsum(np.asarray(lengths, np.int64))
        self._add(values, indices, ends)
        self._n_values += len(np.asarray(values))

    def _add(self, *arrays: ArrayLike) -> None:
        for k, array in enumerate(arrays):
            if self._writers:
                self._writers[k].append(np.asarray(array))
            else:
                self._parts[k].append(np.array(array, _DTYPES[k]))

    def rows(self, n_columns: int, first: int = 0) -> SparseRows:
        """Return all rows, after the context has ended; their columns count from `first`, and from 0 in the result."""
        values, indices, starts = map(array_in, self._paths) if self._paths else map(np.concatenate, self._parts)
        if first and self._spool is not None:
            indices = array_on_disk(self._spool, (part - first for part in row_parts(indices, _VALUES_AT_ONCE)))
        elif first:
            indices -= first
        return SparseRows(values, indices, starts, n_columns)
