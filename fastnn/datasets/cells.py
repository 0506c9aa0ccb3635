"""The cells of a table, column by column: numbers, or texts that are categories."""

from __future__ import annotations

import math
import re
from array import array
from itertools import islice
from typing import TYPE_CHECKING, Literal

import numpy as np

from fastnn.datasets.delimited import is_comma_number, is_number, shown
from fastnn.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    Rows = Iterator[tuple[int, list[str]]]

Kind = Literal["number", "text"]

MOST_CELLS = 1 << 28
"""Most cells of a table: 2 GiB as numbers of eight bytes."""
_MOST_TEXTS = 1 << 20
"""Most categories of a column."""
_NUMBERS = re.compile(r"[\[( ]*+(?:[0-9.]++[,; ]++){9}")
_LONGEST_TEXT = 1000
"""Most characters of a category."""
_CELLS_AT_ONCE = 1 << 13
"""Cells that are read before they are added to their columns, unless that are less than 16 rows.

They fit into the processor's cache: with 2^18, a table of 100,000 rows of 55 numbers takes 3.6 s instead of 2.0.
"""
_MOST_AT_ONCE = 1 << 21
"""The same for a table of many columns; a cell takes some 60 bytes."""

_DATE = re.compile(r"[0-9]{1,4}([-/.])[0-9]{1,2}\1[0-9]{1,4}([T ].*)?|[0-9]{1,2}:[0-9]{2}(:[0-9]{2}.*)?")
_ALMOST_NUMBER = re.compile(r"[+-]?[$€£]?\s*+[0-9][0-9.,'_\s]*+[%$€£]?")
"""Texts that mean numbers: with thousands separators, money and percentages."""


def is_category(text: str) -> bool:
    """Return whether a text is read as a category, and not taken for a number or date."""
    return not (is_number(text) or _DATE.fullmatch(text) or _ALMOST_NUMBER.fullmatch(text))


class Cells:
    """The cells of one column, added in parts.

    Parameters
    ----------
    name : str
    kind : {"number", "text"}, optional
        What the column must hold; by default that is decided by its first cell, and all others must be of that kind.

    Attributes
    ----------
    kind : {"number", "text"} or None
    numbers : array of float
        Values of a column of numbers: all, or those since the last call of :meth:`clear`.
    codes : array of int
        For each such cell of a column of texts, the position of its text in `texts`.
    texts : dict of str to int
        The texts that occur, in the order of their first occurrence.
    """

    def __init__(self, name: str, kind: Kind | None = None) -> None:
        self.name = name
        self.kind: Kind | None = kind
        self.numbers = array("d")
        self.codes = array("i")
        self.texts: dict[str, int] = {}
        self._is_free = kind is None

    def add(self, cells: Sequence[str], lines: Sequence[int], table: Table) -> None:
        """Add cells; `lines` are their line numbers, `table` is what they belong to."""
        if self.kind is None:
            first = cells[0].strip()
            comma = table.takes_commas and is_comma_number(first)
            self.kind = "number" if is_number(first) or comma or not first else "text"
        if self.kind == "number":
            self._add_numbers(cells, lines, table)
        else:
            self._add_texts([cell.strip() for cell in cells], lines, table)

    def _add_numbers(self, cells: Sequence[str], lines: Sequence[int], table: Table) -> None:
        together = "".join(cells)
        if table.takes_commas and "." in together:
            table.note_decimal(".", cells, lines, self.name)
        if table.takes_commas and "," in together:
            table.note_decimal(",", cells, lines, self.name)
            cells = [cell.replace(",", ".") if is_comma_number(cell.strip()) else cell for cell in cells]
        try:
            # float takes underscores and the digits of other scripts too.
            if "_" in together or not together.isascii():
                raise ValueError
            values = array("d", map(float, cells))
        except ValueError:
            # float does not strip all kinds of blanks.
            cells = [cell.strip() for cell in cells]
            wrong = next((k for k, cell in enumerate(cells) if not is_number(cell)), None)
            if wrong is not None:
                raise self._not_a_number(cells[wrong], lines[wrong], table) from None
            values = array("d", map(float, cells))
        if not math.isfinite(sum(values)) and not np.isfinite(values).all():
            position = int(np.flatnonzero(~np.isfinite(values))[0])
            raise table.fault(
                lines[position], self.name, f"{shown(cells[position].strip())} is not a finite number; fill it in"
            )
        self.numbers.extend(values)

    def _not_a_number(self, cell: str, line: int, table: Table) -> DataError:
        if not cell:
            return table.fault(line, self.name, "the cell is empty; fill it in or leave the row out")
        fix = "correct it; a missing value must be filled in, or its row left out"
        if self._is_free:
            fix += "; a column of categories must not hold numbers"
        return table.fault(line, self.name, f"{shown(cell)} is not a number; {fix}")

    def _add_texts(self, cells: Sequence[str], lines: Sequence[int], table: Table) -> None:
        texts = self.texts
        codes = [texts.get(cell, -1) for cell in cells]
        if -1 in codes:
            for position, cell in enumerate(cells):
                if codes[position] < 0:
                    if cell not in texts:
                        self._check_text(cell, lines[position], table)
                        texts[cell] = len(texts)
                    codes[position] = texts[cell]
        self.codes.extend(codes)

    def _check_text(self, cell: str, line: int, table: Table) -> None:
        """Raise a DataError if a text that is new in this column cannot be a category."""
        fault = None
        if not cell:
            fault = "the cell is empty; fill it in or leave the row out"
        elif not cell.isprintable():
            fault = f"{shown(cell)} has characters that cannot be printed"
        elif len(cell) > _LONGEST_TEXT:
            fault = f"{shown(cell)} has {len(cell):,} characters; a category has at most {_LONGEST_TEXT:,}"
            if _NUMBERS.match(cell):
                fault += "; if these are pixels, give each a column (pixel0, pixel1, ...), or save it as Parquet"
        elif len(self.texts) >= _MOST_TEXTS:
            fault = f"the column has more than {_MOST_TEXTS:,} different texts; delete it from the file"
        elif self._is_free and is_number(cell):
            above = f", as {shown(next(iter(self.texts)))}" if self.texts else ""
            fault = (
                f"{shown(cell)} is a number, but the cells above are texts{above}; a column must hold numbers, or "
                "categories that are not numbers"
            )
        elif self._is_free and _DATE.fullmatch(cell):
            fault = (
                f"{shown(cell)} looks like a date or time, which is not read; write a number, such as days since a "
                "first day, or delete the column"
            )
        elif self._is_free and _ALMOST_NUMBER.fullmatch(cell):
            fault = (
                f"{shown(cell)} looks like a number but is not one; write numbers as 1234.5, and begin categories "
                "with a letter"
            )
        if fault is not None:
            raise table.fault(line, self.name, fault)

    @property
    def values(self) -> array[float] | array[int]:
        """Its numbers, or its codes if it is a column of texts."""
        return self.codes if self.kind == "text" else self.numbers

    def clear(self) -> None:
        """Forget all cells, but not the kind of the column and its texts."""
        self.numbers, self.codes = array("d"), array("i")

    def ranked_texts(self) -> tuple[tuple[str, ...], NDArray[np.int64]]:
        """Return the texts in order, and for each code the position of its text among them."""
        return ranked(self.texts)

    def sorted_texts(self) -> tuple[tuple[str, ...], NDArray[np.int64]]:
        """Return the texts in order, and for each cell the position of its text among them."""
        names, rank = self.ranked_texts()
        return names, rank[np.asarray(self.codes, dtype=np.int64)]


