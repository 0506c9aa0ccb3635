"""Statistics of a data set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn.datasets.duplicates import group_copies

if TYPE_CHECKING:
    from fastnn.datasets.dataset import Dataset


def summary(dataset: Dataset) -> dict[str, Any]:
    """Return the number of images, classes, duplicates and blank images of a data set, fit for JSON.

    Parameters
    ----------
    dataset : Dataset

    Returns
    -------
    dict
        ``source, hash, n, classes`` (name to count), ``copies`` (images that repeat an earlier one), ``conflicting``
        (images that have a duplicate with another label), ``ink_share`` (mean share of pixels that are not paper),
        ``blank`` (images whose pixels all have one value), ``notes``, and ``test``: the same for its test set, or None.
    """
    first = group_copies(dataset.images)
    lowest, highest = dataset.labels.copy(), dataset.labels.copy()
    np.minimum.at(lowest, first, dataset.labels)
    np.maximum.at(highest, first, dataset.labels)
    return {
        "source": dataset.source,
        "hash": dataset.content_hash,
        "n": len(dataset),
        "classes": {name: int(count) for name, count in zip(dataset.classes, dataset.counts, strict=True)},
        "copies": int(np.count_nonzero(first != np.arange(len(dataset)))),
        "conflicting": int(np.count_nonzero((lowest != highest)[first])),
        "ink_share": float(np.mean(dataset.images != 255)) if len(dataset) else 0.0,
        "blank": int(np.count_nonzero((dataset.images == dataset.images[:, :1]).all(axis=1))),
        "notes": list(dataset.notes),
        "test": None if dataset.test is None else summary(dataset.test),
    }
