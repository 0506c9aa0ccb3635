"""A faulty file raises a DataError whose message is one line with the file and the fault, and nothing else."""

import gzip
import io
import json
import math
import random
import struct
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastnn.datasets import load_dataset
from fastnn.errors import DataError
from tests.datasets.samples import digit, idx_images, idx_labels, images, json_bytes


def npz(**arrays: object) -> bytes:
    file = io.BytesIO()
    np.savez(file, **{name: np.asarray(array) for name, array in arrays.items()})
    return file.getvalue()


def npz_of(name: str, header: dict[str, object], content: bytes = b"") -> bytes:
    """Return an archive with one member whose header says what `header` does."""
    array = io.BytesIO()
    np.lib.format.write_array_header_1_0(array, header)  # type: ignore[arg-type]
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{name}.npy", array.getvalue() + content)
    return file.getvalue()


def png(side: int = 28) -> bytes:
    file = io.BytesIO()
    Image.new("L", (side, side), 255).save(file, "PNG")
    return file.getvalue()


def row(label: object = 3, *, pixels: int = 784, **changed: object) -> bytes:
    made = digit(label, pixels=pixels, **changed)
    return ",".join(map(str, [label, *made["image"]])).encode()  # type: ignore[misc]


ONE = images(1).tobytes()
WHITE = [255] * 784
GOOD_JSON = json_bytes(digit(), digit())
PACKED = gzip.compress(GOOD_JSON)
GOOD_NPZ = npz(images=images(2), labels=[0, 1])

