"""What each change from the original's rule to the best plain network gains: ``python -m benchmarks.ladder``.

The changes are cumulative: each row adds to the one above. Accuracy is measured after the last epoch, on the test set
of the data or on a held-out tenth; the seed determines the initial weights, the sample order and the split.
"""

from __future__ import annotations

import argparse
import statistics
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from benchmarks.page import add_page_option, show
from fastnn.datasets import load_dataset, split
from fastnn.evaluation.metrics import evaluate
from fastnn.recipe import Recipe
from fastnn.training import Trainer, as_model

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastnn.datasets import Dataset

RUNGS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("the original's rule", {}),
    ("back-propagation, softmax", {"rule": "backprop", "init": "xavier"}),
    (
        "ReLU, inverted inputs, cosine schedule, label smoothing",
        {
            "activation": "relu",
            "init": "he",
            "invert": True,
            "lr": 0.02,
            "schedule": "cosine",
            "label_smoothing": 0.1,
        },
    ),
    ("normalised images", {"normalise": True}),
    ("affine distortion", {"rotation": 12.0, "scale": 0.12, "shear": 0.15, "shift": 1.0}),
    ("elastic distortion", {"elastic_alpha": 1.0}),
    ("784-500-150-10, twice as many epochs", {"hidden": (500, 150), "epochs": 120}),
    ("average of the last 10 epochs' weights", {"averaging": "tail", "averaging_epochs": 10}),
    ("ensemble of 4", {"ensemble": 4}),
)


class Rung(NamedTuple):
    """A row of the table: the accuracy with each seed, and the mean seconds of training."""

    name: str
    accuracies: tuple[float, ...]
    seconds: float


def climb(
    dataset: Dataset, *, seeds: int, epochs: int, rungs: Sequence[tuple[str, dict[str, Any]]] = RUNGS
) -> list[Rung]:
    """Train every row's recipe with every seed; return the rows."""
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
    """Return test accuracy and seconds of training; the networks of an ensemble are trained one after the other."""
    train, test = split(dataset, recipe.test_fraction, recipe.seed)
    networks, seconds = [], 0.0
    for member in range(recipe.ensemble):
        own = recipe.replace(seed=recipe.seed + member)
        trainer = Trainer(own.network(train.images.shape[1], len(train.classes)), train, own)
        trainer.warm_up()
        seconds += sum(trainer.epoch(epoch).seconds for epoch in range(1, own.epochs + 1))
        networks.append(trainer.result())
    return evaluate(as_model(networks, train, recipe), test).accuracy, seconds


def as_markdown(rungs: Sequence[Rung], source: str, epochs: int) -> str:
    """Return the table."""
    seeds = len(rungs[0].accuracies)
    lines = [
        f"{source}, {epochs} epochs unless stated otherwise; mean and standard deviation of {seeds} seeds.",
        "",
        "| cumulative: each row adds to the one above | test accuracy | test error | seconds of training |",
        "|---|---|---|---|",
    ]
    for rung in rungs:
        mean, spread = statistics.mean(rung.accuracies), float(np.std(rung.accuracies, ddof=1 if seeds > 1 else 0))
        lines.append(f"| {rung.name} | {mean:.2%} ± {spread:.2%} | {1 - mean:.2%} | {rung.seconds:.1f} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the options, train and write the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.ladder", description="What each change to a better network gains."
    )
    parser.add_argument("--data", default="digits", help="a data set by name or path")
    parser.add_argument("--name", help="name of the data set in the table")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=60)
    add_page_option(parser)
    options = parser.parse_args(arguments)
    dataset = load_dataset(options.data)
    rungs = climb(dataset, seeds=options.seeds, epochs=options.epochs)
    table = as_markdown(rungs, options.name or dataset.source, options.epochs)
    show(table, "ladder", options.page)


if __name__ == "__main__":
    main()
