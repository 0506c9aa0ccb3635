"""The review page while other reviewers work on the same queue and the server fails for a while."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.helpers import wait_for
from tests.web.browser.conftest import PHONE
from tests.web.browser.desk import log_in, pending, review, send
from tests.web.browser.pages import intercept
from tests.web.servers import TOKEN

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra [dev])").expect

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page, Request, Route

    from fastnn.datasets import Dataset
    from tests.web.servers import Server

QUEUE = "**/api/review?*"
VERDICTS = "**/api/review"
FAILURE: dict[str, Any] = {"status": 503, "json": {"detail": "come again"}, "headers": {"Retry-After": "1"}}
LOAD_ERROR = "Failed to load resource"


def test_a_server_failure_does_not_lose_the_token(quiet: Server, visit: Callable[..., Page]) -> None:
    page = log_in(quiet, visit, may_fail=LOAD_ERROR)
    intercept(page, QUEUE, lambda route: route.fulfill(**FAILURE))
    page.reload()
    expect(page.locator("#refused")).to_have_text("come again")
    assert page.evaluate("sessionStorage['fastnn.token']") == TOKEN
    page.unroute(QUEUE)
    expect(page.locator("#desk")).to_be_visible()


def test_a_rejected_token_is_forgotten(quiet: Server, visit: Callable[..., Page]) -> None:
    page = log_in(quiet, visit, may_fail=LOAD_ERROR)
    page.evaluate("sessionStorage['fastnn.token'] = 'old'")
    page.reload()
    expect(page.locator("#refused")).to_have_text("the token is missing or wrong")
    assert page.evaluate("sessionStorage['fastnn.token'] ?? null") is None


def test_a_pasted_link_works_in_an_open_tab(quiet: Server, visit: Callable[..., Page]) -> None:
    page = visit(f"{quiet.url}/review")
    expect(page.locator("#login")).to_be_visible()
    page.goto(f"{quiet.url}/review#token={TOKEN}")
    expect(page.locator("#desk")).to_be_visible()
    assert page.url == f"{quiet.url}/review"


def test_new_digits_appear_after_the_queue_was_empty(quiet: Server, visit: Callable[..., Page], drawn: Dataset) -> None:
    page = log_in(quiet, visit)
    expect(page.locator("#message")).to_have_text("Nothing to review.")
    expect(page.locator("#accept")).to_be_disabled()
    (new,) = send(quiet, drawn, 0)
    expect(page.locator("#label")).to_have_text(str(new["label"]))
    expect(page.locator("#message")).to_have_text("")
    page.keyboard.press("r")
    expect(page.locator("#message")).to_have_text("Nothing to review.")
    # A digit that was here before can come back.
    review(quiet, new["id"], action="undo")
    expect(page.locator("#label")).to_have_text(str(new["label"]))


def test_a_review_is_confirmed_even_if_the_queue_cannot_be_loaded(
    quiet: Server, visit: Callable[..., Page], drawn: Dataset
) -> None:
    send(quiet, drawn, 1)
    page = log_in(quiet, visit, may_fail=LOAD_ERROR)
    intercept(page, QUEUE, lambda route: route.fulfill(**FAILURE))
    page.keyboard.press("r")
    expect(page.locator("#message")).to_have_text("Rejected. Cannot load the queue: come again.")
    assert pending(quiet) == []
    page.unroute(QUEUE)
    expect(page.locator("#message")).to_have_text("Nothing to review.")


def test_undo_does_not_overrule_another_reviewer(
    quiet: Server, visit: Callable[..., Page], listen: Callable[..., None], drawn: Dataset
) -> None:
    send(quiet, drawn, 2, 3)
    first, second = pending(quiet)
    page = log_in(quiet, visit, may_fail=LOAD_ERROR)
    undone: list[Any] = []

    def note(request: Request) -> None:
        if request.url.endswith("/api/review"):
            undone.extend((request.post_data_json or {})["reviews"])

    listen(page, "request", note)
    other = (first["label"] + 1) % 10
    for key, number in ((str(other), "1"), ("r", "2")):
        page.keyboard.press(key)
        expect(page.locator("#figures dd").last).to_have_text(number)
    wait_for(lambda: pending(quiet) == [], "the verdicts")
    review(quiet, second["id"], action="undo")
    review(quiet, second["id"], action="accept")
    page.keyboard.press("u")
    expect(page.locator("#message")).to_have_text("Not undone: another reviewer has decided otherwise.")
    expect(page.locator("#figures dd").last).to_have_text("1")
    page.keyboard.press("u")
    expect(page.locator("#message")).to_have_text("Review undone")
    expect(page.locator("#undo")).to_be_disabled()
    wait_for(lambda: [one["id"] for one in pending(quiet)] == [first["id"]], "the undo")
    assert [(one["action"], one["state"], one["label"]) for one in undone[2:]] == [
        ("undo", "rejected", None),
        ("undo", "accepted", other),
    ]


@pytest.mark.parametrize(("locale", "date"), [("en-GB", r"\d{1,2} \w{3,4} \d{4}"), ("de-DE", r"\d\d\.\d\d\.\d{4}")])
def test_dates_are_written_as_the_reviewer_writes_them(
    quiet: Server, visit: Callable[..., Page], drawn: Dataset, locale: str, date: str
) -> None:
    send(quiet, drawn, 13)
    page = log_in(quiet, visit, locale=locale)
    expect(page.locator("#facts dd").last).to_have_text(re.compile(rf"^{date}, \d\d:\d\d$"))


def test_a_button_keeps_the_focus_while_it_works(quiet: Server, visit: Callable[..., Page], drawn: Dataset) -> None:
    send(quiet, drawn, 4, 5)
    page = log_in(quiet, visit)
    page.locator("#accept").focus()
    for left in ("1", "0"):
        expect(page.locator("#accept")).to_be_enabled()
        page.keyboard.press("Enter")
        expect(page.locator("#figures dd").first).to_have_text(left)
        expect(page.locator("#accept")).to_be_focused()


def test_no_key_is_lost_while_requests_run(quiet: Server, visit: Callable[..., Page], drawn: Dataset) -> None:
    send(quiet, drawn, *range(20, 40))
    order = [one["id"] for one in pending(quiet)]
    page = log_in(quiet, visit)
    verdicts: list[tuple[str, str]] = []

    def answer_late(route: Route) -> None:
        body = route.request.post_data_json
        assert body is not None
        verdicts.extend((one["id"], one["action"]) for one in body["reviews"])
        # A slow network: in the time of an answer, the reviewer presses several keys.
        page.evaluate("() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)))")
        route.continue_()

    intercept(page, VERDICTS, answer_late)
    keys = "arararararararararar"
    for key in keys:
        page.keyboard.press(key)
    expect(page.locator("#figures dd").last).to_have_text("20")
    expect(page.locator("#message")).to_have_text("Nothing to review.")
    assert verdicts == [(name, {"a": "accept", "r": "reject"}[key]) for name, key in zip(order, keys, strict=True)]
    assert pending(quiet) == []


def test_a_failure_puts_the_verdicts_back_in_their_order(
    quiet: Server, visit: Callable[..., Page], drawn: Dataset
) -> None:
    send(quiet, drawn, 6, 7, 8, 9)
    order = [one["label"] for one in pending(quiet)]
    page = log_in(quiet, visit, may_fail=LOAD_ERROR)
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    intercept(page, VERDICTS, hold)
    for key in "aura":
        page.keyboard.press(key)
    expect(page.locator("#label")).to_have_text(str(order[2]))
    expect(page.locator("#message")).to_have_text("Accepted – saving 4")
    held[0].fulfill(**FAILURE)
    expect(page.locator("#message")).to_have_text("Failed: come again. 4 reviews were taken back.")
    page.unroute(VERDICTS)
    expect(page.locator("#label")).to_have_text(str(order[0]))
    expect(page.locator("#figures dd").first).to_have_text("4")
    expect(page.locator("#figures dd").last).to_have_text("0")
    expect(page.locator("#undo")).to_be_disabled()
    assert len(pending(quiet)) == 4
    for label in order:
        expect(page.locator("#label")).to_have_text(str(label))
        page.keyboard.press("r")
    expect(page.locator("#message")).to_have_text("Nothing to review.")


def test_a_busy_server_gets_the_verdicts_a_little_later(
    quiet: Server, visit: Callable[..., Page], drawn: Dataset
) -> None:
    send(quiet, drawn, 10, 11)
    page = log_in(quiet, visit, may_fail=LOAD_ERROR)
    answers = [{**FAILURE, "status": 429}]
    intercept(page, VERDICTS, lambda route: route.fulfill(**answers.pop()) if answers else route.continue_())
    page.keyboard.press("r")
    page.keyboard.press("r")
    expect(page.locator("#message")).to_have_text("Nothing to review.")
    assert pending(quiet) == []


@pytest.mark.parametrize("size", [(390, 664), (320, 568), (667, 340)])
def test_label_drawing_and_buttons_are_on_the_first_screen(
    quiet: Server, visit: Callable[..., Page], drawn: Dataset, size: tuple[int, int]
) -> None:
    send(quiet, drawn, 12)
    width, height = size
    page = log_in(quiet, visit, **{**PHONE, "viewport": {"width": width, "height": height}})
    for name in ("#label", "#drawing", "#accept", "#reject", "#keys"):
        box = page.locator(name).bounding_box()
        assert box is not None
        assert box["y"] + box["height"] <= height, name
        assert box["x"] + box["width"] <= width, name
