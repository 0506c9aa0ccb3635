"""Commands on data sets that are mapped from the disk."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import Result

from fastnn import Recipe, fit, load_model, presets
from fastnn.datasets.store_writer import write_store
from fastnn.formats import save_model
from fastnn.predicting import predict_table, write_predictions
from tests.helpers import blobs, invoke, linear_table


@pytest.fixture(autouse=True)
def isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTNN_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("FASTNN_DATA", raising=False)
    monkeypatch.chdir(tmp_path)


def run(*arguments: str, code: int = 0) -> Result:
    result = invoke(arguments)
    assert result.exit_code == code, result.output
    return result


def fault(*arguments: str) -> str:
    result = run(*arguments, code=2)
    assert result.stdout == ""
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1
    return lines[0]


def test_a_store_is_made_described_and_checked() -> None:
    assert run("data", "convert", "drawn:300:1", "big.fnn/").stdout == "big.fnn\n"
    described, plain = (
        json.loads(run("data", "info", source, "--json", *more).stdout)
        for source, more in (("big.fnn", ["--check"]), ("drawn:300:1", []))
    )
    assert described.pop("source") == "big.fnn"
    assert plain.pop("source") != "big.fnn"
    assert described == plain
    assert "exists already" in fault("data", "convert", "drawn:300", "big.fnn")
    run("data", "convert", "drawn:200", "big.fnn", "--force")
    assert json.loads(run("data", "info", "big.fnn", "--json").stdout)["n"] == 200
    assert "drop --check" in fault("data", "info", "drawn:300", "--check")
    assert "only a store (NAME.fnn) keeps groups" in fault("data", "convert", "big.fnn", "a.npz", "--group", "writer")


def test_an_edited_store_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    write_store(blobs(50), tmp_path / "big.fnn")
    labels = np.load("big.fnn/train-targets.npy")
    labels[0] += 1
    np.save("big.fnn/train-targets.npy", labels)
    assert "was edited or is damaged" in fault("data", "info", "big.fnn", "--check")
    Path("big.fnn/header.json").unlink()
    for command in (("train", "--data"), ("data", "info")):
        assert "is being written, or was not finished" in fault(*command, "big.fnn")


def test_training_evaluating_predicting_and_cleaning_a_store(tmp_path: Path) -> None:
    write_store(blobs(200), tmp_path / "big.fnn")
    options = ("--hidden", "8", "--epochs", "2", "--lr", "0.05", "--shuffle", "blocks", "--quiet")
    run("train", "--data", "big.fnn", "--out", "run", *options)
    assert load_model("run").card.recipe.shuffle == "blocks"  # type: ignore[union-attr]
    run("train", "--resume", "run", "--epochs", "3", "--quiet")
    figures = json.loads(run("evaluate", "run", "--json").stdout)
    assert (figures["split"], figures["total"]) == ("test", 20)
    assert json.loads(run("evaluate", "run", "--split", "all", "--json").stdout)["total"] == 200
    run("predict", "run", "big.fnn", "--out", "predicted.csv")
    assert len(Path("predicted.csv").read_text().splitlines()) == 201
    assert json.loads(run("data", "clean", "big.fnn", "--folds", "2", "--epochs", "1", "--json").stdout)
    run("evaluate", "run", "--report", "report")
    assert Path("report/index.html").is_file()


@pytest.mark.parametrize("kind", ["images", "regression", "multilabel", "no rows"])
def test_predictions_are_printed_as_json_in_parts(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = blobs(250) if kind == "images" else linear_table(250, targets=2)
    if kind == "multilabel":
        data = replace(data, targets=(data.targets > 0).astype(np.uint8), names=("caf\u00e9", 'a "b"'))
    recipe = Recipe(hidden=(4,), epochs=1) if kind == "images" else presets["table"].replace(epochs=1, hidden=(4,))
    save_model(fit(data, recipe, progress=False), "m.safetensors")
    write_store(data.take([]) if kind == "no rows" else data, tmp_path / "big.fnn")
    whole = predict_table("m.safetensors", "big.fnn")
    write_predictions(whole, tmp_path / "whole.csv")
    for module in ("model", "predicting"):
        monkeypatch.setattr(f"fastnn.{module}.ROWS_IN_PART", 100)
    monkeypatch.setattr("fastnn.predicting._ROWS_IN_LISTS", 30)
    printed = run("predict", "m.safetensors", "big.fnn", "--json").stdout
    assert printed == json.dumps(whole.as_dict(), allow_nan=False) + "\n"
    printed = run("predict", "m.safetensors", "big.fnn", "--json", "--out", "p.csv").stdout
    assert printed == json.dumps({**whole.as_dict(), "out": "p.csv"}, allow_nan=False) + "\n"
    assert Path("p.csv").read_text() == Path("whole.csv").read_text()


def test_nothing_is_printed_of_predictions_that_fail_in_the_last_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = linear_table(250)
    save_model(fit(data, presets["table"].replace(epochs=1, hidden=(4,)), progress=False), "m.safetensors")
    rows = data.features.copy()
    rows[-1] = 1e300
    write_store(replace(data, features=rows), tmp_path / "big.fnn")
    monkeypatch.setattr("fastnn.model.ROWS_IN_PART", 100)
    assert "m.safetensors: " in fault("predict", "m.safetensors", "big.fnn", "--json")
