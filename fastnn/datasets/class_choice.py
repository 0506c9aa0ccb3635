"""Choosing some of the classes of a data set."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from fastnn.errors import DataError

if TYPE_CHECKING:
    from fastnn.datasets.dataset import Dataset

_SHOWN = 10
"""Most classes that a note names."""


def keep_classes(dataset: Dataset, names: tuple[str, ...]) -> Dataset:
    """Return a data set with these classes alone, in this order, in all its parts; a note counts what is left out.

    Raises
    ------
    DataError
        If the data set has no classes, or no sample of these.
    """
    if dataset.task != "classification":
        raise DataError(f"{dataset.source}: has no classes to choose from (its task is {dataset.task}); drop --classes")
    one = "image" if dataset.is_images else "row"
    kept = _keep(dataset, names)
    if len(kept) == 0:
        known = ", ".join(dataset.names[:_SHOWN])
        raise DataError(f"{dataset.source}: has no {one} of the classes in --classes; its classes are {known}")
    parts = [None if part is None else _keep(part, names) for part in (dataset.test, dataset.validation)]
    test, validation = (part if part is not None and len(part) else None for part in parts)
    if dataset.test is not None and test is None:
        raise DataError(f"{dataset.test.source}: has no {one} of the classes in --classes")
    notes, chosen = [*dataset.notes], set(names)
    left_out = [
        f"{name} ({count:,})"
        for name, count in zip(dataset.names, dataset.counts.tolist(), strict=True)
        if count and name not in chosen
    ]
    if left_out:
        n, more = len(dataset) - len(kept), ", ..." if len(left_out) > _SHOWN else ""
        notes.append(f"{n:,} {one}s of other classes are left out: {', '.join(left_out[:_SHOWN])}{more}")
    missing = [name for name, count in zip(names, kept.counts.tolist(), strict=True) if not count]
    if missing:
        notes.append(f"there is no {one} of class {', '.join(missing[:_SHOWN])}")
    return replace(kept, test=test, validation=validation, notes=tuple(notes))


def _keep(dataset: Dataset, names: tuple[str, ...]) -> Dataset:
    """Return the samples of these classes, with labels that are indices into `names`."""
    index_of = {name: index for index, name in enumerate(names)}
    table = np.asarray([index_of.get(name, -1) for name in dataset.names], dtype=np.int64)
    labels = table[dataset.labels]
    chosen = np.flatnonzero(labels >= 0)
    part = dataset.take(chosen)
    return replace(part, targets=labels[chosen], names=names)
