"""How long fastnn and its peers take to learn MNIST: ``python -m benchmarks.time_to_accuracy``.

From the start of a process to 97, 98, 99 and 99.3 % on the test set, at the end of an epoch, in wall and CPU seconds.
Each contender is a process of its own on one core with one thread, and every contender runs once before it is timed, so
that compiled code and files are in their caches; "from empty caches" is the exception. Tests between epochs are not
counted. All run with one seed, then with the next, so that a slow phase of the machine does not hit one of them alone.

Each run is added to benchmarks/results/time_to_accuracy.json as soon as it ends; the table goes into
benchmarks/RESULTS.md and the chart is benchmarks/time_to_accuracy.svg. ``--only KEYS`` repeats some contenders and
keeps the other results of the file; ``--seeds 0`` only draws what the file holds.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from xml.sax.saxutils import escape

from benchmarks import environment
from benchmarks.contender import BY_KEY, CONTENDERS
from benchmarks.page import PRINT_ONLY, add_page_option, show

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks.contender import Contender

HERE = Path(__file__).parent
ROOT = HERE.parent
RESULTS = HERE / "results" / "time_to_accuracy.json"
CHART = HERE / "time_to_accuracy.svg"

GOALS = (0.97, 0.98, 0.99, 0.993)
SEEDS = 3

Epochs = list[dict[str, float]]


def run(contender: Contender, seed: int, epochs: int, folder: Path, *, caches: Path | None = None) -> Epochs:
    """Train a contender in a process of its own; return what it printed after each epoch.

    Parameters
    ----------
    contender : Contender
    seed, epochs : int
    folder : Path
        With MNIST, see :mod:`benchmarks.peers.mnist_arrays`.
    caches : Path, optional
        Folder for fastnn's and Numba's caches instead of the usual ones.
    """
    changes = {} if caches is None else {"FASTNN_CACHE_DIR": str(caches), "NUMBA_CACHE_DIR": str(caches)}
    command = [sys.executable, "-m", "benchmarks.contender", contender.key, str(seed), str(epochs), str(folder)]
    done = subprocess.run(
        [*command, repr(time.monotonic())],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, **changes},
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def seconds_to(epochs: Epochs, goal: float, clock: str) -> float | None:
    """Return the seconds until the end of the first epoch at or above an accuracy; `clock` is "cpu" or "wall"."""
    return next((epoch[clock] for epoch in epochs if epoch["accuracy"] >= goal), None)


def measure(
    contenders: Sequence[Contender], seeds: int, mnist: str, *, quick: bool
) -> Iterator[tuple[str, int, Epochs]]:
    """Run contenders with each seed; yield key, seed and what is reached after each epoch."""
    from benchmarks.peers import mnist_arrays

    with tempfile.TemporaryDirectory(prefix="fastnn-mnist-") as name:
        folder = Path(name)
        mnist_arrays.write(mnist, folder)
        warm = {contender.home: contender for contender in contenders if not (contender.cold or quick)}
        for contender in warm.values():
            print(f"{contender.name}: filling caches", file=sys.stderr)
            run(contender, 0, 1, folder)
        for seed in range(seeds):
            for contender in contenders:
                if contender.cold and seed:
                    continue
                caches = folder / "empty" if contender.cold else None
                epochs = run(contender, seed, 1 if quick else contender.epochs, folder, caches=caches)
                end = f"{epochs[-1]['accuracy']:.2%} after {epochs[-1]['cpu']:.1f} CPU seconds"
                print(f"{contender.name}, seed {seed}: {end}", file=sys.stderr)
                yield contender.key, seed, epochs


def typical(runs: Sequence[Epochs], goal: float, clock: str) -> float | None:
    """Return the median of the seconds to an accuracy if more than half of the runs reach it, else None."""
    reached = [seconds for epochs in runs if (seconds := seconds_to(epochs, goal, clock)) is not None]
    return statistics.median(reached) if 2 * len(reached) > len(runs) else None


def ordered(results: dict[str, Any]) -> list[tuple[Contender, list[Epochs]]]:
    """Return the contenders that have results: the quickest to 99 % first, then to 98 % and so on."""

    def rank(item: tuple[Contender, list[Epochs]]) -> tuple[float, ...]:
        times = [typical(item[1], goal, "cpu") for goal in (0.99, 0.98, 0.97)]
        return tuple(math.inf if time is None else time for time in times)

    found = [
        (contender, results["runs"][contender.key]) for contender in CONTENDERS if contender.key in results["runs"]
    ]
    return sorted(found, key=rank)


def percent(goal: float) -> str:
    """Return an accuracy without needless zeros, such as 99.3 %."""
    return f"{100 * goal:g} %"


def cell(runs: Sequence[Epochs], goal: float) -> str:
    """Return CPU seconds to an accuracy, wall seconds in brackets, and how many of the runs reach it if not all do."""
    pairs = [(seconds_to(epochs, goal, "cpu"), seconds_to(epochs, goal, "wall")) for epochs in runs]
    reached = [(cpu, wall) for cpu, wall in pairs if cpu is not None and wall is not None]
    if not reached:
        return "-"
    cpu, wall = (statistics.median(values) for values in zip(*reached, strict=True))
    few = "" if len(reached) == len(runs) else f", {len(reached)} of {len(runs)} seeds"
    return f"{cpu:.1f} ({wall:.1f}){few}"


def as_markdown(results: dict[str, Any]) -> str:
    """Return the table and what it was measured on."""
    goals = " | ".join(percent(goal) for goal in GOALS)
    lines = [
        "![CPU seconds to each test accuracy on MNIST](time_to_accuracy.svg)",
        "",
        f"| CPU seconds (wall seconds) to | {goals} | final accuracy | CPU seconds in total |",
        f"|---|{'---:|' * (len(GOALS) + 2)}",
    ]
    for contender, runs in ordered(results):
        name = f"**{contender.name}**" if contender.ours else contender.name
        cells = " | ".join(cell(runs, goal) for goal in GOALS)
        ends = [100 * epochs[-1]["accuracy"] for epochs in runs]
        spread = f"{min(ends):.2f} to {max(ends):.2f} %" if len(ends) > 1 else f"{ends[0]:.2f} %"
        whole = statistics.median(epochs[-1]["cpu"] for epochs in runs)
        lines.append(f"| {name} | {cells} | {spread} | {whole:.1f} |")
    machine = results["machine"]
    versions = ", ".join(
        f"{name} {machine['versions'][name]}" for name in ("numpy", "numba", "torch", "jax", "scikit-learn")
    )
    most = max(len(runs) for runs in results["runs"].values())
    about = (
        f"Medians of {most} seed{'s' if most > 1 else ''}, from process start to the end of the first epoch that "
        f"reaches the accuracy. Measured {results['date']} on one core of {machine['cpu']}, "
        f"Python {machine['python']}; {versions}."
    )
    return "\n".join([*lines, "", about, *(f"Not measured: {reason}." for reason in results["skipped"])])


TITLE = "CPU seconds from process start to a test accuracy on MNIST, on one core"
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600; font-size: 15px } text.ours { font-weight: 600 }
.axis, .end { fill: #59636e; font-size: 11px }
.grid { stroke: #d1d9e0 } .lane { stroke: #8c959f; stroke-width: 2 } .lane.ours { stroke: #0969da; stroke-width: 4 }
circle { stroke: #ffffff; stroke-width: 1.5 }
.goal-0 { fill: #bcd6f0 } .goal-1 { fill: #6cabe6 } .goal-2 { fill: #1a60b0 } .goal-3 { fill: #071f3d }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc } .axis, .end { fill: #9198a1 } .grid { stroke: #3d444d }
  .lane { stroke: #656c76 } .lane.ours { stroke: #4493f8 } circle { stroke: #0d1117 }
  .goal-0 { fill: #1d4c80 } .goal-1 { fill: #3a7cc0 } .goal-2 { fill: #79b4ee } .goal-3 { fill: #dcecff }
}
"""


