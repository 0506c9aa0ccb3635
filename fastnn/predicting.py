"""Predictions of a saved model for the rows of a table."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastnn.datasets.dataset import PIXELS, SIDE
from fastnn.datasets.delimited import TEXT_ENDINGS
from fastnn.datasets.readers import TABLE_ENDINGS
from fastnn.errors import DataError, ModelError, cannot_write
from fastnn.formats import load_model
from fastnn.model import decide
from fastnn.storage import atomic_write, check_new_file, user_path

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from fastnn.datasets.sparse import SparseRows
    from fastnn.images import Polarity
    from fastnn.model import Model


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

    @property
    def is_images(self) -> bool:
        """Whether each row is an image."""
        return self.model.takes == "images"

    def header(self) -> list[str]:
        """Return the names of the columns of :meth:`rows`."""
        names = self.model.names
        if self.is_images:
            return ["Label", "Probability"]
        if self.model.task == "regression":
            return list(names)
        probabilities = [f"probability of {name}" for name in names]
        return ["prediction", *probabilities] if self.model.task == "classification" else [*names, *probabilities]

    def rows(self) -> Iterator[list[Any]]:
        """Yield for each row the predicted class, labels or values, and their probabilities."""
        for position in range(len(self)):
            predicted = self.values[position]
            if self.is_images and self.probabilities is not None:
                yield [self.model.names[predicted], float(self.probabilities[position, predicted])]
                continue
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


def predict_table(model_path: str, file: str, polarity: Polarity = "auto") -> TablePredictions:
    """Predict for every row of a table; of a model of images, each row is one.

    Parameters
    ----------
    model_path : str
        A run folder or a model file.
    file : str
        A ``.csv`` or ``.tsv`` file, of which the columns that the model takes are read by their names; or an ``.npz``
        or SVMlight file. Labels in it are not used.
    polarity : {"auto", "dark-on-light", "light-on-dark"}
        How images are stored.

    Returns
    -------
    TablePredictions

    Raises
    ------
    FastnnError
        If the model or table cannot be read, or columns that the model takes are missing.
    """
    model = load_model(model_path)
    rows: NDArray[Any] | SparseRows
    if model.takes == "images":
        rows, notes = _read_image_rows(file, polarity)
    elif polarity != "auto":
        raise DataError(f"{file}: is a table of numbers for the model {model_path}; --polarity is for images, drop it")
    else:
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


def _read_image_rows(file: str, polarity: Polarity) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Return the images of a table of pixels or an archive, 255 = paper, and notes."""
    from fastnn.datasets import load_dataset
    from fastnn.datasets.csv_rows import read_pixel_rows

    if file.lower().endswith(TEXT_ENDINGS):
        return read_pixel_rows(user_path(file), polarity)
    dataset = load_dataset(user_path(file))
    if not dataset.is_images:
        raise DataError(f"{file}: holds rows of numbers, but the model takes images of {SIDE}x{SIDE} pixels")
    if polarity != "auto":
        dataset = load_dataset(user_path(file), polarity=polarity)
    return dataset.images, dataset.notes


def _read_table(model: Model, file: str) -> tuple[NDArray[Any] | SparseRows, tuple[str, ...]]:
    """Return the rows of a table as a model takes them, and notes."""
    from fastnn.datasets import load_dataset
    from fastnn.datasets.table import read_rows

    if file.lower().endswith(TEXT_ENDINGS):
        return read_rows(user_path(file), model.columns, model.n_inputs)
    dataset = load_dataset(user_path(file)).widened(model.n_inputs)
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

    Predictions for images have the columns ImageId, Label and Probability. ImageId counts from 1, as at Kaggle.

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
            if predictions.is_images:
                writer.writerow(["ImageId", *predictions.header()])
                writer.writerows([number, *row] for number, row in enumerate(predictions.rows(), start=1))
            else:
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
    if path.exists() and user_path(table).exists() and path.samefile(user_path(table)):
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
