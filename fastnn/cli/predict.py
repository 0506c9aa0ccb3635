"""``fastnn predict``: predictions for images, or for the rows of a table."""

from __future__ import annotations

from itertools import islice
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from fastnn.cli._console import command, err, note, out, print_json
from fastnn.errors import FastnnError

if TYPE_CHECKING:
    from rich.console import Console

    from fastnn.model import Model
    from fastnn.predicting import Prediction, TablePredictions

_SHOWN_ROWS = 20
_SHOWN_COLUMNS = 12
"""Most rows and columns that are printed."""


@command
def predict(
    model: Annotated[str, typer.Argument(help="A run folder, a model file or the original's NN.json.")],
    files: Annotated[
        list[str], typer.Argument(help="PNG, JPEG or JSON files; or one table, .csv or .tsv.", metavar="FILE...")
    ],
    show: Annotated[bool, typer.Option("--show", help="Show each image as the network sees it.")] = False,
    polarity: Annotated[
        Literal["auto", "dark-on-light", "light-on-dark"],
        typer.Option(help="Whether ink is darker or lighter than paper; auto decides by the border of the picture."),
    ] = "auto",
    out_file: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="FILE.csv", readable=False, help="Write the predictions for all rows of a table."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Predict the classes of image files, or the targets of the rows of a table.

    A picture of 28x28 pixels is used as it is, a square white canvas is shrunk, and from any other picture the drawing
    is cut out. A JSON file holds one image, 784 numbers from 0 (ink) to 255 (paper), or an array of images.

    The columns that the model takes are found in a table by their names; other columns are left out.
    """
    from fastnn.predicting import is_table_file, predict_files

    if any(map(is_table_file, files)):
        if show or polarity != "auto":
            raise FastnnError(f"{files[0]}: is a table; --show and --polarity are for images, drop them")
        _predict_table(model, files, out_file, force=force, as_json=as_json)
        return
    if out_file is not None:
        raise FastnnError("--out is for the predictions of a table; for images, use --json")
    loaded, predictions = predict_files(model, files, polarity)
    if show:
        console = err() if as_json else out()
        for prediction in predictions:
            _show_image(console, prediction)
    if as_json:
        print_json({"classes": list(loaded.classes), "predictions": [item.as_dict() for item in predictions]})
    else:
        out().print(_table(loaded, predictions))


def _predict_table(model: str, files: list[str], out_file: Path | None, *, force: bool, as_json: bool) -> None:
    from fastnn.predicting import check_predictions_file, predict_table, write_predictions

    if len(files) > 1:
        raise FastnnError("give one table at a time")
    if out_file is not None:
        check_predictions_file(out_file, files[0], force=force)
    predictions = predict_table(model, files[0])
    if out_file is not None:
        write_predictions(predictions, out_file, force=force)
    for text in predictions.notes:
        note(text)
    if as_json:
        result = predictions.as_dict()
        print_json(result if out_file is None else {**result, "out": str(out_file)})
        return
    out().print(_row_table(predictions))
    more = [
        f"{have - shown:,} more {what}"
        for have, shown, what in (
            (len(predictions), _SHOWN_ROWS, "rows"),
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


def _table(model: Model, predictions: list[Prediction]) -> Table:
    table = Table()
    table.add_column("file", overflow="fold")
    for name in ("image", "label", "probability", "next", "its probability"):
        table.add_column(name, justify="right")
    for item in predictions:
        order = sorted(range(len(model.classes)), key=lambda k: -item.probabilities[k])[:2]
        best = [(escape(model.classes[k]), f"{item.probabilities[k]:.1%}") for k in order]
        label, probability = best[0]
        second = best[1] if len(best) > 1 else ("-", "-")
        table.add_row(escape(item.file), str(item.index), f"[bold]{label}[/bold]", probability, *second)
    return table


def _show_image(console: Console, prediction: Prediction) -> None:
    """Print an image with two rows of pixels per line: in greys on a terminal, in black and white elsewhere."""
    from fastnn.datasets import SIDE

    console.print(escape(f"{prediction.file}, image {prediction.index}: {prediction.label}"))
    rows = prediction.image.reshape(SIDE, SIDE).tolist()
    for upper, lower in zip(rows[::2], rows[1::2], strict=True):
        line = Text()
        for a, b in zip(upper, lower, strict=True):
            if console.is_terminal:
                line.append("▀", style=f"rgb({a},{a},{a}) on rgb({b},{b},{b})")
            else:
                line.append((" ", "▄", "▀", "█")[2 * (a < 128) + (b < 128)])
        console.print(line)
