import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from fastnn.datasets import load_dataset
from fastnn.formats import load_model, write_original
from tests.helpers import invoke
from tests.models import model


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_original(model(784, 5, 4, 10), "NN.json")


def test_the_published_file_is_imported_and_described(shared: Path) -> None:
    result = invoke(["import", str(shared / "original" / "NN.json"), "out.safetensors"])
    assert result.exit_code == 0, result.output
    for words in ("784-200-40-10", "165,450", "float64", "line 544, column 63", "accuracy: 76.8292682927"):
        assert words in result.stdout
    before, after = load_model(shared / "original" / "NN.json"), load_model("out.safetensors")
    assert after.network.sha256() == before.network.sha256()
    assert after.card == before.card


def test_a_correct_file_is_not_called_repaired() -> None:
    result = invoke(["import", "NN.json", "out.safetensors"])
    assert result.exit_code == 0, result.output
    assert "comma" not in result.stdout


def test_importing_twice_gives_the_same_bytes() -> None:
    for name in ("a.safetensors", "b.safetensors"):
        assert invoke(["import", "NN.json", name]).exit_code == 0
    assert Path("a.safetensors").read_bytes() == Path("b.safetensors").read_bytes()


def test_an_existing_file_is_replaced_only_with_force() -> None:
    target = Path("out.safetensors")
    target.write_text("mine")
    result = invoke(["import", "NN.json", "out.safetensors"])
    assert (result.exit_code, target.read_text()) == (2, "mine")
    assert "--force" in result.stderr
    assert invoke(["import", "NN.json", "out.safetensors", "--force"]).exit_code == 0
    assert load_model(target).sizes == (784, 5, 4, 10)


def test_force_keeps_the_old_file_when_the_new_one_cannot_be_read() -> None:
    assert invoke(["import", "NN.json", "out.safetensors"]).exit_code == 0
    before = Path("out.safetensors").read_bytes()
    content = json.loads(Path("NN.json").read_bytes())
    content["hidden1"] = 6
    Path("NN.json").write_text(json.dumps(content))
    assert invoke(["import", "NN.json", "out.safetensors", "--force"]).exit_code == 2
    assert Path("out.safetensors").read_bytes() == before


@pytest.mark.parametrize("target", ["none/out.safetensors", "."])
def test_a_target_that_cannot_be_written_is_named(target: str) -> None:
    result = invoke(["import", "NN.json", target, "--force"])
    assert result.exit_code == 2
    assert result.stderr.startswith(f"fastnn: {target}: ")
    assert sorted(path.name for path in Path().iterdir()) == ["NN.json"]


@pytest.mark.parametrize("target", ["out.onnx", "out.JSON", "out.npz"])
def test_a_model_file_gets_no_ending_of_another_format(target: str) -> None:
    result = invoke(["import", "NN.json", target])
    assert result.exit_code == 2
    assert f"{target}: fastnn import writes .safetensors; fastnn export" in result.stderr
    assert not Path(target).exists()


# ---- networks of other programs ----

CLASSES = ("--task", "classification", "--takes", "rows", "--classes", "low, high")


def write_table() -> None:
    """Write a table with two classes that a line tells apart, and the layers of networks that were trained on it."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(60, 3))
    score = rows @ [1.0, 2.0, -1.0]
    table = [
        [*(f"{value:.6f}" for value in row), "high" if s > 0 else "low"] for row, s in zip(rows, score, strict=True)
    ]
    Path("table.csv").write_text("a,b,c,target\n" + "".join(",".join(line) + "\n" for line in table))
    weights = np.array([[1, -1], [2, -2], [-1, 1]], np.float32)
    last = np.array([[-1, 1], [1, -1]], np.float32)
    torch = {"0.weight": weights.T.copy(), "0.bias": np.zeros(2, np.float32)}
    torch |= {"2.weight": last.T.copy(), "2.bias": np.zeros(2, np.float32)}
    safetensors.numpy.save_file(torch, "torch.safetensors")
    np.savez("arrays.npz", W1=weights, b1=np.zeros(2), W2=last, b2=np.zeros(2))


def write_estimator() -> None:
    skops = pytest.importorskip("skops.io")
    from sklearn.neural_network import MLPClassifier

    data = load_dataset("table.csv")
    estimator = MLPClassifier((4,), solver="lbfgs", max_iter=200, random_state=0)
    skops.dump(estimator.fit(data.features, np.asarray(data.names)[data.labels]), "estimator.skops")


@pytest.mark.parametrize(
    ("source", "options"),
    [
        ("torch.safetensors", ("--activation", "relu", *CLASSES)),
        ("arrays.npz", ("--activation", "relu", *CLASSES)),
        ("estimator.skops", ()),
    ],
)
def test_every_command_works_on_networks_made_elsewhere(source: str, options: tuple[str, ...]) -> None:
    write_table()
    if source == "estimator.skops":
        write_estimator()
    commands: list[tuple[str, ...]] = [
        ("import", source, "net.safetensors", *options),
        ("evaluate", "net.safetensors", "--data", "table.csv", "--json"),
        ("export", "net.safetensors", "net.npz", "--verify", "--data", "table.csv", "--json"),
        ("train", "--from", "net.safetensors", "--data", "table.csv", "--epochs", "1", "--out", "run", "--quiet"),
        ("compare", "net.safetensors", "run", "--data", "table.csv", "--json"),
        ("evaluate", "run", "--json"),
    ]
    if shutil.which("gcc") is not None:
        commands.append(("export", "net.safetensors", "net.h", "--verify", "--data", "table.csv", "--json"))
    said: dict[str, Any] = {}
    for args in commands:
        result = invoke(list(args))
        assert result.exit_code == 0, (args, result.output)
        if "--json" in args:
            said[args[0] + args[1] + args[2]] = json.loads(result.stdout)
    assert said["evaluatenet.safetensors--data"]["accuracy"] > 0.95
    assert said["evaluaterun--json"]["accuracy"] > 0.8
    for name, answer in said.items():
        if name.startswith("export"):
            assert answer["agreement"]["same"] == 60
            assert answer["agreement"]["largest_difference"] <= 1e-6
    assert load_model("run").card.start is not None


def test_what_a_file_does_not_say_is_asked() -> None:
    write_table()
    result = invoke(["import", "torch.safetensors", "net.safetensors", *CLASSES])
    assert result.exit_code == 2
    assert "torch.safetensors: does not say the activation of the hidden layers" in result.stderr
    assert "--task" not in result.stderr
    assert not Path("net.safetensors").exists()
    result = invoke(["import", "torch.safetensors", "net.safetensors", "--classes", "a,,b"])
    assert (result.exit_code, "--classes" in result.stderr) == (2, True)


def test_options_for_a_file_that_says_all_are_refused() -> None:
    result = invoke(["import", "NN.json", "out.safetensors", "--takes", "rows"])
    assert (result.exit_code, "leave out the options" in result.stderr) == (2, True)


@pytest.mark.parametrize("ending", [".npz", ".pt", ".safetensors"])
def test_exports_of_fastnn_are_imported_to_the_same_bytes(ending: str) -> None:
    assert invoke(["import", "NN.json", "out.safetensors"]).exit_code == 0
    assert invoke(["export", "out.safetensors", f"m{ending}"]).exit_code == 0
    result = invoke(["import", f"m{ending}", "again.safetensors"])
    assert result.exit_code == 0, result.output
    assert "784-5-4-10, rule original, float64" in result.stdout
    assert Path("again.safetensors").read_bytes() == Path("out.safetensors").read_bytes()
