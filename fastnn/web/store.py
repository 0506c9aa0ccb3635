"""The database of the web app: stored digits, the review queue and counts."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import sqlalchemy as sa
from sqlalchemy import exc

from fastnn.datasets.database import (
    ACCEPTED,
    LOCK_SECONDS,
    PENDING,
    REJECTED,
    about,
    accepted_dataset,
    accepted_rows,
    bump_revision,
    digits,
    in_order,
    insert_new,
    is_imported,
    is_read_only,
    models,
    now,
    open_engine,
    pixels_of,
    reviews,
    without_password,
    writing,
)
from fastnn.datasets.dataset import PIXELS, Dataset
from fastnn.datasets.labels import DIGIT_CLASSES
from fastnn.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from sqlalchemy.engine import Connection

Action = Literal["accept", "reject", "relabel", "undo"]

MAX_PENDING = 200_000
"""Most digits in the review queue; further ones are refused, so that nobody can fill the disk."""

_BATCH = 500


class StoreError(Exception):
    """The database cannot be reached or written to at the moment; what was acknowledged before is safe."""


class ReadOnlyError(StoreError):
    """The database can be read, but not written to."""


class QueueFullError(Exception):
    """The review queue is full."""


class UnknownDigitError(Exception):
    """No digit has this id."""


class AlreadyReviewedError(Exception):
    """Somebody else has reviewed the digit with another result."""


@dataclass(frozen=True)
class Score:
    """What a model says about a digit.

    The database columns are called ``opinion`` and ``doubt``: existing databases have these names.

    Attributes
    ----------
    predicted_label : int or None
        Class with the highest probability; None if the model's classes are not digits, or if there is no model.
    uncertainty : float
        1 - the model's probability of the label that the digit was given; 1 if there is no model.
    """

    predicted_label: int | None
    uncertainty: float


UNSCORED = Score(None, 1.0)
"""The score of a digit that no model has seen."""


@dataclass(frozen=True)
class NewDigit:
    """A digit that a visitor has drawn.

    Attributes
    ----------
    id : str
        A UUID in its usual form of 36 characters.
    pixels : bytes
        784 bytes, 255 = white paper.
    label : int
        0 to 9, the digit that the visitor was asked for.
    score : Score
    """

    id: str
    pixels: bytes
    label: int
    score: Score


class Store:
    """A database of digits, open while the server runs.

    Digits have an id, which the client makes, and a number, which counts them in order of arrival. Every method is
    thread-safe and raises :class:`StoreError` if the database fails. When a method that writes returns, its changes are
    on disk.

    Parameters
    ----------
    url : str
        See :func:`fastnn.datasets.database.open_engine`, which also says what is raised here.

    Attributes
    ----------
    display_url : str
        The URL without its password.
    database_id : str
        A UUID that tells this database from others.
    read_only : bool
        Whether the database is a file that may not be written to, or is on a read-only disk. Methods that write then
        raise :class:`ReadOnlyError`.
    """

    def __init__(self, url: str) -> None:
        self.display_url = without_password(url)
        self._engine = open_engine(url, create=True)
        self.read_only = is_read_only(self._engine)
        # SQLite allows one writer at a time, and the others poll for their turn; a lock hands over without delay.
        self._lock = threading.Lock() if self._engine.dialect.name == "sqlite" else None
        try:
            with self._reading() as connection:
                self.database_id = str(connection.execute(sa.select(about.c.name)).scalar_one())
            # A damaged database is refused before a server starts.
            self.revision()
            self.training()
        except StoreError as error:
            self.close()
            raise DataError(f"{self.display_url}: the database cannot be used ({error})") from None

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    @contextlib.contextmanager
    def _reading(self) -> Iterator[Connection]:
        with _store_errors(), self._engine.connect() as connection:
            yield connection

    @contextlib.contextmanager
    def _writing(self) -> Iterator[Connection]:
        if self.read_only:
            raise ReadOnlyError("it is read-only")
        with self._write_lock(), _store_errors(), writing(self._engine) as connection:
            yield connection

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

    def check(self) -> None:
        """Run one small query, to see whether the database answers."""
        with self._reading() as connection:
            connection.execute(sa.select(about.c.version)).scalar_one()

    def revision(self) -> int:
        """Return a number that increases whenever the accepted digits change."""
        with self._reading() as connection:
            return int(connection.execute(sa.select(about.c.revision)).scalar_one())

    def add(self, new: Sequence[NewDigit], contributor: str, model_key: str) -> int:
        """Add digits to the review queue, all or none; digits with a known id are skipped.

        A known digit that waits for its review without a name gets the name: people may give it after they have drawn.

        Parameters
        ----------
        new : sequence of NewDigit
        contributor : str
            Name of the person who drew them; may be empty.
        model_key : str
            Key of the model that their scores come from; empty if there is none.

        Returns
        -------
        int
            Number of digits that were added.

        Raises
        ------
        QueueFullError
            If the queue has more than MAX_PENDING digits.
        """
        time = now()
        rows = [
            {
                "id": digit.id,
                "pixels": digit.pixels,
                "given": digit.label,
                "label": None,
                "state": PENDING,
                "created": time,
                "contributor": contributor,
                "opinion": digit.score.predicted_label,
                "doubt": digit.score.uncertainty,
                "scored_by": model_key,
            }
            for digit in new
        ]
        with self._writing() as connection:
            # Unlike a count, this reads a limited number of index entries, however long the queue is.
            excess = sa.select(digits.c.seq).where(digits.c.state == PENDING).offset(MAX_PENDING).limit(1)
            if connection.execute(excess).first() is not None:
                raise QueueFullError
            added = insert_new(connection, digits, rows, digits.c.id)
            if contributor and added < len(rows):
                named = sa.update(digits).where(digits.c.id.in_([digit.id for digit in new]))
                nameless = named.where(digits.c.contributor == "", digits.c.state == PENDING)
                connection.execute(nameless.values(contributor=contributor))
            return added

    def queue(self, limit: int) -> list[dict[str, Any]]:
        """Return the digits to review next, those with the highest uncertainty first and the oldest first among equals.

        Parameters
        ----------
        limit : int
            Largest number of digits.

        Returns
        -------
        list of dict
            ``id, image`` (784 pixels), ``label`` (as given), ``contributor, created`` (ms since 1970),
            ``predicted_label`` (or None) and ``uncertainty``.
        """
        columns = (digits.c.id, digits.c.pixels, digits.c.given, digits.c.contributor, digits.c.created)
        query = (
            sa.select(*columns, digits.c.opinion, digits.c.doubt)
            .where(digits.c.state == PENDING)
            .order_by(digits.c.doubt.desc(), digits.c.seq)
            .limit(limit)
        )
        with self._reading() as connection:
            return [
                {
                    "id": row.id,
                    "image": list(pixels_of(row.pixels)),
                    "label": row.given,
                    "contributor": row.contributor,
                    "created": row.created,
                    "predicted_label": row.opinion,
                    "uncertainty": row.doubt,
                }
                for row in connection.execute(query)
            ]

    def review(
        self,
        digit: str,
        action: Action,
        label: int | None,
        reviewer: str,
        *,
        expected: tuple[str, int | None] | None = None,
    ) -> dict[str, Any]:
        """Accept, reject or relabel a pending digit, or put a reviewed one back into the queue.

        Repeating an action changes nothing.

        Parameters
        ----------
        digit : str
            Id of the digit.
        action : {"accept", "reject", "relabel", "undo"}
        label : int or None
            0 to 9, for "relabel".
        reviewer : str
            Name of the reviewer; may be empty.
        expected : tuple of str and (int or None), optional
            For "undo": the state and label that the digit must still have, as an earlier call returned them. Without
            it, "undo" takes back any review.

        Returns
        -------
        dict
            ``id, state, label`` (None unless accepted) as they are now.

        Raises
        ------
        UnknownDigitError
            If no digit has this id.
        AlreadyReviewedError
            If the digit has been reviewed with another result.
        """
        with self._writing() as connection:
            query = sa.select(digits.c.given, digits.c.state, digits.c.label).where(digits.c.id == digit)
            found = connection.execute(query.with_for_update()).first()
            if found is None:
                raise UnknownDigitError
            given, before = int(found.given), (str(found.state), found.label)
            after = {
                "accept": (ACCEPTED, given),
                "relabel": (ACCEPTED, label),
                "reject": (REJECTED, None),
                "undo": (PENDING, None),
            }[action]
            if after != before:
                if before[0] != PENDING and (action != "undo" or expected not in (None, before)):
                    raise AlreadyReviewedError
                _set_state(connection, digit, before[0], after)
                values = {"digit": digit, "action": action, "label": after[1], "reviewer": reviewer, "created": now()}
                connection.execute(sa.insert(reviews).values(values))
        return {"id": digit, "state": after[0], "label": after[1]}

    def history(self, limit: int) -> list[dict[str, Any]]:
        """Return the latest reviews, newest first: ``id, action, label, reviewer, created`` (ms since 1970)."""
        columns = (
            reviews.c.digit.label("id"),
            reviews.c.action,
            reviews.c.label,
            reviews.c.reviewer,
            reviews.c.created,
        )
        query = sa.select(*columns).order_by(reviews.c.seq.desc()).limit(limit)
        with self._reading() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def states(self) -> dict[str, int]:
        """Return the number of digits that are pending, accepted and rejected."""
        count = sa.func.count()
        with self._reading() as connection:
            rows = connection.execute(sa.select(digits.c.state, count).group_by(digits.c.state)).all()
        found: dict[str, int] = {state: int(n) for state, n in rows}
        return {state: found.get(state, 0) for state in (PENDING, ACCEPTED, REJECTED)}

    def class_counts(self) -> dict[str, int]:
        """Return the number of accepted digits of each class."""
        query = sa.select(digits.c.label, sa.func.count()).where(digits.c.state == ACCEPTED).group_by(digits.c.label)
        with self._reading() as connection:
            found = {str(label): int(n) for label, n in connection.execute(query)}
        return {name: found.get(name, 0) for name in DIGIT_CLASSES}

    def credits(self, limit: int) -> list[dict[str, Any]]:
        """Return the contributors with the most accepted digits, as dicts of ``name, digits``."""
        n = sa.func.count().label("digits")
        query = (
            sa.select(digits.c.contributor.label("name"), n)
            .where(digits.c.state == ACCEPTED, digits.c.contributor != "")
            .group_by(digits.c.contributor)
            .order_by(n.desc(), digits.c.contributor)
            .limit(limit)
        )
        with self._reading() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    @contextlib.contextmanager
    def accepted(self) -> Iterator[tuple[int, Iterator[tuple[bytes, int]]]]:
        """Open a snapshot of the accepted digits.

        Yields
        ------
        revision : int
        rows : iterator of tuple
            Pixels and label of each digit, in order of arrival.
        """
        with self._snapshot() as connection:
            revision = int(connection.execute(sa.select(about.c.revision)).scalar_one())
            yield revision, accepted_rows(connection)

    def dataset(self) -> Dataset:
        """Return the accepted digits as a data set."""
        with self._snapshot() as connection:
            return accepted_dataset(connection, self.display_url)

    def sample(self, n: int, seed: int) -> NDArray[np.uint8]:
        """Return the pixels of at most `n` accepted digits chosen at random.

        Returns
        -------
        ndarray of uint8, shape (m, 784)
            255 = white paper. The same seed chooses the same digits while the accepted digits do not change.
        """
        with self._snapshot() as connection:
            numbers = connection.execute(sa.select(digits.c.seq).where(digits.c.state == ACCEPTED)).scalars().all()
            chosen = np.random.default_rng(seed).permutation(np.sort(np.asarray(numbers, np.int64)))[:n].tolist()
            pixels = bytearray()
            for start in range(0, len(chosen), _BATCH):
                part = chosen[start : start + _BATCH]
                found = connection.execute(sa.select(digits.c.pixels).where(digits.c.seq.in_(part))).scalars()
                pixels += b"".join(map(pixels_of, found))
        return np.frombuffer(pixels, np.uint8).reshape(-1, PIXELS)

    @contextlib.contextmanager
    def _snapshot(self) -> Iterator[Connection]:
        """Open a read transaction that does not see later changes."""
        with _store_errors(), self._engine.connect() as connection:
            if self._engine.dialect.name == "sqlite":  # all its transactions are like this
                yield connection
            else:
                yield connection.execution_options(isolation_level="REPEATABLE READ")

    def outdated(self, model_key: str, after: int = -1) -> list[tuple[int, bytes, int]]:
        """Return up to 500 pending digits whose scores do not come from the given model, in order of arrival.

        Parameters
        ----------
        model_key : str
        after : int
            Skip digits up to this number.

        Returns
        -------
        list of tuple
            Number, pixels and given label of each digit.
        """
        pending = sa.select(digits.c.seq, digits.c.pixels, digits.c.given).where(
            digits.c.state == PENDING, digits.c.scored_by != model_key
        )
        with self._reading() as connection:
            rows = connection.execute(in_order(pending, after).limit(_BATCH))
            return [(seq, pixels_of(pixels), given) for seq, pixels, given in rows]

    def save_scores(self, scores: dict[int, Score], model_key: str) -> None:
        """Save the scores that a model gave to digits, by the digits' numbers."""
        query = (
            sa.update(digits)
            .where(digits.c.seq == sa.bindparam("number"))
            .values(opinion=sa.bindparam("predicted"), doubt=sa.bindparam("uncertainty"), scored_by=model_key)
        )
        values = [
            {"number": number, "predicted": score.predicted_label, "uncertainty": score.uncertainty}
            for number, score in scores.items()
        ]
        with self._writing() as connection:
            connection.execute(query, values)

    def first_used(self, model_key: str) -> int:
        """Return the number of the newest digit at the time when a model was first used; the first call records it."""
        query = sa.select(models.c.since).where(models.c.model == model_key)
        with self._reading() as connection:
            known = connection.execute(query).scalar()
            if known is not None:
                return int(known)
        with self._writing() as connection:
            last = connection.execute(sa.select(sa.func.max(digits.c.seq))).scalar() or 0
            insert_new(connection, models, [{"model": model_key, "since": last}], models.c.model)
            return int(connection.execute(query).scalar_one())

    def unseen(self, since: int) -> set[bytes]:
        """Return the pixels of accepted digits that are new to a model that was first used after digit `since`.

        These are the digits drawn here after digit `since`. Imported digits do not count, because they may be older;
        nor do copies of imported or earlier digits.
        """
        accepted = sa.select(digits.c.pixels).where(digits.c.state == ACCEPTED)
        accepted = accepted.execution_options(yield_per=_BATCH)
        new = sa.and_(digits.c.seq > since, sa.not_(is_imported()))
        with self._snapshot() as connection:
            found = {pixels_of(pixels) for pixels in connection.execute(accepted.where(new)).scalars()}
            for pixels in connection.execute(accepted.where(sa.not_(new))).scalars():
                found.discard(pixels_of(pixels))
        return found

    def training(self) -> tuple[str | None, int]:
        """Return what :meth:`note_training` recorded.

        Returns
        -------
        model : str or None
            The last run that replaced the model in use.
        accepted : int
            Number of accepted digits at the last training; 0 if there was none.
        """
        with self._reading() as connection:
            model, trained = connection.execute(sa.select(about.c.model, about.c.trained)).one()
            return model, int(trained)

    def note_training(self, accepted: int, model: str | None) -> None:
        """Record a training on `accepted` digits, and the run `model` if it replaces the model in use."""
        values: dict[str, Any] = {"trained": accepted} if model is None else {"trained": accepted, "model": model}
        with self._writing() as connection:
            connection.execute(sa.update(about).values(values))


def _set_state(connection: Connection, digit: str, before: str, after: tuple[str, int | None]) -> None:
    """Set the state and label of a digit, and bump the revision if the accepted digits change."""
    connection.execute(sa.update(digits).where(digits.c.id == digit).values(state=after[0], label=after[1]))
    if ACCEPTED in (before, after[0]):
        bump_revision(connection)


@contextlib.contextmanager
def _store_errors() -> Iterator[None]:
    """Turn errors of the database into :class:`StoreError`."""
    try:
        yield
    except (exc.SQLAlchemyError, OSError, ValueError) as error:
        cause = getattr(error, "orig", None) or error
        # Leave the statement and its values out: they contain drawings, and the message goes into the log.
        raise StoreError(f"{type(cause).__name__}: {' '.join(str(cause).split())[:200]}") from None
