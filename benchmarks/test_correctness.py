"""No implementation is timed before it has learned what the reference learns."""

from __future__ import annotations

import pytest

from benchmarks import correctness
from benchmarks.implementations import NAIVE, TRAINING, Implementation


@pytest.mark.parametrize("implementation", [i for i in TRAINING if i.rule and i.key != NAIVE], ids=lambda i: i.key)
def test_ends_where_the_reference_of_its_rule_ends(implementation: Implementation) -> None:
    if reason := implementation.missing():
        pytest.skip(reason)
    assert correctness.check(implementation).deviation < correctness.TOLERANCE[implementation.dtype]


def test_the_tolerance_tells_rules_apart() -> None:
    """The nearest wrong rule, errors carried back through the weights as they were, must not pass as this one."""
    problem = correctness.problem()
    wrong = correctness.deviation_from_reference(correctness.textbook_order(problem, correctness.SAMPLES))
    assert wrong > 10 * max(correctness.TOLERANCE.values())
