"""Rows are standardised by the mean and standard deviation of all values so far, column by column."""

from __future__ import annotations

import copy
import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fastnn import running_scaling
from fastnn.kernels.records import LARGEST
from fastnn.running_scaling import RunningScaling
from tests.helpers import needs_jit
from tests.kernels import plain

if TYPE_CHECKING:
    from collections.abc import Callable

N_COLUMNS = 6


class Oracle:
    """All values of each column, and their mean and deviation by NumPy."""

    def __init__(self) -> None:
        self.seen: list[list[float]] = [[] for _ in range(N_COLUMNS)]

    def read(self, values: np.ndarray, columns: np.ndarray, learns: bool) -> np.ndarray:
        if learns:
            for value, j in zip(values, columns, strict=True):
                if j >= 0:
                    self.seen[j].append(value)
        row = np.zeros(N_COLUMNS)
        for value, j in zip(values, columns, strict=True):
            if j >= 0:
                row[j] += self.scaled(value, self.seen[j])
        return row

    def scaled(self, value: float, seen: list[float]) -> float:
        if len(set(seen)) < 2:
            return 0.0
        limit = np.sqrt(len(seen))
        return float(np.clip((value - np.mean(seen)) / np.std(seen), -limit, limit))


def row_of(scaling: RunningScaling, sparse: bool) -> np.ndarray:
    if not sparse:
        return scaling.row.copy()
    values, columns = scaling.sparse_row
    row = np.zeros(N_COLUMNS)
    np.add.at(row, columns, values)
    return row


def random_rows(n: int = 60) -> list[tuple[np.ndarray, np.ndarray, bool, bool]]:
    """Return values, columns, whether the row is learned and whether it is sparse."""
    rng = np.random.default_rng(5)
    rows = []
    for i in range(n):
        # Some columns twice, some not at all, and values without a column.
        columns = rng.integers(-1, N_COLUMNS, rng.integers(0, 9)).astype(np.int32)
        values = rng.normal(10.0**columns, 10.0 ** (columns - 1))
        values[columns == 0] = 4.5  # a constant column
        rows.append((values, columns, i < 10 or rng.random() < 0.7, bool(rng.random() < 0.5)))
    return rows


@pytest.mark.parametrize("standardises", [True, False])
def test_rows_are_standardised_by_all_values_so_far(standardises: bool) -> None:
    scaling, oracle = RunningScaling(N_COLUMNS, standardises), Oracle()
    for values, columns, learns, sparse in random_rows():
        scaling.select(columns, sparse)
        scaling.values[: len(values)] = values
        assert scaling.read(learns) == 0
        expected = oracle.read(values, columns, learns)
        if not standardises:
            expected = np.zeros(N_COLUMNS)
            np.add.at(expected, columns[columns >= 0], values[columns >= 0])
        np.testing.assert_allclose(row_of(scaling, sparse), expected, rtol=1e-6, atol=1e-6)
    for j, seen in enumerate(oracle.seen):
        found = scaling.mean_and_deviation(j)
        assert found == pytest.approx((np.mean(seen), np.std(seen)) if standardises else (0.0, 1.0), rel=1e-12)


@pytest.mark.parametrize("sparse", [True, False])
def test_many_rows_are_those_of_single_calls(sparse: bool) -> None:
    rng = np.random.default_rng(1)
    rows, columns = rng.normal(5, 2, (20, 4)), np.array([3, -1, 0, 3], dtype=np.int32)
    one, many = RunningScaling(N_COLUMNS), RunningScaling(N_COLUMNS)
    for learns in (True, False):
        one.select(columns)
        many.select(np.array([1], dtype=np.int32))
        found: Any = many.read_many(rows, columns, learns=learns, sparse=sparse)
        for row, values in zip(found.toarray() if sparse else found, rows, strict=True):
            one.values[:4] = values
            assert one.read(learns) == 0
            np.testing.assert_array_equal(row, one.row)
        # The choice of columns stays.
        many.values[0] = 3.0
        assert many.read(False) == 0
        assert not many.row.any()
    assert len(many.read_many(rows[:0], columns, learns=True, sparse=sparse)) == 0


def test_columns_can_be_added() -> None:
    scaling = RunningScaling(1)
    for value in (1.0, 3.0):
        scaling.values[0] = value
        scaling.read(True)
    scaling.grow(3)
    assert scaling.mean_and_deviation(0) == (2.0, 1.0)
    assert scaling.mean_and_deviation(2) == (0.0, 1.0)
    scaling.values[:3] = [3.0, 8.0, 9.0]
    scaling.read(False)
    assert scaling.row.tolist() == [1.0, 0.0, 0.0]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, LARGEST, -LARGEST])
def test_bad_values_are_found_before_anything_changes(value: float) -> None:
    scaling = RunningScaling(3)
    scaling.select(np.array([0, -1, 2], dtype=np.int32))
    for position in range(3):
        scaling.values[:3] = 1.0
        scaling.values[position] = value
        for learns in (True, False):
            assert scaling.read(learns) == position + 1
    assert [scaling.mean_and_deviation(j) for j in range(3)] == [(0.0, 1.0)] * 3
    scaling.values[:3] = np.nextafter(LARGEST, 0)
    assert scaling.read(True) == 0


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda scaling: pickle.loads(pickle.dumps(scaling))])  # noqa: S301
def test_duplicates_are_independent(duplicate: Callable[[RunningScaling], RunningScaling]) -> None:
    scaling = RunningScaling(1)
    for value in (1.0, 3.0):
        scaling.values[0] = value
        scaling.read(True)
    twin = duplicate(scaling)
    twin.values[0] = 5.0
    twin.read(True)
    assert twin.mean_and_deviation(0)[0] == 3.0
    assert scaling.mean_and_deviation(0) == (2.0, 1.0)


@needs_jit
def test_the_compiled_kernel_equals_the_kernel_run_as_plain_python(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for kernel in (
        running_scaling.standardise_kernel,
        plain.PlainKernel("fastnn.kernels.standardise", "standardise", (), bool),
    ):
        monkeypatch.setattr(running_scaling, "standardise_kernel", kernel)
        scaling, rows = RunningScaling(N_COLUMNS), []
        for values, columns, learns, sparse in random_rows():
            scaling.select(columns, sparse)
            scaling.values[: len(values)] = values
            scaling.read(learns)
            rows.append(row_of(scaling, sparse))
        found.append(rows)
    np.testing.assert_array_equal(*found)
