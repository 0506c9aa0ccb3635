"""Evaluation of a multilabel model, whose samples may have any number of labels: accuracy, F1 and each label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypedDict

import numpy as np

from fastnn.evaluation.roc import roc_auc
from fastnn.tables import html_table

if TYPE_CHECKING:
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
    truth, guess = targets.astype(bool), predicted.astype(bool)
    counts, guessed, hits = truth.sum(axis=0), guess.sum(axis=0), (truth & guess).sum(axis=0)
    f1 = _f1(hits, counts, guessed)
    rows: list[LabelRow] = [
        {
            "label": name,
            "count": int(counts[k]),
            "correct": int(hits[k]),
            "recall": float(hits[k] / counts[k]) if counts[k] else None,
            "precision": float(hits[k] / guessed[k]) if guessed[k] else None,
            "f1": float(f1[k]),
            "roc_auc": roc_auc(truth[:, k], probabilities[:, k]),
        }
        for k, name in enumerate(names)
    ]
    right = truth == guess
    whole = int(np.count_nonzero(right.all(axis=1)))
    return MultilabelEvaluation(
        accuracy=whole / len(truth),
        label_accuracy=float(right.mean()),
        micro_f1=float(_f1(hits.sum(), counts.sum(), guessed.sum())),
        macro_f1=float(f1.mean()),
        loss=loss,
        correct=whole,
        total=len(truth),
        per_label=rows,
    )


def _f1(hits: NDArray[np.int64], counts: NDArray[np.int64], guessed: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return F1 from the numbers of true positives, positives and predicted positives; 0 if there are none."""
    either = counts + guessed
    return np.asarray(2 * hits / np.where(either > 0, either, 1))
