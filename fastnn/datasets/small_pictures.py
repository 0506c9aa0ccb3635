"""Small pictures that wait until it is known whether the whole set has their size, in memory or on the disk."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn.datasets.safe_read import map_packed
from fastnn.datasets.spool import free_path

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

_BYTES_AT_ONCE = 1 << 20
"""Bytes of pictures that wait to be written."""


class SmallPictures:
    """Grey levels of pictures, with their positions in a data set.

    Parameters
    ----------
    spool : Path or None
        A temporary folder, if they are to be left on the disk.

    Attributes
    ----------
    shapes : set of (int, int)
        Heights and widths that occur.
    """

    def __init__(self, spool: Path | None) -> None:
        self.shapes: set[tuple[int, int]] = set()
        self._spool = spool
        self._path: Path | None = None
        self._content = bytearray()
        # Of each picture.
        self._positions, self._heights, self._widths = array("q"), array("q"), array("q")

    def __len__(self) -> int:
        return len(self._positions)

    def add(self, position: int, grey: NDArray[np.uint8]) -> None:
        """Add a picture of shape (height, width)."""
        height, width = grey.shape
        self.shapes.add((height, width))
        self._positions.append(position)
        self._heights.append(height)
        self._widths.append(width)
        self._content += grey.tobytes()
        if len(self._content) > _BYTES_AT_ONCE and self._spool is not None:
            self._path = self._path or free_path(self._spool, "small")
            self._write(self._path)

    def _write(self, path: Path) -> None:
        """Write what has been added since the last call."""
        with path.open("ab") as file:
            file.write(self._content)
        self._content = bytearray()

    def __iter__(self) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Yield the position and the grey levels of each picture."""
        content: Any = self._content
        if self._path is not None:
            self._write(self._path)
            content = map_packed(self._path)
        begin = 0
        for position, height, width in zip(self._positions, self._heights, self._widths, strict=True):
            size = height * width
            yield position, np.frombuffer(content, np.uint8, size, begin).reshape(height, width)
            begin += size
