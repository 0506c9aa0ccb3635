"""Stores: data sets that are mapped from the disk, whatever they were converted from."""

import errno
import gzip
import json
import os
import tracemalloc
from collections.abc import Callable
from dataclasses import astuple, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array

import fastnn
from fastnn import formats
from fastnn.datasets import Dataset, MappedRows, ReadOptions, SparseRows, load_dataset, split
from fastnn.datasets.database import import_dataset
from fastnn.datasets.dense_rows import with_dense_rows
from fastnn.datasets.duplicates import group_copies
from fastnn.datasets.mapped import ReadAhead, changed
from fastnn.datasets.store import FILES, HEADER, check_store, open_store
from fastnn.datasets.store_files import new_array
from fastnn.datasets.store_writer import write_store
from fastnn.datasets.writers import write_dataset
from fastnn.errors import DataError
from fastnn.inputs import find_levels
from fastnn.predicting import predict_table, predict_table_to_file, preview_table, write_predictions
from fastnn.report import measure
from fastnn.storage import cache_dir
from tests.helpers import blobs, linear_table, save_table

RECIPES = {
    "plain": {},
    "validation": {"validation_fraction": 0.2, "balance": True},
    "distorted": {"shift": 1.0, "rotation": 10.0},
    "blocks": {"shuffle": "blocks"},
    "normalised": {"normalise": True, "validation_fraction": 0.2},
    "normalised and distorted": {"normalise": True, "shift": 1.0, "rotation": 10.0},
}


def with_copies(n: int = 300) -> Dataset:
    """Return images of which some are duplicates, so that splits have to keep groups together."""
    made = blobs(n)
    return made.take([*range(n), *range(0, n, 7), *range(0, n, 14)])


def store_of(dataset: Dataset, tmp_path: Path, name: str = "big.fnn") -> Dataset:
    return write_store(dataset, tmp_path / name)


# ---- training and evaluation ----


@pytest.mark.parametrize("kind", RECIPES)
def test_training_on_a_store_gives_the_weights_of_the_data_set_in_memory(kind: str, tmp_path: Path) -> None:
    dataset = with_copies()
    recipe = fastnn.Recipe(hidden=(12,), epochs=2, lr=0.05, **RECIPES[kind])
    in_memory, stored = (fastnn.fit(one, recipe, progress=False) for one in (dataset, store_of(dataset, tmp_path)))
    assert stored.sha256() == in_memory.sha256()
    assert stored.card.metrics == in_memory.card.metrics
    assert stored.card.data is not None
    assert in_memory.card.data is not None
    assert stored.card.data.hash == in_memory.card.data.hash


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_training_on_a_stored_table_gives_the_weights_of_the_table_in_memory(dtype: str, tmp_path: Path) -> None:
    table = linear_table(400, targets=2)
    table = replace(table, features=table.features.astype(dtype))
    stored = store_of(table, tmp_path)
    assert stored.features.dtype == dtype
    recipe = fastnn.presets["table"].replace(epochs=2, hidden=(8,))
    models = [fastnn.fit(one, recipe, progress=False) for one in (table, stored)]
    assert models[0].sha256() == models[1].sha256()
    assert models[0].card.metrics == models[1].card.metrics
    assert models[1].columns == table.columns


def test_a_run_on_a_data_set_is_resumed_on_its_store(tmp_path: Path) -> None:
    dataset = blobs(200)
    recipe = fastnn.Recipe(hidden=(8,), epochs=2, lr=0.05)
    fastnn.fit(dataset, recipe, tmp_path / "run", progress=False)
    stored = store_of(dataset, tmp_path)
    session = fastnn.Session.resume(tmp_path / "run", epochs=3, dataset=tmp_path / "big.fnn")
    assert [report.epoch for report in session] == [3]
    whole = fastnn.fit(stored, recipe.replace(epochs=3), progress=False)
    assert session.model.sha256() == whole.sha256()


def test_images_are_picked_and_not_copied(tmp_path: Path) -> None:
    stored = store_of(blobs(100), tmp_path)
    train, test = split(stored)
    base = stored.features.base
    for part in (train, test, train.take([3, 1])):
        assert isinstance(part.features, MappedRows)
        assert part.features.base is base
        assert not part.features.base.flags.writeable
    assert np.array_equal(train.take([3, 1]).images[:], base[train.features.index[[3, 1]]])


def test_positions_of_rows_are_checked_for_kernels_do_not(tmp_path: Path) -> None:
    dataset = blobs(60)
    stored = store_of(dataset, tmp_path)
    backwards = np.arange(-60, 0)[::-1]
    recipe = fastnn.Recipe(hidden=(8,), epochs=1, lr=0.05)
    networks = [recipe.network(784, 10) for _ in range(2)]
    for network, one in zip(networks, (dataset, stored), strict=True):
        list(fastnn.train(network, one.take(backwards), recipe))
    assert networks[0].sha256() == networks[1].sha256()
    for wrong in (60, -61):
        with pytest.raises(IndexError):
            stored.take([wrong])
        with pytest.raises(DataError, match="from 0 to 59"):
            MappedRows(stored.features.base, np.array([0, wrong]))
    for base in (stored.features.base[:, :100], stored.features.base[::-1], stored.features.base[0]):
        with pytest.raises(DataError, match="a matrix in C order"):
            MappedRows(base)


