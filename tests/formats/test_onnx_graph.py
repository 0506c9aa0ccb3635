"""Models as ONNX graphs, run by onnxruntime: the same answers for everything that a model can be."""

import dataclasses
import importlib
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import fastnn
from fastnn.datasets import Dataset, SparseRows, load_dataset
from fastnn.datasets.scaling import Scaling
from fastnn.errors import ModelError
from fastnn.evaluation.agreement import check_export
from fastnn.formats import save_model
from fastnn.formats.export import export
from fastnn.images import normalise_batch
from fastnn.model import Calibration, DataCard, Model, ModelCard, decide
from fastnn.network import Network
from fastnn.recipe import Recipe
from tests.helpers import ROOT, invoke, run_python
from tests.models import DIGITS, model, network, row_model

onnx = pytest.importorskip("onnx", reason="needs the extra [onnx]")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra [onnx]")
run = importlib.import_module("fastnn.formats.onnx_graph").run


def backprop(*sizes: int, seed: int = 0, **options: Any) -> Network:
    return Network(sizes, rule="backprop", **options).initialise("he", seed)


def images_model(*networks: Network, smoothing: float = 0, **options: Any) -> Model:
    names = tuple(f"class {k}" for k in range(networks[0].sizes[-1]))
    card = ModelCard(calibration=Calibration(label_smoothing=smoothing) if smoothing else None)
    return Model(networks, names, card=card, **options)


def rows_model(*networks: Network, **options: Any) -> Model:
    return Model(networks, tuple(f"name {k}" for k in range(networks[0].sizes[-1])), takes="rows", **options)


def scaling(*means: float) -> Scaling:
    return Scaling(np.array(means), 1 / (1 + np.arange(len(means), dtype=np.float64)))


MODELS = {
    "images, rule original": model(),
    "images, rule original, float64, inverted": dataclasses.replace(
        model(784, 6, 5, 10, dtype=np.float64), invert=True
    ),
    "images, two networks of rule original": images_model(network(), network(784, 7, 10, seed=1)),
    "images, softmax": images_model(backprop(784, 9, 10, activation="relu"), invert=True),
    "images, softmax, float64": images_model(backprop(784, 9, 10, activation="tanh", dtype=np.float64)),
    "images, calibrated": images_model(backprop(784, 9, 10, activation="relu", seed=4), smoothing=0.8),
    "images, all of it": images_model(
        backprop(784, 9, 10, activation="relu"),
        backprop(784, 5, 4, 10, activation="tanh", seed=1),
        backprop(784, 3, 10, activation="sigmoid", seed=2),
        invert=True,
        normalise=True,
        smoothing=0.8,
    ),
    "images, original calibrated": images_model(network(), normalise=True, smoothing=0.8),
    "images of 30 pixels": images_model(backprop(30, 9, 3, activation="relu"), invert=True),
    "rows, classes": rows_model(backprop(4, 9, 3, activation="relu")),
    "rows, rule original": rows_model(network(4, 5, 3)),
    "rows, no hidden layer": rows_model(backprop(4, 3)),
    "rows, scaled, float64": rows_model(backprop(4, 9, 3, dtype=np.float64), scaling=scaling(1, -2, 3, 0)),
    "rows, columns": row_model(),
    "rows, labels": rows_model(backprop(4, 9, 3, output="sigmoid"), backprop(4, 5, 3, output="sigmoid", seed=1)),
    "rows, regression": rows_model(
        backprop(4, 9, 1, activation="tanh", output="identity"), scaling=scaling(5, 5, 5, 5), target_scaling=scaling(70)
    ),
    "rows, two targets": rows_model(
        backprop(4, 9, 2, activation="relu", output="identity"),
        backprop(4, 5, 2, activation="relu", output="identity", seed=1),
        target_scaling=scaling(-3, 1000),
    ),
}


