"""The lists of non-zero inputs and the updates of their rows: each equals its plain twin."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numba
import numpy as np
import pytest

from fastnn.kernels import active_rows, vector
from fastnn.kernels.vector import HALF, ONE
from fastnn.kernels.workspace import LAYER, ArgumentBlock, workspace_dtype
from tests.helpers import needs_jit
from tests.kernels import plain

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

N_INPUTS, N_OUTPUTS = 37, 20
UNTOUCHED = 7.0


def problem(dtype: str, inputs: list[float] | None = None) -> SimpleNamespace:
    """Return a layer with random weights, of whose inputs about half are 0, and the layer below."""
    rng, lanes = np.random.default_rng(1), plain.lanes_of(dtype, ONE)
    n_vectors, n_input_vectors = -(-N_OUTPUTS // lanes), -(-N_INPUTS // lanes)
    given = np.where(rng.random(N_INPUTS) < 0.5, 0, rng.normal(size=N_INPUTS))
    floats = {
        "weights": rng.normal(size=(N_INPUTS, n_vectors * lanes)),
        "inputs": np.resize(given if inputs is None else inputs, n_input_vectors * lanes),
        "active_values": np.zeros(n_input_vectors * lanes),
        "deltas": rng.normal(size=n_vectors * lanes),
        "scaled_deltas": rng.normal(size=n_vectors * lanes),
    }
    arrays: dict[str, Any] = {name: array.astype(dtype) for name, array in floats.items()}
    arrays["active_rows"] = np.zeros(n_input_vectors * lanes, np.int32)
    below = np.full(n_input_vectors * lanes, UNTOUCHED, dtype)
    shape = {"n_inputs": N_INPUTS, "n_outputs": N_OUTPUTS, "n_vectors": n_vectors, "n_input_vectors": n_input_vectors}
    return SimpleNamespace(
        ws=ArgumentBlock(workspace_dtype(np.dtype(dtype)), one=1),
        layer=ArgumentBlock(LAYER, stride=n_vectors * lanes, **shape, **arrays),
        below=ArgumentBlock(LAYER, deltas=below),
        below_deltas=below,
        **arrays,
    )


def list_and_update(module: ModuleType, dtype: str, after: bool) -> Callable[..., int]:
    record_at = plain.record_at if module is plain else vector.record_at
    workspace, update_rows, list_nonzero = (
        workspace_dtype(np.dtype(dtype)),
        module.update_rows[after],
        module.list_nonzero,
    )

    def function(ws, layer, below):
        record = record_at(layer, LAYER)
        record.n_active = list_nonzero(record_at(ws, workspace), record)
        update_rows(record_at(ws, workspace), record, record_at(below, LAYER))
        return record.n_active

    return function if module is plain else numba.njit(function)


@needs_jit
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_lists_and_updates_equal_their_plain_twins(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before, bits = problem(dtype), []
    tolerance = {"rtol": 0, "atol": 100 * np.finfo(dtype).eps}
    for native, after in ((ONE, False), (HALF, False), (ONE, True)):
        monkeypatch.setattr(active_rows, "NATIVE", native)
        compiled = list_and_update(active_rows, dtype, after)
        # The second time NaN is among the inputs, and the padding is not 0.
        for inputs in (None, [0.0, 0.0, np.nan, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0]):
            room, twin = problem(dtype, inputs), problem(dtype, inputs)
            count = compiled(room.ws.address, room.layer.address, room.below.address)
            list_and_update(plain, dtype, after)(twin.ws.address, twin.layer.address, twin.below.address)
            numbers = np.flatnonzero(room.inputs[:N_INPUTS])
            assert count == len(numbers)
            for listed in (room, twin):
                np.testing.assert_array_equal(listed.active_rows[:count], numbers)
                np.testing.assert_array_equal(listed.active_values[:count], room.inputs[numbers])
            np.testing.assert_allclose(room.weights, twin.weights, **tolerance)
            np.testing.assert_allclose(room.below_deltas, twin.below_deltas, **tolerance)
            assert (np.delete(room.below_deltas, numbers) == UNTOUCHED).all()
            unlisted = [np.delete(weights, numbers, axis=0) for weights in (room.weights, before.weights)]
            np.testing.assert_array_equal(*unlisted)
            bits.append((after, room.weights.tobytes(), room.below_deltas.tobytes()))
    # The same bits with and without the instruction that compresses a vector.
    assert bits[:2] == bits[2:4]
