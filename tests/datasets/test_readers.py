"""Every format is read with the images and labels that were written."""

import gzip
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastnn.datasets import Dataset, load_dataset
from fastnn.datasets.writers import write_dataset
from fastnn.errors import DataError
from tests.datasets.samples import DIGITS, digit, idx_images, idx_labels, images, json_bytes

IMAGES = images(3)
LABELS = [7, 0, 7]


def as_json(labels: list[int] | list[str]) -> bytes:
    items = [{"image": image.tolist(), "label": label} for image, label in zip(IMAGES, labels, strict=True)]
    return json.dumps(items).encode()


def rows(labels: list[object]) -> bytes:
    lines = [f"{label},{','.join(map(str, image.tolist()))}" for image, label in zip(IMAGES, labels, strict=True)]
    return "\n".join(lines).encode()


def assert_digits(loaded: Dataset, labels: list[int] = LABELS) -> None:
    np.testing.assert_array_equal(loaded.images, IMAGES)
    assert loaded.labels.tolist() == labels
    assert loaded.classes == DIGITS
    assert loaded.images.flags.writeable
    assert loaded.images.flags.c_contiguous
    assert loaded.labels.flags.writeable


HEADER = b"label," + b",".join(b"pixel%d" % i for i in range(784)) + b"\n"
NUMBERED = b"label," + b",".join(b"%d" % i for i in range(784)) + b"\n"
FILES = {
    "a.json": as_json(LABELS),
    "mark.json": b"\xef\xbb\xbf" + as_json(LABELS),
    "text.json": as_json(["7", "0", "7"]),
    "A.JSON": as_json(LABELS),
    "a.json.gz": gzip.compress(as_json(LABELS)),
    "a.csv": rows(LABELS),
    "header.csv": HEADER + rows(LABELS),
    "numbered.csv": NUMBERED + rows(LABELS),
    "mark.csv": b"\xef\xbb\xbf" + rows(LABELS),
    "windows.csv": rows(LABELS).replace(b"\n", b"\r\n") + b"\r\n\r\n",
    "quoted.csv": rows([f'"{label}"' for label in LABELS]),
    "all-quoted.csv": b"\n".join(
        b",".join(b'"%b"' % field for field in line.split(b",")) for line in rows(LABELS).split(b"\n")
    ),
    "spaces.csv": rows(LABELS).replace(b",", b" , "),
    "a.csv.gz": gzip.compress(rows(LABELS)),
}


