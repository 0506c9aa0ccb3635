"""Training samples in an order that depends on their content alone, with a number of repetitions for each."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn.datasets import Dataset, Scaling, SparseRows
from fastnn.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ROWS_AT_ONCE = 1024
"""Rows that are hashed or compared at once, so that it needs little memory."""

_MAX_STEPS = 1_000_000
"""Training steps of an epoch that weights may ask for, if there are not as many rows; they take a second or so."""

_MAX_VALUES = 1 << 28
"""Most values of all repeated rows together, which take 2 GB."""


class SparseSamples(Dataset):
    """Sparse rows whose columns that are mostly 0 are not standardised: rare words would become very large."""

    @cached_property
    def feature_scaling(self) -> Scaling:
        """The scaling that standardises the other columns."""
        rows = self.features
        assert isinstance(rows, SparseRows)  # noqa: S101 - for mypy
        used = slice(int(rows.row_starts[-1]))
        counts = np.bincount(rows.indices[used][rows.values[used] != 0], minlength=rows.n_columns)
        scaling = Scaling.fit(rows, counts < len(rows) / 2)
        if not scaling.is_finite():
            raise InputError(f"{self.source}: a column has values that are too large to be standardised")
        return scaling


@dataclass(frozen=True)
class Steps:
    """The training steps of an epoch, before they are shuffled.

    Attributes
    ----------
    rows : ndarray of int64, shape (m,)
        The row of each step.
    factors : ndarray of float64, shape (m,), or None
        Factor of the learning rate for each step, above 0 and at most 1; None if all are 1.
    """

    rows: NDArray[np.int64]
    factors: NDArray[np.float64] | None


def in_canonical_order(
    features: NDArray[Any] | SparseRows, targets: NDArray[Any], weights: NDArray[np.float64] | None
) -> Steps:
    """Return training steps for which a weight of w means exactly w copies of a row.

    Rows are ordered by a hash of their content, and the weights of equal rows are added. So data with weights and data
    with repeated rows, in any order, give the same steps.

    Parameters
    ----------
    features : ndarray of float32 or float64, shape (n, k), or SparseRows
    targets : ndarray, shape (n,) or (n, outputs)
        Rows are equal if both features and targets are.
    weights : ndarray of float64, shape (n,), or None
        As for :func:`in_given_order`.
    """
    used, weights = _used(features, weights)
    if isinstance(features, SparseRows):
        features = features.without_zeros()
    matrix = targets.reshape(len(targets), -1)
    hashes = (hash_rows(features) * _MULTIPLIER + hash_rows(matrix))[used]
    by_hash = np.argsort(hashes, kind="stable")
    order, first = _groups(features, matrix, used[by_hash], hashes[by_hash])
    of_row = None if weights is None else weights[order]
    copies = np.bincount(np.cumsum(first) - 1, weights=of_row).astype(np.float64)
    return _as_steps(order[first], copies)


def in_given_order(features: NDArray[Any] | SparseRows, weights: NDArray[np.float64] | None) -> Steps:
    """Return training steps for rows in their order.

    A row of weight w is trained on ceil(w) times, each time with a factor of w / ceil(w), so that no step is larger
    than usual. If all weights are below 1, they are scaled to a mean of 1: they are shares, and not numbers of copies.
    If they ask for more steps than can be done in a second or so, they are scaled down.

    Parameters
    ----------
    features : ndarray or SparseRows, shape (n, k)
    weights : ndarray of float64, shape (n,), or None
        Finite and not negative, at least one of them above 0; None for 1 each. Rows with weight 0 have no step.
    """
    used, weights = _used(features, weights)
    return Steps(used, None) if weights is None else _as_steps(used, weights[used])


def as_copies(features: NDArray[Any] | SparseRows, weights: NDArray[np.float64]) -> Steps:
    """Return training steps as :func:`in_given_order` does for weights that must not be scaled; all may be 0.

    Raises
    ------
    InputError
        If the weights ask for more steps than can be done in a second or so.
    """
    total, most = _sum(weights), _most_steps(features)
    if total > most:
        raise InputError(
            f"sample_weight asks for {total:g} training steps, but at most {most} are possible; use smaller weights"
        )
    used = np.flatnonzero(weights)
    return _as_steps(used, weights[used])


def _sum(weights: NDArray[np.float64]) -> float:
    with np.errstate(over="ignore"):  # infinity is too much as well
        return float(weights.sum())


def _most_steps(features: NDArray[Any] | SparseRows) -> int:
    """Return how many steps weights may ask for."""
    n = len(features)
    values = len(features.values) if isinstance(features, SparseRows) else features.size
    return max(n, min(_MAX_STEPS, _MAX_VALUES * n // max(1, values)))


def _used(
    features: NDArray[Any] | SparseRows, weights: NDArray[np.float64] | None
) -> tuple[NDArray[np.int64], NDArray[np.float64] | None]:
    """Return the rows with a weight, and all weights as numbers of copies."""
    n = len(features)
    if weights is None:
        return np.arange(n), None
    used = np.flatnonzero(weights)
    shares, most = weights / weights.max(), _most_steps(features)  # shares have a sum that is finite, and above 0
    if weights.max() < 1:
        weights = shares * (len(used) / shares.sum())
    return used, weights if _sum(weights) <= most else shares * (most / shares.sum())


def _as_steps(rows: NDArray[np.int64], weights: NDArray[np.float64]) -> Steps:
    times, factors = _repetitions(weights)
    return Steps(np.repeat(rows, times), None if (factors == 1).all() else np.repeat(factors, times))


def _repetitions(weights: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return how often a row of each weight is trained on, and with which factor, both of shape (n,)."""
    # A weight that rounding has made a little larger than a whole number is that number.
    times = np.maximum(np.ceil(weights * (1 - 1e-12)), 1).astype(np.int64)
    return times, np.minimum(weights / times, 1.0)


