"""Evaluating a model of any task on a data set."""

from __future__ import annotations

import functools
import math
import operator
import os
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from fastnn import large_arrays
from fastnn.errors import DataError
from fastnn.evaluation.classification import Evaluation, evaluate_classes, merge_evaluations
from fastnn.evaluation.matching import match_dataset
from fastnn.evaluation.multilabel import LabelCounts, MultilabelEvaluation, evaluate_labels, evaluation_of_counts
from fastnn.evaluation.regression import (
    RegressionEvaluation,
    evaluate_regression,
    regression_of_means,
    variances,
)
from fastnn.evaluation.roc import roc_auc
from fastnn.model import decide

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastnn.datasets.dataset import Dataset
    from fastnn.model import Model

AnyEvaluation: TypeAlias = Evaluation | RegressionEvaluation | MultilabelEvaluation

_LARGEST = 1e150
"""Sums of squares of larger numbers may overflow."""


def evaluate(model: Model, dataset: Dataset) -> AnyEvaluation:
    """Return the metrics of a model on a data set.

    Parameters
    ----------
    model : Model
    dataset : Dataset
        Its columns, and its classes, labels or targets, are matched with those of the model by name.

    Returns
    -------
    Evaluation, RegressionEvaluation or MultilabelEvaluation
        By the model's task. All have `task`, `loss`, `score` (accuracy, or R2 of a regression), `metrics` for a model
        card, and `as_dict`.

    Raises
    ------
    DataError
        If the data set is a path or empty, its task is another, or it has a class that the model does not know.

    Examples
    --------
    >>> import fastnn
    >>> train, test = fastnn.split(fastnn.load_dataset("drawn:200"))
    >>> model = fastnn.fit(train, fastnn.Recipe(hidden=(16,), epochs=2), progress=False)
    >>> evaluation = fastnn.evaluate(model, test)
    >>> evaluation.total, evaluation.confusion.shape
    (20, (10, 10))
    """
    if isinstance(dataset, str | os.PathLike):
        raise DataError(f"{dataset}: is no Dataset; read it with fastnn.load_dataset first")
    if len(dataset) == 0:
        raise DataError(f"{dataset.source}: no {'images' if dataset.is_images else 'rows'} to evaluate on")
    matched = match_dataset(dataset, model)
    parts = EvaluationParts(model, matched)
    for part, outputs in model.outputs_in_parts(matched.features):
        parts.add(part, outputs)
    return parts.whole()


class EvaluationParts:
    """Evaluates a model part by part, so that the outputs for some samples only need to be in memory.

    ROC curves need the outputs for all samples: those of two classes and of several labels are kept until the end, many
    of them in a temporary file.

    Parameters
    ----------
    model : Model
    dataset : Dataset
        From :func:`fastnn.evaluation.matching.match_dataset`, with at least one sample.
    """

    def __init__(self, model: Model, dataset: Dataset) -> None:
        self._model, self._dataset = model, dataset
        self._classes: list[Evaluation] = []
        self._labels: list[LabelCounts] = []
        self._whole: NDArray[np.float64] | None = None
        self._scores: NDArray[np.float64] | None = None
        self._losses: list[float] = []
        self._squares, self._absolute = np.zeros((2, len(model.names)))

    def add(self, part: slice, outputs: NDArray[np.float64]) -> None:
        """Take the outputs for the next samples.

        Raises
        ------
        DataError
            See :func:`evaluate_outputs`.
        """
        model, targets = self._model, self._dataset.targets[part]
        if len(targets) == len(self._dataset):
            self._whole = outputs
        elif model.task == "multilabel":
            self._keep_scores(part, outputs)
            self._labels.append(LabelCounts.of(targets, decide(model.task, outputs)))
            self._losses.append(mean_loss(outputs, targets, model.network.loss) * len(targets))
        elif model.task == "regression":
            self._losses.append(_regression_loss(model, self._dataset.source, targets, outputs) * len(targets))
            errors = targets - outputs
            self._squares += (errors**2).sum(axis=0)
            self._absolute += np.abs(errors).sum(axis=0)
        else:
            probabilities = model.as_probabilities(outputs)
            loss = mean_loss(outputs, targets, model.network.loss)
            self._classes.append(evaluate_classes(targets, outputs.argmax(axis=1), probabilities, model.names, loss))
            if len(model.names) == 2:
                self._keep_scores(part, probabilities[:, 1:])

    def _keep_scores(self, part: slice, scores: NDArray[np.float64]) -> None:
        if self._scores is None:
            # A row for each class or label, of which all scores are needed together.
            self._scores = large_arrays.zeros((scores.shape[1], len(self._dataset)))
        self._scores[:, part] = scores.T

    def _areas(self, targets: NDArray[np.integer[Any]]) -> list[float | None]:
        """Return the areas under the ROC curves; `targets` have a column for each row of the scores that were kept."""
        return [] if self._scores is None else [roc_auc(targets[:, k] == 1, row) for k, row in enumerate(self._scores)]

    def whole(self) -> AnyEvaluation:
        """Return the metrics on all samples."""
        model, dataset, n = self._model, self._dataset, len(self._dataset)
        if self._whole is not None:
            return evaluate_outputs(model, dataset, self._whole)
        if self._classes:
            return merge_evaluations(self._classes, *(self._areas(dataset.labels[:, None]) or [None]))
        loss = math.fsum(self._losses) / n
        if self._labels:
            counts = functools.reduce(operator.add, self._labels)
            return evaluation_of_counts(counts, self._areas(dataset.targets), model.names, loss)
        means = self._squares / n, self._absolute / n
        return regression_of_means(*means, variances(dataset.targets), model.names, loss, n)


