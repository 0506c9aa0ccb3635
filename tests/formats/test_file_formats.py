"""This version reads every file that an earlier version wrote, of each format; see ``write_fixtures.py``.

Model files and run folders of the first edition are in ``test_old_files.py``.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastnn
from fastnn.datasets.database import read_database
from fastnn.recipe import Recipe, load_recipe
from fastnn.runs import read_history
from fastnn.session import Session
from fastnn.web.store import Store
from tests.formats.write_fixtures import DATA, EPOCHS, FOLDER, MODELS, RUNS, TABLES, read_model, table

NUMBERS = sorted((path.stem.removeprefix("expected-") for path in FOLDER.glob("expected-*.json")), key=int)
EXPECTED: dict[str, Any] = {
    number: json.loads((FOLDER / f"expected-{number}.json").read_text(encoding="utf-8")) for number in NUMBERS
}


def test_there_are_files_of_each_format() -> None:
    newest = NUMBERS[-1]
    assert set(EXPECTED[newest]["models"]) == {f"model-{newest}-{name}.safetensors" for name in MODELS}
    assert set(EXPECTED[newest]["runs"]) == {f"run-{newest}-{name}" for name in RUNS}


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for each in EXPECTED.values() for kind in ("models", "runs") for name in each[kind]]
)
def test_models_have_the_same_weights_and_predict_the_same(kind: str, name: str) -> None:
    expected = next(each[kind][name] for each in EXPECTED.values() if name in each[kind])
    found = read_model(FOLDER / name)
    assert (found["sha256"], found["classes"]) == (expected["sha256"], expected["classes"])
    np.testing.assert_allclose(found["probabilities"], expected["probabilities"], rtol=1e-5)


@pytest.mark.parametrize("name", [name for each in EXPECTED.values() for name in each["runs"]])
def test_runs_resume_to_the_same_bits(name: str, tmp_path: Path) -> None:
    expected = next(each["runs"][name] for each in EXPECTED.values() if name in each["runs"])
    folder = Path(shutil.copytree(FOLDER / name, tmp_path / name))
    assert len(read_history(folder / "history.csv")) == expected["epochs"]
    session = Session.resume(folder, epochs=EPOCHS)
    assert session.epochs == expected["epochs"]
    list(session)
    assert fastnn.load_model(folder).sha256() == session.model.sha256() == expected["resumed"]


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("name", DATA)
def test_data_have_the_same_content(number: str, name: str) -> None:
    assert fastnn.load_dataset(FOLDER / f"data-{number}" / name).content_hash == EXPECTED[number]["data"]


@pytest.mark.parametrize("number", NUMBERS)
def test_a_database_has_the_same_digits_and_can_be_served(number: str, tmp_path: Path) -> None:
    dump = (FOLDER / f"data-{number}" / "digits.sql").read_text(encoding="utf-8")
    with contextlib.closing(sqlite3.connect(tmp_path / "digits.db")) as database:
        database.executescript(dump)
    url = f"sqlite:///{tmp_path / 'digits.db'}"
    assert read_database(url).content_hash == EXPECTED[number]["data"]
    with contextlib.closing(Store(url)) as store:
        assert store.states() == {"accepted": 6, "pending": 2, "rejected": 0}
        assert store.credits(5) == [{"name": "A visitor", "digits": 6}]
        (first, second) = store.desk.queue(5)
        store.desk.review(first["id"], "accept", 3, "me")
        store.desk.review(second["id"], "reject", None, "me")
        assert store.states() == {"accepted": 7, "pending": 0, "rejected": 1}


@pytest.mark.parametrize("number", NUMBERS)
def test_a_recipe_has_the_same_values(number: str) -> None:
    assert load_recipe(FOLDER / f"recipe-{number}.toml") == Recipe.from_dict(EXPECTED[number]["recipe"])


WITH_TABLES = [number for number in NUMBERS if "tables" in EXPECTED[number]]


@pytest.mark.parametrize("number", WITH_TABLES)
def test_a_run_on_a_table_resumes_to_the_same_bits(number: str, tmp_path: Path) -> None:
    expected = EXPECTED[number]["tables"]["run"]
    folder = Path(shutil.copytree(FOLDER / f"run-{number}-table", tmp_path / "run"))
    found = read_model(folder)
    assert {key: found[key] for key in ("sha256", "classes", "task")} == {
        key: expected[key] for key in ("sha256", "classes", "task")
    }
    np.testing.assert_allclose(found["outputs"], expected["outputs"], rtol=1e-5)
    session = Session.resume(folder, dataset=table("numbers.npz"))
    assert session.epochs == expected["epochs"]
    list(session)
    assert session.model.sha256() == expected["resumed"]


@pytest.mark.parametrize("number", WITH_TABLES)
@pytest.mark.parametrize("name", TABLES)
def test_tables_have_the_same_content(number: str, name: str) -> None:
    target = ("sum", "product") if name == "numbers.csv" else None
    data = fastnn.load_dataset(FOLDER / f"data-{number}" / name, target=target)
    assert data.content_hash == EXPECTED[number]["tables"]["data"][name]
