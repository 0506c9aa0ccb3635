"""Data sets: loading them by name or path, and splitting them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastnn.datasets.columns import Column
from fastnn.datasets.dataset import PIXELS, SIDE, Dataset
from fastnn.datasets.labels import encode_labels
from fastnn.datasets.loading import load_from
from fastnn.datasets.mapped import MappedRows
from fastnn.datasets.names import NAMES
from fastnn.datasets.options import ReadOptions
from fastnn.datasets.scaling import Scaling
from fastnn.datasets.sparse import SparseRows
from fastnn.datasets.split import Split, per_class, split

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
    return load_from(source, options, progress)
