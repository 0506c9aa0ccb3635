"""Samples as baseline + deviation, in the form that the kernels read: images, rows of floats and sparse rows."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from fastnn import large_arrays
from fastnn.datasets.mapped import ChangedRows, MappedRows, row_parts
from fastnn.datasets.sparse import SparseRows, check_structure
from fastnn.errors import DataError
from fastnn.kernels.workspace import BLOCK, INPUTS_PER_STEP

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike, NDArray

    from fastnn.datasets.scaling import Scaling

DENSE_FROM = 0.6
"""Share of deviating inputs from which the dense first layer is faster; "auto" uses it from there on."""

ALL_ONES = np.ones(1, dtype=np.float32)
"""The baseline of images of white paper that is fed as 1: mu is 1 for all inputs, of which there may be any number."""

WHITE = 255

_LEVEL_ROWS = 1000
"""Number of rows in which the most common values of the columns are looked for."""

_ROWS_AT_ONCE = 1024
"""Rows in a part of a computation over all of them, so that it needs little memory."""


_MOST_LOST = 16.0
"""Largest mu·mu times the machine epsilon. At 4, networks are as good as on dense rows; at 9 to 12, the loss is up to a
tenth larger; at 1200, four times."""


class KernelInput:
    """Samples in the form that the kernels read; made by one of the subclasses.

    A sample is x = mu + d: the baseline mu plus a deviation d. A sparse first layer visits only inputs with d != 0.

    Attributes
    ----------
    n, n_inputs : int
        Number of samples, and of inputs of each.
    reader : {"images", "float32", "float64", "sparse"}
        Kind of the data, see :func:`fastnn.kernels.inputs.reader`.
    first_layer : {"sparse", "dense"}
        Whether kernels visit only inputs that deviate, or all.
    baseline : ndarray, shape (padded n_inputs,), or None
        mu, in the type of the network's parameters; ALL_ONES; or None if it is 0 for all inputs.
    baseline_square : float
        mu·mu.
    n_slots : int
        Most inputs that deviate in a block of samples, rounded up to a multiple of INPUTS_PER_STEP.
    arrays : dict of str to ndarray
        Arguments of the kernel: ``data`` and others, see :func:`fastnn.kernels.workspace.arguments_dtype`.
    row_stride : int
        Numbers from one row of `data` to the next.
    mapped : MappedRows or None
        The samples, if they are rows of a mapped array: ``data`` is then all of that array, and ``mapped.index`` says
        which row a sample is.
    changed : ChangedRows or None
        The samples, if they must be read to a buffer first: ``data`` holds none of them.
    kind : object
        Equal for data that differ in nothing but ``data``, `n` and `mapped`.
    density : float
        Share of the values that deviate, of rows; see :func:`density` for images.
    white, factor : int, float
        Of images: a pixel's deviation is (grey level - white) * factor. 0 and 1 for other data.
    """

    reader: str
    first_layer: str
    baseline: NDArray[Any] | None = None
    baseline_square = 0.0
    density = 1.0
    white, factor = 0, 1.0
    mapped: MappedRows | None = None
    changed: ChangedRows | None = None

    def __init__(self, n: int, n_inputs: int, n_slots: int, row_stride: int, **arrays: NDArray[Any]) -> None:
        self.n, self.n_inputs, self.row_stride, self.arrays = n, n_inputs, row_stride, arrays
        self.n_slots = _whole_steps(n_slots)
        self.kind: object = object()

    def like(self, features: Any) -> KernelInput:
        """Return other samples, with the same baseline and scaling as these."""
        raise NotImplementedError

    def positions(self, samples: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the positions of these samples in ``data``."""
        return samples if self.mapped is None else self.mapped.positions(samples)

    def by_position(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return a value for each row of ``data``, given one for each sample; 0 for rows that are no sample."""
        if self.mapped is None or self.mapped.index is None:
            return values
        spread = large_arrays.zeros((len(self.arrays["data"]), *values.shape[1:]), values.dtype)
        spread[self.mapped.index] = values
        return spread

    def _check_width(self, n_inputs: int) -> None:
        if n_inputs != self.n_inputs:
            raise DataError(f"the samples have {n_inputs} columns, but {self.n_inputs} are needed")

    def _set_baseline(self, baseline: NDArray[np.float64], dtype: DTypeLike) -> None:
        if baseline.any():
            self.baseline = self.arrays["baseline"] = np.zeros(_whole_steps(self.n_inputs), dtype)
            with np.errstate(over="ignore"):  # seen in the square
                self.baseline[: self.n_inputs] = baseline
            # An exact sum, so that it is the same on every machine.
            self.baseline_square = math.fsum(self.baseline.astype(np.float64) ** 2)
            # The products of mu with itself would hide what the deviations say.
            if not _keeps_precision(self.baseline, dtype):
                column = int(np.abs(baseline).argmax())
                raise DataError(
                    f"column {column}: a mean that is {abs(baseline[column]):.3g} standard deviations (units, if the "
                    f"column is constant) from the most common value is too large for {np.dtype(dtype)}; subtract a "
                    "constant from the column, or train with --dtype float64"
                )


class ImageInput(KernelInput):
    """Images in the form that the kernels read.

    Parameters
    ----------
    images : ndarray of uint8 or MappedRows, shape (n, pixels)
        255 = white.
    invert : bool
        Whether the network's input is 1 - value / 255 instead of value / 255.
    first_layer : {"auto", "sparse", "dense"}
        "auto" decides by the share of pixels that are not white.

    Attributes
    ----------
    images : ndarray of uint8, shape (n, padded pixels)
        Padded with pixels whose deviation is 0.
    """

    reader = "images"

    def __init__(self, images: NDArray[np.uint8], invert: bool, first_layer: str = "auto") -> None:
        if first_layer == "auto":
            first_layer = "sparse" if density(images) < DENSE_FROM else "dense"
        self.first_layer, self.invert = first_layer, invert
        sparse = first_layer == "sparse"
        self.white, self.factor = WHITE if sparse or invert else 0, (-1 if invert else 1) / WHITE
        n, n_inputs = images.shape
        if isinstance(images, MappedRows) and n_inputs % INPUTS_PER_STEP:
            images = np.asarray(images)
        if isinstance(images, ChangedRows):
            self.changed = images
            images = np.full((1, n_inputs), WHITE, dtype=np.uint8)
        self.mapped = images if isinstance(images, MappedRows) else None
        self.images = padded(images, self.white) if self.mapped is None else self.mapped.base
        if sparse and not invert:
            self.baseline, self.baseline_square = ALL_ONES, float(n_inputs)
        row_stride = self.images.shape[1]
        super().__init__(n, n_inputs, row_stride, row_stride, data=self.images)
        self.kind = ("images", invert, first_layer, n_inputs)

    def like(self, features: NDArray[np.uint8]) -> ImageInput:
        """Return other images, with the same first layer."""
        return ImageInput(features, self.invert, self.first_layer)

    def empty_like(self, n: int) -> ImageInput:
        """Return an ImageInput of the same kind with `n` white images, as a buffer to write to."""
        white = np.full((n, self.n_inputs), WHITE, dtype=np.uint8)
        return ImageInput(white, self.invert, self.first_layer)


class RowInput(KernelInput):
    """Rows of floats in the form that the kernels read.

    Parameters
    ----------
    rows : array_like or MappedRows, shape (n, n_inputs)
        float32 or float64 in C order are read where they are, a memory-mapped or read-only array too. Other numbers
        are converted to `dtype`, other orders copied.
    dtype : dtype
        Type of the network's parameters.
    mean, scale : array_like, shape (n_inputs,), optional
        The network's input is (value - mean) * scale.
    level : array_like, shape (n_inputs,), optional
        Value of each input whose deviation is 0; by default the most common one if that makes most deviations 0
        (:func:`find_levels`), or the mean.
    first_layer : {"auto", "sparse", "dense"}
        "auto" decides by the share of values that are not the level.

    Raises
    ------
    DataError
        If `rows` is not a matrix of numbers, or another argument does not have one number for each input.
    """

    def __init__(
        self,
        rows: ArrayLike,
        dtype: DTypeLike,
        *,
        mean: ArrayLike | None = None,
        scale: ArrayLike | None = None,
        level: ArrayLike | None = None,
        first_layer: str = "auto",
    ) -> None:
        values = rows if isinstance(rows, MappedRows) else as_rows(rows, dtype)
        n, n_inputs = values.shape
        means, scales = _vector("mean", mean, n_inputs, 0.0), _vector("scale", scale, n_inputs, 1.0)
        found, share = (None, 1.0)
        if level is not None:
            found = _vector("level", level, n_inputs, 0.0)
            share = _share_of_others(values, found) if first_layer == "auto" else 1.0
        elif first_layer != "dense":
            found, share = find_levels(values)
        if first_layer == "auto":
            fits = share < DENSE_FROM and found is not None and _keeps_precision((found - means) * scales, dtype)
            first_layer = "sparse" if fits else "dense"
        # A dense first layer visits all inputs, so that it needs no baseline.
        levels = means if found is None or first_layer == "dense" else found
        self.reader, self.first_layer, self.density = values.dtype.name, first_layer, share
        if levels is not means:
            # Levels are values of the data: the difference of equal values is exactly 0.
            levels = _cast(levels, values.dtype).astype(np.float64)
        wide = np.result_type(values.dtype, dtype)
        arrays = {"levels": _cast(levels, wide), "scales": _cast_scales(scales, wide)}
        self.mapped = values if isinstance(values, MappedRows) else None
        data = values.base if isinstance(values, MappedRows) else values
        super().__init__(n, n_inputs, n_inputs, n_inputs, data=data, **arrays)
        self._set_baseline((levels - means) * scales, dtype)

    def with_rows(self, rows: NDArray[Any]) -> RowInput:
        """Return other rows with these levels, means and scales.

        `rows` must be a C-contiguous matrix of the same width and type, which is not checked (for the call's speed).
        """
        other = copy.copy(self)
        other.n, other.arrays, other.mapped = len(rows), {**self.arrays, "data": rows}, None
        return other

    def like(self, features: ArrayLike) -> RowInput:
        """Return other rows, of any type and order, with these levels, means and scales."""
        dtype = self.arrays["data"].dtype
        if isinstance(features, MappedRows) and features.dtype == dtype:
            self._check_width(features.shape[1])
            mapped = self.with_rows(features.base)
            mapped.n, mapped.mapped = len(features), features
            return mapped
        rows = _cast(as_rows(features, dtype), dtype)
        self._check_width(rows.shape[1])
        return self.with_rows(rows)


class SparseInput(KernelInput):
    """Sparse rows in the form that the kernels read: the three arrays of a CSR matrix.

    Parameters
    ----------
    values : ndarray, shape (m,)
        Values of all rows, one row after the other; values of the same input in a row are added.
    indices : ndarray of int, shape (m,)
        Number of each value's input, in any order within a row.
    row_starts : ndarray of int, shape (n + 1,)
        Where each row begins in the other arrays, and where the last one ends.
    n_inputs : int
    dtype : dtype
        Type of the network's parameters; values of another type are converted.
    mean, scale : array_like, shape (n_inputs,), optional
        The network's input is (value - mean) * scale; the data stay sparse.

    Raises
    ------
    DataError
        If an index is outside of the inputs, or the rows do not begin in order.
    """

    reader, first_layer = "sparse", "sparse"

    def __init__(
        self,
        values: NDArray[Any],
        indices: NDArray[Any],
        row_starts: NDArray[Any],
        n_inputs: int,
        dtype: DTypeLike,
        *,
        mean: ArrayLike | None = None,
        scale: ArrayLike | None = None,
    ) -> None:
        starts = np.ascontiguousarray(row_starts, np.int64)
        check_structure(starts, np.asarray(indices), np.asarray(values), n_inputs)
        means, scales = _vector("mean", mean, n_inputs, 0.0), _vector("scale", scale, n_inputs, 1.0)
        super().__init__(
            len(starts) - 1,
            n_inputs,
            _sparse_slots(starts, n_inputs),
            0,
            data=_cast(np.asarray(values), dtype),
            indices=np.ascontiguousarray(indices, np.int32),
            row_starts=starts,
            scales=_cast_scales(scales, dtype),
        )
        self.density = float(starts[-1]) / max(1, self.n * n_inputs)
        self._set_baseline(-means * scales, dtype)

    def like(self, features: SparseRows) -> SparseInput:
        """Return other rows with these means and scales, and with the same baseline."""
        other, rows = copy.copy(self), features
        self._check_width(rows.n_columns)
        data = _cast(rows.values, self.arrays["data"].dtype)
        other.n, other.kind, other.n_slots = len(rows), object(), _sparse_slots(rows.row_starts, rows.n_columns)
        other.arrays = {**self.arrays, "data": data, "indices": rows.indices, "row_starts": rows.row_starts}
        return other

    @classmethod
    def from_matrix(cls, matrix: Any, dtype: DTypeLike, **options: Any) -> SparseInput:
        """Return the rows of a SciPy sparse matrix; a CSR matrix whose values have `dtype` is read where it is."""
        return cls.from_rows(SparseRows.from_scipy(matrix), dtype, **options)

    @classmethod
    def from_rows(cls, rows: SparseRows, dtype: DTypeLike, **options: Any) -> SparseInput:
        """Return sparse rows; values of `dtype` are read where they are."""
        return cls(rows.values, rows.indices, rows.row_starts, rows.n_columns, dtype, **options)


def kernel_input(
    features: Any, dtype: DTypeLike, *, invert: bool = False, scaling: Scaling | None = None, first_layer: str = "auto"
) -> KernelInput:
    """Return images, rows or sparse rows in the form that the kernels read.

    Parameters
    ----------
    features : ndarray, MappedRows, SparseRows or SciPy sparse matrix, shape (n, n_inputs)
        uint8 are images, see :class:`ImageInput`; other numbers are rows, see :class:`RowInput`.
    dtype : dtype
        Type of the network's parameters.
    invert : bool
        For images, see :class:`ImageInput`.
    scaling : Scaling, optional
        For rows and sparse rows; the network's inputs are the scaled values.
    first_layer : {"auto", "sparse", "dense"}
        See :class:`RowInput`; for sparse rows the first layer is always sparse.

    Raises
    ------
    DataError
        If `features` is not a matrix of numbers.
    """
    options = {} if scaling is None else {"mean": scaling.mean, "scale": scaling.factor}
    if isinstance(features, SparseRows):
        return SparseInput.from_rows(features, dtype, **options)
    if hasattr(features, "tocsr"):
        return SparseInput.from_matrix(features, dtype, **options)
    if isinstance(features, np.ndarray | MappedRows) and features.dtype == np.uint8:
        return ImageInput(cast(Any, features), invert, first_layer)
    return RowInput(features, dtype, first_layer=first_layer, **options)


def _cast(values: NDArray[Any], dtype: DTypeLike) -> NDArray[Any]:
    """Return finite values as `dtype`; DataError if one is too large for it."""
    if values.dtype == dtype:
        return np.ascontiguousarray(values)
    with np.errstate(over="ignore"):
        cast = np.ascontiguousarray(values, dtype)
    if not np.isfinite(cast).all() and np.isfinite(values).all():
        raise DataError(f"a value is too large for {cast.dtype}; divide its column, or train with --dtype float64")
    return cast


def _keeps_precision(baseline: NDArray[Any], dtype: DTypeLike) -> bool:
    """Return whether mu·mu is small enough that sums with it do not round off what the deviations add."""
    with np.errstate(over="ignore"):
        return bool(np.square(baseline, dtype=np.float64).sum() * np.finfo(dtype).eps < _MOST_LOST)


def _cast_scales(scales: NDArray[np.float64], dtype: DTypeLike) -> NDArray[Any]:
    """Return scales as `dtype`; DataError if one is too large for it."""
    with np.errstate(over="ignore"):
        cast = scales.astype(dtype)
    if not np.isfinite(cast).all():
        column = int(np.flatnonzero(~np.isfinite(cast))[0])
        raise DataError(f"column {column}: the values are too small to be standardised as {cast.dtype}; multiply them")
    return cast


def as_rows(rows: ArrayLike, dtype: DTypeLike) -> NDArray[Any]:
    """Return a C-contiguous matrix of float32 or float64; other numbers become `dtype`.

    Raises
    ------
    DataError
        If `rows` is not a matrix of numbers.
    """
    values = np.asarray(rows)
    if values.dtype.kind not in "biuf":
        raise DataError(f"samples must be numbers, not {values.dtype}")
    if values.ndim != 2:
        raise DataError(f"samples must be a matrix with a row for each, not an array of shape {values.shape}")
    if not values.shape[1]:
        raise DataError("samples must have at least one column")
    native = values.dtype in (np.dtype(np.float32), np.dtype(np.float64))
    with np.errstate(over="ignore"):  # infinite, as numbers that are too large for float64 are
        return np.ascontiguousarray(values, None if native else dtype)


def find_levels(rows: NDArray[Any] | MappedRows) -> tuple[NDArray[np.float64], float]:
    """Return the most common value of each column, and the share of values that are another one.

    Parameters
    ----------
    rows : ndarray, shape (n, n_inputs)
        Up to 1000 rows, at equal distances, are looked at.

    Returns
    -------
    levels : ndarray of float64, shape (n_inputs,)
        Of values that are equally common, the smallest.
    share : float
        From 0 to 1.
    """
    chosen = rows[:: max(1, -(-len(rows) // _LEVEL_ROWS))]
    n, n_inputs = chosen.shape
    levels, most = np.zeros(n_inputs), 0
    if not n:
        return levels, 1.0
    for columns in large_arrays.parts(n_inputs, n):
        levels[columns], times = _most_common(chosen[:, columns])
        most += int(times.sum())
    return levels, 1.0 - most / n_inputs / n


def _most_common(rows: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return the most common value of each column, of several the smallest, and how often it is there."""
    ordered = np.sort(rows, axis=0)
    # Number of values equal to the one at each place, up to it: the largest is at the end of the longest run.
    place = np.arange(len(rows))[:, None]
    changed = np.ones(ordered.shape, dtype=bool)
    changed[1:] = ordered[1:] != ordered[:-1]
    run = place - np.maximum.accumulate(np.where(changed, place, 0), axis=0)
    ends = run.argmax(axis=0)
    columns = np.arange(rows.shape[1])
    return ordered[ends, columns], run[ends, columns] + 1


def _share_of_others(rows: NDArray[Any] | MappedRows, levels: NDArray[np.float64]) -> float:
    """Return the share of values that are not the level of their column."""
    exact = levels.astype(rows.dtype)
    parts = row_parts(rows, _ROWS_AT_ONCE)
    return sum(int(np.count_nonzero(part != exact)) for part in parts) / max(1, rows.size)


def _sparse_slots(row_starts: NDArray[np.int64], n_inputs: int) -> int:
    """Return the most inputs that a block of these sparse rows holds, at least 1; rounded up as slots are."""
    most = int(np.sort(np.diff(row_starts))[-BLOCK:].sum())
    return _whole_steps(max(1, min(most, n_inputs)))


def _vector(name: str, given: ArrayLike | None, n_inputs: int, default: float) -> NDArray[np.float64]:
    if given is None:
        return np.full(n_inputs, default)
    values = np.asarray(given, dtype=np.float64)
    if values.shape != (n_inputs,):
        raise DataError(f"{name} must have one number for each of {n_inputs} inputs, not the shape {values.shape}")
    if not np.isfinite(values).all():
        column = int(np.flatnonzero(~np.isfinite(values))[0])
        raise DataError(f"the {name} of column {column} is {values[column]}; it must be finite")
    return values


def _whole_steps(n: int) -> int:
    """Return a number of inputs, rounded up to a multiple of INPUTS_PER_STEP."""
    return -(-n // INPUTS_PER_STEP) * INPUTS_PER_STEP


def density(images: NDArray[np.uint8]) -> float:
    """Return the share of pixels that are not white."""
    # In parts, so that the comparison needs little memory.
    parts = row_parts(images, _ROWS_AT_ONCE)
    return sum(int(np.count_nonzero(part != WHITE)) for part in parts) / max(1, images.size)


def padded(images: NDArray[np.uint8], level: int) -> NDArray[np.uint8]:
    """Return images, C-contiguous, each padded with this grey level to a multiple of INPUTS_PER_STEP pixels."""
    missing = -images.shape[1] % INPUTS_PER_STEP
    if not missing:
        return np.ascontiguousarray(images)
    return np.pad(np.ascontiguousarray(images), ((0, 0), (0, missing)), constant_values=level)
