"""Training that starts from a trained model: new data, new classes, and what stays the model's."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import fastnn
from fastnn import Recipe, Session, fit, load_dataset, load_model, save_model
from fastnn.datasets import Column, Dataset
from fastnn.errors import DataError, FastnnError, ModelError, RecipeError
from fastnn.model import Model
from tests.helpers import blobs, linear_table, save_npz
from tests.models import network

if TYPE_CHECKING:
    from pathlib import Path

SMALL = Recipe(hidden=(12,), rule="backprop", activation="relu", init="he", invert=True, epochs=3)
FIVE = tuple("01234")


def finish(session: Session) -> Session:
    for _ in session:
        pass
    return session


def five_digits(n: int = 100) -> Dataset:
    """Return the first five classes of blobs, with five names."""
    data = blobs(2 * n)
    part = data.take(np.flatnonzero(data.labels < 5))
    return replace(part, names=FIVE)


def test_training_starts_from_the_weights_and_the_settings_of_the_model(tmp_path: Path) -> None:
    model = fit(blobs(300), SMALL.replace(until=0.99, patience=9), tmp_path / "first", progress=False)
    new = blobs(200, seed=1)
    session = Session.from_model(tmp_path / "first", new, out=tmp_path / "second")
    # The schedule is not that of the model, everything else is.
    assert session.recipe == SMALL.replace(name="adapt", epochs=30, lr=0.003, schedule="cosine")
    assert session.model.sha256() == model.sha256()
    assert session.card.start is not None
    assert (session.card.start.sha256, session.card.start.source) == (model.sha256(), str(tmp_path / "first"))
    first = next(iter(session))
    assert first.accuracy > 0.9
    assert session.model.sha256() != model.sha256()
    # The model itself is left as it was.
    assert load_model(tmp_path / "first").sha256() == model.sha256()
    assert load_model(tmp_path / "second").card.start == session.card.start


@pytest.mark.parametrize(
    "recipe",
    [
        SMALL,
        SMALL.replace(ensemble=2),
        SMALL.replace(validation_fraction=0.2, patience=2),
        SMALL.replace(ensemble=2, averaging="ema"),
    ],
    ids=["one", "ensemble", "validation", "averaged ensemble"],
)
def test_a_run_that_started_from_a_model_is_resumed_to_the_same_bytes(recipe: Recipe, tmp_path: Path) -> None:
    plain = SMALL.replace(ensemble=recipe.ensemble)
    model = fit(five_digits(), plain, progress=False)
    save_npz(blobs(150, seed=1), tmp_path / "new.npz")
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    finish(Session.from_model(model, tmp_path / "new.npz", recipe, whole))
    # Stopped before the first epoch, and after each.
    begun = Session.from_model(model, tmp_path / "new.npz", recipe, parts)
    begun.open()
    for _ in range(2):
        for _ in Session.resume(parts, threads=1):
            break
    finish(Session.resume(parts))
    assert (parts / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


def test_new_classes_get_outputs_and_the_others_keep_theirs() -> None:
    model = fit(five_digits(), SMALL, progress=False)
    data = blobs(200)
    new = replace(data.take(np.flatnonzero(data.labels >= 3)), names=("0", "1", "2", "3", "4", "5", "6", "7", "8", "9"))
    session = Session.from_model(model, new)
    assert session.names == tuple("0123456789")
    assert session.sizes == (784, 12, 10)
    assert session.notes == (
        "new classes get outputs of their own: 5, 6, 7, 8, 9",
        "no image of class 0, 1, 2 is trained on; the network keeps the output and may forget the class",
    )
    # Before training, the known classes have the same logits.
    images = blobs(20, seed=3).images
    before, after = (np.log(one.predict_proba(images)) for one in (model, session.model))
    np.testing.assert_allclose(after[:, 1:5] - after[:, :1], before[:, 1:] - before[:, :1], atol=1e-4)
    finish(session)
    assert session.evaluation is not None
    assert session.evaluation.score > 0.9
    # A class of the model that the new data name, but do not have, is no new one.
    kept = Session.from_model(session.model, five_digits())
    assert kept.names == tuple("0123456789")


def test_an_ensemble_goes_on_with_every_network_and_fit_starts_from_a_model() -> None:
    model = fit(blobs(120), SMALL.replace(ensemble=2), progress=False)
    again = fit(blobs(120, seed=1), SMALL.replace(ensemble=2, lr=1e-9, epochs=1), start=model, progress=False)
    for one, other in zip(again.networks, model.networks, strict=True):
        np.testing.assert_allclose(one.weights[0], other.weights[0], atol=1e-5)
    assert again.networks[0].sha256() != model.networks[0].sha256()


def test_the_split_of_the_same_data_stays() -> None:
    data = blobs(120)
    model = fit(data, SMALL.replace(seed=5), progress=False)
    session = Session.from_model(model, data, SMALL.replace(seed=7))
    assert session.card.data is not None
    assert session.card.data.split is not None
    assert session.card.data.split.seed == 5


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({"hidden": (20, 4)}, "hidden = 12, but recipe original has 20,4; leave out --hidden"),
        ({"invert": False}, "invert = true, but recipe original has false"),
        ({"activation": "tanh"}, "activation = relu"),
        ({"ensemble": 2}, "ensemble = 1"),
        ({"dtype": "float64"}, "dtype = float32"),
        ({"normalise": True}, "normalise = false"),
    ],
)
def test_a_recipe_that_contradicts_the_model_is_refused(changes: dict[str, Any], shown: str, tmp_path: Path) -> None:
    model = Model((SMALL.network(784, 10),), tuple("0123456789"), invert=True)
    save_model(model, tmp_path / "a.safetensors")
    with pytest.raises(RecipeError, match=f"^{tmp_path / 'a.safetensors'}: has {shown}"):
        Session.from_model(tmp_path / "a.safetensors", blobs(40), SMALL.replace(**changes))


def test_networks_that_differ_are_refused() -> None:
    both = Model((network(784, 4, 10), network(784, 5, 10)), tuple("0123456789"))
    with pytest.raises(ModelError, match="differ in their layers"):
        Session.from_model(both, blobs(40))


def test_a_model_without_a_recipe_gets_the_settings_of_its_network() -> None:
    model = Model((network(784, 4, 10),), tuple("0123456789"))
    recipe = Session.from_model(model, blobs(40)).recipe
    assert (recipe.name, recipe.rule, recipe.hidden, recipe.invert) == ("adapt", "original", (4,), False)


def test_new_labels_get_outputs_too() -> None:
    rows = np.random.default_rng(0).normal(size=(80, 3))
    labels = (rows > 0).astype(np.uint8)
    recipe = fastnn.presets["table"].replace(hidden=(6,), epochs=2)
    model = fit(Dataset(rows, labels[:, :2], ("a", "b"), "two labels"), recipe, progress=False)
    session = Session.from_model(model, Dataset(rows, labels[:, ::-1].copy(), ("c", "b", "a"), "three labels"))
    assert session.names == ("a", "b", "c")
    np.testing.assert_allclose(session.model.predict_proba(rows)[:, :2], model.predict_proba(rows), atol=1e-6)
    assert session.train.targets.sum(axis=0).tolist() == (session.train.features > 0).sum(axis=0).tolist()
    lacking = Dataset(rows, labels[:, :1], ("a",), "one label")
    with pytest.raises(DataError, match="has no target 'b', which the model predicts"):
        Session.from_model(model, lacking)


# ---- tables ----


def test_a_table_keeps_columns_and_scaling_of_the_model(tmp_path: Path) -> None:
    recipe = fastnn.presets["table"].replace(hidden=(8,), epochs=20)
    old = linear_table(120)
    model = fit(old, recipe, progress=False)
    shifted = linear_table(80, seed=1)
    rows = np.column_stack([shifted.features[:, ::-1] + 100, np.ones(80)])
    columns = tuple(Column(name) for name in ("age", "height", "width", "extra"))
    new = replace(shifted, features=rows, columns=columns)
    session = Session.from_model(model, new, out=tmp_path / "run")
    assert any("columns that the model does not take are left out: extra" in text for text in session.notes)
    finish(session)
    made = load_model(tmp_path / "run")
    assert made.columns == model.columns
    for ours, theirs in ((made.scaling, model.scaling), (made.target_scaling, model.target_scaling)):
        assert ours is not None
        assert theirs is not None
        np.testing.assert_array_equal(ours.mean, theirs.mean)
        np.testing.assert_array_equal(ours.factor, theirs.factor)


def test_data_that_do_not_fit_the_model_are_refused() -> None:
    table = fit(linear_table(60), fastnn.presets["table"].replace(hidden=(4,), epochs=1), progress=False)
    two = linear_table(60, targets=2)
    with pytest.raises(DataError, match=r"does not predict the target 'weight'; choose those of the model \(price\)"):
        Session.from_model(table, two)
    lacking = replace(linear_table(60), features=np.random.default_rng(0).random((60, 1)), columns=(Column("width"),))
    with pytest.raises(DataError, match="has no column 'height', which the model takes"):
        Session.from_model(table, lacking)
    with pytest.raises(DataError, match="its task is classification, but the model's is regression"):
        Session.from_model(table, blobs(40))
    with pytest.raises(FastnnError, match="no such file or folder"):
        Session.from_model("gone", load_dataset("drawn:20"))
