"""Stores and temporary files on the disk together with groups and with other processes."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fastnn.crossval import cross_validate
from fastnn.datasets import MappedRows, ReadOptions, load_source
from fastnn.datasets.loading import load_from
from fastnn.datasets.mapped import changed
from fastnn.datasets.options import DEFAULT_OPTIONS
from fastnn.datasets.shared import StoreNotHereError, from_buffer, read_cached, shared_key, to_parts, write_cached
from fastnn.datasets.store import check_store
from fastnn.datasets.store_writer import write_store
from fastnn.errors import DataError
from fastnn.recipe import Recipe, presets
from tests.helpers import blobs, linear_table

if TYPE_CHECKING:
    from pathlib import Path

    from fastnn.datasets import Dataset

RECIPE = Recipe(name="t", hidden=(4,), rule="backprop", activation="relu", epochs=1)


def numbers(tmp_path: Path) -> tuple[str, str]:
    path = tmp_path / "t.csv"
    path.write_text("writer,x,z,target\n" + "".join(f"w{k % 4},{k},{k * k % 7},{'ab'[k % 2]}\n" for k in range(40)))
    return str(path), "writer"


def parquet(tmp_path: Path) -> tuple[str, str]:
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    columns = {"writer": [f"w{k % 4}" for k in range(40)], "x": [k * 0.5 for k in range(40)]}
    pq.write_table(pa.table({**columns, "target": ["ab"[k % 2] for k in range(40)]}), tmp_path / "t.parquet")
    return str(tmp_path / "t.parquet"), "writer"


def pixels(tmp_path: Path) -> tuple[str, str]:
    made, path = blobs(20), tmp_path / "p.csv"
    rows = [f"w{k % 4},{made.labels[k]}," + ",".join(map(str, made.images[k])) for k in range(20)]
    path.write_text("\n".join(["writer,label," + ",".join(f"pixel{k}" for k in range(784)), *rows]))
    return str(path), "writer"


def digits(tmp_path: Path) -> tuple[str, str]:
    made, path = blobs(20), tmp_path / "d.json"
    items = [
        {"image": image.tolist(), "label": int(label), "contributor": f"c{k % 3}"}
        for k, (image, label) in enumerate(zip(made.images, made.labels, strict=True))
    ]
    path.write_text(json.dumps(items))
    return str(path), "contributor"


def database(tmp_path: Path) -> tuple[str, str]:
    module = pytest.importorskip("fastnn.datasets.database")
    url = f"sqlite:///{tmp_path / 'd.db'}"
    module.import_dataset(blobs(10), url, contributor="ann")
    module.import_dataset(blobs(10, seed=1), url, contributor="bob")
    return url, "contributor"


@pytest.mark.parametrize("write", [numbers, parquet, pixels, digits, database])
def test_rows_that_are_left_on_the_disk_have_their_groups(write: Any, tmp_path: Path) -> None:
    source, group = write(tmp_path)
    options = ReadOptions.of(group=group)
    (tmp_path / "spool").mkdir()
    here, there = load_source(source, options), load_from(source, options, spool=tmp_path / "spool")
    assert isinstance(there.features, MappedRows)
    assert here.groups is not None
    assert there.groups is not None
    assert here.groups.tolist() == there.groups.tolist()
    assert (here.content_hash, here.columns) == (there.content_hash, there.columns)


def test_a_store_keeps_the_groups_of_its_source(tmp_path: Path) -> None:
    source, group = digits(tmp_path)
    options = ReadOptions.of(group=group)
    plain, stored = load_source(source, options), write_store(source, tmp_path / "d.fnn", options)
    assert plain.groups is not None
    for one in (stored, load_source(tmp_path / "d.fnn", ReadOptions()), load_source(tmp_path / "d.fnn", options)):
        assert one.groups is not None
        assert one.groups.tolist() == plain.groups.tolist()
    assert stored.content_hash == plain.content_hash
    with pytest.raises(DataError, match=f"keeps the groups of '{group}' alone"):
        load_source(tmp_path / "d.fnn", ReadOptions.of(group="writer"))
    one, two = (cross_validate(data, RECIPE, 2, threads=1) for data in (plain, tmp_path / "d.fnn"))
    assert one == two
    groups = np.array(stored.groups)
    np.save(tmp_path / "d.fnn" / "train-groups.npy", groups[::-1])
    with pytest.raises(DataError, match="was edited or is damaged"):
        check_store(tmp_path / "d.fnn")
    np.save(tmp_path / "d.fnn" / "train-groups.npy", groups[1:])
    with pytest.raises(DataError, match=r"train-groups.npy: holds int64 of shape"):
        load_source(tmp_path / "d.fnn", ReadOptions())
    write_store(source, tmp_path / "d.fnn", force=True)
    assert not (tmp_path / "d.fnn" / "train-groups.npy").exists()
    with pytest.raises(DataError, match="keeps no groups; write it again with fastnn data convert --group"):
        load_source(tmp_path / "d.fnn", options)


@pytest.mark.parametrize("make", [blobs, linear_table])
def test_folds_of_a_store_are_those_of_its_source(make: Any, tmp_path: Path) -> None:
    made = make(60)
    stored = write_store(made, tmp_path / "big.fnn")
    groups = np.arange(60) // 3
    recipe = RECIPE if made.is_images else presets["table"].replace(epochs=2)
    one, two = (cross_validate(data, recipe, 3, groups=groups, threads=1) for data in (made, stored))
    assert one == two


# ---- for other processes ----


def parts_of(dataset: Dataset) -> tuple[str, bytes]:
    return shared_key(dataset), b"".join(map(bytes, to_parts(dataset)))


@pytest.mark.parametrize("kind", ["whole", "part", "table", "with test"])
def test_of_a_store_only_the_positions_of_rows_are_sent(kind: str, tmp_path: Path) -> None:
    made = linear_table(300) if kind == "table" else blobs(300)
    if kind == "with test":
        made = replace(made, test=blobs(20, seed=1))
    data = write_store(made, tmp_path / "big.fnn")
    data = data.take(np.arange(5, 200, 3)) if kind == "part" else data
    key, content = parts_of(data)
    assert len(content) < 10_000
    for again in (from_buffer(content, key), (write_cached(key, to_parts(data)), read_cached(key))[1]):
        assert again is not None
        assert isinstance(again.features, MappedRows)
        assert shared_key(again) == key
        assert again.compute_hash() == data.compute_hash()
        assert (again.test is None) == (data.test is None)
    assert shared_key(data.take(range(5))) != shared_key(data.take(range(1, 6)))
    with pytest.raises(DataError, match="other content"):
        from_buffer(content, "0" * 64)


def test_a_store_that_is_not_there_or_another_one_is_named(tmp_path: Path) -> None:
    data = write_store(blobs(60), tmp_path / "big.fnn")
    key, content = parts_of(data)
    write_cached(key, to_parts(data))
    write_store(blobs(60, seed=3), tmp_path / "big.fnn", force=True)
    for _ in range(2):
        for read in (lambda: from_buffer(content, key), lambda: read_cached(key)):
            with pytest.raises(StoreNotHereError, match=r"big\.fnn.*every machine needs the same store"):
                read()
        shutil.rmtree(tmp_path / "big.fnn", ignore_errors=True)


def test_rows_of_no_store_or_changed_ones_are_not_sent(tmp_path: Path) -> None:
    source, _ = digits(tmp_path)
    (tmp_path / "spool").mkdir()
    loose = load_from(source, DEFAULT_OPTIONS, spool=tmp_path / "spool")
    data = write_store(blobs(60), tmp_path / "big.fnn")
    turned = replace(data, features=changed(data.features, lambda rows, _: 255 - rows))
    for wrong in (loose, turned):
        with pytest.raises(DataError, match="in no store as they are"):
            to_parts(wrong)
        with pytest.raises(DataError, match="in no store as they are"):
            shared_key(wrong)


def test_wrong_labels_of_a_store_are_searched_in_this_process_alone(tmp_path: Path) -> None:
    pytest.importorskip("cleanlab")
    from fastnn.label_issues import find_issues

    data = write_store(blobs(60), tmp_path / "big.fnn")
    with pytest.raises(DataError, match="drop --scheduler"):
        find_issues(data, scheduler="tcp://127.0.0.1:1")
