"""Files that give the labels of pictures by their names: ``labels.csv``, ``trainLabels.csv``, ``labels.txt``."""

from __future__ import annotations

import codecs
import csv
import io
from collections import Counter
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from fastnn.datasets.label_names import named_labels
from fastnn.datasets.labels import canonical_labels
from fastnn.datasets.pixel_label import Label, label_among, marked
from fastnn.datasets.pixel_layout import INDEX_OF_PANDAS
from fastnn.errors import DataError
from fastnn.images.decode import PICTURE_ENDINGS
from fastnn.reading import csv_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastnn.datasets.folders import Folder

LABEL_ENDINGS = (".csv", ".tsv", ".txt")
"""Ends of the names of files that may hold labels, in lower case."""
_LIMIT = 256 << 20
"""Size in bytes of the largest file of labels: some ten million names."""
_SHOWN = 8
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
    known = _names_of(pictures, by_path)
    width = len(rows[0])
    named = _column_of_names(rows, known, by_path, shown)
    if named is None or width < 2:
        return None
    header = rows[0] if _find(rows[0][named], known, by_path) is None else None
    body = rows if header is None else rows[1:]
    positions, found, notes = _labels(header, body, named, shown)
    labels: dict[str, str] = {}
    unused = []
    for row, label in zip(body, found, strict=True):
        picture = _find(row[named], known, by_path)
        if picture is None:
            unused.append(row[named])
        elif labels.setdefault(picture, label) != label:
            raise DataError(f"{shown}: gives {row[named][:60]!r} two labels; correct one of the rows")
    names = [repr(cell.strip()[:40]) for cell in header] if header else [str(k + 1) for k in range(width)]
    columns = f"column {names[positions[0]]}"
    if len(positions) > 1:
        columns = f"columns {names[positions[0]]} to {names[positions[-1]]} of 0 and 1"
    left = [names[k] for k in range(width) if k not in (*positions, named)]
    left_out = f" (left out: {', '.join(left[:_SHOWN])}{', ...' if len(left) > _SHOWN else ''})" if left else ""
    return FileLabels(labels, unused, "; ".join((f"{name}, {columns}{left_out}", *notes)))


def _column_of_names(rows: list[list[str]], known: dict[str, str], by_path: bool, shown: str) -> int | None:
    """Return the column that names pictures, if there is one.

    Pictures may be called 0.png, 1.png, ...: then an index or a label may look like their names without the ending.
    """
    found = [[_find(row[column], known, by_path) for row in rows] for column in range(len(rows[0]))]
    enough = max(1, _MATCHED * (len(rows) - 1))
    scores = {
        column: (
            len({*pictures} - {None}),
            sum(
                picture is not None and PurePosixPath(row[column]).suffix != ""
                for picture, row in zip(pictures, rows, strict=True)
            ),
        )
        for column, pictures in enumerate(found)
        if sum(picture is not None for picture in pictures) >= enough
    }
    if not scores:
        return None
    best = [column for column, score in scores.items() if score == max(scores.values())]
    if len(best) > 1:
        best = [column for column in best if rows[0][column].strip().casefold() not in INDEX_OF_PANDAS] or best
    if any(found[column][1:] != found[best[0]][1:] for column in best):
        raise DataError(
            f"{shown}: columns {' and '.join(str(k + 1) for k in best)} name different pictures; remove one"
        )
    return best[0]


def _labels(
    header: list[str] | None, rows: list[list[str]], named: int, shown: str
) -> tuple[tuple[int, ...], list[str], tuple[str, ...]]:
    """Return the positions of the columns of labels, the label of each row, and notes."""
    n_columns = len(rows[0]) if rows else 0
    names = {k: header[k].strip() if header else str(k + 1) for k in range(n_columns) if k != named}
    texts = {k: [row[k].strip() for row in rows] for k in names}
    is_named = header is not None and named_labels(names, texts)
    if n_columns == 2 and not is_named:
        found = Label((1 - named,))
    else:
        found = label_among(names, texts, shown, "call the column of the labels 'label'")
    if not found.positions:
        raise DataError(f"{shown}: no column besides the names of pictures can be the label; call it 'label'")
    if len(found.positions) == 1:
        return found.positions, *canonical_labels(texts[found.positions[0]], shown)
    marks = [marked(row) for row in zip(*(texts[k] for k in found.positions), strict=True)]
    if None in marks:
        raise DataError(f"{shown}: row {marks.index(None) + 1}: one of the columns of labels must be 1, the others 0")
    return found.positions, [found.classes[mark] for mark in marks if mark is not None], ()


def _rows(folder: Folder, name: str, shown: str) -> list[list[str]]:
    """Return the rows of a text file that all have as many cells; none if it is not such a file."""
    try:
        text = _text(folder.read(name, _LIMIT, "a file of labels"))
        if text[:4].lower() == "sep=":  # Excel
            text = text.partition("\n")[2]
        first = text[:4096].strip().splitlines()[0]
        delimiter = max((",", ";", "\t", " "), key=lambda one: (first.count(one) > 0, -",;\t ".index(one)))
        content = io.BytesIO(text.encode())
        pieces = iter(lambda: content.read(1 << 16), b"")
        rows = [
            row for _, row in csv_rows(pieces, shown, what="a file of labels", delimiter=delimiter, skip_blanks=True)
        ]
    except (DataError, UnicodeError, IndexError, csv.Error):
        return []
    rows = [row for row in rows if any(map(str.strip, row))]
    return rows if rows and {len(row) for row in rows} == {len(rows[0])} else []


def _text(content: bytes) -> str:
    """Return a text in UTF-16 or UTF-8, or as older programs on Windows write it."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252")


def _names_of(pictures: Sequence[str], by_path: bool) -> dict[str, str]:
    """Return each picture by what may stand for it: its path, its name and its name without the ending.

    Also with other letters, since case does not count on Windows and macOS, as long as that is clear.
    """
    known: dict[str, str] = {}
    repeated = set()
    for picture in pictures:
        path = PurePosixPath(picture)
        for key in {picture} if by_path else {picture, path.name, path.stem, _number(path.stem)}:
            if known.setdefault(key, picture) != picture:
                repeated.add(key)
    known = {key: picture for key, picture in known.items() if key not in repeated}
    folded = Counter(key.casefold() for key in known)
    return {key.casefold(): picture for key, picture in known.items() if folded[key.casefold()] == 1} | known


def _find(cell: str, known: dict[str, str], by_path: bool) -> str | None:
    """Return the picture that a cell names; a path in it may begin further up, unless `by_path` is given."""
    path = cell.strip().replace("\\", "/").removeprefix("./")
    texts = [path, path.casefold()]
    if not by_path:
        name = path.rpartition("/")[2]
        texts[1:1] = [name]
        stem, dot, ending = name.rpartition(".")
        stem = stem if f"{dot}{ending}".lower() in PICTURE_ENDINGS else name
        texts += [name.casefold(), stem, stem.casefold(), _number(stem)]
    return next((known[text] for text in texts if text in known), None)


def _number(text: str) -> str:
    """Return a number without leading zeros; other texts as they are."""
    return text.lstrip("0") or "0" if text.isascii() and text.isdigit() else text
