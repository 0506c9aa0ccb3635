"""The commands ``fastnn data info``, ``convert`` and ``fetch``."""

import importlib.util
import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import Result

from fastnn.datasets import Dataset, load_dataset
from fastnn.datasets.fetch import Remote
from fastnn.datasets.names import download_missing
from fastnn.datasets.writers import write_dataset
from fastnn.errors import DataError, FetchError
from fastnn.label_issues import Issue
from tests.datasets.samples import dataset, served
from tests.helpers import invoke
from tests.models import png, seven


@pytest.fixture(autouse=True)
def isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTNN_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("FASTNN_DATA", raising=False)
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.chdir(tmp_path)


def run(*arguments: str) -> Result:
    return invoke(["data", *arguments])


def one_line(text: str) -> str:
    lines = text.strip().splitlines()
    assert len(lines) == 1
    return lines[0]


@pytest.fixture
def source(tmp_path: Path) -> str:
    write_dataset(dataset([3, 3, 5, 1]), tmp_path / "a.json")
    return str(tmp_path / "a.json")


def cells(output: str) -> list[list[str]]:
    return [re.findall(r"[^\s│]+", line) for line in output.splitlines() if line.startswith("│")]


def test_info(source: str) -> None:
    result = run("info", source)
    assert result.exit_code == 0
    counts = {row[0]: row[1:] for row in cells(result.stdout)}
    assert counts["all"] == ["4", "100.0%"]
    assert counts["3"] == ["2", "50.0%"]
    assert counts["0"] == ["0", "0.0%"]
    assert list(counts) == ["all", *"0123456789"]
    assert f"source       {source}" in result.stdout
    assert load_dataset(source).content_hash in result.stdout
    assert result.stderr == ""


def test_info_of_a_set_with_a_test_set(tmp_path: Path) -> None:
    write_dataset(dataset([3, 3, 5, 1], test=dataset([5])), tmp_path / "a.npz")
    rows = {row[0]: row[1:] for row in cells(run("info", str(tmp_path / "a.npz")).stdout)}
    assert rows["all"] == ["4", "1", "100.0%"]
    assert rows["5"] == ["1", "1", "25.0%"]


def test_info_as_json(source: str) -> None:
    result = run("info", source, "--json")
    figures = json.loads(one_line(result.stdout))
    assert figures["n"] == 4
    assert figures["classes"]["3"] == 2
    assert figures["source"] == source


def test_info_prints_class_names_as_they_are(tmp_path: Path) -> None:
    write_dataset(dataset([0, 1], ("[red]", "b")), tmp_path / "a.npz")
    assert "[red]" in run("info", str(tmp_path / "a.npz")).stdout


def test_info_shows_the_notes(tmp_path: Path) -> None:
    made = dataset([0, 1])
    dark = Dataset(np.zeros_like(made.images), made.labels, made.classes, "dark")
    write_dataset(dark, tmp_path / "a.npz")
    assert "note: the images have light ink on dark paper" in run("info", str(tmp_path / "a.npz")).stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["info", "nothing"], "nothing: no such file or folder"),
        (["convert", "nothing", "a.json"], "nothing: no such file or folder"),
        (["convert", "a.json", "a.json"], "exists already"),
        (["convert", "a.json", "a.xyz"], "unknown format"),
        (["fetch", "cifar"], "digits and mnist can"),
    ],
)
@pytest.mark.usefixtures("source")
def test_errors_are_one_line_and_exit_2(arguments: list[str], words: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert words in one_line(result.stderr)
    assert result.stdout == ""


def test_convert(source: str, tmp_path: Path) -> None:
    result = run("convert", source, "b.csv")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "b.csv\n", "")
    assert load_dataset(tmp_path / "b.csv").content_hash == load_dataset(source).content_hash
    assert run("convert", source, "b.csv").exit_code == 2
    assert run("convert", source, "b.csv", "--force").exit_code == 0


def test_convert_notes_what_it_leaves_out(tmp_path: Path) -> None:
    write_dataset(dataset([3, 5], test=dataset([5])), tmp_path / "a.npz")
    assert "note: the 1 images of the test set are left out" in run("convert", "a.npz", "b.json").stderr


def remotes(url: str) -> list[Remote]:
    return [
        Remote(name, (f"{url}{name}",), 1000, lambda found, right=content: None if found == right else "wrong")
        for name, content in FILES.items()
    ]


FILES = {"one.gz": b"1" * 500, "two.gz": b"2" * 500}


