"""MLPClassifier."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import ClassifierMixin

from fastnn.errors import InputError
from fastnn.sklearn.base import BaseMLP
from fastnn.sklearn.inputs import unchanged_on_error
from fastnn.sklearn.labels import Labels, class_factors, is_matrix

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike, NDArray

    from fastnn.model import Model


class MLPClassifier(ClassifierMixin, BaseMLP):  # type: ignore[misc]
    """A neural network that classifies; it is trained one sample at a time.

    Names and meanings are those of :class:`sklearn.neural_network.MLPClassifier` as far as they apply: changing the
    import line is enough. Features need no scaling, since the network standardises them itself.

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int, default=(100,)
        Units of each hidden layer.
    activation : {"relu", "tanh", "logistic"}, default="relu"
        Activation of the hidden units.
    solver : "sgd"
        Stochastic gradient descent; the only one.
    alpha : float, default=0.001
        Strength of the L2 regularisation: the gradient of alpha / 2 times the sum of the squared weights is added to
        that of each sample.
    batch_size : 1
        The weights change after each sample.
    learning_rate : {"constant", "invscaling", "adaptive"}, default="constant"
        How the learning rate changes, if `schedule` is None. "invscaling": it is `learning_rate_init` / k ** `power_t`
        in epoch k. "adaptive": it is divided by 5 each time that training makes no progress, and training ends when it
        is below 1e-6.
    learning_rate_init : float or "auto", default="auto"
        Learning rate of the first epoch and of :meth:`partial_fit`. "auto" is 0.01, or less for long samples: at most 3
        / (mean squared length of a sample); the mean of standardised features is n_features. Samples that are much
        longer than this get smaller steps.
    power_t : float, default=0.5
        Exponent of "invscaling".
    max_iter : int, default=50
        Most epochs of :meth:`fit`.
    shuffle : bool, default=True
        Whether each epoch has another order of samples. It depends on `random_state` and on the samples' content, not
        on the order in which they are given. If False, they are taken in the order given.
    random_state : int, RandomState instance or None, default=None
        Decides initial weights, order, dropout and the validation set.
    tol : float, default=1e-4
        Training ends if the loss, or the validation score, has not improved by at least `tol` for more than
        `n_iter_no_change` epochs in a row.
    verbose : bool, default=False
        Whether to print the loss of each epoch.
    warm_start : bool, default=False
        Whether :meth:`fit` continues with the weights of the last call. Schedule and stopping begin anew.
    early_stopping : bool, default=False
        Whether to hold out a part of the data, measure the accuracy on it after each epoch, and keep the weights of the
        best epoch. Equal samples are held out together. :meth:`partial_fit` holds out nothing.
    validation_fraction : float, default=0.1
        Share that is held out.
    n_iter_no_change : int or inf, default=10
        See `tol`.
    rule : {"backprop", "original"}, default="backprop"
        Learning rule; "original" is that of the project that fastnn grew out of, for logistic units.
    schedule : {"cosine", "step", None}, default="cosine"
        "cosine": the learning rate falls along half a cosine to nearly 0 in epoch `max_iter`. "step": it is halved
        after each tenth of `max_iter` epochs. None: as `learning_rate` says.
    standardise : bool or "auto", default="auto"
        Whether each feature is centred and divided by its standard deviation in the training data; more if it is mostly
        one value and its rare values would become large. "auto": not the features of sparse matrices that are mostly 0.
        True: these too, and the data stay sparse. :meth:`partial_fit` takes means and deviations from the rows of its
        first call, if there are at least 2.
    dropout : float, default=0.0
        Share of hidden units that are left out at random at each sample.
    class_weight : dict, "balanced" or None, default=None
        Weight of each class, multiplied with `sample_weight` and scaled to a mean of 1. "balanced": n_samples /
        (n_classes * samples of the class). :meth:`partial_fit` takes no "balanced", and does not scale.
    averaging : {None, "ema", "tail"}, default=None
        Which weights result. None: those of the last epoch. "ema": their moving average over about 5 epochs. "tail":
        their mean over the last 5 of `max_iter` epochs, if training gets there.
    ensemble : int, default=1
        Number of networks whose outputs are averaged.
    dtype : {"float32", "float64"}, default="float32"
        Type of weights and arithmetic.
    callbacks : callable, list of callables or None, default=None
        Called after each epoch with this estimator, which can predict already, and the
        :class:`fastnn.training.EpochReport` of the first network. Training ends if one returns True.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Classes; for several labels 0, 1, ...
    coefs_, intercepts_ : list of ndarray
        Weights, shape (inputs, outputs), and biases of each layer, for features as they are: standardising is part of
        the first layer. For two classes the last layer has one output, the log odds of the second class. An ensemble
        does not have them.
    out_activation_ : {"softmax", "logistic"}
        Activation of the outputs.
    loss_ : float
        Mean loss of the last epoch, or of the rows of the last call of :meth:`partial_fit`; each sample is measured
        before its own update.
    loss_curve_ : list of float
        Loss of each epoch of :meth:`fit`.
    best_loss_ : float or None
        Lowest loss; None with `early_stopping`.
    validation_scores_, best_validation_score_ : list of float, float; or None
        Accuracies on the held out part, with `early_stopping`.
    n_iter_, t_ : int
        Number of epochs, and of samples trained on.
    n_layers_, n_outputs_ : int
        Number of layers, the input included, and of outputs of the last one.
    n_features_in_, feature_names_in_ : int, ndarray of str
        Number of features, and their names if all are text.

    See Also
    --------
    MLPRegressor : The same for numbers.
    fastnn.Model : What :meth:`to_model` gives; can be saved and exported.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from sklearn.model_selection import train_test_split
    >>> from fastnn.sklearn import MLPClassifier
    >>> X, y = load_wine(return_X_y=True)
    >>> X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=1)
    >>> classifier = MLPClassifier(random_state=1).fit(X_train, y_train)
    >>> classifier.score(X_test, y_test) > 0.9
    True
    >>> classifier.predict_proba(X_test[:1]).shape
    (1, 3)
    """

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (100,),
        activation: str = "relu",
        *,
        solver: str = "sgd",
        alpha: float = 0.001,
        batch_size: int = 1,
        learning_rate: str = "constant",
        learning_rate_init: float | str = "auto",
        power_t: float = 0.5,
        max_iter: int = 50,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool = False,
        warm_start: bool = False,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: float = 10,
        rule: str = "backprop",
        schedule: str | None = "cosine",
        standardise: bool | str = "auto",
        dropout: float = 0.0,
        class_weight: dict[Any, float] | str | None = None,
        averaging: str | None = None,
        ensemble: int = 1,
        dtype: str = "float32",
        callbacks: Callable[..., Any] | Sequence[Callable[..., Any]] | None = None,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.rule = rule
        self.schedule = schedule
        self.standardise = standardise
        self.dropout = dropout
        self.class_weight = class_weight
        self.averaging = averaging
        self.ensemble = ensemble
        self.dtype = dtype
        self.callbacks = callbacks

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: ArrayLike | None = None) -> Self:
        """Train on samples once, in their order, with the learning rate `learning_rate_init`.

        Of a fitted estimator, and if `X` is an array of floats with one row and `y` an array of one element, this takes
        a few microseconds.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Finite numbers.
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            Classes, or 0 and 1 for each label.
        sample_weight : array-like of shape (n_samples,) or float, default=None
            As in :meth:`fit`, but never scaled: weights that ask for more than a million steps are refused.
        classes : array-like of shape (n_classes,), default=None
            All classes that will ever occur; needed in the first call, unless there are several labels.

        Returns
        -------
        self : object

        Raises
        ------
        InputError
            If the data are invalid or training diverges, which is a ValueError. The estimator is then as it was before.
        """
        if classes is None and sample_weight is None and self._fits_fast(X, y):
            return self
        with unchanged_on_error(self):
            self._partial_fit(X, y, sample_weight, classes)
        return self

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the most probable class of each sample, or which labels it has.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_labels)
        """
        outputs = self._outputs(X)
        return self._labels.decode(outputs)

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return the probability of each class, or of each label, for each sample.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        ndarray of float64, shape (n_samples, n_classes)
            Every row sums to 1, unless there are several labels.
        """
        outputs = self._outputs(X)
        if self._labels.multilabel:
            return outputs
        # The sum of a softmax is 1 in float32, and so not quite in float64. (np.sum would take a microsecond more.)
        total = np.add.reduce(outputs, axis=1, keepdims=True)
        if not self._is_softmax():
            # If all logistic outputs underflow to 0, all classes get the same probability.
            outputs[total[:, 0] == 0] = 1.0
            total = np.add.reduce(outputs, axis=1, keepdims=True)
        return np.divide(outputs, total, out=outputs)

    def predict_log_proba(self, X: Any) -> NDArray[np.float64]:
        """Return the logarithm of :meth:`predict_proba`, -inf for a probability of 0.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        ndarray of float64, shape (n_samples, n_classes)
        """
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(self.predict_proba(X)))

    @classmethod
    def from_model(cls, model: Model, classes: ArrayLike | None = None) -> Self:
        """Return a fitted classifier with copies of a model's networks.

        Parameters
        ----------
        model : fastnn.Model
            For classification or several labels. If it takes images, so does the classifier, as rows of grey levels.
        classes : array-like of shape (n_classes,), optional
            The classes in the order of the model's; by default its names, which are text.

        Raises
        ------
        InputError
            If the model is for another task, or normalises images.
        """
        multilabel = model.task == "multilabel"
        estimator = cls._from_model(model, "multilabel" if multilabel else "classification")
        estimator.rule = model.network.rule
        if estimator.rule == "original":
            estimator.alpha = 0.0
        found = np.asarray(model.names) if classes is None else np.asarray(classes)
        if multilabel:
            found = np.arange(len(model.names))
        if found.shape != (len(model.names),):
            raise InputError(f"classes must be {len(model.names)} classes, not an array of shape {found.shape}")
        if len(set(found.tolist())) < len(found):
            raise InputError(f"classes must be different, not {found}")
        estimator._set_labels(Labels(found, multilabel))
        return estimator

    # ---- targets ----

    def _learn_targets(self, y: Any, classes: Any = None, *, all_there: bool = True) -> None:
        if classes is None and not all_there and not is_matrix(y):
            raise InputError("classes must be passed on the first call to partial_fit.")
        self._set_labels(Labels.of(y, classes))

    def _set_labels(self, labels: Labels) -> None:
        self._labels, self.classes_ = labels, labels.classes

    def _partial_fit(self, X: Any, y: Any, sample_weight: Any, classes: Any = None) -> None:
        known = classes is None or self._trained is None or Labels.of(np.asarray(classes)).are(self._labels)
        if not known:
            raise InputError(
                f"`classes={classes!r}` is not the same as on last call to partial_fit, was: {self.classes_!r}"
            )
        if isinstance(self.class_weight, str):
            raise InputError(
                "class_weight 'balanced' is not supported for partial_fit. In order to use 'balanced' weights, use "
                "compute_class_weight('balanced', classes=classes, y=y) and pass the result as the class_weight "
                "parameter."
            )
        super()._partial_fit(X, y, sample_weight, classes)

    def _check_warm_start(self, y: Any) -> None:
        found = Labels.of(y)
        if not found.are(self._labels):
            raise InputError(
                "warm_start can only be used where `y` has the same classes as in the previous call to fit. Previously "
                f"got {self.classes_}, `y` has {found.classes}"
            )

    def _encode(self, y: Any) -> NDArray[Any]:
        return self._labels.encode(y)

    def _weights(
        self, targets: NDArray[Any], sample_weight: NDArray[np.float64] | None, *, scaled: bool
    ) -> NDArray[np.float64] | None:
        if self.class_weight is None:
            return sample_weight
        weights = np.ones(len(targets)) if sample_weight is None else sample_weight
        return weights * class_factors(self.class_weight, self._labels, targets, weights, scaled=scaled)

    def _output_names(self) -> tuple[str, ...]:
        return self._labels.names

    def _check_classes_left(self, targets: NDArray[Any]) -> None:
        if not self._labels.multilabel and (targets == targets[0]).all():
            raise InputError(
                "The number of classes has to be greater than one; got 1 class once samples with weight 0 are left "
                f"out: {self.classes_[targets[0]]}"
            )

    def _class_codes(self) -> dict[Any, int] | None:
        if self._labels.multilabel:
            return None
        return {label: code for code, label in enumerate(self.classes_.tolist())}

    # ---- attributes ----

    @property
    def out_activation_(self) -> str:
        """Activation of the outputs."""
        return "softmax" if self.n_outputs_ > 1 and self._is_softmax() else "logistic"

    @property
    def n_outputs_(self) -> int:
        """Number of outputs: one for each class or label; one for two classes."""
        outputs: int = super().n_outputs_
        return 1 if outputs == 2 and self._is_softmax() else outputs

    def _is_softmax(self) -> bool:
        return self._trained is not None and self._trained.networks[0].output == "softmax"

    def _layers(self) -> tuple[list[NDArray[np.float64]], list[NDArray[np.float64]]]:
        weights, biases = super()._layers()
        if self.n_outputs_ == 1 and self._is_softmax():
            # A softmax of two is a logistic function of the difference.
            weights[-1], biases[-1] = np.diff(weights[-1], axis=1), np.diff(biases[-1])
        return weights, biases

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
