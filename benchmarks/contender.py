"""The contenders of :mod:`benchmarks.time_to_accuracy`; run as a program, one of them in a process of its own.

    python -m benchmarks.contender KEY SEED EPOCHS FOLDER STARTED

Prints one JSON object a line after each epoch: the accuracy on the test set, and the wall and CPU seconds since the
process started. Tests between epochs are not counted, for any contender. FOLDER holds MNIST, see
:mod:`benchmarks.peers.mnist_arrays`; STARTED is ``time.monotonic()`` of the parent just before it started this process.
"""

# Only the standard library may be imported here: what a contender imports counts in its time.
from __future__ import annotations

import importlib
import json
import sys
import time
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    Predict = Callable[[np.ndarray], Any]
    Report = Callable[[Predict], None]


@dataclass(frozen=True)
class Contender:
    """A way to learn MNIST.

    Attributes
    ----------
    key : str
        Short name, for the command line.
    name : str
        Name in the table and the chart.
    home : str
        ``module:function`` in `benchmarks.peers`; called with the folder, seed, epochs and a function to call after
        each epoch with what returns the classes of uint8 images.
    epochs : int
    needs : str
        The package that must be installed.
    cold : bool
        Whether it starts with empty caches; it then runs once.
    """

    key: str
    name: str
    home: str
    epochs: int
    needs: str
    cold: bool = False

    @property
    def ours(self) -> bool:
        """Whether it is fastnn."""
        return self.needs == "fastnn"

    def missing(self) -> str | None:
        """Return what keeps it from running here, or None."""
        return None if find_spec(self.needs) else f"{self.name}: {self.needs} is not installed"


CONTENDERS = (
    Contender("fastnn-7", "fastnn, 7 epochs", "mnist_fastnn:preset", 7, "fastnn"),
    Contender("fastnn-12", "fastnn, 12 epochs", "mnist_fastnn:preset", 12, "fastnn"),
    Contender("fastnn-45", "fastnn, 45 epochs", "mnist_fastnn:preset", 45, "fastnn"),
    Contender("fastnn-cold", "fastnn, 7 epochs, from empty caches", "mnist_fastnn:preset", 7, "fastnn", cold=True),
    Contender("torch-mlp", "PyTorch MLP, 10 epochs", "mnist_torch:plain_mlp", 10, "torch"),
    Contender(
        "torch-mlp-affine", "PyTorch MLP, affine distortion, 10 epochs", "mnist_torch:distorted_mlp", 10, "torch"
    ),
    Contender("torch-small-cnn", "PyTorch CNN, 2 strided layers, 2 epochs", "mnist_torch:small_cnn", 2, "torch"),
    Contender("torch-cnn-1", "PyTorch CNN, 3 layers, 1 epoch", "mnist_torch:deeper_cnn", 1, "torch"),
    Contender("torch-cnn-2", "PyTorch CNN, 3 layers, 2 epochs", "mnist_torch:deeper_cnn", 2, "torch"),
    Contender(
        "torch-cnn-affine", "PyTorch CNN, affine distortion, 10 epochs", "mnist_torch:distorted_cnn", 10, "torch"
    ),
    Contender("jax-mlp-affine", "JAX MLP, affine distortion, 10 epochs", "mnist_jax:distorted_mlp", 10, "jax"),
    Contender("sklearn-mlp", "scikit-learn MLP, 12 epochs", "mnist_sklearn:classifier", 12, "sklearn"),
)

BY_KEY = {contender.key: contender for contender in CONTENDERS}


class Clock:
    """Wall and CPU seconds since a process started, without what is skipped.

    Parameters
    ----------
    started : float
        ``time.monotonic()`` when the process was started; it is the same clock in all processes of a machine.
    """

    def __init__(self, started: float) -> None:
        self._wall, self._cpu = started, 0.0

    def read(self) -> tuple[float, float]:
        """Return wall and CPU seconds."""
        return time.monotonic() - self._wall, _cpu_seconds() - self._cpu

    def skip(self, work: Callable[[], Any]) -> Any:
        """Return the result of something that is not counted."""
        wall, cpu = time.monotonic(), _cpu_seconds()
        try:
            return work()
        finally:
            self._wall += time.monotonic() - wall
            self._cpu += _cpu_seconds() - cpu


def _cpu_seconds() -> float:
    """Return the CPU seconds of this process and of the children that it has waited for."""
    try:
        import resource
    except ImportError:  # on Windows
        return time.process_time()
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def main(arguments: list[str]) -> None:
    """Train one contender and print what it reaches after each epoch."""
    key, seed, epochs, folder, started = arguments
    clock = Clock(float(started))
    epoch = 0

    def report(predict: Predict) -> None:
        nonlocal epoch
        epoch += 1
        wall, cpu = clock.read()

        def test() -> None:
            line = {"epoch": epoch, "accuracy": _test_accuracy(predict, folder), "wall": wall, "cpu": cpu}
            print(json.dumps(line), flush=True)

        clock.skip(test)

    module, name = BY_KEY[key].home.split(":")
    train: Callable[..., None] = getattr(importlib.import_module(f"benchmarks.peers.{module}"), name)
    train(folder, int(seed), int(epochs), report)


def _test_accuracy(predict: Predict, folder: str) -> float:
    from benchmarks.peers import mnist_arrays

    images, labels = mnist_arrays.test(folder)
    return float((predict(images) == labels).mean())


if __name__ == "__main__":
    main(sys.argv[1:])
