"""Straightforward Numba: dense loops over rows of outputs, ``fastmath`` on."""

from __future__ import annotations

from math import exp
from typing import TYPE_CHECKING

import numba
import numpy as np

if TYPE_CHECKING:
    from benchmarks.problem import Problem


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
