"""scikit-learn's MLPClassifier at batch size 1, by back-propagation, the only rule that it has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from benchmarks.problem import InitialParameters, Problem, RowProblem


def classifier(problem: InitialParameters, x: np.ndarray, activation: str):
    """Return a classifier with the problem's weights, for plain SGD with a step for each row."""
    from sklearn.neural_network import MLPClassifier

    model = MLPClassifier(
        hidden_layer_sizes=problem.sizes[1:-1],
        activation=activation,
        solver="sgd",
        batch_size=1,
        learning_rate_init=problem.learning_rate,
        momentum=0.0,
        nesterovs_momentum=False,
        alpha=0.0,
        shuffle=False,
        random_state=0,
    )
    classes = np.arange(max(2, problem.sizes[-1]))
    model.partial_fit(x[:1], classes[:1], classes=classes)
    parameters = problem.parameters(np.float32)
    for mine, given in zip(model.coefs_ + model.intercepts_, parameters[::2] + parameters[1::2], strict=True):
        mine[...] = given
    return model


class Classifier:
    """``partial_fit`` with ``batch_size=1`` on float32, plain SGD: no momentum, no penalty, no shuffling."""

    def __init__(self, problem: Problem) -> None:
        self.x, self.labels = problem.inputs(np.float32), problem.labels
        self.model = classifier(problem, self.x, "logistic")

    def run(self, n: int) -> None:
        self.model.partial_fit(self.x[:n], self.labels[:n])

    def weights(self) -> list[np.ndarray]:
        pairs = zip(self.model.coefs_, self.model.intercepts_, strict=True)
        return [np.array(values, dtype=np.float64) for pair in pairs for values in pair]


class Rows(Classifier):
    """Float rows and ReLU; of two classes it has one logistic output instead of a softmax."""

    def __init__(self, problem: RowProblem) -> None:
        problem = problem.one_output()
        self.x, self.labels = problem.rows, problem.labels
        self.model = classifier(problem, self.x, "relu")


class OneRow(Rows):
    """The same with a call of ``partial_fit`` for each row."""

    def run(self, n: int) -> None:
        for i in range(n):
            self.model.partial_fit(self.x[i : i + 1], self.labels[i : i + 1])
