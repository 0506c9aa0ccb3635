"""What each step from the original's learning rule to the best plain network is worth, as a table in the README.

    python -m benchmarks.ladder --data digits --seeds 3

Each rung keeps the changes of those before. Accuracy is that on the held-back tenth, or the source's test set, after
the last epoch; with every seed other weights, another order and another split.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from benchmarks.readme import show
from fastnn.datasets import load_dataset, split
from fastnn.evaluation.metrics import evaluate
from fastnn.recipe import Recipe
from fastnn.training import Trainer, as_model

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastnn.datasets import Dataset

RUNGS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("the original's rule", {}),
    ("textbook gradient, softmax", {"rule": "backprop", "init": "xavier"}),
    (
        "ReLU on ink, cosine rate, label smoothing",
        {
            "activation": "relu",
            "init": "he",
            "invert": True,
            "lr": 0.02,
            "schedule": "cosine",
            "label_smoothing": 0.1,
        },
    ),
    ("normalised drawings", {"normalise": True}),
    ("affine distortion", {"rotation": 12.0, "scale": 0.12, "shear": 0.15, "shift": 1.0}),
    ("elastic distortion", {"elastic_alpha": 1.0}),
    ("784-500-150-10, twice as many epochs", {"hidden": (500, 150), "epochs": 120}),
    ("mean of the last 10 epochs' weights", {"averaging": "tail", "averaging_epochs": 10}),
    ("4 networks together", {"ensemble": 4}),
)


class Rung(NamedTuple):
    """A line of the table; accuracies one a seed, seconds of training in the mean."""

    name: str
    accuracies: tuple[float, ...]
    seconds: float


def climb(
    dataset: Dataset, *, seeds: int, epochs: int, rungs: Sequence[tuple[str, dict[str, Any]]] = RUNGS
) -> list[Rung]:
    """Train every rung with every seed."""
    table, recipe = [], Recipe(epochs=epochs)
    for name, given in rungs:
        changes = dict(given)
        if "epochs" in given:
            changes["epochs"] = given["epochs"] * epochs // 60
        if "averaging_epochs" in given:
            changes["averaging_epochs"] = min(given["averaging_epochs"], recipe.epochs)
        recipe = recipe.replace(**changes)
        results = [run(dataset, recipe.replace(seed=seed)) for seed in range(seeds)]
        accuracies, seconds = zip(*results, strict=True)
        table.append(Rung(name, accuracies, statistics.mean(seconds)))
        print(f"{name}: {statistics.mean(accuracies):.2%}, {table[-1].seconds:.1f} s", flush=True)
    return table


def run(dataset: Dataset, recipe: Recipe) -> tuple[float, float]:
    """Return test accuracy and seconds of training, all networks of an ensemble one after the other."""
    train, test = split(dataset, recipe.test_fraction, recipe.seed)
    networks, seconds = [], 0.0
    for member in range(recipe.ensemble):
        own = recipe.replace(seed=recipe.seed + member)
        learner = Trainer(own.network(train.images.shape[1], len(train.classes)), train, own)
        learner.warm_up()
        seconds += sum(learner.epoch(epoch).seconds for epoch in range(1, own.epochs + 1))
        networks.append(learner.result())
    return evaluate(as_model(networks, train, recipe), test).accuracy, seconds


def as_markdown(rungs: Sequence[Rung], source: str, epochs: int) -> str:
    """Return the table."""
    seeds = len(rungs[0].accuracies)
    lines = [
        f"{source}, {epochs} epochs unless said otherwise; mean of {seeds} seeds, and their standard deviation.",
        "",
        "| and so on, each with what stands above | test accuracy | wrong | seconds of training |",
        "|---|---|---|---|",
    ]
    for rung in rungs:
        mean, spread = statistics.mean(rung.accuracies), float(np.std(rung.accuracies, ddof=1 if seeds > 1 else 0))
        lines.append(f"| {rung.name} | {mean:.2%} ± {spread:.2%} | {1 - mean:.2%} | {rung.seconds:.1f} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the options, train and write."""
    parser = argparse.ArgumentParser(description="What each step to a better network is worth.")
    parser.add_argument("--data", default="digits", help="a data set by name or path")
    parser.add_argument("--name", help="what the table calls it")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--readme", type=Path, help="file to write the table into; printed without")
    options = parser.parse_args(arguments)
    dataset = load_dataset(options.data)
    rungs = climb(dataset, seeds=options.seeds, epochs=options.epochs)
    table = as_markdown(rungs, options.name or dataset.source, options.epochs)
    show(table, "ladder", options.readme)


if __name__ == "__main__":
    main()
