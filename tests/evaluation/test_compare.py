import json
from dataclasses import astuple, replace
from pathlib import Path

import numpy as np
import pytest

from fastnn.datasets import Dataset, ReadOptions, load_dataset, split
from fastnn.datasets.split import Split
from fastnn.errors import DataError, FastnnError
from fastnn.evaluation.compare import compare
from fastnn.evaluation.intervals import mcnemar, wilson_interval
from fastnn.evaluation.metrics import evaluate
from fastnn.evaluation.student import PairedTest
from fastnn.formats import save_model
from fastnn.model import DataCard, Model, ModelCard
from fastnn.network import Network
from fastnn.recipe import Recipe
from tests.helpers import DIGITS, blobs, invoke, linear_table, save_npz, save_table
from tests.models import network

HISTORY = (
    "epoch,lr,loss,accuracy,test_loss,test_accuracy,samples_per_second,seconds,test_seconds\n"
    "{},0.01,0.5,0.25,,0.125,1000.0,{},0.02\n"
    "{},0.01,0.5,0.25,,0.125,1000.0,{},0.02\n"
)


@pytest.fixture(autouse=True)
def isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    save_npz(blobs(200), tmp_path / "a.npz")
    return load_dataset("a.npz")


def write_run(
    name: str,
    data: Dataset | None,
    *,
    seed: int = 0,
    draw: int = 0,
    lr: float = 0.01,
    how: Split | None = None,
    divided: bool = True,
) -> Model:
    """Save a model that says it was trained on `data`, split with `seed`; its weights are initialised with `draw`."""
    card = ModelCard()
    if data is not None:
        about = DataCard(
            source=data.source,
            description=data.source,
            hash=data.content_hash,
            split=(how or Split(fraction=0.25, seed=seed)) if divided else None,
        )
        trained = Recipe(name="t", seed=seed, test_fraction=0.25, lr=lr)
        card = ModelCard(recipe=trained, epochs=3, data=about)
    made = Model((network(784, 6, 10, seed=draw),), DIGITS, card=card)
    Path(name).mkdir()
    save_model(made, f"{name}/model.safetensors")
    return made


def test_held_back_is_what_split_tests_on() -> None:
    data = blobs(90)
    mask = Split(fraction=0.3, seed=4).test_mask(data)
    train, test = split(data, 0.3, 4)
    assert np.array_equal(data.images[mask], test.images)
    assert np.array_equal(data.images[~mask], train.images)


def test_runs_of_one_split(data: Dataset) -> None:
    models = [write_run("one", data, draw=1), write_run("two", data, draw=2, lr=0.5)]
    Path("one/history.csv").write_text(HISTORY.format(1, 0.5, 2, 0.25))
    Path("two/history.csv").write_text(HISTORY.format(1, "x", 2, 0.25))
    result = compare(["one", "two"])
    test = split(data, 0.25, 0)[1]
    for row, made in zip(result.rows, models, strict=True):
        expected = evaluate(made, test)
        assert (row.correct, row.total, row.accuracy) == (expected.correct, 50, expected.accuracy)
        assert (row.low, row.high) == wilson_interval(expected.correct, 50)
        assert (row.epochs, row.data, row.layers) == (3, "a.npz", (784, 6, 10))
    assert [row.seconds for row in result.rows] == [0.75, None]
    assert result.differences == ("lr",)
    assert result.notes == ()
    (pair,) = result.pairs
    assert pair.shared == 50
    assert pair.test == mcnemar(*(made.predict(test.images) == test.labels for made in models))
    assert pair.p_adjusted == pair.test.p


