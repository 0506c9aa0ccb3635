import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fastnn.cli import app
from fastnn.cli.sweep import parse_duration
from fastnn.errors import FastnnError
from fastnn.formats import load_model
from fastnn.recipe import load_recipe
from tests.helpers import blobs, run_fastnn, save_npz
from tests.sweep.test_run import SPACE

pytest.importorskip("optuna")
pytest.importorskip("distributed")

runner = CliRunner()
BASIC = ["sweep", "--data", "a.npz", "--space", "s.toml", "--sampler", "random", "--workers", "0"]


@pytest.fixture(autouse=True)
def isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_npz(blobs(80), Path("a.npz"))
    Path("s.toml").write_text(SPACE)


def test_a_sweep_goes_on_and_is_reported() -> None:
    first = runner.invoke(app, [*BASIC, "--trials", "3", "--out", "one", "--json"])
    assert first.exit_code == 0, first.output
    found = json.loads(first.stdout)
    assert found["trials"]["complete"] == 3
    assert found["weights_sha256"] == load_model("one").sha256()
    assert load_recipe("one/recipe.toml").lr == found["best"][0]["params"]["lr"]
    again = runner.invoke(app, [*BASIC, "--trials", "12", "--out", "two"])
    assert again.exit_code == 0, again.output
    assert "s.study: 12 complete" in again.stdout
    assert "is the best" in again.stderr
    assert "\x1b" not in again.stdout
    done = runner.invoke(app, ["sweep", "report", "s.study", "page.html"])
    assert done.exit_code == 0, done.output
    page = Path("page.html").read_text()
    # 1 or 2 layers: no mark at 1.5.
    assert ">1.5<" not in page
    for words in ("Parallel coordinates", "Best trials", "units_1", "12 complete", "Importance"):
        assert words in page
    for outside in ("http:", "https:", "<script", "src=", "@import", "url("):
        assert outside not in page
    assert runner.invoke(app, ["sweep", "report", "s.study", "page.html"]).exit_code == 2


def test_a_local_cluster_finds_the_same_and_says_nothing_else() -> None:
    serial = runner.invoke(app, [*BASIC, "--trials", "4", "--out", "one", "--study", "one.study", "--json"])
    command = [*BASIC[:-2], "--trials", "4", "--workers", "1", "--out", "two", "--study", "two.study", "--json"]
    done = run_fastnn(*command, cwd=Path.cwd())
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    one, two = (json.loads(text) for text in (serial.stdout, done.stdout))
    assert (one["best"], one["weights_sha256"]) == (two["best"], two["weights_sha256"])


def test_two_objectives_have_their_page() -> None:
    options = ["--objective", "accuracy", "--objective", "size", "--trials", "4", "--out", "run"]
    done = runner.invoke(app, [*BASIC, *options])
    assert done.exit_code == 0, done.output
    assert "of the Pareto front" in done.stderr
    assert runner.invoke(app, ["sweep", "report", "s.study", "p.html"]).exit_code == 0
    assert "Pareto front" in Path("p.html").read_text()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["sweep", "--data", "a.npz"], "give the data and what to search"),
        ([*BASIC], "give a number of trials"),
        ([*BASIC, "--trials", "1", "--time", "soon"], "--time takes a time such as 10m"),
        ([*BASIC, "--trials", "1", "--scheduler", "tcp://127.0.0.1:1"], "--workers are processes on this machine"),
        ([*BASIC[:-2], "--trials", "1", "--scheduler", "nonsense"], "no Dask scheduler can be reached"),
        ([*BASIC[:-2], "--trials", "1", "--workers", "-1"], "at least 1 worker"),
        ([*BASIC, "--trials", "1", "--objective", "speed"], "one or two different objectives"),
        ([*BASIC, "--trials", "1", "--study", "none/a.study"], "make its folder first"),
        (["sweep", "--data", "a.npz", "--space", "bad.toml", "--trials", "1"], "did you mean lr"),
        (["sweep", "--data", "a.npz", "--space", "none.toml", "--trials", "1"], "none.toml"),
        (["sweep", "report", "none.study", "a.html"], "no such study"),
        (["sweep", "report", "a.npz", "a.html"], "not a study of Optuna"),
        (["cv", "--data", "a.npz", "--scheduler", "nonsense"], "no Dask scheduler can be reached"),
        (["cv", "--data", "a.npz", "--group", "writer"], "says nothing about groups"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_code_2(args: list[str], words: str) -> None:
    Path("bad.toml").write_text("lrr = 1")
    result = runner.invoke(app, args)
    lines = [line for line in result.stderr.splitlines() if not line.startswith("note:")]
    assert (result.exit_code, result.stdout, len(lines)) == (2, "", 1), result.output
    assert words in lines[0]


def test_a_sweep_without_a_complete_trial_fails() -> None:
    Path("s.toml").write_text('base = "mnist"\nepochs = 1\n[rule]\nchoices = ["original"]\n')
    result = runner.invoke(app, [*BASIC, "--trials", "2"])
    assert result.exit_code == 1, result.output
    assert "no trial is complete; the last one failed: s.toml: rule original" in result.stderr


@pytest.mark.parametrize(("text", "seconds"), [("10m", 600), ("90s", 90), ("90", 90), ("1h30m", 5400), ("0.5m", 30)])
def test_times_are_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds
    with pytest.raises(FastnnError, match="--time takes"):
        parse_duration(f"{text}x")
