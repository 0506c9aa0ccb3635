"""The one shape in which data moves through fastnn."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from fastnn.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

SIDE = 28
PIXELS = SIDE * SIDE


@dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled 28x28 drawings, dark ink on white paper.

    Attributes
    ----------
    images : ndarray of uint8, shape (n, 784)
        Rows of pixels, row-major 28x28; 255 = paper, 0 = ink.
    labels : ndarray of int64, shape (n,)
        For each image the index of its class in `classes`.
    classes : tuple of str
        Names of the classes.
    source : str
        Where the data came from, for people to read.
    test : Dataset or None
        The source's own test set, if it has one.
    notes : tuple of str
        What the reader of the data should be told, such as how many drawings were left out.

    Raises
    ------
    DataError
        If the arrays do not have the shapes and dtypes above, or a label names no class.

    Examples
    --------
    >>> import fastnn
    >>> import numpy as np
    >>> images = np.full((4, 784), 255, dtype=np.uint8)
    >>> data = fastnn.Dataset(images, np.array([0, 1, 0, 1]), ("yes", "no"), source="my own images")
    >>> data.counts.tolist()
    [2, 2]
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    source: str
    test: Dataset | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.images.dtype != np.uint8 or self.images.ndim != 2 or self.images.shape[1] != PIXELS:
            raise DataError(
                f"{self.source}: images must be a uint8 array of shape (n, {PIXELS}), "
                f"not {self.images.dtype} of shape {self.images.shape}"
            )
        if self.labels.dtype != np.int64 or self.labels.shape != (len(self.images),):
            raise DataError(
                f"{self.source}: labels must be an int64 array of shape ({len(self.images)},), "
                f"not {self.labels.dtype} of shape {self.labels.shape}"
            )
        if self.labels.size and not (self.labels.min() >= 0 and self.labels.max() < len(self.classes)):
            raise DataError(f"{self.source}: a label lies outside of the {len(self.classes)} classes")

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 (hexadecimal) of the pixels, labels and class names, in their order; of nothing else."""
        digest = hashlib.sha256()
        digest.update("\x1f".join(self.classes).encode())
        digest.update(np.int64(len(self)).tobytes())
        digest.update(np.ascontiguousarray(self.images).data)
        digest.update(np.ascontiguousarray(self.labels, dtype="<i8").data)
        return digest.hexdigest()

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """How many images each class has, shape (len(classes),)."""
        return np.bincount(self.labels, minlength=len(self.classes)).astype(np.int64)

    def take(self, indices: ArrayLike, *, source: str | None = None) -> Dataset:
        """Return the images at `indices` (in that order) as a data set of its own, without test set.

        Parameters
        ----------
        indices : array_like of int
            Positions of the images to take.
        source : str, optional
            What the new set's `source` says; by default that of this one.
        """
        index = np.asarray(indices, dtype=np.int64)
        return replace(
            self,
            images=self.images[index],
            labels=self.labels[index],
            source=self.source if source is None else source,
            test=None,
        )


def encode_labels(labels: Sequence[int] | Sequence[str]) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Turn labels as a source has them into indices and class names.

    Integers 0..9 are digits: the classes are "0" to "9" even where some of them do not occur. Other labels become
    the sorted set of what occurs, integers by value.

    Parameters
    ----------
    labels : sequence of int or of str
        One label an image.

    Returns
    -------
    indices : ndarray of int64, shape (n,)
    classes : tuple of str
    """
    if all(isinstance(label, int | np.integer) for label in labels):
        values = np.asarray(labels, dtype=np.int64)
        if values.size == 0 or (values.min() >= 0 and values.max() <= 9):
            return values, tuple("0123456789")
        unique, indices = np.unique(values, return_inverse=True)
        return indices.astype(np.int64), tuple(str(value) for value in unique)
    names = [str(label) for label in labels]
    if set(names) <= set("0123456789"):
        return np.asarray([int(name) for name in names], dtype=np.int64), tuple("0123456789")
    unique_names, indices = np.unique(np.asarray(names, dtype=object), return_inverse=True)
    return indices.astype(np.int64), tuple(str(name) for name in unique_names)
