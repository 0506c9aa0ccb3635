"""Networks: layer sizes, activation and one flat parameter vector with named views."""

from __future__ import annotations

import hashlib
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from fastnn.errors import ModelError, RecipeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import DTypeLike, NDArray

Rule = Literal["original", "backprop"]
Activation = Literal["sigmoid", "tanh", "relu"]
Output = Literal["softmax", "sigmoid", "identity"]
Init = Literal["uniform", "xavier", "he"]
Task = Literal["classification", "multilabel", "regression"]

RULES: tuple[Rule, ...] = ("original", "backprop")
ACTIVATIONS: tuple[Activation, ...] = ("sigmoid", "tanh", "relu")
LOSSES: dict[Output, str] = {
    "softmax": "cross_entropy",
    "sigmoid": "binary_cross_entropy",
    "identity": "squared_error",
}
"""The loss that rule backprop minimises, for each activation of the outputs."""
OUTPUTS: dict[Task, Output] = {"classification": "softmax", "multilabel": "sigmoid", "regression": "identity"}
"""Activation of the outputs for each task, see :attr:`fastnn.Dataset.task`, with rule backprop."""
INITS: tuple[Init, ...] = ("uniform", "xavier", "he")
DTYPES = ("float32", "float64")

LINE = 64
"""Bytes of a cache line, and of the widest vector register: rows of weights are aligned to it."""

MAX_PARAMETERS = 1 << 28
"""Most parameters of a network, checked before memory is allocated; 12 million is large for such a network."""

OVERFLOW = "the network's weights are so large that its outputs are not finite"
"""What messages say of weights that no model can predict with."""

_INIT_STREAM = 0
"""Second number of the random seed: 0 for initial weights, k >= 1 for the order of epoch k."""


