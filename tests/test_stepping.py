"""Steps of one row a call: equal to the reference, and a refused row changes nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import sparse

from fastnn.datasets import Scaling, SparseRows
from fastnn.engine import StepOptions
from fastnn.errors import DataError, ModelError, RecipeError
from fastnn.network import Network
from fastnn.reference import ReferenceNetwork, kept_units
from fastnn.stepping import Stepper

RATE = 0.1


def made(
    output: Any = "softmax", sizes: tuple[int, ...] = (5, 7, 3), dtype: str = "float64", **options: Any
) -> Network:
    network = Network(sizes, rule="backprop", activation="tanh", output=output, dtype=dtype, **options)
    return network.initialise("xavier", 1)


def rows_and_targets(network: Network, n: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Return random rows, half of whose values are 0, and targets."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(n, network.sizes[0]))
    rows[rng.random(rows.shape) < 0.5] = 0
    n_outputs = network.sizes[-1]
    if network.output == "softmax":
        return rows, rng.integers(0, n_outputs, n)
    if network.output == "sigmoid":
        return rows, rng.integers(0, 2, (n, n_outputs)).astype(float)
    return rows, rng.normal(size=(n, n_outputs))


def as_sparse_rows(rows: np.ndarray) -> SparseRows:
    return SparseRows.from_scipy(sparse.csr_array(rows))


def check(stepper: Stepper, reference: ReferenceNetwork, tolerance: float = 1e-10) -> None:
    """The stepper's weights, once they are stored, must be those of the reference."""
    stepper.store()
    network = stepper.network
    expected = [*reference.weights, *reference.biases]
    for found, one in zip([*network.weights, *network.biases], expected, strict=True):
        np.testing.assert_allclose(found, np.array(one).reshape(found.shape), rtol=tolerance, atol=tolerance)


def train(reference: ReferenceNetwork, rows: np.ndarray, targets: np.ndarray, rates: Any = RATE) -> None:
    for x, target, rate in zip(
        rows.tolist(), targets.tolist(), np.broadcast_to(rates, len(rows)).tolist(), strict=True
    ):
        reference.train(x, target, rate)


@pytest.mark.parametrize("output", ["softmax", "sigmoid", "identity"])
def test_steps_are_those_of_the_reference_and_outputs_too(output: Any) -> None:
    network = made(output)
    rows, targets = rows_and_targets(network)
    stepper, reference = Stepper(network, learning_rate=RATE), ReferenceNetwork.from_network(network)
    before, loss = network.sha256(), 0.0
    for x, target in zip(rows, targets, strict=True):
        loss += reference.loss(x.tolist(), target.tolist())
        reference.train(x.tolist(), target.tolist(), RATE)
        stepper.step(x, target)
        np.testing.assert_allclose(stepper.outputs(x), reference.predict(x.tolist()), rtol=1e-10)
    assert stepper.totals[0] == pytest.approx(loss)
    assert network.sha256() == before
    check(stepper, reference)
    expected = [reference.predict(x) for x in rows.tolist()]
    np.testing.assert_allclose(stepper.outputs_of(rows), expected, rtol=1e-10)
    # The network has the stored weights, and training goes on.
    np.testing.assert_allclose(network.outputs(rows), expected, rtol=1e-10)
    stepper.step(rows[0], targets[0])
    reference.train(rows[0].tolist(), targets[0].tolist(), RATE)
    check(stepper, reference)


@pytest.mark.parametrize("output", ["softmax", "identity"])
def test_many_rows_in_one_call_are_as_many_steps(output: Any) -> None:
    network = made(output)
    rows, targets = rows_and_targets(network)
    weights = np.linspace(0, 2, len(rows))
    stepper, reference = Stepper(network, learning_rate=RATE), ReferenceNetwork.from_network(network)
    for kind in (np.asarray, np.asfortranarray, sparse.csr_array, sparse.coo_array, sparse.csc_matrix, as_sparse_rows):
        stepper.train(kind(rows), targets, weights)
        train(reference, rows, targets, RATE * weights)
        stepper.step(rows[0], targets[0], weight=0.5)
        train(reference, rows[:1], targets[:1], 0.5 * RATE)
        outputs = stepper.outputs_of(kind(rows))
        np.testing.assert_allclose(outputs, [reference.predict(x) for x in rows.tolist()], rtol=1e-10, atol=1e-12)
    check(stepper, reference)


