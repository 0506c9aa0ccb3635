"""Labels in arrays: of integers, whole floats, texts, or one-hot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastnn.datasets.labels import SharedTexts, canonical_labels, check_classes, encode_array, encode_labels
from fastnn.datasets.mapped import row_parts
from fastnn.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_INT64_AS_FLOAT = 2.0**63
_MOST_CHARACTERS = 1 << 27
"""Most characters of an array of labels, of 4 bytes each; every label takes as many as the longest one."""
_LABELS_AT_ONCE = 1 << 16


class Encoded(NamedTuple):
    """Class indices of the parts of a data set.

    Attributes
    ----------
    parts : list of ndarray of int64
    classes : tuple of str
    notes : tuple of str
    """

    parts: list[NDArray[np.int64]]
    classes: tuple[str, ...]
    notes: tuple[str, ...]


def as_list(array: NDArray[Any], n: int, source: str) -> tuple[NDArray[Any], str | None]:
    """Return the labels of `n` samples as one list, and a note if they were one-hot.

    Parameters
    ----------
    array : ndarray
        Numbers or texts of shape (n,), (n, 1), (1, n), or one-hot numbers of shape (n, k) or (k, n).
    n : int
    source : str
        What error messages call it.

    Returns
    -------
    labels : ndarray, shape (n,)
        Of int64, uint64 or text.
    note : str or None

    Raises
    ------
    DataError
        If it is none of these.
    """
    shape, note = array.shape, None
    if array.dtype.kind not in "biufUS" or array.size == 0:
        raise DataError(f"{source}: {array.dtype} of shape {shape} cannot be labels; store integers or texts")
    if sum(length > 1 for length in shape) <= 1 and array.size == n:
        labels = array.reshape(n)
    elif len(shape) == 2 and n in shape and array.dtype.kind in "biuf":
        marks = array if shape[0] == n else array.T
        if not is_one_hot(marks):
            raise DataError(
                f"{source}: labels of shape {shape} are not one-hot, with a single 1 for each sample; images have one "
                "class each"
            )
        labels, note = marks.argmax(axis=1), f"one-hot labels of {marks.shape[1]:,} classes"
    else:
        raise DataError(f"{source}: shape {shape} cannot be the labels of {n:,} samples")
    if labels.dtype.kind == "S":
        return _decoded(labels, source), note
    if labels.dtype.kind == "f":
        return _whole(labels, source), note
    return labels.astype(np.int64) if labels.dtype.kind == "b" else labels, note


def text_array(texts: Sequence[str], source: str) -> NDArray[np.str_]:
    """Return texts as an array.

    Raises
    ------
    DataError
        If one is so long that the array would take too much memory.
    """
    longest = max(map(len, texts), default=0)
    if longest * len(texts) > _MOST_CHARACTERS:
        raise DataError(f"{source}: a text of {longest:,} characters cannot be a label; shorten it")
    return np.array(texts, dtype=np.str_)


def is_one_hot(marks: NDArray[Any]) -> bool:
    """Return whether each row of an array of two dimensions has a single 1 and otherwise 0."""
    return bool(marks.shape[1] > 1 and ((marks == 0) | (marks == 1)).all() and (marks.sum(axis=1) == 1).all())


def are_classes(array: NDArray[Any], n: int) -> bool:
    """Return whether an array holds one class for each of `n` samples, and not numbers to be estimated."""
    try:
        as_list(array, n, "labels")
    except DataError:
        return False
    return True


def encode(
    parts: Sequence[NDArray[Any]], names: NDArray[Any] | None, source: str, *, from_matlab: bool = False
) -> Encoded:
    """Return class indices and names of the labels of all parts, which are encoded together.

    Parameters
    ----------
    parts : sequence of ndarray
        As :func:`as_list` returns them.
    names : ndarray of text or None
        Names of the classes, of which integer labels are the indices.
    source : str
    from_matlab : bool
        Whether a label 10 among 1 to 10 is the digit 0, which MATLAB cannot use as an index.

    Raises
    ------
    DataError
        If a label cannot be a class.
    """
    sizes = np.cumsum([len(part) for part in parts])[:-1]
    notes: list[str] = []
    if all(part.dtype.kind in "iu" for part in parts):
        numbers = np.concatenate(parts)
        if from_matlab and len(np.unique(numbers)) == numbers.max() == 10 and numbers.min() == 1:
            numbers = numbers % 10
            notes.append("label 10 is the digit 0")
        elif names is not None and numbers.min() >= 0 and numbers.max() < names.size:
            texts = tuple(str(name) for name in names.ravel().tolist())
            check_classes(texts, source)
            return Encoded(np.split(numbers.astype(np.int64), sizes), texts, ())
        indices, classes = encode_array(numbers, source)
    else:
        shared = SharedTexts()
        pieces = (piece for part in parts for piece in row_parts(part, _LABELS_AT_ONCE))
        listed, found = canonical_labels(
            [shared.of(str(label)) for piece in pieces for label in piece.tolist()], source
        )
        notes += found
        indices, classes = encode_labels(listed, source)
    return Encoded(np.split(indices, sizes), classes, tuple(notes))


def _whole(labels: NDArray[Any], source: str) -> NDArray[np.int64]:
    wrong = ~np.isfinite(labels) | (np.abs(labels) >= _INT64_AS_FLOAT)
    wrong |= labels != np.rint(np.where(wrong, 0, labels))
    if wrong.any():
        row = int(wrong.argmax())
        raise DataError(f"{source}: label {labels[row]:g} (row {row}, from 0) is not a whole number")
    return np.asarray(labels, dtype=np.int64)


def _decoded(labels: NDArray[np.bytes_], source: str) -> NDArray[np.str_]:
    try:
        return np.char.decode(labels, "utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{source}: the labels are bytes that are no text ({error.reason}); store texts") from None
