"""Groups of samples: read from tables, databases and JSON, and kept in one fold."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fastnn.crossval import cross_validate
from fastnn.datasets import ReadOptions, load_source
from fastnn.datasets.duplicates import group_copies
from fastnn.datasets.groups import contributor_groups, join_groups, number_groups
from fastnn.datasets.shared import from_buffer, read_cached, shared_key, to_parts, write_cached
from fastnn.datasets.split import assign_folds
from fastnn.errors import DataError
from fastnn.recipe import Recipe
from tests.helpers import blobs, linear_table

if TYPE_CHECKING:
    from pathlib import Path

    from fastnn.datasets import Dataset

TABLE = "writer,x,colour,target\nann,1,red,a\nbob,2,blue,b\nann,3,red,b\n7,4,red,a\n"


def load(path: Path | str, group: str | None, **options: Any) -> Dataset:
    return load_source(path, ReadOptions.of(group=group, **options))


def test_a_column_of_a_table_is_the_group_and_no_input(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(TABLE)
    data = load(path, "writer")
    assert data.groups is not None
    assert data.groups.tolist() == [0, 1, 0, 2]
    assert [column.name for column in data.columns or ()] == ["x", "colour"]
    assert data.take([2, 3]).groups is not None
    path.write_text(TABLE.replace("writer", "label"))
    # The column named label would be the target.
    assert load(path, "label").names == ("a", "b")
    path.write_text("5,1,1\n5,2,2\n6,3,1\n")
    assert np.array_equal(load(path, "1", target="3").groups, [0, 0, 1])  # type: ignore[arg-type]


def test_images_in_a_table_have_groups(tmp_path: Path) -> None:
    made = blobs(20)
    rows = [f"w{k % 4},{made.labels[k]}," + ",".join(map(str, made.images[k])) for k in range(20)]
    path = tmp_path / "t.csv"
    path.write_text("\n".join(["writer,label," + ",".join(f"pixel{k}" for k in range(784)), *rows]))
    data = load(path, "writer")
    assert data.is_images
    assert data.groups is not None
    assert data.groups.tolist() == [k % 4 for k in range(20)]
    for wrong, words in (("label", "is the label"), ("pixel3", "is a pixel"), ("w", "has no column 'w'")):
        with pytest.raises(DataError, match=words):
            load(path, wrong)


def test_contributors_of_json_and_of_a_database(tmp_path: Path) -> None:
    made = blobs(20)
    items = [
        {"image": image.tolist(), "label": int(label), **({"contributor": f"c{k % 3}"} if k else {})}
        for k, (image, label) in enumerate(zip(made.images, made.labels, strict=True))
    ]
    path = tmp_path / "d.json"
    path.write_text(json.dumps(items))
    data = load(path, "contributor")
    assert data.groups is not None
    assert len(set(data.groups.tolist())) == 4
    assert any("1 digits have no contributor" in note for note in data.notes)
    assert load(path, None).groups is None
    database = pytest.importorskip("fastnn.datasets.database")
    url = f"sqlite:///{tmp_path / 'd.db'}"
    database.import_dataset(blobs(10), url, contributor="ann")
    database.import_dataset(blobs(10, seed=1), url, contributor="bob")
    stored = load(url, "contributor")
    assert stored.groups is not None
    assert np.bincount(stored.groups).tolist() == [10, 10]
    for source in (path, url):
        with pytest.raises(DataError, match="grouped by contributor alone"):
            load(source, "writer")


def test_sources_without_groups_say_so(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=blobs(10).images, labels=blobs(10).labels)
    for source in ("drawn:20", tmp_path / "a.npz"):
        with pytest.raises(DataError, match="says nothing about groups"):
            load(source, "contributor")
    path = tmp_path / "d.json"
    path.write_text(json.dumps([{"image": [255] * 784, "label": 1}]))
    with pytest.raises(DataError, match="no digit has a contributor"):
        load(path, "contributor")
    with pytest.raises(DataError, match="groups must be an int64 array"):
        replace(blobs(10), groups=np.zeros(9, np.int64))
    for wrong in ([1, 2], np.full(4, np.nan), np.array([None] * 4)):
        with pytest.raises(DataError, match="group"):
            number_groups(wrong, 4, "x")
    assert number_groups(["b", "a", "b"], 3, "x").tolist() == [1, 0, 1]
    assert contributor_groups(["a", "", "a"], "x")[0].tolist() == [0, 1, 0]


def test_groups_that_share_a_copy_are_one() -> None:
    groups, copies = np.array([0, 0, 1, 1, 2, 3]), np.array([0, 1, 1, 3, 3, 5])
    assert join_groups(groups, copies).tolist() == [0, 0, 0, 0, 0, 1]
    rng = np.random.default_rng(0)
    one, two = rng.integers(0, 40, 100), rng.integers(0, 40, 100)
    joined = join_groups(one, two)
    for part in (one, two):
        assert all(len(set(joined[part == number].tolist())) == 1 for number in set(part.tolist()))


@pytest.mark.parametrize("folds", [2, 5])
def test_folds_keep_groups_and_copies_together_and_classes_even(folds: int) -> None:
    made = blobs(300)
    images = made.images.copy()
    images[200:210] = images[:10]
    rng = np.random.default_rng(0)
    data = replace(made, features=images, groups=rng.integers(0, 60, 300))
    fold = assign_folds(data, folds, 3)
    assert data.groups is not None
    for members in (data.groups, group_copies(images)):
        for number in set(members.tolist()):
            assert len(set(fold[members == number].tolist())) == 1
    counts = np.bincount(fold, minlength=folds)
    assert counts.max() - counts.min() < 25
    assert np.array_equal(fold, assign_folds(data, folds, 3))
    assert not np.array_equal(fold, assign_folds(data, folds, 4))


def test_cross_validation_takes_groups() -> None:
    recipe = Recipe(name="t", hidden=(4,), rule="backprop", activation="relu", epochs=1)
    writers = np.array(["a", "b", "c", "d"])[np.arange(60) % 4]
    found = cross_validate(blobs(60), recipe, 4, groups=writers)
    assert [fold.n_test for fold in found.folds] == [15] * 4
    assert len(found.per_class) == 10
    assert found.per_class[0].count == 6
    with pytest.raises(DataError, match="4 groups are too few for 5 folds"):
        cross_validate(blobs(60), recipe, 5, groups=writers)
    with pytest.raises(DataError, match="groups must be a text or number for each"):
        cross_validate(blobs(60), recipe, 4, groups=writers[:3])


# ---- data sets for other processes ----


@pytest.mark.parametrize("kind", ["images", "table", "with test"])
def test_a_shared_data_set_is_the_same(kind: str) -> None:
    data = linear_table(30) if kind == "table" else replace(blobs(20), groups=np.arange(20) // 3)
    if kind == "with test":
        data = replace(data, test=blobs(10, seed=1), validation=blobs(10, seed=2))
    key, content = shared_key(data), b"".join(map(bytes, to_parts(data)))
    middle = len(content) // 2
    for made in (from_buffer(content, key), (write_cached(key, to_parts(data)), read_cached(key))[1]):
        assert made is not None
        assert shared_key(made) == key
        assert (made.content_hash, made.names, made.columns) == (data.content_hash, data.names, data.columns)
        assert (made.test is None, made.validation is None) == (data.test is None, data.validation is None)
    with pytest.raises(DataError, match="other content"):
        from_buffer(content, "0" * 64)
    for damaged in (
        b"",
        content[:100],
        content[:-2000],
        b"x" + content,
        content[:middle] + b"\x0b" + content[middle + 1 :],
    ):
        with pytest.raises(DataError, match="not a shared data set"):
            from_buffer(damaged, key)
    assert read_cached("0" * 64) is None
