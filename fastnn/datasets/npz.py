"""NumPy archives: ``.npz`` files with arrays ``images`` and ``labels``, or ``features`` and ``targets``."""

from __future__ import annotations

import io
import math
import warnings
import zipfile
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn.datasets.dataset import PIXELS, SIDE, Dataset
from fastnn.datasets.labels import check_class_name, encode_labels
from fastnn.datasets.safe_read import ALWAYS_ALLOWED, FILE_LIMIT, unpacked_limit
from fastnn.datasets.table_arrays import TABLE_ARRAYS, is_table, table_arrays_of, table_from_arrays
from fastnn.errors import DataError
from fastnn.reading import open_file

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

    from numpy.typing import NDArray

_ARRAYS = ("images", "test_images", "labels", "test_labels", "classes", "checksum", *TABLE_ARRAYS)
"""In the order in which they are read: the number of images bounds that of labels."""
_PIECE = 1 << 18
_HEADER_LIMIT = 12 << 10
"""NumPy refuses headers of more than 10,000 bytes."""
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Those that NumPy writes; others may need gigabytes before they unpack a byte."""
_FEW_NAMES = 1 << 16
"""Most labels or classes, unless there are more images: each becomes a text of a hundred bytes."""
_NAMES = ("names", "columns", "column_categories", "categories", "notes")
_MOST_NAMES = 1 << 22


class _ArchiveError(Exception):
    """What is wrong in an archive, without the archive's name."""


