"""Labels are found by the same names in CSV, in Parquet, and in files of labels beside pictures."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from fastnn.datasets import Dataset, load_dataset
from fastnn.datasets.label_names import LABEL_NAMES
from fastnn.errors import DataError

N = 24
DRAWN = load_dataset(f"drawn:{N}")
LABELS = DRAWN.labels.tolist()
HALVES = [label // 5 for label in LABELS]
Columns = dict[str, list[object]]


def as_csv(columns: Columns) -> Dataset:
    names = [*columns, *(f"pixel{k}" for k in range(784))]
    rows = zip(*columns.values(), *DRAWN.images.T.tolist(), strict=True)
    Path("a.csv").write_text("\n".join(",".join(map(str, row)) for row in (names, *rows)))
    return load_dataset("a.csv")


def as_parquet(columns: Columns) -> Dataset:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pa.table({"image": DRAWN.images.tolist(), **columns}), "a.parquet")
    return load_dataset("a.parquet")


def beside_pictures(columns: Columns) -> Dataset:
    Path("p").mkdir(exist_ok=True)
    for k, image in enumerate(DRAWN.images):
        Image.fromarray(image.reshape(28, 28)).save(f"p/a{k:02}.png")
    rows = zip([f"a{k:02}.png" for k in range(N)], *columns.values(), strict=True)
    Path("p/x.csv").write_text("\n".join(",".join(map(str, row)) for row in (["file", *columns], *rows)))
    return load_dataset("p")


DOORS = pytest.mark.parametrize("door", [as_csv, as_parquet, beside_pictures])
Door = Callable[[Columns], Dataset]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def labels(data: Dataset) -> list[str]:
    return [data.classes[k] for k in data.labels.tolist()]


@DOORS
@pytest.mark.parametrize("name", [LABEL_NAMES[0][1], LABEL_NAMES[1][-1], "Letter", "Class Label", "true-label"])
def test_the_label_is_found_by_its_name(door: Door, name: str) -> None:
    assert labels(door({"writer": HALVES, name: list(LABELS)})) == list(map(str, LABELS))


@DOORS
def test_columns_that_number_the_rows_are_left_out(door: Door) -> None:
    assert labels(door({"id": list(range(N)), "sign": list(LABELS)})) == list(map(str, LABELS))


@DOORS
def test_one_hot_labels_are_found(door: Door) -> None:
    columns: Columns = {f"label_{k}": [int(label == k) for label in LABELS] for k in range(10)}
    assert labels(door(columns)) == list(map(str, LABELS))


@DOORS
def test_a_number_and_a_name_of_the_class_do_not_contradict_each_other(door: Door) -> None:
    columns: Columns = {"class": list(LABELS), "target": [f"digit {k}" for k in LABELS]}
    assert labels(door(columns)) == list(map(str, LABELS))


@DOORS
def test_columns_that_contradict_each_other_are_refused(door: Door) -> None:
    with pytest.raises(DataError, match=r"2 columns could be the label; .*'class', 'target'"):
        door({"class": list(LABELS), "target": list(HALVES)})
    with pytest.raises(DataError, match=r"no column is named label; .*'a', 'b'"):
        door({"a": list(LABELS), "b": list(HALVES)})
