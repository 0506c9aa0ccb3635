"""Images of picture files: those of 28x28 pixels as they are stored, drawings on larger ones cut out."""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn.datasets.dataset import PIXELS, SIDE, Dataset
from fastnn.datasets.folders import few
from fastnn.datasets.labels import encode_labels
from fastnn.datasets.mapped import ROWS_AT_ONCE, MappedRows, row_parts
from fastnn.datasets.picture_lists import JoinedPictures
from fastnn.datasets.polarity import dark_on_light
from fastnn.datasets.resize import Resize
from fastnn.datasets.small_pictures import SmallPictures
from fastnn.datasets.spool import free_path, rows_in
from fastnn.datasets.store_files import new_array
from fastnn.errors import DataError
from fastnn.images.decode import PICTURE_LIMIT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from fastnn.datasets.folder_search import PictureSet
    from fastnn.datasets.options import ReadOptions
    from fastnn.datasets.picture_lists import Picture
    from fastnn.datasets.polarity import StoredPolarity

_MOST_DAMAGED = 0.1
"""Largest share of pictures that may be left out: more of them are not an accident."""
_SAMPLE = 100
"""Pictures of which the border is looked at, to say how a set of large pictures is stored."""
_MIXED = 0.05
"""A set is mixed if this share of its pictures differs from the others, as in :mod:`fastnn.datasets.polarity`."""
_SMALL = 64
"""Longest side of pictures that are decoded before it is known whether the whole set has their size."""
_LEAST_SIDE = 8
"""Smallest pictures of a set of one size that are scaled as they are, as those of arrays and tables are."""


class _Groups:
    """The part and the label of each picture.

    Attributes
    ----------
    names : list of (part, label)
        Those that occur.
    of : array of int
        The position in `names` for each picture.
    counts : Counter
        How many pictures each has.
    """

    def __init__(self, found: PictureSet) -> None:
        known: dict[tuple[str, str], int] = {}
        self.of = array(
            "q",
            (
                known.setdefault((part, picture.label), len(known))
                for part, members in found.parts.items()
                for picture in members
            ),
        )
        self.names = [*known]
        self.counts = Counter(self.of)


@dataclass(eq=False)
class _Read:
    """What the pictures of a data set became.

    Attributes
    ----------
    images : ndarray of uint8, shape (n, 784)
    stored : ndarray of bool, shape (n,)
        Which are as they are stored; others have dark ink on light paper.
    small : SmallPictures
        Those with sides of up to 64 pixels that are not 28x28.
    path : Path or None
        The file of `images`, if they are in one, so that no copy of them should be made.
    faults : dict
        By position in `images`: why a picture cannot be read.
    blank : list of int
        Positions of other pictures on which nothing is drawn.
    more : list of str
        Names of files with several pictures.
    """

    images: NDArray[np.uint8]
    stored: NDArray[np.bool_]
    small: SmallPictures
    path: Path | None = None
    faults: dict[int, str] = field(default_factory=dict)
    blank: list[int] = field(default_factory=list)
    more: list[str] = field(default_factory=list)


def read_picture_set(found: PictureSet, options: ReadOptions, spool: Path | None = None) -> Dataset:
    """Read the pictures of a data set.

    Images of 28x28 pixels are used as they are stored; all of them together decide which of ink and paper is darker.
    Others are read as pictures of a drawing, see :func:`fastnn.images.read_image`.

    Parameters
    ----------
    found : PictureSet
    options : ReadOptions
    spool : Path, optional
        A temporary folder for the images, if they are to be left on the disk.

    Returns
    -------
    Dataset
        With its `polarity`; with test and validation sets if there are such parts. Notes say what was left out.

    Raises
    ------
    DataError
        If a picture is damaged and `options.strict` is given, or more than a tenth of the pictures are damaged, or all
        of a class; the message names one.
    """
    pictures = JoinedPictures([*found.parts.values()])
    notes = list(found.notes)
    read = _read_all(pictures, options, notes, spool)
    polarity = _turn(read, pictures, options, notes)
    groups = _Groups(found)
    left_out = _blank_to_leave_out(read, groups)
    if options.strict and left_out:
        raise DataError(f"{_shown(pictures[left_out[0]])}: nothing is drawn on it; remove it, or drop --strict")
    _check_faults(read, groups, found.shown)
    kept = np.ones(len(pictures), np.bool_)
    kept[[*read.faults, *left_out]] = False
    notes += _notes(read, pictures, kept)
    labels, classes = encode_labels([picture.label for picture in pictures], found.shown)
    start, parts = 0, {}
    rows: Any = None if read.path is None else rows_in(read.path)
    for part, members in found.parts.items():
        chosen = np.flatnonzero(kept[start : start + len(members)]) + start
        name = found.shown if part == "train" else f"{found.shown} ({part} set)"
        images = read.images[chosen] if rows is None else rows if len(chosen) == len(rows) else rows.take(chosen)
        parts[part] = Dataset(images, labels[chosen], classes, name, polarity=polarity)
        start += len(members)
    passed = found.passed_over.note()
    return replace(
        parts["train"],
        test=parts.get("test"),
        validation=parts.get("validation"),
        notes=(*notes, passed) if passed else tuple(notes),
    )


