"""Checks of what is given to an estimator, with the errors that scikit-learn's users expect."""

from __future__ import annotations

from contextlib import contextmanager
from numbers import Number
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils import check_array
from sklearn.utils.validation import validate_data

from fastnn.datasets import SparseRows
from fastnn.datasets.dataset import first_not_finite
from fastnn.errors import FastnnError, InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

_SMALL = 1 << 20
"""float32 features of fewer values become float64. Reading them as they are needs a kernel of its own, and compiling
it takes seconds."""


@contextmanager
def input_errors() -> Iterator[None]:
    """Raise an InputError instead of a ValueError or another error of ours."""
    try:
        yield
    except InputError:
        raise
    except FastnnError as error:
        raise InputError(str(error)) from None
    except ValueError as error:
        if type(error) is not ValueError:  # such as NotFittedError, which users catch
            raise
        raise InputError(str(error)) from None


@contextmanager
def unchanged_on_error(estimator: Any) -> Iterator[None]:
    """Give an estimator its old attributes back if an exception is raised, which becomes an InputError."""
    before = dict(vars(estimator))
    try:
        with input_errors():
            yield
    except BaseException:
        vars(estimator).clear()
        vars(estimator).update(before)
        raise


def check_features(estimator: Any, X: Any, *, reset: bool) -> NDArray[Any] | SparseRows:
    """Return samples as float32 or float64 in C order, or as sparse rows; see :func:`validate_data`."""
    return _as_features(estimator, X, validate_data(estimator, _in_form(X), reset=reset, **_OF_FEATURES))


def check_features_and_targets(
    estimator: Any, X: Any, y: Any, *, reset: bool, numeric: bool
) -> tuple[NDArray[Any] | SparseRows, Any]:
    """Return samples as :func:`check_features` does, and targets as an array or a sparse matrix."""
    _check_finite_targets(y)
    values, targets = validate_data(
        estimator, _in_form(X), y, reset=reset, multi_output=True, y_numeric=numeric, **_OF_FEATURES
    )
    return _as_features(estimator, X, values), targets


_OF_FEATURES: dict[str, Any] = {
    "accept_sparse": "csr",
    "dtype": (np.float64, np.float32),
    "order": "C",
    "ensure_all_finite": False,  # checked by us, with row and column
}


def _in_form(X: Any) -> Any:
    """Return samples; a ValueError if they are a sparse array without two dimensions, or with indices outside of them.

    SciPy does not look at them before it converts a matrix, and may crash.
    """
    if getattr(X, "format", "") and len(X.shape) != 2:
        raise InputError(f"Expected 2D array, got {len(X.shape)}D sparse array instead. Reshape your data.")
    if hasattr(X, "check_format"):
        X.check_format(full_check=True)
    elif getattr(X, "format", "") == "coo":
        for indices, n in zip((X.row, X.col), X.shape, strict=True):
            if indices.size and not 0 <= indices.min() <= indices.max() < n:
                raise InputError("the sparse matrix has an index outside of its shape")
    return X


def _as_features(estimator: Any, X: Any, values: Any) -> NDArray[Any] | SparseRows:
    features = SparseRows.from_scipy(values) if hasattr(values, "tocsr") else values
    place = first_not_finite(features)
    if place is not None:
        row, column, value = place
        name = X.columns[column] if hasattr(X, "columns") else None
        where = f"row {row}, column {column}" + ("" if name is None else f", {name!r}")
        what = "NaN" if np.isnan(value) else f"infinity or a value too large for dtype('{features.dtype}')"
        raise InputError(
            f"Input X contains {what}. ({where}) {type(estimator).__name__} takes finite numbers only; fill missing "
            "values in, for example with sklearn.impute.SimpleImputer, or leave these rows out."
        )
    if isinstance(features, np.ndarray) and features.dtype == np.float32 and features.size < _SMALL:
        return features.astype(np.float64)
    return features


def _check_finite_targets(y: Any) -> None:
    """Raise an InputError with row and column if targets are numbers that are not finite."""
    if not (hasattr(y, "dtype") and hasattr(y, "shape")) or hasattr(y, "tocsr"):
        return  # lists are checked by scikit-learn
    values = np.asarray(y)
    if values.dtype.kind != "f":
        return
    places = np.argwhere(~np.isfinite(values))
    if len(places):
        where = ", ".join(f"{word} {place}" for word, place in zip(("row", "column"), places[0].tolist(), strict=False))
        value = values[tuple(places[0])]
        what = "NaN" if np.isnan(value) else f"infinity or a value too large for dtype('{values.dtype}')"
        raise InputError(f"Input y contains {what}. ({where})")


def check_weights(sample_weight: Any, n: int) -> NDArray[np.float64] | None:
    """Return sample weights, shape (n,), or None if there are none; a ValueError if they are not usable."""
    if sample_weight is None:
        return None
    if isinstance(sample_weight, Number):
        sample_weight = np.full(n, sample_weight)
    weights = check_array(sample_weight, ensure_2d=False, allow_nd=True, dtype=np.float64, input_name="sample_weight")
    if weights.ndim != 1:
        raise InputError(f"Sample weights must be 1D array or scalar, got {weights.ndim}D array")
    if weights.shape != (n,):
        raise InputError(f"sample_weight.shape == {weights.shape}, expected {(n,)}!")
    if (weights < 0).any():
        place = int(np.argmax(weights < 0))
        raise InputError(f"Negative values in data passed to `sample_weight`: {weights[place]:g} in row {place}")
    if not weights.any():
        raise InputError("Sample weights must contain at least one non-zero number.")
    return np.asarray(weights)