def test_predictions_for_a_part_of_a_store(tmp_path: Path) -> None:
    dataset = blobs(9000, pixels=784)
    stored = store_of(dataset, tmp_path)
    model = fastnn.fit(blobs(100), fastnn.Recipe(hidden=(8,), epochs=1, lr=0.05), progress=False)
    picked = np.random.default_rng(0).permutation(9000)[:8500]
    expected = model.outputs(dataset.images[picked])
    assert np.array_equal(model.outputs(stored.take(picked).images), expected)
    assert np.array_equal(model.outputs(stored.images), model.outputs(dataset.images))


def test_a_row_that_is_picked_twice_keeps_both_of_its_labels(tmp_path: Path) -> None:
    dataset = blobs(60)
    twice = [*range(60), *range(30)]
    labels = np.concatenate([dataset.labels, (dataset.labels[:30] + 1) % 10])
    recipe = fastnn.Recipe(hidden=(8,), epochs=1, lr=0.05)
    weights = []
    for one in (dataset, store_of(dataset, tmp_path)):
        network = recipe.network(784, 10)
        list(fastnn.train(network, replace(one.take(twice), targets=labels), recipe, sample_weight=np.arange(90.0)))
        weights.append(network.sha256())
    assert weights[0] == weights[1]


def test_the_column_of_the_classes_may_be_named_for_a_stored_table(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,target\n" + "1,red\n2,blue\n" * 20)
    plain = load_dataset(tmp_path / "a.csv")
    write_store(str(tmp_path / "a.csv"), tmp_path / "big.fnn")
    assert load_dataset(tmp_path / "big.fnn", target="target").content_hash == plain.content_hash


def test_training_on_a_store_takes_a_fraction_of_its_memory(tmp_path: Path) -> None:
    n = 100_000
    images = new_array(tmp_path / "images.npy", np.dtype(np.uint8), (n, 784))
    images[:] = 255
    images[:, :8] = np.arange(n, dtype="<u8").view(np.uint8).reshape(n, 8)
    labels = np.arange(n, dtype=np.int64) % 10
    write_store(Dataset(images, labels, tuple("0123456789"), "made"), tmp_path / "big.fnn")
    del images
    recipe = fastnn.Recipe(hidden=(4,), epochs=1, validation_fraction=0.1)
    tracemalloc.start()
    try:
        train, test = split(load_dataset(tmp_path / "big.fnn"))
        network = recipe.network(784, 10)
        list(fastnn.train(network, train, recipe, test=test))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # 784 bytes for each image would be 78 MB.
    assert peak < 20e6


def test_rows_are_asked_for_ahead_only_after_waiting_for_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resource = pytest.importorskip("resource")
    waits = [0]
    monkeypatch.setattr(resource, "getrusage", lambda _: SimpleNamespace(ru_majflt=waits[0]))
    file = store_of(blobs(100), tmp_path).features.file
    asked: list[list[int]] = []
    monkeypatch.setattr(file, "ask_for", lambda rows: asked.append(rows.tolist()))
    ahead = ReadAhead(file)
    ahead.next(np.array([1, 2]))
    assert asked == []
    waits[0] = 3
    ahead.next(np.array([3, 4]))
    ahead.next(np.array([5]))
    assert asked == [[3, 4], [5]]
    for _ in range(200):
        ahead.next(np.array([6]))
    assert 50 < len(asked) < 150


def test_asking_for_rows_changes_nothing(tmp_path: Path) -> None:
    stored = store_of(blobs(100), tmp_path)
    for rows in ([99, 0, 50], [5], []):
        stored.features.file.ask_for(np.array(rows, dtype=np.int32))
    assert stored.compute_hash() == blobs(100).content_hash


# ---- converting ----


def idx_folder(tmp_path: Path) -> Path:
    write_dataset(replace(blobs(120), test=blobs(30, seed=1)), tmp_path / "idx")
    return tmp_path / "idx"


def database(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path / 'digits.db'}"
    import_dataset(blobs(60), url)
    return url


def pictures(tmp_path: Path) -> Path:
    from PIL import Image

    for k, image in enumerate(blobs(20).images.reshape(-1, 28, 28)):
        folder = tmp_path / "pictures" / str(k % 10)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{k}.png")
    return tmp_path / "pictures"


def inverted_pictures(tmp_path: Path) -> Path:
    """Return pictures with light ink on dark paper, of which a blank one is left out, and a test set."""
    from PIL import Image

    for part, made in (("train", blobs(40)), ("test", blobs(20, seed=1))):
        for k, image in enumerate((~made.images).reshape(-1, 28, 28)):
            folder = tmp_path / "parts" / part / str(k % 10)
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image * (part == "test" or k != 7)).save(folder / f"{k}.png")
    return tmp_path / "parts"


