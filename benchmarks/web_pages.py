"""The pages in Chromium: what the first load costs, and how fast the page learns beside fastnn."""

from __future__ import annotations

import base64
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np

from benchmarks.peers.ours import OnInputs
from benchmarks.problem import initial_parameters
from benchmarks.web_figures import Measured, NotMeasurableError
from benchmarks.web_pupils import files_of
from fastnn.datasets import load_dataset
from fastnn.images import normalise_batch
from fastnn.inputs import ImageInput
from fastnn.network import Network
from fastnn.reference import ReferenceNetwork
from tests.web.browser.chromium import missing_chromium, open_chromium
from tests.web.browser.hand import draw
from tests.web.servers import servers

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser, Page

    from fastnn.network import Rule

MAX_BYTES = 300_000
"""Limit for all that the first load of Recognise transfers until the page is usable."""

MAX_SECONDS = 1.0
"""Limit for the time until one can draw, on the throttled profile that is named first."""

_MODEL = ("model.json", "model.bin")


@dataclass(frozen=True)
class Network4G:
    """A network as Chrome DevTools throttles it (front_end/core/sdk/NetworkManager.ts).

    Attributes
    ----------
    name : str
    down, up : float
        Bytes per second; DevTools takes 0.9 of the nominal rate.
    latency : float
        Milliseconds from a request to the first byte of its response.
    """

    name: str
    down: float
    up: float
    latency: float


FAST_4G = Network4G("Fast 4G (8.1 Mbit/s, 165 ms)", 9e6 / 8 * 0.9, 1.5e6 / 8 * 0.9, 60 * 2.75)
SLOW_4G = Network4G("Slow 4G (1.4 Mbit/s, 563 ms)", 1.6e6 / 8 * 0.9, 750e3 / 8 * 0.9, 150 * 3.75)

# The module that defines the pad has run, its canvas has a size, and the browser has had a chance to paint it.
_WHEN_USABLE = """
window.usable = customElements.whenDefined("draw-pad").then(() => new Promise((resolve) => {
  const look = () => {
    if (document.querySelector("draw-pad canvas")?.clientWidth) setTimeout(() => resolve(performance.now()));
    else requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
}));
"""


def first_load(folder: Path, model: Path, rounds: int) -> Measured:
    """Measure the first load of Recognise in Chromium."""
    _require_chromium()
    with servers(folder, model) as start, open_chromium() as browser:
        url = start("--rate", "0", "--no-access-log").url
        size, model_size = _transferred(browser, url)
        fast, slow = (_usable_after(browser, url, network, rounds) for network in (FAST_4G, SLOW_4G))
    rows = [
        ("first load of Recognise until the page is usable, all files, with headers", f"{size / 1000:.0f} kB"),
        ("the model, loaded after that", f"{model_size / 1000:.0f} kB" if model_size else "not loaded"),
        (f"time until one can draw, Chrome DevTools' {FAST_4G.name}", f"{fast:.2f} s"),
        (f"time until one can draw, Chrome DevTools' {SLOW_4G.name}", f"{slow:.2f} s"),
    ]
    measured = Measured(rows)
    if size > MAX_BYTES:
        measured.exceeded.append(f"first load: {size:,} bytes, the limit is {MAX_BYTES:,}")
    if not fast <= MAX_SECONDS:
        measured.exceeded.append(f"first load on Fast 4G: {fast:.2f} s, the limit is {MAX_SECONDS:.2f} s")
    return measured


def _require_chromium() -> None:
    reason = missing_chromium()
    if reason is not None:
        raise NotMeasurableError(reason)


