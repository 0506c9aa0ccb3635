"""How Dask is imported and set up; nothing of it is seen unless something fails."""

from __future__ import annotations

import contextlib
import logging
import signal
import warnings
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING, Any

from fastnn.errors import MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ENVIRONMENT = {
    "DASK_LOGGING__DISTRIBUTED": "critical",
    **dict.fromkeys(("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"),
}
"""Of the workers of a local cluster, one process for each core: libraries must not start a thread for each core too."""


@contextlib.contextmanager
def needs_extra() -> Iterator[None]:
    """Raise MissingExtraError in place of an ImportError."""
    try:
        yield
    except ImportError:
        raise MissingExtraError("work on several processes or machines", "sweep") from None


@needs_extra()
def import_distributed() -> Any:
    """Return the module distributed, whose logs are off."""
    import dask.config

    # Before it is imported: it sets up its logs then.
    dask.config.set({"logging": {"distributed": "critical"}})
    import distributed

    return distributed


@contextlib.contextmanager
def settings() -> Iterator[None]:
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
            "DASK_DISTRIBUTED__ADMIN__TICK__INTERVAL": "1s",
        },
        # Dask measures memory, processor time and delays of its event loops all the time; nobody looks at that.
        "distributed.admin.system-monitor.interval": "10s",
        "distributed.admin.tick.interval": "1s",
        "distributed.worker.profile.enabled": False,
    }
    with dask.config.set(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=VersionMismatchWarning)
        yield


@contextlib.contextmanager
def blocked_signals() -> Iterator[None]:
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
def quiet() -> Iterator[None]:
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


def ignore(function: Callable[..., Any]) -> Callable[..., None]:
    """Return a function that calls another one and ignores what it raises: the scheduler may be gone."""

    def call(*args: Any, **kwargs: Any) -> None:
        with contextlib.suppress(Exception):
            function(*args, **kwargs)

    return call
