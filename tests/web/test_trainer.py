import json
import logging
import threading
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient

from fastnn.cli.serve import newest_run
from fastnn.datasets import Dataset
from fastnn.datasets.database import import_dataset
from fastnn.formats import load_model
from fastnn.model import Model
from fastnn.network import Network
from fastnn.web.app import Settings, create_app
from fastnn.web.serving import ServedModel
from fastnn.web.store import Store, StoreError
from fastnn.web.trainer import SPLIT, Trainer
from tests.helpers import TIMEOUT, wait_for
from tests.web.servers import BEARER, TOKEN, accept, digit

RECIPE = 'rule = "backprop"\ninvert = true\ninit = "xavier"\nhidden = [30]\nepochs = 8\nlr = 0.05\n'


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    path = tmp_path / "quick.toml"
    path.write_text(RECIPE)
    return str(path)


@pytest.fixture
def poor() -> ServedModel:
    return ServedModel.from_model(Model((Network((784, 10)).initialise("uniform", 0),), tuple("0123456789")), "poor")


def make(
    store: Store, every: int, current: ServedModel | None, taken: list[ServedModel], folder: Path, recipe: str
) -> Trainer:
    return Trainer(store, every, current=lambda: current, take_over=taken.append, folder=folder, recipe=recipe)


def test_held_back_digits_stay_held_back_with_their_copies(drawn: Dataset) -> None:
    learn, held = SPLIT.divide(drawn)
    assert 0.05 < len(held) / len(drawn) < 0.15
    shuffled = drawn.take(np.random.default_rng(1).permutation(len(drawn)))
    _, again = SPLIT.divide(shuffled.take(range(700)))
    before = {image.tobytes() for image in held.images}
    assert {image.tobytes() for image in again.images} <= before
    assert not before & {image.tobytes() for image in learn.images}


def test_a_better_network_takes_over_and_earlier_runs_stay(
    store: Store, drawn: Dataset, poor: ServedModel, tmp_path: Path, recipe: str
) -> None:
    store.first_used(poor.key)
    accept(store, drawn.take(range(600)))
    taken: list[ServedModel] = []
    runs = tmp_path / "runs"
    trainer = make(store, 500, poor, taken, runs, recipe)
    assert trainer.train_if_due()
    assert [one.name for one in taken] == ["quick"]
    path, trained = store.training()
    assert trained == 600
    assert path is not None
    assert load_model(path).network.sha256() == taken[0].model.network.sha256()
    assert 0.4 < taken[0].model.card.metrics["test_accuracy"] <= 1
    # It does not train again before 500 more are accepted.
    assert not trainer.train_if_due()
    accept(store, drawn.take(range(600, 1200)))
    assert trainer.train_if_due()
    # Serve does not find them as the newest run, since the second one may have lost.
    assert len(list((runs / "web").glob("*/model.safetensors"))) == 2
    assert newest_run(runs) is None


def test_all_networks_of_the_recipe_are_trained_and_the_card_has_their_epochs(
    store: Store, drawn: Dataset, tmp_path: Path
) -> None:
    """With a tiny learning rate no epoch is better than the first, and patience stops training."""
    accept(store, drawn.take(range(600)))
    recipe = tmp_path / "patient.toml"
    recipe.write_text(
        RECIPE.replace("epochs = 8", "epochs = 50").replace("lr = 0.05", "lr = 1e-30")
        + "ensemble = 2\nvalidation_fraction = 0.2\npatience = 2\n"
    )
    taken: list[ServedModel] = []
    assert make(store, 500, None, taken, tmp_path / "runs", str(recipe)).train_if_due()
    model = taken[0].model
    assert len(model.networks) == 2
    assert model.card.epochs == 3
    path, _ = store.training()
    assert path is not None
    assert load_model(path).card == model.card


