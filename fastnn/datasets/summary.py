"""Statistics of a data set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn.datasets.duplicates import are_first, group_copies
from fastnn.datasets.mapped import row_parts
from fastnn.datasets.sparse import SparseRows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastnn.datasets.dataset import Dataset

_MOST_COLUMNS = 10_000
"""Most columns of which each is described."""


def summary(dataset: Dataset) -> dict[str, Any]:
    """Return the number of samples, their classes or targets, and duplicates of a data set, fit for JSON.

    Parameters
    ----------
    dataset : Dataset

    Returns
    -------
    dict
        ``source, hash, n``; ``classes`` (name of a class or label to count), but for a regression ``targets`` (name to
        ``mean, sd, min, max``); ``copies`` (samples that repeat an earlier one), ``conflicting`` (samples that have a
        duplicate with another target), ``notes``, and ``test``: the same for its test set, or None. For images also
        ``polarity`` (how the source stores the images, see :class:`fastnn.Dataset`),
        ``ink_share`` (mean share of pixels that are not paper) and ``blank`` (images whose pixels all have one value).
        For a table also ``task``, ``inputs`` (number of inputs of a network), ``density`` (share of values that are
        stored, 1 unless the table is sparse) and ``columns``: for each ``name`` and ``kind``, and ``mean, sd, min,
        max`` of numbers or ``categories`` (text to count); None for more than 10,000 columns or columns without names.
    """
    first = group_copies(dataset.features)
    targets = dataset.targets.reshape(len(dataset), -1)
    figures: dict[str, Any] = {"source": dataset.source, "hash": dataset.content_hash, "n": len(dataset)}
    if dataset.task == "regression":
        figures["targets"] = dict(zip(dataset.names, _moments(dataset.targets), strict=True))
    else:
        figures["classes"] = {name: int(count) for name, count in zip(dataset.names, dataset.counts, strict=True)}
    differs = (targets != targets[first]).any(axis=1)
    conflicting = np.zeros(len(dataset), dtype=bool)
    np.logical_or.at(conflicting, first, differs)
    figures["copies"] = int(np.count_nonzero(~are_first(first)))
    figures["conflicting"] = int(np.count_nonzero(conflicting[first]))
    figures |= _of_images(dataset) if dataset.is_images else _of_table(dataset)
    figures["notes"] = list(dataset.notes)
    figures["test"] = None if dataset.test is None else summary(dataset.test)
    return figures


def _of_images(dataset: Dataset) -> dict[str, Any]:
    ink = blank = 0
    for part in row_parts(dataset.images):
        ink += int(np.count_nonzero(part != 255))
        blank += int(np.count_nonzero((part == part[:, :1]).all(axis=1)))
    return {"polarity": dataset.polarity, "ink_share": ink / max(1, dataset.images.size), "blank": blank}


def _of_table(dataset: Dataset) -> dict[str, Any]:
    features = dataset.features
    return {
        "task": dataset.task,
        "inputs": dataset.n_inputs,
        "density": features.density if isinstance(features, SparseRows) else 1.0,
        "columns": _columns(dataset),
    }


def _columns(dataset: Dataset) -> list[dict[str, Any]] | None:
    columns, features = dataset.columns, dataset.features
    if columns is None or len(columns) > _MOST_COLUMNS:
        return None
    moments = _sparse_moments(features) if isinstance(features, SparseRows) else _moments(features)
    described: list[dict[str, Any]] = []
    start = 0
    for column in columns:
        if column.categories is None:
            described.append({"name": column.name, "kind": "number", **moments[start]})
        else:
            # An input of a category is 1 in the rows that have it.
            shares = [moment["mean"] for moment in moments[start : start + column.width]]
            counts = {text: round(share * len(dataset)) for text, share in zip(column.categories, shares, strict=True)}
            described.append({"name": column.name, "kind": "category", "categories": counts})
        start += column.width
    return described


def _moments(values: NDArray[Any]) -> list[dict[str, float]]:
    """Return mean, standard deviation, minimum and maximum of each column."""
    k = values.shape[1]
    total, squares, low, high = np.zeros(k), np.zeros(k), np.full(k, np.inf), np.full(k, -np.inf)
    # Values near the largest number overflow.
    with np.errstate(over="ignore", invalid="ignore"):
        for part in row_parts(values):
            total += part.sum(axis=0, dtype=np.float64)
            np.minimum(low, part.min(axis=0), out=low)
            np.maximum(high, part.max(axis=0), out=high)
        mean = total / len(values)
        for part in row_parts(values):
            squares += np.square(part - mean).sum(axis=0)
        sd = np.sqrt(squares / len(values))
    return _named(mean, sd, low, high)


def _named(*figures: NDArray[Any]) -> list[dict[str, float]]:
    # JSON has no infinity.
    columns = np.nan_to_num(np.stack(figures, axis=1).astype(np.float64)).tolist()
    return [dict(zip(("mean", "sd", "min", "max"), column, strict=True)) for column in columns]


def _sparse_moments(rows: SparseRows) -> list[dict[str, float]]:
    n, k = len(rows), rows.n_columns
    end = rows.row_starts[-1]
    indices, values = rows.indices[:end], rows.values[:end].astype(np.float64)
    stored = np.bincount(indices, minlength=k)
    with np.errstate(over="ignore", invalid="ignore"):
        mean = np.bincount(indices, weights=values, minlength=k) / n
        square = np.bincount(indices, weights=(values - mean[indices]) ** 2, minlength=k) + (n - stored) * mean**2
    low, high = np.where(stored < n, 0.0, np.inf), np.where(stored < n, 0.0, -np.inf)
    np.minimum.at(low, indices, values)
    np.maximum.at(high, indices, values)
    return _named(mean, np.sqrt(square / n), low, high)
