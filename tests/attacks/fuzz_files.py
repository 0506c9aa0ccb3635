"""Targets that read data sets and pictures: from files, databases and the cache."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn.datasets import SparseRows, load_dataset
from fastnn.errors import DataError, FastnnError
from fastnn.formats.safetensors import dump_model
from tests.attacks import fuzz_mutate as mutate
from tests.attacks import fuzz_seeds as seeds
from tests.attacks.fuzz_bench import check_dataset, environment, target
from tests.models import row_model

if TYPE_CHECKING:
    from tests.attacks.fuzz_bench import Bench

# ---- data sets ----

_IDX = mutate.raw(b"\0\0\x08\x03", b"\0\0\x08\x01", b"\0\0\x0d\x03", b"\xff" * 4, b"\0\0\0\x1c")
_LABELS = ("cat", "07", "0", "9223372036854775808", "-1", "é", "=1+1")
_JSON = mutate.json_value("image", "label", *_LABELS)
_CSV = mutate.text("label", "pixel0", "pixel784", "class_1", "0x0", "0.5", "-1", "05", "id", ";", "#", "|", *_LABELS)
_TABLE_TOKENS = (
    "target", "y", "colour", "true", "1,5", "1.234,5", "nan", "-inf", "1e999", "NA", "?", "2024-01-02", "50%", "1_0",
    ";", "\t", ",", '"', "\r", "\ufeff", "Unnamed: 0", "0,1,2", "1:1", "0:", "qid:1", "#",
    "# ", "|", "id",
)  # fmt: skip
_TABLE = mutate.text(*_TABLE_TOKENS)


@target("idx-images", lambda: [seeds.idx_images(), seeds.idx_images(1)], _IDX)
def _idx_images(content: bytes, _: Bench) -> None:
    from fastnn.datasets.idx import parse_images

    images, _ = parse_images(content, "x")
    assert images.dtype == np.uint8
    assert images.shape[1:] == (784,)


@target("idx-labels", lambda: [seeds.idx_labels(), seeds.idx_labels(200)], _IDX)
def _idx_labels(content: bytes, _: Bench) -> None:
    from fastnn.datasets.idx import parse_labels

    labels, _ = parse_labels(content, "x")
    assert labels.dtype.kind in "iu"
    assert labels.ndim == 1


_PAIR_NAMES = ("y-images-idx3-ubyte", "y-labels-idx1-ubyte.gz", "train-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte")


@target("idx", seeds.idx_pairs, mutate.files({".gz": mutate.gzipped(_IDX), "ubyte": _IDX}, *_PAIR_NAMES))
def _idx_folder(content: bytes, bench: Bench) -> None:
    folder = bench.write_files(content)
    with contextlib.suppress(FastnnError):
        check_dataset(load_dataset(folder))
    for path in sorted(folder.iterdir()):
        check_dataset(load_dataset(path))


@target(
    "mapped-store",
    seeds.stores,
    mutate.files(
        {".json": mutate.json_value("train", "test", "validation", "float64", "uint8", *_LABELS), ".npy": mutate.npy},
        "train-features.npy", "test-targets.npy", "validation-features.npy", "header.json",
    ),
)  # fmt: skip
def _mapped_store(content: bytes, bench: Bench) -> None:
    """A store of which a file is damaged, missing or another one."""
    from fastnn.datasets.store import check_source

    folder = bench.write_files(content)
    store = bench.new_folder("a.fnn")
    store.rmdir()
    folder.rename(store)
    check_dataset(load_dataset(store))
    check_source(str(store))


@target(
    "converted-to-store",
    seeds.for_stores,
    mutate.files(
        {
            ".csv": _CSV,
            ".svm": _TABLE,
            "ubyte": _IDX,
            ".db": mutate.sqlite,
            ".json": _JSON,
            ".npz": mutate.npz,
            ".npy": mutate.npy,
            ".parquet": mutate.raw(b"PAR1"),
            ".arrow": mutate.raw(b"ARROW1"),
            ".mat": mutate.raw(b"\x0f\0\0\0"),
        }
    ),
)
def _converted_to_store(content: bytes, bench: Bench) -> None:
    """What is read one part after the other is what is read whole."""
    from fastnn.datasets import ReadOptions
    from fastnn.datasets.store_writer import write_store

    folder = bench.write_files(content)
    for path in [folder] if (folder / "0.json").exists() else sorted(folder.iterdir()):
        source = f"sqlite:///{path}" if path.suffix == ".db" else str(path)
        plain, out = load_dataset(source), bench.new_folder("b.fnn")
        out.rmdir()
        try:
            stored = write_store(source, out, ReadOptions())
        except FastnnError as error:
            if "its rows are sparse" in str(error):
                continue  # they are far larger with their zeros
            raise AssertionError(f"read whole, but not in parts: {error}") from None
        if isinstance(plain.features, SparseRows):
            plain = replace(plain, features=plain.features.toarray().astype(stored.features.dtype))
        assert stored.content_hash == plain.content_hash
        check_dataset(stored)


@target("drawn-store", lambda: [b"1", b"30"], mutate.text("0", "1", "-", ":"))
def _drawn_store(content: bytes, bench: Bench) -> None:
    from fastnn.datasets import ReadOptions
    from fastnn.datasets.store_writer import write_store

    number = content.decode(errors="replace")
    if len(number.partition(":")[0]) > 3:
        return  # drawing takes time
    out = bench.new_folder("d.fnn")
    out.rmdir()
    check_dataset(write_store(f"drawn:{number}", out, ReadOptions()))


@target("row-stream", seeds.row_streams, mutate.text("{", '"a"', "target", "image", "[", "label", *_LABELS))
def _row_stream(content: bytes, _: Bench) -> None:
    """Rows from standard input, as CSV or JSON lines."""
    from fastnn.datasets import ReadOptions
    from fastnn.row_stream import batches_of

    pieces = [content[k : k + 100] for k in range(0, len(content), 100)]
    for batch in batches_of(pieces, ReadOptions()):
        check_dataset(batch)


@target("npz", seeds.npz, mutate.npz)
def _npz(content: bytes, bench: Bench) -> None:
    check_dataset(load_dataset(bench.write("a.npz", content)))


@target("named-npz", seeds.named_npz, mutate.npz)
def _named_npz(content: bytes, bench: Bench) -> None:
    path = bench.write("a.npz", content)
    with contextlib.suppress(FastnnError):
        check_dataset(load_dataset(path, task="regression"))
    check_dataset(load_dataset(path))


@target("npy", seeds.npy_folders, mutate.files({".npy": mutate.npy}, "labels.npy", "x_val.npy", "a.npy", "b.npy"))
def _npy(content: bytes, bench: Bench) -> None:
    folder = bench.write_files(content)
    for path in sorted(folder.iterdir()):
        with contextlib.suppress(FastnnError):
            check_dataset(load_dataset(path))
    check_dataset(load_dataset(folder))


@target("mat", seeds.mat, mutate.raw(b"\x0f\0\0\0", b"\x0e\0\0\0", b"\xff" * 4, b"MATLAB 7.3"))
def _mat(content: bytes, bench: Bench) -> None:
    check_dataset(load_dataset(bench.write("a.mat", content)))


@target("arrow", seeds.arrow_files, mutate.raw(b"PAR1", b"ARROW1", b"\xff" * 4))
def _arrow(content: bytes, bench: Bench) -> None:
    ending = "parquet" if content[:4] == b"PAR1" else "arrow"
    check_dataset(load_dataset(bench.write(f"a.{ending}", content)))


@target("csv", seeds.csv_rows, _CSV)
def _csv(content: bytes, bench: Bench) -> None:
    check_dataset(load_dataset(bench.write("a.csv", content)))


@target("csv.gz", lambda: seeds.gzipped(seeds.csv_rows()), mutate.gzipped(_CSV), heavy=lambda: seeds.bombs()["csv"])
def _csv_gz(content: bytes, bench: Bench) -> None:
    check_dataset(load_dataset(bench.write("a.csv.gz", content)))


@target("pixel-rows", seeds.csv_rows, _CSV, share=0.5)
def _pixel_rows(content: bytes, bench: Bench) -> None:
    from fastnn.datasets.csv_rows import read_pixel_rows

    images, _ = read_pixel_rows(bench.write("a.csv", content))
    assert images.dtype == np.uint8
    assert images.shape[1:] == (784,)


_ASKED: tuple[dict[str, Any], ...] = (
    {},
    {"target": "y"},
    {"target": ("1",)},
    {"target": ("y1", "y2"), "task": "multilabel"},
    {"target": "y", "task": "regression"},
    {"target": "y", "task": "classification"},
)


def _check_table(path: Path) -> None:
    """Read a file as a table with each target and task; refused if all of them are."""
    refused = None
    read = 0
    for asked in _ASKED:
        try:
            check_dataset(load_dataset(path, **asked))
            read += 1
        except FastnnError as error:
            refused = error
    if refused is not None and not read:
        raise refused


@target("table", seeds.tables, _TABLE)
def _table(content: bytes, bench: Bench) -> None:
    _check_table(bench.write("a.csv", content))


@target("table.tsv", seeds.tables, _TABLE, share=0.5)
def _table_tsv(content: bytes, bench: Bench) -> None:
    _check_table(bench.write("a.tsv", content))


@target("table.gz", lambda: seeds.gzipped(seeds.tables()), mutate.gzipped(_TABLE), heavy=lambda: seeds.bombs()["table"])
def _table_gz(content: bytes, bench: Bench) -> None:
    check_dataset(load_dataset(bench.write("a.csv.gz", content), target="y"))


@target("svmlight", seeds.svmlight, _TABLE)
def _svmlight(content: bytes, bench: Bench) -> None:
    path = bench.write("a.svmlight", content)
    for task in ("classification", "regression", "multilabel"):
        with contextlib.suppress(FastnnError):
            check_dataset(load_dataset(path, task=task))
    check_dataset(load_dataset(path))


@target(
    "svmlight.gz",
    lambda: seeds.gzipped(seeds.svmlight()),
    mutate.gzipped(_TABLE),
    heavy=lambda: seeds.bombs()["table"],
    share=0.2,
)
def _svmlight_gz(content: bytes, bench: Bench) -> None:
    check_dataset(load_dataset(bench.write("a.svm.gz", content)))


@target("table-npz", seeds.table_npz, mutate.npz)
def _table_npz(content: bytes, bench: Bench) -> None:
    path = bench.write("a.npz", content)
    with contextlib.suppress(FastnnError):
        check_dataset(load_dataset(path, task="regression"))
    check_dataset(load_dataset(path))


@target("json", seeds.json_digits, _JSON)
def _json_digits(content: bytes, bench: Bench) -> None:
    check_dataset(load_dataset(bench.write("a.json", content)))


@target(
    "json.gz", lambda: seeds.gzipped(seeds.json_digits()), mutate.gzipped(_JSON), heavy=lambda: seeds.bombs()["json"]
)
def _json_gz(content: bytes, bench: Bench) -> None:
    check_dataset(load_dataset(bench.write("a.json.gz", content)))


@target(
    "class-files", seeds.class_files, mutate.files({".gz": mutate.gzipped(_JSON), ".json": _JSON}, "9.json", "a.json")
)
def _class_files(content: bytes, bench: Bench) -> None:
    check_dataset(load_dataset(bench.write_files(content)))


_PICTURES = {".png": mutate.png, ".jpg": mutate.jpeg, ".jpeg": mutate.jpeg, ".csv": mutate.text()}


@target(
    "class-folders",
    seeds.class_folders,
    mutate.files(_PICTURES, "cat/2.png", "07/1.jpg", "a\nb/1.png", ".x/1.png", "test/a/1.png"),
)
def _class_folders(content: bytes, bench: Bench) -> None:
    check_dataset(load_dataset(bench.write_files(content)))


@target("archive", seeds.archives, mutate.archive)
def _archive(content: bytes, bench: Bench) -> None:
    ending = ".zip" if content[:2] == b"PK" else ".tgz" if content[:2] == b"\x1f\x8b" else ".tar"
    check_dataset(load_dataset(bench.write(f"a{ending}", content)))


@target("digits", seeds.json_digits, _JSON)
def _named_digits(content: bytes, bench: Bench) -> None:
    """A file in place of the original's data set, as a download and as a file that was found."""
    from fastnn.datasets.digits import REMOTE
    from fastnn.datasets.names import download_missing

    folder = bench.folder / "digits"
    folder.mkdir(exist_ok=True)
    (folder / REMOTE.name).write_bytes(content)
    assert REMOTE.fault(content)
    with contextlib.suppress(DataError):
        download_missing("digits", folder)
        raise AssertionError("a wrong file was taken for the original's")
    with environment("FASTNN_DATA", str(folder)):
        check_dataset(load_dataset("digits"))


