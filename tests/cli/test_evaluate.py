import io
import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from fastnn.cli import app, evaluate
from fastnn.datasets import Dataset, load_dataset, split
from fastnn.datasets.split import Split
from fastnn.errors import DataError, ModelError
from fastnn.evaluation.metrics import evaluate as measure
from fastnn.evaluation.saved_model import evaluate_file
from fastnn.formats import save_model
from fastnn.model import DataCard, Model, ModelCard
from fastnn.recipe import Recipe
from tests.models import DIGITS, model, network

runner = CliRunner()


@pytest.fixture(autouse=True)
def isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTNN_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("FASTNN_DATA", raising=False)
    monkeypatch.chdir(tmp_path)


def write_data(path: str, *, n: int = 60, test: int = 0, seed: int = 0) -> Dataset:
    """Write a data set of noise, with a separate test set if `test` is not 0; return it as loaded from the file."""
    rng = np.random.default_rng(seed)
    parts = {"train": n, "t10k": test} if test else {"": n}
    folder = Path(path)
    if test:
        folder.mkdir()
    for name, count in parts.items():
        images, labels = rng.integers(80, 256, (count, 784), dtype=np.uint8), np.arange(count) % 10
        if not test:
            np.savez(folder, images=images, labels=labels)
            continue
        header = np.array([0x803, count, 28, 28], ">i4").tobytes()
        (folder / f"{name}-images-idx3-ubyte").write_bytes(header + images.tobytes())
        header = np.array([0x801, count], ">i4").tobytes()
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(header + labels.astype(np.uint8).tobytes())
    return load_dataset(path)


def write_model(data: Dataset | None, *, seed: int = 5, fraction: float = 0.25) -> Model:
    about = None
    if data is not None:
        split = Split.of(data, fraction, seed)
        about = DataCard(source=data.source, description=data.source, hash=data.content_hash, split=split)
    card = ModelCard(recipe=Recipe(seed=seed, test_fraction=fraction), data=about)
    made = Model((network(),), DIGITS, card=card)
    save_model(made, "m.safetensors")
    return made


def test_the_published_network_gets_5337_of_6844_right(shared: Path) -> None:
    result = runner.invoke(
        app,
        [
            "evaluate",
            str(shared / "original" / "NN.json"),
            "--data",
            str(shared / "digits" / "dataset.json"),
            "--split",
            "all",
            "--json",
        ],
    )
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert len(lines) == 1
    figures = json.loads(lines[0])
    assert (figures["correct"], figures["total"]) == (5337, 6844)
    assert figures["accuracy"] == 5337 / 6844
    assert np.trace(figures["confusion"]) == 5337
    assert {row["class"] for row in figures["per_class"]} == set(DIGITS)
    assert set(figures) == {
        *("model", "data", "split", "accuracy", "balanced_accuracy"),
        *("correct", "total", "loss", "per_class", "confusion"),
    }


def test_the_test_set_is_the_one_held_back_from_training() -> None:
    data = write_data("a.npz")
    made = write_model(data)
    train, test = split(data, 0.25, 5)
    for wanted, part in ((None, test), ("test", test), ("train", train), ("all", data)):
        report = evaluate_file("m.safetensors", part=wanted)  # type: ignore[arg-type]
        assert np.array_equal(report.evaluation.confusion, measure(made, part).confusion)
        assert report.split == (wanted or "test")
        assert report.data == "a.npz"
    assert "the model was trained on most of these images" in evaluate_file("m.safetensors", part="all").notes[0]


def test_other_data_are_used_completely_with_a_note() -> None:
    made = write_model(write_data("a.npz"))
    other = write_data("b.npz", seed=1)
    report = evaluate_file("m.safetensors", "b.npz")
    assert (report.split, report.evaluation.total) == ("all", 60)
    assert report.notes == ("b.npz is not the data that the model was trained on",)
    report = evaluate_file("m.safetensors", "b.npz", "test")
    assert np.array_equal(report.evaluation.confusion, measure(made, split(other, 0.1, 0)[1]).confusion)
    assert "is split with test fraction 0.1" in report.notes[1]


