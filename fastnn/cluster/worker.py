"""What runs on a worker: jobs, requests to stop them, and the data that they are about."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn import __version__, errors
from fastnn.datasets.shared import StoreNotHereError, from_buffer, read_cached, write_cached
from fastnn.errors import DataError, FastnnError
from fastnn.threads import StopFlag, TrainingInterrupted

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastnn.datasets import Dataset

    Work = Callable[[Dataset, Any, "Task"], Any]

TOPIC = "fastnn-messages"
"""Under which workers send messages to clients."""
_OPEN_DATASETS = 4
_MOST_STOPPED = 10_000
"""Names kept of tasks that were asked to stop; a cluster has fewer tasks at a time."""


class WorkFailedError(FastnnError):
    """The cluster could not do a job: its workers died, or cannot run it."""

    exit_code = 1


class Task(StopFlag):
    """What a job can do on its worker: be stopped, and send messages to the client while it runs.

    Parameters
    ----------
    send : callable
        Called with each message.
    """

    def __init__(self, send: Callable[[Any], None] = lambda _: None, parent: StopFlag | None = None) -> None:
        super().__init__(parent)
        self.send = send


@dataclass(frozen=True)
class Order:
    """What a worker is asked to do."""

    name: str
    work: Work
    job: Any
    key: str
    versions: dict[str, str]


@dataclass(frozen=True)
class NoData:
    """The worker does not have the data."""


@dataclass(frozen=True)
class Failed:
    """An error of fastnn; exceptions of several arguments cannot be pickled."""

    kind: str
    message: str
    exit_code: int

    def error(self) -> FastnnError:
        """Return the error again."""
        kind = getattr(errors, self.kind, WorkFailedError)
        made: FastnnError = kind.__new__(kind)
        Exception.__init__(made, self.message)
        made.exit_code = self.exit_code
        return made


# Two of them: reading data takes long, and a request to stop runs in the worker's event loop, which must not wait.
_tasks_lock, _datasets_lock = threading.Lock(), threading.Lock()
_tasks_here: dict[str, Task] = {}
_stopped_here: OrderedDict[str, None] = OrderedDict()
"""Names of tasks that were asked to stop before they had begun: the request may overtake the task."""
_datasets_here: OrderedDict[str, Dataset] = OrderedDict()


def run(order: Order, data: bytes | None) -> Any:
    """Do a job on a worker; return its result, `NoData` or `Failed`."""
    # It may have joined after the client looked at the versions.
    for name, version in versions_here().items():
        if version != order.versions[name]:
            text = f"a worker has {name} {version}, but this process {order.versions[name]}; install the same version"
            return Failed("RecipeError", f"{text} on all machines", 2)
    try:
        dataset = _dataset_here(order.key, data)
    except StoreNotHereError as error:
        return Failed("DataError", str(error), error.exit_code)
    if dataset is None:
        return NoData()
    task = Task(lambda message: _send(order.name, message))
    with _tasks_lock:
        _tasks_here[order.name] = task
        if order.name in _stopped_here:
            task.set()
    try:
        return order.work(dataset, order.job, task)
    except FastnnError as error:
        return Failed(type(error).__name__, str(error), error.exit_code)
    except TrainingInterrupted:
        return Failed("WorkFailedError", "the job was stopped", 1)
    finally:
        with _tasks_lock:
            _tasks_here.pop(order.name, None)


def _send(name: str, message: Any) -> None:
    from distributed import get_worker

    worker = get_worker()
    worker.log_event(TOPIC, (name, worker.address, message))


def _dataset_here(key: str, data: bytes | None) -> Dataset | None:
    with _datasets_lock:
        dataset = _datasets_here.get(key)
        if dataset is None:
            if data is not None:
                write_cached(key, [data])
            dataset = read_cached(key)
            if dataset is None and data is not None:
                # The cache cannot be written.
                dataset = _from_sent(data, key)
        if dataset is not None:
            _datasets_here[key] = dataset
            _datasets_here.move_to_end(key)
            while len(_datasets_here) > _OPEN_DATASETS:
                _datasets_here.popitem(last=False)
        return dataset


def _from_sent(data: bytes, key: str) -> Dataset | None:
    try:
        return from_buffer(data, key)
    except StoreNotHereError:
        raise
    except DataError:
        return None


async def stop_here(names: list[str]) -> None:
    """Ask tasks to stop; a coroutine, so that nobody waits for it."""
    with _tasks_lock:
        for name in names:
            if name in _tasks_here:
                _tasks_here[name].set()
            else:
                _stopped_here[name] = None
        while len(_stopped_here) > _MOST_STOPPED:
            _stopped_here.popitem(last=False)


def versions_here() -> dict[str, str]:
    """Return the versions that must be the same on all machines; of NumPy without the last number.

    NumPy's random numbers, and so the weights of a training, may be others in another minor version.
    """
    return {"fastnn": __version__, "NumPy": ".".join(np.__version__.split(".")[:2])}
