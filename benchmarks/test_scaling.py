"""What the cost of fastnn grows with: ink, widths, layers, digits; and what it does not grow with."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from benchmarks.implementations import BY_KEY
from benchmarks.peers.ours import Backprop, BackpropRelu, Dense, Ink, Ink64
from benchmarks.problem import SIZES, make_problem, synthetic_digits
from benchmarks.race import Candidate, Timing, race, side_by_side
from benchmarks.thresholds import CHUNKS_AT_MOST, INK_FROM_FULL, LARGE_RUN_AT_MOST

if TYPE_CHECKING:
    from benchmarks.conftest import Effort, Results

SHARES = (0.05, 0.10, 0.22, 0.50, 1.00)
WIDTHS = (32, 64, 128, 200, 256, 512, 1024)
DEPTHS = ((200,), (200, 40), (200, 100, 40), (200, 100, 100, 40))
DIGITS = (12_547, 100_000, 1_000_000)


@pytest.fixture
def measure(effort: Effort, results: Results):
    """Race some candidates, put them in the results under a title, and return the timings by key."""

    def run(title: str, candidates: list[Candidate], *, rounds: int | None = None) -> dict[str, Timing]:
        measured = race(candidates, rounds=1 if effort.quick else rounds or 3, seconds=effort.seconds / 5)
        results.add(f"scaling: {title}", measured)
        return {timing.key: timing for timing in measured}

    return run


def candidate(key: str, name: str, state: object, limit: int = 12_547, least: int = 200) -> Candidate:
    return Candidate(key, name, state.run, limit=limit, least=least)


def test_cost_grows_with_ink(measure, effort: Effort) -> None:
    candidates = []
    for share in SHARES:
        problem = make_problem(data=synthetic_digits(2000, share))
        name = f"fastnn, {100 * share:.0f} % of the pixels inked"
        candidates.append(candidate(f"ink-{share}", name, Ink(problem), 2000))
    candidates.append(candidate("dense", "fastnn, dense, any share", Dense(problem), 2000))
    timings = measure("ink", candidates)
    if not effort.quick:
        assert timings["ink-1.0"].best / timings["ink-0.05"].best >= INK_FROM_FULL


def test_widths_and_layers(measure) -> None:
    """The figures are for the tables; what they must not do is differ in what is learned."""
    candidates = []
    for width in WIDTHS:
        sizes = (SIZES[0], width, 40, SIZES[-1])
        candidates.append(candidate(f"width-{width}", f"fastnn, 784-{width}-40-10", Ink(make_problem(sizes))))
    timings = measure("width of the first hidden layer", candidates)
    assert all(np.isfinite(timing.best) for timing in timings.values())
    candidates = []
    for hidden in DEPTHS:
        sizes = (SIZES[0], *hidden, SIZES[-1])
        name = "-".join(map(str, sizes))
        candidates.append(candidate(name, f"fastnn, {name}", Ink(make_problem(sizes))))
    measure("hidden layers", candidates)


def test_cost_is_linear_in_digits(measure, effort: Effort) -> None:
    """One call for each number of digits, the same 12,547 over and over; and as many calls as make a million."""
    state = Ink(make_problem())
    counts = DIGITS[:1] if effort.quick else DIGITS
    candidates = [
        Candidate(f"digits-{n}", f"fastnn, {n:,} digits in one call", state.run, limit=n, least=n) for n in counts
    ]
    if effort.quick:
        measure("digits", candidates)
        return

    def small_calls(n: int) -> None:
        for start in range(0, n, DIGITS[0]):
            state.run(min(DIGITS[0], n - start))

    # The first again and again, so that both take seconds: nothing stays quiet for so long.
    n = DIGITS[-1]
    candidates.append(Candidate("digits-many", f"fastnn, {n:,} digits, {DIGITS[0]:,} a call", small_calls, n, n))
    timings = measure("digits", candidates, rounds=2)
    assert side_by_side(timings[f"digits-{n}"], timings["digits-many"]) <= LARGE_RUN_AT_MOST


def test_types_and_rules(measure) -> None:
    toy, quiet = make_problem(), make_problem(uniform=False)
    quiet = replace(quiet, learning_rate=0.01)
    measure(
        "types and rules",
        [
            candidate("original", "fastnn, rule original, float32", Ink(toy)),
            candidate("toy-64", "fastnn, rule original, float64", Ink64(toy)),
            candidate("backprop", "fastnn, rule backprop, sigmoid", Backprop(quiet)),
            candidate("backprop-relu", "fastnn, rule backprop, ReLU, silent units skipped", BackpropRelu(quiet)),
        ],
    )


def test_the_loop_around_the_kernel_costs_little(measure, effort: Effort) -> None:
    """`Trainer.epoch` calls the kernel in chunks of milliseconds, looks at the loss and reports progress after each."""
    from fastnn.datasets.dataset import Dataset
    from fastnn.network import Network
    from fastnn.recipe import Recipe
    from fastnn.training import Trainer, epoch_order

    problem = make_problem()
    recipe = Recipe(hidden=SIZES[1:-1])
    dataset = Dataset(problem.images, problem.labels, tuple("0123456789"), "benchmark")
    learner = Trainer(Network(SIZES).initialise(), dataset, recipe)
    # On the learner's own memory: that of another engine lies in other pages, which is worth 3 % either way.
    engine, images = learner._engine, learner._images
    n, reports, totals = len(dataset), [], np.zeros(2)

    def once(_: int) -> None:
        order = epoch_order(recipe.seed, 1, n)
        engine.load_weights(images)
        engine.train(images, dataset.labels, order, recipe.lr, totals)
        engine.store_weights()

    timings = measure(
        "the loop around the kernel",
        [
            Candidate("once", "fastnn, one call for an epoch", once, limit=n, least=n),
            Candidate("chunks", "fastnn, Trainer.epoch", lambda _: learner.epoch(1, reports.append), limit=n, least=n),
        ],
        rounds=25,
    )
    assert reports
    if not effort.quick:
        assert side_by_side(timings["chunks"], timings["once"]) <= CHUNKS_AT_MOST


def test_one_digit_a_call(measure) -> None:
    """What a call from Python costs beside the digit itself: one digit a call against all in one call."""
    state = BY_KEY["fastnn"].prepare(make_problem())

    def one_by_one(n: int) -> None:
        for i in range(n):
            state.engine.train(state.prepared, state.labels, state.order[i : i + 1], state.rate, state.totals)

    timings = measure(
        "digits a call",
        [
            candidate("together", "fastnn, all in one call", state),
            Candidate("single", "fastnn, one a call", one_by_one, 2000, 200),
        ],
    )
    assert timings["single"].best > timings["together"].best