def samples_for(made: Model, n: int = 300) -> NDArray[Any]:
    rng = np.random.default_rng(0)
    if made.takes == "rows":
        return rng.normal(0, 3, (n, made.n_inputs)).astype(np.float32)
    if made.n_inputs != 784:
        return rng.integers(0, 256, (n, made.n_inputs), dtype=np.uint8)
    return load_dataset(f"drawn:{n}").images


def outputs_of(path: Path, samples: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Return all outputs of a file, by onnxruntime and nothing else."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (only,) = session.get_inputs()
    assert only.name == "input"
    names = [each.name for each in session.get_outputs()]
    return dict(zip(names, session.run(names, {"input": samples}), strict=True))


def expected(made: Model, samples: NDArray[Any]) -> NDArray[np.float64]:
    """Return what a model answers, computed in NumPy: tests elsewhere compare that with what the kernels compute."""
    x = samples.astype(np.float64)
    if made.takes == "images":
        if made.normalise:
            x = normalise_batch(samples, polarity="dark-on-light")[0].astype(np.float64)
        x = 1 - x / 255 if made.invert else x / 255
    elif made.scaling is not None:
        x = made.scaling.apply(x)
    mean = np.mean([net.outputs(x).astype(np.float64) for net in made.networks], axis=0)
    if made.task == "regression":
        return mean if made.target_scaling is None else made.target_scaling.undo(mean)
    return made.as_probabilities(mean)


def largest_difference(made: Model, found: NDArray[Any], samples: NDArray[Any]) -> float:
    return float(np.abs(found - expected(made, samples)).max())


@pytest.mark.parametrize("name", MODELS)
def test_every_kind_of_model_answers_the_same(name: str, tmp_path: Path) -> None:
    made, path = MODELS[name], tmp_path / "m.onnx"
    samples = samples_for(made)
    assert export(made, path).precision == made.network.dtype.name
    export(made, path, precision="float32", force=True)
    onnx.checker.check_model(path.read_bytes(), full_check=True)
    found = outputs_of(path, samples)
    if made.task == "regression":
        assert list(found) == ["predictions"]
        assert found["predictions"].shape == (300, len(made.names))
        size = np.abs(expected(made, samples)).max()
        assert largest_difference(made, found["predictions"], samples) < 1e-6 * size
        return
    probabilities = found["probabilities"]
    assert (probabilities.dtype, probabilities.shape) == (np.float32, (300, len(made.names)))
    assert largest_difference(made, probabilities, samples) < 1e-6
    chosen = found["label" if made.task == "classification" else "labels"]
    assert chosen.dtype == np.int64
    assert (chosen == decide(made.task, expected(made, samples))).all()
    assert len(np.unique(chosen)) > 1 or len(made.names) == 2
    if made.card.calibration is not None:  # some are at its floor, and others are not
        assert 0 < (probabilities < 1.5e-4).mean() < 0.9


@pytest.mark.parametrize("name", MODELS)
def test_float64_answers_the_same_and_the_others_nearly(name: str, tmp_path: Path) -> None:
    made, path = MODELS[name], tmp_path / "m.onnx"
    samples = samples_for(made, 100)
    size = max(1, np.abs(expected(made, samples)).max())
    double = made.network.dtype == np.float64
    for precision, limit in (("float64", 1e-13 if double else 1e-6), ("float16", 0.01), ("int8", 0.15)):
        export(made, path, precision=precision, force=True)
        onnx.checker.check_model(path.read_bytes(), full_check=True)
        given = samples.astype(np.float64) if precision == "float64" and made.takes == "rows" else samples
        answers = outputs_of(path, given)["predictions" if made.task == "regression" else "probabilities"]
        assert answers.dtype == (np.float64 if precision == "float64" else np.float32)
        assert largest_difference(made, answers, samples) < limit * size, precision


def test_any_number_of_samples_is_taken(tmp_path: Path) -> None:
    for name in ("images, all of it", "rows, regression"):
        made = MODELS[name]
        export(made, tmp_path / "m.onnx", force=True)
        for n in (1, 2, 50):
            some = samples_for(made, 50)[:n]
            for output in outputs_of(tmp_path / "m.onnx", some).values():
                assert len(output) == n
        assert run(tmp_path / "m.onnx", made, samples_for(made)[:0]).shape == (0, len(made.names))


def odd_images() -> NDArray[np.uint8]:
    """Return images that are hard to normalise, and some that are not: of every size, faint, blank, black, noise."""
    rng = np.random.default_rng(1)
    noise = rng.integers(0, 256, (50, 784), dtype=np.uint8)
    dots = np.where(rng.random((100, 784)) < 0.01, noise[0], 255)
    strokes = np.full((28, 28, 28, 28), 255)
    for height in range(28):
        for width in range(28):
            strokes[height, width, 27 - height : 28, 27 - width : 28] = rng.integers(0, 200)
    flat = np.repeat([[0], [100], [127], [128], [240], [255]], 784, axis=1)
    faint = 255 - (255 - load_dataset("drawn:30").images) // 12
    return np.concatenate([noise, dots, strokes.reshape(784, 784), flat, faint]).astype(np.uint8)


def test_the_graph_normalises_to_the_same_grey_levels() -> None:
    from fastnn.formats.onnx_nodes import Graph, Session
    from fastnn.formats.onnx_normalise import normalised

    graph = Graph()
    graph.output("normalised", normalised(graph, graph.input("input", np.uint8, ("n", 784))), ("n", 784))
    session = Session(graph.dump({}, ("a test", "1")))
    moved = np.roll(load_dataset("drawn:200").images.reshape(-1, 28, 28), (3, -4), axis=(1, 2)).reshape(-1, 784)
    for images in (odd_images(), load_dataset("drawn:500").images, moved):
        expected, blank = normalise_batch(images, polarity="dark-on-light")
        found = session.run("normalised", images)
        assert not blank.all()
        assert not (expected == images).all()
        assert (found == expected).all()


@pytest.fixture(scope="module")
def trained(shared: Path) -> Model:
    """Return a model that has learned some of MNIST, with everything that the preset modern does."""
    recipe = Recipe(
        name="test", rule="backprop", activation="relu", hidden=(40,), epochs=2, lr=0.02, init="he",
        invert=True, normalise=True, ensemble=2, label_smoothing=0.1,
    )  # fmt: skip
    data = load_dataset(str(shared / "mnist"))
    return fastnn.fit(data.take(np.arange(4000)), recipe, progress=False)


def mnist_digits(shared: Path) -> Any:
    data = load_dataset(str(shared / "mnist"))
    return data.test


def test_ten_thousand_digits_get_the_same_answers(trained: Model, shared: Path, tmp_path: Path) -> None:
    digits = mnist_digits(shared)
    assert len(digits) == 10_000
    assert trained.card.calibration is not None
    export(trained, tmp_path / "m.onnx")
    agreement = check_export(tmp_path / "m.onnx", trained, digits)
    assert agreement.same == agreement.total == 10_000
    assert agreement.largest_difference < 1e-6
    assert agreement.score == agreement.model_score
    assert agreement.score is not None
    assert agreement.score > 0.9


def test_smaller_weights_keep_the_accuracy(
    trained: Model, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    digits = mnist_digits(shared).take(np.arange(2000))
    for folder in ("temporary", "out"):
        (tmp_path / folder).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    sizes = []
    for precision in ("float64", "float32", "float16", "int8"):
        path = tmp_path / "out" / f"{precision}.onnx"
        sizes.append(export(trained, path, precision=precision).size)
        agreement = check_export(path, trained, digits)
        assert agreement.same >= (1980 if precision == "int8" else 1998)
        assert path.stat().st_size == sizes[-1]
    assert sizes == sorted(sizes, reverse=True)
    n_weights = sum(net.n_parameters for net in trained.networks)
    assert sizes[-1] < n_weights * 1.1 + 50_000
    assert sorted(path.name for path in tmp_path.rglob("*")) == [
        "float16.onnx", "float32.onnx", "float64.onnx", "int8.onnx", "out", "temporary"
    ]  # fmt: skip
    assert capfd.readouterr() == ("", "")


def test_the_file_says_what_it_holds(tmp_path: Path) -> None:
    card = ModelCard(
        recipe=Recipe(name="mine", hidden=(9,)),
        data=DataCard(source="ä.csv", description="all of ä.csv", hash="abc"),
        calibration=Calibration(label_smoothing=0.1),
    )
    made = images_model(backprop(784, 9, 3, activation="relu"), normalise=True)
    export(dataclasses.replace(made, card=card), tmp_path / "m.onnx", precision="int8")
    proto = onnx.load(tmp_path / "m.onnx")
    assert [(each.domain, each.version) for each in proto.opset_import] == [("", 18)]
    assert (proto.producer_name, proto.producer_version) == ("fastnn", fastnn.__version__)
    session = onnxruntime.InferenceSession(str(tmp_path / "m.onnx"), providers=["CPUExecutionProvider"])
    found = session.get_modelmeta().custom_metadata_map
    assert json.loads(found["classes"]) == ["class 0", "class 1", "class 2"]
    assert json.loads(found["recipe"])["hidden"] == [9]
    assert json.loads(found["calibration"]) == {"label_smoothing": 0.1}
    wanted = {"fastnn_version": fastnn.__version__, "takes": "images", "task": "classification", "data_hash": "abc"}
    wanted |= {"data": "all of ä.csv", "normalises": "true", "normalise_first": "false", "precision": "int8"}
    assert wanted.items() <= found.items()
    assert found["weights_sha256"] == made.sha256()

    export(dataclasses.replace(row_model(), names=("\udcff", "y")), tmp_path / "rows.onnx")  # not UTF-8
    session = onnxruntime.InferenceSession(str(tmp_path / "rows.onnx"), providers=["CPUExecutionProvider"])
    found = session.get_modelmeta().custom_metadata_map
    assert json.loads(found["columns"])[1]["name"] == "colour"
    assert json.loads(found["classes"]) == ["?", "y"]
    assert not {"recipe", "data_hash", "normalises"} & found.keys()


def test_the_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    for precision in ("float32", "int8"):
        for name in ("a.onnx", "b.onnx"):
            export(MODELS["images, all of it"], tmp_path / name, precision=precision, force=True)
        assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def table_of(made: Model, features: Any) -> Dataset:
    """Return a table with these features, and 0 for all targets."""
    targets = np.zeros((len(features), len(made.names)))
    return Dataset(
        features, targets[:, 0].astype(int) if made.task == "classification" else targets, made.names, "a test"
    )


def far_column() -> Model:
    return rows_model(backprop(2, 3, 2), scaling=Scaling(np.array([0.0, 1.7e9]), np.array([1.0, 1e-4])))


def large_weights() -> Model:
    made = backprop(2, 3, 2, activation="tanh")
    made.weights[0][...] = 1e5
    return rows_model(made)


def test_what_a_precision_cannot_hold_is_refused_with_the_fix(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    for made, precision, fault in (
        (far_column(), "float32", "column 1 has a mean or a standard deviation .*; choose --precision float64"),
        (large_weights(), "float16", "its weights are too large for float16; choose --precision float32"),
        (images_model(backprop(30, 2), normalise=True), "float32", "normalises images of 784 pixels"),
    ):
        with pytest.raises(ModelError, match=f"m.onnx: .*{fault}"):
            export(made, path, precision=precision)
        assert not path.exists()
    rows = np.array([[0.5, 1.7e9], [0.5, 1.7e9 + 20_000], [0, 1.7e9 - 50_000]])
    export(far_column(), path, precision="float64")
    assert largest_difference(far_column(), outputs_of(path, rows)["probabilities"], rows) < 1e-6
    export(large_weights(), path, precision="float32", force=True)
    with pytest.raises(ModelError, match="too large for float32; choose --precision float64"):
        check_export(path, large_weights(), table_of(large_weights(), np.full((9, 2), 1e200)))


def test_sparse_rows_are_verified_too(tmp_path: Path) -> None:
    made = MODELS["rows, two targets"]
    rows = np.where(np.random.default_rng(0).random((60, 4)) < 0.3, 2.5, 0)
    starts = np.concatenate([[0], np.cumsum((rows != 0).sum(axis=1))])
    sparse = SparseRows(rows[rows != 0], np.nonzero(rows)[1].astype(np.int32), starts, 4)
    export(made, tmp_path / "m.onnx")
    agreement = check_export(tmp_path / "m.onnx", made, table_of(made, sparse))
    assert (agreement.same, agreement.total) == (60, 60)
    assert agreement.score == agreement.model_score


def test_changed_files_are_refused_and_other_models_are_seen(tmp_path: Path) -> None:
    made, path = MODELS["rows, classes"], tmp_path / "m.onnx"
    table = table_of(made, samples_for(made, 60))
    export(made, path)
    content = path.read_bytes()
    for wrong in (b"", b"\0" * 500, content[:-1], content + b"\0", content.replace(b"Relu", b"Tanh", 1)):
        path.write_bytes(wrong)
        with pytest.raises(ModelError, match=r"m.onnx: not an ONNX file as fastnn wrote it; export the model again"):
            check_export(path, made, table)
    path.write_bytes(content)
    assert check_export(path, made, table).same == 60
    other = rows_model(backprop(4, 9, 3, activation="relu", seed=5))
    assert check_export(path, other, table).same < 60


def test_the_command_writes_and_verifies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_model(dataclasses.replace(MODELS["images, all of it"], names=DIGITS), "m.safetensors")
    arguments = ["export", "m.safetensors", "m.onnx", "--verify", "--data", "drawn:100"]
    result = invoke(arguments)
    assert result.exit_code == 0, result.output
    assert "ONNX, weights in float32" in result.stdout
    assert "100 of 100 samples get the same class" in " ".join(result.stdout.split())
    result = invoke([*arguments, "--force", "--json", "--precision", "int8"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["precision"] == "int8"
    assert json.loads(result.stdout)["agreement"]["total"] == 100


NO_ONNX = """
import sys
sys.modules["onnx"] = None
from fastnn.cli import main
sys.argv = ["fastnn", "export", "m.safetensors", "m.onnx"]
main()
"""


def test_without_onnx_the_error_names_the_extra(tmp_path: Path) -> None:
    save_model(MODELS["rows, classes"], tmp_path / "m.safetensors")
    result = run_python(NO_ONNX, cwd=tmp_path)
    assert result.returncode == 2, result.stderr
    assert " ".join(result.stderr.split()) == (
        "fastnn: exporting to ONNX needs the extra [onnx]: pip install 'fastnn-trainer[onnx]'"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["m.safetensors"]


SILENT = """
import os, sys
from fastnn.formats import load_model
from fastnn.formats.export import export
from fastnn.formats.onnx_graph import run
for precision in ("float32", "int8"):
    export(load_model("m.safetensors"), "m.onnx", precision=precision, force=True)
    run("m.onnx", load_model("m.safetensors"), [[1, 2, 3, 4]])
assert "onnxruntime" in sys.modules
assert "ORT_DISABLE_TELEMETRY" not in os.environ
"""


def test_onnxruntime_leaves_nothing_in_the_users_folders(tmp_path: Path) -> None:
    for name in ("home", "work"):
        (tmp_path / name).mkdir()
    save_model(MODELS["rows, classes"], tmp_path / "work" / "m.safetensors")
    folders = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "TMPDIR"), str(tmp_path / "home"))
    result = run_python(SILENT, cwd=tmp_path / "work", ORT_DISABLE_TELEMETRY=None, **folders)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert list((tmp_path / "home").iterdir()) == []


def test_one_file_imports_onnx() -> None:
    found = [
        path.name
        for path in (ROOT / "fastnn").rglob("*.py")
        if any(line.strip().startswith(("import onnx", "from onnx")) for line in path.read_text().splitlines())
    ]
    assert found == ["onnx_nodes.py"]
