"""A data set is matched with a model by the names of its columns, classes, labels and targets."""

from dataclasses import replace

import numpy as np
import pytest

from fastnn.datasets import Column, Dataset, Scaling, SparseRows
from fastnn.errors import DataError
from fastnn.evaluation.matching import match_dataset
from fastnn.evaluation.metrics import evaluate
from fastnn.model import Model
from fastnn.network import Network
from fastnn.recipe import Recipe
from fastnn.session import Session
from tests.helpers import blobs, linear_table

COLUMNS = (Column("size"), Column("colour", ("blue", "red")), Column("age"))


def regression(columns: tuple[Column, ...] | None = COLUMNS, names: tuple[str, ...] = ("a", "b")) -> Model:
    n = 4 if columns is None else sum(column.width for column in columns)
    network = Network((n, len(names)), rule="backprop", output="identity", dtype=np.float64)
    network.weights[0][:] = np.arange(1.0, n + 1)[:, None] * np.arange(1.0, len(names) + 1)
    return Model((network,), names, takes="rows", columns=columns)


def table(columns: tuple[Column, ...], rows: list[list[float]], names: tuple[str, ...] = ("a", "b")) -> Dataset:
    made = np.array(rows, dtype=np.float64)
    targets = np.arange(len(made) * len(names), dtype=np.float64).reshape(len(made), -1)
    return Dataset(made, targets, names, "t.csv", columns=columns)


def sparse(dataset: Dataset) -> Dataset:
    rows, columns = np.nonzero(np.asarray(dataset.features))
    starts = np.searchsorted(rows, np.arange(len(dataset) + 1))
    values = np.asarray(dataset.features)[rows, columns]
    return replace(dataset, features=SparseRows(values, columns.astype(np.int32), starts, dataset.n_inputs))


OTHER = (Column("note"), Column("age"), Column("colour", ("green", "red", "blue")), Column("size"))


@pytest.mark.parametrize("as_sparse", [False, True])
def test_columns_and_targets_are_put_in_the_order_of_the_model(as_sparse: bool) -> None:
    data = table(OTHER, [[9, 30, 0, 1, 0, 5], [9, 40, 0, 0, 1, 6], [9, 50, 1, 0, 0, 7]], ("b", "a"))
    found = match_dataset(sparse(data) if as_sparse else data, regression())
    features = found.features.toarray() if isinstance(found.features, SparseRows) else found.features
    assert features.tolist() == [[5, 0, 1, 30], [6, 1, 0, 40], [7, 0, 0, 50]]
    assert found.targets.tolist() == [[1, 0], [3, 2], [5, 4]]
    assert (found.names, found.columns) == (("a", "b"), COLUMNS)
    unknown, extra = found.notes
    assert "'colour'" in unknown
    assert "green" in unknown
    assert extra.endswith("left out: note")
    assert evaluate(regression(), data).as_dict() == evaluate(regression(), found).as_dict()


def test_a_data_set_that_fits_is_not_copied() -> None:
    data = table(COLUMNS, [[1, 1, 0, 2]])
    assert match_dataset(data, regression()) is data
    assert match_dataset(replace(data, test=data), regression()).test is None


def test_sparse_rows_without_names_may_have_fewer_columns() -> None:
    data = replace(sparse(table(COLUMNS, [[1, 1, 0, 0]])), columns=None)
    assert isinstance(data.features, SparseRows)
    fewer = replace(data, features=replace(data.features, n_columns=2))
    assert match_dataset(fewer, regression(None)).n_inputs == 4


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (table(COLUMNS[:2], [[1, 1, 0]]), r"t\.csv: has no column 'age', which the model takes; it has size, colour"),
        (table(COLUMNS, [[1, 1, 0, 2]], ("a", "c")), r"t\.csv: has no target 'b', which the model predicts; .* a, c"),
        (
            table((Column("size"), Column("colour"), Column("age")), [[1, 1, 2]]),
            "column 'colour' holds numbers, but the model takes texts there",
        ),
        (replace(table(COLUMNS, [[1, 1, 0, 2]]), features=np.ones((1, 3)), columns=None), "3 numbers, but .* takes 4"),
        (blobs(20), "its task is classification, but the model's is regression"),
        (Dataset(blobs(2).features, np.zeros((2, 2)), ("a", "b"), "i"), "holds images, but the model takes rows"),
    ],
)
def test_what_does_not_fit_is_named(data: Dataset, words: str) -> None:
    with pytest.raises(DataError, match=words):
        evaluate(regression(), data)


def test_the_loss_of_a_regression_is_that_of_training() -> None:
    """Of standardised targets, with the recipe's Huber loss."""
    recipe = Recipe(hidden=(4,), rule="backprop", activation="relu", standardise=True, huber_delta=0.3, epochs=2)
    session = Session(linear_table(40, targets=2), recipe.replace(test_fraction=0.5))
    report = list(session)[-1]
    assert session.test is not None
    found = evaluate(session.model, session.test)
    assert found.loss == pytest.approx(report.test_loss)
    assert found.score == pytest.approx(report.test_accuracy)
    assert session.model.card.metrics == found.metrics


def test_numbers_too_large_for_the_metrics_are_refused() -> None:
    data = table(COLUMNS, [[1, 1, 0, 2], [2, 1, 0, 2]])
    large = replace(data, targets=np.full((2, 2), 1e200))
    with pytest.raises(DataError, match=r"t\.csv: has targets or predictions beyond 1e\+150"):
        evaluate(regression(), large)
    made = replace(regression(), target_scaling=Scaling(np.zeros(2), np.full(2, 1e100)))
    with pytest.raises(DataError, match=r"t\.csv: the loss is not finite"):
        evaluate(made, replace(data, targets=np.full((2, 2), 1e100)))
    # Far worse than the mean: finite all the same.
    tiny = np.array([[0.0, 0.0], [1e-150, 1e-150]])
    assert evaluate(regression(), replace(data, targets=tiny)).score == -1e100
