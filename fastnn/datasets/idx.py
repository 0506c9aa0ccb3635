"""IDX files, the format of MNIST, which hold 0 = paper and 255 = ink."""

from __future__ import annotations

import math
import re
import struct
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from fastnn.datasets.array_names import PART_OF, known_part
from fastnn.datasets.dataset import PIXELS, SIDE, Dataset
from fastnn.datasets.label_arrays import as_list
from fastnn.datasets.labels import encode_array
from fastnn.datasets.mapped import MappedRows, row_parts
from fastnn.datasets.pixel_arrays import images_from_array
from fastnn.datasets.safe_read import Content, Unpacked, is_packed, map_packed, read_packed
from fastnn.datasets.spool import content_on_disk
from fastnn.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

    from numpy.typing import NDArray

    from fastnn.datasets.array_names import Part

IMAGES_MAGIC = 0x0803
"""First four bytes of a file of unsigned bytes with three dimensions."""
LABELS_MAGIC = 0x0801
"""The same with one dimension."""
TRAIN = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
TEST = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")

_INTERRUPTED = "if the command that wrote them was interrupted, run it again with --force"
_FORMAT = re.compile("idx[1-4]")
_IMAGES, _LABELS = re.compile("(images?|imgs?)"), re.compile("labels?")
_TYPES = frozenset(("ubyte", "byte", "int", "float", "bin", "idx"))
_DTYPES: dict[int, np.dtype[Any]] = {
    8: np.dtype("u1"), 9: np.dtype("i1"), 11: np.dtype(">i2"), 12: np.dtype(">i4"), 13: np.dtype(">f4"),
    14: np.dtype(">f8"),
}  # fmt: skip
"""By the third byte of a file."""
_MOST_AXES = 4
_QMNIST_COLUMNS = 8
_BYTES = frozenset(map(str, range(256)))
"""The labels that an IDX file can hold."""


@dataclass(frozen=True)
class IdxPair:
    """Paths of a file of images and of the file with their labels."""

    images: Path
    labels: Path


def is_idx(path: Path) -> bool:
    """Return whether the name of a file is that of an IDX file."""
    return _FORMAT.search(path.name.lower()) is not None


class _Place(NamedTuple):
    """What the name of an IDX file says: the words that belong to no part, and the part of the data set."""

    family: str
    part: Part | None


def _place_of(name: str) -> _Place:
    words = _FORMAT.sub(" ", name.lower().removesuffix(".gz"))
    family, part = [], None
    for word in filter(None, re.split("[^a-z0-9]+", words)):
        if part is None and word in PART_OF:
            part = known_part(PART_OF[word], ())
        elif not _IMAGES.fullmatch(word) and not _LABELS.fullmatch(word) and word not in _TYPES:
            family.append(word)
    return _Place("-".join(family), part)


def _holds_images(name: str) -> bool:
    words = re.split("[^a-z0-9]+", name.lower())
    if any(map(_LABELS.fullmatch, words)):
        return False
    return any(map(_IMAGES.fullmatch, words)) or "idx3" in name.lower() or "idx4" in name.lower()


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


def _files_in(folder: Path) -> dict[_Place, tuple[list[str], list[str]]]:
    """Return the names, without ``.gz``, of the files of images and of labels, by what their names say.

    If there are none, those in folders that are named like the only file in them, as some archives unpack.
    """
    entries = sorted(path for path in folder.iterdir() if is_idx(path))
    paths = [path for path in entries if path.is_file()]
    if not paths:
        below = [[path for path in one.iterdir() if is_idx(path) and path.is_file()] for one in entries if one.is_dir()]
        paths = [one[0] for one in below if len(one) == 1]
    found: dict[_Place, tuple[list[str], list[str]]] = {}
    for path in paths:
        names = found.setdefault(_place_of(path.name), ([], []))[not _holds_images(path.name)]
        name = path.relative_to(folder).as_posix()
        name = name[: -len(".gz")] if name.lower().endswith(".gz") else name
        if name not in names:
            names.append(name)
    return found


def _labels_name(images: str, labels: list[str]) -> str:
    """Return the name that is written like that of the images."""
    same = images.lower().replace("images", "labels").replace("idx3", "idx1")
    return next((name for name in labels if name.lower() == same), labels[0])


def sets_in(folder: Path) -> dict[str, dict[Part | None, IdxPair]]:
    """Return the pairs of IDX files in a folder: by the name of the data set, and then by its part.

    A plain pair has priority over a compressed one.

    Raises
    ------
    DataError
        If there are images or labels alone.
    """
    found: dict[str, dict[Part | None, IdxPair]] = {}
    lone = []
    for (family, part), (images, labels) in sorted(_files_in(folder).items(), key=str):
        if not (images and labels):
            lone += images or labels
            continue
        pair = named_pair(folder, (images[0], _labels_name(images[0], labels)))
        if pair is not None:
            found.setdefault(family, {})[part] = pair
    if lone and not found:
        what = "labels" if _holds_images(lone[0]) else "images"
        raise DataError(f"{folder / lone[0]}: the {what} that belong to it are not in the same folder; {_INTERRUPTED}")
    return found


