"""The review desk: digits handed out to reviewers, their verdicts, and what was decided before."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import sqlalchemy as sa

from fastnn.datasets.database import bump_revision, now, pixels_of
from fastnn.datasets.schema import (
    ACCEPTED,
    PENDING,
    REJECTED,
    digits,
    insert_missing,
    leases,
    reviews,
    struck_names,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sqlalchemy.engine import Connection

    from fastnn.web.transactions import Transactions

Action = Literal["accept", "reject", "relabel", "undo"]
State = Literal["pending", "accepted", "rejected"]
Move = tuple[str, int, int]
"""A change of the counts: a state, the label as given, and how many more digits have both."""

LEASE_SECONDS = 300
"""How long nobody else gets the digits that a reviewer's page was given; asking again extends it."""

_COUNTED_SECONDS = 60


class UnknownDigitError(Exception):
    """No digit has this id."""


class AlreadyReviewedError(Exception):
    """Somebody else has reviewed the digit with another result."""


@dataclass(frozen=True)
class Verdict:
    """What a reviewer decides about a digit.

    Attributes
    ----------
    digit : str
        Id of the digit.
    action : {"accept", "reject", "relabel", "undo"}
    label : int or None
        Position of the class, for "relabel".
    expected : tuple of str and (int or None), optional
        For "undo": the state and label that the digit must still have, as an earlier call returned them. Without it,
        "undo" takes back any review.
    """

    digit: str
    action: Action
    label: int | None = None
    expected: tuple[str, int | None] | None = None


@dataclass(frozen=True)
class Selection:
    """Which digits to list; None takes all.

    Attributes
    ----------
    state : {"pending", "accepted", "rejected"}
    label : int or None
        The reviewed label of accepted digits, the given label of others.
    contributor : str or None
    """

    state: State = "accepted"
    label: int | None = None
    contributor: str | None = None


