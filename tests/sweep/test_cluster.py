"""Work on a Dask scheduler whose workers are processes on loopback."""

from __future__ import annotations

import contextlib
import os
import signal
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fastnn.crossval import cross_validate
from fastnn.datasets.shared import shared_key
from fastnn.datasets.store_writer import write_store
from fastnn.errors import DataError, MissingExtraError, RecipeError
from fastnn.formats import load_model
from fastnn.recipe import Recipe
from fastnn.session import Session
from fastnn.sweep.space import load_space
from fastnn.threads import StopFlag
from tests.helpers import blobs, wait_for
from tests.sweep import work
from tests.sweep.test_run import SPACE, found

pytest.importorskip("distributed")
pytest.importorskip("optuna")

from fastnn.cluster import Cluster, InProcess, Lost
from fastnn.sweep.options import SweepOptions
from fastnn.sweep.run import Sweep

if TYPE_CHECKING:
    from pathlib import Path

    from tests.sweep.conftest import Running

RECIPE = Recipe(name="t", hidden=(8,), rule="backprop", activation="relu", init="he", invert=True, epochs=1, lr=0.02)
DATA = blobs(120)


def test_jobs_get_the_data_and_send_messages(cluster: Cluster, running: Running) -> None:
    seen: dict[int, Any] = {}

    def hear(job: int, message: Any) -> bool:
        seen[job] = message
        return False

    results = dict(cluster.map(work.square, range(12), DATA, on_message=hear))
    assert results == {k: (k * k, 120, DATA.content_hash) for k in range(12)}
    assert all(message == ("began", job) for job, message in seen.items())
    # They went to the worker's cache, and no file of another kind.
    kept = [path.name for path in (running.folder / "cache").rglob("*") if path.is_file()]
    assert f"{shared_key(DATA)}.data" in kept
    assert not [name for name in kept if not name.endswith((".data", ".native"))]


def test_an_error_is_raised_and_ends_the_other_jobs(cluster: Cluster) -> None:
    with pytest.raises(MissingExtraError, match=r"this job needs the extra \[sweep\]") as caught:
        dict(cluster.map(work.refuse, range(3, 9), DATA))
    assert caught.value.exit_code == 2
    # Or they would hold the workers for a minute.
    assert len(dict(cluster.map(work.square, range(4), DATA))) == 4


def test_a_message_may_stop_a_job_and_the_caller_all(cluster: Cluster) -> None:
    from fastnn.cluster import WorkFailedError

    with pytest.raises(WorkFailedError, match="was stopped"):
        dict(cluster.map(work.until_stopped, range(1), DATA, on_message=lambda *_: True))
    stop = StopFlag()

    def halt(*_: Any) -> bool:
        stop.set()
        return False

    assert dict(cluster.map(work.until_stopped, range(4), DATA, stop, on_message=halt)) == {}
    assert len(dict(cluster.map(work.square, range(4), DATA))) == 4


def test_jobs_that_are_just_beginning_are_stopped_too(cluster: Cluster, running: Running) -> None:
    for _ in range(8):
        with contextlib.closing(cluster.map(work.until_stopped, [None, *range(8)], DATA)) as results:
            assert next(results) == (None, None)
    wait_for(lambda: sum(running.client.run(work.count_running).values()) == 0)


