"""``fastnn serve`` as a process: its output, its signals, its errors and its choice of a model."""

from __future__ import annotations

import dataclasses
import json
import re
import signal
import socket
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from fastapi.testclient import TestClient

from fastnn.cli.serve import Options, prepare
from fastnn.errors import FastnnError
from fastnn.formats import load_model, save_model
from fastnn.model import Model, ModelCard
from fastnn.network import Network
from fastnn.recipe import Recipe
from fastnn.web.serving import ServedModel
from fastnn.web.store import Store
from tests.helpers import TIMEOUT, invoke, run_fastnn, wait_for
from tests.web.servers import BEARER, TOKEN, Server, accept, digit, free_port, http, new_digit, new_id

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fastnn.datasets import Dataset


def requests(server: Server) -> list[dict[str, Any]]:
    """Return the lines of the access log."""
    lines = [json.loads(line) for line in server.log.read_text().splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == "request"]


def test_it_prints_a_token_that_opens_the_review(serve: Callable[..., Server], model_file: Path) -> None:
    server = serve(FASTNN_TOKEN=None)
    assert server.url.startswith("http://127.0.0.1:")
    wait_for(lambda: "token=" in server.log.read_text(), "the token")
    found = re.search(rf"^review  {re.escape(server.url)}/review#token=(\S+)$", server.log.read_text(), re.MULTILINE)
    assert found is not None
    token = found[1]
    assert len(token) >= 24
    for given, status in ((token, 200), (TOKEN, 401)):
        answer = http.get(f"{server.url}/api/review", headers={"Authorization": f"Bearer {given}"})
        assert answer.status_code == status
    health = http.get(f"{server.url}/api/health").json()
    assert health["model"]["layers"] == list(load_model(model_file).sizes)


def test_a_given_token_is_not_printed_and_forwarded_headers_are_not_trusted(
    serve: Callable[..., Server],
) -> None:
    server = serve()
    claims = {"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "https"}
    assert http.get(f"{server.url}/api/review", headers={**BEARER, **claims}).status_code == 200
    server.process.terminate()
    rest = server.process.communicate(timeout=TIMEOUT)[0]
    assert TOKEN not in rest + server.log.read_text()
    assert [(line["path"], line["address"]) for line in requests(server)] == [("/api/review", "127.0.0.1")]


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (getattr(signal, "SIGHUP", signal.SIGTERM), 129)]
)
def test_a_signal_lets_running_requests_finish(
    serve: Callable[..., Server], drawn: Dataset, number: signal.Signals, code: int
) -> None:
    server = serve()
    body = json.dumps({"digits": [digit(drawn, 0)]}).encode()
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=TIMEOUT) as connection:
        head = f"POST /api/digits HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        head += f"Content-Length: {len(body)}"
        connection.sendall(head.encode() + b"\r\n\r\n" + body[:100])
        # This makes sure that the server has started to read the request above.
        http.get(f"{server.url}/api/health")
        server.process.send_signal(number)
        wait_for(lambda: not listens(host, int(port)), "the server to refuse connections")
        connection.sendall(body[100:])
        answer = b""
        while part := connection.recv(1 << 16):
            answer += part
    assert answer.startswith(b"HTTP/1.1 201"), answer[:200]
    assert answer.endswith(b'{"stored":1}')
    assert server.process.wait(timeout=TIMEOUT) == code
    assert "Traceback" not in server.log.read_text()
    with closing(sqlite3.connect(server.db.removeprefix("sqlite:///"))) as database:
        assert database.execute("SELECT count(*) FROM fastnn_digits").fetchone() == (1,)


def listens(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=TIMEOUT).close()
    except ConnectionRefusedError:
        return False
    return True


def test_a_second_server_on_the_same_port_fails_in_one_line(tmp_path: Path) -> None:
    with socket.socket() as first:
        first.bind(("127.0.0.1", 0))
        first.listen()
        port = first.getsockname()[1]
        done = run_fastnn("serve", "--db", "sqlite:///other.db", "--port", str(port), cwd=tmp_path, FASTNN_TOKEN=TOKEN)
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if not line.startswith("note:")]
    assert len(lines) == 1
    assert f"cannot listen on 127.0.0.1 port {port} (Address already in use)" in lines[0]
    assert done.stdout == ""


