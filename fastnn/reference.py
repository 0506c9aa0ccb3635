"""The learning rules in plain Python on nested lists, as the original's JavaScript did them: slow on purpose.

The compiled kernels are tested against this file and the benchmarks measure how much faster they are. It is
a port of the Coding Train's Toy Neural Network (https://github.com/CodingTrain/Toy-Neural-Network-JS) as
niemenjoki/handwritten-digit-classification used it, grown to any number of layers: a small matrix class, and
a network that creates a new matrix at every step. Nothing here is clever, and nothing here needs NumPy.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any, Self

from fastnn.errors import ModelError, RecipeError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Matrix:
    """Rows and columns of floats in nested lists, with the few operations that the network needs.

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
        """Copy nested lists (rows of columns)."""
        return Matrix(len(lists), len(lists[0])).map(lambda _, i, j: lists[i][j])

    @staticmethod
    def column(values: Sequence[float]) -> Matrix:
        """Copy a list into a matrix of one column."""
        return Matrix(len(values), 1).map(lambda _, i, _j: values[i])

    def to_list(self) -> list[float]:
        """Return all entries, row after row, in one list."""
        return [value for row in self.data for value in row]

    def map(self, function: Callable[[float, int, int], float]) -> Self:
        """Replace each entry by ``function(entry, row, column)``."""
        for i in range(self.rows):
            for j in range(self.cols):
                self.data[i][j] = function(self.data[i][j], i, j)
        return self

    def add(self, other: Matrix) -> Self:
        """Add another matrix of this shape to this one."""
        return self.map(lambda value, i, j: value + other.data[i][j])

    def scale(self, factor: float) -> Self:
        """Multiply every entry by a number."""
        return self.map(lambda value, _i, _j: value * factor)

    def hadamard(self, other: Matrix) -> Self:
        """Multiply this matrix by another one of its shape, entry by entry."""
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
        """Return a with rows and columns exchanged."""
        return Matrix(a.cols, a.rows).map(lambda _, i, j: a.data[j][i])

    @staticmethod
    def apply(a: Matrix, function: Callable[[float], float]) -> Matrix:
        """Return a new matrix with `function` of each entry of a."""
        return Matrix(a.rows, a.cols).map(lambda _, i, j: function(a.data[i][j]))


def sigmoid(x: float) -> float:
    """Return 1 / (1 + exp(-x)), and 0 where exp(-x) is beyond the floats (JavaScript's is infinite there)."""
    return 1 / (1 + math.exp(-x)) if x > -709 else 0.0


def relu(x: float) -> float:
    """Return x where it is positive, else 0."""
    return max(0.0, x)


# For each activation the function of a sum, and its derivative written with the function's value y.
ACTIVATIONS: dict[str, tuple[Callable[[float], float], Callable[[float], float]]] = {
    "sigmoid": (sigmoid, lambda y: y * (1 - y)),
    "tanh": (math.tanh, lambda y: 1 - y * y),
    "relu": (relu, lambda y: 1.0 if y > 0 else 0.0),
}


def softmax(a: Matrix) -> Matrix:
    """Return exp(a) / sum(exp(a)) of one column, with the largest entry taken off first."""
    largest = max(a.to_list())
    powers = Matrix.apply(a, lambda value: math.exp(value - largest))
    return powers.scale(1 / sum(powers.to_list()))


