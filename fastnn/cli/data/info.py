"""``fastnn data info``: the contents of a data set in figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastnn.cli._console import command, note, out, print_json
from fastnn.cli._data_options import (  # noqa: TC001 - typer reads the annotations
    PolarityOption,
    StrictOption,
    Target,
    TaskOption,
)
from fastnn.cli._downloads import load_with_progress
from fastnn.cli.data._app import app

if TYPE_CHECKING:
    from rich.table import Table


_MOMENTS = ("mean", "sd", "min", "max")
_SHOWN = 50
"""Most columns that are printed; --json has more."""


@app.command()
@command
def info(
    source: Annotated[str, typer.Argument(help="digits, mnist, drawn, or a file or folder, of images or a table.")],
    target: Target = None,
    task: TaskOption = None,
    polarity: PolarityOption = "auto",
    strict: StrictOption = False,
    check: Annotated[
        bool, typer.Option("--check", help="Compare the content of a .fnn store with the hashes in its header.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Describe a data set: its classes or targets, duplicates, and the columns of a table or the ink of images."""
    from fastnn.datasets import ReadOptions
    from fastnn.datasets.store import check_source
    from fastnn.datasets.summary import summary

    if check:
        check_source(source)
    figures = summary(load_with_progress(source, ReadOptions.of(target, task, polarity, strict=strict)))
    if json:
        print_json(figures)
        return
    console = out()
    if "columns" in figures:
        console.print(_column_table(figures))
    console.print(_table(figures) if "classes" in figures else _target_table(figures))
    for label, text in _facts(figures):
        console.print(f"{label:<13}{text}", markup=False)
    for text in figures["notes"]:
        note(text)


def _table(figures: dict[str, Any]) -> Table:
    """Return a table of the counts: first all images, then each class."""
    from rich.markup import escape
    from rich.table import Table

    test = figures["test"]
    first = "digit" if set(figures["classes"]) <= set("0123456789") else "class"
    samples = "images"
    if "columns" in figures:
        first, samples = "label" if figures["task"] == "multilabel" else "class", "rows"
    table = Table(first)
    for name in (samples, "share") if test is None else ("train", "test", "share of train"):
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


def _column_table(figures: dict[str, Any]) -> Table:
    """Return a table of the columns that are inputs."""
    from rich.markup import escape
    from rich.table import Table

    table = Table("column", "kind", *_MOMENTS, "most frequent", title="inputs", title_justify="left")
    columns = figures["columns"] or []
    for column in columns[:_SHOWN]:
        moments = [f"{column[key]:.5g}" if key in column else "" for key in _MOMENTS]
        counts = sorted(column.get("categories", {}).items(), key=lambda item: -item[1])
        kind = f"{len(counts):,} categories" if counts else "number"
        frequent = ", ".join(f"{text} ({count:,})" for text, count in counts[:3])
        table.add_row(escape(column["name"]), kind, *moments, escape(frequent))
    hidden = len(columns) - _SHOWN if columns else figures["inputs"]
    if hidden > 0:
        table.add_row(f"{hidden:,} {'more' if columns else 'without names'}")
    return table


def _target_table(figures: dict[str, Any]) -> Table:
    """Return a table of the targets of a regression."""
    from rich.markup import escape
    from rich.table import Table

    table = Table("target", *_MOMENTS)
    for name, moments in list(figures["targets"].items())[:_SHOWN]:
        table.add_row(escape(name), *(f"{moments[key]:.5g}" for key in _MOMENTS))
    return table


def _facts(figures: dict[str, Any]) -> list[tuple[str, str]]:
    test = figures["test"]
    one, target = ("rows", "target") if "columns" in figures else ("images", "label")
    facts = [
        ("source", figures["source"]),
        ("hash", figures["hash"]),
        ("duplicates", f"{figures['copies']:,} {one} repeat an earlier one"),
        ("", f"{figures['conflicting']:,} {one} have a duplicate with another {target}"),
    ]
    if "columns" in figures:
        facts.append(("rows", f"{figures['n']:,}" + ("" if test is None else f", and {test['n']:,} in the test set")))
        stored = f", of whose values {figures['density']:.2%} are stored" if figures["density"] < 1 else ""
        facts.append(("inputs", f"{figures['inputs']:,}{stored}"))
        facts.append(("task", figures["task"]))
        return facts
    if figures["polarity"] is not None:
        facts.append(
            ("stored as", figures["polarity"] + (", inverted" if figures["polarity"] != "dark-on-light" else ""))
        )
    facts.append(("ink", f"{figures['ink_share']:.1%} of the pixels are not paper"))
    facts.append(("blank", f"{figures['blank']:,} images have only one pixel value"))
    return facts
