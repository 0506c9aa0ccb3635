"""Sessions: training, reports and files, stopping and resuming."""

from __future__ import annotations

import re
import signal
import threading
import time
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

import fastnn
from fastnn import Model, Recipe, Session, fit, load_dataset, load_model, presets, split
from fastnn.datasets import Dataset, Split, per_class
from fastnn.engine import Engine
from fastnn.errors import DataError, FastnnError, ModelError, RecipeError, TrainingError
from fastnn.evaluation.intervals import reliability
from fastnn.evaluation.metrics import evaluate
from fastnn.formats import save_model
from fastnn.formats.safetensors import read_with_extra, write_model
from fastnn.images import normalise_batch
from fastnn.model import DataCard, ModelCard, as_probabilities, evidence
from fastnn.training import Trainer
from tests.helpers import TIMEOUT, blobs, save_npz

if TYPE_CHECKING:
    from pathlib import Path

    from fastnn.training import ChunkReport

SMALL = Recipe(hidden=(12,), epochs=4, lr=0.1)
RELU = Recipe(hidden=(12,), rule="backprop", activation="relu", init="he", invert=True, lr=0.02, epochs=4)
DISTORTED = RELU.replace(normalise=True, shift=1.0)
# After one step the weights are about 1e6, and the product of six layers exceeds the range of float32.
DIVERGING = RELU.replace(hidden=(32,) * 6, lr=1e6)

RECIPES = {
    "original": SMALL,
    "cosine": RELU.replace(schedule="cosine"),
    "ensemble": DISTORTED.replace(ensemble=3),
    "ema": DISTORTED.replace(averaging="ema", averaging_epochs=2),
    "validation": RELU.replace(validation_fraction=0.2, patience=3, balance=True),
    "ensemble, ema and validation": DISTORTED.replace(
        ensemble=2, averaging="ema", validation_fraction=0.2, elastic_alpha=0.5
    ),
}


def run(session: Session) -> list[tuple[int, int]]:
    """Train to the end; return member and epoch of each report."""
    return [(report.member, report.epoch) for report in session]


def hashes(session: Session) -> list[str]:
    return [network.sha256() for network in session.model.networks]


