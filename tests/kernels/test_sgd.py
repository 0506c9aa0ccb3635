"""The compiled rules: equal to plain Python, to the original's JavaScript and to numerical gradients."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fastnn.engine import Engine, StepOptions, kernel_for, run_images
from fastnn.errors import DataError
from fastnn.inputs import ImageInput, density
from fastnn.kernels.workspace import LAYER, NARROW, arguments_dtype, workspace_dtype
from fastnn.model import as_inputs
from fastnn.network import Network
from fastnn.reference import ReferenceNetwork
from tests.helpers import needs_jit, run_python
from tests.kernels import plain

if TYPE_CHECKING:
    from collections.abc import Callable

PARITY = json.loads((Path(__file__).parents[1] / "fixtures" / "parity.json").read_text())
WEIGHTS = ("weights_ih1", "weights_h1h2", "weights_h2o")
BIASES = ("bias_h1", "bias_h2", "bias_o")
STEPS = 40

# Both are compared with float64 arithmetic in another order. float64: the rounding errors of 40 steps, 1e-16 each,
# which the rules amplify by less than 10. float32: the same with rounding errors of 6e-8 in sums of up to 130 terms:
# 40 * 6e-8 * 10 = 2.4e-5 if all of them have the same sign.
TOLERANCE = {"float64": 1e-12, "float32": 2.5e-5}


@dataclass(frozen=True)
class Case:
    sizes: tuple[int, ...]
    rule: str = "original"
    activation: str = "sigmoid"
    invert: bool = False
    first_layer: str = "sparse"
    smoothing: float = 0.0
    weighted: bool = False
    lr: float = 0.2
    shift: float = 0.0  # of the biases

    def __str__(self) -> str:
        sizes = "-".join(map(str, self.sizes))
        parts = [
            self.rule,
            self.activation,
            sizes,
            self.first_layer,
            "inverted" if self.invert else "plain",
            f"s{self.smoothing}",
        ]
        return "_".join([*parts, "weighted" * self.weighted, f"b{self.shift}"])

    def network(self, dtype: str = "float64") -> Network:
        rule: Any = self.rule
        activation: Any = self.activation
        network = Network(self.sizes, rule=rule, activation=activation, dtype=dtype)
        network.initialise("uniform" if self.rule == "original" else "xavier", seed=5)
        for bias in network.biases[:-1]:
            np.add(bias, self.shift, out=bias)
        return network

    def pixels(self, n: int = STEPS) -> np.ndarray:
        """Return images with half of the pixels white, some black, the rest grey; the last image is blank."""
        rng = np.random.default_rng(8)
        images = rng.integers(0, 256, (n, self.sizes[0]), dtype=np.uint8)
        images[rng.random(images.shape) < 0.5] = 255
        images[rng.random(images.shape) < 0.1] = 0
        images[-1] = 255
        return images

    def labels(self, n: int = STEPS) -> np.ndarray:
        return np.random.default_rng(9).integers(0, self.sizes[-1], n)


# Sizes below, at and above multiples of a vector of 16 (float32) or 8 (float64) numbers, with tiles of each width;
# 0 to 4 hidden layers.
CASES = [
    Case((9, 3)),
    Case((16, 17, 3)),
    Case((30, 65, 16, 4)),
    Case((7, 130, 10), weighted=True),
    Case((12, 3, 17, 33, 5, 4), first_layer="dense"),
    Case((20, 16, 5), invert=True),
    Case((20, 40, 5), invert=True, first_layer="dense", weighted=True),
    Case((9, 3), rule="backprop", smoothing=0.1),
    Case((16, 17, 3), rule="backprop", activation="tanh"),
    Case((30, 65, 16, 4), rule="backprop", activation="relu", smoothing=0.05),
    Case((7, 130, 10), rule="backprop", activation="relu", weighted=True, invert=True),
    Case((12, 3, 17, 33, 5, 4), rule="backprop", activation="tanh", first_layer="dense"),
    Case((12, 33, 17, 16, 5, 4), rule="backprop", activation="relu", first_layer="dense", invert=True),
    Case((20, 65, 5), rule="backprop", invert=True, smoothing=0.2, weighted=True),
    # Tiles of 4 + 3 + 3 + 3 vectors of 16 numbers.
    Case((12, 9, 205, 4), rule="backprop", activation="relu"),
    # With ReLU all units of the first hidden layer are inactive, for some samples or for all.
    Case((16, 17, 8, 3), rule="backprop", activation="relu", shift=-1.5),
    Case((16, 17, 8, 3), rule="backprop", activation="relu", shift=-9.0),
]


class Spy:
    """Calls a kernel, and stores the address of its argument block."""

    def __init__(self, network: Network, kernel: Callable[[int], Any] | None = None) -> None:
        self.kernel = kernel or kernel_for(network.dtype.name, network.loss, network.activation).run
        self.dtype, self.address = network.dtype, 0

    def __call__(self, address: int) -> None:
        self.address = address
        self.kernel(address)

    def workspace(self) -> tuple[plain.Record, list[plain.Record]]:
        """Return the workspace and its layers."""
        arguments = plain.record_at(self.address, arguments_dtype(self.dtype))
        ws = plain.record_at(arguments.workspace, workspace_dtype(self.dtype))
        return ws, [plain.record_at(ws.layers + depth * LAYER.itemsize, LAYER) for depth in range(ws.n_layers)]


def train(
    network: Network, case: Case, n: int = STEPS, *, chunks: int = 1, kernel: Callable[[int], Any] | None = None
) -> np.ndarray:
    """Train on n samples in order; return the totals."""
    spy, totals = Spy(network, kernel), np.zeros(2)
    engine = Engine(network, spy)
    data = ImageInput(case.pixels(), case.invert, case.first_layer)
    weights = sample_weights(network.dtype) if case.weighted else None
    engine.load_weights(data)
    for order in np.array_split(np.arange(n), chunks):
        engine.train(
            data, case.labels(), order, case.lr, totals, weights=weights, options=StepOptions(smoothing=case.smoothing)
        )
    engine.store_weights()
    if network.is_finite():
        assert_padding_of_the_workspace_is_zero(network, spy)
    return totals


def assert_padding_of_the_workspace_is_zero(network: Network, spy: Spy) -> None:
    """Check the padding of weights, to whole vectors and groups of four rows, and of biases."""
    ws, layers = spy.workspace()
    for depth, layer in enumerate(layers):
        transposed = depth > 0 and (network.activation != "relu" or layer.n_outputs <= NARROW)
        used = (layer.n_outputs, layer.n_inputs) if transposed else (layer.n_inputs, layer.n_outputs)
        rows = -(-layer.n_outputs // 4) * 4 if transposed else layer.n_inputs
        weights = plain.float_pointer(ws, layer.weights).numbers[: rows * layer.stride].reshape(rows, layer.stride)
        assert not weights[used[0] :].any()
        assert not weights[:, used[1] :].any()
        biases = plain.float_pointer(ws, layer.biases)
        width = layer.n_vectors * plain.floats_per_vector(biases)
        assert not biases.numbers[layer.n_outputs : width].any()


def sample_weights(dtype: Any) -> np.ndarray:
    return np.random.default_rng(10).uniform(0.0, 2.0, STEPS).astype(dtype)


def assert_same_parameters(network: Network, reference: ReferenceNetwork, tolerance: float) -> None:
    for layer in range(len(network.weights)):
        np.testing.assert_allclose(network.weights[layer], reference.weights[layer], rtol=0, atol=tolerance)
        np.testing.assert_allclose(network.biases[layer], reference.biases[layer], rtol=0, atol=tolerance)


def assert_padding_is_zero(network: Network) -> None:
    padding = network.copy()
    for view in (*padding.weights, *padding.biases):
        view[...] = 0
    assert not padding.parameters.any()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_training_equals_the_plain_rule(case: Case, dtype: str) -> None:
    network = case.network(dtype)
    reference = ReferenceNetwork.from_network(network, label_smoothing=case.smoothing)
    weights = sample_weights(dtype).tolist() if case.weighted else [1.0] * STEPS
    loss, hits = 0.0, 0
    xs = as_inputs(case.pixels(), case.invert, np.dtype("float64")).tolist()
    for x, label, weight in zip(xs, case.labels(), weights, strict=True):
        outputs = reference.predict(x)
        hits += max(range(len(outputs)), key=outputs.__getitem__) == label
        errors = [(k == label) - output for k, output in enumerate(outputs)]
        loss += sum(error**2 for error in errors) if case.rule == "original" else -np.log(outputs[label])
        reference.train(x, int(label), case.lr * weight)
    before = network.parameters.copy()
    totals = train(network, case)
    assert_same_parameters(network, reference, TOLERANCE[dtype])
    assert_padding_is_zero(network)
    assert totals[0] == pytest.approx(loss, rel=TOLERANCE[dtype])
    assert totals[1] == hits
    # Training changes the weights by far more than the tolerance.
    assert np.abs(network.parameters - before).max() > 1000 * TOLERANCE[dtype]


def zero_sum_images(kind: str, n_inputs: int) -> np.ndarray:
    """Return images that are black, black except for a few pixels, or a mixture of these and usual ones."""
    rng = np.random.default_rng(11)
    images = np.zeros((STEPS, n_inputs), dtype=np.uint8)
    if kind != "black":
        few = rng.random(images.shape) < 3 / n_inputs
        images[few] = rng.integers(1, 256, int(few.sum()))
    if kind == "mixed":
        white, usual = rng.random((STEPS, 1)) < 0.4, rng.random(STEPS) < 0.3
        images[white & (rng.random(images.shape) < 0.5)] = 255
        images[usual] = Case((n_inputs, 3)).pixels()[: int(usual.sum())]
        images[::7] = 0
    return images


def network_of_zero_sums(n_inputs: int, dtype: Any, *, cancel: bool) -> Network:
    """Return a network in which many sums of the first layer are 0, since the weights are 0 or cancel each other."""
    rng = np.random.default_rng(12)
    network = Network((n_inputs, 37, 9, 3), rule="backprop", activation="relu", dtype=dtype).initialise("xavier", 5)
    weights = network.weights[0]
    weights[rng.random(weights.shape) < 0.4] = 0
    weights[: n_inputs // 2, 10:20] = 0
    if cancel:
        weights[1::2, 20:25] = -weights[: n_inputs - 1 : 2, 20:25]
        weights[:, 25:30] = rng.integers(-1, 2, (n_inputs, 5))
        network.biases[0][27:30] = -3
    return network


def assert_trains_like_the_plain_rule(
    network: Network, images: np.ndarray, order: list[int], *, invert: bool, first_layer: str
) -> None:
    labels, engine, data = np.arange(STEPS) % 3, Engine(network.copy()), ImageInput(images, invert, first_layer)
    reference = ReferenceNetwork.from_network(network)
    engine.load_weights(data)
    engine.train(data, labels, np.array(order), 0.2, np.zeros(2))
    engine.store_weights()
    inputs = as_inputs(images, invert, np.dtype("float64"))
    for k in order:
        reference.train(inputs[k].tolist(), int(labels[k]), 0.2)
    assert_same_parameters(engine.network, reference, TOLERANCE[network.dtype.name])


@pytest.mark.parametrize(("invert", "first_layer"), [(False, "sparse"), (False, "dense"), (True, "sparse")])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("kind", ["black", "few", "mixed"])
def test_units_whose_sum_is_zero_do_not_learn(kind: str, dtype: str, invert: bool, first_layer: str) -> None:
    """ReLU's slope is 0 at 0: if a sum of 0 comes out as a rounding error, a unit learns that is inactive."""
    images, sparse = zero_sum_images(kind, 50), first_layer == "sparse" and not invert
    network = network_of_zero_sums(50, dtype, cancel=sparse)
    inputs = as_inputs(images, invert, np.dtype("float64"))
    sums = inputs @ network.weights[0].astype("float64") + network.biases[0]
    assert invert or (sums == 0).mean() > 0.1
    for k in range(STEPS):
        assert_trains_like_the_plain_rule(network, images, [k], invert=invert, first_layer=first_layer)
    assert_trains_like_the_plain_rule(network, images, list(range(STEPS)), invert=invert, first_layer=first_layer)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_outputs_equal_those_of_numpy(case: Case, dtype: str) -> None:
    network = case.network(dtype)
    outputs = run_images(Engine(network), case.pixels(), case.invert, case.first_layer)
    expected = network.outputs(as_inputs(case.pixels(), case.invert, network.dtype))
    assert outputs.dtype == expected.dtype == dtype
    np.testing.assert_allclose(outputs, expected, rtol=0, atol=1e-14 if dtype == "float64" else 5e-6)
    if case.rule == "backprop":
        np.testing.assert_allclose(outputs.sum(axis=1), 1, rtol=0, atol=1e-14 if dtype == "float64" else 1e-6)


