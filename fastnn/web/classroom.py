"""Collecting in a class: whether it is open, and the counts and pictures that a projector shows."""

from __future__ import annotations

import hashlib
import math
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import sqlalchemy as sa

from fastnn.datasets.database import pixels_of
from fastnn.datasets.dataset import PIXELS
from fastnn.datasets.schema import ACCEPTED, PENDING, REJECTED, digits
from fastnn.images.mosaic import as_png, tiled
from fastnn.web.class_settings import DEFAULTS, OPEN, SHOWS_PENDING, read_settings, write_setting

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.engine import Connection

    from fastnn.web.store import Store

TILES = 288
"""Most drawings in the picture: twelve rows, a lesson's worth on one screen."""
_COLUMNS = 24

_FRESH_SECONDS = 1.0
_REST = 10.0
"""A board that took longer than a tenth of a second is reused for ten times as long."""


@dataclass(frozen=True)
class Board:
    """What a projector shows.

    Attributes
    ----------
    counts : dict
        ``collecting, shows_pending`` (bool), ``drawn, pending, accepted, contributors`` (numbers), ``classes`` (number
        drawn of each) and ``picture``, which changes whenever the picture does; None without one.
    png : bytes
        The newest drawings, the oldest of them first; empty if there are none.
    """

    counts: dict[str, Any]
    png: bytes


class Classroom:
    """Whether the drawings of visitors are taken, and what a projector shows of them; thread-safe like the store.

    Parameters
    ----------
    store : Store
    clock : callable, optional
        Returns a time in seconds that never goes back.
    """

    def __init__(self, store: Store, clock: Callable[[], float] = time.monotonic) -> None:
        self._store, self._clock = store, clock
        self._board: Board | None = None
        self._fresh_until = -math.inf
        self._lock = threading.Lock()

    def settings(self) -> dict[str, bool]:
        """Return whether drawings are taken and whether unreviewed ones are shown: ``collecting, shows_pending``."""
        if self._store.read_only:  # such a file may be older than the table
            return {**DEFAULTS, OPEN: False}
        with self._store.reading() as connection:
            return read_settings(connection)

    def change(self, *, collecting: bool | None = None, shows_pending: bool | None = None) -> Board:
        """Open or close collecting, or show unreviewed drawings or not; None leaves a setting as it is.

        It is stored in the database, so that a restart does not change it.

        Returns
        -------
        Board
            What projectors show from now on.
        """
        given = {OPEN: collecting, SHOWS_PENDING: shows_pending}
        if set(given.values()) == {None}:
            return self.board()
        with self._store.writing() as connection:
            for name, value in given.items():
                if value is not None:
                    write_setting(connection, name, value)
        with self._lock:
            return self._make_board()

    def board(self) -> Board:
        """Return what a projector shows.

        It is made from the database once a second at most, however many ask.
        """
        board = self._board
        # While one request makes a new one, others get the one before and occupy no thread.
        if board is not None and (self._clock() < self._fresh_until or self._lock.locked()):
            return board
        with self._lock:
            if self._board is not None and self._clock() < self._fresh_until:
                return self._board
            return self._make_board()

    def _make_board(self) -> Board:
        start = self._clock()
        chosen, store = self.settings(), self._store
        states, accepted = store.desk.counts(), store.class_counts()
        with store.reading() as connection:
            named = sa.select(sa.func.count(sa.distinct(digits.c.contributor)))
            shown = sa.and_(digits.c.contributor != "", digits.c.state != REJECTED)
            contributors = int(connection.execute(named.where(shown)).scalar_one())
            pictures = _newest(connection, (ACCEPTED, PENDING) if chosen[SHOWS_PENDING] else (ACCEPTED,))
        tag = hashlib.sha256(b"".join(pictures)).hexdigest()[:16] if pictures else None
        counts = {
            **chosen,
            "drawn": states[PENDING] + states[ACCEPTED],
            PENDING: states[PENDING],
            ACCEPTED: states[ACCEPTED],
            "contributors": contributors,
            "classes": {name: accepted[name] + states["waiting"][name] for name in store.classes},
            "picture": tag,
        }
        unchanged = self._board is not None and self._board.counts["picture"] == tag
        png = self._board.png if self._board is not None and unchanged else _png(pictures)
        self._board = Board(counts, png)
        end = self._clock()
        self._fresh_until = end + max(_FRESH_SECONDS, _REST * (end - start))
        return self._board


def _newest(connection: Connection, states: tuple[str, ...]) -> list[bytes]:
    """Return the pixels of the newest digits in some states, the oldest of them first."""
    rows: list[tuple[int, Any]] = []
    # One query for each state can use the index of arrival.
    for state in states:
        query = sa.select(digits.c.seq, digits.c.pixels).where(digits.c.state == state)
        rows += [(seq, pixels) for seq, pixels in connection.execute(query.order_by(digits.c.seq.desc()).limit(TILES))]
    rows.sort(key=lambda row: row[0])
    return [pixels_of(pixels) for _, pixels in rows[-TILES:]]


def _png(pictures: list[bytes]) -> bytes:
    """Return a PNG image of pictures in rows; an empty one if there are none."""
    if not pictures:
        return b""
    columns = min(_COLUMNS, max(6, math.ceil(math.sqrt(2 * len(pictures)))))
    images = np.frombuffer(b"".join(pictures), np.uint8).reshape(-1, PIXELS)
    return as_png(tiled(images, math.ceil(len(pictures) / columns), columns))
