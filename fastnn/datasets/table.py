"""Tables in CSV and TSV files: columns of numbers, and of texts that become one input for each category."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import numpy as np

from fastnn.datasets.cache import cache_key, cached
from fastnn.datasets.cells import Cells, Kind, Table, column_name, position_name
from fastnn.datasets.columns import Column, total_width
from fastnn.datasets.dataset import Dataset
from fastnn.datasets.delimited import DelimitedText, has_header, is_tsv, shown
from fastnn.datasets.groups import group_position
from fastnn.datasets.label_names import INDEX_NAMES
from fastnn.datasets.safe_read import map_packed, read_packed
from fastnn.datasets.sparse import SparseRows
from fastnn.datasets.table_inputs import TableInputs, check_width, is_row_counter
from fastnn.datasets.targets import TargetColumn, check_task, make_targets
from fastnn.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

TARGET_NAMES = ("target", "label", "class", "y")
"""Names of a column that is the target if none is given."""

_KINDS: dict[str, Kind] = {"classification": "text", "regression": "number"}
"""What the cells of a target must hold for a task, if not one of both."""
_FEWEST_COUNTED = 3
"""Fewest rows that can be counted."""
_LONGEST_NAME = 1000
_SHOWN = 8


def read_table(
    path: Path,
    target: Sequence[str],
    task: str | None,
    *,
    spool: Path | None = None,
    group: str | None = None,
) -> Dataset:
    """Read a data set from a ``.csv`` or ``.tsv`` file, also with ``.gz``.

    Columns are separated by commas, semicolons, tabs, vertical bars or blanks. A first row that holds no number is
    taken for the names of the columns. Columns of pixels are images, see
    :func:`fastnn.datasets.pixel_columns.find_pixels`. Other columns of numbers are inputs as they are; columns of texts
    are categories, one input of 0 or 1 for each. Numbers of a file that is not separated by commas may have decimal
    commas. The notes of the data set say what of this was found.

    Parameters
    ----------
    path : Path
    target : sequence of str
        Names of the columns to learn, or in a table without names their positions, from 1. If there are none, the
        column named target, label, class or y is used, if there is exactly one.
    task : {"classification", "multilabel", "regression"}, optional
        See :func:`fastnn.datasets.targets.make_targets`.
    spool : Path, optional
        A temporary folder for images and rows, if they are to be left on the disk.
    group : str, optional
        The column that says which rows belong together; it is no input.

    Returns
    -------
    Dataset
        Images as stored, light ink or dark; or features that are float64, or SparseRows if there are categories.

    Raises
    ------
    DataError
        If a cell is empty, NaN or infinite, a column holds numbers and texts, rows have different lengths, or the
        target is not clear; the message names file, line and column.
    """
    check_task(task)
    source = str(path)
    if spool is not None:
        return parse_table(
            DelimitedText(map_packed(path), source, on_disk=True), target, task, spool=spool, group=group
        )
    content = read_packed(path)
    if group is not None:
        # The cache keeps no groups.
        return parse_table(DelimitedText(content, source), target, task, group=group)
    key = cache_key(content, path.name)
    asked = (tuple(target), task, is_tsv(path.name))
    if any(asked):
        key = hashlib.sha256(f"{key} {asked}".encode(errors="surrogateescape")).hexdigest()

    return cached(key, len(content), source, lambda: parse_table(DelimitedText(content, source), target, task))


def parse_table(
    text: DelimitedText,
    target: Sequence[str],
    task: str | None,
    *,
    spool: Path | None = None,
    group: str | None = None,
) -> Dataset:
    """Return the data set in the rows of a text table; parameters and errors as for :func:`read_table`."""
    from fastnn.datasets.csv_rows import parse_images

    images, notes = parse_images(text, target, task, spool=spool, group=group)
    if images is not None:
        return images
    table = _parse(text, target, task, group, spool)
    return replace(table, notes=(*notes, *table.notes))


@dataclass(frozen=True)
class _Names:
    """The names of all columns, and which of them are left out.

    Attributes
    ----------
    all : tuple of str
    left_out : frozenset of int
        Positions.
    is_header : bool
        Whether the names are the first row.
    notes : tuple of str
    """

    all: tuple[str, ...]
    left_out: frozenset[int]
    is_header: bool
    notes: tuple[str, ...]


def _parse(
    text: DelimitedText, target: Sequence[str], task: str | None, group: str | None, spool: Path | None
) -> Dataset:
    names = _names_of(text, target)
    grouped = None
    if group is not None:
        grouped = group_position(group, names.all, text.source, is_header=names.is_header)
        names = replace(names, left_out=names.left_out - {grouped})
    # The column of groups is no target either, unless it is asked for.
    choice = names if grouped is None else replace(names, left_out=names.left_out | {grouped})
    chosen, how_chosen = _choose_target(choice, target, text)
    table = Table(text.source, takes_commas=text.delimiter != ",", is_bounded=spool is None)
    cells: list[Cells | None] = [None if k in names.left_out else Cells(name) for k, name in enumerate(names.all)]
    # Classes may be mixed, such as 1, 2 and 2b; other columns may not.
    for k in chosen:
        cells[k] = Cells(names.all[k], _KINDS.get(task or ""))
    if grouped is not None:
        cells[grouped] = Cells(names.all[grouped], "text")
    inputs = TableInputs(
        [cell for k, cell in enumerate(cells) if cell is not None and k not in chosen and k != grouped], spool
    )
    n = inputs.read(table, cells, text.rows(header=names.is_header))
    if not n:
        raise DataError(f"{text.source}: holds names of columns, but no rows")
    targets = make_targets([_target_column(cell) for k in chosen if (cell := cells[k])], task, text.source)
    groups = None if grouped is None else np.asarray(cast(Cells, cells[grouped]).codes, dtype=np.int64)
    index = _indices(inputs, n) if len(inputs.cells) > 1 else []
    inputs.leave_out(index)
    numbered = [f"{column_name(name)} counts the rows and is left out; rename it to use it" for name in index]
    if not inputs.cells:
        raise DataError(f"{text.source}: has no column besides the target; at least one input is needed")
    cells.clear()
    features, columns = _features(inputs, text.source)
    form = [text.how] if text.how else []
    form += ["numbers have decimal commas"] if table.has_decimal_commas else []
    how_read = ["; ".join(form)] if form else []
    found = [*_category_notes(columns, n), *_count_notes(columns, features)]
    notes = (*how_read, *names.notes, *numbered, *how_chosen, *found, *targets.notes)
    return Dataset(features, targets.values, targets.names, text.source, notes=notes, columns=columns, groups=groups)


def _indices(inputs: TableInputs, n: int) -> list[str]:
    """Return the names of columns that are named as an index and count the rows."""
    return [
        cells.name
        for k, cells in enumerate(inputs.cells)
        if n >= _FEWEST_COUNTED
        and cells.kind == "number"
        and cells.name.casefold() in INDEX_NAMES
        and inputs.counts_rows(k)
    ]


def _names_of(text: DelimitedText, wanted: Sequence[str]) -> _Names:
    source = text.source
    if not has_header(text, wanted):
        n = len(text.first)
        names = tuple(map(position_name, range(n)))
        return _Names(names, frozenset(), False, (f"there is no row of names; the columns are numbered 1 to {n:,}",))
    left_out, notes = set(), []
    for k, name in enumerate(text.first):
        # pandas gives an index without name this one when it reads and writes it again.
        if k == 0 and name in ("", "Unnamed: 0") and name not in wanted:
            left_out.add(k)
            notes.append("the first column has no name and is left out; give it a name to use it")
        elif not name or not name.isprintable():
            fault = "is empty" if not name else f"{shown(name)} has characters that cannot be printed"
            raise DataError(f"{source}: the name of column {k + 1} {fault}; give every column a name in the first row")
        elif len(name) > _LONGEST_NAME:
            raise DataError(f"{source}: the name of column {k + 1} has more than {_LONGEST_NAME:,} characters")
    name, times = Counter(text.first).most_common(1)[0]
    if times > 1:
        raise DataError(
            f"{source}: {times} columns are named {shown(name)}; give each its own name (if the first row holds no "
            "names, put one of names above it, or give the target by its position, such as --target 1)"
        )
    return _Names(tuple(text.first), frozenset(left_out), True, tuple(notes))


def _choose_target(names: _Names, wanted: Sequence[str], text: DelimitedText) -> tuple[list[int], tuple[str, ...]]:
    """Return the positions of the target's columns, and notes that say how they were chosen."""
    source = text.source
    known = [name for k, name in enumerate(names.all) if k not in names.left_out]
    if not wanted:
        usual = [name for name in known if name.lower() in TARGET_NAMES]
        usual = usual or [name for name in known if name.lower() == "digit"]
        if len(usual) == 1:
            return [names.all.index(usual[0])], (f"the column {shown(usual[0])} is the target",)
        if len(known) < 2:
            raise DataError(
                f"{source}: has only one column; separate columns by commas, semicolons, tabs, vertical bars or blanks"
            )
        why = f"{len(usual)} columns could be" if usual else "no column is named target, label, class or y, so none is"
        raise DataError(f"{source}: {why} the target; choose one with --target ({_listed(known)})")
    if not names.is_header:
        # Longer numbers are no positions, and int cannot read all of them.
        wanted = [position_name(int(name) - 1) if name.isdecimal() and len(name) < 10 else name for name in wanted]
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise DataError(f"{source}: has no column {shown(unknown[0])} for the target; it has {_listed(known)}")
    if len(set(wanted)) < len(wanted):
        raise DataError(f"{source}: a target is given twice")
    return [names.all.index(name) for name in wanted], ()


