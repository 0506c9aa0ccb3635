"""The inputs of a table, in memory or left on the disk, and the features that they become."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np

from fastnn.datasets.delimited import MOST_INPUTS
from fastnn.datasets.input_rows import InputRows
from fastnn.datasets.mapped import ROWS_AT_ONCE
from fastnn.datasets.sparse_parts import SparseParts
from fastnn.datasets.spool import rows_on_disk
from fastnn.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from fastnn.datasets.cells import Cells, Rows, Table
    from fastnn.datasets.columns import Column
    from fastnn.datasets.mapped import MappedRows
    from fastnn.datasets.sparse import SparseRows

_CELLS_AT_ONCE = 1 << 20


class TableInputs:
    """The columns of a table that are inputs.

    Parameters
    ----------
    cells : sequence of Cells
        Without cells yet.
    spool : Path or None
        A temporary folder, if their values are to be left on the disk.

    Attributes
    ----------
    cells : list of Cells
    """

    def __init__(self, cells: Sequence[Cells], spool: Path | None) -> None:
        self.cells, self._spool = [*cells], spool
        self._rows: MappedRows | None = None
        self._places, self._n = [*range(len(cells))], 0

    def read(self, table: Table, columns: Sequence[Cells | None], rows: Rows) -> int:
        """Read all rows of a table; parameters, result and errors as for :meth:`fastnn.datasets.cells.Table.fill`.

        A DataError is also raised as soon as the categories are more inputs than can be learned, so that the texts of
        all columns together take bounded memory.
        """

        def check() -> None:
            check_width(sum(len(cells.texts) for cells in self.cells), table.source)

        if self._spool is None or not self.cells:
            self._n = table.fill(columns, rows, check)
            return self._n
        with InputRows(self._spool, self.cells) as on_disk:

            def check_and_move() -> None:
                check()
                on_disk.move()

            self._n = table.fill(columns, rows, check_and_move)
        self._rows = on_disk.rows()
        return self._n

    def leave_out(self, names: Sequence[str]) -> None:
        """Leave out the columns of these names."""
        kept = [k for k, cells in enumerate(self.cells) if cells.name not in names]
        self.cells, self._places = [self.cells[k] for k in kept], [self._places[k] for k in kept]

    def counts_rows(self, k: int) -> bool:
        """Return whether a column of numbers grows by 1 from each row to the next."""
        if self._rows is not None:
            return is_row_counter(self._rows, self._places[k])
        return is_row_counter(np.array(self.cells[k].numbers)[:, None], 0)

    def dense(self) -> NDArray[np.float64]:
        """Return columns of numbers as rows, or MappedRows, shape (n, k); the columns are empty afterwards."""
        if self._rows is None:
            dense = np.empty((self._n, len(self.cells)))
            for k, cells in enumerate(self.cells):
                dense[:, k] = cells.numbers
                cells.clear()  # so that not all is in memory twice
            return dense
        rows: Any = self._rows
        if len(self._places) == rows.shape[1]:
            return cast("NDArray[np.float64]", rows)
        parts = (part[:, self._places] for part in rows.parts())
        return cast("NDArray[np.float64]", rows_on_disk(cast("Path", self._spool), parts, rows.dtype, len(self.cells)))

    def sparse(self, columns: tuple[Column, ...], ranks: Sequence[NDArray[np.int64] | None]) -> SparseRows:
        """Return numbers and categories as sparse rows.

        Parameters
        ----------
        columns : tuple of Column
        ranks : sequence of ndarray or None
            For each column of texts the category of each code, or -1 for none.
        """
        return one_hot(self._blocks(ranks), columns, self._spool)

    def count_unknown(self, k: int, rank: NDArray[np.int64]) -> int:
        """Return how many cells of a column of texts have the rank -1."""
        blocks = self._blocks([rank if place == k else None for place in range(len(self.cells))])
        return sum(int(np.count_nonzero(block[:, k] < 0)) for block in blocks)

    def _blocks(self, ranks: Sequence[NDArray[np.int64] | None]) -> Iterator[NDArray[np.float64]]:
        """Yield some rows at a time: numbers, and ranks of texts."""
        at_once = max(1, _CELLS_AT_ONCE // len(self.cells))
        columns = [] if self._rows is not None else [np.asarray(cells.values) for cells in self.cells]
        for start in range(0, self._n, at_once):
            part = slice(start, start + at_once)
            if self._rows is not None:
                block = self._rows[part][:, self._places]
            else:
                block = np.stack([column[part] for column in columns], axis=1).astype(np.float64, copy=False)
            for k, rank in enumerate(ranks):
                if rank is not None:
                    block[:, k] = rank[block[:, k].astype(np.int64)]
            yield block


def check_width(n_inputs: int, source: str) -> None:
    """Raise a DataError if the columns of a table become more inputs than can be learned."""
    if n_inputs > MOST_INPUTS:
        raise DataError(
            f"{source}: the columns become more than {MOST_INPUTS:,} inputs, one for each category, which is the most "
            "that can be learned; leave out columns with many categories"
        )


def is_row_counter(rows: Any, k: int) -> bool:
    """Return whether a column of an array, or of mapped rows, grows by 1 from each row to the next."""
    parts = (rows[start : start + ROWS_AT_ONCE + 1][:, k] for start in range(0, len(rows), ROWS_AT_ONCE))
    return all((np.diff(part) == 1).all() for part in parts)


def one_hot(blocks: Iterable[NDArray[np.float64]], columns: tuple[Column, ...], spool: Path | None) -> SparseRows:
    """Return sparse rows of numbers and categories.

    Parameters
    ----------
    blocks : iterable of ndarray, each of shape (m, len(columns))
        For each column its numbers, or positions in its categories; -1 for none of them.
    columns : tuple of Column
    spool : Path or None
        A temporary folder, if the rows are to be left on the disk.
    """
    starts = np.concatenate([[0], np.cumsum([column.width for column in columns])]).astype(np.int64)
    is_text = np.array([column.categories is not None for column in columns])
    with SparseParts(spool) as parts:
        for block in blocks:
            indices = np.where(is_text, starts[:-1] + block, starts[:-1]).astype(np.int32)
            stored = np.where(is_text, block >= 0, block != 0)
            parts.append(np.where(is_text, 1.0, block)[stored], indices[stored], stored.sum(axis=1))
    return parts.rows(int(starts[-1]))
