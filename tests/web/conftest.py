"""Fixtures: a small model, the app on an empty database, servers in their own processes, and PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from fastapi.testclient import TestClient

from fastnn.datasets import Dataset, load_dataset, split
from fastnn.datasets.split import Split
from fastnn.formats import save_model
from fastnn.model import DataCard, ModelCard
from fastnn.recipe import Recipe
from fastnn.training import as_model
from fastnn.training_loops import train
from fastnn.web.app import Settings, create_app
from fastnn.web.serving import ServedModel
from fastnn.web.store import Store
from tests.web.postgres import missing_postgres, new_database, postgres
from tests.web.servers import TOKEN, Server, servers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from fastnn.model import Model


@pytest.fixture(scope="session")
def drawn() -> Dataset:
    return load_dataset("drawn:1500")


@pytest.fixture(scope="session")
def model(drawn: Dataset) -> Model:
    """A model trained long enough to recognise most drawn digits with high probability."""
    recipe = Recipe(hidden=(40,), rule="backprop", init="xavier", invert=True, epochs=6, lr=0.02)
    learn, test = split(drawn)
    network = recipe.network(784, 10)
    reports = list(train(network, learn, recipe, test=test))
    accuracy = reports[-1].test_accuracy
    assert accuracy is not None
    data = DataCard(source="drawn:1500", description="drawn", hash=drawn.content_hash, n_test=len(test), split=Split())
    card = ModelCard(recipe=recipe, epochs=6, data=data, metrics={"test_accuracy": accuracy})
    return as_model(network, learn, recipe, card)


@pytest.fixture(scope="session")
def loaded(model: Model) -> ServedModel:
    return ServedModel.from_model(model, "test")


@pytest.fixture(scope="session")
def model_file(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    save_model(model, path)
    return path


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """A PostgreSQL server (Debian's) on a free port; yields its URL without a database name."""
    reason = missing_postgres()
    if reason is not None:
        pytest.skip(reason)
    with postgres() as url:
        yield url


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """An empty PostgreSQL database."""
    with new_database(postgres_server) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database, one of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'digits.db'}"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    opened = Store(url)
    yield opened
    opened.close()


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'digits.db'}"


@pytest.fixture
def client(sqlite_url: str, loaded: ServedModel) -> Iterator[TestClient]:
    """A client of the app on an empty SQLite database, without a rate limit."""
    app = create_app(Settings(Store(sqlite_url), TOKEN, loaded, rate=0))
    with TestClient(app, raise_server_exceptions=False) as opened:
        yield opened


@pytest.fixture(scope="module")
def unchanged(loaded: ServedModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A client as above, for the many tests of a module whose requests are refused: they must not change anything."""
    url = f"sqlite:///{tmp_path_factory.mktemp('unchanged') / 'digits.db'}"
    app = create_app(Settings(Store(url), TOKEN, loaded, rate=0))
    with TestClient(app, raise_server_exceptions=False) as opened:
        yield opened


@pytest.fixture
def serve(tmp_path: Path, model_file: Path) -> Iterator[Callable[..., Server]]:
    """A function that starts ``fastnn serve``; see :func:`tests.web.servers.servers`."""
    with servers(tmp_path, model_file) as start:
        yield start
