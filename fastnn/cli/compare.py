"""``fastnn compare``: compare runs by their accuracy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from fastnn.cli._console import command, note, out, print_json
from fastnn.cli._downloads import download_progress

if TYPE_CHECKING:
    from fastnn.evaluation.compare import ComparedPair, ComparedRun, Comparison


@command
def compare(
    runs: Annotated[list[str], typer.Argument(metavar="RUN RUN...", help="Run folders or model files.")],
    data: Annotated[
        str | None,
        typer.Option(help="Test all runs on this data set; by default each on the test part of its own data."),
    ] = None,
    confidence: Annotated[float, typer.Option(help="Confidence level of the intervals.")] = 0.95,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Compare runs: recipes, accuracy with confidence intervals, and McNemar's test of each pair of runs."""
    from fastnn.evaluation.compare import compare as compare_models

    with download_progress() as progress:
        comparison = compare_models(runs, data, confidence=confidence, progress=progress)
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
    pairs = Table(title="pairs on the same test images (McNemar's test)", title_justify="left")
    for name in ("pair", "images", "correct", "correct in one only", "p", ""):
        pairs.add_column(name, justify="left" if name in ("pair", "") else "right")
    for pair in comparison.pairs:
        pairs.add_row(*_pair_cells(pair, letters))
    console.print(pairs)
    if len(comparison.pairs) > 1:
        console.print("[dim]p is adjusted for the number of pairs (Holm).[/dim]")
    approximate = any(pair.test and pair.test.method != "exact" for pair in comparison.pairs)
    kind = "exact binomial test"
    if approximate:
        kind += "; chi-squared approximation for pairs that differ on more than 1,000 images"
    console.print(f"[dim]p: {kind}.[/dim]")


def _letter(index: int) -> str:
    """Return the letter of a run: A to Z, then A2, B2 and so on."""
    round_, position = divmod(index, 26)
    return chr(ord("A") + position) + (str(round_ + 1) if round_ else "")


def _lines(comparison: Comparison) -> list[tuple[str, list[str]]]:
    """Return the name and the cells of each row of the table."""
    rows = comparison.rows

    def line(name: str, text: Any) -> tuple[str, list[str]]:
        return name, [text(row) for row in rows]

    percent = f"{comparison.confidence:.0%}" if comparison.confidence <= 0.99 else f"{comparison.confidence:.4g}"
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
        line("correct", lambda row: f"{row.correct:,} of {row.total:,}"),
        line("accuracy", lambda row: f"{row.accuracy:.2%}"),
        line(f"{percent} interval", lambda row: f"{row.low:.2%} to {row.high:.2%}"),
    ]


def _layers(row: ComparedRun) -> str:
    layers = "-".join(map(str, row.layers))
    return layers if row.networks == 1 else f"{row.networks} networks, {layers}"


def _value(value: Any) -> str:
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _pair_cells(pair: ComparedPair, letters: dict[str, str]) -> list[str]:
    first, second = letters[pair.first], letters[pair.second]
    name = f"{first}, {second}"
    if pair.test is None or pair.p_adjusted is None:
        return [name, "0", "", "", "", "no test images in common"]
    verdict = "not significant" if pair.better is None else f"[bold]{letters[pair.better]} is better[/bold]"
    return [
        name,
        f"{pair.shared:,}",
        f"{pair.first_correct:,} : {pair.second_correct:,}",
        f"{pair.test.only_first:,} : {pair.test.only_second:,}",
        f"{pair.p_adjusted:.2g}" if pair.p_adjusted >= 1e-4 else "< 0.0001",
        verdict,
    ]
