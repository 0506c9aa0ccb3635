import asyncio
import gzip
import io
import json
import logging
import re
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from fastnn.datasets import Dataset, database, load_dataset
from fastnn.images import normalise_picture
from fastnn.model import Model
from fastnn.recognition import predict_files
from fastnn.web import app as app_module
from fastnn.web import learning, limits
from fastnn.web import state as state_module
from fastnn.web.app import MAX_BODY_BYTES, MAX_IMAGE_BYTES, Settings, create_app
from fastnn.web.pages import PAGES, STATIC, service_worker
from fastnn.web.serving import ServedModel
from fastnn.web.store import Store, StoreError
from tests.helpers import TIMEOUT
from tests.models import DIGITS, png, seven
from tests.photographs import canvas
from tests.test_overflow import overflowing_for_one_image
from tests.web.servers import BEARER, TOKEN, digit, new_id

JSON = {"Content-Type": "application/json"}


def send(client: TestClient, *digits: dict[str, Any], contributor: str = "") -> int:
    answer = client.post("/api/digits", json={"digits": list(digits), "contributor": contributor})
    assert answer.status_code == 201, answer.text
    return int(answer.json()["stored"])


def review(client: TestClient, one: dict[str, Any], action: str, **more: Any) -> Any:
    return client.post(f"/api/review/{one['id']}", json={"action": action, **more}, headers=BEARER)


def test_predict_returns_the_probabilities_of_the_model(client: TestClient, model: Model, drawn: Dataset) -> None:
    for image in drawn.images[:5]:
        answer = client.post("/api/predict", json={"image": image.tolist()})
        assert answer.status_code == 200
        found = answer.json()
        assert set(found) == {"label", "probabilities", "doubtful", "reason", "seen", "digits"}
        (digit,) = found["digits"]
        assert digit.pop("box") == [0, 0, 28, 28]
        assert digit == {key: found[key] for key in digit}
        expected = model.predict_proba(image)[0]
        assert found["probabilities"] == pytest.approx(expected.tolist())
        assert found["label"] == int(expected.argmax())
        assert found["seen"] == image.tolist()


def test_predict_returns_the_normalised_image_that_the_network_sees(sqlite_url: str, model: Model) -> None:
    normalising = Model(model.networks, model.classes, model.invert, normalise=True)
    image = np.roll(seven(), 5, axis=1)
    app = create_app(Settings(Store(sqlite_url), TOKEN, ServedModel.from_model(normalising, "n")))
    with TestClient(app) as client:
        found = client.post("/api/predict", json={"image": image.ravel().tolist()}).json()
    assert found["seen"] == normalise_picture(image).tolist() != image.ravel().tolist()


def test_predict_accepts_an_image_file(client: TestClient) -> None:
    picture = png(seven(280, 280, thick=30))
    answer = client.post("/api/predict", content=picture, headers={"Content-Type": "image/png"})
    assert answer.status_code == 200
    seen = np.asarray(answer.json()["seen"])
    assert seen.min() == 0
    assert seen.max() == 255


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_predict_answers_as_the_command_line_does(
    client: TestClient, model_file: Path, tmp_path: Path, kind: str
) -> None:
    sheet = np.full((160, 500), 255, np.uint8)
    for x, number in enumerate((4, 1, 9)):
        sheet[20:130, 20 + 150 * x : 130 + 150 * x] = canvas(number, 110, 9)
    path = tmp_path / f"sheet.{kind.lower()}"
    Image.fromarray(sheet).save(path, kind)
    content = path.read_bytes()
    answer = client.post("/api/predict", content=content, headers={"Content-Type": f"image/{kind.lower()}"})
    assert answer.status_code == 200
    expected = [one.digit.as_dict() for one in predict_files(str(model_file), [str(path)]).predictions]
    assert len(expected) == 3
    for found, other in zip(answer.json()["digits"], expected, strict=True):
        # A sum over several images at once may differ in its last bits.
        assert found.pop("probabilities") == pytest.approx(other.pop("probabilities"), abs=1e-5)
        assert {**found, "label": str(found["label"])} == other


def test_the_polarity_of_a_picture_may_be_given(client: TestClient) -> None:
    # As much dark ink as light ink: the picture does not tell.
    both = np.full((120, 300), 128, np.uint8)
    both[5:115, 20:130] = np.where(canvas(1, 110, 9) < 128, 0, 128)
    both[5:115, 170:280] = np.where(canvas(8, 110, 9) < 128, 255, 128)
    boxes = []
    for polarity in ("dark-on-light", "light-on-dark"):
        address = f"/api/predict?polarity={polarity}"
        (found,) = client.post(address, content=png(both), headers={"Content-Type": "image/png"}).json()["digits"]
        boxes.append(found["box"][0])
    assert boxes[0] < 150 < boxes[1]
    answer = client.post("/api/predict?polarity=x", content=png(both), headers={"Content-Type": "image/png"})
    assert answer.status_code == 422


