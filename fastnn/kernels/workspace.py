"""What Python and the kernels share: records with named fields, and the plan of a network's memory.

Knows no Numba, so that callers of kept kernels need not import it: that takes longer than an epoch. Fields of int64
that are called after an array hold its address.
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
"""Samples of a block. Two took 0.5 us a digit more, five no less."""

N_MASKS = 1 << BLOCK
"""A sample mask has bit t set for sample t of a block."""

PAIRS = [(s, t) for t in range(BLOCK) for s in range(t)]
"""The pairs of a block's samples, in the order of their dot products in `gram`."""

PIXELS_PER_STEP = 16
"""Pixels are read by so many at once; images are padded to a multiple of it."""

SIGMOID, TANH, RELU, SOFTMAX = 0, 1, 2, 3
ACTIVATIONS = {"sigmoid": SIGMOID, "tanh": TANH, "relu": RELU}


_Nothing = ctypes.c_char * 0


def record_of_int64(*names: str, one: Any = None) -> np.dtype[Any]:
    """Return the dtype of a record of int64 fields, with a field `one` of another type at its end if that is given."""
    return np.dtype([*((name, np.int64) for name in names), *([] if one is None else [("one", one)])], align=True)


LAYER = record_of_int64(
    "n_inputs",
    "n_outputs",
    "n_vectors",  # that hold the outputs
    "n_input_vectors",
    "stride",  # numbers from one row of weights to the next
    "weights",  # a row an input; above the first layer a row an output, unless the activation is ReLU
    "biases",
    "activations",  # of the sample at hand; pre-activations before the activation is applied
    "deltas",  # dL/d pre-activation; under the original rule the raw error
    "scaled_deltas",  # learning rate * delta
    "unit_mask",  # 1 for units, 0 for the padding behind them
    "unit_numbers",  # 0, 1, 2, ...
    "active_rows",  # numbers of the non-zero inputs, int64
    "active_offsets",  # the same times `stride`
    "active_values",  # their values
    "n_active",
)
"""One layer."""


@cache
def workspace_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype of the record of a network's workspace; see the comments for its fields."""
    return record_of_int64(
        "layers",  # LAYER records
        "n_layers",
        "hidden_activation",
        "lane_sums",  # scratch: a vector for each row of a layer, still to be summed over its lanes
        "folded_bias",  # a = b + W·baseline
        "column_offset",  # c: the first layer's weights are V + c·baseline'
        "block_preactivations",  # V·d of each sample of a block, a row of n_vectors each
        "block_deltas",  # factor * scaled delta of each sample of a block
        "gram",  # d_s·d_t of each of PAIRS, lanes not summed yet
        "pixel_values",  # d / factor of each sample of a block
        "pixel_stride",  # pixels of an image with its padding
        "active_pixels",  # int32; those of mask k begin at k * pixel_stride
        "list_ends",  # int64; where in it the pixels of each mask end
        "image_offsets",  # int64; where in the images each sample of a block begins
        "sample_masks",  # uint8; for each pixel which samples of the block deviate from the baseline there
        "any_mask",  # uint64; bit p % 64 of word p // 64: whether any sample of the block deviates at pixel p
        one=dtype,
    )


