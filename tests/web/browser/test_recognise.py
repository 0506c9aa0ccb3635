"""The page that recognises digits while they are drawn."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from fastnn.formats import save_model
from fastnn.model import ModelCard
from fastnn.recipe import Recipe
from fastnn.training import as_model
from fastnn.training_loops import train
from tests.helpers import wait_for
from tests.web.browser.conftest import PHONE
from tests.web.browser.hand import draw, line, placed, touch
from tests.web.browser.pages import intercept

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra [dev])").expect

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from playwright.sync_api import Page, Route

    from fastnn.datasets import Dataset
    from fastnn.model import Model
    from tests.web.servers import Server

NOTHING = "–"


def winner(page: Page) -> str:
    """Return the name of the longest bar."""
    widths = page.locator("#bars .fill").evaluate_all("fills => fills.map(({ style }) => parseFloat(style.width))")
    names = page.locator("#bars li > span:first-child").all_text_contents()
    return str(names[max(range(len(widths)), key=widths.__getitem__)])


# Of a copy: Chromium warns about repeated reads of a canvas.
SEEN = """(seen) => {
  const context = new OffscreenCanvas(28, 28).getContext("2d");
  context.drawImage(seen, 0, 0);
  return [...context.getImageData(0, 0, 28, 28).data].filter((_, k) => k % 4 === 0);
}"""


def test_a_drawn_digit_has_the_longest_bar(site: Server, visit: Callable[..., Page]) -> None:
    page = visit(site.url)
    expect(page.locator("#bars li")).to_have_count(10)
    for digit in (0, 3, 4, 7):
        draw(page, digit)
        expect(page.locator("#guess")).to_have_text(str(digit))
        expect(page.locator("#bars .best")).to_have_text(re.compile(rf"^{digit}\d+(\.\d)?%$"))
        assert winner(page) == str(digit)
        # The image that the network sees has as much ink as a digit.
        assert 40 < sum(value < 128 for value in page.locator("#seen").evaluate(SEEN)) < 300
        page.locator("#clear").click()
        expect(page.locator("#guess")).to_have_text(NOTHING)


def test_a_network_trained_on_real_digits_recognises_them_too(
    shared: Path, tmp_path: Path, serve: Callable[..., Server], visit: Callable[..., Page]
) -> None:
    from fastnn.datasets import load_dataset

    dataset = load_dataset(str(shared / "digits" / "dataset.json"))
    recipe = Recipe(hidden=(60,), rule="backprop", init="xavier", invert=True, normalise=True, epochs=2, lr=0.02)
    network = recipe.network(784, 10)
    for _ in train(network, dataset.take(range(4000)), recipe):
        pass
    save_model(
        as_model(network, dataset, recipe, ModelCard(recipe=recipe.replace(name="people"))),
        tmp_path / "people.safetensors",
    )
    page = visit(serve("--model", "people.safetensors", "--rate", "0").url)
    expect(page.locator("#model")).to_contain_text("Network “people”, layers 784-60-10: accuracy not measured.")
    for digit in (0, 3, 5):
        draw(page, digit)
        expect(page.locator("#guess")).to_have_text(str(digit))
        page.locator("#clear").click()
        expect(page.locator("#guess")).to_have_text(NOTHING)


def test_the_page_shows_the_model_and_its_accuracy(site: Server, visit: Callable[..., Page], model: Model) -> None:
    page = visit(site.url)
    accuracy = f"{100 * model.card.metrics['test_accuracy']:.1f}"
    expect(page.locator("#model")).to_contain_text("layers 784-40-10")
    expect(page.locator("#model")).to_contain_text(f"{accuracy}% correct on 150 test images")


def test_a_small_drawing_is_sent_as_large_as_a_training_digit(
    site: Server, visit: Callable[..., Page], listen: Callable[..., None]
) -> None:
    page = visit(site.url, model_in_page=False)
    sent: list[Any] = []
    listen(page, "request", lambda one: sent.append(one.post_data_json) if "predict" in one.url else None)
    line(page, [(60, 60), (60, 90), (80, 90)])
    expect(page.locator("#guess")).not_to_have_text(NOTHING)
    ink = np.array(sent[-1]["image"]).reshape(28, 28) < 255
    # The box of 20 by 20 pixels is filled in its longer direction; the pen is as wide as ever.
    assert np.flatnonzero(ink.any(axis=1)).tolist() == list(range(4, 24))
    assert np.array(sent[-1]["image"]).reshape(28, 28)[10].tolist().count(0) == pytest.approx(3, abs=1)


# Many pen movements, all dispatched before the page can do anything else.
MOVES = """([x, y, moves]) => {
  for (let k = 0; k < moves; k++) {
    const place = { clientX: x + (k % 3), clientY: y + (k % 150), pointerId: 1, buttons: 1, bubbles: true };
    document.querySelector("#pad").dispatchEvent(new PointerEvent("pointermove", place));
  }
}"""
AT_ONCE = 50


def test_predictions_come_while_the_pen_is_down_but_not_for_every_movement(
    site: Server, visit: Callable[..., Page], listen: Callable[..., None]
) -> None:
    page = visit(site.url, model_in_page=False)
    sent: list[Any] = []
    listen(page, "request", lambda one: sent.append(one.post_data_json) if "predict" in one.url else None)
    box = page.locator("#pad").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 100, box["y"] + 60)
    page.mouse.down()
    moves = 0
    # The pen never rests, so a timer that each movement resets would never fire.
    while moves == 0 or page.locator("#guess").inner_text() == NOTHING:
        page.evaluate(MOVES, [box["x"] + 100, box["y"] + 60, AT_ONCE])
        moves += AT_ONCE
        assert moves < 1000 * AT_ONCE
    page.mouse.up()
    assert 1 <= len(sent) <= moves / 5


STALE = {
    "doubtful": False,
    "reason": None,
    "digits": [],
    "label": 3,
    "probabilities": [0, 0, 0, 1, 0, 0, 0, 0, 0, 0],
    "seen": [255] * 784,
}


@pytest.fixture
def held(site: Server, visit: Callable[..., Page]) -> tuple[Page, list[Route]]:
    """A page whose first prediction request waits for the test to answer it, and the list of all requests."""
    page = visit(site.url, model_in_page=False)
    requests: list[Route] = []

    def keep(route: Route) -> None:
        if requests:
            route.continue_()
        requests.append(route)

    intercept(page, "**/api/predict", keep)
    return page, requests


def wait_for_first(page: Page, requests: list[Route]) -> None:
    # Playwright delivers events only during its own calls, so call something.
    wait_for(lambda: page.evaluate("true") and bool(requests), "the first request")


def test_the_latest_drawing_is_recognised_last(held: tuple[Page, list[Route]]) -> None:
    page, requests = held
    draw(page, 7)
    wait_for_first(page, requests)
    # Everything drawn since then waits for the response, and is sent in one request.
    assert len(requests) == 1
    requests[0].fulfill(json=STALE)
    expect(page.locator("#guess")).to_have_text("7")
    assert len(requests) == 2


def test_a_response_for_a_cleared_drawing_is_ignored(held: tuple[Page, list[Route]]) -> None:
    page, requests = held
    line(page, [(40, 40), (60, 40)])
    wait_for_first(page, requests)
    page.locator("#clear").click()
    draw(page, 7)
    expect(page.locator("#guess")).to_have_text("7")
    requests[0].fulfill(json=STALE)
    page.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
    expect(page.locator("#guess")).to_have_text("7")


def test_undo_clear_and_eraser(site: Server, visit: Callable[..., Page]) -> None:
    page = visit(site.url)
    guess, undo, clear = page.locator("#guess"), page.locator("#undo"), page.locator("#clear")
    expect(undo).to_be_disabled()
    expect(clear).to_be_disabled()
    draw(page, 0)
    expect(guess).to_have_text("0")
    clear.click()
    expect(guess).to_have_text(NOTHING)
    # Clearing can be undone, and then the stroke before it.
    undo.click()
    expect(guess).to_have_text("0")
    undo.click()
    expect(guess).to_have_text(NOTHING)
    expect(undo).to_be_disabled()
    draw(page, 7)
    expect(guess).to_have_text("7")
    page.locator("#eraser").click()
    expect(page.locator("#eraser")).to_have_attribute("aria-pressed", "true")
    for y in range(20, 280, 20):
        line(page, [(5, y), (275, y)])
    expect(guess).to_have_text(NOTHING)


def test_the_page_works_with_the_keyboard_only(site: Server, visit: Callable[..., Page]) -> None:
    page = visit(site.url)
    expect(page.locator("#model")).to_contain_text("Network")
    stops = []
    for _ in range(12):
        page.keyboard.press("Tab")
        stops.append(page.evaluate("document.activeElement.id || document.activeElement.textContent"))
        if stops[-1] == "pad":
            break
    assert stops[0] == "Skip to content"
    assert stops[-1] == "pad"
    for key in ["ArrowUp"] * 8 + [" "] + ["ArrowDown"] * 16 + [" "]:
        page.keyboard.press(key)
    expect(page.locator("#guess")).to_have_text("1")
    page.keyboard.press("Control+z")
    expect(page.locator("#guess")).to_have_text(NOTHING)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "pen"


def test_undo_ends_the_stroke_that_is_being_drawn(site: Server, visit: Callable[..., Page]) -> None:
    page = visit(site.url)
    page.locator("#pad").focus()
    for key in (" ", "ArrowDown", "ArrowDown", "Control+z", "ArrowDown", "ArrowDown"):
        page.keyboard.press(key)
    expect(page.locator("#undo")).to_be_disabled()
    expect(page.locator("#guess")).to_have_text(NOTHING)


def test_the_page_works_on_a_phone(site: Server, visit: Callable[..., Page]) -> None:
    page = visit(site.url, **PHONE)
    # Nothing is wider than the screen, and the buttons are large enough for a finger.
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    sizes = page.locator("button:visible").evaluate_all("all => all.map((one) => one.getBoundingClientRect().height)")
    assert min(sizes) >= 44
    before = page.evaluate("scrollY")
    touch(page, 3)
    expect(page.locator("#guess")).to_have_text("3")
    # The finger drew and did not scroll the page.
    assert page.evaluate("scrollY") == before


def test_a_failed_request_clears_the_prediction_and_is_repeated(site: Server, visit: Callable[..., Page]) -> None:
    page = visit(site.url, may_fail="Failed to load resource", model_in_page=False)
    draw(page, 0)
    expect(page.locator("#guess")).to_have_text("0")
    failure = {"status": 503, "json": {"detail": "come again"}, "headers": {"Retry-After": "1"}}
    intercept(page, "**/api/predict", lambda route: route.fulfill(**failure))
    line(page, [(140, 55), (141, 56)])
    expect(page.locator("#sure")).to_have_text("No answer: come again.")
    expect(page.locator("#guess")).to_have_text(NOTHING)
    expect(page.locator("#bars .best")).to_have_count(0)
    # The page sends the request again although nothing more is drawn.
    page.unroute("**/api/predict")
    expect(page.locator("#guess")).to_have_text("0")


def test_a_drawing_that_the_server_calls_blank_is_not_an_error(site: Server, visit: Callable[..., Page]) -> None:
    page = visit(site.url, may_fail="Failed to load resource", model_in_page=False)
    rest = page.locator("#sure").inner_text()
    draw(page, 0)
    expect(page.locator("#guess")).to_have_text("0")
    intercept(page, "**/api/predict", lambda route: route.fulfill(status=422, json={"detail": "the drawing is blank"}))
    line(page, [(140, 55), (141, 56)])
    expect(page.locator("#guess")).to_have_text(NOTHING)
    expect(page.locator("#sure")).to_have_text(rest)


@pytest.mark.parametrize("missed", [["pointerup"], ["pointerup", "lostpointercapture"]])
def test_a_missed_pointerup_event_ends_the_stroke_all_the_same(
    site: Server, visit: Callable[..., Page], missed: list[str]
) -> None:
    page = visit(site.url)
    for kind in missed:
        page.evaluate("kind => addEventListener(kind, (event) => event.stopImmediatePropagation(), true)", kind)
    line(page, [(60, 60), (60, 140)])
    page.mouse.move(*placed(page, [(220, 220)])[0])
    line(page, [(140, 60), (140, 140)])
    # Read the canvas once; Chromium warns about repeated reads.
    ink = """(pad, points) => {
        const { data } = pad.getContext('2d').getImageData(0, 0, pad.width, pad.height);
        const place = (value) => Math.round((value * pad.width) / 280);
        return points.map(([x, y]) => data[4 * (place(y) * pad.width + place(x))] < 128);
    }"""
    inked = page.locator("#pad").evaluate(ink, [(60, 100), (140, 100), (220, 220), (140, 180)])
    assert inked == [True, True, False, False]
    # There are two strokes.
    page.locator("#undo").click()
    page.locator("#undo").click()
    expect(page.locator("#undo")).to_be_disabled()


def test_the_drawing_area_has_no_context_menu(site: Server, visit: Callable[..., Page]) -> None:
    page = visit(site.url)
    event = "new MouseEvent('contextmenu', { bubbles: true, cancelable: true })"
    assert page.locator("#pad").evaluate(f"pad => !pad.dispatchEvent({event})")


def test_an_unreachable_server_is_reported_and_tried_again(
    serve: Callable[..., Server], visit: Callable[..., Page]
) -> None:
    page = visit(serve().url, may_fail="Failed to load resource", model_in_page=False)
    intercept(page, "**/api/predict", lambda route: route.abort())
    draw(page, 0)
    expect(page.locator("#sure")).to_have_text("No answer: the server cannot be reached.")
    page.unroute("**/api/predict")
    line(page, [(140, 55), (141, 56)])
    expect(page.locator("#guess")).to_have_text("0")


def sheet(dataset: Dataset, *positions: int) -> bytes:
    """Return a PNG with some digits side by side, each 112 pixels wide."""
    digits = [np.kron(dataset.images[one].reshape(28, 28), np.ones((4, 4), np.uint8)) for one in positions]
    file = io.BytesIO()
    Image.fromarray(np.pad(np.hstack(digits), 40, constant_values=255)).save(file, "PNG")
    return file.getvalue()


def choose(page: Page, content: bytes) -> None:
    """Choose a file in the page's dialog for pictures."""
    page.locator("#file").set_input_files({"name": "picture.png", "mimeType": "image/png", "buffer": content})


