"""Every model file and run folder that an earlier version wrote still loads, predicts the same and can be resumed.

``model-1-*`` and ``run-1-*`` were written by the first edition (format 1): a finished run, one that was interrupted
after two of four epochs (average and validation part), and one of two networks. ``run-1-expected.json`` has what that
edition predicted with them, and the checksum of the weights after it had resumed them.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from fastnn.datasets import load_dataset
from fastnn.datasets.split import Split
from fastnn.errors import FastnnError, ModelError
from fastnn.evaluation.saved_model import evaluate_file
from fastnn.formats import load_model, save_model
from fastnn.model import ModelCard
from fastnn.recipe import Recipe, load_recipe
from fastnn.runs import Run, read_history
from tests.helpers import blobs, invoke, save_npz

FIXTURES = Path(__file__).parents[1] / "fixtures"
EXPECTED: dict[str, dict[str, Any]] = json.loads((FIXTURES / "run-1-expected.json").read_text())
RUNS = list(EXPECTED)


def images() -> np.ndarray:
    """Return five fixed patterns that do not depend on a random number generator."""
    pixel = np.arange(784)
    return np.stack([((pixel * (7 + k) + pixel // 28 * 13 * k) % 256).astype(np.uint8) for k in range(5)])


@pytest.fixture
def run(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Return a copy of a run folder from the fixtures."""
    return Path(shutil.copytree(FIXTURES / request.param, tmp_path / request.param))


@pytest.mark.parametrize("name", ["model-1-toy-float64", "model-1-relu-float32"])
def test_old_models_predict_the_same(name: str) -> None:
    model = load_model(FIXTURES / f"{name}.safetensors")
    expected = json.loads((FIXTURES / f"{name}.json").read_text())
    np.testing.assert_allclose(model.predict_proba(images()), expected, rtol=1e-5)


@pytest.mark.parametrize("name", RUNS)
def test_old_runs_predict_the_same(name: str) -> None:
    model = load_model(FIXTURES / name)
    assert model.sha256() == EXPECTED[name]["weights_sha256"]
    np.testing.assert_allclose(model.predict_proba(images()), EXPECTED[name]["probabilities"], rtol=1e-5)


@pytest.mark.parametrize("name", RUNS)
def test_old_runs_keep_recipe_data_and_history(name: str, tmp_path: Path) -> None:
    card = load_model(FIXTURES / name).card
    assert card.recipe == load_recipe(FIXTURES / name / "recipe.toml")
    assert card.epochs == EXPECTED[name]["epochs"]
    assert card.data is not None
    assert (card.data.source, card.data.n_test) == ("drawn:60", 6)
    assert card.data.split == Split(fraction=0.1, seed=card.recipe.seed)
    assert card.version == "0.1.0"
    assert [report.epoch for report in read_history(FIXTURES / name / "history.csv")] == [1, 2]
    report = evaluate_file(str(FIXTURES / name))
    assert report.evaluation.total == 6
    assert card.metrics.get("test_accuracy", report.evaluation.accuracy) == report.evaluation.accuracy
    # Saving the model again keeps the whole card.
    save_model(load_model(FIXTURES / name), tmp_path / "new.safetensors")
    assert load_model(tmp_path / "new.safetensors").card == card


def test_the_networks_of_an_old_ensemble_share_its_split() -> None:
    cards = [load_model(FIXTURES / "run-1-ensemble" / name).card for name in ("", "member-1", "member-2")]
    assert [card.seed for card in cards] == [0, 0, 1]
    assert {card.data.split for card in cards if card.data is not None} == {Split(fraction=0.1, seed=0)}


@pytest.mark.parametrize("run", RUNS, indirect=True)
def test_resumed_old_runs_give_the_bits_of_the_version_that_started_them(run: Path) -> None:
    expected = EXPECTED[run.name]["resumed"]
    done = invoke(["train", "--resume", str(run), "--epochs", str(expected["epochs"]), "-q"])
    assert done.exit_code == 0, done.output
    model = load_model(run)
    assert model.card.epochs == expected["epochs"]
    assert model.sha256() == expected["weights_sha256"]
    assert [one.epoch for one in read_history(run / "history.csv")] == list(range(1, expected["epochs"] + 1))
    assert not (run / "checkpoint.safetensors").exists()


# ---- the info of format 1, which may hold anything ----

DATA = {"source": "a.npz", "description": "a", "hash": "0" * 64, "n_train": 54, "n_test": 6, "split_seed": 4}
RECIPE = {"name": "x", "seed": 7, "test_fraction": 0.25, "rule": "toy", "inputs": "ink", "kernel": "dense"}


