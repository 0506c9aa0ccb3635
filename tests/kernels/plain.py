"""Plain NumPy twins of the intrinsics of ``fastnn.kernels.vector``, ``first_layer``, ``active_rows`` and ``masks``.

They are the oracles of the compiled ones. With NUMBA_DISABLE_JIT=1 the kernels run on them, as plain Python: for
coverage, and to step through a kernel in a debugger. A vector is an array of shape (vectors, lanes).
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import sys
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn.kernels.workspace import BLOCK, N_MASKS, PAIRS
from fastnn.network import LINE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

HALF, ONE, TWO, THREE, FOUR = 0, 1, 2, 3, 4
NATIVE = ONE
NATIVE_PER_VECTOR = 1
WHITE = 255

_Memory = ctypes.c_char * (1 << 40)
"""Memory of any length from an address; only the requested part is read."""


class Pointer:
    """An array of unknown length at an address."""

    __slots__ = ("address", "numbers")

    def __init__(self, address: int, dtype: Any) -> None:
        self.address = address
        self.numbers = np.frombuffer(_Memory.from_address(address), dtype) if address else np.empty(0, dtype)

    def __getitem__(self, index: int) -> Any:
        assert index >= 0
        return _scalar(self.numbers[index])

    def __setitem__(self, index: int, value: Any) -> None:
        assert index >= 0
        self.numbers[index] = value


class Record:
    """The record at an address; its fields are attributes."""

    __slots__ = ("_fields",)

    def __init__(self, address: int, dtype: np.dtype[Any]) -> None:
        object.__setattr__(self, "_fields", np.frombuffer(_Memory.from_address(address), dtype, 1)[0])

    def __getattr__(self, name: str) -> Any:
        return _scalar(self._fields[name])

    def __setattr__(self, name: str, value: Any) -> None:
        self._fields[name] = value


def _scalar(value: Any) -> Any:
    """Return an integer as int, which holds every int64 of Numba; other types are unchanged."""
    return int(value) if value.dtype.kind in "iu" else value


def lanes_of(dtype: Any, width: int) -> int:
    """Return the number of lanes of a vector of this width."""
    return LINE // np.dtype(dtype).itemsize // (2 if width == HALF else 1)


def device(function: Callable[..., Any]) -> Callable[..., Any]:
    return function


def small_code() -> None:
    pass


def noinline() -> None:
    pass


def prefetch(start: Pointer, offset: int) -> None:
    pass


# ---- records and pointers ----


def record_at(address: int, dtype: np.dtype[Any]) -> Record:
    return Record(address, dtype)


def pointer(address: int, kind: Any) -> Pointer:
    return Pointer(address, np.dtype(str(kind)))


def float_pointer(record: Record, address: int) -> Pointer:
    return Pointer(address, record.one.dtype)


def advance(start: Pointer, count: int) -> Pointer:
    return Pointer(start.address + count * start.numbers.itemsize, start.numbers.dtype)


def floats_per_vector(start: Pointer) -> int:
    return lanes_of(start.numbers.dtype, ONE)


def lowest_bit(bits: int) -> int:
    return (int(bits) & -int(bits)).bit_length() - 1


# ---- loading and storing ----


def load(start: Pointer, offset: int, width: int) -> np.ndarray:
    lanes = lanes_of(start.numbers.dtype, width)
    return _numbers(start, offset, max(1, width) * lanes).reshape(-1, lanes).copy()


def store(start: Pointer, offset: int, vector: np.ndarray) -> None:
    _numbers(start, offset, vector.size)[...] = vector.reshape(-1)


def load_rows(start: Pointer, stride: int, width: int) -> np.ndarray:
    assert width in (HALF, ONE)
    return np.concatenate([load(start, row * stride, width) for row in range(4)])


def store_rows(start: Pointer, stride: int, vector: np.ndarray) -> None:
    for row, one in enumerate(vector):
        store(start, row * stride, one)


def splat_rows(start: Pointer, offset: int, width: int) -> np.ndarray:
    assert width in (HALF, ONE)
    return np.concatenate([splat(start[offset + row], width) for row in range(4)])


def splat(value: Any, width: int) -> np.ndarray:
    return np.full((max(1, width), lanes_of(value.dtype, width)), value)


def zeros(start: Pointer, width: int) -> np.ndarray:
    return splat(start.numbers.dtype.type(0), width)


# ---- arithmetic ----


def add(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a + b


def sub(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a - b


def mul(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a * b


def div(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a / b


def fma(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Return a * b + c: the product of float32 is exact, that of float64 is rounded."""
    return (a.astype(np.float64) * b + c).astype(a.dtype)


