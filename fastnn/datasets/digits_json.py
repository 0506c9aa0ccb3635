"""The original's format: a JSON array of ``{"image": [784 integers], "label": 0}``."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, cast

import msgspec
import numpy as np
from msgspec import Meta

from fastnn.datasets.cache import cache_key, cached, cached_file
from fastnn.datasets.dataset import PIXELS, Dataset
from fastnn.datasets.groups import contributor_groups
from fastnn.datasets.json_items import array_items
from fastnn.datasets.labels import SharedTexts, encode_labels, is_digit
from fastnn.datasets.safe_read import Unpacked, is_packed, map_packed, read_packed
from fastnn.datasets.spool import rows_on_disk
from fastnn.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from typing import BinaryIO

    from fastnn.datasets.safe_read import Content

_Pixel = Annotated[int, Meta(ge=0, le=255)]
_Label = Annotated[int, Meta(ge=0, le=9)] | str
_Contributor = Annotated[str, Meta(max_length=1000)]
_Pixels = Annotated[list[_Pixel], Meta(min_length=PIXELS, max_length=PIXELS)]
_pixels = msgspec.json.Decoder(_Pixels)


class _Digit(msgspec.Struct, gc=False):
    # Raw: the pixels of one image at a time become Python integers, not eleven million at once. A file of 41 MB needs
    # 80 MB and 0.55 s this way, 174 MB and 0.62 s with a typed list of lists.
    image: msgspec.Raw
    label: _Label


class _Credited(_Digit, gc=False):
    contributor: _Contributor = ""


class _MaybeLabelled(msgspec.Struct, gc=False):
    image: msgspec.Raw
    label: _Label | None = None


_digit: msgspec.json.Decoder[_Digit] = msgspec.json.Decoder(_Digit)
_credited = msgspec.json.Decoder(_Credited)
# In a file of one class an element may be a list of pixels, or an object without a label.
_maybe_labelled = msgspec.json.Decoder(_MaybeLabelled)

_FORMAT = f'the format is [{{"image": [{PIXELS} integers], "label": 0 to 9 or text}}, ...]'
_FAULTS = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError)
_IMAGES_AT_ONCE = 256
"""Images that are written at a time."""


def read_json(path: Path, spool: Path | None = None) -> Dataset:
    """Read a data set from a ``.json`` or ``.json.gz`` file in the original's format.

    Parameters
    ----------
    path : Path
    spool : Path, optional
        A temporary folder for the images, if they are to be left on the disk.

    Returns
    -------
    Dataset

    Raises
    ------
    DataError
        If the content has another format; the message names the file and the item.
    """
    if spool is not None:
        return _parse(map_packed(path), str(path), spool)
    stored = None if is_packed(path.name) else cached_file(path, str(path))
    return from_bytes(read_packed(path), str(path)) if stored is None else stored


def read_json_with_contributors(path: Path, spool: Path | None = None) -> Dataset:
    """Read a data set as :func:`read_json` does, with a group for each contributor.

    Each item may have a text ``contributor``; one without it is a group of its own.

    Raises
    ------
    DataError
        If the content has another format, or no item has a contributor.
    """
    source = str(path)
    contributors: list[str] = []
    content = read_packed(path) if spool is None else map_packed(path)
    dataset = _parse(content, source, spool, contributors)
    groups, notes = contributor_groups(contributors, source)
    return replace(dataset, groups=groups, notes=notes)


def from_bytes(content: bytes | bytearray, source: str) -> Dataset:
    """Return the data set in the content of a JSON file; parsed, or from the cache if it was parsed before.

    Parameters
    ----------
    content : bytes
        As it is stored: compressed if `source` ends with ``.gz``.
    source : str
        Path of the file.
    """
    return cached(cache_key(content, source), len(content), source, lambda: _parse(content, source))


def _parse(content: Content, source: str, spool: Path | None = None, contributors: list[str] | None = None) -> Dataset:
    return _dataset(_digits(content, source, contributors, on_disk=spool is not None), source, spool)


def _digits(
    content: Content, source: str, contributors: list[str] | None, *, on_disk: bool
) -> Iterator[tuple[bytes, int | str]]:
    """Yield pixels and label of each image in the content of a file, and add its contributor to a list."""
    decoder, shared = _digit if contributors is None else _credited, SharedTexts()
    for position, text in enumerate(array_items(Unpacked(content, source, on_disk=on_disk), source, _FORMAT)):
        try:
            digit = decoder.decode(text)
        except _FAULTS as error:
            raise DataError(f"{source}: item {position}: {_explain(error)}") from None
        if contributors is not None:
            contributors.append(shared.of(cast(_Credited, digit).contributor))
        yield parse_pixels(digit.image, f"{source}: item {position}"), digit.label


def read_class_files(paths: Sequence[Path], source: str, spool: Path | None = None) -> Dataset:
    """Read a data set from files named after the digit they hold, as the original collected them.

    Parameters
    ----------
    paths : sequence of Path
        ``0.json`` to ``9.json``, plain or ``.gz``; each an array of digits, with or without a label, or of lists of
        pixels. A label in an object overrides the name of the file.
    source : str
        The `source` of the returned data set.
    spool : Path, optional
        A temporary folder for the images, if they are to be left on the disk.

    Returns
    -------
    Dataset

    Raises
    ------
    DataError
        If the content of a file has another format; the message names the file and the item.
    """
    contents: list[Content] = [read_packed(path) if spool is None else map_packed(path) for path in paths]

    def parse() -> Dataset:
        digits = (
            digit
            for path, content in zip(paths, contents, strict=True)
            for digit in _digits_of_class(content, path, on_disk=spool is not None)
        )
        return _dataset(digits, source, spool)

    if spool is not None:
        return parse()
    digest = hashlib.sha256()
    for path, content in zip(paths, contents, strict=True):
        digest.update(path.name[:1].encode() + cache_key(cast(bytes, content), path.name).encode())
    return cached(digest.hexdigest(), sum(map(len, contents)), source, parse)


def _digits_of_class(content: Content, path: Path, *, on_disk: bool) -> Iterator[tuple[bytes, int | str]]:
    """Yield pixels and label of each image in the content of a file of one class."""
    default_label = int(path.name[0])
    for position, text in enumerate(array_items(Unpacked(content, path.name, on_disk=on_disk), str(path), _FORMAT)):
        image, label = msgspec.Raw(text), None
        if text[:1] == b"{":
            try:
                element = _maybe_labelled.decode(text)
            except _FAULTS as error:
                raise DataError(f"{path}: item {position}: {_explain(error)}") from None
            image, label = element.image, element.label
        yield parse_pixels(image, f"{path}: item {position}"), default_label if label is None else label


def _dataset(digits: Iterator[tuple[bytes, int | str]], source: str, spool: Path | None) -> Dataset:
    """Return the data set of images and their labels; with a temporary folder, the images are left there."""
    labels, shared = list[int | str](), SharedTexts()

    def images() -> Iterator[bytes]:
        for image, label in digits:
            labels.append(shared.of(label) if isinstance(label, str) else label)
            yield image

    rows: Any
    if spool is None:
        pixels = bytearray()
        for image in images():
            pixels += image
        rows = np.frombuffer(pixels, np.uint8).reshape(-1, PIXELS)
    else:
        left = images()
        pieces = iter(lambda: b"".join(islice(left, _IMAGES_AT_ONCE)), b"")
        arrays = (np.frombuffer(piece, np.uint8).reshape(-1, PIXELS) for piece in pieces)
        rows = rows_on_disk(spool, arrays, np.dtype(np.uint8), PIXELS)
    if not labels:
        raise DataError(f"{source}: holds no images")
    indices, classes = encode_labels(labels, source)
    return Dataset(rows, indices, classes, source)


def parse_pixels(text: msgspec.Raw | bytes, where: str) -> bytes:
    """Decode a JSON list of 784 integers from 0 to 255.

    Parameters
    ----------
    text : bytes
        The list.
    where : str
        What error messages call it.

    Returns
    -------
    bytes
        784 bytes, one for each pixel.

    Raises
    ------
    DataError
        If the text is not such a list.
    """
    try:
        return bytes(_pixels.decode(text))
    except _FAULTS as error:
        fault = re.sub(r" - at `\$\[(\d+)\]`", r" at pixel \1", str(error)).replace("`", "")
        raise DataError(f"{where}: an image must be {PIXELS} integers from 0 to 255 ({fault})") from None


def _explain(error: Exception) -> str:
    """Return the fault of an item in words."""
    message = str(error).replace("`", "")
    if isinstance(error, msgspec.ValidationError):
        fault, _, place = message.partition(" - at $.")
        return f"{f'{place}: ' if place else ''}{fault}; {_FORMAT}"
    return f"not valid JSON ({message})"


def write_json(dataset: Dataset, file: BinaryIO) -> None:
    """Write a data set in the original's format, one digit per line, without its test set."""
    labels = [int(name) if is_digit(name) else name for name in dataset.classes]
    endings = [b',"label":' + msgspec.json.encode(label) + b"}" for label in labels]
    separator = b"[\n"
    for image, label in zip(dataset.images, dataset.labels.tolist(), strict=True):
        file.write(separator + b'{"image":' + msgspec.json.encode(image.tolist()) + endings[label])
        separator = b",\n"
    file.write(b"\n]\n")
