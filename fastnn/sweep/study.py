"""The study of a sweep: its trials with parameters and results; the only file that imports optuna.

Optuna keeps it in a journal, a file of JSON lines that several processes may append to, or in a database.
"""

from __future__ import annotations

import contextlib
import heapq
import json
import os
import threading
import time
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np

from fastnn.errors import FastnnError, MissingExtraError, RecipeError, cannot_write
from fastnn.reading import open_file
from fastnn.storage import check_name, open_locked, user_path
from fastnn.sweep.options import BY_NUMBER
from fastnn.sweep.space import Choices, Space
from fastnn.temporaries import machine_id, may_exist

try:
    import optuna
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
    from optuna.samplers import BaseSampler, NSGAIISampler, TPESampler
    from optuna.storages import JournalStorage, RDBStorage
    from optuna.storages.journal import BaseJournalBackend, JournalFileBackend, JournalFileSymlinkLock
    from optuna.trial import Trial, TrialState
except ImportError:
    raise MissingExtraError("fastnn sweep", "sweep") from None

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

    from fastnn.sweep.space import Value

_DIRECTIONS: dict[str, Literal["minimize", "maximize"]] = {
    "accuracy": "maximize",
    "time": "minimize",
    "size": "minimize",
}

_STATES = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}
_JOURNAL_LIMIT = 1 << 32
_SPEC, _OWNER, _BEAT = "fastnn", "owner", "beat"
_BEAT_SECONDS, _STALE_SECONDS = 20.0, 90.0
"""How often a sweep says that it is alive, and after how long without that its trials are done by others."""
_FLUSH_SECONDS = 1.0
_STARTUP_TRIALS = 10
_LEAST_FOR_IMPORTANCE = 10
_KNOWN_WARNINGS = (
    "PedAnovaImportanceEvaluator computes the importances of params to achieve",  # what is asked for
    "The number of trials is too small to compute importances",
    "Some regimes for parameter",  # values that few trials have
)
_STREAM = 0x5EEB


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
    state : {"complete", "pruned", "failed", "running"}
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
        self._distributions = {key: _distribution(one) for key, one in spec.space.parameters.items()}
        self._token = f"{machine_id()} {os.getpid()} {os.urandom(4).hex()}"
        self._mine: dict[int, Trial] = {}
        with self._errors():
            self._storage = _open_storage(source, create=True)
            self._study = optuna.create_study(
                storage=self._storage,
                study_name=name,
                load_if_exists=True,
                directions=[_DIRECTIONS[one] for one in spec.objectives],
                sampler=_sampler(sampler, spec.space, seed),
                pruner=_pruner(pruner),
            )
            self._study_id = self._storage.get_study_id_from_name(name)
        self._agree()
        self._beat()

    def _agree(self) -> None:
        """Write down what the study is about, or raise RecipeError if it is about something else."""
        mine = json.loads(json.dumps(self.spec.as_dict()))
        with self._errors():
            theirs = self._study.user_attrs.get(_SPEC)
            if theirs is None and not self._study.get_trials(deepcopy=False):
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

    def count(self) -> int:
        """Return the number of trials of all states."""
        with self._errors():
            return len(self._study.get_trials(deepcopy=False))

    def counts(self) -> dict[str, int]:
        """Return the number of trials of each state."""
        with self._errors():
            states = [_STATES.get(one.state, "running") for one in self._study.get_trials(deepcopy=False)]
        return {state: states.count(state) for state in ("complete", "pruned", "failed", "running")}

    def unfinished(self) -> bool:
        """Whether there is a trial that a dead sweep has left."""
        with self._errors():
            running = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
            return any(not self._is_alive(one.user_attrs.get(_OWNER)) for one in running)

    def open_numbers(self) -> set[int]:
        """Return the numbers of the trials that this process has begun and not finished."""
        return set(self._mine)

    def ask(self) -> Asked:
        """Begin a new trial."""
        with self._errors(), _no_warnings():
            return self._begin(self._study.ask())

    def adopt(self) -> Asked | None:
        """Begin a trial again that a sweep left unfinished which is no longer alive; None if there is none."""
        with self._errors(), _no_warnings():
            running = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
            for one in running:
                if one.number not in self._mine and not self._is_alive(one.user_attrs.get(_OWNER)):
                    trial_id = self._storage.get_trial_id_from_study_id_trial_number(self._study_id, one.number)
                    return self._begin(Trial(self._study, trial_id))
        return None

    def _begin(self, trial: Trial) -> Asked:
        trial.set_user_attr(_OWNER, self._token)
        for name, distribution in self._distributions.items():
            _suggest(trial, name, distribution)
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
        states = {name: one for one, name in _STATES.items()}
        with self._errors(), _no_warnings():
            # Another sweep may have done it, if it took this one for dead.
            with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
                trial.set_user_attr("result", dict(attributes))
            self._study.tell(trial, values, states[state], skip_if_finished=True)

    def release(self) -> None:
        """Leave the trials that are not finished to the next sweep."""
        with contextlib.suppress(FastnnError), self._errors():
            for trial in self._mine.values():
                trial.set_user_attr(_OWNER, "")
        self._mine.clear()

    def leaders(self, most: int) -> list[Found]:
        """Return the trials that are best in the first objective, the best one first."""
        with self._errors():
            done = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        sign = self._sign
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
            found = self._study.best_trials if len(self.spec.objectives) > 1 else [self._study.best_trial]
        return sorted(map(_found, found), key=lambda one: (self._sign * one.values[0], one.number))

    def __iter__(self) -> Iterator[Found]:
        with self._errors():
            yield from map(_found, self._study.get_trials(deepcopy=False))

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
        return _as_study_error(self.source)


