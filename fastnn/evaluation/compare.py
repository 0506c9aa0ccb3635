"""Runs side by side: what differs between them, and whether the difference is more than chance."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn.datasets import PIXELS, load_dataset
from fastnn.errors import DataError, FastnnError, ModelError
from fastnn.evaluation.intervals import McNemar, holm, mcnemar, wilson_interval
from fastnn.evaluation.metrics import match_labels
from fastnn.formats import find_model, load_model
from fastnn.runs import HISTORY_FILE, read_history

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from fastnn.datasets import Dataset
    from fastnn.model import Model


@dataclass(frozen=True)
class Row:
    """One run.

    Attributes
    ----------
    run : str
        Its folder or file, as given.
    recipe : dict
        As the model says; empty if it does not.
    data : str
        What it was trained on, or "unknown".
    layers : tuple of int
    networks : int
    epochs : int or None
    seconds : float or None
        Of training, if its history is there.
    tested_on : str
    correct, total : int
        Of the digits it was tested on.
    accuracy, low, high : float
        With Wilson's interval.
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
class Pair:
    """Two runs on the test digits that they share.

    Attributes
    ----------
    first, second : str
        The runs.
    shared : int
        Digits that neither was trained on.
    first_correct, second_correct : int
        Of these.
    test : McNemar or None
        None without shared digits.
    p_adjusted : float or None
        Its p, adjusted for the number of pairs (Holm).
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
        """The run that is better by more than chance (adjusted p below 0.05), if one is."""
        if self.p_adjusted is None or self.p_adjusted >= 0.05:
            return None
        return self.first if self.first_correct > self.second_correct else self.second


@dataclass(frozen=True)
class Comparison:
    """Runs side by side.

    Attributes
    ----------
    rows : tuple of Row
    pairs : tuple of Pair
        Every two of them.
    differences : tuple of str
        Keys of the recipes that are not the same in all.
    confidence : float
        Of the intervals.
    notes : tuple of str
        What the reader should know.
    """

    rows: tuple[Row, ...]
    pairs: tuple[Pair, ...]
    differences: tuple[str, ...]
    confidence: float
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the figures, fit for JSON."""
        return {
            "runs": [asdict(row) | {"layers": list(row.layers)} for row in self.rows],
            "differences": list(self.differences),
            "confidence": self.confidence,
            "pairs": [asdict(pair) | {"better": pair.better} for pair in self.pairs],
            "notes": list(self.notes),
        }


@dataclass(frozen=True, eq=False)
class _Tested:
    """A run's hits on the images of a data set, and which of them it was not trained on, if that is sure."""

    hash: str
    unseen: NDArray[np.bool_]
    right: NDArray[np.bool_]
    part: str
    sure: bool = True


