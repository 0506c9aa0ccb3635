"""Sources whose samples are left on the disk: they are read as they are in memory."""

import gzip
import io
import json
import struct
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fastnn.datasets import Dataset, MappedRows, ReadOptions, SparseRows, load_dataset, load_source
from fastnn.datasets.loading import load_from
from fastnn.datasets.options import DEFAULT_OPTIONS
from fastnn.datasets.store import check_store
from fastnn.datasets.store_files import new_array
from fastnn.datasets.store_writer import write_store
from fastnn.errors import DataError
from tests.helpers import largest_file

N = 30
DRAWN = load_dataset(f"drawn:{N}")
INK = (255 - DRAWN.images).reshape(N, 28, 28)
LABELS = DRAWN.labels
WIDE = np.pad(INK, ((0, 0), (2, 2), (4, 4)))
NUMBERS = np.random.default_rng(0).normal(size=(N, 5))


def saved(name: str, array: Any) -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array)
    return path


def npy(images: Any, labels: Any = LABELS) -> Callable[[], Path]:
    def make() -> Path:
        saved("d/labels.npy", labels)
        return saved("d/images.npy", images)

    return make


def npz(*, compressed: bool = True, **arrays: Any) -> Callable[[], Path]:
    def make() -> Path:
        (np.savez_compressed if compressed else np.savez)("a.npz", **arrays)
        return Path("a.npz")

    return make


def pair_of_npz() -> Path:
    np.savez("x-train-imgs.npz", INK)
    np.savez("x-train-labels.npz", LABELS)
    return Path("x-train-imgs.npz")


def mat() -> Path:
    scipy_io = pytest.importorskip("scipy.io")
    scipy_io.savemat("a.mat", {"X": np.repeat(INK, 8, axis=0), "y": np.repeat(LABELS, 8)[:, None]}, do_compression=True)
    return Path("a.mat")


