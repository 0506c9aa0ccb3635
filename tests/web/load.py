"""Many visitors at once: they have drawings recognised, send digits, and stand it that the server is killed."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.web.servers import digit

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fastnn.datasets import Dataset

PREDICTIONS = 9
"""A visitor's drawing is looked at so many times before it is sent."""


@dataclass
class Load:
    """What the visitors met with.

    Attributes
    ----------
    predicted, stored : list of float
        Seconds of each answer, from the question's first byte to the answer's last.
    sent, acknowledged : set of str
        Ids of digits: sent at least once, and those of which the server said that they are stored.
    broken : int
        Connections that broke.
    faults : list of str
        Answers that were no success, and connections that broke while the server was up.
    down : bool
        Set while the server is being killed and started again.
    over : bool
        Set to send the visitors home.
    """

    predicted: list[float] = field(default_factory=list)
    stored: list[float] = field(default_factory=list)
    sent: set[str] = field(default_factory=set)
    acknowledged: set[str] = field(default_factory=set)
    broken: int = 0
    faults: list[str] = field(default_factory=list)
    down: bool = False
    over: bool = False


class Connection:
    """A connection that is kept open; httpx would take more of the processor than the server does."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, path: str, body: bytes) -> tuple[int, float]:
        """Return the status of the answer and the seconds until it was whole."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, self._port)
        reader, writer = self._streams
        lines = (f"POST {path} HTTP/1.1", "Host: x", "Content-Type: application/json", f"Content-Length: {len(body)}")
        start = time.perf_counter()
        writer.write("\r\n".join((*lines, "", "")).encode() + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in answer.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(int(length.partition(b":")[2]))
        return int(answer.split(b" ", 2)[1]), time.perf_counter() - start

    def close(self) -> bool:
        """Close it; it opens again by itself. Returns whether it was open."""
        if self._streams is None:
            return False
        self._streams[1].close()
        self._streams = None
        return True


def visit(
    url: str, dataset: Dataset, script: Callable[[Load], Awaitable[None]], *, visitors: int, pause: float
) -> Load:
    """Let visitors come until a script sends them home.

    Parameters
    ----------
    url : str
        ``http://HOST:PORT``.
    dataset : Dataset
        What they draw.
    script : coroutine function
        Is given the load, and returns when it is over.
    visitors : int
    pause : float
        Seconds that a visitor waits after each answer.

    Returns
    -------
    Load
    """
    host, port = url.removeprefix("http://").split(":")
    load = Load()

    async def all_of_them() -> None:
        coming = [_visitor(Connection(host, int(port)), load, dataset, n, visitors, pause) for n in range(visitors)]
        tasks = [asyncio.create_task(one) for one in coming]
        try:
            await script(load)
        finally:
            load.over = True
            await asyncio.gather(*tasks)

    asyncio.run(all_of_them())
    return load


async def until(holds: Callable[[], bool], seconds: float = 240.0) -> None:
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "the visitors do not get on"
        await asyncio.sleep(0.01)


async def _visitor(connection: Connection, load: Load, dataset: Dataset, first: int, step: int, pause: float) -> None:
    position = first
    # They do not all come in the same moment.
    await asyncio.sleep(pause * first / step)
    while not load.over:
        drawing = digit(dataset, position % len(dataset))
        question = json.dumps({"image": drawing["image"]}).encode()
        for _ in range(PREDICTIONS):
            seconds = await _insist(connection, load, "/api/predict", question, 200)
            if seconds is not None:
                load.predicted.append(seconds)
            await asyncio.sleep(pause)
        load.sent.add(drawing["id"])
        sending = json.dumps({"digits": [drawing], "contributor": f"visitor {first}"}).encode()
        seconds = await _insist(connection, load, "/api/digits", sending, 201)
        if seconds is not None:
            load.stored.append(seconds)
            load.acknowledged.add(drawing["id"])
        await asyncio.sleep(pause)
        position += step
    connection.close()


async def _insist(connection: Connection, load: Load, path: str, body: bytes, expected: int) -> float | None:
    """Ask until there is an answer; return the seconds it took, or None if it was none that was hoped for."""
    while True:
        try:
            status, seconds = await connection.post(path, body)
        except (OSError, EOFError) as error:
            load.broken += connection.close()
            if not load.down:
                load.faults.append(f"{path}: {type(error).__name__}")
            if load.over:
                return None
            await asyncio.sleep(0.05)
            continue
        if status == expected:
            return seconds
        load.faults.append(f"{path}: {status}")
        return None