def bomb() -> bytes:
    file = io.BytesIO()
    Image.new("1", (5000, 5000)).save(file, "PNG")
    return file.getvalue()


IMAGE = [255] * 784
INKED = [0, *IMAGE[1:]]


@pytest.mark.parametrize(
    ("path", "content", "kind", "status"),
    [
        ("/api/predict", b"", "application/json", 422),
        ("/api/predict", b"{", "application/json", 422),
        ("/api/predict", b"[" * 100_000, "application/json", 422),
        ("/api/predict", b'{"image": "x"}', "application/json", 422),
        ("/api/predict", json.dumps({"image": IMAGE[1:]}), "application/json", 422),
        ("/api/predict", json.dumps({"image": [*IMAGE, 0]}), "application/json", 422),
        ("/api/predict", json.dumps({"image": [*IMAGE[1:], 256]}), "application/json", 422),
        ("/api/predict", json.dumps({"image": [*IMAGE[1:], -1]}), "application/json", 422),
        ("/api/predict", json.dumps({"image": [*IMAGE[1:], 0.5]}), "application/json", 422),
        ("/api/predict", json.dumps({"image": [*IMAGE[1:], None]}), "application/json", 422),
        ("/api/predict", json.dumps({"image": [*IMAGE[1:], True]}), "application/json", 422),
        ("/api/predict", b'{"image": ["\xff\xfe"]}', "application/json", 422),
        ("/api/predict", json.dumps({"image": IMAGE}), "application/json", 422),
        ("/api/predict", png(np.full((28, 28), 255, np.uint8)), "image/png", 422),
        ("/api/predict", json.dumps({"image": IMAGE}), "text/plain", 415),
        ("/api/predict", json.dumps({"image": IMAGE}), "application/x-www-form-urlencoded", 415),
        ("/api/predict", b"no picture", "image/png", 422),
        ("/api/predict", png(seven())[:60], "image/png", 422),
        ("/api/predict", bomb(), "image/png", 422),
        ("/api/predict", b"x" * (MAX_BODY_BYTES + 1), "application/json", 413),
        ("/api/predict", b"x" * (MAX_IMAGE_BYTES + 1), "image/png", 413),
        ("/api/digits", json.dumps({"digits": []}), "application/json", 422),
        ("/api/digits", json.dumps({"digits": [{"id": "7", "image": IMAGE, "label": 1}]}), "application/json", 422),
        ("/api/digits", b"x" * (MAX_BODY_BYTES + 1), "application/json", 413),
    ],
)
def test_invalid_input_is_refused_with_a_reason(
    unchanged: TestClient, path: str, content: bytes | str, kind: str, status: int
) -> None:
    answer = unchanged.post(path, content=content, headers={"Content-Type": kind})
    assert answer.status_code == status
    assert 0 < len(answer.json()["detail"]) < 300


@pytest.mark.parametrize(
    "changes",
    [
        {"label": 10},
        {"label": -1},
        {"label": "three"},
        {"label": "10"},
        {"label": 1.0},
        {"label": True},
        {"label": None},
        {"id": "not-a-uuid"},
        {"id": None},
        {"image": IMAGE},  # blank
        {"image": [250] * 784},
    ],
)
def test_one_invalid_digit_rejects_the_whole_request(
    unchanged: TestClient, drawn: Dataset, changes: dict[str, Any]
) -> None:
    digits = [digit(drawn, 0), digit(drawn, 1, **changes)]
    answer = unchanged.post("/api/digits", json={"digits": digits})
    assert answer.status_code == 422
    assert unchanged.get("/api/stats").json()["pending"] == 0


def test_too_many_digits_in_one_request_are_refused(client: TestClient, drawn: Dataset) -> None:
    many = [digit(drawn, n) for n in range(100)]
    assert send(client, *many) == 100
    answer = client.post("/api/digits", json={"digits": [*many, digit(drawn, 100)]})
    assert answer.status_code == 422


def test_sending_twice_stores_once(client: TestClient, drawn: Dataset) -> None:
    digits = [digit(drawn, n) for n in range(3)]
    assert [send(client, *digits), send(client, *digits), send(client, digits[0], digit(drawn, 9))] == [3, 0, 1]
    assert client.get("/api/stats").json()["pending"] == 4


def test_names_are_cleaned_and_too_long_ones_refused(client: TestClient, drawn: Dataset) -> None:
    send(client, digit(drawn, 0), contributor=" <img src=x>\u202e ")
    queue = client.get("/api/review", headers=BEARER).json()["digits"]
    assert queue[0]["contributor"] == "<img src=x>"
    for refused in ("x" * 61, "\u3164", "\u2800", "\u200b", "..."):
        answer = client.post("/api/digits", json={"digits": [digit(drawn, 0)], "contributor": refused})
        assert answer.status_code == 422
    assert "at least one letter or digit" in answer.json()["detail"]
    send(client, digit(drawn, 1), contributor="  ")


