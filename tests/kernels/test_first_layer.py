"""The loops over the pixels of a block: each compiled one against its plain twin, and what it leaves alone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numba
import numpy as np
import pytest

from fastnn.kernels import blocks, simd
from fastnn.kernels.layout import BLOCK, CASES, CHUNK, PAIRS
from tests.helpers import compiled_only, plain_copy

if TYPE_CHECKING:
    from types import ModuleType

PIXELS = 16 * CHUNK
STRIDE = 80


@pytest.fixture(scope="module")
def plain() -> ModuleType:
    return plain_copy(blocks)


def problem(dtype: str) -> SimpleNamespace:
    """Images of which half the pixels are paper, and room for all that the loops write."""
    rng = np.random.default_rng(4)
    images = rng.integers(0, 256, (6, PIXELS), dtype=np.uint8)
    images[rng.random(images.shape) < 0.5] = 255
    room = SimpleNamespace(v=PIXELS * STRIDE)
    room.products = room.v + BLOCK * PIXELS
    room.parts = room.products + len(PAIRS) * simd.lanes(dtype, (0,))
    room.steps = room.parts + BLOCK * STRIDE
    memory = rng.normal(0, 1, room.steps + BLOCK * STRIDE).astype(dtype)
    return SimpleNamespace(images=images, memory=memory, **vars(room))


def opened(module: ModuleType, given: SimpleNamespace, shift: int, present: int) -> tuple[Any, Any, Any]:
    memory, starts = given.memory.copy(), np.array([3, 0, 5, 2]) * PIXELS
    cases, unions = np.zeros(PIXELS, np.uint8), np.zeros(4, np.uint64)

    def function(m, images, starts, cases, unions, v, products, pixels, shift, present):
        module.open_block(m, v, pixels, products, images, starts, cases, unions, pixels, shift, present)

    run(function, memory, given.images, starts, cases, unions, given.v, given.products, PIXELS, shift, present)
    return memory, cases, unions


def run(function: Any, *arguments: Any) -> None:
    """Run a kernel on addresses as its module wants them."""
    compiled = function.__closure__[0].cell_contents is blocks
    take = simd.data if compiled else np.ravel
    count = sum(isinstance(argument, np.ndarray) for argument in arguments)

    if not compiled:
        function(*(take(argument) for argument in arguments[:count]), *arguments[count:])
        return
    inner = numba.njit(function)
    if count == 5:
        numba.njit(lambda a, b, c, d, e, *rest: inner(take(a), take(b), take(c), take(d), take(e), *rest))(*arguments)
    else:
        numba.njit(lambda a, b, c, *rest: inner(take(a), take(b), take(c), *rest))(*arguments)


@compiled_only
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("shift", "present"), [(255, 15), (0, 15), (255, 5)])
def test_reading_a_block_equals_its_plain_twin(plain: ModuleType, dtype: str, shift: int, present: int) -> None:
    given = problem(dtype)
    memory, cases, unions = opened(blocks, given, shift, present)
    twin, twin_cases, twin_unions = opened(plain, given, shift, present)
    # All are whole numbers, and the sums of their products are below 2**24: no rounding anywhere.
    np.testing.assert_array_equal(memory, twin)
    np.testing.assert_array_equal(cases, twin_cases)
    np.testing.assert_array_equal(unions, twin_unions)
    rows = given.images[[3, 0, 5, 2]]
    np.testing.assert_array_equal(memory[given.v :][: BLOCK * PIXELS].reshape(BLOCK, -1), rows.astype(int) - shift)
    for t in range(BLOCK):
        np.testing.assert_array_equal(cases >> t & 1, (rows[t] != 255) & bool(present >> t & 1))
    products = memory[given.products : given.parts].reshape(len(PAIRS), -1).sum(axis=1)
    signed = rows.astype(np.int64) - shift
    assert list(products) == [int(signed[s] @ signed[t]) for s, t in PAIRS]


def summed_and_updated(module: ModuleType, given: SimpleNamespace, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the memory before and after the sums and the updates of so many columns, the first 16 left out."""
    memory, cases, _ = opened(blocks, given, 255, CASES - 1)
    lists, ends = np.zeros(CASES * PIXELS, np.int32), np.arange(CASES) * PIXELS
    for p in np.flatnonzero(cases):
        lists[ends[cases[p]]] = p
        ends[cases[p]] += 1
    assert len(set(cases.tolist())) == CASES
    assert {(ends[case] - case * PIXELS) % blocks.GROUP for case in range(CASES)} == set(range(blocks.GROUP))

    def function(m, lists, ends, v, parts, steps, pixels, stride, length):
        module.gather_block(m, parts, stride, length, 16, stride, lists, pixels, ends, v, pixels)
        module.update_block(m, steps, stride, length, 16, stride, lists, pixels, ends, v, pixels)

    after = memory.copy()
    run(function, after, lists, ends, given.v, given.parts, given.steps, PIXELS, STRIDE, length)
    return memory, after


@compiled_only
@pytest.mark.parametrize("native", [(), (0,)], ids=["half registers", "whole registers"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sums_and_updates_equal_their_plain_twins(
    plain: ModuleType, dtype: str, native: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "NATIVE", native)
    given, n = problem(dtype), 3 * simd.lanes(dtype, native)
    memory, after = summed_and_updated(blocks, given, n)
    # Sums of up to 256 products of 255 and a number below 4, each rounded once here and twice there.
    tolerance = 256 * 255 * 4 * np.finfo(dtype).eps
    np.testing.assert_allclose(after, summed_and_updated(plain, given, n)[1], rtol=0, atol=tolerance)
    weights, values = memory[: PIXELS * STRIDE].reshape(PIXELS, STRIDE), memory[given.v :][: BLOCK * PIXELS]
    values = values.reshape(BLOCK, PIXELS)
    sums = after[given.parts : given.steps].reshape(BLOCK, STRIDE)
    np.testing.assert_allclose(sums[:, :n], values @ weights[:, 16 : 16 + n], rtol=0, atol=tolerance)
    new = after[: PIXELS * STRIDE].reshape(PIXELS, STRIDE)
    steps = memory[given.steps :].reshape(BLOCK, STRIDE)[:, :n]
    np.testing.assert_allclose(new[:, 16 : 16 + n], weights[:, 16 : 16 + n] + values.T @ steps, rtol=0, atol=tolerance)
    # Nothing beside these columns was touched.
    np.testing.assert_array_equal(new[:, :16], weights[:, :16])
    np.testing.assert_array_equal(new[:, 16 + n :], weights[:, 16 + n :])


@compiled_only
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sums_and_updates_are_the_same_bits_with_larger_registers(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for native in ((), (0,)):
        monkeypatch.setattr(blocks, "NATIVE", native)
        found.append(summed_and_updated(blocks, problem(dtype), 48)[1].tobytes())
    assert found[0] == found[1]


def test_cases_are_sets_of_samples() -> None:
    assert blocks.members_of(0) == []
    assert blocks.members_of(0b1010) == [1, 3]
    assert blocks.members_of(CASES - 1) == list(range(BLOCK))
