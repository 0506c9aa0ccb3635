"""Loading data sets with a progress bar for downloads."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from fastnn.cli._console import err
from fastnn.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.progress import TaskID

    from fastnn.datasets import Dataset, ReadOptions


def load_with_progress(source: str, options: ReadOptions) -> Dataset:
    """Load a data set by :func:`fastnn.datasets.load_source`, with a progress bar if something is downloaded."""
    from fastnn.datasets import load_source

    with download_progress() as progress:
        return load_source(source, options, progress)


def load_images(source: str, options: ReadOptions) -> Dataset:
    """Load a data set of images by :func:`load_with_progress`; a table is refused."""
    dataset = load_with_progress(source, options)
    if not dataset.is_images:
        raise DataError(f"{source}: is a table, but this command needs images")
    return dataset


@contextlib.contextmanager
def download_progress() -> Iterator[Callable[[str, float], None]]:
    """Show the progress of downloads on standard error while the context lasts, with one bar for each file.

    Yields
    ------
    callable
        Takes the text of a bar and the fraction done, 0 to 1.
    """
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    bars = Progress(*columns, console=err())
    tasks: dict[str, TaskID] = {}

    def report(text: str, fraction: float) -> None:
        # Started here, since a display without bars would leave an empty line.
        bars.start()
        if text not in tasks:
            tasks[text] = bars.add_task(text, total=1.0)
        bars.update(tasks[text], completed=fraction)

    try:
        yield report
    finally:
        if tasks:
            bars.stop()
