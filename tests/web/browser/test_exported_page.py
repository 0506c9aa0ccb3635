"""The page that ``fastnn export MODEL page.html`` writes, opened from a file, without a network."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fastnn.datasets import load_dataset
from fastnn.datasets.scaling import Scaling
from fastnn.evaluation.agreement import check_export
from fastnn.formats.export import export
from fastnn.model import Calibration, Model, ModelCard
from fastnn.recipe import Recipe
from fastnn.training import as_model
from fastnn.training_loops import train
from tests.models import network, row_model
from tests.web.browser.conftest import PHONE
from tests.web.browser.hand import draw, touch, trace

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra [dev])").expect
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from playwright.sync_api import Page

    from fastnn.datasets import Dataset
    from fastnn.formats.export import Precision

NOTHING = "–"
SMALL_PHONE = {**PHONE, "viewport": {"width": 320, "height": 568}}
ON_ITS_SIDE = {**PHONE, "viewport": {"width": 568, "height": 320}}


@pytest.fixture(scope="module")
def real(shared: Path) -> Dataset:
    return load_dataset(str(shared / "digits" / "dataset.json"))


@pytest.fixture(scope="module")
def people(real: Dataset) -> Model:
    """A small ensemble that has learned digits of people, with label smoothing."""
    options: dict[str, Any] = {"rule": "backprop", "init": "xavier", "invert": True, "normalise": True, "lr": 0.02}
    networks = []
    recipe = Recipe(name="people", hidden=(40,), epochs=2, label_smoothing=0.1, **options)
    for seed in (0, 1):
        made = recipe.replace(seed=seed).network(784, 10)
        for _ in train(made, real.take(range(4000)), recipe):
            pass
        networks.append(made)
    card = ModelCard(recipe=recipe, metrics={"test_accuracy": 0.9}, calibration=Calibration(label_smoothing=0.1))
    single = as_model(networks[0], real, recipe, card)
    return Model(tuple(networks), single.names, invert=True, normalise=True, card=card)


@pytest.fixture(scope="module")
def file(people: Model, tmp_path_factory: pytest.TempPathFactory) -> str:
    return export(people, tmp_path_factory.mktemp("page") / "page.html").path.as_uri()


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_real_digits_get_the_label_of_the_model(
    people: Model, real: Dataset, visit: Callable[..., Page], tmp_path: Path, precision: Precision
) -> None:
    path = export(people, tmp_path / "page.html", precision=precision).path
    images = real.images[-1000:]
    given = [base64.b64encode(images.tobytes()).decode(), 784]
    code = "([images, width]) => JSON.parse(answersForAll(byId('model').textContent, images, width))"
    found = np.array(visit(path.as_uri()).evaluate(code, given))
    same = int((found.argmax(axis=1) == people.predict(images)).sum())
    print(f"{precision}: {same} of 1000 digits get the label of the model")
    assert same >= (999 if precision == "float32" else 990)
    assert np.abs(found - people.predict_proba(images)).max() < (1e-5 if precision == "float32" else 0.01)


def test_the_page_runs_in_the_browser_of_the_system(people: Model, real: Dataset, tmp_path: Path) -> None:
    path = export(people, tmp_path / "page.html", precision="float32").path
    agreement = check_export(path, people, real.take(range(100)))
    assert agreement.same == 100
    assert agreement.largest_difference < 1e-5


@pytest.mark.parametrize("digit", [3, 5])
def test_a_drawn_digit_is_recognised(
    file: str, visit: Callable[..., Page], listen: Callable[..., None], digit: int
) -> None:
    requests: list[str] = []
    page = visit("about:blank", offline=True)
    listen(page, "request", lambda request: requests.append(request.url))
    page.goto(file)
    expect(page).to_have_title("Draw a digit – recipe people, 90.0% correct on test images")
    expect(page.locator("#bars li")).to_have_count(10)
    expect(page.locator("#guess")).to_have_text(NOTHING)
    draw(page, digit)
    expect(page.locator("#guess")).to_have_text(str(digit))
    expect(page.locator("#bars .best")).to_have_text(re.compile(rf"^{digit}\d+(\.\d)?%$"))
    assert [url for url in requests if not url.startswith("data:")] == [file]


def test_the_page_shows_what_the_network_sees(file: str, visit: Callable[..., Page], people: Model) -> None:
    from fastnn.images import normalise_batch

    page = visit(file)
    draw(page, 3)
    drawn = np.array(page.evaluate("document.querySelector('draw-pad').imageForNetwork()"), dtype=np.uint8)
    expect(page.locator("#guess")).to_have_text("3")
    seen = page.evaluate("[...byId('seen').getContext('2d').getImageData(0, 0, 28, 28).data]")
    expected = normalise_batch(drawn[None], polarity="dark-on-light")[0][0]
    np.testing.assert_array_equal(np.array(seen[::4]), expected)
    # The bars show what the model answers for the drawing.
    probability = people.predict_proba(drawn)[0, 3]
    shown = page.locator("#bars .best .value").inner_text()
    assert float(shown.rstrip("%")) == pytest.approx(100 * probability, abs=0.6)


# Draws strokes with pointer events, which is faster than with the mouse, and returns the label.
DRAW = """(strokes) => {
  const pad = document.querySelector("draw-pad"), canvas = document.querySelector("#pad");
  const box = canvas.getBoundingClientRect();
  canvas.setPointerCapture = () => {};
  const fire = (type, [x, y]) => canvas.dispatchEvent(new PointerEvent(type, {
    clientX: box.left + x * box.width / 280, clientY: box.top + y * box.height / 280, isPrimary: true, buttons: 1 }));
  for (const stroke of strokes) {
    fire("pointerdown", stroke[0]);
    for (const point of stroke) fire("pointermove", point);
    fire("pointerup", stroke.at(-1));
  }
  const answers = Array.from(answersFor(model, pad.imageForNetwork()));
  pad.reset();
  return answers.indexOf(Math.max(...answers));
}"""


def test_real_digits_are_recognised_at_any_size(file: str, real: Dataset, visit: Callable[..., Page]) -> None:
    page = visit(file)
    digits: list[int] = []
    position = 4000
    # Tracing and recognising a digit may fail for other reasons than its size.
    while len(digits) < 20:
        if page.evaluate(DRAW, trace(real.images[position])) == real.labels[position]:
            digits.append(position)
        position += 1
    for size in (1 / 2, 1 / 3, 1 / 5):
        found = [page.evaluate(DRAW, trace(real.images[one], size)) for one in digits]
        assert sum(np.array(found) == real.labels[digits]) >= 19, size


def test_the_keyboard_draws_and_clears(file: str, visit: Callable[..., Page]) -> None:
    page = visit(file)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "pad"
    for key in ["ArrowUp"] * 8 + [" "] + ["ArrowDown"] * 16 + [" "]:
        page.keyboard.press(key)
    expect(page.locator("#guess")).to_have_text("1")
    page.keyboard.press("Delete")
    expect(page.locator("#guess")).to_have_text(NOTHING)
    expect(page.locator("#clear")).to_be_disabled()
    page.keyboard.press("Control+z")
    expect(page.locator("#guess")).to_have_text("1")
    for _ in range(4):
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#guess")).to_have_text(NOTHING)


@pytest.mark.parametrize("options", [SMALL_PHONE, ON_ITS_SIDE], ids=["upright", "on its side"])
def test_the_page_works_on_a_phone(file: str, visit: Callable[..., Page], options: dict[str, Any]) -> None:
    page = visit(file, **options)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    sizes = page.locator("button").evaluate_all("all => all.map((one) => one.getBoundingClientRect().height)")
    assert min(sizes) >= 44
    touch(page, 3)
    expect(page.locator("#guess")).to_have_text("3")
    assert page.evaluate("scrollY") == 0
    # The drawing area and the answer are on the screen together.
    guess = page.locator("#guess").bounding_box()
    assert guess is not None
    assert guess["y"] + guess["height"] <= options["viewport"]["height"]


def serious(page: Page) -> list[str]:
    found = axe.Axe().run(page).response["violations"]
    return [f"{one['id']}: {one['help']}" for one in found if one["impact"] in ("serious", "critical")]


@pytest.fixture
def table_file(tmp_path: Path) -> str:
    return export(row_model(), tmp_path / "table.html", precision="float32").path.as_uri()


@pytest.mark.parametrize("kind", ["file", "table_file"])
def test_no_serious_violation(request: pytest.FixtureRequest, visit: Callable[..., Page], kind: str) -> None:
    page = visit(request.getfixturevalue(kind), color_scheme="light")
    if kind == "file":
        draw(page, 3)
        expect(page.locator("#guess")).to_have_text("3")
    assert serious(page) == []
    page.emulate_media(color_scheme="dark")
    assert serious(page) == []
    page.set_viewport_size(SMALL_PHONE["viewport"])
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert serious(page) == []


def test_the_form_of_a_table(table_file: str, visit: Callable[..., Page]) -> None:
    page, model = visit(table_file), row_model()
    page.get_by_label("a", exact=True).fill("2.5")
    page.get_by_label("colour").select_option("red")
    expected = model.predict_proba(np.array([[2.5, 0.0, 1.0]]))[0]
    expect(page.locator("#guess")).to_have_text(model.names[int(expected.argmax())])
    shown = page.locator("#bars .value").all_inner_texts()
    assert [float(text.rstrip("%")) for text in shown] == pytest.approx((100 * expected).tolist(), abs=0.6)
    page.get_by_label("a", exact=True).fill("")
    expect(page.locator("#sure")).to_have_text("Each field needs a number.")


@pytest.mark.parametrize("task", ["multilabel", "regression"])
def test_the_form_shows_labels_and_numbers(tmp_path: Path, visit: Callable[..., Page], task: str) -> None:
    output = "sigmoid" if task == "multilabel" else "identity"
    made = network(2, 3, 2, rule="backprop", output=output, seed=3)
    scaling = Scaling(np.array([10.0, -3.0]), np.array([0.5, 2.0]))
    model = Model((made,), ("wind", "rain"), takes="rows", scaling=scaling)
    page = visit(export(model, tmp_path / "page.html", precision="float32").path.as_uri())
    # The fields start with the means.
    assert page.locator("input").evaluate_all("all => all.map((field) => field.valueAsNumber)") == [10.0, -3.0]
    page.get_by_label("column 2").fill("-1")
    answers = model.answers(np.array([[10.0, -1.0]]))[0]
    if task == "multilabel":
        names = [name for name, answer in zip(model.names, answers, strict=True) if answer > 0.5]
        expect(page.locator("#sure")).to_have_text(", ".join(names) or "None of the labels")
        expect(page.locator("#bars .best")).to_have_count(len(names))
    else:
        shown = re.findall(r"-?\d+\.\d+", page.locator("#sure").inner_text())
        assert [float(number) for number in shown] == pytest.approx(answers.tolist(), rel=1e-4)


def test_of_many_classes_the_ten_most_probable_are_shown(tmp_path: Path, visit: Callable[..., Page]) -> None:
    names = tuple(f"a sign with the long name {k}" for k in range(47))
    model = Model((network(784, 47, rule="backprop").initialise("xavier", 0),), names)
    page = visit(export(model, tmp_path / "page.html").path.as_uri(), **SMALL_PHONE)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    touch(page, 0)
    drawn = np.array(page.evaluate("document.querySelector('draw-pad').imageForNetwork()"), dtype=np.uint8)
    best = np.argsort(-model.predict_proba(drawn)[0])[:10]
    expect(page.locator("#bars li")).to_have_count(10)
    expect(page.locator("#guess")).to_have_text(names[best[0]])
    shown = page.locator("#bars li > span:first-child").all_text_contents()
    assert shown == [names[k] for k in best]
    guess, words = page.locator("#guess").bounding_box(), page.locator("#sure").bounding_box()
    assert guess is not None
    assert words is not None
    assert guess["x"] + guess["width"] <= words["x"]
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
