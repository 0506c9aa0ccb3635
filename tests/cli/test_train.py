"""``fastnn train``: output, errors, source of the data, signals and resuming."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import socket
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console

import fastnn.datasets
import fastnn.datasets.drawn
from fastnn import Recipe, Session, evaluate, load_dataset, load_model, split
from fastnn.cli._progress import View
from fastnn.cli.train import Interrupted, parse_hidden
from fastnn.cli.train import run as train
from fastnn.datasets.split import Split
from fastnn.formats import write_model
from fastnn.model import DataCard
from fastnn.progress import Bars
from fastnn.recipe import load_recipe
from fastnn.runs import Run
from fastnn.training import Trainer
from tests.helpers import blobs, invoke, linear_table, run_python, save_npz, save_table

if TYPE_CHECKING:
    from fastnn.training import ChunkReport, EpochReport

RELU = 'rule = "backprop"\nactivation = "relu"\ninit = "he"\ninvert = true\n'
SMALL = ("--data", "data.npz", "--hidden", "16")
JSON_TYPES = {
    "run": str,
    "model": str,
    "data": str,
    "n_train": int,
    "n_test": int,
    "epochs": int,
    "test_accuracy": float,
    "balanced_accuracy": float,
    "test_loss": float,
    "train_seconds": float,
    "compile_seconds": float,
    "samples_per_second": float,
    "seed": int,
    "weights_sha256": str,
}


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Change to a folder with a data set; no other data are found."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FASTNN_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("FASTNN_DATA", raising=False)
    save_npz(blobs(120), tmp_path / "data.npz")
    return tmp_path


@pytest.fixture(autouse=True)
def network_calls(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Make every connection fail as without a network; return the list of addresses that were tried."""
    calls: list[Any] = []

    def refuse(*args: Any, **_: Any) -> None:
        calls.append(args[-1] if isinstance(args[0], socket.socket) else args[0])
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return calls


def run(*options: str) -> Any:
    return invoke(["train", *options])


def error_line(*options: str) -> str:
    """Return the one-line error of a command, which must write nothing."""
    before = sorted(Path().rglob("*"))
    result = run(*options)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("fastnn: ")
    assert result.stderr.count("\n") == 1
    assert sorted(Path().rglob("*")) == before
    return result.stderr


def model_bytes(folder: str) -> bytes:
    return (Path(folder) / "model.safetensors").read_bytes()


def session(*, epochs: int = 6, out: str = "run", **options: Any) -> Session:
    return Session("data.npz", Recipe(hidden=(16,), epochs=epochs), out, **options)


# ---- output ----


def test_json_prints_one_object_and_nothing_else_on_stdout(network_calls: list[Any]) -> None:
    result = run(*SMALL, "--epochs", "3", "--seed", "4", "--out", "run", "--json")
    assert result.exit_code == 0
    assert result.stdout.count("\n") == 1
    found = json.loads(result.stdout)
    assert {name: type(found[name]) for name in JSON_TYPES} == JSON_TYPES
    assert (found["run"], found["model"], found["data"]) == ("run", str(Path("run/model.safetensors")), "data.npz")
    assert (found["n_train"], found["n_test"], found["epochs"], found["seed"]) == (108, 12, 3, 4)
    model = load_model("run")
    assert found["weights_sha256"] == model.network.sha256()
    _, test = split(load_dataset("data.npz"), 0.1, 4)
    measured = evaluate(model, test)
    assert found["test_accuracy"] == measured.accuracy
    assert found["balanced_accuracy"] == measured.balanced_accuracy
    assert found["test_loss"] == measured.loss
    assert found["samples_per_second"] == pytest.approx(3 * 108 / found["train_seconds"])
    # The progress goes to stderr.
    assert len(re.findall(r"^epoch \d/3 ", result.stderr, re.MULTILINE)) == 3
    assert network_calls == []


