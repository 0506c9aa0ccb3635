"""Run folders: their files, and what can be resumed from them."""

from __future__ import annotations

import csv
import dataclasses
import os
from pathlib import Path
from typing import Any

import pytest

from fastnn import EpochReport, Model, Recipe, load_model
from fastnn.errors import FastnnError, ModelError, TrainingError
from fastnn.formats import save_model, write_model
from fastnn.formats.safetensors import read_with_extra
from fastnn.model import DataCard, ModelCard
from fastnn.recipe import load_recipe
from fastnn.runs import Run, SavedNetwork, begun_recipe, ensemble_state, read_history

RECIPE = Recipe(name="small", hidden=(3,), epochs=9)
DATA = DataCard(source="x.npz", description="x", hash="0" * 64)


def model(epochs: int | None = 0, **fields: Any) -> Model:
    network = RECIPE.network(5, 2)
    network.biases[0][0] = epochs or 0
    return Model((network,), ("a", "b"), card=ModelCard(**{"epochs": epochs, "recipe": RECIPE, "data": DATA, **fields}))


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
    assert load_model(folder).card.epochs == 0
    for epoch in (1, 2):
        run.record(report(epoch))
    run.checkpoint(model(2))
    assert names(folder) == ["checkpoint.safetensors", "history.csv", "recipe.toml"]
    assert load_model(folder).card.epochs == 2
    run.record(report(3))
    path = run.finish(model(3), RECIPE.replace(epochs=3))
    assert path == folder / "model.safetensors"
    assert names(folder) == ["history.csv", "model.safetensors", "recipe.toml"]
    assert load_model(folder).card.epochs == 3
    assert load_recipe(folder / "recipe.toml").epochs == 3
    text = (folder / "history.csv").read_text().splitlines()
    assert text[0] == (
        "epoch,lr,loss,accuracy,test_loss,test_accuracy,samples_per_second,seconds,test_seconds,"
        "validation_loss,validation_accuracy"
    )
    assert text[1] == "1,0.01,0.5,0.25,,0.125,1000.0,0.1,0.02,,"
    assert epochs_in(folder / "history.csv") == [1, 2, 3]


