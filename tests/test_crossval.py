import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastnn.crossval import cross_val_predict_proba, cross_validate
from fastnn.datasets import Dataset
from fastnn.datasets.duplicates import group_copies
from fastnn.datasets.split import assign_folds
from fastnn.errors import DataError, RecipeError, TrainingError
from fastnn.evaluation.metrics import evaluate
from fastnn.evaluation.student import corrected_interval
from fastnn.recipe import Recipe, presets
from fastnn.session import Session
from tests.helpers import blobs, linear_table

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


def test_data_of_one_class_are_refused() -> None:
    data = blobs(30)
    same = replace(data, targets=np.full(30, 3))
    with pytest.raises(DataError, match="blobs: all images have the class '3'; at least two classes are needed"):
        cross_validate(same, RECIPE, 3)


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


def test_cross_validation_reports_each_fold_and_the_mean_with_its_interval() -> None:
    data, recipe = with_copies(120), RECIPE.replace(epochs=1)
    seen: list[tuple[int, int]] = []
    found = cross_validate(data, recipe, 4, progress=lambda done, n: seen.append((done, n)))
    assert seen == [(k, 4) for k in range(1, 5)]
    right = cross_val_predict_proba(data, recipe, folds=4).argmax(axis=1) == data.labels
    fold = assign_folds(data, 4, recipe.seed)
    assert found.scores == found.accuracies == pytest.approx([right[fold == k].mean() for k in range(4)])
    assert (found.mean, found.low, found.high) == pytest.approx(corrected_interval(found.scores, 1 / 3))
    assert found.low < found.mean < found.high
    assert [(one.repeat, one.fold, one.n_test) for one in found.folds] == [(0, k, np.sum(fold == k)) for k in range(4)]
    assert all(one.n_train + one.n_test == 120 for one in found.folds)
    assert set(found.metrics) == {"accuracy", "balanced_accuracy", "macro_roc_auc", "loss"}
    wider = cross_validate(data, recipe, 4, confidence=0.99)
    assert wider.low < found.low
    figures = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert (figures["task"], len(figures["folds"])) == ("classification", 4)
    assert figures["metrics"]["accuracy"] == {"mean": found.mean, "low": found.low, "high": found.high}
    with pytest.raises(DataError, match="confidence"):
        cross_validate(data, recipe, confidence=1.0)


@pytest.mark.parametrize("classes", [2, 10])
def test_large_folds_are_measured_in_parts(classes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, recipe = blobs(120, classes=tuple("0123456789")[:classes]), RECIPE.replace(epochs=1)
    whole, probabilities = cross_validate(data, recipe, 3), cross_val_predict_proba(data, recipe, folds=3, repeats=3)
    monkeypatch.setenv("FASTNN_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr("fastnn.large_arrays.LARGE", 1)
    for module in ("large_arrays", "model"):
        monkeypatch.setattr(f"fastnn.{module}.ROWS_IN_PART", 16)
    parts = cross_validate(data, recipe, 3)
    assert (parts.scores, parts.per_class) == (whole.scores, whole.per_class)
    assert all(one.metrics == pytest.approx(two.metrics) for one, two in zip(parts.folds, whole.folds, strict=True))
    assert np.array_equal(cross_val_predict_proba(data, recipe, folds=3, repeats=3), probabilities)


TABLE = presets["table"].replace(epochs=10, hidden=(8,), lr=0.03)


def test_a_regression_is_standardised_on_each_training_part_alone() -> None:
    data = linear_table(60)
    found = cross_validate(data, TABLE, 3, repeats=2, threads=2)
    assert (found.task, len(found.scores), found.accuracies) == ("regression", 6, ())
    assert set(found.metrics) == {"r2", "mae", "rmse", "loss"}
    assert found.scores == cross_validate(data, TABLE, 3, repeats=2, threads=1).scores
    assert len(set(found.scores)) == 6
    # As if each part were standardised by hand.
    fold = assign_folds(data, 3, TABLE.seed)
    part, test = data.take(np.flatnonzero(fold != 1)), data.take(np.flatnonzero(fold == 1))
    session = Session(part, TABLE.replace(seed=TABLE.seed + 1), split=False)
    assert len(list(session)) == TABLE.epochs
    model = session.model
    assert found.folds[1].metrics["r2"] == evaluate(model, test).score
    assert model.scaling is not None
    assert model.scaling.mean == pytest.approx(np.asarray(part.features).mean(axis=0))
    assert found.mean > 0.5


def test_labels_and_two_classes_have_their_metrics() -> None:
    data = linear_table(60)
    targets = (data.targets > 0).astype(np.uint8)
    labels = cross_validate(replace(data, targets=targets), TABLE, 3)
    assert set(labels.metrics) == {"accuracy", "label_accuracy", "micro_f1", "macro_f1", "loss"}
    two = cross_validate(replace(data, targets=targets[:, 0].astype(np.int64), names=("no", "yes")), TABLE, 3)
    assert set(two.metrics) == {"accuracy", "balanced_accuracy", "roc_auc", "log_loss", "loss"}
    assert two.metrics["roc_auc"].mean > 0.8
    # A fold with one class has no ROC AUC.
    rare = np.zeros(60, np.int64)
    rare[0] = 1
    few = cross_validate(replace(data, targets=rare, names=("no", "yes")), TABLE.replace(epochs=1), 3, threads=1)
    assert "roc_auc" not in few.metrics


def test_a_regression_needs_two_rows_in_a_fold_and_has_no_probabilities() -> None:
    data = linear_table(8)
    with pytest.raises(DataError, match=r"8 rows .* too few for 5 folds"):
        cross_validate(data, TABLE, 5)
    with pytest.raises(DataError, match="no class probabilities"):
        cross_val_predict_proba(data, TABLE)


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
