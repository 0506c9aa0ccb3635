"""fastnn's own kernels, called as `fastnn.training` calls them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastnn.engine import Engine, KernelInput
from fastnn.network import Network

if TYPE_CHECKING:
    from benchmarks.problem import Problem


class Ink:
    """The first layer by the inked pixels alone; their lists are made before the clock starts, as for a whole run."""

    kernel = "sparse"
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
        self.prepared = KernelInput(problem.images, False, self.network.dtype, self.kernel)
        self.engine.load_weights(self.prepared)
        self.labels = problem.labels
        self.order = np.arange(len(problem.labels))
        self.rate = problem.learning_rate
        self.totals = np.zeros(2)

    def run(self, n: int) -> None:
        if n > len(self.order):
            self.order = np.arange(n) % len(self.labels)
        self.engine.train(self.prepared, self.labels, self.order[:n], self.rate, self.totals)

    def weights(self) -> list[np.ndarray]:
        self.engine.store_weights()
        pairs = zip(self.network.weights, self.network.biases, strict=True)
        copies = [np.array(values, dtype=np.float64) for pair in pairs for values in pair]
        self.engine.load_weights(self.prepared)
        return copies


class Dense(Ink):
    """All pixels, for data without paper."""

    kernel = "dense"


class Ink64(Ink):
    """Ink in float64."""

    dtype = "float64"


class Backprop(Ink):
    """Textbook back-propagation with sigmoid units."""

    rule = "backprop"


class BackpropRelu(Backprop):
    """Textbook back-propagation with ReLU units, of which the silent ones are skipped."""

    activation = "relu"