def squared_lengths(features: NDArray[Any] | SparseRows, scaling: Scaling | None) -> NDArray[np.float64]:
    """Return the squared length of each row as a network gets it, shape (n,)."""
    mean, factor = (0.0, 1.0) if scaling is None else (scaling.mean, scaling.factor)
    with np.errstate(over="ignore"):  # infinity is a length too
        if isinstance(features, SparseRows):
            used = slice(int(features.row_starts[-1]))
            columns, values = features.indices[used], features.values[used].astype(np.float64)
            if scaling is None:  # at no cost for the columns that are 0
                return np.asarray(np.bincount(features.row_numbers(), np.square(values), len(features)), np.float64)
            means, factors = (np.broadcast_to(part, features.n_columns) for part in (mean, factor))
            of_zeros = np.square(means * factors)
            changes = np.square((values - means[columns]) * factors[columns]) - of_zeros[columns]
            return np.asarray(np.bincount(features.row_numbers(), changes, len(features)) + of_zeros.sum())
        result = np.empty(len(features))
        for start in range(0, len(features), _ROWS_AT_ONCE):
            scaled = (features[start : start + _ROWS_AT_ONCE] - mean) * factor
            result[start : start + _ROWS_AT_ONCE] = np.einsum("ij,ij->i", scaled, scaled, dtype=np.float64)
    return result


_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


