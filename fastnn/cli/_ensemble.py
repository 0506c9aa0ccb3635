"""Several networks trained side by side, each in a process and a run folder of its own."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from fastnn.cli._progress import View
from fastnn.cli.train import Kept, Plan, Spent, Stop, Stopped, run_plan
from fastnn.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fastnn.runs import Run
    from fastnn.training import EpochReport, Learner


def member(plan: Plan, number: int) -> Plan:
    """Return the plan of one network: the seed goes up with the number, data and split stay.

    A member that was begun before, in ``member-1`` and so on within the run's folder, is gone on with. One that was
    killed before its first checkpoint is begun anew.
    """
    from fastnn.formats import CHECKPOINT_FILE, MODEL_FILE
    from fastnn.runs import Run

    recipe = plan.recipe.replace(seed=(plan.recipe.seed + number) % (1 << 63), ensemble=1)
    folder = _folder(plan, number)
    if folder.is_dir() and not any((folder / name).is_file() for name in (CHECKPOINT_FILE, MODEL_FILE)):
        shutil.rmtree(folder)
    if not folder.exists():
        network = recipe.network(plan.network.sizes[0], plan.network.sizes[-1])
        return replace(plan, recipe=recipe, network=network, done=0, folder=folder, run=None)
    run, model, _ = Run.resume(folder)
    return replace(plan, recipe=recipe, network=model.network, done=int(model.info["epochs"]), folder=folder, run=run)


def _folder(plan: Plan, number: int) -> Path:
    return plan.folder / f"member-{number + 1}"


def train_ensemble(plan: Plan, learner: Learner, run: Run, view: View, stop: Stop) -> tuple[Kept, Spent]:
    """Train all members, as many at a time as there are cores; return their networks.

    Each epoch of each member is shown by the view; the history of the run is the mean of theirs.

    Raises
    ------
    Stopped
        On SIGINT or SIGTERM; the members keep their last whole epoch.
    TrainingError
        If a member diverges, or a process dies.
    """
    from fastnn.formats import load_model
    from fastnn.workers import cores, side_by_side

    with stop.at_once():
        # Compiled once and kept in the cache, so that the members load it rather than compile side by side.
        spent = Spent(compiling=learner.warm_up())
    view.start(plan, learner, spent.compiling)
    start = time.perf_counter()
    shared, numbers = replace(plan, run=None), range(plan.recipe.ensemble)
    try:
        for _ in side_by_side(_train_member, shared, numbers, cores(), told=view.member, check=stop.check):
            pass
    except Stopped as stopped:
        raise Stopped(stopped.signal, plan.folder, plan.done) from None
    except TrainingError as error:
        raise TrainingError(f"{plan.folder}: {error}") from error
    spent.training = time.perf_counter() - start
    folders = [_folder(plan, number) for number in numbers]
    models = [load_model(folder) for folder in folders]
    run.record_members(folders)
    epochs = [int(model.info["epochs"]) for model in models]
    spent.samples = sum(max(0, reached - plan.done) for reached in epochs) * learner.samples
    return Kept(tuple(model.network for model in models), max(epochs)), spent


class Told(View):
    """Tells the parent what a member's epochs did."""

    def __init__(self, tell: Callable[[EpochReport], None]) -> None:
        self._tell = tell

    def epoch(self, report: EpochReport) -> None:
        """Tell what an epoch did."""
        self._tell(report)


def _train_member(shared: Plan, number: int, tell: Callable[[EpochReport], None]) -> None:
    plan = member(shared, number)
    if plan.run is not None and plan.done >= plan.recipe.epochs and (plan.folder / "model.safetensors").exists():
        return
    try:
        run_plan(plan, Told(tell))
    except Stopped as stopped:
        # The checkpoint is written; the parent says that it was stopped.
        raise SystemExit(128 + stopped.signal) from None
