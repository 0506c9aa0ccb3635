"""Tables in Parquet, Arrow and Feather files: in memory, or read some rows at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from fastnn.datasets.arrow_library import pyarrow
from fastnn.datasets.arrow_types import is_text
from fastnn.datasets.safe_read import LIMIT, map_packed, read_packed, unpacked_limit
from fastnn.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

_ROWS_AT_ONCE = 4096
_BYTES_AT_ONCE = 1 << 24
"""Rows and bytes that are read at a time if they are left on the disk."""


class ArrowTable(Protocol):
    """The rows of all files of one part of a data set.

    Attributes
    ----------
    schema : pyarrow.Schema
    num_rows : int
    """

    @property
    def schema(self) -> Any:
        """Names and types of the columns."""

    @property
    def num_rows(self) -> int:
        """Number of rows."""

    def columns(self, names: Sequence[str]) -> Any:
        """Return some columns as a table in memory."""

    def batches(self, names: Sequence[str], first: int = 0) -> Iterator[Any]:
        """Yield tables with some of the rows of these columns, beginning at a row."""


class MemoryTable:
    """Rows in memory; see :class:`ArrowTable`."""

    def __init__(self, table: Any) -> None:
        self._table, self.schema, self.num_rows = table, table.schema, table.num_rows

    @classmethod
    def read(cls, paths: Sequence[Path], source: str) -> MemoryTable:
        """Return the rows of files, one after the other; DataError if one is damaged or has other columns."""
        tables = [_read(path) for path in paths]
        return cls(tables[0] if len(tables) == 1 else _joined(tables, source))

    def columns(self, names: Sequence[str]) -> Any:
        """Return some columns as a table."""
        return self._table.select(list(names))

    def batches(self, names: Sequence[str], first: int = 0) -> Iterator[Any]:
        """Yield the rows from one on, all at once."""
        yield self.columns(names).slice(first)


class DiskTable:
    """Rows that are left on the disk; see :class:`ArrowTable`."""

    def __init__(self, files: Sequence[ArrowFile], source: str) -> None:
        self._files = files
        if len(files) > 1:
            _joined([file.schema.empty_table() for file in files], source)
        self.schema, self.num_rows = files[0].schema, sum(file.num_rows for file in files)

    def columns(self, names: Sequence[str]) -> Any:
        """Return some columns as a table in memory."""
        return pyarrow().concat_tables(list(self.batches(names)))

    def batches(self, names: Sequence[str], first: int = 0) -> Iterator[Any]:
        """Yield some rows at a time, from one on."""
        for file in self._files:
            if first < file.num_rows:
                yield from file.batches(names, first)
            first = max(0, first - file.num_rows)


class ArrowFile:
    """A file whose rows are left on the disk.

    Parameters
    ----------
    path : Path

    Attributes
    ----------
    path : Path
    schema : pyarrow.Schema
    num_rows : int
    is_parquet : bool

    Raises
    ------
    DataError
        If it is no Parquet or Arrow file, damaged, or without rows.
    """

    def __init__(self, path: Path) -> None:
        pa = pyarrow(str(path))
        self.path, self._content = path, map_packed(path)
        self._limit = unpacked_limit(len(self._content), LIMIT)
        self.is_parquet = self._content[:4] == b"PAR1"
        try:
            if self.is_parquet:
                self._parquet = pa.parquet.ParquetFile(pa.BufferReader(pa.py_buffer(self._content)), pre_buffer=False)
                self.schema, self.num_rows = self._parquet.schema_arrow, self._parquet.metadata.num_rows
            else:
                self._stream = _stream(self._content)
                self.num_rows, size = _announced(self._stream)
                _check_size(size, self._limit)
                self.schema = pa.ipc.open_stream(pa.BufferReader(self._stream)).schema
        except Exception as error:
            raise _damaged(path, error) from None
        if not self.num_rows:
            raise DataError(f"{path}: holds no rows")

    def batches(self, names: Sequence[str], first: int = 0) -> Iterator[Any]:
        """Yield checked tables with some of the rows, from one on; their size is limited by that of the file.

        Raises
        ------
        DataError
            If the file is damaged.
        """
        pa = pyarrow(str(self.path))
        size = size_of_texts = 0
        try:
            for batch in self._from_parquet(names, first) if self.is_parquet else self._from_stream(names, first):
                table = pa.Table.from_batches([batch]).select(list(names))
                size += _size_without_dictionaries(table)
                _check_size(max(size, table.nbytes), self._limit)
                table.validate(full=True)
                size_of_texts += _size_of_values(table)
                _check_size(size_of_texts, self._limit)
                for start in range(0, table.num_rows, _ROWS_AT_ONCE):
                    yield table.slice(start, _ROWS_AT_ONCE)
        # See _read; what is raised where a table is used is not raised here.
        except Exception as error:
            raise _damaged(self.path, error) from None

    def _from_parquet(self, names: Sequence[str], first: int) -> Iterator[Any]:
        metadata, size, skipped = self._parquet.metadata, 1, 0
        groups: list[int] = []
        for k in range(metadata.num_row_groups):
            group = metadata.row_group(k)
            if not groups and first >= skipped + group.num_rows:
                skipped += group.num_rows
                continue
            groups.append(k)
            size = max(size, group.total_byte_size // max(1, group.num_rows))
        # Pictures may take megabytes each.
        rows = min(_ROWS_AT_ONCE, max(1, _BYTES_AT_ONCE // size))
        batches = self._parquet.iter_batches(rows, row_groups=groups, columns=list(names), use_threads=False)
        return _from_row(batches, first - skipped)

    def _from_stream(self, names: Sequence[str], first: int) -> Iterator[Any]:
        pa = pyarrow(str(self.path))
        fields = sorted(self.schema.get_field_index(name) for name in names)
        options = pa.ipc.IpcReadOptions(included_fields=fields, use_threads=False)
        return _from_row(pa.ipc.open_stream(pa.BufferReader(self._stream), options=options), first)


def _from_row(batches: Iterable[Any], first: int) -> Iterator[Any]:
    """Yield batches of rows without the first rows."""
    for batch in batches:
        if first < batch.num_rows:
            yield batch.slice(first)
        first = max(0, first - batch.num_rows)


def _stream(content: Any) -> memoryview:
    """Return the stream in an Arrow file: behind its first eight bytes, with a table of contents at its end."""
    if content[:4] == b"FEA1":
        raise _ArrowError("is of the first version of Feather; write it again with pyarrow.feather")
    return memoryview(content)[8 if content[:6] == b"ARROW1" else 0 :]


def _damaged(path: Path, error: Exception) -> DataError:
    if isinstance(error, _ArrowError):
        return DataError(f"{path}: {error}")
    text = " ".join(str(error).split())[:200]
    return DataError(f"{path}: not a Parquet or Arrow file, or damaged ({text})")


def _read(path: Path) -> Any:
    """Return the table in a file; its size is checked before it is read, and while it is."""
    pa = pyarrow(str(path))
    content = read_packed(path)
    limit = unpacked_limit(len(content))
    try:
        if content[:4] == b"PAR1":
            table = _parquet(content, limit)
        else:
            stream = _stream(content)
            _check_size(_announced(stream)[1], limit)
            table = pa.ipc.open_stream(pa.BufferReader(stream)).read_all()
        _check_size(table.nbytes, limit)
        table.validate(full=True)
        _check_size(_size_of_values(table), limit)
    # pyarrow raises its own exceptions and those of Python for damaged bytes, also for sizes that no memory has.
    except Exception as error:
        raise _damaged(path, error) from None
    if not table.num_rows:
        raise DataError(f"{path}: holds no rows")
    return table


class _ArrowError(Exception):
    """What is wrong in a file that is not damaged."""


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        raise _ArrowError(f"unpacks to {size >> 20:,} MiB or more, too much for its compressed size")


def _size_without_dictionaries(table: Any) -> int:
    """Return the bytes of a part of a table; it has the dictionaries of the whole, or again those of other parts."""
    types = pyarrow().types
    return sum(
        chunk.indices.nbytes if types.is_dictionary(chunk.type) else chunk.nbytes
        for column in table.columns
        for chunk in column.chunks
    )


def _size_of_values(table: Any) -> int:
    """Return at least how many bytes the values take if each is written out: those of dictionaries, and nulls, too."""
    pa = pyarrow()
    total = table.num_rows * table.num_columns
    for column in table.columns:
        for chunk in column.chunks if pa.types.is_dictionary(column.type) else ():
            if is_text(chunk.dictionary.type, pa):
                lengths = pa.compute.binary_length(chunk.dictionary)
                total += pa.compute.sum(pa.compute.take(lengths, chunk.indices)).as_py() or 0
    return int(total)


def _parquet(content: bytes, limit: int) -> Any:
    pa = pyarrow()
    file = pa.parquet.ParquetFile(pa.BufferReader(content), pre_buffer=False)
    groups = [file.metadata.row_group(k) for k in range(file.metadata.num_row_groups)]
    _check_size(sum(max(0, group.total_byte_size) for group in groups), limit)
    batches, size = [], 0
    # A value that is stored once for a billion rows is small in the file.
    for batch in file.iter_batches(_ROWS_AT_ONCE, use_threads=False):
        batches.append(batch)
        size += batch.nbytes
        _check_size(size, limit)
    return pa.Table.from_batches(batches, file.schema_arrow)


def _announced(stream: memoryview) -> tuple[int, int]:
    """Return how many rows an Arrow stream has, and how many bytes its buffers unpack to, by their own words.

    Format: Apache Arrow, "Arrow Columnar Format", Message.fbs.
    """
    pa = pyarrow()
    rows = total = 0
    for message in pa.ipc.MessageReader.open_stream(pa.BufferReader(stream)):
        if message.type not in ("record batch", "dictionary"):
            continue
        flat, body = memoryview(message.metadata), memoryview(message.body or b"")
        table = _follow(flat, _field(flat, _follow(flat, 0), 2))
        if message.type == "dictionary":
            table = _follow(flat, _field(flat, table, 1))
        elif (length := _field(flat, table, 0)) is not None:
            rows += int.from_bytes(flat[length : length + 8], "little", signed=True)
        if _field(flat, table, 3) is None:
            total += len(body)  # it is not compressed
            continue
        vector = _follow(flat, _field(flat, table, 2))
        n_buffers = int.from_bytes(flat[vector : vector + 4], "little")
        for k in range(min(n_buffers, len(flat) // 16)):
            place = vector + 4 + 16 * k
            begin, size = (int.from_bytes(flat[at : at + 8], "little") for at in (place, place + 8))
            if size:
                total += max(0, int.from_bytes(body[begin : begin + 8], "little", signed=True))
    return rows, total


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
    pa = pyarrow(source)
    try:
        return pa.concat_tables(tables)
    except pa.ArrowInvalid as error:
        raise DataError(f"{source}: the files have different columns ({str(error).splitlines()[0][:200]})") from None
