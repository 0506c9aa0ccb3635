"""Comparing runs: their recipes, their scores, and whether their differences are significant."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn import large_arrays
from fastnn.datasets.duplicates import row_bytes
from fastnn.datasets.options import DEFAULT_OPTIONS
from fastnn.errors import DataError, FastnnError, ModelError
from fastnn.evaluation.comparison import ComparedPair, ComparedRun, Comparison
from fastnn.evaluation.figures import figures_of, row_scores
from fastnn.evaluation.intervals import McNemar, holm, mcnemar
from fastnn.evaluation.matching import match_dataset
from fastnn.evaluation.metrics import EvaluationParts
from fastnn.evaluation.regression import variances
from fastnn.evaluation.saved_model import DataChoice, is_trained_on
from fastnn.evaluation.student import PairedTest, paired_test
from fastnn.formats import find_model, load_model
from fastnn.runs import HISTORY_FILE, read_history

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from fastnn.datasets import Dataset, ReadOptions
    from fastnn.datasets.sparse import SparseRows
    from fastnn.evaluation.figures import Figure
    from fastnn.evaluation.metrics import AnyEvaluation
    from fastnn.model import Model


_NO_DIGESTS = np.zeros(0, "S16")


@dataclass(frozen=True, eq=False)
class _TestSet:
    """The samples of a data set on which a run can be tested.

    Attributes
    ----------
    hash : str
        Content hash of the data set.
    dataset : Dataset
        With the columns and names of the model.
    unseen : ndarray of bool, shape (n,)
        Samples that the run was not trained on.
    part : str
        The test samples in words.
    notes : tuple of str
        How the data were matched with the model.
    knows_training_set : bool
        False if the run's training samples are unknown, so that `unseen` may be wrong.
    """

    hash: str
    dataset: Dataset
    unseen: NDArray[np.bool_]
    part: str
    notes: tuple[str, ...]
    knows_training_set: bool


@dataclass(frozen=True, eq=False)
class _Results:
    """What a run predicts for the samples of a data set.

    Attributes
    ----------
    test : _TestSet
    evaluation : Evaluation, RegressionEvaluation or MultilabelEvaluation
        On the samples that the run was not trained on.
    figures : dict of str to Figure
    right : ndarray of bool, shape (n,)
        Whether the class, or all labels, of each sample are right; not of a regression.
    outputs : ndarray of float64, shape (n, t)
        Of a regression, see :meth:`fastnn.Model.outputs`; of other tasks no rows.
    """

    test: _TestSet
    evaluation: AnyEvaluation
    figures: dict[str, Figure]
    right: NDArray[np.bool_]
    outputs: NDArray[np.float64]

    def scores(self, samples: NDArray[np.bool_]) -> NDArray[Any]:
        """Return the score of each of some samples, see :func:`fastnn.evaluation.figures.row_scores`."""
        dataset = self.test.dataset
        if dataset.task != "regression":
            return self.right[samples]
        rows = np.flatnonzero(samples)
        targets, found = large_arrays.take(dataset.targets, rows), large_arrays.zeros(len(rows))
        variance = variances(targets)
        for part in large_arrays.parts(len(rows), len(dataset.names)):
            found[part] = row_scores(dataset.task, targets[part], self.outputs[rows[part]], variance)
        return found


def compare(
    runs: Sequence[str],
    data: str | None = None,
    *,
    options: ReadOptions = DEFAULT_OPTIONS,
    confidence: float = 0.95,
    progress: Callable[[str, float], None] | None = None,
) -> Comparison:
    """Compare runs by their accuracy, or R2 of regressions, on test samples.

    Without `data`, each run is tested on the test part of the data that it was trained on. With `data`, all are tested
    on the same samples: the data set's own test set, or else all of its samples. Samples that any of the runs was
    trained on, in any data set, are left out.

    Parameters
    ----------
    runs : sequence of str
        Two or more run folders or model files, all of one task.
    data : str, optional
        A data set by name or path.
    options : fastnn.datasets.ReadOptions
        How `data` are read; a table by default with the target and the task of each run.
    confidence : float
        Confidence level of the intervals.
    progress : callable, optional
        Called during a download, see :func:`fastnn.datasets.load_dataset`.

    Returns
    -------
    Comparison

    Raises
    ------
    FastnnError
        If a model or data set cannot be read, the runs have different tasks or outputs, or there are no samples to test
        on.

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
    models = [load_model(run) for run in runs]
    _check_alike(runs, models)
    loaded: dict[DataChoice, Dataset] = {}
    tests = []
    for run, model in zip(runs, models, strict=True):
        choice = DataChoice.of(run, model, data, options)
        if choice not in loaded:
            loaded[choice] = choice.load(run, progress, is_own=data is None)
        tests.append(_test_set(run, model, loaded[choice], data is not None, progress))
    if data is not None:
        common = np.logical_and.reduce([test.unseen for test in tests])
        what = _samples(tests[0].dataset)
        if not common.any():
            raise DataError(f"{data}: every {what[:-1]} was used to train one of the runs; give other data")
        part = f"{data}, {int(common.sum()):,} {what} for all"
        tests = [replace(test, unseen=common, part=part) for test in tests]
    results = [_test(run, model, test, confidence) for run, model, test in zip(runs, models, tests, strict=True)]
    rows = tuple(_compared_run(run, model, result) for run, model, result in zip(runs, models, results, strict=True))
    recipes = [row.recipe for row in rows if row.recipe]
    keys = dict.fromkeys(key for recipe in recipes for key in recipe)
    differences = tuple(key for key in keys if any(recipe.get(key) != recipes[0].get(key) for recipe in recipes))
    pairs = _compared_pairs(runs, results, confidence)
    return Comparison(rows, pairs, differences, confidence, _notes(rows, tests, data), models[0].task)


