import math

import numpy as np
import pytest

from fastnn.errors import DataError
from fastnn.evaluation.intervals import EXACT_UP_TO, holm, mcnemar, reliability, wilson_interval


# R: prop.test(x, n, conf.level = level, correct = FALSE)$conf.int
@pytest.mark.parametrize(
    ("correct", "total", "level", "low", "high"),
    [
        (8, 10, 0.95, 0.4901625, 0.9433178),
        (0, 10, 0.95, 0.0, 0.2775328),
        (10, 10, 0.95, 0.7224672, 1.0),
        (1, 1, 0.95, 0.2065493, 1.0),
    ],
)
def test_wilson(correct: int, total: int, level: float, low: float, high: float) -> None:
    assert wilson_interval(correct, total, level) == pytest.approx((low, high), abs=1e-7)


def test_wilson_solves_its_equation() -> None:
    z = 2.5758293035489004  # of 99 %
    for bound in wilson_interval(77, 100, 0.99):
        assert abs(0.77 - bound) == pytest.approx(z * math.sqrt(bound * (1 - bound) / 100))


@pytest.mark.parametrize("arguments", [(1, 0), (-1, 5), (6, 5), (1, 2, 0.0), (1, 2, 1.0), (1, 2, math.nan)])
def test_wilson_refuses_impossible_values(arguments: tuple[float, ...]) -> None:
    with pytest.raises(DataError):
        wilson_interval(*arguments)  # type: ignore[arg-type]


def pair(both: int, first: int, second: int, neither: int = 3) -> tuple[list[bool], list[bool]]:
    a = [True] * (both + first) + [False] * (second + neither)
    b = [True] * both + [False] * first + [True] * second + [False] * neither
    return a, b


# R: binom.test(first, first + second)$p.value
@pytest.mark.parametrize(
    ("first", "second", "p"),
    [(2, 10, 158 / 4096), (10, 2, 158 / 4096), (0, 0, 1.0), (0, 5, 2 / 32), (5, 5, 1.0), (0, 1, 1.0)],
)
def test_mcnemar_exact(first: int, second: int, p: float) -> None:
    result = mcnemar(*pair(20, first, second))
    assert (result.only_first, result.only_second, result.method) == (first, second, "exact")
    assert result.p == pytest.approx(p, rel=1e-12)


def test_mcnemar_of_many_images_is_chi_squared_and_close_to_the_exact_test() -> None:
    first, second = EXACT_UP_TO // 2 + 30, EXACT_UP_TO // 2 - 29
    result = mcnemar(*pair(0, first, second))
    assert result.method == "chi-squared"
    n = first + second
    exact = 2 * sum(math.comb(n, i) for i in range(second + 1)) / 2**n
    assert result.p == pytest.approx(exact, rel=0.01)
    assert mcnemar(*pair(0, EXACT_UP_TO, EXACT_UP_TO)).p == 1.0
    assert mcnemar(*pair(0, 5000, 0)).p == 0.0


def test_mcnemar_needs_lists_of_the_same_length() -> None:
    with pytest.raises(DataError, match="same length"):
        mcnemar([True], [True, False])


def test_holm() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([0.2]) == [0.2]
    assert holm([]) == []


def test_reliability() -> None:
    probabilities = [[0.95, 0.05], [0.91, 0.09], [0.35, 0.65], [0.4, 0.6], [0.5, 0.5]]
    curve = reliability(probabilities, [0, 1, 1, 0, 0])
    assert curve.counts.tolist() == [0, 0, 0, 0, 1, 1, 1, 0, 0, 2]
    assert curve.confidence[[4, 5, 6, 9]] == pytest.approx([0.5, 0.6, 0.65, 0.93])
    assert curve.accuracy[[4, 5, 6, 9]] == pytest.approx([1.0, 0.0, 1.0, 0.5])
    assert np.isnan(curve.accuracy[0])
    assert curve.ece == pytest.approx((0.5 + 0.6 + 0.35 + 2 * 0.43) / 5)
    assert curve.as_dict()["accuracy"][0] is None


def test_a_calibrated_model_has_no_calibration_error() -> None:
    probabilities = np.tile([0.75, 0.25], (400, 1))
    labels = np.arange(400) % 4 == 3
    assert reliability(probabilities, labels).ece == pytest.approx(0.0, abs=1e-12)
    assert reliability([[1.0, 0.0]] * 2, [0, 1]).ece == pytest.approx(0.5)


@pytest.mark.parametrize(("probabilities", "labels"), [([], []), ([[0.5, 0.5]], [0, 1]), ([0.5], [0])])
def test_reliability_refuses_impossible_values(probabilities: list[object], labels: list[int]) -> None:
    with pytest.raises(DataError):
        reliability(probabilities, labels)
