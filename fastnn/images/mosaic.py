"""A picture of a data set: its digits as tiles, in random order."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from fastnn.datasets.dataset import SIDE
from fastnn.errors import DataError
from fastnn.storage import atomic_write

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from fastnn.datasets.dataset import Dataset

# A side that was not asked for grows with the data set up to this: 1,120 px fit on a screen.
FITTING = 40
# 100,000 tiles are a picture of 78 MB.
MOST_TILES = 100_000
PAPER = 255


def mosaic(
    dataset: Dataset,
    rows: int | None = None,
    columns: int | None = None,
    *,
    klass: str | None = None,
    seed: int = 0,
) -> NDArray[np.uint8]:
    """Lay out digits in rows and columns, in random order and none twice.

    Parameters
    ----------
    dataset : Dataset
    rows, columns : int, optional
        How many tiles; where one or both are not given, as many as the digits need, at most 40. Where there are
        fewer digits than tiles the last tiles are white.
    klass : str, optional
        The name of the only class to show.
    seed : int
        The same data set and seed give the same picture.

    Returns
    -------
    ndarray of uint8, shape (rows * 28, columns * 28)
        255 = paper, 0 = ink.

    Raises
    ------
    DataError
        If there is no such class or nothing to show, the seed is negative, or the picture would have no tiles or more
        than 100,000.
    """
    if seed < 0:
        raise DataError(f"the seed of a mosaic must be 0 or more, not {seed}")
    where = _positions(dataset, klass)
    rows, columns = _fit(len(where), rows, columns)
    shown = np.random.default_rng(seed).permutation(where)[: rows * columns]
    tiles = np.full((rows * columns, SIDE, SIDE), PAPER, dtype=np.uint8)
    tiles[: len(shown)] = dataset.images[shown].reshape(-1, SIDE, SIDE)
    return tiles.reshape(rows, columns, SIDE, SIDE).transpose(0, 2, 1, 3).reshape(rows * SIDE, columns * SIDE)


def save_png(pixels: NDArray[np.uint8], path: Path, *, force: bool = False) -> None:
    """Write a grey picture as a PNG file, wholly or not at all.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (height, width)
        255 = white.
    path : Path
        Must end with ``.png``.
    force : bool
        Replace the file that is there.

    Raises
    ------
    DataError
        If the name is another, the file is there already, or it cannot be written.
    """
    from PIL import Image

    check_png(path, force=force)
    try:
        with atomic_write(path) as file:
            Image.fromarray(pixels).save(file, format="PNG")
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror or error})") from None


def check_png(path: Path, *, force: bool = False) -> None:
    """Refuse a `path` that :func:`save_png` would refuse, before any work is done.

    Raises
    ------
    DataError
        As :func:`save_png`.
    """
    if path.suffix.lower() != ".png":
        raise DataError(f"{path}: a mosaic is a PNG file; give a name that ends with .png")
    if path.is_dir():
        raise DataError(f"{path}: is a folder; give the name of a file")
    if not path.parent.is_dir():
        raise DataError(f"{path}: the folder {path.parent} is not there; make it first")
    if path.exists() and not force:
        raise DataError(f"{path}: is there already; use --force to replace it, or give another name")


def _positions(dataset: Dataset, klass: str | None) -> NDArray[np.int64]:
    """Return where the images to show stand."""
    if klass is None:
        where = np.arange(len(dataset))
    elif klass in dataset.classes:
        where = np.flatnonzero(dataset.labels == dataset.classes.index(klass))
    else:
        known = ", ".join(dataset.classes[:20]) + (", ..." if len(dataset.classes) > 20 else "")
        raise DataError(f"{dataset.source}: has no class {klass!r}; its classes are {known}")
    if not len(where):
        raise DataError(f"{dataset.source}: there is nothing to show" + (f" of class {klass!r}" if klass else ""))
    return where


def _fit(n: int, rows: int | None, columns: int | None) -> tuple[int, int]:
    """Return rows and columns for `n` digits, keeping what was asked for."""
    for name, value in (("row", rows), ("column", columns)):
        if value is not None and not 1 <= value <= MOST_TILES:
            raise DataError(f"a mosaic needs 1 to {MOST_TILES:,} {name}s, not {value}")
    if columns is None:
        needed = math.ceil(math.sqrt(n)) if rows is None else math.ceil(n / rows)
        columns = min(needed, FITTING)
    if rows is None:
        rows = min(math.ceil(n / columns), FITTING)
    if rows * columns > MOST_TILES:
        raise DataError(f"a mosaic of {rows} x {columns} tiles is too large; at most {MOST_TILES:,} tiles")
    return rows, columns
