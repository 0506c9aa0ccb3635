"""MLPRegressor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import RegressorMixin

from fastnn.errors import InputError
from fastnn.sklearn.base import BaseMLP
from fastnn.sklearn.inputs import unchanged_on_error

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from fastnn.model import Model


class MLPRegressor(RegressorMixin, BaseMLP):  # type: ignore[misc]
    """A neural network that predicts one or several numbers; it is trained one sample at a time.

    Names and meanings are those of :class:`sklearn.neural_network.MLPRegressor` as far as they apply: changing the
    import line is enough. Features and targets need no scaling, since the network standardises them itself.

    Parameters
    ----------
    loss : {"squared_error", "huber"}, default="squared_error"
        "squared_error": half the squared error; with `standardise`, errors beyond 5 standard deviations of the target
        are clipped before they are passed back. "huber": linear for errors beyond `huber_delta`.
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
        See :class:`MLPClassifier`; for `schedule` None.
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
        Whether to hold out a part of the data, measure R2 on it after each epoch, and keep the weights of the best
        epoch. Equal samples are held out together. :meth:`partial_fit` holds out nothing.
    validation_fraction : float, default=0.1
        Share that is held out.
    n_iter_no_change : int or inf, default=10
        See `tol`.
    huber_delta : float, default=1.0
        See `loss`; with `standardise` in standard deviations of the target.
    schedule : {"cosine", "step", None}, default="cosine"
        "cosine": the learning rate falls along half a cosine to nearly 0 in epoch `max_iter`. "step": it is halved
        after each tenth of `max_iter` epochs. None: as `learning_rate` says.
    standardise : bool or "auto", default="auto"
        Whether each feature and each target is centred and divided by its standard deviation in the training data;
        features more if they are mostly one value and their rare values would become large. "auto": not the features of
        sparse matrices that are mostly 0. True: these too, and the data stay sparse. :meth:`partial_fit` takes means
        and deviations from the rows of its first call, if there are at least 2.
    dropout : float, default=0.0
        Share of hidden units that are left out at random at each sample.
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
    coefs_, intercepts_ : list of ndarray
        Weights, shape (inputs, outputs), and biases of each layer, for features and targets as they are: standardising
        is part of the first and the last layer. An ensemble does not have them.
    out_activation_ : "identity"
        Activation of the outputs.
    loss_ : float
        Mean loss of the last epoch, or of the rows of the last call of :meth:`partial_fit`; each sample is measured
        before its own update. With `standardise` the loss is that of standardised targets.
    loss_curve_ : list of float
        Loss of each epoch of :meth:`fit`.
    best_loss_ : float or None
        Lowest loss; None with `early_stopping`.
    validation_scores_, best_validation_score_ : list of float, float; or None
        R2 on the held out part, with `early_stopping`.
    n_iter_, t_ : int
        Number of epochs, and of samples trained on.
    n_layers_, n_outputs_ : int
        Number of layers, the input included, and of targets.
    n_features_in_, feature_names_in_ : int, ndarray of str
        Number of features, and their names if all are text.

    See Also
    --------
    MLPClassifier : The same for classes.
    fastnn.Model : What :meth:`to_model` gives; can be saved and exported.

    Examples
    --------
    >>> from sklearn.datasets import make_friedman1
    >>> from fastnn.sklearn import MLPRegressor
    >>> X, y = make_friedman1(500, noise=0.1, random_state=0)
    >>> regressor = MLPRegressor(random_state=1).fit(X[:400], y[:400])
    >>> regressor.score(X[400:], y[400:]) > 0.8
    True
    """

    _numeric_targets = True
    _plain_targets = "biuf"

    def __init__(
        self,
        loss: str = "squared_error",
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
        huber_delta: float = 1.0,
        schedule: str | None = "cosine",
        standardise: bool | str = "auto",
        dropout: float = 0.0,
        averaging: str | None = None,
        ensemble: int = 1,
        dtype: str = "float32",
        callbacks: Callable[..., Any] | Sequence[Callable[..., Any]] | None = None,
    ) -> None:
        self.loss = loss
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
        self.huber_delta = huber_delta
        self.schedule = schedule
        self.standardise = standardise
        self.dropout = dropout
        self.averaging = averaging
        self.ensemble = ensemble
        self.dtype = dtype
        self.callbacks = callbacks

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train on samples once, in their order, with the learning rate `learning_rate_init`.

        Of a fitted estimator with one target, and if `X` is an array of floats with one row and `y` an array of one
        float, this takes a few microseconds.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Finite numbers.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Finite numbers.
        sample_weight : array-like of shape (n_samples,) or float, default=None
            As in :meth:`fit`, but never scaled: weights that ask for more than a million steps are refused.

        Returns
        -------
        self : object

        Raises
        ------
        InputError
            If the data are invalid or training diverges, which is a ValueError. The estimator is then as it was before.
        """
        if sample_weight is None and self._fits_fast(X, y):
            return self
        with unchanged_on_error(self):
            self._partial_fit(X, y, sample_weight)
        return self

    def predict(self, X: Any) -> NDArray[np.float64]:
        """Return the predicted targets of each sample.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        ndarray of float64, shape (n_samples,), or (n_samples, n_targets) for several targets
        """
        outputs = self._outputs(X)
        return outputs[:, 0] if outputs.shape[1] == 1 else outputs

    @classmethod
    def from_model(cls, model: Model) -> Self:
        """Return a fitted regressor with copies of a model's networks.

        Raises
        ------
        InputError
            If the model is not for regression.
        """
        estimator = cls._from_model(model, "regression")
        estimator._names = model.names
        return estimator

    @property
    def out_activation_(self) -> str:
        """Activation of the outputs."""
        if self._trained is None:
            raise AttributeError("this MLPRegressor is not fitted yet")
        return "identity"

    # ---- targets ----

    def _learn_targets(self, y: Any, classes: Any = None, *, all_there: bool = True) -> None:  # noqa: ARG002
        n = 1 if y.ndim == 1 else y.shape[1]
        self._names = ("y",) if n == 1 else tuple(f"y{place}" for place in range(n))

    def _encode(self, y: Any) -> NDArray[Any]:
        if hasattr(y, "tocsr"):
            raise InputError("`y` must be a dense array; use y.toarray()")
        if y.dtype.kind not in "biufO":
            raise InputError(f"`y` must hold numbers, not {y.dtype}; convert it, for example with y.astype(float)")
        targets = np.asarray(y, dtype=np.float64).reshape(len(y), -1)
        if targets.shape[1] != len(self._names):
            raise InputError(f"`y` has {targets.shape[1]} targets, but {len(self._names)} are expected")
        return targets

    def _output_names(self) -> tuple[str, ...]:
        return self._names

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
