"""Sparse tables in the text format of SVMlight and LIBSVM: lines of a target and ``column:value`` pairs."""

from __future__ import annotations

import hashlib
import math
import re
from array import array
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from fastnn import large_arrays
from fastnn.datasets.cache import cache_key, cached
from fastnn.datasets.cells import MOST_CELLS, ranked
from fastnn.datasets.dataset import Dataset
from fastnn.datasets.delimited import LONGEST_ROW, MOST_INPUTS, is_number, shown
from fastnn.datasets.safe_read import Unpacked, map_packed, read_packed
from fastnn.datasets.sparse_parts import SparseParts
from fastnn.datasets.targets import TargetColumn, Targets, check_task, make_targets
from fastnn.errors import DataError
from fastnn.reading import text_lines

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from fastnn.datasets.safe_read import Content

_FORM = "lines of a target and pairs such as 3:0.5, a column and its value"
_PAIRS = re.compile(rb"(?:\s++[0-9]{1,9}+:[-+.0-9eEaAfFiInNtTyY]++)*+\s*+")
_LABELS = re.compile(r"[0-9]{1,9}+(,[0-9]{1,9}+)++")
_MOST_LABELS = 1 << 16
_VALUES_AT_ONCE = 1 << 16
_BYTES_AT_ONCE = 1 << 16


def read_svmlight(path: Path, task: str | None = None, spool: Path | None = None) -> Dataset:
    """Read a data set from an ``.svmlight``, ``.svm`` or ``.libsvm`` file, also with ``.gz``.

    Each line is a target and pairs of a column and its value, in the order of the columns; ``#`` begins a comment.
    Columns count from 1, or from 0 if one of them is 0. The target is a number or a text; whole numbers with commas
    between them are the labels that a row has (multilabel).

    Parameters
    ----------
    path : Path
    task : {"classification", "multilabel", "regression"}, optional
        See :func:`fastnn.datasets.targets.make_targets`.
    spool : Path, optional
        A temporary folder for the rows, if they are to be left on the disk.

    Returns
    -------
    Dataset
        Features are SparseRows of float64.

    Raises
    ------
    DataError
        If a line has another form, or a value is NaN or infinite; the message names file, line and column.
    """
    check_task(task)
    source = str(path)
    if spool is not None:
        return _parse(map_packed(path), source, task, spool)
    content = read_packed(path)
    key = hashlib.sha256(f"svmlight {cache_key(content, path.name)} {task}".encode()).hexdigest()
    return cached(key, len(content), source, lambda: _parse(content, source, task))


class _Texts:
    """The targets of all rows as texts, in few bytes each."""

    def __init__(self) -> None:
        self.content, self._n = bytearray(), 0

    def append(self, text: bytes) -> None:
        """Add the target of a row, which has no line feed."""
        self.content += text + b"\n"
        self._n += 1

    def __len__(self) -> int:
        return self._n

    def __iter__(self) -> Iterator[str]:
        # Some at a time: a copy of all is as large as all.
        start = 0
        while start < len(self.content):
            end = self.content.rfind(b"\n", start, start + _BYTES_AT_ONCE)
            end = self.content.index(b"\n", start) if end < 0 else end
            yield from self.content[start:end].decode().split("\n")
            start = end + 1


def _parse(content: Content, source: str, task: str | None, spool: Path | None = None) -> Dataset:
    texts, values, indices, lengths = _Texts(), array("d"), array("i"), array("q")
    n_values, lowest, highest = 0, MOST_INPUTS, 0
    lines = text_lines(Unpacked(content, source, on_disk=spool is not None), source, what=_FORM, longest=LONGEST_ROW)
    with SparseParts(spool) as parts:
        for number, raw in enumerate(lines, start=1):
            line = raw.partition(b"#")[0].strip()
            if not line:
                continue
            columns = _add_row(line, texts, values, f"{source}: line {number}")
            indices.extend(columns)
            lengths.append(len(columns))
            if columns:
                n_values += len(columns)
                lowest, highest = min(lowest, columns[0]), max(highest, columns[-1])
            if spool is None and n_values + len(texts) > MOST_CELLS:
                raise DataError(f"{source}: has more than {MOST_CELLS:,} values")
            if len(values) + len(lengths) > _VALUES_AT_ONCE:
                parts.append(values, indices, lengths)
                values, indices, lengths = array("d"), array("i"), array("q")
        parts.append(values, indices, lengths)
    if not n_values:
        raise DataError(f"{source}: holds no values; expected {_FORM}")
    # A file whose rows all lack column 0 looks like one that counts from 1: the note tells.
    first = 0 if lowest == 0 else 1
    width = highest - first + 1
    if width > MOST_INPUTS:
        raise DataError(f"{source}: has a column {width:,}; at most {MOST_INPUTS:,} can be learned")
    rows = parts.rows(width, first)
    targets = _targets(texts, task, source)
    how = "columns count from 0" if first == 0 else "columns count from 1 (if they count from 0, add 0:0 to a row)"
    return Dataset(rows, targets.values, targets.names, source, notes=(how, *targets.notes))


