"""Columns of Parquet and Arrow files: which hold images, and which the labels."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastnn.datasets.array_names import role_of
from fastnn.datasets.arrow_library import pyarrow
from fastnn.datasets.arrow_types import is_number, is_text
from fastnn.datasets.label_arrays import text_array
from fastnn.datasets.labels import SharedTexts
from fastnn.datasets.pixel_label import label_among, marked
from fastnn.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from fastnn.datasets.array_names import Part
    from fastnn.datasets.arrow_tables import ArrowTable

SHOWN = 12
"""Most columns that a message names."""
_ONE_HOT = "columns of 0 and 1"


class Column(NamedTuple):
    """What is known of a column: its name, type, and names of its classes."""

    name: str
    type: Any
    classes: tuple[str, ...] | None
    made_of: tuple[str, ...] = ()
    """The columns that a one-hot label is made of."""


def columns_of(schema: Any) -> list[Column]:
    """Return the columns of a table; the names of classes are those that Hugging Face writes."""
    features: Any = {}
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
    except (ValueError, KeyError, TypeError, RecursionError):
        features = {}
    found = []
    for field in schema:
        feature = features.get(field.name) if isinstance(features, dict) else None
        names = feature.get("names") if isinstance(feature, dict) else None
        if not (isinstance(names, list) and names and all(isinstance(name, str) for name in names)):
            names = None
        found.append(Column(field.name, field.type, None if names is None else tuple(names)))
    return found


def image_column(found: list[Column], source: str, columns: list[Column]) -> Column:
    """Return the column of images among several that may be it; DataError if that is not clear."""
    if len(found) > 1:
        named = [one for one in found if (role := role_of(one.name)) and role.kind == "images"]
        found = named or found
    if len(found) > 1:
        raise DataError(f"{source}: it is not clear which column holds the images; it has {listed(columns)}")
    return found[0]


class Labels(NamedTuple):
    """The column of labels, and its values in each part."""

    column: Column
    values: dict[Part, Any]


def find_labels(
    tables: dict[Part, ArrowTable], found: list[Column], source: str, columns: list[Column], target: Sequence[str]
) -> Labels:
    """Return the labels among columns, which are found as in a CSV file; one column is made of a one-hot label.

    Parameters
    ----------
    tables : dict
    found : list of Column
        Those that are not images.
    source : str
    columns : list of Column
        All of them, for messages.
    target : sequence of str
        The column, if it is known.

    Raises
    ------
    DataError
        If that is not clear.
    """
    pa = pyarrow(source)
    if target:
        named = [one for one in found if one.name in target]
        if len(target) == len(named) == 1:
            return Labels(named[0], {part: table.columns([named[0].name]).column(0) for part, table in tables.items()})
        raise _unclear(source, columns)
    able = [
        one for one in found if is_number(one.type, pa) or is_text(one.type, pa) or pa.types.is_dictionary(one.type)
    ]
    values = {part: table.columns([one.name for one in able]) for part, table in tables.items()} if able else {}
    texts = {k: _texts(table.column(k) for table in values.values()) for k in range(len(able))}
    label = label_among({k: one.name for k, one in enumerate(able)}, texts, source)
    if not label.positions:
        raise _unclear(source, columns)
    if len(label.positions) == 1:
        (position,) = label.positions
        return Labels(able[position], {part: table.column(position) for part, table in values.items()})
    rows = list(zip(*(texts[k] for k in label.positions), strict=True))
    marks = [marked(row) for row in rows]
    if None in marks:
        raise DataError(
            f"{source}: row {marks.index(None)} (from 0): one of the {len(label.positions)} columns of the label must "
            "be 1 and the others 0; choose another label with --target"
        )
    names = [label.classes[mark] for mark in marks if mark is not None]
    start, joined = 0, {}
    for part, table in values.items():
        joined[part] = pa.chunked_array([pa.array(names[start : start + table.num_rows], pa.string())])
        start += table.num_rows
    made_of = tuple(able[k].name for k in label.positions)
    return Labels(Column(_ONE_HOT, pa.string(), None, made_of), joined)


def _texts(columns: Iterable[Any]) -> list[str]:
    """Return the cells of columns as texts."""
    shared = SharedTexts()
    chunks = (chunk for column in columns for chunk in column.chunks)
    return [shared.of(str(cell)) for chunk in chunks for cell in chunk.to_pylist()]


def _unclear(source: str, columns: list[Column]) -> DataError:
    return DataError(
        f"{source}: it is not clear which column holds the labels; choose one with --target: {listed(columns)}"
    )


def listed(columns: list[Column]) -> str:
    """Return the names and types of columns as a message shows them."""
    more = f" and {len(columns) - SHOWN:,} more" if len(columns) > SHOWN else ""
    return ", ".join(f"{one.name[:40]} ({str(one.type)[:40]})" for one in columns[:SHOWN]) + more


def label_values(column: Any, label: Column, source: str, first: int = 0) -> NDArray[Any]:
    """Return the labels in a column: integers, floats or texts; the names of classes if it has them.

    Parameters
    ----------
    column : ChunkedArray
    label : Column
    source : str
    first : int
        The row of the file that the column begins with.

    Raises
    ------
    DataError
        If a value is missing, or none of a label.
    """
    pa = pyarrow(source)
    if column.null_count:
        row = next(k for k, value in enumerate(column) if not value.is_valid)
        raise DataError(
            f"{source}: column {label.name[:40]!r} has no label in row {first + row} (from 0); leave the row out"
        )
    if is_number(label.type, pa):
        values: NDArray[Any] = np.asarray(column.to_numpy())
        if label.classes is not None and values.dtype.kind in "iu" and len(values):
            if values.min() < 0 or values.max() >= len(label.classes):
                raise DataError(f"{source}: a label is no index into the {len(label.classes):,} names of classes")
            return text_array([label.classes[value] for value in values.tolist()], source)
        return values
    try:
        plain = column.cast(label.type.value_type) if pa.types.is_dictionary(label.type) else column
        texts = _texts([plain.cast(pa.string())])
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise DataError(f"{source}: column {label.name[:40]!r} of {label.type} cannot hold labels") from None
    return text_array(texts, source)