@cache
def arguments_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype of the argument block of ``sgd.run_samples``; see the comments for its fields."""
    addresses = ("workspace", "images", "labels", "order", "sample_weights", "totals", "outputs")
    fields: list[tuple[str, Any]] = [(name, np.int64) for name in addresses]
    fields += [
        ("n", np.int64),  # samples in `order`
        ("n_pixels", np.int64),  # from one image to the next
        ("white", np.int64),  # grey level whose deviation is 0
        ("dense", np.int64),  # whether all pixels take part
        ("original_rule", np.int64),
        ("factor", dtype),  # a pixel's deviation is (grey level - white) * factor
        ("baseline", dtype),  # x where the deviation is 0: 0 or 1
        ("bias_gain", dtype),  # 1 + mu·mu: change of the pre-activation at the baseline input per unit of delta
        ("learning_rate", dtype),
        ("low", dtype),  # target of the wrong classes
        ("high", dtype),  # target of the right class
        ("one", dtype),
    ]
    return np.dtype(fields, align=True)


class ArgumentBlock:
    """A record for a kernel, with what its addresses point to.

    Parameters
    ----------
    dtype : dtype
        Of the record.
    **values : number or ndarray
        See :meth:`put`.

    Attributes
    ----------
    record : ndarray of dtype, shape (1,)
    address : int
        What the kernel is called with.
    """

    def __init__(self, dtype: np.dtype[Any], **values: Any) -> None:
        self.record = np.zeros(1, dtype=dtype)
        self.address = address_of(self.record)
        # Whole-number fields by position: setting one by its name takes three times as long.
        self._words = memoryview(self.record.view(np.int64))
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
        """Set a field of int64."""
        self._words[self._positions[name]] = value

    def put_array(self, name: str, array: NDArray[Any]) -> None:
        """Set a field to the address of an array's first number, and keep the array alive.

        Raises
        ------
        TypeError
            If the array is not C-contiguous.
        """
        self._kept[name] = array
        try:
            # A third of the time that NumPy's own ways take.
            address = ctypes.addressof(_Nothing.from_buffer(array))  # type: ignore[arg-type]
        except (TypeError, ValueError, BufferError):  # read-only, empty or not contiguous
            if not array.flags.c_contiguous:
                raise TypeError(f"{name} must be C-contiguous") from None
            address = address_of(array)
        self._words[self._positions[name]] = address

    def advance(self, name: str, count: int) -> None:
        """Move an array's address by a number of its items."""
        self._words[self._positions[name]] += count * self._kept[name].itemsize


class Memory(NamedTuple):
    """A network's workspace, and views of it for Python.

    Attributes
    ----------
    record : ndarray of workspace_dtype, shape (1,)
    layers : ndarray of LAYER, shape (n_layers,)
    weights : list of ndarray
        Each of shape (inputs, outputs), whatever the order in memory.
    biases : list of ndarray
    column_offset : ndarray, shape (n_hidden,)
    folded_bias : ndarray, shape (padded n_hidden,)
    bias_and_weights : ndarray, shape (inputs + 1, padded n_hidden)
        The first layer's weights, above them a row for its biases: their sum over rows is b + W·1.
    arrays : tuple of ndarray
        What the addresses in the records point to.
    """

    record: NDArray[Any]
    layers: NDArray[Any]
    weights: list[NDArray[Any]]
    biases: list[NDArray[Any]]
    column_offset: NDArray[Any]
    folded_bias: NDArray[Any]
    bias_and_weights: NDArray[Any]
    arrays: tuple[NDArray[Any], ...]


def address_of(array: NDArray[Any]) -> int:
    """Return the address of an array's first number."""
    return int(array.__array_interface__["data"][0])


