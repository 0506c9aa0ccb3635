"""Sweeps: trials of 2 workers against 1, overhead of a trial, memory of the client, and a simulated cluster.

``python -m benchmarks.sweep [--seconds 60] [--tiny 10000] [--workers 64]`` prints a line for each figure, and with
``--json FILE`` writes them.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn.cluster import Cluster, InProcess
from fastnn.datasets import load_dataset
from fastnn.sweep.run import Sweep, SweepOptions
from fastnn.sweep.space import load_space

if TYPE_CHECKING:
    from fastnn.cluster import Task
    from fastnn.datasets import Dataset

# A trial of some 0.3 s on one core: 10 epochs of 2,000 digits, as many as a search on a part of the data has.
SPACE = """
base = "mnist"
epochs = {epochs}
normalise = false
rotation = 0.0
scale = 0.0
shear = 0.0
shift = 0.0
elastic_alpha = 0.0
hidden = [{hidden}]
[lr]
low = 0.003
high = 0.03
log = true
[label_smoothing]
low = 0.0
high = 0.1
"""


def sweep_of(folder: Path, name: str, data: Dataset, epochs: int, hidden: str, **options: Any) -> Sweep:
    """Return a sweep with a new study."""
    path = folder / f"{name}.toml"
    path.write_text(SPACE.format(epochs=epochs, hidden=hidden))
    return Sweep(data, load_space(path), folder / f"{name}.study", SweepOptions(sampler="random", **options))


def trials_in(folder: Path, workers: int, seconds: float, data: Dataset) -> dict[str, float]:
    """Return the trials that end in some seconds, once the workers are warm, and the overhead of each.

    The overhead is the time of a worker for a trial, beside its training and measuring in one process.
    """
    with Cluster(workers=workers) as cluster:
        list(sweep_of(folder, f"warm{workers}", data, 10, "64, 32", trials=2 * workers).run(cluster))
        sweep = sweep_of(folder, f"main{workers}", data, 10, "64, 32", seconds=seconds)
        start = time.perf_counter()
        done = sum(result.state == "complete" for result in sweep.run(cluster))
        spent = time.perf_counter() - start
    return {"trials": done, "seconds": spent, "worker_seconds_per_trial": workers * spent / done}


def alone(folder: Path, n: int, data: Dataset) -> float:
    """Return the seconds of a trial in this process, without a study and Dask."""
    from fastnn.sweep.trial import TrialJob, TrialWork

    sweep = sweep_of(folder, "alone", data, 10, "64, 32", trials=n)
    list(sweep.run(InProcess()))
    times = []
    for found in sweep.study:
        start = time.perf_counter()
        TrialWork(sweep.validation)(sweep.data, TrialJob(0, sweep.space.recipe(found.params)), _task())
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def _task() -> Task:
    from fastnn.cluster import Task

    return Task()


def peak_memory() -> float:
    """Return the peak memory of this process in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def memory_of_client(folder: Path, n: int) -> list[tuple[int, float]]:
    """Return the peak memory of the client after some of many tiny trials."""
    data, seen = load_dataset("drawn:40"), []
    with Cluster(workers=2) as cluster:
        sweep = sweep_of(folder, "tiny", data, 1, "2", trials=n)
        for done, _ in enumerate(sweep.run(cluster), 1):
            if done % max(1, n // 10) == 0:
                seen.append((done, peak_memory()))
    return seen


def sleep(_: Dataset, seconds: float, __: Task) -> float:
    """Take as long as a trial, without training."""
    time.sleep(seconds)
    return seconds


def simulate(workers: int, seconds: float, n: int) -> float:
    """Return the share of the time that workers are busy with tasks that sleep, with client and scheduler as usual."""
    from distributed import LocalCluster

    data = load_dataset("drawn:40")
    web = {"dashboard": False, "dashboard_address": "127.0.0.1:0"}
    options = {"processes": False, "protocol": "tcp://", "scheduler_kwargs": web, "memory_limit": 0}
    with (
        LocalCluster(
            n_workers=workers, threads_per_worker=1, worker_dashboard_address="127.0.0.1:0", **options
        ) as local,
        Cluster(local.scheduler_address) as cluster,
    ):
        list(cluster.map(sleep, [0.0] * workers, data))
        start = time.perf_counter()
        total = sum(result for _, result in cluster.map(sleep, [seconds] * n, data))
        return total / (workers * (time.perf_counter() - start))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="of the comparison of 2 workers with 1")
    parser.add_argument("--tiny", type=int, default=10_000, help="number of tiny trials")
    parser.add_argument("--workers", type=int, default=64, help="workers of the simulated cluster")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    given = parser.parse_args()
    figures: dict[str, Any] = {}
    data = load_dataset("drawn:2000")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        one, two = (trials_in(folder, workers, given.seconds, data) for workers in (1, 2))
        own = alone(folder, 8, data)
        ratio = two["trials"] / one["trials"] * one["seconds"] / two["seconds"]
        figures |= {"one_worker": one, "two_workers": two, "ratio": ratio, "trial_alone": own}
        figures["overhead_ms"] = 1000 * (one["worker_seconds_per_trial"] - own)
        print(f"2 workers finish {ratio:.2f} x the trials of 1 ({two['trials']:,.0f} and {one['trials']:,.0f})")
        print(f"overhead of a trial beside its {own * 1000:.0f} ms: {figures['overhead_ms']:.0f} ms")
        figures["memory"] = memory_of_client(folder, given.tiny)
        for done, peak in figures["memory"]:
            print(f"client after {done:,} tiny trials: {peak:.0f} MiB")
    figures["busy"] = {}
    for seconds in (0.1, 0.3, 1.0, 3.0):
        busy = simulate(given.workers, seconds, int(max(4, 6 / seconds)) * given.workers)
        figures["busy"][str(seconds)] = busy
        print(f"{given.workers} workers with tasks of {seconds:g} s: busy {busy:.0%} of the time")
    if given.json is not None:
        given.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
