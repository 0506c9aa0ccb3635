"""Progress bars of a training session, in a terminal or a notebook."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console

    from fastnn.network import Task
    from fastnn.training import ChunkReport, EpochReport


class Bars:
    """A bar for all epochs, and one for the current epoch if there is one network.

    Use it as a context manager. Its methods may be called from several threads.

    Parameters
    ----------
    console : Console
        Where the bars are drawn; they vanish at the end.
    every : float
        Least seconds between two changes of the bars, which rich draws ten times a second.
    """

    def __init__(self, console: Console, every: float = 0.05) -> None:
        # Imported here: it takes 30 ms, which those who print lines need not wait for.
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._every, self._last = every, 0.0
        self._done: list[int] = []
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[text]}"))
        self._progress = Progress(*columns, TimeRemainingColumn(), console=console, transient=True)
        self._all = self._progress.add_task("training", total=None, text="", start=False)
        self._one = self._progress.add_task("epoch", total=1, text="compiling ...")

    def __enter__(self) -> Self:
        self._progress.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.__exit__(None, None, None)

    def start(self, done: Sequence[int], epochs: int) -> None:
        """Show how many of so many epochs each network has done already."""
        self._done = list(done)
        total = epochs * len(self._done)
        self._progress.start_task(self._all)
        self._progress.update(self._all, total=total, completed=sum(self._done))
        self._progress.update(self._one, visible=len(self._done) == 1)

    def chunk(self, report: ChunkReport) -> None:
        """Show the progress of the only network within an epoch."""
        if len(self._done) > 1 or time.monotonic() - self._last < self._every:
            return
        self._last = time.monotonic()
        text = f"loss {report.loss:.4f}  train {score_text(report.accuracy, report.task)}"
        about = f"epoch {report.epoch}"
        self._progress.update(self._one, total=report.total, completed=report.done, description=about, text=text)
        self._progress.update(self._all, completed=report.epoch - 1 + report.done / report.total)

    def epoch(self, report: EpochReport) -> None:
        """Show the accuracy after an epoch."""
        text = measured(report).strip()
        if len(self._done) > 1:
            text = f"network {report.member + 1}, epoch {report.epoch}  {text}"
        self._done[report.member] = report.epoch
        self._progress.update(self._all, completed=sum(self._done), text=text)


@contextlib.contextmanager
def show(console: Console | None = None) -> Iterator[Bars | None]:
    """Show bars in a terminal or a notebook while the context lasts.

    Parameters
    ----------
    console : Console, optional
        By default standard error.

    Yields
    ------
    Bars or None
        None where they cannot be shown.
    """
    from rich.console import Console

    console = console or Console(stderr=True)
    if not (console.is_terminal or console.is_jupyter):
        yield None
        return
    with Bars(console) as bars:
        yield bars


def measured(report: EpochReport) -> str:
    """Return the scores on the validation and the test set, each after two spaces, as far as there are such."""
    parts = (("validation", report.validation_accuracy), ("test", report.test_accuracy))
    return "".join(f"  {name} {score_text(score, report.task)}" for name, score in parts if score is not None)


def score_text(score: float, task: Task) -> str:
    """Return an accuracy as a percentage, or the R2 of a regression as a number."""
    return f"R2 {score:.4f}" if task == "regression" else f"{score:.2%}"
