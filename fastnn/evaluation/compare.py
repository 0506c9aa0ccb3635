"""Comparing runs: their recipes, their accuracy, and whether its differences are significant."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn.datasets import load_dataset
from fastnn.errors import DataError, FastnnError, ModelError
from fastnn.evaluation.intervals import McNemar, holm, mcnemar, wilson_interval
from fastnn.evaluation.metrics import match_labels
from fastnn.evaluation.saved_model import is_trained_on, load_data, training_source
from fastnn.formats import find_model
from fastnn.predicting import load_image_model
from fastnn.runs import HISTORY_FILE, read_history

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from fastnn.datasets import Dataset
    from fastnn.model import Model


@dataclass(frozen=True)
class ComparedRun:
    """One run of a comparison.

    Attributes
    ----------
    run : str
        Its folder or model file, as given.
    recipe : dict
        The recipe stored in the model; empty if there is none.
    data : str
        The data that it was trained on, or "unknown".
    layers : tuple of int
        Layer sizes.
    networks : int
        Number of networks in the ensemble.
    epochs : int or None
    seconds : float or None
        Training time, if the run has a history.
    tested_on : str
        The test images in words.
    correct, total : int
        Number of test images classified correctly, and of all.
    accuracy, low, high : float
        Accuracy and its Wilson interval.
    """

    run: str
    recipe: dict[str, Any]
    data: str
    layers: tuple[int, ...]
    networks: int
    epochs: int | None
    seconds: float | None
    tested_on: str
    correct: int
    total: int
    accuracy: float
    low: float
    high: float


@dataclass(frozen=True)
class ComparedPair:
    """Two runs compared on the test images that they share.

    Attributes
    ----------
    first, second : str
        The runs.
    shared : int
        Number of images that both can be tested on.
    first_correct, second_correct : int
        How many of these each run classifies correctly.
    test : McNemar or None
        None if no images are shared.
    p_adjusted : float or None
        p of the test, adjusted for the number of pairs (Holm).
    """

    first: str
    second: str
    shared: int
    first_correct: int
    second_correct: int
    test: McNemar | None
    p_adjusted: float | None

    @property
    def better(self) -> str | None:
        """The run that is significantly better (adjusted p below 0.05), or None."""
        if self.p_adjusted is None or self.p_adjusted >= 0.05:
            return None
        return self.first if self.first_correct > self.second_correct else self.second


@dataclass(frozen=True)
class Comparison:
    """A comparison of two or more runs.

    Attributes
    ----------
    rows : tuple of ComparedRun
    pairs : tuple of ComparedPair
        Every pair of runs.
    differences : tuple of str
        Keys of the recipe in which the runs differ.
    confidence : float
        Confidence level of the intervals.
    notes : tuple of str
        Remarks for the user.
    """

    rows: tuple[ComparedRun, ...]
    pairs: tuple[ComparedPair, ...]
    differences: tuple[str, ...]
    confidence: float
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the comparison, fit for JSON."""
        return {
            "runs": [asdict(row) | {"layers": list(row.layers)} for row in self.rows],
            "differences": list(self.differences),
            "confidence": self.confidence,
            "pairs": [asdict(pair) | {"better": pair.better} for pair in self.pairs],
            "notes": list(self.notes),
        }


@dataclass(frozen=True, eq=False)
class _Results:
    """What a run does on each image of a data set.

    Attributes
    ----------
    hash : str
        Content hash of the data set.
    unseen : ndarray of bool, shape (n,)
        Images that the run was not trained on.
    correct : ndarray of bool, shape (n,)
        Images that it classifies correctly.
    part : str
        The test images in words.
    knows_training_set : bool
        False if the run's training images are unknown, so that `unseen` may be wrong.
    """

    hash: str
    unseen: NDArray[np.bool_]
    correct: NDArray[np.bool_]
    part: str
    knows_training_set: bool = True


def compare(
    runs: Sequence[str],
    data: str | None = None,
    *,
    confidence: float = 0.95,
    progress: Callable[[str, float], None] | None = None,
) -> Comparison:
    """Compare runs by their accuracy on test images.

    Without `data`, each run is tested on the test part of the data that it was trained on. With `data`, all are tested
    on the same images: the data set's own test set, or else all of its images. Images that any of the runs was trained
    on, in any data set, are left out.

    Parameters
    ----------
    runs : sequence of str
        Two or more run folders or model files.
    data : str, optional
        A data set by name or path.
    confidence : float
        Confidence level of the Wilson intervals.
    progress : callable, optional
        Called during a download, see :func:`fastnn.datasets.load_dataset`.

    Returns
    -------
    Comparison

    Raises
    ------
    FastnnError
        If a model or data set cannot be read, or there are no images to test on.

    Examples
    --------
    >>> import fastnn
    >>> for units in (8, 16):
    ...     recipe = fastnn.Recipe(hidden=(units,), epochs=2)
    ...     model = fastnn.fit("drawn:200", recipe, out=f"units-{units}", progress=False)
    >>> comparison = fastnn.compare(["units-8", "units-16"])
    >>> [row.total for row in comparison.rows], comparison.differences
    ([20, 20], ('hidden',))
    """
    if len(runs) < 2:
        raise FastnnError("a comparison needs at least two runs")
    if len(set(runs)) < len(runs):
        raise FastnnError("a run is given twice; give different runs")
    models = [load_image_model(run) for run in runs]
    loaded: dict[str, Dataset] = {}
    results = []
    for run, model in zip(runs, models, strict=True):
        source = data if data is not None else training_source(run, model)
        if source not in loaded:
            loaded[source] = load_data(run, source, progress, is_own=data is None)
        results.append(_test(run, model, loaded[source], data is not None, progress))
    if data is not None:
        common = np.logical_and.reduce([result.unseen for result in results])
        if not common.any():
            raise DataError(f"{data}: every image was used to train one of the runs; give other data")
        part = f"{data}, {int(common.sum()):,} images for all"
        results = [replace(result, unseen=common, part=part) for result in results]
    rows = tuple(
        _compared_run(run, model, result, confidence) for run, model, result in zip(runs, models, results, strict=True)
    )
    recipes = [row.recipe for row in rows if row.recipe]
    keys = dict.fromkeys(key for recipe in recipes for key in recipe)
    differences = tuple(key for key in keys if any(recipe.get(key) != recipes[0].get(key) for recipe in recipes))
    return Comparison(rows, _compared_pairs(runs, results), differences, confidence, _notes(rows, results, data))


