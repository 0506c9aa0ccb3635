"""Sweeps in this process, without a cluster."""

from __future__ import annotations

import json
import os
import re
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fastnn.cluster import InProcess
from fastnn.datasets import Dataset, Split, split
from fastnn.errors import FastnnError, MissingExtraError, RecipeError, TrainingError
from fastnn.session import Session
from fastnn.sweep.space import Space, load_space
from fastnn.temporaries import machine_id
from tests.helpers import blobs, largest_file, wait_for

pytest.importorskip("optuna")

from fastnn.sweep.options import SweepOptions
from fastnn.sweep.run import Sweep

if TYPE_CHECKING:
    from pathlib import Path

SPACE = """
base = "mnist"
epochs = 1
normalise = false
rotation = 0.0
scale = 0.0
shear = 0.0
shift = 0.0
elastic_alpha = 0.0
[hidden]
layers = [1, 2]
units = {low = 4, high = 8}
[lr]
low = 0.005
high = 0.05
log = true
"""
RANDOM = SweepOptions(trials=5, sampler="random")


@pytest.fixture
def space(tmp_path: Path) -> Space:
    path = tmp_path / "s.toml"
    path.write_text(SPACE)
    return load_space(path)


@pytest.fixture(scope="module")
def data() -> Dataset:
    return blobs(120)


def found(sweep: Sweep) -> list[tuple[Any, ...]]:
    return [(one.number, one.state, one.params, one.values, one.attributes.get("weights")) for one in sweep.study]


def run(sweep: Sweep, most: int | None = None) -> int:
    done = 0
    results = sweep.run(InProcess())
    for _ in results:
        done += 1
        if done == most:
            results.close()
    return done


def test_a_sweep_finds_the_best_trial_and_trains_it_on_all_but_the_test_part(
    data: Dataset, space: Space, tmp_path: Path
) -> None:
    sweep = Sweep(data, space, tmp_path / "a.study", RANDOM)
    assert run(sweep) == 5
    trials = list(sweep.study)
    best = max(trials, key=lambda one: (one.values[0], -one.number))
    assert sweep.best()[0].number == best.number
    assert sweep.leaders(2)[0].number == best.number
    session = sweep.final(tmp_path / "run")
    for _ in session:
        pass
    train, _ = split(data, Split(fraction=0.1, seed=0))
    assert session.train.content_hash == train.content_hash
    assert session.recipe == space.recipe(best.params)
    assert (tmp_path / "run" / "recipe.toml").is_file()
    # A trial is a session on the training part, tested on its validation part.
    alone = Session(train, space.recipe(trials[0].params), split=Split(fraction=0.2, seed=0))
    for _ in alone:
        pass
    assert alone.evaluation is not None
    assert trials[0].values == (alone.evaluation.score,)
    assert trials[0].attributes["weights"] == alone.model.sha256()


@pytest.mark.parametrize("options", [{"sampler": "random"}, {"sampler": "qmc"}, {"lag": 2}], ids=str)
def test_a_stopped_sweep_goes_on_to_the_same_trials(
    options: dict[str, Any], data: Dataset, space: Space, tmp_path: Path
) -> None:
    whole = Sweep(data, space, tmp_path / "a.study", SweepOptions(trials=5, **options))
    run(whole)
    for most in (2, None):
        part = Sweep(data, space, tmp_path / "b.study", SweepOptions(trials=5, **options))
        run(part, most)
    assert found(part) == found(whole)
    assert part.is_exact


def test_two_sweeps_share_a_study(data: Dataset, space: Space, tmp_path: Path) -> None:
    alone = Sweep(data, space, tmp_path / "a.study", RANDOM)
    run(alone)
    one, two = (Sweep(data, space, tmp_path / "b.study", RANDOM) for _ in range(2))
    results = one.run(InProcess()), two.run(InProcess())
    numbers = [next(results[k % 2]).number for k in range(4)]
    assert sorted(numbers) == [0, 1, 2, 3]
    rest = [result.number for part in results for result in part]
    assert rest == [4]
    assert found(two) == found(alone)


