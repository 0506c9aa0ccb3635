"""Archives of NumPy arrays, read with a limit on memory; nothing is unpickled."""

from __future__ import annotations

import contextlib
import math
import zipfile
from typing import TYPE_CHECKING, Any, cast

from fastnn.datasets.array_stream import ArrayFault, check_header, read_header, read_values
from fastnn.datasets.named_arrays import MOST_ARRAYS, ArrayInfo
from fastnn.datasets.safe_read import FILE_LIMIT, unpacked_limit
from fastnn.errors import DataError, FastnnError
from fastnn.reading import open_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from typing import BinaryIO

    from numpy.typing import NDArray

_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Those that NumPy writes; others may need gigabytes before they unpack a byte."""


@contextlib.contextmanager
def opened(path: Path, what: str = "a data set") -> Iterator[tuple[zipfile.ZipFile, int]]:
    """Open an archive, with its size, and turn what is raised until it is closed into a DataError."""
    try:
        with open_file(path, FILE_LIMIT, what=what) as file, zipfile.ZipFile(file) as archive:
            yield archive, file.size
    except ArrayFault as fault:
        raise DataError(f"{path}: {fault}") from None
    except (FastnnError, MemoryError):
        raise
    # zipfile, zlib and NumPy's header parser raise a dozen kinds of exceptions for damaged bytes.
    except Exception as error:
        text = " ".join(str(error).split())[:200]  # NumPy quotes a damaged header, which may be long
        raise DataError(f"{path}: not an .npz file, or damaged ({text})") from None


def lone_array(path: Path) -> NDArray[Any]:
    """Return the only array of an ``.npz`` file.

    Raises
    ------
    DataError
        If the file is damaged or holds several arrays.
    """
    with opened(path) as (archive, size):
        members = archive.infolist()
        if len(members) != 1:
            raise ArrayFault(f"holds {len(members):,} arrays, but only images or only labels by its name")
        check_size(members, size)
        return read_member(archive, members[0])


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


def check_size(members: Iterable[zipfile.ZipInfo], size: int) -> None:
    """Raise an ArrayFault if members unpack to too much for an archive of `size` bytes."""
    unpacked = sum(info.file_size for info in members)
    if unpacked > unpacked_limit(size):
        raise ArrayFault(f"unpacks to {unpacked >> 20} MiB, too much for its compressed size")


def read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, most: float = math.inf) -> NDArray[Any]:
    """Return an array with at most `most` values; ArrayFault if it has more or is damaged."""
    _check_method(info)
    with archive.open(info) as member:
        header = read_header(cast("BinaryIO", member), info.filename)
        check_header(header, info.filename, info.file_size)
        # Numbers in two dimensions, targets of a regression, do not become Python objects.
        if math.prod(header.shape) > most and not (header.dtype.kind in "biuf" and len(header.shape) == 2):
            raise ArrayFault(f"{info.filename} has {math.prod(header.shape):,} values, more than there are samples")
        return read_values(cast("BinaryIO", member), header)


def _check_method(info: zipfile.ZipInfo) -> None:
    if info.compress_type not in _METHODS:
        raise ArrayFault(f"{info.filename} is compressed by an unknown method; numpy.savez_compressed uses deflate")
