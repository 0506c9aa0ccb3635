"""Helpers for the tests of the web app: servers, digits, and waiting."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import sqlalchemy as sa

from fastnn.datasets.database import bump_revision, open_engine, writing
from fastnn.datasets.schema import digits
from fastnn.web.store import UNSCORED, NewDigit, Score
from tests.helpers import TIMEOUT, environment, read_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sqlalchemy.engine import Connection

    from fastnn.datasets import Dataset
    from fastnn.web.store import Store

TOKEN = "the-token-of-the-tests"  # noqa: S105
BEARER = {"Authorization": f"Bearer {TOKEN}"}

# A server may compile its kernels at its first request, for longer than the five seconds that httpx waits. A connection
# that stays open would count among those of the next test.
http = httpx.Client(timeout=TIMEOUT, limits=httpx.Limits(max_keepalive_connections=0))


@dataclass(frozen=True)
class Server:
    """A ``fastnn serve`` that runs in its own process."""

    process: subprocess.Popen[str]
    url: str
    db: str
    log: Path


@contextlib.contextmanager
def servers(folder: Path, model: Path) -> Iterator[Callable[..., Server]]:
    """Yield a function that starts ``fastnn serve`` on a free port; servers still running at the end are killed."""
    started: list[Server] = []

    def start(*options: str, db: str | None = None, **changes: str | None) -> Server:
        url = db or f"sqlite:///{folder / 'digits.db'}"
        log = folder / f"serve-{len(started)}.log"
        command = [sys.executable, "-m", "fastnn", "serve", "--db", url]
        if "--port" not in options:
            command += ["--port", "0"]
        if "--model" not in options:
            command += ["--model", str(model)]
        with log.open("w") as errors:
            process = subprocess.Popen(
                [*command, *options],
                cwd=folder,
                env=environment(**{"FASTNN_TOKEN": TOKEN, **changes}),
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        try:
            line = read_until(process, "serving ")[-1]
        except AssertionError as error:
            raise AssertionError(f"{error}{log.read_text()}") from None
        started.append(Server(process, line.split()[1].rstrip("/"), url, log))
        return started[-1]

    try:
        yield start
    finally:
        for server in started:
            server.process.kill()
            server.process.wait()
            if server.process.stdout is not None:
                server.process.stdout.close()


def new_id() -> str:
    return str(uuid.uuid4())


def digit(dataset: Dataset, position: int, **changes: Any) -> dict[str, Any]:
    """Return a digit of a data set in the API's format."""
    values = {
        "id": new_id(),
        "image": dataset.images[position].tolist(),
        "label": int(dataset.labels[position]),
    }
    return {**values, **changes}


def new_digit(position: int, *, label: int = 0, uncertainty: float = 0.5) -> NewDigit:
    """Return a digit for the store; its pixels are noise that depends on `position` only."""
    pixels = np.random.default_rng(position).integers(0, 256, 784, dtype=np.uint8).tobytes()
    return NewDigit(new_id(), pixels, label, Score(label, uncertainty))


def accept(store: Store, dataset: Dataset) -> None:
    """Store a data set as if visitors had drawn it and reviewers had accepted it."""
    drawn = [
        NewDigit(new_id(), image.tobytes(), int(label), UNSCORED)
        for image, label in zip(dataset.images, dataset.labels, strict=True)
    ]
    for start in range(0, len(drawn), 500):
        store.add(drawn[start : start + 500], "", "")
    with changing(store.display_url) as connection:
        new = sa.update(digits).where(digits.c.state == "pending")
        connection.execute(new.values(state="accepted", label=digits.c.given))
        bump_revision(connection)


@contextlib.contextmanager
def changing(url: str) -> Iterator[Connection]:
    """Open a transaction that writes to a database past the store, as another program would."""
    engine = open_engine(url, create=False)
    try:
        with writing(engine) as connection:
            yield connection
    finally:
        engine.dispose()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