# name of the case: (file, content, words of the message)
FILES: dict[str, tuple[str, bytes, str]] = {
    "json: empty": ("a.json", b"", "empty"),
    "json: no list": ("a.json", b"{}", "Expected array"),
    "json: empty list": ("a.json", b"[]", "no images"),
    "json: truncated": ("a.json", GOOD_JSON[:-200], "truncated"),
    "json: something after it": ("a.json", GOOD_JSON + b"x", "trailing characters"),
    "json: a comma too many": ("a.json", GOOD_JSON[:-1] + b",]", "trailing comma"),
    "json: no JSON": ("a.json", b"\x89PNG\r\n", "not valid JSON"),
    "json: numbers": ("a.json", b"[1, 2]", "item 0"),
    "json: wrong keys": ("a.json", json_bytes({"pixels": WHITE, "digit": 3}), "item 0: Object missing"),
    "json: no label": ("a.json", json_bytes(digit(), {"image": WHITE}), "item 1: Object missing"),
    "json: 783 pixels": ("a.json", json_bytes(digit(), digit(pixels=783)), "item 1: an image must be 784 integers"),
    "json: 785 pixels": ("a.json", json_bytes(digit(pixels=785)), "item 0: an image must be 784 integers"),
    "json: pixel 256": ("a.json", json_bytes(digit(p5=256)), "<= 255 at pixel 5"),
    "json: pixel -1": ("a.json", json_bytes(digit(p0=-1)), ">= 0 at pixel 0"),
    "json: pixel 1.5": ("a.json", json_bytes(digit(p783=1.5)), "got float at pixel 783"),
    "json: pixel NaN": ("a.json", json_bytes(digit(p5=float("nan"))), "a.json: "),
    "json: pixel 'a'": ("a.json", json_bytes(digit(p5="a")), "got str at pixel 5"),
    "json: pixel true": ("a.json", json_bytes(digit(p5=True)), "got bool at pixel 5"),
    "json: pixel null": ("a.json", json_bytes(digit(p5=None)), "got null at pixel 5"),
    "json: nested pixels": ("a.json", json_bytes({"image": [[255] * 28] * 28, "label": 1}), "got array at pixel 0"),
    "json: image of text": ("a.json", json_bytes({"image": "x", "label": 1}), "Expected array, got str"),
    "json: label 10": ("a.json", json_bytes(digit(), digit(10)), "item 1: label: Expected int <= 9"),
    "json: label -1": ("a.json", json_bytes(digit(-1)), "item 0: label: Expected int >= 0"),
    "json: label 1.5": ("a.json", json_bytes(digit(1.5)), "got float"),
    "json: label true": ("a.json", json_bytes(digit(True)), "got bool"),
    "json: label null": ("a.json", json_bytes(digit(None)), "got null"),
    "json: label ''": ("a.json", json_bytes(digit("")), "cannot be a label"),
    "json: unprintable label": ("a.json", json_bytes(digit("a\nb")), "cannot be a label"),
    "json: half a surrogate": ("a.json", json_bytes(digit()).replace(b"3}", b'"\\ud800"}'), "a.json: "),
    "json: no UTF-8": ("a.json", json_bytes(digit("x")).replace(b'"x"', b'"\xff"'), "a.json: "),
    "json: deep nesting": ("a.json", b"[" * 100_000, "a.json: "),
    "json: deep nesting unread": ("a.json", GOOD_JSON[:-2] + b',"x":' + b"[" * 100_000, "truncated"),
    "json: deep nesting closed": (
        "a.json", GOOD_JSON[:-2] + b',"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}]", "item 1: not valid JSON"
    ),
    "json.gz: no gzip": ("a.json.gz", GOOD_JSON, "not a gzip file"),
    "json.gz: truncated": ("a.json.gz", PACKED[:-20], "truncated"),
    "json.gz: damaged": ("a.json.gz", PACKED[:20] + b"xxxx" + PACKED[24:], "damaged"),
    "csv: empty": ("a.csv", b"", "empty"),
    "csv: a header alone": ("a.csv", b"label,pixel0\n", "no rows"),
    "csv: 783 pixels": ("a.csv", row() + b"\n" + row(pixels=783), "line 2 has 784 cells, but the first row has 785"),
    "csv: pixel 256": ("a.csv", row(p5=256), "line 1, column 7: 256 is not the value of a pixel, which is 0 to 255"),
    "csv: pixel 'a' first": ("a.csv", row(p0="a"), "line 1"),
    "csv: pixel nan": ("a.csv", row(p5="nan"), "line 1"),
    "csv: pixel missing": ("a.csv", row(p5=""), "line 1"),
    "csv: brackets": ("a.csv", row() + b"\n" + row(p5="1],[1"), "line 2"),
    "csv: two separators": ("a.csv", row() + b"\n" + row().replace(b",", b";"), "line 2 has 1 cell"),
    "csv: label missing": ("a.csv", row(""), "cannot be a label"),
    "csv: label -1": ("a.csv", row(-1), "-1 cannot be a label"),
    "csv: label beyond 64 bits": ("a.csv", row(2**64), "cannot be a label"),
    "csv: open quote": ("a.csv", b'"' + row(), "line 1"),
    "csv: no UTF-8": ("a.csv", row().replace(b"3", b"\xff", 1), "not UTF-8"),
    "npz: empty": ("a.npz", b"", "not an .npz file"),
    "npz: no zip": ("a.npz", b"PK\x03\x04" + bytes(100), "not an .npz file"),
    "npz: truncated": ("a.npz", GOOD_NPZ[:-100], "not an .npz file"),
    "npz: damaged": ("a.npz", GOOD_NPZ[:600] + b"x" + GOOD_NPZ[601:], "CRC"),
    "npz: no labels": ("a.npz", npz(images=images(1)), "no array `labels`"),
    "npz: no arrays": ("a.npz", npz(), "it holds no arrays; name them images and labels"),
    "npz: standardised images": ("a.npz", npz(images=images(2) / 100 - 0.7, labels=[1, 2]), "may be standardised"),
    "npz: 27x28": ("a.npz", npz(images=images(1)[:, :756], labels=[1]), "uint8 of shape (1, 756) cannot be 1 images"),
    "npz: no images": ("a.npz", npz(images=images(0), labels=np.array([], int)), "no images"),
    "npz: one label too many": ("a.npz", npz(images=images(1), labels=[1, 2]), "1 images but 2 labels"),
    "npz: float labels": ("a.npz", npz(images=images(1), labels=[1.5]), "label 1.5 (row 0, from 0) is not a whole"),
    "npz: a label too high": ("a.npz", npz(images=images(1), labels=[2], classes=["a", "b"]), "no index into"),
    "npz: a label too low": ("a.npz", npz(images=images(1), labels=[-1], classes=["a", "b"]), "no index into"),
    "npz: an unknown label": ("a.npz", npz(images=images(1), labels=["c"], classes=["a", "b"]), "not among"),
    "npz: a class twice": ("a.npz", npz(images=images(1), labels=[0], classes=["a", "a"]), "twice"),
    "npz: half a test set": ("a.npz", npz(images=images(1), labels=[0], test_labels=[1]), "no array `test_images`"),
    "npz: objects": ("a.npz", npz(images=images(1), labels=np.array([{}], object)), "never unpickled"),
    "npz: a shape beyond its bytes": (
        "a.npz", npz_of("images", {"descr": "|u1", "fortran_order": False, "shape": (10**15, 784)}), "damaged"
    ),
    "npz: a negative shape": (
        "a.npz",
        npz_of("images", {"descr": "|u1", "fortran_order": False, "shape": (-1, -784)}, bytes(784)),
        "impossible",
    ),
    "a file of Weka": ("a.arff", b"@relation a", "save it as CSV"),
    "JSON Lines": ("a.jsonl", b"{}", "is JSON Lines"),
    "a part of TensorFlow": ("mnist.tfrecord-00000-of-00001", b"x", "is a file of TensorFlow"),
    "packed in another way": ("a.csv.bz2", b"BZh9", "unpack it, or pack it with gzip"),
    "a table of UCI": ("a.data", b"1,2\n", "rename it to .txt"),
    "one picture": ("a.png", png(), "a data set is a folder of them"),
    "csv: lists of pixels": (
        "a.csv",
        b'label,image\n1,"' + str([0] * 784).encode() + b'"\n',
        "has 2,352 characters; a category has at most 1,000; if these are pixels, give each a column",
    ),
    "unknown kind": ("a.doc", b"hello", "unknown format"),
}  # fmt: skip

