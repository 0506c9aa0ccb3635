"""Collecting digits: drawing, sending, reviewing, publishing, and training on them."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from fastnn.datasets.database import import_dataset
from tests.helpers import invoke, wait_for
from tests.web.browser.conftest import PHONE
from tests.web.browser.desk import digits_in
from tests.web.browser.hand import draw, flick, line, touch
from tests.web.browser.opinions import answer_always, wait_for_opinion
from tests.web.browser.pages import intercept
from tests.web.servers import BEARER, TOKEN, http, new_id, servers

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra [dev])").expect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Page, Request, Route

    from fastnn.datasets import Dataset
    from tests.web.servers import Server

NAME = "Zoë <img src=x onerror=alert(1)>"
RECIPE = (
    'rule = "backprop"\ninputs = "ink"\ninit = "xavier"\nhidden = [40]\nepochs = 6\nlr = 0.02\nname = "retrained"\n'
)


def saved_digits(page: Page) -> list[dict[str, Any]]:
    """Return the digits that the browser saves until they are sent."""
    records = page.evaluate("Object.entries(localStorage).filter(([key]) => key.startsWith('fastnn.digit.'))")
    return sorted((json.loads(record) for _, record in records), key=lambda digit: digit["drawn"])


def posted(request: Request) -> dict[str, dict[str, Any]]:
    """Return the digits that a request sends, by their ids."""
    return {digit["id"]: digit for digit in sent_by(request).get("digits", [])}


def sent_by(request: Request) -> dict[str, Any]:
    """Return the body of a request that sends digits; an empty one for other requests."""
    sends = request.method == "POST" and request.url.endswith("/api/digits")
    return dict(request.post_data_json or {}) if sends else {}


def contribute(page: Page, how_many: int) -> None:
    wanted = page.locator("#wanted")
    expect(wanted).not_to_have_text("–")
    for _ in range(how_many):
        draw(page, int(wanted.inner_text()))
        page.keyboard.press("Enter")


def test_from_drawing_to_a_retrained_network(
    serve: Callable[..., Server],
    visit: Callable[..., Page],
    listen: Callable[..., None],
    drawn: Dataset,
    elsewhere: str,
    tmp_path: Path,
) -> None:
    server = serve("--rate", "0")
    page = visit(f"{server.url}/contribute")
    expect(page.locator("#wanted")).not_to_have_text("–")
    sent: dict[str, dict[str, Any]] = {}
    listen(page, "request", lambda request: sent.update(posted(request)))
    page.locator("#name").fill(NAME)
    contribute(page, 10)
    # Digits are sent by themselves.
    expect(page.locator("#message")).to_have_text("10 sent, thank you.")
    made = list(sent.values())
    assert len(made) == 10
    # The page asks for the rarest digits, so most classes appear.
    assert len({digit["label"] for digit in made}) >= 6
    assert saved_digits(page) == []

    expected = review(visit(f"{server.url}/review#token={TOKEN}"), server)

    look = visit(elsewhere, may_fail="blocked by CORS policy|Failed to load resource")
    read = "async (url) => (await fetch(url)).json()"
    found = look.evaluate(read, f"{server.url}/dataset.json")
    images = {digit["id"]: digit["image"] for digit in made}
    order = [digit["id"] for digit in made]
    assert found == [{"image": images[one], "label": expected[one]} for one in order if one in expected]
    # Other sites can read nothing else.
    refused = "(url) => fetch(url).then(() => 'read', (error) => error.name)"
    assert look.evaluate(refused, f"{server.url}/api/stats") == "TypeError"

    data = visit(f"{server.url}/data")
    expect(data.locator("#credits li")).to_have_text(f"{NAME} ({len(expected)})")
    expect(data.locator("#figures dd").first).to_have_text(str(len(expected)))
    expect(data.locator("#mosaic")).to_have_js_property("complete", value=True)
    assert data.locator("#mosaic").evaluate("image => image.naturalWidth") == 28 * 3
    assert data.locator("img").count() == 1

    check_training(server, serve, visit, drawn, tmp_path, len(expected))


def review(page: Page, server: Server) -> dict[str, int]:
    """Review ten digits by keyboard; return the labels of those accepted."""
    # The page removes the token from the address, where others could read it.
    expect(page.locator("#desk")).to_be_visible()
    waiting = http.get(f"{server.url}/api/review/digits?state=pending", headers=BEARER).json()["digits"]
    queue = sorted(waiting, key=lambda one: (-one["uncertainty"], one["number"]))
    assert [one["contributor"] for one in queue] == [NAME] * 10
    assert page.url == f"{server.url}/review"
    page.locator("#reviewer").fill("Rita")
    page.locator("#reviewer").blur()
    other = (queue[1]["label"] + 1) % 10
    accepted: dict[str, int] = {}
    steps = [
        ("a", 0, queue[0]["label"], "Accepted"),
        (str(other), 1, other, f"Relabelled as {other}"),
        ("r", 2, None, "Rejected"),
        ("r", 3, None, "Rejected"),
        ("u", 3, None, "Review undone"),
        (str(queue[3]["label"]), 3, queue[3]["label"], "Accepted"),
        *(("A", position, queue[position]["label"], "Accepted") for position in range(4, 9)),
        ("r", 9, None, "Nothing to review."),
    ]
    for key, position, label, answer in steps:
        if key != "u":
            expect(page.locator("#label")).to_have_text(str(queue[position]["label"]))
        page.keyboard.press(key)
        # The message may still be that of the step before; the counts cannot.
        expect(page.locator("#message")).to_have_text(answer)
        if label is not None:
            accepted[queue[position]["id"]] = label
        waiting = 10 - position - (key != "u")
        expect(page.locator("#figures dd").first).to_have_text(str(waiting))
    expect(page.locator("#log li").first).to_contain_text("Rita rejected")
    stats = http.get(f"{server.url}/api/stats").json()
    assert (stats["accepted"], stats["rejected"], stats["pending"]) == (8, 2, 0)
    return accepted


def check_training(
    server: Server, serve: Callable[..., Server], visit: Callable[..., Page], drawn: Dataset, folder: Path, n: int
) -> None:
    """Train on the database with the command line, and check that the new network recognises a digit."""
    import_dataset(drawn, server.db)
    recipe = folder / "retrained.toml"
    recipe.write_text(RECIPE)
    command = ["train", "--data", server.db, "--recipe", str(recipe), "--out", str(folder / "run"), "--json", "--quiet"]
    done = invoke(command)
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert result["n_train"] + result["n_test"] == 1500 + n
    page = visit(serve("--model", "run").url)
    expect(page.locator("#model")).to_contain_text("“retrained”")
    expect(page.locator("#model")).to_contain_text("% correct on")
    draw(page, 0)
    expect(page.locator("#guess")).to_have_text("0")


@pytest.fixture
def sheet(inbox: Server, visit: Callable[..., Page]) -> Page:
    """The contribute page of a server that tests may send digits to."""
    page = visit(f"{inbox.url}/contribute")
    expect(page.locator("#wanted")).not_to_have_text("–")
    return page


@pytest.fixture(scope="package")
def inbox(tmp_path_factory: pytest.TempPathFactory, model_file: Path) -> Iterator[Server]:
    """A server that tests may send digits to."""
    with servers(tmp_path_factory.mktemp("inbox"), model_file) as start:
        yield start()


def give_name(page: Page) -> str:
    """Give the visitor of a page a name that no other test has, and return it."""
    name = new_id()
    page.locator("#name").fill(name)
    page.locator("#name").blur()
    return name


def stored(server: Server, name: str) -> int:
    """Return how many digits of a contributor wait; what pages of earlier tests sent may still arrive meanwhile."""
    return len(digits_in(server, "pending", contributor=name))


def test_the_pen_is_30_wide_and_the_image_has_block_means(sheet: Page) -> None:
    # What is stored is the drawing as it is, not scaled as for the network.
    line(sheet, [(60, 135), (220, 135)])
    image = sheet.evaluate("document.querySelector('draw-pad').image()")
    sheet.locator("#clear").click()
    column = [image[28 * y + 14] for y in range(28)]
    assert column == [255] * 12 + [0] * 3 + [255] * 13
    row = image[28 * 13 : 28 * 14]
    assert row[:4] == [255] * 4
    assert row[24:] == [255] * 4
    # The line's ends are round and extend 15 pixels beyond the pen's positions.
    assert 0 < row[4] < 255
    assert row[6:21] == [0] * 15
    assert 0 < row[23] < 255


def test_the_counts_and_delete_last(inbox: Server, visit: Callable[..., Page]) -> None:
    sheet = visit(f"{inbox.url}/contribute")
    expect(sheet.locator("#wanted")).not_to_have_text("–")
    name = give_name(sheet)
    first = sheet.locator("#wanted").inner_text()
    mine = sheet.locator("#tally li").nth(int(first))
    expect(sheet.locator("#last")).to_be_disabled()
    # A blank drawing is not saved.
    expect(sheet.locator("#next")).to_be_disabled()
    sheet.keyboard.press("Enter")
    assert saved_digits(sheet) == []
    contribute(sheet, 1)
    expect(mine).to_contain_text("you 1")
    assert [digit["label"] for digit in saved_digits(sheet)] == [int(first)]
    # The newest digit waits for a while, so that it can be deleted.
    sheet.locator("#last").click()
    expect(mine).to_contain_text("you 0")
    expect(sheet.locator("#last")).to_be_disabled()
    contribute(sheet, 2)
    expect(sheet.locator("#message")).to_have_text("1 sent, thank you.")
    sheet.locator("#last").click()
    expect(sheet.locator("#drawn li")).to_have_count(1)
    assert stored(inbox, name) == 1
    wanted = sheet.locator("#wanted").inner_text()
    sheet.locator("#other").click()
    expect(sheet.locator("#wanted")).not_to_have_text(wanted)


def test_unsent_digits_survive_and_a_lost_response_stores_nothing_twice(
    inbox: Server, visit: Callable[..., Page]
) -> None:
    page = visit(f"{inbox.url}/contribute", may_fail="Failed to load resource")
    name = give_name(page)
    fail = True

    def lose_response(route: Route) -> None:
        if not fail:
            route.continue_()
            return
        assert route.fetch().status == 201
        route.abort()

    intercept(page, "**/api/digits", lose_response)
    contribute(page, 2)
    expect(page.locator("#message")).to_have_text(
        "Not sent yet: the server cannot be reached. 2 digits will be sent later."
    )
    assert len(saved_digits(page)) == 2
    fail = False
    page.reload()
    expect(page.locator("#message")).to_have_text("2 sent, thank you.")
    assert saved_digits(page) == []
    assert stored(inbox, name) == 2


def test_leaving_the_page_sends_what_is_drawn(inbox: Server, visit: Callable[..., Page]) -> None:
    page = visit(f"{inbox.url}/contribute")
    name = give_name(page)
    contribute(page, 1)
    # A digit waits, and another one is on the pad.
    draw(page, int(page.locator("#wanted").inner_text()))
    page.goto(f"{inbox.url}/data")
    wait_for(lambda: stored(inbox, name) == 2, "both digits")
    page.goto(f"{inbox.url}/contribute")
    expect(page.locator("#drawn li")).to_have_count(2)
    assert stored(inbox, name) == 2


def test_the_name_can_be_given_before_or_after(
    inbox: Server, visit: Callable[..., Page], listen: Callable[..., None]
) -> None:
    page = visit(f"{inbox.url}/contribute")
    names: list[str] = []

    def note(request: Request) -> None:
        names.extend(str(body["contributor"]) for body in [sent_by(request)] if body)

    listen(page, "request", note)
    contribute(page, 2)
    expect(page.locator("#message")).to_have_text("1 sent, thank you.")
    page.locator("#name").fill("Ada")
    page.keyboard.press("Enter")
    expect(page.locator("#message")).to_have_text("Your name goes with your digits.")
    expect(page.locator("#message")).to_have_text("2 sent, thank you.")
    assert names[0] == ""
    assert set(names[1:]) == {"Ada"}
    found = http.get(f"{inbox.url}/api/review?limit=100", headers=BEARER).json()["digits"]
    assert [digit["contributor"] for digit in found].count("Ada") == 2
    # The next visit knows the name.
    page.reload()
    expect(page.locator("#name")).to_have_value("Ada")


def test_a_digit_that_the_server_refuses_does_not_hold_up_the_others(inbox: Server, visit: Callable[..., Page]) -> None:
    page = visit(f"{inbox.url}/contribute", may_fail="Failed to load resource")
    name = give_name(page)
    blank = {"id": "0190a2c4-8f3e-4b6a-9d5c-000000000000", "image": [255] * 784, "label": 3, "drawn": 1}
    page.evaluate("(digit) => { localStorage['fastnn.digit.bad'] = JSON.stringify(digit); }", blank)
    page.evaluate("(digit) => { localStorage['fastnn.digit.' + digit.id] = JSON.stringify(digit); }", blank)
    contribute(page, 1)
    page.reload()
    wait_for(lambda: stored(inbox, name) == 1, "the digit")
    expect(page.locator("#drawn li")).to_have_count(1)


def test_a_browser_with_full_storage_warns_and_can_still_send(inbox: Server, visit: Callable[..., Page]) -> None:
    page = visit(f"{inbox.url}/contribute")
    name = give_name(page)
    page.evaluate("() => { Storage.prototype.setItem = () => { throw new DOMException('full'); }; }")
    contribute(page, 1)
    expect(page.locator("#message")).to_contain_text("This browser cannot save digits.")
    contribute(page, 1)
    expect(page.locator("#message")).to_have_text("2 sent, thank you.")
    assert stored(inbox, name) == 2


def test_a_drawing_that_looks_like_another_digit_is_asked_about(inbox: Server, visit: Callable[..., Page]) -> None:
    page = visit(f"{inbox.url}/contribute", model_in_page=False)
    expect(page.locator("#wanted")).not_to_have_text("–")
    wanted = int(page.locator("#wanted").inner_text())
    other = 0 if wanted else 3
    probabilities = [float(digit == other) for digit in range(10)]
    answer = {"label": other, "probabilities": probabilities, "doubtful": False, "reason": None}
    answer_always(page, answer)

    def draw_and_go_on() -> None:
        draw(page, other)
        wait_for_opinion(page)
        page.keyboard.press("Enter")

    draw_and_go_on()
    an = ["an" if digit == 8 else "a" for digit in (other, wanted)]
    expect(page.locator("#looks")).to_have_text(f"It looks like {an[0]} {other}; you were asked for {an[1]} {wanted}.")
    page.locator("#redo").click()
    expect(page.locator("#hint")).to_be_hidden()
    expect(page.locator("#wanted")).to_have_text(str(wanted))
    expect(page.locator("#next")).to_be_disabled()
    page.locator("#pad").focus()
    draw_and_go_on()
    expect(page.locator("#keep")).to_have_text(f"Keep as {wanted}")
    page.locator("#keep").click()
    expect(page.locator("#wanted")).not_to_have_text(str(wanted))
    expect(page.locator("#drawn canvas")).to_have_attribute("aria-label", re.compile(f"Your {wanted}"))


def test_the_page_asks_for_an_8(inbox: Server, visit: Callable[..., Page]) -> None:
    page = visit(f"{inbox.url}/contribute")
    while page.locator("#wanted").inner_text() != "8":
        page.locator("#other").click()
    expect(page.locator(".asked")).to_have_text("Please draw an 8")


def test_a_button_keeps_the_focus_when_a_press_disables_it(sheet: Page) -> None:
    contribute(sheet, 1)
    draw(sheet, int(sheet.locator("#wanted").inner_text()))
    for name in ("clear", "undo"):
        button = sheet.locator(f"#{name}")
        button.focus()
        while button.get_attribute("aria-disabled") == "false":
            sheet.keyboard.press("Enter")
        expect(button).to_be_focused()
        # A disabled button does nothing.
        tally = sheet.locator("#tally").inner_text()
        sheet.keyboard.press("Enter")
        assert sheet.locator("#tally").inner_text() == tally
        expect(button).to_be_focused()
        if name == "undo":
            draw(sheet, int(sheet.locator("#wanted").inner_text()))


def test_contributing_on_a_phone(inbox: Server, visit: Callable[..., Page]) -> None:
    page = visit(f"{inbox.url}/contribute", **PHONE)
    expect(page.locator("#wanted")).not_to_have_text("–")
    name = give_name(page)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    touch(page, int(page.locator("#wanted").inner_text()))
    page.locator("#next").tap()
    expect(page.locator("#message")).to_have_text("1 sent, thank you.")
    assert stored(inbox, name) == 1


def test_no_tap_is_lost_after_a_quick_stroke(inbox: Server, visit: Callable[..., Page]) -> None:
    page = visit(f"{inbox.url}/contribute", **PHONE)
    expect(page.locator("#wanted")).not_to_have_text("–")
    page.evaluate("addEventListener('click', () => { window.taps = (window.taps ?? 0) + 1; })")
    for _ in range(6):
        flick(page)
        page.locator("#other").tap()
    assert page.evaluate("window.taps") == 6


def test_the_review_asks_for_the_token(site: Server, visit: Callable[..., Page]) -> None:
    page = visit(f"{site.url}/review", may_fail="Failed to load resource")
    expect(page.locator("#desk")).to_be_hidden()
    page.locator("#token").fill("wrong")
    page.keyboard.press("Enter")
    expect(page.locator("#refused")).to_have_text("the token is missing or wrong")
    page.locator("#token").fill(TOKEN)
    page.keyboard.press("Enter")
    expect(page.locator("#desk")).to_be_visible()
    # The page shows what the model predicts for the drawing.
    expect(page.locator("#predicted")).to_have_text(re.compile(r"^The network says \d; \d+(\.\d)?% for \d\.$"))
    guess = page.locator("#predicted").inner_text()[17]
    expect(page.locator("#keys .guess-key")).to_have_attribute(
        "aria-label", re.compile(f"{guess}, as the network says$")
    )
    expect(page.locator("#accept-text")).to_have_text(f"Accept as {page.locator('#label').inner_text()}")
    expect(page.locator("#log li")).to_have_count(3)
    # This tab remembers the token; other tabs do not.
    page.reload()
    expect(page.locator("#desk")).to_be_visible()
    assert page.evaluate("JSON.stringify(localStorage)").find(TOKEN) == -1


def test_keys_typed_into_a_field_review_nothing(site: Server, visit: Callable[..., Page]) -> None:
    page = visit(f"{site.url}/review#token={TOKEN}")
    expect(page.locator("#desk")).to_be_visible()
    page.locator("#reviewer").press_sequentially("Rau 7")
    page.locator("#shortcuts").uncheck()
    page.locator("h1").click()
    page.keyboard.press("a")
    assert http.get(f"{site.url}/api/stats").json()["pending"] == 12
