"""Engine: a network in the kernels' workspace; it loads and stores weights, trains on samples and predicts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from fastnn.errors import DataError, RecipeError
from fastnn.inputs import ALL_ONES, ImageInput, KernelInput, RowInput, SparseInput
from fastnn.kernels.loader import Kernel
from fastnn.kernels.workspace import (
    BLOCK,
    SMALLEST_SCALE,
    ArgumentBlock,
    arguments_dtype,
    make_slots,
    plan_workspace,
)
from fastnn.network import LOSSES, Network
from fastnn.reference import ReferenceNetwork

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

_CHUNK_WEIGHTS = 1 << 28
"""Weights that a chunk of samples reads and writes in about 20 ms."""

_LARGE_INPUT = 1e6
"""Inputs of a network up to this are taken for possible, of rows that are not standardised too."""

_INT64 = np.dtype(np.int64)

_ROWS_AT_ONCE = 1024
"""Rows of weights whose products are in memory at once."""


_BY_CLASS = ("original", "cross_entropy")
"""Losses whose target is a class."""

_HASH_VALUES = 1 << 16
"""Values of the hash that decides whether a unit is dropped."""


@dataclass(frozen=True)
class StepOptions:
    """What a training step does besides descending along the gradient.

    Attributes
    ----------
    smoothing : float
        Label smoothing of classes, in [0, 1).
    alpha : float
        Weight decay: each sample multiplies all weights by 1 - learning rate * `alpha`; the gradient of
        `alpha` / 2 times the sum of their squares. Biases do not decay.
    dropout : float
        Share of the hidden units that are dropped at each sample, in [0, 1), in steps of 1 / 65536.
    dropout_key : int
        Seed of the choice of units, from 0 to 2**63 - 1.
    error_limit : float
        Largest error of an output without activation that is passed back.
    huber : bool
        Whether the loss is linear beyond the limit, as its gradient is (Huber 1964).
    """

    smoothing: float = 0.0
    alpha: float = 0.0
    dropout: float = 0.0
    dropout_key: int = 0
    error_limit: float = math.inf
    huber: bool = False


_NO_OPTIONS = StepOptions()


_LASTING = {
    *("first_row", "weights", "biases", "folded_bias", "column_offset"),
    *("zero_bounds", "unit_mask", "unit_numbers"),
}
"""Parts of the workspace that last longer than a block of samples; the others are scratch."""


class SavedWeights(NamedTuple):
    """Copies of an engine's weights, or of those that training on some samples can change."""

    inputs: NDArray[np.int32] | slice  # the inputs whose weights in the first layer are copied
    arrays: list[NDArray[Any]]
    position: int


def check_decay(learning_rate: float, options: StepOptions) -> None:
    """Raise RecipeError if a step would take away all weights or more, which the kernels cannot."""
    if not learning_rate * options.alpha < 1:
        raise RecipeError(
            f"the learning rate {learning_rate:g} times alpha {options.alpha:g} must be below 1: each sample takes "
            "that share of the weights away"
        )