def read_npz(path: Path, task: str | None = None) -> Dataset:
    """Read a data set from an ``.npz`` file.

    For images, needed are ``images`` (uint8, (n, 784) or (n, 28, 28), 255 = paper) and ``labels`` (integers or text).
    Optional are ``classes`` (text; integer labels are then indices into it), ``test_images`` and ``test_labels``. The
    arrays of a table are named in :func:`fastnn.datasets.table_arrays.table_from_arrays`.

    Parameters
    ----------
    path : Path
    task : {"classification", "multilabel", "regression"}, optional
        What is learned from a table.

    Returns
    -------
    Dataset

    Raises
    ------
    DataError
        If the file is damaged, or an array is missing or has the wrong shape or dtype. Nothing is unpickled.
    """
    return from_arrays(read_arrays(path), str(path), task)


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of an ``.npz`` file that a data set can have; sizes are checked before memory is allocated.

    Raises
    ------
    DataError
        If the archive or one of these arrays is damaged, holds Python objects or unpacks to too much.
    """
    try:
        with open_file(path, FILE_LIMIT, what="a data set") as file, zipfile.ZipFile(file) as archive:
            members = {info.filename: info for info in archive.infolist()}
            found = {name: members[f"{name}.npy"] for name in _ARRAYS if f"{name}.npy" in members}
            unpacked = sum(info.file_size for info in found.values())
            if unpacked > unpacked_limit(file.size):
                raise _ArchiveError(f"unpacks to {unpacked >> 20} MiB, too much for its compressed size")
            arrays: dict[str, NDArray[Any]] = {}
            for name, info in found.items():
                arrays[name] = _read_member(archive, info, _most_values(name, arrays))
            return arrays
    except _ArchiveError as fault:
        raise DataError(f"{path}: {fault}") from None
    except (DataError, MemoryError):
        raise
    # zipfile, zlib and NumPy's header parser raise a dozen kinds of exceptions for damaged bytes.
    except Exception as error:
        text = " ".join(str(error).split())[:200]  # NumPy quotes a damaged header, which may be long
        raise DataError(f"{path}: not an .npz file, or damaged ({text})") from None


def _most_values(name: str, arrays: dict[str, NDArray[Any]]) -> float:
    """Return how many values an array may have, by the arrays read before it."""
    rows = ("images", "test_images", "features", "test_features", "indptr", "test_indptr")
    samples = [len(arrays[one]) for one in rows if one in arrays and arrays[one].ndim]
    if name in _NAMES:
        return _MOST_NAMES
    if name not in ("labels", "test_labels", "classes", "targets", "test_targets"):
        return math.inf
    return max([_FEW_NAMES, *samples])


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, most: float) -> NDArray[Any]:
    """Return an array with at most `most` values."""
    if info.compress_type not in _METHODS:
        raise _ArchiveError(f"{info.filename} is compressed by an unknown method; numpy.savez_compressed uses deflate")
    with archive.open(info) as member:
        head = member.read(_HEADER_LIMIT)
        header = io.BytesIO(head)
        version = np.lib.format.read_magic(header)
        if version not in ((1, 0), (2, 0)):
            raise _ArchiveError(f"{info.filename} has the unknown .npy version {version}")
        first = version == (1, 0)
        read_header = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
        # NumPy warns of files that Python 2 wrote, since it needs longer for them.
        with warnings.catch_warnings(action="ignore", category=UserWarning):
            shape, fortran, dtype = read_header(header)
        if dtype.hasobject:
            raise _ArchiveError(
                f"{info.filename} holds Python objects, which are never unpickled; store text or integers"
            )
        if any(length < 0 for length in shape) or dtype.itemsize == 0:
            raise _ArchiveError(f"{info.filename} has an impossible shape {shape} of {dtype}")
        expected = math.prod(shape) * dtype.itemsize
        if expected != info.file_size - header.tell():
            raise _ArchiveError(f"{info.filename} does not hold the {expected} bytes that it should; it is damaged")
        # Numbers in two dimensions, targets of a regression, do not become Python objects.
        if math.prod(shape) > most and not (dtype.kind in "biuf" and len(shape) == 2):
            raise _ArchiveError(f"{info.filename} has {math.prod(shape):,} values, more than there are samples")
        # Not a view of bytes, which would be read-only: compiled functions would be compiled once more for such arrays.
        # Small pieces stay in the processor's cache: half the time of two copies of the whole.
        content, filled = bytearray(expected), 0
        piece = head[header.tell() :]
        while piece:
            content[filled : filled + len(piece)] = piece
            filled += len(piece)
            piece = member.read(_PIECE)
        # zipfile compares the checksum only when a read reaches the end.
        member.read(1)
        array = np.frombuffer(content, dtype=dtype)
    if dtype.kind == "U":
        array.tolist()  # raises now, not later, if it is not valid Unicode
    return array.reshape(shape, order="F" if fortran else "C")


def from_arrays(arrays: dict[str, NDArray[Any]], source: str, task: str | None = None) -> Dataset:
    """Return a data set made of named arrays, see :func:`read_npz`.

    Raises
    ------
    DataError
        If an array is missing or has the wrong shape or dtype.
    """
    if is_table(arrays):
        return table_from_arrays(arrays, source, task)
    if task not in (None, "classification"):
        raise DataError(f"{source}: holds images with labels, whose task is classification, not {task}")
    has_test = "test_images" in arrays or "test_labels" in arrays
    pairs = [_pair(arrays, prefix, source) for prefix in (("", "test_") if has_test else ("",))]
    classes = _classes(arrays, source)
    if classes is None:
        # Training and test labels are encoded together: a class that only one has would shift the other's indices.
        together, classes = encode_labels([label for _, labels in pairs for label in labels.tolist()], source)
        indices = np.split(together, [len(pairs[0][1])])
    else:
        indices = [_indices(labels, classes, source) for _, labels in pairs]
    train = Dataset(pairs[0][0], indices[0], classes, source)
    if not has_test:
        return train
    return replace(train, test=Dataset(pairs[1][0], indices[1], classes, f"{source} (test set)"))


def _classes(arrays: dict[str, NDArray[Any]], source: str) -> tuple[str, ...] | None:
    if "classes" not in arrays:
        return None
    array = arrays["classes"]
    if array.ndim != 1 or array.dtype.kind not in "Uiu" or not array.size:
        raise DataError(f"{source}: `classes` must be a list of names, not {array.dtype} of shape {array.shape}")
    names = tuple(str(name) for name in array.tolist())
    if len(set(names)) != len(names):
        raise DataError(f"{source}: `classes` names a class twice")
    for name in names:
        check_class_name(name, source)
    return names


def _indices(labels: NDArray[Any], classes: tuple[str, ...], source: str) -> NDArray[np.int64]:
    """Return the indices into `classes` of labels that are indices already (integers) or names (text)."""
    if labels.dtype.kind == "U":
        index_of = {name: index for index, name in enumerate(classes)}
        unknown = set(labels.tolist()) - index_of.keys()
        if unknown:
            raise DataError(f"{source}: label {min(unknown)!r} is not among `classes`")
        return np.array([index_of[name] for name in labels.tolist()], dtype=np.int64)
    outside = labels[(labels < 0) | (labels >= len(classes))]
    if outside.size:
        raise DataError(f"{source}: label {outside[0]} is no index into `classes`, which has {len(classes)}")
    return labels.astype(np.int64)


def _pair(arrays: dict[str, NDArray[Any]], prefix: str, source: str) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    """Return images, shape (n, 784), and labels, shape (n,), from the arrays whose names begin with `prefix`."""
    images, labels = _images(arrays, f"{prefix}images", source), _labels(arrays, f"{prefix}labels", source)
    if len(labels) != len(images):
        raise DataError(f"{source}: {len(images)} {prefix}images but {len(labels)} {prefix}labels")
    return images, labels


def _images(arrays: dict[str, NDArray[Any]], name: str, source: str) -> NDArray[np.uint8]:
    images = _needed(arrays, name, source)
    if images.dtype != np.uint8 or images.shape[1:] not in ((PIXELS,), (SIDE, SIDE)):
        raise DataError(
            f"{source}: `{name}` must be uint8 of shape (n, {PIXELS}) or (n, {SIDE}, {SIDE}), "
            f"not {images.dtype} of shape {images.shape}"
        )
    if not len(images):
        raise DataError(f"{source}: `{name}` holds no images")
    return np.ascontiguousarray(images.reshape(len(images), PIXELS))


def _labels(arrays: dict[str, NDArray[Any]], name: str, source: str) -> NDArray[Any]:
    labels = _needed(arrays, name, source)
    if labels.ndim != 1 or labels.dtype.kind not in "iuU":
        raise DataError(
            f"{source}: `{name}` must be a list of integers or text, not {labels.dtype} of shape {labels.shape}"
        )
    return labels


def _needed(arrays: dict[str, NDArray[Any]], name: str, source: str) -> NDArray[Any]:
    if name not in arrays:
        raise DataError(
            f"{source}: no array `{name}`; `images` and `labels` are needed, or `features` and `targets` of a table"
        )
    return arrays[name]


def write_npz(dataset: Dataset, file: BinaryIO) -> None:
    """Write a data set, with its test set if it has one, so that :func:`read_npz` returns the same."""
    arrays = arrays_of(dataset)
    # Tables of few different values compress so well that a reader would take them for a decompression bomb.
    bomb = not dataset.is_images and sum(np.asarray(array).nbytes for array in arrays.values()) > ALWAYS_ALLOWED
    (np.savez if bomb else np.savez_compressed)(file, **arrays)


def arrays_of(dataset: Dataset) -> dict[str, Any]:
    """Return the arrays of a data set and of its test set by the names that :func:`from_arrays` takes."""
    if not dataset.is_images:
        return table_arrays_of(dataset)
    arrays: dict[str, Any] = {
        "images": dataset.images,
        "labels": dataset.labels,
        "classes": np.array(dataset.classes),
    }
    if dataset.test is not None:
        arrays |= {"test_images": dataset.test.images, "test_labels": dataset.test.labels}
    return arrays
