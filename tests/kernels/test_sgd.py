"""The compiled rules against the plain-Python ones, against the original's records, and against differences."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest

from fastnn.engine import Engine, KernelInput, run
from fastnn.errors import DataError
from fastnn.kernels import sgd, simd
from fastnn.kernels.layout import UNITS
from fastnn.model import as_inputs
from fastnn.network import Network
from fastnn.reference import ReferenceNetwork
from tests.helpers import ROOT, compiled_only, python

PARITY = json.loads((Path(__file__).parents[1] / "fixtures" / "parity.json").read_text())
WEIGHTS = ("weights_ih1", "weights_h1h2", "weights_h2o")
BIASES = ("bias_h1", "bias_h2", "bias_o")
STEPS = 40

# Both are compared with float64 arithmetic in another order. float64: 40 steps of roundings of 1e-16, grown by the
# rules' own instability, which is below 10 in 40 steps. float32: the same with roundings of 6e-8 in sums of up to 130
# terms: 40 * 6e-8 * 10 = 2.4e-5 where every rounding points the same way.
TOLERANCE = {"float64": 1e-12, "float32": 2.5e-5}


@dataclass(frozen=True)
class Case:
    sizes: tuple[int, ...]
    rule: str = "original"
    activation: str = "sigmoid"
    invert: bool = False
    kernel: str = "sparse"
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
            self.kernel,
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
        """Half paper, some full ink, the rest in between; the last one is blank."""
        rng = np.random.default_rng(8)
        images = rng.integers(0, 256, (n, self.sizes[0]), dtype=np.uint8)
        images[rng.random(images.shape) < 0.5] = 255
        images[rng.random(images.shape) < 0.1] = 0
        images[-1] = 255
        return images

    def labels(self, n: int = STEPS) -> np.ndarray:
        return np.random.default_rng(9).integers(0, self.sizes[-1], n)


# Sizes below, at and above one and several registers of 16 (float32) and 8 (float64) numbers, and of each width of
# the strips in which wide layers are worked through; 0 to 4 hidden layers.
CASES = [
    Case((9, 3)),
    Case((16, 17, 3)),
    Case((30, 65, 16, 4)),
    Case((7, 130, 10), weighted=True),
    Case((12, 3, 17, 33, 5, 4), kernel="dense"),
    Case((20, 16, 5), invert=True),
    Case((20, 40, 5), invert=True, kernel="dense", weighted=True),
    Case((9, 3), rule="backprop", smoothing=0.1),
    Case((16, 17, 3), rule="backprop", activation="tanh"),
    Case((30, 65, 16, 4), rule="backprop", activation="relu", smoothing=0.05),
    Case((7, 130, 10), rule="backprop", activation="relu", weighted=True, invert=True),
    Case((12, 3, 17, 33, 5, 4), rule="backprop", activation="tanh", kernel="dense"),
    Case((12, 33, 17, 16, 5, 4), rule="backprop", activation="relu", kernel="dense", invert=True),
    Case((20, 65, 5), rule="backprop", invert=True, smoothing=0.2, weighted=True),
    # All units of the first hidden layer are silent under ReLU, at times or always.
    Case((16, 17, 8, 3), rule="backprop", activation="relu", shift=-1.5),
    Case((16, 17, 8, 3), rule="backprop", activation="relu", shift=-9.0),
]


def train(network: Network, case: Case, n: int = STEPS, *, chunks: int = 1) -> np.ndarray:
    """Train on n samples in order; return the totals."""
    engine, totals = Engine(network), np.zeros(2)
    prepared = KernelInput(case.pixels(), case.invert, network.dtype, case.kernel)
    weights = sample_weights(network.dtype) if case.weighted else None
    engine.load_weights(prepared)
    for order in np.array_split(np.arange(n), chunks):
        engine.train(prepared, case.labels(), order, case.lr, totals, smoothing=case.smoothing, weights=weights)
    engine.store_weights()
    if network.is_finite():
        assert_pads_of_the_memory_are_zero(engine)
    return totals


def assert_pads_of_the_memory_are_zero(engine: Engine) -> None:
    """Look at what fills rows up, and rows up to fours; the engine's own weights are lost."""
    for view in (*engine._weights, *engine._biases, engine._first[0, : len(engine._biases[0])]):
        view[...] = 0
    net = engine._net.value
    assert not net.memory[: net.layout[UNITS]].any()


