"""The loops of the first layer over the pixels of a block: each equals its plain twin."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numba
import numpy as np
import pytest

from fastnn.kernels import first_layer, masks, vector
from fastnn.kernels.vector import HALF, ONE
from fastnn.kernels.workspace import (
    BLOCK,
    INPUTS_PER_STEP,
    LAYER,
    N_MASKS,
    PAIRS,
    ArgumentBlock,
    address_of,
    workspace_dtype,
)
from tests.helpers import needs_jit
from tests.kernels import plain

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

PIXELS = 16 * INPUTS_PER_STEP
STRIDE = 80
IMAGES = [3, 0, 5, 2]


def problem(dtype: str, n_outputs: int = 48) -> SimpleNamespace:
    """Return a workspace of random numbers, and images of which half the pixels are white."""
    rng = np.random.default_rng(4)
    images = rng.integers(0, 256, (6, PIXELS), dtype=np.uint8)
    images[rng.random(images.shape) < 0.5] = 255
    lanes = plain.lanes_of(dtype, ONE)
    width = -(-n_outputs // lanes) * lanes
    floats = {
        "weights": rng.normal(0, 1, (PIXELS, STRIDE)),
        "deviations": rng.normal(0, 1, (BLOCK, PIXELS)),
        "gram": rng.normal(0, 1, (len(PAIRS), lanes)),
        "block_preactivations": rng.normal(0, 1, (BLOCK, width)),
        "block_deltas": rng.normal(0, 1, (BLOCK, width)),
    }
    arrays: dict[str, Any] = {name: array.astype(dtype) for name, array in floats.items()}
    arrays["sample_offsets"], arrays["next_rows"] = np.array(IMAGES) * PIXELS, np.zeros(BLOCK, np.int64)
    arrays["sample_masks"], arrays["any_mask"] = np.zeros(PIXELS, np.uint8), np.zeros(PIXELS // 64, np.uint64)
    arrays["active_inputs"] = np.zeros(N_MASKS * PIXELS, np.int32)
    arrays["active_slots"] = arrays["active_inputs"]
    arrays["list_ends"] = np.arange(N_MASKS) * PIXELS
    layer = ArgumentBlock(
        LAYER, weights=arrays["weights"], stride=STRIDE, n_inputs=PIXELS, n_outputs=n_outputs, n_vectors=width // lanes
    )
    fields = {name: array for name, array in arrays.items() if name != "weights"}
    ws = ArgumentBlock(workspace_dtype(np.dtype(dtype)), one=1, input_stride=PIXELS, **fields)
    return SimpleNamespace(images=images, layer=layer, ws=ws, **arrays)


def reads(module: ModuleType, dtype: str) -> Callable[..., None]:
    record_at = plain.record_at if module is plain else vector.record_at
    workspace = workspace_dtype(np.dtype(dtype))

    def function(ws, images, white, valid_mask):
        module.read_block(record_at(ws, workspace), images, white, valid_mask)

    return function


def forward_and_update(module: ModuleType, dtype: str) -> Callable[..., None]:
    record_at = plain.record_at if module is plain else vector.record_at
    workspace = workspace_dtype(np.dtype(dtype))

    def function(ws, layer):
        module.first_layer_forward(record_at(ws, workspace), record_at(layer, LAYER))
        module.first_layer_update(record_at(ws, workspace), record_at(layer, LAYER))

    return function


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_reading_a_block_equals_its_plain_twin(dtype: str) -> None:
    compiled = numba.njit(reads(masks, dtype))
    for white, valid in ((255, 15), (0, 15), (255, 5), (255, 1), (0, 1)):
        given, twin = problem(dtype), problem(dtype)
        rows, size = given.images[IMAGES], 1 if valid == 1 else BLOCK
        pairs = [(s, t) for s, t in PAIRS if t < size]
        for function, room in ((compiled, given), (reads(plain, dtype), twin)):
            before = room.deviations.copy()
            function(room.ws.address, address_of(room.images), white, valid)
            # All values are integers, and the sums of products are below 2**24: nothing is rounded.
            np.testing.assert_array_equal(room.deviations[:size], rows[:size].astype(int) - white)
            np.testing.assert_array_equal(room.deviations[size:], before[size:])
            signed = rows.astype(np.int64) - white
            products = room.gram.sum(axis=1)[: len(pairs)]
            assert products.tolist() == [int(signed[s] @ signed[t]) for s, t in pairs]
            for t in range(BLOCK):
                wanted = (rows[t] != 255) & bool(valid >> t & 1)
                np.testing.assert_array_equal(room.sample_masks >> t & 1, wanted)
            bits = np.unpackbits(room.any_mask.view(np.uint8), bitorder="little")
            np.testing.assert_array_equal(bits, room.sample_masks != 0)
        np.testing.assert_array_equal(given.gram, twin.gram)


def summed_and_updated(module: ModuleType, dtype: str, n_outputs: int) -> tuple[SimpleNamespace, SimpleNamespace]:
    """Return the arrays before and after the forward pass and the update, for `n_outputs` outputs."""
    before, after = problem(dtype, n_outputs), problem(dtype, n_outputs)
    for room in (before, after):
        reads(plain, dtype)(room.ws.address, address_of(room.images), 255, N_MASKS - 1)
        for p in np.flatnonzero(room.sample_masks):
            mask = room.sample_masks[p]
            room.active_inputs[room.list_ends[mask]] = p
            room.list_ends[mask] += 1
    # Every mask has pixels, and their numbers have every remainder of 4, the number of rows processed at once.
    assert set(before.sample_masks.tolist()) == set(range(N_MASKS))
    lengths = before.list_ends - np.arange(N_MASKS) * PIXELS
    assert set((lengths % 4).tolist()) == {0, 1, 2, 3}
    function = forward_and_update(module, dtype)
    (function if module is plain else numba.njit(function))(after.ws.address, after.layer.address)
    return before, after


@needs_jit
@pytest.mark.parametrize("native", [HALF, ONE], ids=["half vectors", "whole vectors"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sums_and_updates_equal_their_plain_twins(dtype: str, native: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (first_layer, plain):
        monkeypatch.setattr(module, "NATIVE", native)
    # Columns are processed in native vectors: here three, the last one number short.
    n = 3 * plain.lanes_of(dtype, native)
    before, after = summed_and_updated(first_layer, dtype, n - 1)
    # Sums of up to 256 products of 255 and a number below 4, each rounded once or twice.
    tolerance = 256 * 255 * 4 * np.finfo(dtype).eps
    _, twin = summed_and_updated(plain, dtype, n - 1)
    for room in (after, twin):
        sums = before.deviations @ before.weights[:, :n]
        np.testing.assert_allclose(room.block_preactivations[:, :n], sums, rtol=0, atol=tolerance)
        assert not room.block_preactivations[:, n:].any()
        new = before.weights[:, :n] + before.deviations.T @ before.block_deltas[:, :n]
        np.testing.assert_allclose(room.weights[:, :n], new, rtol=0, atol=tolerance)
        # Other columns are unchanged.
        np.testing.assert_array_equal(room.weights[:, n:], before.weights[:, n:])


@needs_jit
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sums_and_updates_give_the_same_bits_with_wider_vectors(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for native in (HALF, ONE):
        monkeypatch.setattr(first_layer, "NATIVE", native)
        _, after = summed_and_updated(first_layer, dtype, 48)
        found.append((after.weights.tobytes(), after.block_preactivations.tobytes()))
    assert found[0] == found[1]


@pytest.mark.parametrize("native", [HALF, ONE], ids=["half vectors", "whole vectors"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_plain_twins_equal_numpy(dtype: str, native: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain, "NATIVE", native)
    # Three vectors, of which the last holds one output.
    lanes = plain.lanes_of(dtype, native)
    n, tolerance = 3 * lanes, 256 * 255 * 4 * np.finfo(dtype).eps
    before, after = summed_and_updated(plain, dtype, n - lanes + 1)
    sums = before.deviations @ before.weights[:, :n]
    np.testing.assert_allclose(after.block_preactivations[:, :n], sums, rtol=0, atol=tolerance)
    assert not after.block_preactivations[:, n:].any()
    expected = before.weights[:, :n] + before.deviations.T @ before.block_deltas[:, :n]
    np.testing.assert_allclose(after.weights[:, :n], expected, rtol=0, atol=tolerance)
    np.testing.assert_array_equal(after.weights[:, n:], before.weights[:, n:])


def dense(module: ModuleType, dtype: str) -> Callable[..., None]:
    record_at = plain.record_at if module is plain else vector.record_at
    gram_block = plain.gram_block if module is plain else masks.gram_block
    workspace = workspace_dtype(np.dtype(dtype))

    def function(ws, layer, size):
        gram_block(record_at(ws, workspace), size)
        module.dense_forward(record_at(ws, workspace), record_at(layer, LAYER), size)
        module.dense_update(record_at(ws, workspace), record_at(layer, LAYER), size)

    return function


@needs_jit
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dense_loops_equal_numpy_and_give_the_same_bits_with_wider_vectors(
    dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lanes = plain.lanes_of(dtype, ONE)
    n, tolerance = 5 * lanes, 256 * 16 * np.finfo(dtype).eps  # a tile of columns and a rest
    found: dict[int, list[bytes]] = {size: [] for size in range(1, BLOCK + 1)}
    for native in (HALF, ONE, None):
        module = plain if native is None else first_layer
        if native is not None:
            monkeypatch.setattr(first_layer, "NATIVE", native)
        function = dense(module, dtype)
        function = function if module is plain else numba.njit(function)
        for size, bits in found.items():
            before, after = problem(dtype, n - 1), problem(dtype, n - 1)
            function(after.ws.address, after.layer.address, size)
            values = before.deviations[:size]
            sums, new = values @ before.weights[:, :n], values.T @ before.block_deltas[:size, :n]
            np.testing.assert_allclose(after.block_preactivations[:size, :n], sums, rtol=0, atol=tolerance)
            np.testing.assert_allclose(after.weights[:, :n], before.weights[:, :n] + new, rtol=0, atol=tolerance)
            # Neither other samples nor other columns.
            np.testing.assert_array_equal(after.block_preactivations[size:], before.block_preactivations[size:])
            np.testing.assert_array_equal(after.weights[:, n:], before.weights[:, n:])
            products = [before.deviations[s] @ before.deviations[t] for s, t in PAIRS if t < size]
            np.testing.assert_allclose(after.gram.sum(axis=1)[: len(products)], products, rtol=0, atol=tolerance)
            if native is not None:
                parts = after.weights, after.block_preactivations, after.gram
                bits.append(b"".join(part.tobytes() for part in parts))
    assert all(one == other for one, other in found.values())


def test_masks_are_sets_of_samples() -> None:
    assert plain.samples_of(0) == []
    assert plain.samples_of(0b1010) == [1, 3]
    assert plain.samples_of(N_MASKS - 1) == list(range(BLOCK))
