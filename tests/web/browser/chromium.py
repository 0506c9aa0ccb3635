"""Debian's Chromium, driven by playwright, for tests and benchmarks."""

from __future__ import annotations

import contextlib
import shutil
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

# Without the last four, Chromium would look for its updates on the network. The camera is one of Chromium's own, and
# nobody can allow its use in a browser without windows.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

WAIT = 30_000
"""Milliseconds; reached only when something hangs."""


def missing_chromium() -> str | None:
    """Return why no browser can be started here, or None."""
    if find_spec("playwright") is None:
        return "playwright is not installed (extra [dev])"
    return None if _program() else "chromium is not installed (apt-get install chromium-headless-shell)"


def _program() -> str | None:
    """Return Chromium's path; the one without windows takes half of the CPU time."""
    return shutil.which("chromium-headless-shell") or shutil.which("chromium")


@contextlib.contextmanager
def open_chromium() -> Iterator[Browser]:
    """Start the browser; while it runs, this thread has a running event loop."""
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=WAIT)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_program(), args=ARGUMENTS)
        yield browser
        browser.close()
