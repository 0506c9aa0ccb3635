"""Columns of numbers that are read one part after the other and are left on the disk, and the rows made of them."""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn.datasets.spool import rows_on_disk

if TYPE_CHECKING:
    from array import array
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from fastnn.datasets.mapped import MappedRows

MOST_FILES = 256
"""Most columns; each is a file that is open as long as the table is read."""
_NUMBERS_AT_ONCE = 1 << 16
"""Numbers of a column that wait to be written."""
_ROWS_AT_ONCE = 4096


class NumbersOnDisk:
    """The numbers of a column, in a temporary file; takes the place of an ``array("d")``.

    Parameters
    ----------
    path : Path
        Made, and removed by :meth:`remove`.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._n = path, 0
        self._file = path.open("x+b", buffering=8 * _NUMBERS_AT_ONCE)

    def __len__(self) -> int:
        return self._n

    def extend(self, values: array[float]) -> None:
        """Add numbers."""
        self._file.write(values)
        self._n += len(values)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self.mapped(), dtype=dtype, copy=copy)

    def mapped(self) -> NDArray[np.float64]:
        """Return the numbers, left on the disk."""
        self._file.flush()
        if not self._n:
            return np.zeros(0)
        return np.frombuffer(mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ), np.float64)

    def remove(self) -> None:
        """Close and remove the file."""
        self._file.close()
        self.path.unlink(missing_ok=True)


def rows_of_columns(columns: Sequence[NumbersOnDisk], folder: Path) -> MappedRows:
    """Return the rows of columns, in a file in `folder`."""
    arrays = [column.mapped() for column in columns]
    starts = range(0, len(arrays[0]), _ROWS_AT_ONCE)
    parts = (np.stack([one[start : start + _ROWS_AT_ONCE] for one in arrays], axis=1) for start in starts)
    return rows_on_disk(folder, parts, np.dtype(np.float64), len(arrays))
