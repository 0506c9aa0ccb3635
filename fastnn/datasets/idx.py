"""IDX files, the format of MNIST, which hold 0 = paper and 255 = ink."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from fastnn.datasets.dataset import PIXELS, SIDE, Dataset
from fastnn.datasets.labels import encode_labels
from fastnn.datasets.safe_read import Unpacked, read_packed
from fastnn.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

    from numpy.typing import NDArray

IMAGES_MAGIC = 0x0803
"""First four bytes of a file of unsigned bytes with three dimensions."""
LABELS_MAGIC = 0x0801
"""The same with one dimension."""
TRAIN = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
TEST = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")

_INTERRUPTED = "if the command that wrote them was interrupted, run it again with --force"


_BYTES = frozenset(map(str, range(256)))
"""The labels that an IDX file can hold."""


@dataclass(frozen=True)
class IdxPair:
    """Paths of a file of images and of the file with their labels."""

    images: Path
    labels: Path


def is_idx(path: Path) -> bool:
    """Return whether the name of a file is that of an IDX file."""
    return "idx1" in path.name or "idx3" in path.name


def existing(folder: Path, name: str) -> Path | None:
    """Return the path of the file `name` in `folder`, or of `name` with ``.gz``, or None if there is neither."""
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def named_pair(folder: Path, names: tuple[str, str]) -> IdxPair | None:
    """Return the pair with these names (of images and labels) in `folder`, or None if neither file is there.

    Raises
    ------
    DataError
        If only one of the two is there.
    """
    # Two files that are both plain or both compressed were written together.
    for end in ("", ".gz"):
        pair = IdxPair(folder / f"{names[0]}{end}", folder / f"{names[1]}{end}")
        if pair.images.is_file() and pair.labels.is_file():
            return pair
    images, labels = (existing(folder, name) for name in names)
    if images is None and labels is None:
        return None
    if images is None or labels is None:
        missing = names[0] if images is None else names[1]
        raise DataError(
            f"{images or labels}: the file that belongs to it, {missing} (or .gz), is not in the folder; {_INTERRUPTED}"
        )
    return IdxPair(images, labels)


def twin(path: Path) -> Path:
    """Return the path of the compressed version of a plain file, or of the plain version of a compressed one."""
    return path.with_name(path.name.removesuffix(".gz") if path.name.endswith(".gz") else f"{path.name}.gz")


def _stem(path: Path) -> str:
    """Return the part that the names of a pair have in common."""
    name = path.name.removesuffix(".gz")
    for part in ("images", "labels"):
        name = name.replace(part, "*")
    return name.replace("idx3", "idx").replace("idx1", "idx")


def pairs_in(folder: Path) -> list[IdxPair]:
    """Return the pairs of IDX files in `folder`, sorted by name; a plain pair has priority over a compressed one."""
    images: dict[str, str] = {}
    labels: dict[str, str] = {}
    for path in folder.iterdir():
        if is_idx(path) and path.is_file():
            (images if "idx3" in path.name else labels)[_stem(path)] = path.name.removesuffix(".gz")
    found = (named_pair(folder, (images[stem], labels[stem])) for stem in sorted(images.keys() & labels.keys()))
    return [pair for pair in found if pair is not None]


def pair_of(path: Path) -> IdxPair:
    """Return the pair that a file of images or labels belongs to.

    Raises
    ------
    DataError
        If the other file is not in the same folder.
    """
    stem, is_images = _stem(path), "idx3" in path.name
    others = [other for other in path.parent.iterdir() if is_idx(other) and other.is_file() and _stem(other) == stem]
    others = [other for other in others if ("idx3" in other.name) != is_images]
    # If this file exists both plain and compressed, a partner of the other kind belongs to its other version.
    same = [other for other in others if other.name.endswith(".gz") == path.name.endswith(".gz")]
    found = same or ([] if twin(path).is_file() else others)
    if found:
        return IdxPair(path, found[0]) if is_images else IdxPair(found[0], path)
    other = "labels (…labels-idx1-ubyte)" if is_images else "images (…images-idx3-ubyte)"
    raise DataError(f"{path}: the {other} that belong to it are not in the same folder; {_INTERRUPTED}")


def read_pairs(train: IdxPair, test: IdxPair | None, source: str) -> Dataset:
    """Read a data set and, if there is one, its test set; the images are as they are stored.

    Parameters
    ----------
    train : IdxPair
    test : IdxPair or None
    source : str
        The `source` of the returned data set.

    Returns
    -------
    Dataset

    Raises
    ------
    DataError
        If a file is not an IDX file of 28x28 images or of labels, or their numbers differ.
    """
    pairs = [train] if test is None else [train, test]
    return from_parts([_read_pair(pair) for pair in pairs], source)


def _read_pair(pair: IdxPair) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    before = _versions(pair)
    images = parse_images(_read_announced(pair.images), str(pair.images))
    labels = parse_labels(_read_announced(pair.labels), str(pair.labels))
    if _versions(pair) != before:
        raise DataError(f"{pair.images}: it or its labels changed while they were read; try again")
    if len(images) != len(labels):
        raise DataError(f"{pair.images}: {len(images)} images, but {pair.labels.name} has {len(labels)} labels")
    return images, labels


def _versions(pair: IdxPair) -> list[tuple[int, int, int]]:
    """Return inode, size and time of both files of a pair, which change when it is replaced."""
    try:
        found = [path.stat() for path in (pair.labels, pair.images)]
    except FileNotFoundError as error:  # for a moment, a pair that is replaced has no labels
        raise DataError(f"{error.filename}: was removed a moment ago; {_INTERRUPTED}") from None
    return [(status.st_ino, status.st_size, status.st_mtime_ns) for status in found]


def _read_announced(path: Path) -> bytearray:
    """Return the content of an IDX file up to the length that its header announces, and a byte more if it is longer."""
    file = Unpacked(read_packed(path), str(path))
    content = file.read_up_to(16)
    if len(content) == 16:
        magic, count, rows, columns = struct.unpack(">4I", content)
        announced = 16 + count * rows * columns if magic == IMAGES_MAGIC else 8 + count
        file.read_up_to(announced + 1, content)
    return content


def from_parts(parts: list[tuple[NDArray[np.uint8], NDArray[np.uint8]]], source: str) -> Dataset:
    """Return a data set made of (images, labels); a second such tuple is its test set."""
    together = np.concatenate([labels for _, labels in parts])
    indices, classes = encode_labels(together.tolist(), source)
    count = len(parts[0][1])
    train = Dataset(parts[0][0], indices[:count].copy(), classes, source)
    if len(parts) == 1:
        return train
    return replace(train, test=Dataset(parts[1][0], indices[count:].copy(), classes, f"{source} (test set)"))


def parse_images(content: bytes | bytearray, source: str) -> NDArray[np.uint8]:
    """Return the images of an IDX file's content as they are stored, uint8 (n, 784); usually 0 = paper.

    Raises
    ------
    DataError
        If the header does not announce 28x28 images or does not agree with the length.
    """
    magic, count, rows, columns = _header(content, 4, source)
    if magic != IMAGES_MAGIC:
        raise DataError(f"{source}: not an IDX file of images (it begins with {magic:#010x}, not {IMAGES_MAGIC:#010x})")
    if (rows, columns) != (SIDE, SIDE):
        raise DataError(f"{source}: the images have {rows}x{columns} pixels, not {SIDE}x{SIDE}")
    _check_length(content, 16, count * PIXELS, source)
    return np.frombuffer(content, np.uint8, offset=16).reshape(count, PIXELS)


def parse_labels(content: bytes | bytearray, source: str) -> NDArray[np.uint8]:
    """Return the labels of an IDX file's content, uint8 (n,).

    Raises
    ------
    DataError
        If the header does not announce labels or does not agree with the length.
    """
    magic, count = _header(content, 2, source)
    if magic != LABELS_MAGIC:
        raise DataError(f"{source}: not an IDX file of labels (it begins with {magic:#010x}, not {LABELS_MAGIC:#010x})")
    _check_length(content, 8, count, source)
    return np.frombuffer(content, np.uint8, offset=8).copy()


def _header(content: bytes | bytearray, numbers: int, source: str) -> tuple[int, ...]:
    if len(content) < 4 * numbers:
        raise DataError(f"{source}: {len(content)} bytes are too short for an IDX file; it is truncated")
    return struct.unpack_from(f">{numbers}I", content)


def _check_length(content: bytes | bytearray, header: int, expected: int, source: str) -> None:
    if not expected:
        raise DataError(f"{source}: holds no images")
    if len(content) - header != expected:
        if len(content) - header > expected:
            raise DataError(f"{source}: more than {expected} bytes of content; it is longer than its header says")
        raise DataError(f"{source}: {len(content) - header} bytes of content, not {expected}; it is truncated")


def label_bytes(dataset: Dataset) -> NDArray[np.uint8]:
    """Return the class names of the images as IDX stores them, uint8 (n,).

    Raises
    ------
    DataError
        If a class is not an integer from 0 to 255.
    """
    for name in dataset.classes:
        if name not in _BYTES:
            shown = name if len(name) <= 40 else f"{name[:37]}..."
            raise DataError(
                f"{dataset.source}: labels in IDX files are integers from 0 to 255, not {shown!r}; "
                "convert to .json, .csv or .npz"
            )
    return np.array([int(name) for name in dataset.classes], dtype=np.uint8)[dataset.labels]


def write_images(dataset: Dataset, file: BinaryIO) -> None:
    """Write the images as an IDX file, 0 = paper."""
    file.write(struct.pack(">4I", IMAGES_MAGIC, len(dataset), SIDE, SIDE))
    file.write((~dataset.images).tobytes())


def write_labels(dataset: Dataset, file: BinaryIO) -> None:
    """Write the labels as an IDX file; raises a DataError as :func:`label_bytes` does."""
    file.write(struct.pack(">2I", LABELS_MAGIC, len(dataset)))
    file.write(label_bytes(dataset).tobytes())
