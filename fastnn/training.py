"""Training one network: the loop over epochs is Python, the loop over samples the compiled kernel."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any, cast

import msgspec
import numpy as np
from msgspec import Meta

from fastnn import large_arrays
from fastnn.datasets.mapped import ChangedRows, MappedRows, ReadAhead
from fastnn.datasets.scaling import Scaling
from fastnn.datasets.sparse import SparseRows
from fastnn.engine import Engine, StepOptions, has_finite_outputs
from fastnn.errors import DataError, ModelError, RecipeError, TrainingError
from fastnn.evaluation.metrics import mean_loss
from fastnn.evaluation.regression import r2_score
from fastnn.images.distort import Distorter
from fastnn.inputs import ImageInput, density, kernel_input
from fastnn.model import Model, ModelCard, decide, probe_kind
from fastnn.network import Network, Task
from fastnn.stepping import Stepper
from fastnn.training_data import Part, TrainingData, check_fit, check_recipe, check_test, fit_scalings, prepare

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import ArrayLike, DTypeLike, NDArray

    from fastnn.datasets.dataset import Dataset
    from fastnn.inputs import KernelInput
    from fastnn.recipe import Recipe

    OnChunk = Callable[["ChunkReport"], None]

_BLOCK = 1024
"""Samples of a block, of which all are read together; images are 784 KiB."""
_MIXED = 64 * _BLOCK
"""Samples that are mixed; images are 49 MiB."""

_DROPOUT_STREAM = 0xD20
"""Third number of the random seed of dropout; the order of samples has two."""


@dataclass(frozen=True)
class EpochReport:
    """Losses, accuracies and times of one epoch of one network.

    Attributes
    ----------
    epoch : int
        Number of the epoch, from 1.
    lr : float
        Learning rate of the epoch.
    loss, accuracy : float
        Mean loss (see :func:`fastnn.evaluation.metrics.mean_loss`) and accuracy on the training samples, each measured
        just before the sample's own update. The loss of a standardised regression is that of the standardised targets.
        The accuracy is the share of samples that are right: of a multilabel task those whose labels are all right. Of a
        regression it is the coefficient of determination R2.
    test_loss, test_accuracy : float or None
        On the test set after the epoch; None without one.
    samples_per_second : float
        Training speed, without measuring the test and validation sets.
    seconds : float
        Time to train, without compilation and measuring.
    test_seconds : float
        Time to measure the test and validation sets.
    validation_loss, validation_accuracy : float or None
        On the validation set after the epoch; None without one.
    member : int
        Number of the network in an ensemble, from 0.
    task : {"classification", "multilabel", "regression"}
        What is learned.

    Examples
    --------
    >>> import fastnn
    >>> train, test = fastnn.split(fastnn.load_dataset("drawn:200"))
    >>> recipe = fastnn.Recipe(hidden=(16,), epochs=2)
    >>> for report in fastnn.train(recipe.network(784, 10), train, recipe, test=test):
    ...     print(report.epoch, report.lr, 0 <= report.test_accuracy <= 1)
    1 0.01 True
    2 0.01 True
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
    validation_loss: float | None = None
    validation_accuracy: float | None = None
    member: int = 0
    task: Task = "classification"

    def as_dict(self) -> dict[str, Any]:
        """Return the values as a dict that JSON can hold."""
        return asdict(self)


@dataclass(frozen=True)
class ChunkReport:
    """Progress within an epoch.

    Attributes
    ----------
    epoch : int
    done, total : int
        Samples of this epoch: trained on so far, and all.
    loss, accuracy : float
        Means over the samples trained on so far, as in :class:`EpochReport`.
    member : int
        Number of the network in an ensemble, from 0.
    task : {"classification", "multilabel", "regression"}
        What is learned.
    """

    epoch: int
    done: int
    total: int
    loss: float
    accuracy: float
    member: int = 0
    task: Task = "classification"


