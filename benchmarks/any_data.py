"""Training on float rows and on sparse rows, many a call: ``python -m benchmarks.any_data``; about two minutes.

Every implementation must first end with the weights of the reference. Then those of one network are timed in turn, on
one core. Writes the tables "any data" into RESULTS.md.
"""

from __future__ import annotations

from benchmarks import environment

environment.pin()

import argparse  # noqa: E402 -- nothing that could load NumPy may come before pin()
import json  # noqa: E402
import time  # noqa: E402
from dataclasses import dataclass  # noqa: E402
from functools import partial  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import TYPE_CHECKING, Any  # noqa: E402

import numpy as np  # noqa: E402

from benchmarks import rows  # noqa: E402
from benchmarks.implementations import OURS, ROWS, missing  # noqa: E402
from benchmarks.made_data import Text, newsgroups  # noqa: E402
from benchmarks.page import add_page_option, show  # noqa: E402
from benchmarks.problem import RowProblem  # noqa: E402
from benchmarks.race import Candidate, race  # noqa: E402
from benchmarks.report import duration, three_digits  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

RESULTS = Path(__file__).parent / "results" / "any_data.json"

ROUNDS, SECONDS = 7, 0.2
"""Rounds, and seconds for one implementation in each of them."""

TEXTS, HIDDEN = 20_000, 100

LEARNING_RATE = 0.01
"""Of fastnn on text; the best of 0.003, 0.01, 0.03 and 0.1."""


@dataclass(frozen=True)
class TextImplementation:
    """One way to learn text, a row at a time.

    Attributes
    ----------
    key, name : str
    build : callable
        ``build(text)`` returns an object with ``run(n)`` and ``progressive(n)``.
    needs : tuple of str
        Modules that must be installed.
    """

    key: str
    name: str
    build: Callable[[Text], Any]
    needs: tuple[str, ...] = ()


def _ours(text: Text) -> Any:
    from benchmarks.peers.ours import TextRows

    return TextRows(text, HIDDEN, LEARNING_RATE)


def _vowpal(options: str) -> Callable[[Text], Any]:
    def build(text: Text) -> Any:
        from benchmarks.peers.vowpal import Rows

        return Rows(text, options)

    return build


TEXT = (
    TextImplementation(OURS, "fastnn, 100 hidden units", _ours),
    TextImplementation("vw", "Vowpal Wabbit --nn 100 -l 0.1", _vowpal(f"--nn {HIDDEN} -l 0.1"), ("vowpalwabbit",)),
    TextImplementation(
        "vw-sgd",
        "Vowpal Wabbit --nn 100 --sgd -l 0.01 --power_t 0",
        _vowpal(f"--nn {HIDDEN} --sgd -l 0.01 --power_t 0"),
        ("vowpalwabbit",),
    ),
    TextImplementation("vw-linear", "Vowpal Wabbit, linear: no hidden units", _vowpal(""), ("vowpalwabbit",)),
)


