"""Three hosts in network namespaces of their own, with cables to a bridge; a worker is killed, and a cable is pulled.

Everything is gone when the processes end.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.helpers import TIMEOUT, blobs, wait_for
from tests.sweep.forks import fork, keep_workers, scheduler

if TYPE_CHECKING:
    from collections.abc import Callable

_NEW_USER, _NEW_NETWORK = 0x10000000, 0x40000000
# Addresses for tests of networks (RFC 2544), which are nobody's.
_BRIDGE = "198.18.0.1"
_SETTINGS = {
    # A worker without a heartbeat counts as dead after 5 s, the least that Dask takes.
    "distributed.scheduler.worker-ttl": "1s",
    # Workers on a machine without time for them count as dead too.
    "distributed.scheduler.allowed-failures": 10,
}


def run(folder: str, ready: Callable[[str], None]) -> None:
    """Do a sweep on the hosts and in this process; send what both found, or why there are no hosts, as JSON."""
    fault = _enter_network()
    ready(json.dumps({"fault": fault} if fault else _sweep(Path(folder))))


def _enter_network() -> str | None:
    """Give this process a network of its own with a bridge; return why that is not possible, or None."""
    if shutil.which("ip") is None:
        return "the command ip (iproute2) is not installed"
    user, group = os.getuid(), os.getgid()
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "unshare"):
        return "this system has no network namespaces"
    if libc.unshare(_NEW_NETWORK | (_NEW_USER if user else 0)):
        return f"network namespaces are not allowed here ({os.strerror(ctypes.get_errno())})"
    try:
        if user:
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/uid_map").write_text(f"0 {user} 1")
            Path("/proc/self/gid_map").write_text(f"0 {group} 1")
        _ip("link set lo up", "link add bridge type bridge", f"addr add {_BRIDGE}/24 dev bridge", "link set bridge up")
    except (OSError, subprocess.CalledProcessError) as error:
        return f"no bridge can be made here ({error})"
    return None


def _ip(*commands: str) -> None:
    for command in commands:
        subprocess.run(["ip", *command.split()], check=True, capture_output=True)


def _start_host(number: int, address: str, folder: Path) -> None:
    """Start a host with a worker; its cable ends in the bridge's port of that number."""

    def host(ready: Callable[[str], None]) -> None:
        ctypes.CDLL(None).unshare(_NEW_NETWORK)
        ready("")
        wait_for(_has_cable)
        _ip("link set lo up", f"addr add 198.18.0.{1 + number}/24 dev cable", "link set cable up")
        own = folder / f"host{number}"
        os.environ["FASTNN_CACHE_DIR"] = str(own / "cache")
        keep_workers(1, address, str(own))

    process, _ = fork(host)
    port = f"port{number}"
    _ip(f"link add {port} type veth peer name cable netns {process}", f"link set {port} master bridge up")


def _has_cable() -> bool:
    return any(name == "cable" for _, name in socket.if_nameindex())


def _sweep(folder: Path) -> dict[str, Any]:
    import dask.config
    from distributed import Client

    from fastnn.cluster import Cluster, InProcess
    from fastnn.sweep.options import SweepOptions
    from fastnn.sweep.run import Sweep
    from fastnn.sweep.space import load_space
    from tests.sweep.test_run import SPACE, found

    dask.config.set(_SETTINGS)
    _, address = scheduler(_BRIDGE)
    for number in (1, 2, 3):
        _start_host(number, address, folder)
    space = folder / "s.toml"
    space.write_text(SPACE)

    def sweep(name: str, trials: int) -> Sweep:
        return Sweep(
            blobs(120), load_space(space), folder / f"{name}.study", SweepOptions(trials=trials, sampler="random")
        )

    with Client(address, set_as_default=False) as client:
        client.wait_for_workers(3, timeout=TIMEOUT)
        hosts = {where.rpartition(":")[0].rpartition(".")[2]: pid for where, pid in client.run(os.getpid).items()}
        with Cluster(address) as cluster:
            for number, _ in enumerate(sweep("hosts", 12).run(cluster)):
                if number == 1:
                    os.kill(hosts["2"], signal.SIGKILL)
                if number == 3:
                    _ip("link set port2 down")
            wait_for(lambda: not any("198.18.0.3" in where for where in client.nthreads()))
            _ip("link set port2 up")
            # Its worker learns that it was taken for dead, and another one takes its place.
            client.wait_for_workers(3, timeout=TIMEOUT)
            whole = sweep("hosts", 16)
            list(whole.run(cluster))
    serial = sweep("serial", 16)
    list(serial.run(InProcess()))
    return {"hosts": found(whole), "serial": found(serial), "names": sorted(hosts)}