def _listed(names: Sequence[str]) -> str:
    if len(names) > 2 * _SHOWN:
        names = [*names[:_SHOWN], "...", *names[-3:]]
    return ", ".join("..." if name == "..." else shown(name) for name in names)


def _target_column(cells: Cells) -> TargetColumn:
    if cells.kind == "number":
        return TargetColumn(cells.name, np.array(cells.numbers))
    texts, codes = cells.sorted_texts()
    return TargetColumn(cells.name, None, texts, codes)


def _features(inputs: TableInputs, source: str) -> tuple[NDArray[np.float64] | SparseRows, tuple[Column, ...]]:
    """Return the features and their columns."""
    ranks: list[NDArray[np.int64] | None] = []
    columns = []
    for cells in inputs.cells:
        texts, rank = cells.ranked_texts() if cells.kind == "text" else (None, None)
        columns.append(Column(cells.name, texts))
        ranks.append(rank)
    check_width(total_width(tuple(columns)), source)
    if all(rank is None for rank in ranks):
        return inputs.dense(), tuple(columns)
    return inputs.sparse(tuple(columns), ranks), tuple(columns)


def _category_notes(columns: tuple[Column, ...], n: int) -> list[str]:
    """Return notes on columns of texts."""
    texts = [column for column in columns if column.categories is not None]
    if not texts:
        return []
    named = ", ".join(f"{shown(column.name)} ({column.width:,})" for column in texts[:_SHOWN])
    more = f" and {len(texts) - _SHOWN:,} more" if len(texts) > _SHOWN else ""
    notes = [f"columns of texts are categories, one input each: {named}{more}"]
    for column in texts:
        if n >= 20 and column.width > n // 2:
            notes.append(
                f"{column_name(column.name)} has {column.width:,} categories in {n:,} rows; delete it from the file if "
                "it is a name or number of the row"
            )
        missing = [text for text in column.categories or () if text.lower() in ("?", "-", "na", "n/a", "null", "none")]
        if missing:
            notes.append(f"{column_name(column.name)}: {', '.join(map(repr, missing))} is a category like the others")
    return notes