def test_a_separate_test_set_is_used() -> None:
    data = write_data("set", n=40, test=20)
    write_model(None)
    assert data.test is not None
    for wanted, total in ((None, 20), ("test", 20), ("train", 40), ("all", 60)):
        assert evaluate_file("m.safetensors", "set", wanted).evaluation.total == total  # type: ignore[arg-type]


def test_a_model_without_data_asks_for_a_data_set() -> None:
    save_model(model(), "m.safetensors")
    with pytest.raises(ModelError, match="give a data set with --data"):
        evaluate_file("m.safetensors")


def test_missing_data_are_named() -> None:
    write_model(write_data("a.npz"))
    Path("a.npz").unlink()
    with pytest.raises(DataError, match=r"^a\.npz: no such file .* m\.safetensors was trained on these data, give"):
        evaluate_file("m.safetensors")


def test_a_model_without_a_split_is_tested_on_the_default_split() -> None:
    data = write_data("a.npz")
    about = DataCard(source="a.npz", description="a", hash=data.content_hash)
    save_model(Model((network(),), DIGITS, card=ModelCard(data=about)), "m.safetensors")
    assert evaluate_file("m.safetensors").evaluation.total == 6


def test_a_missing_test_set_is_named() -> None:
    data = write_data("a.npz")
    about = DataCard(source="a.npz", description="a", hash=data.content_hash, split=Split(kind="own"))
    save_model(Model((network(),), DIGITS, card=ModelCard(data=about)), "m.safetensors")
    with pytest.raises(DataError, match="has no test set of its own"):
        evaluate_file("m.safetensors")
    assert evaluate_file("m.safetensors", part="all").evaluation.total == 60


def test_a_model_with_another_number_of_inputs_is_refused() -> None:
    write_data("a.npz")
    save_model(model(16, 3, 10), "m.safetensors")
    with pytest.raises(ModelError, match=r"^m\.safetensors: the model takes 16 values"):
        evaluate_file("m.safetensors", "a.npz")


def test_the_tables_are_plain_text_in_a_pipe() -> None:
    write_model(write_data("a.npz"))
    result = runner.invoke(app, ["evaluate", "m.safetensors", "--split", "all"])
    assert result.exit_code == 0, result.output
    assert "\x1b" not in result.stdout
    for words in ("a.npz, all", "of 60)", "balanced accuracy", "precision", "confusion matrix"):
        assert words in result.stdout
    assert "note: the model was trained on most" in result.stderr
    assert max(map(len, result.stdout.splitlines())) <= 120


def test_the_confusion_matrix_is_coloured_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    write_model(write_data("a.npz"))
    file = io.StringIO()
    monkeypatch.setattr(
        evaluate, "out", lambda: Console(file=file, force_terminal=True, color_system="truecolor", width=120)
    )
    assert runner.invoke(app, ["evaluate", "m.safetensors", "--split", "all"]).exit_code == 0
    # Cells above 0 have a background and a text colour.
    assert "\x1b[37;48;2;" in file.getvalue() or "\x1b[30;48;2;" in file.getvalue()


def test_many_classes_are_shown_by_their_most_frequent_confusions() -> None:
    classes = tuple(f"class [{k}]" for k in range(30))
    labels = np.arange(90, dtype=np.int64) % 30
    images = np.random.default_rng(0).integers(0, 256, (90, 784), dtype=np.uint8)
    np.savez("a.npz", images=images, labels=np.array(classes)[labels])
    save_model(Model((network(784, 30),), classes), "m.safetensors")
    result = runner.invoke(app, ["evaluate", "m.safetensors", "--data", "a.npz"])
    assert result.exit_code == 0, result.output
    assert "most frequent confusions" in result.stdout
    assert "class [29]" in result.stdout
