"""Writing stores, see :mod:`fastnn.datasets.store`."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import msgspec

from fastnn.datasets.dataset import Dataset
from fastnn.datasets.dense_rows import with_dense_rows
from fastnn.datasets.mapped import MappedFile, MappedRows, row_parts
from fastnn.datasets.options import DEFAULT_OPTIONS
from fastnn.datasets.store import (
    ENDING,
    FILES,
    HEADER,
    FileNames,
    Header,
    PartHeader,
    hash_of_groups,
    is_store,
    open_store,
)
from fastnn.datasets.store_files import ArrayWriter
from fastnn.datasets.streams import load_for_store
from fastnn.errors import DataError, cannot_write
from fastnn.storage import (
    atomic_write,
    check_target,
    exchange,
    flush_file,
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
        If the source is damaged, its sparse rows are too large with all their zeros, `out` exists and `force` is not
        given, or it cannot be written.
    """
    out = user_path(out)
    check_target(out)
    if not is_store(out):
        raise DataError(f"{out}: a store is a folder whose name ends with {ENDING}")
    exists = out.exists()
    if exists and not (out.is_dir() and {one.name for one in out.iterdir()} <= set(FILES)):
        raise DataError(f"{out}: exists and is no store; choose another name")
    refuse_existing([out], force=force)
    try:
        with temporary_folder(out) as made, temporary_folder(out) as spool:
            dataset = source if isinstance(source, Dataset) else load_for_store(source, options, spool)
            _write(with_dense_rows(dataset, spool), made, spool, out, options.group)
            if not exists:
                put_in_place(made, out)
            elif not exchange(made, out, FILES):
                _replace_files(made, out)
    except OSError as error:
        raise cannot_write(out, error, DataError) from None
    return open_store(out)


def _write(dataset: Dataset, folder: Path, spool: Path, out: Path, group: str | None) -> None:
    parts: dict[Part, Dataset] = {"train": dataset}
    for part, one in (("test", dataset.test), ("validation", dataset.validation)):
        if one is not None:
            parts[cast("Part", part)] = one
    headers: dict[Any, PartHeader] = {}
    for part, one in parts.items():
        if (one.names, one.features.dtype, one.targets.dtype) != (
            dataset.names,
            dataset.features.dtype,
            dataset.targets.dtype,
        ):
            raise DataError(f"{one.source}: its {part} set has other classes or numbers; a store needs the same")
        names = FileNames.of(part)
        _write_array(folder / names.features, cast("Any", one.features), spool)
        _write_array(folder / names.targets, one.targets)
        if one.groups is not None:
            _write_array(folder / names.groups, one.groups)
        written: Any = MappedRows(MappedFile(folder / names.features).array)
        again = replace(one, features=written, test=None, validation=None)
        groups = None if one.groups is None else hash_of_groups(one.groups)
        headers[part] = PartHeader(len(one), again.compute_hash(), groups)
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
        notes=tuple(note.replace(str(spool), str(out)) for note in dataset.notes),
        group=None if dataset.groups is None else group or _group_of(dataset),
    )
    with atomic_write(folder / HEADER) as file:
        file.write(msgspec.json.format(msgspec.json.encode(header)) + b"\n")


def _group_of(dataset: Dataset) -> str:
    """Return the name of the column that the groups of a data set are from."""
    return "group" if dataset.options is None or dataset.options.group is None else dataset.options.group


def _write_array(path: Path, array: NDArray[Any] | MappedRows, spool: Path | None = None) -> None:
    """Write an array, part by part; a whole file that the reader left in its temporary folder is moved."""
    own = array.file.path if type(array) is MappedRows and array.index is None and array.file is not None else None
    if own is not None:
        with contextlib.suppress(PermissionError):  # Windows moves no file that is mapped
            if own.parent == spool and own.exists():
                flush_file(own)
                own.replace(path)
                return
    with ArrayWriter(path, array.dtype.newbyteorder("<"), array.shape[1:]) as writer:
        for part in row_parts(array):
            writer.append(part)


def _replace_files(made: Path, out: Path) -> None:
    """Replace the files of a store; until the last step it has no header, and is refused."""
    remove_file(out / HEADER)
    for name in FILES[1:]:
        if (made / name).exists():
            move_file(made / name, out / name)
        else:
            (out / name).unlink(missing_ok=True)
    move_file(made / HEADER, out / HEADER)