def compare(
    runs: Sequence[str],
    data: str | None = None,
    *,
    confidence: float = 0.95,
    progress: Callable[[str, float], None] | None = None,
) -> Comparison:
    """Compare runs on their test digits.

    Without `data` each run is measured on the test part of its own data. With `data` all are measured on the same
    digits: those of the data set's test set, or where it has none all of it, but for those that one of the runs was
    trained on, in whatever data set.

    Parameters
    ----------
    runs : sequence of str
        Two or more run folders or model files.
    data : str, optional
        A data set by name or path.
    confidence : float
        Of Wilson's intervals.
    progress : callable, optional
        Told how far a download is.

    Returns
    -------
    Comparison

    Raises
    ------
    FastnnError
        If a model or data set cannot be read, or there are no digits to test on.

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
        raise FastnnError("a comparison takes two runs or more")
    if len(set(runs)) < len(runs):
        raise FastnnError("a run is named twice; to compare it with itself says nothing")
    models = [load_model(run) for run in runs]
    known: dict[str, Dataset] = {}
    tested = []
    for run, model in zip(runs, models, strict=True):
        source = data if data is not None else _own_source(run, model)
        if source not in known:
            known[source] = _load(run, source, data is None, progress)
        tested.append(_test(run, model, known[source], data is not None, progress))
    if data is not None:
        common = np.logical_and.reduce([one.unseen for one in tested])
        if not common.any():
            raise DataError(f"{data}: holds no digit that none of the runs was trained on")
        part = f"{data}, {int(common.sum()):,} digits for all"
        tested = [replace(one, unseen=common, part=part) for one in tested]
    rows = tuple(_row(run, model, one, confidence) for run, model, one in zip(runs, models, tested, strict=True))
    recipes = [row.recipe for row in rows if row.recipe]
    keys = dict.fromkeys(key for recipe in recipes for key in recipe)
    differences = tuple(key for key in keys if any(recipe.get(key) != recipes[0].get(key) for recipe in recipes))
    return Comparison(rows, _pairs(runs, tested), differences, confidence, _notes(rows, tested, data))


def _own_source(run: str, model: Model) -> str:
    if model.card.data is None:
        raise ModelError(f"{run}: does not say what data it was trained on; name a data set with --data")
    return model.card.data.source


def _load(run: str, source: str, own: bool, progress: Callable[[str, float], None] | None) -> Dataset:
    try:
        return load_dataset(source, progress=progress)
    except FastnnError as error:
        if not own:
            raise
        raise type(error)(f"{error}; these are the data {run} was trained on, --data names others") from None


def _test(
    run: str, model: Model, dataset: Dataset, given: bool, progress: Callable[[str, float], None] | None
) -> _Tested:
    if model.sizes[0] != PIXELS:
        raise ModelError(f"{run}: the model takes {model.sizes[0]} values, but an image has {PIXELS}")
    about = model.card.data
    own = about is not None and about.hash == dataset.content_hash
    if not own and not given:
        raise DataError(f"{dataset.source}: is not the data that {run} was trained on; name a data set with --data")
    split = about.split if about is not None and own else None
    own_test = dataset.test if split is None else split.own_test(dataset)
    if own_test is not None:
        images, part = own_test, "its test set"
        unseen = np.ones(len(images), dtype=bool)
    elif split is not None:
        images, part, unseen = dataset, str(split), split.test_mask(dataset)
    elif own:
        raise ModelError(f"{run}: does not say how its data were divided; name other data with --data")
    else:
        images, part = dataset, "all"
        unseen = np.ones(len(images), dtype=bool)
    if not len(images):
        raise DataError(f"{dataset.source}: no images to test on")
    learnt: set[bytes] | None = set() if own else _learnt(model, progress)
    if learnt:
        unseen &= [image.tobytes() not in learnt for image in images.images]
    right = model.predict(images.images) == match_labels(images, model.classes)
    return _Tested(images.content_hash, unseen, right, f"{dataset.source}, {part}", learnt is not None)


def _learnt(model: Model, progress: Callable[[str, float], None] | None) -> set[bytes] | None:
    """Return the images that a model was trained on; None if its data cannot be found as they were."""
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


def _row(run: str, model: Model, tested: _Tested, confidence: float) -> Row:
    card = model.card
    correct, total = int(np.count_nonzero(tested.right & tested.unseen)), int(np.count_nonzero(tested.unseen))
    low, high = wilson_interval(correct, total, confidence)
    return Row(
        run=run,
        recipe={} if card.recipe is None else card.recipe.as_dict(),
        data="unknown" if card.data is None else card.data.description or card.data.source,
        layers=tuple(model.sizes),
        networks=len(model.networks),
        epochs=card.epochs,
        seconds=_seconds(find_model(run).parent / HISTORY_FILE),
        tested_on=tested.part,
        correct=correct,
        total=total,
        accuracy=correct / total,
        low=low,
        high=high,
    )


def _seconds(history: Path) -> float | None:
    """Return the seconds of training in a run's history; None if it is not there or damaged."""
    try:
        return math.fsum(report.seconds for report in read_history(history)) or None
    except ModelError:
        return None


def _pairs(runs: Sequence[str], tested: list[_Tested]) -> tuple[Pair, ...]:
    pairs = []
    for i, j in combinations(range(len(runs)), 2):
        a, b = tested[i], tested[j]
        if a.hash != b.hash or not (both := a.unseen & b.unseen).any():
            pairs.append(Pair(runs[i], runs[j], 0, 0, 0, None, None))
            continue
        first, second = a.right[both], b.right[both]
        test = mcnemar(first, second)
        pairs.append(Pair(runs[i], runs[j], len(first), int(first.sum()), int(second.sum()), test, None))
    adjusted = iter(holm([pair.test.p for pair in pairs if pair.test is not None]))
    return tuple(pair if pair.test is None else replace(pair, p_adjusted=next(adjusted)) for pair in pairs)


def _notes(rows: tuple[Row, ...], tested: list[_Tested], data: str | None) -> tuple[str, ...]:
    notes = []
    if data is None and any(one.hash != tested[0].hash for one in tested):
        notes.append("not all runs were trained on the same data; --data measures them on the same digits")
    elif data is None and any(not np.array_equal(one.unseen, tested[0].unseen) for one in tested):
        notes.append("the runs held back different digits; pairs are compared on those that neither was trained on")
    if data is not None:
        for row, one in zip(rows, tested, strict=True):
            if not one.sure:
                why = "does not say what it was trained on" if row.data == "unknown" else f"was trained on {row.data}"
                notes.append(f"{row.run} {why}, which cannot be looked up; it may have learnt some of {one.part}")
    return tuple(notes)
