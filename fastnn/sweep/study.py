"""The study of a sweep: its trials with parameters and results, kept by Optuna."""

from __future__ import annotations

import contextlib
import heapq
import json
import os
import threading
import time
import warnings
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from fastnn.errors import FastnnError, MissingExtraError, RecipeError
from fastnn.sweep.options import shown_source
from fastnn.temporaries import machine_id, may_exist

try:
    import optuna
    from optuna.trial import Trial, TrialState

    from fastnn.sweep.samplers import distribution_of, make_pruner, make_sampler, no_warnings, suggest
    from fastnn.sweep.storages import as_study_error, open_storage
except ImportError:
    raise MissingExtraError("fastnn sweep", "sweep") from None

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from optuna.trial import FrozenTrial

    from fastnn.sweep.space import Space, Value

_DIRECTIONS: dict[str, Literal["minimize", "maximize"]] = {
    "accuracy": "maximize",
    "time": "minimize",
    "size": "minimize",
}

STATES = ("complete", "pruned", "failed", "running", "waiting")
"""Of a trial; one waits if its sweep has left it to the next one."""
_FINISHED = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}
_OPTUNAS = {name: state for state, name in _FINISHED.items()}
_SPEC, _OWNER, _BEAT, _RESULT = "fastnn", "owner", "beat", "result"
_NOBODY = ""
_BEAT_SECONDS, _STALE_SECONDS = 20.0, 90.0
"""How often a sweep says that it is alive, and after how long without that its trials are done by others."""
_LEAST_FOR_IMPORTANCE = 10
_KNOWN_WARNINGS = (
    "PedAnovaImportanceEvaluator computes the importances of params to achieve",  # what is asked for
    "The number of trials is too small to compute importances",
    "Some regimes for parameter",  # values that few trials have
)

_attributes = msgspec.json.Decoder(dict[str, Any])
"""Of what a trial has found, which is kept as text: as a dict it takes 400 bytes of memory more."""


@dataclass(frozen=True)
class Asked:
    """A trial that is to be done: its number and parameters."""

    number: int
    params: dict[str, Value]


@dataclass(frozen=True)
class Found:
    """A trial of a study.

    Attributes
    ----------
    number : int
    state : str
        One of :data:`STATES`.
    params : dict of str to bool, int, float or str
    values : tuple of float
        Of each objective; none unless it is complete.
    attributes : dict
        What else is known: accuracy, size, seconds, epochs, weights, reason.
    """

    number: int
    state: str
    params: dict[str, Value]
    values: tuple[float, ...]
    attributes: dict[str, Any]


@dataclass(frozen=True)
class Spec:
    """What the sweeps that share a study must agree on.

    Attributes
    ----------
    space : Space
    objectives : tuple of str
    accuracy : float or None
        The one to which time is measured.
    data : str
        Hash of the data.
    validation : float
        Share of the validation set.
    """

    space: Space
    objectives: tuple[str, ...]
    accuracy: float | None
    data: str
    validation: float

    def as_dict(self) -> dict[str, Any]:
        """Return all of it, fit for JSON."""
        return {
            **self.space.as_dict(),
            "objectives": list(self.objectives),
            "accuracy": self.accuracy,
            "data": self.data,
            "validation": self.validation,
        }


