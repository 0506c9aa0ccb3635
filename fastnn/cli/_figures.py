"""Names and formats of metrics in the tables that commands print."""

from __future__ import annotations

NAMES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "label_accuracy": "label accuracy",
    "micro_f1": "micro F1",
    "macro_f1": "macro F1",
    "roc_auc": "ROC AUC",
    "macro_roc_auc": "macro ROC AUC",
    "log_loss": "log loss",
    "r2": "R2",
    "mae": "MAE",
    "rmse": "RMSE",
    "loss": "loss",
}
"""Metrics by the names that results have in JSON, in words."""


def figure(name: str, value: float) -> str:
    """Return the value of a metric in text: accuracies in per cent, errors with four digits, others four decimals."""
    if name.endswith("accuracy"):
        return f"{value:.2%}"
    return f"{value:#.4g}" if name in ("mae", "rmse") else f"{value:.4f}"


def interval(name: str, low: float | None, high: float | None) -> str:
    """Return a confidence interval in text; "?" if it is unknown."""
    return "?" if low is None or high is None else f"{figure(name, low)} to {figure(name, high)}"


def percent(confidence: float) -> str:
    """Return a confidence level in text, such as 95%."""
    return f"{confidence:.0%}" if confidence <= 0.99 else f"{confidence:.4g}"
