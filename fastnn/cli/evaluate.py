"""``fastnn evaluate``: the metrics of a model on a data set."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from fastnn.cli._console import command, note, out, print_json
from fastnn.cli._data_options import (  # noqa: TC001 - typer reads the annotations
    PolarityOption,
    StrictOption,
    TargetOfModel,
    TaskOfModel,
)
from fastnn.cli._downloads import download_progress
from fastnn.cli._figures import NAMES, figure

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastnn.evaluation.classification import Evaluation
    from fastnn.evaluation.metrics import AnyEvaluation
    from fastnn.evaluation.multilabel import MultilabelEvaluation
    from fastnn.evaluation.regression import RegressionEvaluation
    from fastnn.evaluation.saved_model import SavedModelEvaluation

_WIDEST = 20
"""Confusion matrices of more classes do not fit into a terminal; the most frequent confusions are listed instead."""


@command
def evaluate(
    model: Annotated[str, typer.Argument(help="A run folder, a model file or the original's NN.json.")],
    data: Annotated[
        str | None,
        typer.Option("--data", help="A data set by name or path; by default the data that the model was trained on."),
    ] = None,
    target: TargetOfModel = None,
    task: TaskOfModel = None,
    polarity: PolarityOption = "auto",
    strict: StrictOption = False,
    split: Annotated[
        Literal["test", "train", "all"] | None,
        typer.Option(help="Part of the data; by default the test part of the model's own data, and all of other data."),
    ] = None,
    report_folder: Annotated[
        Path | None,
        typer.Option(
            "--report", metavar="DIR", readable=False, help="Write a page with pictures, index.html, to this folder."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing report.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Evaluate a model: accuracy, loss and each class, or R2 and errors of a regression."""
    from fastnn.datasets import ReadOptions
    from fastnn.evaluation.saved_model import evaluate_file

    if report_folder is not None:
        from fastnn.report import check_folder

        check_folder(report_folder, force=force)
    options = ReadOptions.of(target, task, polarity, strict=strict)
    with download_progress() as progress:
        result = evaluate_file(model, data, split, options=options, progress=progress)
    page = None if report_folder is None else _write_report(result, report_folder, force=force)
    for text in result.notes:
        note(text)
    if as_json:
        print_json(result.as_dict() if page is None else {**result.as_dict(), "report": str(page)})
        return
    _show(result)
    if page is not None:
        out().print(str(page), markup=False, soft_wrap=True)


def _write_report(result: SavedModelEvaluation, folder: Path, *, force: bool) -> Path:
    from fastnn.formats import find_model
    from fastnn.report import write_report

    part = result.data if result.split == "all" else result.part_name
    history = find_model(result.path).parent / "history.csv"
    return write_report(result.model, result.samples, folder, name=result.path, part=part, history=history, force=force)


def _show(result: SavedModelEvaluation) -> None:
    from fastnn.evaluation.classification import Evaluation
    from fastnn.evaluation.regression import RegressionEvaluation

    console, evaluation = out(), result.evaluation
    samples = "images" if result.samples.is_images else "rows"
    summary = Table.grid(padding=(0, 2))
    for name, value in (("model", result.path), ("data", result.part_name), *_summary(evaluation, samples)):
        summary.add_row(f"[bold]{name}[/bold]", escape(value))
    console.print(summary)
    if isinstance(evaluation, RegressionEvaluation):
        if len(evaluation.per_target) > 1:
            console.print(_target_table(evaluation))
        return
    if not isinstance(evaluation, Evaluation):
        console.print(_label_table(evaluation, samples))
        return
    console.print(_class_table(evaluation, samples))
    if len(evaluation.classes) <= _WIDEST:
        # A title of the table would be wrapped to its width.
        console.print("[italic]confusion matrix (rows: label, columns: prediction)[/italic]")
        console.print(_confusion_table(evaluation))
    else:
        console.print(_pair_table(evaluation, samples))