def test_a_pipe_gets_a_line_for_each_epoch_and_a_summary() -> None:
    result = run(*SMALL, "--epochs", "3", "--lr-every", "2", "--out", "run")
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[0] == "784-16-10, recipe original (rule original, float32, seed 0)"
    assert lines[1] == "data.npz: 108 to train on, 12 to test on"
    assert re.fullmatch(r"sparse first layer \(\d+% not white\), compiled in [\d.]+ s", lines[2])
    shape = r"epoch {}/3  lr {}  loss [\d.]+  train [\d.]+%  test [\d.]+%  [\d,]+ samples/s"
    for line, (epoch, lr) in zip(lines[3:6], [(1, "0.01"), (2, "0.01"), (3, "0.005")], strict=True):
        assert re.fullmatch(shape.format(epoch, lr), line)
    assert [line.split("  ")[0].strip() for line in lines[6:]] == ["data", "test accuracy", "time", "model"]
    assert "data.npz" in lines[6]
    assert lines[9].split()[1] == str(Path("run/model.safetensors"))
    assert "\x1b" not in result.stdout


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_quiet_prints_neither_progress_nor_summary(options: tuple[str, ...]) -> None:
    result = run(*SMALL, "--epochs", "2", "--quiet", *options)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.count("\n") == len(options)


@pytest.mark.parametrize("networks", [1, 2])
def test_a_terminal_shows_progress_bars_and_gets_its_cursor_back(
    networks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, force_interactive=True, highlight=False, width=100)
    monkeypatch.setattr("fastnn.cli.train.out", lambda: console)
    assert run(*SMALL, "--ensemble", str(networks), "--epochs", "6", "--out", "run").exit_code == 0
    text = screen.getvalue()
    for part in ("training", "test ", "data.npz: 108 to train on, 12 to test on"):
        assert part in text
    assert text.rfind("\x1b[?25h") > text.rfind("\x1b[?25l") >= 0
    assert "epoch 1/6" not in text  # only pipes get these lines
    # Bars for the chunks of an epoch: only one network has them.
    assert bool(re.search(r"epoch \d .*loss [\d.]+  train [\d.]+%", text)) == (networks == 1)


def test_bars_show_every_chunk() -> None:
    screen = io.StringIO()
    with Bars(Console(file=screen, force_terminal=True, force_interactive=True, width=100), every=0.0) as bars:
        shown = session(on_chunk=bars.chunk)
        bars.start(shown.member_epochs, shown.recipe.epochs)
        for report in shown:
            bars.epoch(report)
    assert re.search(r"epoch 6 .*loss [\d.]+  train [\d.]+%", screen.getvalue())


@pytest.mark.skipif(sys.platform == "win32", reason="no colons in names of files")
def test_names_are_printed_as_they_are() -> None:
    """Markup in brackets and the names of emoji between colons are text like any other."""
    name = ":smile:[bold]"
    Path("data.npz").rename(f"{name}.npz")
    options = ("--data", f"{name}.npz", "--hidden", "16", "--epochs", "1", "--out", name)
    output = run(*options).stdout
    assert f"\n{name}.npz: 108 to train on" in output
    assert output.rstrip().endswith(f" {name}/model.safetensors")
    assert error_line(*options).startswith(f"fastnn: {name}: exists already")


def test_each_network_of_an_ensemble_prints_its_epochs() -> None:
    result = run(*SMALL, "--ensemble", "2", "--epochs", "2", "--out", "two")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("2 networks of 784-16-10, recipe original")
    epochs = re.findall(r"network ([12])  epoch ([12])/2 .* test [0-9.]+%", result.stdout)
    assert sorted(epochs) == [("1", "1"), ("1", "2"), ("2", "1"), ("2", "2")]


