"""Training on float rows: every implementation is right, and one row a call is timed on 10-50-2."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks import any_data, rows
from benchmarks.implementations import ONE_ROW, ROWS, Implementation
from fastnn.reference import ReferenceNetwork

SMALL = rows.CASES[0]


@pytest.mark.parametrize("implementation", [*ROWS, *ONE_ROW], ids=lambda i: i.home)
def test_ends_where_the_reference_ends(implementation: Implementation) -> None:
    if reason := implementation.missing():
        pytest.skip(reason)
    assert rows.checked(implementation, rows.problem_of(SMALL)) < rows.TOLERANCE


@pytest.mark.parametrize("output", ["softmax", "sigmoid"])
def test_the_fast_reference_equals_the_plain_one(output: str) -> None:
    problem = rows.problem_of(SMALL)
    if output == "sigmoid":
        problem = problem.one_output()
    plain = ReferenceNetwork.from_arrays(
        problem.weights, problem.biases, rule="backprop", activation="relu", output=output
    )
    for row, label in zip(problem.rows[:20].tolist(), problem.labels[:20].tolist(), strict=True):
        plain.train(row, label if output == "softmax" else [float(label)], problem.learning_rate)
    fast = rows.reference(problem, 20)
    for found, expected in zip(fast[::2] + fast[1::2], plain.weights + plain.biases, strict=True):
        np.testing.assert_allclose(found, np.array(expected).reshape(found.shape), rtol=1e-9, atol=1e-12)


def test_a_wrong_learning_rate_is_beyond_the_tolerance() -> None:
    problem = rows.problem_of(SMALL)
    wrong = rows.reference(replace(problem, learning_rate=1.01 * problem.learning_rate), rows.SAMPLES)
    assert rows.deviation(problem, wrong) > rows.TOLERANCE


def test_the_tables_are_made(capsys: pytest.CaptureFixture[str]) -> None:
    """One short round on the smallest network; writes nothing."""
    any_data.main(["--quick", "--only", "10-50-2"])
    table = capsys.readouterr().out
    assert "| implementation | rows a step | 10-50-2 |" in table
    for implementation in ROWS:
        assert implementation.missing() or implementation.name in table


def test_unknown_rows_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        any_data.main(["--only", "text,abacus"])
    assert "no such rows: abacus" in capsys.readouterr().err
