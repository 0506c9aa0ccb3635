"""Folders with their files, on a disk or in an archive, and what is passed over in them."""

from __future__ import annotations

import contextlib
import os
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastnn.errors import DataError
from fastnn.reading import read_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

MOST_ENTRIES = 2_000_000
"""Most files and folders of a data set: more images than a file of the largest size holds."""
MOST_LISTED = 5
"""Most names in a message."""

_PASSED_OVER = {
    "file": ("file that is not a picture", "files that are not pictures"),
    "hidden": ("hidden file or folder", "hidden files or folders"),
    "picture": ("picture outside of the class folders", "pictures outside of the class folders"),
    "empty": ("folder without pictures", "folders without pictures"),
    "aside": ("folder that is none of the parts", "folders that are none of the parts"),
    "below": ("folder in a class folder", "folders in class folders"),
    "link": ("link that leads out of the folder", "links that lead out of the folder"),
    "unreadable": ("folder that cannot be read", "folders that cannot be read"),
    "unlabelled": ("picture without a label", "pictures without a label"),
    "row": ("row of the label file without a picture", "rows of the label file without a picture"),
}


class PassedOver:
    """Counts what is not read of a data set, by kind, and keeps some of the names."""

    def __init__(self) -> None:
        self._names: dict[str, list[str]] = {}

    def add(self, kind: str, names: Iterable[str]) -> None:
        """Add names of a kind of :data:`_PASSED_OVER`."""
        self._names.setdefault(kind, []).extend(names)

    def update(self, other: PassedOver) -> None:
        """Add all that another one has."""
        for kind, names in other._names.items():
            self.add(kind, names)

    def note(self) -> str | None:
        """Return a sentence for the user, or None if nothing was passed over."""
        parts = [
            f"{len(names):,} {words[len(names) > 1]} ({few(sorted(names))})"
            for kind, words in _PASSED_OVER.items()
            if (names := self._names.get(kind))
        ]
        return f"passed over: {', '.join(parts)}" if parts else None


def few(names: Iterable[str], longest: int = 60) -> str:
    """Return names separated by commas, as a message shows them: each once, and not all of many."""
    unique = list(dict.fromkeys(names))
    listed = [_printable(name, longest) for name in unique[:MOST_LISTED]]
    return ", ".join([*listed, "..."] if len(unique) > MOST_LISTED else listed)


def _printable(name: str, longest: int) -> str:
    shown = name if len(name) <= longest else f"{name[: longest - 3]}..."
    return shown if shown.isprintable() else repr(shown)


def is_hidden(name: str) -> bool:
    """Return whether a file or folder was not put there by a user: a hidden one, or the folder of macOS in archives."""
    return name.startswith(".") or name == "__MACOSX"


@dataclass(frozen=True)
class Listing:
    """What a folder holds; see the properties of :class:`Folder`."""

    files: list[str]
    folders: dict[str, Folder]
    passed_over: dict[str, list[str]]


class Folder(ABC):
    """A folder of files.

    Attributes
    ----------
    shown : str
        What messages call it: its path, or that of the archive with the path in it.
    choose : str
        What messages tell users to do who must choose a file or folder in it.
    """

    shown: str
    choose = "give the path of one of them"

    @property
    def files(self) -> list[str]:
        """Names of its files that are not hidden, sorted."""
        return self._listing().files

    @property
    def folders(self) -> dict[str, Folder]:
        """Its folders that are not hidden by name, sorted."""
        return self._listing().folders

    @property
    def passed_over(self) -> dict[str, list[str]]:
        """What is in neither `files` nor `folders`: names by their kind, see :class:`PassedOver`."""
        return self._listing().passed_over

    @abstractmethod
    def _listing(self) -> Listing: ...

    @abstractmethod
    def read(self, name: str, limit: int, what: str = "a picture") -> bytes:
        """Return the content of one of its files; DataError if it has more bytes than `limit` or cannot be read."""

    @abstractmethod
    def on_disk(self, names: Iterable[str], spool: Path | None = None) -> AbstractContextManager[Path]:
        """Give a folder on a disk that holds these files, for as long as the context lasts.

        If they are packed, they are unpacked to a temporary folder: one in `spool`, if it is given.
        """


class _Budget:
    """Counts files and folders while a folder is searched."""

    def __init__(self, source: str) -> None:
        self._source, self._left = source, MOST_ENTRIES

    def spend(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise DataError(
                f"{self._source}: holds more than {MOST_ENTRIES:,} files and folders; "
                "give the folder of the data set itself"
            )


class DiskFolder(Folder):
    """A folder on a disk, which is listed when it is first asked for its files.

    Links to folders are followed only to other parts of the folder that the search began with.

    Parameters
    ----------
    path : Path
    """

    def __init__(self, path: Path, parent: DiskFolder | None = None) -> None:
        self.path, self.shown = path, str(path)
        self._root: str = os.path.realpath(path) if parent is None else parent._root
        self._budget: _Budget = _Budget(self.shown) if parent is None else parent._budget
        self._is_top = parent is None
        self._listed: Listing | None = None

    def read(self, name: str, limit: int, what: str = "a picture") -> bytes:
        """Return the content of one of its files."""
        return read_file(os.path.join(self.shown, name), limit, what=what)  # noqa: PTH118 - half the time

    @contextlib.contextmanager
    def on_disk(self, names: Iterable[str], spool: Path | None = None) -> Iterator[Path]:  # noqa: ARG002 - they are there
        """Give the folder itself."""
        yield self.path

    def _listing(self) -> Listing:
        if self._listed is None:
            files: list[str] = []
            folders: list[str] = []
            passed: dict[str, list[str]] = {}
            try:
                with os.scandir(self.path) as entries:
                    for entry in entries:
                        self._budget.spend()
                        if is_hidden(entry.name):
                            passed.setdefault("hidden", []).append(entry.name)
                        elif not entry.is_dir():
                            files.append(entry.name)
                        elif entry.is_symlink() and not self._may_follow(entry.path):
                            passed.setdefault("link", []).append(entry.name)
                        else:
                            folders.append(entry.name)
            except OSError:
                if self._is_top:
                    raise
                passed.setdefault("unreadable", []).append(self.path.name)
            below: dict[str, Folder] = {name: DiskFolder(self.path / name, self) for name in sorted(folders)}
            self._listed = Listing(sorted(files), below, passed)
        return self._listed

    def _may_follow(self, link: str) -> bool:
        """Return whether a link leads to a folder inside of the first one that does not hold the link itself."""
        target = os.path.realpath(link)
        here = os.path.realpath(self.path)
        inside = target.startswith(os.path.join(self._root, ""))  # noqa: PTH118 - with a separator at its end
        return inside and not f"{here}{os.sep}".startswith(f"{target}{os.sep}")