def _test(
    run: str, model: Model, dataset: Dataset, given: bool, progress: Callable[[str, float], None] | None
) -> _Results:
    """Return the results of a run on a data set; `given` says that the user chose the data set."""
    own = is_trained_on(model, dataset)
    if not own and not given:
        raise DataError(f"{dataset.source}: is not the data that {run} was trained on; give a data set with --data")
    split = model.card.data.split if own and model.card.data is not None else None
    own_test = dataset.test if split is None else split.own_test(dataset)
    if own_test is not None:
        images, part = own_test, "its test set"
        unseen = np.ones(len(images), dtype=bool)
    elif split is not None:
        images, part, unseen = dataset, str(split), split.test_mask(dataset)
    elif own:
        raise ModelError(f"{run}: does not say how its data were split; give other data with --data")
    else:
        images, part = dataset, "all"
        unseen = np.ones(len(images), dtype=bool)
    if not len(images):
        raise DataError(f"{dataset.source}: no images to test on")
    trained_on: set[bytes] | None = set() if own else _training_images(model, progress)
    if trained_on:
        unseen &= [image.tobytes() not in trained_on for image in images.images]
    correct = model.predict(images.images) == match_labels(images, model.classes)
    return _Results(images.content_hash, unseen, correct, f"{dataset.source}, {part}", trained_on is not None)


def _training_images(model: Model, progress: Callable[[str, float], None] | None) -> set[bytes] | None:
    """Return the pixels of the images that a model was trained on, or None if they cannot be found."""
    about = model.card.data
    if about is None or about.split is None:
        return None
    try:
        dataset = load_dataset(about.source, progress=progress)
        if dataset.content_hash != about.hash:
            return None
        images = dataset.images
        if about.split.own_test(dataset) is None:
            images = images[~about.split.test_mask(dataset)]
    except FastnnError:
        return None
    return {image.tobytes() for image in images}


def _compared_run(run: str, model: Model, result: _Results, confidence: float) -> ComparedRun:
    card = model.card
    correct, total = int(np.count_nonzero(result.correct & result.unseen)), int(np.count_nonzero(result.unseen))
    low, high = wilson_interval(correct, total, confidence)
    return ComparedRun(
        run=run,
        recipe={} if card.recipe is None else card.recipe.as_dict(),
        data="unknown" if card.data is None else card.data.description or card.data.source,
        layers=tuple(model.sizes),
        networks=len(model.networks),
        epochs=card.epochs,
        seconds=_seconds(find_model(run).parent / HISTORY_FILE),
        tested_on=result.part,
        correct=correct,
        total=total,
        accuracy=correct / total,
        low=low,
        high=high,
    )


def _seconds(history: Path) -> float | None:
    """Return the training time in a run's history, or None if it cannot be read."""
    try:
        return math.fsum(report.seconds for report in read_history(history)) or None
    except ModelError:
        return None


def _compared_pairs(runs: Sequence[str], results: list[_Results]) -> tuple[ComparedPair, ...]:
    pairs = []
    for i, j in combinations(range(len(runs)), 2):
        a, b = results[i], results[j]
        if a.hash != b.hash or not (both := a.unseen & b.unseen).any():
            pairs.append(ComparedPair(runs[i], runs[j], 0, 0, 0, None, None))
            continue
        first, second = a.correct[both], b.correct[both]
        test = mcnemar(first, second)
        pairs.append(ComparedPair(runs[i], runs[j], len(first), int(first.sum()), int(second.sum()), test, None))
    adjusted = iter(holm([pair.test.p for pair in pairs if pair.test is not None]))
    return tuple(pair if pair.test is None else replace(pair, p_adjusted=next(adjusted)) for pair in pairs)


def _notes(rows: tuple[ComparedRun, ...], results: list[_Results], data: str | None) -> tuple[str, ...]:
    notes = []
    if data is None and any(result.hash != results[0].hash for result in results):
        notes.append("the runs were trained on different data; use --data to test them on the same images")
    elif data is None and any(not np.array_equal(result.unseen, results[0].unseen) for result in results):
        notes.append("the runs have different test sets; pairs are compared on images that neither was trained on")
    if data is not None:
        for row, result in zip(rows, results, strict=True):
            if result.knows_training_set:
                continue
            if row.data == "unknown":
                reason = f"{row.run} does not say what it was trained on"
            else:
                reason = f"{row.run} was trained on {row.data}, which cannot be loaded as it was"
            notes.append(f"{reason}; its training set may include some of {result.part}")
    return tuple(notes)
