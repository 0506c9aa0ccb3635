"""The network runs in the page: no drawing is sent, it works without a connection, and it says why."""

from __future__ import annotations

import contextlib
import json
import re
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import uvicorn

from fastnn.cli.serve import open_socket
from fastnn.model import Calibration, Model, ModelCard
from fastnn.network import Network
from fastnn.recipe import Recipe
from fastnn.web.app import Settings, create_app
from fastnn.web.serving import ServedModel
from fastnn.web.store import Store
from tests.helpers import wait_for
from tests.models import DIGITS, png, seven
from tests.web.browser.hand import draw, line
from tests.web.servers import TOKEN, http

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra [dev])").expect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray
    from playwright.sync_api import Page

    from fastnn.datasets import Dataset
    from tests.web.servers import Server

IN_PAGE = "It runs in this page"
FAILS = "Failed to load resource"


def questions(page: Page) -> list[str]:
    """Return a list to which each drawing that is sent to the server is added."""
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url) if "api/predict" in request.url else None)
    return sent


WORKER = "navigator.serviceWorker.ready.then(() => caches.keys())"


def keeps_the_model(page: Page) -> bool:
    """Whether the service worker has kept the page and the model."""
    found = "caches.match('model.json').then((response) => response !== undefined)"
    return bool(page.evaluate(WORKER)) and bool(page.evaluate(found))


@pytest.fixture
def serve_here(sqlite_url: str) -> Iterator[Callable[[Model], tuple[str, Callable[[Model, str], None]]]]:
    """A function that serves a model in this process; returns the address, and a function that replaces the model."""
    with contextlib.ExitStack() as running:

        def serve(model: Model) -> tuple[str, Callable[[Model, str], None]]:
            app = create_app(Settings(Store(sqlite_url), TOKEN, ServedModel.from_model(model, "first"), rate=0))
            listening = open_socket("127.0.0.1", 0)
            server = uvicorn.Server(uvicorn.Config(app, log_config=None))
            thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
            thread.start()

            def stop() -> None:
                server.should_exit = True
                thread.join()
                listening.close()

            running.callback(stop)

            def replace(other: Model, name: str) -> None:
                app.state.fastnn.replace_model(ServedModel.from_model(other, name))

            return f"http://127.0.0.1:{listening.getsockname()[1]}/", replace

        yield serve


def test_once_the_network_is_in_the_page_no_drawing_is_sent(site: Server, visit: Callable[..., Page]) -> None:
    page = visit(site.url, fresh=True)
    expect(page.locator("#model")).to_contain_text(IN_PAGE)
    wait_for(lambda: keeps_the_model(page), "the service worker")
    sent = questions(page)
    page.context.set_offline(True)
    for digit in (0, 3):
        draw(page, digit)
        expect(page.locator("#guess")).to_have_text(str(digit))
        expect(page.locator("#bars .best")).to_have_text(re.compile(rf"^{digit}\d+(\.\d)?%$"))
        page.locator("#clear").click()
        expect(page.locator("#guess")).to_have_text("–")
    assert sent == []


def test_until_the_network_is_there_the_server_answers(site: Server, visit: Callable[..., Page]) -> None:
    page = visit("about:blank", may_fail=FAILS, fresh=True)
    held: list[Any] = []
    page.route("**/model.bin*", lambda route: held.append(route))  # noqa: PLW0108 - Playwright writes to the function
    sent = questions(page)
    page.goto(site.url)
    draw(page, 3)
    expect(page.locator("#guess")).to_have_text("3")
    assert sent
    expect(page.locator("#why")).to_be_hidden()
    wait_for(lambda: page.evaluate("true") and bool(held), "the request for the weights")
    # Had the model been replaced in between, the page would ask for the new one at once.
    held[0].fulfill(status=404, json={"detail": "the model has been replaced"})
    wait_for(lambda: page.evaluate("true") and len(held) > 1, "the second request")
    held[1].continue_()
    expect(page.locator("#model")).to_contain_text(IN_PAGE)
    n = len(sent)
    line(page, [(140, 55), (141, 56)])
    expect(page.locator("#why")).to_be_visible()
    assert len(sent) == n


# Recognises images by the page's own module.
# What is given and returned are JSON texts: Playwright would look at each number on its way.
RECOGNISE = """async (images) => {
  const { Recogniser } = await import(new URL("static/model.js", document.baseURI));
  const recogniser = new Recogniser();
  if (!await recogniser.look()) return null;
  return JSON.stringify(await Promise.all(JSON.parse(images).map((image) => recogniser.recognise(image))));
}"""


def ask_server(url: str, image: list[int]) -> dict[str, Any]:
    answer = http.post(f"{url}api/predict", json={"image": image, "polarity": "dark-on-light"})
    return dict(answer.raise_for_status().json())


