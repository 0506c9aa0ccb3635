"""Every row of the ladder is a recipe that trains, and the table is written between the markers."""

from __future__ import annotations

from benchmarks.ladder import RUNGS, Rung, as_markdown, climb
from benchmarks.page import insert
from fastnn.recipe import Recipe
from tests.helpers import blobs


def test_every_rung_trains() -> None:
    rungs = climb(blobs(60), seeds=1, epochs=2)
    assert [rung.name for rung in rungs] == [name for name, _ in RUNGS]
    assert all(0 <= rung.accuracies[0] <= 1 and rung.seconds > 0 for rung in rungs)


def test_the_first_rung_is_the_original_and_each_changes_something() -> None:
    recipe = Recipe()
    assert RUNGS[0][1] == {}
    for _, changes in RUNGS[1:]:
        assert recipe.replace(**changes) != recipe
        recipe = recipe.replace(**changes)


def test_the_table_replaces_the_old_one() -> None:
    table = as_markdown([Rung("one", (0.5, 0.7), 1.25)], "digits", 3)
    assert "| one | 60.00% ± 14.14% | 40.00% | 1.2 |" in table
    once = insert("# Title\n\ntext\n", table, "ladder")
    assert once.startswith("# Title\n\ntext\n")
    assert once.count("<!-- ladder:start -->") == once.count("<!-- ladder:end -->") == 1
    assert insert(once, table, "ladder") == once
    assert "tail" in insert(once + "tail\n", "other", "ladder")
    assert "| one |" not in insert(once, "other", "ladder")
