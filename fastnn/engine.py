"""The compiled loop with its memory: thin functions that bring shapes and dtypes in order and call the kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn.errors import DataError
from fastnn.kernels import layout as numbers
from fastnn.kernels.layout import BLOCK, CASES, CHUNK, PAIRS, Ink, Net
from fastnn.kernels.native import Kernel, pack
from fastnn.network import LINE, Network, aligned_zeros, row_lines

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


DENSE_FROM = 0.6
"""Share of entries from which "auto" takes the dense kernel: where lists of pixels no longer pay."""

_CHUNK_WEIGHTS = 1 << 28
"""Weights that a chunk of samples may touch."""

_SGD = "fastnn.kernels.sgd"
run_samples, run_samples_listed = Kernel(_SGD, "run_samples"), Kernel(_SGD, "run_samples_listed")

_ACTIVATIONS = {"sigmoid": numbers.SIGMOID, "tanh": numbers.TANH, "relu": numbers.RELU}


class KernelInput:
    """Images in the form that the kernels read.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, pixels)
        255 = paper.
    invert : bool
        See :class:`fastnn.Model`.
    dtype : dtype
        Of the network.
    first_layer : {"auto", "sparse", "dense"}
        Whether to list the pixels that are not white, or all of them; "auto" decides by their share.

    Attributes
    ----------
    first_layer : str
        "sparse" or "dense".
    density : float
        Mean share of pixels that are not white.
    ink : Ink
        What the kernels read.
    packed : Packed
        The same as they take it.
    """

    def __init__(
        self, images: NDArray[np.uint8], invert: bool, dtype: np.dtype[Any], first_layer: str = "auto"
    ) -> None:
        self.n, self.pixels = images.shape
        self.density = _inked(images) / max(1, images.size)
        self.first_layer = (
            first_layer if first_layer != "auto" else ("sparse" if self.density < DENSE_FROM else "dense")
        )
        leaves_paper_out = self.first_layer == "sparse"
        scalar: Any = dtype.type
        shift = 0 if not invert and not leaves_paper_out else 255
        self._invert, self._dtype = invert, dtype
        self._base = 1 if leaves_paper_out and not invert else 0
        self.ink = Ink(
            images=_padded(images, shift),
            sums=self._sums(images.sum(axis=1, dtype=np.int64)),
            shift=np.int64(shift),
            factor=scalar((-1 if invert else 1) / 255),
            base=scalar(self._base),
            whole=scalar(1 + self._base * self.pixels),
            whole_images=not leaves_paper_out,
        )
        self.packed = pack(self.ink)

    def _sums(self, grey: NDArray[np.int64]) -> NDArray[Any]:
        # Of whole numbers, so that neither order nor dtype matters.
        inverted = 255 * self.pixels - grey if self._invert else grey
        return np.asarray(inverted / 255 - self._base * self.pixels, dtype=self._dtype)

    def empty_like(self, n: int) -> KernelInput:
        """Return room for `n` images of the same kind; see :meth:`update_sums`."""
        paper = np.full((n, self.pixels), 255, dtype=np.uint8)
        return KernelInput(paper, self._invert, self._dtype, self.first_layer)

    def update_sums(self, grey: NDArray[np.int64]) -> None:
        """Take note of the first images having been written anew.

        Parameters
        ----------
        grey : ndarray of int64, shape (m,)
            The sum of each one's values.
        """
        self.ink.sums[: len(grey)] = self._sums(grey)


def _inked(images: NDArray[np.uint8]) -> int:
    """Return how many pixels are not paper."""
    return sum(int(np.count_nonzero(images[start : start + 1024] != 255)) for start in range(0, len(images), 1024))


def _padded(images: NDArray[np.uint8], level: int) -> NDArray[np.uint8]:
    """Return the images with this grey level behind each, up to a whole number of chunks."""
    missing = -images.shape[1] % CHUNK
    if not missing:
        return np.ascontiguousarray(images)
    return np.pad(images, ((0, 0), (0, missing)), constant_values=level)


class Engine:
    """A network with the memory that the kernels need; trains it in place and runs it.

    Works on a copy of the weights between :meth:`load_weights` and :meth:`store_weights`.

    Parameters
    ----------
    network : Network
        Trained in place.
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        dtype, lanes = network.dtype, LINE // network.dtype.itemsize
        n_in, n_out = np.array(network.sizes[:-1]), np.array(network.sizes[1:])
        registers, across = -(-n_out // lanes), -(-n_in // lanes)
        transposed = np.arange(len(n_in)) * (network.activation != "relu") > 0
        strides = np.where(transposed, row_lines(across), row_lines(registers)) * lanes
        # Transposed rows are taken four at a time; the missing ones are zeros.
        rows = np.where(transposed, -(-n_out // 4) * 4, n_in)
        units, listed = registers * lanes, across * lanes
        span = -(-int(n_in[0]) // CHUNK) * CHUNK
        # What the memory holds, in this order, and how much of it; each a whole number of registers.
        lengths = {
            "above": int(strides[0]),
            "weights": int((rows * strides).sum()),
            "biases": int(units.sum()),
            "units": 5 * int(units.sum()),
            "ink": BLOCK * span,
            "values": int(listed.sum()),
            "sums": (int(max(n_in.max(), n_out.max())) + lanes) * lanes,
            "paper": int(units[0]),
            "offset": int(units[0]),
            "parts": BLOCK * int(units[0]),
            "gradients": BLOCK * int(units[0]),
            "products": len(PAIRS) * lanes,
        }
        ends = np.cumsum(list(lengths.values()))
        place = dict(zip(lengths, (ends - list(lengths.values())).tolist(), strict=True))
        memory = aligned_zeros(int(ends[-1]), dtype)
        layout = np.zeros((len(n_in), numbers.LAYOUT), dtype=np.int64)
        layout[:, numbers.INPUTS], layout[:, numbers.OUTPUTS] = n_in, n_out
        layout[:, numbers.REGISTERS], layout[:, numbers.STRIDE] = registers, strides
        layout[:, numbers.WEIGHTS] = place["weights"] + _starts(rows * strides)
        layout[:, numbers.BIASES] = place["biases"] + _starts(units)
        layout[:, numbers.UNITS] = place["units"] + _starts(units)
        layout[:, numbers.LISTS] = _starts(listed)
        places = np.zeros(numbers.PLACES, dtype=np.int64)
        places[numbers.BEHIND], places[numbers.LAYERS] = units.sum(), len(n_in)
        places[numbers.SPAN], places[numbers.ROWS] = span, listed.sum()
        for index, name in (
            (numbers.INK, "ink"),
            (numbers.VALUES, "values"),
            (numbers.SUMS, "sums"),
            (numbers.PAPER, "paper"),
            (numbers.OFFSET, "offset"),
            (numbers.PARTS, "parts"),
            (numbers.GRADIENTS, "gradients"),
            (numbers.PRODUCTS, "products"),
        ):
            places[index] = place[name]
        self._weights = []
        for (a, b, _, stride, w, *_), flip in zip(layout.tolist(), transposed.tolist(), strict=True):
            if flip:
                self._weights.append(memory[w : w + b * stride].reshape(b, stride)[:, :a].T)
            else:
                self._weights.append(memory[w : w + a * stride].reshape(a, stride)[:, :b])
        self._biases = [memory[row[numbers.BIASES] :][: row[numbers.OUTPUTS]] for row in layout.tolist()]
        self._offset = memory[place["offset"] :][: network.sizes[1]]
        self._paper = memory[place["paper"] :][: units[0]]
        # Its biases stand above the first layer's weights, once more: to be summed in one go.
        self._first = memory[: (n_in[0] + 1) * strides[0]].reshape(-1, strides[0])[:, : units[0]]
        for row in layout.tolist():
            outputs, masked = row[numbers.OUTPUTS], row[numbers.UNITS] + 3 * int(units.sum())
            memory[masked:][:outputs] = 1
            memory[masked + int(units.sum()) :][:outputs] = np.arange(outputs)
        net = Net(
            memory=memory,
            rows=np.zeros(CASES * span, dtype=np.int32),
            ends=np.zeros(CASES, dtype=np.int64),
            starts=np.zeros(BLOCK, dtype=np.int64),
            cases=np.zeros(span, dtype=np.uint8),
            unions=np.zeros(-(-span // 64), dtype=np.uint64),
            lists=np.zeros(2 * int(listed.sum()), dtype=np.int64),
            layout=layout.reshape(-1),
            places=places,
            counts=np.zeros(len(n_in), dtype=np.int64),
            hidden=np.int64(_ACTIVATIONS[network.activation]),
            toy=(0,) if network.rule == "original" else (),
        )
        self._net = pack(net)
        # What the last call of `train` learnt by, and the kernel with that; and the images, so that they live as long.
        self._bound: tuple[tuple[object, ...], Callable[[NDArray[np.int64]], None], KernelInput] | None = None
        self._run = run_samples_listed if network.activation == "relu" else run_samples
        self._no_weights = np.empty(0, dtype=dtype)
        # The offset's base for which the weights are in the memory as the network has them.
        self._open_for: float | None = None
        self._no_outputs = pack(np.empty((0, network.sizes[-1]), dtype=dtype))

    def load_weights(self, prepared: KernelInput) -> None:
        """Take the network's weights, and make ready for images of this kind.

        Raises
        ------
        DataError
            If the images' size is not that of the network's inputs.
        """
        if prepared.pixels != self.network.sizes[0]:
            raise DataError(
                f"the network takes {self.network.sizes[0]} inputs, but the images have {prepared.pixels} pixels"
            )
        base = float(prepared.ink.base)
        if self._open_for == base and self.network.frozen:
            return
        for own, given in zip(self._weights + self._biases, self.network.weights + self.network.biases, strict=True):
            own[...] = given
        self._first[0, : len(self._offset)] = self._biases[0]
        # One row after the other, so that the sums are the same bits on every machine.
        np.add.reduce(self._first[: None if base else 1], axis=0, out=self._paper)
        self._offset[...] = 0
        self._open_for = base

    def store_weights(self) -> None:
        """Give the network its new weights."""
        self._open_for = None
        np.add(self._weights[0], self._offset, out=self.network.weights[0])
        own, given = self._weights[1:] + self._biases, self.network.weights[1:] + self.network.biases
        for mine, theirs in zip(own, given, strict=True):
            theirs[...] = mine

    def train(
        self,
        prepared: KernelInput,
        labels: NDArray[np.int64],
        order: NDArray[np.int64],
        lr: float,
        totals: NDArray[np.float64],
        *,
        smoothing: float = 0.0,
        weights: NDArray[Any] | None = None,
    ) -> None:
        """Train on the samples of `order`, one after the other.

        Parameters
        ----------
        prepared : KernelInput
            The images; of the kind last given to :meth:`load_weights`.
        labels : ndarray of int64, shape (n,)
            Class of each image, below the network's number of outputs.
        order : ndarray of int64, shape (m,)
            Which samples.
        lr : float
            Learning rate.
        totals : ndarray of float64, shape (2,)
            Sum of losses and number of hits, both before the sample's own update, are added to it.
        smoothing : float
            Label smoothing.
        weights : ndarray of dtype, shape (n,), optional
            Factor of the learning rate for each sample.
        """
        self._open_for = None
        # Most often all is as in the last call. What has these identities is kept alive, so that nothing else has them.
        by = (id(prepared), id(labels), id(totals), id(weights), lr, smoothing)
        if self._bound is None or self._bound[0] != by:
            scalar: Any = self.network.dtype.type
            low = smoothing / self.network.sizes[-1]
            rate, low, high = scalar(lr), scalar(low), scalar(1.0 - smoothing + low)
            factors = self._no_weights if weights is None else weights
            learn = self._run.bound(
                (self._net, prepared.packed, labels), (rate, low, high, factors, totals, self._no_outputs)
            )
            self._bound = by, learn, prepared
        self._bound[1](order)

    def chunk_size(self, prepared: KernelInput) -> int:
        """Return how many of these images, in whole blocks, take 20 ms or so: then Ctrl-C and progress get a turn."""
        touched = self.network.parameters.size
        if not prepared.ink.whole_images:
            # Of the first layer about a quarter: the ink.
            touched -= 3 * self.network.weights[0].size // 4
        return max(1, min(4096, _CHUNK_WEIGHTS // touched) // BLOCK) * BLOCK

    def outputs(self, prepared: KernelInput, between: Callable[[], object] | None = None) -> NDArray[Any]:
        """Run the network on all images.

        Parameters
        ----------
        prepared : KernelInput
            Of the kind last given to :meth:`load_weights`.
        between : callable, optional
            Called every 20 ms or so; what it raises ends the run.

        Returns
        -------
        ndarray of dtype, shape (n, classes)
        """
        result = np.empty((prepared.n, self.network.sizes[-1]), dtype=self.network.dtype)
        chunk = self.chunk_size(prepared)
        nothing, order, totals = self.network.dtype.type(0), np.arange(min(chunk, max(1, prepared.n))), np.zeros(2)
        ink = prepared.ink
        # Blocks stay together, whatever the length of a chunk: it is whole blocks. One call at least, to compile.
        for start in range(0, max(1, prepared.n), chunk):
            part = slice(start, start + chunk)
            images = ink._replace(images=ink.images[part], sums=ink.sums[part])
            some = order[: len(images.images)]
            # Without outputs it would learn, were there anything in the order.
            self._run(self._net, images, order, some, nothing, nothing, nothing, self._no_weights, totals, result[part])
            if between is not None:
                between()
        return result


def run(engine: Engine, images: NDArray[np.uint8], invert: bool, first_layer: str = "auto") -> NDArray[Any]:
    """Return the outputs for images with the network's weights as they are; see :class:`KernelInput`.

    The same bits as during training, on every machine.
    """
    prepared = KernelInput(images, invert, engine.network.dtype, first_layer)
    engine.load_weights(prepared)
    return engine.outputs(prepared)


def _starts(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where parts of these lengths begin that lie one behind the other."""
    return np.cumsum(lengths) - lengths
