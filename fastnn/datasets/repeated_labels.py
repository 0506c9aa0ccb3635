"""Labels that are rather numbers or names of the images than classes, and classes unlike the others."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from fastnn.datasets.delimited import shown
from fastnn.errors import DataError

if TYPE_CHECKING:
    from fastnn.datasets.dataset import Dataset

ENOUGH_ROWS = 20
"""In fewer rows, each may well be of a class of its own."""
_FEWEST = 5
_ONE_TO_TEN = tuple(map(str, range(1, 11)))
_MOST_ODD, _ODD_AMONG = 2, 5
"""So few texts among so many numbers may not be meant as classes."""
_LARGE_NUMBER = re.compile(r"[0-9]{3,}")
"""Fewer than a hundred classes have shorter numbers."""
_FILE_NAME = re.compile(r".*\.[A-Za-z]{2,5}")
_SHOWN = 3


def check_labels_repeat(dataset: Dataset, *, has_columns: bool) -> None:
    """Raise a DataError if the labels of images are rather numbers or names of the images than classes.

    With 20 images or more, that is so if no two have the same label, except for single characters, which may be an
    alphabet; or if the labels are numbers of three digits or more, and most occur once. With fewer images, if the
    labels are such numbers, or names of files, and no two are the same.

    Parameters
    ----------
    dataset : Dataset
        Images. Those of the test and validation set may all be different if the training set has their classes.
    has_columns : bool
        Whether another column could be the label.
    """
    for part in (dataset, dataset.test, dataset.validation):
        if part is None:
            continue
        used = np.flatnonzero(part.counts)
        is_new = part is dataset or 2 * np.count_nonzero(dataset.counts[used]) < len(used)
        names = [part.names[k] for k in used.tolist()]
        if not is_new or not _differ(names, len(part)):
            continue
        examples = ", ".join(map(shown, names[:_SHOWN]))
        which = "choose the column of the label with --target, or" if has_columns else "correct them, or"
        raise DataError(
            f"{part.source}: {len(part):,} images have {len(names):,} different labels ({examples}, ...), which are "
            f"rather numbers or names of the images than classes; {which} list the classes with --classes if they are "
            "right"
        )


def odd_classes_note(dataset: Dataset) -> str | None:
    """Return a note on classes that may not be meant so.

    One or two that are texts among numbers, such as "Total" or "unlabelled"; and 10, if it may be the digit 0.
    """
    if dataset.names == _ONE_TO_TEN and dataset.counts.all():
        return "labels are 1 to 10; if 10 is the digit 0, as MATLAB has it, write 0 there"
    counts = dict(zip(dataset.names, dataset.counts.tolist(), strict=True))
    used = [name for name, count in counts.items() if count]
    odd = [name for name in used if len(name) > 1 and not any(map(str.isdecimal, name))]
    if not 0 < len(odd) <= _MOST_ODD or len(used) - len(odd) < _ODD_AMONG:
        return None
    if not all(name.isdecimal() for name in used if name not in odd):
        return None
    listed = " and ".join(f"{shown(name)} ({counts[name]:,} image{'s' * (counts[name] > 1)})" for name in odd)
    return f"classes are numbers, but also {listed}; --classes leaves {'it' if len(odd) == 1 else 'them'} out"


def _differ(names: list[str], n: int) -> bool:
    """Return whether these labels of `n` images are rather numbers or names of the images."""
    all_numbers = all(map(_LARGE_NUMBER.fullmatch, names[-1:])) and all(map(str.isdecimal, names))
    if n >= ENOUGH_ROWS:
        is_alphabet = all(len(name) == 1 for name in names)
        return (len(names) == n and not is_alphabet) or (2 * len(names) > n and all_numbers)
    return n >= _FEWEST and len(names) == n and (all_numbers or all(map(_FILE_NAME.fullmatch, names)))
