"""How far an exported file and its model agree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn.errors import ModelError
from fastnn.evaluation.metrics import evaluate_outputs
from fastnn.formats.export import format_of
from fastnn.model import decide
from fastnn.storage import user_path

if TYPE_CHECKING:
    from pathlib import Path

    from fastnn.datasets import Dataset
    from fastnn.model import Model


@dataclass(frozen=True)
class Agreement:
    """How far an exported file and its model agree.

    Attributes
    ----------
    total : int
        Number of samples.
    same : int
        Samples with the same class, the same labels, or for a regression the same numbers within 1e-5 of the largest.
    largest_difference : float
        Between probabilities, or between the predictions of a regression.
    score, model_score : float
        Accuracy, or R2 of a regression, of the file and of the model.
    """

    total: int
    same: int
    largest_difference: float
    score: float
    model_score: float

    def as_dict(self) -> dict[str, Any]:
        """Return the figures, fit for JSON."""
        return dict(vars(self))


def check_export(path: str | Path, model: Model, samples: Dataset) -> Agreement:
    """Run an exported file on samples and compare its answers with those of the model.

    Parameters
    ----------
    path : path-like
        A file that :func:`fastnn.export` wrote.
    model : Model
        The model that it was made of.
    samples : Dataset
        At least one, with the columns and names of the model, see
        :func:`fastnn.evaluation.matching.match_dataset`.

    Raises
    ------
    ModelError
        If the file cannot be run here; the message says what is missing.
    """
    path = user_path(path)
    try:
        found = format_of(path).exporter().run(path, model, samples.features)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None
    expected = model.answers(samples.features)
    differences = np.abs(found - expected)
    if model.task == "regression":
        same = (differences <= 1e-5 * max(1.0, float(np.abs(expected).max()))).all(axis=1)
    else:
        same = decide(model.task, expected) == decide(model.task, found)
        same = same if same.ndim == 1 else same.all(axis=1)
    scores = (evaluate_outputs(model, samples, outputs).score for outputs in (found, expected))
    return Agreement(len(expected), int(same.sum()), float(differences.max()), *scores)