def test_all_digits_on_a_picture_are_recognised(site: Server, visit: Callable[..., Page], drawn: Dataset) -> None:
    page = visit(site.url)
    positions = [int(np.flatnonzero(drawn.labels[:400] == label)[0]) for label in (3, 0, 7)]
    with page.expect_response("**/api/predict") as answered:
        choose(page, sheet(drawn, *positions))
    found = answered.value.json()["digits"]
    assert len(found) == 3
    expect(page.locator("#sure")).to_have_text("3 digits found")
    expect(page.locator("#guess")).to_have_text(" ".join(str(digit["label"]) for digit in found))
    # Each digit shows its own probabilities.
    last = page.locator("#found button").nth(2)
    last.click()
    expect(last).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#bars .best > span").first).to_have_text(str(found[2]["label"]))
    expect(page.locator("#drawing")).to_be_hidden()
    # The picture is shown with a mark around that digit.
    blue = """preview => {
        const { data } = preview.getContext('2d').getImageData(0, 0, preview.width, preview.height);
        const columns = [];
        for (let k = 0; k < data.length; k += 4) {
            if (data[k] < 60 && data[k + 2] > 140) columns.push((k / 4) % preview.width);
        }
        return [Math.min(...columns), Math.max(...columns)];
    }"""
    left, _, right, _ = found[2]["box"]
    marked = page.locator("#preview").evaluate(blue)
    assert marked == pytest.approx([left, right], abs=12)
    page.locator("#draw").click()
    expect(page.locator("#drawing")).to_be_visible()
    expect(page.locator("#guess")).to_have_text(NOTHING)
    draw(page, 0)
    expect(page.locator("#guess")).to_have_text("0")


