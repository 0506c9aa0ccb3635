"""fastnn on MNIST: preset ``mnist`` with its learning rate schedule over the epochs that are asked for.

The only file of the benchmark of time to accuracy that calls fastnn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from benchmarks.contender import Report


def preset(folder: str, seed: int, epochs: int, report: Report) -> None:
    """Train on the data set that the folder names."""
    from pathlib import Path

    import fastnn
    from benchmarks.peers.mnist_arrays import SOURCE
    from fastnn.recipe import PRESETS
    from fastnn.training import Trainer, as_model

    source = Path(folder, SOURCE).read_text(encoding="utf-8")
    recipe = PRESETS["mnist"].replace(epochs=epochs, seed=seed)
    dataset, _ = fastnn.split(fastnn.load_dataset(source))
    trainer = Trainer(recipe.network(784, 10), dataset, recipe)
    trainer.warm_up()

    def predict(images: np.ndarray) -> np.ndarray:
        return as_model(trainer.result(), dataset, recipe).predict(255 - images)

    for epoch in range(1, epochs + 1):
        trainer.epoch(epoch)
        report(predict)