def test_the_best_epoch_is_in_the_summary() -> None:
    Path("mine.toml").write_text(RELU + "lr = 1e-30\nvalidation_fraction = 0.2\npatience = 2\n")
    options = ("--data", "data.npz", "--recipe", "mine.toml", "--hidden", "12", "--epochs", "9", "--out", "run")
    result = run(*options)
    assert re.search(r"best epoch +1 \(validation [0-9.]+%\), stopped after 3", result.output), result.output
    found = json.loads(run("--resume", "run", "--epochs", "12", "--json", "-q").stdout)
    assert (found["epochs"], found["best_epoch"]) == (3, 1)
    assert 0 <= found["validation_accuracy"] <= 1


def test_the_best_epoch_of_a_regression_has_r2() -> None:
    save_table(linear_table(60), Path("t.csv"))
    options = ("--target", "price", "--task", "regression", "--validation-fraction", "0.2", "--epochs", "2")
    result = run("--data", "t.csv", *options, "--hidden", "4", "--out", "run", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    # Also if it is below that of the mean of the targets.
    assert found["best_epoch"] > 0
    assert found["validation_r2"] < -1
    assert "validation_accuracy" not in found


def test_options_without_effect_or_with_another_meaning_are_noted() -> None:
    notes = {}
    Path("adaptive.toml").write_text('name = "adaptive"\nschedule = "adaptive"\n')
    for name, option in (("best", "--ensemble=1"), ("mnist", "--lr-decay=0.9"), ("adaptive.toml", "--lr-decay=0.9")):
        result = run(*SMALL, "--recipe", name, "--epochs", "2", option, "--out", f"run {name}", "--json", "-q")
        notes[name] = json.loads(result.stdout)["notes"]
        assert result.stderr.startswith("".join(f"note: {note}" for note in notes[name][:1]))
    assert notes == {
        "best": ["the weights are averaged over all 2 epochs"],
        "mnist": ["--lr-decay and --lr-every have no effect: recipe mnist has a cosine schedule"],
        "adaptive.toml": [],
    }


# ---- files ----


def test_the_run_folder_and_the_card_of_the_model() -> None:
    assert run(*SMALL, "--epochs", "2", "--quiet").exit_code == 0
    (folder,) = Path("runs").iterdir()
    assert re.fullmatch(r"original-\d{8}-\d{6}", folder.name)
    assert sorted(path.name for path in folder.iterdir()) == ["history.csv", "model.safetensors", "recipe.toml"]
    recipe = Recipe(hidden=(16,), epochs=2)
    assert load_recipe(folder / "recipe.toml") == recipe
    data = load_dataset("data.npz")
    card = load_model(folder).card
    assert (card.recipe, card.epochs, card.seed, card.version) == (recipe, 2, 0, fastnn.__version__)
    assert card.data == DataCard(
        source="data.npz",
        description="data.npz",
        hash=data.content_hash,
        n_train=108,
        n_test=12,
        split=Split(),
        polarity="dark-on-light",
    )
    assert set(card.metrics) == {"test_accuracy", "balanced_accuracy", "test_loss"}


def test_two_runs_in_one_second_get_a_folder_each() -> None:
    for _ in range(3):
        assert run(*SMALL, "--epochs", "1", "--quiet").exit_code == 0
    assert len(list(Path("runs").iterdir())) == 3


def test_a_recipe_file_and_options_that_change_it() -> None:
    Path("mine.toml").write_text(RELU + "hidden = [9]\nlr = 0.1\nepochs = 50\n")
    options = ("--hidden", "8,7", "--epochs", "2", "--lr", "0.05", "--lr-decay", "0.9", "--lr-every", "3")
    more = (
        "--seed",
        "11",
        "--test-fraction",
        "0.25",
        "--per-class",
        "5",
        "--dtype",
        "float64",
        "--first-layer",
        "dense",
    )
    assert run("--data", "data.npz", "--recipe", "mine.toml", *options, *more, "--out", "run", "-q").exit_code == 0
    wanted = Recipe(
        name="mine", hidden=(8, 7), rule="backprop", activation="relu", init="he", invert=True, epochs=2, lr=0.05,
        lr_decay=0.9, lr_every=3, seed=11, test_fraction=0.25, per_class=5, dtype="float64", first_layer="dense",
    )  # fmt: skip
    model = load_model("run")
    assert model.card.recipe == load_recipe("run/recipe.toml") == wanted
    assert (model.sizes, model.network.dtype, model.network.activation) == ((784, 8, 7, 10), "float64", "relu")
    assert model.card.data is not None
    assert (model.card.data.n_train, model.card.data.n_test) == (50, 30)
    assert model.card.data.split == Split(fraction=0.25, seed=11)


@pytest.mark.parametrize(
    ("text", "hidden"), [("200,40", (200, 40)), ("16", (16,)), (" 8, 7 ", (8, 7)), ("", ()), ("none", ()), ("None", ())]
)
def test_hidden_layers_as_text(text: str, hidden: tuple[int, ...]) -> None:
    assert parse_hidden(text) == hidden


def test_no_hidden_layer_at_all() -> None:
    assert run("--data", "data.npz", "--hidden", "none", "--epochs", "1", "--out", "run", "-q").exit_code == 0
    assert load_model("run").sizes == (784, 10)


# ---- errors ----


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--hidden", "a,b"), "--hidden takes whole numbers"),
        (("--hidden", "16,,8"), "--hidden takes whole numbers"),
        (("--hidden", "0"), "hidden must be"),
        (("--hidden", "1000000,1000000"), "too many weights"),
        (("--hidden", ",".join(["2"] * 63)), "hidden must be a list of at most 62"),
        (("--epochs", "0"), "epochs must be"),
        (("--lr", "nan"), "lr must be"),
        (("--lr", "-1"), "lr must be"),
        (("--seed", "-1"), "seed must be"),
        (("--dtype", "float16"), "dtype must be"),
        (("--first-layer", "fast"), "first_layer must be"),
        (("--test-fraction", "1"), "test_fraction must be"),
        (("--test-fraction", "0"), "one side empty"),
        (("--per-class", "0"), "per_class must be"),
        (("--recipe", "other"), "no such recipe"),
        (("--recipe", "missing.toml"), "missing.toml: cannot be read"),
        (("--data", "missing.npz"), "missing.npz: no such file"),
        (("--data", "data.npz/x"), "data.npz/x"),
        (("--out", "data.npz"), "data.npz: exists already"),
        (("--out", "data.npz/run"), "data.npz/run: the run folder cannot be created"),
        (("--out", "."), "exists already"),
        (("--resume", "missing"), "missing: no run folder to resume"),
        (("--resume", "missing", "--out", "run"), "drop --out"),
    ],
)
def test_invalid_options_are_refused_in_one_line(options: tuple[str, ...], message: str) -> None:
    assert message in error_line(*SMALL, *options)


