"""A map over threads: its results, and how errors and stop flags end it."""

from __future__ import annotations

import os
import sys
import threading

import pytest

from fastnn.threads import LATER, StopFlag, TrainingInterrupted, cores, map_threads
from tests.helpers import TIMEOUT


def until_stopped(stop: StopFlag) -> None:
    """Check the flag again and again, as training does between two chunks."""
    never = threading.Event()
    for _ in range(TIMEOUT * 1000):
        stop.check()
        never.wait(0.001)
    raise AssertionError("was not stopped")


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_each_job_is_returned_with_its_result(threads: int) -> None:
    found = list(map_threads(lambda job, _: job * job, range(20), threads))
    assert sorted(found) == [(job, job * job) for job in range(20)]


def test_one_thread_means_the_calling_thread_in_order() -> None:
    me = threading.get_ident()
    assert list(map_threads(lambda _, __: threading.get_ident(), "ab", 1)) == [("a", me), ("b", me)]


def test_jobs_run_at_the_same_time() -> None:
    both = threading.Barrier(2, timeout=TIMEOUT)
    assert len(list(map_threads(lambda *_: both.wait(), range(2), 2))) == 2


@pytest.mark.parametrize("threads", [1, 2])
def test_an_error_stops_the_other_threads_and_is_raised(threads: int) -> None:
    def work(job: int, stop: StopFlag) -> None:
        if job == 1 or threads == 1:
            raise KeyError("unexpected")
        until_stopped(stop)

    with pytest.raises(KeyError, match="unexpected"):
        list(map_threads(work, range(4), threads))


def test_an_error_of_the_iterator_of_jobs_is_raised() -> None:
    def jobs():  # type: ignore[no-untyped-def]
        yield 1
        raise OSError("no more")

    with pytest.raises(OSError, match="no more"):
        list(map_threads(lambda job, _: job, jobs(), 2))


@pytest.mark.parametrize("threads", [1, 2])
def test_a_stop_flag_ends_the_map_without_an_error(threads: int) -> None:
    stop = StopFlag()
    done = []

    def work(job: int, own: StopFlag) -> int:
        if job == 2:
            stop.set()
            until_stopped(own)
        return job

    for job, _ in map_threads(work, range(100), threads, stop):
        done.append(job)
    assert len(done) < 100
    assert 2 not in done


@pytest.mark.parametrize("threads", [1, 2])
def test_an_interruption_without_a_stop_flag_is_raised(threads: int) -> None:
    def work(job: int, _: StopFlag) -> None:
        raise TrainingInterrupted(job)

    with pytest.raises(TrainingInterrupted):
        list(map_threads(work, range(2), threads))


def test_closing_the_iterator_ends_the_threads() -> None:
    before = threading.active_count()

    def work(job: int, stop: StopFlag) -> int:
        if job:
            until_stopped(stop)
        return job

    results = map_threads(work, range(3), 3)
    assert next(results) == (0, 0)
    results.close()
    assert threading.active_count() == before


def test_a_slow_caller_gets_every_result() -> None:
    results = map_threads(lambda job, _: job, range(1000), 2)
    first = next(results)
    assert sorted([first, *results]) == [(job, job) for job in range(1000)]


def test_threads_wait_for_jobs_that_come_later() -> None:
    jobs, both = [1, LATER, LATER, 2, LATER, 3], threading.Barrier(2, timeout=TIMEOUT)

    def work(job: int, _: StopFlag) -> int:
        if job < 3:
            both.wait()
        return job

    assert sorted(map_threads(work, jobs, 2)) == [(1, 1), (2, 2), (3, 3)]
    assert list(map_threads(lambda job, _: job, jobs, 1)) == [(1, 1), (2, 2), (3, 3)]


def test_a_flag_is_set_if_its_parent_is() -> None:
    parent = StopFlag()
    child = StopFlag(parent)
    child.check()
    parent.set()
    assert child.is_set()
    with pytest.raises(TrainingInterrupted):
        child.check()
    parent.clear()
    child.set()
    assert child.is_set()
    assert not parent.is_set()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="affinity is Linux's")
def test_cores_counts_the_cores_that_this_process_may_use() -> None:
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert cores() == 1
    finally:
        os.sched_setaffinity(0, before)
    assert 1 <= cores() <= len(before)
    assert sys.version_info
