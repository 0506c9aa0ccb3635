"""Tables and chart show the figures of the JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest

from benchmarks import report

if TYPE_CHECKING:
    from pathlib import Path


def entry(key: str, name: str, best: float) -> dict[str, Any]:
    return {"key": key, "name": name, "dtype": "float32", "best_us": best, "median_us": 2 * best, "first_use_s": 0.25}


@pytest.fixture
def record() -> dict[str, Any]:
    return {
        "date": "2026-01-31",
        "machine": {"cpu": "a CPU", "python": "3.13.0", "compiler": "gcc 14", "versions": {"numpy": "2.4"}},
        "training": "some digits",
        "skipped": ["JAX: jax is not installed"],
        "groups": {
            "loading": [entry("a", "first", 2e6), entry("b", "second", 500.0)],
            "training": [entry("naive", "slow & <plain>", 40_000.0), entry("fastnn", "fastnn, sparse", 5.0)],
        },
    }


@pytest.mark.parametrize(
    ("microseconds", "text"),
    [
        (0.5, "0.500 µs"),
        (6.284, "6.28 µs"),
        (62.84, "62.8 µs"),
        (999.0, "999 µs"),
        (1500.0, "1.50 ms"),
        (2e6, "2.00 s"),
    ],
)
def test_durations_have_three_digits(microseconds: float, text: str) -> None:
    assert report.duration(microseconds) == text


def test_training_comes_first_and_fastest_first(record: dict[str, Any]) -> None:
    (_, header, training), (title, _, loading) = report.titled(record)
    assert training == [
        ("fastnn, sparse", "float32", "5.00 µs", "10.0 µs", "200,000", "8,000", "1.00", "0.2 s"),
        ("slow & <plain>", "float32", "40.0 ms", "80.0 ms", "25", "1.00", "8,000", "0.2 s"),
    ]
    assert len(header) == len(training[0])
    assert title == "Loading"
    assert loading == [("first", "2.00 s", "4.00 s", "1.00"), ("second", "500 µs", "1.00 ms", "0.000250")]


def test_bars_of_the_chart_grow_with_the_logarithm_of_speed(record: dict[str, Any]) -> None:
    root = ET.fromstring(report.chart(record))  # noqa: S314 -- made a line above
    bars = [e for e in root.iter() if e.tag.endswith("rect")]
    ours, naive = (float(bar.attrib["width"]) for bar in bars)
    assert [bar.attrib["class"] for bar in bars] == ["ours", "bar"]
    # 200,000 and 25 digits/s on an axis from 10 to 1,000,000.
    assert ours / naive == pytest.approx(4.30103 / 0.39794, rel=1e-2)
    assert any(e.text == "slow & <plain>" for e in root.iter())


def test_main_replaces_the_tables_between_the_markers(record: dict[str, Any], tmp_path: Path) -> None:
    results, page, drawing = tmp_path / "r.json", tmp_path / "RESULTS.md", tmp_path / "c.svg"
    results.write_text(json.dumps(record))
    page.write_text("before\n<!-- benchmarks:start -->\nold\n<!-- benchmarks:end -->\nafter\n")
    arguments = [str(results), "--page", str(page), "--chart", str(drawing)]
    assert report.main(arguments) == 0
    once = page.read_text()
    assert once.startswith("before\n")
    assert once.endswith("after\n")
    assert "old" not in once
    assert "| **fastnn, sparse** | **float32** |" in once
    assert report.main(arguments) == 0
    assert page.read_text() == once
    assert drawing.read_text().startswith("<svg")


def test_main_names_a_file_that_has_no_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results, page = tmp_path / "r.json", tmp_path / "RESULTS.md"
    results.write_text("{}")
    page.write_text("as before")
    assert report.main([str(results), "--page", str(page), "--chart", str(tmp_path / "c.svg")]) == 2
    assert str(results) in capsys.readouterr().err
    assert page.read_text() == "as before"