def hash_rows(rows: NDArray[Any] | SparseRows) -> NDArray[np.uint64]:
    """Return a hash of the values of each row, shape (n,); equal rows have equal hashes, on every machine.

    The bits of each value are mixed and multiplied by an odd constant of its column; the products are added, modulo
    2**64. A value of 0 adds nothing, so that rows have the same hash whether they are sparse or not.

    Parameters
    ----------
    rows : ndarray of numbers, shape (n, k), or SparseRows
    """
    factors = np.array(np.random.default_rng(0).integers(0, 1 << 64, rows.shape[1], dtype=np.uint64))
    factors |= np.uint64(1)
    if isinstance(rows, SparseRows):
        products = _bits(rows.values[: rows.row_starts[-1]]) * factors[rows.indices[: rows.row_starts[-1]]]
        totals = np.concatenate([np.zeros(1, np.uint64), np.cumsum(products)])
        return np.asarray(totals[rows.row_starts[1:]] - totals[rows.row_starts[:-1]])
    hashes = np.empty(len(rows), dtype=np.uint64)
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        hashes[start : start + _ROWS_AT_ONCE] = _bits(rows[start : start + _ROWS_AT_ONCE]) @ factors
    return hashes


def _bits(values: NDArray[Any]) -> NDArray[np.uint64]:
    """Return mixed bits of float64 values; 0 for 0."""
    # Adding 0 makes -0 a 0, which is equal to it.
    bits = (values.astype(np.float64, order="C") + 0.0).view(np.uint64)
    # Most of what differs is in the upper half, but products do not carry it down.
    return np.asarray(bits ^ (bits >> np.uint64(32)))


def _groups(
    features: NDArray[Any] | SparseRows, targets: NDArray[Any], order: NDArray[np.int64], hashes: NDArray[np.uint64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the order in which equal rows follow each other, and which rows are the first of theirs.

    Parameters
    ----------
    features : ndarray, shape (n, k), or SparseRows without zeros
    targets : ndarray, shape (n, outputs)
    order : ndarray of int64, shape (m,)
        Rows in the order of their hashes.
    hashes : ndarray of uint64, shape (m,)
        In the same order.
    """
    first = np.ones(len(order), dtype=bool)
    same_hash = np.flatnonzero(hashes[1:] == hashes[:-1]) + 1
    first[same_hash] = _differ(features, targets, order[same_hash - 1], order[same_hash])
    if not first[same_hash].any():
        return order, first
    # Different rows of one hash, which hardly ever occurs: these are sorted by their content.
    order = order.copy()
    starts = np.flatnonzero(np.concatenate([[True], hashes[1:] != hashes[:-1]]))
    for start, stop in zip(starts, [*starts[1:], len(order)], strict=True):
        if first[start + 1 : stop].any():
            rows = order[start:stop]
            content = np.concatenate([_dense(features, rows) + 0.0, targets[rows]], axis=1)
            rows = rows[np.lexsort(content.T)]
            order[start:stop] = rows
            first[start + 1 : stop] = _differ(features, targets, rows[:-1], rows[1:])
    return order, first


def _differ(
    features: NDArray[Any] | SparseRows, targets: NDArray[Any], left: NDArray[np.int64], right: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Return for each pair of rows whether they differ, shape (m,)."""
    result = np.empty(len(left), dtype=bool)
    for start in range(0, len(left), _ROWS_AT_ONCE):
        pair = left[start : start + _ROWS_AT_ONCE], right[start : start + _ROWS_AT_ONCE]
        different = (targets[pair[0]] != targets[pair[1]]).any(axis=1)
        if isinstance(features, SparseRows):
            rows = [features.take(side) for side in pair]
            lengths = [np.diff(side.row_starts) for side in rows]
            different |= lengths[0] != lengths[1]
            equal = ~different
            rows = [side.take(np.flatnonzero(equal)) for side in rows]
            changed = (rows[0].indices != rows[1].indices) | (rows[0].values != rows[1].values)
            different[equal] = np.bincount(rows[0].row_numbers(), changed, minlength=len(rows[0])) > 0
        else:
            different |= (features[pair[0]] != features[pair[1]]).any(axis=1)
        result[start : start + _ROWS_AT_ONCE] = different
    return result


def _dense(features: NDArray[Any] | SparseRows, rows: NDArray[np.int64]) -> NDArray[Any]:
    return features.take(rows).toarray() if isinstance(features, SparseRows) else features[rows]
