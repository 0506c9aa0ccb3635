"""Shows the progress of cross-validation."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from fastnn.cli._console import err

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextlib.contextmanager
def fold_progress(show: bool) -> Iterator[Callable[[int, int], None] | None]:
    """Show a progress bar of the folds on standard error; yield the function that updates it, or None if hidden."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = err()
    if not (show and console.is_terminal):
        yield None
        return
    columns = (TextColumn("training on folds"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bars:
        task = bars.add_task("", total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)
