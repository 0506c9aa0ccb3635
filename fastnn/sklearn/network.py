"""Models as the multi-layer perceptrons of scikit-learn itself, and these as models."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import sklearn.neural_network
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted

from fastnn.datasets.scaling import Scaling
from fastnn.datasets.sparse import SparseRows
from fastnn.errors import ModelError
from fastnn.formats.foreign import Facts, Foreign
from fastnn.formats.plain import input_scaling

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from fastnn.model import Model
    from fastnn.network import Task

_ACTIVATIONS: dict[str, Any] = {"logistic": "sigmoid", "tanh": "tanh", "relu": "relu"}


def to_sklearn(model: Model, classes: ArrayLike | None = None) -> Any:
    """Return a fitted estimator of scikit-learn itself with the weights of a model.

    It is a :class:`sklearn.neural_network.MLPClassifier` or ``MLPRegressor`` in float64, so that whatever knows these
    runs the network: skl2onnx, SHAP, permutation importance. Scaling and polarity of the inputs are in its first
    layer, that of targets in its last one. It takes what the model takes: rows, or images as rows of grey levels from
    0 to 255.

    Parameters
    ----------
    model : Model
    classes : array_like of shape (n_classes,), optional
        The classes in the order of the model's names; by default the names. The estimator's ``classes_`` are sorted.

    Returns
    -------
    MLPClassifier or MLPRegressor

    Raises
    ------
    ModelError
        If scikit-learn cannot express the model; the message has the reason.
    """
    _check_expressible(model)
    network = model.network
    weights, biases = _folded_layers(model)
    names = {mine: theirs for theirs, mine in _ACTIVATIONS.items()}
    options = {
        "hidden_layer_sizes": network.sizes[1:-1],
        "activation": names[network.activation],
        "solver": "lbfgs",  # leaves no state behind
        "max_iter": 1,
        "max_fun": 1,
        "random_state": 0,
    }
    k = len(model.names)
    if model.task == "classification":
        found = _classes(model, classes)
        order = np.argsort(found, kind="stable")
        weights[-1], biases[-1] = weights[-1][:, order], biases[-1][order]
        if k == 2:  # a softmax of two is a logistic function of the difference
            weights[-1], biases[-1] = np.diff(weights[-1], axis=1), np.diff(biases[-1])
        estimator, targets = sklearn.neural_network.MLPClassifier(**options), found
    elif model.task == "multilabel":
        estimator, targets = sklearn.neural_network.MLPClassifier(**options), np.eye(k, dtype=np.int64)
    else:
        targets = np.zeros((2, k)) if k > 1 else np.zeros(2)
        estimator = sklearn.neural_network.MLPRegressor(**options)
    # All that is not public about a fitted estimator comes from fitting one; then it gets its weights.
    with warnings.catch_warnings(action="ignore"):  # one step is not enough
        estimator.fit(np.zeros((len(targets), model.n_inputs)), targets)
    estimator.coefs_, estimator.intercepts_ = weights, biases
    return estimator


def _check_expressible(model: Model) -> None:
    """Raise ModelError with the reason if scikit-learn cannot express a model."""
    reasons = {
        "it is the mean of several networks": len(model.networks) > 1,
        "the outputs of rule original are sigmoids divided by their sum": model.network.rule == "original",
        "it normalises its images": model.normalise,
        "its probabilities are calibrated; in Python, model.with_card(calibration=None) gives the same classes with "
        "the probabilities of the network": model.card.calibration is not None,
        "it has one class": model.task == "classification" and len(model.names) == 1,
        "it has one label": model.task == "multilabel" and len(model.names) == 1,
    }
    for reason, so in reasons.items():
        if so:
            raise ModelError(f"a multi-layer perceptron of scikit-learn cannot hold this model: {reason}")


def _folded_layers(model: Model) -> tuple[list[NDArray[np.float64]], list[NDArray[np.float64]]]:
    """Return weights and biases in float64 for inputs and targets that are not scaled."""
    weights = [part.astype(np.float64) for part in model.network.weights]
    biases = [part.astype(np.float64) for part in model.network.biases]
    scaling = input_scaling(model)
    with np.errstate(over="ignore", invalid="ignore"):
        if not scaling.is_identity:
            weights[0] *= scaling.factor[:, None]
            biases[0] -= np.broadcast_to(scaling.mean, len(weights[0])) @ weights[0]
        if model.target_scaling is not None:
            weights[-1] /= model.target_scaling.factor
            biases[-1] = model.target_scaling.undo(biases[-1])
    if not all(np.isfinite(part).all() for part in (*weights, *biases)):
        raise ModelError("its weights are too large to hold the scaling too")
    return weights, biases


def _classes(model: Model, classes: ArrayLike | None) -> NDArray[Any]:
    found = np.asarray(model.names if classes is None else classes)
    if found.shape != (len(model.names),):
        raise ModelError(f"classes must be {len(model.names)} classes, not an array of shape {found.shape}")
    if len(set(found.tolist())) != len(found):
        raise ModelError(f"classes must be different, not {found}")
    if classes is None and tuple(found.tolist()) != model.names:  # NumPy drops null characters at the end of a text
        raise ModelError("the name of a class ends with a null character, which NumPy cannot hold")
    return found


def answers_of(estimator: Any, model: Model, samples: Any) -> NDArray[np.float64]:
    """Return what an estimator that :func:`to_sklearn` made of a model predicts, as :meth:`fastnn.Model.answers`."""
    rows = samples.toarray() if isinstance(samples, SparseRows) else np.asarray(samples)
    rows = rows.astype(np.float64)
    if model.task == "regression":
        return np.asarray(estimator.predict(rows)).reshape(len(rows), -1)
    probabilities = np.asarray(estimator.predict_proba(rows))
    if model.task == "multilabel":
        return probabilities
    place = {name: column for column, name in enumerate(map(str, estimator.classes_.tolist()))}
    return probabilities[:, [place[name] for name in model.names]]


def from_sklearn(
    estimator: Any, *, names: tuple[str, ...] | None = None, invert: bool | None = None, std: float | None = None
) -> Model:
    """Return the model of a multi-layer perceptron of scikit-learn.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor of sklearn.neural_network, or Pipeline
        Fitted; a pipeline of a StandardScaler and one of these.
    names : tuple of str, optional
        Of a regression's targets, by default ``y``, or ``y0``, ``y1``, ...; of labels, by default their numbers.
        Those of classes are the text of ``classes_``.
    invert : bool, optional
        Give it if the features are the pixels of images, as numbers from 0 to 1: True if white is 0, False if white is
        1. Then the model takes images.
    std : float, optional
        The features were divided by it; 1/255 for grey levels from 0 to 255.

    Returns
    -------
    Model

    Raises
    ------
    ModelError
        If it is another estimator, or fastnn has no such network.
    """
    takes: Any = "rows" if invert is None else "images"
    found = foreign_of(estimator)
    if names is None and found.facts.task == "regression":
        k = found.layers[-1][0].shape[1]
        names = ("y",) if k == 1 else tuple(f"y{column}" for column in range(k))
    return found.model(Facts(takes=takes, invert=invert, names=names, std=std))


def foreign_of(estimator: Any) -> Foreign:
    """Return layers and facts of an estimator, see :func:`from_sklearn`; ModelError if it is another one."""
    scaling = None
    if isinstance(estimator, Pipeline):
        steps = [step for _, step in estimator.steps]
        if len(steps) != 2 or not isinstance(steps[0], StandardScaler):
            raise ModelError("of pipelines, only those of a StandardScaler and a multi-layer perceptron can be read")
        scaling, estimator = _scaling_of(steps[0]), steps[1]
    kinds = (sklearn.neural_network.MLPClassifier, sklearn.neural_network.MLPRegressor)
    if not isinstance(estimator, kinds):
        raise ModelError(
            f"is a {type(estimator).__name__}, not an MLPClassifier or MLPRegressor of sklearn.neural_network"
        )
    try:
        check_is_fitted(estimator, ["coefs_", "intercepts_", "out_activation_"])
    except ValueError:
        raise ModelError("is not fitted") from None
    layers = _layers_of(estimator)
    hidden, output = estimator.activation, estimator.out_activation_
    if len(layers) > 1 and hidden not in _ACTIVATIONS:
        raise ModelError(f"fastnn has no hidden layers with the activation {hidden!r}")
    activation = _ACTIVATIONS.get(hidden) if len(layers) > 1 else None
    if isinstance(estimator, kinds[1]):
        if output != "identity":
            raise ModelError(f"fastnn has no regression with the output {output!r}")
        return Foreign(layers, Facts(activation=activation, task="regression"), scaling)
    names = tuple(map(str, np.asarray(estimator.classes_).tolist()))
    n_outputs = layers[-1][0].shape[1]
    if output not in ("softmax", "logistic"):
        raise ModelError(f"fastnn has no classes with the output {output!r}")
    task: Task = "multilabel" if output == "logistic" and n_outputs > 1 else "classification"
    known = Facts(activation=activation, task=task, names=None if task == "multilabel" else names)
    return Foreign(layers, known, scaling)


def _layers_of(estimator: Any) -> list[Any]:
    """Return the layers of an estimator; a file may have put anything there."""
    weights, biases = estimator.coefs_, estimator.intercepts_
    if not (isinstance(weights, list) and isinstance(biases, list) and len(weights) == len(biases) > 0):
        raise ModelError("its layers are damaged")
    before = None
    for weight, bias in zip(weights, biases, strict=True):
        arrays = isinstance(weight, np.ndarray) and isinstance(bias, np.ndarray)
        if not (arrays and weight.ndim == 2 and 0 not in weight.shape and weight.dtype.kind == bias.dtype.kind == "f"):
            raise ModelError("its layers are damaged")
        if bias.shape != weight.shape[1:] or before not in (None, weight.shape[0]):
            raise ModelError("its layers do not fit each other")
        before = weight.shape[1]
    return list(zip(weights, biases, strict=True))


def _scaling_of(scaler: Any) -> Scaling:
    try:
        check_is_fitted(scaler, "scale_")
        mean, scale = scaler.mean_, scaler.scale_
        n = int(scaler.n_features_in_)
        # It knows its mean also if it does not subtract it.
        mean = np.asarray(mean, dtype=np.float64) if scaler.with_mean else np.zeros(n)
        scale = np.asarray(scale, dtype=np.float64) if scaler.with_std else np.ones(n)
        with np.errstate(divide="ignore", invalid="ignore"):
            return Scaling(mean, 1.0 / scale)
    except (AttributeError, TypeError, ValueError, OverflowError, MemoryError):
        raise ModelError("its StandardScaler is not fitted, or damaged") from None