def plan_workspace(sizes: tuple[int, ...], activation: str, dtype: np.dtype[Any]) -> Memory:
    """Lay a network out in memory.

    Parameters
    ----------
    sizes : tuple of int
        Units of each layer, inputs first.
    activation : {"sigmoid", "tanh", "relu"}
        Of the hidden layers. With ReLU all weights are kept a row an input, so that inactive inputs are skipped; with
        the others those above the first layer a row an output.
    dtype : dtype
        float32 or float64.

    Returns
    -------
    Memory
        All zeros, but for the masks and numbers of units.
    """
    lanes = LINE // dtype.itemsize
    n_in, n_out = np.array(sizes[:-1]), np.array(sizes[1:])
    n_vectors, n_input_vectors = -(-n_out // lanes), -(-n_in // lanes)
    transposed = np.arange(len(n_in)) * (activation != "relu") > 0
    strides = np.where(transposed, row_lines(n_input_vectors), row_lines(n_vectors)) * lanes
    # Transposed rows are taken four at a time; the missing ones are zeros.
    rows = np.where(transposed, -(-n_out // 4) * 4, n_in)
    units, inputs = n_vectors * lanes, n_input_vectors * lanes
    n_pixels = -(-int(n_in[0]) // PIXELS_PER_STEP) * PIXELS_PER_STEP
    # The parts of the memory in their order, with their lengths in numbers; each is a whole number of vectors.
    lengths = {
        "first_row": int(strides[0]),
        "weights": int((rows * strides).sum()),
        "biases": int(units.sum()),
        **dict.fromkeys(("activations", "deltas", "scaled_deltas", "unit_mask", "unit_numbers"), int(units.sum())),
        "pixel_values": BLOCK * n_pixels,
        "active_values": int(inputs.sum()),
        "lane_sums": (int(max(n_in.max(), n_out.max())) + lanes) * lanes,
        "folded_bias": int(units[0]),
        "column_offset": int(units[0]),
        "block_preactivations": BLOCK * int(units[0]),
        "block_deltas": BLOCK * int(units[0]),
        "gram": len(PAIRS) * lanes,
    }
    memory = aligned_zeros(sum(lengths.values()), dtype)
    ends = np.cumsum(list(lengths.values()))
    part = {name: memory[end - length : end] for (name, length), end in zip(lengths.items(), ends, strict=True)}
    whole_numbers = np.zeros((2, int(inputs.sum())), dtype=np.int64)
    layers = np.zeros(len(n_in), dtype=LAYER)
    layers["n_inputs"], layers["n_outputs"], layers["stride"] = n_in, n_out, strides
    layers["n_vectors"], layers["n_input_vectors"] = n_vectors, n_input_vectors
    layers["weights"] = address_of(part["weights"]) + _starts(rows * strides) * dtype.itemsize
    for name in ("biases", "activations", "deltas", "scaled_deltas", "unit_mask", "unit_numbers"):
        layers[name] = address_of(part[name]) + _starts(units) * dtype.itemsize
    layers["active_values"] = address_of(part["active_values"]) + _starts(inputs) * dtype.itemsize
    layers["active_offsets"] = address_of(whole_numbers[0]) + _starts(inputs) * 8
    layers["active_rows"] = address_of(whole_numbers[1]) + _starts(inputs) * 8
    for start, outputs in zip(_starts(units).tolist(), n_out.tolist(), strict=True):
        part["unit_mask"][start : start + outputs] = 1
        part["unit_numbers"][start : start + outputs] = np.arange(outputs)
    lists = {
        "active_pixels": np.zeros(N_MASKS * n_pixels, dtype=np.int32),
        "list_ends": np.zeros(N_MASKS, dtype=np.int64),
        "image_offsets": np.zeros(BLOCK, dtype=np.int64),
        "sample_masks": np.zeros(n_pixels, dtype=np.uint8),
        "any_mask": np.zeros(-(-n_pixels // 64), dtype=np.uint64),
    }
    record = np.zeros(1, dtype=workspace_dtype(dtype))
    record["layers"], record["n_layers"], record["one"] = address_of(layers), len(layers), 1
    record["hidden_activation"], record["pixel_stride"] = ACTIVATIONS[activation], n_pixels
    for name, array in {**part, **lists}.items():
        if name in (record.dtype.names or ()):
            record[name] = address_of(array)
    weights = []
    for start, count, stride, a, b, flip in zip(
        _starts(rows * strides).tolist(), rows.tolist(), strides.tolist(), n_in.tolist(), n_out.tolist(), transposed,
        strict=True,
    ):  # fmt: skip
        matrix = part["weights"][start : start + count * stride].reshape(count, stride)
        weights.append(matrix[:b, :a].T if flip else matrix[:, :b])
    starts = _starts(units).tolist()
    first = memory[: (n_in[0] + 1) * strides[0]].reshape(-1, strides[0])[:, : units[0]]
    return Memory(
        record=record,
        layers=layers,
        weights=weights,
        biases=[part["biases"][start : start + n] for start, n in zip(starts, n_out.tolist(), strict=True)],
        column_offset=part["column_offset"][: sizes[1]],
        folded_bias=part["folded_bias"],
        bias_and_weights=first,
        arrays=(memory, whole_numbers, *lists.values()),
    )


def _starts(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where parts of these lengths begin that lie one behind the other."""
    return np.cumsum(lengths) - lengths
