"""What the classifier and the regressor have in common: training, and the networks' outputs."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from fastnn.datasets import Column, Dataset, Scaling, SparseRows
from fastnn.engine import StepOptions
from fastnn.errors import DataError, InputError
from fastnn.model import Model, ModelCard
from fastnn.sklearn.callbacks import CallbackSupportMixin, FitTasks, with_callbacks
from fastnn.sklearn.inputs import (
    check_features,
    check_features_and_targets,
    check_weights,
    input_errors,
    unchanged_on_error,
)
from fastnn.sklearn.parameters import (
    as_options,
    as_recipe,
    auto_rate,
    check_parameters,
    longest_row,
    makes_no_progress,
    shorten_steps,
)
from fastnn.sklearn.samples import SparseSamples, as_copies, in_canonical_order, in_given_order, squared_lengths
from fastnn.sklearn.trained import SingleRow, Trained, rescaled_layers
from fastnn.threads import cores
from fastnn.training import Trainer
from fastnn.training_data import fit_scalings

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastnn.network import Network
    from fastnn.training import EpochReport

_LARGEST_SEED = (1 << 31) - 1
_FEWEST_TO_STANDARDISE = 2


class BaseMLP(CallbackSupportMixin, BaseEstimator):  # type: ignore[misc]
    """Base of the estimators; use :class:`MLPClassifier` or :class:`MLPRegressor`."""

    _trained: Trained | None = None
    """What has been learned; None before."""

    # ---- what the estimators do differently ----

    _numeric_targets = False
    _plain_targets = "biuUS"
    """Kinds of dtypes whose values need no check by scikit-learn."""

    def _learn_targets(self, y: Any, classes: Any = None, *, all_there: bool = True) -> None:
        """Set the attributes that say what the targets are; `all_there` if no other classes than these can follow."""
        raise NotImplementedError

    def _encode(self, y: Any) -> NDArray[Any]:
        """Return targets as :class:`fastnn.Dataset` takes them."""
        raise NotImplementedError

    def _weights(
        self,
        targets: NDArray[Any],  # noqa: ARG002
        sample_weight: NDArray[np.float64] | None,
        *,
        scaled: bool,  # noqa: ARG002
    ) -> NDArray[np.float64] | None:
        """Return the weight of each row, or None for 1 each; class weights are scaled to a mean of 1 if `scaled`."""
        return sample_weight

    def _output_names(self) -> tuple[str, ...]:
        """Return the names of the networks' outputs."""
        raise NotImplementedError

    # ---- training ----

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train on samples, for at most `max_iter` epochs.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Finite numbers.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets.
        sample_weight : array-like of shape (n_samples,) or float, default=None
            A weight of w means w copies of the sample. It is trained on ceil(w) times an epoch, each time with a factor
            of w / ceil(w) of the learning rate; a weight of 0 leaves it out. If all weights are below 1, they are
            scaled to a mean of 1. If they ask for more than a million steps an epoch, and for more than there are
            samples, they are scaled down.

        Returns
        -------
        self : object

        Raises
        ------
        InputError
            If a parameter or the data are invalid, or training diverges; it is a ValueError. The estimator is then as
            it was before.
        """
        with unchanged_on_error(self):
            self._fit(X, y, sample_weight)
        return self

    @with_callbacks  # type: ignore[untyped-decorator]
    def _fit(self, X: Any, y: Any, sample_weight: Any) -> None:
        check_parameters(self)
        context = self._init_callback_context(max_subtasks=self.max_iter) if hasattr(self, "set_callbacks") else None
        tasks = FitTasks(context, self, X, y, sample_weight)
        seed = self._draw_seed()
        warm = self._trained if self.warm_start else None
        features, y = check_features_and_targets(self, X, y, reset=warm is None, numeric=self._numeric_targets)
        if warm is None:
            self._learn_targets(y)
        else:
            self._check_warm_start(y)
        targets = self._encode(y)
        weights = self._weights(targets, check_weights(sample_weight, len(features)), scaled=True)
        steps = in_canonical_order(features, targets, weights) if self.shuffle else in_given_order(features, weights)
        self._check_classes_left(targets[steps.rows])
        rows = features[steps.rows] if isinstance(features, np.ndarray) else features.take(steps.rows)
        data = self._as_dataset(rows, targets[steps.rows])
        self._train(data, steps.factors, seed, warm, tasks)

    def _as_dataset(self, features: NDArray[Any] | SparseRows, targets: NDArray[Any]) -> Dataset:
        sparsely = isinstance(self.standardise, str) and isinstance(features, SparseRows)
        kind = SparseSamples if sparsely else Dataset
        return kind(features, targets, self._output_names(), type(self).__name__, columns=self._columns())

    def _check_warm_start(self, y: Any) -> None:
        """Raise an InputError if training cannot be continued with these targets."""

    def _check_classes_left(self, targets: NDArray[Any]) -> None:
        """Raise an InputError if the rows with a weight above 0 have only one class."""

    def _draw_seed(self) -> int:
        return int(check_random_state(self.random_state).randint(_LARGEST_SEED))

    def _columns(self) -> tuple[Column, ...] | None:
        names = getattr(self, "feature_names_in_", None)
        return None if names is None else tuple(Column(str(name)) for name in names)

    def _train(
        self, data: Dataset, factors: NDArray[np.float64] | None, seed: int, warm: Trained | None, tasks: FitTasks
    ) -> None:
        standardise = bool(self.standardise)
        scaling, target_scaling = fit_scalings(data, standardise=standardise)
        lengths = squared_lengths(data.features, scaling)
        rate = auto_rate(float(lengths.mean()))
        if isinstance(self.learning_rate_init, str):
            factors = shorten_steps(factors, rate, lengths)
        recipe = as_recipe(self, seed, standardise=standardise, auto_rate=rate)
        trainers: list[Trainer] = []
        for member in range(self.ensemble):
            own = recipe.replace(seed=seed + member)
            network = own.network(data.n_inputs, len(data.names), data.task)
            if warm is not None:
                _continue_from(warm, member, network, scaling, target_scaling)
            like = trainers[0] if trainers else None
            trainers.append(Trainer(network, data, own, sample_weight=factors, like=like, shuffle=bool(self.shuffle)))
        if self.early_stopping and len(data) - max(trainer.samples for trainer in trainers) < 2:
            raise InputError(
                "The validation set is too small. Increase 'validation_fraction' or the size of your dataset."
            )
        self._start_curves()
        self._train_epochs(trainers, scaling, target_scaling, rate, tasks)
        if self.n_iter_ == self.max_iter and self.schedule is None and not (self._converged or self._stopped):
            warnings.warn(
                f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) reached and the optimization hasn't "
                "converged yet.",
                ConvergenceWarning,
                stacklevel=4,
            )

    def _start_curves(self) -> None:
        early = self.early_stopping
        self.n_iter_ = 0
        self.loss_curve_: list[float] = []
        self.best_loss_: float | None = None if early else np.inf
        self.validation_scores_: list[float] | None = [] if early else None
        self.best_validation_score_: float | None = -np.inf if early else None

    def _train_epochs(
        self,
        trainers: list[Trainer],
        scaling: Scaling | None,
        target_scaling: Scaling | None,
        rate: float,
        tasks: FitTasks,
    ) -> None:
        callbacks = self.callbacks or ()
        callbacks = (callbacks,) if callable(callbacks) else tuple(callbacks)
        _, options = as_options(self, rate)
        waited, stop = 0, False
        self._converged = False

        def learned() -> dict[str, Any]:
            networks = tuple(trainer.result().copy() for trainer in trainers)
            trained = Trained(networks, scaling, target_scaling, rate, options)
            trained.samples = self.n_iter_ * trainers[0].samples
            return {"_trained": trained, "n_layers_": len(networks[0].sizes)}

        def publish() -> None:
            for name, value in learned().items():
                setattr(self, name, value)

        try:
            with ThreadPoolExecutor(min(cores(), len(trainers))) as pool:
                while self.n_iter_ < self.max_iter and not (stop or self._converged):
                    tasks.begin_epoch()
                    reports = _epoch(trainers, self.n_iter_ + 1, pool)
                    waited = 0 if self._record(reports) else waited + 1
                    self._converged = makes_no_progress(waited, self, reports[0].lr)
                    if callbacks:
                        publish()
                        answers = [bool(callback(self, reports[0])) for callback in callbacks]
                        stop = any(answers)
                    stop |= tasks.end_epoch(learned)
        except KeyboardInterrupt:
            if not self.n_iter_:
                raise
            stop = True
            warnings.warn("Training interrupted by user.", stacklevel=5)
        publish()
        self._stopped = stop
        tasks.end()
        if self.verbose and self._converged:
            what = "Validation score" if self.early_stopping else "Training loss"
            print(f"{what} did not improve more than tol={self.tol:f} for {self.n_iter_no_change} consecutive epochs.")

    def _record(self, reports: list[EpochReport]) -> bool:
        """Append an epoch to the curves and return whether there was progress."""
        self.n_iter_ += 1
        loss = float(np.mean([report.loss for report in reports]))
        self.loss_curve_.append(loss)
        if self.verbose:
            print(f"Iteration {self.n_iter_}, loss = {loss:.8f}")
        if self.validation_scores_ is None or self.best_validation_score_ is None:
            best = np.inf if self.best_loss_ is None else self.best_loss_
            self.best_loss_ = min(best, loss)
            return bool(loss <= best - self.tol)
        score = float(np.mean([report.validation_accuracy for report in reports]))
        self.validation_scores_.append(score)
        if self.verbose:
            print(f"Validation score: {score:f}")
        best, self.best_validation_score_ = self.best_validation_score_, max(self.best_validation_score_, score)
        return bool(score >= best + self.tol)

    def _set_trained(self, trained: Trained) -> None:
        self._trained = trained
        self.n_layers_ = len(trained.networks[0].sizes)

    def _partial_fit(self, X: Any, y: Any, sample_weight: Any, classes: Any = None) -> None:
        first = self._trained is None
        if self._trained is None or not self._trained.checked:
            check_parameters(self)
        features, y = check_features_and_targets(self, X, y, reset=first, numeric=self._numeric_targets)
        if first:
            self._learn_targets(y, classes, all_there=False)
        targets = self._encode(y)
        weights = self._weights(targets, check_weights(sample_weight, len(features)), scaled=False)
        if self._trained is None:
            self._set_trained(self._new_trained(features, targets))
            self._start_curves()
            self.n_iter_ = 1
        trained = self._trained
        assert trained is not None  # noqa: S101 - for mypy
        trained.checked = True
        trained.set_options(*as_options(self, trained.auto_rate))
        factors = None
        if weights is not None:
            steps = as_copies(features, weights)
            features = features[steps.rows] if isinstance(features, np.ndarray) else features.take(steps.rows)
            targets, factors = targets[steps.rows], steps.factors
        if len(targets):  # class weights may leave no row
            trained.train(features, targets, self._shorten(trained, features, factors))
        trained.single_row = self._make_single_row(trained, can_train=True)

    def _shorten(
        self, trained: Trained, features: NDArray[Any] | SparseRows, factors: NDArray[np.float64] | None
    ) -> NDArray[np.float64] | None:
        """Return the factors of the steps of `partial_fit`, smaller for rows that are too long for the rate "auto"."""
        if not isinstance(self.learning_rate_init, str):
            return factors
        return shorten_steps(factors, trained.auto_rate, squared_lengths(features, trained.scaling))

    def _new_trained(self, features: NDArray[Any] | SparseRows, targets: NDArray[Any]) -> Trained:
        """Return new networks, with the scaling of these rows."""
        seed = self._draw_seed()
        data = self._as_dataset(features, targets)
        standardise = bool(self.standardise) and len(features) >= _FEWEST_TO_STANDARDISE
        scaling, target_scaling = fit_scalings(data, standardise=standardise)
        rate = auto_rate(float(squared_lengths(features, scaling).mean()))
        recipe = as_recipe(self, seed, standardise=standardise, auto_rate=rate)
        networks = tuple(
            recipe.replace(seed=seed + member).network(data.n_inputs, len(data.names), data.task)
            for member in range(self.ensemble)
        )
        return Trained(networks, scaling, target_scaling, rate, as_options(self, rate)[1])

    # ---- single rows ----

    def __setattr__(self, name: str, value: Any) -> None:
        # A changed parameter counts from the next call on, which must not take the fast path.
        if self._trained is not None and not name.endswith("_"):
            self._trained.single_row, self._trained.checked = None, False
        super().__setattr__(name, value)

    def _class_codes(self) -> dict[Any, int] | None:
        """Return the target of the networks for each class, or None if targets are numbers."""
        return None

    def _make_single_row(self, trained: Trained, *, can_train: bool = False) -> SingleRow | None:
        # Rows of an estimator with names of features must be checked to have them.
        if len(trained.networks) > 1 or hasattr(self, "feature_names_in_"):
            return None
        codes = self._class_codes()
        of_number = trained.networks[0].task == "regression" and self.n_outputs_ == 1
        simple = (codes is not None or of_number) and getattr(self, "class_weight", None) is None
        longest = longest_row(trained.auto_rate) if isinstance(self.learning_rate_init, str) else None
        return SingleRow(trained, codes, longest, can_train=can_train and simple)

    def _fits_fast(self, X: Any, y: Any) -> bool:
        """Train on plain arrays and return True, or False if that needs the checks of scikit-learn.

        The kernels' own checks are enough for floats and targets of the right shapes; single rows have a fast path.
        """
        trained: Any = self._trained
        single = None if trained is None else trained.single_row
        if single is None or type(X) is not np.ndarray or type(y) is not np.ndarray or X.dtype.char not in "df":
            return False
        try:
            if X.shape == single.shape and y.shape == (1,):
                return bool(single.train(X[0], y.item()))
            fits = X.ndim == 2 and X.shape[1] == single.shape[1] and y.shape == (len(X),) and len(X) > 0
            if fits and single.can_train and y.dtype.kind in self._plain_targets:
                trained.train(X, self._encode(y), self._shorten(trained, X, None))
                return True
        except InputError:
            raise
        except DataError:
            pass  # the slow path says what is wrong, in the usual words
        return False

    def _outputs(self, X: Any) -> NDArray[np.float64]:
        """Return the networks' outputs in the units of the targets, shape (n_samples, n_outputs)."""
        trained: Any = self._trained
        single = None if trained is None else trained.single_row
        if single is not None and type(X) is np.ndarray and X.dtype.char in "df":
            outputs: NDArray[np.float64]
            try:
                if X.shape == single.shape:
                    outputs = single.outputs(X[0])
                    return outputs
                if X.ndim == 2 and X.shape[1] == single.shape[1] and len(X) > 0:
                    outputs = trained.outputs(X)
                    return outputs
            except DataError:
                pass  # the slow path says what is wrong, in the usual words
        check_is_fitted(self)
        with input_errors():
            outputs = trained.outputs(check_features(self, X, reset=False))
        if trained.single_row is None:
            trained.single_row = self._make_single_row(trained)
        return outputs

    # ---- attributes ----

    def __sklearn_is_fitted__(self) -> bool:
        return self._trained is not None

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def _layers(self) -> tuple[list[NDArray[np.float64]], list[NDArray[np.float64]]]:
        """Return weights and biases for raw features and targets; an AttributeError if there are none."""
        if self._trained is None:
            raise AttributeError(f"this {type(self).__name__} is not fitted yet")
        if len(self._trained.networks) > 1:
            raise AttributeError("an ensemble has no single coefs_ and intercepts_; see to_model().networks")
        return self._trained.layers()

    @property
    def coefs_(self) -> list[NDArray[np.float64]]:
        """Weights of each layer, shape (inputs, outputs), for features and targets that are not standardised."""
        return self._layers()[0]

    @property
    def intercepts_(self) -> list[NDArray[np.float64]]:
        """Biases of each layer, shape (outputs,), for features and targets that are not standardised."""
        return self._layers()[1]

    @property
    def n_outputs_(self) -> int:
        """Number of outputs of a network."""
        if self._trained is None:
            raise AttributeError(f"this {type(self).__name__} is not fitted yet")
        return self._trained.networks[0].sizes[-1]

    @property
    def loss_(self) -> float:
        """Mean loss of the last epoch of `fit`, or of the last `partial_fit`; each row before its own update."""
        loss = None if self._trained is None else self._trained.last_loss
        if loss is None and not getattr(self, "loss_curve_", None):
            raise AttributeError(f"this {type(self).__name__} has not been trained yet")
        return self.loss_curve_[-1] if loss is None else loss

    @property
    def t_(self) -> int:
        """Number of samples trained on."""
        if self._trained is None:
            raise AttributeError(f"this {type(self).__name__} is not fitted yet")
        return self._trained.samples

    # ---- models ----

    def to_model(self) -> Model:
        """Return a :class:`fastnn.Model` with copies of the networks, which can be saved and exported.

        Its class names are the text of `classes_`, its columns the names of the features, if they have any.
        """
        from fastnn import __version__

        check_is_fitted(self)
        trained: Any = self._trained
        return Model(
            trained.copies(),
            self._output_names(),
            card=ModelCard(version=__version__, epochs=max(1, int(getattr(self, "n_iter_", 1)))),
            takes="rows",
            columns=self._columns(),
            scaling=trained.scaling,
            target_scaling=trained.target_scaling,
        )

    @classmethod
    def _from_model(cls, model: Model, task: str) -> Self:
        """Return an estimator with copies of a model's networks; the targets are not set yet."""
        if model.task != task:
            raise InputError(f"{cls.__name__} takes models for {task}, but this one is for {model.task}")
        if model.normalise:
            raise InputError(f"{cls.__name__} cannot normalise images, but the model does")
        network = model.network
        names = {"sigmoid": "logistic", "tanh": "tanh", "relu": "relu"}
        estimator = cls(
            hidden_layer_sizes=network.sizes[1:-1],
            activation=names[network.activation],
            ensemble=len(model.networks),
            dtype=network.dtype.name,
            standardise=model.scaling is not None,
        )
        scaling = model.scaling
        if model.takes == "images":
            scaling = Scaling.of_pixels(model.n_inputs, invert=model.invert)
        networks = tuple(member.copy() for member in model.networks)
        estimator.n_features_in_ = model.n_inputs
        rate = auto_rate(model.n_inputs)
        estimator._set_trained(Trained(networks, scaling, model.target_scaling, rate, StepOptions()))
        if model.columns is not None and all(column.categories is None for column in model.columns):
            estimator.feature_names_in_ = np.array([column.name for column in model.columns], dtype=object)
        return estimator


def _continue_from(
    warm: Trained, member: int, network: Network, scaling: Scaling | None, target_scaling: Scaling | None
) -> None:
    """Give a new network the function that a trained one computes, with the scalings of the new data."""
    if member >= len(warm.networks) or warm.networks[member].sizes != network.sizes:
        raise InputError("warm_start continues networks of the same sizes; fit with warm_start=False to change them")
    weights, biases = rescaled_layers(
        warm.copies()[member], (warm.scaling, scaling), (warm.target_scaling, target_scaling)
    )
    for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        network.weights[layer][...], network.biases[layer][...] = weight, bias


def _epoch(trainers: list[Trainer], epoch: int, pool: ThreadPoolExecutor) -> list[EpochReport]:
    """Train each network for an epoch, several at the same time."""
    if len(trainers) == 1:
        return [trainers[0].epoch(epoch)]
    return list(pool.map(lambda trainer: trainer.epoch(epoch), trainers))
