"""Recipes: ranges of values, learning rates, reading and writing TOML."""

from __future__ import annotations

import errno
import hashlib
import itertools
import math
import os
import pickle
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

import fastnn
from fastnn import Network, Recipe
from fastnn.errors import RecipeError
from fastnn.recipe import MAX_HIDDEN, load_recipe, presets

OTHER = Recipe(
    name='a "quoted" näme',
    hidden=(7, 5, 3),
    rule="backprop",
    activation="tanh",
    init="xavier",
    invert=True,
    epochs=12,
    lr=1e-05,
    schedule="cosine",
    lr_decay=0.25,
    lr_every=2,
    label_smoothing=0.1,
    seed=(1 << 63) - 1,
    shuffle="blocks",
    test_fraction=0.25,
    per_class=30,
    dtype="float64",
    first_layer="dense",
    normalise=True,
    rotation=12.5,
    scale=0.1,
    shear=0.2,
    shift=1.5,
    elastic_alpha=1.25,
    elastic_sigma=5.0,
    averaging="tail",
    averaging_epochs=3,
    ensemble=4,
    validation_fraction=0.1,
    patience=7,
    balance=True,
    class_weight=(1.0, 0.5),
)


def test_the_default_is_the_originals_recipe() -> None:
    recipe = load_recipe("original")
    assert recipe == Recipe() == presets["original"]
    assert (recipe.hidden, recipe.rule, recipe.init, recipe.epochs) == ((200, 40), "original", "uniform", 60)
    assert (recipe.lr, recipe.lr_decay, recipe.lr_every, recipe.dtype) == (0.01, 0.5, 5, "float32")


def test_step_schedule_halves_every_five_epochs() -> None:
    recipe = Recipe()
    rates = [recipe.lr_at(epoch) for epoch in range(1, 61)]
    assert rates[:6] == [0.01] * 5 + [0.005]
    assert rates[-1] == 0.01 * 0.5**11
    assert Recipe(lr_every=1, lr_decay=0.1).lr_at(3) == pytest.approx(1e-4)


def test_constant_and_cosine_schedules() -> None:
    assert {Recipe(schedule="constant").lr_at(epoch) for epoch in (1, 7, 60)} == {0.01}
    recipe = Recipe(schedule="cosine", lr=2.0, epochs=4)
    expected = [2.0, 1 + math.sqrt(0.5), 1.0, 1 - math.sqrt(0.5)]
    assert [recipe.lr_at(epoch) for epoch in range(1, 5)] == pytest.approx(expected)


@pytest.mark.parametrize("recipe", [Recipe(), OTHER, Recipe(hidden=()), Recipe(lr=1)], ids=lambda r: r.name)
def test_recipes_round_trip_through_toml_and_dicts(recipe: Recipe, tmp_path: Path) -> None:
    file = tmp_path / "any.toml"
    file.write_text(recipe.to_toml(), encoding="utf-8")
    assert load_recipe(file) == recipe
    assert Recipe.from_dict(recipe.as_dict()) == recipe


def test_a_file_may_omit_keys(tmp_path: Path) -> None:
    file = tmp_path / "small.toml"
    file.write_text('base = "original"\nhidden = [16]\nlr = 0.5\n')
    assert load_recipe(str(file)) == Recipe(name="small", hidden=(16,), lr=0.5)


def test_replace_changes_and_checks_the_given_fields() -> None:
    assert Recipe().replace(epochs=3, hidden=None, lr=None) == Recipe(epochs=3)
    assert Recipe().replace(hidden=()) == Recipe(hidden=())
    with pytest.raises(RecipeError, match="epochs"):
        Recipe().replace(epochs=0)


def test_a_recipe_makes_its_network() -> None:
    network = Recipe(hidden=(7,), rule="backprop", activation="relu", init="he", seed=4, dtype="float64").network(20, 3)
    expected = Network((20, 7, 3), rule="backprop", activation="relu", dtype="float64").initialise("he", 4)
    assert repr(network) == repr(expected)
    assert network.sha256() == expected.sha256()