def _transferred(browser: Browser, url: str) -> tuple[int, int]:
    """Return the bytes of the first load and those of the model, in a fresh browser context."""
    with browser.new_context() as context:
        page = context.new_page()
        session = context.new_cdp_session(page)
        session.send("Network.enable")
        paths: dict[str, str] = {}
        sizes: dict[str, int] = {}
        session.on(
            "Network.requestWillBeSent", lambda event: paths.update({event["requestId"]: event["request"]["url"]})
        )
        session.on(
            "Network.loadingFinished",
            lambda event: sizes.update({event["requestId"]: int(event["encodedDataLength"])}),
        )
        page.goto(f"{url}/")
        page.wait_for_load_state("networkidle")
        draw(page, 3)  # a page that loads its model only now
        page.wait_for_load_state("networkidle")
        by_path = {urlsplit(paths[request]).path.lstrip("/"): size for request, size in sizes.items()}
        # Chromium without a window does not load the icon and the manifest.
        for path in {*files_of(url, "")} - {*by_path, *_MODEL}:
            by_path[path] = len(context.request.get(f"{url}/{path}").body())
    model = sum(by_path.pop(name, 0) for name in _MODEL)
    by_path.pop("api/predict", None)  # only since something was drawn
    return sum(by_path.values()), model


def _usable_after(browser: Browser, url: str, network: Network4G, loads: int) -> float:
    """Return the median of the seconds from the start of the navigation until one can draw, with an empty cache."""
    return statistics.median(_usable_once(browser, url, network) for _ in range(loads))


def _usable_once(browser: Browser, url: str, network: Network4G) -> float:
    with browser.new_context() as context:
        page = context.new_page()
        session = context.new_cdp_session(page)
        session.send("Network.enable")
        session.send(
            "Network.emulateNetworkConditions",
            {
                "offline": False,
                "downloadThroughput": network.down,
                "uploadThroughput": network.up,
                "latency": network.latency,
            },
        )
        page.add_init_script(_WHEN_USABLE)
        page.goto(f"{url}/", wait_until="commit")
        seconds = float(page.evaluate("usable")) / 1000
        draw(page, 1)
        if page.evaluate("document.querySelector('draw-pad').empty"):
            raise AssertionError("the page said that it is usable, but nothing could be drawn")
        return seconds


# ---- learning in the page ----

_NETWORKS: tuple[tuple[int, Rule], ...] = ((16, "backprop"), (64, "backprop"), (200, "backprop"), (64, "original"))
_RATE = 0.02
_CHECKED = 20
_TOLERANCE = 1e-5
_TOLERANCE_FLOAT32 = 1e-3
_ROUND_SECONDS = 0.7

# Makes `learn(n)`, which trains on the first n digits from the given weights, in the page's own thread.
_PREPARE = """async ({ network, images, labels, rate }) => {
  const { Learner } = await import(new URL("static/learner.js", document.baseURI));
  const pixels = Uint8Array.from(atob(images), (character) => character.charCodeAt(0));
  const rows = labels.map((_, k) => pixels.subarray(784 * k, 784 * (k + 1)));
  const learner = new Learner(network);
  window.learner = learner;
  window.learn = (n) => {
    for (let k = 0; k < n; k++) learner.train(rows[k % rows.length], labels[k % rows.length], rate);
  };
}"""
_PARAMETERS = "() => Object.values(learner.parameters()).map((kind) => kind.map((one) => Array.from(one)))"
_SPEED = """(seconds) => {
  const start = performance.now();
  let n = 0;
  for (; performance.now() - start < 1000 * seconds; n += 100) learn(100);
  return n / (performance.now() - start) * 1000;
}"""


def learning(folder: Path, model: Path, rounds: int) -> Measured:
    """Measure how many digits a second the page Learn learns, beside fastnn on one core; both are checked first."""
    _require_chromium()
    drawn = load_dataset("drawn:3000")
    images = normalise_batch(drawn.images)[0].reshape(len(drawn), -1)
    measured = Measured()
    with servers(folder, model) as start, open_chromium() as browser:
        page = browser.new_page()
        page.goto(f"{start('--rate', '0', '--no-access-log').url}/learn")
        page.wait_for_load_state("networkidle")
        for hidden, rule in _NETWORKS:
            contest = _Contest(images, drawn.labels, hidden, rule)
            measured.add(contest.run(page, rounds))
    return measured