def written(name: str) -> Callable[[Path], Path]:
    def write(tmp_path: Path) -> Path:
        write_dataset(blobs(60), tmp_path / name)
        return tmp_path / name

    return write


def pixel_table(tmp_path: Path, change: Callable[[Any], Any]) -> Path:
    dataset = blobs(40)
    rows = np.column_stack([dataset.labels, change(dataset.images)])
    names = ",".join(["label", *(f"pixel{k}" for k in range(784))])
    np.savetxt(tmp_path / "a.csv", rows, fmt="%.6g", delimiter=",", header=names, comments="")
    return tmp_path / "a.csv"


SOURCES: dict[str, Callable[[Path], Any]] = {
    "idx": idx_folder,
    "compressed idx": written("a-images-idx3-ubyte.gz"),
    "json": written("a.json"),
    "csv": written("a.csv"),
    "compressed csv": written("a.csv.gz"),
    "pixels from 0 to 1": lambda tmp_path: pixel_table(tmp_path, lambda images: images / 255),
    "pixels of four greys": lambda tmp_path: pixel_table(tmp_path, lambda images: images // 64),
    "npz": written("a.npz"),
    "table": lambda tmp_path: save_table(linear_table(), tmp_path / "a.csv"),
    "pictures": pictures,
    "inverted pictures": inverted_pictures,
    "database": database,
    "drawn": lambda _: "drawn:150:3",
}


@pytest.mark.parametrize("kind", SOURCES)
def test_a_store_holds_what_its_source_does(kind: str, tmp_path: Path) -> None:
    source = str(SOURCES[kind](tmp_path))
    options = ReadOptions(target=("price",) if kind == "table" else ())
    stored = write_store(source, tmp_path / "big.fnn", options)
    plain = load_dataset(source, target=options.target)
    assert isinstance(stored.features, MappedRows)
    assert stored.content_hash == plain.content_hash == stored.compute_hash()
    assert (stored.names, stored.columns, stored.notes) == (plain.names, plain.columns, plain.notes)
    assert stored.polarity == plain.polarity
    assert (stored.test is None) == (plain.test is None)
    if plain.test is not None and stored.test is not None:
        assert stored.test.content_hash == plain.test.content_hash
    assert check_store(tmp_path / "big.fnn").content_hash == plain.content_hash
    assert {path.name for path in (tmp_path / "big.fnn").iterdir()} <= set(FILES)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content[:-1], "47039 bytes of content, not 47040; it is truncated"),
        (lambda content: content + b"x", "more than 47040 bytes of content; it is longer than its header says"),
    ],
)
def test_compressed_images_of_another_length_are_refused(
    change: Callable[[bytes], bytes], message: str, tmp_path: Path
) -> None:
    write_dataset(blobs(60), tmp_path / "a-images-idx3-ubyte.gz")
    path = tmp_path / "a-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(change(gzip.decompress(path.read_bytes()))))
    for read in (load_dataset, lambda source: write_store(str(source), tmp_path / "big.fnn")):
        with pytest.raises(DataError, match=message):
            read(path)
    assert not list(tmp_path.glob("*.fnn"))


@pytest.mark.parametrize("polarity", ["mixed", "light-on-dark", "dark-on-light"])
def test_images_of_any_polarity_are_stored_dark_on_light(polarity: str, tmp_path: Path) -> None:
    dataset = load_dataset("drawn:200")
    # IDX files are written inverted: these are the images that the reader finds.
    inverted = {
        "mixed": np.arange(200) % 2 == 0,
        "dark-on-light": np.ones(200, bool),
        "light-on-dark": np.zeros(200, bool),
    }
    images = np.where(inverted[polarity][:, None], ~dataset.images, dataset.images)
    write_dataset(replace(dataset, features=images), tmp_path / "idx")
    stored = write_store(str(tmp_path / "idx"), tmp_path / "big.fnn")
    plain = load_dataset(tmp_path / "idx")
    assert (stored.polarity, stored.notes) == (plain.polarity, plain.notes)
    assert stored.polarity == polarity
    assert stored.content_hash == plain.content_hash


def test_digits_with_rows_and_columns_exchanged_are_stored_upright(tmp_path: Path) -> None:
    drawn = load_dataset("drawn:600")
    turned = drawn.images.reshape(-1, 28, 28).transpose(0, 2, 1).reshape(-1, 784)
    write_dataset(replace(drawn, features=np.ascontiguousarray(turned)), tmp_path / "idx")
    stored = write_store(str(tmp_path / "idx"), tmp_path / "big.fnn")
    assert stored.content_hash == drawn.content_hash
    assert any("turned upright" in note for note in stored.notes)


def test_a_store_is_converted_like_other_data(tmp_path: Path) -> None:
    dataset = blobs(50)
    stored = store_of(dataset, tmp_path)
    for name in ("a.json", "a.csv", "a.npz", "idx", "again.fnn"):
        write_dataset(stored, tmp_path / name)
        assert load_dataset(tmp_path / name).content_hash == dataset.content_hash


