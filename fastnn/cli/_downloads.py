"""Loading data sets with a progress bar for downloads."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from fastnn.cli._console import err

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.progress import TaskID

    from fastnn.datasets import Dataset


def load_with_progress(source: str) -> Dataset:
    """Load a data set by :func:`fastnn.datasets.load_dataset`, with a progress bar if something is downloaded."""
    from fastnn.datasets import load_dataset

    with download_progress() as progress:
        return load_dataset(source, progress=progress)


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
