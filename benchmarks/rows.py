"""Networks that are trained on float rows by back-propagation: ReLU units, softmax, every layer of every size.

The problems, and the weights that every implementation must end with before it is timed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.made_data import forest_cover, rows_of
from benchmarks.problem import RowProblem, initial_parameters

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.implementations import Implementation

SAMPLES = 100
"""Rows after which the weights are compared."""

TOLERANCE = 1e-3
"""Largest deviation, relative to how far the weights moved; seen: 2e-6 to 4e-5 with float32."""


@dataclass(frozen=True)
class Case:
    """A network and its data.

    Attributes
    ----------
    sizes : tuple of int
    about : str
        The data, for the table.
    n : int
        Rows.
    """

    sizes: tuple[int, ...]
    about: str
    n: int

    @property
    def key(self) -> str:
        """Return the layer sizes, joined by hyphens."""
        return "-".join(map(str, self.sizes))

    def problem(self) -> RowProblem:
        """Return rows, classes and initial weights; the rows of the table with 54 columns are standardised."""
        if self.sizes[0] == 54:
            table, labels = forest_cover(self.n)
            # Only the numbers: the 0/1 columns stay what they are.
            table[:, :10] = (table[:, :10] - table[:, :10].mean(axis=0)) / table[:, :10].std(axis=0)
            rows = table.astype(np.float32)
        else:
            rows, labels = rows_of(self.sizes, self.n)
        return RowProblem(rows, labels, *initial_parameters(self.sizes, uniform=False))


CASES = (
    Case((10, 50, 2), "float rows", 20_000),
    Case((100, 100, 2), "float rows", 20_000),
    Case((54, 100, 7), "like covertype: 10 numbers, 44 0/1 columns", 100_000),
    Case((784, 400, 100, 10), "float rows, none of them 0", 10_000),
)


@cache
def problem_of(case: Case) -> RowProblem:
    """Return the problem, made once."""
    return case.problem()


def reference(problem: RowProblem, n: int, batch: int = 1) -> list[np.ndarray]:
    """Return the weights after the first `n` rows in float64, with a step for each `batch` of them.

    One output is logistic. Plain NumPy, so that the largest network takes a second; with one row a step it equals
    ``fastnn.reference``, which ``test_rows.py`` compares it with.
    """
    parameters = problem.parameters(np.float64)
    weights, biases = parameters[::2], parameters[1::2]
    one = problem.sizes[-1] == 1
    targets = problem.labels[:, None] if one else np.eye(problem.sizes[-1])[problem.labels]
    for start in range(0, n, batch):
        units = [problem.rows[start : min(n, start + batch)].astype(np.float64)]
        for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
            units.append(np.maximum(units[-1] @ weight + bias, 0))
        scores = units[-1] @ weights[-1] + biases[-1]
        powers = np.exp(scores if one else scores - scores.max(axis=1, keepdims=True))
        sums = powers + 1 if one else powers.sum(axis=1, keepdims=True)
        error = targets[start : min(n, start + batch)] - powers / sums
        rate = problem.learning_rate / len(error)
        for depth in range(len(weights) - 1, -1, -1):
            before = (error @ weights[depth].T) * (units[depth] > 0)
            weights[depth] += rate * (units[depth].T @ error)
            biases[depth] += rate * error.sum(axis=0)
            error = before
    return parameters


def deviation(problem: RowProblem, weights: Sequence[np.ndarray], batch: int = 1, n: int = SAMPLES) -> float:
    """Return the largest deviation from the reference's weights, relative to how far those moved, layer by layer."""
    start = problem.parameters(np.float64)
    shares = [
        np.abs(actual - expected).max() / np.abs(expected - before).max()
        for actual, expected, before in zip(weights, reference(problem, n, batch), start, strict=True)
    ]
    return float(np.max(shares))  # NaN stays NaN here, and fails every comparison


def checked(implementation: Implementation, problem: RowProblem) -> float:
    """Return the deviation of an implementation after :data:`SAMPLES` rows; whole batches of it."""
    n = max(SAMPLES, 2 * implementation.batch)
    n -= n % implementation.batch
    few = problem.first(n)
    if implementation.one_output:
        few = few.one_output()
    state = implementation.prepare(few)
    state.run(n)
    return deviation(few, state.weights(), implementation.batch, n)
