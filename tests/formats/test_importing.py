"""Networks that come back: from fastnn's own exports, scikit-learn, PyTorch and bare arrays."""

from __future__ import annotations

import io
import json
import pickle
import shutil
import warnings
import zipfile
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import safetensors.numpy

from fastnn.datasets.scaling import Scaling
from fastnn.datasets.sparse import SparseRows
from fastnn.errors import FastnnError, ModelError
from fastnn.formats import c_header, load_model
from fastnn.formats.export import export
from fastnn.formats.foreign import Facts
from fastnn.formats.importing import import_network
from tests.formats.all_kinds import KINDS
from tests.models import model, row_model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from fastnn.network import Network

    Arrays = dict[str, NDArray[Any]]

ROWS = Facts(activation="relu", task="classification", takes="rows", names=("a", "b", "c"))


@pytest.mark.parametrize("ending", [".npz", ".pt", ".safetensors"])
@pytest.mark.parametrize("name", KINDS)
def test_what_fastnn_exports_is_read_again(name: str, ending: str, tmp_path: Path) -> None:
    made = KINDS[name]().model
    path = export(made, tmp_path / f"m{ending}").path
    for again in (load_model(path), import_network(path)):
        assert again.sha256() == made.sha256()
        assert (again.card, again.names, again.columns) == (made.card, made.names, made.columns)
        assert (again.invert, again.normalise, again.takes) == (made.invert, made.normalise, made.takes)
        for mine, other in ((made.scaling, again.scaling), (made.target_scaling, again.target_scaling)):
            assert (mine is None) == (other is None)
            if mine is not None and other is not None:
                assert np.array_equal([mine.mean, mine.factor], [other.mean, other.factor])
    with pytest.raises(ModelError, match="leave out the options"):
        import_network(path, ROWS)


@pytest.mark.parametrize("ending", [".npz", ".pt"])
def test_own_exports_are_checked_as_model_files_are(ending: str, tmp_path: Path) -> None:
    path = export(model(4, 3, 2), tmp_path / f"m{ending}").path
    if ending == ".npz":
        arrays = dict(np.load(path))
        arrays["layers.0.weight"] = arrays["layers.0.weight"][:3]
        np.savez(path, **arrays)
    else:
        content = path.read_bytes()
        path.write_bytes(content.replace(rb'"sizes\":[4,3,2]', rb'"sizes\":[5,3,2]'))
    with pytest.raises(ModelError, match=r"m\.(npz|pt): the tensor layers\.0\.weight is F32 of shape"):
        load_model(path)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.skops", b"PK\x03\x04 cut off", "a.skops: not a .skops file, or damaged"),
        ("a.npz", b"PK\x03\x04 cut off", "a.npz: not an .npz file, or damaged"),
        ("a.onnx", b"\x08\x08", "exports to .onnx, .html and .h are not read back"),
        ("a.html", b"<!doctype html>", "exports to .onnx, .html and .h are not read back"),
        ("a.pkl", b"\x80\x04N.", "pickles are never read, since they can run any code: store"),
        ("a.txt", b"text", "a network of the original's (JSON)"),
    ],
)
def test_the_message_fits_the_kind_of_file(name: str, content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    for read in (load_model, import_network):
        with pytest.raises(ModelError) as error:
            read(tmp_path / name)
        assert words in str(error.value)


@pytest.mark.parametrize("file", ["a.npz", "a.safetensors"])
def test_loading_a_network_of_another_program_leads_to_import(file: str, tmp_path: Path) -> None:
    path = _save(tmp_path / file, _named(_weights(5, 3), "{1}.weight", "{1}.bias", turned=True))
    with pytest.raises(ModelError, match=r"not a model of fastnn .*fastnn import"):
        load_model(path)


def test_sparse_rows_are_answered_as_dense_ones(tmp_path: Path) -> None:
    pytest.importorskip("skops.io")
    from scipy.sparse import csr_array

    kind = KINDS["rows"]()
    rows = kind.samples * (kind.samples > 0.5)
    sparse = SparseRows.from_scipy(csr_array(rows))
    path = export(kind.model, tmp_path / "m.skops").path
    from fastnn.formats import sklearn_network

    found = sklearn_network.run(path, kind.model, sparse)
    assert np.abs(found - kind.model.answers(rows)).max() < 2e-6
    if shutil.which("gcc") is not None:
        header = export(kind.model, tmp_path / "m.h").path
        assert np.abs(c_header.run(header, kind.model, sparse) - found).max() < 2e-6


# ---- PyTorch and bare arrays ----


def _weights(*sizes: int, seed: int = 0) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    rng = np.random.default_rng(seed)
    return [
        (rng.normal(size=(n_in, n_out)).astype(np.float32), rng.normal(size=n_out).astype(np.float32))
        for n_in, n_out in pairwise(sizes)
    ]


def _named(layers: Any, weight: str, bias: str, *, turned: bool) -> Arrays:
    arrays = {}
    for number, (w, b) in enumerate(layers):
        arrays[weight.format(number, 2 * number)] = np.ascontiguousarray(w.T if turned else w)
        arrays[bias.format(number, 2 * number, 2 * number + 1)] = b
    return arrays


def _save(path: Path, arrays: Arrays) -> Path:
    if path.suffix == ".npz":
        np.savez(path, **arrays)  # type: ignore[arg-type]
    else:
        safetensors.numpy.save_file(arrays, path)
    return path


def _relu_softmax(layers: Any, rows: NDArray[Any]) -> NDArray[Any]:
    x = rows
    for depth, (w, b) in enumerate(layers):
        x = x @ w.astype(np.float64) + b
        if depth < len(layers) - 1:
            x = np.maximum(x, 0)
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True))


