"""The training loop: epochs in Python, samples in the compiled kernel."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn.engine import Engine, Prepared
from fastnn.errors import DataError, TrainingError
from fastnn.metrics import mean_loss
from fastnn.model import Inputs, Model

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from fastnn.datasets import Dataset
    from fastnn.network import Network
    from fastnn.recipes import Recipe

    OnChunk = Callable[["ChunkReport"], None]

_CHUNK_WEIGHTS = 1 << 28
"""Weights that a chunk of samples may touch: some milliseconds of work, after which Ctrl-C and progress get a turn."""


@dataclass(frozen=True)
class EpochReport:
    """What one epoch did.

    Attributes
    ----------
    epoch : int
        The first one is 1.
    lr : float
        Learning rate of the epoch.
    loss, accuracy : float
        Mean loss (see :func:`fastnn.metrics.mean_loss`) and share of hits on the training samples, each taken just
        before the network learnt from the sample.
    test_loss, test_accuracy : float or None
        On the test set after the epoch; None without one.
    samples_per_second : float
        Of the training alone.
    seconds : float
        Of the training alone, compilation not included.
    test_seconds : float
        Of the test.
    """

    epoch: int
    lr: float
    loss: float
    accuracy: float
    test_loss: float | None
    test_accuracy: float | None
    samples_per_second: float
    seconds: float
    test_seconds: float

    def as_dict(self) -> dict[str, Any]:
        """Return the values, fit for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class ChunkReport:
    """How far an epoch is.

    Attributes
    ----------
    epoch : int
    done, total : int
        Samples of this epoch.
    loss, accuracy : float
        Over the samples done, as in :class:`EpochReport`.
    """

    epoch: int
    done: int
    total: int
    loss: float
    accuracy: float


def train(
    network: Network,
    dataset: Dataset,
    recipe: Recipe,
    *,
    test: Dataset | None = None,
    first_epoch: int = 1,
    on_chunk: OnChunk | None = None,
) -> Iterator[EpochReport]:
    """Train a network in place, one sample at a time, and report on each epoch.

    The same network, data and recipe give the same weights, bit for bit. The order of epoch k depends on the seed
    and k alone, so that training can be taken up after any epoch.

    Parameters
    ----------
    network : Network
        Changed in place; whole whenever a report has been given.
    dataset : Dataset
        What to learn.
    recipe : Recipe
        Epochs, learning rates, seed and the rest; what concerns the network's making and the split is not looked at.
    test : Dataset, optional
        Measured after each epoch.
    first_epoch : int
        Where to begin; epochs before count as done.
    on_chunk : callable, optional
        Called with a :class:`ChunkReport` every few milliseconds. What it raises ends the training, in the midst of
        an epoch.

    Yields
    ------
    EpochReport

    Raises
    ------
    DataError
        If the data do not fit the network.
    TrainingError
        If the loss or a weight is no finite number any more.
    """
    learner = Learner(network, dataset, recipe, test)
    learner.warm_up()
    for epoch in range(first_epoch, recipe.epochs + 1):
        yield learner.epoch(epoch, on_chunk)


