"""Targets that write: data sets, lists, pictures, reports and models with odd names and values."""

from __future__ import annotations

import dataclasses
import os
import shlex
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from fastnn.datasets import Column, Dataset, SparseRows, load_dataset
from fastnn.datasets.columns import total_width
from fastnn.errors import FastnnError
from tests.attacks import fuzz_mutate as mutate
from tests.attacks import fuzz_seeds as seeds
from tests.attacks.fuzz_bench import as_value, check_dataset, target, values

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tests.attacks.fuzz_bench import Bench

# ---- writers ----

_WRITTEN = [
    {"name": name, "classes": ["0", "1", "x"], "labels": [0, 1, 2], "source": "s", "test": False}
    for name in ("a.json", "a.csv", "a.npz", "a.json.gz", "a.csv.gz")
] + [
    {"name": name, "classes": ["0", "7"], "labels": [0, 1], "source": "s", "test": True}
    for name in ("x-images-idx3-ubyte", "folder")
]
_NAMES_OF_CLASSES = (
    "a,b",
    'a"b',
    " a ",
    "é",
    "=1",
    "[b]",
    "$x$",
    "007",
    "256",
    "²",
    "٣",
    "\u2028",
    "a\nb",
    "\ufeffa",
    "9223372036854775808",
)


@target(
    "dataset-writers",
    values(*_WRITTEN),
    mutate.json_value(*_NAMES_OF_CLASSES, "a.npz", "a.csv", "y-images-idx3-ubyte", "no/such/a.csv"),
    share=0.3,
)
def _writers(content: bytes, bench: Bench) -> None:
    """A data set with odd classes and a file with an odd name: what is written can be read, and is the same."""
    from fastnn.datasets.writers import write_dataset

    made = _odd_dataset(content)
    if made is None:
        return
    dataset, name = made
    folder = bench.new_folder("written")
    written, _ = write_dataset(dataset, folder / name)
    try:
        found = load_dataset(folder / name if (folder / name).is_dir() else written[0])
    except FastnnError as error:
        raise AssertionError("what was written cannot be read") from error
    check_dataset(found)
    assert (found.images == dataset.images).all()
    assert [found.classes[label] for label in found.labels] == [dataset.classes[label] for label in dataset.labels]


def _odd_dataset(content: bytes) -> tuple[Dataset, str] | None:
    """Return the data set that an input describes, and the name of a file; None if it describes none."""
    asked = as_value(content)
    try:
        os.fsencode(asked["name"])
        classes, labels, name = tuple(asked["classes"]), np.asarray(asked["labels"]), asked["name"]
        sound = all(isinstance(one, str) for one in (*classes, name, asked["source"])) and labels.dtype.kind == "i"
    except (ValueError, LookupError, TypeError, OverflowError):
        return None
    if not sound or labels.ndim != 1 or not 0 < len(labels) < 100 or ".." in name or name.startswith("/") or not name:
        return None
    images = seeds.images(len(labels))
    test = Dataset(images[:1], np.array([0]), classes, "test") if asked.get("test") else None
    return Dataset(images, labels.astype(np.int64), classes, asked["source"], test), name


_TABLES = [
    {"name": name, "columns": {"a": None, "b": ["x", "é"]}, "names": names, "targets": targets, "wide": 0}
    for name, names, targets in (
        ("a.csv", ["p", "q"], [0, 1]),
        ("a.tsv.gz", ["p"], [[0.5], [-1e300]]),
        ("a.npz", ["p", "q"], [[0.0, 1.0], [1.0, 1.0]]),
    )
] + [{"name": "a.csv", "columns": None, "names": ["10", "2"], "targets": [1, 0], "wide": 3}]


@target(
    "table-writers",
    values(*_TABLES),
    mutate.json_value(
        *_NAMES_OF_CLASSES, "target", "y", "1", "true", "a.npz", "a.csv", "a.json", "b-images-idx3-ubyte"
    ),
    share=0.5,
)
def _table_writers(content: bytes, bench: Bench) -> None:
    """A table with odd names and values: what is written can be read as the note says, and is the same."""
    from fastnn.datasets.writers import write_dataset

    made = _odd_table(content)
    if made is None:
        return
    dataset, name = made
    folder = bench.new_folder("written")
    written, notes = write_dataset(dataset, folder / name)
    options = next((shlex.split(note) for note in notes if note.startswith("read it back")), [])
    given: dict[str, Any] = {"task": options[-1], "target": options[5:-2:2]} if options else {}
    try:
        found = load_dataset(written[0], **given)
    except FastnnError as error:
        raise AssertionError("what was written cannot be read") from error
    check_dataset(found)
    if not any(note.startswith("the categories") for note in notes):
        assert (_dense(dataset.features) == _dense(found.features)).all()
    if dataset.task == "classification":
        assert [found.names[k] for k in found.labels] == [dataset.names[k] for k in dataset.labels]
    else:
        assert (found.targets == dataset.targets).all()
        assert found.names == dataset.names


