"""``fastnn data info``: the contents of a data set in figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastnn.cli._console import command, note, out, print_json
from fastnn.cli._downloads import load_with_progress
from fastnn.cli.data._app import app

if TYPE_CHECKING:
    from rich.table import Table


@app.command()
@command
def info(
    source: Annotated[str, typer.Argument(help="digits, mnist, drawn, or a file or folder.")],
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Count the images of each class, duplicates, ink and blank images of a data set."""
    from fastnn.datasets.summary import summary

    figures = summary(load_with_progress(source))
    if json:
        print_json(figures)
        return
    console = out()
    console.print(_table(figures))
    for label, text in _facts(figures):
        console.print(f"{label:<13}{text}", markup=False)
    for text in figures["notes"]:
        note(text)


def _table(figures: dict[str, Any]) -> Table:
    """Return a table of the counts: first all images, then each class."""
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
        ("duplicates", f"{figures['copies']:,} images repeat an earlier one"),
        ("", f"{figures['conflicting']:,} images have a duplicate with another label"),
        ("ink", f"{figures['ink_share']:.1%} of the pixels are not paper"),
        ("blank", f"{figures['blank']:,} images have only one pixel value"),
    ]
