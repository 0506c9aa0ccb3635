"""The views of the review desk: the grid, browsing, the history, and what they share."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.helpers import wait_for
from tests.web.browser.desk import digits_in, log_in, pending, review_all, send
from tests.web.browser.pages import intercept
from tests.web.servers import BEARER, TOKEN, http, servers

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra [dev])").expect

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from playwright.sync_api import Page, Request, Route

    from fastnn.datasets import Dataset
    from tests.web.servers import Server

SELECTED = "cells => cells.findIndex((cell) => cell === document.activeElement)"


def ids(found: list[dict[str, Any]]) -> list[str]:
    return [one["id"] for one in found]


def slow(page: Page, latency: int) -> None:
    """Give the page a network whose answers take some milliseconds longer."""
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    conditions = {"offline": False, "latency": latency, "downloadThroughput": -1, "uploadThroughput": -1}
    session.send("Network.emulateNetworkConditions", conditions)


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


# ---- one by one ----


def test_twenty_keys_at_300_ms_latency_are_twenty_verdicts(
    quiet: Server, visit: Callable[..., Page], drawn: Dataset
) -> None:
    send(quiet, drawn, *range(25))
    order = ids(pending(quiet))
    page = log_in(quiet, visit, fresh=True)
    requests: list[Request] = []
    page.on("request", lambda one: requests.append(one) if one.url.endswith("/api/review") else None)
    slow(page, 300)
    press(page, *"aarar" * 4)
    expect(page.locator("#figures dd").last).to_have_text("20")
    expect(page.locator("#message")).to_have_text("Rejected")
    # The page says so before the server knows it.
    wait_for(lambda: ids(pending(quiet)) == order[20:], "the verdicts")
    sent = [verdict for one in requests for verdict in (one.post_data_json or {})["reviews"]]
    assert [(one["id"], one["action"]) for one in sent] == [
        (name, {"a": "accept", "r": "reject"}[key]) for name, key in zip(order, "aarar" * 4, strict=False)
    ]
    # Several go in one request.
    assert len(requests) < 8


def test_two_reviewers_get_different_digits(quiet: Server, visit: Callable[..., Page], drawn: Dataset) -> None:
    send(quiet, drawn, *range(40))
    order = ids(pending(quiet))
    first, second = log_in(quiet, visit), log_in(quiet, visit)
    press(first, *"a" * 5)
    press(second, *"r" * 5)
    wait_for(lambda: len(pending(quiet)) == 30, "the verdicts")
    assert set(ids(pending(quiet))) == {*order[5:30], *order[35:]}

    def free() -> list[str]:
        return ids(http.get(f"{quiet.url}/api/review", headers=BEARER).json()["digits"])

    assert free() == []
    # What a reviewer leaves is free for others.
    second.goto(f"{quiet.url}/data")
    wait_for(lambda: free() == order[35:], "what the second one had")


def test_a_skipped_digit_comes_again_at_the_end(quiet: Server, visit: Callable[..., Page], drawn: Dataset) -> None:
    send(quiet, drawn, *range(3))
    labels = [str(one["label"]) for one in pending(quiet)]
    page = log_in(quiet, visit)
    press(page, "s")
    expect(page.locator("#message")).to_have_text("Skipped: it comes again at the end")
    for label in (*labels[1:], labels[0]):
        expect(page.locator("#label")).to_have_text(label)
        press(page, "r")
    expect(page.locator("#message")).to_have_text("Nothing to review.")
    assert pending(quiet) == []


# ---- the grid ----


def test_a_screen_is_accepted_but_for_those_that_are_marked(
    quiet: Server, visit: Callable[..., Page], drawn: Dataset
) -> None:
    known = send(quiet, drawn, *range(130), label=3)
    page = log_in(quiet, visit, "grid&label=3")
    cells = page.locator(".cell")
    expect(cells).to_have_count(100)
    expect(page.locator("#grid-accept-text")).to_have_text("Accept all 100")
    shown = [one["id"] for one in sorted(every_pending(quiet), key=lambda one: (-one["uncertainty"], one["number"]))]
    cells.nth(2).click()
    cells.nth(50).click()
    press(page, "ArrowRight", "Space", "ArrowRight", "Space", "Space", "Home", "End", "7", "ArrowLeft", "7", "3")
    expect(cells.nth(99).locator(".mark")).to_have_text("7")
    assert cells.evaluate_all(SELECTED) == 98
    expect(page.locator("#grid-accept-text")).to_have_text("Accept the other 96, reject 3, relabel 1")
    cells.nth(99).click()
    expect(page.locator("#grid-accept-text")).to_have_text("Accept the other 97, reject 3")
    press(page, "Enter")
    # The next screen is there at once.
    expect(cells).to_have_count(30)
    expect(page.locator("#grid-message")).to_have_text("Accepted 97, rejected 3, relabelled 0.")
    wait_for(lambda: len(digits_in(quiet, "pending")) == 30, "the verdicts")
    wrong = {shown[2], shown[50], shown[51]}
    assert {one["id"]: one["state"] for one in mine(quiet, known)} == {
        name: "rejected" if name in wrong else "accepted" for name in shown[:100]
    }


def every_pending(server: Server) -> list[dict[str, Any]]:
    newest = digits_in(server, "pending")
    return newest + digits_in(server, "pending", before=str(newest[-1]["number"]))


def mine(server: Server, known: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return those of some digits that are reviewed."""
    found = digits_in(server, "accepted") + digits_in(server, "rejected")
    return [one for one in found if one["id"] in set(ids(known))]