def measure_rows(case: rows.Case, *, n_rounds: int, seconds: float) -> list[dict[str, Any]]:
    """Check all implementations on a network, then time those that are right; return their figures."""
    problem, candidates, batches = rows.problem_of(case), [], {}
    for implementation in ROWS:
        if implementation.missing():
            continue
        found = rows.checked(implementation, problem)
        if not found < rows.TOLERANCE:
            raise SystemExit(f"{case.key}: {implementation.name} has wrong weights: {found:.1e}")
        batches[implementation.key], state = implementation.batch, implementation.prepare(problem)
        least = -(-40 // implementation.batch) * implementation.batch
        limit = len(problem.labels) // implementation.batch * implementation.batch
        candidates.append(Candidate(implementation.key, implementation.name, state.run, limit, least))
    measured = race(candidates, rounds=n_rounds, seconds=seconds)
    return [timing.record() | {"batch": batches[timing.key]} for timing in measured]


def check_text(text: Text) -> None:
    """Raise SystemExit unless fastnn's weights equal the reference's after some rows.

    The reference gets only the columns that these rows have, so that its matrix is small.
    """
    n = rows.SAMPLES
    end = text.row_starts[n]
    used, places = np.unique(text.indices[:end], return_inverse=True)
    few = Text(text.values[:end], text.indices[:end], text.row_starts[: n + 1], text.n_columns, text.labels[:n])
    state = _ours(few)
    first, *others = state.weights()
    dense = np.zeros((n, len(used)), np.float32)
    np.add.at(dense, (np.repeat(np.arange(n), np.diff(few.row_starts)), places), few.values)
    before = [first[used], *others]
    problem = RowProblem(dense, few.labels, tuple(before[::2]), tuple(before[1::2]), LEARNING_RATE)
    state.run(n)
    after, *others = state.weights()
    unused = np.setdiff1d(np.arange(text.n_columns), used)
    found = rows.deviation(problem, [after[used], *others])
    if not (found < rows.TOLERANCE and np.array_equal(after[unused], first[unused])):
        raise SystemExit(f"text: fastnn has wrong weights: {found:.1e}")


def measure_text(n: int, *, n_rounds: int, seconds: float) -> list[dict[str, Any]]:
    """Check fastnn, then time all and measure their progressive loss; return their figures."""
    text = newsgroups(n)
    check_text(text)
    chosen = [each for each in TEXT if not missing(each.name, each.needs)]
    figures = {each.key: each.build(text).progressive(n) for each in chosen}
    candidates = [Candidate(each.key, each.name, each.build(text).run, n, 200) for each in chosen]
    measured = race(candidates, rounds=n_rounds, seconds=seconds)
    return [timing.record() | dict(zip(("loss", "right"), figures[timing.key], strict=True)) for timing in measured]


def table_of_rows(groups: dict[str, list[dict[str, Any]]]) -> str:
    """Return a table with a column for each network."""
    cells: dict[tuple[str, int], dict[str, str]] = {}
    for key, entries in groups.items():
        ours = time_of_ours(entries)
        for entry in entries:
            cell = f"{duration(entry['best_us'])} ({three_digits(entry['best_us'] / ours)})"
            cells.setdefault((entry["name"], entry["batch"]), {})[key] = cell
    lines = [line("implementation", "rows a step", *groups), "|---|---:|" + "---:|" * len(groups)]
    for (name, batch), found in cells.items():
        lines.append(line(name, str(batch), *(found.get(key, "") for key in groups)))
    about = "; ".join(f"{case.key}: {case.n:,} {case.about}" for case in rows.CASES if case.key in groups)
    return "\n".join([*lines, "", f"Best time for a row, in brackets relative to fastnn. {about}."])


def table_of_text(entries: list[dict[str, Any]], n: int) -> str:
    """Return a table with a line for each implementation."""
    ours = time_of_ours(entries)
    lines = [line("text", "best", "relative to fastnn", "progressive loss", "right"), "|---|---:|---:|---:|---:|"]
    for entry in entries:
        speed = duration(entry["best_us"]), three_digits(entry["best_us"] / ours)
        lines.append(line(entry["name"], *speed, f"{entry['loss']:.3f}", f"{entry['right']:.1%}"))
    note = (
        f"{n:,} rows of 80 words in 2^18 columns, two classes. Best time for a row; log loss and share of right "
        "classes, of each row before it is learned, in one pass."
    )
    return "\n".join([*lines, "", note])


def line(*cells: str) -> str:
    """Return a line of a table, bold if it is fastnn's."""
    bold = cells[0].startswith(OURS)
    return "| " + " | ".join(f"**{cell}**" if bold and cell else cell for cell in cells) + " |"


def time_of_ours(entries: list[dict[str, Any]]) -> float:
    """Return the best time of fastnn among these."""
    return next(entry["best_us"] for entry in entries if entry["key"] == OURS)


def as_markdown(results: dict[str, Any]) -> str:
    """Return both tables, and what they were measured with."""
    groups, machine = results["groups"], results["machine"]
    cases = {case.key: groups[case.key] for case in rows.CASES if case.key in groups}
    parts = [table_of_rows(cases)] if cases else []
    if "text" in groups:
        parts.append(table_of_text(groups["text"], results["texts"]))
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    parts.append(f"Measured {results['date']} on one core of {machine['cpu']}, Python {machine['python']}; {versions}.")
    parts += [f"Skipped: {reason}." for reason in results["skipped"]]
    return "\n\n".join(parts)


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the options, measure and write the tables."""
    keys = [*(case.key for case in rows.CASES), "text"]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.any_data", description=__doc__)
    parser.add_argument("--only", help=f"measure only these, the others stay as they are: {','.join(keys)}")
    parser.add_argument("--quick", action="store_true", help="does everything still run? one short round, only printed")
    add_page_option(parser)
    options = parser.parse_args(arguments)
    chosen = options.only.split(",") if options.only else keys
    if unknown := set(chosen) - set(keys):
        parser.error(f"no such rows: {', '.join(sorted(unknown))}; there are {', '.join(keys)}")
    n_rounds, seconds = (1, 0.01) if options.quick else (ROUNDS, SECONDS)
    results = json.loads(RESULTS.read_text()) if RESULTS.is_file() and not options.quick else {"groups": {}}
    measures = {case.key: partial(measure_rows, case) for case in rows.CASES}
    results["texts"] = 1000 if options.quick else TEXTS
    for key in keys:
        if key in chosen:
            measure = measures.get(key) or partial(measure_text, results["texts"])
            results["groups"][key] = measure(n_rounds=n_rounds, seconds=seconds)
            print(f"{key}: measured", flush=True)
    results |= {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "machine": environment.machine(("vowpalwabbit",)),
        "skipped": [
            *(reason for each in ROWS if (reason := each.missing())),
            *(reason for each in TEXT if (reason := missing(each.name, each.needs))),
        ],
    }
    if options.quick:
        print(as_markdown(results))
        return
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    show(as_markdown(results), "any-data", options.page)


if __name__ == "__main__":
    main()
