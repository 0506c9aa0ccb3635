"""Parquet, Arrow and Feather files, also in several parts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn.datasets.array_names import known_part
from fastnn.datasets.arrow_columns import SHOWN, columns_of, find_labels, image_column
from fastnn.datasets.arrow_library import pyarrow
from fastnn.datasets.arrow_pictures import read_lists, read_pictures
from fastnn.datasets.arrow_tables import ArrowFile, DiskTable, MemoryTable
from fastnn.datasets.arrow_text import read_columns
from fastnn.datasets.arrow_types import holds_pictures, is_list
from fastnn.datasets.folder_search import part_of
from fastnn.datasets.groups import check_no_group
from fastnn.datasets.targets import check_task
from fastnn.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path
    from typing import BinaryIO

    from fastnn.datasets.array_names import Part
    from fastnn.datasets.arrow_tables import ArrowTable
    from fastnn.datasets.dataset import Dataset
    from fastnn.datasets.options import ReadOptions

_PARTS: tuple[Part, ...] = ("train", "test", "validation")


def read_arrow_files(paths: Sequence[Path], source: str, options: ReadOptions, spool: Path | None = None) -> Dataset:
    """Read the data set in one file, or in several that hold parts of it.

    A column of pictures (PNG, JPEG, ...), of lists of pixels, or columns of numbers and texts as in a CSV file.

    Parameters
    ----------
    paths : sequence of Path
        Of several, words such as train, test and validation in their names say the part of the data set; files of one
        part are read one after the other.
    source : str
        What error messages call them.
    options : ReadOptions
        The target is the column of labels, or the columns to learn of a table.
    spool : Path, optional
        A temporary folder for samples, if they are to be left on the disk where possible.

    Returns
    -------
    Dataset
        Images of a column of lists are as stored.

    Raises
    ------
    DataError
        If a file is damaged, the columns differ, or it is not clear what they hold; the message lists them.
    MissingExtraError
        If pyarrow is not installed.
    """
    check_task(options.task)
    pa = pyarrow(source)
    parts, notes = _parts(paths)
    try:
        tables: dict[Part, ArrowTable] = {
            part: MemoryTable.read(own, source) if spool is None else DiskTable([*map(ArrowFile, own)], source)
            for part, own in parts.items()
        }
        schemas = [table.schema.remove_metadata() for table in tables.values()]
        if any(not schema.equals(schemas[0]) for schema in schemas[1:]):
            raise DataError(f"{source}: the parts {', '.join(tables)} have different columns")
        dataset = _dataset(tables, source, options, spool)
    except (pa.ArrowException, UnicodeError) as error:
        raise DataError(f"{source}: damaged ({' '.join(str(error).split())[:200]})") from None
    return replace(dataset, notes=(*notes, *dataset.notes))


def _parts(paths: Sequence[Path]) -> tuple[dict[Part, list[Path]], list[str]]:
    if len(paths) == 1:
        return {"train": [paths[0]]}, []
    said = [part_of(path.stem) for path in paths]
    found: dict[Part | None, list[Path]] = {}
    for path, part in zip(paths, said, strict=True):
        found.setdefault(part and known_part(part, said), []).append(path)
    unknown = found.pop(None, [])
    parts: dict[Part, list[Path]] = {part: own for part, own in found.items() if part is not None}
    notes = []
    if "train" not in parts and unknown:
        parts = {"train": unknown, **parts}
    elif unknown:
        notes.append(f"left out, since their names are those of no part: {', '.join(path.name for path in unknown)}")
    if "train" not in parts:
        parts = {"train": parts.pop(next(iter(parts))), **parts}
    parts = {part: parts[part] for part in _PARTS if part in parts}
    counted = ", ".join(f"{part} from {len(own)} file{'s' * (len(own) > 1)}" for part, own in parts.items())
    return parts, [f"parts of the data set: {counted}", *notes]


def _dataset(tables: dict[Part, ArrowTable], source: str, options: ReadOptions, spool: Path | None) -> Dataset:
    pa = pyarrow(source)
    columns = columns_of(tables["train"].schema)
    if len({column.name for column in columns}) < len(columns):
        raise DataError(f"{source}: two columns have the same name")
    lists = [one for one in columns if is_list(one.type, pa)]
    pictures = [one for one in columns if holds_pictures(one.type, pa)]
    if not lists and not pictures:
        return read_columns(tables, columns, source, options, spool)
    check_no_group(source, options.group)
    images = image_column(pictures or lists, source, columns)
    others = [one for one in columns if one not in (*lists, *pictures)]
    labels = find_labels(tables, others, source, columns, options.target)
    label = labels.column
    left = [one.name for one in columns if one not in (images, label) and one.name not in label.made_of]
    what = "images" if images in pictures else "values"
    notes = [f"{what} from the column {images.name[:40]!r}, labels from {label.name[:40]!r}"]
    notes += [f"left out: {', '.join(name[:40] for name in left[:SHOWN])}"] if left else []
    read = read_pictures if images in pictures else read_lists
    dataset = read(tables, images, labels, source, options, spool)
    return replace(dataset, notes=(*notes, *dataset.notes))


def write_columns(file: BinaryIO, source: str, parts: Iterable[dict[str, Any]]) -> None:
    """Write columns as a Parquet file, part after part.

    Parameters
    ----------
    file : BinaryIO
    source : str
        What error messages call it.
    parts : iterable of dict of str to ndarray
        Columns by their names, which are the same in all parts; of one length in each.

    Raises
    ------
    MissingExtraError
        If pyarrow is not installed.
    """
    pa = pyarrow(source)
    writer = None
    try:
        for part in parts:
            table = pa.table({name: np.asarray(values) for name, values in part.items()})
            writer = writer or pa.parquet.ParquetWriter(file, table.schema)
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()
