"""Comparing runs: their recipes, their scores, and whether their differences are significant."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn.datasets.duplicates import row_bytes
from fastnn.datasets.options import DEFAULT_OPTIONS
from fastnn.errors import DataError, FastnnError, ModelError
from fastnn.evaluation.comparison import ComparedPair, ComparedRun, Comparison
from fastnn.evaluation.figures import figures_of, row_scores
from fastnn.evaluation.intervals import McNemar, holm, mcnemar
from fastnn.evaluation.matching import match_dataset
from fastnn.evaluation.metrics import evaluate_outputs
from fastnn.evaluation.saved_model import DataChoice, is_trained_on
from fastnn.evaluation.student import PairedTest, paired_test
from fastnn.formats import find_model, load_model
from fastnn.runs import HISTORY_FILE, read_history

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from fastnn.datasets import Dataset, ReadOptions
    from fastnn.model import Model


@dataclass(frozen=True, eq=False)
class _Results:
    """What a run predicts for each sample of a data set.

    Attributes
    ----------
    hash : str
        Content hash of the data set.
    dataset : Dataset
        With the columns and names of the model.
    outputs : ndarray of float64, shape (n, k)
        See :meth:`fastnn.Model.outputs`.
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
    outputs: NDArray[np.float64]
    unseen: NDArray[np.bool_]
    part: str
    notes: tuple[str, ...]
    knows_training_set: bool

    def scores(self, samples: NDArray[np.bool_]) -> NDArray[Any]:
        """Return the score of each of some samples, see :func:`fastnn.evaluation.figures.row_scores`."""
        return row_scores(self.dataset.task, self.dataset.targets[samples], self.outputs[samples])


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
    results = []
    for run, model in zip(runs, models, strict=True):
        choice = DataChoice.of(run, model, data, options)
        if choice not in loaded:
            loaded[choice] = choice.load(run, progress, is_own=data is None)
        results.append(_test(run, model, loaded[choice], data is not None, progress))
    if data is not None:
        common = np.logical_and.reduce([result.unseen for result in results])
        what = _samples(results[0].dataset)
        if not common.any():
            raise DataError(f"{data}: every {what[:-1]} was used to train one of the runs; give other data")
        part = f"{data}, {int(common.sum()):,} {what} for all"
        results = [replace(result, unseen=common, part=part) for result in results]
    rows = tuple(
        _compared_run(run, model, result, confidence) for run, model, result in zip(runs, models, results, strict=True)
    )
    recipes = [row.recipe for row in rows if row.recipe]
    keys = dict.fromkeys(key for recipe in recipes for key in recipe)
    differences = tuple(key for key in keys if any(recipe.get(key) != recipes[0].get(key) for recipe in recipes))
    pairs = _compared_pairs(runs, results, confidence)
    return Comparison(rows, pairs, differences, confidence, _notes(rows, results, data), models[0].task)


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
        outputs = model.outputs(matched.features)
    except ModelError as error:
        raise ModelError(f"{run}: {error}") from None
    trained_on: set[bytes] | None = set() if own else _training_samples(run, model, progress)
    if trained_on:
        unseen &= [_digest(key) not in trained_on for key in row_bytes(matched.features)]
    return _Results(
        hash=samples.content_hash,
        dataset=matched,
        outputs=outputs,
        unseen=unseen,
        part=f"{dataset.source}, {part}",
        notes=matched.notes[len(samples.notes) :],
        knows_training_set=trained_on is not None,
    )


def _training_samples(run: str, model: Model, progress: Callable[[str, float], None] | None) -> set[bytes] | None:
    """Return digests of the samples that a model was trained on, or None if they cannot be found."""
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
    return {_digest(key) for key, wanted in zip(row_bytes(features), trained_on, strict=True) if wanted}


def _digest(row: bytes) -> bytes:
    """Return 16 bytes for those of a row, of which there may be millions."""
    return sha256(row).digest()[:16]


def _compared_run(run: str, model: Model, result: _Results, confidence: float) -> ComparedRun:
    card = model.card
    dataset, outputs = result.dataset.take(np.flatnonzero(result.unseen)), result.outputs[result.unseen]
    evaluation = evaluate_outputs(model, dataset, outputs)
    return ComparedRun(
        run=run,
        recipe={} if card.recipe is None else card.recipe.as_dict(),
        data="unknown" if card.data is None else card.data.description or card.data.source,
        layers=tuple(model.sizes),
        networks=len(model.networks),
        epochs=card.epochs,
        seconds=_seconds(find_model(run).parent / HISTORY_FILE),
        tested_on=result.part,
        correct=getattr(evaluation, "correct", None),
        total=evaluation.total,
        figures=figures_of(evaluation, dataset.targets, outputs, confidence),
    )


def _seconds(history: Path) -> float | None:
    """Return the training time in a run's history, or None if it cannot be read."""
    try:
        return math.fsum(report.seconds for report in read_history(history)) or None
    except ModelError:
        return None


def _compared_pairs(runs: Sequence[str], results: list[_Results], confidence: float) -> tuple[ComparedPair, ...]:
    pairs = []
    for i, j in combinations(range(len(runs)), 2):
        both = results[i].unseen & results[j].unseen if results[i].hash == results[j].hash else np.zeros(0, bool)
        if not both.any():
            pairs.append(ComparedPair(runs[i], runs[j], 0, None, None, None, None, None, None))
            continue
        first, second = results[i].scores(both), results[j].scores(both)
        test: McNemar | PairedTest
        correct: tuple[int | None, int | None] = (None, None)
        if results[i].dataset.task == "regression":
            test = paired_test(first, second, confidence)
        else:
            test = mcnemar(first, second)
            correct = int(first.sum()), int(second.sum())
        scores = float(first.mean()), float(second.mean())
        pairs.append(ComparedPair(runs[i], runs[j], len(first), *scores, *correct, test, None))
    adjusted = iter(holm([pair.test.p for pair in pairs if pair.test is not None]))
    return tuple(pair if pair.test is None else replace(pair, p_adjusted=next(adjusted)) for pair in pairs)


def _notes(rows: tuple[ComparedRun, ...], results: list[_Results], data: str | None) -> tuple[str, ...]:
    notes = list(dict.fromkeys(text for result in results for text in result.notes))
    if data is None and any(result.hash != results[0].hash for result in results):
        notes.append("the runs were trained on different data; use --data to test them on the same samples")
    elif data is None and any(not np.array_equal(result.unseen, results[0].unseen) for result in results):
        notes.append("the runs have different test sets; pairs are compared on samples that neither was trained on")
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