def test_digits_are_public_only_after_review(client: TestClient, drawn: Dataset) -> None:
    send(client, digit(drawn, 0), contributor="Ann")
    send(client, digit(drawn, 1), contributor="Bob")
    assert client.get("/dataset.json").json() == []
    blank = np.asarray(Image.open(io.BytesIO(client.get("/mosaic.png").content)))
    assert (blank == 255).all()
    stats = client.get("/api/stats").json()
    assert stats["credits"] == []
    assert set(stats["digits"].values()) == {0}


def test_reviewed_digits_appear_in_the_data_set(client: TestClient, drawn: Dataset) -> None:
    digits = [digit(drawn, n) for n in range(4)]
    for one in digits:
        send(client, one, contributor="Ann")
    page = client.get("/api/review", headers=BEARER).json()
    assert {one["id"] for one in page["digits"]} == {one["id"] for one in digits}
    assert page["pending"] == 4
    uncertainties = [one["uncertainty"] for one in page["digits"]]
    assert uncertainties == sorted(uncertainties, reverse=True)
    relabelled = (digits[3]["label"] + 1) % 10
    assert review(client, digits[0], "accept", reviewer="Rita").json()["label"] == digits[0]["label"]
    assert review(client, digits[1], "reject").json()["state"] == "rejected"
    assert review(client, digits[3], "relabel", label=relabelled).json()["label"] == relabelled
    expected = [
        {"image": digits[0]["image"], "label": digits[0]["label"]},
        {"image": digits[3]["image"], "label": relabelled},
    ]
    assert client.get("/dataset.json").json() == expected
    stats = client.get("/api/stats").json()
    assert (stats["pending"], stats["accepted"], stats["rejected"]) == (1, 2, 1)
    assert stats["credits"] == [{"name": "Ann", "digits": 2}]
    history = client.get("/api/review", headers=BEARER).json()["history"]
    assert [(one["action"], one["reviewer"]) for one in history] == [
        ("relabel", ""),
        ("reject", ""),
        ("accept", "Rita"),
    ]
    assert review(client, digits[3], "undo").json()["state"] == "pending"
    assert client.get("/dataset.json").json() == expected[:1]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"action": "accept"}, 404),
        ({"action": "relabel"}, 422),
        ({"action": "relabel", "label": 10}, 422),
        ({"action": "drop"}, 422),
        ({}, 422),
        ([], 422),
    ],
)
def test_invalid_reviews_are_refused(unchanged: TestClient, body: Any, status: int) -> None:
    assert unchanged.post(f"/api/review/{new_id()}", json=body, headers=BEARER).status_code == status


def test_a_second_reviewer_with_another_decision_gets_a_409(client: TestClient, drawn: Dataset) -> None:
    one = digit(drawn, 0)
    send(client, one)
    review(client, one, "reject")
    assert review(client, one, "accept").status_code == 409
    assert client.post("/api/review/not-a-uuid", json={"action": "accept"}, headers=BEARER).status_code == 422


def test_an_undo_of_what_another_reviewer_changed_is_refused(client: TestClient, drawn: Dataset) -> None:
    one = digit(drawn, 0)
    send(client, one)
    first = review(client, one, "accept").json()
    expected = {"state": first["state"], "label": first["label"]}
    review(client, one, "undo")
    review(client, one, "reject")
    assert review(client, one, "undo", **expected).status_code == 409
    assert client.get("/api/stats").json()["rejected"] == 1
    # The same state with another label is another decision too.
    assert review(client, one, "undo", state="rejected", label=None).json()["state"] == "pending"
    review(client, one, "relabel", label=(first["label"] + 1) % 10)
    assert review(client, one, "undo", **expected).status_code == 409
    # Without state and label any review is undone, and an undo of a pending digit changes nothing.
    assert review(client, one, "undo").status_code == 200
    assert review(client, one, "undo", **expected).json() == {"id": one["id"], "state": "pending", "label": None}
    for wrong in ({"state": "pending"}, {"state": 1}, {"state": "accepted", "label": 10}):
        assert review(client, one, "undo", **wrong).status_code == 422


