"""Cross-validation: metrics and class probabilities on samples that the networks were not trained on."""

from __future__ import annotations

import contextlib
import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from fastnn.datasets import Dataset, load_dataset
from fastnn.datasets.split import assign_folds
from fastnn.errors import DataError
from fastnn.evaluation.chance import LEAST_SAMPLES, learned_nothing, other_rate
from fastnn.evaluation.intervals import check_confidence
from fastnn.evaluation.metrics import evaluate
from fastnn.evaluation.student import corrected_interval
from fastnn.recipe import Recipe, load_recipe
from fastnn.session import Session, default_recipe
from fastnn.threads import StopFlag, map_threads, thread_count

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from fastnn.model import Model
    from fastnn.network import Task

    Progress = Callable[[int, int], None]

T = TypeVar("T")

_MAX_REPEATS = 1_000
"""More cross-validations tell nothing new, and the folds of all of them are kept in memory."""

_RANGES: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("accuracy", "balanced_accuracy", "label_accuracy", "micro_f1", "macro_f1", "roc_auc"), (0.0, 1.0)),
    **dict.fromkeys(("loss", "log_loss", "mae", "rmse"), (0.0, math.inf)),
    "r2": (-math.inf, 1.0),
}
"""Lowest and highest possible value of each metric; no interval goes beyond."""


@dataclass(frozen=True)
class Fold:
    """The result of one fold.

    Attributes
    ----------
    repeat, fold : int
        From 0.
    n_train, n_test : int
        Number of samples trained on, and of those tested on.
    metrics : dict of str to float
        See :class:`CrossValidation`.
    learned_nothing : str or None
        Why the networks are no better than chance, see :func:`fastnn.evaluation.chance.learned_nothing`.
    """

    repeat: int
    fold: int
    n_train: int
    n_test: int
    metrics: dict[str, float]
    learned_nothing: str | None = None


@dataclass(frozen=True)
class MeanScore:
    """The mean of a metric over all folds.

    Attributes
    ----------
    mean : float
    low, high : float
        Confidence interval, see :func:`fastnn.evaluation.student.corrected_interval`; cut off where no value of the
        metric can be.
    """

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class CrossValidation:
    """Result of cross-validation: the metrics of a recipe on each fold, and their means.

    Attributes
    ----------
    task : {"classification", "multilabel", "regression"}
    folds : tuple of Fold
        Repeat by repeat.
    metrics : dict of str to MeanScore
        Classification: "accuracy" and "balanced_accuracy", for two classes also "roc_auc" and "log_loss" unless a fold
        holds only one of them. Multilabel: "accuracy", "label_accuracy", "micro_f1" and "macro_f1". Regression: "r2",
        "mae" and "rmse". All: "loss".
    confidence : float
        Confidence level of the intervals.
    failure : str or None
        Message that the networks of some folds are no better than chance, with a learning rate to try.
    """

    task: Task
    folds: tuple[Fold, ...]
    metrics: dict[str, MeanScore]
    confidence: float
    failure: str | None = None

    @property
    def metric(self) -> str:
        """The name of the main metric: "r2" for a regression, else "accuracy"."""
        return "r2" if self.task == "regression" else "accuracy"

    @property
    def scores(self) -> tuple[float, ...]:
        """The main metric on each fold."""
        return tuple(fold.metrics[self.metric] for fold in self.folds)

    @property
    def accuracies(self) -> tuple[float, ...]:
        """The accuracy on each fold; none for a regression."""
        return () if self.task == "regression" else self.scores

    @property
    def mean(self) -> float:
        """The mean of the main metric."""
        return self.metrics[self.metric].mean

    @property
    def low(self) -> float:
        """Lower end of the confidence interval of `mean`."""
        return self.metrics[self.metric].low

    @property
    def high(self) -> float:
        """Upper end of the confidence interval of `mean`."""
        return self.metrics[self.metric].high

    def as_dict(self) -> dict[str, Any]:
        """Return the result, fit for JSON."""
        return {
            "task": self.task,
            "metrics": {name: asdict(score) for name, score in self.metrics.items()},
            "confidence": self.confidence,
            "folds": [asdict(fold) for fold in self.folds],
        }


