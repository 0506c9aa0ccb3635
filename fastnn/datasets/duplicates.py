"""Finding samples with the same features."""

from __future__ import annotations

from hashlib import sha256
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn import large_arrays
from fastnn.datasets.mapped import row_parts
from fastnn.datasets.sparse import SparseRows

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray


def group_copies(features: NDArray[Any] | SparseRows) -> NDArray[np.int64]:
    """Return for each image or row the position of the first one with the same pixels or values.

    Dense samples are read in parts, and of many samples the numbers kept for each are in temporary files.

    Parameters
    ----------
    features : ndarray of uint8, float32 or float64, MappedRows or SparseRows; shape (n, m)

    Returns
    -------
    ndarray of int64, shape (n,)
        ``result[i] == i`` if no earlier sample has the features of sample i.
    """
    if isinstance(features, SparseRows):
        return _first_of_each(row_bytes(features))
    # Only rows with equal fingerprints can be duplicates. This takes 4 ms for 13,942 images, a quarter of the time of a
    # digest of each.
    prints = _fingerprints(features)
    repeated = _repeated(prints)
    result = large_arrays.arange(len(prints))
    if not len(repeated):
        return result
    # Marks a few of the others too.
    seen = np.zeros(1 << 16, dtype=bool)
    seen[repeated >> np.uint64(48)] = True
    found = []
    for part in large_arrays.parts(len(prints)):
        some = prints[part]
        rows = np.flatnonzero(seen[some >> np.uint64(48)])
        place = np.minimum(np.searchsorted(repeated, some[rows]), len(repeated) - 1)
        found.append(rows[repeated[place] == some[rows]] + part.start)
    maybe = np.concatenate(found)
    maybe = maybe[np.argsort(prints[maybe], kind="stable")]
    new = np.concatenate([[True], np.diff(prints[maybe]) != 0])
    leaders = maybe[np.maximum.accumulate(np.where(new, np.arange(len(maybe)), 0))]
    result[maybe] = leaders
    _part_collisions(features, maybe, leaders, result)
    return result


def are_first(first: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which samples are no copies of an earlier one, shape (n,), given what :func:`group_copies` returns."""
    result = np.empty(len(first), dtype=bool)
    for part in large_arrays.parts(len(first)):
        result[part] = first[part] == np.arange(part.start, part.stop)
    return result


def _repeated(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the values that occur more than once, in ascending order, each once less than it occurs."""
    ordered = large_arrays.zeros(len(values), values.dtype)
    ordered[:] = values
    ordered.sort()
    return np.asarray(ordered[1:][ordered[1:] == ordered[:-1]])


def _fingerprints(features: NDArray[Any]) -> NDArray[np.uint64]:
    """Return a sum of products of the bytes of each row, which is the same for the same rows; shape (n,)."""
    n_bytes = features.shape[1] * features.dtype.itemsize
    n_words = -(-n_bytes // 8)
    factors = np.random.default_rng(0).integers(1 << 63, size=n_words, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    prints = large_arrays.zeros(len(features), np.uint64)
    done = 0
    for part in row_parts(features):
        rows = _as_bytes(part)
        if n_bytes % 8 == 0:
            words = np.ascontiguousarray(rows).view(np.uint64)
        else:
            words = np.zeros((len(rows), n_words), dtype=np.uint64)
            words.view(np.uint8)[:, :n_bytes] = rows
        prints[done : done + len(rows)] = words @ factors
        done += len(rows)
    return prints


def _part_collisions(
    features: NDArray[Any], rows: NDArray[np.int64], leaders: NDArray[np.int64], result: NDArray[np.int64]
) -> None:
    """Compare rows with those that have the same fingerprint, and give those that differ leaders of their own."""
    odd = []
    for part in large_arrays.parts(len(rows), features.shape[1]):
        own, other = (_as_bytes(features[some[part]]) for some in (rows, leaders))
        odd += np.unique(leaders[part][(own != other).any(axis=1)]).tolist()
    for leader in dict.fromkeys(odd):
        members = rows[leaders == leader]
        same = members[_first_of_each(_as_bytes(features[one : one + 1]).tobytes() for one in members.tolist())]
        result[members] = same


def _first_of_each(rows: Iterable[bytes]) -> NDArray[np.int64]:
    """Return for each row of bytes the position of the first one that is the same."""
    first: dict[bytes, int] = {}
    # A digest takes a 25th of the memory of an image.
    found = [first.setdefault(sha256(row).digest(), position) for position, row in enumerate(rows)]
    return np.array(found, dtype=np.int64)


def _as_bytes(features: NDArray[Any]) -> NDArray[np.uint8]:
    """Return images as they are, and the bytes of rows of numbers, of which 0 and -0 are the same."""
    if features.dtype == np.uint8:
        return features
    # Not -1: its size would be unknown if there are no rows.
    n_bytes = features.shape[1] * features.dtype.itemsize
    return np.ascontiguousarray(features + 0.0).view(np.uint8).reshape(len(features), n_bytes)


def row_bytes(features: NDArray[Any] | SparseRows) -> Iterator[bytes]:
    """Yield bytes for each image or row that are the same for the same pixels or values."""
    if not isinstance(features, SparseRows):
        for part in row_parts(features):
            yield from (row.tobytes() for row in _as_bytes(part))
        return
    # Values of one column in a row are added, in any order, and a stored 0 is like none.
    rows = features.without_zeros()
    for start, stop in pairwise(rows.row_starts.tolist()):
        yield rows.indices[start:stop].tobytes() + rows.values[start:stop].tobytes()
