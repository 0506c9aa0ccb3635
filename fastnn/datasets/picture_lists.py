"""Pictures with their labels: sequences in which each is made when it is asked for, since millions take memory."""

from __future__ import annotations

from abc import abstractmethod
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate, chain
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastnn.datasets.folders import Folder


class Picture(NamedTuple):
    """A picture file and its label."""

    folder: Folder
    name: str
    label: str


class _Pictures(Sequence[Picture]):
    """A sequence that is told only how to make the picture at a position."""

    @abstractmethod
    def _at(self, position: int) -> Picture:
        """Return the picture at a position from 0 to the last one."""

    def __getitem__(self, position: Any) -> Any:
        found = range(len(self))[position]
        return [self._at(k) for k in found] if isinstance(found, range) else self._at(found)


class PicturesOfClass(_Pictures):
    """Files in a folder that have the same label."""

    def __init__(self, folder: Folder, names: list[str], label: str) -> None:
        self._folder, self._names, self._label = folder, names, label

    def __len__(self) -> int:
        return len(self._names)

    def _at(self, position: int) -> Picture:
        return Picture(self._folder, self._names[position], self._label)

    def __iter__(self) -> Iterator[Picture]:
        return (Picture(self._folder, name, self._label) for name in self._names)


class LabelledPictures(_Pictures):
    """Files in a folder, each with a label of its own."""

    def __init__(self, folder: Folder, names: list[str], labels: Sequence[str]) -> None:
        self._folder, self._names, self._labels = folder, names, labels

    def __len__(self) -> int:
        return len(self._names)

    def _at(self, position: int) -> Picture:
        return Picture(self._folder, self._names[position], self._labels[position])

    def __iter__(self) -> Iterator[Picture]:
        return (Picture(self._folder, name, label) for name, label in zip(self._names, self._labels, strict=True))


class JoinedPictures(_Pictures):
    """Pictures of several sequences, one after the other."""

    def __init__(self, parts: Sequence[Sequence[Picture]]) -> None:
        self._parts = parts
        self._ends = [*accumulate(map(len, parts))]

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def _at(self, position: int) -> Picture:
        part = bisect_right(self._ends, position)
        return self._parts[part][position - self._ends[part] + len(self._parts[part])]

    def __iter__(self) -> Iterator[Picture]:
        return chain.from_iterable(self._parts)
