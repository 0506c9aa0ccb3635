"""Time to read 13,942 digits from the original's JSON file (41 MB of numbers)."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from benchmarks.problem import SAMPLES, make_problem
from benchmarks.race import Candidate, Timing, race, side_by_side
from benchmarks.thresholds import LOADING_AT_LEAST

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.conftest import Effort, Results

DIGITS = 13_942


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the benchmark's digits, some twice, in the original's format."""
    problem = make_problem()
    rows = np.arange(DIGITS) % SAMPLES
    path = tmp_path_factory.mktemp("loading") / "dataset.json"
    records = [
        {"image": image, "label": label}
        for image, label in zip(problem.images[rows].tolist(), problem.labels[rows].tolist(), strict=True)
    ]
    path.write_text(json.dumps(records, separators=(",", ":")))
    return path


def by_json(path: Path) -> tuple[np.ndarray, np.ndarray]:
    with path.open() as stream:
        records = json.load(stream)
    images = np.array([record["image"] for record in records], dtype=np.uint8)
    return images, np.array([record["label"] for record in records])


@pytest.fixture(scope="module")
def ways(file: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Three ways to read the file; both of fastnn's leave the data in a cache of their own."""
    from fastnn.datasets import load_dataset

    cache = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FASTNN_CACHE_DIR", str(cache))

        def first(_: int) -> object:
            shutil.rmtree(cache, ignore_errors=True)
            return load_dataset(file)

        yield [
            Candidate("fastnn-cached", "fastnn, load_dataset again", lambda _: load_dataset(file)),
            Candidate("fastnn", "fastnn, load_dataset the first time", first),
            Candidate("json", "json and NumPy", lambda _: by_json(file)),
        ]


@pytest.fixture(scope="module")
def timings(ways: list[Candidate], effort: Effort, results: Results) -> dict[str, Timing]:
    measured = race(ways, rounds=min(3, effort.rounds), seconds=0)
    results.add("loading 13,942 digits from the original's JSON", measured)
    return {timing.key: timing for timing in measured}


def test_both_read_the_same(file: Path) -> None:
    from fastnn.datasets import load_dataset

    dataset, (images, labels) = load_dataset(file), by_json(file)
    assert np.array_equal(dataset.images, images)
    assert np.array_equal(dataset.labels, labels)


@pytest.mark.benchmark(group="loading")
@pytest.mark.parametrize("index", range(3), ids=["cached", "first", "json"])
def test_loading(index: int, ways: list[Candidate], timings: dict[str, Timing], benchmark: Any) -> None:
    timing = timings[ways[index].key]
    benchmark.extra_info.update(timing.record())
    benchmark.pedantic(ways[index].run, args=(1,), rounds=1)


def test_reading_is_faster_than_json(timings: dict[str, Timing], effort: Effort) -> None:
    if effort.quick:
        pytest.skip("--quick measures too shortly to assert ratios")
    assert side_by_side(timings["json"], timings["fastnn"]) >= LOADING_AT_LEAST