def cross_validate(
    dataset: Dataset | str | Path,
    recipe: Recipe | str | Path | None = None,
    folds: int = 5,
    *,
    repeats: int = 1,
    confidence: float = 0.95,
    threads: int | None = None,
    progress: Progress | None = None,
) -> CrossValidation:
    """Return the metrics of a recipe on each of several folds, with their means and confidence intervals.

    For each fold the recipe's networks are trained on the other folds; what standardises the data is fitted on those
    alone. Copies of a sample are in the same fold. A test set of the data is not used.

    Parameters
    ----------
    dataset : Dataset, str or Path
        The data, or what :func:`fastnn.load_dataset` takes.
    recipe : Recipe, str or Path, optional
        A recipe, the name of a preset, or a TOML file; by default original for images and table for tables. Its seed
        also assigns the folds; its test fraction is not used.
    folds : int
        At least 2.
    repeats : int
        Number of cross-validations, each with other folds and seeds, at most 1,000.
    confidence : float
        More than 0 and less than 1.
    threads : int, optional
        How many folds are trained at a time; by default as many as there are cores. The result does not depend on it.
    progress : callable, optional
        Called with the number of folds done and the number of all folds.

    Raises
    ------
    DataError
        If there are too few samples for the folds, or a number is out of range.
    RecipeError
        If the recipe does not fit the data, or `threads` is not a whole number from 1.
    TrainingError
        If training diverges.

    Examples
    --------
    >>> import fastnn
    >>> result = fastnn.cross_validate("drawn:200", fastnn.Recipe(hidden=(16,), epochs=2), folds=3)
    >>> len(result.scores)
    3
    >>> result.low <= result.mean <= result.high
    True
    """
    check_confidence(confidence)
    dataset = dataset if isinstance(dataset, Dataset) else load_dataset(dataset)
    if recipe is None:
        recipe = default_recipe(dataset)
    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    # The scores of folds with one row would be 0 or 1.
    least = 2 if dataset.task == "regression" else 1
    plan = _Plan.of(dataset, recipe, folds, repeats, least=least)

    def measure(model: Model, test: Dataset) -> tuple[dict[str, float], str | None]:
        found = evaluate(model, test)
        n_trained = (len(dataset) - len(test)) * (model.card.epochs or 0)
        nothing = learned_nothing(found) if n_trained >= LEAST_SAMPLES else None
        return {name.removeprefix("test_"): value for name, value in found.metrics.items()}, nothing

    results = plan.train(measure, threads, progress)
    done = tuple(
        Fold(repeat, fold, len(dataset) - n_test, n_test, *results[repeat, fold])
        for repeat, fold in plan.jobs
        for n_test in [int(np.count_nonzero(plan.assigned[repeat] == fold))]
    )
    # A fold may lack a metric: one with a single class has no ROC AUC.
    names = [name for name in done[0].metrics if all(name in fold.metrics for fold in done)]
    means = {}
    for name in names:
        scores = [fold.metrics[name] for fold in done]
        mean, low, high = corrected_interval(scores, 1 / (folds - 1), confidence)
        bottom, top = _RANGES[name]
        means[name] = MeanScore(mean, max(low, bottom), min(high, top))
    nothing = [fold.learned_nothing for fold in done if fold.learned_nothing]
    failure = None
    if nothing:
        count = f"the networks of {len(nothing)} of {len(done)} folds"
        failure = f"{count} learned nothing ({nothing[0]}); {other_rate(recipe.lr)}"
    return CrossValidation(dataset.task, done, means, confidence, failure)


