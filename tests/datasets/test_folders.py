"""Data sets in folders and archives: where they are found, the labels of pictures, and what is passed over."""

import gzip
import io
import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastnn.datasets import Dataset, load_dataset
from fastnn.datasets.resize import Resize
from fastnn.errors import DataError
from tests.datasets.samples import DIGITS, idx_images, idx_labels, images, json_bytes
from tests.models import png, seven

IMAGES = images(40)
PIXELS = IMAGES.reshape(-1, 28, 28)
Files = dict[str, bytes]


def pictures(*names: str) -> Files:
    """Return files of different images, in the order of the names."""
    return {name: png(PIXELS[position]) for position, name in enumerate(names)}


def write(folder: Path, files: Files) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def as_zip(files: Files, **options: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", **options) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file.getvalue()


def as_tar(files: Files) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def idx_pair(images_name: str, labels_name: str, count: int = 2) -> Files:
    ink = (255 - IMAGES[:count]).tobytes()
    return {images_name: idx_images(count, ink), labels_name: idx_labels(count, bytes(range(count)))}


def labelled(dataset: Dataset | None) -> list[tuple[int, str]]:
    """Return the position in IMAGES and the class of each image."""
    assert dataset is not None
    known = {image.tobytes(): position for position, image in enumerate(IMAGES)}
    return [
        (known[image.tobytes()], dataset.classes[label])
        for image, label in zip(dataset.images, dataset.labels, strict=True)
    ]


CSV_ROWS = b"".join(b"%d,%s\n" % (k, b",".join(b"%d" % value for value in IMAGES[k])) for k in range(2))
RAW = "MNIST/raw/"
CAT_DOG = ("cat/1.png", "cat/2.png", "dog/1.png")
FLAT = ("3_001.png", "3_002.png", "7_001.png", "7_002.png")

# name of the case: (files, images with their classes, words of the notes)
LAYOUTS: dict[str, tuple[Files, list[tuple[int, str]], str]] = {
    "class folders": (pictures(*CAT_DOG), [(0, "cat"), (1, "cat"), (2, "dog")], ""),
    "one level down": (
        pictures(*(f"archive/{name}" for name in CAT_DOG)),
        [(0, "cat"), (1, "cat"), (2, "dog")],
        "found in {folder}/archive",
    ),
    "nested as on Kaggle": (
        pictures("trainingSet/trainingSet/0/a.jpg", "trainingSet/trainingSet/1/a.jpg"),
        [(0, "0"), (1, "1")],
        "found in {folder}/trainingSet/trainingSet",
    ),
    "IDX two levels down": (
        idx_pair(f"{RAW}train-images-idx3-ubyte", f"{RAW}train-labels-idx1-ubyte"),
        [(0, "0"), (1, "1")],
        "found in {folder}/MNIST/raw",
    ),
    "a single table": ({"x/digits.csv": CSV_ROWS}, [(0, "0"), (1, "1")], "found in {folder}/x/digits.csv"),
    "a description beside the folder of a set": (
        {"info.json": b"{}", **pictures(*(f"x/{name}" for name in CAT_DOG))},
        [(0, "cat"), (1, "cat"), (2, "dog")],
        "found in {folder}/x",
    ),
    "JSON files of classes below": (
        {"numbers/2.json": json_bytes(IMAGES[0].tolist()), "numbers/5.json": json_bytes(IMAGES[1].tolist())},
        [(0, "2"), (1, "5")],
        "found in {folder}/numbers",
    ),
    "an archive in a folder": (
        {"a.zip": as_zip(pictures(*CAT_DOG)), "readme.md": b"x"},
        [(0, "cat"), (1, "cat"), (2, "dog")],
        "found in {folder}/a.zip",
    ),
    "a number before a padded one": (
        pictures(*FLAT),
        [(0, "3"), (1, "3"), (2, "7"), (3, "7")],
        "the first part of the name",
    ),
    "a number after a padded one": (
        pictures("001-4.png", "002-4.png", "003-5.png", "004-5.png"),
        [(0, "4"), (1, "4"), (2, "5"), (3, "5")],
        "the second part",
    ),
    "words before numbers": (
        pictures("cat.0.png", "cat.1.png", "dog.0.png", "dog.1.png", "dog.2.png"),
        [(0, "cat"), (1, "cat"), (2, "dog"), (3, "dog"), (4, "dog")],
        "the first part",
    ),
    "after a word": (
        pictures("digit-7-1.png", "digit-7-2.png", "digit-8-1.png", "digit-8-2.png"),
        [(0, "7"), (1, "7"), (2, "8"), (3, "8")],
        "follows a word",
    ),
    "a word and the label in one": (
        pictures("0001_label5.png", "0002_label5.png", "0003_label6.png", "0004_label6.png"),
        [(0, "5"), (1, "5"), (2, "6"), (3, "6")],
        "follows a word",
    ),
    "pictures in a folder with labels in their names": (
        pictures(*(f"images/{name}" for name in FLAT)),
        [(0, "3"), (1, "3"), (2, "7"), (3, "7")],
        "the first part",
    ),
    "names with and without a number": (
        pictures("3 (1).png", "3 (2).png", "3.png", "5 (1).png", "5.png"),
        [(0, "3"), (1, "3"), (2, "3"), (3, "5"), (4, "5")],
        "the first part",
    ),
    "names of different length with the label last": (
        pictures("a-b_3.png", "c_3.png", "d_5.png", "e_5.png"),
        [(0, "3"), (1, "3"), (2, "5"), (3, "5")],
        "the first part from the end",
    ),
    "a label that stands in the name twice": (
        pictures("3-003-a.png", "3-003-b.png", "4-004-c.png", "4-004-d.png"),
        [(0, "3"), (1, "3"), (2, "4"), (3, "4")],
        "the first part",
    ),
    "copies with the numbers of Windows": (
        pictures("3 (1).png", "3 (2).png", "5 (1).png", "5 (2).png"),
        [(0, "3"), (1, "3"), (2, "5"), (3, "5")],
        "the first part",
    ),
    "a file of labels": (
        {**pictures("a.png", "b.png", "c.png"), "labels.csv": b"filename,label\nmy/b.png,4\na.png,5\nx.png,5\n"},
        [(0, "5"), (1, "4")],
        "labels.csv, column 'label'",
    ),
    "a file of labels without endings": (
        {
            **pictures("train/1.png", "train/2.png"),
            "trainLabels.csv": b"id,label\n1,frog\n2,truck\n",
            "test/1.png": png(PIXELS[9]),
        },
        [(0, "frog"), (1, "truck")],
        "trainLabels.csv, column 'label'",
    ),
    "a text of names and labels": (
        {**pictures("im/a.png", "im/b.png"), "labels.txt": b"a.png 4\nb.png 5\n"},
        [(0, "4"), (1, "5")],
        "labels.txt, column 2",
    ),
    "labels as pandas writes numbers": (
        {**pictures("a.png", "b.png"), "x.csv": b",file,label\n0,a.png,4.0\n1,b.png,5.0\n"},
        [(0, "4"), (1, "5")],
        "x.csv, column 'label' (left out: ''); labels such as 4.0 are read as 4",
    ),
    "labels in UTF-16 and another column": (
        {**pictures("a.png", "b.png"), "x.txt": "file\twriter\tLetter\na.png\t7\t4\nb.png\t7\t5\n".encode("utf-16")},
        [(0, "4"), (1, "5")],
        "x.txt, column 'Letter' (left out: 'writer')",
    ),
    "labels in Windows-1252 with empty rows": (
        {**pictures("a.png", "b.png"), "x.csv": "sep=;\r\nname;größe\r\nb.png;é\r\na.png;ü\r\n;\r\n".encode("cp1252")},
        [(0, "ü"), (1, "é")],
        "x.csv, column 'größe'",
    ),
    "an index that could name the pictures": (
        {**pictures("0.png", "1.png", "2.png"), "x.csv": b",file,label\n0,2.png,4\n1,0.png,5\n2,1.png,6\n"},
        [(0, "5"), (1, "6"), (2, "4")],
        "x.csv, column 'label' (left out: '')",
    ),
    "an index and names without endings": (
        {**pictures("0.png", "1.png", "2.png"), "x.csv": b",id,label\n0,2,4\n1,0,5\n2,1,6\n"},
        [(0, "5"), (1, "6"), (2, "4")],
        "x.csv, column 'label' (left out: '')",
    ),
    "labels that could name the pictures": (
        {**pictures("0.png", "1.png", "2.png"), "x.csv": b"label,file\n1,0.png\n0,1.png\n1,2.png\n"},
        [(0, "1"), (1, "0"), (2, "1")],
        "x.csv, column 'label'",
    ),
    "names in other letters": (
        {**pictures("IMG_A.PNG", "IMG_B.PNG"), "x.csv": b"name,class label\nimg_b.png,4\nimg_a.png,5\n"},
        [(0, "5"), (1, "4")],
        "x.csv, column 'class label'",
    ),
    "numbers without leading zeros": (
        {**pictures("im/0007.png", "im/0010.png"), "x.csv": b"id,label\n7,4\n10,5\n"},
        [(0, "4"), (1, "5")],
        "x.csv, column 'label'",
    ),
    "names with another ending": (
        {**pictures("im/a.png", "im/b.png"), "x.csv": b"file,label\na.jpg,4\nim/b.tif,5\n"},
        [(0, "4"), (1, "5")],
        "x.csv, column 'label'",
    ),
    "one-hot labels": (
        {**pictures("a.png", "b.png"), "_classes.csv": b"filename, cat, dog, 7\na.png,0,1,0\nb.png,0,0,1\n"},
        [(0, "dog"), (1, "7")],
        "_classes.csv, columns 'cat' to '7' of 0 and 1",
    ),
    "number and name of the class": (
        {**pictures("a.png", "b.png"), "x.csv": b"name,class,target\na.png,cat,1\nb.png,dog,2\n"},
        [(0, "cat"), (1, "dog")],
        "x.csv, column 'class' (left out: 'target')",
    ),
}


@pytest.mark.parametrize("case", LAYOUTS)
def test_a_data_set_is_found(case: str, tmp_path: Path) -> None:
    files, expected, words = LAYOUTS[case]
    folder = write(tmp_path / "data", files)
    dataset = load_dataset(folder)
    assert labelled(dataset) == expected
    assert dataset.test is None
    assert words.format(folder=folder) in " ".join(dataset.notes)
    packed = tmp_path / "data.zip"
    packed.write_bytes(as_zip(files, compression=zipfile.ZIP_DEFLATED))
    again = load_dataset(packed)
    assert labelled(again) == expected
    assert words.format(folder=packed) in " ".join(again.notes)
    assert again.source.startswith(str(packed))
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []


PARTS = {
    "train and test": ("train", "test", ""),
    "capitals": ("Training", "Testing", "VALIDATION"),
    "one level down": ("mnist_png/training", "mnist_png/testing", "mnist_png/val"),
    "nested twice": ("train/train", "test/test", "valid/valid"),
    "dev": ("train", "test", "dev"),
    "eval beside test": ("train", "test", "eval"),
    "eval alone": ("train", "eval", ""),
    "sets": ("trainingSet", "testSet", "validation_set"),
    "short": ("trn", "tst", "val"),
    "shortest": ("tr", "te", ""),
    "as MNIST": ("train", "t10k", ""),
    "holdout": ("mnist-train", "mnist-holdout", "evaluation"),
}


def test_a_table_beside_the_only_folder_that_names_other_pictures_is_said(tmp_path: Path) -> None:
    table = b"file,label\nx.png,4\ny.png,5\n"
    write(tmp_path, {**pictures("im/a.png", "im/b.png"), "labels.csv": table})
    with pytest.raises(DataError, match=r"im: no part of the names.*\(few of the pictures are named in labels\.csv\)"):
        load_dataset(tmp_path)


def test_a_word_among_numbers_is_a_class_with_a_note(tmp_path: Path) -> None:
    folder = write(tmp_path, pictures(*(f"{k}/a.png" for k in range(5)), "unlabelled/a.png"))
    dataset = load_dataset(folder)
    assert "unlabelled" in dataset.classes
    assert "classes are numbers, but also 'unlabelled' (1 image); --classes leaves it out" in dataset.notes
    (folder / "unlabelled").rename(folder / "X")
    assert not any("classes are" in note for note in load_dataset(folder).notes)


@pytest.mark.parametrize("case", PARTS)
def test_parts_become_one_data_set(case: str, tmp_path: Path) -> None:
    train, test, validation = PARTS[case]
    names = [f"{train}/a/1.png", f"{train}/b/1.png", f"{test}/b/1.png"]
    names += [f"{validation}/a/1.png"] if validation else []
    for source in (write(tmp_path / "data", pictures(*names)), tmp_path / "data.tgz"):
        if source.suffix:
            source.write_bytes(gzip.compress(as_tar(pictures(*names))))
        dataset = load_dataset(source)
        assert labelled(dataset) == [(0, "a"), (1, "b")]
        assert labelled(dataset.test) == [(2, "b")]
        assert dataset.classes == ("a", "b")
        if validation:
            assert labelled(dataset.validation) == [(3, "a")]
        assert (dataset.validation is None) == (not validation)
        assert any(f"train from {source}/{train}, test from {source}/{test}" in note for note in dataset.notes)
        assert "classes that have no pictures in the test part: a" in dataset.notes


def test_classes_of_the_parts_are_encoded_together(tmp_path: Path) -> None:
    write(tmp_path, pictures("train/b/1.png", "train/c/1.png", "test/a/1.png"))
    dataset = load_dataset(tmp_path)
    assert dataset.classes == ("a", "b", "c")
    assert labelled(dataset.test) == [(2, "a")]
    assert "classes that have no pictures in the train part, so that they cannot be learned: a" in dataset.notes


def test_tables_may_be_parts(tmp_path: Path) -> None:
    header = b"label," + b",".join(b"pixel%d" % k for k in range(784)) + b"\n"
    rows = [
        b"%s,%s\n" % (label, b",".join(b"%d" % value for value in IMAGES[k]))
        for k, label in enumerate((b"b", b"c", b"a"))
    ]
    write(tmp_path / "data", {"mnist_train.csv": header + b"".join(rows[:2]), "mnist_test.csv": header + rows[2]})
    dataset = load_dataset(tmp_path / "data")
    assert labelled(dataset) == [(0, "b"), (1, "c")]
    assert labelled(dataset.test) == [(2, "a")]
    assert dataset.notes[0] == "parts of the data set: test from mnist_test.csv, train from mnist_train.csv"
    write(tmp_path / "rows", {"train.csv": b"a,y\n1,2\n3,4\n", "test.csv": b"a,y\n1,2\n3,4\n"})
    with pytest.raises(DataError, match="several data files; give the path of one of them: test"):
        load_dataset(tmp_path / "rows")


def test_folders_named_train_may_be_a_class(tmp_path: Path) -> None:
    write(tmp_path, pictures("bus/1.png", "train/1.png"))
    assert labelled(load_dataset(tmp_path)) == [(0, "bus"), (1, "train")]


def test_many_folders_named_train_are_classes(tmp_path: Path) -> None:
    names = [f"train_{k}/{part}.png" for k in range(60) for part in "ab"]
    (tmp_path / "trains.zip").write_bytes(as_zip(dict.fromkeys(names, png(PIXELS[0]))))
    dataset = load_dataset(tmp_path / "trains.zip")
    assert (len(dataset), len(dataset.classes), dataset.test) == (120, 60, None)


def test_a_test_part_without_labels_is_passed_over(tmp_path: Path) -> None:
    write(tmp_path / "a", pictures("train/0/1.png", "train/1/1.png", "test/1.png", "test/2.png"))
    write(tmp_path / "b", pictures("trainSet/trainSet/0/1.png", "trainSet/trainSet/1/1.png", "testSet/testSet/1.png"))
    for name, place in (("a", "test"), ("b", "testSet/testSet")):
        dataset = load_dataset(tmp_path / name)
        assert (dataset.test, dataset.counts.tolist()[:2]) == (None, [1, 1])
        reason = "no part of the names of its pictures can be a label"
        assert f"{tmp_path / name}/{place}: passed over, since {reason}" in dataset.notes


# name of the case: (files, words of the message)
UNCLEAR: dict[str, tuple[Files, str]] = {
    "two sets": (
        pictures("x/0/1.png", "x/1/1.png", "y/0/1.png", "y/1/1.png"),
        "give the path of one of them: {folder}/x, {folder}/y",
    ),
    "a set beside the parts": (
        pictures("train/0/1.png", "test/0/1.png", "sample/0/1.png"),
        "give the path of one of them: {folder}/train, {folder}/sample",
    ),
    "a set beside class folders": (pictures("0/1.png", "1/1.png", "x/0/1.png"), "below others a data set ({folder}/x)"),
    "two training sets": (pictures("train/0/1.png", "training/0/1.png"), "several data sets"),
    "two tables": (
        {"a.csv": CSV_ROWS, "b.csv": CSV_ROWS},
        "several data files; give the path of one of them: a.csv, b.csv",
    ),
    "an archive beside what was in it": (
        {"a.zip": as_zip(pictures(*CAT_DOG)), **pictures(*(f"a/{name}" for name in CAT_DOG))},
        "give the path of one of them: {folder}/a.zip, {folder}/a",
    ),
    "names without labels": (
        pictures("IMG_1001.png", "IMG_1002.png", "IMG_1003.png"),
        "put the pictures of each class into a folder",
    ),
    "two numbers in names": (
        pictures("0_0.png", "0_1.png", "1_0.png", "1_1.png"),
        "the label may be the first part or the second part",
    ),
    "a writer and a digit in names": (
        pictures("ann_3_1.png", "ann_4_2.png", "bob_3_1.png", "bob_4_2.png"),
        "the label may be the first part or",
    ),
    "two files of labels": (
        {
            **pictures("a.png", "b.png"),
            "x.csv": b"name,label\na.png,1\nb.png,2\n",
            "y.csv": b"name,label\na.png,2\nb.png,1\n",
        },
        "x.csv and y.csv give different labels",
    ),
    "two labels of a picture": (
        {**pictures("a.png", "b.png"), "x.csv": b"name,label\na.png,1\na.png,2\n"},
        "gives 'a.png' two labels",
    ),
    "columns of labels without a name": (
        {**pictures("a.png", "b.png"), "x.csv": b"a.png,1,2\nb.png,2,3\n"},
        "no column is named label; call the column of the labels 'label' ('2', '3')",
    ),
    "columns of labels that contradict each other": (
        {**pictures("a.png", "b.png"), "x.csv": b"name,class,target\na.png,1,2\nb.png,2,2\n"},
        "2 columns could be the label; call the column of the labels 'label' ('class', 'target')",
    ),
    "two columns that name the pictures": (
        {**pictures("0.png", "1.png"), "x.csv": b"id,file_id,label\n0,1,4\n1,0,5\n"},
        "columns 1 and 2 name different pictures; remove one",
    ),
    "a list of labels without names": (
        {**pictures("a.png", "b.png"), "labels.txt": b"4\n5\n"},
        "few of the pictures are named in labels.txt",
    ),
    "labels in JSON": (
        {**pictures("a.png", "b.png"), "labels.json": b'{"a.png": 4, "b.png": 5}'},
        "labels.json: labels are read from .csv, .tsv and .txt files",
    ),
    "parts in class folders": (
        pictures("0/train/a.png", "0/test/b.png", "1/train/c.png", "1/test/d.png"),
        "put the folders of the classes into train and test, and not the other way round",
    ),
    "writers in class folders": (
        pictures("0/v/a.png", "0/w/b.png", "1/v/c.png", "1/w/d.png"),
        "if these folders are the classes, move the pictures right into them",
    ),
    "rows and labels in two files": (
        {"X_train.csv": b"1,2\n3,4\n", "y_train.csv": b"0\n1\n"},
        "rows and labels in files of their own (X_train.csv, y_train.csv); join them to one, with a column label",
    ),
    "a table for each class": (
        {f"{k}.csv": b"1,2\n3,4\n" for k in range(3)},
        "a file for each class (0.csv, 1.csv, 2.csv); join them to one, with a column label",
    ),
    "one-hot labels with two marks": (
        {**pictures("a.png", "b.png"), "x.csv": b"name,label_1,label_2\na.png,1,1\nb.png,0,1\n"},
        "row 1: one of the columns of labels must be 1, the others 0",
    ),
    "pictures beside class folders": (
        pictures("a/1.png", "b/1.png", "2.png", "3.png", "4.png"),
        "holds both pictures (2.png, 3.png, 4.png) and folders",
    ),
    "nothing": ({"a/readme.txt": b"x"}, "no data set in this folder"),
}


@pytest.mark.parametrize("case", UNCLEAR)
def test_what_is_unclear_is_refused(case: str, tmp_path: Path) -> None:
    files, words = UNCLEAR[case]
    folder = write(tmp_path / "data", files)
    with pytest.raises(DataError) as caught:
        load_dataset(folder)
    assert words.format(folder=folder) in str(caught.value)
    assert str(caught.value).startswith(f"{folder}: ")


# ---- links and odd entries ----


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege on Windows")
def test_links_out_of_the_folder_are_not_followed(tmp_path: Path) -> None:
    outside = write(tmp_path / "outside", pictures("1.png"))
    folder = write(tmp_path / "data", pictures("a/1.png", "b/1.png"))
    (folder / "c").symlink_to(outside)
    (folder / "a" / "loop").symlink_to(folder)
    (folder / "d").symlink_to(folder / "b")
    dataset = load_dataset(folder)
    assert labelled(dataset) == [(0, "a"), (1, "b"), (1, "d")]
    assert "2 links that lead out of the folder (c, loop)" in dataset.notes[-1]


def test_an_archive_of_several_sets_must_be_unpacked(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(as_zip(UNCLEAR["two sets"][0]))
    with pytest.raises(DataError, match=r"a\.zip: holds several data sets; unpack it and give the path of one of them"):
        load_dataset(tmp_path / "a.zip")


def test_a_search_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastnn.datasets.folders.MOST_ENTRIES", 10)
    write(tmp_path / "many", {f"{number}/a.txt": b"" for number in range(6)})
    with pytest.raises(DataError, match="more than 10 files and folders; give the folder of the data set itself"):
        load_dataset(tmp_path / "many")
    write(tmp_path / "deep", {"1/2/3/4/5/6/a/1.png": png(seven())})
    with pytest.raises(DataError, match="no data set in this folder"):
        load_dataset(tmp_path / "deep")


def test_everything_passed_over_is_counted(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            **pictures("a/1.png", "a/2.png", "b/1.png", "all.png"),
            **dict.fromkeys(
                ("a/Thumbs.db", "b/Thumbs.db", "notes.txt", "a/._1.png", ".DS_Store", "__MACOSX/a/1.png"), b"x"
            ),
            "a/old/1.png": png(seven()),
        },
    )
    (tmp_path / "c").mkdir()
    dataset = load_dataset(tmp_path)
    assert labelled(dataset) == [(0, "a"), (1, "a"), (2, "b")]
    (note,) = dataset.notes
    assert note == (
        "passed over: 3 files that are not pictures (Thumbs.db, notes.txt), 3 hidden files or folders (.DS_Store, "
        "._1.png, __MACOSX), 1 picture outside of the class folders (all.png), 1 folder without pictures (c), 1 folder "
        "in a class folder (a/old)"
    )


# ---- pictures ----


def test_a_few_damaged_pictures_are_left_out_and_named(tmp_path: Path) -> None:
    names = [f"{label}/{number:02}.png" for label in "01" for number in range(15)]
    write(tmp_path, {**pictures(*names), "0/07.png": png(seven())[:-30]})
    dataset = load_dataset(tmp_path)
    assert labelled(dataset) == [(k, names[k][0]) for k in range(30) if names[k] != "0/07.png"]
    assert "left out 1 of 30 pictures that cannot be read: 0/07.png (" in dataset.notes[0]
    with pytest.raises(DataError, match=r"0/07\.png: not a complete PNG picture"):
        load_dataset(tmp_path, strict=True)
    for number in range(3):
        (tmp_path / "1" / f"{number:02}.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"0/07\.png: .*; 4 of 30 pictures in .* cannot be read: repair or remove them"):
        load_dataset(tmp_path)


def test_a_class_does_not_vanish(tmp_path: Path) -> None:
    write(tmp_path, {**pictures(*(f"0/{number}.png" for number in range(15))), "1/a.png": b"x"})
    with pytest.raises(DataError, match=r"1/a\.png: .* cannot be read, none of class '1' can: repair or remove them"):
        load_dataset(tmp_path)


def test_pictures_with_nothing_drawn_are_left_out_unless_their_class_is_like_that(tmp_path: Path) -> None:
    blank = png(np.full((28, 28), 255, np.uint8))
    write(tmp_path, {**pictures("3/1.png", "3/2.png"), "3/3.png": blank, "empty/1.png": blank, "empty/2.png": blank})
    dataset = load_dataset(tmp_path)
    assert dataset.counts.tolist() == [2, 2]
    assert "left out pictures on which nothing is drawn (1): 3/3.png" in dataset.notes
    assert any(note.startswith("kept pictures on which nothing is drawn") for note in dataset.notes)
    with pytest.raises(DataError, match=r"3/3\.png: nothing is drawn on it"):
        load_dataset(tmp_path, strict=True)


SAVE: dict[str, Callable[[Image.Image, Path], None]] = {
    "png": lambda image, path: image.save(path),
    "bmp": lambda image, path: image.save(path),
    "gif": lambda image, path: image.save(path),
    "tiff": lambda image, path: image.save(path),
    "pgm": lambda image, path: image.save(path),
    "webp": lambda image, path: image.save(path, lossless=True),
}


@pytest.mark.parametrize("mode", ["L", "RGB", "P", "RGBA"])
def test_formats_modes_and_polarities_give_the_same_images(mode: str, tmp_path: Path) -> None:
    drawn = load_dataset("drawn:24")
    for position, (image, label) in enumerate(zip(drawn.images, drawn.labels, strict=True)):
        ending = list(SAVE)[position % len(SAVE)]
        stored = image if position % 2 else 255 - image
        picture = Image.fromarray(stored.reshape(28, 28)).convert("L" if ending in ("pgm", "gif") else mode)
        path = tmp_path / str(label) / f"{position:02}.{ending}"
        path.parent.mkdir(exist_ok=True)
        SAVE[ending](picture, path)
    dataset = load_dataset(tmp_path)
    order = np.lexsort((np.arange(24), drawn.labels))
    np.testing.assert_array_equal(dataset.images, drawn.images[order])
    assert dataset.labels.tolist() == drawn.labels[order].tolist()
    assert dataset.polarity == "mixed"
    assert "12 of 24 images have light ink" in dataset.notes[0]


def test_one_polarity_is_decided_for_all_parts(tmp_path: Path) -> None:
    drawn = load_dataset("drawn:20")
    for position, image in enumerate(drawn.images):
        part = "train" if position < 19 else "test"
        write(tmp_path, {f"{part}/{position % 2}/{position}.png": png(255 - image.reshape(28, 28))})
    dataset = load_dataset(tmp_path)
    assert dataset.polarity == dataset.test.polarity == "light-on-dark"  # type: ignore[union-attr]
    np.testing.assert_array_equal(dataset.test.images, drawn.images[19:])  # type: ignore[union-attr]
    asked = load_dataset(tmp_path, polarity="dark-on-light")
    np.testing.assert_array_equal(asked.test.images, 255 - drawn.images[19:])  # type: ignore[union-attr]


def test_large_pictures_beside_small_ones(tmp_path: Path) -> None:
    drawn = load_dataset("drawn:10")
    large = seven(300, 200, thick=20)
    write(tmp_path, {f"3/{k}.png": png(255 - image.reshape(28, 28)) for k, image in enumerate(drawn.images)})
    write(tmp_path, {"7/a.png": png(large), "7/b.png": png(255 - large)})
    dataset = load_dataset(tmp_path)
    np.testing.assert_array_equal(dataset.images[:10], drawn.images)
    np.testing.assert_array_equal(dataset.images[10], dataset.images[11])
    assert dataset.images[10].reshape(28, 28)[0].min() == 255
    assert any(note.startswith("2 of 12 pictures are not 28x28 pixels: the drawing") for note in dataset.notes)
    assert dataset.polarity == "mixed"


@pytest.mark.parametrize("side", [8, 32, 64])
def test_small_pictures_of_one_size_are_scaled_as_those_of_arrays(side: int, tmp_path: Path) -> None:
    drawn = load_dataset("drawn:12")
    small = np.stack(
        [np.asarray(Image.fromarray(255 - one.reshape(28, 28)).resize((side, side))) for one in drawn.images]
    )
    for position, (picture, label) in enumerate(zip(small, drawn.labels, strict=True)):
        write(tmp_path, {f"{label}/{position:02}.png": png(picture)})
    dataset = load_dataset(tmp_path)
    order = np.lexsort((np.arange(12), drawn.labels))
    np.testing.assert_array_equal(255 - dataset.images, Resize(*small.shape[1:])(small)[order])
    assert f"images of {side}x{side} pixels were scaled to 28x28" in dataset.notes
    assert dataset.polarity == "light-on-dark"


def test_animations_are_told(tmp_path: Path) -> None:
    first, second = (Image.fromarray(picture) for picture in PIXELS[:2])
    (tmp_path / "0").mkdir()
    first.save(tmp_path / "0" / "a.gif", save_all=True, append_images=[second])
    dataset = load_dataset(tmp_path)
    assert labelled(dataset) == [(0, "0")]
    assert dataset.classes == DIGITS
    assert dataset.notes == ("took the first picture of files that hold several (1): 0/a.gif",)


# ---- archives ----


def test_files_in_archives_are_read_by_their_readers(tmp_path: Path) -> None:
    npz = io.BytesIO()
    np.savez(npz, images=IMAGES[:2], labels=[0, 1])
    pair = idx_pair("m/train-images-idx3-ubyte", "m/train-labels-idx1-ubyte")
    test = idx_pair("m/t10k-images-idx3-ubyte", "m/t10k-labels-idx1-ubyte", 1)
    for number, files in enumerate(({"a.npz": npz.getvalue()}, {"x/a.csv": CSV_ROWS}, pair | test)):
        for ending, pack in ((".zip", as_zip), (".tar", as_tar), (".tar.gz", lambda held: gzip.compress(as_tar(held)))):
            path = tmp_path / f"{number}{ending}"
            path.write_bytes(pack(files))
            dataset = load_dataset(path)
            assert labelled(dataset) == [(0, "0"), (1, "1")]
            assert (dataset.test is None) == (number < 2)
            assert dataset.source.startswith(str(path))
    assert dataset.test is not None
    assert dataset.test.source.startswith(str(path))


def test_targets_of_a_table_in_an_archive(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(as_zip({"t.csv": b"a,b,c\n1,2,3\n4,5,6\n7,8,10\n"}))
    dataset = load_dataset(tmp_path / "a.zip", target="b", task="regression")
    assert (dataset.names, dataset.n_inputs) == (("b",), 2)
    write(tmp_path / "p", pictures("0/1.png"))
    with pytest.raises(DataError, match="--target and --task are for tables"):
        load_dataset(tmp_path / "p", target="b")


def link_in_zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        info = zipfile.ZipInfo("0/a.png")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    return file.getvalue()


def without_a_name() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive, archive.open(zipfile.ZipInfo(""), "w") as member:
        member.write(b"x")
    return file.getvalue()


def with_link(kind: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        info = tarfile.TarInfo("0/a.png")
        info.type, info.linkname = kind, "/etc/passwd"
        archive.addfile(info)
    return file.getvalue()


def encrypted() -> bytes:
    content = bytearray(as_zip({"0/a.png": png(seven())}))
    for magic, offset in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        content[content.index(magic) + offset] |= 1
    return bytes(content)


GOOD_TAR = as_tar({"0/a.png": png(seven())})
# name of the case: (name of the archive, content, words of the message)
HOSTILE: dict[str, tuple[str, bytes, str]] = {
    "no zip": ("a.zip", b"hello", "not a .zip file"),
    "empty zip": ("a.zip", b"", "not a .zip file"),
    "no tar": ("a.tar", b"hello" * 200, "not a .tar file"),
    "truncated tar": ("a.tar", GOOD_TAR[:700], "not a .tar file, or damaged|is truncated"),
    "no gzip": ("a.tgz", GOOD_TAR, "not a gzip file"),
    "an absolute path": ("a.zip", as_zip({"/etc/0/a.png": b"x"}), "member with the path '/etc/0/a.png'"),
    "a path out of the archive": ("a.zip", as_zip({"0/../../a.png": b"x"}), "which is not allowed"),
    "a path of Windows": ("a.tar", as_tar({"C:\\a.png": b"x"}), "which is not allowed"),
    "a path out of a tar": ("a.tar", as_tar({"../0/a.png": b"x"}), "which is not allowed"),
    "a bomb": (
        "a.zip",
        as_zip({"0/a.png": bytes(80 << 20)}, compression=zipfile.ZIP_DEFLATED),
        "too much for its size",
    ),
    "a bomb of small files": (
        "a.zip",
        as_zip({f"0/{k}.png": bytes(9 << 20) for k in range(9)}, compression=zipfile.ZIP_DEFLATED),
        "too much",
    ),
    "an unknown method": ("a.zip", as_zip({"0/a.png": b"x" * 99}, compression=zipfile.ZIP_BZIP2), "method that cannot"),
    "encrypted": ("a.zip", encrypted(), "is encrypted"),
    "a member without a name": ("a.zip", without_a_name(), "no data set in this folder"),
    "a link in a zip": ("a.zip", link_in_zip(), "no data set in this folder"),
    "a link in a tar": ("a.tar", with_link(tarfile.SYMTYPE), "no data set in this folder"),
    "a hard link in a tar": ("a.tar", with_link(tarfile.LNKTYPE), "no data set in this folder"),
    "a device in a tar": ("a.tar", with_link(tarfile.CHRTYPE), "no data set in this folder"),
    "archives in archives": (
        "a.zip",
        as_zip({"a.zip": as_zip({"a.zip": as_zip({"0/a.png": b"x"})})}),
        "is an archive in",
    ),
    "a damaged member": (
        "a.zip",
        as_zip({"0/a.png": png(seven())}).replace(b"IDAT", b"IDAX"),
        "damaged in its archive",
    ),
    "a damaged table": ("a.zip", as_zip({"t.csv": b"1,2\n"}), "a.zip/t.csv"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_archives_are_refused(case: str, tmp_path: Path) -> None:
    name, content, words = HOSTILE[case]
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=words) as caught:
        load_dataset(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
