"""The command ``fastnn data clean``; test_label_issues.py tests which issues are found."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import Result

from fastnn.datasets import load_dataset
from fastnn.label_issues import Findings
from tests.helpers import blobs, invoke, linear_table, save_npz, save_table

QUICK = ("--folds", "3", "--repeats", "1", "--epochs", "4", "--threads", "1")


@pytest.fixture(autouse=True)
def isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def source(tmp_path: Path) -> str:
    data = blobs(150)
    images, labels = data.images.copy(), data.labels.copy()
    labels[:6] = (labels[:6] + 3) % 10
    images[50] = images[40]
    save_npz(replace(data, features=images, targets=labels), tmp_path / "a.npz")
    return "a.npz"


def run(*arguments: str) -> Result:
    return invoke(["data", "clean", *arguments])


def error(result: Result) -> str:
    assert (result.exit_code, result.stdout) == (2, "")
    assert len(result.stderr.strip().splitlines()) == 1
    return result.stderr


def test_without_issues_no_sheet_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_npz(blobs(40), tmp_path / "a.npz")
    nothing = Findings((), 1.0, np.full((40, 10), 0.1))
    monkeypatch.setattr("fastnn.label_issues.find_issues", lambda *_, **__: nothing)
    Path("worst.png").write_bytes(b"an earlier sheet")
    result = run("a.npz", "--out", "list.csv", "--sheet", "worst.png", "--force", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["sheet"] is None
    assert "worst.png: not written, as no issues were found" in result.stderr
    assert not Path("worst.png").exists()


def test_issues_are_found_and_applied_to_a_copy_of_the_data(source: str) -> None:
    before = Path(source).read_bytes()
    result = run(source, "--out", "list.csv", "--sheet", "worst.png", *QUICK)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-2:] == ["list.csv", "worst.png"]
    assert "--apply list.csv" in result.stderr
    rows = list(csv.DictReader(Path("list.csv").read_text().splitlines()))
    assert list(rows[0]) == ["index", "label", "suggested", "score", "reason"]
    assert {"0", "1", "2", "3", "4", "5", "50"} <= {row["index"] for row in rows}
    with Image.open("worst.png") as picture:
        assert picture.format == "PNG"
        assert len(np.unique(np.asarray(picture.convert("L")))) > 20
    applied = run(source, "--apply", "list.csv", "--to", "b.npz")
    assert (applied.exit_code, applied.stdout) == (0, "b.npz\n")
    assert "labels changed" in applied.stderr
    cleaned = load_dataset("b.npz")
    assert len(cleaned) == 150 - sum(not row["suggested"] for row in rows)
    assert cleaned.labels[:6].tolist() == [0, 1, 2, 3, 4, 5]
    assert Path(source).read_bytes() == before


def test_json(source: str) -> None:
    result = run(source, "--json", *QUICK)
    assert result.exit_code == 0, result.output
    (line,) = result.stdout.splitlines()
    figures = json.loads(line)
    assert figures["n"] == 150
    assert figures["counts"]["copy"] == 1
    assert sum(figures["counts"].values()) == len(figures["issues"])
    assert set(figures["issues"][0]) == {"index", "label", "suggested", "score", "reason"}
    Path("list.csv").write_text("index,label,suggested\n0,3,0\n9,9,\n")
    applied = json.loads(run(source, "--apply", "list.csv", "--to", "b.npz", "--json").stdout)
    assert (applied["relabelled"], applied["left_out"], applied["n_after"]) == (1, 1, 149)
    assert applied["written"] == ["b.npz"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["a.npz", "--apply", "list.csv"], "go together"),
        (["a.npz", "--to", "b.npz"], "go together"),
        (["a.npz", "--apply", "list.csv", "--to", "b.npz", "--out", "c.csv"], "drop --out and --sheet"),
        (["a.npz", "--out", "a.txt"], "must end with .csv"),
        (["a.npz", "--sheet", "a.jpg"], "must end with .png"),
        (["a.npz", "--out", "no/a.csv"], "the folder no does not exist"),
        (["a.npz", "--out", "list.csv"], "exists already"),
        (["gone.npz"], "gone.npz: no such file"),
        (["a.npz", "--apply", "gone.csv", "--to", "b.npz"], "gone.csv: cannot be read"),
        (["a.npz", "--apply", "list.csv", "--to", "a.npz"], "never changed"),
        (["a.npz", "--apply", "list.csv", "--to", "a.npz", "--force"], "never changed"),
        (["a.npz", "--apply", "list.csv", "--to", "../{here}/a.npz", "--force"], "never changed"),
        (["a.npz", "--apply", "list.csv", "--to", "copy.npz", "--force"], "never changed"),
        (["a.npz", "--apply", "list.csv", "--to", "taken.npz"], "exists already"),
        (["a.npz", "--folds", "1"], "at least 2 folds"),
    ],
)
def test_errors_are_one_line_and_change_nothing(arguments: list[str], words: str, source: str, tmp_path: Path) -> None:
    Path("list.csv").write_text("index,label,suggested\n0,3,0\n")
    Path("copy.npz").write_bytes(Path(source).read_bytes())
    save_npz(blobs(20), tmp_path / "taken.npz")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    result = run(*(argument.replace("{here}", tmp_path.name) for argument in arguments))
    assert words in error(result)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_nothing_is_written_into_a_source_folder(tmp_path: Path) -> None:
    for label in "01":
        (tmp_path / "set" / label).mkdir(parents=True)
        Image.fromarray(blobs(2).images[int(label)].reshape(28, 28)).save(tmp_path / "set" / label / "a.png")
    Path("list.csv").write_text("index,label,suggested\n0,0,1\n")
    assert "never changed" in error(run("set", "--apply", "list.csv", "--to", "set/b.npz"))
    assert run("set", "--apply", "list.csv", "--to", "b.npz").exit_code == 0
    assert load_dataset("b.npz").labels.tolist() == [1, 1]


def test_wrong_labels_and_copies_of_a_table_are_found_and_corrected() -> None:
    rng = np.random.default_rng(0)
    rows, labels = rng.normal(size=(120, 3)), np.arange(120) % 2
    rows[:, 0] += 6 * labels
    rows[50], labels[:3] = rows[40], 1 - labels[:3]
    lines = [f"{a},{b},{c},{'no' if label == 0 else 'yes'}" for (a, b, c), label in zip(rows, labels, strict=True)]
    Path("my t.csv").write_text("\n".join(["a,b,c,answer", *lines]) + "\n")
    target = ("--target", "answer")
    result = run("my t.csv", *target, "--out", "list.csv", *QUICK)
    assert result.exit_code == 0, result.output
    assert "my t.csv, 120 rows" in result.stdout
    assert "images" not in result.stdout
    assert "digit" not in result.stdout
    assert "data clean 'my t.csv' --target answer --task classification --apply list.csv" in result.stderr
    listed = {row["index"]: row for row in csv.DictReader(Path("list.csv").read_text().splitlines())}
    assert {"0", "1", "2", "50"} <= listed.keys()
    assert listed["50"]["reason"].startswith("copy of 40")
    applied = run("my t.csv", *target, "--apply", "list.csv", "--to", "b.csv")
    assert (applied.exit_code, applied.stdout) == (0, "b.csv\n")
    assert "rows left out" in applied.stderr
    cleaned = load_dataset("b.csv", target="answer")
    assert cleaned.labels[:3].tolist() == [0, 1, 0]
    assert "--sheet draws images" in error_of_table(run("my t.csv", *target, "--sheet", "a.png", *QUICK))


def error_of_table(result: Result) -> str:
    assert (result.exit_code, result.stdout) == (2, "")
    return result.stderr


def test_numbers_and_several_labels_are_refused() -> None:
    save_table(linear_table(30), Path("t.csv"))
    for options in ((*QUICK,), ("--apply", "list.csv", "--to", "b.csv")):
        Path("list.csv").write_text("index,label,suggested,score,reason\n")
        result = run("t.csv", "--target", "price", "--task", "regression", *options)
        assert "t.csv: wrong labels can be found only if each sample has one class" in error_of_table(result)
