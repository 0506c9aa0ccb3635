"""Every kind of data, loss and regularisation: equal to plain Python on the same numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from fastnn.datasets import SparseRows
from fastnn.engine import Engine, StepOptions
from fastnn.errors import DataError, RecipeError
from fastnn.inputs import ImageInput, KernelInput, RowInput, SparseInput, find_levels
from fastnn.network import Network, Output
from fastnn.reference import ReferenceNetwork, kept_units

TOLERANCE = 1e-10
"""For float64: rounding errors of 1e-16 in sums of up to 100 terms, over up to 30 steps that amplify them little."""


@dataclass(frozen=True)
class Problem:
    """A random network with random samples, and the plain-Python network after training on them.

    Attributes
    ----------
    network : Network
    values : ndarray of float64, shape (n, n_inputs)
        Samples as they are brought; half of the problems have many equal values in each column.
    mean, scale : ndarray, shape (n_inputs,), or None
        The network's input is (value - mean) * scale.
    targets : ndarray
    order : ndarray of int64
    options : StepOptions
    """

    network: Network
    values: np.ndarray
    mean: np.ndarray | None
    scale: np.ndarray | None
    targets: np.ndarray
    order: np.ndarray
    options: StepOptions

    @property
    def rate(self) -> float:
        """Learning rate; small for regression, whose errors have no bound."""
        return 0.01 if self.network.output == "identity" else 0.1

    @property
    def inputs(self) -> np.ndarray:
        return self.values if self.mean is None else (self.values - self.mean) * self.scale

    def sparse(self, dtype: str = "float64", rng: np.random.Generator | None = None) -> SparseInput:
        """Return the values without their zeros; with `rng` in random order and some as the sum of two."""
        values, indices, starts = [], [], [0]
        for row in self.values:
            parts = [(value, j) for j, value in enumerate(row.tolist()) if value]
            if rng is not None:
                parts = [piece for value, j in parts for piece in ((value - 0.5, j), (0.5, j))]
                parts = [parts[k] for k in rng.permutation(len(parts))]
            values += [value for value, _ in parts]
            indices += [j for _, j in parts]
            starts.append(len(values))
        arrays = np.array(values), np.array(indices, dtype=np.int64), np.array(starts)
        return SparseInput(*arrays, self.values.shape[1], dtype, mean=self.mean, scale=self.scale)

    def rows(self, dtype: str = "float64", **options: Any) -> RowInput:
        return RowInput(self.values, dtype, mean=self.mean, scale=self.scale, **options)

    def reference(self) -> tuple[ReferenceNetwork, float]:
        """Return the plain network after training, and the sum of the losses before each step."""
        options, total = self.options, 0.0
        network = ReferenceNetwork.from_network(self.network, label_smoothing=options.smoothing)
        network.alpha, network.error_limit = options.alpha, options.error_limit
        for position, i in enumerate(self.order.tolist()):
            target = self.targets[i].tolist()
            x = self.inputs[i].tolist()
            kept = None
            if options.dropout:
                kept = kept_units(self.network.sizes[1:-1], options.dropout, options.dropout_key, position)
            else:
                total += network.loss(x, target)
            network.train(x, target, self.rate, kept)
        return network, total


def problem(seed: int, output: Output = "softmax", activation: Any = "relu", **options: Any) -> Problem:
    """Return a random problem."""
    rng = np.random.default_rng(seed)
    n_inputs, n_outputs, n = int(rng.integers(1, 70)), int(rng.integers(1, 6)), int(rng.integers(1, 30))
    hidden = [int(width) for width in rng.integers(1, 40, rng.integers(0, 4))]
    rule: Any = options.pop("rule", "backprop")
    kind: Any = {"output": "sigmoid", "activation": "sigmoid"} if rule == "original" else {"output": output}
    network = Network((n_inputs, *hidden, n_outputs), rule=rule, dtype="float64", **{"activation": activation, **kind})
    network.initialise("xavier", seed)
    values = rng.normal(size=(n, n_inputs))
    if seed % 2:
        values[rng.random(values.shape) < 0.7] = rng.choice([0.0, 0.5])
    mean, scale = (rng.normal(size=n_inputs), rng.uniform(0.5, 2, n_inputs)) if seed // 2 % 2 else (None, None)
    if output == "softmax":
        targets = rng.integers(0, n_outputs, n)
    elif output == "sigmoid":
        targets = (rng.random((n, n_outputs)) < 0.5).astype(float)
    else:
        targets = rng.normal(0, 0.5, (n, n_outputs))
    order = rng.integers(0, n, 2 * n + 3)
    return Problem(network, values, mean, scale, targets, order, StepOptions(**options))


def check(given: Problem, data: KernelInput, tolerance: float = TOLERANCE, parts: int = 1) -> None:
    """Train an engine on the problem, in some calls; weights, outputs and losses must equal plain Python's."""
    network, options, totals = given.network.copy(), given.options, np.zeros(2)
    engine = Engine(network, regularised=bool(options.alpha or options.dropout))
    engine.load_weights(data)
    for order in np.array_split(given.order, parts):
        engine.train(data, given.targets, order, given.rate, totals, options=options)
    engine.store_weights()
    reference, loss = given.reference()
    for found, expected in zip(
        [*network.weights, *network.biases], [*reference.weights, *reference.biases], strict=True
    ):
        np.testing.assert_allclose(found, np.array(expected).reshape(found.shape), rtol=tolerance, atol=tolerance)
    engine.load_weights(data)
    expected_outputs = np.array([reference.predict(x) for x in given.inputs.tolist()])
    np.testing.assert_allclose(engine.outputs(data), expected_outputs, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(network.outputs(given.inputs), expected_outputs, rtol=tolerance, atol=tolerance)
    if not options.dropout:
        assert totals[0] == pytest.approx(loss, rel=1e-9)


SEEDS = range(8)


@pytest.mark.parametrize("rule", ["original", "backprop"])
def test_rows_and_sparse_rows_train_as_plain_python_does(rule: str) -> None:
    for seed in SEEDS:
        given = problem(seed, activation=("relu", "tanh", "sigmoid")[seed % 3], rule=rule)
        check(given, given.rows())
        check(given, given.rows(first_layer="dense"))
        check(given, given.rows(first_layer="sparse", level=given.values[0]))
        check(given, given.sparse(), parts=3)
        check(given, given.sparse(rng=np.random.default_rng(seed)))


# One activation for each: compiling all combinations would take half a minute.
@pytest.mark.parametrize(("output", "activation"), [("sigmoid", "relu"), ("identity", "tanh")])
def test_every_loss_trains_as_plain_python_does(output: Output, activation: str) -> None:
    for seed in SEEDS:
        given = problem(seed, output, activation)
        check(given, given.rows())
        check(given, given.sparse())


def test_large_errors_are_limited() -> None:
    for seed in SEEDS:
        given = problem(seed, "identity", "tanh", huber=True, error_limit=0.3)
        check(given, given.rows())
        plain_loss = Problem(**{**vars(given), "options": StepOptions(error_limit=0.3)})
        engine, totals = Engine(given.network.copy()), np.zeros(2)
        data = given.rows()
        engine.load_weights(data)
        engine.train(data, given.targets, given.order[:1], 0.1, totals, options=plain_loss.options)
        errors = given.targets[given.order[0]] - given.network.outputs(given.inputs[given.order[:1]])[0]
        assert totals[0] == pytest.approx((errors**2).sum() / 2)
        assert totals[1] == pytest.approx((errors**2).sum())


def test_weight_decay_is_exact() -> None:
    for seed in SEEDS:
        given = problem(seed, "softmax", ("relu", "tanh", "sigmoid")[seed % 3], alpha=(0.01, 3.0)[seed // 4])
        check(given, given.rows(), parts=2)
        check(given, given.sparse())
        given = problem(seed, "identity", "relu", alpha=(0.01, 3.0)[seed // 4])
        check(given, given.rows())


def test_weights_that_decay_to_almost_nothing_are_rescaled() -> None:
    # 1e-15 of the weights are left, far below the smallest scale.
    given = problem(3, alpha=9.0)
    check(given, given.rows())
    assert len(given.order) == 15


def test_dropped_units_are_those_of_plain_python() -> None:
    for seed in SEEDS:
        given = problem(seed, activation=("relu", "tanh", "sigmoid")[seed % 3], dropout=0.3, dropout_key=seed << 50)
        check(given, given.rows(), parts=3)
        with_decay = Problem(**{**vars(given), "options": StepOptions(dropout=0.6, dropout_key=seed, alpha=0.1)})
        check(with_decay, given.sparse())


def test_about_the_requested_share_of_units_is_dropped_and_none_for_good() -> None:
    dropped = np.array([kept_units((200,), 0.25, 7, position)[0] for position in range(100)]) == 0
    # 20,000 draws: five standard deviations are 0.015.
    assert abs(dropped.mean() - 0.25) < 0.015
    assert abs(np.corrcoef(dropped[:-1].ravel(), dropped[1:].ravel())[0, 1]) < 0.04
    assert not dropped.all(axis=0).any()


def test_inputs_whose_squares_are_zero_are_not_zero() -> None:
    # The baseline is not 0 and the input is tiny, but the ReLU is active.
    network = Network((1, 1, 2), rule="backprop", activation="relu", dtype="float32").initialise("xavier", 1)
    network.weights[0][...] = 1
    for value, is_active in ((3e-30, True), (0.0, False)):
        data = RowInput([[value]], "float32", mean=[0.0], level=[2e-30], first_layer="sparse")
        trained = network.copy()
        engine = Engine(trained)
        engine.load_weights(data)
        engine.train(data, np.array([0]), np.array([0]), 0.1, np.zeros(2))
        engine.store_weights()
        assert (trained.biases[0][0] != 0) == is_active
    engine.load_weights(data)
    assert np.isnan(engine.outputs(data.with_rows(np.array([[np.nan]])))).all()


def test_float32_rows_of_a_float64_network_and_the_other_way_round() -> None:
    given = problem(5)
    single = Problem(**{**vars(given), "values": given.values.astype(np.float32).astype(float)})
    check(single, RowInput(single.values.astype(np.float32), "float64", mean=given.mean, scale=given.scale), 1e-5)
    network = Network(given.network.sizes, rule="backprop", activation="relu", dtype="float32")
    network.initialise("xavier", 5)
    data, engine = given.rows("float32"), Engine(network)
    engine.load_weights(data)
    np.testing.assert_allclose(engine.outputs(data), network.outputs(given.inputs), rtol=1e-4, atol=1e-5)


def test_rows_in_other_orders_and_types_give_the_same_weights(tmp_path: Any) -> None:
    given = problem(4)
    values = np.round(given.values * 4)
    file = tmp_path / "values.npy"
    np.save(file, values)
    read_only = values.copy()
    read_only.flags.writeable = False
    wide = np.zeros((len(values), 2 * values.shape[1]))
    wide[:, ::2] = values
    found = set()
    for rows in (
        values,
        np.asfortranarray(values),
        read_only,
        np.load(file, mmap_mode="r"),
        wide[:, ::2],
        values.astype(int),
    ):
        network, data = given.network.copy(), RowInput(rows, "float64", first_layer="dense")
        engine = Engine(network)
        engine.load_weights(data)
        engine.train(data, given.targets, given.order, 0.1, np.zeros(2))
        engine.store_weights()
        found.add(network.sha256())
    assert len(found) == 1


def test_only_the_rows_of_inputs_that_occur_change() -> None:
    # As for hashed text: a million columns, a few of them in each sample.
    rng = np.random.default_rng(0)
    n, n_inputs, per_row = 40, 1_000_000, 5
    indices = rng.integers(0, n_inputs, n * per_row)
    data = SparseInput(np.ones(n * per_row), indices, np.arange(n + 1) * per_row, n_inputs, "float32")
    network = Network((n_inputs, 3, 2), rule="backprop", activation="relu").initialise("he")
    before, engine = network.weights[0].copy(), Engine(network)
    engine.load_weights(data)
    engine.train(data, rng.integers(0, 2, n), np.arange(n), 0.1, np.zeros(2))
    engine.store_weights()
    changed = np.flatnonzero((network.weights[0] != before).any(axis=1))
    assert 0 < len(changed) <= n * per_row
    assert set(changed) <= set(indices)


def test_the_most_common_values_are_found() -> None:
    rows = np.array([[1.0, 5.0, 0.0], [1.0, 2.0, 0.0], [3.0, 5.0, 0.0], [1.0, 5.0, 9.0]])
    levels, share = find_levels(rows)
    assert levels.tolist() == [1.0, 5.0, 0.0]
    assert share == pytest.approx(3 / 12)
    assert find_levels(np.empty((0, 2)))[1] == 1.0
    assert RowInput(rows, "float32").first_layer == "sparse"
    assert RowInput(np.arange(12.0).reshape(4, 3), "float32").first_layer == "dense"


def test_an_engine_changes_between_kinds_of_data() -> None:
    given = problem(7)
    pixels = np.round(np.abs(given.values) * 60).clip(0, 255).astype(np.uint8)
    images, rows = ImageInput(pixels, False), RowInput(pixels / 255, "float64")
    sparse = Problem(**{**vars(given), "values": pixels / 255, "mean": None, "scale": None}).sparse()
    network = given.network
    network.freeze()
    engine = Engine(network)
    for data in (images, sparse, rows, sparse, images, rows):
        engine.load_weights(data)
        np.testing.assert_allclose(engine.outputs(data), network.outputs(pixels / 255), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ((np.ones(2), [0, 5], [0, 1, 2]), "column index of 5, outside of its 5 columns"),
        ((np.ones(2), [-1, 0], [0, 1, 2]), "column index of -1"),
        ((np.ones(2), [0, 1], [0, 2, 1]), "do not begin in order"),
        ((np.ones(2), [0, 1], [0, 1, 3]), "do not begin in order"),
        ((np.ones(2), [0, 1], [1, 1, 2]), "do not begin in order"),
    ],
)
def test_sparse_rows_that_point_outside_are_refused(arrays: Any, message: str) -> None:
    values, indices, starts = arrays
    with pytest.raises(DataError, match=message):
        SparseInput(values, np.array(indices), np.array(starts), 5, "float32")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.zeros(3), "must be a matrix"),
        (np.array([["a", "b"]]), "must be numbers"),
        (np.array([[1.0, None]]), "must be numbers"),
        (np.empty((3, 0)), "at least one column"),
    ],
)
def test_rows_that_are_no_matrix_of_numbers_are_refused(rows: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        RowInput(rows, "float32")


def test_means_and_scales_that_are_not_finite_or_too_far_away_are_refused() -> None:
    for name in ("mean", "scale"):
        with pytest.raises(DataError, match=f"the {name} of column 1 is inf; it must be finite"):
            RowInput(np.ones((2, 2)), "float32", **{name: [1.0, np.inf]})
    arrays = np.ones(1), np.array([0]), np.array([0, 1])
    for far in (2e4, 1e20, 1e100):
        with pytest.raises(DataError, match=r"column 1: a mean that is .* standard deviations .* from the most common"):
            SparseInput(*arrays, 2, "float32", mean=[0.0, far])
    assert SparseInput(*arrays, 2, "float64", mean=[0.0, 1e7]).baseline_square == pytest.approx(1e14)


def test_a_level_far_from_the_mean_makes_the_first_layer_dense() -> None:
    rows = np.full((9, 2), 1e5)
    assert (RowInput(rows, "float32").first_layer, RowInput(rows, "float64").first_layer) == ("dense", "sparse")
    assert RowInput(rows, "float32", mean=[1e5, 1e5]).first_layer == "sparse"


def test_scales_and_levels_too_large_for_a_type_are_refused() -> None:
    arrays = np.ones(1, np.float32), np.array([0]), np.array([0, 1])
    with pytest.raises(DataError, match="column 1: the values are too small to be standardised as float32"):
        SparseInput(*arrays, 2, "float32", scale=[1.0, 1e40])
    with pytest.raises(DataError, match="column 1: the values are too small to be standardised as float32"):
        RowInput(np.ones((2, 2), np.float32), "float32", scale=[1.0, 1e40])
    with pytest.raises(DataError, match="a value is too large for float32"):
        RowInput(np.ones((2, 2), np.float32), "float32", mean=[1.0, 1e40], first_layer="dense")
    # A network of float64 reads them in its own type.
    assert RowInput(np.ones((2, 2), np.float32), "float64", scale=[1.0, 1e40]).n == 2


def test_samples_like_others_have_as_many_columns() -> None:
    arrays = np.ones(1), np.array([0]), np.array([0, 1])
    for data, other in (
        (RowInput(np.ones((2, 2)), "float32"), np.ones((1, 3))),
        (SparseInput(*arrays, 2, "float32"), SparseRows(*arrays, 3)),
    ):
        with pytest.raises(DataError, match="the samples have 3 columns, but 2 are needed"):
            data.like(other)


def test_targets_that_do_not_fit_the_outputs_are_refused() -> None:
    given = problem(2, "identity", "tanh")
    engine, data = Engine(given.network), given.rows()
    engine.load_weights(data)
    for wrong in (given.targets[:, 0], given.targets.astype(np.float32), np.zeros((5, 99))):
        with pytest.raises(DataError, match="targets: must be float64 of"):
            engine.train(data, wrong, given.order, 0.1, np.zeros(2))
    with pytest.raises(ValueError, match="need a regularised engine"):
        engine.train(data, given.targets, given.order, 0.1, np.zeros(2), options=StepOptions(alpha=1.0))
    regularised = Engine(given.network, regularised=True)
    regularised.load_weights(data)
    with pytest.raises(RecipeError, match=r"learning rate 0.1 times alpha 10 must be below 1"):
        regularised.train(data, given.targets, given.order, 0.1, np.zeros(2), options=StepOptions(alpha=10.0))


@pytest.mark.parametrize("first_layer", ["sparse", "dense"])
def test_rows_of_float32_are_scaled_in_the_type_of_the_network(first_layer: str) -> None:
    rng = np.random.default_rng(2)
    rows = (rng.normal(size=(9, 6)) * 1e-3 + 100).astype(np.float32)
    rows[rng.random(rows.shape) < 0.6] = 100
    mean, scale = rows.mean(axis=0, dtype=np.float64), 1 / rows.std(axis=0, dtype=np.float64)
    network = Network((6, 5, 2), rule="backprop", activation="tanh", dtype="float64").initialise("xavier")
    engine, outputs = Engine(network), []
    for values in (rows, rows.astype(np.float64)):
        data = RowInput(values, "float64", mean=mean, scale=scale, first_layer=first_layer)
        engine.load_weights(data)
        outputs.append(engine.outputs(data))
    np.testing.assert_allclose(*outputs, rtol=0, atol=1e-14)
