"""fastnn's engine, called as `fastnn.training` calls it: on images, and on rows of floats."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastnn.engine import Engine
from fastnn.inputs import ImageInput, KernelInput, RowInput, SparseInput
from fastnn.network import Network

if TYPE_CHECKING:
    from benchmarks.made_data import Text
    from benchmarks.problem import InitialParameters, Problem, RowProblem


def set_parameters(network: Network, problem: InitialParameters) -> None:
    """Give a network the problem's initial weights and biases."""
    pairs = zip(network.weights + network.biases, problem.weights + problem.biases, strict=True)
    for target, values in pairs:
        target[...] = values


def parameters_of(network: Network) -> list[np.ndarray]:
    """Return copies of W1, b1, W2, b2, ... as float64."""
    pairs = zip(network.weights, network.biases, strict=True)
    return [np.array(values, dtype=np.float64) for pair in pairs for values in pair]


class Sparse:
    """The sparse first layer: only the pixels that are not white cost anything."""

    first_layer = "sparse"
    dtype = "float32"
    rule = "original"
    activation = "sigmoid"

    def __init__(self, problem: Problem) -> None:
        self.network = Network(problem.sizes, rule=self.rule, activation=self.activation, dtype=self.dtype)
        set_parameters(self.network, problem)
        self.engine = Engine(self.network)
        self.inputs = ImageInput(problem.images, False, self.first_layer)
        self.engine.load_weights(self.inputs)
        self.labels = problem.labels
        self.order = np.arange(len(problem.labels))
        self.rate = problem.learning_rate
        self.totals = np.zeros(2)

    def run(self, n: int) -> None:
        if n > len(self.order):
            self.order = np.arange(n) % len(self.labels)
        self.engine.train(self.inputs, self.labels, self.order[:n], self.rate, self.totals)

    def run_one_by_one(self, n: int) -> None:
        """Train on the first digits with one call of the engine for each."""
        for i in range(n):
            self.engine.train(self.inputs, self.labels, self.order[i : i + 1], self.rate, self.totals)

    def weights(self) -> list[np.ndarray]:
        self.engine.store_weights()
        copies = parameters_of(self.network)
        self.engine.load_weights(self.inputs)
        return copies


class Dense(Sparse):
    """The dense first layer: all pixels, for images without a background."""

    first_layer = "dense"


class Sparse64(Sparse):
    """The sparse first layer in float64."""

    dtype = "float64"


class Backprop(Sparse):
    """Textbook back-propagation with sigmoid units."""

    rule = "backprop"


class BackpropRelu(Backprop):
    """Textbook back-propagation with ReLU units; inactive ones are skipped."""

    activation = "relu"


class OnInputs:
    """A network with ReLU units and softmax, trained on samples of any kind."""

    def __init__(self, network: Network, inputs: KernelInput, labels: np.ndarray, learning_rate: float) -> None:
        self.network, self.inputs, self.labels, self.rate = network, inputs, labels, learning_rate
        self.engine = Engine(network)
        self.engine.load_weights(inputs)
        self.order, self.totals = np.arange(len(labels)), np.zeros(2)

    def run(self, n: int) -> None:
        self.engine.train(self.inputs, self.labels, self.order[:n], self.rate, self.totals)

    def weights(self) -> list[np.ndarray]:
        self.engine.store_weights()
        copies = parameters_of(self.network)
        self.engine.load_weights(self.inputs)
        return copies


class Rows(OnInputs):
    """Float rows."""

    def __init__(self, problem: RowProblem) -> None:
        network = Network(problem.sizes, rule="backprop", activation="relu")
        set_parameters(network, problem)
        super().__init__(network, RowInput(problem.rows, network.dtype), problem.labels, problem.learning_rate)


class TextRows(OnInputs):
    """Sparse rows: only the columns that a row has cost anything."""

    def __init__(self, text: Text, hidden: int, learning_rate: float) -> None:
        network = Network((text.n_columns, hidden, 2), rule="backprop", activation="relu").initialise("he")
        arrays = text.values, text.indices, text.row_starts
        inputs = SparseInput(*arrays, text.n_columns, network.dtype)
        super().__init__(network, inputs, text.labels, learning_rate)

    def progressive(self, n: int) -> tuple[float, float]:
        """Train on the first `n` rows; return mean loss and share of right classes, each row before it is learned."""
        self.totals[:] = 0
        self.run(n)
        loss, right = (self.totals / n).tolist()
        return loss, right


class OneRow:
    """A call of `Trainer.step` for each float row."""

    def __init__(self, problem: RowProblem) -> None:
        from fastnn.datasets import Dataset
        from fastnn.recipe import Recipe
        from fastnn.training import Trainer

        network = Network(problem.sizes, rule="backprop", activation="relu")
        set_parameters(network, problem)
        recipe = Recipe(rule="backprop", activation="relu", hidden=problem.sizes[1:-1], lr=problem.learning_rate)
        names = tuple(map(str, range(problem.sizes[-1])))
        self.trainer = Trainer(network, Dataset(problem.rows, problem.labels, names, "rows"), recipe)
        self.x, self.labels = list(problem.rows.astype(np.float64)), problem.labels.tolist()

    def run(self, n: int) -> None:
        step = self.trainer.step
        for x, label in zip(self.x[:n], self.labels[:n], strict=True):
            step(x, label)

    def weights(self) -> list[np.ndarray]:
        return parameters_of(self.trainer.result())


class EstimatorRow:
    """A call of `partial_fit` of the estimator for scikit-learn for each float row."""

    def __init__(self, problem: RowProblem) -> None:
        from fastnn.model import Model
        from fastnn.sklearn import MLPClassifier

        network = Network(problem.sizes, rule="backprop", activation="relu")
        set_parameters(network, problem)
        classes = np.arange(problem.sizes[-1])
        model = Model((network,), tuple(map(str, classes)), takes="rows")
        self.model = MLPClassifier.from_model(model, classes)
        self.model.set_params(alpha=0.0, learning_rate_init=problem.learning_rate)
        self.x, self.labels = problem.rows, problem.labels

    def run(self, n: int) -> None:
        partial_fit = self.model.partial_fit
        for i in range(n):
            partial_fit(self.x[i : i + 1], self.labels[i : i + 1])

    def weights(self) -> list[np.ndarray]:
        return parameters_of(self.model.to_model().networks[0])
