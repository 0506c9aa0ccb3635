"""``fastnn compare``: compare runs by their accuracy or R2."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from fastnn.cli._console import command, note, out, print_json
from fastnn.cli._data_options import (  # noqa: TC001 - typer reads the annotations
    PolarityOption,
    StrictOption,
    TargetOfModel,
    TaskOfModel,
)
from fastnn.cli._downloads import download_progress
from fastnn.cli._figures import NAMES, figure, interval, percent

if TYPE_CHECKING:
    from fastnn.evaluation.comparison import ComparedPair, ComparedRun, Comparison


@command
def compare(
    runs: Annotated[list[str], typer.Argument(metavar="RUN RUN...", help="Run folders or model files.")],
    data: Annotated[
        str | None,
        typer.Option(help="Test all runs on this data set; by default each on the test part of its own data."),
    ] = None,
    target: TargetOfModel = None,
    task: TaskOfModel = None,
    polarity: PolarityOption = "auto",
    strict: StrictOption = False,
    confidence: Annotated[float, typer.Option(help="Confidence level of the intervals.")] = 0.95,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Compare runs: recipes, accuracy or R2 with confidence intervals, and a significance test of each pair of runs."""
    from fastnn.datasets import ReadOptions
    from fastnn.evaluation.compare import compare as compare_models

    options = ReadOptions.of(target, task, polarity, strict=strict)
    with download_progress() as progress:
        comparison = compare_models(runs, data, options=options, confidence=confidence, progress=progress)
    if as_json:
        print_json(comparison.as_dict())
        return
    for text in comparison.notes:
        note(text)
    _show(comparison)


def _show(comparison: Comparison) -> None:
    console = out()
    letters = {row.run: _letter(i) for i, row in enumerate(comparison.rows)}
    table = Table()
    table.add_column("")
    for row in comparison.rows:
        table.add_column(f"[bold]{letters[row.run]}[/bold]", overflow="fold")
    for name, values in _lines(comparison):
        table.add_row(name, *(escape(value) for value in values))
    console.print(table)
    console.print(_pair_table(comparison, letters))
    if len(comparison.pairs) > 1:
        console.print("[dim]p is adjusted for the number of pairs (Holm).[/dim]")
    console.print(f"[dim]p: {_kind_of_test(comparison)}.[/dim]")
    if comparison.task == "regression":
        console.print("[dim]Intervals: bootstrap of the rows.[/dim]")


def _pair_table(comparison: Comparison, letters: dict[str, str]) -> Table:
    title = "pairs on the same test samples (McNemar's test)"
    names = ("pair", "samples", "correct", "correct in one only", "p", "")
    if comparison.task == "regression":
        title = "pairs on the same test samples (paired t-test)"
        names = ("pair", "samples", "R2", f"difference, {percent(comparison.confidence)} interval", "p", "")
    table = Table(title=title, title_justify="left")
    for name in names:
        table.add_column(name, justify="left" if name in ("pair", "") else "right")
    for pair in comparison.pairs:
        table.add_row(*_pair_cells(pair, letters))
    return table


def _kind_of_test(comparison: Comparison) -> str:
    """Return what the p-values are, in words."""
    if comparison.task == "regression":
        return "two-sided t-test of the squared errors, in units of the target's variance (Diebold and Mariano 1995)"
    if any(pair.test and pair.test.method != "exact" for pair in comparison.pairs):
        return "exact binomial test; chi-squared approximation for pairs that differ on more than 1,000 samples"
    return "exact binomial test"


def _letter(index: int) -> str:
    """Return the letter of a run: A to Z, then A2, B2 and so on."""
    round_, position = divmod(index, 26)
    return chr(ord("A") + position) + (str(round_ + 1) if round_ else "")


def _lines(comparison: Comparison) -> list[tuple[str, list[str]]]:
    """Return the name and the cells of each row of the table."""
    rows = comparison.rows

    def line(name: str, text: Any) -> tuple[str, list[str]]:
        return name, [text(row) for row in rows]

    level, names = percent(comparison.confidence), list(rows[0].figures)
    counted = [] if rows[0].correct is None else [line("correct", lambda row: f"{row.correct:,} of {row.total:,}")]
    return [
        line("run", lambda row: row.run),
        line("layers", _layers),
        line("data", lambda row: row.data),
        line("epochs", lambda row: "?" if row.epochs is None else f"{row.epochs:,}"),
        line("training", lambda row: "?" if row.seconds is None else f"{row.seconds:.2f} s"),
        *(
            line(key, lambda row, key=key: _value(row.recipe.get(key, "?")))
            for key in comparison.differences
            if key not in ("hidden", "epochs")
        ),
        line("tested on", lambda row: row.tested_on),
        *(counted or [line("rows", lambda row: f"{row.total:,}")]),
        *(
            one
            for name in names
            for one in (
                line(NAMES[name], lambda row, name=name: _figure(row, name)),
                line(f"{level} interval", lambda row, name=name: _interval(row, name)),
            )
        ),
    ]


def _figure(row: ComparedRun, name: str) -> str:
    return figure(name, row.figures[name].value) if name in row.figures else "?"


def _interval(row: ComparedRun, name: str) -> str:
    return interval(name, row.figures[name].low, row.figures[name].high) if name in row.figures else "?"


def _layers(row: ComparedRun) -> str:
    layers = "-".join(map(str, row.layers))
    return layers if row.networks == 1 else f"{row.networks} networks, {layers}"


def _value(value: Any) -> str:
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _pair_cells(pair: ComparedPair, letters: dict[str, str]) -> list[str]:
    from fastnn.evaluation.intervals import McNemar

    name = f"{letters[pair.first]}, {letters[pair.second]}"
    if pair.test is None or pair.p_adjusted is None or pair.first_score is None or pair.second_score is None:
        return [name, "0", "", "", "", "no test samples in common"]
    if isinstance(pair.test, McNemar):
        scores = f"{pair.first_correct:,} : {pair.second_correct:,}"
        difference = f"{pair.test.only_first:,} : {pair.test.only_second:,}"
    else:
        scores = f"{figure('r2', pair.first_score)} : {figure('r2', pair.second_score)}"
        ends = interval("r2", pair.test.low, pair.test.high)
        difference = f"{figure('r2', pair.test.difference)} ({ends})"
    return [
        name,
        f"{pair.shared:,}",
        scores,
        difference,
        f"{pair.p_adjusted:.2g}" if pair.p_adjusted >= 1e-4 else "< 0.0001",
        "not significant" if pair.better is None else f"[bold]{letters[pair.better]} is better[/bold]",
    ]