# name of the case: (files of a folder, words of the message)
FOLDERS: dict[str, tuple[dict[str, bytes], str]] = {
    "idx: labels missing": ({"x-images-idx3-ubyte": idx_images(1, ONE)}, "the labels that belong to it are not in"),
    "idx: MNIST's labels missing": ({"train-images-idx3-ubyte": idx_images(1, ONE)}, "train-labels-idx1-ubyte"),
    "idx: two pairs": (
        {f"{a}-{b}": b"" for a in "xy" for b in ("images-idx3-ubyte", "labels-idx1-ubyte")}, "several pairs"
    ),
    "folder: empty": ({}, "no data set in this folder"),
    "folder: text only": ({"a/readme.txt": b"x"}, "no data set in this folder"),
    "folder: no image": ({"a/1.png": b"hello"}, "1.png: not a picture"),
    "folder: truncated image": ({"a/1.png": png(), "b/2.png": png()[:-30]}, "2.png: not a complete PNG"),
    "folder: empty image": ({"a/1.jpg": b""}, "1.jpg: not a picture"),
    "class files: 783 pixels": ({"0.json": json_bytes(WHITE), "1.json": json_bytes(WHITE[1:])}, "1.json: item 0"),
    "class files: 783 pixels in an object": ({"1.json": json_bytes(digit(pixels=783))}, "1.json: item 0"),
    "class files: numbers": ({"1.json": b"[1, 2, 3]"}, "1.json: item 0"),
    "class files: empty": ({"1.json": b"[]"}, "no images"),
}  # fmt: skip


def pair(images: bytes, labels: bytes) -> dict[str, bytes]:
    return {"x-images-idx3-ubyte": images, "x-labels-idx1-ubyte": labels}


FOLDERS |= {
    "idx: empty": (pair(b"", b""), "empty"),
    "idx: a header cut off": (pair(b"\0\0\x08\x03\0", idx_labels(1, b"\1")), "truncated"),
    "idx: truncated": (pair(idx_images(2, ONE), idx_labels(2, b"\1\1")), "truncated"),
    "idx: too long": (pair(idx_images(1, ONE + b"x"), idx_labels(1, b"\1")), "longer than its header says"),
    "idx: a count of four billion": (pair(idx_images(2**32 - 1, ONE), idx_labels(1, b"\1")), "truncated"),
    "idx: other magic": (pair(idx_images(1, ONE, magic=0x0A03), idx_labels(1, b"\1")), "not an IDX file of images"),
    "idx: images of one axis": (pair(idx_labels(1, b"\1"), idx_labels(1, b"\1")), "not an IDX file of images"),
    "idx: labels of other magic": (pair(idx_images(1, ONE), idx_images(1, ONE)), "not an IDX file of labels"),
    "idx: floats that are no pixels": (
        pair(idx_images(1, np.full(784, 300.0, ">f4").tobytes(), magic=0x0D03), idx_labels(1, b"\1")),
        "not the value",
    ),
    "idx: no images": (pair(idx_images(0, b""), idx_labels(0, b"")), "no images"),
    "idx: a label too few": (pair(idx_images(2, ONE * 2), idx_labels(1, b"\1")), "2 images"),
}


