"""``fastnn data info``: what a data set holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastnn.cli._console import command, note, out, print_json
from fastnn.cli.data._app import app

if TYPE_CHECKING:
    from rich.table import Table


@app.command()
@command
def info(
    source: Annotated[str, typer.Argument(help="digits, mnist, drawn, or a file or folder.")],
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Count what a data set holds: images of each class, copies, ink, blank images."""
    figures = data_info(source)
    if json:
        print_json(figures)
        return
    console = out()
    console.print(_table(figures))
    for label, text in _facts(figures):
        console.print(f"{label:<13}{text}", markup=False)
    for text in figures["notes"]:
        note(text)


def data_info(source: str) -> dict[str, Any]:
    """Load a data set and return its figures.

    Parameters
    ----------
    source : str
        As :func:`fastnn.datasets.load_dataset` takes it.

    Returns
    -------
    dict
        As :func:`fastnn.datasets.summary.summary` gives it.

    Raises
    ------
    DataError, FetchError
        As :func:`fastnn.datasets.load_dataset` raises them.
    """
    from fastnn.cli._downloads import download_progress
    from fastnn.datasets import load_dataset
    from fastnn.datasets.summary import summary

    with download_progress() as progress:
        dataset = load_dataset(source, progress=progress)
    return summary(dataset)


def _table(figures: dict[str, Any]) -> Table:
    """Return the counts as a table: all, then class after class."""
    from rich.markup import escape
    from rich.table import Table

    test = figures["test"]
    table = Table("digit" if set(figures["classes"]) <= set("0123456789") else "class")
    for name in ("images", "share") if test is None else ("train", "test", "share of train"):
        table.add_column(name, justify="right")
    names, counts = ["all", *figures["classes"]], _counts(figures)
    columns = [counts] if test is None else [counts, _counts(test)]
    for name, *row in zip(names, *columns, strict=True):
        table.add_row(
            escape(name),
            *(f"{count:,}" for count in row),
            f"{row[0] / max(1, counts[0]):.1%}",
            end_section=name == "all",
        )
    return table


def _counts(figures: dict[str, Any]) -> list[int]:
    return [figures["n"], *figures["classes"].values()]


def _facts(figures: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        ("source", figures["source"]),
        ("hash", figures["hash"]),
        ("copies", f"{figures['copies']:,} images repeat an earlier one"),
        ("", f"{figures['conflicting']:,} images have a copy with another label"),
        ("ink", f"{figures['ink_share']:.1%} of the pixels are not paper"),
        ("blank", f"{figures['blank']:,} images have pixels that are all alike"),
    ]
