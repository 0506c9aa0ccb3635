"""Labels that differ in every image are its number or name, however they are stored, and are refused."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastnn.datasets import load_dataset
from fastnn.errors import DataError
from tests.datasets.test_pixel_tables import PIXELS, digits, written


def table(labels: Sequence[object], name: str = "label", file: str = "a.csv") -> str:
    return written([name, *PIXELS], [np.array(labels, dtype=object), digits(len(labels))], name=file)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", ["label", "class", "target", "y", "digit"])
def test_a_column_named_label_that_numbers_the_rows_is_refused(name: str) -> None:
    path = table(range(30), name)
    with pytest.raises(
        DataError, match=r"a\.csv: 30 images have 30 different labels \('0', '1', '2', \.\.\.\).*--target"
    ):
        load_dataset(path)
    assert len(load_dataset(path, target=name).classes) == 30
    assert len(load_dataset(path, classes="0-29").classes) == 30


@pytest.mark.parametrize(
    "labels",
    [
        [f"{k:05}.png" for k in range(10)],
        range(4711, 4721),
        [f"row {k}" for k in range(40)],
        [1000 + 17 * (k // 2 * 2 if k < 10 else k) for k in range(40)],
    ],
    ids=["names of 10 files", "10 large numbers", "40 texts", "numbers of which a few occur twice"],
)
def test_labels_that_are_no_classes_are_refused(labels: Sequence[object]) -> None:
    with pytest.raises(DataError, match="different labels"):
        load_dataset(table(labels))


@pytest.mark.parametrize(
    "labels",
    [
        range(10),
        [3, 1, 4, 5, 9, 2, 6, 8, 7, 0],
        range(10, 20),
        "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
        ["zero", "one", "two", "three", "four", "five", "six"],
        [2, 10, 200],
        [k % 26 for k in range(40)],
        [1000 + k % 10 for k in range(30)],
    ],
    ids=str,
)
def test_a_small_set_with_one_image_of_each_class_is_read(labels: Sequence[object]) -> None:
    dataset = load_dataset(table(list(labels)))
    assert [dataset.classes[k] for k in dataset.labels.tolist()] == list(map(str, labels))


def test_arrays_and_folders_are_checked_too() -> None:
    images = digits(30)
    few = np.arange(30) % 10
    np.savez("a.npz", images=images, labels=np.arange(30))
    with pytest.raises(DataError, match=r"a\.npz: 30 images have 30 different labels.*--classes"):
        load_dataset("a.npz")
    np.savez("b.npz", x_train=images, y_train=few, x_test=images, y_test=np.arange(100, 130))
    with pytest.raises(DataError, match=r"b\.npz \(test set\): 30 images have 30 different labels"):
        load_dataset("b.npz")
    np.savez("c.npz", x_train=np.tile(images, (2, 1)), y_train=np.arange(60) % 30, x_test=images, y_test=np.arange(30))
    assert load_dataset("c.npz").test is not None
    for k, image in enumerate(images):
        Path(f"d/sample {k}").mkdir(parents=True)
        Image.fromarray(image.reshape(28, 28)).save(f"d/sample {k}/a.png")
    with pytest.raises(DataError, match="d: 30 images have 30 different labels"):
        load_dataset("d")


def test_a_table_whose_target_names_the_rows_is_refused() -> None:
    path = written(["x", "y"], [np.arange(20) % 7, np.array([f"name {k}" for k in range(20)])])
    with pytest.raises(DataError, match=r"target 'y' holds another text in each of the 20 rows.*--target.*--task"):
        load_dataset(path)
    assert len(load_dataset(path, task="classification").names) == 20


def test_texts_among_numbers_are_noted() -> None:
    labels: list[object] = [k % 10 for k in range(30)]
    labels[3], labels[7], labels[9] = "Total", "Total", "none"
    note = "classes are numbers, but also 'Total' (2 images) and 'none' (1 image); --classes leaves them out"
    assert note in load_dataset(table(labels)).notes
    assert not any("but also" in text for text in load_dataset(table(labels), classes="0-9").notes)
    labels[3], labels[7], labels[9] = "A", "B", "C"
    assert not any("but also" in text for text in load_dataset(table(labels)).notes)


@pytest.mark.parametrize("missing", ["nan", "NaN", "inf"])
def test_a_missing_label_among_numbers_is_refused(missing: str) -> None:
    with pytest.raises(DataError, match=f"a.csv: '{missing}' is not a label; fill it in, or leave the row out"):
        load_dataset(table([missing if k == 3 else k % 10 for k in range(30)]))
