"""``fastnn predict``: classify images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from fastnn.cli._console import command, err, out, print_json

if TYPE_CHECKING:
    from rich.console import Console

    from fastnn.model import Model
    from fastnn.predicting import Prediction


@command
def predict(
    model: Annotated[str, typer.Argument(help="A run folder, a model file or the original's NN.json.")],
    files: Annotated[list[str], typer.Argument(help="PNG, JPEG or JSON files.", metavar="FILE...")],
    show: Annotated[bool, typer.Option("--show", help="Show each image as the network sees it.")] = False,
    polarity: Annotated[
        Literal["auto", "dark-on-light", "light-on-dark"],
        typer.Option(help="Whether ink is darker or lighter than paper; auto decides by the border of the picture."),
    ] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Classify image files.

    A picture of 28x28 pixels is used as it is, a square white canvas is shrunk, and from any other picture the drawing
    is cut out. A JSON file holds one image, 784 numbers from 0 (ink) to 255 (paper), or an array of images.
    """
    from fastnn.predicting import predict_files

    loaded, predictions = predict_files(model, files, polarity)
    if show:
        console = err() if as_json else out()
        for prediction in predictions:
            _show_image(console, prediction)
    if as_json:
        print_json({"classes": list(loaded.classes), "predictions": [item.as_dict() for item in predictions]})
    else:
        out().print(_table(loaded, predictions))


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