class Study:
    """A study that this process works on.

    Parameters
    ----------
    source : str
        Path of a journal, or URL of a database, such as ``postgresql://user@host/name``.
    name : str
        Name of the study there.
    spec : Spec
    sampler, pruner : str
        See :class:`fastnn.sweep.options.SweepOptions`.
    seed : int
        Seed of the sampler.

    Raises
    ------
    FastnnError
        If the study cannot be used, or is one of another space, other data or other objectives.
    """

    def __init__(self, source: str, name: str, spec: Spec, sampler: str, pruner: str, seed: int) -> None:
        self.source, self.spec = shown_source(source), spec
        self._distributions = {key: distribution_of(one) for key, one in spec.space.parameters.items()}
        self._token = f"{machine_id()} {os.getpid()} {os.urandom(4).hex()}"
        self._mine: dict[int, Trial] = {}
        with self._errors():
            self._storage = open_storage(source, create=True)
            self._study = optuna.create_study(
                storage=self._storage,
                study_name=name,
                load_if_exists=True,
                directions=[_DIRECTIONS[one] for one in spec.objectives],
                sampler=make_sampler(sampler, spec.space, seed, self._all_trials),
                pruner=make_pruner(pruner),
            )
            self._study_id = self._storage.get_study_id_from_name(name)
        self._agree()
        self._beat()

    def _agree(self) -> None:
        """Write down what the study is about, or raise RecipeError if it is about something else."""
        mine = json.loads(json.dumps(self.spec.as_dict()))
        with self._errors():
            theirs = self._study.user_attrs.get(_SPEC)
            if theirs is None and not self._all_trials():
                self._study.set_user_attr(_SPEC, mine)
                theirs = self._study.user_attrs[_SPEC]
        if theirs == mine:
            return
        if not isinstance(theirs, dict) or not isinstance(theirs.get("parameters"), dict):
            raise RecipeError(f"{self.source}: is not a study of fastnn; give another file, or another --study-name")
        differing = [key for key in mine if key != "parameters" and theirs.get(key) != mine[key]]
        spaces = (theirs["parameters"], mine["parameters"])
        differing += [key for key in {**spaces[0], **spaces[1]} if spaces[0].get(key) != spaces[1].get(key)]
        raise RecipeError(
            f"{self.source}: is a study of another space (it differs in {', '.join(differing)}); give another file "
            "with --study, or undo the change"
        )

    # ---- trials ----

    def _all_trials(self) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False)

    def count(self) -> int:
        """Return the number of trials of all states."""
        with self._errors():
            return len(self._all_trials())

    def counts(self, most: int | None = None) -> dict[str, int]:
        """Return the number of trials of each state; only the first `most` trials wait."""
        with self._errors():
            trials = self._all_trials()
            states = [_state(one) for one in trials if most is None or one.number < most or one.state.is_finished()]
        return {state: states.count(state) for state in STATES}

    def unfinished(self, most: int | None = None) -> bool:
        """Whether there is one of the first `most` trials whose sweep is no longer alive."""
        with self._errors():
            return next(self._left(most), None) is not None

    def open_numbers(self) -> set[int]:
        """Return the numbers of the trials that this process has begun and not finished."""
        return set(self._mine)

    def ask(self, most: int | None = None) -> Asked | None:
        """Begin a new trial; None if the study has `most` trials by now.

        Sweeps that share a study may make one at the same time. The one that is too many waits, until a sweep asks for
        more trials.
        """
        with self._errors(), no_warnings():
            trial = self._study.ask()
            if most is not None and trial.number >= most:
                trial.set_user_attr(_OWNER, _NOBODY)
                return None
            return self._begin(trial)

    def adopt(self, most: int | None = None) -> Asked | None:
        """Begin again one of the first `most` trials whose sweep is no longer alive; None if there is none."""
        with self._errors(), no_warnings():
            left = next(self._left(most), None)
            if left is None:
                return None
            trial_id = self._storage.get_trial_id_from_study_id_trial_number(self._study_id, left.number)
            self._storage.set_trial_user_attr(trial_id, _OWNER, self._token)
            # Another sweep may have taken it at the same time; the last one has it.
            if self._storage.get_trial(trial_id).user_attrs.get(_OWNER) != self._token:
                return None
            return self._begin(Trial(self._study, trial_id))

    def _left(self, most: int | None) -> Iterator[FrozenTrial]:
        for one in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            is_wanted = (most is None or one.number < most) and one.number not in self._mine
            if is_wanted and not self._is_working_on(one):
                yield one

    def _is_working_on(self, trial: FrozenTrial) -> bool:
        """Whether a sweep that is alive does a trial."""
        if _OWNER in trial.user_attrs or trial.datetime_start is None:
            return self._is_alive(trial.user_attrs.get(_OWNER))
        # A sweep has just made it, and says next that it is its own.
        return (datetime.now() - trial.datetime_start).total_seconds() < _STALE_SECONDS  # noqa: DTZ005 - as Optuna

    def _begin(self, trial: Trial) -> Asked:
        trial.set_user_attr(_OWNER, self._token)
        for name, distribution in self._distributions.items():
            suggest(trial, name, distribution)
        self._mine[trial.number] = trial
        return Asked(trial.number, dict(trial.params))

    def report(self, number: int, epoch: int, value: float) -> bool:
        """Keep a value of an epoch; return whether the trial should be stopped."""
        trial = self._mine.get(number)
        if trial is None:
            return False
        with self._errors():
            trial.report(value, epoch)
            return bool(trial.should_prune())

    def tell(self, number: int, values: tuple[float, ...] | None, attributes: Mapping[str, Any], state: str) -> None:
        """Finish a trial.

        Parameters
        ----------
        number : int
        values : tuple of float or None
            Of each objective; None unless the state is "complete".
        attributes : mapping
            What else to keep.
        state : {"complete", "pruned", "failed"}
        """
        trial = self._mine.pop(number)
        with self._errors(), no_warnings():
            # Another sweep may have done it, if it took this one for dead.
            with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
                trial.set_user_attr(_RESULT, msgspec.json.encode(attributes).decode())
            self._study.tell(trial, values, _OPTUNAS[state], skip_if_finished=True)

    def release(self) -> None:
        """Leave the trials that are not finished to the next sweep."""
        with contextlib.suppress(FastnnError), self._errors():
            for trial in self._mine.values():
                trial.set_user_attr(_OWNER, _NOBODY)
        self._mine.clear()

    def leaders(self, most: int) -> list[Found]:
        """Return the trials that are best in the first objective, the best one first."""
        sign = self._sign
        with self._errors():
            done = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
            return list(map(_found, heapq.nsmallest(most, done, key=lambda one: (sign * one.values[0], one.number))))

    @property
    def _sign(self) -> int:
        return -1 if _DIRECTIONS[self.spec.objectives[0]] == "maximize" else 1

    def best(self) -> list[Found]:
        """Return the best trial, or the Pareto front, the best in the first objective first."""
        with self._errors():
            done = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
            if not done:
                return []
            front = self._study.best_trials if len(self.spec.objectives) > 1 else [self._study.best_trial]
            found = list(map(_found, front))
        return sorted(found, key=lambda one: (self._sign * one.values[0], one.number))

    def __iter__(self) -> Iterator[Found]:
        with self._errors():
            yield from map(_found, self._all_trials())

    # ---- sweeps ----

    @contextlib.contextmanager
    def alive(self) -> Iterator[None]:
        """Say within the context, now and then, that this sweep is alive; a trial may take longer than others wait."""
        ended = threading.Event()

        def beat() -> None:
            while True:
                # If the study is gone, the next trial says so.
                with contextlib.suppress(FastnnError):
                    self._beat()
                if ended.wait(_BEAT_SECONDS):
                    return

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _beat(self) -> None:
        with self._errors():
            self._study.set_user_attr(f"{_BEAT} {self._token}", time.time())

    def _is_alive(self, owner: Any) -> bool:
        if not isinstance(owner, str) or owner.count(" ") != 2:
            return False
        last = self._study.user_attrs.get(f"{_BEAT} {owner}")
        if not isinstance(last, float | int) or time.time() - last > _STALE_SECONDS:
            return False
        machine, process, _ = owner.split(" ")
        return machine != machine_id() or (process.isdecimal() and may_exist(int(process)))

    def _errors(self) -> contextlib.AbstractContextManager[None]:
        return as_study_error(self.source)


