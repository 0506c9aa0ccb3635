"""A class: the teacher's page, the projector, what pupils see, and classes of one's own."""

from __future__ import annotations

import re
import string
from typing import TYPE_CHECKING, Any

import pytest

from fastnn.datasets.database import import_dataset
from fastnn.formats import save_model
from fastnn.model import Model
from fastnn.network import Network
from fastnn.recipe import Recipe
from fastnn.training import as_model
from fastnn.training_loops import train
from fastnn.web.store import Store
from fastnn.web.words import article
from tests.helpers import wait_for
from tests.web.browser.conftest import PHONE
from tests.web.browser.hand import line
from tests.web.browser.opinions import answer_always, wait_for_opinion
from tests.web.browser.test_collect import saved_digits
from tests.web.servers import BEARER, TOKEN, Server, digit, http, new_id, servers
from tests.web.shapes import SHAPES, outline, shapes

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra [dev])").expect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Page

    from fastnn.datasets import Dataset

SMALL_PHONE: dict[str, Any] = {**PHONE, "viewport": {"width": 390, "height": 664}}
LETTERS = tuple(string.ascii_uppercase)


def inside(page: Page, *selectors: str) -> None:
    """Check that elements are on the first screen, and that the page is not wider than it."""
    size = page.viewport_size
    assert size is not None
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    for selector in selectors:
        box = page.locator(selector).bounding_box()
        assert box is not None
        assert box["y"] >= 0, selector
        assert box["y"] + box["height"] <= size["height"], selector


def draw_wanted(page: Page) -> str:
    """Draw the shape that the page asks for, and return its name."""
    name = page.locator("#wanted").inner_text()
    line(page, outline(name))
    return name


@pytest.fixture(scope="package")
def shape_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server for shapes with 90 of them and a network that knows them."""
    folder = tmp_path_factory.mktemp("shapes")
    dataset, recipe = shapes(300), Recipe(hidden=(30,), rule="backprop", init="xavier", invert=True, epochs=10, lr=0.02)
    network = recipe.network(784, 3)
    assert list(train(network, dataset, recipe))
    save_model(as_model(network, dataset, recipe), folder / "shapes.safetensors")
    Store(f"sqlite:///{folder / 'digits.db'}", SHAPES).close()
    import_dataset(dataset.take(range(90)), f"sqlite:///{folder / 'digits.db'}")
    with servers(folder, folder / "shapes.safetensors") as start:
        yield start("--rate", "0")


@pytest.fixture(scope="package")
def letter_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server for letters with a network that has learned nothing."""
    folder = tmp_path_factory.mktemp("letters")
    save_model(Model((Network((784, 26)).initialise("uniform", 0),), LETTERS), folder / "letters.safetensors")
    with servers(folder, folder / "letters.safetensors") as start:
        yield start("--rate", "0", "--classes", "A-Z")


# ---- closing and opening ----


def test_the_teacher_closes_and_opens_collecting(
    serve: Callable[..., Server], visit: Callable[..., Page], drawn: Dataset
) -> None:
    server = serve("--rate", "0")
    teacher = visit(f"{server.url}/teacher#token={TOKEN}")
    expect(teacher.locator("#state")).to_have_text("Collecting is open")
    assert teacher.url == f"{server.url}/teacher"
    pupil = visit(f"{server.url}/contribute", may_fail="409")
    expect(pupil.locator("#wanted")).not_to_have_text("–")
    teacher.locator("#toggle").focus()
    teacher.keyboard.press("Enter")
    expect(teacher.locator("#state")).to_have_text("Collecting is closed")

    line(pupil, [(140, 60), (140, 220)])
    pupil.keyboard.press("Enter")
    closed = "Collecting is closed at the moment. Thank you. 1 digit in this browser will be sent when it opens."
    expect(pupil.locator("#message")).to_have_text(closed)
    assert len(saved_digits(pupil)) == 1
    assert http.get(f"{server.url}/api/stats").json()["pending"] == 0
    # Whoever comes now is told so at once.
    late = visit(f"{server.url}/contribute")
    expect(late.locator("#message")).to_have_text("Collecting is closed at the moment. Thank you.")

    projector = visit(f"{server.url}/class")
    expect(projector.locator("#state")).to_have_text("Collecting is closed at the moment. Thank you.")
    teacher.locator("#toggle").click()
    expect(teacher.locator("#state")).to_have_text("Collecting is open")
    expect(pupil.locator("#message")).to_have_text("1 sent, thank you.")
    assert saved_digits(pupil) == []
    # The projector and the teacher see it without a reload.
    expect(projector.locator("#drawn")).to_have_text("1")
    expect(projector.locator("#words")).to_have_text("digit")
    expect(projector.locator("#state")).to_have_text("")
    expect(teacher.locator("#figures dd").first).to_have_text("1")

    # What was not reviewed is shown only if the teacher wants it.
    expect(projector.locator("#mosaic")).to_be_hidden()
    teacher.locator("#shows").check()
    expect(projector.locator("#mosaic")).to_be_visible()
    assert projector.locator("#mosaic").evaluate("image => image.decode().then(() => image.naturalHeight)") == 28
    before = projector.locator("#mosaic").get_attribute("src")
    http.post(f"{server.url}/api/digits", json={"digits": [digit(drawn, 0)]})
    expect(projector.locator("#drawn")).to_have_text("2")
    assert projector.locator("#mosaic").get_attribute("src") != before