@pytest.mark.parametrize(
    ("file", "weight", "bias", "turned"),
    [
        ("a.safetensors", "{1}.weight", "{1}.bias", True),
        ("a.safetensors", "layers.{0}.weight", "layers.{0}.bias", True),
        ("a.safetensors", "net.fc{0}.weight", "net.fc{0}.bias", True),
        ("a.npz", "W{0}", "b{0}", False),
        ("a.npz", "W{0}", "b{0}", True),
        ("a.npz", "coefs_{0}", "intercepts_{0}", False),
        ("a.npz", "arr_{1}", "arr_{2}", False),
    ],
)
def test_layers_are_found_by_names_and_shapes(file: str, weight: str, bias: str, turned: bool, tmp_path: Path) -> None:
    # Eleven layers, so that names in alphabetical order would be in the wrong one.
    layers = _weights(5, *[4, 6] * 5, 3)
    path = _save(tmp_path / file, _named(layers, weight, bias, turned=turned))
    found = import_network(path, ROWS)
    rows = np.random.default_rng(1).normal(size=(7, 5))
    assert found.sizes == (5, *[4, 6] * 5, 3)
    assert np.allclose(found.predict_proba(rows), _relu_softmax(layers, rows), atol=1e-4)
    assert found.network.dtype == np.float32


def test_square_layers_of_pytorch_have_its_orientation(tmp_path: Path) -> None:
    layers = _weights(3, 3, 3)
    arrays = _named(layers, "{1}.weight", "{1}.bias", turned=True)
    found = import_network(_save(tmp_path / "a.safetensors", arrays), ROWS)
    assert np.array_equal(found.network.weights[0], layers[0][0])
    with pytest.raises(ModelError, match="square"):
        import_network(_save(tmp_path / "a.npz", arrays), ROWS)


