"""The effect of cleaning a data set: ``python -m benchmarks.cleaning --data FILE``; needs the extra [clean].

The whole set is searched as ``fastnn data clean`` does and corrected as its list proposes. Then networks are trained on
the original and on the cleaned labels, and each is tested on both.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.page import add_page_option, show
from fastnn.datasets import load_dataset
from fastnn.datasets.split import Split
from fastnn.evaluation.metrics import evaluate
from fastnn.label_issues import KINDS, find_issues
from fastnn.recipe import load_recipe
from fastnn.training import as_model
from fastnn.training_loops import train

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastnn.datasets import Dataset
    from fastnn.label_issues import Findings
    from fastnn.recipe import Recipe


def cleaned(dataset: Dataset, findings: Findings) -> tuple[Dataset, Any]:
    """Return the data set with the suggested labels, and whether each image is kept, bool of shape (n,)."""
    labels, keep = dataset.labels.copy(), np.ones(len(dataset), dtype=bool)
    for issue in findings.issues:
        if issue.suggested:
            labels[issue.index] = dataset.classes.index(issue.suggested)
        else:
            keep[issue.index] = False
    return replace(dataset, targets=labels), keep


def compare(dataset: Dataset, findings: Findings, recipe: Recipe, seeds: int) -> dict[tuple[str, str], list[float]]:
    """Return test accuracies, one per seed, for each pair of "original" or "cleaned" training and test labels."""
    clean, keep = cleaned(dataset, findings)
    results: dict[tuple[str, str], list[float]] = {}
    for seed in range(seeds):
        tested = Split(fraction=recipe.test_fraction, seed=seed).test_mask(dataset)
        own = recipe.replace(seed=seed)
        tests = {"original": dataset.take(np.flatnonzero(tested)), "cleaned": clean.take(np.flatnonzero(tested & keep))}
        trains = {
            "original": dataset.take(np.flatnonzero(~tested)),
            "cleaned": clean.take(np.flatnonzero(~tested & keep)),
        }
        for trained_on, part in trains.items():
            network = own.network(part.images.shape[1], len(part.classes))
            for _ in train(network, part, own):
                pass
            for tested_on, test in tests.items():
                accuracy = evaluate(as_model(network, part, own), test).accuracy
                results.setdefault((trained_on, tested_on), []).append(accuracy)
    return results


def as_markdown(findings: Findings, results: dict[tuple[str, str], list[float]], recipe: str, source: str) -> str:
    """Return the table."""
    counts = [f"{findings.count(kind)} {kind}" for kind in KINDS]
    seeds = len(results["original", "original"])

    def cell(trained_on: str, tested_on: str) -> str:
        values = results[trained_on, tested_on]
        return f"{statistics.mean(values):.2%} ± {float(np.std(values, ddof=1 if seeds > 1 else 0)):.2%}"

    heading = (
        f"{source}; flagged: {', '.join(counts)}; "
        f"one network of preset {recipe}, mean and standard deviation of {seeds} seeds."
    )
    lines = [
        heading,
        "",
        "| trained on | tested on original labels | tested on cleaned labels |",
        "|---|---|---|",
    ]
    for trained_on in ("original", "cleaned"):
        cells = f"{cell(trained_on, 'original')} | {cell(trained_on, 'cleaned')}"
        lines.append(f"| {trained_on} labels | {cells} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the options, search, train and write the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.cleaning", description="The effect of cleaning a data set."
    )
    parser.add_argument("--data", default="digits", help="a data set by name or path")
    parser.add_argument("--name", help="name of the data set in the table")
    parser.add_argument("--recipe", default="modern")
    parser.add_argument("--seeds", type=int, default=3)
    add_page_option(parser)
    options = parser.parse_args(arguments)
    dataset = load_dataset(options.data)
    findings = find_issues(dataset)
    results = compare(dataset, findings, load_recipe(options.recipe), options.seeds)
    table = as_markdown(findings, results, options.recipe, options.name or dataset.source)
    show(table, "cleaning", options.page)


if __name__ == "__main__":
    main()
