"""Images as the rows of a CSV or TSV file: a label and one column for each pixel."""

from __future__ import annotations

import contextlib
import csv
import io
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta

from fastnn.datasets.cells import column_name
from fastnn.datasets.dataset import PIXELS, SIDE, Dataset
from fastnn.datasets.delimited import DelimitedText, is_comma_number, is_number, shown
from fastnn.datasets.emnist import upright
from fastnn.datasets.groups import group_position, number_groups
from fastnn.datasets.labels import SharedTexts, canonical_labels, encode_labels
from fastnn.datasets.mapped import row_parts
from fastnn.datasets.pixel_columns import find_pixels
from fastnn.datasets.pixel_label import Label, choose_label, marked
from fastnn.datasets.pixel_layout import AS_NUMBERS, PixelLayout, no_labels
from fastnn.datasets.pixel_values import NotPixelsError, WrongPixelError, scale_of
from fastnn.datasets.polarity import dark_on_light
from fastnn.datasets.resize import Resize
from fastnn.datasets.safe_read import map_packed, read_packed
from fastnn.datasets.spool import free_path, images_from, rows_in
from fastnn.datasets.store_files import ArrayWriter
from fastnn.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from typing import BinaryIO

    from numpy.typing import NDArray

    from fastnn.datasets.polarity import Polarity

_bytes = msgspec.json.Decoder(list[Annotated[int, Meta(ge=0, le=255)]])
_floats = msgspec.json.Decoder(list[float])
_TRUTH = {"false": "0", "true": "1"}
_FAULTS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_SHOWN = 8
_VALUES_AT_ONCE = 1 << 22
_ROWS_AT_ONCE = 1024


def parse_images(
    text: DelimitedText,
    target: Sequence[str],
    task: str | None,
    *,
    spool: Path | None = None,
    group: str | None = None,
) -> tuple[Dataset | None, tuple[str, ...]]:
    """Return the images in the rows of a table, or None if it holds other numbers, and notes on that.

    Parameters
    ----------
    text : DelimitedText
    target : sequence of str
        The label, as :func:`fastnn.datasets.pixel_columns.find_pixels` takes it.
    task : str, optional
    spool : Path, optional
        A temporary folder for the images, if they are to be left on the disk.
    group : str, optional
        The column that says which images belong together.

    Returns
    -------
    dataset : Dataset or None
        Its images are as stored, light ink or dark.
    notes : tuple of str
        Why columns that may look like pixels are read as numbers.

    Raises
    ------
    DataError
        If there are no labels, it is not clear which column holds them, or a value is not a pixel; the message names
        file, line and column.
    """
    layout, notes = find_pixels(text, target, task)
    if layout is None:
        return None, notes
    try:
        found = _read(text, layout, spool=spool)
    except NotPixelsError as reason:
        if not layout.is_header and not target:
            fix = "read the file as a table of numbers with --target and the position of the label"
            raise DataError(f"{text.source}: {reason}; {fix}, such as --target 1") from None
        return None, (f"{reason}: {AS_NUMBERS}",)
    if not found.label.positions:
        raise no_labels(text.source, "no column beside the pixels can be the label")
    labels, label_notes = _labels(found, text.source)
    indices, classes = encode_labels(labels, text.source)
    groups = None if group is None else _groups(found, layout, group, text.source)
    notes = (*found.notes, *label_notes)
    return Dataset(found.images, indices, classes, text.source, notes=notes, groups=groups), ()


def _groups(found: _Images, layout: PixelLayout, group: str, source: str) -> NDArray[np.int64]:
    """Return the number of the group of each image."""
    position = group_position(group, layout.names, source, is_header=layout.is_header)
    if position not in found.texts or position in found.label.positions:
        role = "the label" if position in found.label.positions else "a pixel"
        raise DataError(f"{source}: the column {group[:40]!r} is {role} and cannot be the group")
    return number_groups(found.texts[position], len(found.images), source)


