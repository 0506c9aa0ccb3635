"""Cross-validation: accuracies and class probabilities on images that the networks were not trained on."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fastnn.datasets import Dataset, load_dataset
from fastnn.datasets.split import assign_folds
from fastnn.errors import DataError
from fastnn.evaluation.intervals import wilson_interval
from fastnn.recipe import Recipe, load_recipe
from fastnn.session import Session
from fastnn.threads import StopFlag, map_threads, thread_count

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    Progress = Callable[[int, int], None]


_MAX_REPEATS = 1_000
"""More cross-validations tell nothing new, and the folds of all of them are kept in memory."""


@dataclass(frozen=True)
class CrossValidation:
    """Result of cross-validation: the accuracies of a recipe.

    Attributes
    ----------
    accuracies : tuple of float
        Accuracy on each fold, of the networks trained on the other folds.
    mean : float
        Share of all images that are classified correctly by networks that were not trained on them.
    low, high : float
        Wilson's confidence interval of `mean`.
    confidence : float
        Confidence level of the interval.
    """

    accuracies: tuple[float, ...]
    mean: float
    low: float
    high: float
    confidence: float


def cross_validate(
    dataset: Dataset | str | Path,
    recipe: Recipe | str | Path = "original",
    folds: int = 5,
    *,
    confidence: float = 0.95,
    threads: int | None = None,
    progress: Progress | None = None,
) -> CrossValidation:
    """Return the accuracy of a recipe on each of several folds, with the mean and its confidence interval.

    For each fold the recipe's networks are trained on the other folds. Copies of an image are in the same fold. A
    test set of the data is not used.

    Parameters
    ----------
    dataset : Dataset, str or Path
        The data, or what :func:`fastnn.load_dataset` takes.
    recipe : Recipe, str or Path
        A recipe, the name of a preset, or a TOML file. Its seed also assigns the folds; its test fraction is not used.
    folds : int
        At least 2.
    confidence : float
        More than 0 and less than 1.
    threads, progress
        As for :func:`cross_val_predict_proba`.

    Raises
    ------
    DataError
        If there are too few images for the folds, or a number is out of range.
    RecipeError
        If the recipe does not fit the data, or `threads` is not a whole number from 1.
    TrainingError
        If training diverges.

    Examples
    --------
    >>> import fastnn
    >>> result = fastnn.cross_validate("drawn:200", fastnn.Recipe(hidden=(16,), epochs=2), folds=3)
    >>> len(result.accuracies)
    3
    >>> 0 <= result.low <= result.mean <= result.high <= 1
    True
    """
    dataset = dataset if isinstance(dataset, Dataset) else load_dataset(dataset)
    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    probabilities = cross_val_predict_proba(dataset, recipe, folds=folds, threads=threads, progress=progress)
    right = probabilities.argmax(axis=1) == dataset.labels
    assigned = assign_folds(dataset, folds, recipe.seed)
    low, high = wilson_interval(int(right.sum()), len(right), confidence)
    accuracies = tuple(float(right[assigned == fold].mean()) for fold in range(folds))
    return CrossValidation(accuracies, float(right.mean()), low, high, confidence)


def cross_val_predict_proba(
    dataset: Dataset,
    recipe: Recipe,
    *,
    folds: int = 5,
    repeats: int = 1,
    threads: int | None = None,
    progress: Progress | None = None,
) -> NDArray[np.float64]:
    """Return the class probabilities of each image by networks that were not trained on it.

    The images are assigned to folds. For each fold, the recipe's networks are trained on the other folds and predict
    this one. Copies of an image are in the same fold. The result does not depend on the number of threads.

    Parameters
    ----------
    dataset : Dataset
        Its test set, if it has one, is not used.
    recipe : Recipe
        Its seed also assigns the folds; its test fraction is not used.
    folds : int
        At least 2.
    repeats : int
        Number of cross-validations, each with other folds, at most 1,000; their probabilities are averaged.
    threads : int, optional
        How many folds are trained at a time; by default as many as there are cores.
    progress : callable, optional
        Called with the number of folds done and the number of all folds.

    Returns
    -------
    ndarray of float64, shape (n, classes)

    Raises
    ------
    DataError
        If there are too few images for the folds, or a number is out of range.
    RecipeError
        If the recipe does not fit the data, or `threads` is not a whole number from 1.
    TrainingError
        If training diverges.
    """
    if folds < 2 or repeats < 1:
        raise DataError(f"{dataset.source}: cross-validation needs at least 2 folds and 1 repeat")
    if repeats > _MAX_REPEATS:
        raise DataError(f"{dataset.source}: at most {_MAX_REPEATS:,} repeats are possible; ask for fewer")
    # Before arrays are made whose size is the number of folds.
    if folds > len(dataset):
        raise DataError(f"{dataset.source}: {len(dataset)} images are too few for that many folds; ask for fewer")
    n_threads = thread_count(threads)
    assigned = [assign_folds(dataset, folds, recipe.seed + repeat) for repeat in range(repeats)]
    if any(np.bincount(one, minlength=folds).min() == 0 for one in assigned):
        raise DataError(f"{dataset.source}: {len(dataset)} images (copies count once) are too few for {folds} folds")
    jobs = [(repeat, fold) for repeat in range(repeats) for fold in range(folds)]

    def session_of(job: tuple[int, int], stop: StopFlag) -> Session:
        repeat, fold = job
        own = recipe.replace(seed=(recipe.seed + 1_000_003 * repeat + fold) % (1 << 63))
        part = dataset.take(np.flatnonzero(assigned[repeat] != fold))
        return Session(part, own, split=False, on_chunk=lambda _: stop.check(), threads=1)

    def predict(job: tuple[int, int], stop: StopFlag) -> NDArray[np.float64]:
        repeat, fold = job
        session = session_of(job, stop)
        for _ in session:
            pass
        return session.model.predict_proba(dataset.images[np.flatnonzero(assigned[repeat] == fold)])

    n_threads = min(len(jobs), n_threads)
    if n_threads > 1:
        # Compile once before several threads need it.
        session_of(jobs[0], StopFlag()).warm_up()
    results: dict[tuple[int, int], NDArray[np.float64]] = {}
    # Closed if `progress` raises, so that the threads end.
    with contextlib.closing(map_threads(predict, jobs, n_threads)) as done:
        for job, probabilities in done:
            results[job] = probabilities
            if progress is not None:
                progress(len(results), len(jobs))
    total = np.zeros((len(dataset), len(dataset.classes)))
    # In a fixed order: sums of floats depend on it, and threads finish in any order.
    for repeat, fold in jobs:
        total[assigned[repeat] == fold] += results[repeat, fold]
    return total / repeats
