import os
from pathlib import Path

import numpy as np
import pytest

from fastnn import large_arrays
from tests.helpers import largest_file


@pytest.fixture(params=["memory", "file"])
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("FASTNN_CACHE_DIR", str(tmp_path / "cache"))
    if request.param == "file":
        monkeypatch.setattr("fastnn.large_arrays.LARGE", 1)
    return tmp_path / "cache"


def test_zeros_can_be_written_to_and_leave_no_file(place: Path) -> None:
    array = large_arrays.zeros((300_000, 2), np.int32)
    assert (array.shape, array.dtype, array.any()) == ((300_000, 2), np.int32, False)
    array[:] = np.arange(600_000).reshape(-1, 2)
    array //= 2
    assert np.array_equal(array[:, 0], np.arange(300_000))
    assert not (place.exists() and list(place.iterdir()))


@pytest.mark.usefixtures("place")
def test_no_rows() -> None:
    assert large_arrays.zeros((0, 3)).shape == (0, 3)
    assert list(large_arrays.parts(0)) == []


@pytest.mark.usefixtures("place")
def test_rows_are_taken_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastnn.large_arrays.ROWS_IN_PART", 7)
    rng = np.random.default_rng(0)
    index = rng.integers(-50, 50, 40)
    for array in (rng.integers(0, 9, 50), rng.random((50, 3))):
        taken = large_arrays.take(array, index)
        assert taken.dtype == array.dtype
        assert np.array_equal(taken, array[index])


@pytest.mark.usefixtures("place")
def test_positions_of_a_mask_are_small_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastnn.large_arrays.ROWS_IN_PART", 7)
    for n in (0, 1, 14, 300):
        mask = np.random.default_rng(n).random(n) < 0.5
        found = large_arrays.flatnonzero(mask)
        assert np.array_equal(found, np.flatnonzero(mask))
        assert found.dtype == np.int32


def test_parts_of_wide_rows_are_small() -> None:
    assert [part.stop - part.start for part in large_arrays.parts(150_000)] == [65_536, 65_536, 18_928]
    assert {part.stop - part.start for part in large_arrays.parts(8192, 1024)} == {1024}
    assert {part.stop - part.start for part in large_arrays.parts(8192, 1024, 512)} == {512}
    assert list(large_arrays.parts(2, 1 << 30)) == [slice(0, 1), slice(1, 2)]


def test_without_a_folder_for_the_file_the_array_is_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("FASTNN_CACHE_DIR", str(tmp_path / "file" / "cache"))
    monkeypatch.setattr("fastnn.large_arrays.LARGE", 1)
    assert large_arrays.zeros(5).tolist() == [0.0] * 5


@pytest.mark.skipif(os.name != "posix", reason="limits of POSIX")
def test_without_room_for_the_file_the_array_is_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTNN_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr("fastnn.large_arrays.LARGE", 1)
    with largest_file(1 << 16):
        array = large_arrays.zeros(1 << 16)
    array += 1.0
    assert array.sum() == 1 << 16
    assert not list((tmp_path / "cache").iterdir())


def test_the_smallest_type() -> None:
    assert [large_arrays.smallest_uint(n) for n in (0, 255, 256, 70_000)] == [np.uint8, np.uint8, np.uint16, np.uint32]


@pytest.mark.usefixtures("place")
def test_numbers_are_counted_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastnn.large_arrays.ROWS_IN_PART", 7)
    for n in (0, 1, 14, 300):
        numbers = large_arrays.arange(n, np.uint16)
        assert numbers.dtype == np.uint16
        assert np.array_equal(numbers, np.arange(n))
