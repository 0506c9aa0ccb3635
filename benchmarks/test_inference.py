"""Time from pixels to class: one digit a call, and 10,000 in one call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from benchmarks.implementations import BY_KEY, INFERENCE, NAIVE, OURS, Predictor
from benchmarks.problem import Problem, make_problem
from benchmarks.race import Candidate, race

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.conftest import Effort, Results

MANY = 10_000
FEW = 50
"""Digits for the naive one, whose cost is the same for each."""


@pytest.fixture(scope="module")
def trained() -> Problem:
    """The digits, and the weights after one epoch: those of an untrained network decide nothing."""
    problem = make_problem()
    ours = BY_KEY[OURS]
    state = ours.prepare(problem)
    ours.run(state, len(problem.labels))
    parameters = ours.weights(state)
    return Problem(problem.images, problem.labels, tuple(parameters[::2]), tuple(parameters[1::2]))


@pytest.fixture(scope="module")
def predictors(trained: Problem) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    return {p.key: p.prepare(trained) for p in INFERENCE if p.missing() is None}


@pytest.fixture(scope="module")
def timed(
    trained: Problem,
    predictors: dict[str, Callable[[np.ndarray], np.ndarray]],
    effort: Effort,
    results: Results,
) -> dict[str, Candidate]:
    images = trained.images[:MANY]

    def candidate(key: str, name: str) -> Candidate:
        most = FEW if key == NAIVE else MANY
        return Candidate(key, name, lambda n: predictors[key](images[:n]), limit=most, least=most)

    def one_by_one(key: str, name: str) -> Candidate:
        def run(n: int) -> None:
            predict = predictors[key]
            for i in range(n):
                predict(images[i : i + 1])

        return Candidate(key, name, run, limit=FEW if key == NAIVE else 2000, least=10)

    entrants = [p for p in INFERENCE if p.key in predictors]
    many = {p.key: candidate(p.key, p.name) for p in entrants}
    single = [one_by_one(p.key, p.name) for p in entrants]
    results.add("inference, one digit a call", race(single, rounds=effort.rounds, seconds=effort.seconds / 3))
    title = f"inference, {MANY:,} digits in one call, time for one digit"
    results.add(title, race(many.values(), rounds=effort.rounds, seconds=effort.seconds / 3))
    return many


@pytest.mark.parametrize("predictor", INFERENCE, ids=lambda p: p.key)
def test_all_see_the_same_digits(
    predictor: Predictor, trained: Problem, predictors: dict[str, Callable[[np.ndarray], np.ndarray]]
) -> None:
    if reason := predictor.missing():
        pytest.skip(reason)
    n = FEW if predictor.key == NAIVE else 2000
    x = trained.inputs(np.float64)[:n]
    for w, b in zip(trained.weights, trained.biases, strict=True):
        x = 1 / (1 + np.exp(-(x @ w + b)))
    # float32 may decide otherwise between two outputs that are the same to seven digits.
    assert np.mean(predictors[predictor.key](trained.images[:n]) == x.argmax(axis=1)) > 0.998


@pytest.mark.benchmark(group="inference")
@pytest.mark.parametrize("predictor", INFERENCE, ids=lambda p: p.key)
def test_inference(predictor: Predictor, timed: dict[str, Candidate], benchmark: Any) -> None:
    if reason := predictor.missing():
        pytest.skip(reason)
    candidate = timed[predictor.key]
    benchmark.pedantic(candidate.run, args=(candidate.limit,), rounds=1)
