"""IDX files of any family: names of parts, QMNIST, EMNIST with its orientation and mapping, other sizes and types."""

import gzip
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastnn.datasets import Dataset, load_dataset
from fastnn.datasets.emnist import upright
from fastnn.errors import DataError

N = 60
DRAWN = load_dataset(f"drawn:{N}")
STORED = (255 - DRAWN.images).reshape(N, 28, 28)
LABELS = DRAWN.labels
TYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}


def write(path: str, array: Any, kind: int = 8) -> None:
    content = struct.pack(f">4B{array.ndim}I", 0, 0, kind, array.ndim, *array.shape)
    content += array.astype(TYPES[kind]).tobytes()
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(gzip.compress(content, 1) if path.endswith(".gz") else content)


def write_parts(names: str, images: Any = STORED, labels: Any = LABELS, kind: int = 8) -> None:
    """Write 40 images for training and 20 for testing; `names` has a place for the part, and one for the kind."""
    train, _, test = names.partition(" ")
    for part, begin, end in ((train, 0, 40), (test or train.replace("train", "test"), 40, N)):
        write(part.replace("*", "images").replace("#", "idx3"), images[begin:end])
        write(part.replace("*", "labels").replace("#", "idx1"), labels[begin:end], kind)


def check(data: Dataset, sizes: tuple[int, ...] = (40, 20)) -> str:
    parts = [part for part in (data, data.test, data.validation) if part is not None]
    assert tuple(map(len, parts)) == sizes
    np.testing.assert_array_equal(np.concatenate([part.images for part in parts]), DRAWN.images)
    assert np.concatenate([part.labels for part in parts]).tolist() == LABELS.tolist()
    assert data.polarity == "light-on-dark"
    return "\n".join(data.notes)


@pytest.mark.parametrize(
    "names",
    [
        "a/train-*.#-ubyte a/t10k-*.#-ubyte", "a/train_*_#_ubyte", "a/Train-*-#-ubyte a/Test-*-#-ubyte",
        "a/emnist-mnist-train-*-#-ubyte.gz", "a/kmnist-train-*-#-ubyte.gz a/kmnist-t10k-*-#-ubyte",
        "a/training-*.#-ubyte.bin a/testing-*.#-ubyte.bin",
    ],
)  # fmt: skip
def test_names_of_the_test_set(names: str) -> None:
    write_parts(names)
    check(load_dataset(Path("a")))


def test_qmnist_has_labels_of_eight_numbers() -> None:
    write_parts("a/qmnist-train-*-#-ubyte.gz")
    for path in Path("a").glob("*labels*"):
        path.unlink()
    rest = np.arange(N * 7).reshape(N, 7)
    for part, begin, end in (("train", 0, 40), ("test", 40, N)):
        write(f"a/qmnist-{part}-labels-idx2-int.gz", np.column_stack([LABELS, rest])[begin:end], 12)
    assert "labels of QMNIST: the class is the first of their 8 numbers" in check(load_dataset(Path("a")))
    assert len(load_dataset(Path("a/qmnist-test-labels-idx2-int.gz"))) == 20


def test_emnist_is_turned_upright_with_the_names_of_its_mapping() -> None:
    turned = STORED.transpose(0, 2, 1)
    write_parts("a/emnist-digits-train-*-#-ubyte.gz", turned)
    notes = check(load_dataset(Path("a")))
    assert "rows and columns exchanged, as in EMNIST, and were turned upright" in notes
    letters = np.arange(N) % 26 + 1
    write_parts("a/emnist-letters-train-*-#-ubyte.gz", turned, letters)
    lines = "".join(f"{k + 1} {65 + k} {97 + k}\n" for k in range(26))
    Path("a/emnist-letters-mapping.txt").write_text(lines)
    with pytest.raises(DataError, match=r"several pairs of IDX files \(emnist-digits-test-images.*; give the path"):
        load_dataset(Path("a"))
    data = load_dataset(Path("a/emnist-letters-train-images-idx3-ubyte.gz"))
    np.testing.assert_array_equal(data.images, DRAWN.images[:40])
    assert data.classes == tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    assert data.labels.tolist() == (letters[:40] - 1).tolist()
    assert "the names of the classes are from emnist-letters-mapping.txt" in data.notes
    # The folder cannot stand for one of its data sets, so that the file for training stands for its own.
    assert data.test is not None
    np.testing.assert_array_equal(data.test.images, DRAWN.images[40:])
    assert data.test.classes == data.classes
    for line in ("1 x\n", "1 1114112\n", f"1 {10**20}\n", "1 -1\n", "1 10\n"):
        Path("a/emnist-letters-mapping.txt").write_text(line)
        assert "emnist-letters-mapping.txt is ignored: " in "\n".join(
            load_dataset(Path("a/emnist-letters-train-images-idx3-ubyte.gz")).notes
        )


