"""Splits and figures of tables: copies of a row stand on one side."""

import numpy as np
import pytest

from fastnn.datasets import Column, Dataset, SparseRows, per_class, split
from fastnn.datasets.duplicates import group_copies
from fastnn.datasets.split import Split, assign_folds
from fastnn.datasets.summary import summary
from fastnn.errors import DataError

ROWS = np.array([[1.0, 0.0, 2.0], [1.0, -0.0, 2.0], [1.0, 2.0, 0.0], [0.0, 0.0, 0.0], [1.0, 0.0, 2.0]])
FIRST = [0, 0, 2, 3, 0]


def sparse() -> SparseRows:
    """Return `ROWS`, of which one has its values in another order, one a stored 0, and one a value in two parts."""
    values = [1.0, 2.0, 2.0, 1.0, 1.0, 2.0, 0.0, 0.5, 2.0, 0.5]
    return SparseRows(np.array(values), np.array([0, 2, 2, 0, 0, 1, 1, 0, 2, 0]), np.array([0, 2, 4, 6, 7, 10]), 3)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_equal_rows_are_found(dtype: type) -> None:
    assert group_copies(ROWS.astype(dtype)).tolist() == FIRST
    assert group_copies(ROWS[:, ::2].astype(dtype)).tolist() == [0, 0, 2, 3, 0]
    assert group_copies(np.asfortranarray(ROWS.astype(dtype))).tolist() == FIRST


def test_equal_sparse_rows_are_found() -> None:
    assert (sparse().toarray() == ROWS).all()
    assert group_copies(sparse()).tolist() == FIRST
    assert group_copies(sparse().take([])).tolist() == []
    empty = SparseRows(np.empty(0), np.empty(0, np.int32), np.zeros(3, np.int64), 4)
    assert group_copies(empty).tolist() == [0, 0]


def with_copies(kind: str, task: str) -> Dataset:
    """Return 120 rows, of which each occurs 1 to 4 times."""
    random = np.random.default_rng(3)
    rows = random.normal(size=(50, 3)).round(2)[random.integers(0, 50, 120)]
    features = rows
    if kind == "sparse":
        features = SparseRows(rows.ravel(), np.tile(np.arange(3), 120), np.arange(121) * 3, 3)  # type: ignore[assignment]
    targets = {
        "classification": np.arange(120) % 3,
        "multilabel": random.integers(0, 2, (120, 3), dtype=np.uint8),
        "regression": random.normal(size=(120, 1)),
        "regression of 3": random.normal(size=(120, 3)),
    }[task]
    return Dataset(features, targets, ("p", "q", "r")[: 1 if task == "regression" else 3], "copies")


@pytest.mark.parametrize("kind", ["dense", "sparse"])
@pytest.mark.parametrize("task", ["classification", "multilabel", "regression", "regression of 3"])
def test_copies_of_a_row_stay_together(kind: str, task: str) -> None:
    data = with_copies(kind, task)
    first = group_copies(data.features)
    for how in (Split(fraction=0.2, seed=1), Split(kind="hash", fraction=0.25)):
        mask = how.test_mask(data)
        assert (mask == mask[first]).all()
        train, test = split(data, how)
        assert len(train) + len(test) == len(data)
        assert 0 < len(test) < 60
    folds = assign_folds(data, 4, seed=2)
    assert (folds == folds[first]).all()
    assert (assign_folds(data, 4, seed=2) == folds).all()
    assert (assign_folds(data, 4, seed=3) != folds).any()
    assert np.bincount(folds[np.unique(first)]).min() >= len(np.unique(first)) // 4 - (task == "classification")


def test_folds_of_a_regression_have_small_and_large_targets() -> None:
    rows = np.arange(400.0).reshape(-1, 1)
    targets = np.random.default_rng(0).exponential(size=(400, 1))
    data = Dataset(rows, targets, ("y",), "s")
    order = np.argsort(targets[:, 0])
    folds = assign_folds(data, 5, seed=0)[order].reshape(-1, 5)
    assert (np.sort(folds, axis=1) == np.arange(5)).all()
    # The smallest of five neighbours is not always in the same fold.
    assert len(set(folds[:, 0].tolist())) == 5


def test_what_cannot_be_split_or_drawn_is_refused() -> None:
    one = Dataset(np.ones((5, 2)), np.arange(5.0).reshape(-1, 1), ("y",), "s")
    with pytest.raises(DataError, match="all 5 rows are duplicates of one"):
        split(one)
    with pytest.raises(DataError, match=r"has no classes to take 3 rows of \(its task is regression\)"):
        per_class(one, 3)
    table = Dataset(np.arange(6.0).reshape(-1, 1), np.zeros(6, dtype=np.int64), ("a", "b"), "s")
    with pytest.raises(DataError, match="every training row has the class 'a'"):
        split(table, 0.5)
    with pytest.raises(DataError, match="no row of class 'b'"):
        per_class(table, 1)


def test_summary_of_a_table() -> None:
    columns = (Column("size"), Column("colour", ("blue", "red")))
    rows = np.array([[2.0, 1.0, 0.0], [4.0, 0.0, 1.0], [2.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    targets = np.array([[1.0], [2.0], [3.0], [6.0]])
    test = Dataset(rows[:1], targets[:1], ("price",), "t", columns=columns)
    csr = SparseRows(np.array([2.0, 1, 4, 1, 2, 1, 1]), np.array([0, 1, 0, 2, 0, 1, 2]), np.array([0, 2, 4, 6, 7]), 3)
    for features, density in ((rows, 1.0), (csr, 7 / 12)):
        figures = summary(Dataset(features, targets, ("price",), "here", test, ("a note",), columns))
        assert figures.pop("test")["n"] == 1
        assert len(figures.pop("hash")) == 64
        size = figures["columns"][0]
        assert size.pop("sd") == pytest.approx(2**0.5)
        assert figures["targets"]["price"].pop("sd") == pytest.approx(3.5**0.5)
        assert figures == {
            "source": "here",
            "n": 4,
            "task": "regression",
            "inputs": 3,
            "density": density,
            "copies": 1,
            "conflicting": 2,
            "targets": {"price": {"mean": 3, "min": 1, "max": 6}},
            "columns": [
                {"name": "size", "kind": "number", "mean": 2, "min": 0, "max": 4},
                {"name": "colour", "kind": "category", "categories": {"blue": 2, "red": 2}},
            ],
            "notes": ["a note"],
        }
    labels = Dataset(rows, np.array([[1, 0], [1, 1], [1, 0], [0, 0]], dtype=np.uint8), ("p", "q"), "here")
    figures = summary(labels)
    assert (figures["classes"], figures["conflicting"], figures["columns"]) == ({"p": 3, "q": 1}, 0, None)


def test_summary_of_the_largest_numbers_is_finite() -> None:
    data = Dataset(
        np.array([[1.7e308], [-1.7e308], [1.7e308]]), np.full((3, 1), 1.7e308), ("y",), "s", columns=(Column("a"),)
    )
    (column,) = summary(data)["columns"]
    assert np.isfinite([column["mean"], column["sd"]]).all()
