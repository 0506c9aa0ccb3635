"""Checkouts of the repository compared in one run: ``python -m benchmarks.builds FOLDER FOLDER ...``.

For a change of the kernels: give a worktree of the commit before it and the one with it. Each checkout trains the
problem of the suite in a process of its own, with its own benchmarks/peers/ours.py, so that it may call its package by
other names. It is first compared with the reference and then timed in rounds beside the others, on one core. Only from
one run can figures be compared to a few per cent.
"""

from __future__ import annotations

from benchmarks import environment

environment.pin()

import argparse  # noqa: E402 -- nothing that could load NumPy may come before pin()
import os  # noqa: E402
import pickle  # noqa: E402
import shutil  # noqa: E402
import statistics  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
from dataclasses import dataclass, field  # noqa: E402
from functools import partial  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import TYPE_CHECKING  # noqa: E402

import numpy as np  # noqa: E402

from benchmarks import correctness  # noqa: E402
from benchmarks.problem import make_problem  # noqa: E402
from benchmarks.race import Candidate, race  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.race import Timing

SAMPLES = 12_544
ROUNDS = 30
STARTS = 3

CHILD = f"""
import pickle, sys, time
import numpy as np
given, weights = sys.argv[1:]
with open(given, "rb") as file:
    checked, timed = pickle.load(file)
start = time.perf_counter()
from benchmarks.peers import ours
train = getattr(ours, "Sparse", None) or ours.Ink  # its name until November 2026
state = train(checked)
state.run({correctness.SAMPLES})
print(time.perf_counter() - start, flush=True)
np.savez(weights, *state.weights())
state = train(timed)
for line in sys.stdin:
    state.run(int(line))
    print("done", flush=True)
"""


@dataclass(eq=False)
class Build:
    """A checkout of the repository and what was measured of it.

    Attributes
    ----------
    checkout : Path
        The root of the repository.
    work : Path
        A folder of its own for caches and files.
    first : list of float
        Seconds of each first use from empty caches: importing and compiling the kernels, and a short training.
    """

    checkout: Path
    work: Path
    first: list[float] = field(default_factory=list)
    _child: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start its process with empty caches and wait for the first use.

        Raises
        ------
        ValueError
            If it does not train by the original rule.
        """
        self.stop()
        shutil.rmtree(self.work, ignore_errors=True)
        caches, given, weights = (self.work / name for name in ("caches", "problem.pickle", "weights.npz"))
        caches.mkdir(parents=True)
        with given.open("wb") as file:
            pickle.dump((correctness.problem(), make_problem()), file)
        folders = {"NUMBA_CACHE_DIR": str(caches), "FASTNN_CACHE_DIR": str(caches), "PYTHONPATH": str(self.checkout)}
        self._child = subprocess.Popen(
            [sys.executable, "-c", CHILD, given, weights],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=self.checkout,
            env={**os.environ, **folders},
        )
        self.first.append(float(self._answer()))
        self.train(8)  # afterwards the weights are written and nothing is left to compile
        with np.load(weights) as arrays:
            deviation = correctness.deviation_from_reference([arrays[name] for name in arrays.files])
        if not deviation < correctness.TOLERANCE["float32"]:
            raise ValueError(f"{self.checkout}: its weights deviate from the reference's by {deviation:.2g}")

    def train(self, samples: int) -> None:
        """Train on the first digits of the problem."""
        if self._child is None or self._child.stdin is None:
            raise ValueError(f"{self.checkout} was not started")
        self._child.stdin.write(f"{samples}\n")
        self._child.stdin.flush()
        self._answer()

    def stop(self) -> None:
        """End its process."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            self._child = None

    def _answer(self) -> str:
        if self._child is None or self._child.stdout is None:
            raise ValueError(f"{self.checkout} was not started")
        line = self._child.stdout.readline()
        if not line:
            raise ValueError(f"{self.checkout}: its process ended; see its error above")
        return line


def measure(builds: Sequence[Build], *, rounds: int = ROUNDS, starts: int = STARTS) -> list[Timing]:
    """Start all builds in turn, `starts` times, then time their training in interleaved rounds."""
    try:
        for turn in range(starts):
            for build in builds:
                print(f"first use, {turn + 1} of {starts}: {build.checkout}", file=sys.stderr)
                build.start()
        candidates = [
            Candidate(str(build.checkout), str(build.checkout), partial(Build.train, build), SAMPLES, SAMPLES)
            for build in builds
        ]
        return race(candidates, rounds=rounds, seconds=0)
    finally:
        for build in builds:
            build.stop()


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the options, measure and print the table."""
    from rich.console import Console
    from rich.table import Table

    from benchmarks.race import side_by_side

    parser = argparse.ArgumentParser(prog="python -m benchmarks.builds", description=__doc__)
    parser.add_argument(
        "checkouts", nargs="+", type=Path, metavar="FOLDER", help="roots of checkouts; the first is 1.00"
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--starts", type=int, default=STARTS, help="first uses from empty caches")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as work:
        builds = [Build(folder.resolve(), Path(work, str(number))) for number, folder in enumerate(options.checkouts)]
        timings = measure(builds, rounds=options.rounds, starts=options.starts)
    table = Table(title="Training 784-200-40-10 by the original rule, float32")
    for name in ("checkout", "µs a digit, best", "ratio, median of rounds", "first use in s, best (median)"):
        table.add_column(name)
    for build, timing in zip(builds, timings, strict=True):
        first = f"{min(build.first):.1f} ({statistics.median(build.first):.1f})"
        ratio = side_by_side(timing, timings[0])
        table.add_row(str(build.checkout), f"{timing.best * 1e6:.2f}", f"{ratio:.3f}", first)
    Console(width=max(120, Console().width)).print(table)


if __name__ == "__main__":
    main()