def test_a_picture_without_digits_is_said_to_have_none(site: Server, visit: Callable[..., Page]) -> None:
    page = visit(site.url, may_fail="Failed to load resource")
    file = io.BytesIO()
    Image.new("L", (200, 100), 255).save(file, "PNG")
    choose(page, file.getvalue())
    expect(page.locator("#sure")).to_contain_text("No digit found: ")


def test_the_camera_takes_a_picture(site: Server, visit: Callable[..., Page]) -> None:
    page = visit(site.url)
    page.context.grant_permissions(["camera"])
    intercept(page, "**/api/predict", lambda route: route.fulfill(json=PICTURE))
    page.locator("#camera").click()
    expect(page.locator("#take")).to_be_visible()
    wait_for(lambda: bool(page.locator("#video").evaluate("video => video.videoWidth")), "the camera")
    with page.expect_request("**/api/predict") as sent:
        page.locator("#take").click()
    assert sent.value.headers["content-type"] == "image/jpeg"
    body = sent.value.post_data_buffer
    assert body is not None
    assert Image.open(io.BytesIO(body)).width > 100
    expect(page.locator("#guess")).to_have_text("3")
    # The camera is off again.
    assert page.locator("#video").evaluate("video => video.srcObject") is None


def test_the_camera_is_off_when_a_picture_is_opened_instead(
    site: Server, visit: Callable[..., Page], drawn: Dataset
) -> None:
    page = visit(site.url, permissions=["camera"])
    # Keep the streams, to see whether they end.
    page.evaluate("""() => {
        const devices = navigator.mediaDevices, open = devices.getUserMedia.bind(devices);
        window.streams = [];
        devices.getUserMedia = async (wanted) => {
            const stream = await open(wanted);
            window.streams.push(stream);
            return stream;
        };
    }""")
    # Twice before the first start has come to its end.
    page.locator("#camera").evaluate("(button) => { button.click(); button.click(); }")
    expect(page.locator("#take")).to_be_visible()
    wait_for(lambda: page.evaluate("streams.length") == 2, "both starts of the camera")
    live = "() => streams.filter((stream) => stream.getTracks().some((track) => track.readyState === 'live')).length"
    assert page.evaluate(live) == 1
    choose(page, sheet(drawn, 0))
    expect(page.locator("#preview")).to_be_visible()
    assert page.evaluate(live) == 0