def test_the_last_screen_is_taken_back_with_its_marks(
    quiet: Server, visit: Callable[..., Page], drawn: Dataset
) -> None:
    send(quiet, drawn, *range(8), label=5)
    page = log_in(quiet, visit, "grid&label=5")
    press(page, "ArrowDown", "Space", "ArrowRight", "6", "Enter")
    expect(page.locator("#grid-message")).to_have_text("Accepted 6, rejected 1, relabelled 1. No drawing of a 5 waits.")
    assert pending(quiet) == []
    press(page, "u")
    expect(page.locator(".cell")).to_have_count(8)
    expect(page.locator("#grid-accept-text")).to_have_text("Accept the other 6, reject 1, relabel 1")
    wait_for(lambda: len(pending(quiet)) == 8, "the undo")
    expect(page.locator("#grid-undo")).to_be_disabled()
    # They are lent to this page again.
    other = log_in(quiet, visit, "grid&label=5")
    expect(other.locator("#grid-message")).to_have_text("The last 8 of this label are with other reviewers.")
    press(page, "Enter")
    wait_for(lambda: pending(quiet) == [], "the verdicts")


def test_a_failure_brings_the_screen_back(quiet: Server, visit: Callable[..., Page], drawn: Dataset) -> None:
    send(quiet, drawn, *range(6), label=5)
    page = log_in(quiet, visit, "grid&label=5", may_fail="Failed to load resource")
    intercept(page, "**/api/review", lambda route: route.fulfill(status=503, json={"detail": "come again"}))
    press(page, "ArrowDown", "Space", "Enter")
    expect(page.locator("#grid-message")).to_have_text("Failed: come again. 6 verdicts were taken back.")
    expect(page.locator("#grid-accept-text")).to_have_text("Accept the other 5, reject 1")
    page.unroute("**/api/review")
    press(page, "Enter")
    wait_for(lambda: pending(quiet) == [], "the verdicts")


def test_two_grids_show_different_digits_and_the_address_keeps_the_label(
    quiet: Server, visit: Callable[..., Page], drawn: Dataset
) -> None:
    send(quiet, drawn, *range(230), label=4)
    send(quiet, drawn, *range(5), label=9)
    first = log_in(quiet, visit, "grid")  # the label with most waiting
    assert first.url.endswith("#view=grid&label=4")
    expect(first.locator(".cell")).to_have_count(100)
    # The next screen is on its way, and lent to the first page, too.
    expect(first.locator("#grid-label option").nth(4)).to_have_text("4 – 230 waiting")
    second = log_in(quiet, visit, "grid&label=4")
    expect(second.locator(".cell")).to_have_count(30)
    press(first, "n")
    expect(first.locator(".cell")).to_have_count(5)
    assert first.url.endswith("#view=grid&label=9")
    first.reload()
    expect(first.locator(".cell")).to_have_count(5)
    first.go_back()
    expect(first.locator(".cell")).to_have_count(100)
    for page in (first, second):
        press(page, "ArrowDown", "Enter")
    wait_for(lambda: http.get(f"{quiet.url}/api/stats").json()["pending"] == 105, "130 verdicts")


def test_a_grid_that_goes_on_borrowing_takes_no_digit_of_another_label(
    quiet: Server, visit: Callable[..., Page], drawn: Dataset
) -> None:
    one, two, three = [position for position, label in enumerate(drawn.labels.tolist()) if label == 4][:3]
    send(quiet, drawn, one, two, label=4)
    send(quiet, drawn, three, label=9)  # the most doubtful of all
    page = visit("about:blank")
    page.clock.install()
    page.goto(f"{quiet.url}/review#token={TOKEN}&view=grid&label=4")
    expect(page.locator(".cell")).to_have_count(2)
    press(page, "ArrowDown")
    with page.expect_response(re.compile("/api/review\\?limit=1&")):
        page.clock.fast_forward(120_000)
    free = http.get(f"{quiet.url}/api/review", headers=BEARER).json()["digits"]
    assert [one["label"] for one in free] == [9]


