"""Names of columns: which hold labels and which number or name the rows."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LABEL_NAMES = (
    ("label", "class", "target", "y"),
    (
        *("labels", "classes", "targets", "digit", "digits", "category", "letter", "character"),
        *("class_label", "class_name", "class_id", "label_name", "label_id", "true_label", "ground_truth"),
    ),
)
"""Names of the column of labels; the second ones count if there is none of the first."""
INDEX_NAMES = (
    *("id", "index", "idx", "no", "nr", "row", "#", "filename", "file", "file_name", "filepath", "path", "name"),
    *("image", "image_id", "imageid", "image_name", "img", "uid", "uuid"),
)
"""Names of columns that number or name the rows."""


def plain_name(name: str) -> str:
    """Return the name of a column as the tables of names write it: "Class Label" is "class_label"."""
    return re.sub(r"[\s_-]+", "_", name.strip().casefold())


def named_labels(names: Mapping[int, str], texts: Mapping[int, Sequence[str]]) -> list[int]:
    """Return the positions of columns that are labels by their names: several only if they contradict each other.

    Of columns that say the same in other words, such as the number and the name of a class, the first one counts.

    Parameters
    ----------
    names : mapping of int to str
        The names of columns by position.
    texts : mapping of int to sequence of str
        The cells of each.
    """
    for usual in LABEL_NAMES:
        found = sorted(
            (k for k in names if plain_name(names[k]) in usual), key=lambda k: usual.index(plain_name(names[k]))
        )
        if found:
            first = found[0]
            return [first, *(k for k in found[1:] if not _say_the_same(texts[first], texts[k]))]
    return []


def _say_the_same(one: Sequence[str], other: Sequence[str]) -> bool:
    """Return whether each text of one column always stands beside the same text of the other."""
    return len(set(zip(one, other, strict=True))) == len(set(one)) == len(set(other))
