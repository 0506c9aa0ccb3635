"""Tables in NumPy archives: ``features`` or the arrays of a sparse matrix, with ``targets``."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from fastnn.datasets.columns import Column, total_width
from fastnn.datasets.dataset import Dataset, check_finite
from fastnn.datasets.delimited import MOST_INPUTS
from fastnn.datasets.labels import check_classes
from fastnn.datasets.mapped import MappedRows, row_parts
from fastnn.datasets.sparse import SparseRows, check_structure
from fastnn.datasets.spool import array_on_disk, rows_on_disk
from fastnn.datasets.targets import TargetColumn, Targets, check_task, make_targets
from fastnn.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Arrays = dict[str, NDArray[Any]]

_VALUES_AT_ONCE = 1 << 18
_PARTS = ("indptr", "features", "data", "indices", "shape", "format", "targets")
TABLE_ARRAYS = (
    *_PARTS,
    *(f"test_{name}" for name in _PARTS),
    "task",
    "names",
    "columns",
    "column_categories",
    "categories",
    "notes",
)
"""In the order in which they are read: the number of rows bounds that of texts."""

_SPARSE = ("data", "indices", "indptr", "shape")
"""Names that ``scipy.sparse.save_npz`` gives, so that ``scipy.sparse.load_npz`` reads the file too."""


def is_table(arrays: Arrays) -> bool:
    """Return whether named arrays hold a table, and not images."""
    return "images" not in arrays and not arrays.keys().isdisjoint(("features", "indptr", "targets"))


def table_from_arrays(arrays: Arrays, source: str, task: str | None = None, spool: Path | None = None) -> Dataset:
    """Return the table that named arrays hold.

    Needed are ``features`` (numbers, shape (n, k)), or ``data``, ``indices``, ``indptr`` and ``shape`` as
    ``scipy.sparse.save_npz`` writes a CSR matrix; and ``targets`` (integers, texts or numbers, shape (n,); or
    numbers, shape (n, t)). Optional are ``task``; ``names`` of the classes, of which integer targets are then the
    indices, or of the targets; ``columns``, the names of the columns; ``column_categories``, the number of categories
    of each column, 0 for numbers, and ``categories``, their texts; and the arrays of a test set, with ``test_`` before
    their names.

    Parameters
    ----------
    arrays : dict of str to ndarray
    source : str
        What error messages call them.
    task : {"classification", "multilabel", "regression"}, optional
        By default as ``task`` says, or else decided by the targets.
    spool : Path, optional
        A temporary folder for the features, if they are to be left on the disk.

    Raises
    ------
    DataError
        If an array is missing or has the wrong shape or dtype, or a value is NaN or infinite.
    """
    task = _task(arrays, task, source)
    names = _texts(arrays, "names", source)
    columns = _columns(arrays, source)
    has_test = any(name.startswith("test_") for name in arrays)
    prefixes = ("", "test_") if has_test else ("",)
    features = [_features(arrays, prefix, source, spool) for prefix in prefixes]
    given = [_given_targets(arrays, prefix, len(rows), source) for prefix, rows in zip(prefixes, features, strict=True)]
    if len({rows.shape[1] for rows in features}) > 1:
        raise DataError(f"{source}: the rows of the test set have another number of columns")
    made = _targets(given, names, task, source)
    values = np.split(made.values, [len(given[0])])
    notes = (*(_texts(arrays, "notes", source) or ()), *made.notes)
    _check_on_disk(features[0], source)
    train = Dataset(features[0], values[0], made.names, source, notes=notes, columns=columns)
    if not has_test:
        return train
    _check_on_disk(features[1], f"{source} (test set)")
    # Both are checked as one data set.
    return replace(train, test=Dataset(features[1], values[1], made.names, f"{source} (test set)", columns=columns))


def table_arrays_of(dataset: Dataset) -> dict[str, Any]:
    """Return the arrays of a table and of its test set by the names that :func:`table_from_arrays` takes.

    Raises
    ------
    DataError
        If the names of columns or categories could not be read back.
    """
    arrays = {
        "task": np.array(dataset.task),
        "names": np.array(dataset.names),
        **_rows_and_targets(dataset, ""),
    }
    if dataset.columns is not None:
        _check_columns(dataset.columns, dataset.source)
        arrays["columns"] = np.array([column.name for column in dataset.columns])
        arrays["column_categories"] = np.array([len(column.categories or ()) for column in dataset.columns])
        arrays["categories"] = np.array(
            [text for column in dataset.columns for text in column.categories or ()], dtype=np.str_
        )
    if dataset.test is not None:
        arrays |= _rows_and_targets(dataset.test, "test_")
    return arrays


def _rows_and_targets(dataset: Dataset, prefix: str) -> dict[str, Any]:
    rows = dataset.features
    made: dict[str, Any] = {f"{prefix}targets": dataset.targets}
    if not isinstance(rows, SparseRows):
        return made | {f"{prefix}features": rows}
    parts = {
        "data": rows.values,
        "indices": rows.indices,
        "indptr": rows.row_starts,
        "shape": np.array(rows.shape, dtype=np.int64),
        "format": np.array(b"csr"),
    }
    return made | {f"{prefix}{name}": array for name, array in parts.items()}


def _task(arrays: Arrays, task: str | None, source: str) -> str | None:
    """Return the task that was asked for, or else the one that an archive says."""
    check_task(task)
    if "task" not in arrays:
        return task
    if arrays["task"].ndim or arrays["task"].dtype.kind != "U":
        raise DataError(f"{source}: `task` must be one text")
    own = str(arrays["task"])
    try:
        check_task(own)
    except DataError as error:
        raise DataError(f"{source}: {error}") from None
    if task not in (None, own):
        raise DataError(f"{source}: says that its task is {own}, not {task}; drop --task")
    return own


def _texts(arrays: Arrays, name: str, source: str) -> tuple[str, ...] | None:
    if name not in arrays:
        return None
    array = arrays[name]
    if array.ndim != 1 or (array.dtype.kind != "U" and array.size):
        raise DataError(f"{source}: `{name}` must be a list of texts, not {array.dtype} of shape {array.shape}")
    return tuple(str(text) for text in array.tolist())


def _columns(arrays: Arrays, source: str) -> tuple[Column, ...] | None:
    names = _texts(arrays, "columns", source)
    if names is None:
        return None
    numbers = np.zeros(len(names), dtype=np.int64)
    counts, texts = arrays.get("column_categories", numbers), _texts(arrays, "categories", source) or ()
    if counts.shape != numbers.shape or counts.dtype.kind not in "iu" or (counts.size and counts.min() < 0):
        raise DataError(f"{source}: `column_categories` must be a number of categories for each of `columns`")
    if sum(map(int, counts)) != len(texts):
        raise DataError(f"{source}: `column_categories` adds up to another number than there are `categories`")
    ends = np.cumsum(counts, dtype=np.int64).tolist()
    columns = []
    for name, count, end in zip(names, counts.tolist(), ends, strict=True):
        columns.append(Column(name, texts[end - count : end] if count else None))
    _check_columns(columns, source)
    if total_width(tuple(columns)) > MOST_INPUTS:
        raise DataError(f"{source}: has more than {MOST_INPUTS:,} inputs")
    return tuple(columns)


def _check_columns(columns: Sequence[Column], source: str) -> None:
    check_names([column.name for column in columns], "column", source)
    for column in columns:
        check_names(column.categories or (), f"category of column {column.name[:40]!r}", source)
        if column.categories == ():
            raise DataError(f"{source}: column {column.name[:40]!r} has no categories")


def check_names(names: Sequence[str], what: str, source: str) -> None:
    """Raise a DataError if a name is empty or cannot be printed, or two are the same."""
    for name in names:
        if not name or not name.isprintable():
            raise DataError(f"{source}: {name[:40]!r} cannot be the name of a {what}; use printable text")
    if len(set(names)) != len(names):
        raise DataError(f"{source}: a {what} is named twice")


def _features(arrays: Arrays, prefix: str, source: str, spool: Path | None) -> NDArray[Any] | SparseRows:
    if f"{prefix}features" not in arrays and f"{prefix}indptr" in arrays:
        return _sparse(arrays, prefix, source, spool)
    name = f"{prefix}features"
    features = _needed(arrays, name, source)
    if features.ndim != 2 or features.dtype.kind not in "biuf":
        raise DataError(
            f"{source}: `{name}` must be numbers of shape (n, k), not {features.dtype} of shape {features.shape}"
        )
    if not features.size:
        raise DataError(f"{source}: `{name}` holds no values")
    if isinstance(features, MappedRows):
        return cast("NDArray[Any]", features)
    if spool is not None:
        kind = float_type(features.dtype)
        return cast("NDArray[Any]", rows_on_disk(spool, row_parts(features), kind, features.shape[1]))
    return np.ascontiguousarray(_floats(features))


def _sparse(arrays: Arrays, prefix: str, source: str, spool: Path | None) -> SparseRows:
    values, indices, starts, shape = (_needed(arrays, f"{prefix}{name}", source) for name in _SPARSE)
    form = arrays.get(f"{prefix}format")
    if form is not None and (form.ndim or form.astype(np.bytes_) != b"csr"):
        raise DataError(f"{source}: the sparse matrix is not in the format csr; store matrix.tocsr()")
    if shape.shape != (2,) or shape.dtype.kind not in "iu" or not 0 < int(shape[1]) <= MOST_INPUTS:
        raise DataError(
            f"{source}: `{prefix}shape` must be a number of rows, and one of columns from 1 to {MOST_INPUTS:,}"
        )
    if starts.dtype.kind not in "iu" or len(np.atleast_1d(starts)) != int(shape[0]) + 1 or int(shape[0]) < 1:
        raise DataError(
            f"{source}: `{prefix}indptr` must be an integer for each row and one more, for at least one row"
        )
    if values.dtype.kind not in "biuf":
        raise DataError(f"{source}: `{prefix}data` must be numbers, not {values.dtype}")
    try:
        # Before the indices are converted, which would make small numbers of large ones.
        check_structure(starts, indices, values, int(shape[1]))
        return SparseRows(
            _converted(values, float_type(values.dtype), spool),
            _converted(indices, np.dtype(np.int32), spool),
            _converted(starts, np.dtype(np.int64), spool),
            int(shape[1]),
        )
    except DataError as error:
        raise DataError(f"{source}: {error}") from None


def _converted(array: NDArray[Any], dtype: np.dtype[Any], spool: Path | None) -> NDArray[Any]:
    """Return an array of another type, left on the disk if a temporary folder is given."""
    if spool is None or array.dtype == dtype or not array.size:
        return array.astype(dtype, copy=False)
    return array_on_disk(spool, (part.astype(dtype) for part in row_parts(array, _VALUES_AT_ONCE)))


def _floats(array: NDArray[Any]) -> NDArray[Any]:
    """Return an array as float32 or float64 of this machine's byte order."""
    return array.astype(float_type(array.dtype), copy=False)


