from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from fastnn.errors import RecipeError
from fastnn.sweep.space import Choices, Range, load_space

if TYPE_CHECKING:
    from pathlib import Path

EVERYTHING = """
base = "mnist"
epochs = 3
[hidden]
layers = [1, 3]
units = {low = 8, high = 64, log = true}
[lr]
low = 0.001
high = 0.1
log = true
[rotation]
low = 0
high = 15
[label_smoothing]
low = 0
high = 0.2
step = 0.05
[schedule]
choices = ["cosine", "constant"]
[ensemble]
low = 1
high = 2
"""


@pytest.fixture
def space(tmp_path: Path) -> Path:
    path = tmp_path / "s.toml"
    path.write_text(EVERYTHING)
    return path


def test_a_space_gives_recipes(space: Path) -> None:
    found = load_space(space)
    assert (found.name, found.base.epochs, found.base.rule) == ("s", 3, "backprop")
    assert list(found.parameters)[:4] == ["layers", "units_1", "units_2", "units_3"]
    low, high = (found.recipe(found.point([at] * len(found.parameters))) for at in (0.0, 1 - 1e-12))
    assert (low.hidden, high.hidden) == ((8,), (64, 64, 64))
    assert (low.lr, low.schedule, low.ensemble) == (pytest.approx(0.001), "cosine", 1)
    assert (high.lr, high.schedule, high.ensemble) == (pytest.approx(0.1), "constant", 2)
    assert (high.rotation, high.label_smoothing) == (pytest.approx(15), 0.2)
    assert found.recipe(found.point([0.7] * len(found.parameters))).label_smoothing == 0.15
    assert low.epochs == 3


def test_choices_of_layers_and_a_base_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text('base = "table"\nlr = 0.5\n')
    path = tmp_path / "s.toml"
    path.write_text('base = "own.toml"\nname = "other"\n[hidden]\nchoices = [[], [20], [200, 40]]\n')
    found = load_space(path)
    assert [found.recipe({"hidden": one}).hidden for one in ("", "20", "200, 40")] == [(), (20,), (200, 40)]
    assert (found.base.lr, found.name) == (0.5, "other")
    assert found.grid_size == 3
    assert {found.recipe(found.grid_point(k)).hidden for k in range(3)} == {(), (20,), (200, 40)}


def test_positions_are_spread_evenly_over_values() -> None:
    steps = Counter(Range(low=1, high=4).at(k / 400) for k in range(400))
    assert set(steps.values()) == {100}
    chosen = Counter(Choices(choices=("a", "b")).at(k / 10) for k in range(10))
    assert chosen == {"a": 5, "b": 5}
    log = [Range(low=1, high=100, log=True).at(k / 1000) for k in range(1000)]
    assert abs(sum(value < 10 for value in log) / 1000 - math.log(9.5 / 0.5) / math.log(100.5 / 0.5)) < 0.01


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("lrr = 1", "unknown key 'lrr'; did you mean lr"),
        ("[lr]\nlow = 1\nhi = 2", "lr: unknown key 'hi'; did you mean high"),
        ("[hidden]\nlayers = [1, 2]\nunit = {}", "did you mean units"),
        ("[hidden]\nlayers = [3, 1]\nunits = {low = 1, high = 2}", "give layers, such as"),
        ("[hidden]\nlayers = 1.5\nunits = {low = 1, high = 2}", "give layers, such as"),
        ("[hidden]\nlow = 1\nhigh = 2", "hidden must be a list"),
        ("[lr]\nlow = 1", "missing required field high"),
        ("[lr]\nlow = 2\nhigh = 1", "low must be at most high"),
        ("[lr]\nlow = nan\nhigh = 1", "low must be at most high"),
        ("[lr]\nlow = 0\nhigh = 1", "lr must be a number above 0"),
        ("[lr]\nlow = 0.1\nhigh = 1\nstep = 0", "step must be above 0"),
        ("[lr]\nlow = 0.1\nhigh = 1\nstep = 0.4", r"do not reach high; give high = 0\.9"),
        ("[rotation]\nlow = 0\nhigh = 1\nlog = true", "needs a low above 0"),
        ("[lr]\nlow = -1e308\nhigh = 1e308\nstep = 1e-300", "within 1e"),
        (f"[lr]\nlow = 1\nhigh = {10**400}", "within 1e"),
        ("[lr]\nlow = 0.1\nhigh = 1\nstep = 1e-300", "too many steps"),
        ("[epochs]\nlow = 1.5\nhigh = 3", "epochs must be a whole number"),
        ("[epochs]\nchoices = []", "length"),
        ("[epochs]\nchoices = [1, 1]", "given twice"),
        ('[schedule]\nchoices = ["cosine", "cosin"]', "schedule must be one of"),
        ("[seed]\nlow = 1\nhigh = 2", "seed must be the same for all trials"),
        ("lr = 0.1", "nothing is searched"),
        ("lr = -1\n[alpha]\nlow = 0\nhigh = 1", "lr must be a number above 0"),
        ('base = "modren"\n[lr]\nlow = 1\nhigh = 2', "no such base 'modren'"),
        ("base = 3\n[lr]\nlow = 1\nhigh = 2", "base must be the name"),
        ("a = [", "not valid TOML"),
    ],
)
def test_what_is_wrong_in_a_space_is_named(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=words) as caught:
        load_space(path)
    assert "\n" not in str(caught.value)


def test_values_that_exclude_each_other_are_an_error_of_the_trial(tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    path.write_text('base = "mnist"\n[rule]\nchoices = ["original", "backprop"]\n')
    with pytest.raises(RecipeError, match=r"s\.toml: rule original allows only sigmoid"):
        load_space(path).recipe({"rule": "original"})
