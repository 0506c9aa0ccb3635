"""What a page knows of the network's opinion about a drawing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.web.browser.pages import intercept

if TYPE_CHECKING:
    from playwright.sync_api import Page

# Notes each drawing once the page has worked on the answer about it: the browser has the answer earlier.
_NOTE = """() => {
  const ask = window.fetch;
  window.answered = [];
  window.fetch = async (url, options) => {
    const response = await ask(url, options);
    const read = response.json.bind(response);
    response.json = async () => {
      const answer = await read();
      setTimeout(() => window.answered.push(String(JSON.parse(options?.body ?? "{}").image)));
      return answer;
    };
    return response;
  };
}"""
_KNOWN = "() => window.answered.includes(String([...document.querySelector('draw-pad').imageForNetwork()]))"


def answer_always(page: Page, answer: dict[str, Any]) -> None:
    """Give one answer about all drawings of a page from now on."""
    intercept(page, "**/api/predict", lambda route: route.fulfill(json=answer))
    page.evaluate(_NOTE)


def wait_for_opinion(page: Page) -> None:
    """Wait until the page has the answer about the whole drawing; it also asks about parts that are drawn slowly."""
    page.wait_for_function(_KNOWN)
    page.evaluate("() => { window.answered = []; }")