LEFT, RIGHT, TOP, STEP, WIDTH, BOTTOM = 320, 110, 84, 30, 960, 24


class Lane(NamedTuple):
    """A row of the chart: median CPU seconds to each goal, if most runs reach it, and at the end; final accuracy."""

    contender: Contender
    times: tuple[float | None, ...]
    whole: float
    accuracy: float


def chart(results: dict[str, Any]) -> str:
    """Return an SVG with a lane for each contender, a dot where it reaches an accuracy, and a logarithmic time axis."""
    lanes = [
        Lane(
            contender,
            tuple(typical(runs, goal, "cpu") for goal in GOALS),
            statistics.median(epochs[-1]["cpu"] for epochs in runs),
            statistics.median(epochs[-1]["accuracy"] for epochs in runs),
        )
        for contender, runs in ordered(results)
    ]
    every = [time for lane in lanes for time in (*lane.times, lane.whole) if time is not None]
    low, high = math.log10(min(every)) - 0.05, math.log10(max(every)) + 0.05
    height = TOP + STEP * len(lanes) + BOTTOM

    def x(seconds: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (math.log10(seconds) - low) / (high - low)

    ticks = [tick * 10**power for power in range(-2, 5) for tick in (1, 2, 5)]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        f"<title>{TITLE}</title>",
        f"<style>{STYLE}</style>",
        f'<text class="title" x="16" y="24">{TITLE}</text>',
        *_legend(),
        *_axis([(seconds, x(seconds)) for seconds in ticks if low <= math.log10(seconds) <= high], height),
    ]
    for number, lane in enumerate(lanes):
        parts += _drawn(lane, TOP + STEP * number + 8, x)
    return "\n".join([*parts, "</svg>", ""])


