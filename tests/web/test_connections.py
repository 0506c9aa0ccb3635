"""Connections that send nothing, or half a request, do not stop the server."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import uvicorn

from fastnn.cli.serve import open_socket
from fastnn.web import connections
from fastnn.web.connections import DeadlineProtocol, OutOfHandlesFilter
from tests.helpers import TIMEOUT, environment, wait_for
from tests.web.servers import http

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.web.servers import Server

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize("begun", [b"", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: x\r\n"])
@pytest.mark.parametrize("earlier", [0, 1])
def test_a_head_that_does_not_arrive_closes_the_connection(
    monkeypatch: pytest.MonkeyPatch, begun: bytes, earlier: int
) -> None:
    """Also on a connection that has sent a request before; but not while a request is being answered."""
    monkeypatch.setattr(connections, "HEADER_SECONDS", 0.05)

    async def run() -> tuple[bytes, bytes]:
        closed = asyncio.Event()

        async def app(scope: Any, _: Any, send: Any) -> None:
            if scope["path"] == "/slow":
                await closed.wait()
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
            await send({"type": "http.response.body", "body": b"ok"})

        listening = open_socket("127.0.0.1", 0)
        config = uvicorn.Config(app, http=DeadlineProtocol, lifespan="off", log_config=None, timeout_keep_alive=600)
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        address = listening.getsockname()
        slow_reader, slow_writer = await asyncio.open_connection(*address)
        slow_writer.write(REQUEST.replace(b"/ ", b"/slow "))
        reader, writer = await asyncio.open_connection(*address)
        for _ in range(earlier):
            writer.write(REQUEST)
            await reader.readuntil(b"ok")
        # Without a byte of a second request, uvicorn's own limit applies.
        writer.write(begun or (b"G" if earlier else b""))
        rest = await reader.read()
        closed.set()
        slow = await slow_reader.readuntil(b"ok")
        for one in (writer, slow_writer):
            one.close()
            await one.wait_closed()
        server.should_exit = True
        await serving
        return rest, slow

    rest, slow = asyncio.run(asyncio.wait_for(run(), TIMEOUT))
    assert rest == b""
    assert slow.startswith(b"HTTP/1.1 200")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can limit a running process")
def test_without_file_handles_the_log_stays_short_and_the_server_recovers(serve: Callable[..., Server]) -> None:
    import resource

    server = serve()
    host, port = server.url.removeprefix("http://").split(":")
    http.get(f"{server.url}/api/health")  # it runs, so it has raised its own limit
    handles = len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))
    _, hard = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (handles + 20, hard))
    held = [socket.create_connection((host, int(port)), timeout=TIMEOUT) for _ in range(60)]
    try:
        for connection in held:
            connection.sendall(b"GET / HTTP/1.1\r\n")
        wait_for(lambda: "out of file handles" in server.log.read_text(), "a line about file handles")
    finally:
        for connection in held:
            connection.close()
    assert http.get(f"{server.url}/api/health").status_code == 200
    text = server.log.read_text()
    assert "Traceback" not in text
    (line,) = [json.loads(line) for line in text.splitlines() if "handles" in line]
    assert (line["event"], line["level"], line["reason"]) == ("out of file handles", "error", "Too many open files")


def test_one_line_a_minute_is_logged_about_file_handles() -> None:
    seconds = [0.0]
    found = OutOfHandlesFilter(clock=lambda: seconds[0])

    def passes(error: Exception) -> bool:
        info = (type(error), error, None)
        return bool(found.filter(logging.LogRecord("asyncio", logging.ERROR, __file__, 1, "x", (), info)))

    full = OSError(24, "Too many open files")
    assert [passes(full) for _ in range(5)] == [True, False, False, False, False]
    assert passes(OSError(9, "Bad file descriptor"))
    assert passes(RuntimeError("x"))
    seconds[0] = 59.0
    assert not passes(full)
    seconds[0] = 61.0
    assert [passes(full), passes(full)] == [True, False]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit of open files")
def test_the_limit_of_open_files_is_raised_to_what_the_system_allows() -> None:
    code = """
import resource
from fastnn.web.connections import raise_file_limit
resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
raise_file_limit()
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
print(soft == hard)
"""
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"
