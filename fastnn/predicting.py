"""Predictions of a saved model for the rows of a table."""

from __future__ import annotations

import contextlib
import csv
import io
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from fastnn.datasets.dataset import PIXELS, SIDE
from fastnn.datasets.delimited import TEXT_ENDINGS
from fastnn.datasets.options import DEFAULT_OPTIONS, ReadOptions
from fastnn.datasets.readers import TABLE_ENDINGS
from fastnn.datasets.store import ENDING
from fastnn.errors import DataError, ModelError, cannot_write
from fastnn.formats import load_model
from fastnn.large_arrays import ROWS_IN_PART
from fastnn.model import decide
from fastnn.storage import atomic_write, cache_dir, check_new_file, scratch_folder, unnamed_file, user_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from typing import BinaryIO

    from numpy.typing import NDArray

    from fastnn.datasets.sparse import SparseRows
    from fastnn.images import Polarity
    from fastnn.model import Model

T = TypeVar("T")

_ROWS_IN_LISTS = 1 << 12
_LARGE_FILE = 1 << 25
"""Bytes of a file of which the rows are left on the disk while they are predicted."""


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
        names, by_class = self.model.names, self.model.task == "classification"
        # As lists of Python's numbers, which takes a third of the time, but of few rows at a time.
        for start in range(0, len(self), _ROWS_IN_LISTS):
            part = slice(start, start + _ROWS_IN_LISTS)
            values: list[Any] = self.values[part].tolist()
            first = [[names[value]] for value in values] if by_class else values
            if self.probabilities is None:
                yield from first
                continue
            chances = self.probabilities[part]
            if self.is_images:
                best = chances[np.arange(len(chances)), self.values[part]].tolist()
                yield from ([*one, chance] for one, chance in zip(first, best, strict=True))
            else:
                yield from ([*one, *row] for one, row in zip(first, chances.tolist(), strict=True))

    def as_dict(self) -> dict[str, Any]:
        """Return the predictions, fit for JSON."""
        return {**self.about(), "predictions": list(self.items())}

    def about(self) -> dict[str, Any]:
        """Return what :meth:`as_dict` says of all predictions."""
        return {"file": self.file, "task": self.model.task, "names": list(self.model.names)}

    def items(self) -> Iterator[dict[str, Any]]:
        """Yield what :meth:`as_dict` says of each row."""
        names = self.model.names
        for position in range(len(self)):
            predicted = self.values[position]
            if self.probabilities is None:
                yield {"values": predicted.tolist()}
                continue
            item: dict[str, Any] = (
                {"label": names[predicted]}
                if self.model.task == "classification"
                else {"labels": [name for name, has in zip(names, predicted.tolist(), strict=True) if has]}
            )
            yield {**item, "probabilities": self.probabilities[position].tolist()}


def predict_table(model_path: str, file: str, polarity: Polarity = "auto") -> TablePredictions:
    """Predict for every row of a table; of a model of images, each row is one.

    Parameters
    ----------
    model_path : str
        A run folder or a model file.
    file : str
        A ``.csv``, ``.tsv`` or ``.parquet`` file, of which the columns that the model takes are read by their names; or
        another table or a store. Labels in it are not used.
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
    with _Table.opened(model_path, file, polarity) as table:
        # One pass over the networks gives both.
        (found,) = table.predictions(len(table.rows))
    return found


def preview_table(model_path: str, file: str, polarity: Polarity = "auto") -> tuple[TablePredictions, int]:
    """Return the predictions for the first rows of a table, and how many rows it has.

    Parameters and errors are those of :func:`predict_table`; a value in later rows that overflows is not seen.
    """
    with _Table.opened(model_path, file, polarity) as table:
        return next(table.predictions()), len(table.rows)


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
    first: list[TablePredictions] = []
    with _Table.opened(model_path, file, polarity) as table:

        def parts() -> Iterator[TablePredictions]:
            for part in _ahead(table.predictions()):
                first[:] = first or [part]
                yield part

        _write_parts(parts(), file, path, force=force)
    return first[0]


def predict_table_to_json(
    model_path: str, file: str, polarity: Polarity = "auto", path: Path | None = None, *, force: bool = False
) -> tuple[BinaryIO, tuple[str, ...]]:
    """Predict for every row of a table as JSON; only the predictions for some rows are in memory at a time.

    Parameters
    ----------
    model_path, file, polarity
        As for :func:`predict_table`.
    path : Path, optional
        The predictions are written there too, see :func:`write_predictions`.
    force : bool
        Replace an existing file.

    Returns
    -------
    content : BinaryIO
        The JSON of :meth:`TablePredictions.as_dict`, with `path` as "out" if it is given, in a line. Of many rows it is
        a temporary file, which the caller closes. Nothing of it is seen if there is an error in the last row.
    notes : tuple of str
        How the table was read.

    Raises
    ------
    FastnnError
        As :func:`predict_table` and :func:`write_predictions` do.
    """
    with _Table.opened(model_path, file, polarity) as table, contextlib.ExitStack() as stack:
        content = stack.enter_context(_json_file(len(table.rows)))
        parts = _written_as_json(_ahead(table.predictions()), content, path)
        if path is not None:
            _write_parts(parts, file, path, force=force)
        for _ in parts:
            pass
        content.seek(0)
        stack.pop_all()
    return content, table.notes


def _json_file(n_rows: int) -> BinaryIO:
    """Return a file without a name for the predictions of so many rows; in memory for few, or if it cannot be made."""
    if n_rows > ROWS_IN_PART:
        with contextlib.suppress(OSError):
            return unnamed_file()
    return io.BytesIO()


def _written_as_json(
    parts: Iterator[TablePredictions], file: BinaryIO, path: Path | None
) -> Iterator[TablePredictions]:
    """Yield predictions, which meanwhile are written to a file as json.dumps writes the dict of all of them."""
    separator = None
    try:
        for part in parts:
            if separator is None:
                file.write(f'{json.dumps(part.about())[:-1]}, "predictions": ['.encode())
                separator = ""
            items = part.items()
            while some := list(islice(items, _ROWS_IN_LISTS)):
                file.write((separator + json.dumps(some, allow_nan=False)[1:-1]).encode())
                separator = ", "
            yield part
        end = "" if path is None else f', "out": {json.dumps(str(path))}'
        file.write(f"]{end}}}\n".encode())
        file.flush()
    except OSError as error:
        raise cannot_write(cache_dir(), error, DataError) from None


def _ahead(parts: Iterator[T]) -> Iterator[T]:
    """Yield what an iterator does; the next one is made in a thread while the caller works on one."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, parts, None)
        while (part := coming.result()) is not None:
            coming = pool.submit(next, parts, None)
            yield part


