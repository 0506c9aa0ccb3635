"""The database of the web app: stored digits and counts; the review queue is in ``fastnn.web.desk``."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import sqlalchemy as sa

from fastnn.datasets.database import (
    accepted_dataset,
    accepted_rows,
    in_order,
    is_imported,
    now,
    pixels_of,
)
from fastnn.datasets.dataset import PIXELS, Dataset
from fastnn.datasets.schema import (
    ACCEPTED,
    PENDING,
    REJECTED,
    about,
    digits,
    insert_new,
    models,
)
from fastnn.errors import DataError
from fastnn.web.class_settings import OPEN, ClosedError, read_settings
from fastnn.web.desk import ReviewDesk, is_struck
from fastnn.web.transactions import StoreError, Transactions

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from sqlalchemy.engine import Connection

MAX_PENDING = 200_000
"""Most digits in the review queue; further ones are refused, so that nobody can fill the disk."""

_BATCH = 500


class QueueFullError(Exception):
    """The review queue is full."""


@dataclass(frozen=True)
class Score:
    """What a model says about a digit.

    The database columns are called ``opinion`` and ``doubt``: existing databases have these names.

    Attributes
    ----------
    predicted_label : int or None
        Class with the highest probability; None if the database does not have it, or if there is no model.
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
        Position of the class that the visitor was asked for; for digits, the digit.
    score : Score
    """

    id: str
    pixels: bytes
    label: int
    score: Score


class Store(Transactions):
    """A database of digits, open while the server runs.

    Digits have an id, which the client makes, and a number, which counts them in order of arrival. Every method is
    thread-safe and raises :class:`StoreError` if the database fails. When a method that writes returns, its changes are
    on disk. Images are called digits here whatever they show.

    Parameters
    ----------
    url, classes : str, sequence of str
        See :func:`fastnn.datasets.database.open_engine`, which also says what is raised here.

    Attributes
    ----------
    desk : ReviewDesk
        The review queue and what reviewers do with it.
    database_id : str
        A UUID that tells this database from others.
    """

    def __init__(self, url: str, classes: Sequence[str] | None = None) -> None:
        super().__init__(url, classes)
        self.desk = ReviewDesk(self)
        try:
            with self.reading() as connection:
                self.database_id = str(connection.execute(sa.select(about.c.name)).scalar_one())
            # A damaged database is refused before a server starts.
            self.revision()
            self.training()
        except StoreError as error:
            self.close()
            raise DataError(f"{self.display_url}: the database cannot be used ({error})") from None

    def check(self) -> None:
        """Run one small query, to see whether the database answers."""
        with self.reading() as connection:
            connection.execute(sa.select(about.c.version)).scalar_one()

    def revision(self) -> int:
        """Return a number that increases whenever the accepted digits change."""
        with self.reading() as connection:
            return int(connection.execute(sa.select(about.c.revision)).scalar_one())

    def add(self, new: Sequence[NewDigit], contributor: str, model_key: str) -> int:
        """Add digits to the review queue, all or none; digits with a known id are skipped.

        A known digit that waits for its review without a name gets the name: people may give it after they have drawn.

        Parameters
        ----------
        new : sequence of NewDigit
        contributor : str
            Name of the person who drew them; may be empty. One that a reviewer has struck is left out.
        model_key : str
            Key of the model that their scores come from; empty if there is none.

        Returns
        -------
        int
            Number of digits that were added.

        Raises
        ------
        ClosedError
            If collecting is closed.
        QueueFullError
            If the queue has more than MAX_PENDING digits.
        """
        time = now()
        with self.desk.counting() as (connection, moves):
            if not read_settings(connection)[OPEN]:
                raise ClosedError
            # Unlike a count, this reads a limited number of index entries, however long the queue is.
            excess = sa.select(digits.c.seq).where(digits.c.state == PENDING).offset(MAX_PENDING).limit(1)
            if connection.execute(excess).first() is not None:
                raise QueueFullError
            if is_struck(connection, contributor):
                contributor = ""
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
            stored = insert_new(connection, digits, rows, digits.c.id)
            if contributor and stored < len(rows):
                named = sa.update(digits).where(digits.c.id.in_([digit.id for digit in new]))
                nameless = named.where(digits.c.contributor == "", digits.c.state == PENDING)
                connection.execute(nameless.values(contributor=contributor))
            if stored == len(rows):  # otherwise it is unknown which, and all are counted again
                moves += [(PENDING, digit.label, 1) for digit in new]
            return stored

    def states(self) -> dict[str, int]:
        """Return the number of digits that are pending, accepted and rejected."""
        count = sa.func.count()
        with self.reading() as connection:
            rows = connection.execute(sa.select(digits.c.state, count).group_by(digits.c.state)).all()
        found: dict[str, int] = {state: int(n) for state, n in rows}
        return {state: found.get(state, 0) for state in (PENDING, ACCEPTED, REJECTED)}

    def class_counts(self) -> dict[str, int]:
        """Return the number of accepted digits of each class."""
        query = sa.select(digits.c.label, sa.func.count()).where(digits.c.state == ACCEPTED).group_by(digits.c.label)
        with self.reading() as connection:
            found = {label: int(n) for label, n in connection.execute(query)}
        return {name: found.get(label, 0) for label, name in enumerate(self.classes)}

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
        with self.reading() as connection:
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

    def latest(self, n: int) -> Dataset:
        """Return the `n` accepted digits that came last, in order of arrival; DataError if there are none."""
        query = sa.select(digits.c.pixels, digits.c.label).where(digits.c.state == ACCEPTED)
        with self.reading() as connection:
            rows = connection.execute(query.order_by(digits.c.seq.desc()).limit(n)).all()[::-1]
            pixels, labels = b"".join(pixels_of(row.pixels) for row in rows), [row.label for row in rows]
            if not all(label in range(len(self.classes)) for label in labels):
                raise ValueError(f"a digit is damaged: its label is not from 0 to {len(self.classes) - 1}")
        if not rows:
            raise DataError(f"{self.display_url}: holds no accepted digits yet; review some, or import a data set")
        images = np.frombuffer(pixels, np.uint8).reshape(-1, PIXELS)
        return Dataset(images, np.array(labels, np.int64), self.classes, self.display_url)

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
        with self.reading() as connection:
            if self.dialect == "sqlite":  # all its transactions are like this
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
        with self.reading() as connection:
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
        with self.writing() as connection:
            connection.execute(query, values)

    def first_used(self, model_key: str) -> int:
        """Return the number of the newest digit at the time when a model was first used; the first call records it."""
        query = sa.select(models.c.since).where(models.c.model == model_key)
        with self.reading() as connection:
            known = connection.execute(query).scalar()
            if known is not None:
                return int(known)
        with self.writing() as connection:
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
        with self.reading() as connection:
            model, trained = connection.execute(sa.select(about.c.model, about.c.trained)).one()
            return model, int(trained)

    def note_training(self, accepted: int, model: str | None) -> None:
        """Record a training on `accepted` digits, and the run `model` if it replaces the model in use."""
        values: dict[str, Any] = {"trained": accepted} if model is None else {"trained": accepted, "model": model}
        with self.writing() as connection:
            connection.execute(sa.update(about).values(values))
