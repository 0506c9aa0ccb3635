"""The pictures of the four pages that the README shows: ``pytest tests/web/browser --screenshots``."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from tests.helpers import ROOT
from tests.web.browser.conftest import DESK, PHONE
from tests.web.browser.hand import draw, touch
from tests.web.servers import TOKEN

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra [dev])").expect

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page

    from tests.web.servers import Server

FOLDER = ROOT / "data" / "screenshots"

# For each picture: the page, how the browser is set, and what the picture shows at least.
PICTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "recognise": ("", DESK),
    "contribute": ("contribute", DESK),
    "review-dark": (f"review#token={TOKEN}", {**DESK, "color_scheme": "dark"}),
    "data": ("data", DESK),
    "recognise-phone-dark": ("", {**PHONE, "color_scheme": "dark"}),
    "contribute-phone": ("contribute", PHONE),
}


@pytest.mark.parametrize("name", PICTURES)
def test_picture(site: Server, visit: Callable[..., Page], name: str, request: pytest.FixtureRequest) -> None:
    if not request.config.getoption("--screenshots"):
        pytest.skip("pictures are taken with --screenshots")
    path, options = PICTURES[name]
    page = visit(f"{site.url}/{path}", **{**options, "locale": "en-GB", "timezone_id": "UTC"})
    hand = touch if options.get("has_touch") else draw
    if path == "":
        hand(page, 3)
        expect(page.locator("#guess")).to_have_text("3")
    elif path == "contribute":
        for _ in range(6):
            hand(page, int(page.locator("#wanted").inner_text()))
            page.locator("#next").click()
        hand(page, int(page.locator("#wanted").inner_text()))
        page.locator("#name").fill("Ada")
        page.locator("#name").blur()
        page.evaluate("scrollTo(0, 0)")
    elif path == "data":
        expect(page.locator("#mosaic")).to_have_js_property("complete", value=True)
    else:
        expect(page.locator("#facts .large")).to_be_visible()
    image = Image.open(io.BytesIO(page.screenshot()))
    # 64 colours are enough for these pages, and make a third of the bytes.
    small = image.convert("RGB").quantize(64, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    FOLDER.mkdir(exist_ok=True)
    small.save(FOLDER / f"{name}.png", optimize=True)
