"""``fastnn cv``: cross-validate a recipe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from fastnn.cli._console import command, fail, note, out, print_json
from fastnn.cli._data_options import (  # noqa: TC001 - typer reads the annotations
    ClassesOption,
    PolarityOption,
    SchedulerOption,
    StrictOption,
    Target,
    TaskOption,
)
from fastnn.cli._downloads import load_with_progress
from fastnn.cli._figures import NAMES, figure, interval, percent
from fastnn.cli._fold_progress import fold_progress

if TYPE_CHECKING:
    from fastnn.crossval import CrossValidation
    from fastnn.datasets import Dataset
    from fastnn.recipe import Recipe

_MOST_CLASSES = 50
"""Most classes in the table."""


@command
def cv(
    data: Annotated[str, typer.Option(help="Data set: digits, mnist, drawn, a file, a folder or a database URL.")],
    target: Target = None,
    task: TaskOption = None,
    polarity: PolarityOption = "auto",
    strict: StrictOption = False,
    classes: ClassesOption = None,
    group: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="Keep samples of one group, such as a writer, in one fold: a column of a table, which is then no "
            "input, or contributor for a database or a JSON file of digits.",
        ),
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="Preset or TOML file.", show_default="table for a table, else original")
    ] = None,
    folds: Annotated[int, typer.Option(help="Number of folds, at least 2.")] = 5,
    repeats: Annotated[int, typer.Option(help="Number of cross-validations, each with other folds and seeds.")] = 1,
    epochs: Annotated[int | None, typer.Option(help="Number of passes over the training data.")] = None,
    seed: Annotated[int | None, typer.Option(help="Random seed for folds, weights and sample order.")] = None,
    confidence: Annotated[float, typer.Option(help="Confidence level of the intervals.")] = 0.95,
    threads: Annotated[
        int | None, typer.Option(help="Folds trained at a time.", show_default="one on each core")
    ] = None,
    scheduler: SchedulerOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else on stdout.")] = False,
) -> None:
    """Cross-validate a recipe: train on all folds but one, test on that one, for each fold.

    The intervals take into account that the training sets overlap. Copies of a sample are in one fold, and so are the
    samples of a group. A test set of the data is not used.
    """
    from fastnn.crossval import cross_validate
    from fastnn.datasets import ReadOptions

    dataset = load_with_progress(
        data, ReadOptions.of(target, task, polarity, strict=strict, classes=classes, group=group)
    )
    chosen = _recipe(dataset, recipe, epochs, seed)
    notes = dataset.notes
    if dataset.test is not None:
        notes += (f"the {len(dataset.test):,} samples of its test set are not used",)
    for text in notes:
        note(text)
    with fold_progress(not as_json) as progress:
        result = cross_validate(
            dataset,
            chosen,
            folds,
            repeats=repeats,
            confidence=confidence,
            threads=threads,
            scheduler=scheduler,
            progress=progress,
        )
    if as_json:
        print_json({"data": dataset.source, "recipe": chosen.name, **result.as_dict(), "notes": list(notes)})
    else:
        several = "" if chosen.epochs == 1 else "s"
        _show(result, f"{dataset.source}, recipe {chosen.name}, {chosen.epochs:,} epoch{several}", repeats)
    if result.failure is not None:
        if all(fold.learned_nothing for fold in result.folds):
            fail(result.failure, 1)
        note(result.failure)


def _recipe(dataset: Dataset, source: str | None, epochs: int | None, seed: int | None) -> Recipe:
    from fastnn.recipe import load_recipe
    from fastnn.session import default_recipe

    base = default_recipe(dataset) if source is None else load_recipe(source)
    return (base if epochs is None else base.with_epochs(epochs)).replace(seed=seed)


def _show(result: CrossValidation, title: str, repeats: int) -> None:
    names = list(result.metrics)
    table = Table(title=escape(title), title_justify="left")
    table.add_column("fold")
    for heading in ("training", "test", *(NAMES[name] for name in names)):
        table.add_column(heading, justify="right")
    for fold in result.folds:
        label = f"{fold.fold + 1}" if repeats == 1 else f"{fold.repeat + 1}, {fold.fold + 1}"
        values = (figure(name, fold.metrics[name]) for name in names)
        table.add_row(label, f"{fold.n_train:,}", f"{fold.n_test:,}", *values)
    table.add_section()
    table.add_row("mean", "", "", *(f"[bold]{figure(name, result.metrics[name].mean)}[/bold]" for name in names))
    bounds = ((name, result.metrics[name]) for name in names)
    table.add_row(
        f"{percent(result.confidence)} interval", "", "", *(interval(name, one.low, one.high) for name, one in bounds)
    )
    console = out()
    console.print(table)
    if result.per_class:
        console.print(_class_table(result))
    console.print(
        "[dim]Intervals: Student's t, corrected for overlapping training sets (Nadeau and Bengio 2003).[/dim]"
    )


def _class_table(result: CrossValidation) -> Table:
    """Return the table of the scores of each class, with the interval of its recall."""
    table = Table(title="classes, means of the folds", title_justify="left")
    table.add_column("class")
    for heading in ("tested", "recall", f"{percent(result.confidence)} interval", "precision", "ROC AUC"):
        table.add_column(heading, justify="right")
    for row in result.per_class[:_MOST_CLASSES]:
        recall = row.recall
        table.add_row(
            escape(row.name),
            f"{row.count:,}",
            "?" if recall is None else f"{recall.mean:.2%}",
            "?" if recall is None else f"{recall.low:.2%} to {recall.high:.2%}",
            "?" if row.precision is None else f"{row.precision.mean:.2%}",
            "?" if row.roc_auc is None else f"{row.roc_auc.mean:.4f}",
        )
    if len(result.per_class) > _MOST_CLASSES:
        table.caption = f"the first {_MOST_CLASSES} of {len(result.per_class):,}; --json has all"
    return table