@pytest.mark.parametrize("calls", [1, 2, 10, 50])
def test_the_original_rule_in_float64_follows_the_original_javascript(calls: int) -> None:
    initial, recorded = PARITY["initial"], PARITY["after"][str(calls)]
    network = Network(PARITY["sizes"], dtype="float64")
    for layer, (weight, bias) in enumerate(zip(WEIGHTS, BIASES, strict=True)):
        network.weights[layer][...] = np.array(initial[weight]).T
        network.biases[layer][...] = np.array(initial[bias])[:, 0]
    engine = Engine(network)
    data = ImageInput(np.array(PARITY["images"], dtype=np.uint8), False, "sparse")
    engine.load_weights(data)
    engine.train(data, np.array(PARITY["labels"]), np.arange(calls), PARITY["learning_rate"], np.zeros(2))
    engine.store_weights()
    for layer, (weight, bias) in enumerate(zip(WEIGHTS, BIASES, strict=True)):
        np.testing.assert_allclose(network.weights[layer].T, recorded[weight], rtol=0, atol=1e-10)
        np.testing.assert_allclose(network.biases[layer], np.array(recorded[bias])[:, 0], rtol=0, atol=1e-10)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("sizes", [(6, 4), (6, 9, 4), (6, 5, 9, 3)])
