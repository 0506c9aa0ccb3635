"""``fastnn sweep``: search over recipes, and report what was found."""

from __future__ import annotations

import contextlib
import re
import time
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from fastnn.cli._console import command, err, fail, note, out, print_json
from fastnn.cli._data_options import (  # noqa: TC001 - typer reads the annotations
    ClassesOption,
    PolarityOption,
    SchedulerOption,
    StrictOption,
    Target,
    TaskOption,
)
from fastnn.cli._downloads import load_with_progress
from fastnn.cli._progress import View, view_for
from fastnn.cli._signals import Interrupted, signals
from fastnn.errors import FastnnError
from fastnn.sweep.options import Pruner, Sampler, SweepOptions

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fastnn.cluster import Cluster, InProcess
    from fastnn.sweep.run import Sweep
    from fastnn.sweep.study import Found

app = typer.Typer(no_args_is_help=True)

_SHOWN = 10
"""Trials in the table."""
_REDRAW = 0.25
"""Seconds between two changes of the live table."""
_NEWS_SECONDS = 60.0
"""Seconds without a better trial after which a log says that the sweep goes on."""
_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s?)?")


@app.callback(invoke_without_command=True)
@command
def sweep(
    context: typer.Context,
    data: Annotated[
        str | None, typer.Option(help="Data set: digits, mnist, drawn, a file, a folder or a database URL.")
    ] = None,
    target: Target = None,
    task: TaskOption = None,
    polarity: PolarityOption = "auto",
    strict: StrictOption = False,
    classes: ClassesOption = None,
    space: Annotated[
        str | None, typer.Option(metavar="FILE.toml", help="What is searched; see fastnn guide scale.")
    ] = None,
    study: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="The study: a journal, or the URL of a database. One that exists goes on; sweeps may share it.",
            show_default="the space's name with .study",
        ),
    ] = None,
    study_name: Annotated[str, typer.Option(help="Name of the study in its file or database.")] = "fastnn",
    trials: Annotated[int | None, typer.Option(help="Trials that the study shall have, with the earlier ones.")] = None,
    duration: Annotated[
        str | None, typer.Option("--time", metavar="TIME", help="Stop after this time, such as 10m, 90s or 1h30m.")
    ] = None,
    objective: Annotated[
        list[str] | None,
        typer.Option(
            metavar="accuracy|time|size",
            help="accuracy on a validation set, time to --accuracy, or size (weights and biases). Twice for the "
            "Pareto front of two.",
            show_default="accuracy",
        ),
    ] = None,
    accuracy: Annotated[
        float | None, typer.Option(help="For objective time: the accuracy to reach, such as 0.97.")
    ] = None,
    validation: Annotated[float, typer.Option(help="Share of the training data that validates trials.")] = 0.2,
    sampler: Annotated[
        Sampler,
        typer.Option(
            help="How trials are chosen. random, qmc (evenly spread) and grid: by their number alone, so that the same "
            "seed gives the same trials. tpe and nsga2: by the results so far."
        ),
    ] = "tpe",
    pruner: Annotated[Pruner, typer.Option(help="Stop trials early that are worse than others after some epochs.")] = (
        "none"
    ),
    lag: Annotated[
        int | None,
        typer.Option(
            help="Make tpe and nsga2 reproducible: trial n is chosen by the trials up to n - LAG; at most LAG run at a "
            "time."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the sampler; that of the networks is in the recipe.")] = 0,
    scheduler: SchedulerOption = None,
    workers: Annotated[
        int | None,
        typer.Option(
            help="Processes on this machine; 0 for this process alone, without Dask.", show_default="one for each core"
        ),
    ] = None,
    out_folder: Annotated[
        str | None,
        typer.Option(
            "--out", help="Run folder for the best model and its recipe.", show_default="runs/SPACE-DATE-TIME"
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else on stdout.")] = False,
) -> None:
    """Search over recipes; train the best one on all data but the test part.

    Trials are trained by processes on this machine, or by the workers of a Dask scheduler. Ctrl-C stops; the same
    command goes on.
    """
    if context.invoked_subcommand is not None:
        return
    if data is None or space is None:
        raise FastnnError(
            "give the data and what to search: fastnn sweep --data digits --space space.toml --trials 100"
        )
    from fastnn.datasets import ReadOptions
    from fastnn.runs import check_new_run
    from fastnn.storage import user_path
    from fastnn.sweep.run import Sweep
    from fastnn.sweep.space import load_space

    searched = load_space(space)
    options = SweepOptions(
        trials=trials,
        seconds=None if duration is None else parse_duration(duration),
        objectives=tuple(objective or ("accuracy",)),
        accuracy=accuracy,
        validation=validation,
        sampler=sampler,
        pruner=pruner,
        seed=seed,
        lag=lag,
        study_name=study_name,
    )
    if scheduler is not None and workers is not None:
        raise FastnnError("--workers are processes on this machine; drop it, or --scheduler")
    if out_folder is not None:
        check_new_run(user_path(out_folder))
    dataset = load_with_progress(data, ReadOptions.of(target, task, polarity, strict=strict, classes=classes))
    running = Sweep(dataset, searched, study or f"{searched.name}.study", options)
    for text in dataset.notes:
        note(text)
    if not running.is_exact:
        note(_inexact(options))
    failed = _search(running, scheduler, workers, show=not as_json)
    _finish(running, out_folder, data, failed=failed, as_json=as_json)


def parse_duration(text: str) -> float:
    """Turn "10m", "90s", "90" or "1h30m" into seconds."""
    match = _DURATION.fullmatch(text.strip())
    if match is None or not any(match.groups()):
        raise FastnnError(f"--time takes a time such as 10m, 90s or 1h30m, not {text[:40]!r}")
    return sum(float(part or 0) * unit for part, unit in zip(match.groups(), (3600, 60, 1), strict=True))


def _inexact(options: SweepOptions) -> str:
    """Return a note on what makes another sweep with the same seed another one."""
    if "time" in options.objectives:
        return "times differ from run to run, and so do the trials that are chosen by them"
    if options.pruner != "none":
        return f"which trials pruner {options.pruner} stops depends on which others have ended by then"
    return (
        f"which trials sampler {options.sampler} chooses depends on which others have ended by then; for the same ones "
        "each time give --lag, or sampler random, qmc or grid"
    )


def _cluster(scheduler: str | None, workers: int | None) -> Cluster | InProcess:
    from fastnn.cluster import Cluster, InProcess

    return InProcess() if workers == 0 else Cluster(scheduler, workers)


def _search(sweep: Sweep, scheduler: str | None, workers: int | None, *, show: bool) -> int:
    """Do trials and show the best ones; return how many have failed."""
    if sweep.goal is not None and sweep.study.count() >= sweep.goal and not sweep.study.unfinished(sweep.goal):
        return 0
    failed = 0
    try:
        with _cluster(scheduler, workers) as cluster, signals(sweep.stop) as signalled:
            with _live(sweep, show=show) as update:
                for result in sweep.run(cluster):
                    failed += result.state == "failed"
                    update()
            if signalled.number:
                raise Interrupted(signalled.number)
    # Also while the cluster starts.
    except Interrupted:
        err().print(escape(f"stopped; {sweep.study.source} keeps the trials, and the same command goes on"))
        raise
    return failed


@contextlib.contextmanager
def _live(sweep: Sweep, *, show: bool) -> Iterator[Any]:
    """Show the best trials while the sweep runs, in a table or in lines; yield the function that looks for news."""
    from rich.live import Live

    console = err()
    if not show:
        yield lambda: None
    elif not console.is_terminal:
        yield _Lines(sweep).update
    else:
        with Live(console=console, transient=True, auto_refresh=False) as live:
            last = 0.0

            def update() -> None:
                nonlocal last
                if time.monotonic() - last > _REDRAW:
                    last = time.monotonic()
                    live.update(_table(sweep, sweep.leaders(_SHOWN)), refresh=True)

            yield update


class _Lines:
    """Says in a line that a trial is the best so far, for a log."""

    def __init__(self, sweep: Sweep) -> None:
        self._sweep, self._best = sweep, -1
        self._looked = self._said = float("-inf")

    def update(self) -> None:
        """Look for a better trial."""
        now = time.monotonic()
        if now < self._looked + _REDRAW:
            return
        self._looked = now
        # Not the whole Pareto front, which takes long to find.
        leaders = self._sweep.study.leaders(1)
        number = leaders[0].number if leaders else -1
        if number == self._best and now < self._said + _NEWS_SECONDS:
            return
        self._best, self._said = number, now
        line = _counts(self._sweep)
        if leaders:
            found = zip(self._sweep.options.objectives, leaders[0].values, strict=True)
            values = ", ".join(f"{name} {_value(name, value)}" for name, value in found)
            line += f"; {_best(self._sweep)} is trial {number}: {values}"
        err().print(escape(line), soft_wrap=True)


def _best(sweep: Sweep) -> str:
    names = sweep.options.objectives
    return f"the best in {names[0]}" if len(names) > 1 else "the best"


def _counts(sweep: Sweep) -> str:
    said = (f"{number:,} {state}" for state, number in sweep.counts().items() if number)
    return f"{sweep.study.source}: {', '.join(said) or 'no trials'}"


def _table(sweep: Sweep, found: Sequence[Found]) -> Table:
    table = Table(title=escape(_counts(sweep)), title_justify="left")
    table.add_column("trial", justify="right")
    names = sweep.options.objectives
    for name in names:
        table.add_column(name, justify="right")
    shown = [name for name in sweep.space.parameters if any(name in one.params for one in found)]
    for name in shown:
        table.add_column(escape(name), justify="right")
    for one in found:
        values = (_value(name, value) for name, value in zip(names, one.values, strict=True))
        table.add_row(str(one.number), *values, *(escape(_parameter(one.params.get(name))) for name in shown))
    return table


def _value(objective: str, value: float) -> str:
    return f"{value:.2%}" if objective == "accuracy" else f"{value:.3f} s" if objective == "time" else f"{value:,.0f}"


def _parameter(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _finish(sweep: Sweep, out_folder: str | None, data: str, *, failed: int, as_json: bool) -> None:
    """Train the best recipe, and show what was found."""
    from fastnn.cli.train import free_folder, result_of, run, show_summary, stopped_message

    found = sweep.best()
    if failed and found:
        reasons = [one.attributes["reason"] for one in sweep.study if one.state == "failed" and one.attributes]
        note(f"{failed:,} trials failed; the last one: {reasons[-1] if reasons else 'unknown'}")
    session = sweep.final(out_folder or free_folder(sweep.space.name), source=data)
    if not as_json:
        out().print(_table(sweep, sweep.leaders(_SHOWN)))
        note(f"trial {found[0].number} is {_best(sweep)}; its recipe is trained on all data but the test part")
    try:
        run(session, View() if as_json else view_for(out()))
    except Interrupted as interrupt:
        err().print(escape(stopped_message(session)))
        raise typer.Exit(128 + interrupt.signal) from None
    if as_json:
        best = [
            {"number": one.number, "params": one.params, **dict(zip(sweep.options.objectives, one.values, strict=True))}
            for one in found
        ]
        print_json({"study": sweep.study.source, "trials": sweep.counts(), "best": best, **result_of(session)})
    else:
        show_summary(result_of(session))
    if session.failure is not None:
        fail(session.failure, 1)


@app.command()
@command
def report(
    study: Annotated[str, typer.Argument(help="The study: a journal, or the URL of a database.")],
    page: Annotated[Path, typer.Argument(metavar="OUT.html", readable=False, help="The page to write.")],
    study_name: Annotated[str, typer.Option(help="Name of the study in its file or database.")] = "fastnn",
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Write what a sweep has found as an HTML page: best trials, importance, parallel coordinates, Pareto front."""
    from fastnn.storage import check_new_file
    from fastnn.sweep.report import write_report

    check_new_file(page, force=force)
    n = write_report(study, study_name, page)
    out().print(f"{escape(str(page))}: {n:,} trials")
