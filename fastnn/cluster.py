"""Work on many processes and machines by Dask; the only file that imports dask and distributed.

The messages between client, scheduler and workers are pickled by Dask: connect only to a scheduler that you trust.
"""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import queue
import signal
import threading
import time
import warnings
from collections import OrderedDict
from dataclasses import dataclass
from itertools import count
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np

from fastnn import __version__, errors
from fastnn.datasets.shared import StoreNotHereError, from_buffer, keep, kept, shared_key, to_parts
from fastnn.errors import DataError, FastnnError, MissingExtraError, RecipeError
from fastnn.threads import Later, StopFlag, TrainingInterrupted, cores, map_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    from fastnn.datasets import Dataset

    Work = Callable[[Dataset, Any, "Task"], Any]

Job = TypeVar("Job")

_CONNECT_SECONDS = 10
_WORKER_SECONDS = 60
"""How long the first worker of a local cluster may take to start, and another one to come when all have died."""
_POLL = 0.1
"""Seconds between two looks for results, see :mod:`fastnn.threads`."""
_AGAIN = 0.01
_COUNT_SECONDS = 1.0
_AHEAD = 1
"""Jobs that wait at each worker, so that it need not wait for the client."""
_OPEN_DATASETS = 4
_MOST_STOPPED = 10_000
"""Names kept of tasks that were asked to stop; a cluster has fewer tasks at a time."""
_ENVIRONMENT = {
    "DASK_LOGGING__DISTRIBUTED": "critical",
    **dict.fromkeys(("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"),
}
"""Of the workers of a local cluster, one process for each core: libraries must not start a thread for each core too."""
_TOPIC = "fastnn-messages"

_ids = count()


class WorkFailedError(FastnnError):
    """The cluster could not do a job: its workers died, or cannot run it."""

    exit_code = 1


@dataclass(frozen=True)
class Lost:
    """Takes the place of a job's result if its workers died; `reason` says what happened."""

    reason: str


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


class Cluster:
    """The workers of a Dask scheduler: a running one, or one of this process with a worker for each core.

    Use it as a context; leaving it stops a cluster of its own, and disconnects from a running one.

    Parameters
    ----------
    scheduler : str, optional
        Address of a running scheduler, such as ``tcp://host:8786``.
    workers : int, optional
        Number of workers if the cluster is one of its own; by default one for each core.
    patience : float
        Seconds to wait for workers if there are none, before :meth:`map` raises WorkFailedError.

    Raises
    ------
    MissingExtraError
        If Dask is not installed, or what it needs to encrypt the messages of a cluster of its own.
    RecipeError
        If the scheduler cannot be reached, has no workers, or a worker has another version of fastnn or none.
    WorkFailedError
        If no worker of its own starts.
    """

    def __init__(
        self, scheduler: str | None = None, workers: int | None = None, *, patience: float = _WORKER_SECONDS
    ) -> None:
        self._distributed = _import_distributed()
        self._scheduler, self._patience, self._stack = scheduler, patience, contextlib.ExitStack()
        self._listeners: dict[str, Callable[[Any], None]] = {}
        self._where: dict[str, str] = {}
        self._sent: dict[str, Any] = {}
        self._n_workers, self._counted = 0, -_COUNT_SECONDS
        try:
            self._stack.enter_context(_quiet())
            with _settings():
                self._client = self._start(workers) if scheduler is None else self._connect(scheduler)
            self._client.subscribe_topic(_TOPIC, self._on_message)
            self._stack.callback(_ignore(self._client.unsubscribe_topic), _TOPIC)
        except BaseException:
            self.close()
            raise

    def _start(self, workers: int | None) -> Any:
        number = cores() if workers is None else workers
        if number < 1:
            raise RecipeError(f"a cluster needs at least 1 worker, not {number}")
        with _blocked_signals(), _needs_extra():
            # Its thread starts the workers.
            local = self._distributed.LocalCluster(
                n_workers=0,
                threads_per_worker=1,
                processes=True,
                # Dask has a web server in each process: let nobody else reach it.
                scheduler_kwargs={"dashboard": False, "dashboard_address": "127.0.0.1:0"},
                worker_dashboard_address="127.0.0.1:0",
                security=True,  # other users of this machine cannot connect, and so cannot run code as this one
                memory_limit=0,  # Dask would kill workers that take more than their share of the memory
                env=_ENVIRONMENT,
                silence_logs=logging.CRITICAL + 1,
            )
        self._stack.callback(_ignore(local.close), timeout=10)
        local.scale(number)
        client = self._distributed.Client(local, set_as_default=False)
        self._stack.callback(_ignore(client.close), timeout=5)
        try:
            client.wait_for_workers(1, timeout=_WORKER_SECONDS)
        except TimeoutError:
            raise WorkFailedError(
                "no worker process has started; a script must do its work under `if __name__ == '__main__':`, and "
                "elsewhere memory or time may be short: try fewer workers"
            ) from None
        return client

    def _connect(self, address: str) -> Any:
        try:
            client = self._distributed.Client(address, timeout=_CONNECT_SECONDS, set_as_default=False)
        except (OSError, TimeoutError, ValueError) as error:
            reason = " ".join(str(error).split())[:200] or "no answer"
            raise RecipeError(
                f"{address}: no Dask scheduler can be reached there ({reason}); start one with `dask scheduler`, and "
                "give its address as tcp://HOST:8786"
            ) from None
        self._stack.callback(_ignore(client.close), timeout=5)
        self._check_workers(client, address)
        return client

    def _check_workers(self, client: Any, address: str) -> None:
        """Raise RecipeError if there are no workers, or one has other versions than this process."""
        # Not scheduler_info(), which Dask's own thread may replace by one without workers.
        if not client.nthreads():
            raise RecipeError(f"{address}: has no workers; start some with `dask worker {address} --nthreads 1`")
        own = client.get_versions()
        versions = {where: about["packages"] for where, about in own["workers"].items() if about}
        versions["the scheduler"] = own["scheduler"]["packages"]
        mine = own["client"]["packages"]
        for where, theirs in versions.items():
            _check_version(address, where, "Python", mine["python"].split(".")[:2], theirs["python"].split(".")[:2])
            _check_version(address, where, "distributed", [mine["distributed"]], [theirs["distributed"]])
        here = versions_here()
        for where, found in client.run(versions_here, on_error="return").items():
            if not isinstance(found, dict):
                text = " ".join(str(found).split())[:200]
                raise RecipeError(
                    f"{address}: the worker {where} cannot run fastnn ({text}); install there: "
                    f"pip install 'fastnn-trainer[sweep]=={__version__}'"
                )
            for name, version in here.items():
                _check_version(address, where, name, [version], [found.get(name)])

    @property
    def n_workers(self) -> int:
        """Number of jobs that the workers can do at a time; at least 1."""
        return max(1, self._count_workers())

    def _count_workers(self) -> int:
        # The scheduler is asked only now and then: that takes as long as beginning a job.
        if time.monotonic() >= self._counted + _COUNT_SECONDS:
            self._n_workers = int(sum(self._client.nthreads().values()))
            self._counted = time.monotonic()
        return self._n_workers

    def map(
        self,
        work: Work,
        jobs: Iterable[Job | Later],
        dataset: Dataset,
        stop: StopFlag | None = None,
        *,
        on_message: Callable[[Job, Any], bool] | None = None,
    ) -> Generator[tuple[Job, Any], None, None]:
        """Call a function for each job on the workers; yield each job with its result as they finish.

        The data reach a worker once; one that has them in its machine's cache maps them into memory. If a call fails,
        the first error is raised and the others are told to stop, as in :func:`fastnn.threads.map_threads`; but a job
        whose worker died is done again by another one. If workers of a job die repeatedly, its result is
        :class:`Lost`.

        Parameters
        ----------
        work : callable
            A function of a module, or an object that can be pickled. Takes the data, the job and a :class:`Task`, and
            should call its ``check()`` often.
        jobs : iterable
            Picklable; taken when a worker will soon be free. :data:`fastnn.threads.LATER` means: ask again soon.
        dataset : Dataset
        stop : StopFlag, optional
            If it is set, no job is begun, running ones are asked to stop, and the generator ends.
        on_message : callable, optional
            Called, while the generator waits, with a job and each message that it sends; if it returns True, the job
            is asked to stop.

        Yields
        ------
        job, result
        """
        yield from _Mapping(self, work, iter(jobs), StopFlag(stop), on_message).run(dataset)

    def stop_task(self, name: str) -> None:
        """Ask a running task to stop."""
        where = self._where.get(name)
        if where is not None:
            self._tell_workers([name], [where])

    def _tell_workers(self, names: list[str], workers: list[str] | None = None) -> None:
        """Ask tasks to stop, without waiting for workers that may be cut off."""
        call = _ignore(self._client.run)
        options = {"workers": workers, "wait": False, "on_error": "ignore"}
        threading.Thread(target=call, args=(_stop_here, names), kwargs=options, daemon=True).start()

    def _on_message(self, event: tuple[float, Any]) -> None:
        name, where, message = event[1]
        listener = self._listeners.get(name)
        if listener is not None:
            self._where[name] = where
            listener(message)

    def close(self) -> None:
        """Disconnect, and stop a cluster of its own."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class InProcess:
    """Takes the place of a cluster: does one job after the other in this process, without Dask."""

    n_workers = 1

    def map(
        self,
        work: Work,
        jobs: Iterable[Job | Later],
        dataset: Dataset,
        stop: StopFlag | None = None,
        *,
        on_message: Callable[[Job, Any], bool] | None = None,
    ) -> Generator[tuple[Job, Any], None, None]:
        """Call a function for each job; see :meth:`Cluster.map`."""

        def run(job: Job, flag: StopFlag) -> Any:
            def send(message: Any) -> None:
                if on_message is not None and on_message(job, message):
                    task.set()

            task = Task(send, flag)
            return work(dataset, job, task)

        yield from map_threads(run, jobs, 1, stop)

    def close(self) -> None:
        """Do nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class _Mapping:
    """One call of :meth:`Cluster.map`."""

    def __init__(
        self,
        cluster: Cluster,
        work: Work,
        jobs: Iterator[Any],
        stop: StopFlag,
        on_message: Callable[[Any, Any], bool] | None,
    ) -> None:
        self._cluster, self._client = cluster, cluster._client
        self._work, self._jobs, self._stop, self._on_message = work, jobs, stop, on_message
        self._running: dict[str, _Submitted] = {}
        self._events: queue.SimpleQueue[tuple[str, str, Any]] = queue.SimpleQueue()
        self._exhausted, self._next_look, self._had_workers = False, 0.0, time.monotonic()

    def run(self, dataset: Dataset) -> Iterator[tuple[Any, Any]]:
        key = shared_key(dataset)
        if self._cluster._scheduler is None:
            # The workers are on this machine.
            keep(key, to_parts(dataset))
        try:
            while not self._stop.is_set():
                has_later = self._fill(key)
                if not self._running:
                    if self._exhausted:
                        return
                    time.sleep(_AGAIN)
                    continue
                try:
                    kind, name, content = self._events.get(timeout=_AGAIN if has_later else _POLL)
                except queue.Empty:
                    self._check_alive()
                    continue
                if name not in self._running:
                    continue
                if kind == "message":
                    if self._on_message is not None and self._on_message(self._running[name].job, content):
                        self._cluster.stop_task(name)
                    continue
                job, result = self._result(name, dataset, key)
                if not isinstance(result, _Again):
                    yield job, result
        finally:
            self._end()

    def _check_alive(self) -> None:
        """Raise WorkFailedError if the scheduler is gone, or for long has no workers; looks once a second."""
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + 1
        lost = any(one.future.status == "lost" for one in self._running.values())
        if lost or self._client.status not in ("running", "connecting"):
            raise WorkFailedError(_LOST)
        if self._cluster._count_workers():
            self._had_workers = now
        elif now > self._had_workers + self._cluster._patience:
            seconds = now - self._had_workers
            raise WorkFailedError(f"the Dask scheduler has had no workers for {seconds:.0f} seconds; start some")

    def _fill(self, key: str) -> bool:
        """Submit jobs until each worker has one that waits; return whether there may soon be another one."""
        most = self._cluster.n_workers * (1 + _AHEAD) if not self._exhausted else 0
        while not self._exhausted and len(self._running) < most:
            job = next(self._jobs, _END)
            if job is _END:
                self._exhausted = True
            elif isinstance(job, Later):
                return True
            else:
                self._submit(job, key)
        return False

    def _submit(self, job: Any, key: str, data: Any = None, attempt: int = 1) -> None:
        name = f"fastnn-{os.getpid()}-{next(_ids)}-{os.urandom(4).hex()}"
        self._cluster._listeners[name] = lambda message: self._events.put(("message", name, message))
        future = self._client.submit(
            _run, _Order(name, self._work, job, key, versions_here()), data, key=name, pure=False, retries=0
        )
        self._running[name] = _Submitted(future, job, attempt)
        future.add_done_callback(lambda _: self._events.put(("done", name, None)))

    def _result(self, name: str, dataset: Dataset, key: str) -> tuple[Any, Any]:
        """Return a job that has ended and its result; raise the error that it raised."""
        one = self._running.pop(name)
        job = one.job
        self._forget(name)
        try:
            answer = one.future.result(timeout=_CONNECT_SECONDS)
        except Exception as error:
            kind, text = type(error).__name__, " ".join(str(error).split())[:300]
            if kind == "KilledWorker":
                return job, Lost("its workers died, which may be for lack of memory")
            if isinstance(error, ModuleNotFoundError):
                raise RecipeError(f"a worker cannot run fastnn ({text}); install it there") from None
            if kind in _GONE and self._client.status != "running":
                raise WorkFailedError(_LOST) from None
            # The worker that had the result, or the data, has died or was cut off.
            if kind in _GONE and one.attempt < _MOST_ATTEMPTS:
                self._submit(job, key, None, one.attempt + 1)
                return job, _Again()
            raise WorkFailedError(f"a worker failed ({kind}: {text})") from None
        if isinstance(answer, _NoData):
            self._submit(job, key, self._scattered(dataset, key), one.attempt)
            return job, _Again()
        if isinstance(answer, _Failed):
            raise answer.error()
        return job, answer

    def _scattered(self, dataset: Dataset, key: str) -> Any:
        """Return the future of the data on the cluster; Dask copies them from worker to worker."""
        sent = self._cluster._sent.get(key)
        # The only worker that had them may have died.
        if sent is None or sent.status != "finished":
            content = b"".join(to_parts(dataset))
            self._cluster._sent[key] = self._client.scatter(content, hash=False)
        return self._cluster._sent[key]

    def _forget(self, name: str) -> None:
        self._cluster._listeners.pop(name, None)
        self._cluster._where.pop(name, None)

    def _end(self) -> None:
        """Cancel what waits, and ask what runs to stop."""
        names, futures = list(self._running), [one.future for one in self._running.values()]
        self._running.clear()
        for name in names:
            self._forget(name)
        if futures:
            _ignore(self._client.cancel)(futures, force=True)
            self._cluster._tell_workers(names)


_END = object()
_GONE = ("FutureCancelledError", "CancelledError", "TimeoutError", "CommClosedError")
_MOST_ATTEMPTS = 3
_LOST = "the connection to the Dask scheduler is lost; start it and this command again"


@dataclass(frozen=True)
class _Submitted:
    """A job that the scheduler has."""

    future: Any
    job: Any
    attempt: int


@dataclass(frozen=True)
class _Again:
    """The job is submitted again."""


# ---- on a worker ----


@dataclass(frozen=True)
class _Order:
    """What a worker is asked to do."""

    name: str
    work: Work
    job: Any
    key: str
    versions: dict[str, str]


@dataclass(frozen=True)
class _NoData:
    """The worker does not have the data."""


@dataclass(frozen=True)
class _Failed:
    """An error of fastnn; exceptions of several arguments cannot be pickled."""

    kind: str
    message: str
    exit_code: int

    def error(self) -> FastnnError:
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


def _run(order: _Order, data: bytes | None) -> Any:
    """Do a job on a worker; return its result, `_NoData` or `_Failed`."""
    # It may have joined after the client looked at the versions.
    for name, version in versions_here().items():
        if version != order.versions[name]:
            text = f"a worker has {name} {version}, but this process {order.versions[name]}; install the same version"
            return _Failed("RecipeError", f"{text} on all machines", 2)
    try:
        dataset = _dataset_here(order.key, data)
    except StoreNotHereError as error:
        return _Failed("DataError", str(error), error.exit_code)
    if dataset is None:
        return _NoData()
    task = Task(lambda message: _send(order.name, message))
    with _tasks_lock:
        _tasks_here[order.name] = task
        if order.name in _stopped_here:
            task.set()
    try:
        return order.work(dataset, order.job, task)
    except FastnnError as error:
        return _Failed(type(error).__name__, str(error), error.exit_code)
    except TrainingInterrupted:
        return _Failed("WorkFailedError", "the job was stopped", 1)
    finally:
        with _tasks_lock:
            _tasks_here.pop(order.name, None)


def _send(name: str, message: Any) -> None:
    from distributed import get_worker

    worker = get_worker()
    worker.log_event(_TOPIC, (name, worker.address, message))


def _dataset_here(key: str, data: bytes | None) -> Dataset | None:
    with _datasets_lock:
        dataset = _datasets_here.get(key)
        if dataset is None:
            if data is not None:
                keep(key, [data])
            dataset = kept(key)
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


async def _stop_here(names: list[str]) -> None:
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


# ---- Dask ----


@contextlib.contextmanager
def _needs_extra() -> Iterator[None]:
    try:
        yield
    except ImportError:
        raise MissingExtraError("work on several processes or machines", "sweep") from None


@_needs_extra()
def _import_distributed() -> Any:
    import dask.config

    # Before it is imported: it sets up its logs then.
    dask.config.set({"logging": {"distributed": "critical"}})
    import distributed

    return distributed


@contextlib.contextmanager
def _settings() -> Iterator[None]:
    """Set Dask up while a client or cluster is made; its warning about versions is ours to give."""
    import dask.config
    from distributed.versions import VersionMismatchWarning

    # A job whose worker died is done again, once. One that waits at a worker would be suspected too: it waits at the
    # scheduler.
    settings = {
        "distributed.scheduler.allowed-failures": 1,
        "distributed.scheduler.worker-saturation": 1.0,
        # Dask lets glibc return all memory to the system at once: each trial would get it anew, page by page.
        "distributed.nanny.pre-spawn-environ": {
            "MALLOC_TRIM_THRESHOLD_": str(256 << 20),
            "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
            "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",
            "DASK_DISTRIBUTED__ADMIN__SYSTEM_MONITOR__INTERVAL": "10s",
        },
        # Nobody looks at these figures, which are measured all the time.
        "distributed.admin.system-monitor.interval": "10s",
    }
    with dask.config.set(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=VersionMismatchWarning)
        yield


@contextlib.contextmanager
def _blocked_signals() -> Iterator[None]:
    """Block signals in the threads that are started here, and in the processes that these start.

    Ctrl-C goes to all processes of a terminal's foreground, and other signals may go to all of a service. This process
    answers them, and ends its workers.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGHUP,))
    try:
        # Starts a process of multiprocessing that blocks the other two itself, and then unblocks them in this thread.
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep Dask's own logs off the terminal: what matters is raised."""
    logs = [logging.getLogger(name) for name in ("distributed", "distributed.client", "tornado.application")]
    levels = [log.level for log in logs]
    for log in logs:
        log.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for log, level in zip(logs, levels, strict=True):
            log.setLevel(level)


def _ignore(function: Callable[..., Any]) -> Callable[..., None]:
    """Return a function that calls another one and ignores what it raises: the scheduler may be gone."""

    def call(*args: Any, **kwargs: Any) -> None:
        with contextlib.suppress(Exception):
            function(*args, **kwargs)

    return call


def _check_version(address: str, where: str, what: str, mine: list[str], theirs: list[str | None]) -> None:
    if mine != theirs:
        found = ".".join(map(str, theirs))
        raise RecipeError(
            f"{address}: {where} has {what} {found}, but this process {'.'.join(mine)}; install the same version on "
            f"all machines (this one is {platform.node() or 'unnamed'})"
        )
