"""Predictions of a saved model for files: images, or the rows of a table."""

from __future__ import annotations

import csv
import io
import os
import re
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn.datasets.dataset import PIXELS, SIDE
from fastnn.datasets.delimited import ENDINGS
from fastnn.datasets.readers import TABLE_ENDINGS
from fastnn.errors import DataError, ModelError, cannot_write
from fastnn.formats import load_model
from fastnn.model import decide
from fastnn.storage import atomic_write, check_new_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from fastnn.datasets.sparse import SparseRows
    from fastnn.images import Polarity
    from fastnn.model import Model


@dataclass(frozen=True, eq=False)
class Prediction:
    """The class that a model predicts for one image.

    Attributes
    ----------
    file : str
    index : int
        Position of the image in its file, from 0.
    label : str
        The class with the highest probability.
    probabilities : tuple of float
        One for each class in the model's order; they sum to 1.
    image : ndarray of uint8, shape (784,)
        The image as the network sees it; 255 = paper.
    """

    file: str
    index: int
    label: str
    probabilities: tuple[float, ...]
    image: NDArray[np.uint8]

    def as_dict(self) -> dict[str, Any]:
        """Return everything but the image, fit for JSON."""
        return {
            "file": self.file,
            "index": self.index,
            "label": self.label,
            "probabilities": list(self.probabilities),
        }


@dataclass(frozen=True, eq=False)
class TablePredictions:
    """What a model predicts for the rows of a table.

    Attributes
    ----------
    file : str
    model : Model
    values : ndarray
        Classification: int64, shape (n,), indices of classes. Multilabel: uint8, shape (n, k). Regression: float64,
        shape (n, t).
    probabilities : ndarray of float64 or None, shape (n, k)
        None for a regression.
    notes : tuple of str
        How the table was read.
    """

    file: str
    model: Model
    values: NDArray[Any]
    probabilities: NDArray[np.float64] | None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.values)

    def header(self) -> list[str]:
        """Return the names of the columns of :meth:`rows`."""
        names = self.model.names
        if self.model.task == "regression":
            return list(names)
        probabilities = [f"probability of {name}" for name in names]
        return ["prediction", *probabilities] if self.model.task == "classification" else [*names, *probabilities]

    def rows(self) -> Iterator[list[Any]]:
        """Yield for each row the predicted class, labels or values, and their probabilities."""
        for position in range(len(self)):
            predicted = self.values[position]
            first = [self.model.names[predicted]] if self.model.task == "classification" else predicted.tolist()
            yield first if self.probabilities is None else [*first, *self.probabilities[position].tolist()]

    def as_dict(self) -> dict[str, Any]:
        """Return the predictions, fit for JSON."""
        names = self.model.names
        items: list[dict[str, Any]] = []
        for position in range(len(self)):
            predicted = self.values[position]
            if self.probabilities is None:
                items.append({"values": predicted.tolist()})
                continue
            item: dict[str, Any] = (
                {"label": names[predicted]}
                if self.model.task == "classification"
                else {"labels": [name for name, has in zip(names, predicted.tolist(), strict=True) if has]}
            )
            items.append({**item, "probabilities": self.probabilities[position].tolist()})
        return {"file": self.file, "task": self.model.task, "names": list(names), "predictions": items}


def predict_table(model_path: str, file: str) -> TablePredictions:
    """Predict for every row of a table.

    Parameters
    ----------
    model_path : str
        A run folder or a model file; a model of rows.
    file : str
        A ``.csv`` or ``.tsv`` file, of which the columns that the model takes are read by their names; or an ``.npz``
        or SVMlight file.

    Returns
    -------
    TablePredictions

    Raises
    ------
    FastnnError
        If the model or table cannot be read, the model takes images, or a column of the model is missing.
    """
    model = load_model(model_path)
    if model.takes == "images":
        raise DataError(f"{file}: is a table, but the model {model_path} takes images")
    rows, notes = _read_table(model, file)
    try:
        # One pass over the networks gives both.
        outputs = model.outputs(rows) if model.task == "regression" else model.predict_proba(rows)
    except ModelError as error:
        raise ModelError(f"{model_path}: {error}") from None
    except DataError as error:
        raise DataError(f"{file}: {error}") from None
    values = decide(model.task, outputs)
    return TablePredictions(file, model, values, None if model.task == "regression" else outputs, notes)


def _read_table(model: Model, file: str) -> tuple[NDArray[Any] | SparseRows, tuple[str, ...]]:
    """Return the rows of a table as a model takes them, and notes."""
    from fastnn.datasets import load_dataset
    from fastnn.datasets.table import read_rows

    if file.lower().endswith(ENDINGS):
        return read_rows(Path(file), model.columns, model.n_inputs)
    dataset = load_dataset(Path(file)).widened(model.n_inputs)
    rows = dataset.features
    if dataset.is_images:
        raise DataError(f"{file}: holds images, but the model takes rows of a table")
    if rows.shape[1] != model.n_inputs:
        raise DataError(f"{file}: has {rows.shape[1]:,} inputs, but the model takes {model.n_inputs:,}")
    if None not in (dataset.columns, model.columns) and dataset.columns != model.columns:
        raise DataError(f"{file}: has other columns than the model takes; write them as .csv, which is read by names")
    return rows, dataset.notes


def is_table_file(file: str) -> bool:
    """Return whether the name of a file is that of a table."""
    return file.lower().endswith(TABLE_ENDINGS)