def evaluate_outputs(model: Model, dataset: Dataset, outputs: NDArray[np.float64]) -> AnyEvaluation:
    """Return the metrics of a model from its outputs for the samples of a matched data set.

    Parameters
    ----------
    model : Model
    dataset : Dataset
        From :func:`fastnn.evaluation.matching.match_dataset`, with at least one sample.
    outputs : ndarray of float64, shape (n, len(names))

    Raises
    ------
    DataError
        If the targets or outputs of a regression are so large that its metrics would not be finite.
    """
    targets, names, loss = dataset.targets, model.names, model.network.loss
    if model.task == "regression":
        return evaluate_regression(targets, outputs, names, _regression_loss(model, dataset.source, targets, outputs))
    measured = mean_loss(outputs, targets, loss)
    predicted = decide(model.task, outputs)
    if model.task == "multilabel":
        return evaluate_labels(targets, predicted, outputs, names, measured)
    return evaluate_classes(targets, predicted, model.as_probabilities(outputs), names, measured)


def _regression_loss(model: Model, source: str, targets: NDArray[np.float64], outputs: NDArray[np.float64]) -> float:
    """Return the loss of a regression; DataError if it or other metrics would not be finite."""
    if max(targets.max(), -targets.min(), outputs.max(), -outputs.min()) > _LARGEST:
        raise DataError(f"{source}: has targets or predictions beyond {_LARGEST:g}, too large to be squared")
    recipe, scaling = model.card.recipe, model.target_scaling
    scaled, wanted = outputs, targets
    if scaling is not None:
        # The loss in training is that of standardised targets.
        scaled, wanted = scaling.apply(outputs), scaling.apply(targets)
    measured = mean_loss(scaled, wanted, model.network.loss, None if recipe is None else recipe.huber_delta)
    if not np.isfinite(measured):
        raise DataError(f"{source}: the loss is not finite; the targets differ too much from those of training")
    return measured


def mean_loss(outputs: NDArray[Any], targets: NDArray[Any], loss: str, huber_delta: float | None = None) -> float:
    """Return the loss that training minimises, averaged over the samples.

    Parameters
    ----------
    outputs : ndarray of floats, shape (n, k)
        Activations of the last layer; the loss is computed in float64.
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
    if len(targets) > large_arrays.ROWS_IN_PART:
        parts = list(large_arrays.parts(len(targets)))
        losses = [mean_loss(outputs[part], targets[part], loss, huber_delta) for part in parts]
        return math.fsum(mean * len(targets[part]) for mean, part in zip(losses, parts, strict=True)) / len(targets)
    outputs = outputs.astype(np.float64, copy=False)
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