def sample_weights(dtype: Any) -> np.ndarray:
    return np.random.default_rng(10).uniform(0.0, 2.0, STEPS).astype(dtype)


def assert_same_parameters(network: Network, reference: ReferenceNetwork, tolerance: float) -> None:
    for layer in range(len(network.weights)):
        np.testing.assert_allclose(network.weights[layer], reference.weights[layer], rtol=0, atol=tolerance)
        np.testing.assert_allclose(network.biases[layer], reference.biases[layer], rtol=0, atol=tolerance)


def assert_pads_are_zero(network: Network) -> None:
    twin = network.copy()
    for view in (*twin.weights, *twin.biases):
        view[...] = 0
    assert not twin.parameters.any()


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
    assert_pads_are_zero(network)
    assert totals[0] == pytest.approx(loss, rel=TOLERANCE[dtype])
    assert totals[1] == hits
    # What the tolerance has to tell apart: the training moved the weights by far more.
    assert np.abs(network.parameters - before).max() > 1000 * TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_outputs_equal_those_of_numpy(case: Case, dtype: str) -> None:
    network = case.network(dtype)
    outputs = run(Engine(network), case.pixels(), case.invert, case.kernel)
    expected = network.outputs(as_inputs(case.pixels(), case.invert, network.dtype))
    assert outputs.dtype == expected.dtype == dtype
    np.testing.assert_allclose(outputs, expected, rtol=0, atol=1e-14 if dtype == "float64" else 5e-6)
    if case.rule == "backprop":
        np.testing.assert_allclose(outputs.sum(axis=1), 1, rtol=0, atol=1e-14 if dtype == "float64" else 1e-6)


@pytest.mark.parametrize("calls", [1, 2, 10, 50])
def test_toy_in_float64_follows_the_original_javascript(calls: int) -> None:
    initial, recorded = PARITY["initial"], PARITY["after"][str(calls)]
    network = Network(PARITY["sizes"], dtype="float64")
    for layer, (weight, bias) in enumerate(zip(WEIGHTS, BIASES, strict=True)):
        network.weights[layer][...] = np.array(initial[weight]).T
        network.biases[layer][...] = np.array(initial[bias])[:, 0]
    engine = Engine(network)
    prepared = KernelInput(np.array(PARITY["images"], dtype=np.uint8), False, network.dtype, "sparse")
    engine.load_weights(prepared)
    engine.train(prepared, np.array(PARITY["labels"]), np.arange(calls), PARITY["learning_rate"], np.zeros(2))
    engine.store_weights()
    for layer, (weight, bias) in enumerate(zip(WEIGHTS, BIASES, strict=True)):
        np.testing.assert_allclose(network.weights[layer].T, recorded[weight], rtol=0, atol=1e-10)
        np.testing.assert_allclose(network.biases[layer], np.array(recorded[bias])[:, 0], rtol=0, atol=1e-10)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("sizes", [(6, 4), (6, 9, 4), (6, 5, 9, 3)])
