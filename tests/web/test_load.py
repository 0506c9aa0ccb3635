"""Visitors by the dozen, and a server that is killed under their hands."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from tests.web.load import Load, until, visit
from tests.web.servers import free_port

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastnn.datasets import Dataset
    from tests.web.servers import Server


def test_nothing_acknowledged_is_lost_when_the_server_is_killed(serve: Callable[..., Server], drawn: Dataset) -> None:
    options = ("--rate", "0", "--no-access-log", "--port", str(free_port()))
    server = serve(*options)
    before_the_kill: set[str] = set()
    after_the_kill: set[str] = set()

    async def script(load: Load) -> None:
        await until(lambda: len(load.acknowledged) >= 60)
        load.down = True
        server.process.kill()
        server.process.wait()
        before_the_kill.update(load.acknowledged)
        after_the_kill.update(ids(server))
        await asyncio.to_thread(serve, *options)
        load.down = False
        await until(lambda: len(load.acknowledged) >= 120)

    load = visit(server.url, drawn, script, visitors=12, pause=0.005)
    assert load.faults == []
    assert load.broken == 12  # each of them met with the kill
    assert before_the_kill <= after_the_kill
    # What was sent and not acknowledged was sent again; nothing is there twice.
    stored = ids(server)
    assert len(stored) == len(set(stored))
    assert load.acknowledged == set(stored) == load.sent
    assert len(load.predicted) >= 120


def ids(server: Server) -> list[str]:
    """The ids in the server's database, which has to be whole."""
    with closing(sqlite3.connect(server.db.removeprefix("sqlite:///"))) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return [row[0] for row in database.execute("SELECT id FROM fastnn_digits")]
