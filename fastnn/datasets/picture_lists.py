"""Pictures with their labels: sequences in which each is made when it is asked for, since millions take memory."""

from __future__ import annotations

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


class PicturesOfClass(Sequence[Picture]):
    """Files in a folder that have the same label."""

    def __init__(self, folder: Folder, names: list[str], label: str) -> None:
        self._folder, self._names, self._label = folder, names, label

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, position: Any) -> Any:
        return Picture(self._folder, self._names[position], self._label)

    def __iter__(self) -> Iterator[Picture]:
        return (Picture(self._folder, name, self._label) for name in self._names)


class LabelledPictures(Sequence[Picture]):
    """Files in a folder, each with a label of its own."""

    def __init__(self, folder: Folder, names: list[str], labels: Sequence[str]) -> None:
        self._folder, self._names, self._labels = folder, names, labels

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, position: Any) -> Any:
        return Picture(self._folder, self._names[position], self._labels[position])

    def __iter__(self) -> Iterator[Picture]:
        return (Picture(self._folder, name, label) for name, label in zip(self._names, self._labels, strict=True))


class JoinedPictures(Sequence[Picture]):
    """Pictures of several sequences, one after the other."""

    def __init__(self, parts: Sequence[Sequence[Picture]]) -> None:
        self._parts = parts
        self._ends = [*accumulate(map(len, parts))]

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, position: Any) -> Any:
        if isinstance(position, slice):
            return [self[k] for k in range(*position.indices(len(self)))]
        if not 0 <= position < len(self):
            raise IndexError(position)
        part = bisect_right(self._ends, position)
        return self._parts[part][position - self._ends[part] + len(self._parts[part])]

    def __iter__(self) -> Iterator[Picture]:
        return chain.from_iterable(self._parts)