def read_pixel_rows(
    path: Path, polarity: Polarity = "auto", spool: Path | None = None
) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Read the images in the rows of a table, with or without labels.

    Parameters
    ----------
    path : Path
        A ``.csv``, ``.tsv`` or ``.txt`` file, also with ``.gz``.
    polarity : {"auto", "dark-on-light", "light-on-dark"}
        How the images are stored.
    spool : Path, optional
        A temporary folder for the images, if they are to be left on the disk.

    Returns
    -------
    images : ndarray of uint8 or MappedRows, shape (n, 784)
        255 = paper.
    notes : tuple of str
        How they were read.

    Raises
    ------
    DataError
        If the columns are not pixels, or a value is not one; the message names file, line and column.
    """
    content = read_packed(path) if spool is None else map_packed(path)
    text = DelimitedText(content, str(path), on_disk=spool is not None)
    layout, notes = find_pixels(text, needs_label=False)
    if layout is None:
        why = notes[0] if notes else f"its {len(text.first):,} columns are not the pixels of images"
        raise DataError(f"{path}: {why}; the model takes images of {SIDE}x{SIDE} pixels")
    try:
        found = _read(text, layout, needs_label=False, spool=spool)
    except NotPixelsError as reason:
        raise DataError(f"{path}: {reason}") from None
    turned = dark_on_light(found.images, polarity)
    images, note = upright(turned.images, text.source)
    return images, (*found.notes, *turned.notes(), *([note] if note else []))


@dataclass(frozen=True, eq=False)
class _Images:
    """Images as stored, and the columns beside them.

    Attributes
    ----------
    images : ndarray of uint8, shape (n, 784)
    lines : array of int
        Line number of each row.
    texts : dict of int to list of str
        Cells of the columns that are not pixels, by position.
    label : Label
    notes : tuple of str
    """

    images: NDArray[np.uint8]
    lines: array[int]
    texts: dict[int, list[str]]
    label: Label
    notes: tuple[str, ...]


class _NotWholeError(Exception):
    """A value is not a whole number from 0 to 255, so that all of them must be written as floats."""


def _read(text: DelimitedText, layout: PixelLayout, *, needs_label: bool = True, spool: Path | None = None) -> _Images:
    """Read the rows; NotPixelsError if their values are on no scale of pixels.

    With a `spool`, they are left there.
    """
    rows, values = _values(text, layout, spool)
    if text.delimiter != ",":
        for k, cells in rows.texts.items():
            rows.texts[k] = [cell.replace(",", ".") if is_comma_number(cell) else cell for cell in cells]
    label = choose_label(layout, rows.texts, text.source) if needs_label else Label(())
    names = [layout.names[k] for k in layout.order]
    try:
        scale = scale_of(values)
    except WrongPixelError as fault:
        where = f"line {rows.lines[fault.row]}, {column_name(names[fault.column])}"
        raise DataError(f"{text.source}: {where}: {fault}") from None
    left_out = [k for k in layout.others if k not in label.positions]
    how = [*layout.notes, *([label.how] if label.how else [])]
    how += [f"left out: {_listed(layout, left_out)}"] if left_out else []
    resize = Resize(layout.side, layout.side)
    notes = [text.how, "; ".join(how), scale.note, resize.note]
    images = values
    if scale.convert is not None or resize.is_needed:
        images = images_from((resize(scale(part)) for part in row_parts(values, _ROWS_AT_ONCE)), len(values), spool)
    return _Images(images, rows.lines, rows.texts, label, tuple(filter(None, notes)))


def _values(text: DelimitedText, layout: PixelLayout, spool: Path | None) -> tuple[_Rows, Any]:
    """Return the rows, and the values of their pixels: in memory, or left on the disk."""
    if spool is None:
        rows = _Rows(text, layout)
        return rows, rows.read()
    path, width = free_path(spool), (len(layout.order),)
    try:
        with ArrayWriter(path, np.dtype(np.uint8), width) as writer:
            rows = _Rows(text, layout, writer)
            rows.read()
    except _NotWholeError:
        path.unlink()
        with ArrayWriter(path, np.dtype(np.float32), width) as writer:
            rows = _Rows(text, layout, writer, as_floats=True)
            rows.read()
    return rows, rows_in(path)


def _listed(layout: PixelLayout, positions: Sequence[int]) -> str:
    names = [
        f"column {shown(name)}" if layout.is_header and (name := layout.names[k]) else f"column {k + 1}"
        for k in positions
    ]
    more = f" and {len(names) - _SHOWN:,} more columns" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


class _Rows:
    """The values of pixels and the other cells of all rows.

    Attributes
    ----------
    lines : array of int
    texts : dict of int to list of str
    """

    def __init__(
        self, text: DelimitedText, layout: PixelLayout, writer: ArrayWriter | None = None, *, as_floats: bool = False
    ) -> None:
        self._writer = writer
        self._text, self._layout = text, layout
        self._n_columns = len(layout.names)
        self.lines = array("q")
        self.texts: dict[int, list[str]] = {k: [] for k in layout.others}
        self._others = [(column, SharedTexts()) for column in self.texts.values()]
        begin = int(layout.order.min())
        n = len(layout.order)
        self._is_block = int(layout.order.max()) - begin + 1 == n
        # Cells before and behind the pixels, if these are one block.
        self._before, self._behind = begin, self._n_columns - begin - n
        # Most files hold whole numbers; with the first other number all become floats.
        self._bytes = bytearray()
        self._floats: array[float] | None = array("f") if as_floats else None

    def read(self) -> NDArray[Any]:
        """Return the values of pixels in their order, uint8 or float32, shape (n, k).

        With a writer, they are written to its file, and none is returned.
        """
        layout, text = self._layout, self._text
        lines: Iterator[tuple[int, bytes]] = text.lines()
        if layout.is_header or layout.first_row is not None:
            first = next(lines)
            if layout.first_row is not None:
                self._add(first[0], layout.first_row)
        for number, line in lines:
            self._add(number, line)
            if self._writer is not None and len(self._stored) > _VALUES_AT_ONCE:
                self._write()
        if not self.lines:
            raise DataError(f"{text.source}: holds names of columns, but no rows")
        if self._writer is not None:
            self._write()
        return self._in_order()

    def _write(self) -> None:
        """Write the rows that have been read since the last call."""
        if self._writer is not None:
            self._writer.append(self._in_order())
            self._bytes = bytearray()
            self._floats = None if self._floats is None else array("f")

    @property
    def _stored(self) -> bytearray | array[float]:
        """The values of rows that are not written yet."""
        return self._bytes if self._floats is None else self._floats

    def _in_order(self) -> NDArray[Any]:
        order = self._layout.order
        dtype = np.uint8 if self._floats is None else np.float32
        values = np.frombuffer(self._stored, dtype).reshape(-1, len(order))
        if self._is_block and (np.diff(order) > 0).all():
            return values
        return np.take(values, order - self._before, axis=1) if self._is_block else values

    def _add(self, number: int, line: bytes) -> None:
        """Add a row; the quick ways are for rows without quotes whose numbers are those of JSON."""
        if not (self._is_block and b'"' not in line and self._add_block(line)):
            cells = self._text.cells_of(line, number)
            # Blanks in quotes belong to a label.
            self._add_cells(cells if b'"' in line else [cell.strip() for cell in cells], number)
        self.lines.append(number)

    def _add_block(self, line: bytes) -> bool:
        """Add a row whose pixels are one block; False if that is not possible."""
        separator = self._text.line_separator
        before = line.split(separator, self._before)
        if len(before) <= self._before:
            return False
        behind = before.pop().rsplit(separator, self._behind)
        pixels = behind.pop(0)
        if len(behind) != self._behind:
            return False
        if separator != b",":
            pixels = pixels.replace(b",", b".").replace(separator, b",")
        try:
            others = [cell.decode().strip() for cell in (*before, *behind)]
        except UnicodeDecodeError:
            return False
        return self._add_values(pixels) and self._add_others(others)

    def _add_values(self, pixels: bytes) -> bool:
        """Add the pixels of a row, separated by commas; False if they are not as many numbers, written as in JSON."""
        pixels = b"[%b]" % pixels
        n = len(self._layout.order)
        try:
            if self._floats is None:
                with contextlib.suppress(msgspec.ValidationError):
                    whole = _bytes.decode(pixels)
                    self._bytes += bytes(whole) if len(whole) == n else b""
                    return len(whole) == n
            fractions = _floats.decode(pixels)
        except _FAULTS:
            return False
        if len(fractions) == n:
            self._use_floats().fromlist(fractions)
        return len(fractions) == n

    def _add_cells(self, cells: list[str], number: int) -> None:
        """Add a row whose cells are written in any way."""
        if len(cells) != self._n_columns:
            raise self._text.width_fault(number, len(cells))
        order = range(self._before, self._n_columns - self._behind) if self._is_block else self._layout.order.tolist()
        pixels = [cells[position].strip() for position in order]
        if self._text.delimiter != ",":
            pixels = [cell.replace(",", ".") if is_comma_number(cell) else cell for cell in pixels]
        if not self._add_values(",".join(pixels).encode()):
            pixels = [_TRUTH.get(cell.lower(), cell) for cell in pixels]
            wrong = next((k for k, cell in enumerate(pixels) if not is_number(cell)), None)
            if wrong is not None:
                raise self._not_a_pixel(number, order[wrong], pixels[wrong])
            self._use_floats().fromlist([float(cell) for cell in pixels])
        self._add_others([cells[k] for k in self.texts])

    def _not_a_pixel(self, line: int, position: int, cell: str) -> DataError:
        fault = f"{shown(cell)} is not a number" if cell else "the cell is empty"
        where = f"line {line}, {column_name(self._layout.names[position])}"
        return DataError(f"{self._text.source}: {where}: {fault}; correct it, or leave the row out")

    def _use_floats(self) -> array[float]:
        if self._floats is None:
            if self._writer is not None:
                raise _NotWholeError
            self._floats = array("f", np.frombuffer(self._bytes, np.uint8).astype(np.float32).tobytes())
            self._bytes = bytearray()
        return self._floats

    def _add_others(self, others: Sequence[str]) -> bool:
        """Add the cells that are not pixels; always True."""
        for (column, shared), cell in zip(self._others, others, strict=True):
            column.append(shared.of(cell))
        return True


def _labels(found: _Images, source: str) -> tuple[list[str], tuple[str, ...]]:
    """Return the label of each image as text, and notes."""
    positions = found.label.positions
    if len(positions) == 1:
        texts = found.texts[positions[0]]
        if "" in texts:
            line = found.lines[texts.index("")]
            raise DataError(f"{source}: line {line}: '' cannot be a label; fill it in, or leave the row out")
        return canonical_labels(texts, source)
    columns = [found.texts[k] for k in positions]
    labels = []
    for line, row in zip(found.lines, zip(*columns, strict=True), strict=True):
        mark = marked(row)
        if mark is None:
            raise DataError(
                f"{source}: line {line}: one of the {len(row)} columns of the label must be 1 and the others 0; choose "
                "another label with --target"
            )
        labels.append(found.label.classes[mark])
    return labels, ()


def write_csv(dataset: Dataset, file: BinaryIO) -> None:
    """Write a data set as rows of label and pixels below a row of column names, without its test set."""
    read, _ = canonical_labels(dataset.classes, dataset.source)
    changed = [name for name, again in zip(dataset.classes, read, strict=True) if name != again]
    if changed:
        raise DataError(f"{dataset.source}: class {shown(changed[0])} would be read back as a number; write it as .npz")
    text = io.StringIO()
    names = csv.writer(text, lineterminator="")
    starts = []
    for name in dataset.classes:
        text.seek(text.truncate(0))
        names.writerow([name])
        # csv adds the quotes that are needed, except around names with blanks at the ends, which a reader would strip.
        quoted = text.getvalue() if name == name.strip() else f'"{name.replace(chr(34), chr(34) * 2)}"'
        starts.append(quoted.encode())
    header = ["label", *(f"pixel{position}" for position in range(PIXELS))]
    file.write(",".join(header).encode() + b"\n")
    file.writelines(
        starts[label] + b"," + msgspec.json.encode(image.tolist())[1:-1] + b"\n"
        for image, label in zip(dataset.images, dataset.labels.tolist(), strict=True)
    )
