from __future__ import annotations

import gc
import shutil
import weakref
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import fastnn
from fastnn.datasets.mapped import ChangedRows, MappedRows
from fastnn.datasets.store_writer import write_store
from fastnn.images import normalise_batch
from fastnn.images.normalised_rows import normalise_rows
from tests.helpers import blobs

if TYPE_CHECKING:
    from pathlib import Path

    from fastnn.datasets import Dataset


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    monkeypatch.setenv("FASTNN_CACHE_DIR", str(tmp_path / "cache"))
    write_store(blobs(60), tmp_path / "big.fnn")
    return fastnn.load_dataset(tmp_path / "big.fnn")


def check(images: Any) -> Any:
    """Normalise mapped rows, check the result, and return it."""
    found, blank = normalise_rows(images)
    expected = normalise_batch(np.asarray(images), polarity="dark-on-light")
    assert np.array_equal(found[:], expected[0])
    assert np.array_equal(blank, expected[1])
    return found


def test_large_parts_of_a_store_share_a_copy(stored: Dataset, tmp_path: Path) -> None:
    whole = check(stored.features)
    parts = [check(stored.features.take(np.arange(start, start + 40))) for start in (0, 20)]
    assert all(type(one) is MappedRows and one.base is whole.base for one in parts)
    assert check(stored.features.take([5, 3, 4])).base is whole.base
    # It has no name.
    assert [*(tmp_path / "cache").iterdir()] == []


def test_few_rows_have_a_copy_of_their_own(stored: Dataset) -> None:
    assert len(check(stored.features.take(np.arange(29))).base) == 29
    assert len(check(stored.features.take(np.arange(30))).base) == 60


def test_threads_share_a_copy(stored: Dataset) -> None:
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(check, [stored.features] * 4))
    assert len({id(one.base) for one in found}) == 1


def test_the_copy_goes_with_the_store(tmp_path: Path, stored: Dataset) -> None:
    dataset = fastnn.load_dataset(tmp_path / "big.fnn")
    copy = check(dataset.features)
    gone = weakref.ref(copy.file)
    del dataset, copy
    gc.collect()
    assert gone() is None
    assert len(stored) == 60


def test_without_room_images_are_normalised_as_they_are_read(stored: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = fastnn.presets["modern"].replace(hidden=(8,), epochs=2, ensemble=1)
    with_room = fastnn.fit(stored, recipe, progress=False)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=60 * 784 * 2 - 1))
    again = fastnn.load_dataset(stored.source)
    assert type(check(again.features)) is ChangedRows
    assert fastnn.fit(again, recipe, progress=False).sha256() == with_room.sha256()


def test_images_that_occur_twice_are_normalised_as_they_are_read(stored: Dataset) -> None:
    assert type(check(stored.features.take([*range(60), 0]))) is ChangedRows
    assert len(check(stored.features.take([]))) == 0