def test_runs_with_different_splits_are_compared_on_images_new_to_both(data: Dataset) -> None:
    models = [write_run("one", data, draw=1), write_run("two", data, seed=9, draw=2)]
    result = compare(["one", "two"])
    shared = Split(fraction=0.25, seed=0).test_mask(data) & Split(fraction=0.25, seed=9).test_mask(data)
    assert 0 < shared.sum() < 50
    (pair,) = result.pairs
    assert pair.shared == shared.sum()
    right = [int(np.sum(made.predict(data.images[shared]) == data.labels[shared])) for made in models]
    assert [pair.first_correct, pair.second_correct] == right
    assert "different test sets" in result.notes[0]


def test_a_common_test_set(data: Dataset, tmp_path: Path) -> None:
    write_run("one", data)
    made = write_run("none", None, draw=3)
    save_npz(blobs(60, seed=5), tmp_path / "b.npz")
    other = load_dataset("b.npz")
    result = compare(["one", "none"], "b.npz")
    assert [row.total for row in result.rows] == [60, 60]
    assert result.rows[1].correct == evaluate(made, other).correct
    assert result.pairs[0].shared == 60
    assert "none does not say what it was trained on" in result.notes[0]
    own = compare(["one", "none"], "a.npz")
    assert [row.total for row in own.rows] == [50, 50]
    assert own.rows[1].correct == evaluate(made, split(data, 0.25, 0)[1]).correct


def test_training_images_from_another_data_set_are_not_tested_on(data: Dataset, tmp_path: Path) -> None:
    """One run was trained on the original data, the other on a cleaned version; both are tested on the original."""
    write_run("one", data)
    cleaned = data.take(np.arange(0, 200, 2))
    save_npz(cleaned, tmp_path / "cleaned.npz")
    write_run("two", load_dataset("cleaned.npz"), seed=5)
    result = compare(["one", "two"], "a.npz")
    trained_on = {image.tobytes() for image in cleaned.images[~Split(fraction=0.25, seed=5).test_mask(cleaned)]}
    unseen = [image.tobytes() not in trained_on for image in data.images]
    assert result.rows[0].total == np.sum(Split(fraction=0.25, seed=0).test_mask(data) & unseen) < 50
    assert result.notes == ()
    (tmp_path / "cleaned.npz").unlink()
    result = compare(["one", "two"], "a.npz")
    assert result.rows[0].total == 50
    assert result.notes[0].startswith("two was trained on cleaned.npz, which cannot be loaded as it was; its training")


def test_runs_are_tested_on_what_their_own_kind_of_split_held_back(data: Dataset) -> None:
    by_hash = Split(kind="hash", fraction=0.25)
    write_run("one", data, draw=1)
    made = write_run("two", data, draw=2, how=by_hash)
    result = compare(["one", "two"])
    held = by_hash.test_mask(data)
    assert [row.tested_on for row in result.rows] == [
        "a.npz, 25% held out, seed 0",
        "a.npz, 25% held out, by SHA-256",
    ]
    assert result.rows[1].total == held.sum()
    assert result.rows[1].correct == np.sum(made.predict(data.images[held]) == data.labels[held])
    assert result.pairs[0].shared == np.sum(held & Split(fraction=0.25, seed=0).test_mask(data))
    write_run("three", data, how=Split(kind="own"))
    with pytest.raises(FastnnError, match="has no test set of its own"):
        compare(["one", "three"])


def test_runs_on_different_data_share_nothing(data: Dataset, tmp_path: Path) -> None:
    write_run("one", data)
    save_npz(blobs(80, seed=5), tmp_path / "b.npz")
    write_run("two", load_dataset("b.npz"))
    result = compare(["one", "two"])
    assert (result.pairs[0].shared, result.pairs[0].test, result.pairs[0].better) == (0, None, None)
    assert "--data" in result.notes[0]


