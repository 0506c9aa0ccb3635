"""``fastnn train`` with averages, a validation part and several networks."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from fastnn import load_model
from fastnn.cli import app
from fastnn.errors import ModelError
from fastnn.evaluation.saved_model import evaluate_file
from fastnn.formats.safetensors import read_with_extra, write_model
from fastnn.runs import Run, read_history
from tests.helpers import blobs, compiled_only, saved

if TYPE_CHECKING:
    from pathlib import Path

RECIPE = """
hidden = [12]
rule = "backprop"
activation = "relu"
init = "he"
invert = true
lr = 0.02
epochs = 4
normalise = true
shift = 1.0
"""


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    saved(blobs(120), tmp_path / "data.npz")


def train(*options: str, recipe: str = "") -> dict[str, Any]:
    with open("r.toml", "w") as file:  # noqa: PTH123 - in the working folder
        file.write(RECIPE + recipe)
    result = CliRunner().invoke(app, ["train", "--quiet", "--json", "--data", "data.npz", *options])
    assert result.exit_code == 0, result.output
    return dict(json.loads(result.stdout))


@pytest.mark.parametrize(
    "recipe",
    [
        'averaging = "ema"\naveraging_epochs = 2',
        "validation_fraction = 0.2\npatience = 3",
        'averaging = "ema"\nvalidation_fraction = 0.2\nbalance = true\nelastic_alpha = 0.5',
    ],
)
def test_a_run_extended_is_the_run_in_one_go(recipe: str, tmp_path: Path) -> None:
    whole = train("--recipe", "r.toml", "--out", "whole", recipe=recipe)
    train("--recipe", "r.toml", "--epochs", "2", "--out", "parts", recipe=recipe)
    parts = train("--resume", "parts", "--epochs", "4", recipe=recipe)
    assert parts["weights_sha256"] == whole["weights_sha256"]
    files = [tmp_path / name / "model.safetensors" for name in ("whole", "parts")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_patience_ends_a_run(tmp_path: Path) -> None:
    result = train(
        "--recipe", "r.toml", "--lr", "1e-30", "--validation-fraction", "0.2", "--patience", "2", "--out", "run"
    )
    assert result["epochs"] == 3
    assert result["best_epoch"] == 1
    assert 0 <= result["validation_accuracy"] <= 1
    assert load_model(tmp_path / "run").card.epochs == 3
    shown = CliRunner().invoke(app, ["train", "--resume", "run", "--data", "data.npz", "--epochs", "4"])
    assert re.search(r"best epoch +1 \(validation [0-9.]+%\), stopped after 3", shown.output), shown.output
    lines = (tmp_path / "run" / "history.csv").read_text().splitlines()
    assert len(lines) == 4
    assert not lines[-1].endswith(",")


@compiled_only
def test_an_ensemble_is_one_file_of_the_networks_of_its_seeds(tmp_path: Path) -> None:
    result = train("--recipe", "r.toml", "--seed", "5", "--ensemble", "2", "--epochs", "2", "--out", "two")
    model = load_model(tmp_path / "two" / "model.safetensors")
    assert len(model.networks) == 2
    assert model.normalise
    assert result["epochs"] == 2
    alone = train("--recipe", "r.toml", "--seed", "5", "--epochs", "2", "--out", "one")
    assert model.network.sha256() == alone["weights_sha256"] != result["weights_sha256"] == model.sha256()
    assert (alone["networks"], result["networks"]) == (1, 2)
    assert model.networks[1].sha256() != model.network.sha256()
    histories = [read_history(tmp_path / "two" / name / "history.csv") for name in ("", "member-1", "member-2")]
    for mean, *members in zip(*histories, strict=True):
        assert [member.epoch for member in members] == [mean.epoch] * 2
        for column in ("lr", "loss", "accuracy", "test_loss", "test_accuracy"):
            values = [getattr(member, column) for member in members]
            assert getattr(mean, column) == pytest.approx(sum(values) / 2)
    # Both were trained on the digits that the run did not hold back, and say so.
    cards = [load_model(tmp_path / "two" / name).card for name in ("", "member-1", "member-2")]
    assert len({card.data.split for card in cards if card.data is not None}) == 1
    tested = [evaluate_file(f"two/{name}").evaluation.total for name in ("", "member-1", "member-2")]
    assert tested == [result["n_test"]] * 3
    # A member that was killed before its first checkpoint is trained anew to the same bits, the other is gone on with.
    for name in ("history.csv", "model.safetensors"):
        (tmp_path / "two" / "member-2" / name).unlink()
    train("--resume", "two", "--epochs", "3")
    train("--recipe", "r.toml", "--seed", "5", "--ensemble", "2", "--epochs", "3", "--out", "whole")
    extended, whole = (load_model(tmp_path / name) for name in ("two", "whole"))
    assert [n.sha256() for n in extended.networks] == [n.sha256() for n in whole.networks]


@compiled_only
def test_an_ensemble_tells_of_each_epoch_of_each_network() -> None:
    train("--recipe", "r.toml", "--out", "made", "--epochs", "1")  # writes r.toml
    result = CliRunner().invoke(
        app, ["train", "--data", "data.npz", "--recipe", "r.toml", "--ensemble", "2", "--epochs", "2", "--out", "two"]
    )
    assert result.exit_code == 0, result.output
    told = re.findall(r"network ([12])  epoch ([12])/2 .* test [0-9.]+%", result.stdout)
    assert sorted(told) == [("1", "1"), ("1", "2"), ("2", "1"), ("2", "2")]


def test_a_checkpoint_without_its_state_is_refused(tmp_path: Path) -> None:
    train("--recipe", "r.toml", "--epochs", "2", "--out", "run", recipe='averaging = "ema"')
    file = tmp_path / "run" / "model.safetensors"
    model, arrays, extra = read_with_extra(file)
    assert set(arrays) == {"network", "average"}
    assert extra["training"]["epoch"] == 2
    write_model(model, file)
    result = CliRunner().invoke(app, ["train", "--quiet", "--resume", "run", "--epochs", "4"])
    assert result.exit_code == 2
    assert "does not fit the recipe" in result.stderr
    assert isinstance(result.exception, SystemExit)
    assert Run.resume(tmp_path / "run")[0].state is None
    file.write_bytes(b"nonsense")
    with pytest.raises(ModelError):
        Run.resume(tmp_path / "run")


def test_fewer_epochs_than_are_averaged() -> None:
    result = train("--recipe", "best", "--hidden", "8", "--ensemble", "1", "--epochs", "2", "--out", "short")
    assert result["notes"] == ["the weights are averaged over all 2 epochs"]


def test_a_rate_that_is_asked_for_in_vain() -> None:
    result = train("--recipe", "mnist", "--hidden", "8", "--epochs", "1", "--lr-decay", "0.9", "--out", "in-vain")
    assert result["notes"] == ["--lr-decay and --lr-every change nothing: the rate of mnist is cosine"]


def test_what_depends_on_the_number_of_epochs_is_not_extended() -> None:
    train("--recipe", "r.toml", "--out", "run", recipe='averaging = "tail"\naveraging_epochs = 2')
    result = CliRunner().invoke(app, ["train", "--quiet", "--resume", "run", "--epochs", "6"])
    assert result.exit_code == 2
    assert "laid out for 4 epochs" in result.stderr
