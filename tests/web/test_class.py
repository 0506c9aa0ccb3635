"""Class mode: collecting is opened and closed, projectors cost little, and a class behind one address is served."""

from __future__ import annotations

import io
import re
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
from fastapi.testclient import TestClient
from PIL import Image

from fastnn.cli import serve as serve_module
from fastnn.cli.serve import CLASS_RATE, prepare
from fastnn.web import lan
from fastnn.web.app import Settings, create_app
from fastnn.web.classroom import TILES, Classroom
from fastnn.web.lan import LocalAddress
from fastnn.web.limits import DIGIT_COST, FILE_COST, LIGHT_COST, LIST_COST, RateLimiter
from fastnn.web.store import Store
from tests.helpers import run_fastnn, wait_for
from tests.web.servers import BEARER, TOKEN, Server, digit, http, new_digit
from tests.web.test_limits import Clock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

    from fastnn.datasets import Dataset

LONG_TOKEN = "7VnXk2mQ-9rTzLw4bYcHs0PeUa6JdG1f"  # noqa: S105


def change(client: TestClient, **values: bool) -> dict[str, Any]:
    answer = client.post("/api/class", json=values, headers=BEARER)
    assert answer.status_code == 200
    return dict(answer.json())


def test_closed_collecting_stores_nothing_and_survives_a_restart(url: str, drawn: Dataset) -> None:
    body = {"digits": [digit(drawn, 0)]}
    with TestClient(create_app(Settings(Store(url), TOKEN, None, rate=0))) as client:
        assert client.get("/api/stats").json()["collecting"] is True
        assert change(client, collecting=False)["collecting"] is False
    with TestClient(create_app(Settings(Store(url), TOKEN, None, rate=0))) as client:
        assert client.get("/api/stats").json()["collecting"] is False
        refused = client.post("/api/digits", json=body)
        assert refused.status_code == 409
        assert refused.json()["detail"].startswith("collecting is closed at the moment")
        assert int(refused.headers["retry-after"]) > 0
        assert client.get("/api/stats").json()["pending"] == 0
        change(client, shows_pending=True)  # leaves the other setting as it is
        assert client.get("/api/class").json()["collecting"] is False
        change(client, collecting=True)
        assert client.post("/api/digits", json=body).json() == {"stored": 1}


def test_only_the_teacher_opens_and_closes(client: TestClient) -> None:
    assert client.post("/api/class", json={"collecting": False}).status_code == 401
    assert client.post("/api/class", json={"collecting": "no"}, headers=BEARER).status_code == 422
    assert client.get("/api/class").json()["collecting"] is True


def test_the_board_counts_all_and_shows_only_what_was_accepted(client: TestClient, drawn: Dataset) -> None:
    one, other = digit(drawn, 0, label=3), digit(drawn, 1, label=5)
    client.post("/api/digits", json={"digits": [one, other], "contributor": "Ada"})
    board = change(client)
    assert board["drawn"] == board["pending"] == 2
    assert (board["classes"]["3"], board["classes"]["5"], board["classes"]["4"]) == (1, 1, 0)
    assert (board["contributors"], board["picture"]) == (1, None)
    assert client.get("/class.png").status_code == 404

    board = change(client, shows_pending=True)
    picture = client.get("/class.png")
    assert picture.headers["etag"] == f'"{board["picture"]}"'
    tiles = np.asarray(Image.open(io.BytesIO(picture.content)))
    # The newest is the last.
    assert (tiles[:28, :28].ravel() == one["image"]).all()
    assert (tiles[:28, 28:56].ravel() == other["image"]).all()
    assert (tiles[:28, 56:] == 255).all()
    assert client.get("/class.png", headers={"If-None-Match": picture.headers["etag"]}).status_code == 304

    client.post(f"/api/review/{other['id']}", json={"action": "relabel", "label": 7}, headers=BEARER)
    client.post(f"/api/review/{one['id']}", json={"action": "reject"}, headers=BEARER)
    board = change(client, shows_pending=False)
    assert (board["drawn"], board["accepted"], board["classes"]["7"]) == (1, 1, 1)
    tiles = np.asarray(Image.open(io.BytesIO(client.get("/class.png").content)))
    assert (tiles[:28, :28].ravel() == other["image"]).all()
    assert (tiles[:28, 28:] == 255).all()


def test_many_projectors_cost_one_look_at_the_database_a_second(sqlite_url: str) -> None:
    clock, looks = Clock(), []
    store = Store(sqlite_url)
    counts = store.desk.counts
    store.desk.counts = lambda: looks.append(1) or counts()  # type: ignore[method-assign, func-returns-value]
    classroom = Classroom(store, clock)
    for tick in range(100):
        clock.time = 100 + tick / 10
        for _ in range(30):
            classroom.board()
    assert len(looks) == 10
    store.close()