# ---- browse and history ----


def test_what_is_typed_while_digits_load_stays(site: Server, visit: Callable[..., Page]) -> None:
    page = log_in(site, visit)
    held: list[Route] = []
    requests = re.compile("/api/review/(release|digits)")
    intercept(page, requests, lambda route: held.append(route))  # noqa: PLW0108 - Playwright sets its attributes
    page.locator("#views a", has_text="Browse").click()
    contributor = page.locator("#browse-contributor")
    # First what the other view had borrowed is given back, then the digits are asked for.
    for number, name in enumerate(("Grace", "Grace H.")):
        wait_for(lambda: page.evaluate("location.hash").endswith("browse") and len(held) > number, "a request")  # noqa: B023
        expect(contributor).to_have_value("" if number == 0 else "Grace")
        contributor.fill(name)
        held[number].continue_()
    expect(page.locator("#browse-cells .cell").first).to_be_visible()
    expect(contributor).to_have_value("Grace H.")


def test_digits_are_found_again_and_put_back_or_relabelled(
    quiet: Server, visit: Callable[..., Page], drawn: Dataset
) -> None:
    known = ids(send(quiet, drawn, *range(4), label=6, contributor="Ada"))
    review_all(quiet, [{"id": one, "action": "accept"} for one in known[:3]])
    page = log_in(quiet, visit)
    page.locator("#views a", has_text="Browse").click()
    page.locator("#browse-contributor").fill("Ada")
    page.keyboard.press("Enter")
    cells = page.locator("#browse-cells .cell")
    expect(cells).to_have_count(3)
    assert "contributor=Ada" in page.url
    cells.first.focus()
    expect(page.locator("#browse-facts")).to_contain_text("as 6")
    press(page, "u")  # the newest one
    expect(cells.first.locator(".mark")).to_have_text("waiting")
    press(page, "ArrowRight", "2")
    expect(page.locator("#browse-message")).to_have_text("Accepted as 2.")
    press(page, "ArrowRight", "r")
    expect(page.locator("#browse-message")).to_have_text("Rejected.")
    wait_for(lambda: known[0] in ids(digits_in(quiet, "rejected")), "the verdicts")
    assert set(ids(pending(quiet))) == {known[2], known[3]}
    assert ids(digits_in(quiet, "accepted", label="2", contributor="Ada")) == [known[1]]
    page.locator("#browse-state").select_option("pending")
    expect(cells).to_have_count(2)
    page.go_back()
    expect(cells).to_have_count(1)


def test_all_digits_of_a_contributor_are_rejected_and_put_back_and_the_name_is_struck(
    quiet: Server, visit: Callable[..., Page], drawn: Dataset
) -> None:
    known = set(ids(send(quiet, drawn, *range(110), contributor="Troll")))
    page = log_in(quiet, visit, "browse&state=pending&contributor=Troll")
    expect(page.locator("#all-text")).to_have_text("Troll has 110 digits that wait.")
    page.locator("#all-reject").click()
    expect(page.locator("#ask-text")).to_have_text("Reject all 110 digits of Troll, whatever the label?")
    page.keyboard.press("Escape")
    expect(page.locator("#ask")).to_be_hidden()
    assert len(pending(quiet)) == 100
    page.locator("#all-reject").click()
    page.locator("#ask-yes").click()
    expect(page.locator("#browse-message")).to_have_text("Rejected 110 digits of Troll.")
    assert pending(quiet) == []
    page.locator("#browse-state").select_option("rejected")
    expect(page.locator("#all-text")).to_have_text("Troll has 110 digits that are rejected.")
    page.locator("#older").click()
    expect(page.locator("#browse-cells .cell")).to_have_count(10)
    page.locator("#all-undo").click()
    page.locator("#ask-yes").click()
    expect(page.locator("#browse-message")).to_have_text("Put back 110 digits of Troll.")
    page.locator("#strike").click()
    page.locator("#ask-yes").click()
    expect(page.locator("#browse-message")).to_have_text("The name was struck from 110 digits.")
    found = every_pending(quiet)
    assert {(one["id"], one["contributor"]) for one in found} == {(one, "") for one in known}