def ranked(texts: dict[str, int]) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Return texts in order, and for each code, from 0, the position of its text among them."""
    names = tuple(sorted(texts))
    rank = np.empty(len(names), dtype=np.int64)
    rank[[texts[name] for name in names]] = np.arange(len(names))
    return names, rank


def position_name(position: int) -> str:
    """Return the name of a column of a table without names; `position` is from 0."""
    return f"column {position + 1}"


def column_name(name: str) -> str:
    """Return the name of a column as messages show it."""
    return name if name.startswith("column ") and name.isprintable() and len(name) < 40 else f"column {shown(name)}"


class Table:
    """What the columns of one file have in common.

    Parameters
    ----------
    source : str
        What error messages call the file.
    takes_commas : bool
        Whether numbers may have decimal commas.
    is_bounded : bool
        Whether it may have at most MOST_CELLS cells, which are all in memory.
    """

    def __init__(self, source: str, *, takes_commas: bool = False, is_bounded: bool = True) -> None:
        self.source, self._is_bounded = source, is_bounded
        self.takes_commas = takes_commas
        self._decimals: dict[str, str] = {}

    @property
    def has_decimal_commas(self) -> bool:
        """Whether there are numbers with decimal commas."""
        return "," in self._decimals

    def fault(self, line: int, column: str, text: str) -> DataError:
        """Return the error that a cell is wrong."""
        return DataError(f"{self.source}: line {line}, {column_name(column)}: {text}")

    def note_decimal(self, sign: str, cells: Sequence[str], lines: Sequence[int], column: str) -> None:
        """Note that numbers have this decimal sign; raise a DataError if others have the other one."""
        if sign in self._decimals:
            return
        is_one = is_comma_number if sign == "," else is_number
        position = next((k for k, cell in enumerate(cells) if sign in cell and is_one(cell.strip())), None)
        if position is None:  # it is no number, which is refused
            return
        cell = shown(cells[position].strip())
        self._decimals[sign] = f"{cell} (line {lines[position]}, {column_name(column)})"
        if len(self._decimals) > 1:
            raise DataError(
                f"{self.source}: numbers have decimal commas, as {self._decimals[',']}, and points, as "
                f"{self._decimals['.']}; write all with a point, and without separators of thousands"
            )

    def fill(self, columns: Sequence[Cells | None], rows: Rows, after_part: Callable[[], None] | None = None) -> int:
        """Add all rows to the columns, of which None are left out; return the number of rows.

        Parameters
        ----------
        columns : sequence of Cells or None
        rows : iterator of (int, list of str)
        after_part : callable, optional
            Called when some of the rows are in all columns; it may clear them.

        Raises
        ------
        DataError
            If a cell is empty, not of its column's kind, NaN or infinite, or there are too many cells.
        """
        n = 0
        for lines, parts in _parts(rows, len(columns)):
            n += len(lines)
            if self._is_bounded and n * len(columns) > MOST_CELLS:
                raise DataError(
                    f"{self.source}: has more than {MOST_CELLS:,} cells; store sparse data as .svmlight or .npz"
                )
            for column, cells in zip(columns, parts, strict=True):
                if column is not None:
                    column.add(cells, lines, self)
            if after_part is not None:
                after_part()
        return n


def _parts(rows: Rows, n_columns: int) -> Iterator[tuple[list[int], list[tuple[str, ...]]]]:
    """Yield line numbers and columns of some rows at a time."""
    # Each column has a cost in each part: many columns are read some rows at a time, within limits on memory.
    at_once = min(max(16, _CELLS_AT_ONCE // n_columns), max(1, _MOST_AT_ONCE // n_columns))
    while part := list(islice(rows, at_once)):
        lines = [line for line, _ in part]
        columns = list(zip(*(row for _, row in part), strict=True))
        yield lines, columns