def _add_row(line: bytes, texts: _Texts, values: array[float], where: str) -> list[int]:
    """Add the target and the values of a line; return the columns of the values."""
    first, _, _ = line.partition(b" ")
    target = first.split()[0]
    pairs = re.sub(rb"^\s+qid:[0-9]+", b"", line[len(target) :])
    if not _PAIRS.fullmatch(pairs):
        wrong = next(one for one in pairs.split() if not _PAIRS.fullmatch(b" " + one))
        raise DataError(f"{where}: {shown(wrong.decode(errors='replace'))} is not a pair of a column and its value")
    parts = pairs.replace(b":", b" ").split()
    columns = list(map(int, parts[::2]))
    try:
        numbers = list(map(float, parts[1::2]))
    except ValueError:
        wrong = next(one for one in parts[1::2] if not is_number(one.decode()))
        raise DataError(f"{where}: {shown(wrong.decode())} is not a number") from None
    if not math.isfinite(sum(numbers)) and not all(map(math.isfinite, numbers)):
        column = next(column for column, value in zip(columns, numbers, strict=True) if not math.isfinite(value))
        raise DataError(f"{where}, column {column}: the value is NaN or infinite; correct it or leave it out")
    if columns != sorted(set(columns)):
        raise DataError(f"{where}: the columns are not in order, each once")
    try:
        target.decode()
    except UnicodeDecodeError:
        raise DataError(f"{where}: not UTF-8 text") from None
    texts.append(target)
    values.extend(numbers)
    return columns


def _targets(texts: _Texts, task: str | None, source: str) -> Targets:
    if b"," in texts.content:
        return _labels(texts, task, source)
    if all(map(is_number, texts)):
        numbers = np.fromiter(map(float, texts), np.float64, len(texts))
        if not np.isfinite(numbers).all():
            row = int(np.flatnonzero(~np.isfinite(numbers))[0])
            wrong = next(islice(texts, row, None))
            raise DataError(f"{source}: row {row + 1} has the target {shown(wrong)}; it must be finite")
        return make_targets([TargetColumn("target", numbers)], task, source)
    known: dict[str, int] = {}
    codes = np.fromiter((known.setdefault(text, len(known)) for text in texts), np.int64, len(texts))
    names, rank = ranked(known)
    for part in large_arrays.parts(len(codes)):
        codes[part] = rank[codes[part]]
    return make_targets([TargetColumn("target", None, names, codes)], task, source)


def _labels(texts: _Texts, task: str | None, source: str) -> Targets:
    """Return targets of several labels a row."""
    if task not in (None, "multilabel"):
        raise DataError(f"{source}: has rows with several labels; the task must be multilabel")
    found = set[int]()
    for row, text in enumerate(texts, start=1):
        if not (_LABELS.fullmatch(text) or (text.isascii() and text.isdigit() and len(text) < 10)):
            raise DataError(f"{source}: row {row} has the target {shown(text)}; labels must be whole numbers")
        found.update(map(int, text.split(",")))
    names = sorted(found)
    if len(names) > _MOST_LABELS or len(names) * len(texts) > MOST_CELLS:
        raise DataError(f"{source}: has {len(names):,} labels for {len(texts):,} rows, which is too much")
    position = {name: k for k, name in enumerate(names)}
    targets: NDArray[np.uint8] = large_arrays.zeros((len(texts), len(names)), np.uint8)
    for row, text in enumerate(texts):
        targets[row, [position[int(label)] for label in text.split(",")]] = 1
    return Targets(targets, tuple(map(str, names)), ("rows have several labels: the task is multilabel",))
