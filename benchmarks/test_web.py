"""A short round of the web app's benchmark: its promises hold, and its table lands between the markers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from benchmarks import web
from benchmarks.web import broken, main
from tests.web.load import Load

if TYPE_CHECKING:
    from pathlib import Path


def test_a_short_round(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- web:start -->\nold\n<!-- web:end -->\nafter\n")
    few = "--visitors 5 --seconds 2 --pause 0.02 --digits 500 --epochs 1"
    main([*few.split(), "--readme", str(readme)])
    text = readme.read_text()
    assert text.startswith("before\n<!-- web:start -->\n| what | measured |")
    assert text.endswith("<!-- web:end -->\nafter\n")
    assert "old" not in text
    # Whether it was fast enough depends on the machine: what it exits with is tested below.
    assert "| errors | 0 |" in text
    assert "; 0, 0 |" in text
    assert "a page of 30 out of 500 digits" in text


@pytest.mark.parametrize(
    ("changes", "ids", "page", "expected"),
    [
        ({}, ["a", "b", "c"], 0.04, []),
        ({}, ["a"], 0.04, ["digits lost: 1"]),
        ({}, ["a", "b", "b"], 0.04, ["digits stored twice: 1"]),
        ({"faults": ["/api/predict: 500"]}, ["a", "b"], 0.04, ["errors: 1"]),
        ({"predicted": [0.01] * 9 + [0.2]}, ["a", "b"], 0.04, ["predict: p95 114.5 ms, promised are 50"]),
        ({"predicted": []}, ["a", "b"], 0.04, ["predict: p95 inf ms, promised are 50"]),
        ({}, ["a", "b"], 0.06, ["a page of the queue: p95 60.0 ms, promised are 50"]),
    ],
)
def test_broken_promises_are_told(
    changes: dict[str, list[Any]], ids: list[str], page: float, expected: list[str]
) -> None:
    load = Load(**{"predicted": [0.01] * 10, "acknowledged": {"a", "b"}, **changes})  # type: ignore[arg-type]
    assert broken(load, ids, [page] * 10) == expected


@pytest.mark.parametrize("faults", [[], ["errors: 1"]])
def test_it_exits_with_1_where_a_promise_is_broken(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], faults: list[str]
) -> None:
    monkeypatch.setattr(web, "measure", lambda **_: ([("what", "figure")], faults))
    assert main([]) == len(faults)
    assert capsys.readouterr().err == "".join(f"broken: {fault}\n" for fault in faults)
