"""The client of a cluster: submits jobs to the workers of a Dask scheduler and yields their results."""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import queue
import threading
import time
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any, Self, TypeVar

from fastnn import __version__
from fastnn.cluster.dask_settings import (
    ENVIRONMENT,
    blocked_signals,
    ignore,
    import_distributed,
    needs_extra,
    quiet,
    settings,
)
from fastnn.cluster.worker import TOPIC, Failed, NoData, Order, Task, WorkFailedError, run, stop_here, versions_here
from fastnn.datasets.shared import shared_key, to_parts, write_cached
from fastnn.errors import RecipeError
from fastnn.threads import Later, StopFlag, cores, map_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    from fastnn.cluster.worker import Work
    from fastnn.datasets import Dataset

Job = TypeVar("Job")

CONNECT_SECONDS = 10
"""How long a scheduler may take to answer."""
_WORKER_SECONDS = 60
"""How long the first worker of a local cluster may take to start, and another one to come when all have died."""
_POLL = 0.1
"""Seconds between two looks for results, see :mod:`fastnn.threads`."""
_AGAIN = 0.01
_COUNT_SECONDS = 1.0
_AHEAD = 1
"""Jobs that wait at each worker, so that it need not wait for the client."""

_ids = count()


@dataclass(frozen=True)
class Lost:
    """Takes the place of a job's result if its workers died; `reason` says what happened."""

    reason: str


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
        self._distributed = import_distributed()
        self._scheduler, self._patience, self._stack = scheduler, patience, contextlib.ExitStack()
        self._listeners: dict[str, Callable[[Any], None]] = {}
        self._where: dict[str, str] = {}
        self._sent: dict[str, Any] = {}
        self._n_workers, self._counted = 0, -_COUNT_SECONDS
        try:
            self._stack.enter_context(quiet())
            with settings():
                self._client = self._start(workers) if scheduler is None else self._connect(scheduler)
            self._client.subscribe_topic(TOPIC, self._on_message)
            self._stack.callback(ignore(self._client.unsubscribe_topic), TOPIC)
        except BaseException:
            self.close()
            raise

    def _start(self, workers: int | None) -> Any:
        number = cores() if workers is None else workers
        if number < 1:
            raise RecipeError(f"a cluster needs at least 1 worker, not {number}")
        with blocked_signals(), needs_extra():
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
                env=ENVIRONMENT,
                silence_logs=logging.CRITICAL + 1,
            )
        self._stack.callback(ignore(local.close), timeout=10)
        local.scale(number)
        client = self._distributed.Client(local, set_as_default=False)
        self._stack.callback(ignore(client.close), timeout=5)
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
            client = self._distributed.Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
        except (OSError, TimeoutError, ValueError) as error:
            reason = " ".join(str(error).split())[:200] or "no answer"
            raise RecipeError(
                f"{address}: no Dask scheduler can be reached there ({reason}); start one with `dask scheduler`, and "
                "give its address as tcp://HOST:8786"
            ) from None
        self._stack.callback(ignore(client.close), timeout=5)
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
        call = ignore(self._client.run)
        options = {"workers": workers, "wait": False, "on_error": "ignore"}
        threading.Thread(target=call, args=(stop_here, names), kwargs=options, daemon=True).start()

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
            write_cached(key, to_parts(dataset))
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
            run, Order(name, self._work, job, key, versions_here()), data, key=name, pure=False, retries=0
        )
        self._running[name] = _Submitted(future, job, attempt)
        future.add_done_callback(lambda _: self._events.put(("done", name, None)))

    def _result(self, name: str, dataset: Dataset, key: str) -> tuple[Any, Any]:
        """Return a job that has ended and its result; raise the error that it raised."""
        one = self._running.pop(name)
        job = one.job
        self._forget(name)
        try:
            answer = one.future.result(timeout=CONNECT_SECONDS)
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
        if isinstance(answer, NoData):
            self._submit(job, key, self._scattered(dataset, key), one.attempt)
            return job, _Again()
        if isinstance(answer, Failed):
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
            ignore(self._client.cancel)(futures, force=True)
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


def _check_version(address: str, where: str, what: str, mine: list[str], theirs: list[str | None]) -> None:
    if mine != theirs:
        found = ".".join(map(str, theirs))
        raise RecipeError(
            f"{address}: {where} has {what} {found}, but this process {'.'.join(mine)}; install the same version on "
            f"all machines (this one is {platform.node() or 'unnamed'})"
        )