@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu"])
def test_backprop_steps_down_the_gradient(activation: str, sizes: tuple[int, ...], smoothing: float) -> None:
    """A step with a learning rate of 1 is minus the gradient, here from central differences of the compiled outputs."""
    case = Case(sizes, "backprop", activation, smoothing=smoothing)
    network = case.network()
    for bias in network.biases:  # moves the sums away from ReLU's kink, where differences are not derivatives
        np.add(bias, np.linspace(0.1, 0.4, len(bias)), out=bias)
    image = np.array([[25, 255, 0, 100, 200, 255]], dtype=np.uint8)
    targets = np.full(sizes[-1], smoothing / sizes[-1])
    targets[1] += 1 - smoothing

    def loss(parameters: np.ndarray) -> float:
        shifted = network.copy()
        shifted.parameters[...] = parameters
        return float(-targets @ np.log(run_images(Engine(shifted), image, False, "sparse")[0]))

    gradient = np.zeros_like(network.parameters)
    for k in np.flatnonzero(network.parameters):
        step = np.zeros_like(gradient)
        step[k] = 1e-5
        gradient[k] = (loss(network.parameters + step) - loss(network.parameters - step)) / 2e-5
    trained = network.copy()
    engine = Engine(trained)
    data = ImageInput(image, False, "sparse")
    engine.load_weights(data)
    engine.train(data, np.array([1]), np.array([0]), 1.0, np.zeros(2), options=StepOptions(smoothing=smoothing))
    engine.store_weights()
    descent = network.parameters - trained.parameters
    assert np.linalg.norm(gradient) > 0.1
    assert np.linalg.norm(descent - gradient) / np.linalg.norm(gradient) < 1e-6


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_sparse_and_dense_first_layers_train_the_same_weights(dtype: str) -> None:
    for rule, invert in product(("original", "backprop"), (False, True)):
        case = Case((30, 17, 4), rule, invert=invert)
        networks = [case.network(dtype), case.network(dtype)]
        for network, first_layer in zip(networks, ("sparse", "dense"), strict=True):
            train(network, replace(case, first_layer=first_layer))
        for sparse, dense in zip(networks[0].weights, networks[1].weights, strict=True):
            np.testing.assert_allclose(sparse, dense, rtol=0, atol=TOLERANCE[dtype])


