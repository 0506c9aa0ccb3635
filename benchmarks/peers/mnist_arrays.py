"""MNIST as uncompressed ``.npy`` files, from which every peer reads it in a hundredth of a second.

fastnn's contenders read the original IDX files with :func:`fastnn.load_dataset`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    Part = tuple[np.ndarray, np.ndarray]

SOURCE = "source.txt"
"""The file with the name or path of the data set."""


def write(source: str, folder: Path) -> None:
    """Write a data set into a folder, and its name or path for fastnn's own contenders.

    Parameters
    ----------
    source : str
        Name or path, as :func:`fastnn.load_dataset` takes it.
    folder : Path
        Gets the images as the IDX files have them, 0 = background.
    """
    import fastnn

    for name, part in zip(("train", "test"), fastnn.split(fastnn.load_dataset(source)), strict=True):
        np.save(folder / f"{name}-images.npy", 255 - part.images)
        np.save(folder / f"{name}-labels.npy", part.labels)
    (folder / SOURCE).write_text(source, encoding="utf-8")


def train(folder: str | Path) -> Part:
    """Return the training images, uint8 of shape (n, 784), and their labels, int64 of shape (n,)."""
    return _part(folder, "train")


def test(folder: str | Path) -> Part:
    """Return the test images and their labels, as :func:`train` does."""
    return _part(folder, "test")


def _part(folder: str | Path, name: str) -> Part:
    return np.load(Path(folder, f"{name}-images.npy")), np.load(Path(folder, f"{name}-labels.npy"))
