"""Jobs that workers do in the tests; they import this module."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastnn.errors import MissingExtraError

if TYPE_CHECKING:
    from fastnn.cluster import Task
    from fastnn.datasets import Dataset


def square(dataset: Dataset, job: int, task: Task) -> tuple[int, int, str]:
    """Return the square of a job, the number of samples, and a checksum of them."""
    task.send(("began", job))
    return job * job, len(dataset), dataset.content_hash


def refuse(dataset: Dataset, job: int, task: Task) -> int:
    if job == 3:
        raise MissingExtraError("this job", "sweep")
    return until_stopped(dataset, job, task)


def until_stopped(_: Dataset, job: int | None, task: Task) -> int | None:
    """Run until the task is stopped; the job None ends at once."""
    _running[id(task)] = job
    try:
        task.send(job)
        while job is not None:
            task.check()
            time.sleep(0.01)
        return job
    finally:
        del _running[id(task)]


_running: dict[int, int | None] = {}


def count_running() -> int:
    """Return how many jobs of the function above run on a worker."""
    return len(_running)


def await_file(_: Dataset, job: tuple[int, str], task: Task) -> int:
    """Tell which process does the job, and wait for a file; the job 0 alone."""
    number, folder = job
    if number == 0:
        task.send(os.getpid())
        while not (Path(folder) / "go").exists():
            task.check()
            time.sleep(0.01)
    with (Path(folder) / "done").open("a") as file:
        file.write(f"{number}\n")
    return number


def die(_: Dataset, job: int, __: Task) -> int:
    """End the process for the job 1."""
    if job == 1:
        os._exit(9)
    return job


async def take_for_dead(address: str, dask_scheduler: Any = None) -> None:
    """Let a scheduler restart a worker of which it has not heard; runs there."""
    await dask_scheduler.restart_workers([address], wait_for_workers=False, stimulus_id="test")