def test_a_layer_without_biases_and_float16(tmp_path: Path) -> None:
    arrays: Arrays = {"0.weight": np.ones((4, 2), np.float16), "2.weight": np.ones((3, 4), np.float16)}
    arrays["2.bias"] = np.ones(3, np.float16)
    found = import_network(_save(tmp_path / "a.safetensors", arrays), ROWS)
    assert found.network.dtype == np.float32
    assert not found.network.biases[0].any()
    assert (found.network.biases[1] == 1).all()


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (Facts(), ["--activation", "--task", "--takes", "--classes"]),
        (Facts(activation="relu", takes="images"), ["--task", "--classes", "--invert"]),
        (Facts("relu", "classification", "rows", names=("a", "b")), ["3 outputs", "2 names"]),
        (Facts("relu", "classification", "rows", names=("a", "b", "a")), ["same name"]),
        (Facts("relu", "classification", "rows", True, ("a", "b", "c")), ["--invert"]),
        (Facts("relu", "regression", "images", True, ("a", "b", "c")), ["--takes rows"]),
        (Facts("relu", "classification", "rows", names=("a", "b", "c"), std=0.0), ["--std"]),
        (Facts("relu", "classification", "rows", names=("a", "b", "c"), mean=float("nan")), ["--mean"]),
    ],
)
def test_nothing_is_guessed(facts: Facts, words: list[str], tmp_path: Path) -> None:
    path = _save(tmp_path / "a.safetensors", _named(_weights(5, 4, 3), "{1}.weight", "{1}.bias", turned=True))
    with pytest.raises(ModelError, match=r"a\.safetensors: ") as caught:
        import_network(path, facts)
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"conv.weight": (3, 3, 2, 2)}, "fully connected"),
        ({"0.weight": (4, 5), "1.weight": (3, 3)}, "chain"),
        ({"0.weight": (4, 5), "0.bias": (3,)}, "chain"),
        ({"fc.weight": (4, 5), "out.weight": (3, 4)}, "order"),
        ({"0.weight": (4, 5), "5.bias": (4,)}, "which biases"),
        ({"0.weight": (4, 5), "1.weight": (3, 4), "1.running_mean": (4,), "0.bias": (4,)}, "biases"),
        ({"0.weight": (0, 5)}, "fully connected"),
        ({"b": (5,)}, "no matrix"),
        ({f"{k}.weight": (2, 2) for k in range(64)} | {f"{k}.bias": (2,) for k in range(64)}, "128 arrays"),
        ({"1.weight": (4, 4), "01.weight": (4, 4)}, "same number"),
    ],
)
def test_other_tensors_are_refused(arrays: dict[str, tuple[int, ...]], words: str, tmp_path: Path) -> None:
    content = {name: np.ones(shape, np.float32) for name, shape in arrays.items()}
    with pytest.raises(ModelError, match=rf"a\.safetensors: .*{words}"):
        import_network(_save(tmp_path / "a.safetensors", content), ROWS)


def test_integers_and_pickles_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="store it as float32"):
        import_network(_save(tmp_path / "a.npz", {"W": np.ones((5, 3), np.int64)}), ROWS)
    np.savez(tmp_path / "b.npz", W=np.array([None]))
    with pytest.raises(ModelError, match=r"b\.npz"):
        import_network(tmp_path / "b.npz", ROWS)
    with zipfile.ZipFile(tmp_path / "c.pt", "w") as archive:
        archive.writestr("c/data.pkl", pickle.dumps({}))
    with pytest.raises(ModelError, match=r"c\.pt: holds a pickle, .*save_file"):
        import_network(tmp_path / "c.pt", ROWS)


@pytest.mark.parametrize("std", [1e-300, 1.0])
def test_weights_that_become_too_large_are_refused(std: float, tmp_path: Path) -> None:
    arrays: Arrays = {"0.weight": np.full((3, 5), 1e30, np.float32), "0.bias": np.full(3, 1e300)}
    path = _save(tmp_path / "a.safetensors", arrays)
    with pytest.raises(ModelError, match="NaN or infinity"):
        import_network(path, Facts(None, "classification", "images", True, ("a", "b", "c"), 0.5, std))


def test_scaling_that_scikit_learn_cannot_hold_is_refused() -> None:
    pytest.importorskip("sklearn")
    kind = KINDS["rows, standardised, float64"]()
    scaling = Scaling(np.zeros(5), np.full(5, 1e308))
    with pytest.raises(ModelError, match="too large"):
        replace(kind.model, scaling=scaling, networks=(_large(kind.model.network),)).to_sklearn()


def _large(network: Network) -> Network:
    copied = network.copy()
    copied.weights[0][...] = 1e9
    return copied


