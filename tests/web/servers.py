"""What the tests of the web app share."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import sqlalchemy as sa

from fastnn.datasets.database import bump_revision, digits
from fastnn.web.store import NewDigit, Opinion
from tests.helpers import PATIENCE, environment, lines_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from fastnn.datasets import Dataset
    from fastnn.web.store import Store

TOKEN = "the-token-of-the-tests"  # noqa: S105
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@dataclass(frozen=True)
class Server:
    """A ``fastnn serve`` in a process of its own."""

    process: subprocess.Popen[str]
    url: str
    db: str
    log: Path


@contextlib.contextmanager
def servers(folder: Path, model: Path) -> Iterator[Callable[..., Server]]:
    """Yield a function that starts ``fastnn serve`` on a free port; what still runs at the end is killed."""
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
            line = lines_until(process, "serving ")[-1]
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


def wait_for(holds: Callable[[], bool], what: str) -> None:
    """Wait until something holds."""
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.02)


def new_id() -> str:
    return str(uuid.uuid4())


def digit(dataset: Dataset, position: int, **changes: Any) -> dict[str, Any]:
    """Return a digit as the API takes it."""
    values = {
        "id": new_id(),
        "image": dataset.images[position].tolist(),
        "label": int(dataset.labels[position]),
    }
    return {**values, **changes}


def new_digit(position: int, *, label: int = 0, doubt: float = 0.5, id: str | None = None) -> NewDigit:  # noqa: A002
    """Return a digit as the store takes it; its pixels are noise that depends on `position` alone."""
    pixels = np.random.default_rng(position).integers(0, 256, 784, dtype=np.uint8).tobytes()
    return NewDigit(id or new_id(), pixels, label, Opinion(label, doubt))


def accept(store: Store, dataset: Dataset) -> None:
    """Have a data set drawn by visitors, digit by digit, and accepted."""
    drawn = [
        NewDigit(new_id(), image.tobytes(), int(label), Opinion(None, 1.0))
        for image, label in zip(dataset.images, dataset.labels, strict=True)
    ]
    for start in range(0, len(drawn), 500):
        store.add(drawn[start : start + 500], "", "")
    with store._writing() as connection:
        new = sa.update(digits).where(digits.c.state == "pending")
        connection.execute(new.values(state="accepted", label=digits.c.given))
        bump_revision(connection)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
