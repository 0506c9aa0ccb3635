"""Archives of NumPy arrays, read with a limit on memory; nothing is unpickled."""

from __future__ import annotations

import contextlib
import itertools
import math
import zipfile
from typing import TYPE_CHECKING, Any, cast

from fastnn.datasets.array_stream import (
    ArrayFault,
    check_header,
    is_large,
    is_numbers,
    read_header,
    read_values,
    values_in,
)
from fastnn.datasets.named_arrays import MOST_ARRAYS, ArrayInfo
from fastnn.datasets.safe_read import FILE_LIMIT, LIMIT, PIECE, unpacked_limit
from fastnn.datasets.spool import content_on_disk
from fastnn.errors import NO_SPACE, DataError, FastnnError
from fastnn.reading import open_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from typing import BinaryIO

    from numpy.typing import NDArray

_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Those that NumPy writes; others may need gigabytes before they unpack a byte."""
_OF_SPARSE_ROWS = tuple(f"{part}{name}.npy" for part in ("", "test_") for name in ("data", "indices", "indptr"))
"""Arrays in one dimension that may be as large as those of samples."""


@contextlib.contextmanager
def opened(path: Path, what: str = "a data set", most: int = FILE_LIMIT) -> Iterator[tuple[zipfile.ZipFile, int]]:
    """Open an archive of at most so many bytes, with its size; what is raised in it becomes a DataError."""
    try:
        with open_file(path, most, what=what) as file, zipfile.ZipFile(file) as archive:
            yield archive, file.size
    except ArrayFault as fault:
        raise DataError(f"{path}: {fault}") from None
    except (FastnnError, MemoryError):
        raise
    # zipfile, zlib and NumPy's header parser raise a dozen kinds of exceptions for damaged bytes.
    except Exception as error:
        if isinstance(error, OSError) and error.errno in NO_SPACE:  # of the temporary folder
            raise
        text = " ".join(str(error).split())[:200]  # NumPy quotes a damaged header, which may be long
        raise DataError(f"{path}: not an .npz file, or damaged ({text})") from None


def lone_array(path: Path, spool: Path | None = None) -> NDArray[Any]:
    """Return the only array of an ``.npz`` file, which is left on the disk if a temporary folder is given.

    Raises
    ------
    DataError
        If the file is damaged or holds several arrays.
    """
    most = FILE_LIMIT if spool is None else LIMIT
    with opened(path, most=most) as (archive, size):
        members = archive.infolist()
        if len(members) != 1:
            raise ArrayFault(f"holds {len(members):,} arrays, but only images or only labels by its name")
        check_size(members, size, most)
        return read_member(archive, members[0], spool=spool)


def read_infos(
    archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo], most: int = MOST_ARRAYS
) -> dict[str, ArrayInfo]:
    """Return shape and dtype of all arrays, of which the headers alone are read.

    An ArrayFault is raised if one is damaged, or there are more than `most`.
    """
    arrays = {name.removesuffix(".npy"): info for name, info in members.items() if name.endswith(".npy")}
    if len(arrays) > most:
        raise ArrayFault(f"holds more than {most:,} arrays")
    found = {}
    for name, info in arrays.items():
        _check_method(info)
        with archive.open(info) as member:
            header = read_header(cast("BinaryIO", member), info.filename)
        if not header.dtype.hasobject:
            check_header(header, info.filename, info.file_size)
        found[name] = ArrayInfo(header.shape, header.dtype)
    return found


def check_size(members: Iterable[zipfile.ZipInfo], size: int, most: int = FILE_LIMIT) -> None:
    """Raise an ArrayFault if members unpack to more than `most` bytes, or too much for an archive of `size` bytes."""
    unpacked = sum(info.file_size for info in members)
    if unpacked > unpacked_limit(size, most):
        raise ArrayFault(f"unpacks to {unpacked >> 20} MiB, too much for its compressed size")


def read_member(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, most: float = math.inf, spool: Path | None = None
) -> NDArray[Any]:
    """Return an array with at most `most` values; ArrayFault if it has more or is damaged.

    With a temporary folder, an array that may hold samples is unpacked to it and left on the disk.
    """
    _check_method(info)
    with archive.open(info) as member:
        header = read_header(cast("BinaryIO", member), info.filename)
        check_header(header, info.filename, info.file_size)
        # Numbers in two dimensions, targets of a regression, do not become Python objects.
        if math.prod(header.shape) > most and not (header.dtype.kind in "biuf" and len(header.shape) == 2):
            raise ArrayFault(f"{info.filename} has {math.prod(header.shape):,} values, more than there are samples")
        if spool is not None and (is_large(header) or (is_numbers(header) and info.filename in _OF_SPARSE_ROWS)):
            pieces = itertools.chain([header.rest], iter(lambda: member.read(PIECE), b""))
            return values_in(content_on_disk(spool, pieces), header)
        return read_values(cast("BinaryIO", member), header)


def _check_method(info: zipfile.ZipInfo) -> None:
    if info.compress_type not in _METHODS:
        raise ArrayFault(f"{info.filename} is compressed by an unknown method; numpy.savez_compressed uses deflate")
