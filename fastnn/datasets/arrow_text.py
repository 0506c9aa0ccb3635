"""Columns of numbers and texts of Parquet and Arrow files, which are read as a CSV file with these columns is."""

from __future__ import annotations

import io
import re
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from fastnn.datasets.arrow_columns import SHOWN, Column, columns_of, label_values, listed
from fastnn.datasets.arrow_library import pyarrow
from fastnn.datasets.arrow_tables import ArrowFile, DiskTable
from fastnn.datasets.arrow_types import holds_pictures, is_list, is_number
from fastnn.datasets.csv_rows import read_pixel_rows
from fastnn.datasets.dataset import first_not_finite
from fastnn.datasets.delimited import DelimitedText
from fastnn.datasets.safe_read import map_packed
from fastnn.datasets.spool import free_path, rows_on_disk
from fastnn.datasets.table import parse_table
from fastnn.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path
    from typing import BinaryIO

    from numpy.typing import NDArray

    from fastnn.datasets.array_names import Part
    from fastnn.datasets.arrow_tables import ArrowTable
    from fastnn.datasets.dataset import Dataset
    from fastnn.datasets.options import ReadOptions
    from fastnn.datasets.polarity import Polarity

_LINE = re.compile(r"\bline ([0-9]+)")
_LEFT_OUT = re.compile("__index_level_[0-9]+__")
"""The names that pandas gives to an index without one."""


def read_columns(
    tables: dict[Part, ArrowTable], columns: list[Column], source: str, options: ReadOptions, spool: Path | None
) -> Dataset:
    """Return the data set of columns of numbers and texts; errors as for :func:`fastnn.datasets.table.parse_table`.

    With a temporary folder, the text is written there, some rows at a time.
    """

    def parse(text: DelimitedText) -> Dataset:
        return _with_rows_from_0(
            lambda: parse_table(text, options.target, options.task, spool=spool, group=options.group)
        )

    if spool is None:
        sink = io.BytesIO()
        lengths = _write_as_text(tables, columns, source, sink)
        dataset = parse(DelimitedText(sink.getvalue(), source))
    else:
        path = free_path(spool, "table")
        lengths = _write_text_file(tables, columns, source, path)
        try:
            dataset = parse(DelimitedText(map_packed(path), source, on_disk=True))
        finally:
            with suppress(OSError):  # Windows keeps a file that is mapped
                path.unlink()
    if len(tables) == 1:
        return dataset
    start, parts = 0, {}
    for part, n in lengths.items():
        shown = source if part == "train" else f"{source} ({part} set)"
        taken = dataset.take(np.arange(start, start + n), source=shown)
        parts[part] = taken if part == "train" else replace(taken, notes=())
        start += n
    return replace(parts["train"], test=parts.get("test"), validation=parts.get("validation"))


def _write_text_file(tables: dict[Part, ArrowTable], columns: list[Column], source: str, path: Path) -> dict[Part, int]:
    with path.open("xb") as file:
        return _write_as_text(tables, columns, source, file)


def _write_as_text(
    tables: dict[Part, ArrowTable], columns: list[Column], source: str, sink: BinaryIO | io.BytesIO
) -> dict[Part, int]:
    """Write the rows of all parts as CSV; return how many each has."""
    csv, done = pyarrow(source).csv, 0
    names, lengths = [one.name for one in columns], dict[Any, int]()
    for part, table in tables.items():
        lengths[part] = 0
        for batch in table.batches(names):
            plain = _as_plain(batch, columns, source, done)
            csv.write_csv(plain, sink, csv.WriteOptions(include_header=not done))
            lengths[part] += batch.num_rows
            done += batch.num_rows
    return lengths


def _plain_parquet(path: Path) -> ArrowFile | None:
    """Return a Parquet file of columns of numbers and texts, left on the disk; None for others."""
    pa = pyarrow(str(path))
    try:
        file = ArrowFile(path)
    except DataError:
        return None  # read whole, where it is refused
    columns = columns_of(file.schema)
    plain = not any(is_list(one.type, pa) or holds_pictures(one.type, pa) for one in columns)
    is_clear = len({one.name for one in columns}) == len(columns)
    return file if file.is_parquet and plain and is_clear else None


