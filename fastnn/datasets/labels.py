"""Labels as sources write them, encoded as class indices."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn.datasets.delimited import is_number, shown
from fastnn.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

DIGIT_CLASSES = tuple("0123456789")

_INT64 = range(2**63)
_WHOLE = re.compile(r"[0-9]{1,18}")
_QUOTED = re.compile(r"b?'([^']*+)'")
"""Labels of ARFF files, and bytes that were written as text."""
_EXACT = 2.0**53
"""Floats below are exact integers."""

_MOST_SHARED = 10_000
"""Different texts that are looked up."""
_MOST = 10_000
"""Most classes that ranges may stand for."""
_RANGE = re.compile(r"([0-9]{1,9})-([0-9]{1,9})|(\w)-(\w)")


class SharedTexts:
    """Keeps equal texts in memory once, unless there are many different ones, such as names of the samples."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def of(self, text: str) -> str:
        """Return a text that equals this one."""
        known = self._known
        return known.setdefault(text, text) if len(known) < _MOST_SHARED else known.get(text, text)


def encode_labels(labels: Sequence[int | str], source: str = "labels") -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return the class index of each label, and the names of the classes.

    If every label is an integer or the text of one, as in "7", the classes are sorted by value, so that a data set
    keeps its classes in formats that know only text. Otherwise they are sorted as text. Labels from 0 to 9 alone are
    digits: then the classes are "0" to "9" even if some of them do not occur.

    Parameters
    ----------
    labels : sequence of int or str
        One for each image.
    source : str
        What error messages call the data.

    Returns
    -------
    indices : ndarray of int64, shape (n,)
    classes : tuple of str

    Raises
    ------
    DataError
        If a name is empty or unprintable, or an integer is negative or has more than 64 bits.
    """
    unique = set(labels)
    for label in unique:
        # Python cannot convert integers of more than 4,300 digits to text.
        if not isinstance(label, str) and int(label) not in _INT64:
            sign = "-" if label < 0 else ""
            shown = label if abs(label) < 10**20 else f"an integer {sign}10^20 or beyond"
            raise DataError(f"{source}: {shown} cannot be a label; integer labels are 0 to 2^63 - 1")
        check_class_name(str(label), source)
    integers = {label: value for label in unique if (value := _as_int(label)) is not None}
    if len(integers) != len(unique):
        return _encode({label: str(label) for label in unique}, labels)
    outside = [value for value in integers.values() if value not in _INT64]
    if outside:
        raise DataError(f"{source}: {str(min(outside))[:40]} cannot be a label; integer labels are 0 to 2^63 - 1")
    if max(integers.values(), default=0) <= 9:
        return _indices(integers, labels), DIGIT_CLASSES
    return _encode(integers, labels)


def encode_array(labels: NDArray[Any], source: str = "labels") -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return what :func:`encode_labels` does, for an array of any type, in less memory if it holds integers."""
    if labels.dtype.kind not in "iu" or labels.dtype.itemsize > 8:
        return encode_labels(labels.tolist(), source)
    unique, where = np.unique(labels, return_inverse=True)
    indices, classes = encode_labels(unique.tolist(), source)
    return indices[where], classes


