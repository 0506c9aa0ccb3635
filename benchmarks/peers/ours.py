"""fastnn's engine, called as `fastnn.training` calls it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastnn.engine import Engine
from fastnn.inputs import ImageInput
from fastnn.network import Network

if TYPE_CHECKING:
    from benchmarks.problem import Problem


class Sparse:
    """The sparse first layer: only the pixels that are not white cost anything."""

    first_layer = "sparse"
    dtype = "float32"
    rule = "original"
    activation = "sigmoid"

    def __init__(self, problem: Problem) -> None:
        self.network = Network(problem.sizes, rule=self.rule, activation=self.activation, dtype=self.dtype)
        for target, values in zip(self.network.weights, problem.weights, strict=True):
            target[...] = values
        for target, values in zip(self.network.biases, problem.biases, strict=True):
            target[...] = values
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
        pairs = zip(self.network.weights, self.network.biases, strict=True)
        copies = [np.array(values, dtype=np.float64) for pair in pairs for values in pair]
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