def parts_in(folder: Path) -> dict[Part, IdxPair] | None:
    """Return the pairs of the data set in a folder, None if there are no IDX files.

    The file names of MNIST have priority.

    Raises
    ------
    DataError
        If there are several data sets.
    """
    train, test = named_pair(folder, TRAIN), named_pair(folder, TEST)
    sets = sets_in(folder)
    if train is not None:
        named: dict[Part, IdxPair] = {"train": train} if test is None else {"train": train, "test": test}
        return {**_as_parts(sets.get("", {"train": train})), **named}
    if not sets:
        return None
    if len(sets) > 1 or (len(found := dict(next(iter(sets.values())))) > 1 and None in found and "train" in found):
        names = ", ".join(pair.images.name for pairs in sets.values() for pair in pairs.values())
        raise DataError(f"{folder}: several pairs of IDX files ({names}); give the path of one of them")
    return _as_parts(found)


def _as_parts(pairs: dict[Part | None, IdxPair]) -> dict[Part, IdxPair]:
    """Return pairs with one of them for training: of test images alone, these."""
    parts: dict[Part, IdxPair] = {part: pair for part, pair in pairs.items() if part is not None}
    if None in pairs:
        return {"train": pairs[None], **parts}
    return parts if "train" in parts else {"train": next(iter(parts.values()))}


def parts_of(path: Path) -> dict[Part, IdxPair]:
    """Return the pair that a file of images or labels belongs to.

    If the folder has several data sets, so that its path stands for none of them, that of the images for training
    stands for their data set, with its test set.

    Raises
    ------
    DataError
        If the other file is not in the same folder.
    """
    pair = pair_of(path)
    family, part = _place_of(path.name)
    if part != "train":
        return {"train": pair}
    sets = sets_in(path.parent)
    if len(sets) < 2:
        return {"train": pair}
    return {**_as_parts(sets.get(family, {"train": pair})), "train": pair}


def pair_of(path: Path) -> IdxPair:
    """Return the pair that a file of images or labels belongs to.

    Raises
    ------
    DataError
        If the other file is not in the same folder.
    """
    place, is_images = _place_of(path.name), _holds_images(path.name)
    others = [other for other in sorted(path.parent.iterdir()) if is_idx(other) and other.is_file()]
    others = [one for one in others if _place_of(one.name) == place and _holds_images(one.name) != is_images]
    if others:
        # Of files with names such as train-labels.idx1-ubyte and train-labels-idx1-ubyte that which is written alike.
        same_name = path.name.lower().replace("images", "labels").replace("idx3", "idx1")
        others.sort(
            key=lambda other: other.name.lower().replace("images", "labels").replace("idx3", "idx1") != same_name
        )
    # If this file exists both plain and compressed, a partner of the other kind belongs to its other version.
    same = [other for other in others if other.name.endswith(".gz") == path.name.endswith(".gz")]
    found = same or ([] if twin(path).is_file() else others)
    if found:
        return IdxPair(path, found[0]) if is_images else IdxPair(found[0], path)
    other = "labels (…labels-idx1-ubyte)" if is_images else "images (…images-idx3-ubyte)"
    raise DataError(f"{path}: the {other} that belong to it are not in the same folder; {_INTERRUPTED}")


def read_parts(pairs: dict[Part, IdxPair], source: str, *, spool: Path | None = None) -> Dataset:
    """Read a data set with its test and validation set, if there are any; the images are as they are stored.

    Parameters
    ----------
    pairs : dict of {"train", "test", "validation"} to IdxPair
    source : str
        The `source` of the returned data set.
    spool : Path, optional
        A temporary folder, if the images are to be left on the disk: compressed ones are unpacked there.

    Returns
    -------
    Dataset

    Raises
    ------
    DataError
        If a file is not an IDX file of images or of labels, or their numbers differ.
    """
    notes: dict[str, None] = {}
    parts = {part: _read_pair(pair, notes, spool) for part, pair in pairs.items()}
    return replace(from_parts(parts, source), notes=tuple(notes))


def _read_pair(pair: IdxPair, notes: dict[str, None], spool: Path | None) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    """Return images and labels; adds what was changed to `notes`."""
    before = _versions(pair)
    images, how = parse_images(_content(pair.images, spool), str(pair.images), spool)
    labels, which = parse_labels(_content(pair.labels), str(pair.labels))
    notes.update(dict.fromkeys((*how, *which)))
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


