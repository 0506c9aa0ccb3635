"""fastnn on MNIST: preset ``mnist`` with its learning rate schedule over the epochs that are asked for.

The only file of the benchmark of time to accuracy that calls fastnn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.contender import Report


def preset(folder: str, seed: int, epochs: int, report: Report) -> None:
    """Train on the data set that the folder names."""
    from pathlib import Path

    import fastnn
    from benchmarks.peers.mnist_arrays import SOURCE

    source = Path(folder, SOURCE).read_text(encoding="utf-8")
    recipe = fastnn.presets["mnist"].replace(epochs=epochs, seed=seed)
    dataset, _ = fastnn.split(fastnn.load_dataset(source))
    session = fastnn.Session(dataset, recipe, split=False, threads=1)
    for _ in session:
        report(lambda images: session.model.predict(255 - images))
