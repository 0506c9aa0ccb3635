from dataclasses import replace

import numpy as np
import pytest

from fastnn.crossval import cross_val_predict_proba
from fastnn.datasets import Dataset
from fastnn.datasets.duplicates import group_copies
from fastnn.datasets.split import assign_folds
from fastnn.errors import DataError, TrainingError
from fastnn.recipe import Recipe
from tests.helpers import blobs, compiled_only

RECIPE = Recipe(name="t", hidden=(8,), rule="backprop", activation="relu", init="he", invert=True, epochs=2, lr=0.02)


def with_copies(n: int = 120) -> Dataset:
    made = blobs(n)
    images = made.images.copy()
    images[60:90] = images[:30]
    return replace(made, images=images)


def test_folds_hold_copies_together_and_classes_evenly() -> None:
    data = with_copies()
    fold = assign_folds(data, 4, 7)
    assert np.array_equal(fold, fold[group_copies(data.images)])
    leaders = group_copies(data.images) == np.arange(len(data))
    for label in range(10):
        counts = np.bincount(fold[leaders & (data.labels == label)], minlength=4)
        assert counts.max() - counts.min() <= 1
    assert not np.array_equal(fold, assign_folds(data, 4, 8))
    assert np.array_equal(fold, assign_folds(data, 4, 7))


@compiled_only
def test_workers_change_nothing() -> None:
    data, seen = blobs(60), []
    alone = cross_val_predict_proba(
        data, RECIPE, folds=3, repeats=2, threads=1, progress=lambda done, n: seen.append((done, n))
    )
    assert seen == [(i, 6) for i in range(1, 7)]
    assert np.array_equal(alone, cross_val_predict_proba(data, RECIPE, folds=3, repeats=2, threads=2))
    assert alone.shape == (60, 10)
    assert alone.sum(axis=1) == pytest.approx(np.ones(60))


@compiled_only
def test_no_network_has_seen_what_it_judges() -> None:
    # Labels of noise cannot be foretold, but can be learnt by heart: who had seen them would know them.
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (100, 784), dtype=np.uint8)
    data = Dataset(images, rng.integers(0, 4, 100), ("a", "b", "c", "d"), "noise")
    data = replace(data, images=np.concatenate([images[:50], images[:50]]), labels=np.tile(data.labels[:50], 2))
    guesses = cross_val_predict_proba(data, RECIPE.replace(epochs=30), folds=5, threads=1).argmax(axis=1)
    assert np.mean(guesses == data.labels) < 0.6


@pytest.mark.parametrize("options", [{"folds": 1}, {"repeats": 0}, {"threads": 0}, {"folds": 31}])
def test_nonsense(options: dict[str, int]) -> None:
    with pytest.raises(DataError, match="blobs"):
        cross_val_predict_proba(blobs(30), RECIPE, **options)  # type: ignore[arg-type]


@compiled_only
def test_a_worker_that_fails_ends_all() -> None:
    with pytest.raises(TrainingError, match="diverged"):
        cross_val_predict_proba(blobs(60), RECIPE.replace(lr=1e6, hidden=(64, 64, 64)), folds=3, threads=2)
