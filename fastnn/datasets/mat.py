"""MATLAB files, ``.mat``, of EMNIST, SVHN and others.

Format: MathWorks, "MAT-File Format", level 5. SciPy reads these files, too, but some damaged ones end its process.
"""

from __future__ import annotations

import math
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastnn.datasets.emnist import renamed
from fastnn.datasets.label_arrays import text_array
from fastnn.datasets.named_arrays import MOST_ARRAYS, ArrayInfo, choose, dataset_from
from fastnn.datasets.safe_read import FILE_LIMIT, LIMIT, PIECE, Content, map_packed, read_packed, unpacked_limit
from fastnn.datasets.spool import content_on_disk
from fastnn.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from fastnn.datasets.dataset import Dataset

_HEADER = 128
_MATRIX, _COMPRESSED = 14, 15
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
"""Types of elements."""
_TEXTS = {1: "latin-1", 2: "latin-1", 16: "utf-8", 17: "utf-16", 18: "utf-32", 4: "utf-16"}
_CELL, _STRUCT, _CHAR = 1, 2, 4
_NUMERIC = range(6, 16)
"""Classes of arrays."""
_IS_COMPLEX = 0x0800
_DEEPEST = 4
_MOST_AXES = 8
_MOST_TEXT = 1 << 22
"""Most characters of an array of text, and cells of an array."""
_PACKED_PIECE = 1 << 12
"""Compressed bytes that are given to zlib at a time."""
_HDF5 = b"\x89HDF\r\n\x1a\n"


class _MatError(Exception):
    """What is wrong in a file."""


def read_mat(path: Path, task: str | None = None, spool: Path | None = None) -> Dataset:
    """Read a data set from a file that MATLAB writes with ``-v6`` or ``-v7``.

    Its arrays, also those in structs, are chosen by :func:`fastnn.datasets.named_arrays.choose`. A label 10 among 1 to
    10 is the digit 0. The labels of EMNIST get the names of its `mapping`.

    Parameters
    ----------
    path : Path
    task : str, optional
        What is learned from a table.
    spool : Path, optional
        A temporary folder for samples, if they are to be left on the disk.

    Returns
    -------
    Dataset
        Images as stored: MATLAB counts down the columns first, so that they may have rows and columns exchanged.

    Raises
    ------
    DataError
        If the file is damaged or of another version, or it is not clear which arrays are images and labels.
    """
    source = str(path)
    content = read_packed(path) if spool is None else map_packed(path)
    if content[: len(_HDF5)] == _HDF5 or content[:10] == b"MATLAB 7.3":
        raise DataError(
            f"{source}: is of MATLAB 7.3 (HDF5), which is not read; save it in MATLAB with save(..., '-v7'), or with "
            "numpy.savez"
        )
    order = {b"IM": "<", b"MI": ">"}.get(content[_HEADER - 2 : _HEADER])
    if order is None:
        raise DataError(f"{source}: not a file of MATLAB 5 to 7; save it there with save(..., '-v7')")
    try:
        arrays = _arrays(content, order, spool)
    except DataError as error:
        raise DataError(f"{source}: {error}") from None
    except (_MatError, zlib.error, UnicodeError) as error:
        raise DataError(f"{source}: not a file of MATLAB, or damaged ({error})") from None
    infos = {name: ArrayInfo(array.shape, array.dtype) for name, array in arrays.items()}
    dataset = dataset_from(choose(infos, source), arrays, source, task, from_matlab=True, spool=spool)
    mapping = next((array for name, array in arrays.items() if name.rpartition(".")[2] == "mapping"), None)
    if mapping is None or not dataset.is_images:
        return dataset
    return renamed(dataset, _names(mapping), "the names of the classes are from the mapping in the file")


def _names(mapping: NDArray[Any]) -> dict[str, str]:
    """Return the characters of labels by a mapping of EMNIST: rows of a label and the codes of its characters."""
    if mapping.ndim != 2 or mapping.shape[1] < 2 or mapping.dtype.kind not in "iu":
        return {}
    rows = mapping[:, :2].tolist()
    return {str(label): chr(code) for label, code in rows if 32 < code < 127}


class _Element(NamedTuple):
    """A part of the file.

    Attributes
    ----------
    kind : int
    data : memoryview
    """

    kind: int
    data: memoryview


def _elements(data: memoryview, order: str) -> Iterator[_Element]:
    """Yield the elements that follow each other; views, not copies."""
    position, little = 0, order == "<"
    while position + 8 <= len(data):
        first, size = (
            int.from_bytes(data[at : at + 4], "little" if little else "big") for at in (position, position + 4)
        )
        if first >> 16:
            # Up to four bytes stand in the place of the size.
            kind, size, begin = first & 0xFFFF, first >> 16, position + 4
            end = position + 8
        else:
            kind, begin = first, position + 8
            end = begin + size + (0 if kind == _COMPRESSED else -size % 8)
        if begin + size > min(len(data), end):
            raise _MatError("an element is longer than the file; it is truncated")
        yield _Element(kind, data[begin : begin + size])
        position = end


