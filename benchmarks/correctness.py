"""How far the weights of an implementation deviate from the reference, and the tolerance.

With the original's learning rate and initial weights the rule is chaotic: within 100 digits rounding errors grow by a
factor of a million, and float32 proves nothing. At 0.003 they do not grow, so that rate is used here. The deviation is
relative to how far the reference's weights moved, layer by layer, and the largest one counts. Measured after
100 digits: float32 3e-5 (back-propagation 2e-4), float64 6e-14; the nearest wrong rule 4e-2.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.implementations import NAIVE
from benchmarks.peers.plain_python import Naive
from benchmarks.problem import Problem, make_problem
from benchmarks.race import clock

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.implementations import Implementation

SAMPLES = 100
FEW = 20
LEARNING_RATE = 0.003
TOLERANCE = {"float32": 1e-3, "float64": 1e-9}


@cache
def problem() -> Problem:
    """Return the problem that is timed, with a learning rate at which it is not chaotic."""
    return replace(make_problem(), learning_rate=LEARNING_RATE)


@cache
def reference(rule: str) -> list[np.ndarray]:
    """Return the final weights of the plain-Python reference; takes some seconds the first time."""
    state = Naive(problem(), rule)
    state.run(SAMPLES)
    return state.weights()


def deviation_from_reference(weights: Sequence[np.ndarray], rule: str = "original") -> float:
    """Return the largest deviation from the reference's weights, relative to how far those moved."""
    start = problem().parameters(np.float64)
    shares = []
    for actual, expected, before in zip(weights, reference(rule), start, strict=True):
        difference = np.abs(actual - expected).max()
        shares.append(difference / np.abs(expected - before).max())
    return float(np.max(shares))  # NaN stays NaN here, and fails every comparison


@dataclass(frozen=True)
class Check:
    """The result of checking an implementation before it is timed.
    Attributes
    ----------
    deviation : float
        See :func:`deviation_from_reference`; 0 for bounds, which do not train.
    first_use : float
        Seconds that the first use took longer than the second: imports and compilation.
    """

    deviation: float
    first_use: float


@cache
def check(implementation: Implementation) -> Check:
    """Train on the first digits with an implementation and compare it with the reference of its rule."""
    if implementation.key == NAIVE:
        return Check(0.0, 0.0)  # it is the reference

    def few(_: int) -> None:
        implementation.run(implementation.prepare(problem()), FEW)

    first_use = max(0.0, clock(few, FEW) - clock(few, FEW))
    if implementation.rule is None:
        return Check(0.0, first_use)
    state = implementation.prepare(problem())
    implementation.run(state, SAMPLES)
    return Check(deviation_from_reference(implementation.weights(state), implementation.rule), first_use)


def is_right(implementation: Implementation) -> bool:
    """Return whether an implementation is correct; the test of correctness reports the errors."""
    try:
        return check(implementation).deviation < TOLERANCE[implementation.dtype]
    except Exception:
        return False


def textbook_order(problem: Problem, n: int) -> list[np.ndarray]:
    """Train by the nearest wrong rule: like the original, but errors are propagated through the old weights."""
    parameters = problem.parameters(np.float64)
    w1, b1, w2, b2, w3, b3 = parameters
    for x, label in zip(problem.inputs(np.float64)[:n], problem.labels[:n], strict=True):
        h1 = 1 / (1 + np.exp(-(x @ w1 + b1)))
        h2 = 1 / (1 + np.exp(-(h1 @ w2 + b2)))
        out = 1 / (1 + np.exp(-(h2 @ w3 + b3)))
        e3 = np.eye(len(out))[label] - out
        e2 = w3 @ e3
        e1 = w2 @ e2
        for depth, values, error, units in ((2, h2, e3, out), (1, h1, e2, h2), (0, x, e1, h1)):
            step = problem.learning_rate * error * units * (1 - units)
            parameters[2 * depth] += np.outer(values, step)
            parameters[2 * depth + 1] += step
    return parameters
