"""NumPy: the textbook form, and the fastest one that SciPy's BLAS allows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from benchmarks.problem import Problem, RowProblem


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


class Textbook:
    """``W += np.outer(g, x)``: every update makes a temporary array of the layer's size."""

    def __init__(self, problem: Problem) -> None:
        self.parameters = problem.parameters(np.float32, output_major=True)
        self.x = problem.inputs(np.float32)
        self.targets = np.eye(problem.sizes[-1], dtype=np.float32)[problem.labels]
        self.rate = np.float32(problem.learning_rate)

    def run(self, n: int) -> None:
        w1, b1, w2, b2, w3, b3 = self.parameters
        for x, target in zip(self.x[:n], self.targets[:n], strict=True):
            h1 = sigmoid(w1 @ x + b1)
            h2 = sigmoid(w2 @ h1 + b2)
            out = sigmoid(w3 @ h2 + b3)
            e3 = target - out
            g3 = self.rate * e3 * out * (1 - out)
            w3 += np.outer(g3, h2)
            b3 += g3
            e2 = w3.T @ e3
            g2 = self.rate * e2 * h2 * (1 - h2)
            w2 += np.outer(g2, h1)
            b2 += g2
            e1 = w2.T @ e2
            g1 = self.rate * e1 * h1 * (1 - h1)
            w1 += np.outer(g1, x)
            b1 += g1

    def weights(self) -> list[np.ndarray]:
        return [values.T.astype(np.float64) for values in self.parameters]


class InPlace:
    """SciPy's ``ger`` updates the weights in place: no temporary array, half the memory traffic.

    BLAS works on columns: matrices are (inputs, outputs) in Fortran order, so that the weights of a unit are one
    column. In the other order, ``ger`` took twice as long with 784 columns of 200.
    """

    def __init__(self, problem: Problem) -> None:
        from scipy.linalg import blas

        self.parameters = [values.T for values in problem.parameters(np.float32, output_major=True)]
        self.x = problem.inputs(np.float32)
        self.targets = np.eye(problem.sizes[-1], dtype=np.float32)[problem.labels]
        self.rate = np.float32(problem.learning_rate)
        self.ger, self.gemv = blas.sger, blas.sgemv

    def run(self, n: int) -> None:
        w1, b1, w2, b2, w3, b3 = self.parameters
        ger, gemv, rate = self.ger, self.gemv, self.rate
        for x, target in zip(self.x[:n], self.targets[:n], strict=True):
            h1 = sigmoid(gemv(1, w1, x, 1, b1, trans=1))
            h2 = sigmoid(gemv(1, w2, h1, 1, b2, trans=1))
            out = sigmoid(gemv(1, w3, h2, 1, b3, trans=1))
            e3 = target - out
            g3 = rate * e3 * out * (1 - out)
            ger(1, h2, g3, a=w3, overwrite_a=1)
            b3 += g3
            e2 = gemv(1, w3, e3)
            g2 = rate * e2 * h2 * (1 - h2)
            ger(1, h1, g2, a=w2, overwrite_a=1)
            b2 += g2
            e1 = gemv(1, w2, e2)
            g1 = rate * e1 * h1 * (1 - h1)
            ger(1, x, g1, a=w1, overwrite_a=1)
            b1 += g1

    def weights(self) -> list[np.ndarray]:
        return [np.array(values, dtype=np.float64) for values in self.parameters]


class OneRow:
    """A network of two layers on float rows by hand: ReLU, softmax, a step for each row.

    Products of vectors with ``np.outer`` and ``@``; the smallest arrays are fastest as NumPy makes them.
    """

    def __init__(self, problem: RowProblem) -> None:
        self.parameters = problem.parameters(np.float32)
        self.x, self.rate = problem.rows, np.float32(problem.learning_rate)
        self.targets = np.eye(problem.sizes[-1], dtype=np.float32)[problem.labels]

    def run(self, n: int) -> None:
        w1, b1, w2, b2 = self.parameters
        rate, maximum, exp = self.rate, np.maximum, np.exp
        for x, target in zip(self.x[:n], self.targets[:n], strict=True):
            h = maximum(x @ w1 + b1, 0)
            powers = exp(h @ w2 + b2)
            step = rate * (target - powers / powers.sum())
            before = (w2 @ step) * (h > 0)
            w2 += h[:, None] * step
            b2 += step
            w1 += x[:, None] * before
            b1 += before

    def weights(self) -> list[np.ndarray]:
        return [values.astype(np.float64) for values in self.parameters]
