"""A network laid out in the kernels' workspace: loads and stores its weights, trains a chunk, runs it."""

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
"""Weights that a chunk of samples may touch: 20 ms or so."""

_INT64 = np.dtype(np.int64)


class Engine:
    """A network with the memory that the kernels need.

    Works on a copy of the weights between :meth:`load_weights` and :meth:`store_weights`.

    Parameters
    ----------
    network : Network
        Trained in place.
    kernel : callable, optional
        What to run the argument block's address with; by default the compiled kernel.
    """

    def __init__(self, network: Network, kernel: Callable[[int], Any] | None = None) -> None:
        self.network = network
        self._workspace = plan_workspace(network.sizes, network.activation, network.dtype)
        self._arguments = ArgumentBlock(arguments_dtype(network.dtype), workspace=self._workspace.block.record, one=1)
        self._arguments.put(original_rule=network.rule == "original")
        compiled = kernel_for(network.dtype.name, network.rule, network.activation)
        self._kernel = kernel or compiled.run
        self._compiled = compiled if kernel is None else None
        # What the arguments were last set for; most calls differ only in the order of samples.
        self._kind: tuple[Any, ...] = ()
        self._bound: tuple[Any, ...] = ()
        self._identity = np.arange(BLOCK)
        # The baseline for which the workspace holds the network's weights; None after training.
        self._loaded_for: int | None = None

    def load_weights(self, data: KernelInput) -> None:
        """Copy the network's weights to the workspace, for inputs of this kind.

        Raises
        ------
        DataError
            If the inputs are not as many as the network's.
        """
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
        # One row after the other, so that the sums are the same bits on every machine.
        np.add.reduce(ws.bias_and_weights[: None if data.baseline else 1], axis=0, out=ws.folded_bias)
        ws.column_offset[...] = 0
        self._loaded_for = data.baseline

    def store_weights(self) -> None:
        """Copy the weights of the workspace to the network."""
        self._loaded_for = None
        ws, network = self._workspace, self.network
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
            Of the kind last given to :meth:`load_weights`.
        labels : ndarray of int64, shape (n,)
            Class of each image, below the network's number of outputs.
        order : ndarray of int64, shape (m,)
            Which samples, C-contiguous; each from 0 to n - 1.
        learning_rate : float
        totals : ndarray of float64, shape (2,)
            Gets the sum of the losses and the number of hits added, both before a sample's own update.
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
        """Return how many samples, in whole blocks, take 20 ms or so: then Ctrl-C and progress get a turn."""
        touched = self.network.parameters.size
        if data.first_layer == "sparse":
            # About a quarter of the pixels are not white.
            touched -= 3 * self.network.weights[0].size // 4
        return max(1, min(4096, _CHUNK_WEIGHTS // touched) // BLOCK) * BLOCK

    def outputs(self, data: KernelInput, between: Callable[[], object] | None = None) -> NDArray[Any]:
        """Run the network on all images.

        Parameters
        ----------
        data : KernelInput
            Of the kind last given to :meth:`load_weights`.
        between : callable, optional
            Called every 20 ms or so; an exception that it raises ends the run.

        Returns
        -------
        ndarray of dtype, shape (n, classes)
        """
        n, arguments = data.n, self._arguments
        result = np.empty((n, self.network.sizes[-1]), dtype=self.network.dtype)
        if len(self._identity) < n:
            self._identity = np.arange(n)
        self._bound = ()
        self._bind_data(data)
        arguments.put_array("order", self._identity)
        arguments.put_array("outputs", result)
        # A few samples need no look at the clock.
        chunk = max(1, n) if n <= BLOCK else self.chunk_size(data)
        for start in range(0, n, chunk):
            arguments.put_word("n", min(chunk, n - start))
            if start:
                arguments.advance("order", chunk)
                arguments.advance("outputs", chunk * self.network.sizes[-1])
            self._kernel(arguments.address)
            if between is not None:
                between()
        return result


def run(engine: Engine, images: NDArray[np.uint8], invert: bool, first_layer: str = "sparse") -> NDArray[Any]:
    """Return the network's outputs for images; see :class:`KernelInput`.

    The same bits as during training, on every machine.
    """
    data = KernelInput(images, invert, first_layer)
    engine.load_weights(data)
    return engine.outputs(data)


@cache
def kernel_for(dtype: str, rule: str, activation: str) -> Kernel:
    """Return the kernel for networks of this kind."""
    # One code serves sigmoid and tanh, told apart by the workspace.
    kind = "relu" if activation == "relu" else "sigmoid"
    check = partial(_agrees_with_reference, dtype, rule, activation)
    return Kernel("fastnn.kernels.sgd", "run_samples", (dtype, rule, kind), check)


def _agrees_with_reference(dtype: str, rule: Any, activation: Any, kernel: Callable[[int], Any]) -> bool:
    """Train on four samples; return whether weights and outputs are those of the plain-Python rule."""
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