@target("mnist", lambda: seeds.gzipped([seeds.idx_images(), seeds.idx_labels()]), mutate.gzipped(_IDX))
def _named_mnist(content: bytes, bench: Bench) -> None:
    """Files in place of MNIST's, as downloads and as files that were found."""
    from fastnn.datasets.mnist import MD5, remotes

    assert all(remote.fault(content) for remote in remotes())
    folder = bench.folder / "mnist"
    folder.mkdir(exist_ok=True)
    for name in MD5:
        (folder / f"{name}.gz").write_bytes(content)
    with environment("FASTNN_DATA", str(folder)), contextlib.suppress(DataError):
        load_dataset("mnist")
        raise AssertionError("a wrong file was taken for MNIST's")


@target("database", seeds.databases, mutate.sqlite, share=0.1)
def _database(content: bytes, bench: Bench) -> None:
    url = f"sqlite:///{_write_database(content, bench)}"
    check_dataset(load_dataset(url))


@target("store", seeds.databases, mutate.sqlite, share=0.05)
def _store(content: bytes, bench: Bench) -> None:
    """All that the web app asks of a database, and an import into it."""
    from fastnn.datasets.database import import_dataset
    from fastnn.web.classroom import Classroom
    from fastnn.web.desk import Selection
    from fastnn.web.rescoring import Rescorer
    from fastnn.web.serving import ServedModel
    from fastnn.web.store import Store, StoreError

    url = f"sqlite:///{_write_database(content, bench)}"
    with contextlib.suppress(FastnnError):
        import_dataset(seeds.dataset(), url, contributor="x")
    store = Store(url)
    try:
        for ask in (
            store.check, store.revision, lambda: store.desk.queue(10), lambda: store.desk.history(10), store.states,
            store.class_counts, lambda: store.latest(9), Classroom(store).board, lambda: store.credits(10),
            store.dataset, lambda: store.sample(10, 0),
            lambda: store.outdated("x"), lambda: store.unseen(0), store.training, lambda: store.first_used("x"),
            lambda: store.note_training(1, "x"), store.desk.counts, lambda: store.desk.queue(9, label=3, session="x"),
            lambda: store.desk.browse(Selection("pending", 3, "x"), 9), lambda: store.desk.history(9, images=True),
            lambda: store.desk.review_contributor("x", "pending", "accept", "x"), lambda: store.desk.strike_name("x"),
        ):  # fmt: skip
            with contextlib.suppress(FastnnError, StoreError):
                json.dumps(ask(), default=str)
        served = bench.once("served", lambda: ServedModel.from_model(seeds.model(), "m"))
        with contextlib.suppress(FastnnError, StoreError):
            Rescorer(store, lambda: served).rescore()
        with contextlib.suppress(FastnnError, StoreError), store.accepted() as (_, rows):
            assert all(len(pixels) == 784 for pixels, _ in rows)
    finally:
        store.close()


