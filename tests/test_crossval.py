import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fastnn.crossval import cross_val_predict_proba, cross_validate
from fastnn.datasets import Dataset
from fastnn.datasets.duplicates import group_copies
from fastnn.datasets.split import assign_folds
from fastnn.errors import DataError, RecipeError, TrainingError
from fastnn.evaluation.intervals import wilson_interval
from fastnn.recipe import Recipe
from fastnn.session import Session
from tests.helpers import blobs

RECIPE = Recipe(name="t", hidden=(8,), rule="backprop", activation="relu", init="he", invert=True, epochs=2, lr=0.02)


def with_copies(n: int = 120) -> Dataset:
    made = blobs(n)
    images = made.images.copy()
    images[60:90] = images[:30]
    return replace(made, features=images)


def test_folds_keep_copies_together_and_classes_balanced() -> None:
    data = with_copies()
    fold = assign_folds(data, 4, 7)
    assert np.array_equal(fold, fold[group_copies(data.images)])
    leaders = group_copies(data.images) == np.arange(len(data))
    for label in range(10):
        counts = np.bincount(fold[leaders & (data.labels == label)], minlength=4)
        assert counts.max() - counts.min() <= 1
    assert not np.array_equal(fold, assign_folds(data, 4, 8))
    assert np.array_equal(fold, assign_folds(data, 4, 7))


def test_the_number_of_threads_does_not_change_cross_validation() -> None:
    data, seen = blobs(60), []
    alone = cross_val_predict_proba(
        data, RECIPE, folds=3, repeats=2, threads=1, progress=lambda done, n: seen.append((done, n))
    )
    assert seen == [(i, 6) for i in range(1, 7)]
    assert np.array_equal(alone, cross_val_predict_proba(data, RECIPE, folds=3, repeats=2, threads=2))
    assert alone.shape == (60, 10)
    assert alone.sum(axis=1) == pytest.approx(np.ones(60))


def test_no_network_has_seen_the_images_it_predicts() -> None:
    # Random labels cannot be predicted, only memorised: a network that had seen them would know them.
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (100, 784), dtype=np.uint8)
    data = Dataset(images, rng.integers(0, 4, 100), ("a", "b", "c", "d"), "noise")
    data = replace(data, features=np.concatenate([images[:50], images[:50]]), targets=np.tile(data.labels[:50], 2))
    guesses = cross_val_predict_proba(data, RECIPE.replace(epochs=30), folds=5, threads=1).argmax(axis=1)
    assert np.mean(guesses == data.labels) < 0.6


@pytest.mark.parametrize(
    "options",
    [
        {"folds": 1},
        {"repeats": 0},
        {"folds": 31},
        {"folds": 1 << 40},  # an array of that size would not fit in memory
        {"folds": 10**20},
        {"folds": 10**5000},
        {"repeats": 10**20},
    ],
    ids=["one fold", "no repeat", "31 folds", "2^40 folds", "10^20 folds", "10^5000 folds", "10^20 repeats"],
)
def test_invalid_options_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(DataError, match="blobs"):
        cross_val_predict_proba(blobs(30), RECIPE, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("threads", [0, -1, 1.5, "2"])
def test_a_wrong_number_of_threads_is_refused_as_by_a_session(threads: Any) -> None:
    with pytest.raises(RecipeError, match="threads must be a whole number from 1") as caught:
        cross_val_predict_proba(blobs(30), RECIPE, folds=3, threads=threads)
    with pytest.raises(RecipeError, match="threads must be a whole number from 1") as other:
        Session(blobs(30), RECIPE, threads=threads)
    assert str(caught.value) == str(other.value)


def test_an_error_in_one_fold_is_raised() -> None:
    with pytest.raises(TrainingError, match="diverged"):
        cross_val_predict_proba(blobs(60), RECIPE.replace(lr=1e6, hidden=(64, 64, 64)), folds=3, threads=2)


@pytest.mark.parametrize("threads", [1, 2])
def test_an_error_in_the_progress_callback_ends_all_threads(threads: int) -> None:
    def cancel(_: int, __: int) -> None:
        raise KeyboardInterrupt

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        cross_val_predict_proba(blobs(60), RECIPE, folds=5, threads=threads, progress=cancel)
    assert threading.active_count() == before


def test_cross_validation_reports_accuracies_mean_and_interval() -> None:
    data, recipe = with_copies(120), RECIPE.replace(epochs=1)
    found = cross_validate(data, recipe, 4)
    right = cross_val_predict_proba(data, recipe, folds=4).argmax(axis=1) == data.labels
    fold = assign_folds(data, 4, recipe.seed)
    assert found.accuracies == pytest.approx([right[fold == k].mean() for k in range(4)])
    assert found.mean == right.mean()
    assert (found.low, found.high) == wilson_interval(int(right.sum()), 120)
    assert found.low < found.mean < found.high
    wider = cross_validate(data, recipe, 4, confidence=0.99)
    assert wider.low < found.low


def test_folds_train_the_networks_of_the_recipe() -> None:
    """All networks of the ensemble, and the given number of images per class."""
    data, recipe = blobs(90), RECIPE.replace(ensemble=2, per_class=6)
    found = cross_val_predict_proba(data, recipe, folds=3, threads=1)
    fold = assign_folds(data, 3, recipe.seed)
    session = Session(data.take(np.flatnonzero(fold != 1)), recipe.replace(seed=1), split=False)
    for _ in session:
        pass
    assert (len(session.train), len(session.model.networks)) == (60, 2)
    assert np.array_equal(found[fold == 1], session.model.predict_proba(data.images[fold == 1]))