def test_a_wrong_token_opens_no_teachers_page(site: Server, visit: Callable[..., Page]) -> None:
    page = visit(f"{site.url}/teacher#token=wrong", may_fail="401")
    expect(page.locator("#refused")).to_have_text("the token is missing or wrong")
    expect(page.locator("#desk")).to_be_hidden()
    page.locator("#token").fill(TOKEN)
    page.keyboard.press("Enter")
    expect(page.locator("#desk")).to_be_visible()


@pytest.mark.parametrize("size", [(1280, 800), (1024, 768)])
def test_a_projector_shows_code_address_and_counter_on_one_screen(
    site: Server, visit: Callable[..., Page], size: tuple[int, int]
) -> None:
    page = visit(f"{site.url}/class", viewport={"width": size[0], "height": size[1]})
    expect(page.locator("#drawn")).not_to_have_text("–")
    expect(page.locator("#address")).to_have_text(site.url.removeprefix("http://"))
    expect(page.locator("#only-here")).to_contain_text("fastnn serve --class")
    assert page.locator(".code").evaluate("image => image.decode().then(() => image.naturalWidth > 0)")
    inside(page, ".code", "#address", "#drawn", "#tally")
    letters = page.locator("#address").evaluate("element => parseFloat(getComputedStyle(element).fontSize)")
    assert letters >= size[0] / 40


# ---- other classes than digits ----


def test_pupils_contribute_shapes_on_a_phone(shape_site: Server, visit: Callable[..., Page]) -> None:
    page = visit(f"{shape_site.url}/contribute", model_in_page=False, **SMALL_PHONE)
    expect(page.locator("#wanted")).not_to_have_text("–")
    assert page.locator("#please").inner_text() == "Please draw a"
    inside(page, "#wanted", "#pad", "#next")
    asked = []
    for _ in range(4):
        asked.append(draw_wanted(page))
        page.locator("#next").click()
        expect(page.locator("#wanted")).not_to_have_text(asked[-1])
    # The newest can still be deleted.
    expect(page.locator("#message")).to_have_text("3 sent, thank you.")
    assert set(asked) == set(SHAPES)  # the rarest are asked for
    assert page.locator("#tally b").all_inner_texts() == list(SHAPES)
    assert page.locator("#drawn li span").all_inner_texts() == asked
    queue = http.get(f"{shape_site.url}/api/review?limit=100", headers=BEARER).json()
    assert {SHAPES[one["label"]] for one in queue["digits"]} == set(SHAPES)

    # A drawing of another shape is noticed.
    wanted = page.locator("#wanted").inner_text()
    other = next(name for name in SHAPES if name != wanted)
    answer = {
        "label": other,
        "probabilities": [float(name == other) for name in SHAPES],
        "doubtful": False,
        "reason": None,
    }
    answer_always(page, answer)
    line(page, outline(other))
    wait_for_opinion(page)
    page.locator("#next").click()
    expect(page.locator("#looks")).to_have_text(f"It looks like a {other}; you were asked for a {wanted}.")
    page.locator("#redo").click()


def test_shapes_are_recognised_on_a_phone(shape_site: Server, visit: Callable[..., Page]) -> None:
    page = visit(shape_site.url, **SMALL_PHONE)
    expect(page.locator("#model")).to_contain_text("layers")
    expect(page.locator("h1")).to_have_text("Draw a circle, a square or a star")
    for name in SHAPES:
        line(page, outline(name))
        expect(page.locator("#guess")).to_have_text(name)
        inside(page, "#guess", "#pad")
        expect(page.locator("#bars li.best > span").first).to_have_text(name)
        page.locator("#clear").click()
    assert page.locator("#bars li").count() == 3