def test_more_rows_than_the_kernel_gets_at_once() -> None:
    network = made(sizes=(2, 2))
    rng = np.random.default_rng(0)
    rows, targets = rng.normal(size=(9001, 2)), rng.integers(0, 2, 9001)
    found = []
    for given in (rows, rows.astype(object).astype(">f8"), sparse.csr_array(rows)):
        stepper = Stepper(network.copy(), learning_rate=0.01)
        stepper.train(given, targets, np.ones(9001))
        stepper.store()
        found.append(stepper.network.parameters)
        assert stepper.outputs_of(given).shape == (9001, 2)
    reference = ReferenceNetwork.from_network(network)
    train(reference, rows, targets, 0.01)
    check(stepper, reference)
    np.testing.assert_array_equal(found[0], found[1])


@pytest.mark.parametrize(
    "given", [np.float16, np.float32, np.longdouble, np.int8, np.int64, np.uint64, bool, ">f8", list]
)
def test_rows_of_all_real_types(given: Any) -> None:
    rows = np.array([[1, 0, 1, 1, 0], [0, 0, 1, 0, 1]])
    reference = ReferenceNetwork.from_network(made())
    train(reference, np.concatenate([rows, rows]), np.array([2, 0, 2, 0]))
    stepper = Stepper(made(), learning_rate=RATE)
    taken: Any = rows.tolist() if given is list else rows.astype(given)
    for x, label in zip(taken, (2, 0), strict=True):
        stepper.step(x, label)
    stepper.train(taken, [2, 0])
    check(stepper, reference)


def test_rows_that_are_read_only_or_not_contiguous() -> None:
    rows, targets = rows_and_targets(made())
    reference = ReferenceNetwork.from_network(made())
    train(reference, np.repeat(rows, 2, axis=0), np.repeat(targets, 2))
    stepper = Stepper(made(), learning_rate=RATE)
    read_only, wide = rows.copy(), np.zeros((len(rows), 10))
    read_only.flags.writeable = False
    wide[:, ::2] = rows
    for x, strided, label in zip(read_only, wide[:, ::2], targets, strict=True):
        stepper.step(x, label)
        stepper.step(strided, int(label))
    check(stepper, reference)


def test_a_single_output_takes_a_number() -> None:
    network = made("identity", (5, 4, 1), "float32")
    rows, targets = rows_and_targets(network, 6)
    reference = ReferenceNetwork.from_network(network)
    train(reference, np.repeat(rows, 5, axis=0), np.repeat(targets, 5, axis=0))
    stepper = Stepper(network, learning_rate=RATE)
    for x, target in zip(rows, targets, strict=True):
        for given in (target, target[0], float(target[0]), target.tolist(), target.astype(np.longdouble)):
            stepper.step(x, given)
    check(stepper, reference, 1e-4)
    stepper.train(rows, targets[:, 0])
    train(reference, rows, targets)
    check(stepper, reference, 1e-4)


def test_the_learning_rate_can_be_changed() -> None:
    stepper = Stepper(made(), learning_rate=1.0, options=StepOptions(alpha=0.1))
    rows, targets = rows_and_targets(made())
    reference = ReferenceNetwork.from_network(made())
    reference.alpha = 0.1
    for x, label, rate in zip(rows, targets, np.linspace(0.5, 0, len(rows)), strict=True):
        stepper.learning_rate = rate
        assert stepper.learning_rate == rate
        stepper.step(x, label)
        train(reference, x[None], np.array([label]), rate)
    check(stepper, reference)
    for rate in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="learning rate must be finite and not negative"):
            stepper.learning_rate = rate
    with pytest.raises(RecipeError, match=r"learning rate 10 times alpha 0.1 must be below 1"):
        stepper.learning_rate = 10.0
    assert stepper.learning_rate == 0


