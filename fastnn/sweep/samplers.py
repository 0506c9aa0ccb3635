"""How Optuna chooses the parameters of a trial, and which trials it stops.

Part of :mod:`fastnn.sweep.study`, which imports it.
"""

from __future__ import annotations

import contextlib
import heapq
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, NSGAIISampler, TPESampler
from optuna.storages import InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import TrialState

from fastnn.sweep.options import BY_NUMBER
from fastnn.sweep.space import Choices

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator

    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial, Trial

    from fastnn.sweep.space import Space, Value

_STARTUP_TRIALS = 10
_STREAM = 0x5EEB
MOST_SEEN, BEST_SEEN = 1000, 25
"""How many trials TPE sees, and how many of these are the best ones; the others are the newest. TPE models at most 25
good trials, and the older ones of the others hardly count. To look through 10,000 takes it a tenth of a second."""


@contextlib.contextmanager
def no_warnings() -> Iterator[None]:
    """Hide that some samplers and their options are experimental."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        yield


def distribution_of(parameter: Any) -> BaseDistribution:
    """Return what Optuna samples a parameter of a space from."""
    if isinstance(parameter, Choices):
        return CategoricalDistribution(parameter.labels)
    if parameter.is_int:
        return IntDistribution(parameter.low, parameter.high, log=parameter.log, step=parameter.step or 1)
    return FloatDistribution(parameter.low, parameter.high, log=parameter.log, step=parameter.step)


def suggest(trial: Trial, name: str, distribution: BaseDistribution) -> None:
    """Give a trial its value of a parameter."""
    if isinstance(distribution, CategoricalDistribution):
        trial.suggest_categorical(name, distribution.choices)
    elif isinstance(distribution, IntDistribution):
        trial.suggest_int(name, distribution.low, distribution.high, step=distribution.step, log=distribution.log)
    elif isinstance(distribution, FloatDistribution):
        trial.suggest_float(name, distribution.low, distribution.high, step=distribution.step, log=distribution.log)


def make_sampler(name: str, space: Space, seed: int, trials: Callable[[], list[FrozenTrial]]) -> BaseSampler:
    """Return the sampler of a name, see :class:`fastnn.sweep.options.SweepOptions`.

    Parameters
    ----------
    name : str
    space : Space
    seed : int
    trials : callable
        Returns all trials of the study.
    """
    return _ByNumber(name, space, seed) if name in BY_NUMBER else _Reseeded(name, seed, trials)


def make_pruner(name: str) -> optuna.pruners.BasePruner:
    """Return the pruner of a name, see :class:`fastnn.sweep.options.SweepOptions`."""
    pruners = optuna.pruners
    with no_warnings():
        match name:
            case "median":
                return pruners.MedianPruner()
            case "percentile":
                return pruners.PercentilePruner(25.0)
            case "halving":
                return pruners.SuccessiveHalvingPruner()
            case "hyperband":
                return pruners.HyperbandPruner()
        return pruners.NopPruner()


class _ByNumber(BaseSampler):
    """Gives each trial the parameters that its number says, whatever the other trials find."""

    def __init__(self, kind: str, space: Space, seed: int) -> None:
        self._kind, self._space, self._seed = kind, space, seed
        self._last: tuple[int, dict[str, Value]] | None = None

    def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, Any]:  # noqa: ARG002
        """Return nothing: parameters are sampled one by one."""
        return {}

    def sample_relative(self, study: Any, trial: Any, search_space: Any) -> dict[str, Any]:  # noqa: ARG002
        """Return nothing."""
        return {}

    def sample_independent(self, study: Any, trial: Any, param_name: str, param_distribution: Any) -> Any:  # noqa: ARG002
        """Return the value of a parameter."""
        if self._last is None or self._last[0] != trial.number:
            self._last = trial.number, self._point(trial.number)
        return self._last[1][param_name]

    def _point(self, number: int) -> dict[str, Value]:
        if self._kind == "grid":
            return self._space.grid_point(number)
        n = len(self._space.parameters)
        if self._kind == "random":
            return self._space.point(np.random.default_rng([self._seed, _STREAM, number]).random(n))
        from scipy.stats import qmc  # takes 40 MB and half a second

        halton = qmc.Halton(n, rng=np.random.default_rng([self._seed, _STREAM]))
        return self._space.point(halton.fast_forward(number).random()[0])


class _Reseeded(BaseSampler):
    """Makes Optuna's sampler anew for each trial, seeded by its number: one that was killed goes on as if it was not.

    What it samples depends on the results that are known then.
    """

    def __init__(self, kind: str, seed: int, trials: Callable[[], list[FrozenTrial]]) -> None:
        self._kind, self._seed, self._trials = kind, seed, trials
        self._made: tuple[int, BaseSampler] | None = None
        self._seen: tuple[int, optuna.Study] | None = None

    def _study_for(self, study: optuna.Study, trial: FrozenTrial) -> optuna.Study:
        """Return the study as the sampler of a trial sees it."""
        # The front of several objectives may be large, and NSGA-II keeps its generations in the study.
        if self._kind != "tpe" or len(study.directions) > 1:
            return study
        if self._seen is None or self._seen[0] != trial.number:
            # Not those of this study, which may be the ones of a bracket of Hyperband alone.
            others = [one for one in self._trials() if one.number != trial.number]
            self._seen = trial.number, _best_and_newest(others, study.direction)
        return self._seen[1]

    def _of(self, trial: Any) -> BaseSampler:
        if self._made is None or self._made[0] != trial.number:
            words = np.random.SeedSequence([self._seed, _STREAM, trial.number]).generate_state(1)
            seed = int(words[0])
            with no_warnings():
                made: BaseSampler = (
                    TPESampler(seed=seed, multivariate=True, constant_liar=True, n_startup_trials=_STARTUP_TRIALS)
                    if self._kind == "tpe"
                    else NSGAIISampler(seed=seed)
                )
            self._made = trial.number, made
        return self._made[1]

    def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, Any]:
        """Return what the sampler samples together."""
        return self._of(trial).infer_relative_search_space(self._study_for(study, trial), trial)

    def sample_relative(self, study: Any, trial: Any, search_space: Any) -> dict[str, Any]:
        """Return the values of these parameters."""
        return self._of(trial).sample_relative(self._study_for(study, trial), trial, search_space)

    def sample_independent(self, study: Any, trial: Any, param_name: str, param_distribution: Any) -> Any:
        """Return the value of another parameter."""
        seen = self._study_for(study, trial)
        return self._of(trial).sample_independent(seen, trial, param_name, param_distribution)

    def before_trial(self, study: Any, trial: Any) -> None:
        """Prepare the sampler."""
        self._of(trial).before_trial(study, trial)

    def after_trial(self, study: Any, trial: Any, state: Any, values: Any) -> None:
        """Let the sampler keep what it needs."""
        self._of(trial).after_trial(study, trial, state, values)


class _PartialStorage(InMemoryStorage):
    """Holds a study with trials of another one, which are neither copied nor changed."""

    def __init__(self, trials: list[FrozenTrial]) -> None:
        super().__init__()
        self._shown = trials

    def get_all_trials(
        self,
        study_id: int,  # noqa: ARG002
        deepcopy: bool = True,  # noqa: ARG002 - as Optuna
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        """Return the trials in these states."""
        return [one for one in self._shown if states is None or one.state in states]

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Do nothing: TPE says which parameters a trial gets, and the trial itself has them next."""


def _best_and_newest(trials: list[FrozenTrial], direction: StudyDirection) -> optuna.Study:
    """Return a study with these trials; of many, with the best and the newest."""
    n_older = len(trials) - MOST_SEEN + BEST_SEEN if len(trials) > MOST_SEEN else 0
    older, newest = trials[:n_older], trials[n_older:]
    sign = -1 if direction == StudyDirection.MAXIMIZE else 1
    complete = (one for one in older if one.state == TrialState.COMPLETE)
    best = heapq.nsmallest(BEST_SEEN, complete, key=lambda one: (sign * one.values[0], one.number))
    shown = sorted(best, key=lambda one: one.number) + newest
    return optuna.create_study(storage=_PartialStorage(shown), direction=direction)
