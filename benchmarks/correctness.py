"""How far an implementation ends from the reference, and how far it may.

At the original's learning rate the rule is chaotic from weights as large as its own: within 100 digits rounding errors
grow a million times, and float32 tells nothing. At 0.003 they do not grow, so the comparison is made there. Distance
is counted in units of how far the reference's own weights moved, layer by layer, and the largest counts. Measured after
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
    """Return the problem that is timed, at a learning rate that keeps it from chaos."""
    return replace(make_problem(), learning_rate=LEARNING_RATE)


@cache
def reference(rule: str) -> list[np.ndarray]:
    """Return the weights at which the plain-Python reference ends; some seconds the first time."""
    state = Naive(problem(), rule)
    state.run(SAMPLES)
    return state.weights()


def deviation_from_reference(weights: Sequence[np.ndarray], rule: str = "original") -> float:
    """Return the largest distance from the reference's weights, as a share of how far those moved."""
    start = problem().parameters(np.float64)
    shares = []
    for mine, theirs, before in zip(weights, reference(rule), start, strict=True):
        difference = np.abs(mine - theirs).max()
        shares.append(difference / np.abs(theirs - before).max())
    return float(np.max(shares))  # NaN stays NaN here, and fails every comparison


@dataclass(frozen=True)
class Check:
    """What came of an implementation before it may be timed.

    Attributes
    ----------
    deviation : float
        See :func:`deviation_from_reference`; 0 for bounds, which train nothing.
    first_use : float
        Seconds that the first use took beyond a later one: imports and compilation.
    """

    deviation: float
    first_use: float


@cache
def check(implementation: Implementation) -> Check:
    """Train the first digits by an implementation and compare with the reference of its rule."""
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
    """Return whether an implementation may be timed. One that fails is left to the test to report."""
    try:
        return check(implementation).deviation < TOLERANCE[implementation.dtype]
    except Exception:
        return False


def textbook_order(problem: Problem, n: int) -> list[np.ndarray]:
    """Train by the nearest wrong rule: as the original's, but each error goes back through the old weights."""
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