def test_a_network_for_classes_of_ones_own_is_trained_and_compared_by_their_names(
    url: str, drawn: Dataset, tmp_path: Path, recipe: str
) -> None:
    names = tuple("JIHGFEDCBA")
    store = Store(url, names)
    accept(store, drawn.take(range(600)))
    # It has the same classes in another order, and one more.
    other = Model((Network((784, 11)).initialise("uniform", 0),), (*sorted(names), "Z"))
    old = ServedModel.from_model(other, "old")
    store.first_used(old.key)
    accept(store, drawn.take(range(600, 1200)))
    taken: list[ServedModel] = []
    assert make(store, 500, old, taken, tmp_path / "runs", recipe).train_if_due()
    (new,) = taken
    assert new.model.classes == names
    images = drawn.images[1200:]
    scores = new.scores(images, drawn.labels[1200:].tolist(), names)
    predicted = np.array([score.predicted_label for score in scores])
    assert np.mean(predicted == drawn.labels[1200:]) > 0.4
    store.close()


def test_a_worse_network_does_not_take_over(store: Store, drawn: Dataset, loaded: ServedModel, tmp_path: Path) -> None:
    store.first_used(loaded.key)
    accept(store, drawn.take(range(600)))
    bad = tmp_path / "bad.toml"
    bad.write_text(RECIPE.replace("lr = 0.05", "lr = 1e-9").replace("epochs = 8", "epochs = 1"))
    taken: list[ServedModel] = []
    assert make(store, 500, loaded, taken, tmp_path / "runs", str(bad)).train_if_due()
    assert taken == []
    assert store.training() == (None, 600)
    assert newest_run(tmp_path / "runs") is None


