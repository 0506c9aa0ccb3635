"""Records that Python and the kernels share, and the layout of a network in memory.

Does not import Numba, which takes longer than an epoch and is not needed to call kept kernels. An int64 field with the
name of an array holds its address.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastnn.network import LINE, aligned_zeros, row_lines

if TYPE_CHECKING:
    from numpy.typing import NDArray

BLOCK = 4
"""Samples in a block. Blocks of two take 0.5 us a digit more, blocks of five no less."""

N_MASKS = 1 << BLOCK
"""Number of sample masks: bit t is set for sample t of a block."""

PAIRS = [(s, t) for t in range(BLOCK) for s in range(t)]
"""Pairs of a block's samples, in the order of their dot products in `gram`."""

NARROW = 4
"""Most outputs of a layer whose weights have a row for each output with ReLU too.

A row for each input would be nearly all padding. 10-50-2 takes 0.62 of the time, 100-100-2 takes 0.75.
"""

INPUTS_PER_STEP = 16
"""Number of inputs that are read at once; images and slots are padded to a multiple of it."""

SMALLEST_SCALE = 1e-9
"""Weights that decay are multiplied by their layer's scale when it is below this: 1 / scale**2 must be far from the
largest float32."""

SIGMOID, TANH, RELU, SOFTMAX = 0, 1, 2, 3
ACTIVATIONS = {"sigmoid": SIGMOID, "tanh": TANH, "relu": RELU}

_addressof, _from_buffer = ctypes.addressof, (ctypes.c_char * 0).from_buffer


def record_of_int64(*names: str, **others: Any) -> np.dtype[Any]:
    """Return the dtype of a record of int64 fields, followed by fields of other types."""
    fields: list[tuple[str, Any]] = [(name, np.int64) for line in names for name in line.split()]
    return np.dtype([*fields, *others.items()], align=True)


LAYER = record_of_int64(
    "n_inputs n_outputs n_input_vectors n_vectors",  # the last two: vectors that hold the inputs and the outputs
    "weights stride",  # a row for each input, in dense layers for each output; numbers from one row to the next
    "n_rows",  # rows of `weights`, with padding
    "biases",
    "inputs",  # what the layer reads: the activations below; with regularisation these, scaled and dropped
    "kept",  # with regularisation: for each unit 0 if it is dropped, else the factor of those that are not
    "activations",  # of the current sample; pre-activations until the activation is applied
    "deltas scaled_deltas",  # dL/d pre-activation, under the original rule the raw error; learning rate * delta
    "unit_mask unit_numbers",  # 1 for units, 0 for padding; 0, 1, 2, ...
    "active_rows active_values n_active",  # the non-zero inputs: int32, their numbers; their values, their count
    scale=np.float64,  # the weights are this times `weights`; 1 without weight decay
)
"""Dtype of the record of a layer."""


@cache
def workspace_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype of the record of a network's workspace."""
    return record_of_int64(
        "layers n_layers",  # LAYER records
        "hidden_activation",
        "lane_sums",  # scratch: a vector for each row of a layer, whose lanes are not summed yet
        "block_lane_sums",  # the same of the second layer, for each sample of a block
        "folded_bias",  # a = b + W·baseline
        "column_offset",  # c: the first layer's weights are V + c·baseline'
        "zero_bounds",  # greatest rounding error of a + V·d while c is 0; set for ReLU and baseline 1
        "block_preactivations",  # V·d / factor of each sample of a block, a row of n_vectors each
        "block_deltas",  # factor * scaled delta of each sample of a block
        "gram",  # d_s·d_t / factor² of each of PAIRS, lanes not summed yet
        "baseline_products",  # mu·d of each sample of a block
        "is_zero",  # int64: whether the baseline is not zero but x is, for each sample of a block
        "deviations input_stride",  # d / factor of each sample of a block, a row of `input_stride` slots each
        # int32: from k * input_stride on, the inputs that deviate in the samples of mask k, and their slots in
        # `deviations`; int64: where each list ends.
        "active_inputs active_slots list_ends",
        "sample_offsets",  # int64: where in `data` each sample of a block begins
        "next_rows value_bytes",  # int64: addresses of the next block's rows of floats; bytes of one of their values
        "sample_masks",  # uint8: in which samples of the block each slot deviates from the baseline
        "any_mask",  # uint64: bit p % 64 of word p // 64 says whether slot p deviates in any sample of the block
        "slot_of_input",  # int32: slot of each input in this block, -1 if it has none; only for sparse rows
        "position",  # number of samples trained on, for dropout
        one=dtype,
    )