def ensemble(model: Model) -> Model:
    """Return two networks of which the second is noisy, with all that changes probabilities and doubts."""
    noisy = model.networks[0].copy()
    noisy.weights[1][...] += np.random.default_rng(0).normal(0, 0.1, noisy.weights[1].shape)
    card = ModelCard(recipe=Recipe(name="two"), calibration=Calibration(label_smoothing=0.1), least_evidence=4.5)
    return Model((*model.networks, noisy), model.classes, model.invert, normalise=True, card=card)


def original() -> Model:
    return Model((Network((784, 20, 15, 10)).initialise("uniform", 3),), DIGITS)


def test_the_page_answers_as_the_server_does(
    serve_here: Callable[..., Any], visit: Callable[..., Page], model: Model, drawn: Dataset
) -> None:
    url, replace = serve_here(model)
    # A page that would load the model by itself might ask for weights that are replaced meanwhile.
    page = visit(f"{url}data")
    noise = np.random.default_rng(1).integers(0, 256, (2, 784), dtype=np.uint8)
    mixed = drawn.images[:5] // 2 + drawn.images[5:10] // 2
    images = np.concatenate([drawn.images[:10], mixed, noise]).tolist()
    for name, served in {"one": model, "two": ensemble(model), "original": original()}.items():
        replace(served, name)
        found = json.loads(page.evaluate(RECOGNISE, json.dumps([*images, [255] * 784])))
        assert found.pop() is None  # nothing is drawn
        expected = [ask_server(url, image) for image in images]
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_allclose(ours["probabilities"], theirs["probabilities"], rtol=0, atol=1e-3)
            for key in ("label", "doubtful", "reason", "seen"):
                assert ours[key] == theirs[key], (name, key)
        reasons = {answer["reason"] for answer in expected}
        assert len(reasons) > 2
        if name == "two":
            assert any("unlike" in reason for reason in reasons if reason)
            assert None in reasons


def test_another_model_of_the_server_replaces_the_one_in_the_page(
    serve_here: Callable[..., Any], visit: Callable[..., Page], model: Model
) -> None:
    url, replace = serve_here(model)
    page = visit(url, may_fail=FAILS, fresh=True)
    expect(page.locator("#model")).to_contain_text(IN_PAGE)
    draw(page, 3)
    expect(page.locator("#guess")).to_have_text("3")
    sent = questions(page)
    come_back = "document.dispatchEvent(new Event('visibilitychange'))"
    replace(Model((*model.networks, *model.networks), tuple("abcdefghij"), model.invert, card=model.card), "second")
    page.evaluate(come_back)
    # The drawing is recognised anew.
    expect(page.locator("#guess")).to_have_text("d")
    expect(page.locator("#model")).to_contain_text("“second”")
    assert sent == []
    # A weight that float16 cannot hold: the page cannot run this model, so the server is asked.
    network = model.networks[0].copy()
    network.weights[0][0] = 1e6
    replace(Model((network,), model.classes, model.invert, card=model.card), "third")
    page.evaluate(come_back)
    expect(page.locator("#guess")).to_have_text("3")
    expect(page.locator("#model")).to_contain_text("“third”")
    expect(page.locator("#model")).not_to_contain_text(IN_PAGE)
    assert sent


def test_the_page_opens_and_recognises_without_the_server(
    serve: Callable[..., Server], visit: Callable[..., Page]
) -> None:
    server = serve()
    page = visit(server.url, may_fail=FAILS, fresh=True)
    expect(page.locator("#model")).to_contain_text(IN_PAGE)
    wait_for(lambda: keeps_the_model(page), "the service worker")
    server.process.kill()
    server.process.wait()
    page.reload()
    expect(page.locator("#model")).to_contain_text(IN_PAGE)
    draw(page, 3)
    expect(page.locator("#guess")).to_have_text("3")
    page.locator("#why summary").click()
    expect(page.locator("#why-units li").first).to_be_visible()
    # Only the server finds digits on pictures.
    picture = {"name": "picture.png", "mimeType": "image/png", "buffer": png(seven(200, 200))}
    page.locator("#file").set_input_files(picture)
    words = "No answer: the server cannot be reached, and only it reads pictures. You can still draw."
    expect(page.locator("#sure")).to_have_text(words)
    page.locator("#draw").click()
    draw(page, 0)
    expect(page.locator("#guess")).to_have_text("0")


