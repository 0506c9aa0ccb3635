"""The page where a network learns in the browser, and that its rule is that of fastnn.reference."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fastnn.network import Network
from fastnn.reference import ReferenceNetwork
from tests.helpers import wait_for
from tests.web.browser.hand import draw
from tests.web.browser.pages import intercept
from tests.web.servers import TOKEN

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra [dev])").expect

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page, Route

    from fastnn.datasets import Dataset
    from fastnn.network import Rule
    from tests.web.servers import Server

# Trains in the page itself, and returns weights and biases of all layers.
# Both are JSON texts: Playwright would look at each of 50,000 numbers on their way.
TRAIN = """async (text) => {
  const { network, images, labels, rate } = JSON.parse(text);
  const { Learner } = await import(new URL("static/learner.js", document.baseURI));
  const learner = new Learner(network);
  images.forEach((image, k) => learner.train(image, labels[k], rate));
  const { weights, biases } = learner.parameters();
  return JSON.stringify({ weights: weights.map((one) => [...one]), biases: biases.map((one) => [...one]) });
}"""


@pytest.mark.parametrize("hidden", [(12,), (12, 7)])
@pytest.mark.parametrize("rule", ["original", "backprop"])
def test_the_rule_is_that_of_the_reference(
    site: Server, visit: Callable[..., Page], drawn: Dataset, rule: Rule, hidden: tuple[int, ...]
) -> None:
    sizes = (784, *hidden, 10)
    network = Network(sizes, rule=rule, activation="sigmoid" if rule == "original" else "relu", dtype="float64")
    network.initialise("uniform" if rule == "original" else "he", seed=1)
    images, labels, rate = drawn.images[:50], drawn.labels[:50], 0.02
    reference = ReferenceNetwork.from_network(network)
    for image, label in zip(images, labels, strict=True):
        reference.train((image if rule == "original" else 255.0 - image) / 255.0, int(label), rate)
    start = {
        "sizes": sizes,
        "rule": rule,
        "weights": [one.ravel().tolist() for one in network.weights],
        "biases": [one.tolist() for one in network.biases],
    }
    given: dict[str, Any] = {"network": start, "images": images.tolist(), "labels": labels.tolist(), "rate": rate}
    # Any page can import the module; that with little else to do is the fastest.
    found = json.loads(visit(f"{site.url}/data").evaluate(TRAIN, json.dumps(given)))
    for kind, expected in (("weights", reference.weights), ("biases", reference.biases)):
        for one, values in zip(found[kind], expected, strict=True):
            np.testing.assert_allclose(np.array(one), np.array(values).ravel(), rtol=0, atol=1e-5)
    # The weights have changed by much more than that.
    assert np.abs(np.array(found["weights"][-1]) - network.weights[-1].ravel()).max() > 1e-3


def figure(page: Page, position: int) -> int:
    return int(page.locator("#figures dd").nth(position).inner_text().replace(",", "").rstrip("%").split(".")[0])


def test_a_network_learns_while_one_watches(site: Server, visit: Callable[..., Page]) -> None:
    page = visit(f"{site.url}/learn")
    expect(page.locator("#figures dt").nth(1)).to_have_text("right of 300")
    assert figure(page, 0) == 0
    # One digit.
    page.locator("#step").click()
    expect(page.locator("#figures dd").first).to_have_text("1")
    expect(page.locator("#message")).to_contain_text("It has just learned ")
    # The drawing's bars change while it learns.
    draw(page, 0)
    expect(page.locator("#bars .best")).to_have_count(1)
    before = page.locator("#bars .value").all_inner_texts()
    page.locator("#run").click()
    expect(page.locator("#run")).to_have_text("Pause")
    expect(page.locator("#sure")).to_have_text(re.compile(r"^\d, certain"))
    assert page.locator("#bars .value").all_inner_texts() != before
    wait_for(lambda: figure(page, 1) > 80, "an accuracy of 80 %")
    page.locator("#run").click()
    expect(page.locator("#run")).to_have_text("Start")
    assert len((page.locator("#line").get_attribute("points") or "").split()) > 2
    # The units' pictures have colours.
    pixels = page.locator("#units").evaluate("c => [...c.getContext('2d').getImageData(0, 0, 28, 28).data]")
    assert len(set(pixels)) > 20
    page.locator("#rule").select_option("original")
    expect(page.locator("#figures dd").first).to_have_text("0")
    page.locator("#reset").click()
    assert figure(page, 1) < 50


def test_a_rate_that_is_too_large_is_said_to_be(site: Server, visit: Callable[..., Page]) -> None:
    page = visit(f"{site.url}/learn")
    expect(page.locator("#figures dt").first).to_be_visible()
    page.evaluate("document.querySelector('#rate').add(new Option('1e300'))")
    page.locator("#rate").select_option("1e300")
    page.locator("#run").click()
    expect(page.locator("#message")).to_contain_text("The numbers grew without limit.")
    expect(page.locator("#run")).to_have_text("Start")


def test_digits_of_visitors_can_be_learned(site: Server, visit: Callable[..., Page]) -> None:
    page = visit(f"{site.url}/learn")
    expect(page.locator("#figures dt").nth(1)).to_have_text("right of 300")
    page.locator("#source").select_option("accepted")
    # A tenth of the 402 accepted digits is held back.
    expect(page.locator("#figures dt").nth(1)).to_have_text("right of 41")


def test_of_two_sources_the_one_that_was_chosen_last_is_learned(site: Server, visit: Callable[..., Page]) -> None:
    page = visit(f"{site.url}/learn")
    expect(page.locator("#figures dt").nth(1)).to_have_text("right of 300")
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    intercept(page, "**/latest.bin", hold)
    page.locator("#source").select_option("accepted")
    page.wait_for_function("() => document.querySelector('#message').textContent.startsWith('Loading')")
    page.locator("#source").select_option("drawn")
    expect(page.locator("#message")).to_have_text("")
    with page.expect_response("**/latest.bin") as late:
        held[0].continue_()
    late.value.finished()
    page.wait_for_timeout(300)
    page.locator("#step").click()
    expect(page.locator("#figures dt").nth(1)).to_have_text("right of 300")


def test_a_refusal_of_the_digits_is_not_called_a_lost_connection(site: Server, visit: Callable[..., Page]) -> None:
    page = visit("about:blank", may_fail="status of 429")
    page.route("**/drawn.bin", lambda route: route.fulfill(status=429, json={"detail": "too many requests"}))
    page.goto(f"{site.url}/learn")
    expect(page.locator("#message")).to_have_text("The digits cannot be loaded: too many requests.")


def points(page: Page, line: str) -> list[tuple[float, float]]:
    pairs = (page.locator(line).get_attribute("points") or "").split()
    return [(float(x), float(y)) for x, y in (pair.split(",") for pair in pairs)]


def machine_figures(page: Page) -> dict[str, str]:
    # Both lists at once: the page may replace them between two looks.
    pairs = page.locator("#machine-figures > div").evaluate_all(
        "(rows) => rows.map((row) => [...row.children].map(({ innerText }) => innerText))"
    )
    return dict(pairs)


def test_fastnn_on_the_server_learns_beside_the_page(site: Server, visit: Callable[..., Page]) -> None:
    page = visit(f"{site.url}/learn", may_fail="401")
    expect(page.locator("#figures dt").nth(1)).to_have_text("right of 300")
    page.locator("#hidden").select_option("16")
    page.locator("#run").click()
    wait_for(lambda: figure(page, 0) > 3000, "digits learned by the page")
    page.locator("#run").click()
    assert page.locator("#legend").is_hidden()
    # The token is asked for, again if it is wrong.
    page.locator("#machine-run").click()
    expect(page.locator("#token")).to_be_focused()
    page.keyboard.type("not the token")
    page.keyboard.press("Enter")
    expect(page.locator("#machine-message")).to_have_text("The token is missing or wrong.")
    page.locator("#token").fill(TOKEN)
    page.keyboard.press("Enter")
    expect(page.locator("#machine-run")).to_have_text("Stop fastnn")
    expect(page.locator("#machine-run")).to_be_focused()
    expect(page.locator("#legend")).to_be_visible()
    wait_for(lambda: "faster than this page" in machine_figures(page), "the ratio")
    wait_for(lambda: int(machine_figures(page)["digits learned"].replace(",", "")) > 1e5, "many digits")
    page.keyboard.press("Enter")
    expect(page.locator("#machine-run")).to_have_text("Start fastnn")
    # Both curves share the axis: that of fastnn goes to its end.
    mine, other = points(page, "#line"), points(page, "#machine-line")
    assert len(mine) > 2
    assert len(other) > 10
    assert mine[-1][0] < other[-1][0] == pytest.approx(400)
    assert other[0][1] - other[-1][1] > 60  # of 150: the accuracy has risen
    found = machine_figures(page)
    assert float(found["faster than this page"].rstrip(" ×").replace(",", "")) > 1
    assert float(found["right of 300"].rstrip("%")) > 80
    assert "fastnn on this machine: " in (page.locator("#curve").get_attribute("aria-label") or "")
    pixels = page.locator("#machine-units").evaluate("c => [...c.getContext('2d').getImageData(0, 0, 28, 28).data]")
    assert len(set(pixels)) > 20
    assert page.locator("#machine-wrong li").count() > 0
    # The token is remembered in this tab. Another training that runs is said, and other settings end this one.
    page.locator("#machine-run").click()
    expect(page.locator("#machine-run")).to_have_text("Stop fastnn")
    page.locator("#hidden").select_option("200")
    expect(page.locator("#machine-run")).to_have_text("Start fastnn")
    expect(page.locator("#legend")).to_be_hidden()
    assert points(page, "#machine-line") == []


def test_the_page_says_that_another_training_runs(site: Server, visit: Callable[..., Page]) -> None:
    pages = [visit(f"{site.url}/learn", may_fail="409") for _ in range(2)]
    for page in pages:
        expect(page.locator("#figures dt").nth(1)).to_have_text("right of 300")
        page.locator("#hidden").select_option("200")
        page.locator("#machine-run").click()
        page.locator("#token").fill(TOKEN)
        page.keyboard.press("Enter")
        if page is pages[0]:
            expect(page.locator("#legend")).to_be_visible()
    expect(pages[1].locator("#machine-message")).to_contain_text("another training is running on this machine")
    # It ends when its page is left.
    pages[0].close()

    def starts() -> bool:
        pages[1].locator("#machine-run").click()
        expect(pages[1].locator("#machine-message")).not_to_have_text("Starting …")
        return pages[1].locator("#legend").is_visible()

    wait_for(starts, "the other training to end")
