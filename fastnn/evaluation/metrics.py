"""Metrics of a classifier: accuracy, balanced accuracy, loss, confusion matrix, recall and precision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict

import numpy as np

from fastnn.errors import DataError
from fastnn.tables import html_table

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from fastnn.datasets.dataset import Dataset
    from fastnn.model import Model

ClassRow = TypedDict(
    "ClassRow", {"class": str, "count": int, "correct": int, "recall": float | None, "precision": float | None}
)
"""The scores of one class; recall is None if it does not occur, precision if it is never predicted."""

_SHOWN = 50
"""Classes listed in a notebook."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Metrics of a model on a data set.

    Attributes
    ----------
    accuracy : float
        Fraction of the images classified correctly.
    balanced_accuracy : float
        Mean recall of the classes that occur.
    correct, total : int
        Number of images classified correctly, and of all images.
    loss : float
        See :func:`mean_loss`.
    per_class : list of dict
        For each class of the model: "class", "count", "correct", "recall", "precision".
    confusion : ndarray of int64, shape (k, k)
        Number of images by true class (row) and predicted class (column), both in the model's order.
    classes : tuple of str
        Class names of the model.
    """

    accuracy: float
    balanced_accuracy: float
    correct: int
    total: int
    loss: float
    per_class: list[ClassRow]
    confusion: NDArray[np.int64]
    classes: tuple[str, ...]

    def _repr_html_(self) -> str:
        """Return tables for notebooks: the figures, and those of each class."""
        total = [
            ("accuracy", f"{self.accuracy:.2%}"),
            ("balanced accuracy", f"{self.balanced_accuracy:.2%}"),
            ("loss", f"{self.loss:.4f}"),
            ("images", f"{self.total:,}"),
        ]
        header = ("class", "count", "correct", "recall", "precision")
        rows = [
            (row["class"], row["count"], row["correct"], _percent(row["recall"]), _percent(row["precision"]))
            for row in self.per_class[:_SHOWN]
        ]
        left_out = f" (the first {_SHOWN})" if len(self.per_class) > _SHOWN else ""
        return html_table("fastnn.Evaluation", total) + html_table(f"classes{left_out}", rows, header)

    @property
    def metrics(self) -> dict[str, float]:
        """The figures that a model's card keeps."""
        return {
            "test_accuracy": self.accuracy,
            "balanced_accuracy": self.balanced_accuracy,
            "test_loss": self.loss,
        }

    def as_dict(self) -> dict[str, Any]:
        """Return the metrics, fit for JSON; class names are in `per_class`."""
        return {
            "accuracy": self.accuracy,
            "balanced_accuracy": self.balanced_accuracy,
            "correct": self.correct,
            "total": self.total,
            "loss": self.loss,
            "per_class": self.per_class,
            "confusion": self.confusion.tolist(),
        }


@dataclass(frozen=True, eq=False)
class RegressionEvaluation:
    """Metrics of a regression on a data set.

    Attributes
    ----------
    r2 : float
        Coefficient of determination, see :func:`r2_score`.
    mae, rmse : float
        Mean absolute error, and square root of the mean squared error, averaged over the targets, in their units.
    loss : float
        See :func:`mean_loss`; of targets in their units.
    total : int
        Number of samples.
    """

    r2: float
    mae: float
    rmse: float
    loss: float
    total: int

    @property
    def metrics(self) -> dict[str, float]:
        """The figures that a model's card keeps."""
        return {"test_r2": self.r2, "test_mae": self.mae, "test_rmse": self.rmse, "test_loss": self.loss}

    def as_dict(self) -> dict[str, Any]:
        """Return the metrics, fit for JSON."""
        return {"r2": self.r2, "mae": self.mae, "rmse": self.rmse, "loss": self.loss, "total": self.total}


@dataclass(frozen=True, eq=False)
class MultilabelEvaluation:
    """Metrics of a model of several labels on a data set.

    Attributes
    ----------
    accuracy : float
        Share of the samples whose labels are all right.
    label_accuracy : float
        Share of all labels of all samples that are right.
    loss : float
        See :func:`mean_loss`.
    total : int
        Number of samples.
    """

    accuracy: float
    label_accuracy: float
    loss: float
    total: int

    @property
    def metrics(self) -> dict[str, float]:
        """The figures that a model's card keeps."""
        return {"test_accuracy": self.accuracy, "label_accuracy": self.label_accuracy, "test_loss": self.loss}

    def as_dict(self) -> dict[str, Any]:
        """Return the metrics, fit for JSON."""
        return {
            "accuracy": self.accuracy,
            "label_accuracy": self.label_accuracy,
            "loss": self.loss,
            "total": self.total,
        }


