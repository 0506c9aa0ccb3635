"""The intrinsics: each equals its plain twin; the exponential is compared with wider arithmetic."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba
import numpy as np
import pytest

from fastnn.kernels import vector
from fastnn.kernels.vector import FOUR, HALF, ONE, THREE, TWO
from fastnn.kernels.workspace import address_of
from tests.helpers import needs_jit
from tests.kernels import plain

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

KINDS = {"float32": numba.float32, "float64": numba.float64}
ROWS = ("load_rows", "store_rows", "splat_rows")
LANEWISE = ("add", "sub", "mul", "div", "fma", "relu", "where_positive", "maximum", "splat", "exp", "zeros")
ONE_VECTOR = (
    "dot",
    "sum_lanes",
    "max_lanes",
    "sum_four",
    "max_four",
    "count_greater",
    "sum_each",
    "sum_rows",
    "lowest_bit",
    "floats_per_vector",
)
RECORDS = ("record_at", "float_pointer", "pointer", "advance", "load", "store")
HINTS = ("prefetch", "noinline", "small_code")
LONGER = pytest.mark.skipif(np.finfo(np.longdouble).nmant <= 52, reason="long double is no wider than double here")


def lanewise(simd: ModuleType, dtype: str, width: int = THREE) -> Callable[..., None]:
    """Return a function that writes each lanewise operation on a, b and c to a row of `out`, in LANEWISE's order."""
    kind = KINDS[dtype]

    def function(a, b, c, out, n, lanes):
        a, b, c = simd.pointer(a, kind), simd.pointer(b, kind), simd.pointer(c, kind)
        out = simd.pointer(out, kind)
        for k in range(0, n, lanes):
            x, y, z = simd.load(a, k, width), simd.load(b, k, width), simd.load(c, k, width)
            simd.prefetch(a, k + 1000)
            simd.store(out, k, simd.add(x, y))
            simd.store(out, n + k, simd.sub(x, y))
            simd.store(out, 2 * n + k, simd.mul(x, y))
            simd.store(out, 3 * n + k, simd.div(x, y))
            simd.store(out, 4 * n + k, simd.fma(x, y, z))
            simd.store(out, 5 * n + k, simd.relu(x))
            simd.store(out, 6 * n + k, simd.where_positive(x, y, z))
            simd.store(out, 7 * n + k, simd.maximum(x, y))
            simd.store(out, 8 * n + k, simd.splat(a[k], width))
            simd.store(out, 9 * n + k, simd.exp(x))
            simd.store(out, 10 * n + k, simd.zeros(a, width))

    return function


def run_lanewise(simd: ModuleType, arrays: list[np.ndarray], width: int = THREE) -> dict[str, np.ndarray]:
    """Return the result of each lanewise operation on three arrays of the same length."""
    dtype, n = arrays[0].dtype, len(arrays[0])
    out = np.full((len(LANEWISE), n), 77, dtype)
    function = lanewise(simd, dtype.name, width)
    compiled = function if simd is plain else numba.njit(function)
    compiled(*map(address_of, arrays), address_of(out), n, max(1, width) * plain.lanes_of(dtype, width))
    return dict(zip(LANEWISE, out, strict=True))


def samples(dtype: str, n: int) -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    arrays = [rng.normal(0, 3, n).astype(dtype) for _ in range(3)]
    for array in arrays:
        array[rng.random(n) < 0.2] = 0
    arrays[0][:4] = [-0.0, 1e30, -1e-30, 5]
    arrays[1][arrays[1] == 0] = 0.5  # no division by 0
    return arrays


