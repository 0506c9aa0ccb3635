"""Plain Python: the direct port of the original's matrix class, and idiomatic lists."""

from __future__ import annotations

from math import exp
from typing import TYPE_CHECKING

import numpy as np

from fastnn.reference import ReferenceNetwork

if TYPE_CHECKING:
    from benchmarks.problem import Problem


class Naive:
    """`fastnn.reference`: nested lists and a new matrix at every step, as in the original's JavaScript."""

    def __init__(self, problem: Problem, rule: str = "original") -> None:
        self.network = ReferenceNetwork.from_arrays(problem.weights, problem.biases, rule)
        self.rows = ListRows(problem)
        self.rate = problem.learning_rate

    def run(self, n: int) -> None:
        for x, label in self.rows.first(n):
            self.network.train(x, label, self.rate)

    def weights(self) -> list[np.ndarray]:
        pairs = zip(self.network.weights, self.network.biases, strict=True)
        return [np.array(values) for pair in pairs for values in pair]


class Comprehensions:
    """Lists of rows, with sums and updates as comprehensions over zipped rows: the fastest plain form."""

    def __init__(self, problem: Problem) -> None:
        self.parameters = [values.tolist() for values in problem.parameters(np.float64, output_major=True)]
        self.rows = ListRows(problem)
        self.rate = problem.learning_rate

    def run(self, n: int) -> None:
        for x, label in self.rows.first(n):
            self.parameters = train_one(*self.parameters, x, label, self.rate)

    def weights(self) -> list[np.ndarray]:
        return [np.array(values).T for values in self.parameters]


class ListRows:
    """The digits as lists of floats, converted once and only when they are needed."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.rows: list[tuple[list[float], int]] = []

    def first(self, n: int) -> list[tuple[list[float], int]]:
        start = len(self.rows)
        images, labels = self.problem.images[start:n].tolist(), self.problem.labels[start:n].tolist()
        self.rows += [([v / 255 for v in image], label) for image, label in zip(images, labels, strict=True)]
        return self.rows[:n]


def dot(a, b):
    return sum([x * y for x, y in zip(a, b)])  # noqa: B905 -- a list is summed faster than a generator


def forward(w, b, x):
    return [1 / (1 + exp(-(dot(row, x) + bias))) for row, bias in zip(w, b)]  # noqa: B905


def update(w, b, steps, x):
    new = [[weight + g * value for weight, value in zip(row, x)] for row, g in zip(w, steps)]  # noqa: B905
    return new, [bias + g for bias, g in zip(b, steps)]  # noqa: B905


def train_one(w1, b1, w2, b2, w3, b3, x, label, rate):
    h1 = forward(w1, b1, x)
    h2 = forward(w2, b2, h1)
    out = forward(w3, b3, h2)
    e3 = [(1.0 if j == label else 0.0) - o for j, o in enumerate(out)]
    w3, b3 = update(w3, b3, [rate * e * o * (1 - o) for e, o in zip(e3, out)], h2)  # noqa: B905
    e2 = [dot(column, e3) for column in zip(*w3)]  # noqa: B905
    w2, b2 = update(w2, b2, [rate * e * h * (1 - h) for e, h in zip(e2, h2)], h1)  # noqa: B905
    e1 = [dot(column, e2) for column in zip(*w2)]  # noqa: B905
    w1, b1 = update(w1, b1, [rate * e * h * (1 - h) for e, h in zip(e1, h1)], x)  # noqa: B905
    return w1, b1, w2, b2, w3, b3