def test_drawings_for_other_classes_stay_in_the_browser(shape_site: Server, visit: Callable[..., Page]) -> None:
    page = visit(f"{shape_site.url}/data")
    record = {"id": "8f0c5f0e-5b0b-4d7e-9f43-0c1b2a7d8e11", "image": [0] * 784, "label": 1, "drawn": 1}
    page.evaluate("record => localStorage.setItem('fastnn.digit.x', JSON.stringify(record))", record)
    record_here = {**record, "id": new_id(), "label": 2, "name": "star"}
    page.evaluate("record => localStorage.setItem('fastnn.digit.' + record.id, JSON.stringify(record))", record_here)
    page.goto(f"{shape_site.url}/contribute")
    # The 1 of a server that collected digits is not sent as a square.
    expect(page.locator("#message")).to_have_text("1 sent, thank you.")
    assert [one["id"] for one in saved_digits(page)] == [record["id"]]


def test_letters_have_26_bars_and_their_articles(letter_site: Server, visit: Callable[..., Page]) -> None:
    page = visit(letter_site.url, **SMALL_PHONE)
    expect(page.locator("#model")).to_contain_text("784-26")
    expect(page.locator("h1")).to_have_text("Draw a letter")
    line(page, [(140, 60), (140, 220)])
    expect(page.locator("#guess")).not_to_have_text("–")
    assert page.locator("#bars li > span:first-child").all_inner_texts() == list(LETTERS)
    inside(page, "#guess", "#pad")

    page.goto(f"{letter_site.url}/contribute")
    expect(page.locator("#wanted")).not_to_have_text("–")
    for _ in range(6):
        wanted = page.locator("#wanted").inner_text()
        assert page.locator("#please").inner_text() == f"Please draw {article(wanted)}"
        page.locator("#other").click()
        expect(page.locator("#wanted")).not_to_have_text(wanted)
    assert page.locator("#tally li").count() == 26
    inside(page, "#wanted", "#pad", "#next")
    names = [*LETTERS, "8", "11", "80", "apple", "unicorn", "house", "European", "one", "circle"]
    read = """async (names) => {
      const { article } = await import(new URL("static/common.js", document.baseURI));
      return names.map(article);
    }"""
    assert page.evaluate(read, names) == [article(name) for name in names]

    page.goto(f"{letter_site.url}/data")
    expect(page.locator("#figures dt").first).to_have_text("letters")
    assert page.locator("#bars li").count() == 26


def test_learn_waits_for_drawings_of_own_classes(letter_site: Server, visit: Callable[..., Page]) -> None:
    page = visit(f"{letter_site.url}/learn")
    few = "Visitors have drawn only 0 letters so far that have been accepted; a network needs 200."
    expect(page.locator("#message")).to_have_text(f"{few} Please come back later.")
    expect(page.locator("#run")).to_have_attribute("aria-disabled", "true")
    page.locator("#run").click(force=True)
    expect(page.locator("#run")).to_have_text("Start")


def test_learn_trains_on_shapes(shape_site: Server, visit: Callable[..., Page]) -> None:
    page = visit(f"{shape_site.url}/learn")
    expect(page.locator("#source")).to_be_hidden()
    line(page, outline("star"))
    page.locator("#run").click()
    wait_for(lambda: page.locator("#guess").inner_text() == "star", "the star to be recognised")
    page.locator("#step").click()
    expect(page.locator("#message")).to_contain_text("It has just learned from a")
    assert page.locator("#bars li").count() == 3
    # A word is not broken where it has room.
    page.set_viewport_size({"width": 667, "height": 340})
    page.locator("#clear").click()
    line(page, outline("square"))
    expect(page.locator("#guess")).to_have_text(re.compile("square|circle|star"))
    lines = "guess => guess.offsetHeight / parseFloat(getComputedStyle(guess).lineHeight)"
    assert page.locator("#guess").evaluate(lines) == pytest.approx(1, abs=0.1)


def test_many_classes_with_long_names_fit_on_a_phone(
    serve: Callable[..., Server], visit: Callable[..., Page], drawn: Dataset
) -> None:
    names = [f"{'a thing with a name of many words, ' if k % 2 else 'x' * 40}{k}" for k in range(60)]
    server = serve("--rate", "0", "--classes", ",".join(name.replace(",", "") for name in names))
    http.post(f"{server.url}/api/digits", json={"digits": [digit(drawn, k) for k in range(30)]})
    page = visit(f"{server.url}/contribute", **SMALL_PHONE)
    expect(page.locator("#wanted")).not_to_have_text("–")
    inside(page, "#wanted", "#pad", "#next")
    assert page.locator("#tally li").count() == 1  # what is asked for; nothing was drawn here
    page.goto(f"{server.url}/class")
    expect(page.locator("#drawn")).to_have_text("30")
    inside(page)
    assert page.locator("#tally li").count() == 10
