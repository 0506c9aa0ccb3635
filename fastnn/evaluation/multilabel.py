"""Evaluation of a multilabel model, whose samples may have any number of labels: accuracy, F1 and each label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypedDict

import numpy as np

from fastnn.evaluation.roc import roc_auc
from fastnn.tables import html_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from fastnn.network import Task

_SHOWN = 50
"""Labels listed in a notebook."""


class LabelRow(TypedDict):
    """The scores of one label.

    Recall is None if no sample has the label, precision if it is never predicted, and ROC AUC if all samples have it or
    none has.
    """

    label: str
    count: int
    correct: int
    recall: float | None
    precision: float | None
    f1: float
    roc_auc: float | None


@dataclass(frozen=True)
class MultilabelEvaluation:
    """Metrics of a multilabel model on a data set.

    Attributes
    ----------
    accuracy : float
        Fraction of the samples all of whose labels are predicted correctly (subset accuracy).
    label_accuracy : float
        Fraction of the (sample, label) pairs predicted correctly; 1 minus the Hamming loss.
    micro_f1 : float
        F1 of all (sample, label) pairs together: harmonic mean of precision and recall.
    macro_f1 : float
        Mean F1 of the labels; F1 is 0 for a label that no sample has and that is never predicted.
    loss : float
        See :func:`fastnn.evaluation.metrics.mean_loss`.
    correct, total : int
        Number of samples all of whose labels are predicted correctly, and of all samples.
    per_label : list of dict
        For each label: "label", "count" (samples that have it), "correct" (those of them for which it is predicted),
        "recall", "precision", "f1", "roc_auc".
    """

    task: ClassVar[Task] = "multilabel"

    accuracy: float
    label_accuracy: float
    micro_f1: float
    macro_f1: float
    loss: float
    correct: int
    total: int
    per_label: list[LabelRow]

    @property
    def score(self) -> float:
        """Fraction of the samples all of whose labels are predicted correctly."""
        return self.accuracy

    @property
    def hamming_loss(self) -> float:
        """Fraction of the (sample, label) pairs predicted wrongly."""
        return 1 - self.label_accuracy

    @property
    def metrics(self) -> dict[str, float]:
        """The figures that a model card stores."""
        return {
            "test_accuracy": self.accuracy,
            "label_accuracy": self.label_accuracy,
            "micro_f1": self.micro_f1,
            "macro_f1": self.macro_f1,
            "test_loss": self.loss,
        }

    def as_dict(self) -> dict[str, Any]:
        """Return the metrics, fit for JSON."""
        return {
            "task": self.task,
            "accuracy": self.accuracy,
            "label_accuracy": self.label_accuracy,
            "hamming_loss": self.hamming_loss,
            "micro_f1": self.micro_f1,
            "macro_f1": self.macro_f1,
            "correct": self.correct,
            "total": self.total,
            "loss": self.loss,
            "per_label": self.per_label,
        }

    def _repr_html_(self) -> str:
        """Return tables for notebooks: the figures, and those of each label."""
        total = [
            ("accuracy", f"{self.accuracy:.2%}"),
            ("label accuracy", f"{self.label_accuracy:.2%}"),
            ("micro F1", f"{self.micro_f1:.4f}"),
            ("macro F1", f"{self.macro_f1:.4f}"),
            ("loss", f"{self.loss:.4f}"),
            ("samples", f"{self.total:,}"),
        ]
        rows = [
            (
                row["label"],
                row["count"],
                row["correct"],
                *("" if value is None else f"{value:.2%}" for value in (row["recall"], row["precision"])),
                f"{row['f1']:.4f}",
                "" if row["roc_auc"] is None else f"{row['roc_auc']:.4f}",
            )
            for row in self.per_label[:_SHOWN]
        ]
        left_out = f" (the first {_SHOWN})" if len(self.per_label) > _SHOWN else ""
        header = ("label", "count", "correct", "recall", "precision", "F1", "ROC AUC")
        return html_table("fastnn.MultilabelEvaluation", total) + html_table(f"labels{left_out}", rows, header)


def evaluate_labels(
    targets: NDArray[np.uint8],
    predicted: NDArray[np.uint8],
    probabilities: NDArray[np.float64],
    names: tuple[str, ...],
    loss: float,
) -> MultilabelEvaluation:
    """Return the metrics of predicted labels.

    Parameters
    ----------
    targets, predicted : ndarray of uint8, shape (n, k)
        1 for each label that a sample has, and else 0; at least one row.
    probabilities : ndarray of float64, shape (n, k)
        Of each label; only their order within a label counts.
    names : tuple of str
        Names of the k labels.
    loss : float
    """
    areas = [roc_auc(targets[:, k] > 0, probabilities[:, k]) for k in range(len(names))]
    return evaluation_of_counts(LabelCounts.of(targets, predicted), areas, names, loss)


@dataclass(frozen=True, eq=False)
class LabelCounts:
    """How often labels are there, and how often they are predicted, in some samples.

    Attributes
    ----------
    n : int
        Number of samples.
    true, predicted, both : ndarray of int64, shape (k,)
        Number of samples that have each label, for which it is predicted, and for which both are the case.
    right : int
        Number of (sample, label) pairs predicted correctly.
    whole : int
        Number of samples all of whose labels are predicted correctly.
    """

    n: int
    true: NDArray[np.int64]
    predicted: NDArray[np.int64]
    both: NDArray[np.int64]
    right: int
    whole: int

    @classmethod
    def of(cls, targets: NDArray[np.uint8], predicted: NDArray[np.uint8]) -> LabelCounts:
        """Return those of samples, see :func:`evaluate_labels`."""
        truth, guess = targets.astype(bool), predicted.astype(bool)
        true, guessed, both = (flags.sum(axis=0) for flags in (truth, guess, truth & guess))
        right = truth == guess
        n_right, n_whole = np.count_nonzero(right), np.count_nonzero(right.all(axis=1))
        return cls(len(truth), true, guessed, both, int(n_right), int(n_whole))

    def __add__(self, other: LabelCounts) -> LabelCounts:
        return LabelCounts(
            self.n + other.n,
            self.true + other.true,
            self.predicted + other.predicted,
            self.both + other.both,
            self.right + other.right,
            self.whole + other.whole,
        )


def evaluation_of_counts(
    counts: LabelCounts, areas: Sequence[float | None], names: tuple[str, ...], loss: float
) -> MultilabelEvaluation:
    """Return the metrics that follow from counts, with the area under the ROC curve of each label and the loss."""
    true, predicted, both = counts.true, counts.predicted, counts.both
    f1 = _f1(both, true, predicted)
    rows: list[LabelRow] = [
        {
            "label": name,
            "count": int(true[k]),
            "correct": int(both[k]),
            "recall": float(both[k] / true[k]) if true[k] else None,
            "precision": float(both[k] / predicted[k]) if predicted[k] else None,
            "f1": float(f1[k]),
            "roc_auc": areas[k],
        }
        for k, name in enumerate(names)
    ]
    return MultilabelEvaluation(
        accuracy=counts.whole / counts.n,
        label_accuracy=counts.right / (counts.n * len(names)),
        micro_f1=float(_f1(both.sum(), true.sum(), predicted.sum())),
        macro_f1=float(f1.mean()),
        loss=loss,
        correct=counts.whole,
        total=counts.n,
        per_label=rows,
    )


def _f1(hits: NDArray[np.int64], counts: NDArray[np.int64], guessed: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return F1 from the numbers of true positives, positives and predicted positives; 0 if there are none."""
    either = counts + guessed
    return np.asarray(2 * hits / np.where(either > 0, either, 1))