def test_any_program_that_knows_numpy_reads_a_store(tmp_path: Path) -> None:
    dataset = blobs(50)
    store_of(dataset, tmp_path)
    images, labels = (np.load(tmp_path / "big.fnn" / f"train-{part}.npy") for part in ("features", "targets"))
    assert np.array_equal(images, dataset.images)
    assert np.array_equal(labels, dataset.labels)


# ---- sparse rows ----


def sparse_table(n: int = 60) -> Dataset:
    rows = np.where(np.arange(3 * n).reshape(n, 3) % 4 == 0, np.arange(n)[:, None] / 8, 0.0)
    return Dataset(SparseRows.from_scipy(csr_array(rows)), np.arange(n) % 2, ("a", "b"), "sparse")


@pytest.mark.parametrize(("factor", "dtype"), [(1.0, "float32"), (0.1, "float64"), (1e300, "float64")])
def test_sparse_rows_are_written_with_their_zeros(factor: float, dtype: str, tmp_path: Path) -> None:
    sparse: Any = sparse_table()
    sparse = replace(sparse, features=replace(sparse.features, values=sparse.features.values * factor))
    stored = store_of(replace(sparse, test=sparse.take(np.arange(7))), tmp_path)
    dense = replace(sparse, features=sparse.features.toarray().astype(dtype))
    assert stored.features.dtype == dtype
    assert np.array_equal(stored.features[:], sparse.features.toarray())
    assert stored.content_hash == dense.content_hash == check_store(tmp_path / "big.fnn").content_hash
    assert stored.test is not None
    assert stored.test.content_hash == dense.take(np.arange(7)).content_hash
    assert stored.notes == ("the rows are sparse and were written with all their zeros, 3 numbers each",)


def test_training_on_stored_sparse_rows_gives_the_weights_of_dense_ones(tmp_path: Path) -> None:
    sparse: Any = sparse_table(200)
    dense = replace(sparse, features=sparse.features.toarray().astype(np.float32))
    stored = replace(store_of(sparse, tmp_path), notes=())
    recipe = fastnn.presets["table"].replace(epochs=2, hidden=(8,))
    models = [fastnn.fit(one, recipe, progress=False) for one in (dense, stored)]
    assert models[0].sha256() == models[1].sha256()


def test_only_the_sparse_part_of_a_data_set_is_written_with_zeros(tmp_path: Path) -> None:
    sparse: Any = sparse_table()
    dense = replace(sparse, features=sparse.features.toarray().astype(np.float32))
    stored = store_of(replace(dense, test=sparse), tmp_path)
    assert stored.test is not None
    assert stored.content_hash == stored.test.content_hash == dense.content_hash


