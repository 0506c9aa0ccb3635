"""Accuracy and training time of the presets: ``python -m benchmarks.presets --digits dataset.json --mnist FOLDER``.

Each run is a whole command, ``fastnn train --recipe ... --data ...``, timed from its start to its end; ensembles may
use all cores, the others one.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.environment import machine
from benchmarks.page import add_page_option, show
from fastnn.recipe import presets

if TYPE_CHECKING:
    from collections.abc import Sequence

GOAL = 0.99


class Result(NamedTuple):
    """One run: test accuracy, seconds of the whole command, seconds to a test accuracy of 99 % or None."""

    accuracy: float
    seconds: float
    to_goal: float | None


def run(preset: str, data: str, seed: int, *, one_core: bool) -> Result:
    """Train with the command line."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        command = [sys.executable, "-m", "fastnn", "train", "--recipe", preset, "--data", data, "--seed", str(seed)]
        cores = os.sched_getaffinity(0)
        start = time.perf_counter()
        if one_core:
            os.sched_setaffinity(0, {min(cores)})
        try:
            done = subprocess.run(
                [*command, "--out", str(out), "--json", "--quiet"], check=True, capture_output=True, text=True
            )
        finally:
            os.sched_setaffinity(0, cores)
        seconds = time.perf_counter() - start
        history = out / "history.csv"
        epochs = list(csv.DictReader(history.open())) if history.is_file() else []
        result = json.loads(done.stdout)
    # The history of several networks is their mean, which has no times.
    goal = to_goal(epochs, seconds) if result["networks"] == 1 else None
    return Result(result["test_accuracy"], seconds, goal)


def to_goal(epochs: Sequence[dict[str, str]], whole: float) -> float | None:
    """Return the seconds to the goal, start-up included; None if no epoch reaches it."""
    each = [float(row["seconds"]) + float(row["test_seconds"]) for row in epochs]
    for number, row in enumerate(epochs):
        if float(row["test_accuracy"]) >= GOAL:
            return whole - sum(each[number + 1 :])
    return None


def as_markdown(results: dict[tuple[str, str], list[Result]], machine_name: str) -> str:
    """Return the table."""
    lines = [
        "| preset | data | mean test accuracy | each seed | whole command, fastest | time to 99 % |",
        "|---|---|---|---|---|---|",
    ]
    for (preset, data), runs in sorted(results.items(), key=lambda item: list(presets).index(item[0][0])):
        accuracies = [result.accuracy for result in runs]
        goals = [result.to_goal for result in runs if result.to_goal is not None]
        lines.append(
            f"| `{preset}` | {data} | {statistics.mean(accuracies):.2%} "
            f"| {', '.join(f'{accuracy:.2%}' for accuracy in accuracies)} "
            f"| {min(result.seconds for result in runs):.1f} s "
            f"| {f'{min(goals):.1f} s' if len(goals) == len(runs) else '-'} |"
        )
    return "\n".join([*lines, "", f"Measured {time.strftime('%Y-%m-%d', time.gmtime())} on {machine_name}."])


def read_results(path: Path | None) -> dict[tuple[str, str], list[Result]]:
    """Return the results of a file that :func:`write_results` wrote; none if there is no such file."""
    if path is None or not path.is_file():
        return {}
    lines = json.loads(path.read_text(encoding="utf-8"))
    return {(preset, data): [Result(*run) for run in runs] for preset, data, runs in lines}


def write_results(path: Path | None, results: dict[tuple[str, str], list[Result]]) -> None:
    """Write all results to a file after each run: `best` alone takes an hour."""
    if path is not None:
        path.write_text(json.dumps([[*key, runs] for key, runs in results.items()]), encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the options, train and write the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.presets", description="Accuracy and training time of the presets."
    )
    parser.add_argument("--digits", default="digits", help="the digits of the web page, by name or path")
    parser.add_argument("--mnist", default="mnist", help="MNIST, by name or path")
    parser.add_argument("--presets", default="original,modern,mnist,best")
    parser.add_argument(
        "--seeds", type=int, default=3, help="runs of each preset; `best` always has three, which take an hour"
    )
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--results", type=Path, help="JSON file to add to; the table shows all of its results")
    add_page_option(parser)
    options = parser.parse_args(arguments)
    results: dict[tuple[str, str], list[Result]] = read_results(options.results)
    for preset in options.presets.split(","):
        on_mnist = preset in ("mnist", "best")
        data, name = (options.mnist, "MNIST") if on_mnist else (options.digits, "digits")
        # The networks of an ensemble have consecutive seeds, and no two runs should share one.
        step, count = presets[preset].ensemble, 3 if preset == "best" else options.seeds
        for seed in range(options.first_seed, options.first_seed + count * step, step):
            result = run(preset, data, seed, one_core=presets[preset].ensemble == 1)
            results.setdefault((preset, name), []).append(result)
            write_results(options.results, results)
            print(f"{preset}, seed {seed}: {result.accuracy:.2%} in {result.seconds:.1f} s", flush=True)
    about = machine()
    show(as_markdown(results, f"one core of {about['cpu']}, ensembles on {os.cpu_count()}"), "presets", options.page)


if __name__ == "__main__":
    main()
