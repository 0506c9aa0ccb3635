"""Speed of training 784-200-40-10 by the original rule, one digit at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from benchmarks import correctness
from benchmarks.implementations import BY_KEY, NAIVE, OURS, TRAINING, Implementation
from benchmarks.problem import make_problem
from benchmarks.race import Candidate, Timing, race
from benchmarks.thresholds import AT_LEAST

if TYPE_CHECKING:
    from benchmarks.conftest import Effort, Results

LEAST = {"naive": 10, "comprehensions": 40}
"""Digits in one run of the slowest; the others start with 200 and take more if they are fast."""


@pytest.fixture(scope="module")
def candidates() -> dict[str, Candidate]:
    """The implementations that are installed and whose weights equal the reference's."""
    problem = make_problem()
    found = {}
    for implementation in TRAINING:
        if implementation.missing() or not correctness.is_right(implementation):
            continue
        state = implementation.prepare(problem)
        found[implementation.key] = Candidate(
            implementation.key,
            implementation.name,
            state.run,
            limit=len(problem.labels),
            least=LEAST.get(implementation.key, 200),
            dtype=implementation.dtype,
        )
    return found


@pytest.fixture(scope="module")
def timings(candidates: dict[str, Candidate], effort: Effort, results: Results) -> dict[str, Timing]:
    measured = race(candidates.values(), rounds=effort.rounds, seconds=effort.seconds)
    for timing in measured:
        results.add("training", [timing], first_use_s=correctness.check(BY_KEY[timing.key]).first_use)
    results.notes["training"] = make_problem().description
    results.skipped += [reason for i in TRAINING if (reason := i.missing())]
    return {timing.key: timing for timing in measured}


@pytest.mark.benchmark(group="training")
@pytest.mark.parametrize("implementation", TRAINING, ids=lambda i: i.key)
def test_training(
    implementation: Implementation,
    candidates: dict[str, Candidate],
    timings: dict[str, Timing],
    benchmark: Any,
) -> None:
    """One more run for pytest-benchmark's records; extra_info has the interleaved rounds."""
    if reason := implementation.missing():
        pytest.skip(reason)
    assert implementation.key in timings, "not timed because its weights are wrong: see test_correctness.py"
    timing = timings[implementation.key]
    benchmark.extra_info.update(timing.record())
    benchmark.pedantic(candidates[implementation.key].run, args=(timing.items,), rounds=1)


def best_of(timings: dict[str, Timing], family: str) -> float | None:
    """Return seconds per digit of the fastest implementation of a family, such as PyTorch's three; None without any."""
    bests = [t.best for key, t in timings.items() if key == family or key.startswith(f"{family}-")]
    return min(bests, default=None)


@pytest.mark.parametrize("family", AT_LEAST)
def test_fastnn_is_faster_by(family: str, timings: dict[str, Timing], effort: Effort) -> None:
    theirs = best_of(timings, family)
    if theirs is None:
        pytest.skip(f"no implementation of {family} could be timed here")
    if effort.quick:
        pytest.skip("--quick measures too shortly to assert ratios")
    assert theirs / timings[OURS].best >= AT_LEAST[family]


def test_the_slowest_is_the_naive_one(timings: dict[str, Timing]) -> None:
    """The tables' "× naive" is relative to it."""
    assert max(timings.values(), key=lambda timing: timing.best).key == NAIVE
