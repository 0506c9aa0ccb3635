"""Columns of a text table that are named as pixels: by numbers, or by row and column."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from math import isqrt
from typing import TYPE_CHECKING

import numpy as np

from fastnn.datasets.dataset import PIXELS
from fastnn.datasets.delimited import shown
from fastnn.datasets.pixel_layout import AS_NUMBERS, INDEX_OF_PANDAS, MOST_ENDS, MOST_OTHERS, SMALLEST_SIDE, PixelLayout
from fastnn.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from fastnn.datasets.delimited import DelimitedText

_NUMBER_IN_NAME = re.compile(r"([0-9]+)")
_LONGEST_NAME = 60
_MOST_DIGITS = 9


def named_pixels(text: DelimitedText) -> tuple[PixelLayout | None, tuple[str, ...]]:
    """Return the columns that are named as pixels, if there are any."""
    names = text.first
    found = _numbered_columns(names)
    if found is None:
        return None, ()
    positions, numbers, words = found
    is_pixel_name = re.search(r"pix|px", "".join(words)) is not None
    n = len(positions)
    if numbers.shape[1] == 2:
        order = _order_by_row_and_column(positions, numbers, words)
        is_pixel_name = is_pixel_name or [word.strip() for word in words] == ["", "x", ""]
        how = "row and column in their names"
    else:
        order = _order_by_number(positions, numbers[:, 0])
        how = "the numbers in their names"
    side = isqrt(n)
    if order is None or side**2 != n or not (n == PIXELS or is_pixel_name):
        if is_pixel_name and numbers.shape[1] == 1 and not PIXELS < n <= PIXELS + MOST_ENDS:
            _check_once(names, positions, numbers[:, 0], text.source)
            return None, (
                f"{n:,} columns are named as pixels, which are not all pixels of a square image: {AS_NUMBERS}",
            )
        return None, ()
    if len(names) - n > MOST_OTHERS:
        return None, ()
    in_order = bool((np.diff(order) > 0).all())
    note = f"{n:,} columns are pixels, in the order of {how}" + ("" if in_order else ", which is not that of the file")
    return PixelLayout(order, side, tuple(names), is_header=True, notes=(note,)), ()


def _numbered_columns(names: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64], list[str]] | None:
    """Return positions, numbers and words of the largest group of names that differ only in their numbers."""
    groups: dict[tuple[str, ...], list[tuple[int, list[int]]]] = defaultdict(list)
    for position, name in enumerate(names):
        parts = _NUMBER_IN_NAME.split(name.casefold()) if 0 < len(name) <= _LONGEST_NAME and name.isascii() else []
        if len(parts) > 1 and all(len(number) <= _MOST_DIGITS for number in parts[1::2]):
            groups[tuple(parts[::2])].append((position, list(map(int, parts[1::2]))))
    if not groups:
        return None
    words, group = max(groups.items(), key=lambda item: len(item[1]))
    if len(group) < SMALLEST_SIDE**2:
        return None
    numbers = np.array([number for _, number in group], dtype=np.int64)
    differs = (numbers != numbers[0]).any(axis=0)
    kept = np.flatnonzero(differs)
    if len(kept) not in (1, 2):
        return None
    around = [words[k] for k in kept] + [words[int(kept[-1]) + 1]]
    return np.array([position for position, _ in group], dtype=np.int64), numbers[:, kept], around


def _order_by_number(positions: NDArray[np.int64], numbers: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """Return positions by their numbers, which must be consecutive."""
    by_number = np.argsort(numbers, kind="stable")
    return positions[by_number] if (np.diff(numbers[by_number]) == 1).all() else None


def _order_by_row_and_column(
    positions: NDArray[np.int64], numbers: NDArray[np.int64], words: Sequence[str]
) -> NDArray[np.int64] | None:
    """Return positions by row and column; the first number is the row, except in names such as x0y0 and c0r0."""
    before_first, before_second = (re.sub(r"[^a-z]", "", word) for word in words[:2])
    is_column_first = before_first.endswith(("x", "c", "col", "column")) and before_second.endswith(("y", "r", "row"))
    row, column = (numbers[:, 1], numbers[:, 0]) if is_column_first else (numbers[:, 0], numbers[:, 1])
    row, column = row - row.min(), column - column.min()
    side = isqrt(len(positions))
    place = row * side + column
    if row.max() >= side or column.max() >= side or len(np.unique(place)) < len(place):
        return None
    return positions[np.argsort(place)]


def _check_once(names: Sequence[str], positions: NDArray[np.int64], numbers: NDArray[np.int64], source: str) -> None:
    """Raise a DataError if two columns have the number of the same pixel."""
    number, times = Counter(numbers.tolist()).most_common(1)[0]
    if times > 1:
        name = names[int(positions[numbers.tolist().index(number)])]
        raise DataError(f"{source}: {times} columns are named {shown(name)}; each pixel must have one column")


def only_count(names: Sequence[str]) -> bool:
    """Return whether names say nothing, since all count on, such as V1 to V785, or twice; but for the index of pandas.

    pandas and R give such names to columns that have none.
    """
    begin = 1 if names[0].casefold() in INDEX_OF_PANDAS else 0
    found = _numbered_columns(names[begin:])
    if found is None or len(found[0]) != len(names) - begin or found[1].shape[1] != 1:
        return False
    numbers = found[1][:, 0]
    again = np.flatnonzero(np.diff(numbers) != 1)
    return len(again) == 0 or (len(again) == 1 and numbers[0] == numbers[again[0] + 1] <= 1)
