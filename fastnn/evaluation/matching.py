"""Matching a data set with a model by names: its columns, and its classes, labels or targets."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn.datasets.sparse import SparseRows
from fastnn.errors import DataError, ModelError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastnn.datasets.columns import Column
    from fastnn.datasets.dataset import Dataset
    from fastnn.model import Model

_SHOWN = 20
"""Most names in a message."""


def match_dataset(dataset: Dataset, model: Model) -> Dataset:
    """Return a data set with the columns and the names of a model, in the model's order.

    Columns that the model does not take are left out, and texts that are not among a column's categories become no
    category; notes say so.

    Parameters
    ----------
    dataset : Dataset
    model : Model

    Returns
    -------
    Dataset
        Without test set.

    Raises
    ------
    DataError
        If the task is another, or the data set lacks a column, label or target of the model, or has a class that the
        model does not know.
    ModelError
        If the model takes images of another size.
    """
    if dataset.task != model.task:
        raise DataError(
            f"{dataset.source}: its task is {dataset.task}, but the model's is {model.task}; choose the model's target "
            "and task, for a file with --target and --task"
        )
    if dataset.is_images != (model.takes == "images"):
        holds, takes = ("images", "rows of a table") if dataset.is_images else ("a table", "images")
        raise DataError(f"{dataset.source}: holds {holds}, but the model takes {takes}")
    targets = dataset.targets if model.names == dataset.names else _match_targets(dataset, model)
    dataset = dataset.widened(model.n_inputs)
    if model.columns is None or dataset.columns is None or model.columns == dataset.columns:
        if dataset.n_inputs != model.n_inputs:
            if dataset.is_images:
                raise ModelError(f"the model takes {model.n_inputs} values, but an image has {dataset.n_inputs}")
            raise DataError(
                f"{dataset.source}: a row has {dataset.n_inputs:,} numbers, but the model takes {model.n_inputs:,}"
            )
        if dataset.test is None and dataset.names == model.names:
            return dataset
        return replace(dataset, targets=targets, names=model.names, test=None)
    features, notes = _match_features(dataset, dataset.columns, model.columns)
    return replace(
        dataset,
        features=features,
        targets=targets,
        names=model.names,
        test=None,
        notes=(*dataset.notes, *notes),
        columns=model.columns,
    )


def match_labels(dataset: Dataset, classes: tuple[str, ...]) -> NDArray[np.int64]:
    """Return the labels of a data set as indices into other class names, int64 (n,).

    Raises
    ------
    DataError
        If a class that occurs in the data set is not among `classes`.
    """
    if dataset.names == classes:
        return dataset.labels
    index_of = {name: index for index, name in enumerate(classes)}
    unknown = [name for name, n in zip(dataset.names, dataset.counts, strict=True) if n and name not in index_of]
    if unknown:
        raise DataError(f"{dataset.source}: the model does not know the class {unknown[0]!r}; it knows {_few(classes)}")
    table = np.asarray([index_of.get(name, -1) for name in dataset.names], dtype=np.int64)
    return np.asarray(table[dataset.labels], dtype=np.int64)


def _match_targets(dataset: Dataset, model: Model) -> NDArray[Any]:
    """Return the targets in the order of the model's names."""
    if model.task == "classification":
        return match_labels(dataset, model.names)
    place = {name: index for index, name in enumerate(dataset.names)}
    missing = [name for name in model.names if name not in place]
    if missing:
        raise DataError(
            f"{dataset.source}: has no target {missing[0]!r}, which the model predicts; its targets are "
            f"{_few(dataset.names)}"
        )
    return np.ascontiguousarray(dataset.targets[:, [place[name] for name in model.names]])


def _match_features(
    dataset: Dataset, columns: tuple[Column, ...], wanted: tuple[Column, ...]
) -> tuple[NDArray[Any] | SparseRows, tuple[str, ...]]:
    """Return the features in the order of the columns of a model, and notes on what was left out."""
    starts = np.concatenate([[0], np.cumsum([column.width for column in columns])]).astype(np.int64).tolist()
    place = {column.name: index for index, column in enumerate(columns)}
    missing = [column.name for column in wanted if column.name not in place]
    if missing:
        raise DataError(
            f"{dataset.source}: has no column {missing[0]!r}, which the model takes; it has {_few(tuple(place))}"
        )
    # The input of the model that each input of the data set becomes; -1 for none.
    becomes = np.full(dataset.n_inputs, -1, dtype=np.int64)
    notes, n_inputs = [], 0
    for column in wanted:
        own = columns[place[column.name]]
        start = starts[place[column.name]]
        if (own.categories is None) != (column.categories is None):
            holds, takes = ("numbers", "texts") if own.categories is None else ("texts", "numbers")
            raise DataError(f"{dataset.source}: column {own.name!r} holds {holds}, but the model takes {takes} there")
        if own.categories is None or column.categories is None:
            becomes[start] = n_inputs
        else:
            index_of = {text: n_inputs + index for index, text in enumerate(column.categories)}
            becomes[start : start + own.width] = [index_of.get(text, -1) for text in own.categories]
            unknown = [text for text in own.categories if text not in index_of]
            if unknown:
                notes.append(
                    f"{dataset.source}: rows have no category in column {own.name!r} where they hold a text that the "
                    f"model does not know: {_few(tuple(unknown))}"
                )
        n_inputs += column.width
    names = {column.name for column in wanted}
    extra = tuple(column.name for column in columns if column.name not in names)
    if extra:
        notes.append(f"{dataset.source}: columns that the model does not take are left out: {_few(extra)}")
    features = _rearrange(dataset.features, becomes, n_inputs)
    if isinstance(features, SparseRows) and all(column.categories is None for column in wanted):
        # As a table of numbers is read: only columns that are left out were categories.
        features = features.toarray()
    return features, tuple(notes)


def _rearrange(
    features: NDArray[Any] | SparseRows, becomes: NDArray[np.int64], n_inputs: int
) -> NDArray[Any] | SparseRows:
    """Return features with input k moved to `becomes[k]`, and left out where that is -1."""
    if not isinstance(features, SparseRows):
        features = np.asarray(features)
        moved = np.zeros((len(features), n_inputs), dtype=features.dtype)
        kept = becomes >= 0
        moved[:, becomes[kept]] = features[:, kept]
        return moved
    indices = becomes[features.indices]
    kept = indices >= 0
    starts = np.concatenate([[0], np.cumsum(kept)]).astype(np.int64)[features.row_starts]
    return SparseRows(features.values[kept], indices[kept].astype(np.int32), starts, n_inputs)


def _few(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:_SHOWN])}{', ...' if len(names) > _SHOWN else ''}"