def _dense(features: NDArray[Any] | SparseRows) -> NDArray[Any]:
    return features.toarray() if isinstance(features, SparseRows) else features


def _odd_table(content: bytes) -> tuple[Dataset, str] | None:
    """Return the table that an input describes, and the name of a file; None if it describes none."""
    asked = as_value(content)
    try:
        os.fsencode(asked["name"])
        name, names, targets = asked["name"], tuple(asked["names"]), np.asarray(asked["targets"])
        columns = None
        if asked["columns"] is not None:
            columns = tuple(
                Column(str(key), None if texts is None else tuple(map(str, texts)))
                for key, texts in asked["columns"].items()
            )
        width = int(asked["wide"]) if columns is None else total_width(columns)
    except (ValueError, LookupError, TypeError, OverflowError, AttributeError):
        return None
    sound = all(isinstance(one, str) for one in (*names, name)) and targets.dtype.kind in "if" and 0 < width < 100
    if (
        not sound
        or targets.ndim not in (1, 2)
        or not 0 < len(targets) < 100
        or ".." in name
        or name.startswith("/")
        or not name
    ):
        return None
    rows = np.zeros((len(targets), width))
    start = 0
    for column in columns or ():
        # A number, or one category after the other.
        if column.width:
            positions = start + np.arange(len(rows)) % column.width
            rows[np.arange(len(rows)), positions] = 1.0 if column.categories is not None else 0.5
        start += column.width
    if targets.ndim == 2 and np.isin(targets, (0, 1)).all():
        targets = targets.astype(np.uint8)
    elif targets.ndim == 2 or targets.dtype.kind == "f":
        targets = targets.astype(np.float64).reshape(len(targets), -1)
    else:
        targets = targets.astype(np.int64)
    features = rows if columns is None or all(column.categories is None for column in columns) else _sparse(rows)
    return Dataset(features, targets, names, "s", columns=columns), name


def _sparse(rows: NDArray[Any]) -> SparseRows:
    n, k = rows.shape
    return SparseRows(rows.ravel(), np.tile(np.arange(k), n), np.arange(n + 1) * k, k)


@target("issue-writers", values(*_WRITTEN[:2]), mutate.json_value(*_NAMES_OF_CLASSES), share=0.02)
def _issue_writers(content: bytes, bench: Bench) -> None:
    """Lists and sheets of issues, and mosaics, of a data set with odd classes."""
    from fastnn.images.mosaic import mosaic, save_png
    from fastnn.label_issues import Issue, apply_issues, draw_issues, write_issues

    made = _odd_dataset(content)
    if made is None:
        return
    dataset, name = made
    names = [dataset.classes[label] for label in dataset.labels]
    issues = tuple(Issue(k, one, one, 0.5, "wrong label", one) for k, one in enumerate(names))
    write_issues(issues, bench.folder / "issues.csv")
    cleaned, relabelled, left_out = apply_issues(dataset, bench.folder / "issues.csv")
    assert (cleaned.content_hash, relabelled, left_out) == (dataset.content_hash, 0, 0)
    draw_issues(dataset, issues, bench.folder / "issues.png")
    save_png(mosaic(dataset, klass=name if name in names else None), bench.folder / "mosaic.png", force=True)


@target("report", values(*_WRITTEN[:2]), mutate.json_value(*_NAMES_OF_CLASSES), share=0.0001)
def _report(content: bytes, bench: Bench) -> None:
    """A report on a data set with odd classes."""
    from fastnn.model import Model
    from fastnn.report import write_report

    made = _odd_dataset(content)
    if made is not None:
        dataset, name = made
        network = seeds.model(784, 3, len(dataset.classes)).network
        page = write_report(Model((network,), dataset.classes), dataset, bench.folder / "report", name=name, force=True)
        assert "<script" not in page.read_text()


def _cards() -> list[bytes]:
    return [msgspec.json.encode(seeds.card())]


@target("model-writers", _cards, mutate.json_value("recipe", "data", "metrics", "nan"))
def _model_writers(content: bytes, bench: Bench) -> None:
    """Cards with any values: refused, or written so that they can be read."""
    from fastnn.formats import read_model, save_model
    from fastnn.model import ModelCard

    fields = as_value(content)
    if not isinstance(fields, dict) or not fields.keys() <= set(ModelCard.__struct_fields__):
        return
    model = dataclasses.replace(bench.once("model", seeds.model), card=ModelCard(**fields))
    path = bench.folder / "m.safetensors"
    save_model(model, path)
    found = read_model(path).card
    assert msgspec.to_builtins(found) == msgspec.to_builtins(
        msgspec.convert(msgspec.to_builtins(model.card), ModelCard)
    )
