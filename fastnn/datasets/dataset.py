"""The data set class: images, labels and class names."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from fastnn.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

SIDE = 28
PIXELS = SIDE * SIDE


@dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled 28x28 images, dark ink on white paper.

    Attributes
    ----------
    images : ndarray of uint8, shape (n, 784)
        Pixels row by row; 255 = paper, 0 = ink.
    labels : ndarray of int64, shape (n,)
        The index of each image's class in `classes`.
    classes : tuple of str
        Names of the classes.
    source : str
        Where the data came from, used in messages.
    test : Dataset or None
        The source's own test set, if it has one.
    notes : tuple of str
        Remarks for the user, such as how many images were left out.

    Raises
    ------
    DataError
        If the arrays do not have the shapes and dtypes above, or a label is not an index into `classes`.

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
            raise DataError(f"{self.source}: a label is not one of the {len(self.classes)} classes")

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 (hexadecimal) of the pixels, labels and class names in their order, and of nothing else."""
        digest = hashlib.sha256()
        digest.update("\x1f".join(self.classes).encode())
        digest.update(np.int64(len(self)).tobytes())
        digest.update(np.ascontiguousarray(self.images).data)
        digest.update(np.ascontiguousarray(self.labels, dtype="<i8").data)
        return digest.hexdigest()

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """Number of images of each class, shape (len(classes),)."""
        return np.bincount(self.labels, minlength=len(self.classes)).astype(np.int64)

    def take(self, indices: ArrayLike, *, source: str | None = None) -> Dataset:
        """Return a data set of the images at `indices`, in that order and without test set.

        Parameters
        ----------
        indices : array_like of int, shape (m,)
            Positions of the images to take.
        source : str, optional
            `source` of the new data set; by default that of this one.

        Returns
        -------
        Dataset
        """
        index = np.asarray(indices, dtype=np.int64)
        return replace(
            self,
            images=self.images[index],
            labels=self.labels[index],
            source=self.source if source is None else source,
            test=None,
        )