def test_a_model_is_compared_only_on_digits_it_cannot_have_seen(
    store: Store,
    url: str,
    drawn: Dataset,
    poor: ServedModel,
    tmp_path: Path,
    recipe: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It may have seen digits that were there before it, imported digits, and copies of these."""
    before = drawn.take(range(400))
    accept(store, before)
    known = store.first_used(poor.key)
    accept(store, before)
    import_dataset(drawn.take(range(400, 800)), url)
    taken: list[ServedModel] = []
    trainer = make(store, 500, poor, taken, tmp_path / "runs", recipe)
    assert store.unseen(known) == set()
    assert not trainer.train_if_due()
    assert not (tmp_path / "runs").exists()
    new = drawn.take(range(800, 1200))
    accept(store, new)
    assert store.unseen(known) == {image.tobytes() for image in new.images}
    assert store.first_used(poor.key) == known
    assert trainer.train_if_due()
    assert len(taken) == 1
    # A model that was trained here has seen no held back digit, and is compared on all of them.
    data = taken[0].model.card.data
    assert data is not None
    assert (data.split, data.hash) == (SPLIT, store.dataset().content_hash)
    assert data.n_test == len(SPLIT.divide(store.dataset())[1]) > 80
    accept(store, drawn.take(range(1200, 1500)))
    caplog.set_level(logging.INFO, "fastnn.web")
    assert make(store, 300, taken[0], taken, tmp_path / "runs", recipe).train_if_due()
    (started,) = [event for event in map(json.loads, caplog.messages) if event["event"] == "training"]
    assert started["compared_on"] == started["held_back"] == len(SPLIT.divide(store.dataset())[1])


@pytest.mark.parametrize("part", ["fastnn.session.Session", "fastnn.evaluation.metrics.evaluate"])
def test_failed_training_is_not_repeated_with_the_same_digits_and_leaves_no_model(
    store: Store,
    drawn: Dataset,
    tmp_path: Path,
    recipe: str,
    poor: ServedModel,
    monkeypatch: pytest.MonkeyPatch,
    part: str,
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise KeyError("unexpected")

    store.first_used(poor.key)
    accept(store, drawn.take(range(600)))
    trainer = make(store, 500, poor, [], tmp_path / "runs", recipe)
    with monkeypatch.context() as patched:
        patched.setattr(part, broken)
        with pytest.raises(KeyError):
            trainer.train_if_due()
    assert not list((tmp_path / "runs").rglob("*.safetensors"))
    assert store.training() == (None, 600)
    assert not trainer.train_if_due()
    assert not make(store, 500, poor, [], tmp_path / "runs", recipe).train_if_due()
    accept(store, drawn.take(range(600, 1100)))
    assert trainer.train_if_due()


def test_a_full_database_does_not_cause_endless_training(
    store: Store, drawn: Dataset, tmp_path: Path, recipe: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise StoreError("the disk is full")

    accept(store, drawn.take(range(600)))
    taken: list[ServedModel] = []
    trainer = make(store, 500, None, taken, tmp_path / "runs", recipe)
    monkeypatch.setattr(store, "note_training", full)
    with pytest.raises(StoreError):
        trainer.train_if_due()
    assert not trainer.train_if_due()
    assert taken == []


def test_the_thread_survives_unexpected_errors(
    store: Store, tmp_path: Path, recipe: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make(store, 500, None, [], tmp_path / "runs", recipe)
    tries: list[int] = []
    twice = threading.Event()

    def broken() -> bool:
        tries.append(len(tries))
        if len(tries) == 2:
            twice.set()
        trainer.wake()
        raise KeyError("unexpected")

    monkeypatch.setattr(trainer, "train_if_due", broken)
    trainer.start()
    assert twice.wait(TIMEOUT)
    trainer.stop()


def test_too_few_digits_are_not_trained_on(store: Store, url: str, drawn: Dataset, tmp_path: Path, recipe: str) -> None:
    import_dataset(drawn.take(range(30)), url)
    assert not make(store, 10, None, [], tmp_path / "runs", recipe).train_if_due()
    assert not (tmp_path / "runs").exists()


def test_the_app_trains_in_the_background_and_rescores_the_queue(
    sqlite_url: str, drawn: Dataset, poor: ServedModel, tmp_path: Path, recipe: str
) -> None:
    store = Store(sqlite_url)
    store.first_used(poor.key)
    accept(store, drawn.take(range(599)))
    settings = Settings(store, TOKEN, poor, rate=0, train_every=600, runs=tmp_path / "runs", recipe=recipe)
    app = create_app(settings)
    state = app.state.fastnn
    with TestClient(app) as client:
        waiting, last = digit(drawn, 700), digit(drawn, 701)
        client.post("/api/digits", json={"digits": [waiting, last]})
        before = client.get("/api/review", headers=BEARER).json()["digits"]
        client.post(f"/api/review/{last['id']}", json={"action": "accept"}, headers=BEARER)
        wait_for(lambda: client.get("/api/health").json()["model"]["name"] == "quick", "the new network to take over")
        wait_for(lambda: store.outdated(state.model.key) == [], "the new network to judge the queue")
        # The queue is sorted by the uncertainty of the new network.
        after = client.get("/api/review", headers=BEARER).json()["digits"]
        assert [one["id"] for one in after] == [waiting["id"]]
        assert after[0]["uncertainty"] != next(one for one in before if one["id"] == waiting["id"])["uncertainty"]


def test_stopping_the_server_abandons_training(store: Store, drawn: Dataset, poor: ServedModel, tmp_path: Path) -> None:
    store.first_used(poor.key)
    accept(store, drawn)
    endless = tmp_path / "endless.toml"
    endless.write_text(RECIPE.replace("epochs = 8", "epochs = 1000000"))
    trainer = make(store, 500, poor, [], tmp_path / "runs", str(endless))
    trainer.start()
    wait_for(lambda: any((tmp_path / "runs" / "web").glob("*/history.csv")), "the first epochs")
    trainer.stop()
    assert "trainer" not in {thread.name for thread in threading.enumerate()}
    # Training starts again with the next start of the server.
    assert store.training() == (None, 0)
    assert list((tmp_path / "runs" / "web").iterdir()) == []
