"""Converting to another format and back changes nothing, or a note says what."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fastnn.datasets import Dataset, idx, load_dataset
from fastnn.datasets.writers import write_dataset
from fastnn.errors import DataError
from tests.datasets.samples import DIGITS, dataset, images

TEXT = ("a cat", 'the "dog", brown', " b ")
OUTPUTS = [
    "a.json",
    "a.json.gz",
    "a.csv",
    "a.csv.gz",
    "a.npz",
    "idx",
    "mine-images-idx3-ubyte",
    "mine-images-idx3-ubyte.gz",
]


def digits(test: Dataset | None = None) -> Dataset:
    return dataset([3, 0, 9, 3, 5], test=test)


@pytest.mark.parametrize("second", OUTPUTS)
@pytest.mark.parametrize("first", OUTPUTS)
def test_round_trip_of_digits(first: str, second: str, tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
    written, notes = write_dataset(digits(), tmp_path / "one" / first)
    assert notes == []
    assert all(path.is_file() for path in written)
    write_dataset(load_dataset(tmp_path / "one" / first), tmp_path / "two" / second)
    assert load_dataset(tmp_path / "two" / second).content_hash == digits().content_hash


def test_classes_that_would_be_read_back_as_other_numbers_are_not_written_as_csv(tmp_path: Path) -> None:
    for classes in (("05", "6"), ("5.0", "6.0"), ("5", "05")):
        made = Dataset(images(2), np.array([0, 1]), classes, "a sample")
        with pytest.raises(DataError, match=r"read back as a number|both occur"):
            write_dataset(made, tmp_path / "a.csv")
        assert not (tmp_path / "a.csv").exists()


@pytest.mark.parametrize("name", [name for name in OUTPUTS if "idx" not in name])
def test_text_labels_round_trip(name: str, tmp_path: Path) -> None:
    classes = tuple(sorted(TEXT))
    made = Dataset(images(6), np.array([0, 2, 1, 1, 0, 2]), classes, "a sample")
    assert write_dataset(made, tmp_path / name)[1] == []
    assert load_dataset(tmp_path / name).content_hash == made.content_hash


@pytest.mark.parametrize("name", OUTPUTS)
def test_integers_beyond_nine_keep_their_order(name: str, tmp_path: Path) -> None:
    made = Dataset(images(3), np.array([2, 0, 1]), ("2", "10", "200"), "a sample")
    assert write_dataset(made, tmp_path / name)[1] == []
    assert load_dataset(tmp_path / name).content_hash == made.content_hash


@pytest.mark.parametrize("name", ["idx", "mine-images-idx3-ubyte"])
@pytest.mark.parametrize("classes", [TEXT, ("0", "1", "256"), ("1", "01", "2")])
def test_idx_refuses_text(name: str, classes: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="labels in IDX files are integers from 0 to 255"):
        write_dataset(dataset([0, 1, 2], classes), tmp_path / name)
    assert not (tmp_path / name).exists()


def test_json_has_the_format_of_the_original(tmp_path: Path) -> None:
    write_dataset(digits(), tmp_path / "a.json")
    items = json.loads((tmp_path / "a.json").read_text())
    assert items == [
        {"image": image.tolist(), "label": label} for image, label in zip(images(5), [3, 0, 9, 3, 5], strict=True)
    ]
    assert [list(item) for item in items] == [["image", "label"]] * 5


def test_the_real_file_comes_back_byte_for_byte(shared: Path, tmp_path: Path) -> None:
    source = shared / "digits" / "dataset.json"
    write_dataset(load_dataset(source), tmp_path / "a.npz")
    write_dataset(load_dataset(tmp_path / "a.npz"), tmp_path / "b.json")
    assert (tmp_path / "b.json").read_bytes() == source.read_bytes()


def test_idx_has_mnists_polarity(tmp_path: Path) -> None:
    write_dataset(digits(), tmp_path / "idx")
    content = (tmp_path / "idx" / "train-images-idx3-ubyte").read_bytes()
    assert content[:16].hex() == "00000803000000050000001c0000001c"
    assert content[16:] == (255 - images(5)).tobytes()


@pytest.mark.parametrize("name", OUTPUTS)
def test_a_test_set_is_kept_or_a_note_says_otherwise(name: str, tmp_path: Path) -> None:
    own = dataset([7, 8])
    _, notes = write_dataset(digits(own), tmp_path / name)
    loaded = load_dataset(tmp_path / name)
    assert loaded.content_hash == digits().content_hash
    if name in ("a.npz", "idx"):
        assert notes == []
        assert loaded.test is not None
        assert loaded.test.content_hash == own.content_hash
    else:
        assert len(notes) == 1
        assert "2 images of the test set are left out" in notes[0]
        assert loaded.test is None


def test_a_note_says_that_the_order_of_classes_is_lost(tmp_path: Path) -> None:
    made = dataset([0, 1, 0], ("zebra", "ant"))
    assert "read back as ant, zebra" in write_dataset(made, tmp_path / "a.json")[1][0]
    assert write_dataset(made, tmp_path / "a.npz")[1] == []
    assert load_dataset(tmp_path / "a.npz").content_hash == made.content_hash


@pytest.mark.parametrize("name", OUTPUTS)
def test_existing_files_are_replaced_only_with_force(name: str, tmp_path: Path) -> None:
    write_dataset(digits(digits()), tmp_path / name)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(DataError, match="exists already"):
        write_dataset(digits().take([0]), tmp_path / name)
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    write_dataset(digits().take([0]), tmp_path / name, force=True)
    loaded = load_dataset(tmp_path / name)
    assert (len(loaded), loaded.test) == (1, None)


def test_an_existing_file_of_labels_is_kept(tmp_path: Path) -> None:
    (tmp_path / "x-labels-idx1-ubyte").write_text("mine")
    with pytest.raises(DataError, match="x-labels-idx1-ubyte: exists already"):
        write_dataset(digits(), tmp_path / "x-images-idx3-ubyte")
    assert [path.name for path in tmp_path.iterdir()] == ["x-labels-idx1-ubyte"]


def test_idx_files_can_be_written_to_a_folder_with_other_files(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    write_dataset(digits(), tmp_path / "out")
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"
    assert len(load_dataset(tmp_path / "out")) == 5


def test_compressed_files_of_a_replaced_data_set_are_removed(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    for name in ("train-images-idx3-ubyte.gz", "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"):
        (tmp_path / "out" / name).write_text("old")
    write_dataset(digits(), tmp_path / "out", force=True)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "train-images-idx3-ubyte", "train-labels-idx1-ubyte",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("a.txt", "unknown format"),
        ("no/such/a.json", "such does not exist; make it first"),
        ("x-labels-idx1-ubyte", "give the name for the images"),
        ("no/such/folder", "such does not exist; make it first"),
        ("file/a.json", "a part of its path is a file"),
    ],
)
def test_impossible_targets(name: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match=words):
        write_dataset(digits(), tmp_path / name)
    assert [path.name for path in tmp_path.rglob("*")] == ["file"]


def test_the_same_data_give_the_same_file(tmp_path: Path) -> None:
    for name in ("a.json.gz", "b.json.gz"):
        write_dataset(digits(), tmp_path / name)
    assert (tmp_path / "a.json.gz").read_bytes() == (tmp_path / "b.json.gz").read_bytes()


def test_digits_have_ten_classes_even_if_some_do_not_occur(tmp_path: Path) -> None:
    write_dataset(dataset([4, 4]), tmp_path / "a.csv")
    assert load_dataset(tmp_path / "a.csv").classes == DIGITS


def test_the_links_and_permissions_of_a_replaced_pair_are_kept(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    images, labels = tmp_path / "x-images-idx3-ubyte", tmp_path / "x-labels-idx1-ubyte"
    write_dataset(digits(), tmp_path / "far" / images.name)
    for path in (images, labels):
        (tmp_path / "far" / path.name).chmod(0o600)
        path.symlink_to(tmp_path / "far" / path.name)
    write_dataset(digits().take([0, 1]), images, force=True)
    for path in (images, labels):
        assert path.is_symlink()
        assert path.stat().st_mode & 0o777 == 0o600
    assert len(load_dataset(images)) == 2


def test_compressed_images_have_compressed_labels(tmp_path: Path) -> None:
    write_dataset(digits(), tmp_path / "x-images-idx3-ubyte")
    write_dataset(digits().take([3, 4]), tmp_path / "x-images-idx3-ubyte.gz")
    assert [len(load_dataset(tmp_path / name)) for name in ("x-images-idx3-ubyte", "x-labels-idx1-ubyte.gz")] == [5, 2]
    (tmp_path / "x-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError, match=r"are not in the same folder; .* run it again with --force"):
        load_dataset(tmp_path / "x-images-idx3-ubyte.gz")


def test_a_pair_that_changes_while_it_is_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = tmp_path / "x-images-idx3-ubyte"
    write_dataset(digits(), images)
    read = idx.parse_images

    def read_and_replace(*args: Any) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
        monkeypatch.setattr(idx, "parse_images", read)
        write_dataset(digits().take([4, 3, 2, 1, 0]), images, force=True)
        return read(*args)

    monkeypatch.setattr(idx, "parse_images", read_and_replace)
    with pytest.raises(DataError, match="changed while they were read; try again"):
        load_dataset(images)
    assert len(load_dataset(images)) == 5


@pytest.mark.parametrize("name", ["a.json", "a.csv", "a.npz", "folder"])
@pytest.mark.parametrize("classes", [("a\nb", "x"), ("", "x"), ("\ud800", "x"), ("x", "x")])
def test_classes_that_cannot_be_read_again_are_not_written(name: str, classes: tuple[str, str], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot be a label|same name"):
        write_dataset(dataset([0, 1], classes), tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a.json", "a.csv"])
def test_labels_of_more_than_64_bits_are_not_written_to_formats_of_labels_alone(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="9223372036854775808 cannot be a label"):
        write_dataset(dataset([0, 1], ("7", "9223372036854775808")), tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_long_label_is_shortened_in_the_message(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"not '9{37}\.\.\.'; convert to"):
        write_dataset(dataset([0, 1], ("1", "9" * 5000)), tmp_path / "x-images-idx3-ubyte")
