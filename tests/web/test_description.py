"""Answers to real requests match the published description, and errors are sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import schemathesis
from fastapi.testclient import TestClient

from fastnn.web.app import Settings, create_app
from fastnn.web.store import Store
from tests.web.servers import BEARER, TOKEN, digit, new_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from fastnn.datasets import Dataset
    from fastnn.web.serving import ServedModel

    Ask = Callable[..., Any]


@pytest.fixture(scope="module")
def ask(loaded: ServedModel, drawn: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    """A function that sends a request to a site with digits in all states, and checks the answer's schema."""
    store = Store(f"sqlite:///{tmp_path_factory.mktemp('description') / 'digits.db'}")
    app = create_app(Settings(store, TOKEN, loaded, rate=0))
    schema = schemathesis.openapi.from_dict(app.openapi())
    with TestClient(app, headers=BEARER) as client:

        def send(method: str, path: str, status: int = 200, *, described: str = "", **options: Any) -> Any:
            answer = client.request(method, path, **options)
            assert answer.status_code == status, answer.text
            operation = schema[described or path.partition("?")[0]][method]
            # Also fails for a status or a content type that is not described.
            operation.validate_response(answer)
            return answer.json()

        digits = [digit(drawn, n) for n in range(6)]
        assert send("POST", "/api/digits", 201, json={"digits": digits, "contributor": "Ada"}) == {"stored": 6}
        for position, action in enumerate(("accept", "reject", "undo")):
            path = f"/api/review/{digits[position]['id']}"
            found = send("POST", path, described="/api/review/{digit}", json={"action": action, "reviewer": "Rita"})
            assert found["id"] == digits[position]["id"]
        yield send


def test_public_answers_match(ask: Ask, drawn: Dataset) -> None:
    assert ask("GET", "/api/health")["model"]["layers"] == [784, 40, 10]
    stats = ask("GET", "/api/stats")
    assert (stats["accepted"], stats["credits"]) == (1, [{"name": "Ada", "digits": 1}])
    assert ask("POST", "/api/predict", json={"image": drawn.images[0].tolist()})["digits"][0]["box"]
    (shared,) = ask("GET", "/dataset.json")
    assert shared == {"image": drawn.images[0].tolist(), "label": int(drawn.labels[0])}
    described = ask("GET", "/model.json")
    assert described["networks"][0]["layers"][0] == {"inputs": 784, "outputs": 40, "activation": "sigmoid"}


def test_answers_for_reviewers_match(ask: Ask) -> None:
    queue = ask("GET", "/api/review?limit=2")
    assert (len(queue["digits"]), queue["pending"], len(queue["history"])) == (2, 4, 2)
    assert ask("GET", "/api/review/digits?state=rejected")["digits"][0]["state"] == "rejected"
    assert len(ask("GET", "/api/review/history")["history"][0]["image"]) == 784
    verdicts = [{"id": queue["digits"][0]["id"], "action": "accept"}, {"id": new_id(), "action": "reject"}]
    first, second = ask("POST", "/api/review", json={"reviews": verdicts})["results"]
    assert (first["status"], first["state"], "detail" in first) == (200, "accepted", False)
    assert (second["status"], second["detail"], "state" in second) == (404, "there is no such digit", False)
    body = {"contributor": "Ada", "action": "undo", "state": "rejected"}
    assert ask("POST", "/api/review/contributor", json=body) == {"digits": 1}
    assert ask("POST", "/api/review/strike", json={"name": "Nobody"}) == {"digits": 0}


def test_the_original_format_matches(tmp_path: Path) -> None:
    from fastnn.model import Model
    from fastnn.network import Network
    from fastnn.web.serving import ServedModel

    model = Model((Network((784, 3, 2, 10)).initialise("uniform", 1),), tuple("0123456789"))
    store = Store(f"sqlite:///{tmp_path / 'digits.db'}")
    app = create_app(Settings(store, TOKEN, ServedModel.from_model(model, "small"), rate=0))
    with TestClient(app) as client:
        answer = client.get("/NN.json")
    schemathesis.openapi.from_dict(app.openapi())["/NN.json"]["GET"].validate_response(answer)
    assert answer.json()["hidden2"] == 2


@pytest.mark.parametrize(
    ("method", "path", "body", "said"),
    [
        ("GET", "/api/review?limit=101", None, "limit: input should be less than or equal to 100"),
        ("GET", "/api/review?session=x", None, "session: input should be a valid UUID"),
        ("GET", f"/model.bin?key={'x' * 65}", None, "key: string should have at most 64 characters"),
        ("POST", "/api/review/strike", rb'{"name": "\ud800"}', "half a character"),
        ("POST", "/api/review/strike", rb'{"name": "\ud800A"}', "half a character"),
        ("POST", "/api/review/strike", b'{"name": "a', "the JSON ends too early"),
        ("POST", "/api/review/strike", b"", "the body is empty"),
        ("POST", "/api/review/strike", b'{"name": "\xff"}', "the body is not UTF-8"),
        ("POST", "/api/review/strike", b'{"name": 5}', "Expected str, got int"),
        ("POST", "/api/review/strike", rb'{"name": "a\u0000"}', "regex"),
        ("GET", "/api/review/digits?contributor=a%00", None, "contributor: string should match"),
    ],
)
def test_errors_are_sentences(ask: Ask, method: str, path: str, body: bytes | None, said: str) -> None:
    options = {} if body is None else {"content": body, "headers": {"Content-Type": "application/json"}}
    detail = ask(method, path, 422, **options)["detail"]
    assert isinstance(detail, str)
    assert said in detail


def test_all_references_of_the_description_resolve(tmp_path: Path) -> None:
    app = create_app(Settings(Store(f"sqlite:///{tmp_path / 'digits.db'}"), TOKEN, None, rate=0))
    with TestClient(app) as client:
        description = client.get("/api/openapi.json").json()
    named: set[str] = set()

    def collect(value: Any) -> None:
        if isinstance(value, dict):
            named.update(value[key] for key in ("$ref",) if isinstance(value.get(key), str))
            for part in value.values():
                collect(part)
        elif isinstance(value, list):
            for part in value:
                collect(part)

    collect(description)
    assert named
    known = {f"#/components/schemas/{name}" for name in description["components"]["schemas"]}
    assert named <= known
    # Each route that answers with JSON has a schema for it.
    for path, operations in description["paths"].items():
        for operation in operations.values():
            for answer in operation["responses"].values():
                for kind, content in answer.get("content", {}).items():
                    assert kind != "application/json" or len(content["schema"]) > 0, path
                    assert content.get("schema") != {"type": "object"}, path