def test_a_kept_page_is_not_shown_while_the_server_answers(site: Server, visit: Callable[..., Page]) -> None:
    page = visit(site.url, fresh=True)
    expect(page.locator("#model")).to_contain_text(IN_PAGE)
    wait_for(lambda: keeps_the_model(page), "the service worker")
    page.evaluate("""() => caches.keys().then(([name]) => caches.open(name))
        .then((cache) => cache.put("./", new Response("old", { headers: { "Content-Type": "text/html" } })))""")
    page.reload()
    expect(page.locator("h1")).to_have_text("Draw a digit")
    assert page.evaluate("navigator.serviceWorker.controller !== null")
    page.goto(f"{site.url}/contribute")
    expect(page.locator("#wanted")).to_be_visible()


def has_loaded(page: Page, *names: str) -> bool:
    loaded = page.evaluate("performance.getEntriesByType('resource').map(({ name }) => name)")
    return all(any(name in url for url in loaded) for name in names)


def test_contribute_asks_the_network_in_the_page(
    serve_here: Callable[..., Any], visit: Callable[..., Page], model: Model
) -> None:
    sure = model.networks[0].copy()
    sure.weights[-1][...] *= 4
    url, _ = serve_here(Model((sure,), model.classes, model.invert))
    page = visit(f"{url}contribute", may_fail=FAILS, fresh=True)
    sent = questions(page)
    wait_for(lambda: has_loaded(page, "network.js", "model.bin"), "the model")
    # The page has the module when this resolves.
    page.evaluate("import(new URL('static/network.js', document.baseURI)).then(() => true)")
    page.context.set_offline(True)
    expect(page.locator("#wanted")).to_have_text(re.compile(r"\d"))
    other = "3" if page.locator("#wanted").inner_text() != "3" else "0"
    draw(page, int(other))

    # The network is asked when the pen has rested for a moment.
    page.evaluate("() => new Promise((resolve) => setTimeout(resolve, 200))")
    page.locator("#next").click()
    expect(page.locator("#looks")).to_contain_text(f"It looks like a {other}")
    assert sent == []


# ---- Why? ----

EXPLAIN = """async (text) => {
  const [images, position] = JSON.parse(text);
  const load = (name) => import(new URL(`static/${name}`, document.baseURI));
  const [{ Recogniser }, { explain, inkWeights }] = await Promise.all([load("model.js"), load("explain.js")]);
  const recogniser = new Recogniser();
  await recogniser.look();
  return JSON.stringify(images.map((image) => {
    const { pixels, units } = explain(recogniser.model, image, position);
    return { pixels: Array.from(pixels), units, weights: Array.from(inkWeights(recogniser.model, units[0])) };
  }));
}"""


def with_scores(network: Network, first: int, last: int) -> Network:
    """Return some layers of a network with the weights that a page has, whose outputs are pre-activations."""
    made = Network(
        network.sizes[first : last + 1],
        rule="backprop",
        activation=network.activation,
        output="identity",
        dtype="float64",
    )
    for layer in range(first, last):
        made.weights[layer - first][...] = network.weights[layer].astype(np.float16)
        made.biases[layer - first][...] = network.biases[layer].astype(np.float16)
    return made


def slopes(networks: list[Network], values: list[NDArray[np.float64]], position: int) -> NDArray[np.float64]:
    """Return the derivatives of the mean score by each value, by central differences."""
    step, parts = 1e-5, []
    for network, given in zip(networks, values, strict=True):
        shift = step * np.eye(len(given))
        above, below = network.outputs(given + shift), network.outputs(given - shift)
        parts.append((above - below)[:, position] / (2 * step) / len(networks))
    return np.array(parts)


def deep(activation: str) -> Model:
    network = Network((784, 12, 9, 10), rule="backprop", activation=activation).initialise("xavier", 1)
    return Model((network,), DIGITS, invert=True)


ACTIVATE: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "relu": lambda sums: np.maximum(sums, 0),
    "tanh": np.tanh,
    "sigmoid": lambda sums: 1 / (1 + np.exp(-sums)),
}


def test_explanations_are_gradients_times_deviations(
    serve_here: Callable[..., Any], visit: Callable[..., Page], model: Model, drawn: Dataset
) -> None:
    url, replace = serve_here(model)
    page = visit(f"{url}data")
    position, images = 3, drawn.images[:2]
    for served in (ensemble(model), original(), deep("relu"), deep("tanh")):
        replace(served, "of this test")
        found = json.loads(page.evaluate(EXPLAIN, json.dumps([images.tolist(), position])))
        check_explanations(served, images, position, found)