AnyEvaluation: TypeAlias = Evaluation | RegressionEvaluation | MultilabelEvaluation


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.2%}"


def evaluate(model: Model, dataset: Dataset) -> AnyEvaluation:
    """Return accuracy, loss, per-class scores and the confusion matrix of a model on a data set.

    Parameters
    ----------
    model : Model
    dataset : Dataset
        Its classes are matched with those of the model by name.

    Returns
    -------
    Evaluation, RegressionEvaluation or MultilabelEvaluation
        By the task of the model.

    Raises
    ------
    DataError
        If the data set is empty, is for another task, or has a class that the model does not know.

    Examples
    --------
    >>> import fastnn
    >>> train, test = fastnn.split(fastnn.load_dataset("drawn:200"))
    >>> model = fastnn.fit(train, fastnn.Recipe(hidden=(16,), epochs=2), progress=False)
    >>> evaluation = fastnn.evaluate(model, test)
    >>> evaluation.total, evaluation.confusion.shape
    (20, (10, 10))
    """
    if len(dataset) == 0:
        raise DataError(f"{dataset.source}: no samples to evaluate on")
    if dataset.task != model.task:
        raise DataError(f"{dataset.source}: its task is {dataset.task}, but the model's is {model.task}")
    if model.task != "classification":
        return _evaluate_numbers(model, dataset)
    labels = match_labels(dataset, model.classes)
    outputs = model.outputs(dataset.features)
    confusion = confusion_matrix(labels, outputs.argmax(axis=1), len(model.classes))
    correct, total = int(np.trace(confusion)), len(labels)
    return Evaluation(
        accuracy=correct / total,
        balanced_accuracy=balanced_accuracy(confusion),
        correct=correct,
        total=total,
        loss=mean_loss(outputs, labels, model.network.loss),
        per_class=class_rows(confusion, model.classes),
        confusion=confusion,
        classes=model.classes,
    )


def _evaluate_numbers(model: Model, dataset: Dataset) -> RegressionEvaluation | MultilabelEvaluation:
    """Evaluate a regression or a model of several labels."""
    if dataset.names != model.names:
        raise DataError(
            f"{dataset.source}: its targets are {', '.join(dataset.names[:20])}, "
            f"but the model's are {', '.join(model.names[:20])}"
        )
    outputs, targets = model.outputs(dataset.features), dataset.targets.astype(np.float64)
    loss = mean_loss(outputs, targets, model.network.loss)
    if model.task == "regression":
        errors = np.abs(targets - outputs)
        mae, rmse = float(errors.mean()), float(np.sqrt(np.square(errors).mean(axis=0)).mean())
        return RegressionEvaluation(r2_score(outputs, targets), mae, rmse, loss, len(dataset))
    right = (outputs > 0.5) == (targets > 0.5)
    return MultilabelEvaluation(float(right.all(axis=1).mean()), float(right.mean()), loss, len(dataset))


def classification(evaluation: AnyEvaluation) -> Evaluation:
    """Return an evaluation that must be one of classes; DataError if it is another one."""
    if not isinstance(evaluation, Evaluation):
        raise DataError("only models of classes can be shown here")
    return evaluation


def match_labels(dataset: Dataset, classes: tuple[str, ...]) -> NDArray[np.int64]:
    """Return the labels of a data set as indices into other class names, int64 (n,).

    Raises
    ------
    DataError
        If a class that occurs in the data set is not among `classes`.
    """
    if dataset.classes == classes:
        return dataset.labels
    index_of = {name: index for index, name in enumerate(classes)}
    unknown = [name for name, n in zip(dataset.classes, dataset.counts, strict=True) if n and name not in index_of]
    if unknown:
        raise DataError(
            f"{dataset.source}: the model does not know the class {unknown[0]!r}; "
            f"it knows {', '.join(classes[:20])}{', ...' if len(classes) > 20 else ''}"
        )
    table = np.asarray([index_of.get(name, -1) for name in dataset.classes], dtype=np.int64)
    return np.asarray(table[dataset.labels], dtype=np.int64)


