"""The rows of a CSV or TSV file: which sign separates the columns, and whether the first row holds their names."""

from __future__ import annotations

import codecs
import contextlib
import csv
import re
from itertools import chain, islice
from typing import TYPE_CHECKING

from fastnn.datasets.safe_read import Unpacked
from fastnn.errors import DataError
from fastnn.reading import csv_rows, text_lines, with_line_feeds

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from fastnn.datasets.safe_read import Content

ENDINGS = (".csv", ".csv.gz", ".tsv", ".tsv.gz")
"""Ends of names of text files that hold a table."""
TEXT_ENDINGS = (*ENDINGS, ".txt", ".txt.gz")
"""The same and others that are read, but not written."""
MOST_COLUMNS = 1 << 20
"""Most columns of a text file."""
MOST_INPUTS = 1 << 22
"""Most inputs that a file's columns may become."""
LONGEST_ROW = 16 << 20
"""Most bytes of a row: 2^20 columns of 16 characters."""
_HEAD = 1 << 20
"""Bytes at the beginning of a file that tell how its columns are separated."""
_SAMPLE_ROWS = 20
_MOST_COMMENTS = 1000

_WORDS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars", " ": "blanks"}
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_COMMENT = re.compile(rb"(?:[ \t]*+(?:\r\n|\r|\n))*+([ \t]*+#[^\r\n]*+)(?:\r\n|\r|\n|$)")
_SEPARATOR_LINE = re.compile(rb"(sep=([,;\t|]))[ \t]*+(?:\r\n|\r|\n)", re.IGNORECASE)
_FIRST_LINE = re.compile(rb"\s*+([^\r\n]++)")

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
    """The rows of a CSV or TSV file.

    Parameters
    ----------
    content : bytes or mmap
        As :func:`fastnn.datasets.safe_read.read_packed` or ``map_packed`` returns it.
    source : str
        Name of the file: says whether it is compressed, and that columns are separated by tabs (``.tsv``).
    on_disk : bool
        Whether the rows are left on the disk, see :class:`fastnn.datasets.safe_read.Unpacked`.

    Attributes
    ----------
    delimiter : str
        A comma, semicolon, tab, vertical bar or blank; the one that gives the first rows the same number of columns.
    first, second : list of str
        Cells of the first two rows, without blanks around them; none if there are no such rows.
    how : str
        How the file is encoded and laid out, in words; empty for UTF-8 and commas.

    Raises
    ------
    DataError
        If the text is not CSV in UTF-8 or UTF-16 with a byte order mark, or has no or too many columns.
    """

    def __init__(self, content: Content, source: str, *, on_disk: bool = False) -> None:
        self.source = source
        self._content, self._on_disk = content, on_disk
        self.delimiter = ","
        self._encoding, text = _utf8(content, source, on_disk)
        head = _read_up_to(text, _HEAD)
        self._head_size = len(head)
        if head.count(b"\0") > len(head) // 4:
            raise DataError(f"{source}: looks like UTF-16 text without a byte order mark; save it as UTF-8")
        head, said = _without_separator_line(head)
        self._head, notes = self._without_comments(head, said)
        if self._encoding != "UTF-8":
            notes.insert(0, f"the text is {self._encoding}")
        named = _utf8_names(self._head, self.delimiter)
        if named is not None:
            self._head = named
            notes.append("the names of the columns are not UTF-8 and were read as Windows-1252")
        if self.delimiter != ",":
            notes.append(f"columns are separated by {_WORDS[self.delimiter]}")
        sample = _split(_lines_of(self._head), self.delimiter)
        self._has_trailing = _has_trailing(sample)
        if self._has_trailing:
            notes.append("each line ends with a separator")
        self.how = "; ".join(notes)
        begin = list(islice(self._all_rows(), 2))
        if not begin:
            raise DataError(f"{source}: holds no rows")
        self.first, self.second = ([cell.strip() for cell in row] for _, row in (*begin, (0, []))[:2])
        if len(self.first) == 1 < len(self.second):
            raise DataError(
                f"{source}: line {begin[0][0]} has one cell, but line {begin[1][0]} has {len(self.second):,}; if it "
                "is a title, delete it or begin it with #"
            )
        if len(self.first) > MOST_COLUMNS:
            raise DataError(f"{source}: has {len(self.first):,} columns; at most {MOST_COLUMNS:,} can be read")

    def _without_comments(self, head: bytes, delimiter: str | None) -> tuple[bytes, list[str]]:
        """Return the beginning of the file with blanks for the comments, and notes; decides the delimiter."""
        comments = _comments(head)
        if len(comments) > _MOST_COMMENTS:
            raise DataError(f"{self.source}: begins with more than {_MOST_COMMENTS:,} comment lines; delete them")
        rest = head[comments[-1][1] :] if comments else head
        if comments and not rest.strip():  # every line begins with this sign: these are rows
            comments, rest = [], head
        by_name = "\t" if is_tsv(self.source) else None
        self.delimiter = by_name or delimiter or _delimiter_of(rest, is_cut=len(head) >= _HEAD)
        notes: list[str] = []
        n_skipped = 0
        first = next(iter(_split(_lines_of(rest), self.delimiter)), [])
        for begin, end in comments:
            line = head[begin:end].decode(errors="replace").strip()
            cells = next(iter(_split([line[1:]], self.delimiter)), [])
            has_numbers = any(map(is_number, cells))
            if len(cells) == len(first) > 1:
                # "#" may be the name of the first column, or belong to its text.
                if line[1:2] == self.delimiter != " " or (has_numbers and len(cells) > 2):
                    break
                if not has_numbers and any(map(is_number, first)):
                    # NumPy writes the names of columns so.
                    head = head[:begin] + head[begin:end].replace(b"#", b" ", 1) + head[end:]
                    notes.append("the names of the columns stand in a comment")
                    break
            head = head[:begin] + b" " * (end - begin) + head[end:]
            n_skipped += 1
        if n_skipped:
            notes.insert(0, f"{n_skipped} comment {'line was' if n_skipped == 1 else 'lines were'} skipped")
        return head, notes

    def _pieces(self) -> Iterator[bytes]:
        """Yield the text in UTF-8, without comments."""
        _, text = _utf8(self._content, self.source, self._on_disk)
        _read_up_to(text, self._head_size)
        yield self._head
        yield from text

    @property
    def _what(self) -> str:
        return f"a table of columns that are separated by {_WORDS[self.delimiter]}, in UTF-8"

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """Yield number and text of each line that has values, without blanks and a trailing separator at its end.

        Columns that are separated by blanks in the file are separated by tabs here.
        """
        lines = text_lines(with_line_feeds(self._pieces()), self.source, what=self._what, longest=LONGEST_ROW)
        for number, text in enumerate(lines, start=1):
            line = text.strip(b" ")
            if not line or (line[:1] == self.line_separator and not line.strip(self.line_separator + b" ")):
                continue  # Excel writes rows of separators alone for empty ones
            if self.delimiter == " ":
                line = b"\t".join(line.split())
            elif self._has_trailing:
                if not line.endswith(self.line_separator):
                    raise self._no_separator(number)
                line = line[:-1]
            yield number, line

    @property
    def line_separator(self) -> bytes:
        """What separates the columns in :meth:`lines`."""
        return b"\t" if self.delimiter == " " else self.delimiter.encode()

    def cells_of(self, line: bytes, number: int) -> list[str]:
        """Return the cells of one of :meth:`lines`.

        Raises
        ------
        DataError
            If it is not UTF-8, or a quote is open.
        """
        try:
            text = line.decode()
            if '"' not in text:
                return text.split(self.line_separator.decode())
            delimiter = self.line_separator.decode()
            return next(csv.reader([text], delimiter=delimiter, strict=True, skipinitialspace=True))
        except UnicodeDecodeError:
            raise DataError(f"{self.source}: line {number} is not UTF-8 text; save it as UTF-8") from None
        except csv.Error as fault:
            raise DataError(f"{self.source}: not {self._what} (line {number}: {fault})") from None

    def _no_separator(self, line: int) -> DataError:
        return DataError(f"{self.source}: line {line} does not end with a separator like the lines above; correct it")

    def _all_rows(self) -> Iterator[tuple[int, list[str]]]:
        pieces: Iterator[bytes] = self._pieces()
        delimiter = self.delimiter
        if delimiter == " ":
            # csv does not take several blanks for one separator.
            lines = text_lines(with_line_feeds(pieces), self.source, what=self._what, longest=LONGEST_ROW)
            pieces, delimiter = (b"\t".join(line.split()) + b"\n" for line in lines), "\t"
        rows = csv_rows(
            pieces,
            self.source,
            what=self._what,
            longest=LONGEST_ROW,
            delimiter=delimiter,
            skip_blanks=True,
        )
        for line, row in rows:
            if _is_blank(row):
                continue
            if self._has_trailing:
                if row[-1].strip():
                    raise self._no_separator(line)
                row.pop()
            yield line, row

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
        for line, row in islice(self._all_rows(), header, None):
            if len(row) != n:
                raise self.width_fault(line, len(row))
            yield line, row

    def width_fault(self, line: int, n_cells: int) -> DataError:
        """Return the error that a row has more or fewer cells than the first one."""
        return DataError(
            f"{self.source}: line {line} has {n_cells:,} cell{'' if n_cells == 1 else 's'}, but the first row has "
            f"{len(self.first):,}; correct it (texts that contain the separator need quotes)"
        )


