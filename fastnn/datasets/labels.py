"""Labels as sources write them, encoded as class indices."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastnn.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

DIGIT_CLASSES = tuple("0123456789")

_INT64 = range(2**63)


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
        return _encode_text([str(label) for label in labels])
    outside = [value for value in integers.values() if value not in _INT64]
    if outside:
        raise DataError(f"{source}: {str(min(outside))[:40]} cannot be a label; integer labels are 0 to 2^63 - 1")
    return _encode_integers([integers[label] for label in labels])


def _as_int(label: int | str) -> int | None:
    """Return the integer that a label is or spells without leading zeros or signs ("7", not "07"), else None."""
    if isinstance(label, int | np.integer):
        return int(label)
    try:
        value = int(label)
    except ValueError:  # also for more than 4,300 digits
        return None
    return value if str(value) == label else None


def _encode_integers(labels: Sequence[int]) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    values = np.asarray(labels, dtype=np.int64)
    if values.size == 0 or values.max() <= 9:
        return values, DIGIT_CLASSES
    unique, indices = np.unique(values, return_inverse=True)
    return indices.astype(np.int64), tuple(str(value) for value in unique)


def _encode_text(labels: Sequence[str]) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    unique, indices = np.unique(np.asarray(labels, dtype=object), return_inverse=True)
    return indices.astype(np.int64), tuple(str(name) for name in unique)


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
