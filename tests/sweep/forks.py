"""A process that has imported everything, and forks clusters: ``python -m tests.sweep.forks``.

For each line of its input, a JSON object with the fields of `Order`, it starts a scheduler and workers on loopback, and
prints the scheduler's address. A worker that ends is replaced by a new one, as Dask's nanny does. A new interpreter
takes a second of CPU time to import Dask and fastnn; a fork takes none. For a path in JSON it runs `tests.sweep.hosts`.
"""

from __future__ import annotations

import asyncio
import ctypes
import importlib.metadata
import json
import os
import signal
import sys
import traceback
from dataclasses import dataclass, field
from importlib.abc import MetaPathFinder
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

SETTINGS = {
    "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1",
    "DASK_DISTRIBUTED__SCHEDULER__WORKER_SATURATION": "1.0",
    "DASK_LOGGING__DISTRIBUTED": "critical",
    # A fork has one thread only; the others would be missing.
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
}
"""Environment of this process."""
_WEB = {"dashboard": False, "dashboard_address": "127.0.0.1:0"}
"""Dask has a web server in each process."""


@dataclass(frozen=True)
class Order:
    """A cluster to start.

    Attributes
    ----------
    workers : int
    folder : str
        For the workers' files and cache.
    versions : dict of str to str
        The versions that its workers have of some packages; "" if they do not have it.
    """

    workers: int
    folder: str
    versions: dict[str, str] = field(default_factory=dict)


def preload() -> None:
    """Import what workers need, and load the kernels of a training."""
    for name in ("distributed", "sklearn.model_selection", "fastnn.sklearn", "fastnn.sweep.run", "tests.sweep.work"):
        importlib.import_module(name)
    from fastnn.crossval import cross_validate
    from fastnn.recipe import Recipe
    from tests.helpers import blobs

    recipe = Recipe(name="t", hidden=(4,), rule="backprop", activation="relu", init="he", epochs=1)
    cross_validate(blobs(40), recipe, folds=2, threads=1)


def fork(run: Callable[[Callable[[str], None]], None]) -> tuple[int, str]:
    """Run a function in a new process; return its ID, and the text that it sends when it is ready.

    Parameters
    ----------
    run : callable
        Takes a function that sends the text.
    """
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        try:
            _end_with_parent()
            pipe = os.fdopen(writing, "w")
            run(lambda text: print(text, file=pipe, flush=True))
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(writing)
    # A line: processes that the new one forks keep the other end open.
    with os.fdopen(reading) as pipe:
        return process, pipe.readline().strip()


def _end_with_parent() -> None:
    """Let the system kill this process when its parent ends, where it can."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def serve(server: Callable[[], Any], ready: Callable[[str], None]) -> None:
    """Run a scheduler or a worker to its end."""

    async def serving() -> None:
        async with server() as running:
            ready(running.address)
            await running.finished()

    asyncio.run(serving())


def scheduler(host: str, prepare: Callable[[], None] = lambda: None) -> tuple[int, str]:
    """Fork a scheduler; return its process ID and its address."""
    from distributed import Scheduler

    def schedule(ready: Callable[[str], None]) -> None:
        prepare()
        serve(lambda: Scheduler(host=host, port=0, **_WEB), ready)

    return fork(schedule)


def keep_workers(number: int, address: str, folder: str, prepare: Callable[[], None] = lambda: None) -> None:
    """Fork workers, and a new one whenever one ends; does not return.

    Parameters
    ----------
    number : int
    address : str
        That of the scheduler.
    folder : str
    prepare : callable
        Called in each new process.
    """
    from distributed import Worker

    def work(ready: Callable[[str], None]) -> None:
        prepare()
        serve(lambda: Worker(address, nthreads=1, memory_limit=0, local_directory=folder, **_WEB), ready)

    for _ in range(number):
        fork(work)
    while True:
        os.wait()
        fork(work)


class _Missing(MetaPathFinder):
    """Does not find a package."""

    def __init__(self, package: str) -> None:
        self.package = package

    def find_spec(self, name: str, *_: Any) -> None:
        if name.partition(".")[0] == self.package:
            raise ModuleNotFoundError(f"No module named {name!r}")


def fake(versions: dict[str, str]) -> None:
    """Let packages of this process have other versions, or be missing."""
    real = importlib.metadata.distribution

    def distribution(package: str) -> Any:
        return SimpleNamespace(version=versions[package]) if versions.get(package) else real(package)

    importlib.metadata.distribution = distribution  # type: ignore[assignment]
    for name in list(sys.modules):
        version = versions.get(name.partition(".")[0])
        if version == "":
            del sys.modules[name]
        elif version is not None and "__version__" in vars(sys.modules[name]):
            sys.modules[name].__version__ = version  # type: ignore[attr-defined]
    for package, version in versions.items():
        if not version:
            sys.meta_path.insert(0, _Missing(package))


def start(order: Order) -> str:
    """Start a cluster; return the scheduler's address."""

    def keep(ready: Callable[[str], None]) -> None:
        # Its own cache, as on another machine: the data must be sent.
        os.environ["FASTNN_CACHE_DIR"] = str(Path(order.folder) / "cache")
        missing = {package: version for package, version in order.versions.items() if not version}
        _, address = scheduler("127.0.0.1", lambda: fake(missing))
        ready(address)
        keep_workers(order.workers, address, order.folder, lambda: fake(order.versions))

    return fork(keep)[1]


def _obey(order: Any) -> str:
    if isinstance(order, str):
        from tests.sweep import hosts

        return fork(lambda ready: hosts.run(order, ready))[1]
    return start(Order(**order))


def main() -> None:
    """Start clusters until the input ends."""
    preload()
    for line in sys.stdin:
        print(json.dumps({"answer": _obey(json.loads(line))}), flush=True)
    if os.getsid(0) == os.getpid():
        # It leads the processes that it has forked, and whoever started it has ended.
        os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
