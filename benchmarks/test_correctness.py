"""Every implementation must end with the weights of the reference before it is timed."""

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
    """The nearest wrong rule, which propagates errors through the old weights, is beyond the tolerance."""
    problem = correctness.problem()
    wrong = correctness.deviation_from_reference(correctness.textbook_order(problem, correctness.SAMPLES))
    assert wrong > 10 * max(correctness.TOLERANCE.values())