def confusion_matrix(labels: ArrayLike, predicted: ArrayLike, k: int) -> NDArray[np.int64]:
    """Return the number of images by true and predicted class.

    Parameters
    ----------
    labels, predicted : array_like of int, shape (n,)
        0 to k - 1.
    k : int
        Number of classes.

    Returns
    -------
    ndarray of int64, shape (k, k)
        Rows are true classes, columns predicted ones.
    """
    cells = np.asarray(labels, dtype=np.int64) * k + np.asarray(predicted, dtype=np.int64)
    return np.bincount(cells, minlength=k * k).reshape(k, k).astype(np.int64)


def balanced_accuracy(confusion: NDArray[np.int64]) -> float:
    """Return the mean recall of the classes that occur, from a confusion matrix of shape (k, k)."""
    counts = confusion.sum(axis=1)
    occur = counts > 0
    return float(np.mean(np.diagonal(confusion)[occur] / counts[occur]))


def mean_loss(
    outputs: NDArray[np.float64], targets: NDArray[Any], loss: str, huber_delta: float | None = None
) -> float:
    """Return the loss that training minimises, averaged over the samples.

    Parameters
    ----------
    outputs : ndarray of float64, shape (n, k)
        Activations of the last layer.
    targets : ndarray
        int64, shape (n,), for "original" and "cross_entropy"; numbers, shape (n, k), for the others.
    loss : str
        See :attr:`fastnn.Network.loss`. "original": the sum over the outputs of (target - output)². "cross_entropy":
        -log p(label) in nats; a p that has underflowed counts as the smallest normal float32. "binary_cross_entropy":
        the sum over the outputs of -log p(label is present or absent). "squared_error": half the sum over the outputs
        of (target - output)².
    huber_delta : float, optional
        For "squared_error": errors larger than this count linearly, see Huber 1964.
    """
    rows, tiny = np.arange(len(targets)), np.finfo(np.float32).tiny
    if loss == "original":
        errors = outputs.copy()
        errors[rows, targets] -= 1.0
        return float(np.mean(np.sum(errors * errors, axis=1)))
    if loss == "cross_entropy":
        return float(np.mean(-np.log(np.maximum(outputs[rows, targets], tiny))))
    if loss == "binary_cross_entropy":
        p = np.where(targets > 0.5, outputs, 1.0 - outputs)
        return float(np.mean(np.sum(-np.log(np.maximum(p, tiny)), axis=1)))
    with np.errstate(over="ignore"):  # seen in the result
        errors = np.abs(targets - outputs)
        halves = 0.5 * errors * errors
        if huber_delta is not None:
            halves = np.where(errors <= huber_delta, halves, huber_delta * (errors - 0.5 * huber_delta))
        return float(np.mean(np.sum(halves, axis=1)))


def r2_score(outputs: NDArray[np.float64], targets: NDArray[np.float64]) -> float:
    """Return the coefficient of determination R², averaged over the targets.

    1 - (sum of squared errors) / (sum of squared deviations from the mean); of a constant target it is 1 if all
    predictions are exact, and else 0, as in scikit-learn.

    Parameters
    ----------
    outputs, targets : ndarray of float64, shape (n, k)
    """
    errors = np.square(targets - outputs).sum(axis=0)
    spread = np.square(targets - targets.mean(axis=0)).sum(axis=0)
    constant = spread == 0
    scores = np.where(constant, (errors == 0).astype(np.float64), 1.0 - errors / np.where(constant, 1.0, spread))
    return float(scores.mean())


def class_rows(confusion: NDArray[np.int64], classes: tuple[str, ...]) -> list[ClassRow]:
    """Return count, correct, recall and precision of each class, from a confusion matrix of shape (k, k)."""
    counts, predicted, correct = confusion.sum(axis=1), confusion.sum(axis=0), np.diagonal(confusion)
    return [
        {
            "class": name,
            "count": int(counts[k]),
            "correct": int(correct[k]),
            "recall": float(correct[k] / counts[k]) if counts[k] else None,
            "precision": float(correct[k] / predicted[k]) if predicted[k] else None,
        }
        for k, name in enumerate(classes)
    ]