def _check_alike(runs: Sequence[str], models: list[Model]) -> None:
    """Raise ModelError unless all models have the same task, and those of tables the same targets."""
    first = models[0]
    for run, model in zip(runs, models, strict=True):
        if model.task != first.task:
            raise ModelError(
                f"{run}: its task is {model.task}, but that of {runs[0]} is {first.task}; compare runs of one task"
            )
        if model.takes != first.takes:
            raise ModelError(f"{run}: takes {model.takes}, but {runs[0]} takes {first.takes}; compare runs of one kind")
        if model.task != "classification" and set(model.names) != set(first.names):
            raise ModelError(
                f"{run}: predicts {', '.join(model.names[:5])}, but {runs[0]} predicts {', '.join(first.names[:5])}; "
                "compare runs with the same targets"
            )


def _samples(dataset: Dataset) -> str:
    return "images" if dataset.is_images else "rows"


def _test_set(
    run: str, model: Model, dataset: Dataset, given: bool, progress: Callable[[str, float], None] | None
) -> _TestSet:
    """Return what a run can be tested on of a data set; `given` says that the user chose the data set."""
    own = is_trained_on(model, dataset)
    if not own and not given:
        raise DataError(f"{dataset.source}: is not the data that {run} was trained on; give a data set with --data")
    split = model.card.data.split if own and model.card.data is not None else None
    own_test = dataset.test if split is None else split.own_test(dataset)
    if own_test is not None:
        samples, part = own_test, "its test set"
        unseen = np.ones(len(samples), dtype=bool)
    elif split is not None:
        samples, part, unseen = dataset, str(split), split.test_mask(dataset)
    elif own:
        raise ModelError(f"{run}: does not say how its data were split; give other data with --data")
    else:
        samples, part = dataset, "all"
        unseen = np.ones(len(samples), dtype=bool)
    if not len(samples):
        raise DataError(f"{dataset.source}: no {_samples(dataset)} to test on")
    try:
        matched = match_dataset(samples, model)
    except ModelError as error:
        raise ModelError(f"{run}: {error}") from None
    trained_on = _NO_DIGESTS if own else _training_samples(run, model, progress)
    if trained_on is not None and len(trained_on):
        unseen = unseen & ~_are_among(trained_on, matched.features)
    return _TestSet(
        hash=samples.content_hash,
        dataset=matched,
        unseen=unseen,
        part=f"{dataset.source}, {part}",
        notes=matched.notes[len(samples.notes) :],
        knows_training_set=trained_on is not None,
    )


def _test(run: str, model: Model, test: _TestSet, confidence: float) -> _Results:
    """Return the results of a run; the outputs for some samples only are in memory."""
    dataset, unseen = test.dataset, test.unseen
    if not unseen.any():
        raise DataError(f"{dataset.source}: no {_samples(dataset)} to test {run} on")
    rows = np.flatnonzero(unseen)
    tested = dataset if len(rows) == len(dataset) else dataset.take(rows)
    regression = dataset.task == "regression"
    right = np.zeros(0 if regression else len(dataset), dtype=bool)
    kept = large_arrays.zeros((len(dataset) if regression else 0, len(model.names)))
    parts, done = EvaluationParts(model, tested), 0
    try:
        for part, outputs in model.outputs_in_parts(dataset.features):
            if regression:
                kept[part] = outputs
            else:
                right[part] = row_scores(dataset.task, dataset.targets[part], outputs)
            found = outputs[unseen[part]]
            if len(found):
                parts.add(slice(done, done + len(found)), found)
            done += len(found)
    except ModelError as error:
        raise ModelError(f"{run}: {error}") from None
    evaluation = parts.whole()
    own = kept if tested is dataset or not regression else large_arrays.take(kept, rows)
    return _Results(test, evaluation, figures_of(evaluation, tested.targets, own, confidence), right, kept)


