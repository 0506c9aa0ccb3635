"""Files that give the labels of pictures by their names: ``labels.csv``, ``trainLabels.csv``, ``labels.txt``."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from fastnn.errors import DataError
from fastnn.reading import csv_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastnn.datasets.folders import Folder

LABEL_ENDINGS = (".csv", ".tsv", ".txt")
"""Ends of the names of files that may hold labels, in lower case."""
_LIMIT = 256 << 20
"""Size in bytes of the largest file of labels: some ten million names."""
_LABEL_NAMES = ("label", "labels", "class", "target", "y", "digit", "category", "class_name", "label_name")
"""What a column of labels is called, in lower case."""
_MATCHED = 0.5
"""Least share of the rows that must name a picture for a column to be one of names."""


@dataclass(frozen=True)
class FileLabels:
    """Labels of pictures from a file.

    Attributes
    ----------
    labels : dict
        The label of each picture that is in the file by the name that was asked for.
    unused : list of str
        Names in the file of which there is no picture.
    text : str
        Which columns were taken, for a message.
    """

    labels: dict[str, str]
    unused: list[str]
    text: str


def labels_from_file(folder: Folder, name: str, pictures: Sequence[str], *, by_path: bool = False) -> FileLabels | None:
    """Return the labels of pictures from a text file of rows, if one of its columns has their names.

    Parameters
    ----------
    folder : Folder
    name : str
        The file with the labels.
    pictures : sequence of str
        Names of pictures, or their paths.
    by_path : bool
        Whether the file must give the paths as they are, and not names alone.

    Returns
    -------
    FileLabels or None
        None if it is not a file of labels.

    Raises
    ------
    DataError
        If it is one, but gives a picture two labels, or it is unclear which column has the labels.
    """
    shown = f"{folder.shown}/{name}"
    rows = _rows(folder, name, shown)
    if not rows:
        return None
    known = {picture: picture for picture in pictures} if by_path else _names_of(pictures)
    width = len(rows[0])
    matches = [sum(_find(row[column], known, by_path) is not None for row in rows) for column in range(width)]
    named = max(range(width), key=matches.__getitem__)
    if matches[named] < max(1, _MATCHED * (len(rows) - 1)) or width < 2:
        return None
    header = rows[0] if _find(rows[0][named], known, by_path) is None else None
    column = _label_column(header, width, named, shown)
    labels: dict[str, str] = {}
    unused = []
    for row in rows if header is None else rows[1:]:
        picture = _find(row[named], known, by_path)
        if picture is None:
            unused.append(row[named])
        elif labels.setdefault(picture, row[column].strip()) != row[column].strip():
            raise DataError(f"{shown}: gives {row[named][:60]!r} two labels; correct one of the rows")
    columns = f"column {header[column].strip()!r}" if header else f"column {column + 1}"
    return FileLabels(labels, unused, f"{name}, {columns}")


def _rows(folder: Folder, name: str, shown: str) -> list[list[str]]:
    """Return the rows of a text file that all have as many cells; none if it is not such a file."""
    try:
        content = folder.read(name, _LIMIT, "a file of labels").removeprefix(b"\xef\xbb\xbf")
        first = content[:4096].splitlines()[0].decode() if content.strip() else ""
        delimiter = max((",", ";", "\t", " "), key=lambda one: (first.count(one) > 0, -",;\t ".index(one)))
        text = io.BytesIO(content)
        pieces = iter(lambda: text.read(1 << 16), b"")
        rows = [
            row for _, row in csv_rows(pieces, shown, what="a file of labels", delimiter=delimiter, skip_blanks=True)
        ]
    except (DataError, UnicodeDecodeError, IndexError, csv.Error):
        return []
    return rows if rows and {len(row) for row in rows} == {len(rows[0])} else []


def _names_of(pictures: Sequence[str]) -> dict[str, str]:
    """Return each picture by what may stand for it: its path, its name and its name without the ending."""
    known: dict[str, str] = {}
    repeated = set()
    for picture in pictures:
        path = PurePosixPath(picture)
        for key in {picture, path.name, path.stem}:
            if known.setdefault(key, picture) != picture:
                repeated.add(key)
    return {key: picture for key, picture in known.items() if key not in repeated}


def _find(cell: str, known: dict[str, str], by_path: bool) -> str | None:
    """Return the picture that a cell names; a path in it may begin further up, unless `by_path` is given."""
    path = cell.strip().replace("\\", "/").removeprefix("./")
    picture = known.get(path)
    return picture if picture is not None or by_path else known.get(path.rpartition("/")[2])


def _label_column(header: list[str] | None, width: int, named: int, shown: str) -> int:
    """Return the column of the labels."""
    if header is not None:
        lower = [cell.strip().lower() for cell in header]
        found = [lower.index(name) for name in _LABEL_NAMES if name in lower and lower.index(name) != named]
        if found:
            return found[0]
    if width == 2:
        return 1 - named
    raise DataError(f"{shown}: has several columns besides the names of pictures; call the one of the labels 'label'")
