"""Cross-validation: metrics and class probabilities on samples that the networks were not trained on."""

from __future__ import annotations

import contextlib
import math
from dataclasses import asdict, dataclass, field
from dataclasses import replace as changed
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypedDict, TypeVar, Unpack

import numpy as np

from fastnn import large_arrays
from fastnn.datasets import Dataset, load_dataset
from fastnn.datasets.duplicates import group_copies
from fastnn.datasets.groups import number_groups
from fastnn.datasets.split import assign_folds
from fastnn.errors import DataError, RecipeError, TrainingError
from fastnn.evaluation.chance import LEAST_SAMPLES, learned_nothing, other_rate
from fastnn.evaluation.classification import ClassRow, Evaluation
from fastnn.evaluation.intervals import check_confidence
from fastnn.evaluation.matching import match_dataset
from fastnn.evaluation.metrics import EvaluationParts
from fastnn.evaluation.roc import roc_auc
from fastnn.evaluation.student import corrected_interval
from fastnn.recipe import Recipe, load_recipe
from fastnn.session import Session, default_recipe
from fastnn.threads import StopFlag, map_threads, thread_count

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from numpy.typing import ArrayLike, NDArray

    from fastnn.model import Model
    from fastnn.network import Task

    Progress = Callable[[int, int], None]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Running(TypedDict, total=False):
    """How folds are trained; the result does not depend on it.

    Attributes
    ----------
    threads : int, optional
        How many folds are trained at a time; by default as many as there are cores.
    scheduler : str, optional
        Address of a Dask scheduler, such as ``tcp://host:8786``, whose workers train the folds instead.
    progress : callable, optional
        Called with the number of folds done and the number of all folds.
    """

    threads: int | None
    scheduler: str | None
    progress: Progress | None


_MAX_REPEATS = 1_000
"""More cross-validations tell nothing new, and the folds of all of them are kept in memory."""

_RANGES: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("accuracy", "balanced_accuracy", "label_accuracy", "micro_f1", "macro_f1", "roc_auc"), (0.0, 1.0)),
    **dict.fromkeys(("macro_roc_auc", "recall", "precision"), (0.0, 1.0)),
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
    per_class : tuple of dict
        Of a classification, for each class: "class", "count", "correct", "recall" and "precision", and "roc_auc", the
        area under the ROC curve of this class against all others; a figure that is undefined on this fold is None.
    """

    repeat: int
    fold: int
    n_train: int
    n_test: int
    metrics: dict[str, float]
    learned_nothing: str | None = None
    per_class: tuple[FoldClassRow, ...] = ()


class FoldClassRow(ClassRow):
    """The scores of one class on one fold."""

    roc_auc: float | None


@dataclass(frozen=True)
class ClassScore:
    """The scores of one class over all folds.

    Attributes
    ----------
    name : str
    count : int
        Number of its samples that were tested, in all repeats together.
    recall, precision, roc_auc : MeanScore or None
        Means over the folds on which they are defined; None if that are fewer than two.
    """

    name: str
    count: int
    recall: MeanScore | None
    precision: MeanScore | None
    roc_auc: MeanScore | None


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
        holds only one of them, for more classes "macro_roc_auc", the mean of the areas of each class against all
        others, unless a fold lacks a class. Multilabel: "accuracy", "label_accuracy", "micro_f1" and "macro_f1".
        Regression: "r2", "mae" and "rmse". All: "loss".
    confidence : float
        Confidence level of the intervals.
    failure : str or None
        Message that the networks of some folds are no better than chance, with a learning rate to try.
    per_class : tuple of ClassScore
        Of a classification, the scores of each class.
    """

    task: Task
    folds: tuple[Fold, ...]
    metrics: dict[str, MeanScore]
    confidence: float
    failure: str | None = None
    per_class: tuple[ClassScore, ...] = ()

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
            "per_class": [asdict(score) for score in self.per_class],
            "folds": [asdict(fold) for fold in self.folds],
        }


