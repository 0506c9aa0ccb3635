"""A short load test of the web app: its promises hold, and the table is written between the markers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from benchmarks import web
from benchmarks.web import broken, main
from tests.web.load import Load

if TYPE_CHECKING:
    from pathlib import Path


def test_a_short_round(tmp_path: Path) -> None:
    page = tmp_path / "RESULTS.md"
    page.write_text("before\n<!-- web:start -->\nold\n<!-- web:end -->\nafter\n")
    few = "--visitors 5 --seconds 2 --pause 0.02 --digits 500 --epochs 1"
    main([*few.split(), "--page", str(page)])
    text = page.read_text()
    assert text.startswith("before\n<!-- web:start -->\n| load test | measured |")
    assert text.endswith("<!-- web:end -->\nafter\n")
    assert "old" not in text
    # Whether it is fast enough depends on the machine: the exit code is tested below.
    assert "| errors | 0 |" in text
    assert "; 0; 0 |" in text
    assert "a page of 30 of 500 digits" in text


@pytest.mark.parametrize(
    ("changes", "ids", "page", "expected"),
    [
        ({}, ["a", "b", "c"], 0.04, []),
        ({}, ["a"], 0.04, ["digits lost: 1"]),
        ({}, ["a", "b", "b"], 0.04, ["digits stored twice: 1"]),
        ({"faults": ["/api/predict: 500"]}, ["a", "b"], 0.04, ["errors: 1"]),
        ({"predicted": [0.01] * 9 + [0.2]}, ["a", "b"], 0.04, ["predict: p95 114.5 ms, promised 50"]),
        ({"predicted": []}, ["a", "b"], 0.04, ["predict: p95 inf ms, promised 50"]),
        ({}, ["a", "b"], 0.06, ["a page of the queue: p95 60.0 ms, promised 50"]),
    ],
)
def test_broken_promises_are_named(
    changes: dict[str, list[Any]], ids: list[str], page: float, expected: list[str]
) -> None:
    load = Load(**{"predicted": [0.01] * 10, "acknowledged": {"a", "b"}, **changes})  # type: ignore[arg-type]
    assert broken(load, ids, [page] * 10) == expected


@pytest.mark.parametrize("faults", [[], ["errors: 1"]])
def test_it_exits_with_1_if_a_promise_is_broken(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], faults: list[str]
) -> None:
    monkeypatch.setattr(web, "measure", lambda **_: ([("what", "figure")], faults))
    assert main([]) == len(faults)
    assert capsys.readouterr().err == "".join(f"broken: {fault}\n" for fault in faults)
