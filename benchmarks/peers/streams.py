"""Estimators of River's interface: fastnn's network, and what River itself has.

River has no neural networks any more from version 0.26 on; its own classifiers are linear models, trees and neighbours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.problem import RowProblem


def fastnn() -> Any:
    """Return a network with one hidden layer of 50 units, which standardises its inputs."""
    from fastnn.river import MLPClassifier

    return MLPClassifier(hidden_layer_sizes=(50,), seed=0)


def plain() -> Any:
    """Return the same without standardising, to compare its weights with the reference."""
    from fastnn.river import MLPClassifier

    return MLPClassifier(hidden_layer_sizes=(50,), seed=0, standardise=False)


def logistic() -> Any:
    """Return a logistic regression: 11 weights instead of 652."""
    from river.linear_model import LogisticRegression

    return LogisticRegression()


def scaled() -> Any:
    """Return the same on standardised inputs, as River's own examples use it."""
    from river.compose import Pipeline
    from river.preprocessing import StandardScaler

    return Pipeline(StandardScaler(), logistic())


def tree() -> Any:
    """Return a Hoeffding tree."""
    from river.tree import HoeffdingTreeClassifier

    return HoeffdingTreeClassifier()


class Stream:
    """An estimator and its samples as dicts; it has learned the first ones, so that it knows all classes."""

    LEARNED = 10

    def __init__(self, build: str, problem: RowProblem) -> None:
        self.model = globals()[build]()
        names = [f"x{j}" for j in range(problem.sizes[0])]
        self.samples = [dict(zip(names, row, strict=True)) for row in problem.rows.astype(float).tolist()]
        self.labels = problem.labels.tolist()
        self.run(slice(self.LEARNED))

    def run(self, part: slice) -> None:
        """Learn some samples, one a call."""
        learn_one = self.model.learn_one
        for x, y in zip(self.samples[part], self.labels[part], strict=True):
            learn_one(x, y)

    def learn(self, n: int) -> None:
        """Learn the first `n` samples."""
        self.run(slice(n))

    def predict_and_learn(self, n: int) -> None:
        """Predict class probabilities of each of the first `n` samples, then learn it."""
        predict_proba_one, learn_one = self.model.predict_proba_one, self.model.learn_one
        for x, y in zip(self.samples[:n], self.labels[:n], strict=True):
            predict_proba_one(x)
            learn_one(x, y)
