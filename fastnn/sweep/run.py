"""A sweep: asks a study for trials, has a cluster do them, and keeps what they find."""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from fastnn.datasets import Split
from fastnn.datasets import split as divide
from fastnn.errors import RecipeError, TrainingError
from fastnn.session import Session
from fastnn.sweep.options import BY_NUMBER, SweepOptions
from fastnn.sweep.study import Found, Spec, Study
from fastnn.sweep.trial import TrialJob, TrialResult, TrialWork
from fastnn.threads import LATER, Later, StopFlag

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

    from fastnn.cluster import Cluster, InProcess
    from fastnn.datasets import Dataset
    from fastnn.sweep.space import Space

_LOOK_SECONDS = 5.0
"""Seconds between two looks for trials that a dead sweep has left."""


class Sweep:
    """Searches a space of recipes; iterating does trials and yields each as it ends.

    Parameters
    ----------
    dataset : Dataset
        The part of it that tests the final model, as the space's base recipe says, is not used in trials.
    space : Space
    study : str or Path
        A journal, which is made if it does not exist, or the URL of a database. A study goes on where it was, also
        after a kill; several sweeps may share it.
    options : SweepOptions

    Attributes
    ----------
    study : Study
    goal : int or None
        Number of trials that the study shall have.
    data : Dataset
        What trials are given: all but the test part.
    validation : Split
        Which part of that is the validation set.

    Raises
    ------
    FastnnError
        If data, space and options do not fit, or the study is one of another space.
    """

    def __init__(self, dataset: Dataset, space: Space, study: str | Path, options: SweepOptions) -> None:
        self.options, self.space, self._dataset = options, space, dataset
        grid = space.grid_size if options.sampler == "grid" else None
        if options.sampler == "grid" and grid is None:
            raise RecipeError(f"{space.source}: a grid needs a step or choices for each value that is searched")
        goals = [number for number in (options.trials, grid) if number is not None]
        self.goal = min(goals) if goals else None
        if self.goal is None and options.seconds is None:
            raise RecipeError("give a number of trials (--trials 100), a time (--time 10m), or both")
        self.data, self.validation = _without_test(dataset, space, options.validation)
        spec = Spec(space, options.objectives, options.accuracy, self.data.content_hash, options.validation)
        self.study = Study(str(study), options.study_name, spec, options.sampler, options.pruner, options.seed)
        self._stop, self._deadline = StopFlag(), _Deadline(None)
        self._pruned: set[int] = set()
        self._held: dict[int, TrialResult] = {}
        self._next_look = 0.0
        self._failed: list[TrialResult] = []

    def stop(self) -> None:
        """Ask the iteration to end; may be called from any thread or a signal handler."""
        self._stop.set()

    def run(self, cluster: Cluster | InProcess) -> Generator[TrialResult, None, None]:
        """Do trials on a cluster until there are as many as asked for, the time is over, or :meth:`stop` is called.

        A trial that fails is kept as failed, with the reason, and the others go on.

        Yields
        ------
        TrialResult
            As they end.
        """
        self._deadline = _Deadline(self.options.seconds, self._stop)
        work = TrialWork(self.validation, sends=self.options.pruner != "none")
        try:
            results = cluster.map(work, self._jobs(), self.data, self._deadline, on_message=self._on_message)
            with self.study.alive(), contextlib.closing(results) as done:
                for job, answer in done:
                    lost = not isinstance(answer, TrialResult)
                    result = TrialResult(job.number, "failed", reason=answer.reason) if lost else answer
                    if result.state == "stopped" and job.number not in self._pruned:
                        continue
                    yield from self._failures()
                    self._keep(result)
                    yield result
            yield from self._failures()
            for number in sorted(self._held):
                self._tell(self._held.pop(number))
        finally:
            self.study.release()

    def _failures(self) -> Iterator[TrialResult]:
        """Yield the trials whose recipe is impossible."""
        while self._failed:
            yield self._failed.pop(0)

    def _jobs(self) -> Iterator[TrialJob | Later]:
        """Yield trials to do: those that a dead sweep left first."""
        lag = self.options.lag
        while not self._deadline.is_set():
            asked = None
            if time.monotonic() >= self._next_look:
                asked = self.study.adopt(self.goal)
                if asked is None:
                    self._next_look = time.monotonic() + _LOOK_SECONDS
            if asked is None:
                count = self.study.count()
                if self.goal is not None and count >= self.goal:
                    return
                if lag is not None and not self._release_up_to(count - lag):
                    yield LATER
                    continue
                asked = self.study.ask(self.goal)
                if asked is None:
                    return
            try:
                recipe = self.space.recipe(asked.params)
                if self.options.accuracy is not None:
                    recipe = recipe.replace(until=self.options.accuracy)
            except RecipeError as error:
                result = TrialResult(asked.number, "failed", reason=str(error))
                self._keep(result)
                self._failed.append(result)
                continue
            yield TrialJob(asked.number, recipe)

    def _on_message(self, job: TrialJob, message: tuple[int, float]) -> bool:
        if job.number in self._pruned or not self.study.report(job.number, *message):
            return False
        self._pruned.add(job.number)
        return True

    # ---- the order in which results are told ----

    def _keep(self, result: TrialResult) -> None:
        if self.options.lag is None:
            self._tell(result)
        else:
            self._held[result.number] = result

    def _release_up_to(self, last: int) -> bool:
        """Tell the study the results of all trials up to `last`, in their order; False if one of them is not there."""
        open_numbers = self.study.open_numbers()
        wanted = [number for number in sorted(open_numbers) if number <= last]
        if any(number not in self._held for number in wanted):
            return False
        for number in wanted:
            self._tell(self._held.pop(number))
        return True

    def _tell(self, result: TrialResult) -> None:
        """Keep a result in the study."""
        attributes = {
            name: value
            for name in ("accuracy", "loss", "size", "seconds", "epochs", "weights", "reason")
            if (value := getattr(result, name)) or name == "accuracy"
        }
        state, values = "complete", None
        if result.state == "stopped":
            state = "pruned"
            self._pruned.discard(result.number)
        elif result.state == "failed":
            state = "failed"
        elif self.options.accuracy is not None and not result.reached:
            state = "failed"
            attributes["reason"] = f"did not reach {self.options.accuracy:g}"
        else:
            found = {"accuracy": result.accuracy, "time": result.seconds, "size": float(result.size)}
            values = tuple(found[name] for name in self.options.objectives)
        self.study.tell(result.number, values, attributes, state)

    # ---- what was found ----

    def counts(self) -> dict[str, int]:
        """Return the number of trials of each state, see :data:`fastnn.sweep.study.STATES`."""
        return self.study.counts(self.goal)

    def best(self) -> list[Found]:
        """Return the best trial, or the Pareto front of two objectives; empty if no trial is complete."""
        return self.study.best()

    def leaders(self, most: int) -> list[Found]:
        """Return the trials to show: the Pareto front, or those that are best."""
        return self.best()[:most] if len(self.options.objectives) > 1 else self.study.leaders(most)

    def final(self, out: str | Path | None = None, *, source: str | None = None) -> Session:
        """Return a session that trains the best recipe on all data but the test part; iterating it trains.

        Parameters
        ----------
        out : path-like, optional
            The run folder for model and recipe.
        source : str, optional
            As for :class:`fastnn.Session`.

        Raises
        ------
        TrainingError
            If no trial is complete.
        """
        found = self.best()
        if not found:
            reasons = [one.attributes["reason"] for one in self.study if one.attributes.get("reason")]
            why = f"; the last one failed: {reasons[-1]}" if reasons else ""
            raise TrainingError(f"{self.study.source}: no trial is complete{why}")
        recipe = self.space.recipe(found[0].params)
        return Session(self._dataset, recipe, out, source=source)

    @property
    def is_exact(self) -> bool:
        """Whether the same seed gives the same trials, whatever the number of workers."""
        by_number = self.options.sampler in BY_NUMBER or self.options.lag is not None
        return by_number and self.options.pruner == "none" and "time" not in self.options.objectives


class _Deadline(StopFlag):
    """A stop flag that is set after some seconds."""

    def __init__(self, seconds: float | None, parent: StopFlag | None = None) -> None:
        super().__init__(parent)
        self._end = None if seconds is None else time.monotonic() + seconds

    def is_set(self) -> bool:
        """Return whether the time is over, or the flag is set."""
        return super().is_set() or (self._end is not None and time.monotonic() >= self._end)


def _without_test(dataset: Dataset, space: Space, validation: float) -> tuple[Dataset, Split]:
    """Return the data without the part that tests the final model, and the split that validates trials."""
    recipe = space.base
    own = dataset.validation
    train, _ = divide(dataset, Split.of(dataset, recipe.test_fraction, recipe.seed))
    # The test set of the trials is the validation set.
    train = replace(train, test=own, validation=None, notes=())
    how = Split(fraction=validation, seed=recipe.seed) if own is None else Split(kind="own", seed=recipe.seed)
    divide(train, how)  # fails now and not in each trial
    return train, how
