"""Reading a data set from a file or folder, with the reader that its name calls for."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from fastnn.datasets import idx
from fastnn.datasets.dataset import SIDE
from fastnn.datasets.delimited import ENDINGS
from fastnn.datasets.targets import check_task
from fastnn.errors import DataError, cannot_read

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fastnn.datasets.dataset import Dataset

_FORMATS = (
    ".csv, .tsv, .npz, .svmlight, .json (also with .gz), IDX files, or a folder of IDX files, of 0.json to 9.json or "
    "of class folders"
)
_SPARSE_TEXT = tuple(f"{ending}{packed}" for ending in (".svm", ".libsvm", ".svmlight") for packed in ("", ".gz"))
TABLE_ENDINGS = (*ENDINGS, ".npz", *_SPARSE_TEXT)
"""Names of files that may hold a table."""


def read_path(path: Path, target: Sequence[str] = (), task: str | None = None) -> Dataset:
    """Read a data set from a file or folder; the format is known by the name.

    Parameters
    ----------
    path : Path
    target : sequence of str
        The columns of a CSV or TSV file to learn.
    task : {"classification", "multilabel", "regression"}, optional
        What is learned from a table; by default decided by its targets.

    Returns
    -------
    Dataset

    Raises
    ------
    DataError
        If the format is unknown or the content is invalid.
    """
    name = path.name.lower()
    try:
        if path.is_dir() or not name.endswith(TABLE_ENDINGS):
            check_no_target(str(path), target, task)
        dataset = _read_folder(path) if path.is_dir() else _read_file(path, target, task)
    except OSError as error:
        raise cannot_read(path, error) from None
    return _with_polarity_note(dataset) if dataset.is_images else dataset


def check_no_target(source: str, target: Sequence[str], task: str | None) -> None:
    """Raise a DataError if a target or task is given for a source of images, whose target is their label."""
    check_task(task)
    if target or task not in (None, "classification"):
        raise DataError(f"{source}: holds images with labels; --target and --task are for tables")


def _read_file(path: Path, target: Sequence[str] = (), task: str | None = None) -> Dataset:
    if not path.is_file():
        raise DataError(f"{path}: neither a file nor a folder")
    name = path.name.lower()
    if target and not name.endswith(ENDINGS):
        raise DataError(f"{path}: says itself what its targets are; --target is for .csv and .tsv files")
    if name.endswith((".json", ".json.gz")):
        from fastnn.datasets.digits_json import read_json

        return read_json(path)
    if name.endswith(ENDINGS):
        from fastnn.datasets.table import read_table

        return read_table(path, target, task)
    if name.endswith(".npz"):
        from fastnn.datasets.npz import read_npz

        return read_npz(path, task)
    if name.endswith(_SPARSE_TEXT):
        from fastnn.datasets.svmlight import read_svmlight

        return read_svmlight(path, task)
    if idx.is_idx(path):
        return idx.read_pairs(idx.pair_of(path), None, str(path))
    raise DataError(f"{path}: unknown format; known are {_FORMATS}")


def _read_folder(folder: Path) -> Dataset:
    train, test = idx.named_pair(folder, idx.TRAIN), idx.named_pair(folder, idx.TEST)
    if train is not None:
        return idx.read_pairs(train, test, str(folder))
    pairs = idx.pairs_in(folder)
    if len(pairs) == 1:
        return idx.read_pairs(pairs[0], None, str(folder))
    if len(pairs) > 1:
        names = ", ".join(pair.images.name for pair in pairs)
        raise DataError(f"{folder}: several pairs of IDX files ({names}); give the path of one of them")
    class_files = [path for digit in range(10) if (path := idx.existing(folder, f"{digit}.json"))]
    if class_files:
        from fastnn.datasets.digits_json import read_class_files

        return read_class_files(class_files, str(folder))
    whole = idx.existing(folder, "dataset.json")
    if whole:
        return _read_file(whole)
    from fastnn.datasets.class_folders import class_folders, read_class_folders

    folders, empty = class_folders(folder)
    if folders:
        notes = tuple(f"{entry}: ignored, since it holds no PNG or JPEG file" for entry in empty)
        return replace(read_class_folders(folders, str(folder)), notes=notes)
    raise DataError(f"{folder}: no data set in this folder; known are {_FORMATS} with PNG or JPEG files")


def _with_polarity_note(dataset: Dataset) -> Dataset:
    """Add a note if the borders of the images are dark, as in white writing on black."""
    border = np.ones((SIDE, SIDE), dtype=bool)
    border[1:-1, 1:-1] = False
    sample = dataset.images[:: max(1, len(dataset) // 1000)]
    if sample[:, border.ravel()].mean() >= 128:
        return dataset
    return replace(
        dataset, notes=(*dataset.notes, "the images look white on black; fastnn expects 255 = paper and 0 = ink")
    )
