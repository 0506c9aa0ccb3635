from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fastnn.sweep.space import load_space

pytest.importorskip("optuna")

import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from fastnn.sweep import samplers

if TYPE_CHECKING:
    from pathlib import Path

    from fastnn.sweep.space import Space

ALL = 1_000_000


@pytest.fixture
def space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Space:
    monkeypatch.setattr(samplers, "MOST_SEEN", 40)
    monkeypatch.setattr(samplers, "BEST_SEEN", 5)
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    path = tmp_path / "s.toml"
    path.write_text('base = "mnist"\nepochs = 1\n[rotation]\nlow = 0.0\nhigh = 1.0\n')
    return load_space(path)


def finished(space: Space, angle: float, value: float | None, state: TrialState = TrialState.COMPLETE) -> FrozenTrial:
    distribution = samplers.distribution_of(space.parameters["rotation"])
    return create_trial(params={"rotation": angle}, distributions={"rotation": distribution}, value=value, state=state)


def trials_of(space: Space, pairs: list[tuple[float, float]]) -> list[FrozenTrial]:
    """Return finished trials with these angles and values."""
    return [finished(space, angle, value) for angle, value in pairs]


def study_of(space: Space, trials: list[FrozenTrial], kind: str = "tpe", **options: Any) -> Any:
    """Return a study of these trials; by default with one objective, which is maximised."""
    seed = options.pop("seed", 3)
    options = options or {"direction": "maximize"}
    sampler = samplers.make_sampler(kind, space, seed, lambda: study.get_trials(deepcopy=False))
    study = optuna.create_study(sampler=sampler, **options)
    study.add_trials(trials)
    return study


def ask(space: Space, study: Any) -> tuple[Any, float]:
    """Return a new trial and its angle."""
    trial = study.ask()
    samplers.suggest(trial, "rotation", samplers.distribution_of(space.parameters["rotation"]))
    return trial, float(trial.params["rotation"])


def angles(space: Space, trials: list[FrozenTrial], kind: str = "tpe", **options: Any) -> list[float]:
    """Return the angles of the trial after these, by several seeds."""
    return [ask(space, study_of(space, trials, kind, seed=seed, **options))[1] for seed in range(6)]


BEST = [(0.2 + k / 1000, 0.9 + k / 1000) for k in range(5)]
NEWEST = [(k / 40, 0.5 + k / 1000) for k in range(35)]
OLD = [(0.7, k / 1000) for k in range(60)]


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_tpe_sees_the_best_and_the_newest_trials(space: Space, direction: str) -> None:
    sign = 1 if direction == "maximize" else -1

    def found(pairs: list[tuple[float, float]]) -> list[float]:
        return angles(space, trials_of(space, [(angle, sign * value) for angle, value in pairs]), direction=direction)

    others = [(k / 60, 0.1) for k in range(60)]
    expected = found(OLD[:30] + BEST + OLD[30:] + NEWEST)
    assert expected == found(others[:10] + BEST + others[10:] + NEWEST)
    assert expected != found(OLD + [(1 - angle, value) for angle, value in BEST] + NEWEST)
    assert expected != found(OLD + BEST + [(expected[0], value) for _, value in NEWEST])


def test_trials_without_a_result_are_none_of_the_best(space: Space) -> None:
    trials = trials_of(space, OLD + BEST + NEWEST)
    odd = [finished(space, 0.9, None, TrialState.FAIL), finished(space, 0.9, 7.0, TrialState.PRUNED)] * 5
    assert angles(space, trials) == angles(space, odd + trials[len(odd) :])


def test_up_to_a_limit_all_trials_are_seen(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    # The first one is among those that TPE takes for good if there are as many, but not among the best that are kept.
    pairs = [(0.9, 0.5), *((0.1 + k / 100, 0.51 + k / 1000) for k in range(39))]
    monkeypatch.setattr(samplers, "BEST_SEEN", 1)
    seen = [angles(space, trials_of(space, [(0.3, 0.1)] * more + pairs)) for more in (0, 1)]
    monkeypatch.setattr(samplers, "MOST_SEEN", ALL)
    whole = [angles(space, trials_of(space, [(0.3, 0.1)] * more + pairs)) for more in (0, 1)]
    assert seen[0] == whole[0]
    assert seen[1] != whole[1]


def test_each_trial_sees_the_trials_that_are_there_by_then(space: Space) -> None:
    study = study_of(space, trials_of(space, OLD + NEWEST))
    trial, angle = ask(space, study)
    study.tell(trial, 0.5)
    study.add_trials(trials_of(space, BEST))
    expected = study_of(space, trials_of(space, [*OLD, *NEWEST, (angle, 0.5), *BEST]))
    assert ask(space, study)[1] == ask(space, expected)[1]
    # The study keeps nothing but the parameters of a trial.
    assert all(not one.system_attrs for one in study.trials)


@pytest.mark.parametrize(("kind", "directions"), [("nsga2", ["maximize"]), ("tpe", ["maximize", "minimize"])])
def test_others_see_the_whole_study(
    space: Space, kind: str, directions: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def found(n: int) -> list[float]:
        study, seen = study_of(space, [], kind, directions=directions), []
        for k in range(n):
            trial, angle = ask(space, study)
            study.tell(trial, [angle, (k * angle) % 0.3][: len(directions)])
            seen.append(angle)
        assert bool(study.trials[-1].system_attrs)  # its generation, or what it was given
        return seen

    part = found(130)
    monkeypatch.setattr(samplers, "MOST_SEEN", ALL)
    assert part == found(130)


def test_the_brackets_of_hyperband_hide_no_trials(space: Space) -> None:
    def found(pruner: str) -> list[float]:
        options = {"direction": "maximize", "pruner": samplers.make_pruner(pruner)}
        study, seen = study_of(space, [], **options), []
        for _ in range(40):
            trial, angle = ask(space, study)
            for epoch in range(9):
                trial.report(angle, epoch)
                trial.should_prune()
            study.tell(trial, angle)
            seen.append(angle)
        return seen

    assert found("hyperband") == found("none")