@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu"])
def test_backprop_steps_down_the_gradient(activation: str, sizes: tuple[int, ...], smoothing: float) -> None:
    """One step with a rate of 1 is minus the gradient, which central differences of the compiled outputs give."""
    case = Case(sizes, "backprop", activation, smoothing=smoothing)
    network = case.network()
    for bias in network.biases:  # moves the sums away from ReLU's kink, where a difference is no derivative
        np.add(bias, np.linspace(0.1, 0.4, len(bias)), out=bias)
    image = np.array([[25, 255, 0, 100, 200, 255]], dtype=np.uint8)
    targets = np.full(sizes[-1], smoothing / sizes[-1])
    targets[1] += 1 - smoothing

    def loss(parameters: np.ndarray) -> float:
        shifted = network.copy()
        shifted.parameters[...] = parameters
        return float(-targets @ np.log(run(Engine(shifted), image, False, "sparse")[0]))

    gradient = np.zeros_like(network.parameters)
    for k in np.flatnonzero(network.parameters):
        step = np.zeros_like(gradient)
        step[k] = 1e-5
        gradient[k] = (loss(network.parameters + step) - loss(network.parameters - step)) / 2e-5
    trained = network.copy()
    engine = Engine(trained)
    prepared = KernelInput(image, False, trained.dtype, "sparse")
    engine.load_weights(prepared)
    engine.train(prepared, np.array([1]), np.array([0]), 1.0, np.zeros(2), smoothing=smoothing)
    engine.store_weights()
    descent = network.parameters - trained.parameters
    assert np.linalg.norm(gradient) > 0.1
    assert np.linalg.norm(descent - gradient) / np.linalg.norm(gradient) < 1e-6


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_ink_and_dense_kernel_do_the_same_descent(dtype: str) -> None:
    for rule, invert in product(("original", "backprop"), (False, True)):
        case = Case((30, 17, 4), rule, invert=invert)
        networks = [case.network(dtype), case.network(dtype)]
        for network, kernel in zip(networks, ("sparse", "dense"), strict=True):
            train(network, replace(case, kernel=kernel))
        for ink, dense in zip(networks[0].weights, networks[1].weights, strict=True):
            np.testing.assert_allclose(ink, dense, rtol=0, atol=TOLERANCE[dtype])


@pytest.mark.parametrize("hidden", [1, 16, 200, 3000])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_paper_is_summed_one_row_after_the_other(hidden: int, dtype: str) -> None:
    """Numpy may sum in another order, by the processor, where it thinks that none is asked for."""
    network = Network((784, hidden, 10), dtype=dtype).initialise("he", 3)
    engine, expected = Engine(network), network.biases[0].copy()
    for row in network.weights[0]:
        expected += row
    engine.load_weights(KernelInput(np.full((1, 784), 255, dtype=np.uint8), False, network.dtype, "sparse"))
    assert np.array_equal(engine._paper[:hidden], expected)
    engine.load_weights(KernelInput(np.full((1, 784), 255, dtype=np.uint8), True, network.dtype, "sparse"))
    assert np.array_equal(engine._paper[:hidden], network.biases[0])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("case", [CASES[2], CASES[9]], ids=str)
def test_pieces_of_an_epoch_are_the_same_descent_as_the_whole(case: Case, dtype: str) -> None:
    """Where a call ends may move a rounding; an epoch is always cut at the same places."""
    whole, pieces, again = (case.network(dtype) for _ in range(3))
    totals = [train(whole, case), train(pieces, case, chunks=7), train(again, case, chunks=7)]
    for one, other in zip(whole.weights + whole.biases, pieces.weights + pieces.biases, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=TOLERANCE[dtype])
    assert pieces.sha256() == again.sha256()
    assert totals[1].tolist() == totals[2].tolist()
    assert totals[0] == pytest.approx(totals[1], rel=TOLERANCE[dtype])


@pytest.mark.parametrize("n", range(1, 10))
def test_any_number_of_samples_may_be_trained_on(n: int) -> None:
    """The kernel takes samples in blocks; the last block may be part of one."""
    case = CASES[2]
    network = case.network()
    reference = ReferenceNetwork.from_network(network)
    for x, label in zip((case.pixels()[:n] / 255).tolist(), case.labels().tolist(), strict=False):
        reference.train(x, label, case.lr)
    train(network, case, n)
    assert_same_parameters(network, reference, 1e-13)


