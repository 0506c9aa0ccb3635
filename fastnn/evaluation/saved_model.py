"""Evaluating a saved model on the data that it was trained on, or on other data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from fastnn.datasets import Split, load_dataset, split
from fastnn.errors import FastnnError, ModelError
from fastnn.evaluation.metrics import Evaluation, classification, evaluate, match_labels
from fastnn.predicting import load_image_model

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastnn.datasets import Dataset
    from fastnn.model import Model

Part: TypeAlias = Literal["test", "train", "all"]


@dataclass(frozen=True, eq=False)
class SavedModelEvaluation:
    """A saved model evaluated on a part of a data set.

    Attributes
    ----------
    path : str
        The model file or run folder.
    model : Model
    data : str
        The data set's source.
    split : {"test", "train", "all"}
        Which part of it.
    images : Dataset
        This part.
    evaluation : Evaluation
    notes : tuple of str
        Remarks on the data and the part.
    """

    path: str
    model: Model
    data: str
    split: Part
    images: Dataset
    evaluation: Evaluation
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the figures and what they were measured on, fit for JSON."""
        return {"model": self.path, "data": self.data, "split": self.split, **self.evaluation.as_dict()}

    @property
    def part_name(self) -> str:
        """Data and part in words, such as "digits, test part"."""
        return f"{self.data}, all" if self.split == "all" else f"{self.data}, {self.split} part"


def evaluate_file(
    model_path: str,
    data: str | None = None,
    part: Part | None = None,
    *,
    progress: Callable[[str, float], None] | None = None,
) -> SavedModelEvaluation:
    """Evaluate the model in a file or run folder.

    Parameters
    ----------
    model_path : str
        A run folder, a model file or the original's NN.json.
    data : str, optional
        A data set by name or path; by default the data that the model was trained on.
    part : {"test", "train", "all"}, optional
        By default the test part if the model was trained on these data or they have a test set of their own; otherwise
        all of them.
    progress : callable, optional
        Called during a download, see :func:`fastnn.datasets.load_dataset`.

    Returns
    -------
    SavedModelEvaluation

    Raises
    ------
    FastnnError
        If model or data cannot be read or do not fit each other.
    """
    model = load_image_model(model_path)
    source = data if data is not None else training_source(model_path, model)
    dataset = load_data(model_path, source, progress, is_own=data is None)
    chosen, images, notes = _choose(model, dataset, part, own=is_trained_on(model, dataset))
    try:
        evaluation = classification(evaluate(model, images))
    except ModelError as error:
        raise ModelError(f"{model_path}: {error}") from None
    return SavedModelEvaluation(model_path, model, dataset.source, chosen, images, evaluation, dataset.notes + notes)


def is_trained_on(model: Model, dataset: Dataset) -> bool:
    """Return whether a model was trained on this data set, or on a part of it."""
    return model.card.data is not None and model.card.data.hash == dataset.content_hash


def training_source(path: str, model: Model) -> str:
    """Return the name or path of the data that a model was trained on.

    Raises
    ------
    ModelError
        If the model does not say.
    """
    if model.card.data is None:
        raise ModelError(f"{path}: does not say what data it was trained on; give a data set with --data")
    return model.card.data.source


def load_data(path: str, source: str, progress: Callable[[str, float], None] | None = None, *, is_own: bool) -> Dataset:
    """Load the data to evaluate a model on; if they are the model's own, errors suggest to give other data."""
    try:
        return load_dataset(source, progress=progress)
    except FastnnError as error:
        if not is_own:
            raise
        raise type(error)(f"{error}; {path} was trained on these data, give others with --data") from None


def _choose(model: Model, dataset: Dataset, wanted: Part | None, *, own: bool) -> tuple[Part, Dataset, tuple[str, ...]]:
    """Return the name of the part to evaluate on, the part, and remarks on it."""
    has_test = dataset.test is not None
    chosen: Part = wanted or ("test" if own or has_test else "all")
    notes: list[str] = []
    if model.card.epochs == 0:
        notes.append("the model has not been trained yet")
    if not own and model.card.data is not None:
        notes.append(f"{dataset.source} is not the data that the model was trained on")
    if chosen == "all":
        if own:
            notes.append("the model was trained on most of these images; use --split test for the others")
        return chosen, _with_test_set(dataset), tuple(notes)
    stored = model.card.data.split if own and model.card.data is not None else None
    how = stored or Split()
    if not own and not has_test:
        notes.append(f"{dataset.source} is split with test fraction {how.fraction} and seed {how.seed}")
    train, test = split(dataset, how)
    return chosen, test if chosen == "test" else train, tuple(notes)


def _with_test_set(dataset: Dataset) -> Dataset:
    """Return a data set that includes its own test set, if it has one."""
    test = dataset.test
    if test is None:
        return dataset
    return replace(
        dataset,
        features=np.concatenate([dataset.images, test.images]),
        targets=np.concatenate([dataset.labels, match_labels(test, dataset.classes)]),
        test=None,
    )
