"""``fastnn predict``: predictions for images, or for the rows of a table."""

from __future__ import annotations

from itertools import islice
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from fastnn.cli._console import can_encode, command, err, note, out, print_content, print_json, report_error
from fastnn.errors import FastnnError

if TYPE_CHECKING:
    from rich.console import Console

    from fastnn.images import Polarity
    from fastnn.predicting import TablePredictions
    from fastnn.recognition import FilePredictions, Prediction

_BLOCKS = " ▄▀█"
_ASCII_BLOCKS = " .'#"
"""Two pixels, one above the other: none, the lower, the upper or both have ink."""
_SHOWN_ROWS = 20
_SHOWN_COLUMNS = 12
"""Most rows and columns that are printed."""


@command
def predict(
    model: Annotated[str, typer.Argument(help="A run folder, a model file or the original's NN.json.")],
    files: Annotated[
        list[str],
        typer.Argument(help="Pictures (PNG, JPEG, ...) or JSON files; or one table, .csv or .tsv.", metavar="FILE..."),
    ],
    show: Annotated[bool, typer.Option("--show", help="Show each image as the network sees it.")] = False,
    polarity: Annotated[
        Literal["auto", "dark-on-light", "light-on-dark"],
        typer.Option(help="Whether ink is darker or lighter than paper; auto decides by the picture."),
    ] = "auto",
    out_file: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE",
            readable=False,
            help="Write predictions for all rows of a table: .csv, .tsv or .parquet.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Predict the classes of image files, or the targets of the rows of a table.

    Each digit on a picture has a line of its own, in reading order; a picture of 28x28 pixels is one digit. What is
    doubtful is marked, with the reason. A JSON file holds one image, 784 numbers from 0 (ink) to 255 (paper), or an
    array of images. Files that cannot be read are reported, the others are answered, and the exit code is 2.

    The columns that the model takes are found in a table by their names; other columns are left out. For a model of
    images, each row of a table of 784 pixels is an image, such as in Kaggle's test.csv.
    """
    from fastnn.predicting import is_table_file
    from fastnn.recognition import predict_files

    if any(map(is_table_file, files)):
        if show:
            raise FastnnError(f"{files[0]}: is a table; --show is for pictures, drop it")
        _predict_table(model, files, polarity, out_file, force=force, as_json=as_json)
        return
    if out_file is not None:
        raise FastnnError("--out is for the predictions of a table; for images, use --json")
    found = predict_files(model, files, polarity)
    if show:
        console = err() if as_json else out()
        for prediction in found.predictions:
            _show_image(console, prediction)
    if as_json:
        print_json(found.as_dict())
    elif found.predictions:
        out().print(_table(found))
    for fault in found.faults:
        report_error(fault)
    if found.faults:
        raise typer.Exit(2)


def _predict_table(
    model: str, files: list[str], polarity: Polarity, out_file: Path | None, *, force: bool, as_json: bool
) -> None:
    from fastnn.predicting import (
        check_predictions_file,
        predict_table_to_file,
        predict_table_to_json,
        preview_table,
    )

    if len(files) > 1:
        raise FastnnError("give one table at a time")
    if out_file is not None:
        check_predictions_file(out_file, files[0], force=force)
    if as_json:
        content, notes = predict_table_to_json(model, files[0], polarity, out_file, force=force)
        for text in notes:
            note(text)
        print_content(content)
        return
    n_rows = 0
    if out_file is None:
        predictions, n_rows = preview_table(model, files[0], polarity)
    else:
        predictions = predict_table_to_file(model, files[0], out_file, polarity, force=force)
    for text in predictions.notes:
        note(text)
    out().print(_row_table(predictions))
    more = [
        f"{have - shown:,} more {what}"
        for have, shown, what in (
            (n_rows, _SHOWN_ROWS, "rows"),
            (len(predictions.header()), _SHOWN_COLUMNS, "columns"),
        )
        if have > shown
    ]
    if more and out_file is None:
        note(f"{' and '.join(more)}; --out FILE.csv writes all")
    if out_file is not None:
        out().print(str(out_file), markup=False, soft_wrap=True)


def _row_table(predictions: TablePredictions) -> Table:
    """Return the predictions of the first rows."""
    table = Table()
    table.add_column("row", justify="right")
    header = predictions.header()
    for name in header[:_SHOWN_COLUMNS]:
        table.add_column(escape(name), justify="right", overflow="fold")
    for number, row in enumerate(islice(predictions.rows(), _SHOWN_ROWS), start=1):
        cells = [escape(cell) if isinstance(cell, str) else f"{cell:.5g}" for cell in row[:_SHOWN_COLUMNS]]
        table.add_row(str(number), *cells)
    return table


def _table(found: FilePredictions) -> Table:
    """Return a line for each digit; the box is shown if a picture has several digits."""
    classes = found.model.classes
    several = {item.file for item in found.predictions if item.index}
    table = Table()
    table.add_column("file", overflow="fold")
    for name in ("digit", *(["box"] if several else []), "label", "probability", "next", "its probability"):
        table.add_column(name, justify="right")
    table.add_column("doubtful", overflow="fold")
    for item in found.predictions:
        digit = item.digit
        order = sorted(range(len(classes)), key=lambda k: -digit.probabilities[k])[:2]
        best = [(escape(classes[k]), f"{digit.probabilities[k]:.1%}") for k in order]
        label, probability = best[0]
        second = best[1] if len(best) > 1 else ("-", "-")
        box = [_box_text(digit.box) if item.file in several else ""] if several else []
        cells = (f"[bold]{label}[/bold]", probability, *second, escape("; ".join(digit.reasons)))
        table.add_row(escape(item.file), str(item.index), *box, *cells)
    return table


def _box_text(box: tuple[int, int, int, int]) -> str:
    left, top, right, bottom = box
    return f"{right - left}x{bottom - top} at {left}, {top}"


def _show_image(console: Console, prediction: Prediction) -> None:
    """Print an image with two rows of pixels per line: in greys on a terminal, in black and white elsewhere."""
    from fastnn.datasets import SIDE

    blocks = _BLOCKS if can_encode(console, _BLOCKS) else _ASCII_BLOCKS

    console.print(escape(f"{prediction.file}, image {prediction.index}: {prediction.label}"))
    rows = prediction.digit.image.reshape(SIDE, SIDE).tolist()
    for upper, lower in zip(rows[::2], rows[1::2], strict=True):
        line = Text()
        for a, b in zip(upper, lower, strict=True):
            if console.is_terminal and blocks is _BLOCKS:
                line.append("▀", style=f"rgb({a},{a},{a}) on rgb({b},{b},{b})")
            else:
                line.append(blocks[2 * (a < 128) + (b < 128)])
        console.print(line)