def _write_database(content: bytes, bench: Bench) -> Path:
    for beside in bench.folder.glob("a.db?*"):  # logs, and copies of databases that were upgraded
        beside.unlink()
    return bench.write("a.db", content)


def _kept_arrays() -> list[bytes]:
    with tempfile.TemporaryDirectory() as name:
        path = _large_source(Path(name))
        with environment("FASTNN_CACHE_DIR", f"{name}/cache"):
            load_dataset(path)
            load_dataset(path)
        return [mutate.pack({f"a{entry.suffix}": entry.read_bytes() for entry in Path(name, "cache").rglob("*.*")})]


@target("kept-arrays", _kept_arrays, mutate.files({".npz": mutate.npz, ".seen": mutate.text()}), share=0.1)
def _cache(content: bytes, bench: Bench) -> None:
    """A damaged cache: the data set is parsed again."""
    path = bench.once("source", lambda: _large_source(bench.folder))
    with environment("FASTNN_CACHE_DIR", str(bench.folder / "cache")):
        expected = bench.once("hash", lambda: load_dataset(path).content_hash)
        names = bench.once("entries", lambda: sorted((bench.folder / "cache").rglob("*.*")))
        for name, part in mutate.unpack(content).items():
            for entry in names:
                if entry.suffix == Path(name).suffix:
                    entry.write_bytes(part)
        found = load_dataset(path)
    check_dataset(found)
    assert found.content_hash == expected


