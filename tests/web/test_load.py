"""A load test during which the server is killed with SIGKILL and started again."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from tests.web.load import LoadTest, run_visitors, until
from tests.web.servers import free_port

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastnn.datasets import Dataset
    from tests.web.servers import Server


def test_no_acknowledged_digit_is_lost_when_the_server_is_killed(serve: Callable[..., Server], drawn: Dataset) -> None:
    options = ("--rate", "0", "--no-access-log", "--port", str(free_port()))
    server = serve(*options)
    acknowledged: set[str] = set()
    on_disk: set[str] = set()

    async def script(test: LoadTest) -> None:
        await until(lambda: len(test.acknowledged) >= 30)
        test.down = True
        server.process.kill()
        server.process.wait()
        acknowledged.update(test.acknowledged)
        on_disk.update(stored_ids(server))
        await asyncio.to_thread(serve, *options)
        test.down = False
        await until(lambda: len(test.acknowledged) >= 60)

    test = run_visitors(server.url, drawn, script, visitors=12, pause=0.005)
    assert test.errors == []
    assert test.broken_connections == 12  # every visitor lost its connection
    assert acknowledged <= on_disk
    # Digits that were not acknowledged were sent again, and none is stored twice.
    stored = stored_ids(server)
    assert len(stored) == len(set(stored))
    assert test.acknowledged == set(stored) == test.sent
    assert len(test.predicted) >= 60


def stored_ids(server: Server) -> list[str]:
    """Return the ids in the server's database, after checking that the file is intact."""
    with closing(sqlite3.connect(server.db.removeprefix("sqlite:///"))) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return [row[0] for row in database.execute("SELECT id FROM fastnn_digits")]
