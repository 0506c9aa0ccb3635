"""A folder of class folders with PNG or JPEG files: ``cat/1.png``, ``dog/1.png``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastnn.datasets.dataset import PIXELS, SIDE, Dataset
from fastnn.datasets.labels import classes_of
from fastnn.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_SUFFIXES = {".png", ".jpg", ".jpeg"}


def class_folders(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the sub-folders of `folder` that hold PNG or JPEG files, and those that do not, sorted by name."""
    entries = [entry for entry in sorted(folder.iterdir()) if entry.is_dir() and not entry.name.startswith(".")]
    filled = [entry for entry in entries if _images_in(entry)]
    return filled, [entry for entry in entries if entry not in filled]


def _images_in(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES and not path.name.startswith(".")
    )


def read_class_folders(folders: list[Path], source: str) -> Dataset:
    """Read every image of some folders; each folder's name is the label of what is in it.

    Images of 28x28 grey pixels are taken as they are (255 = paper); others are read as drawings, see
    :func:`fastnn.images.read_image`.

    Parameters
    ----------
    folders : list of Path
    source : str
        The `source` of the returned set.

    Returns
    -------
    Dataset

    Raises
    ------
    DataError
        If a file is no image; the message names it.
    """
    files = [(path, folder.name) for folder in folders for path in _images_in(folder)]
    images = np.empty((len(files), PIXELS), dtype=np.uint8)
    for position, (path, _) in enumerate(files):
        images[position] = _read_image(path)
    indices, classes = classes_of([name for _, name in files], source)
    return Dataset(images, indices, classes, source)


def _read_image(path: Path) -> NDArray[np.uint8]:
    as_it_is = _read_grey(path)
    if as_it_is is not None:
        return as_it_is
    from fastnn.images import read_image

    return read_image(path)


def _read_grey(path: Path) -> NDArray[np.uint8] | None:
    """Return the pixels of a file of 28x28 grey ones, or None for an image of any other kind."""
    from PIL import Image

    try:
        # Opening reads the header alone; only what is small by its header is decoded here.
        with path.open("rb") as file, Image.open(file, formats=("PNG", "JPEG")) as image:
            if image.size != (SIDE, SIDE) or image.mode != "L" or "transparency" in image.info:
                return None
            return np.asarray(image, dtype=np.uint8).reshape(PIXELS)
    except MemoryError:
        raise
    # Pillow raises a dozen kinds of exception, warnings of bombs among them, for damaged files.
    except Exception as error:
        raise DataError(f"{path}: not a PNG or JPEG image, or damaged ({error})") from None