def fault(source: Path | str) -> str:
    with pytest.raises(DataError) as caught:
        load_dataset(source)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_an_archive_of_python_2_is_read_without_a_warning(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        for name, array in (("images", images(2)), ("labels", np.array([3, 4]))):
            shape = "".join(f"{length}L, " for length in array.shape)
            text = f"{{'descr': '{array.dtype.str}', 'fortran_order': False, 'shape': ({shape}), }}"
            header = f"{text:<117}\n".encode()
            archive.writestr(f"{name}.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", 118) + header + array.tobytes())
    assert load_dataset(tmp_path / "a.npz").labels.tolist() == [3, 4]


@pytest.mark.parametrize("case", FILES)
def test_a_faulty_file_is_described(case: str, tmp_path: Path) -> None:
    name, content, words = FILES[case]
    path = tmp_path / name
    path.write_bytes(content)
    message = fault(path)
    assert message.startswith(f"{path}: ")
    assert words in message


@pytest.mark.parametrize("case", FOLDERS)
def test_a_faulty_folder_is_described(case: str, tmp_path: Path) -> None:
    files, words = FOLDERS[case]
    folder = tmp_path / "folder"
    folder.mkdir()
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    message = fault(folder)
    assert message.startswith(str(folder))
    assert words in message


@pytest.mark.parametrize("source", ["nothing", "no/such.json", "x" * 5000, "a\0b", ""])
def test_the_message_for_an_unknown_source_names_the_known_ones(source: str) -> None:
    if source == "":
        # The empty path is the working folder, which is empty here.
        assert "no data set in this folder" in fault(source)
    elif len(source) < 1000:
        assert "digits, mnist, drawn" in fault(source)
    else:
        assert "cannot be read" in fault(source)


def test_a_file_of_a_pair_without_the_other_file(tmp_path: Path) -> None:
    path = tmp_path / "x-labels-idx1-ubyte"
    path.write_bytes(idx_labels(1, b"\1"))
    assert "that belong to it are not in the same folder" in fault(path)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.json.gz", b" " * (70 << 20), "unpacks to more than 64 MiB"),
        ("a.csv.gz", b"11," * (70 << 18), "is longer than 16 MiB"),
        ("x-images-idx3-ubyte.gz", idx_images(90_000, bytes(90_000 * 784)), "unpacks to more than 64 MiB"),
        ("a.npz", b"", "too much for its compressed size"),
    ],
)
def test_decompression_bombs_are_not_decompressed(name: str, content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / name
    size = 70 << 20
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(content, 1))
        (tmp_path / "x-labels-idx1-ubyte").write_bytes(idx_labels(1, b"\1"))
    else:
        shape = (size // 784, 784)
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        path.write_bytes(npz_of("images", header, bytes(math.prod(shape))))
    tracemalloc.start()
    try:
        assert words in fault(path)
        assert tracemalloc.get_traced_memory()[1] < 150 << 20
    finally:
        tracemalloc.stop()


def test_a_file_too_large_to_read(tmp_path: Path) -> None:
    path = tmp_path / "sparse.json"
    with path.open("wb") as file:
        file.truncate(3 << 30)
    assert "2048 MiB" in fault(path)


@pytest.mark.parametrize("name", ["a.json", "a.csv", "a.npz", "cat/1.png"])
def test_random_damage_ends_in_a_data_error_or_a_data_set(name: str, tmp_path: Path) -> None:
    path = tmp_path / "x" / name
    path.parent.mkdir(parents=True)
    original = {"json": GOOD_JSON, "csv": row() + b"\n" + row(4), "npz": GOOD_NPZ, "png": png()}[path.suffix[1:]]
    source = path.parent.parent if path.suffix == ".png" else path
    generator = random.Random(name)
    refused = 0
    for _ in range(150):
        content = bytearray(original)
        for _ in range(generator.randint(1, 3)):
            at = generator.randrange(len(content))
            content[at : at + generator.choice([0, 1, 8])] = generator.choice([b"", b"\xff", b"-1", b"[", b"9999"])
        path.write_bytes(content)
        try:
            loaded = len(load_dataset(source))
        except DataError as error:
            message = str(error)
            refused += 1
        else:
            message = f"{path}: {loaded} loaded"
            assert loaded
        assert message.startswith(f"{path}: ")
    assert refused > 20


def test_json_may_have_extra_fields(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(json.dumps([{**digit(), "checked": True}]).encode())
    assert len(load_dataset(path)) == 1