def test_resuming_uses_the_latest_model_and_its_part_of_the_history(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run = Run.create(folder, RECIPE, model())
    for epoch in (1, 2):
        run.record(report(epoch))
    run.checkpoint(model(2))
    run.record(report(3))
    before = (folder / "checkpoint.safetensors").read_bytes()
    run.checkpoint(model(3))
    # As if the process was killed between writing the history and writing the checkpoint.
    (folder / "checkpoint.safetensors").write_bytes(before)
    (folder / ".checkpoint.safetensors.x3kd.tmp").write_bytes(b"half a check")
    (folder / "notes.tmp").write_text("the user's own")
    (folder / ".mine.tmp").write_text("the user's own")
    resumed, found, recipe = Run.resume(folder)
    assert (found.card.epochs, recipe) == (2, RECIPE)
    assert found.network.biases[0][0] == 2
    assert names(folder) == [".mine.tmp", "checkpoint.safetensors", "history.csv", "notes.tmp", "recipe.toml"]
    resumed.record(report(3))
    resumed.finish(model(3), RECIPE)
    assert epochs_in(folder / "history.csv") == [1, 2, 3]


@pytest.mark.parametrize(("finished", "checkpointed", "resumed"), [(3, 5, 5), (6, 5, 6), (3, None, 3), (None, 4, 4)])
def test_the_later_of_model_and_checkpoint_is_resumed(
    finished: int | None, checkpointed: int | None, resumed: int, tmp_path: Path
) -> None:
    for name, epochs in (("model", finished), ("checkpoint", checkpointed)):
        if epochs is not None:
            save_model(model(epochs), tmp_path / f"{name}.safetensors")
    assert Run.resume(tmp_path)[1].card.epochs == resumed


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
def test_a_damaged_history_is_started_again(history: bytes, tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", RECIPE, model())
    (run.folder / "history.csv").write_bytes(history)
    resumed, _, _ = Run.resume(run.folder)
    resumed.record(report(1))
    resumed.checkpoint(model(1))
    assert epochs_in(run.folder / "history.csv") == [1]


OLD_HEAD = "epoch,lr,loss,accuracy,test_loss,test_accuracy,samples_per_second,seconds,test_seconds\n"
OLD_HISTORY = OLD_HEAD + "1,0.1,0.9,0.5,0.8,0.6,1e4,0.5,0.1\n2,0.1,0.7,0.7,,0.8,1e4,0.5,0.1\n"


def test_a_history_round_trips_through_its_file(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", RECIPE, model())
    reports = [report(1), dataclasses.replace(report(2), validation_loss=0.1 + 0.2, validation_accuracy=0.75)]
    for one in reports:
        run.record(one)
    run.checkpoint(model(2))
    assert read_history(run.folder / "history.csv") == reports


def test_a_history_of_the_first_version_has_no_validation_columns(tmp_path: Path) -> None:
    (tmp_path / "history.csv").write_text(OLD_HISTORY)
    assert read_history(tmp_path / "history.csv") == [
        EpochReport(1, 0.1, 0.9, 0.5, 0.8, 0.6, 1e4, 0.5, 0.1),
        EpochReport(2, 0.1, 0.7, 0.7, None, 0.8, 1e4, 0.5, 0.1),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "does not begin with the columns"),
        (b"epoch,loss\n1,2\n", "does not begin with the columns"),
        (OLD_HEAD.replace("lr,", "").encode(), "does not begin with the columns"),
        (b"\xff" * 99, "not a history"),
        (b"a" * 200_000, "not a history"),
        (OLD_HISTORY.encode()[:-25], "line 3 does not hold an epoch"),
        (OLD_HISTORY.replace("0.9", "nan").encode(), "line 2 does not"),
        (OLD_HISTORY.replace("0.9", "x").encode(), "line 2 does not"),
        (OLD_HISTORY.replace("0.9", "").encode(), "line 2 does not"),
        (OLD_HISTORY.replace("0.8", "inf").encode(), "line 2 does not"),
        (OLD_HISTORY.replace("0.9", "1e300").encode(), "line 2 does not"),
        (OLD_HISTORY.replace("\n1,", "\n0,").encode(), "line 2 does not"),
        (OLD_HISTORY.replace("\n1,", "\n²,").encode(), "line 2 does not"),
        (OLD_HISTORY.replace("\n1,", "\n" + "9" * 5000 + ",").encode(), "line 2 does not"),
    ],
    ids=range(14),
)
def test_a_damaged_history_is_named_with_its_line(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=message) as caught:
        read_history(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_damaged_lines_of_a_history_can_be_skipped(tmp_path: Path) -> None:
    (tmp_path / "history.csv").write_text(OLD_HISTORY.replace("0.9", "x") + "\n3,\n")
    assert [one.epoch for one in read_history(tmp_path / "history.csv", skip_damaged=True)] == [2]
    with pytest.raises(ModelError, match="cannot be read"):
        read_history(tmp_path / "none.csv", skip_damaged=True)


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no endless device here")
def test_an_endless_history_is_not_read_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "history.csv").symlink_to("/dev/zero")
    with pytest.raises(ModelError, match="is a device"):
        read_history(tmp_path / "history.csv")


def test_the_history_of_several_networks_is_their_mean(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", RECIPE, model())
    for number, accuracy in enumerate((0.5, 0.75)):
        one = dataclasses.replace(report(1), accuracy=accuracy, test_loss=accuracy if number else None)
        run.record(dataclasses.replace(one, member=number))
    run.record(dataclasses.replace(report(2), member=1))
    # It leaves out epochs that not all networks have trained.
    run.checkpoint(model(1))
    mean = dataclasses.replace(report(1), accuracy=0.625, test_loss=None, seconds=0.2, test_seconds=0.04)
    assert read_history(run.folder / "history.csv") == [mean]
    assert run.reports_after(1) == [dataclasses.replace(report(2), member=1)]
    run.checkpoint(model(2))
    assert read_history(run.folder / "history.csv") == run.history == [mean, report(2)]


TWO = RECIPE.replace(ensemble=2, averaging="ema")


def ensemble(folder: Path) -> Run:
    """Write the checkpoint of two networks; the second is an epoch ahead."""
    networks = [RECIPE.replace(seed=seed).network(5, 2) for seed in (0, 1)]
    run = Run.create(folder, TWO, model())
    states = [
        ({"network": network.parameters, "average": network.parameters + 1}, {"epoch": epochs})
        for epochs, network in enumerate(networks, 1)
    ]
    saved = [SavedNetwork(epochs, networks[epochs - 1], state) for epochs, state in enumerate(states, 1)]
    card = ModelCard(epochs=1, recipe=TWO, data=DATA)
    for one in (report(1), dataclasses.replace(report(1), member=1), dataclasses.replace(report(2), member=1)):
        run.record(one)
    both = Model(tuple(network.copy() for network in networks), ("a", "b"), card=card)
    run.checkpoint(both, ensemble_state(saved, run.reports_after(1)))
    return run


def test_each_network_of_an_ensemble_is_resumed_from_its_own_state(tmp_path: Path) -> None:
    before = ensemble(tmp_path / "run")
    run, found, recipe = Run.resume(tmp_path / "run")
    assert (found.card.epochs, recipe) == (1, TWO)
    assert run.history == before.history
    assert run.reports_after(1) == before.reports_after(1) != []
    assert [one.epochs for one in run.networks if one is not None] == [1, 2]
    for network, one in zip(found.networks, run.networks, strict=True):
        assert one is not None
        assert one.state is not None
        arrays, values = one.state
        assert values == {"epoch": one.epochs}
        assert (arrays["network"] == network.parameters).all()
        assert (arrays["average"] == network.parameters + 1).all()


@pytest.mark.parametrize(
    "damage",
    [
        lambda values: values.update(members=values["members"][:1]),
        lambda values: values.update(members="x"),
        lambda values: values.update(members=[1, 2]),
        lambda values: values["members"][0].pop("epoch"),
        lambda values: values["members"][0].update(epoch=-1),
        lambda values: values["ahead"][0].update(loss="x"),
        lambda values: values["ahead"][0].update(member=2),
        lambda values: values["ahead"][0].update(epoch=0),
        lambda values: values.update(ahead={}),
    ],
)
def test_a_damaged_state_of_an_ensemble_is_refused(damage: Any, tmp_path: Path) -> None:
    run = ensemble(tmp_path / "run")
    file = run.folder / "checkpoint.safetensors"
    found, arrays, extra = read_with_extra(file)
    damage(extra["training"])
    write_model(found, file, extra_tensors=arrays, extra=extra)
    with pytest.raises(ModelError, match="run: the training state does not fit the recipe; the checkpoint is damaged"):
        Run.resume(run.folder)


def test_an_ensemble_without_all_its_networks_is_refused(tmp_path: Path) -> None:
    save_model(model(2, recipe=TWO), tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match="has 1 of the 2 networks of its recipe and cannot be resumed"):
        Run.resume(tmp_path)


def test_an_existing_folder_is_never_written_to(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes").write_text("mine")
    (tmp_path / "file").write_text("mine")
    fix = r"name another folder \(--out\), or continue the run with Session.resume \(--resume\)$"
    for name in ("run", "file"):
        with pytest.raises(FastnnError, match=f"{name}: exists already; {fix}") as caught:
            Run.create(tmp_path / name, RECIPE, model())
        assert caught.value.exit_code == 2
    assert names(tmp_path / "run") == ["notes"]
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_that_cannot_be_created_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(
        FastnnError, match=r"file/run: the run folder cannot be created \(.*\); name another one \(--out\)$"
    ) as caught:
        Run.create(tmp_path / "file" / "run", RECIPE, model())
    assert caught.value.exit_code == 2


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_an_unwritable_folder_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(FastnnError, match="cannot be created"):
        Run.create(tmp_path / "run", RECIPE, model())


def full_disk(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_run_that_cannot_start_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


@pytest.mark.parametrize("write", [Run.checkpoint, lambda run, model: run.finish(model, RECIPE)])
def test_the_history_is_written_before_the_model_and_the_checkpoint_removed_after_it(
    write: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a kill between two writes would lose epochs of the history, or all of the training."""
    run = Run.create(tmp_path / "run", RECIPE, model())
    run.record(report(1))
    run.checkpoint(model(1))
    before = (run.folder / "checkpoint.safetensors").read_bytes()
    run.record(report(2))
    monkeypatch.setattr("fastnn.runs.write_model", full_disk)
    with pytest.raises(TrainingError, match="cannot be written"):
        write(run, model(2))
    assert epochs_in(run.folder / "history.csv") == [1, 2]
    assert (run.folder / "checkpoint.safetensors").read_bytes() == before


def test_checkpoints_are_due_after_a_second_or_fifty_times_their_cost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]

    def slow(*_: object, **__: object) -> None:
        now[0] += 0.1

    monkeypatch.setattr("fastnn.runs.time.monotonic", lambda: now[0])
    run = Run.create(tmp_path / "run", RECIPE, model())
    assert not run.is_due()
    now[0] += 1.1
    assert run.is_due()
    monkeypatch.setattr("fastnn.runs.write_model", slow)
    run.checkpoint(model())
    now[0] += 1.1
    assert not run.is_due()
    now[0] += 4
    assert run.is_due()


CARDS: list[dict[str, Any]] = [
    {"epochs": None},
    {"recipe": None},
    {"data": None},
]


@pytest.mark.parametrize("fields", CARDS, ids=str)
def test_a_model_that_does_not_say_how_it_was_trained_cannot_be_resumed(fields: dict[str, Any], tmp_path: Path) -> None:
    save_model(model(**{"epochs": 2, **fields}), tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match="does not say how it was trained"):
        Run.resume(tmp_path)


def test_a_folder_without_a_run_cannot_be_resumed(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no run folder to resume"):
        Run.resume(tmp_path / "missing")
    with pytest.raises(ModelError, match="nothing to resume"):
        Run.resume(tmp_path)
    (tmp_path / "checkpoint.safetensors").write_bytes(b"half")
    with pytest.raises(ModelError, match=r"checkpoint\.safetensors"):
        Run.resume(tmp_path)


def test_private_files_stay_private(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", RECIPE, model())
    checkpoint, finished = run.folder / "checkpoint.safetensors", run.folder / "model.safetensors"
    checkpoint.chmod(0o600)
    run.record(report(1))
    run.checkpoint(model(1))
    assert checkpoint.stat().st_mode & 0o777 == 0o600
    run.finish(model(1), RECIPE)
    assert finished.stat().st_mode & 0o777 == 0o600
    run.checkpoint(model(1))
    assert checkpoint.stat().st_mode & 0o777 == 0o600


def test_an_empty_folder_can_be_used(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    run = Run.create(tmp_path / "run", RECIPE, model())
    assert names(run.folder) == ["checkpoint.safetensors", "recipe.toml"]


@pytest.mark.parametrize("name", ["x" * 300, "a\0b"])
def test_a_run_of_an_impossible_name_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(FastnnError, match=r"the run folder cannot be created \(.*\); name another one \(--out\)$"):
        Run.create(tmp_path / name, RECIPE, model())
    with pytest.raises(ModelError, match=r"no run folder to resume \("):
        begun_recipe(tmp_path / name)


def test_what_a_kill_leaves_of_a_run_has_a_recipe(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    assert begun_recipe(folder) is None
    (folder / "recipe.toml").write_text(RECIPE.to_toml())
    (folder / ".checkpoint.safetensors.x3kd.tmp").write_bytes(b"half a check")
    (folder / "member-1").mkdir()
    assert begun_recipe(folder) == RECIPE
    assert names(folder) == ["member-1", "recipe.toml"]
    (folder / "notes.txt").write_text("not a run")
    assert begun_recipe(folder) is None
    (folder / "notes.txt").unlink()
    (folder / "member-1" / "checkpoint.safetensors").write_bytes(b"trained")
    assert begun_recipe(folder) is None


def contradicting(**fields: Any) -> Model:
    """Return a model with a network of the recipe, but other fields of the recipe in its card."""
    return model(2, recipe=RECIPE.replace(**fields))


CONTRADICTIONS: dict[str, tuple[Model, str]] = {
    "hidden": (contradicting(hidden=(4,)), r"hidden = \[4\], but its model has \[3\]"),
    "layers": (contradicting(hidden=()), r"hidden = \[\], but its model has \[3\]"),
    "rule": (contradicting(rule="backprop"), "rule = backprop, but its model has original"),
    "dtype": (contradicting(dtype="float64"), "dtype = float64, but its model has float32"),
    "activation": (
        contradicting(rule="backprop", activation="relu"),
        "rule = backprop, but its model has original",
    ),
    "invert": (contradicting(invert=True), "invert = True, but its model has False"),
    "normalise": (contradicting(normalise=True), "normalise = True, but its model has False"),
    "seed": (model(2, seed=3), "seed = 0, but its model has 3"),
    "class weights": (contradicting(class_weight=(1, 2, 3)), "number of class weights = 3, but its model has 2"),
    "too many networks": (
        Model((RECIPE.network(5, 2), RECIPE.network(5, 2)), ("a", "b"), card=model(2).card),
        "ensemble = 1, but its model has 2",
    ),
    "a network of another kind": (
        Model(
            (RECIPE.network(5, 2), RECIPE.replace(hidden=(2,)).network(5, 2)),
            ("a", "b"),
            card=ModelCard(epochs=2, recipe=RECIPE.replace(ensemble=2), data=DATA),
        ),
        r"hidden = \[3\], but its model has \[2\]",
    ),
}


@pytest.mark.parametrize("file", ["checkpoint.safetensors", "model.safetensors"])
@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_a_recipe_that_contradicts_its_network_is_refused(name: str, file: str, tmp_path: Path) -> None:
    wrong, message = CONTRADICTIONS[name]
    save_model(wrong, tmp_path / file)
    if file == "model.safetensors":  # a later and sound checkpoint does not hide it
        save_model(model(3), tmp_path / "checkpoint.safetensors")
    with pytest.raises(ModelError, match=rf"{file}: its recipe has {message}; the file .* start a new run$"):
        Run.resume(tmp_path)


@pytest.mark.parametrize(
    "other",
    [
        model(2, recipe=RECIPE.replace(lr=0.5)),
        model(2, data=DataCard(source="x.npz", description="x", hash="1" * 64)),
        Model((RECIPE.network(5, 2),), ("a", "c"), card=model(2).card),
        Model((RECIPE.network(6, 2),), ("a", "b"), card=model(2).card),
    ],
    ids=["recipe", "data", "classes", "inputs"],
)
def test_a_checkpoint_of_another_run_is_refused(other: Model, tmp_path: Path) -> None:
    save_model(model(3), tmp_path / "model.safetensors")
    save_model(other, tmp_path / "checkpoint.safetensors")
    with pytest.raises(ModelError, match=r"are of different runs; remove the file of the other run$"):
        Run.resume(tmp_path)