def cross_validate(
    dataset: Dataset | str | Path,
    recipe: Recipe | str | Path | None = None,
    folds: int = 5,
    *,
    repeats: int = 1,
    confidence: float = 0.95,
    groups: ArrayLike | None = None,
    **running: Unpack[Running],
) -> CrossValidation:
    """Return the metrics of a recipe on each of several folds, with their means and confidence intervals.

    For each fold the recipe's networks are trained on the other folds; what standardises the data is fitted on those
    alone. Copies of a sample are in the same fold, and so are the samples of a group. A test set of the data is not
    used.

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
    groups : array_like, shape (n,), optional
        A text or number for each sample, such as its writer: samples of one group are in the same fold. By default
        those of the data, if they have any.
    **running
        `threads`, `scheduler` and `progress`, see :class:`Running`. The result does not depend on them.

    Raises
    ------
    DataError
        If there are too few samples or groups for the folds, or a number is out of range.
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
    if groups is not None:
        dataset = changed(dataset, groups=number_groups(groups, len(dataset), dataset.source))
    # The scores of folds with one row would be 0 or 1.
    least = 2 if dataset.task == "regression" else 1
    plan = _Plan.of(dataset, recipe, folds, repeats, least=least)

    results = plan.train(_scores, **running)
    done = tuple(
        Fold(repeat, fold, len(dataset) - n_test, n_test, *results[repeat, fold])
        for repeat, fold in plan.jobs
        for n_test in [int(np.count_nonzero(plan.assigned[repeat] == fold))]
    )
    # A fold may lack a metric: one with a single class has no ROC AUC.
    names = [name for name in done[0].metrics if all(name in fold.metrics for fold in done)]
    mean_of = _Means(1 / (folds - 1), confidence)
    means = {name: mean_of(name, [fold.metrics[name] for fold in done]) for name in names}
    nothing = [fold.learned_nothing for fold in done if fold.learned_nothing]
    failure = None
    if nothing:
        count = f"the networks of {len(nothing)} of {len(done)} folds"
        failure = f"{count} learned nothing ({nothing[0]}); {other_rate(recipe.lr)}"
    return CrossValidation(dataset.task, done, means, confidence, failure, _per_class(done, mean_of))


@dataclass(frozen=True)
class _Means:
    """Makes means with their intervals of the scores on folds."""

    test_to_train: float
    confidence: float

    def __call__(self, name: str, scores: list[float]) -> MeanScore:
        mean, low, high = corrected_interval(scores, self.test_to_train, self.confidence)
        bottom, top = _RANGES[name]
        return MeanScore(mean, max(low, bottom), min(high, top))


def _per_class(folds: tuple[Fold, ...], mean_of: _Means) -> tuple[ClassScore, ...]:
    scores = []
    for rows in zip(*(fold.per_class for fold in folds), strict=True):
        means: dict[str, MeanScore | None] = {}
        for name, values in (
            ("recall", [row["recall"] for row in rows]),
            ("precision", [row["precision"] for row in rows]),
            ("roc_auc", [row["roc_auc"] for row in rows]),
        ):
            defined = [value for value in values if value is not None]
            means[name] = mean_of(name, defined) if len(defined) > 1 else None
        scores.append(ClassScore(rows[0]["class"], sum(row["count"] for row in rows), **means))
    return tuple(scores)


def _scores(model: Model, test: Dataset, n_train: int) -> tuple[dict[str, float], str | None, tuple[FoldClassRow, ...]]:
    """Return the metrics of a model on a fold, why it learned nothing, and the scores of each class."""
    matched = match_dataset(test, model)
    evaluating = EvaluationParts(model, matched)
    # A row for each class.
    scores = large_arrays.zeros((len(model.names) if model.task == "classification" else 0, len(matched)))
    for part, outputs in model.outputs_in_parts(matched.features):
        evaluating.add(part, outputs)
        if len(scores):
            scores[:, part] = model.as_probabilities(outputs).T
    found = evaluating.whole()
    nothing = learned_nothing(found) if n_train * (model.card.epochs or 0) >= LEAST_SAMPLES else None
    metrics = {name.removeprefix("test_"): value for name, value in found.metrics.items()}
    if not isinstance(found, Evaluation):
        return metrics, nothing, ()
    areas = [roc_auc(matched.labels == k, row) for k, row in enumerate(scores)]
    rows = tuple(FoldClassRow(**row, roc_auc=area) for row, area in zip(found.per_class, areas, strict=True))
    known = [area for area in areas if area is not None]
    if len(areas) > 2 and len(known) == len(areas):
        metrics["macro_roc_auc"] = math.fsum(known) / len(known)
    return metrics, nothing, rows


def _probabilities(model: Model, test: Dataset, _: int) -> NDArray[np.float64]:
    found = large_arrays.zeros((len(test), len(model.names)))
    for part, outputs in model.outputs_in_parts(test.features):
        found[part] = model.as_probabilities(outputs)
    return found


def cross_val_predict_proba(
    dataset: Dataset,
    recipe: Recipe,
    *,
    folds: int = 5,
    repeats: int = 1,
    **running: Unpack[Running],
) -> NDArray[np.float64]:
    """Return the class probabilities of each sample by networks that were not trained on it.

    The samples are assigned to folds. For each fold, the recipe's networks are trained on the other folds and predict
    this one. Copies of a sample are in the same fold, and so are the samples of a group, if the data have groups.

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
    **running
        `threads`, `scheduler` and `progress`, see :class:`Running`. The result does not depend on them.

    Returns
    -------
    ndarray of float64, shape (n, classes)
        Of many samples in a temporary file, see :func:`fastnn.large_arrays.zeros`.

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
    total = large_arrays.zeros((len(dataset), len(dataset.names)))
    waiting: dict[tuple[int, int], NDArray[np.float64]] = {}
    left = iter(plan.jobs)
    wanted = next(left, None)
    # Closed if this is interrupted, so that the threads end.
    with contextlib.closing(plan.train_each(_probabilities, **running)) as done:
        for job, probabilities in done:
            waiting[job] = probabilities
            # In a fixed order: sums of floats depend on it, and threads finish in any order.
            while wanted is not None and wanted in waiting:
                repeat, fold = wanted
                _add(total, plan.assigned[repeat] == fold, waiting.pop(wanted))
                wanted = next(left, None)
    total /= repeats
    return total