def relu(a: np.ndarray) -> np.ndarray:
    return np.where(a < 0, a.dtype.type(0), a)


def where_positive(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    return np.where(a > 0, b, c)


def maximum(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.where(a < b, b, a)


def exp(a: np.ndarray) -> np.ndarray:
    low, high = (-87, 88) if a.dtype == np.float32 else (-708, 709)
    return np.exp(np.clip(a, low, high).astype(np.longdouble)).astype(a.dtype)


def dot(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    for row in range(len(a)):
        c = fma(a[row : row + 1], b[row : row + 1], c)
    return c


def sum_lanes(a: np.ndarray) -> Any:
    return a.sum(dtype=a.dtype)


def max_lanes(a: np.ndarray) -> Any:
    return a.max()


def sum_four(a: np.ndarray) -> Any:
    return a[:, :4].sum()


def max_four(a: np.ndarray) -> Any:
    return a[:, :4].max()


def count_greater(a: np.ndarray, b: np.ndarray) -> int:
    return np.count_nonzero(a > b)


def sum_each(start: Pointer, offset: int) -> np.ndarray:
    lanes = floats_per_vector(start)
    return _numbers(start, offset, lanes * lanes).reshape(lanes, lanes).sum(axis=1)[None]


def sum_rows(rows: np.ndarray) -> np.ndarray:
    sums = np.zeros((1, rows.shape[1]), rows.dtype)
    sums[0, :4] = rows.sum(axis=1)
    return sums


def _numbers(start: Pointer, offset: int, count: int) -> np.ndarray:
    assert offset >= 0
    return start.numbers[offset : offset + count]


# ---- the first layer ----


def first_layer_forward(ws: Record, layer: Record) -> None:
    width = layer.n_vectors * lanes_of(ws.one.dtype, ONE)
    out = _numbers(float_pointer(ws, ws.block_preactivations), 0, BLOCK * width).reshape(BLOCK, width)
    values, weights = _deviations(ws), _first_weights(ws, layer)
    sums = np.zeros((BLOCK, weights.shape[1]))
    for samples, inputs, slots in _lists(ws):
        sums[samples] += values[np.ix_(samples, slots)].astype(np.float64) @ weights[inputs]
    out[...] = 0
    out[:, : weights.shape[1]] = sums


def first_layer_update(ws: Record, layer: Record) -> None:
    width = layer.n_vectors * lanes_of(ws.one.dtype, ONE)
    deltas = _numbers(float_pointer(ws, ws.block_deltas), 0, BLOCK * width).reshape(BLOCK, width)
    values, weights = _deviations(ws), _first_weights(ws, layer)
    for samples, inputs, slots in _lists(ws):
        change = values[np.ix_(samples, slots)].T.astype(np.float64) @ deltas[samples, : weights.shape[1]]
        weights[inputs] += change.astype(weights.dtype)


slots_forward, slots_update = first_layer_forward, first_layer_update


def dense_forward(ws: Record, layer: Record, size: int) -> None:
    out, values, weights = _dense(ws, layer, ws.block_preactivations, size)
    out[...] = values @ weights


def dense_update(ws: Record, layer: Record, size: int) -> None:
    deltas, values, weights = _dense(ws, layer, ws.block_deltas, size)
    weights += (values.T @ deltas).astype(weights.dtype)


def _dense(ws: Record, layer: Record, rows: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the columns in use of the rows at an address, the deviations of the block and the weights."""
    width, weights = layer.n_vectors * lanes_of(ws.one.dtype, ONE), _first_weights(ws, layer)
    values = _deviations(ws)[:size, : layer.n_inputs].astype(np.float64)
    return _at(rows, ws.one.dtype, size * width).reshape(size, width)[:, : weights.shape[1]], values, weights


def gram_block(ws: Record, size: int) -> None:
    if size > 1:
        _write_gram(ws, _deviations(ws))


def read_block(ws: Record, images: int, white: int, valid_mask: int) -> None:
    n_pixels, size = ws.input_stride, 1 if valid_mask == 1 else BLOCK
    starts = [int(k) for k in _at(ws.sample_offsets, np.int64, BLOCK)]
    grey = np.array([_at(images + start, np.uint8, n_pixels) for start in starts[:size]])
    values = _deviations(ws)
    values[:size] = grey.astype(np.int64) - white
    _write_masks(ws, values[:size], grey != WHITE, valid_mask)


def mask_block(ws: Record, valid_mask: int) -> None:
    values = _deviations(ws)[: 1 if valid_mask == 1 else BLOCK]
    _write_masks(ws, values, values != 0, valid_mask)


def _write_masks(ws: Record, values: np.ndarray, deviates: np.ndarray, valid_mask: int) -> None:
    size = len(values)
    _write_gram(ws, values)
    bits = (1 << np.arange(size))[:, None]
    masks = _at(ws.sample_masks, np.uint8, ws.input_stride)
    masks[...] = (bits * deviates).sum(axis=0) & valid_mask
    packed = np.packbits(masks != 0, bitorder="little")
    _at(ws.any_mask, np.uint8, len(packed))[...] = packed


def _write_gram(ws: Record, values: np.ndarray) -> None:
    lanes = lanes_of(values.dtype, ONE)
    gram = _at(ws.gram, values.dtype, len(PAIRS) * lanes).reshape(len(PAIRS), lanes)
    for row, (s, t) in zip(gram, PAIRS, strict=True):
        if t < len(values):
            row[...] = (values[s] * values[t]).reshape(-1, lanes).sum(axis=0)


def samples_of(mask: int) -> list[int]:
    """Return the numbers of the samples of a sample mask."""
    return [t for t in range(BLOCK) if mask >> t & 1]


def _lists(ws: Record) -> Iterator[tuple[list[int], np.ndarray, np.ndarray]]:
    """Yield the samples of each mask, with the mask's inputs and their slots."""
    stride, ends = ws.input_stride, _at(ws.list_ends, np.int64, N_MASKS)
    inputs = _at(ws.active_inputs, np.int32, N_MASKS * stride)
    slots = _at(ws.active_slots, np.int32, N_MASKS * stride)
    for mask in range(1, N_MASKS):
        part = slice(mask * stride, ends[mask])
        yield samples_of(mask), inputs[part], slots[part]


def _deviations(ws: Record) -> np.ndarray:
    return _at(ws.deviations, ws.one.dtype, BLOCK * ws.input_stride).reshape(BLOCK, -1)


def _first_weights(ws: Record, layer: Record) -> np.ndarray:
    """Return the first weights, with columns up to a whole number of vectors, as the compiled code processes them."""
    dtype = ws.one.dtype
    lanes = lanes_of(dtype, NATIVE)
    rows = _at(layer.weights, dtype, layer.n_inputs * layer.stride).reshape(-1, layer.stride)
    return rows[:, : -(-layer.n_outputs // lanes) * lanes]


def _at(address: int, dtype: Any, count: int) -> np.ndarray:
    """Return the array of `count` numbers at an address."""
    return np.frombuffer(_Memory.from_address(address), dtype, count)


# ---- the layers above ReLU units ----


def list_nonzero(ws: Record, layer: Record) -> int:
    inputs = _at(layer.inputs, ws.one.dtype, layer.n_inputs)
    numbers = np.flatnonzero(inputs)
    _at(layer.active_rows, np.int32, len(numbers))[...] = numbers
    _at(layer.active_values, ws.one.dtype, len(numbers))[...] = inputs[numbers]
    return len(numbers)


def _make_update_rows(after: bool) -> Callable[[Record, Record, Record], None]:
    def update_rows(ws: Record, layer: Record, below: Record) -> None:
        dtype, count = ws.one.dtype, layer.n_active
        width = layer.n_vectors * lanes_of(dtype, ONE)
        rows, values = _at(layer.active_rows, np.int32, count), _at(layer.active_values, dtype, count)
        weights = _at(layer.weights, dtype, layer.n_inputs * layer.stride).reshape(-1, layer.stride)[:, :width]
        steps, deltas = _at(layer.scaled_deltas, dtype, width), _at(layer.deltas, dtype, width)
        old = weights[rows]
        weights[rows] += np.outer(values, steps)
        _at(below.deltas, dtype, layer.n_inputs)[rows] = (weights[rows] if after else old) @ deltas

    return update_rows


update_rows = {after: _make_update_rows(after) for after in (False, True)}


# ---- kernels as plain Python ----


class PlainKernel:
    """Replaces ``fastnn.kernels.loader.Kernel``: runs the plain function after it has passed its check."""

    def __init__(self, module: str, factory: str, arguments: tuple[str, ...], check: Callable[..., bool]) -> None:
        self._module, self._factory, self._arguments, self._check = module, factory, arguments, check

    def __call__(self, arguments: Any) -> None:
        self.run(arguments.address)

    def run(self, address: int) -> None:
        self.load()(address)

    @cache  # noqa: B019 - there are few kernels
    def load(self) -> Callable[[int], Any]:
        function = getattr(kernels(self._module), self._factory)(*self._arguments)
        assert self._check(function)
        return np.errstate(over="ignore")(function)  # hashes overflow, as they should


@cache
def kernels(module: str) -> ModuleType:
    """Return a copy of a module of kernels that runs as plain Python on these twins.

    Parameters
    ----------
    module : str
        Its full name.
    """
    if sys.modules.get("fastnn.kernels.vector") is sys.modules[__name__]:
        return importlib.import_module(module)
    intrinsics = {name: importlib.import_module(name) for name in INTRINSICS}
    others = {name: sys.modules[name] for name in BUILT_ON_THEM if name in sys.modules}
    install()
    try:
        for name in BUILT_ON_THEM:
            _replace({name: _copy_of(name)})
        return _copy_of(module)
    finally:
        for name in BUILT_ON_THEM:
            package, _, last = name.rpartition(".")
            del sys.modules[name]
            # Or `from fastnn.kernels import regularise` would find the copy.
            delattr(sys.modules[package], last)
        _replace(intrinsics | others)


def _copy_of(module: str) -> ModuleType:
    """Return a new module from the source of another, which imports what stands in `sys.modules` now."""
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.loader is not None
    copy = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(copy)
    return copy


INTRINSICS = (
    "fastnn.kernels.vector",
    "fastnn.kernels.first_layer",
    "fastnn.kernels.active_rows",
    "fastnn.kernels.masks",
)
BUILT_ON_THEM = ("fastnn.kernels.inputs", "fastnn.kernels.regularise")
"""Modules of functions that other modules of kernels import."""


def install() -> None:
    """Replace the modules of intrinsics by this one, for all later imports."""
    _replace(dict.fromkeys(INTRINSICS, sys.modules[__name__]))


def _replace(modules: dict[str, ModuleType]) -> None:
    for name, module in modules.items():
        sys.modules[name] = module
        package, _, last = name.rpartition(".")
        setattr(sys.modules[package], last, module)
