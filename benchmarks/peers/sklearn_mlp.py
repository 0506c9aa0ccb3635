"""scikit-learn's MLPClassifier at batch size 1, by back-propagation, the only rule that it has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from benchmarks.problem import Problem


class Classifier:
    """``partial_fit`` with ``batch_size=1`` on float32, plain SGD: no momentum, no penalty, no shuffling."""

    def __init__(self, problem: Problem) -> None:
        from sklearn.neural_network import MLPClassifier

        self.model = MLPClassifier(
            hidden_layer_sizes=problem.sizes[1:-1],
            activation="logistic",
            solver="sgd",
            batch_size=1,
            learning_rate_init=problem.learning_rate,
            momentum=0.0,
            nesterovs_momentum=False,
            alpha=0.0,
            shuffle=False,
            random_state=0,
        )
        self.x = problem.inputs(np.float32)
        self.labels = problem.labels
        self.model.partial_fit(self.x[:1], self.labels[:1], classes=np.arange(problem.sizes[-1]))
        parameters = problem.parameters(np.float32)
        for mine, given in zip(self.model.coefs_, parameters[::2], strict=True):
            mine[...] = given
        for mine, given in zip(self.model.intercepts_, parameters[1::2], strict=True):
            mine[...] = given

    def run(self, n: int) -> None:
        self.model.partial_fit(self.x[:n], self.labels[:n])

    def weights(self) -> list[np.ndarray]:
        pairs = zip(self.model.coefs_, self.model.intercepts_, strict=True)
        return [np.array(values, dtype=np.float64) for pair in pairs for values in pair]
