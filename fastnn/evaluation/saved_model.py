"""Evaluating a saved model on the data that it was trained on, or on other data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from fastnn.datasets import Split, load_source, split
from fastnn.datasets.options import DEFAULT_OPTIONS
from fastnn.datasets.sparse import SparseRows
from fastnn.errors import FastnnError, ModelError
from fastnn.evaluation.matching import match_dataset, match_labels
from fastnn.evaluation.metrics import AnyEvaluation, evaluate
from fastnn.formats import load_model

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from fastnn.datasets import Dataset, ReadOptions
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
    samples : Dataset
        This part, with the columns and names of the model.
    evaluation : Evaluation, RegressionEvaluation or MultilabelEvaluation
    notes : tuple of str
        Remarks on the data and the part.
    """

    path: str
    model: Model
    data: str
    split: Part
    samples: Dataset
    evaluation: AnyEvaluation
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the figures and what they were measured on, fit for JSON."""
        return {"model": self.path, "data": self.data, "split": self.split, **self.evaluation.as_dict()}

    @property
    def part_name(self) -> str:
        """Data and part in words, such as "digits, test part"."""
        return f"{self.data}, all" if self.split == "all" else f"{self.data}, {self.split} part"


@dataclass(frozen=True)
class DataChoice:
    """Which data to evaluate a model on.

    Attributes
    ----------
    source : str
        Name, path or URL.
    options : ReadOptions
        How they are read.
    from_model : bool
        Whether target and task are those of the model alone.
    """

    source: str
    options: ReadOptions = DEFAULT_OPTIONS
    from_model: bool = False

    @classmethod
    def of(
        cls,
        path: str,
        model: Model,
        data: str | None = None,
        options: ReadOptions = DEFAULT_OPTIONS,
    ) -> DataChoice:
        """Return the given data, or those that the model was trained on; a table with target and task of the model.

        Raises
        ------
        ModelError
            If no data are given and the model does not say what it was trained on.
        """
        about = model.card.data
        source = data if data is not None else training_source(path, model)
        from_model = model.takes == "rows" and not options.target and options.task is None
        if model.takes == "rows":
            target = options.target or (None if about is None else about.target) or ()
            task = options.task or (model.task if data is not None or about is None else about.task)
            options = replace(options, target=target, task=task)
        elif data is None and about is not None and options.polarity == "auto":
            options = replace(options, polarity=about.options.polarity)
        if data is None and about is not None and not options.classes:
            options = replace(options, classes=about.classes or ())
        return cls(source, options, from_model)

    def load(self, path: str, progress: Callable[[str, float], None] | None = None, *, is_own: bool) -> Dataset:
        """Load the data; if they are the model's own, errors suggest to give other data."""
        try:
            return load_source(self.source, self.options, progress)
        except FastnnError as error:
            images = self._load_images(progress) if self.from_model else None
            if images is not None:
                return images
            if not is_own:
                raise
            raise type(error)(f"{error}; {path} was trained on these data, give others with --data") from None

    def _load_images(self, progress: Callable[[str, float], None] | None) -> Dataset | None:
        """Return the data if they are images, which have no choice of target and task, and else None."""
        try:
            dataset = load_source(self.source, replace(self.options, target=(), task=None), progress)
        except FastnnError:
            return None
        return dataset if dataset.is_images else None


def evaluate_file(
    model_path: str,
    data: str | None = None,
    part: Part | None = None,
    *,
    options: ReadOptions = DEFAULT_OPTIONS,
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
    options : ReadOptions
        How the data are read; a table by default with the target and the task of the model.
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
    model = load_model(model_path)
    source, chosen, samples, notes = evaluation_samples(model_path, model, data, part, options, progress)
    try:
        evaluation = evaluate(model, samples)
    except ModelError as error:
        raise ModelError(f"{model_path}: {error}") from None
    return SavedModelEvaluation(model_path, model, source, chosen, samples, evaluation, notes)


def evaluation_samples(
    path: str,
    model: Model,
    data: str | None = None,
    part: Part | None = None,
    options: ReadOptions = DEFAULT_OPTIONS,
    progress: Callable[[str, float], None] | None = None,
) -> tuple[str, Part, Dataset, tuple[str, ...]]:
    """Return the samples that a model is evaluated on: their source, the part, the samples as it takes them, and notes.

    The parameters and errors are those of :func:`evaluate_file`.
    """
    choice = DataChoice.of(path, model, data, options)
    dataset = choice.load(path, progress, is_own=data is None)
    chosen, samples, notes = _choose(model, dataset, part, own=is_trained_on(model, dataset))
    try:
        matched = match_dataset(samples, model)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None
    return dataset.source, chosen, matched, matched.notes + notes


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


def _choose(model: Model, dataset: Dataset, wanted: Part | None, *, own: bool) -> tuple[Part, Dataset, tuple[str, ...]]:
    """Return the name of the part to evaluate on, the part, and remarks on it."""
    has_test, what = dataset.test is not None, "images" if dataset.is_images else "rows"
    chosen: Part = wanted or ("test" if own or has_test else "all")
    notes: list[str] = []
    if model.card.epochs == 0:
        notes.append("the model has not been trained yet")
    if not own and model.card.data is not None:
        notes.append(f"{dataset.source} is not the data that the model was trained on")
    if chosen == "all":
        if own:
            notes.append(f"the model was trained on most of these {what}; use --split test for the others")
        return chosen, _with_test_set(dataset), tuple(notes)
    stored = model.card.data.split if own and model.card.data is not None else None
    how = stored or Split()
    if not own and not has_test:
        notes.append(f"{dataset.source} is split with test fraction {how.fraction} and seed {how.seed}")
    recipe = model.card.recipe
    if own and chosen == "test" and recipe is not None and recipe.until is not None:
        notes.append(f"training ended when it was good enough on these {what}, so that their scores are too optimistic")
    train, test = split(dataset, how)
    return chosen, test if chosen == "test" else train, tuple(notes)


def _with_test_set(dataset: Dataset) -> Dataset:
    """Return a data set that includes its own validation and test sets, if it has them."""
    for part in (dataset.validation, dataset.test):
        if part is not None:
            targets = match_labels(part, dataset.names) if part.task == "classification" else part.targets
            dataset = replace(
                dataset,
                features=_stack(dataset.features, part.features),
                targets=np.concatenate([dataset.targets, targets]),
            )
    return replace(dataset, test=None, validation=None)


def _stack(first: NDArray[Any] | SparseRows, second: NDArray[Any] | SparseRows) -> NDArray[Any] | SparseRows:
    """Return the samples of both."""
    if not isinstance(first, SparseRows) or not isinstance(second, SparseRows):
        return np.concatenate([one.toarray() if isinstance(one, SparseRows) else one for one in (first, second)])
    end, more = first.row_starts[-1], second.row_starts[-1]
    return SparseRows(
        np.concatenate([first.values[:end], second.values[:more]]),
        np.concatenate([first.indices[:end], second.indices[:more]]),
        np.concatenate([first.row_starts, second.row_starts[1:] + end]),
        max(first.n_columns, second.n_columns),
    )
