"""How a training run is shown while it goes on."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Self

from rich.markup import escape

if TYPE_CHECKING:
    from rich.console import Console

    from fastnn.cli.train import Plan
    from fastnn.training import ChunkReport, EpochReport, Trainer


class View:
    """Shows nothing; what others are made of. Used as a context manager around a run."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def start(self, plan: Plan, trainer: Trainer, compile_seconds: float) -> None:
        """Show what begins."""

    def chunk(self, report: ChunkReport) -> None:
        """Show how far an epoch is."""

    def epoch(self, report: EpochReport) -> None:
        """Show what an epoch did."""

    def member(self, number: int, report: EpochReport) -> None:
        """Show what an epoch of one of several networks did; the first has the number 0."""


class Lines(View):
    """A line an epoch.

    Parameters
    ----------
    console : Console
        Where to.
    epochs : int
        How many there will be.
    """

    def __init__(self, console: Console, epochs: int) -> None:
        self._console, self._epochs = console, epochs

    def start(self, plan: Plan, trainer: Trainer, compile_seconds: float) -> None:
        """Show what begins."""
        sizes = "-".join(str(size) for size in plan.network.sizes)
        recipe = plan.recipe
        several = f"{recipe.ensemble} networks of " if recipe.ensemble > 1 else ""
        self._print(f"{several}{sizes}, recipe {recipe.name} (rule {recipe.rule}, {recipe.dtype}, seed {recipe.seed})")
        self._print(f"{plan.data.description}: {len(plan.train):,} to train on, {len(plan.test):,} to test on")
        self._print(
            f"{trainer.first_layer} first layer ({trainer.density:.0%} not white), compiled in {compile_seconds:.1f} s"
        )
        for text in trainer.notes:
            self._print(f"note: {text}")

    def epoch(self, report: EpochReport) -> None:
        """Show what an epoch did."""
        self._print_epoch(report)

    def member(self, number: int, report: EpochReport) -> None:
        """Show what an epoch of one of several networks did; the first has the number 0."""
        self._print_epoch(report, f"network {number + 1}  ")

    def _print_epoch(self, report: EpochReport, before: str = "") -> None:
        self._print(
            f"{before}epoch {report.epoch}/{self._epochs}  lr {report.lr:g}  loss {report.loss:.4f}  "
            f"train {report.accuracy:.2%}{_tested(report)}  {report.samples_per_second:,.0f} samples/s"
        )

    def _print(self, text: str) -> None:
        self._console.print(escape(text), soft_wrap=True)


class Bars(Lines):
    """Bars on a terminal; parameters as for :class:`Lines`."""

    _EVERY = 0.05
    """Seconds between two changes of the bar; the bar itself is drawn ten times a second."""

    def __init__(self, console: Console, epochs: int) -> None:
        # Only here: nobody else need wait 30 ms for the import.
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        super().__init__(console, epochs)
        self._last = 0.0
        self._members: list[int] = []
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[text]}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._all = self._progress.add_task("training", total=epochs, text="", start=False)
        self._one = self._progress.add_task("epoch", total=1, text="compiling ...")

    def __enter__(self) -> Self:
        self._progress.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.__exit__(None, None, None)

    def start(self, plan: Plan, trainer: Trainer, compile_seconds: float) -> None:
        """Show what begins."""
        super().start(plan, trainer, compile_seconds)
        self._progress.start_task(self._all)
        networks = plan.recipe.ensemble
        self._members = [plan.done] * networks
        self._progress.update(self._all, total=networks * self._epochs, completed=sum(self._members))
        # Of several networks the bar of one epoch would be anyone's.
        self._progress.update(self._one, visible=networks == 1)

    def chunk(self, report: ChunkReport) -> None:
        """Show how far an epoch is."""
        if time.monotonic() - self._last < self._EVERY:
            return
        self._last = time.monotonic()
        self._progress.update(
            self._one,
            total=report.total,
            completed=report.done,
            description=f"epoch {report.epoch}",
            text=f"loss {report.loss:.4f}  train {report.accuracy:.2%}",
        )
        self._progress.update(self._all, completed=report.epoch - 1 + report.done / report.total)

    def epoch(self, report: EpochReport) -> None:
        """Show what an epoch did."""
        self._progress.update(self._all, completed=report.epoch, text=_tested(report).strip())

    def member(self, number: int, report: EpochReport) -> None:
        """Show what an epoch of one of several networks did; the first has the number 0."""
        text = f"network {number + 1}, epoch {report.epoch}{_tested(report)}"
        self._members[number] = report.epoch
        self._progress.update(self._all, completed=sum(self._members), text=text)


def live(console: Console, epochs: int) -> View:
    """Return bars where there is a terminal, else lines."""
    return (Bars if console.is_terminal and console.is_interactive else Lines)(console, epochs)


def _tested(report: EpochReport) -> str:
    parts = (("validation", report.validation_accuracy), ("test", report.test_accuracy))
    return "".join(f"  {name} {accuracy:.2%}" for name, accuracy in parts if accuracy is not None)
