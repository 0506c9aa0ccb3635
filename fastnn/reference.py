"""The learning rules in plain Python on nested lists, like the original's JavaScript: slow on purpose.

The compiled kernels are tested against this file, and the benchmarks measure how much faster they are. It is a port of
the Coding Train's Toy Neural Network (https://github.com/CodingTrain/Toy-Neural-Network-JS), as
niemenjoki/handwritten-digit-classification used it, extended to any number of layers: a small matrix class, and a
network that creates a new matrix at every step. It is simple rather than fast, and does not use NumPy.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any, Self

from fastnn.errors import ModelError, RecipeError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Matrix:
    """A matrix of floats in nested lists, with the few operations that the network needs.

    Parameters
    ----------
    rows, cols : int
        The shape. Every entry starts as 0.
    """

    def __init__(self, rows: int, cols: int) -> None:
        self.rows = rows
        self.cols = cols
        self.data = [[0.0 for _ in range(cols)] for _ in range(rows)]

    @staticmethod
    def from_lists(lists: Sequence[Sequence[float]]) -> Matrix:
        """Return a matrix with a copy of nested lists, one list for each row."""
        return Matrix(len(lists), len(lists[0])).map(lambda _, i, j: lists[i][j])

    @staticmethod
    def column(values: Sequence[float]) -> Matrix:
        """Return a matrix of one column with a copy of a list."""
        return Matrix(len(values), 1).map(lambda _, i, _j: values[i])

    def to_list(self) -> list[float]:
        """Return all entries, row after row, in one list."""
        return [value for row in self.data for value in row]

    def map(self, function: Callable[[float, int, int], float]) -> Self:
        """Replace each entry by ``function(entry, row, column)``; return this matrix."""
        for i in range(self.rows):
            for j in range(self.cols):
                self.data[i][j] = function(self.data[i][j], i, j)
        return self

    def add(self, other: Matrix) -> Self:
        """Add another matrix of the same shape to this one; return this matrix."""
        return self.map(lambda value, i, j: value + other.data[i][j])

    def scale(self, factor: float) -> Self:
        """Multiply every entry by a number; return this matrix."""
        return self.map(lambda value, _i, _j: value * factor)

    def hadamard(self, other: Matrix) -> Self:
        """Multiply this matrix by another one of the same shape, entry by entry; return this matrix."""
        return self.map(lambda value, i, j: value * other.data[i][j])

    @staticmethod
    def subtract(a: Matrix, b: Matrix) -> Matrix:
        """Return a - b."""
        return Matrix(a.rows, a.cols).map(lambda _, i, j: a.data[i][j] - b.data[i][j])

    @staticmethod
    def multiply(a: Matrix, b: Matrix) -> Matrix:
        """Return the matrix product a b."""

        def entry(_: float, i: int, j: int) -> float:
            total = 0.0
            for k in range(a.cols):
                total += a.data[i][k] * b.data[k][j]
            return total

        return Matrix(a.rows, b.cols).map(entry)

    @staticmethod
    def transpose(a: Matrix) -> Matrix:
        """Return the transpose of a."""
        return Matrix(a.cols, a.rows).map(lambda _, i, j: a.data[j][i])

    @staticmethod
    def apply(a: Matrix, function: Callable[[float], float]) -> Matrix:
        """Return a new matrix with `function` applied to each entry of a."""
        return Matrix(a.rows, a.cols).map(lambda _, i, j: function(a.data[i][j]))


def sigmoid(x: float) -> float:
    """Return 1 / (1 + exp(-x)); 0 if exp(-x) overflows, which raises in Python but is infinite in JavaScript."""
    return 1 / (1 + math.exp(-x)) if x > -709 else 0.0


def relu(x: float) -> float:
    """Return max(0, x)."""
    return max(0.0, x)


# For each activation the function, and its derivative in terms of the function's value y.
ACTIVATIONS: dict[str, tuple[Callable[[float], float], Callable[[float], float]]] = {
    "sigmoid": (sigmoid, lambda y: y * (1 - y)),
    "tanh": (math.tanh, lambda y: 1 - y * y),
    "relu": (relu, lambda y: 1.0 if y > 0 else 0.0),
}


def softmax(a: Matrix) -> Matrix:
    """Return exp(a) / sum(exp(a)) of one column; its largest entry is subtracted first, to avoid overflow."""
    largest = max(a.to_list())
    powers = Matrix.apply(a, lambda value: math.exp(value - largest))
    return powers.scale(1 / sum(powers.to_list()))


def huber(error: float, limit: float) -> float:
    """Return error**2 / 2, and beyond the limit limit * (abs(error) - limit / 2)."""
    size = abs(error)
    return error * error / 2 if size <= limit else limit * (size - limit / 2)


class ReferenceNetwork:
    """A network of any number of layers, in nested lists, that is trained one sample at a time.

    Parameters
    ----------
    sizes : sequence of int
        Units of each layer, the inputs first.
    weights : sequence of nested lists
        ``weights[l][i][j]`` is the weight from unit i of layer l to unit j of the next one, as in `fastnn.network`.
        Internally they are transposed, a row for each output, as in the original.
    biases : sequence of lists
        ``biases[l][j]`` is the bias of unit j of layer l + 1.
    rule : {"original", "backprop"}
        "original" is the original's rule: sigmoid units in every layer, raw errors passed back through weights that are
        already updated. "backprop" is gradient descent on the cross-entropy of a softmax.
    activation : {"sigmoid", "tanh", "relu"}
        Activation of the hidden layers; "original" allows only sigmoid.
    label_smoothing : float
        Share of the target that is spread evenly over all classes, in [0, 1); "original" ignores it.
    output : {"softmax", "sigmoid", "identity"}, optional
        Activation of the outputs, as for :class:`fastnn.network.Network`.

    Attributes
    ----------
    alpha : float
        Weight decay, 0 by default: the gradient of `alpha` / 2 times the sum of the squared weights is added.
    error_limit : float
        Largest error of an output without activation, infinite by default; the loss beyond it is linear (Huber 1964).

    Raises
    ------
    RecipeError
        If the rule or activation is unknown.
    ModelError
        If the weights and biases do not fit the sizes.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        weights: Sequence[Sequence[Sequence[float]]],
        biases: Sequence[Sequence[float]],
        rule: str = "original",
        activation: str = "sigmoid",
        label_smoothing: float = 0.0,
        output: str | None = None,
    ) -> None:
        if rule not in ("original", "backprop"):
            raise RecipeError(f"unknown rule {rule!r}; choose one of original, backprop")
        if activation not in ACTIVATIONS or (rule == "original" and activation != "sigmoid"):
            raise RecipeError(f"rule {rule} has no activation {activation!r}")
        pairs = list(itertools.pairwise(sizes))
        shapes = [(len(matrix), *{len(row) for row in matrix}) for matrix in weights]
        if shapes != pairs or [len(bias) for bias in biases] != [n_out for _, n_out in pairs]:
            raise ModelError(f"the weights and biases do not fit the layer sizes {tuple(sizes)}")
        self.sizes = tuple(sizes)
        self.rule = rule
        self.activation, self.derivative = ACTIVATIONS[activation]
        self.output = output or ("sigmoid" if rule == "original" else "softmax")
        if self.output not in ("softmax", "sigmoid", "identity") or (rule == "original" and self.output != "sigmoid"):
            raise RecipeError(f"rule {rule} has no output {output!r}")
        self.label_smoothing = label_smoothing
        self.alpha, self.error_limit = 0.0, math.inf
        self._weights = [Matrix.transpose(Matrix.from_lists(matrix)) for matrix in weights]
        self._biases = [Matrix.column(bias) for bias in biases]

    @classmethod
    def from_arrays(
        cls, weights: Sequence[Any], biases: Sequence[Any], rule: str = "original", **options: Any
    ) -> ReferenceNetwork:
        """Return a network with copies of NumPy arrays: weights of shape (n_in, n_out), biases of shape (n_out,)."""
        sizes = [len(weights[0]), *(len(bias) for bias in biases)]
        return cls(sizes, [w.tolist() for w in weights], [b.tolist() for b in biases], rule, **options)

    @classmethod
    def from_network(cls, network: Any, **options: Any) -> ReferenceNetwork:
        """Return a network with the rule and copies of the parameters of a `fastnn.network.Network`."""
        activation = "sigmoid" if network.rule == "original" else network.activation
        options = {"output": network.output, **options}
        return cls.from_arrays(network.weights, network.biases, network.rule, activation=activation, **options)

    @property
    def weights(self) -> list[list[list[float]]]:
        """A copy of the weights, in the form that the constructor takes."""
        return [Matrix.transpose(matrix).data for matrix in self._weights]

    @property
    def biases(self) -> list[list[float]]:
        """A copy of the biases, in the form that the constructor takes."""
        return [bias.to_list() for bias in self._biases]

    def predict(self, inputs: Sequence[float]) -> list[float]:
        """Return the outputs for one sample."""
        return self._layers(inputs)[-1].to_list()

    def loss(self, inputs: Sequence[float], target: int | Sequence[float]) -> float:
        """Return the loss of one sample, without weight decay.

        Softmax: the cross-entropy -sum(t log p). Sigmoid: the sum of the outputs' binary cross-entropies. Identity:
        half the sum of squared errors, or Huber's loss. Rule original, which follows no gradient: the sum of squared
        errors, only to measure progress.
        """
        outputs = self.predict(inputs)
        pairs = list(zip(self._targets(target).to_list(), outputs, strict=True))
        if self.rule == "original":
            return sum((t - o) ** 2 for t, o in pairs)
        if self.output == "identity":
            return sum(huber(t - o, self.error_limit) for t, o in pairs)
        losses = [-t * math.log(o) for t, o in pairs if t]
        if self.output == "sigmoid":
            losses += [-(1 - t) * math.log(1 - o) for t, o in pairs if t < 1]
        return sum(losses)

    def train(
        self,
        inputs: Sequence[float],
        target: int | Sequence[float],
        learning_rate: float,
        kept: Sequence[Sequence[float]] | None = None,
    ) -> None:
        """Train on one sample: one step of the rule.

        Parameters
        ----------
        inputs : sequence of float
        target : int or sequence of float
            The class; or the targets of all outputs, for a network without softmax.
        learning_rate : float
        kept : sequence of sequences of float, optional
            For each hidden layer the factors of its units, see :func:`kept_units`; only for rule backprop.
        """
        if self.rule == "original":
            self._train_original(inputs, target, learning_rate)
        else:
            gradients = self._gradients(inputs, target, kept)
            for weights, biases, (dw, db) in zip(self._weights, self._biases, gradients, strict=True):
                weights.scale(1 - learning_rate * self.alpha)
                weights.add(dw.scale(-learning_rate))
                biases.add(db.scale(-learning_rate))

    def gradients(
        self, inputs: Sequence[float], target: int | Sequence[float]
    ) -> tuple[list[list[list[float]]], list[list[float]]]:
        """Return the gradients of the loss of rule backprop with respect to weights and biases, in their form."""
        pairs = self._gradients(inputs, target)
        return [Matrix.transpose(dw).data for dw, _ in pairs], [db.to_list() for _, db in pairs]

    def _layers(self, inputs: Sequence[float], kept: Sequence[Sequence[float]] | None = None) -> list[Matrix]:
        """Return the inputs and the activations of every layer; `kept` changes what the next layer reads."""
        layers = [Matrix.column(inputs)]
        last = len(self._weights) - 1
        for index, (weights, biases) in enumerate(zip(self._weights, self._biases, strict=True)):
            preactivations = Matrix.multiply(weights, _kept_part(layers, index, kept)).add(biases)
            if index < last:
                layers.append(Matrix.apply(preactivations, self.activation))
            elif self.output == "softmax":
                layers.append(softmax(preactivations))
            elif self.output == "sigmoid":
                layers.append(Matrix.apply(preactivations, sigmoid))
            else:
                layers.append(preactivations)
        return layers

    def _targets(self, target: int | Sequence[float]) -> Matrix:
        """Return the targets of all outputs as a column: one-hot for a class, smoothed with rule backprop."""
        if not isinstance(target, int):
            return Matrix.column(target)
        classes = self.sizes[-1]
        smoothing = self.label_smoothing if self.rule == "backprop" else 0.0
        targets = [smoothing / classes for _ in range(classes)]
        targets[target] += 1 - smoothing
        return Matrix.column(targets)

    def _train_original(self, inputs: Sequence[float], target: int | Sequence[float], learning_rate: float) -> None:
        """Do a step of the original's rule: it passes raw errors back, through weights that are already updated."""
        layers = self._layers(inputs)
        errors = Matrix.subtract(self._targets(target), layers[-1])
        for index in reversed(range(len(self._weights))):
            scaled_delta = Matrix.apply(layers[index + 1], self.derivative)
            scaled_delta.hadamard(errors)
            scaled_delta.scale(learning_rate)
            self._weights[index].add(Matrix.multiply(scaled_delta, Matrix.transpose(layers[index])))
            self._biases[index].add(scaled_delta)
            if index > 0:
                errors = Matrix.multiply(Matrix.transpose(self._weights[index]), errors)

    def _gradients(
        self,
        inputs: Sequence[float],
        target: int | Sequence[float],
        kept: Sequence[Sequence[float]] | None = None,
    ) -> list[tuple[Matrix, Matrix]]:
        """Return for each layer the gradients of the loss with respect to its weights and its biases."""
        layers = self._layers(inputs, kept)
        # The same for all three pairs of outputs and loss.
        delta = Matrix.subtract(layers[-1], self._targets(target))
        if self.output == "identity":
            delta = Matrix.apply(delta, lambda error: max(-self.error_limit, min(self.error_limit, error)))
        gradients = []
        for index in reversed(range(len(self._weights))):
            read = _kept_part(layers, index, kept)
            gradients.append((Matrix.multiply(delta, Matrix.transpose(read)), delta))
            if index > 0:
                delta = Matrix.multiply(Matrix.transpose(self._weights[index]), delta)
                delta.hadamard(Matrix.apply(layers[index], self.derivative))
                if kept is not None:
                    delta.hadamard(Matrix.column(kept[index - 1]))
        return gradients[::-1]


