"""MLPClassifier and MLPRegressor for streams: estimators of River that learn one sample at a time.

>>> from fastnn.river import MLPClassifier
>>> from river import datasets, evaluate, metrics
>>> model = MLPClassifier(seed=1)
>>> metric = evaluate.progressive_val_score(datasets.Phishing(), model, metrics.Accuracy())
>>> metric.get() > 0.88
True

This module needs the extra [river].
"""

from __future__ import annotations

import math
import numbers
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn.engine import StepOptions
from fastnn.errors import DataError, MissingExtraError, TrainingError
from fastnn.network import OVERFLOW
from fastnn.running_scaling import RunningScaling
from fastnn.stream import StreamNetwork, StreamSettings, check_rows, check_value

try:
    from river import base
    from river.utils import dataframe
except ImportError as error:
    raise MissingExtraError("fastnn.river", "river") from error

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from numpy.typing import NDArray

    from fastnn.network import Activation, Network, Output

__all__ = ["MLPClassifier", "MLPRegressor"]

_Detector = base.DriftDetector | base.BinaryDriftDetector

_NUMBERS = ("Boolean", "Unknown")
"""Types of columns that become numbers, besides the numeric ones; those of sparse columns of pandas are unknown."""

_RECENT = 50
"""Number of samples after which an error counts e times less in the recent errors."""

_ONE_COLUMN = np.zeros(1, dtype=np.int32)


class _MLP(base.Estimator):
    """What both estimators share."""

    # Parameters of both constructors, under which River clones an estimator.
    hidden_layer_sizes: int | tuple[int, ...]
    activation: Activation
    alpha: float
    standardise: bool
    max_features: int
    drift_detector: _Detector | None
    on_drift: Callable[[Any], object] | None
    dtype: str
    seed: int | None

    def _begin(self, learning_rate: float, output: Output, n_outputs: int, error_limit: float = math.inf) -> None:
        """Make the network, when all parameters are set."""
        self.n_drifts = self._n_errors = 0
        self._mean_error = self._recent_error = 0.0
        self._y_name: str | None = None
        sizes = self.hidden_layer_sizes
        settings = StreamSettings(
            hidden_layer_sizes=tuple(sizes) if isinstance(sizes, tuple | list) else (sizes,),
            activation=self.activation,
            output=output,
            learning_rate=learning_rate,
            options=StepOptions(alpha=self.alpha, error_limit=error_limit),
            standardise=self.standardise,
            max_features=self.max_features,
            dtype=self.dtype,
            seed=int(np.random.default_rng().integers(1 << 31)) if self.seed is None else self.seed,
        )
        self._stream = StreamNetwork(settings, n_outputs)

    @property
    def learning_rate(self) -> float:
        """Factor of each step; may be changed while learning."""
        return self._stream.learning_rate

    @learning_rate.setter
    def learning_rate(self, rate: float) -> None:
        self._stream.learning_rate = rate

    @property
    def _mutable_attributes(self) -> set[str]:
        return {"learning_rate", "drift_detector", "on_drift"}

    @property
    def feature_names(self) -> list[Hashable]:
        """The features with an input of their own, in the order of these inputs."""
        return self._stream.feature_names

    @property
    def network(self) -> Network | None:
        """A copy of the network as it is now, whose inputs are standardised; None before the first sample."""
        return self._stream.network

    def reset(self) -> None:
        """Draw new weights, and forget means and deviations; known features and classes stay."""
        self._stream.reset()

    def _update_detector(self, error: float) -> None:
        """Tell the drift detector the error of a prediction, and do what is to be done if it detects a drift."""
        detector: Any = self.drift_detector
        detector.update(error)
        self._n_errors += 1
        self._mean_error += (error - self._mean_error) / self._n_errors
        self._recent_error += (error - self._recent_error) / min(self._n_errors, _RECENT)
        # Many detectors detect falling errors too, as long as the network learns.
        if detector.drift_detected and self._recent_error > self._mean_error:
            self.n_drifts += 1
            self._n_errors = 0
            if self.on_drift is None:
                self.reset()
            else:
                self.on_drift(self)

    def _diverged(self) -> TrainingError:
        remedy = f"call reset(), and take a learning rate below {self.learning_rate:g}"
        return TrainingError(f"training diverged: {OVERFLOW}; {remedy}")

    # ---- data frames ----

    def _read_frame(self, X: Any) -> tuple[Any, list[Any], NDArray[np.float64]]:  # noqa: N803
        """Return a data frame as River wraps it, its columns' names and its values, which are checked."""
        frame = dataframe.into_frame(X)
        names = list(frame.columns)
        for name, kind in frame.schema.items():
            if not kind.is_numeric() and str(kind) not in _NUMBERS:
                for row, value in enumerate(frame[name].to_list(), 1):
                    check_value(f"row {row}: feature {name!r}", value)
        rows = np.ascontiguousarray(dataframe.to_numpy(frame))
        check_rows(names, rows)
        return frame, names, rows

    def _read_weights(self, w: Any, n: int) -> NDArray[np.float64]:
        """Return a weight for each of n samples."""
        given = np.asarray(w if isinstance(w, numbers.Real) else dataframe.into_series(w).to_numpy())
        for weight in given.ravel().tolist() if given.dtype.kind not in "biuf" else ():
            _check_weight(weight)
        weights = given.astype(np.float64)
        if weights.shape not in ((), (n,)):
            raise DataError(f"w: must be a number or have {n} of them, not {weights.shape[0]}")
        for weight in weights[~((weights >= 0) & np.isfinite(weights))][:1].tolist():
            _check_weight(weight)
        return np.broadcast_to(weights, n)


