"""Data sets as bytes for other processes: sent to a machine once, kept in its cache, and mapped into memory there.

Of a store only its path, its hash and the positions of the rows are sent: each machine maps its own file.
"""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from fastnn.datasets.columns import Column  # noqa: TC001 - msgspec reads the annotations
from fastnn.datasets.dataset import Dataset
from fastnn.datasets.mapped import MappedRows
from fastnn.datasets.sparse import SparseRows
from fastnn.datasets.store import open_store
from fastnn.errors import DataError, FastnnError
from fastnn.reading import open_file
from fastnn.storage import atomic_write, cache_dir

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

_MAGIC = b"fastnn shared 1\n"
_ALIGNMENT = 64
_LIMIT = 1 << 40
_MOST_CACHED = 16
"""Most data sets in the cache; the oldest ones are removed."""
_PARTS = ("test", "validation")
_FAULTS = (ValueError, TypeError, OverflowError, SyntaxError, RecursionError, msgspec.MsgspecError, FastnnError)


class _Array(msgspec.Struct, array_like=True):
    """Where an array begins in the file, from the end of the header."""

    dtype: str
    shape: tuple[int, ...]
    offset: int


class _Stored(msgspec.Struct, array_like=True, frozen=True):
    """Rows of a store, which are not in the file: the store's path and part, and the hash in its header."""

    path: str
    part: str
    sha256: str


class _Header(msgspec.Struct, omit_defaults=True):
    """A data set without its arrays."""

    source: str
    names: tuple[str, ...]
    features: list[_Array]
    targets: _Array
    n_columns: int | None = None
    columns: tuple[Column, ...] | None = None
    polarity: str | None = None
    groups: _Array | None = None
    stored: _Stored | None = None
    test: _Header | None = None
    validation: _Header | None = None


_decoder = msgspec.json.Decoder(_Header)


class StoreNotHereError(DataError):
    """The store whose rows a data set picks is not on this machine."""


def shared_key(dataset: Dataset) -> str:
    """Return a hash (hexadecimal) of everything that :func:`to_parts` keeps of a data set."""
    digest = hashlib.sha256(_content_key(dataset).encode())
    digest.update(repr((dataset.source, dataset.columns, dataset.polarity)).encode(errors="surrogateescape"))
    if dataset.groups is not None:
        digest.update(np.ascontiguousarray(dataset.groups, "<i8").data)
    for name in _PARTS:
        part = getattr(dataset, name)
        digest.update(f"{name} {None if part is None else shared_key(part)}".encode())
    return digest.hexdigest()


def _content_key(dataset: Dataset) -> str:
    """Return a hash of samples, targets and names; of rows of a store without reading them."""
    rows: Any = dataset.features
    stored = _stored(dataset)
    if stored is None:
        return dataset.content_hash
    targets = np.ascontiguousarray(dataset.targets, dataset.targets.dtype.newbyteorder("<"))
    about = (stored.path, stored.part, stored.sha256, dataset.names, targets.dtype.str, targets.shape)
    digest = hashlib.sha256(repr((*about, rows.index is None)).encode(errors="surrogateescape"))
    digest.update(targets.data.cast("B") if targets.size else b"")
    if rows.index is not None:
        digest.update(np.ascontiguousarray(rows.index, "<i8").data)
    return digest.hexdigest()


def _stored(dataset: Dataset) -> _Stored | None:
    """Return which store the rows of a data set are picked from; None if they are in memory."""
    rows: Any = dataset.features
    if not isinstance(rows, MappedRows):
        return None
    about = None if rows.file is None else rows.file.stored
    if about is None:
        raise DataError(
            f"{dataset.source}: its rows are on the disk but in no store as they are, so other processes cannot map "
            "them; write them to one with fastnn data convert, or work in this process"
        )
    return _Stored(str(about.store.absolute()), about.part, about.sha256)


def to_parts(dataset: Dataset) -> list[Any]:
    """Return the bytes of a data set, without its notes and reading options, as objects with a buffer each.

    Joined they are what :func:`from_buffer` takes; arrays are not copied.

    Raises
    ------
    DataError
        If the rows are mapped from a file that belongs to no store, or are changed as they are read.
    """
    arrays: list[NDArray[Any]] = []
    content = msgspec.json.encode(_header(dataset, arrays, [0]))
    begin = len(_MAGIC) + 8 + len(content)
    parts: list[Any] = [_MAGIC, len(content).to_bytes(8, "little"), content, bytes(-begin % _ALIGNMENT)]
    for array in arrays:
        # A memoryview cannot have a 0 in its shape.
        parts += [array.data.cast("B") if array.size else b"", bytes(-array.nbytes % _ALIGNMENT)]
    return parts