@pytest.mark.parametrize(
    "header",
    [None, "", TOKEN, f"Basic {TOKEN}", "Bearer ", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", "Bearer \u00fc"],
)
def test_the_review_needs_the_token(client: TestClient, drawn: Dataset, header: str | None) -> None:
    one = digit(drawn, 0)
    send(client, one)
    headers = {} if header is None else {"Authorization": header.encode("latin-1")}
    for answer in (
        client.get("/api/review", headers=headers),
        client.post(f"/api/review/{one['id']}", json={"action": "accept"}, headers=headers),
        client.get(f"/api/review?token={TOKEN}", headers=headers),
    ):
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
    assert client.get("/api/stats").json()["pending"] == 1


@pytest.fixture
def _frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rate limiter's clock stands still, so that buckets never refill."""
    monkeypatch.setattr(state_module, "RateLimiter", lambda rate: limits.RateLimiter(rate, clock=lambda: 0.0))


@pytest.mark.usefixtures("_frozen")
@pytest.mark.parametrize("rate", [0.5, 50, 1000])
def test_wrong_tokens_are_limited_whatever_the_rate(sqlite_url: str, rate: float) -> None:
    with TestClient(create_app(Settings(Store(sqlite_url), TOKEN, None, rate=rate))) as client:
        wrong = {"Authorization": "Bearer wrong"}
        codes = [client.get("/api/review", headers=wrong).status_code for _ in range(12)]
        assert codes == [401] * 10 + [429] * 2
        # From then on, a right guess looks like a wrong one.
        answer = client.get("/api/review", headers=BEARER)
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) >= 1


