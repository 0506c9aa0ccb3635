"""Data sets that are larger than memory: converting, training in place, predicting, and finding wrong labels.

    python -m benchmarks.large_data --digits 1000000,8000000 --folder FOLDER

Makes a store of drawn digits of each size in FOLDER (784 bytes a digit), trains one epoch of 784-200-40-10 on it, in
place and, if memory is large enough, from memory, and predicts all of it. Each figure comes from a process of its own.

- Converting: IDX file to store, in MB of images a second; beside it a plain copy of the file, flushed to the disk.
- Training with the recipe original: samples a second in the epoch, from memory and in place with the store in the page
  cache; with the recipe mnist, which normalises and distorts images, of the smaller store alone; and seconds for
  opening, splitting and the epoch, also after the system was asked to forget the store's pages (posix_fadvise,
  DONTNEED).
- Predicting: outputs of all digits on all cores, by a network that was trained for one epoch on 20,000 digits, since
  untrained ones decide too little. Evaluating: the metrics of all digits.
- Finding wrong labels, copies and drawings that are not digits, as ``fastnn data clean --folds 2 --repeats 1
  --epochs 1`` does, with two networks side by side.
- Anonymous memory: the most that a process had at a time, by /proc/self/status: its own memory, without pages of files,
  which the system takes back when it needs them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from benchmarks.page import add_page_option, as_table, show

if TYPE_CHECKING:
    from collections.abc import Callable

_SIZES = (784, 200, 40, 10)
_TRAINED_ON, _ROUNDS = 20_000, 3
_MOST_DISTORTED = 2_000_000
"""Digits up to which training on normalised and distorted images is measured too; it takes six times as long."""
_INTERVAL = 0.05
"""Seconds between two looks at the memory."""


def forget(store: Path) -> None:
    """Ask the system to drop the pages of all files in a folder from its cache."""
    for path in store.iterdir():
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(handle)


def anonymous_bytes() -> int:
    """Return the anonymous memory of this process."""
    # Not smaps_rollup: it looks at each page, and threads that need a new one wait for it.
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) << 10
    raise RuntimeError("the system does not tell how much memory is anonymous")


class Watch:
    """Looks at the anonymous memory of this process until the context ends; `peak` is the most, in bytes."""

    def __enter__(self) -> Self:
        self.peak, self._ends = 0, threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def _look(self) -> None:
        while True:
            self.peak = max(self.peak, anonymous_bytes())
            if self._ends.wait(_INTERVAL):
                return

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._thread.join()


def train(store: Path, in_memory: bool, preset: str) -> dict[str, float]:
    """Train one epoch; return its rate, the time from opening to its end, and the peak of memory."""
    from dataclasses import replace

    import fastnn
    from fastnn.training import Trainer

    begin = time.perf_counter()
    with Watch() as watch:
        dataset = fastnn.load_dataset(store)
        if in_memory:
            dataset = replace(dataset, features=np.array(dataset.features))
        training, test = fastnn.split(dataset)
        recipe = fastnn.presets[preset].replace(hidden=_SIZES[1:-1])
        trainer = Trainer(recipe.network(_SIZES[0], _SIZES[-1]), training, recipe, test)
        compiling = trainer.warm_up()
        report = trainer.epoch(1)
    seconds = time.perf_counter() - begin - compiling
    return {"rate": report.samples_per_second, "seconds": seconds, "peak": watch.peak, "loss": report.loss}


def predict(store: Path) -> dict[str, float]:
    """Predict and evaluate all digits of a store; return the rates and the peak of memory."""
    import fastnn

    dataset = fastnn.load_dataset(store)
    recipe = fastnn.Recipe(hidden=_SIZES[1:-1])
    network = recipe.network(_SIZES[0], _SIZES[-1])
    list(fastnn.train(network, dataset.take(np.arange(min(len(dataset), _TRAINED_ON))), recipe.replace(epochs=1)))
    model = fastnn.Model((network,), dataset.names)
    model.outputs(dataset.images[:10_000])
    with Watch() as watch:
        seconds = []
        for _ in range(_ROUNDS):
            begin = time.perf_counter()
            for _part, _outputs in model.outputs_in_parts(dataset.features):
                pass
            seconds.append(time.perf_counter() - begin)
        begin = time.perf_counter()
        fastnn.evaluate(model, dataset)
        evaluating = time.perf_counter() - begin
    return {"rate": len(dataset) / min(seconds), "evaluated": len(dataset) / evaluating, "peak": watch.peak}


def clean(store: Path) -> dict[str, float]:
    """Find the issues of all digits of a store; return the seconds and the peak of memory."""
    import fastnn
    from fastnn.label_issues import find_issues

    with Watch() as watch:
        begin = time.perf_counter()
        found = find_issues(fastnn.load_dataset(store), folds=2, repeats=1, epochs=1)
        seconds = time.perf_counter() - begin
    return {"seconds": seconds, "peak": watch.peak, "issues": len(found.issues)}


def disk_rate(source: Path, target: Path) -> float:
    """Return how many MB a second a plain copy of a file writes, flushed to the disk."""
    begin, size = time.perf_counter(), 0
    with source.open("rb") as file, target.open("wb") as copy:
        while piece := file.read(1 << 22):
            copy.write(piece)
            size += len(piece)
        copy.flush()
        os.fsync(copy.fileno())
    seconds = time.perf_counter() - begin
    target.unlink()
    return size / seconds / 1e6


def convert(source: str, store: Path) -> dict[str, float]:
    """Convert a source to a store; return the rate in MB of samples a second and the peak of memory."""
    from fastnn.datasets.store_writer import write_store

    with Watch() as watch:
        begin = time.perf_counter()
        dataset = write_store(source, store)
        seconds = time.perf_counter() - begin
    features: Any = dataset.features
    size = features.size * features.dtype.itemsize
    return {"rate": size / seconds / 1e6, "seconds": seconds, "peak": watch.peak}


def in_process(*args: str) -> dict[str, float]:
    """Return the result of one of the functions above, called in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.large_data", "--child", *args]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    found: dict[str, float] = json.loads(output)
    return found


