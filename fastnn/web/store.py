"""What the web app asks of its database: digits in, the queue for review, counts."""

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
    models,
    now,
    open_engine,
    reviews,
    without_password,
    writing,
)
from fastnn.datasets.dataset import PIXELS, Dataset
from fastnn.datasets.labels import DIGIT_CLASSES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from sqlalchemy.engine import Connection

Action = Literal["accept", "reject", "relabel", "undo"]

MOST_PENDING = 200_000
"""Digits that may wait for review; beyond it the queue is closed, so that nobody fills the disk."""

_SCORED_AT_ONCE = 500


class StoreError(Exception):
    """The database cannot be reached or written to just now; what was acknowledged before is safe."""


class QueueFullError(Exception):
    """Too many digits wait for review."""


class UnknownDigitError(Exception):
    """There is no digit of that id."""


class AlreadyReviewedError(Exception):
    """The digit has been reviewed otherwise by somebody else in between."""


@dataclass(frozen=True)
class Opinion:
    """What a model thinks of a digit.

    Attributes
    ----------
    label : int or None
        What it takes the digit for; None if its classes are no digits.
    doubt : float
        1 - its probability of the label given.
    """

    label: int | None
    doubt: float


@dataclass(frozen=True)
class NewDigit:
    """A digit that somebody drew.

    Attributes
    ----------
    id : str
        A UUID in its usual form of 36 letters.
    pixels : bytes
        784, 255 = paper.
    label : int
        0 to 9, as given.
    opinion : Opinion
    """

    id: str
    pixels: bytes
    label: int
    opinion: Opinion