def test_options_are_those_of_the_engine() -> None:
    options = StepOptions(smoothing=0.1, alpha=0.02, dropout=0.4, dropout_key=5)
    network = made()
    rows, targets = rows_and_targets(network)
    reference = ReferenceNetwork.from_network(network, label_smoothing=0.1)
    reference.alpha = 0.02
    stepper = Stepper(network, learning_rate=RATE, options=options)
    # Dropout counts the rows of all calls; a refused row does not count.
    position = 0
    for part in (rows[:1], rows[:3], rows[:1]):
        with pytest.raises(DataError):
            stepper.step(np.full(5, np.nan), 0)
        if len(part) == 1:
            stepper.step(part[0], targets[0])
        else:
            stepper.train(part, targets[:3])
        for k in range(len(part)):
            kept = kept_units((7,), 0.4, 5, position + k)
            reference.train(part[k].tolist(), int(targets[k]), RATE, kept)
        position += len(part)
    check(stepper, reference)


def test_inputs_are_scaled_and_the_scaling_may_change() -> None:
    network = made()
    rows, targets = rows_and_targets(network)
    rng = np.random.default_rng(1)
    first, second = (Scaling(rng.normal(size=5), rng.uniform(0.5, 2, 5)) for _ in range(2))
    reference = ReferenceNetwork.from_network(network)
    stepper = Stepper(network, learning_rate=RATE, scaling=first)
    for scaling in (first, second):
        stepper.rescale(scaling)
        scaled = (rows - scaling.mean) * scaling.factor
        for given in (rows, sparse.csr_array(rows), sparse.csr_array(rows)):
            stepper.train(given, targets)
            stepper.step(rows[0], targets[0])
            train(reference, np.concatenate([scaled, scaled[:1]]), np.append(targets, targets[0]))
        np.testing.assert_allclose(stepper.outputs(rows[1]), reference.predict(scaled[1].tolist()), rtol=1e-10)
    check(stepper, reference)


def test_values_of_the_same_column_in_a_sparse_row_are_added() -> None:
    matrix = sparse.csr_array(([1.0, 2.0, 4.0, 3.0], [1, 4, 1, 0], [0, 3, 3, 4]), shape=(3, 5))
    stepper, twin = Stepper(made(), learning_rate=RATE), Stepper(made(), learning_rate=RATE)
    stepper.train(matrix, [0, 1, 2])
    twin.train(matrix.toarray(), [0, 1, 2])
    np.testing.assert_allclose(stepper.outputs_of(matrix), twin.outputs_of(matrix.toarray()), rtol=1e-10)
    assert matrix.has_canonical_format is False


def test_no_rows() -> None:
    stepper = Stepper(made(), learning_rate=RATE)
    for none in (np.empty((0, 5)), sparse.csr_array((0, 5))):
        stepper.train(none, np.empty(0, dtype=int))
        assert stepper.outputs_of(none).shape == (0, 3)
    stepper.store()
    assert stepper.network.sha256() == made().sha256()


ROW = np.arange(5.0)


def with_value(value: float, dtype: Any = np.float64) -> np.ndarray:
    """Return a row whose column 3 has a value."""
    row = ROW.astype(dtype)
    row[3] = value
    return row


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (with_value(np.nan), r"x\[3\] is nan; it must be a finite number"),
        (with_value(-np.inf), r"x\[3\] is -inf"),
        (with_value(np.nan, np.float32), r"x\[3\] is nan"),
        (with_value(np.inf).tolist(), r"x\[3\] is inf"),
        (with_value(1e39), r"x\[3\] is 1e\+39, too large for float32 when it is scaled"),
        (ROW[:4], r"x: must have the shape \(5,\), not \(4,\)"),
        (ROW[None], r"x: must have the shape \(5,\), not \(1, 5\)"),
        (1.0, r"x: must have the shape \(5,\), not \(\)"),
        (np.array(list("abcde")), "x: must be numbers, not <U1"),
        (ROW.astype(object), "x: must be numbers, not object"),
        (ROW.astype(complex), "x: must be numbers, not complex128"),
        (np.zeros(5, "M8[s]"), "x: must be numbers, not datetime64"),
        ([0.0, [1.0], 2.0, 3.0, 4.0], "x: must be numbers"),
        (None, "x: must be numbers, not object"),
    ],
)
def test_a_bad_row_is_refused_and_changes_nothing(x: Any, message: str) -> None:
    stepper = Stepper(made(dtype="float32"), learning_rate=RATE)
    stepper.step(ROW, 1)
    before, totals = stepper.outputs(ROW), stepper.totals.copy()
    for _ in range(2):
        for call in (lambda: stepper.step(x, 1), lambda: stepper.outputs(x)):
            with pytest.raises(DataError, match=message):
                call()
    twin = Stepper(made(dtype="float32"), learning_rate=RATE)
    twin.step(ROW, 1)
    np.testing.assert_array_equal(stepper.outputs(ROW), before)
    np.testing.assert_array_equal(stepper.totals, totals)
    for each in (stepper, twin):
        each.step(ROW, 2)
        each.store()
    assert stepper.network.sha256() == twin.network.sha256()


