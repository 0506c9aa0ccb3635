"""The public files are made and sent in constant memory, however many digits there are."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from typing import TYPE_CHECKING

import anyio
import pytest
import sqlalchemy as sa

from fastnn.datasets.database import in_order, open_engine
from fastnn.datasets.schema import digits
from fastnn.web.export import CachedFile, Export
from fastnn.web.store import Store, StoreError
from tests.web.servers import changing

if TYPE_CHECKING:
    from pathlib import Path


def add_accepted(store: Store, first: int, last: int) -> None:
    """Add accepted digits; in SQLite with random pixels, which gzip cannot compress well."""
    pixels = "randomblob(784)" if store.display_url.startswith("sqlite") else "decode(repeat('3c', 784), 'hex')"
    with changing(store.display_url) as connection:
        connection.execute(
            sa.text(f"""
            WITH RECURSIVE numbers(n) AS (SELECT {first} UNION ALL SELECT n + 1 FROM numbers WHERE n < {last - 1})
            INSERT INTO fastnn_digits
                (id, pixels, given, state, label, created, contributor, opinion, doubt, scored_by)
            SELECT CAST(n AS VARCHAR(36)), {pixels}, n % 10, 'accepted', n % 10, 0, '', 0, 0, 'm' FROM numbers
            """)  # noqa: S608 - no outside input
        )
        connection.execute(sa.text("UPDATE fastnn_about SET revision = revision + 1"))


async def decompressed_size(file: CachedFile) -> int:
    size = 0
    async for chunk in file.chunks(decompress=True):
        size += len(chunk)
    return size


def peak(export: Export) -> tuple[int, int]:
    """Return the size of dataset.json, and the peak memory of making and sending it."""
    tracemalloc.start()
    try:
        size = anyio.run(decompressed_size, export.dataset())
        return size, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_ten_times_as_many_digits_need_no_more_memory(store: Store) -> None:
    # A new Export each time: one whose file took more than a second to make sends it again for a while.
    add_accepted(store, 0, 600)
    peak(Export(store))  # warm up: modules and caches are loaded once
    add_accepted(store, 600, 1000)
    small, memory = peak(Export(store))
    add_accepted(store, 1000, 10_000)
    large, more = peak(Export(store))
    assert large > 9 * small > 1_000_000
    assert more < 1.5 * memory


def test_each_page_of_the_digits_is_read_from_an_index(sqlite_url: str) -> None:
    """Otherwise each page of a large database would sort all digits. (PostgreSQL's plans depend on its statistics.)"""
    store = Store(sqlite_url)
    query = in_order(sa.select(digits.c.seq, digits.c.pixels).where(digits.c.state == "accepted"), after=5).limit(500)
    engine = open_engine(sqlite_url, create=False)
    with engine.connect() as connection:
        text = query.compile(connection, compile_kwargs={"literal_binds": True})
        plan = [row[3] for row in connection.execute(sa.text(f"EXPLAIN QUERY PLAN {text}"))]
    assert len(plan) == 1, plan
    assert "fastnn_digits_arrival (state=? AND " in plan[0]
    engine.dispose()
    store.close()


def test_a_running_download_of_an_older_file_is_completed(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'digits.db'}")
    export = Export(store)
    add_accepted(store, 0, 300)
    old = export.dataset()
    beginning = old.read(0, 1000)
    add_accepted(store, 300, 400)
    new = export.dataset()
    assert new.revision > old.revision
    content = bytearray(beginning)
    while part := old.read(len(content)):
        content += part
    assert len(json.loads(gzip.decompress(content))) == 300
    assert export.dataset() is new
    store.close()


def test_a_full_disk_is_a_store_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(f"sqlite:///{tmp_path / 'digits.db'}")
    add_accepted(store, 0, 10)
    monkeypatch.setattr("tempfile.TemporaryFile", lambda: (tmp_path / "read-only").open("xb"))
    (tmp_path / "read-only").touch()
    with pytest.raises(StoreError, match="no room for dataset: File exists"):
        Export(store).dataset()
    store.close()