def read_pixel_columns(path: Path, polarity: Polarity, spool: Path) -> tuple[NDArray[np.uint8], tuple[str, ...]] | None:
    """Return the images in the columns of a Parquet file, with or without labels, left on the disk, and notes.

    Parameters
    ----------
    path : Path
    polarity : {"auto", "dark-on-light", "light-on-dark"}
        How the images are stored.
    spool : Path
        A temporary folder.

    Returns
    -------
    images : MappedRows of uint8, shape (n, 784)
        255 = paper.
    notes : tuple of str

    None for a file with lists or pictures.

    Raises
    ------
    DataError
        See :func:`fastnn.datasets.csv_rows.read_pixel_rows`.
    """
    file, text = _plain_parquet(path), spool / "table.csv"
    if file is None:
        return None
    _write_text_file({"train": DiskTable([file], str(path))}, columns_of(file.schema), str(path), text)
    try:
        images, notes = read_pixel_rows(text, polarity, spool)
    except DataError as error:
        shown = str(error).replace(str(text), str(path))
        raise DataError(_LINE.sub(lambda match: f"row {int(match[1]) - 2} (from 0)", shown)) from None
    finally:
        with suppress(OSError):  # Windows keeps a file that is mapped
            text.unlink()
    return images, tuple(note.replace(str(text), str(path)) for note in notes)


def read_number_columns(path: Path, names: Sequence[str], spool: Path | None = None) -> NDArray[np.float64] | None:
    """Return columns of numbers of a Parquet file as rows of float64.

    Parameters
    ----------
    path : Path
    names : sequence of str
        The columns, in their order in the rows.
    spool : Path, optional
        A temporary folder for the rows, if they are to be left on the disk.

    Returns
    -------
    ndarray of float64 or MappedRows, shape (n, k), or None
        None if the file is no Parquet file of columns.

    Raises
    ------
    DataError
        If it lacks a column, or one holds no numbers, or no number in a row.
    """
    pa = pyarrow(str(path))
    file = _plain_parquet(path)
    if file is None:
        return None
    columns = {one.name: one for one in columns_of(file.schema)}
    missing = [name for name in names if name not in columns]
    if missing:
        shown = ", ".join(name[:40] for name in missing[:SHOWN])
        raise DataError(f"{path}: has no column {shown}, which the model takes; it has {listed([*columns.values()])}")
    texts = [name for name in names if not is_number(columns[name].type, pa)]
    if texts:
        raise DataError(f"{path}: column {texts[0][:40]!r} holds {columns[texts[0]].type}, but the model takes numbers")
    parts = _number_rows(file, path, names)
    if spool is None:
        return np.concatenate([*parts])
    return cast("NDArray[np.float64]", rows_on_disk(spool, parts, np.dtype(np.float64), len(names)))


def _number_rows(file: ArrowFile, path: Path, names: Sequence[str]) -> Iterator[NDArray[np.float64]]:
    """Yield the rows of columns of numbers; DataError if a value is none."""
    done = 0
    for table in file.batches(names):
        rows = np.stack([table.column(name).to_numpy().astype(np.float64) for name in names], axis=1)
        fault = first_not_finite(rows)
        if fault is not None:
            row, column, value = fault
            raise DataError(
                f"{path}: column {names[column][:40]!r} is {value} in row {done + row} (from 0); fill it in or leave "
                "the row out"
            )
        yield rows
        done += len(rows)


def _as_plain(whole: Any, columns: list[Column], source: str, first: int) -> Any:
    """Return the columns of a table as numbers and texts, which pyarrow writes as CSV."""
    pa = pyarrow(source)
    kept = [one for one in columns if not _LEFT_OUT.fullmatch(one.name)]
    texts = []
    for one in kept:
        column = whole.column(one.name)
        if one.classes is not None and pa.types.is_integer(one.type):
            column = pa.chunked_array([pa.array(label_values(column, one, source, first).tolist(), pa.string())])
        elif pa.types.is_dictionary(one.type) or not (is_number(one.type, pa) or pa.types.is_string(one.type)):
            column = _as_texts(column, one, source)
        texts.append(column)
    try:
        return pa.table(texts, names=[one.name for one in kept])
    except pa.ArrowException as error:
        raise DataError(f"{source}: its columns cannot be read ({str(error)[:200]}): {listed(columns)}") from None


def _with_rows_from_0(parse: Callable[[], Dataset]) -> Dataset:
    """Return what `parse` does; its errors name rows from 0 instead of lines below one with names."""
    try:
        return parse()
    except DataError as error:
        raise DataError(_LINE.sub(lambda match: f"row {int(match[1]) - 2} (from 0)", str(error))) from None


def _as_texts(column: Any, one: Column, source: str) -> Any:
    pa = pyarrow(source)
    try:
        return column.cast(one.type.value_type if pa.types.is_dictionary(one.type) else pa.string())
    except pa.ArrowException:
        raise DataError(
            f"{source}: column {one.name[:40]!r} is of {str(one.type)[:60]}, neither numbers nor texts; leave it out"
        ) from None
