"""Load test of the web app: ``python -m benchmarks.web``; many visitors, a kill of the server, 200,000 digits.

All requests go over the loopback interface. Each visitor asks for a prediction every tenth of a second, as the page
does while somebody draws, and sends the drawing after nine predictions. Halfway through, the server is killed with
SIGKILL and started again; the visitors repeat their requests until they are answered. Visitors and server share the
cores that this process may use.

If a limit is exceeded, the command says so and exits with 1.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
import uuid
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import numpy as np

from benchmarks import environment
from benchmarks.page import add_page_option, show
from fastnn.datasets import load_dataset
from fastnn.datasets.database import import_dataset
from tests.web.load import LoadTest, run_visitors
from tests.web.servers import BEARER, Server, free_port, servers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fastnn.datasets import Dataset

Row = tuple[str, str]

MAX_P95_SECONDS = 0.05
"""Limit on two cores for the 95th percentile of a prediction, and of one page of a review queue of 100,000 digits."""


def load_test(
    start: Callable[..., Server], dataset: Dataset, *, visitors: int, seconds: float, pause: float
) -> tuple[LoadTest, list[str]]:
    """Run visitors and kill the server halfway through; return the results, and the ids in the database afterwards."""
    port = str(free_port())
    options = ("--rate", "0", "--no-access-log", "--port", port)
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
        ("response time of a prediction", _spread(test.predicted)),
        ("response time of storing a digit on disk", _spread(test.stored)),
        ("errors", f"{len(test.errors)}"),
        ("connections broken by killing the server; every visitor reconnected", f"{test.broken_connections}"),
        (
            "acknowledged digits (lost, stored twice)",
            f"{len(test.acknowledged):,} ({len(test.acknowledged - set(ids))}, {len(ids) - len(set(ids))})",
        ),
    ]


def exceeded_limits(test: LoadTest, ids: Sequence[str], page: Sequence[float]) -> list[str]:
    """Return a message for each limit that was exceeded.

    Parameters
    ----------
    test : LoadTest
    ids : sequence of str
        Ids in the database after the load test.
    page : sequence of float
        Response times of a page of the review queue, in seconds.
    """
    counts = {
        "digits lost": len(test.acknowledged - set(ids)),
        "digits stored twice": len(ids) - len(set(ids)),
        "errors": len(test.errors),
    }
    found = [f"{what}: {count}" for what, count in counts.items() if count]
    for what, seconds in (("prediction", test.predicted), ("page of the queue", page)):
        p95 = float(np.quantile(seconds, 0.95)) if len(seconds) else np.inf
        if not p95 <= MAX_P95_SECONDS:
            found.append(f"{what}: p95 is {p95 * 1000:.1f} ms, the limit is {MAX_P95_SECONDS * 1000:.0f} ms")
    return found


def large_database_rows(start: Callable[..., Server], folder: Path, digits: int) -> tuple[list[Row], list[float]]:
    """Measure a server with many accepted and as many pending digits.

    Returns
    -------
    rows : list of Row
    page : list of float
        Response times of a page of the review queue, in seconds.
    """
    url = f"sqlite:///{folder / 'large.db'}"
    import_dataset(load_dataset(f"drawn:{digits}:1"), url)
    import_dataset(load_dataset(f"drawn:{digits}:2"), url, review=True)
    server = start("--rate", "0", "--no-access-log", db=url)
    with httpx.Client(base_url=server.url, timeout=600) as client:
        # Wait until the rescorer has scored the whole queue.
        while client.get("/api/review?limit=1", headers=BEARER).json()["digits"][0]["predicted_label"] is None:
            time.sleep(0.1)
        page = [
            _timed(lambda: client.get("/api/review?limit=30", headers=BEARER).raise_for_status()) for _ in range(100)
        ]
        sessions = [str(uuid.uuid4()) for _ in range(5)]
        grid = [
            _timed(
                lambda label=k % 10, session=sessions[k % 5]: client.get(
                    f"/api/review?limit=100&label={label}&session={session}", headers=BEARER
                ).raise_for_status()
            )
            for k in range(100)
        ]
        stats = [_timed(lambda: client.get("/api/stats").raise_for_status()) for _ in range(20)]
        before = _peak_memory(server)
        first = _timed(lambda: _drain(client, "gzip"))
        second = _timed(lambda: _drain(client, "gzip"))
        plain = _timed(lambda: _drain(client, "identity"))
        growth = _peak_memory(server) - before
        size = int(client.head("/dataset.json").headers["content-length"])
    rows = [
        (f"a page of 30 out of {digits:,} pending digits, with counts and latest reviews", _spread(page)),
        (f"a grid of 100 of one label out of {digits:,} pending digits, lent to one of 5 reviewers", _spread(grid)),
        (f"counts and credits of {2 * digits:,} digits", _spread(stats)),
        (f"first download of dataset.json, {digits:,} digits, {size / 1e6:.0f} MB gzipped", f"{first:.1f} s"),
        ("second download", f"{second:.2f} s"),
        ("download without gzip", f"{plain:.1f} s"),
        ("peak memory growth of the server during these downloads", f"{growth / 1e6:.0f} MB"),
    ]
    return rows, page


def _drain(client: httpx.Client, coding: str) -> None:
    with client.stream("GET", "/dataset.json", headers={"Accept-Encoding": coding}) as response:
        for _ in response.iter_raw():
            pass


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _spread(seconds: Sequence[float]) -> str:
    median, p95, longest = np.quantile(seconds, (0.5, 0.95, 1.0)) * 1000
    return f"median {median:.1f} ms, p95 {p95:.1f} ms, longest {longest:.0f} ms"


def _peak_memory(server: Server) -> int:
    """Return the peak memory of a server in bytes; 0 where the system does not report it."""
    status = Path(f"/proc/{server.process.pid}/status")
    if not status.exists():
        return 0
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def train(folder: Path, epochs: int) -> Path:
    """Train the network that is served, and return its run folder."""
    command = ["train", "--data", "drawn", "--recipe", "modern", "--epochs", str(epochs), "--out", str(folder / "run")]
    subprocess.run([sys.executable, "-m", "fastnn", *command], check=True, capture_output=True)
    return folder / "run"


def as_markdown(rows: Sequence[Row]) -> str:
    """Return the table, with a line about the machine and the date."""
    machine = environment.machine()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    lines = ["| load test | measured |", "|---|---|", *(f"| {what} | {figure} |" for what, figure in rows), ""]
    lines.append(
        f"Measured {time.strftime('%Y-%m-%d', time.gmtime())} on {cores} core{'' if cores == 1 else 's'} of "
        f"{machine['cpu']}, Python {machine['python']}, shared by visitors and server; SQLite, preset `modern`."
    )
    return "\n".join(lines)


def measure(*, visitors: int, seconds: float, pause: float, digits: int, epochs: int) -> tuple[list[Row], list[str]]:
    """Train, serve and measure in a temporary folder; return the table and the exceeded limits."""
    with tempfile.TemporaryDirectory(prefix="fastnn-web-") as name:
        folder = Path(name)
        model = train(folder, epochs)
        with servers(folder, model) as start:
            test, ids = load_test(start, load_dataset("drawn:1000"), visitors=visitors, seconds=seconds, pause=pause)
        for error in sorted(set(test.errors)):
            print(error, file=sys.stderr)
        with servers(folder, model) as start:
            large_rows, page = large_database_rows(start, folder, digits)
    rows = load_test_rows(test, ids, visitors=visitors, seconds=seconds, pause=pause) + large_rows
    return rows, exceeded_limits(test, ids, page)


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the options, measure, and write or print the table; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.web", description="Load test of the web app.")
    parser.add_argument("--visitors", type=int, default=50, help="number of simulated visitors")
    parser.add_argument("--seconds", type=float, default=30.0, help="duration of the load test, without the restart")
    parser.add_argument("--pause", type=float, default=0.1, help="seconds that a visitor waits after each response")
    parser.add_argument(
        "--digits",
        type=int,
        default=100_000,
        help="accepted digits of the large database, which has as many pending ones",
    )
    parser.add_argument("--epochs", type=int, default=5, help="training epochs of the network that is served")
    add_page_option(parser)
    options = vars(parser.parse_args(arguments))
    page = options.pop("page")
    rows, exceeded = measure(**options)
    show(as_markdown(rows), "web", page)
    for message in exceeded:
        print(f"limit exceeded: {message}", file=sys.stderr)
    return 1 if exceeded else 0


if __name__ == "__main__":
    raise SystemExit(main())