def measure(n: int, folder: Path, memory: int) -> dict[str, Any]:
    """Return all figures for one number of digits."""
    from fastnn.datasets import load_dataset
    from fastnn.datasets.writers import write_dataset

    store, copy = folder / f"drawn-{n}.fnn", folder / f"copy-{n}.fnn"
    figures: dict[str, Any] = {"digits": n}
    if not store.exists():
        figures["draw"] = in_process("convert", f"drawn:{n}", str(store))
    images = folder / f"drawn-{n}-images-idx3-ubyte"
    if not images.exists():
        write_dataset(load_dataset(store), images)
    figures["disk"] = disk_rate(images, folder / "copy.tmp")
    figures["convert"] = in_process("convert", str(images), str(copy))
    for path in copy.iterdir():
        path.unlink()
    copy.rmdir()
    forget(store)
    in_place, in_memory, plain = "", "in memory", "original"
    figures["cold"] = in_process("train", str(store), in_place, plain)
    figures["warm"] = in_process("train", str(store), in_place, plain)
    if n * _SIZES[0] * 1.5 < memory:
        figures["in memory"] = in_process("train", str(store), in_memory, plain)
        if figures["in memory"]["loss"] != figures["warm"]["loss"]:
            raise RuntimeError("training in place does not do what training from memory does")
    if n <= _MOST_DISTORTED:
        both = [in_process("train", str(store), where, "mnist") for where in (in_memory, in_place)]
        figures["distorted in memory"], figures["distorted"] = both
    figures["predict"] = in_process("predict", str(store))
    figures["clean"] = in_process("clean", str(store))
    return figures


def _rate(one: dict[str, Any], name: str) -> str:
    return "-" if name not in one else f"{one[name]['rate']:,.0f} digits/s"


def _most_memory(one: dict[str, Any]) -> str:
    peaks = [one[name]["peak"] for name in ("convert", "warm", "cold", "predict")]
    return f"{max(peaks) / 1e6:,.0f} MB"


_ROWS: dict[str, Callable[[dict[str, Any]], str]] = {
    "IDX file to store": lambda one: f"{one['convert']['rate']:,.0f} MB/s",
    "the disk itself, a copy of the file": lambda one: f"{one['disk']:,.0f} MB/s",
    "training from memory": lambda one: _rate(one, "in memory"),
    "training in place, store in the page cache": lambda one: _rate(one, "warm"),
    "with recipe mnist, which normalises and distorts: from memory": lambda one: _rate(one, "distorted in memory"),
    "the same in place": lambda one: _rate(one, "distorted"),
    "the plain training with opening and splitting": lambda one: f"{one['warm']['seconds']:,.1f} s",
    "the same with a cold disk": lambda one: f"{one['cold']['seconds']:,.1f} s",
    "predicting by all cores": lambda one: f"{one['predict']['rate']:,.0f} digits/s",
    "evaluating": lambda one: f"{one['predict']['evaluated']:,.0f} digits/s",
    "most anonymous memory of all of them": _most_memory,
    "finding wrong labels, 2 folds of one epoch": lambda one: f"{one['clean']['seconds']:,.0f} s",
    "most anonymous memory of that": lambda one: f"{one['clean']['peak'] / 1e6:,.0f} MB",
}


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--digits", default="1000000,8000000")
    parser.add_argument("--folder", type=Path, default=Path())
    parser.add_argument("--out", type=Path, help="write all figures to this JSON file")
    add_page_option(parser)
    parser.add_argument("--child", nargs="+", help="(used by the program itself)")
    options = parser.parse_args()
    if options.child is not None:
        name, *rest = options.child
        if name == "train":
            print(json.dumps(train(Path(rest[0]), in_memory=bool(rest[1]), preset=rest[2])))
        elif name in ("predict", "clean"):
            print(json.dumps({"predict": predict, "clean": clean}[name](Path(rest[0]))))
        else:
            print(json.dumps(convert(rest[0], Path(rest[1]))))
        return
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    figures = [measure(int(n), options.folder, memory) for n in options.digits.split(",")]
    rows = [(name, *(cell(one) for one in figures)) for name, cell in _ROWS.items()]
    show(as_table(rows, *(f"{one['digits']:,} digits" for one in figures)), "large-data", options.page)
    if options.out is not None:
        options.out.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