def unknown_host(*_: object, **__: object) -> None:
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "missing.safetensors"], "missing.safetensors"),
        (["--model", "broken.safetensors"], "broken.safetensors"),
        (["--model", "small.safetensors"], "small.safetensors: the model has 9 inputs, but an image has 784 pixels"),
        (["--db", "mysql://x@127.0.0.1/y"], "unknown kind of database"),
        (["--db", "sqlite:///no/such/folder/x.db"], "the folder no/such/folder does not exist"),
        (["--db", "sqlite:///broken.safetensors"], "the database cannot be used"),
        (["--db", "postgresql://nobody:hidden@127.0.0.1:1/x"], "the database cannot be used"),
        (["--token", "short"], "the token must have at least 12 characters"),
        (
            ["--host", "no address at all"],
            "cannot listen on no address at all (Name or service not known); check --host",
        ),
        (["--train-every", "5", "--recipe", "nonsense"], "nonsense"),
        (["--allowed-host", "http://a.org/"], "--allowed-host http://a.org/: not a host name; give it without scheme"),
        (["--allowed-host", "a.org:80"], "--allowed-host a.org:80: not a host name"),
    ],
)
def test_it_refuses_invalid_options_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FASTNN_TOKEN", raising=False)
    (tmp_path / "broken.safetensors").write_bytes(b"\xff" * 100)
    save_model(Model((Network((9, 10)).initialise("uniform", 0),), tuple("0123456789")), tmp_path / "small.safetensors")
    port = ["--port", str(free_port())]
    if "--host" in options:
        # The resolver of this machine may be slow.
        monkeypatch.setattr(socket, "getaddrinfo", unknown_host)
    done = invoke(["serve", *port, *options])
    assert done.exit_code == 2, done.output
    lines = [line for line in done.output.splitlines() if not line.startswith("note:")]
    assert len(lines) == 1
    assert message in lines[0]
    assert "hidden" not in lines[0]


def test_it_answers_only_to_its_own_names(serve: Callable[..., Server]) -> None:
    """A page of another site may let its name point to this server, and would then count as a page of this server."""
    server = serve("--allowed-host", "Digits.example.org", "--allowed-host", "class.local")
    port = server.url.rsplit(":", 1)[1]
    with httpx.Client(base_url=server.url, timeout=TIMEOUT) as client:
        allowed = ("localhost", "127.0.0.1", "[::1]", "digits.example.org", "class.local", "LOCALHOST", "localhost.")
        for host in allowed:
            for name in (host, f"{host}:{port}"):
                assert client.get("/", headers={"Host": name}).status_code == 200, name
        for name in (
            "evil.example",
            f"evil.example:{port}",
            "192.168.1.5",
            "",
            "localhost.evil.example",
            "x@localhost",
        ):
            for path in ("/", "/api/stats", "/dataset.json", "/static/style.css"):
                answer = client.get(path, headers={"Host": name})
                assert answer.status_code == 421, (name, path)
                assert "--allowed-host" in answer.json()["detail"]
                assert "default-src 'none'" in answer.headers["content-security-policy"]
        refused = client.post("/api/digits", json={"digits": []}, headers={"Host": "evil.example"})
        assert refused.status_code == 421