@pytest.mark.parametrize(
    ("output", "target", "message"),
    [
        ("softmax", 3, "target: must be a class from 0 to 2, not 3"),
        ("softmax", -1, "must be a class from 0 to 2, not -1"),
        ("softmax", 1 << 70, "must be a class from 0 to 2"),
        ("softmax", 1.0, "must be a class from 0 to 2"),
        ("softmax", "a", "must be a class from 0 to 2"),
        ("softmax", None, "must be a class from 0 to 2"),
        ("softmax", np.array([1]), "must be a class from 0 to 2"),
        ("identity", [1, np.nan, 2], "target: must be finite"),
        ("identity", [1, 2, 1e39], "target: must be finite"),
        ("identity", 1.0, r"target: must have the shape \(3,\), not \(\)"),
        ("identity", [1, 2], r"target: must have the shape \(3,\)"),
        ("identity", "abc", "target: must be numbers"),
    ],
)
def test_a_bad_target_is_refused_and_changes_nothing(output: Any, target: Any, message: str) -> None:
    stepper = Stepper(made(output, dtype="float32"), learning_rate=RATE)
    before = stepper.outputs(ROW)
    with pytest.raises(DataError, match=message):
        stepper.step(ROW, target)
    np.testing.assert_array_equal(stepper.outputs(ROW), before)
    assert not stepper.totals.any()


def test_a_bad_class_changes_nothing_between_dense_and_sparse_rows() -> None:
    stepper, twin = (Stepper(made(), learning_rate=RATE) for _ in range(2))
    for _ in range(2):
        with pytest.raises(DataError, match="must be a class from 0 to 2, not 3"):
            stepper.step(ROW, 3)
        for each in (stepper, twin):
            each.train(as_sparse_rows(ROW[None]), [1])
    for each in (stepper, twin):
        np.testing.assert_array_equal(each.outputs(ROW), each.outputs_of(ROW[None])[0])
        each.store()
    assert stepper.network.sha256() == twin.network.sha256()


def test_a_bad_number_as_the_target_of_a_single_output_is_refused() -> None:
    stepper = Stepper(made("identity", (5, 1), "float32"), learning_rate=RATE)
    before = stepper.outputs(ROW)
    for target in (float("nan"), 1e39, np.float64("inf")):
        with pytest.raises(DataError, match="target: must be finite"):
            stepper.step(ROW, target)
    wrong: Any = (-1.0, float("nan"), float("inf"), 1e39, None, "heavy")
    for weight in wrong:
        with pytest.raises(DataError, match="weight: must be finite and not negative"):
            stepper.step(ROW, 1.0, weight)
    np.testing.assert_array_equal(stepper.outputs(ROW), before)


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.nan, r"X\[4101, 3\] is nan; it must be a finite number"),
        (-np.inf, r"X\[4101, 3\] is -inf"),
        (3e38, r"X\[4101, 3\] is 3e\+38, too large for float32 when it is scaled"),
    ],
)
def test_a_bad_value_among_many_rows_is_named_before_anything_changes(kind: Any, value: float, message: str) -> None:
    factor = np.array([1.0, 1, 1, 2, 1])
    stepper = Stepper(made(dtype="float32"), learning_rate=RATE, scaling=Scaling(np.zeros(5), factor))
    rows = np.ones((5000, 5))
    rows[4101, 3] = value
    before = stepper.outputs(ROW)
    for call in (lambda: stepper.train(kind(rows), np.zeros(5000, int)), lambda: stepper.outputs_of(kind(rows))):
        with pytest.raises(DataError, match=message):
            call()
    np.testing.assert_array_equal(stepper.outputs(ROW), before)
    rows[4101, 3] = 3e37  # near the limit, but finite
    stepper.outputs_of(kind(rows))