def _utf8(content: Content, source: str, on_disk: bool) -> tuple[str, Iterator[bytes]]:
    """Return the name of a text's encoding, and the text in UTF-8, in pieces."""
    text = Unpacked(content, source, on_disk=on_disk)
    head = bytes(text.read_up_to(4))
    pieces = chain([head], text)
    if head in (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE):
        raise DataError(f"{source}: is UTF-32 text; save it as UTF-8")
    if not head.startswith(_UTF16):
        return "UTF-8", pieces
    return "UTF-16", _from_utf16(pieces, source)


def _from_utf16(pieces: Iterable[bytes], source: str) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder("utf-16")()
    try:
        for piece in pieces:
            yield decoder.decode(piece).encode()
        yield decoder.decode(b"", final=True).encode()
    except UnicodeError:
        raise DataError(f"{source}: begins like UTF-16 text, but is damaged; save it as UTF-8") from None


def _read_up_to(pieces: Iterator[bytes], size: int) -> bytes:
    """Return the first pieces, until they have this size together."""
    found = bytearray()
    for piece in pieces:
        found += piece
        if len(found) >= size:
            break
    return bytes(found)


def _without_separator_line(head: bytes) -> tuple[bytes, str | None]:
    """Return the beginning of a file with blanks for a first line such as sep=; of Excel, and the sign in it."""
    match = _SEPARATOR_LINE.match(head)
    if match is None:
        return head, None
    return b" " * match.end(1) + head[match.end(1) :], match[2].decode()