def _read_all(pictures: Sequence[Picture], options: ReadOptions, notes: list[str], spool: Path | None) -> _Read:
    """Decode all pictures, in their order."""
    n = len(pictures)
    path = free_path(spool) if spool is not None and n else None
    images = np.empty((n, PIXELS), np.uint8) if path is None else new_array(path, np.dtype(np.uint8), (n, PIXELS))
    read = _Read(images, np.zeros(n, np.bool_), SmallPictures(spool), path)
    for position, picture in enumerate(pictures):
        try:
            _read_one(read, position, picture, options)
        except DataError as error:
            if options.strict:
                raise
            read.faults[position] = str(error)
            read.images[position] = 255
    _scale_small(read, options, notes)
    low, high = (np.concatenate(levels) for levels in zip(*_ends(read.images), strict=True))
    blank = low == np.where(read.stored, high, 255)
    read.blank = [position for position in np.flatnonzero(blank).tolist() if position not in read.faults]
    return read


def _ends(images: NDArray[np.uint8]) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """Yield the lowest and the highest grey level of each image, some of them at a time."""
    yield np.zeros(0, np.uint8), np.zeros(0, np.uint8)
    for part in row_parts(images):
        yield part.min(axis=1), part.max(axis=1)


def _shown(picture: Picture) -> str:
    return f"{picture.folder.shown}/{picture.name}"


def _read_one(read: _Read, position: int, picture: Picture, options: ReadOptions) -> None:
    from fastnn.images import read_image
    from fastnn.images.read import load_small_picture

    name = _shown(picture)
    content = picture.folder.read(picture.name, PICTURE_LIMIT)
    size, has_more, grey = load_small_picture(content, options.polarity, name, _SMALL)
    if has_more:
        read.more.append(f"{picture.label}/{picture.name}")
    if grey is None:
        read.images[position] = read_image(content, polarity=options.polarity, name=name)
    elif size == (SIDE, SIDE):
        read.images[position], read.stored[position] = grey.reshape(PIXELS), True
    else:
        read.small.add(position, grey)


def _scale_small(read: _Read, options: ReadOptions, notes: list[str]) -> None:
    """Bring small pictures to 28x28 pixels: those of a set of one size as they are, others as drawings."""
    from fastnn.images import fit

    shapes = read.small.shapes
    is_one_size = len(shapes) == 1 and len(read.small) + len(read.faults) == len(read.images)
    if is_one_size and min(min(shapes)) >= _LEAST_SIDE:
        resize = Resize(*next(iter(shapes)))
        for position, grey in read.small:
            read.images[position] = resize(grey)
            read.stored[position] = True
        notes += [resize.note] if resize.note else []
        return
    for position, grey in read.small:
        read.images[position] = fit(grey, polarity=options.polarity)


