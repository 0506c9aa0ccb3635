"""Homes that are unknown, ``~`` in paths, and exceptions that nobody expects."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import Any

import pytest

import fastnn.cli.guide
import fastnn.evaluation.saved_model
from fastnn.cli import main
from tests.helpers import blobs, invoke, run_python, save_npz

needs_posix = pytest.mark.skipif(os.name != "posix", reason="needs users and home folders of POSIX")


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Change to a folder with a data set, and make another one the home folder."""
    (tmp_path / "home").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FASTNN_CACHE_DIR", "~/cache")
    save_npz(blobs(60), tmp_path / "home" / "data.npz")


def run(*options: str) -> Any:
    return invoke(options)


@needs_posix
def test_a_tilde_is_the_home_folder_in_every_path() -> None:
    train = ("train", "--data", "~/data.npz", "--epochs", "1", "--quiet", "--recipe", "~/small.toml")
    Path("~/small.toml").expanduser().write_text("hidden = [4]\n")
    commands = (
        (*train, "--out", "~/run"),
        ("train", "--quiet", "--resume", "~/run", "--epochs", "2"),
        (*train[:-2], "--from", "~/run", "--out", "~/second"),
        ("evaluate", "~/run/model.safetensors", "--data", "~/data.npz"),
        ("compare", "~/run", "~/second", "--data", "~/data.npz"),
        ("data", "convert", "~/data.npz", "~/copy.json"),
        ("data", "mosaic", "~/copy.json", "~/mosaic.png", "--rows", "1", "--columns", "1"),
        ("predict", "~/run", "~/mosaic.png"),
        ("data", "import", "~/data.npz", "--into", "sqlite:///~/digits.db"),
    )
    for command in commands:
        done = run(*command)
        assert (done.exit_code, command, done.stderr if done.exit_code else "") == (0, command, "")
    names = {path.name for path in Path.home().iterdir()}
    assert {"run", "second", "copy.json", "mosaic.png", "digits.db"} <= names
    assert list(Path().iterdir()) == []


@needs_posix
def test_without_a_home_folder_nothing_is_called_tilde(tmp_path: Path) -> None:
    """One process: the password database does not know the user either."""
    program = """
import pwd, runpy, sys
pwd.getpwuid = lambda _: {}["nobody"]
from tests.helpers import invoke
for line in sys.stdin.read().splitlines():
    done = invoke(line.split())
    print(done.exit_code, done.stderr.strip())
"""
    lines = [
        "train --data data.npz --epochs 1 --hidden 4 --out run --quiet",
        "train --data data.npz --epochs 1 --hidden 4 --out ~/run --quiet",
        "data convert data.npz ~/copy.json",
        "data info ~/data.npz",
    ]
    save_npz(blobs(60), Path("data.npz"))
    program = program.replace("sys.stdin.read()", repr("\n".join(lines)))
    done = run_python(
        program, cwd=Path.cwd(), HOME=None, XDG_CACHE_HOME=None, FASTNN_CACHE_DIR=None, TMPDIR=str(tmp_path)
    )
    assert (done.returncode, done.stderr) == (0, "")
    unknown = "the home folder is unknown; give the path without ~"
    assert done.stdout.splitlines() == [
        "0 ",
        f"2 fastnn: ~/run: {unknown}",
        f"2 fastnn: ~/copy.json: {unknown}",
        "2 fastnn: ~/data.npz: no such file or folder, and not the name of a data set (digits, mnist, drawn)",
    ]
    assert sorted(path.name for path in Path().iterdir()) == ["data.npz", "run"]


# ---- exceptions that nobody expects ----


def fail(*_: Any, **__: Any) -> None:
    raise ZeroDivisionError("division\nby zero")


LINE = r"fastnn: a fault of fastnn: ZeroDivisionError: division by zero; please report it with the log (\S+)\n"


def test_an_unknown_exception_is_one_line_and_a_log(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(fastnn.evaluation.saved_model, "load_model", fail)
    done = run("evaluate", "run")
    assert (done.exit_code, done.stdout) == (70, "")
    found = re.fullmatch(LINE, done.stderr)
    assert found is not None
    log = Path(found[1])
    assert log.parent == Path.home() / "cache" / "logs"
    text = log.read_text(encoding="utf-8")
    assert "Traceback (most recent call last):" in text
    assert re.match(r"fastnn \S+, Python 3\.\d+\.\d+, ", text)
    # Only the newest are kept.
    for number in range(30):
        (log.parent / f"fastnn-19990101-{number}.log").touch()
    assert run("evaluate", "run").exit_code == 70
    assert len(list(log.parent.iterdir())) <= 20
    assert log.exists()
    # Where the cache cannot be written to, the log goes to the folder for temporary files.
    monkeypatch.setenv("FASTNN_CACHE_DIR", str(tmp_path / "home" / "data.npz"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "here"))
    found = re.fullmatch(LINE, run("evaluate", "run").stderr)
    assert found is not None
    assert Path(found[1]).parent == tmp_path / "here"
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    assert run("evaluate", "run").stderr.endswith("; please report it; no log could be written\n")


def test_an_exception_outside_of_a_command_is_one_line_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fastnn.cli, "make_app", fail)
    monkeypatch.setattr("sys.argv", ["fastnn", "guide"])
    monkeypatch.setattr(fastnn.cli, "open_streams", lambda: None)
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 70
    assert re.fullmatch(LINE, capsys.readouterr().err)
