"""The server under load: many visitors and a kill, and a database with 100,000 accepted and as many pending digits."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import time
import uuid
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from benchmarks.web_figures import Measured, NotMeasurableError, spread, timed, too_slow
from fastnn.datasets import load_dataset
from fastnn.datasets.database import import_dataset
from tests.web.load import LoadTest, run_visitors
from tests.web.postgres import missing_postgres, new_database, postgres
from tests.web.servers import BEARER, Server, free_port, servers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.page import Row
    from fastnn.datasets import Dataset

MAX_P95_SECONDS = 0.05
"""Limit on two cores for the 95th percentile of a prediction, and of one page of a review queue of 100,000 digits."""

MAX_GRID_SECONDS = 0.1
"""Limit for the 95th percentile of a grid of 100 digits of one label, out of 100,000 pending ones."""

_GRIDS = 100
_GRID_DIGITS = 100
_REVIEWERS = 5

_NO_LIMIT = ("--rate", "0", "--no-access-log")


# ---- visitors, and a kill halfway ----


def visitors(folder: Path, model: Path, *, visitors: int, seconds: float, pause: float) -> Measured:
    """Measure visitors who recognise and send digits while the server is killed and started again."""
    with servers(folder, model) as start:
        test, ids = load_test(start, load_dataset("drawn:1000"), visitors=visitors, seconds=seconds, pause=pause)
    for error in sorted(set(test.errors)):
        print(error, file=sys.stderr)
    rows = load_test_rows(test, ids, visitors=visitors, seconds=seconds, pause=pause)
    return Measured(rows, [*faults(test, ids), *too_slow("prediction", test.predicted, MAX_P95_SECONDS)])


def load_test(
    start: Callable[..., Server], dataset: Dataset, *, visitors: int, seconds: float, pause: float
) -> tuple[LoadTest, list[str]]:
    """Run visitors and kill the server halfway through; return the results, and the ids in the database afterwards."""
    port = str(free_port())
    options = (*_NO_LIMIT, "--port", port)
    server = start(*options)

    async def script(test: LoadTest) -> None:
        await asyncio.sleep(seconds / 2)
        test.down = True
        server.process.kill()
        server.process.wait()
        await asyncio.to_thread(start, *options)
        test.down = False
        await asyncio.sleep(seconds / 2)

    test = run_visitors(server.url, dataset, script, visitors=visitors, pause=pause)
    with closing(sqlite3.connect(server.db.removeprefix("sqlite:///"))) as database:
        ids = [row[0] for row in database.execute("SELECT id FROM fastnn_digits")]
    return test, ids


def load_test_rows(test: LoadTest, ids: Sequence[str], *, visitors: int, seconds: float, pause: float) -> list[Row]:
    """Return the rows of the table for the load test."""
    total = len(test.predicted) + len(test.stored)
    rates = f"{len(test.predicted) / seconds:,.0f} predictions/s, {len(test.stored) / seconds:,.0f} stored digits/s"
    return [
        (
            f"{visitors} visitors for {seconds:.0f} s, {pause:g} s pause after each response",
            f"{total:,} responses: {rates}",
        ),
        ("response time of a prediction", spread(test.predicted)),
        ("response time of storing a digit on disk", spread(test.stored)),
        ("errors", f"{len(test.errors)}"),
        ("connections broken by killing the server; every visitor reconnected", f"{test.broken_connections}"),
        (
            "acknowledged digits (lost, stored twice)",
            f"{len(test.acknowledged):,} ({len(test.acknowledged - set(ids))}, {len(ids) - len(set(ids))})",
        ),
    ]


def faults(test: LoadTest, ids: Sequence[str]) -> list[str]:
    """Return a message for each kind of fault; `ids` are those in the database after the load test."""
    counts = {
        "digits lost": len(test.acknowledged - set(ids)),
        "digits stored twice": len(ids) - len(set(ids)),
        "errors": len(test.errors),
    }
    return [f"{what}: {count}" for what, count in counts.items() if count]


# ---- a large database ----


def database(folder: Path, model: Path, digits: int) -> Measured:
    """Measure a server with many accepted and as many pending digits: its queue, counts and downloads."""
    url = f"sqlite:///{folder / 'large.db'}"
    import_dataset(load_dataset(f"drawn:{digits}:1"), url)
    import_dataset(load_dataset(f"drawn:{digits}:2"), url, review=True)
    with servers(folder, model) as start:
        server = start(*_NO_LIMIT, db=url)
        with httpx.Client(base_url=server.url, timeout=600) as client:
            _wait_until_scored(client)
            page = [
                timed(lambda: client.get("/api/review?limit=30", headers=BEARER).raise_for_status()) for _ in range(100)
            ]
            stats = [timed(lambda: client.get("/api/stats").raise_for_status()) for _ in range(20)]
            before = _peak_memory(server)
            first = timed(lambda: _drain(client, "gzip"))
            second = timed(lambda: _drain(client, "gzip"))
            plain = timed(lambda: _drain(client, "identity"))
            growth = _peak_memory(server) - before
            size = int(client.head("/dataset.json").headers["content-length"])
    rows = [
        (f"a page of 30 out of {digits:,} pending digits, with counts and latest reviews", spread(page)),
        (f"counts and credits of {2 * digits:,} digits", spread(stats)),
        (f"first download of dataset.json, {digits:,} digits, {size / 1e6:.0f} MB gzipped", f"{first:.1f} s"),
        ("second download", f"{second:.2f} s"),
        ("download without gzip", f"{plain:.1f} s"),
        ("peak memory growth of the server during these downloads", f"{growth / 1e6:.0f} MB"),
    ]
    return Measured(rows, too_slow("page of the queue", page, MAX_P95_SECONDS))


def _drain(client: httpx.Client, coding: str) -> None:
    with client.stream("GET", "/dataset.json", headers={"Accept-Encoding": coding}) as response:
        for _ in response.iter_raw():
            pass


def _wait_until_scored(client: httpx.Client) -> None:
    """Wait until the model has scored the whole queue."""
    while client.get("/api/review?limit=1", headers=BEARER).json()["digits"][0]["predicted_label"] is None:
        time.sleep(0.1)


def _peak_memory(server: Server) -> int:
    """Return the peak memory of a server in bytes; 0 where the system does not report it."""
    status = Path(f"/proc/{server.process.pid}/status")
    if not status.exists():
        return 0
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


# ---- the review grid ----


def grid_on_sqlite(folder: Path, model: Path, digits: int) -> Measured:
    """Measure reviewers with grids of one label, on SQLite."""
    return _grid(f"sqlite:///{folder / 'grid.db'}", "SQLite", folder, model, digits)


def grid_on_postgres(folder: Path, model: Path, digits: int) -> Measured:
    """Measure reviewers with grids of one label, on PostgreSQL."""
    reason = missing_postgres()
    if reason is not None:
        raise NotMeasurableError(reason)
    with postgres() as server, new_database(server) as url:
        return _grid(url, "PostgreSQL", folder, model, digits)


def _grid(url: str, name: str, folder: Path, model: Path, digits: int) -> Measured:
    import_dataset(load_dataset(f"drawn:{digits}:2"), url, review=True)
    with (
        servers(folder, model) as start,
        httpx.Client(base_url=start(*_NO_LIMIT, db=url).url, timeout=600, headers=BEARER) as client,
    ):
        _wait_until_scored(client)
        asked, saved, wrong = review_by_grids(client)
    grid = f"a grid of {_GRID_DIGITS} of one label out of {digits:,} pending digits"
    rows = [
        (f"{name}: {grid}, lent to one of {_REVIEWERS} reviewers", spread(asked)),
        (f"{name}: saving the {_GRID_DIGITS} verdicts on a grid", spread(saved)),
    ]
    return Measured(rows, [*wrong, *too_slow(f"{name}: grid", asked, MAX_GRID_SECONDS)])


def review_by_grids(client: httpx.Client) -> tuple[list[float], list[float], list[str]]:
    """Let reviewers take grids in turn and accept all that is on them.

    Returns
    -------
    asked, saved : list of float
        Seconds to get a grid, and to save its verdicts.
    wrong : list of str
        What was wrong with the grids: digits of other labels, digits that were lent twice, verdicts that were refused.
    """
    sessions = [str(uuid.uuid4()) for _ in range(_REVIEWERS)]
    asked, saved, ids = [], [], []
    wrong: set[str] = set()
    # Every reviewer holds a grid while the others ask for theirs.
    held: list[list[str]] = []
    for k in range(_GRIDS):
        label = k // _REVIEWERS % 10
        parameters = {"limit": _GRID_DIGITS, "label": label, "session": sessions[k % _REVIEWERS]}
        start = time.perf_counter()
        response = client.get("/api/review", params=parameters).raise_for_status()
        asked.append(time.perf_counter() - start)
        digits = response.json()["digits"]
        if any(digit["label"] != label for digit in digits):
            wrong.add("grid: digits of another label")
        ids += [digit["id"] for digit in digits]
        held.append([digit["id"] for digit in digits])
        if len(held) == _REVIEWERS and (oldest := held.pop(0)):
            saved.append(_accept(client, oldest, wrong))
    if len(ids) != len(set(ids)):
        wrong.add("grid: a digit was lent twice")
    return asked, saved, sorted(wrong)


def _accept(client: httpx.Client, ids: list[str], wrong: set[str]) -> float:
    """Accept digits in one request; return its seconds."""
    verdicts = [{"id": one, "action": "accept"} for one in ids]
    start = time.perf_counter()
    response = client.post("/api/review", json={"reviews": verdicts, "reviewer": "Rita"}).raise_for_status()
    seconds = time.perf_counter() - start
    if any(result["status"] != 200 for result in response.json()["results"]):
        wrong.add("grid: a verdict was refused")
    return seconds
