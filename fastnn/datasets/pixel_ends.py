"""Pixels of a text table whose columns have no names: 784 of them, and the label by the values at both ends."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from fastnn.datasets.cells import position_name
from fastnn.datasets.dataset import PIXELS, SIDE
from fastnn.datasets.delimited import has_header, is_number
from fastnn.datasets.pixel_layout import AS_NUMBERS, MOST_ENDS, PixelLayout, no_labels
from fastnn.datasets.pixel_names import only_count
from fastnn.datasets.repeated_labels import ENOUGH_ROWS
from fastnn.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from fastnn.datasets.delimited import DelimitedText

_MOSTLY = 0.9
"""A pixel at the border has one value in this share of the images."""
_NAME_THE_LABEL = "put a row of names above (label, pixel0, pixel1, ...), or name the label with --target"


def unnamed_pixels(
    text: DelimitedText, wanted: Sequence[str], *, needs_label: bool
) -> tuple[PixelLayout | None, tuple[str, ...]]:
    """Return the pixels of a table without names that say so: 784 columns beside a label at one of its ends."""
    n = len(text.first)
    extra = n - PIXELS
    # One-hot labels of ten to 62 classes, with an index.
    if not 0 <= extra <= MOST_ENDS and not 10 <= extra <= 63:
        return None, ()
    unmangled = _unmangled(text.first)
    first_row, notes = None, []
    if unmangled is not None:
        first_row = text.line_separator.join(cell.encode() for cell in unmangled)
        notes.append(f"the first row is a row of values that pandas took for names ({', '.join(text.first[:3])}, ...)")
    is_header = unmangled is not None or only_count(text.first)
    if not is_header and has_header(text, wanted):
        return None, (f"the {n:,} columns are not named as pixels: {AS_NUMBERS}",) if extra == 1 else ()
    names = tuple(text.first) if is_header and unmangled is None else tuple(map(position_name, range(n)))
    if extra == 0:
        if wanted:
            return None, ()
        if needs_label:
            raise no_labels(
                text.source, "its 784 columns without names are taken for pixels (--target, if one is the label)"
            )
        note = "784 columns without names are taken for pixels in their order"
        return PixelLayout(np.arange(PIXELS), SIDE, names, is_header, (), (note,)), ()
    label = _wanted_position(wanted, names, is_header=is_header)
    if wanted and label is None:
        return None, ()
    ends = _Ends(text, extra, is_header=is_header, first_row=first_row)
    chosen = _label_by_values(ends, extra, label)
    if isinstance(chosen, str):
        if extra == 1 and not wanted:
            raise DataError(f"{text.source}: has {n:,} columns, but {chosen}; {_NAME_THE_LABEL} 1 or --target {n}")
        return None, ()
    labels, begin = chosen
    if not labels and needs_label:
        raise no_labels(
            text.source, "the column beside its 784 pixels is different in each row, as a number of the row"
        )
    if unmangled is None:
        why = "the names of the columns only count" if is_header else "there is no row of names"
        notes.append(why if wanted else f"{why}, and the values tell the label")
    order = np.arange(begin, begin + PIXELS)
    return PixelLayout(order, SIDE, names, is_header, labels, tuple(notes), first_row), ()


def _unmangled(names: Sequence[str]) -> list[str] | None:
    """Return the values of a row that pandas took for names; None if it is another row.

    pandas numbers names that repeat: 0, 0.1, 0.2 are three zeros.
    """
    seen: Counter[str] = Counter()
    values = []
    for name in names:
        base, _, number = name.rpartition(".")
        if base and seen[base] and number == str(seen[base]):
            values.append(base)
        elif seen[name] or not is_number(name):
            return None
        else:
            values.append(name)
        seen[values[-1]] += 1
    return values if len(seen) <= len(names) // 2 else None


def _wanted_position(wanted: Sequence[str], names: Sequence[str], *, is_header: bool) -> int | None:
    if len(wanted) != 1:
        return None
    if is_header and wanted[0] in names:
        return names.index(wanted[0])
    position = int(wanted[0]) - 1 if wanted[0].isdecimal() and len(wanted[0]) < 10 else -1
    return position if not is_header and 0 <= position < len(names) else None


class _Ends:
    """The first and last columns of a table.

    Attributes
    ----------
    n_columns : int
    columns : dict of int to list of str
        By position.
    """

    def __init__(self, text: DelimitedText, extra: int, *, is_header: bool, first_row: bytes | None) -> None:
        self.n_columns = len(text.first)
        n = extra + 1  # and a pixel beside each
        positions = [*range(n), *range(self.n_columns - n, self.n_columns)]
        found: list[list[str]] = [[] for _ in positions]
        same: dict[bytes, str] = {}
        separator = text.line_separator
        lines = text.lines()
        if is_header:
            next(lines)
        if first_row is not None:
            lines = _with_first(first_row, lines)
        for number, line in lines:
            if b'"' in line:
                cells = [cell.encode() for cell in text.cells_of(line, number)]
                ends = [*cells[:n], *cells[-n:]]
            else:
                ends = [*line.split(separator, n)[:n], *line.rsplit(separator, n)[1:]]
            if len(ends) != len(positions):
                raise text.width_fault(number, line.count(separator) + 1)
            for column, cell in zip(found, ends, strict=True):
                value = same.get(cell)
                if value is None:
                    value = same[cell] = cell.decode(errors="replace").strip()
                column.append(value)
        self.columns = dict(zip(positions, found, strict=True))


def _with_first(row: bytes, lines: Iterator[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    yield 1, row
    yield from lines


def _label_by_values(ends: _Ends, extra: int, wanted: int | None) -> tuple[tuple[int, ...], int] | str:
    """Return the positions of the label and of the first pixel, or why they are not clear."""
    low, high = 0, ends.n_columns
    n_left = extra
    while n_left > 1:
        sides = [k for k in (low, high - 1) if k != wanted and is_index(ends.columns[k])]
        if not sides or n_left >= 10:
            break
        low, high = (low + 1, high) if sides[0] == low else (low, high - 1)
        n_left -= 1
    if n_left >= 10 and wanted is None:
        return _one_hot_at_end(ends, n_left)
    if n_left != 1:
        return f"it is not clear which {extra} of them are not pixels"
    first, last = low, high - 1
    if wanted is not None:
        return ((wanted,), low if wanted == last else low + 1) if wanted in (first, last) else "the target is a pixel"
    left, right = _label_rank(ends.columns[first]), _label_rank(ends.columns[last])
    odd_left = _is_odd_constant(ends.columns[first], ends.columns[first + 1])
    odd_right = _is_odd_constant(ends.columns[last], ends.columns[last - 1])
    if (left > right and (left == 3 or not odd_right)) or (left == right == 0 and odd_left and not odd_right):
        return (first,), low + 1
    if (right > left and (right == 3 or not odd_left)) or (left == right == 0 and odd_right and not odd_left):
        return (last,), low
    if left == right == 0 and (is_index(ends.columns[first]) or is_index(ends.columns[last])):
        return (), (low + 1 if is_index(ends.columns[first]) else low)
    both = "both the first and the last of them could be the label"
    return both if left or odd_left else "neither the first nor the last of them looks like a label"


def _one_hot_at_end(ends: _Ends, n: int) -> tuple[tuple[int, ...], int] | str:
    low, high = 0, ends.n_columns
    # An index first: a pixel that is always 0 beside one-hot labels would make one class more.
    for skipped in ((1, 0), (0, 1), (0, 0)):
        begin, end = low + skipped[0], high - skipped[1]
        k = n - sum(skipped)
        if k < 10 or (skipped != (0, 0) and not is_index(ends.columns[low if skipped[0] else high - 1])):
            continue
        for positions, first_pixel in ((range(begin, begin + k), begin + k), (range(end - k, end), begin)):
            columns = [ends.columns[position] for position in positions]
            if all({cell.removesuffix(".0") for cell in column} <= {"0", "1"} for column in columns) and all(
                sum(cell[0] == "1" for cell in row) == 1 for row in zip(*columns, strict=True)
            ):
                return tuple(positions), first_pixel
    return "it is not clear which are labels"


def _numbers(texts: Iterable[str]) -> NDArray[np.float64] | None:
    """Return texts as numbers if all of them are."""
    texts = list(texts)
    return np.array(list(map(float, texts))) if all(map(is_number, texts)) else None


def is_index(texts: Sequence[str]) -> bool:
    """Return whether a column counts the rows or, in a table of 20 rows or more, is different in each."""
    if len(texts) < 3 or len(set(texts)) < len(texts):
        return False
    if len(texts) >= ENOUGH_ROWS:
        return True
    numbers = _numbers(texts)
    return numbers is not None and bool((np.diff(numbers) == 1).all())


def _label_rank(texts: Sequence[str]) -> int:
    """Return how much a column looks like labels and not like pixels at the border.

    3: texts. 2: whole numbers below 100 or without large gaps, of which none dominates. 1: other whole numbers. 0: one
    value, fractions, or more values than half of the rows.
    """
    counts = Counter(texts)
    if len(counts) < 2 or (len(texts) >= ENOUGH_ROWS and len(counts) > len(texts) // 2):
        return 0
    numbers = _numbers(counts)
    if numbers is None:
        return 3
    if not (np.isfinite(numbers).all() and (numbers == np.floor(numbers)).all()):
        return 0
    is_dense = np.ptp(numbers) + 1 <= 2 * len(counts) + 2
    dominates = len(texts) >= ENOUGH_ROWS and counts.most_common(1)[0][1] >= _MOSTLY * len(texts)
    if dominates:
        return int(is_dense)
    return 2 if is_dense or 0 <= numbers.min() <= numbers.max() < 100 else 1


def _is_odd_constant(texts: Sequence[str], beside: Sequence[str]) -> bool:
    """Return whether a column has one value, which is not the usual one of the column beside it."""
    if len(set(texts)) != 1:
        return False
    usual = Counter(beside).most_common(1)[0][0]
    both = _numbers([texts[0], usual])
    return both is None or bool(both[0] != both[1])
