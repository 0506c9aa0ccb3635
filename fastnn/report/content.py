"""What a report shows: a model's results on a data set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn import large_arrays
from fastnn.datasets.sparse import SparseRows
from fastnn.errors import DataError, ModelError
from fastnn.evaluation.figures import Figure, figures_of, row_scores
from fastnn.evaluation.intervals import Reliability, merge_reliability, reliability
from fastnn.evaluation.matching import match_dataset
from fastnn.evaluation.metrics import AnyEvaluation, EvaluationParts
from fastnn.evaluation.regression import variances
from fastnn.runs import read_history

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from fastnn.datasets import Dataset
    from fastnn.model import Model

_MAX_ROWS = 30
"""Most rows in the table of the worst ones."""
MAX_MISTAKES = 60
"""Most images on the picture of the worst ones."""
MAX_POINTS = 20_000
"""Most predictions of a regression that are drawn, evenly spaced in the data: more would show nothing else."""
_MAX_COLUMNS = 10
"""Most columns of the data in that table."""


@dataclass(frozen=True, eq=False)
class Content:
    """What a report shows.

    Attributes
    ----------
    model : Model
    dataset : Dataset
        With the columns and names of the model.
    worst : ndarray of int64, shape (m,)
        Positions of the samples that the model predicts worst, at most 60, the worst first. Of a classifier those whose
        class is wrong, by the probability of the wrong class; of a multilabel model those with a wrong label, by how
        sure the model is of it; of a regression those that are not exact, by their errors.
    worst_outputs : ndarray of float64, shape (m, k)
        What the model says of them: probabilities, or the predictions of a regression.
    shown : ndarray of int64, shape (s,)
        Of a regression: positions of the samples whose predictions are drawn.
    shown_outputs : ndarray of float64, shape (s, k)
        The predictions for them.
    evaluation : Evaluation, RegressionEvaluation or MultilabelEvaluation
    figures : dict of str to Figure
        Metrics with their intervals.
    reliability : Reliability or None
        Of a classifier.
    history : dict of ndarray of float64, shape (epochs,), or None
        The columns of the run's history.
    """

    model: Model
    dataset: Dataset
    worst: NDArray[np.int64]
    worst_outputs: NDArray[np.float64]
    shown: NDArray[np.int64]
    shown_outputs: NDArray[np.float64]
    evaluation: AnyEvaluation
    figures: dict[str, Figure]
    reliability: Reliability | None
    history: dict[str, NDArray[np.float64]] | None

    @property
    def pictures(self) -> tuple[str, ...]:
        """The pictures of the page, in their order."""
        if self.model.task == "regression":
            return ("predicted", "history")
        if self.model.task == "multilabel":
            return ("history",)
        if self.dataset.is_images:
            return ("confusion", "history", "mistakes", "weights", "reliability")
        return ("confusion", "history", "reliability")

    @property
    def samples(self) -> str:
        """What the samples are: "images" or "rows"."""
        return "images" if self.dataset.is_images else "rows"

    def worst_rows(self) -> tuple[Sequence[str], list[Sequence[Any]]]:
        """Return the heading and the rows of a table of the worst rows."""
        worst, names = self.worst[:_MAX_ROWS], self.model.names
        targets, outputs = self.dataset.targets[worst], self.worst_outputs[:_MAX_ROWS]
        columns, cells = self._columns(worst)
        if self.model.task == "classification":
            head: Sequence[str] = ("label", "prediction", "probability")
            found: list[tuple[str, ...]] = [
                (names[label], names[int(row.argmax())], f"{row.max():.1%}")
                for label, row in zip(targets.tolist(), outputs, strict=True)
            ]
        elif self.model.task == "multilabel":
            head = ("labels", "prediction")
            found = [
                (_listed(names, label == 1), _listed(names, row > 0.5))
                for label, row in zip(targets, outputs, strict=True)
            ]
        else:
            # Of several targets the one that is predicted worst, in units of its spread.
            spread = np.sqrt(variances(self.dataset.targets))
            errors = np.abs(targets - outputs) / np.where(spread > 0, spread, 1.0)
            chosen = errors.argmax(axis=1)
            head = ("target", "true value", "prediction")
            found = [
                (names[k], f"{label[k]:.6g}", f"{row[k]:.6g}")
                for k, label, row in zip(chosen.tolist(), targets, outputs, strict=True)
            ]
        return (*head, *columns), [(*one, *more) for one, more in zip(found, cells, strict=True)]

    def _columns(self, rows: NDArray[np.int64]) -> tuple[list[str], list[list[str]]]:
        """Return the names of the first columns of the data, and their values in some rows as text."""
        features = self.dataset.features
        chosen = features.take(rows).toarray() if isinstance(features, SparseRows) else features[rows]
        if self.dataset.columns is None:
            n = min(_MAX_COLUMNS, chosen.shape[1])
            return [str(k + 1) for k in range(n)], [[f"{value:.6g}" for value in row[:n]] for row in chosen]
        shown, start = self.dataset.columns[:_MAX_COLUMNS], 0
        cells: list[list[str]] = [[] for _ in rows]
        for column in shown:
            part = chosen[:, start : start + column.width]
            start += column.width
            for texts, values in zip(cells, part, strict=True):
                if column.categories is None:
                    texts.append(f"{values[0]:.6g}")
                else:
                    texts.append(column.categories[int(values.argmax())] if values.any() else "")
        return [column.name for column in shown], cells


def _listed(names: tuple[str, ...], has: NDArray[np.bool_]) -> str:
    return ", ".join(names[k] for k in np.flatnonzero(has).tolist()) or "none"


def measure(model: Model, dataset: Dataset, history: Path | None) -> Content:
    """Return what a report on a model shows.

    Raises
    ------
    DataError
        If the data set is empty or does not fit the model.
    """
    matched = match_dataset(dataset, model)
    if not len(matched):
        raise DataError(f"{matched.source}: no {'images' if matched.is_images else 'rows'} to evaluate on")
    parts, worst, points = EvaluationParts(model, matched), _Worst(matched), _Points(matched)
    curve: list[Reliability] = []
    # The intervals of a classifier need no more than its evaluation.
    kept = large_arrays.zeros((len(matched) if model.task == "regression" else 0, len(model.names)))
    for part, outputs in model.outputs_in_parts(matched.features):
        parts.add(part, outputs)
        answers = outputs if model.task == "regression" else model.as_probabilities(outputs)
        worst.add(part, answers)
        points.add(part, answers)
        if model.task == "classification":
            curve.append(reliability(answers, matched.labels[part]))
        if model.task == "regression":
            kept[part] = outputs
    evaluation = parts.whole()
    figures = figures_of(evaluation, matched.targets, kept)
    curves = None if history is None else _learning_curves(history, model.card.epochs)
    return Content(
        model=model,
        dataset=matched,
        worst=worst.positions,
        worst_outputs=worst.outputs,
        shown=points.positions,
        shown_outputs=points.outputs,
        evaluation=evaluation,
        figures=figures,
        reliability=merge_reliability(curve) if curve else None,
        history=curves,
    )


class _Worst:
    """Keeps the samples that a model predicts worst, see :class:`Content`.

    Attributes
    ----------
    positions : ndarray of int64, shape (m,)
    outputs : ndarray of float64, shape (m, k)
    """

    def __init__(self, dataset: Dataset) -> None:
        self._task, self._targets = dataset.task, dataset.targets
        self._variance = variances(dataset.targets) if dataset.task == "regression" else None
        self._keys: NDArray[np.float64] = np.zeros(0)
        self.positions: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self.outputs: NDArray[np.float64] = np.zeros((0, len(dataset.names)))

    def add(self, part: slice, outputs: NDArray[np.float64]) -> None:
        """Take the outputs for the next samples."""
        targets = self._targets[part]
        scores = row_scores(self._task, targets, outputs, self._variance)
        wrong = np.flatnonzero(scores < 1)
        if self._task == "classification":
            keys = -outputs[wrong].max(axis=1)
        elif self._task == "multilabel":
            keys = -np.abs(targets[wrong] - outputs[wrong]).max(axis=1)
        else:
            keys = scores[wrong]
        all_keys = np.concatenate([self._keys, keys])
        best = np.argsort(all_keys, kind="stable")[:MAX_MISTAKES]
        self._keys = all_keys[best]
        self.positions = np.concatenate([self.positions, wrong + part.start])[best]
        self.outputs = np.concatenate([self.outputs, outputs[wrong]])[best]


class _Points:
    """Keeps the predictions of a regression that are drawn.

    Attributes
    ----------
    positions : ndarray of int64, shape (s,)
    outputs : ndarray of float64, shape (s, k)
    """

    def __init__(self, dataset: Dataset) -> None:
        most = MAX_POINTS if dataset.task == "regression" else 0
        self.positions = np.unique(np.linspace(0, len(dataset) - 1, most).astype(np.int64))
        self.outputs = np.zeros((len(self.positions), len(dataset.names)))

    def add(self, part: slice, outputs: NDArray[np.float64]) -> None:
        """Take the outputs for the next samples."""
        first, last = np.searchsorted(self.positions, (part.start, part.stop)).tolist()
        self.outputs[first:last] = outputs[self.positions[first:last] - part.start]


def _learning_curves(path: Path, epochs: int | None) -> dict[str, NDArray[np.float64]] | None:
    """Return the columns of a run's history, or None if it cannot be read, is damaged or empty.

    Parameters
    ----------
    path : Path
    epochs : int or None
        The model's number of epochs. Later ones are left out: the run went on, and its new model is not written yet.

    Returns
    -------
    dict of ndarray of float64, shape (epochs,)
        epoch, lr, loss, accuracy, test_loss, test_accuracy, validation_loss, validation_accuracy; NaN if a run had no
        such part.
    """
    try:
        reports = read_history(path)
        rows = [report.as_dict() for report in reports if epochs is None or report.epoch <= epochs]
    except ModelError:
        return None
    if not rows:
        return None
    # NumPy turns None into NaN.
    names = [name for name in rows[0] if name != "task"]
    return {name: np.asarray([row[name] for row in rows], dtype=np.float64) for name in names}