def write_first_format(info: Any, path: Path) -> None:
    """Save a model of format 1 with this `info`."""
    shape = {"sizes": [784, 10], "rule": "toy", "activation": "sigmoid", "dtype": "float32"}
    head = {"format": 1, "networks": [shape], "classes": list("0123456789"), "inputs": "paper", "normalise": False}
    tensors = {"layers.0.weight": np.ones((784, 10), np.float32), "layers.0.bias": np.zeros(10, np.float32)}
    path.write_bytes(safetensors.numpy.save(tensors, {"fastnn": json.dumps({**head, "info": info})}))


def test_the_info_of_a_trained_model_becomes_its_card(tmp_path: Path) -> None:
    info = {
        "recipe": RECIPE,
        "epochs": 3,
        "data": DATA,
        "seed": 7,
        "version": "0.0.1",
        "metrics": {"a": 1},
        "named": "",
    }
    write_first_format(info, tmp_path / "m.safetensors")
    card = load_model(tmp_path / "m.safetensors").card
    recipe = Recipe(name="x", seed=7, test_fraction=0.25, invert=True, first_layer="dense")
    assert (card.recipe, card.epochs, card.seed, card.version) == (recipe, 3, 7, "0.0.1")
    assert card.data is not None
    assert (card.data.source, card.data.n_train, card.data.n_test) == ("a.npz", 54, 6)
    assert card.data.split == Split(fraction=0.25, seed=4)
    assert (card.metrics, card.original, card.origin_key) == ({"a": 1.0}, None, "")


def test_the_info_of_an_imported_model_becomes_its_card(tmp_path: Path) -> None:
    training = {"epochs": 60, "notes": ["x", None]}
    write_first_format({"source": "NN.json", "original": {"training": training}}, tmp_path / "m.safetensors")
    card = load_model(tmp_path / "m.safetensors").card
    assert card.original is not None
    assert (card.original.file, card.original.training) == ("NN.json", training)
    assert (card.recipe, card.data, card.epochs) == (None, None, None)


def test_the_held_back_digits_of_the_web_app_are_described(tmp_path: Path) -> None:
    data = {**DATA, "held_back": "one in 10 by the SHA-256 of its pixels"}
    write_first_format({"recipe": RECIPE, "data": data}, tmp_path / "m.safetensors")
    card = load_model(tmp_path / "m.safetensors").card
    assert card.data is not None
    assert card.data.split == Split(kind="hash", fraction=0.1)


DEEP: Any = []
for _ in range(200):
    DEEP = [DEEP]

ODD_INFOS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({"note": "anything"}, {}),
    ({"epochs": -1, "seed": "a", "version": 3, "metrics": []}, {}),
    ({"epochs": True, "seed": 1.5, "metrics": {"a": "b"}, "named": 5}, {}),
    ({"epochs": 10**30, "seed": -(10**30), "version": "v" * 10**5}, {}),
    ({"epochs": 2, "recipe": None, "data": None}, {"epochs": 2}),
    ({"recipe": [], "data": []}, {}),
    ({"recipe": {"momentum": 0.9}}, {}),
    ({"recipe": {"epochs": 0, "seed": 10**400}}, {}),
    ({"recipe": {"hidden": DEEP}, "data": DEEP, "metrics": DEEP, "original": DEEP}, {}),
    ({"recipe": {"name": "old"}}, {"recipe": Recipe(name="old")}),
    ({"data": {"source": "x"}}, {}),
    ({"data": {**DATA, "source": 5}}, {}),
    ({"data": {**DATA, "hash": "0" * 10**6}}, {}),
    ({"original": 5, "source": 5}, {}),
]


@pytest.mark.parametrize(("info", "fields"), ODD_INFOS, ids=range(len(ODD_INFOS)))
def test_unknown_values_are_left_out_of_the_card(info: dict[str, Any], fields: dict[str, Any], tmp_path: Path) -> None:
    write_first_format(info, tmp_path / "model.safetensors")
    model = load_model(tmp_path / "model.safetensors")
    assert (model.sizes, model.card) == ((784, 10), ModelCard(**fields))
    with pytest.raises(ModelError, match="does not say how it was trained and cannot be resumed"):
        Run.resume(tmp_path)


@pytest.mark.parametrize("recipe", [None, [], {"seed": "a"}, {"seed": -1, "test_fraction": 0.1}, {"seed": 1.5}])
def test_an_invalid_recipe_is_ignored(recipe: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_npz(blobs(60), tmp_path / "a.npz")
    about = {"source": "a.npz", "hash": load_dataset("a.npz").content_hash}
    write_first_format({"recipe": recipe, "data": about}, Path("m.safetensors"))
    try:
        total = evaluate_file("m.safetensors").evaluation.total
    except FastnnError:
        total = 6
    assert total == 6


@pytest.mark.parametrize("info", [None, 5, [], "text"])
def test_info_that_is_not_an_object_is_refused(info: Any, tmp_path: Path) -> None:
    write_first_format(info, tmp_path / "m.safetensors")
    with pytest.raises(ModelError, match="damaged metadata"):
        load_model(tmp_path / "m.safetensors")
