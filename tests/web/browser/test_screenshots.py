"""Takes the screenshots of the pages for the README: ``pytest tests/web/browser --screenshots``."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from fastnn.datasets import load_dataset
from fastnn.formats import load_model
from tests.helpers import ROOT, run_fastnn, wait_for
from tests.web.browser.conftest import DESK, PHONE, fill
from tests.web.browser.hand import draw, touch
from tests.web.servers import TOKEN, servers

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra [dev])").expect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Page

    from tests.web.servers import Server

FOLDER = ROOT / "data" / "screenshots"

# For each screenshot: the page, and the options of the browser.
SCREENSHOTS: dict[str, tuple[str, dict[str, Any]]] = {
    "recognise": ("", DESK),
    "why": ("?why", {"viewport": {"width": 1100, "height": 1100}}),
    "contribute": ("contribute", DESK),
    "review-dark": (f"review#token={TOKEN}", {**DESK, "color_scheme": "dark"}),
    "review-phone": (f"review#token={TOKEN}", PHONE),
    "review-grid": (f"review#token={TOKEN}&view=grid", DESK),
    "learn": ("learn", {"viewport": {"width": 1100, "height": 1150}}),
    "class": ("class", DESK),
    "data": ("data", DESK),
    "recognise-phone-dark": ("", {**PHONE, "color_scheme": "dark"}),
    "contribute-phone": ("contribute", PHONE),
}


@pytest.fixture(scope="module")
def gallery(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a network that was trained longer than in other tests."""
    if not request.config.getoption("--screenshots"):
        pytest.skip("taken only with --screenshots")
    folder = tmp_path_factory.mktemp("gallery")
    done = run_fastnn(
        "train", "--data", "drawn:8000", "--recipe", "modern", "--epochs", "20", "--out", "run", cwd=folder
    )
    assert done.returncode == 0, done.stderr
    names = ("Ada", "Grace", "Konrad", "Alan")
    fill(f"sqlite:///{folder / 'digits.db'}", load_dataset("drawn:1500:3"), load_model(folder / "run"), names)
    with servers(folder, folder / "run") as start:
        yield start("--rate", "0")


@pytest.mark.parametrize("name", SCREENSHOTS)
def test_screenshot(gallery: Server, visit: Callable[..., Page], name: str) -> None:
    path, options = SCREENSHOTS[name]
    page = visit(f"{gallery.url}/{path}", **{**options, "locale": "en-GB", "timezone_id": "UTC"})
    hand = touch if options.get("has_touch") else draw
    if path == "":
        hand(page, 3, steps=8)
        expect(page.locator("#guess")).to_have_text("3")
    elif path == "?why":
        hand(page, 3, steps=8)
        page.locator("#why summary").click()
        expect(page.locator("#why-units li").first).to_be_visible()
    elif path == "class":
        expect(page.locator("#mosaic")).to_have_js_property("complete", value=True)
    elif path.endswith("grid"):
        page.locator(".cell").nth(2).click()
    elif path == "contribute":
        expect(page.locator("#wanted")).not_to_have_text("–")
        for _ in range(6):
            hand(page, int(page.locator("#wanted").inner_text()), steps=8)
            page.keyboard.press("Enter")
            if page.locator("#keep").is_visible():
                page.locator("#keep").click()
        hand(page, int(page.locator("#wanted").inner_text()), steps=8)
        page.locator("#name").fill("Ada")
        page.locator("#name").blur()
        page.evaluate("scrollTo(0, 0)")
        expect(page.locator("#message")).to_have_text("6 sent, thank you.")
    elif path == "learn":
        hand(page, 0, steps=8)
        page.locator("#run").click()
        wait_for(lambda: int(page.locator("#figures dd").first.inner_text().replace(",", "")) > 20_000, "20,000 digits")
        page.locator("#run").click()
        expect(page.locator("#run")).to_have_text("Start")
        page.locator("#machine-run").click()
        page.locator("#token").fill(TOKEN)
        page.keyboard.press("Enter")
        learned = page.locator("#machine-figures dd")
        wait_for(
            lambda: learned.count() and int(learned.first.inner_text().replace(",", "")) > 200_000, "200,000 digits"
        )
        page.locator("#machine-run").click()
        page.evaluate("scrollTo(0, 0)")
    elif path == "data":
        expect(page.locator("#mosaic")).to_have_js_property("complete", value=True)
    else:
        for key in "aa":
            expect(page.locator("#accept")).to_be_enabled()
            page.keyboard.press(key)
        expect(page.locator("#figures dd").last).to_have_text("2")
    image = Image.open(io.BytesIO(page.screenshot()))
    # 64 colours are enough for these pages and take a third of the bytes.
    small = image.convert("RGB").quantize(64, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    FOLDER.mkdir(exist_ok=True)
    small.save(FOLDER / f"{name}.png", optimize=True)