@pytest.mark.parametrize(
    ("place", "value", "fault"),
    [
        ("_LARGE", 0, "and with all their zeros they are 0.0 GB, 16 times as large, too much for a store"),
        ("shutil.disk_usage", lambda _: SimpleNamespace(free=100), "the disk of the store has 0.0 GB left"),
    ],
)
def test_sparse_rows_that_would_take_far_more_room_are_refused(
    place: str, value: Any, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastnn.datasets.dense_rows._MOST_RATIO", 0)
    monkeypatch.setattr(f"fastnn.datasets.dense_rows.{place}", value)
    rows = SparseRows(np.ones(2), np.array([1, 99]), np.array([0, 1, 2]), 100)
    with pytest.raises(DataError, match="rows are sparse") as caught:
        store_of(Dataset(rows, np.array([0, 1]), ("a", "b"), "wide"), tmp_path)
    assert fault in str(caught.value)
    assert str(caught.value).endswith("; train on it as it is")
    assert not list(tmp_path.glob("*.fnn"))


def test_rows_too_large_to_be_read_without_a_store_need_fewer_columns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastnn.datasets.dense_rows.shutil.disk_usage", lambda _: SimpleNamespace(free=100))
    source = tmp_path / "a.svm"
    source.write_text("0 1:1\n1 99:1\n")
    for limit, fix in (
        ("_LARGE", "train on it as it is"),
        ("FILE_LIMIT", "leave out columns"),
        ("MOST_CELLS", "leave out columns"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(f"fastnn.datasets.dense_rows.{limit}", 3)
            with pytest.raises(DataError, match=f"GB left; {fix}$"):
                write_store(str(source), tmp_path / "a.fnn")
    with gzip.open(tmp_path / "a.svm.gz", "wb") as file:
        file.write(source.read_bytes())
    with pytest.raises(DataError, match=r"GB left; leave out columns$"):  # its size is not known
        write_store(str(tmp_path / "a.svm.gz"), tmp_path / "a.fnn")


def test_the_rows_of_all_parts_are_written_once(tmp_path: Path) -> None:
    sparse: Any = sparse_table()
    # The values of the test set need float64, those of the training set do not; equal columns are added.
    for columns, values, dtype in (([0, 1], [0.1, 0.5], "float64"), ([1, 1], [0.1, -0.1], "float32")):
        rows = SparseRows(np.array(values), np.array(columns), np.array([0, 2]), 3)
        test = Dataset(rows, np.array([1]), ("a", "b"), "sparse (test set)")
        (spool := tmp_path / dtype).mkdir()
        dense = with_dense_rows(replace(sparse, test=test), spool)
        assert dense.test is not None
        assert dense.features.dtype == dense.test.features.dtype == dtype
        assert len(list(spool.iterdir())) == 2


def test_values_of_one_column_that_add_up_to_infinity_are_refused(tmp_path: Path) -> None:
    rows = SparseRows(np.full(2, 1e308), np.array([1, 1]), np.array([0, 2]), 2)
    with pytest.raises(DataError, match="add up to infinity"):
        store_of(Dataset(rows, np.array([0]), ("a",), "twice"), tmp_path)


# ---- replaced, damaged, unfinished ----


def test_a_store_is_replaced_whole_and_stays_mapped_where_it_is_read(tmp_path: Path) -> None:
    before = store_of(blobs(50), tmp_path)
    with pytest.raises(DataError, match="exists already"):
        store_of(blobs(40), tmp_path)
    write_store(blobs(40), tmp_path / "big.fnn", force=True)
    assert len(open_store(tmp_path / "big.fnn")) == 40
    assert before.compute_hash() == blobs(50).content_hash
    assert [path.name for path in tmp_path.iterdir()] == ["big.fnn"]


def test_a_folder_with_other_files_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "big.fnn").mkdir()
    (tmp_path / "big.fnn" / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match="is no store"):
        write_store(blobs(40), tmp_path / "big.fnn", force=True)


def test_without_exchange_of_folders_the_header_comes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store_of(replace(blobs(50), test=blobs(20, seed=1)), tmp_path)
    monkeypatch.setattr("fastnn.datasets.store_writer.exchange", lambda *_: False)
    write_store(blobs(40), tmp_path / "big.fnn", force=True)
    assert check_store(tmp_path / "big.fnn").test is None
    assert len(open_store(tmp_path / "big.fnn")) == 40


def test_a_replacement_that_fails_half_way_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store_of(blobs(50), tmp_path)
    moved = []

    def fails(source: Path, target: Path) -> None:
        moved.append(target.name)
        if len(moved) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        source.replace(target)

    monkeypatch.setattr("fastnn.datasets.store_writer.exchange", lambda *_: False)
    monkeypatch.setattr("fastnn.datasets.store_writer.move_file", fails)
    with pytest.raises(DataError, match="No space left"):
        write_store(blobs(40), tmp_path / "big.fnn", force=True)
    with pytest.raises(DataError, match="is being written, or was not finished"):
        open_store(tmp_path / "big.fnn")


def edit_header(path: Path, **values: Any) -> None:
    header = json.loads((path / HEADER).read_text())
    (path / HEADER).write_text(json.dumps(header | values))


def truncated(path: Path) -> None:
    file = path / "train-features.npy"
    os.truncate(file, file.stat().st_size - 1)


def with_nan(path: Path) -> None:
    rows = np.load(path / "train-features.npy")
    rows[7, 2] = np.nan
    np.save(path / "train-features.npy", rows)


def with_label(path: Path) -> None:
    labels = np.load(path / "train-targets.npy")
    labels[7] = 10
    np.save(path / "train-targets.npy", labels)


DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no header": (lambda path: (path / HEADER).unlink(), "is being written, or was not finished"),
    "newer": (lambda path: edit_header(path, version=2), "is of version 2"),
    "other format": (lambda path: edit_header(path, format="x"), "not the header of a store"),
    "misspelt": (lambda path: edit_header(path, colums=[]), "damaged"),
    "not JSON": (lambda path: (path / HEADER).write_text("{"), "damaged"),
    "other number": (
        lambda path: edit_header(path, parts={"train": {"n": 49, "sha256": "0" * 64}}),
        "but the header says",
    ),
    "other type": (lambda path: edit_header(path, features="float64"), "but the header says"),
    "no part": (lambda path: edit_header(path, parts={}), "names no samples"),
    "cut off": (truncated, "does not hold the"),
    "no file": (lambda path: (path / "train-targets.npy").unlink(), "No such file|does not exist|cannot be read"),
    "label": (with_label, "not one of the 10 classes"),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_store_is_refused_when_it_is_opened(kind: str, tmp_path: Path) -> None:
    damage, message = DAMAGES[kind]
    store_of(blobs(50), tmp_path)
    damage(tmp_path / "big.fnn")
    with pytest.raises(DataError, match=message) as caught:
        load_dataset(tmp_path / "big.fnn")
    assert "\n" not in str(caught.value)
    assert "big.fnn" in str(caught.value)


def test_a_value_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    store_of(linear_table(), tmp_path)
    with_nan(tmp_path / "big.fnn")
    with pytest.raises(DataError, match=r"a feature is nan \(row 7, column 2\)"):
        load_dataset(tmp_path / "big.fnn")


def test_an_edited_store_is_found_by_its_hash(tmp_path: Path) -> None:
    store_of(blobs(50), tmp_path)
    images = np.load(tmp_path / "big.fnn" / "train-features.npy")
    images[3, 3] ^= 1
    np.save(tmp_path / "big.fnn" / "train-features.npy", images)
    assert len(load_dataset(tmp_path / "big.fnn")) == 50
    with pytest.raises(DataError, match="was edited or is damaged"):
        check_store(tmp_path / "big.fnn")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"polarity": "light-on-dark"}, "drop --polarity"),
        ({"target": "x"}, "drop --target"),
        ({"task": "regression"}, "drop --task"),
    ],
)
def test_a_store_is_not_read_in_another_way(given: dict[str, Any], message: str, tmp_path: Path) -> None:
    store_of(blobs(50), tmp_path)
    with pytest.raises(DataError, match=message):
        load_dataset(tmp_path / "big.fnn", **given)