@cache
def arguments_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype of the argument block of ``sgd.run_samples``."""
    return record_of_int64(
        "workspace order sample_weights totals outputs",  # addresses; 0: no sample weights, no outputs
        "labels targets",  # a class for each sample, or a number for each sample and output
        "data row_stride",  # address of the samples' values; numbers from one row to the next, with padding
        "indices row_starts",  # sparse rows: int32, the inputs of the values; int64, where each row begins
        "levels scales baseline",  # of each input: a deviation is (value - level) * scale; mu, 0 if it is all zeros
        "n",  # samples in `order`
        "white",  # images: grey level whose deviation is 0; a pixel's deviation is (grey level - white) * factor
        "dense original_rule",  # whether all inputs are visited; whether the rule is the original one
        # rows: whether to stop at a bad sample; its number in `order`, counted from 1, negative for a loss that is not
        # finite, or 0
        "is_checked refused",
        "dropout_key drop_below",  # of the hash; units whose 16 bits are below it are dropped
        "huber",  # whether the loss beyond `error_limit` is linear
        decay=np.float64,  # share of the weights that each sample takes away: learning rate * alpha
        error_limit=dtype,  # largest error that is passed back, of outputs without activation
        keep_scale=dtype,  # factor of the units that are not dropped
        factor=dtype,
        baseline_share=dtype,  # 1 if the baseline is not zero, else 0
        bias_gain=dtype,  # 1 + mu·mu: change of the pre-activation at the baseline input per unit of delta
        learning_rate=dtype,
        low=dtype,  # target of the wrong classes
        high=dtype,  # target of the right class
        one=dtype,
    )


class ArgumentBlock:
    """The record of a kernel's arguments, or one that these point to; keeps its arrays alive.

    Attributes
    ----------
    record : ndarray of a record dtype, shape (1,)
    address : int
        Of the record: the argument of the kernel.
    """

    def __init__(self, dtype: np.dtype[Any], **values: Any) -> None:
        self.record = np.zeros(1, dtype=dtype)
        self.address = address_of(self.record)
        # For int64 fields by position: setting one by its name takes three times as long.
        self._words = memoryview(self.record.view(np.int64))  # type: ignore[arg-type]
        self._positions = {name: offset // 8 for name, (_, offset, *_) in (dtype.fields or {}).items()}
        self._kept: dict[str, NDArray[Any]] = {}
        self.put(**values)

    def put(self, **values: Any) -> None:
        """Set fields to numbers, or to the addresses of arrays."""
        for name, value in values.items():
            if isinstance(value, np.ndarray):
                self.put_array(name, value)
            else:
                self.record[name] = value

    def put_word(self, name: str, value: int) -> None:
        """Set an int64 field, faster than :meth:`put`."""
        self._words[self._positions[name]] = value

    def put_array(self, name: str, array: NDArray[Any]) -> None:
        """Set a field to the address of an array, and keep the array alive.

        Raises
        ------
        TypeError
            If the array is not C-contiguous.
        """
        try:
            # A third of the time that NumPy's own interfaces take.
            address = _addressof(_from_buffer(array))  # type: ignore[arg-type]
        except (TypeError, ValueError, BufferError):  # read-only, empty or not contiguous
            if not array.flags.c_contiguous:
                raise TypeError(f"{name} must be C-contiguous") from None
            address = address_of(array)
        self._words[self._positions[name]] = address
        self._kept[name] = array

    def copy(self) -> ArgumentBlock:
        """Return a block of its own with the same values, which keeps the same arrays alive."""
        other = ArgumentBlock(self.record.dtype)
        other.record[...] = self.record
        other._kept.update(self._kept)
        return other

    def word(self, name: str) -> memoryview:
        """Return the memory of an int64 field, as one number to read and write."""
        position = self._positions[name]
        return self._words[position : position + 1]

    def forget(self, *names: str) -> None:
        """Set fields to 0 and no longer keep their arrays alive."""
        for name in names:
            self._words[self._positions[name]] = 0
            self._kept.pop(name, None)

    def advance(self, name: str, count: int) -> None:
        """Increase the address in a field by `count` elements of its array."""
        self._words[self._positions[name]] += count * self._kept[name].itemsize


class Workspace(NamedTuple):
    """The record of a network's workspace, and NumPy views of its arrays."""

    block: ArgumentBlock  # the record that kernels read
    layers: NDArray[Any]  # the layers' records
    weights: list[NDArray[Any]]  # of each layer, shape (inputs, outputs); some are transposed in memory
    biases: list[NDArray[Any]]  # of each layer, shape (outputs,)
    column_offset: NDArray[Any]  # c, shape (n_hidden,)
    folded_bias: NDArray[Any]  # a, shape (padded n_hidden,)
    zero_bounds: NDArray[Any]  # shape (padded n_hidden,)
    # A row for the first layer's biases, then its weights, shape (inputs + 1, padded n_hidden): the sum over rows is
    # b + W·1. It is padded, since NumPy would sum a single column in pairs.
    bias_and_weights: NDArray[Any]
    parts: dict[str, NDArray[Any]]  # all numbers, with padding, by the names of the records' fields; and "first_row"
    kept: dict[str, NDArray[Any]]  # arrays that only the layers' records point to


