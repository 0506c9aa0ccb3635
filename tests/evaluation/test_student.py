import numpy as np
import pytest
from scipy import stats

from fastnn.errors import DataError
from fastnn.evaluation.student import corrected_interval, paired_test, t_probability, t_quantile


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 5, 9, 10, 99, 1000, 19_999, 30_000])
def test_student_agrees_with_scipy(freedom: int) -> None:
    tolerance = 2e-4 if freedom >= 20_000 else 1e-9
    for t in (0.0, 0.1, 1.0, 2.5, 40.0):
        assert t_probability(t, freedom) == pytest.approx(1 - 2 * stats.t.sf(t, freedom), abs=tolerance)
    for confidence in (0.01, 0.5, 0.95, 0.9999):
        expected = stats.t.ppf(0.5 + confidence / 2, freedom)
        assert t_quantile(confidence, freedom) == pytest.approx(expected, rel=tolerance)


def test_the_paired_test_is_scipys() -> None:
    rng = np.random.default_rng(0)
    first = rng.normal(size=40)
    second = first + rng.normal(0.2, 0.5, size=40)
    expected = stats.ttest_rel(first, second)
    found = paired_test(first, second, 0.9)
    low, high = expected.confidence_interval(0.9)
    assert (found.difference, found.low, found.high) == pytest.approx((np.mean(first - second), low, high))
    assert found.p == pytest.approx(expected.pvalue)
    assert found.method == "paired t"
    turned = paired_test(second, first)
    assert (turned.difference, turned.p) == pytest.approx((-found.difference, found.p))


def test_differences_without_spread_are_judged_by_their_sign() -> None:
    same = paired_test([0.1, 0.2, 0.3], [0.1, 0.2, 0.3])
    assert (same.difference, same.low, same.high, same.p, same.method) == (0.0, 0.0, 0.0, 1.0, "sign")
    shifted = paired_test([0.4, 0.5, 0.6], [0.1, 0.2, 0.3])
    assert (shifted.p, shifted.method) == (0.25, "sign")
    one = paired_test([1.0], [0.5])
    assert (one.difference, one.low, one.high, one.p) == (0.5, None, None, 1.0)


@pytest.mark.parametrize(("first", "second"), [([1.0], [1.0, 2.0]), ([], []), ([[1.0]], [[1.0]])])
def test_lists_that_do_not_pair_are_refused(first: list[float], second: list[float]) -> None:
    with pytest.raises(DataError, match="same length"):
        paired_test(first, second)


def test_the_corrected_interval_is_the_published_formula() -> None:
    scores = [0.81, 0.85, 0.79, 0.88, 0.84]
    mean, low, high = corrected_interval(scores, 1 / 4)
    half = stats.t.ppf(0.975, 4) * np.sqrt((1 / 5 + 1 / 4) * np.var(scores, ddof=1))
    assert (mean, low, high) == pytest.approx((0.834, 0.834 - half, 0.834 + half))
    # Much wider than if the folds were independent.
    assert half > 1.4 * stats.t.ppf(0.975, 4) * stats.sem(scores)
    with pytest.raises(DataError, match="confidence"):
        corrected_interval(scores, 1 / 4, 1.5)