def test_chosen_classes_of_a_store(tmp_path: Path) -> None:
    dataset = blobs(50)
    stored = load_dataset(store_of(dataset, tmp_path).source, classes="0-4")
    chosen = replace(dataset.take(np.flatnonzero(dataset.labels < 5)), names=tuple("01234"))
    assert stored.content_hash == chosen.content_hash


# ---- mapped rows ----


def test_mapped_rows_are_read_as_an_array_is() -> None:
    array = np.arange(60, dtype=np.float32).reshape(20, 3)
    for rows, expected in (
        (MappedRows(array), array),
        (MappedRows(array, np.array([5, 3, 3])), array[[5, 3, 3]]),
        (MappedRows(array).take([5, 3, 3]).take([2, 0]), array[[3, 5]]),
    ):
        assert (rows.shape, rows.dtype, rows.size, rows.ndim, len(rows)) == (
            expected.shape, expected.dtype, expected.size, 2, len(expected)
        )  # fmt: skip
        assert np.array_equal(np.asarray(rows), expected)
        assert np.array_equal(rows[1:], expected[1:])
        assert np.array_equal(rows[np.array([1, 0])], expected[[1, 0]])
        assert np.array_equal(np.concatenate(list(rows.parts(2))), expected)
    inverted = changed(MappedRows(array, np.array([5, 3, 3])), lambda rows, places: -rows * places[:, None])
    expected = -array[[5, 3, 3]] * np.arange(3)[:, None]
    assert np.array_equal(inverted[:], expected)
    assert np.array_equal(inverted[1:3], expected[1:])
    assert np.array_equal(inverted.take([2, 0])[:], expected[[2, 0]])
    assert np.array_equal(np.asarray(inverted), expected)
    # Of arrays this would compare the values.
    for compare in (MappedRows(array).__eq__, MappedRows(array).__ne__):
        with pytest.raises(TypeError, match="compare the parts"):
            compare(255)


def test_passes_over_wide_rows_take_the_memory_of_a_few_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(120, 10_000)).astype(np.float32)
    rows[::2, ::3], rows[7] = 1.5, rows[2]
    wide = Dataset(rows, np.arange(120) % 2, ("a", "b"), "wide")
    at_once, levels, copies = wide.feature_scaling, find_levels(rows), group_copies(rows)
    monkeypatch.setattr("fastnn.large_arrays._MOST_VALUES", 1 << 15)
    tracemalloc.start()
    try:
        stored = store_of(wide, tmp_path)
        check_store(tmp_path / "big.fnn")
        train, test, *_ = split(stored)
        assert np.array_equal(group_copies(stored.features), copies)
        scaling, found = stored.feature_scaling, find_levels(stored.features)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # The rows are 4.8 MB.
    assert peak < 2.4e6
    assert len(train) + len(test) == 120
    # Sums are the same bits for any number of rows at a time.
    assert np.array_equal(scaling.mean, at_once.mean)
    assert np.array_equal(scaling.factor, at_once.factor)
    assert np.array_equal(found[0], levels[0])
    assert found[1] == levels[1]


# ---- Parquet, predictions and evaluation ----


def parquet(tmp_path: Path, dataset: Dataset, name: str = "a.parquet") -> Path:
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    columns = {f"x{k}": dataset.features[:, k] for k in range(dataset.n_inputs)} | {"price": dataset.targets[:, 0]}
    parquet.write_table(arrow.table(columns), tmp_path / name, row_group_size=100)
    return tmp_path / name


def test_a_parquet_table_becomes_a_store_some_rows_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastnn.datasets.arrow_tables._ROWS_AT_ONCE", 64)
    path = parquet(tmp_path, linear_table(300))
    plain = load_dataset(path, target="price")
    stored = write_store(str(path), tmp_path / "big.fnn", ReadOptions(target=("price",)))
    assert stored.content_hash == plain.content_hash
    assert (stored.notes, stored.columns) == (plain.notes, plain.columns)