class Engine:
    """Trains and runs a network on a copy of its weights, in memory laid out for the kernels.

    Parameters
    ----------
    network : Network
        Changed by :meth:`store_weights` alone.
    kernel : callable, optional
        Called with the argument block's address; by default the compiled kernel.
    regularised : bool
        Whether :meth:`train` can do weight decay and dropout, which takes a little longer without them too.

    Attributes
    ----------
    kernel : callable
        The kernel for the kind of data that :meth:`load_weights` was last called with.
    """

    def __init__(
        self, network: Network, kernel: Callable[[int], Any] | None = None, *, regularised: bool = False
    ) -> None:
        self.network, self._regularised = network, regularised
        self._workspace = plan_workspace(network.sizes, network.activation, network.dtype, regularised)
        self._arguments = ArgumentBlock(arguments_dtype(network.dtype), workspace=self._workspace.block.record, one=1)
        self._arguments.put(original_rule=network.rule == "original")
        self._given = kernel
        self.kernel: Callable[[int], Any] = kernel or _not_loaded
        # What the arguments were last set from: most calls differ only in the order of samples.
        self._kind: object = None
        self._slots: tuple[int, int | None] = (0, None)
        self._bound: tuple[Any, ...] = ()
        self._identity = np.arange(BLOCK)
        # Whether the workspace holds the network's weights (not after training), and for which baseline.
        self._loaded = False
        self._baseline: NDArray[Any] | None = None
        self._options: StepOptions | None = None

    def load_weights(self, data: KernelInput) -> None:
        """Copy the network's weights to the workspace, for inputs of this kind; DataError if their width differs."""
        if data.n_inputs != self.network.sizes[0]:
            raise DataError(f"the network has {self.network.sizes[0]} inputs, but the samples have {data.n_inputs}")
        ws, network = self._workspace, self.network
        self._choose_kernel(data)
        if self._loaded and data.baseline is self._baseline and network.frozen:
            return
        for own, given in zip(ws.weights + ws.biases, network.weights + network.biases, strict=True):
            own[...] = given
        ws.bias_and_weights[0, : network.sizes[1]] = ws.biases[0]
        with np.errstate(over="ignore", invalid="ignore"):  # seen in the outputs
            self._fold_baseline(data.baseline)
            if data.baseline is ALL_ONES and network.activation == "relu":
                # The sums for a and V·d have at most n + 1 terms each, and there are a few more roundings. Each of them
                # is wrong by at most half an eps of the sum of |W| and |b|.
                rounding = (len(ws.bias_and_weights) + 5) * np.finfo(network.dtype).eps
                np.abs(ws.bias_and_weights).sum(axis=0, out=ws.zero_bounds)
                np.multiply(ws.zero_bounds, rounding, out=ws.zero_bounds)
        ws.column_offset[...] = 0
        ws.layers["scale"] = 1.0
        self._loaded, self._baseline = True, data.baseline

    def change_kind(self, data: KernelInput) -> None:
        """Go on with inputs of another kind, with the weights of the workspace; the network may get them too."""
        if data.baseline is self._baseline:
            self._choose_kernel(data)
        else:
            self.store_weights()
            self.load_weights(data)

    def _choose_kernel(self, data: KernelInput) -> None:
        if self._given is None:
            network, variant = self.network, "regularised" if self._regularised else "plain"
            kind = network.dtype.name, network.loss, network.activation, data.reader, variant
            self.kernel = kernel_for(*kind).load()

    def _fold_baseline(self, baseline: NDArray[Any] | None) -> None:
        """Write b + W'·mu; row by row, so that the sums are the same bits on every machine."""
        ws = self._workspace
        rows = ws.bias_and_weights[: None if baseline is ALL_ONES else 1]
        np.add.reduce(rows, axis=0, out=ws.folded_bias)
        if baseline is None or baseline is ALL_ONES:
            return
        weights, factors = ws.bias_and_weights[1:], baseline[: self.network.sizes[0], None]
        for start in range(0, len(weights), _ROWS_AT_ONCE):
            products = weights[start : start + _ROWS_AT_ONCE] * factors[start : start + _ROWS_AT_ONCE]
            products[0] += ws.folded_bias
            np.add.reduce(products, axis=0, out=ws.folded_bias)

    def store_weights(self) -> None:
        """Copy the weights of the workspace to the network."""
        self._loaded = False
        ws, network, baseline = self._workspace, self.network, self._baseline
        with np.errstate(over="ignore", invalid="ignore"):  # seen in the weights
            if baseline is None or baseline is ALL_ONES:
                offset = 0.0 if baseline is None else ws.column_offset
                np.add(ws.weights[0], offset, out=network.weights[0])
            else:
                np.multiply(baseline[: len(ws.weights[0]), None], ws.column_offset, out=network.weights[0])
                network.weights[0][...] += ws.weights[0]
        own, given = ws.weights[1:] + ws.biases, network.weights[1:] + network.biases
        for mine, theirs in zip(own, given, strict=True):
            theirs[...] = mine
        for scale, weights in zip(ws.layers["scale"].tolist(), network.weights, strict=True):
            if scale != 1.0:
                np.multiply(weights, network.dtype.type(scale), out=weights)

    def save_weights(self, data: KernelInput, n: int, decay: float = 0.0) -> SavedWeights:
        """Return copies of all weights that training on `n` samples of `data` can change; of sparse rows, few.

        Parameters
        ----------
        data : KernelInput
            Of the kind that :meth:`load_weights` was last called with.
        n : int
            Number of samples that will be trained on.
        decay : float
            Learning rate times alpha.
        """
        ws = self._workspace
        inputs: NDArray[np.int32] | slice = slice(None)
        # A small scale is multiplied into all weights, see fastnn.kernels.regularise.
        keeps_scale = float(ws.layers["scale"][0]) * (1 - decay) ** n > 2 * SMALLEST_SCALE
        if data.reader == "sparse" and data.baseline is None and keeps_scale:
            inputs = np.unique(data.arrays["indices"][: data.arrays["row_starts"][-1]])
        arrays = [ws.bias_and_weights[1:][inputs].copy(), *(array.copy() for array in self._changing())]
        return SavedWeights(inputs, arrays, ws.block.word("position")[0])

    def restore_weights(self, saved: SavedWeights) -> None:
        """Set the weights to those of :meth:`save_weights`; since then there must have been only that training."""
        ws = self._workspace
        ws.bias_and_weights[1:][saved.inputs] = saved.arrays[0]
        for own, kept in zip(self._changing(), saved.arrays[1:], strict=True):
            own[...] = kept
        # What is not finite there would come back: padding is multiplied by 0, which does not make it 0.
        for name in ws.parts.keys() - _LASTING:
            ws.parts[name][...] = 0
        ws.block.put_word("position", saved.position)

    def is_finite(self, saved: SavedWeights) -> bool:
        """Return whether all weights are finite, if those that are not in `saved` are."""
        arrays = [self._workspace.bias_and_weights[1:][saved.inputs], *self._changing()]
        return all(np.isfinite(array).all() for array in arrays)

    def _changing(self) -> list[NDArray[Any]]:
        """Return all that training changes for good but the first layer's weights, with padding."""
        ws = self._workspace
        upper = ws.parts["weights"][len(ws.weights[0]) * int(ws.layers["stride"][0]) :]
        return [upper, ws.parts["biases"], ws.folded_bias, ws.parts["column_offset"], ws.layers["scale"]]

    def train(
        self,
        data: KernelInput,
        targets: NDArray[Any],
        order: NDArray[np.int64],
        learning_rate: float,
        totals: NDArray[np.float64],
        *,
        weights: NDArray[Any] | None = None,
        options: StepOptions | None = None,
    ) -> None:
        """Train on the samples of `order`, one after the other.

        Parameters
        ----------
        data : KernelInput
            Of the kind that :meth:`load_weights` was last called with.
        targets : ndarray of int64, shape (n,), or of dtype, shape (n, outputs)
            For a softmax and for rule original the class of each sample, below the number of outputs. For other outputs
            the target of each; 0 to 1 for sigmoids.
        order : ndarray of int64, shape (m,)
            Indices of the samples, C-contiguous; each from 0 to n - 1, not checked (for the call's speed).
        learning_rate : float
        totals : ndarray of float64, shape (2,)
            The losses and the number of right answers, before each sample's update, are added to it; for outputs
            without activation the sum of squared errors instead of right answers.
        weights : ndarray of dtype, shape (n,), optional
            Factor of the learning rate for each sample.
        options : StepOptions, optional
            Dropout counts samples from the first call with this object on.

        Raises
        ------
        DataError
            If an array has another dtype or shape.
        """
        self._loaded = False
        last, arguments = self._bound, self._arguments
        same = last and last[0] is data and last[1] is targets and last[2] is totals and last[3] is weights
        if not (same and last[4] is options and last[5] == learning_rate):
            self._bind(data, targets, learning_rate, totals, weights, options)
        if order.dtype is not _INT64 and order.dtype != _INT64:
            raise DataError(f"the order of samples must be int64, not {order.dtype}")
        arguments.put_array("order", order)
        arguments.put_word("n", len(order))
        self.kernel(arguments.address)

    def arguments_of_first(
        self,
        data: KernelInput,
        targets: NDArray[Any],
        totals: NDArray[np.float64],
        weights: NDArray[Any],
        options: StepOptions | None,
    ) -> ArgumentBlock:
        """Return the argument block that trains on the first sample of `data` at rate 0, and checks it.

        For callers that need less time for a call than :meth:`train` does: they change the arrays and the block. The
        arguments are those of :meth:`train`. The block is valid until :meth:`train` or :meth:`outputs` gets data of
        another kind.
        """
        self._loaded = False
        self._bind(data, targets, 0.0, totals, weights, options)
        block = self._arguments.copy()
        block.put(order=self._identity, n=1, is_checked=1)
        return block

    def _bind(
        self,
        data: KernelInput,
        targets: NDArray[Any],
        learning_rate: float,
        totals: NDArray[np.float64],
        weights: NDArray[Any] | None,
        options: StepOptions | None,
    ) -> None:
        self._bound = ()  # until all is set
        self._bind_targets(targets)
        kinds: Any = (totals, np.float64), (weights, self.network.dtype)
        for name, (array, dtype) in zip(("totals", "sample_weights"), kinds, strict=True):
            if array is not None and (array.dtype != dtype or array.ndim != 1):
                raise DataError(f"{name}: must be a row of {np.dtype(dtype)}, not {array.dtype} {array.shape}")
            self._arguments.put(**{name: 0 if array is None else array})
        self._bind_data(data)
        self._bind_options(learning_rate, options)
        self._bound = (data, targets, totals, weights, options, learning_rate)

    def _bind_targets(self, targets: NDArray[Any]) -> None:
        n_outputs = self.network.sizes[-1]
        if self.network.loss not in _BY_CLASS:
            if targets.dtype != self.network.dtype or targets.shape[1:] != (n_outputs,):
                raise DataError(
                    f"targets: must be {self.network.dtype} of {n_outputs} columns, not {targets.dtype} {targets.shape}"
                )
            self._arguments.put(targets=targets, labels=0)
            return
        if targets.dtype != _INT64 or targets.ndim != 1:
            raise DataError(f"labels: must be a row of int64, not {targets.dtype} {targets.shape}")
        if targets.size and not 0 <= targets.min() <= targets.max() < n_outputs:
            raise DataError(f"labels must be from 0 to {n_outputs - 1}")
        self._arguments.put(labels=targets, targets=0)

    def _bind_options(self, learning_rate: float, options: StepOptions | None) -> None:
        chosen = options or _NO_OPTIONS
        if options is not self._options:
            self._options = options
            self._workspace.block.put_word("position", 0)
        if not self._regularised and (chosen.alpha or chosen.dropout):
            raise ValueError("weight decay and dropout need a regularised engine")
        check_decay(learning_rate, chosen)
        low = chosen.smoothing / self.network.sizes[-1]
        self._arguments.put(
            learning_rate=learning_rate,
            low=low,
            high=1.0 - chosen.smoothing + low,
            decay=learning_rate * chosen.alpha,
            dropout_key=chosen.dropout_key,
            drop_below=round(chosen.dropout * _HASH_VALUES),
            keep_scale=1 / (1 - chosen.dropout),
            error_limit=chosen.error_limit,
            huber=chosen.huber,
            outputs=0,
        )

    def _bind_data(self, data: KernelInput) -> None:
        arrays, arguments = data.arrays, self._arguments
        if self._kind != data.kind:
            self._kind = data.kind
            width = data.n_inputs if data.reader == "sparse" else None
            if self._slots[1] != width or data.n_slots > self._slots[0]:
                make_slots(self._workspace.block, data.n_slots, width)
                self._slots = data.n_slots, width
            arguments.put(
                white=data.white,
                factor=data.factor,
                baseline_share=int(data.baseline is not None),
                bias_gain=1.0 + data.baseline_square,
                dense=data.first_layer == "dense",
                baseline=0,
                row_stride=data.row_stride,
            )
            arguments.put(**{name: array for name, array in arrays.items() if name != "data"})
        arguments.put_array("data", arrays["data"])

    def chunk_size(self, data: KernelInput) -> int:
        """Return how many samples, in whole blocks, take about 20 ms; between chunks Ctrl-C and progress get a turn."""
        touched, first = self.network.parameters.size, self.network.weights[0].size
        if data.reader == "sparse":
            touched -= first - round(first * data.density)
        elif data.first_layer == "sparse":
            # About a quarter of the pixels are not white.
            touched -= 3 * first // 4
        return max(1, min(4096, _CHUNK_WEIGHTS // touched) // BLOCK) * BLOCK

    def outputs(self, data: KernelInput, between: Callable[[], object] | None = None) -> NDArray[Any]:
        """Return the network's outputs for all samples, shape (n, sizes[-1]).

        Parameters
        ----------
        data : KernelInput
            Of the kind that :meth:`load_weights` was last called with.
        between : callable, optional
            Called about every 20 ms; an exception that it raises ends the run.
        """
        n, arguments = data.n, self._arguments
        result = np.empty((n, self.network.sizes[-1]), dtype=self.network.dtype)
        # Working out the chunk size would take longer than a few samples.
        chunk = max(1, n) if n <= BLOCK else self.chunk_size(data)
        if len(self._identity) < min(chunk, n):
            self._identity = np.arange(chunk)
        self._bound = ()
        self._bind_data(data)
        arguments.put_array("order", self._identity)
        arguments.put_array("outputs", result)
        for start in range(0, n, chunk):
            arguments.put_word("n", min(chunk, n - start))
            if data.changed is not None:
                arguments.put_array("data", data.changed[start : min(n, start + chunk)])
                if start:
                    arguments.advance("outputs", chunk * self.network.sizes[-1])
            elif data.mapped is not None:
                arguments.put_array("order", data.positions(np.arange(start, min(n, start + chunk))))
                if start:
                    arguments.advance("outputs", chunk * self.network.sizes[-1])
            elif start:
                if data.reader == "sparse":
                    arguments.advance("row_starts", chunk)
                else:
                    arguments.advance("data", chunk * data.row_stride)
                arguments.advance("outputs", chunk * self.network.sizes[-1])
            self.kernel(arguments.address)
            if between is not None:
                between()
        arguments.forget("data", "outputs")
        if data.reader == "sparse":
            arguments.put_array("row_starts", data.arrays["row_starts"])
        return result


def _not_loaded(_address: int) -> None:
    raise RuntimeError("call load_weights first")


def run_images(engine: Engine, images: NDArray[np.uint8], invert: bool, first_layer: str = "sparse") -> NDArray[Any]:
    """Return the network's outputs for images, shape (n, classes), the same bits on every machine."""
    data = ImageInput(images, invert, first_layer)
    engine.load_weights(data)
    return engine.outputs(data)


def has_finite_outputs(network: Network, kind: Literal["images", "inverted images", "rows"]) -> bool:
    """Return whether a network's outputs are finite: proven by its weights, or tried on a few samples.

    Images are white, black and noise; rows are standardised noise. Other samples may still give outputs that are not
    finite.
    """
    if network.cannot_overflow(_LARGE_INPUT if kind == "rows" else 1.0):
        return True
    if not network.is_finite():
        return False
    n, rng = network.sizes[0], np.random.default_rng(0)
    if kind == "rows":
        data: KernelInput = RowInput(rng.standard_normal((4, n)), network.dtype, first_layer="dense")
    else:
        noise = rng.integers(0, 256, (2, n), dtype=np.uint8)
        images = np.concatenate([np.full((1, n), 255, np.uint8), np.zeros((1, n), np.uint8), noise])
        data = ImageInput(images, kind == "inverted images", "sparse")
    engine = Engine(network)
    engine.load_weights(data)
    return bool(np.isfinite(engine.outputs(data)).all())


@cache
def kernel_for(dtype: str, loss: str, activation: str, reader: str = "images", variant: str = "plain") -> Kernel:
    """Return the kernel for networks of this dtype, loss and activation; see ``fastnn.kernels.sgd.run_samples``."""
    # Sigmoid and tanh share a kernel: the workspace says which one it is.
    kind = "relu" if activation == "relu" else "sigmoid"
    check = partial(_agrees_with_reference, dtype, loss, activation, reader, variant)
    return Kernel("fastnn.kernels.sgd", "run_samples", (dtype, loss, kind, reader, variant), check)


def _agrees_with_reference(
    dtype: str, loss: Any, activation: Any, reader: str, variant: str, kernel: Callable[[int], Any]
) -> bool:
    """Return whether a kernel and the plain-Python rule compute the same weights and outputs on four samples."""
    rule: Any = "original" if loss == "original" else "backprop"
    output: Any = next((output for output, itself in LOSSES.items() if loss == itself), "sigmoid")
    network = Network((20, 7, 5, 3), rule=rule, activation=activation, output=output, dtype=dtype).initialise("xavier")
    reference = ReferenceNetwork.from_network(network)
    images = (np.arange(80, dtype=np.uint8).reshape(4, 20) * 37) | np.array([255, 0, 0, 1] * 5, dtype=np.uint8)
    rows, data = images / 255, _check_input(images, dtype, reader)
    labels = np.array([2, 0, 1, 2])
    targets = np.eye(3, dtype=dtype)[labels]
    engine = Engine(network, kernel, regularised=variant == "regularised")
    engine.load_weights(data)
    by_class = loss in _BY_CLASS
    engine.train(data, labels if by_class else targets, np.arange(4), 0.5, np.zeros(2))
    engine.store_weights()
    for x, label, target in zip(rows.tolist(), labels.tolist(), targets.tolist(), strict=True):
        reference.train(x, label if by_class else target, 0.5)
    engine.load_weights(data)
    found = [*network.weights, *network.biases, engine.outputs(data)]
    expected = [*reference.weights, *reference.biases, [reference.predict(x) for x in rows.tolist()]]
    pairs = zip(found, expected, strict=True)
    return all(np.allclose(ours, np.array(theirs), rtol=1e-3, atol=1e-4) for ours, theirs in pairs)


def _check_input(images: NDArray[np.uint8], dtype: str, reader: str) -> KernelInput:
    """Return images / 255 as data of a kind."""
    if reader == "images":
        return ImageInput(images, False, "sparse")
    if reader == "sparse":
        n, n_inputs = images.shape
        indices = np.tile(np.arange(n_inputs, dtype=np.int32), n)
        return SparseInput(images.ravel() / 255, indices, np.arange(n + 1) * n_inputs, n_inputs, dtype)
    return RowInput((images / 255).astype(reader), dtype, level=np.ones(images.shape[1]), first_layer="sparse")