def _content(path: Path, spool: Path | None = None) -> Content:
    """Return the content of an IDX file up to the length that its header announces, and a byte more if it is longer.

    With a temporary folder it is left on the disk.
    """
    if spool is None:
        return bytearray().join(_announced(Unpacked(read_packed(path), str(path))))
    content = map_packed(path)
    if not is_packed(path.name):
        return content
    return content_on_disk(spool, _announced(Unpacked(content, str(path), on_disk=True)))


def _announced(file: Unpacked) -> Iterator[bytes | bytearray]:
    head = file.read_up_to(4)
    left = 0
    if len(head) == 4 and head[:2] == b"\0\0" and head[2] in _DTYPES:
        n_axes = head[3]
        file.read_up_to(4 + 4 * n_axes, head)
        if len(head) == 4 + 4 * n_axes:
            left = math.prod(struct.unpack_from(f">{n_axes}I", head, 4)) * _DTYPES[head[2]].itemsize + 1
    yield head
    while left and (piece := file.read(left)):
        left -= len(piece)
        yield piece


def from_parts(parts: dict[Part, tuple[NDArray[np.uint8], NDArray[Any]]], source: str) -> Dataset:
    """Return a data set made of the (images, labels) of its parts, of which "train" is needed."""
    together = np.concatenate([labels for _, labels in parts.values()])
    indices, classes = encode_array(together, source)
    start, made = 0, {}
    for part, (images, labels) in parts.items():
        own = indices[start : start + len(labels)].copy()
        made[part] = Dataset(images, own, classes, source if part == "train" else f"{source} ({part} set)")
        start += len(labels)
    return replace(made["train"], test=made.get("test"), validation=made.get("validation"))


def _array_in(content: Content, source: str, what: str) -> NDArray[Any]:
    """Return the array of an IDX file's content.

    Raises
    ------
    DataError
        If the header is not that of an IDX file, or does not agree with the length.
    """
    if len(content) < 4:
        raise DataError(f"{source}: {len(content)} bytes are too short for an IDX file; it is truncated")
    kind, n_axes = content[2], content[3]
    if content[:2] != b"\0\0" or kind not in _DTYPES or not 1 <= n_axes <= _MOST_AXES:
        raise DataError(f"{source}: not an IDX file of {what} (it begins with {content[:4].hex()})")
    header = 4 + 4 * n_axes
    if len(content) < header:
        raise DataError(f"{source}: {len(content)} bytes are too short for an IDX file; it is truncated")
    shape = struct.unpack_from(f">{n_axes}I", content, 4)
    expected = math.prod(shape) * _DTYPES[kind].itemsize
    if not expected:
        raise DataError(f"{source}: holds no images")
    if len(content) - header > expected:
        raise DataError(f"{source}: more than {expected} bytes of content; it is longer than its header says")
    if len(content) - header < expected:
        raise DataError(f"{source}: {len(content) - header} bytes of content, not {expected}; it is truncated")
    return np.frombuffer(content, _DTYPES[kind], offset=header).reshape(shape)


def parse_images(content: Content, source: str, spool: Path | None = None) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Return the images of an IDX file's content as they are stored, uint8 (n, 784), and notes; usually 0 = paper.

    With a temporary folder, they are left on the disk, as the content is.

    Raises
    ------
    DataError
        If the header does not announce images, or does not agree with the length.
    """
    array = _array_in(content, source, "images")
    if array.ndim < 2:
        raise DataError(f"{source}: not an IDX file of images (it begins with {content[:4].hex()})")
    if array.dtype == np.uint8 and array.shape[1:] == (SIDE, SIDE):
        rows = array.reshape(len(array), PIXELS)
        return rows if spool is None else cast("NDArray[np.uint8]", MappedRows(rows)), ()
    return images_from_array(array, source, spool=spool)


def parse_labels(content: Content, source: str) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Return the labels of an IDX file's content, integers of shape (n,), and notes.

    Raises
    ------
    DataError
        If the header does not announce labels, or does not agree with the length.
    """
    array = _array_in(content, source, "labels")
    array = array.astype(array.dtype.newbyteorder("="))
    if array.ndim > 2:
        raise DataError(f"{source}: not an IDX file of labels (it begins with {content[:4].hex()})")
    if array.ndim == 2 and array.shape[1] == _QMNIST_COLUMNS:
        return array[:, 0].copy(), ("labels of QMNIST: the class is the first of their 8 numbers",)
    labels, note = as_list(array, len(array), source)
    return labels, (note,) if note else ()


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
    file.writelines((~part).tobytes() for part in row_parts(dataset.images))


def write_labels(dataset: Dataset, file: BinaryIO) -> None:
    """Write the labels as an IDX file; raises a DataError as :func:`label_bytes` does."""
    file.write(struct.pack(">2I", LABELS_MAGIC, len(dataset)))
    file.write(label_bytes(dataset).tobytes())