class MLPClassifier(_MLP, base.MiniBatchClassifier):
    """Neural network for classifying the samples of a stream, trained by one step of gradient descent for each.

    Features and classes may appear at any time: the network grows. A feature that a sample does not have is 0 as an
    input of the network; if features are standardised, that is its mean. All values are numbers: encode texts with
    River's ``preprocessing.OneHotEncoder`` first.

    Parameters
    ----------
    hidden_layer_sizes : int or tuple of int
        Units of each hidden layer.
    activation : {"relu", "tanh", "sigmoid"}
        Activation of the hidden layers.
    learning_rate : float
        Factor of each step. May be changed while learning, also by ``mutate``.
    alpha : float
        Weight decay (L2).
    standardise : bool
        Whether features are standardised by their mean and standard deviation so far, as by River's
        ``preprocessing.StandardScaler``; the size of the result is at most the square root of the number of values.
        Turn it off for bags of words and other features whose presence says something: one that has the same value
        whenever it is present is always 0.
    max_features : int
        Most inputs of the network. When there are as many features, each further one shares the input of another: their
        values are added. Which one depends on a checksum of its name, the same in every process.
    drift_detector : drift detector of River, optional
        Is told of each sample, before it is learned, whether its predicted class was wrong (1) or right (0). A drift
        counts if recent errors are more frequent than those since the last drift.
    on_drift : callable, optional
        Called with this estimator at a drift; by default :meth:`reset`.
    dtype : {"float64", "float32"}
        Type of the weights; "float32" takes less memory.
    seed : int, optional
        Random seed of the weights; by default each model draws others.

    Attributes
    ----------
    classes : list
        The classes seen so far.
    feature_names : list
        The features with an input of their own, in the order of these inputs.
    network : fastnn.Network or None
        A copy of the network as it is now, which takes standardised features; None before the first sample.
    n_drifts : int
        Number of drifts detected.

    Examples
    --------
    >>> from fastnn.river import MLPClassifier
    >>> from river import datasets, drift, evaluate, metrics
    >>> model = MLPClassifier(seed=1)
    >>> for x, y in datasets.Phishing():
    ...     model.learn_one(x, y)
    >>> model.classes
    [True, False]
    >>> probabilities = model.predict_proba_one({"ip_in_url": 1, "https": 0.5})
    >>> round(sum(probabilities.values()), 6)
    1.0

    A network that begins anew when its errors become more frequent:

    >>> model = MLPClassifier(drift_detector=drift.ADWIN(), seed=1)
    >>> stream = datasets.synth.ConceptDriftStream(seed=1, position=1500, width=50).take(3000)
    >>> metric = evaluate.progressive_val_score(stream, model, metrics.Accuracy())
    >>> model.n_drifts
    1
    """

    def __init__(
        self,
        hidden_layer_sizes: int | tuple[int, ...] = (50,),
        activation: Activation = "relu",
        learning_rate: float = 0.02,
        alpha: float = 0.0,
        standardise: bool = True,
        max_features: int = 65536,
        drift_detector: _Detector | None = None,
        on_drift: Callable[[Any], object] | None = None,
        dtype: str = "float64",
        seed: int | None = None,
    ) -> None:
        self.hidden_layer_sizes, self.activation, self.alpha = hidden_layer_sizes, activation, alpha
        self.standardise, self.max_features, self.dtype, self.seed = standardise, max_features, dtype, seed
        self.drift_detector, self.on_drift = drift_detector, on_drift
        self._index_of: dict[Any, int] = {}
        self._begin(learning_rate, "softmax", 0)

    @property
    def _multiclass(self) -> bool:
        return True

    @property
    def classes(self) -> list[Any]:
        """The classes seen so far, in the order of their appearance."""
        return list(self._index_of)

    def _find(self, y: Any) -> int | None:
        """Return the number of a class, or None if it is new."""
        try:
            index = self._index_of.get(y)
        except TypeError:
            raise DataError(f"a class must be hashable, not {y!r}") from None
        if index is None and _is_missing(y):
            raise DataError(f"a class is missing: {y!r}")
        return index

    def _add_class(self, y: Any) -> int:
        self._stream.add_output()
        return self._index_of.setdefault(y, len(self._index_of))

    # ---- one sample ----

    def learn_one(self, x: dict[Any, Any], y: Any, w: float = 1.0) -> None:
        """Learn a sample, by one step of gradient descent.

        Parameters
        ----------
        x : dict of hashable to float
            The features.
        y : hashable
            The class, new or known.
        w : float
            Weight of the sample: a factor of the learning rate.

        Raises
        ------
        DataError
            If a feature or the weight is not a finite number, or the class is missing. Then nothing has changed.
        """
        index = self._find(y)
        if w != 1.0:
            _check_weight(w)
        if self.drift_detector is not None and self._index_of:
            self._update_detector(int(self.predict_one(x) != y))
        self._stream.read(x, True)
        self._stream.step(self._add_class(y) if index is None else index, w)

    def predict_proba_one(self, x: dict[Any, Any], **_: Any) -> dict[Any, float]:
        """Return the probability of each class; an empty dict before the first sample.

        Raises
        ------
        DataError
            If a feature is not a finite number.
        TrainingError
            If training has diverged.
        """
        if not self._index_of:
            return {}
        self._stream.read(x, False)
        shares = self._stream.outputs().tolist()
        if not 0.5 < sum(shares) < 2.0:
            raise self._diverged()
        return dict(zip(self._index_of, shares, strict=True))

    # ---- many samples ----

    def learn_many(self, X: Any, y: Any, w: Any = 1.0) -> None:  # noqa: N803
        """Learn the samples of a data frame one after the other, as :meth:`learn_one` does, but faster.

        Parameters
        ----------
        X : DataFrame
            Of pandas, polars or another library that River takes; a column for each feature.
        y : Series
            The classes.
        w : float or Series
            Weight of all samples, or of each.

        Raises
        ------
        DataError
            As for :meth:`learn_one`.
        """
        _, names, rows = self._read_frame(X)
        series = dataframe.into_series(y)
        labels, weights = series.to_list(), self._read_weights(w, len(rows))
        _check_length(labels, rows)
        for label in labels:
            self._find(label)
        self._y_name = series.name
        if self.drift_detector is not None:
            for row, label, weight in zip(rows.tolist(), labels, weights.tolist(), strict=True):
                self.learn_one(dict(zip(names, row, strict=True)), label, weight)
            return
        self._stream.add_names(names)
        # Before a new class appears, the network has no output for it.
        starts = [i for label, i in _first_positions(labels).items() if label not in self._index_of]
        for start, end in pairwise(sorted({0, *starts, len(rows)})):
            if labels[start] not in self._index_of:
                self._add_class(labels[start])
            targets = np.array([self._index_of[label] for label in labels[start:end]])
            self._stream.learn_many(names, rows[start:end], targets, weights[start:end])

    def predict_proba_many(self, X: Any) -> Any:  # noqa: N803
        """Return a data frame with the probability of each class for each row of a data frame."""
        frame, shares = self._shares_of(X)
        columns = {label: shares[:, k] for k, label in enumerate(self._index_of)}
        return dataframe.to_native_frame(columns, like=frame)

    def predict_many(self, X: Any) -> Any:  # noqa: N803
        """Return a series with the predicted class of each row of a data frame; None before the first sample."""
        frame, shares = self._shares_of(X)
        classes = self.classes
        labels = [classes[k] for k in shares.argmax(axis=1)] if classes else [None] * len(shares)
        return dataframe.to_native_series(labels, name=self._y_name, like=frame)

    def _shares_of(self, X: Any) -> tuple[Any, NDArray[Any]]:  # noqa: N803
        frame, names, rows = self._read_frame(X)
        if not self._index_of:
            return frame, np.zeros((len(rows), 0))
        shares = self._stream.outputs_many(names, rows)
        if not np.isfinite(shares).all():
            raise self._diverged()
        return frame, shares


