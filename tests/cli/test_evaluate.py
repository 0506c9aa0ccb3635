import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from scipy.sparse import csr_array

from fastnn.cli import evaluate
from fastnn.datasets import Dataset, SparseRows, load_dataset, split
from fastnn.datasets.split import Split
from fastnn.datasets.writers import write_dataset
from fastnn.errors import DataError, ModelError
from fastnn.evaluation.metrics import evaluate as measure
from fastnn.evaluation.saved_model import evaluate_file
from fastnn.formats import save_model
from fastnn.model import DataCard, Model, ModelCard
from fastnn.recipe import Recipe, presets
from fastnn.session import Session
from tests.helpers import invoke, linear_table, save_table
from tests.models import DIGITS, model, network


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
    result = invoke(
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
        *("correct", "total", "loss", "per_class", "confusion", "task", "log_loss", "roc_auc"),
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
    result = invoke(["evaluate", "m.safetensors", "--split", "all"])
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
    assert invoke(["evaluate", "m.safetensors", "--split", "all"]).exit_code == 0
    # Cells above 0 have a background and a text colour.
    assert "\x1b[37;48;2;" in file.getvalue() or "\x1b[30;48;2;" in file.getvalue()


def test_many_classes_are_shown_by_their_most_frequent_confusions() -> None:
    classes = tuple(f"class [{k}]" for k in range(30))
    labels = np.arange(90, dtype=np.int64) % 30
    images = np.random.default_rng(0).integers(0, 256, (90, 784), dtype=np.uint8)
    np.savez("a.npz", images=images, labels=np.array(classes)[labels])
    save_model(Model((network(784, 30),), classes), "m.safetensors")
    result = invoke(["evaluate", "m.safetensors", "--data", "a.npz"])
    assert result.exit_code == 0, result.output
    assert "most frequent confusions" in result.stdout
    assert "class [29]" in result.stdout


def table_run(path: str, data: Dataset) -> Model:
    """Train a model of a table for one epoch; the file of the data is `path`."""
    save_table(data, Path(path))
    target = data.names if data.task != "classification" else ("target",)
    source = load_dataset(path, target=target, task=data.task)
    session = Session(source, presets["table"].replace(epochs=1, hidden=(4,)), "run")
    assert len(list(session)) == 1
    return session.model


def test_a_regression_is_evaluated_on_its_own_table_and_on_another() -> None:
    made = table_run("t.csv", linear_table(60, targets=2))
    result = invoke(["evaluate", "run", "--json"])
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    assert (figures["task"], figures["split"], figures["total"]) == ("regression", "test", 6)
    assert {f"test_{name}": figures[name] for name in ("r2", "mae", "rmse", "loss")} == made.card.metrics
    shown = invoke(["evaluate", "run"])
    assert shown.exit_code == 0
    for words in ("t.csv, test part", "R2", "(6 rows)", "RMSE", "targets", "price", "weight"):
        assert words in shown.stdout
    # Target and task are those of the model, the order of the columns is not.
    lines = save_table(linear_table(40, targets=2, seed=1), Path("u.csv")).read_text().splitlines()
    Path("u.csv").write_text("\n".join(",".join(line.split(",")[::-1]) for line in lines) + "\n")
    other = evaluate_file("run", "u.csv")
    assert other.evaluation.as_dict() == measure(made, linear_table(40, targets=2, seed=1)).as_dict()
    assert (other.split, other.evaluation.total) == ("all", 40)
    wrong = invoke(["evaluate", "run", "--data", "u.csv", "--target", "age"])
    assert (wrong.exit_code, wrong.stdout) == (2, "")
    assert "u.csv: has no " in wrong.stderr


def test_two_classes_have_roc_auc_and_log_loss() -> None:
    data = linear_table(60)
    above = (data.targets[:, 0] > 0).astype(np.int64)
    table_run("t.csv", replace(data, targets=above, names=("0", "1")))
    shown = invoke(["evaluate", "run", "--split", "train"])
    assert shown.exit_code == 0, shown.output
    # A long title above a narrow table is one line.
    assert "confusion matrix (rows: label, columns: prediction)" in shown.stdout
    for words in ("ROC AUC", "log loss", "balanced accuracy", "rows"):
        assert words in shown.stdout
    assert "images" not in shown.stdout
    assert "--split test for the others" in invoke(["evaluate", "run", "--split", "all"]).stderr


def test_labels_have_a_table() -> None:
    data = linear_table(60, targets=2)
    table_run("t.csv", replace(data, targets=(data.targets > 0).astype(np.uint8)))
    shown = invoke(["evaluate", "run"])
    assert shown.exit_code == 0, shown.output
    for words in (" of 6)", "label accuracy", "macro F1", "labels", "price", "ROC AUC"):
        assert words in shown.stdout


def test_a_model_of_images_refuses_a_table_and_the_other_way_round() -> None:
    write_model(write_data("a.npz"))
    save_table(replace(linear_table(20), targets=np.arange(20) % 2, names=("0", "1")), Path("t.csv"))
    result = invoke(["evaluate", "m.safetensors", "--data", "t.csv"])
    assert result.exit_code == 2
    assert "t.csv: holds a table, but the model takes images" in result.stderr
    table_run("u.csv", replace(linear_table(40), targets=np.arange(40) % 2, names=("0", "1")))
    result = invoke(["evaluate", "run", "--data", "a.npz"])
    assert result.exit_code == 2
    assert "a.npz: holds images, but the model takes rows of a table" in result.stderr
    assert "u.npz: no such file" in invoke(["evaluate", "run", "--data", "u.npz"]).stderr


@pytest.mark.parametrize("as_sparse", [False, True])
def test_a_table_with_its_own_test_set_is_evaluated_as_a_whole(as_sparse: bool) -> None:
    parts = [linear_table(n, seed=n) for n in (30, 10)]
    if as_sparse:
        dense = [np.where(np.asarray(part.features) > 5, part.features, 0.0) for part in parts]
        sparse = [SparseRows.from_scipy(csr_array(rows)) for rows in dense]
        parts = [replace(part, features=rows) for part, rows in zip(parts, sparse, strict=True)]
    write_dataset(replace(parts[0], test=parts[1]), Path("t.npz"))
    session = Session(load_dataset("t.npz"), presets["table"].replace(epochs=1, hidden=(4,)), "run")
    assert len(list(session)) == 1
    assert evaluate_file("run").evaluation.total == 10
    whole = evaluate_file("run", part="all")
    assert whole.evaluation.total == 40
    errors = [np.abs(part.targets[:, 0] - session.model.predict(part.features)) for part in parts]
    assert whole.evaluation.metrics["test_mae"] == pytest.approx(np.concatenate(errors).mean())
