"""Figures of the web app: ``python -m benchmarks.web``, or parts of them with ``--only``.

All requests go over the loopback interface, and visitors, browser and server share the cores that this process may
use. Correctness comes before time: lost digits, refused requests, wrong grids and wrong weights are exceeded limits as
slow answers are.

visitors
    Each asks for a prediction every tenth of a second and sends the drawing after nine predictions. Halfway through,
    the server is killed with SIGKILL and started again; the visitors repeat their requests until they are answered.
pupils
    A class behind one address, at the default rate limit; its requests are compared with those of the pages.
database
    A database with 100,000 accepted and as many pending digits: queue, counts, downloads.
sqlite, postgres
    Reviewers who get grids of one label out of 100,000 pending digits.
load
    The first load of Recognise in Chromium, on a throttled network.
learn
    How fast the page Learn learns, beside fastnn.

If a limit is exceeded, the command says so and exits with 1.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.page import add_page_option, as_table, show
from benchmarks.web_figures import Measured, NotMeasurableError
from benchmarks.web_load import database, grid_on_postgres, grid_on_sqlite, visitors
from benchmarks.web_pages import first_load, learning
from benchmarks.web_pupils import pupils

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def parts(options: argparse.Namespace) -> dict[str, Callable[[Path, Path], Measured]]:
    """Return the parts by name; each is called with a folder of its own and the folder of the trained model."""
    return {
        "visitors": partial(visitors, visitors=options.visitors, seconds=options.seconds, pause=options.pause),
        "pupils": partial(pupils, pupils=options.pupils, seconds=options.pupil_seconds),
        "database": partial(database, digits=options.digits),
        "sqlite": partial(grid_on_sqlite, digits=options.digits),
        "postgres": partial(grid_on_postgres, digits=options.digits),
        "load": partial(first_load, rounds=options.rounds),
        "learn": partial(learning, rounds=options.rounds),
    }


def train(folder: Path, epochs: int) -> Path:
    """Train the network that is served, and return its run folder."""
    command = ["train", "--data", "drawn", "--recipe", "modern", "--epochs", str(epochs), "--out", str(folder / "run")]
    subprocess.run([sys.executable, "-m", "fastnn", *command], check=True, capture_output=True)
    return folder / "run"


def measure(options: argparse.Namespace) -> list[str]:
    """Train, measure the chosen parts, each in a folder of its own, and show their tables; return exceeded limits."""
    exceeded = []
    with tempfile.TemporaryDirectory(prefix="fastnn-web-") as name:
        model = train(Path(name), options.epochs)
        for part, run in parts(options).items():
            if options.only and part not in options.only:
                continue
            folder = Path(name) / part
            folder.mkdir()
            try:
                measured = run(folder, model)
            except NotMeasurableError as error:
                print(f"skipped: {part}: {error}", file=sys.stderr)
                continue
            show(as_table(measured.rows), f"web-{part}", options.page)
            exceeded += measured.exceeded
    return exceeded


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the options, measure, and write or print the tables; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.web", description="Figures of the web app.")
    parser.add_argument("--visitors", type=int, default=50, help="number of simulated visitors")
    parser.add_argument("--seconds", type=float, default=30.0, help="duration of the visitors, without the restart")
    parser.add_argument("--pause", type=float, default=0.1, help="seconds that a visitor waits after each response")
    parser.add_argument("--pupils", type=int, default=30, help="number of simulated pupils behind one address")
    parser.add_argument("--pupil-seconds", type=float, default=60.0, help="how long the pupils draw")
    parser.add_argument(
        "--digits", type=int, default=100_000, help="accepted digits of the large database, and pending ones of each"
    )
    parser.add_argument("--rounds", type=int, default=5, help="loads of the page, and rounds of its learning")
    parser.add_argument("--epochs", type=int, default=5, help="training epochs of the network that is served")
    add_page_option(parser)
    names = list(parts(parser.parse_args([])))
    parser.add_argument(
        "--only", nargs="+", choices=names, metavar="PART", help=f"only these parts: {', '.join(names)}"
    )
    exceeded = measure(parser.parse_args(arguments))
    for message in exceeded:
        print(f"limit exceeded: {message}", file=sys.stderr)
    return 1 if exceeded else 0


if __name__ == "__main__":
    raise SystemExit(main())
