"""What each step to today's kernels was worth: ``python -m benchmarks.steps``; nine minutes.

Takes the package as it was after each step out of the repository's history, and trains with all of them by turns, so
that the figures are of one machine and of the same minutes. Arguments are numbers of commits, to measure those alone.

Where the time goes is told by what each step saves on less: blank images cost all but the ink, a network without its
second hidden layer all but that.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.builds import DIGITS, ROOT, Build, copy_benchmarks, measure, seconds
from benchmarks.problem import SIZES, make_problem

if TYPE_CHECKING:
    from benchmarks.problem import Problem

FIRST = "benchmarks.peers.numba_dense:FirstWritten"

STEPS = {
    "": "loops as first written (peers/numba_dense.py)",
    "f943d46": "ink, offset c, explicit vectors",
    "95acc6e": "vectors in the small loops too; the next digit's pixels asked for early",
    "4f21c6e": "one memory for everything, kernels hand on one address",
    "650e239": "pairs of digits; transposed upper layers; loops kept rolled",
    "a9d0718": "blocks of four digits, pixels sorted by which of the four ink them",
    "44ff004": "rows four at a time, loops along the columns",
    "419c359": "code for each number of members of a case, not for each case",
    "ea5301b": "inner functions linked into their callers as they are",
    "85b540c": "four rows of weights one vector",
    "43ab221": "nothing compiled twice",
    "3147ca7": "each learning rule a kernel of its own",
    "dfd82eb": "Numba's compiler with less to do",
    "HEAD": "the commit that is checked out",
}
"""Commits, and what was new in them; without one, a peer."""

BLANK, SHALLOW = "blank", "shallow"

ROUNDS = 30
STARTS = 3


def take_out(commit: str, folder: Path) -> None:
    """Write the package as it was at a commit; raise SystemExit where the history is not there."""
    command = ["git", "-C", str(ROOT), "archive", commit, "fastnn"]
    try:
        done = subprocess.run(command, check=True, capture_output=True)
    except FileNotFoundError:
        raise SystemExit("benchmarks.steps needs git") from None
    except subprocess.CalledProcessError as error:
        raise SystemExit(
            f"benchmarks.steps needs the repository with its history: {error.stderr.decode().strip()}"
        ) from None
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")


def problems() -> dict[str, Problem]:
    """Return the suite's problem, with blank images, and without the second hidden layer."""
    digits = make_problem()
    blank = replace(digits, images=np.full_like(digits.images, 255))
    shallow = make_problem(SIZES[:2] + SIZES[3:])
    return {DIGITS: digits, BLANK: blank, SHALLOW: shallow}


def main(commits: list[str]) -> int:
    """Measure all steps by turns, or those of `commits`; print the table."""
    from rich.console import Console
    from rich.table import Table

    steps = {commit: STEPS.get(commit, "") for commit in commits} or STEPS
    builds, given = [], problems()
    with tempfile.TemporaryDirectory() as work:
        for number, (commit, name) in enumerate(steps.items()):
            folder = Path(work) / str(number)
            copy_benchmarks(folder)
            take_out(commit or "HEAD", folder)
            build = Build(f"{commit} {name}", folder)
            if commit:
                build.problems = given
            else:
                build.trainer = FIRST
            builds.append(build)
        measure(builds, ROUNDS, STARTS)
    table = Table("commit", "step", "µs a digit", "ink", "second layer", "rest", "s from empty caches, least (median)")
    for (commit, name), build in zip(steps.items(), builds, strict=True):
        whole = build.best()
        parts = [whole - build.best(other) for other in (BLANK, SHALLOW) if other in build.problems]
        parts += [whole - sum(parts)] if parts else []
        columns = [f"{part:.2f}" for part in (whole, *parts)] + [""] * (3 - len(parts))
        table.add_row(commit, name, *columns, seconds(build))
    Console(width=max(120, Console().width)).print(table)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
