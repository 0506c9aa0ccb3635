"""A short round of the web app's benchmark: its promises hold, and its table lands between the markers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.web import main

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
    assert "| errors | 0 |" in text
    assert "; 0, 0 |" in text
    assert "a page of 30 out of 500 digits" in text