@pytest.mark.parametrize("name", FILES)
def test_text_file(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(FILES[name])
    loaded = load_dataset(str(tmp_path / name))
    assert_digits(loaded)
    assert loaded.source == str(tmp_path / name)
    assert bool(loaded.notes) == ("csv" in name)


@pytest.mark.parametrize(
    ("labels", "classes", "indices"),
    [
        (["b", "a", "b"], ("a", "b"), [1, 0, 1]),
        (["2", "10", "2"], ("2", "10"), [0, 1, 0]),
        (["07", "7", "7"], ("07", "7"), [0, 1, 1]),
        (["ä", "日本", "x y"], ("x y", "ä", "日本"), [1, 2, 0]),
    ],
)
@pytest.mark.parametrize("suffix", ["json", "csv", "npz"])
def test_text_labels(
    suffix: str, labels: list[str], classes: tuple[str, ...], indices: list[int], tmp_path: Path
) -> None:
    path = tmp_path / f"a.{suffix}"
    if suffix == "npz":
        np.savez(path, images=IMAGES, labels=np.array(labels))
    else:
        path.write_bytes(as_json(labels) if suffix == "json" else rows(list(labels)))
    if suffix == "csv" and "07" in labels:
        with pytest.raises(DataError, match="labels 7 and '07' both occur"):
            load_dataset(path)
        return
    loaded = load_dataset(path)
    assert loaded.classes == classes
    assert loaded.labels.tolist() == indices


def test_json_may_mix_numbers_and_text(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(json_bytes(digit(3), digit("x")))
    assert load_dataset(tmp_path / "a.json").classes == ("3", "x")


@pytest.mark.parametrize("shape", [(3, 784), (3, 28, 28)])
@pytest.mark.parametrize("dtype", ["<i8", ">i2", "u1"])
def test_npz(shape: tuple[int, ...], dtype: str, tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", images=IMAGES.reshape(shape), labels=np.array(LABELS, dtype))
    assert_digits(load_dataset(tmp_path / "a.npz"))


def test_npz_in_fortran_order(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=np.asfortranarray(IMAGES), labels=LABELS)
    assert_digits(load_dataset(tmp_path / "a.npz"))


def test_npz_with_classes_reads_integers_as_indices_and_text_as_names(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=IMAGES, labels=[1, 0, 1], classes=["zebra", "ant"])
    np.savez(tmp_path / "b.npz", images=IMAGES, labels=["ant", "zebra", "ant"], classes=["zebra", "ant"])
    for name in ("a.npz", "b.npz"):
        loaded = load_dataset(tmp_path / name)
        assert loaded.classes == ("zebra", "ant")
        assert loaded.labels.tolist() == [1, 0, 1]


def test_npz_encodes_training_and_test_labels_together(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "a.npz", images=IMAGES, labels=["b", "c", "b"], test_images=IMAGES[:1], test_labels=["a"]
    )  # fmt: skip
    loaded = load_dataset(tmp_path / "a.npz")
    assert loaded.classes == ("a", "b", "c")
    assert loaded.labels.tolist() == [1, 2, 1]
    assert loaded.test is not None
    assert loaded.test.classes == loaded.classes
    assert loaded.test.labels.tolist() == [0]


def write_pair(folder: Path, images_name: str, labels_name: str, labels: list[int] = LABELS) -> None:
    folder.mkdir(exist_ok=True)
    ink = (255 - IMAGES[: len(labels)]).tobytes()
    contents = {images_name: idx_images(len(labels), ink), labels_name: idx_labels(len(labels), bytes(labels))}
    for name, content in contents.items():
        (folder / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)


@pytest.mark.parametrize(
    ("images_name", "labels_name"),
    [
        ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
        ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
        ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte"),
        ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
        ("my-digits-train-images-idx3-ubyte.gz", "my-digits-train-labels-idx1-ubyte.gz"),
        ("mine.images.idx3-ubyte", "mine.labels.idx1-ubyte"),
        ("mine.idx3", "mine.idx1"),
    ],
)
def test_idx_pair_by_folder_and_by_either_file(images_name: str, labels_name: str, tmp_path: Path) -> None:
    folder = tmp_path / "pair"
    write_pair(folder, images_name, labels_name)
    for source in (folder, folder / images_name, folder / labels_name):
        loaded = load_dataset(source)
        assert_digits(loaded)
        assert loaded.test is None


def test_idx_folder_with_a_test_set(tmp_path: Path) -> None:
    write_pair(tmp_path / "m", "train-images-idx3-ubyte", "train-labels-idx1-ubyte.gz")
    write_pair(tmp_path / "m", "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte", [4, 5])
    loaded = load_dataset(tmp_path / "m")
    assert_digits(loaded)
    assert loaded.test is not None
    assert loaded.test.labels.tolist() == [4, 5]
    # A pair given by one of its files is read without the other pair.
    assert load_dataset(tmp_path / "m" / "t10k-images-idx3-ubyte.gz").labels.tolist() == [4, 5]


def test_idx_file_given_by_name_is_the_one_read(tmp_path: Path) -> None:
    write_pair(tmp_path / "m", "x-images-idx3-ubyte", "x-labels-idx1-ubyte")
    write_pair(tmp_path / "m", "x-images-idx3-ubyte.gz", "x-labels-idx1-ubyte.gz", [1, 2])
    packed = tmp_path / "m" / "x-images-idx3-ubyte.gz"
    (tmp_path / "m" / "x-labels-idx1-ubyte").unlink()
    assert load_dataset(packed).labels.tolist() == [1, 2]


def test_class_files_as_the_original_collected_them(tmp_path: Path) -> None:
    folder = tmp_path / "numbers"
    folder.mkdir()
    bare, unlabelled, labelled = IMAGES.tolist()
    (folder / "2.json").write_bytes(json_bytes(bare, {"image": unlabelled}))
    (folder / "5.json.gz").write_bytes(gzip.compress(json_bytes({"image": labelled, "label": 6})))
    assert_digits(load_dataset(folder), [2, 2, 6])


def test_folder_that_holds_the_original_file(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "dataset.json").write_bytes(as_json(LABELS))
    assert_digits(load_dataset(tmp_path / "data"))


def test_class_folders(tmp_path: Path) -> None:
    for image, place in zip(IMAGES, ("cat/2.png", "ant/1.PNG", "cat/10.png"), strict=True):
        path = tmp_path / "pictures" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.reshape(28, 28)).save(path)
    (tmp_path / "pictures" / "cat" / "notes.txt").write_text("not an image")
    (tmp_path / "pictures" / "cat" / ".hidden.png").write_text("not an image")
    (tmp_path / "pictures" / "empty").mkdir()
    loaded = load_dataset(tmp_path / "pictures")
    np.testing.assert_array_equal(loaded.images, IMAGES[[1, 2, 0]])
    assert loaded.classes == ("ant", "cat")
    assert loaded.labels.tolist() == [0, 1, 1]
    assert loaded.notes[-1] == (
        "passed over: 1 file that is not a picture (notes.txt), 1 hidden file or folder (.hidden.png), "
        "1 folder without pictures (empty)"
    )


def test_class_folders_named_by_digits_have_all_ten_classes(tmp_path: Path) -> None:
    (tmp_path / "p" / "7").mkdir(parents=True)
    Image.fromarray(IMAGES[0].reshape(28, 28)).save(tmp_path / "p" / "7" / "a.jpeg", "JPEG", quality=100)
    loaded = load_dataset(tmp_path / "p")
    assert loaded.classes == DIGITS
    assert loaded.labels.tolist() == [7]
    assert np.abs(loaded.images[0].astype(int) - IMAGES[0]).max() < 20


def test_light_ink_on_dark_paper_is_inverted_with_a_note(tmp_path: Path) -> None:
    drawn = load_dataset("drawn:60")
    np.savez(tmp_path / "a.npz", images=255 - drawn.images, labels=drawn.labels)
    dataset = load_dataset(tmp_path / "a.npz")
    np.testing.assert_array_equal(dataset.images, drawn.images)
    assert dataset.polarity == "light-on-dark"
    assert "light ink on dark paper" in dataset.notes[0]
    asked = load_dataset(tmp_path / "a.npz", polarity="dark-on-light")
    np.testing.assert_array_equal(asked.images, 255 - drawn.images)
    assert (asked.polarity, asked.notes) == ("dark-on-light", ())


def test_a_set_of_both_polarities_is_decided_image_by_image(tmp_path: Path) -> None:
    drawn = load_dataset("drawn:60")
    for n_dark, polarity in ((2, "dark-on-light"), (3, "mixed"), (30, "mixed"), (57, "mixed"), (58, "light-on-dark")):
        images = drawn.images.copy()
        images[:n_dark] = 255 - images[:n_dark]
        np.savez(tmp_path / "a.npz", images=images, labels=drawn.labels)
        dataset = load_dataset(tmp_path / "a.npz")
        assert dataset.polarity == polarity
        if polarity == "mixed":
            np.testing.assert_array_equal(dataset.images, drawn.images)
            assert f"{n_dark} of 60 images" in dataset.notes[0]
        else:
            assert "2 of 60 images look inverted" in dataset.notes[-1]
            assert f"--polarity {polarity}" in dataset.notes[-1]
            # Who says how the images are stored is not asked again.
            assert not load_dataset(tmp_path / "a.npz", polarity=polarity).notes


def test_a_few_inverted_images_are_named(tmp_path: Path) -> None:
    drawn = load_dataset("drawn:100")
    images = drawn.images.copy()
    images[[5, 50, 70, 99]] = 255 - images[[5, 50, 70, 99]]
    np.savez(tmp_path / "a.npz", images=images, labels=drawn.labels)
    (note,) = load_dataset(tmp_path / "a.npz").notes
    assert "4 of 100 images look inverted compared with the others (5, 50, 70 and 1 more, counted from 0)" in note
    assert "--polarity dark-on-light" in note
    for k, (image, label) in enumerate(zip(images, drawn.labels.tolist(), strict=True)):
        folder = tmp_path / "pictures" / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.reshape(28, 28)).save(folder / f"{k}.png")
    (note,) = load_dataset(tmp_path / "pictures").notes
    assert sum(f"{drawn.labels[k]}/{k}.png" in note for k in (5, 50, 70, 99)) == 3
    assert "4 of 100 images look inverted" in note
    assert "counted from 0" not in note


def test_a_digit_along_the_border_is_not_called_inverted(tmp_path: Path) -> None:
    drawn = load_dataset("drawn:100")
    images = drawn.images.copy().reshape(-1, 28, 28)
    images[7] = 0
    images[7, 3:-3, 3:-3] = 255
    np.savez(tmp_path / "a.npz", images=images, labels=drawn.labels)
    assert load_dataset(tmp_path / "a.npz").notes == ()


def test_what_only_the_test_set_has_is_noted(tmp_path: Path) -> None:
    drawn = load_dataset("drawn:60")
    test = 255 - drawn.images
    test[7] = drawn.images[7]
    np.savez(tmp_path / "a.npz", x_train=drawn.images, y_train=drawn.labels, x_test=test, y_test=drawn.labels)
    notes = [note for note in load_dataset(tmp_path / "a.npz").notes if note.startswith("test set: ")]
    assert len(notes) == 2
    assert "light ink on dark paper" in notes[0]
    assert "1 of 60 images looks inverted compared with the others (7, counted from 0)" in notes[1]


def test_idx_files_of_either_polarity_are_read(tmp_path: Path) -> None:
    drawn = load_dataset("drawn:20")
    for name, written in (("usual", drawn), ("other", replace(drawn, features=255 - drawn.images))):
        (tmp_path / name).mkdir()
        write_dataset(written, tmp_path / name / "a-images-idx3-ubyte")
        dataset = load_dataset(tmp_path / name)
        np.testing.assert_array_equal(dataset.images, drawn.images)
        assert dataset.polarity == {"usual": "light-on-dark", "other": "dark-on-light"}[name]
        assert len(dataset.notes) == (name == "other")


def test_home_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a.json").write_bytes(as_json(LABELS))
    assert_digits(load_dataset("~/a.json"))


def test_text_can_be_a_name_but_a_path_object_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Dataset(IMAGES, np.array(LABELS), DIGITS, "drawn")
    monkeypatch.setattr("fastnn.datasets.drawn.drawn", lambda: made)
    (tmp_path / "drawn").mkdir()
    (tmp_path / "drawn" / "dataset.json").write_bytes(as_json(LABELS))
    assert_digits(load_dataset(Path("drawn")))
    assert load_dataset("drawn") is made


def test_the_real_digits(shared: Path) -> None:
    loaded = load_dataset(shared / "digits" / "dataset.json")
    assert loaded.counts.tolist() == [1129, 168, 191, 1225, 141, 1200, 1248, 166, 1199, 177]


def test_mnist_by_its_folder(shared: Path) -> None:
    loaded = load_dataset(shared / "mnist")
    assert (len(loaded), len(loaded.test or ())) == (60_000, 10_000)
    assert loaded.labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert 0.15 < np.mean(loaded.images != 255) < 0.25


@pytest.mark.parametrize(
    "content",
    [
        b"\x1f\x8b\x08\x08\0\0\0\0\0\3" + bytes([1]) * 30_000_000,  # the name of the packed file
        gzip.compress(b"[]") + bytes(30_000_000),
    ],
    ids=["long header", "long padding"],
)
def test_what_is_not_data_in_a_gzip_file_takes_no_time(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.json.gz").write_bytes(content)
    start = time.process_time()
    with pytest.raises(DataError, match=r"a\.json\.gz"):
        load_dataset(tmp_path / "a.json.gz")
    assert time.process_time() - start < 2


def test_gzip_file_of_several_members(tmp_path: Path) -> None:
    content = as_json(LABELS)
    pieces = [content[:1], content[1:6], b"", content[6:100], content[100:]]
    packed = b"".join(gzip.compress(piece) + bytes(5000 * (number % 2)) for number, piece in enumerate(pieces))
    (tmp_path / "a.json.gz").write_bytes(packed)
    (tmp_path / "a.json").write_bytes(content)
    plain = load_dataset(tmp_path / "a.json")
    assert load_dataset(tmp_path / "a.json.gz").content_hash == plain.content_hash
