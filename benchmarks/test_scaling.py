"""How the cost of fastnn grows with the density of the inputs, widths, layers and digits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from benchmarks.peers.numpy_sgd import Textbook
from benchmarks.peers.ours import Backprop, BackpropRelu, Dense, Sparse, Sparse64
from benchmarks.problem import SIZES, make_problem, synthetic_digits
from benchmarks.race import Candidate, Timing, race, side_by_side
from benchmarks.thresholds import CHUNKS_AT_MOST, DENSE_INPUTS_AT_LEAST, LARGE_RUN_AT_MOST

if TYPE_CHECKING:
    from benchmarks.conftest import Effort, Results

DENSITIES = (0.05, 0.10, 0.22, 0.50, 1.00)
WIDTHS = (32, 64, 128, 200, 256, 512, 1024)
DEPTHS = ((200,), (200, 40), (200, 100, 40), (200, 100, 100, 40))
DIGITS = (12_547, 100_000, 1_000_000)


@pytest.fixture
def measure(effort: Effort, results: Results):
    """Return a function that times candidates, adds them to the results under a title and returns them by key."""

    def run(title: str, candidates: list[Candidate], *, rounds: int | None = None) -> dict[str, Timing]:
        measured = race(candidates, rounds=1 if effort.quick else rounds or 3, seconds=effort.seconds / 5)
        results.add(f"scaling: {title}", measured)
        return {timing.key: timing for timing in measured}

    return run


def candidate(key: str, name: str, state: object, limit: int = 12_547, least: int = 200) -> Candidate:
    return Candidate(key, name, state.run, limit=limit, least=least)


def test_cost_grows_with_density(measure, effort: Effort) -> None:
    candidates = []
    for density in DENSITIES:
        problem = make_problem(data=synthetic_digits(2000, density))
        name = f"fastnn, sparse, {100 * density:.0f} % of the pixels not white"
        candidates.append(candidate(f"density-{density}", name, Sparse(problem), 2000))
    candidates.append(candidate("dense", "fastnn, dense, any share", Dense(problem), 2000))
    timings = measure("density of the inputs", candidates)
    if not effort.quick:
        assert timings["density-1.0"].best / timings["density-0.05"].best >= DENSE_INPUTS_AT_LEAST


def test_widths_and_layers(measure) -> None:
    """Reported only."""
    candidates = []
    for width in WIDTHS:
        sizes = (SIZES[0], width, 40, SIZES[-1])
        candidates.append(candidate(f"width-{width}", f"fastnn, 784-{width}-40-10", Sparse(make_problem(sizes))))
    timings = measure("width of the first hidden layer", candidates)
    assert all(np.isfinite(timing.best) for timing in timings.values())
    candidates = []
    for hidden in DEPTHS:
        sizes = (SIZES[0], *hidden, SIZES[-1])
        name = "-".join(map(str, sizes))
        candidates.append(candidate(name, f"fastnn, {name}", Sparse(make_problem(sizes))))
    measure("hidden layers", candidates)


def test_cost_is_linear_in_digits(measure, effort: Effort) -> None:
    """One call for each number of digits, which repeat the same 12,547; and many calls for a million digits."""
    state = Sparse(make_problem())
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

    # As long as the largest call, so that slow phases of the machine affect both.
    n = DIGITS[-1]
    candidates.append(Candidate("digits-many", f"fastnn, {n:,} digits, {DIGITS[0]:,} a call", small_calls, n, n))
    timings = measure("digits", candidates, rounds=2)
    assert side_by_side(timings[f"digits-{n}"], timings["digits-many"]) <= LARGE_RUN_AT_MOST


def test_types_and_rules(measure) -> None:
    """Reported only."""
    original, small_weights = make_problem(), make_problem(uniform=False)
    measure(
        "types and rules",
        [
            candidate("original", "fastnn, rule original, float32", Sparse(original)),
            candidate("original-64", "fastnn, rule original, float64", Sparse64(original)),
            candidate("backprop", "fastnn, rule backprop, sigmoid", Backprop(small_weights)),
            candidate(
                "backprop-relu", "fastnn, rule backprop, ReLU, inactive units skipped", BackpropRelu(small_weights)
            ),
        ],
    )


def test_the_loop_around_the_kernel_costs_little(measure, effort: Effort) -> None:
    """`Trainer.epoch` calls the kernel in chunks of milliseconds, checks the loss and reports progress after each."""
    from fastnn.datasets.dataset import Dataset
    from fastnn.network import Network
    from fastnn.recipe import Recipe
    from fastnn.training import Trainer, epoch_order

    problem = make_problem()
    recipe = Recipe(hidden=SIZES[1:-1])
    dataset = Dataset(problem.images, problem.labels, tuple("0123456789"), "benchmark")
    trainer = Trainer(Network(SIZES).initialise(), dataset, recipe)
    state = Sparse(problem)
    n, reports = len(dataset), []

    def once(_: int) -> None:
        state.order = epoch_order(recipe.seed, 1, n)
        state.run(n)

    timings = measure(
        "the loop around the kernel",
        [
            Candidate("once", "fastnn, one call for an epoch", once, limit=n, least=n),
            Candidate("chunks", "fastnn, Trainer.epoch", lambda _: trainer.epoch(1, reports.append), limit=n, least=n),
        ],
        rounds=25,
    )
    assert reports
    if not effort.quick:
        assert side_by_side(timings["chunks"], timings["once"]) <= CHUNKS_AT_MOST


def test_one_digit_a_call(effort: Effort, results: Results) -> None:
    """What a call from Python costs beyond the digit itself; reported only. NumPy also trains one digit a step."""
    problem = make_problem()
    state = Sparse(problem)
    together, single, numpy = race(
        [
            candidate("together", "fastnn, all in one call", state),
            Candidate("single", "fastnn, one digit a call", state.run_one_by_one, 2000, 200),
            candidate("numpy", "NumPy, textbook", Textbook(problem), 2000),
        ],
        rounds=effort.rounds,
        seconds=effort.seconds / 2,
    )
    beyond = single.minus(together, "beyond", "fastnn, a call beyond the digit itself")
    results.add("scaling: digits a call", [together, single, beyond, numpy])
