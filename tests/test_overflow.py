"""Finite weights so large that sums overflow: files are refused, and no prediction is NaN or infinite."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import safetensors.numpy

from fastnn import Model, Network, Recipe, load_model, save_model, train
from fastnn.datasets import Dataset
from fastnn.errors import ModelError, TrainingError
from fastnn.formats.safetensors import dump_model
from tests.helpers import blobs, invoke
from tests.models import DIGITS, png, seven

if TYPE_CHECKING:
    from pathlib import Path

RNG = np.random.default_rng(0)
IMAGES = np.concatenate([RNG.integers(0, 256, (5, 784), dtype=np.uint8), np.full((1, 784), 255, dtype=np.uint8)])
REFUSED = "weights are so large that its outputs are not finite; train it again, with a smaller learning rate"


def huge(rule: Any = "backprop", activation: Any = "relu", dtype: str = "float32", value: float = 3e38) -> Network:
    """Return a network whose weights are all large, as the attack on earlier versions found."""
    network = Network((784, 5, 4, 10), rule=rule, activation=activation, dtype=dtype)
    for part in (*network.weights, *network.biases):
        part[...] = value
    return network


def deep(n_layers: int) -> Network:
    """Return a network of usual weights; if it is deep, a bound of its sums is large, but they are not."""
    return Network((784, *[32] * n_layers, 10), rule="backprop", activation="relu").initialise("he", 3)


def overflowing_for_one_image() -> tuple[Network, np.ndarray]:
    """Return a network with finite outputs for white, black and random images, and an image whose sums overflow."""
    network, image = Network((784, 5, 10), rule="backprop", activation="relu"), np.full((1, 784), 255, dtype=np.uint8)
    image[0, 700:706:2] = 0
    network.weights[0][700:706:2], network.weights[0][701:706:2] = 5e35, -5e35
    network.weights[1][...] = 1
    return network, image


NETWORKS = {
    "float32": huge(),
    "float64": huge(dtype="float64", value=1e308),
    "tanh": huge(activation="tanh"),
    "largest": huge(value=float(np.finfo(np.float32).max)),
    "negative": huge(value=-3e38),
    "each weight is small": huge(value=1e13),
    "original": huge("original", "sigmoid"),
}


@pytest.mark.parametrize("members", [1, 2])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_file_whose_outputs_overflow_is_refused(name: str, members: int, tmp_path: Path) -> None:
    network, path = NETWORKS[name], tmp_path / "m.safetensors"
    sound = Network(network.sizes, rule=network.rule, activation=network.activation, dtype=network.dtype)
    model = Model((network, sound)[:members] if members == 1 else (sound, network), DIGITS)
    path.write_bytes(dump_model(model))
    with pytest.raises(ModelError, match=f"^{path}: the network's {REFUSED}$"):
        load_model(path)
    with pytest.raises(ModelError, match=f"^{path}: not written, since the network's {REFUSED}$"):
        save_model(model, path)
    for predict in (model.outputs, model.predict, model.predict_proba):
        with pytest.raises(ModelError, match=REFUSED):
            predict(IMAGES)


def test_a_file_of_the_first_format_is_refused(tmp_path: Path) -> None:
    shape = {"sizes": [784, 10], "rule": "backprop", "activation": "sigmoid", "dtype": "float32"}
    head = {"format": 1, "networks": [shape], "classes": DIGITS, "inputs": "ink", "normalise": False, "info": {}}
    tensors = {
        "layers.0.weight": np.full((784, 10), 3e38, np.float32),
        "layers.0.bias": np.zeros(10, np.float32),
    }
    path = tmp_path / "m.safetensors"
    path.write_bytes(safetensors.numpy.save(tensors, {"fastnn": json.dumps(head)}))
    with pytest.raises(ModelError, match=f"^{path}: .*{REFUSED}$"):
        load_model(path)


@pytest.mark.parametrize("command", ["predict", "import"])
def test_a_file_of_the_original_is_refused(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    sizes = {"input_nodes": 784, "hidden_nodes": 2, "output_nodes": 10}
    shapes = {"weights_ih": (2, 784), "weights_ho": (10, 2), "bias_h": (2, 1), "bias_o": (10, 1)}
    matrices = {key: {"rows": n, "cols": m, "data": [[1e308] * m] * n} for key, (n, m) in shapes.items()}
    # Infinities of both signs.
    matrices["weights_ih"]["data"] = [[1e308, -1e308] * 392] * 2
    (tmp_path / "NN.json").write_text(json.dumps(sizes | matrices))
    (tmp_path / "7.png").write_bytes(png(seven()))
    result = invoke([command, "NN.json", "7.png" if command == "predict" else "m.safetensors"])
    assert result.exit_code == 2
    assert result.stderr.startswith("fastnn: NN.json: the network's weights are so large")
    assert len(result.stderr.splitlines()) <= 2


@pytest.mark.parametrize("json_option", [[], ["--json"]])
def test_commands_refuse_in_one_line(json_option: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    network, image = overflowing_for_one_image()
    bad, late = tmp_path / "bad.safetensors", tmp_path / "late.safetensors"
    bad.write_bytes(dump_model(Model((huge(),), DIGITS)))
    save_model(Model((network,), DIGITS, invert=True), late)
    (tmp_path / "one.json").write_text(json.dumps(image[0].tolist()))
    np.savez("data.npz", images=np.repeat(image, 20, axis=0), labels=np.arange(20) % 10)
    for path in (bad, late):
        for arguments in (["predict", path.name, "one.json"], ["evaluate", path.name, "--data", "data.npz"]):
            result = invoke([*arguments, *json_option])
            assert (result.exit_code, result.stdout) == (2, "")
            assert " ".join(result.stderr.split()) == f"fastnn: {path.name}: the network's {REFUSED}"


def test_an_image_whose_sums_overflow_raises_an_error() -> None:
    network, image = overflowing_for_one_image()
    model = Model((network,), DIGITS, invert=True)
    model.check_outputs()
    assert np.isfinite(model.predict_proba(IMAGES)).all()
    for images in (image, np.concatenate([np.repeat(IMAGES, 300, axis=0), image])):  # in one thread and in several
        with pytest.raises(ModelError, match=REFUSED):
            model.predict(images)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_predict_nothing(value: float, tmp_path: Path) -> None:
    network = Network((784, 5, 10)).initialise()
    network.weights[0][3, 2] = value
    model = Model((network,), DIGITS)
    with pytest.raises(ModelError, match="weights hold NaN or infinity"):
        model.check_outputs()
    with pytest.raises(ModelError, match="not written, since the network's weights hold NaN or infinity"):
        save_model(model, tmp_path / "m.safetensors")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("value", [np.nan, 3e38])
def test_outputs_in_numpy_are_finite(value: float) -> None:
    network = huge(value=value)
    with pytest.raises(ModelError, match="not finite"):
        network.outputs(np.full((1, 784), 0.5))
    with pytest.raises(ModelError, match="not finite"):
        Network((784, 10), rule="backprop").outputs(np.full((1, 784), np.inf))


@pytest.mark.parametrize("n_layers", [1, 5, 40])
def test_deep_networks_are_accepted(n_layers: int, tmp_path: Path) -> None:
    network = deep(n_layers)
    assert network.cannot_overflow() == (n_layers < 40)
    path = tmp_path / "m.safetensors"
    save_model(Model((network,), DIGITS), path)
    np.testing.assert_allclose(load_model(path).predict_proba(IMAGES), network.outputs(IMAGES / 255), rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu"])
def test_networks_within_the_bound_never_overflow(activation: Any, dtype: str) -> None:
    """At the bound the signs are chosen such that sums of any part of the weights are as large as possible."""
    network = Network((48, 33, 10), rule="backprop", activation=activation, dtype=dtype)
    largest = float(np.finfo(dtype).max) / 1025
    top = largest / 49 if activation != "relu" else (largest / 34 / 49) ** 0.5
    signs = np.random.default_rng(1)
    for part in (*network.weights, *network.biases):
        part[...] = signs.choice([-top, top], part.shape)
        part[..., :3], part[..., 3:6] = top, -top
    assert network.cannot_overflow()
    images = signs.choice(np.array([0, 255], dtype=np.uint8), (50, 48))
    images[0], images[1] = 0, 255
    for invert in (False, True):
        assert np.isfinite(Model((network,), DIGITS, invert).predict_proba(images)).all()


@pytest.mark.parametrize("averaging", ["none", "ema"])
def test_training_to_weights_that_overflow_is_divergence(averaging: Any) -> None:
    """The images use no weight of the first layer, so that the loss is finite; others would."""
    data, recipe = blobs(10), Recipe(hidden=(8,), rule="backprop", activation="relu", invert=True, epochs=1)
    network = recipe.network(784, 10)
    network.weights[0][...] = np.finfo(np.float32).max
    blank = Dataset(np.full((10, 784), 255, dtype=np.uint8), data.labels, data.classes, "blank")
    with pytest.raises(TrainingError, match="diverged in epoch 1"):
        list(train(network, blank, recipe.replace(averaging=averaging)))