@contextlib.contextmanager
def _as_study_error(source: str) -> Iterator[None]:
    """Raise a FastnnError in place of an error of Optuna, of its database, or of a damaged journal."""
    try:
        yield
    except FastnnError:
        raise
    except OSError as error:
        raise cannot_write(shown_source(source), error) from None
    except Exception as error:
        text = " ".join(str(error).split())[:300]
        shown = f"{type(error).__name__}: {text}" if text else type(error).__name__
        raise FastnnError(f"{shown_source(source)}: the study cannot be used ({shown})") from None


@contextlib.contextmanager
def _no_warnings() -> Iterator[None]:
    """Hide that some samplers and their options are experimental."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        yield


def shown_source(source: str) -> str:
    """Return a study's source without a database's password."""
    head, sign, rest = source.partition("://")
    return f"{head}://{rest.rpartition('@')[2]}" if sign and "@" in rest else source


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
    with _as_study_error(source):
        storage = _open_storage(source, create=False)
        try:
            study = optuna.load_study(study_name=name, storage=storage)
        except KeyError:
            raise FastnnError(f"{shown_source(source)}: holds no study {name!r}; see --study-name") from None
        spec, trials = study.user_attrs.get(_SPEC), study.get_trials(deepcopy=False)
    if not isinstance(spec, dict) or not isinstance(spec.get("objectives"), list):
        raise FastnnError(f"{shown_source(source)}: is not a study of fastnn")
    return spec, [_found(one) for one in trials], _importance(study)


def _importance(study: optuna.Study) -> dict[str, float] | None:
    """Return how much of the variation of the first objective each parameter explains (PED-ANOVA)."""
    if len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))) < _LEAST_FOR_IMPORTANCE:
        return None
    evaluator = optuna.importance.PedAnovaImportanceEvaluator
    # It looks for what makes a value low.
    sign = -1 if study.directions[0] == optuna.study.StudyDirection.MAXIMIZE else 1
    try:
        with _no_warnings():
            for known in _KNOWN_WARNINGS:
                warnings.filterwarnings("ignore", known)
            found = optuna.importance.get_param_importances(
                study, evaluator=evaluator(), target=lambda trial: sign * trial.values[0]
            )
    # Too few trials, or all with one value.
    except (ValueError, RuntimeError, ZeroDivisionError):
        return None
    return {name: float(value) for name, value in found.items()}


def _found(trial: FrozenTrial) -> Found:
    attributes = trial.user_attrs.get("result")
    state = _STATES.get(trial.state, "running")
    return Found(
        trial.number,
        state,
        dict(trial.params),
        tuple(trial.values) if state == "complete" else (),
        attributes if isinstance(attributes, dict) else {},
    )


# ---- storage ----


def _open_storage(source: str, *, create: bool) -> Any:
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    if "://" in source:
        return _open_database(source)
    path = user_path(source)
    check_name(path)
    if path.exists():
        _check_journal(path)
    elif not create:
        raise FastnnError(f"{path}: no such study")
    lock = _JournalLock(path)
    if path.exists() and create:
        lock.acquire()
        try:
            _repair(path)
        finally:
            lock.release()
    return JournalStorage(_Journal(path, lock))


class _JournalLock(JournalFileSymlinkLock):
    """Locks a journal; the system releases the lock of a process that is killed.

    Optuna's own lock is a symbolic link, which a killed process leaves, and others wait for it for half a minute. It is
    used where the system or the disk has no locks.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self._path = path
        self._handle: int | None = None

    def acquire(self) -> bool:
        """Wait for the lock."""
        self._handle = open_locked(self._path)
        return self._handle is not None or super().acquire()

    def release(self) -> None:
        """Release the lock."""
        if self._handle is None:
            super().release()
        else:
            os.close(self._handle)