@pytest.mark.parametrize("to", [None, "here"])
def test_fetch_downloads_what_is_missing(to: str | None, tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "mnist" if to is None else Path(to)
    with served({f"/{name}": content for name, content in FILES.items()}) as (url, asked):
        paths, fresh = download_missing("mnist", to and Path(to), files=remotes(url))
        assert paths == fresh == [folder / name for name in FILES]
        assert [path.read_bytes() for path in paths] == list(FILES.values())
        paths[0].unlink()
        paths, fresh = download_missing("mnist", to and Path(to), files=remotes(url))
        assert (len(paths), fresh) == (2, paths[:1])
        assert asked == ["/one.gz", "/two.gz", "/one.gz"]


def test_fetch_replaces_damaged_files_only_in_its_cache(tmp_path: Path) -> None:
    for folder in (tmp_path / "cache" / "mnist", tmp_path / "mine"):
        folder.mkdir(parents=True)
        (folder / "one.gz").write_bytes(b"other")
    with served({f"/{name}": content for name, content in FILES.items()}) as (url, _):
        assert len(download_missing("mnist", files=remotes(url))[1]) == 2
        with pytest.raises(DataError, match="exists already and is another file"):
            download_missing("mnist", tmp_path / "mine", files=remotes(url))
    assert (tmp_path / "mine" / "one.gz").read_bytes() == b"other"


def test_the_fetch_command_downloads_and_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    with served({"/one.gz": FILES["one.gz"]}) as (url, _):
        monkeypatch.setattr("fastnn.datasets.digits.REMOTE", remotes(url)[0])
        result = run("fetch", "digits", "--to", "data")
        assert (result.exit_code, result.stdout) == (0, "data/one.gz\n")
        again = run("fetch", "digits", "--to", "data")
    assert "exists already" in one_line(again.stderr)
    assert again.stdout == result.stdout


def test_a_failed_fetch_exits_1(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with served({"/one.gz": b"wrong"}) as (url, _):
        monkeypatch.setattr("fastnn.datasets.digits.REMOTE", remotes(url)[0])
        result = run("fetch", "digits")
        with pytest.raises(FetchError):
            download_missing("digits")
    assert result.exit_code == 1
    assert "what arrived was deleted" in result.stderr
    assert result.stdout == ""
    assert list(tmp_path.rglob("one.gz*")) == []


@pytest.mark.parametrize(
    "options",
    [
        ["convert", "drawn:20", "{}.npz"],
        ["convert", "drawn:20", "{}"],
        ["convert", "drawn:20", "{}-images-idx3-ubyte"],
        ["mosaic", "drawn:20", "{}.png"],
        ["clean", "drawn:20", "--out", "{}.csv"],
        ["clean", "drawn:20", "--sheet", "{}.png"],
        ["clean", "drawn:20", "--apply", "list.csv", "--to", "{}.npz"],
        ["fetch", "mnist", "--to", "{}"],
    ],
)
def test_targets_that_cannot_be_written_are_named_before_any_work(options: list[str]) -> None:
    Path("file").write_text("mine")
    for name, fault in (("x" * 300, "File name too long"), ("file/x", "Not a directory")):
        result = run(*(option.format(name) for option in options))
        assert (result.exit_code, result.stdout) == (2, "")
        line = one_line(result.stderr)
        assert line.startswith(f"fastnn: {name}")
        assert re.search(rf" cannot be written \({fault}\); choose a", line)


def test_a_full_disk_is_failed_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    for target in ("a.npz", "folder", "x-images-idx3-ubyte"):
        result = run("convert", "drawn:20", target)
        assert result.exit_code == 1
        fault = "cannot be written (No space left on device); free some space, and try again"
        assert one_line(result.stderr) == f"fastnn: {target}: {fault}"
    assert [path.name for path in Path().iterdir()] == []


def test_the_sheet_of_an_earlier_search_never_stays_beside_a_new_list(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("sheet.png").write_text("old")
    issue = Issue(0, "3", "5", 0.5, "wrong label", "probably a 5")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("fastnn.label_issues.find_issues", lambda *_, **__: SimpleNamespace(issues=(issue,)))
    monkeypatch.setattr("fastnn.label_issues.draw_issues", killed)
    run("clean", "drawn:20", "--out", "list.csv", "--sheet", "sheet.png", "--force")
    assert Path("list.csv").exists()
    assert not Path("sheet.png").exists()


def test_notes_on_folders_are_shown_by_every_command(tmp_path: Path) -> None:
    names = [f"{part}/{label}/{k}.png" for part in ("train", "test", "val") for label in "01" for k in range(11)]
    for number, name in enumerate(names):
        (tmp_path / "d" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "d" / name).write_bytes(png(np.roll(seven(), number % 7, axis=1)))
    (tmp_path / "d" / "train" / "1" / "3.png").write_bytes(b"")
    (tmp_path / "d" / "train" / "1" / "Thumbs.db").write_bytes(b"")
    commands = [["info", "d"], ["convert", "d", "d.npz"], ["mosaic", "d", "d.png", "--rows", "2", "--columns", "2"]]
    if importlib.util.find_spec("sqlalchemy"):
        commands.append(["import", "d", "--into", "sqlite:///d.db"])
    for command in commands:
        strict = run(*command, "--strict")
        assert strict.exit_code == 2
        assert "1/3.png: not a picture" in one_line(strict.stderr)
        result = run(*command)
        assert result.exit_code == 0
        for words in (
            "parts of the data set",
            "left out 1 of 66 pictures",
            "passed over: 1 file that is not a picture",
        ):
            assert words in result.stderr
        if command[0] in ("convert", "import"):
            assert re.search("the 22 (samples|images) of the validation set are left out", result.stderr)
