import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

import fastnn
from fastnn.formats import load_model, save_model
from tests.helpers import invoke
from tests.models import model, network, row_model


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("runs") / "run"
    recipe = fastnn.Recipe(hidden=(5, 4), epochs=1)
    fastnn.fit("drawn:200", recipe, out=folder, progress=False)
    return str(folder)


@pytest.mark.parametrize(
    ("name", "words"), [("out.json", "NN.json of the original"), ("out.safetensors", "model file")]
)
def test_a_file_is_written_and_verified(run: str, name: str, words: str) -> None:
    result = invoke(["export", run, name, "--verify"])
    assert result.exit_code == 0, result.output
    assert words in result.stdout
    assert "20 of 20 samples get the same class" in result.stdout
    assert load_model(name).network.sizes == (784, 5, 4, 10)


def test_json_has_the_figures_of_the_verification(run: str) -> None:
    result = invoke(["export", run, "out.safetensors", "--verify", "--data", "drawn:30", "--json"])
    found = json.loads(result.stdout)
    assert found["path"] == "out.safetensors"
    assert found["size"] == Path("out.safetensors").stat().st_size
    assert found["precision"] == "float32"
    agreement = found["agreement"]
    assert (agreement["total"], agreement["same"], agreement["largest_difference"]) == (30, 30, 0)
    assert (
        agreement["score"]
        == agreement["model_score"]
        == fastnn.evaluate(load_model(run), fastnn.load_dataset("drawn:30")).accuracy
    )


def test_the_precision_is_that_of_the_file(run: str) -> None:
    """The run is of float32, but both formats hold float64."""
    result = invoke(["export", run, "out.json"])
    assert "weights in float64" in result.stdout
    result = invoke(["export", run, "other.json", "--precision", "float32"])
    assert (result.exit_code, Path("other.json").exists()) == (2, False)
    assert "choose float64" in result.stderr
    pytest.importorskip("skops")
    assert fastnn.export(row_model(), "out.skops").precision == "float64"


def test_a_regression_is_verified_by_its_r2() -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((100, 3))
    lines = [f"{a},{b},{c},{a + b - c}" for a, b, c in rows.tolist()]
    Path("sums.csv").write_text("\n".join(["a,b,c,sum", *lines]))
    recipe = fastnn.presets["table"].replace(epochs=5)
    fastnn.fit(fastnn.load_dataset("sums.csv", target="sum", task="regression"), recipe, out="sums", progress=False)
    result = invoke(["export", "sums", "sums.h", "--precision", "int8", "--verify", "--data", "sums.csv"])
    assert result.exit_code == 0, result.output
    assert "samples get the same numbers" in result.stdout
    assert result.stdout.count("R2 0.9") == 2


def test_arrays_have_the_names_of_the_layers(run: str) -> None:
    for name in ("out.npz", "out.pt"):
        assert invoke(["export", run, name]).exit_code == 0
    trained = load_model(run).network
    with np.load("out.npz") as arrays:
        for layer, (weights, biases) in enumerate(zip(trained.weights, trained.biases, strict=True)):
            assert np.array_equal(arrays[f"layers.{layer}.weight"], weights)
            assert np.array_equal(arrays[f"layers.{layer}.bias"], biases)
    tensors = safetensors.numpy.load_file("out.pt")
    # As torch.nn.Linear has them.
    assert np.array_equal(tensors["layers.1.weight"], trained.weights[1].T)


def test_what_cannot_be_verified_or_written_leaves_no_file(run: str) -> None:
    save_model(row_model(), "rows.safetensors")
    Path("kept.npz").write_text("mine")
    for arguments, words in (
        ([run, "out.foo"], "choose one of .onnx, .html, .h, .json"),
        ([run, "out.npz", "--precision", "int8"], "NumPy arrays (.npz) has no precision int8; choose float32"),
        ([run, "kept.npz"], "--force"),
        ([run, "missing/out.npz"], "missing"),
        (["missing", "out.npz"], "no such file"),
        (["rows.safetensors", "out.npz", "--verify"], "give a data set with --data"),
        (["rows.safetensors", "out.json"], "cannot hold this model: its rule is backprop"),
    ):
        result = invoke(["export", *arguments])
        assert result.exit_code == 2, result.output
        assert words in result.stderr
        assert result.stderr.count("\n") == 1
    assert sorted(path.name for path in Path().iterdir()) == ["kept.npz", "rows.safetensors"]
    assert Path("kept.npz").read_text() == "mine"
    assert invoke(["export", run, "kept.npz", "--force"]).exit_code == 0


def test_a_file_that_cannot_be_run_here_is_kept_and_said_to_be(run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(Path.cwd()))
    result = invoke(["export", run, "out.h", "--verify"])
    assert result.exit_code == 2
    assert "out.h: running it needs a C compiler" in result.stderr
    assert result.stderr.endswith("; the file is written, but not verified\n")
    assert Path("out.h").stat().st_size > 10_000


def test_nn_json_comes_back_to_the_last_bit() -> None:
    before = model(784, 5, 4, 10, dtype="float64")
    fastnn.export(before, "NN.json")
    assert load_model("NN.json").sha256() == before.sha256()
    for other in (model(784, 5, 10), fastnn.Model((network(784, 5, 4, 10),) * 2, before.names)):
        with pytest.raises(fastnn.FastnnError, match="the original's format cannot hold this model: it "):
            fastnn.export(other, "other.json")
    assert not Path("other.json").exists()