def test_a_trial_too_many_waits_for_a_sweep_that_asks_for_more(data: Dataset, space: Space, tmp_path: Path) -> None:
    path = tmp_path / "b.study"
    one, two = (Sweep(data, space, path, SweepOptions(trials=2, sampler="random")) for _ in range(2))
    assert run(one) == 2
    # As if both had counted the trials before one of them made the last one.
    assert two.study.ask(2) is None
    assert run(two) == 0
    assert two.study.counts() == {"complete": 2, "pruned": 0, "failed": 0, "running": 0, "waiting": 1}
    whole, more = (Sweep(data, space, at, RANDOM) for at in (tmp_path / "a.study", path))
    run(whole)
    assert run(more) == 3
    assert found(more) == found(whole)


def test_a_trial_that_another_sweep_has_just_made_is_left_to_it(data: Dataset, space: Space, tmp_path: Path) -> None:
    path = tmp_path / "a.study"
    assert Sweep(data, space, path, RANDOM).study.ask() is not None
    lines = path.read_text().splitlines(keepends=True)
    made = next(k for k, line in enumerate(lines) if '"op_code":4' in line)
    # Without the owner, which is written next.
    path.write_text("".join(lines[: made + 1]))
    other = Sweep(data, space, path, RANDOM).study
    assert not other.unfinished()
    assert other.adopt() is None
    before = re.sub('"datetime_start":"....', '"datetime_start":"2001', lines[made])
    assert before != lines[made]
    path.write_text("".join([*lines[:made], before]))
    adopted = Sweep(data, space, path, RANDOM).study.adopt()
    assert adopted is not None
    assert adopted.number == 0


def test_a_line_that_another_sweep_has_not_finished_spoils_nothing(data: Dataset, space: Space, tmp_path: Path) -> None:
    whole, sweep = (Sweep(data, space, tmp_path / name, RANDOM) for name in ("a.study", "b.study"))
    run(whole)
    results = sweep.run(InProcess())
    next(results)
    with (tmp_path / "b.study").open("a") as file:
        file.write('{"op_code":4,"wor')
    assert len(list(results)) == 4
    assert found(Sweep(data, space, tmp_path / "b.study", RANDOM)) == found(whole)


def test_a_full_disk_leaves_the_study_as_it_was(data: Dataset, space: Space, tmp_path: Path) -> None:
    path = tmp_path / "a.study"
    study = Sweep(data, space, path, RANDOM).study
    content = path.read_bytes()
    with largest_file(len(content) + 20), pytest.raises(FastnnError, match=r"a\.study: cannot be written"):
        study.ask()
    assert path.read_bytes() == content
    assert run(Sweep(data, space, path, RANDOM)) == 5


def test_a_study_that_is_cut_off_meanwhile_is_named(data: Dataset, space: Space, tmp_path: Path) -> None:
    sweep, path = Sweep(data, space, tmp_path / "a.study", RANDOM), tmp_path / "a.study"
    path.write_bytes(path.read_bytes()[:10])
    with pytest.raises(FastnnError, match=r"a\.study: another process has cut off the study; start again"):
        run(sweep)


def test_a_trial_of_a_killed_sweep_is_done_again_once(data: Dataset, space: Space, tmp_path: Path) -> None:
    whole = Sweep(data, space, tmp_path / "a.study", RANDOM)
    run(whole)
    killed = Sweep(data, space, tmp_path / "b.study", RANDOM)
    asked = killed.study.ask()
    assert asked is not None
    # Owned by a process that does not exist, with another trial owned by one that does, and a line cut off.
    path = tmp_path / "b.study"
    text = path.read_text().replace(f"{machine_id()} {os.getpid()} ", f"{machine_id()} {2**30 + 7} ")
    path.write_text(text + '{"op_code":4,"wor')
    sweep = Sweep(data, space, path, RANDOM)
    assert sweep.study.unfinished()
    assert run(sweep) == 5
    assert asked.number == 0
    assert found(sweep) == found(whole)