class ReviewDesk:
    """What reviewers do with the digits of a store; thread-safe like the store, with the same errors.

    Parameters
    ----------
    store : Transactions
        The database.
    clock : callable, optional
        Returns the time in milliseconds since 1970.
    """

    def __init__(self, store: Transactions, clock: Callable[[], int] = now) -> None:
        self._store, self._clock = store, clock
        self._counted: _Counted | None = None
        self._counted_lock = threading.Lock()

    # ---- handing out ----

    def queue(self, limit: int, *, label: int | None = None, session: str | None = None) -> list[dict[str, Any]]:
        """Return the digits to review next, those with the highest uncertainty first and the oldest first among equals.

        Parameters
        ----------
        limit : int
            Largest number of digits.
        label : int or None
            Only digits that were given this label.
        session : str or None
            Id of the reviewer's page, to which the digits are lent: for LEASE_SECONDS, no other session gets them.
            Without it, the digits that are lent to nobody are returned, and others may get the same.

        Returns
        -------
        list of dict
            ``number, id, image`` (784 pixels), ``label`` (as given), ``contributor, created`` (ms since 1970),
            ``predicted_label`` (or None) and ``uncertainty``.
        """
        # The numbers come from an index alone; only the rows that are returned are read with their pixels.
        chosen = sa.select(digits.c.seq).where(digits.c.state == PENDING)
        if label is not None:
            chosen = chosen.where(digits.c.given == label)
        order = (digits.c.doubt.desc(), digits.c.seq)
        chosen = chosen.order_by(*order).limit(limit)

        def rows_of(numbers: sa.Select[Any]) -> sa.Select[Any]:
            return _select_digits(digits.c.given).where(digits.c.seq.in_(numbers)).order_by(*order)

        if self._store.read_only:  # nothing can be reviewed either
            with self._store.reading() as connection:
                return [_as_dict(row) for row in connection.execute(rows_of(chosen))]
        time = self._clock()
        lent = sa.select(leases.c.digit).where(leases.c.digit == digits.c.seq, leases.c.until > time)
        if session is None:
            free = rows_of(chosen.where(sa.not_(lent.exists())))
            with self._store.reading() as connection:
                return [_as_dict(row) for row in connection.execute(free)]
        until = time + 1000 * LEASE_SECONDS
        with self._store.writing() as connection:
            if connection.dialect.name != "sqlite":
                # One at a time, or two sessions would find the same digits free. SQLite has one writer anyway.
                connection.execute(sa.text(f"LOCK TABLE {leases.name} IN SHARE ROW EXCLUSIVE MODE"))
            connection.execute(sa.delete(leases).where(leases.c.until <= time))
            connection.execute(sa.update(leases).where(leases.c.session == session).values(until=until))
            others = lent.where(leases.c.session != session)
            rows = connection.execute(rows_of(chosen.where(sa.not_(others.exists())))).all()
            if rows:
                new = [{"digit": row.number, "session": session, "until": until} for row in rows]
                insert_missing(connection, leases, new, leases.c.digit)
        return [_as_dict(row) for row in rows]

    def release(self, sessions: Sequence[str]) -> None:
        """Take back what is lent to some sessions, so that others get it at once."""
        if self._store.read_only:  # nothing is lent
            return
        with self._store.writing() as connection:
            connection.execute(sa.delete(leases).where(leases.c.session.in_(sessions)))

    # ---- verdicts ----

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
        digit, action, label, expected
            See :class:`Verdict`.
        reviewer : str
            Name of the reviewer; may be empty.

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
        (result,) = self.review_all([Verdict(digit, action, label, expected)], reviewer)
        if isinstance(result, Exception):
            raise result
        return result

    def review_all(
        self, verdicts: Sequence[Verdict], reviewer: str
    ) -> list[dict[str, Any] | UnknownDigitError | AlreadyReviewedError]:
        """Apply several verdicts in their order; one that is refused does not affect the others.

        Returns
        -------
        list
            For each verdict what :meth:`review` returns, or the error that it raises.
        """
        results: list[dict[str, Any] | UnknownDigitError | AlreadyReviewedError] = []
        entries: list[dict[str, Any]] = []
        with self.counting() as (connection, moves):
            found = _lock_with_states(connection, {verdict.digit for verdict in verdicts})
            now_in = {name: (str(row.state), row.label) for name, row in found.items()}
            for verdict in verdicts:
                row, before = found.get(verdict.digit), now_in.get(verdict.digit)
                if row is None or before is None:
                    results.append(UnknownDigitError())
                    continue
                after = _state_after(verdict, int(row.given))
                if after != before:
                    if before[0] != PENDING and (verdict.action != "undo" or verdict.expected not in (None, before)):
                        results.append(AlreadyReviewedError())
                        continue
                    now_in[verdict.digit] = after
                    moves += [(before[0], row.given, -1), (after[0], row.given, 1)]
                    entries.append({"digit": verdict.digit, "action": verdict.action, "label": after[1]})
                results.append({"id": verdict.digit, "state": after[0], "label": after[1]})
            if entries:
                # A screen of the grid has a hundred verdicts: some statements for all, not some for each.
                time = self._clock()
                connection.execute(
                    sa.insert(reviews), [{**entry, "reviewer": reviewer, "created": time} for entry in entries]
                )
                changed: dict[tuple[str, int | None], list[int]] = {}
                for name in dict.fromkeys(entry["digit"] for entry in entries):
                    changed.setdefault(now_in[name], []).append(int(found[name].seq))
                for (state, label), numbers in changed.items():
                    new = sa.update(digits).where(digits.c.seq.in_(numbers)).values(state=state, label=label)
                    connection.execute(new)
                numbers = [number for some in changed.values() for number in some]
                connection.execute(sa.delete(leases).where(leases.c.digit.in_(numbers)))
                if any(state == ACCEPTED for state, _, _ in moves):
                    bump_revision(connection)
        return results

    def review_contributor(self, contributor: str, state: State, action: Action, reviewer: str) -> int:
        """Accept, reject or put back all digits of one contributor that are in one state.

        Parameters
        ----------
        contributor : str
            The name, exactly; not empty.
        state : {"pending", "accepted", "rejected"}
            "accept" and "reject" take pending digits, "undo" takes reviewed ones; others stay as they are.
        action : {"accept", "reject", "undo"}
        reviewer : str

        Returns
        -------
        int
            Number of digits that were changed.
        """
        if (action == "undo") == (state == PENDING) or not contributor:
            return 0
        after = {"accept": ACCEPTED, "reject": REJECTED, "undo": PENDING}[action]
        label = digits.c.given if action == "accept" else sa.null()
        chosen = sa.and_(digits.c.state == state, digits.c.contributor == contributor)
        entries = sa.select(
            digits.c.id,
            sa.literal(action),
            sa.cast(label, sa.SmallInteger),
            sa.literal(reviewer),
            sa.literal(self._clock(), sa.BigInteger),
        ).where(chosen)
        with self._store.writing() as connection:
            columns = ["digit", "action", "label", "reviewer", "created"]
            # Others may arrive between the statements; they are left out.
            numbers = _lock(connection, chosen)
            if not numbers:
                return 0
            last = digits.c.seq <= max(numbers)
            connection.execute(sa.insert(reviews).from_select(columns, entries.where(last).order_by(digits.c.seq)))
            lent = sa.select(digits.c.seq).where(chosen, last)
            connection.execute(sa.delete(leases).where(leases.c.digit.in_(lent)))
            connection.execute(sa.update(digits).where(chosen, last).values(state=after, label=label))
            if ACCEPTED in (state, after):
                bump_revision(connection)
        return len(numbers)

    def strike_name(self, name: str) -> int:
        """Remove a name from all digits and reviews, and from those that come; the digits keep their state and label.

        Returns
        -------
        int
            Number of digits that had the name.
        """
        if not name:
            return 0
        # With all states listed, the index on state and contributor is used.
        chosen = sa.and_(digits.c.state.in_((PENDING, ACCEPTED, REJECTED)), digits.c.contributor == name)
        with self._store.writing() as connection:
            _lock(connection, chosen)
            changed = connection.execute(sa.update(digits).where(chosen).values(contributor="")).rowcount
            connection.execute(sa.update(reviews).where(reviews.c.reviewer == name).values(reviewer=""))
            insert_missing(connection, struck_names, [{"name": name.casefold()}], struck_names.c.name)
        return int(changed)

    # ---- looking back ----

    def browse(self, selection: Selection, limit: int, before: int | None = None) -> list[dict[str, Any]]:
        """Return digits in one state, the newest first.

        Parameters
        ----------
        selection : Selection
        limit : int
            Largest number of digits.
        before : int or None
            Only digits with a smaller ``number``: the last one of the page before.

        Returns
        -------
        list of dict
            As for :meth:`queue`, with ``label`` as reviewed if the digit is accepted, and ``given`` and ``state``.
        """
        label = digits.c.label if selection.state == ACCEPTED else digits.c.given
        query = _select_digits(label).add_columns(digits.c.given.label("given"), digits.c.state)
        query = query.where(digits.c.state == selection.state)
        if selection.label is not None:
            query = query.where(label == selection.label)
        if selection.contributor is not None:
            query = query.where(digits.c.contributor == selection.contributor)
        if before is not None:
            query = query.where(digits.c.seq < before)
        with self._store.reading() as connection:
            rows = connection.execute(query.order_by(digits.c.seq.desc()).limit(limit)).all()
        return [{**_as_dict(row), "given": row.given, "state": row.state} for row in rows]

    def count_of(self, contributor: str, state: State) -> int:
        """Return how many digits of a contributor are in a state."""
        chosen = sa.and_(digits.c.state == state, digits.c.contributor == contributor)
        with self._store.reading() as connection:
            return int(connection.execute(sa.select(sa.func.count()).where(chosen)).scalar_one())

    def history(self, limit: int, before: int | None = None, *, images: bool = False) -> list[dict[str, Any]]:
        """Return the latest reviews, newest first.

        Parameters
        ----------
        limit : int
        before : int or None
            Only entries with a smaller ``number``: the last one of the page before.
        images : bool
            Also return what the digits are now.

        Returns
        -------
        list of dict
            ``number, id, action, label, reviewer, created`` (ms since 1970), and with `images` ``image``, and of the
            digit as it is now ``state``, ``given``, ``current_label`` and ``digit_number``, its number.
        """
        columns = [
            reviews.c.seq.label("number"),
            reviews.c.digit.label("id"),
            reviews.c.action,
            reviews.c.label,
            reviews.c.reviewer,
            reviews.c.created,
        ]
        query = sa.select(*columns)
        if images:
            query = query.add_columns(
                digits.c.pixels,
                digits.c.state,
                digits.c.given,
                digits.c.label.label("current_label"),
                digits.c.seq.label("digit_number"),
            )
            query = query.join(digits, digits.c.id == reviews.c.digit)
        if before is not None:
            query = query.where(reviews.c.seq < before)
        query = query.order_by(reviews.c.seq.desc()).limit(limit)
        with self._store.reading() as connection:
            entries = [dict(row) for row in connection.execute(query).mappings()]
            for entry in entries if images else ():
                entry["image"] = list(pixels_of(entry.pop("pixels")))
        return entries

    # ---- counts ----

    def counts(self) -> dict[str, Any]:
        """Return the number of digits that are pending, accepted and rejected, and ``waiting``: pending by class.

        Counting 200,000 digits takes longer than all else that a page of the queue needs, so the counts are kept and
        moved with each change. Changes by other processes are noticed by the newest digit and the newest review.
        """
        with self._store.reading() as connection:
            key = _newest(connection)
            with self._counted_lock:
                counted = self._counted
            if counted is None or counted.key != key or self._clock() >= counted.until:
                query = sa.select(digits.c.state, digits.c.given, sa.func.count())
                rows = connection.execute(query.group_by(digits.c.state, digits.c.given)).all()
                numbers = {(str(state), given): int(n) for state, given, n in rows}
                counted = _Counted(key, numbers, self._clock() + 1000 * _COUNTED_SECONDS)
                with self._counted_lock:
                    self._counted = counted
        states = dict.fromkeys((PENDING, ACCEPTED, REJECTED), 0)
        waiting = dict.fromkeys(self._store.classes, 0)
        for (state, given), n in counted.numbers.items():
            if state in states:
                states[state] += n
            if state == PENDING and given in range(len(self._store.classes)):
                waiting[self._store.classes[given]] += n
        return {**states, "waiting": waiting}

    @contextlib.contextmanager
    def counting(self) -> Iterator[tuple[Connection, list[Move]]]:
        """Open a transaction that writes, and a list for its changes of the counts, which are taken over at its end."""
        moves: list[Move] = []
        with self._store.writing() as connection:
            before = _newest(connection)
            yield connection, moves
            after = _newest(connection)
        with self._counted_lock:
            counted = self._counted
            if counted is None or counted.key != before or (after != before and not moves):
                # Another transaction came in between, or it is unknown what has changed.
                self._counted = None
                return
            numbers = dict(counted.numbers)
            for state, given, n in moves:
                numbers[state, given] = numbers.get((state, given), 0) + n
            self._counted = _Counted(after, numbers, counted.until)


