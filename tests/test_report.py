import os
import re
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.sparse import csr_array

from fastnn.datasets import Column, Dataset, SparseRows
from fastnn.errors import FastnnError, MissingExtraError
from fastnn.evaluation.metrics import evaluate
from fastnn.formats import save_model
from fastnn.images.sheets import DARK, sheet
from fastnn.model import Model, ModelCard
from fastnn.report import write_report
from fastnn.report.content import measure
from fastnn.report.page import page
from tests.helpers import blobs, invoke, linear_table, save_npz
from tests.models import model, network

HEAD = "epoch,lr,loss,accuracy,test_loss,test_accuracy,samples_per_second,seconds,test_seconds\n"
HISTORY = HEAD + "1,0.1,0.9,0.5,0.8,0.6,1e4,0.5,0.1\n2,0.1,0.7,0.7,0.6,0.8,1e4,0.5,0.1\n"
PICTURES = {"confusion", "history", "mistakes", "weights", "reliability"}


@pytest.fixture
def history(tmp_path: Path) -> Path:
    (tmp_path / "history.csv").write_text(HISTORY)
    return tmp_path / "history.csv"


@pytest.fixture
def no_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a few bytes in place of each picture, whose drawing takes most of the time of a report."""
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda _, file, **__: file.write(b"picture"))
    monkeypatch.setattr("PIL.Image.Image.save", lambda _, file, **__: file.write(b"picture"))


class Links(HTMLParser):
    """Collects the addresses in a page and the tags that are open at its end."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attrs if name in ("src", "srcset", "href")]
        if tag not in ("meta", "img", "source"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def names(pictures: set[str]) -> set[str]:
    return {f"{picture}{look}.png" for picture in pictures for look in ("", "-dark")}


def test_a_report_is_a_page_with_pictures_in_light_and_dark(tmp_path: Path, history: Path) -> None:
    page = write_report(model(), blobs(60), tmp_path / "r", name="<run> & co", history=history)
    assert page == tmp_path / "r" / "index.html"
    text = page.read_text()
    links = Links(text)
    assert links.open == []
    assert set(links.addresses) == names(PICTURES)
    assert {path.name for path in page.parent.iterdir()} == names(PICTURES) | {"index.html"}
    assert "<h1>&lt;run&gt; &amp; co</h1>" in text
    assert "://" not in text
    assert "<script" not in text
    for name in names(PICTURES):
        with Image.open(page.parent / name) as picture:
            pixels = np.asarray(picture.convert("L"))
        assert min(pixels.shape) >= 100
        assert len(np.unique(pixels)) > 5
        # The corner shows the background, light or dark.
        assert (pixels[0, 0] < 50) == ("-dark" in name)
    assert not list(tmp_path.glob(".*"))


@pytest.mark.usefixtures("no_drawing")
def test_the_page_says_which_pictures_are_missing_and_why(tmp_path: Path) -> None:
    data = blobs(40)
    made = model()
    right = replace(data, targets=made.predict(data.images))
    text = write_report(made, right, tmp_path / "r").read_text()
    assert {path.name for path in (tmp_path / "r").iterdir()} == names(PICTURES - {"history", "mistakes"}) | {
        "index.html"
    }
    assert "There is no history" in text
    assert "There are none" in text
    assert "100.00%" in text


@pytest.mark.usefixtures("no_drawing")
def test_an_older_report_is_replaced_completely_and_only_with_force(tmp_path: Path, history: Path) -> None:
    folder, data = tmp_path / "r", blobs(40)
    write_report(model(), data, folder, history=history)
    (folder / "mine.txt").write_text("kept")
    before = (folder / "index.html").read_bytes()
    with pytest.raises(FastnnError, match="exists already") as caught:
        write_report(model(), data, folder)
    assert caught.value.exit_code == 2
    assert (folder / "index.html").read_bytes() == before
    write_report(model(seed=1), data, folder, force=True)
    assert (folder / "index.html").read_bytes() != before
    assert not (folder / "history.png").exists()
    assert (folder / "mine.txt").read_text() == "kept"


@pytest.mark.parametrize(("folder", "words"), [("file", "is a file"), ("no/r", "does not exist")])
def test_impossible_folders_are_refused(folder: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FastnnError, match=words):
        write_report(model(), blobs(20), tmp_path / folder, force=True)


def test_a_failed_report_leaves_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FastnnError, match="No space left"):
        write_report(model(), blobs(20), tmp_path / "r")
    assert list(tmp_path.iterdir()) == []


def test_without_matplotlib_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"\[plot\]"):
        write_report(model(), blobs(20), tmp_path / "r")


@pytest.mark.parametrize(
    "classes",
    [
        ("$a^", "\\frac", "<b>", "a class of many words indeed", "ü", "6"),
        tuple(f"class {i}" for i in range(30)),
        tuple(f"class {i}" for i in range(61)),
    ],
)
def test_a_report_shows_class_names_of_many_kinds(classes: tuple[str, ...], tmp_path: Path) -> None:
    made = Model((network(784, 3, len(classes)),), classes)
    text = write_report(made, blobs(130, classes=classes), tmp_path / "r").read_text()
    assert ("too many for a picture" in text) == (len(classes) > 60)
    assert Links(text).open == []


def test_a_report_on_two_networks_and_no_hidden_layer(tmp_path: Path) -> None:
    two = Model((network(784, 10, seed=1), network(784, 5, 10)), tuple("0123456789"), True)
    assert "2 networks" in write_report(two, blobs(20), tmp_path / "r").read_text()


