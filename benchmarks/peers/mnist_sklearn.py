"""scikit-learn on MNIST: ``MLPClassifier`` with Adam, one epoch after the other by ``warm_start``.

The learning rate falls along a cosine: it gains half a per cent over a constant one. Each ``fit`` starts Adam's moments
anew, which costs little.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.peers import mnist_arrays

if TYPE_CHECKING:
    from benchmarks.contender import Report

LR = 0.001
SETTINGS: dict[str, Any] = {"hidden_layer_sizes": (400, 100), "batch_size": 128, "alpha": 1e-5}


def classifier(folder: str, seed: int, epochs: int, report: Report) -> None:
    """Train on float32 inputs."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    warnings.simplefilter("ignore", ConvergenceWarning)
    images, labels = mnist_arrays.train(folder)
    x = images * np.float32(1 / 255)
    model = MLPClassifier(random_state=np.random.RandomState(seed), max_iter=1, warm_start=True, **SETTINGS)

    def predict(given: np.ndarray) -> np.ndarray:
        return model.predict(given * np.float32(1 / 255))

    for epoch in range(epochs):
        model.set_params(learning_rate_init=LR * (1 + np.cos(np.pi * epoch / epochs)) / 2)
        model.fit(x, labels)
        report(predict)