@pytest.mark.parametrize("hidden", [1, 16, 200, 3000])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_baseline_is_summed_row_by_row(hidden: int, dtype: str) -> None:
    """The order in which NumPy sums may depend on the processor."""
    network = Network((784, hidden, 10), dtype=dtype).initialise("he", 3)
    white, expected = np.full((1, 784), 255, dtype=np.uint8), network.biases[0].copy()
    for row in network.weights[0]:
        expected += row
    spy = Spy(network, id)  # a kernel that does nothing
    engine = Engine(network, spy)
    for invert, folded in ((False, expected), (True, network.biases[0])):
        data = ImageInput(white, invert, "sparse")
        engine.load_weights(data)
        engine.outputs(data)
        ws, _ = spy.workspace()
        assert np.array_equal(plain.float_pointer(ws, ws.folded_bias).numbers[:hidden], folded)


@pytest.mark.parametrize(("dtype", "low"), [("float64", -708), ("float32", -87)])
def test_softmax_of_sums_below_the_range_of_exp(dtype: str, low: float) -> None:
    """The padding of the last vector holds zeros, which must not count as the largest sum."""
    case = Case((6, 3), rule="backprop")
    network = case.network(dtype)
    network.weights[0][...] = 0
    network.biases[0][...] = [low - 1, low - 3, low - 2]
    expected = np.exp([2.0, 0.0, 1.0]) / np.exp([2.0, 0.0, 1.0]).sum()
    outputs = run_images(Engine(network), case.pixels(), case.invert, case.first_layer)
    np.testing.assert_allclose(outputs, np.tile(expected, (STEPS, 1)), rtol=0, atol=TOLERANCE[dtype])
    reference = ReferenceNetwork.from_network(network)
    for x, label in zip((case.pixels() / 255).tolist(), case.labels().tolist(), strict=True):
        reference.train(x, label, case.lr)
    train(network, case)
    # A sum of this size is rounded more.
    assert_same_parameters(network, reference, 100 * TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("case", [CASES[2], CASES[9]], ids=str)
def test_an_epoch_in_chunks_equals_a_whole_epoch(case: Case, dtype: str) -> None:
    """Rounding depends on where a call ends; fastnn always divides an epoch at the same places."""
    whole, pieces, again = (case.network(dtype) for _ in range(3))
    totals = [train(whole, case), train(pieces, case, chunks=7), train(again, case, chunks=7)]
    for one, other in zip(whole.weights + whole.biases, pieces.weights + pieces.biases, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=TOLERANCE[dtype])
    assert pieces.sha256() == again.sha256()
    assert totals[1].tolist() == totals[2].tolist()
    assert totals[0] == pytest.approx(totals[1], rel=TOLERANCE[dtype])


@pytest.mark.parametrize("n", range(1, 10))
def test_any_number_of_samples_may_be_trained_on(n: int) -> None:
    """The kernel trains on blocks of samples; the last block may be smaller."""
    case = CASES[2]
    network = case.network()
    reference = ReferenceNetwork.from_network(network)
    for x, label in zip((case.pixels()[:n] / 255).tolist(), case.labels().tolist(), strict=False):
        reference.train(x, label, case.lr)
    train(network, case, n)
    assert_same_parameters(network, reference, 1e-13)


def test_training_arguments_may_change_between_calls() -> None:
    case = replace(CASES[2], invert=True)
    network = case.network("float32")
    data = ImageInput(case.pixels(), case.invert, case.first_layer)
    others = ImageInput(255 - case.pixels(), case.invert, case.first_layer)
    labels, totals = case.labels(), np.zeros(2)
    calls: list[dict[str, Any]] = [
        {},
        {},
        {"learning_rate": 0.3},
        {"targets": labels[::-1].copy()},
        {"data": others},
        {"options": StepOptions(smoothing=0.1)},
        {"weights": sample_weights(network.dtype)},
        {"totals": np.zeros(2)},
        {},
    ]
    usual = {"data": data, "targets": labels, "order": np.arange(STEPS), "learning_rate": case.lr, "totals": totals}
    engine, reloaded = Engine(network.copy()), network.copy()
    engine.load_weights(data)
    found = []
    for each in (*calls, *calls[::-1]):
        engine.train(**{**usual, **each})
        before = totals.copy()
        # Without a column offset, storing and loading weights rounds nothing.
        other = Engine(reloaded)
        other.load_weights(data)
        other.train(**{**usual, **each})
        other.store_weights()
        np.testing.assert_array_equal(totals - before, before - (found[-1] if found else 0))
        found.append(totals.copy())
    engine.store_weights()
    assert engine.network.sha256() == reloaded.sha256() != network.sha256()


def test_a_sample_may_repeat_within_a_block() -> None:
    case = CASES[2]
    network = case.network()
    reference = ReferenceNetwork.from_network(network)
    order = np.array([3, 3, 3, 3, 5, 3, 5, 5, 5, 3])
    for k in order:
        reference.train((case.pixels()[k] / 255).tolist(), int(case.labels()[k]), case.lr)
    engine, data = Engine(network), ImageInput(case.pixels(), case.invert, case.first_layer)
    engine.load_weights(data)
    engine.train(data, case.labels(), order, case.lr, np.zeros(2))
    engine.store_weights()
    assert_same_parameters(network, reference, 1e-13)


def test_training_on_no_samples_changes_nothing() -> None:
    case = CASES[2]
    network = case.network("float32")
    assert train(network, case, n=0).tolist() == [0, 0]
    assert network.sha256() == case.network("float32").sha256()


def test_sample_weights_of_one_change_nothing() -> None:
    case = CASES[1]
    plain, weighted = case.network("float32"), case.network("float32")
    train(plain, case)
    engine = Engine(weighted)
    data = ImageInput(case.pixels(), False, case.first_layer)
    engine.load_weights(data)
    ones = np.ones(STEPS, dtype=np.float32)
    engine.train(data, case.labels(), np.arange(STEPS), case.lr, np.zeros(2), weights=ones)
    engine.store_weights()
    assert plain.sha256() == weighted.sha256()


def test_samples_of_weight_zero_change_nothing() -> None:
    case = CASES[1]
    network = case.network("float64")
    engine = Engine(network)
    data = ImageInput(case.pixels(), False, case.first_layer)
    engine.load_weights(data)
    engine.train(data, case.labels(), np.arange(STEPS), case.lr, np.zeros(2), weights=np.zeros(STEPS))
    engine.store_weights()
    assert network.sha256() == case.network("float64").sha256()


def test_equal_outputs_count_as_the_first_class_as_in_prediction() -> None:
    """A saturated network gives equal outputs, which must not count as correct for every label."""
    network = Network((4, 10), dtype="float64")
    engine = Engine(network)
    data = ImageInput(np.full((10, 4), 100, dtype=np.uint8), False, "sparse")
    totals = np.zeros(2)
    engine.load_weights(data)
    engine.train(data, np.arange(10), np.arange(10), 1e-300, totals)
    assert engine.outputs(data).argmax(axis=1).tolist() == [0] * 10
    assert totals[1] == 1


@needs_jit
@pytest.mark.parametrize("rule", ["original", "backprop"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_make_the_loss_not_finite(rule: str, value: float) -> None:
    case = Case((6, 5, 3), rule, "sigmoid" if rule == "original" else "relu")
    network = case.network("float32")
    network.weights[-1][:, :] = value
    if not np.isnan(value):
        network.weights[-1][::2] = -value  # sums of infinities of both signs
    assert not np.isfinite(train(network, case, n=3)[0])


@pytest.mark.parametrize(
    ("images", "first_layer", "chosen", "share"),
    [
        (np.full((4, 10), 255), "auto", "sparse", 0.0),
        (np.full((4, 10), 255), "dense", "dense", 0.0),
        (np.zeros((4, 10)), "auto", "dense", 1.0),
        (np.zeros((4, 10)), "sparse", "sparse", 1.0),
        (np.repeat([[0, 255], [255, 255]], 5, axis=1), "auto", "sparse", 0.25),
    ],
)
def test_the_share_of_pixels_that_are_not_white_selects_the_first_layer(
    images: np.ndarray, first_layer: str, chosen: str, share: float
) -> None:
    data = ImageInput(images.astype(np.uint8), False, first_layer)
    assert (data.first_layer, density(images)) == (chosen, share)


@pytest.mark.parametrize("invert", [False, True])
@pytest.mark.parametrize("first_layer", ["sparse", "dense"])
def test_blank_images_have_no_active_pixels_but_train(invert: bool, first_layer: str) -> None:
    case = Case((8, 5, 3))
    network, images = case.network(), np.full((3, 8), 255, dtype=np.uint8)
    reference = ReferenceNetwork.from_network(network)
    data, engine = ImageInput(images, invert, first_layer), Engine(network)
    engine.load_weights(data)
    engine.train(data, np.array([0, 1, 2]), np.arange(3), 0.5, np.zeros(2))
    engine.store_weights()
    for label in range(3):
        reference.train([0.0 if invert else 1.0] * 8, label, 0.5)
    assert_same_parameters(network, reference, 1e-14)


def test_images_of_another_size_are_refused() -> None:
    engine = Engine(Network((8, 3)))
    with pytest.raises(DataError, match="8 inputs, but the samples have 9"):
        engine.load_weights(ImageInput(np.zeros((1, 9), dtype=np.uint8), False))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"targets": np.zeros(40, np.int32)}, "labels.* int64, not int32"),
        ({"targets": np.zeros((40, 1), np.int64)}, r"labels.* int64, not int64 \(40, 1\)"),
        ({"totals": np.zeros(2, np.float32)}, "totals.* float64, not float32"),
        ({"weights": np.ones(40)}, "weights.* float32, not float64"),
        ({"order": np.arange(40, dtype=np.int32)}, "the order of samples must be int64, not int32"),
    ],
)
def test_arrays_of_another_type_are_refused(changes: dict[str, Any], message: str) -> None:
    case = CASES[1]
    network = case.network("float32")
    engine, data, totals = Engine(network, Spy(network)), ImageInput(case.pixels(), False), np.zeros(2)
    usual = {"data": data, "targets": case.labels(), "order": np.arange(40), "learning_rate": 0.1, "totals": totals}
    engine.load_weights(data)
    with pytest.raises(DataError, match=message):
        engine.train(**{**usual, **changes})
    assert not totals.any()


