"""The parameters of the estimators: what they may be, and the recipe that they make."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn.errors import InputError
from fastnn.recipe import Recipe
from fastnn.training import step_options

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from fastnn.engine import StepOptions

    Check = tuple[Callable[[Any], bool], str]

ACTIVATIONS = {"logistic": "sigmoid", "tanh": "tanh", "relu": "relu"}
"""Names of scikit-learn with those of :class:`fastnn.Network`."""

_SCHEDULES = {"constant": "constant", "invscaling": "inverse_scaling", "adaptive": "adaptive"}
_LEAST_RATE = 1e-6
"""Learning rate from which "adaptive" ends instead of dividing it again, as in scikit-learn."""
_RATE_DECAY = 0.2
_RATE, _LARGEST_STEP, _LEAST_AUTO_RATE = 0.01, 3.0, 1e-9
"""The rate "auto" is the first, unless it makes the product of rate and squared length of a row larger than the second.
With two to three times of that, regressions diverge (measured with 10 to 2000 standardised features). If single rows
are longer than others, their steps alone are smaller: with features exp(2.5 z), R2 was 0.99 and not 0.71."""
_ERROR_LIMIT = 5.0
"""Larger errors, in standard deviations of the target, are clipped. Without this limit a regression of features with
heavy tails diverged at a third of the rate; where none of them did, the scores were the same."""
_MOST_ITERATIONS = 1_000_000
_REFUSED = {
    "solver": (
        "sgd",
        (
            "solver={!r} is not available, since fastnn trains by stochastic gradient descent, one sample at a time; "
            "leave solver='sgd' and choose learning_rate_init instead"
        ),
    ),
    "batch_size": (
        1,
        (
            "batch_size={!r} is not available, since fastnn changes the weights after each sample; leave batch_size=1 "
            "and choose learning_rate_init instead"
        ),
    ),
}
_OTHER_ACTIVATION = (
    "activation='identity' is not available, since such a network is a linear model; take one of sklearn.linear_model"
)


def check_parameters(estimator: Any) -> None:
    """Raise an InputError if a parameter of an estimator has a wrong type or value."""
    name = type(estimator).__name__
    values = estimator.get_params(deep=False)
    for parameter, value in values.items():
        if parameter in _REFUSED:
            allowed, reason = _REFUSED[parameter]
            if not (isinstance(value, type(allowed)) and value == allowed):
                raise InputError(f"{name}: {reason.format(value)}")
            continue
        fits, words = _CHECKS[parameter]
        if not fits(value):
            if parameter == "activation" and isinstance(value, str) and value == "identity":
                raise InputError(f"{name}: {_OTHER_ACTIVATION}")
            raise InputError(f"The {parameter!r} parameter of {name} must be {words}. Got {value!r} instead.")
    if values.get("rule") == "original":
        _check_original_rule(name, values)


def _check_original_rule(name: str, values: dict[str, Any]) -> None:
    for parameter, wanted in (("activation", "logistic"), ("alpha", 0), ("dropout", 0)):
        if values[parameter] != wanted:
            raise InputError(
                f"{name}: rule='original' has logistic units, no weight decay and no dropout; set "
                f"{parameter}={wanted!r}, or rule='backprop'"
            )


def as_recipe(estimator: Any, seed: int, *, standardise: bool, auto_rate: float) -> Recipe:
    """Return the recipe that the checked parameters of an estimator make.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
    seed : int
    standardise : bool
        What `standardise="auto"` means for the data.
    auto_rate : float
        The learning rate "auto".
    """
    activation: Any = ACTIVATIONS[estimator.activation]
    rule: Any = getattr(estimator, "rule", "backprop")
    dtype: Any = np.dtype(estimator.dtype).name
    early = estimator.early_stopping and estimator.validation_fraction
    loss = getattr(estimator, "loss", None)
    patience = estimator.n_iter_no_change
    schedule: Any = estimator.schedule or _SCHEDULES[estimator.learning_rate]
    step_every = max(1, estimator.max_iter // 10)
    return Recipe(
        name=type(estimator).__name__,
        hidden=hidden_layers(estimator.hidden_layer_sizes),
        rule=rule,
        activation=activation,
        init="uniform" if rule == "original" else "he" if activation == "relu" else "xavier",
        epochs=int(estimator.max_iter),
        lr=auto_rate if isinstance(estimator.learning_rate_init, str) else float(estimator.learning_rate_init),
        schedule=schedule,
        lr_decay=_RATE_DECAY if schedule == "adaptive" else 0.5,
        lr_every=step_every if schedule == "step" else int(min(patience, _MOST_ITERATIONS)),
        power_t=float(estimator.power_t),
        tol=float(estimator.tol),
        alpha=float(estimator.alpha),
        dropout=float(estimator.dropout),
        huber_delta=float(estimator.huber_delta) if loss == "huber" else None,
        error_limit=_ERROR_LIMIT if loss == "squared_error" and estimator.standardise else None,
        seed=seed,
        dtype=dtype,
        standardise=standardise,
        averaging=estimator.averaging or "none",
        averaging_epochs=min(5, int(estimator.max_iter)),
        validation_fraction=float(early or 0),
    )


def auto_rate(squared_length: float) -> float:
    """Return the learning rate "auto" for rows of this mean squared length, as the networks get them."""
    return max(_LEAST_AUTO_RATE, min(_RATE, _LARGEST_STEP / max(squared_length, 1.0)))


def longest_row(rate: float) -> float:
    """Return the squared length from which on :func:`shorten_steps` makes steps smaller."""
    return _LARGEST_STEP / rate


def shorten_steps(
    factors: NDArray[np.float64] | None, rate: float, squared_lengths: NDArray[np.float64]
) -> NDArray[np.float64] | None:
    """Return the factors of the steps, smaller for rows that are so long that their steps would be too large."""
    limits = _LARGEST_STEP / np.maximum(rate * squared_lengths, _LARGEST_STEP)
    if (limits == 1).all():
        return factors
    return limits if factors is None else factors * limits


def as_options(estimator: Any, auto_rate: float) -> tuple[float, StepOptions]:
    """Return learning rate and options of `partial_fit`."""
    recipe = as_recipe(estimator, 0, standardise=False, auto_rate=auto_rate)
    return recipe.lr, step_options(recipe)


def hidden_layers(sizes: Any) -> tuple[int, ...]:
    """Return the units of each hidden layer; `sizes` may be one number."""
    return (int(sizes),) if isinstance(sizes, Integral) else tuple(int(size) for size in sizes)


def makes_no_progress(count: int, estimator: Any, rate: float) -> bool:
    """Return whether training ends after `count` iterations without progress, at this learning rate."""
    if count <= estimator.n_iter_no_change:
        return False
    adapts = estimator.schedule is None and estimator.learning_rate == "adaptive"
    return not adapts or rate <= _LEAST_RATE


def _is_count(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and 1 <= int(value) <= _MOST_ITERATIONS


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def _in_range(low: float, high: float, *, ends: str) -> Callable[[Any], bool]:
    def fits(value: Any) -> bool:
        if not _is_number(value):
            return False
        above = value >= low if ends[0] == "[" else value > low
        return bool(above and (value <= high if ends[1] == "]" else value < high))

    return fits


def _range(low: float, high: float, ends: str) -> Check:
    return _in_range(low, high, ends=ends), f"a float in the range {ends[0]}{low:g}, {high:g}{ends[1]}"


def _one_of(*choices: Any) -> Check:
    def fits(value: Any) -> bool:
        return any(value is choice or (isinstance(value, str) and value == choice) for choice in choices)

    return fits, "one of " + ", ".join(map(repr, choices))


def _are_sizes(value: Any) -> bool:
    if isinstance(value, Integral):
        return _is_count(value)
    return isinstance(value, list | tuple | np.ndarray) and all(_is_count(size) for size in value)


def _is_dtype(value: Any) -> bool:
    try:
        return np.dtype(value).name in ("float32", "float64")
    except TypeError:
        return False


def _is_weights(value: Any) -> bool:
    return value is None or isinstance(value, dict) or (isinstance(value, str) and value == "balanced")


def _are_callbacks(value: Any) -> bool:
    return value is None or callable(value) or (isinstance(value, list | tuple) and all(map(callable, value)))


def _is_random_state(value: Any) -> bool:
    if value is None or isinstance(value, np.random.RandomState):
        return True
    return isinstance(value, Integral) and not isinstance(value, bool) and 0 <= int(value) < 1 << 32


_BOOLEAN: Check = (lambda value: isinstance(value, bool | np.bool_)), "True or False"
_COUNT: Check = _is_count, f"an int in the range [1, {_MOST_ITERATIONS}]"

_CHECKS: dict[str, Check] = {
    "hidden_layer_sizes": (_are_sizes, "an int or a sequence of ints, each at least 1"),
    "activation": _one_of(*ACTIVATIONS),
    "rule": _one_of("backprop", "original"),
    "loss": _one_of("squared_error", "huber"),
    "huber_delta": _range(0, 1e6, "(]"),
    "alpha": _range(0, 1e6, "[]"),
    "learning_rate": _one_of(*_SCHEDULES),
    "learning_rate_init": (
        lambda value: (isinstance(value, str) and value == "auto") or _in_range(0, 1e6, ends="(]")(value),
        "a float in the range (0, 1e+06] or 'auto'",
    ),
    "power_t": _range(0, 10, "[]"),
    "schedule": _one_of(None, "cosine", "step"),
    "max_iter": _COUNT,
    "shuffle": _BOOLEAN,
    "random_state": (_is_random_state, "an int in the range [0, 4294967295], an instance of RandomState or None"),
    "tol": _range(0, 1e6, "[]"),
    "verbose": (lambda value: isinstance(value, bool | np.bool_ | Integral), "a bool or an int"),
    "warm_start": _BOOLEAN,
    "early_stopping": _BOOLEAN,
    "validation_fraction": _range(0, 0.999, "[]"),
    "n_iter_no_change": (lambda value: _is_count(value) or value == math.inf, f"{_COUNT[1]} or inf"),
    "standardise": (
        lambda value: isinstance(value, bool | np.bool_) or (isinstance(value, str) and value == "auto"),
        "True, False or 'auto'",
    ),
    "dropout": _range(0, 0.999, "[]"),
    "class_weight": (_is_weights, "None, 'balanced' or a dict"),
    "averaging": _one_of(None, "ema", "tail"),
    "ensemble": (lambda value: _is_count(value) and value <= 100, "an int in the range [1, 100]"),
    "dtype": (_is_dtype, "'float32' or 'float64'"),
    "callbacks": (_are_callbacks, "a callable, a list of callables or None"),
}