def canonical_labels(texts: Sequence[str], source: str = "labels") -> tuple[list[str], tuple[str, ...]]:
    """Return labels that tables write as 5.0, 05, '5' or b'5' as 5 if all are written so, and notes on that.

    Parameters
    ----------
    texts : sequence of str
        One for each sample.
    source : str
        What error messages call the data.

    Raises
    ------
    DataError
        If all are numbers and one is not whole, or labels such as 5 and 05 both occur.
    """
    unique = set(texts)
    quoted = {text: match[1] for text in unique if (match := _QUOTED.fullmatch(text))}
    if unique and len(quoted) == len(unique):
        inner, notes = canonical_labels([quoted[text] for text in texts], source)
        return inner, (f"labels such as {min(quoted)} are read without quotes", *notes)
    if not all(map(is_number, unique)):
        return list(texts), ()
    found = {text: value for text in unique if (value := _whole_value(text)) is not None}
    if len(found) < len(unique):
        fraction = min((text for text in unique - found.keys() if not float(text).is_integer()), default=None)
        if fraction is not None and np.isfinite(float(fraction)):
            raise DataError(
                f"{source}: the label {shown(fraction)} is not a whole number; images have classes (--task regression "
                "reads the pixels as columns of numbers)"
            )
        missing = min((text for text in unique - found.keys() if not np.isfinite(float(text))), default=None)
        if missing is not None and found:
            raise DataError(f"{source}: {shown(missing)} is not a label; fill it in, or leave the row out")
        return list(texts), ()
    names = {text: str(value) for text, value in found.items()}
    padded = sorted(text for text in unique if text[0] == "0" and _WHOLE.fullmatch(text) and text != names[text])
    both = [text for text in padded if names[text] in unique]
    if both:
        raise DataError(
            f"{source}: labels {names[both[0]]} and {shown(both[0])} both occur; write each class in one way only"
        )
    written = sorted(text for text in unique - set(padded) if text != names[text])
    notes = tuple(f"labels such as {some[0]} are read as {names[some[0]]}" for some in (padded, written) if some)
    return [names[text] for text in texts], notes


def _whole_value(text: str) -> int | None:
    """Return the whole number from 0 that a text spells, such as 5, 05, 5.0 and 5e0, else None."""
    if _WHOLE.fullmatch(text):
        return int(text)
    value = float(text)
    return int(value) if 0 <= value < _EXACT and value.is_integer() and text[0] not in "+-" else None


def _as_int(label: int | str) -> int | None:
    """Return the integer that a label is or spells without leading zeros or signs ("7", not "07"), else None."""
    if isinstance(label, int | np.integer):
        return int(label)
    try:
        value = int(label)
    except ValueError:  # also for more than 4,300 digits
        return None
    return value if str(value) == label else None


def _encode(values: dict[Any, Any], labels: Sequence[int | str]) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return the index of each label in the order of the values of all labels, and the values as texts."""
    names = sorted(set(values.values()))
    position = {name: k for k, name in enumerate(names)}
    return _indices({label: position[value] for label, value in values.items()}, labels), tuple(map(str, names))


def _indices(index: dict[Any, int], labels: Sequence[int | str]) -> NDArray[np.int64]:
    return np.fromiter(map(index.__getitem__, labels), np.int64, len(labels))


def check_class_name(name: str, source: str) -> None:
    """Raise a DataError if `name` is empty or has characters that cannot be printed."""
    if not name or not name.isprintable():
        raise DataError(f"{source}: {name[:40]!r} cannot be a label; labels are digits or printable text")


def check_classes(names: Sequence[str], source: str) -> None:
    """Raise a DataError if a class has a name that :func:`check_class_name` refuses, or two have the same."""
    for name in names:
        check_class_name(name, source)
    if len(set(names)) != len(names):
        raise DataError(f"{source}: two classes have the same name")


def is_digit(name: str) -> bool:
    """Return whether a class is one of the ten digits, whose labels are written as numbers."""
    return name in DIGIT_CLASSES


def parse_classes(text: str) -> tuple[str, ...]:
    """Return the names of classes in a list such as "0-9", "A-Z,a-z" or "0,1,seven".

    Raises
    ------
    DataError
        If a range is empty or too long, or a name is missing or occurs twice.
    """
    names: list[str] = []
    for part in text.split(","):
        found = _RANGE.fullmatch(part.strip())
        if found is None:
            names.append(part.strip())
            continue
        first, last, low, high = found.groups()
        numbers = range(int(first), int(last) + 1) if first else range(ord(low), ord(high) + 1)
        if not numbers or len(numbers) + len(names) > _MOST:
            raise DataError(f"--classes: {part.strip()} is an empty range, or one of more than {_MOST:,} classes")
        names += [str(number) if first else chr(number) for number in numbers]
    check_classes(names, "--classes")
    return tuple(names)