@pytest.mark.parametrize("fault", ["gaps", "type"])
def test_a_refused_call_does_not_change_the_next_one(fault: str) -> None:
    """Arguments of the refused call must not be used later."""
    case = CASES[1]
    networks = [case.network("float32"), case.network("float32")]
    data, others = (ImageInput(pixels, False, "sparse") for pixels in (case.pixels(), 255 - case.pixels()))
    for network, refused in zip(networks, (False, True), strict=True):
        engine, labels, totals = Engine(network), case.labels(), np.zeros(2)
        engine.load_weights(data)
        engine.train(data, labels, np.arange(20), case.lr, totals)
        if refused:
            wrong = np.repeat(totals, 2)[::2] if fault == "gaps" else totals.astype(np.float32)
            with pytest.raises((TypeError, DataError), match="totals"):
                engine.train(others, labels[::-1].copy(), np.arange(20), 2 * case.lr, wrong)
        engine.train(data, labels, np.arange(20, 40), case.lr, totals)
        engine.store_weights()
    assert networks[0].sha256() == networks[1].sha256()


@needs_jit
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("case", [CASES[1], CASES[5], CASES[9], CASES[11]], ids=str)
def test_the_compiled_kernel_equals_the_kernel_run_as_plain_python(case: Case, dtype: str) -> None:
    """Plain Python allows debugging, and measuring the coverage of these tests with NUMBA_DISABLE_JIT=1."""
    kind = "relu" if case.activation == "relu" else "sigmoid"
    kernel = plain.kernels("fastnn.kernels.sgd").run_samples(dtype, case.network().loss, kind)
    networks = [case.network(dtype), case.network(dtype)]
    totals = [train(networks[0], case), train(networks[1], case, kernel=kernel)]
    np.testing.assert_allclose(networks[0].parameters, networks[1].parameters, rtol=0, atol=TOLERANCE[dtype])
    assert totals[0] == pytest.approx(totals[1], rel=TOLERANCE[dtype])
    outputs = [
        run_images(Engine(networks[0], each), case.pixels(), case.invert, case.first_layer) for each in (None, kernel)
    ]
    np.testing.assert_allclose(*outputs, rtol=0, atol=TOLERANCE[dtype])


