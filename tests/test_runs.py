"""Run folders: what stands in them, and what can be taken up from them."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any

import pytest

from fastnn import EpochReport, Model, Recipe, load_model
from fastnn.errors import FastnnError, ModelError, RecipeError, TrainingError
from fastnn.formats import save_model
from fastnn.recipe import load_recipe
from fastnn.runs import Run

RECIPE = Recipe(name="small", hidden=(3,), epochs=9)
DATA = {"source": "x.npz", "description": "x", "hash": "0" * 64}


def model(epochs: Any = 0, **info: Any) -> Model:
    network = RECIPE.network(5, 2)
    network.biases[0][0] = epochs if isinstance(epochs, int) else 0
    return Model((network,), ("a", "b"), info={"epochs": epochs, "recipe": RECIPE.as_dict(), "data": DATA, **info})


def report(epoch: int) -> EpochReport:
    return EpochReport(epoch, 0.01, 0.5, 0.25, None, 0.125, 1000.0, 0.1, 0.02)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def epochs_in(history: Path) -> list[int]:
    return [int(row["epoch"]) for row in csv.DictReader(history.read_text().splitlines())]


def test_a_run_from_beginning_to_end(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "run"
    run = Run.create(folder, RECIPE, model())
    assert names(folder) == ["checkpoint.safetensors", "recipe.toml"]
    assert load_recipe(folder / "recipe.toml") == RECIPE
    assert load_model(folder).info["epochs"] == 0
    for epoch in (1, 2):
        run.record(report(epoch))
    run.checkpoint(model(2))
    assert names(folder) == ["checkpoint.safetensors", "history.csv", "recipe.toml"]
    assert load_model(folder).info["epochs"] == 2
    run.record(report(3))
    path = run.finish(model(3), RECIPE.replace(epochs=3))
    assert path == folder / "model.safetensors"
    assert names(folder) == ["history.csv", "model.safetensors", "recipe.toml"]
    assert load_model(folder).info["epochs"] == 3
    assert load_recipe(folder / "recipe.toml").epochs == 3
    text = (folder / "history.csv").read_text().splitlines()
    assert text[0] == (
        "epoch,lr,loss,accuracy,test_loss,test_accuracy,samples_per_second,seconds,test_seconds,"
        "validation_loss,validation_accuracy"
    )
    assert text[1] == "1,0.01,0.5,0.25,,0.125,1000.0,0.1,0.02,,"
    assert epochs_in(folder / "history.csv") == [1, 2, 3]


def test_resuming_takes_the_latest_model_and_its_part_of_the_history(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run = Run.create(folder, RECIPE, model())
    for epoch in (1, 2):
        run.record(report(epoch))
    run.checkpoint(model(2))
    run.record(report(3))
    run._write_history()  # as if killed between the writing of the history and that of the checkpoint
    (folder / ".checkpoint.safetensors.x3kd.tmp").write_bytes(b"half a check")
    (folder / "notes.tmp").write_text("the user's own")
    (folder / ".mine.tmp").write_text("the user's own")
    resumed, found, recipe = Run.resume(folder)
    assert (found.info["epochs"], recipe) == (2, RECIPE)
    assert found.network.biases[0][0] == 2
    assert names(folder) == [".mine.tmp", "checkpoint.safetensors", "history.csv", "notes.tmp", "recipe.toml"]
    resumed.record(report(3))
    resumed.finish(model(3), RECIPE)
    assert epochs_in(folder / "history.csv") == [1, 2, 3]


@pytest.mark.parametrize(("finished", "kept", "taken"), [(3, 5, 5), (6, 5, 6), (3, None, 3), (None, 4, 4)])
def test_the_later_of_model_and_checkpoint_is_resumed(
    finished: int | None, kept: int | None, taken: int, tmp_path: Path
) -> None:
    for name, epochs in (("model", finished), ("checkpoint", kept)):
        if epochs is not None:
            save_model(model(epochs), tmp_path / f"{name}.safetensors")
    assert Run.resume(tmp_path)[1].info["epochs"] == taken


@pytest.mark.parametrize(
    "history",
    [
        b"",
        b"\xff\xfe\x00",
        b"epoch,lr\n1,2\n",
        b"a" * 200_000 + b"\n1\n",
        "epoch,lr,loss,accuracy,test_loss,test_accuracy,samples_per_second,seconds,test_seconds\n²,,,,,,,,\n".encode(),
        b"epoch,lr,loss,accuracy,test_loss,test_accuracy,samples_per_second,seconds,test_seconds\n1\n-1,,,,,,,,\n"
        + b"9" * 5000
        + b",,,,,,,,\n1,,,,,,,,,,\n",
    ],
)
def test_a_damaged_history_is_begun_anew(history: bytes, tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", RECIPE, model())
    (run.folder / "history.csv").write_bytes(history)
    resumed, _, _ = Run.resume(run.folder)
    resumed.record(report(1))
    resumed.checkpoint(model(1))
    assert epochs_in(run.folder / "history.csv") == [1]


def test_an_existing_folder_is_never_written_to(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "file").write_text("mine")
    for name in ("run", "file"):
        with pytest.raises(FastnnError, match=f"{name}: exists already; name another folder with --out") as caught:
            Run.create(tmp_path / name, RECIPE, model())
        assert caught.value.exit_code == 2
    assert names(tmp_path / "run") == []
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(FastnnError, match=r"file/run: the run's folder cannot be made") as caught:
        Run.create(tmp_path / "file" / "run", RECIPE, model())
    assert caught.value.exit_code == 2


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_an_unwritable_folder_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(FastnnError, match="cannot be made"):
        Run.create(tmp_path / "run", RECIPE, model())


def full_disk(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_run_that_cannot_begin_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(TrainingError, match=r"run: the run cannot be written \(No space left on device\)"):
        Run.create(tmp_path / "run", RECIPE, model())
    assert names(tmp_path) == []
    monkeypatch.undo()
    Run.create(tmp_path / "run", RECIPE, model())


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run.create(tmp_path / "run", RECIPE, model())
    run.record(report(1))
    run.checkpoint(model(1))
    before = {path.name: path.read_bytes() for path in run.folder.iterdir()}
    monkeypatch.setattr(os, "fsync", full_disk)
    run.record(report(2))
    for write in (lambda: run.checkpoint(model(2)), lambda: run.finish(model(2), RECIPE)):
        with pytest.raises(TrainingError, match="cannot be written") as caught:
            write()
        assert caught.value.exit_code == 1
    assert {path.name: path.read_bytes() for path in run.folder.iterdir()} == before


def test_checkpoints_are_due_after_a_second_or_fifty_times_their_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("fastnn.runs.time.monotonic", lambda: now[0])
    run = Run(Path("run"), [])
    assert not run.is_due()
    now[0] += 1.1
    assert run.is_due()
    run._last_cost = 0.1
    assert not run.is_due()
    now[0] += 4
    assert run.is_due()


INFOS: list[dict[str, Any]] = [
    {"epochs": None},
    {"epochs": -1},
    {"epochs": True},
    {"epochs": 1.5},
    {"recipe": None},
    {"recipe": []},
    {"data": None},
    {"data": {}},
    {"data": {**DATA, "hash": 5}},
]


@pytest.mark.parametrize("info", INFOS, ids=str)
def test_a_model_that_does_not_say_how_it_was_trained_cannot_be_resumed(info: dict[str, Any], tmp_path: Path) -> None:
    save_model(model(**{"epochs": 2, **info}), tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match="does not say how it was trained"):
        Run.resume(tmp_path)


def test_a_recipe_that_this_fastnn_does_not_know_is_named(tmp_path: Path) -> None:
    save_model(model(2, recipe={"momentum": 0.9}), tmp_path / "model.safetensors")
    with pytest.raises(RecipeError, match="unknown key 'momentum'"):
        Run.resume(tmp_path)


def test_what_is_no_run_cannot_be_resumed(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no run folder to resume"):
        Run.resume(tmp_path / "missing")
    with pytest.raises(ModelError, match="nothing to resume"):
        Run.resume(tmp_path)
    (tmp_path / "checkpoint.safetensors").write_bytes(b"half")
    with pytest.raises(ModelError, match=r"checkpoint\.safetensors"):
        Run.resume(tmp_path)