def png(image: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def arrow(columns: Any, *, names: tuple[str, ...] = ("a.parquet",)) -> Callable[[], Path]:
    """Write columns, or what a function returns, as files, each with as many rows."""

    def make() -> Path:
        pa = pytest.importorskip("pyarrow")
        from pyarrow import feather, parquet

        table = pa.table(columns(pa) if callable(columns) else columns)
        ends = np.linspace(0, N, len(names) + 1).astype(int)
        for name, begin, end in zip(names, ends, ends[1:], strict=False):
            path, part = Path("f") / name, table.slice(begin, end - begin)
            path.parent.mkdir(exist_ok=True)
            if path.suffix == ".parquet":
                parquet.write_table(part, path, row_group_size=12)
            elif path.suffix == ".feather":
                feather.write_feather(part, str(path), compression="lz4", chunksize=7)
            else:
                with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as stream:
                    stream.write_table(part, 8)
        return Path("f") / names[0] if len(names) == 1 else Path("f")

    return make


def lists(pa: Any) -> dict[str, Any]:
    return {"id": [f"row {k}" for k in range(N)], "image": pa.array(INK.reshape(N, -1).tolist()), "label": LABELS}


def rows_of_numbers(pa: Any) -> dict[str, Any]:
    return {"values": pa.array(NUMBERS.tolist()), "label": pa.array([str(one) for one in LABELS]).dictionary_encode()}


def hub(pa: Any, side: Any = INK) -> dict[str, Any]:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    return {"image": pa.array([{"bytes": png(one), "path": None} for one in side], kind), "label": LABELS}


def large(pa: Any) -> dict[str, Any]:
    return hub(pa, np.kron(INK, np.ones((1, 3, 3), np.uint8)))


def one_hot(pa: Any) -> dict[str, Any]:
    marks = {f"label_{k}": (k == LABELS).astype(int) for k in range(10)}
    return {"image": pa.array((INK / 255).tolist()), **marks}


COLUMNS = {"label": LABELS, **{f"pixel{k}": INK.reshape(N, -1)[:, k] for k in range(784)}}
TABLE = {"a": NUMBERS[:, 0], "b": NUMBERS[:, 1].astype(np.float32), "target": np.where(LABELS > 4, "high", "low")}
PARTS = ("train-00000-of-00002.parquet", "train-00001-of-00002.parquet", "test-00000-of-00001.parquet")


def csv(values: Any, name: str = "a.csv") -> Callable[[], Path]:
    def make() -> Path:
        rows = values.reshape(N, -1)
        lines = ["label," + ",".join(f"pixel{k}" for k in range(rows.shape[1]))]
        lines += [f"{label}," + ",".join(map(str, row)) for label, row in zip(LABELS, rows.tolist(), strict=True)]
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text("\n".join(lines))
        return Path(name)

    return make


def table(columns: dict[str, Any], name: str = "t.csv") -> Callable[[], Path]:
    """Write columns as a table; a first one of texts is left as it is."""

    def make() -> Path:
        rows = zip(*(np.asarray(column).tolist() for column in columns.values()), strict=True)
        lines = [",".join(columns), *(",".join(map(str, row)) for row in rows)]
        opened: Any = gzip.open if name.endswith(".gz") else open
        with opened(name, "wt") as file:
            file.write("\n".join(lines))
        return Path(name)

    return make


def text(content: str, name: str) -> Callable[[], Path]:
    def make() -> Path:
        opened: Any = gzip.open if name.endswith(".gz") else open
        Path(name).parent.mkdir(exist_ok=True)
        with opened(name, "wt") as file:
            file.write(content)
        return Path(name)

    return make


def class_files(ending: str = "") -> Path:
    for digit in (1, 3, 7):
        items: list[Any] = [image.tolist() for image in DRAWN.images[digit == LABELS]]
        items.append({"image": DRAWN.images[0].tolist()})
        items.append({"image": DRAWN.images[1].tolist(), "label": "seven" if digit == 7 else 2})
        text(json.dumps(items), f"j/{digit}.json{ending}")()
    return Path("j")


def csv_parts() -> Path:
    lines = csv(DRAWN.images)().read_text().splitlines()
    Path("parts").mkdir()
    for name, begin, end in (("train", 0, 20), ("val", 20, N), ("test", 0, 10)):
        Path(f"parts/{name}.csv").write_text("\n".join([lines[0], *lines[begin + 1 : end + 1]]))
    return Path("parts")


def pictures(images: Any, *, strange: bool = False) -> Callable[[], Path]:
    def make() -> Path:
        for k, (image, label) in enumerate(zip(images, LABELS, strict=True)):
            path = Path("p") / str(label) / f"{k:03}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(image[: len(image) - k % 3] if strange else image))
        return Path("p")

    return make


def zipped(make: Callable[[], Path], name: str = "a.zip") -> Callable[[], Path]:
    def pack() -> Path:
        made = make()
        # Of others, labels are in a file beside it.
        alone = made.suffix in (".csv", ".npz", ".tar", ".zip")
        files = [made] if alone else sorted((made if made.is_dir() else made.parent).rglob("*.*"))
        if name.endswith(".zip"):
            with zipfile.ZipFile(name, "w", zipfile.ZIP_DEFLATED) as archive:
                for file in files:
                    archive.write(file)
        else:
            with tarfile.open(name, "w:gz" if name.endswith("gz") else "w") as tar:
                for file in files:
                    tar.add(file)
        return Path(name)

    return pack


def zip_of_large_files(images: Any, padding: int) -> Path:
    """Write small pictures, which are decoded fast, in large files, as cameras do with what they add."""
    with zipfile.ZipFile("a.zip", "w") as archive:
        for k, image in enumerate(images):
            archive.writestr(f"{k % 10}/{k}.png", png(image.reshape(28, 28)) + bytes(padding))
    return Path("a.zip")


def idx(images: Any, kind: int, ending: str = "") -> Callable[[], Path]:
    def make() -> Path:
        opened: Any = gzip.open if ending else open
        content = images.astype(images.dtype.newbyteorder(">")).tobytes()
        with opened(f"x-images-idx3-ubyte{ending}", "wb") as file:
            file.write(struct.pack(">4B3I", 0, 0, kind, 3, *images.shape) + content)
        with opened(f"x-labels-idx1-ubyte{ending}", "wb") as file:
            file.write(struct.pack(">2I", 0x0801, N) + LABELS.astype(np.uint8).tobytes())
        return Path(f"x-images-idx3-ubyte{ending}")

    return make


WIDE_TABLE = {f"f{k}": NUMBERS[:, k % 5].round(k % 4) for k in range(300)}
MIXED = {
    "id": np.arange(N),
    "colour": np.array(["red", "light blue", "green"])[LABELS % 3],
    "a": NUMBERS[:, 0].round(2),
    "city": [f"city {k % 7}" for k in range(N)],
    "target": LABELS,
}
SVMLIGHT = "".join(
    f"{k % 3} " + " ".join(f"{c}:{c * k % 4 / 4}" for c in range(1, 9, 1 + k % 4)) + "\n" for k in range(N)
)
SPARSE = {
    "indptr": np.arange(N + 1),
    "indices": np.arange(N, dtype=np.int32) % 4,
    "data": NUMBERS[:, 0],
    "shape": np.array([N, 4]),
    "targets": LABELS,
}
TWICE = SPARSE | {
    "indptr": np.arange(0, 2 * N + 1, 2),
    "indices": np.arange(2 * N, dtype=np.int32) // 2 % 4,
    "data": np.ones(2 * N),
}
OTHER_TYPES = SPARSE | {
    "indptr": np.arange(N + 1, dtype=np.uint16),
    "indices": np.arange(N, dtype=np.int64) % 4,
    "data": np.arange(N, dtype=np.int8),
}
SPARSE_SOURCES: dict[str, Callable[[], Path]] = {
    "csv, categories": table(MIXED),
    "csv, one category": table({"a": ["x"] * N, "id": np.arange(N) // 2, "target": LABELS}, "t.csv.gz"),
    "columns, categories": arrow(MIXED, names=PARTS),
    "svmlight": text(SVMLIGHT, "a.svmlight"),
    "svmlight, packed": text("# from 0\n" + SVMLIGHT.replace("1:", "0:"), "a.svm.gz"),
    "svmlight, several labels": text("1,2 1:1\n2 3:4\n" * N, "a.libsvm"),
    "svmlight, texts": text("cat 1:1 # one\ndog\n\nant 2:0.1\n" * N, "a.svm"),
    "svmlight, numbers": text("0.5 qid:3 0:1 7:2\n-2e3 1:3\n" * N, "a.svm"),
    "npz, sparse": npz(**SPARSE, **{f"test_{name}": array for name, array in SPARSE.items()}),
    "npz, sparse, summed": npz(**TWICE),
    "npz, sparse, other types": npz(**OTHER_TYPES),
    "npz, sparse, big-endian": npz(**{name: one.astype(one.dtype.newbyteorder(">")) for name, one in SPARSE.items()}),
}  # fmt: skip
"""Sources of sparse rows."""


SOURCES: dict[str, Callable[[], Path]] = {
    "npy": npy(INK),
    "npy, dark": npy(DRAWN.images),
    "npy, column by column": npy(np.asfortranarray(INK)),
    "npy, floats": npy((INK / 255).astype(np.float32)),
    "npy, big-endian": npy(INK.astype(">i4")),
    "npy, 16 bits": npy(INK.astype(np.uint16) * 257),
    "npy, images last": npy(np.moveaxis(INK, 0, -1)),
    "npy, colours": npy(np.stack([INK, INK, INK // 2], axis=-1)),
    "npy, other size": npy(WIDE),
    "npy, black and white": npy(INK > 100),
    "npy, one-hot": npy(INK, np.eye(10)[LABELS]),
    "npz": npz(images=INK, labels=LABELS, test_images=INK[:10], test_labels=LABELS[:10]),
    "npz, dark": npz(images=DRAWN.images, labels=LABELS, compressed=False),
    "npz, column by column": npz(images=np.asfortranarray(INK), labels=LABELS),
    "npz, named": npz(x_train=INK, y_train=LABELS, x_val=WIDE, y_val=LABELS, compressed=False),
    "npz, texts": npz(x=INK, y=np.array([f"class {k}" for k in LABELS])),
    "npz, pair": pair_of_npz,
    "npz, table": npz(features=NUMBERS, targets=NUMBERS, test_features=NUMBERS[:9], test_targets=NUMBERS[:9]),
    "npz, float32": npz(features=np.asfortranarray(NUMBERS.astype(np.float32)), targets=LABELS),
    "npz, rows": npz(x_train=NUMBERS.round(), y_train=LABELS, x_test=np.arange(5 * N).reshape(N, 5), y_test=LABELS),
    "mat": mat,
    "lists": arrow(lists),
    "lists, several files": arrow(lists, names=PARTS),
    "lists, Arrow": arrow(lists, names=("a.arrow",)),
    "lists, Feather": arrow(rows_of_numbers, names=("a.feather",)),
    "lists, one-hot": arrow(one_hot, names=("a.arrow", "b.arrow")),
    "pictures in a column": arrow(hub, names=PARTS),
    "large pictures in a column": arrow(large, names=("a.feather", "b.feather")),
    "columns": arrow(COLUMNS, names=PARTS[1:]),
    "columns, Arrow": arrow(TABLE, names=("a.arrow",)),
    "columns, Feather": arrow(TABLE, names=("train.feather", "valid.feather")),
    "csv, other size": csv(WIDE[:, :, 2:-2]),
    "csv, fractions": csv((INK / 255).round(3)),
    "csv, few greys": csv(INK[:, ::3, ::3][:, :8, :8] // 16),
    "csv, parts": csv_parts,
    "csv, many columns": table({**WIDE_TABLE, "target": LABELS}),
    "csv, a column that counts": table({"id": np.arange(N), **TABLE, "index": np.arange(N) + 7}),
    "csv, a column that almost counts": table({**TABLE, "id": [*range(N - 2), N, N + 1]}),
    "many columns": arrow({**WIDE_TABLE, "target": LABELS}),
    "class files": class_files,
    "class files, packed": lambda: class_files(".gz"),
    "zip of class files": zipped(class_files),
    "pictures, one size": pictures(WIDE),
    "pictures, several sizes": pictures(WIDE, strange=True),
    "idx": idx(INK // 16, 0x08),
    "idx, packed": idx(DRAWN.images.reshape(N, 28, 28), 0x08, ".gz"),
    "idx, other size": idx(WIDE, 0x08, ".gz"),
    "idx, floats": idx((INK / 255).astype(np.float32), 0x0D),
    "zip of npy": zipped(npy(INK)),
    "zip of csv": zipped(csv(INK)),
    "zip of parquet": zipped(arrow(lists, names=PARTS)),
    "zip of idx": zipped(idx(INK, 0x08, ".gz")),
    "tar of npz": zipped(npz(images=INK, labels=LABELS), "a.tar"),
    "tar of pictures": zipped(pictures(INK), "a.tar.gz"),
    "zip in tar": zipped(zipped(csv(WIDE[:, :, 2:-2])), "b.tar"),
    "tar in zip": zipped(zipped(pictures(DRAWN.images.reshape(N, 28, 28)), "a.tar"), "b.zip"),
}  # fmt: skip


PIECES = (
    *("mapped.ROWS_AT_ONCE", "pixel_arrays._ROWS_AT_ONCE", "arrow_tables._ROWS_AT_ONCE", "csv_rows._VALUES_AT_ONCE"),
    *("small_pictures._BYTES_AT_ONCE", "spool._SMALL", "input_rows._CELLS_AT_ONCE", "table_inputs._CELLS_AT_ONCE"),
    *("table_inputs.ROWS_AT_ONCE", "cells._CELLS_AT_ONCE", "svmlight._VALUES_AT_ONCE", "sparse_parts._VALUES_AT_ONCE"),
    *("dense_rows._VALUES_AT_ONCE", "table_arrays._VALUES_AT_ONCE", "svmlight._BYTES_AT_ONCE"),
)
"""How much is read at a time."""


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


@pytest.fixture(autouse=True)
def small_pieces() -> Iterator[pytest.MonkeyPatch]:
    """Let readers read little at a time, until the patch is undone."""
    with pytest.MonkeyPatch.context() as patch:
        for place in PIECES:
            patch.setattr(f"fastnn.datasets.{place}", 8)
        yield patch


def of(dataset: Dataset) -> list[Any]:
    """Return all that must be the same, part by part."""
    parts = [part for part in (dataset, dataset.test, dataset.validation) if part is not None]
    return [
        (part.compute_hash(), part.names, part.columns, part.polarity, part.source, part.notes, part.features.dtype)
        for part in parts
    ]


def both_ways(source: str, tmp_path: Path) -> tuple[Dataset, Dataset]:
    """Read a source into memory, and with its samples left on the disk."""
    (tmp_path / "spool").mkdir()
    return load_source(source, DEFAULT_OPTIONS), load_from(source, DEFAULT_OPTIONS, spool=tmp_path / "spool")


@pytest.mark.parametrize("kind", SOURCES)
def test_samples_that_are_left_on_the_disk_are_those_in_memory(kind: str, tmp_path: Path) -> None:
    source = str(SOURCES[kind]())
    plain, spooled = both_ways(source, tmp_path)
    assert of(spooled) == of(plain)
    for part in (spooled, spooled.test, spooled.validation):
        assert part is None or isinstance(part.features, MappedRows)
    stored = write_store(source, tmp_path / "big.fnn")
    assert [one[:4] for one in of(stored)] == [one[:4] for one in of(plain)]
    assert stored.notes == plain.notes
    check_store(tmp_path / "big.fnn")
    assert {path.name for path in tmp_path.iterdir()} <= {"big.fnn", "cache", "spool", "work"}


def with_zeros(dataset: Dataset, dtype: Any) -> Dataset:
    """Return a data set with all zeros of its sparse rows."""
    features: Any = dataset.features
    test = dataset.test and with_zeros(dataset.test, dtype)
    return replace(dataset, features=features.toarray().astype(dtype), test=test)


@pytest.mark.parametrize("kind", SPARSE_SOURCES)
def test_sparse_rows_are_left_on_the_disk_and_written_with_their_zeros(kind: str, tmp_path: Path) -> None:
    source = str(SPARSE_SOURCES[kind]())
    plain, spooled = both_ways(source, tmp_path)
    assert isinstance(spooled.features, SparseRows)
    # They are mapped.
    assert not spooled.features.values.flags.writeable
    assert not spooled.features.indices.flags.writeable
    assert of(spooled) == of(plain)
    stored = write_store(source, tmp_path / "big.fnn")
    dense = with_zeros(plain, stored.features.dtype)
    assert np.array_equal(dense.features, plain.features.toarray())  # type: ignore[union-attr]
    assert [one[:4] for one in of(stored)] == [one[:4] for one in of(dense)]
    note = f"the rows are sparse and were written with all their zeros, {plain.n_inputs} numbers each"
    assert stored.notes == (*plain.notes, note)
    check_store(tmp_path / "big.fnn")
    assert {path.name for path in tmp_path.iterdir()} <= {"big.fnn", "cache", "spool", "work"}


@pytest.mark.parametrize("kind", ["csv", "npy"])
def test_some_classes_of_samples_on_the_disk(kind: str, tmp_path: Path) -> None:
    # Dark ink: nothing is changed, so that the whole file could be taken by mistake.
    source = str((csv(DRAWN.images) if kind == "csv" else npy(DRAWN.images))())
    options = ReadOptions.of(classes="0-3")
    stored = write_store(source, tmp_path / "big.fnn", options)
    assert stored.content_hash == load_source(source, options).content_hash


def other_columns() -> Path:
    arrow({"b": LABELS}, names=("a.parquet",))()
    arrow({"a": LABELS}, names=("b.parquet",))()
    return Path("f")


DAMAGED: dict[str, Callable[[], Path]] = {
    "not finite": npz(features=np.where(np.arange(5 * N).reshape(N, 5) == 77, np.nan, NUMBERS), targets=NUMBERS),
    "not finite in the test set": npz(x_train=NUMBERS, y_train=NUMBERS, x_test=NUMBERS * np.inf, y_test=NUMBERS),
    "columns beyond 32 bits": npz(**SPARSE | {"indices": np.arange(N) % 4 + (np.arange(N) == 20) * 2**32}),
    "rows not in order": npz(**SPARSE | {"indptr": np.where(np.arange(N + 1) == 20, 25, np.arange(N + 1))}),
    "no pixels": npy(np.where(INK == 7, np.nan, INK / 1.0)),
    "other lengths": arrow(lambda pa: {"image": pa.array([[1] * (4 + k // 20) for k in range(N)]), "label": LABELS}),
    "other columns": other_columns,
    "missing label": arrow({"label": [None if k == 25 else 1 for k in range(N)], "a": LABELS, "b": LABELS}),
    "no picture": arrow(lambda pa: {"image": pa.array([b"x"] * N), "label": LABELS}),
    "fraction in csv": csv(INK * 1.5),
}  # fmt: skip


@pytest.mark.parametrize("kind", DAMAGED)
def test_faults_are_told_as_they_are_in_memory(kind: str, tmp_path: Path) -> None:
    source = str(DAMAGED[kind]())
    (tmp_path / "spool").mkdir()
    told = []
    for spool in (None, tmp_path / "spool"):
        with pytest.raises(DataError) as caught:
            load_from(source, DEFAULT_OPTIONS, spool=spool)
        told.append(str(caught.value))
    assert told[0] == told[1]


def test_categories_of_all_columns_together_are_refused_before_the_last_row(
    tmp_path: Path, small_pieces: pytest.MonkeyPatch
) -> None:
    small_pieces.setattr("fastnn.datasets.table_inputs.MOST_INPUTS", 20)
    lines = [f"a{k},b{k},{k % 2}\n" for k in range(N)]
    for n, fault in ((10, None), (N, "leave out columns with many categories")):
        source = str(text("a,b,target\n" + "".join(lines[:n]) + ("too few" if fault else ""), "a.csv")())
        for read in (load_dataset, lambda path: write_store(path, tmp_path / "a.fnn", force=True)):
            if fault is None:
                assert read(source).n_inputs == 20
            else:
                with pytest.raises(DataError, match=f"become more than 20 inputs.*; {fault}"):
                    read(source)


@pytest.mark.parametrize("column", [0, 2])
def test_damage_behind_most_pictures_is_not_taken_for_that_of_one(column: int, tmp_path: Path) -> None:
    path = arrow(hub)()
    from pyarrow import parquet

    last = parquet.ParquetFile(path).metadata.row_group(2)
    with path.open("r+b") as file:
        file.seek(last.column(column).dictionary_page_offset or last.column(column).data_page_offset)
        file.write(bytes(12))
    told = []
    for read in (load_dataset, lambda source: write_store(source, tmp_path / "big.fnn")):
        with pytest.raises(DataError) as caught:
            read(str(path))
        told.append(str(caught.value))
    assert told[0] == told[1]
    assert "damaged" in told[0]


@pytest.mark.parametrize("ending", ["parquet", "arrow"])
def test_a_damaged_file_is_refused_on_the_disk_too(ending: str, tmp_path: Path) -> None:
    path = arrow(lists, names=(f"a.{ending}",))()
    content = path.read_bytes()
    for wrong in (content[: len(content) // 2], content[:300] + b"x" * 200 + content[500:], content[:8]):
        path.write_bytes(wrong)
        with pytest.raises(DataError, match=rf"a\.{ending}: "):
            write_store(str(path), tmp_path / "big.fnn")
    assert not (tmp_path / "big.fnn").exists()


FULL = [
    "npy, floats",
    "npz",
    "mat",
    "lists",
    "columns",
    "csv, fractions",
    "pictures, one size",
    "zip of npy",
    "tar of npz",
    "csv, many columns",
    "csv, a column that counts",
    "many columns",
    "class files",
]


@pytest.mark.parametrize("kind", [*FULL, *SPARSE_SOURCES])
def test_a_full_disk_is_told_as_one_of_the_store(kind: str, tmp_path: Path) -> None:
    source = str((SOURCES | SPARSE_SOURCES)[kind]())
    with largest_file(2000 if kind in FULL and "counts" not in kind else 300), pytest.raises(DataError) as caught:
        write_store(source, tmp_path / "big.fnn")
    assert str(caught.value).startswith(f"{tmp_path / 'big.fnn'}: cannot be written (File too large); raise the limit")
    assert caught.value.exit_code == 1
    assert {path.name for path in tmp_path.iterdir()} <= {"cache", "work"}


@pytest.mark.parametrize("kind", ["npy", "floats", "npz", "table", "tar", "zip of pictures"])
def test_large_sources_take_a_fraction_of_their_size(
    kind: str, tmp_path: Path, small_pieces: pytest.MonkeyPatch
) -> None:
    small_pieces.undo()
    n = 20_000
    images = new_array(tmp_path / "images.npy", np.dtype(np.uint8), (n, 784))
    images[:] = 255
    images[:, :8] = np.arange(n, dtype="<u8").view(np.uint8).reshape(n, 8)
    labels = np.arange(n) % 10
    if kind == "floats":
        source = npy((images[: n // 2] / 255).astype(np.float32), labels[: n // 2])()
    elif kind == "table":
        source = npz(features=images.astype(np.float32)[: n // 2], targets=labels[: n // 2])()
    elif kind == "zip of pictures":
        source = zip_of_large_files(images[:60], 1 << 18)
    else:
        source = npz(images=images, labels=labels)() if kind == "npz" else npy(images, labels)()
    if kind == "tar":
        source = zipped(lambda: Path("d"), "a.tar")()
    tracemalloc.start()
    try:
        write_store(str(source), tmp_path / "big.fnn")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # The samples are 16 MB, or 31 as floats.
    assert peak < (16e6 if kind in ("floats", "table") else 9e6)


@pytest.mark.parametrize("kind", ["csv", "svmlight"])
def test_more_rows_of_text_take_hardly_more_memory(kind: str, tmp_path: Path, small_pieces: pytest.MonkeyPatch) -> None:
    small_pieces.setattr("fastnn.large_arrays._MOST_VALUES", 1 << 12)
    small_pieces.setattr("fastnn.datasets.delimited._HEAD", 1 << 14)
    small_pieces.setattr("fastnn.datasets.safe_read.PIECE", 1 << 14)
    names = ",".join(f"a{k}" for k in range(400))
    peaks = []
    for n in (40, 500, 1000):  # what is loaded once is there after the first
        if kind == "csv":
            rows = "".join(f"{k % 2},{k}{',0.5' * 399}\n" for k in range(n))
            source = text(f"target,{names}\n{rows}", "a.csv")()
        else:
            source = text("".join(f"{k % 2} 1:{k} 400:0.5\n" for k in range(n)), "a.svm")()
        tracemalloc.start()
        try:
            write_store(str(source), tmp_path / "big.fnn", force=True)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    # The rows that are more are at least 0.8 MB.
    assert peaks[2] - peaks[1] < 0.4e6, peaks


@pytest.mark.parametrize("kind", ["csv", "svmlight", "json"])
def test_compressed_text_may_unpack_to_more_than_fits_into_memory(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = {
        "csv": table({**{f"f{k}": LABELS for k in range(50)}, "target": LABELS}, "t.csv.gz"),
        "svmlight": text("1 1:1\n2 3:4\n" * 300, "a.svm.gz"),
        "json": text(f"[{','.join([json.dumps([0] * 784)] * 3)}]", "j/3.json.gz"),
    }
    source = made[kind]()
    path = str(source.parent if kind == "json" else source)
    plain = load_dataset(path)
    monkeypatch.setattr("fastnn.datasets.safe_read.FILE_LIMIT", 2000)
    with pytest.raises(DataError, match="unpacks to more than 0 MiB"):
        load_dataset(path)
    assert np.array_equal(write_store(path, tmp_path / "big.fnn").targets, plain.targets)


def test_a_large_dictionary_is_counted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"{k:05}" * 40 for k in range(N)]
    source = str(arrow(lambda pa: {"a": NUMBERS[:, 0], "target": pa.array(names).dictionary_encode()})())
    plain = load_dataset(source)
    monkeypatch.setattr("fastnn.datasets.arrow_tables._ROWS_AT_ONCE", 1)
    # Each row is a part, which has the dictionary of its group of rows.
    monkeypatch.setattr("fastnn.datasets.arrow_tables.unpacked_limit", lambda *_: 5 * len("".join(names)))
    assert write_store(source, tmp_path / "big.fnn").content_hash == plain.content_hash


def test_a_small_file_of_texts_that_take_gigabytes_is_refused_on_the_disk_too(tmp_path: Path) -> None:
    source = arrow(lambda pa: {"a": NUMBERS[:, 0], "target": pa.array(["a" * 9_000_000] * N).dictionary_encode()})()
    with pytest.raises(DataError, match=r"a\.parquet: unpacks to [0-9,]+ MiB or more, too much"):
        write_store(str(source), tmp_path / "big.fnn")
