"""Tells whether a model predicts better than chance."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from fastnn.evaluation.classification import Evaluation
from fastnn.evaluation.multilabel import MultilabelEvaluation

if TYPE_CHECKING:
    from fastnn.evaluation.metrics import AnyEvaluation
    from fastnn.evaluation.regression import RegressionEvaluation

LEAST_SAMPLES = 1000
"""After fewer samples trained on, most networks are still near chance."""

_USUAL_LR = 0.01
"""The learning rate of most presets."""
_LEAST = 30
"""With fewer samples scores near those of chance say too little."""
_LEAST_OTHERS = 10
"""Least number of samples of other classes if all samples are predicted as one class."""
_LARGEST_SKILL = 0.15
"""A model that may be more than this part of the way from chance to perfect has learned something."""
_LARGEST_AREA = 0.55
_LARGEST_LOSS = 0.95
"""A model whose log loss is a smaller part of the one of the classes' shares has learned something."""
_Z = 1.96
"""Standard errors at either side of a 95 % interval."""


def learned_nothing(evaluation: AnyEvaluation) -> str | None:
    """Return why a model is no better than one that gives every sample the same answer; None if it may be better.

    A class for all samples, a balanced accuracy that is 1 / (number of classes) within its interval, or an R2 of 0 or
    less are reasons. They are none if the test set is too small to tell, or if the probabilities of a classifier still
    say something about the classes: then training was only too short, or a class is rare.

    Parameters
    ----------
    evaluation : Evaluation, RegressionEvaluation or MultilabelEvaluation

    Returns
    -------
    str or None
        Such as "all 685 test samples are predicted as '6'".
    """
    if isinstance(evaluation, Evaluation):
        return _no_classes(evaluation)
    if isinstance(evaluation, MultilabelEvaluation):
        return _no_labels(evaluation)
    return _no_numbers(evaluation)


def other_rate(lr: float) -> str:
    """Return the advice to try another learning rate than one with which a network learned nothing."""
    if lr < _USUAL_LR / 10:
        return f"try a learning rate above {lr:g}, such as {_USUAL_LR:g}, and check the labels"
    other = _USUAL_LR if lr > 2 * _USUAL_LR else lr / 10
    return f"try a learning rate below {lr:g}, such as {other:g}, and check the labels"


def _no_classes(evaluation: Evaluation) -> str | None:
    counts, predicted = evaluation.confusion.sum(axis=1), evaluation.confusion.sum(axis=0)
    occur = counts > 0
    n, k = evaluation.total, int(np.count_nonzero(occur))
    shares = counts[occur] / n
    # No model that gives every sample the same probabilities has a lower log loss.
    if k < 2 or evaluation.log_loss < _LARGEST_LOSS * -float(np.sum(shares * np.log(shares))):
        return None
    if np.count_nonzero(predicted) == 1:
        if n - evaluation.correct < _LEAST_OTHERS:
            return None
        return f"all {n:,} test samples are predicted as {evaluation.classes[int(predicted.argmax())]!r}"
    if n < _LEAST:
        return None
    # The variance as of Agresti and Coull, which is not 0 for a recall of 0 or 1.
    recalls = (np.diagonal(evaluation.confusion)[occur] + 2) / (counts[occur] + 4)
    error = math.sqrt(float(np.sum(recalls * (1 - recalls) / (counts[occur] + 4)))) / k
    balanced = evaluation.balanced_accuracy
    low, high = balanced - _Z * error, balanced + _Z * error
    if low > 1 / k or (high - 1 / k) / (1 - 1 / k) > _LARGEST_SKILL:
        return None
    return f"its balanced accuracy on {n:,} test samples, {balanced:.1%}, is that of chance with {k} classes"


def _no_labels(evaluation: MultilabelEvaluation) -> str | None:
    n, rarer = evaluation.total, 0
    for row in evaluation.per_label:
        # Without precision no prediction is right, and no more are wrong than if there were none.
        predicted = round(row["correct"] / row["precision"]) if row["precision"] else 0
        right = n - row["count"] - predicted + 2 * row["correct"]
        rarer += min(row["count"], n - row["count"])
        if right > max(row["count"], n - row["count"]):
            return None
    areas = [row["roc_auc"] for row in evaluation.per_label if row["roc_auc"] is not None]
    if rarer < _LEAST or not areas or sum(areas) / len(areas) > _LARGEST_AREA:
        return None
    return f"no label of {n:,} test samples is predicted better than by always giving its most common value"


def _no_numbers(evaluation: RegressionEvaluation) -> str | None:
    # The R2 of a target that is constant in the test set is 0 or 1.
    scores = [row["r2"] for row in evaluation.per_target if row["r2"] not in (0.0, 1.0)]
    if evaluation.total < _LEAST or not scores or max(scores) > 0:
        return None
    return f"R2 on {evaluation.total:,} test samples is {evaluation.r2:.3g}, no better than always predicting the mean"
