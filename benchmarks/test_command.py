"""The whole command on as many digits as the original has, and how much of its time is training."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.problem import REAL_DIGITS
from benchmarks.race import Timing
from benchmarks.thresholds import COMMAND_SHARE_AT_LEAST
from fastnn.datasets import load_dataset, per_class

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.conftest import Effort, Results

EACH = 1394
"""Digits of each class; the original has 13,942 in total."""


def run(data: Path | str, place: Path, epochs: int, **environment: str) -> tuple[float, float]:
    """Return the seconds of the command, and those of the training and the tests in it."""
    out = place / f"run-{time.monotonic_ns()}"
    command = [sys.executable, "-m", "fastnn", "train", "--data", str(data), "--epochs", str(epochs), "--out", str(out)]
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, **environment})
    seconds = time.perf_counter() - start
    with (out / "history.csv").open() as file:
        return seconds, sum(float(row["seconds"]) + float(row["test_seconds"]) for row in csv.DictReader(file))


def empty_caches(folder: Path) -> dict[str, str]:
    return {"NUMBA_CACHE_DIR": str(folder / "numba"), "FASTNN_CACHE_DIR": str(folder / "cache")}


@pytest.mark.benchmark(group="whole command")
def test_most_of_the_time_is_training(tmp_path: Path, effort: Effort, results: Results, benchmark: Any) -> None:
    dataset = per_class(load_dataset(REAL_DIGITS if REAL_DIGITS.is_file() else "drawn"), EACH, seed=0)
    data = tmp_path / "dataset.json"
    rows = zip(dataset.images.tolist(), dataset.labels.tolist(), strict=True)
    data.write_text(json.dumps([{"image": image, "label": label} for image, label in rows]))
    epochs, times = (2, 1) if effort.quick else (60, 2)
    caches = empty_caches(tmp_path / "drawn")
    drawing, drawn = (run("drawn", tmp_path, 1, **caches)[0] for _ in range(2))
    first, following = [], []
    for number in range(times):
        folder = tmp_path / str(number)
        caches = empty_caches(folder)
        first.append(run(data, tmp_path, 1, **caches)[0])
        following.append(run(data, tmp_path, 1, **caches)[0])
    warm = [run(data, tmp_path, epochs, **caches) for _ in range(times)]
    share = max(kernels / seconds for seconds, kernels in warm)
    results.add(
        f"fastnn train --epochs {epochs}, the whole command on {len(dataset):,} digits",
        [
            Timing("fastnn-command", "fastnn, the whole command", "", 1, [seconds for seconds, _ in warm]),
            Timing("fastnn-kernels", "fastnn, training and tests in it", "", 1, [kernels for _, kernels in warm]),
            Timing("fastnn-one", "fastnn, one epoch", "", 1, following),
            Timing("fastnn-first", "fastnn, one epoch, from empty caches", "", 1, first),
            Timing("fastnn-drawn", "fastnn, one epoch on the built-in digits", "", 1, [drawn]),
            Timing(
                "fastnn-drawing",
                "fastnn, one epoch on the built-in digits, from empty caches, drawn first",
                "",
                1,
                [drawing],
            ),
        ],
    )
    benchmark.extra_info.update(share=share)
    benchmark.pedantic(lambda: None, rounds=1)
    if not effort.quick:
        assert share >= COMMAND_SHARE_AT_LEAST