class Store:
    """A database of digits, open for the time that the server runs.

    Every method is safe to call from several threads, and raises :class:`StoreError` where the database fails. What
    a method that changes something has returned is on disk.

    Parameters
    ----------
    url : str
        See :func:`fastnn.datasets.database.open_engine`.
    """

    def __init__(self, url: str) -> None:
        self.shown = without_password(url)
        self._engine = open_engine(url, create=True)
        # SQLite lets one connection write at a time and has the others poll; a lock hands over without the waiting.
        self._lock = threading.Lock() if self._engine.dialect.name == "sqlite" else None
        with self._reading() as connection:
            self.name = str(connection.execute(sa.select(about.c.name)).scalar_one())

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    @contextlib.contextmanager
    def _reading(self) -> Iterator[Connection]:
        with _failing(), self._engine.connect() as connection:
            yield connection

    @contextlib.contextmanager
    def _writing(self) -> Iterator[Connection]:
        with self._turn(), _failing(), writing(self._engine) as connection:
            yield connection

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        if self._lock is None:
            yield
            return
        # Who waits has one of the few threads of the server.
        if not self._lock.acquire(timeout=LOCK_SECONDS):
            raise StoreError("others have been writing for too long")
        try:
            yield
        finally:
            self._lock.release()

    def check(self) -> None:
        """Ask the database for anything at all."""
        with self._reading() as connection:
            connection.execute(sa.select(about.c.version)).scalar_one()

    def revision(self) -> int:
        """Return a number that goes up whenever the accepted digits change."""
        with self._reading() as connection:
            return int(connection.execute(sa.select(about.c.revision)).scalar_one())

    def add(self, new: Sequence[NewDigit], contributor: str, model: str) -> int:
        """Put digits in the queue, all of them or none; those whose id is known are there already.

        Parameters
        ----------
        new : sequence of NewDigit
        contributor : str
            Who drew them; may be empty.
        model : str
            Whose opinions they carry.

        Returns
        -------
        int
            How many were new.

        Raises
        ------
        QueueFullError
            If too many digits wait for review.
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
                "opinion": digit.opinion.label,
                "doubt": digit.opinion.doubt,
                "scored_by": model,
            }
            for digit in new
        ]
        with self._writing() as connection:
            # Only so many index entries are walked, however long the queue.
            beyond = sa.select(digits.c.seq).where(digits.c.state == PENDING).offset(MOST_PENDING).limit(1)
            if connection.execute(beyond).first() is not None:
                raise QueueFullError
            return insert_new(connection, digits, rows, digits.c.id)

    def queue(self, limit: int) -> list[dict[str, Any]]:
        """Return the digits to review next: those that the model doubts most, and of these the oldest first.

        Returns
        -------
        list of dict
            ``id, image`` (784 numbers), ``label`` (as given), ``contributor, created`` (ms since 1970), ``opinion``
            (what the model takes it for, or None) and ``doubt``.
        """
        columns = (digits.c.id, digits.c.pixels, digits.c.given, digits.c.contributor, digits.c.created)
        query = (
            sa.select(*columns, digits.c.opinion, digits.c.doubt)
            .where(digits.c.state == PENDING)
            .order_by(digits.c.doubt.desc(), digits.c.seq)
            .limit(limit)
        )
        with self._reading() as connection:
            rows = connection.execute(query).all()
        return [
            {
                "id": row.id,
                "image": list(row.pixels),
                "label": row.given,
                "contributor": row.contributor,
                "created": row.created,
                "opinion": row.opinion,
                "doubt": row.doubt,
            }
            for row in rows
        ]

    def review(
        self,
        digit: str,
        action: Action,
        label: int | None,
        reviewer: str,
        *,
        undone: tuple[str, int | None] | None = None,
    ) -> dict[str, Any]:
        """Accept, reject or relabel a digit that waits, or put a reviewed one back into the queue.

        Doing again what has been done changes nothing.

        Parameters
        ----------
        digit : str
            Its id.
        action : {"accept", "reject", "relabel", "undo"}
        label : int or None
            0 to 9, for "relabel".
        reviewer : str
            Who does it; may be empty.
        undone : tuple of str and (int or None), optional
            For "undo": the state and label to be undone, as the review returned them; any without it.

        Returns
        -------
        dict
            ``id, state, label`` (None unless accepted) as they are now.

        Raises
        ------
        UnknownDigitError
            If there is no such digit.
        AlreadyReviewedError
            If it has been reviewed otherwise.
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
                if before[0] != PENDING and (action != "undo" or undone not in (None, before)):
                    raise AlreadyReviewedError
                _change(connection, digit, before[0], after)
                values = {"digit": digit, "action": action, "label": after[1], "reviewer": reviewer, "created": now()}
                connection.execute(sa.insert(reviews).values(values))
        return {"id": digit, "state": after[0], "label": after[1]}

    def history(self, limit: int) -> list[dict[str, Any]]:
        """Return the latest reviews: ``id, action, label, reviewer, created`` (ms since 1970), newest first."""
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
        """Return how many digits are pending, accepted and rejected."""
        count = sa.func.count()
        with self._reading() as connection:
            rows = connection.execute(sa.select(digits.c.state, count).group_by(digits.c.state)).all()
        found: dict[str, int] = {state: int(n) for state, n in rows}
        return {state: found.get(state, 0) for state in (PENDING, ACCEPTED, REJECTED)}

    def counts(self) -> dict[str, int]:
        """Return how many accepted digits there are of each class."""
        query = sa.select(digits.c.label, sa.func.count()).where(digits.c.state == ACCEPTED).group_by(digits.c.label)
        with self._reading() as connection:
            found = {str(label): int(n) for label, n in connection.execute(query)}
        return {name: found.get(name, 0) for name in DIGIT_CLASSES}

    def credits(self, limit: int) -> list[dict[str, Any]]:
        """Return who drew most of the accepted digits: ``name, digits``."""
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
        """Open one state of the accepted digits: its revision, and pixels and label of each in order of arrival."""
        with self._snapshot() as connection:
            revision = int(connection.execute(sa.select(about.c.revision)).scalar_one())
            yield revision, accepted_rows(connection)

    def dataset(self) -> Dataset:
        """Return the accepted digits as a data set."""
        with self._snapshot() as connection:
            return accepted_dataset(connection, self.shown)

    def sample(self, n: int, seed: int) -> NDArray[np.uint8]:
        """Return the pixels of at most `n` accepted digits drawn at random, shape (m, 784), 255 = paper."""
        with self._snapshot() as connection:
            every = connection.execute(sa.select(digits.c.seq).where(digits.c.state == ACCEPTED)).scalars().all()
            chosen = np.random.default_rng(seed).permutation(np.sort(np.asarray(every, np.int64)))[:n].tolist()
            pixels = bytearray()
            for start in range(0, len(chosen), _SCORED_AT_ONCE):
                part = chosen[start : start + _SCORED_AT_ONCE]
                found = connection.execute(sa.select(digits.c.pixels).where(digits.c.seq.in_(part))).scalars()
                pixels += b"".join(found)
        return np.frombuffer(pixels, np.uint8).reshape(-1, PIXELS)

    @contextlib.contextmanager
    def _snapshot(self) -> Iterator[Connection]:
        """Open a transaction that sees one state of the database throughout."""
        with _failing(), self._engine.connect() as connection:
            if self._engine.dialect.name == "sqlite":  # where every transaction is such a one
                yield connection
            else:
                yield connection.execution_options(isolation_level="REPEATABLE READ")

    def stale(self, model: str, after: int = -1) -> list[tuple[int, bytes, int]]:
        """Return the next digits of the queue that `model` has not judged yet: number, pixels and label given.

        Parameters
        ----------
        model : str
        after : int
            Only those whose number is above.
        """
        waiting = sa.select(digits.c.seq, digits.c.pixels, digits.c.given).where(
            digits.c.state == PENDING, digits.c.scored_by != model
        )
        with self._reading() as connection:
            rows = connection.execute(in_order(waiting, after).limit(_SCORED_AT_ONCE))
            return [(seq, bytes(pixels), given) for seq, pixels, given in rows]

    def score(self, opinions: dict[int, Opinion], model: str) -> None:
        """Note what `model` thinks of digits, by their numbers."""
        query = (
            sa.update(digits)
            .where(digits.c.seq == sa.bindparam("number"))
            .values(opinion=sa.bindparam("label_seen"), doubt=sa.bindparam("doubted"), scored_by=model)
        )
        values = [
            {"number": number, "label_seen": opinion.label, "doubted": opinion.doubt}
            for number, opinion in opinions.items()
        ]
        with self._writing() as connection:
            connection.execute(query, values)

    def first_used(self, model: str) -> int:
        """Return the number of the last digit that was there when a model was first used; noted by the first call."""
        query = sa.select(models.c.since).where(models.c.model == model)
        with self._reading() as connection:
            known = connection.execute(query).scalar()
        if known is None:
            with self._writing() as connection:
                last = connection.execute(sa.select(sa.func.max(digits.c.seq))).scalar() or 0
                insert_new(connection, models, [{"model": model, "since": last}], models.c.model)
                known = connection.execute(query).scalar_one()
        return int(known)

    def unseen(self, since: int) -> set[bytes]:
        """Return the pixels of accepted digits that nobody can have trained on when digit `since` was the last one.

        They were drawn here after it. What was imported after it may be older, and so may that of which it is a copy.
        """
        accepted = sa.select(digits.c.pixels).where(digits.c.state == ACCEPTED)
        accepted = accepted.execution_options(yield_per=_SCORED_AT_ONCE)
        new = sa.and_(digits.c.seq > since, sa.not_(is_imported()))
        with self._snapshot() as connection:
            found = {bytes(pixels) for pixels in connection.execute(accepted.where(new)).scalars()}
            for pixels in connection.execute(accepted.where(sa.not_(new))).scalars():
                found.discard(bytes(pixels))
        return found

    def training(self) -> tuple[str | None, int]:
        """Return the run that took over last, and how many digits were accepted when training was tried last."""
        with self._reading() as connection:
            model, trained = connection.execute(sa.select(about.c.model, about.c.trained)).one()
        return model, int(trained)

    def note_training(self, accepted: int, model: str | None) -> None:
        """Note that training was tried with `accepted` digits, and which run took over, if one did."""
        values: dict[str, Any] = {"trained": accepted} if model is None else {"trained": accepted, "model": model}
        with self._writing() as connection:
            connection.execute(sa.update(about).values(values))


def _change(connection: Connection, digit: str, before: str, after: tuple[str, int | None]) -> None:
    connection.execute(sa.update(digits).where(digits.c.id == digit).values(state=after[0], label=after[1]))
    if ACCEPTED in (before, after[0]):
        bump_revision(connection)


@contextlib.contextmanager
def _failing() -> Iterator[None]:
    try:
        yield
    except (exc.SQLAlchemyError, OSError) as error:
        cause = getattr(error, "orig", None) or error
        # The statement and its values, drawings among them, stay out of the message and so out of the log.
        raise StoreError(f"{type(cause).__name__}: {' '.join(str(cause).split())[:200]}") from None
