"""One thread, the options of the suite, and the tables at its end."""

from __future__ import annotations

from benchmarks import environment

environment.pin()

import json  # noqa: E402 -- nothing that could load NumPy may come before pin()
import time  # noqa: E402
from dataclasses import dataclass, field  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import TYPE_CHECKING, Any  # noqa: E402

import pytest  # noqa: E402

if TYPE_CHECKING:
    from benchmarks.race import Timing

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "latest.json"


@dataclass(frozen=True)
class Effort:
    """How long to measure: rounds, seconds per candidate and round, and whether it is only a trial."""

    rounds: int
    seconds: float
    quick: bool


@dataclass
class Results:
    """The measurements of a session by group; written as JSON and shown as tables at the end."""

    started: float = field(default_factory=time.time)
    notes: dict[str, Any] = field(default_factory=dict)
    groups: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)

    def add(self, group: str, timings: list[Timing], **extra: Any) -> None:
        """Add timings to a group; `extra` is added to each."""
        self.groups.setdefault(group, []).extend(timing.record() | extra for timing in timings)

    def record(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {
            "date": time.strftime("%Y-%m-%d", time.gmtime(self.started)),
            "machine": environment.machine(),
            **self.notes,
            "skipped": self.skipped,
            "groups": self.groups,
        }


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("fastnn")
    group.addoption(
        "--quick", action="store_true", help="one short round each; no ratio is asserted, no results are written"
    )
    group.addoption("--results", type=Path, default=None, help=f"JSON file to write (default: {RESULTS})")


RESULTS_KEY = pytest.StashKey[Results]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[RESULTS_KEY] = Results()
    # The suite prints its own tables; those of pytest-benchmark are shown with --benchmark-verbose.
    config.option.benchmark_quiet = True


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            # Peers warn of their own deprecations; the suite should not fail because of them.
            item.add_marker(pytest.mark.filterwarnings("ignore"))


@pytest.fixture(scope="session")
def effort(pytestconfig: pytest.Config) -> Effort:
    if pytestconfig.getoption("--quick"):
        return Effort(rounds=1, seconds=0.02, quick=True)
    return Effort(rounds=5, seconds=0.08, quick=False)


@pytest.fixture(scope="session")
def results(pytestconfig: pytest.Config) -> Results:
    return pytestconfig.stash[RESULTS_KEY]


def pytest_terminal_summary(config: pytest.Config) -> None:
    results = config.stash[RESULTS_KEY]
    if not results.groups:
        return
    from rich.console import Console

    from benchmarks.report import tables

    record = results.record()
    console = Console(width=max(140, Console().width))
    for table in tables(record):
        console.print(table)
    path = config.getoption("--results") or (None if config.getoption("--quick") else RESULTS)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record, indent=1) + "\n")
        console.print(f"Written to {path}; `python -m benchmarks.report {path}` puts the tables into RESULTS.md.")