@needs_jit
def test_processors_with_wider_vectors_give_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    import numba

    from fastnn.kernels import first_layer, vector

    case, found = CASES[4], []
    own = vector.NATIVE, vector.NATIVE_PER_VECTOR
    for native, per_vector in ((vector.HALF, 2), (vector.ONE, 1)):
        if (native, per_vector) == own:  # it is compiled already
            network = case.network("float32")
            train(network, case)
            found.append(network.sha256())
            continue
        monkeypatch.setattr(first_layer, "NATIVE", native)
        monkeypatch.setattr(vector, "NATIVE", native)
        monkeypatch.setattr(vector, "NATIVE_PER_VECTOR", per_vector)
        spec = importlib.util.find_spec("fastnn.kernels.sgd")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        kernel = numba.njit(error_model="numpy")(module.run_samples("float32", case.network().loss, case.activation))
        network = case.network("float32")
        train(network, case, kernel=kernel)
        found.append(network.sha256())
    assert found[0] == found[1] != case.network("float32").sha256()


def test_nothing_is_compiled_on_import() -> None:
    code = """
import fastnn.kernels.sgd as sgd
compiled = [name for name, value in vars(sgd).items() if getattr(value, "signatures", None)]
assert not compiled, compiled
"""
    assert run_python(code).returncode == 0
