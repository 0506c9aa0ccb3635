"""Sweeps: 2 workers against 1, overhead of a trial, memory and choices of the client, and a simulated cluster.

``python -m benchmarks.sweep [--seconds 60] [--tiny 10000] [--workers 64]``; ``--only workers``, ``memory``, ``asking``
or ``simulation`` measures a part.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.page import add_page_option, as_table, show
from fastnn.cluster import Cluster, InProcess
from fastnn.datasets import load_dataset
from fastnn.sweep.options import SweepOptions
from fastnn.sweep.run import Sweep
from fastnn.sweep.space import load_space
from fastnn.sweep.trial import TrialJob, TrialResult, TrialWork

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from benchmarks.page import Row
    from fastnn.cluster import Task
    from fastnn.datasets import Dataset
    from fastnn.sweep.study import Study

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


_EPOCHS = 40
"""Of 20,000 digits: a trial of about a second on one core."""
_ASKED = 20
"""Trials whose choice is timed, in each size of a study."""


def sweep_of(folder: Path, name: str, data: Dataset, epochs: int, hidden: str, **options: Any) -> Sweep:
    """Return a sweep with a new study."""
    path = folder / f"{name}.toml"
    path.write_text(SPACE.format(epochs=epochs, hidden=hidden))
    chosen = SweepOptions(**{"sampler": "random", **options})
    return Sweep(data, load_space(path), folder / f"{name}.study", chosen)


def trials_a_second(folder: Path, workers: int, seconds: float, data: Dataset) -> float:
    """Return how many trials end in a second, once the workers are warm, from the first end to the last."""
    with Cluster(workers=workers) as cluster:
        list(sweep_of(folder, f"warm{workers}", data, _EPOCHS, "64, 32", trials=2 * workers).run(cluster))
        sweep = sweep_of(folder, f"main{workers}", data, _EPOCHS, "64, 32", seconds=seconds)
        ends = [time.perf_counter() for result in sweep.run(cluster) if result.state == "complete"]
    return (len(ends) - workers) / (ends[-1] - ends[workers - 1])


def alone(folder: Path, n: int, data: Dataset) -> float:
    """Return the seconds of a trial in this process, without a study and Dask."""
    sweep = sweep_of(folder, "alone", data, _EPOCHS, "64, 32", trials=n)
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


def memory_now() -> float:
    """Return the memory of this process in MiB, without what it shares with files."""
    fields = Path("/proc/self/status").read_text().split("RssAnon:")
    return int(fields[1].split()[0]) / 1024


def memory_of_client(folder: Path, n: int) -> list[tuple[int, float]]:
    """Return the memory of the client after some of many tiny trials."""
    data, seen = load_dataset("drawn:40"), []
    with Cluster(workers=2) as cluster:
        sweep = sweep_of(folder, "tiny", data, 1, "2", trials=n)
        for done, _ in enumerate(sweep.run(cluster), 1):
            if done % max(1, n // 10) == 0:
                seen.append((done, memory_now()))
    return seen


@dataclass(frozen=True)
class SleepingWork:
    """Takes as long as a trial, without training."""

    seconds: float

    def __call__(self, _: Dataset, job: TrialJob, __: Task) -> TrialResult:
        time.sleep(self.seconds)
        return TrialResult(
            job.number, "complete", accuracy=0.5, loss=1.0, size=1, seconds=self.seconds, weights="0" * 64
        )


@dataclass(frozen=True)
class SleepingCluster:
    """A cluster whose trials sleep."""

    cluster: Cluster
    seconds: float

    @property
    def n_workers(self) -> int:
        return self.cluster.n_workers

    def map(self, _: object, *args: Any, **options: Any) -> Generator[tuple[Any, Any], None, None]:
        return self.cluster.map(SleepingWork(self.seconds), *args, **options)


def simulate(folder: Path, workers: int, seconds: float, n: int) -> dict[str, float]:
    """Do trials that sleep, with the study, the client and the scheduler as usual; all workers are in this process.

    Returns
    -------
    dict
        ``busy``, the share of the time that workers sleep, and ``trials_per_second``.
    """
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
        list(sweep_of(folder, f"first {seconds}", data, 1, "2", trials=workers).run(SleepingCluster(cluster, 0.0)))
        sweep = sweep_of(folder, f"simulated {seconds}", data, 1, "2", trials=n)
        start = time.perf_counter()
        done = sum(1 for _ in sweep.run(SleepingCluster(cluster, seconds)))
        spent = time.perf_counter() - start
    return {"busy": done * seconds / (workers * spent), "trials_per_second": done / spent}


def compare_workers(folder: Path, options: argparse.Namespace) -> list[Row]:
    """Compare 2 workers with 1, and a worker's time for a trial with that of the trial alone."""
    data = load_dataset("drawn:20000")
    one, two = (trials_a_second(folder, workers, options.seconds, data) for workers in (1, 2))
    own = alone(folder, 4, data)
    return [
        ("trials of 2 workers in the time of 1", f"{two / one:.2f} x"),
        ("trials a second of 1 worker, of 2", f"{one:.2f}, {two:.2f}"),
        ("training and measuring of such a trial alone", f"{own * 1000:.0f} ms"),
        ("what a trial of 1 worker takes beside that", f"{1000 * (1 / one - own):.0f} ms"),
        ("of 2 workers, which share the cores with the client", f"{1000 * (2 / two - own):.0f} ms"),
    ]