def test_one_more_token_may_be_tried_each_second(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = [0.0]
    monkeypatch.setattr(state_module, "RateLimiter", lambda rate: limits.RateLimiter(rate, clock=lambda: seconds[0]))
    with TestClient(create_app(Settings(Store(sqlite_url), TOKEN, None, rate=50))) as client:
        wrong = {"Authorization": "Bearer wrong"}
        codes = []
        for tick in range(100):
            seconds[0] = tick / 4
            codes.append(client.get("/api/review", headers=wrong).status_code)
        assert codes.count(401) == 10 + 24  # those of the start, and one a second for 25 seconds
        seconds[0] += 1.0
        assert client.get("/api/review", headers=BEARER).status_code == 200


@pytest.mark.usefixtures("_frozen")
def test_a_pupil_who_guesses_tokens_does_not_lock_out_the_class(
    sqlite_url: str, loaded: ServedModel, drawn: Dataset
) -> None:
    with TestClient(create_app(Settings(Store(sqlite_url), TOKEN, loaded, rate=50))) as client:
        for _ in range(100):
            client.get("/api/review", headers={"Authorization": "Bearer wrong"})
            assert client.post("/api/predict", json={"image": drawn.images[0].tolist()}).status_code == 200


@pytest.mark.usefixtures("_frozen")
def test_the_page_can_send_its_batch_of_digits_at_any_rate(sqlite_url: str, drawn: Dataset) -> None:
    digits = [digit(drawn, n) for n in range(20)]
    with TestClient(create_app(Settings(Store(sqlite_url), TOKEN, None, rate=1))) as client:
        assert send(client, *digits) == 20
        # The batch took the whole bucket.
        assert client.post("/api/digits", json={"digits": digits}).status_code == 429


@pytest.mark.usefixtures("_frozen")
@pytest.mark.parametrize(
    ("path", "content", "answers"),
    [("/api/digits", b"{", [422] * 20 + [429]), ("/api/health", None, [200] * 100 + [429])],
)
def test_refused_requests_and_health_checks_count_too(
    sqlite_url: str, path: str, content: bytes | None, answers: list[int]
) -> None:
    method = "GET" if content is None else "POST"
    with TestClient(create_app(Settings(Store(sqlite_url), TOKEN, None, rate=10))) as client:
        codes = [client.request(method, path, content=content, headers=JSON).status_code for _ in answers]
    assert codes == answers


@pytest.mark.usefixtures("_frozen")
def test_an_address_with_too_many_requests_gets_a_429(sqlite_url: str, loaded: ServedModel) -> None:
    with TestClient(create_app(Settings(Store(sqlite_url), TOKEN, loaded, rate=1))) as client:
        codes = [client.post("/api/predict", json={"image": INKED}).status_code for _ in range(30)]
    assert codes == [200] * 10 + [429] * 20


@pytest.mark.usefixtures("_frozen")
def test_large_pictures_are_charged_by_their_pixels_before_they_are_decoded(
    sqlite_url: str, loaded: ServedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    real = app_module.read_drawings

    def spy(body: bytes, **options: Any) -> Any:
        sizes.append(len(body))
        return real(body, **options)

    monkeypatch.setattr(app_module, "read_drawings", spy)
    file = io.BytesIO()
    Image.fromarray(np.pad(seven(280, 280, thick=30), (0, 1720), constant_values=255)).save(file, "PNG")
    small, large = png(seven(280, 280, thick=30)), file.getvalue()  # 4 million pixels: 16 units
    with TestClient(create_app(Settings(Store(sqlite_url), TOKEN, loaded, rate=6))) as client:

        def codes(picture: bytes, n: int) -> list[int]:
            headers = {"Content-Type": "image/png"}
            return [client.post("/api/predict", content=picture, headers=headers).status_code for _ in range(n)]

        assert codes(large, 5) == [200] * 3 + [429] * 2
        assert len(sizes) == 3
        assert codes(small, 3) == [200] * 2 + [429]


@pytest.mark.usefixtures("_frozen")
def test_a_picture_that_costs_more_than_a_bucket_is_read(sqlite_url: str, loaded: ServedModel) -> None:
    picture = png(np.pad(seven(280, 280, thick=30), (0, 1720), constant_values=255))
    with TestClient(create_app(Settings(Store(sqlite_url), TOKEN, loaded, rate=1))) as client:
        answers = [client.post("/api/predict", content=picture, headers={"Content-Type": "image/png"}) for _ in "ab"]
    assert [answer.status_code for answer in answers] == [200, 429]


@pytest.mark.usefixtures("_frozen")
def test_files_that_are_no_pictures_reach_the_rate_limit(sqlite_url: str, loaded: ServedModel) -> None:
    with TestClient(create_app(Settings(Store(sqlite_url), TOKEN, loaded, rate=3))) as client:
        headers = {"Content-Type": "image/png"}
        codes = [client.post("/api/predict", content=b"x", headers=headers).status_code for _ in range(7)]
    assert codes == [422] * 5 + [429] * 2


def test_the_rate_limiter_is_called_from_one_thread_only(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no lock."""
    threads: set[int] = set()
    real = limits.RateLimiter.try_spend

    def spy(self: limits.RateLimiter, address: str, cost: float) -> float:
        threads.add(threading.get_ident())
        return real(self, address, cost)

    monkeypatch.setattr(limits.RateLimiter, "try_spend", spy)
    for path in ("/api/health", "/api/review", "/api/stats", "/dataset.json", "/mosaic.png"):
        assert client.get(path, headers=BEARER).status_code == 200
    assert len(threads) == 1


@pytest.mark.parametrize("path", [*PAGES, "/static/style.css", "/service-worker.js", "/api/stats", "/nothing"])
def test_every_response_has_the_security_headers(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert not re.search(r"unsafe|\*|https?:|data:", policy)
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "access-control-allow-origin" not in headers


def test_pages_have_no_inline_code_and_load_nothing_from_other_sites(client: TestClient) -> None:
    for path in PAGES:
        text = client.get(path).text
        assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=|javascript:|{{", text)
        assert not re.findall(r'(?:src|href)="(?:https?:)?//', text)
        # Links are relative, because a proxy may serve the app below a path.
        assert '="/' not in text
        for name in re.findall(r'(?:src|href)="(static/[^"]+)"', text):
            assert client.get(f"/{name}").status_code == 200, name
        for name in re.findall(r'href="\./([^"]*)"', text):
            assert client.get(f"/{name}").status_code == 200, name


def test_scripts_write_text_only() -> None:
    shared = STATIC.parents[1] / "browser"
    scripts = [*STATIC.glob("*.js"), *shared.glob("*.js")]
    assert len(scripts) > 5
    for script in scripts:
        text = script.read_text(encoding="utf-8")
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|https?://", text), script


def test_pages_have_what_link_previews_and_home_screens_show(client: TestClient) -> None:
    seen = set()
    for path in PAGES:
        text = client.get(path, headers={"Host": "localhost:8000"}).text
        image = re.search(r'"og:image" content="http://localhost:8000/(static/[^"]+)"', text)
        assert image is not None
        assert client.get(f"/{image[1]}").headers["content-type"] == "image/png"
        description = re.search(r'<meta name="description" content="([^"]{40,160})"', text)
        assert description is not None
        seen.add(description[1])
        assert text.count("theme-color") == 2
        assert "<noscript>" in text
    assert len(seen) == len(PAGES)
    manifest = client.get("/static/app.webmanifest").json()
    for icon in manifest["icons"]:
        assert client.get(f"/static/{icon['src']}").status_code == 200
    assert client.get("/favicon.ico").content[:4] == b"\0\0\1\0"


def test_the_service_worker_changes_with_the_page_and_names_files_that_exist(client: TestClient) -> None:
    answer = client.get("/service-worker.js")
    assert answer.headers["content-type"].startswith("text/javascript")
    assert answer.headers["cache-control"] == "no-cache"
    assert "{{" not in answer.text
    names = json.loads(answer.text.split("FILES = ")[1].split(";")[0])
    assert {"./", "static/recognise.js", "static/network.js", "static/why.js", "static/style.css"} <= set(names)
    for name in names:
        assert client.get(f"/{name.removeprefix('./')}").status_code == 200, name
    assert service_worker("one page") != service_worker("another page")


def test_a_page_names_all_its_scripts_so_that_they_load_at_once(client: TestClient) -> None:
    named = re.findall(r'rel="modulepreload" href="static/([^"]+)"', client.get("/").text)
    assert {"answer.js", "common.js", "draw-pad.js", "drawing.js", "model.js", "picture.js"} <= set(named)
    # The network comes when the page is usable.
    assert not {"network.js", "why.js"} & set(named)


def test_the_page_that_learns_gets_digits_before_there_are_any(client: TestClient) -> None:
    rows = np.frombuffer(client.get("/drawn.bin").content, np.uint8).reshape(-1, 786)
    assert len(rows) == 3000
    assert not rows[:, -1].any()  # the upper byte of the label
    assert (np.bincount(rows[:, -2], minlength=10) > 100).all()


def test_the_page_that_learns_gets_the_accepted_digits_that_came_last(
    client: TestClient, sqlite_url: str, drawn: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert client.get("/latest.bin").content == b""
    database.import_dataset(drawn.take(range(9)), sqlite_url)
    monkeypatch.setattr(learning, "MOST_DIGITS", 3)
    rows = np.frombuffer(client.get("/latest.bin").content, np.uint8).reshape(-1, 786)
    assert len(rows) == 3
    np.testing.assert_array_equal(rows[:, :784], drawn.images[6:9])
    np.testing.assert_array_equal(rows[:, 784:].copy().view("<u2").ravel(), drawn.labels[6:9])
    database.import_dataset(drawn.take([20]), sqlite_url)
    rows = np.frombuffer(client.get("/latest.bin").content, np.uint8).reshape(-1, 786)
    np.testing.assert_array_equal(rows[:, :784], drawn.images[[7, 8, 20]])


def test_those_digits_are_drawn_once_however_many_ask(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []

    def load_slowly(name: str) -> Dataset:
        drawn.append(name)
        time.sleep(0.3)
        return load_dataset("drawn:20")

    monkeypatch.setattr(learning, "load_dataset", load_slowly)
    learning.built_in_digits.cache_clear()
    try:
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: client.get("/drawn.bin"), range(8)))
    finally:
        learning.built_in_digits.cache_clear()
    assert [len(answer.content) for answer in answers] == [20 * 786] * 8
    assert len(drawn) == 1


def test_templates_are_not_served(client: TestClient) -> None:
    for name in ("index.html", "recognise.html", "layout.html", "page.html", "../templates/layout.html"):
        assert client.get(f"/static/{name}").status_code == 404, name


def test_only_the_page_that_takes_pictures_may_use_the_camera(client: TestClient) -> None:
    for path in PAGES:
        assert ("camera=(self)" in client.get(path).headers["permissions-policy"]) == (path == "/")


def test_other_sites_can_read_the_data_set_and_nothing_else(client: TestClient, drawn: Dataset) -> None:
    origin = {"Origin": "https://example.org", "Sec-Fetch-Site": "cross-site"}
    answer = client.get("/dataset.json", headers=origin)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
    preflight = {**origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    for path in ("/api/digits", "/api/predict", "/api/review"):
        refused = client.options(path, headers=preflight)
        assert refused.status_code in (403, 405)
        assert "access-control-allow-origin" not in refused.headers
    for site in ("cross-site", "same-site"):
        body = {"digits": [digit(drawn, 0)]}
        assert client.post("/api/digits", json=body, headers={"Sec-Fetch-Site": site}).status_code == 403
    assert client.get("/api/stats").json()["pending"] == 0


def test_dataset_json_is_gzipped_and_has_an_etag(client: TestClient, drawn: Dataset) -> None:
    one, two = digit(drawn, 0), digit(drawn, 1)
    send(client, one, two)
    review(client, one, "accept")
    with client.stream("GET", "/dataset.json", headers={"Accept-Encoding": "gzip"}) as answer:
        raw = b"".join(answer.iter_raw())
    assert answer.headers["content-encoding"] == "gzip"
    assert len(raw) == int(answer.headers["content-length"])
    plain = client.get("/dataset.json", headers={"Accept-Encoding": "identity"})
    assert gzip.decompress(raw) == plain.content
    assert plain.content.startswith(b'[{"image":[')
    etag = answer.headers["etag"]
    assert etag != plain.headers["etag"]
    for known in (etag, f'"other", W/{etag}', "*"):
        again = client.get("/dataset.json", headers={"If-None-Match": known})
        assert (again.status_code, again.content) == (304, b"")
    head = client.head("/dataset.json", headers={"Accept-Encoding": "gzip"})
    assert (head.headers["etag"], head.content) == (etag, b"")
    review(client, two, "accept")
    later = client.get("/dataset.json", headers={"If-None-Match": etag})
    assert later.status_code == 200
    assert len(later.json()) == 2


@pytest.mark.parametrize(
    ("accepted", "gzipped"),
    [
        ("gzip", True),
        ("br, GZIP;q=0.5", True),
        ("*", True),
        ("gzip;q=0, *", False),
        ("gzip; q=0.000", False),
        ("br", False),
        ("", False),
    ],
)
def test_dataset_json_is_gzipped_if_the_client_accepts_it(client: TestClient, accepted: str, gzipped: bool) -> None:
    answer = client.get("/dataset.json", headers={"Accept-Encoding": accepted})
    assert (answer.headers.get("content-encoding") == "gzip") == gzipped
    assert answer.json() == []


def test_head_has_a_length_only_if_the_file_is_gzipped(client: TestClient) -> None:
    for coding, length in (("gzip", True), ("identity", False)):
        headers = {"Accept-Encoding": coding}
        head, got = client.head("/dataset.json", headers=headers), client.get("/dataset.json", headers=headers)
        assert head.headers.get("content-length") == got.headers.get("content-length")
        assert ("content-length" in head.headers) == length


@pytest.mark.usefixtures("_frozen")
def test_other_sites_can_read_errors_of_the_data_set(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone() -> None:
        raise StoreError("gone")

    app = create_app(Settings(Store(sqlite_url), TOKEN, None, rate=4))
    monkeypatch.setattr(app.state.fastnn.export, "dataset", gone)
    with TestClient(app) as client:
        answers = [client.get("/dataset.json", headers={"Origin": "https://example.org"}) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [503, 503, 429]
    for answer in answers:
        assert answer.headers["access-control-allow-origin"] == "*"
        assert answer.headers["access-control-expose-headers"] == "ETag, Retry-After"
        assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
        assert int(answer.headers["retry-after"]) > 0


def test_waiting_downloads_do_not_starve_other_requests(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = threading.Event()
    app = create_app(Settings(Store(sqlite_url), TOKEN, None, rate=0))
    real = app.state.fastnn.export.dataset
    monkeypatch.setattr(app.state.fastnn.export, "dataset", lambda: (made.wait(TIMEOUT), real())[1])

    async def run() -> list[int]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
            # The pool that the other routes share has 40 threads.
            downloads = [asyncio.create_task(client.get("/dataset.json", timeout=TIMEOUT)) for _ in range(60)]
            try:
                stats = await asyncio.wait_for(client.get("/api/stats"), TIMEOUT / 2)
            finally:
                made.set()
            return [stats.status_code, *[(await task).status_code for task in downloads]]

    assert asyncio.run(run()) == [200] * 61
    app.state.fastnn.store.close()


def test_the_mosaic_shows_the_accepted_digits(client: TestClient, drawn: Dataset) -> None:
    digits = [digit(drawn, n) for n in range(5)]
    send(client, *digits)
    for one in digits[:4]:
        review(client, one, "accept")
    answer = client.get("/mosaic.png")
    assert answer.headers["content-type"] == "image/png"
    picture = np.asarray(Image.open(io.BytesIO(answer.content)))
    assert picture.shape == (56, 56)
    tiles = picture.reshape(2, 28, 2, 28).transpose(0, 2, 1, 3).reshape(4, 784)
    assert {tile.tobytes() for tile in tiles} == {bytes(one["image"]) for one in digits[:4]}
    assert client.get("/mosaic.png", headers={"If-None-Match": answer.headers["etag"]}).status_code == 304


def test_pages_of_other_sites_may_show_the_mosaic_but_not_read_it(client: TestClient) -> None:
    etag = client.get("/mosaic.png").headers["etag"]
    for headers in ({}, {"If-None-Match": etag}):
        answer = client.get("/mosaic.png", headers={"Sec-Fetch-Site": "cross-site", **headers})
        assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
        assert "access-control-allow-origin" not in answer.headers


def test_a_locked_database_gives_a_503_until_it_is_unlocked(
    sqlite_url: str, drawn: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "LOCK_SECONDS", 0.01)
    stored, refused = digit(drawn, 0), digit(drawn, 1)
    with TestClient(create_app(Settings(Store(sqlite_url), TOKEN, None, rate=0))) as client:
        send(client, stored)
        with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            answer = client.post("/api/digits", json={"digits": [refused]})
            assert answer.status_code == 503
            assert answer.headers["retry-after"] == "5"
            assert "sql" not in answer.text.lower()
            other.execute("ROLLBACK")
        assert send(client, stored, refused) == 1


def test_without_a_model_everything_but_predict_works(sqlite_url: str, drawn: Dataset) -> None:
    with TestClient(create_app(Settings(Store(sqlite_url), TOKEN, None))) as client:
        assert client.post("/api/predict", json={"image": IMAGE}).status_code == 503
        send(client, digit(drawn, 0))
        assert client.get("/api/health").json()["model"] is None
        assert client.get("/api/review", headers=BEARER).json()["digits"][0]["predicted_label"] is None


def test_health_and_stats_describe_the_model(client: TestClient, model: Model) -> None:
    described = client.get("/api/health").json()["model"]
    assert described == client.get("/api/stats").json()["model"]
    assert described["accuracy"] == model.card.metrics["test_accuracy"]
    assert described["classes"] == list("0123456789")


def test_a_stopped_app_can_be_started_again(sqlite_url: str, loaded: ServedModel, drawn: Dataset) -> None:
    """Some servers restart an app within their process, and so do test clients."""
    app = create_app(Settings(Store(sqlite_url), TOKEN, loaded, rate=0))
    for expected in (1, 0):
        with TestClient(app) as client:
            assert send(client, digit(drawn, 0, id="00000000-0000-4000-8000-000000000000")) == expected


def test_the_log_has_one_line_for_each_request_and_no_drawing(
    client: TestClient, drawn: Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "fastnn.web")
    client.post("/api/predict?secret=1", json={"image": drawn.images[0].tolist()})
    send(client, digit(drawn, 0), contributor="Ann")
    client.post("/api/digits", json={"digits": [digit(drawn, 0, label=11)]})
    lines = [json.loads(record.getMessage()) for record in caplog.records]
    assert [(line["path"], line["status"]) for line in lines] == [
        ("/api/predict", 200),
        ("/api/digits", 201),
        ("/api/digits", 422),
    ]
    assert all(line["ms"] >= 0 and line["address"] for line in lines)
    assert not re.search(r"255|Ann|secret", caplog.text)


def test_an_unexpected_error_is_a_500_without_details(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("inner workings")

    monkeypatch.setattr(ServedModel, "predict", broken)
    answer = client.post("/api/predict", json={"image": INKED})
    assert answer.status_code == 500
    assert answer.json() == {"detail": "internal server error"}


def test_a_long_body_is_refused_while_it_arrives(client: TestClient) -> None:
    """Also without a Content-Length, the server stops reading at the limit."""
    received = 0

    async def run() -> list[dict[str, Any]]:
        nonlocal received
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            nonlocal received
            received += 1 << 16
            return {"type": "http.request", "body": b" " * (1 << 16), "more_body": True}

        async def keep(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http", "method": "POST", "path": "/api/digits", "raw_path": b"/api/digits", "query_string": b"",
            "headers": [(b"content-type", b"application/json")], "client": ("10.0.0.1", 1), "server": ("x", 80),
            "scheme": "http", "http_version": "1.1", "root_path": "",
        }  # fmt: skip
        await client.app(scope, receive, keep)  # type: ignore[arg-type]
        return sent

    sent = asyncio.run(run())
    assert sent[0]["status"] == 413
    assert received <= MAX_BODY_BYTES + (1 << 17)


def test_a_slow_body_is_abandoned(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BODY_SECONDS", 0.01)

    async def run() -> int:
        status = 0

        async def receive() -> dict[str, Any]:
            await asyncio.Event().wait()
            raise AssertionError

        async def keep(message: Any) -> None:
            nonlocal status
            status = message.get("status", status)

        scope = {
            "type": "http", "method": "POST", "path": "/api/digits", "raw_path": b"/api/digits", "query_string": b"",
            "headers": [(b"content-type", b"application/json")], "client": ("10.0.0.1", 1), "server": ("x", 80),
            "scheme": "http", "http_version": "1.1", "root_path": "",
        }  # fmt: skip
        await client.app(scope, receive, keep)  # type: ignore[arg-type]
        return status

    assert asyncio.run(run()) == 408


def test_the_app_works_below_a_path_of_a_proxy(sqlite_url: str, loaded: ServedModel) -> None:
    app = create_app(Settings(Store(sqlite_url), TOKEN, loaded))
    with TestClient(app, root_path="/digits") as client:
        for path in ("/digits/", "/digits/contribute", "/digits/api/health", "/digits/static/draw-pad.js"):
            assert client.get(path).status_code == 200, path
        # Links on the pages are relative, so they need the slash.
        answer = client.get("/digits", follow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (308, "/digits/")


def test_a_slow_model_runs_in_a_thread(sqlite_url: str, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[object] = []
    real = app_module.run_in_threadpool

    async def spy(function: Any, *args: Any) -> Any:
        used.append(function.__name__)
        return await real(function, *args)

    monkeypatch.setattr(app_module, "run_in_threadpool", spy)
    slow = ServedModel(model, "slow", "k", fast_enough_inline=False)
    with TestClient(create_app(Settings(Store(sqlite_url), TOKEN, slow))) as client:
        assert client.post("/api/predict", json={"image": INKED}).status_code == 200
    assert "predict" in used


def test_a_prediction_that_overflows_is_an_error_with_its_reason(sqlite_url: str) -> None:
    network, image = overflowing_for_one_image()
    model = Model((network,), DIGITS, invert=True)
    with TestClient(create_app(Settings(Store(sqlite_url), TOKEN, ServedModel.from_model(model, "m")))) as client:
        answer = client.post("/api/predict", json={"image": image[0].tolist()})
    assert answer.status_code == 500
    assert "weights are so large" in answer.json()["detail"]