def test_the_history_shows_who_decided_what_and_leads_to_the_digit(
    quiet: Server, visit: Callable[..., Page], drawn: Dataset
) -> None:
    known = ids(send(quiet, drawn, *range(60), label=8))
    review_all(quiet, [{"id": one, "action": "accept"} for one in known], "Rita")
    page = log_in(quiet, visit, "history", locale="de-DE")
    entries = page.locator("#entries li")
    expect(entries).to_have_count(50)
    expect(entries.first).to_have_text(
        re.compile(r"^Rita accepted an 8 \d\d\.\d\d\.\d{4}, \d\d:\d\d now accepted as 8")
    )
    page.locator("#history-older").click()
    expect(page.locator("#history-newest")).to_be_visible()
    expect(entries.nth(9)).to_contain_text("Rita accepted an 8")
    page.go_back()
    expect(page.locator("#history-newest")).to_be_hidden()
    press(page, "ArrowDown", "ArrowDown", "Enter")
    expect(page.locator("#browse-cells .cell").first).to_be_visible()
    assert page.url.endswith(f"before={digits_in(quiet, 'accepted')[1]['number'] + 1}")
    page.go_back()
    entries.nth(1).get_by_role("button", name="Put back").click()
    expect(entries.nth(1)).to_contain_text("now waiting")
    wait_for(lambda: ids(pending(quiet)) == [known[58]], "the undo")


# ---- own classes ----


@pytest.fixture
def letters(tmp_path: Path, model_file: Path, request: pytest.FixtureRequest) -> Any:
    """A server with classes of its own."""
    with servers(tmp_path, model_file) as start:
        yield start("--rate", "0", "--classes", request.param)


@pytest.mark.parametrize("letters", ["A-E,R,S,U"], indirect=True)
def test_letters_are_classes_and_not_keys_of_verdicts(
    letters: Server, visit: Callable[..., Page], drawn: Dataset
) -> None:
    known = ids(send(letters, drawn, *range(5), label="A"))
    page = log_in(letters, visit)
    expect(page.locator("#accept kbd")).to_have_text("Enter")
    order = ids(pending(letters))
    press(page, "r", "Enter", " ", "Delete")
    wait_for(lambda: len(pending(letters)) == 2, "the verdicts")
    assert {one["id"]: one["label"] for one in digits_in(letters, "accepted")} == {order[0]: 5, order[1]: 0}
    assert ids(digits_in(letters, "rejected")) == [order[3]]
    page.goto(f"{letters.url}/review#view=grid&label=A")
    expect(page.locator(".cell")).to_have_count(2)
    press(page, "ArrowDown", "s")
    expect(page.locator("#grid-accept-text")).to_have_text("Accept the other 1, relabel 1")
    press(page, "Enter")
    wait_for(lambda: pending(letters) == [], "the verdicts")
    assert len(known) == 5


@pytest.mark.parametrize("letters", ["cat,dog,owl"], indirect=True)
def test_words_are_chosen_from_buttons_or_a_list(letters: Server, visit: Callable[..., Page], drawn: Dataset) -> None:
    send(letters, drawn, *range(4), label="cat")
    order = ids(pending(letters))
    page = visit(f"{letters.url}/review#token={TOKEN}")
    expect(page.locator("#accept-text")).to_have_text("Accept as cat")
    press(page, "a", "l", "Tab", "Enter")
    wait_for(lambda: len(pending(letters)) == 2, "the verdicts")
    page.goto(f"{letters.url}/review#view=grid&label=cat")
    expect(page.locator(".cell")).to_have_count(2)
    press(page, "ArrowDown", "l")
    page.locator("#grid-relabel").select_option("owl")
    expect(page.locator(".cell .mark").first).to_have_text("owl")
    press(page, "Enter")
    wait_for(lambda: pending(letters) == [], "the verdicts")
    assert [one["label"] for one in sorted(digits_in(letters, "accepted"), key=lambda one: order.index(one["id"]))] == [
        *(0, 1, 2, 0),
    ]


@pytest.mark.parametrize("letters", ["cat,dog,owl"], indirect=True)
def test_drawings_of_other_things_are_not_called_digits(
    letters: Server, visit: Callable[..., Page], drawn: Dataset
) -> None:
    send(letters, drawn, 0, label="cat", contributor="Ada")
    page = log_in(letters, visit, "browse&state=pending&contributor=Ada")
    expect(page.locator("#all-text")).to_have_text("Ada has 1 drawing that waits.")
    page.locator("#all-reject").click()
    expect(page.locator("#ask-text")).to_have_text("Reject all 1 drawing of Ada, whatever the label?")
    page.keyboard.press("Escape")
    page.locator("#browse-state").select_option("rejected")
    expect(page.locator("#browse-message")).to_have_text("No such drawings.")
    page.locator("#strike").click()
    page.locator("#ask-yes").click()
    expect(page.locator("#browse-message")).to_have_text("The name was struck from 1 drawing.")
