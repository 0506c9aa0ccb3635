"""Parquet, Arrow and Feather files, also in several parts; the only file that imports pyarrow."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from fastnn.datasets.array_names import known_part, role_of
from fastnn.datasets.dataset import first_not_finite
from fastnn.datasets.emnist import turned_upright
from fastnn.datasets.folder_search import Picture, PictureSet, part_of
from fastnn.datasets.folders import Folder, Listing
from fastnn.datasets.groups import check_no_group
from fastnn.datasets.label_arrays import text_array
from fastnn.datasets.labels import canonical_labels
from fastnn.datasets.mapped import MappedFile, MappedRows
from fastnn.datasets.named_arrays import Chosen, Pair, dataset_from
from fastnn.datasets.pixel_label import label_among, marked
from fastnn.datasets.safe_read import FILE_LIMIT, map_packed, read_packed, unpacked_limit
from fastnn.datasets.store_files import FEATURES, ArrayWriter
from fastnn.datasets.targets import check_task
from fastnn.errors import DataError, MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from typing import BinaryIO

    from numpy.typing import NDArray

    from fastnn.datasets.array_names import Part
    from fastnn.datasets.dataset import Dataset
    from fastnn.datasets.options import ReadOptions
    from fastnn.datasets.polarity import Polarity

_PARTS: tuple[Part, ...] = ("train", "test", "validation")
_ONE_HOT = "columns of 0 and 1"
_LINE = re.compile(r"\bline ([0-9]+)")
_SHOWN = 12
_ROWS_AT_ONCE = 4096
_ROWS_ON_DISK = 1 << 14
"""Rows that are read at a time if they are written to the disk."""
_LEFT_OUT = re.compile("__index_level_[0-9]+__")
"""The names that pandas gives to an index without one."""


class _Column(NamedTuple):
    """What is known of a column: its name, type, and names of its classes."""

    name: str
    type: Any
    classes: tuple[str, ...] | None
    made_of: tuple[str, ...] = ()
    """The columns that a one-hot label is made of."""


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
    pa = _pyarrow(source)
    parts, notes = _parts(paths)
    try:
        if spool is not None and len(paths) == 1 and (file := _large_table(paths[0])) is not None:
            return _table_on_disk(file, paths[0], options, spool)
        dataset = _joined_dataset(parts, source, options)
    except (pa.ArrowException, UnicodeError) as error:
        raise DataError(f"{source}: damaged ({' '.join(str(error).split())[:200]})") from None
    return replace(dataset, notes=(*notes, *dataset.notes))


def _large_table(path: Path) -> Any:
    """Return a Parquet file of columns of numbers and texts, left on the disk; None for others."""
    pa = _pyarrow(str(path))
    from pyarrow import parquet

    content = map_packed(path)
    if content[:4] != b"PAR1":
        return None
    try:
        file = parquet.ParquetFile(pa.BufferReader(pa.py_buffer(content)), pre_buffer=False)
        columns = _columns(file.schema_arrow)
        names = {one.name for one in columns}
    except Exception:
        return None  # read whole, where it is refused
    plain = not any(_is_list(one.type, pa) or _holds_pictures(one.type, pa) for one in columns)
    return file if plain and len(names) == len(columns) and file.metadata.num_rows else None


def _batches(file: Any, path: Path, names: list[str] | None = None) -> Iterator[Any]:
    """Yield checked tables of some rows of a Parquet file; their size is limited by that of the file."""
    import pyarrow as pa

    limit, size = unpacked_limit(path.stat().st_size, FILE_LIMIT << 14), 0
    try:
        for batch in file.iter_batches(_ROWS_ON_DISK, columns=names, use_threads=False):
            table = pa.Table.from_batches([batch])
            size += table.nbytes
            _check_size(size, limit)
            table.validate(full=True)
            yield table
    except _ArrowError as error:
        raise DataError(f"{path}: {error}") from None
    except (pa.ArrowException, OSError, UnicodeError) as error:
        text = " ".join(str(error).split())[:200]
        raise DataError(f"{path}: not a Parquet or Arrow file, or damaged ({text})") from None


def _table_on_disk(file: Any, path: Path, options: ReadOptions, spool: Path) -> Dataset:
    """Return the data set of a Parquet file of columns, some rows after the other, as :func:`_table` does."""
    from fastnn.datasets.delimited import DelimitedText
    from fastnn.datasets.table import parse_table

    source, text = str(path), spool / "table"
    try:
        _write_as_text(file, path, text)
        return _with_rows_from_0(
            lambda: parse_table(
                DelimitedText(map_packed(text), source), options.target, options.task, spool=spool, group=options.group
            )
        )
    finally:
        text.unlink(missing_ok=True)


def _write_as_text(file: Any, path: Path, text: Path) -> None:
    """Write the columns of a Parquet file as CSV, some rows at a time."""
    from pyarrow import csv

    columns = _columns(file.schema_arrow)
    with text.open("xb") as sink:
        for number, table in enumerate(_batches(file, path)):
            part = _as_plain(table, columns, str(path))
            csv.write_csv(part, sink, csv.WriteOptions(include_header=not number))


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
    from fastnn.datasets.csv_rows import read_pixel_rows

    file, text = _large_table(path), spool / "table.csv"
    if file is None:
        return None
    _write_as_text(file, path, text)
    try:
        images, notes = read_pixel_rows(text, polarity, spool)
    except DataError as error:
        shown = str(error).replace(str(text), str(path))
        raise DataError(_LINE.sub(lambda match: f"row {int(match[1]) - 2} (from 0)", shown)) from None
    finally:
        text.unlink(missing_ok=True)
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
    pa = _pyarrow(str(path))
    file = _large_table(path)
    if file is None:
        return None
    columns = {one.name: one for one in _columns(file.schema_arrow)}
    missing = [name for name in names if name not in columns]
    if missing:
        shown = ", ".join(name[:40] for name in missing[:_SHOWN])
        raise DataError(f"{path}: has no column {shown}, which the model takes; it has {_listed([*columns.values()])}")
    texts = [name for name in names if not _is_number(columns[name].type, pa)]
    if texts:
        raise DataError(f"{path}: column {texts[0][:40]!r} holds {columns[texts[0]].type}, but the model takes numbers")
    parts = _number_rows(file, path, names)
    if spool is None:
        return np.concatenate([*parts])
    with ArrayWriter(spool / FEATURES, np.dtype(np.float64), (len(names),)) as writer:
        for rows in parts:
            writer.append(rows)
    mapped = MappedFile(spool / FEATURES)
    return cast("NDArray[np.float64]", MappedRows(mapped.array, file=mapped))


def _number_rows(file: Any, path: Path, names: Sequence[str]) -> Iterator[NDArray[np.float64]]:
    """Yield the rows of columns of numbers; DataError if a value is none."""
    done = 0
    for table in _batches(file, path, list(names)):
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
    pa = _pyarrow(source)
    from pyarrow import parquet

    writer = None
    try:
        for part in parts:
            table = pa.table({name: np.asarray(values) for name, values in part.items()})
            writer = writer or parquet.ParquetWriter(file, table.schema)
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()


def _joined_dataset(parts: dict[Part, list[Path]], source: str, options: ReadOptions) -> Dataset:
    tables = {part: _joined([_read(path) for path in own], source) for part, own in parts.items()}
    schemas = [table.schema.remove_metadata() for table in tables.values()]
    if any(not schema.equals(schemas[0]) for schema in schemas[1:]):
        raise DataError(f"{source}: the parts {', '.join(tables)} have different columns")
    return _dataset(tables, source, options)


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


def _pyarrow(source: str) -> Any:
    try:
        import pyarrow as pa
    except ImportError:
        raise MissingExtraError(f"{source}: reading Parquet or Arrow (or save it as CSV)", "tables") from None
    return pa


def _read(path: Path) -> Any:
    """Return the table in a file; its size is checked before it is read, and while it is."""
    pa = _pyarrow(str(path))
    content = read_packed(path)
    limit = unpacked_limit(len(content))
    try:
        if content[:4] == b"PAR1":
            table = _parquet(content, limit)
        elif content[:4] == b"FEA1":
            raise _ArrowError("is of the first version of Feather; write it again with pyarrow.feather")
        else:
            # Behind its first eight bytes, a file is a stream with a table of contents at its end.
            stream = memoryview(content)[8 if content[:6] == b"ARROW1" else 0 :]
            _check_size(_unpacked_size(stream), limit)
            table = pa.ipc.open_stream(pa.BufferReader(stream)).read_all()
        _check_size(table.nbytes, limit)
        table.validate(full=True)
        _check_size(_size_of_values(table), limit)
    except _ArrowError as error:
        raise DataError(f"{path}: {error}") from None
    # pyarrow raises its own exceptions and those of Python for damaged bytes, also for sizes that no memory has.
    except Exception as error:
        text = " ".join(str(error).split())[:200]
        raise DataError(f"{path}: not a Parquet or Arrow file, or damaged ({text})") from None
    if not table.num_rows:
        raise DataError(f"{path}: holds no rows")
    return table


class _ArrowError(Exception):
    """What is wrong in a file that is not damaged."""


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        raise _ArrowError(f"unpacks to {size >> 20:,} MiB or more, too much for its compressed size")


def _size_of_values(table: Any) -> int:
    """Return at least how many bytes the values take if each is written out: those of dictionaries, and nulls, too."""
    import pyarrow as pa
    from pyarrow import compute

    total = table.num_rows * table.num_columns
    for column in table.columns:
        for chunk in column.chunks if pa.types.is_dictionary(column.type) else ():
            if _is_text(chunk.dictionary.type, pa):
                lengths = compute.binary_length(chunk.dictionary)
                total += compute.sum(compute.take(lengths, chunk.indices)).as_py() or 0
    return int(total)


def _parquet(content: bytes, limit: int) -> Any:
    import pyarrow as pa
    from pyarrow import parquet

    file = parquet.ParquetFile(pa.BufferReader(content), pre_buffer=False)
    groups = [file.metadata.row_group(k) for k in range(file.metadata.num_row_groups)]
    _check_size(sum(max(0, group.total_byte_size) for group in groups), limit)
    batches, size = [], 0
    # A value that is stored once for a billion rows is small in the file.
    for batch in file.iter_batches(_ROWS_AT_ONCE, use_threads=False):
        batches.append(batch)
        size += batch.nbytes
        _check_size(size, limit)
    return pa.Table.from_batches(batches, file.schema_arrow)


def _unpacked_size(stream: memoryview) -> int:
    """Return how many bytes the buffers of an Arrow stream unpack to, by their own words.

    Format: Apache Arrow, "Arrow Columnar Format", Message.fbs.
    """
    import pyarrow as pa

    total = 0
    for message in pa.ipc.MessageReader.open_stream(pa.BufferReader(stream)):
        if message.type not in ("record batch", "dictionary"):
            continue
        flat, body = memoryview(message.metadata), memoryview(message.body or b"")
        table = _follow(flat, _field(flat, _follow(flat, 0), 2))
        if message.type == "dictionary":
            table = _follow(flat, _field(flat, table, 1))
        if _field(flat, table, 3) is None:
            total += len(body)  # it is not compressed
            continue
        vector = _follow(flat, _field(flat, table, 2))
        n_buffers = int.from_bytes(flat[vector : vector + 4], "little")
        for k in range(min(n_buffers, len(flat) // 16)):
            place = vector + 4 + 16 * k
            begin, length = (int.from_bytes(flat[at : at + 8], "little") for at in (place, place + 8))
            if length:
                total += max(0, int.from_bytes(body[begin : begin + 8], "little", signed=True))
    return total


def _field(flat: memoryview, table: int, number: int) -> int | None:
    """Return where a field of a table is in a FlatBuffer, None if it is not there."""
    layout = table - int.from_bytes(flat[table : table + 4], "little", signed=True)
    at = layout + 4 + 2 * number
    if layout < 0 or at + 2 > layout + int.from_bytes(flat[layout : layout + 2], "little"):
        return None
    offset = int.from_bytes(flat[at : at + 2], "little")
    return table + offset if offset else None


def _follow(flat: memoryview, at: int | None) -> int:
    """Return where the table or vector is to which a field refers."""
    if at is None:
        raise _ArrowError("has a part without content; it is damaged")
    return at + int.from_bytes(flat[at : at + 4], "little")


def _joined(tables: list[Any], source: str) -> Any:
    if len(tables) == 1:
        return tables[0]
    pa = _pyarrow(source)
    try:
        return pa.concat_tables(tables)
    except pa.ArrowInvalid as error:
        raise DataError(f"{source}: the files have different columns ({str(error).splitlines()[0][:200]})") from None


def _columns(schema: Any) -> list[_Column]:
    """Return the columns of a table; the names of classes are those that Hugging Face writes."""
    features: Any = {}
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
    except (ValueError, KeyError, TypeError, RecursionError):
        features = {}
    found = []
    for field in schema:
        feature = features.get(field.name) if isinstance(features, dict) else None
        names = feature.get("names") if isinstance(feature, dict) else None
        if not (isinstance(names, list) and names and all(isinstance(name, str) for name in names)):
            names = None
        found.append(_Column(field.name, field.type, None if names is None else tuple(names)))
    return found


def _dataset(tables: dict[Part, Any], source: str, options: ReadOptions) -> Dataset:
    pa = _pyarrow(source)
    columns = _columns(tables["train"].schema)
    if len({column.name for column in columns}) < len(columns):
        raise DataError(f"{source}: two columns have the same name")
    lists = [one for one in columns if _is_list(one.type, pa)]
    pictures = [one for one in columns if _holds_pictures(one.type, pa)]
    if not lists and not pictures:
        return _table(tables, columns, source, options)
    check_no_group(source, options.group)
    images = _image_column(pictures or lists, source, columns)
    others = [one for one in columns if one not in (*lists, *pictures)]
    tables, label = _with_label(tables, others, source, columns, options)
    left = [one.name for one in columns if one not in (images, label) and one.name not in label.made_of]
    what = "images" if images in pictures else "values"
    notes = [f"{what} from the column {images.name[:40]!r}, labels from {label.name[:40]!r}"]
    notes += [f"left out: {', '.join(name[:40] for name in left[:_SHOWN])}"] if left else []
    read = _pictures if images in pictures else _pixels
    dataset = read(tables, images, label, source, options)
    return replace(dataset, notes=(*notes, *dataset.notes))


def _is_list(kind: Any, pa: Any) -> bool:
    types = pa.types
    is_list = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    return bool(is_list and (_is_list(kind.value_type, pa) or _is_number(kind.value_type, pa)))


def _is_number(kind: Any, pa: Any) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind))


def _is_bytes(kind: Any, pa: Any) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _is_text(kind: Any, pa: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or _is_bytes(kind, pa))


def _holds_pictures(kind: Any, pa: Any) -> bool:
    if not pa.types.is_struct(kind):
        return _is_bytes(kind, pa)
    return any(field.name == "bytes" and _is_bytes(field.type, pa) for field in kind)


def _image_column(found: list[_Column], source: str, columns: list[_Column]) -> _Column:
    if len(found) > 1:
        named = [one for one in found if (role := role_of(one.name)) and role.kind == "images"]
        found = named or found
    if len(found) > 1:
        raise DataError(f"{source}: it is not clear which column holds the images; it has {_listed(columns)}")
    return found[0]


def _with_label(
    tables: dict[Part, Any], found: list[_Column], source: str, columns: list[_Column], options: ReadOptions
) -> tuple[dict[Part, Any], _Column]:
    """Return the column of labels, as it is found in a CSV file, and the tables, with one made of a one-hot label."""
    pa = _pyarrow(source)
    if options.target:
        named = [one for one in found if one.name in options.target]
        if len(options.target) == len(named) == 1:
            return tables, named[0]
        raise _unclear(source, columns)
    able = [
        one for one in found if _is_number(one.type, pa) or _is_text(one.type, pa) or pa.types.is_dictionary(one.type)
    ]
    texts = {
        k: [str(cell) for table in tables.values() for cell in table.column(one.name).to_pylist()]
        for k, one in enumerate(able)
    }
    label = label_among({k: one.name for k, one in enumerate(able)}, texts, source)
    if not label.positions:
        raise _unclear(source, columns)
    if len(label.positions) == 1:
        return tables, able[label.positions[0]]
    rows = list(zip(*(texts[k] for k in label.positions), strict=True))
    marks = [marked(row) for row in rows]
    if None in marks:
        raise DataError(
            f"{source}: row {marks.index(None)} (from 0): one of the {len(label.positions)} columns of the label must "
            "be 1 and the others 0; choose another label with --target"
        )
    names = [label.classes[mark] for mark in marks if mark is not None]
    start, joined = 0, {}
    for part, table in tables.items():
        own = pa.array(names[start : start + table.num_rows], pa.string())
        joined[part] = table.append_column(_ONE_HOT, own)
        start += table.num_rows
    made_of = tuple(able[k].name for k in label.positions)
    return joined, _Column(_ONE_HOT, pa.string(), None, made_of)


def _unclear(source: str, columns: list[_Column]) -> DataError:
    return DataError(
        f"{source}: it is not clear which column holds the labels; choose one with --target: {_listed(columns)}"
    )


def _listed(columns: list[_Column]) -> str:
    more = f" and {len(columns) - _SHOWN:,} more" if len(columns) > _SHOWN else ""
    return ", ".join(f"{one.name[:40]} ({str(one.type)[:40]})" for one in columns[:_SHOWN]) + more


def _labels(table: Any, label: _Column, source: str) -> NDArray[Any]:
    """Return the labels in a column: integers, floats or texts; the names of classes if it has them."""
    pa = _pyarrow(source)
    column = table.column(label.name)
    if column.null_count:
        row = next(k for k, value in enumerate(column) if not value.is_valid)
        raise DataError(f"{source}: column {label.name[:40]!r} has no label in row {row} (from 0); leave the row out")
    if _is_number(label.type, pa):
        values: NDArray[Any] = np.asarray(column.to_numpy())
        if label.classes is not None and values.dtype.kind in "iu" and len(values):
            if values.min() < 0 or values.max() >= len(label.classes):
                raise DataError(f"{source}: a label is no index into the {len(label.classes):,} names of classes")
            return text_array([label.classes[value] for value in values.tolist()], source)
        return values
    try:
        plain = column.cast(label.type.value_type) if pa.types.is_dictionary(label.type) else column
        texts = [str(value) for value in plain.cast(pa.string()).to_pylist()]
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise DataError(f"{source}: column {label.name[:40]!r} of {label.type} cannot hold labels") from None
    return text_array(texts, source)


class _Rows(Folder):
    """Pictures in the rows of a column, as if they were the files of a folder."""

    def __init__(self, column: Any, shown: str) -> None:
        self._column, self.shown = column, shown

    def read(self, name: str, limit: int, what: str = "a picture") -> bytes:
        value = self._column[int(name.removeprefix("row "))].as_py()
        content = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(content, bytes):
            raise DataError(f"{self.shown}/{name}: holds no picture; pictures in files beside it are not read")
        if len(content) > limit:
            raise DataError(f"{self.shown}/{name}: too large to be {what}")
        return content

    def on_disk(self, names: Iterable[str]) -> AbstractContextManager[Path]:
        raise NotImplementedError

    def _listing(self) -> Listing:
        return Listing([], {}, {})


def _pictures(tables: dict[Part, Any], images: _Column, label: _Column, source: str, options: ReadOptions) -> Dataset:
    from fastnn.datasets.picture_sets import read_picture_set

    if options.task not in (None, "classification"):
        raise DataError(f"{source}: holds pictures with labels, whose task is classification, not {options.task}")
    found: dict[Part, list[Picture]] = {}
    notes: dict[str, None] = {}
    for part, table in tables.items():
        rows = _Rows(table.column(images.name), source if part == "train" else f"{source} ({part})")
        labels = _labels(table, label, source)
        if labels.dtype.kind == "f" and not (np.isfinite(labels).all() and (labels == np.rint(labels)).all()):
            raise DataError(f"{source}: column {label.name[:40]!r} holds labels that are not whole numbers")
        texts = [str(one) for one in (labels.astype(np.int64) if labels.dtype.kind == "f" else labels).tolist()]
        if label.classes is None:
            # As in a CSV file: 05 is 5.
            texts, how = canonical_labels(texts, source)
            notes |= dict.fromkeys(how)
        found[part] = [Picture(rows, f"row {k}", text) for k, text in enumerate(texts)]
    shown = _Rows(None, source)
    return turned_upright(read_picture_set(PictureSet(shown, found, notes=tuple(notes)), options), Path(source))


def _pixels(tables: dict[Part, Any], images: _Column, label: _Column, source: str, options: ReadOptions) -> Dataset:
    """Return the images, as stored, in a column of lists of pixels, or the rows in one of lists of other numbers."""
    arrays: dict[str, NDArray[Any]] = {}
    pairs: dict[Part, Pair] = {}
    for part, table in tables.items():
        names = (images.name, label.name) if part == "train" else (f"{images.name} ({part})", f"{label.name} ({part})")
        arrays[names[0]] = _values(table.column(images.name), images.name, source)
        arrays[names[1]] = _labels(table, label, source)
        pairs[part] = Pair(*names, table.num_rows)
    role = role_of(images.name)
    are_images = role is not None and role.kind == "images"
    return dataset_from(Chosen(pairs, are_images=are_images), arrays, source, options.task)


def _values(column: Any, name: str, source: str) -> NDArray[Any]:
    """Return the numbers in a column of lists of one length, which may hold lists themselves."""
    pa = _pyarrow(source)
    from pyarrow import compute

    values = column.combine_chunks()
    values = pa.concat_arrays(values.chunks) if isinstance(values, pa.ChunkedArray) else values
    shape = [len(values)]
    while _is_list(values.type, pa):
        lengths = compute.unique(compute.list_value_length(values)).to_pylist() if len(values) else []
        if values.null_count or len(lengths) != 1 or not lengths[0]:
            raise DataError(
                f"{source}: column {name[:40]!r} holds lists of different lengths; images of one file have one size"
            )
        shape.append(lengths[0])
        values = values.flatten()
    if values.null_count:
        raise DataError(f"{source}: column {name[:40]!r} holds pixels without a value")
    return np.asarray(values.to_numpy(zero_copy_only=False)).reshape(shape)


def _table(tables: dict[Part, Any], columns: list[_Column], source: str, options: ReadOptions) -> Dataset:
    """Return the data set of columns of numbers and texts, which are read as a CSV file with these columns is."""
    from fastnn.datasets.delimited import DelimitedText
    from fastnn.datasets.table import parse_table

    pa = _pyarrow(source)
    from pyarrow import csv

    lengths = {part: table.num_rows for part, table in tables.items()}
    whole = pa.concat_tables(list(tables.values()))
    sink = io.BytesIO()
    csv.write_csv(_as_plain(whole, columns, source), sink)
    dataset = _with_rows_from_0(
        lambda: parse_table(DelimitedText(sink.getvalue(), source), options.target, options.task, group=options.group)
    )
    start, parts = 0, {}
    for part, n in lengths.items():
        shown = source if part == "train" else f"{source} ({part} set)"
        taken = dataset.take(np.arange(start, start + n), source=shown) if len(lengths) > 1 else dataset
        parts[part] = taken if part == "train" else replace(taken, notes=())
        start += n
    return replace(parts["train"], test=parts.get("test"), validation=parts.get("validation"))


def _as_plain(whole: Any, columns: list[_Column], source: str) -> Any:
    """Return the columns of a table as numbers and texts, which pyarrow writes as CSV."""
    pa = _pyarrow(source)
    kept = [one for one in columns if not _LEFT_OUT.fullmatch(one.name)]
    texts = []
    for one in kept:
        column = whole.column(one.name)
        if one.classes is not None and pa.types.is_integer(one.type):
            column = pa.chunked_array([pa.array(_labels(whole, one, source).tolist(), pa.string())])
        elif pa.types.is_dictionary(one.type) or not (_is_number(one.type, pa) or pa.types.is_string(one.type)):
            column = _as_texts(column, one, source)
        texts.append(column)
    try:
        return pa.table(texts, names=[one.name for one in kept])
    except pa.ArrowException as error:
        raise DataError(f"{source}: its columns cannot be read ({str(error)[:200]}): {_listed(columns)}") from None


def _with_rows_from_0(parse: Callable[[], Dataset]) -> Dataset:
    """Return what `parse` does; its errors name rows from 0 instead of lines below one with names."""
    try:
        return parse()
    except DataError as error:
        raise DataError(_LINE.sub(lambda match: f"row {int(match[1]) - 2} (from 0)", str(error))) from None


def _as_texts(column: Any, one: _Column, source: str) -> Any:
    pa = _pyarrow(source)
    try:
        return column.cast(one.type.value_type if pa.types.is_dictionary(one.type) else pa.string())
    except pa.ArrowException:
        raise DataError(
            f"{source}: column {one.name[:40]!r} is of {str(one.type)[:60]}, neither numbers nor texts; leave it out"
        ) from None
