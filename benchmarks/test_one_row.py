"""One row a call on 10-50-2: training steps, estimators of scikit-learn, and streams of River."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pytest

from benchmarks import rows
from benchmarks.implementations import ONE_ROW, OURS, STREAMS, missing
from benchmarks.problem import RowProblem
from benchmarks.race import Candidate, Timing, race
from benchmarks.thresholds import ESTIMATOR_PREDICTING_AT_LEAST, ESTIMATOR_STEP_AT_LEAST, STEP_AT_LEAST

if TYPE_CHECKING:
    from benchmarks.conftest import Effort, Results

ROWS = 5000


@pytest.fixture(scope="module")
def problem() -> RowProblem:
    return rows.problem_of(rows.CASES[0]).first(ROWS)


@pytest.fixture(scope="module")
def steps(problem: RowProblem, effort: Effort, results: Results) -> dict[str, Timing]:
    """Training one row a call, by all implementations whose weights equal the reference's."""
    candidates = [
        Candidate(each.key, each.name, each.prepare(problem).run, limit=ROWS, least=20)
        for each in ONE_ROW
        if not each.missing() and rows.checked(each, problem) < rows.TOLERANCE
    ]
    measured = race(candidates, rounds=effort.rounds, seconds=effort.seconds / 2)
    results.add("one row a call, training 10-50-2", measured)
    results.skipped += [reason for each in ONE_ROW if (reason := each.missing())]
    return {timing.key: timing for timing in measured}


@pytest.mark.parametrize("key", STEP_AT_LEAST)
def test_a_step_is_faster_by(key: str, steps: dict[str, Timing], effort: Effort) -> None:
    if key not in steps:
        pytest.skip(f"{key} could not be timed here")
    if effort.quick:
        pytest.skip("--quick measures too shortly to assert ratios")
    assert steps[key].best / steps[OURS].best >= STEP_AT_LEAST[key]


def test_partial_fit_is_faster_than_that_of_scikit_learn(steps: dict[str, Timing], effort: Effort) -> None:
    if "sklearn" not in steps:
        pytest.skip("scikit-learn could not be timed here")
    if effort.quick:
        pytest.skip("--quick measures too shortly to assert ratios")
    assert steps["sklearn"].best / steps["fastnn-estimator"].best >= ESTIMATOR_STEP_AT_LEAST


def test_predict_proba(problem: RowProblem, effort: Effort, results: Results) -> None:
    """Class probabilities of one row a call, by estimators with the interface of scikit-learn."""
    if reason := missing("predict_proba", ("sklearn",)):
        pytest.skip(reason)
    from benchmarks.peers.ours import EstimatorRow
    from benchmarks.peers.sklearn_mlp import OneRow

    ours, theirs = EstimatorRow(problem).model, OneRow(problem).model
    single = [problem.rows[i : i + 1] for i in range(500)]

    def predict(model: object, n: int) -> None:
        for row in single[:n]:
            model.predict_proba(row)

    # The second network has one output for two classes: the probabilities are the same before any step.
    np.testing.assert_allclose(ours.predict_proba(problem.rows), theirs.predict_proba(problem.rows), atol=1e-5)
    np.testing.assert_allclose(ours.predict_proba(single[3]), ours.predict_proba(problem.rows)[3:4], atol=1e-6)
    candidates = [
        Candidate(OURS, "fastnn, MLPClassifier.predict_proba", partial(predict, ours), limit=500, least=20),
        Candidate("sklearn", "scikit-learn, MLPClassifier.predict_proba", partial(predict, theirs), 500, 20),
    ]
    first, second = race(candidates, rounds=effort.rounds, seconds=effort.seconds / 2)
    results.add("one row a call, class probabilities 10-50-2", [first, second])
    if not effort.quick:
        assert second.best / first.best >= ESTIMATOR_PREDICTING_AT_LEAST


def test_streams_learn_as_the_reference(problem: RowProblem) -> None:
    """fastnn.river without standardising, from the weights after ten samples on."""
    if reason := missing("fastnn.river", ("river",)):
        pytest.skip(reason)
    from benchmarks.peers.streams import Stream

    stream = Stream("plain", problem)
    first = stream.model.network
    assert first is not None
    # Outputs are in the order in which the classes appeared.
    outputs = np.argsort(stream.model.classes)[problem.labels]
    rest = RowProblem(
        problem.rows[stream.LEARNED :],
        outputs[stream.LEARNED :],
        tuple(first.weights),
        tuple(first.biases),
        stream.model.learning_rate,
    )
    stream.run(slice(stream.LEARNED, stream.LEARNED + rows.SAMPLES))
    after = stream.model.network
    found = [values for pair in zip(after.weights, after.biases, strict=True) for values in pair]
    assert rows.deviation(rest, found) < rows.TOLERANCE


def test_streams(problem: RowProblem, effort: Effort, results: Results) -> None:
    """Reported only: River's own models have fewer weights."""
    if reason := missing("streams", ("river",)):
        pytest.skip(reason)
    from benchmarks.peers.streams import Stream

    streams = {key: Stream(key, problem) for key in STREAMS}
    for group, work in (("predict_proba_one and learn_one", "predict_and_learn"), ("learn_one", "learn")):
        candidates = [
            Candidate(key, STREAMS[key], getattr(stream, work), limit=1000, least=20) for key, stream in streams.items()
        ]
        measured = race(candidates, rounds=effort.rounds, seconds=effort.seconds / 3)
        results.add(f"streams, a dict of 10 numbers a call: {group}", measured)
