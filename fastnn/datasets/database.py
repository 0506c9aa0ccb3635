"""Digits in a database: the schema that the web app uses, and the accepted digits as a data set."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import time
import uuid
from array import array
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn.datasets.dataset import PIXELS, Dataset
from fastnn.datasets.groups import contributor_groups
from fastnn.datasets.schema import (
    ACCEPTED,
    PENDING,
    about,
    check_version,
    class_names,
    create_or_upgrade,
    digits,
    insert_new,
    metadata,
)
from fastnn.datasets.spool import rows_on_disk
from fastnn.errors import DataError, MissingExtraError, cannot_write
from fastnn.storage import check_access, check_name, user_path

try:
    import sqlalchemy as sa
    from sqlalchemy import event, exc
except ModuleNotFoundError:
    raise MissingExtraError("a database of digits", "web") from None

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy.engine import URL, Connection, Engine

# As for files, data sets of more than 2 GiB are not read into memory.
_MAX_DIGITS = (1 << 31) // PIXELS
_BATCH = 500
_LONGEST_VALUE = 1 << 24
"""Most bytes of a value or of a statement with its values in SQLite."""
# hide_parameters keeps pixels out of error messages.
_POOL: dict[str, Any] = {"pool_size": 8, "max_overflow": 8, "pool_timeout": 10, "hide_parameters": True}
# A server that does not answer, or a lost network, is noticed after about 15 s. With the defaults it can take hours.
_POSTGRES_TIMEOUTS: dict[str, Any] = {
    "connect_timeout": 5,
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 5,
    "keepalives_count": 2,
    "tcp_user_timeout": 15_000,
}
LOCK_SECONDS = 10.0
"""How long a transaction that writes waits for another one."""

# Namespace of the ids of imported digits, UUIDs of version 5. Browsers create UUIDs of version 4. The version is the
# 15th character.
_IMPORTED = uuid.UUID("2f0c5f0e-5b0b-5d7e-9f43-0c1b2a7d8e11")
_VERSION_POSITION, _VERSION_OF_IMPORTED = 15, "5"


def without_password(url: str) -> str:
    """Return a database URL without its password, for messages and logs."""
    try:
        return sa.make_url(url).render_as_string(hide_password=True)
    except (exc.ArgumentError, ValueError):
        return "database URL"


def now() -> int:
    """Return the time in milliseconds since 1970, UTC."""
    return time.time_ns() // 1_000_000


def open_engine(url: str, *, create: bool, classes: Sequence[str] | None = None) -> Engine:
    """Open a database and check its tables, or create or upgrade them.

    SQLite is set to write-ahead logging with a flush at every commit, so that committed data survive a crash of the
    process or the machine; PostgreSQL does so by default. An SQLite file that may not be written to, or is on a
    read-only disk, is opened for reading; see :func:`is_read_only`.

    Parameters
    ----------
    url : str
        ``sqlite:///file.db`` (four slashes for an absolute path) or ``postgresql://user@host/name``.
    create : bool
        Create the SQLite file and the tables if they are missing, and upgrade those of an earlier version. Before that,
        an SQLite file is copied to one beside it, such as ``digits.db.version-1``.
    classes : sequence of str, optional
        With `create`, the classes of a new database; an old one must have the same. By default, a new one is for the
        ten digits, and an old one is taken as it is.

    Returns
    -------
    Engine

    Raises
    ------
    DataError
        If the URL is invalid, there is no such database, its schema has another version, or it has other classes.
    MissingExtraError
        If the driver is not installed.
    """
    parsed = _parse(url)
    shown = without_password(url)
    if parsed.get_backend_name() == "sqlite":
        try:
            _check_file(parsed, shown, create=create)
        except OSError as error:
            raise cannot_write(shown, error, DataError, words="cannot be opened") from None
        with _as_data_error(shown):
            parsed = _readable(parsed, shown)
        engine = sa.create_engine(parsed, connect_args={"timeout": LOCK_SECONDS}, **_POOL)
        event.listen(engine, "connect", _set_pragmas)
        create = create and not is_read_only(engine)
        if create:
            event.listen(engine, "connect", _write_ahead)
        event.listen(engine, "begin", _begin)
    else:
        timeouts = {name: value for name, value in _POSTGRES_TIMEOUTS.items() if name not in parsed.query}
        try:
            engine = sa.create_engine(parsed, connect_args=timeouts, pool_pre_ping=True, **_POOL)
        except ModuleNotFoundError:
            raise MissingExtraError("a PostgreSQL database", "postgres") from None
        event.listen(engine, "connect", _set_lock_timeout)
    try:
        with _as_data_error(shown):
            _prepare(engine, shown, create=create, classes=classes)
    except BaseException:
        engine.dispose()
        raise
    return engine


def _parse(url: str) -> URL:
    try:
        parsed = sa.make_url(url)
        backend, driver = parsed.get_backend_name(), parsed.drivername
    except (exc.ArgumentError, ValueError):
        raise DataError("not a database URL; give sqlite:///FILE or postgresql://USER@HOST/NAME") from None
    if backend == "sqlite" and driver == "sqlite":
        home = parsed.database is not None and parsed.database.startswith("~")
        return parsed.set(database=str(user_path(str(parsed.database)))) if home else parsed
    if driver in ("postgres", "postgresql", "postgresql+psycopg"):
        return parsed.set(drivername="postgresql+psycopg")
    raise DataError(f"{without_password(url)}: unknown kind of database; known are sqlite and postgresql")


def _check_file(url: URL, shown: str, *, create: bool) -> None:
    """Raise a DataError if an SQLite URL does not name a file on disk that can be opened."""
    if not url.database or url.database == ":memory:" or url.database.startswith("file:") or url.query or url.host:
        raise DataError(
            f"{shown}: give the path of a file, as in sqlite:///digits.db (absolute: sqlite:////tmp/digits.db)"
        )
    path = Path(url.database)
    check_name(path)
    if create and not path.parent.is_dir():
        raise DataError(f"{shown}: the folder {path.parent} does not exist; make it first")
    if path.exists() and not path.is_file():
        raise DataError(f"{shown}: not a regular file")
    if not create and not path.is_file():
        raise DataError(f"{shown}: no such database file")
    if create and not path.exists():
        check_access(path.parent)


def _readable(url: URL, shown: str) -> URL:
    """Return the URL of an SQLite file, changed so that it is opened for reading if it may not be written to."""
    path = Path(str(url.database)).absolute()
    if not path.exists() or (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK | os.X_OK)):
        return url
    read_only = sa.URL.create(url.drivername, database=path.as_uri(), query={"mode": "ro", "uri": "true"})
    engine = sa.create_engine(read_only)
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql("SELECT count(*) FROM sqlite_master")
    except exc.OperationalError as error:
        if not getattr(error.orig, "sqlite_errorname", "").startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY")):
            raise
        logs = [name for end in ("-wal", "-journal") if _has_content(Path(name := f"{path}{end}"))]
        if logs:
            raise DataError(
                f"{shown}: is read-only, and {logs[0]} holds changes that are not in it yet; "
                "copy both to a place that can be written to"
            ) from None
        # With write-ahead logging, SQLite makes a file beside a database even to read it, unless it is immutable.
        return read_only.update_query_dict({"immutable": "1"})
    finally:
        engine.dispose()
    return read_only


def _has_content(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def is_read_only(engine: Engine) -> bool:
    """Return whether :func:`open_engine` opened an SQLite file that can only be read."""
    return engine.url.query.get("mode") == "ro"


def _set_pragmas(connection: Any, _: Any) -> None:
    # The driver must not begin transactions; `_begin` does.
    connection.isolation_level = None
    # A damaged file may claim values of any size. No statement of fastnn is longer either.
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST_VALUE)
    cursor = connection.cursor()
    for pragma in ("synchronous=FULL", "foreign_keys=ON", "trusted_schema=OFF", "cell_size_check=ON", "mmap_size=0"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _write_ahead(connection: Any, _: Any) -> None:
    # Not when a database is opened for reading, since this changes the file.
    connection.execute("PRAGMA journal_mode=WAL").close()


def _set_lock_timeout(connection: Any, _: Any) -> None:
    # The connection parameter `options` could do this, but poolers such as PgBouncer refuse it.
    connection.autocommit = True
    connection.execute(f"SET lock_timeout = {int(LOCK_SECONDS * 1000)}").close()
    connection.autocommit = False


def _begin(connection: Connection) -> None:
    # A transaction that begins as a reader and then writes does not wait for other writers: it fails at once if another
    # process wrote in between.
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextlib.contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """Open a transaction that writes; its changes are on disk once the context has ended without an error."""
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        yield connection


def _prepare(engine: Engine, shown: str, *, create: bool, classes: Sequence[str] | None) -> None:
    """Create or upgrade the tables, or check that they exist and have a version that this program reads."""
    if not create and not sa.inspect(engine).has_table(about.name):
        raise DataError(f"{shown}: holds no digits of fastnn; fill it with fastnn serve or fastnn data import")
    if engine.dialect.name == "sqlite":
        _check_schema(engine, shown)
    if create:
        with writing(engine) as connection:
            create_or_upgrade(connection, shown, classes)
    else:
        with engine.connect() as connection:
            check_version(connection, shown)


def _check_schema(engine: Engine, shown: str) -> None:
    """Raise a DataError if a table of an SQLite file is computed, by a view for example: it could be endless."""
    odd = "SELECT count(*) FROM sqlite_schema WHERE lower(name) = ? AND (type != 'table' OR coalesce(rootpage, 0) = 0)"
    computed = "SELECT count(*) FROM pragma_table_xinfo(?) WHERE hidden"
    with engine.connect() as connection:
        for table in metadata.tables:
            if any(connection.exec_driver_sql(query, (table,)).scalar() for query in (odd, computed)):
                raise DataError(f"{shown}: not a database of fastnn; {table} is computed and not stored")


def bump_revision(connection: Connection) -> None:
    """Increase the revision, which says that the accepted digits have changed."""
    connection.execute(sa.update(about).values(revision=about.c.revision + 1))


@contextlib.contextmanager
def _as_data_error(shown: str) -> Iterator[None]:
    """Raise a DataError in place of an error of SQLAlchemy."""
    try:
        yield
    # Text in a damaged file can be anything: sqlite3 and SQLAlchemy then raise built-in exceptions.
    except (exc.SQLAlchemyError, sqlite3.Error, ValueError, TypeError, ArithmeticError, RecursionError) as error:
        cause = getattr(error, "orig", None) or error
        text = " ".join(str(cause).split())[:300]
        failed = DataError(f"{shown}: the database cannot be used ({text})")
        if getattr(cause, "sqlite_errorname", "") == "SQLITE_FULL":
            failed = DataError(f"{failed}; free some space, and try again")
            failed.exit_code = 1
        raise failed from None


def read_database(url: str, spool: Path | None = None, *, with_groups: bool = False) -> Dataset:
    """Read the accepted digits of a database, with their reviewed labels, in order of arrival.

    Parameters
    ----------
    url : str
        See :func:`open_engine`.
    spool : Path, optional
        A temporary folder for the images, of which any number is then read.
    with_groups : bool
        Whether the digits of one contributor become a group.

    Returns
    -------
    Dataset

    Raises
    ------
    DataError
        If there is no such database, it has no accepted digits, or they are damaged.
    MissingExtraError
        If the driver is not installed.
    """
    shown = without_password(url)
    engine = open_engine(url, create=False)
    try:
        with _as_data_error(shown), engine.connect() as connection:
            return accepted_dataset(connection, shown, spool, with_groups=with_groups)
    finally:
        engine.dispose()


def accepted_dataset(
    connection: Connection, source: str, spool: Path | None = None, *, with_groups: bool = False
) -> Dataset:
    """Return the accepted digits as a data set; see :func:`read_database`."""
    accepted = digits.c.state == ACCEPTED
    n = connection.execute(sa.select(sa.func.count()).select_from(digits).where(accepted)).scalar_one()
    if n == 0:
        raise DataError(f"{source}: holds no accepted digits yet; review some, or import a data set")
    if n > _MAX_DIGITS and spool is None:
        raise DataError(f"{source}: {n:,} digits are too many; at most {_MAX_DIGITS:,} can be read")
    names = class_names(connection)
    _check_rows(connection, source, len(names))
    labels, contributors = array("q"), list[str]()

    def images_of_rows() -> Iterator[bytes]:
        for image, label, *others in _accepted(connection, *([digits.c.contributor] if with_groups else [])):
            labels.append(label)
            contributors.extend(map(str, others))
            yield image

    images: Any = None
    if spool is not None:
        rows = (np.frombuffer(image, np.uint8)[None] for image in images_of_rows())
        images = rows_on_disk(spool, rows, np.dtype(np.uint8), PIXELS)
    else:
        pixels = bytearray()
        for image in images_of_rows():
            pixels += image
        images = np.frombuffer(pixels, np.uint8).reshape(-1, PIXELS)
    # In PostgreSQL digits may be accepted between the two queries.
    if not labels or (connection.dialect.name == "sqlite" and len(labels) != n):
        raise DataError(
            f"{source}: the file is damaged, its index has {n:,} accepted digits and its table {len(labels):,}"
        )
    groups, notes = contributor_groups(contributors, source) if with_groups else (None, ())
    return Dataset(images, np.array(labels, np.int64), names, source, notes=notes, groups=groups)


def _check_rows(connection: Connection, source: str, n_classes: int) -> None:
    """Raise a DataError if a row is damaged, before rows of any size are read into memory."""
    bad = sa.or_(
        sa.func.length(digits.c.pixels) != PIXELS,
        digits.c.label.is_(None),
        digits.c.label < 0,
        digits.c.label >= n_classes,
        *(
            # SQLite stores values of any type in any column.
            (sa.func.typeof(digits.c.pixels) != "blob", sa.func.typeof(digits.c.label) != "integer")
            if connection.dialect.name == "sqlite"
            else ()
        ),
    )
    seq = connection.execute(sa.select(sa.func.min(digits.c.seq)).where(digits.c.state == ACCEPTED, bad)).scalar()
    if seq is not None:
        raise DataError(
            f"{source}: digit {seq} is damaged: not {PIXELS} bytes of pixels with a label from 0 to {n_classes - 1}"
        )


def is_imported() -> sa.ColumnElement[bool]:
    """Return the condition that a digit was stored by :func:`import_dataset`, known by the version of its UUID."""
    return sa.func.substr(digits.c.id, _VERSION_POSITION, 1) == _VERSION_OF_IMPORTED


def in_order(query: sa.Select[Any], after: int) -> sa.Select[Any]:
    """Return a query for digits in order of arrival, restricted to those with `seq` above `after`."""
    return query.where(digits.c.seq > after).order_by(digits.c.seq)


def accepted_rows(connection: Connection) -> Iterator[tuple[bytes, int]]:
    """Yield pixels and label of the accepted digits in order of arrival, with a few hundred in memory at a time."""
    yield from _accepted(connection)


def _accepted(connection: Connection, *others: sa.Column[Any]) -> Iterator[tuple[Any, ...]]:
    """Yield pixels, label and other columns of the accepted digits, as :func:`accepted_rows` does."""
    last = -1
    columns = sa.select(digits.c.seq, digits.c.pixels, digits.c.label, *others)
    while True:
        page = in_order(columns.where(digits.c.state == ACCEPTED), after=last).limit(_BATCH)
        rows = connection.execute(page).all()
        for seq, pixels, *rest in rows:
            last = seq
            yield pixels_of(pixels), *rest
        if len(rows) < _BATCH:
            return


def pixels_of(value: object) -> bytes:
    """Return the pixels of a digit as a database returned them.

    Raises
    ------
    ValueError
        If the database is damaged and holds something else.
    """
    if not isinstance(value, bytes | memoryview) or len(value) != PIXELS:
        raise ValueError(f"a digit is damaged: its pixels are not {PIXELS} bytes")
    return bytes(value)


def import_dataset(dataset: Dataset, url: str, *, contributor: str = "", review: bool = False) -> tuple[int, int]:
    """Store the digits of a data set that a database does not have yet, all of them or none.

    A digit is known if the database has one with the same pixels whose given or reviewed label is the same, accepted or
    not. It may come from an earlier import, from another version of the file, or from the web app that exported it. A
    digit that occurs several times in the data set is stored as often.

    Parameters
    ----------
    dataset : Dataset
        Its classes must be among those of the database; its test set is left out.
    url : str
        See :func:`open_engine`; created if it does not exist.
    contributor : str, optional
        Who gets the credit.
    review : bool
        Put the digits into the review queue instead of accepting them.

    Returns
    -------
    stored, known : int
        Number of digits stored now, and of those that were known.

    Raises
    ------
    DataError
        If the data set has other classes, or the database cannot be used.
    """
    shown = without_password(url)
    engine = open_engine(url, create=True)
    stored = 0
    try:
        if is_read_only(engine):
            raise DataError(
                f"{shown}: is read-only; copy it to a place that can be written to, or change its permissions"
            )
        with _as_data_error(shown):
            # Read before the transaction that writes, which makes the web app's writers wait.
            with engine.connect() as connection:
                dataset = _with_classes(dataset, class_names(connection), shown)
                new = _missing(connection, dataset)
            with writing(engine) as connection:
                for start in range(0, len(new), _BATCH):
                    rows = _rows(dataset, new[start : start + _BATCH], contributor, review=review)
                    stored += insert_new(connection, digits, rows, digits.c.id)
                if stored and not review:
                    bump_revision(connection)
                if stored and connection.dialect.name == "postgresql":
                    # Until the server gathers statistics by itself, a minute later, it sorts all pending digits of a
                    # label for each page of the review queue: 40 ms instead of 3 ms with 100,000 of them.
                    connection.execute(sa.text(f"ANALYZE {digits.name}"))
    finally:
        engine.dispose()
    return stored, len(dataset) - stored


def _with_classes(dataset: Dataset, names: tuple[str, ...], shown: str) -> Dataset:
    """Return a data set whose labels are those of the database, which may have more classes."""
    if dataset.classes == names:
        return dataset
    if not set(dataset.classes) <= set(names):
        raise DataError(
            f"{dataset.source}: its classes are {', '.join(dataset.classes[:20])}; {shown} holds only "
            f"{', '.join(names[:20])}{' ...' if len(names) > 20 else ''} (fastnn serve --classes makes a database of "
            "other classes)"
        )
    position = np.array([names.index(name) for name in dataset.classes])
    return Dataset(dataset.images, position[dataset.labels], names, dataset.source)


def _missing(connection: Connection, dataset: Dataset) -> list[tuple[int, str]]:
    """Return positions in the data set and new ids of the digits that are not in the database yet."""
    names = [_name(image.tobytes(), label) for image, label in zip(dataset.images, dataset.labels, strict=True)]
    stored = dict.fromkeys(names, 0)
    # The condition keeps rows of any size, in a damaged database, out of memory.
    columns = sa.select(digits.c.pixels, digits.c.given, digits.c.label)
    columns = columns.where(sa.func.length(digits.c.pixels) == PIXELS)
    for pixels, given, label in connection.execute(columns.execution_options(yield_per=_BATCH)):
        for one in {given, label} if isinstance(pixels, bytes) else ():
            name = _name(pixels, one)
            if name in stored:
                stored[name] += 1
    missing, seen = [], dict.fromkeys(names, 0)
    for position, name in enumerate(names):
        if seen[name] >= stored[name]:
            # The id depends on the content alone, so that two simultaneous imports do not store the digit twice.
            missing.append((position, str(uuid.uuid5(_IMPORTED, f"{name}:{seen[name]}"))))
        seen[name] += 1
    return missing


def _name(pixels: bytes, label: int | None) -> str:
    return f"{hashlib.sha256(pixels).hexdigest()}:{label}"


def _rows(dataset: Dataset, new: Sequence[tuple[int, str]], contributor: str, *, review: bool) -> list[dict[str, Any]]:
    time_of_import = now()
    return [
        {
            "id": name,
            "pixels": dataset.images[position].tobytes(),
            "given": int(dataset.labels[position]),
            "label": None if review else int(dataset.labels[position]),
            "state": PENDING if review else ACCEPTED,
            "created": time_of_import,
            "contributor": contributor,
            "opinion": None,
            "doubt": 1.0,
            "scored_by": "",
        }
        for position, name in new
    ]