class Network:
    """A fully connected network whose parameters are stored in one flat, padded vector.

    Each layer's weights have shape (inputs, outputs), so that a forward pass and an update read the same contiguous
    rows. In memory every row is padded with zeros to whole cache lines; `weights` and `biases` are views without the
    padding. Rows of 8, 16, ... lines get one line more: rows at such a distance would share few sets of the first-level
    cache.

    Parameters
    ----------
    sizes : sequence of int
        Units of each layer, inputs first, outputs last; at least two.
    rule : {"original", "backprop"}
        The learning rule. "original" has sigmoid units in every layer.
    activation : {"sigmoid", "tanh", "relu"}
        Activation of the hidden layers; "original" allows only sigmoid.
    output : {"softmax", "sigmoid", "identity"}, optional
        Activation of the outputs. "softmax" (the default) for one class of several, "sigmoid" for any number of
        classes, "identity" for regression. "original" allows only sigmoid, which is its default.
    dtype : {"float32", "float64"}
        Type of the parameters and all arithmetic.

    Attributes
    ----------
    parameters : ndarray of dtype, shape (p,)
        All weights and biases with their padding; aligned to a cache line.
    weights : tuple of ndarray
        Views; layer l has shape (sizes[l], sizes[l + 1]).
    biases : tuple of ndarray
        Views; layer l has shape (sizes[l + 1],).
    task : {"classification", "multilabel", "regression"}
        What the outputs are for.

    Raises
    ------
    RecipeError
        If sizes, rule, activation or dtype are none of these.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        rule: Rule = "original",
        activation: Activation = "sigmoid",
        output: Output | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        self.sizes = tuple(int(size) for size in sizes)
        if len(self.sizes) < 2 or min(self.sizes) < 1:
            raise RecipeError(f"layer sizes must be two or more positive numbers, not {list(sizes)}")
        if rule not in RULES:
            raise RecipeError(f"unknown rule {rule!r}; choose one of {', '.join(RULES)}")
        if activation not in ACTIVATIONS:
            raise RecipeError(f"unknown activation {activation!r}; choose one of {', '.join(ACTIVATIONS)}")
        if rule == "original" and activation != "sigmoid":
            raise RecipeError(f"rule original has sigmoid units; activation {activation} needs rule backprop")
        if output is None:
            output = "sigmoid" if rule == "original" else "softmax"
        if output not in LOSSES or (rule == "original" and output != "sigmoid"):
            allowed = "sigmoid" if rule == "original" else ", ".join(LOSSES)
            raise RecipeError(f"rule {rule} has no output {output!r}; choose one of {allowed}")
        self.output: Output = output
        self.rule: Rule = rule
        by_output = next(task for task, itself in OUTPUTS.items() if itself == output)
        self.task: Task = "classification" if rule == "original" else by_output
        self.activation: Activation = activation
        try:
            self.dtype = np.dtype(dtype)
        except TypeError:
            raise RecipeError(f"unknown dtype {dtype!r}; choose one of {', '.join(DTYPES)}") from None
        if self.dtype.name not in DTYPES:
            raise RecipeError(f"unknown dtype {self.dtype.name!r}; choose one of {', '.join(DTYPES)}")
        rows, length = _plan_layout(self.sizes, self.dtype.itemsize)
        if length > MAX_PARAMETERS:
            raise RecipeError(
                f"a network of sizes {list(self.sizes)} has too many weights (at most {MAX_PARAMETERS:,})"
            )
        self._layout = np.asarray(rows, dtype=np.int64)
        self._set_parameters(aligned_zeros(length, self.dtype))

    def _set_parameters(self, parameters: NDArray[Any]) -> None:
        """Store a parameter vector and make the views of it."""
        self.parameters = parameters
        self.weights: tuple[NDArray[Any], ...] = tuple(
            parameters[w : w + n_in * stride].reshape(n_in, stride)[:, :n_out]
            for n_in, n_out, stride, w, _ in self._layout.tolist()
        )
        self.biases: tuple[NDArray[Any], ...] = tuple(
            parameters[b : b + n_out] for _, n_out, _, _, b in self._layout.tolist()
        )

    def __getstate__(self) -> dict[str, Any]:
        # Copied arrays are no longer views of each other; the views are made again.
        return {name: value for name, value in vars(self).items() if name not in ("weights", "biases")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        parameters = aligned_zeros(len(self.parameters), self.dtype)
        parameters[...] = self.parameters
        self._set_parameters(parameters)

    def __repr__(self) -> str:
        sizes = "-".join(str(size) for size in self.sizes)
        kind = f"rule={self.rule!r}, activation={self.activation!r}, output={self.output!r}"
        return f"Network({sizes}, {kind}, dtype={self.dtype.name!r})"

    @property
    def loss(self) -> str:
        """The loss that training minimises; "original" for the original's rule, which follows no gradient."""
        return "original" if self.rule == "original" else LOSSES[self.output]

    @property
    def n_parameters(self) -> int:
        """Number of weights and biases, without padding."""
        return sum((n_in + 1) * n_out for n_in, n_out in pairwise(self.sizes))

    def initialise(self, init: Init = "uniform", seed: int = 0) -> Network:
        """Draw random initial values for all parameters.

        Parameters
        ----------
        init : {"uniform", "xavier", "he"}
            "uniform": weights and biases from U[-1, 1), as the original. "xavier": weights from U(-a, a) with
            a = sqrt(6 / (inputs + outputs)) (Glorot and Bengio 2010), biases 0. "he": weights from N(0, 2 / inputs)
            (He et al. 2015), biases 0.
        seed : int
            Random seed, not negative. Values are drawn in float64, so that both dtypes start from the same weights.

        Returns
        -------
        Network
            This network.
        """
        rng = np.random.default_rng([seed, _INIT_STREAM])
        for weight, bias in zip(self.weights, self.biases, strict=True):
            n_in, n_out = weight.shape
            weight[...] = _draw(rng, init, n_in, weight.shape)
            bias[...] = rng.uniform(-1.0, 1.0, n_out) if init == "uniform" else 0
        return self

    def grown(
        self,
        n_inputs: int | None = None,
        n_outputs: int | None = None,
        *,
        init: Init = "he",
        seed: int = 0,
        fan_in: int | None = None,
    ) -> Network:
        """Return a larger network that computes the same while its new inputs are 0.

        Parameters
        ----------
        n_inputs, n_outputs : int, optional
            Sizes of the first and the last layer, not smaller than now; by default the same. Hidden layers stay.
        init : {"he", "xavier", "uniform"}
            Distribution of the weights of new inputs, see :meth:`initialise`. Weights and biases of new outputs are 0,
            so that a new class begins with the logit 0.
        seed : int
            Random seed, not negative. Each growth from another number of inputs draws other numbers.
        fan_in : int, optional
            Number of inputs for which `init` draws the weights; by default `n_inputs`. For rows of many inputs that
            are mostly 0, take the number of those that are not.

        Returns
        -------
        Network
            Not frozen. Its outputs before softmax (the logits) equal those of this network.

        Raises
        ------
        RecipeError
            If the network would shrink or have too many weights, or `init` is unknown.
        """
        sizes = (n_inputs or self.sizes[0], *self.sizes[1:-1], n_outputs or self.sizes[-1])
        if sizes[0] < self.sizes[0] or sizes[-1] < self.sizes[-1]:
            raise RecipeError(f"a network of sizes {list(self.sizes)} cannot shrink to {list(sizes)}")
        network = Network(sizes, rule=self.rule, activation=self.activation, output=self.output, dtype=self.dtype)
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            n_in, n_out = weight.shape
            network.weights[layer][:n_in, :n_out] = weight
            network.biases[layer][:n_out] = bias
        n_in, n_out = self.weights[0].shape
        rng = np.random.default_rng([seed, _INIT_STREAM, n_in])
        network.weights[0][n_in:, :n_out] = _draw(rng, init, fan_in or sizes[0], (sizes[0] - n_in, n_out))
        return network

    def freeze(self) -> None:
        """Make the parameters read-only for good, so that an engine can keep its copy of them."""
        self.parameters.flags.writeable = False
        self._set_parameters(self.parameters)

    @property
    def frozen(self) -> bool:
        """Whether the parameters are read-only; see :meth:`freeze`."""
        return not self.parameters.flags.writeable

    def copy(self) -> Network:
        """Return an independent network with the same parameters, not frozen."""
        network = Network(self.sizes, rule=self.rule, activation=self.activation, output=self.output, dtype=self.dtype)
        network.parameters[...] = self.parameters
        return network

    def outputs(self, x: NDArray[Any]) -> NDArray[Any]:
        """Return the network's outputs, computed in NumPy.

        Parameters
        ----------
        x : ndarray, shape (n, sizes[0])
            Inputs, in any real dtype.

        Returns
        -------
        ndarray of dtype, shape (n, sizes[-1])
            After the activation that `output` names.

        Raises
        ------
        ModelError
            If `x` has another shape, or an output is not finite.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            x = np.asarray(x, dtype=self.dtype)
            if x.ndim != 2 or x.shape[1] != self.sizes[0]:
                raise ModelError(f"the network takes inputs of shape (n, {self.sizes[0]}), not {x.shape}")
            last = len(self.weights) - 1
            for depth, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
                z = x @ weight + bias
                x = z if depth == last else _activate(z, self.activation)
            if self.output != "identity":
                x = _softmax(x) if self.output == "softmax" else _activate(x, "sigmoid")
        if not np.isfinite(x).all():
            raise ModelError(f"{OVERFLOW}, or its inputs are")
        return x

    def is_finite(self) -> bool:
        """Whether every parameter is a finite number."""
        return bool(np.isfinite(self.parameters).all())

    def cannot_overflow(self, largest_input: float = 1.0) -> bool:
        """Whether no sum of a forward pass can overflow, whatever the inputs from -`largest_input` to `largest_input`.

        The largest weight of each layer gives a bound on all sums. If it is too large, as in networks of more
        than about fifteen hidden layers with ReLU, the outputs may be finite or not.
        """
        # Kernels sum grey levels up to 255 instead of inputs up to 1; the other factor of 4 is for rounding errors.
        limit, largest = float(np.finfo(self.dtype).max) / 1024, largest_input
        for weight, bias in zip(self.weights, self.biases, strict=True):
            top, shift = (float(np.abs([part.max(), part.min()]).max()) for part in (weight, bias))
            total = len(weight) * top * largest + shift
            if not total <= limit:  # too large or NaN
                return False
            largest = total if self.activation == "relu" else 1.0
        return True

    def sha256(self) -> str:
        """Return the SHA-256 (hexadecimal) of sizes, dtype and the little-endian weights and biases without padding."""
        digest = hashlib.sha256(repr((self.sizes, self.dtype.name)).encode())
        little = self.dtype.newbyteorder("<")
        for weight, bias in zip(self.weights, self.biases, strict=True):
            digest.update(np.ascontiguousarray(weight, dtype=little).tobytes())
            digest.update(np.ascontiguousarray(bias, dtype=little).tobytes())
        return digest.hexdigest()


def _plan_layout(sizes: tuple[int, ...], itemsize: int) -> tuple[list[tuple[int, int, int, int, int]], int]:
    """Return for each layer inputs, outputs, stride and the offsets of weights and biases; and the whole length."""
    lanes = LINE // itemsize
    rows, position = [], 0
    for n_in, n_out in pairwise(sizes):
        stride = row_lines(-(-n_out // lanes)) * lanes
        rows.append((n_in, n_out, stride, position, position + n_in * stride))
        position += (n_in + 1) * stride
    return rows, position


def row_lines(lines: Any) -> Any:
    """Return the number of cache lines from one row to the next: `lines`, or one more if that is a multiple of 8."""
    return lines + (lines % 8 == 0)


def aligned_zeros(length: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return an array of zeros aligned to a cache line, so that no vector load crosses two lines."""
    raw = np.zeros(length * dtype.itemsize + LINE, dtype=np.uint8)
    start = -raw.ctypes.data % LINE
    return raw[start : start + length * dtype.itemsize].view(dtype)


def _draw(rng: np.random.Generator, init: Init, n_in: int, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Return initial weights of a layer with `n_in` inputs, for all or some of them."""
    if init == "uniform":
        return rng.uniform(-1.0, 1.0, shape)
    if init == "xavier":
        bound = np.sqrt(6.0 / (n_in + shape[1]))
        return rng.uniform(-bound, bound, shape)
    if init == "he":
        return rng.normal(0.0, np.sqrt(2.0 / n_in), shape)
    raise RecipeError(f"unknown initialisation {init!r}; choose one of {', '.join(INITS)}")


def _activate(z: NDArray[Any], activation: Activation) -> NDArray[Any]:
    if activation == "relu":
        return np.asarray(np.maximum(z, 0))
    if activation == "tanh":
        return np.asarray(np.tanh(z))
    # By tanh, since exp(-z) overflows with a warning for the large pre-activations of untrained networks.
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * z)))


def _softmax(z: NDArray[Any]) -> NDArray[Any]:
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True))