def test_values_are_converted_to_the_types_of_their_fields() -> None:
    recipe = Recipe(hidden=[7, 5], lr=np.float64(0.5), shift=1, class_weight=[1, 2.5])  # type: ignore[arg-type]
    assert recipe == Recipe(hidden=(7, 5), lr=0.5, shift=1.0, class_weight=(1.0, 2.5))
    assert (type(recipe.hidden), type(recipe.lr), type(recipe.shift)) == (tuple, float, float)
    assert pickle.loads(pickle.dumps(OTHER)) == OTHER  # noqa: S301 - made here
    with pytest.raises(AttributeError):
        recipe.epochs = 3  # type: ignore[misc]


def test_keys_and_values_of_the_first_version_are_still_read(tmp_path: Path) -> None:
    file = tmp_path / "old.toml"
    file.write_text('base = "modern"\nrule = "toy"\nactivation = "sigmoid"\ninputs = "paper"\nkernel = "ink"\n')
    file.write_text(file.read_text() + "label_smoothing = 0\n")
    recipe = load_recipe(file)
    assert (recipe.rule, recipe.invert, recipe.first_layer) == ("original", False, "sparse")
    assert Recipe.from_dict({"inputs": "ink", "kernel": "dense"}) == Recipe(invert=True, first_layer="dense")
    with pytest.raises(RecipeError, match="first_layer must be one of auto, sparse, dense, not 'fast'"):
        Recipe.from_dict({"kernel": "fast"})


PRESETS = {
    "original": "829c664196b2d124",
    "modern": "888842b2415eda62",
    "mnist": "bbc001fc4ca31b69",
    "best": "24c0d3439c7b05ee",
    "table": "a24e4a020e2b0c51",
}
"""Checksums of the presets as TOML. A change here changes the result of every seed: note it in the changelog."""


@pytest.mark.parametrize("name", presets)
def test_presets_have_the_recorded_values(name: str) -> None:
    assert hashlib.sha256(presets[name].to_toml().encode()).hexdigest()[:16] == PRESETS[name]