def _count_notes(columns: tuple[Column, ...], features: NDArray[np.float64] | SparseRows) -> list[str]:
    """Return a note if a column counts the rows."""
    if isinstance(features, SparseRows) or len(features) < 20:
        return []
    last = len(features) - 1
    ends = features[0:1][0], features[last : last + 1][0]
    found = [
        column.name
        for k, column in enumerate(columns)
        if ends[1][k] - ends[0][k] == last and is_row_counter(features, k)
    ]
    return [
        f"{column_name(name)} counts the rows; delete it from the file if it is their number alone" for name in found
    ]


def read_rows(
    path: Path, columns: tuple[Column, ...] | None, n_inputs: int, spool: Path | None = None
) -> tuple[NDArray[np.float64] | SparseRows, tuple[str, ...]]:
    """Read the columns of a table that a model takes, wherever they stand.

    Parameters
    ----------
    path : Path
        A ``.csv`` or ``.tsv`` file, also with ``.gz``.
    columns : tuple of Column or None
        Those of the model; None if it does not know their names: the table must then have `n_inputs` columns.
    n_inputs : int
    spool : Path, optional
        A temporary folder for the rows, if they are to be left on the disk.

    Returns
    -------
    rows : ndarray of float64, MappedRows or SparseRows, shape (n, n_inputs)
    notes : tuple of str
        Which columns were left out, and how many texts are categories that the model does not know.

    Raises
    ------
    DataError
        If a column is missing, or a cell is not what the model takes.
    """
    source = str(path)
    content = read_packed(path) if spool is None else map_packed(path)
    text = DelimitedText(content, source, on_disk=spool is not None)
    named = columns or tuple(Column(position_name(k)) for k in range(n_inputs))
    wanted = [column.name for column in named]
    names = _names_of(text, [] if columns is None else wanted)
    known = {name: k for k, name in enumerate(names.all) if k not in names.left_out}
    if columns is None:
        if len(known) != n_inputs:
            raise DataError(
                f"{source}: has {len(known):,} columns, but the model takes {n_inputs:,} numbers and does not know "
                "their names; write these columns alone, in their order"
            )
        places = list(known.values())
    else:
        missing = [name for name in wanted if name not in known]
        if missing:
            raise DataError(
                f"{source}: has no column {_listed(missing)}, which the model takes; it has {_listed(list(known))}"
            )
        places = [known[name] for name in wanted]
    cells: list[Cells | None] = [None] * len(names.all)
    read = [
        Cells(names.all[k], "number" if column.categories is None else "text")
        for k, column in zip(places, named, strict=True)
    ]
    for k, cell in zip(places, read, strict=True):
        cells[k] = cell
    inputs = TableInputs(read, spool)
    table = Table(source, takes_commas=text.delimiter != ",", is_bounded=spool is None)
    n = inputs.read(table, cells, text.rows(header=names.is_header))
    if not n:
        raise DataError(f"{source}: holds names of columns, but no rows")
    notes = list(names.notes) if columns is None else []
    extra = [name for name, k in known.items() if k not in places]
    if extra:
        notes.append(f"{source}: columns that the model does not take are left out: {_listed(extra)}")
    if all(column.categories is None for column in named):
        return inputs.dense(), tuple(notes)
    ranks: list[NDArray[np.int64] | None] = []
    for k, (column, cell) in enumerate(zip(named, read, strict=True)):
        if column.categories is None:
            ranks.append(None)
            continue
        position = {category: k for k, category in enumerate(column.categories)}
        rank = np.array([position.get(category, -1) for category in cell.texts], dtype=np.int64)
        ranks.append(rank)
        unknown = sorted(cell.texts.keys() - position.keys())
        if unknown:
            notes.append(
                f"{source}: {inputs.count_unknown(k, rank):,} of {n:,} rows have a text in {column_name(column.name)} "
                f"that the model does not know, and no category there: {_listed(unknown)}"
            )
    return inputs.sparse(named, ranks), tuple(notes)
