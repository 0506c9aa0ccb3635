"""Valid inputs, made by code: what the mutators start from. Small, so that many of them are tried in a second."""

from __future__ import annotations

import contextlib
import functools
import gzip
import importlib
import io
import json
import sqlite3
import struct
import tarfile
import tempfile
import warnings
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fastnn.datasets import Column, Dataset
from fastnn.datasets.scaling import Scaling
from fastnn.datasets.split import Split
from fastnn.formats.safetensors import dump_model
from fastnn.model import DataCard, Model, ModelCard
from fastnn.network import Network
from fastnn.recipe import Recipe, presets
from tests.attacks.fuzz_mutate import pack
from tests.datasets import samples
from tests.models import jpeg, png, seven

FIXTURES = Path(__file__).parents[1] / "fixtures"
DIGITS = tuple("0123456789")


def images(n: int = 2) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return `n` different drawings, uint8 (n, 784)."""
    return np.stack([np.roll(seven(), 3 * k, axis=1).reshape(784) for k in range(n)])


def dataset(n: int = 4) -> Dataset:
    return Dataset(images(n), np.arange(n, dtype=np.int64) % 10, DIGITS, "seed")


def idx_images(n: int = 2) -> bytes:
    return samples.idx_images(n, (~images(n)).tobytes())


def idx_labels(n: int = 2) -> bytes:
    return samples.idx_labels(n, bytes(range(n)))


def idx_pairs() -> list[bytes]:
    plain = {"train-images-idx3-ubyte": idx_images(), "train-labels-idx1-ubyte": idx_labels()}
    test = {"t10k-images-idx3-ubyte": idx_images(1), "t10k-labels-idx1-ubyte": idx_labels(1)}
    packed = {f"x-{name.partition('-')[2]}.gz": gzip.compress(content, mtime=0) for name, content in plain.items()}
    eight = struct.pack(">4B2I16i", 0, 0, 12, 2, 2, 8, *range(16))
    qmnist = {"q-train-images-idx3-ubyte": idx_images(), "q-train-labels-idx2-int": eight}
    floats = {
        "emnist-test-images.idx3": struct.pack(">4B3I8f", 0, 0, 13, 3, 2, 2, 2, 0, 1, 0, 0.5, 1, 0, 0, 0),
        "emnist-test-labels.idx1": idx_labels(),
        "emnist-mapping.txt": b"0 48\n1 65 97\n",
    }
    return [pack(plain), pack(plain | test), pack(packed), pack(qmnist), pack(floats)]


def for_stores() -> list[bytes]:
    pixels = "label," + ",".join(f"pixel{k}" for k in range(784)) + "\n"
    pixels += "".join(f"{k},{','.join(map(str, image))}\n" for k, image in enumerate(images(3).tolist()))
    found = [
        {"a.csv": pixels.encode()},
        {"a.csv": b"a,b,target\n1,2,x\n3,4.5,y\n"},
        {"a.csv": b"id,a,colour,target\n1,2,red,x\n2,4.5,blue,y\n3,4,red,x\n"},
        *({"a.svm": one} for one in svmlight()),
        {f"{k}.json": json.dumps([one.tolist()]).encode() for k, one in enumerate(images(2))},
        {"a-images-idx3-ubyte": idx_images(), "a-labels-idx1-ubyte": idx_labels()},
        {"a.db": databases()[0]},
        {"a.json": json.dumps([{"image": image.tolist(), "label": k} for k, image in enumerate(images(2))]).encode()},
    ]
    with contextlib.suppress(ImportError):
        import pyarrow as pa
        from pyarrow import parquet

        sink = io.BytesIO()
        parquet.write_table(pa.table({"a": [1.0, 2.0], "target": ["x", "y"]}), sink)
        found.append({"a.parquet": sink.getvalue()})
        found += [{"a.arrow" if one[:4] != b"PAR1" else "a.parquet": one} for one in arrow_files()]
    found += [{"a.npz": one} for one in (*npz(), *named_npz(), *table_npz())]
    found += [{"a.mat": one} for one in mat()]
    return [*(pack(files) for files in found), *npy_folders()]


def row_streams() -> list[bytes]:
    objects = [{"a": k, "b": k / 2, "target": "xy"[k % 2]} for k in range(6)]
    images_and_labels = [{"image": image.tolist(), "label": k % 2} for k, image in enumerate(images(4))]
    lines = ["\n".join(map(json.dumps, rows)) for rows in (objects, images_and_labels)]
    return [b"a,b,target\n1,2,3\n4,5.5,6\n7,8,9\n", *(text.encode() for text in lines)]


def stores() -> list[bytes]:
    from fastnn.datasets.store_writer import write_store

    table = Dataset(np.ones((3, 2)), np.ones((3, 1)), ("price",), "seed", columns=(Column("a"), Column("b")))
    packed = []
    for one in (replace(dataset(), test=dataset(2)), table):
        with tempfile.TemporaryDirectory() as folder:
            write_store(one, Path(folder) / "a.fnn")
            packed.append(pack({path.name: path.read_bytes() for path in sorted(Path(folder, "a.fnn").iterdir())}))
    return packed


def npz() -> list[bytes]:
    arrays: list[dict[str, Any]] = [
        {"images": images(), "labels": np.arange(2)},
        {"images": images().reshape(2, 28, 28), "labels": np.array(["a", "é"])},
        {
            "images": images(),
            "labels": np.arange(2),
            "classes": np.array(["x", "y"]),
            "test_images": images(1),
            "test_labels": np.array([1]),
        },
    ]
    found = []
    for each in arrays:
        file = io.BytesIO()
        np.savez_compressed(file, **each)
        found.append(file.getvalue())
    return found


def named_arrays() -> list[dict[str, Any]]:
    """Return arrays as people name and shape them."""
    x = images(4).reshape(4, 28, 28)
    return [
        {"x_train": x[:3], "y_train": np.arange(3), "x_test": x[3:], "y_test": np.arange(1)},
        {"X": x.reshape(4, 784) / 255, "y": np.eye(4)},
        {"data": np.arange(12.0).reshape(4, 3), "target": np.array([0, 1, 0, 1]), "feature_names": ["a", "b", "c"]},
        {"arr_0": np.repeat(x[..., None], 3, axis=3), "arr_1": np.array([b"a", b"b", b"a", b"b"])},
        {"images": x.transpose(1, 2, 0).astype(np.int16), "labels": np.array([[1.0, 2.0, 1.0, 2.0]])},
    ]


def named_npz() -> list[bytes]:
    found = []
    for arrays in named_arrays():
        file = io.BytesIO()
        np.savez_compressed(file, **arrays)
        found.append(file.getvalue())
    return found


def npy_folders() -> list[bytes]:
    found = []
    for arrays in named_arrays():
        files = {}
        for name, array in arrays.items():
            file = io.BytesIO()
            np.save(file, np.asarray(array))
            files[f"{name}.npy"] = file.getvalue()
        found.append(pack(files))
    return found


def mat() -> list[bytes]:
    """Return files of MATLAB: with structs as EMNIST, compressed and not, and with texts in cells."""
    from scipy.io import savemat

    made = named_arrays()
    train = {"images": images(4), "labels": np.arange(4)[:, None]}
    emnist = {"dataset": {"train": train, "test": train, "mapping": np.array([[k, 48 + k] for k in range(4)])}}
    texts = {"images": images(2), "labels": np.array(["a", "b"], dtype=object)}
    found = []
    for arrays in (emnist, texts, made[1], made[2]):
        for compressed in (True, False):
            file = io.BytesIO()
            savemat(file, arrays, do_compression=compressed)
            found.append(file.getvalue())
    return found


def arrow_files() -> list[bytes]:
    """Return Parquet, Arrow and Feather files: pictures, lists of pixels, and tables."""
    import pyarrow as pa
    from pyarrow import feather, parquet

    features = {"image": {}, "label": {"names": list("ab")}}
    tables = [
        pa.table({"image": [{"bytes": png(seven()), "path": None}] * 2, "label": [0, 1]}).replace_schema_metadata(
            {"huggingface": json.dumps({"info": {"features": features}})}
        ),
        pa.table({"image": images(2).tolist(), "label": ["a", "b"]}),
        pa.table({"a": [0.5, 1.5, 2.5], "b": ["x", "y", "x"], "y": [1, 0, 1]}),
    ]
    found = []
    for table in tables:
        file, streamed = io.BytesIO(), io.BytesIO()
        parquet.write_table(table, file, compression="none", dictionary_pagesize_limit=64)
        with pa.ipc.new_stream(streamed, table.schema) as stream:
            stream.write_table(table)
        feathered = io.BytesIO()
        feather.write_feather(table, feathered, compression="zstd" if "b" in table.column_names else "uncompressed")
        found += [file.getvalue(), streamed.getvalue(), feathered.getvalue()]
    return found


def csv_rows() -> list[bytes]:
    rows = [",".join(map(str, row)) for row in images(2).tolist()]
    names = ",".join(f"pixel{k}" for k in range(784))
    halves = [",".join(f"{value / 255:.1f}" for value in row) for row in images(2).tolist()]
    one_hot = ",".join(f"class_{k}" for k in range(3))
    texts = [
        f"label,{names}\n3,{rows[0]}\n4,{rows[1]}\n",
        f'"a ""b""",{rows[0]}\r\né,{rows[1]}\r\n',
        f"# one\n,{names},class\n0,{halves[0]},05\n1,{halves[1]},7\n".replace(",", ";").replace(".", ","),
        f"{one_hot},{names}\n0,1,0,{rows[0]}\n1,0,0,{rows[1]}\n",
        f"{names}\n{rows[0]}\n{rows[1]}\n",
    ]
    return [*(text.encode() for text in texts), texts[0].encode("utf-16")]


