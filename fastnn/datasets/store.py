"""Stores: data sets on the disk that are mapped into memory, so that they may be larger than it.

A store is a folder whose name ends with ``.fnn``. It holds two ``.npy`` files for each part of the data set, its
features and its targets, and ``header.json``. Any program that knows NumPy reads them. ``.npy`` rather than Arrow or
Zarr: the rows of a ``.npy`` file are one matrix in the order of memory, which the kernels read in place, at no cost for
a sample. A column of lists in Arrow is such a matrix too, but needs pyarrow to open it; Zarr stores chunks, usually
compressed, of which one must be unpacked for each sample of a random order.

A store is written to a temporary folder beside it, the header last, and then renamed in one step. So there is no moment
in which others see half of it, and two programs that write the same store need no lock: the last one wins, or is
refused. A store that is replaced stays mapped where it is read.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, cast

import msgspec
import numpy as np
from msgspec import Meta

from fastnn.datasets.columns import Column  # noqa: TC001 - msgspec reads the annotations
from fastnn.datasets.dataset import Dataset, check_finite
from fastnn.datasets.mapped import KnownContent, MappedFile, MappedRows, row_parts
from fastnn.datasets.options import DEFAULT_OPTIONS
from fastnn.datasets.sparse import SparseRows
from fastnn.datasets.store_files import ArrayWriter
from fastnn.errors import DataError, cannot_write
from fastnn.reading import read_file
from fastnn.storage import (
    atomic_write,
    check_target,
    exchange,
    move_file,
    put_in_place,
    refuse_existing,
    remove_file,
    temporary_folder,
    user_path,
)

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
    """

    n: Annotated[int, Meta(ge=0)]
    sha256: _Hash


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


class _Names(NamedTuple):
    features: str
    targets: str

    @classmethod
    def of(cls, part: Part) -> _Names:
        return cls(f"{part}-features.npy", f"{part}-targets.npy")


FILES = (HEADER, *(name for part in _PARTS for name in _Names.of(part)))
"""The files that a store may have."""


def is_store(path: Path) -> bool:
    """Return whether the name of a folder is that of a store."""
    return path.name.lower().endswith(ENDING)


# ---- reading ----


def open_store(path: Path, options: ReadOptions = DEFAULT_OPTIONS) -> Dataset:
    """Return the data set of a store, whose features and targets stay on the disk.

    Header, sizes, labels and, of rows, all values are checked; :func:`check_store` compares the hashes too.

    Parameters
    ----------
    path : Path
    options : ReadOptions
        Target, task and polarity must be those of the store.

    Raises
    ------
    DataError
        If the store is damaged, cut off, being written, or of another version.
    """
    header = read_header(path)
    if options.polarity != "auto":
        raise DataError(f"{path}: a store holds images dark on light already; drop --polarity")
    if options.target not in ((), header.target):
        raise DataError(f"{path}: a store has its targets already; drop --target, or convert its source with it")
    parts = {part: _open_part(path, header, part) for part in _PARTS if part in header.parts}
    whole = replace(parts["train"], notes=header.notes, test=parts.get("test"), validation=parts.get("validation"))
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
    dataset = open_store(path)
    for part, one in (("train", dataset), ("test", dataset.test), ("validation", dataset.validation)):
        if one is not None and one.compute_hash() != one.content_hash:
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


def _open_part(path: Path, header: Header, part: Part) -> Dataset:
    about, names = header.parts[part], _Names.of(part)
    features = MappedFile(path / names.features)
    targets = MappedFile(path / names.targets)
    several = () if header.targets == "int64" else (len(header.names),)
    for file, dtype, shape in (
        (features, header.features, (about.n, header.inputs)),
        (targets, header.targets, (about.n, *several)),
    ):
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
    dataset = Dataset(rows, targets.array, header.names, source, columns=header.columns, polarity=header.polarity)
    if not dataset.is_images:
        check_finite(rows, source, "a feature")
    return dataset


# ---- writing ----