def _add(total: NDArray[np.float64], chosen: NDArray[np.bool_], values: NDArray[np.float64]) -> None:
    """Add values, one after the other, to the chosen rows."""
    done = 0
    for part in large_arrays.parts(len(total)):
        rows = np.flatnonzero(chosen[part]) + part.start
        total[rows] += values[done : done + len(rows)]
        done += len(rows)


@dataclass(frozen=True, eq=False)
class _Plan:
    """What is trained and tested on what.

    Attributes
    ----------
    dataset : Dataset
    recipe : Recipe
    assigned : tuple of ndarray of unsigned integers, shape (n,)
        The fold of each sample, for each repeat.
    jobs : list of (int, int)
        Every repeat and fold.
    """

    dataset: Dataset
    recipe: Recipe
    assigned: tuple[NDArray[np.unsignedinteger[Any]], ...]
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
        if dataset.groups is not None and folds > (n_groups := len(np.unique(dataset.groups))):
            raise DataError(
                f"{dataset.source}: {n_groups} groups are too few for {folds} folds, since a group is in one fold; "
                "ask for fewer folds"
            )
        copies = group_copies(dataset.features)
        assigned = tuple(assign_folds(dataset, folds, recipe.seed + repeat, copies) for repeat in range(repeats))
        if any(np.bincount(one, minlength=folds).min() < least for one in assigned):
            whole = "copies" if dataset.groups is None else "copies and groups"
            raise DataError(
                f"{dataset.source}: {len(dataset)} {what} ({whole} count once) are too few for {folds} folds; "
                "ask for fewer"
            )
        return cls(dataset, recipe, assigned, [(repeat, fold) for repeat in range(repeats) for fold in range(folds)])

    def train(self, measure: _Measure[T], **running: Unpack[Running]) -> dict[tuple[int, int], T]:
        """Return what `measure` returns for the model and the test samples of each job."""
        return dict(self.train_each(measure, **running))

    def train_each(
        self, measure: _Measure[T], **running: Unpack[Running]
    ) -> Generator[tuple[tuple[int, int], T], None, None]:
        """Yield each job, as they end, with what `measure` returns for its model and its test samples."""
        running = _checked(**running)
        progress, scheduler = running.get("progress"), running.get("scheduler")
        work = _FoldWork(self.recipe, self.jobs[-1][1] + 1, measure, self.assigned)
        if scheduler is not None:
            return self._told(self._on_cluster(scheduler, changed(work, assigned=None)), progress)
        n_threads = min(len(self.jobs), thread_count(running.get("threads")))
        if n_threads > 1:
            # Compile once before several threads need it.
            work.session(self.dataset, self.jobs[0], StopFlag()).warm_up()
        done = map_threads(lambda job, stop: work(self.dataset, job, stop), self.jobs, n_threads)
        return self._told(done, progress)

    def _on_cluster(self, scheduler: str, work: _FoldWork[T]) -> Generator[tuple[tuple[int, int], T], None, None]:
        from fastnn.cluster import Cluster, Lost

        with Cluster(scheduler) as cluster, contextlib.closing(cluster.map(work, self.jobs, self.dataset)) as done:
            for job, result in done:
                if isinstance(result, Lost):
                    raise TrainingError(f"{scheduler}: a fold could not be trained ({result.reason})")
                yield job, result

    def _told(
        self, done: Generator[tuple[tuple[int, int], T], None, None], progress: Progress | None
    ) -> Generator[tuple[tuple[int, int], T], None, None]:
        # Closed if `progress` raises, so that the threads end.
        with contextlib.closing(done):
            for count, one in enumerate(done, start=1):
                yield one
                if progress is not None:
                    progress(count, len(self.jobs))


