"""Rows of a file that is mapped into memory and picked by their positions, so that no part of it is copied."""

from __future__ import annotations

import math
import mmap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, NoReturn, cast

import numpy as np

from fastnn import large_arrays
from fastnn.datasets.array_stream import ArrayFault, check_header, read_header, values_in
from fastnn.datasets.safe_read import LIMIT
from fastnn.errors import DataError
from fastnn.reading import open_file

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import BinaryIO

    from numpy.typing import ArrayLike, NDArray

    from fastnn.datasets.columns import Column

ROWS_AT_ONCE = 4096
"""Most rows in a part of a pass over all of them."""
_CHUNKS_AFTER_FAULT = 100
"""Chunks that are asked for ahead after one that had to wait for the disk."""


class StoredPart(NamedTuple):
    """Which samples of which store a file holds; the hash is the one in the header of the store."""

    store: Path
    part: str
    sha256: str


class MappedArray:
    """An array that is mapped into memory from a file.

    The system reads pages when they are used, and drops them when it needs the memory: they are its page cache and not
    memory of this process.

    Parameters
    ----------
    pages : mmap
    array : ndarray
    offset : int
        Where it begins in `pages`, in bytes.

    Attributes
    ----------
    array : ndarray
    path : Path or None
        Of the file, if it has a name.
    stored : StoredPart or None
        What it holds, if it is the file of samples of a store.
    """

    path: Path | None = None
    stored: StoredPart | None = None

    def __init__(self, pages: mmap.mmap, array: NDArray[Any], offset: int = 0) -> None:
        self._pages, self._offset = pages, offset
        self.array = array

    def ask_for(self, rows: NDArray[np.integer[Any]]) -> None:
        """Ask the system to read the pages of some rows from the disk, without waiting for them."""
        if not hasattr(self._pages, "madvise") or not len(rows):
            return
        size = self.array.strides[0]
        begin = self._offset + np.sort(rows).astype(np.int64) * size
        first, last = begin // mmap.PAGESIZE, (begin + size - 1) // mmap.PAGESIZE
        # One call for neighbours: a call takes a microsecond.
        new = np.flatnonzero(first[1:] > last[:-1] + 1) + 1
        starts = first[np.concatenate([[0], new])] * mmap.PAGESIZE
        ends = np.minimum((last[np.concatenate([new - 1, [len(last) - 1]])] + 1) * mmap.PAGESIZE, len(self._pages))
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
            self._pages.madvise(mmap.MADV_WILLNEED, start, end - start)


class MappedFile(MappedArray):
    """An array of a ``.npy`` file, mapped into memory for reading.

    If another program shortens the file meanwhile, the system ends the process (SIGBUS).

    Parameters
    ----------
    path : Path

    Raises
    ------
    DataError
        If the file is damaged, cut off, or cannot be mapped. Nothing is unpickled.
    """

    path: Path

    def __init__(self, path: Path) -> None:
        with open_file(path, LIMIT, what="an array of a store") as file:
            try:
                header = read_header(cast("BinaryIO", file), path.name)
                check_header(header, path.name, file.size)
                if header.fortran:
                    raise ArrayFault(f"{path.name} is stored column by column")
                pages = mmap.mmap(file.fileno(), file.size, access=mmap.ACCESS_READ)
            except (DataError, MemoryError):
                raise
            # NumPy's header parser raises several kinds of exceptions for damaged bytes.
            except Exception as error:
                text = str(error) if isinstance(error, ArrayFault) else f"not a .npy file, or damaged ({error})"
                raise DataError(f"{path}: {' '.join(text.split())[:200]}") from None
        super().__init__(pages, values_in(pages, header, header.length), header.length)
        self.path = path


class ReadAhead:
    """Asks for the rows of the next chunk, if those of the last ones had to be waited for.

    A process that never waits for the disk asks for nothing: asking for 4,000 rows takes 4 ms, a fifth of the time of
    training on them.
    """

    def __init__(self, file: MappedArray) -> None:
        self._file, self._left, self._seen = file, 0, _waits()

    def next(self, rows: NDArray[np.integer[Any]]) -> None:
        """Take the rows that are read after those of the current chunk."""
        waits = _waits()
        if waits > self._seen:
            self._seen, self._left = waits, _CHUNKS_AFTER_FAULT
        if self._left:
            self._left -= 1
            self._file.ask_for(rows)


def _waits() -> int:
    """Return how often this thread has waited for a page from the disk."""
    who = getattr(resource, "RUSAGE_THREAD", None)
    return 0 if who is None else resource.getrusage(who).ru_majflt


class KnownContent(NamedTuple):
    """The hash that a store keeps of its samples, and what they are: other targets or names have another hash."""

    targets: NDArray[Any]
    names: tuple[str, ...]
    columns: tuple[Column, ...] | None
    sha256: str


