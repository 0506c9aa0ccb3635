"""What cleaning a data set changes, as a table in the README: ``python -m benchmarks.cleaning --data FILE``.

The whole set is searched as ``fastnn data clean`` does it, and mended as its list proposes. Then networks learn the
same digits as they are and mended, and each is tested on digits as they are and mended.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.readme import show
from fastnn.datasets import load_dataset
from fastnn.datasets.split import Split
from fastnn.evaluation.metrics import evaluate
from fastnn.label_issues import KINDS, find_issues
from fastnn.recipe import load_recipe
from fastnn.training import as_model, train

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastnn.datasets import Dataset
    from fastnn.label_issues import Findings
    from fastnn.recipe import Recipe


def mended(dataset: Dataset, findings: Findings) -> tuple[Dataset, Any]:
    """Return the data set with the labels that were suggested, and which images are kept, shape (n,)."""
    labels, keep = dataset.labels.copy(), np.ones(len(dataset), dtype=bool)
    for issue in findings.issues:
        if issue.suggested:
            labels[issue.index] = dataset.classes.index(issue.suggested)
        else:
            keep[issue.index] = False
    return replace(dataset, labels=labels), keep


def compare(dataset: Dataset, findings: Findings, recipe: Recipe, seeds: int) -> dict[tuple[str, str], list[float]]:
    """Return the test accuracies, one a seed, for each pair of "raw" or "mended" training and test digits."""
    clean, keep = mended(dataset, findings)
    results: dict[tuple[str, str], list[float]] = {}
    for seed in range(seeds):
        tested = Split(fraction=recipe.test_fraction, seed=seed).test_mask(dataset)
        own = recipe.replace(seed=seed)
        tests = {"raw": dataset.take(np.flatnonzero(tested)), "mended": clean.take(np.flatnonzero(tested & keep))}
        trains = {"raw": dataset.take(np.flatnonzero(~tested)), "mended": clean.take(np.flatnonzero(~tested & keep))}
        for learnt, part in trains.items():
            network = own.network(part.images.shape[1], len(part.classes))
            for _ in train(network, part, own):
                pass
            for asked, test in tests.items():
                accuracy = evaluate(as_model(network, part, own), test).accuracy
                results.setdefault((learnt, asked), []).append(accuracy)
    return results


def as_markdown(findings: Findings, results: dict[tuple[str, str], list[float]], recipe: str, source: str) -> str:
    """Return the table."""
    counts = [f"{findings.count(kind)} {kind}" for kind in KINDS]
    seeds = len(results["raw", "raw"])

    def cell(learnt: str, asked: str) -> str:
        values = results[learnt, asked]
        return f"{statistics.mean(values):.2%} ± {float(np.std(values, ddof=1 if seeds > 1 else 0)):.2%}"

    heading = (
        f"{source}, of which the search flags {', '.join(counts)}; "
        f"one network of preset {recipe}, mean of {seeds} seeds, and their standard deviation."
    )
    lines = [
        heading,
        "",
        "| learnt | tested on the digits as they are | tested on the mended digits |",
        "|---|---|---|",
    ]
    for learnt, name in (("raw", "the digits as they are"), ("mended", "the mended digits")):
        lines.append(f"| {name} | {cell(learnt, 'raw')} | {cell(learnt, 'mended')} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the options, search, train and write."""
    parser = argparse.ArgumentParser(description="What cleaning a data set changes.")
    parser.add_argument("--data", default="digits", help="a data set by name or path")
    parser.add_argument("--name", help="what the table calls it")
    parser.add_argument("--recipe", default="modern")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--readme", type=Path, help="file to write the table into; printed without")
    options = parser.parse_args(arguments)
    dataset = load_dataset(options.data)
    findings = find_issues(dataset)
    results = compare(dataset, findings, load_recipe(options.recipe), options.seeds)
    table = as_markdown(findings, results, options.recipe, options.name or dataset.source)
    show(table, "cleaning", options.readme)


if __name__ == "__main__":
    main()
