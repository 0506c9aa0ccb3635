"""Groups of samples that belong together, such as the digits of one writer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastnn.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

CONTRIBUTOR = "contributor"
"""The group that databases and JSON files of digits know: who drew a digit."""

_SHOWN = 8


def number_groups(groups: ArrayLike, n: int, source: str) -> NDArray[np.int64]:
    """Return a number from 0 for each sample, the same for samples of one group.

    Parameters
    ----------
    groups : array_like, shape (n,)
        A text or number for each sample.
    n : int
        Number of samples.
    source : str
        What error messages call the data.

    Raises
    ------
    DataError
        If there is not one group for each sample.
    """
    array = np.asarray(groups)
    if array.shape != (n,) or array.dtype.kind not in "biufUS":
        raise DataError(
            f"{source}: groups must be a text or number for each of the {n:,} samples, "
            f"not {array.dtype} of shape {array.shape}"
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise DataError(f"{source}: a group is NaN or infinite; give every sample a group")
    return np.unique(array, return_inverse=True)[1].reshape(n).astype(np.int64)


def contributor_groups(names: Sequence[str], source: str) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return a number for each digit, the same for those of one contributor, and notes.

    A digit without a contributor is a group of its own.

    Parameters
    ----------
    names : sequence of str
        The contributor of each digit; empty if unknown.
    source : str

    Raises
    ------
    DataError
        If no digit has a contributor.
    """
    known: dict[str, int] = {}
    numbers = [known.setdefault(name, len(known)) if name else -1 for name in names]
    if not known:
        raise DataError(f"{source}: no digit has a {CONTRIBUTOR}; drop --group")
    groups = np.array(numbers, dtype=np.int64)
    nameless = np.flatnonzero(groups < 0)
    groups[nameless] = len(known) + np.arange(len(nameless))
    notes = [f"groups: {len(known):,} contributors"]
    if len(nameless):
        notes.append(f"{len(nameless):,} digits have no contributor; each of them is a group of its own")
    return groups, tuple(notes)


def check_no_group(source: str, group: str | None, *, only: str | None = None) -> None:
    """Raise a DataError if a group is asked for that this source does not have.

    Parameters
    ----------
    source : str
    group : str or None
        What was asked for.
    only : str, optional
        The one group that the source has.
    """
    if group is None or group == only:
        return
    if only is not None:
        raise DataError(f"{source}: digits are grouped by {only} alone; give --group {only}, not {group[:40]!r}")
    raise DataError(
        f"{source}: says nothing about groups; --group takes a column of a .csv, .tsv or .parquet table, or "
        f"{CONTRIBUTOR} of a database or a .json file of digits"
    )


def group_position(group: str, names: Sequence[str], source: str, *, is_header: bool) -> int:
    """Return the position of the column that says the groups; a position from 1 in a table without names.

    Raises
    ------
    DataError
        If there is no such column.
    """
    if is_header:
        if group in names:
            return list(names).index(group)
    # Longer numbers are no positions, and int cannot read all of them.
    elif group.isdecimal() and len(group) < 10 and 1 <= int(group) <= len(names):
        return int(group) - 1
    listed = [*names[:_SHOWN], "..."] if len(names) > _SHOWN else list(names)
    known = ", ".join(repr(name[:40]) for name in listed) if is_header else f"columns 1 to {len(names):,}"
    raise DataError(f"{source}: has no column {group[:40]!r} for the groups; it has {known}")


def join_groups(groups: NDArray[np.int64], others: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the finest groups that neither of two groupings divides: a number from 0 for each sample.

    Parameters
    ----------
    groups, others : ndarray of int64, shape (n,)
        Numbers of the groups, not negative and at most a few times n.
    """
    joined = np.unique(groups, return_inverse=True)[1].astype(np.int64)
    while True:
        before = joined
        for numbers in (others, groups):
            # The smallest number of all members spreads to all of them.
            least = np.full(int(numbers.max(initial=0)) + 1, len(joined), dtype=np.int64)
            np.minimum.at(least, numbers, joined)
            joined = least[numbers]
        if np.array_equal(joined, before):
            return np.asarray(np.unique(joined, return_inverse=True)[1], dtype=np.int64)