def model_bytes(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def history(folder: Path) -> list[list[str]]:
    """Return the columns of a history without the times, which differ from run to run."""
    rows = [line.split(",") for line in (folder / "history.csv").read_text().splitlines()]
    return [row[:6] + row[9:] for row in rows]


# ---- training ----


def test_a_session_trains_reports_and_evaluates() -> None:
    data = blobs(200)
    session = Session(data, SMALL)
    assert not session.finished
    assert run(session) == [(0, 1), (0, 2), (0, 3), (0, 4)]
    assert session.finished
    train, test = split(data, 0.1, 0)
    assert np.array_equal(session.train.images, train.images)
    network = SMALL.network(784, 10)
    list(fastnn.train(network, train, SMALL))
    assert hashes(session) == [network.sha256()]
    assert session.evaluation is not None
    assert session.evaluation.accuracy == evaluate(session.model, test).accuracy > 0.2
    assert session.timings.samples == 4 * len(train)
    assert session.timings.training > 0
    assert session.timings.compiling > 0
    # A finished session trains no more epochs.
    assert run(session) == []


def test_the_card_says_where_the_model_comes_from(tmp_path: Path) -> None:
    source = save_npz(blobs(200), tmp_path / "data.npz")
    data, recipe = load_dataset(source), SMALL.replace(seed=4)
    for session in (Session(source, recipe), Session(data, recipe, source=str(source))):
        about = DataCard(
            source=str(source),
            description=data.source,
            hash=data.content_hash,
            n_train=180,
            n_test=20,
            split=Split(seed=4),
            polarity="dark-on-light",
        )
        assert session.card == ModelCard(recipe=recipe, epochs=0, data=about, seed=4, version=fastnn.__version__)
        run(session)
        found = session.evaluation
        assert found is not None
        metrics = {"test_accuracy": found.accuracy, "balanced_accuracy": found.balanced_accuracy}
        card = msgspec.structs.replace(session.card, epochs=4, metrics={**metrics, "test_loss": found.loss})
        assert session.model.card == card
    elsewhere = Session(source, recipe, source="elsewhere").card.data
    assert elsewhere is not None
    assert elsewhere.source == "elsewhere"
    drawn = Session("drawn:60", SMALL).card.data
    assert drawn is not None
    assert drawn.source == "drawn:60"
    # By default the data are named as they describe themselves.
    for text in ("blobs of a test", "s3:/x"):
        about = Session(replace(data, source=text), SMALL).card.data
        assert about is not None
        assert about.source == text


def test_the_card_does_not_hold_a_password() -> None:
    pytest.importorskip("sqlalchemy", reason="needs the extra [web]")
    about = Session(blobs(100), SMALL, source="postgresql://me:hidden@host/digits").card.data
    assert about is not None
    assert about.source == "postgresql://me:***@host/digits"


def test_timings_do_not_exceed_the_time_that_passed() -> None:
    start = time.perf_counter()
    session = Session(blobs(100), SMALL.replace(ensemble=2), threads=1)
    session.warm_up()
    compiling = session.timings.compiling
    session.warm_up()
    assert session.timings.compiling == compiling > 0
    for epochs in (2, 4):
        before = session.timings.training
        for report in session:
            if report.epoch == epochs:
                break
        assert before < session.timings.training < time.perf_counter() - start
    assert session.timings.samples == 90 * sum(session.member_epochs)
    alone = Session(blobs(100), SMALL)
    seconds = sum(report.seconds for report in alone)
    assert alone.timings.training == pytest.approx(seconds)


def test_a_session_passes_on_notes_about_the_data() -> None:
    data = replace(blobs(100), notes=("a note",))
    data.images[:1] = 255
    blank = "1 of the training images are blank and stay as they are"
    assert Session(data, DISTORTED, split=False).notes == ("a note", blank)
    session = Session(data, RELU, split=False)
    assert (session.notes, session.first_layer) == (("a note",), "sparse")
    assert Session(data, RELU.replace(first_layer="dense")).first_layer == "dense"
    assert session.density == pytest.approx((data.images != 255).mean())


def test_an_ensemble_holds_the_network_of_each_seed() -> None:
    data = blobs(150)
    recipe = DISTORTED.replace(ensemble=3, seed=5, epochs=2)
    session = Session(data, recipe)
    assert sorted(run(session)) == [(member, epoch) for member in range(3) for epoch in (1, 2)]
    # All are trained on the split of the first seed.
    train, test = split(data, 0.1, 5)
    for member, network in enumerate(session.model.networks):
        alone = Session(replace(train, test=test), recipe.replace(ensemble=1, seed=5 + member))
        run(alone)
        assert hashes(alone) == [network.sha256()]
    assert session.model.normalise


def test_after_the_largest_seed_comes_zero() -> None:
    data, largest = blobs(50), (1 << 63) - 1
    session = Session(data, SMALL.replace(ensemble=2, seed=largest))
    assert session.names == session.classes == data.names
    assert session.best is None
    assert hashes(session) == [SMALL.replace(seed=seed).network(784, 10).sha256() for seed in (largest, 0)]


def test_the_networks_of_an_ensemble_share_the_normalised_images(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def counted(images: Any, **options: Any) -> Any:
        calls.append(len(images))
        return normalise_batch(images, **options)

    for place in ("fastnn.images", "fastnn.images.normalised_rows"):
        monkeypatch.setattr(f"{place}.normalise_batch", counted)
    run(Session(blobs(50), RELU.replace(normalise=True, ensemble=3, epochs=1), threads=1))
    # The test set a second time, to measure the finished model.
    assert sorted(calls) == [5, 5, 45]


@pytest.mark.parametrize(("ensemble", "threads", "own"), [(1, 2, True), (2, 1, True), (2, 2, False)])
def test_one_network_or_with_one_thread_all_are_trained_in_the_thread_of_the_caller(
    ensemble: int, threads: int, own: bool, tmp_path: Path
) -> None:
    found: set[int] = set()
    options: dict[str, Any] = {"threads": threads, "on_chunk": lambda _: found.add(threading.get_ident())}
    session = Session(blobs(40), SMALL.replace(ensemble=ensemble), tmp_path / "run", **options)
    next(iter(session))
    assert (found == {threading.get_ident()}) == own
    found.clear()
    run(Session.resume(tmp_path / "run", dataset=blobs(40), **options))
    assert (found == {threading.get_ident()}) == own


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_the_number_of_threads_changes_nothing(recipe: Recipe) -> None:
    sessions = [Session(blobs(150), recipe, threads=threads) for threads in (1, 2)]
    reports = [sorted(run(session)) for session in sessions]
    assert reports[0] == reports[1]
    assert hashes(sessions[0]) == hashes(sessions[1])


def test_an_ensemble_advances_evenly() -> None:
    """No network starts epoch n before the slowest one has finished epoch n - 2."""
    epochs, too_early = [0, 0, 0], threading.Event()

    def chunk(report: ChunkReport) -> None:
        epochs[report.member] = report.epoch
        if report.epoch > min(epochs) + 2:
            too_early.set()
        # This network is slow, which gives the others time to start too early.
        assert not too_early.wait(0.02 if report.member == 1 else 0)

    session = Session(blobs(100), SMALL.replace(ensemble=3, epochs=9), threads=2, on_chunk=chunk)
    assert len(run(session)) == 27


def test_the_recipe_sets_the_split_and_the_images_per_class() -> None:
    data = blobs(300)
    session = Session(data, SMALL.replace(test_fraction=0.3, per_class=7, seed=2))
    train, test = split(data, 0.3, 2)
    assert session.test is not None
    assert np.array_equal(session.test.images, test.images)
    assert np.array_equal(session.train.images, per_class(train, 7, 2).images)
    own = Session(replace(train, test=test), SMALL)
    assert own.test is test
    given = Session(data, SMALL.replace(per_class=7, seed=2), split=Split(fraction=0.3, seed=5))
    assert np.array_equal(given.train.images, per_class(split(data, 0.3, 5)[0], 7, 5).images)
    given = Session(data, SMALL.replace(per_class=7, seed=2), split=False)
    assert np.array_equal(given.train.images, per_class(data, 7, 2).images)
    whole = Session(data, SMALL, split=False)
    assert (len(whole.train), whole.test) == (300, None)
    assert run(whole)
    assert whole.finished
    assert whole.evaluation is None


def test_patience_stops_each_network_and_sets_the_number_of_epochs() -> None:
    """With a tiny learning rate no epoch is better than the first."""
    recipe = RELU.replace(lr=1e-30, validation_fraction=0.2, patience=2, epochs=50)
    session = Session(blobs(100), recipe)
    assert run(session) == [(0, 1), (0, 2), (0, 3)]
    assert session.epochs == 3
    assert session.best is not None
    assert session.best[0] == 1
    several = Session(blobs(100), recipe.replace(ensemble=2))
    assert sorted(run(several)) == [(member, epoch) for member in range(2) for epoch in (1, 2, 3)]
    assert several.epochs == 3
    assert several.best is None


def test_an_ensemble_is_trained_for_as_many_epochs_as_the_network_that_patience_stops_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = RELU.replace(validation_fraction=0.2, patience=1, epochs=9, ensemble=3)
    session = Session(blobs(60), recipe, tmp_path / "run", threads=1)
    train_epoch = Trainer.epoch
    epochs: dict[Trainer, int] = {}

    def epoch(trainer: Trainer, number: int, *args: Any) -> Any:
        epochs[trainer] = number
        return train_epoch(trainer, number, *args)

    monkeypatch.setattr(Trainer, "epoch", epoch)
    # They are trained in the order of their numbers.
    last = {0: 2, 1: 4, 2: 1}
    monkeypatch.setattr(Trainer, "stopped", property(lambda one: epochs[one] == last[list(epochs).index(one)]))
    assert [(session.epochs, session.member_epochs) for _ in session] == [
        (0, (1, 0, 0)),
        (0, (1, 1, 0)),
        (1, (1, 1, 1)),
        (1, (2, 1, 1)),
        (2, (2, 2, 1)),
        (3, (2, 3, 1)),
        (4, (2, 4, 1)),
    ]
    assert session.finished
    assert session.model.card.epochs == 4
    assert len(history(tmp_path / "run")) == 5


def test_chunks_are_reported_with_their_network() -> None:
    chunks: list[ChunkReport] = []
    session = Session(blobs(100), SMALL.replace(ensemble=2, epochs=2), on_chunk=chunks.append)
    run(session)
    assert {(chunk.member, chunk.epoch) for chunk in chunks} == {(0, 1), (0, 2), (1, 1), (1, 2)}
    assert {chunk.total for chunk in chunks} == {90}


@pytest.mark.parametrize("ensemble", [1, 2])
def test_a_session_stops_after_the_chunk_in_which_it_is_asked_to(
    ensemble: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Engine, "chunk_size", lambda *_: 8)
    chunks: list[ChunkReport] = []
    session = Session(blobs(100), SMALL.replace(ensemble=ensemble), threads=1)

    def chunk(report: ChunkReport) -> None:
        chunks.append(report)
        session.stop()

    session.on_chunk = chunk
    assert run(session) == []
    assert [(report.epoch, report.done) for report in chunks] == [(1, 8)]


def test_data_and_recipe_can_be_names_or_paths(tmp_path: Path) -> None:
    source = save_npz(blobs(100), tmp_path / "data.npz")
    (tmp_path / "mine.toml").write_text("hidden = [9]\nepochs = 1\n")
    session = Session(source, tmp_path / "mine.toml")
    run(session)
    assert (session.recipe.name, session.sizes) == ("mine", (784, 9, 10))
    assert Session(str(source), "modern").recipe == presets["modern"]


@pytest.mark.parametrize(
    ("data", "recipe", "error", "message"),
    [
        ("missing.npz", SMALL, DataError, "missing.npz: no such file"),
        (blobs(50), "missing", RecipeError, "no such recipe"),
        (blobs(50), SMALL.replace(test_fraction=0.0), DataError, "one side empty"),
        (replace(blobs(60), test=blobs(10, classes=("a", "b"))), SMALL, DataError, "2 classes do not fit"),
        (blobs(50), SMALL.replace(class_weight=(1.0,)), RecipeError, "class_weight has 1 numbers"),
    ],
)
def test_invalid_arguments_are_refused_and_nothing_is_written(
    data: Any, recipe: Any, error: type[FastnnError], message: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        Session(data, recipe, tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("data", [None, 3, b"drawn", Recipe(), ([[0]], [0]), np.zeros((2, 784), np.uint8)])
def test_data_of_a_wrong_type_are_refused(data: Any) -> None:
    arrays = isinstance(data, tuple | np.ndarray)
    hint = "; make one of arrays with fastnn.Dataset(images, labels, classes, source)" if arrays else ""
    message = f"data must be a Dataset, or a name or path to load, not {type(data).__name__}{hint}"
    for call in (fit, Session, load_dataset, fastnn.cross_validate):
        with pytest.raises(DataError) as caught:
            call(data) if call is not Session else Session(data, SMALL)
        assert str(caught.value) == message


@pytest.mark.parametrize("recipe", [3, {"epochs": 2}, blobs(20)])
def test_a_recipe_of_a_wrong_type_is_refused(recipe: Any) -> None:
    message = f"^recipe must be a Recipe, the name of a preset or a .toml file, not {type(recipe).__name__}; presets: "
    for call in (fit, Session, fastnn.cross_validate):
        with pytest.raises(RecipeError, match=message):
            call(blobs(50), recipe)


def test_an_existing_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("mine")
    with pytest.raises(
        FastnnError, match=r"name another folder \(--out\), or continue the run with Session.resume \(--resume\)"
    ):
        Session(blobs(50), SMALL, tmp_path)


# ---- files ----


def test_without_a_folder_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run(Session(blobs(100), SMALL.replace(ensemble=2)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_an_extended_run_equals_an_uninterrupted_one(recipe: Recipe, tmp_path: Path) -> None:
    source = save_npz(blobs(150), tmp_path / "data.npz")
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    run(Session(source, recipe, whole))
    if recipe.needs_total:
        message = (
            rf"^{whole}: its learning rates or averages depend on its 4 epochs; drop epochs= \(--epochs\), or start"
        )
        with pytest.raises(RecipeError, match=message):
            Session.resume(whole, epochs=6)
        stopped = Session(source, recipe, parts)
        for report in stopped:
            if report.epoch == 2:
                break
        resumed = Session.resume(parts)
    else:
        run(Session(source, recipe.replace(epochs=2), parts))
        assert model_bytes(parts) != model_bytes(whole)
        resumed = Session.resume(parts, epochs=4)
    run(resumed)
    assert model_bytes(parts) == model_bytes(whole)
    assert history(parts) == history(whole)
    assert names(parts) == names(whole) == ["history.csv", "model.safetensors", "recipe.toml"]
    assert (parts / "recipe.toml").read_bytes() == (whole / "recipe.toml").read_bytes()


def test_the_history_of_an_ensemble_has_the_means(tmp_path: Path) -> None:
    reports = list(Session(blobs(100), SMALL.replace(ensemble=2, epochs=2), tmp_path / "run"))
    rows = np.genfromtxt(tmp_path / "run" / "history.csv", delimiter=",", names=True)
    assert rows["epoch"].tolist() == [1, 2]
    for row in rows:
        mine = [report for report in reports if report.epoch == row["epoch"]]
        assert row["loss"] == pytest.approx(np.mean([report.loss for report in mine]))
        assert row["seconds"] == pytest.approx(sum(report.seconds for report in mine))


@pytest.mark.parametrize("ensemble", [1, 2])
def test_a_checkpoint_is_written_after_each_epoch_when_it_is_due(
    ensemble: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastnn.runs.CHECKPOINT_SECONDS", -1.0)
    monkeypatch.setattr("fastnn.runs.CHECKPOINT_COST", 0.0)
    folder = tmp_path / "run"
    session = Session(blobs(60), SMALL.replace(ensemble=ensemble, epochs=3), folder, threads=1)
    saved = [load_model(folder).card.epochs for _ in session]
    assert saved == ([0, 1, 2] if ensemble == 1 else [0, 0, 1, 1, 2, 2])
    assert names(folder) == ["history.csv", "model.safetensors", "recipe.toml"]
    # The last epoch is written once, as the finished model.
    written = []
    monkeypatch.setattr("fastnn.runs.write_model", lambda _, path, **__: written.append(path.name))
    run(Session(blobs(60), SMALL.replace(ensemble=ensemble, epochs=1), tmp_path / "other", threads=1))
    first = ["checkpoint.safetensors"] * ensemble  # of the untrained model, and when the first network is ahead
    assert written == [*first, "model.safetensors"]


def test_no_checkpoint_is_written_before_it_is_due(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastnn.runs.CHECKPOINT_SECONDS", 1e9)
    session = Session(blobs(60), SMALL, tmp_path / "run")
    assert [load_model(tmp_path / "run").card.epochs for _ in session] == [0] * 4


def test_a_folder_is_opened_once(tmp_path: Path) -> None:
    session = Session(blobs(60), SMALL.replace(epochs=1), tmp_path / "run")
    session.open()
    session.open()
    assert names(tmp_path / "run") == ["checkpoint.safetensors", "recipe.toml"]
    assert load_model(tmp_path / "run").sha256() == session.model.sha256()
    run(session)


# ---- stopping and resuming ----


@pytest.mark.parametrize("n_test", [0, 1])
def test_a_resumed_run_keeps_a_test_set_of_one_image_or_none(n_test: int, tmp_path: Path) -> None:
    data = blobs(20)
    options: dict[str, Any] = {"split": Split(fraction=0.05, seed=3) if n_test else False}
    recipe = SMALL.replace(per_class=3, seed=2)
    whole = Session(data, recipe, tmp_path / "whole", **options)
    run(whole)
    for _ in Session(data, recipe, tmp_path / "cut", **options):
        break
    resumed = Session.resume(tmp_path / "cut", dataset=data)
    assert (0 if resumed.test is None else len(resumed.test)) == n_test
    assert np.array_equal(resumed.train.images, whole.train.images)
    run(resumed)
    assert (resumed.evaluation is None) == (n_test == 0)
    assert model_bytes(tmp_path / "cut") == model_bytes(tmp_path / "whole")


def test_a_run_with_all_epochs_in_its_checkpoint_is_finished(tmp_path: Path) -> None:
    """It was killed while its model was measured or written."""
    folder = tmp_path / "run"
    run(Session(blobs(60), SMALL, folder))
    before = model_bytes(folder)
    (folder / "model.safetensors").rename(folder / "checkpoint.safetensors")
    resumed = Session.resume(folder, dataset=blobs(60))
    assert run(resumed) == []
    assert resumed.finished
    assert model_bytes(folder) == before
    assert names(folder) == ["history.csv", "model.safetensors", "recipe.toml"]


def test_a_run_that_was_killed_before_its_first_checkpoint_begins_anew(tmp_path: Path) -> None:
    """Earlier versions wrote the recipe first."""
    data, folder = blobs(60), tmp_path / "run"
    run(Session(data, SMALL, tmp_path / "whole"))
    folder.mkdir()
    (folder / "recipe.toml").write_text(SMALL.replace(epochs=2).to_toml())
    with pytest.raises(ModelError, match=rf"^{folder}: was stopped before it saved .*; give its data with dataset="):
        Session.resume(folder)
    with pytest.raises(RecipeError, match="threads must be"):
        Session.resume(folder, dataset=data, threads=0)
    chunks: list[ChunkReport] = []
    resumed = Session.resume(folder, dataset=data, epochs=4, on_chunk=chunks.append)
    assert resumed.notes == (f"{folder}: nothing was saved; training begins anew from its recipe",)
    assert resumed.folder == folder
    run(resumed)
    assert {chunk.epoch for chunk in chunks} == {1, 2, 3, 4}
    assert model_bytes(folder) == model_bytes(tmp_path / "whole")
    assert (folder / "recipe.toml").read_text() == SMALL.to_toml()


def test_a_cosine_run_that_begins_anew_keeps_its_number_of_epochs(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text(RECIPES["cosine"].to_toml())
    with pytest.raises(RecipeError, match=rf"^{tmp_path}: its learning rates or averages depend on its 4 epochs"):
        Session.resume(tmp_path, dataset=blobs(60), epochs=6)


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
@pytest.mark.parametrize("threads", [1, 2])
def test_a_stopped_and_resumed_session_writes_the_same_bytes(recipe: Recipe, threads: int, tmp_path: Path) -> None:
    source = save_npz(blobs(150), tmp_path / "data.npz")
    run(Session(source, recipe, tmp_path / "whole"))
    session = Session(source, recipe, tmp_path / "cut", threads=threads)
    for report in session:
        if report.epoch == 2:
            session.stop()
    assert not session.finished
    assert session.epochs < 4
    assert max(session.member_epochs) >= 2
    written = {"checkpoint.safetensors", "recipe.toml"} | ({"history.csv"} if session.epochs else set())
    assert set(names(tmp_path / "cut")) == written
    assert len(load_model(tmp_path / "cut").networks) == recipe.ensemble
    resumed = Session.resume(tmp_path / "cut")
    assert resumed.member_epochs == session.member_epochs
    run(resumed)
    assert model_bytes(tmp_path / "cut") == model_bytes(tmp_path / "whole")
    assert history(tmp_path / "cut") == history(tmp_path / "whole")
    # The stopped session can continue too.
    run(session)
    assert session.finished
    assert hashes(session) == hashes(resumed)


def test_an_ensemble_stopped_in_its_last_epoch_trains_the_rest(tmp_path: Path) -> None:
    source = save_npz(blobs(100), tmp_path / "data.npz")
    session = Session(source, SMALL.replace(ensemble=2), tmp_path / "run", threads=1)
    for report in session:
        if report.epoch == SMALL.epochs:
            break
    assert sorted(session.member_epochs) == [3, 4]
    # Weights and epochs are enough to resume it.
    model, arrays, extra = read_with_extra(tmp_path / "run" / "checkpoint.safetensors")
    assert (len(model.networks), arrays) == (2, {})
    assert sorted(one["epoch"] for one in extra["training"]["members"]) == [3, 4]
    resumed = Session.resume(tmp_path / "run")
    assert [epoch for _, epoch in run(resumed)] == [4]
    assert resumed.finished


def test_a_run_of_a_version_that_did_not_store_splits_keeps_its_split(tmp_path: Path) -> None:
    source = save_npz(blobs(100), tmp_path / "data.npz")
    session = Session(source, SMALL.replace(test_fraction=0.3, seed=2), tmp_path / "run")
    session.open()
    checkpoint = tmp_path / "run" / "checkpoint.safetensors"
    model, arrays, extra = read_with_extra(checkpoint)
    assert model.card.data is not None
    # The first ones did not store the number of images either.
    card = msgspec.structs.replace(model.card, data=msgspec.structs.replace(model.card.data, split=None, n_test=None))
    write_model(replace(model, card=card), checkpoint, extra_tensors=arrays, extra=extra)
    resumed = Session.resume(tmp_path / "run")
    assert resumed.test is not None
    assert session.test is not None
    assert np.array_equal(resumed.test.images, session.test.images)


def test_a_stop_before_training_is_not_lost() -> None:
    session = Session(blobs(100), SMALL)
    session.stop()
    assert run(session) == []
    assert session.epochs == 0
    assert len(run(session)) == 4


def test_another_thread_can_stop_a_session_within_an_epoch() -> None:
    started = threading.Event()
    session = Session(blobs(100), SMALL.replace(epochs=1_000_000), on_chunk=lambda _: started.set())
    threading.Thread(target=lambda: (started.wait(), session.stop()), daemon=True).start()
    run(session)
    assert not session.finished


@pytest.mark.parametrize("ensemble", [1, 2])
def test_a_second_iterator_is_refused_and_the_first_trains_the_same_weights(ensemble: int) -> None:
    recipe = SMALL.replace(ensemble=ensemble)
    session, whole = Session(blobs(100), recipe, threads=1), Session(blobs(100), recipe)
    run(whole)
    first = iter(session)
    next(first)
    with pytest.raises(FastnnError, match=r"^this session is already being iterated over$"):
        run(session)
    next(first)
    first.close()  # type: ignore[attr-defined]
    run(session)
    assert hashes(session) == hashes(whole)


def test_two_threads_cannot_train_one_session() -> None:
    begun, refused = threading.Event(), threading.Event()

    def chunk(_: ChunkReport) -> None:
        begun.set()
        refused.wait(TIMEOUT)

    session, whole = Session(blobs(100), SMALL, on_chunk=chunk), Session(blobs(100), SMALL)
    thread = threading.Thread(target=run, args=[session])
    thread.start()
    assert begun.wait(TIMEOUT)
    with pytest.raises(FastnnError, match="already being iterated over"):
        run(session)
    refused.set()
    thread.join()
    run(whole)
    assert hashes(session) == hashes(whole)


@pytest.mark.parametrize("ensemble", [1, 2])
def test_ctrl_c_without_a_handler_keeps_the_last_whole_epoch(ensemble: int, tmp_path: Path) -> None:
    session = Session(blobs(100), SMALL.replace(ensemble=ensemble, epochs=1_000_000), tmp_path / "run")

    def interrupted() -> None:
        for report in session:
            if report.epoch == 3:
                signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert load_model(tmp_path / "run").network.sha256() == hashes(session)[0]
    # One network may be ahead of the other.
    assert max(session.member_epochs) == 3


@pytest.mark.parametrize("ensemble", [1, 3])
def test_leaving_the_loop_keeps_the_reported_epochs(ensemble: int, tmp_path: Path) -> None:
    session = Session(blobs(100), SMALL.replace(ensemble=ensemble), tmp_path / "run")
    for report in session:
        if report.epoch == 2:
            break
    assert max(session.member_epochs) == 2
    whole = Session(blobs(100), SMALL.replace(ensemble=ensemble))
    run(whole)
    run(session)
    assert hashes(session) == hashes(whole)


@pytest.mark.parametrize("ensemble", [1, 2])
def test_an_error_in_a_callback_is_raised_and_the_run_can_be_resumed(ensemble: int, tmp_path: Path) -> None:
    def fail(chunk: ChunkReport) -> None:
        if chunk.epoch == 3:
            raise KeyError("unexpected")

    source = save_npz(blobs(100), tmp_path / "data.npz")
    recipe = SMALL.replace(ensemble=ensemble)
    with pytest.raises(KeyError, match="unexpected"):
        run(Session(source, recipe, tmp_path / "run", on_chunk=fail))
    resumed, whole = Session.resume(tmp_path / "run"), Session(source, recipe)
    run(resumed)
    run(whole)
    assert hashes(resumed) == hashes(whole)


@pytest.mark.parametrize("ensemble", [1, 2])
def test_diverging_training_is_an_error_and_keeps_the_last_good_epoch(
    ensemble: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Recipe, "lr_at", lambda _, epoch: 0.02 if epoch < 3 else 1e6)
    session = Session(blobs(120), DIVERGING.replace(ensemble=ensemble), tmp_path / "run", threads=1)
    with pytest.raises(TrainingError) as caught:
        run(session)
    network = r"network 1: " if ensemble > 1 else ""
    message = (
        rf"^{network}training diverged in epoch 3 \(loss is not finite\); try a learning rate below 1e\+06; "
        rf"{tmp_path / 'run'} keeps epoch 2$"
    )
    assert caught.match(message)
    model = load_model(tmp_path / "run")
    assert all(network.is_finite() for network in model.networks)
    assert session.member_epochs == (2,) * ensemble


def test_diverging_training_without_a_folder_names_none() -> None:
    with pytest.raises(TrainingError, match=r"; try a learning rate below 1e\+06$"):
        run(Session(blobs(120), DIVERGING))


def test_a_full_disk_is_a_training_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session(blobs(100), SMALL, tmp_path / "run")
    session.open()

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(
        TrainingError, match=r"run: the run cannot be written \(No space left on device\); free some space"
    ):
        run(session)
    monkeypatch.undo()
    run(session)
    assert session.finished


def test_runs_that_cannot_be_resumed_are_refused(tmp_path: Path) -> None:
    source = save_npz(blobs(100), tmp_path / "data.npz")
    run(Session(source, SMALL, tmp_path / "run"))
    for epochs in (None, 3, 4):
        with pytest.raises(
            RecipeError, match=r"run: is trained for 4 epochs already; ask for more with epochs= \(--epochs\)$"
        ):
            Session.resume(tmp_path / "run", epochs=epochs)
    with pytest.raises(RecipeError, match="epochs must be"):
        Session.resume(tmp_path / "run", epochs=0)
    with pytest.raises(DataError, match=r"is not the data that .*run was trained on"):
        Session.resume(tmp_path / "run", epochs=5, dataset=blobs(100, seed=5))
    with pytest.raises(ModelError, match="no run folder"):
        Session.resume(tmp_path / "missing")
    with pytest.raises(DataError, match=rf"^{tmp_path / 'other.npz'}: no such file"):
        Session.resume(tmp_path / "run", epochs=5, dataset=tmp_path / "other.npz")
    source.unlink()
    message = rf"run: its data cannot be loaded \({source}: no such file.*\); give them with dataset= \(--data\)$"
    with pytest.raises(DataError, match=message):
        Session.resume(tmp_path / "run", epochs=5)
    run(Session.resume(tmp_path / "run", epochs=5, dataset=blobs(100)))
    assert load_model(tmp_path / "run").network.is_finite()


def change_weights(model: Model, _arrays: dict[str, Any], _extra: dict[str, Any]) -> Model:
    network = model.network.copy()
    network.weights[1][0, 0] += 1
    return Model((network, *model.networks[1:]), model.classes, model.invert, model.normalise, model.card)


def change_state(model: Model, arrays: dict[str, Any], _extra: dict[str, Any]) -> Model:
    for array in arrays.values():
        array[...] = array[::-1].copy()
    return model


def change_epoch_of_state(model: Model, _arrays: dict[str, Any], extra: dict[str, Any]) -> Model:
    for state in (extra["training"], *extra["training"].get("members", ())):
        if "epoch" in state:
            state["epoch"] = 1
    return model


def change_test_set(model: Model, _arrays: dict[str, Any], _extra: dict[str, Any]) -> Model:
    assert model.card.data is not None
    return model.with_card(data=msgspec.structs.replace(model.card.data, n_test=3))


def change_split(model: Model, _arrays: dict[str, Any], _extra: dict[str, Any]) -> Model:
    assert model.card.data is not None
    return model.with_card(data=msgspec.structs.replace(model.card.data, split=Split(fraction=0.5)))


@pytest.mark.parametrize(
    ("recipe", "change"),
    [
        *product(["original", "ensemble", "ema"], [change_test_set, change_split]),
        *product(["ema", "validation", "ensemble, ema and validation"], [change_weights, change_state]),
        *product(["ema", "ensemble, ema and validation"], [change_epoch_of_state]),
    ],
)
def test_a_checkpoint_that_contradicts_itself_is_refused(recipe: str, change: Any, tmp_path: Path) -> None:
    data, folder = blobs(150), tmp_path / "run"
    run(Session(data, RECIPES[recipe].replace(epochs=2), folder, threads=1))
    file = folder / "model.safetensors"
    model, arrays, extra = read_with_extra(file)
    changed = change(model, arrays, extra)
    write_model(changed, file, extra_tensors=arrays, extra=extra)
    with pytest.raises(ModelError, match=f"^{folder}: [^\n]*(contradict|damaged)"):
        Session.resume(folder, epochs=4, dataset=data)


def test_a_checkpoint_without_the_state_that_its_recipe_needs_is_refused(tmp_path: Path) -> None:
    data, folder = blobs(60), tmp_path / "run"
    run(Session(data, RECIPES["ema"].replace(epochs=2), folder))
    save_model(load_model(folder), folder / "model.safetensors")
    with pytest.raises(ModelError, match=rf"^{folder}: the training state does not fit the recipe; the checkpoint is"):
        Session.resume(folder, epochs=4, dataset=data)


@pytest.mark.parametrize("trained", [0, 1])
def test_an_ensemble_of_which_no_or_one_network_is_trained_is_resumed(trained: int, tmp_path: Path) -> None:
    """In runs of the first version the model of the run may be the untrained one."""
    data, folder, recipe = blobs(60), tmp_path / "run", SMALL.replace(ensemble=2, epochs=1)
    Session(data, recipe, folder).open()
    (folder / "checkpoint.safetensors").rename(folder / "model.safetensors")
    if trained:
        run(Session(data, recipe.replace(ensemble=1), folder / "member-1"))
    resumed = Session.resume(folder, dataset=data)
    assert resumed.member_epochs == (trained, 0)
    assert sorted(run(resumed)) == [(member, 1) for member in range(trained, 2)]
    whole = Session(data, recipe)
    run(whole)
    assert hashes(resumed) == hashes(whole)


@pytest.mark.parametrize("recipe", [RECIPES["ensemble"], RECIPES["ensemble, ema and validation"]])
def test_an_ensemble_of_the_first_version_is_resumed_from_its_folders(recipe: Recipe, tmp_path: Path) -> None:
    """Each network had its own folder; here the first has trained two epochs, and the others were killed."""
    source, cut = save_npz(blobs(150), tmp_path / "data.npz"), tmp_path / "cut"
    run(Session(source, recipe, tmp_path / "whole"))
    Session(source, recipe, cut).open()
    for report in Session(source, recipe.replace(ensemble=1), cut / "member-1"):
        if report.epoch == 2:
            break
    (cut / "member-2").mkdir()
    resumed = Session.resume(cut)
    assert resumed.member_epochs == (2, *[0] * (recipe.ensemble - 1))
    for report in resumed:
        if report.epoch == 3:
            break
    # Now the run's own checkpoint is the latest one.
    run(Session.resume(cut))
    assert model_bytes(cut) == model_bytes(tmp_path / "whole")
    assert history(cut) == history(tmp_path / "whole")


# ---- fit ----


def test_fit_runs_a_session_to_its_end(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = tmp_path / "run"
    epochs = []
    recipe = SMALL.replace(ensemble=2)
    model = fit(blobs(150), recipe, out, on_epoch=lambda report: epochs.append((report.member, report.epoch)))
    assert load_model(out).networks[1].sha256() == model.networks[1].sha256()
    session = Session(blobs(150), recipe)
    assert sorted(epochs) == sorted(run(session))
    assert [network.sha256() for network in model.networks] == hashes(session)
    # Nothing is shown without a terminal.
    assert capsys.readouterr() == ("", "")


def test_fit_refuses_a_wrong_number_of_threads() -> None:
    with pytest.raises(RecipeError, match="threads"):
        fit(blobs(50), SMALL, threads=0)


def test_fit_warns_about_blank_images() -> None:
    data = blobs(100)
    data.images[:] = 255
    blank = Dataset(np.concatenate([blobs(100).images, data.images[:1]]), np.r_[data.labels, 0], data.classes, "blobs")
    with pytest.warns(UserWarning, match="1 of the training images are blank") as caught:
        fit(replace(blank, test=blobs(20)), DISTORTED.replace(epochs=1), progress=False)
    # The warning points at the caller's line.
    assert [warning.filename for warning in caught] == [__file__]


@pytest.mark.parametrize("ensemble", [1, 2])
def test_fit_shows_bars_on_a_terminal(
    ensemble: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    recipe = SMALL.replace(ensemble=ensemble)
    fit(blobs(100), recipe)
    output, shown = capsys.readouterr()
    assert output == ""
    assert "training" in shown
    assert bool(re.search(r"network [12], epoch", shown)) == (ensemble == 2)
    fit(blobs(100), recipe, progress=False)
    assert capsys.readouterr() == ("", "")


# ---- recorded weights ----

GOLDEN = {
    "original": ["9bd794b6d098be18ed35c0d0503eeca69e4f94f6bc93c579c0456f3103dca803"],
    "modern": [
        "bb24540e081d357acc311c9f61a5a0c35efebe0509be748150d54a925cae9bf3",
        "9dac32a6a82750a59352b3a58443f20620ce6507be736300b0e82d01d1f38851",
    ],
    "mnist": ["853e65101f6f1949537a772509bdb4006b4008144ff3f1c509a8495671735abf"],
}
"""Checksums after two epochs on the real digits. A change here changes the result of every seed: note it in the
changelog."""


@pytest.mark.parametrize("preset", GOLDEN)
def test_presets_give_the_recorded_weights(preset: str, shared: Path) -> None:
    data = load_dataset(shared / "digits" / "dataset.json")
    session = Session(data, presets[preset].replace(epochs=2, seed=3))
    run(session)
    assert hashes(session) == GOLDEN[preset]


def test_the_own_validation_set_selects_the_best_epoch() -> None:
    drawn = load_dataset("drawn:300")
    own = replace(drawn.take(range(200)), validation=drawn.take(range(200, 240)), test=drawn.take(range(240, 300)))
    session = Session(own, Recipe(hidden=(12,), epochs=2))
    assert "the 40 samples of its validation set are not used" in session.notes[0]
    session = Session(own, Recipe(hidden=(12,), epochs=2, validation_fraction=0.2))
    reports = list(session)
    assert (len(session.train), session.notes) == (200, ())
    right = evaluate(session.model, drawn.take(range(200, 240))).accuracy
    assert session.best is not None
    epoch, accuracy = session.best
    assert accuracy == right
    assert [report.validation_accuracy for report in reports if report.epoch == epoch] == [right]


def test_a_run_is_resumed_with_the_polarity_that_was_asked_for(tmp_path: Path) -> None:
    drawn = load_dataset("drawn:100")
    np.savez(tmp_path / "a.npz", images=drawn.images, labels=drawn.labels)
    data = load_dataset(tmp_path / "a.npz", polarity="light-on-dark")
    run(Session(data, Recipe(hidden=(12,), epochs=1), tmp_path / "run", source=str(tmp_path / "a.npz")))
    resumed = Session.resume(tmp_path / "run", epochs=2)
    assert resumed.train.polarity == "light-on-dark"
    assert resumed.card.data is not None
    assert resumed.card.data.polarity_option == "light-on-dark"


def test_the_card_says_how_little_evidence_test_images_have() -> None:
    drawn = load_dataset("drawn:400")
    own = replace(drawn.take(range(150)), test=drawn.take(range(150, 400)))
    session = Session(own, Recipe(hidden=(12,), epochs=2))
    list(session)
    found = evidence(session.model.predict_proba(own.test.images))  # type: ignore[union-attr]
    least = session.model.card.least_evidence
    assert least is not None
    assert 0 < (found < least).sum() <= 4
    few = Session(replace(own, test=own.test.take(range(100))), Recipe(hidden=(12,), epochs=1))  # type: ignore[union-attr]
    list(few)
    assert few.model.card.least_evidence is None


def test_probabilities_of_a_smoothed_training_are_calibrated() -> None:
    recipe = Recipe(hidden=(8,), rule="backprop", init="xavier", label_smoothing=0.2, epochs=1)
    calibrated, plain = (fit("drawn:200", one, progress=False) for one in (recipe, recipe.replace(calibrate=False)))
    assert calibrated.card.calibration is not None
    assert calibrated.card.calibration.label_smoothing == 0.2
    assert plain.card.calibration is None
    assert calibrated.sha256() == plain.sha256()
    assert calibrated.card.metrics == plain.card.metrics
    assert fit("drawn:200", recipe.replace(label_smoothing=0.0), progress=False).card.calibration is None


def test_calibration_error_on_real_digits_is_small(shared: Path) -> None:
    recipe = presets["modern"].replace(epochs=8, hidden=(100, 40), ensemble=1)
    session = Session(str(shared / "digits"), recipe)
    list(session)
    model, test = session.model, session.test
    raw, calibrated = as_probabilities(model.outputs(test.images)), model.predict_proba(test.images)
    assert reliability(raw, test.labels).ece > 0.05
    assert reliability(calibrated, test.labels).ece < 0.03
