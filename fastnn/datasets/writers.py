"""Writing a data set to a file or folder, in the format that its name calls for."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

from fastnn.datasets import idx
from fastnn.datasets.delimited import ENDINGS
from fastnn.datasets.labels import check_classes, encode_labels
from fastnn.datasets.store import is_store
from fastnn.datasets.store_writer import write_store
from fastnn.errors import DataError, FastnnError, cannot_write
from fastnn.storage import (
    atomic_write,
    check_target,
    exchange,
    keep_permissions,
    move_file,
    put_in_place,
    refuse_existing,
    remove_file,
    temporary_folder,
    user_path,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import BinaryIO

    from fastnn.datasets.dataset import Dataset

    Writer = Callable[[Dataset, BinaryIO], None]

_SUFFIXES = (".json", ".json.gz", ".csv", ".csv.gz", ".npz")
_TABLE_SUFFIXES = (*ENDINGS, ".npz")


def write_dataset(dataset: Dataset, out: Path, *, force: bool = False) -> tuple[list[Path], list[str]]:
    """Write a data set in the format that the name of `out` stands for.

    Parameters
    ----------
    dataset : Dataset
    out : Path
        For a table, a file ``.csv``, ``.tsv`` (both also with ``.gz``) or ``.npz``. For images, a file ``.json``,
        ``.csv`` (both also with ``.gz``) or ``.npz``; a file ``*-images-idx3-ubyte``, next to which the labels are
        written; or a folder for IDX files with MNIST's names. For both a folder ``NAME.fnn``, a store.
    force : bool
        Replace existing files.

    Returns
    -------
    written : list of Path
    notes : list of str
        Which parts of the data set the format cannot hold, and how a table is read back.

    Raises
    ------
    DataError
        If `out` exists and `force` is not given, its format is unknown, the format cannot hold the labels, or it cannot
        be written.
    """
    # Readers would refuse such names.
    check_classes(dataset.classes, dataset.source)
    check_target(out)
    name = out.name.lower()
    if is_store(out):
        write_store(dataset, out, force=force)
        return [out], []
    if not dataset.is_images and not name.endswith(_TABLE_SUFFIXES):
        known = f"{', '.join(_TABLE_SUFFIXES[:-1])} and {_TABLE_SUFFIXES[-1]}"
        raise DataError(f"{out}: is no format for a table; known are {known}")
    try:
        if not dataset.is_images:
            return _write_table(dataset, out, name, force)
        if name.endswith(_SUFFIXES):
            return _write_file(dataset, out, name, force)
        if idx.is_idx(out):
            return _write_pair(dataset, out, force)
        if out.is_dir() or not out.suffix:
            return _write_folder(dataset, out, force)
    except OSError as error:
        raise cannot_write(out, error, DataError) from None
    known = ", ".join(_SUFFIXES)
    raise DataError(f"{out}: unknown format; known are {known}, *-images-idx3-ubyte, and a folder for IDX files")


def check_not_source(target: Path, dataset: Dataset, source: str) -> None:
    """Raise a DataError if writing to `target` would change the source of a data set.

    Parameters
    ----------
    target : Path
    dataset : Dataset
        As loaded from `source`.
    source : str
        Its name or path.

    Raises
    ------
    DataError
        If `target` is the source, a part of it, contains it, or is a data set with the same content.
    """
    from fastnn.datasets import load_dataset

    own = user_path(source)
    same = own.exists() and (
        own.resolve() == target.resolve()
        or (own.is_dir() and own.resolve() in target.resolve().parents)
        or target.resolve() in own.resolve().parents
    )
    if not same and target.exists():
        # A name such as digits does not say in which folder the file was found; the content tells.
        try:
            same = load_dataset(target).content_hash == dataset.content_hash
        except FastnnError:
            same = False
    if same:
        raise DataError(f"{target}: is the source, a part of it or a copy, and is never changed; choose another name")


def _write_file(dataset: Dataset, out: Path, name: str, force: bool) -> tuple[list[Path], list[str]]:
    from fastnn.datasets.csv_rows import write_csv
    from fastnn.datasets.digits_json import write_json
    from fastnn.datasets.npz import write_npz

    refuse_existing([out], force=force)
    notes = [] if name.endswith(".npz") else _lost_test(dataset) + _lost_classes(dataset)
    _write(dataset, out, write_npz if name.endswith(".npz") else write_csv if ".csv" in name else write_json)
    return [out], notes


def _write_table(dataset: Dataset, out: Path, name: str, force: bool) -> tuple[list[Path], list[str]]:
    from fastnn.datasets.npz import write_npz
    from fastnn.datasets.table_csv import table_notes, write_table

    refuse_existing([out], force=force)
    if name.endswith(".npz"):
        _write(dataset, out, write_npz)
        return [out], []
    notes = [*_lost_test(dataset), *table_notes(dataset)]
    delimiter = "\t" if ".tsv" in name else ","
    _write(dataset, out, lambda dataset, file: write_table(dataset, file, delimiter))
    return [out], notes


def _write_pair(dataset: Dataset, out: Path, force: bool) -> tuple[list[Path], list[str]]:
    if "images" not in out.name or "idx3" not in out.name:
        raise DataError(f"{out}: give the name for the images, *-images-idx3-ubyte; the labels are written next to it")
    idx.label_bytes(dataset)
    labels = out.with_name(out.name.replace("images", "labels").replace("idx3", "idx1"))
    # Compressed labels beside plain images, or the other way round, are part of the old pair as well.
    other = [] if idx.twin(out).exists() else [idx.twin(labels)]
    refuse_existing([out, labels, *other], force=force)
    with temporary_folder(out) as made:
        _write(dataset, made / out.name, idx.write_images)
        _write(dataset, made / labels.name, idx.write_labels)
        # While a pair changes it has no labels: a crash leaves the old pair, the new one, or one that is refused.
        keep_permissions(made / labels.name, labels)
        for path in (*other, labels):
            remove_file(path)
        move_file(made / out.name, out)
        move_file(made / labels.name, labels)
    return [out, labels], _lost_test(dataset) + _lost_classes(dataset)


def _write_folder(dataset: Dataset, out: Path, force: bool) -> tuple[list[Path], list[str]]:
    parts = [(dataset, idx.TRAIN)] + ([(dataset.test, idx.TEST)] if dataset.test is not None else [])
    for part, _ in parts:
        idx.label_bytes(part)
    known = [variant for name in (*idx.TRAIN, *idx.TEST) for variant in (name, f"{name}.gz")]
    exists = out.is_dir()
    if not exists or any((out / name).exists() for name in known):
        refuse_existing([out], force=force)
    with temporary_folder(out) as made:
        for part, names in parts:
            for name, writer in zip(names, (idx.write_images, idx.write_labels), strict=True):
                _write(part, made / name, writer)
        written = [name for _, names in parts for name in names]
        if not exists:
            put_in_place(made, out)
        elif not exchange(made, out, known):
            _replace_idx_files(made, out, written, known)
    return [out / name for name in written], _lost_classes(dataset)


def _replace_idx_files(made: Path, out: Path, written: list[str], known: list[str]) -> None:
    """Replace IDX files in a folder; until the last step it has no labels of the training images, and is refused."""
    images, labels = idx.TRAIN
    keep_permissions(made / labels, out / labels)
    # The compressed ones first: without the plain ones, they would be read as the labels of plain images.
    remove_file(out / f"{labels}.gz")
    remove_file(out / labels)
    move_file(made / images, out / images)
    for name in written:
        if name not in idx.TRAIN:
            move_file(made / name, out / name)
    # Other files of the replaced data set would be read as part of the new one.
    for name in known:
        if name not in written:
            (out / name).unlink(missing_ok=True)
    move_file(made / labels, out / labels)


def _write(dataset: Dataset, path: Path, writer: Writer) -> None:
    with atomic_write(path) as file:
        if path.name.endswith(".gz"):
            # Without a time stamp the same data give the same file.
            with gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=6, mtime=0) as packed:
                writer(dataset, packed)  # type: ignore[arg-type]
        else:
            writer(dataset, file)


def _lost_test(dataset: Dataset) -> list[str]:
    if dataset.test is None:
        return []
    kind, others = ("images", " and a folder of IDX files") if dataset.is_images else ("rows", "")
    return [f"the {len(dataset.test):,} {kind} of the test set are left out; .npz{others} can hold them"]


def _lost_classes(dataset: Dataset) -> list[str]:
    """Return a note if the classes, read back from the labels alone, are others or in another order."""
    _, classes = encode_labels([dataset.classes[label] for label in dataset.labels.tolist()], dataset.source)
    if classes == dataset.classes:
        return []
    return [f"the classes will be read back as {', '.join(classes)}; .npz keeps {', '.join(dataset.classes)}"]
