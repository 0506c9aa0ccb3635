"""Records, argument blocks and the memory plan of a network: no overlaps, nothing outside."""

from __future__ import annotations

import ctypes
import gc
import weakref
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from fastnn.kernels.workspace import (
    ACTIVATIONS,
    BLOCK,
    INPUTS_PER_STEP,
    LAYER,
    N_MASKS,
    NARROW,
    PAIRS,
    ArgumentBlock,
    address_of,
    make_slots,
    plan_workspace,
    record_of_int64,
    workspace_dtype,
)
from fastnn.network import LINE
from tests.helpers import run_python
from tests.kernels.plain import Record

SIZES = [(9, 3), (16, 17, 3), (784, 200, 40, 10), (30, 128, 256, 7, 2), (1, 1, 1)]
KINDS = record_of_int64("numbers", "n", "others", one=np.float32)


def tables(sizes: tuple[int, ...], activation: str, dtype: str) -> tuple[Any, Record, list[Record]]:
    """Return the memory plan of a network, its record and the records of its layers."""
    plan = plan_workspace(sizes, activation, np.dtype(dtype))
    make_slots(plan.block, -(-sizes[0] // INPUTS_PER_STEP) * INPUTS_PER_STEP)
    record = Record(plan.block.address, workspace_dtype(np.dtype(dtype)))
    layers = [Record(record.layers + k * LAYER.itemsize, LAYER) for k in range(record.n_layers)]
    return plan, record, layers


def parts_of(record: Record, layers: list[Record], activation: str, itemsize: int) -> dict[str, tuple[int, int]]:
    """Return the start and end of each part of the memory that the kernels read or write."""
    vector = LINE
    first = layers[0].n_vectors * vector
    most = max(max(layer.n_inputs, layer.n_outputs) for layer in layers)
    found = {
        "layers": (record.layers, len(layers) * LAYER.itemsize),
        "lane_sums": (record.lane_sums, -(-most * itemsize // vector) * vector * (vector // itemsize)),
        "folded_bias": (record.folded_bias, first),
        "column_offset": (record.column_offset, first),
        "zero_bounds": (record.zero_bounds, first),
        "block_preactivations": (record.block_preactivations, BLOCK * first),
        "block_deltas": (record.block_deltas, BLOCK * first),
        "gram": (record.gram, len(PAIRS) * vector),
        "baseline_products": (record.baseline_products, vector),
        "deviations": (record.deviations, BLOCK * record.input_stride * itemsize),
        "active_inputs": (record.active_inputs, N_MASKS * record.input_stride * 4),
        "list_ends": (record.list_ends, N_MASKS * 8),
        "sample_offsets": (record.sample_offsets, BLOCK * 8),
        "next_rows": (record.next_rows, BLOCK * 8),
        "sample_masks": (record.sample_masks, record.input_stride),
        "any_mask": (record.any_mask, -(-record.input_stride // 64) * 8),
    }
    for depth, layer in enumerate(layers):
        transposed = depth > 0 and (activation != "relu" or layer.n_outputs <= NARROW)
        rows = -(-layer.n_outputs // 4) * 4 if transposed else layer.n_inputs
        found[f"weights {depth}"] = (layer.weights, rows * layer.stride * itemsize)
        for name in ("biases", "activations", "deltas", "scaled_deltas", "unit_mask", "unit_numbers"):
            found[f"{name} {depth}"] = (getattr(layer, name), layer.n_vectors * vector)
        # Whole vectors are written.
        found[f"active_values {depth}"] = (layer.active_values, layer.n_input_vectors * vector)
        found[f"active_rows {depth}"] = (layer.active_rows, layer.n_input_vectors * vector // itemsize * 4)
    return {name: (start, start + length) for name, (start, length) in found.items()}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", ["sigmoid", "relu"])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_no_parts_of_the_memory_overlap(sizes: tuple[int, ...], activation: str, dtype: str) -> None:
    plan, record, layers = tables(sizes, activation, dtype)
    parts = parts_of(record, layers, activation, np.dtype(dtype).itemsize)
    ordered = sorted(parts.items(), key=lambda part: part[1])
    for (name, (_, end)), (following, (start, _)) in pairwise(ordered):
        assert end <= start, (name, following)
    # Vectors are loaded from these parts: none may cross a cache line.
    for name, (start, _) in parts.items():
        if name.split()[0] not in (
            "layers",
            "active_inputs",
            "list_ends",
            "sample_offsets",
            "next_rows",
            "sample_masks",
            "any_mask",
        ):
            assert start % LINE == 0 or name.startswith("active_"), name
    # The views are at the addresses in the records, within memory that stays alive.
    for depth, (weights, biases) in enumerate(zip(plan.weights, plan.biases, strict=True)):
        assert address_of(weights) == layers[depth].weights
        assert address_of(biases) == layers[depth].biases
        assert (weights.shape, biases.shape) == ((sizes[depth], sizes[depth + 1]), (sizes[depth + 1],))
    assert address_of(plan.folded_bias) == record.folded_bias
    assert address_of(plan.column_offset) == record.column_offset
    assert address_of(plan.zero_bounds) == record.zero_bounds


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu"])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_the_records_describe_the_layers(sizes: tuple[int, ...], activation: str) -> None:
    plan, record, layers = tables(sizes, activation, "float32")
    assert (record.n_layers, record.hidden_activation) == (len(sizes) - 1, ACTIVATIONS[activation])
    assert record.one == 1
    assert record.input_stride % 16 == 0
    assert 0 <= record.input_stride - sizes[0] < 16
    for depth, layer in enumerate(layers):
        n_in, n_out = sizes[depth : depth + 2]
        assert (layer.n_inputs, layer.n_outputs) == (n_in, n_out)
        assert (layer.n_vectors, layer.n_input_vectors) == (-(-n_out // 16), -(-n_in // 16))
        transposed = depth > 0 and (activation != "relu" or n_out <= NARROW)
        strides = (4, layer.stride * 4) if transposed else (layer.stride * 4, 4)
        for length, step, own in zip(plan.weights[depth].shape, plan.weights[depth].strides, strides, strict=True):
            assert step == own or length == 1
        # Rows are whole vectors, and not a multiple of 8 cache lines: such rows would share few cache sets.
        length = layer.n_input_vectors if transposed else layer.n_vectors
        assert layer.stride == 16 * (length + (length % 8 == 0))


def test_the_memory_is_zero_except_masks_and_unit_numbers() -> None:
    plan, _, layers = tables((20, 17, 3), "sigmoid", "float64")
    for layer, n in zip(layers, (17, 3), strict=True):
        mask, numbers = (units(layer, name) for name in ("unit_mask", "unit_numbers"))
        assert mask.tolist() == [1] * n + [0] * (len(mask) - n)
        assert numbers[:n].tolist() == list(range(n))
        assert not any(units(layer, name).any() for name in ("biases", "activations", "deltas", "scaled_deltas"))
    assert not any(view.any() for view in (*plan.weights, *plan.biases, plan.folded_bias, plan.column_offset))


def units(layer: Record, name: str) -> np.ndarray:
    """Return the float64 numbers of a layer, one per unit, with the padding."""
    # The array of a plain pointer has no known length.
    from tests.kernels.plain import Pointer

    return Pointer(getattr(layer, name), np.float64).numbers[: layer.n_vectors * 8]


def test_the_weights_of_the_first_layer_follow_a_row_for_its_biases() -> None:
    plan, *_ = tables((5, 4, 3), "sigmoid", "float32")
    plan.weights[0][...] = np.arange(20).reshape(5, 4)
    assert np.array_equal(plan.bias_and_weights[1:, :4], plan.weights[0])
    plan.bias_and_weights[0, :4] = 7
    assert np.array_equal(plan.weights[0], np.arange(20).reshape(5, 4))
    assert plan.bias_and_weights[:, :4].sum(axis=0).tolist() == [7 + 40 + 5 * k for k in range(4)]


def test_the_memory_lives_as_long_as_the_block() -> None:
    block = plan_workspace((9, 5, 3), "relu", np.dtype(np.float32)).block
    gc.collect()
    record = Record(block.address, workspace_dtype(np.dtype(np.float32)))
    layer = Record(record.layers + LAYER.itemsize, LAYER)
    assert (layer.n_inputs, layer.n_outputs) == (5, 3)


# ---- argument blocks ----


def test_fields_are_numbers_and_addresses() -> None:
    numbers, others = np.arange(6.0), np.zeros(3, np.uint8)
    block = ArgumentBlock(KINDS, numbers=numbers, n=6, others=others, one=0.5)
    assert block.address == address_of(block.record)
    assert block.record.item() == (address_of(numbers), 6, address_of(others), 0.5)
    block.put_word("n", -3)
    block.put(others=0)
    assert block.record.item() == (address_of(numbers), -3, 0, 0.5)
    block.advance("numbers", 2)
    assert block.record["numbers"] == address_of(numbers[2:])


@pytest.mark.parametrize(
    "array",
    [np.zeros(0), np.zeros((2, 3), np.float32), np.arange(6, dtype=np.int64)[2:], np.broadcast_to(np.float64(3), (1,))],
    ids=["empty", "two dimensions", "the end of another", "read-only"],
)
def test_any_contiguous_array_has_an_address(array: np.ndarray) -> None:
    assert ArgumentBlock(KINDS, numbers=array).record["numbers"] == address_of(array)


@pytest.mark.parametrize("array", [np.zeros((4, 4)).T[:2], np.zeros(6)[::2], np.zeros((4, 4))[:, 1:]])
def test_arrays_with_gaps_are_refused(array: np.ndarray) -> None:
    with pytest.raises(TypeError, match="numbers must be C-contiguous"):
        ArgumentBlock(KINDS, numbers=array)


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises((KeyError, ValueError), match="nothing"):
        ArgumentBlock(KINDS, nothing=3)


def test_a_block_keeps_its_arrays_alive_until_they_are_replaced() -> None:
    arrays = [np.zeros(3) for _ in range(2)]
    alive = [weakref.ref(array) for array in arrays]
    block = ArgumentBlock(KINDS, numbers=arrays[0])
    block.put_array("others", arrays[1])
    del arrays
    gc.collect()
    assert all(each() is not None for each in alive)
    block.put_array("numbers", np.zeros(2))
    gc.collect()
    assert alive[0]() is None
    assert alive[1]() is not None


def test_a_refused_array_leaves_the_block_unchanged() -> None:
    numbers = np.zeros(3)
    alive, block = weakref.ref(numbers), ArgumentBlock(KINDS, numbers=numbers)
    with pytest.raises(TypeError):
        block.put_array("numbers", np.zeros(6)[::2])
    del numbers
    gc.collect()
    array = alive()
    assert array is not None  # its address is still in the record
    assert block.record["numbers"] == address_of(array)


def test_neither_records_nor_inputs_need_numba() -> None:
    code = """
import sys, fastnn.kernels.workspace, fastnn.kernels.records, fastnn.kernels.loader, fastnn.inputs, fastnn.engine
assert "numba" not in sys.modules
"""
    assert run_python(code).returncode == 0


def test_a_workspace_keeps_what_its_layers_point_to() -> None:
    """The lists of active rows are reached through the layers' records alone."""
    workspace = plan_workspace((4, 3, 2), "relu", np.dtype(np.float32))
    memory = (ctypes.c_char * (2 * LAYER.itemsize)).from_address(int(workspace.block.record["layers"][0]))
    layers = np.frombuffer(memory, LAYER)
    array = workspace.kept["active_rows"]
    ends = layers["active_rows"] + 4 * 16 * layers["n_input_vectors"]
    assert (layers["active_rows"] >= address_of(array)).all()
    assert (ends <= address_of(array) + array.nbytes).all()