def _training_samples(
    run: str, model: Model, progress: Callable[[str, float], None] | None
) -> NDArray[np.bytes_] | None:
    """Return the sorted digests of the samples that a model was trained on, or None if they cannot be found."""
    about = model.card.data
    if about is None or about.split is None:
        return None
    try:
        dataset = DataChoice.of(run, model).load(run, progress, is_own=True)
        if dataset.content_hash != about.hash:
            return None
        features = match_dataset(dataset, model).features
        trained_on = np.ones(len(features), dtype=bool)
        if about.split.own_test(dataset) is None:
            trained_on = ~about.split.test_mask(dataset)
    except FastnnError:
        return None
    digests = _digests(itertools.compress(row_bytes(features), trained_on), int(np.count_nonzero(trained_on)))
    digests.sort()
    return digests


def _digests(rows: Iterable[bytes], n: int) -> NDArray[np.bytes_]:
    """Return 16 bytes for each of n rows, of which there may be millions; shape (n,)."""
    return np.fromiter((sha256(row).digest()[:16] for row in rows), "S16", n)


def _are_among(known: NDArray[np.bytes_], features: NDArray[Any] | SparseRows) -> NDArray[np.bool_]:
    """Return which samples have one of the digests, which are sorted; shape (n,)."""
    rows, found = row_bytes(features), np.zeros(len(features), dtype=bool)
    for part in large_arrays.parts(len(found)):
        n = part.stop - part.start
        digests = _digests(itertools.islice(rows, n), n)
        found[part] = known[np.minimum(np.searchsorted(known, digests), len(known) - 1)] == digests
    return found


def _compared_run(run: str, model: Model, result: _Results) -> ComparedRun:
    card, evaluation = model.card, result.evaluation
    return ComparedRun(
        run=run,
        recipe={} if card.recipe is None else card.recipe.as_dict(),
        data="unknown" if card.data is None else card.data.description or card.data.source,
        layers=tuple(model.sizes),
        networks=len(model.networks),
        epochs=card.epochs,
        seconds=_seconds(find_model(run).parent / HISTORY_FILE),
        tested_on=result.test.part,
        correct=getattr(evaluation, "correct", None),
        total=evaluation.total,
        figures=result.figures,
    )


def _seconds(history: Path) -> float | None:
    """Return the training time in a run's history, or None if it cannot be read."""
    try:
        return math.fsum(report.seconds for report in read_history(history)) or None
    except ModelError:
        return None


def _compared_pairs(runs: Sequence[str], results: list[_Results], confidence: float) -> tuple[ComparedPair, ...]:
    pairs = []
    for i, j in itertools.combinations(range(len(runs)), 2):
        one, other = results[i].test, results[j].test
        both = one.unseen & other.unseen if one.hash == other.hash else np.zeros(0, bool)
        if not both.any():
            pairs.append(ComparedPair(runs[i], runs[j], 0, None, None, None, None, None, None))
            continue
        first, second = results[i].scores(both), results[j].scores(both)
        test: McNemar | PairedTest
        correct: tuple[int | None, int | None] = (None, None)
        if one.dataset.task == "regression":
            test = paired_test(first, second, confidence)
        else:
            test = mcnemar(first, second)
            correct = int(first.sum()), int(second.sum())
        scores = float(first.mean()), float(second.mean())
        pairs.append(ComparedPair(runs[i], runs[j], len(first), *scores, *correct, test, None))
    adjusted = iter(holm([pair.test.p for pair in pairs if pair.test is not None]))
    return tuple(pair if pair.test is None else replace(pair, p_adjusted=next(adjusted)) for pair in pairs)


def _notes(rows: tuple[ComparedRun, ...], tests: list[_TestSet], data: str | None) -> tuple[str, ...]:
    notes = list(dict.fromkeys(text for test in tests for text in test.notes))
    if data is None and any(test.hash != tests[0].hash for test in tests):
        notes.append("the runs were trained on different data; use --data to test them on the same samples")
    elif data is None and any(not np.array_equal(test.unseen, tests[0].unseen) for test in tests):
        notes.append("the runs have different test sets; pairs are compared on samples that neither was trained on")
    if data is not None:
        for row, test in zip(rows, tests, strict=True):
            if test.knows_training_set:
                continue
            if row.data == "unknown":
                reason = f"{row.run} does not say what it was trained on"
            else:
                reason = f"{row.run} was trained on {row.data}, which cannot be loaded as it was"
            notes.append(f"{reason}; its training set may include some of {test.part}")
    return tuple(notes)