def test_a_trial_that_another_sweep_has_done_is_kept_as_it_is(
    data: Dataset, space: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, other = (Sweep(data, space, tmp_path / "a.study", RANDOM) for _ in range(2))
    asked = slow.study.ask()
    assert asked is not None
    number = asked.number
    # As if it had been cut off for longer.
    monkeypatch.setattr("fastnn.sweep.study._STALE_SECONDS", -1.0)
    adopted = other.study.adopt()
    assert adopted is not None
    assert adopted.number == number
    other.study.tell(number, (0.5,), {"accuracy": 0.5}, "complete")
    slow.study.tell(number, (0.25,), {"accuracy": 0.25}, "complete")
    assert [(one.values, one.attributes) for one in slow.study] == [((0.5,), {"accuracy": 0.5})]


def test_a_sweep_says_that_it_is_alive_while_a_trial_takes_long(
    data: Dataset, space: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastnn.sweep.study._BEAT_SECONDS", 0.01)
    sweep, path = Sweep(data, space, tmp_path / "a.study", RANDOM), tmp_path / "a.study"
    results = sweep.run(InProcess())
    next(results)
    said = path.read_text().count('"beat ')
    wait_for(lambda: path.read_text().count('"beat ') > said + 3)
    results.close()


def test_a_grid_is_searched_whole(data: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    choices = "[hidden]\nchoices = [[4], [8]]\n[lr]\nchoices = [0.01, 0.02, 0.05]\n"
    path.write_text(SPACE.partition("[hidden]")[0] + choices)
    sweep = Sweep(data, load_space(path), tmp_path / "a.study", SweepOptions(sampler="grid"))
    assert sweep.goal == 6
    assert run(sweep) == 6
    assert len({tuple(one.params.values()) for one in sweep.study}) == 6


def test_two_objectives_give_a_pareto_front(data: Dataset, space: Space, tmp_path: Path) -> None:
    options = SweepOptions(trials=6, sampler="random", objectives=("accuracy", "size"))
    sweep = Sweep(data, space, tmp_path / "a.study", options)
    run(sweep)
    front = [one.values for one in sweep.best()]
    others = [one.values for one in sweep.study if one.values not in front]
    assert front == sorted(front, key=lambda values: -values[0])
    assert all(any(a >= c and b <= d for a, b in front) for c, d in others)


def test_time_to_an_accuracy(data: Dataset, space: Space, tmp_path: Path) -> None:
    options = SweepOptions(trials=3, sampler="random", objectives=("time",), accuracy=0.01)
    sweep = Sweep(data, space, tmp_path / "a.study", options)
    run(sweep)
    assert all(one.values[0] > 0 for one in sweep.study)
    assert not sweep.is_exact
    never = SweepOptions(trials=2, sampler="random", objectives=("time",), accuracy=1.0)
    sweep = Sweep(blobs(60), space, tmp_path / "b.study", never)
    run(sweep)
    with pytest.raises(TrainingError, match="no trial is complete; the last one failed: did not reach 1"):
        sweep.final()


def test_a_pruner_stops_trials(data: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    path.write_text(SPACE.replace("epochs = 1", "epochs = 8").replace("low = 0.005", "low = 1e-9"))
    options = SweepOptions(trials=12, sampler="random", pruner="median")
    sweep = Sweep(data, load_space(path), tmp_path / "a.study", options)
    run(sweep)
    states = Counter(one.state for one in sweep.study)
    assert states["pruned"] > 0
    assert states["pruned"] + states["complete"] == 12


def test_trials_that_fail_are_kept_with_the_reason(data: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    path.write_text('base = "mnist"\nepochs = 1\nhidden = [4]\n[rule]\nchoices = ["original", "backprop"]\n')
    sweep = Sweep(data, load_space(path), tmp_path / "a.study", SweepOptions(sampler="grid"))
    assert run(sweep) == 2
    states = {one.params["rule"]: (one.state, one.attributes.get("reason")) for one in sweep.study}
    assert states["backprop"] == ("complete", None)
    assert states["original"][0] == "failed"
    assert "only sigmoid" in str(states["original"][1])


def test_the_time_ends_a_sweep(data: Dataset, space: Space, tmp_path: Path) -> None:
    sweep = Sweep(data, space, tmp_path / "a.study", SweepOptions(seconds=0.3, sampler="random"))
    run(sweep)
    assert not [one for one in Sweep(data, space, tmp_path / "a.study", RANDOM).study if one.state == "failed"]


def test_a_study_of_another_space_or_other_data_is_refused(data: Dataset, space: Space, tmp_path: Path) -> None:
    study = tmp_path / "a.study"
    Sweep(data, space, study, RANDOM)
    path = tmp_path / "t.toml"
    path.write_text(SPACE.replace("high = 0.05", "high = 0.06"))
    with pytest.raises(RecipeError, match=r"a\.study: is a study of another space \(it differs in base, lr\)"):
        Sweep(data, load_space(path), study, RANDOM)
    with pytest.raises(RecipeError, match="differs in data"):
        Sweep(blobs(130), space, study, RANDOM)
    with pytest.raises(FastnnError, match=r"a\.study"):
        Sweep(data, space, study, SweepOptions(trials=5, sampler="random", objectives=("accuracy", "size")))


@pytest.mark.parametrize(
    "content",
    [b"no study\n", b"[]\n", b'{"op_code":4}\n', b'{"op_code":99,"worker_id":"a"}\n', b"\xff\n", b"a" * 5_000_000],
)
def test_a_file_that_is_no_study_is_refused(content: bytes, data: Dataset, space: Space, tmp_path: Path) -> None:
    path = tmp_path / "a.study"
    path.write_bytes(content)
    with pytest.raises(FastnnError, match=r"a\.study"):
        Sweep(data, space, path, RANDOM)
    assert path.read_bytes() == content


def test_a_driver_that_is_not_installed_is_named(data: Dataset, space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("psycopg", "MySQLdb"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=r"needs the extra \[postgres\]"):
        Sweep(data, space, "postgresql://ann:secret@127.0.0.1/x", RANDOM)
    with pytest.raises(FastnnError, match=r"mysql://127\.0\.0\.1/x: the driver of this database is not installed"):
        Sweep(data, space, "mysql://ann:secret@127.0.0.1/x", RANDOM)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "give a number of trials"),
        ({"trials": 0}, "trials must be at least 1"),
        ({"trials": 1, "objectives": ("time",)}, "go together"),
        ({"trials": 1, "accuracy": 0.9}, "go together"),
        ({"trials": 1, "objectives": ("size", "size")}, "one or two different"),
        ({"trials": 1, "objectives": ("speed",)}, "one or two different"),
        ({"trials": 1, "objectives": ("size",), "pruner": "median"}, "needs that as only objective"),
        ({"trials": 1, "sampler": "grid"}, "a grid needs a step or choices"),
        ({"trials": 1, "sampler": "bayes"}, "unknown sampler 'bayes'"),
        ({"trials": 1, "validation": 1.0}, "between 0 and 1"),
        ({"trials": 1, "lag": 1, "pruner": "median"}, "drop one of them"),
        ({"seconds": 0.0}, "more than 0"),
        ({"trials": 1, "seed": -1}, "from 0"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    options: dict[str, Any], words: str, data: Dataset, space: Space, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=words):
        Sweep(data, space, tmp_path / "a.study", SweepOptions(**options))


def test_points_of_qmc_are_spread_evenly(data: Dataset, space: Space, tmp_path: Path) -> None:
    study = Sweep(data, space, tmp_path / "a.study", SweepOptions(trials=64, sampler="qmc")).study
    asked = [study.ask() for _ in range(64)]
    rates = np.log([one.params["lr"] for one in asked if one is not None])
    counts = np.histogram(rates, bins=8, range=(np.log(0.005), np.log(0.05)))[0]
    assert counts.min() >= 6
    assert counts.sum() == 64


def test_the_journal_is_json_lines(data: Dataset, space: Space, tmp_path: Path) -> None:
    """Nothing is pickled on disk."""
    run(Sweep(data, space, tmp_path / "a.study", RANDOM))
    for line in (tmp_path / "a.study").read_text().splitlines():
        assert json.loads(line)["op_code"] >= 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.study", "s.toml"]
