"""Sparse tables in the text format of SVMlight and LIBSVM: lines of a target and ``column:value`` pairs."""

from __future__ import annotations

import hashlib
import re
from array import array
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from fastnn.datasets.cache import cache_key, cached
from fastnn.datasets.cells import MOST_CELLS
from fastnn.datasets.dataset import Dataset
from fastnn.datasets.delimited import LONGEST_ROW, MOST_INPUTS, is_number, shown
from fastnn.datasets.safe_read import Unpacked, read_packed
from fastnn.datasets.sparse import SparseRows
from fastnn.datasets.targets import TargetColumn, Targets, check_task, make_targets
from fastnn.errors import DataError
from fastnn.reading import text_lines

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_FORM = "lines of a target and pairs such as 3:0.5, a column and its value"
_PAIRS = re.compile(rb"(?:\s++[0-9]{1,9}+:[-+.0-9eEaAfFiInNtTyY]++)*+\s*+")
_LABELS = re.compile(r"[0-9]{1,9}+(,[0-9]{1,9}+)++")
_MOST_LABELS = 1 << 16


def read_svmlight(path: Path, task: str | None = None) -> Dataset:
    """Read a data set from an ``.svmlight``, ``.svm`` or ``.libsvm`` file, also with ``.gz``.

    Each line is a target and pairs of a column and its value, in the order of the columns; ``#`` begins a comment.
    Columns count from 1, or from 0 if one of them is 0. The target is a number or a text; whole numbers with commas
    between them are the labels that a row has (multilabel).

    Parameters
    ----------
    path : Path
    task : {"classification", "multilabel", "regression"}, optional
        See :func:`fastnn.datasets.targets.make_targets`.

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
    content, source = read_packed(path), str(path)
    key = hashlib.sha256(f"svmlight {cache_key(content, path.name)} {task}".encode()).hexdigest()
    return cached(key, len(content), source, lambda: _parse(content, source, task))


def _parse(content: bytes | bytearray, source: str, task: str | None) -> Dataset:
    texts, values, indices, starts = list[str](), array("d"), array("i"), array("q", [0])
    lines = text_lines(Unpacked(content, source), source, what=_FORM, longest=LONGEST_ROW)
    for number, raw in enumerate(lines, start=1):
        line = raw.partition(b"#")[0].strip()
        if line:
            texts.append(_add_row(line, values, indices, f"{source}: line {number}"))
            starts.append(len(values))
            if len(values) + len(texts) > MOST_CELLS:
                raise DataError(f"{source}: has more than {MOST_CELLS:,} values")
    if not values:
        raise DataError(f"{source}: holds no values; expected {_FORM}")
    columns = np.array(indices, dtype=np.int32)
    # A file whose rows all lack column 0 looks like one that counts from 1: the note tells.
    first = 0 if columns.min() == 0 else 1
    columns -= first
    width = int(columns.max(initial=0)) + 1
    if width > MOST_INPUTS:
        raise DataError(f"{source}: has a column {width:,}; at most {MOST_INPUTS:,} can be learned")
    rows = SparseRows(np.array(values), columns, np.array(starts, dtype=np.int64), width)
    targets = _targets(texts, task, source)
    how = "columns count from 0" if first == 0 else "columns count from 1 (if they count from 0, add 0:0 to a row)"
    return Dataset(rows, targets.values, targets.names, source, notes=(how, *targets.notes))


def _add_row(line: bytes, values: array[float], indices: array[int], where: str) -> str:
    """Add the pairs of a line to the arrays; return its target."""
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
        found = np.array(numbers)
    except ValueError:
        wrong = next(one for one in parts[1::2] if not is_number(one.decode()))
        raise DataError(f"{where}: {shown(wrong.decode())} is not a number") from None
    if not np.isfinite(found).all():
        column = columns[int(np.flatnonzero(~np.isfinite(found))[0])]
        raise DataError(f"{where}, column {column}: the value is NaN or infinite; correct it or leave it out")
    if any(left >= right for left, right in pairwise(columns)):
        raise DataError(f"{where}: the columns are not in order, each once")
    values.extend(numbers)
    indices.extend(columns)
    try:
        return target.decode()
    except UnicodeDecodeError:
        raise DataError(f"{where}: not UTF-8 text") from None


def _targets(texts: list[str], task: str | None, source: str) -> Targets:
    if any("," in text for text in texts):
        return _labels(texts, task, source)
    if all(map(is_number, texts)):
        numbers = np.array([float(text) for text in texts])
        if not np.isfinite(numbers).all():
            row = int(np.flatnonzero(~np.isfinite(numbers))[0])
            raise DataError(f"{source}: row {row + 1} has the target {shown(texts[row])}; it must be finite")
        return make_targets([TargetColumn("target", numbers)], task, source)
    unique, codes = np.unique(np.array(texts, dtype=object), return_inverse=True)
    names = tuple(str(text) for text in unique)
    return make_targets([TargetColumn("target", None, names, codes.astype(np.int64))], task, source)


def _labels(texts: list[str], task: str | None, source: str) -> Targets:
    """Return targets of several labels a row."""
    if task not in (None, "multilabel"):
        raise DataError(f"{source}: has rows with several labels; the task must be multilabel")
    rows = []
    for row, text in enumerate(texts, start=1):
        if not (_LABELS.fullmatch(text) or (text.isascii() and text.isdigit() and len(text) < 10)):
            raise DataError(f"{source}: row {row} has the target {shown(text)}; labels must be whole numbers")
        rows.append({int(label) for label in text.split(",")})
    names = sorted(set().union(*rows))
    if len(names) > _MOST_LABELS or len(names) * len(rows) > MOST_CELLS:
        raise DataError(f"{source}: has {len(names):,} labels for {len(rows):,} rows, which is too much")
    position = {name: k for k, name in enumerate(names)}
    targets: NDArray[np.uint8] = np.zeros((len(rows), len(names)), dtype=np.uint8)
    for row, labels in enumerate(rows):
        targets[row, [position[label] for label in labels]] = 1
    return Targets(targets, tuple(map(str, names)), ("rows have several labels: the task is multilabel",))
