"""axe-core finds no serious violation on any page, in light and dark mode, on a desktop and on phones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fastnn.web.pages import PAGES
from tests.web.browser.hand import line
from tests.web.browser.pages import intercept
from tests.web.servers import TOKEN

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra [dev])").expect
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page

    from tests.web.servers import Server

# A small phone upright, one on its side, and a desktop.
SIZES = ((320, 568), (667, 340), (1280, 800))

RUN = "([parts, options]) => axe.run(parts, options).then(({ violations }) => violations)"
WHOLE = ("html",)
# Details of what is right would take half of the time.
EVERYTHING: dict[str, Any] = {"resultTypes": ["violations"]}
# A theme changes colours only.
COLOURS: dict[str, Any] = {
    **EVERYTHING,
    "runOnly": {"type": "rule", "values": ["color-contrast", "link-in-text-block"]},
}


def faults(page: Page, *parts: str) -> list[str]:
    """Return what is wrong with a page, or parts of it, in its present state, at every size and in both themes."""
    # Once for each page: it takes as long as a run.
    page.evaluate(axe.Axe().axe_script)
    found = []
    for width, height in SIZES:
        page.set_viewport_size({"width": width, "height": height})
        if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
            found.append(f"wider than the screen of {width}x{height}")
        for scheme, options in (("light", EVERYTHING), ("dark", COLOURS)):
            page.emulate_media(color_scheme=scheme)
            found += [f"{width}x{height}, {scheme}: {one}" for one in serious(page, parts or WHOLE, options)]
    return found


def serious(page: Page, parts: tuple[str, ...], options: dict[str, Any]) -> list[str]:
    """Return the violations that axe-core calls serious or critical, with the elements concerned."""
    return [
        f"{one['id']}: {one['help']} ({', '.join(str(node['target']) for node in one['nodes'])})"
        for one in page.evaluate(RUN, [parts, options])
        if one["impact"] in ("serious", "critical")
    ]


def scribble(page: Page) -> None:
    line(page, [(140, 60), (140, 220)])


def recognise(page: Page) -> None:
    scribble(page)
    expect(page.locator("#guess")).to_have_text("1")
    page.locator("#why summary").click()
    expect(page.locator("#why-units li").first).to_be_visible()


def contribute(page: Page) -> None:
    intercept(page, "**/api/digits", lambda route: route.fulfill(status=201, json={"stored": 1}))
    scribble(page)
    page.locator("#next").click()
    if page.locator("#keep").is_visible():
        page.locator("#keep").click()
    expect(page.locator("#drawn li")).to_have_count(1)
    scribble(page)


def ask_back(page: Page) -> None:
    """Draw another digit than the one asked for."""
    # A page that cannot run the network asks the server.
    page.route("**/model.json", lambda route: route.fulfill(json={"key": "", "task": "regression"}))
    page.reload()
    intercept(
        page,
        "**/api/predict",
        lambda route: route.fulfill(json={"label": "?", "probabilities": [1.0], "doubtful": False, "reason": None}),
    )
    with page.expect_response("**/api/predict"):
        scribble(page)
    page.locator("#next").click()
    expect(page.locator("#hint")).to_be_visible()


def learn(page: Page) -> None:
    scribble(page)
    page.locator("#step").click()
    expect(page.locator("#message")).to_contain_text("It has just learned")


def learn_on_the_machine(page: Page) -> None:
    page.locator("#machine-run").click()
    page.locator("#token").fill(TOKEN)
    page.keyboard.press("Enter")
    expect(page.locator("#legend")).to_be_visible()
    page.locator("#machine-run").click()
    expect(page.locator("#machine-run")).to_have_text("Start fastnn")


def see_the_class(page: Page) -> None:
    expect(page.locator("#drawn")).not_to_have_text("–")
    expect(page.locator("#mosaic")).to_be_visible()


def teach(page: Page) -> None:
    expect(page.locator("#desk")).to_be_visible()


def judge(page: Page) -> None:
    expect(page.locator("#log li")).to_have_count(3)


def open_view(page: Page, name: str) -> None:
    page.locator(f"#views a[data-view={name}]").click()
    expect(page.locator(".cell, #entries li").first).to_be_visible()


def mark(page: Page) -> None:
    open_view(page, "grid")
    page.locator(".cell").first.click()


def browse(page: Page) -> None:
    open_view(page, "browse")
    page.locator(".cell").first.focus()
    expect(page.locator("#browse-digit")).to_be_visible()


def strike(page: Page) -> None:
    open_view(page, "browse")
    page.evaluate("location.hash = 'view=browse&state=pending&contributor=Ada'")
    page.locator("#strike").click()
    expect(page.locator("#ask")).to_be_visible()


def look_back(page: Page) -> None:
    open_view(page, "history")


# The states in which visitors see a page when they use it; a page that is not here is looked at as it opens.
STATES: dict[str, tuple[Callable[[Page], None], ...]] = {
    "/": (recognise,),
    "/contribute": (contribute, ask_back),
    "/learn": (learn, learn_on_the_machine),
    "/review": (judge, mark, browse, strike, look_back),
    "/class": (see_the_class,),
    "/teacher": (teach,),
}


def opened(page: Page) -> None:
    page.wait_for_load_state("networkidle")


@pytest.mark.parametrize(
    ("path", "use"),
    [pytest.param(path, use, id=f"{path} {use.__name__}") for path in PAGES for use in STATES.get(path, (opened,))],
)
def test_no_serious_violation(site: Server, visit: Callable[..., Page], path: str, use: Callable[[Page], None]) -> None:
    # Pages that need no token ignore it.
    page = visit(f"{site.url}{path}#token={TOKEN}", model_in_page=use is not ask_back)
    use(page)
    assert faults(page) == []
    if path == "/contribute":
        # The page would send what is on the pad when it is closed.
        page.evaluate("document.querySelector('draw-pad').reset()")


def test_no_serious_violation_on_the_login_forms(site: Server, visit: Callable[..., Page]) -> None:
    page = visit(f"{site.url}/review")
    expect(page.locator("#login")).to_be_visible()
    assert faults(page) == []
    page = visit(f"{site.url}/learn")
    page.locator("#machine-run").click()
    expect(page.locator("#machine-login")).to_be_visible()
    # The rest of the page is looked at when it learns.
    assert faults(page, "section:has(#machine-login)") == []


def test_a_violation_would_be_found(site: Server, visit: Callable[..., Page]) -> None:
    page = visit(f"{site.url}/contribute")
    page.evaluate("document.querySelector('label').remove()")
    page.evaluate("document.querySelector('main').style.minWidth = '400px'")
    # Grey that is readable on black only.
    page.evaluate("document.querySelector('.lead').style.color = '#888'")
    found = faults(page)
    assert any(fault.startswith("1280x800, light: label:") for fault in found)
    assert "wider than the screen of 320x568" in found
    assert any(fault.startswith("1280x800, light: color-contrast:") for fault in found)
    assert not any("dark: color-contrast:" in fault for fault in found)
