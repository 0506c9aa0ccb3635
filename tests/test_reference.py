"""The plain-Python rules: equal to the original's JavaScript, and to numerical gradients."""

from __future__ import annotations

import copy
import itertools
import json
import math
import random
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from fastnn.errors import FastnnError
from fastnn.reference import Matrix, ReferenceNetwork, sigmoid

if TYPE_CHECKING:
    from collections.abc import Callable

PARITY = json.loads((Path(__file__).parent / "fixtures" / "parity.json").read_text())
WEIGHTS = ("weights_ih1", "weights_h1h2", "weights_h2o")
BIASES = ("bias_h1", "bias_h2", "bias_o")


def parity_network() -> ReferenceNetwork:
    """Return the initial state of the small network whose training by the original's JavaScript was recorded."""
    initial = PARITY["initial"]
    weights = [[list(column) for column in zip(*initial[name], strict=True)] for name in WEIGHTS]
    biases = [[value for (value,) in initial[name]] for name in BIASES]
    return ReferenceNetwork(PARITY["sizes"], weights, biases)


def train_parity(network: ReferenceNetwork, calls: int) -> None:
    for image, label in zip(PARITY["images"][:calls], PARITY["labels"][:calls], strict=True):
        network.train([value / 255 for value in image], label, PARITY["learning_rate"])


def first_outputs(network: ReferenceNetwork) -> list[list[float]]:
    return [network.predict([value / 255 for value in image]) for image in PARITY["images"][:5]]


@pytest.mark.parametrize("calls", [1, 2, 10, 50, 200])
def test_the_original_rule_follows_the_javascript_call_by_call(calls: int) -> None:
    network = parity_network()
    train_parity(network, calls)
    recorded = PARITY["after"][str(calls)]
    for name, weights in zip(WEIGHTS, network.weights, strict=True):
        np.testing.assert_allclose(np.array(weights).T, recorded[name], rtol=0, atol=1e-12, err_msg=name)
    for name, biases in zip(BIASES, network.biases, strict=True):
        np.testing.assert_allclose(np.array(biases)[:, None], recorded[name], rtol=0, atol=1e-12, err_msg=name)


def test_outputs_equal_the_javascript_before_and_after_training() -> None:
    network = parity_network()
    np.testing.assert_allclose(first_outputs(network), PARITY["forward_initial"], rtol=0, atol=1e-12)
    train_parity(network, 200)
    np.testing.assert_allclose(first_outputs(network), PARITY["forward_final"], rtol=0, atol=1e-12)


def random_parameters(sizes: tuple[int, ...], seed: int) -> tuple[list, list]:
    rng = random.Random(seed)
    shapes = list(itertools.pairwise(sizes))
    weights = [[[rng.uniform(-1, 1) for _ in range(m)] for _ in range(n)] for n, m in shapes]
    return weights, [[rng.uniform(-1, 1) for _ in range(m)] for _, m in shapes]


def numeric_gradients(loss: Callable[[], float], lists: list, step: float = 1e-5) -> list:
    """Return the central differences of `loss` by every number in the nested `lists`, which `loss` reads."""
    result = []
    for index, entry in enumerate(lists):
        if isinstance(entry, list):
            result.append(numeric_gradients(loss, entry, step))
            continue
        losses = []
        for shifted in (entry + step, entry - step):
            lists[index] = shifted
            losses.append(loss())
        lists[index] = entry
        result.append((losses[0] - losses[1]) / (2 * step))
    return result


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("sizes", [(6, 4), (6, 5, 4), (6, 5, 4, 3)])
@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu"])
def test_backprop_gradients_equal_central_differences(
    activation: str, sizes: tuple[int, ...], smoothing: float
) -> None:
    weights, biases = random_parameters(sizes, seed=6)
    inputs = [0.9, 0.0, 0.35, -0.6, 0.1, 1.0]

    def network() -> ReferenceNetwork:
        return ReferenceNetwork(sizes, weights, biases, "backprop", activation, smoothing)

    def loss() -> float:
        return network().loss(inputs, 1)

    if activation == "relu":  # differences across the kink are not derivatives: no sum may be near 0
        values = np.array(inputs)
        for matrix, bias in zip(weights[:-1], biases[:-1], strict=True):
            sums = values @ np.array(matrix) + bias
            assert np.abs(sums).min() > 1e-3
            values = np.maximum(sums, 0)
    analytic = network().gradients(inputs, 1)
    for exact, lists in zip(analytic, (weights, biases), strict=True):
        for layer, numeric in zip(exact, numeric_gradients(loss, lists), strict=True):
            difference = np.linalg.norm(np.subtract(layer, numeric))
            assert difference / np.linalg.norm(layer) < 1e-6


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu"])
def test_a_backprop_step_uses_the_gradient_before_the_step(activation: str) -> None:
    sizes = (4, 5, 4, 3)
    weights, biases = random_parameters(sizes, seed=1)
    network = ReferenceNetwork(sizes, weights, biases, "backprop", activation)
    inputs = [0.2, 0.8, 0.0, 0.5]
    dw, db = network.gradients(inputs, 2)
    before = network.loss(inputs, 2)
    network.train(inputs, 2, 0.05)
    for new, old, gradient in zip(network.weights, weights, dw, strict=True):
        np.testing.assert_allclose(new, np.array(old) - 0.05 * np.array(gradient), atol=1e-15)
    for new, old, gradient in zip(network.biases, biases, db, strict=True):
        np.testing.assert_allclose(new, np.array(old) - 0.05 * np.array(gradient), atol=1e-15)
    assert network.loss(inputs, 2) < before