def read_study(source: str, name: str) -> tuple[dict[str, Any], list[Found], dict[str, float] | None]:
    """Return what a study is about, its trials, and the importance of its parameters, or None if it is unknown.

    Parameters
    ----------
    source, name : str
        As for :class:`Study`.

    Raises
    ------
    FastnnError
        If there is no such study, or it is not one of fastnn.
    """
    with as_study_error(source):
        storage = open_storage(source, create=False)
        try:
            study = optuna.load_study(study_name=name, storage=storage)
        except KeyError:
            raise FastnnError(f"{shown_source(source)}: holds no study {name!r}; see --study-name") from None
        spec, trials = study.user_attrs.get(_SPEC), [_found(one) for one in study.get_trials(deepcopy=False)]
    if not isinstance(spec, dict) or not isinstance(spec.get("objectives"), list):
        raise FastnnError(f"{shown_source(source)}: is not a study of fastnn")
    return spec, trials, _importance(study)


def _importance(study: optuna.Study) -> dict[str, float] | None:
    """Return how much of the variation of the first objective each parameter explains (PED-ANOVA)."""
    if len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))) < _LEAST_FOR_IMPORTANCE:
        return None
    evaluator = optuna.importance.PedAnovaImportanceEvaluator
    # It looks for what makes a value low.
    sign = -1 if study.directions[0] == optuna.study.StudyDirection.MAXIMIZE else 1
    try:
        with no_warnings():
            for known in _KNOWN_WARNINGS:
                warnings.filterwarnings("ignore", known)
            found = optuna.importance.get_param_importances(
                study, evaluator=evaluator(), target=lambda trial: sign * trial.values[0]
            )
    # Too few trials, or all with one value.
    except (ValueError, RuntimeError, ZeroDivisionError):
        return None
    return {name: float(value) for name, value in found.items()}


def _state(trial: FrozenTrial) -> str:
    waits = trial.user_attrs.get(_OWNER) == _NOBODY
    return _FINISHED.get(trial.state, "waiting" if waits else "running")


def _found(trial: FrozenTrial) -> Found:
    state, result = _state(trial), trial.user_attrs.get(_RESULT)
    return Found(
        trial.number,
        state,
        dict(trial.params),
        tuple(trial.values) if state == "complete" else (),
        _attributes.decode(result) if isinstance(result, str) else {},
    )