def test_one_output_is_the_second_of_two_classes(tmp_path: Path) -> None:
    layers = _weights(5, 4, 1)
    path = _save(tmp_path / "a.safetensors", _named(layers, "{1}.weight", "{1}.bias", turned=True))
    found = import_network(path, Facts("relu", "classification", "rows", names=("no", "yes")))
    rows = np.random.default_rng(1).normal(size=(7, 5))
    z = np.maximum(rows @ layers[0][0] + layers[0][1], 0) @ layers[1][0] + layers[1][1]
    assert np.allclose(found.predict_proba(rows)[:, 1:], 1 / (1 + np.exp(-z)), atol=1e-6)
    for names in (("yes",), ("a", "b", "c")):  # the softmax of one output is always 1
        with pytest.raises(ModelError, match="one output tells two classes apart"):
            import_network(path, Facts("relu", "classification", "rows", names=names))


@pytest.mark.parametrize("invert", [True, False])
def test_images_that_were_standardised(invert: bool, tmp_path: Path) -> None:
    """As torchvision's Normalize does."""
    layers = _weights(16, 4, 3)
    path = _save(tmp_path / "a.safetensors", _named(layers, "{1}.weight", "{1}.bias", turned=True))
    facts = Facts("relu", "classification", "images", invert, ("a", "b", "c"), 0.1307, 0.3081)
    images = np.random.default_rng(1).integers(0, 256, (7, 16)).astype(np.uint8)
    x = (255.0 - images if invert else images) / 255
    expected = _relu_softmax(layers, (x - 0.1307) / 0.3081)
    assert np.allclose(import_network(path, facts).predict_proba(images), expected, atol=1e-5)


def test_rows_that_were_standardised(tmp_path: Path) -> None:
    layers = _weights(5, 3)
    path = _save(tmp_path / "a.npz", _named(layers, "W", "b", turned=False))
    rows = np.random.default_rng(1).normal(10, 3, (7, 5))
    found = import_network(path, Facts(None, "classification", "rows", None, ("a", "b", "c"), 10.0, 3.0))
    assert found.scaling is not None
    assert np.allclose(found.predict_proba(rows), _relu_softmax(layers, (rows - 10) / 3), atol=1e-5)


# ---- scikit-learn ----

