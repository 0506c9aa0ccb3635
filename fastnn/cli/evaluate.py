"""``fastnn evaluate``: how good a model is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

import typer
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from fastnn.cli._console import command, note, out, print_json
from fastnn.cli._downloads import download_progress

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from fastnn.datasets import Dataset
    from fastnn.evaluation.metrics import Evaluation
    from fastnn.model import Model

Part: TypeAlias = Literal["test", "train", "all"]

_WIDEST = 20
"""Confusion matrices of more classes than this do not fit a terminal; the worst pairs are listed instead."""


@dataclass(frozen=True, eq=False)
class Report:
    """A model measured on a part of a data set.

    Attributes
    ----------
    model : str
        The file or folder.
    data : str
        The data set's source.
    split : {"test", "train", "all"}
        Which part of it.
    evaluation : Evaluation
    notes : tuple of str
        What the reader should know of data and split.
    page : Path or None
        The report that was written, if one was asked for.
    """

    model: str
    data: str
    split: Part
    evaluation: Evaluation
    notes: tuple[str, ...]
    page: Path | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return everything but the notes, fit for JSON."""
        values = {"model": self.model, "data": self.data, "split": self.split, **self.evaluation.as_dict()}
        return values if self.page is None else {**values, "report": str(self.page)}


@command
def evaluate(
    model: Annotated[str, typer.Argument(help="A run folder, a model file or the original's NN.json.")],
    data: Annotated[
        str | None, typer.Option("--data", help="A data set by name or path; by default the model's own.")
    ] = None,
    split: Annotated[
        Part | None,
        typer.Option(help="Which part of it; by default the test part of the model's own data, and all of other data."),
    ] = None,
    report_folder: Annotated[
        Path | None,
        typer.Option("--report", metavar="DIR", help="Write pictures and an index.html that shows them here."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the report that is there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Measure a model: accuracy, balanced accuracy, loss, each class, and what is taken for what."""
    with download_progress() as progress:
        report = evaluate_file(model, data, split, progress=progress, report=report_folder, force=force)
    for text in report.notes:
        note(text)
    if as_json:
        print_json(report.as_dict())
        return
    _show(report)


def evaluate_file(
    model_path: str,
    data: str | None = None,
    split: Part | None = None,
    *,
    progress: Callable[[str, float], None] | None = None,
    report: Path | None = None,
    force: bool = False,
) -> Report:
    """Measure the model in a file or run folder.

    Parameters
    ----------
    model_path : str
        A run folder, a model file or the original's NN.json.
    data : str, optional
        A data set by name or path; by default what the model says it was trained on.
    split : {"test", "train", "all"}, optional
        By default the test part if the data are those the model was trained on, or have a test set of their own; else
        all.
    progress : callable, optional
        Told how far a download is.
    report : Path, optional
        A folder for pictures and a page, see :func:`fastnn.report.write_report`.
    force : bool
        Replace the report that is there.

    Returns
    -------
    Report

    Raises
    ------
    FastnnError
        If model or data cannot be read or do not fit each other.
    """
    from fastnn.datasets import PIXELS
    from fastnn.errors import ModelError
    from fastnn.evaluation.metrics import evaluate
    from fastnn.formats import load_model

    if report is not None:
        from fastnn.report import check_folder

        check_folder(report, force=force)
    model = load_model(model_path)
    if model.sizes[0] != PIXELS:
        raise ModelError(f"{model_path}: the model takes {model.sizes[0]} values, but an image has {PIXELS}")
    trained_on = model.card.data
    dataset = _load(model_path, data, None if trained_on is None else trained_on.source, progress)
    own = trained_on is not None and trained_on.hash == dataset.content_hash
    chosen, part, notes = _choose(model, dataset, split, own=own)
    page = None if report is None else _write_report(model_path, model, part, chosen, report, force)
    return Report(model_path, dataset.source, chosen, evaluate(model, part), dataset.notes + notes, page)


def _write_report(model_path: str, model: Model, part: Dataset, chosen: Part, folder: Path, force: bool) -> Path:
    from fastnn.formats import find_model
    from fastnn.report import write_report

    name = part.source if chosen == "all" else f"{part.source}, {chosen} part"
    history = find_model(model_path).parent / "history.csv"
    return write_report(model, part, folder, name=model_path, part=name, history=history, force=force)


def _load(model_path: str, data: str | None, own: str | None, progress: Callable[[str, float], None] | None) -> Dataset:
    """Load the data set that was asked for, or else the one that the model says it was trained on."""
    from fastnn.datasets import load_dataset
    from fastnn.errors import FastnnError, ModelError

    if data is not None:
        return load_dataset(data, progress=progress)
    if own is None:
        raise ModelError(f"{model_path}: does not say what data it was trained on; name a data set with --data")
    try:
        return load_dataset(own, progress=progress)
    except FastnnError as error:
        raise type(error)(f"{error}; these are the data {model_path} was trained on, --data names others") from None


def _choose(model: Model, dataset: Dataset, wanted: Part | None, *, own: bool) -> tuple[Part, Dataset, tuple[str, ...]]:
    """Return the name of the part to measure on, the part, and what is to be said about it."""
    from fastnn.datasets import split as divide
    from fastnn.datasets.split import Split

    has_test = dataset.test is not None
    chosen: Part = wanted or ("test" if own or has_test else "all")
    notes: list[str] = []
    if model.card.epochs == 0:
        notes.append("the model has not been trained yet")
    if not own and model.card.data is not None:
        notes.append(f"{dataset.source} is not the data that the model was trained on")
    if chosen == "all":
        if own:
            notes.append("most of these images were trained on; --split test has only those that were not")
        return chosen, _whole(dataset), tuple(notes)
    kept = model.card.data.split if own and model.card.data is not None else None
    how = kept or Split()
    if not own and not has_test:
        notes.append(f"{dataset.source} is divided anew, with test fraction {how.fraction} and seed {how.seed}")
    train, test = divide(dataset, how)
    return chosen, test if chosen == "test" else train, tuple(notes)


def _whole(dataset: Dataset) -> Dataset:
    """Return the data set together with its own test set, if it has one."""
    import numpy as np

    from fastnn.evaluation.metrics import match_labels

    test = dataset.test
    if test is None:
        return dataset
    return replace(
        dataset,
        images=np.concatenate([dataset.images, test.images]),
        labels=np.concatenate([dataset.labels, match_labels(test, dataset.classes)]),
        test=None,
    )


def _show(report: Report) -> None:
    console, evaluation = out(), report.evaluation
    summary = Table.grid(padding=(0, 2))
    part = "all" if report.split == "all" else f"{report.split} part"
    for name, value in (
        ("model", report.model),
        ("data", f"{report.data}, {part}"),
        ("accuracy", f"{evaluation.accuracy:.2%} ({evaluation.correct:,} of {evaluation.total:,})"),
        ("balanced accuracy", f"{evaluation.balanced_accuracy:.2%}"),
        ("loss", f"{evaluation.loss:.4f}"),
    ):
        summary.add_row(f"[bold]{name}[/bold]", escape(value))
    console.print(summary)
    console.print(_class_table(evaluation))
    if len(evaluation.classes) <= _WIDEST:
        console.print(_confusion_table(evaluation))
    else:
        console.print(_pair_table(evaluation))
    if report.page is not None:
        console.print(str(report.page), markup=False, soft_wrap=True)


def _class_table(evaluation: Evaluation) -> Table:
    table = Table(title="classes", title_justify="left")
    for name in ("class", "images", "correct", "recall", "precision"):
        table.add_column(name, justify="left" if name == "class" else "right")
    for row in evaluation.per_class:
        shares = ["-" if share is None else f"{share:.1%}" for share in (row["recall"], row["precision"])]
        table.add_row(escape(row["class"]), f"{row['count']:,}", f"{row['correct']:,}", *shares)
    return table


def _confusion_table(evaluation: Evaluation) -> Table:
    table = Table(
        title="what is taken for what (rows: the label, columns: the model)", title_justify="left", pad_edge=False
    )
    table.add_column("")
    for name in evaluation.classes:
        table.add_column(escape(name), justify="right")
    for index, name in enumerate(evaluation.classes):
        row = evaluation.confusion[index]
        table.add_row(escape(name), *(_cell(row, column, index) for column in range(len(row))))
    return table


def _cell(row: NDArray[Any], column: int, diagonal: int) -> Text:
    """Return a count on a ground that is the stronger, green for hits and red for misses, the larger its share."""
    count = int(row[column])
    if count == 0:
        return Text("·", style="dim")
    share = (count / int(row.sum())) ** 0.5
    # Text and ground are both given, so that the cell reads the same in dark and light terminals.
    low, high = ((225, 240, 228), (0, 104, 55)) if column == diagonal else ((253, 232, 224), (165, 0, 38))
    ground = ",".join(str(round(a + (b - a) * share)) for a, b in zip(low, high, strict=True))
    return Text(f"{count:,}", style=f"{'white' if share > 0.55 else 'black'} on rgb({ground})")


def _pair_table(evaluation: Evaluation) -> Table:
    import numpy as np

    table = Table(title="most often mistaken", title_justify="left")
    table.add_column("label")
    table.add_column("taken for")
    table.add_column("images", justify="right")
    misses = evaluation.confusion.copy()
    np.fill_diagonal(misses, 0)
    for cell in np.argsort(-misses, axis=None, kind="stable")[:_WIDEST].tolist():
        label, guess = divmod(cell, len(evaluation.classes))
        if misses[label, guess]:
            names = (escape(evaluation.classes[label]), escape(evaluation.classes[guess]))
            table.add_row(*names, f"{misses[label, guess]:,}")
    return table