def test_what_is_learnt_by_may_change_from_call_to_call() -> None:
    case = replace(CASES[2], invert=True)
    network = case.network("float32")
    prepared = KernelInput(case.pixels(), case.invert, network.dtype, case.kernel)
    others = KernelInput(255 - case.pixels(), case.invert, network.dtype, case.kernel)
    labels, totals = case.labels(), np.zeros(2)
    calls: list[dict[str, Any]] = [
        {},
        {},
        {"lr": 0.3},
        {"labels": labels[::-1].copy()},
        {"prepared": others},
        {"smoothing": 0.1},
        {"weights": sample_weights(network.dtype)},
        {"totals": np.zeros(2)},
        {},
    ]
    usual = {"prepared": prepared, "labels": labels, "order": np.arange(STEPS), "lr": case.lr, "totals": totals}
    engine, anew = Engine(network.copy()), network.copy()
    engine.load_weights(prepared)
    found = []
    for each in (*calls, *calls[::-1]):
        engine.train(**{**usual, **each})
        before = totals.copy()
        # Without an offset nothing is rounded when weights are taken out and in.
        other = Engine(anew)
        other.load_weights(prepared)
        other.train(**{**usual, **each})
        other.store_weights()
        np.testing.assert_array_equal(totals - before, before - (found[-1] if found else 0))
        found.append(totals.copy())
    engine.store_weights()
    assert engine.network.sha256() == anew.sha256() != network.sha256()


def test_a_sample_may_come_again_at_once() -> None:
    case = CASES[2]
    network = case.network()
    reference = ReferenceNetwork.from_network(network)
    order = np.array([3, 3, 3, 3, 5, 3, 5, 5, 5, 3])
    for k in order:
        reference.train((case.pixels()[k] / 255).tolist(), int(case.labels()[k]), case.lr)
    engine, prepared = Engine(network), KernelInput(case.pixels(), case.invert, network.dtype, case.kernel)
    engine.load_weights(prepared)
    engine.train(prepared, case.labels(), order, case.lr, np.zeros(2))
    engine.store_weights()
    assert_same_parameters(network, reference, 1e-13)


def test_no_samples_change_nothing() -> None:
    case = CASES[2]
    network = case.network("float32")
    assert train(network, case, n=0).tolist() == [0, 0]
    assert network.sha256() == case.network("float32").sha256()


def test_weights_of_one_are_no_weights() -> None:
    case = CASES[1]
    plain, weighted = case.network("float32"), case.network("float32")
    train(plain, case)
    engine = Engine(weighted)
    prepared = KernelInput(case.pixels(), False, weighted.dtype, case.kernel)
    engine.load_weights(prepared)
    ones = np.ones(STEPS, dtype=np.float32)
    engine.train(prepared, case.labels(), np.arange(STEPS), case.lr, np.zeros(2), weights=ones)
    engine.store_weights()
    assert plain.sha256() == weighted.sha256()


def test_a_weight_of_zero_teaches_nothing() -> None:
    case = CASES[1]
    network = case.network("float64")
    engine = Engine(network)
    prepared = KernelInput(case.pixels(), False, network.dtype, case.kernel)
    engine.load_weights(prepared)
    engine.train(prepared, case.labels(), np.arange(STEPS), case.lr, np.zeros(2), weights=np.zeros(STEPS))
    engine.store_weights()
    assert network.sha256() == case.network("float64").sha256()


def test_among_equal_outputs_the_first_one_counts_as_in_prediction() -> None:
    """Saturated networks give the same output everywhere; that must not look like a perfect one."""
    network = Network((4, 10), dtype="float64")
    engine = Engine(network)
    prepared = KernelInput(np.full((10, 4), 100, dtype=np.uint8), False, network.dtype, "sparse")
    totals = np.zeros(2)
    engine.load_weights(prepared)
    engine.train(prepared, np.arange(10), np.arange(10), 1e-300, totals)
    assert engine.outputs(prepared).argmax(axis=1).tolist() == [0] * 10
    assert totals[1] == 1


