"""IDX files, the format of MNIST: 0 = paper and 255 = ink, turned here into 255 = paper."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from fastnn.datasets.dataset import PIXELS, SIDE, Dataset
from fastnn.datasets.labels import classes_of
from fastnn.datasets.safe_read import read_file
from fastnn.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

    from numpy.typing import NDArray

# Unsigned bytes in three dimensions, and in one.
IMAGES_MAGIC = 0x0803
LABELS_MAGIC = 0x0801
TRAIN = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
TEST = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


@dataclass(frozen=True)
class Pair:
    """The two files of a set: images and labels."""

    images: Path
    labels: Path


def is_idx(path: Path) -> bool:
    """Return whether a file is IDX by its name."""
    return "idx1" in path.name or "idx3" in path.name


def existing(folder: Path, name: str) -> Path | None:
    """Return the file `name` in `folder`, plain or else ``.gz``, or None."""
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def named_pair(folder: Path, names: tuple[str, str]) -> Pair | None:
    """Return the pair of MNIST's `names` in `folder`, or None where neither file is there.

    Raises
    ------
    DataError
        If only one of the two is there.
    """
    images, labels = (existing(folder, name) for name in names)
    if images is None and labels is None:
        return None
    if images is None or labels is None:
        missing = names[0] if images is None else names[1]
        raise DataError(f"{images or labels}: its other half, {missing} (or .gz), is not in the folder")
    return Pair(images, labels)


def _stem(path: Path) -> str:
    """Return what the names of a pair have in common."""
    name = path.name.removesuffix(".gz")
    for part in ("images", "labels"):
        name = name.replace(part, "*")
    return name.replace("idx3", "idx").replace("idx1", "idx")


def pairs_in(folder: Path) -> list[Pair]:
    """Return the pairs of IDX files in `folder`, sorted by name; a plain file goes before its ``.gz``."""
    files = sorted((path for path in folder.iterdir() if is_idx(path) and path.is_file()), reverse=True)
    halves: dict[tuple[str, bool], Path] = {}
    for path in files:
        halves[_stem(path), "idx3" in path.name] = path
    stems = sorted({stem for stem, _ in halves})
    return [
        Pair(halves[stem, True], halves[stem, False])
        for stem in stems
        if (stem, True) in halves and (stem, False) in halves
    ]


def pair_of(path: Path) -> Pair:
    """Return the pair that a file is one half of.

    Raises
    ------
    DataError
        If the other half is not beside it.
    """
    stem, is_images = _stem(path), "idx3" in path.name
    # The given file itself is taken even where a plain and a packed version of it are there.
    for pair in pairs_in(path.parent):
        if _stem(pair.images) == stem:
            return replace(pair, images=path) if is_images else replace(pair, labels=path)
    other = "labels (…labels-idx1-ubyte)" if is_images else "images (…images-idx3-ubyte)"
    raise DataError(f"{path}: its other half, the {other}, is not beside it")


def read_pairs(train: Pair, test: Pair | None, source: str) -> Dataset:
    """Read a set and, where there is one, its test set.

    Parameters
    ----------
    train : Pair
    test : Pair or None
    source : str
        The `source` of the returned set.

    Returns
    -------
    Dataset

    Raises
    ------
    DataError
        If a file is no IDX file of 28x28 images or of labels, or the two do not fit together.
    """
    pairs = [train] if test is None else [train, test]
    halves = [_read_pair(pair) for pair in pairs]
    return from_halves(halves, source)


def _read_pair(pair: Pair) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    images = parse_images(read_file(pair.images), str(pair.images))
    labels = parse_labels(read_file(pair.labels), str(pair.labels))
    if len(images) != len(labels):
        raise DataError(f"{pair.images}: {len(images)} images, but {pair.labels.name} has {len(labels)} labels")
    return images, labels


def from_halves(halves: list[tuple[NDArray[np.uint8], NDArray[np.uint8]]], source: str) -> Dataset:
    """Make a data set of (images, labels), and of a second such couple its test set."""
    together = np.concatenate([labels for _, labels in halves])
    indices, classes = classes_of(together.tolist(), source)
    count = len(halves[0][1])
    train = Dataset(halves[0][0], indices[:count].copy(), classes, source)
    if len(halves) == 1:
        return train
    return replace(train, test=Dataset(halves[1][0], indices[count:].copy(), classes, f"{source} (test set)"))


def parse_images(content: bytes | bytearray, source: str) -> NDArray[np.uint8]:
    """Return the images of an IDX file's content, uint8 (n, 784), 255 = paper.

    Raises
    ------
    DataError
        If the header is not that of 28x28 images or does not fit the length.
    """
    magic, count, rows, columns = _header(content, 4, source)
    if magic != IMAGES_MAGIC:
        raise DataError(f"{source}: not an IDX file of images (it begins with {magic:#010x}, not {IMAGES_MAGIC:#010x})")
    if (rows, columns) != (SIDE, SIDE):
        raise DataError(f"{source}: images of {rows}x{columns} pixels; {SIDE}x{SIDE} are wanted")
    _check_length(content, 16, count * PIXELS, source)
    # ~x is 255 - x: white ink on black becomes black ink on white.
    return ~np.frombuffer(content, np.uint8, offset=16).reshape(count, PIXELS)


def parse_labels(content: bytes | bytearray, source: str) -> NDArray[np.uint8]:
    """Return the labels of an IDX file's content, uint8 (n,).

    Raises
    ------
    DataError
        If the header is not that of labels or does not fit the length.
    """
    magic, count = _header(content, 2, source)
    if magic != LABELS_MAGIC:
        raise DataError(f"{source}: not an IDX file of labels (it begins with {magic:#010x}, not {LABELS_MAGIC:#010x})")
    _check_length(content, 8, count, source)
    return np.frombuffer(content, np.uint8, offset=8).copy()


def _header(content: bytes | bytearray, numbers: int, source: str) -> tuple[int, ...]:
    if len(content) < 4 * numbers:
        raise DataError(f"{source}: {len(content)} bytes are too few for an IDX file; it is truncated")
    return struct.unpack_from(f">{numbers}I", content)


def _check_length(content: bytes | bytearray, header: int, expected: int, source: str) -> None:
    if not expected:
        raise DataError(f"{source}: holds no images")
    if len(content) - header != expected:
        what = "truncated" if len(content) - header < expected else "longer than its header says"
        raise DataError(f"{source}: {len(content) - header} bytes of content, not {expected}; it is {what}")


def label_bytes(dataset: Dataset) -> NDArray[np.uint8]:
    """Return the labels as IDX stores them, uint8 (n,).

    Raises
    ------
    DataError
        If a class is not an integer from 0 to 255.
    """
    for name in dataset.classes:
        if not (name.isdecimal() and name == str(int(name)) and int(name) <= 255):
            raise DataError(
                f"{dataset.source}: IDX files hold integers from 0 to 255 as labels, not {name!r}; "
                "convert to .json, .csv or .npz"
            )
    return np.array([int(name) for name in dataset.classes], dtype=np.uint8)[dataset.labels]


def write_images(dataset: Dataset, file: BinaryIO) -> None:
    """Write the images as MNIST has them, 0 = paper."""
    file.write(struct.pack(">4I", IMAGES_MAGIC, len(dataset), SIDE, SIDE))
    file.write((~dataset.images).tobytes())


def write_labels(dataset: Dataset, file: BinaryIO) -> None:
    """Write the labels; see `label_bytes` for what can be written."""
    file.write(struct.pack(">2I", LABELS_MAGIC, len(dataset)))
    file.write(label_bytes(dataset).tobytes())
