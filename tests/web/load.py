"""A load test: many simulated visitors who recognise and send digits, and continue after the server was killed."""

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
"""Predictions that a visitor asks for before a drawing is sent."""


@dataclass
class LoadTest:
    """The state and the results of a load test.

    Attributes
    ----------
    predicted, stored : list of float
        Seconds of each successful response to /api/predict and /api/digits, from the first byte of the request to the
        last byte of the response.
    sent, acknowledged : set of str
        Ids of the digits that were sent at least once, and of those that the server confirmed as stored.
    broken_connections : int
    errors : list of str
        Unexpected statuses, and connections that broke while the server was up.
    down : bool
        Set by the script while it kills and restarts the server.
    finished : bool
        Set to stop the visitors.
    """

    predicted: list[float] = field(default_factory=list)
    stored: list[float] = field(default_factory=list)
    sent: set[str] = field(default_factory=set)
    acknowledged: set[str] = field(default_factory=set)
    broken_connections: int = 0
    errors: list[str] = field(default_factory=list)
    down: bool = False
    finished: bool = False


class Connection:
    """A keep-alive connection. httpx would use more processor time than the server."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, path: str, body: bytes) -> tuple[int, float]:
        """Return the status of the response, and the seconds until it was complete."""
        status, seconds, _ = await self.request("POST", path, body)
        return status, seconds

    async def request(self, method: str, path: str, body: bytes = b"") -> tuple[int, float, bytes]:
        """Return the status of the response, the seconds until it was complete, and its content as it was sent."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, self._port)
        reader, writer = self._streams
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self._host}"]
        if method == "POST":
            lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        start = time.perf_counter()
        writer.write("\r\n".join((*lines, "", "")).encode() + body)
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        content = await reader.readexactly(int(length.partition(b":")[2]))
        return int(head.split(b" ", 2)[1]), time.perf_counter() - start, content

    def close(self) -> bool:
        """Close the connection, and return whether it was open; the next request opens it again."""
        if self._streams is None:
            return False
        self._streams[1].close()
        self._streams = None
        return True


def run_visitors(
    url: str, dataset: Dataset, script: Callable[[LoadTest], Awaitable[None]], *, visitors: int, pause: float
) -> LoadTest:
    """Run visitors against a server until a script returns.

    Parameters
    ----------
    url : str
        ``http://HOST:PORT``.
    dataset : Dataset
        The digits that they send.
    script : coroutine function
        Is called with the load test; the visitors stop when it returns.
    visitors : int
    pause : float
        Seconds that a visitor waits after each response.

    Returns
    -------
    LoadTest
    """
    host, port = url.removeprefix("http://").split(":")
    test = LoadTest()

    async def run() -> None:
        tasks = [
            asyncio.create_task(_visitor(Connection(host, int(port)), test, dataset, n, visitors, pause))
            for n in range(visitors)
        ]
        try:
            await script(test)
        finally:
            test.finished = True
            await asyncio.gather(*tasks)

    asyncio.run(run())
    return test


async def until(holds: Callable[[], bool], seconds: float = 240.0) -> None:
    """Wait until `holds` returns true."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "the visitors make no progress"
        await asyncio.sleep(0.01)


async def _visitor(
    connection: Connection, test: LoadTest, dataset: Dataset, first: int, step: int, pause: float
) -> None:
    position = first
    # Spread the first requests of all visitors over one pause.
    await asyncio.sleep(pause * first / step)
    while not test.finished:
        drawing = digit(dataset, position % len(dataset))
        image = json.dumps({"image": drawing["image"]}).encode()
        for _ in range(PREDICTIONS):
            seconds = await _post_until_answered(connection, test, "/api/predict", image, 200)
            if seconds is not None:
                test.predicted.append(seconds)
            await asyncio.sleep(pause)
        test.sent.add(drawing["id"])
        digits = json.dumps({"digits": [drawing], "contributor": f"visitor {first}"}).encode()
        seconds = await _post_until_answered(connection, test, "/api/digits", digits, 201)
        if seconds is not None:
            test.stored.append(seconds)
            test.acknowledged.add(drawing["id"])
        await asyncio.sleep(pause)
        position += step
    connection.close()


async def _post_until_answered(
    connection: Connection, test: LoadTest, path: str, body: bytes, expected: int
) -> float | None:
    """Repeat a request until there is a response; return its seconds, or None if its status is not `expected`."""
    while True:
        try:
            status, seconds = await connection.post(path, body)
        except (OSError, EOFError) as error:
            test.broken_connections += connection.close()
            if not test.down:
                test.errors.append(f"{path}: {type(error).__name__}")
            if test.finished:
                return None
            await asyncio.sleep(0.05)
            continue
        if status == expected:
            return seconds
        test.errors.append(f"{path}: {status}")
        return None
