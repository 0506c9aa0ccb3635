"""Loading a data set by name, from a path or from a database."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from fastnn.datasets.names import NAMES, load_named
from fastnn.errors import DataError, cannot_read
from fastnn.storage import user_path

if TYPE_CHECKING:
    from pathlib import Path

    from fastnn.datasets.dataset import Dataset
    from fastnn.datasets.fetch import Progress
    from fastnn.datasets.options import ReadOptions

_DATABASES = ("sqlite:", "postgresql:", "postgresql+psycopg:", "postgres:")


def load_from(
    source: str | Path, options: ReadOptions, progress: Progress | None = None, *, spool: Path | None = None
) -> Dataset:
    """Load a data set.

    Parameters
    ----------
    source : str or Path
        See :func:`fastnn.load_dataset`.
    options : ReadOptions
    progress : callable, optional
        See :func:`fastnn.load_dataset`.
    spool : Path, optional
        A temporary folder for samples, if they are to be left on the disk where their format allows it. It must exist
        as long as the data set is used.

    Raises
    ------
    DataError, FetchError
        As :func:`fastnn.load_dataset` does.
    """
    dataset = _load(source, options, progress, spool)
    if not options.classes:
        return dataset
    from fastnn.datasets.class_choice import keep_classes

    return replace(keep_classes(dataset, options.classes), options=options)


def _load(source: str | Path, options: ReadOptions, progress: Progress | None, spool: Path | None) -> Dataset:
    if isinstance(source, str) and (source in NAMES or source.startswith(("drawn:", *_DATABASES))):
        from fastnn.datasets.groups import CONTRIBUTOR, check_no_group
        from fastnn.datasets.readers import check_no_target

        check_no_target(source, options)
        check_no_group(source, options.group, only=CONTRIBUTOR if source.startswith(_DATABASES) else None)
    if isinstance(source, str) and (source in NAMES or source.startswith("drawn:")):
        return _of_known_polarity(load_named(source, progress), options)
    if not isinstance(source, str | os.PathLike):
        # Functions that take a data set pass everything that is not one to this function.
        fix = "; make one of arrays with fastnn.Dataset(images, labels, classes, source)" if _is_arrays(source) else ""
        raise DataError(f"data must be a Dataset, or a name or path to load, not {type(source).__name__}{fix}")
    if isinstance(source, str) and source.startswith(_DATABASES):
        from fastnn.datasets.database import read_database

        dataset = read_database(source, spool, with_groups=options.group is not None)
        return _of_known_polarity(replace(dataset, polarity="dark-on-light"), options)
    # Whoever loads the data again, such as to resume a run, must ask for the same.
    return replace(_load_path(source, options, spool), options=options)


def _of_known_polarity(dataset: Dataset, options: ReadOptions) -> Dataset:
    """Return a data set whose polarity is known; DataError if another one is asked for."""
    if options.polarity not in ("auto", dataset.polarity):
        raise DataError(f"{dataset.source}: its images are stored {dataset.polarity}; drop --polarity")
    return dataset


def _is_arrays(source: object) -> bool:
    return isinstance(source, tuple | list) or hasattr(source, "__array__")


def _load_path(source: str | Path, options: ReadOptions, spool: Path | None) -> Dataset:
    from fastnn.datasets.readers import read_path

    path = user_path(source)
    try:
        exists = path.exists()
    except OSError as error:
        raise cannot_read(source, error) from None
    if not exists:
        raise DataError(f"{source}: no such file or folder, and not the name of a data set ({', '.join(NAMES)})")
    return read_path(path, options, spool)