def _comments(head: bytes) -> list[tuple[int, int]]:
    """Return begin and end of the comment lines that a text begins with."""
    found = []
    position = 0
    while match := _COMMENT.match(head, position):
        found.append(match.span(1))
        position = match.end()
    return found


def _utf8_names(head: bytes, delimiter: str) -> bytes | None:
    """Return the beginning of a file with its first row in UTF-8 if it is not and holds no numbers, else None."""
    match = _FIRST_LINE.match(head)
    if match is None or match.end() >= _HEAD:
        return None
    line = match[1]
    with contextlib.suppress(UnicodeDecodeError):
        line.decode()
        return None
    try:
        text = line.decode("cp1252")
    except UnicodeDecodeError:
        return None
    if any(is_number(cell.strip()) for row in _split([text], delimiter) for cell in row):
        return None
    return head[: match.start(1)] + text.encode() + head[match.end(1) :]


def _has_trailing(sample: Sequence[Sequence[str]]) -> bool:
    """Return whether each of the first rows ends with a separator."""
    return (
        bool(sample)
        and len({len(row) for row in sample}) == 1
        and len(sample[0]) > 2
        and all(not row[-1].strip() for row in sample)
    )


def _is_blank(row: Sequence[str]) -> bool:
    return not any(map(str.strip, row))


def _lines_of(head: bytes) -> list[str]:
    """Return the first lines that are not empty."""
    lines = head.decode(errors="replace").splitlines()
    # The last line may be cut off.
    lines = lines[:-1] if len(head) >= _HEAD and len(lines) > 1 else lines
    return [line for line in lines if line.strip()][:_SAMPLE_ROWS]


def _delimiter_of(head: bytes, *, is_cut: bool) -> str:
    """Return the sign that gives the first rows of a text the same number of columns, at least two."""
    lines = head.decode(errors="replace").splitlines()[:_SAMPLE_ROWS]
    # The last line may be cut off.
    lines = lines[:-1] if is_cut and len(lines) > 1 else lines
    found = {delimiter: _split(lines, delimiter) for delimiter in ("\t", ";", ",", "|")}
    widths = {delimiter: {len(row) for row in rows} for delimiter, rows in found.items()}
    even = [delimiter for delimiter, width in widths.items() if len(width) == 1 and max(width) > 1]
    if even == [";", ","]:
        # Numbers with decimal commas are separated by commas too.
        with_commas = {cell.strip() for row in found[";"] for cell in row if "," in cell}
        return ";" if all(map(is_comma_number, with_commas)) else ","
    if even:
        return even[0]
    if _has_blank_columns(lines):
        return " "
    return max((",", ";", "\t"), key=lambda delimiter: lines[0].count(delimiter) if lines else 0)


def _has_blank_columns(lines: Sequence[str]) -> bool:
    """Return whether lines are columns that are separated by blanks alone, with numbers in each row but the first."""
    rows = [line.split() for line in lines if line.strip()]
    if not rows or len({len(row) for row in rows}) != 1 or len(rows[0]) < 2:
        return False
    values = rows[1:] or rows
    return all(any(map(is_number, row)) for row in values) and not any('"' in line for line in lines)


def _split(lines: Sequence[str], delimiter: str) -> list[list[str]]:
    """Return the cells of the first lines that are rows."""
    if delimiter == " ":
        return [line.split() for line in lines if line.strip()]
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
