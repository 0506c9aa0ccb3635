"""Fixtures: a small model, the app on an empty database, servers in their own processes, and PostgreSQL."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fastapi.testclient import TestClient

from fastnn.datasets import Dataset, load_dataset, split
from fastnn.datasets.split import Split
from fastnn.formats import save_model
from fastnn.model import DataCard, ModelCard
from fastnn.recipe import Recipe
from fastnn.training import as_model, train
from fastnn.web.app import Settings, create_app
from fastnn.web.serving import ServedModel
from fastnn.web.store import Store
from tests.helpers import TIMEOUT
from tests.web.servers import TOKEN, Server, free_port, servers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not found:
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    # Not in pytest's folder, which another session may remove while this one runs; and not in this user's own
    # temporary folder, which the user that PostgreSQL runs as may not enter.
    folder = Path(tempfile.mkdtemp(prefix="fastnn-postgres-", dir="/tmp"))
    # PostgreSQL refuses to run as root.
    as_user: dict[str, Any] = {}
    if os.geteuid() == 0:
        folder.chmod(0o755)
        shutil.chown(folder, "postgres")
        as_user = {"user": "postgres", "group": "postgres", "extra_groups": []}
    tools, data, port = found[-1], folder / "data", free_port()

    def run(*command: str | Path) -> None:
        subprocess.run(
            [str(part) for part in command],
            check=True,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIMEOUT,
            cwd="/",
            **as_user,
        )

    try:
        run(tools / "initdb", "-D", data, "-A", "trust", "-U", "tester", "--no-sync", "--locale=C", "-E", "UTF8")
        options = f"-p {port} -c unix_socket_directories= -c listen_addresses=127.0.0.1"
        run(tools / "pg_ctl", "-D", data, "-o", options, "-w", "-l", folder / "log", "start")
        try:
            yield f"postgresql://tester@127.0.0.1:{port}/"
        finally:
            run(tools / "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """An empty PostgreSQL database."""
    import psycopg

    name = f"test_{os.urandom(6).hex()}"
    with psycopg.connect(f"{postgres_server}postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")  # type: ignore[arg-type]
        yield postgres_server + name
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")  # type: ignore[arg-type]


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


@pytest.fixture
def serve(tmp_path: Path, model_file: Path) -> Iterator[Callable[..., Server]]:
    """A function that starts ``fastnn serve``; see :func:`tests.web.servers.servers`."""
    with servers(tmp_path, model_file) as start:
        yield start