class MLPRegressor(_MLP, base.MiniBatchRegressor):
    """Neural network that predicts a number for the samples of a stream, trained by one step of gradient descent each.

    Features may appear at any time: the network grows. A feature that a sample does not have is 0 as an input of the
    network; if features are standardised, that is its mean. All values are numbers: encode texts with River's
    ``preprocessing.OneHotEncoder`` first.

    Parameters
    ----------
    hidden_layer_sizes : int or tuple of int
        Units of each hidden layer.
    activation : {"relu", "tanh", "sigmoid"}
        Activation of the hidden layers.
    learning_rate : float
        Factor of each step. May be changed while learning, also by ``mutate``.
    alpha : float
        Weight decay (L2).
    clip_gradient : float
        Largest error that a step corrects: in standard deviations of the target, or in its unit if it is not
        standardised.
    standardise : bool
        Whether features and target are standardised by their mean and standard deviation so far, as by River's
        ``preprocessing.StandardScaler`` and ``preprocessing.TargetStandardScaler``.
    max_features : int
        Most inputs of the network. When there are as many features, each further one shares the input of another: their
        values are added. Which one depends on a checksum of its name, the same in every process.
    drift_detector : drift detector of River, optional
        Is told the absolute error of the prediction for each sample, before it is learned. A drift counts if recent
        errors are larger than those since the last drift.
    on_drift : callable, optional
        Called with this estimator at a drift; by default :meth:`reset`.
    dtype : {"float64", "float32"}
        Type of the weights; "float32" takes less memory.
    seed : int, optional
        Random seed of the weights; by default each model draws others.

    Attributes
    ----------
    feature_names : list
        The features with an input of their own, in the order of these inputs.
    network : fastnn.Network or None
        A copy of the network as it is now, whose inputs and output are standardised; None before the first sample.
    n_drifts : int
        Number of drifts detected.

    Examples
    --------
    >>> from fastnn.river import MLPRegressor
    >>> from river import datasets, evaluate, metrics
    >>> model = MLPRegressor(seed=1)
    >>> metric = evaluate.progressive_val_score(datasets.TrumpApproval(), model, metrics.MAE())
    >>> metric.get() < 1
    True
    """

    def __init__(
        self,
        hidden_layer_sizes: int | tuple[int, ...] = (50,),
        activation: Activation = "relu",
        learning_rate: float = 0.01,
        alpha: float = 0.0,
        clip_gradient: float = 3.0,
        standardise: bool = True,
        max_features: int = 65536,
        drift_detector: _Detector | None = None,
        on_drift: Callable[[Any], object] | None = None,
        dtype: str = "float64",
        seed: int | None = None,
    ) -> None:
        self.hidden_layer_sizes, self.activation, self.alpha = hidden_layer_sizes, activation, alpha
        self.standardise, self.max_features, self.dtype, self.seed = standardise, max_features, dtype, seed
        self.drift_detector, self.on_drift, self.clip_gradient = drift_detector, on_drift, clip_gradient
        self._forget_targets()
        self._begin(learning_rate, "identity", 1, clip_gradient)

    def _forget_targets(self) -> None:
        self._targets, self._is_empty = RunningScaling(1, self.standardise), True

    def reset(self) -> None:
        """Draw new weights, and forget means and deviations; known features stay."""
        super().reset()
        self._forget_targets()

    # ---- one sample ----

    def learn_one(self, x: dict[Any, Any], y: float, w: float = 1.0) -> None:
        """Learn a sample, by one step of gradient descent.

        Parameters
        ----------
        x : dict of hashable to float
            The features.
        y : float
            The target.
        w : float
            Weight of the sample: a factor of the learning rate.

        Raises
        ------
        DataError
            If a feature, the target or the weight is not a finite number. Then nothing has changed.
        """
        check_value("the target", y)
        if w != 1.0:
            _check_weight(w)
        if self.drift_detector is not None and not self._is_empty:
            self._update_detector(abs(self.predict_one(x) - y))
        self._stream.read(x, True)
        targets, self._is_empty = self._targets, False
        targets.values[0] = y
        targets.read(True)
        self._stream.step(targets.row[0], w)

    def predict_one(self, x: dict[Any, Any]) -> float:
        """Return the predicted target; 0 before the first sample.

        Raises
        ------
        DataError
            If a feature is not a finite number.
        TrainingError
            If training has diverged.
        """
        if self._is_empty:
            return 0.0
        self._stream.read(x, False)
        mean, deviation = self._targets.mean_and_deviation(0)
        target = mean + deviation * float(self._stream.outputs()[0])
        if not math.isfinite(target):
            raise self._diverged()
        return target

    # ---- many samples ----

    def learn_many(self, X: Any, y: Any, w: Any = 1.0) -> None:  # noqa: N803
        """Learn the samples of a data frame one after the other, as :meth:`learn_one` does, but faster.

        Parameters
        ----------
        X : DataFrame
            Of pandas, polars or another library that River takes; a column for each feature.
        y : Series
            The targets.
        w : float or Series
            Weight of all samples, or of each.

        Raises
        ------
        DataError
            As for :meth:`learn_one`.
        """
        _, names, rows = self._read_frame(X)
        series = dataframe.into_series(y)
        targets, weights = _read_targets(series), self._read_weights(w, len(rows))
        _check_length(targets, rows)
        self._y_name = series.name
        if self.drift_detector is not None:
            for row, target, weight in zip(rows.tolist(), targets.tolist(), weights.tolist(), strict=True):
                self.learn_one(dict(zip(names, row, strict=True)), target, weight)
            return
        self._stream.add_names(names)
        self._is_empty = self._is_empty and not len(rows)
        scaled = self._targets.read_many(targets[:, None], _ONE_COLUMN, learns=True)
        self._stream.learn_many(names, rows, scaled, weights)

    def predict_many(self, X: Any) -> Any:  # noqa: N803
        """Return a series with the predicted target of each row of a data frame."""
        frame, names, rows = self._read_frame(X)
        targets = np.zeros(len(rows))
        if not self._is_empty:
            mean, deviation = self._targets.mean_and_deviation(0)
            targets = mean + deviation * self._stream.outputs_many(names, rows)[:, 0]
            if not np.isfinite(targets).all():
                raise self._diverged()
        return dataframe.to_native_series(targets, name=self._y_name, like=frame)


def _check_weight(weight: float) -> None:
    if not isinstance(weight, numbers.Real) or not 0 <= weight < math.inf:
        raise DataError(f"w: must be finite and not negative, not {weight!r}")


def _is_missing(y: Any) -> bool:
    """Return whether a class is None, NaN, or the missing value of pandas, which has no truth value."""
    try:
        return bool(y is None or y != y)
    except TypeError:
        return True


def _check_length(targets: Sequence[Any] | NDArray[Any], rows: NDArray[Any]) -> None:
    if len(targets) != len(rows):
        raise DataError(f"X and y must have the same length, not {len(rows)} and {len(targets)}")


def _first_positions(labels: list[Any]) -> dict[Any, int]:
    """Return where each class appears first."""
    return {label: i for i, label in reversed(list(enumerate(labels)))}


def _read_targets(series: Any) -> NDArray[np.float64]:
    """Return the targets of a series, which are checked."""
    for row, target in enumerate(series.to_list()):
        check_value(f"row {row + 1}: the target", target)
    return np.ascontiguousarray(series.to_numpy(), dtype=np.float64)