def _summary(evaluation: AnyEvaluation, samples: str) -> list[tuple[str, str]]:
    """Return names and values of the metrics; the first one says how many samples there are."""
    from fastnn.evaluation.regression import RegressionEvaluation

    figures = {name.removeprefix("test_"): value for name, value in evaluation.metrics.items()}
    (first, value), *others = [(NAMES[name], figure(name, value)) for name, value in figures.items()]
    if isinstance(evaluation, RegressionEvaluation):
        counted = f"{evaluation.total:,} {samples}"
    else:
        counted = f"{evaluation.correct:,} of {evaluation.total:,}"
    return [(first, f"{value} ({counted})"), *others]


def _target_table(evaluation: RegressionEvaluation) -> Table:
    table = Table(title="targets", title_justify="left")
    for name in ("target", "R2", "MAE", "RMSE"):
        table.add_column(name, justify="left" if name == "target" else "right")
    for row in evaluation.per_target:
        values = (figure("r2", row["r2"]), figure("mae", row["mae"]), figure("rmse", row["rmse"]))
        table.add_row(escape(row["target"]), *values)
    return table


def _label_table(evaluation: MultilabelEvaluation, samples: str) -> Table:
    table = Table(title="labels", title_justify="left")
    for name in ("label", samples, "correct", "recall", "precision", "F1", "ROC AUC"):
        table.add_column(name, justify="left" if name == "label" else "right")
    for row in evaluation.per_label:
        shares = ["-" if share is None else f"{share:.1%}" for share in (row["recall"], row["precision"])]
        area = "-" if row["roc_auc"] is None else f"{row['roc_auc']:.4f}"
        counts = (f"{row['count']:,}", f"{row['correct']:,}")
        table.add_row(escape(row["label"]), *counts, *shares, f"{row['f1']:.4f}", area)
    return table


def _class_table(evaluation: Evaluation, samples: str) -> Table:
    table = Table(title="classes", title_justify="left")
    for name in ("class", samples, "correct", "recall", "precision"):
        table.add_column(name, justify="left" if name == "class" else "right")
    for row in evaluation.per_class:
        shares = ["-" if share is None else f"{share:.1%}" for share in (row["recall"], row["precision"])]
        table.add_row(escape(row["class"]), f"{row['count']:,}", f"{row['correct']:,}", *shares)
    return table


def _confusion_table(evaluation: Evaluation) -> Table:
    table = Table(pad_edge=False)
    table.add_column("")
    for name in evaluation.classes:
        table.add_column(escape(name), justify="right")
    for index, name in enumerate(evaluation.classes):
        row = evaluation.confusion[index]
        table.add_row(escape(name), *(_cell(row, column, index) for column in range(len(row))))
    return table


def _cell(row: NDArray[Any], column: int, diagonal: int) -> Text:
    """Return a count on a background of green (correct) or red, stronger the larger its fraction of the row."""
    count = int(row[column])
    if count == 0:
        return Text("·", style="dim")
    share = (count / int(row.sum())) ** 0.5
    # Both colours are set, so that the cell is legible in dark and light terminals.
    low, high = ((225, 240, 228), (0, 104, 55)) if column == diagonal else ((253, 232, 224), (165, 0, 38))
    background = ",".join(str(round(a + (b - a) * share)) for a, b in zip(low, high, strict=True))
    return Text(f"{count:,}", style=f"{'white' if share > 0.55 else 'black'} on rgb({background})")


def _pair_table(evaluation: Evaluation, samples: str) -> Table:
    import numpy as np

    table = Table(title="most frequent confusions", title_justify="left")
    table.add_column("label")
    table.add_column("prediction")
    table.add_column(samples, justify="right")
    errors = evaluation.confusion.copy()
    np.fill_diagonal(errors, 0)
    for cell in np.argsort(-errors, axis=None, kind="stable")[:_WIDEST].tolist():
        label, predicted = divmod(cell, len(evaluation.classes))
        if errors[label, predicted]:
            names = (escape(evaluation.classes[label]), escape(evaluation.classes[predicted]))
            table.add_row(*names, f"{errors[label, predicted]:,}")
    return table