def tables() -> list[bytes]:
    """Return tables: of numbers, with texts and an index, without names, with decimal commas, of several targets."""
    texts = [
        "a,b,y\n1,2.5,3\n-4,5e3,6\n7,8,3\n",
        ',colour,"a, b",target\n0,red,1,x\n1,"light ""blue""",2,y\n2,red,3,x\n',
        "5.1;3,5;setosa\n4,9;3;virginica\n",
        "y1\ty2\ty\n1\t0\t0\n0\t1\t1\n",
        "a,b,y\r\n1,true,0.5\r\n 2 , false ,1.5\r\n",
    ]
    return [text.encode() for text in texts]


def svmlight() -> list[bytes]:
    texts = ["1 1:0.5 3:-2e3 # one\n-1 2:1\n", "0.5 qid:3 0:1 7:2\n", "1,2 1:1\n2 3:4\n", "cat 1:1\ndog 2:2\n"]
    return [text.encode() for text in texts]


def table_npz() -> list[bytes]:
    """Return archives of tables: dense and sparse, of each task, with a test set, and as a user writes them."""
    from fastnn.datasets import Column, SparseRows
    from fastnn.datasets.npz import write_npz

    rows = np.array([[1.0, 0.0], [0.0, 2.0]])
    sparse = SparseRows(np.array([1.0, 2.0]), np.array([0, 2]), np.array([0, 1, 2]), 3)
    columns = (Column("a"), Column("b", ("x", "é")))
    test = Dataset(rows[:1], np.array([1]), ("p", "q"), "test")
    made = [
        Dataset(rows, np.array([0, 1]), ("p", "q"), "seed", test),
        Dataset(rows.astype(np.float32), np.array([[0.5], [1.5]]), ("t",), "seed"),
        Dataset(sparse, np.array([[0, 1], [1, 1]], dtype=np.uint8), ("p", "q"), "seed", columns=columns),
    ]
    found = []
    for dataset in made:
        file = io.BytesIO()
        write_npz(dataset, file)
        found.append(file.getvalue())
    file = io.BytesIO()
    np.savez(file, features=np.arange(6).reshape(3, 2), targets=np.array(["a", "b", "a"]))
    return [*found, file.getvalue()]


