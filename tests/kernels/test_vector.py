"""The vectors: each compiled operation against its plain twin, the exponential against wider arithmetic."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numba
import numpy as np
import pytest

from fastnn.kernels import augment, sgd, simd, strokes
from tests.helpers import compiled_only, plain_copy

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

WIDTH = (0, 0, 0)
FOUR = ("load_four", "store_four", "splat_four")
LANEWISE = ("add", "sub", "mul", "div", "fma", "relu", "where_positive", "maximum", "splat", "exp")
ONE_REGISTER = ("dot", "total", "greatest", "count_greater", "sum_rows", "peek", "poke", "lowest_bit")
WITHOUT_EFFECT = ("prefetch", "out_of_line", "rolled")
LONGER = pytest.mark.skipif(np.finfo(np.longdouble).nmant <= 52, reason="long double is no wider than double here")


@pytest.fixture(scope="module")
def plain() -> ModuleType:
    return plain_copy(simd)


def lanewise(simd: ModuleType, width: tuple[int, ...] = WIDTH) -> Callable[..., None]:
    """Return a function that writes each lane-wise operation on a, b and c to a row of `out`, in LANEWISE's order."""

    def function(a, b, c, out, lanes):
        n = a.size
        pa, pb, pc, po = simd.data(a), simd.data(b), simd.data(c), simd.data(out)
        for k in range(0, n, lanes):
            x, y, z = simd.load(pa, k, width), simd.load(pb, k, width), simd.load(pc, k, width)
            simd.rolled()
            simd.prefetch(pa, k + 1000)
            simd.store(po, k, simd.add(x, y))
            simd.store(po, n + k, simd.sub(x, y))
            simd.store(po, 2 * n + k, simd.mul(x, y))
            simd.store(po, 3 * n + k, simd.div(x, y))
            simd.store(po, 4 * n + k, simd.fma(x, y, z))
            simd.store(po, 5 * n + k, simd.relu(x))
            simd.store(po, 6 * n + k, simd.where_positive(x, y, z))
            simd.store(po, 7 * n + k, simd.maximum(x, y))
            simd.store(po, 8 * n + k, simd.splat(simd.peek(pa, k), width))
            simd.store(po, 9 * n + k, simd.exp(x))

    return function


def one_register(simd: ModuleType) -> Callable[..., None]:
    """Return a function that writes each operation on single registers to a row of `out`, in ONE_REGISTER's order."""

    def function(a, b, c, bits, out, counts, lanes):
        simd.out_of_line()
        x, y = simd.load(a, 0, WIDTH), simd.load(b, 0, WIDTH)
        first, second, third = simd.load(a, 0, (0,)), simd.load(b, 0, (0,)), simd.load(c, 0, (0,))
        simd.store(out, 0, simd.dot(x, y, third))
        simd.poke(out, lanes, simd.total(first))
        simd.poke(out, 2 * lanes, simd.greatest(first))
        counts[0] = simd.count_greater(first, second)
        simd.store(out, 4 * lanes, simd.sum_rows(c, lanes))
        simd.poke(out, 5 * lanes, simd.peek(b, 3))
        simd.poke(out, 6 * lanes, 2)
        for k in range(bits.size):
            counts[k + 1] = simd.lowest_bit(simd.peek(bits, k))

    return function


def samples(dtype: str, n: int) -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    arrays = [rng.normal(0, 3, n).astype(dtype) for _ in range(3)]
    for array in arrays:
        array[rng.random(n) < 0.2] = 0
    arrays[0][:4] = [-0.0, 1e30, -1e-30, 5]
    arrays[1][arrays[1] == 0] = 0.5  # nothing is divided by 0
    return arrays