def test_diverging_training_is_an_error_and_keeps_the_last_good_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    # After one step at 1e6 the product of six layers exceeds the range of float32.
    Path("relu.toml").write_text(RELU + "hidden = [32, 32, 32, 32, 32, 32]\n")
    monkeypatch.setattr(Recipe, "lr_at", lambda _, epoch: 0.02 if epoch < 3 else 1e6)
    result = run("--data", "data.npz", "--recipe", "relu.toml", "--epochs", "5", "--out", "run", "-q")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        "fastnn: training diverged in epoch 3 (loss is not finite); try a learning rate below 1e+06; "
        "run keeps epoch 2\n"
    )
    model = load_model("run")
    assert model.card.epochs == 2
    assert model.network.is_finite()


# ---- the source of the data ----


def few_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the built-in digits by a small data set."""
    monkeypatch.setattr(fastnn.datasets.drawn, "drawn", lambda: replace(blobs(120), source="drawn (built in)"))


def test_without_a_connection_training_uses_drawn_digits_and_says_so(
    network_calls: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    few_drawn(monkeypatch)
    result = run("--hidden", "16", "--epochs", "1", "--out", "run", "--json")
    assert result.exit_code == 0
    assert network_calls  # a download was tried
    notes = [line for line in result.stderr.splitlines() if line.startswith("note:")]
    assert len(notes) == 1
    assert notes[0].startswith("note: could not download the original digits (")
    assert notes[0].endswith(
        "); training on built-in drawn digits instead. To use the real ones: fastnn data fetch digits"
    )
    assert json.loads(result.stdout)["data"] == "drawn (built in)"
    about = load_model("run").card.data
    assert about is not None
    assert (about.source, about.description) == ("drawn", "drawn (built in)")
    # Resuming does not try to download again.
    network_calls.clear()
    assert run("--resume", "run", "--epochs", "2", "-q").exit_code == 0
    assert network_calls == []


def test_requested_digits_are_not_replaced_by_drawn_ones(network_calls: list[Any]) -> None:
    result = run("--data", "digits", "--epochs", "1", "--out", "run")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "could not be downloaded" in result.stderr
    assert result.stderr.count("\n") == 1
    assert network_calls
    assert not Path("run").exists()


def test_damaged_digits_are_not_replaced_by_drawn_ones(network_calls: list[Any]) -> None:
    Path("data").mkdir()
    Path("data/dataset.json").write_text("[]")
    assert "dataset.json" in error_line("--epochs", "1")
    assert network_calls == []


# ---- stopping and resuming ----


def test_three_epochs_and_three_more_make_the_same_bytes_as_six() -> None:
    assert run(*SMALL, "-q", "--epochs", "6", "--out", "whole").exit_code == 0
    assert run(*SMALL, "-q", "--epochs", "3", "--out", "parts").exit_code == 0
    assert run("--resume", "parts", "--epochs", "6", "-q").exit_code == 0
    assert model_bytes("parts") == model_bytes("whole")


class SignalView(View):
    """Sends a signal to this process after an epoch."""

    def __init__(self, number: signal.Signals, epoch: int) -> None:
        self.number, self.at = number, epoch
        self.chunks_after = 0

    def epoch(self, report: EpochReport) -> None:
        if report.epoch == self.at:
            signal.raise_signal(self.number)

    def chunk(self, report: ChunkReport) -> None:
        self.chunks_after += report.epoch > self.at


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_a_session_and_the_handlers_are_restored(number: signal.Signals) -> None:
    before = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
    stopped, view = session(), SignalView(number, 3)
    with pytest.raises(Interrupted) as caught:
        train(stopped, view)
    assert (caught.value.signal, stopped.epochs, view.chunks_after) == (number, 3, 0)
    assert load_model("run").card.epochs == 3
    assert not Path("run/model.safetensors").exists()
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == before
    train(session(out="whole"), View())
    train(Session.resume("run"), View())
    assert model_bytes("run") == model_bytes("whole")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_message_after_a_signal_says_how_to_continue(
    number: signal.Signals, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    epoch = Trainer.epoch

    def signalled(self: Trainer, k: int, on_chunk: Any) -> Any:
        if k == 3:
            signal.raise_signal(number)
        return epoch(self, k, on_chunk)

    monkeypatch.setattr(Trainer, "epoch", signalled)
    result = run(*SMALL, "--epochs", "5", "--out", "run", "--quiet", "--json")
    assert (result.exit_code, result.stdout) == (code, "")
    assert result.stderr == "stopped: epoch 2 is saved; continue with: fastnn train --resume run\n"


# As LLVM does while Numba compiles, it calls Python from C, where ctypes discards exceptions.
SIGNAL_IN_A_CALLBACK = """
import ctypes, signal, sys
from fastnn.cli import main
from fastnn.training import Trainer
number = int(sys.argv.pop(1))
def compile(_):
    ctypes.CFUNCTYPE(None)(lambda: signal.raise_signal(number))()
    raise AssertionError("went on compiling")