def _header(dataset: Dataset, arrays: list[NDArray[Any]], end: list[int]) -> _Header:
    def add(array: NDArray[Any]) -> _Array:
        array = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        place = _Array(array.dtype.str, array.shape, end[0])
        arrays.append(array)
        end[0] += array.nbytes + -array.nbytes % _ALIGNMENT
        return place

    rows: Any = dataset.features
    sparse, stored = isinstance(rows, SparseRows), _stored(dataset)
    if stored is not None:
        features = [] if rows.index is None else [rows.index]
    else:
        features = [rows.values, rows.indices, rows.row_starts] if sparse else [rows]
    return _Header(
        source=dataset.source,
        names=dataset.names,
        features=[add(array) for array in features],
        targets=add(dataset.targets),
        n_columns=dataset.n_inputs if sparse else None,
        columns=dataset.columns,
        polarity=dataset.polarity,
        groups=None if dataset.groups is None else add(dataset.groups),
        stored=stored,
        test=None if dataset.test is None else _header(dataset.test, arrays, end),
        validation=None if dataset.validation is None else _header(dataset.validation, arrays, end),
    )


def from_buffer(buffer: Any, key: str) -> Dataset:
    """Return the data set in a buffer, whose arrays are views of it.

    Parameters
    ----------
    buffer : bytes, mmap or other buffer
    key : str
        From :func:`shared_key`.

    Raises
    ------
    StoreNotHereError
        If it is one of a store that this machine does not have.
    DataError
        If the buffer does not hold the data set of this key.
    """
    view = memoryview(buffer)
    start = len(_MAGIC) + 8
    try:
        if view[: len(_MAGIC)] != _MAGIC:
            raise ValueError("another format")
        length = int.from_bytes(view[len(_MAGIC) : start], "little")
        begin = start + length
        dataset = _dataset(_decoder.decode(view[start:begin]), view[begin + -begin % _ALIGNMENT :])
        if shared_key(dataset) != key:
            raise ValueError("other content")
    except StoreNotHereError:
        raise
    # Damaged bytes may fail anywhere between the header and the checks of Dataset.
    except _FAULTS as error:
        raise DataError(f"not a shared data set ({' '.join(str(error).split())[:200]})") from None
    return dataset


def _dataset(header: _Header, content: memoryview) -> Dataset:
    def array(place: _Array) -> NDArray[Any]:
        dtype = np.dtype(place.dtype)
        if dtype.hasobject or min((*place.shape, place.offset), default=0) < 0:
            raise ValueError("an array of another kind")
        count = int(np.prod(place.shape, dtype=object))
        part = content[place.offset : place.offset + count * dtype.itemsize]
        return np.frombuffer(part, dtype, count).reshape(place.shape)

    arrays: Any = [array(place) for place in header.features]
    features: Any
    if header.stored is not None:
        features = _rows_of_store(header.stored, *arrays[:1])
    else:
        features = arrays[0] if header.n_columns is None else _sparse(arrays, header.n_columns)
    return Dataset(
        features=features,
        targets=array(header.targets),
        names=header.names,
        source=header.source,
        columns=header.columns,
        polarity=header.polarity,  # type: ignore[arg-type]
        groups=None if header.groups is None else array(header.groups),
        test=None if header.test is None else _dataset(header.test, content),
        validation=None if header.validation is None else _dataset(header.validation, content),
    )


def _rows_of_store(stored: _Stored, index: NDArray[np.integer[Any]] | None = None) -> Any:
    """Return rows of a store that this machine maps."""
    try:
        whole = open_store(Path(stored.path))
    except FastnnError as error:
        raise _not_here(str(error)) from None
    part = {"train": whole, "test": whole.test, "validation": whole.validation}.get(stored.part)
    if part is None or part.content_hash != stored.sha256:
        raise _not_here(f"{stored.path}: the store holds other data there")
    rows: Any = part.features
    if index is not None and index.size and not (index.min() >= 0 and index.max() < len(rows)):
        raise ValueError("a row that the store does not have")
    return rows if index is None else rows.take(index)


def _not_here(reason: str) -> StoreNotHereError:
    return StoreNotHereError(
        f"{reason} (on {platform.node() or 'a worker'}); every machine needs the same store under the same path"
    )


def _sparse(arrays: list[NDArray[Any]], n_columns: int) -> SparseRows:
    values, indices, row_starts = arrays
    return SparseRows(values, indices, row_starts, n_columns)


def write_cached(key: str, parts: list[Any]) -> None:
    """Write the bytes of a data set to this machine's cache, if that is possible and they are not there yet."""
    path = _path(key)
    with contextlib.suppress(OSError):
        if path.is_file():
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            file.writelines(parts)
        for old in _oldest(path.parent):
            old.unlink(missing_ok=True)


def read_cached(key: str) -> Dataset | None:
    """Return the data set of a key from this machine's cache, mapped into memory; None if it is not there.

    Raises
    ------
    StoreNotHereError
        As :func:`from_buffer` does.
    """
    try:
        if _path(key).is_file():
            with open_file(_path(key), _LIMIT) as file:
                return from_buffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), key)
    except StoreNotHereError:
        raise
    except (FastnnError, OSError, ValueError):
        pass
    return None


def _path(key: str) -> Path:
    return cache_dir() / "shared-1" / f"{key}.data"


def _oldest(folder: Path) -> Iterator[Path]:
    """Yield the data sets that are more than the cache keeps, the oldest ones."""
    found = sorted(folder.glob("*.data"), key=lambda path: path.stat().st_mtime_ns)
    yield from found[: max(0, len(found) - _MOST_CACHED)]
