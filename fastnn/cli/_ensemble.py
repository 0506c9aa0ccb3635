"""Several networks trained side by side, each in a process and a run folder of its own."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from concurrent.futures import ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from multiprocessing import connection
from typing import TYPE_CHECKING, Any

from fastnn.cli._progress import View
from fastnn.cli.train import Kept, Plan, Spent, Stop, Stopped, run_plan
from fastnn.errors import TrainingError

if TYPE_CHECKING:
    from fastnn.training import EpochReport, Learner

_POLL = 0.1
"""Seconds between two looks for a signal."""


def member(plan: Plan, number: int) -> Plan:
    """Return the plan of one network: the seed goes up with the number, data and split stay.

    A member that was begun before, in ``member-1`` and so on within the run's folder, is gone on with.
    """
    from fastnn.runs import Run

    recipe = plan.recipe.replace(seed=(plan.recipe.seed + number) % (1 << 63), ensemble=1)
    folder = plan.folder / f"member-{number + 1}"
    if not folder.exists():
        network = recipe.network(plan.network.sizes[0], plan.network.sizes[-1])
        return replace(plan, recipe=recipe, network=network, done=0, folder=folder, run=None)
    run, model, _ = Run.resume(folder)
    return replace(plan, recipe=recipe, network=model.network, done=int(model.info["epochs"]), folder=folder, run=run)


def train_ensemble(plan: Plan, learner: Learner, view: View, stop: Stop) -> tuple[Kept, Spent]:
    """Train all members, as many at a time as there are cores; return their networks.

    Each epoch of each member is shown by the view.

    Raises
    ------
    Stopped
        On SIGINT or SIGTERM; the members keep their last whole epoch.
    TrainingError
        If a member diverges, or a process dies.
    """
    from fastnn.formats import load_model

    with stop.at_once():
        # Compiled once and kept in the cache, so that the members load it rather than compile side by side.
        spent = Spent(compiling=learner.warm_up())
    view.start(plan, learner, spent.compiling)
    count = plan.recipe.ensemble
    start = time.perf_counter()
    shared = replace(plan, run=None)
    before = set(multiprocessing.active_children())
    context = multiprocessing.get_context("spawn")
    reports = context.SimpleQueue()
    pool = ProcessPoolExecutor(min(count, _cores()), mp_context=context, initializer=_begin, initargs=(shared, reports))
    try:
        futures = [pool.submit(_train_member, number) for number in range(count)]
        pending = set(futures)
        while pending:
            done, pending = wait(pending, timeout=_POLL)
            # First, since after a Ctrl-C the members stop by themselves.
            stop.check()
            while not reports.empty():
                view.member(*reports.get())
            for future in done:
                future.result()
    except Stopped as stopped:
        raise Stopped(stopped.signal, plan.folder, plan.done) from None
    except BrokenProcessPool:
        raise TrainingError(f"{plan.folder}: a member's process has died, for want of memory perhaps") from None
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        members = set(multiprocessing.active_children()) - before
        for process in members:
            process.terminate()
        # A member that has much to tell waits until somebody listens, whatever signal it got.
        while any(process.is_alive() for process in members):
            while not reports.empty():
                reports.get()
            connection.wait([process.sentinel for process in members if process.is_alive()], timeout=_POLL)
        pool.shutdown(wait=True)
    spent.training = time.perf_counter() - start
    models = [load_model(plan.folder / f"member-{number + 1}") for number in range(count)]
    epochs = [int(model.info["epochs"]) for model in models]
    spent.samples = sum(max(0, reached - plan.done) for reached in epochs) * learner.samples
    return Kept(tuple(model.network for model in models), max(epochs)), spent


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Told(View):
    """Tells the parent what a member's epochs did."""

    def __init__(self, number: int, reports: Any) -> None:
        self._number, self._reports = number, reports

    def epoch(self, report: EpochReport) -> None:
        """Tell what an epoch did."""
        self._reports.put((self._number, report))


_work: tuple[Plan, Any] | None = None
"""What a worker process works on, and where it tells of it; sent once."""


def _begin(plan: Plan, reports: Any) -> None:
    global _work  # noqa: PLW0603 - a worker's initialiser has no other way to leave something behind
    # Ctrl-C is the parent's to answer.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["NUMBA_NUM_THREADS"] = "1"
    _work = plan, reports


def _train_member(number: int) -> None:
    if _work is None:
        raise TrainingError("a worker process was not set up")
    plan = member(_work[0], number)
    if plan.run is not None and plan.done >= plan.recipe.epochs and (plan.folder / "model.safetensors").exists():
        return
    try:
        run_plan(plan, Told(number, _work[1]))
    except Stopped as stopped:
        # The checkpoint is written; the parent says that it was stopped. Had this worker gone on to live, it would
        # take the next member, which the parent could not call back.
        os._exit(128 + stopped.signal)
