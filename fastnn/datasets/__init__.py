"""Data sets: loading them by name or path, and splitting them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from fastnn.datasets.columns import Column
from fastnn.datasets.dataset import PIXELS, SIDE, Dataset
from fastnn.datasets.labels import encode_labels
from fastnn.datasets.names import NAMES, load_named
from fastnn.datasets.scaling import Scaling
from fastnn.datasets.sparse import SparseRows
from fastnn.datasets.split import Split, per_class, split
from fastnn.errors import DataError, cannot_read
from fastnn.storage import user_path

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fastnn.datasets.fetch import Progress
    from fastnn.network import Task

__all__ = [
    "NAMES",
    "PIXELS",
    "SIDE",
    "Column",
    "Dataset",
    "Scaling",
    "SparseRows",
    "Split",
    "encode_labels",
    "load_dataset",
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
) -> Dataset:
    """Load a data set by name, from a path or from a database.

    Parameters
    ----------
    source : str or Path
        One of:

        - a name: ``digits`` (the 13,942 digits of the original) or ``mnist``, found in ``$FASTNN_DATA``, ``./data`` or
          the user's cache, else downloaded; or ``drawn``, digits that are generated (``drawn:2000:7`` for 2,000 digits
          and seed 7);
        - a path: ``.json``, ``.json.gz``, ``.csv``, ``.csv.gz`` or ``.npz``, an IDX file, or a folder of IDX files, of
          ``0.json`` to ``9.json`` or of class folders with PNG or JPEG files;
        - the URL of a database that the web app fills, ``sqlite:///FILE`` or ``postgresql://USER@HOST/NAME``, of which
          the accepted digits are read.
    progress : callable, optional
        Called during a download with a text and the fraction done, 0 to 1.

    Returns
    -------
    Dataset
        255 = paper, whatever the source; with `test` if the source has a test set of its own.

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
    if isinstance(source, str) and (source in NAMES or source.startswith("drawn:")):
        return load_named(source, progress)
    if not isinstance(source, str | os.PathLike):
        # Functions that take a data set pass everything that is not one to this function.
        fix = "; make one of arrays with fastnn.Dataset(images, labels, classes, source)" if _is_arrays(source) else ""
        raise DataError(f"data must be a Dataset, or a name or path to load, not {type(source).__name__}{fix}")
    if isinstance(source, str) and source.startswith(_DATABASES):
        from fastnn.datasets.database import read_database

        return read_database(source)
    dataset = _load_path(source)
    if dataset.is_images and not (target is None and task is None):
        raise DataError(f"{source}: holds images with their labels; target and task are for tables")
    return dataset


def _is_arrays(source: object) -> bool:
    return isinstance(source, tuple | list) or hasattr(source, "__array__")


def _load_path(source: str | Path) -> Dataset:
    from fastnn.datasets.readers import read_path

    path = user_path(source)
    try:
        exists = path.exists()
    except OSError as error:
        raise cannot_read(source, error) from None
    if not exists:
        raise DataError(f"{source}: no such file or folder, and not the name of a data set ({', '.join(NAMES)})")
    return read_path(path)