REFUSED = {
    "original": "rule original", "original, float64": "rule original",
    "original, inverted, ensemble": "several networks", "calibrated": "calibrated",
    "calibrated ensemble": "several networks", "normalises": "normalises",
    "regression, standardised, ensemble": "several networks",
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_scikit_learn_gives_the_same_answers(name: str, tmp_path: Path) -> None:
    pytest.importorskip("skops.io")
    kind = KINDS[name]()
    path = tmp_path / "m.skops"
    if name in REFUSED:
        with pytest.raises(ModelError, match=rf"m\.skops: .*{REFUSED[name]}"):
            export(kind.model, path)
        assert not path.exists()
        return
    export(kind.model, path)
    from fastnn.formats import sklearn_network

    expected = kind.model.answers(kind.samples)
    size = max(1.0, np.abs(expected).max())
    tolerance = 1e-10 if kind.model.network.dtype == np.float64 else 2e-6
    found = sklearn_network.run(path, kind.model, kind.samples)
    assert np.abs(found - expected).max() <= tolerance * size
    if kind.model.task == "classification":
        again = import_network(path)
        assert again.names == tuple(sorted(kind.model.names))
        order = [kind.model.names.index(each) for each in again.names]
        rows = kind.samples.astype(np.float64)
        assert np.abs(again.predict_proba(rows) - expected[:, order]).max() <= 1e-5
    else:
        again = import_network(path, Facts(names=kind.model.names))
        assert np.abs(again.answers(kind.samples) - expected).max() <= 1e-4 * size
    assert again.task == kind.model.task


def test_names_that_numpy_would_shorten_are_refused() -> None:
    pytest.importorskip("sklearn")
    with pytest.raises(ModelError, match="null character"):
        replace(row_model(), names=("a\0", "b")).to_sklearn()


def test_the_estimator_is_scikit_learns_own() -> None:
    neural = pytest.importorskip("sklearn.neural_network")
    from sklearn.base import clone
    from sklearn.inspection import permutation_importance

    kind = KINDS["softmax"]()
    rows = kind.samples.astype(np.float64)
    numbers = kind.model.to_sklearn(classes=[30, 10, 20, 0])
    assert type(numbers) is neural.MLPClassifier
    assert numbers.classes_.tolist() == [0, 10, 20, 30]
    assert numbers.predict(rows).tolist() == [[30, 10, 20, 0][k] for k in kind.model.predict(kind.samples)]
    assert (numbers.n_features_in_, numbers.n_layers_, numbers.n_outputs_) == (36, 3, 4)
    assert [part.shape for part in numbers.coefs_] == [(36, 7), (7, 4)]
    assert clone(numbers).get_params()["hidden_layer_sizes"] == (7,)
    found = permutation_importance(numbers, rows, numbers.predict(rows), n_repeats=1, random_state=0)
    assert found.importances_mean.any()
    for classes in ([1, 2], [1, 1, 2, 3]):
        with pytest.raises(ModelError, match="classes must be"):
            kind.model.to_sklearn(classes=classes)
    regressor = KINDS["regression"]().model.to_sklearn()
    assert type(regressor) is neural.MLPRegressor


def _fitted(kind: str) -> tuple[Any, NDArray[Any]]:
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng(0)
    rows = rng.normal(5, [1, 10, 0.1], (60, 3))
    score = (rows - 5) @ [1, 0.1, 10]
    options: Any = {"hidden_layer_sizes": (4,), "max_iter": 20, "random_state": 0}
    made, targets = {
        "binary": (MLPClassifier(**options), np.where(score > 0, "yes", "no")),
        "classes": (MLPClassifier(activation="tanh", solver="sgd", **options), (score // 1.0).clip(-1, 1).astype(int)),
        "labels": (MLPClassifier(activation="logistic", **options), np.stack([score > 0, score < 1, score > 2], 1) * 1),
        "numbers": (MLPRegressor(**options), score),
        "two numbers": (MLPRegressor(solver="lbfgs", **options), np.stack([score, -score], 1)),
        "pipeline": (make_pipeline(StandardScaler(), MLPClassifier(**options)), score > 0),
        "no mean": (make_pipeline(StandardScaler(with_mean=False), MLPClassifier(**options)), score > 0),
    }[kind]
    with warnings.catch_warnings(action="ignore"):  # 20 epochs are not enough
        return made.fit(rows, targets), rows


@pytest.mark.parametrize("kind", ["binary", "classes", "labels", "numbers", "two numbers", "pipeline", "no mean"])
def test_networks_that_scikit_learn_trained(kind: str, tmp_path: Path) -> None:
    skops = pytest.importorskip("skops.io")
    from fastnn.sklearn import from_sklearn

    estimator, rows = _fitted(kind)
    names = {"labels": ("p", "q", "r"), "numbers": ("y",), "two numbers": ("y0", "y1")}.get(kind)
    skops.dump(estimator, tmp_path / "m.skops")
    if names is not None:
        with pytest.raises(ModelError, match=r"m\.skops: does not say the names of the outputs"):
            import_network(tmp_path / "m.skops")
    live = from_sklearn(estimator, names=names)
    stored = import_network(tmp_path / "m.skops", Facts(names=names))
    assert live.sha256() == stored.sha256()
    answers = live.answers(rows)
    if kind in ("numbers", "two numbers"):
        assert from_sklearn(estimator).names == names
        assert np.allclose(answers, estimator.predict(rows).reshape(60, -1))
    else:
        assert np.allclose(answers, estimator.predict_proba(rows), atol=1e-12)
        if kind != "labels":
            assert live.names == tuple(map(str, estimator.classes_))
    with pytest.raises(ModelError, match=r"m\.skops: its task is"):
        import_network(tmp_path / "m.skops", Facts(task="multilabel" if kind != "labels" else "regression"))


def test_images_that_scikit_learn_was_trained_on() -> None:
    from fastnn.sklearn import from_sklearn

    kind = KINDS["softmax"]()
    estimator = kind.model.to_sklearn()  # takes grey levels from 0 to 255
    found = from_sklearn(estimator, invert=False, std=1 / 255)
    assert found.takes == "images"
    order = [kind.model.names.index(name) for name in found.names]
    assert np.allclose(found.predict_proba(kind.samples), kind.model.predict_proba(kind.samples)[:, order], atol=1e-6)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda made: made.set_params(activation="identity"), "identity"),
        (lambda made: made.coefs_.append(np.ones((3, 3))), "damaged"),
        (lambda made: made.coefs_.__setitem__(0, np.ones((3, 9))), "fit"),
        (lambda made: made.coefs_.__setitem__(0, "text"), "damaged"),
        (lambda made: setattr(made, "coefs_", None), "damaged"),
        (lambda made: setattr(made, "out_activation_", "exp"), "exp"),
        (lambda made: delattr(made, "coefs_"), "not fitted"),
        (lambda made: made.coefs_[0].fill(np.nan), "NaN"),
    ],
)
def test_estimators_that_fastnn_has_not(change: Callable[[Any], None], words: str) -> None:
    pytest.importorskip("sklearn")
    from fastnn.sklearn import from_sklearn

    estimator, _ = _fitted("numbers")
    change(estimator)
    with pytest.raises(ModelError, match=words):
        from_sklearn(estimator)