def float_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type of rows of numbers of some type: float32 stays, all others become float64."""
    return np.dtype(np.float32 if dtype.kind == "f" and dtype.itemsize == 4 else np.float64)


def _check_on_disk(rows: NDArray[Any] | SparseRows, source: str) -> None:
    """Raise a DataError if rows that are left on the disk are not finite; a data set checks others itself."""
    if isinstance(rows, MappedRows):
        check_finite(cast("NDArray[Any]", rows), source, "a feature")


def _given_targets(arrays: Arrays, prefix: str, n: int, source: str) -> NDArray[Any]:
    name = f"{prefix}targets"
    targets = _needed(arrays, name, source)
    if targets.ndim not in (1, 2) or targets.dtype.kind not in ("biufU" if targets.ndim == 1 else "biuf"):
        raise DataError(
            f"{source}: `{name}` must be integers, texts or numbers of shape (n,), or numbers of shape (n, t), "
            f"not {targets.dtype} of shape {targets.shape}"
        )
    if len(targets) != n:
        raise DataError(f"{source}: {n:,} rows but {len(targets):,} {name}")
    if targets.ndim == 2 and not targets.shape[1]:
        raise DataError(f"{source}: `{name}` has no columns")
    if targets.dtype.kind == "f" and not np.isfinite(targets).all():
        row = int(np.nonzero(~np.isfinite(targets))[0][0])
        raise DataError(f"{source}: `{name}` is NaN or infinite in row {row} (from 0); fill it in or leave the row out")
    return targets.astype(np.int64) if targets.dtype.kind == "b" else targets


def _targets(given: list[NDArray[Any]], names: tuple[str, ...] | None, task: str | None, source: str) -> Targets:
    """Return the targets of training and test set together."""
    if len({(part.ndim, part.shape[1:], part.dtype.kind == "U") for part in given}) > 1:
        raise DataError(f"{source}: `targets` and `test_targets` have different forms")
    together = np.concatenate(given)
    if names is not None:
        check_classes(names, source)
        if together.ndim == 1 and task in (None, "classification"):
            return Targets(_indices(together, names, source), names)
        if len(names) != (together.shape[1] if together.ndim == 2 else 1):
            raise DataError(f"{source}: {len(names):,} names for targets of shape {together.shape}")
    if together.ndim == 1:
        together = together[:, None]
    named = names or (
        ("target",) if together.shape[1] == 1 else tuple(f"target {k + 1}" for k in range(together.shape[1]))
    )
    return make_targets([_column(name, together[:, k]) for k, name in enumerate(named)], task, source)


def _column(name: str, values: NDArray[Any]) -> TargetColumn:
    if values.dtype.kind != "U":
        return TargetColumn(name, values)
    texts, codes = np.unique(values, return_inverse=True)
    return TargetColumn(name, None, tuple(str(text) for text in texts.tolist()), codes.astype(np.int64))


def _indices(targets: NDArray[Any], names: tuple[str, ...], source: str) -> NDArray[np.int64]:
    """Return the class index of each target: an index already, or the text of a name."""
    if targets.dtype.kind == "U":
        index = {name: k for k, name in enumerate(names)}
        unknown = set(targets.tolist()) - index.keys()
        if unknown:
            raise DataError(f"{source}: target {min(unknown)[:40]!r} is not among `names`")
        return np.array([index[text] for text in targets.tolist()], dtype=np.int64)
    if targets.dtype.kind == "f":
        raise DataError(f"{source}: `targets` must be integers or texts if `names` holds the names of classes")
    outside = targets[(targets < 0) | (targets >= len(names))]
    if outside.size:
        raise DataError(f"{source}: target {outside[0]} is no index into `names`, which has {len(names):,}")
    return targets.astype(np.int64)


def _needed(arrays: Arrays, name: str, source: str) -> NDArray[Any]:
    if name not in arrays:
        raise DataError(f"{source}: no array `{name}`; a table needs `features` and `targets`")
    return arrays[name]
