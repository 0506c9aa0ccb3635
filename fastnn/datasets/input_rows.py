"""The inputs of a table that is read one part after the other: their rows, left on the disk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np

from fastnn.datasets.spool import free_path, rows_in
from fastnn.datasets.store_files import ArrayWriter

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType

    from fastnn.datasets.cells import Cells
    from fastnn.datasets.mapped import MappedRows

_CELLS_AT_ONCE = 1 << 17
"""Cells that wait in their columns to be written: 1 MiB as numbers of eight bytes."""


class InputRows:
    """Moves the cells of columns to a file, where they are rows of float64: numbers, and the codes of texts.

    Parameters
    ----------
    folder : Path
        A temporary folder.
    columns : sequence of Cells
        At least one; they are empty afterwards, but know their texts.
    """

    _writer: ArrayWriter

    def __init__(self, folder: Path, columns: Sequence[Cells]) -> None:
        self._columns, self._path = columns, free_path(folder)

    def move(self) -> None:
        """Move cells if there are many; all columns must have the same number of them."""
        if len(self._columns[0].values) * len(self._columns) >= _CELLS_AT_ONCE:
            self._move()

    def _move(self) -> None:
        block = np.empty((len(self._columns[0].values), len(self._columns)))
        for k, column in enumerate(self._columns):
            block[:, k] = column.values
            column.clear()
        self._writer.append(block)

    def __enter__(self) -> Self:
        self._writer = ArrayWriter(self._path, np.dtype(np.float64), (len(self._columns),)).__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is not None:
            self._writer.__exit__(kind, error, at)
            return
        with self._writer:
            self._move()

    def rows(self) -> MappedRows:
        """Return the rows, shape (n, k), after the context has ended."""
        return rows_in(self._path)
