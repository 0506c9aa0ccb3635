import json
from pathlib import Path

import numpy as np
import pytest

from fastnn.crossval import cross_validate
from fastnn.datasets import load_dataset
from fastnn.recipe import Recipe, presets
from tests.helpers import blobs, invoke, linear_table, save_npz, save_table


@pytest.fixture(autouse=True)
def isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_table_is_cross_validated_with_its_own_recipe() -> None:
    save_table(linear_table(60, targets=2), Path("t.csv"))
    command = ["cv", "--data", "t.csv", "--target", "price", "--target", "weight", "--folds", "3", "--epochs", "3"]
    result = invoke([*command, "--json"])
    assert result.exit_code == 0, result.output
    assert len(result.stdout.splitlines()) == 1
    figures = json.loads(result.stdout)
    data = load_dataset("t.csv", target=("price", "weight"))
    expected = cross_validate(data, presets["table"].replace(epochs=3), 3)
    assert {name: figures[name] for name in expected.as_dict()} == json.loads(json.dumps(expected.as_dict()))
    assert (figures["data"], figures["recipe"], figures["task"]) == ("t.csv", "table", "regression")
    assert "task is regression" in figures["notes"][0]
    shown = invoke(command)
    assert shown.exit_code == 0
    for words in ("t.csv, recipe table, 3 epochs", "RMSE", "95% interval", "Nadeau and Bengio", "40", "20"):
        assert words in shown.stdout
    assert "note: targets" in shown.stderr
    assert "\x1b" not in shown.stdout
    assert max(map(len, shown.stdout.splitlines())) <= 120


def test_images_are_cross_validated_with_repeats() -> None:
    save_npz(blobs(40), Path("a.npz"))
    Path("small.toml").write_text(Recipe(name="small", hidden=(4,), epochs=9).to_toml())
    options = ["--recipe", "small.toml", "--epochs", "1", "--folds", "2", "--repeats", "2", "--seed", "5"]
    result = invoke(["cv", "--data", "a.npz", *options, "--threads", "1"])
    assert result.exit_code == 0, result.output
    for words in ("a.npz, recipe small, 1 epoch ", "1, 1", "2, 2", "accuracy"):
        assert words in result.stdout
    again = invoke(["cv", "--data", "a.npz", *options, "--json"])
    folds = json.loads(again.stdout)["folds"]
    assert [(fold["repeat"], fold["fold"]) for fold in folds] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    scores = np.array([fold["metrics"]["accuracy"] for fold in folds])
    assert ((scores >= 0) & (scores <= 1)).all()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--folds", "1"], "at least 2 folds"),
        (["--confidence", "2"], "the confidence must be between 0 and 1"),
        (["--recipe", "modern"], "t.csv"),
        (["--target", "none"], "has no column 'none'"),
        (["--task", "multilabel"], "must hold 0 and 1"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_code_2(options: list[str], words: str) -> None:
    save_table(linear_table(20), Path("t.csv"))
    target = [] if "--target" in options else ["--target", "price"]
    result = invoke(["cv", "--data", "t.csv", *target, *options])
    assert (result.exit_code, result.stdout) == (2, "")
    lines = [line for line in result.stderr.splitlines() if not line.startswith("note:")]
    assert len(lines) == 1
    assert words in lines[0]
