"""The metrics of a model with confidence intervals, and its score on each sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn.evaluation.bootstrap import regression_intervals
from fastnn.evaluation.classification import Evaluation
from fastnn.evaluation.intervals import wilson_interval
from fastnn.evaluation.regression import RegressionEvaluation, r2_scores, variances
from fastnn.evaluation.roc import auc_interval
from fastnn.model import decide

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastnn.evaluation.metrics import AnyEvaluation
    from fastnn.network import Task


@dataclass(frozen=True)
class Figure:
    """A metric with its confidence interval.

    Attributes
    ----------
    value : float
    low, high : float
    """

    value: float
    low: float
    high: float


def figures_of(
    evaluation: AnyEvaluation, targets: NDArray[Any], outputs: NDArray[np.float64], confidence: float = 0.95
) -> dict[str, Figure]:
    """Return the metrics of a model that have a confidence interval, the score first.

    Parameters
    ----------
    evaluation : Evaluation, RegressionEvaluation or MultilabelEvaluation
    targets : ndarray
        Of the samples evaluated on, see :attr:`fastnn.Dataset.targets`.
    outputs : ndarray of float64, shape (n, k)
        Of the model for these samples; only those of a regression are used.
    confidence : float
        More than 0 and less than 1.

    Returns
    -------
    dict of str to Figure
        Classification and multilabel: "accuracy" (Wilson), and for two classes "roc_auc" (Newcombe). Regression: "r2",
        "mae" and "rmse" (bootstrap).

    Raises
    ------
    DataError
        If the confidence is out of range.
    """
    if isinstance(evaluation, RegressionEvaluation):
        intervals = regression_intervals(targets, outputs, confidence)
        return {
            "r2": Figure(evaluation.r2, *intervals.r2),
            "mae": Figure(evaluation.mae, *intervals.mae),
            "rmse": Figure(evaluation.rmse, *intervals.rmse),
        }
    ends = wilson_interval(evaluation.correct, evaluation.total, confidence)
    figures = {"accuracy": Figure(evaluation.accuracy, *ends)}
    if isinstance(evaluation, Evaluation) and evaluation.roc_auc is not None:
        counts = np.bincount(targets, minlength=2).tolist()
        ends = auc_interval(evaluation.roc_auc, counts[1], counts[0], confidence)
        figures["roc_auc"] = Figure(evaluation.roc_auc, *ends)
    return figures


def row_scores(
    task: Task, targets: NDArray[Any], outputs: NDArray[np.float64], variance: NDArray[np.float64] | None = None
) -> NDArray[Any]:
    """Return the score of each sample, whose mean is that of the model.

    Parameters
    ----------
    task : {"classification", "multilabel", "regression"}
    targets : ndarray
        See :attr:`fastnn.Dataset.targets`.
    outputs : ndarray of float64, shape (n, k)
    variance : ndarray of float64, shape (k,), optional
        Of the targets of a regression; by default of these.

    Returns
    -------
    ndarray, shape (n,)
        Classification: bool, whether the class is right. Multilabel: bool, whether all labels are right. Regression:
        1 - the squared error in units of the target's variance, averaged over the targets; the mean over
        the samples is R2.
    """
    if task == "regression":
        spread = variances(targets) if variance is None else variance
        return np.asarray(r2_scores((targets - outputs) ** 2, spread).mean(axis=1))
    right = decide(task, outputs) == targets
    return np.asarray(right.all(axis=1) if task == "multilabel" else right)
