"""Numbers and names that Python's own conversions refuse or read in a way that nobody means."""

from pathlib import Path

import numpy as np
import pytest

from fastnn.datasets import Dataset, encode_labels, load_dataset
from fastnn.datasets.idx import label_bytes
from fastnn.datasets.writers import write_dataset
from fastnn.errors import DataError
from tests.datasets.samples import dataset, images, json_bytes
from tests.helpers import invoke

LONG = "9" * 5000
"""More digits than Python converts to an integer."""


@pytest.mark.parametrize(
    "rest", [LONG, f"5:{LONG}", "9" * 4000, "-1", "1e3", "٣", "²", "1_0", " 5", "5:", "nan", "\ud800"]
)
def test_drawn_digits_need_plain_numbers(rest: str) -> None:
    with pytest.raises(DataError) as caught:
        load_dataset(f"drawn:{rest}")
    assert len(str(caught.value)) < 4200
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("name", [LONG, "256", "٣", "²", "-1", "07", "1.0", "a"])
def test_labels_that_idx_cannot_hold_are_refused(name: str, tmp_path: Path) -> None:
    data = dataset([0, 1], ("3", name))
    with pytest.raises(DataError, match="labels in IDX files are integers from 0 to 255"):
        label_bytes(data)
    with pytest.raises(DataError, match="labels in IDX files are integers from 0 to 255"):
        write_dataset(data, tmp_path / "x-images-idx3-ubyte")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("label", [10**5000, -(10**5000), 2**63, -1, np.int64(-1)], ids="abcde")
def test_integers_out_of_range_are_no_labels(label: int) -> None:
    with pytest.raises(DataError, match=r"cannot be a label; integer labels are 0 to 2\^63 - 1"):
        encode_labels([1, label])


def test_text_of_many_digits_is_a_name() -> None:
    assert encode_labels([LONG, "1"])[1] == ("1", LONG)
    with pytest.raises(DataError, match="cannot be a label"):
        encode_labels(["9" * 4000, "1"])


@pytest.mark.parametrize("label", [LONG, "1e999", "-0", "-1", "1.0", "NaN", "1E400", '"\\ud800"', "[]", "true"])
def test_labels_in_json_are_small_integers_or_text(label: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(json_bytes({"image": [255] * 784, "label": 7}).replace(b"7}", label.encode() + b"}"))
    if label == "-0":
        assert load_dataset(path).labels.tolist() == [0]
        return
    with pytest.raises(DataError) as caught:
        load_dataset(path)
    assert str(caught.value).startswith(f"{path}: item 0: ")


def test_labels_in_csv_may_be_any_text(tmp_path: Path) -> None:
    names = [LONG, "1e999", "nan", "-0", "٣", "0x10"]
    data = Dataset(images(len(names)), np.arange(len(names)), tuple(names), "odd")
    write_dataset(data, tmp_path / "a.csv")
    loaded = load_dataset(tmp_path / "a.csv")
    assert [loaded.classes[label] for label in loaded.labels] == names


@pytest.mark.parametrize(
    "arguments",
    [
        ("data", "info", f"drawn:{LONG}"),
        ("data", "mosaic", "drawn:9", "a.png", "--rows", LONG),
        ("data", "mosaic", "drawn:9", "a.png", "--seed", LONG),
        ("data", "mosaic", "drawn:9", "a.png", "--seed", "-1"),
        ("data", "mosaic", "drawn:9", "a.png", "--rows", "9" * 4000),
        ("data", "convert", "long.csv", "x-images-idx3-ubyte"),
        ("train", "--data", "drawn:99", "--hidden", LONG),
        ("train", "--data", "drawn:99", "--hidden", "9" * 4000),
        ("train", "--data", "drawn:99", "--hidden", "4,1e3"),
        ("train", "--data", "drawn:99", "--epochs", "9" * 4000),
        ("train", "--data", "drawn:99", "--epochs", LONG),
        ("train", "--data", "drawn:99", "--seed", "9" * 4000),
        ("train", "--data", "drawn:99", "--per-class", "9" * 4000),
        ("train", "--data", "drawn:99", "--lr", "1e999"),
        ("train", "--data", "drawn:99", "--lr", "nan"),
        ("train", "--data", "drawn:99", "--lr", "-0.0"),
        ("train", "--data", "drawn:99", "--test-fraction", "nan"),
        ("data", "import", "drawn:9", "--into", "sqlite:///a.db", "--contributor", "\udcff"),
        ("data", "import", "drawn:9", "--into", f"postgresql://a:{LONG}/b"),
        ("data", "info", "postgresql://localhost:x/b"),
        ("predict", "\udcff.safetensors", "a.png"),
    ],
    ids=lambda arguments: " ".join(word.encode(errors="replace").decode()[:12] for word in arguments),
)
def test_odd_values_of_options_end_with_exit_code_2(
    arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("long.csv").write_text(f"{LONG},{','.join(['255'] * 784)}\n")
    result = invoke(arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code == 2, result.output