@dataclass(frozen=True)
class _Counted:
    """Counts of digits by state and given label.

    Attributes
    ----------
    key : tuple
        The newest digit and the newest review that are counted.
    numbers : dict
    until : int
        When they are counted anew in any case, in ms since 1970.
    """

    key: tuple[int | None, int | None]
    numbers: dict[tuple[str, int], int]
    until: int


def _newest(connection: Connection) -> tuple[int | None, int | None]:
    """Return the newest digit and the newest review; each change of a digit's state adds a review."""
    last_digit = sa.select(sa.func.max(digits.c.seq)).scalar_subquery()
    last_review = sa.select(sa.func.max(reviews.c.seq)).scalar_subquery()
    digit, review = connection.execute(sa.select(last_digit, last_review)).one()
    return digit, review


def is_struck(connection: Connection, name: str) -> bool:
    """Return whether a reviewer has struck a name, in upper or lower case."""
    query = sa.select(struck_names.c.name).where(struck_names.c.name == name.casefold())
    return connection.execute(query).first() is not None


def _lock(connection: Connection, chosen: sa.ColumnElement[bool]) -> Sequence[int]:
    """Lock digits against other transactions, and return their numbers.

    All transactions lock them in the same order, so that none waits for another one that waits for it.
    """
    query = sa.select(digits.c.seq).where(chosen).order_by(digits.c.seq)
    return connection.execute(query.with_for_update()).scalars().all()


