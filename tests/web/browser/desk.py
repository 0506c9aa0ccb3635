"""Helpers for the tests of the review desk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.web.servers import BEARER, TOKEN, digit, http

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra [dev])").expect

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page

    from fastnn.datasets import Dataset
    from tests.web.servers import Server


def digits_in(server: Server, state: str, **filters: str) -> list[dict[str, Any]]:
    """Return the newest digits in a state, at most 100."""
    answer = http.get(f"{server.url}/api/review/digits", params={"state": state, **filters}, headers=BEARER)
    return list(answer.raise_for_status().json()["digits"])


def pending(server: Server) -> list[dict[str, Any]]:
    """Return the digits that wait, in the order of the queue; those too that are lent to a page."""
    return sorted(digits_in(server, "pending"), key=lambda one: (-one["uncertainty"], one["number"]))


def review(server: Server, name: str, **body: Any) -> None:
    http.post(f"{server.url}/api/review/{name}", json=body, headers=BEARER).raise_for_status()


def review_all(server: Server, reviews: list[dict[str, Any]], reviewer: str = "") -> None:
    body = {"reviews": reviews, "reviewer": reviewer}
    http.post(f"{server.url}/api/review", json=body, headers=BEARER).raise_for_status()


def send(
    server: Server, dataset: Dataset, *positions: int, contributor: str = "", **changes: Any
) -> list[dict[str, Any]]:
    """Send digits, and return them."""
    sent = [digit(dataset, position, **changes) for position in positions]
    for start in range(0, len(sent), 100):
        body = {"digits": sent[start : start + 100], "contributor": contributor}
        http.post(f"{server.url}/api/digits", json=body).raise_for_status()
    return sent


def log_in(server: Server, visit: Callable[..., Page], view: str = "", **options: Any) -> Page:
    """Open the review page, in a view if one is given, with parameters as in the address."""
    page = visit(f"{server.url}/review#token={TOKEN}{view and f'&view={view}'}", **options)
    expect(page.locator("#desk")).to_be_visible()
    return page
