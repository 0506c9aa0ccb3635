"""Load test of the web app: ``python -m benchmarks.web``; concurrent visitors, a kill -9, a database of 200,000 digits.

Everything goes over loopback. Each visitor asks for a prediction every tenth of a second, as the page does during
drawing, and sends the digit after nine predictions. Half-way the server is killed with SIGKILL and restarted; each
visitor retries until there is an answer. Visitors and server share the cores that this process may use.

Prints each promise that is broken, and exits with 1 if there is one.
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
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import numpy as np

from benchmarks import environment
from benchmarks.page import add_page_option, show
from fastnn.datasets import load_dataset
from fastnn.datasets.database import import_dataset
from tests.web.load import Load, visit
from tests.web.servers import BEARER, Server, free_port, servers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fastnn.datasets import Dataset

Row = tuple[str, str]

P95_AT_MOST = 0.05
"""Promised seconds of a prediction, and of a page of the review queue of 100,000 digits, on two cores."""


def load_test(
    start: Callable[..., Server], dataset: Dataset, *, visitors: int, seconds: float, pause: float
) -> tuple[Load, list[str]]:
    """Run the visitors and kill the server half-way; return their measurements and the ids in the database."""
    port = str(free_port())
    options = ("--rate", "0", "--no-access-log", "--port", port)
    server = start(*options)

    async def script(load: Load) -> None:
        await asyncio.sleep(seconds / 2)
        load.down = True
        server.process.kill()
        server.process.wait()
        await asyncio.to_thread(start, *options)
        load.down = False
        await asyncio.sleep(seconds / 2)

    load = visit(server.url, dataset, script, visitors=visitors, pause=pause)
    with closing(sqlite3.connect(server.db.removeprefix("sqlite:///"))) as database:
        ids = [row[0] for row in database.execute("SELECT id FROM fastnn_digits")]
    return load, ids


def rows_of(load: Load, ids: Sequence[str], *, visitors: int, seconds: float, pause: float) -> list[Row]:
    """Return the rows of the table about the visitors."""
    total = len(load.predicted) + len(load.stored)
    rate = f"{total:,} answers, {len(load.predicted) / seconds:,.0f} predictions and {len(load.stored) / seconds:,.0f}"
    return [
        (
            f"{visitors} visitors for {seconds:.0f} s, with a pause of {pause:g} s after each answer",
            f"{rate} stored digits a second",
        ),
        ("a prediction, whole request", _spread(load.predicted)),
        ("a digit stored on disk", _spread(load.stored)),
        ("errors", f"{len(load.faults)}"),
        ("connections broken by the kill; each visitor continued after it", f"{load.broken}"),
        (
            "acknowledged digits; lost; stored twice",
            f"{len(load.acknowledged):,}; {len(load.acknowledged - set(ids))}; {len(ids) - len(set(ids))}",
        ),
    ]


def broken(load: Load, ids: Sequence[str], page: Sequence[float]) -> list[str]:
    """Return the promises that are broken; `page` has the seconds of each page of the review queue."""
    counts = {
        "digits lost": len(load.acknowledged - set(ids)),
        "digits stored twice": len(ids) - len(set(ids)),
        "errors": len(load.faults),
    }
    found = [f"{what}: {count}" for what, count in counts.items() if count]
    for what, seconds in (("predict", load.predicted), ("a page of the queue", page)):
        p95 = float(np.quantile(seconds, 0.95)) if len(seconds) else np.inf
        if not p95 <= P95_AT_MOST:
            found.append(f"{what}: p95 {p95 * 1000:.1f} ms, promised {P95_AT_MOST * 1000:.0f}")
    return found


def large(start: Callable[..., Server], folder: Path, digits: int) -> tuple[list[Row], list[float]]:
    """Return the rows about a server with many digits, half of them waiting for review, and the seconds of a page."""
    url = f"sqlite:///{folder / 'large.db'}"
    import_dataset(load_dataset(f"drawn:{digits}:1"), url)
    import_dataset(load_dataset(f"drawn:{digits}:2"), url, review=True)
    server = start("--rate", "0", "--no-access-log", db=url)
    with httpx.Client(base_url=server.url, timeout=600) as client:
        # The server's background thread is busy until the model has scored all digits.
        while client.get("/api/review?limit=1", headers=BEARER).json()["digits"][0]["opinion"] is None:
            time.sleep(0.1)
        page = [
            _timed(lambda: client.get("/api/review?limit=30", headers=BEARER).raise_for_status()) for _ in range(100)
        ]
        stats = [_timed(lambda: client.get("/api/stats").raise_for_status()) for _ in range(20)]
        memory = _memory(server)
        first = _timed(lambda: _drain(client, "gzip"))
        again = _timed(lambda: _drain(client, "gzip"))
        plain = _timed(lambda: _drain(client, "identity"))
        more = _memory(server) - memory
        size = int(client.head("/dataset.json").headers["content-length"])
    rows = [
        (f"a page of 30 of {digits:,} digits waiting for review, with counts and history", _spread(page)),
        (f"counts and credits of {2 * digits:,} digits", _spread(stats)),
        (
            f"dataset.json of {digits:,} digits, {size / 1e6:.0f} MB gzipped: built and sent; again; uncompressed",
            f"{first:.1f} s; {again:.2f} s; {plain:.1f} s",
        ),
        ("peak memory growth of the server by these downloads", f"{more / 1e6:.0f} MB"),
    ]
    return rows, page


def _drain(client: httpx.Client, coding: str) -> None:
    with client.stream("GET", "/dataset.json", headers={"Accept-Encoding": coding}) as answer:
        for _ in answer.iter_raw():
            pass


def _timed(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def _spread(seconds: Sequence[float]) -> str:
    low, high, most = np.quantile(seconds, (0.5, 0.95, 1.0)) * 1000
    return f"median {low:.1f} ms, p95 {high:.1f} ms, longest {most:.0f} ms"


def _memory(server: Server) -> int:
    """Return the peak memory of a server in bytes; 0 where the system does not provide it."""
    status = Path(f"/proc/{server.process.pid}/status")
    if not status.exists():
        return 0
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def train(folder: Path, epochs: int) -> Path:
    """Train the network to serve; return its run folder."""
    command = ["train", "--data", "drawn", "--recipe", "modern", "--epochs", str(epochs), "--out", str(folder / "run")]
    subprocess.run([sys.executable, "-m", "fastnn", *command], check=True, capture_output=True)
    return folder / "run"


def as_markdown(rows: Sequence[Row]) -> str:
    """Return the table and what it was measured on."""
    machine = environment.machine()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    lines = ["| load test | measured |", "|---|---|", *(f"| {what} | {figure} |" for what, figure in rows), ""]
    lines.append(
        f"Measured {time.strftime('%Y-%m-%d', time.gmtime())} on {cores} core{'' if cores == 1 else 's'} of "
        f"{machine['cpu']}, Python {machine['python']}, visitors and server together; SQLite, preset `modern`."
    )
    return "\n".join(lines)


def measure(*, visitors: int, seconds: float, pause: float, digits: int, epochs: int) -> tuple[list[Row], list[str]]:
    """Train, serve and measure in a temporary folder; return the table and the broken promises."""
    with tempfile.TemporaryDirectory(prefix="fastnn-web-") as name:
        folder = Path(name)
        model = train(folder, epochs)
        with servers(folder, model) as start:
            load, ids = load_test(start, load_dataset("drawn:1000"), visitors=visitors, seconds=seconds, pause=pause)
        for fault in sorted(set(load.faults)):
            print(fault, file=sys.stderr)
        with servers(folder, model) as start:
            rows, page = large(start, folder, digits)
    return rows_of(load, ids, visitors=visitors, seconds=seconds, pause=pause) + rows, broken(load, ids, page)


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the options, measure and write the table; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.web", description="Load test of the web app.")
    parser.add_argument("--visitors", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=30.0, help="duration of the visits, without the restart")
    parser.add_argument("--pause", type=float, default=0.1, help="seconds that a visitor waits after each answer")
    parser.add_argument(
        "--digits", type=int, default=100_000, help="digits accepted, and as many waiting, in the large database"
    )
    parser.add_argument("--epochs", type=int, default=5, help="epochs of the network that is served")
    add_page_option(parser)
    options = vars(parser.parse_args(arguments))
    page = options.pop("page")
    rows, faults = measure(**options)
    show(as_markdown(rows), "web", page)
    for fault in faults:
        print(f"broken: {fault}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    raise SystemExit(main())
