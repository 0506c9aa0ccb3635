"""The page that recognises what is drawn."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from fastnn.formats import save_model
from fastnn.model import ModelCard
from fastnn.recipe import Recipe
from fastnn.training import as_model, train
from tests.web.browser.conftest import PHONE
from tests.web.browser.hand import draw, line, placed, touch
from tests.web.servers import wait_for

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra [dev])").expect

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from playwright.sync_api import Page, Route

    from fastnn.model import Model
    from tests.web.servers import Server

NOTHING = "–"


def winner(page: Page) -> str:
    """The name of the longest bar."""
    widths = page.locator("#bars .fill").evaluate_all("fills => fills.map(({ style }) => parseFloat(style.width))")
    names = page.locator("#bars li > span:first-child").all_text_contents()
    return str(names[max(range(len(widths)), key=widths.__getitem__)])


@pytest.mark.parametrize("digit", [0, 3, 4, 7])
def test_a_drawn_digit_has_the_longest_bar(site: Server, visit: Callable[..., Page], digit: int) -> None:
    page = visit(site.url)
    expect(page.locator("#bars li")).to_have_count(10)
    draw(page, digit)
    expect(page.locator("#guess")).to_have_text(str(digit))
    expect(page.locator("#bars .best")).to_have_text(re.compile(rf"^{digit}\d+(\.\d)? %$"))
    assert winner(page) == str(digit)
    # What the network sees has the ink of a digit.
    seen = page.locator("#seen").evaluate("seen => [...seen.getContext('2d').getImageData(0, 0, 28, 28).data]")
    ink = sum(value < 128 for value in seen[::4])
    assert 40 < ink < 300


def test_a_network_that_learnt_from_people_knows_it_too(
    shared: Path, tmp_path: Path, serve: Callable[..., Server], visit: Callable[..., Page]
) -> None:
    from fastnn.datasets import load_dataset

    dataset = load_dataset(str(shared / "digits" / "dataset.json"))
    recipe = Recipe(hidden=(60,), rule="backprop", init="xavier", invert=True, normalise=True, epochs=2, lr=0.02)
    network = recipe.network(784, 10)
    for _ in train(network, dataset, recipe):
        pass
    save_model(
        as_model(network, dataset, recipe, ModelCard(recipe=recipe.replace(name="people"))),
        tmp_path / "people.safetensors",
    )
    page = visit(serve("--model", "people.safetensors", "--rate", "0").url)
    expect(page.locator("#model")).to_contain_text("“people” of 784-60-10 units: its accuracy has not been measured")
    for digit in (0, 3, 5):
        draw(page, digit)
        expect(page.locator("#guess")).to_have_text(str(digit))
        page.locator("#clear").click()
        expect(page.locator("#guess")).to_have_text(NOTHING)


def test_the_model_is_named_with_its_accuracy(site: Server, visit: Callable[..., Page], model: Model) -> None:
    page = visit(site.url)
    accuracy = f"{100 * model.card.metrics['test_accuracy']:.1f}"
    expect(page.locator("#model")).to_contain_text("784-40-10 units")
    expect(page.locator("#model")).to_contain_text(f"{accuracy} % right on 150 test digits")


# Movements of the pen that is down, which the page hears of before it does anything else.
MOVES = """([x, y, moves]) => {
  for (let k = 0; k < moves; k++) {
    const place = { clientX: x + (k % 3), clientY: y + (k % 150), pointerId: 1, buttons: 1, bubbles: true };
    document.querySelector("#pad").dispatchEvent(new PointerEvent("pointermove", place));
  }
}"""
AT_ONCE = 50


def test_answers_come_while_the_pen_is_down_and_not_for_every_movement(
    site: Server, visit: Callable[..., Page]
) -> None:
    page = visit(site.url)
    asked: list[Any] = []
    page.on("request", lambda request: asked.append(request.post_data_json) if "predict" in request.url else None)
    box = page.locator("#pad").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 100, box["y"] + 60)
    page.mouse.down()
    moves = 0
    # The pen never rests for as long as a debounce that starts anew with each movement would want.
    while moves == 0 or page.locator("#guess").inner_text() == NOTHING:
        page.evaluate(MOVES, [box["x"] + 100, box["y"] + 60, AT_ONCE])
        moves += AT_ONCE
        assert moves < 1000 * AT_ONCE
    page.mouse.up()
    assert 1 <= len(asked) <= moves / 5


STALE = {"label": 3, "probabilities": [0, 0, 0, 1, 0, 0, 0, 0, 0, 0], "seen": [255] * 784}


@pytest.fixture
def held(site: Server, visit: Callable[..., Page]) -> tuple[Page, list[Route]]:
    """A page whose first question is not answered until the test does so; all questions are listed."""
    page = visit(site.url)
    questions: list[Route] = []

    def keep(route: Route) -> None:
        if questions:
            route.continue_()
        questions.append(route)

    page.route("**/api/predict", keep)
    return page, questions


def wait_for_first(page: Page, questions: list[Route]) -> None:
    # The page has to be asked something, or the driver does not tell of the question.
    wait_for(lambda: page.evaluate("true") and bool(questions), "the first question")


def test_the_latest_answer_wins(held: tuple[Page, list[Route]]) -> None:
    page, questions = held
    draw(page, 7)
    wait_for_first(page, questions)
    # All that was drawn since waits for the answer, and is asked for at once.
    assert len(questions) == 1
    questions[0].fulfill(json=STALE)
    expect(page.locator("#guess")).to_have_text("7")
    assert len(questions) == 2


def test_an_answer_about_what_is_no_longer_there_is_dropped(held: tuple[Page, list[Route]]) -> None:
    page, questions = held
    line(page, [(40, 40), (60, 40)])
    wait_for_first(page, questions)
    page.locator("#clear").click()
    draw(page, 7)
    expect(page.locator("#guess")).to_have_text("7")
    questions[0].fulfill(json=STALE)
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
    # Clearing can be undone, and so can the stroke before it.
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


def test_by_keyboard_alone(site: Server, visit: Callable[..., Page]) -> None:
    page = visit(site.url)
    expect(page.locator("#model")).to_contain_text("network")
    stops = []
    for _ in range(12):
        page.keyboard.press("Tab")
        stops.append(page.evaluate("document.activeElement.id || document.activeElement.textContent"))
        if stops[-1] == "pad":
            break
    assert stops[0] == "Skip to the content"
    assert stops[-1] == "pad"
    for key in ["ArrowUp"] * 8 + [" "] + ["ArrowDown"] * 16 + [" "]:
        page.keyboard.press(key)
    expect(page.locator("#guess")).to_have_text("1")
    page.keyboard.press("Control+z")
    expect(page.locator("#guess")).to_have_text(NOTHING)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "pen"


def test_a_stroke_that_is_undone_while_it_is_drawn_does_not_come_back(site: Server, visit: Callable[..., Page]) -> None:
    page = visit(site.url)
    page.locator("#pad").focus()
    for key in (" ", "ArrowDown", "ArrowDown", "Control+z", "ArrowDown", "ArrowDown"):
        page.keyboard.press(key)
    expect(page.locator("#undo")).to_be_disabled()
    expect(page.locator("#guess")).to_have_text(NOTHING)


def test_on_a_phone_with_a_finger(site: Server, visit: Callable[..., Page]) -> None:
    page = visit(site.url, **PHONE)
    # Nothing is wider than the screen, and what is touched is not too small to be hit.
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    sizes = page.locator("button").evaluate_all("all => all.map((one) => one.getBoundingClientRect().height)")
    assert min(sizes) >= 44
    before = page.evaluate("scrollY")
    touch(page, 3)
    expect(page.locator("#guess")).to_have_text("3")
    # The finger drew and did not move the page.
    assert page.evaluate("scrollY") == before


def test_a_server_that_failed_is_asked_again_and_no_old_answer_stays(site: Server, visit: Callable[..., Page]) -> None:
    page = visit(site.url, may_fail="Failed to load resource")
    draw(page, 0)
    expect(page.locator("#guess")).to_have_text("0")
    fault = {"status": 503, "json": {"detail": "come again"}, "headers": {"Retry-After": "1"}}
    page.route("**/api/predict", lambda route: route.fulfill(**fault))
    line(page, [(140, 55), (141, 56)])
    expect(page.locator("#sure")).to_have_text("No answer: come again.")
    expect(page.locator("#guess")).to_have_text(NOTHING)
    expect(page.locator("#bars .best")).to_have_count(0)
    # Nothing more is drawn.
    page.unroute("**/api/predict")
    expect(page.locator("#guess")).to_have_text("0")


def test_a_drawing_that_the_server_takes_for_blank_is_no_fault(site: Server, visit: Callable[..., Page]) -> None:
    page = visit(site.url, may_fail="Failed to load resource")
    rest = page.locator("#sure").inner_text()
    draw(page, 0)
    expect(page.locator("#guess")).to_have_text("0")
    page.route("**/api/predict", lambda route: route.fulfill(status=422, json={"detail": "nothing is drawn"}))
    line(page, [(140, 55), (141, 56)])
    expect(page.locator("#guess")).to_have_text(NOTHING)
    expect(page.locator("#sure")).to_have_text(rest)


@pytest.mark.parametrize("missed", [["pointerup"], ["pointerup", "lostpointercapture"]])
def test_the_pen_ends_where_its_letting_go_was_missed(
    site: Server, visit: Callable[..., Page], missed: list[str]
) -> None:
    page = visit(site.url)
    for kind in missed:
        page.evaluate("kind => addEventListener(kind, (event) => event.stopImmediatePropagation(), true)", kind)
    line(page, [(60, 60), (60, 140)])
    page.mouse.move(*placed(page, [(220, 220)])[0])
    line(page, [(140, 60), (140, 140)])
    # The canvas is read once, as reading it more often has the browser warn.
    ink = """(pad, points) => {
        const { data } = pad.getContext('2d').getImageData(0, 0, pad.width, pad.height);
        const place = (value) => Math.round((value * pad.width) / 280);
        return points.map(([x, y]) => data[4 * (place(y) * pad.width + place(x))] < 128);
    }"""
    inked = page.locator("#pad").evaluate(ink, [(60, 100), (140, 100), (220, 220), (140, 180)])
    assert inked == [True, True, False, False]
    # The strokes are two.
    page.locator("#undo").click()
    page.locator("#undo").click()
    expect(page.locator("#undo")).to_be_disabled()


def test_the_drawing_area_has_no_menu(site: Server, visit: Callable[..., Page]) -> None:
    page = visit(site.url)
    event = "new MouseEvent('contextmenu', { bubbles: true, cancelable: true })"
    assert page.locator("#pad").evaluate(f"pad => !pad.dispatchEvent({event})")


def test_a_server_that_is_gone_is_told_and_comes_back(serve: Callable[..., Server], visit: Callable[..., Page]) -> None:
    page = visit(serve().url, may_fail="Failed to load resource")
    page.route("**/api/predict", lambda route: route.abort())
    draw(page, 0)
    expect(page.locator("#sure")).to_have_text("No answer: the server cannot be reached.")
    page.unroute("**/api/predict")
    line(page, [(140, 55), (141, 56)])
    expect(page.locator("#guess")).to_have_text("0")