def _kept_part(layers: Sequence[Matrix], index: int, kept: Sequence[Sequence[float]] | None) -> Matrix:
    """Return what the weights at `index` read: a layer's activations, those of dropped units replaced by 0."""
    if index == 0 or kept is None:
        return layers[index]
    return Matrix.apply(layers[index], float).hadamard(Matrix.column(kept[index - 1]))


_WORD = (1 << 64) - 1


def _mix(key: int) -> int:
    """Return the finaliser of SplitMix64 (Steele, Lea and Flood 2014) of 64 bits."""
    key = (key ^ (key >> 30)) * 0xBF58476D1CE4E5B9 & _WORD
    key = (key ^ (key >> 27)) * 0x94D049BB133111EB & _WORD
    return key ^ (key >> 31)


def kept_units(hidden: Sequence[int], dropout: float, key: int, position: int) -> list[list[float]]:
    """Return the factors of all hidden units for one training sample: 0 for dropped units, else 1 / (1 - dropout).

    Parameters
    ----------
    hidden : sequence of int
        Units of each hidden layer.
    dropout : float
        Share of the units that are dropped.
    key : int
        Seed of the choice.
    position : int
        Number of samples trained on before with this key.
    """
    golden = 0x9E3779B97F4A7C15
    dropped_below = round(dropout * 65536)
    factors = []
    for depth, n_units in enumerate(hidden, start=1):
        start = _mix((key + position * golden) & _WORD) ^ (depth << 56)
        layer: list[float] = []
        for first in range(0, n_units, 4):
            bits = _mix((start + first * golden) & _WORD)
            layer += [0.0 if bits >> 16 * k & 0xFFFF < dropped_below else 1 / (1 - dropout) for k in range(4)]
        factors.append(layer[:n_units])
    return factors
