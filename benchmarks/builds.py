"""Builds of the package that train by turns, each in a process of its own.

What :mod:`benchmarks.variants` (edits of the source) and :mod:`benchmarks.steps` (earlier commits) have in common. A
build is a folder with a copy of the package and of the benchmarks. It trains the problem of the suite, is first
compared with the reference, and is then timed in rounds beside the others, on one core.
"""

from __future__ import annotations

from benchmarks import environment

environment.pin()

import os  # noqa: E402 -- nothing that could load NumPy may come before pin()
import pickle  # noqa: E402
import shutil  # noqa: E402
import statistics  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
from dataclasses import dataclass, field  # noqa: E402
from functools import partial  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import TYPE_CHECKING  # noqa: E402

import numpy as np  # noqa: E402

from benchmarks import correctness  # noqa: E402
from benchmarks.problem import make_problem  # noqa: E402
from benchmarks.race import Candidate, Timing, race  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.problem import Problem

ROOT = Path(__file__).resolve().parents[1]

INK = "benchmarks.peers.ours:Ink"
"""What trains: a class as those of :mod:`benchmarks.peers`, by module and name."""

SAMPLES = 12_544

DIGITS = "digits"
"""The name of the suite's problem."""

CHILD = f"""
import importlib, pickle, sys, time
import numpy as np
trainer, given, weights = sys.argv[1:]
with open(given, "rb") as file:
    checked, timed = pickle.load(file)
start = time.perf_counter()
module, name = trainer.split(":")
make = getattr(importlib.import_module(module), name)
state = make(checked)
state.run({correctness.SAMPLES})
print(time.perf_counter() - start, flush=True)
np.savez(weights, *state.weights())
states = {{name: make(problem) for name, problem in timed.items()}}
for line in sys.stdin:
    name, samples = line.split()
    states[name].run(int(samples))
    print("done", flush=True)
"""


@dataclass(eq=False)
class Build:
    """A copy of the package, and what was measured of it.

    Attributes
    ----------
    name : str
    folder : Path
        What is imported; its caches are in it.
    trainer : str
        See :data:`INK`.
    first : list of float
        Seconds of each first use from an empty cache: the import of the kernels, with Numba's, and compiling.
    problems : dict of Problem
        What it trains on.
    timings : dict of Timing
        Of each problem.
    """

    name: str
    folder: Path
    trainer: str = INK
    first: list[float] = field(default_factory=list)
    problems: dict[str, Problem] = field(default_factory=lambda: {DIGITS: make_problem()})
    timings: dict[str, Timing] = field(default_factory=dict)
    _child: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start its process with empty caches, and wait for the first use; raise ValueError if it trains otherwise."""
        self.stop()
        caches, given, weights = (self.folder / name for name in ("caches", "problem.pickle", "weights.npz"))
        shutil.rmtree(caches, ignore_errors=True)
        with given.open("wb") as file:
            pickle.dump((correctness.problem(), self.problems), file)
        folders = {"NUMBA_CACHE_DIR": str(caches), "FASTNN_CACHE_DIR": str(caches), "PYTHONPATH": str(self.folder)}
        self._child = subprocess.Popen(
            [sys.executable, "-c", CHILD, self.trainer, given, weights],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            env={**os.environ, **folders},
        )
        self.first.append(float(self._answer()))
        for name in self.problems:
            self.train(name, 8)  # The weights are written by then, and what else there is to compile is compiled.
        with np.load(weights) as arrays:
            deviation = correctness.deviation_from_reference([arrays[name] for name in arrays.files])
        if not deviation < correctness.TOLERANCE["float32"]:
            raise ValueError(f"{self.name}: trained by another rule, {deviation:.2g} from the reference")

    def train(self, name: str, samples: int) -> None:
        """Train on the first digits of a problem."""
        if self._child is None or self._child.stdin is None:
            raise ValueError(f"{self.name} was not started")
        self._child.stdin.write(f"{name} {samples}\n")
        self._child.stdin.flush()
        self._answer()

    def best(self, name: str = DIGITS) -> float:
        """Return the microseconds a digit of a problem in the fastest run."""
        return self.timings[name].best * 1e6

    def stop(self) -> None:
        """End its process."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            self._child = None

    def _answer(self) -> str:
        if self._child is None or self._child.stdout is None:
            raise ValueError(f"{self.name} was not started")
        line = self._child.stdout.readline()
        if not line:
            raise ValueError(f"{self.name} ended, see above")
        return line


def copy_benchmarks(folder: Path) -> None:
    """Copy today's benchmarks into a build's folder."""
    shutil.copytree(ROOT / "benchmarks", folder / "benchmarks", ignore=shutil.ignore_patterns("__pycache__"))


def measure(builds: Sequence[Build], rounds: int, starts: int = 1) -> None:
    """Start all builds by turns, `starts` times; then time them by turns on each of their problems."""
    try:
        for turn in range(starts):
            for build in builds:
                print(f"compiling ({turn + 1} of {starts}): {build.name} ...", file=sys.stderr)
                build.start()
        jobs = [(build, name) for build in builds for name in build.problems]
        candidates = [Candidate(name, build.name, partial(build.train, name), SAMPLES, SAMPLES) for build, name in jobs]
        for (build, name), timing in zip(jobs, race(candidates, rounds=rounds, seconds=0), strict=True):
            build.timings[name] = timing
    finally:
        for build in builds:
            build.stop()


def seconds(build: Build) -> str:
    """Return the first uses of a build: the least, and the median of several."""
    least = f"{min(build.first):.1f}"
    return f"{least} ({statistics.median(build.first):.1f})" if len(build.first) > 1 else least