def test_only_perceptrons_are_read() -> None:
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MinMaxScaler, StandardScaler

    from fastnn.sklearn import from_sklearn

    estimator, _ = _fitted("numbers")
    for other, words in (
        (Ridge(), "Ridge"), (make_pipeline(MinMaxScaler(), estimator), "StandardScaler"),
        (make_pipeline(StandardScaler(), estimator), "not fitted"), (3, "int"),
    ):  # fmt: skip
        with pytest.raises(ModelError, match=words):
            from_sklearn(other)


def _rewritten(content: bytes, change: Callable[[dict[str, bytes]], None]) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, part in members.items():
            archive.writestr(name, part)
    return file.getvalue()


def _with_schema(old: str, new: str) -> Callable[[dict[str, bytes]], None]:
    def change(members: dict[str, bytes]) -> None:
        text = members["schema.json"].decode()
        assert old in text
        members["schema.json"] = text.replace(old, new).encode()

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_with_schema('"sklearn.preprocessing._label"', '"os"'), "os.LabelBinarizer, which is not trusted"),
        (_with_schema('"LabelBinarizer"', '"Binarizer"'), "not trusted"),
        (_with_schema('"ObjectNode"', '"FunctionNode"'), "FunctionNode, which is not trusted"),
        (lambda members: members.update({"other.txt": b"x"}), "other.txt"),
        (lambda members: members.update({"bomb.npy": bytes(80 << 20)}), "unpacks to"),
        (lambda members: members.update({"schema.json": b"[" * 99_999}), "damaged"),
        (lambda members: members.update({"schema.json": b"{}"}), "damaged"),
        (lambda members: members.pop("schema.json"), "it has no schema.json"),
        (_with_schema('"content"', '"contents"'), "damaged|not fitted"),
    ],
)
def test_hostile_skops_files_are_refused(
    change: Callable[[dict[str, bytes]], None], words: str, tmp_path: Path
) -> None:
    skops = pytest.importorskip("skops.io")
    content = skops.dumps(_fitted("binary")[0])
    (tmp_path / "m.skops").write_bytes(_rewritten(content, change))
    with pytest.raises(FastnnError, match=rf"m\.skops: .*({words})"):
        import_network(tmp_path / "m.skops")


def test_other_estimators_in_skops_are_refused(tmp_path: Path) -> None:
    skops = pytest.importorskip("skops.io")
    from sklearn.linear_model import Ridge

    for other in (Ridge(), {"a": 1}):
        skops.dump(other, tmp_path / "m.skops")
        with pytest.raises(ModelError, match=r"m\.skops: .*(not trusted|is a dict)"):
            import_network(tmp_path / "m.skops")


def test_importing_needs_scikit_learn_only_for_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "skops.io", None)
    with pytest.raises(FastnnError, match=r"fastnn-trainer\[skops\]"):
        export(KINDS["rows"]().model, tmp_path / "m.skops")
    with zipfile.ZipFile(tmp_path / "m.skops", "w") as archive:
        archive.writestr("schema.json", json.dumps({}))
    with pytest.raises(FastnnError, match=r"fastnn-trainer\[skops\]"):
        import_network(tmp_path / "m.skops")
