"""Reading sources for a store: their samples go to the disk, and only labels and figures stay in memory.

Sources that can only be read whole are read so, with a note.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from fastnn.datasets.dataset import PIXELS
from fastnn.datasets.drawn import check_count, drawn
from fastnn.datasets.loading import load_from
from fastnn.datasets.names import drawn_numbers
from fastnn.datasets.readers import check_no_target
from fastnn.datasets.spool import free_path, rows_in
from fastnn.datasets.store_files import new_array

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from fastnn.datasets.dataset import Dataset
    from fastnn.datasets.options import ReadOptions

WORTH_A_NOTE = 256 << 20
"""Bytes of samples in memory of which a note tells."""


def load_for_store(source: str, options: ReadOptions, folder: Path) -> Dataset:
    """Return a data set whose samples are on the disk where the source allows it.

    Parameters
    ----------
    source : str
        See :func:`fastnn.load_dataset`.
    options : ReadOptions
    folder : Path
        A temporary folder on the disk of the store.

    Raises
    ------
    FastnnError
        As :func:`fastnn.load_dataset` does.
    """
    if source.startswith("drawn:") and not options.classes and options.polarity in ("auto", "dark-on-light"):
        check_no_target(source, options)
        return _drawn(source, folder)
    dataset = load_from(source, options, spool=folder)
    size = sum(
        part.features.nbytes
        for part in (dataset, dataset.test, dataset.validation)
        if part is not None and isinstance(part.features, np.ndarray)
    )
    if size < WORTH_A_NOTE:
        return dataset
    note = f"the source was read whole, which took {size >> 20:,} MiB of memory"
    return replace(dataset, notes=(*dataset.notes, note))


def _drawn(source: str, folder: Path) -> Dataset:
    numbers = drawn_numbers(source)
    if not numbers:
        return drawn()
    check_count(numbers[0], *numbers[1:] or (0,))
    path = free_path(folder)
    images = new_array(path, np.dtype(np.uint8), (numbers[0], PIXELS))
    dataset = drawn(*numbers, out=images)
    rows: Any = rows_in(path)
    return replace(dataset, features=rows)
