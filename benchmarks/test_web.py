"""A short run of the web app's benchmark: tables land between their markers, and limits are checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from benchmarks import web
from benchmarks.web import main
from benchmarks.web_figures import Measured, NotMeasurableError, too_slow
from benchmarks.web_load import faults
from benchmarks.web_pupils import PAGES, compare_with_pages, files_of
from tests.web.load import LoadTest
from tests.web.servers import servers

if TYPE_CHECKING:
    from pathlib import Path

FEW = "--visitors 5 --seconds 2 --pause 0.02 --digits 500 --pupils 3 --pupil-seconds 2 --epochs 1"


def test_a_short_run(tmp_path: Path) -> None:
    page = tmp_path / "RESULTS.md"
    page.write_text("before\n<!-- web-visitors:start -->\nold\n<!-- web-visitors:end -->\nafter\n")
    parts = "visitors pupils database sqlite"
    main([*FEW.split(), "--page", str(page), "--only", *parts.split()])
    text = page.read_text()
    assert text.startswith("before\n<!-- web-visitors:start -->\n| what | measured |")
    assert "<!-- web-visitors:end -->\nafter\n" in text
    assert "old" not in text
    # The speed depends on the machine, so the exit code is tested below.
    assert "| errors | 0 |" in text
    assert " (0, 0) |" in text
    assert "a page of 30 out of 500 pending digits" in text
    assert "| refused (429), other errors | 0, 0 |" in text
    assert "SQLite: a grid of 100 of one label out of 500 pending digits" in text


def test_a_short_run_of_the_pages(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--epochs", "1", "--rounds", "1", "--page", "-", "--only", "load", "learn"])
    text = capsys.readouterr()
    if "skipped" in text.err:
        pytest.skip(text.err)
    assert "| first load of Recognise until the page is usable" in text.out
    assert "Fast 4G" in text.out
    assert text.out.count(" digits/s in the page, ") == 4
    assert "differs from the reference" not in text.err


def test_the_pupils_are_compared_with_the_pages(tmp_path: Path) -> None:
    model = web.train(tmp_path, 1)
    with servers(tmp_path, model) as start:
        files = {page: files_of(start("--no-access-log").url, page) for page in PAGES}
    (tmp_path / "pages").mkdir()
    for paths in files.values():
        paths.remove("static/drawing.js")
    try:
        found = compare_with_pages(tmp_path / "pages", model, files)
    except NotMeasurableError as error:
        pytest.skip(str(error))
    assert found == [f"{name} asks for /static/drawing.js, the pupils do not" for name in ("Recognise", "Contribute")]


def test_a_part_that_cannot_be_measured_is_named_and_its_table_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(*_: object, **__: object) -> Measured:
        raise NotMeasurableError("there is no browser")

    monkeypatch.setattr(web, "first_load", missing)
    monkeypatch.setattr(web, "train", lambda folder, _: folder)
    page = tmp_path / "RESULTS.md"
    page.write_text("<!-- web-load:start -->\nold\n<!-- web-load:end -->\n")
    assert main(["--only", "load", "--page", str(page)]) == 0
    assert "old" in page.read_text()
    assert capsys.readouterr().err == "skipped: load: there is no browser\n"


@pytest.mark.parametrize(
    ("changes", "ids", "expected"),
    [
        ({}, ["a", "b", "c"], []),
        ({}, ["a"], ["digits lost: 1"]),
        ({}, ["a", "b", "b"], ["digits stored twice: 1"]),
        ({"errors": ["/api/predict: 500"]}, ["a", "b"], ["errors: 1"]),
    ],
)
def test_faults_are_reported(changes: dict[str, list[Any]], ids: list[str], expected: list[str]) -> None:
    test = LoadTest(**{"acknowledged": {"a", "b"}, **changes})  # type: ignore[arg-type]
    assert faults(test, ids) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ([0.04] * 10, []),
        ([0.01] * 9 + [0.2], ["prediction: p95 is 114.5 ms, the limit is 50 ms"]),
        ([], ["prediction: p95 is inf ms, the limit is 50 ms"]),
    ],
)
def test_slow_answers_are_reported(seconds: list[float], expected: list[str]) -> None:
    assert too_slow("prediction", seconds, 0.05) == expected


@pytest.mark.parametrize("exceeded", [[], ["errors: 1"]])
def test_the_exit_code_is_1_if_a_limit_is_exceeded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], exceeded: list[str]
) -> None:
    monkeypatch.setattr(web, "visitors", lambda *_, **__: Measured([("what", "figure")], exceeded))
    monkeypatch.setattr(web, "train", lambda folder, _: folder)
    assert main(["--only", "visitors", "--page", "-"]) == len(exceeded)
    assert capsys.readouterr().err == "".join(f"limit exceeded: {message}\n" for message in exceeded)
