"""Targets that write: data sets, lists, pictures, reports and models with odd names and values."""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from fastnn.datasets import Dataset, load_dataset
from fastnn.errors import FastnnError
from tests.attacks import fuzz_mutate as mutate
from tests.attacks import fuzz_seeds as seeds
from tests.attacks.fuzz_bench import as_value, check_dataset, target, values

if TYPE_CHECKING:
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
