"""Clusters that cannot be used: one line, exit code 2, and the study goes on elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fastnn.cluster import Cluster, WorkFailedError, client
from fastnn.errors import RecipeError
from fastnn.formats import load_model
from tests.helpers import blobs, invoke, save_npz, wait_for
from tests.sweep import work
from tests.sweep.test_run import SPACE

pytest.importorskip("optuna")
pytest.importorskip("distributed")

if TYPE_CHECKING:
    from tests.sweep.conftest import Running, Starter

SWEEP = ["sweep", "--data", "a.npz", "--space", "s.toml", "--sampler", "random", "--trials", "2", "--out", "run"]
CV = ["cv", "--data", "a.npz", "--folds", "2", "--repeats", "1", "--epochs", "1"]
TRAIN = ["train", "--data", "a.npz", "--quiet", "--epochs", "1", "--hidden", "4", "--ensemble", "2", "--out", "run"]


@pytest.fixture(autouse=True)
def _isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_npz(blobs(80), Path("a.npz"))
    Path("s.toml").write_text(SPACE)


def refusal(args: list[str], scheduler: str) -> str:
    """Run a command that must be refused; return its line."""
    result = invoke([*args, "--scheduler", scheduler])
    lines = result.stderr.splitlines()
    assert (result.exit_code, result.stdout, len(lines)) == (2, "", 1), result.output
    assert lines[0].startswith(f"fastnn: {scheduler}: ")
    return lines[0]


@pytest.mark.parametrize(
    ("args", "versions", "words"),
    [
        (SWEEP, {"fastnn": "999.0"}, "has fastnn 999.0, but this process "),
        (CV, {"numpy": "1.20.3"}, "has NumPy 1.20, but this process "),
        (SWEEP, {"distributed": "2020.1"}, "has distributed 2020.1, but this process "),
        (TRAIN, {"fastnn": ""}, "cannot run fastnn (ModuleNotFoundError"),
    ],
)
def test_workers_of_other_versions_are_refused(
    args: list[str], versions: dict[str, str], words: str, start_workers: Starter, running: Running
) -> None:
    line = refusal(args, start_workers(1, **versions).address)
    assert words in line
    assert "install" in line
    # Nothing is in the way of the next start.
    result = invoke([*args, "--scheduler", running.address])
    assert result.exit_code == 0, result.output
    if args in (SWEEP, TRAIN):
        assert load_model("run").networks


def test_a_scheduler_without_workers_is_refused(start_workers: Starter) -> None:
    assert "has no workers; start some with `dask worker" in refusal(SWEEP, start_workers(0).address)


@pytest.mark.parametrize("name", ["fastnn", "NumPy"])
def test_a_worker_of_another_version_that_joins_later_is_refused(
    name: str, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Cluster(running.address) as made:
        versions = {**client.versions_here(), name: "999.0"}
        monkeypatch.setattr(client, "versions_here", lambda: versions)
        with pytest.raises(RecipeError, match=rf"a worker has {name} .*, but this process 999\.0; install the same"):
            dict(made.map(work.square, range(1), blobs(20)))


def test_work_fails_if_there_are_no_workers_for_long() -> None:
    from distributed import LocalCluster

    options: dict[str, Any] = {"processes": False, "protocol": "tcp", "dashboard_address": None}
    with LocalCluster(n_workers=1, **options) as local, Cluster(local.scheduler_address, patience=0.1) as made:
        local.scale(0)
        wait_for(lambda: not local.scheduler_info["workers"])
        with pytest.raises(WorkFailedError, match=r"has had no workers for .* seconds; start some"):
            dict(made.map(work.square, range(1), blobs(20)))


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nonsense", "http://127.0.0.1:1"])
def test_a_scheduler_that_is_not_there_is_named(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "CONNECT_SECONDS", 1)
    assert "no Dask scheduler can be reached there" in refusal(CV, address)
