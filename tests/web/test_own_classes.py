"""Other classes than digits: the words of the pages, and from drawings to a network that recognises them."""

from __future__ import annotations

import re
import string
from typing import TYPE_CHECKING

import pytest
from fastapi.testclient import TestClient

from fastnn.formats import load_model, save_model
from fastnn.model import Model
from fastnn.network import Network
from fastnn.web.app import Settings, create_app
from fastnn.web.pages import PAGES
from fastnn.web.serving import ServedModel
from fastnn.web.store import Store
from fastnn.web.words import article, words_for
from tests.helpers import invoke, wait_for
from tests.web.servers import BEARER, TOKEN, Server, digit, http, new_id
from tests.web.shapes import SHAPES, shapes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fastnn.datasets import Dataset


RECIPE = 'rule = "backprop"\ninputs = "ink"\ninit = "xavier"\nhidden = [30]\nepochs = 6\nlr = 0.02\n'


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *(("8", "an"), ("1", "a"), ("11", "an"), ("18", "an"), ("80", "an"), ("110", "a")),
        *(("A", "an"), ("B", "a"), ("F", "an"), ("U", "a"), ("X", "an"), ("m", "an")),
        *(("circle", "a"), ("apple", "an"), ("unicorn", "a"), ("umbrella", "an"), ("house", "a"), ("star", "a")),
    ],
)
def test_articles(name: str, expected: str) -> None:
    assert article(name) == expected


def test_words_for_classes() -> None:
    assert words_for(tuple("0123456789")).something == "a digit"
    assert words_for(tuple("01")).several == "digits"
    assert words_for(tuple(string.ascii_uppercase)).asked == "the letter you are asked for"
    assert words_for(SHAPES).something == "a circle, a square or a star"
    assert words_for([f"thing {k}" for k in range(40)]).something == "one of 40 things"


@pytest.mark.parametrize("classes", [SHAPES, tuple(string.ascii_uppercase)])
def test_pages_speak_of_digits_only_where_digits_are_drawn(sqlite_url: str, classes: tuple[str, ...]) -> None:
    with TestClient(create_app(Settings(Store(sqlite_url, classes), TOKEN, None, rate=0))) as client:
        for path in PAGES:
            text = client.get(path).text
            assert "{{" not in text
            # Values of options and headers are no words for visitors.
            shown = re.sub(r'<option value="[^"]*">|data-\w+="[^"]*"', "", text)
            if path != "/review":
                assert "digit" not in shown.lower(), path
            assert "card.png" not in shown


def test_a_label_that_the_server_gives_means_the_same_when_it_is_sent(sqlite_url: str, drawn: Dataset) -> None:
    names = tuple("12345")
    model = ServedModel.from_model(Model((Network((784, 5)).initialise("uniform", 0),), names), "test")
    image = drawn.images[0].tolist()
    with TestClient(create_app(Settings(Store(sqlite_url, names), TOKEN, model))) as client:
        label = client.post("/api/predict", json={"image": image}).json()["label"]
        assert label in names
        one = {"id": new_id(), "image": image, "label": label}
        client.post("/api/digits", json={"digits": [one]}).raise_for_status()
        client.post(f"/api/review/{one['id']}", json={"action": "accept"}, headers=BEARER).raise_for_status()
        assert client.get("/dataset.json").json() == [{"image": image, "label": label}]


def test_from_drawings_of_shapes_to_a_network_that_recognises_them(
    serve: Callable[..., Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "small.toml").write_text(RECIPE)
    options = ("--classes", ",".join(SHAPES), "--train-every", "300", "--recipe", "small.toml", "--rate", "0")
    # The first model knows the classes, but not how they look.
    save_model(Model((Network((784, 3)).initialise("uniform", 0),), SHAPES), tmp_path / "untrained.safetensors")
    server = serve(*options, "--model", "untrained.safetensors")
    drawings = shapes(360)
    for start in range(0, 300, 100):
        sent = [digit(drawings, k, label=SHAPES[k % 3]) for k in range(start, start + 100)]
        assert http.post(f"{server.url}/api/digits", json={"digits": sent}).json() == {"stored": 100}
        verdicts = {"reviews": [{"id": one["id"], "action": "accept"} for one in sent]}
        assert http.post(f"{server.url}/api/review", json=verdicts, headers=BEARER).status_code == 200
    wait_for(lambda: '"event": "trained"' in server.log.read_text(), "the training")
    right = 0
    for k in range(300, 360):
        answer = http.post(f"{server.url}/api/predict", json={"image": drawings.images[k].tolist()}).json()
        right += answer["label"] == SHAPES[k % 3]
    assert right >= 55
    stats = http.get(f"{server.url}/api/stats").json()
    assert stats["digits"] == dict.fromkeys(SHAPES, 100)
    assert stats["model"]["classes"] == list(SHAPES)
    assert {one["label"] for one in http.get(f"{server.url}/dataset.json").json()} == set(SHAPES)

    # The commands name the classes, too.
    (run,) = (tmp_path / "runs" / "web").iterdir()
    assert load_model(run).classes == SHAPES
    monkeypatch.chdir(tmp_path)
    train = ["train", "--data", server.db, "--recipe", "small.toml", "--out", "cli"]
    for command in (["data", "info", server.db], train, ["evaluate", "cli", "--data", server.db]):
        done = invoke(command)
        assert done.exit_code == 0, done.output
        if command is not train:
            assert all(name in done.output for name in SHAPES)
    assert load_model(tmp_path / "cli").classes == SHAPES
