"""Reading a data set from a file or folder, with the reader that its name calls for."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fastnn.datasets import idx
from fastnn.datasets.delimited import ENDINGS
from fastnn.datasets.options import DEFAULT_OPTIONS, ReadOptions
from fastnn.datasets.polarity import dark_on_light
from fastnn.datasets.targets import check_task
from fastnn.errors import DataError, cannot_read

if TYPE_CHECKING:
    from pathlib import Path

    from fastnn.datasets.dataset import Dataset
    from fastnn.datasets.polarity import StoredPolarity

_FORMATS = (
    ".csv, .tsv, .npz, .svmlight, .json (also with .gz), IDX files, or a folder of IDX files, of 0.json to 9.json or "
    "of class folders"
)
_SPARSE_TEXT = tuple(f"{ending}{packed}" for ending in (".svm", ".libsvm", ".svmlight") for packed in ("", ".gz"))
TABLE_ENDINGS = (*ENDINGS, ".npz", *_SPARSE_TEXT)
"""Names of files that may hold a table."""


def read_path(path: Path, options: ReadOptions = DEFAULT_OPTIONS) -> Dataset:
    """Read a data set from a file or folder; the format is known by the name.

    Readers return images as they are stored, and they are inverted here where needed.

    Parameters
    ----------
    path : Path
    options : ReadOptions

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
            check_no_target(str(path), options)
        dataset = _read_folder(path, options) if path.is_dir() else _read_file(path, options)
    except OSError as error:
        raise cannot_read(path, error) from None
    if dataset.is_images:
        return _dark_on_light(dataset, options)
    if options.polarity != "auto":
        raise DataError(f"{path}: is a table; --polarity is for images, drop it")
    return dataset


def check_no_target(source: str, options: ReadOptions) -> None:
    """Raise a DataError if a target or task is given for a source of images, whose target is their label."""
    check_task(options.task)
    if options.target or options.task not in (None, "classification"):
        raise DataError(f"{source}: holds images with labels; --target and --task are for tables")


def _dark_on_light(dataset: Dataset, options: ReadOptions, usual: StoredPolarity | None = None) -> Dataset:
    """Return images as stored with dark ink on light paper, and a note if some were inverted.

    A reader that has decided for each image itself says so by `polarity`.
    """
    if dataset.polarity is not None:
        return dataset
    test, validation = (
        None if part is None else _dark_on_light(part, options, usual) for part in (dataset.test, dataset.validation)
    )
    found = dark_on_light(dataset.images, options.polarity, usual=usual)
    return replace(
        dataset,
        features=found.images,
        test=test,
        validation=validation,
        notes=(*dataset.notes, found.note) if found.note else dataset.notes,
        polarity=found.polarity,
    )


def _read_idx(train: idx.IdxPair, test: idx.IdxPair | None, source: str, options: ReadOptions) -> Dataset:
    """Return the images of IDX files, which by their definition have 0 = paper, with dark ink on light paper."""
    return _dark_on_light(idx.read_pairs(train, test, source), options, "light-on-dark")


def _read_file(path: Path, options: ReadOptions = DEFAULT_OPTIONS) -> Dataset:
    if not path.is_file():
        raise DataError(f"{path}: neither a file nor a folder")
    name = path.name.lower()
    if options.target and not name.endswith(ENDINGS):
        raise DataError(f"{path}: says itself what its targets are; --target is for .csv and .tsv files")
    if name.endswith((".json", ".json.gz")):
        from fastnn.datasets.digits_json import read_json

        return read_json(path)
    if name.endswith(ENDINGS):
        from fastnn.datasets.table import read_table

        return read_table(path, options.target, options.task)
    if name.endswith(".npz"):
        from fastnn.datasets.npz import read_npz

        return read_npz(path, options.task)
    if name.endswith(_SPARSE_TEXT):
        from fastnn.datasets.svmlight import read_svmlight

        return read_svmlight(path, options.task)
    if idx.is_idx(path):
        return _read_idx(idx.pair_of(path), None, str(path), options)
    raise DataError(f"{path}: unknown format; known are {_FORMATS}")


def _read_folder(folder: Path, options: ReadOptions) -> Dataset:
    train, test = idx.named_pair(folder, idx.TRAIN), idx.named_pair(folder, idx.TEST)
    if train is not None:
        return _read_idx(train, test, str(folder), options)
    pairs = idx.pairs_in(folder)
    if len(pairs) == 1:
        return _read_idx(pairs[0], None, str(folder), options)
    if len(pairs) > 1:
        names = ", ".join(pair.images.name for pair in pairs)
        raise DataError(f"{folder}: several pairs of IDX files ({names}); give the path of one of them")
    class_files = [path for digit in range(10) if (path := idx.existing(folder, f"{digit}.json"))]
    if class_files:
        from fastnn.datasets.digits_json import read_class_files

        return read_class_files(class_files, str(folder))
    whole = idx.existing(folder, "dataset.json")
    if whole:
        return _read_file(whole, options)
    from fastnn.datasets.class_folders import class_folders, read_class_folders

    folders, empty = class_folders(folder)
    if folders:
        notes = tuple(f"{entry}: ignored, since it holds no PNG or JPEG file" for entry in empty)
        return replace(read_class_folders(folders, str(folder)), notes=notes)
    raise DataError(f"{folder}: no data set in this folder; known are {_FORMATS} with PNG or JPEG files")
