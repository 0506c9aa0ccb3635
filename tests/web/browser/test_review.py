"""The page of the reviewers, when others work on the queue too and the server fails for a while."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.web.servers import BEARER, TOKEN, digit, servers

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra [dev])").expect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Page

    from fastnn.datasets import Dataset
    from tests.web.servers import Server

QUEUE = "**/api/review?*"
FAULT: dict[str, Any] = {"status": 503, "json": {"detail": "come again"}, "headers": {"Retry-After": "1"}}
NETWORK = "Failed to load resource"


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory, model_file: Path) -> Iterator[Server]:
    with servers(tmp_path_factory.mktemp("office"), model_file) as start:
        yield start("--rate", "0")


@pytest.fixture
def quiet(office: Server) -> Server:
    """A server at which nothing waits for review."""
    for one in waiting(office):
        review(office, one["id"], action="reject")
    return office


def waiting(server: Server) -> list[dict[str, Any]]:
    return list(httpx.get(f"{server.url}/api/review", headers=BEARER).json()["digits"])


def review(server: Server, name: str, **body: Any) -> None:
    httpx.post(f"{server.url}/api/review/{name}", json=body, headers=BEARER).raise_for_status()


def send(server: Server, dataset: Dataset, *positions: int) -> list[dict[str, Any]]:
    """Have digits wait for review."""
    sent = [digit(dataset, position) for position in positions]
    httpx.post(f"{server.url}/api/digits", json={"digits": sent}).raise_for_status()
    return sent


def enter(server: Server, visit: Callable[..., Page], **options: Any) -> Page:
    page = visit(f"{server.url}/review#token={TOKEN}", **options)
    expect(page.locator("#desk")).to_be_visible()
    return page


def test_a_server_that_fails_for_a_while_does_not_cost_the_token(quiet: Server, visit: Callable[..., Page]) -> None:
    page = enter(quiet, visit, may_fail=NETWORK)
    page.route(QUEUE, lambda route: route.fulfill(**FAULT))
    page.reload()
    expect(page.locator("#refused")).to_have_text("come again")
    assert page.evaluate("sessionStorage['fastnn.token']") == TOKEN
    page.unroute(QUEUE)
    expect(page.locator("#desk")).to_be_visible()


def test_a_token_that_is_no_longer_right_is_forgotten(quiet: Server, visit: Callable[..., Page]) -> None:
    page = enter(quiet, visit, may_fail=NETWORK)
    page.evaluate("sessionStorage['fastnn.token'] = 'old'")
    page.reload()
    expect(page.locator("#refused")).to_have_text("the review needs the token")
    assert page.evaluate("sessionStorage['fastnn.token'] ?? null") is None


def test_a_pasted_link_works_in_an_open_tab(quiet: Server, visit: Callable[..., Page]) -> None:
    page = visit(f"{quiet.url}/review")
    expect(page.locator("#login")).to_be_visible()
    page.goto(f"{quiet.url}/review#token={TOKEN}")
    expect(page.locator("#desk")).to_be_visible()
    assert page.url == f"{quiet.url}/review"


def test_new_digits_appear_after_the_queue_was_empty(quiet: Server, visit: Callable[..., Page], drawn: Dataset) -> None:
    page = enter(quiet, visit)
    expect(page.locator("#message")).to_have_text("Nothing waits for review.")
    expect(page.locator("#accept")).to_be_disabled()
    (new,) = send(quiet, drawn, 0)
    expect(page.locator("#facts .large")).to_have_text(str(new["label"]))
    expect(page.locator("#message")).to_have_text("")
    page.keyboard.press("r")
    expect(page.locator("#message")).to_have_text("Nothing waits for review.")
    # One that was here before may come back.
    review(quiet, new["id"], action="undo")
    expect(page.locator("#facts .large")).to_have_text(str(new["label"]))


def test_what_is_reviewed_is_told_though_no_more_can_be_fetched(
    quiet: Server, visit: Callable[..., Page], drawn: Dataset
) -> None:
    send(quiet, drawn, 1)
    page = enter(quiet, visit, may_fail=NETWORK)
    page.route(QUEUE, lambda route: route.fulfill(**FAULT))
    page.keyboard.press("r")
    expect(page.locator("#message")).to_have_text("Rejected. The queue cannot be read: come again.")
    assert waiting(quiet) == []
    page.unroute(QUEUE)
    expect(page.locator("#message")).to_have_text("Nothing waits for review.")


def test_undo_tells_what_it_takes_back_and_does_not_overrule_another(
    quiet: Server, visit: Callable[..., Page], drawn: Dataset
) -> None:
    send(quiet, drawn, 2, 3)
    first, second = waiting(quiet)
    page = enter(quiet, visit, may_fail=NETWORK)
    undone: list[Any] = []
    page.on("request", lambda request: undone.append(request.post_data_json) if request.method == "POST" else None)
    other = (first["label"] + 1) % 10
    for key, number in ((str(other), "1"), ("r", "2")):
        page.keyboard.press(key)
        expect(page.locator("#figures dd").last).to_have_text(number)
    review(quiet, second["id"], action="undo")
    review(quiet, second["id"], action="accept")
    page.keyboard.press("u")
    expect(page.locator("#message")).to_have_text("Not put back: somebody else has decided meanwhile.")
    expect(page.locator("#figures dd").last).to_have_text("1")
    page.keyboard.press("u")
    expect(page.locator("#message")).to_have_text("Put back")
    expect(page.locator("#undo")).to_be_disabled()
    assert [(body["action"], body["state"], body["label"]) for body in undone[2:]] == [
        ("undo", "rejected", None),
        ("undo", "accepted", other),
    ]
    assert [one["id"] for one in waiting(quiet)] == [first["id"]]


def test_a_button_keeps_the_focus_while_it_works(quiet: Server, visit: Callable[..., Page], drawn: Dataset) -> None:
    send(quiet, drawn, 4, 5)
    page = enter(quiet, visit)
    page.locator("#accept").focus()
    for left in ("1", "0"):
        expect(page.locator("#accept")).to_be_enabled()
        page.keyboard.press("Enter")
        expect(page.locator("#figures dd").first).to_have_text(left)
        expect(page.locator("#accept")).to_be_focused()