def test_presets_cannot_be_changed() -> None:
    assert list(fastnn.presets) == ["original", "modern", "mnist", "best", "table"]
    with pytest.raises(TypeError):
        fastnn.presets["modern"] = Recipe()  # type: ignore[index]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("name", "n" * 101, f"name must be text of 1 to 100 characters, not '{'n' * 56}..."),
        ("name", "a/b", "name must be printable and without slashes, not 'a/b'"),
        ("hidden", [0], "hidden must be a list of at most 62 whole numbers from 1 to 1048576, not [0]"),
        ("rule", "hebb", "rule must be one of original, backprop, not 'hebb'"),
        ("shuffle", "no", "shuffle must be one of exact, blocks, not 'no'"),
        ("epochs", 0, "epochs must be a whole number from 1 to 1000000, not 0"),
        ("lr", 0, "lr must be a number above 0 to 1e+06, not 0"),
        ("rotation", 91, "rotation must be a number from 0 to 90, not 91"),
        ("invert", 1, "invert must be true or false, not 1"),
        ("patience", 1.5, "patience must be a whole number from 1 to 1000000, not 1.5"),
        ("class_weight", [-1], "class_weight must be a list of at most 1048576 numbers from 0 to 1e+06, not [-1]"),
        (
            "seed",
            1 << 50_000,
            "seed must be a whole number from 0 to 9223372036854775807, not a value too long to show",
        ),
    ],
    ids=lambda value: str(value)[:12] if isinstance(value, str) else "",
)
def test_a_value_out_of_range_is_shown_with_the_range(name: str, value: Any, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        Recipe(**{name: value})
    assert str(caught.value) == message


@pytest.mark.parametrize(("length", "shown"), [(58, f"'{'x' * 58}'"), (59, f"'{'x' * 56}...")])
def test_a_long_value_is_shortened_to_sixty_characters(length: int, shown: str) -> None:
    with pytest.raises(RecipeError) as caught:
        Recipe.from_dict({"rule": "x" * length}, "here")
    assert str(caught.value) == f"here: rule must be one of original, backprop, not {shown}"


SMALLEST = math.nextafter(0, 1)
LIMITS: list[tuple[str, float, float]] = [
    ("epochs", 1, 1_000_000),
    ("lr", SMALLEST, 1e6),
    ("lr_decay", SMALLEST, 1.0),
    ("lr_every", 1, 1_000_000),
    ("label_smoothing", 0.0, 0.999),
    ("seed", 0, (1 << 63) - 1),
    ("test_fraction", 0.0, 0.999),
    ("per_class", 1, 1 << 32),
    ("rotation", 0.0, 90.0),
    ("scale", 0.0, 0.9),
    ("shear", 0.0, 2.0),
    ("shift", 0.0, 28.0),
    ("elastic_alpha", 0.0, 28.0),
    ("elastic_sigma", 2.0, 28.0),
    ("averaging_epochs", 1, 1_000_000),
    ("ensemble", 1, 100),
    ("validation_fraction", 0.0, 0.999),
    ("patience", 1, 1_000_000),
]


@pytest.mark.parametrize(("name", "low", "high"), LIMITS, ids=[name for name, _, _ in LIMITS])
def test_the_limits_are_allowed_and_nothing_beyond_them(name: str, low: float, high: float) -> None:
    usual: dict[str, Any] = {"rule": "backprop", "validation_fraction": 0.1}
    for value in (low, high):
        assert getattr(Recipe(**{**usual, name: value}), name) == value
    if isinstance(low, int):
        beyond: tuple[float, float] = (low - 1, high + 1)
    else:
        beyond = (math.nextafter(low, -math.inf), math.nextafter(high, math.inf))
    for value in beyond:
        with pytest.raises(RecipeError, match=f"^{name} must be"):
            Recipe(**{**usual, name: value})


def test_the_limits_of_lists_and_names() -> None:
    recipe = Recipe(hidden=(1, 1 << 20) * 31, class_weight=(0.0, 1e6), name="n" * 100)
    assert (len(recipe.hidden), recipe.class_weight, len(recipe.name)) == (MAX_HIDDEN, (0.0, 1e6), 100)
    assert Recipe(name="n").name == "n"
    for name, value in (("hidden", [(1 << 20) + 1]), ("class_weight", [math.nextafter(1e6, math.inf)])):
        with pytest.raises(RecipeError, match=f"^{name} must be"):
            Recipe(**{name: value})


HUGE = 10**400  # too large for a float

BAD_VALUES: list[tuple[str, Any]] = [
    ("name", ""),
    ("name", "a/b"),
    ("name", "a\\b"),
    ("name", "two\nlines"),
    ("name", "nul\0"),
    ("name", "n" * 300),
    ("name", 5),
    ("hidden", 200),
    ("hidden", "200"),
    ("hidden", [0]),
    ("hidden", [-1]),
    ("hidden", [2.5]),
    ("hidden", [True]),
    ("hidden", [[3]]),
    ("hidden", ["3"]),
    ("hidden", [1 << 40]),
    ("hidden", [3] * (MAX_HIDDEN + 1)),
    ("rule", "hebb"),
    ("rule", ["original"]),
    ("activation", "gelu"),
    ("init", "zeros"),
    ("invert", "red"),
    ("schedule", "linear"),
    ("dtype", "float16"),
    ("first_layer", "fast"),
    ("epochs", 0),
    ("epochs", 1.5),
    ("epochs", HUGE),
    ("lr", 0),
    ("lr", -0.1),
    ("lr", math.nan),
    ("lr", math.inf),
    ("lr", HUGE),
    ("lr", "0.1"),
    ("lr", True),
    ("lr_decay", 0),
    ("lr_decay", 1.1),
    ("lr_every", 0),
    ("label_smoothing", -0.1),
    ("label_smoothing", 1.0),
    ("seed", -1),
    ("seed", 1 << 63),
    ("test_fraction", -0.1),
    ("test_fraction", 1.0),
    ("per_class", 0),
    ("per_class", 2.0),
    ("normalise", 1),
    ("balance", "yes"),
    ("rotation", -1.0),
    ("rotation", 91),
    ("scale", 1.0),
    ("shear", math.nan),
    ("shift", 29.0),
    ("elastic_alpha", math.inf),
    ("elastic_sigma", 1.9),
    ("averaging", "median"),
    ("averaging_epochs", 0),
    ("averaging_epochs", None),
    ("ensemble", 0),
    ("ensemble", 101),
    ("validation_fraction", 1.0),
    ("patience", 0),
    ("until", 0.0),
    ("until", 1.01),
    ("until", math.nan),
    ("class_weight", 3.0),
    ("class_weight", [1.0, -1.0]),
    ("class_weight", ["1"]),
    # The name of a file in another encoding than UTF-8.
    ("name", "\udcff"),
    ("rule", "\udcff"),
]


@pytest.mark.parametrize(("name", "value"), BAD_VALUES, ids=[f"{n}-{str(v)[:12]!r}" for n, v in BAD_VALUES])
def test_values_out_of_range_are_named(name: str, value: Any) -> None:
    with pytest.raises(RecipeError, match=name) as caught:
        Recipe(**{name: value})
    assert len(str(caught.value)) < 250
    with pytest.raises(RecipeError, match=f"^here: {name}"):
        Recipe.from_dict({name: value}, "here")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"alpha": 0.1}, "rule original has neither weight decay"),
        ({"dropout": 0.1}, "rule original has neither weight decay"),
        ({"schedule": "adaptive", "lr_decay": 1.0}, "needs an lr_decay below 1"),
        (
            {"averaging": "tail", "averaging_epochs": 4, "epochs": 3},
            "averaging_epochs must be at most the epochs, 3, not 4; Recipe.with_epochs changes both",
        ),
    ],
)
def test_inconsistent_values_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        Recipe(**changes)


