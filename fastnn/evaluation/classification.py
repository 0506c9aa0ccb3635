"""Evaluation of a classifier: accuracy, balanced accuracy, log loss, ROC AUC, confusion matrix, and each class."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypedDict

import numpy as np

from fastnn.evaluation.roc import roc_auc
from fastnn.tables import html_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from fastnn.network import Task

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
        Fraction of the samples classified correctly.
    balanced_accuracy : float
        Mean recall of the classes that occur.
    correct, total : int
        Number of samples classified correctly, and of all samples.
    loss : float
        See :func:`fastnn.evaluation.metrics.mean_loss`.
    per_class : list of dict
        For each class of the model: "class", "count", "correct", "recall", "precision".
    confusion : ndarray of int64, shape (k, k)
        Number of samples by true class (row) and predicted class (column), both in the model's order.
    classes : tuple of str
        Class names of the model.
    log_loss : float
        See :func:`log_loss`; the same as `loss` for softmax outputs.
    roc_auc : float or None
        Of two classes, the area under the ROC curve of the second one, see :func:`fastnn.evaluation.roc.roc_auc`. None
        for more classes, or if only one of the two occurs.
    """

    task: ClassVar[Task] = "classification"

    accuracy: float
    balanced_accuracy: float
    correct: int
    total: int
    loss: float
    per_class: list[ClassRow]
    confusion: NDArray[np.int64]
    classes: tuple[str, ...]
    log_loss: float
    roc_auc: float | None

    @property
    def score(self) -> float:
        """Accuracy."""
        return self.accuracy

    @property
    def metrics(self) -> dict[str, float]:
        """The figures that a model card stores."""
        figures = {
            "test_accuracy": self.accuracy,
            "balanced_accuracy": self.balanced_accuracy,
            "test_loss": self.loss,
        }
        if self.roc_auc is not None:
            figures |= {"roc_auc": self.roc_auc, "log_loss": self.log_loss}
        return figures

    def _repr_html_(self) -> str:
        """Return tables for notebooks: the figures, and those of each class."""
        total = [
            ("accuracy", f"{self.accuracy:.2%}"),
            ("balanced accuracy", f"{self.balanced_accuracy:.2%}"),
            ("loss", f"{self.loss:.4f}"),
            *([] if self.roc_auc is None else [("ROC AUC", f"{self.roc_auc:.4f}")]),
            ("samples", f"{self.total:,}"),
        ]
        header = ("class", "count", "correct", "recall", "precision")
        rows = [
            (row["class"], row["count"], row["correct"], _percent(row["recall"]), _percent(row["precision"]))
            for row in self.per_class[:_SHOWN]
        ]
        left_out = f" (the first {_SHOWN})" if len(self.per_class) > _SHOWN else ""
        return html_table("fastnn.Evaluation", total) + html_table(f"classes{left_out}", rows, header)

    def as_dict(self) -> dict[str, Any]:
        """Return the metrics, fit for JSON; class names are in `per_class`."""
        return {
            "task": self.task,
            "accuracy": self.accuracy,
            "balanced_accuracy": self.balanced_accuracy,
            "correct": self.correct,
            "total": self.total,
            "loss": self.loss,
            "log_loss": self.log_loss,
            "roc_auc": self.roc_auc,
            "per_class": self.per_class,
            "confusion": self.confusion.tolist(),
        }


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.2%}"


def evaluate_classes(
    labels: NDArray[np.int64],
    predicted: NDArray[np.int64],
    probabilities: NDArray[np.float64],
    classes: tuple[str, ...],
    loss: float,
) -> Evaluation:
    """Return the metrics of predicted classes.

    Parameters
    ----------
    labels, predicted : ndarray of int64, shape (n,)
        Indices into `classes`; at least one.
    probabilities : ndarray of float64, shape (n, k)
        Of each class; each row sums to 1.
    classes : tuple of str
        Names of the k classes.
    loss : float
    """
    confusion = confusion_matrix(labels, predicted, len(classes))
    area = roc_auc(labels == 1, probabilities[:, 1]) if len(classes) == 2 else None
    return _evaluation(confusion, classes, loss, log_loss(labels, probabilities), area)


def merge_evaluations(parts: Sequence[Evaluation], area: float | None) -> Evaluation:
    """Return the evaluation of all samples from those of its parts, and the area under the ROC curve."""
    confusion = np.sum([part.confusion for part in parts], axis=0)
    total = sum(part.total for part in parts)
    loss, logs = (
        math.fsum(getattr(part, name) * part.total for part in parts) / total for name in ("loss", "log_loss")
    )
    return _evaluation(confusion, parts[0].classes, loss, logs, area)


def _evaluation(
    confusion: NDArray[np.int64], classes: tuple[str, ...], loss: float, logs: float, area: float | None
) -> Evaluation:
    """Return the metrics that follow from a confusion matrix, with the loss, the log loss and the area."""
    correct, total = int(np.trace(confusion)), int(confusion.sum())
    return Evaluation(
        accuracy=correct / total,
        balanced_accuracy=balanced_accuracy(confusion),
        correct=correct,
        total=total,
        loss=loss,
        per_class=class_rows(confusion, classes),
        confusion=confusion,
        classes=classes,
        log_loss=logs,
        roc_auc=area,
    )


def confusion_matrix(labels: ArrayLike, predicted: ArrayLike, k: int) -> NDArray[np.int64]:
    """Return the number of samples by true and predicted class.

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


def log_loss(labels: NDArray[np.int64], probabilities: NDArray[np.float64]) -> float:
    """Return the mean of -log(probability of the label) in nats; probabilities below 2.2e-16 count as that.

    Parameters
    ----------
    labels : ndarray of int64, shape (n,)
    probabilities : ndarray of float64, shape (n, k)
    """
    given = probabilities[np.arange(len(labels)), labels]
    return float(np.mean(-np.log(np.maximum(given, np.finfo(np.float64).eps))))


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
