"""``fastnn predict``: what a model takes drawings for."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from fastnn.cli._console import command, err, out, print_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from rich.console import Console

    from fastnn.images import Polarity
    from fastnn.model import Model


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a model takes one drawing for.

    Attributes
    ----------
    file : str
    index : int
        Of the drawing in its file, from 0.
    label : str
        The likeliest class.
    probabilities : tuple of float
        Of each class, in the model's order; their sum is 1.
    image : ndarray of uint8, shape (784,)
        The drawing as the network sees it; 255 = paper.
    """

    file: str
    index: int
    label: str
    probabilities: tuple[float, ...]
    image: NDArray[np.uint8]

    def as_dict(self) -> dict[str, Any]:
        """Return all but the image, fit for JSON."""
        return {
            "file": self.file,
            "index": self.index,
            "label": self.label,
            "probabilities": list(self.probabilities),
        }


@command
def predict(
    model: Annotated[str, typer.Argument(help="A run folder, a model file or the original's NN.json.")],
    files: Annotated[list[str], typer.Argument(help="PNG, JPEG or JSON files.", metavar="FILE...")],
    show: Annotated[bool, typer.Option("--show", help="Draw what the network sees.")] = False,
    polarity: Annotated[
        Literal["auto", "dark-on-light", "light-on-dark"],
        typer.Option(help="How ink and paper stand to each other; auto looks at the border."),
    ] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Say what drawings are.

    A picture of 28x28 is taken as it is, a square canvas is shrunk, and from any other picture the drawing is cut out.
    A JSON file holds one image, 784 numbers from 0 (ink) to 255 (paper), or an array of them.
    """
    loaded, predictions = predict_files(model, files, polarity)
    if show:
        console = err() if as_json else out()
        for prediction in predictions:
            _draw(console, prediction)
    if as_json:
        print_json({"classes": list(loaded.classes), "predictions": [item.as_dict() for item in predictions]})
    else:
        out().print(_table(loaded, predictions))


def predict_files(
    model_path: str, files: Sequence[str], polarity: Polarity | None = None
) -> tuple[Model, list[Prediction]]:
    """Predict every drawing in some files.

    Parameters
    ----------
    model_path : str
        A run folder, a model file or the original's NN.json.
    files : sequence of str
        PNG, JPEG or JSON files.
    polarity : {"auto", "dark-on-light", "light-on-dark"}, optional
        By default found from each picture's border.

    Returns
    -------
    model : Model
    predictions : list of Prediction
        In the order of the files and of the drawings in them.

    Raises
    ------
    FastnnError
        If the model or a file cannot be read, or nothing is drawn on an image.
    """
    import numpy as np

    from fastnn.datasets import PIXELS
    from fastnn.errors import DataError, ModelError
    from fastnn.formats import load_model
    from fastnn.images import is_blank, normalise_batch

    model = load_model(model_path)
    if model.sizes[0] != PIXELS:
        raise ModelError(f"{model_path}: the model takes {model.sizes[0]} values, but an image has {PIXELS}")
    places, drawings = [], []
    for file in files:
        for index, image in enumerate(_read(Path(file), polarity)):
            if is_blank(image):
                raise DataError(f"{file}: nothing is drawn on image {index}")
            places.append((file, index))
            drawings.append(image)
    images = np.stack(drawings)
    probabilities = model.predict_proba(images)
    seen = normalise_batch(images, polarity="dark-on-light")[0] if model.normalise else images
    predictions = [
        Prediction(_printable(file), index, model.classes[int(row.argmax())], tuple(row.tolist()), image)
        for (file, index), row, image in zip(places, probabilities, seen, strict=True)
    ]
    return model, predictions


def _printable(name: str) -> str:
    """Return a file's name so that it can be printed even if it is not valid UTF-8."""
    return os.fsencode(name).decode(errors="replace")


def _read(path: Path, polarity: Polarity | None) -> Iterator[NDArray[np.uint8]]:
    from fastnn.images import read_image

    if path.name.lower().endswith((".json", ".json.gz")):
        return _read_json(path, polarity)
    return iter([read_image(path, polarity=polarity)])


def _read_json(path: Path, polarity: Polarity | None) -> Iterator[NDArray[np.uint8]]:
    """Yield the images of a JSON file: one, or an array of them; each is 784 numbers or {"image": [784 numbers]}."""
    import msgspec
    import numpy as np

    from fastnn.datasets import SIDE
    from fastnn.datasets.digits_json import parse_pixels
    from fastnn.datasets.safe_read import read_file
    from fastnn.errors import DataError
    from fastnn.images import fit

    content = read_file(path)
    try:
        # The kind of the first element tells an array of images from one image, an array of numbers.
        items: Sequence[bytes | bytearray | msgspec.Raw] = [content]
        if content.lstrip()[:1] == b"[":
            elements = msgspec.json.decode(content, type=list[msgspec.Raw])
            if not elements:
                raise DataError(f"{path}: holds no images")
            if bytes(memoryview(elements[0])[:1]) in (b"[", b"{"):
                items = elements
        for index, item in enumerate(items):
            where = f"{path}: image {index}"
            text = bytes(memoryview(item)).lstrip()
            if text[:1] == b"{":
                text = bytes(msgspec.json.decode(text, type=dict[str, msgspec.Raw]).get("image", b"null"))
            pixels = np.frombuffer(parse_pixels(text, where), np.uint8)
            yield fit(pixels.reshape(SIDE, SIDE), polarity=polarity)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"{path}: not an image in JSON ({str(error).replace('`', '')})") from None


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


def _draw(console: Console, prediction: Prediction) -> None:
    """Print a drawing, two rows of pixels to a line: in greys on a terminal, as black and white blocks elsewhere."""
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
