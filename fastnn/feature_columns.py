"""Columns of a network's input for the names of features, as they appear in a stream."""

from __future__ import annotations

import math
import numbers
import zlib
from typing import TYPE_CHECKING, Any

from fastnn.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Sequence


class FeatureColumns:
    """Gives each name a column: 0, 1, 2, ... in the order of their appearance, later a hash of the name.

    Parameters
    ----------
    limit : int
        Most columns. Names that come when all are taken share columns with others: the CRC-32 of the name, modulo
        `limit`. It is the same in every process, unlike Python's hash.

    Examples
    --------
    >>> from fastnn.feature_columns import FeatureColumns
    >>> columns = FeatureColumns(limit=2)
    >>> columns.add(["height", "width"])
    >>> columns.find(["width", "depth"])
    [1, 0]
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._column_of: dict[Hashable, int] = {}

    def __len__(self) -> int:
        return len(self._column_of)

    @property
    def names(self) -> list[Hashable]:
        """The names with a column of their own, in the order of their columns."""
        return list(self._column_of)

    def add(self, names: Iterable[Hashable]) -> None:
        """Give new names a column of their own while there are any, names of one call in the order of their texts.

        Raises
        ------
        DataError
            If :meth:`find` would refuse a name; then nothing has changed.
        """
        new = sorted((name for name in names if name not in self._column_of), key=repr)
        room = self.limit - len(self._column_of)
        for name in new[room:]:
            _checksum(name)
        for name in new[:room]:
            self._column_of[name] = len(self._column_of)

    def find(self, names: Sequence[Hashable]) -> list[int]:
        """Return the columns of names; -1 for names that :meth:`add` would give a new one.

        Raises
        ------
        DataError
            If a name must be hashed, and is neither text, bytes nor a number, nor a tuple of those.
        """
        columns: list[int] = [self._column_of.get(name, -1) for name in names]
        if len(self._column_of) == self.limit and -1 in columns:
            pairs = zip(names, columns, strict=True)
            return [_checksum(name) % self.limit if column < 0 else column for name, column in pairs]
        return columns


def _checksum(name: Hashable) -> int:
    return zlib.crc32(_as_text(name).encode(errors="surrogatepass"))


def _as_text(name: Any) -> str:
    """Return the same text for equal names, and different texts for others."""
    if isinstance(name, str):
        return f"text {name}"
    if isinstance(name, tuple):
        parts = [_as_text(part) for part in name]
        return "tuple " + "".join(f"{len(part)} {part}" for part in parts)
    if isinstance(name, numbers.Real):  # 1, 1.0 and True are the same key of a dict
        return f"number {math.floor(name) if name % 1 == 0 else float(name)}"
    if isinstance(name, bytes):
        return f"bytes {name.hex()}"
    raise DataError(
        f"feature {name!r}: names beyond max_features must be texts, bytes, numbers or tuples of them, not "
        f"{type(name).__name__}"
    )
