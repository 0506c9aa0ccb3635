"""Arrays in NumPy's format, read from a stream with a limit on memory; nothing is unpickled."""

from __future__ import annotations

import io
import math
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from typing import BinaryIO

    from numpy.typing import NDArray

_PIECE = 1 << 18
_TEXTS_AT_ONCE = 1 << 16
_HEADER_LIMIT = 12 << 10
"""NumPy refuses headers of more than 10,000 bytes."""


class ArrayFault(Exception):  # noqa: N818 - what is wrong, without the name of the file
    """What is wrong in an array or archive, without the file's name."""


class Header(NamedTuple):
    """The header of an array.

    Attributes
    ----------
    shape : tuple of int
    dtype : dtype
    fortran : bool
        Whether it is stored column by column.
    rest : bytes
        What was read behind the header.
    length : int
        Bytes of the header.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool
    rest: bytes
    length: int


def read_header(stream: BinaryIO, name: str) -> Header:
    """Return the header of an array; ArrayFault, or whatever NumPy raises, if it is damaged."""
    head = stream.read(_HEADER_LIMIT)
    header = io.BytesIO(head)
    version = np.lib.format.read_magic(header)
    if version not in ((1, 0), (2, 0)):
        raise ArrayFault(f"{name} has the unknown .npy version {version}")
    first = version == (1, 0)
    read = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
    # NumPy warns of files that Python 2 wrote, and Python of odd text in a damaged header.
    with warnings.catch_warnings(action="ignore"):
        shape, fortran, dtype = read(header)
    return Header(shape, dtype, fortran, head[header.tell() :], header.tell())


def check_header(header: Header, name: str, size: int) -> None:
    """Raise an ArrayFault if an array of `size` bytes, header included, cannot be what its header says."""
    if header.dtype.hasobject:
        raise ArrayFault(f"{name} holds Python objects, which are never unpickled; store text or integers")
    if any(length < 0 for length in header.shape) or header.dtype.itemsize == 0:
        raise ArrayFault(f"{name} has an impossible shape {header.shape} of {header.dtype}")
    expected = math.prod(header.shape) * header.dtype.itemsize
    if expected != size - header.length:
        raise ArrayFault(f"{name} does not hold the {expected} bytes that it should; it is damaged")


def is_large(header: Header) -> bool:
    """Return whether an array may hold samples, and not one number or text for each of them."""
    return len(header.shape) > 1 and is_numbers(header)


def is_numbers(header: Header) -> bool:
    """Return whether an array holds numbers, at least one."""
    return 0 not in header.shape and header.dtype.kind in "biuf"


def values_in(content: Any, header: Header, offset: int = 0) -> NDArray[Any]:
    """Return the array whose values are in mapped content, as a view."""
    array = np.frombuffer(content, header.dtype, math.prod(header.shape), offset)
    return array.reshape(header.shape, order="F" if header.fortran else "C")


def read_values(stream: BinaryIO, header: Header) -> NDArray[Any]:
    """Return the array behind a header that was checked."""
    # Not a view of bytes, which would be read-only: compiled functions would be compiled once more for such arrays.
    # Small pieces stay in the processor's cache: half the time of two copies of the whole.
    expected = math.prod(header.shape) * header.dtype.itemsize
    content, filled = bytearray(expected), 0
    piece = header.rest
    while piece:
        content[filled : filled + len(piece)] = piece
        filled += len(piece)
        piece = stream.read(_PIECE)
    if filled != expected:
        raise ArrayFault("the file changed while it was read")
    # zipfile compares the checksum only when a read reaches the end.
    stream.read(1)
    array = np.frombuffer(content, dtype=header.dtype)
    if header.dtype.kind == "U":
        for begin in range(0, len(array), _TEXTS_AT_ONCE):
            array[begin : begin + _TEXTS_AT_ONCE].tolist()  # raises now, not later, if it is not valid Unicode
    return array.reshape(header.shape, order="F" if header.fortran else "C")