Trainer.warm_up = compile
main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("networks", ["1", "2"])
def test_a_signal_while_it_compiles_ends_the_process(number: signal.Signals, networks: str) -> None:
    options = (*SMALL, "--epochs", "3", "--ensemble", networks, "--out")
    assert run(*options, "whole", "-q").exit_code == 0
    for more in ((*options, "run"), ("--resume", "run")):
        done = run_python(SIGNAL_IN_A_CALLBACK, str(int(number)), "train", *more, cwd=Path())
        assert (done.returncode, done.stdout) == (128 + number, "")
        assert done.stderr == "stopped: nothing was trained yet; continue with: fastnn train --resume run\n"
    assert run("--resume", "run", "-q").exit_code == 0
    assert model_bytes("run") == model_bytes("whole")
    done = run_python(SIGNAL_IN_A_CALLBACK, str(int(number)), "train", "--resume", "run", "--epochs", "4", cwd=Path())
    assert done.stderr == "stopped: epoch 3 is saved; continue with: fastnn train --resume run\n"
    assert model_bytes("run") == model_bytes("whole")


def test_a_second_ctrl_c_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    class Exited(BaseException):
        pass

    def exit_now(code: int) -> None:
        raise Exited(code)

    def checkpoint(*_: object) -> None:
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("writing continued")

    started, view = session(), SignalView(signal.SIGINT, 1)
    started.open()
    monkeypatch.setattr(os, "_exit", exit_now)
    monkeypatch.setattr(Run, "checkpoint", checkpoint)
    with pytest.raises(Exited, match="130"):
        train(started, view)


