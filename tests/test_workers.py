"""Jobs done by processes side by side: what they give back, and that none outlives its parent or keeps it waiting."""

from __future__ import annotations

import os
import signal
import sys
import threading
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING, Any

import pytest

from fastnn import workers
from fastnn.errors import DataError, TrainingError
from fastnn.workers import side_by_side
from tests.helpers import PATIENCE, ROOT, Started, lines_until, start

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")


def double(common: int, job: int, tell: Callable[[Any], None]) -> int:
    tell(f"{job} begun")
    return common + 2 * job


def refuse(_: None, job: int, __: object) -> int:
    if job == 2:
        raise DataError(f"job {job} has no data")
    return job


class OddError(Exception):
    """Cannot be sent: unpickled, it wants two arguments."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


def fail_oddly(_: None, job: int, __: object) -> None:
    raise OddError(job, 2)


def die(code: int, __: int, ___: object) -> None:
    if code:
        os._exit(code)
    os.kill(os.getpid(), 9)


def flood(_: None, job: int, tell: Callable[[Any], None]) -> None:
    """Tell without end, and take no notice of SIGTERM if the job is 1."""
    if job:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    tell(os.getpid())
    while True:
        tell("still here")


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_jobs_and_what_they_tell() -> None:
    told: list[tuple[int, str]] = []
    done = side_by_side(double, 100, range(7), 3, told=lambda job, news: told.append((job, news)))
    assert sorted(done) == [(job, 100 + 2 * job) for job in range(7)]
    assert sorted(told) == [(job, f"{job} begun") for job in range(7)]
    assert list(side_by_side(double, 100, [], 3)) == []


def test_an_error_comes_with_its_traceback() -> None:
    with pytest.raises(DataError, match="job 2 has no data") as caught:
        list(side_by_side(refuse, None, range(4), 2))
    assert "in refuse" in caught.value.__notes__[0]
    with pytest.raises(RuntimeError, match="OddError: 0 and 2"):
        list(side_by_side(fail_oddly, None, [0], 1))


def test_a_worker_that_dies_ends_all() -> None:
    with pytest.raises(TrainingError, match=r"exit code 7\)$"):
        list(side_by_side(die, 7, range(4), 2))
    with pytest.raises(TrainingError, match=r"exit code -9\).*take fewer workers"):
        list(side_by_side(die, 0, range(4), 2))


@posix_only
def test_whoever_has_much_to_tell_or_takes_no_notice_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_GRACE", 0.5)
    pids: list[int] = []

    def told(_: int, news: Any) -> None:
        if isinstance(news, int):
            pids.append(news)

    def check() -> None:
        if len(pids) == 2:
            raise EnoughError

    with pytest.raises(EnoughError):
        list(side_by_side(flood, None, range(2), 2, told=told, check=check))
    assert not any(map(is_alive, pids))


class EnoughError(Exception):
    pass


def enough(*_: object) -> None:
    raise EnoughError


def finish_nonetheless(_: None, __: int, tell: Callable[[Any], None]) -> str:
    """Be done in spite of SIGTERM, as a member that is past its last epoch."""
    told = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: told.set())
    tell("ready")
    told.wait(PATIENCE)
    return "done"


@posix_only
def test_a_job_that_ends_after_the_signal_ends_its_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    def kill(_: Any) -> None:
        raise AssertionError("waited in vain")

    monkeypatch.setattr(BaseProcess, "kill", kill)
    with pytest.raises(EnoughError):
        list(side_by_side(finish_nonetheless, None, range(2), 1, told=enough))


def die_unpickled(_: Any) -> None:
    os._exit(9)


class Deadly:
    """Ends the process that unpickles it, and is long."""

    def __init__(self) -> None:
        self.weight = bytes(1 << 22)

    def __reduce__(self) -> Any:
        return die_unpickled, (self.weight,)


def test_a_worker_that_dies_before_it_works_is_no_reason_to_wait() -> None:
    with pytest.raises(TrainingError, match="exit code 9"):
        list(side_by_side(double, Deadly(), range(4), 2))


SCRIPT = """
import os, signal, sys, time
from tests.test_workers import ROOT, side_by_side
def wait(common, job, tell):
    tell(os.getpid())
    while True:
        time.sleep(0.01)
if __name__ == "__main__":
    print("begins", flush=True)
    heard = []
    def told(job, news):
        heard.append(news)
        if len(heard) == 2:
            print("workers", flush=True)
    try:
        for _ in side_by_side(wait, bytes(1 << 22), range(2), 2, told=told):
            pass
    except KeyboardInterrupt:
        print("stopped by the parent", flush=True)
        sys.exit(130)
"""


@pytest.fixture
def parent(tmp_path: Path) -> Iterator[Started]:
    """A process that has workers, and says when it begins and when they are at work."""
    script = tmp_path / "parent.py"
    script.write_text(SCRIPT)
    with start([sys.executable, str(script)], cwd=ROOT) as process:
        yield process


@posix_only
def test_workers_end_when_their_parent_is_killed(parent: Started) -> None:
    """Although their job, which tells nothing, would never."""
    lines_until(parent, "workers")
    parent.kill()
    # Returns when no worker holds the pipe any more.
    parent.communicate(timeout=PATIENCE)


@posix_only
def test_ctrl_c_is_the_parents_to_answer(parent: Started) -> None:
    """A terminal sends it to all processes."""
    lines_until(parent, "workers")
    os.killpg(parent.pid, signal.SIGINT)
    rest, _ = parent.communicate(timeout=PATIENCE)
    assert (parent.returncode, rest) == (130, "stopped by the parent\n")


@posix_only
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_all_while_they_start_leaves_nobody_waiting(number: signal.Signals, parent: Started) -> None:
    lines_until(parent, "begins")
    os.killpg(parent.pid, number)
    parent.communicate(timeout=PATIENCE)
    assert parent.returncode != 0