@pytest.mark.parametrize("width", [THREE, HALF], ids=["three vectors", "half a vector"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_lanewise_operations_equal_their_plain_twins(dtype: str, width: int) -> None:
    arrays = samples(dtype, 12 * plain.lanes_of(dtype, width))
    compiled, twins = run_lanewise(vector, arrays, width), run_lanewise(plain, arrays, width)
    for name in LANEWISE:
        if name in ("fma", "exp"):
            # The twin of fma may round twice: in the product, which is below 100 (once below 1e31), and in the sum.
            eps = np.finfo(dtype).eps
            np.testing.assert_allclose(compiled[name], twins[name], rtol=4 * eps, atol=100 * eps)
        else:
            np.testing.assert_array_equal(compiled[name], twins[name], err_msg=name)
            assert np.array_equal(np.signbit(compiled[name]), np.signbit(twins[name])), name
    a, b, c = arrays
    expected = [a + b, a - b, a * b, a / b, a * b + c, np.maximum(a, 0), np.where(a > 0, b, c), np.maximum(a, b)]
    for name, wanted in zip(LANEWISE, expected, strict=False):
        np.testing.assert_allclose(compiled[name], wanted, rtol=1e-6, atol=1e-5, err_msg=name)


def one_vector(simd: ModuleType, dtype: str) -> Callable[..., None]:
    """Return a function that writes each operation of ONE_VECTOR to `out` or `counts`."""
    kind = KINDS[dtype]

    def function(a, b, c, bits, out, counts):
        simd.noinline()
        simd.small_code()
        a, b, c = simd.pointer(a, kind), simd.pointer(b, kind), simd.pointer(c, kind)
        out, counts, bits = simd.pointer(out, kind), simd.pointer(counts, numba.int64), simd.pointer(bits, numba.uint64)
        lanes = simd.floats_per_vector(a)
        x, y = simd.load(a, 0, THREE), simd.load(b, 0, THREE)
        first, second, third = simd.load(a, 0, ONE), simd.load(b, 0, ONE), simd.load(c, 0, ONE)
        simd.store(out, 0, simd.dot(x, y, third))
        simd.store(out, lanes, simd.sum_each(c, lanes))
        simd.store(out, 2 * lanes, simd.sum_rows(simd.load(c, lanes, FOUR)))
        numbers = simd.advance(out, 3 * lanes)
        numbers[0] = simd.sum_lanes(first)
        numbers[1] = simd.max_lanes(first)
        numbers[2] = simd.sum_four(second)
        numbers[3] = simd.max_four(second)
        counts[0] = simd.count_greater(first, second)
        counts[1] = lanes
        for k in range(6):
            counts[k + 2] = simd.lowest_bit(bits[k])

    return function


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_operations_on_one_vector_equal_their_plain_twins(dtype: str) -> None:
    lanes = plain.lanes_of(dtype, ONE)
    a, b, _ = samples(dtype, 3 * lanes)
    a[1] = 40
    c = np.random.default_rng(4).normal(0, 1, (lanes + 1) * lanes).astype(dtype)
    bits = np.array([1, 2, 12, 1 << 63, (1 << 64) - 1, 3 << 40], dtype=np.uint64)
    found = []
    for function in (numba.njit(one_vector(vector, dtype)), one_vector(plain, dtype)):
        out, counts = np.full(4 * lanes, 77, dtype), np.zeros(8, dtype=np.int64)
        function(*map(address_of, (a, b, c, bits, out, counts)))
        found.append(out)
        assert counts.tolist() == [np.count_nonzero(a[:lanes] > b[:lanes]), lanes, 0, 1, 2, 63, 0, 40]
    # Up to 16 terms, of which the greatest is below 1000, in another order.
    np.testing.assert_allclose(found[0], found[1], rtol=0, atol=1000 * np.finfo(dtype).eps)
    wide = (a.astype(float) * b).reshape(3, lanes).sum(axis=0) + c[:lanes]
    np.testing.assert_allclose(found[0][:lanes], wide, rtol=1e-6, atol=1e-4)
    sums = c[lanes:].reshape(lanes, lanes).sum(axis=1, dtype=float)
    np.testing.assert_allclose(found[0][lanes : 2 * lanes], sums, rtol=0, atol=1e-5)
    assert found[0][2 * lanes : 3 * lanes].tolist() == [*found[0][lanes : lanes + 4].tolist(), *[0] * (lanes - 4)]
    assert found[0][3 * lanes] == pytest.approx(float(a[:lanes].sum(dtype=float)), rel=1e-6)
    assert found[0][3 * lanes + 1] == a[:lanes].max()
    assert found[0][3 * lanes + 2] == pytest.approx(float(b[:4].sum(dtype=float)), rel=1e-5)
    assert found[0][3 * lanes + 3] == b[:4].max()


def four_rows(simd: ModuleType, dtype: str, width: int) -> Callable[..., None]:
    """Return a function that updates four rows of a matrix and sums them, each weighted."""
    kind = KINDS[dtype]

    def function(rows, stride, factors, x, out):
        rows, factors = simd.pointer(rows, kind), simd.pointer(factors, kind)
        x, out = simd.pointer(x, kind), simd.pointer(out, kind)
        scaled = simd.splat_rows(factors, 1, width)
        new = simd.fma(scaled, simd.load(x, 0, width), simd.load_rows(rows, stride, width))
        simd.store_rows(rows, stride, new)
        # A single vector is used with each of four, whichever argument it is.
        difference = simd.sub(simd.load(x, 0, width), new)
        simd.store(out, 0, simd.dot(difference, scaled, simd.load(out, 0, width)))

    return function


@pytest.mark.parametrize("width", [ONE, HALF], ids=["vectors", "halves"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_four_rows_at_once(dtype: str, width: int) -> None:
    n = plain.lanes_of(dtype, width)
    rng, stride = np.random.default_rng(9), n + 3
    rows, factors, x, out = (rng.normal(0, 1, size).astype(dtype) for size in ((5, stride), 6, stride, stride))
    new, sums = rows.astype(float), out.astype(float)
    new[:4, :n] += np.outer(factors[1:5], x[:n])
    sums[:n] += factors[1:5].astype(float) @ (x[:n] - new[:4, :n])
    for function in (numba.njit(four_rows(vector, dtype, width)), four_rows(plain, dtype, width)):
        own_rows, own_out = rows.copy(), out.copy()
        function(address_of(own_rows), stride, address_of(factors), address_of(x), address_of(own_out))
        np.testing.assert_allclose(own_rows, new, rtol=0, atol=20 * np.finfo(dtype).eps)
        np.testing.assert_allclose(own_out, sums, rtol=0, atol=20 * np.finfo(dtype).eps)
        # Between the rows and behind them nothing is written.
        assert np.array_equal(own_rows[:, n:], rows[:, n:])
        assert np.array_equal(own_rows[4], rows[4])
        assert np.array_equal(own_out[n:], out[n:])


RECORD = np.dtype([("numbers", np.int64), ("n", np.int64), ("one", np.float32)], align=True)


def halve(simd: ModuleType) -> Callable[[int], None]:
    """Return a kernel that halves the numbers of a record and counts them down."""

    def function(address):
        args = simd.record_at(address, RECORD)
        numbers = simd.float_pointer(args, args.numbers)
        while args.n > 0:
            args.n -= 1
            numbers[args.n] = numbers[args.n] * (args.one / 2)

    return function


def test_records_are_read_and_written() -> None:
    for function in (numba.njit(halve(vector)), halve(plain)):
        numbers, record = np.arange(6, dtype=np.float32), np.zeros(2, RECORD)
        record["numbers"], record["n"], record["one"] = address_of(numbers), [0, 5], 1
        function(address_of(record[1:]))
        assert numbers.tolist() == [0, 0.5, 1, 1.5, 2, 5]
        assert record["n"].tolist() == [0, 0]


@needs_jit
@pytest.mark.parametrize(
    "function",
    [
        lambda m: vector.add(vector.load(m, 0, TWO), vector.load(m, 0, FOUR)),
        lambda m: vector.add(vector.load(m, 0, HALF), vector.load(m, 0, ONE)),
    ],
    ids=["2 and 4 vectors", "half and whole vectors"],
)
def test_vectors_of_different_widths_cannot_be_added(function: Callable[..., Any]) -> None:
    make = numba.njit(function)

    def store(address):
        m = vector.pointer(address, numba.float64)
        vector.store(m, 0, make(m))

    with pytest.raises(numba.TypingError):
        numba.njit(store)(address_of(np.zeros(1000)))


@needs_jit
def test_a_width_must_be_a_constant() -> None:
    def store(address, width):
        m = vector.pointer(address, numba.float64)
        vector.store(m, 0, vector.load(m, 0, width))

    with pytest.raises(TypeError, match="a width must be a constant"):
        numba.njit(store)(address_of(np.zeros(1000)), 2)


@needs_jit
def test_every_intrinsic_has_a_plain_twin() -> None:
    intrinsics = {name for name, value in vars(vector).items() if type(value) is type(vector.load)}
    # This file runs all of them.
    assert intrinsics == {*LANEWISE, *ONE_VECTOR, *ROWS, *RECORDS, *HINTS}
    assert all(callable(getattr(plain, name)) for name in intrinsics)


@needs_jit
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_fma_rounds_once(dtype: str) -> None:
    eps = np.finfo(dtype).eps
    arrays = [np.full(plain.lanes_of(dtype, ONE) * 3, value, dtype) for value in (1 + eps, 1 - eps, -1.0)]
    # (1 + eps)(1 - eps) - 1 is -eps**2; with a rounded product it would be 0.
    assert set(run_lanewise(vector, arrays)["fma"]) == {np.dtype(dtype).type(-(float(eps) ** 2))}


def exponentials(x: np.ndarray) -> np.ndarray:
    lanes = 3 * plain.lanes_of(x.dtype, ONE)
    padded = np.zeros(-(-len(x) // lanes) * lanes, x.dtype)
    padded[: len(x)] = x
    ones = np.ones_like(padded)
    return run_lanewise(vector, [padded, ones, ones])["exp"][: len(x)]


def ulps(found: np.ndarray, exact: np.ndarray) -> float:
    """Return the greatest distance in units in the last place of the result."""
    return float((np.abs(found.astype(exact.dtype) - exact) / np.spacing(found).astype(exact.dtype)).max())


@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [("float32", -87.0, 88.0), pytest.param("float64", -708.0, 709.0, marks=LONGER)],
)
def test_exp_is_within_a_unit_in_the_last_place(dtype: str, low: float, high: float) -> None:
    rng = np.random.default_rng(5)
    # The whole range, with more points at the usual sums of networks, near 0, and at the edges of the range reduction.
    halves = (np.arange(round(low / np.log(2)) + 1, round(high / np.log(2)) - 1) + 0.5) * np.log(2)
    edges = [low, high, 0.0, -0.0, *halves, *np.nextafter(halves, -1e9), *np.nextafter(halves, 1e9)]
    parts = [rng.uniform(low, high, 40_000), rng.normal(0, 4, 40_000), rng.normal(0, 1e-4, 5000), edges]
    x = np.clip(np.concatenate(parts), low, high).astype(dtype)
    exact = np.exp(x.astype(np.float64 if dtype == "float32" else np.longdouble))
    assert ulps(exponentials(x), exact) <= 1.0


@pytest.mark.parametrize(("dtype", "low", "high"), [("float32", -87, 88), ("float64", -708, 709)])
def test_exp_beyond_its_range_stays_positive_and_finite(dtype: str, low: float, high: float) -> None:
    found = exponentials(np.array([-np.inf, -1e9, low - 1, low, high, high + 1, 1e9, np.inf], dtype))
    assert np.isfinite(found).all()
    assert found[0] == found[1] == found[2] == found[3] > 0
    assert found[4] == found[5] == found[6] == found[7]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_nan_stays_nan(dtype: str) -> None:
    found = run_lanewise(vector, [np.full(3 * plain.lanes_of(dtype, ONE), value, dtype) for value in (np.nan, 1, 2)])
    for name in ("add", "sub", "mul", "div", "fma", "relu", "maximum", "splat", "exp"):
        assert np.isnan(found[name]).all(), name
    assert (found["where_positive"] == 2).all()
