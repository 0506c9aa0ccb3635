"""NumPy archives: ``.npz`` files with arrays ``images`` and ``labels``, or ``features`` and ``targets``, or others."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from fastnn.datasets.dataset import PIXELS, SIDE, Dataset
from fastnn.datasets.labels import check_class_name, encode_array, encode_labels
from fastnn.datasets.mapped import MappedRows, row_parts
from fastnn.datasets.named_arrays import ArrayInfo, choose, dataset_from
from fastnn.datasets.npy import partners, read_array_files
from fastnn.datasets.npz_archive import check_size, opened, read_infos, read_member
from fastnn.datasets.safe_read import ALWAYS_ALLOWED, FILE_LIMIT, LIMIT
from fastnn.datasets.spool import images_from
from fastnn.datasets.table_arrays import TABLE_ARRAYS, is_table, table_arrays_of, table_from_arrays
from fastnn.errors import DataError

if TYPE_CHECKING:
    import zipfile
    from pathlib import Path
    from typing import BinaryIO

    from numpy.typing import NDArray

_ARRAYS = ("images", "test_images", "labels", "test_labels", "classes", "checksum", *TABLE_ARRAYS)
"""In the order in which they are read: the number of images bounds that of labels."""
_IMAGE_ARRAYS = frozenset(("images", "test_images", "labels", "test_labels", "classes", "notes"))
_FEW_NAMES = 1 << 16
"""Most labels or classes, unless there are more images: each becomes a text of a hundred bytes."""
_NAMES = ("names", "columns", "column_categories", "categories", "notes")
_MOST_NAMES = 1 << 22


def read_npz(path: Path, task: str | None = None, spool: Path | None = None) -> Dataset:
    """Read a data set from an ``.npz`` file.

    fastnn itself writes ``images`` (uint8, (n, 784) or (n, 28, 28)) and ``labels`` (integers or text), and optionally
    ``classes`` (text; integer labels are then indices into it), ``test_images`` and ``test_labels``; the arrays of a
    table are named in :func:`fastnn.datasets.table_arrays.table_from_arrays`. Others are chosen by
    :func:`fastnn.datasets.named_arrays.choose`.

    Parameters
    ----------
    path : Path
    task : {"classification", "multilabel", "regression"}, optional
        What is learned from a table.
    spool : Path, optional
        A temporary folder for samples, if they are to be left on the disk.

    Returns
    -------
    Dataset
        Images as stored.

    Raises
    ------
    DataError
        If the file is damaged, it is not clear which arrays are images and labels, or one has the wrong shape or dtype.
        Nothing is unpickled.
    """
    source, most = str(path), FILE_LIMIT if spool is None else LIMIT
    with opened(path, most=most) as (archive, size):
        if len(archive.infolist()) == 1 and len(paths := partners(path)) > 1:
            # Such as kmnist-train-imgs.npz beside kmnist-train-labels.npz.
            return read_array_files(paths, source, task, spool)
        members = {info.filename: info for info in archive.infolist()}
        infos = read_infos(archive, members)
        if _is_own(infos):
            arrays = _own_arrays(archive, members, size, spool)
            chosen = None
        else:
            chosen = choose(infos, source)
            wanted = {name: members[f"{name}.npy"] for name in chosen.names}
            check_size(wanted.values(), size, most)
            arrays = {name: read_member(archive, info, spool=spool) for name, info in wanted.items()}
    if chosen is None:
        return from_arrays(arrays, source, task, spool)
    return dataset_from(chosen, arrays, source, task, spool=spool)


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of an ``.npz`` file that fastnn wrote; sizes are checked before memory is allocated.

    Raises
    ------
    DataError
        If the archive or one of these arrays is damaged, holds Python objects or unpacks to too much.
    """
    with opened(path) as (archive, size):
        return _own_arrays(archive, {info.filename: info for info in archive.infolist()}, size)


def _own_arrays(
    archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo], size: int, spool: Path | None = None
) -> dict[str, NDArray[Any]]:
    found = {name: members[f"{name}.npy"] for name in _ARRAYS if f"{name}.npy" in members}
    check_size(found.values(), size, FILE_LIMIT if spool is None else LIMIT)
    arrays: dict[str, NDArray[Any]] = {}
    for name, info in found.items():
        arrays[name] = read_member(archive, info, _most_values(name, arrays), spool)
    return arrays


