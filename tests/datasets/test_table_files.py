"""Tables in .npz and SVMlight files, and what is written: read back the same, or refused."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse

from fastnn.datasets import Column, Dataset, SparseRows, load_dataset, safe_read
from fastnn.datasets.writers import write_dataset
from fastnn.errors import DataError

ROWS = np.array([[1.0, 0.1 + 0.2], [-1e300, 5e-324], [3.0, 0.0]])
SPARSE = SparseRows(np.array([1.5, 1.0, 1.0, -2.0, 1.0]), np.array([0, 2, 1, 0, 1]), np.array([0, 2, 3, 5]), 3)
COLUMNS = (Column("a, b"), Column('c"d', ("red", "é")))
TARGETS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "classification": (np.array([1, 0, 1]), ("no", "yes, it is")),
    "multilabel": (np.array([[1, 0], [0, 0], [1, 1]], dtype=np.uint8), ("p", "q")),
    "regression": (np.array([[1.0], [2.0], [1.0]]), ("price in €",)),
}


def table(task: str, features: Any = ROWS, columns: tuple[Column, ...] | None = None, **more: Any) -> Dataset:
    targets, names = TARGETS[task]
    return Dataset(features, targets, names, "a sample", columns=columns, **more)


TABLES = [
    *(table(task) for task in TARGETS),
    *(table(task, SPARSE, COLUMNS) for task in TARGETS),
    table("regression", ROWS.clip(-1e30).astype(np.float32), (Column("a"), Column("b"))),
]


def same(left: Dataset, right: Dataset) -> bool:
    return left.content_hash == right.content_hash and left.columns == right.columns and left.names == right.names


@pytest.mark.parametrize("data", TABLES, ids=range(len(TABLES)))
def test_npz_keeps_everything(data: Dataset) -> None:
    whole = table("classification", ROWS, test=table("classification", ROWS[::-1].copy()))
    for each in (data, whole):
        assert write_dataset(each, Path("a.npz"), force=True) == ([Path("a.npz")], [])
        found = load_dataset("a.npz")
        assert same(found, each)
        assert found.features.dtype == each.features.dtype
        assert found.notes == ()
    assert found.test is not None
    assert same(found.test, table("classification", ROWS[::-1].copy()))


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.tsv"])
@pytest.mark.parametrize("data", TABLES[:6], ids=range(6))
def test_text_is_read_back_as_the_note_says(name: str, data: Dataset) -> None:
    _, notes = write_dataset(data, Path(name))
    targets = ("target",) if data.task == "classification" else data.names
    assert f"--target {targets[0]}".split()[0] in notes[0]
    assert f"--task {data.task}" in notes[0]
    found = load_dataset(name, target=targets, task=data.task)
    assert found.task == data.task
    assert found.names == data.names
    assert (found.targets == data.targets).all()
    left, right = (each.features for each in (data, found))
    if isinstance(left, SparseRows):
        assert "categories" not in " ".join(notes)
        assert isinstance(right, SparseRows)
        assert found.columns == data.columns
        left, right = left.toarray(), right.toarray()
    assert (left == right).all()


def test_text_cannot_hold_everything() -> None:
    columns = (Column("a"), Column("c", ("red", "blue", "green")))
    rows = np.array([[1.0, 1, 0, 0], [2.0, 0, 1, 0]])
    targets, names = np.array([0, 0]), ("z", "10", "9")
    data = Dataset(rows, targets, names, "s", Dataset(rows, targets, names, "t", columns=columns), (), columns)
    _, notes = write_dataset(data, Path("a.csv"))
    assert [note.split(" ")[:3] for note in notes] == [
        ["the", "2", "rows"],
        ["read", "it", "back"],
        ["the", "categories", "of"],
        ["the", "classes", "will"],
    ]
    found = load_dataset("a.csv", target="target", task="classification")
    assert found.names == ("z",)


def test_the_target_gets_a_name_of_its_own() -> None:
    data = table("classification", ROWS, (Column("Target"), Column("label")))
    _, notes = write_dataset(data, Path("a.csv"))
    assert "--target class " in notes[0]
    assert same(load_dataset("a.csv", target="class"), data)


@pytest.mark.parametrize(
    ("data", "name", "words"),
    [
        (table("regression"), "a.json", "no format for a table; known are .csv, .csv.gz, .tsv, .tsv.gz and .npz"),
        (table("regression"), "x-images-idx3-ubyte", "no format for a table"),
        (table("regression"), "folder", "no format for a table"),
        (table("regression", ROWS, (Column("1"), Column("b"))), "a.csv", "name '1' would be read back as a number"),
        (table("regression", ROWS, (Column("b "), Column("b"))), "a.csv", "the blanks around 'b ' would be lost"),
        (table("multilabel", ROWS, (Column("p"), Column("b"))), "a.csv", "a column is named twice"),
        (
            table("regression", SPARSE, (Column("a"), Column("c", ("1", "x")))),
            "a.csv",
            "category '1' of column 'c' would be read back as a number",
        ),
        (
            table("regression", np.array([[1, 1, 1], [1, 1, 0], [1, 0, 1.0]]), COLUMNS),
            "a.csv",
            "a row has not exactly one category",
        ),
    ],
)
def test_what_would_not_be_read_back_is_not_written(data: Dataset, name: str, words: str) -> None:
    with pytest.raises(DataError) as caught:
        write_dataset(data, Path(name))
    assert words in str(caught.value)
    assert not Path(name).exists()


def test_a_table_that_compresses_well_is_read_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safe_read, "ALWAYS_ALLOWED", 1 << 16)
    monkeypatch.setattr("fastnn.datasets.npz.ALWAYS_ALLOWED", 1 << 16)
    data = Dataset(np.zeros((1000, 50)), np.zeros(1000, dtype=np.int64), ("x",), "s")
    write_dataset(data, Path("a.npz"))
    assert same(load_dataset("a.npz"), data)


def npz(**arrays: Any) -> str:
    np.savez("a.npz", **arrays)
    return "a.npz"


def test_arrays_as_people_save_them() -> None:
    data = load_dataset(npz(features=np.arange(6).reshape(3, 2), targets=["b", "a", "b"]))
    assert (data.task, data.names, data.targets.tolist()) == ("classification", ("a", "b"), [1, 0, 1])
    assert data.features.dtype == np.float64
    assert load_dataset(npz(features=ROWS, targets=np.array([0.5, 1, 2]))).names == ("target",)
    assert load_dataset(npz(features=np.ones((3, 2), ">f4"), targets=[3, 4, 3])).features.dtype == np.dtype(np.float32)
    data = load_dataset(npz(features=ROWS, targets=[[1, 0], [0, 1], [1, 1]], names=["p", "q"]))
    assert (data.task, data.names) == ("multilabel", ("p", "q"))
    assert load_dataset("a.npz", task="regression").task == "regression"
    data = load_dataset(npz(features=ROWS, targets=[2, 0, 2], names=["p", "q", "r"], columns=["a", "b"]))
    assert (data.names, data.targets.tolist(), data.columns) == (("p", "q", "r"), [2, 0, 2], (Column("a"), Column("b")))
    assert load_dataset(npz(features=ROWS, targets=np.array([True, False, True]))).names == ("0", "1")


def test_scipy_writes_and_reads_the_same_files() -> None:
    matrix = scipy.sparse.random_array((5, 9), density=0.4, random_state=0, format="csr")
    scipy.sparse.save_npz("m.npz", matrix)
    with np.load("m.npz") as saved:
        np.savez("b.npz", targets=np.arange(5) * 0.5, **saved)
    data = load_dataset("b.npz")
    assert isinstance(data.features, SparseRows)
    assert (data.features.toarray() == matrix.toarray()).all()
    write_dataset(data, Path("c.npz"))
    assert (scipy.sparse.load_npz("c.npz") != matrix).nnz == 0


CSR = {"data": [1.0], "indices": [1], "indptr": [0, 1], "shape": [1, 2], "targets": ["x"]}


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"features": ROWS}, "no array `targets`"),
        ({"targets": [1]}, "no array `features`"),
        ({"features": ROWS[0], "targets": [1]}, "shape (n, k)"),
        ({"features": [["x"]], "targets": [1]}, "must be numbers"),
        ({"features": np.zeros((0, 2)), "targets": []}, "holds no values"),
        ({"features": ROWS, "targets": [1, 2]}, "3 rows but 2 targets"),
        ({"features": ROWS, "targets": [[[1]], [[2]], [[3]]]}, "must be integers, texts or numbers"),
        ({"features": ROWS, "targets": [1, np.nan, 3]}, "NaN or infinite in row 1"),
        ({"features": np.full((3, 2), np.inf), "targets": [1, 2, 3]}, "(row 0, column 0)"),
        ({"features": ROWS, "targets": [0, 1, 2], "names": ["a", "b"]}, "target 2 is no index into `names`"),
        ({"features": ROWS, "targets": ["a", "b", "c"], "names": ["a", "b"]}, "'c' is not among `names`"),
        ({"features": ROWS, "targets": [[1, 2]] * 3, "names": ["a"]}, "1 names for targets"),
        ({"features": ROWS, "targets": [0, 1, 0], "names": ["a", "a"]}, "same name"),
        ({"features": ROWS, "targets": [0, 1, 0], "task": "ranking"}, "unknown"),
        ({"features": ROWS, "targets": [0, 1, 0], "columns": ["a"]}, "inputs"),
        ({"features": ROWS, "targets": [0, 1, 0], "columns": ["a", "a"]}, "named twice"),
        ({"features": ROWS, "targets": [0, 1, 0], "columns": ["a", "b"], "categories": ["x"]}, "adds up to another"),
        ({"features": ROWS, "targets": [0] * 3, "test_features": ROWS[:, :1], "test_targets": [0] * 3}, "another"),
        ({"features": ROWS, "targets": [0, 1, 0], "test_features": ROWS}, "no array `test_targets`"),
        (CSR | {"indices": [2]}, "column index of 2, outside of its 2 columns"),
        (CSR | {"indices": [-1]}, "column index of -1"),
        (CSR | {"indptr": [0, 2]}, "do not begin in order"),
        (CSR | {"indptr": [0]}, "an integer for each row and one more"),
        (CSR | {"shape": [1, 1 << 40]}, "columns from 1 to"),
        (CSR | {"shape": [-1, 2]}, "an integer for each row and one more"),
        (CSR | {"data": [np.nan]}, "nan (row 0, column 1)"),
        (CSR | {"data": ["x"]}, "must be numbers"),
        (CSR | {"format": "csc"}, "not in the format csr"),
    ],
)  # fmt: skip
def test_arrays_that_are_no_table(arrays: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError) as caught:
        load_dataset(npz(**arrays))
    assert str(caught.value).startswith("a.npz: ")
    assert words in str(caught.value)


def test_an_archive_says_its_task_and_targets() -> None:
    npz(features=ROWS, targets=[0.0, 1.0, 0.0], task="regression")
    with pytest.raises(DataError, match="says that its task is regression, not classification; drop --task"):
        load_dataset("a.npz", task="classification")
    with pytest.raises(DataError, match="says itself what its targets are"):
        load_dataset("a.npz", target="y")


def svmlight(text: str, **asked: Any) -> Dataset:
    Path("a.svm").write_text(text)
    return load_dataset("a.svm", **asked)


def test_svmlight() -> None:
    data = svmlight("# a comment\n-1 1:0.5 3:2e1 # more\n\n1\t2:-1\n+1\n")
    assert (data.task, data.names, data.targets.tolist()) == ("classification", ("-1", "1"), [0, 1, 1])
    assert isinstance(data.features, SparseRows)
    assert data.features.toarray().tolist() == [[0.5, 0, 20], [0, -1, 0], [0, 0, 0]]
    assert data.notes[0] == "columns count from 1 (if they count from 0, add 0:0 to a row)"
    assert svmlight("1 0:0 2:5\n").notes[0] == "columns count from 0"
    data = svmlight("0.5 qid:3 0:1 2:7\n1.5 1:1\n")
    assert (data.task, data.targets.tolist(), data.n_inputs) == ("regression", [[0.5], [1.5]], 3)
    assert data.notes[0] == "columns count from 0"
    data = svmlight("3,10 1:1\n3 2:1\n")
    assert (data.task, data.names, data.targets.tolist()) == ("multilabel", ("3", "10"), [[1, 1], [1, 0]])
    assert svmlight("cat 1:1\ndog 2:1\n").names == ("cat", "dog")
    assert svmlight("1 1:1\n2 2:1\n", task="regression").task == "regression"
    for name in ("a.libsvm.gz", "a.svmlight.gz"):
        Path(name).write_bytes(gzip.compress(b"1 1:1\n2 2:1\n"))
        assert load_dataset(name).n_inputs == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1 1:1\n2 a:1\n", "line 2: 'a:1' is not a pair"),
        ("1 1:1 2\n", "line 1: '2' is not a pair"),
        ("1 1:1:1\n", "line 1: '1:1:1' is not a pair"),
        ("1 1:1.5.5\n", "line 1: '1.5.5' is not a number"),
        ("1 2:1 1:1\n", "line 1: the columns are not in order, each once"),
        ("1 1:1 1:1\n", "line 1: the columns are not in order, each once"),
        ("1 1:1\n1 4:nan\n", "line 2, column 4: the value is NaN or infinite"),
        ("1 1:1\n1 4:1e999\n", "line 2, column 4: the value is NaN or infinite"),
        ("1 1:1\nnan 4:1\n", "row 2 has the target 'nan'; it must be finite"),
        ("1 99999999:1\n", "has a column 99,999,999; at most 4,194,304"),
        ("1,x 1:1\n", "labels must be whole numbers"),
        ("1 # 1:1\n", "holds no values"),
        ("", "empty"),
    ],
)
def test_svmlight_that_is_damaged(text: str, words: str) -> None:
    with pytest.raises(DataError) as caught:
        svmlight(text)
    assert str(caught.value).startswith("a.svm: ")
    assert words in str(caught.value)
