"""What is shared is made in constant memory, however many digits there are."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from typing import TYPE_CHECKING

import anyio
import pytest
import sqlalchemy as sa

from fastnn.datasets.database import digits, in_order
from fastnn.web.export import Export, Kept
from fastnn.web.store import Store, StoreError

if TYPE_CHECKING:
    from pathlib import Path


def accepted(store: Store, first: int, last: int) -> None:
    """Put in digits, whose pixels are random, so that they do not pack."""
    pixels = "randomblob(784)" if store._engine.dialect.name == "sqlite" else "decode(repeat('3c', 784), 'hex')"
    with store._writing() as connection:
        connection.execute(
            sa.text(f"""
            WITH RECURSIVE numbers(n) AS (SELECT {first} UNION ALL SELECT n + 1 FROM numbers WHERE n < {last - 1})
            INSERT INTO fastnn_digits
                (id, pixels, given, state, label, created, contributor, opinion, doubt, scored_by)
            SELECT CAST(n AS VARCHAR(36)), {pixels}, n % 10, 'accepted', n % 10, 0, '', 0, 0, 'm' FROM numbers
            """)  # noqa: S608 - no value from elsewhere
        )
        connection.execute(sa.text("UPDATE fastnn_about SET revision = revision + 1"))


async def unpacked(kept: Kept) -> int:
    size = 0
    async for chunk in kept.chunks(unpacked=True):
        size += len(chunk)
    return size


def peak(export: Export) -> tuple[int, int]:
    """Return the size of dataset.json, and the most memory that making and sending it took."""
    tracemalloc.start()
    try:
        size = anyio.run(unpacked, export.dataset())
        return size, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_ten_times_the_digits_take_no_more_memory(store: Store) -> None:
    # A new Export each time: one whose file took more than a second to make gives it out again for a while.
    accepted(store, 0, 600)
    peak(Export(store))  # what is loaded only once
    accepted(store, 600, 1000)
    small, memory = peak(Export(store))
    accepted(store, 1000, 10_000)
    large, more = peak(Export(store))
    assert large > 9 * small > 1_000_000
    assert more < 1.5 * memory


def test_each_page_of_the_digits_is_found_by_an_index(sqlite_url: str) -> None:
    """Or the last pages of many would take as long as all of them. (PostgreSQL plans by what it has counted.)"""
    store = Store(sqlite_url)
    query = in_order(sa.select(digits.c.seq, digits.c.pixels).where(digits.c.state == "accepted"), after=5).limit(500)
    with store._reading() as connection:
        text = query.compile(connection, compile_kwargs={"literal_binds": True})
        plan = [row[3] for row in connection.execute(sa.text(f"EXPLAIN QUERY PLAN {text}"))]
    assert len(plan) == 1, plan
    assert "fastnn_digits_arrival (state=? AND " in plan[0]
    store.close()


def test_who_is_being_sent_an_older_file_gets_all_of_it(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'digits.db'}")
    export = Export(store)
    accepted(store, 0, 300)
    old = export.dataset()
    begun = old.read(0, 1000)
    accepted(store, 300, 400)
    new = export.dataset()
    assert new.revision > old.revision
    rest = bytearray(begun)
    while part := old.read(len(rest)):
        rest += part
    assert len(json.loads(gzip.decompress(rest))) == 300
    assert export.dataset() is new
    store.close()


def test_no_room_for_the_file_is_a_failure_of_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(f"sqlite:///{tmp_path / 'digits.db'}")
    accepted(store, 0, 10)
    monkeypatch.setattr("tempfile.TemporaryFile", lambda: (tmp_path / "read-only").open("xb"))
    (tmp_path / "read-only").touch()
    with pytest.raises(StoreError, match="no room for dataset: File exists"):
        Export(store).dataset()
    store.close()
