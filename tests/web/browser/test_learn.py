"""The page where a network learns in the browser, and that its rule is that of fastnn.reference."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fastnn.network import Network
from fastnn.reference import ReferenceNetwork
from tests.web.browser.hand import draw
from tests.web.servers import wait_for

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra [dev])").expect

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page

    from fastnn.datasets import Dataset
    from fastnn.network import Rule
    from tests.web.servers import Server

# Trains in the page itself, and returns weights and biases of all layers.
TRAIN = """async ({ network, images, labels, rate }) => {
  const { Learner } = await import(new URL("static/learner.js", document.baseURI));
  const learner = new Learner(network);
  images.forEach((image, k) => learner.train(image, labels[k], rate));
  const { weights, biases } = learner.parameters();
  return { weights: weights.map((one) => Array.from(one)), biases: biases.map((one) => Array.from(one)) };
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
    found = visit(f"{site.url}/learn").evaluate(TRAIN, given)
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
