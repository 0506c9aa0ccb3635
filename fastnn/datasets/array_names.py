"""What the names of arrays say: which are images, labels or names of classes, and of which part of a data set."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Part: TypeAlias = Literal["train", "test", "validation"]
NamedPart: TypeAlias = Literal["train", "test", "validation", "eval"]
"""The part that a name says; what "eval" is depends on the others, see :func:`known_part`."""
Kind: TypeAlias = Literal["images", "numbers", "labels", "classes", "columns"]

ARROW_ENDINGS = (".parquet", ".pq", ".arrow", ".feather")
"""Ends of the names of files that pyarrow reads."""

_KINDS: dict[Kind, tuple[str, ...]] = {
    "images": ("images", "image", "imgs", "img", "pictures", "pics", "pixels"),
    "numbers": ("x", "xs", "data", "features", "feature", "inputs", "input", "samples"),
    "labels": (
        "labels", "label", "lbls", "lbl", "labs", "lab", "y", "ys", "targets", "target", "class", "outputs", "output",
    ),
    "classes": ("classes", "categories", "names"),
    "columns": ("columns",),
}  # fmt: skip
_PARTS: dict[NamedPart, tuple[str, ...]] = {
    "train": ("training", "train", "trn", "tr"),
    "test": ("testing", "test", "tst", "te", "t10k", "holdout"),
    "validation": ("validation", "valid", "val", "dev"),
    "eval": ("evaluation", "eval"),
}
_FIRST: tuple[Kind, ...] = ("labels", "classes", "columns", "images", "numbers")
"""Of several words the first of these counts: "image_labels" are labels."""
_KIND_OF: dict[str, Kind] = {word: kind for kind, words in _KINDS.items() for word in words}
PART_OF: dict[str, NamedPart] = {word: part for part, words in _PARTS.items() for word in words}
"""The part of a data set by the words for it, in names of arrays, files and folders."""
_WITHOUT_MEANING = frozenset(("set", "array", "arr", "np"))
_NAMES_OF_CLASSES = re.compile(r"(class|label|target|category)_?names?")
_NAMES_OF_COLUMNS = re.compile(r"(feature|column)_?names?")
_CAPITAL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_JOINED = re.compile("({0})({1})|({1})({0})".format("|".join(PART_OF), "|".join(_KIND_OF)))


class Role(NamedTuple):
    """What the name of an array or file says that it holds.

    Attributes
    ----------
    family : str
        The words that say nothing about kind and part: the same for all arrays of one data set.
    part : {"train", "test", "validation", "eval"} or None
    kind : {"images", "numbers", "labels", "classes", "columns"}
        "numbers" are images or the rows of a table.
    """

    family: str
    part: NamedPart | None
    kind: Kind


def known_part(named: NamedPart, others: Iterable[NamedPart | None]) -> Part:
    """Return the part that a name says; "eval" is the validation set beside a test set, and the test set else."""
    if named != "eval":
        return named
    return "validation" if "test" in others else "test"


def role_of(name: str) -> Role | None:
    """Return what a name such as ``x_train``, ``trainImages`` or ``emnist-labels`` says, or None if it says nothing."""
    text = _CAPITAL.sub("_", name).lower()
    text = _NAMES_OF_CLASSES.sub("classes", _NAMES_OF_COLUMNS.sub("columns", text))
    kinds: set[Kind] = set()
    part: NamedPart | None = None
    rest: list[str] = []
    for word in filter(None, re.split("[^a-z0-9]+", text)):
        joined = _JOINED.fullmatch(word)
        for one in filter(None, joined.groups()) if joined else (word,):
            if one in _KIND_OF:
                kinds.add(_KIND_OF[one])
            elif one in PART_OF and part is None:
                part = PART_OF[one]
            elif one not in _WITHOUT_MEANING:
                rest.append(one)
    kind = next((kind for kind in _FIRST if kind in kinds), None)
    return None if kind is None else Role("-".join(rest), part, kind)


def hold_pairs(stems: Sequence[str]) -> bool:
    """Return whether the names of files say that some hold labels and the others images, or rows."""
    kinds = [role.kind for stem in stems if (role := role_of(stem)) is not None]
    return len(kinds) == len(stems) and "labels" in kinds and not {"images", "numbers"}.isdisjoint(kinds)
