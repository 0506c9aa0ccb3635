"""Labels in the names of picture files: ``3_001.png``, ``cat.12.jpg``, ``digit-7-12.png``, ``0001_label5.png``."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_CLASSES = 100
"""Names that give more classes are numbers of pictures."""
_LEAST_PER_CLASS = 2
"""Fewest pictures of a class on the average; names of which each is another one are no labels."""

_PART = re.compile(r"[0-9]+|[^\W\d_]+")
_KEYWORD = re.compile(r"(?:^|[^A-Za-z])(?:label|class|cls|digit|target|lbl)[\s_=\-.]*([0-9]+|[^\W\d_]+)", re.IGNORECASE)
_COPY = re.compile(r"\s*\([0-9]+\)$")
"""The number that Windows gives to files of the same name."""
_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth")


@dataclass(frozen=True)
class NameLabels:
    """Labels that names of files hold.

    Attributes
    ----------
    labels : tuple of str
        One for each name.
    rule : str
        Where in the names they are, for a message.
    """

    labels: tuple[str, ...]
    rule: str


def labels_in_names(stems: Sequence[str]) -> NameLabels | str:
    """Return the labels in names of files without their endings, by one rule that fits all of them.

    What follows a word such as "label" is a label. Otherwise, a label is the part, a number or a word, at one position,
    if there are 2 to 100 of them for at least twice as many files. Numbers of copies, as in "3 (2)", are no part. A
    number that counts the files of each class, and one with leading zeros, is not a label if another part can be.

    Parameters
    ----------
    stems : sequence of str
        At least one.

    Returns
    -------
    NameLabels or str
        A text if no rule fits, or several that contradict each other: why.
    """
    stems = [_COPY.sub("", stem) for stem in stems]
    named = [_KEYWORD.search(stem) for stem in stems]
    found = [_label(match[1]) for match in named if match is not None]
    if len(found) == len(stems) and _may_be_labels(found):
        return NameLabels(tuple(found), "follows a word such as 'label' or 'digit'")
    parts = [_PART.findall(stem) for stem in stems]
    rules = _rules_of(parts)
    if not rules:
        return "no part of the names of its pictures can be a label"
    rules = _without_counters(rules)
    if len(rules) > 1:
        texts = " or ".join(f"the {rule}" for rule in rules)
        return f"the label may be {texts} of the names of its pictures, such as {stems[0][:60]!r}"
    (rule, values), *_ = rules.items()
    return NameLabels(tuple(map(_label, values)), f"is the {rule} of the name")


def _label(text: str) -> str:
    """Return a part of a name as a label: numbers without leading zeros."""
    return str(int(text)) if text.isascii() and text.isdigit() and len(text) < 20 else text


def _may_be_labels(values: Sequence[str]) -> bool:
    classes = len(set(values))
    return 2 <= classes <= MOST_CLASSES and len(values) >= _LEAST_PER_CLASS * classes


def _rules_of(parts: list[list[str]]) -> dict[str, list[str]]:
    """Return the parts of names that can be labels, by the position that they have.

    Names with different numbers of parts are counted from their end only if nothing fits from their beginning.
    """
    shortest = min(map(len, parts))
    rules = _fitting({f"{_ordinal(k)} part": [found[k] for found in parts] for k in range(shortest)})
    if rules or shortest == max(map(len, parts)):
        return rules
    return _fitting({f"{_ordinal(k)} part from the end": [found[-1 - k] for found in parts] for k in range(shortest)})


def _fitting(columns: dict[str, list[str]]) -> dict[str, list[str]]:
    """Return those parts that are all numbers or all words, and of which there are as many as there may be labels."""
    found: dict[tuple[str, ...], tuple[str, list[str]]] = {}
    for rule, values in columns.items():
        labels = tuple(map(_label, values))
        if len({value.isdigit() for value in values}) == 1 and _may_be_labels(labels):
            # The same label may stand in a name twice.
            found.setdefault(labels, (rule, values))
    return dict(found.values())


def _ordinal(position: int) -> str:
    return _ORDINALS[position] if position < len(_ORDINALS) else f"{position + 1}th"


def _without_counters(rules: dict[str, list[str]]) -> dict[str, list[str]]:
    """Return the rules without those that number files, as long as others are left."""
    padded = {name for name, values in rules.items() if any(len(value) > 1 and value[0] == "0" for value in values)}
    if len(padded) < len(rules):
        rules = {name: values for name, values in rules.items() if name not in padded}
    counters = {
        name
        for name, values in rules.items()
        if any(_counts(values, others) and not _counts(others, values) for others in rules.values())
    }
    return {name: values for name, values in rules.items() if name not in counters} or rules


def _counts(values: list[str], labels: list[str]) -> bool:
    """Return whether numbers count the files of each label: 0, 1, 2, ... or 1, 2, 3, ..."""
    if not all(value.isascii() and value.isdigit() for value in values):
        return False
    groups = defaultdict(list)
    for value, label in zip(values, labels, strict=True):
        groups[label].append(int(value[:18]))
    return all(sorted(group) in (list(range(len(group))), list(range(1, len(group) + 1))) for group in groups.values())
