"""Arrays in ``.npy`` files, or alone in ``.npz`` files: images in one, their labels in another one beside it."""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING, Any, cast

from fastnn.datasets.array_names import role_of
from fastnn.datasets.array_stream import ArrayFault, check_header, is_large, read_header, read_values, values_in
from fastnn.datasets.named_arrays import MOST_ARRAYS, ArrayInfo, choose, dataset_from
from fastnn.datasets.npz_archive import lone_array
from fastnn.datasets.safe_read import FILE_LIMIT, LIMIT
from fastnn.errors import DataError
from fastnn.reading import open_file

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import BinaryIO

    from numpy.typing import NDArray

    from fastnn.datasets.dataset import Dataset

_SHOWN = 12


def read_npy(path: Path, task: str | None = None, spool: Path | None = None) -> Dataset:
    """Read the images, or rows, and labels of a ``.npy`` file and of the one that belongs to it.

    Parameters
    ----------
    path : Path
        One of ``images.npy`` and ``labels.npy``, ``X.npy`` and ``y.npy``, ``x_train.npy`` and ``y_train.npy``, ...: the
        other one is searched beside it by its name. If neither name says anything, they must be the only two.
    task : str, optional
        What is learned from a table.
    spool : Path, optional
        A temporary folder for samples, if they are to be left on the disk.

    Raises
    ------
    DataError
        If the other file is missing, or not clear; the message lists those beside it.
    """
    beside = _beside(path)
    is_named = role_of(path.stem) is not None
    paths = partners(path) if is_named else beside
    if len(paths) < 2 or (len(paths) != 2 and not is_named):
        others = [one.name for one in beside if one.name != path.name]
        listed = ", ".join(others[:_SHOWN]) or "none"
        raise DataError(
            f"{path}: the array that belongs to it, labels or images, is not clear; put images.npy and labels.npy (or "
            f"x_train.npy and y_train.npy) into one folder; other .npy files there: {listed}"
        )
    return read_array_files(paths, str(path), task, spool)


def _beside(path: Path) -> list[Path]:
    """Return the files of the same kind in the folder of a file, with itself."""
    ending = path.suffix.lower()
    return sorted(one for one in path.parent.iterdir() if one.suffix.lower() == ending and one.is_file())


def partners(path: Path) -> list[Path]:
    """Return the files that hold the same part of a data set by their names, with the file itself."""
    role = role_of(path.stem)
    if role is None:
        return []
    roles = {one: role_of(one.stem) for one in _beside(path)}
    return [one for one, other in roles.items() if other is not None and other[:2] == role[:2]]


def read_array_files(paths: Sequence[Path], source: str, task: str | None = None, spool: Path | None = None) -> Dataset:
    """Read the data set in files of one array each, of which the names, or else the shapes, say what they hold.

    Raises
    ------
    DataError
        If that is not clear, a file is damaged, or it holds Python objects, which are never unpickled.
    """
    if len(paths) > MOST_ARRAYS:
        raise DataError(f"{source}: more than {MOST_ARRAYS:,} files of arrays")
    if paths[0].suffix.lower() == ".npz":
        arrays = {path.stem: lone_array(path, spool) for path in paths}
        infos = {name: ArrayInfo(array.shape, array.dtype) for name, array in arrays.items()}
        return dataset_from(choose(infos, source), arrays, source, task, spool=spool)
    files = {path.stem: path for path in paths}
    chosen = choose({name: _info(path, spool) for name, path in files.items()}, source)
    arrays = {name: _read(files[name], spool) for name in chosen.names}
    return dataset_from(chosen, arrays, source, task, spool=spool)


def _info(path: Path, spool: Path | None) -> ArrayInfo:
    with open_file(path, FILE_LIMIT if spool is None else LIMIT, what="a data set") as file:
        try:
            header = read_header(cast("BinaryIO", file), path.name)
            if not header.dtype.hasobject:
                check_header(header, path.name, file.size)
        except (DataError, MemoryError):
            raise
        except Exception as error:
            raise _damaged(path, error) from None
    return ArrayInfo(header.shape, header.dtype)


def _read(path: Path, spool: Path | None) -> NDArray[Any]:
    with open_file(path, FILE_LIMIT if spool is None else LIMIT, what="a data set") as file:
        try:
            header = read_header(cast("BinaryIO", file), path.name)
            check_header(header, path.name, file.size)
            if spool is not None and is_large(header):
                content = mmap.mmap(file.fileno(), file.size, access=mmap.ACCESS_READ)
                return values_in(content, header, header.length)
            return read_values(cast("BinaryIO", file), header)
        except (DataError, MemoryError):
            raise
        # NumPy's header parser raises several kinds of exceptions for damaged bytes.
        except Exception as error:
            raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> DataError:
    if isinstance(error, ArrayFault):
        return DataError(f"{path}: {error}")
    return DataError(f"{path}: not a .npy file, or damaged ({' '.join(str(error).split())[:200]})")