@pytest.mark.parametrize("width", [WIDTH, ()], ids=["3 registers", "half a register"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_lanewise_operations_equal_their_plain_twins(plain: ModuleType, dtype: str, width: tuple[int, ...]) -> None:
    lanes = simd.lanes(dtype, width)
    arrays = samples(dtype, 4 * lanes)
    results = []
    for function in (numba.njit(lanewise(simd, width)), lanewise(plain, width)):
        out = np.full((len(LANEWISE), 4 * lanes), 77, dtype=dtype)
        function(*arrays, out.reshape(-1), lanes)
        results.append(out)
    for name, compiled, twin in zip(LANEWISE, *results, strict=True):
        if name in ("fma", "exp"):
            # fma rounds once here and twice there, in the product, which is below 100 (once below 1e31).
            np.testing.assert_allclose(compiled, twin, rtol=4 * np.finfo(dtype).eps, atol=100 * np.finfo(dtype).eps)
        else:
            np.testing.assert_array_equal(compiled, twin, err_msg=name)
            assert np.array_equal(np.signbit(compiled), np.signbit(twin)), name
    a, b, c = arrays
    expected = [a + b, a - b, a * b, a / b, a * b + c, np.maximum(a, 0), np.where(a > 0, b, c), np.maximum(a, b)]
    for name, compiled, wanted in zip(LANEWISE, results[0], expected, strict=False):
        np.testing.assert_allclose(compiled, wanted, rtol=1e-6, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_operations_on_one_register_equal_their_plain_twins(plain: ModuleType, dtype: str) -> None:
    lanes = simd.lanes(dtype, (0,))
    a, b, _ = samples(dtype, 3 * lanes)
    a[1] = 40
    c = np.random.default_rng(4).normal(0, 1, (lanes + 1) * lanes).astype(dtype)
    bits = np.array([1, 2, 12, 1 << 63, (1 << 64) - 1, 3 << 40], dtype=np.uint64)
    results, counts = [], []
    for function in (numba.njit(one_register(simd)), one_register(plain)):
        out, count = np.full((len(ONE_REGISTER), lanes), 77, dtype=dtype), np.zeros(7, dtype=np.int64)
        function(a, b, c, bits, out.reshape(-1), count, lanes)
        results.append(out)
        counts.append(count.tolist())
    # Up to 16 terms, of which the greatest is below 1000, in another order.
    np.testing.assert_allclose(results[0], results[1], rtol=0, atol=1000 * np.finfo(dtype).eps)
    rows = dict(zip(ONE_REGISTER, results[0], strict=True))
    wide = (a.astype(float) * b).reshape(3, lanes).sum(axis=0) + c[:lanes]
    np.testing.assert_allclose(rows["dot"], wide, rtol=1e-6, atol=1e-4)
    assert rows["total"][0] == pytest.approx(float(a[:lanes].sum(dtype=float)), rel=1e-6)
    assert rows["greatest"][0] == a[:lanes].max()
    assert counts == [[np.count_nonzero(a[:lanes] > b[:lanes]), 0, 1, 2, 63, 0, 40]] * 2
    sums = c[lanes:].reshape(lanes, lanes).sum(axis=1, dtype=float)
    np.testing.assert_allclose(rows["sum_rows"], sums, rtol=0, atol=1e-5)
    assert (rows["peek"][0], rows["poke"][0]) == (b[3], 2)


def four_rows(simd: ModuleType, width: tuple[int, ...]) -> Callable[..., None]:
    """Return a function that updates four rows of a matrix and sums them, each weighted."""

    def function(m, at, stride, steps, h, out):
        new = simd.fma(simd.splat_four(m, steps, width), simd.load(m, h, width), simd.load_four(m, at, stride, width))
        simd.store_four(m, at, stride, new)
        # A single register is taken four times, whichever of the arguments it is.
        new = simd.sub(simd.load(m, h, width), new)
        simd.store(m, out, simd.dot(new, simd.splat_four(m, steps, width), simd.load(m, out, width)))

    return function


@pytest.mark.parametrize("width", [(0,), ()], ids=["registers", "halves"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_four_rows_at_once(plain: ModuleType, dtype: str, width: tuple[int, ...]) -> None:
    n = simd.lanes(dtype, width)
    stride, steps, h, out = n + 3, 4 * (n + 3), 5 * (n + 3), 6 * (n + 3)
    before = np.random.default_rng(9).normal(0, 1, 7 * stride).astype(dtype)
    rows, wanted = before[: 4 * stride].reshape(4, stride), before.astype(float)
    rows = rows.astype(float)
    rows[:, :n] += np.outer(before[steps : steps + 4], before[h : h + n])
    wanted[: 4 * stride] = rows.reshape(-1)
    wanted[out : out + n] += before[steps : steps + 4].astype(float) @ (before[h : h + n] - rows[:, :n])
    for function in (numba.njit(four_rows(simd, width)), four_rows(plain, width)):
        m = before.copy()
        function(m, 0, stride, steps, h, out)
        np.testing.assert_allclose(m, wanted, rtol=0, atol=20 * np.finfo(dtype).eps)
        # Between the rows and behind them nothing is written.
        untouched = np.ones(len(m), dtype=bool)
        for start in (0, stride, 2 * stride, 3 * stride, out):
            untouched[start : start + n] = False
        assert np.array_equal(m[untouched], before[untouched])


@compiled_only
@pytest.mark.parametrize(
    "function",
    [
        lambda m: simd.add(simd.load(m, 0, (0, 0)), simd.load(m, 0, (0, 0, 0, 0))),
        lambda m: simd.add(simd.load(m, 0, ()), simd.load(m, 0, (0,))),
        lambda m: simd.load_four(m, 0, 64, (0, 0)),
        lambda m: simd.splat_four(m, 0, (0, 0)),
    ],
    ids=["2 and 4 registers", "half and whole registers", "four pairs", "four pairs of numbers"],
)
def test_vectors_that_do_not_fit_each_other(function: Callable[..., Any]) -> None:
    make = numba.njit(function)

    def store(m):
        simd.store(m, 0, make(m))

    with pytest.raises(numba.TypingError):
        numba.njit(store)(np.zeros(1000))


def test_both_copies_have_the_same_functions(plain: ModuleType) -> None:
    def functions(module: ModuleType) -> set[str]:
        made_here = (name for name, value in vars(module).items() if callable(value) and not isinstance(value, type))
        imported = {"intrinsic", "register_model", "lanes_of"}
        # What emits LLVM code for other intrinsics is no function of a kernel.
        return {name for name in made_here if not name.startswith(("_", "emit_"))} - imported

    assert functions(simd) == functions(plain)
    # And this file runs every one of them.
    assert functions(plain) == {*LANEWISE, *ONE_REGISTER, *FOUR, "load", "store", "data", "lanes", *WITHOUT_EFFECT}


@compiled_only
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_fma_rounds_once(dtype: str) -> None:
    lanes, eps = simd.lanes(dtype, WIDTH), np.finfo(dtype).eps
    a, b, c = (np.full(lanes, value, dtype=dtype) for value in (1 + eps, 1 - eps, -1.0))
    out = np.zeros((len(LANEWISE), lanes), dtype=dtype)
    numba.njit(lanewise(simd))(a, b, c, out.reshape(-1), lanes)
    # (1 + eps)(1 - eps) - 1 is -eps**2; rounded to 1 on the way it would be 0.
    assert set(out[LANEWISE.index("fma")]) == {np.dtype(dtype).type(-(float(eps) ** 2))}


def exponentials(module: ModuleType, x: np.ndarray, jit: Callable[..., Any]) -> np.ndarray:
    lanes = module.lanes(x.dtype, WIDTH)
    padded = np.zeros(-(-len(x) // lanes) * lanes, dtype=x.dtype)
    padded[: len(x)] = x
    ones, out = np.ones_like(padded), np.zeros((len(LANEWISE), len(padded)), dtype=x.dtype)
    jit(lanewise(module))(padded, ones, ones, out.reshape(-1), lanes)
    return out[LANEWISE.index("exp"), : len(x)]


def ulps(found: np.ndarray, exact: np.ndarray) -> float:
    """Return the greatest distance in units in the last place of the result."""
    return float((np.abs(found.astype(exact.dtype) - exact) / np.spacing(found).astype(exact.dtype)).max())


@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [("float32", -87.0, 88.0), pytest.param("float64", -708.0, 709.0, marks=LONGER)],
)
def test_exp_is_within_a_unit_in_the_last_place(plain: ModuleType, dtype: str, low: float, high: float) -> None:
    rng = np.random.default_rng(5)
    # All over the range, densely where networks work, near 0, and at the ends of the argument's reduction.
    halves = (np.arange(round(low / np.log(2)) + 1, round(high / np.log(2)) - 1) + 0.5) * np.log(2)
    edges = [low, high, 0.0, -0.0, *halves, *np.nextafter(halves, -1e9), *np.nextafter(halves, 1e9)]
    parts = [rng.uniform(low, high, 40_000), rng.normal(0, 4, 40_000), rng.normal(0, 1e-4, 5000), edges]
    x = np.clip(np.concatenate(parts), low, high).astype(dtype)
    exact = np.exp(x.astype(np.float64 if dtype == "float32" else np.longdouble))
    if not numba.config.DISABLE_JIT:
        assert ulps(exponentials(simd, x, numba.njit), exact) <= 1.0
    assert ulps(exponentials(plain, x, lambda function: function), exact) <= 2.0


@pytest.mark.parametrize(("dtype", "low", "high"), [("float32", -87, 88), ("float64", -708, 709)])
def test_exp_beyond_its_range_stays_positive_and_finite(dtype: str, low: float, high: float) -> None:
    x = np.array([-np.inf, -1e9, low - 1, low, high, high + 1, 1e9, np.inf], dtype=dtype)
    found = exponentials(simd, x, numba.njit)
    assert np.isfinite(found).all()
    assert found[0] == found[1] == found[2] == found[3] > 0
    assert found[4] == found[5] == found[6] == found[7]


@compiled_only
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_nan_stays_nan(dtype: str) -> None:
    lanes = simd.lanes(dtype, WIDTH)
    a, b, c = (np.full(lanes, value, dtype=dtype) for value in (np.nan, 1.0, 2.0))
    out = np.zeros((len(LANEWISE), lanes), dtype=dtype)
    numba.njit(lanewise(simd))(a, b, c, out.reshape(-1), lanes)
    rows = dict(zip(LANEWISE, out, strict=True))
    for name in ("add", "sub", "mul", "div", "fma", "relu", "maximum", "splat", "exp"):
        assert np.isnan(rows[name]).all(), name
    assert (rows["where_positive"] == 2).all()


def test_lanes_of_a_width() -> None:
    assert simd.lanes("float32", (0,)) == 16
    assert simd.lanes("float32", ()) == 8
    assert simd.lanes(np.float64, (0, 0, 0)) == 24


@pytest.mark.parametrize("kernels", [sgd, augment, strokes], ids=["sgd", "augment", "strokes"])
def test_the_kernels_know_what_they_were_built_with(kernels: ModuleType) -> None:
    """Numba's cache notices edits in a file of kernels alone, so an edit in these has to change a line there."""
    for name, noted in kernels._BUILT_IN.items():
        checksum = hashlib.sha256((Path(kernels.__file__ or "").parent / f"{name}.py").read_bytes()).hexdigest()[:16]
        assert checksum == noted, f"set _BUILT_IN in {kernels.__file__} to {checksum!r} for {name}"
