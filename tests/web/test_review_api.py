"""The routes of the review, and classes of one's own, as clients see them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from fastapi.testclient import TestClient

from fastnn.datasets import Dataset, load_dataset
from fastnn.model import Model
from fastnn.network import Network
from fastnn.web.app import Settings, create_app
from fastnn.web.serving import ServedModel
from fastnn.web.store import Store
from tests.web.servers import BEARER, TOKEN, digit, new_id

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROUTES = (
    ("GET", "/api/review"),
    ("POST", "/api/review"),
    ("POST", "/api/review/release"),
    ("GET", "/api/review/digits"),
    ("GET", "/api/review/history"),
    ("POST", "/api/review/contributor"),
    ("POST", "/api/review/strike"),
)


def send(client: TestClient, *digits: dict[str, Any], contributor: str = "") -> list[str]:
    answer = client.post("/api/digits", json={"digits": list(digits), "contributor": contributor})
    assert answer.status_code == 201, answer.text
    return [one["id"] for one in digits]


def get(client: TestClient, path: str, status: int = 200, **parameters: Any) -> Any:
    answer = client.get(path, params=parameters, headers=BEARER)
    assert answer.status_code == status, answer.text
    return answer.json()


def post(client: TestClient, path: str, body: Any, status: int = 200) -> Any:
    answer = client.post(path, json=body, headers=BEARER)
    assert answer.status_code == status, answer.text
    return answer.json()


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_all_routes_need_the_token(client: TestClient, method: str, path: str) -> None:
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        assert client.request(method, path, json={}, headers=headers).status_code == 401


def test_pages_with_a_session_get_different_digits(client: TestClient, drawn: Dataset) -> None:
    send(client, *(digit(drawn, n) for n in range(40)))
    sessions = new_id(), new_id()
    pages = [get(client, "/api/review", limit=15, session=one)["digits"] for one in (*sessions, sessions[0])]
    first, second, again = [{one["id"] for one in page} for page in pages]
    assert first == again
    assert not first & second
    # A page without a session, such as one of an earlier version, still works.
    assert len(get(client, "/api/review", limit=30)["digits"]) == 10
    get(client, "/api/review", 422, session="x")


def test_what_a_session_gives_back_is_free_at_once(client: TestClient, drawn: Dataset) -> None:
    send(client, *(digit(drawn, n) for n in range(20)))
    sessions = [new_id() for _ in range(3)]
    pages = [get(client, "/api/review", limit=8, session=one)["digits"] for one in sessions[:2]]
    assert len(get(client, "/api/review", session=sessions[2])["digits"]) == 4
    assert post(client, "/api/review/release", {"sessions": sessions[1:]}) == {"sessions": 2}
    free = {one["id"] for one in get(client, "/api/review")["digits"]}
    assert len(free) == 12
    assert {one["id"] for one in pages[1]} <= free
    assert not free & {one["id"] for one in pages[0]}
    for wrong in ([], ["x"], [new_id()] * 101):
        post(client, "/api/review/release", {"sessions": wrong}, 422)


def test_the_grid_of_one_label(client: TestClient, drawn: Dataset) -> None:
    send(client, *(digit(drawn, n) for n in range(60)))
    page = get(client, "/api/review", limit=100, label=3)
    expected = sum(label == 3 for label in drawn.labels[:60])
    assert len(page["digits"]) == page["waiting"]["3"] == expected > 0
    assert {one["label"] for one in page["digits"]} == {3}
    uncertainties = [one["uncertainty"] for one in page["digits"]]
    assert uncertainties == sorted(uncertainties, reverse=True)
    assert page["classes"] == list("0123456789")
    for wrong in ("10", "x", "-1", "3.0", ""):
        assert "there is no class" in get(client, "/api/review", 422, label=wrong)["detail"]


def test_several_verdicts_in_one_request(client: TestClient, drawn: Dataset) -> None:
    known, missing = send(client, *(digit(drawn, n, label=4) for n in range(4))), new_id()
    post(client, f"/api/review/{known[2]}", {"action": "reject"})
    body = {
        "reviewer": "Rita",
        "reviews": [
            {"id": known[0], "action": "accept"},
            {"id": known[1], "action": "relabel", "label": 7},
            {"id": known[2], "action": "accept"},
            {"id": missing, "action": "reject"},
            {"id": known[0], "action": "undo", "state": "accepted", "label": 4},
            {"id": known[3], "action": "reject"},
        ],
    }
    expected = [
        {"id": known[0], "status": 200, "state": "accepted", "label": 4},
        {"id": known[1], "status": 200, "state": "accepted", "label": 7},
        {"id": known[2], "status": 409, "detail": "another reviewer has decided otherwise"},
        {"id": missing, "status": 404, "detail": "there is no such digit"},
        {"id": known[0], "status": 200, "state": "pending", "label": None},
        {"id": known[3], "status": 200, "state": "rejected", "label": None},
    ]
    assert post(client, "/api/review", body)["results"] == expected
    # Sent again because the answer was lost, it ends in the same state.
    assert post(client, "/api/review", body)["results"] == expected
    assert get(client, "/api/review/history")["history"][0]["reviewer"] == "Rita"


@pytest.mark.parametrize(
    "reviews",
    [
        [],
        [{"action": "accept"}],
        [{"id": "x", "action": "accept"}],
        [{"id": new_id(), "action": "drop"}],
        [{"id": new_id(), "action": "relabel"}],
        [{"id": new_id(), "action": "relabel", "label": 10}],
        [{"id": new_id(), "action": "relabel", "label": "x"}],
        [{"id": new_id(), "action": "accept"}] * 201,
    ],
)
def test_one_invalid_verdict_refuses_the_request(client: TestClient, drawn: Dataset, reviews: list[Any]) -> None:
    (one,) = send(client, digit(drawn, 0))
    post(client, "/api/review", {"reviews": [{"id": one, "action": "accept"}, *reviews] if reviews else []}, 422)
    assert get(client, "/api/review")["accepted"] == 0


def test_reviewed_digits_are_browsed_and_put_back(client: TestClient, drawn: Dataset) -> None:
    known = send(client, *(digit(drawn, n, label=4) for n in range(5)), contributor="Ann")
    post(client, "/api/review", {"reviews": [{"id": one, "action": "accept"} for one in known[:4]]})
    first = get(client, "/api/review/digits", limit=3, label="4", contributor="Ann")
    assert [one["id"] for one in first["digits"]] == known[3:0:-1]
    # Of a contributor, it is known how many digits are in this state.
    assert first["total"] == 4
    rest = get(client, "/api/review/digits", limit=3, before=first["next"])
    assert ([one["id"] for one in rest["digits"]], rest["next"]) == (known[:1], None)
    assert rest["digits"][0]["image"] == drawn.images[0].tolist()
    assert get(client, "/api/review/digits", state="rejected")["digits"] == []
    assert get(client, "/api/review/digits", label=5)["digits"] == []
    # A review leads to its digit.
    oldest = get(client, "/api/review/history")["history"][-1]
    assert (oldest["id"], oldest["state"], oldest["current_label"]) == (known[0], "accepted", 4)
    assert get(client, "/api/review/digits", before=oldest["digit_number"] + 1)["digits"][0]["id"] == known[0]
    put_back = {"action": "undo", "state": "accepted", "label": 4}
    assert post(client, f"/api/review/{known[0]}", put_back)["state"] == "pending"
    assert len(get(client, "/api/review/digits", state="pending")["digits"]) == 2
    for wrong in ({"state": "x"}, {"limit": 101}, {"before": 0}, {"label": "ten"}):
        get(client, "/api/review/digits", 422, **wrong)


def test_all_digits_of_a_contributor_and_a_struck_name(client: TestClient, drawn: Dataset) -> None:
    send(client, *(digit(drawn, n) for n in range(7)), contributor="Troll")
    send(client, digit(drawn, 8), contributor="Ann")
    body = {"contributor": "Troll", "action": "reject", "reviewer": "Rita"}
    assert post(client, "/api/review/contributor", body) == {"digits": 7}
    assert client.get("/api/stats").json()["rejected"] == 7
    body = {"contributor": "Troll", "action": "undo", "state": "rejected"}
    assert post(client, "/api/review/contributor", body) == {"digits": 7}
    assert post(client, "/api/review/contributor", {"contributor": "Troll", "action": "accept"}) == {"digits": 7}
    assert client.get("/api/stats").json()["credits"] == [{"name": "Troll", "digits": 7}]
    assert post(client, "/api/review/strike", {"name": "Troll"}) == {"digits": 7}
    stats = client.get("/api/stats").json()
    assert (stats["credits"], stats["accepted"]) == ([], 7)
    for wrong in (
        {"contributor": "", "action": "reject"},
        {"contributor": "a", "action": "undo"},
        {"contributor": "a"},
    ):
        post(client, "/api/review/contributor", wrong, 422)
    post(client, "/api/review/strike", {"name": ""}, 422)


LETTERS = ("A", "B", "C")


@pytest.fixture
def letters(tmp_path: Path) -> Iterator[TestClient]:
    """The app with classes of its own, and a model that has them in another order, and one that it does not have."""
    network = Network((784, 4)).initialise("uniform", 0)
    model = ServedModel.from_model(Model((network,), ("X", "C", "B", "A")), "m")
    store = Store(f"sqlite:///{tmp_path / 'letters.db'}", LETTERS)
    with TestClient(create_app(Settings(store, TOKEN, model, rate=0))) as opened:
        yield opened


def test_labels_are_given_by_name_or_position(letters: TestClient, drawn: Dataset, tmp_path: Path) -> None:
    by_name, by_position = send(letters, digit(drawn, 0, label="B"), digit(drawn, 1, label=2))
    for wrong in (3, "D", "1", "", None, -1):
        assert letters.post("/api/digits", json={"digits": [digit(drawn, 2, label=wrong)]}).status_code == 422
    stats = letters.get("/api/stats").json()
    assert (stats["classes"], stats["digits"]) == (list(LETTERS), {"A": 0, "B": 0, "C": 0})
    page = get(letters, "/api/review")
    assert {one["id"]: one["label"] for one in page["digits"]} == {by_name: 1, by_position: 2}
    assert page["waiting"] == {"A": 0, "B": 1, "C": 1}
    assert [one["id"] for one in get(letters, "/api/review", label="C")["digits"]] == [by_position]
    relabelled = post(letters, f"/api/review/{by_name}", {"action": "relabel", "label": "A"})
    assert (relabelled["state"], relabelled["label"]) == ("accepted", 0)
    post(letters, "/api/review", {"reviews": [{"id": by_position, "action": "relabel", "label": "B"}]})
    assert [one["label"] for one in letters.get("/dataset.json").json()] == ["A", "B"]
    assert load_dataset(f"sqlite:///{tmp_path / 'letters.db'}").classes == LETTERS
    assert letters.get("/mosaic.png").status_code == 200


def test_scores_are_those_of_the_class_with_the_same_name(letters: TestClient, drawn: Dataset) -> None:
    send(letters, *(digit(drawn, n, label=n % 3) for n in range(9)))
    for one in get(letters, "/api/review")["digits"]:
        found = letters.post("/api/predict", json={"image": one["image"]}).json()
        probability = dict(zip(("X", "C", "B", "A"), found["probabilities"], strict=True))
        assert one["uncertainty"] == pytest.approx(1 - probability[LETTERS[one["label"]]], abs=1e-6)
        expected = LETTERS.index(found["label"]) if found["label"] in LETTERS else None
        assert one["predicted_label"] == expected
