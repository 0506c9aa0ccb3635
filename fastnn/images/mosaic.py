"""A mosaic of a data set: its images as tiles, in random order."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING

import numpy as np

from fastnn.datasets.dataset import SIDE
from fastnn.errors import DataError, cannot_write
from fastnn.storage import atomic_write, check_new_file

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from fastnn.datasets.dataset import Dataset

DEFAULT_SIDE = 40
"""Rows and columns that are not asked for grow with the data set up to this many: 1,120 pixels fit on a screen."""
MAX_TILES = 100_000
"""A mosaic of so many tiles has 78 MB."""
WHITE = 255


def mosaic(
    dataset: Dataset,
    rows: int | None = None,
    columns: int | None = None,
    *,
    klass: str | None = None,
    seed: int = 0,
) -> NDArray[np.uint8]:
    """Return a picture of images in rows and columns, in random order and without repetition.

    Parameters
    ----------
    dataset : Dataset
    rows, columns : int, optional
        By default as many as the images need, at most 40. If there are fewer images than tiles, the last tiles are
        white.
    klass : str, optional
        Show this class only.
    seed : int
        The same data set and seed give the same picture.

    Returns
    -------
    ndarray of uint8, shape (rows * 28, columns * 28)
        255 = paper, 0 = ink.

    Raises
    ------
    DataError
        If there is no such class or no image to show, the seed is negative, or the picture would have no tiles or more
        than 100,000.
    """
    if seed < 0:
        raise DataError(f"the seed of a mosaic must be 0 or more, not {seed}")
    positions = _positions(dataset, klass)
    rows, columns = _grid(len(positions), rows, columns)
    shown = np.random.default_rng(seed).permutation(positions)[: rows * columns]
    return tiled(dataset.images[shown], rows, columns)


def tiled(images: NDArray[np.uint8], rows: int, columns: int) -> NDArray[np.uint8]:
    """Return a picture of images in rows and columns, in their order; tiles that are left are white.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, 784)
        At most ``rows * columns``.
    rows, columns : int

    Returns
    -------
    ndarray of uint8, shape (rows * 28, columns * 28)
    """
    tiles = np.full((rows * columns, SIDE, SIDE), WHITE, dtype=np.uint8)
    tiles[: len(images)] = images.reshape(-1, SIDE, SIDE)
    return tiles.reshape(rows, columns, SIDE, SIDE).transpose(0, 2, 1, 3).reshape(rows * SIDE, columns * SIDE)


def as_png(pixels: NDArray[np.uint8]) -> bytes:
    """Return a grey picture as the bytes of a PNG file."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return file.getvalue()


def save_png(pixels: NDArray[np.uint8], path: Path, *, force: bool = False) -> None:
    """Write a grey picture as a PNG file, atomically.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (height, width)
        255 = white.
    path : Path
        Must end with ``.png``.
    force : bool
        Replace an existing file.

    Raises
    ------
    DataError
        If the name ends otherwise, the file exists and `force` is not given, or it cannot be written.
    """
    check_new_file(path, ".png", force=force)
    try:
        with atomic_write(path) as file:
            file.write(as_png(pixels))
    except OSError as error:
        raise cannot_write(path, error, DataError) from None


def _positions(dataset: Dataset, klass: str | None) -> NDArray[np.int64]:
    """Return the positions of the images to show."""
    if klass is None:
        positions = np.arange(len(dataset))
    elif klass in dataset.classes:
        positions = np.flatnonzero(dataset.labels == dataset.classes.index(klass))
    else:
        known = ", ".join(dataset.classes[:20]) + (", ..." if len(dataset.classes) > 20 else "")
        raise DataError(f"{dataset.source}: has no class {klass!r}; its classes are {known}")
    if not len(positions):
        raise DataError(f"{dataset.source}: there is no image to show" + (f" of class {klass!r}" if klass else ""))
    return positions


def _grid(n: int, rows: int | None, columns: int | None) -> tuple[int, int]:
    """Return the numbers of rows and columns for `n` images; a number that is given is kept."""
    for name, value in (("row", rows), ("column", columns)):
        if value is not None and not 1 <= value <= MAX_TILES:
            raise DataError(f"a mosaic needs 1 to {MAX_TILES:,} {name}s, not {value}")
    if columns is None:
        needed = math.ceil(math.sqrt(n)) if rows is None else math.ceil(n / rows)
        columns = min(needed, DEFAULT_SIDE)
    if rows is None:
        rows = min(math.ceil(n / columns), DEFAULT_SIDE)
    if rows * columns > MAX_TILES:
        raise DataError(f"a mosaic of {rows} x {columns} tiles is too large; at most {MAX_TILES:,} tiles")
    return rows, columns