def address_of(array: NDArray[Any]) -> int:
    """Return the address of an array's first element."""
    return int(array.__array_interface__["data"][0])


def plan_workspace(
    sizes: tuple[int, ...], activation: str, dtype: np.dtype[Any], regularised: bool = False
) -> Workspace:
    """Return a new workspace for a network, with all weights and biases 0.

    Weights have a row for each input. Above the first layer, those with sigmoid or tanh, and those of narrow layers,
    have a row for each output.
    `regularised` gives the layers inputs of their own, apart from the activations below.
    """
    lanes = LINE // dtype.itemsize
    n_in, n_out = np.array(sizes[:-1]), np.array(sizes[1:])
    n_vectors, n_input_vectors = -(-n_out // lanes), -(-n_in // lanes)
    transposed = (np.arange(len(n_in)) > 0) & ((activation != "relu") | (n_out <= NARROW))
    strides = np.where(transposed, row_lines(n_input_vectors), row_lines(n_vectors)) * lanes
    # Kernels take transposed rows four at a time; those added here stay 0.
    rows = np.where(transposed, -(-n_out // 4) * 4, n_in)
    units, inputs = n_vectors * lanes, n_input_vectors * lanes
    per_unit = ["biases", "activations", "deltas", "scaled_deltas", "unit_mask", "unit_numbers"]
    if regularised:
        per_unit.append("kept")
    # Length of each part of the memory, in numbers and in this order; all are whole vectors.
    lengths = {
        "first_row": int(strides[0]),
        "weights": int((rows * strides).sum()),
        **dict.fromkeys(per_unit, int(units.sum())),
        "active_values": int(inputs.sum()),
        "inputs": int(inputs.sum()) * regularised,
        "lane_sums": (int(max(n_in.max(), n_out.max())) + lanes) * lanes,
        "block_lane_sums": BLOCK * int(units[1]) * lanes if activation != "relu" and len(units) > 1 else 0,
        **dict.fromkeys(("folded_bias", "column_offset", "zero_bounds"), int(units[0])),
        **dict.fromkeys(("block_preactivations", "block_deltas"), BLOCK * int(units[0])),
        "gram": len(PAIRS) * lanes,
        "baseline_products": lanes,
    }
    memory = aligned_zeros(sum(lengths.values()), dtype)
    part = dict(zip(lengths, np.split(memory, np.cumsum(list(lengths.values()))[:-1]), strict=True))
    whole = {"active_rows": np.zeros(int(inputs.sum()), dtype=np.int32)}
    layers = np.zeros(len(n_in), dtype=LAYER)
    layers["n_inputs"], layers["n_outputs"], layers["stride"] = n_in, n_out, strides
    layers["n_vectors"], layers["n_input_vectors"] = n_vectors, n_input_vectors
    layers["n_rows"], layers["scale"] = rows, 1.0
    starts = {"weights": _starts(rows * strides), **dict.fromkeys(per_unit, _starts(units))}
    starts.update(dict.fromkeys(("active_values", "inputs", *whole), _starts(inputs)))
    for name, begins in starts.items():
        array = (whole if name in whole else part)[name]
        layers[name] = address_of(array) + begins * array.itemsize
    if not regularised:
        layers["inputs"][1:] = layers["activations"][:-1]
    biases = [part["biases"][start : start + n] for start, n in zip(starts["biases"], n_out, strict=True)]
    weights: list[NDArray[Any]] = []
    for start, n_rows, stride, n_outputs, n_inputs in zip(starts["weights"], rows, strides, n_out, n_in, strict=True):
        matrix = part["weights"][start : start + n_rows * stride].reshape(n_rows, stride)
        weights.append(matrix[:n_outputs, :n_inputs].T if transposed[len(weights)] else matrix[:, :n_outputs])
        unit = starts["unit_mask"][len(weights) - 1]
        part["unit_mask"][unit : unit + n_outputs] = 1
        part["unit_numbers"][unit : unit + n_outputs] = np.arange(n_outputs)
    kind = workspace_dtype(dtype)
    block = ArgumentBlock(
        kind,
        layers=layers,
        n_layers=len(layers),
        hidden_activation=ACTIVATIONS[activation],
        list_ends=np.zeros(N_MASKS, dtype=np.int64),
        sample_offsets=np.zeros(BLOCK, dtype=np.int64),
        next_rows=np.zeros(BLOCK, dtype=np.int64),
        is_zero=np.zeros(BLOCK, dtype=np.int64),
        one=1,
        **{name: array for name, array in part.items() if name in (kind.names or ())},
    )
    first = memory[: (n_in[0] + 1) * strides[0]].reshape(-1, strides[0])[:, : units[0]]
    column_offset, folded_bias, zero_bounds = (part[name] for name in ("column_offset", "folded_bias", "zero_bounds"))
    column_offset = column_offset[: sizes[1]]
    return Workspace(block, layers, weights, biases, column_offset, folded_bias, zero_bounds, first, part, whole)


def make_slots(block: ArgumentBlock, n_slots: int, n_inputs: int | None = None) -> None:
    """Give a workspace memory for the deviations of a block of samples, and for their lists.

    Parameters
    ----------
    block : ArgumentBlock
        The record of the workspace.
    n_slots : int
        Most inputs that the samples of a block may hold together; a multiple of INPUTS_PER_STEP.
    n_inputs : int, optional
        Given for sparse rows: the number of inputs, of which those in a block have slots.
    """
    dtype = block.record["one"].dtype
    inputs = np.zeros(N_MASKS * n_slots, dtype=np.int32)
    block.put(
        deviations=aligned_zeros(BLOCK * n_slots, dtype),
        input_stride=n_slots,
        active_inputs=inputs,
        active_slots=inputs if n_inputs is None else np.zeros_like(inputs),
        sample_masks=np.zeros(n_slots, dtype=np.uint8),
        any_mask=np.zeros(-(-n_slots // 64), dtype=np.uint64),
    )
    if n_inputs is None:
        block.forget("slot_of_input")
    else:
        block.put(slot_of_input=np.full(n_inputs, -1, dtype=np.int32))


def _starts(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where contiguous parts of these lengths begin."""
    return np.cumsum(lengths) - lengths
