"""``fastnn bench``: training speed of this machine, compared with plain Python and the lower bound of dense code."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from fastnn.cli._console import command, out, print_json

if TYPE_CHECKING:
    from collections.abc import Callable

SIZES = (784, 200, 40, 10)
_SAMPLES = 2000
_PLAIN_SAMPLES = 10


@dataclass(frozen=True)
class Speed:
    """Training speed of this machine; each figure is the best of several runs.

    Attributes
    ----------
    samples_per_second : float
        fastnn: 784-200-40-10, the original rule, float32, one digit at a time.
    plain_python_samples_per_second : float
        ``fastnn.reference``, a port of the original's JavaScript, on the same task.
    speed_up : float
        `samples_per_second` over `plain_python_samples_per_second`.
    dense_bound_samples_per_second : float
        How many times per second the first layer's weights can be read and written: the upper limit of the speed of
        dense code, which updates all of them for each digit.
    over_dense_bound : float
        `samples_per_second` over `dense_bound_samples_per_second`.
    compile_seconds : float
        Time to compile the kernels, or to load them if they were compiled before.
    """

    samples_per_second: float
    plain_python_samples_per_second: float
    speed_up: float
    dense_bound_samples_per_second: float
    over_dense_bound: float
    compile_seconds: float


@command
def bench(
    seconds: Annotated[float, typer.Option(min=0.1, max=60, help="Seconds for each measurement.")] = 1.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Measure training speed; `pytest benchmarks` in a checkout compares with many other implementations."""
    speed = measure(seconds)
    if as_json:
        print_json(asdict(speed))
        return
    table = Table("784-200-40-10, one digit at a time", "digits/s", "fastnn is faster by", box=None)
    rows = (
        ("fastnn", speed.samples_per_second, ""),
        ("lower bound of dense code", speed.dense_bound_samples_per_second, f"{speed.over_dense_bound:.1f} x"),
        ("plain Python, like the original", speed.plain_python_samples_per_second, f"{speed.speed_up:,.0f} x"),
    )
    for name, rate, ratio in rows:
        table.add_row(name, f"{rate:,.0f}", ratio)
    out().print(table)
    out().print(f"kernels ready in {speed.compile_seconds:.1f} s")


def measure(seconds: float = 1.0) -> Speed:
    """Measure the training speed on built-in drawn digits.

    Parameters
    ----------
    seconds : float
        Time for each of the three measurements; each has at least one run.

    Returns
    -------
    Speed
    """
    import numpy as np

    from fastnn.datasets.drawn import drawn
    from fastnn.engine import Engine
    from fastnn.inputs import ImageInput
    from fastnn.model import as_inputs
    from fastnn.network import Network
    from fastnn.reference import ReferenceNetwork

    digits = drawn(_SAMPLES)
    network = Network(SIZES).initialise("uniform", 0)
    images = ImageInput(digits.images, False)
    engine, order, totals = Engine(network), np.arange(_SAMPLES), np.zeros(2)
    start = time.perf_counter()
    engine.load_weights(images)
    engine.train(images, digits.labels, order[:0], 0.01, totals)
    compile_seconds = time.perf_counter() - start

    def train() -> None:
        engine.train(images, digits.labels, order, 0.01, totals)

    weights = network.weights[0].copy()
    one = weights.dtype.type(1)

    def sweep() -> None:
        for _ in range(100):
            np.multiply(weights, one, out=weights)

    plain = ReferenceNetwork.from_network(network)
    inputs = as_inputs(digits.images[:_PLAIN_SAMPLES], False, np.dtype(np.float64)).tolist()

    def train_plainly() -> None:
        for x, label in zip(inputs, digits.labels[:_PLAIN_SAMPLES].tolist(), strict=True):
            plain.train(x, label, 0.01)

    ours = _SAMPLES / _best(train, seconds)
    bound = 100 / _best(sweep, seconds)
    slow = _PLAIN_SAMPLES / _best(train_plainly, seconds)
    return Speed(ours, slow, ours / slow, bound, ours / bound, compile_seconds)


def _best(run: Callable[[], Any], seconds: float) -> float:
    """Return the seconds of the fastest run; repeat until `seconds` have passed."""
    end = time.perf_counter() + seconds
    best = float("inf")
    while True:
        start = time.perf_counter()
        run()
        now = time.perf_counter()
        best = min(best, now - start)
        if now >= end:
            return best
