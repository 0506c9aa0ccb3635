"""The rows of a CSV or TSV file: which sign separates the columns, and whether the first row holds their names."""

from __future__ import annotations

import contextlib
import csv
import re
from itertools import chain, islice
from typing import TYPE_CHECKING

from fastnn.datasets.safe_read import Unpacked
from fastnn.errors import DataError
from fastnn.reading import csv_rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ENDINGS = (".csv", ".csv.gz", ".tsv", ".tsv.gz")
"""Ends of names of text files that may hold a table."""
MOST_COLUMNS = 1 << 20
"""Most columns of a text file."""
MOST_INPUTS = 1 << 22
"""Most inputs that a file's columns may become."""
LONGEST_ROW = 16 << 20
"""Most bytes of a row: 2^20 columns of 16 characters."""
_HEAD = 1 << 20
"""Bytes at the beginning of a file that tell how its columns are separated."""
_SAMPLE_ROWS = 20

_WORDS = {",": "commas", ";": "semicolons", "\t": "tabs"}

# Possessive, as all patterns for texts of any length: a cell of 100,000 digits would take minutes.
_EXPONENT = r"(?:[eE][+-]?[0-9]++)?"
_DECIMAL = rf"(?:[0-9]++(?:\.[0-9]*+)?|\.[0-9]++){_EXPONENT}"
_NUMBER = re.compile(rf"[+-]?(?:{_DECIMAL}|nan|inf|infinity)", re.IGNORECASE | re.ASCII)
_COMMA_NUMBER = re.compile(rf"[+-]?[0-9]*+,[0-9]++{_EXPONENT}")


def is_tsv(name: str) -> bool:
    """Return whether the columns of a file of this name are separated by tabs alone."""
    return name.lower().removesuffix(".gz").endswith(".tsv")


def is_number(cell: str) -> bool:
    """Return whether a cell holds a number with a decimal point, NaN or infinity."""
    return _NUMBER.fullmatch(cell) is not None


def is_comma_number(cell: str) -> bool:
    """Return whether a cell holds a number with a decimal comma."""
    return _COMMA_NUMBER.fullmatch(cell) is not None


def shown(text: str) -> str:
    """Return a text from a file as error messages show it: quoted, and not longer than 40 characters."""
    return repr(text if len(text) <= 40 else f"{text[:37]}...")


class DelimitedText:
    """The rows of a CSV or TSV file, which can be read once.

    Parameters
    ----------
    content : bytes
        As :func:`fastnn.datasets.safe_read.read_packed` returns it.
    source : str
        Name of the file: says whether it is compressed, and that columns are separated by tabs (``.tsv``).

    Attributes
    ----------
    delimiter : str
        A comma, semicolon or tab; the one that gives the first rows the same number of columns.
    first, second : list of str
        Cells of the first two rows, without blanks around them; none if there are no such rows.

    Raises
    ------
    DataError
        If the text is not CSV in UTF-8, or has no or too many columns.
    """

    def __init__(self, content: bytes | bytearray, source: str) -> None:
        self.source = source
        text = Unpacked(content, source)
        head = bytes(text.read_up_to(_HEAD))
        if head.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise DataError(f"{source}: is UTF-16 text; save it as UTF-8")
        self.delimiter = "\t" if is_tsv(source) else _delimiter_of(head)
        rows = csv_rows(
            chain([head], text),
            source,
            what=f"a table of columns that are separated by {_WORDS[self.delimiter]}, in UTF-8",
            longest=LONGEST_ROW,
            delimiter=self.delimiter,
            skip_blanks=True,
        )
        begin = list(islice(((line, row) for line, row in rows if not _is_blank(row)), 2))
        self.first, self.second = ([cell.strip() for cell in row] for _, row in (*begin, (0, []), (0, []))[:2])
        self._rows = chain(begin, rows)
        if not begin:
            raise DataError(f"{source}: holds no rows")
        if len(self.first) > MOST_COLUMNS:
            raise DataError(f"{source}: has {len(self.first):,} columns; at most {MOST_COLUMNS:,} can be read")

    @property
    def how(self) -> str:
        """How columns are separated, in words; empty for commas."""
        return "" if self.delimiter == "," else f"columns are separated by {_WORDS[self.delimiter]}"

    def rows(self, *, header: bool) -> Iterator[tuple[int, list[str]]]:
        """Yield line number and cells of each row with values.

        Parameters
        ----------
        header : bool
            Whether the first row holds names, and is left out.

        Raises
        ------
        DataError
            If a row has more or fewer cells than the first one.
        """
        n = len(self.first)
        for line, row in islice(self._rows, header, None):
            if len(row) != n:
                if _is_blank(row):
                    continue
                raise DataError(
                    f"{self.source}: line {line} has {_cells(row)}, but the first row has {n:,}; "
                    "correct it (texts that contain the separator need quotes)"
                )
            yield line, row