class ReferenceNetwork:
    """A network of any number of layers that learns one sample at a time, on nested lists.

    Parameters
    ----------
    sizes : sequence of int
        Units of each layer, the inputs first.
    weights : sequence of nested lists
        ``weights[l][i][j]`` leads from unit i of layer l to unit j of the next one (input-major, as in
        `fastnn.network`). Inside they are kept the other way round, rows of outputs, as in the original.
    biases : sequence of lists
        ``biases[l][j]`` belongs to unit j of layer l + 1.
    rule : {"original", "backprop"}
        "original" is the original's rule: sigmoid on every layer, raw errors carried back through weights that are
        already updated. "backprop" is gradient descent on the cross-entropy of a softmax.
    activation : {"sigmoid", "tanh", "relu"}
        Of the hidden layers under "backprop".
    label_smoothing : float
        Share of the target that "backprop" spreads evenly over all classes, in [0, 1).

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
    ) -> None:
        if rule not in ("original", "backprop"):
            raise RecipeError(f"unknown rule {rule!r}; choose one of toy, backprop")
        if activation not in ACTIVATIONS or (rule == "original" and activation != "sigmoid"):
            raise RecipeError(f"the activation {activation!r} does not go with the rule {rule}")
        pairs = list(itertools.pairwise(sizes))
        shapes = [(len(matrix), *{len(row) for row in matrix}) for matrix in weights]
        if shapes != pairs or [len(bias) for bias in biases] != [n_out for _, n_out in pairs]:
            raise ModelError(f"the weights and biases do not fit the layer sizes {tuple(sizes)}")
        self.sizes = tuple(sizes)
        self.rule = rule
        self.activation, self.derivative = ACTIVATIONS[activation]
        self.label_smoothing = label_smoothing
        self._weights = [Matrix.transpose(Matrix.from_lists(matrix)) for matrix in weights]
        self._biases = [Matrix.column(bias) for bias in biases]

    @classmethod
    def from_arrays(
        cls, weights: Sequence[Any], biases: Sequence[Any], rule: str = "original", **options: Any
    ) -> ReferenceNetwork:
        """Copy NumPy arrays: weights of shape (n_in, n_out), biases of shape (n_out,)."""
        sizes = [len(weights[0]), *(len(bias) for bias in biases)]
        return cls(sizes, [w.tolist() for w in weights], [b.tolist() for b in biases], rule, **options)

    @classmethod
    def from_network(cls, network: Any, **options: Any) -> ReferenceNetwork:
        """Copy a `fastnn.network.Network`."""
        activation = "sigmoid" if network.rule == "original" else network.activation
        return cls.from_arrays(network.weights, network.biases, network.rule, activation=activation, **options)

    @property
    def weights(self) -> list[list[list[float]]]:
        """The weights as they are now, input-major, in new lists."""
        return [Matrix.transpose(matrix).data for matrix in self._weights]

    @property
    def biases(self) -> list[list[float]]:
        """The biases as they are now, in new lists."""
        return [bias.to_list() for bias in self._biases]

    def predict(self, inputs: Sequence[float]) -> list[float]:
        """Return the outputs for one sample: sigmoids under "original", probabilities under "backprop"."""
        return self._layers(inputs)[-1].to_list()

    def loss(self, inputs: Sequence[float], target_index: int) -> float:
        """Return the loss of one sample.

        Under "backprop" the cross-entropy -sum(t log p). Under "original", which follows no
        gradient, the sum of the squared errors, as a measure to look at.
        """
        outputs = self.predict(inputs)
        targets = self._targets(target_index).to_list()
        if self.rule == "original":
            return sum((t - o) ** 2 for t, o in zip(targets, outputs, strict=True))
        return -sum(t * math.log(o) for t, o in zip(targets, outputs, strict=True) if t)

    def train(self, inputs: Sequence[float], target_index: int, learning_rate: float) -> None:
        """Learn one sample of class `target_index` by one step of the rule."""
        if self.rule == "original":
            self._train_toy(inputs, target_index, learning_rate)
        else:
            gradients = self._gradients(inputs, target_index)
            for weights, biases, (dw, db) in zip(self._weights, self._biases, gradients, strict=True):
                weights.add(dw.scale(-learning_rate))
                biases.add(db.scale(-learning_rate))

    def gradients(
        self, inputs: Sequence[float], target_index: int
    ) -> tuple[list[list[list[float]]], list[list[float]]]:
        """Return the derivatives of the "backprop" loss by the weights (input-major) and by the biases."""
        pairs = self._gradients(inputs, target_index)
        return [Matrix.transpose(dw).data for dw, _ in pairs], [db.to_list() for _, db in pairs]

    def _layers(self, inputs: Sequence[float]) -> list[Matrix]:
        """Return the values of every layer as columns, the inputs first."""
        layers = [Matrix.column(inputs)]
        last = len(self._weights) - 1
        for index, (weights, biases) in enumerate(zip(self._weights, self._biases, strict=True)):
            sums = Matrix.multiply(weights, layers[-1]).add(biases)
            if index == last and self.rule == "backprop":
                layers.append(softmax(sums))
            else:
                layers.append(Matrix.apply(sums, self.activation))
        return layers

    def _targets(self, target_index: int) -> Matrix:
        """Return the wanted outputs as a column: one-hot, under "backprop" smoothed as asked for."""
        classes = self.sizes[-1]
        smoothing = self.label_smoothing if self.rule == "backprop" else 0.0
        targets = [smoothing / classes for _ in range(classes)]
        targets[target_index] += 1 - smoothing
        return Matrix.column(targets)

    def _train_toy(self, inputs: Sequence[float], target_index: int, learning_rate: float) -> None:
        """Do the original's step: each error goes back raw, through weights that are already updated."""
        layers = self._layers(inputs)
        errors = Matrix.subtract(self._targets(target_index), layers[-1])
        for index in reversed(range(len(self._weights))):
            step = Matrix.apply(layers[index + 1], self.derivative)
            step.hadamard(errors)
            step.scale(learning_rate)
            self._weights[index].add(Matrix.multiply(step, Matrix.transpose(layers[index])))
            self._biases[index].add(step)
            if index > 0:
                errors = Matrix.multiply(Matrix.transpose(self._weights[index]), errors)

    def _gradients(self, inputs: Sequence[float], target_index: int) -> list[tuple[Matrix, Matrix]]:
        """Return for each layer the derivatives of the loss by its weights and by its biases."""
        layers = self._layers(inputs)
        delta = Matrix.subtract(layers[-1], self._targets(target_index))
        gradients = []
        for index in reversed(range(len(self._weights))):
            gradients.append((Matrix.multiply(delta, Matrix.transpose(layers[index])), delta))
            if index > 0:
                delta = Matrix.multiply(Matrix.transpose(self._weights[index]), delta)
                delta.hadamard(Matrix.apply(layers[index], self.derivative))
        return gradients[::-1]
