"""What the web app stands: visitors at once, a kill in their midst, and a database of 200,000 digits, as a table.

    python -m benchmarks.web --readme README.md

Everything goes over loopback. Each visitor has a drawing looked at every tenth of a second, as the page does while
somebody draws, and sends it after nine looks. Half-way the server is killed with SIGKILL and started again; each
visitor then insists until he is answered. Visitors and server share the cores that this process may use.

Where a promise is broken, it says so and exits with 1.
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
from benchmarks.readme import show
from fastnn.datasets import load_dataset
from fastnn.datasets.database import import_dataset
from tests.web.load import Load, visit
from tests.web.servers import BEARER, Server, free_port, servers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fastnn.datasets import Dataset

Row = tuple[str, str]

P95_AT_MOST = 0.05
"""Seconds of a prediction, and of a page of the queue out of 100,000 digits, as promised for two cores."""


def stand(
    start: Callable[..., Server], dataset: Dataset, *, visitors: int, seconds: float, pause: float
) -> tuple[Load, list[str]]:
    """Let visitors come, kill the server half-way; return what they met with, and the ids in the database after."""
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
    """Return the lines of the table that tell of the visitors."""
    total = len(load.predicted) + len(load.stored)
    rate = f"{total:,} answers, {len(load.predicted) / seconds:,.0f} predictions and {len(load.stored) / seconds:,.0f}"
    return [
        (
            f"{visitors} visitors for {seconds:.0f} s, {pause:g} s of pause after each answer",
            f"{rate} stored digits a second",
        ),
        ("predict, the whole answer", _spread(load.predicted)),
        ("store a digit, on disk", _spread(load.stored)),
        ("errors", f"{len(load.faults)}"),
        ("connections broken by the kill half-way; each visitor went on after it", f"{load.broken}"),
        (
            "acknowledged digits; of these lost, and stored twice",
            f"{len(load.acknowledged):,}; {len(load.acknowledged - set(ids))}, {len(ids) - len(set(ids))}",
        ),
    ]


def broken(load: Load, ids: Sequence[str], page: Sequence[float]) -> list[str]:
    """Return which promises do not hold, of visits and of pages of the queue, in seconds."""
    counts = {
        "digits lost": len(load.acknowledged - set(ids)),
        "digits stored twice": len(ids) - len(set(ids)),
        "errors": len(load.faults),
    }
    found = [f"{what}: {count}" for what, count in counts.items() if count]
    for what, seconds in (("predict", load.predicted), ("a page of the queue", page)):
        p95 = float(np.quantile(seconds, 0.95)) if len(seconds) else np.inf
        if not p95 <= P95_AT_MOST:
            found.append(f"{what}: p95 {p95 * 1000:.1f} ms, promised are {P95_AT_MOST * 1000:.0f}")
    return found


def large(start: Callable[..., Server], folder: Path, digits: int) -> tuple[list[Row], list[float]]:
    """Return the lines that tell of a server with many digits, as many waiting as accepted, and seconds of a page."""
    url = f"sqlite:///{folder / 'large.db'}"
    import_dataset(load_dataset(f"drawn:{digits}:1"), url)
    import_dataset(load_dataset(f"drawn:{digits}:2"), url, review=True)
    server = start("--rate", "0", "--no-access-log", db=url)
    with httpx.Client(base_url=server.url, timeout=600) as client:
        # Until the model has judged them all, its thread is at work.
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
        (f"a page of 30 out of {digits:,} digits that wait for review, with counts and history", _spread(page)),
        (f"counts and credits of {2 * digits:,} digits", _spread(stats)),
        (
            f"dataset.json of {digits:,} digits, {size / 1e6:.0f} MB as gzip: made and sent; sent again; sent unpacked",
            f"{first:.1f} s; {again:.2f} s; {plain:.1f} s",
        ),
        ("the most memory of the server grew by that by", f"{more / 1e6:.0f} MB"),
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
    """The most memory that a server ever had, in bytes; 0 where the system does not tell."""
    status = Path(f"/proc/{server.process.pid}/status")
    if not status.exists():
        return 0
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def train(folder: Path, epochs: int) -> Path:
    """Train the network that is served."""
    command = ["train", "--data", "drawn", "--recipe", "modern", "--epochs", str(epochs), "--out", str(folder / "run")]
    subprocess.run([sys.executable, "-m", "fastnn", *command], check=True, capture_output=True)
    return folder / "run"


def as_markdown(rows: Sequence[Row]) -> str:
    """Return the table, and what it was measured on."""
    machine = environment.machine()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    lines = ["| what | measured |", "|---|---|", *(f"| {what} | {figure} |" for what, figure in rows), ""]
    lines.append(
        f"Measured {time.strftime('%Y-%m-%d', time.gmtime())} on {cores} core{'' if cores == 1 else 's'} of "
        f"{machine['cpu']}, Python {machine['python']}, visitors and server together; SQLite, preset `modern`."
    )
    return "\n".join(lines)


def measure(*, visitors: int, seconds: float, pause: float, digits: int, epochs: int) -> tuple[list[Row], list[str]]:
    """Train, serve and measure, in a folder that is gone afterwards; return the table and the promises broken."""
    with tempfile.TemporaryDirectory(prefix="fastnn-web-") as name:
        folder = Path(name)
        model = train(folder, epochs)
        with servers(folder, model) as start:
            load, ids = stand(start, load_dataset("drawn:1000"), visitors=visitors, seconds=seconds, pause=pause)
        for fault in sorted(set(load.faults)):
            print(fault, file=sys.stderr)
        with servers(folder, model) as start:
            rows, page = large(start, folder, digits)
    return rows_of(load, ids, visitors=visitors, seconds=seconds, pause=pause) + rows, broken(load, ids, page)


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the options, measure and write; return what to exit with."""
    parser = argparse.ArgumentParser(description="What the web app stands.")
    parser.add_argument("--visitors", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=30.0, help="of visits, without the restart")
    parser.add_argument("--pause", type=float, default=0.1, help="seconds that a visitor waits after each answer")
    parser.add_argument("--digits", type=int, default=100_000, help="of the large database")
    parser.add_argument("--epochs", type=int, default=5, help="of the network that is served")
    parser.add_argument("--readme", type=Path, help="file to write the table into; printed without")
    options = vars(parser.parse_args(arguments))
    readme = options.pop("readme")
    rows, faults = measure(**options)
    show(as_markdown(rows), "web", readme)
    for fault in faults:
        print(f"broken: {fault}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    raise SystemExit(main())
