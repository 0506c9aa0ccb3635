"""Pictures, and lists of pixels, in the columns of Parquet and Arrow files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn.datasets.array_names import role_of
from fastnn.datasets.arrow_columns import label_values
from fastnn.datasets.arrow_library import pyarrow
from fastnn.datasets.arrow_types import is_list
from fastnn.datasets.emnist import turned_upright
from fastnn.datasets.folder_search import PictureSet
from fastnn.datasets.folders import Folder, Listing
from fastnn.datasets.labels import canonical_labels
from fastnn.datasets.named_arrays import Chosen, Pair, dataset_from
from fastnn.datasets.picture_lists import Picture
from fastnn.datasets.picture_sets import read_picture_set
from fastnn.datasets.spool import array_on_disk
from fastnn.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray

    from fastnn.datasets.array_names import Part
    from fastnn.datasets.arrow_columns import Column, Labels
    from fastnn.datasets.arrow_tables import ArrowTable
    from fastnn.datasets.dataset import Dataset
    from fastnn.datasets.options import ReadOptions


class _FileFault(Exception):  # noqa: N818 - what is wrong
    """What is wrong in a file, and not in one of its pictures, which may be left out."""


class _RowFolder(Folder):
    """Pictures in the rows of a column, as if they were the files of a folder; best read in their order."""

    def __init__(self, table: ArrowTable | None, name: str, shown: str) -> None:
        self._table, self._name, self.shown = table, name, shown
        self._batches: Iterator[Any] | None = None
        self._batch: Any = ()
        self._first = 0

    def read(self, name: str, limit: int, what: str = "a picture") -> bytes:
        value = self._cell(int(name.removeprefix("row ")))
        content = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(content, bytes):
            raise DataError(f"{self.shown}/{name}: holds no picture; pictures in files beside it are not read")
        if len(content) > limit:
            raise DataError(f"{self.shown}/{name}: too large to be {what}")
        return content

    def _cell(self, row: int) -> Any:
        if self._table is not None and (self._batches is None or row < self._first):
            self._batches, self._batch, self._first = self._table.batches([self._name], row), (), row
        while row >= self._first + len(self._batch):
            self._first += len(self._batch)
            try:
                batch = next(self._batches or iter(()), None)
            except DataError as error:
                raise _FileFault(str(error)) from None
            if batch is None:
                raise _FileFault(f"{self.shown}: has fewer rows than it says; it is damaged")
            self._batch = batch.column(0)
        return self._batch[row - self._first].as_py()

    def on_disk(self, names: Iterable[str], spool: Path | None = None) -> AbstractContextManager[Path]:
        raise NotImplementedError

    def _listing(self) -> Listing:
        return Listing([], {}, {})


class _RowPictures(Sequence[Picture]):
    """The pictures in the rows of a column with their labels; each is made when it is asked for."""

    def __init__(self, folder: _RowFolder, labels: list[str]) -> None:
        self._folder, self._labels = folder, labels

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, row: Any) -> Any:
        return Picture(self._folder, f"row {row}", self._labels[row])


def read_pictures(
    tables: dict[Part, ArrowTable],
    images: Column,
    labels: Labels,
    source: str,
    options: ReadOptions,
    spool: Path | None,
) -> Dataset:
    """Return the data set of a column of pictures.

    Raises
    ------
    DataError
        As :func:`fastnn.datasets.picture_sets.read_picture_set` does, or if a label is not a whole number.
    """
    if options.task not in (None, "classification"):
        raise DataError(f"{source}: holds pictures with labels, whose task is classification, not {options.task}")
    found: dict[Part, Sequence[Picture]] = {}
    notes: dict[str, None] = {}
    for part, table in tables.items():
        folder = _RowFolder(table, images.name, source if part == "train" else f"{source} ({part})")
        values = label_values(labels.values[part], labels.column, source)
        if values.dtype.kind == "f" and not (np.isfinite(values).all() and (values == np.rint(values)).all()):
            raise DataError(f"{source}: column {labels.column.name[:40]!r} holds labels that are not whole numbers")
        # Each text once, and not once for each row.
        known: dict[str, str] = {}
        whole = values.astype(np.int64) if values.dtype.kind == "f" else values
        texts = [known.setdefault(text, text) for text in map(str, whole.tolist())]
        if labels.column.classes is None:
            # As in a CSV file: 05 is 5.
            texts, how = canonical_labels(texts, source)
            notes |= dict.fromkeys(how)
        found[part] = _RowPictures(folder, texts)
    shown = _RowFolder(None, images.name, source)
    try:
        dataset = read_picture_set(PictureSet(shown, found, notes=tuple(notes)), options, spool)
    except _FileFault as error:
        raise DataError(str(error)) from None
    return turned_upright(dataset, Path(source))


def read_lists(
    tables: dict[Part, ArrowTable],
    images: Column,
    labels: Labels,
    source: str,
    options: ReadOptions,
    spool: Path | None,
) -> Dataset:
    """Return the images, as stored, in a column of lists of pixels, or the rows in one of lists of other numbers.

    Raises
    ------
    DataError
        If the lists have different lengths, or see :func:`fastnn.datasets.named_arrays.dataset_from`.
    """
    arrays: dict[str, NDArray[Any]] = {}
    pairs: dict[Part, Pair] = {}
    label = labels.column
    for part, table in tables.items():
        names = (images.name, label.name) if part == "train" else (f"{images.name} ({part})", f"{label.name} ({part})")
        values = _list_values(table, images.name, source)
        arrays[names[0]] = next(values) if spool is None else array_on_disk(spool, values)
        arrays[names[1]] = label_values(labels.values[part], label, source)
        pairs[part] = Pair(*names, len(arrays[names[1]]))
    role = role_of(images.name)
    are_images = role is not None and role.kind == "images"
    chosen = Chosen(pairs, are_images=are_images)
    return dataset_from(chosen, arrays, source, options.task, spool=spool)


def _list_values(table: ArrowTable, name: str, source: str) -> Iterator[NDArray[Any]]:
    """Yield the numbers in a column of lists, some rows at a time, as arrays of which all but the first axis agree."""
    shape = None
    for batch in table.batches([name]):
        values = _values(batch.column(0), name, source)
        if shape is not None and values.shape[1:] != shape:
            raise _different_lengths(name, source)
        shape = values.shape[1:]
        yield values


def _different_lengths(name: str, source: str) -> DataError:
    return DataError(
        f"{source}: column {name[:40]!r} holds lists of different lengths; images of one file have one size"
    )


def _values(column: Any, name: str, source: str) -> NDArray[Any]:
    """Return the numbers in a column of lists of one length, which may hold lists themselves."""
    pa = pyarrow(source)
    values = column.combine_chunks()
    values = pa.concat_arrays(values.chunks) if isinstance(values, pa.ChunkedArray) else values
    shape = [len(values)]
    while is_list(values.type, pa):
        lengths = pa.compute.unique(pa.compute.list_value_length(values)).to_pylist() if len(values) else []
        if values.null_count or len(lengths) != 1 or not lengths[0]:
            raise _different_lengths(name, source)
        shape.append(lengths[0])
        values = values.flatten()
    if values.null_count:
        raise DataError(f"{source}: column {name[:40]!r} holds pixels without a value")
    return np.asarray(values.to_numpy(zero_copy_only=False)).reshape(shape)
