"""Reading a data set from a file or folder, with the reader that its name calls for."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from fastnn.datasets import idx
from fastnn.datasets.dataset import SIDE
from fastnn.errors import DataError, cannot_read

if TYPE_CHECKING:
    from pathlib import Path

    from fastnn.datasets.dataset import Dataset

_FORMATS = ".json, .json.gz, .csv, .npz, IDX files, or a folder of IDX files, of 0.json to 9.json or of class folders"


def read_path(path: Path) -> Dataset:
    """Read a data set from a file or folder; the format is known by the name.

    Parameters
    ----------
    path : Path

    Returns
    -------
    Dataset

    Raises
    ------
    DataError
        If the format is unknown or the content is invalid.
    """
    try:
        dataset = _read_folder(path) if path.is_dir() else _read_file(path)
    except OSError as error:
        raise cannot_read(path, error) from None
    return _with_polarity_note(dataset)


def _read_file(path: Path) -> Dataset:
    if not path.is_file():
        raise DataError(f"{path}: neither a file nor a folder")
    name = path.name.lower()
    if name.endswith((".json", ".json.gz")):
        from fastnn.datasets.digits_json import read_json

        return read_json(path)
    if name.endswith((".csv", ".csv.gz")):
        from fastnn.datasets.csv_rows import read_csv

        return read_csv(path)
    if name.endswith(".npz"):
        from fastnn.datasets.npz import read_npz

        return read_npz(path)
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