def check_explanations(served: Model, images: NDArray[np.uint8], position: int, found: list[dict[str, Any]]) -> None:
    last = len(served.sizes) - 1
    white = 0.0 if served.invert else 1.0
    for image, explanation in zip(images, found, strict=True):
        inputs = (255.0 - image) / 255 if served.invert else image / 255.0
        whole = [with_scores(one, 0, last) for one in served.networks]
        pixels = slopes(whole, [inputs] * len(whole), position).sum(axis=0) * (inputs - white)
        np.testing.assert_allclose(explanation["pixels"], pixels, rtol=1e-3, atol=1e-6)
        assert np.abs(pixels).max() > 1e-3
        # Ink alone speaks, never the paper.
        assert not np.array(explanation["pixels"])[image == 255].any()
        sums = [with_scores(one, 0, 1).outputs(inputs[None])[0] for one in served.networks]
        hidden = [ACTIVATE[one.activation](z) for one, z in zip(served.networks, sums, strict=True)]
        contributions = slopes([with_scores(one, 1, last) for one in served.networks], hidden, position) * hidden
        units = explanation["units"]
        assert len(units) == np.count_nonzero(hidden)
        for unit in units:
            place = unit["network"], unit["unit"]
            assert unit["activation"] == pytest.approx(hidden[place[0]][place[1]], rel=1e-5)
            assert unit["contribution"] == pytest.approx(contributions[place], rel=1e-3, abs=1e-6)
        sizes = [abs(unit["contribution"]) for unit in units]
        assert sizes == sorted(sizes, reverse=True)
        strongest = served.networks[units[0]["network"]].weights[0][:, units[0]["unit"]]
        expected = strongest if served.invert else -strongest
        np.testing.assert_allclose(explanation["weights"], expected.astype(np.float16), rtol=1e-6)


def colours(page: Page) -> tuple[int, int]:
    """Return how many pixels of the explained drawing are blue, and how many are red."""
    # Of a copy: Chromium warns about repeated reads of a canvas.
    blue, red = page.locator("#why-ink").evaluate("""(canvas) => {
        const context = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d");
        context.drawImage(canvas, 0, 0);
        const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
        const counts = [0, 0];
        for (let k = 0; k < data.length; k += 4) {
            if (data[k + 2] > data[k] + 60) counts[0] += 1;
            if (data[k] > data[k + 2] + 60) counts[1] += 1;
        }
        return counts;
    }""")
    return int(blue), int(red)


def test_why_shows_what_speaks_for_the_answer_and_for_other_classes(site: Server, visit: Callable[..., Page]) -> None:
    page = visit(site.url, color_scheme="light")
    expect(page.locator("#model")).to_contain_text(IN_PAGE)
    expect(page.locator("#why")).to_be_hidden()
    draw(page, 3)
    expect(page.locator("#why")).to_be_visible()
    expect(page.locator("#why-ink")).to_be_hidden()
    # By keyboard.
    page.locator("#why summary").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#why-for")).to_have_text("Blue with +: ink that speaks for 3")
    expect(page.locator("#why-words")).to_have_text(
        re.compile(r"^Score of 3: \+\d+\.\d\d by ink for 3, most of it (at|on|in) the \w+")
    )
    blue, red = colours(page)
    assert blue > red
    shown = page.locator("#why-units li b").all_inner_texts()
    assert 1 <= len(shown) <= 8
    assert all(re.fullmatch(r"\+\d+\.\d\d for 3|−\d+\.\d\d against 3", text) for text in shown)
    sizes = [float(re.sub(r"[^\d.].*", "", text[1:])) for text in shown]
    assert sizes == sorted(sizes, reverse=True)
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowDown")
    expect(page.locator("#why-for")).to_have_text("Blue with +: ink that speaks for 4")
    # A bar picks its class.
    page.locator("#bars li").nth(7).click()
    expect(page.locator("#why-class")).to_have_value("7")
    expect(page.locator("#why-against")).to_have_text("Red with −: ink that speaks against 7")
    blue, red = colours(page)
    assert red > blue
    page.set_viewport_size({"width": 320, "height": 568})
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    # Another drawing is explained by its own answer.
    page.locator("#clear").click()
    expect(page.locator("#why")).to_be_hidden()
    draw(page, 0)
    expect(page.locator("#why-for")).to_have_text("Blue with +: ink that speaks for 0")


KEPT = """() => caches.keys().then(([name]) => caches.open(name)).then((cache) => cache.keys())
    .then((requests) => requests.map(({ url }) => url))"""


def test_the_service_worker_keeps_all_that_recognise_needs(site: Server, visit: Callable[..., Page]) -> None:
    page = visit(site.url, fresh=True)
    expect(page.locator("#model")).to_contain_text(IN_PAGE)
    draw(page, 3)
    page.locator("#why summary").click()
    expect(page.locator("#why-units li").first).to_be_visible()
    wait_for(lambda: keeps_the_model(page), "the service worker")
    loaded = page.evaluate("performance.getEntriesByType('resource').map(({ name }) => name)")
    kept = page.evaluate(KEPT)
    needed = {url for url in loaded if "/api/" not in url}
    assert len(needed) > 10
    assert needed <= set(kept)
    assert not any("learn" in url or "review" in url for url in kept)
