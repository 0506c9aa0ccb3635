"""Arrays as people name, shape and store them: the images and labels are those that were written, and a note says how.

Files of NumPy, MATLAB, Parquet and Arrow.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastnn.datasets import Dataset, load_dataset
from fastnn.errors import DataError

N = 40
DRAWN = load_dataset(f"drawn:{N}")
STORED = (255 - DRAWN.images).reshape(N, 28, 28)
"""Light ink on dark paper, as MNIST has it."""
LABELS = DRAWN.labels.astype(np.uint8)
ONE_HOT = np.eye(10)[LABELS]


def check(data: Dataset, labels: Any = LABELS, *, tolerance: int = 0, sizes: tuple[int, ...] = (N,)) -> str:
    """Assert that a data set, with its test and validation set, holds the drawn images; return its notes."""
    parts = [part for part in (data, data.test, data.validation) if part is not None]
    assert tuple(map(len, parts)) == sizes
    images = np.concatenate([part.images for part in parts]).astype(int)
    assert np.abs(images - DRAWN.images).max() <= tolerance
    assert [data.classes[k] for part in parts for k in part.labels.tolist()] == [str(label) for label in labels]
    assert all(part.images.flags.c_contiguous and part.images.flags.writeable for part in parts)
    assert data.polarity == "light-on-dark"
    return "\n".join(data.notes)


def npz(*arrays: Any, **named: Any) -> Dataset:
    np.savez("a.npz", *arrays, **named)
    return load_dataset(Path("a.npz"))


FORMS: dict[str, Any] = {
    "n, 28, 28": STORED,
    "n, 784": STORED.reshape(N, 784),
    "n, 28, 28, 1": STORED[..., None],
    "n, 1, 28, 28": STORED[:, None],
    "n, 784, 1": STORED.reshape(N, 784, 1),
    "RGB": np.repeat(STORED[..., None], 3, axis=3),
    "RGB first": np.repeat(STORED[:, None], 3, axis=1),
    "RGBA": np.dstack([*[STORED.reshape(-1)] * 3, np.full(STORED.size, 255, np.uint8)]).reshape(N, 28, 28, 4),
    "28, 28, n": STORED.transpose(1, 2, 0),
    "784, n": STORED.reshape(N, 784).T,
    "28, 28, 3, n": np.repeat(STORED.transpose(1, 2, 0)[:, :, None], 3, axis=2),
    "int64": STORED.astype(np.int64),
    "big-endian": STORED.astype(">i4"),
    "uint16": STORED.astype(np.uint16) * 257,
    "int8": (STORED.astype(np.int16) - 128).astype(np.int8),
    "0 to 1": STORED / 255,
    "float16": STORED.astype(np.float16),
    "float32 of 0 to 1": (STORED / 255).astype(np.float32),
    "-1 to 1": STORED / 127.5 - 1,
}
NAMES = (
    ("images", "labels"), ("X", "y"), ("data", "target"), ("features", "labels"), ("imgs", "Y"), ("Image", "Label"),
    ("x", "targets"), ("pixels", "class"), ("digits_X", "digits_y"), ("input", "output"),
    ("image_data", "image_labels"),
)  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_images_of_any_form(form: str) -> None:
    check(npz(images=FORMS[form], labels=LABELS))


@pytest.mark.parametrize("names", NAMES)
@pytest.mark.parametrize("flat", [False, True])
def test_arrays_of_any_name(names: tuple[str, str], flat: bool) -> None:
    check(npz(**{names[0]: STORED.reshape(N, 784) if flat else STORED, names[1]: LABELS}))


@pytest.mark.parametrize(
    "labels",
    [
        LABELS.astype(float), LABELS[:, None], LABELS[None], ONE_HOT, ONE_HOT.astype(bool), ONE_HOT.astype(int),
        ONE_HOT.T, LABELS.astype(">i2"), LABELS.astype(np.str_), LABELS.astype(np.bytes_), LABELS.astype(np.uint64),
        np.array([f"{label}.0" for label in LABELS]), np.array([f"0{label}" for label in LABELS]),
    ],
)  # fmt: skip
def test_labels_of_any_form(labels: Any) -> None:
    check(npz(X=STORED, y=labels))


def test_images_of_black_and_white_and_of_other_sizes() -> None:
    assert np.abs(npz(x=STORED > 127, y=LABELS).images.astype(int) - DRAWN.images).max() < 128
    for side in (8, 20, 32, 56):
        scaled = np.stack([np.kron(one, np.ones((2, 2), np.uint8)) for one in STORED]) if side == 56 else None
        array = STORED[:, 4:24, 4:24] if side == 20 else np.pad(STORED, ((0, 0), (2, 2), (2, 2)))
        array = STORED[:, 2:26:3, 2:26:3] // 16 if side == 8 else array if scaled is None else scaled
        data = npz(x=array, y=LABELS)
        assert f"images of {side}x{side} pixels were scaled to 28x28" in data.notes
        if side == 56:
            np.testing.assert_array_equal(data.images, DRAWN.images)
    assert "pixels from 0 to 15 were scaled" in npz(x=STORED // 16, y=LABELS).notes


def test_rows_of_a_small_square_are_images_if_they_look_like_pixels() -> None:
    rng = np.random.default_rng(0)
    small = STORED.reshape(N, 14, 2, 14, 2).mean(axis=(2, 4)).reshape(N, 196).astype(np.uint8)
    assert "images of 14x14 pixels were scaled to 28x28" in npz(data=small, target=LABELS).notes
    mixed = npz(data=small[:, rng.permutation(196)], target=LABELS)
    assert not mixed.is_images
    assert "neighbouring values are not alike" in mixed.notes[0]
    assert not npz(data=rng.random((N, 64)), target=LABELS).is_images


def test_parts_of_a_data_set() -> None:
    for names in ("x_train y_train x_test y_test", "trainX trainY testX testY", "X_tr y_tr X_te y_te"):
        x, y, x_test, y_test = names.split()
        notes = check(npz(**{x: STORED[:30], y: LABELS[:30], x_test: STORED[30:], y_test: LABELS[30:]}), sizes=(30, 10))
        assert f"train from {x}, test from {x_test}" in notes
    arrays = {}
    for part, begin, end in (("train", 0, 20), ("test", 20, 30), ("val", 30, 40)):
        arrays |= {f"{part}_images": STORED[begin:end, ..., None], f"{part}_labels": LABELS[begin:end, None]}
    check(npz(**arrays), sizes=(20, 10, 10))
    assert "there is only the test part" in check(npz(x_test=STORED, y_test=LABELS))
    assert "left out: x_test" in check(npz(x_train=STORED, y_train=LABELS, x_test=STORED[:3]))


def test_arrays_without_names_are_told_by_their_shapes() -> None:
    assert "told by their shapes: arr_0 with labels arr_1" in check(npz(STORED, LABELS))
    check(npz(LABELS, STORED.reshape(N, 784)))
    check(npz(ONE_HOT, STORED))
    check(npz(STORED[:30], LABELS[:30], STORED[30:], LABELS[30:]), sizes=(30, 10))
    check(npz(STORED[:30], STORED[30:], LABELS[:30], LABELS[30:]), sizes=(30, 10))


def test_names_of_classes_and_of_columns() -> None:
    words = np.array([f"class {k}" for k in range(10)])
    data = npz(images=STORED, labels=LABELS.astype(float), label_names=words)
    assert data.classes == tuple(words)
    assert data.labels.tolist() == LABELS.tolist()
    rows = np.random.default_rng(0).normal(size=(N, 3))
    table = npz(X=rows, y=LABELS, feature_names=["a", "b", "c"], target_names=words)
    np.testing.assert_array_equal(table.features, rows)
    assert table.classes == tuple(words)
    assert [column.name for column in table.columns or ()] == ["a", "b", "c"]


def test_rows_of_other_numbers_stay_a_table() -> None:
    rng = np.random.default_rng(0)
    for rows, labels, task in (
        (rng.normal(size=(N, 13)), LABELS, "classification"),
        (rng.normal(size=(N, 784)), LABELS, "classification"),
        (STORED.reshape(N, 784), rng.random(N), "regression"),
        (rng.normal(size=(N, 3)), ONE_HOT, "classification"),
        (rng.normal(size=(N, 3)), np.array(["a", "b"] * (N // 2)), "classification"),
    ):
        data = npz(X=rows, y=labels)
        assert (data.is_images, data.task) == (False, task)
        np.testing.assert_array_equal(data.features, rows)
    assert "name the arrays features and targets" in npz(X=STORED.reshape(N, 784), y=LABELS).notes[0]
    assert not npz(features=STORED.reshape(N, 784), targets=LABELS).is_images
    asked = load_dataset(Path("a.npz"), task="regression")
    assert asked.targets[:, 0].tolist() == LABELS.tolist()
    split = npz(X_train=STORED[:30, :2, 0], y_train=LABELS[:30], X_test=STORED[30:, :2, 0], y_test=LABELS[30:])
    assert (len(split), len(split.test or ())) == (30, 10)


ODD: dict[str, tuple[dict[str, Any], str]] = {
    "no labels": ({"x": STORED}, "not clear what are images and labels; it holds x (uint8 (40, 28, 28)); name them"),
    "two labels": ({"x": STORED, "y": LABELS, "labels": LABELS}, "y and labels could both be the labels"),
    "two sets": (
        {"a_x": STORED, "a_y": LABELS, "b_x": STORED, "b_y": LABELS}, "several data sets (a_x and a_y; b_x and b_y)"
    ),
    "other lengths": ({"x": STORED, "y": LABELS[:9]}, "lengths of x (uint8 (40, 28, 28)) and y (uint8 (9,)) do not"),
    "objects": ({"x": STORED, "y": LABELS.astype(object)}, "y holds Python objects, which are never unpickled"),
    "records": ({"x": np.zeros(3, "i4,f4"), "y": LABELS[:3]}, "neither numbers nor text"),
    "records as labels": ({"x": STORED[:3], "y": np.zeros(3, "i4,f4")}, "neither numbers nor text"),
    "complex": ({"images": STORED * 1j, "labels": LABELS}, "images holds complex128, which is neither"),
    "NaN": ({"images": np.full((2, 28, 28), np.nan), "labels": LABELS[:2]}, "image 0, value 0 (from 0): nan is not"),
    "too large": ({"images": STORED + 1e9, "labels": LABELS}, "is not the value of a pixel"),
    "half a label": ({"images": STORED, "labels": LABELS + 0.5}, "is not a whole number"),
    "NaN as label": ({"images": STORED, "labels": np.full(N, np.nan)}, "label nan (row 0, from 0) is not a whole"),
    "several classes": ({"images": STORED, "labels": np.ones((N, 3))}, "are not one-hot"),
    "five axes": ({"images": STORED[:, :, :, None, None] * np.ones((2, 2)), "labels": LABELS}, "cannot be 40 images"),
    "no text": ({"images": STORED, "labels": np.array([b"\xff"] * N)}, "bytes that are no text"),
    "unclear": ({"a": STORED, "b": LABELS, "c": LABELS}, "not clear what are images and labels; it holds a (uint8"),
}  # fmt: skip


@pytest.mark.parametrize("case", ODD)
def test_arrays_that_are_not_clear_are_listed(case: str) -> None:
    arrays, words = ODD[case]
    with pytest.raises(DataError) as caught:
        npz(**arrays)
    assert str(caught.value).startswith("a.npz: ")
    assert words in str(caught.value)


# ---- .npy ----


def save(folder: str, **arrays: Any) -> Path:
    Path(folder).mkdir()
    for name, array in arrays.items():
        np.save(f"{folder}/{name}.npy", array)
    return Path(folder)


def test_npy_files_are_found_beside_each_other() -> None:
    save("a", images=STORED, labels=LABELS)
    for source in ("a", "a/images.npy", "a/labels.npy"):
        check(load_dataset(Path(source)))
    parts = save("b", x_train=STORED[:30], y_train=ONE_HOT[:30], x_test=STORED[30:], y_test=ONE_HOT[30:])
    check(load_dataset(parts), sizes=(30, 10))
    assert len(load_dataset(parts / "y_test.npy")) == 10
    check(load_dataset(save("c", first=STORED, second=LABELS) / "first.npy"))
    sets = save("d", my_X=STORED, my_y=LABELS, other_X=STORED[:3], other_y=LABELS[:3])
    check(load_dataset(sets / "my_X.npy"))


def test_npz_files_of_one_array_each_are_read_like_npy_files() -> None:
    Path("k").mkdir()
    for part, begin, end in (("train", 0, 30), ("test", 30, N)):
        np.savez_compressed(f"k/kmnist-{part}-imgs.npz", STORED[begin:end])
        np.savez_compressed(f"k/kmnist-{part}-labels.npz", LABELS[begin:end])
    check(load_dataset(Path("k")), sizes=(30, 10))
    assert len(load_dataset(Path("k/kmnist-test-imgs.npz"))) == 10
    np.savez("k/kmnist-train-labels.npz", LABELS, LABELS)
    with pytest.raises(DataError, match=r"kmnist-train-labels\.npz: holds 2 arrays, but only images or only labels"):
        load_dataset(Path("k"))


def test_npy_files_that_are_not_clear() -> None:
    for folder, name, words in (
        (save("a", X=STORED, z=LABELS), "X.npy", "not clear; put images.npy and labels.npy"),
        (save("b", a=STORED, b=LABELS, c=LABELS), "a.npy", "other .npy files there: b.npy, c.npy"),
        (save("c", p_X=STORED, p_y=LABELS, q_X=STORED, q_y=LABELS), "", "several data sets"),
        (save("d", images=STORED.astype(object), labels=LABELS), "", "never unpickled"),
        (save("e", images=STORED), "", "not clear"),
    ):
        with pytest.raises(DataError, match=words):
            load_dataset(folder / name)
    (save("f", X=STORED, y=LABELS) / "y.npy").write_bytes(b"\x93NUMPY\x01\0")
    with pytest.raises(DataError, match=r"y\.npy: not a \.npy file, or damaged"):
        load_dataset(Path("f"))


# ---- MATLAB ----


def save_mat(name: str, arrays: dict[str, Any], *, compressed: bool = True) -> Path:
    scipy_io = pytest.importorskip("scipy.io")
    scipy_io.savemat(name, arrays, do_compression=compressed)
    return Path(name)


def emnist(labels: Any = LABELS, mapping: Any = None) -> dict[str, Any]:
    turned = STORED.transpose(0, 2, 1).reshape(N, 784)
    parts = {
        part: {"images": turned[begin:end], "labels": labels[begin:end, None], "writers": labels[begin:end, None]}
        for part, begin, end in (("train", 0, 30), ("test", 30, N))
    }
    mapping = np.array([[k, 48 + k] for k in range(10)]) if mapping is None else mapping
    return {"dataset": {**parts, "mapping": mapping}}


def test_mat_files_of_emnist_are_turned_upright() -> None:
    for compressed in (True, False):
        notes = check(load_dataset(save_mat("emnist-digits.mat", emnist(), compressed=compressed)), sizes=(30, 10))
        assert "rows and columns exchanged, as in EMNIST, and were turned upright" in notes
    letters = np.arange(N) % 26 + 1
    mapping = np.array([[k + 1, 65 + k, 97 + k] for k in range(26)])
    path = save_mat("emnist-letters.mat", emnist(letters, mapping))
    check(load_dataset(path), [chr(64 + label) for label in letters], sizes=(30, 10))


def test_mat_files_count_from_one_and_down_the_columns() -> None:
    labels = np.where(LABELS == 0, 10, LABELS)[:, None]
    flat = (STORED / 255).transpose(0, 2, 1).reshape(N, 784)
    assert "label 10 is the digit 0" in check(load_dataset(save_mat("ex3data1.mat", {"X": flat, "y": labels})))
    colour = np.repeat(STORED.transpose(1, 2, 0)[:, :, None], 3, axis=2)
    check(load_dataset(save_mat("train_28x28.mat", {"X": colour, "y": labels})))
    names = np.array([f"{label}" for label in LABELS], dtype=object)
    check(load_dataset(save_mat("cells.mat", {"images": STORED, "labels": names})))


def test_mat_files_that_are_not_read() -> None:
    Path("a.mat").write_bytes(b"MATLAB 7.3 MAT-file".ljust(600))
    Path("b.mat").write_bytes(b"\x89HDF\r\n\x1a\n".ljust(600))
    Path("c.mat").write_bytes(b"x" * 600)
    damaged = save_mat("d.mat", {"X": STORED, "y": LABELS}).read_bytes()
    Path("d.mat").write_bytes(damaged[:400] + b"x" * 40 + damaged[440:])
    save_mat("e.mat", {"first": STORED})
    save_mat("g.mat", {"X": STORED, "y": np.array(["a" * 4_000_000, *map(str, LABELS[1:])], dtype=object)})
    save_mat("f.mat", {"X": np.zeros((100_000, 784), np.uint8), "y": np.zeros(100_000)})
    for name, words in (
        ("a", "MATLAB 7.3"), ("b", "MATLAB 7.3"), ("c", "not a file of MATLAB 5 to 7"), ("d", "damaged"),
        ("e", "it holds first"), ("f", "unpacks to too much for its compressed size"),
        ("g", "y: a text of 4,000,000 characters cannot be a label"),
    ):  # fmt: skip
        with pytest.raises(DataError, match=rf"^{name}\.mat: .*{words}"):
            load_dataset(Path(f"{name}.mat"))


# ---- files that are not read ----


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mnist.pkl.gz", "never unpickled"), ("a.pickle", "numpy.savez"), ("data_batch_1", "CIFAR"),
        ("a.pt", "PyTorch"), ("a.h5", "h5py"), ("a.xlsx", "save it as CSV"),
    ],
)  # fmt: skip
def test_known_files_that_are_not_read_are_named(name: str, words: str) -> None:
    Path("folder").mkdir()
    Path("folder", name).write_bytes(b"x")
    for source in ("folder", f"folder/{name}"):
        with pytest.raises(DataError, match=f"^folder/{name}: is .*{words}"):
            load_dataset(Path(source))


def test_eval_is_the_test_set_or_beside_one_the_validation_set() -> None:
    parts = {"x_train": STORED[:20], "y_train": LABELS[:20], "x_eval": STORED[20:], "y_eval": LABELS[20:]}
    data = npz(**parts)
    check(data, sizes=(20, 20))
    assert data.test is not None
    parts |= {"x_eval": STORED[30:], "y_eval": LABELS[30:], "x_holdout": STORED[20:30], "y_holdout": LABELS[20:30]}
    data = npz(**parts)
    check(data, sizes=(20, 10, 10))
    assert data.validation is not None


def test_an_array_for_each_class_is_refused_with_what_to_do() -> None:
    with pytest.raises(DataError, match="if each is one class, join them, and write their labels"):
        npz(**{f"train{k}": STORED[: 5 + k] for k in range(3)})


@pytest.mark.parametrize(
    ("n_quarters", "is_mirrored", "how"),
    [
        (0, False, ""),
        (2, False, "upside down"),
        (3, False, "by 90 degrees clockwise"),
        (1, False, "by 90 degrees counterclockwise"),
        (0, True, "mirrored"),
        (2, True, "mirrored upside down"),
    ],
)
def test_digits_that_look_turned_are_noted(n_quarters: int, is_mirrored: bool, how: str) -> None:
    drawn = load_dataset("drawn:400")
    turned = np.rot90(drawn.images.reshape(-1, 28, 28), n_quarters, (1, 2))
    notes = npz(images=turned[:, :, ::-1] if is_mirrored else turned, labels=drawn.labels).notes
    assert not notes if not how else f"{how}, and were not turned" in notes[-1]


def test_pixels_that_were_divided_twice_are_read() -> None:
    assert "divided twice" in check(npz(images=STORED / 255 / 255, labels=LABELS))


def test_pale_fractions_are_noted() -> None:
    notes = npz(images=STORED / 255 / 10, labels=LABELS).notes
    assert notes[0] == "pixels from 0 to 1 were scaled; the largest is 0.1; the images are pale"


def test_labels_from_1_to_10_are_noted() -> None:
    notes = npz(images=STORED, labels=np.where(LABELS == 0, 10, LABELS)).notes
    assert any("if 10 is the digit 0" in note for note in notes)
