"""Predictions of a saved model for the rows of a table."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from fastnn.datasets.dataset import PIXELS, SIDE
from fastnn.datasets.delimited import TEXT_ENDINGS
from fastnn.datasets.readers import TABLE_ENDINGS
from fastnn.datasets.sparse import SparseRows
from fastnn.datasets.store import ENDING
from fastnn.errors import DataError, ModelError, cannot_write
from fastnn.formats import load_model
from fastnn.model import decide
from fastnn.storage import atomic_write, check_new_file, user_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from fastnn.images import Polarity
    from fastnn.model import Model


_ROWS_AT_ONCE = 1 << 16
"""Rows whose predictions are in memory at a time, if they are written to a file."""


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
    rows, notes = _read_rows(model, model_path, file, polarity)
    return _predictions(model, model_path, file, rows, notes)


def predict_table_to_file(
    model_path: str, file: str, path: Path, polarity: Polarity = "auto", *, force: bool = False
) -> TablePredictions:
    """Predict for every row of a table, and write the predictions; only those of some rows are in memory at a time.

    Parameters
    ----------
    model_path, file, polarity
        As for :func:`predict_table`.
    path : Path
        See :func:`write_predictions`.
    force : bool
        Replace an existing file.

    Returns
    -------
    TablePredictions
        Of the first rows.

    Raises
    ------
    FastnnError
        As :func:`predict_table` and :func:`write_predictions` do.
    """
    model = load_model(model_path)
    rows, notes = _read_rows(model, model_path, file, polarity)
    if isinstance(rows, SparseRows) or len(rows) <= _ROWS_AT_ONCE:
        predictions = _predictions(model, model_path, file, rows, notes)
        write_predictions(predictions, path, force=force)
        return predictions

    first = []

    def parts() -> Iterator[TablePredictions]:
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            part = _predictions(model, model_path, file, rows[start : start + _ROWS_AT_ONCE], notes)
            if not start:
                first.append(part)
            yield part

    _write_parts(parts(), file, path, force=force)
    return first[0]


def _predictions(
    model: Model, model_path: str, file: str, rows: NDArray[Any] | SparseRows, notes: tuple[str, ...]
) -> TablePredictions:
    """Return the predictions for rows of a file."""
    try:
        # One pass over the networks gives both.
        outputs = model.outputs(rows) if model.task == "regression" else model.predict_proba(rows)
    except ModelError as error:
        raise ModelError(f"{model_path}: {error}") from None
    except DataError as error:
        raise DataError(f"{file}: {error}") from None
    values = decide(model.task, outputs)
    return TablePredictions(file, model, values, None if model.task == "regression" else outputs, notes)


def _read_rows(
    model: Model, model_path: str, file: str, polarity: Polarity
) -> tuple[NDArray[Any] | SparseRows, tuple[str, ...]]:
    """Return the rows of a file as a model takes them, and notes."""
    if model.takes == "images":
        return _read_image_rows(file, polarity)
    if polarity != "auto":
        raise DataError(f"{file}: is a table of numbers for the model {model_path}; --polarity is for images, drop it")
    return _read_table(model, file)


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
    if file.lower().endswith(".parquet") and model.columns and all(one.categories is None for one in model.columns):
        from fastnn.datasets.arrow_files import read_number_columns

        found = read_number_columns(user_path(file), [one.name for one in model.columns])
        if found is not None:
            return cast(Any, found), ()
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
    return file.lower().rstrip("/").endswith((*TABLE_ENDINGS, ENDING))


def _columns_of(part: TablePredictions) -> dict[str, Any]:
    """Return the columns of predictions by their names."""
    header, model = part.header(), part.model
    names = np.array(model.names, dtype=object)
    if part.probabilities is None:
        return dict(zip(header, part.values.T, strict=True))
    if part.is_images:
        best = part.probabilities[np.arange(len(part)), part.values]
        return {"Label": names[part.values], "Probability": best}
    first = [names[part.values]] if model.task == "classification" else list(part.values.T)
    return dict(zip(header, [*first, *part.probabilities.T], strict=True))


def write_predictions(predictions: TablePredictions, path: Path, *, force: bool = False) -> None:
    """Write predictions as CSV, TSV or Parquet, as the name of the file ends; a row for each of the table.

    Predictions for images have the columns ImageId, Label and Probability. ImageId counts from 1, as at Kaggle.

    Raises
    ------
    DataError
        If the name ends otherwise, or the file exists and `force` is not given.
    """
    _write_parts([predictions], predictions.file, path, force=force)


def _write_parts(parts: Iterable[TablePredictions], table: str, path: Path, *, force: bool) -> None:
    """Write predictions, part after part."""
    check_predictions_file(path, table, force=force)
    try:
        with atomic_write(path) as file:
            if path.suffix.lower() == ".parquet":
                from fastnn.datasets.arrow_files import write_columns

                write_columns(file, str(path), map(_columns_of, parts))
                return
            text = io.TextIOWrapper(file, encoding="utf-8", newline="")
            writer = csv.writer(text, lineterminator="\n", delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
            done = 0
            for part in parts:
                if not done:
                    writer.writerow(["ImageId", *part.header()] if part.is_images else part.header())
                if part.is_images:
                    writer.writerows([number, *row] for number, row in enumerate(part.rows(), start=done + 1))
                else:
                    writer.writerows(part.rows())
                done += len(part)
            text.detach()
    except OSError as error:
        raise cannot_write(path, error, DataError) from None


def check_predictions_file(path: Path, table: str, *, force: bool = False) -> None:
    """Raise a DataError if the predictions for a table cannot be written to `path`."""
    if path.suffix.lower() not in (".csv", ".tsv", ".parquet"):
        raise DataError(f"{path}: must end with .csv, .tsv or .parquet")
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
