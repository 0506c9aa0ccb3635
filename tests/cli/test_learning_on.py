"""``fastnn train`` with --from, --until and --classes, and what it says of a network that learned nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastnn import load_model
from fastnn.cli.train import parse_until
from fastnn.errors import RecipeError
from fastnn.recipe import load_recipe
from tests.helpers import blobs, invoke, linear_table, save_npz, save_table

TRAIN = ("--data", "data.npz", "--hidden", "16", "--epochs", "3")


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Change to a folder with two data sets."""
    monkeypatch.chdir(tmp_path)
    save_npz(blobs(200), tmp_path / "data.npz")
    save_npz(blobs(150, seed=1), tmp_path / "new.npz")


def run(*options: str) -> Any:
    return invoke(["train", *options])


def trained(*options: str) -> dict[str, Any]:
    """Return the JSON result of a training that succeeds."""
    done = run(*options, "--quiet", "--json")
    assert done.exit_code == 0, done.stderr
    return dict(json.loads(done.stdout))


def refused(*options: str) -> str:
    done = run(*options)
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    return str(done.stderr)


# ---- --from ----


def test_training_starts_from_a_run_and_has_a_recipe_of_its_own() -> None:
    first = trained(*TRAIN, "--out", "first")
    found = trained("--from", "first", "--data", "new.npz", "--out", "second", "--epochs", "2")
    assert (found["recipe"], found["epochs"], found["n_train"]) == ("adapt", 2, 135)
    card = load_model("second").card
    assert card.start is not None
    assert (card.start.sha256, card.start.source) == (first["weights_sha256"], "first")
    # The run folder is named after the recipe, and the data are by default those of the model.
    again = trained("--from", "first", "--epochs", "1", "--lr", "0.01")
    assert again["run"].startswith(str(Path("runs/adapt-")))
    assert again["data"] == "data.npz"
    assert load_recipe(Path(again["run"]) / "recipe.toml").lr == 0.01


def test_a_table_is_read_with_the_target_of_the_model() -> None:
    save_table(linear_table(80), Path("old.csv"))
    text = save_table(linear_table(60, seed=1), Path("new.csv")).read_text()
    Path("new.csv").write_text(text.replace("price", "cost").replace("width", "wide"))
    trained("--data", "old.csv", "--target", "price", "--epochs", "30", "--out", "first")
    assert "has no column 'price'" in refused("--from", "first", "--data", "new.csv")
    Path("new.csv").write_text(text)
    assert trained("--from", "first", "--data", "new.csv")["task"] == "regression"


def test_messages_of_resume_lead_to_from() -> None:
    trained(*TRAIN, "--out", "first")
    others = (("--data", "new.npz"), ("--lr", "0.1"), ("--recipe", "modern"))
    for options in others:
        assert "--from first" in refused("--resume", "first", "--epochs", "9", *options)
    trained("--from", "first", "--epochs", "1", "--out", "second")
    assert "already; train its networks further in a new run with Session.from_model (--from second)" in refused(
        "--resume", "second"
    )
    assert "drop one of them" in refused("--resume", "first", "--from", "first")
    assert "with Session.from_model (--from)" in refused("--resume", "first/model.safetensors")
    assert "first: has hidden = 16, but recipe adapt has 20,4" in refused(
        "--from", "first", "--data", "new.npz", "--hidden", "20,4"
    )
    assert "gone: no such file or folder" in refused("--from", "gone", "--data", "new.npz")


# ---- --until ----


def test_training_ends_at_a_test_accuracy() -> None:
    Path("relu.toml").write_text('hidden = [16]\nrule = "backprop"\nactivation = "relu"\ninit = "he"\ninvert = true\n')
    options = ("--data", "data.npz", "--recipe", "relu.toml", "--epochs", "40", "--until", "90%", "--out")
    found = trained(*options, "run")
    assert found["epochs"] < 40
    assert found["test_accuracy"] >= found["until"] == 0.9
    assert found["until_reached"]
    rows = [float(line.split(",")[5]) for line in Path("run/history.csv").read_text().splitlines()[1:]]
    assert [row >= 0.9 for row in rows] == [False] * (found["epochs"] - 1) + [True]
    # The run is finished; it has a training state, as one that patience has ended.
    before = Path("run/model.safetensors").read_bytes()
    done = run("--resume", "run")
    assert f"90.00% reached in epoch {found['epochs']}; the test set decided when to stop" in done.stdout
    assert Path("run/model.safetensors").read_bytes() == before
    assert load_recipe("run/recipe.toml").until == 0.9
    assert "on these images, so that their scores are too optimistic" in invoke(["evaluate", "run"]).stderr
    # Networks of an ensemble end one by one.
    several = trained(*options, "several", "--ensemble", "2")
    assert several["until_reached"]
    missed = run("--data", "data.npz", "--hidden", "16", "--epochs", "2", "--until", "1.0", "--out", "missed")
    assert missed.exit_code == 0
    assert "100.00% was not reached in 2 epochs" in missed.stdout


