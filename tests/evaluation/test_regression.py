import json

import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from fastnn.errors import DataError
from fastnn.evaluation.bootstrap import regression_intervals
from fastnn.evaluation.regression import evaluate_regression


def made(n: int, k: int = 1, *, seed: int = 0, noise: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    targets = rng.normal(100.0, 3.0, (n, k)) * np.arange(1, k + 1)
    return targets, targets + rng.normal(0.1, noise, (n, k))


@pytest.mark.parametrize("k", [1, 3])
def test_the_metrics_are_scikit_learns(k: int) -> None:
    targets, predicted = made(57, k)
    names = tuple("abc"[:k])
    found = evaluate_regression(targets, predicted, names, 0.25)
    assert found.r2 == found.score == pytest.approx(r2_score(targets, predicted), rel=1e-12)
    assert found.mae == pytest.approx(mean_absolute_error(targets, predicted), rel=1e-12)
    assert found.rmse == pytest.approx(root_mean_squared_error(targets, predicted), rel=1e-12)
    assert [row["target"] for row in found.per_target] == list(names)
    raw = r2_score(targets, predicted, multioutput="raw_values")
    assert [row["r2"] for row in found.per_target] == pytest.approx(raw)
    assert set(found.metrics) == {"test_r2", "test_mae", "test_rmse", "test_loss"}
    figures = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert (figures["task"], figures["total"], figures["loss"]) == ("regression", 57, 0.25)
    shown = found._repr_html_()
    assert f"{found.r2:.4f}" in shown
    assert "targets" in shown


@pytest.mark.parametrize("error", [0.0, 1.0])
def test_r2_of_a_constant_target_is_scikit_learns(error: float) -> None:
    targets = np.column_stack([np.full(5, 4.0), np.arange(5.0)])
    predicted = targets + np.array([[error, 0.5]])
    found = evaluate_regression(targets, predicted, ("constant", "other"), 0.0)
    assert found.per_target[0]["r2"] == (0.0 if error else 1.0)
    assert found.r2 == pytest.approx(r2_score(targets, predicted))
    # The mean of equal numbers may differ from them in the last bit.
    tenths = np.full((3, 1), 0.1)
    assert evaluate_regression(tenths, tenths + 1, ("t",), 0.0).r2 == 0.0


def test_one_row_has_the_r2_of_a_constant_target() -> None:
    row = np.array([[2.0]])
    assert evaluate_regression(row, row, ("t",), 0.0).r2 == 1.0
    assert evaluate_regression(row, row + 1, ("t",), 0.0).r2 == 0.0


@pytest.mark.parametrize("n", [300, 12_000])
def test_bootstrap_intervals_have_the_width_that_theory_gives(n: int) -> None:
    """Rows in order of the target, so that groups of neighbours would differ more than rows drawn at random."""
    targets, predicted = made(n, seed=1, noise=2.0)
    order = np.argsort(targets[:, 0])
    targets, predicted = targets[order], predicted[order]
    found = evaluate_regression(targets, predicted, ("t",), 0.0)
    intervals = regression_intervals(targets, predicted)
    for value, (low, high) in ((found.r2, intervals.r2), (found.mae, intervals.mae), (found.rmse, intervals.rmse)):
        assert low < value < high
    errors = targets - predicted
    width = 2 * 1.96 * np.std(np.abs(errors)) / np.sqrt(n)
    assert intervals.mae[1] - intervals.mae[0] == pytest.approx(width, rel=0.1)
    squares, variance = np.square(errors), targets.var()
    influence = -squares / variance + squares.mean() / variance**2 * np.square(targets - targets.mean())
    width = 2 * 1.96 * influence.std() / np.sqrt(n)
    assert intervals.r2[1] - intervals.r2[0] == pytest.approx(width, rel=0.15)
    assert regression_intervals(targets, predicted) == intervals
    narrower = regression_intervals(targets, predicted, 0.5)
    assert narrower.r2[0] > intervals.r2[0]


def test_bootstrap_intervals_of_few_rows_and_constant_targets_are_finite() -> None:
    for n in (1, 2, 3):
        targets, predicted = made(n)
        intervals = regression_intervals(targets, predicted)
        assert np.isfinite([intervals.r2, intervals.mae, intervals.rmse]).all()
    constant = np.full((20, 1), 0.1)
    assert regression_intervals(constant, constant + 1).r2 == (0.0, 0.0)
    with pytest.raises(DataError, match="confidence"):
        regression_intervals(constant, constant, 0.0)