def test_a_run_is_called_better_only_if_the_difference_is_significant(data: Dataset) -> None:
    test = split(data, 0.25, 0)[1]
    good = write_run("good", data)
    # Class means as weights: a network without a hidden layer that classifies the blobs.
    made = Network((784, 10))
    ink = 1 - data.images / 255
    for k in range(10):
        made.weights[0][:, k] = -(ink[data.labels == k].mean(axis=0) - ink.mean(axis=0))
    save_model(Model((made,), DIGITS, card=good.card), "good/model.safetensors")
    write_run("bad", data, draw=4)
    write_run("same", data, draw=4)
    result = compare(["bad", "good", "same"])
    by = {(pair.first, pair.second): pair for pair in result.pairs}
    assert result.rows[1].accuracy > 0.8
    assert by["bad", "good"].better == by["good", "same"].better == "good"
    assert by["bad", "same"].better is None
    first = by["bad", "good"]
    assert first.test is not None
    assert first.p_adjusted is not None
    assert first.p_adjusted > first.test.p
    assert first.shared == len(test)


@pytest.mark.parametrize(
    ("runs", "data_source", "words"),
    [
        (["one"], None, "at least two runs"),
        (["one", "one"], None, "given twice"),
        (["one", "none"], None, "none: does not say what data"),
        (["one", "gone"], None, "gone: no such file"),
        (["one", "moved"], None, "moved was trained on these data, give others with --data"),
        (["one", "changed"], None, "is not the data that changed was trained on"),
        (["one", "undivided"], None, "undivided: does not say how its data were split"),
        (["one", "two"], "gone.npz", "gone.npz: no such file"),
    ],
)
def test_runs_that_cannot_be_compared_are_named(
    runs: list[str], data_source: str | None, words: str, data: Dataset
) -> None:
    write_run("one", data)
    write_run("two", data)
    write_run("none", None)
    write_run("moved", replace(data, source="b.npz"))
    write_run("changed", replace(data, targets=data.labels[::-1].copy(), source="a.npz"))
    write_run("undivided", data, divided=False)
    with pytest.raises(FastnnError, match=words):
        compare(runs, data_source)


@pytest.mark.usefixtures("data")
def test_the_evaluate_command_writes_a_report(data: Dataset) -> None:
    write_run("one", data, draw=1)
    write_run("two[b]", data, draw=2, lr=0.5)
    result = invoke(["compare", "one", "two[b]", "--json"])
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    assert [run["run"] for run in figures["runs"]] == ["one", "two[b]"]
    assert set(figures["pairs"][0]) == {
        *("first", "second", "shared", "first_score", "second_score", "first_correct", "second_correct"),
        *("test", "p_adjusted", "better"),
    }
    assert figures["pairs"][0]["test"]["method"] == "exact"
    run = figures["runs"][0]
    assert run["figures"]["accuracy"] == {"value": run["accuracy"], "low": run["low"], "high": run["high"]}
    assert run["accuracy"] == run["correct"] / run["total"]
    shown = invoke(["compare", "one", "two[b]"])
    assert shown.exit_code == 0
    for words in ("two[b]", "784-6-10", "95% interval", "lr", "McNemar", "exact binomial"):
        assert words in shown.stdout
    failed = invoke(["compare", "one"])
    assert (failed.exit_code, failed.stdout) == (2, "")
    assert len(failed.stderr.strip().splitlines()) == 1


def write_table_run(name: str, data: Dataset, *, factor: float, seed: int = 0, task: str = "regression") -> Model:
    """Save a model of a table; it predicts the targets of `linear_table`, times `factor`."""
    output = {"regression": "identity", "multilabel": "sigmoid", "classification": "softmax"}[task]
    made = Network((3, len(data.names)), rule="backprop", output=output, dtype=np.float64)  # type: ignore[arg-type]
    made.weights[0][:, :] = 0.0
    made.weights[0][:, -1] = np.array([1.0, -1.0, 0.5]) * factor
    made.biases[0][-1] = -2.5 * factor
    about = DataCard(
        source=data.source,
        description=data.source,
        hash=data.content_hash,
        split=Split(fraction=0.25, seed=seed),
        target=data.names if task != "classification" else None,
        task=task,  # type: ignore[arg-type]
    )
    trained = Recipe(name="t", seed=seed, test_fraction=0.25)
    card = ModelCard(recipe=trained, epochs=3, data=about)
    model = Model((made,), data.names, takes="rows", columns=data.columns, card=card)
    Path(name).mkdir()
    save_model(model, f"{name}/model.safetensors")
    return model


