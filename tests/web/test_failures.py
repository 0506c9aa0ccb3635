"""If the database fails or the disk is full, the server answers 503 and loses no acknowledged digit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from fastapi.testclient import TestClient

from fastnn.datasets import load_dataset
from fastnn.datasets.database import import_dataset
from fastnn.datasets.schema import insert_new
from fastnn.errors import DataError
from fastnn.web.app import Settings, create_app
from fastnn.web.store import Store
from tests.helpers import TIMEOUT, environment, file_contents
from tests.web.servers import BEARER, TOKEN, Server, digit

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from sqlalchemy.engine import Connection, Engine

    from fastnn.datasets import Dataset
    from fastnn.web.serving import ServedModel


def pending_ids(client: TestClient | httpx.Client) -> set[str]:
    answer = client.get("/api/review?limit=100", headers=BEARER)
    assert answer.status_code == 200
    return {one["id"] for one in answer.json()["digits"]}


def test_a_dropped_connection_is_opened_again(postgres_url: str, loaded: ServedModel, drawn: Dataset) -> None:
    import psycopg

    with (
        TestClient(create_app(Settings(Store(postgres_url), TOKEN, loaded, rate=0))) as client,
        closing(psycopg.connect(postgres_url, autocommit=True)) as other,
    ):
        first, second = digit(drawn, 0), digit(drawn, 1)
        assert client.post("/api/digits", json={"digits": [first]}).status_code == 201
        dropped = other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        ).fetchall()
        assert dropped
        assert client.post("/api/digits", json={"digits": [second]}).status_code == 201
        assert pending_ids(client) == {first["id"], second["id"]}


def test_a_database_that_is_unavailable_for_a_while(
    postgres_server: str, postgres_url: str, loaded: ServedModel, drawn: Dataset
) -> None:
    import psycopg

    name = postgres_url.rsplit("/", 1)[1]

    def allow(yes: bool) -> None:
        with closing(psycopg.connect(f"{postgres_server}postgres", autocommit=True)) as connection:
            connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS {yes}")  # type: ignore[arg-type]
            connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])

    with TestClient(create_app(Settings(Store(postgres_url), TOKEN, loaded, rate=0))) as client:
        stored, refused = digit(drawn, 0), digit(drawn, 1)
        body: dict[str, Any] = {"digits": [stored, refused]}
        assert client.post("/api/digits", json={"digits": [stored]}).status_code == 201
        allow(False)
        answers = [
            client.post("/api/digits", json=body),
            client.post(f"/api/review/{stored['id']}", json={"action": "accept"}, headers=BEARER),
            client.get("/api/review", headers=BEARER),
            client.get("/api/stats"),
            client.get("/api/health"),
            client.get("/dataset.json"),
            client.get("/mosaic.png"),
        ]
        assert [answer.status_code for answer in answers] == [503] * len(answers)
        assert {answer.headers["retry-after"] for answer in answers} == {"5"}
        assert {answer.text for answer in answers} == {
            '{"detail":"the database is not available at the moment; please try again"}'
        }
        # Predictions do not need the database.
        assert client.post("/api/predict", json={"image": stored["image"]}).status_code == 200
        allow(True)
        assert client.post("/api/digits", json=body).json() == {"stored": 1}
        assert pending_ids(client) == {stored["id"], refused["id"]}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps files that are open")
@pytest.mark.parametrize("replaced", [False, True])
def test_a_database_file_that_is_deleted_or_replaced_is_not_written_to(
    loaded: ServedModel, drawn: Dataset, tmp_path: Path, replaced: bool
) -> None:
    path, away = tmp_path / "digits.db", tmp_path / "away"
    away.mkdir()
    with TestClient(create_app(Settings(Store(f"sqlite:///{path}"), TOKEN, loaded, rate=0))) as client:
        one, refused = digit(drawn, 0), digit(drawn, 1)
        assert client.post("/api/digits", json={"digits": [one]}).status_code == 201
        for file in tmp_path.glob("digits.db*"):
            file.rename(away / file.name)
        if replaced:
            import_dataset(drawn.take([5]), f"sqlite:///{path}")
        before = file_contents(tmp_path)
        for answer in (
            client.post("/api/digits", json={"digits": [refused]}),
            client.post(f"/api/review/{one['id']}", json={"action": "accept"}, headers=BEARER),
            client.get("/api/review", headers=BEARER),
            client.get("/api/stats"),
            client.get("/api/health"),
            client.get("/dataset.json"),
        ):
            assert answer.status_code == 503
            assert answer.json()["detail"] == "the database is not available at the moment; please try again"
        assert client.post("/api/predict", json={"image": one["image"]}).status_code == 200
        assert file_contents(tmp_path) == before
        for file in tmp_path.glob("digits.db*"):
            file.unlink()
        for file in away.iterdir():
            file.rename(tmp_path / file.name)
        assert client.post("/api/digits", json={"digits": [refused]}).json() == {"stored": 1}
        assert pending_ids(client) == {one["id"], refused["id"]}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps files that are open")
def test_digits_written_while_the_file_is_deleted_are_not_acknowledged(
    sqlite_url: str, drawn: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(sqlite_url.removeprefix("sqlite:///"))
    with TestClient(create_app(Settings(Store(sqlite_url), TOKEN, None, rate=0))) as client:

        def insert_and_delete(*args: Any) -> int:
            path.unlink()
            return insert_new(*args)

        monkeypatch.setattr("fastnn.web.store.insert_new", insert_and_delete)
        assert client.post("/api/digits", json={"digits": [digit(drawn, 0)]}).status_code == 503


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can limit a running process")
def test_a_disk_that_fills_up_and_has_room_again(serve: Callable[..., Server], drawn: Dataset) -> None:
    """Not simulated: the system itself refuses to let the server's files grow."""
    import resource

    server = serve("--rate", "0", PYTHONDONTWRITEBYTECODE="1")  # half of what has no room would be kept
    database = Path(server.db.removeprefix("sqlite:///"))
    with httpx.Client(base_url=server.url, timeout=TIMEOUT) as client:

        def send(*digits: dict[str, Any]) -> int:
            return client.post("/api/digits", json={"digits": list(digits)}).status_code

        acknowledged = [digit(drawn, n) for n in range(30)]
        assert send(*acknowledged) == 201
        largest = max(file.stat().st_size for file in database.parent.glob("digits.db*"))
        unlimited = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (largest, unlimited[1]))
        refused: list[dict[str, Any]] = []
        for position in range(30, 1500, 30):
            some = [digit(drawn, n) for n in range(position, position + 30)]
            status = send(*some)
            if status == 503:
                refused = some
                break
            assert status == 201
            acknowledged += some
        assert refused
        # Reading and predicting still work.
        assert client.get("/api/stats").json()["pending"] == len(acknowledged)
        assert client.post("/api/predict", json={"image": refused[0]["image"]}).status_code == 200
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, unlimited)
        assert client.post("/api/digits", json={"digits": refused}).json() == {"stored": 30}
        stats = client.get("/api/stats").json()
        assert stats["pending"] == len(acknowledged) + 30
    server.process.kill()
    server.process.wait()
    store = Store(server.db)
    assert {one["id"] for one in store.desk.queue(2000)} == {one["id"] for one in acknowledged + refused}
    store.close()


