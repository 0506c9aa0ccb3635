"""Straightforward Numba: dense loops over rows of outputs, ``fastmath`` on; for digits, and for float rows."""

from __future__ import annotations

from math import exp
from typing import TYPE_CHECKING

import numba
import numpy as np

if TYPE_CHECKING:
    from benchmarks.problem import Problem, RowProblem


@numba.njit(fastmath=True)
def forward(w, b, x, out):
    for j in range(w.shape[0]):
        total = b[j]
        for i in range(w.shape[1]):
            total += w[j, i] * x[i]
        out[j] = 1 / (1 + exp(-total))


@numba.njit(fastmath=True)
def update(w, b, error, out, x, rate):
    for j in range(w.shape[0]):
        step = rate * error[j] * out[j] * (1 - out[j])
        for i in range(w.shape[1]):
            w[j, i] += step * x[i]
        b[j] += step


@numba.njit(fastmath=True)
def backward(w, error, before):
    before[:] = 0
    for j in range(w.shape[0]):
        for i in range(w.shape[1]):
            before[i] += w[j, i] * error[j]


@numba.njit(fastmath=True)
def train(w1, b1, w2, b2, w3, b3, x, labels, n, rate):
    h1, h2, out = np.empty_like(b1), np.empty_like(b2), np.empty_like(b3)
    e1, e2, e3 = np.empty_like(b1), np.empty_like(b2), np.empty_like(b3)
    for t in range(n):
        forward(w1, b1, x[t], h1)
        forward(w2, b2, h1, h2)
        forward(w3, b3, h2, out)
        for j in range(len(out)):
            e3[j] = (1 if j == labels[t] else 0) - out[j]
        update(w3, b3, e3, out, h2, rate)
        backward(w3, e3, e2)
        update(w2, b2, e2, h2, h1, rate)
        backward(w2, e2, e1)
        update(w1, b1, e1, h1, x[t], rate)


class Straightforward:
    """The loops above, compiled with ``fastmath`` so that the sums vectorise."""

    def __init__(self, problem: Problem) -> None:
        self.parameters = problem.parameters(np.float32, output_major=True)
        self.x = problem.inputs(np.float32)
        self.labels = problem.labels
        self.rate = np.float32(problem.learning_rate)

    def run(self, n: int) -> None:
        train(*self.parameters, self.x, self.labels, n, self.rate)

    def weights(self) -> list[np.ndarray]:
        return [values.T.astype(np.float64) for values in self.parameters]


@numba.njit(fastmath=True)
def forward_relu(w, b, x, out):
    for j in range(w.shape[0]):
        total = b[j]
        for i in range(w.shape[1]):
            total += w[j, i] * x[i]
        out[j] = max(total, 0)


@numba.njit(fastmath=True)
def forward_softmax(w, b, x, out):
    top = -np.inf
    for j in range(w.shape[0]):
        total = b[j]
        for i in range(w.shape[1]):
            total += w[j, i] * x[i]
        out[j] = total
        top = max(top, total)
    total = out[0] * 0
    for j in range(len(out)):
        out[j] = exp(out[j] - top)
        total += out[j]
    for j in range(len(out)):
        out[j] /= total


@numba.njit(fastmath=True)
def descend(w, b, error, x, rate, before):
    """Add the update to a layer; write the errors of the layer before, from the weights before the update."""
    before[:] = 0
    for j in range(w.shape[0]):
        step = rate * error[j]
        for i in range(w.shape[1]):
            before[i] += w[j, i] * error[j]
            w[j, i] += step * x[i]
        b[j] += step


@numba.njit(fastmath=True)
def descend_first(w, b, error, x, rate):
    for j in range(w.shape[0]):
        step = rate * error[j]
        for i in range(w.shape[1]):
            w[j, i] += step * x[i]
        b[j] += step


@numba.njit(fastmath=True)
def silence(error, out):
    for j in range(len(out)):
        if out[j] <= 0:
            error[j] = 0


@numba.njit(fastmath=True)
def train_rows(weights, biases, units, errors, x, labels, n, rate):
    last = len(weights) - 1
    for t in range(n):
        forward_relu(weights[0], biases[0], x[t], units[0])
        for depth in range(1, last):
            forward_relu(weights[depth], biases[depth], units[depth - 1], units[depth])
        forward_softmax(weights[last], biases[last], units[last - 1], units[last])
        for j in range(len(units[last])):
            errors[last][j] = (1 if j == labels[t] else 0) - units[last][j]
        for depth in range(last, 0, -1):
            descend(weights[depth], biases[depth], errors[depth], units[depth - 1], rate, errors[depth - 1])
            silence(errors[depth - 1], units[depth - 1])
        descend_first(weights[0], biases[0], errors[0], x[t], rate)


@numba.njit(fastmath=True)
def train_row(w1, w2, memory, x, label, rate):
    """Train two layers on one row; `memory` has biases, units and errors, so that the call has few arguments."""
    n, m = w1.shape[0], w2.shape[0]
    b1, b2, h, out, e1, e2 = (
        memory[:n],
        memory[n : n + m],
        memory[n + m : 2 * n + m],
        memory[2 * n + m : 2 * n + 2 * m],
        memory[2 * n + 2 * m : 3 * n + 2 * m],
        memory[3 * n + 2 * m :],
    )
    forward_relu(w1, b1, x, h)
    forward_softmax(w2, b2, h, out)
    for j in range(m):
        e2[j] = (1 if j == label else 0) - out[j]
    descend(w2, b2, e2, h, rate, e1)
    silence(e1, h)
    descend_first(w1, b1, e1, x, rate)


class Rows:
    """Loops written for float rows, ReLU and softmax; the sizes are known at run time only."""

    def __init__(self, problem: RowProblem) -> None:
        parameters = problem.parameters(np.float32, output_major=True)
        self.matrices, self.biases = tuple(parameters[::2]), tuple(parameters[1::2])
        self.units = tuple(np.empty_like(bias) for bias in self.biases)
        self.errors = tuple(np.empty_like(bias) for bias in self.biases)
        self.x, self.labels, self.rate = problem.rows, problem.labels, np.float32(problem.learning_rate)

    def run(self, n: int) -> None:
        train_rows(self.matrices, self.biases, self.units, self.errors, self.x, self.labels, n, self.rate)

    def weights(self) -> list[np.ndarray]:
        pairs = zip(self.matrices, self.biases, strict=True)
        return [values.T.astype(np.float64) for pair in pairs for values in pair]


class OneRow:
    """The same for two layers, with a call from Python for each row."""

    def __init__(self, problem: RowProblem) -> None:
        self.w1, b1, self.w2, b2 = problem.parameters(np.float32, output_major=True)
        self.memory = np.concatenate([b1, b2, b1, b2, b1, b2])
        self.x, self.labels = list(problem.rows), problem.labels.tolist()
        self.rate = np.float32(problem.learning_rate)

    def run(self, n: int) -> None:
        w1, w2, memory, rate = self.w1, self.w2, self.memory, self.rate
        for x, label in zip(self.x[:n], self.labels[:n], strict=True):
            train_row(w1, w2, memory, x, label, rate)

    def weights(self) -> list[np.ndarray]:
        n, m = len(self.w1), len(self.w2)
        parameters = self.w1, self.memory[:n], self.w2, self.memory[n : n + m]
        return [values.T.astype(np.float64) for values in parameters]
