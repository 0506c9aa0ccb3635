"""Stores: data sets on the disk that are mapped into memory, so that they may be larger than it.

A store is a folder whose name ends with ``.fnn``. It holds two ``.npy`` files for each part of the data set, its
features and its targets, a third one if samples have groups, and ``header.json``. Any program that knows NumPy reads
them. ``.npy`` rather than Arrow or Zarr: the rows of a ``.npy`` file are one matrix in the order of memory, which the
kernels read in place, at no cost for a sample. A column of lists in Arrow is such a matrix too, but needs pyarrow to
open it; Zarr stores chunks, usually compressed, of which one must be unpacked for each sample of a random order.

A store is written to a temporary folder beside it, the header last, and then renamed in one step. So there is no moment
in which others see half of it, and two programs that write the same store need no lock: the last one wins, or is
refused. A store that is replaced stays mapped where it is read.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import msgspec
import numpy as np
from msgspec import Meta

from fastnn.datasets.columns import Column  # noqa: TC001 - msgspec reads the annotations
from fastnn.datasets.dataset import Dataset, check_finite
from fastnn.datasets.mapped import KnownContent, MappedFile, MappedRows, StoredPart
from fastnn.datasets.options import DEFAULT_OPTIONS
from fastnn.datasets.store_files import features_of
from fastnn.errors import DataError
from fastnn.reading import read_file
from fastnn.storage import user_path

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from fastnn.datasets.array_names import Part
    from fastnn.datasets.options import ReadOptions

ENDING = ".fnn"
HEADER = "header.json"
VERSION = 1
_FORMAT = "fastnn store"
_HEADER_LIMIT = 64 << 20
_PARTS: tuple[Part, ...] = ("train", "test", "validation")
_DTYPES = ("uint8", "float32", "float64")
_AGAIN = "write it again with fastnn data convert"
_Text = Annotated[str, Meta(max_length=1 << 16)]
_Hash = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


class PartHeader(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a store says of one part of its data set.

    Attributes
    ----------
    n : int
        Number of samples.
    sha256 : str
        Hash of the samples, see :attr:`fastnn.Dataset.content_hash`.
    groups : str or None
        Hash of the numbers of their groups, if they have any.
    """

    n: Annotated[int, Meta(ge=0)]
    sha256: _Hash
    groups: _Hash | None = None


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The header of a store.

    Attributes
    ----------
    format, version : str, int
    source : str
        Where the data came from.
    features, targets : str
        Types of the arrays, such as "uint8" and "int64".
    inputs : int
        Number of features of a sample.
    names : tuple of str
        See :class:`fastnn.Dataset`.
    parts : dict of {"train", "test", "validation"} to PartHeader
    columns : tuple of Column or None
    polarity : str or None
        How the source stored images; in the store they are dark on light.
    target : tuple of str
        The columns of the source that were asked for as targets.
    notes : tuple of str
        How the source was read.
    group : str or None
        The column of the source that says which samples belong together.
    """

    format: Literal["fastnn store"] = "fastnn store"
    version: Literal[1] = 1
    source: _Text
    features: Literal["uint8", "float32", "float64"]
    targets: Literal["int64", "uint8", "float64"]
    inputs: Annotated[int, Meta(ge=1)]
    names: tuple[_Text, ...]
    parts: dict[Literal["train", "test", "validation"], PartHeader]
    columns: tuple[Column, ...] | None = None
    polarity: Literal["dark-on-light", "light-on-dark", "mixed"] | None = None
    target: tuple[_Text, ...] = ()
    notes: tuple[_Text, ...] = ()
    group: _Text | None = None


class FileNames(NamedTuple):
    """Names of the files of one part."""

    features: str
    targets: str
    groups: str

    @classmethod
    def of(cls, part: Part) -> FileNames:
        """Return those of a part."""
        return cls(features_of(part), f"{part}-targets.npy", f"{part}-groups.npy")


FILES = (HEADER, *(name for part in _PARTS for name in FileNames.of(part)))
"""The files that a store may have."""


def is_store(path: Path) -> bool:
    """Return whether the name of a folder is that of a store."""
    return path.name.lower().endswith(ENDING)


def open_store(path: Path, options: ReadOptions = DEFAULT_OPTIONS) -> Dataset:
    """Return the data set of a store, whose features and targets stay on the disk.

    Header, sizes, labels and, of rows, all values are checked; :func:`check_store` compares the hashes too.

    Parameters
    ----------
    path : Path
    options : ReadOptions
        Target, task, polarity and group must be those of the store.

    Raises
    ------
    DataError
        If the store is damaged, cut off, being written, or of another version, or groups are asked for that it does not
        keep.
    """
    header = read_header(path)
    if options.polarity != "auto":
        raise DataError(f"{path}: a store holds images dark on light already; drop --polarity")
    if options.group not in (None, header.group):
        kept = "no groups" if header.group is None else f"the groups of {header.group[:40]!r} alone"
        raise DataError(f"{path}: keeps {kept}; write it again with fastnn data convert --group {options.group[:40]}")
    parts = {part: _open_part(path, header, part) for part in _PARTS if part in header.parts}
    whole = replace(parts["train"], notes=header.notes, test=parts.get("test"), validation=parts.get("validation"))
    # Which column held the classes is known only if it was asked for.
    unknown = not header.target and whole.task == "classification" and not whole.is_images
    if options.target not in ((), header.target, whole.names) and not unknown:
        raise DataError(f"{path}: a store has its targets already; drop --target, or convert its source with it")
    if options.task not in (None, whole.task):
        raise DataError(f"{path}: its task is {whole.task}; drop --task")
    return whole


def check_store(path: Path) -> Dataset:
    """Return the data set of a store after comparing its content with the hashes in its header.

    Raises
    ------
    DataError
        If they differ, or for the reasons of :func:`open_store`.
    """
    dataset, header = open_store(path), read_header(path)
    held: dict[Part, Dataset | None] = {"train": dataset, "test": dataset.test, "validation": dataset.validation}
    for part, one in held.items():
        if one is None:
            continue
        groups = header.parts[part].groups
        same_groups = one.groups is None or hash_of_groups(one.groups) == groups
        if one.compute_hash() != one.content_hash or not same_groups:
            raise DataError(
                f"{path}: the {part} samples are not those that were written: it was edited or is damaged; {_AGAIN}"
            )
    return dataset


def check_source(source: str) -> None:
    """Compare the content of a source with the hashes in its header, see :func:`check_store`; only a store has them."""
    path = user_path(source)
    if not is_store(path):
        raise DataError(f"{source}: is no store (NAME{ENDING}), so there is no hash to compare with; drop --check")
    check_store(path)


def read_header(path: Path) -> Header:
    """Return the header of a store; errors as for :func:`open_store`."""
    file = path / HEADER
    if path.is_dir() and not file.exists():
        raise DataError(f"{path}: has no {HEADER}: it is being written, or was not finished; {_AGAIN}")
    content = read_file(file, _HEADER_LIMIT, what="the header of a store")
    try:
        found = msgspec.json.decode(content)
        if not isinstance(found, dict) or found.get("format") != _FORMAT:
            raise DataError(f"{file}: not the header of a store; {_AGAIN}")
        version = found.get("version")
        if version != VERSION:
            raise DataError(
                f"{file}: is of version {json.dumps(version)[:20]}, but this fastnn reads version {VERSION}; update "
                f"fastnn, or {_AGAIN}"
            )
        header = msgspec.convert(found, Header)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"{file}: damaged ({' '.join(str(error).split())[:200]}); {_AGAIN}") from None
    if "train" not in header.parts:
        raise DataError(f"{file}: names no samples to train on; {_AGAIN}")
    return header


def hash_of_groups(groups: NDArray[np.int64]) -> str:
    """Return the SHA-256 (hexadecimal) of the numbers of groups."""
    return hashlib.sha256(np.ascontiguousarray(groups, "<i8").data).hexdigest()


def _open_part(path: Path, header: Header, part: Part) -> Dataset:
    about, names = header.parts[part], FileNames.of(part)
    features = MappedFile(path / names.features)
    features.stored = StoredPart(path, part, about.sha256)
    targets = MappedFile(path / names.targets)
    several = () if header.targets == "int64" else (len(header.names),)
    expected: list[tuple[MappedFile, str, tuple[int, ...]]] = [
        (features, header.features, (about.n, header.inputs)),
        (targets, header.targets, (about.n, *several)),
    ]
    groups = None if about.groups is None else MappedFile(path / names.groups)
    if groups is not None:
        expected.append((groups, "int64", (about.n,)))
    for file, dtype, shape in expected:
        if file.array.dtype != np.dtype(dtype).newbyteorder("<") or file.array.shape != shape:
            raise DataError(
                f"{file.path}: holds {file.array.dtype} of shape {file.array.shape}, but the header says {dtype} of "
                f"shape {shape}; {_AGAIN}"
            )
    rows: Any = MappedRows(
        features.array,
        file=features,
        known=KnownContent(targets.array, header.names, header.columns, about.sha256),
    )
    source = str(path) if part == "train" else f"{path} ({part} set)"
    dataset = Dataset(
        rows,
        targets.array,
        header.names,
        source,
        columns=header.columns,
        polarity=header.polarity,
        groups=None if groups is None else groups.array,
    )
    if not dataset.is_images:
        check_finite(rows, source, "a feature")
    return dataset