def test_a_sweep_equals_a_serial_one_bit_for_bit(cluster: Cluster, tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    path.write_text(SPACE)
    for name, options in (("random", {"sampler": "random"}), ("tpe", {"lag": 4})):
        sweeps = []
        for kind, where in (("serial", InProcess()), ("cluster", cluster)):
            sweep = Sweep(DATA, load_space(path), tmp_path / f"{name}-{kind}", SweepOptions(trials=6, **options))  # type: ignore[arg-type]
            assert len(list(sweep.run(where))) == 6
            sweeps.append(found(sweep))
        assert sweeps[0] == sweeps[1]
        assert all(one[4] for one in sweeps[0])


def test_folds_equal_those_of_threads_bit_for_bit(cluster: Cluster, running: Running) -> None:
    groups = np.arange(120) // 6
    options: dict[str, Any] = {"folds": 3, "groups": groups}
    here = cross_validate(DATA, RECIPE, threads=1, **options)
    assert cross_validate(DATA, RECIPE, scheduler=running.address, **options) == here
    with pytest.raises(RecipeError, match="exclude each other"):
        cross_validate(DATA, RECIPE, threads=1, scheduler=running.address)
    del cluster


def test_members_of_an_ensemble_equal_those_of_threads_bit_for_bit(
    cluster: Cluster, running: Running, tmp_path: Path
) -> None:
    recipe = RECIPE.replace(epochs=2, ensemble=3, averaging="ema")
    here, there = (Session(DATA, recipe, tmp_path / name) for name in ("here", "there"))
    there.scheduler = running.address
    reports = [sorted((one.member, one.epoch, one.loss) for one in session) for session in (here, there)]
    assert reports[0] == reports[1]
    assert here.model.sha256() == there.model.sha256()
    assert load_model(tmp_path / "there").sha256() == here.model.sha256()
    part = Session(DATA, recipe, tmp_path / "part")
    part.scheduler = running.address
    for _ in part:
        # A network has all its epochs, the others have none.
        break
    resumed = Session.resume(tmp_path / "part", dataset=DATA)
    for _ in resumed:
        pass
    assert resumed.model.sha256() == here.model.sha256()
    del cluster


def test_workers_map_a_store_themselves(cluster: Cluster, running: Running, tmp_path: Path) -> None:
    made = blobs(240)
    stored = write_store(made, tmp_path / "big.fnn")
    groups = np.arange(240) // 6
    options: dict[str, Any] = {"folds": 3, "groups": groups}
    found = cross_validate(stored, RECIPE, scheduler=running.address, **options)
    assert found == cross_validate(made, RECIPE, threads=1, **options)
    recipe = RECIPE.replace(ensemble=2)
    here, there = Session(made, recipe), Session(stored, recipe)
    there.scheduler = running.address
    for session in (here, there):
        assert len(list(session)) == 2
    assert there.model.sha256() == here.model.sha256()
    # Their images never went to the workers' cache.
    sent = {path: path.stat().st_size for path in (running.folder / "cache").rglob("*.data")}
    assert sent[next(path for path in sent if path.stem == shared_key(replace(stored, groups=groups)))] < 20_000
    assert dict(cluster.map(work.square, range(1), stored.take([3, 5])))[0][1] == 2


def test_workers_without_the_store_say_so(cluster: Cluster, tmp_path: Path) -> None:
    stored = write_store(blobs(60), tmp_path / "big.fnn")
    (tmp_path / "big.fnn").rename(tmp_path / "elsewhere.fnn")
    with pytest.raises(DataError, match=r"big\.fnn.*every machine needs the same store under the same path"):
        dict(cluster.map(work.square, range(2), stored))
    assert len(dict(cluster.map(work.square, range(2), DATA))) == 2


def test_estimators_of_scikit_learn_work_with_joblib(cluster: Cluster, running: Running) -> None:
    joblib = pytest.importorskip("joblib")
    pytest.importorskip("sklearn")
    from distributed import Client
    from sklearn.model_selection import cross_val_score

    from fastnn.sklearn import MLPClassifier

    rng = np.random.default_rng(0)
    rows = rng.normal(size=(80, 3))
    labels = (rows.sum(axis=1) > 0).astype(int)
    estimator = MLPClassifier(hidden_layer_sizes=(8,), max_iter=5, random_state=0)
    here = cross_val_score(estimator, rows, labels, cv=4)
    with Client(running.address), joblib.parallel_config(backend="dask"):
        there = cross_val_score(estimator, rows, labels, cv=4)
    assert there.tolist() == here.tolist()
    del cluster


def test_a_job_whose_worker_dies_is_done_again_once(cluster: Cluster, running: Running, tmp_path: Path) -> None:
    jobs = [(number, str(tmp_path)) for number in range(4)]
    before = set(running.client.run(os.getpid).values())
    killed: list[int] = []

    def kill(_: Any, process: int) -> bool:
        if not killed:
            killed.append(process)
            os.kill(process, signal.SIGKILL)
            (tmp_path / "go").touch()
        return False

    results = dict(cluster.map(work.await_file, jobs, DATA, on_message=kill))
    assert sorted(results.values()) == [0, 1, 2, 3]
    assert sorted((tmp_path / "done").read_text().split()) == ["0", "1", "2", "3"]
    assert len(killed) == 1
    running.wait_for_workers()
    assert before - set(running.client.run(os.getpid).values()) == set(killed)


def go_on(process: int) -> None:
    """Let a process go on that is halted; it may have ended since."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, signal.SIGCONT)


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="processes cannot be halted here")
def test_a_worker_that_is_cut_off_and_comes_back_changes_nothing(
    cluster: Cluster, running: Running, tmp_path: Path
) -> None:
    jobs = [(number, str(tmp_path)) for number in range(4)]
    addresses = {process: address for address, process in running.client.run(os.getpid).items()}
    halted: list[int] = []

    def halt(_: Any, process: int) -> bool:
        if not halted:
            halted.append(process)
            os.kill(process, signal.SIGSTOP)
            # As the scheduler does when it has not heard from a worker for some minutes.
            running.client.run_on_scheduler(work.take_for_dead, addresses[process])
        elif process != halted[0]:
            # The job has gone to another worker.
            go_on(halted[0])
            (tmp_path / "go").touch()
        return False

    try:
        results = dict(cluster.map(work.await_file, jobs, DATA, on_message=halt))
    finally:
        for process in halted:
            go_on(process)
    assert sorted(results.values()) == [0, 1, 2, 3]
    assert halted
    # It ends when it learns that it was taken for dead, and another one takes its place.
    running.wait_for_workers()
    assert len(dict(cluster.map(work.square, range(4), DATA))) == 4


def test_a_job_that_kills_its_workers_is_lost_and_the_others_are_not(cluster: Cluster) -> None:
    answers = dict(cluster.map(work.die, range(3), DATA))
    assert (answers[0], answers[2]) == (0, 2)
    assert isinstance(answers[1], Lost)
    assert "lack of memory" in answers[1].reason