def table_file(path: str, n: int = 200, *, seed: int = 0) -> Dataset:
    save_table(linear_table(n, seed=seed), Path(path))
    return load_dataset(path, target="price", task="regression")


def test_regressions_are_compared_by_r2_and_their_squared_errors() -> None:
    data = table_file("t.csv")
    models = [write_table_run("good", data, factor=1.0), write_table_run("bad", data, factor=0.5)]
    result = compare(["good", "bad"])
    test = split(data, 0.25, 0)[1]
    measured = [evaluate(made, test) for made in models]
    assert result.task == "regression"
    for row, expected in zip(result.rows, measured, strict=True):
        assert list(row.figures) == ["r2", "mae", "rmse"]
        assert (row.metric, row.total, row.correct, row.accuracy) == ("r2", 50, None, None)
        assert row.score == expected.score
        assert row.low < row.score < row.high
        assert row.figures["rmse"].value == expected.metrics["test_rmse"]
    (pair,) = result.pairs
    assert isinstance(pair.test, PairedTest)
    assert (pair.first_score, pair.second_score) == pytest.approx([one.score for one in measured])
    assert pair.test.difference == pytest.approx(measured[0].score - measured[1].score)
    assert pair.better == "good"
    figures = json.loads(json.dumps(result.as_dict(), allow_nan=False))
    assert figures["runs"][0]["r2"] == result.rows[0].score
    assert compare(["good", "bad"], "t.csv", options=ReadOptions(("price",), "regression")).pairs == result.pairs
    shown = invoke(["compare", "good", "bad"])
    assert shown.exit_code == 0, shown.output
    for words in ("R2", "RMSE", "95% interval", "paired t-test", "A is better", "Diebold", "bootstrap"):
        assert words in shown.stdout


def test_rows_that_a_run_was_trained_on_are_left_out_in_other_data_too() -> None:
    data = table_file("t.csv")
    write_table_run("one", data, factor=1.0)
    write_table_run("two", data, factor=0.9, seed=1)
    lines = Path("t.csv").read_text().splitlines()
    # Other columns, in another order: the rows are compared as the model takes them.
    turned = [",".join([*line.split(",")[::-1], "x"]) for line in lines[:101]]
    Path("u.csv").write_text("\n".join(turned) + "\n")
    result = compare(["one", "two"], "u.csv")
    held = Split(fraction=0.25, seed=0).test_mask(data) & Split(fraction=0.25, seed=1).test_mask(data)
    assert [row.total for row in result.rows] == [held[:100].sum()] * 2
    assert result.pairs[0].shared == held[:100].sum()
    assert result.notes == ("u.csv: columns that the model does not take are left out: x",)
    Path("u.csv").write_text("\n".join([lines[0], lines[1 + int(np.flatnonzero(~held)[0])]]) + "\n")
    with pytest.raises(FastnnError, match=r"u\.csv: every row was used to train"):
        compare(["one", "two"], "u.csv")


