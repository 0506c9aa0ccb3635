"""Sparse rows written with all their zeros, for a store, which holds dense rows."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from fastnn import large_arrays
from fastnn.datasets.cells import MOST_CELLS
from fastnn.datasets.safe_read import FILE_LIMIT, is_packed
from fastnn.datasets.sparse import SparseRows
from fastnn.datasets.spool import rows_on_disk
from fastnn.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from fastnn.datasets.dataset import Dataset
    from fastnn.datasets.mapped import MappedRows

_MOST_RATIO = 100
"""How much larger rows may become, if they become larger than :data:`_LARGE`."""
_LARGE = 10_000_000_000
"""Bytes up to which rows may become larger by any factor."""
_VALUES_AT_ONCE = 1 << 18


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
    dtype = np.dtype(
        np.float32 if all(_are_float32(cast("SparseRows", one.features)) for one in sparse) else np.float64
    )
    _check_room(sparse, spool, dtype)
    made = [_written(one, spool, dtype) for one in sparse]
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


def _are_float32(rows: SparseRows) -> bool:
    """Return whether all values are exactly those of float32; looks at the stored ones alone."""
    if rows.dtype == np.float32:
        return True
    start = 0
    while start < len(rows):
        most = rows.row_starts[start] + _VALUES_AT_ONCE
        fits = int(np.searchsorted(rows.row_starts, most, "right")) - 1
        stop = min(max(fits, start + 1), start + large_arrays.ROWS_IN_PART, len(rows))
        part = rows.take(np.arange(start, stop))
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            # Values of one column in a row are added.
            values = part.values if part.is_in_order() else part.without_zeros().values
            if not (values.astype(np.float32) == values).all():
                return False
        start = stop
    return True


def _check_room(sparse: list[Dataset], spool: Path, dtype: np.dtype[Any]) -> None:
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
        fix = "train on it as it is" if now <= FILE_LIMIT and all(map(_fits_whole, sparse)) else "leave out columns"
        raise DataError(f"{sparse[0].source}: its rows are sparse, and with all their zeros they are {fault}; {fix}")


def _fits_whole(dataset: Dataset) -> bool:
    """Return whether the source of sparse rows is surely small enough to be read without a store."""
    rows: Any = dataset.features
    columns = dataset.columns
    cells = len(rows) + (rows.values.size if columns is None else len(rows) * len(columns))
    try:
        size = Path(dataset.source).stat().st_size
    except (OSError, ValueError):
        size = 0  # the data are no file
    return cells <= MOST_CELLS and size <= FILE_LIMIT and not is_packed(dataset.source)


def _written(dataset: Dataset, spool: Path, dtype: np.dtype[Any]) -> MappedRows:
    rows: Any = dataset.features
    return rows_on_disk(spool, _dense_parts(rows, dataset.source), dtype, rows.n_columns)


def _dense_parts(rows: SparseRows, source: str) -> Iterator[NDArray[Any]]:
    step = max(1, _VALUES_AT_ONCE // rows.n_columns)
    for start in range(0, len(rows), step):
        with np.errstate(over="ignore"):
            dense = rows.take(np.arange(start, min(start + step, len(rows)))).toarray()
        if not np.isfinite(dense).all():
            raise DataError(f"{source}: values of one column in a row add up to infinity; correct them")
        yield dense