def _lock_with_states(connection: Connection, names: set[str]) -> dict[str, Any]:
    """Lock digits against other transactions as :func:`_lock` does, and return number, given label, state and label."""
    columns = (digits.c.id, digits.c.seq, digits.c.given, digits.c.state, digits.c.label)
    query = sa.select(*columns).where(digits.c.id.in_(names)).order_by(digits.c.seq)
    return {str(row.id): row for row in connection.execute(query.with_for_update())}


def _state_after(verdict: Verdict, given: int) -> tuple[str, int | None]:
    """Return the state and label that a verdict gives to a digit."""
    results: dict[Action, tuple[str, int | None]] = {
        "accept": (ACCEPTED, given),
        "relabel": (ACCEPTED, verdict.label),
        "reject": (REJECTED, None),
        "undo": (PENDING, None),
    }
    return results[verdict.action]


def _select_digits(label: sa.ColumnElement[Any]) -> sa.Select[Any]:
    return sa.select(
        digits.c.seq.label("number"),
        digits.c.id,
        digits.c.pixels,
        label.label("label"),
        digits.c.contributor,
        digits.c.created,
        digits.c.opinion,
        digits.c.doubt,
    )


def _as_dict(row: Any) -> dict[str, Any]:
    return {
        "number": row.number,
        "id": row.id,
        "image": list(pixels_of(row.pixels)),
        "label": row.label,
        "contributor": row.contributor,
        "created": row.created,
        "predicted_label": row.opinion,
        "uncertainty": row.doubt,
    }
