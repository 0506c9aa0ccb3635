"""Data sets of every kind: images, rows and sparse rows; classes, several labels and numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from sklearn.preprocessing import StandardScaler

from fastnn.datasets import Column, Dataset, Scaling, SparseRows, Split, split
from fastnn.datasets.duplicates import group_copies
from fastnn.datasets.split import assign_folds
from fastnn.errors import DataError
from tests.helpers import blobs

ROWS = np.array([[1.0, 0.0, 2.0], [0.0, 0.0, 0.0], [4.0, 5.0, 0.0], [1.0, 0.0, 2.0]])
LABELS = np.array([0, 1, 1, 0])
MANY = np.array([[0, 1], [1, 1], [0, 0], [1, 0]], dtype=np.uint8)
NUMBERS = np.array([[1.5], [2.5], [-1.0], [0.0]])


def sparse(dense: np.ndarray) -> SparseRows:
    return SparseRows.from_scipy(scipy.sparse.csr_array(dense))


def table(features: Any = ROWS, targets: Any = LABELS, names: tuple[str, ...] = ("a", "b")) -> Dataset:
    return Dataset(features, targets, names, "made")


@pytest.mark.parametrize("features", [ROWS, ROWS.astype(np.float32), sparse(ROWS)], ids=["float64", "float32", "CSR"])
@pytest.mark.parametrize(
    ("targets", "names", "task"),
    [(LABELS, ("a", "b"), "classification"), (MANY, ("a", "b"), "multilabel"), (NUMBERS, ("x",), "regression")],
)
def test_the_arrays_say_what_the_data_are(features: Any, targets: np.ndarray, names: Any, task: str) -> None:
    data = table(features, targets, names)
    assert (data.task, data.is_images, data.shape, data.n_inputs, len(data)) == (task, False, None, 3, 4)
    assert data.classes == names
    part = data.take([2, 0])
    assert np.array_equal(part.targets, targets[[2, 0]])
    taken = part.features.toarray() if isinstance(part.features, SparseRows) else part.features
    assert np.array_equal(taken, ROWS[[2, 0]])
    with pytest.raises(DataError, match="made: is a table, but images are needed here"):
        _ = data.images


def test_a_table_without_rows_cannot_be_split() -> None:
    for features in (ROWS[:0], sparse(ROWS[:0])):
        assert group_copies(features).shape == (0,)
        with pytest.raises(DataError, match="made: no row is left to test on"):
            split(table(features, LABELS[:0]))


def test_images_have_a_shape() -> None:
    data = blobs(4)
    assert (data.is_images, data.shape, data.task) == (True, (28, 28), "classification")
    assert data.images is data.features
    with pytest.raises(DataError, match="images are not standardised"):
        _ = data.feature_scaling


def test_counts_are_those_of_classes_or_labels() -> None:
    assert table().counts.tolist() == [2, 2]
    assert table(targets=MANY).counts.tolist() == [2, 2]
    with pytest.raises(DataError, match=r"made: has no classes \(its task is regression\)"):
        _ = table(targets=NUMBERS, names=("x",)).counts


@pytest.mark.parametrize("features", [ROWS, sparse(ROWS)], ids=["rows", "CSR"])
def test_negative_positions_count_from_the_end(features: Any) -> None:
    taken = table(features).take([-2, 1, -4]).features
    assert np.array_equal(taken.toarray() if isinstance(taken, SparseRows) else taken, ROWS[[2, 1, 0]])
    with pytest.raises(IndexError):
        table(features).take([-5])


NAN, INFINITE = ROWS.copy(), ROWS.copy()
NAN[2, 1], INFINITE[3, 0] = np.nan, -np.inf


@pytest.mark.parametrize(
    ("features", "targets", "message"),
    [
        (NAN, LABELS, r"made: a feature is nan \(row 2, column 1\)"),
        (INFINITE.astype(np.float32), LABELS, r"a feature is -inf \(row 3, column 0\)"),
        (sparse(NAN), LABELS, r"a feature is nan \(row 2, column 1\)"),
        (ROWS, np.array([[1.0, 1.0], [2.0, 1.0], [np.inf, 1.0], [0.0, 1.0]]), r"a target is inf \(row 2, column 0\)"),
        (ROWS.astype(np.int64), LABELS, "features must be images"),
        (ROWS[0], LABELS, "features must be images"),
        (ROWS.astype(">f8"), LABELS, "features must be images"),
        (ROWS.tolist(), LABELS, "made: features must be a NumPy array, not list; convert them with numpy.asarray"),
        (
            scipy.sparse.csr_array(ROWS),
            LABELS,
            "not csr_array; convert them with fastnn.datasets.SparseRows.from_scipy",
        ),
        (ROWS, LABELS.tolist(), "made: targets must be a NumPy array, not list"),
        (ROWS, sparse(MANY), "made: targets must be a NumPy array, not SparseRows"),
        (ROWS.astype(np.uint8), LABELS, "rows of numbers must be floats"),
        (ROWS[:, :0], LABELS, "the rows have no columns"),
        (ROWS, LABELS[:3], r"labels must be an int64 array of shape \(4,\)"),
        (ROWS, LABELS + 1, "a label is not one of the 2 classes"),
        (ROWS, LABELS.astype(np.float64), r"targets must have the shape \(4, 2\)"),
        (ROWS, LABELS.astype(np.int32), "labels must be an int64 array"),
        (ROWS, NUMBERS, r"targets must have the shape \(4, 2\)"),
        (ROWS, MANY + 1, "targets of several labels must be 0 or 1, not 2"),
    ],
)
def test_arrays_that_are_no_data_set_are_refused(features: Any, targets: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        table(features, targets)


def test_columns_must_cover_the_inputs() -> None:
    columns = (Column("size"), Column("colour", ("red", "white")))
    data = replace(table(), columns=columns)
    assert [column.width for column in columns] == [1, 2]
    # Columns of categories are not standardised.
    assert np.array_equal(data.feature_scaling.factor[1:], [1, 1])
    assert np.array_equal(data.feature_scaling.mean[1:], [0, 0])
    with pytest.raises(DataError, match="the columns are 1 inputs, but the rows have 3"):
        replace(table(), columns=columns[:1])


def test_the_hash_covers_features_targets_and_names() -> None:
    changed = ROWS.copy()
    changed[0, 0] = 7
    kinds = [
        table(), table(changed), table(ROWS.astype(np.float32)), table(sparse(ROWS)), table(targets=MANY),
        table(targets=1 - LABELS), table(names=("a", "c")), table(targets=NUMBERS, names=("a",)),
        replace(table(), columns=(Column("x"), Column("y"), Column("z"))),
    ]  # fmt: skip
    assert len({data.content_hash for data in kinds}) == len(kinds)
    assert table(np.asfortranarray(ROWS)).content_hash == table().content_hash


def test_sparse_rows_are_checked() -> None:
    values, indices, starts = np.ones(3), np.array([0, 1, 2]), np.array([0, 2, 3])
    rows = SparseRows(values, indices, starts, 3)
    assert rows.shape == (2, 3)
    assert rows.density == 0.5
    assert rows.toarray().tolist() == [[1, 1, 0], [0, 0, 1]]
    faults: list[tuple[Any, Any, Any, str]] = [
        (values, np.array([0, 1, 3]), starts, "a column index of 3, outside of its 3 columns"),
        (values, np.array([0, -1, 2]), starts, "a column index of -1"),
        (values, np.array([0, 1, 1 << 40]), starts, "a column index of 1099511627776"),
        (values, indices, np.array([0, 2, 4]), "do not begin in order"),
        (values, indices, np.array([0, 3, 2]), "do not begin in order"),
        (values, indices, np.array([1, 2, 3]), "do not begin in order"),
        (values, indices, np.array([], dtype=np.int64), "do not begin in order"),
        (values, indices.astype(np.float64), starts, "must be whole numbers, not float64"),
        (values[:, None], indices, starts, "must have one dimension"),
        (np.array(["a", "b", "c"]), indices, starts, "must hold numbers"),
    ]
    for one, two, three, message in faults:
        with pytest.raises(DataError, match=message):
            SparseRows(one, two, three, 3)


def test_values_of_one_column_in_a_row_are_added() -> None:
    rows = SparseRows(np.array([1.0, 2.0, 5.0]), np.array([1, 1, 0]), np.array([0, 2, 3]), 2)
    assert rows.toarray().tolist() == [[0, 3], [5, 0]]
    assert not rows.is_in_order()
    assert not SparseRows(np.ones(2), np.array([1, 0]), np.array([0, 2]), 2).is_in_order()
    assert SparseRows(np.ones(2), np.array([1, 0]), np.array([0, 1, 2]), 2).is_in_order()
    dense = rows.toarray()
    for found, expected in zip(vars(Scaling.fit(rows)).values(), vars(Scaling.fit(dense)).values(), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-14)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_scaling_is_that_of_scikit_learn(dtype: str) -> None:
    rng = np.random.default_rng(5)
    rows = (rng.normal(size=(3000, 7)) * [1, 1e-3, 1e4, 1, 0, 1, 1] + [0, 1e3, -1e6, 0, 7, 1e5, 0]).astype(dtype)
    rows[rng.random(rows.shape) < 0.4] = 0
    rows[:, 4] = 7
    scaling, theirs = Scaling.fit(rows), StandardScaler().fit(rows.astype(np.float64))
    np.testing.assert_allclose(scaling.mean, theirs.mean_, rtol=1e-9)
    np.testing.assert_allclose(1 / scaling.factor, theirs.scale_, rtol=1e-9)
    np.testing.assert_allclose(scaling.undo(scaling.apply(rows)), rows, rtol=1e-6, atol=1e-9)
    ours = Scaling.fit(sparse(rows))
    np.testing.assert_allclose(ours.mean, scaling.mean, rtol=1e-9)
    np.testing.assert_allclose(ours.factor, scaling.factor, rtol=1e-9)


def test_rare_values_are_limited_when_rows_are_standardised() -> None:
    rng = np.random.default_rng(0)
    rows = np.where(rng.random((500, 5)) < [0.01, 0.4, 0.6, 1.0, 0.0], rng.normal(size=(500, 5)), 0.0)
    rows[0, 3] = 1000.0  # an outlier among numbers that differ is left as it is
    rows[:, 4] = 7.0
    plain, limited = Scaling.fit(rows), Scaling.fit(rows, largest=3.0)
    sizes = np.abs(limited.apply(rows)).max(axis=0)
    np.testing.assert_allclose(sizes[:2], 3.0)
    assert np.array_equal(limited.factor[2:], plain.factor[2:])
    assert np.array_equal(limited.mean, plain.mean)
    again = Scaling.fit(sparse(rows), largest=3.0)
    np.testing.assert_allclose(again.factor, limited.factor)
    assert Scaling.fit(rows[:0], largest=3.0).is_finite()


def test_rare_values_of_rows_and_sparse_rows_are_limited_alike() -> None:
    rng = np.random.default_rng(1)
    rows = np.where(rng.random((5000, 20)) < np.linspace(0.46, 0.54, 20), 0.0, rng.normal(size=(5000, 20)) ** 3)
    rows[:, 0] = np.where(rng.random(5000) < 0.7, 7.0, rng.normal(size=5000) * 5)  # most values are not 0
    rows[:, 1] = np.where(np.arange(5000) % 4 == 0, 0.0, rows[:, 1])
    dense = Scaling.fit(rows, largest=1.0)
    np.testing.assert_allclose(Scaling.fit(sparse(rows), largest=1.0).factor, dense.factor, rtol=1e-9)
    limited = dense.factor < 0.99 * Scaling.fit(rows).factor
    common = [np.unique(column, return_counts=True)[1].max() > 2500 for column in rows.T]
    assert limited.tolist() == common


def test_columns_too_large_to_be_standardised_are_refused() -> None:
    rows = ROWS * np.where(np.arange(ROWS.shape[1]) == 1, 1e300, 1)
    with pytest.raises(DataError, match="made: column 2 has values that are too large to be standardised; divide it"):
        _ = table(rows).feature_scaling
    columns = tuple(Column(name) for name in "abcdefgh"[: ROWS.shape[1]])
    with pytest.raises(DataError, match="made: column 'b' has values"):
        _ = replace(table(rows), columns=columns).feature_scaling
    numbers = Dataset(ROWS, ROWS[:, :1] * 1e300, ("cost",), "made")
    with pytest.raises(DataError, match="made: target 'cost' has values"):
        _ = numbers.target_scaling


def test_copies_are_found_among_rows_of_any_kind() -> None:
    rows = np.array([[0.0, 1.0], [1.0, 0.0], [-0.0, 1.0], [1.0, 0.0], [0.0, 0.0]])
    expected = [0, 1, 0, 1, 4]
    assert group_copies(rows).tolist() == expected
    assert group_copies(rows.astype(np.float32)).tolist() == expected
    assert group_copies(sparse(rows)).tolist() == expected
    shuffled = SparseRows(np.array([1.0, 2.0, 2.0, 1.0]), np.array([0, 1, 1, 0]), np.array([0, 2, 4]), 2)
    assert group_copies(shuffled).tolist() == [0, 0]


@pytest.mark.parametrize("kind", [Split(fraction=0.3), Split(kind="hash", fraction=0.3)])
@pytest.mark.parametrize("sparsely", [False, True])
def test_copies_of_a_row_are_on_one_side(kind: Split, sparsely: bool) -> None:
    rows = np.repeat(np.random.default_rng(0).integers(0, 3, (60, 5)), 3, axis=0).astype(np.float64)
    data = table(sparse(rows) if sparsely else rows, np.arange(len(rows)) % 2)
    train, test = split(data, kind)
    sides = [
        {row.tobytes() for row in (part.features.toarray() if sparsely else part.features)} for part in (train, test)
    ]
    assert sides[0]
    assert sides[1]
    assert not sides[0] & sides[1]


def test_each_fold_of_a_regression_has_small_and_large_targets() -> None:
    rng = np.random.default_rng(1)
    targets = rng.normal(size=(200, 1)) ** 3
    data = table(rng.normal(size=(200, 2)), targets, ("x",))
    fold = assign_folds(data, 4, 0)
    ranks = targets[:, 0].argsort().argsort()
    for k in range(4):
        assert abs(ranks[fold == k].mean() - 99.5) < 3


def test_neighbours_among_sparse_rows_are_not_copied() -> None:
    rows = sparse(ROWS)
    for chosen in ([1, 2], [2, 1], [0, 2], [1], [], [-1], [-2, -1], [3, 4 - 4]):
        taken = rows.take(chosen)
        assert np.array_equal(taken.toarray(), ROWS[chosen])
        assert np.shares_memory(taken.values, rows.values) == (chosen == [1, 2])
    with pytest.raises(IndexError):
        rows.take([3, 4])
