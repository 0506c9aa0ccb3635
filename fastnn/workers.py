"""Trainings side by side, each worker a process of its own."""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import pickle
import signal
import threading
import time
import traceback
from collections import deque
from multiprocessing import connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from fastnn.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess

Job = TypeVar("Job")
Result = TypeVar("Result")

_POLL = 0.1
"""Seconds between two calls of `check` while nothing happens."""
_GRACE = 30.0
"""Seconds that a worker has after SIGTERM to write down what it has."""

_TOLD, _DONE, _FAILED = "told", "done", "failed"

_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def cores() -> int:
    """Return how many cores this process may use: by its affinity, and by the quota of a container."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = (int(word) for word in _QUOTA.read_text().split())
    except (OSError, ValueError):  # no such file, or "max"
        return count
    return max(1, min(count, math.ceil(quota / period)))


def side_by_side(
    work: Callable[[Any, Job, Callable[[Any], None]], Result],
    common: Any,
    jobs: Sequence[Job],
    workers: int,
    *,
    told: Callable[[Job, Any], None] | None = None,
    check: Callable[[], None] | None = None,
) -> Generator[tuple[Job, Result], None, None]:
    """Do jobs in processes that are spawned; yield each with its result as they end.

    A worker has a pipe of its own and shares no lock or queue with another, so that none can be kept waiting by one
    that was stopped or killed. When the caller leaves early, by an error or by closing the generator, the workers are
    sent SIGTERM and waited for; those that have not ended after half a minute are killed. Workers do not see Ctrl-C,
    which is the parent's to answer, and get SIGTERM when the parent is killed.

    Parameters
    ----------
    work : callable
        Called in a worker with `common`, a job and a function that tells the parent something.
    common : object
        Sent to each worker once.
    jobs : sequence
    workers : int
        At most so many processes at a time.
    told : callable, optional
        Called with a job and what it told.
    check : callable, optional
        Called several times a second; what it raises ends all.

    Raises
    ------
    TrainingError
        If a worker dies.
    Exception
        What `work` raises, with the worker's traceback as a note.
    """
    waiting = deque(jobs)
    sent = pickle.dumps(common)
    crew: list[_Worker[Job]] = [_Worker(work) for _ in range(min(workers, len(waiting)))]
    try:
        for worker in crew:
            worker.start()
        for worker in crew:
            worker.send(sent)
            worker.give(waiting.popleft())
        while busy := [worker for worker in crew if worker.busy]:
            ready = connection.wait([worker.pipe for worker in busy], timeout=_POLL)
            for worker in busy:
                # First, however much there is to hear.
                if check is not None:
                    check()
                if worker.pipe not in ready:
                    continue
                kind, content = worker.hear()
                if kind == _FAILED:
                    raise content
                if kind == _DONE:
                    yield worker.job, content
                    worker.busy = False
                    if waiting:
                        worker.give(waiting.popleft())
                elif told is not None:
                    told(worker.job, content)
    finally:
        _dismiss([worker for worker in crew if worker.process.pid is not None])


class _Worker(Generic[Job]):
    """A process, as its parent sees it."""

    job: Job

    def __init__(self, work: Callable[..., Any]) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, self._other_end = context.Pipe()
        # What is sent here is small: spawning would wait for ever for a process that died before it had read a lot.
        self.process: SpawnProcess = context.Process(target=_serve, args=(self._other_end, work), daemon=True)
        self.busy = False

    def start(self) -> None:
        with _without_interrupts():
            self.process.start()
        # Held by the worker alone, so that its death is the pipe's end.
        self._other_end.close()

    def send(self, message: bytes) -> None:
        # A worker that is dead already says so when it is heard.
        with contextlib.suppress(OSError):
            self.pipe.send_bytes(message)

    def give(self, job: Job) -> None:
        self.job, self.busy = job, True
        self.send(pickle.dumps((job,)))

    def hear(self) -> tuple[str, Any]:
        try:
            message = self.pipe.recv_bytes()
        except (EOFError, OSError):
            self.process.join(_GRACE)
            code = self.process.exitcode
            why = ", for want of memory perhaps; take fewer workers or smaller networks" if code == -_KILL else ""
            raise TrainingError(f"a worker process has died (exit code {code}){why}") from None
        kind, content = pickle.loads(message)  # noqa: S301 - by our own process
        return kind, content


_KILL = 9
_NO_MORE = pickle.dumps(())


@contextlib.contextmanager
def _without_interrupts() -> Iterator[None]:
    """Within, a process that is started gets a signal mask that keeps Ctrl-C away; ours waits until the end."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    from multiprocessing import resource_tracker

    # Started with the first process otherwise, it would take the mask away.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _dismiss(crew: list[_Worker[Any]]) -> None:
    """End all processes: at once those that wait for a job, the others after they have written down what they have."""
    try:
        for worker in crew:
            if worker.busy:
                worker.process.terminate()
            worker.send(_NO_MORE)
        end = time.monotonic() + _GRACE
        open_pipes = {worker.pipe for worker in crew}
        # Who has much to tell waits until somebody listens, whatever signal it got.
        while open_pipes and (left := end - time.monotonic()) > 0:
            for pipe in connection.wait(open_pipes, timeout=left):
                try:
                    cast("Connection", pipe).recv_bytes()
                except (EOFError, OSError):
                    open_pipes.discard(cast("Connection", pipe))
        for worker in crew:
            worker.process.join(max(0.0, end - time.monotonic()))
    finally:
        for worker in crew:
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.pipe.close()
            worker.process.close()


def _serve(pipe: Connection, work: Callable[..., Any]) -> None:
    """Do one job after the other until there are no more."""
    # Where there is no mask; see `_without_interrupts`.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()

    def tell(news: Any) -> None:
        pipe.send((_TOLD, news))

    # The pipe ends when the parent does.
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        common = pickle.loads(pipe.recv_bytes())  # noqa: S301 - by our own parent
        while message := pickle.loads(pipe.recv_bytes()):  # noqa: S301
            try:
                answer = pickle.dumps((_DONE, work(common, message[0], tell)))
            except (BrokenPipeError, ConnectionResetError):
                return
            except Exception as error:
                answer = pickle.dumps((_FAILED, _sendable(error)))
            pipe.send_bytes(answer)


def _end_with_parent() -> None:
    """Wait for the parent's end; then end as if it had asked for it."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_GRACE)
        os._exit(1)


def _sendable(error: Exception) -> Exception:
    """Return the error, or another one with its words where it cannot be sent."""
    text = "".join(traceback.format_exception(error))
    try:
        same: Exception = pickle.loads(pickle.dumps(error))  # noqa: S301 - it was written the moment before
    except Exception:
        same = RuntimeError(f"{type(error).__name__}: {error}")
    same.add_note(f"in a worker process:\n{text}")
    return same
