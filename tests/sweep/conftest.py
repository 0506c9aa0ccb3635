"""One scheduler with two workers for the tests of a cluster, as processes on loopback."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from tests.helpers import ROOT, TIMEOUT, ChildProcess, environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_SETTINGS = {
    "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1",
    "DASK_DISTRIBUTED__SCHEDULER__WORKER_SATURATION": "1.0",
    # A worker that is cut off counts as dead after 5 s, the least that Dask takes.
    "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "1s",
    "DASK_LOGGING__DISTRIBUTED": "critical",
}


def wait_for(condition: Callable[[], object]) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < end, "this does not happen"
        time.sleep(0.02)


@dataclass
class Processes:
    """A scheduler and workers as processes.

    Attributes
    ----------
    address : str
        That of the scheduler.
    folder : Path
    stack : ExitStack
        Kills them.
    """

    folder: Path
    stack: contextlib.ExitStack
    address: str = ""
    workers: list[ChildProcess] = field(default_factory=list)

    def start(self) -> None:
        """Start the scheduler and two workers."""
        file = self.folder / "scheduler.json"
        options = ("--host", "127.0.0.1", "--port", "0", "--no-dashboard")
        self._process("scheduler", *options, "--scheduler-file", str(file))
        # Written in steps.
        wait_for(lambda: file.exists() and file.read_text().rstrip().endswith("}"))
        self.address = json.loads(file.read_text())["address"]
        for _ in range(2):
            self.add_worker()

    def add_worker(self) -> ChildProcess:
        """Start a worker."""
        options = ("--nthreads", "1", "--no-nanny", "--no-dashboard", "--memory-limit", "0")
        self.workers.append(self._process("worker", self.address, *options, "--local-directory", str(self.folder)))
        return self.workers[-1]

    def _process(self, kind: str, *args: str) -> ChildProcess:
        command = [sys.executable, "-m", f"distributed.cli.dask_{kind}", *args]
        # Its own cache, as on another machine: the data must be sent.
        own = environment(**_SETTINGS, FASTNN_CACHE_DIR=str(self.folder / "cache"))
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return self.stack.enter_context(
            ChildProcess(command, cwd=ROOT, env=own, text=True, start_new_session=True, **pipes)
        )


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    with contextlib.ExitStack() as stack:
        made = Processes(tmp_path_factory.mktemp("cluster"), stack)
        made.start()
        yield made
