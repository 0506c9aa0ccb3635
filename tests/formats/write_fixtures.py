"""Write a file of each format that this version of fastnn writes: ``python -m tests.formats.write_fixtures NUMBER``.

Run it once for a release that changes a format, with the next number: later versions must read what this one wrote.
``test_file_formats.py`` reads the files of every number.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse

import fastnn
from fastnn.datasets import Column, Dataset, ReadOptions, SparseRows
from fastnn.datasets.database import import_dataset
from fastnn.datasets.drawn import drawn
from fastnn.datasets.writers import write_dataset
from fastnn.model import Model, ModelCard
from fastnn.network import Network
from fastnn.recipe import Recipe, presets
from fastnn.session import Session

FOLDER = Path(__file__).parents[1] / "fixtures"
EPOCHS = 4
RUNS = {
    "finished": Recipe(hidden=(2,), epochs=2, dtype="float64", seed=3),
    "interrupted": presets["modern"].replace(
        hidden=(2,), epochs=EPOCHS, ensemble=1, averaging="ema", validation_fraction=0.2
    ),
    "ensemble": presets["mnist"].replace(hidden=(2,), epochs=EPOCHS, ensemble=2),
}
MODELS = {
    "original-float64": Network((784, 2, 3), dtype="float64"),
    "relu-float32": Network((784, 2, 3), rule="backprop", activation="relu"),
}
TABLE_RUN = presets["table"].replace(hidden=(2,), epochs=EPOCHS, seed=3)
TABLES = ("numbers.csv", "numbers.npz", "sparse.npz")
DATA = ("digits.json.gz", "digits.csv.gz", "digits.npz", "digits-images-idx3-ubyte")
RECIPE = presets["best"].replace(class_weight=(1.0,) * 9 + (0.5,), per_class=100, patience=None)


def images() -> np.ndarray:
    """Return five fixed patterns that do not depend on a random number generator."""
    pixel = np.arange(784)
    return np.stack([((pixel * (7 + k) + pixel // 28 * 13 * k) % 256).astype(np.uint8) for k in range(5)])


def rows() -> np.ndarray:
    """Return twenty fixed rows of three numbers, some of them 0."""
    place = np.arange(60, dtype=np.float64).reshape(20, 3)
    return np.where(place % 4 == 1, 0.0, np.round(place * 7 % 11 - place / 8, 3))


def table(name: str) -> Dataset:
    """Return what is written to a file of a table: a regression of numbers, or classes of sparse rows."""
    values = rows()
    if name.startswith("sparse"):
        features = SparseRows.from_scipy(scipy.sparse.csr_array(values))
        return Dataset(features, np.arange(20) % 2, ("0", "1"), name)
    columns = tuple(Column(each) for each in ("height", "width", "depth"))
    targets = np.stack([values.sum(axis=1), values[:, 0] * values[:, 1]], axis=1)
    return Dataset(values, targets, ("sum", "product"), name, columns=columns, options=ReadOptions(("sum", "product")))


def read_model(path: Path) -> dict[str, Any]:
    """Return what later versions must find in a model file or a run folder."""
    model = fastnn.load_model(path)
    found = {"sha256": model.sha256(), "classes": list(model.names)}
    if model.takes == "rows":
        return {**found, "task": model.task, "outputs": model.outputs(rows()).tolist()}
    return {**found, "probabilities": model.predict_proba(images()).tolist()}


def write(number: str) -> None:
    """Write all files, and ``expected-NUMBER.json`` with what they hold."""
    models, runs = {}, {}
    for name, network in MODELS.items():
        path = FOLDER / f"model-{number}-{name}.safetensors"
        card = ModelCard(version=fastnn.__version__)
        fastnn.save_model(Model((network.initialise("he", 5),), ("ant", "bee", "cat"), card=card), path)
        models[path.name] = read_model(path)
    for name, recipe in RUNS.items():
        path = FOLDER / f"run-{number}-{name}"
        session = Session("drawn:60", recipe, path, threads=1)
        for report in session:
            if report.epoch == 2:
                session.stop()
        resumed = fastnn.fit("drawn:60", recipe.with_epochs(EPOCHS), progress=False).sha256()
        runs[path.name] = {**read_model(path), "epochs": session.epochs, "resumed": resumed}

    data = FOLDER / f"data-{number}"
    data.mkdir()
    for name in DATA:
        write_dataset(drawn(6), data / name)
    for name in TABLES:
        write_dataset(table(name), data / name)
    path = FOLDER / f"run-{number}-table"
    whole = Session(table("numbers.npz"), TABLE_RUN, path)
    for report in whole:
        if report.epoch == 2:
            whole.stop()
    resumed = fastnn.fit(table("numbers.npz"), TABLE_RUN, progress=False).sha256()
    tables = {
        "run": {**read_model(path), "epochs": whole.epochs, "resumed": resumed},
        "data": {name: table(name).content_hash for name in TABLES},
    }
    with tempfile.TemporaryDirectory() as folder:
        import_dataset(drawn(6), f"sqlite:///{folder}/digits.db", contributor="A visitor")
        import_dataset(drawn(2, seed=1), f"sqlite:///{folder}/digits.db", review=True)
        with contextlib.closing(sqlite3.connect(f"{folder}/digits.db")) as database:
            (data / "digits.sql").write_text("\n".join(database.iterdump()) + "\n", encoding="utf-8")
    (FOLDER / f"recipe-{number}.toml").write_text(RECIPE.to_toml(), encoding="utf-8")

    expected = {
        "models": models,
        "runs": runs,
        "tables": tables,
        "data": drawn(6).content_hash,
        "recipe": RECIPE.as_dict(),
    }
    (FOLDER / f"expected-{number}.json").write_text(json.dumps(expected, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write(sys.argv[1])