def test_what_digits_look_like_decides() -> None:
    turned = STORED.transpose(0, 2, 1)
    write_parts("emnist/train-*-#-ubyte", STORED)
    assert "are upright already and were not turned" in check(load_dataset(Path("emnist")))
    write_parts("other/train-*-#-ubyte", turned)
    assert "were turned upright" in check(load_dataset(Path("other")))
    np.savez("other.npz", x=turned, y=LABELS)
    assert "were turned upright" in check(load_dataset(Path("other.npz")), (N,))
    np.savez("tissuemnist.npz", x=turned, y=LABELS % 2 + 10)
    assert not np.array_equal(load_dataset(Path("tissuemnist.npz")).images, DRAWN.images)
    # Classes that are no digits: other images with labels from 0 to 9.
    np.savez("fashion.npz", x=turned, y=(LABELS * 7 + 3) % 10)
    assert not np.array_equal(load_dataset(Path("fashion.npz")).images, DRAWN.images)


def test_rows_without_labels_are_turned_by_name_and_shape() -> None:
    turned = 255 - STORED.transpose(0, 2, 1).reshape(N, 784)
    np.testing.assert_array_equal(upright(turned, "emnist-letters-test.csv")[0], DRAWN.images)
    np.testing.assert_array_equal(upright(turned, "letters.csv")[0], turned)
    assert upright(DRAWN.images, "emnist.csv") == (DRAWN.images, None)


@pytest.mark.parametrize(
    ("images", "kind"),
    [
        (STORED / 255, 13), (STORED.astype(float), 14), (STORED, 12), (STORED, 11), (STORED.reshape(N, 784), 8),
        (np.repeat(STORED[..., None], 3, axis=3), 8), (np.kron(STORED, np.ones((1, 2, 2))), 8),
    ],
)  # fmt: skip
def test_images_of_other_types_and_sizes(images: Any, kind: int) -> None:
    write("a/x-images-idx3-ubyte", images, kind)
    write("a/x-labels-idx1-ubyte", LABELS)
    check(load_dataset(Path("a")), (N,))


def test_bytes_of_the_usual_size_are_not_scaled() -> None:
    write("a/x-images-idx3-ubyte", STORED // 16)
    write("a/x-labels-idx1-ubyte", LABELS)
    dataset = load_dataset(Path("a"))
    assert np.array_equal(dataset.images, 255 - (STORED // 16).reshape(N, 784))
    assert dataset.notes == ()


def test_files_in_folders_of_their_names() -> None:
    write_parts("a/train-*-#-ubyte/train-*-#-ubyte a/t10k-*-#-ubyte/t10k-*-#-ubyte")
    check(load_dataset(Path("a")))
    shutil.make_archive("b", "zip", "a")
    check(load_dataset(Path("b.zip")))


def test_labels_that_are_missing() -> None:
    write("a/x-train-images-idx3-ubyte", STORED)
    with pytest.raises(DataError, match="x-train-images-idx3-ubyte: the labels that belong to it are not"):
        load_dataset(Path("a"))
    write("a/x-test-labels-idx1-ubyte", LABELS)
    with pytest.raises(DataError, match="that belong to it are not in the same folder"):
        load_dataset(Path("a"))
