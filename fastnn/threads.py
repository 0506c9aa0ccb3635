"""Work shared among threads: a stop flag, the number of usable cores, and a map that ends early on errors.

Kernels release Python's lock, so two threads train two networks as fast as two processes do.
"""

from __future__ import annotations

import math
import operator
import os
import queue
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from fastnn.errors import RecipeError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

Job = TypeVar("Job")
Result = TypeVar("Result")

_POLL = 0.1
"""Seconds between two looks for results, since on Windows Ctrl-C does not interrupt a thread that waits for a lock."""
_AGAIN = 0.002
"""Seconds between two looks for a job."""

_QUOTA = Path("/sys/fs/cgroup/cpu.max")

_RESULT, _ERROR, _END = "result", "error", "end"


class Later:
    """Takes the place of a job while there is none yet."""


class _End:
    """Marks the end of the jobs."""


LATER, _NO_MORE = Later(), _End()


class TrainingInterrupted(BaseException):
    """Training ended because its :class:`StopFlag` was set.

    Like KeyboardInterrupt this is not an Exception, so that no handler treats it as a failure.
    """


class StopFlag:
    """A flag that any thread or signal handler may set and that long work checks every 20 ms or so.

    It holds no lock, unlike threading.Event: a signal handler may set it while the same thread checks it.

    Parameters
    ----------
    parent : StopFlag, optional
        If this flag is set, the new one counts as set too.
    """

    def __init__(self, parent: StopFlag | None = None) -> None:
        self._parent = parent
        self._set = False

    def set(self) -> None:
        """Ask the work to stop."""
        self._set = True

    def clear(self) -> None:
        """Take the request back; a parent's stays."""
        self._set = False

    def is_set(self) -> bool:
        """Return whether the work should stop."""
        return self._set or (self._parent is not None and self._parent.is_set())

    def check(self) -> None:
        """Raise :class:`TrainingInterrupted` if the work should stop."""
        if self.is_set():
            raise TrainingInterrupted


def cores() -> int:
    """Return how many cores this process may use, by its CPU affinity and its container's quota."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = (int(word) for word in _QUOTA.read_text().split())
    except (OSError, ValueError):  # no such file, or "max"
        return count
    return max(1, min(count, math.ceil(quota / period)))


def thread_count(threads: int | None) -> int:
    """Return the number of threads asked for, by default that of usable cores; RecipeError if it is not a count."""
    if threads is None:
        return cores()
    try:
        count = operator.index(threads)
    except TypeError:
        count = 0
    if count < 1:
        raise RecipeError(f"threads must be a whole number from 1, or None for all cores, not {threads!r}")
    return count


def map_threads(
    work: Callable[[Job, StopFlag], Result],
    jobs: Iterable[Job | Later],
    threads: int,
    stop: StopFlag | None = None,
    *,
    queued: Callable[[Job, Result], None] | None = None,
) -> Generator[tuple[Job, Result], None, None]:
    """Call a function for each job on several threads; yield each job with its result as they finish.

    If a call fails, the stop flag given to the others is set, and the first error is raised once all threads have
    ended. The same happens if the caller closes this generator or an exception is raised where it waits. With one
    thread, jobs run in the calling thread.

    Parameters
    ----------
    work : callable
        Takes a job and the flag; it should call :meth:`StopFlag.check` often.
    jobs : iterable
        The next job is taken, by one thread at a time, when a thread is free. A thread ends when there is none, and
        looks again soon if it is :data:`LATER`; that must not be the next one while no job is being done.
    threads : int
        At most this many run at a time.
    stop : StopFlag, optional
        If it is set, no job is begun, running ones are asked to stop, and the generator ends without an error.
    queued : callable, optional
        Called in the thread with each job and its result, once no later result can be yielded before it.

    Yields
    ------
    job, result
    """
    cancelled = StopFlag(stop)
    if threads > 1:
        yield from _on_threads(work, iter(jobs), threads, cancelled, queued)
        return
    try:
        for job in jobs:
            cancelled.check()
            if isinstance(job, Later):
                continue
            result = work(job, cancelled)
            if queued is not None:
                queued(job, result)
            yield job, result
    except TrainingInterrupted:
        if not cancelled.is_set():
            raise


def _on_threads(
    work: Callable[[Job, StopFlag], Result],
    jobs: Iterator[Job | Later],
    threads: int,
    cancelled: StopFlag,
    queued: Callable[[Job, Result], None] | None,
) -> Iterator[tuple[Job, Result]]:
    lock = threading.Lock()
    # Bounded, so that a caller who takes its time does not let results pile up.
    done: queue.Queue[tuple[str, Any]] = queue.Queue(2 * threads)

    def loop() -> None:
        try:
            while not cancelled.is_set():
                with lock:
                    taken = next(jobs, _NO_MORE)
                if isinstance(taken, _End):
                    break
                if isinstance(taken, Later):
                    time.sleep(_AGAIN)
                    continue
                result = work(taken, cancelled)
                done.put((_RESULT, (taken, result)))
                if queued is not None:
                    queued(taken, result)
        except BaseException as error:
            # The caller raises it, whatever kind of error it is; the others end.
            if not (isinstance(error, TrainingInterrupted) and cancelled.is_set()):
                cancelled.set()
                done.put((_ERROR, error))
        finally:
            done.put((_END, None))

    # Daemons, so that a process that is told to leave does not wait for an endless training.
    running = [threading.Thread(target=loop, name=f"fastnn-{number}", daemon=True) for number in range(threads)]
    left = 0
    errors: list[BaseException] = []
    try:
        for thread in running:
            thread.start()
            left += 1
        while left:
            try:
                kind, content = done.get(timeout=_POLL)
            except queue.Empty:
                continue
            if kind == _RESULT:
                yield content
            elif kind == _ERROR:
                errors.append(content)
            else:
                left -= 1
    finally:
        cancelled.set()
        while left:
            left -= done.get()[0] == _END
    if errors:
        raise errors[0]
