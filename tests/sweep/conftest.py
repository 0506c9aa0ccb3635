"""Dask clusters for the tests, as processes on loopback."""

from __future__ import annotations

import contextlib
import json
import sys
import warnings
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import pytest

from fastnn.cluster import Cluster
from tests.helpers import ROOT, TIMEOUT, read_until, start_process, wait_for
from tests.sweep.forks import SETTINGS, Order

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from distributed import Client


@dataclass(frozen=True)
class Running:
    """A scheduler and its workers.

    Attributes
    ----------
    address : str
        That of the scheduler.
    number : int
        Number of workers; one that ends is replaced.
    folder : Path
        Of the workers, with their cache.
    client : distributed.Client
    """

    address: str
    number: int
    folder: Path
    client: Client

    def wait_for_workers(self) -> None:
        """Wait until all workers are there."""
        if self.number:
            self.client.wait_for_workers(self.number, timeout=TIMEOUT)


class Starter:
    """Starts schedulers and workers.

    Parameters
    ----------
    factory : TempPathFactory
    stack : ExitStack
        Ends them.
    """

    def __init__(self, factory: pytest.TempPathFactory, stack: contextlib.ExitStack) -> None:
        self._factory, self._stack = factory, stack
        # The kernels that the tests have compiled.
        cache = {"FASTNN_CACHE_DIR": str(factory.getbasetemp() / "fastnn-cache")}
        command = [sys.executable, "-m", "tests.sweep.forks"]
        self._process = stack.enter_context(start_process(command, cwd=ROOT, **SETTINGS, **cache))

    def __call__(self, number: int, **versions: str) -> Running:
        """Start a scheduler and workers, which may have other versions of packages."""
        from distributed import Client

        folder = self._factory.mktemp("workers")
        address = self.ask(asdict(Order(number, str(folder), versions)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            client = self._stack.enter_context(Client(address, set_as_default=False))
        running = Running(address, number, folder, client)
        running.wait_for_workers()
        return running

    def ask(self, order: Any) -> str:
        """Send an order to the process that forks others; return its answer."""
        assert self._process.stdin is not None
        print(json.dumps(order), file=self._process.stdin, flush=True)
        lines = read_until(self._process, '{"answer": ')
        answer: str = json.loads(lines[-1])["answer"]
        assert answer, "".join(lines)
        return answer


@pytest.fixture(scope="session")
def start_workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Starter]:
    with contextlib.ExitStack() as stack:
        yield Starter(tmp_path_factory, stack)


@pytest.fixture(scope="session")
def _three(start_workers: Starter) -> Running:
    return start_workers(3)


@pytest.fixture
def running(_three: Running) -> Running:
    """Return a scheduler with three workers, all of them there; the test before may have killed some."""
    _three.wait_for_workers()
    return _three


@pytest.fixture(scope="session")
def _cluster(_three: Running) -> Iterator[Cluster]:
    with Cluster(_three.address) as made:
        yield made


@pytest.fixture
def cluster(_cluster: Cluster, running: Running) -> Cluster:
    """Return a client of that scheduler."""
    wait_for(lambda: _cluster.n_workers == running.number)
    return _cluster
