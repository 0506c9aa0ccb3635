"""Watching fastnn learn: the reports are those of a training as any other, and the server stays in charge of it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import signal
import sys
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

import fastnn
from fastnn.training import Trainer, epoch_order
from fastnn.web.live_training import LiveTraining, LiveTrainings, TrainingResponse
from tests.helpers import TIMEOUT, wait_for
from tests.web.servers import BEARER, http, servers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import httpx
    from fastapi.testclient import TestClient

    from fastnn.datasets import Dataset
    from fastnn.network import Rule
    from tests.web.servers import Server

LONG = {"hidden": 500}
"""Settings of a training that goes on until it is ended."""


@pytest.mark.parametrize("rule", ["original", "backprop"])
def test_reports_are_those_of_a_direct_training(drawn: Dataset, rule: Rule) -> None:
    live = LiveTraining(drawn, hidden=12, rule=rule, rate=0.02, epochs=3, seed=3)
    assert (len(live.test), len(live.train)) == (150, 1350)
    found = {report.trained: report for report in live.reports()}
    network = live.recipe.network(784, 10)
    # Within the first epoch: the first digits of its order.
    order = epoch_order(3, 1, 1350)
    assert [n for n in found if n < 1350][:4] == [0, 10, 15, 22]
    for n in (10, 73, 1234):
        trainer = Trainer(network.copy(), live.train.take(order[:n]), live.recipe, live.test, shuffle=False)
        assert found[n].accuracy == pytest.approx(trainer.epoch(1).test_accuracy, abs=1e-12)
    for report in fastnn.train(network, live.train, live.recipe, test=live.test):
        assert found[1350 * report.epoch].accuracy == pytest.approx(report.test_accuracy, abs=1e-12)
    last = found[3 * 1350]
    # The same weights: the pictures are theirs.
    weights = network.weights[0].T
    shown = np.stack([np.frombuffer(picture, np.int8) for picture in last.pictures])
    scaled = weights / np.abs(weights).max(axis=1, keepdims=True)
    np.testing.assert_allclose(shown / 127, scaled, atol=0.5001 / 127)
    assert len(last.wrong) == min(20, round((1 - last.accuracy) * 150))
    assert all(len(wrong.image) == 784 and wrong.label != wrong.answer for wrong in last.wrong)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, model_file: Path) -> Iterator[Server]:
    with servers(tmp_path_factory.mktemp("live"), model_file) as start:
        yield start("--rate", "0")


@contextlib.contextmanager
def watching(server: Server, **settings: Any) -> Iterator[httpx.Response]:
    with http.stream("POST", f"{server.url}/api/learn", json=settings, headers=BEARER) as answer:
        yield answer


def events(answer: httpx.Response) -> Iterator[tuple[str, Any]]:
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    kind = ""
    for line in answer.iter_lines():
        name, _, value = line.partition(": ")
        if name == "event":
            kind = value
        elif name == "data":
            yield kind, msgspec.json.decode(value)


def may_start(server: Server) -> bool:
    with watching(server, hidden=1, epochs=1) as answer:
        return answer.status_code == 200


def test_a_page_sees_the_accuracy_rise(server: Server) -> None:
    with watching(server, hidden=16, epochs=30, seed=1) as answer:
        found = list(events(answer))
    assert [kind for kind, _ in found] == ["progress"] * (len(found) - 1) + ["end"]
    assert found[-1][1] == {"reason": "epochs"}
    first, last = found[0][1], found[-2][1]
    assert (first["trained"], first["test_digits"], first["train_digits"]) == (0, 300, 2700)
    assert last["trained"] == 2700 * 30
    assert first["accuracy"] < 0.3
    assert last["accuracy"] > 0.85
    assert last["per_second"] > 10_000
    assert [len(base64.b64decode(picture)) for picture in last["pictures"]] == [784] * 16
    assert len(found) > 20


def test_only_one_training_runs_at_a_time_and_ends_with_its_page(server: Server) -> None:
    with watching(server, **LONG) as answer:
        stream = events(answer)
        next(stream)
        with watching(server) as second:
            assert second.status_code == 409
            second.read()
            assert "another training is running on this machine" in second.json()["detail"]
        # Others are answered meanwhile.
        assert http.get(f"{server.url}/api/health").json()["status"] == "ok"
        assert next(stream)[0] == "progress"
    wait_for(lambda: may_start(server), "the training whose page has gone to end")


def test_the_time_is_limited(client: TestClient) -> None:
    client.app.state.fastnn.live.seconds = 0  # type: ignore[attr-defined]
    answer = client.post("/api/learn", json=LONG, headers=BEARER)
    assert answer.text.splitlines()[-2] == 'data: {"reason":"time"}'


def test_a_client_that_takes_nothing_does_not_block_others(drawn: Dataset) -> None:
    async def send(_: Any) -> None:
        await asyncio.Event().wait()

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def respond() -> bool:
        trainings = LiveTrainings(seconds=-14.9)  # 15 seconds later, it is given up
        assert trainings.try_begin()
        assert not trainings.try_begin()
        response = TrainingResponse(trainings, lambda: LiveTraining(drawn, hidden=1, rule="backprop", rate=1, epochs=1))
        await response({"type": "http", "asgi": {"spec_version": "2.3"}}, receive, send)
        try:
            return trainings.try_begin()
        finally:
            trainings.close()

    assert asyncio.run(respond())


@pytest.mark.parametrize(
    ("settings", "headers", "status", "said"),
    [
        ({}, {"Authorization": "Bearer wrong"}, 401, "the token is missing or wrong"),
        ({"rule": "magic"}, BEARER, 422, "Invalid enum value 'magic'"),
        ({"hidden": 501}, BEARER, 422, "<= 500"),
        ({"source": "accepted"}, BEARER, 422, "no digits are accepted yet"),
    ],
)
def test_a_wrong_request_is_refused(
    server: Server, settings: dict[str, Any], headers: dict[str, str], status: int, said: str
) -> None:
    answer = http.post(f"{server.url}/api/learn", json=settings, headers=headers)
    assert (answer.status_code, said in answer.json()["detail"]) == (status, True), answer.text


def test_pages_of_other_sites_cannot_start_it(server: Server) -> None:
    url, origin = f"{server.url}/api/learn", {"Origin": "http://other.example"}
    # Browsers ask before they send JSON or the token for another site, and are not allowed to.
    asked = {**origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    answer = http.options(url, headers=asked)
    assert (answer.status_code, "access-control-allow-origin" in answer.headers) == (405, False)
    plain = {**BEARER, **origin, "Content-Type": "text/plain"}
    assert http.post(url, content="{}", headers=plain).status_code in (403, 415)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM")
def test_a_server_that_stops_ends_the_training(serve: Callable[..., Server]) -> None:
    server = serve("--rate", "0")
    with watching(server, **LONG) as answer:
        stream = events(answer)
        next(stream)
        server.process.send_signal(signal.SIGTERM)
        assert list(stream)[-1] == ("end", {"reason": "stopped"})
    assert server.process.wait(TIMEOUT) == 143
    assert "exceeded" not in server.log.read_text()
