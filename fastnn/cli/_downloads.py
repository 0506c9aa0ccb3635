"""The progress bar of downloads."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from fastnn.cli._console import err

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.progress import TaskID


@contextlib.contextmanager
def download_progress() -> Iterator[Callable[[str, float], None]]:
    """Show how far downloads are, on standard error, while the context lasts; a bar a file.

    Yields
    ------
    callable
        Takes the text of a bar and the share done, 0 to 1.
    """
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    bars = Progress(*columns, console=err())
    tasks: dict[str, TaskID] = {}

    def report(text: str, share: float) -> None:
        # Started here, since a bar that was never needed would leave an empty line.
        bars.start()
        if text not in tasks:
            tasks[text] = bars.add_task(text, total=1.0)
        bars.update(tasks[text], completed=share)

    try:
        yield report
    finally:
        if tasks:
            bars.stop()