def test_a_signal_after_the_last_epoch_has_no_effect() -> None:
    train(session(out="whole"), View())
    train(session(out="signalled"), SignalView(signal.SIGINT, 6))
    assert model_bytes("signalled") == model_bytes("whole")


@pytest.mark.parametrize("left", ["model and checkpoint", "older checkpoint"])
def test_a_run_killed_between_model_and_checkpoint_can_be_finished(left: str) -> None:
    train(session(out="whole"), View())
    with pytest.raises(Interrupted):
        train(session(), SignalView(signal.SIGINT, 4))
    name = "run/checkpoint.safetensors"
    older = Path(name).read_bytes()
    train(Session.resume("run"), View())
    Path(name).write_bytes(Path("run/model.safetensors").read_bytes() if left.startswith("model") else older)
    train(Session.resume("run"), View())
    assert not Path(name).exists()
    assert model_bytes("run") == model_bytes("whole")


def test_resume_cannot_change_recipe_or_data() -> None:
    options = ("--data", "data.npz", "--hidden", "16", "--epochs", "2")
    assert run(*options, "--out", "run", "-q").exit_code == 0
    before = {path: path.read_bytes() for path in Path("run").iterdir()}
    changed = {
        "hidden": "17",
        "lr": "0.5",
        "lr-decay": "0.9",
        "lr-every": "4",
        "seed": "1",
        "test-fraction": "0.2",
        "per-class": "4",
        "dtype": "float64",
        "first-layer": "dense",
    }
    for option, value in changed.items():
        message = error_line("--resume", "run", "--epochs", "4", f"--{option}", value)
        assert f"run: --resume cannot change the recipe; drop --{option}" in message
    Path("mine.toml").write_text("lr = 0.5\n")
    assert "drop --recipe" in error_line("--resume", "run", "--epochs", "4", "--recipe", "mine.toml")
    assert "trained for 2 epochs already" in error_line("--resume", "run")
    assert "trained for 2 epochs already" in error_line("--resume", "run", "--epochs", "1")
    assert "epochs must be" in error_line("--resume", "run", "--epochs", "0")
    save_npz(blobs(120, seed=5), Path("other.npz"))
    assert "is not the data that run was trained on (data.npz)" in error_line(
        "--resume", "run", "--epochs", "4", "--data", "other.npz"
    )
    assert {path: path.read_bytes() for path in Path("run").iterdir()} == before
    # The same options and the same data in another file are accepted.
    Path("data.npz").rename("moved.npz")
    same = ("--hidden", "16", "--recipe", "original")
    result = run("--resume", "run", "--data", "moved.npz", "--epochs", "4", *same, "-q")
    assert (result.exit_code, result.output) == (0, "")