@pytest.mark.parametrize("name", presets)
@pytest.mark.parametrize("epochs", [2, 300])
def test_any_recipe_takes_any_number_of_epochs(name: str, epochs: int) -> None:
    before = presets[name]
    changed = before.with_epochs(epochs)
    assert changed.epochs == epochs
    averaged = min(epochs, before.averaging_epochs) if before.averaging == "tail" else before.averaging_epochs
    assert changed.averaging_epochs == averaged
    assert changed.replace(epochs=before.epochs, averaging_epochs=before.averaging_epochs) == before


@pytest.mark.parametrize("epochs", [0, -1, 1.5, "2", None, 10**7])
def test_a_wrong_number_of_epochs_is_named(epochs: Any) -> None:
    with pytest.raises(RecipeError, match=r"^epochs must be a whole number from 1"):
        presets["best"].with_epochs(epochs)


@pytest.mark.parametrize("name", presets)
def test_presets_hold_their_name_and_round_trip_through_toml(name: str, tmp_path: Path) -> None:
    file = tmp_path / "copy.toml"
    file.write_text(load_recipe(name).to_toml())
    assert load_recipe(file) == load_recipe(name)
    assert load_recipe(name).name == name


@pytest.mark.parametrize("changes", [{"activation": "relu"}, {"label_smoothing": 0.1}])
def test_the_original_rule_takes_neither_relu_nor_smoothing(changes: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match="set rule to backprop"):
        Recipe(**changes)
    assert Recipe(rule="backprop", **changes).rule == "backprop"


