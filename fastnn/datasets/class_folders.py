"""Folders named after classes, with PNG or JPEG files in them: ``cat/1.png``, ``dog/1.png``."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from fastnn.datasets.dataset import PIXELS, SIDE, Dataset
from fastnn.datasets.labels import encode_labels
from fastnn.errors import DataError
from fastnn.images.read import open_picture

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_SUFFIXES = {".png", ".jpg", ".jpeg"}


def class_folders(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the sub-folders of `folder` that hold PNG or JPEG files and those that do not, each sorted by name."""
    entries = [entry for entry in sorted(folder.iterdir()) if entry.is_dir() and not entry.name.startswith(".")]
    filled = [entry for entry in entries if _images_in(entry)]
    return filled, [entry for entry in entries if entry not in filled]


def _images_in(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES and not path.name.startswith(".")
    )


def read_class_folders(folders: list[Path], source: str) -> Dataset:
    """Read a data set from folders of images; the name of each folder is the label of its images.

    Grey images of 28x28 pixels are used as they are (255 = paper); others are read as pictures of a drawing, see
    :func:`fastnn.images.read_image`.

    Parameters
    ----------
    folders : list of Path
    source : str
        The `source` of the returned data set.

    Returns
    -------
    Dataset

    Raises
    ------
    DataError
        If a file is not a PNG or JPEG image; the message names it.
    """
    files = [(path, folder.name) for folder in folders for path in _images_in(folder)]
    images = np.empty((len(files), PIXELS), dtype=np.uint8)
    for position, (path, _) in enumerate(files):
        images[position] = _read_image(path)
    indices, classes = encode_labels([name for _, name in files], source)
    return Dataset(images, indices, classes, source)


def _read_image(path: Path) -> NDArray[np.uint8]:
    pixels = _read_grey(path)
    if pixels is not None:
        return pixels
    from fastnn.images import read_image

    return read_image(path)


def _read_grey(path: Path) -> NDArray[np.uint8] | None:
    """Return the pixels of a grey 28x28 image, shape (784,), or None if the image is of another kind."""
    from PIL import Image, UnidentifiedImageError

    try:
        # Opening reads the header alone; only images that are small by their header are decoded here.
        with open_picture(path) as file, warnings.catch_warnings():
            # Pillow warns of odd metadata, which does not matter here.
            warnings.simplefilter("ignore")
            image = Image.open(file, formats=("PNG", "JPEG"))
            if image.size != (SIDE, SIDE) or image.mode != "L" or "transparency" in image.info:
                return None
            return np.asarray(image, dtype=np.uint8).reshape(PIXELS)
    except (MemoryError, DataError):
        raise
    except UnidentifiedImageError:
        raise DataError(f"{path}: not a PNG or JPEG image") from None
    # For damaged files Pillow raises a dozen kinds of exceptions.
    except Exception as error:
        raise DataError(f"{path}: not a PNG or JPEG image, or damaged ({error})") from None