def json_digits() -> list[bytes]:
    rows = images(2).tolist()
    return [
        json.dumps([{"image": rows[0], "label": 3}, {"image": rows[1], "label": 4}]).encode(),
        json.dumps([{"image": rows[0], "label": "cat", "more": None}]).encode(),
    ]


def gzipped(contents: list[bytes]) -> list[bytes]:
    return [gzip.compress(content, mtime=0) for content in contents]


def bombs() -> dict[str, list[bytes]]:
    """Return small gzip files that unpack to nearly 64 MiB of what takes much memory to parse, by reader."""
    size = 60 << 20
    parts = {
        "csv": (b"11,", b"1,2\n", b'"', b"\n"),
        "table": (b"1,", b'"', b"y;", b"\n", b"1 1:1 "),
        "json": (b"[],", b'{"image":[],"label":1},', b"[", b"1,", b'"a",'),
    }
    return {
        name: [gzip.compress((b"[" if name == "json" else b"") + one * (size // len(one)), 9, mtime=0) for one in some]
        for name, some in parts.items()
    }


def class_files() -> list[bytes]:
    rows = images(2).tolist()
    lists, labelled = (
        json.dumps(rows).encode(),
        json.dumps([{"image": rows[0], "label": 3}, {"image": rows[1]}]).encode(),
    )
    return [pack({"0.json": lists, "7.json": labelled}), pack({"1.json.gz": gzip.compress(lists, mtime=0)})]


def pictures() -> list[bytes]:
    """Return pictures of several kinds: PNG and JPEG, grey, with colours, a palette, transparency, 16 bits."""
    grey, large = seven(), seven(60, 70)
    colour = np.stack([large] * 3, axis=2)
    clear = np.dstack([colour, 255 - large])
    palette = io.BytesIO()
    Image.fromarray(large).convert("P").save(palette, "PNG", transparency=0)
    deep = io.BytesIO()
    Image.fromarray(large.astype(np.uint16) * 257).save(deep, "PNG")
    turned = Image.Exif()
    turned[0x0112] = 6
    return [
        png(grey), png(large), png(colour), png(clear), palette.getvalue(), deep.getvalue(), png(seven(56, 56)),
        png(255 - large), jpeg(large), jpeg(colour, progressive=True), jpeg(large, exif=turned.tobytes()),
    ]  # fmt: skip


def other_pictures() -> list[bytes]:
    """Return pictures in the other formats that Pillow reads, and one of 16 bits."""
    made = []
    for kind, options in (
        ("BMP", {}), ("GIF", {}), ("GIF", {"save_all": True}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "jpeg"}), ("PPM", {}), ("WEBP", {}), ("WEBP", {"lossless": True}), ("AVIF", {}),
    ):  # fmt: skip
        Image.init()
        if kind not in Image.SAVE:  # Pillow before 11.3 does not know AVIF
            continue
        file = io.BytesIO()
        image = Image.fromarray(seven(40, 30))
        more = {"append_images": [Image.fromarray(255 - seven(40, 30))]} if "save_all" in options else {}
        image.save(file, kind, **options, **more)
        made.append(file.getvalue())
    deep = io.BytesIO()
    Image.fromarray(seven(40, 30).astype(np.uint16) * 257).save(deep, "TIFF")
    return [*made, deep.getvalue(), b"P2 2 2 255 0 255 255 0\n", b"P1\n2 2\n1 0 0 1\n"]


def class_folders() -> list[bytes]:
    found = pictures()
    return [
        pack({"cat/1.png": found[0], "dog/1.png": found[2], "dog/2.jpg": found[8]}),
        pack({"é/a.jpeg": jpeg(seven())}),
        pack({"train/0/1.png": found[0], "train/1/1.png": found[2], "x/test/0/1.png": found[0]}),
        pack({"3_1.png": found[0], "3_2.png": found[2], "4_1.png": found[0], "4_2.png": found[2]}),
        pack({"im/1.png": found[0], "im/2.png": found[2], "labels.csv": b"name,label\n1,a\nim/2.png,b\n"}),
        pack({"x/a.csv": b"1,2,3\n4,5,6\n"}),
    ]


def archives() -> list[bytes]:
    """Return archives of class folders, of a table, of IDX files and of another archive."""
    grey = png(seven())
    found: list[bytes] = []
    for files in (
        {"cat/1.png": grey, "dog/1.png": grey}, {"x/t.csv": b"1,2,3\n4,5,6\n"}, {"a.json": json_digits()[0]},
        {"x-images-idx3-ubyte": idx_images(), "x-labels-idx1-ubyte": idx_labels()},
    ):  # fmt: skip
        zipped, tarred = io.BytesIO(), io.BytesIO()
        with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        with tarfile.open(fileobj=tarred, mode="w") as tar:
            for name, content in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
        found += [zipped.getvalue(), tarred.getvalue()]
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("a.zip", found[0])
    return [*found, gzip.compress(found[1], mtime=0), inner.getvalue()]


@functools.cache
def databases() -> tuple[bytes, ...]:
    """Return SQLite files with accepted, pending and rejected digits and their reviews: of this version, and of 1."""
    from fastnn.datasets.database import import_dataset
    from fastnn.web.store import Store

    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/digits.db"
        import_dataset(dataset(3), url, contributor="someone")
        import_dataset(Dataset(images(5)[3:], np.array([3, 4]), DIGITS, "seed"), url, review=True)
        store = Store(url)
        store.desk.review(store.desk.queue(2)[0]["id"], "reject", None, "me")
        store.first_used("0" * 16)
        store.close()
        connection = sqlite3.connect(f"{folder}/digits.db")
        try:
            connection.execute("PRAGMA journal_mode=DELETE")
            return bytes(connection.serialize()), (FIXTURES / "database-1.db").read_bytes()
        finally:
            connection.close()


def recipes() -> list[bytes]:
    made = [presets[name].to_toml() for name in ("original", "modern", "best")]
    extra = 'base = "modern"\nhidden = [20]\nclass_weight = [1.0, 2]\npatience = 3\nvalidation_fraction = 0.1\n'
    return [text.encode() for text in [*made, extra, 'inputs = "ink"\nkernel = "ink"\nrule = "toy"\n']]


def recipe_dicts() -> list[bytes]:
    return [json.dumps(presets[name].as_dict()).encode() for name in ("original", "best")]


def card() -> ModelCard:
    """Return a card with all its fields."""
    data = DataCard(source="drawn:60", description="drawn", hash="0" * 64, n_train=54, n_test=6, split=Split(seed=3))
    recipe = Recipe(hidden=(3,), epochs=2)
    return ModelCard(recipe=recipe, epochs=2, data=data, seed=0, version="0.1.0", metrics={"test_accuracy": 0.5})


def model(*sizes: int, members: int = 1, **options: Any) -> Model:
    """Return a small model with a full card."""
    sizes = sizes or (784, 3, 10)
    networks = tuple(Network(sizes, **options).initialise("uniform", seed) for seed in range(members))
    return Model(networks, tuple(str(k) for k in range(sizes[-1])), card=card())


def models() -> list[bytes]:
    """Return models of formats 1 and 2: of images and of few inputs, of either rule, and an ensemble."""
    made = [
        model(784, 3, 10), model(4, 3, 2, rule="backprop", activation="relu"), model(5, 2, dtype="float64"),
        model(6, 4, 3, members=2, rule="backprop", activation="tanh"),
    ]  # fmt: skip
    old = [FIXTURES / f"model-{name}.safetensors" for name in ("1-relu-float32", "1-toy-float64", "2-relu-float32")]
    return [*map(dump_model, made), *(path.read_bytes() for path in old)]


def exported(module: str) -> list[bytes]:
    """Return what models are exported to by a module of ``fastnn.formats``."""
    exporter = importlib.import_module(f"fastnn.formats.{module}")
    rows = Network((3, 2, 2), rule="backprop", activation="relu")
    made = [model(4, 3, 2), model(6, 4, 3, members=2, rule="backprop", activation="tanh")]
    made.append(Model((rows,), ("x", "y"), takes="rows", scaling=Scaling(np.ones(3), np.ones(3))))
    return [exporter.dump(one, "float32") for one in made]


def layers() -> list[dict[str, Any]]:
    """Return arrays of networks of three layers, as PyTorch and NumPy name them."""
    rng = np.random.default_rng(0)
    sizes = [(4, 3), (3, 2), (2, 2)]
    parts = [(rng.normal(size=size).astype(np.float32), np.ones(size[1], np.float32)) for size in sizes]
    torch = {f"{2 * k}.weight": weights.T for k, (weights, _) in enumerate(parts)}
    torch |= {f"{2 * k}.bias": biases for k, (_, biases) in enumerate(parts)}
    plain = {f"{name}{k}": array for k, pair in enumerate(parts) for name, array in zip("Wb", pair, strict=True)}
    return [{name: np.ascontiguousarray(array) for name, array in one.items()} for one in (torch, plain)]


def layer_archives() -> list[bytes]:
    found = []
    for arrays in layers():
        file = io.BytesIO()
        np.savez(file, **arrays)
        found.append(file.getvalue())
    return found


def estimators() -> list[bytes]:
    """Return multi-layer perceptrons of scikit-learn in skops, one of them in a pipeline; none without skops."""
    try:
        from skops.io import dumps
    except ImportError:
        return []
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows, options = np.arange(24.0).reshape(8, 3), {"hidden_layer_sizes": (2,), "max_iter": 1, "random_state": 0}
    classes = [0, 1, 2, 0, 1, 2, 0, 1]
    made = [
        MLPClassifier(**options),
        make_pipeline(StandardScaler(), MLPClassifier(**options)),
        MLPRegressor(**options),
    ]
    with warnings.catch_warnings(action="ignore"):  # one epoch is not enough
        return [dumps(one.fit(rows, classes)) for one in made]


def onnx_files() -> list[bytes]:
    from fastnn.formats.onnx_graph import dump

    return [dump(model(784, 3, 10), precision) for precision in ("float32", "int8")]


def run_folders() -> list[bytes]:
    """Return run folders of the first edition: finished, interrupted and an ensemble."""
    found = []
    for name in ("run-1-finished", "run-1-interrupted", "run-1-ensemble"):
        folder = FIXTURES / name
        files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        found.append(pack({path.relative_to(folder).as_posix(): path.read_bytes() for path in files}))
    return found


def current_runs() -> list[bytes]:
    """Return run folders that today's fastnn writes, with the state that resuming needs."""
    import fastnn

    recipes = [
        Recipe(hidden=(3,), epochs=2, averaging="ema", validation_fraction=0.2, rule="backprop", lr=0.05),
        Recipe(hidden=(2,), epochs=1, ensemble=2, validation_fraction=0.2),
    ]
    found = []
    for recipe in recipes:
        with tempfile.TemporaryDirectory() as folder:
            fastnn.fit("drawn:60", recipe, out=f"{folder}/run", progress=False)
            found.append(pack({path.name: path.read_bytes() for path in sorted(Path(folder, "run").iterdir())}))
    return found


def histories() -> list[bytes]:
    return [(FIXTURES / "run-1-finished" / "history.csv").read_bytes()]


def original_networks() -> list[bytes]:
    """Return networks of the original and of the Toy Neural Network, and one with a comma missing."""

    def matrix(rows: int, columns: int, key: str = "values") -> dict[str, Any]:
        return {"rows": rows, "cols": columns, key: [[0.5] * columns for _ in range(rows)]}

    original = {"inputs": 4, "hidden1": 3, "hidden2": 2, "outputs": 2}
    original |= {"weights_ih1": matrix(3, 4), "weights_h1h2": matrix(2, 3), "weights_h2o": matrix(2, 2)}
    original |= {"bias_h1": matrix(3, 1), "bias_h2": matrix(2, 1), "bias_o": matrix(2, 1), "training": {"epochs": 3}}
    toy = {"input_nodes": 4, "hidden_nodes": 3, "output_nodes": 2, "weights_ih": matrix(3, 4, "data")}
    toy |= {"weights_ho": matrix(2, 3, "data"), "bias_h": matrix(3, 1, "data"), "bias_o": matrix(2, 1, "data")}
    text = json.dumps(original, indent=1)
    return [text.encode(), json.dumps(toy).encode(), text.replace("0.5,\n", "0.5\n", 1).encode()]


def issues() -> list[bytes]:
    return [b'index,label,suggested,score,reason\n0,0,7,0.1,wrong label\n1,1,,0.2,not a digit\n2,2,2,0.3,"a, ""b"""\n']


def predict_json() -> list[bytes]:
    rows = images(2).tolist()
    return [
        json.dumps(value).encode() for value in (rows[0], rows, [{"image": rows[0], "label": 3}], {"image": rows[1]})
    ]


def requests() -> list[bytes]:
    """Return requests to each route of the web app, as JSON; a body that is not text is sent as JSON."""
    row, name = images(1)[0].tolist(), "123e4567-e89b-42d3-a456-426614174000"
    typed = {"content-type": "application/json"}
    trusted = {**typed, "authorization": "Bearer token"}
    one = {"id": name, "image": row, "label": 7}
    made: list[dict[str, Any]] = [
        {"method": "POST", "path": "/api/predict", "headers": typed, "body": {"image": row}},
        {"method": "POST", "path": "/api/predict", "headers": {"content-type": "image/png"}, "picture": 0},
        {"method": "POST", "path": "/api/predict", "headers": {"content-type": "image/jpeg"}, "picture": 8},
        {"method": "POST", "path": "/api/digits", "headers": typed, "body": {"digits": [one], "contributor": "é"}},
        {"method": "GET", "path": "/api/review", "query": "limit=3", "headers": trusted},
        *(
            {"method": "POST", "path": f"/api/review/{name}", "headers": trusted, "body": body}
            for body in (
                {"action": "accept", "reviewer": "me"}, {"action": "relabel", "label": 3}, {"action": "reject"},
                {"action": "undo", "state": "accepted", "label": 3},
            )
        ),
        {"method": "GET", "path": "/api/review", "query": f"label=7&session={name}", "headers": trusted},
        {"method": "GET", "path": "/api/review/digits", "query": "state=pending&contributor=x", "headers": trusted},
        {"method": "GET", "path": "/api/review/history", "query": "limit=3", "headers": trusted},
        *(
            {"method": "POST", "path": f"/api/{path}", "headers": trusted, "body": body}
            for path, body in (
                ("review", {"reviews": [{"id": name, "action": "relabel", "label": 3}], "reviewer": "me"}),
                ("review/release", {"sessions": [name]}),
                ("review/contributor", {"contributor": "é", "action": "reject"}),
                ("review/strike", {"name": "é"}),
                ("class", {"collecting": True, "shows_pending": True}),
                ("learn", {"source": "accepted", "hidden": 2, "epochs": 1}),
            )
        ),
        {"method": "GET", "path": "/api/class", "headers": {}},
        {"method": "GET", "path": "/class.png", "headers": {"if-none-match": "W/*"}},
        {"method": "GET", "path": "/class.svg", "headers": {"host": "a/b"}},
        {"method": "GET", "path": "/model.json", "headers": {}},
        {"method": "GET", "path": "/model.bin", "query": "key=x", "headers": {}},
        {"method": "GET", "path": "/NN.json", "headers": {}},
        {"method": "GET", "path": "/api/stats", "headers": {}},
        {"method": "GET", "path": "/api/health", "headers": {"x-forwarded-for": "::1"}},
        {"method": "GET", "path": "/dataset.json", "headers": {"accept-encoding": "gzip;q=0.5, *;q=0", "range": "x"}},
        {"method": "HEAD", "path": "/mosaic.png", "headers": {"if-none-match": "W/*"}},
        {"method": "GET", "path": "/static/common.js", "headers": {"range": "bytes=1-2,5-", "if-modified-since": "x"}},
        {"method": "GET", "path": "/", "headers": {}},
        {"method": "GET", "path": "/api/openapi.json", "headers": {}},
    ]  # fmt: skip
    return [json.dumps(each).encode() for each in made]