def test_sums_of_sparse_values_that_are_not_finite_are_refused() -> None:
    matrix = sparse.csr_array(([1.0, 3e38, 3e38], [1, 2, 2], [0, 1, 3]), shape=(2, 5))
    with pytest.raises(DataError, match=r"X\[1, 2\] is 3e\+38, too large for float32"):
        Stepper(made(dtype="float32"), learning_rate=RATE).train(matrix, [0, 1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.ones((2, 4)), [0, 1]), r"X: must have the shape \(n, 5\), not \(2, 4\)"),
        ((sparse.csr_array((2, 4)), [0, 1]), r"X: must have the shape \(n, 5\), not \(2, 4\)"),
        ((sparse.coo_array(np.ones(5)), [0]), "a sparse matrix must have two dimensions"),
        ((np.ones(5), [0]), r"X: must have the shape \(n, 5\), not \(5,\)"),
        (([["a"] * 5], [0]), "X: must be numbers"),
        ((np.ones((2, 5)), [0]), "targets: must be 2 classes"),
        ((np.ones((2, 5)), [0.0, 1.0]), "targets: must be 2 classes"),
        ((np.ones((2, 5)), [0, 3]), r"targets\[1\]: must be a class from 0 to 2, not 3"),
        ((np.ones((2, 5)), [-1, 0]), r"targets\[0\]: must be a class from 0 to 2, not -1"),
        ((np.ones((2, 5)), [0, 1], [1.0]), r"weights: must have the shape \(2,\), not \(1,\)"),
        ((np.ones((2, 5)), [0, 1], [1.0, -1.0]), r"weights\[1\] is -1.0; it must be finite and not negative"),
        ((np.ones((2, 5)), [0, 1], [np.nan, 1.0]), r"weights\[0\] is nan"),
    ],
)
def test_many_rows_that_do_not_fit_are_refused(arguments: Any, message: str) -> None:
    stepper = Stepper(made(), learning_rate=RATE)
    with pytest.raises(DataError, match=message):
        stepper.train(*arguments)


def test_targets_of_many_rows_that_do_not_fit_are_refused() -> None:
    stepper = Stepper(made("identity"), learning_rate=RATE)
    for targets, message in (
        (np.ones(2), r"targets: must have the shape \(2, 3\), not \(2,\)"),
        ([[1, 2, 3], [1, np.inf, 2]], r"targets\[1, 1\] is inf; it must be a finite number"),
        ([["a"] * 3] * 2, "targets: must be numbers"),
    ):
        with pytest.raises(DataError, match=message):
            stepper.train(np.ones((2, 5)), targets)


def test_scalings_that_do_not_fit_are_refused() -> None:
    good = Scaling(np.zeros(5), np.ones(5))
    with pytest.raises(DataError, match=r"means and factors of shape \(5,\)"):
        Stepper(made(), learning_rate=RATE, scaling=Scaling(np.zeros(4), np.ones(5)))
    stepper = Stepper(made(), learning_rate=RATE)
    with pytest.raises(DataError, match=r"means and factors of shape \(5,\)"):
        stepper.rescale(Scaling(np.zeros(5), np.ones(1)))
    stepper.rescale(Scaling(np.zeros(5), with_value(np.nan)))
    for call in (lambda: stepper.step(ROW, 0), lambda: stepper.train(ROW[None], [0])):
        with pytest.raises(DataError, match=r"\[0?,? ?3\] has a scaling that is not finite"):
            call()
    stepper.rescale(good)
    stepper.step(ROW, 0)


def test_the_network_of_a_model_is_refused() -> None:
    network = made()
    network.freeze()
    with pytest.raises(ModelError, match="train a copy of it"):
        Stepper(network, learning_rate=RATE)


# ---- one sparse row ----