@compiled_only
@pytest.mark.parametrize("rule", ["original", "backprop"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_shows_in_the_loss(rule: str, value: float) -> None:
    case = Case((6, 5, 3), rule, "sigmoid" if rule == "original" else "relu")
    network = case.network("float32")
    network.weights[-1][:, :] = value
    if not np.isnan(value):
        network.weights[-1][::2] = -value  # sums of infinities with both signs
    assert not np.isfinite(train(network, case, n=3)[0])


@pytest.mark.parametrize(
    ("images", "kernel", "chosen", "share"),
    [
        (np.full((4, 10), 255), "auto", "sparse", 0.0),
        (np.full((4, 10), 255), "dense", "dense", 0.0),
        (np.zeros((4, 10)), "auto", "dense", 1.0),
        (np.zeros((4, 10)), "sparse", "sparse", 1.0),
        (np.repeat([[0, 255], [255, 255]], 5, axis=1), "auto", "sparse", 0.25),
    ],
)
def test_the_kernel_goes_by_the_share_of_ink(images: np.ndarray, kernel: str, chosen: str, share: float) -> None:
    prepared = KernelInput(images.astype(np.uint8), False, np.dtype("float32"), kernel)
    assert (prepared.first_layer, prepared.density) == (chosen, share)


@pytest.mark.parametrize("invert", [False, True])
@pytest.mark.parametrize("kernel", ["sparse", "dense"])
def test_blank_images_have_no_entries_but_train(invert: bool, kernel: str) -> None:
    case = Case((8, 5, 3))
    network, images = case.network(), np.full((3, 8), 255, dtype=np.uint8)
    reference = ReferenceNetwork.from_network(network)
    prepared, engine = KernelInput(images, invert, network.dtype, kernel), Engine(network)
    engine.load_weights(prepared)
    engine.train(prepared, np.array([0, 1, 2]), np.arange(3), 0.5, np.zeros(2))
    engine.store_weights()
    for label in range(3):
        reference.train([0.0 if invert else 1.0] * 8, label, 0.5)
    assert_same_parameters(network, reference, 1e-14)


def test_images_of_another_size_are_refused() -> None:
    engine = Engine(Network((8, 3)))
    with pytest.raises(DataError, match="takes 8 inputs, but the images have 9 pixels"):
        engine.load_weights(KernelInput(np.zeros((1, 9), dtype=np.uint8), False, np.dtype("float32")))


@compiled_only
@pytest.mark.parametrize("updated", [(), (0,)], ids=["before", "updated"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_processors_with_larger_registers_find_the_same_bits(
    dtype: str, updated: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(3)
    # Four rows of 48 numbers, the inputs, the sums so far, four errors and four steps.
    before = rng.normal(size=6 * 48 + 8).astype(dtype)
    results = []
    for native in ((), (0,)):
        monkeypatch.setattr(sgd, "NATIVE", native)
        monkeypatch.setattr(sgd, "_NATIVE_IN_ONE", 1 if native else 2)
        four = numba.njit(sgd._combine_four.py_func)
        call = numba.njit(lambda a: four(simd.data(a), 0, 48, 48, 192, 288, 292, 240, updated, 64 // a.itemsize))  # noqa: B023
        after = before.copy()
        call(after)
        results.append(after)
    assert results[0].tobytes() == results[1].tobytes()
    rows, h, e, steps = before[:192].reshape(4, 48), before[192:240], before[288:292], before[292:]
    new = rows + np.outer(steps, h)
    np.testing.assert_allclose(results[0][:192].reshape(4, 48), new, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        results[0][240:288], before[240:288] + e @ (new if updated else rows), rtol=1e-4, atol=1e-5
    )


@compiled_only
def test_the_same_rules_hold_without_the_compiler() -> None:
    """Coverage is measured there, and readers step through it in a debugger."""
    names = "16-17-3 or original_javascript or gradient and 6-9-4 or blank"
    code = "import sys, pytest; sys.exit(pytest.main(sys.argv[1:]))"
    done = python(
        code,
        "-q",
        "--tb=line",
        "-p",
        "no:cacheprovider",
        "tests/kernels/test_sgd.py",
        "-k",
        names,
        cwd=ROOT,
        NUMBA_DISABLE_JIT="1",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


def test_nothing_is_compiled_on_import() -> None:
    code = """
import fastnn.kernels.sgd as sgd
compiled = [name for name, value in vars(sgd).items() if getattr(value, "signatures", None)]
assert not compiled, compiled
"""
    assert python(code).returncode == 0