def _legend() -> Iterator[str]:
    for index, goal in enumerate(GOALS):
        at = LEFT + 80 * index
        yield f'<circle class="goal-{index}" cx="{at + 6}" cy="44" r="6"/>'
        yield f'<text x="{at + 18}" y="48">{percent(goal)}</text>'
    yield f'<text class="end" x="{WIDTH - 16}" y="48" text-anchor="end">final accuracy</text>'


def _axis(ticks: Sequence[tuple[float, float]], height: int) -> Iterator[str]:
    for seconds, x in ticks:
        yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 12}" y2="{height - BOTTOM}"/>'
        yield f'<text class="axis" x="{x:.1f}" y="{height - 8}" text-anchor="middle">{seconds:g} s</text>'


def _drawn(lane: Lane, y: int, x: Callable[[float], float]) -> Iterator[str]:
    """Yield name, line and dots of a lane; the line goes from the first goal that is reached to the end of training."""
    name, kind = escape(lane.contender.name), "ours" if lane.contender.ours else "peer"
    yield f'<text class="{kind}" x="{LEFT - 12}" y="{y + 4}" text-anchor="end">{name}</text>'
    reached = [(index, seconds) for index, seconds in enumerate(lane.times) if seconds is not None]
    start = reached[0][1] if reached else lane.whole
    yield f'<line class="lane {kind}" x1="{x(start):.1f}" x2="{x(lane.whole):.1f}" y1="{y}" y2="{y}"/>'
    for index, seconds in reached:
        # Where an epoch reaches several goals at once, the highest is on top.
        yield f'<circle class="goal-{index}" cx="{x(seconds):.1f}" cy="{y}" r="6"/>'
    yield f'<text class="end" x="{WIDTH - 16}" y="{y + 4}" text-anchor="end">{lane.accuracy:.2%}</text>'


def read_results(path: Path) -> dict[str, Any]:
    """Return the results of a file; none if there is no such file."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"runs": {}}


def write_results(path: Path, results: dict[str, Any]) -> None:
    """Write the results to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results) + "\n", encoding="utf-8")


def chosen(keys: str | None) -> list[Contender]:
    """Return the contenders of a list of keys with commas between them, or all."""
    unknown = set(keys.split(",")) - set(BY_KEY) if keys else set()
    if unknown:
        raise SystemExit(f"no such contender: {', '.join(sorted(unknown))}; there are {', '.join(BY_KEY)}")
    return [BY_KEY[key] for key in keys.split(",")] if keys else list(CONTENDERS)


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the options, measure, and write results, table and chart."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.time_to_accuracy",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", metavar="KEYS", help=f"some of {', '.join(BY_KEY)}, with commas between them")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="runs of each contender; 0 only draws (default: 3)")
    parser.add_argument("--mnist", help="MNIST by name or path (default: beside the project, or as fastnn finds it)")
    parser.add_argument("--quick", action="store_true", help="one epoch on a few built-in digits; writes nothing")
    parser.add_argument("--results", type=Path, default=RESULTS, help=f"JSON file to add to (default: {RESULTS})")
    parser.add_argument("--chart", type=Path, default=CHART, help=f"where the SVG goes (default: {CHART})")
    add_page_option(parser)
    options = parser.parse_args(arguments)
    contenders = chosen(options.only)
    if options.quick:
        # One of those that differ in epochs alone.
        contenders = list({contender.home: contender for contender in reversed(contenders)}.values())
    results = {"runs": {}} if options.quick else read_results(options.results)
    if options.seeds:
        environment.pin()
        results["date"], results["machine"] = time.strftime("%Y-%m-%d", time.gmtime()), environment.machine()
        results["skipped"] = [reason for contender in contenders if (reason := contender.missing())]
        present = [contender for contender in contenders if contender.missing() is None]
        mnist = options.mnist or default_mnist(options.quick)
        for key, seed, epochs in measure(present, options.seeds, mnist, quick=options.quick):
            # The first run of a contender replaces those of an earlier measurement.
            results["runs"][key] = [*(results["runs"].get(key, []) if seed else []), epochs]
            if not options.quick:
                write_results(options.results, results)
    if options.quick:
        show(as_markdown(results), "time-to-accuracy", PRINT_ONLY)
        return
    options.chart.write_text(chart(results), encoding="utf-8")
    show(as_markdown(results), "time-to-accuracy", options.page)


def default_mnist(quick: bool) -> str:
    """Return what `fastnn.load_dataset` loads: a few drawn digits, the files beside the project, or MNIST by name."""
    if quick:
        return "drawn:1000"
    beside = ROOT.parent / "shared" / "data" / "mnist"
    return str(beside) if beside.is_dir() else "mnist"


if __name__ == "__main__":
    main()