@pytest.mark.usefixtures("no_drawing")
@pytest.mark.parametrize("content", [HEAD, HISTORY[:-25], HISTORY.replace("0.9", "nan"), ""])
def test_a_damaged_history_gives_no_learning_curves(content: str, tmp_path: Path) -> None:
    (tmp_path / "history.csv").write_text(content)
    page = write_report(model(), blobs(20), tmp_path / "r", history=tmp_path / "history.csv")
    assert "There is no history" in page.read_text()
    assert not (tmp_path / "r" / "history.png").exists()


@pytest.mark.usefixtures("no_drawing")
def test_epochs_after_those_of_the_model_are_not_shown(tmp_path: Path, history: Path) -> None:
    """A run that goes on writes its history before its model."""
    made = replace(model(), card=ModelCard(epochs=0))
    assert "There is no history" in write_report(made, blobs(20), tmp_path / "r", history=history).read_text()


def test_a_report_on_a_history_without_test_set(tmp_path: Path) -> None:
    (tmp_path / "history.csv").write_text(HEAD + "1,0.1,0.9,0.5,,,1e4,0.5,0.1\n")
    write_report(model(), blobs(20), tmp_path / "r", history=tmp_path / "history.csv")
    assert (tmp_path / "r" / "history.png").exists()


@pytest.mark.usefixtures("history", "no_drawing")
def test_the_evaluate_command_writes_a_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_model(model(), "m.safetensors")
    save_npz(blobs(40), tmp_path / "a.npz")
    command = ["evaluate", "m.safetensors", "--data", "a.npz", "--report", "r"]
    result = invoke([*command, "--json"])
    assert result.exit_code == 0, result.output
    assert '"report": "r/index.html"' in result.stdout
    assert (tmp_path / "r" / "history.png").exists()
    assert re.search("evaluated on a.npz<", (tmp_path / "r" / "index.html").read_text())
    again = invoke(command)
    assert (again.exit_code, again.stdout) == (2, "")
    assert "--force" in again.stderr
    forced = invoke([*command, "--force"])
    assert forced.exit_code == 0
    assert forced.stdout.splitlines()[-1] == "r/index.html"


def test_a_sheet_has_a_tile_for_each_image() -> None:
    images = blobs(7).images
    picture = sheet(images, [("a word that is much too long for its place", "b")] * 7, columns=3, colours=DARK)
    row = sheet(images[:3], [("a", "b")] * 3, columns=3)
    assert picture.width == row.width
    assert picture.height > 2.5 * row.height - 20
    first = np.asarray(picture.convert("L"))[10 : 10 + 84, 10 : 10 + 84]
    assert np.array_equal(first[::3, ::3].ravel(), images[0])
    for n, captions in ((0, 0), (2, 1)):
        with pytest.raises(FastnnError, match="a sheet takes"):
            sheet(images[:n], [("", "")] * captions)


def table_model(data: Dataset) -> Model:
    output = {"regression": "identity", "multilabel": "sigmoid", "classification": "softmax"}[data.task]
    made = network(data.n_inputs, 4, len(data.names), rule="backprop", output=output)
    return Model((made,), data.names, takes="rows", columns=data.columns)


def pictures_of(folder: Path) -> set[str]:
    return {path.stem for path in folder.glob("*.png") if not path.stem.endswith("-dark")}


def test_a_report_on_a_regression(tmp_path: Path) -> None:
    (tmp_path / "history.csv").write_text(HISTORY)
    data = linear_table(30, targets=2)
    colours = Column("colour", ("<red>", "blue"))
    wide = np.concatenate([np.asarray(data.features), np.eye(2)[np.arange(30) % 2]], axis=1)
    data = replace(data, features=wide, columns=(*(data.columns or ()), colours))
    made = table_model(data)
    text = write_report(made, data, tmp_path / "r", history=tmp_path / "history.csv").read_text()
    assert pictures_of(tmp_path / "r") == {"predicted", "history"}
    assert Links(text).open == []
    found = evaluate(made, data)
    for words in (f"{found.score:.4f}", "root mean squared error", "Targets", "Worst rows", "price", "&lt;red&gt;"):
        assert words in text
    for words in ("images", "Confusion", "<red>"):
        assert words not in text
    errors = np.square(data.targets - made.predict(data.features).reshape(30, -1)) / data.targets.var(axis=0)
    worst = int(errors.mean(axis=1).argmax())
    assert text.index("<td>" + f"{wide[worst, 0]:.6g}") < text.index("<td>" + f"{wide[(worst + 1) % 30, 0]:.6g}")


def test_a_report_on_a_table_of_classes_and_on_labels(tmp_path: Path) -> None:
    data = linear_table(30, targets=2)
    above = (data.targets > 0).astype(np.uint8)
    two = replace(data, targets=above[:, 0].astype(np.int64), names=("no", "yes"))
    made = table_model(two)
    text = write_report(made, two, tmp_path / "two").read_text()
    assert pictures_of(tmp_path / "two") == {"confusion", "reliability"}
    for words in ("ROC AUC of yes", "Worst rows", "rows of a class", "no history"):
        assert words in text
    right = measure(made, replace(two, targets=made.predict(two.features)), None)
    assert "every row is predicted correctly" in page(right, [], "model", "data")
    labels = replace(data, targets=above, names=("left", "right"))
    sparse = replace(labels, features=SparseRows.from_scipy(csr_array(np.asarray(data.features))), columns=None)
    text = write_report(table_model(sparse), sparse, tmp_path / "labels").read_text()
    assert pictures_of(tmp_path / "labels") == set()
    for words in ("label accuracy", "macro F1", "Labels", "<th>1</th>"):
        assert words in text
    assert Links(text).open == []
    # A report of another kind leaves none of its pictures behind.
    write_report(table_model(labels), labels, tmp_path / "two", force=True)
    assert pictures_of(tmp_path / "two") == set()