def test_two_classes_and_labels_are_compared_by_mcnemars_test() -> None:
    table = linear_table(120)
    above = (table.targets > 0).astype(np.int64)
    save_table(replace(table, targets=above[:, 0], names=("0", "1")), Path("c.csv"))
    data = load_dataset("c.csv")
    write_table_run("one", data, factor=1.0, task="classification")
    write_table_run("two", data, factor=-1.0, task="classification")
    result = compare(["one", "two"])
    assert list(result.rows[0].figures) == ["accuracy", "roc_auc"]
    auc = result.rows[0].figures["roc_auc"]
    assert auc.low < auc.value <= auc.high
    assert result.pairs[0].better == "one"
    save_table(replace(table, targets=above.astype(np.uint8), names=("up",)), Path("l.csv"))
    labels = load_dataset("l.csv", target="up", task="multilabel")
    write_table_run("three", labels, factor=1.0, task="multilabel")
    write_table_run("four", labels, factor=-1.0, task="multilabel")
    found = compare(["three", "four"])
    assert (found.task, found.rows[0].metric, found.pairs[0].better) == ("multilabel", "accuracy", "three")
    with pytest.raises(FastnnError, match="three: its task is multilabel, but that of one is classification"):
        compare(["one", "three"])
    made = write_run("image", None)
    assert made.takes == "images"
    with pytest.raises(FastnnError, match="one: takes rows, but image takes images"):
        compare(["image", "one"])


def test_regressions_of_other_targets_are_not_compared() -> None:
    data = table_file("t.csv")
    write_table_run("one", data, factor=1.0)
    write_table_run("two", replace(data, names=("weight",)), factor=1.0)
    with pytest.raises(FastnnError, match="two: predicts weight, but one predicts price"):
        compare(["one", "two"])


def small_parts(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    """Let all that is done in parts be done in many, and all large arrays be files."""
    monkeypatch.setenv("FASTNN_CACHE_DIR", str(cache))
    monkeypatch.setattr("fastnn.large_arrays.LARGE", 1)
    for module in ("large_arrays", "model", "evaluation.bootstrap", "evaluation.regression"):
        monkeypatch.setattr(f"fastnn.{module}.ROWS_IN_PART", 16)


def test_a_large_comparison_is_that_of_all_samples_together(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run("one", data, draw=1)
    cleaned = data.take(np.arange(0, 200, 2))
    save_npz(cleaned, tmp_path / "cleaned.npz")
    write_run("two", load_dataset("cleaned.npz"), seed=5, draw=2)
    table = linear_table(120)
    above = (table.targets > 0).astype(np.int64)
    save_table(replace(table, targets=above[:, 0], names=("0", "1")), Path("c.csv"))
    for name, factor in (("three", 1.0), ("four", -1.0)):
        write_table_run(name, load_dataset("c.csv"), factor=factor, task="classification")
    cases = (["one", "two"], "a.npz"), (["three", "four"], None)
    whole = [compare(*case) for case in cases]
    small_parts(monkeypatch, tmp_path / "cache")
    assert [compare(*case) for case in cases] == whole


def test_a_large_comparison_of_regressions_is_that_of_all_rows_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = table_file("t.csv")
    write_table_run("good", data, factor=1.0)
    write_table_run("bad", data, factor=0.5, seed=1)
    whole = compare(["good", "bad"])
    small_parts(monkeypatch, tmp_path / "cache")
    parts = compare(["good", "bad"])
    for row, expected in zip(parts.rows, whole.rows, strict=True):
        for name, figure in expected.figures.items():
            assert astuple(row.figures[name]) == pytest.approx(astuple(figure), rel=1e-9)
    (pair,), (expected_pair,) = parts.pairs, whole.pairs
    assert isinstance(pair.test, PairedTest)
    assert isinstance(expected_pair.test, PairedTest)
    for name in ("difference", "low", "high", "p"):
        assert getattr(pair.test, name) == pytest.approx(getattr(expected_pair.test, name), rel=1e-9)
    assert (pair.shared, pair.better) == (expected_pair.shared, expected_pair.better)


def test_a_split_that_holds_nothing_back_is_no_test(tmp_path: Path) -> None:
    save_npz(blobs(20), tmp_path / "a.npz")
    data, by_hash = load_dataset("a.npz"), Split(kind="hash", fraction=0.004)
    assert not by_hash.test_mask(data).any()
    write_run("one", data)
    write_run("two", data, how=by_hash)
    with pytest.raises(DataError, match=r"a\.npz: no images to test two on"):
        compare(["one", "two"])
