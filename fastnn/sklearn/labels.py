"""Targets of a classifier: classes of any type as numbers from 0, and back."""

from __future__ import annotations

from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import numpy as np
from sklearn.utils.multiclass import check_classification_targets, type_of_target, unique_labels
from sklearn.utils.validation import column_or_1d

from fastnn.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

P = ParamSpec("P")
R = TypeVar("R")


def _of_one_type(function: Callable[P, R]) -> Callable[P, R]:
    """Return a function that raises an InputError if classes have no order, such as texts among numbers."""

    @wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except TypeError:
            raise InputError("`y` must hold classes of one type, all of them text or all of them numbers") from None

    return checked


@dataclass(frozen=True, eq=False)
class Labels:
    """The classes of a target, or the labels of a matrix of 0 and 1.

    Attributes
    ----------
    classes : ndarray, shape (k,)
        In the order of the outputs; of several labels the numbers of the columns.
    multilabel : bool
    """

    classes: NDArray[Any]
    multilabel: bool

    @classmethod
    @_of_one_type
    def of(cls, y: Any, classes: Any = None) -> Labels:
        """Return the labels of a target, or of given classes; InputError if there is only one class."""
        multilabel = is_multilabel(y)
        found = np.arange(y.shape[1]) if multilabel else unique_labels(y if classes is None else classes)
        if len(found) < 2 and not multilabel:
            raise InputError(
                f"The number of classes has to be greater than one; got {len(found)} class: {found.tolist()}"
            )
        return cls(found, multilabel)

    def are(self, other: Labels) -> bool:
        """Return whether others are the same, in any order."""
        return self.multilabel == other.multilabel and np.array_equal(np.sort(self.classes), np.sort(other.classes))

    @property
    def names(self) -> tuple[str, ...]:
        """The classes or labels as text."""
        return tuple(str(label) for label in self.classes)

    @_of_one_type
    def encode(self, y: Any) -> NDArray[Any]:
        """Return int64 numbers of the classes, shape (n,), or uint8 of 0 and 1, shape (n, k), for labels.

        Raises
        ------
        InputError
            If `y` has other classes, or another number of labels.
        """
        if is_matrix(y) != self.multilabel:
            kind = "several labels" if self.multilabel else "classes"
            raise InputError(f"`y` must hold {kind}, as in the first call to fit or partial_fit")
        if self.multilabel:
            if y.shape[1] != len(self.classes):
                raise InputError(f"`y` has {y.shape[1]} labels, but {len(self.classes)} are expected")
            dense = y.toarray() if hasattr(y, "toarray") else np.asarray(y)
            if not np.isin(dense, (0, 1)).all():
                raise InputError(f"`y` must hold 1 for each label that a sample has and else 0, not {np.unique(dense)}")
            return np.asarray(dense, dtype=np.uint8)
        y = column_or_1d(y, warn=True)
        codes = np.zeros(len(y), dtype=np.int64)
        if self._comparable(y):
            order = np.argsort(self.classes)  # those of a model are in any order
            codes = order[np.minimum(np.searchsorted(self.classes, y, sorter=order), len(order) - 1)]
        if not self._comparable(y) or not np.all(self.classes[codes] == y):
            raise InputError(
                f"`y` has classes not in `self.classes_`. `self.classes_` has {self.classes}. "
                f"'y' has {unique_labels(y)}."
            )
        return np.asarray(codes, dtype=np.int64)

    def _comparable(self, y: NDArray[Any]) -> bool:
        """Return whether texts are compared with texts and numbers with numbers."""
        kinds = {array.dtype.kind in "US" for array in (y, self.classes) if array.dtype != object}
        return len(kinds) < 2

    def decode(self, outputs: NDArray[np.float64]) -> NDArray[Any]:
        """Return the classes, shape (n,), or int64 of 0 and 1, shape (n, k), that outputs stand for."""
        if self.multilabel:
            return (outputs > 0.5).astype(np.int64)
        return np.asarray(self.classes[outputs.argmax(axis=1)])


def is_matrix(y: Any) -> bool:
    """Return whether a target has several columns, or is sparse."""
    return hasattr(y, "tocsr") or (y.ndim == 2 and y.shape[1] > 1)


def is_multilabel(y: Any) -> bool:
    """Return whether a target is a matrix of 0 and 1 with several columns; a ValueError if it has no classes."""
    check_classification_targets(y)
    kind = type_of_target(y)
    if kind == "multiclass-multioutput":
        raise InputError("`y` has several columns of classes, which are not supported; train one classifier for each")
    return bool(kind == "multilabel-indicator")


def class_factors(
    class_weight: Any, labels: Labels, targets: NDArray[Any], weights: NDArray[np.float64], *, scaled: bool
) -> NDArray[np.float64]:
    """Return the factor of each row's weight that class weights make, shape (n,).

    Parameters
    ----------
    class_weight : dict or "balanced"
        Classes that are not in it have weight 1.
    labels : Labels
    targets : ndarray
        As :meth:`Labels.encode` gives them.
    weights : ndarray of float64, shape (n,)
        What counts for "balanced" and for the mean.
    scaled : bool
        Whether the factors are scaled, so that the sum of all weights stays the same. Then they must not all be 0.
    """
    if labels.multilabel:
        raise InputError("class_weight is for classes; for several labels use sample_weight")
    k = len(labels.classes)
    if isinstance(class_weight, dict):
        given = {_plain(label): value for label, value in class_weight.items()}
        known = [_plain(label) for label in labels.classes]
        unknown = [label for label in given if label not in known]
        # Classes that these rows do not have, such as a fold, are no mistake; only if others have no weight.
        if unknown and not set(known) <= set(given):
            raise InputError(f"The classes, {unknown}, are not in class_weight: y has the classes {labels.classes}")
        of_class = np.array([given.get(label, 1.0) for label in known], dtype=np.float64)
        if not (np.isfinite(of_class).all() and (of_class >= 0).all()):
            raise InputError(f"class_weight must hold finite numbers that are not negative, not {class_weight}")
    else:
        sums = np.bincount(targets, weights=weights, minlength=k)
        mean = sums.sum() / max(1, np.count_nonzero(sums))
        of_class = np.divide(mean, sums, out=np.ones(k), where=sums > 0)
    factors = of_class[targets]
    if not scaled:
        return np.asarray(factors)
    total = float((weights * factors).sum())
    if not total:
        raise InputError("class_weight gives all samples a weight of 0")
    return np.asarray(factors * (weights.sum() / total))


def _plain(label: Any) -> Any:
    return label.item() if isinstance(label, np.generic) else label
