"""Rows that arrive one after the other, as CSV or as JSON lines, and the batches made of them."""

from __future__ import annotations

import codecs
import csv
import io
import re
import time
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from fastnn.datasets.class_choice import keep_classes
from fastnn.datasets.delimited import DelimitedText
from fastnn.datasets.polarity import dark_on_light
from fastnn.datasets.table import parse_table
from fastnn.errors import DataError
from fastnn.evaluation.matching import match_labels
from fastnn.reading import LINE_LIMIT, text_lines, with_line_feeds

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from fastnn.datasets.dataset import Dataset
    from fastnn.datasets.options import ReadOptions

FIRST_ROWS = 1000
"""Rows by which it is decided what the columns hold."""
BATCH_ROWS = 10_000
BATCH_SECONDS = 5.0
"""Most seconds in which the rows of a batch arrive."""
_LONGEST = 16 * LINE_LIMIT
_SOURCE = "standard input"
_LINE = re.compile(r"\bline ([0-9]+)")


def batches_of(pieces: Iterable[bytes], options: ReadOptions, known: Sequence[str] = ()) -> Iterator[Dataset]:
    """Yield the rows of a text in batches.

    The first 1,000 rows decide what the columns hold, the classes, and how images are stored; later rows must fit.

    Parameters
    ----------
    pieces : iterable of bytes
        CSV text, with or without a row of names, or JSON lines: an object with the same keys in each line, whose values
        are numbers, texts, or lists of numbers such as the pixels of an image. An empty piece says that there is
        nothing yet.
    options : ReadOptions
    known : sequence of str
        Classes that later rows may have besides those of the first ones.

    Yields
    ------
    Dataset

    Raises
    ------
    DataError
        If a row is not what the first ones are; the message names the line.
    """
    lines, n_added = _as_csv(_with_pauses(pieces))
    first = _take(lines, FIRST_ROWS + 1, patient=True)
    if not first:
        raise DataError(f"{_SOURCE}: holds no rows")
    seen = len(first)

    def parse(lines: Sequence[bytes], options: ReadOptions) -> Dataset:
        try:
            return _parse(lines, options)
        except DataError as error:
            raise DataError(_moved(str(error), len(first), seen, n_added)) from None

    begin = parse(first, options)
    n_first = len(begin)
    classes = options.classes
    if classes:
        begin = keep_classes(begin, classes)
    elif begin.task == "classification":
        begin = replace(begin, names=(*begin.names, *(name for name in known if name not in begin.names)))
    polarity = "auto" if begin.polarity is None or begin.polarity == "mixed" else begin.polarity
    kept = replace(options, polarity=polarity, task=options.task or (None if begin.is_images else begin.task))
    yield begin
    while more := _take(lines, BATCH_ROWS):
        # Behind the first rows, so that all decisions are theirs.
        both = parse([*first, *more], kept)
        batch = both.take(np.arange(n_first, len(both)))
        seen += len(more)
        yield keep_classes(batch, classes) if classes else _matched(batch, begin)


def _moved(message: str, n_first: int, seen: int, n_added: int) -> str:
    """Return an error message that counts the lines of the input, not those of the first rows and of one batch."""

    def moved(match: re.Match[str]) -> str:
        line = int(match[1])
        return f"line {max(1, (line if line <= n_first else line - n_first + seen) - n_added)}"

    return _LINE.sub(moved, message)


def _matched(batch: Dataset, first: Dataset) -> Dataset:
    """Return a batch with the classes of the first one."""
    if batch.task == "classification" and batch.names != first.names:
        try:
            batch = replace(batch, targets=match_labels(batch, first.names), names=first.names)
        except DataError:
            new = ", ".join(sorted({*batch.names} - {*first.names})[:5])
            raise DataError(
                f"{_SOURCE}: class {new} does not occur in the first {FIRST_ROWS:,} rows; name all with --classes"
            ) from None
    if batch.columns != first.columns or batch.n_inputs != first.n_inputs:
        raise DataError(
            f"{_SOURCE}: a column has a category that does not occur in the first {FIRST_ROWS:,} rows; leave it out"
        )
    return batch


