"""Trainings side by side, each worker a process of its own."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import time
import traceback
from collections import deque
from multiprocessing import connection
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from fastnn.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess

Job = TypeVar("Job")
Result = TypeVar("Result")

_POLL = 0.1
"""Seconds between two calls of `check` while nothing happens."""
_GRACE = 30.0
"""Seconds that a worker has after SIGTERM to write down what it has."""

_TOLD, _DONE, _FAILED = "told", "done", "failed"


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def side_by_side(
    work: Callable[[Any, Job, Callable[[Any], None]], Result],
    common: Any,
    jobs: Sequence[Job],
    workers: int,
    *,
    told: Callable[[Job, Any], None] | None = None,
    check: Callable[[], None] | None = None,
) -> Iterator[tuple[Job, Result]]:
    """Do jobs in processes that are spawned; yield each with its result as they end.

    A worker has a pipe of its own and shares no lock or queue with another, so that none can be kept waiting by one
    that was stopped or killed. When the caller leaves early, by an error or by closing the generator, the workers are
    sent SIGTERM and waited for; those that have not ended after half a minute are killed. Workers do not see Ctrl-C,
    which is the parent's to answer, and end by themselves should the parent be killed.

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
    crew: list[_Worker[Job]] = [_Worker(work, common) for _ in range(min(workers, len(waiting)))]
    try:
        for worker in crew:
            worker.start()
        for worker in crew:
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
        _dismiss(crew)


class _Worker(Generic[Job]):
    """A process, as its parent sees it."""

    job: Job

    def __init__(self, work: Callable[..., Any], common: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, self._other_end = context.Pipe()
        self.process: SpawnProcess = context.Process(target=_serve, args=(self._other_end, work, common), daemon=True)
        self.busy = False

    def start(self) -> None:
        with _without_interrupts():
            self.process.start()
        # Held by the worker alone, so that its death is the pipe's end.
        self._other_end.close()

    def give(self, job: Job) -> None:
        self.job, self.busy = job, True
        # A worker that is dead already says so when it is heard.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.pipe.send(job)

    def hear(self) -> tuple[str, Any]:
        try:
            kind, content = self.pipe.recv()
        except (EOFError, ConnectionResetError):
            self.process.join(_GRACE)
            raise TrainingError(
                f"a worker process has died (exit code {self.process.exitcode}), for want of memory perhaps; "
                "take fewer workers or smaller networks"
            ) from None
        return kind, content


@contextlib.contextmanager
def _without_interrupts() -> Iterator[None]:
    """Within, a process that is started gets a signal mask that keeps Ctrl-C away; ours waits until the end."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _dismiss(crew: list[_Worker[Any]]) -> None:
    """End all processes: at once those that wait for a job, the others after they have written down what they have."""
    alive = [worker for worker in crew if worker.process.pid is not None]
    for worker in alive:
        if worker.busy:
            worker.process.terminate()
        else:
            worker.pipe.close()
    end = time.monotonic() + _GRACE
    for worker in alive:
        # Who has much to tell waits until somebody listens, whatever signal it got.
        while worker.busy and connection.wait([worker.pipe], timeout=max(0.0, end - time.monotonic())):
            try:
                worker.pipe.recv_bytes()
            except (EOFError, OSError):
                break
        worker.process.join(max(0.0, end - time.monotonic()))
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()
        worker.pipe.close()
        worker.process.close()


def _serve(pipe: Connection, work: Callable[..., Any], common: Any) -> None:
    """Do one job after the other until there are no more."""
    # Where there is no mask; see `_without_interrupts`.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The pipe ends when the parent does.
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            job = pipe.recv()
            try:
                answer = (_DONE, work(common, job, lambda news: pipe.send((_TOLD, news))))
            except (BrokenPipeError, ConnectionResetError):
                return
            except Exception as error:
                answer = (_FAILED, _sendable(error))
            pipe.send(answer)


def _sendable(error: Exception) -> Exception:
    """Return the error, or another one with its words where it cannot be sent."""
    text = "".join(traceback.format_exception(error))
    try:
        same: Exception = pickle.loads(pickle.dumps(error))  # noqa: S301 - it was written the moment before
    except Exception:
        same = RuntimeError(f"{type(error).__name__}: {error}")
    same.add_note(f"in a worker process:\n{text}")
    return same