@dataclass(frozen=True)
class _Contest:
    """A network that the page and fastnn train on the same digits, from the same weights."""

    images: np.ndarray
    labels: np.ndarray
    hidden: int
    rule: Rule

    def run(self, page: Page, rounds: int) -> Measured:
        """Check both networks against the reference, then time them in turn."""
        name = f"Learn, 784-{self.hidden}-10, rule {'gradient' if self.rule == 'backprop' else self.rule}"
        network = self._network()
        reference = self._reference(network)
        ours = OnInputs(network, ImageInput(self.images, self.rule == "backprop"), self.labels, _RATE)
        page.evaluate(_PREPARE, self._for_page())
        ours.run(_CHECKED)
        page.evaluate("learn", _CHECKED)
        deviations = {
            "the page": (_deviation(_interleaved(*page.evaluate(_PARAMETERS)), reference), _TOLERANCE),
            "fastnn": (_deviation(ours.weights(), reference), _TOLERANCE_FLOAT32),
        }
        wrong = [
            f"{name}: {who} differs from the reference by {deviation:.1e} after {_CHECKED} digits"
            for who, (deviation, tolerance) in deviations.items()
            if not deviation <= tolerance
        ]
        if wrong:  # a wrong result has no speed
            return Measured([(name, "wrong")], wrong)
        speeds = [(float(page.evaluate(_SPEED, _ROUND_SECONDS)), _speed(ours)) for _ in range(rounds)]
        best, fastest = (max(one) for one in zip(*speeds, strict=True))
        figure = f"{best:,.0f} digits/s in the page, {fastest:,.0f} by fastnn on one core: {fastest / best:.0f} ×"
        return Measured([(name, figure)])

    def _start(self) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
        return initial_parameters((784, self.hidden, 10), uniform=self.rule == "original")

    def _network(self) -> Network:
        activation = "sigmoid" if self.rule == "original" else "relu"
        network = Network((784, self.hidden, 10), rule=self.rule, activation=activation)
        weights, biases = self._start()
        for target, values in zip(network.weights + network.biases, weights + biases, strict=True):
            target[...] = values
        return network

    def _for_page(self) -> dict[str, Any]:
        weights, biases = ([one.ravel().tolist() for one in kind] for kind in self._start())
        sizes = (784, self.hidden, 10)
        return {
            "network": {"sizes": sizes, "rule": self.rule, "weights": weights, "biases": biases},
            "images": base64.b64encode(self.images.tobytes()).decode(),
            "labels": self.labels.tolist(),
            "rate": _RATE,
        }

    def _reference(self, network: Network) -> list[np.ndarray]:
        """Return the weights and biases of fastnn.reference after the digits that are checked."""
        reference = ReferenceNetwork.from_network(network)
        for image, label in zip(self.images[:_CHECKED], self.labels[:_CHECKED].tolist(), strict=True):
            reference.train((image if self.rule == "original" else 255.0 - image) / 255.0, label, _RATE)
        return _interleaved(reference.weights, reference.biases)


def _interleaved(weights: Any, biases: Any) -> list[np.ndarray]:
    return [np.array(one, dtype=np.float64).ravel() for pair in zip(weights, biases, strict=True) for one in pair]


def _deviation(found: list[np.ndarray], expected: list[np.ndarray]) -> float:
    return max(float(np.abs(a.ravel() - b.ravel()).max()) for a, b in zip(found, expected, strict=True))


def _speed(ours: OnInputs) -> float:
    """Return how many digits a second fastnn learns."""
    n, start = 0, time.perf_counter()
    while time.perf_counter() - start < _ROUND_SECONDS:
        ours.run(len(ours.labels))
        n += len(ours.labels)
    return n / (time.perf_counter() - start)
