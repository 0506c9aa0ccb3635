"""Training on batches of a stream, and rows from standard input."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import Result

import fastnn
from fastnn import formats
from fastnn.datasets import Dataset, ReadOptions
from fastnn.errors import DataError, RecipeError
from fastnn.row_stream import batches_of
from fastnn.training_loops import BatchTrainer, stream_recipe
from tests.helpers import blobs, invoke, linear_table

RECIPE = fastnn.Recipe(hidden=(8,), epochs=1, lr=0.05)


# ---- batches ----


def parts(dataset: Dataset, n: int) -> Iterator[Dataset]:
    for start in range(0, len(dataset), n):
        yield dataset.take(np.arange(start, min(len(dataset), start + n)))


def test_one_batch_is_an_epoch() -> None:
    dataset = blobs(100)
    networks = [RECIPE.network(784, 10) for _ in range(2)]
    reports = [list(fastnn.train(networks[0], dataset, RECIPE)), list(fastnn.train(networks[1], [dataset], RECIPE))]
    assert networks[0].sha256() == networks[1].sha256()
    assert [report.loss for report in reports[0]] == [report.loss for report in reports[1]]


def test_batches_of_an_iterator_are_trained_on_as_they_come() -> None:
    network = RECIPE.network(784, 10)
    reports = list(fastnn.train(network, parts(blobs(2000), 250), RECIPE))
    assert [report.epoch for report in reports] == [*range(1, 9)]
    assert reports[-1].accuracy > 0.6 > 0.4 > reports[0].accuracy
    again = RECIPE.network(784, 10)
    list(fastnn.train(again, parts(blobs(2000), 250), RECIPE))
    assert again.sha256() == network.sha256()


def test_rows_are_standardised_as_those_of_the_first_batch_are() -> None:
    table = linear_table(900)
    recipe, notes = stream_recipe(fastnn.presets["table"].replace(hidden=(8,)))
    assert recipe.schedule == "constant"
    trainer = BatchTrainer(recipe.network(3, 1, "regression"), recipe)
    scores = [trainer.train(batch).accuracy for batch in parts(table, 300)]
    assert scores[-1] > 0.7 > 0.5 > scores[0]
    model = trainer.model()
    first = table.take(np.arange(300))
    assert model.scaling is not None
    assert np.array_equal(model.scaling.mean, first.feature_scaling.mean)
    assert (trainer.samples, trainer.batches) == (900, 3)
    assert all("has no epochs" in note for note in notes)


def test_batches_are_not_standardised_by_their_own_rows() -> None:
    recipe, _ = stream_recipe(fastnn.presets["table"].replace(hidden=(8,)))
    first, second = parts(linear_table(1000), 500)
    losses = []
    for moved in (0.0, 50.0):
        trainer = BatchTrainer(recipe.network(3, 1, "regression"), recipe)
        trainer.train(first)
        losses.append(trainer.train(replace(second, targets=second.targets + moved)).loss)
    assert losses[1] > 3 * losses[0]


def test_settings_and_batches_that_do_not_fit() -> None:
    network = RECIPE.network(784, 10)
    for change in ({"averaging": "ema"}, {"validation_fraction": 0.1}, {"patience": 2}, {"ensemble": 2}):
        with pytest.raises(RecipeError, match="which training on batches cannot have"):
            list(fastnn.train(network, [blobs(20)], RECIPE.replace(**change)))
    with pytest.raises(RecipeError, match="without test"):
        list(fastnn.train(network, [blobs(20)], RECIPE, test=blobs(20)))
    with pytest.raises(DataError, match="batch 2 has other names"):
        list(fastnn.train(network, [blobs(20), replace(blobs(20), names=tuple("abcdefghij"))], RECIPE))
    with pytest.raises(DataError, match="a batch must be a Dataset, not list"):
        list(fastnn.train(network, [[1, 2]], RECIPE))  # type: ignore[list-item]
    with pytest.raises(DataError, match="no batch was trained on yet"):
        BatchTrainer(network, RECIPE).model()


# ---- rows ----


def as_csv(table: Dataset) -> bytes:
    lines = ["width,height,age,price"]
    lines += [
        ",".join(f"{value:.17g}" for value in (*row, *target))
        for row, target in zip(table.features, table.targets, strict=True)
    ]
    return "\n".join(lines).encode() + b"\n"


def as_json_lines(table: Dataset) -> bytes:
    names = ("width", "height", "age", "price")
    return "".join(
        json.dumps(dict(zip(names, [*row, *target], strict=True))) + "\n"
        for row, target in zip(table.features.tolist(), table.targets.tolist(), strict=True)
    ).encode()


@pytest.mark.parametrize("write", [as_csv, as_json_lines])
@pytest.mark.parametrize("size", [7, 1000, 1 << 20])
def test_rows_become_batches(write: object, size: int) -> None:
    table = linear_table(1700)
    content = write(table)  # type: ignore[operator]
    pieces = [content[k : k + size] for k in range(0, len(content), size)]
    batches = list(batches_of(pieces, ReadOptions(target=("price",))))
    assert len(batches[0]) == 1000
    assert np.array_equal(np.concatenate([batch.features for batch in batches]), table.features)
    assert np.array_equal(np.concatenate([batch.targets for batch in batches]), table.targets)
    assert {batch.task for batch in batches} == {"regression"}


def test_a_byte_order_mark_is_no_part_of_the_rows() -> None:
    for content in (b'{"x": 1, "target": "no"}\n{"x": 2, "target": "yes"}\n', b"x,target\n1,no\n2,yes\n"):
        (batch,) = batches_of([b"\xef\xbb\xbf", content], ReadOptions())
        assert (batch.names, len(batch)) == (("no", "yes"), 2)
        assert [column.name for column in batch.columns or ()] == ["x"]


def test_images_with_labels_as_json_lines() -> None:
    dataset = blobs(1200)
    lines = "".join(
        json.dumps({"label": label, "image": image}) + "\n"
        for image, label in zip(dataset.images.tolist(), dataset.labels.tolist(), strict=True)
    )
    batches = list(batches_of([lines.encode()], ReadOptions(polarity="dark-on-light")))
    assert [len(batch) for batch in batches] == [1000, 200]
    assert np.array_equal(np.concatenate([batch.images for batch in batches]), dataset.images)
    assert np.array_equal(np.concatenate([batch.labels for batch in batches]), dataset.labels)


@pytest.mark.parametrize(
    ("later", "message"),
    [
        (b"1,2,c\n", "class c does not occur in the first 1,000 rows; name all with --classes"),
        (b"1,x,a\n", "line 1002, column 'b': 'x' is not a number"),
        (b"1,a\n", "line 1002 has 2 cells"),
    ],
)
def test_later_rows_that_do_not_fit_the_first(later: bytes, message: str) -> None:
    begin = b"x,b,target\n" + b"1,2,a\n3,4,b\n" * 500
    batches = batches_of([begin, later], ReadOptions())
    assert len(next(batches)) == 1000
    with pytest.raises(DataError, match=message):
        next(batches)


def test_lines_are_counted_from_the_first_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastnn.row_stream.BATCH_ROWS", 100)
    content = b"x,b,target\n" + b"1,2,a\n3,4,b\n" * 700 + b"1,x,a\n"
    with pytest.raises(DataError, match="line 1402, column 'b'"):
        list(batches_of([content], ReadOptions()))


@pytest.mark.parametrize(
    ("last", "message"),
    [
        (b'{"x": "a", "target": 3}\n', "line 1402, column 'x': 'a' is not a number"),
        (b'{"y": 1, "target": 3}\n', "line 1402 has other keys"),
        (b"{\n", "line 1402 is not a JSON object"),
    ],
)
def test_json_lines_are_counted_without_pauses_and_names(last: bytes, message: str) -> None:
    begin = b'{"x": 1, "target": 2.5}\n' * 1401
    batches = batches_of([begin, b"", b"", last], ReadOptions())
    with pytest.raises(DataError, match=message):
        list(batches)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no rows"),
        (b'{"a": 1, "target": 2}\n{"b": 1, "target": 2}\n', "line 2 has other keys"),
        (b'{"a": {}, "target": 2}\n', "line 1 is not a JSON object of numbers"),
        (b"{}\n", "line 1 is an empty JSON object"),
        (b"a" * (2 << 20), "is longer than"),
    ],
)
def test_input_that_is_no_rows(content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        list(batches_of([content], ReadOptions()))
    assert str(caught.value).startswith("standard input: ")


# ---- the command ----


@pytest.fixture
def isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FASTNN_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(content: bytes, *arguments: str) -> Result:
    return invoke(["train", "--data", "-", *arguments], input=content)


def test_training_on_standard_input(isolated: Path) -> None:
    result = run(as_csv(linear_table(1500)), "--target", "price", "--hidden", "8", "--out", "run", "--json")
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    assert (figures["rows"], figures["batches"], figures["task"]) == (1500, 2, "regression")
    model = fastnn.load_model(isolated / "run")
    assert model.sha256() == figures["weights_sha256"]
    assert model.n_inputs == 3
    refused = run(b"", "--resume", "run")
    assert refused.exit_code == 2
    assert "drop --resume, or go on with the network of a run by --from" in refused.stderr
    refused = run(b"", "--scheduler", "tcp://127.0.0.1:1")
    assert refused.exit_code == 2
    assert "drop --scheduler" in refused.stderr


def test_a_stream_goes_on_with_the_network_of_a_model(isolated: Path) -> None:
    first, second = parts(linear_table(2000), 1000)
    common = ("--target", "price", "--hidden", "8", "--seed", "3", "--lr", "0.01", "--json")
    assert run(as_csv(first), *common, "--out", "first").exit_code == 0
    before = fastnn.load_model(isolated / "first")
    # The columns are found by their names, and the target is that of the model.
    lines = [",".join(reversed(line.split(","))) for line in as_csv(second).decode().splitlines()]
    for name, content in (("again", as_csv(second)), ("turned", "\n".join(lines).encode())):
        result = run(content, "--from", "first", "--out", name, "--json")
        assert result.exit_code == 0, result.output
    model = fastnn.load_model(isolated / "again")
    assert model.card.start is not None
    assert model.card.start.sha256 == before.sha256()
    assert model.scaling is not None
    assert before.scaling is not None
    assert np.array_equal(model.scaling.mean, before.scaling.mean)
    assert fastnn.evaluate(model, second).score > fastnn.evaluate(before, second).score
    assert fastnn.load_model(isolated / "turned").sha256() == model.sha256()


def test_a_stream_that_starts_from_a_model_may_have_all_of_its_classes_later(isolated: Path) -> None:
    rows = b"1,2,a\n3,4,b\n" * 600
    assert run(b"p,q,target\n" + rows + b"1,2,a\n", "--hidden", "4", "--out", "first").exit_code == 0
    few = b"p,q,target\n" + b"1,2,a\n" * 600 + b"5,6,c\n" * 600 + b"3,4,b\n"
    assert run(few, "--from", "first", "--out", "second").exit_code == 0
    assert fastnn.load_model(isolated / "second").names == ("a", "b", "c")
    formats.save_model(fastnn.fit("drawn:60", RECIPE.replace(ensemble=2), progress=False), isolated / "two.safetensors")
    refused = run(few, "--from", "two.safetensors")
    assert (refused.exit_code, "has 2 networks, but a stream trains one" in refused.stderr) == (2, True)


def test_a_wrong_row_keeps_what_was_learned(isolated: Path) -> None:
    content = as_csv(linear_table(1500)) + b"1,2,x,4\n"
    result = run(content, "--target", "price", "--hidden", "8", "--out", "run", "--quiet")
    assert result.exit_code == 2
    assert "line 1502, column 'age': 'x' is not a number" in result.stderr.splitlines()[-1]
    assert fastnn.load_model(isolated / "run").card.epochs == 1