def write_predictions(predictions: TablePredictions, path: Path, *, force: bool = False) -> None:
    """Write predictions as CSV, or TSV if the name ends with ``.tsv``; a row for each of the table.

    Raises
    ------
    DataError
        If the name ends otherwise, or the file exists and `force` is not given.
    """
    check_predictions_file(path, predictions.file, force=force)
    try:
        with atomic_write(path) as file:
            text = io.TextIOWrapper(file, encoding="utf-8", newline="")
            writer = csv.writer(text, lineterminator="\n", delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
            writer.writerow(predictions.header())
            writer.writerows(predictions.rows())
            text.detach()
    except OSError as error:
        raise cannot_write(path, error, DataError) from None


def check_predictions_file(path: Path, table: str, *, force: bool = False) -> None:
    """Raise a DataError if the predictions for a table cannot be written to `path`."""
    if path.suffix.lower() not in (".csv", ".tsv"):
        raise DataError(f"{path}: must end with .csv or .tsv")
    check_new_file(path, force=force)
    if path.exists() and Path(table).exists() and path.samefile(table):
        raise DataError(f"{path}: is the table itself, which is never changed; choose another name")


def load_image_model(path: str) -> Model:
    """Load a model whose inputs are 28x28 images.

    Raises
    ------
    ModelError
        If the model cannot be read or has another number of inputs.
    """
    model = load_model(path)
    if model.takes != "images":
        raise ModelError(f"{path}: the model takes rows of a table, not images; give it a .csv file")
    if model.sizes[0] != PIXELS:
        raise ModelError(f"{path}: the model takes {model.sizes[0]} values, but an image has {PIXELS}")
    return model


def predict_files(
    model_path: str, files: Sequence[str], polarity: Polarity | None = None
) -> tuple[Model, list[Prediction]]:
    """Classify every image in some files.

    Parameters
    ----------
    model_path : str
        A run folder, a model file or the original's NN.json.
    files : sequence of str
        PNG, JPEG or JSON files, see :func:`read_images`.
    polarity : {"auto", "dark-on-light", "light-on-dark"}, optional
        By default found from the border of each image.

    Returns
    -------
    model : Model
    predictions : list of Prediction
        In the order of the files and of the images in them.

    Raises
    ------
    FastnnError
        If the model or a file cannot be read, or nothing is drawn on an image.
    """
    from fastnn.images import is_blank, normalise_batch

    model = load_image_model(model_path)
    sources, found = [], []
    for file in files:
        for index, image in enumerate(read_images(Path(file), polarity)):
            if is_blank(image):
                raise DataError(f"{file}: nothing is drawn on image {index}")
            sources.append((file, index))
            found.append(image)
    images = np.stack(found)
    try:
        probabilities = model.predict_proba(images)
    except ModelError as error:
        raise ModelError(f"{model_path}: {error}") from None
    seen = normalise_batch(images, polarity="dark-on-light")[0] if model.normalise else images
    predictions = [
        Prediction(_printable(file), index, model.classes[int(row.argmax())], tuple(row.tolist()), image)
        for (file, index), row, image in zip(sources, probabilities, seen, strict=True)
    ]
    return model, predictions


def _printable(name: str) -> str:
    """Return a file name with bytes that are not valid UTF-8 replaced."""
    return os.fsencode(name).decode(errors="replace")


def read_images(path: Path, polarity: Polarity | None = None) -> Iterator[NDArray[np.uint8]]:
    """Yield the images in a PNG, JPEG or JSON file, each of shape (784,), 255 = paper.

    A JSON file holds one image or an array of images. An image is a list of 784 integers from 0 to 255, or an object
    ``{"image": [784 integers]}``.

    Raises
    ------
    DataError
        If the file cannot be read or its content is invalid.
    """
    from fastnn.images import read_image

    if path.name.lower().endswith((".json", ".json.gz")):
        return _read_json(path, polarity)
    return iter([read_image(path, polarity=polarity)])


def _read_json(path: Path, polarity: Polarity | None) -> Iterator[NDArray[np.uint8]]:
    import msgspec

    from fastnn.datasets.digits_json import parse_pixels
    from fastnn.images import fit

    index = -1
    try:
        for index, item in enumerate(_image_texts(path)):
            text: bytes | msgspec.Raw = item
            if item[:1] == b"{":
                text = msgspec.json.decode(item, type=dict[str, msgspec.Raw]).get("image", b"null")
            pixels = np.frombuffer(parse_pixels(text, f"{path}: image {index}"), np.uint8)
            yield fit(pixels.reshape(SIDE, SIDE), polarity=polarity)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"{path}: not an image in JSON ({str(error).replace('`', '')})") from None
    if index < 0:
        raise DataError(f"{path}: holds no images")


def _image_texts(path: Path) -> Iterator[bytes]:
    """Yield the JSON text of each image in a file."""
    from fastnn.datasets.json_items import ITEM_LIMIT, array_items
    from fastnn.datasets.safe_read import Unpacked, read_packed

    text = Unpacked(read_packed(path), str(path))
    start = bytes(text.read_up_to(ITEM_LIMIT + 1))
    # The first element tells an array of images from one image, which is an array of numbers.
    if re.match(rb"\s*+\[\s*+[\[{\]]", start):
        yield from array_items(chain([start], text), str(path), "an image is a list of 784 integers")
    elif len(start) > ITEM_LIMIT:
        raise DataError(f"{path}: too long for one image, and not an array of images")
    else:
        yield start.lstrip()
