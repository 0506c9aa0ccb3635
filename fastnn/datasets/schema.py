"""The tables of a database of digits, their versions, and the upgrade of older ones.

Only the web app uses leases, reviews and models. They are here too, because ``fastnn data import`` also makes and
upgrades databases, and one of a version must have all its tables: a server may have to serve it read-only.
"""

from __future__ import annotations

import contextlib
import sqlite3
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastnn.datasets.labels import DIGIT_CLASSES, check_classes
from fastnn.errors import DataError, MissingExtraError
from fastnn.storage import flush_folder
from fastnn.temporaries import temporary_beside

try:
    import sqlalchemy as sa
    from sqlalchemy.dialects import postgresql, sqlite
except ModuleNotFoundError:
    raise MissingExtraError("a database of digits", "web") from None

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.engine import Connection

SCHEMA_VERSION = 2
"""Version 2 has leases, classes, settings and the index of the grid; version 1 has none of them, and is still read."""
_READABLE = (1, SCHEMA_VERSION)

PENDING, ACCEPTED, REJECTED = "pending", "accepted", "rejected"

MAX_CLASSES = 1000
"""Most classes of a database: each has a button on the pages."""

# SQLite numbers rows automatically only in a column of the type INTEGER.
_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

metadata = sa.MetaData()

about = sa.Table(
    "fastnn_about",
    metadata,
    sa.Column("one", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("name", sa.String(36), nullable=False, comment="a UUID: tells this database from others"),
    sa.Column("revision", sa.BigInteger, nullable=False, comment="increases whenever the accepted digits change"),
    sa.Column("model", sa.Text, nullable=True, comment="the run whose model was adopted last"),
    sa.Column("trained", sa.BigInteger, nullable=False, comment="number of accepted digits at the last training"),
)

digits = sa.Table(
    "fastnn_digits",
    metadata,
    sa.Column("seq", _BIG, primary_key=True, autoincrement=True, comment="order of arrival"),
    sa.Column("id", sa.String(36), nullable=False, unique=True, comment="the client's UUID"),
    sa.Column("pixels", sa.LargeBinary, nullable=False, comment="784 bytes, 255 = paper"),
    sa.Column("given", sa.SmallInteger, nullable=False, comment="label as given: the position of a class"),
    sa.Column("label", sa.SmallInteger, nullable=True, comment="label as reviewed; only of accepted digits"),
    sa.Column("state", sa.String(8), nullable=False),
    sa.Column("created", sa.BigInteger, nullable=False, comment="ms since 1970, UTC"),
    sa.Column("contributor", sa.Text, nullable=False),
    sa.Column("opinion", sa.SmallInteger, nullable=True, comment="label predicted by the model"),
    sa.Column("doubt", sa.Double, nullable=False, comment="1 - the model's probability of the given label"),
    sa.Column("scored_by", sa.String(16), nullable=False, comment="the model that predicted"),
    sa.Index("fastnn_digits_queue", "state", sa.desc("doubt"), "seq"),
    sa.Index("fastnn_digits_grid", "state", "given", sa.desc("doubt"), "seq"),
    sa.Index("fastnn_digits_accepted", "state", "label"),
    # Without it, every page of digits in order of arrival would need a sort of all digits.
    sa.Index("fastnn_digits_arrival", "state", "seq"),
    sa.Index("fastnn_digits_credits", "state", "contributor"),
)

models = sa.Table(
    "fastnn_models",
    metadata,
    sa.Column("model", sa.String(16), primary_key=True, comment="a model that was used; the value of scored_by"),
    sa.Column("since", sa.BigInteger, nullable=False, comment="the newest digit (seq) when it was first used"),
)

reviews = sa.Table(
    "fastnn_reviews",
    metadata,
    sa.Column("seq", _BIG, primary_key=True, autoincrement=True),
    sa.Column("digit", sa.String(36), nullable=False),
    sa.Column("action", sa.String(8), nullable=False),
    sa.Column("label", sa.SmallInteger, nullable=True),
    sa.Column("reviewer", sa.Text, nullable=False),
    sa.Column("created", sa.BigInteger, nullable=False, comment="ms since 1970, UTC"),
)

classes = sa.Table(
    "fastnn_classes",
    metadata,
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=False, comment="the value of labels"),
    sa.Column("name", sa.Text, nullable=False),
    comment="the classes in their order; empty if they are the ten digits",
)

leases = sa.Table(
    "fastnn_leases",
    metadata,
    sa.Column("digit", sa.BigInteger, primary_key=True, autoincrement=False, comment="seq of a pending digit"),
    sa.Column("session", sa.String(36), nullable=False, comment="the reviewer's page that shows it"),
    sa.Column("until", sa.BigInteger, nullable=False, comment="ms since 1970, UTC; from then on others may get it"),
    sa.Index("fastnn_leases_session", "session"),
)

struck_names = sa.Table(
    "fastnn_struck_names",
    metadata,
    sa.Column("name", sa.Text, primary_key=True, comment="a name that a reviewer has struck, case-folded"),
)

settings = sa.Table(
    "fastnn_settings",
    metadata,
    sa.Column("name", sa.String(40), primary_key=True, comment="of a setting that is not at its default"),
    sa.Column("value", sa.Boolean, nullable=False),
)


