"""Run folders: their files, and what can be resumed from them."""

from __future__ import annotations

import csv
import dataclasses
import errno
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
from fastnn.storage import put_in_place
from fastnn.temporaries import temporary_beside

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
    folder = tmp_path / "a" / "b" / "run"
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
    text = (folder / "history.csv").read_bytes().decode().split("\n")
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


@pytest.mark.parametrize(
    ("finished", "checkpointed", "resumed"), [(3, 5, 5), (6, 5, 6), (1, 0, 1), (0, 1, 1), (3, None, 3), (None, 4, 4)]
)
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


def test_the_intact_lines_of_a_damaged_history_are_kept(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", RECIPE, model())
    run.checkpoint(model(3))
    (run.folder / "history.csv").write_text(OLD_HISTORY + "half a li\n3,0.1,0.6,0.8,,0.8,1e4,0.5,0.1\n")
    assert [one.epoch for one in Run.resume(run.folder)[0].history] == [1, 2, 3]


def test_the_whole_numbers_and_limits_of_a_history(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    path.write_text(OLD_HEAD + "9999999,1e15,-1e15,0.5,,,1e4,0.5,0.1\n")
    assert read_history(path) == [EpochReport(9_999_999, 1e15, -1e15, 0.5, None, None, 1e4, 0.5, 0.1)]
    path.write_text(OLD_HEAD + "10000000,0.1,0.9,0.5,,,1e4,0.5,0.1\n")
    with pytest.raises(ModelError, match="line 2 does not hold an epoch"):
        read_history(path)


@pytest.mark.parametrize("column", ["lr", "loss", "accuracy", "samples_per_second", "seconds", "test_seconds"])
def test_a_history_without_a_value_that_every_epoch_has_is_damaged(column: str, tmp_path: Path) -> None:
    row = dict(zip(OLD_HEAD.strip().split(","), ["1", "0.1", "0.9", "0.5", "", "", "1e4", "0.5", "0.1"], strict=True))
    (tmp_path / "history.csv").write_text(OLD_HEAD + ",".join((row | {column: ""}).values()) + "\n")
    with pytest.raises(ModelError, match=r"line 2 does not hold an epoch; the file is damaged$"):
        read_history(tmp_path / "history.csv")


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
        (
            OLD_HEAD.replace(",test_seconds", "").encode(),
            "does not begin with the columns of a history, epoch, lr, loss",
        ),
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
    ids=range(15),
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


@pytest.mark.parametrize(("first", "epochs"), [(2, 2), (0, 0), (0, 1)])
def test_the_networks_of_an_ensemble_may_have_any_epochs_around_that_of_the_model(
    first: int, epochs: int, tmp_path: Path
) -> None:
    run = ensemble(tmp_path / "run")
    file = run.folder / "checkpoint.safetensors"
    found, arrays, extra = read_with_extra(file)
    extra["training"]["members"][0]["epoch"] = first
    write_model(found.with_card(epochs=epochs), file, extra_tensors=arrays, extra=extra)
    resumed, _, _ = Run.resume(run.folder)
    assert [one.epochs for one in resumed.networks if one is not None] == [first, 2]


@pytest.mark.parametrize(("epochs", "saved", "resumed"), [(3, None, [3, 3]), (0, None, [0, 0]), (2, [2, 3], [2, 3])])
def test_networks_that_need_no_state_are_resumed_without_one(
    epochs: int, saved: list[int] | None, resumed: list[int], tmp_path: Path
) -> None:
    plain = RECIPE.replace(ensemble=2)
    networks = tuple(RECIPE.replace(seed=seed).network(5, 2) for seed in (0, 1))
    both = Model(networks, ("a", "b"), card=ModelCard(epochs=epochs, recipe=plain, data=DATA))
    state = None if saved is None else ensemble_state([SavedNetwork(n, networks[0]) for n in saved], [])
    Run.create(tmp_path / "run", plain, model()).checkpoint(both, state)
    run, _, _ = Run.resume(tmp_path / "run")
    assert [(one.epochs, one.state) for one in run.networks if one is not None] == [(n, None) for n in resumed]


def first_version(folder: Path, *epochs: int) -> None:
    """Write the run of an ensemble as the first version did: with a folder for each network that is trained."""
    save_model(model(0, recipe=TWO), folder / "checkpoint.safetensors")
    one = TWO.replace(ensemble=1)
    for member, last in enumerate(epochs):
        if last == 0:
            continue
        run = Run.create(folder / f"member-{member + 1}", one, model())
        for epoch in range(1, last + 1):
            run.record(dataclasses.replace(report(epoch), loss=1.0 + member))
        # The first network has finished.
        if member == 0:
            run.finish(model(last, recipe=one), one)
        else:
            run.checkpoint(model(last, recipe=one))


def test_the_history_of_an_ensemble_of_the_first_version_comes_from_its_folders(tmp_path: Path) -> None:
    first_version(tmp_path, 2, 1)
    # Not from that of the run, which has another loss here.
    head, *rows = (tmp_path / "member-1" / "history.csv").read_text().splitlines()
    save_model(model(1, recipe=TWO), tmp_path / "checkpoint.safetensors")
    (tmp_path / "history.csv").write_text("\n".join([head, rows[0].replace("1.0,", "9.0,", 1)]) + "\n")
    run, _, _ = Run.resume(tmp_path)
    assert [one and one.epochs for one in run.networks] == [2, 1]
    assert [(one.epoch, one.loss) for one in run.history] == [(1, 1.5), (2, 1.0)]
    assert [(one.epoch, one.member) for one in run.reports_after(0)] == [(1, 0), (1, 1), (2, 0)]
    (tmp_path / "member-1" / "history.csv").unlink()
    assert [(one.epoch, one.loss) for one in Run.resume(tmp_path)[0].history] == [(1, 2.0)]


@pytest.mark.parametrize("epochs", [(0, 1), (1, 0)])
def test_an_untrained_network_of_the_first_version_is_none(epochs: tuple[int, int], tmp_path: Path) -> None:
    first_version(tmp_path, *epochs)
    run, _, _ = Run.resume(tmp_path)
    assert [one and one.epochs for one in run.networks] == [count or None for count in epochs]
    assert [(one.epoch, one.member) for one in run.reports_after(0)] == [(1, epochs.index(1))]


@pytest.mark.parametrize(
    "damage",
    [
        lambda values: values.update(members=values["members"][:1]),
        lambda values: values.update(members="x"),
        lambda values: values.update(members=[1, 2]),
        lambda values: values["members"][0].pop("epoch"),
        lambda values: values["members"][0].update(epoch=-1),
        # The model says that the epoch is 1.
        lambda values: values["members"][0].update(epoch=2),
        lambda values: [one.update(epoch=0) for one in values["members"]],
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
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    fix = r"name another folder \(--out\), or continue the run with Session.resume \(--resume\)$"
    for name in ("run", "file", "link"):
        with pytest.raises(FastnnError, match=f"{name}: exists already; {fix}") as caught:
            Run.create(tmp_path / name, RECIPE, model())
        assert caught.value.exit_code == 2
    assert names(tmp_path / "run") == ["notes"]
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_that_cannot_be_created_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(
        FastnnError, match=r"run: the run folder cannot be created \(Not a directory\); name another one \(--out\)$"
    ) as caught:
        Run.create(tmp_path / "file" / "run", RECIPE, model())
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("number", "message", "code"),
    [
        (errno.EROFS, "run: the run folder cannot be created (Read-only file system); name another one (--out)", 2),
        (
            errno.ENOSPC,
            "run: the run folder cannot be created (No space left on device); free some space, and try again",
            1,
        ),
    ],
)
def test_the_reason_why_a_folder_cannot_be_created_is_told(
    number: int, message: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fastnn.runs.put_in_place", fail)
    with pytest.raises(FastnnError) as caught:
        Run.create(tmp_path / "run", RECIPE, model())
    assert (str(caught.value), caught.value.exit_code) == (f"{tmp_path}/{message}", code)
    assert names(tmp_path) == []


def test_a_folder_that_another_run_makes_at_the_same_time_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slower(made: Path, folder: Path) -> None:
        folder.mkdir()
        (folder / "recipe.toml").write_text("of the other run")
        put_in_place(made, folder)

    monkeypatch.setattr("fastnn.runs.put_in_place", slower)
    with pytest.raises(FastnnError, match=r"run: exists already; name another folder \(--out\)"):
        Run.create(tmp_path / "run", RECIPE, model())
    assert names(tmp_path) == ["run"]
    assert (tmp_path / "run" / "recipe.toml").read_text() == "of the other run"


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


@pytest.mark.parametrize("written", [[], ["checkpoint.safetensors"]])
def test_a_run_that_cannot_start_leaves_its_folder_empty(
    written: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = os.replace
    (tmp_path / "run").mkdir()

    def replace(source: Any, target: Any) -> None:
        if Path(target).name not in written:
            full_disk()
        rename(source, target)

    monkeypatch.setattr(os, "replace", replace)
    message = r"run: the run cannot be written \(No space left on device\); free some space, and try again$"
    with pytest.raises(TrainingError, match=message):
        Run.create(tmp_path / "run", RECIPE, model())
    assert names(tmp_path / "run") == []


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run.create(tmp_path / "run", RECIPE, model())
    run.record(report(1))
    run.checkpoint(model(1))
    before = {path.name: path.read_bytes() for path in run.folder.iterdir()}
    monkeypatch.setattr(os, "fsync", full_disk)
    run.record(report(2))
    for write in (lambda: run.checkpoint(model(2)), lambda: run.finish(model(2), RECIPE)):
        message = r"run: the run cannot be written \(No space left on device\); free some space, and try again$"
        with pytest.raises(TrainingError, match=message) as caught:
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
    with pytest.raises(TrainingError, match=r"run cannot be written \(No space left on device\)"):
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
    now[0] += 1.0
    assert not run.is_due()
    now[0] += 0.1
    assert run.is_due()
    monkeypatch.setattr("fastnn.runs.write_model", slow)
    run.checkpoint(model())
    now[0] += 1.1
    assert not run.is_due()
    now[0] += 3.85
    assert not run.is_due()
    now[0] += 0.1
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


@pytest.mark.parametrize("name", ["model", "checkpoint"])
@pytest.mark.parametrize("fields", CARDS[1:], ids=str)
def test_a_model_and_a_checkpoint_must_both_say_how_they_were_trained(
    name: str, fields: dict[str, Any], tmp_path: Path
) -> None:
    for file in ("model", "checkpoint"):
        save_model(model(**{"epochs": 2, **(fields if file == name else {})}), tmp_path / f"{file}.safetensors")
    with pytest.raises(
        ModelError, match=f"^{tmp_path}: its model does not say how it was trained and cannot be resumed;"
    ):
        Run.resume(tmp_path)


def test_a_folder_without_a_run_cannot_be_resumed(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"missing: no run folder to resume$"):
        Run.resume(tmp_path / "missing")
    message = (
        f"{tmp_path}: nothing to resume, it holds neither model.safetensors nor checkpoint.safetensors; "
        "begin a run in an empty folder with --out"
    )
    with pytest.raises(ModelError) as caught:
        Run.resume(tmp_path)
    assert str(caught.value) == message
    (tmp_path / "checkpoint.safetensors").write_bytes(b"half")
    with pytest.raises(ModelError, match=r"checkpoint\.safetensors"):
        Run.resume(tmp_path)


@pytest.mark.parametrize("state", [None, ({}, {"epoch": 1})])
def test_private_files_stay_private(state: Any, tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", RECIPE, model())
    checkpoint, finished = run.folder / "checkpoint.safetensors", run.folder / "model.safetensors"
    checkpoint.chmod(0o600)
    run.record(report(1))
    run.checkpoint(model(1), state)
    assert checkpoint.stat().st_mode & 0o777 == 0o600
    run.finish(model(1), RECIPE, state)
    assert finished.stat().st_mode & 0o777 == 0o600
    run.checkpoint(model(1), state)
    assert checkpoint.stat().st_mode & 0o777 == 0o600


def test_an_empty_folder_can_be_used(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    run = Run.create(tmp_path / "run", RECIPE, model())
    assert names(run.folder) == ["checkpoint.safetensors", "recipe.toml"]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="only with /proc can a file be that of a dead process")
def test_files_of_dead_processes_are_cleared_and_those_of_live_ones_kept(tmp_path: Path) -> None:
    with temporary_beside(tmp_path / "checkpoint.safetensors") as own:
        own.write_text("half")
        machine, pid, start, rest = own.name.removeprefix(".checkpoint.safetensors.").split("-")
        dead = own.with_name(f".checkpoint.safetensors.{machine}-{pid}-{int(start) + 1}-{rest}")
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / dead.name).write_text("half")
        # A folder with nothing else is empty.
        Run.create(tmp_path / "run", RECIPE, model())
        for file in (own, dead):
            (tmp_path / "run" / file.name).write_text("half")
        for begin in (Run.resume, begun_recipe):
            (tmp_path / "run" / dead.name).write_text("half")
            begin(tmp_path / "run")
            assert names(tmp_path / "run") == [own.name, "checkpoint.safetensors", "recipe.toml"]


def test_the_recipe_is_written_when_it_changes(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", RECIPE.replace(name="a longer name"), model())
    file = run.folder / "recipe.toml"
    before = file.stat()
    run.finish(model(1), RECIPE.replace(name="a longer name"))
    # Writing would replace the file by another one.
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    for recipe in (RECIPE, RECIPE.replace(seed=7), RECIPE.replace(seed=70)):
        run.finish(model(1), recipe)
        assert file.read_text() == recipe.to_toml()
    file.unlink()
    run.finish(model(1), RECIPE)
    assert file.read_text() == RECIPE.to_toml()


@pytest.mark.parametrize("name", ["x" * 300, "a\0b"])
def test_a_run_of_an_impossible_name_is_refused(name: str, tmp_path: Path) -> None:
    reason = rf"\({os.strerror(errno.ENAMETOOLONG) if len(name) > 3 else 'its name contains a NUL character'}\)"
    with pytest.raises(FastnnError, match=f"the run folder cannot be created {reason}; name another one \\(--out\\)$"):
        Run.create(tmp_path / name, RECIPE, model())
    with pytest.raises(ModelError, match=f"no run folder to resume {reason}$"):
        begun_recipe(tmp_path / name)


def test_what_a_kill_leaves_of_a_run_has_a_recipe(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    assert begun_recipe(folder) is None
    (folder / "recipe.toml").write_text(RECIPE.to_toml())
    (folder / ".checkpoint.safetensors.x3kd.tmp").write_bytes(b"half a check")
    (folder / "member-1").mkdir()
    (folder / ".hidden").write_text("of a file manager")
    (folder / "history.csv").write_text("")
    assert begun_recipe(folder) == RECIPE
    assert names(folder) == [".hidden", "history.csv", "member-1", "recipe.toml"]
    (folder / "notes.txt").write_text("not a run")
    assert begun_recipe(folder) is None
    (folder / "notes.txt").unlink()
    for name in ("checkpoint", "model"):
        trained = folder / "member-1" / f"{name}.safetensors"
        trained.write_bytes(b"trained")
        assert begun_recipe(folder) is None
        trained.unlink()
    (folder / "checkpoint.safetensors").write_bytes(b"trained")
    assert begun_recipe(folder) is None
    with pytest.raises(ModelError, match=r"recipe\.toml: no run folder to resume$"):
        begun_recipe(folder / "recipe.toml")


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


def test_a_checkpoint_of_a_run_that_is_trained_for_more_epochs_is_of_the_same_run(tmp_path: Path) -> None:
    save_model(model(3, recipe=RECIPE.replace(epochs=3)), tmp_path / "model.safetensors")
    save_model(model(4, recipe=RECIPE.replace(epochs=6)), tmp_path / "checkpoint.safetensors")
    _, found, recipe = Run.resume(tmp_path)
    assert (found.card.epochs, recipe.epochs) == (4, 6)


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