def watch_client(folder: Path, options: argparse.Namespace) -> list[Row]:
    """Return the memory of a client at the tenth parts of a long sweep."""
    return [
        (f"memory of the client after {done:,} tiny trials", f"{memory:.0f} MiB")
        for done, memory in memory_of_client(folder, options.tiny)
    ]


def ask_of_many(folder: Path, options: argparse.Namespace) -> list[Row]:
    """Return the processor time of choosing and keeping a trial with TPE, in studies of several sizes."""
    data, rows = load_dataset("drawn:40"), []
    # The same study: random trials are made faster.
    filling, asking = (
        sweep_of(folder, "asked", data, 1, "2", trials=2 * options.tiny, sampler=sampler).study
        for sampler in ("random", "tpe")
    )
    values = np.random.default_rng(0)

    def do(study: Study) -> None:
        asked = study.ask()
        assert asked is not None
        study.tell(asked.number, (values.random(),), {}, "complete")

    for n in (options.tiny // 100, options.tiny // 10, options.tiny):
        while filling.count() < n:
            do(filling)
        do(asking)  # reads what the other one has written
        times = []
        for _ in range(_ASKED):
            start = time.process_time()
            do(asking)
            times.append(time.process_time() - start)
        rows.append((f"choosing and keeping a trial with TPE after {n:,}", f"{1000 * np.median(times):.0f} ms"))
    return rows


def simulate_cluster(folder: Path, options: argparse.Namespace) -> list[Row]:
    """Return what many workers do whose trials sleep."""
    rows, workers = [], options.workers
    for seconds in (0.0, 0.3, 1.0, 3.0):
        found = simulate(folder, workers, seconds, workers * (8 if seconds < 1 else 4))
        busy = f"; {found['busy']:.0%} of the workers busy" if seconds else ""
        rows.append((f"{workers} workers, trials of {seconds:g} s", f"{found['trials_per_second']:.0f} trials/s{busy}"))
    return rows


PARTS: dict[str, Callable[[Path, argparse.Namespace], list[Row]]] = {
    "workers": compare_workers,
    "memory": watch_client,
    "asking": ask_of_many,
    "simulation": simulate_cluster,
}


def main() -> None:
    """Measure, and write or print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="of the comparison of 2 workers with 1")
    parser.add_argument("--tiny", type=int, default=10_000, help="number of tiny trials")
    parser.add_argument("--workers", type=int, default=64, help="workers of the simulated cluster")
    parser.add_argument("--only", choices=PARTS, help="measure this part")
    add_page_option(parser)
    options = parser.parse_args()
    for part, run in PARTS.items():
        if options.only in (None, part):
            with tempfile.TemporaryDirectory() as folder:
                show(as_table(run(Path(folder), options)), f"sweep-{part}", options.page)


if __name__ == "__main__":
    main()