@pytest.mark.parametrize(("text", "value"), [("99%", 0.99), ("0.5", 0.5), (" 97.5% ", 0.975), ("1", 1.0), ("99", 0.99)])
def test_scores_to_stop_at(text: str, value: float) -> None:
    assert parse_until(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["101", "0", "-1%", "nan", "101%", "%", "much"])
def test_impossible_scores_are_refused(text: str) -> None:
    with pytest.raises(RecipeError, match=r"^--until takes an accuracy such as 99% or 0\.99"):
        parse_until(text)


def test_until_needs_a_test_set_and_no_validation_set() -> None:
    assert "exclude each other" in refused(*TRAIN, "--until", "90%", "--validation-fraction", "0.1")
    Path("goal.toml").write_text("hidden = [4]\nepochs = 1\nuntil = 0.9\n")
    done = invoke(["cv", "--data", "data.npz", "--recipe", "goal.toml", "--folds", "2"])
    assert (done.exit_code, "there is no test set to reach it on; drop until" in done.stderr) == (2, True)


# ---- --classes ----


def test_classes_are_chosen() -> None:
    found = trained(*TRAIN, "--classes", "0-4", "--out", "run")
    assert (found["n_train"], found["n_test"]) == (90, 10)
    assert found["notes"] == ["100 images of other classes are left out: 5 (20), 6 (20), 7 (20), 8 (20), 9 (20)"]
    assert load_model("run").names == tuple("01234")
    assert trained("--resume", "run", "--epochs", "4")["n_train"] == 90
    assert (
        "5 (20)"
        in json.loads(
            invoke(["cv", "--data", "data.npz", "--classes", "0-4", "--folds", "2", "--epochs", "1", "--json"]).stdout
        )["notes"][0]
    )
    assert "--classes: 9-0 is an empty range" in refused(*TRAIN, "--classes", "9-0")


# ---- a network that learned nothing ----


def test_a_network_that_learned_nothing_says_so_and_keeps_its_files() -> None:
    bad = ("--data", "data.npz", "--hidden", "16", "--epochs", "12", "--lr", "5", "--out")
    done = run(*bad, "run")
    assert done.exit_code == 1
    assert "test accuracy" in done.stdout
    line = done.stderr.splitlines()[-1]
    assert line.startswith("fastnn: the network learned nothing (")
    assert line.endswith("; try a learning rate below 5, such as 0.01, and check the labels; run keeps the model")
    assert load_model("run").card.epochs == 12
    # Only the model that is saved can be bad: it is resumed, evaluated and compared like any other.
    assert run("--resume", "run", "--epochs", "13", "--quiet").exit_code == 1
    assert invoke(["evaluate", "run"]).exit_code == 0
    as_json = run(*bad, "other", "--json", "--quiet")
    assert as_json.exit_code == 1
    assert json.loads(as_json.stdout)["learned_nothing"] in line
    folds = invoke(["cv", "--data", "data.npz", "--recipe", "run/recipe.toml", "--folds", "2"])
    assert folds.exit_code == 1
    assert "the networks of 2 of 2 folds learned nothing" in folds.stderr


def test_labels_without_any_connection_to_the_images_are_not_learned() -> None:
    data = blobs(600)
    labels = np.random.default_rng(0).integers(0, 2, 600)
    np.savez("random.npz", images=data.images[np.random.default_rng(1).permutation(600)], labels=labels)
    done = run("--data", "random.npz", "--hidden", "4", "--epochs", "4", "--test-fraction", "0.5")
    assert done.exit_code == 1
    assert "is that of chance with 2 classes" in done.stderr or "are predicted as" in done.stderr