def _arrays(content: Content, order: str, spool: Path | None) -> dict[str, NDArray[Any]]:
    """Return the arrays of numbers and texts in a file by their names; those in structs with dots, as in MATLAB."""
    left = unpacked_limit(len(content), FILE_LIMIT if spool is None else LIMIT)
    found: dict[str, NDArray[Any]] = {}
    for element in _elements(memoryview(content)[_HEADER:], order):
        one = element
        if element.kind == _COMPRESSED:
            pieces = _unpacked(element.data, left)
            unpacked = bytearray().join(pieces) if spool is None else content_on_disk(spool, pieces)
            left -= len(unpacked)
            one = next(_elements(memoryview(unpacked), order), _Element(0, memoryview(b"")))
        if one.kind == _MATRIX:
            for name, array in _flattened(one.data, order):
                found[name] = array
                if len(found) > MOST_ARRAYS:
                    raise _MatError(f"more than {MOST_ARRAYS:,} arrays")
    return found


def _unpacked(data: memoryview, limit: int) -> Iterator[bytes]:
    unpacker, size = zlib.decompressobj(), 0
    # zlib copies what it has not taken of its input with each piece of output.
    for begin in range(0, len(data), _PACKED_PIECE):
        packed: bytes | memoryview = data[begin : begin + _PACKED_PIECE]
        while packed and not unpacker.eof:
            piece = unpacker.decompress(packed, PIECE)
            packed, size = unpacker.unconsumed_tail, size + len(piece)
            yield piece
            if size > limit:
                raise _MatError("unpacks to too much for its compressed size; if that is right, save it with -v6")


def _flattened(data: memoryview, order: str, name: str | None = None) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield the arrays of a variable, or of a field of a struct, with their names."""
    parts = _elements(data, order)
    flags, dimensions, own = (_next(parts) for _ in range(3))
    if len(flags.data) < 4 or dimensions.kind != 5 or len(dimensions.data) % 4:
        raise _MatError("an array has no dimensions")
    flag = int(np.frombuffer(flags.data[:4], f"{order}u4")[0])
    shape = tuple(np.frombuffer(dimensions.data, f"{order}i4").tolist())
    if len(shape) > _MOST_AXES or any(length < 0 for length in shape):
        raise _MatError(f"an array has the impossible shape {shape[:_MOST_AXES]}")
    name = bytes(own.data).decode("latin-1")[:100] if name is None else name
    kind, size = flag & 0xFF, math.prod(shape)
    if kind in _NUMERIC and not flag & _IS_COMPLEX:
        yield name, _numbers(_next(parts), shape, order)
    elif kind == _CHAR:
        yield name, _texts(_next(parts), shape, order)
    elif kind == _STRUCT and size == 1 and name.count(".") < _DEEPEST:
        for field, one in _fields(parts, order):
            if one.data:
                yield from _flattened(one.data, order, f"{name}.{field}")
    elif kind == _CELL and 0 < size <= _MOST_TEXT:
        texts = _cells(parts, size, order)
        if texts is not None:
            yield name, text_array(texts, name)


def _next(parts: Iterator[_Element]) -> _Element:
    part = next(parts, None)
    if part is None:
        raise _MatError("an array is incomplete")
    return part


def _numbers(part: _Element, shape: tuple[int, ...], order: str) -> NDArray[Any]:
    """Return an array of numbers, of the type in which they are stored: whole numbers are stored in few bytes."""
    if part.kind not in _NUMBERS:
        raise _MatError("an array has numbers of an unknown type")
    dtype = np.dtype(order + _NUMBERS[part.kind])
    if len(part.data) != math.prod(shape) * dtype.itemsize:
        raise _MatError(f"an array of shape {shape} has {len(part.data):,} bytes")
    return np.frombuffer(part.data, dtype).reshape(shape, order="F").astype(dtype.newbyteorder("="), copy=False)


def _texts(part: _Element, shape: tuple[int, ...], order: str) -> NDArray[np.str_]:
    """Return the rows of an array of characters, without the blanks at their ends."""
    coding = _TEXTS.get(part.kind)
    if coding is None or len(part.data) > _MOST_TEXT:
        raise _MatError("a text has an unknown type or too many characters")
    text = bytes(part.data).decode(coding + ({"<": "-le", ">": "-be"}[order] if coding in ("utf-16", "utf-32") else ""))
    if len(text) != math.prod(shape) or len(shape) != 2:
        raise _MatError(f"a text of shape {shape} has {len(text):,} characters")
    rows = [text[row :: shape[0]].rstrip(" \0") for row in range(shape[0])]
    return np.array(rows, dtype=np.str_)


def _fields(parts: Iterator[_Element], order: str) -> Iterator[tuple[str, _Element]]:
    """Yield the fields of a struct by their names."""
    length, names = _next(parts), _next(parts)
    if len(length.data) != 4:
        raise _MatError("a struct has no names")
    step = int(np.frombuffer(length.data, f"{order}i4")[0])
    if not 0 < step <= 1 << 10 or len(names.data) // step > MOST_ARRAYS:
        raise _MatError("a struct has impossible names")
    content = bytes(names.data)
    for begin in range(0, len(content), step):
        yield content[begin : begin + step].partition(b"\0")[0].decode("latin-1"), _next(parts)


def _cells(parts: Iterator[_Element], size: int, order: str) -> list[str] | None:
    """Return the texts in the cells of an array, None if they hold anything else."""
    texts: list[str] = []
    for _ in range(size):
        found = [array for _, array in _flattened(_next(parts).data, order, "." * _DEEPEST)]
        if len(found) != 1 or found[0].dtype.kind != "U" or found[0].size != 1:
            return None
        texts.append(str(found[0][0]))
    return texts
