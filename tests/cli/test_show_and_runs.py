import json
import shutil
from pathlib import Path

import pytest

import fastnn
from fastnn.cli.runs import sparkline
from fastnn.formats import load_model, save_model, write_original
from fastnn.model import Calibration, ModelCard
from tests.helpers import invoke
from tests.models import model, network, row_model


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def runs_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("all") / "runs"
    for place, epochs in (("b", 3), ("deeper/a", 1)):
        fastnn.fit(
            "drawn:200", fastnn.Recipe(hidden=(4,), epochs=epochs, seed=epochs), out=folder / place, progress=False
        )
    (folder / "deeper" / "broken").mkdir()
    (folder / "deeper" / "broken" / "model.safetensors").write_text("no model")
    shutil.copytree(folder / "b", folder / ".hidden")
    stopped = folder / "stopped"
    shutil.copytree(folder / "b", stopped)
    (stopped / "model.safetensors").rename(stopped / "checkpoint.safetensors")
    (stopped / "history.csv").unlink()
    return folder


def test_show_tells_what_is_in_a_run(runs_folder: Path) -> None:
    result = invoke(["show", str(runs_folder / "b")])
    assert result.exit_code == 0, result.output
    trained = load_model(runs_folder / "b")
    for words in (
        "784-4-10, sigmoid, sigmoid, float32",
        "seed 3",
        f"{trained.card.data.description} (180 to train on, 20 to test on)",
        trained.sha256(),
        "images of 784 pixels",
        "3,190 parameters",
        f"test accuracy {trained.card.metrics['test_accuracy']:.4g}",
    ):
        assert words in result.stdout


def test_show_knows_every_kind_of_model() -> None:
    softmax = network(784, 4, 10, rule="backprop", activation="relu")
    card = ModelCard(calibration=Calibration(label_smoothing=0.1))
    save_model(fastnn.Model((softmax, softmax), tuple("0123456789"), True, True, card), "two.safetensors")
    save_model(row_model(), "rows.safetensors")
    write_original(model(784, 5, 4, 10), "NN.json")
    for name, words in (
        (
            "two.safetensors",
            ("2 networks of 784-4-10, relu", "normalised; 0 is white", "label smoothing 0.1 is undone"),
        ),
        ("rows.safetensors", ("rows of 3 numbers: a, colour", "classes", "x, y")),
        ("NN.json", ("imported from", "float64")),
    ):
        result = invoke(["show", name])
        assert result.exit_code == 0, result.output
        assert all(part in result.stdout for part in words), result.stdout
        found = json.loads(invoke(["show", name, "--json"]).stdout)
        assert found["weights_sha256"] == load_model(name).sha256()
    missing = invoke(["show", "missing"])
    assert (missing.exit_code, missing.stderr) == (2, "fastnn: missing: no such file or folder\n")


def test_runs_lists_all_runs_below_a_folder(runs_folder: Path) -> None:
    result = invoke(["runs", str(runs_folder)])
    assert result.exit_code == 0, result.output
    lines = [line for line in result.stdout.splitlines() if "784-4-10" in line]
    assert [line.split()[0] for line in lines] == ["b", "deeper/a", "stopped"]
    assert "3, not" in lines[2]
    assert "left out" in result.stderr
    assert "broken" in result.stderr


@pytest.mark.parametrize(
    ("sort", "key"),
    [
        ("score", lambda run: -run["score"]),
        ("epochs", lambda run: -run["epochs"]),
        ("time", lambda run: float("inf") if run["seconds"] is None else run["seconds"]),
        ("newest", lambda run: -run["modified"]),
        ("size", lambda run: run["size"]),
    ],
)
def test_runs_are_sorted(runs_folder: Path, sort: str, key) -> None:
    found = json.loads(invoke(["runs", str(runs_folder), "--sort", sort, "--json"]).stdout)["runs"]
    keys = [key(run) for run in found]
    assert len(keys) == 3
    assert keys == sorted(keys)
    reverse = json.loads(invoke(["runs", str(runs_folder), "--sort", sort, "--reverse", "--json"]).stdout)
    assert [key(run) for run in reverse["runs"]] == keys[::-1]


def test_json_has_the_curve(runs_folder: Path) -> None:
    found = json.loads(invoke(["runs", str(runs_folder / "b"), "--json"]).stdout)["runs"]
    assert len(found[0]["curve"]) == 3
    assert found[0]["score"] == pytest.approx(found[0]["curve"][-1])


def test_a_folder_without_runs_says_how_to_make_one() -> None:
    Path("runs").mkdir()
    result = invoke(["runs"])
    assert (result.exit_code, result.stdout) == (0, "")
    assert "fastnn train --out runs/NAME" in result.stderr
    assert invoke(["runs", "missing"]).exit_code == 2


def test_a_sparkline_goes_from_the_lowest_to_the_highest_value() -> None:
    assert sparkline([]) == ""
    assert sparkline([0.5]) == "▁"
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7]) == "▁▂▃▄▅▆▇█"
    assert sparkline(range(1000), "ab", 4) == "aabb"
