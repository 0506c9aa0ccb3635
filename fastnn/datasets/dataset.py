"""The data set class: features and targets, of images or of a table, with their names."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn import large_arrays
from fastnn.datasets.columns import Column, total_width
from fastnn.datasets.mapped import MappedRows, row_parts
from fastnn.datasets.scaling import Scaling
from fastnn.datasets.sparse import SparseRows
from fastnn.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from fastnn.datasets.options import ReadOptions
    from fastnn.datasets.polarity import StoredPolarity
    from fastnn.network import Task

SIDE = 28
PIXELS = SIDE * SIDE

_LARGEST_RARE_VALUE = 1.0
"""Largest standardised value of columns of which more than half is one value. In five folds, with this limit and
without: digits 97.9 and 97.5 % right, 4,000 images of MNIST 94.0 and 91.8 %, made forest cover types 76.2 and 71.6."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Samples with their targets: labelled images, or the rows of a table.

    The type of `features` says whether the samples are images or rows, the type of `targets` what is to be learned.

    Attributes
    ----------
    features : ndarray or SparseRows
        Images of 28x28 pixels: uint8, shape (n, 784), row by row; 255 = paper, 0 = ink. Rows: float32 or float64, shape
        (n, k), or :class:`fastnn.datasets.SparseRows`. Of a store they are :class:`fastnn.datasets.MappedRows`, which
        code reads in parts, as it can read an array.
    targets : ndarray
        Classification: int64, shape (n,), the index of each sample's class in `names`. Multilabel: uint8, shape
        (n, len(names)), 1 for each label that a sample has, and else 0. Regression: float64, shape (n, len(names)).
    names : tuple of str
        Names of the classes, the labels, or the targets of a regression.
    source : str
        Where the data came from, used in messages.
    test : Dataset or None
        The source's own test set, if it has one.
    notes : tuple of str
        Remarks for the user, such as how many images were left out.
    columns : tuple of Column or None
        Columns of a table, if they have names; one with categories is several columns of `features`.
    options : ReadOptions or None
        How it was asked to be read; None if it was not read from a path.
    polarity : {"dark-on-light", "light-on-dark", "mixed"} or None
        Of images: how the source stores them; None if that is unknown. `features` are always dark on light.
    validation : Dataset or None
        The source's own validation set, if it has one.
    groups : ndarray or None
        int64, shape (n,): a number for each sample, the same for samples that belong together, such as the digits of
        one writer. Cross-validation keeps a group in one fold. Not part of `content_hash`.

    Raises
    ------
    DataError
        If the arrays do not have the shapes and dtypes above, a label is not an index into `names`, or a value is NaN
        or infinite.

    Examples
    --------
    >>> import fastnn
    >>> import numpy as np
    >>> images = np.full((4, 784), 255, dtype=np.uint8)
    >>> data = fastnn.Dataset(images, np.array([0, 1, 0, 1]), ("yes", "no"), source="my own images")
    >>> data.counts.tolist()
    [2, 2]
    >>> rows, prices = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[10.0], [20.0]])
    >>> fastnn.Dataset(rows, prices, ("price",), source="my own table").task
    'regression'
    """

    features: NDArray[Any] | SparseRows
    targets: NDArray[Any]
    names: tuple[str, ...]
    source: str
    test: Dataset | None = None
    notes: tuple[str, ...] = ()
    columns: tuple[Column, ...] | None = None
    options: ReadOptions | None = None
    polarity: StoredPolarity | None = None
    validation: Dataset | None = None
    groups: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        self._check_features()
        if not self.is_images and not self.n_inputs:
            raise DataError(f"{self.source}: the rows have no columns")
        if self.columns is not None and total_width(self.columns) != self.n_inputs:
            raise DataError(
                f"{self.source}: the columns are {total_width(self.columns)} inputs, but the rows have {self.n_inputs}"
            )
        self._check_targets()
        if self.groups is not None and (self.groups.dtype != np.int64 or self.groups.shape != (len(self),)):
            raise DataError(
                f"{self.source}: groups must be an int64 array of shape ({len(self)},), "
                f"not {self.groups.dtype} of shape {self.groups.shape}"
            )

    def _check_features(self) -> None:
        for what, kinds in (("features", (np.ndarray, SparseRows, MappedRows)), ("targets", (np.ndarray,))):
            array: Any = getattr(self, what)
            if not isinstance(array, kinds):
                fix = "fastnn.datasets.SparseRows.from_scipy" if hasattr(array, "tocsr") else "numpy.asarray"
                kind = type(array).__name__
                raise DataError(f"{self.source}: {what} must be a NumPy array, not {kind}; convert them with {fix}")
        if isinstance(self.features, np.ndarray | MappedRows) and self.features.dtype == np.uint8:
            if self.features.ndim != 2 or self.features.shape[1] != PIXELS:
                raise DataError(
                    f"{self.source}: images must be a uint8 array of shape (n, {PIXELS}), "
                    f"not {self.features.dtype} of shape {self.features.shape}; rows of numbers must be floats"
                )
            return
        if len(self.features.shape) != 2 or self.features.dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
            raise DataError(
                f"{self.source}: features must be images, a uint8 array of shape (n, {PIXELS}), or rows, an array of "
                f"float32 or float64 with two dimensions, not {self.features.dtype} of shape {self.features.shape}"
            )
        # Those of a store were checked when it was opened.
        if not isinstance(self.features, MappedRows):
            check_finite(self.features, self.source, "a feature")

    def _check_targets(self) -> None:
        targets, n = self.targets, len(self.features)
        if targets.dtype == np.int64:
            if targets.shape != (n,):
                raise DataError(
                    f"{self.source}: labels must be an int64 array of shape ({n},), "
                    f"not {targets.dtype} of shape {targets.shape}"
                )
            if targets.size and not (targets.min() >= 0 and targets.max() < len(self.names)):
                raise DataError(f"{self.source}: a label is not one of the {len(self.names)} classes")
            return
        if targets.dtype not in (np.dtype(np.uint8), np.dtype(np.float64)):
            raise DataError(
                f"{self.source}: labels must be an int64 array of shape ({n},), or targets an array of float64 or of "
                f"uint8 (0 or 1) with two dimensions, not {targets.dtype} of shape {targets.shape}"
            )
        if targets.shape != (n, len(self.names)) or not self.names:
            raise DataError(
                f"{self.source}: targets must have the shape ({n}, {len(self.names)}), a row for each sample and a "
                f"column for each name, not {targets.shape}"
            )
        if self.task == "regression":
            check_finite(targets, self.source, "a target")
        elif targets.size and targets.max() > 1:
            raise DataError(f"{self.source}: targets of several labels must be 0 or 1, not {targets.max()}")

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def task(self) -> Task:
        """What is to be learned: "classification", "multilabel" or "regression"."""
        if self.targets.dtype == np.int64:
            return "classification"
        return "multilabel" if self.targets.dtype == np.uint8 else "regression"

    @property
    def is_images(self) -> bool:
        """Whether the samples are images, and not rows of a table."""
        return not isinstance(self.features, SparseRows) and self.features.dtype == np.uint8

    @property
    def target(self) -> tuple[str, ...] | None:
        """Of a table: the columns that were asked for as targets, none if only the task was; None if neither was."""
        asked = self.options
        return None if asked is None or self.is_images or not (asked.target or asked.task) else asked.target

    @property
    def shape(self) -> tuple[int, int] | None:
        """Rows and columns of pixels of an image; None for a table."""
        return (SIDE, SIDE) if self.is_images else None

    @property
    def n_inputs(self) -> int:
        """Number of features of a sample: pixels, or columns of `features`."""
        return int(self.features.shape[1])

    @property
    def images(self) -> NDArray[np.uint8]:
        """The images, shape (n, 784); DataError if the data set is a table."""
        if isinstance(self.features, SparseRows) or not self.is_images:
            raise DataError(f"{self.source}: is a table, but images are needed here")
        return self.features

    @property
    def labels(self) -> NDArray[np.int64]:
        """The index of each sample's class, shape (n,); DataError unless the task is classification."""
        if self.task != "classification":
            raise DataError(f"{self.source}: has no classes (its task is {self.task}), but they are needed here")
        return self.targets

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes; the same as `names`."""
        return self.names

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 (hexadecimal) of features, targets and names in their order, and of nothing else.

        Of a whole store it is the one in its header.
        """
        known = self.features.known if isinstance(self.features, MappedRows) else None
        same = known is not None and (known.names, known.columns) == (self.names, self.columns)
        if known is not None and same and known.targets is self.targets:
            return known.sha256
        return self.compute_hash()

    def compute_hash(self) -> str:
        """Return :attr:`content_hash`, computed from the samples themselves."""
        digest = hashlib.sha256()
        digest.update("\x1f".join(self.names).encode())
        digest.update(np.int64(len(self)).tobytes())
        if self.is_images and self.task == "classification":
            for part in row_parts(self.images):
                digest.update(np.ascontiguousarray(part).data)
            digest.update(np.ascontiguousarray(self.labels, dtype="<i8").data)
            return digest.hexdigest()
        for column in self.columns or ():
            digest.update(repr((column.name, column.categories)).encode())
        arrays = [self.features, self.targets]
        if isinstance(self.features, SparseRows):
            rows = self.features
            arrays = [rows.values, rows.indices, rows.row_starts, self.targets]
            digest.update(np.int64(rows.n_columns).tobytes())
        for array in arrays:
            little = array.dtype.newbyteorder("<")
            digest.update(repr((little.str, array.shape)).encode())
            for part in row_parts(array):
                digest.update(np.ascontiguousarray(part, little).data)
        return digest.hexdigest()

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """Number of samples of each class, or that have each label, shape (len(names),)."""
        if self.task == "multilabel":
            return np.asarray(self.targets.sum(axis=0, dtype=np.int64))
        return np.bincount(self.labels, minlength=len(self.names)).astype(np.int64)

    @cached_property
    def feature_scaling(self) -> Scaling:
        """The scaling that standardises the rows of a table; columns of categories are left as they are.

        Columns of which more than half is one value get a smaller factor, so that they do not exceed 1.
        """
        if self.is_images:
            raise DataError(f"{self.source}: images are not standardised, only the rows of a table")
        scaling = Scaling.fit(self.features, self._is_category(), largest=_LARGEST_RARE_VALUE)
        position = scaling.first_unusable()
        if position is not None:
            raise self._too_large(self._name_of_input(position))
        return scaling

    @cached_property
    def target_scaling(self) -> Scaling:
        """The scaling that standardises the targets of a regression."""
        if self.task != "regression":
            raise DataError(f"{self.source}: only the targets of a regression are standardised")
        scaling = Scaling.fit(self.targets)
        position = scaling.first_unusable()
        if position is not None:
            raise self._too_large(f"target {self.names[position][:40]!r}")
        return scaling

    def _too_large(self, what: str) -> DataError:
        """Return the error that a column or target has values whose squares are too large for float64."""
        return DataError(
            f"{self.source}: {what} has values that are too large to be standardised; divide it by a constant"
        )

    def _name_of_input(self, position: int) -> str:
        """Return the column that an input belongs to, as messages show it."""
        if self.columns is None:
            return f"column {position + 1}"
        names = [column.name for column in self.columns for _ in range(column.width)]
        return f"column {names[position][:40]!r}"

    def _is_category(self) -> NDArray[np.bool_] | None:
        """Return which inputs are categories, shape (n_inputs,)."""
        if self.columns is None:
            return None
        return np.repeat(
            [column.categories is not None for column in self.columns], [column.width for column in self.columns]
        )

    def widened(self, n_inputs: int) -> Dataset:
        """Return sparse rows without named columns with at least so many columns; other data as they are.

        A file of sparse rows does not say how many columns there are beyond the last value.
        """
        rows = self.features
        if not isinstance(rows, SparseRows) or self.columns is not None or rows.n_columns >= n_inputs:
            return self
        return replace(self, features=replace(rows, n_columns=n_inputs))

    def take(self, indices: ArrayLike, *, source: str | None = None) -> Dataset:
        """Return a data set of the samples at `indices`, in that order and without test and validation sets.

        Parameters
        ----------
        indices : array_like of int, shape (m,)
            Positions of the samples to take.
        source : str, optional
            `source` of the new data set; by default that of this one.

        Returns
        -------
        Dataset
            Features of a store stay where they are, and many targets of one are in a temporary file.
        """
        index = np.asarray(indices)
        if index.dtype.kind not in "iu":
            index = index.astype(np.int64)
        mapped = isinstance(self.features, MappedRows)
        return replace(
            self,
            features=self.features[index] if isinstance(self.features, np.ndarray) else self.features.take(index),
            targets=large_arrays.take(self.targets, index) if mapped else self.targets[index],
            source=self.source if source is None else source,
            test=None,
            validation=None,
            groups=None if self.groups is None else self.groups[index],
        )


def check_finite(rows: NDArray[Any] | SparseRows, source: str, what: str = "a value") -> None:
    """Raise a DataError that names row and column, from 0, of the first value that is NaN or infinite.

    Parameters
    ----------
    rows : ndarray of floats or SparseRows, shape (n, k)
    source, what : str
        Name of the data, and of a value in them.
    """
    place = first_not_finite(rows)
    if place is not None:
        row, column, value = place
        raise DataError(f"{source}: {what} is {value} (row {row}, column {column}); fill it in or leave the row out")


def first_not_finite(rows: NDArray[Any] | SparseRows) -> tuple[int, int, float] | None:
    """Return row and column, from 0, and value of the first value that is NaN or infinite; None if there is none."""
    values = rows.values[:, None] if isinstance(rows, SparseRows) else rows
    done = 0
    for part in row_parts(values):
        start, done = done, done + len(part)
        finite = np.isfinite(part)
        if finite.all():
            continue
        row, column = (int(position[0]) for position in np.nonzero(~finite))
        value = float(part[row, column])
        row += start
        if isinstance(rows, SparseRows):
            row, column = int(np.searchsorted(rows.row_starts, row, "right")) - 1, int(rows.indices[row])
        return row, column, value
    return None
