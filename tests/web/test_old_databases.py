"""Files that each version of fastnn wrote are read, served and upgraded; see ``write_database.py``."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from fastnn.datasets import load_dataset
from fastnn.datasets.schema import SCHEMA_VERSION
from fastnn.web.store import Store
from tests.helpers import file_contents
from tests.web.servers import new_digit
from tests.web.write_database import CLASSES, FOLDER, write

VERSIONS = sorted(int(path.stem.removeprefix("database-")) for path in FOLDER.glob("database-*.db"))
DIGITS = tuple("0123456789")
IMAGES = "dd412f65eb1c5c617662e78b8e8fb586e46b1698c8dc85d10842ed5143504dfa"
"""SHA-256 of the pixels of the accepted images, which are the same in all files."""


def test_there_is_a_file_of_each_version() -> None:
    assert list(range(1, SCHEMA_VERSION + 1)) == VERSIONS


def rows(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Return what all versions have, from a copy: SQLite may change a file that it reads."""
    with closing(sqlite3.connect(path)) as database:
        tables = ("fastnn_digits", "fastnn_reviews", "fastnn_models")
        found = {table: database.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall() for table in tables}  # noqa: S608
        query = "SELECT name, revision, model, trained FROM fastnn_about"
        return {**found, "about": database.execute(query).fetchall()}


def parts(path: Path) -> set[str]:
    """Return the names of tables and indexes."""
    with closing(sqlite3.connect(path)) as database:
        return {name for (name,) in database.execute("SELECT name FROM sqlite_schema")}


def version_of(path: Path) -> int:
    with closing(sqlite3.connect(path)) as database:
        return int(database.execute("SELECT version FROM fastnn_about").fetchone()[0])


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def path(version: int, tmp_path: Path) -> Path:
    return Path(shutil.copy(FOLDER / f"database-{version}.db", tmp_path / "digits.db"))


def test_the_accepted_images_are_read_and_the_file_stays_as_it_is(path: Path, version: int, tmp_path: Path) -> None:
    before = file_contents(tmp_path)
    dataset = load_dataset(f"sqlite:///{path}")
    assert dataset.classes == (DIGITS if version == 1 else CLASSES)
    assert dataset.labels.tolist()[-2:] == [0, 2]
    assert hashlib.sha256(dataset.images.tobytes()).hexdigest() == IMAGES
    assert file_contents(tmp_path) == before


def test_the_file_is_served_and_upgraded(path: Path, version: int, tmp_path: Path) -> None:
    before = rows(path)
    assert version_of(path) == version
    with closing(Store(f"sqlite:///{path}")) as store:
        assert store.classes == (DIGITS if version == 1 else CLASSES)
        assert store.states() == {"accepted": 5, "pending": 3, "rejected": 1}
        assert store.credits(9) == [{"name": "Ida", "digits": 3}, {"name": "Ann", "digits": 2}]
        assert store.training() == ("runs/web/first", 5)
        assert (store.first_used("model"), store.first_used("another")) == (3, 9)
        actions = [(one["action"], one["label"], one["reviewer"]) for one in store.desk.history(9)]
        assert actions[:3] == [("undo", None, "Paul"), ("accept", 0, "Paul"), ("reject", None, "")]
        assert actions[3:] == [("relabel", 2, "Rita"), ("accept", 0, "Rita")]
        # The most uncertain first; the lease of the file has run out.
        waiting = [one["id"] for one in store.desk.queue(9, session="b")]
        assert [int(name[-2:]) for name in waiting] == [8, 7, 6]
    assert version_of(path) == SCHEMA_VERSION
    assert parts(path) == parts(FOLDER / f"database-{SCHEMA_VERSION}.db")
    after = rows(path)
    after["fastnn_models"] = [row for row in after["fastnn_models"] if row[0] == "model"]
    assert after == before
    copies = list(tmp_path.glob("*.version-*"))
    assert len(copies) == int(version < SCHEMA_VERSION)
    assert [rows(copy) for copy in copies] == [before] * len(copies)
    with closing(Store(f"sqlite:///{path}")) as store:
        assert store.add([new_digit(1)], "", "another") == 1
        store.desk.review(waiting[0], "accept", None, "Uma")
        assert store.states()["accepted"] == 6


def test_the_newest_file_is_what_this_version_writes(tmp_path: Path) -> None:
    def schema(path: Path) -> set[str]:
        with closing(sqlite3.connect(path)) as database:
            return {sql for (sql,) in database.execute("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL")}

    assert schema(write(tmp_path)) == schema(FOLDER / f"database-{SCHEMA_VERSION}.db")
