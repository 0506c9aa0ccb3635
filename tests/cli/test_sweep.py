import json
import os
import re
import signal
import socket
import sys
from pathlib import Path

import pytest

from fastnn.cli.sweep import parse_duration
from fastnn.errors import FastnnError
from fastnn.formats import load_model
from fastnn.recipe import load_recipe
from tests.attacks.processes import processes_left
from tests.helpers import TIMEOUT, blobs, invoke, save_npz, start_process, wait_for
from tests.sweep.test_run import SPACE

pytest.importorskip("optuna")
pytest.importorskip("distributed")

from fastnn.sweep.study import read_study

BASIC = ["sweep", "--data", "a.npz", "--space", "s.toml", "--sampler", "random", "--workers", "0"]


@pytest.fixture(autouse=True)
def isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_npz(blobs(80), Path("a.npz"))
    Path("s.toml").write_text(SPACE)


def test_a_sweep_goes_on_and_is_reported() -> None:
    first = invoke([*BASIC, "--trials", "3", "--out", "one", "--json"])
    assert first.exit_code == 0, first.output
    found = json.loads(first.stdout)
    assert found["trials"]["complete"] == 3
    assert found["weights_sha256"] == load_model("one").sha256()
    assert load_recipe("one/recipe.toml").lr == found["best"][0]["params"]["lr"]
    again = invoke([*BASIC, "--trials", "12", "--out", "two"])
    assert again.exit_code == 0, again.output
    assert "s.study: 12 complete" in again.stdout
    assert "is the best" in again.stderr
    assert "s.study: 4 complete; the best is trial " in again.stderr
    assert "\x1b" not in again.stdout
    done = invoke(["sweep", "report", "s.study", "page.html"])
    assert done.exit_code == 0, done.output
    page = Path("page.html").read_text()
    # 1 or 2 layers: no mark at 1.5.
    assert ">1.5<" not in page
    for words in ("Parallel coordinates", "Best trials", "units_1", "12 complete", "Importance"):
        assert words in page
    for outside in ("http:", "https:", "<script", "src=", "@import", "url("):
        assert outside not in page
    assert invoke(["sweep", "report", "s.study", "page.html"]).exit_code == 2


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="POSIX signals")
def test_ctrl_c_ends_a_sweep_and_its_workers_and_the_same_command_goes_on(tmp_path: Path) -> None:
    """Ctrl-C in a terminal, which goes to the workers too."""
    study = tmp_path / "one.study"
    command = [*BASIC[:-2], "--trials", "1000000", "--workers", "2", "--study", str(study)]
    with start_process([sys.executable, "-m", "fastnn", *command], cwd=tmp_path) as process:
        wait_for(lambda: study.exists() and study.read_text().count('"op_code":6') > 6)
        os.killpg(process.pid, signal.SIGINT)
        output, _ = process.communicate(timeout=TIMEOUT)
        assert process.returncode == 130
        *news, last = output.splitlines()
        assert last == f"stopped; {study} keeps the trials, and the same command goes on"
        assert all(line.startswith(f"{study}: ") and "; the best is trial " in line for line in news)
        if Path("/proc/self/stat").exists():
            assert processes_left(process.pid) == []
    begun = len(read_study(str(study), "fastnn")[1])
    done = []
    for name, out in (("one.study", "one"), ("two.study", "two")):
        result = invoke([*BASIC, "--trials", str(begun + 1), "--study", name, "--out", out, "--json"])
        assert result.exit_code == 0, result.output
        done.append(json.loads(result.stdout))
    assert done[0]["trials"]["complete"] == begun + 1
    assert (done[0]["best"], done[0]["weights_sha256"]) == (done[1]["best"], done[1]["weights_sha256"])


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="POSIX signals")
def test_ctrl_c_while_a_scheduler_does_not_answer_leaves_a_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(TIMEOUT)
        scheduler = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        command = [*BASIC[:-2], "--trials", "1", "--scheduler", scheduler, "--study", "one.study"]
        with start_process([sys.executable, "-m", "fastnn", *command], cwd=tmp_path) as process:
            connection, _ = server.accept()
            with connection:
                os.killpg(process.pid, signal.SIGINT)
                output, _ = process.communicate(timeout=TIMEOUT)
    assert (process.returncode, output) == (130, "stopped; one.study keeps the trials, and the same command goes on\n")


def test_two_objectives_have_their_page() -> None:
    options = ["--objective", "accuracy", "--objective", "size", "--trials", "4", "--out", "run"]
    done = invoke([*BASIC, *options])
    assert done.exit_code == 0, done.output
    assert re.search(r"the best in accuracy is trial \d: accuracy [\d.]+%, size [\d,]+\n", done.stderr)
    assert re.search(r"trial \d is the best in accuracy; its recipe is trained", done.stderr)
    assert invoke(["sweep", "report", "s.study", "p.html"]).exit_code == 0
    assert "Pareto front" in Path("p.html").read_text()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["sweep", "--data", "a.npz"], "give the data and what to search"),
        ([*BASIC], "give a number of trials"),
        ([*BASIC, "--trials", "1", "--time", "soon"], "--time takes a time such as 10m"),
        ([*BASIC, "--trials", "1", "--scheduler", "tcp://127.0.0.1:1"], "--workers are processes on this machine"),
        ([*BASIC[:-2], "--trials", "1", "--workers", "-1"], "at least 1 worker"),
        ([*BASIC, "--trials", "1", "--objective", "speed"], "one or two different objectives"),
        ([*BASIC, "--trials", "1", "--study", "none/a.study"], "make its folder first"),
        (["sweep", "--data", "a.npz", "--space", "bad.toml", "--trials", "1"], "did you mean lr"),
        (["sweep", "--data", "a.npz", "--space", "none.toml", "--trials", "1"], "none.toml"),
        (["sweep", "report", "none.study", "a.html"], "no such study"),
        (["sweep", "report", "a.npz", "a.html"], "not a study of Optuna"),
        (["cv", "--data", "a.npz", "--group", "writer"], "says nothing about groups"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_code_2(args: list[str], words: str) -> None:
    Path("bad.toml").write_text("lrr = 1")
    result = invoke(args)
    lines = [line for line in result.stderr.splitlines() if not line.startswith("note:")]
    assert (result.exit_code, result.stdout, len(lines)) == (2, "", 1), result.output
    assert words in lines[0]


def test_a_sweep_without_a_complete_trial_fails() -> None:
    Path("s.toml").write_text('base = "mnist"\nepochs = 1\n[rule]\nchoices = ["original"]\n')
    result = invoke([*BASIC, "--trials", "2"])
    assert result.exit_code == 1, result.output
    assert "no trial is complete; the last one failed: s.toml: rule original" in result.stderr


@pytest.mark.parametrize(("text", "seconds"), [("10m", 600), ("90s", 90), ("90", 90), ("1h30m", 5400), ("0.5m", 30)])
def test_times_are_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds
    with pytest.raises(FastnnError, match="--time takes"):
        parse_duration(f"{text}x")