def _large_source(folder: Path) -> Path:
    """Write a file that is large enough for the cache, and is read fast, since half of it is space."""
    content = seeds.json_digits()[0]
    path = folder / "large.json"
    path.write_bytes(b" " * (1 << 20) + content)
    # Old enough that its times tell whether it was changed.
    os.utime(path, (1e9, 1e9))
    return path


# ---- pictures ----


@target(
    "picture",
    seeds.pictures,
    lambda random, content: (mutate.jpeg if content[:2] == b"\xff\xd8" else mutate.png)(random, content),
)
def _picture(content: bytes, _: Bench) -> None:
    from fastnn.images import is_blank, read_image

    for polarity in (None, "light-on-dark"):
        image = read_image(content, polarity=polarity)
        assert image.dtype == np.uint8
        assert image.shape == (784,)
        is_blank(image)


@target("other-picture", seeds.other_pictures, mutate.raw())
def _other_picture(content: bytes, _: Bench) -> None:
    from fastnn.images.decode import colours, decoded
    from fastnn.images.read import load_picture

    assert load_picture(content).ndim == 2
    with decoded(content, longest=20) as picture:
        assert colours(picture.image).shape[2] in (3, 4)


@target(
    "predict-json",
    lambda: [
        *map(_plain_json, seeds.predict_json()),
        mutate.pack({"a.json.gz": seeds.gzipped(seeds.predict_json())[1]}),
    ],
    mutate.files({".gz": mutate.gzipped(_JSON), ".json": _JSON, ".png": mutate.png}),
    heavy=lambda: [mutate.pack({"a.json.gz": bomb}) for bomb in seeds.bombs()["json"]],
)
def _predict(content: bytes, bench: Bench) -> None:
    from fastnn.recognition import predict_files

    folder = bench.write_files(content)
    model = bench.once("model", lambda: str(bench.write("m.safetensors", seeds.models()[0])))
    names = [str(path) for path in sorted(folder.rglob("*")) if path.is_file()]
    if names:
        found = predict_files(model, names)
        json.dumps(found.as_dict(), allow_nan=False).encode()
        # What cannot be read is refused, if nothing else can be read either.
        if found.faults and not found.predictions:
            raise DataError(found.faults[0])