@dataclass(frozen=True, eq=False)
class _Table:
    """The rows of a file as a model takes them.

    Attributes
    ----------
    model_path : str
    model : Model
    file : str
    rows : ndarray, MappedRows or SparseRows, shape (n, k)
    notes : tuple of str
    """

    model_path: str
    model: Model
    file: str
    rows: NDArray[Any] | SparseRows
    notes: tuple[str, ...]

    @classmethod
    @contextlib.contextmanager
    def opened(cls, model_path: str, file: str, polarity: Polarity) -> Iterator[_Table]:
        """Give the rows of a file; those of a large one are on the disk, until the context ends."""
        model, path = load_model(model_path), user_path(file)
        with contextlib.ExitStack() as stack:
            spool = None
            # A store is read in place. A missing file is reported where it is read.
            least = 0 if model.takes == "images" and file.lower().endswith(".parquet") else _LARGE_FILE
            if path.is_file() and path.stat().st_size >= least:
                try:
                    spool = stack.enter_context(scratch_folder())
                except OSError as error:
                    raise cannot_write(cache_dir(), error, DataError) from None
            try:
                rows, notes = _read_rows(model, model_path, file, polarity, spool)
            except OSError as error:
                raise cannot_write(cache_dir(), error, DataError) from None
            yield cls(model_path, model, file, rows, notes)

    def predictions(self, rows: int = 0) -> Iterator[TablePredictions]:
        """Yield the predictions for parts of at most so many rows."""
        model = self.model
        try:
            for _, outputs in model.outputs_in_parts(self.rows, rows):
                answers = outputs if model.task == "regression" else model.as_probabilities(outputs)
                values = decide(model.task, answers)
                yield TablePredictions(
                    self.file, model, values, None if model.task == "regression" else answers, self.notes
                )
        except ModelError as error:
            raise ModelError(f"{self.model_path}: {error}") from None
        except DataError as error:
            raise DataError(f"{self.file}: {error}") from None


def _read_rows(
    model: Model, model_path: str, file: str, polarity: Polarity, spool: Path | None
) -> tuple[NDArray[Any] | SparseRows, tuple[str, ...]]:
    """Return the rows of a file as a model takes them, and notes."""
    if model.takes == "images":
        return _read_image_rows(file, polarity, spool)
    if polarity != "auto":
        raise DataError(f"{file}: is a table of numbers for the model {model_path}; --polarity is for images, drop it")
    return _read_table(model, file, spool)


def _read_image_rows(file: str, polarity: Polarity, spool: Path | None) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Return the images of a table of pixels or an archive, 255 = paper, and notes."""
    from fastnn.datasets.csv_rows import read_pixel_rows
    from fastnn.datasets.loading import load_from

    path = user_path(file)
    if file.lower().endswith(TEXT_ENDINGS):
        return read_pixel_rows(path, polarity, spool)
    if file.lower().endswith(".parquet") and spool is not None:
        from fastnn.datasets.arrow_text import read_pixel_columns

        found = read_pixel_columns(path, polarity, spool)
        if found is not None:
            return found
    dataset = load_from(str(path), DEFAULT_OPTIONS, spool=spool)
    if not dataset.is_images:
        raise DataError(f"{file}: holds rows of numbers, but the model takes images of {SIDE}x{SIDE} pixels")
    if polarity != "auto":
        dataset = load_from(str(path), ReadOptions(polarity=polarity), spool=spool)
    return dataset.images, dataset.notes


def _read_table(model: Model, file: str, spool: Path | None) -> tuple[NDArray[Any] | SparseRows, tuple[str, ...]]:
    """Return the rows of a table as a model takes them, and notes."""
    from fastnn.datasets.loading import load_from
    from fastnn.datasets.table import read_rows

    path = user_path(file)
    if file.lower().endswith(TEXT_ENDINGS):
        return read_rows(path, model.columns, model.n_inputs, spool)
    if file.lower().endswith(".parquet") and model.columns and all(one.categories is None for one in model.columns):
        from fastnn.datasets.arrow_text import read_number_columns

        found = read_number_columns(path, [one.name for one in model.columns], spool)
        if found is not None:
            return found, ()
    dataset = load_from(str(path), DEFAULT_OPTIONS, spool=spool).widened(model.n_inputs)
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
