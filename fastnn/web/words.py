"""What the pages call the things that are drawn: digits, letters or drawings of other classes."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from fastnn.datasets.labels import is_digit

if TYPE_CHECKING:
    from collections.abc import Sequence

_MOST_LISTED = 6
"""Of more classes than these, a heading gives the number only."""


@dataclass(frozen=True)
class Words:
    """The words for what is drawn, as pages use them in their sentences.

    Attributes
    ----------
    one, several : str
        What a drawing is called: "digit", "digits".
    something : str
        What may be drawn: "a digit", "a letter", "a circle, a square or a star".
    asked : str
        "the digit you are asked for".
    kind : str
        "How many of each digit".
    made : str
        "Digits drawn", "Drawings made".
    drawn : str
        "drawn digits", "drawings".
    write : str
        What one does: digits and letters are written, other things are drawn.
    """

    one: str
    several: str
    something: str
    asked: str
    kind: str
    made: str
    drawn: str
    write: str

    def as_dict(self) -> dict[str, str]:
        """Return the words by their names."""
        return asdict(self)


def words_for(classes: Sequence[str]) -> Words:
    """Return the words for some classes: digits, letters, or anything else."""
    if all(map(is_digit, classes)):
        return _written("digit")
    if all(len(name) == 1 and name.isalpha() for name in classes):
        return _written("letter")
    return Words(
        one="drawing",
        several="drawings",
        something=_listed(classes) if len(classes) <= _MOST_LISTED else f"one of {len(classes):,} things",
        asked="what you are asked for",
        kind="kind",
        made="Drawings made",
        drawn="drawings",
        write="draw",
    )


def _written(one: str) -> Words:
    return Words(
        one=one,
        several=f"{one}s",
        something=f"{article(one)} {one}",
        asked=f"the {one} you are asked for",
        kind=one,
        made=f"{one.capitalize()}s drawn",
        drawn=f"drawn {one}s",
        write="write",
    )


def article(name: str) -> str:
    """Return "a" or "an", as it is said before a number, a letter or a word; common.js has the same rule."""
    return "an" if re.match(r"(?i)8|11$|18$|[aefhilmnorsx]$|(?!u$|uni|use|eu|one)[aeiou]", name) else "a"


def _listed(names: Sequence[str]) -> str:
    """Return "a circle, a square or a star"."""
    each = [f"{article(name)} {name}" for name in names]
    return f"{', '.join(each[:-1])} or {each[-1]}"