class Learner:
    """A network with its data made ready; what :func:`train` is a loop over.

    Parameters
    ----------
    network, dataset, recipe, test
        As for :func:`train`.

    Attributes
    ----------
    kernel : str
        "ink" or "dense", as taken for the first layer.
    share : float
        Mean share of pixels of `dataset` that are not paper.
    """

    def __init__(self, network: Network, dataset: Dataset, recipe: Recipe, test: Dataset | None = None) -> None:
        for part in (dataset, test):
            if part is not None:
                _check_fit(network, part)
        self._network, self._recipe = network, recipe
        self._engine = Engine(network)
        inputs: Inputs = "ink" if recipe.inputs == "ink" else "paper"
        self._images = Prepared(dataset.images, inputs, network.dtype, recipe.kernel)
        self._labels = dataset.labels
        self.kernel, self.share = self._images.kernel, self._images.share
        self._test_images = None if test is None else Prepared(test.images, inputs, network.dtype, self.kernel)
        self._test_labels = None if test is None else test.labels
        self._chunk = max(32, min(1024, _CHUNK_WEIGHTS // network.parameters.size // 32 * 32))

    def warm_up(self) -> float:
        """Compile or load the kernels without changing the network; return the seconds that it took."""
        start = time.perf_counter()
        self._engine.open(self._images)
        self._engine.train(self._images, self._labels, np.empty(0, dtype=np.int64), 0.0, np.zeros(2))
        self._engine.close()
        self._engine.outputs(Prepared(np.empty((0, self._images.pixels), dtype=np.uint8), "paper", self._network.dtype))
        return time.perf_counter() - start

    def epoch(self, epoch: int, on_chunk: OnChunk | None = None) -> EpochReport:
        """Train one epoch and measure the test set; see :func:`train`."""
        start = time.perf_counter()
        lr = self._recipe.lr_at(epoch)
        totals = self._train_epoch(epoch, lr, on_chunk)
        trained = time.perf_counter()
        test_loss, test_accuracy = self._measure()
        if test_loss is not None and not np.isfinite(test_loss):
            raise _diverged(epoch, lr)
        n, seconds = len(self._labels), trained - start
        return EpochReport(
            epoch=epoch,
            lr=lr,
            loss=totals[0] / n,
            accuracy=totals[1] / n,
            test_loss=test_loss,
            test_accuracy=test_accuracy,
            samples_per_second=n / seconds,
            seconds=seconds,
            test_seconds=time.perf_counter() - trained,
        )

    def _train_epoch(self, epoch: int, lr: float, on_chunk: OnChunk | None) -> list[float]:
        n = len(self._labels)
        order = epoch_order(self._recipe.seed, epoch, n)
        totals = np.zeros(2)
        self._engine.open(self._images)
        for done in range(0, n, self._chunk):
            chunk = order[done : done + self._chunk]
            smoothing = self._recipe.label_smoothing
            self._engine.train(self._images, self._labels, chunk, lr, totals, smoothing=smoothing)
            if not np.isfinite(totals[0]):
                raise _diverged(epoch, lr)
            if on_chunk is not None:
                so_far = done + len(chunk)
                on_chunk(ChunkReport(epoch, so_far, n, float(totals[0]) / so_far, float(totals[1]) / so_far))
        self._engine.close()
        if not self._network.is_finite():
            raise _diverged(epoch, lr)
        return [float(total) for total in totals]

    def _measure(self) -> tuple[float | None, float | None]:
        if self._test_images is None or self._test_labels is None:
            return None, None
        self._engine.open(self._test_images)
        outputs = self._engine.outputs(self._test_images).astype(np.float64)
        hits = outputs.argmax(axis=1) == self._test_labels
        return mean_loss(outputs, self._test_labels, self._network.rule), float(hits.mean())


def epoch_order(seed: int, epoch: int, n: int) -> NDArray[np.int64]:
    """Return the order of the samples in an epoch (1, 2, ...), shape (n,): a function of its arguments alone."""
    return np.random.default_rng([seed, epoch]).permutation(n).astype(np.int64, copy=False)


def as_model(network: Network, dataset: Dataset, recipe: Recipe, info: dict[str, Any] | None = None) -> Model:
    """Return what :func:`train` made as a model that predicts from pixels.

    Parameters
    ----------
    network : Network
    dataset : Dataset
        Gives the classes.
    recipe : Recipe
        Gives the kind of inputs.
    info : dict, optional
        See :class:`fastnn.Model`.
    """
    inputs: Inputs = "ink" if recipe.inputs == "ink" else "paper"
    return Model((network,), dataset.classes, inputs, info=info or {})


def _check_fit(network: Network, dataset: Dataset) -> None:
    if len(dataset) == 0:
        raise DataError(f"{dataset.source}: no images to train on or to test")
    pixels, classes = dataset.images.shape[1], len(dataset.classes)
    if (pixels, classes) != (network.sizes[0], network.sizes[-1]):
        raise DataError(
            f"{dataset.source}: {pixels} pixels and {classes} classes do not fit a network of "
            f"{network.sizes[0]} inputs and {network.sizes[-1]} outputs"
        )


def _diverged(epoch: int, lr: float) -> TrainingError:
    return TrainingError(
        f"training diverged in epoch {epoch}: the loss is no finite number any more; "
        f"take a smaller learning rate than {lr:g}"
    )