def _is_blank(row: Sequence[str]) -> bool:
    return len(row) == 1 and not row[0].strip()


def _cells(row: Sequence[str]) -> str:
    return f"{len(row):,} cell{'' if len(row) == 1 else 's'}"


def _delimiter_of(head: bytes) -> str:
    """Return the sign that gives the first rows of a text the same number of columns, at least two."""
    lines = head.decode(errors="replace").splitlines()[:_SAMPLE_ROWS]
    # The last line may be cut off.
    lines = lines[:-1] if len(head) == _HEAD and len(lines) > 1 else lines
    found = {delimiter: _split(lines, delimiter) for delimiter in ("\t", ";", ",")}
    widths = {delimiter: {len(row) for row in rows} for delimiter, rows in found.items()}
    even = [delimiter for delimiter, width in widths.items() if len(width) == 1 and max(width) > 1]
    if even == [";", ","]:
        # Numbers with decimal commas are separated by commas too.
        with_commas = {cell.strip() for row in found[";"] for cell in row if "," in cell}
        return ";" if all(map(is_comma_number, with_commas)) else ","
    if even:
        return even[0]
    return max((",", ";", "\t"), key=lambda delimiter: lines[0].count(delimiter) if lines else 0)


def _split(lines: Sequence[str], delimiter: str) -> list[list[str]]:
    """Return the cells of the first lines that are rows."""
    rows: list[list[str]] = []
    # An error: the row goes on behind these lines, or is damaged.
    with contextlib.suppress(csv.Error):
        rows.extend(csv.reader(lines, delimiter=delimiter, strict=True, skipinitialspace=True))
    return [row for row in rows if row and not _is_blank(row)]


def has_header(text: DelimitedText, wanted: Sequence[str]) -> bool:
    """Return whether the first row of a table holds the names of its columns.

    Parameters
    ----------
    text : DelimitedText
    wanted : sequence of str
        Names of columns that the user gave, or positions, from 1, in a table without names.

    Raises
    ------
    DataError
        If the first row is neither names nor values, or may be either.
    """
    first, second, source = text.first, text.second, text.source
    numbers = [is_number(cell) or (text.delimiter != "," and is_comma_number(cell)) for cell in first]
    positions = bool(wanted) and all(name.isdecimal() for name in wanted)
    above_numbers = [
        cell
        for cell, number, below in zip(first, numbers, second, strict=False)
        if cell and not number and is_number(below)
    ]
    if wanted and set(wanted) <= set(first) and (above_numbers or not positions):
        return True
    if not any(numbers):
        # A table of texts alone has no names if the user gives positions.
        only_texts = bool(second) and not any(is_number(cell) or is_comma_number(cell) for cell in second)
        return not (positions and only_texts and not set(wanted) <= set(first))
    if len(first) > 2 and first == [str(k) for k in range(len(first))]:
        raise DataError(
            f"{source}: the first row counts from 0 to {len(first) - 1}; if these are names of columns, write names "
            "that are not numbers, and if they are values, put a row of names above them"
        )
    if above_numbers:
        example = first[numbers.index(True)]
        raise DataError(
            f"{source}: the first row has {shown(above_numbers[0])} above a number, as a name, but also the number "
            f"{shown(example)}; write names that are not numbers, or values alone"
        )
    return False