@pytest.mark.parametrize(
    ("host", "named", "allowed"),
    [
        ("0.0.0.0", "192.168.1.5:8000", True),  # noqa: S104
        ("::", "[fe80::1]:8000", True),
        ("0.0.0.0", "evil.example", False),  # noqa: S104
        ("192.168.1.5", "192.168.1.5:8000", True),
        ("192.168.1.5", "192.168.1.6", False),
        ("127.0.0.1", "[::1", False),
        ("127.0.0.1", "[::1]x", False),
        ("127.0.0.1", "localhost:x", False),
        ("Room.example", "room.example", True),
    ],
)
def test_which_hosts_are_allowed(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str, named: str, allowed: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    made = prepare(Options(model=None, db=sqlite_url, token=TOKEN, host=host)).app
    with TestClient(made) as client:
        assert client.get("/contribute", headers={"Host": named}).status_code == (200 if allowed else 421)


def test_it_works_behind_a_proxy(serve: Callable[..., Server], drawn: Dataset) -> None:
    """The proxy may remove its path prefix or not; limits apply to the addresses of its visitors."""
    server = serve("--root-path", "digits/", "--forwarded-allow-ips", "127.0.0.1", "--rate", "1")
    assert server.url.endswith("/digits")
    direct = server.url.removesuffix("/digits")
    for address in (direct, server.url):
        assert "<h1>Draw a digit</h1>" in http.get(f"{address}/").text
        assert http.get(f"{address}/static/draw-pad.js").status_code == 200
        assert http.get(server.url).headers["location"] == "/digits/"
    assert http.get(f"{server.url}/digits/").status_code == 404
    description = http.get(f"{direct}/api/openapi.json", headers={"X-Forwarded-For": "203.0.113.5"}).json()
    assert description["servers"] == [{"url": "/digits"}]
    image = {"image": drawn.images[0].tolist()}
    with httpx.Client(base_url=direct, timeout=TIMEOUT) as client:

        def predict(address: str) -> int:
            return client.post("/api/predict", json=image, headers={"X-Forwarded-For": address}).status_code

        # Ten at once and one per second are allowed; these come faster.
        assert any(predict("203.0.113.7") == 429 for _ in range(1000))
        assert predict("203.0.113.8") == 200
    # The log is written after the response is sent.
    wait_for(lambda: {"203.0.113.7", "203.0.113.8"} <= {line["address"] for line in requests(server)}, "the access log")


def test_it_trains_and_keeps_using_the_better_network(
    serve: Callable[..., Server], drawn: Dataset, tmp_path: Path
) -> None:
    (tmp_path / "quick.toml").write_text(
        'name = "quick"\nrule = "backprop"\ninvert = true\ninit = "xavier"\nhidden = [30]\nepochs = 4\nlr = 0.05\n'
    )
    old = tmp_path / "old.safetensors"
    save_model(
        Model(
            (Network((784, 10)).initialise("uniform", 0),),
            tuple("0123456789"),
            card=ModelCard(recipe=Recipe(name="old")),
        ),
        old,
    )
    before = old.read_bytes()
    options = ("--model", str(old), "--train-every", "600", "--recipe", "quick.toml", "--runs", "runs")
    server = serve(*options)
    assert name(server) == "old"
    store = Store(server.db)
    accept(store, drawn.take(range(599)))
    store.close()
    # Accepting the 600th digit starts the training.
    last = digit(drawn, 700)
    http.post(f"{server.url}/api/digits", json={"digits": [last]})
    http.post(f"{server.url}/api/review/{last['id']}", json={"action": "accept"}, headers=BEARER)
    with httpx.Client(timeout=TIMEOUT) as client:
        wait_for(lambda: name(server, client) == "quick", "the new network")
    server.process.terminate()
    assert server.process.wait(timeout=TIMEOUT) == 143
    # The old model's file is unchanged, and the new model is an ordinary run.
    assert old.read_bytes() == before
    (run,) = (tmp_path / "runs" / "web").iterdir()
    assert load_model(run).card.metrics["test_accuracy"] > 0.3
    again = serve(*options, "--no-access-log")
    assert name(again) == "quick"
    assert f"{run.resolve()} has replaced {old} and stays in use" in again.log.read_text()
    image = drawn.images[3]
    answer = http.post(f"{again.url}/api/predict", json={"image": image.tolist()}).json()
    assert answer["probabilities"] == pytest.approx(load_model(run).predict_proba(image)[0].tolist())
    again.process.terminate()
    again.process.wait(timeout=TIMEOUT)
    assert requests(again) == []


def a_model(path: Path, seed: int, **fields: Any) -> str:
    """Save an untrained model; return its key."""
    made = Model((Network((784, 10)).initialise("uniform", seed),), tuple("0123456789"), card=ModelCard(**fields))
    path.parent.mkdir(parents=True, exist_ok=True)
    save_model(made, path)
    return ServedModel.from_model(made, "").key


@pytest.fixture
def begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[str | None, tuple[str, ...]]]:
    """A function that prepares a server, and returns the key of the model it starts with and its notes."""

    def prepared(model: str | None, trained: Path | None, **options: Any) -> tuple[str | None, tuple[str, ...]]:
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir(exist_ok=True)
        monkeypatch.chdir(elsewhere)
        url = f"sqlite:///{tmp_path / new_id()}.db"
        store = Store(url)
        store.note_training(1, None if trained is None else str(trained))
        store.close()
        found = prepare(Options(model=model, db=url, token=TOKEN, **options))
        state = found.app.state.fastnn
        state.store.close()
        return state.model and state.model.key, found.notes

    return prepared


