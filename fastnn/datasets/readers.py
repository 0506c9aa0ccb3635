"""Which reader a file or folder needs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from fastnn.datasets import idx
from fastnn.datasets.dataset import SIDE
from fastnn.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from fastnn.datasets.dataset import Dataset

_KINDS = ".json, .json.gz, .csv, .npz, IDX files, or a folder of IDX files, of 0.json to 9.json or of class folders"


def read_path(path: Path) -> Dataset:
    """Read the data set that a file or folder holds; its name says what it is.

    Parameters
    ----------
    path : Path

    Returns
    -------
    Dataset

    Raises
    ------
    DataError
        If it holds no data set that can be read.
    """
    try:
        dataset = _read_folder(path) if path.is_dir() else _read_file(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
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
    raise DataError(f"{path}: not a kind of data set that is known: {_KINDS}")


def _read_folder(folder: Path) -> Dataset:
    train, test = idx.named_pair(folder, idx.TRAIN), idx.named_pair(folder, idx.TEST)
    if train is not None:
        return idx.read_pairs(train, test, str(folder))
    pairs = idx.pairs_in(folder)
    if len(pairs) == 1:
        return idx.read_pairs(pairs[0], None, str(folder))
    if len(pairs) > 1:
        names = ", ".join(pair.images.name for pair in pairs)
        raise DataError(f"{folder}: several pairs of IDX files ({names}); name one of them")
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
        notes = tuple(f"{entry}: holds no PNG or JPEG file; it is taken for no class" for entry in empty)
        return replace(read_class_folders(folders, str(folder)), notes=notes)
    raise DataError(f"{folder}: no data set in this folder; known are {_KINDS} with PNG or JPEG files")


def _with_polarity_note(dataset: Dataset) -> Dataset:
    """Add a note where the margins of the images are dark, as in white writing on black."""
    edge = np.ones((SIDE, SIDE), dtype=bool)
    edge[1:-1, 1:-1] = False
    some = dataset.images[:: max(1, len(dataset) // 1000)]
    if some[:, edge.ravel()].mean() >= 128:
        return dataset
    return replace(
        dataset, notes=(*dataset.notes, "the images look white on black; fastnn takes 255 for paper and 0 for ink")
    )