def test_projectors_get_the_last_board_while_a_new_one_is_made(sqlite_url: str) -> None:
    store, clock = Store(sqlite_url), Clock()
    counts, entered, leave = store.desk.counts, threading.Event(), threading.Event()
    classroom = Classroom(store, clock)
    before = classroom.board()

    def slow() -> dict[str, Any]:
        entered.set()
        assert leave.wait(60)
        return counts()

    store.desk.counts = slow  # type: ignore[method-assign]
    clock.time += 5
    other = threading.Thread(target=classroom.board)
    other.start()
    assert entered.wait(60)
    assert classroom.board() is before
    leave.set()
    other.join()
    assert classroom.board() is not before
    store.close()


def test_the_picture_has_the_newest_drawings(url: str) -> None:
    store = Store(url)
    new = [new_digit(k) for k in range(TILES + 5)]
    for start in range(0, len(new), 100):
        store.add(new[start : start + 100], "", "")
    board = Classroom(store).change(shows_pending=True)
    tiles = np.asarray(Image.open(io.BytesIO(board.png)))
    assert tiles.shape == (28 * 12, 28 * 24)
    assert tiles[:28, :28].tobytes() == new[5].pixels
    assert tiles[-28:, -28:].tobytes() == new[-1].pixels
    store.close()


def test_the_qr_code_has_the_address_of_the_network(sqlite_url: str) -> None:
    app = create_app(Settings(Store(sqlite_url), TOKEN, None, rate=0))
    with TestClient(app, base_url="http://localhost:8000") as client:
        code = client.get("/class.svg")
        assert code.headers["content-type"] == "image/svg+xml"
        assert client.get("/api/class").json()["address"] == "http://localhost:8000/"
        app.state.fastnn.class_address = "http://192.0.2.7:8000/"
        assert client.get("/api/class").json()["address"] == "http://192.0.2.7:8000/"
        assert client.get("/class.svg").content != code.content


# ---- thirty pupils behind one address ----

FIRST_LOAD = 2 * LIST_COST + 3 * LIGHT_COST + FILE_COST
"""Contribute, Recognise with its model, and a file, such as the digits of Learn."""


