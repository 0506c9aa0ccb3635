"""Sparse rows written with all their zeros, for a store, which holds dense rows."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn.datasets.sparse import SparseRows
from fastnn.datasets.spool import rows_on_disk
from fastnn.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from fastnn.datasets.dataset import Dataset
    from fastnn.datasets.mapped import MappedRows

_MOST_RATIO = 100
"""How much larger rows may become, if they become larger than :data:`_LARGE`."""
_LARGE = 10 << 30
_VALUES_AT_ONCE = 1 << 18


class _NotExactError(Exception):
    """A value is not one of float32."""


def with_dense_rows(dataset: Dataset, spool: Path) -> Dataset:
    """Return a data set with dense rows instead of sparse ones, left on the disk, and a note; others as they are.

    The rows are float32 if all values of all parts are exactly that, and else float64.

    Parameters
    ----------
    dataset : Dataset
    spool : Path
        A temporary folder.

    Raises
    ------
    DataError
        If the rows would take far more room than now, or more than the disk has, or values of one column in a row add
        up to infinity.
    """
    parts = [part for part in (dataset, dataset.test, dataset.validation) if part is not None]
    sparse = [part for part in parts if isinstance(part.features, SparseRows)]
    if not sparse:
        return dataset
    try:
        made = _written(sparse, spool, np.dtype(np.float32))
    except _NotExactError:
        made = _written(sparse, spool, np.dtype(np.float64))
    rows: dict[int, Any] = {id(part): one for part, one in zip(sparse, made, strict=True)}

    def dense(part: Dataset | None) -> Dataset | None:
        return part if part is None else replace(part, features=rows.get(id(part), part.features))

    note = f"the rows are sparse and were written with all their zeros, {dataset.n_inputs:,} numbers each"
    return replace(
        dataset,
        features=rows.get(id(dataset), dataset.features),
        test=dense(dataset.test),
        validation=dense(dataset.validation),
        notes=(*dataset.notes, note),
    )


def _written(sparse: list[Dataset], spool: Path, dtype: np.dtype[Any]) -> list[MappedRows]:
    """Return the rows of data sets; _NotExactError if a value is not one of this type."""
    features: list[Any] = [one.features for one in sparse]
    size = sum(len(rows) * rows.n_columns * dtype.itemsize for rows in features)
    now = sum(rows.values.nbytes + rows.indices.nbytes + rows.row_starts.nbytes for rows in features)
    free = shutil.disk_usage(spool).free
    fault = None
    if size > _LARGE and size > _MOST_RATIO * now:
        fault = f"{size / 1e9:,.1f} GB, {size // now:,} times as large, too much for a store"
    elif size > free:
        fault = f"{size / 1e9:,.1f} GB, but the disk of the store has {free / 1e9:,.1f} GB left"
    if fault is not None:
        raise DataError(
            f"{sparse[0].source}: its rows are sparse, and with all their zeros they are {fault}; train on it as it is"
        )
    return [
        rows_on_disk(spool, _dense_parts(rows, one.source, dtype), dtype, rows.n_columns)
        for one, rows in zip(sparse, features, strict=True)
    ]


def _dense_parts(rows: SparseRows, source: str, dtype: np.dtype[Any]) -> Iterator[NDArray[Any]]:
    step = max(1, _VALUES_AT_ONCE // rows.n_columns)
    for start in range(0, len(rows), step):
        with np.errstate(over="ignore", under="ignore"):
            dense = rows.take(np.arange(start, min(start + step, len(rows)))).toarray()
            narrow = dense.astype(dtype, copy=False)
        if not np.isfinite(dense).all():
            raise DataError(f"{source}: values of one column in a row add up to infinity; correct them")
        if narrow is not dense and not (narrow == dense).all():
            raise _NotExactError
        yield narrow