def cross_val_predict_proba(
    dataset: Dataset,
    recipe: Recipe,
    *,
    folds: int = 5,
    repeats: int = 1,
    threads: int | None = None,
    progress: Progress | None = None,
) -> NDArray[np.float64]:
    """Return the class probabilities of each sample by networks that were not trained on it.

    The samples are assigned to folds. For each fold, the recipe's networks are trained on the other folds and predict
    this one. Copies of a sample are in the same fold. The result does not depend on the number of threads.

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
        If there are too few samples for the folds, a number is out of range, or the data are those of a regression.
    RecipeError
        If the recipe does not fit the data, or `threads` is not a whole number from 1.
    TrainingError
        If training diverges.
    """
    if dataset.task == "regression":
        raise DataError(f"{dataset.source}: a regression has no class probabilities; call cross_validate")
    plan = _Plan.of(dataset, recipe, folds, repeats)
    results = plan.train(lambda model, test: model.predict_proba(test.features), threads, progress)
    total = np.zeros((len(dataset), len(dataset.names)))
    # In a fixed order: sums of floats depend on it, and threads finish in any order.
    for repeat, fold in plan.jobs:
        total[plan.assigned[repeat] == fold] += results[repeat, fold]
    return total / repeats


@dataclass(frozen=True, eq=False)
class _Plan:
    """What is trained and tested on what.

    Attributes
    ----------
    dataset : Dataset
    recipe : Recipe
    assigned : tuple of ndarray of int64, shape (n,)
        The fold of each sample, for each repeat.
    jobs : list of (int, int)
        Every repeat and fold.
    """

    dataset: Dataset
    recipe: Recipe
    assigned: tuple[NDArray[np.int64], ...]
    jobs: list[tuple[int, int]]

    @classmethod
    def of(cls, dataset: Dataset, recipe: Recipe, folds: int, repeats: int, *, least: int = 1) -> _Plan:
        """Return the plan of a cross-validation; each fold has at least `least` samples, or DataError is raised."""
        if folds < 2 or repeats < 1:
            raise DataError(f"{dataset.source}: cross-validation needs at least 2 folds and 1 repeat")
        if repeats > _MAX_REPEATS:
            raise DataError(f"{dataset.source}: at most {_MAX_REPEATS:,} repeats are possible; ask for fewer")
        what = "images" if dataset.is_images else "rows"
        if dataset.task == "classification" and len(dataset) and np.count_nonzero(dataset.counts) == 1:
            name = dataset.names[int(dataset.labels[0])]
            raise DataError(f"{dataset.source}: all {what} have the class {name!r}; at least two classes are needed")
        # Before arrays are made whose size is the number of folds.
        if folds > len(dataset):
            raise DataError(f"{dataset.source}: {len(dataset)} {what} are too few for that many folds; ask for fewer")
        assigned = tuple(assign_folds(dataset, folds, recipe.seed + repeat) for repeat in range(repeats))
        if any(np.bincount(one, minlength=folds).min() < least for one in assigned):
            raise DataError(
                f"{dataset.source}: {len(dataset)} {what} (copies count once) are too few for {folds} folds; "
                "ask for fewer"
            )
        return cls(dataset, recipe, assigned, [(repeat, fold) for repeat in range(repeats) for fold in range(folds)])

    def train(
        self, measure: Callable[[Model, Dataset], T], threads: int | None, progress: Progress | None
    ) -> dict[tuple[int, int], T]:
        """Return what `measure` returns for the model and the test samples of each job."""
        n_threads = min(len(self.jobs), thread_count(threads))

        def run(job: tuple[int, int], stop: StopFlag) -> T:
            session = self._session(job, stop)
            for _ in session:
                pass
            return measure(session.model, self.dataset.take(np.flatnonzero(self.assigned[job[0]] == job[1])))

        if n_threads > 1:
            # Compile once before several threads need it.
            self._session(self.jobs[0], StopFlag()).warm_up()
        results: dict[tuple[int, int], T] = {}
        # Closed if `progress` raises, so that the threads end.
        with contextlib.closing(map_threads(run, self.jobs, n_threads)) as done:
            for job, result in done:
                results[job] = result
                if progress is not None:
                    progress(len(results), len(self.jobs))
        return results

    def _session(self, job: tuple[int, int], stop: StopFlag) -> Session:
        repeat, fold = job
        own = self.recipe.replace(seed=(self.recipe.seed + 1_000_003 * repeat + fold) % (1 << 63))
        part = self.dataset.take(np.flatnonzero(self.assigned[repeat] != fold))
        return Session(part, own, split=False, on_chunk=lambda _: stop.check(), threads=1)
