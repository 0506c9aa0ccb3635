"""Time from pixels to class: one digit a call, 10,000 digits in one call, and the same on two cores."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from benchmarks import environment
from benchmarks.implementations import BY_KEY, INFERENCE, NAIVE, OURS, Predictor
from benchmarks.problem import Problem, make_problem
from benchmarks.race import Candidate, Timing, race
from benchmarks.thresholds import PREDICTING_AT_LEAST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from benchmarks.conftest import Effort, Results

MANY = 10_000
FEW = 50
"""Digits for plain Python, whose time per digit does not depend on their number."""

CORES = """
import os, sys
cores, problem, count = sys.argv[1:]
os.sched_setaffinity(0, {int(core) for core in cores.split(",")})
import pickle
from benchmarks.peers.predictors import ours
with open(problem, "rb") as file:
    problem = pickle.load(file)
predict, images = ours(problem), problem.images[: int(count)]
for _ in sys.stdin:
    predict(images)
    print("done", flush=True)
"""
"""Predicts all digits for each line that it reads, on the given cores."""


@pytest.fixture(scope="module")
def trained() -> Problem:
    """The digits and the weights after one epoch: an untrained network decides too little."""
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
def many(trained: Problem, predictors: dict[str, Callable[[np.ndarray], np.ndarray]]) -> dict[str, Candidate]:
    images = trained.images[:MANY]

    def candidate(key: str, name: str) -> Candidate:
        items = FEW if key == NAIVE else MANY
        return Candidate(key, name, lambda n: predictors[key](images[:n]), limit=items, least=items)

    return {p.key: candidate(p.key, p.name) for p in INFERENCE if p.key in predictors}


@pytest.fixture(scope="module")
def timings(
    trained: Problem,
    predictors: dict[str, Callable[[np.ndarray], np.ndarray]],
    many: dict[str, Candidate],
    effort: Effort,
    results: Results,
) -> dict[str, Timing]:
    """Time both ways; return the timings of 10,000 digits in one call."""
    images = trained.images[:MANY]

    def one_by_one(key: str, n: int) -> None:
        predict = predictors[key]
        for i in range(n):
            predict(images[i : i + 1])

    single = [
        Candidate(key, whole.name, partial(one_by_one, key), limit=FEW if key == NAIVE else 2000, least=10)
        for key, whole in many.items()
    ]
    results.add("inference, one digit a call", race(single, rounds=effort.rounds, seconds=effort.seconds / 3))
    measured = race(many.values(), rounds=effort.rounds, seconds=effort.seconds / 3)
    results.add(f"inference, {MANY:,} digits in one call, time for one digit", measured)
    return {timing.key: timing for timing in measured}


@pytest.mark.parametrize("predictor", INFERENCE, ids=lambda p: p.key)
def test_all_predict_the_same(
    predictor: Predictor, trained: Problem, predictors: dict[str, Callable[[np.ndarray], np.ndarray]]
) -> None:
    if reason := predictor.missing():
        pytest.skip(reason)
    n = FEW if predictor.key == NAIVE else 2000
    x = trained.inputs(np.float64)[:n]
    for w, b in zip(trained.weights, trained.biases, strict=True):
        x = 1 / (1 + np.exp(-(x @ w + b)))
    # Two outputs that are equal to seven digits may be ordered differently in float32.
    assert np.mean(predictors[predictor.key](trained.images[:n]) == x.argmax(axis=1)) > 0.998


@pytest.mark.benchmark(group="inference")
@pytest.mark.parametrize("predictor", INFERENCE, ids=lambda p: p.key)
def test_inference(
    predictor: Predictor, many: dict[str, Candidate], timings: dict[str, Timing], benchmark: Any
) -> None:
    if reason := predictor.missing():
        pytest.skip(reason)
    benchmark.extra_info.update(timings[predictor.key].record())
    benchmark.pedantic(many[predictor.key].run, args=(many[predictor.key].limit,), rounds=1)


def test_many_digits_are_predicted_faster_than_by_numpy(timings: dict[str, Timing], effort: Effort) -> None:
    if effort.quick:
        pytest.skip("--quick measures too shortly to assert ratios")
    assert timings["numpy"].best / timings[OURS].best >= PREDICTING_AT_LEAST


@pytest.fixture
def on_cores(trained: Problem, tmp_path: Path) -> Iterator[Callable[[int], Callable[[int], None]]]:
    """Return a function that starts a process on so many cores and returns what makes it predict all digits."""
    import pickle

    file = tmp_path / "problem.pickle"
    file.write_bytes(pickle.dumps(trained))
    started = []

    def start(count: int) -> Callable[[int], None]:
        cores = ",".join(map(str, sorted(environment.all_cores())[-count:]))
        process = subprocess.Popen(
            [sys.executable, "-c", CORES, cores, file, str(MANY)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={name: value for name, value in os.environ.items() if name not in environment.ONE_THREAD},
        )
        started.append(process)

        def predict(_: int) -> None:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("\n")
            process.stdin.flush()
            assert process.stdout.readline() == "done\n"

        return predict

    yield start
    for process in started:
        process.communicate()


@pytest.mark.skipif(len(environment.all_cores()) < 2, reason="one core, or the system does not tell")
def test_two_cores(on_cores: Callable[[int], Callable[[int], None]], effort: Effort, results: Results) -> None:
    """Reported only: the second core may be busy."""
    candidates = [
        Candidate(
            f"cores-{count}", f"fastnn, Model.predict, {count} core{'s' * (count > 1)}", on_cores(count), MANY, MANY
        )
        for count in (1, 2)
    ]
    measured = race(candidates, rounds=effort.rounds, seconds=effort.seconds)
    results.add(f"inference, {MANY:,} digits in one call on one and two cores, time for one digit", measured)