def test_a_step_of_the_original_rule_by_hand() -> None:
    """With one unit per layer: the hidden step uses the raw error and the already updated output weight."""
    x, w1, b1, w2, b2, lr = 0.7, 0.3, -0.2, 0.9, 0.1, 0.5
    h = 1 / (1 + math.exp(-(w1 * x + b1)))
    o = 1 / (1 + math.exp(-(w2 * h + b2)))
    error = 1 - o
    g2 = lr * error * o * (1 - o)
    g1 = lr * (w2 + g2 * h) * error * h * (1 - h)
    network = ReferenceNetwork((1, 1, 1), [[[w1]], [[w2]]], [[b1], [b2]])
    network.train([x], 0, lr)
    assert network.weights == [[[pytest.approx(w1 + g1 * x)]], [[pytest.approx(w2 + g2 * h)]]]
    assert network.biases == [[pytest.approx(b1 + g1)], [pytest.approx(b2 + g2)]]


@pytest.mark.parametrize(
    ("rule", "sizes"), [("original", (3, 4)), ("original", (3, 4, 3, 2, 2)), ("backprop", (3, 4, 2))]
)
def test_networks_of_any_depth_learn_a_sample(rule: str, sizes: tuple[int, ...]) -> None:
    network = ReferenceNetwork(sizes, *random_parameters(sizes, seed=0), rule)
    inputs, target = [0.1, 0.9, 0.4], 1
    before = network.loss(inputs, target)
    for _ in range(50):
        network.train(inputs, target, 0.3)
    assert network.loss(inputs, target) < before / 2
    assert max(range(sizes[-1]), key=network.predict(inputs).__getitem__) == target


def test_backprop_outputs_are_probabilities_even_for_large_sums() -> None:
    network = ReferenceNetwork((1, 3), [[[2000.0, 1000.0, -2000.0]]], [[0.0, 0.0, 0.0]], "backprop")
    assert network.predict([1.0]) == [1.0, 0.0, 0.0]
    assert network.predict([0.0]) == [pytest.approx(1 / 3)] * 3


def test_sigmoid_of_large_arguments() -> None:
    assert [sigmoid(-1e9), sigmoid(0.0), sigmoid(1e9)] == [0.0, 0.5, 1.0]


def test_lists_and_arrays_are_copied() -> None:
    sizes = (2, 3, 2)
    lists = random_parameters(sizes, seed=0)
    before = copy.deepcopy(lists)
    arrays = [[np.array(entry) for entry in part] for part in lists]
    networks = [
        ReferenceNetwork(sizes, *lists),
        ReferenceNetwork.from_arrays(*arrays),
        ReferenceNetwork.from_network(
            SimpleNamespace(
                weights=arrays[0], biases=arrays[1], rule="original", activation="sigmoid", output="sigmoid"
            )
        ),
    ]
    for network in networks:
        assert (network.weights, network.biases) == before
        network.train([0.5, 1.0], 0, 0.5)
        assert network.weights != before[0]
    assert lists == before
    assert [[entry.tolist() for entry in part] for part in arrays] == list(before)
    assert networks[0].weights == networks[1].weights == networks[2].weights


def test_matrix_product_and_transpose() -> None:
    a = Matrix.from_lists([[1, 2, 3], [4, 5, 6]])
    assert Matrix.transpose(a).data == [[1, 4], [2, 5], [3, 6]]
    assert Matrix.multiply(a, Matrix.transpose(a)).data == [[14, 32], [32, 77]]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"rule": "hebb"}, "unknown rule 'hebb'"),
        ({"rule": "backprop", "activation": "gelu"}, "activation 'gelu'"),
        ({"activation": "relu"}, "rule original has no activation 'relu'"),
        ({"sizes": (3, 2)}, "do not fit the layer sizes"),
        ({"sizes": (2, 2, 2)}, "do not fit the layer sizes"),
        ({"weights": [[[1.0, 2.0], [3.0]]]}, "do not fit the layer sizes"),
        ({"biases": [[0.0]]}, "do not fit the layer sizes"),
    ],
)
def test_inconsistent_networks_are_refused(changed: dict[str, object], message: str) -> None:
    options = {"sizes": (2, 2), "weights": [[[1.0, 2.0], [3.0, 4.0]]], "biases": [[0.0, 0.0]]} | changed
    with pytest.raises(FastnnError, match=message):
        ReferenceNetwork(**options)  # type: ignore[arg-type]
