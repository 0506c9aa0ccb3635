"""A short run of the web app's load test: the table lands between the markers, and limits are checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from benchmarks import web
from benchmarks.web import exceeded_limits, main
from tests.web.load import LoadTest

if TYPE_CHECKING:
    from pathlib import Path


def test_a_short_run(tmp_path: Path) -> None:
    page = tmp_path / "RESULTS.md"
    page.write_text("before\n<!-- web:start -->\nold\n<!-- web:end -->\nafter\n")
    few = "--visitors 5 --seconds 2 --pause 0.02 --digits 500 --epochs 1"
    main([*few.split(), "--page", str(page)])
    text = page.read_text()
    assert text.startswith("before\n<!-- web:start -->\n| load test | measured |")
    assert text.endswith("<!-- web:end -->\nafter\n")
    assert "old" not in text
    # The speed depends on the machine, so the exit code is tested below.
    assert "| errors | 0 |" in text
    assert " (0, 0) |" in text
    assert "a page of 30 out of 500 pending digits" in text


@pytest.mark.parametrize(
    ("changes", "ids", "page", "expected"),
    [
        ({}, ["a", "b", "c"], 0.04, []),
        ({}, ["a"], 0.04, ["digits lost: 1"]),
        ({}, ["a", "b", "b"], 0.04, ["digits stored twice: 1"]),
        ({"errors": ["/api/predict: 500"]}, ["a", "b"], 0.04, ["errors: 1"]),
        ({"predicted": [0.01] * 9 + [0.2]}, ["a", "b"], 0.04, ["prediction: p95 is 114.5 ms, the limit is 50 ms"]),
        ({"predicted": []}, ["a", "b"], 0.04, ["prediction: p95 is inf ms, the limit is 50 ms"]),
        ({}, ["a", "b"], 0.06, ["page of the queue: p95 is 60.0 ms, the limit is 50 ms"]),
    ],
)
def test_exceeded_limits_are_reported(
    changes: dict[str, list[Any]], ids: list[str], page: float, expected: list[str]
) -> None:
    test = LoadTest(**{"predicted": [0.01] * 10, "acknowledged": {"a", "b"}, **changes})  # type: ignore[arg-type]
    assert exceeded_limits(test, ids, [page] * 10) == expected


@pytest.mark.parametrize("exceeded", [[], ["errors: 1"]])
def test_the_exit_code_is_1_if_a_limit_is_exceeded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], exceeded: list[str]
) -> None:
    monkeypatch.setattr(web, "measure", lambda **_: ([("what", "figure")], exceeded))
    assert main(["--page", "-"]) == len(exceeded)
    assert capsys.readouterr().err == "".join(f"limit exceeded: {message}\n" for message in exceeded)