@dataclass(frozen=True, eq=False)
class MappedRows:
    """Rows of a mapped array, picked by their positions; read in parts, as an array is.

    Slices and lists of positions give arrays in memory, ``take`` other rows of the same map. NumPy's functions copy all
    rows to memory.

    Attributes
    ----------
    base : ndarray of uint8, float32 or float64, shape (m, k)
        All rows of the file, in C order and without NaN or infinity.
    index : ndarray of int, shape (n,), or None
        Positions of the rows in `base`, from 0; None for all of them.
    file : MappedArray or None
        Where `base` is from.
    known : KnownContent or None

    Raises
    ------
    DataError
        If `base` is no matrix in C order, or a position is not one of its rows: kernels read there without a check.
    """

    base: NDArray[Any]
    index: NDArray[np.integer[Any]] | None = None
    file: MappedArray | None = None
    known: KnownContent | None = None

    def __post_init__(self) -> None:
        if self.base.ndim != 2 or not self.base.flags.c_contiguous:
            raise DataError(f"mapped rows must be a matrix in C order, not an array of shape {self.base.shape}")
        index = self.index
        if index is not None and index.size and not (index.min() >= 0 and index.max() < len(self.base)):
            raise DataError(f"positions of mapped rows must be from 0 to {len(self.base) - 1:,}")

    def __len__(self) -> int:
        return len(self.base if self.index is None else self.index)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and of columns."""
        return len(self), int(self.base.shape[1])

    @property
    def size(self) -> int:
        """Number of values."""
        return len(self) * int(self.base.shape[1])

    @property
    def ndim(self) -> Literal[2]:
        """Number of dimensions."""
        return 2

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        return self.base.dtype

    def __getitem__(self, key: Any) -> NDArray[Any]:
        return np.asarray(self.base[key if self.index is None else self.index[key]])

    def has_repeats(self) -> bool:
        """Return whether a row of the file is picked more than once."""
        if self.index is None:
            return False
        picked = np.zeros(len(self.base), dtype=bool)
        picked[self.index] = True
        return bool(np.count_nonzero(picked) < len(self.index))

    def positions(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the positions in `base` of some of the rows."""
        return rows if self.index is None else self.index[rows].astype(np.int64)

    def parts(self, rows: int | None = None) -> Iterator[NDArray[Any]]:
        """Yield the rows as arrays of at most so many, by default 4,096; of fewer if they have very many columns."""
        return row_parts(self, rows)

    def take(self, index: ArrayLike) -> MappedRows:
        """Return the rows at these positions; negative ones count from the end, as those of an array do.

        Raises
        ------
        IndexError
            If there is no row at a position.
        """
        chosen, n = np.asarray(index), len(self)
        least = chosen.min(initial=0)
        if least < -n or chosen.max(initial=-1) >= n:
            raise IndexError(f"a position is not one of {n:,} rows")
        if least < 0:
            chosen = np.where(chosen < 0, chosen + n, chosen)
        # A quarter of a gigabyte less for each array of 64 million positions.
        small = np.int32 if len(self.base) <= np.iinfo(np.int32).max else np.int64
        picked = large_arrays.zeros(len(chosen), small)
        for part in large_arrays.parts(len(chosen)):
            picked[part] = chosen[part] if self.index is None else self.index[chosen[part]]
        return MappedRows(self.base, picked, self.file)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False and self.index is not None:
            raise ValueError("rows that are picked by their positions cannot be an array without a copy")
        array = self[:]
        return np.array(array, dtype=dtype, copy=copy)

    # Of arrays, these compare the values.
    __hash__ = object.__hash__

    def __eq__(self, _: object) -> NoReturn:
        raise TypeError("compare the parts of mapped rows")

    def __ne__(self, _: object) -> NoReturn:
        raise TypeError("compare the parts of mapped rows")


@dataclass(frozen=True, eq=False, kw_only=True)
class ChangedRows(MappedRows):
    """Rows that are changed when they are read.

    Attributes
    ----------
    rows : MappedRows
    change : callable
        Takes an array of rows and their positions, and returns them changed.
    """

    rows: MappedRows
    change: Callable[[NDArray[Any], NDArray[np.int64]], NDArray[Any]]

    def __getitem__(self, key: Any) -> NDArray[Any]:
        positions = np.arange(*key.indices(len(self))) if isinstance(key, slice) else np.asarray(key)
        return self.change(self.rows[key], positions)

    def take(self, index: ArrayLike) -> MappedRows:
        """Return the rows at these positions, changed in the same way."""
        rows = self.rows.take(index)
        # Of all rows, the positions in the file are the same ones, and one array of them is enough.
        chosen: NDArray[Any] = np.asarray(index) if self.rows.index is not None or rows.index is None else rows.index
        return ChangedRows(
            rows.base, rows.index, rows=rows, change=lambda some, positions: self.change(some, chosen[positions])
        )


def changed(features: Any, change: Callable[[NDArray[Any], NDArray[np.int64]], NDArray[Any]]) -> Any:
    """Return an array changed, or mapped rows that are changed when they are read."""
    if not isinstance(features, MappedRows):
        return change(features, np.arange(len(features)))
    return ChangedRows(features.base, features.index, rows=features, change=change)


def row_parts(features: Any, rows: int | None = None) -> Iterator[NDArray[Any]]:
    """Yield an array, or mapped rows, as arrays of at most so many rows, by default :data:`ROWS_AT_ONCE`.

    They are fewer if the rows are wide, so that the memory that a part takes does not grow with their width.
    """
    most = ROWS_AT_ONCE if rows is None else rows
    for part in large_arrays.parts(len(features), math.prod(features.shape[1:]), most):
        yield features[part]