def test_what_resuming_needs() -> None:
    for averaging, schedule, fraction in itertools.product(("none", "ema", "tail"), ("step", "cosine"), (0.0, 0.2)):
        recipe = Recipe(averaging=averaging, schedule=schedule, validation_fraction=fraction)  # type: ignore[arg-type]
        assert recipe.needs_total == (averaging == "tail" or schedule == "cosine")
        assert recipe.needs_state == (averaging != "none" or fraction > 0)


def test_a_recipe_in_a_model_file_has_only_known_fields() -> None:
    assert msgspec.convert({"epochs": 3}, Recipe) == Recipe(epochs=3)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"epoch": 3}, Recipe)


BAD_FILES: list[tuple[bytes, str]] = [
    (b"epochs = ", "not valid TOML"),
    (b"epochs = 3\nepochs = 4", "not valid TOML"),
    (b"\xff\xfe", "not valid TOML"),
    (b"a = " + b"[" * 5000, "not valid TOML"),
    (b"lr = " + b"9" * 5000, "not valid TOML"),
    (b"lr = 0x" + b"f" * 50_000, "lr must be"),
    (b"seed = 1" + b"0" * 400, "seed must be"),
    (b"rule = 0x" + b"f" * 50_000, "rule must be"),
    (b"epoch = 3", "unknown key 'epoch'"),
    (b"k" * 60_000 + b" = 3", "unknown key 'kkk"),
    (b"epochs = 1979-05-27", "epochs must be"),
    (b'base = "other"', "unknown base 'other'"),
    (b"base = []", "unknown base"),
    (b"[hidden]\na = 1", "hidden must be"),
    (b"#" * ((1 << 16) + 1), "too large"),
]


@pytest.mark.parametrize(("content", "message"), BAD_FILES, ids=[repr(content[:14]) for content, _ in BAD_FILES])
def test_bad_files_are_named_in_one_line(content: bytes, message: str, tmp_path: Path) -> None:
    file = tmp_path / "bad.toml"
    file.write_bytes(content)
    with pytest.raises(RecipeError) as caught:
        load_recipe(file)
    assert str(caught.value).startswith(f"{file}: ")
    assert message in str(caught.value)
    # The name of the file may be long.
    assert len(str(caught.value).removeprefix(str(file))) < 520


@pytest.mark.parametrize("source", [3, None, {"epochs": 2}])
def test_a_source_of_a_wrong_type_is_refused(source: Any) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(source)
    assert str(caught.value) == (
        f"recipe must be a Recipe, the name of a preset or a .toml file, not {type(source).__name__}; "
        "presets: original, modern, mnist, best, table"
    )


def test_unknown_keys_and_bases_are_named_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        Recipe.from_dict({"epoch": 3}, "here")
    known = ", ".join(Recipe.__struct_fields__)
    assert str(caught.value) == f"here: unknown key 'epoch'; known keys: {known}"
    (tmp_path / "a.toml").write_text("base = 'b'")
    with pytest.raises(RecipeError) as caught:
        load_recipe(tmp_path / "a.toml")
    assert (
        str(caught.value)
        == f"{tmp_path / 'a.toml'}: unknown base 'b'; give one of original, modern, mnist, best, table"
    )


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("orginal", "orginal: no such recipe; give one of original, modern, mnist, best, table or a .toml file"),
        ("folder", "folder: no such recipe; give one of original, modern, mnist, best, table or a .toml file"),
        ("missing.toml", f"missing.toml: cannot be read ({os.strerror(errno.ENOENT)})"),
        ("folder.toml", "folder.toml: is a folder, not a regular file"),
        ("\0.toml", "'\\x00.toml': cannot be read (embedded null byte)"),
    ],
)
def test_a_source_that_is_not_a_recipe_is_refused(
    source: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RecipeError) as caught:
        load_recipe(source)
    assert str(caught.value) == message


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no endless device here")
def test_an_endless_recipe_file_is_not_read_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "endless.toml").symlink_to("/dev/zero")
    with pytest.raises(RecipeError, match="is a device"):
        load_recipe(tmp_path / "endless.toml")