def write_store(
    source: str | Dataset, out: str | Path, options: ReadOptions = DEFAULT_OPTIONS, *, force: bool = False
) -> Dataset:
    """Write a data set to a store in one pass over its source.

    Parameters
    ----------
    source : str or Dataset
        What :func:`fastnn.load_dataset` takes, or a data set.
    out : path-like
        A folder whose name ends with ``.fnn``.
    options : ReadOptions, optional
        How the source is read.
    force : bool
        Replace an existing store.

    Returns
    -------
    Dataset
        The data set of the store.

    Raises
    ------
    DataError
        If the source is damaged or its rows are sparse, `out` exists and `force` is not given, or it cannot be written.
    """
    from fastnn.datasets.streams import load_for_store

    out = user_path(out)
    check_target(out)
    if not is_store(out):
        raise DataError(f"{out}: a store is a folder whose name ends with {ENDING}")
    exists = out.exists()
    if exists and not (out.is_dir() and {one.name for one in out.iterdir()} <= set(FILES)):
        raise DataError(f"{out}: exists and is no store; choose another name")
    refuse_existing([out], force=force)
    try:
        with temporary_folder(out) as made:
            dataset = source if isinstance(source, Dataset) else load_for_store(source, options, made)
            _write(dataset, made, out)
            if not exists:
                put_in_place(made, out)
            elif not exchange(made, out, FILES):
                _replace_files(made, out)
    except OSError as error:
        raise cannot_write(out, error, DataError) from None
    return open_store(out)


def _write(dataset: Dataset, folder: Path, out: Path) -> None:
    parts: dict[Part, Dataset] = {"train": dataset}
    for part, one in (("test", dataset.test), ("validation", dataset.validation)):
        if one is not None:
            parts[cast("Part", part)] = one
    headers: dict[Any, PartHeader] = {}
    for part, one in parts.items():
        if isinstance(one.features, SparseRows):
            raise DataError(f"{one.source}: its rows are sparse, but a store holds dense rows; train on it as it is")
        if (one.names, one.features.dtype, one.targets.dtype) != (
            dataset.names,
            dataset.features.dtype,
            dataset.targets.dtype,
        ):
            raise DataError(f"{one.source}: its {part} set has other classes or numbers; a store needs the same")
        names = _Names.of(part)
        _write_array(folder / names.features, one.features)
        _write_array(folder / names.targets, one.targets)
        written: Any = MappedRows(MappedFile(folder / names.features).array)
        again = replace(one, features=written, test=None, validation=None)
        headers[part] = PartHeader(len(one), again.compute_hash())
    target = () if dataset.options is None or dataset.is_images else dataset.options.target
    header = Header(
        source=dataset.source,
        features=cast("Any", dataset.features.dtype.name),
        targets=cast("Any", dataset.targets.dtype.name),
        inputs=dataset.n_inputs,
        names=dataset.names,
        parts=headers,
        columns=dataset.columns,
        polarity=dataset.polarity,
        target=target,
        notes=tuple(note.replace(str(folder), str(out)) for note in dataset.notes),
    )
    with atomic_write(folder / HEADER) as file:
        file.write(msgspec.json.format(msgspec.json.encode(header)) + b"\n")


def _write_array(path: Path, array: NDArray[Any] | MappedRows) -> None:
    """Write an array, part by part, unless it was made at this place."""
    if type(array) is MappedRows and array.file is not None and array.file.path == path:
        return
    # What the reader left at this place may be what is read here.
    new = path.with_name(f"{path.name}.new")
    with ArrayWriter(new, array.dtype.newbyteorder("<"), array.shape[1:]) as writer:
        for part in row_parts(array):
            writer.append(part)
    new.replace(path)


def _replace_files(made: Path, out: Path) -> None:
    """Replace the files of a store; until the last step it has no header, and is refused."""
    remove_file(out / HEADER)
    for name in FILES[1:]:
        if (made / name).exists():
            move_file(made / name, out / name)
        else:
            (out / name).unlink(missing_ok=True)
    move_file(made / HEADER, out / HEADER)