def _most_values(name: str, arrays: dict[str, NDArray[Any]]) -> float:
    """Return how many values an array may have, by the arrays read before it."""
    rows = ("images", "test_images", "features", "test_features", "indptr", "test_indptr")
    samples = [len(arrays[one]) for one in rows if one in arrays and arrays[one].ndim]
    if name in _NAMES:
        return _MOST_NAMES
    if name not in ("labels", "test_labels", "classes", "targets", "test_targets"):
        return math.inf
    return max([_FEW_NAMES, *samples])


def _is_own(infos: dict[str, ArrayInfo]) -> bool:
    """Return whether arrays have the names and forms of :func:`arrays_of`, or those are missing for which it asks."""
    if not infos.keys().isdisjoint(("checksum", "task", "indptr")):
        return True
    if "images" not in infos:
        features = infos.get("features")
        is_rows = (features is not None and len(features.shape) <= 2) or (features is None and "targets" in infos)
        return is_rows and "data" not in infos and infos.keys() <= set(TABLE_ARRAYS)
    if "classes" in infos and "labels" not in infos:
        return False
    return infos.keys() <= _IMAGE_ARRAYS and all(
        (len(info.shape) == 1 and info.dtype.kind in "iuU")
        if name.endswith("labels")
        else (info.dtype == np.uint8 and info.shape[1:] in ((PIXELS,), (SIDE, SIDE)))
        for name in ("images", "labels", "test_images", "test_labels")
        if (info := infos.get(name)) is not None
    )


def from_arrays(
    arrays: dict[str, NDArray[Any]], source: str, task: str | None = None, spool: Path | None = None
) -> Dataset:
    """Return a data set made of named arrays, see :func:`read_npz`.

    Raises
    ------
    DataError
        If an array is missing or has the wrong shape or dtype.
    """
    if is_table(arrays):
        return table_from_arrays(arrays, source, task, spool)
    if task not in (None, "classification"):
        raise DataError(f"{source}: holds images with labels, whose task is classification, not {task}")
    has_test = "test_images" in arrays or "test_labels" in arrays
    pairs = [_pair(arrays, prefix, source, spool) for prefix in (("", "test_") if has_test else ("",))]
    classes = _classes(arrays, source)
    if classes is None:
        # Training and test labels are encoded together: a class that only one has would shift the other's indices.
        given = [labels for _, labels in pairs]
        if len({labels.dtype for labels in given}) == 1:
            together, classes = encode_array(np.concatenate(given), source)
        else:
            together, classes = encode_labels([label for labels in given for label in labels.tolist()], source)
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


def _pair(
    arrays: dict[str, NDArray[Any]], prefix: str, source: str, spool: Path | None
) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    """Return images, shape (n, 784), and labels, shape (n,), from the arrays whose names begin with `prefix`."""
    images, labels = _images(arrays, f"{prefix}images", source, spool), _labels(arrays, f"{prefix}labels", source)
    if len(labels) != len(images):
        raise DataError(f"{source}: {len(images)} {prefix}images but {len(labels)} {prefix}labels")
    return images, labels


def _images(arrays: dict[str, NDArray[Any]], name: str, source: str, spool: Path | None) -> NDArray[np.uint8]:
    images = _needed(arrays, name, source)
    if images.dtype != np.uint8 or images.shape[1:] not in ((PIXELS,), (SIDE, SIDE)):
        raise DataError(
            f"{source}: `{name}` must be uint8 of shape (n, {PIXELS}) or (n, {SIDE}, {SIDE}), "
            f"not {images.dtype} of shape {images.shape}"
        )
    if not len(images):
        raise DataError(f"{source}: `{name}` holds no images")
    if spool is not None and images.flags.c_contiguous:
        return cast("NDArray[np.uint8]", MappedRows(images.reshape(len(images), PIXELS)))
    if spool is not None:
        parts = (part.reshape(len(part), PIXELS) for part in row_parts(images))
        return images_from(parts, len(images), spool)
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
            f"{source}: no array `{name}`; `images` and `labels` are needed, or `features` and `targets` of a table; "
            f"it holds {', '.join(arrays) or 'no arrays'}"
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
