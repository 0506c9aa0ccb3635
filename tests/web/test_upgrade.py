"""Databases of schema version 1 are upgraded at once or not at all, and lose nothing."""

from __future__ import annotations

import os
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from fastnn.datasets import load_dataset
from fastnn.errors import DataError
from fastnn.web.store import Store
from tests.helpers import TIMEOUT, file_contents
from tests.web.servers import changing, new_digit
from tests.web.test_store import SCHEMA_1

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TABLES = ("fastnn_digits", "fastnn_reviews", "fastnn_models")


def old_database(url: str) -> None:
    """Make a database of version 1 with two digits and a review."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
            connection.executescript(SCHEMA_1)
        return
    import psycopg

    script = SCHEMA_1.replace("zeroblob(784)", "decode(repeat('00', 784), 'hex')").replace("DOUBLE", "DOUBLE PRECISION")
    script = script.replace("BLOB", "BYTEA")
    for table in ("digits", "reviews"):
        start = script.index(f"TABLE fastnn_{table}")
        script = script[:start] + script[start:].replace("seq INTEGER NOT NULL", "seq BIGSERIAL NOT NULL", 1)
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        connection.execute(script)
        for table in ("digits", "reviews"):
            connection.execute(
                f"SELECT setval('fastnn_{table}_seq_seq', (SELECT max(seq) FROM fastnn_{table}))"  # type: ignore[arg-type]  # noqa: S608
            )


@pytest.fixture
def old(url: str) -> str:
    old_database(url)
    return url


def content(url: str) -> dict[str, list[Any]]:
    """Return the rows of all tables that version 1 has, and the version."""
    engine = sa.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    try:
        with engine.connect() as connection:
            rows = {name: connection.execute(sa.text(f"SELECT * FROM {name} ORDER BY 1")).all() for name in TABLES}  # noqa: S608
            rows["about"] = connection.execute(sa.text("SELECT name, revision, model, trained FROM fastnn_about")).all()
            rows["version"] = [connection.execute(sa.text("SELECT version FROM fastnn_about")).scalar()]
            rows["tables"] = sorted(sa.inspect(connection).get_table_names())
    finally:
        engine.dispose()
    return {name: [tuple(row) if isinstance(row, sa.Row) else row for row in some] for name, some in rows.items()}


def test_an_upgrade_keeps_all_digits_and_reviews(old: str) -> None:
    before = content(old)
    store = Store(old)
    after = content(old)
    assert (before.pop("version"), after.pop("version")) == ([1], [2])
    assert set(after.pop("tables")) - set(before.pop("tables")) == {
        "fastnn_classes",
        "fastnn_leases",
        "fastnn_settings",
        "fastnn_struck_names",
    }
    assert after == before
    (waiting,) = store.desk.queue(10, session="a")
    assert (waiting["label"], waiting["contributor"]) == (4, "Ann")
    assert store.classes == tuple("0123456789")
    assert store.add([new_digit(1)], "", "new") == 1
    store.desk.review(waiting["id"], "accept", None, "Paul")
    assert [row["reviewer"] for row in store.desk.history(9)] == ["Paul", "Rita"]
    store.close()
    assert load_dataset(old).labels.tolist() == [4, 5]


def test_an_upgrade_that_fails_changes_nothing(old: str) -> None:
    before = content(old)

    def fail(_: Any, __: Any, statement: str, *___: Any) -> None:
        if statement.startswith("UPDATE fastnn_about SET version"):
            raise sqlite3.OperationalError("disk I/O error")

    sa.event.listen(sa.engine.Engine, "before_cursor_execute", fail)
    try:
        with pytest.raises(DataError, match=r"the database cannot be used \(disk I/O error\)"):
            Store(old)
    finally:
        sa.event.remove(sa.engine.Engine, "before_cursor_execute", fail)
    assert content(old) == before
    Store(old).close()
    assert content(old)["version"] == [2]


def test_servers_that_start_at_the_same_time_upgrade_once(old: str, tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        stores = list(pool.map(Store, [old] * 4, timeout=TIMEOUT))
    assert {store.database_id for store in stores} == {"6d8d3c0e-0000-4000-8000-000000000000"}
    for store in stores:
        store.close()
    assert len(list(tmp_path.glob("*.version-1*"))) == int(old.startswith("sqlite"))


@pytest.fixture
def old_file(tmp_path: Path) -> Iterator[Path]:
    """A file of version 1, whose last digit is in the write-ahead log only."""
    path = tmp_path / "digits.db"
    old_database(f"sqlite:///{path}")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA wal_autocheckpoint=0")
        connection.execute(
            "INSERT INTO fastnn_digits VALUES (3, 'x', zeroblob(784), 6, 6, 'accepted', 0, 'Cy', 6, 0.5, 'old')"
        )
        connection.commit()
        yield path


def test_a_copy_of_the_old_file_is_kept(old_file: Path, tmp_path: Path) -> None:
    url, copy = f"sqlite:///{old_file}", tmp_path / "digits.db.version-1"
    before = content(url)
    Store(url).close()
    assert content(f"sqlite:///{copy}") == before
    assert load_dataset(f"sqlite:///{copy}").labels.tolist() == [5, 6]
    kept = copy.read_bytes()
    assert sorted(path.name for path in tmp_path.glob("*version*")) == [copy.name]
    # Another upgrade, after somebody went back to an old file, keeps both copies.
    with closing(sqlite3.connect(old_file)) as connection:
        connection.execute("UPDATE fastnn_about SET version = 1, revision = 77")
        connection.commit()
    Store(url).close()
    Store(url).close()
    assert copy.read_bytes() == kept
    assert content(f"sqlite:///{tmp_path / 'digits.db.version-1-2'}")["about"][0][1] == 77
    assert len(list(tmp_path.glob("*version*"))) == 2


def test_reading_an_old_file_does_not_upgrade_it(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'digits.db'}"
    old_database(url)
    before = file_contents(tmp_path)
    assert load_dataset(url).labels.tolist() == [5]
    assert file_contents(tmp_path) == before


def test_an_old_file_that_may_only_be_read_is_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{tmp_path / 'digits.db'}"
    old_database(url)
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK and access(path, mode))
    store = Store(url)
    assert store.read_only
    assert [row["label"] for row in store.desk.queue(9, session="a")] == [4]
    assert store.desk.counts()["pending"] == 1
    store.close()
    assert content(url)["version"] == [1]


def test_a_file_of_a_later_version_is_refused_and_not_changed(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'digits.db'}"
    old_database(url)
    with changing(url) as connection:
        connection.execute(sa.text("UPDATE fastnn_about SET version = 3"))
    before = content(url)
    with pytest.raises(DataError, match="its schema has version 3, this fastnn reads 2"):
        Store(url)
    assert content(url) == before
