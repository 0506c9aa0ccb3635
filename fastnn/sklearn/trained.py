"""What an estimator has learned: networks with scalings, and the fast path for a single row."""

from __future__ import annotations

import math
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn.errors import DataError, InputError
from fastnn.stepping import Stepper

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastnn.datasets import Scaling, SparseRows
    from fastnn.engine import StepOptions
    from fastnn.network import Network

_DIVERGED = (
    "Solver produced non-finite parameter weights. The input data may contain large values; try a learning_rate_init "
    "below {:g}"
)


class Trained:
    """Networks that are kept ready to predict and to be trained on one row after the other.

    Parameters
    ----------
    networks : tuple of Network
        Of the same sizes; their outputs are averaged. They are changed by training.
    scaling : Scaling or None
        Of the features; None if the networks take them as they are.
    target_scaling : Scaling or None
        Of the targets of a regression.
    auto_rate : float
        The learning rate "auto" for the data of the first training.
    options : StepOptions
        How :meth:`train` trains. Predictions use the same kernel, so that no other one must be compiled.

    Attributes
    ----------
    samples : int
        Number of rows trained on.
    last_rows : int
        Number of rows trained on by the last call.
    lock : Lock
        Held while the kernels use their memory, which several threads must not do at the same time.
    checked : bool
        Whether the estimator's parameters have been checked since one was set; that takes longer than a small batch.
    single_row : SingleRow or None
        The fast path for one row. Whoever owns this object may set it; it is None again when it is out of date.
    """

    single_row: SingleRow | None

    def __init__(
        self,
        networks: tuple[Network, ...],
        scaling: Scaling | None,
        target_scaling: Scaling | None,
        auto_rate: float,
        options: StepOptions,
    ) -> None:
        self.networks, self.scaling, self.target_scaling = networks, scaling, target_scaling
        self.samples, self.auto_rate, self._options = 0, auto_rate, options
        self._loss: float | None = None
        self._release()

    def _release(self) -> None:
        self.lock = threading.Lock()
        self.last_rows, self.checked = 0, False
        self._steppers: tuple[Stepper, ...] = ()
        self.single_row = None

    def _drop_steppers(self) -> None:
        self._loss, self.last_rows = self.last_loss, 0
        self._steppers, self.single_row = (), None

    def __getstate__(self) -> dict[str, Any]:
        with self.lock:
            self._store()
            kept = ("networks", "scaling", "target_scaling", "samples", "auto_rate", "_options")
            return {"_loss": self.last_loss, **{name: vars(self)[name] for name in kept}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._release()

    def _store(self) -> None:
        """Write the weights of the kernels' memory to the networks."""
        for stepper in self._steppers:
            stepper.store()

    @property
    def steppers(self) -> tuple[Stepper, ...]:
        """A stepper for each network, made when they are first needed."""
        if not self._steppers:
            # Members drop different units, and after a copy or a change of options not the first ones again.
            options = [replace(self._options, dropout_key=self.samples << 7 | k) for k in range(len(self.networks))]
            self._steppers = tuple(
                Stepper(network, learning_rate=0.0, options=own, scaling=self.scaling)
                for network, own in zip(self.networks, options, strict=True)
            )
        return self._steppers

    def set_options(self, learning_rate: float, options: StepOptions) -> None:
        """Choose how :meth:`train` trains."""
        with self.lock:
            if options != self._options:
                self._store()
                self._drop_steppers()
                self._options = options
            for stepper in self.steppers:
                stepper.learning_rate = learning_rate

    def train(
        self, features: NDArray[Any] | SparseRows, targets: NDArray[Any], factors: NDArray[np.float64] | None
    ) -> None:
        """Train on rows in their order.

        Raises
        ------
        InputError
            If a weight or the loss is not finite afterwards. Then the weights are those from before.
        """
        if self.target_scaling is not None:
            targets = self.target_scaling.apply(targets)
        with self.lock:
            self._loss, self.last_rows = self.last_loss, 0
            try:
                for stepper in self.steppers:
                    stepper.totals[:] = 0
                    stepper.train(features, targets, factors, undoable=True)
                if not all(stepper.is_finite() for stepper in self.steppers):
                    raise InputError(_DIVERGED.format(self.steppers[0].learning_rate))
            except BaseException:
                for stepper in self.steppers:
                    stepper.undo()
                raise
            for stepper in self.steppers:
                stepper.keep()
            self.samples += len(targets)
            self.last_rows = len(targets)

    @property
    def last_loss(self) -> float | None:
        """Mean loss of the rows that were trained on last, each before its own update; None before the first."""
        if not self.last_rows:
            return self._loss
        return float(np.mean([stepper.totals[0] for stepper in self.steppers])) / self.last_rows

    def outputs(self, features: NDArray[Any] | SparseRows) -> NDArray[np.float64]:
        """Return the mean of the networks' outputs in the units of the targets, shape (n, outputs)."""
        with self.lock:
            total = self.steppers[0].outputs_of(features).astype(np.float64)
            for stepper in self.steppers[1:]:
                total += stepper.outputs_of(features)
        if len(self.networks) > 1:
            total /= len(self.networks)
        return total if self.target_scaling is None else self.target_scaling.undo(total)

    def copies(self) -> tuple[Network, ...]:
        """Return copies of the networks with their current weights."""
        with self.lock:
            self._store()
            return tuple(network.copy() for network in self.networks)

    def layers(self) -> tuple[list[NDArray[np.float64]], list[NDArray[np.float64]]]:
        """Return weights and biases of the first network, for features and targets that are not scaled."""
        network = self.copies()[0]
        return rescaled_layers(network, (self.scaling, None), (self.target_scaling, None))


class SingleRow:
    """Trains a network on one row a call and predicts, without the checks of scikit-learn.

    The kernels check that the row is finite, and :meth:`train` that the target is.

    Parameters
    ----------
    trained : Trained
        Of one network.
    codes : dict or None
        The target of the network for each class; None for a regression.
    longest : float or None
        :meth:`train` leaves rows with a larger squared length to the slow path, which makes smaller steps; None for
        no row.
    can_train : bool
        Whether :meth:`train` does anything.

    Attributes
    ----------
    shape : tuple of int
        Shape of the arrays that this is for.
    can_train : bool
    """

    __slots__ = (
        "_codes",
        "_factor",
        "_features",
        "_lock",
        "_longest",
        "_mean",
        "_scaling",
        "_stepper",
        "_totals",
        "_trained",
        "can_train",
        "shape",
    )

    def __init__(
        self, trained: Trained, codes: dict[Any, int] | None, longest: float | None, *, can_train: bool
    ) -> None:
        stepper, scaling = trained.steppers[0], trained.target_scaling
        self.shape = (1, trained.networks[0].sizes[0])
        self._trained, self._codes, self.can_train = trained, codes, can_train
        self._stepper, self._totals, self._lock, self._scaling = stepper, stepper.totals, trained.lock, scaling
        self._features = trained.scaling
        self._longest = None if longest is None else 0.99 * longest  # the square below may be of float32
        self._mean, self._factor = (0.0, 1.0) if scaling is None else (float(scaling.mean[0]), float(scaling.factor[0]))

    def train(self, x: NDArray[Any], y: Any) -> bool:
        """Train on a row and return True, or False if that needs the slow path.

        Parameters
        ----------
        x : ndarray of float32 or float64, shape (n_features,)
        y : object
            A class, or a number.

        Raises
        ------
        DataError
            If the row or the target is not finite; nothing has changed then.
        InputError
            If the loss is not finite; nothing has changed then.
        """
        if not self.can_train:
            return False
        if self._codes is None:
            if type(y) is not float:
                return False
            target: Any = (y - self._mean) * self._factor
        else:
            target = self._codes.get(y)
            if target is None:
                return False
        if self._longest is not None:
            with np.errstate(over="ignore"):  # infinity is longer
                scaled = x if self._features is None else (x - self._features.mean) * self._features.factor
                if scaled.dot(scaled) > self._longest:
                    return False
        trained, totals = self._trained, self._totals
        with self._lock:
            before = totals[0]
            totals[0] = 0.0
            try:
                self._stepper.step(x, target)
            except DataError:
                totals[0] = before
                raise
            if not math.isfinite(totals[0]):
                totals[0] = before
                raise InputError(_DIVERGED.format(self._stepper.learning_rate))
            trained.last_rows = 1
            trained.samples += 1
        return True

    def outputs(self, x: NDArray[Any]) -> NDArray[np.float64]:
        """Return the network's outputs in the units of the targets, shape (1, n_outputs); DataError as in `train`."""
        with self._lock:
            outputs = self._stepper.outputs(x)
        result = outputs.astype(np.float64).reshape(1, -1)
        return result if self._scaling is None else self._scaling.undo(result)


def rescaled_layers(
    network: Network,
    scaling: tuple[Scaling | None, Scaling | None],
    target_scaling: tuple[Scaling | None, Scaling | None],
) -> tuple[list[NDArray[np.float64]], list[NDArray[np.float64]]]:
    """Return weights and biases that compute the same function with other scalings.

    Parameters
    ----------
    network : Network
    scaling, target_scaling : pairs of Scaling or None
        The scaling that the network has, and the one that the result is for. None leaves values as they are.
    """
    weights = [weight.astype(np.float64) for weight in network.weights]
    biases = [bias.astype(np.float64) for bias in network.biases]
    (mean, factor), (new_mean, new_factor) = (_as_numbers(part, len(weights[0])) for part in scaling)
    biases[0] += ((new_mean - mean) * factor) @ weights[0]
    weights[0] *= (factor / new_factor)[:, None]
    (mean, factor), (new_mean, new_factor) = (_as_numbers(part, len(biases[-1])) for part in target_scaling)
    weights[-1] *= new_factor / factor
    biases[-1] = (biases[-1] / factor + mean - new_mean) * new_factor
    return weights, biases


def _as_numbers(scaling: Scaling | None, n: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return (np.zeros(n), np.ones(n)) if scaling is None else (scaling.mean, scaling.factor)
