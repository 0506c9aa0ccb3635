"""Several networks trained side by side, each in a process and a run folder of its own."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from fastnn.cli._progress import View
from fastnn.cli.train import Kept, Plan, Spent, Stop, Stopped, model_of, run_plan
from fastnn.errors import RecipeError, TrainingError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fastnn.runs import Run
    from fastnn.training import EpochReport, Trainer


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
    return replace(
        plan, recipe=recipe, network=model.network.copy(), done=model.card.epochs or 0, folder=folder, run=run
    )


def _folder(plan: Plan, number: int) -> Path:
    return plan.folder / f"member-{number + 1}"


def train_ensemble(plan: Plan, trainer: Trainer, run: Run, view: View, stop: Stop) -> tuple[Kept, Spent]:
    """Train all members, as many at a time as there are cores; return their networks.

    Each epoch of each member is shown by the view; the history of the run is made of theirs. The run's checkpoint has
    what the members had in their last ones, so that the folder can be used whatever happens.

    Raises
    ------
    Stopped
        On SIGINT or SIGTERM; the members keep their last whole epoch.
    TrainingError
        If a member diverges, or a process dies.
    """
    from fastnn.workers import cores, side_by_side

    with stop.at_once():
        # Compiled once and kept in the cache, so that the members load it rather than compile side by side.
        spent = Spent(compiling=trainer.warm_up())
    view.start(plan, trainer, spent.compiling)
    start = time.perf_counter()
    shared, numbers = replace(plan, run=None), range(plan.recipe.ensemble)

    def told(number: int, report: EpochReport) -> None:
        view.member(number, report)
        if run.is_due():
            _checkpoint(plan, run)

    try:
        for _, epochs in side_by_side(_train_member, shared, numbers, cores(), told=told, check=stop.check):
            spent.samples += epochs * trainer.samples
    except Stopped as stopped:
        raise Stopped(stopped.signal, plan.folder, _checkpoint(plan, run).epochs) from None
    except TrainingError as error:
        kept = _checkpoint(plan, run)
        raise TrainingError(f"{plan.folder}: {error}; the run keeps epoch {kept.epochs}") from error
    spent.training = time.perf_counter() - start
    kept = _kept(plan, run)
    if len(kept.networks) < plan.recipe.ensemble:
        # What was written a moment ago cannot be read any more; a smaller ensemble would pass for the whole one.
        raise TrainingError(f"{plan.folder}: only {len(kept.networks)} of its {plan.recipe.ensemble} networks are left")
    return kept, spent


def _checkpoint(plan: Plan, run: Run) -> Kept:
    """Write the members' last whole epochs as the run's own."""
    kept = _kept(plan, run)
    if kept.epochs:
        run.checkpoint(model_of(plan, kept.networks, kept.epochs))
    return kept


def _kept(plan: Plan, run: Run) -> Kept:
    """Return the networks of the members that have learnt something, and the epochs that all of these have done."""
    from fastnn.runs import latest_model

    folders = [_folder(plan, number) for number in range(plan.recipe.ensemble)]
    models = [model for model in map(latest_model, folders) if model is not None and model.card.epochs]
    run.record_members(folders)
    done = [model.card.epochs or 0 for model in models]
    # Members that stopped early, for want of progress, have done what they will do.
    epochs = 0 if not done else max(done) if plan.recipe.patience is not None else min(done)
    return Kept(tuple(model.network for model in models), epochs)


class Told(View):
    """Tells the parent what a member's epochs did."""

    def __init__(self, tell: Callable[[EpochReport], None]) -> None:
        self._tell = tell

    def epoch(self, report: EpochReport) -> None:
        """Tell what an epoch did."""
        self._tell(report)


def _train_member(shared: Plan, number: int, tell: Callable[[EpochReport], None]) -> int:
    """Train one network; return the epochs that it took."""
    plan = member(shared, number)
    if plan.done > plan.recipe.epochs:
        raise RecipeError(f"{plan.folder}: is trained for {plan.done} epochs already; ask for more with --epochs")
    if plan.run is not None and plan.done == plan.recipe.epochs and (plan.folder / "model.safetensors").exists():
        return 0
    try:
        return int(run_plan(plan, Told(tell))["epochs"]) - plan.done
    except Stopped as stopped:
        # The checkpoint is written; the parent says that it was stopped.
        raise SystemExit(128 + stopped.signal) from None