def insert_new(connection: Connection, table: sa.Table, rows: Sequence[dict[str, Any]], key: sa.Column[Any]) -> int:
    """Insert the rows whose `key` does not exist in the table yet; return their number."""
    if connection.dialect.name == "sqlite":
        lite = sqlite.insert(table).values(list(rows)).on_conflict_do_nothing(index_elements=[key])
        return len(connection.execute(lite.returning(key)).all())
    full = postgresql.insert(table).values(list(rows)).on_conflict_do_nothing(index_elements=[key])
    return len(connection.execute(full.returning(key)).all())


def insert_missing(connection: Connection, table: sa.Table, rows: list[dict[str, Any]], key: sa.Column[Any]) -> None:
    """Do what :func:`insert_new` does without counting, for which 100 rows take 6 ms less of SQLAlchemy's time."""
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    connection.execute(insert(table).on_conflict_do_nothing(index_elements=[key]), rows)


def check_version(connection: Connection, shown: str) -> None:
    """Raise a DataError if this program cannot read the tables."""
    version = connection.execute(sa.select(about.c.version)).scalar()
    if version not in _READABLE:
        raise _other_version(shown, version)


def _other_version(shown: str, version: object) -> DataError:
    return DataError(
        f"{shown}: its schema has version {repr(version)[:40]}, this fastnn reads {SCHEMA_VERSION}; "
        "use the fastnn that wrote it, or export the digits with that and import them"
    )


def create_or_upgrade(connection: Connection, shown: str, names: Sequence[str] | None) -> None:
    """Make the tables, or bring older ones to the version of this program, in the open transaction.

    Before an SQLite file is changed, a copy of it is kept beside it.

    Parameters
    ----------
    connection : Connection
        In a transaction that writes.
    shown : str
        What messages call the database.
    names : sequence of str or None
        The classes that a new database gets, and that an old one must have; None takes them as they are.

    Raises
    ------
    DataError
        If it has another version that cannot be upgraded, or other classes.
    """
    version = None
    if sa.inspect(connection).has_table(about.name):
        # Of two servers that start at the same time, the second one waits here and finds the new version.
        version = connection.execute(sa.select(about.c.version).with_for_update()).scalar()
    if version not in (None, *_READABLE):
        raise _other_version(shown, version)
    if version is not None and names is not None:
        _check_classes(connection, shown, tuple(names))
    if version == 1 and connection.dialect.name == "sqlite":
        _keep_copy(Path(str(connection.engine.url.database)), version)
    metadata.create_all(connection)
    if version == 1:
        for index in digits.indexes:
            index.create(connection, checkfirst=True)
        connection.execute(sa.update(about).values(version=SCHEMA_VERSION))
    row = {"one": 1, "version": SCHEMA_VERSION, "name": str(uuid.uuid4()), "revision": 0, "trained": 0}
    insert_new(connection, about, [row], about.c.one)
    if names is not None and tuple(names) != class_names(connection):
        connection.execute(sa.delete(classes))
        if tuple(names) != DIGIT_CLASSES:
            connection.execute(sa.insert(classes), [{"position": k, "name": name} for k, name in enumerate(names)])


def _keep_copy(path: Path, version: int) -> None:
    """Copy an SQLite database, with the changes in its write-ahead log, to a file beside it that is new."""
    number = 1
    while (copy := path.with_name(f"{path.name}.version-{version}{f'-{number}' if number > 1 else ''}")).exists():
        number += 1
    with temporary_beside(copy) as unfinished:
        with (
            contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as source,
            contextlib.closing(sqlite3.connect(unfinished)) as target,
        ):
            source.backup(target)
            # One file is easier to keep than a file with a log.
            target.execute("PRAGMA journal_mode=DELETE").close()
        unfinished.replace(copy)
    flush_folder(copy.parent)


def class_names(connection: Connection) -> tuple[str, ...]:
    """Return the classes of a database, whose positions are the labels.

    Raises
    ------
    ValueError
        If the database is damaged.
    """
    if connection.execute(sa.select(about.c.version)).scalar() == 1:
        return DIGIT_CLASSES
    query = sa.select(classes.c.position, classes.c.name).order_by(classes.c.position).limit(MAX_CLASSES + 1)
    rows = connection.execute(query).all()
    if not rows:
        return DIGIT_CLASSES
    names = tuple(name for _, name in rows)
    numbered = [position for position, _ in rows] == list(range(len(rows)))
    # SQLite stores values of any type in any column.
    if not numbered or len(rows) > MAX_CLASSES or not all(isinstance(name, str) for name in names):
        raise ValueError("its classes are damaged")
    try:
        check_classes(names, "its classes")
    except DataError as error:
        raise ValueError(str(error)) from None
    return names


def _check_classes(connection: Connection, shown: str, names: tuple[str, ...]) -> None:
    """Raise a DataError if a database has other classes; one without a digit may get new ones."""
    known = class_names(connection)
    if names != known and connection.execute(sa.select(digits.c.seq).limit(1)).first() is not None:
        listed = ", ".join(known[:20]) + (" ..." if len(known) > 20 else "")
        raise DataError(f"{shown}: has images of the classes {listed}; drop --classes, or name another database")
