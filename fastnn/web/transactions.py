"""Transactions of the web app's database, and the errors of all that use it."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import url2pathname

from sqlalchemy import exc

from fastnn.datasets.database import LOCK_SECONDS, is_read_only, open_engine, without_password, writing
from fastnn.datasets.schema import class_names
from fastnn.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy.engine import Connection, Engine


class StoreError(Exception):
    """The database cannot be reached or written to at the moment; what was acknowledged before is safe."""


class ReadOnlyError(StoreError):
    """The database can be read, but not written to."""


class Transactions:
    """An open database whose transactions are thread-safe and raise :class:`StoreError` if it fails.

    Parameters
    ----------
    url, classes : str, sequence of str
        See :func:`fastnn.datasets.database.open_engine`, which also says what is raised here.

    Attributes
    ----------
    classes : tuple of str
        Names of the classes; labels are positions in it.
    display_url : str
        The URL without its password.
    dialect : str
        ``sqlite`` or ``postgresql``.
    read_only : bool
        Whether the database is a file that may not be written to, or is on a read-only disk. What writes then raises
        :class:`ReadOnlyError`.
    """

    def __init__(self, url: str, classes: Sequence[str] | None = None) -> None:
        self.display_url = without_password(url)
        self._engine = open_engine(url, create=True, classes=classes)
        self.read_only = is_read_only(self._engine)
        # The file of an SQLite database, and what tells it from another of the same name.
        self._file = None if self._engine.dialect.name != "sqlite" else _database_file(self._engine)
        self._identity = None if self._file is None else _identity(self._file)
        # SQLite allows one writer at a time, and the others poll for their turn; a lock hands over without delay.
        self._lock = threading.Lock() if self._engine.dialect.name == "sqlite" else None
        self.dialect = self._engine.dialect.name
        try:
            with self.reading() as connection:
                self.classes = class_names(connection)
        except StoreError as error:
            self.close()
            raise DataError(f"{self.display_url}: the database cannot be used ({error})") from None

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def _check_file(self) -> None:
        """Raise a StoreError if the database file was deleted or replaced.

        Connections that are open would go on with the old file, and all that they write would be lost when they close.
        """
        if self._file is not None and _identity(self._file) != self._identity:
            raise StoreError("the database file was deleted or replaced; put it back, or restart the server")

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """Open a connection for reading; errors of the database become a :class:`StoreError`."""
        with _store_errors():
            self._check_file()
            with self._engine.connect() as connection:
                yield connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """Open a transaction that writes; its changes are on disk once the context has ended without an error."""
        if self.read_only:
            raise ReadOnlyError("it is read-only")
        with self._write_lock(), _store_errors():
            self._check_file()
            with writing(self._engine) as connection:
                yield connection
            # What was written meanwhile to a file that is gone must not be acknowledged.
            self._check_file()

    @contextlib.contextmanager
    def _write_lock(self) -> Iterator[None]:
        if self._lock is None:
            yield
            return
        # A request that waits occupies one of the server's few threads.
        if not self._lock.acquire(timeout=LOCK_SECONDS):
            raise StoreError("timed out while waiting for other writers")
        try:
            yield
        finally:
            self._lock.release()


def _database_file(engine: Engine) -> Path:
    """Return the path of an SQLite database, absolute: the process may change its folder."""
    name = str(engine.url.database)
    return Path(url2pathname(urlsplit(name).path) if name.startswith("file:") else name).absolute()


def _identity(path: Path) -> tuple[int, int] | None:
    """Return device and number of a file; None if it is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


@contextlib.contextmanager
def _store_errors() -> Iterator[None]:
    """Turn errors of the database into :class:`StoreError`."""
    try:
        yield
    except (exc.SQLAlchemyError, OSError, ValueError) as error:
        cause = getattr(error, "orig", None) or error
        # Leave the statement and its values out: they contain drawings, and the message goes into the log.
        raise StoreError(f"{type(cause).__name__}: {' '.join(str(cause).split())[:200]}") from None
