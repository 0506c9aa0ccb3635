"""The model as files: pages run it without the server, and the original's page with this server."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

import fastnn
from fastnn.formats import html_page
from fastnn.formats.original_json import read_original
from fastnn.formats.page_runner import run_page
from fastnn.model import Calibration, Model, ModelCard
from fastnn.network import Network
from fastnn.recipe import Recipe
from fastnn.web.app import Settings, create_app
from fastnn.web.serving import ServedModel
from fastnn.web.store import Store
from tests.models import DIGITS
from tests.web.servers import TOKEN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fastnn.datasets import Dataset

NETWORK_JS = Path(fastnn.__file__).parent / "browser" / "network.js"


@pytest.fixture
def serving(sqlite_url: str) -> Iterator[Callable[[Model | None], TestClient]]:
    """A function that serves a model."""
    clients: list[TestClient] = []

    def serve(model: Model | None, rate: float = 0) -> TestClient:
        served = None if model is None else ServedModel.from_model(model, "m")
        clients.append(TestClient(create_app(Settings(Store(sqlite_url), TOKEN, served, rate=rate))))
        return clients[-1].__enter__()

    yield serve
    for client in clients:
        client.__exit__(None, None, None)


def original(seed: int = 0) -> Model:
    return Model((Network((784, 20, 15, 10)).initialise("uniform", seed),), DIGITS)


def joined(description: dict[str, Any], weights: bytes) -> str:
    """Return what `readModel` of a page reads; a page does the same with btoa."""
    networks = [
        {**one, "parameters": base64.b64encode(weights[one["offset"] : one["offset"] + one["bytes"]]).decode()}
        for one in description["networks"]
    ]
    return json.dumps({**description, "networks": networks})


@pytest.mark.skipif(
    not any(map(shutil.which, ("node", "chromium", "chromium-headless-shell"))),
    reason="neither Node nor Chromium is installed",
)
def test_the_script_of_the_export_runs_the_model_as_the_server_does(
    serving: Callable[[Model], TestClient], model: Model, drawn: Dataset
) -> None:
    card = ModelCard(recipe=Recipe(name="of a test"), calibration=Calibration(label_smoothing=0.1))
    two = Model((*model.networks, *model.networks), model.classes, model.invert, normalise=True, card=card)
    client = serving(two)
    description, weights = client.get("/model.json").json(), client.get("/model.bin").content
    assert len(weights) == 2 * sum(network.n_parameters for network in two.networks)
    images = drawn.images[:5]
    script = NETWORK_JS.read_text(encoding="utf-8").replace("export ", "")
    text = joined(description, weights)
    page = (
        f'<!doctype html><body><script type="application/json" id="model">{text}</script>'
        f"<script>{script}</script></body>"
    )
    encoded = base64.b64encode(images.tobytes()).decode()
    found = json.loads(run_page(page, (text, script), f'answersForAll(text, "{encoded}", 784)'))
    for image, probabilities in zip(images, found, strict=True):
        answer = client.post("/api/predict", json={"image": image.tolist()}).json()
        np.testing.assert_allclose(probabilities, answer["probabilities"], atol=0.003)
        assert description["names"][int(np.argmax(probabilities))] == str(answer["label"])


def test_the_description_is_that_of_an_exported_page(serving: Callable[[Model], TestClient], model: Model) -> None:
    client = serving(model)
    description = client.get("/model.json").json()
    page = html_page.dump(model, "float16").decode()
    exported = json.loads(page.split('<script type="application/json"')[1].split("\n", 1)[1].split("\n</script>")[0])
    ours = json.loads(joined(description, client.get("/model.bin").content))
    for network in ours["networks"]:
        del network["offset"], network["bytes"]
    assert {name: ours[name] for name in exported} == exported
    assert set(ours) - set(exported) == {"key", "about", "weights", "doubt"}
    assert ours["about"] == client.get("/api/health").json()["model"]


@pytest.mark.parametrize("path", ["/model.json", "/model.bin", "/NN.json"])
@pytest.mark.parametrize("coding", ["gzip", "identity"])
def test_files_are_sent_once_and_again_when_the_model_changes(
    serving: Callable[[Model], TestClient], path: str, coding: str
) -> None:
    client = serving(original())
    headers = {"Accept-Encoding": coding}
    first = client.get(path, headers=headers)
    assert first.status_code == 200
    etag = first.headers["etag"]
    again = client.get(path, headers={**headers, "If-None-Match": etag})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    head = client.head(path, headers=headers)
    assert (head.content, head.headers["content-length"]) == (b"", first.headers["content-length"])
    client.app.state.fastnn.replace_model(ServedModel.from_model(original(1), "other"))  # type: ignore[attr-defined]
    later = client.get(path, headers={**headers, "If-None-Match": etag})
    assert later.status_code == 200
    assert later.headers["etag"] != etag
    assert later.content != first.content


def test_weights_of_another_model_are_not_mixed_up(serving: Callable[[Model], TestClient]) -> None:
    client = serving(original())
    key = client.get("/model.json").json()["key"]
    assert client.get(f"/model.bin?key={key}").status_code == 200
    client.app.state.fastnn.replace_model(ServedModel.from_model(original(1), "other"))  # type: ignore[attr-defined]
    answer = client.get(f"/model.bin?key={key}")
    assert (answer.status_code, "load model.json again" in answer.json()["detail"]) == (404, True)


def test_the_original_reads_the_model_from_another_site(
    serving: Callable[[Model], TestClient], tmp_path: Path, drawn: Dataset
) -> None:
    model = original()
    client = serving(model)
    answer = client.get("/NN.json", headers={"Origin": "https://example.org", "Sec-Fetch-Site": "cross-site"})
    assert answer.headers["access-control-allow-origin"] == "*"
    path = tmp_path / "NN.json"
    path.write_bytes(answer.content)
    read = read_original(path).model
    np.testing.assert_array_equal(read.predict(drawn.images[:50]), model.predict(drawn.images[:50]))
    preflight = client.options("/NN.json", headers={"Origin": "https://example.org"})
    assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (204, "*")
    for path_of_pages in ("/model.json", "/model.bin"):
        assert "access-control-allow-origin" not in client.get(path_of_pages).headers


def test_a_file_that_cannot_hold_the_model_is_not_found_and_says_why(
    serving: Callable[[Model | None], TestClient], model: Model
) -> None:
    answer = serving(model).get("/NN.json")
    assert answer.status_code == 404
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "NN.json: the original's format cannot hold this model" in answer.json()["detail"]
    network = Network((784, 10)).initialise("uniform", 0)
    network.weights[0][...] = 1e6
    huge = serving(Model((network,), DIGITS))
    for path in ("/model.json", "/model.bin"):
        assert "too large for float16" in huge.get(path).json()["detail"]
    nothing = serving(None)
    for path in ("/model.json", "/model.bin", "/NN.json"):
        answer = nothing.get(path)
        assert (answer.status_code, "this server has no model" in answer.json()["detail"]) == (404, True)


def test_a_class_behind_one_address_can_load_the_model(serving: Callable[..., TestClient], model: Model) -> None:
    client = serving(model, rate=50)
    codes = [client.get(path).status_code for _ in range(30) for path in ("/model.json", "/model.bin")]
    assert codes == [200] * 60
