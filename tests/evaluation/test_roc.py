import math
from statistics import NormalDist

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from fastnn.errors import DataError
from fastnn.evaluation.roc import auc_interval, roc_auc


@pytest.mark.parametrize("levels", [2, 7, 1000])
def test_the_area_is_scikit_learns_with_and_without_ties(levels: int) -> None:
    rng = np.random.default_rng(levels)
    positive = rng.random(301) < 0.3
    scores = rng.integers(0, levels, 301) / levels + 0.2 * positive
    scores = np.round(scores * levels) / levels
    assert roc_auc(positive, scores) == pytest.approx(roc_auc_score(positive, scores), rel=1e-13)


def test_a_tie_counts_as_half() -> None:
    assert roc_auc([True, False], [0.5, 0.5]) == 0.5
    assert roc_auc([True, True, False], [1.0, 0.5, 0.5]) == 0.75
    assert roc_auc([True, False, False], [0.9, 0.1, 0.2]) == 1.0


@pytest.mark.parametrize("positive", [[True, True], [False, False], []])
def test_one_class_alone_has_no_area(positive: list[bool]) -> None:
    assert roc_auc(positive, np.arange(len(positive))) is None


def test_the_interval_solves_its_equation() -> None:
    z, m, n = NormalDist().inv_cdf(0.975), 30, 70
    for bound in auc_interval(0.8, m, n):
        more = (m + n) / 2 - 1
        variance = bound * (1 - bound) / (m * n) * (1 + more * ((1 - bound) / (2 - bound) + bound / (1 + bound)))
        assert abs(0.8 - bound) == pytest.approx(z * math.sqrt(variance))


def test_a_perfect_ranking_has_an_interval_too() -> None:
    low, high = auc_interval(1.0, 10, 10)
    assert 0.7 < low < 0.95
    assert high == 1.0
    assert auc_interval(0.0, 10, 10) == pytest.approx((0.0, 1 - low))
    assert auc_interval(1.0, 1, 1)[0] < 0.3


def test_the_interval_covers_the_true_area() -> None:
    """Scores of two normal distributions, 1 apart: the area is P(Z < 1 / sqrt(2)), 0.76."""
    rng, true = np.random.default_rng(3), NormalDist().cdf(1 / math.sqrt(2))
    positive = np.arange(60) < 25
    covered = 0
    for _ in range(400):
        area = roc_auc(positive, rng.normal(size=60) + positive)
        assert area is not None
        low, high = auc_interval(area, 25, 35)
        covered += low <= true <= high
    assert 0.92 <= covered / 400 <= 0.985


def test_an_impossible_confidence_is_refused() -> None:
    with pytest.raises(DataError, match="confidence"):
        auc_interval(0.5, 3, 3, 1.0)
