"""Shows the progress of ``fastnn train``, as bars in a terminal or as lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from rich.markup import escape

from fastnn.progress import Bars, measured, score_text

if TYPE_CHECKING:
    from rich.console import Console

    from fastnn.session import Session
    from fastnn.training import ChunkReport, EpochReport


class View:
    """Shows nothing; base class of the other views. A context manager around a session."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def start(self, session: Session) -> None:
        """Show network, recipe and data."""

    def chunk(self, report: ChunkReport) -> None:
        """Show the progress within an epoch."""

    def epoch(self, report: EpochReport) -> None:
        """Show the result of an epoch."""


class Lines(View):
    """Prints a line for each epoch of each network.

    Parameters
    ----------
    console : Console
    """

    def __init__(self, console: Console) -> None:
        self._console, self._epochs, self._several = console, 0, False

    def start(self, session: Session) -> None:
        """Show network, recipe and data."""
        recipe, sizes = session.recipe, "-".join(str(size) for size in session.sizes)
        self._epochs, self._several = recipe.epochs, recipe.ensemble > 1
        several = f"{recipe.ensemble} networks of " if self._several else ""
        n_test = 0 if session.test is None else len(session.test)
        self._print(f"{several}{sizes}, recipe {recipe.name} (rule {recipe.rule}, {recipe.dtype}, seed {recipe.seed})")
        data = "" if session.card.data is None else session.card.data.description
        self._print(f"{data}: {len(session.train):,} to train on, {n_test:,} to test on")
        baseline = "white" if session.train.is_images else "at the baseline"
        self._print(
            f"{session.first_layer} first layer ({session.density:.0%} not {baseline}), "
            f"compiled in {session.timings.compiling:.1f} s"
        )

    def epoch(self, report: EpochReport) -> None:
        """Show the result of an epoch."""
        network = f"network {report.member + 1}  " if self._several else ""
        self._print(
            f"{network}epoch {report.epoch}/{self._epochs}  lr {report.lr:.3g}  loss {report.loss:.4f}  "
            f"train {score_text(report.accuracy, report.task)}{measured(report)}  "
            f"{report.samples_per_second:,.0f} samples/s"
        )

    def _print(self, text: str) -> None:
        self._console.print(escape(text), soft_wrap=True)


class Live(Lines):
    """Shows progress bars in a terminal.

    Parameters
    ----------
    console : Console
    every : float
        See :class:`fastnn.progress.Bars`.
    """

    def __init__(self, console: Console, every: float = 0.05) -> None:
        super().__init__(console)
        self._bars = Bars(console, every)

    def __enter__(self) -> Self:
        self._bars.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.__exit__()

    def start(self, session: Session) -> None:
        """Show network, recipe and data, and bars with the epochs that are done already."""
        super().start(session)
        self._bars.start(session.member_epochs, session.recipe.epochs)

    def chunk(self, report: ChunkReport) -> None:
        """Show the progress within an epoch."""
        self._bars.chunk(report)

    def epoch(self, report: EpochReport) -> None:
        """Show the result of an epoch."""
        self._bars.epoch(report)


def view_for(console: Console) -> View:
    """Return a view with bars for a terminal, else one with lines."""
    return Live(console) if console.is_terminal and console.is_interactive else Lines(console)