def refusals(rate: float, seconds: int = 60, pupils: int = 30, every: float = 1.5) -> int:
    """Return how many requests of pupils behind one address are refused, if each draws a digit in so many seconds."""
    clock = Clock()
    limiter = RateLimiter(rate, clock)
    start, refused = clock.time, 0
    costs = [(0.0, FIRST_LOAD)] * pupils  # all open the pages at the same time
    costs += [(pupil / pupils + every * k, DIGIT_COST) for pupil in range(pupils) for k in range(int(seconds / every))]
    costs += [(2.0 * k, 2 * LIGHT_COST) for k in range(seconds // 2)]  # the projector
    for time, cost in sorted(costs):
        clock.time = start + time
        refused += limiter.try_spend("192.0.2.9", cost) > 0
    return refused


def test_thirty_pupils_behind_one_address_draw_for_a_minute_without_a_refusal() -> None:
    assert refusals(CLASS_RATE) == 0
    assert refusals(50.0) > 100  # the limit without --class


def test_thirty_pupils_send_digits_to_a_server_with_the_limits_of_a_class(
    sqlite_url: str, drawn: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr("fastnn.web.state.RateLimiter", lambda rate: RateLimiter(rate, clock))
    codes = []
    with TestClient(create_app(Settings(Store(sqlite_url), TOKEN, None, rate=CLASS_RATE))) as client:
        for pupil in range(30):
            codes += [client.get(path).status_code for path in ("/contribute", "/api/stats", "/api/health")]
            codes.append(client.post("/api/digits", json={"digits": [digit(drawn, pupil)]}).status_code)
        for tick in range(60):  # of a twentieth of a second
            clock.time += 0.05
            codes.append(client.post("/api/digits", json={"digits": [digit(drawn, tick)]}).status_code)
    assert set(codes) == {200, 201}


# ---- a right token passes ----


def test_a_long_token_passes_whatever_others_at_the_address_try(sqlite_url: str) -> None:
    with TestClient(create_app(Settings(Store(sqlite_url), LONG_TOKEN, None, rate=50))) as client:
        wrong = {"Authorization": f"Bearer {LONG_TOKEN[:-1]}x"}
        codes = [client.get("/api/review", headers=wrong).status_code for _ in range(40)]
        assert codes.count(401) <= 15
        assert codes[-1] == 429
        right = {"Authorization": f"Bearer {LONG_TOKEN}"}
        assert client.get("/api/review", headers=right).status_code == 200
        assert client.post("/api/class", json={}, headers=right).status_code == 200
        # It refills nothing.
        assert client.get("/api/review", headers=wrong).status_code == 429


def test_a_token_that_could_be_found_by_trying_does_not(sqlite_url: str) -> None:
    for number, token in enumerate((TOKEN, "ab" * 20)):  # short; long, but of few characters
        store = Store(f"{sqlite_url}{number}")
        with TestClient(create_app(Settings(store, token, None, rate=50))) as client:
            for _ in range(12):
                client.get("/api/review", headers={"Authorization": "Bearer wrong"})
            answer = client.get("/api/review", headers={"Authorization": f"Bearer {token}"})
            assert answer.status_code == 429


# ---- fastnn serve --class ----


def test_it_prints_the_address_the_projector_page_and_the_link_of_the_teacher(serve: Callable[..., Server]) -> None:
    server = serve("--class", "--host", "127.0.0.1", FASTNN_TOKEN=None)
    wait_for(lambda: "teacher " in server.log.read_text(), "the link of the teacher")
    found = re.search(rf"^teacher {re.escape(server.url)}/teacher#token=(\S+)$", server.log.read_text(), re.MULTILINE)
    assert found is not None
    assert server.process.stdout is not None
    assert server.process.stdout.readline() == f"class   {server.url}/class (for the projector)\n"
    answer = http.post(f"{server.url}/api/class", json={}, headers={"Authorization": f"Bearer {found[1]}"})
    assert answer.json()["address"] == f"{server.url}/"


def test_it_listens_on_the_network_and_says_which_address_it_took(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = (LocalAddress("192.0.2.7", "wlan0"), LocalAddress("198.51.100.3", "eth0"))
    monkeypatch.setattr(lan, "local_addresses", lambda: found)
    monkeypatch.setattr(serve_module, "run", lambda app, listening, **_: served.append((app, listening.getsockname())))
    monkeypatch.chdir(tmp_path)
    rates: list[float] = []
    monkeypatch.setattr(serve_module, "prepare", lambda options: rates.append(options.rate) or prepare(options))
    served: list[Any] = []
    serve_module.serve(in_class=True, token=TOKEN, port=0, runs=tmp_path)
    ((app, address),) = served
    assert address[0] == "0.0.0.0"  # noqa: S104
    shown = capsys.readouterr()
    assert f"serving http://192.0.2.7:{address[1]}/" in shown.out
    assert shown.err.rstrip().endswith(
        f"teacher http://192.0.2.7:{address[1]}/teacher"
    )  # a token that was given is not shown
    assert "192.0.2.7 (wlan0) was taken of several addresses; --host chooses another one: 198.51.100.3 (eth0)" in (
        " ".join(shown.err.split())
    )
    assert rates == [CLASS_RATE]
    with TestClient(app, base_url=f"http://192.0.2.7:{address[1]}") as client:
        assert client.get("/class").status_code == 200
        assert client.get("/api/class").json()["address"] == f"http://192.0.2.7:{address[1]}/"
        assert client.get("/class", headers={"Host": "evil.example"}).status_code == 421


def test_without_a_network_it_ends_with_one_line(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import fastnn.web.lan as lan\nlan.local_addresses = lambda: ()\n")
    done = run_fastnn("serve", "--class", cwd=tmp_path, PYTHONPATH=f"{tmp_path}:{lan.__file__.rsplit('/', 3)[0]}")
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert "--class: this machine is in no network; connect it to that of the class, or give --host" in line


def test_addresses_are_sorted_by_their_use() -> None:
    known = {"127.0.0.1": "lo", "169.254.8.9": "usb0", "10.0.0.3": "eth1", "192.0.2.7": "wlan0"}
    for first, expected in (
        ("192.0.2.7", ["192.0.2.7", "10.0.0.3", "169.254.8.9"]),
        ("203.0.113.1", ["203.0.113.1", "10.0.0.3", "192.0.2.7", "169.254.8.9"]),
        (None, ["10.0.0.3", "192.0.2.7", "169.254.8.9"]),
    ):
        assert [one.address for one in lan.in_order(known, first)] == expected
    assert lan.in_order({"127.0.0.1": "lo"}, None) == ()
    assert str(LocalAddress("192.0.2.7", "wlan0")) == "192.0.2.7 (wlan0)"
    assert all(one.address.count(".") == 3 for one in lan.local_addresses())