def _turn(read: _Read, pictures: Sequence[Picture], options: ReadOptions, notes: list[str]) -> StoredPolarity:
    """Give images as stored dark ink on light paper; return how all are stored."""
    polarities: Counter[StoredPolarity] = Counter()
    sound = read.stored.copy()
    sound[list(read.faults)] = False
    if sound.any():
        places = np.flatnonzero(sound)
        rows: Any = read.images[places] if read.path is None else MappedRows(read.images).take(places)
        found = dark_on_light(rows, options.polarity)
        if found.n_inverted:
            for start in range(0, len(places), ROWS_AT_ONCE):
                read.images[places[start : start + ROWS_AT_ONCE]] = found.images[start : start + ROWS_AT_ONCE]
        unlike = {k: pictures[int(places[k])] for k in found.unlike}
        names = {k: f"{picture.label}/{picture.name}" for k, picture in unlike.items()}
        notes += found.notes(names)
        polarities[found.polarity] += int(sound.sum())
    others = [position for position in np.flatnonzero(~read.stored).tolist() if position not in read.faults]
    if others:
        polarity = _polarity_of([pictures[position] for position in others], options)
        polarities[polarity] += len(others)
        ink = {"light-on-dark": "; they have light ink on dark paper", "mixed": "; some have light ink on dark paper"}
        notes.append(
            f"{len(others):,} of {len(pictures):,} pictures are not 28x28 pixels: the drawing on each was cut out, "
            f"scaled and centred{ink.get(polarity, '')}"
        )
    if not polarities:
        return "dark-on-light"
    most, count = polarities.most_common(1)[0]
    return most if count >= (1 - _MIXED) * polarities.total() else "mixed"


def _polarity_of(pictures: Sequence[Picture], options: ReadOptions) -> StoredPolarity:
    """Return how large pictures are stored, by the borders of some of them."""
    if options.polarity != "auto":
        return options.polarity
    from fastnn.images.read import border, load_picture

    some = pictures[:: max(1, len(pictures) // _SAMPLE)]
    n_light = 0
    for picture in some:
        grey = load_picture(picture.folder.read(picture.name, PICTURE_LIMIT), name=picture.name)
        n_light += bool(np.median(border(grey)) >= 128)
    if min(n_light, len(some) - n_light) > _MIXED * len(some):
        return "mixed"
    return "dark-on-light" if 2 * n_light >= len(some) else "light-on-dark"


def _blank_to_leave_out(read: _Read, groups: _Groups) -> list[int]:
    """Return the positions of blank pictures of classes whose other pictures are mostly not blank."""
    blank = Counter(groups.of[position] for position in read.blank)
    return [at for at in read.blank if 2 * blank[groups.of[at]] <= groups.counts[groups.of[at]]]


def _check_faults(read: _Read, groups: _Groups, source: str) -> None:
    """Raise a DataError if too many pictures cannot be read, or none of a class of a part."""
    if not read.faults:
        return
    n, first = len(groups.of), next(iter(read.faults.values()))
    lost = [
        groups.names[group]
        for group, count in Counter(groups.of[at] for at in read.faults).items()
        if count == groups.counts[group]
    ]
    if n == 1:
        raise DataError(first)
    if lost or len(read.faults) > _MOST_DAMAGED * n:
        which = f", none of class {lost[0][1][:60]!r} can" if lost else ""
        raise DataError(
            f"{first}; {len(read.faults):,} of {n:,} pictures in {source} cannot be read{which}: repair or remove them"
        )


def _notes(read: _Read, pictures: Sequence[Picture], kept: NDArray[np.bool_]) -> Iterator[str]:
    """Yield what the user should know about pictures that are not read as they are."""

    def listed(positions: Iterable[int]) -> str:
        return few(f"{pictures[position].label}/{pictures[position].name}" for position in positions)

    if read.faults:
        yield (
            f"left out {len(read.faults):,} of {len(pictures):,} pictures that cannot be read: {listed(read.faults)} "
            f"({next(iter(read.faults.values()))}); --strict stops at them"
        )
    for is_kept, text in (
        (False, "left out pictures on which nothing is drawn"),
        (True, "kept pictures on which nothing is drawn, since most of their class are like that"),
    ):
        blank = [position for position in read.blank if kept[position] == is_kept]
        if blank:
            yield f"{text} ({len(blank):,}): {listed(blank)}"
    if read.more:
        yield f"took the first picture of files that hold several ({len(read.more):,}): {few(read.more)}"
