"""Evaluation of a regression: R2, mean absolute error and root mean squared error, of each target and overall."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypedDict

import numpy as np

from fastnn.large_arrays import ROWS_IN_PART
from fastnn.tables import html_table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastnn.network import Task

_SHOWN = 50
"""Targets listed in a notebook."""

_MOST = 1e100


class TargetRow(TypedDict):
    """The scores of one target."""

    target: str
    r2: float
    mae: float
    rmse: float


@dataclass(frozen=True)
class RegressionEvaluation:
    """Metrics of a regression on a data set; those of several targets are the mean over the targets.

    Attributes
    ----------
    r2 : float
        Coefficient of determination: 1 for exact predictions, 0 for those no better than the mean of the targets. For a
        constant target it is 1 if every prediction is exact, and else 0.
    mae : float
        Mean absolute error, in the unit of the target.
    rmse : float
        Root mean squared error, in the unit of the target.
    loss : float
        See :func:`fastnn.evaluation.metrics.mean_loss`.
    total : int
        Number of samples.
    per_target : list of dict
        For each target: "target", "r2", "mae", "rmse".
    """

    task: ClassVar[Task] = "regression"

    r2: float
    mae: float
    rmse: float
    loss: float
    total: int
    per_target: list[TargetRow]

    @property
    def score(self) -> float:
        """R2."""
        return self.r2

    @property
    def metrics(self) -> dict[str, float]:
        """The figures that a model card stores."""
        return {"test_r2": self.r2, "test_mae": self.mae, "test_rmse": self.rmse, "test_loss": self.loss}

    def as_dict(self) -> dict[str, Any]:
        """Return the metrics, fit for JSON."""
        return {
            "task": self.task,
            "r2": self.r2,
            "mae": self.mae,
            "rmse": self.rmse,
            "total": self.total,
            "loss": self.loss,
            "per_target": self.per_target,
        }

    def _repr_html_(self) -> str:
        """Return tables for notebooks: the figures, and those of each target."""
        total = [
            ("R2", f"{self.r2:.4f}"),
            ("mean absolute error", f"{self.mae:#.4g}"),
            ("root mean squared error", f"{self.rmse:#.4g}"),
            ("loss", f"{self.loss:.4f}"),
            ("samples", f"{self.total:,}"),
        ]
        rows = [
            (row["target"], f"{row['r2']:.4f}", f"{row['mae']:#.4g}", f"{row['rmse']:#.4g}")
            for row in self.per_target[:_SHOWN]
        ]
        left_out = f" (the first {_SHOWN})" if len(self.per_target) > _SHOWN else ""
        header = ("target", "R2", "MAE", "RMSE")
        return html_table("fastnn.RegressionEvaluation", total) + html_table(f"targets{left_out}", rows, header)


def evaluate_regression(
    targets: NDArray[np.float64], predicted: NDArray[np.float64], names: tuple[str, ...], loss: float
) -> RegressionEvaluation:
    """Return the metrics of predicted numbers.

    Parameters
    ----------
    targets, predicted : ndarray of float64, shape (n, t)
        In the units of the data; at least one row.
    names : tuple of str
        Names of the t targets.
    loss : float
    """
    errors = targets - predicted
    mean_squares, mae = np.mean(errors**2, axis=0), np.mean(np.abs(errors), axis=0)
    return regression_of_means(mean_squares, mae, variances(targets), names, loss, len(targets))


def regression_of_means(
    mean_squares: NDArray[np.float64],
    mae: NDArray[np.float64],
    variance: NDArray[np.float64],
    names: tuple[str, ...],
    loss: float,
    total: int,
) -> RegressionEvaluation:
    """Return the metrics of predicted numbers.

    Parameters
    ----------
    mean_squares, mae, variance : ndarray of float64, shape (t,)
        Of each target the mean of the squared and of the absolute errors, and its own variance, see :func:`variances`.
    names : tuple of str
        Names of the t targets.
    loss : float
    total : int
        Number of samples.
    """
    r2, rmse = r2_scores(mean_squares, variance), np.sqrt(mean_squares)
    rows: list[TargetRow] = [
        {"target": name, "r2": float(r2[k]), "mae": float(mae[k]), "rmse": float(rmse[k])}
        for k, name in enumerate(names)
    ]
    return RegressionEvaluation(float(r2.mean()), float(mae.mean()), float(rmse.mean()), loss, total, rows)


def r2_score(predicted: NDArray[np.float64], targets: NDArray[np.float64]) -> float:
    """Return R2, averaged over the targets; both arrays have the shape (n, t)."""
    with np.errstate(over="ignore"):
        mean_squares = np.mean((targets - predicted) ** 2, axis=0)
    return float(r2_scores(mean_squares, variances(targets)).mean())


def variances(targets: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the variance of each target, shape (t,); exactly 0 if all its numbers are equal."""
    if len(targets) <= ROWS_IN_PART:
        return np.where(np.ptp(targets, axis=0) == 0, 0.0, targets.var(axis=0))
    mean, squares = targets.mean(axis=0), np.zeros(targets.shape[1])
    for start in range(0, len(targets), ROWS_IN_PART):
        squares += ((targets[start : start + ROWS_IN_PART] - mean) ** 2).sum(axis=0)
    return np.where(np.ptp(targets, axis=0) == 0, 0.0, squares / len(targets))


def r2_scores(mean_squares: NDArray[np.float64], variance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return R2 from the mean squared errors and the variances of targets; of a constant target 1 or 0.

    It is never below -1e100, so that sums of squares of it are finite.

    Parameters
    ----------
    mean_squares : ndarray of float64, shape (..., t)
    variance : ndarray of float64, shape (t,) or (..., t)
    """
    constant = variance == 0
    with np.errstate(over="ignore"):
        shares = np.minimum(mean_squares / np.where(constant, 1.0, variance), _MOST)
    return np.asarray(np.where(constant, np.where(mean_squares == 0, 1.0, 0.0), 1 - shares))
