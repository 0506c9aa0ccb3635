"""Writing ``.npy`` files whose length is not known before the last row."""

from __future__ import annotations

import io
import math
import mmap
import os
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from fastnn.storage import reserve

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from numpy.typing import NDArray

    from fastnn.datasets.array_names import Part


def features_of(part: Part) -> str:
    """Return the name of the file with the samples of a part."""
    return f"{part}-features.npy"


FEATURES = features_of("train")
"""Name of the file with the samples to train on."""
_LARGEST = (1 << 48) - 1
"""Most rows; the space for the header is that of one with this number."""


class ArrayWriter:
    """Writes an array to a new ``.npy`` file, some rows at a time.

    Parameters
    ----------
    path : Path
    dtype : dtype
    row : tuple of int
        Shape of a row.
    """

    def __init__(self, path: Path, dtype: np.dtype[Any], row: tuple[int, ...]) -> None:
        self._dtype, self._row, self._n = dtype, row, 0
        self._file = path.open("xb")
        self._size = len(_header(dtype, (_LARGEST, *row)))
        self._file.write(bytes(self._size))

    def append(self, rows: NDArray[Any]) -> None:
        """Write rows, of any number type that fits, behind the last ones."""
        self._file.write(np.ascontiguousarray(rows, self._dtype).data)
        self._n += len(rows)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        try:
            if kind is None:
                self._file.seek(0)
                self._file.write(_header(self._dtype, (self._n, *self._row), self._size))
                self._file.flush()
                os.fsync(self._file.fileno())
        finally:
            self._file.close()


def new_array(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Return an array of zeros in a new ``.npy`` file; what is written to it, in any order, is written to the file."""
    header = _header(dtype, shape)
    with path.open("x+b") as file:
        file.write(header)
        reserve(file, len(header) + math.prod(shape) * dtype.itemsize)
        mapped = mmap.mmap(file.fileno(), 0)
    return np.frombuffer(mapped, dtype, offset=len(header)).reshape(shape)


def _header(dtype: np.dtype[Any], shape: tuple[int, ...], size: int = 0) -> bytes:
    """Return the header of an array, padded to `size` bytes."""
    stream = io.BytesIO()
    about: Any = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, about)
    header = stream.getvalue()
    missing = size - len(header)
    if missing > 0:  # the length of the rest of the header is in bytes 8 and 9
        length = int.from_bytes(header[8:10], "little") + missing
        header = header[:8] + length.to_bytes(2, "little") + header[10:-1] + b" " * missing + b"\n"
    return header
