"""If the database fails or the disk is full, the server answers 503 and loses no acknowledged digit."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from fastapi.testclient import TestClient

from fastnn.web.app import Settings, create_app
from fastnn.web.store import Store
from tests.web.servers import BEARER, TOKEN, Server, digit

if TYPE_CHECKING:
    from collections.abc import Callable

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


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can limit a running process")
def test_a_disk_that_fills_up_and_has_room_again(serve: Callable[..., Server], drawn: Dataset) -> None:
    """Not simulated: the system itself refuses to let the server's files grow."""
    import resource

    server = serve("--rate", "0")
    database = Path(server.db.removeprefix("sqlite:///"))
    with httpx.Client(base_url=server.url) as client:

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
    assert {one["id"] for one in store.queue(2000)} == {one["id"] for one in acknowledged + refused}
    store.close()