def test_after_a_restart_a_trained_model_stays_in_use_unless_another_is_named(
    begin: Callable[..., tuple[str | None, tuple[str, ...]]], tmp_path: Path
) -> None:
    given, better, runs = tmp_path / "given.safetensors", tmp_path / "better.safetensors", tmp_path / "runs"
    first, second = a_model(given, 0), a_model(better, 1)
    winner, newest = runs / "web" / "1", runs / "newest"
    won = a_model(winner / "model.safetensors", 2, origin_key=first)
    a_model(runs / "web" / "2" / "model.safetensors", 3, origin_key=first)  # lost
    latest = a_model(newest / "model.safetensors", 4)
    # The better model stays in use, with or without --train-every.
    for every in (0, 5):
        assert begin(str(given), winner, runs=runs, train_every=every) == (
            won,
            (f"{winner} has replaced {given} and stays in use",),
        )
    assert begin(None, winner, runs=runs)[0] == won
    # The winner was never compared with this model.
    assert begin(str(better), winner, runs=runs, train_every=5) == (
        second,
        (f"using {better}; {winner} has replaced another model, so it is not used",),
    )
    assert begin(str(winner), winner, runs=runs) == (won, ())
    assert begin(None, None, runs=runs) == (latest, ())
    # The run that lost is never chosen as the newest.
    (newest / "model.safetensors").unlink()
    assert begin(None, None, runs=runs)[0] is None


@pytest.mark.parametrize("damage", ["missing", "broken"])
def test_the_server_starts_although_the_trained_model_cannot_be_loaded(
    begin: Callable[..., tuple[str | None, tuple[str, ...]]], tmp_path: Path, damage: str
) -> None:
    given, runs = tmp_path / "given.safetensors", tmp_path / "runs"
    first, latest = a_model(given, 0), a_model(runs / "newest" / "model.safetensors", 1)
    trained = runs / "web" / "1"
    if damage == "broken":
        trained.mkdir(parents=True)
        (trained / "model.safetensors").write_bytes(b"\xff" * 100)
    for model, key in ((str(given), first), (None, latest)):
        found, (text,) = begin(model, trained, runs=runs, train_every=5)
        assert found == key
        assert text.startswith("the model that --train-every put into use last cannot be loaded (")
        assert str(trained) in text


def test_training_is_refused_for_a_model_of_other_classes(sqlite_url: str, tmp_path: Path) -> None:
    path = tmp_path / "pets.safetensors"
    save_model(Model((Network((784, 2)).initialise("uniform", 0),), ("cat", "dog")), path)
    options = Options(model=str(path), db=sqlite_url, token=TOKEN, train_every=5)
    with pytest.raises(FastnnError, match=r"pets.safetensors: the model has no class '0'"):
        prepare(options)
    prepare(dataclasses.replace(options, train_every=0)).app.state.fastnn.store.close()


def test_classes_are_given_to_a_new_database_and_kept(sqlite_url: str, tmp_path: Path) -> None:
    options = Options(model=None, db=sqlite_url, token=TOKEN, runs=tmp_path)

    def classes(given: str | None, send: int = 0) -> tuple[str, ...]:
        state = prepare(dataclasses.replace(options, classes=given)).app.state.fastnn
        if send:
            state.store.add([new_digit(n) for n in range(send)], "", "")
        state.store.close()
        found: tuple[str, ...] = state.store.classes
        return found

    assert classes(None) == tuple("0123456789")
    # A database without a digit may get other classes.
    assert classes("A-C, seven") == ("A", "B", "C", "seven")
    assert classes(None, send=1) == classes("A-C,seven") == ("A", "B", "C", "seven")
    with pytest.raises(FastnnError, match="has images of the classes A, B, C, seven; drop --classes"):
        classes("A-D")
    network = Network((784, 10)).initialise("uniform", 0)
    save_model(Model((network,), tuple("0123456789")), tmp_path / "digits.safetensors")
    options = dataclasses.replace(options, model=str(tmp_path / "digits.safetensors"))
    found = prepare(options)
    found.app.state.fastnn.store.close()
    assert any("knows none of the classes of" in note for note in found.notes)
    with pytest.raises(FastnnError, match="the model has no class 'A', but --train-every trains on A, B, C, seven"):
        prepare(dataclasses.replace(options, train_every=5))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("A", "--classes: 1 classes; give 2 to 1,000"),
        ("0-5000", "--classes: 5001 classes"),
        ("a,a", "two classes have the same name"),
        ("a,", "cannot be a label"),
        (f"a,{'x' * 61}", "is too long; give at most 60"),
    ],
)
def test_unusable_classes_are_refused_before_a_database_is_made(tmp_path: Path, given: str, message: str) -> None:
    url = f"sqlite:///{tmp_path / 'new.db'}"
    with pytest.raises(FastnnError, match=message):
        prepare(Options(model=None, db=url, token=TOKEN, classes=given))
    assert not list(tmp_path.iterdir())


def name(server: Server, client: httpx.Client | None = None) -> str:
    """Return the name of the model in use; a client that is kept makes many requests cheap."""
    get = httpx.get if client is None else client.get
    return str(get(f"{server.url}/api/health").json()["model"]["name"])