class Trainer:
    """Trains one network, an epoch or a sample at a time; keeps weight averages and the weights of the best epoch.

    Parameters
    ----------
    network, dataset, recipe, test, sample_weight
        As for :func:`fastnn.train`. `ensemble` and `per_class` of the recipe are ignored.
    like : Trainer or Model, optional
        A trainer for the same data, test set and sample weights, whose preprocessed samples are shared if possible; or
        a model whose scalings of rows and targets are used instead of those fitted on `dataset`.
    shuffle : bool
        Whether each epoch has another random order of samples, or that of the data set.

    Attributes
    ----------
    first_layer : str
        How the first layer is computed: "sparse" or "dense".
    density : float
        Mean share of the inputs of a sample that are not at the baseline; of an image the pixels that are not white.
    samples : int
        Number of samples trained on in an epoch.
    notes : tuple of str
        What the user should know about the data.
    """

    _data: TrainingData

    def __init__(
        self,
        network: Network,
        dataset: Dataset,
        recipe: Recipe,
        test: Dataset | None = None,
        *,
        sample_weight: NDArray[Any] | None = None,
        like: Trainer | Model | None = None,
        shuffle: bool = True,
    ) -> None:
        self._shuffle = shuffle
        for part in (dataset, test):
            if part is not None:
                check_fit(network, part)
        if test is not None:
            check_test(dataset, test)
        if network.frozen:
            raise ModelError("the network belongs to a model and is frozen; train a copy of it, network.copy()")
        check_recipe(recipe, dataset)
        if recipe.until is not None and test is None:
            raise RecipeError(f"recipe {recipe.name} has until, but there is no test set to reach it on; drop until")
        self._network, self._recipe = network, recipe
        self._stepper: Stepper | None = None
        if isinstance(like, Model):
            self._scaling, self._target_scaling = like.scaling, like.target_scaling
        elif like is not None:
            self._scaling, self._target_scaling = like._scaling, like._target_scaling
        else:
            self._scaling, self._target_scaling = fit_scalings(dataset, standardise=recipe.standardise)
        self._engine = Engine(network, regularised=bool(recipe.alpha or recipe.dropout))
        # Each network draws its validation set with its own seed.
        shared = like._data if isinstance(like, Trainer) and not recipe.validation_fraction else None
        data = self._data = shared or prepare(dataset, recipe, test, sample_weight, self._target_scaling)
        self._factors = None if data.factors is None else self._as_parameters(data.factors, dataset.source, "a weight")
        blank = data.train.blank
        self.notes = (f"{blank} of the training images are blank and stay as they are",) if blank else ()
        self._probe = probe_kind("images" if dataset.is_images else "rows", recipe.invert)
        features: Any = data.train.features
        if isinstance(features, MappedRows) and not isinstance(features, ChangedRows) and features.has_repeats():
            # A row that occurs twice may have two targets or weights, but kernels find them by its place in the file.
            features = np.asarray(features)
        self._inputs = kernel_input(
            features,
            network.dtype,
            invert=recipe.invert,
            scaling=self._scaling,
            first_layer=recipe.first_layer,
        )
        # A copy: kernels do not check labels, so that nobody else may change them.
        self._targets, self.samples = self._as_targets(data.train.targets, dataset.source), len(data.train.targets)
        # Kernels find a sample's target, and the factor of its rate, where they find the sample.
        self._targets = self._inputs.by_position(self._targets)
        self._factors = None if self._factors is None else self._inputs.by_position(self._factors)
        self._spread = _spread(data.train.targets, dataset.source) if network.task == "regression" else 0.0
        self.first_layer = self._inputs.first_layer
        self.density = density(cast(Any, data.train.features)) if dataset.is_images else self._inputs.density
        self._test, self._validation = self._eval_set(data.test), self._eval_set(data.validation)
        self._chunk = self._engine.chunk_size(self._inputs)
        self._buffer, self._distorter = self._inputs, None
        if isinstance(self._inputs, ImageInput) and recipe.distorts:
            self._distorter = Distorter(recipe)
        if isinstance(self._inputs, ImageInput) and (recipe.distorts or self._inputs.changed is not None):
            self._buffer = self._inputs.empty_like(self._chunk)
        self._average: NDArray[Any] | None = None
        self._best: NDArray[Any] | None = None
        self._best_epoch, self._best_score, self._done = 0, _NO_SCORE, 0
        self._progress = _Progress()
        self._reached = False

    def _as_targets(self, targets: NDArray[Any], source: str) -> NDArray[Any]:
        """Return a copy of the targets in the type that the kernels take."""
        if self._network.task == "classification":
            if not isinstance(self._data.train.features, MappedRows):
                return np.array(targets, dtype=np.int64)
            # As large as the samples that are left on the disk.
            copied = large_arrays.zeros(len(targets), np.int64)
            copied[:] = targets
            return copied
        return self._as_parameters(targets, source, "a target")

    def _as_parameters(self, values: NDArray[Any], source: str, what: str) -> NDArray[Any]:
        """Return a copy in the type of the network's parameters; DataError if a value is too large for it."""
        with np.errstate(over="ignore"):
            copied = np.array(values, dtype=self._network.dtype)
        if not np.isfinite(copied).all():
            raise DataError(f"{source}: {what} is too large for {copied.dtype}; divide all of them by one number")
        return copied

    def _eval_set(self, part: Part | None) -> tuple[KernelInput, NDArray[Any]] | None:
        if part is None:
            return None
        if isinstance(part.features, SparseRows) == (self._inputs.reader == "sparse"):
            return self._inputs.like(part.features), part.targets
        return kernel_input(part.features, self._network.dtype, scaling=self._scaling), part.targets

    def warm_up(self) -> float:
        """Compile or load the kernels without changing the network; return the seconds this took."""
        start = time.perf_counter()
        nothing = np.empty(0, dtype=np.int64)
        self._engine.load_weights(self._inputs)
        self._fill_buffer(nothing, 0)
        self._engine.train(self._inputs, self._targets, nothing, 0.0, np.zeros(2), weights=self._factors)
        self._engine.store_weights()
        return time.perf_counter() - start

    def epoch(self, epoch: int, on_chunk: OnChunk | None = None) -> EpochReport:
        """Train one epoch (1, 2, ...) and measure the test and validation sets; see :func:`fastnn.train`."""
        start = time.perf_counter()
        self._collect_steps()
        self._stepper = None
        lr = self._recipe.lr_at(epoch) * self._progress.lr_factor
        totals = self._train_epoch(epoch, lr, on_chunk)
        self._update_average(epoch)
        trained = time.perf_counter()
        self._check_outputs(epoch, lr)
        n = self.samples
        loss, accuracy = totals[0] / n, self._accuracy(totals[1], n)
        done = ChunkReport(epoch, n, n, loss, accuracy, task=self._network.task)
        between = None if on_chunk is None else lambda: on_chunk(done)
        test_loss, test_accuracy = self._measure(self._test, between)
        validation_loss, validation_accuracy = self._measure(self._validation, between)
        for measured in (test_loss, validation_loss):
            if measured is not None and not np.isfinite(measured):
                raise _diverged(epoch, lr)
        self._update_best(epoch, validation_accuracy, validation_loss)
        until = self._recipe.until
        self._reached = until is not None and test_accuracy is not None and test_accuracy >= until
        self._progress = self._progress.after(loss, self._recipe)
        self._done = epoch
        seconds = trained - start
        return EpochReport(
            epoch=epoch,
            lr=lr,
            loss=loss,
            accuracy=accuracy,
            test_loss=test_loss,
            test_accuracy=test_accuracy,
            samples_per_second=n / seconds,
            seconds=seconds,
            test_seconds=time.perf_counter() - trained,
            validation_loss=validation_loss,
            validation_accuracy=validation_accuracy,
            task=self._network.task,
        )

    def step(self, x: ArrayLike, target: Any, weight: float = 1.0) -> None:
        """Train on one sample, at the learning rate of the next epoch.

        Takes about a microsecond longer than the step itself, see :class:`fastnn.stepping.Stepper`. The network gets
        the new weights by :meth:`result`, :meth:`state_dict` or :meth:`epoch`. Weights of classes do not count.

        Parameters
        ----------
        x : array_like, shape (n_inputs,)
            A row as those of the data set, not scaled, or the pixels of an image; fastest as an array of float64.
        target : int, float or array_like, shape (n_outputs,)
            The class; for other tasks the targets, in the units of the data.
        weight : float
            Factor of the learning rate for this sample.

        Raises
        ------
        DataError
            If an argument has another shape or is not finite. Then the network has not changed.
        RecipeError
            If the recipe normalises images.
        """
        if self._target_scaling is not None:
            target = self._scaled_target(target)
        if self._stepper is None:
            self._stepper = self._make_stepper()
        self._stepper.step(x, target, weight)

    def _scaled_target(self, target: ArrayLike) -> NDArray[np.float64]:
        try:
            given = np.asarray(target, dtype=np.float64)
        except (TypeError, ValueError):
            raise DataError(f"target: must be numbers, not {target!r}") from None
        return cast(Scaling, self._target_scaling).apply(given)

    def _make_stepper(self) -> Stepper:
        recipe, scaling = self._recipe, self._scaling
        if recipe.normalise:
            raise RecipeError(f"recipe {recipe.name} normalises images, which step() does not")
        if isinstance(self._inputs, ImageInput):
            scaling = Scaling.of_pixels(self._inputs.n_inputs, invert=recipe.invert)
        epoch = min(self._done + 1, recipe.epochs)
        rate = recipe.lr_at(epoch) * self._progress.lr_factor
        return Stepper(self._network, learning_rate=rate, options=self._options(epoch), scaling=scaling)

    def _collect_steps(self) -> None:
        """Give the network the weights of the steps so far."""
        if self._stepper is not None:
            self._stepper.store()

    @property
    def stopped(self) -> bool:
        """Whether the recipe's `until` is reached, or there was no progress for as many epochs as its patience.

        Progress is a better result on the validation set; without such a set, a lower training loss.
        """
        if self._reached or self._recipe.patience is None:
            return self._reached
        waited = self._done - self._best_epoch if self._recipe.validation_fraction else self._progress.waited
        return waited >= self._recipe.patience

    @property
    def reached(self) -> bool:
        """Whether the last epoch had the recipe's `until` on the test set."""
        return self._reached

    @property
    def best(self) -> tuple[int, float] | None:
        """The best epoch on the validation set, and its accuracy there; None without such a set."""
        return (self._best_epoch, self._best_score[0]) if self._best_epoch else None

    @property
    def needs_state(self) -> bool:
        """Whether resuming needs more than the weights and the number of the epoch; see :meth:`state_dict`."""
        return self._recipe.needs_state

    def result(self) -> Network:
        """Return the selected network: a copy with the weights of the best epoch or their average, or the network."""
        self._collect_steps()
        chosen = self._best if self._best is not None else self._average
        if chosen is None:
            return self._network
        network = self._network.copy()
        network.parameters[...] = chosen
        return network

    def state_dict(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Return copies of arrays, and values that JSON can hold: the arguments of :meth:`load_state_dict`."""
        self._collect_steps()
        arrays = {"network": self._network.parameters, "average": self._average, "best": self._best}
        kept = {name: array.copy() for name, array in arrays.items() if array is not None}
        # JSON has no infinity.
        score = self._best_score if self._best_epoch else (-1.0, 0.0)
        values = {"epoch": self._done, "best_epoch": self._best_epoch, "best_score": list(score)}
        if self._progress != _Progress():
            values["progress"] = asdict(self._progress)
        if self._reached:
            values["reached"] = True
        return kept, values

    def load_state_dict(self, arrays: Mapping[str, NDArray[Any]], values: Mapping[str, Any]) -> None:
        """Continue from a state, which includes the network's weights.

        Raises
        ------
        ModelError
            If the state does not fit the network and the recipe.
        """
        own = self._network.parameters
        epoch, best_epoch = _checked_value(values, "epoch", int), _checked_value(values, "best_epoch", int)
        wanted = {"network"}
        if epoch >= self._averages_from(self._recipe):
            wanted.add("average")
        if best_epoch > 0:
            wanted.add("best")
        score = _checked_value(values, "best_score", list)
        progress = _Progress.of(values.get("progress"))
        fits = set(arrays) == wanted and len(score) == 2 and all(isinstance(part, float | int) for part in score)
        for array in arrays.values():
            fits = fits and array.shape == own.shape and array.dtype == own.dtype and bool(np.isfinite(array).all())
        if not fits:
            raise ModelError("the training state does not fit the recipe; the checkpoint is damaged")
        own[...] = arrays["network"]
        self._stepper = None
        self._average = arrays["average"].copy() if "average" in arrays else None
        self._best = arrays["best"].copy() if "best" in arrays else None
        self._done, self._best_epoch = epoch, best_epoch
        self._best_score = (float(score[0]), float(score[1])) if best_epoch else _NO_SCORE
        self._progress, self._reached = progress, values.get("reached") is True

    @staticmethod
    def _averages_from(recipe: Recipe) -> float:
        """Return the first epoch whose weights are averaged."""
        if recipe.averaging == "none":
            return float("inf")
        return 1 if recipe.averaging == "ema" else recipe.epochs - recipe.averaging_epochs + 1

    def _update_average(self, epoch: int) -> None:
        count = epoch - self._averages_from(self._recipe) + 1
        if count < 1:
            return
        if self._average is None:
            self._average = self._network.parameters.copy()
        scalar: Any = self._network.dtype.type
        share = scalar(1 / min(count, self._recipe.averaging_epochs))
        with np.errstate(over="ignore", invalid="ignore"):  # seen in the average's outputs
            self._average += (self._network.parameters - self._average) * share

    def _update_best(self, epoch: int, accuracy: float | None, loss: float | None) -> None:
        if accuracy is None or loss is None or (accuracy, -loss) <= self._best_score:
            return
        self._best_score, self._best_epoch = (accuracy, -loss), epoch
        self._best = (self._network.parameters if self._average is None else self._average).copy()

    def _check_outputs(self, epoch: int, lr: float) -> None:
        """Raise TrainingError if the weights or their average are so large that a model of them cannot predict."""
        networks = [self._network]
        if self._average is not None:
            networks.append(self._network.copy())
            networks[1].parameters[...] = self._average
        if not all(has_finite_outputs(network, self._probe) for network in networks):
            raise _diverged(epoch, lr)

    def _fill_buffer(self, chunk: NDArray[np.int64], epoch: int) -> None:
        """Write the images of a chunk to the buffer, if there is one, distorted if the recipe says so."""
        if self._buffer is self._inputs:
            return
        inputs, buffer = cast(ImageInput, self._inputs), cast(ImageInput, self._buffer)
        images, positions = inputs.images, inputs.positions(chunk)
        if inputs.changed is not None:
            images, positions = inputs.changed[chunk], np.arange(len(chunk))
        if self._distorter is None:
            buffer.images[: len(chunk)] = images
        else:
            self._distorter(images, chunk, epoch, buffer.images, positions=positions)

    def _options(self, epoch: int) -> StepOptions:
        recipe = self._recipe
        return step_options(recipe, _dropout_key(recipe.seed, epoch) if recipe.dropout else 0)

    def _accuracy(self, total: float, n: int) -> float:
        """Return the share of right answers, or R2, from what the kernels add up over n samples."""
        if self._network.task != "regression":
            return total / n
        spread = self._spread * n / self.samples
        return 1.0 - total / spread if spread else 0.0

    def _train_epoch(self, epoch: int, lr: float, on_chunk: OnChunk | None) -> list[float]:
        n, options = self.samples, self._options(epoch)
        blocks = self._recipe.shuffle == "blocks"
        # There may be millions of samples: half the memory of int64.
        small = large_arrays.smallest_uint(n)
        if self._shuffle:
            order = epoch_order(self._recipe.seed, epoch, n, blocks=blocks, dtype=small)
        else:
            order = large_arrays.arange(n, small)
        totals = np.zeros(2)
        self._engine.load_weights(self._inputs)
        mapped = self._inputs.mapped if self._inputs.changed is None else self._inputs.changed.rows
        ahead = ReadAhead(mapped.file) if mapped is not None and mapped.file is not None else None
        # Of blocks, all that are mixed are asked for at once: these are long stretches of the disk.
        reach = _MIXED if blocks else self._chunk
        for done in range(0, n, self._chunk):
            chunk = order[done : done + self._chunk].astype(np.int64)
            if ahead is not None and mapped is not None and done % reach < self._chunk:
                ahead.next(mapped.positions(order[done + reach : done + 2 * reach].astype(np.int64)))
            targets, factors, samples = self._targets, self._factors, self._inputs.positions(chunk)
            if self._buffer is not self._inputs:
                self._fill_buffer(chunk, epoch)
                targets = targets[samples]
                factors = None if factors is None else factors[samples]
                samples = np.arange(len(chunk))
            self._engine.train(self._buffer, targets, samples, lr, totals, weights=factors, options=options)
            if not np.isfinite(totals[0]):
                raise _diverged(epoch, lr)
            if on_chunk is not None:
                so_far = done + len(chunk)
                loss, accuracy = float(totals[0]) / so_far, self._accuracy(float(totals[1]), so_far)
                on_chunk(ChunkReport(epoch, so_far, n, loss, accuracy, task=self._network.task))
        self._engine.store_weights()
        return [float(total) for total in totals]

    def _measure(
        self, eval_set: tuple[KernelInput, NDArray[Any]] | None, between: Callable[[], object] | None
    ) -> tuple[float | None, float | None]:
        """Return loss and accuracy of the current weights, or of their average if there is one."""
        if eval_set is None:
            return None, None
        inputs, targets = eval_set
        if self._average is None:
            self._engine.load_weights(inputs)
        else:
            current = self._network.parameters.copy()
            self._network.parameters[...] = self._average
            self._engine.load_weights(inputs)
            self._network.parameters[...] = current
        outputs = self._engine.outputs(inputs, between)
        if self._network.task == "regression":
            outputs = outputs.astype(np.float64)
        loss = mean_loss(outputs, targets, self._network.loss, self._recipe.huber_delta)
        return loss, _accuracy(outputs, targets, self._network.task)


_NO_SCORE = (-math.inf, 0.0)
"""Accuracy and negative loss on the validation set before the first epoch."""


@dataclass(frozen=True)
class _Progress:
    """How the training loss has fallen.

    Attributes
    ----------
    best_loss : float or None
        The lowest training loss so far.
    waited : int
        Number of epochs in a row in which it has not fallen by more than the recipe's `tol`.
    waited_for_lr : int
        The same since the learning rate was last changed by schedule "adaptive".
    lr_factor : float
        What "adaptive" has multiplied the learning rate by.
    """

    best_loss: float | None = None
    waited: Annotated[int, Meta(ge=0)] = 0
    waited_for_lr: Annotated[int, Meta(ge=0)] = 0
    lr_factor: Annotated[float, Meta(ge=0, le=1)] = 1.0

    @classmethod
    def of(cls, values: Any) -> _Progress:
        """Return the progress in a training state; ModelError if it is not one."""
        if values is None:
            return cls()
        try:
            return msgspec.convert(values, cls)
        except msgspec.ValidationError:
            raise ModelError("the training state does not fit the recipe; the checkpoint is damaged") from None

    def after(self, loss: float, recipe: Recipe) -> _Progress:
        """Return the progress after an epoch with this training loss."""
        if recipe.schedule != "adaptive" and recipe.patience is None:
            return self
        progress = self.best_loss is None or loss <= self.best_loss - recipe.tol
        # Without a tolerance an equal loss is no progress.
        progress = progress and loss != self.best_loss
        best = loss if self.best_loss is None else min(loss, self.best_loss)
        waited, for_lr, factor = (0, 0, self.lr_factor)
        if not progress:
            waited, for_lr = self.waited + 1, self.waited_for_lr + 1
        if recipe.schedule == "adaptive" and for_lr >= recipe.lr_every:
            for_lr, factor = 0, factor * recipe.lr_decay
        return _Progress(best, waited, for_lr, factor)


def _accuracy(outputs: NDArray[np.float64], targets: NDArray[Any], task: Task) -> float:
    """Return the share of samples that are right; of a regression R2."""
    if task == "regression":
        return r2_score(outputs, targets)
    right = decide(task, outputs) == targets
    return float((right.all(axis=1) if task == "multilabel" else right).mean())


def _spread(targets: NDArray[np.float64], source: str) -> float:
    """Return the sum of the squared deviations of all targets from their means."""
    with np.errstate(over="ignore", invalid="ignore"):
        spread = float(np.square(targets - targets.mean(axis=0)).sum())
    if not np.isfinite(spread):
        raise DataError(f"{source}: a target is too large to be squared; divide all of them by one number")
    return spread


def step_options(recipe: Recipe, dropout_key: int = 0) -> StepOptions:
    """Return what the training steps of a recipe do besides descending along the gradient."""
    return StepOptions(
        smoothing=recipe.label_smoothing,
        alpha=recipe.alpha,
        dropout=recipe.dropout,
        dropout_key=dropout_key,
        error_limit=recipe.huber_delta or recipe.error_limit or math.inf,
        huber=recipe.huber_delta is not None,
    )


def _dropout_key(seed: int, epoch: int) -> int:
    """Return the key of the choice of units that are left out in an epoch, from 0 to 2**63 - 1."""
    return int(np.random.SeedSequence([seed, epoch, _DROPOUT_STREAM]).generate_state(1, np.uint64)[0]) >> 1


def epoch_order(
    seed: int, epoch: int, n: int, *, blocks: bool = False, dtype: DTypeLike = np.int64
) -> NDArray[np.integer[Any]]:
    """Return the random order of the n samples in an epoch (1, 2, ...), shape (n,), a function of the arguments.

    With `blocks` it is the one of the recipe's ``shuffle = "blocks"``. The type changes no number.
    """
    rng = np.random.default_rng([seed, epoch])
    if not blocks:
        order = large_arrays.arange(n, dtype)
        rng.shuffle(order)  # in place; the order is that of rng.permutation(n)
        return order
    starts = rng.permutation(-(-n // _BLOCK)) * _BLOCK
    order, done = large_arrays.zeros(n, dtype), 0
    for part in large_arrays.parts(len(starts), _BLOCK):
        some = (starts[part, None] + np.arange(_BLOCK)).reshape(-1)
        some = some[some < n]  # the last block may be shorter
        order[done : done + len(some)] = some
        done += len(some)
    for start in range(0, n, _MIXED):
        rng.shuffle(order[start : start + _MIXED])
    return order


def as_model(
    network: Network | Sequence[Network],
    dataset: Dataset,
    recipe: Recipe,
    card: ModelCard | None = None,
    *,
    like: Model | None = None,
) -> Model:
    """Return trained networks as a model that predicts from images or rows.

    Parameters
    ----------
    network : Network or sequence of Network
        The outputs of several are averaged. They are frozen, see :class:`fastnn.Model`; train copies to continue.
    dataset : Dataset
        The training set: it has the names of classes or targets, and its rows say how rows are standardised.
    recipe : Recipe
        Its `invert`, `normalise` and `standardise` apply to the model too.
    card : ModelCard, optional
        Where the model comes from.
    like : Model, optional
        A model whose scalings are used, as for :class:`Trainer`.
    """
    networks = (network,) if isinstance(network, Network) else tuple(network)
    card = card or ModelCard()
    if dataset.is_images:
        return Model(networks, dataset.names, recipe.invert, recipe.normalise, card)
    if like is not None:
        scaling, target_scaling = like.scaling, like.target_scaling
    else:
        scaling, target_scaling = fit_scalings(dataset, standardise=recipe.standardise)
    return Model(
        networks,
        dataset.names,
        card=card,
        takes="rows",
        columns=dataset.columns,
        scaling=scaling,
        target_scaling=target_scaling,
    )


def _checked_value(values: Mapping[str, Any], name: str, kind: type) -> Any:
    """Return a value of a training state; ModelError if it is missing or of another type."""
    value = values.get(name)
    if not isinstance(value, kind):
        raise ModelError("the training state does not fit the recipe; the checkpoint is damaged")
    return value


def _diverged(epoch: int, lr: float) -> TrainingError:
    return TrainingError(f"training diverged in epoch {epoch} (loss is not finite); try a learning rate below {lr:g}")
