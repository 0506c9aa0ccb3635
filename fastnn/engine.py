"""Engine: a network in the kernels' workspace; it loads and stores weights, trains on samples and predicts."""

from __future__ import annotations

from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn.errors import DataError
from fastnn.inputs import KernelInput
from fastnn.kernels.loader import Kernel
from fastnn.kernels.workspace import BLOCK, ArgumentBlock, arguments_dtype, plan_workspace
from fastnn.network import Network
from fastnn.reference import ReferenceNetwork

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

_CHUNK_WEIGHTS = 1 << 28
"""Weights that a chunk of samples reads and writes in about 20 ms."""

_INT64 = np.dtype(np.int64)


class Engine:
    """Trains and runs a network on a copy of its weights, in memory laid out for the kernels.

    Parameters
    ----------
    network : Network
        Changed by :meth:`store_weights` alone.
    kernel : callable, optional
        Called with the argument block's address; by default the compiled kernel.
    """

    def __init__(self, network: Network, kernel: Callable[[int], Any] | None = None) -> None:
        self.network = network
        self._workspace = plan_workspace(network.sizes, network.activation, network.dtype)
        self._arguments = ArgumentBlock(arguments_dtype(network.dtype), workspace=self._workspace.block.record, one=1)
        self._arguments.put(original_rule=network.rule == "original")
        compiled = kernel_for(network.dtype.name, network.rule, network.activation)
        self._kernel, self._compiled = kernel or compiled.run, compiled if kernel is None else None
        # What the arguments were last set from: most calls differ only in the order of samples.
        self._kind: tuple[Any, ...] = ()
        self._bound: tuple[Any, ...] = ()
        self._identity = np.arange(BLOCK)
        # The baseline for which the workspace holds the network's weights; None after training.
        self._loaded_for: int | None = None

    def load_weights(self, data: KernelInput) -> None:
        """Copy the network's weights to the workspace, for inputs of this kind; DataError if their width differs."""
        if data.n_inputs != self.network.sizes[0]:
            raise DataError(
                f"the network has {self.network.sizes[0]} inputs, but the images have {data.n_inputs} pixels"
            )
        ws, network = self._workspace, self.network
        if self._compiled is not None:  # once the machine code is loaded, `run` is the code itself
            self._kernel = self._compiled.run
        if self._loaded_for == data.baseline and network.frozen:
            return
        for own, given in zip(ws.weights + ws.biases, network.weights + network.biases, strict=True):
            own[...] = given
        ws.bias_and_weights[0, : network.sizes[1]] = ws.biases[0]
        ws.column_offset[...] = 0
        with np.errstate(over="ignore", invalid="ignore"):  # seen in the outputs
            # Row by row, so that the sums are the same bits on every machine.
            np.add.reduce(ws.bias_and_weights[: None if data.baseline else 1], axis=0, out=ws.folded_bias)
            if data.baseline and network.activation == "relu":
                # The sums for a and V·d have at most n + 1 terms each, and there are a few more roundings. Each of them
                # is wrong by at most half an eps of the sum of |W| and |b|.
                rounding = (len(ws.bias_and_weights) + 5) * np.finfo(network.dtype).eps
                np.abs(ws.bias_and_weights).sum(axis=0, out=ws.zero_bounds)
                np.multiply(ws.zero_bounds, rounding, out=ws.zero_bounds)
        self._loaded_for = data.baseline

    def store_weights(self) -> None:
        """Copy the weights of the workspace to the network."""
        self._loaded_for = None
        ws, network = self._workspace, self.network
        with np.errstate(over="ignore", invalid="ignore"):  # seen in the weights
            np.add(ws.weights[0], ws.column_offset, out=network.weights[0])
        own, given = ws.weights[1:] + ws.biases, network.weights[1:] + network.biases
        for mine, theirs in zip(own, given, strict=True):
            theirs[...] = mine

    def train(
        self,
        data: KernelInput,
        labels: NDArray[np.int64],
        order: NDArray[np.int64],
        learning_rate: float,
        totals: NDArray[np.float64],
        *,
        smoothing: float = 0.0,
        weights: NDArray[Any] | None = None,
    ) -> None:
        """Train on the samples of `order`, one after the other.

        Parameters
        ----------
        data : KernelInput
            Of the kind that :meth:`load_weights` was last called with.
        labels : ndarray of int64, shape (n,)
            Class of each image, below the network's number of outputs.
        order : ndarray of int64, shape (m,)
            Indices of the samples, C-contiguous; each from 0 to n - 1, not checked (for the call's speed).
        learning_rate : float
        totals : ndarray of float64, shape (2,)
            The losses and the number of right answers, before each sample's update, are added to it.
        smoothing : float
            Label smoothing.
        weights : ndarray of dtype, shape (n,), optional
            Factor of the learning rate for each sample.

        Raises
        ------
        DataError
            If an array has another dtype or more dimensions.
        """
        self._loaded_for = None
        last, arguments = self._bound, self._arguments
        same = last and last[0] is data and last[1] is labels and last[2] is totals and last[3] is weights
        if not same or last[4:] != (learning_rate, smoothing):
            self._bound = ()  # until all is set
            kinds: Any = (labels, _INT64), (totals, np.float64), (weights, self.network.dtype)
            for name, (array, dtype) in zip(("labels", "totals", "sample_weights"), kinds, strict=True):
                if array is not None and (array.dtype != dtype or array.ndim != 1):
                    raise DataError(f"{name}: must be a row of {np.dtype(dtype)}, not {array.dtype} {array.shape}")
                arguments.put(**{name: 0 if array is None else array})
            if labels.size and not 0 <= labels.min() <= labels.max() < self.network.sizes[-1]:
                raise DataError(f"labels must be from 0 to {self.network.sizes[-1] - 1}")
            self._bind_data(data)
            low = smoothing / self.network.sizes[-1]
            arguments.put(learning_rate=learning_rate, low=low, high=1.0 - smoothing + low, outputs=0)
            self._bound = (data, labels, totals, weights, learning_rate, smoothing)
        if order.dtype is not _INT64 and order.dtype != _INT64:
            raise DataError(f"the order of samples must be int64, not {order.dtype}")
        arguments.put_array("order", order)
        arguments.put_word("n", len(order))
        self._kernel(arguments.address)

    def _bind_data(self, data: KernelInput) -> None:
        if self._kind != data.kind:
            white, factor, baseline, dense = self._kind = data.kind
            gain = 1 + baseline * data.n_inputs
            self._arguments.put(white=white, factor=factor, baseline=baseline, dense=dense, bias_gain=gain)
            self._arguments.put_word("n_pixels", data.images.shape[1])
        self._arguments.put_array("images", data.images)

    def chunk_size(self, data: KernelInput) -> int:
        """Return how many samples, in whole blocks, take about 20 ms; between chunks Ctrl-C and progress get a turn."""
        touched = self.network.parameters.size
        if data.first_layer == "sparse":
            # About a quarter of the pixels are not white.
            touched -= 3 * self.network.weights[0].size // 4
        return max(1, min(4096, _CHUNK_WEIGHTS // touched) // BLOCK) * BLOCK

    def outputs(self, data: KernelInput, between: Callable[[], object] | None = None) -> NDArray[Any]:
        """Return the network's outputs for all images, shape (n, classes).

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
            if start:
                arguments.advance("images", chunk * data.images.shape[1])
                arguments.advance("outputs", chunk * self.network.sizes[-1])
            self._kernel(arguments.address)
            if between is not None:
                between()
        arguments.forget("images", "outputs")
        return result


def run(engine: Engine, images: NDArray[np.uint8], invert: bool, first_layer: str = "sparse") -> NDArray[Any]:
    """Return the network's outputs for images, shape (n, classes), the same bits on every machine."""
    data = KernelInput(images, invert, first_layer)
    engine.load_weights(data)
    return engine.outputs(data)


def has_finite_outputs(network: Network, invert: bool) -> bool:
    """Return whether a network's outputs are finite: proven by its weights, or tried on a few images.

    The images are white, black and noise; other images may still give outputs that are not finite.
    """
    if network.cannot_overflow():
        return True
    if not network.is_finite():
        return False
    n = network.sizes[0]
    noise = np.random.default_rng(0).integers(0, 256, (2, n), dtype=np.uint8)
    images = np.concatenate([np.full((1, n), 255, np.uint8), np.zeros((1, n), np.uint8), noise])
    return bool(np.isfinite(run(Engine(network), images, invert)).all())


@cache
def kernel_for(dtype: str, rule: str, activation: str) -> Kernel:
    """Return the kernel for networks of this dtype, rule and activation."""
    # Sigmoid and tanh share a kernel: the workspace says which one it is.
    kind = "relu" if activation == "relu" else "sigmoid"
    check = partial(_agrees_with_reference, dtype, rule, activation)
    return Kernel("fastnn.kernels.sgd", "run_samples", (dtype, rule, kind), check)


def _agrees_with_reference(dtype: str, rule: Any, activation: Any, kernel: Callable[[int], Any]) -> bool:
    """Return whether a kernel and the plain-Python rule compute the same weights and outputs on four samples."""
    network = Network((20, 7, 5, 3), rule=rule, activation=activation, dtype=dtype).initialise("xavier")
    reference = ReferenceNetwork.from_network(network)
    images = (np.arange(80, dtype=np.uint8).reshape(4, 20) * 37) | np.array([255, 0, 0, 1] * 5, dtype=np.uint8)
    labels, data = np.array([2, 0, 1, 2]), KernelInput(images, False, "sparse")
    engine = Engine(network, kernel)
    engine.load_weights(data)
    engine.train(data, labels, np.arange(4), 0.5, np.zeros(2))
    engine.store_weights()
    inputs = (images / 255).tolist()
    for x, label in zip(inputs, labels.tolist(), strict=True):
        reference.train(x, label, 0.5)
    engine.load_weights(data)
    found = [*network.weights, *network.biases, engine.outputs(data)]
    expected = [*reference.weights, *reference.biases, [reference.predict(x) for x in inputs]]
    pairs = zip(found, expected, strict=True)
    return all(np.allclose(ours, np.array(theirs), rtol=1e-3, atol=1e-4) for ours, theirs in pairs)