def test_resume_refuses_the_name_of_another_recipe() -> None:
    Path("mine.toml").write_text("lr = 0.5\n")
    assert run(*SMALL, "--recipe", "mine.toml", "--epochs", "1", "--out", "run", "-q").exit_code == 0
    assert "drop --recipe" in error_line("--resume", "run", "--epochs", "2", "--recipe", "original")


def test_a_run_with_a_cosine_schedule_cannot_be_extended() -> None:
    Path("mine.toml").write_text('schedule = "cosine"\n')
    assert run(*SMALL, "--recipe", "mine.toml", "--epochs", "3", "--out", "run", "-q").exit_code == 0
    assert "depend on its 3 epochs; drop epochs= (--epochs)" in error_line("--resume", "run", "--epochs", "6")


def test_a_checkpoint_without_its_state_is_refused() -> None:
    Path("mine.toml").write_text('averaging = "ema"\n')
    assert run(*SMALL, "--recipe", "mine.toml", "--epochs", "2", "--out", "run", "-q").exit_code == 0
    file = Path("run/model.safetensors")
    write_model(load_model(file), file)
    assert "run: the training state does not fit the recipe" in error_line("--resume", "run", "--epochs", "4")


@pytest.mark.parametrize("networks", [1, 2])
def test_a_run_killed_before_its_first_checkpoint_begins_anew(networks: int) -> None:
    options = (*SMALL, "--epochs", "2", "--ensemble", str(networks), "-q")
    assert run(*options, "--out", "whole").exit_code == 0
    Path("dead").mkdir()
    Path("dead/recipe.toml").write_bytes(Path("whole/recipe.toml").read_bytes())
    assert "dead: exists already" in error_line(*options, "--out", "dead")
    asked = "dead: was stopped before it saved what it is trained on; give its data with dataset= (--data)"
    assert asked in error_line("--resume", "dead")
    done = run("--resume", "dead", "--data", "data.npz", "-q")
    assert (done.exit_code, done.stderr) == (0, "note: dead: nothing was saved; training begins anew from its recipe\n")
    assert Path("dead/model.safetensors").read_bytes() == Path("whole/model.safetensors").read_bytes()


def test_a_resumed_run_keeps_its_target() -> None:
    rows = "".join(f"{k % 7},{k % 5},{k % 3}\n" for k in range(40))
    Path("t.csv").write_text(f"a,b,y\n{rows}")
    Path("mine.toml").write_text('rule = "backprop"\nstandardise = true\n')
    options = ("--data", "t.csv", "--target", "b", "--task", "regression", "--epochs", "2", "-q")
    assert run(*options, "--recipe", "mine.toml", "--out", "whole").exit_code == 0
    assert "reads the run's data as before" in error_line("--resume", "whole", "--target", "y")
    more = ("--resume", "whole", "--epochs", "3", "--data", "t.csv")
    assert "t.csv: is not the data that whole was trained on" in error_line(*more, "--target", "y")
    Path("dead").mkdir()
    Path("dead/recipe.toml").write_bytes(Path("whole/recipe.toml").read_bytes())
    assert run("--resume", "dead", *options).exit_code == 0
    assert Path("dead/model.safetensors").read_bytes() == Path("whole/model.safetensors").read_bytes()


def test_a_name_that_is_too_long_is_refused_in_one_line() -> None:
    name = "x" * 300
    message = "(File name too long); name another one (--out)"
    assert message in error_line(*SMALL, "--out", name)
    assert message in error_line(*SMALL, "--out", f"{name}/run")
    assert "x: no run folder to resume (File name too long)" in error_line("--resume", name)
