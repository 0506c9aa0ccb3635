"""Parquet, Arrow and Feather files: pictures, lists of pixels, columns of pixels, and tables."""

import io
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fastnn.datasets import Dataset, load_dataset
from fastnn.errors import DataError, MissingExtraError

pa = pytest.importorskip("pyarrow")

N = 40
DRAWN = load_dataset(f"drawn:{N}")
STORED = (255 - DRAWN.images).reshape(N, 28, 28)
LABELS = DRAWN.labels


def save(table: Any, name: str = "a.parquet") -> Path:
    """Write a table in the format of a name."""
    from pyarrow import feather, parquet

    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        parquet.write_table(table, path)
    elif path.suffix == ".feather":
        feather.write_feather(table, str(path))
    else:
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
            stream.write_table(table)
    return path


def png(image: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def hugging_face(begin: int = 0, end: int = N, names: tuple[str, ...] = tuple("0123456789")) -> Any:
    """Return a table as Hugging Face stores MNIST."""
    features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    images = pa.array([{"bytes": png(one), "path": None} for one in STORED[begin:end]], kind)
    table = pa.table({"image": images, "label": pa.array(LABELS[begin:end])})
    return table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def check(data: Dataset, *, sizes: tuple[int, ...] = (N,), classes: tuple[str, ...] = tuple("0123456789")) -> str:
    parts = [part for part in (data, data.test, data.validation) if part is not None]
    assert tuple(map(len, parts)) == sizes
    np.testing.assert_array_equal(np.concatenate([part.images for part in parts]), DRAWN.images)
    assert np.concatenate([part.labels for part in parts]).tolist() == LABELS.tolist()
    assert data.classes == classes
    assert all(part.images.flags.writeable for part in parts)
    assert data.polarity == "light-on-dark"
    return "\n".join(data.notes)


@pytest.mark.parametrize("name", ["a.parquet", "a.feather", "a.arrow"])
def test_pictures_as_hugging_face_stores_them(name: str) -> None:
    assert "images from the column 'image', labels from 'label'" in check(load_dataset(save(hugging_face(), name)))


@pytest.mark.parametrize("last", ["validation", "eval"])
def test_names_of_classes_and_parts_in_several_files(last: str) -> None:
    words = tuple("abcdefghij")
    for name, begin, end in (
        ("train-00000-of-00002", 0, 12), ("train-00001-of-00002", 12, 24), ("test-00000-of-00001", 24, 32),
        (f"{last}-00000-of-00001", 32, N),
    ):  # fmt: skip
        save(hugging_face(begin, end, words), f"hub/data/{name}.parquet")
    notes = check(load_dataset(Path("hub")), sizes=(24, 8, 8), classes=words)
    assert "train from 2 files, test from 1 file, validation from 1 file" in notes


def test_a_damaged_picture_is_left_out_or_an_error() -> None:
    table = hugging_face()
    images = table.column("image").to_pylist()
    images[3]["bytes"] = images[3]["bytes"][:60]
    path = save(table.set_column(0, "image", pa.array(images, table.schema.field("image").type)))
    assert len(load_dataset(path)) == N - 1
    with pytest.raises(DataError, match=r"a\.parquet/row 3: "):
        load_dataset(path, strict=True)


@pytest.mark.parametrize(
    "images",
    [
        pa.array(STORED.reshape(N, 784).tolist()),
        pa.array(STORED.tolist(), pa.list_(pa.list_(pa.uint8()))),
        pa.array((STORED.reshape(N, 784) / 255).tolist(), pa.large_list(pa.float32())),
        pa.FixedSizeListArray.from_arrays(pa.array(STORED.reshape(-1)), 784),
    ],
    ids=["integers", "rows of rows", "floats", "fixed size"],
)
@pytest.mark.parametrize(
    "labels",
    [
        pa.array(LABELS),
        pa.array([str(label) for label in LABELS]).dictionary_encode(),
        pa.array([str(label) for label in LABELS], pa.large_string()).dictionary_encode(),
    ],
    ids=["integers", "dictionary", "dictionary of Polars"],
)
def test_lists_of_pixels(images: Any, labels: Any) -> None:
    path = save(pa.table({"id": range(N), "image": images, "label": labels}))
    assert "left out: id" in check(load_dataset(path))


def test_small_files_of_values_that_take_gigabytes_are_refused() -> None:
    n, long = 2000, "a" * 100_000
    numbers = pa.array(range(n))
    once = pa.DictionaryArray.from_arrays(pa.array([0] * n, pa.int32()), pa.array([long]))
    images = pa.array([[k % 256] * 64 for k in range(n)], pa.list_(pa.uint8()))
    texts = pa.array([long, *map(str, range(n - 1))])
    too_much = "unpacks to [0-9,]+ MiB or more, too much for its compressed size"
    for name, columns, words in (
        ("nulls", {"x": pa.nulls(n * 100_000), "label": pa.nulls(n * 100_000)}, too_much),
        ("texts", {"x": numbers, "text": once, "label": numbers}, too_much),
        ("labels", {"image": images, "label": once}, too_much),
        ("long", {"image": images, "label": texts}, "a text of 100,000 characters cannot be a label; shorten it"),
    ):
        path = save(pa.table(columns), f"{name}.feather")
        with pytest.raises(DataError, match=rf"^{name}\.feather: {words}"):
            load_dataset(path)


def test_lists_of_other_numbers_are_rows_of_a_table() -> None:
    rows = np.random.default_rng(0).normal(size=(N, 3))
    data = load_dataset(save(pa.table({"embedding": rows.tolist(), "label": ["a", "b"] * (N // 2)})))
    np.testing.assert_array_equal(data.features, rows)
    assert data.classes == ("a", "b")


def test_columns_of_pixels() -> None:
    columns = {f"pixel{k}": STORED.reshape(N, 784)[:, k] for k in range(784)}
    assert "784 columns are pixels" in check(load_dataset(save(pa.table({**columns, "label": LABELS}))))


def test_tables_are_read_as_csv_files_are() -> None:
    rows = {"a": np.arange(N) / 4, "colour": ["red", "blue"] * (N // 2), "target": np.arange(N) % 3}
    table = pa.table(rows)
    dictionary = table.set_column(1, "colour", table.column("colour").dictionary_encode())
    Path("a.csv").write_text(
        "a,colour,target\n" + "".join(f"{a},{b},{c}\n" for a, b, c in zip(*rows.values(), strict=True))
    )
    expected = load_dataset(Path("a.csv"))
    for one in (table, dictionary):
        found = load_dataset(save(one))
        assert found.content_hash == expected.content_hash
        assert found.notes == expected.notes
    save(table[:30], "parts/train.parquet")
    save(table[30:], "parts/test.parquet")
    parts = load_dataset(Path("parts"))
    assert (len(parts), len(parts.test or ())) == (30, 10)
    assert parts.columns == expected.columns
    regression = load_dataset(save(table), target="a")
    assert (regression.task, regression.names) == ("regression", ("a",))


ODD = {
    "a gap": (pa.table({"a": [1.0, None], "y": [0, 1]}), r"row 1 \(from 0\), column 'a': the cell is empty"),
    "no label": (pa.table({"image": [[1, 2, 3, 4]], "p": [1], "q": [2]}), r"choose one with --target \('p', 'q'\)"),
    "a missing label": (pa.table({"image": [[1] * 784] * 2, "y": [1, None]}), r"no label in row 1 \(from 0\)"),
    "other lengths": (pa.table({"image": [[1, 2], [3]], "y": [1, 2]}), "lists of different lengths"),
    "a struct": (pa.table({"a": [{"x": 1}], "y": [1]}), "neither numbers nor texts"),
    "no rows": (pa.table({"a": pa.array([], pa.int64()), "y": pa.array([], pa.int64())}), "holds no rows"),
    "no picture": (pa.table({"image": [b"hello"], "y": [1]}), "row 0: not a picture"),
    "two images": (pa.table({"a": [[1] * 784], "b": [[1] * 784], "y": [1]}), "which column holds the images; it has a"),
}


@pytest.mark.parametrize("case", ODD)
def test_tables_that_are_not_clear(case: str) -> None:
    table, words = ODD[case]
    with pytest.raises(DataError, match=rf"^a\.parquet.*{words}"):
        load_dataset(save(table))


def test_damaged_files_and_bombs() -> None:
    path = save(hugging_face())
    content = path.read_bytes()
    for broken in (content[:200], b"PAR1" + content[400:], b"hello" * 9, b"ARROW1" + content):
        path.write_bytes(broken)
        with pytest.raises(DataError, match=r"^a\.parquet: not a Parquet or Arrow file, or damaged"):
            load_dataset(path)
    zeros = pa.table({"a": np.zeros(9_000_000), "y": np.zeros(9_000_000, np.int8)})
    save(zeros)
    save(zeros, "a.feather")
    pa.feather.write_feather(zeros, "b.feather", compression="zstd")
    for name in ("a.parquet", "a.feather", "b.feather"):
        with pytest.raises(DataError, match=f"^{name}: unpacks to .* too much for its compressed size"):
            load_dataset(Path(name))
    shutil.rmtree("x", ignore_errors=True)
    save(hugging_face(0, 20), "x/one.parquet")
    save(pa.table({"a": [1], "y": [1]}), "x/two.parquet")
    with pytest.raises(DataError, match="the files have different columns"):
        load_dataset(Path("x"))


def test_without_pyarrow_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(hugging_face(0, 2))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"^a\.parquet: .* needs the extra \[tables\]"):
        load_dataset(path)


def test_labels_of_pictures_are_read_as_in_a_csv_file() -> None:
    table = hugging_face().replace_schema_metadata(None)
    table = table.set_column(1, "label", pa.array([f"{label:02}" for label in LABELS]))
    assert "labels such as 00 are read as 0" in check(load_dataset(save(table)))
