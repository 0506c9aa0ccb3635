"""Commands on tables: ``data info``, ``data convert`` and ``predict``."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import Result

from fastnn.datasets import Column, SparseRows, load_dataset
from fastnn.errors import DataError, ModelError
from fastnn.formats import save_model
from fastnn.model import Model
from fastnn.network import Network
from fastnn.predicting import predict_table, write_predictions
from fastnn.recognition import predict_files
from tests.helpers import invoke
from tests.models import model, png, row_model, seven

TABLE = "a,colour,y\n1,red,0.5\n2,blue,1.5\n1,red,2.5\n"


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FASTNN_CACHE_DIR", str(tmp_path / "cache"))
    save_model(row_model(), "rows.safetensors")
    Path("a.csv").write_text(TABLE)


def run(*arguments: str) -> Result:
    return invoke(list(arguments))


def error(result: Result) -> str:
    assert result.exit_code == 2
    assert result.stdout == ""
    return result.stderr


def notes(result: Result) -> list[str]:
    assert result.exit_code == 0, result.output
    return result.stderr.splitlines()


def test_info() -> None:
    result = run("data", "info", "a.csv")
    assert notes(result)[0] == "note: the column 'y' is the target"
    for words in (
        "2 categories",
        "red (2), blue (1)",
        "regression",
        "1 rows repeat an earlier one",
        "3, of whose values 66.67% are stored",
    ):
        assert words in result.stdout
    figures = json.loads(run("data", "info", "a.csv", "--json").stdout)
    assert figures["targets"]["y"]["mean"] == 1.5
    classes = run("data", "info", "a.csv", "--target", "colour", "--task", "classification")
    assert notes(classes) == []
    assert "rows" in classes.stdout
    assert "blue" in classes.stdout


def test_info_of_many_columns() -> None:
    Path("a.svm").write_text("1 1:1 70:2\n2 3:4\n")
    assert "70 without names" in run("data", "info", "a.svm").stdout
    Path("b.csv").write_text(",".join(f"c{k}" for k in range(60)) + ",y\n" + ("1," * 60 + "2\n") * 2)
    assert "10 more" in run("data", "info", "b.csv").stdout


def test_convert_there_and_back() -> None:
    before = load_dataset("a.csv").content_hash
    assert run("data", "convert", "a.csv", "b.npz", "--target", "y", "--task", "regression").stderr.count("note") == 1
    result = run("data", "convert", "b.npz", "c.tsv")
    assert notes(result) == ["note: read it back with --target y --task regression"]
    assert load_dataset("c.tsv").content_hash == before
    result = run("data", "convert", "a.csv", "d.csv", "--target", "colour")
    assert "note: read it back with --target colour --task classification" in notes(result)
    assert Path("d.csv").read_text().startswith("a,y,colour\n")
    assert "no format for a table" in error(run("data", "convert", "a.csv", "b.json"))
    assert "exists already" in error(run("data", "convert", "a.csv", "b.npz"))


@pytest.mark.parametrize(
    "arguments",
    [
        ("data", "mosaic", "a.csv", "b.png"),
        ("data", "import", "a.csv", "--into", "sqlite:///b.db"),
    ],
)
def test_commands_for_images_refuse_a_table(arguments: tuple[str, ...]) -> None:
    assert "is a table" in error(run(*arguments))
    assert not list(Path().glob("b.*"))


def test_options_of_tables_are_refused_for_images() -> None:
    assert "--target and --task are for tables" in error(run("data", "info", "drawn:20", "--target", "y"))
    assert "choose one with --target ('a', 'b')" in error(convert("a,b\n1,2\n"))


def convert(text: str) -> Result:
    Path("t.csv").write_text(text)
    return run("data", "convert", "t.csv", "t.npz")


def test_predict_classes() -> None:
    Path("b.csv").write_text("colour,y,a\nred,,1\ngreen,,2\n")
    result = run("predict", "rows.safetensors", "b.csv", "--out", "p.csv", "--json")
    assert notes(result) == [
        "note: b.csv: columns that the model does not take are left out: 'y'",
        (
            "note: b.csv: 1 of 2 rows have a text in column 'colour' that the model does not know, and no category "
            "there: 'green'"
        ),
    ]
    rows = SparseRows(np.array([1.0, 1, 2]), np.array([0, 2, 0]), np.array([0, 2, 3]), 3)
    expected = row_model().predict_proba(rows)
    found = json.loads(result.stdout)
    assert (found["task"], found["names"], found["out"]) == ("classification", ["x", "y"], "p.csv")
    assert [item["probabilities"] for item in found["predictions"]] == expected.tolist()
    with Path("p.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["prediction", "probability of x", "probability of y"]
    assert [row[0] for row in rows] == ["xy"[k] for k in expected.argmax(axis=1)]
    assert [[float(cell) for cell in row[1:]] for row in rows] == expected.tolist()
    assert "exists already" in error(run("predict", "rows.safetensors", "b.csv", "--out", "p.csv"))


def test_a_value_that_the_network_cannot_hold() -> None:
    Path("b.csv").write_text("colour,a\nred,1e300\n")
    assert "b.csv: a value is too large for float32" in error(run("predict", "rows.safetensors", "b.csv"))


def test_the_first_rows_are_printed() -> None:
    Path("b.csv").write_text("colour,a\n" + "red,1\n" * 30)
    result = run("predict", "rows.safetensors", "b.csv")
    assert notes(result) == ["note: 10 more rows; --out FILE.csv writes all"]
    assert "probability of x" in result.stdout
    result = run("predict", "rows.safetensors", "b.csv", "--out", "p.tsv")
    assert result.stdout.splitlines()[-1] == "p.tsv"
    assert len(Path("p.tsv").read_text().splitlines()) == 31


def saved(task: str, *sizes: int, **options: Any) -> None:
    output = {"regression": "identity", "multilabel": "sigmoid"}[task]
    network = Network(sizes, rule="backprop", activation="relu", output=output).initialise("he", 1)
    save_model(Model((network,), ("p", "q")[: sizes[-1]], takes="rows", **options), "other.safetensors")


@pytest.fixture
def shares(monkeypatch: pytest.MonkeyPatch) -> None:
    """The outputs of every model are the first inputs, so that no kernel is compiled."""

    def outputs(self: Model, rows: Any) -> Any:
        assert rows.shape[1] == self.n_inputs
        return (rows.toarray() if isinstance(rows, SparseRows) else rows)[:, : len(self.names)]

    monkeypatch.setattr(Model, "outputs", outputs)


@pytest.mark.usefixtures("shares")
def test_predict_numbers_and_labels() -> None:
    saved("regression", 2, 3, 1)
    Path("b.csv").write_text("1,2\n3,-4\n")
    found = predict_table("other.safetensors", "b.csv")
    assert found.header() == ["p"]
    assert list(found.rows()) == [[1], [3]]
    assert found.as_dict()["predictions"] == [{"values": [1]}, {"values": [3]}]
    saved("multilabel", 2, 3, 2, columns=(Column("a"), Column("b")))
    Path("b.csv").write_text("b,a\n0.75,0.25\n0.5,1\n")
    found = predict_table("other.safetensors", "b.csv")
    assert found.header() == ["p", "q", "probability of p", "probability of q"]
    assert list(found.rows()) == [[0, 1, 0.25, 0.75], [1, 0, 1, 0.5]]
    assert found.as_dict()["predictions"] == [
        {"labels": ["q"], "probabilities": [0.25, 0.75]},
        {"labels": ["p"], "probabilities": [1, 0.5]},
    ]


def test_each_row_of_pixels_is_an_image_for_a_model_of_images() -> None:
    made = model()
    save_model(made, "images.safetensors")
    images = np.stack([np.roll(seven(), 3 * k, axis=1).reshape(784) for k in range(3)])
    expected = made.predict_proba(images)
    header = ",".join(f"pixel{k}" for k in range(784))
    stored = {"test.csv": [header, *(",".join(map(str, 255 - image.astype(int))) for image in images)]}
    stored["train.csv"] = [f"label,{header}", *(f"{k},{','.join(map(str, i))}" for k, i in enumerate(images.tolist()))]
    for name, lines in stored.items():
        Path(name).write_text("\n".join(lines))
    np.savez("a.npz", images=images, labels=[1, 2, 3])
    for name in (*stored, "a.npz"):
        found = predict_table("images.safetensors", name)
        assert found.probabilities is not None
        np.testing.assert_array_equal(found.probabilities, expected)
    result = run("predict", "images.safetensors", "test.csv", "--out", "p.csv")
    assert "the images have light ink on dark paper" in notes(result)[-1]
    with Path("p.csv").open(newline="") as file:
        header_row, *rows = csv.reader(file)
    assert header_row == ["ImageId", "Label", "Probability"]
    best = expected.argmax(axis=1)
    assert [row[:2] for row in rows] == [[str(k + 1), made.classes[label]] for k, label in enumerate(best)]
    assert [float(row[2]) for row in rows] == expected.max(axis=1).tolist()
    dark = predict_table("images.safetensors", "test.csv", "dark-on-light")
    assert dark.probabilities is not None
    np.testing.assert_array_equal(dark.probabilities, made.predict_proba(255 - images))
    assert json.loads(run("predict", "images.safetensors", "test.csv", "--json").stdout)["predictions"][0]["label"]
    assert "test.csv: is a table; --show is for pictures" in error(
        run("predict", "images.safetensors", "test.csv", "--show")
    )


@pytest.mark.usefixtures("shares")
def test_columns_that_are_not_printed_are_noted() -> None:
    network = Network((14, 3, 14), rule="backprop", activation="relu", output="identity").initialise("he", 1)
    save_model(Model((network,), tuple(f"t{k}" for k in range(14)), takes="rows"), "wide.safetensors")
    Path("b.csv").write_text(",".join("1" * 14) + "\n")
    (*_, last) = notes(run("predict", "wide.safetensors", "b.csv"))
    assert last == "note: 2 more columns; --out FILE.csv writes all"


@pytest.mark.usefixtures("shares")
def test_predict_for_rows_of_other_files() -> None:
    saved("regression", 3, 2, 1)
    Path("b.svm").write_text("1 2:5\n2 1:3\n")
    assert predict_table("other.safetensors", "b.svm").values.tolist() == [[0], [3]]
    np.savez("b.npz", features=[[1.0, 2, 3]], targets=[1], columns=["a", "b", "c"])
    assert len(predict_table("other.safetensors", "b.npz")) == 1
    assert len(predict_table("other.safetensors", "b.npz").notes) == 1
    saved("regression", 3, 2, 1, columns=(Column("c"), Column("b"), Column("a")))
    with pytest.raises(DataError, match="has other columns than the model takes"):
        predict_table("other.safetensors", "b.npz")
    np.savez("b.npz", features=[[1.0, 2]], targets=[1])
    with pytest.raises(DataError, match="has 2 inputs, but the model takes 3"):
        predict_table("other.safetensors", "b.npz")


@pytest.mark.usefixtures("shares")
def test_predict_refuses_what_does_not_fit() -> None:
    save_model(model(), "images.safetensors")
    Path("7.png").write_bytes(png(seven()))
    assert "a.csv: its 3 columns are not the pixels of images; the model takes images of 28x28" in error(
        run("predict", "images.safetensors", "a.csv")
    )
    np.savez("rows.npz", features=[[1.0, 2]], targets=[1])
    assert "rows.npz: holds rows of numbers, but the model takes images" in error(
        run("predict", "images.safetensors", "rows.npz")
    )
    with pytest.raises(ModelError, match="takes rows of a table, not images"):
        predict_files("rows.safetensors", ["7.png"])
    for option in (("--show",), ("--polarity", "dark-on-light")):
        assert "a.csv: is a table" in error(run("predict", "rows.safetensors", "a.csv", *option))
    assert "give one table at a time" in error(run("predict", "rows.safetensors", "a.csv", "a.csv"))
    assert "--out is for the predictions of a table" in error(
        run("predict", "images.safetensors", "7.png", "--out", "p.csv")
    )
    assert "must end with .csv" in error(run("predict", "rows.safetensors", "a.csv", "--out", "p.txt"))
    assert "is the table itself" in error(run("predict", "rows.safetensors", "a.csv", "--out", "a.csv", "--force"))
    Path("b.csv").write_text("a\n1\n")
    assert "has no column 'colour'" in error(run("predict", "rows.safetensors", "b.csv"))
    predictions = predict_table("rows.safetensors", "a.csv")
    with pytest.raises(DataError, match="the folder no does not exist"):
        write_predictions(predictions, Path("no/p.csv"))
