"""Training, saving, resuming and predicting on rows and sparse rows, for every task."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse

import fastnn
from fastnn import Dataset, Recipe, Session, evaluate, fit, load_model, save_model
from fastnn.datasets import Column, ReadOptions, Scaling, SparseRows, split
from fastnn.errors import DataError, ModelError, RecipeError
from fastnn.evaluation.metrics import RegressionEvaluation
from fastnn.formats.safetensors import dump_model
from fastnn.model import Model
from fastnn.network import Network
from fastnn.reference import ReferenceNetwork
from fastnn.training import Trainer, epoch_order
from fastnn.training_loops import train
from tests.helpers import blobs, needs_jit

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = needs_jit

RECIPE = Recipe(
    name="small", hidden=(8,), rule="backprop", activation="tanh", init="xavier", standardise=True, epochs=6, lr=0.02,
    dtype="float64", seed=4,
)  # fmt: skip
TASKS = ("classification", "multilabel", "regression")
KINDS = ("rows", "sparse")


def made(task: str, kind: str = "rows", n: int = 150) -> Dataset:
    """Return a table whose targets are smooth functions of its columns, of very different scales."""
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(n, 5)) * (rng.random((n, 5)) < 0.6)
    z = np.stack([rows[:, 0] + rows[:, 1] * rows[:, 2], np.sin(rows[:, 3]) - rows[:, 4]], axis=1)
    rows = np.where(rows == 0, 0, rows * [1, 10, 1000, 0.01, 1] + [0, 50, 0, 0, -3])
    targets: Any = {"classification": (z[:, 0] > 0).astype(np.int64), "multilabel": (z > 0).astype(np.uint8)}.get(
        task, z * 1000 + 500
    )
    features = SparseRows.from_scipy(scipy.sparse.csr_array(rows)) if kind == "sparse" else rows
    return Dataset(features, targets, ("a", "b"), f"made ({kind})")


def dense(data: Dataset) -> np.ndarray:
    return data.features.toarray() if isinstance(data.features, SparseRows) else data.features


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("kind", KINDS)
def test_an_epoch_equals_plain_python_on_standardised_rows(task: str, kind: str) -> None:
    data = made(task, kind)
    recipe = RECIPE.replace(epochs=1, alpha=0.01 if task == "regression" else 0.0)
    network = recipe.network(5, 2, data.task)
    reference = ReferenceNetwork.from_network(network)
    reference.alpha = recipe.alpha
    report = next(train(network, data, recipe))
    rows = dense(data)
    x = (rows - rows.mean(axis=0)) / rows.std(axis=0)
    targets: Any = data.targets
    if task == "regression":
        targets = (targets - targets.mean(axis=0)) / targets.std(axis=0)
    for i in epoch_order(recipe.seed, 1, len(data)).tolist():
        reference.train(x[i].tolist(), targets[i].tolist(), recipe.lr)
    for ours, theirs in zip(network.weights + network.biases, reference.weights + reference.biases, strict=True):
        np.testing.assert_allclose(ours, np.array(theirs), rtol=1e-9, atol=1e-10)
    assert 0 < report.loss < 10


@pytest.mark.parametrize("task", TASKS)
def test_rows_and_sparse_rows_train_the_same_network(task: str) -> None:
    models = [fit(made(task, kind), RECIPE, progress=False) for kind in KINDS]
    for one, other in zip(models[0].network.weights, models[1].network.weights, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-8, atol=1e-9)
    rows = dense(made(task))
    expected = models[0].outputs(rows)
    for samples in (
        rows,
        scipy.sparse.csc_array(rows),
        SparseRows.from_scipy(scipy.sparse.coo_array(rows)),
        rows.tolist(),
    ):
        np.testing.assert_allclose(models[1].outputs(samples), expected, rtol=1e-6)


@pytest.mark.parametrize("task", TASKS)
def test_training_learns(task: str) -> None:
    data = made(task, n=600)
    train_set, test = split(data, 0.2)
    model = fit(train_set, RECIPE.replace(epochs=60), progress=False)
    evaluation = evaluate(model, test)
    score = evaluation.r2 if isinstance(evaluation, RegressionEvaluation) else evaluation.accuracy
    # Of two labels a quarter is right by chance.
    assert score > (0.6 if task == "multilabel" else 0.8)
    kinds = {
        "classification": (np.int64, (120,)),
        "multilabel": (np.uint8, (120, 2)),
        "regression": (np.float64, (120, 2)),
    }
    predicted = model.predict(test.features)
    assert (predicted.dtype, predicted.shape) == kinds[task]


@pytest.mark.parametrize("task", TASKS)
def test_the_test_set_may_be_sparse_when_the_training_set_is_not(task: str) -> None:
    reports = [
        list(train(RECIPE.network(5, 2, data.task), data, RECIPE, test=made(task, test_kind, 40)))[-1]
        for data in (made(task), made(task, "sparse"))
        for test_kind in KINDS
    ]
    for report in reports[1:]:
        assert report.test_loss == pytest.approx(reports[0].test_loss)


def test_a_test_set_of_another_kind_is_refused() -> None:
    rng = np.random.default_rng(0)
    images = blobs(20)
    rows = replace(images, features=rng.normal(size=(20, 784)), columns=tuple(Column(str(i)) for i in range(784)))
    recipe = RECIPE.replace(standardise=False)
    cases = [
        (images, rows, "a test set of a table does not fit a training set of images"),
        (rows, images, "a test set of images does not fit a training set of a table"),
        (rows, replace(rows, names=rows.names[::-1]), "its classes are .*, but those of the training set are"),
        (rows, replace(rows, columns=rows.columns[::-1]), "the test set has other columns than the training set"),  # type: ignore[index]
    ]
    for data, test, message in cases:
        with pytest.raises(DataError, match=message):
            Trainer(recipe.network(784, len(data.names)), data, recipe, test)


def test_one_target_gives_a_row_of_numbers() -> None:
    data = made("regression")
    one = replace(data, targets=data.targets[:, :1], names=("a",))
    model = fit(one, RECIPE, progress=False)
    assert model.predict(one.features).shape == (150,)
    with pytest.raises(ModelError, match="a regression predicts numbers"):
        model.predict_proba(one.features)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("kind", KINDS)
def test_models_are_read_as_they_were_written(task: str, kind: str, tmp_path: Path) -> None:
    data = made(task, kind)
    columns = tuple(Column(name) for name in "vwxyz")
    model = fit(replace(data, columns=columns), RECIPE.replace(epochs=2, ensemble=2), progress=False)
    save_model(model, tmp_path / "m.safetensors")
    loaded = load_model(tmp_path / "m.safetensors")
    assert np.array_equal(loaded.outputs(data.features), model.outputs(data.features))
    assert (loaded.task, loaded.takes, loaded.columns, loaded.names) == (task, "rows", columns, ("a", "b"))
    assert dump_model(loaded) == dump_model(model)


def test_a_sample_has_the_same_bits_alone_and_among_others() -> None:
    data = made("regression", n=700)
    model = fit(data, RECIPE.replace(epochs=1), progress=False)
    together = model.outputs(data.features)
    for i in (0, 5, 699):
        assert np.array_equal(model.outputs(dense(data)[i]), together[i : i + 1])
    assert np.array_equal(model.outputs(np.asfortranarray(dense(data))), together)


EXTRAS = {
    "plain": {},
    "dropout and decay": {"dropout": 0.3, "alpha": 0.01},
    "adaptive": {"schedule": "adaptive", "lr_every": 1, "tol": 0.05, "lr_decay": 0.2},
    "patience": {"patience": 3, "tol": 0.01},
    "validation": {"validation_fraction": 0.2, "averaging": "ema"},
    "inverse scaling": {"schedule": "inverse_scaling"},
}


@pytest.mark.parametrize("extra", EXTRAS.values(), ids=EXTRAS)
def test_a_resumed_run_ends_with_the_same_bytes(extra: dict[str, Any], tmp_path: Path) -> None:
    data = made("regression")
    recipe = RECIPE.replace(**extra)
    for _ in Session(data, recipe, tmp_path / "whole"):
        pass
    for _ in Session(data, recipe.replace(epochs=3), tmp_path / "half"):
        pass
    for _ in Session.resume(tmp_path / "half", epochs=6, dataset=data):
        pass
    whole, half = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "half"))
    assert whole == half


def test_dropout_differs_from_epoch_to_epoch_and_seed_to_seed() -> None:
    data = made("regression")
    models = [
        fit(data, RECIPE.replace(lr=1e-3, epochs=1, dropout=0.5, seed=seed, hidden=(3,)), progress=False).sha256()
        for seed in (1, 1, 2)
    ]
    assert models[0] == models[1] != models[2]


def test_the_adaptive_rate_falls_when_the_loss_does_not() -> None:
    recipe = RECIPE.replace(schedule="adaptive", lr_decay=0.5, lr_every=2, tol=1e6, epochs=7)
    data = made("classification")
    rates = [report.lr for report in train(recipe.network(5, 2), data, recipe)]
    # The first epoch sets the loss to compare with; no later one falls by a million.
    assert [rate / recipe.lr for rate in rates] == [1, 1, 1, 0.5, 0.5, 0.25, 0.25]
    falling = RECIPE.replace(schedule="adaptive", lr_every=1, lr=1e-3, epochs=4)
    assert {report.lr for report in train(falling.network(5, 2), data, falling)} == {1e-3}


def test_inverse_scaling_divides_by_a_power_of_the_epoch() -> None:
    recipe = Recipe(schedule="inverse_scaling", lr=0.1, power_t=2.0)
    assert [recipe.lr_at(epoch) for epoch in (1, 2, 4)] == pytest.approx([0.1, 0.025, 0.00625])


def test_patience_without_a_validation_set_follows_the_training_loss() -> None:
    recipe = RECIPE.replace(patience=2, tol=1e6, epochs=50)
    assert len(list(train(recipe.network(5, 2), made("classification"), recipe))) == 3


def test_the_huber_loss_and_a_limit_of_the_error_keep_outliers_small() -> None:
    data = made("regression")
    targets = data.targets.copy()
    targets[0] = 1e9
    wild = replace(data, targets=targets)
    recipe = RECIPE.replace(standardise=False, epochs=1, lr=0.01)
    changes = {}
    for name, extra in {"plain": {}, "huber": {"huber_delta": 0.1}, "limit": {"error_limit": 0.1}}.items():
        network = recipe.network(5, 2, "regression")
        before = network.parameters.copy()
        one = replace(wild, features=wild.features[:1] / 1000, targets=wild.targets[:1])
        report = next(train(network, one, recipe.replace(**extra)))
        changes[name] = float(np.abs(network.parameters - before).max())
        assert report.loss == pytest.approx({"huber": 2e8, "plain": 1e18, "limit": 1e18}[name], rel=0.01)
    assert changes["plain"] > 1e6
    assert changes["huber"] == changes["limit"] < 0.01


@pytest.mark.parametrize(
    ("weight", "message"),
    [(1e39, "a weight is too large for float32"), ("a", "must be numbers"), (-1.0, "finite and not negative")],
)
def test_weights_that_training_cannot_use_are_refused(weight: Any, message: str) -> None:
    data, recipe = made("regression"), RECIPE.replace(dtype="float32")
    weights = [weight] * len(data)
    with pytest.raises(DataError, match=f"made .*: .*{message}"):
        Trainer(recipe.network(5, 2, "regression"), data, recipe, sample_weight=weights)  # type: ignore[arg-type]


def test_targets_that_are_too_large_are_refused() -> None:
    data, recipe = made("regression"), RECIPE.replace(standardise=False, dtype="float32")
    for factor, dtype, message in (
        (1e38, "float32", "a target is too large for float32"),
        (1e200, "float64", "a target is too large to be squared"),
    ):
        with pytest.raises(DataError, match=f"made .*: {message}"):
            fit(replace(data, targets=data.targets * factor), recipe.replace(dtype=dtype), progress=False)


@pytest.mark.parametrize(
    ("data", "changes", "message"),
    [
        (made("classification"), {"normalise": True, "standardise": False}, "has normalise, which is for images"),
        (made("classification"), {"shift": 3.0}, "has shift, which is for images"),
        (blobs(50), {}, "standardises columns of a table, but blobs holds images"),
        (made("regression"), {"label_smoothing": 0.1}, "has label_smoothing, which a regression cannot have"),
        (made("multilabel"), {"balance": True}, "has balance, which a multilabel cannot have"),
        (made("classification"), {"huber_delta": 1.0}, "has huber_delta, which a classification cannot have"),
    ],
)
def test_settings_that_the_data_cannot_have_are_refused(data: Dataset, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        fit(data, RECIPE.replace(**changes), progress=False)


def test_rule_original_learns_classes_of_a_table_and_nothing_else() -> None:
    recipe = Recipe(hidden=(6,), epochs=30, lr=0.5, standardise=True)
    model = fit(made("classification"), recipe, progress=False)
    assert model.card.metrics["test_accuracy"] > 0.6
    with pytest.raises(RecipeError, match="rule original learns classes, not a regression"):
        fit(made("regression"), recipe, progress=False)


def test_the_recipe_of_a_table_is_table() -> None:
    session = Session(made("classification"))
    assert session.recipe == fastnn.presets["table"]
    assert Session(blobs(60)).recipe == fastnn.presets["original"]


def test_predictions_check_what_they_get() -> None:
    data = made("classification")
    model = fit(data, RECIPE.replace(epochs=1), progress=False)
    rows = dense(data)[:3].copy()
    rows[1, 2] = np.nan
    with pytest.raises(DataError, match=r"the samples: a value is nan \(row 1, column 2\)"):
        model.predict(rows)
    with pytest.raises(DataError, match="rows of 5 values, not of 4"):
        model.predict(np.zeros((2, 4)))
    with pytest.raises(DataError, match="samples must be numbers"):
        model.predict([["a"] * 5])
    with pytest.raises(DataError, match="samples must be a matrix"):
        model.predict(np.zeros((1, 2, 5)))
    images = fit(blobs(60), Recipe(hidden=(3,), epochs=1), progress=False)
    with pytest.raises(DataError, match="takes images, not the sparse rows"):
        images.predict(scipy.sparse.csr_array((2, 784)))
    assert model.predict(np.zeros((0, 5))).shape == (0,)


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame], ids=["pandas", "polars"])
def test_data_frames_need_the_columns_of_the_model(frame: Any) -> None:
    data = replace(made("regression"), columns=tuple(Column(name) for name in "abcde"))
    model = fit(data, RECIPE.replace(epochs=1), progress=False)
    rows = {name: dense(data)[:3, k] for k, name in enumerate("abcde")}
    expected = model.predict(dense(data)[:3])
    assert np.array_equal(model.predict(frame(rows)), expected)
    with pytest.raises(DataError, match="column 1 of the samples is 'c', but the model takes 'b' there"):
        model.predict(frame(rows)[["a", "c", "b", "d", "e"]])
    with pytest.raises(DataError, match="rows of 5 values, not of 4"):
        model.predict(frame(rows)[["a", "b", "c", "d"]])
    assert np.array_equal(model.predict(pd.DataFrame(dense(data)[:3])), expected)


def test_evaluation_needs_data_of_the_same_task_and_targets() -> None:
    model = fit(made("regression"), RECIPE.replace(epochs=1), progress=False)
    with pytest.raises(DataError, match="its task is multilabel, but the model's is regression"):
        evaluate(model, made("multilabel"))
    with pytest.raises(DataError, match="has no target 'b', which the model predicts; its targets are a, c"):
        evaluate(model, replace(made("regression"), names=("a", "c")))


def test_a_model_of_rows_checks_its_parts() -> None:
    network = Network((3, 2), rule="backprop", output="identity")
    good = Scaling(np.zeros(3), np.ones(3))
    Model((network,), ("a", "b"), takes="rows", scaling=good, target_scaling=Scaling(np.zeros(2), np.ones(2)))
    faults: list[tuple[dict[str, Any], str]] = [
        ({}, "a model of images learns classes, not a regression"),
        ({"takes": "rows", "invert": True}, "does not invert or normalise"),
        ({"takes": "rows", "columns": (Column("x"),)}, "the columns are 1 inputs, but the networks have 3"),
        ({"takes": "rows", "scaling": Scaling(np.zeros(2), np.ones(2))}, "finite mean and factor for each of 3"),
        ({"takes": "rows", "scaling": Scaling(np.zeros(3), np.array([1, 0, 1.0]))}, "finite mean and factor"),
        ({"takes": "rows", "target_scaling": Scaling(np.full(2, np.nan), np.ones(2))}, "finite mean and factor"),
    ]
    for options, message in faults:
        with pytest.raises(ModelError, match=message):
            Model((network,), ("a", "b"), **options)
    classes = Network((3, 2), rule="backprop")
    with pytest.raises(ModelError, match="has no scaled targets"):
        Model((classes,), ("a", "b"), takes="rows", target_scaling=Scaling(np.zeros(2), np.ones(2)))
    with pytest.raises(ModelError, match="one model has one task"):
        Model((network, classes), ("a", "b"), takes="rows")


def test_a_wide_sparse_input_costs_what_its_values_cost() -> None:
    rng = np.random.default_rng(0)
    n, width = 40, 1_000_000
    indices = rng.integers(0, width, (n, 20))
    rows = SparseRows(np.ones(n * 20), indices.ravel(), np.arange(n + 1) * 20, width)
    data = Dataset(rows, np.arange(n) % 2, ("a", "b"), "wide")
    recipe = RECIPE.replace(hidden=(4,), standardise=False, epochs=5, lr=0.1)
    network = recipe.network(width, 2)
    before = network.weights[0].copy()
    trainer = Trainer(network, data, recipe)
    trainer.warm_up()
    for epoch in range(1, 6):
        report = trainer.epoch(epoch)
    assert report.accuracy == 1
    # Only the rows of inputs that occur have moved.
    moved = np.flatnonzero((network.weights[0] != before).any(axis=1))
    assert np.isin(moved, indices).all()
    assert len(moved) > 500


def test_the_card_says_what_was_learned(tmp_path: Path) -> None:
    data = replace(made("regression"), options=ReadOptions(("a", "b")))
    session = Session(data, RECIPE.replace(epochs=1), tmp_path / "run")
    list(session)
    card = load_model(tmp_path / "run").card
    assert card.data is not None
    assert (card.data.target, card.data.task) == (("a", "b"), "regression")
    assert set(card.metrics) == {"test_r2", "test_mae", "test_rmse", "test_loss"}
    assert json.loads(json.dumps(session.evaluation.as_dict()))["total"] == 15  # type: ignore[union-attr]


def test_the_web_app_serves_no_model_of_rows() -> None:
    pytest.importorskip("fastapi")
    from fastnn.web.serving import ServedModel

    model = Model((Network((784, 3), rule="backprop"),), ("a", "b", "c"), takes="rows")
    with pytest.raises(ModelError, match="m: the model takes the rows of a table, but the web app sends images"):
        ServedModel.from_model(model, "m")
