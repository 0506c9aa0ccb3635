"""axe-core finds no serious violation on any page, in light and dark mode, on a desktop and on a phone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.web.browser.conftest import PHONE
from tests.web.browser.hand import line
from tests.web.servers import TOKEN

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra [dev])").expect
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page

    from tests.web.servers import Server


def serious(page: Page) -> list[str]:
    """Return the violations that axe-core calls serious or critical, with the elements concerned."""
    found = axe.Axe().run(page).response["violations"]
    return [
        f"{one['id']}: {one['help']} ({', '.join(str(node['target']) for node in one['nodes'])})"
        for one in found
        if one["impact"] in ("serious", "critical")
    ]


def use(page: Page, path: str) -> None:
    """Bring a page into the state in which visitors see it when they use it."""
    page.route("**/api/digits", lambda route: route.fulfill(status=201, json={"stored": 1}))
    if path in ("", "contribute", "learn"):
        line(page, [(140, 60), (140, 220)])
    if path == "learn":
        page.locator("#step").click()
        expect(page.locator("#message")).to_contain_text("It has just learned")
        page.locator("#machine-run").click()
        page.locator("#token").fill(TOKEN)
        page.keyboard.press("Enter")
        expect(page.locator("#legend")).to_be_visible()
        page.locator("#machine-run").click()
        expect(page.locator("#machine-run")).to_have_text("Start fastnn")
    elif path == "":
        expect(page.locator("#guess")).to_have_text("1")
    elif path == "contribute":
        page.locator("#next").click()
        expect(page.locator("#drawn li")).to_have_count(1)
    elif path == "review":
        expect(page.locator("#desk")).to_be_visible()
        expect(page.locator("#log li")).to_have_count(3)
    elif path == "class":
        expect(page.locator("#drawn")).not_to_have_text("–")
        expect(page.locator("#mosaic")).to_be_visible()
    elif path == "teacher":
        expect(page.locator("#desk")).to_be_visible()
    elif path == "data":
        expect(page.locator("#credits li")).to_have_count(4)


@pytest.mark.parametrize("path", ["", "contribute", "review", "data", "learn", "class", "teacher"])
def test_no_serious_violation(site: Server, visit: Callable[..., Page], path: str) -> None:
    page = visit(f"{site.url}/{path}{f'#token={TOKEN}' if path in ('review', 'teacher') else ''}", color_scheme="light")
    use(page, path)
    assert serious(page) == []
    page.emulate_media(color_scheme="dark")
    assert serious(page) == []
    page.set_viewport_size(PHONE["viewport"])
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert serious(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_serious_violation_on_the_login_forms(site: Server, visit: Callable[..., Page], scheme: str) -> None:
    page = visit(f"{site.url}/review", color_scheme=scheme)
    expect(page.locator("#login")).to_be_visible()
    assert serious(page) == []
    page.goto(f"{site.url}/learn")
    page.locator("#machine-run").click()
    expect(page.locator("#machine-login")).to_be_visible()
    assert serious(page) == []


def test_a_violation_would_be_found(site: Server, visit: Callable[..., Page]) -> None:
    page = visit(f"{site.url}/contribute")
    page.evaluate("document.querySelector('label').remove()")
    assert any(violation.startswith("label:") for violation in serious(page))
