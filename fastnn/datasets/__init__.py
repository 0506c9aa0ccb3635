"""Data sets: loading them by name or path, and splitting them."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from fastnn.datasets.columns import Column
from fastnn.datasets.dataset import PIXELS, SIDE, Dataset
from fastnn.datasets.labels import encode_labels
from fastnn.datasets.mapped import MappedRows
from fastnn.datasets.names import NAMES, load_named
from fastnn.datasets.options import ReadOptions
from fastnn.datasets.scaling import Scaling
from fastnn.datasets.sparse import SparseRows
from fastnn.datasets.split import Split, per_class, split
from fastnn.errors import DataError, cannot_read
from fastnn.storage import user_path

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fastnn.datasets.fetch import Progress
    from fastnn.datasets.polarity import Polarity
    from fastnn.network import Task

__all__ = [
    "NAMES",
    "PIXELS",
    "SIDE",
    "Column",
    "Dataset",
    "MappedRows",
    "ReadOptions",
    "Scaling",
    "SparseRows",
    "Split",
    "encode_labels",
    "load_dataset",
    "load_source",
    "per_class",
    "split",
]

_DATABASES = ("sqlite:", "postgresql:", "postgresql+psycopg:", "postgres:")


def load_dataset(
    source: str | Path,
    *,
    progress: Progress | None = None,
    target: str | Sequence[str] | None = None,
    task: Task | None = None,
    polarity: Polarity = "auto",
    strict: bool = False,
    classes: str | Sequence[str] | None = None,
) -> Dataset:
    """Load a data set by name, from a path or from a database.

    Parameters
    ----------
    source : str or Path
        One of:

        - a name: ``digits`` (the 13,942 digits of the original) or ``mnist``, found in ``$FASTNN_DATA``, ``./data`` or
          the user's cache, else downloaded; or ``drawn``, digits that are generated (``drawn:2000:7`` for 2,000 digits
          and seed 7);
        - a path of images: ``.json``, ``.csv`` (both also with ``.gz``), ``.npz``, ``.npy``, ``.mat`` or ``.parquet``,
          an IDX file, or a folder of such files, of ``0.json`` to ``9.json``, of class folders with pictures, or of
          pictures with labels in their names or in a file; or a ``.zip``, ``.tar`` or ``.tar.gz`` archive of one;
        - a store ``NAME.fnn``, whose samples stay on the disk;
        - a path of a table: ``.csv``, ``.tsv``, ``.svmlight`` (all also with ``.gz``), ``.npz`` or ``.parquet``;
        - the URL of a database that the web app fills, ``sqlite:///FILE`` or ``postgresql://USER@HOST/NAME``, of which
          the accepted digits are read.
    progress : callable, optional
        Called during a download with a text and the fraction done, 0 to 1.
    target : str or sequence of str, optional
        The columns of a CSV, TSV or Parquet file to learn, by their names, or by their positions, from 1, if the file
        has no row of names. By default the column named target, label, class or y, and in a table of pixels without
        names the first or last one, by its values.
    task : {"classification", "multilabel", "regression"}, optional
        What is learned from a table. By default its targets decide, and a note of the data set says how.
    polarity : {"auto", "dark-on-light", "light-on-dark"}
        Whether the ink of images is darker or lighter than the paper. With "auto" the images decide, and a note says so
        if they are inverted.
    strict : bool
        Whether a damaged file among many is an error. By default it is left out with a note.
    classes : str or sequence of str, optional
        The only classes to take, such as "0-9", "A-Z,a-z" or ("0", "1", "7"); the network has an output for each of
        them, in this order. By default all classes of the data.

    Returns
    -------
    Dataset
        Images are 255 = paper, whatever the source; with `test` and `validation` if the source has such parts.

    Raises
    ------
    DataError
        If there is no such source, it is neither a name nor a path, or its content is invalid; the message names the
        file.
    FetchError
        If a download is needed and fails.

    Examples
    --------
    >>> import fastnn
    >>> data = fastnn.load_dataset("drawn:200")
    >>> len(data), data.images.shape, data.classes[:3]
    (200, (200, 784), ('0', '1', '2'))
    """
    return load_source(source, ReadOptions.of(target, task, polarity, strict=strict, classes=classes), progress)


def load_source(source: str | Path, options: ReadOptions, progress: Progress | None = None) -> Dataset:
    """Load a data set by name, from a path or from a database; see :func:`load_dataset`."""
    dataset = _load(source, options, progress)
    if not options.classes:
        return dataset
    from fastnn.datasets.class_choice import keep_classes

    return replace(keep_classes(dataset, options.classes), options=options)


def _load(source: str | Path, options: ReadOptions, progress: Progress | None) -> Dataset:
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

        dataset = read_database(source, options.spool, with_groups=options.group is not None)
        return _of_known_polarity(replace(dataset, polarity="dark-on-light"), options)
    # Whoever loads the data again, such as to resume a run, must ask for the same.
    return replace(_load_path(source, options), options=options)


def _of_known_polarity(dataset: Dataset, options: ReadOptions) -> Dataset:
    """Return a data set whose polarity is known; DataError if another one is asked for."""
    if options.polarity not in ("auto", dataset.polarity):
        raise DataError(f"{dataset.source}: its images are stored {dataset.polarity}; drop --polarity")
    return dataset


def _is_arrays(source: object) -> bool:
    return isinstance(source, tuple | list) or hasattr(source, "__array__")


def _load_path(source: str | Path, options: ReadOptions) -> Dataset:
    from fastnn.datasets.readers import read_path

    path = user_path(source)
    try:
        exists = path.exists()
    except OSError as error:
        raise cannot_read(source, error) from None
    if not exists:
        raise DataError(f"{source}: no such file or folder, and not the name of a data set ({', '.join(NAMES)})")
    return read_path(path, options)
