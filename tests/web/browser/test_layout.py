"""What must be on the first screen of a phone, also with large text, and what contrast themes show."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.web.browser.conftest import PHONE
from tests.web.browser.hand import touch
from tests.web.servers import TOKEN

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra [dev])").expect

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page

    from tests.web.servers import Server

# Small phones upright and on their side, and one of medium size.
SIZES = ((320, 568), (390, 664), (667, 340))
FIRST = {"": ("#pad", "#guess", "#sure"), "contribute": ("#wanted", "#pad", "#next")}


def inside(page: Page, selector: str, size: tuple[int, int]) -> bool:
    box = page.locator(selector).bounding_box()
    assert box is not None
    return (
        box["x"] >= 0 and box["y"] >= 0 and box["x"] + box["width"] <= size[0] and box["y"] + box["height"] <= size[1]
    )


@pytest.mark.parametrize("path", FIRST)
def test_the_drawing_and_what_belongs_to_it_are_on_the_first_screen(
    site: Server, visit: Callable[..., Page], path: str
) -> None:
    page = visit(f"{site.url}/{path}", **PHONE)
    if path == "":
        touch(page, 3)
        expect(page.locator("#guess")).to_have_text("3")
    # One page in all sizes: a fresh one costs more than the rest of the test.
    for size in SIZES:
        page.set_viewport_size({"width": size[0], "height": size[1]})
        for text_size in ("100%", "200%"):
            page.evaluate("size => { document.documentElement.style.fontSize = size; scrollTo(0, 0); }", text_size)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (size, text_size)
            # With large text, what is drawn on and what is answered matter most.
            needed = FIRST[path] if text_size == "100%" else FIRST[path][:2]
            assert [name for name in needed if not inside(page, name, size)] == [], (size, text_size)


@pytest.mark.parametrize("path", ["data", "learn", f"review#token={TOKEN}"])
def test_large_text_is_not_wider_than_the_screen(site: Server, visit: Callable[..., Page], path: str) -> None:
    page = visit(f"{site.url}/{path}", **PHONE)
    expect(page.locator("#figures div").first).to_be_visible()
    page.evaluate("document.documentElement.style.fontSize = '200%'")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("view", ["one", "grid", "browse&state=pending&contributor=Ada", "history"])
def test_the_review_desk_fits_every_screen(site: Server, visit: Callable[..., Page], view: str) -> None:
    page = visit(f"{site.url}/review#token={TOKEN}&view={view}", **PHONE)
    expect(page.locator("#desk")).to_be_visible()
    for width, height in (*SIZES, (1280, 800)):
        page.set_viewport_size({"width": width, "height": height})
        for text_size in ("100%", "200%"):
            page.evaluate("size => { document.documentElement.style.fontSize = size; }", text_size)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (width, text_size)
            if view == "grid":
                page.evaluate("scrollTo(0, 0)")
                assert inside(page, "#grid-accept", (width, height)), (width, text_size)
    marked = page.locator(".cell").first
    if view == "grid":
        page.emulate_media(forced_colors="active")
        colour = "cell => getComputedStyle(cell).borderColor"
        before = marked.evaluate(colour)
        marked.click()
        assert marked.evaluate(colour) != before


def test_contrast_themes_show_the_bars(site: Server, visit: Callable[..., Page]) -> None:
    page = visit(site.url, forced_colors="active", **PHONE)
    touch(page, 3)
    expect(page.locator("#guess")).to_have_text("3")
    colour = "bar => getComputedStyle(bar).backgroundColor"
    track = page.locator("#bars .best .track").evaluate(colour)
    assert page.locator("#bars .best .fill").evaluate(colour) != track
    assert page.locator("#bars li:not(.best) .fill").first.evaluate(colour) != track
