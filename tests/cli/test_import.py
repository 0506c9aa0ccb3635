import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fastnn.cli import app
from fastnn.formats import load_model, write_original
from tests.models import model

runner = CliRunner()


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_original(model(784, 5, 4, 10), "NN.json")


def test_the_published_file_is_imported_and_described(shared: Path) -> None:
    result = runner.invoke(app, ["import", str(shared / "original" / "NN.json"), "out.safetensors"])
    assert result.exit_code == 0, result.output
    for words in ("784-200-40-10", "165,450", "float64", "line 544, column 63", "accuracy: 76.8292682927"):
        assert words in result.stdout
    before, after = load_model(shared / "original" / "NN.json"), load_model("out.safetensors")
    assert after.network.sha256() == before.network.sha256()
    assert after.card == before.card


def test_a_correct_file_is_not_called_repaired() -> None:
    result = runner.invoke(app, ["import", "NN.json", "out.safetensors"])
    assert result.exit_code == 0, result.output
    assert "comma" not in result.stdout


def test_importing_twice_gives_the_same_bytes() -> None:
    for name in ("a.safetensors", "b.safetensors"):
        assert runner.invoke(app, ["import", "NN.json", name]).exit_code == 0
    assert Path("a.safetensors").read_bytes() == Path("b.safetensors").read_bytes()


def test_an_existing_file_is_replaced_only_with_force() -> None:
    target = Path("out.safetensors")
    target.write_text("mine")
    result = runner.invoke(app, ["import", "NN.json", "out.safetensors"])
    assert (result.exit_code, target.read_text()) == (2, "mine")
    assert "--force" in result.stderr
    assert runner.invoke(app, ["import", "NN.json", "out.safetensors", "--force"]).exit_code == 0
    assert load_model(target).sizes == (784, 5, 4, 10)


def test_force_keeps_the_old_file_when_the_new_one_cannot_be_read() -> None:
    assert runner.invoke(app, ["import", "NN.json", "out.safetensors"]).exit_code == 0
    before = Path("out.safetensors").read_bytes()
    content = json.loads(Path("NN.json").read_bytes())
    content["hidden1"] = 6
    Path("NN.json").write_text(json.dumps(content))
    assert runner.invoke(app, ["import", "NN.json", "out.safetensors", "--force"]).exit_code == 2
    assert Path("out.safetensors").read_bytes() == before


@pytest.mark.parametrize("target", ["none/out.safetensors", "."])
def test_a_target_that_cannot_be_written_is_named(target: str) -> None:
    result = runner.invoke(app, ["import", "NN.json", target, "--force"])
    assert result.exit_code == 2
    assert result.stderr.startswith(f"fastnn: {target}: ")
    assert sorted(path.name for path in Path().iterdir()) == ["NN.json"]