@target(
    "predict-table",
    lambda: [
        *(mutate.pack({"a.csv": content}) for content in seeds.tables()),
        mutate.pack({"a.csv": b"y,colour,a\n3,red,1\n,green,2\n"}),
        mutate.pack({"a.csv": b"1,2\n3,4\n"}),
        mutate.pack({"a.svm": b"1 1:3\n"}),
        mutate.pack({"a.npz": seeds.table_npz()[2]}),
    ],
    mutate.files({".csv": _TABLE, ".svm": _TABLE, ".npz": mutate.npz}),
)
def _predict_table(content: bytes, bench: Bench) -> None:
    from fastnn.datasets.table import read_rows
    from fastnn.predicting import is_table_file, predict_table, write_predictions

    folder = bench.write_files(content)
    model = bench.once("model", lambda: str(bench.write("rows.safetensors", dump_model(row_model()))))
    for path in sorted(folder.rglob("*")):
        if path.is_file() and is_table_file(path.name):
            if path.suffix == ".csv":
                with contextlib.suppress(FastnnError):
                    rows, _ = read_rows(path, None, 2)
                    assert np.isfinite(rows).all()
            found = predict_table(model, str(path))
            json.dumps(found.as_dict(), allow_nan=False).encode()
            out = bench.folder / "predictions.csv"
            write_predictions(found, out, force=True)
            assert len(out.read_text().splitlines()) == 1 + len(found)


def _plain_json(content: bytes) -> bytes:
    return mutate.pack({"a.json": content})