def nonzero(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    (columns,) = np.nonzero(x)
    return x[columns], columns.astype(np.int32)


@pytest.mark.parametrize("output", ["softmax", "sigmoid", "identity"])
@pytest.mark.parametrize("scaled", [False, True])
def test_sparse_rows_of_one_call_are_steps(output: Any, scaled: bool) -> None:
    network = made(output, (40, 7, 3))
    rows, targets = rows_and_targets(network)
    scales = Scaling(np.linspace(-1, 1, 40), np.linspace(0.5, 2, 40)) if scaled else None
    stepper, reference = Stepper(network, learning_rate=RATE, scaling=scales), ReferenceNetwork.from_network(network)
    inputs = rows if scales is None else (rows - scales.mean) * scales.factor
    for i, (x, target) in enumerate(zip(rows, targets, strict=True)):
        expected = reference.predict(inputs[i].tolist())
        assert stepper.outputs_sparse(*nonzero(x)) == pytest.approx(expected, rel=1e-9)
        # Dense and sparse rows, one or many, may follow each other.
        if i % 4 == 1:
            stepper.step(x, target, weight=0.5)
        elif i % 4 == 3:
            stepper.train(sparse.csr_array(x[None]), targets[i : i + 1], [0.5])
        else:
            stepper.step_sparse(*nonzero(x), target, weight=0.5)
        reference.train(inputs[i].tolist(), target.tolist(), RATE * 0.5)
    check(stepper, reference)


def test_a_sparse_row_may_be_empty_or_repeat_columns_or_hold_other_types() -> None:
    one, other = (Stepper(made(sizes=(4, 3, 3)), learning_rate=RATE) for _ in range(2))
    for values, columns, x in (
        ([], [], [0, 0, 0, 0]),
        ([1.0, 2.0, 4.0], [3, 0, 3], [2, 0, 0, 5]),
        (np.array([1, 2]), np.array([1, 2], dtype=np.uint8), [0, 1, 2, 0]),
    ):
        given = np.asarray(values), np.asarray(columns, dtype=getattr(columns, "dtype", np.int64))
        one.step_sparse(*given, 1)
        other.step(np.array(x, dtype=float), 1)
        assert one.outputs_sparse(*given) == pytest.approx(other.outputs(np.array(x, dtype=float)), rel=1e-12)


@pytest.mark.parametrize(
    ("values", "columns", "target", "message"),
    [
        ([np.nan], [0], 0, r"X\[0, 0\] is nan"),
        ([1.0, np.inf], [0, 4], 0, r"X\[0, 4\] is inf"),
        ([1.0], [5], 0, "column index of 5, outside of its 5 columns"),
        ([1.0], [-1], 0, "column index of -1"),
        ([1.0], [2**32], 0, "column index of 4294967296"),
        ([1.0], [0.0], 0, "must be whole numbers"),
        ([1.0, 2.0], [0], 0, "must have the same length, not 2 and 1"),
        ([], [0], 0, "must have the same length, not 0 and 1"),
        ([1.0], [0], 3, "target: must be a class from 0 to 2, not 3"),
        ([1.0], [0], -1, "target: must be a class from 0 to 2, not -1"),
        ([1.0], [0], 0.5, "target: must be a class"),
    ],
)
def test_a_bad_sparse_row_is_refused_and_changes_nothing(values: Any, columns: Any, target: Any, message: str) -> None:
    stepper = Stepper(made(), learning_rate=RATE)
    stepper.step_sparse(np.ones(1), np.zeros(1, np.int32), 0)
    stepper.store()
    before = stepper.network.sha256()
    with pytest.raises(DataError, match=message):
        stepper.step_sparse(np.array(values), np.array(columns), target)
    stepper.store()
    assert stepper.network.sha256() == before


def test_bad_numbers_for_a_sparse_row_are_refused() -> None:
    stepper = Stepper(made("identity"), learning_rate=RATE)
    with pytest.raises(DataError, match="target: must be finite"):
        stepper.step_sparse(np.ones(1), np.zeros(1, np.int32), [0.0, np.nan, 0.0])
    with pytest.raises(DataError, match="weight: must be finite"):
        stepper.step_sparse(np.ones(1), np.zeros(1, np.int32), [0.0, 0.0, 0.0], weight=-1.0)


@pytest.mark.parametrize("sizes", [(3, 4, 2), (70, 80, 20, 3)])
def test_a_row_whose_loss_is_not_finite_changes_nothing(sizes: tuple[int, ...]) -> None:
    network = Network(sizes, rule="backprop", activation="relu", output="softmax").initialise("he")
    network.weights[0][:, 0] = 1e30
    network.weights[1][0] = 1e30
    before = network.parameters.copy()
    stepper = Stepper(network, learning_rate=0.1)
    stepper.step(np.full(sizes[0], 1e10), 1)
    assert not np.isfinite(stepper.totals[0])
    stepper.store()
    np.testing.assert_array_equal(network.parameters, before)
    stepper.totals[:] = 0
    stepper.step(np.full(sizes[0], -1.0), 1)
    assert np.isfinite(stepper.totals[0])