class _Measure(Protocol[T_co]):
    """A function of a module, so that it can be sent to other processes."""

    def __call__(self, model: Model, test: Dataset, n_train: int, /) -> T_co: ...


@dataclass(frozen=True)
class _FoldWork(Generic[T]):
    """Trains and measures one fold, in a thread or on a worker of a cluster.

    Attributes
    ----------
    recipe : Recipe
    folds : int
    measure : callable
    assigned : tuple of ndarray of unsigned integers, optional
        The fold of each sample, for each repeat; made anew if it is not known.
    """

    recipe: Recipe
    folds: int
    measure: _Measure[T]
    assigned: tuple[NDArray[np.unsignedinteger[Any]], ...] | None = field(default=None, repr=False)

    def __call__(self, dataset: Dataset, job: tuple[int, int], stop: StopFlag) -> T:
        session = self.session(dataset, job, stop)
        for _ in session:
            pass
        test = dataset.take(large_arrays.flatnonzero(self._folds(dataset, job[0]) == job[1]))
        return self.measure(session.model, test, len(dataset) - len(test))

    def session(self, dataset: Dataset, job: tuple[int, int], stop: StopFlag) -> Session:
        repeat, fold = job
        own = self.recipe.replace(seed=(self.recipe.seed + 1_000_003 * repeat + fold) % (1 << 63))
        part = dataset.take(large_arrays.flatnonzero(self._folds(dataset, repeat) != fold))
        return Session(part, own, split=False, on_chunk=lambda _: stop.check(), threads=1)

    def _folds(self, dataset: Dataset, repeat: int) -> NDArray[np.integer[Any]]:
        if self.assigned is not None:
            return self.assigned[repeat]
        return assign_folds(dataset, self.folds, self.recipe.seed + repeat)


def _checked(*, threads: int | None = None, scheduler: str | None = None, progress: Progress | None = None) -> Running:
    """Return the options; TypeError for another one, RecipeError for two that exclude each other."""
    if threads is not None and scheduler is not None:
        raise RecipeError("threads and scheduler exclude each other: the workers of the scheduler train the folds")
    return {"threads": threads, "scheduler": scheduler, "progress": progress}
