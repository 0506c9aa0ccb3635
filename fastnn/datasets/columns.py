"""Columns of a table: numbers, or categories that become one input each."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

_Text = Annotated[str, Meta(max_length=1 << 16)]


class Column(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A column of a table.

    Attributes
    ----------
    name : str
    categories : tuple of str or None
        None for numbers, which are one input of a network. Otherwise the texts that the column may hold; each is an
        input that is 1 if the row has this text, and 0 if not (one-hot).

    Examples
    --------
    >>> from fastnn.datasets import Column
    >>> Column("colour", ("red", "white")).width
    2
    """

    name: _Text
    categories: Annotated[tuple[_Text, ...], Meta(max_length=1 << 20)] | None = None

    @property
    def width(self) -> int:
        """Number of inputs."""
        return 1 if self.categories is None else len(self.categories)


def total_width(columns: tuple[Column, ...]) -> int:
    """Return the number of inputs of all columns together."""
    return sum(column.width for column in columns)