def test_a_database_that_may_only_be_read_is_served(
    loaded: ServedModel, drawn: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path / 'a b%41#é.db'}"
    import_dataset(drawn.take(list(range(30))), url)
    before = file_contents(tmp_path)
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK and access(path, mode))
    store = Store(url)
    assert store.read_only
    with TestClient(create_app(Settings(store, TOKEN, loaded, rate=0, train_every=1))) as client:
        one = digit(drawn, 0)
        assert client.post("/api/predict", json={"image": one["image"]}).status_code == 200
        assert client.get("/api/stats").json()["accepted"] == 30
        assert len(client.get("/dataset.json").json()) == 30
        assert client.get("/api/health").status_code == 200
        for answer in (
            client.post("/api/digits", json={"digits": [one]}),
            client.post(f"/api/review/{one['id']}", json={"action": "accept"}, headers=BEARER),
        ):
            assert answer.status_code == 503
            assert "the database is read-only" in answer.json()["detail"]
    assert len(load_dataset(url)) == 30
    with pytest.raises(DataError, match="is read-only; copy it"):
        import_dataset(drawn, url)
    # Where it can, SQLite makes files beside a database that it reads.
    assert file_contents(tmp_path).items() >= before.items()


READ_ONLY = """
mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" || exit 77
exec "$2" -m fastnn data info "sqlite:///$1/x.db" --json
"""


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only root can mount a read-only disk")
@pytest.mark.parametrize("log", [False, True])
def test_a_database_on_a_read_only_disk(drawn: Dataset, tmp_path: Path, log: bool) -> None:
    import_dataset(drawn.take(list(range(30))), f"sqlite:///{tmp_path / 'x.db'}")
    if log:  # as after a power failure: changes that are not in the file yet
        (tmp_path / "x.db-wal").write_bytes(b"x")
    command = ["unshare", "--mount", "sh", "-c", READ_ONLY, "sh", str(tmp_path), sys.executable]
    done = subprocess.run(command, check=False, env=environment(), capture_output=True, text=True)
    if done.returncode in (1, 77) and "fastnn" not in done.stderr:
        pytest.skip(f"cannot mount here: {done.stderr}")
    if log:
        assert done.returncode == 2
        assert "x.db-wal holds changes that are not in it yet; copy both" in done.stderr
    else:
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["n"] == 30


def test_a_full_disk_is_failed_work(drawn: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{tmp_path / 'x.db'}"
    import_dataset(drawn.take([0]), url)

    def small(engine: Engine) -> AbstractContextManager[Connection]:
        connection = engine.connect()
        connection.exec_driver_sql("PRAGMA max_page_count=1")
        return connection

    monkeypatch.setattr("fastnn.datasets.database.writing", small)
    with pytest.raises(DataError, match=r"cannot be used \(database or disk is full\); free some space") as caught:
        import_dataset(drawn, url)
    assert caught.value.exit_code == 1