def _parse(lines: Sequence[bytes], options: ReadOptions) -> Dataset:
    dataset = parse_table(DelimitedText(b"\n".join(lines), _SOURCE), options.target, options.task)
    if not dataset.is_images:
        return dataset
    found = dark_on_light(dataset.images, options.polarity)
    notes = (*dataset.notes, *found.notes())
    return replace(dataset, features=found.images, polarity=found.polarity, notes=notes)


def _take(lines: Iterator[bytes | None], most: int, *, patient: bool = False) -> list[bytes]:
    """Return the next lines, fewer if no more come in time."""
    found: list[bytes] = []
    end = time.monotonic() + BATCH_SECONDS
    for line in lines:
        if line is not None:
            found.append(line)
        if len(found) >= most or (found and not patient and time.monotonic() > end):
            break
    return found


def _as_csv(lines: Iterator[bytes | None]) -> tuple[Iterator[bytes | None], int]:
    """Return lines of CSV text as they are, JSON lines as such text, and how many lines were added at the top."""
    head = next((line for line in lines if line is not None), None)
    if head is None:
        return iter(()), 0
    head = head.removeprefix(codecs.BOM_UTF8)
    whole = chain([head], lines)
    return (_objects_as_csv(whole), 1) if head.lstrip().startswith(b"{") else (whole, 0)


def _objects_as_csv(lines: Iterator[bytes | None]) -> Iterator[bytes | None]:
    """Yield names and rows of JSON lines as lines of CSV text; None where there is nothing yet."""
    names: list[str] = []
    number = 0
    for line in lines:
        if line is None:
            yield None
            continue
        number += 1
        if not line.strip():
            continue
        row = _object(line, number)
        if not names:
            names = [*row]
            yield _csv_line(list(chain.from_iterable(_names(name, value) for name, value in row.items())))
        if [*row] != names:
            if {*row} != {*names}:
                raise DataError(f"{_SOURCE}: line {number} has other keys than the first one")
            row = {name: row[name] for name in names}
        yield _csv_line([cell for value in row.values() for cell in (value if isinstance(value, list) else [value])])


def _with_pauses(pieces: Iterable[bytes]) -> Iterator[bytes | None]:
    """Yield lines, and None for each empty piece."""
    rest = b""
    for piece in pieces:
        if not piece:
            yield None
            continue
        *whole, rest = (rest + piece).split(b"\n")
        if whole:
            yield from text_lines(with_line_feeds([b"\n".join(whole)]), _SOURCE, what="rows", longest=_LONGEST)
        if len(rest) > _LONGEST:
            raise DataError(f"{_SOURCE}: a line is longer than {_LONGEST >> 10:,} KiB")
    if rest:
        yield from text_lines(with_line_feeds([rest]), _SOURCE, what="rows", longest=_LONGEST)


def _object(line: bytes, number: int) -> dict[str, Any]:
    try:
        row = msgspec.json.decode(line, type=dict[str, float | str | list[float]])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(
            f"{_SOURCE}: line {number} is not a JSON object of numbers, texts and lists of numbers "
            f"({' '.join(str(error).split())[:100]})"
        ) from None
    if not row:
        raise DataError(f"{_SOURCE}: line {number} is an empty JSON object")
    return row


def _names(name: str, value: Any) -> list[str]:
    if not isinstance(value, list):
        return [name]
    stem = "pixel" if name.lower() in ("image", "pixels") else f"{name} "
    return [f"{stem}{k}" for k in range(len(value))]


def _csv_line(cells: Sequence[Any]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(
        [f"{cell:.17g}" if isinstance(cell, float) else cell for cell in cells]
    )
    return text.getvalue().encode()