def test_rows_of_a_parquet_file_are_predicted_by_the_names_of_their_columns(tmp_path: Path) -> None:
    table = linear_table(300)
    model = fastnn.fit(
        replace(load_dataset(parquet(tmp_path, table), target="price"), notes=()),
        fastnn.presets["table"].replace(epochs=1, hidden=(4,)),
        progress=False,
    )
    formats.save_model(model, tmp_path / "model.safetensors")
    moved = replace(table, features=table.features[:, ::-1])
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet as pq

    columns = {"x2": moved.features[:, 0], "x1": moved.features[:, 1], "x0": moved.features[:, 2]}
    pq.write_table(arrow.table(columns), tmp_path / "new.parquet")
    found = predict_table(str(tmp_path / "model.safetensors"), str(tmp_path / "new.parquet"))
    assert np.array_equal(found.values, model.outputs(table.features))
    del columns["x1"]
    pq.write_table(arrow.table(columns), tmp_path / "new.parquet")
    with pytest.raises(DataError, match="has no column x1, which the model takes"):
        predict_table(str(tmp_path / "model.safetensors"), str(tmp_path / "new.parquet"))


def test_images_in_the_columns_of_a_parquet_file_are_predicted(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet as pq

    dataset = blobs(250)
    model = fastnn.fit(dataset, fastnn.Recipe(hidden=(8,), epochs=1, lr=0.05), progress=False)
    formats.save_model(model, tmp_path / "model.safetensors")
    columns = {f"pixel{k}": dataset.images[:, k] for k in range(784)}
    files = [str(tmp_path / name) for name in ("model.safetensors", "a.parquet")]
    for labels in ({}, {"label": dataset.labels}):
        pq.write_table(arrow.table(columns | labels), tmp_path / "a.parquet", row_group_size=100)
        assert np.array_equal(predict_table(*files).values, model.predict(dataset.images))
    pq.write_table(arrow.table(columns | {"pixel7": dataset.images[:, 7] * 1000.0}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"a\.parquet: ") as caught:
        predict_table(*files)
    assert ".tmp" not in str(caught.value)


@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet"])
def test_predictions_are_written_in_parts(ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = blobs(250)
    store_of(dataset, tmp_path)
    model = fastnn.fit(dataset, fastnn.Recipe(hidden=(8,), epochs=1, lr=0.05), progress=False)
    formats.save_model(model, tmp_path / "model.safetensors")
    files = [str(tmp_path / name) for name in ("model.safetensors", "big.fnn")]
    whole, parts = (tmp_path / f"{name}.{ending}" for name in ("whole", "parts"))
    write_predictions(predict_table(*files), whole)
    monkeypatch.setattr("fastnn.model.ROWS_IN_PART", 100)
    assert len(predict_table_to_file(*files, parts)) == 100
    if ending == "parquet":
        pq = pytest.importorskip("pyarrow.parquet")
        assert pq.read_table(parts).equals(pq.read_table(whole))
        assert pq.read_table(parts).column_names == ["Label", "Probability"]
    else:
        assert parts.read_text() == whole.read_text()
        assert len(parts.read_text().splitlines()) == 251


@pytest.mark.parametrize("classes", [2, 10])
def test_a_large_evaluation_is_that_of_all_samples_together(classes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = blobs(250, classes=tuple("0123456789")[:classes])
    model = fastnn.fit(blobs(60, classes=dataset.names), fastnn.Recipe(hidden=(8,), epochs=1, lr=0.05), progress=False)
    whole = fastnn.evaluate(model, dataset)
    monkeypatch.setattr("fastnn.model.ROWS_IN_PART", 64)
    monkeypatch.setattr("fastnn.large_arrays.LARGE", 1)
    parts = fastnn.evaluate(model, dataset)
    assert np.array_equal(parts.confusion, whole.confusion)
    assert (parts.per_class, parts.accuracy, parts.roc_auc) == (whole.per_class, whole.accuracy, whole.roc_auc)
    assert parts.loss == pytest.approx(whole.loss, rel=1e-12)
    assert parts.log_loss == pytest.approx(whole.log_loss, rel=1e-12)


@pytest.mark.parametrize("task", ["regression", "multilabel"])
def test_a_large_table_is_evaluated_in_parts(task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = linear_table(250, targets=2)
    if task == "multilabel":
        table = replace(table, targets=(table.targets > 0).astype(np.uint8))
    model = fastnn.fit(table, fastnn.presets["table"].replace(epochs=1, hidden=(4,)), progress=False)
    whole = fastnn.evaluate(model, table)
    monkeypatch.setattr("fastnn.model.ROWS_IN_PART", 64)
    monkeypatch.setattr("fastnn.evaluation.regression.ROWS_IN_PART", 64)
    monkeypatch.setattr("fastnn.large_arrays.LARGE", 1)
    parts = fastnn.evaluate(model, store_of(table, tmp_path))
    assert parts.metrics == pytest.approx(whole.metrics, rel=1e-12)
    rows = [
        [
            value
            for row in one.as_dict()["per_target" if task == "regression" else "per_label"]
            for value in row.values()
        ]
        for one in (parts, whole)
    ]
    assert [one for one in rows[0] if isinstance(one, str)] == [one for one in rows[1] if isinstance(one, str)]
    numbers = [[one for one in values if not isinstance(one, str)] for values in rows]
    assert numbers[0] == pytest.approx(numbers[1], rel=1e-12)


@pytest.mark.parametrize("kind", ["images", "regression"])
def test_a_report_on_a_large_data_set_shows_what_that_on_a_small_one_does(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = blobs(250) if kind == "images" else linear_table(250, targets=2)
    recipe = "modern" if kind == "images" else "table"
    model = fastnn.fit(
        dataset.take(range(100)), fastnn.presets[recipe].replace(epochs=1, hidden=(4,), ensemble=1), progress=False
    )
    whole = measure(model, dataset, None)
    monkeypatch.setattr("fastnn.model.ROWS_IN_PART", 64)
    monkeypatch.setattr("fastnn.evaluation.bootstrap.ROWS_IN_PART", 64)
    monkeypatch.setattr("fastnn.large_arrays.LARGE", 1)
    parts = measure(model, store_of(dataset, tmp_path), None)
    for name in ("worst", "shown"):
        assert np.array_equal(getattr(parts, name), getattr(whole, name))
        assert np.allclose(getattr(parts, f"{name}_outputs"), getattr(whole, f"{name}_outputs"), rtol=1e-12)
    assert len(parts.worst) > 30
    for name, figure in whole.figures.items():
        assert astuple(parts.figures[name]) == pytest.approx(astuple(figure), rel=1e-9)
    if whole.reliability is not None and parts.reliability is not None:
        assert np.array_equal(parts.reliability.counts, whole.reliability.counts)
        assert np.allclose(parts.reliability.accuracy, whole.reliability.accuracy, equal_nan=True)
        assert parts.reliability.ece == pytest.approx(whole.reliability.ece, rel=1e-9)


@pytest.mark.parametrize("ending", ["csv", "parquet", "csv of images"])
def test_rows_of_a_large_file_are_left_on_the_disk(
    ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = ending == "csv of images"
    dataset = blobs(250) if images else linear_table(250)
    if images:
        write_dataset(dataset, tmp_path / "a.csv")
    elif ending == "csv":
        save_table(dataset, tmp_path / "a.csv")
    file = str(parquet(tmp_path, dataset) if ending == "parquet" else tmp_path / "a.csv")
    recipe = fastnn.Recipe(hidden=(4,)) if images else fastnn.presets["table"]
    read = dataset if images else replace(load_dataset(file, target="price"), notes=())
    model = fastnn.fit(read, recipe.replace(epochs=1), progress=False)
    formats.save_model(model, tmp_path / "model.safetensors")
    whole = predict_table(str(tmp_path / "model.safetensors"), file)
    monkeypatch.setattr("fastnn.predicting._LARGE_FILE", 0)
    monkeypatch.setattr("fastnn.model.ROWS_IN_PART", 100)
    kinds = []
    outputs = fastnn.Model.outputs_in_parts
    monkeypatch.setattr(
        fastnn.Model, "outputs_in_parts", lambda self, rows, n=0: kinds.append(type(rows)) or outputs(self, rows, n)
    )
    first, n = preview_table(str(tmp_path / "model.safetensors"), file)
    assert (len(first), n, kinds) == (100, 250, [MappedRows])
    assert np.array_equal(first.values, whole.values[:100])
    assert list(predict_table(str(tmp_path / "model.safetensors"), file).rows()) == list(whole.rows())
    assert not list(cache_dir().glob(".scratch*"))


@pytest.mark.parametrize("ending", ["csv", "parquet", "svmlight"])
def test_sparse_rows_of_a_large_file_are_left_on_the_disk(
    ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = {
        "a": np.arange(60) % 7 / 4,
        "colour": np.array(["red", "blue", "green"] * 20),
        "target": np.arange(60) % 2,
    }
    if ending == "svmlight":
        (tmp_path / "a.svm").write_text("".join(f"{k % 2} {k % 5 + 1}:{k / 8}\n" for k in range(60)))
        files = [str(tmp_path / "a.svm")] * 2
    else:
        files = [str(tmp_path / f"{name}.{ending}") for name in "ab"]
        for file, more in zip(files, ("green", "grey"), strict=True):
            made = columns | {"colour": np.where(np.arange(60) % 9 == 0, more, columns["colour"])}
            save_columns(made, Path(file))
    read = replace(load_dataset(files[0]), notes=())
    model = fastnn.fit(read, fastnn.presets["table"].replace(epochs=1, hidden=(4,)), progress=False)
    formats.save_model(model, tmp_path / "model.safetensors")
    given = (str(tmp_path / "model.safetensors"), files[ending == "csv"])
    whole = predict_table(*given)
    monkeypatch.setattr("fastnn.predicting._LARGE_FILE", 0)
    monkeypatch.setattr("fastnn.model.ROWS_IN_PART", 25)
    parts = predict_table(*given)
    assert list(parts.rows()) == list(whole.rows())
    assert parts.notes == whole.notes
    assert ("does not know" in " ".join(parts.notes)) == (ending == "csv")


def save_columns(columns: dict[str, Any], path: Path) -> None:
    if path.suffix == ".parquet":
        pa, pq = (pytest.importorskip(name) for name in ("pyarrow", "pyarrow.parquet"))
        pq.write_table(pa.table(columns), path)
    else:
        rows = zip(*(column.tolist() for column in columns.values()), strict=True)
        path.write_text("\n".join([",".join(columns), *(",".join(map(str, row)) for row in rows)]))