class _Journal(BaseJournalBackend):
    """A file of JSON lines that flushes to the disk now and then.

    Optuna's own flushes each line: six of 4 ms for a trial. Of a process that is killed the system writes all lines;
    if the machine fails, the trials of the last second are done again.
    """

    def __init__(self, path: Path, lock: _JournalLock) -> None:
        self._path, self._lock = path, lock
        self._reader = JournalFileBackend(str(path), lock_obj=lock)
        self._flushed = 0.0

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        """Yield the entries from a number on."""
        return self._reader.read_logs(log_number_from)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Add entries."""
        lines = b"".join(json.dumps(log, separators=(",", ":")).encode() + b"\n" for log in logs)
        self._lock.acquire()
        try:
            with self._path.open("ab") as file:
                file.write(lines)
                file.flush()
                if time.monotonic() >= self._flushed + _FLUSH_SECONDS:
                    os.fsync(file.fileno())
                    self._flushed = time.monotonic()
        finally:
            self._lock.release()


def _open_database(url: str) -> Any:
    url = url.replace("postgresql://", "postgresql+psycopg://", 1).replace("postgres://", "postgresql+psycopg://", 1)
    options = {"connect_args": {"timeout": 30}} if url.startswith("sqlite:") else {"pool_pre_ping": True}
    try:
        return RDBStorage(url, engine_kwargs=options)
    except ImportError as error:
        if url.startswith("postgresql+psycopg:"):
            raise MissingExtraError("a study in PostgreSQL", "postgres") from None
        raise FastnnError(f"{shown_source(url)}: the driver of this database is not installed ({error})") from None


class _Line(msgspec.Struct):
    op_code: int
    worker_id: str


_line = msgspec.json.Decoder(_Line)
_LINE_LIMIT = 1 << 22


def _check_journal(path: Path) -> None:
    """Raise a FastnnError unless a file is a journal of Optuna; its last line may be unfinished."""
    with open_file(path, _JOURNAL_LIMIT, what="a study", error=FastnnError) as file:
        number, rest = 0, b""
        while block := file.read(1 << 20):
            *lines, rest = (rest + block).split(b"\n")
            for line in lines:
                number += 1
                try:
                    _line.decode(line)
                except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                    raise FastnnError(f"{path}: not a study of Optuna, or damaged (line {number})") from None
            if len(rest) > _LINE_LIMIT:
                raise FastnnError(f"{path}: not a study of Optuna (line {number + 1} is too long)")


def _repair(path: Path) -> None:
    """Cut off an unfinished last line, which a kill left; the lock must be held."""
    with open_file(path, _JOURNAL_LIMIT, what="a study", error=FastnnError) as file:
        end = max(0, file.size - _LINE_LIMIT)
        file.seek(end)
        last = file.read()
        whole = end + last.rfind(b"\n") + 1
        if whole == file.size:
            return
    os.truncate(path, whole)


# ---- Optuna's objects ----


def _distribution(parameter: Any) -> BaseDistribution:
    if isinstance(parameter, Choices):
        return CategoricalDistribution(parameter.labels)
    if parameter.is_int:
        return IntDistribution(parameter.low, parameter.high, log=parameter.log, step=parameter.step or 1)
    return FloatDistribution(parameter.low, parameter.high, log=parameter.log, step=parameter.step)


def _suggest(trial: Trial, name: str, distribution: BaseDistribution) -> None:
    if isinstance(distribution, CategoricalDistribution):
        trial.suggest_categorical(name, distribution.choices)
    elif isinstance(distribution, IntDistribution):
        trial.suggest_int(name, distribution.low, distribution.high, step=distribution.step, log=distribution.log)
    elif isinstance(distribution, FloatDistribution):
        trial.suggest_float(name, distribution.low, distribution.high, step=distribution.step, log=distribution.log)


def _sampler(name: str, space: Space, seed: int) -> BaseSampler:
    return _ByNumber(name, space, seed) if name in BY_NUMBER else _Reseeded(name, seed)


def _pruner(name: str) -> optuna.pruners.BasePruner:
    pruners = optuna.pruners
    with _no_warnings():
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
        return self._space.point(halton(n, number, self._seed))


def halton(dimensions: int, number: int, seed: int) -> list[float]:
    """Return a point of a Halton sequence, scrambled by random permutations of the digits.

    As `scipy.stats.qmc.Halton`, but any point directly (A. B. Owen, A randomized Halton algorithm in R, 2017).

    Parameters
    ----------
    dimensions, number, seed : int
        `number` is from 0.

    Returns
    -------
    list of float
        From 0 to below 1, one for each dimension.
    """
    generator = np.random.default_rng([seed, _STREAM])
    point = []
    for base in _primes(dimensions):
        # As many digits as a float holds.
        permutations = [generator.permutation(base) for _ in range(int(np.ceil(52 / np.log2(base))))]
        value, factor, left = 0.0, 1.0, number
        for permutation in permutations:
            factor /= base
            left, digit = divmod(left, base)
            value += factor * int(permutation[digit])
        point.append(min(value, 1.0 - 2.0**-53))
    return point


def _primes(n: int) -> list[int]:
    found: list[int] = []
    candidate = 2
    while len(found) < n:
        if all(candidate % prime for prime in found):
            found.append(candidate)
        candidate += 1
    return found


class _Reseeded(BaseSampler):
    """Makes Optuna's sampler anew for each trial, seeded by its number: one that was killed goes on as if it was not.

    What it samples depends on the results that are known then.
    """

    def __init__(self, kind: str, seed: int) -> None:
        self._kind, self._seed = kind, seed
        self._made: tuple[int, BaseSampler] | None = None

    def _of(self, trial: Any) -> BaseSampler:
        if self._made is None or self._made[0] != trial.number:
            words = np.random.SeedSequence([self._seed, _STREAM, trial.number]).generate_state(1)
            seed = int(words[0])
            with _no_warnings():
                made: BaseSampler = (
                    TPESampler(seed=seed, multivariate=True, constant_liar=True, n_startup_trials=_STARTUP_TRIALS)
                    if self._kind == "tpe"
                    else NSGAIISampler(seed=seed)
                )
            self._made = trial.number, made
        return self._made[1]

    def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, Any]:
        """Return what the sampler samples together."""
        return self._of(trial).infer_relative_search_space(study, trial)

    def sample_relative(self, study: Any, trial: Any, search_space: Any) -> dict[str, Any]:
        """Return the values of these parameters."""
        return self._of(trial).sample_relative(study, trial, search_space)

    def sample_independent(self, study: Any, trial: Any, param_name: str, param_distribution: Any) -> Any:
        """Return the value of another parameter."""
        return self._of(trial).sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: Any, trial: Any) -> None:
        """Prepare the sampler."""
        self._of(trial).before_trial(study, trial)

    def after_trial(self, study: Any, trial: Any, state: Any, values: Any) -> None:
        """Let the sampler keep what it needs."""
        self._of(trial).after_trial(study, trial, state, values)
