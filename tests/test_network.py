"""The parameter vector and its views, the initialisations, the NumPy forward pass."""

from __future__ import annotations

import copy
import hashlib
import pickle
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fastnn import Network
from fastnn.errors import ModelError, RecipeError
from fastnn.network import LINE, MAX_PARAMETERS
from fastnn.reference import ReferenceNetwork

if TYPE_CHECKING:
    from collections.abc import Callable

SHAPES = [(3, 2), (784, 200, 40, 10), (1, 1), (5, 128, 16, 17, 3), (4, 256, 512, 2)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("sizes", SHAPES, ids=str)
def test_views_cover_one_vector_in_rows_of_whole_cache_lines(sizes: tuple[int, ...], dtype: str) -> None:
    network = Network(sizes, dtype=dtype)
    assert network.parameters.ctypes.data % LINE == 0
    assert not network.parameters.any()
    seen = np.zeros(network.parameters.size, dtype=int)
    start, itemsize = network.parameters.ctypes.data, network.dtype.itemsize
    for layer, (weight, bias) in enumerate(zip(network.weights, network.biases, strict=True)):
        assert weight.shape == sizes[layer : layer + 2]
        assert bias.shape == (sizes[layer + 1],)
        assert weight.strides[1] == itemsize
        assert weight.strides[0] % LINE == 0
        # Rows 8, 16, ... lines apart would share few sets of the first-level cache.
        assert weight.strides[0] % (8 * LINE) != 0
        for row in (*weight, bias):
            assert row.ctypes.data % LINE == 0
            first = (row.ctypes.data - start) // itemsize
            seen[first : first + row.size] += 1
    assert seen.max() == 1  # no views overlap
    assert seen.sum() == network.n_parameters == sum((a + 1) * b for a, b in pairwise(sizes))


def test_views_share_memory_and_copies_do_not() -> None:
    network = Network((3, 2))
    network.weights[0][1, 1] = 7
    assert 7 in network.parameters
    copy = network.copy()
    assert copy.sha256() == network.sha256()
    copy.weights[0][1, 1] = 8
    assert network.weights[0][1, 1] == 7
    assert repr(copy) == "Network(3-2, rule='original', activation='sigmoid', output='sigmoid', dtype='float32')"


def test_the_same_seed_draws_the_same_weights_in_both_dtypes() -> None:
    for init in ("uniform", "xavier", "he"):
        one, two, other = (Network((20, 30, 4)).initialise(init, seed) for seed in (3, 3, 4))
        assert one.sha256() == two.sha256() != other.sha256()
        double = Network((20, 30, 4), dtype="float64").initialise(init, 3)
        for single, wide in zip(one.weights + one.biases, double.weights + double.biases, strict=True):
            assert np.array_equal(single, wide.astype(np.float32))


@pytest.mark.parametrize(
    ("init", "low", "high", "deviation", "biased"),
    [
        ("uniform", -1.0, 1.0, 1 / np.sqrt(3), True),
        ("xavier", -np.sqrt(6 / 300), np.sqrt(6 / 300), np.sqrt(2 / 300), False),
        ("he", -np.inf, np.inf, np.sqrt(2 / 200), False),
    ],
)
def test_initialisations_have_the_expected_range_and_deviation(
    init: Any, low: float, high: float, deviation: float, biased: bool
) -> None:
    network = Network((200, 100, 10), dtype="float64").initialise(init, 1)
    weight = network.weights[0]
    assert low <= weight.min() < weight.max() < high
    # 20,000 draws: the mean is known to 0.7 % of the deviation, the deviation to 0.5 %.
    assert abs(weight.mean()) < 0.03 * deviation
    assert weight.std() == pytest.approx(deviation, rel=0.02)
    assert bool(network.biases[0].any()) is biased


def test_sha256_depends_on_shape_type_and_parameters_only() -> None:
    network = Network((3, 2), dtype="float64").initialise()
    digest = hashlib.sha256(repr(((3, 2), "float64")).encode())
    digest.update(network.weights[0].tobytes())
    digest.update(network.biases[0].tobytes())
    assert network.sha256() == digest.hexdigest()
    before = network.sha256()
    assert network.weights[0].strides[0] > 2 * network.dtype.itemsize
    network.parameters[2] = 5  # padding
    assert network.sha256() == before
    network.biases[0][0] = np.nextafter(network.biases[0][0], 2)
    assert network.sha256() != before
    assert Network((2, 6)).sha256() != Network((6, 2)).sha256()


@pytest.mark.parametrize(
    ("rule", "activation"),
    [("original", "sigmoid"), ("backprop", "sigmoid"), ("backprop", "tanh"), ("backprop", "relu")],
)
@pytest.mark.parametrize("sizes", [(4, 3), (4, 6, 5, 3)])
def test_outputs_equal_those_of_plain_python(sizes: tuple[int, ...], rule: Any, activation: Any) -> None:
    network = Network(sizes, rule=rule, activation=activation, dtype="float64").initialise("uniform", 2)
    x = np.random.default_rng(0).uniform(-1, 2, (6, 4))
    reference = ReferenceNetwork.from_network(network)
    expected = [reference.predict(row) for row in x.tolist()]
    np.testing.assert_allclose(network.outputs(x), expected, rtol=0, atol=1e-15)


def test_outputs_of_huge_sums_are_finite_and_in_the_networks_dtype() -> None:
    for rule in ("original", "backprop"):
        network = Network((1, 3), rule=rule)  # type: ignore[arg-type]
        network.weights[0][...] = [[2000.0, 0.0, -2000.0]]
        outputs = network.outputs(np.ones((1, 1)))
        assert outputs.dtype == np.float32
        assert outputs.tolist() == ([[1.0, 0.5, 0.0]] if rule == "original" else [[1.0, 0.0, 0.0]])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_is_finite_looks_at_every_number(value: float) -> None:
    network = Network((3, 4, 2)).initialise()
    assert network.is_finite()
    network.biases[1][1] = value
    assert not network.is_finite()


@pytest.mark.parametrize("x", [np.zeros(4), np.zeros((2, 3)), np.zeros((1, 2, 4))], ids=lambda x: str(x.shape))
def test_inputs_of_another_shape_are_refused(x: np.ndarray) -> None:
    with pytest.raises(ModelError, match=r"takes inputs of shape \(n, 4\)"):
        Network((4, 2)).outputs(x)


@pytest.mark.parametrize(
    ("sizes", "options", "message"),
    [
        ((784,), {}, "two or more positive numbers"),
        ((784, 0, 10), {}, "two or more positive numbers"),
        ((784, -3, 10), {}, "two or more positive numbers"),
        ((2, 2), {"rule": "hebb"}, "unknown rule 'hebb'"),
        ((2, 2), {"rule": "backprop", "activation": "gelu"}, "unknown activation 'gelu'"),
        ((2, 2), {"activation": "relu"}, "needs rule backprop"),
        ((2, 2), {"dtype": "float16"}, "unknown dtype 'float16'"),
        ((2, 2), {"dtype": "int32"}, "unknown dtype 'int32'"),
        ((MAX_PARAMETERS // 10, 100), {}, "too many weights"),
    ],
)
def test_invalid_networks_are_refused(sizes: tuple[int, ...], options: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        Network(sizes, **options)


def test_an_unknown_initialisation_is_refused() -> None:
    with pytest.raises(RecipeError, match="unknown initialisation 'zeros'"):
        Network((2, 2)).initialise("zeros")  # type: ignore[arg-type]


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda network: pickle.loads(pickle.dumps(network))])  # noqa: S301
def test_duplicates_are_networks_of_their_own(duplicate: Callable[[Network], Network]) -> None:
    network = Network((5, 4, 3)).initialise("uniform", 1)
    twin = duplicate(network)
    assert twin.sha256() == network.sha256()
    twin.weights[0][0, 0] = 7
    twin.biases[1][2] = 8
    assert 7 in twin.parameters
    assert 8 in twin.parameters
    assert twin.copy().sha256() == twin.sha256() != network.sha256()


@pytest.mark.parametrize("sizes", [(4, 3), (4, 6, 5, 3)])
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_a_grown_network_computes_the_same_while_its_new_inputs_are_zero(
    sizes: tuple[int, ...], activation: Any
) -> None:
    kind: dict[str, Any] = {"rule": "backprop", "activation": activation, "output": "identity", "dtype": "float64"}
    network = Network(sizes, **kind).initialise("xavier", 3)
    before = network.sha256()
    grown = network.grown(7, 5, init="xavier", seed=3)
    assert repr(grown) == repr(Network((7, *sizes[1:-1], 5), **kind))
    x = np.random.default_rng(0).normal(size=(20, 4))
    outputs = grown.outputs(np.pad(x, ((0, 0), (0, 3))))
    np.testing.assert_allclose(outputs[:, :3], network.outputs(x), rtol=0, atol=1e-14)
    assert not outputs[:, 3:].any()
    assert grown.weights[0][4:, : sizes[1]].all()
    assert network.sha256() == before
    assert network.grown().sha256() == before
    assert network.grown(7, 5, init="xavier", seed=3).sha256() == grown.sha256()
    assert network.grown(7, 5, init="xavier", seed=4).sha256() != grown.sha256()


def test_new_inputs_get_weights_of_the_given_fan_in() -> None:
    network = Network((100, 200, 2), rule="backprop", activation="relu", dtype="float64").initialise("he", 1)
    for fan_in, expected in ((None, 400), (50, 50)):
        new = network.grown(400, seed=1, fan_in=fan_in).weights[0][100:]
        assert abs(new.mean()) < 0.02 * np.sqrt(2 / expected)
        assert new.std() == pytest.approx(np.sqrt(2 / expected), rel=0.02)
    # Two growths draw other numbers.
    twice = network.grown(200).grown(300).weights[0]
    assert not np.allclose(twice[100:200], twice[200:300])
    assert not np.allclose(twice[:100], twice[100:200])


@pytest.mark.parametrize("sizes", [(3, 3), (4, 2)])
def test_a_network_cannot_shrink(sizes: tuple[int, int]) -> None:
    with pytest.raises(RecipeError, match=r"sizes \[4, 3\] cannot shrink"):
        Network((4, 3)).grown(*sizes)
