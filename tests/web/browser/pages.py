"""Pages that tests use one after the other: a fresh one costs more CPU time than most tests."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tests.web.browser.chromium import WAIT

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Browser, Frame, Page, Route

# What can be changed while a page is open; all else needs a browser context of its own.
MEDIA = {"color_scheme": "light", "forced_colors": "none", "reduced_motion": "reduce"}

# As in a browser that came over plain http from another machine. A service worker would outlive the test.
NO_SERVICE_WORKER = "delete Navigator.prototype.serviceWorker"

# A page that is left sends what is on its drawing area, to a server that the next test may count the digits of.
SEND_NOTHING = "() => { window.fetch = () => new Promise(() => {}); }"

# A new page that the page itself asks for stays in its process, and keeps its origin: both save time.
LEAVE = "() => { setTimeout(() => location.replace('about:blank')); }"
FORGET = """() => {
  for (const name of ["localStorage", "sessionStorage"]) {
    try { window[name].clear(); } catch { /* a page without an origin has none */ }
  }
}"""

# Asks for the page again, until the answer is not that of the server.
PROBE = """async () => {
  for (let k = 0; k < 1000; k += 1) if ((await fetch("?probe", { cache: "no-store" })).status === 204) return;
  throw new Error("requests of the page are not intercepted");
}"""


def intercept(page: Page, url: Any, handler: Callable[[Route], Any]) -> None:
    """Call a function for each request of an open page to addresses like `url`, from this moment on.

    `page.route` alone returns before the requests of a page that is open go through Playwright: those of the next
    moment still reach the server.
    """
    probe = re.compile(r"\?probe$")
    page.route(probe, lambda route: route.fulfill(status=204))
    page.evaluate(PROBE)
    page.route(url, handler)
    page.unroute(probe)


class Pages:
    """Hands out pages in the state of fresh ones, and takes them back.

    What it cannot reset, it does not use again: see `take`.
    """

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._free: dict[str, list[Page]] = {}
        self._given: dict[Page, str | None] = {}
        self._listeners: dict[Page, list[tuple[Any, Any]]] = {}
        self._origins: dict[Page, set[str]] = {}

    def take(self, *, fresh: bool, viewport: dict[str, int], **options: Any) -> Page:
        """Return a page with options of a browser context.

        A `fresh` page can have service workers, go offline, have a slow network, and run scripts before those of a
        page. It is used once; so is one that went to several origins.
        """
        media: dict[str, Any] = {name: options.pop(name, usual) for name, usual in MEDIA.items()}
        key = None if fresh else repr(sorted(options.items()))
        free = self._free.get(key or "", [])
        if key is not None and free:
            page = free.pop()
            page.set_viewport_size({"width": viewport["width"], "height": viewport["height"]})
            page.emulate_media(**media)
        else:
            context = self._browser.new_context(viewport=viewport, **media, **options)  # type: ignore[arg-type]
            context.set_default_timeout(WAIT)
            if key is not None:
                context.add_init_script(NO_SERVICE_WORKER)
            page = context.new_page()
        self._given[page] = key
        self._listeners[page] = []
        self._origins[page] = set()
        self.listen(page, "framenavigated", self._note)
        return page

    def listen(self, page: Page, event: Any, handler: Callable[[Any], Any]) -> None:
        """Call a function at each event of a page, until the page is given back."""
        page.on(event, handler)
        self._listeners[page].append((event, handler))

    def give_back(self, page: Page) -> None:
        """Take a page back; what it would still send is not sent."""
        key = self._given.pop(page)
        listeners, origins = self._listeners.pop(page), self._origins.pop(page)
        if page.is_closed():
            page.context.close()
            return
        page.unroute_all(behavior="ignoreErrors")
        page.evaluate(SEND_NOTHING)
        for event, handler in listeners:
            page.remove_listener(event, handler)
        if key is None or len(origins) > 1:
            page.context.close()
            return
        if page.url != "about:blank":
            with page.expect_navigation(url="about:blank"):
                page.evaluate(LEAVE)
        page.evaluate(FORGET)
        page.context.clear_cookies()
        page.context.clear_permissions()
        page.mouse.move(0, 0)
        self._free.setdefault(key, []).append(page)

    def _note(self, frame: Frame) -> None:
        parts = urlsplit(frame.url)
        if parts.scheme != "about":
            with contextlib.suppress(KeyError):
                self._origins[frame.page].add(f"{parts.scheme}://{parts.netloc}")