def test_a_file_that_is_no_picture_is_called_that(site: Server, visit: Callable[..., Page]) -> None:
    page = visit(site.url, may_fail="status of 422")
    page.locator("#file").set_input_files({"name": "a.pdf", "mimeType": "application/pdf", "buffer": b"%PDF-1.7"})
    expect(page.locator("#sure")).to_contain_text("No digit found: ")
    expect(page.locator("#sure")).not_to_contain_text("content type")
    page.locator("#file").set_input_files({"name": "a.heic", "mimeType": "", "buffer": bytes((4 << 20) + 1)})
    expect(page.locator("#sure")).to_contain_text("it is too large to be sent")
    draw(page, 3)
    expect(page.locator("#guess")).to_have_text("3")


PROBABILITIES = [0.0, 0.0, 0.0, 0.6, 0.0, 0.4, 0.0, 0.0, 0.0, 0.0]
DOUBTFUL = {"label": 3, "probabilities": PROBABILITIES, "doubtful": True, "reason": "it may be 5, too"}
PICTURE = {**DOUBTFUL, "seen": [255] * 784, "digits": [{**DOUBTFUL, "box": [10, 10, 40, 40]}]}


def test_a_doubtful_answer_has_its_reason(site: Server, visit: Callable[..., Page]) -> None:
    page = visit(site.url, model_in_page=False)
    intercept(page, "**/api/predict", lambda route: route.fulfill(json=PICTURE))
    draw(page, 3)
    expect(page.locator("#sure")).to_have_text("3, doubtful (60%)")
    expect(page.locator("#doubt")).to_have_text("In doubt: it may be 5, too.")
    page.locator("#clear").click()
    expect(page.locator("#doubt")).to_have_text("")


def test_without_a_network_visitors_are_asked_to_come_back(
    site: Server, visit: Callable[..., Page], listen: Callable[..., None]
) -> None:
    page = visit("about:blank", model_in_page=False)
    page.route("**/api/health", lambda route: route.fulfill(json={"status": "ok", "version": "1", "model": None}))
    asked: list[str] = []
    listen(page, "request", lambda one: asked.append(one.url) if "predict" in one.url else None)
    page.goto(site.url)
    expect(page.locator("#sure")).to_have_text("There is no network here yet. Please come back later.")
    draw(page, 3)
    page.evaluate("() => new Promise((resolve) => setTimeout(resolve, 200))")
    assert asked == []
