"""Labels as sources write them, turned into class indices."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastnn.datasets.dataset import encode_labels
from fastnn.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

_INT64 = range(2**63)


def _as_int(label: int | str) -> int | None:
    """Return the integer that a label is or spells in its one usual way ("7", not "07"), else None."""
    if isinstance(label, int):
        return label
    try:
        value = int(label)
    except ValueError:
        return None
    return value if str(value) == label else None


def classes_of(labels: Sequence[int | str], where: str) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return the class index of each label, and the classes.

    Where every label is an integer or spells one, they are ordered by value, so that a set keeps its classes in
    formats that know only text.

    Parameters
    ----------
    labels : sequence of int or str
    where : str
        What errors call the source.

    Returns
    -------
    indices : ndarray of int64, shape (n,)
    classes : tuple of str

    Raises
    ------
    DataError
        If a name is empty or unprintable, or an integer negative or too large.
    """
    unique = set(labels)
    for label in unique:
        check_name(str(label), where)
    integers = {label: value for label in unique if (value := _as_int(label)) is not None}
    if len(integers) == len(unique):
        outside = [value for value in integers.values() if value not in _INT64]
        if outside:
            raise DataError(f"{where}: {min(outside)} cannot be a label; integers are 0 or more, of 64 bits at most")
        return encode_labels([integers[label] for label in labels])
    return encode_labels([str(label) for label in labels])


def check_name(name: str, where: str) -> None:
    """Raise a DataError if `name` cannot be the name of a class: empty, or of characters that cannot be printed."""
    if not name or not name.isprintable():
        raise DataError(f"{where}: {name[:40]!r} cannot be a label; labels are digits or printable text")


def is_digit(name: str) -> bool:
    """Return whether a class is one of the ten digits, whose labels are written as numbers."""
    return len(name) == 1 and name in "0123456789"
