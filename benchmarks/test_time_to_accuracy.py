"""Every contender that is installed trains, and table and chart show when it reaches an accuracy."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree as ET

import pytest

from benchmarks import time_to_accuracy
from benchmarks.contender import CONTENDERS


def epochs(*reached: tuple[float, float]) -> list[dict[str, float]]:
    return [{"epoch": 1, "accuracy": accuracy, "cpu": cpu, "wall": cpu + 1} for accuracy, cpu in reached]


@pytest.fixture
def results() -> dict[str, Any]:
    versions = dict.fromkeys(("numpy", "numba", "torch", "jax", "scikit-learn"), "1.0")
    return {
        "date": "2026-01-31",
        "machine": {"cpu": "a CPU", "python": "3.13.0", "versions": versions},
        "skipped": [],
        "runs": {
            "torch-cnn-2": [epochs((0.985, 10.0), (0.991, 20.0)), epochs((0.985, 12.0), (0.989, 22.0))],
            "fastnn-7": [epochs((0.975, 1.0), (0.9905, 4.0)), epochs((0.975, 2.0), (0.991, 6.0))],
            "sklearn-mlp": [epochs((0.96, 5.0))],
        },
    }


def test_every_contender_trains(capsys: pytest.CaptureFixture[str]) -> None:
    """One epoch on a few built-in digits; writes nothing."""
    time_to_accuracy.main(["--quick", "--seeds", "1"])
    table = capsys.readouterr().out
    homes = {contender.home: contender for contender in reversed(CONTENDERS)}
    assert len(homes) > 1
    for contender in homes.values():
        assert contender.missing() or contender.name in table


def test_an_accuracy_counts_from_the_end_of_the_epoch_that_reaches_it(results: dict[str, Any]) -> None:
    table = time_to_accuracy.as_markdown(results)
    assert "| **fastnn, 7 epochs** | 1.5 (2.5) | 5.0 (6.0) | 5.0 (6.0) | - | 99.05 to 99.10 % | 5.0 |" in table
    assert "| 11.0 (12.0) | 11.0 (12.0) | 20.0 (21.0), 1 of 2 seeds | - | 98.90 to 99.10 % | 21.0 |" in table


def test_the_quickest_to_99_percent_comes_first(results: dict[str, Any]) -> None:
    keys = [contender.key for contender, _ in time_to_accuracy.ordered(results)]
    assert keys == ["fastnn-7", "torch-cnn-2", "sklearn-mlp"]


def test_the_chart_has_a_dot_for_each_accuracy_that_most_seeds_reach(results: dict[str, Any]) -> None:
    root = ET.fromstring(time_to_accuracy.chart(results))  # noqa: S314 -- made a line above
    dots = [element for element in root.iter() if element.tag.endswith("circle")]
    legend = len(time_to_accuracy.GOALS)
    assert [dot.attrib["class"] for dot in dots[legend:]] == ["goal-0", "goal-1", "goal-2", "goal-0", "goal-1"]
    fast, slow = (float(dots[legend + i].attrib["cx"]) for i in (0, 3))
    assert fast < slow


def test_an_unknown_contender_is_named() -> None:
    with pytest.raises(SystemExit, match="no such contender: abacus"):
        time_to_accuracy.main(["--only", "abacus,fastnn-7"])
