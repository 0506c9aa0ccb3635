from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fastnn.sweep.space import load_space

pytest.importorskip("optuna")

import optuna

from fastnn.sweep import samplers

if TYPE_CHECKING:
    from pathlib import Path

    from fastnn.sweep.space import Space


@pytest.fixture
def space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Space:
    monkeypatch.setattr(samplers, "MOST_SEEN", 40)
    monkeypatch.setattr(samplers, "BEST_SEEN", 5)
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    path = tmp_path / "s.toml"
    path.write_text('base = "mnist"\nepochs = 1\n[rotation]\nlow = 0.0\nhigh = 1.0\n')
    return load_space(path)


def next_angle(space: Space, trials: list[tuple[float, float]], kind: str = "tpe") -> float:
    """Return the angle of the trial after those with these angles and values."""
    study = optuna.create_study(direction="maximize", sampler=samplers.make_sampler(kind, space, 3))
    distribution: Any = samplers.distribution_of(space.parameters["rotation"])
    for angle, value in trials:
        study.add_trial(
            optuna.trial.create_trial(params={"rotation": angle}, distributions={"rotation": distribution}, value=value)
        )
    trial = study.ask()
    samplers.suggest(trial, "rotation", distribution)
    if kind == "tpe":
        assert study.trials[-1].system_attrs == {}
    return float(trial.params["rotation"])


def test_tpe_sees_the_best_and_the_newest_trials(space: Space) -> None:
    best = [(0.2 + k / 1000, 0.9 + k / 1000) for k in range(5)]
    newest = [(k / 40, 0.5 + k / 1000) for k in range(35)]
    old = [(0.7, k / 1000) for k in range(60)]
    others = [(k / 60, 0.1) for k in range(60)]
    expected = next_angle(space, old[:30] + best + old[30:] + newest)
    assert expected == next_angle(space, others[:10] + best + others[10:] + newest)
    assert expected != next_angle(space, old + [(1 - angle, value) for angle, value in best] + newest)
    assert expected != next_angle(space, old + best + [(expected, value) for _, value in newest])


def test_few_trials_are_all_seen(space: Space) -> None:
    trials = [(k / 40, k % 7) for k in range(34)]
    assert next_angle(space, [(0.1, 9.0)] * 6 + trials) != next_angle(space, [(0.9, 9.0)] * 6 + trials)


def test_other_samplers_are_given_the_study(space: Space) -> None:
    trials = [(k / 100, float(k % 7)) for k in range(100)]
    assert next_angle(space, trials, "random") == next_angle(space, trials[:1] * 100, "random")
    assert 0 <= next_angle(space, trials, "nsga2") <= 1
