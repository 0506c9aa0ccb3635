"""The contract of MLPClassifier and MLPRegressor: what scikit-learn promises of its own ones, and what we add."""

from __future__ import annotations

import copy
import importlib
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

pytest.importorskip("sklearn")

from scipy import sparse
from scipy.special import expit, softmax
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_iris, make_multilabel_classification, make_regression
from sklearn.ensemble import AdaBoostClassifier, StackingClassifier
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import fastnn
import fastnn.sklearn
from fastnn.datasets import Scaling, SparseRows
from fastnn.errors import InputError, MissingExtraError
from fastnn.network import Network
from fastnn.sklearn import MLPClassifier, MLPRegressor
from fastnn.sklearn.samples import hash_rows, in_canonical_order, in_given_order, squared_lengths

X_IRIS, Y_IRIS = load_iris(return_X_y=True)
X_BINARY, Y_BINARY = X_IRIS[50:], Y_IRIS[50:]
X_REGRESSION, Y_REGRESSION = make_regression(200, 5, n_informative=3, noise=5.0, bias=100.0, random_state=0)
X_LABELS, Y_LABELS = make_multilabel_classification(120, 10, n_classes=4, random_state=0)

SMALL = {"hidden_layer_sizes": (8,), "max_iter": 5, "random_state": 0}


def classifier(**changes):
    return MLPClassifier(**{**SMALL, **changes})


def regressor(**changes):
    return MLPRegressor(**{**SMALL, **changes})


def forward(estimator, x):
    """Return the outputs by hand, from the public attributes."""
    for weights, biases in zip(estimator.coefs_[:-1], estimator.intercepts_[:-1], strict=True):
        x = np.maximum(x @ weights + biases, 0)
    z = x @ estimator.coefs_[-1] + estimator.intercepts_[-1]
    return {"identity": lambda z: z, "logistic": expit, "softmax": lambda z: softmax(z, axis=1)}[
        estimator.out_activation_
    ](z)


def same_weights(one, other):
    pairs = zip(one.coefs_ + one.intercepts_, other.coefs_ + other.intercepts_, strict=True)
    return all(np.array_equal(left, right) for left, right in pairs)


# ---- what the networks compute ----


def test_a_forward_pass_by_hand_gives_the_probabilities():
    # Far from 0 and of different sizes: standardising is part of the weights.
    x = X_IRIS * [1.0, 10.0, 100.0, 1000.0] + 5000.0
    three = classifier().fit(x, Y_IRIS)
    assert (three.n_outputs_, three.out_activation_, three.n_layers_) == (3, "softmax", 3)
    assert [weights.shape for weights in three.coefs_] == [(4, 8), (8, 3)]
    np.testing.assert_allclose(three.predict_proba(x), forward(three, x), atol=1e-5)
    two = classifier().fit(x[50:], Y_BINARY)
    assert (two.n_outputs_, two.out_activation_, two.coefs_[-1].shape) == (1, "logistic", (8, 1))
    np.testing.assert_allclose(two.predict_proba(x)[:, 1], forward(two, x)[:, 0], atol=1e-5)


def test_a_forward_pass_by_hand_gives_labels_and_numbers():
    labels = classifier().fit(X_LABELS, Y_LABELS)
    assert labels.out_activation_ == "logistic"
    np.testing.assert_allclose(labels.predict_proba(X_LABELS), forward(labels, X_LABELS), atol=1e-5)
    several = regressor().fit(X_REGRESSION, np.stack([Y_REGRESSION, 1000 - Y_REGRESSION], axis=1))
    assert (several.n_outputs_, several.out_activation_) == (2, "identity")
    np.testing.assert_allclose(several.predict(X_REGRESSION), forward(several, X_REGRESSION), rtol=1e-4, atol=1e-2)


def test_the_automatic_rate_suits_wide_and_long_samples():
    rates = []
    estimator = regressor(max_iter=3, callbacks=lambda _, report: rates.append(report.lr))
    wide = np.random.default_rng(0).normal(size=(100, 1000))
    estimator.set_params(schedule=None, n_iter_no_change=np.inf)
    with pytest.warns(ConvergenceWarning):
        estimator.fit(wide, wide[:, 0])
    np.testing.assert_allclose(rates, 0.003)
    long = X_REGRESSION.copy()
    long[::50] *= 1e4  # a few outliers
    assert np.abs(regressor().fit(long, Y_REGRESSION).predict(X_REGRESSION) - 100).max() < 1000
    scaling = Scaling(np.array([1.0, -2.0]), np.array([2.0, 3.0]))
    rows = np.array([[0.0, 1.0], [0.0, 0.0], [5.0, 0.0]])
    expected = np.square((rows - scaling.mean) * scaling.factor).sum(axis=1)
    for features in (rows, SparseRows.from_scipy(sparse.csr_array(rows))):
        np.testing.assert_allclose(squared_lengths(features, scaling), expected)
        np.testing.assert_allclose(squared_lengths(features, None), np.square(rows).sum(axis=1))


def test_a_step_follows_the_gradient():
    rate, alpha, x = 0.1, 0.1, np.array([[0.6, -0.8, 0.7]])
    estimator = regressor(learning_rate_init=rate, alpha=alpha, standardise=False, hidden_layer_sizes=(2,))
    estimator.partial_fit(X_REGRESSION[:3, :3], Y_REGRESSION[:3] / 100)
    (first, last), (bias, last_bias) = estimator.coefs_, estimator.intercepts_
    z = x @ first + bias
    error = forward(estimator, x)[0] - 2.0
    delta = error * last[:, 0] * (z[0] > 0)
    estimator.partial_fit(x, [2.0])
    np.testing.assert_allclose(estimator.loss_, 0.5 * error[0] ** 2, rtol=1e-5)
    np.testing.assert_allclose(estimator.intercepts_[1], last_bias - rate * error, rtol=1e-5)
    np.testing.assert_allclose(
        estimator.coefs_[1], last - rate * (np.maximum(z, 0).T * error + alpha * last), rtol=1e-5
    )
    np.testing.assert_allclose(estimator.intercepts_[0], bias - rate * delta, rtol=1e-5)
    np.testing.assert_allclose(estimator.coefs_[0], first - rate * (np.outer(x, delta) + alpha * first), rtol=1e-5)


def test_fit_in_order_is_partial_fit_again_and_again():
    settings = {"shuffle": False, "standardise": False, "schedule": None, "n_iter_no_change": np.inf}
    fitted = classifier(**settings)
    with pytest.warns(ConvergenceWarning, match="Maximum iterations"):
        fitted.fit(X_IRIS, Y_IRIS)
    stepped = classifier(**settings)
    for _ in range(5):
        stepped.partial_fit(X_IRIS, Y_IRIS, classes=[0, 1, 2])
    assert (fitted.t_, stepped.t_) == (750, 750)
    np.testing.assert_allclose(stepped.predict_proba(X_IRIS), fitted.predict_proba(X_IRIS), atol=1e-3)
    np.testing.assert_allclose(stepped.loss_, fitted.loss_, rtol=1e-3)


@pytest.mark.parametrize(
    "changes",
    [
        {"schedule": "step"},
        {"averaging": "ema"},
        {"averaging": "tail", "n_iter_no_change": np.inf},
        {"ensemble": 2},
        {"dropout": 0.1},
        {"early_stopping": True},
        {"class_weight": "balanced"},
        {"hidden_layer_sizes": 20},
    ],
    ids=str,
)
def test_settings_learn(changes):
    estimator = MLPClassifier(random_state=0, max_iter=20).set_params(**changes).fit(X_IRIS, Y_IRIS)
    assert estimator.score(X_IRIS, Y_IRIS) > 0.9
    assert len(estimator.loss_curve_) == estimator.n_iter_ <= 20


def test_defaults_learn():
    assert MLPClassifier(random_state=0).fit(X_IRIS, Y_IRIS).score(X_IRIS, Y_IRIS) > 0.95
    assert MLPRegressor(random_state=0).fit(X_REGRESSION, Y_REGRESSION).score(X_REGRESSION, Y_REGRESSION) > 0.95
    assert classifier(max_iter=100).fit(X_LABELS, Y_LABELS).score(X_LABELS, Y_LABELS) > 0.5


def test_rule_original():
    estimator = classifier(rule="original", activation="logistic", alpha=0, max_iter=40, learning_rate_init=0.1)
    estimator.fit(X_IRIS, Y_IRIS)
    assert (estimator.out_activation_, estimator.n_outputs_) == ("logistic", 3)
    assert estimator.score(X_IRIS, Y_IRIS) > 0.9
    np.testing.assert_allclose(estimator.predict_proba(X_IRIS).sum(axis=1), 1)
    again = MLPClassifier.from_model(estimator.to_model(), classes=[0, 1, 2])
    assert np.array_equal(again.predict_proba(X_IRIS), estimator.predict_proba(X_IRIS))
    assert again.partial_fit(X_IRIS, Y_IRIS).t_ == 150
    with pytest.raises(InputError, match=r"rule='original' has logistic units.*activation='logistic'"):
        classifier(rule="original").fit(X_IRIS, Y_IRIS)


def test_huber_is_robust_to_outliers():
    y = Y_REGRESSION.copy()
    y[::20] += 5000.0
    errors = {}
    for loss in ("squared_error", "huber"):
        estimator = regressor(loss=loss, huber_delta=0.1, max_iter=20).fit(X_REGRESSION, y)
        errors[loss] = np.median(np.abs(estimator.predict(X_REGRESSION) - Y_REGRESSION))
    assert errors["huber"] < errors["squared_error"]


def test_alpha_shrinks_weights():
    sizes = [np.abs(classifier(alpha=alpha).fit(X_IRIS, Y_IRIS).coefs_[0]).sum() for alpha in (1e-5, 0.1)]
    assert sizes[1] < sizes[0]


def test_float64_keeps_more_digits():
    estimator = classifier(dtype="float64", alpha=0).fit(X_IRIS, Y_IRIS)
    np.testing.assert_allclose(estimator.predict_proba(X_IRIS), forward(estimator, X_IRIS), atol=1e-12)


def test_probabilities_sum_to_one_and_logarithms_fit():
    estimator = classifier().fit(X_IRIS, Y_IRIS)
    probabilities = estimator.predict_proba(X_IRIS)
    assert probabilities.dtype == np.float64
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-12)
    np.testing.assert_allclose(np.exp(estimator.predict_log_proba(X_IRIS)), probabilities)
    assert np.array_equal(estimator.predict(X_IRIS), probabilities.argmax(axis=1))
    far = np.array([[1e9, -1e9, 1e9, 1e9]])
    assert estimator.predict_log_proba(far).min() < -50


# ---- how long training goes on ----


def test_training_ends_without_progress():
    for patience in (2, 5):
        estimator = classifier(tol=1e3, n_iter_no_change=patience, max_iter=100, schedule=None).fit(X_IRIS, Y_IRIS)
        assert estimator.n_iter_ == patience + 2  # the first epoch is always progress
    estimator = classifier(tol=1e3, n_iter_no_change=np.inf, max_iter=30).fit(X_IRIS, Y_IRIS)
    assert estimator.n_iter_ == 30
    assert estimator.best_loss_ == min(estimator.loss_curve_)
    assert estimator.loss_ == estimator.loss_curve_[-1]
    assert (estimator.validation_scores_, estimator.best_validation_score_) == (None, None)


def test_the_adaptive_rate_ends_training():
    rates = []
    estimator = classifier(
        tol=1e3,
        n_iter_no_change=2,
        max_iter=1000,
        schedule=None,
        learning_rate="adaptive",
        callbacks=lambda _, report: rates.append(report.lr),
    ).fit(X_IRIS[::10], Y_IRIS[::10])
    assert estimator.n_iter_ < 100
    assert rates[0] == 0.01
    assert rates[-1] <= 1e-6


def test_inverse_scaling():
    rates = []
    estimator = classifier(schedule=None, learning_rate="invscaling", learning_rate_init=0.1, power_t=1)
    with pytest.warns(ConvergenceWarning):
        estimator.set_params(callbacks=[lambda _, report: rates.append(report.lr)]).fit(X_IRIS, Y_IRIS)
    np.testing.assert_allclose(rates, 0.1 / np.arange(1, 6))


@pytest.mark.parametrize(("estimator", "y"), [(classifier(), Y_IRIS), (regressor(), X_IRIS[:, 2])], ids=["c", "r"])
def test_early_stopping(estimator, y):
    estimator.set_params(early_stopping=True, max_iter=100, n_iter_no_change=3, tol=0.1).fit(X_IRIS, y)
    assert estimator.n_iter_ < 100
    assert estimator.best_loss_ is None
    assert len(estimator.validation_scores_) == estimator.n_iter_
    assert estimator.best_validation_score_ == max(estimator.validation_scores_)
    # Unlike scikit-learn's estimator, this one can then be trained further.
    assert estimator.partial_fit(X_IRIS, y).t_ > 150


def test_early_stopping_needs_enough_data():
    for data, fraction in ((slice(2), 0.1), (slice(150), 0.0)):
        with pytest.raises(InputError, match="validation set is too small"):
            regressor(early_stopping=True, validation_fraction=fraction).fit(X_IRIS[data], X_IRIS[data, 0])


def test_callbacks_see_a_fitted_estimator_and_may_stop():
    seen = []

    def callback(estimator, report):
        seen.append((estimator.n_iter_, report.epoch, estimator.score(X_IRIS, Y_IRIS)))
        return report.epoch == 3

    estimator = classifier(callbacks=callback, schedule=None).fit(X_IRIS, Y_IRIS)
    assert [epochs for *epochs, _ in seen] == [[1, 1], [2, 2], [3, 3]]
    assert seen[-1][2] == estimator.score(X_IRIS, Y_IRIS)


class Recorder:
    """A callback as scikit-learn's own ones are; it ends training after the epoch `last`."""

    def __init__(self, last=None):
        self.last, self.calls, self.scores = last, [], []

    def setup(self, estimator, context):  # noqa: ARG002 - named by scikit-learn
        self.calls.append(("setup", context.task_name, context.max_subtasks))

    def teardown(self, estimator, context):  # noqa: ARG002
        self.calls.append(("teardown", context.task_name))

    def on_fit_task_begin(self, _, context):
        self.calls.append(("begin", context.task_name, context.task_id))

    def on_fit_task_end(self, _, context, *, X, y, metadata, fitted_estimator):  # noqa: N803
        self.calls.append(("end", context.task_name, context.task_id))
        self.scores.append(fitted_estimator.score(X, y, **metadata))
        return context.task_name == "epoch" and context.task_id == self.last


needs_callbacks = pytest.mark.skipif(
    not hasattr(MLPClassifier, "set_callbacks"), reason="scikit-learn has callbacks of its own from version 1.9 on"
)


@needs_callbacks
def test_scikit_learns_own_callbacks_are_called_and_may_stop():
    scores, recorder, weights = [], Recorder(last=1), np.linspace(0.5, 2, len(Y_IRIS))
    estimator = classifier(callbacks=lambda one, _: scores.append(one.score(X_IRIS, Y_IRIS, weights)))
    estimator.set_callbacks(recorder).fit(X_IRIS, Y_IRIS, weights)
    epochs = [(when, "epoch", k) for k in range(2) for when in ("begin", "end")]
    fit = [("setup", "fit", 5), ("begin", "fit", 0), *epochs, ("end", "fit", 0), ("teardown", "fit")]
    assert (recorder.calls, estimator.n_iter_) == (fit, 2)
    assert recorder.scores == [*scores, scores[-1]]
    assert same_weights(classifier().fit(X_IRIS, Y_IRIS), classifier().set_callbacks(Recorder()).fit(X_IRIS, Y_IRIS))


@needs_callbacks
def test_scikit_learns_own_callbacks_end_with_a_fit_that_fails():
    recorder = Recorder()
    estimator = regressor().set_callbacks(recorder)
    before = dict(vars(estimator))
    with pytest.raises(InputError, match="NaN"):
        estimator.fit(X_REGRESSION, np.full(len(X_REGRESSION), np.nan))
    assert recorder.calls == [("setup", "fit", 5), ("begin", "fit", 0), ("teardown", "fit")]
    assert vars(estimator) == before


def test_ctrl_c_keeps_what_was_learned():
    def interrupt(estimator, _):
        if estimator.n_iter_ == 2:
            raise KeyboardInterrupt

    with pytest.warns(UserWarning, match="interrupted by user"):
        estimator = classifier(callbacks=interrupt).fit(X_IRIS, Y_IRIS)
    assert (estimator.n_iter_, len(estimator.predict(X_IRIS))) == (2, 150)


def test_verbose_prints_each_epoch(capsys):
    estimator = classifier(verbose=True, early_stopping=True, tol=10, n_iter_no_change=1).fit(X_IRIS, Y_IRIS)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"Iteration 1, loss = {estimator.loss_curve_[0]:.8f}"
    assert lines[1] == f"Validation score: {estimator.validation_scores_[0]:f}"
    assert lines[-1].startswith("Validation score did not improve more than tol=10.000000 for 1")


def test_a_warm_start_continues_the_same_function():
    estimator = regressor(warm_start=True, max_iter=30).fit(X_REGRESSION, Y_REGRESSION)
    before = estimator.predict(X_REGRESSION)
    # Other data have other means and deviations, to which the networks must be converted.
    estimator.set_params(max_iter=1, learning_rate_init=1e-12).fit(X_REGRESSION[:50] * 3 + 1, Y_REGRESSION[:50] * 2)
    np.testing.assert_allclose(estimator.predict(X_REGRESSION), before, rtol=1e-3, atol=0.05)
    assert (estimator.n_iter_, len(estimator.loss_curve_)) == (1, 1)
    with pytest.raises(InputError, match="same sizes"):
        estimator.set_params(hidden_layer_sizes=(9,)).fit(X_REGRESSION, Y_REGRESSION)


def test_a_warm_start_needs_the_same_classes():
    estimator = classifier(warm_start=True).fit(X_IRIS, Y_IRIS)
    for y in (np.minimum(Y_IRIS, 1), Y_IRIS + 1, np.arange(150) % 4):
        with pytest.raises(InputError, match="warm_start can only be used where `y` has the same classes"):
            estimator.fit(X_IRIS, y)


def test_shuffling_changes_the_order_only_if_asked():
    x, y = X_IRIS[::-1], Y_IRIS[::-1]
    shuffled = [classifier().fit(*data) for data in ((X_IRIS, Y_IRIS), (x, y))]
    assert same_weights(*shuffled)  # the order depends on the content
    in_order = [classifier(shuffle=False).fit(*data) for data in ((X_IRIS, Y_IRIS), (x, y))]
    assert not same_weights(*in_order)
    assert not same_weights(shuffled[0], in_order[0])


def test_float32_features_are_the_same_numbers():
    x = X_IRIS.astype(np.float32)
    assert same_weights(classifier().fit(x, Y_IRIS), classifier().fit(x.astype(np.float64), Y_IRIS))


def test_a_warm_start_with_early_stopping_measures_anew():
    estimator = classifier(warm_start=True, early_stopping=True).fit(X_IRIS, Y_IRIS)
    first = estimator.best_validation_score_
    estimator.set_params(max_iter=7).fit(X_IRIS, Y_IRIS)
    assert len(estimator.validation_scores_) == estimator.n_iter_ == 7
    assert estimator.best_validation_score_ >= first - 0.2


def test_seeds():
    one, two = (classifier().fit(X_IRIS, Y_IRIS) for _ in range(2))
    assert same_weights(one, two)
    state = np.random.RandomState(0)
    three, four = (classifier(random_state=state).fit(X_IRIS, Y_IRIS) for _ in range(2))
    assert not same_weights(three, four)
    assert same_weights(three, classifier(random_state=np.random.RandomState(0)).fit(X_IRIS, Y_IRIS))
    assert not same_weights(classifier(random_state=None).fit(X_IRIS, Y_IRIS), one)


# ---- classes ----


@pytest.mark.parametrize(
    "names", [np.array(["a", "b", "c"]), np.array(["a", "b", "c"], dtype=object), np.array([-5, 1, 7]), [0.5, 1.5, 2.0]]
)
def test_classes_of_any_type(names):
    y = np.asarray(names)[Y_IRIS]
    if y.dtype == float:
        with pytest.raises(InputError, match="Unknown label type"):
            classifier().fit(X_IRIS, y)
        return
    estimator = classifier(max_iter=20).fit(X_IRIS, y)
    assert np.array_equal(estimator.classes_, names)
    assert estimator.predict(X_IRIS).dtype == estimator.classes_.dtype
    assert estimator.score(X_IRIS, y) > 0.9
    assert classifier(early_stopping=True).fit(X_IRIS, y).validation_scores_[-1] > 0.3
    estimator.partial_fit(X_IRIS[:1], y[:1]).partial_fit(X_IRIS[:1], y[:1])
    with pytest.raises(InputError, match=r"`y` has classes not in `self.classes_`"):
        estimator.partial_fit(X_IRIS[:1], np.array(["other"]))


def test_partial_fit_needs_all_classes_at_first():
    with pytest.raises(InputError, match="classes must be passed on the first call"):
        classifier().partial_fit(X_IRIS, Y_IRIS)
    estimator = classifier(standardise=False).partial_fit([[1.0]] * 2, ["a", "b"], classes=["a", "b", "d"])
    estimator.partial_fit([[4.0]], ["d"])
    assert list(estimator.classes_) == ["a", "b", "d"]
    with pytest.raises(InputError, match="not the same as on last call to partial_fit"):
        estimator.partial_fit([[4.0]], ["d"], classes=["a", "d"])
    with pytest.raises(InputError, match="classes not in"):
        estimator.partial_fit([[4.0]], ["e"])
    with pytest.raises(InputError, match="greater than one; got 1 class"):
        classifier().partial_fit(X_IRIS, Y_IRIS, classes=[2])


def test_classes_of_several_types_are_refused():
    estimator = classifier().fit(X_IRIS, Y_IRIS)
    mixed = np.array(["a", 1, None] * 50, dtype=object)
    for call in (estimator.fit, estimator.partial_fit):
        with pytest.raises(InputError, match=r"one type|Input y contains NaN|unknown|Unknown"):
            call(X_IRIS, mixed)
    with pytest.raises(InputError, match="must hold classes of one type"):
        estimator.fit(X_IRIS, np.array(["a", 1, 2] * 50, dtype=object))
    with pytest.raises(InputError):
        estimator.partial_fit(X_IRIS[:2], np.array(["a", 1], dtype=object))


def test_several_labels():
    estimator = classifier().fit(X_LABELS, sparse.csr_array(Y_LABELS))
    assert same_weights(estimator, classifier().fit(X_LABELS, Y_LABELS))
    assert list(estimator.classes_) == [0, 1, 2, 3]
    probabilities = estimator.predict_proba(X_LABELS)
    assert np.array_equal(estimator.predict(X_LABELS), probabilities > 0.5)
    streamed = classifier().partial_fit(X_LABELS, Y_LABELS).partial_fit(X_LABELS[:1], Y_LABELS[:1])
    assert streamed.predict_proba(X_LABELS[:1]).shape == (1, 4)
    with pytest.raises(InputError, match="must hold several labels"):
        estimator.partial_fit(X_LABELS, Y_LABELS[:, 0])
    with pytest.raises(InputError, match="has 3 labels, but 4"):
        estimator.partial_fit(X_LABELS, Y_LABELS[:, :3])
    with pytest.raises(InputError, match="must hold 1 for each label"):
        classifier().fit(X_LABELS, Y_LABELS + 1)
    with pytest.raises(InputError, match="several columns of classes"):
        classifier().fit(X_LABELS, Y_LABELS + np.arange(4))


def test_class_weights():
    x, y = X_BINARY[:60], Y_BINARY[:60]  # 50 and 10
    share = {
        str(weight): (classifier(class_weight=weight, max_iter=3).fit(x, y).predict_proba(x)[:, 1]).mean()
        for weight in (None, "balanced", {2: 100.0})
    }
    assert share["None"] < share["balanced"] < share["{2: 100.0}"]
    with pytest.raises(InputError, match="are not in class_weight"):
        classifier(class_weight={5: 1.0}).fit(x, y)
    # A class that these samples do not have, such as those of a fold, is no mistake.
    one, two = (classifier(class_weight=weights).fit(x, y) for weights in ({1: 1, 2: 3}, {1: 1, 2: 3, 5: 2}))
    assert same_weights(one, two)
    with pytest.raises(InputError, match="not supported for partial_fit"):
        classifier(class_weight="balanced").partial_fit(x, y, classes=[1, 2])
    weighted = classifier(class_weight={1: 0.0}).partial_fit(x, y, classes=[1, 2])
    assert weighted.t_ == 10
    for _ in range(3):
        weighted.partial_fit(x[:1], y[:1])  # of class 1
    assert weighted.t_ == 10
    with pytest.raises(InputError, match="gives all samples a weight of 0"):
        classifier(class_weight={1: 0.0, 2: 0.0}).fit(x, y)
    balanced = classifier(class_weight="balanced").fit(X_IRIS, Y_IRIS, sample_weight=np.minimum(2 - Y_IRIS, 1))
    assert balanced.t_ == 500  # all weights of the last class are 0
    with pytest.raises(InputError, match="finite numbers that are not negative"):
        classifier(class_weight={1: -1.0}).fit(x, y)
    with pytest.raises(InputError, match="use sample_weight"):
        classifier(class_weight="balanced").fit(X_LABELS, Y_LABELS)


# ---- sample weights ----


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array], ids=["dense", "sparse"])
@pytest.mark.parametrize("changes", [{}, {"early_stopping": True}], ids=["", "early"])
def test_weights_are_copies_in_any_order(container, changes):
    rng = np.random.default_rng(0)
    weights = rng.integers(0, 5, 150)
    x = np.where(X_IRIS < 1.0, 0.0, X_IRIS)
    order = rng.permutation(150)
    weighted = regressor(**changes).fit(container(x[order]), X_IRIS[order, 1], sample_weight=weights[order])
    repeated = np.repeat(np.arange(150), weights)
    rng.shuffle(repeated)
    copied = regressor(**changes).fit(container(x[repeated]), X_IRIS[repeated, 1])
    assert same_weights(weighted, copied)
    assert weighted.t_ == copied.t_


def test_weights_below_one_are_shares():
    one = classifier().fit(X_IRIS, Y_IRIS)
    assert same_weights(one, classifier().fit(X_IRIS, Y_IRIS, sample_weight=1 / 150))
    assert (
        AdaBoostClassifier(classifier(max_iter=20), n_estimators=2, random_state=0)
        .fit(X_IRIS, Y_IRIS)
        .score(X_IRIS, Y_IRIS)
        > 0.9
    )


def test_a_large_weight_is_many_small_steps():
    weights = np.ones(150)
    weights[0] = 1000.0
    estimator = classifier().fit(X_IRIS, Y_IRIS, sample_weight=weights)
    assert np.isfinite(estimator.predict_proba(X_IRIS)).all()
    assert estimator.predict(X_IRIS[:1]) == Y_IRIS[0]


def test_partial_fit_weights_are_copies_in_order():
    one, two = (classifier(standardise=False).partial_fit(X_IRIS, Y_IRIS, classes=[0, 1, 2]) for _ in range(2))
    one.partial_fit(X_IRIS[:3], Y_IRIS[:3], sample_weight=[2.0, 0.0, 1.0])
    two.partial_fit(X_IRIS[[0, 0, 2]], Y_IRIS[[0, 0, 2]])
    assert same_weights(one, two)
    before = [weights.copy() for weights in one.coefs_]
    one.partial_fit(X_IRIS[:1], Y_IRIS[:1], sample_weight=0.5)
    two.partial_fit(X_IRIS[:1], Y_IRIS[:1])
    half, full = (estimator.coefs_[1] - before[1] for estimator in (one, two))
    np.testing.assert_allclose(half, full / 2, rtol=0.02, atol=1e-5)


def test_partial_fit_refuses_weights_that_would_take_forever():
    estimator = classifier().fit(X_IRIS, Y_IRIS)
    before = estimator.coefs_
    for weight in (1e9, 1e300):
        with pytest.raises(InputError, match=r"asks for .* training steps, but at most 1000000 are possible"):
            estimator.partial_fit(X_IRIS[:1], Y_IRIS[:1], sample_weight=[weight])
    assert np.array_equal(estimator.coefs_[0], before[0])


def test_steps_of_weights():
    x = X_IRIS[:3]
    steps = in_given_order(x, np.array([2.5, 0.0, 1.0]))
    assert steps.rows.tolist() == [0, 0, 0, 2]
    np.testing.assert_allclose(steps.factors, [2.5 / 3] * 3 + [1.0])
    assert in_given_order(x, np.array([2.0, 1.0, 0.0])).factors is None
    assert in_given_order(x, np.full(3, 0.1)).rows.tolist() == [0, 1, 2]
    assert 900_000 < len(in_given_order(x, np.array([1.0, 1e12, 0.0])).rows) <= 1_000_001
    for extreme in (1e-310, 1e308):
        steps = in_given_order(x, np.array([extreme, extreme, 0.0]))
        assert np.array_equal(np.unique(steps.rows), [0, 1])
        assert steps.factors is None or steps.factors.min() > 0.99


def test_the_order_depends_on_the_content_alone():
    x = np.array([[0.0, 1.0], [2.0, 3.0], [-0.0, 1.0], [2.0, 3.0], [2.0, 4.0]])
    y = np.array([1, 0, 1, 1, 0])
    steps = in_canonical_order(x, y, None)
    rows = [(*x[row] + 0.0, y[row]) for row in steps.rows]
    again = in_canonical_order(x[::-1], y[::-1], None)
    assert rows == [(*x[::-1][row] + 0.0, y[::-1][row]) for row in again.rows]
    matrix = SparseRows.from_scipy(sparse.csr_array(x))
    assert np.array_equal(hash_rows(x), hash_rows(matrix))
    assert np.array_equal(in_canonical_order(matrix, y, None).rows, steps.rows)


@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_rows_of_one_hash_are_told_apart(kind, monkeypatch):
    monkeypatch.setattr("fastnn.sklearn.samples.hash_rows", lambda rows: np.zeros(rows.shape[0], dtype=np.uint64))
    x = np.array([[1.0, 0.0], [0.0, 2.0], [1.0, 0.0], [0.0, 2.0], [0.0, 0.0], [0.0, 2.0]])
    y = np.array([0, 1, 0, 1, 0, 0])
    features = x if kind == "dense" else SparseRows.from_scipy(sparse.csr_array(x))
    steps = in_canonical_order(features, y, np.array([1.0, 1.0, 2.0, 3.0, 1.0, 1.0]))
    rows = [(*x[row].tolist(), int(y[row])) for row in steps.rows]
    assert sorted(rows) == sorted([(1.0, 0.0, 0)] * 3 + [(0.0, 2.0, 1)] * 4 + [(0.0, 0.0, 0), (0.0, 2.0, 0)])
    assert rows == sorted(rows, key=rows.index)  # equal rows follow each other


# ---- data of other kinds ----


def test_sparse_data_give_what_dense_data_give():
    x = np.where(X_IRIS < 2.0, 0.0, X_IRIS)
    settings = {"max_iter": 3, "standardise": True}
    dense = classifier(**settings).fit(x, Y_IRIS)
    for container in (sparse.csr_array, sparse.csc_matrix, sparse.coo_array):
        estimator = classifier(**settings).fit(container(x), Y_IRIS)
        np.testing.assert_allclose(estimator.predict_proba(container(x)), dense.predict_proba(x), atol=1e-3)
        estimator.partial_fit(container(x[:5]), Y_IRIS[:5])
        assert estimator.t_ == 455


def test_sparse_features_are_not_standardised_but_others_and_targets_are():
    x = np.concatenate([X_REGRESSION * [1e3, 1, 1, 1, 1] + 5e3, np.eye(200)[:, :20]], axis=1)
    y = 1000.0 * Y_REGRESSION + 1e6
    matrix = sparse.csr_array(x)
    estimator = regressor(max_iter=30).fit(matrix, y)
    assert estimator.score(matrix, y) > 0.8
    np.testing.assert_allclose(estimator.predict(matrix), forward(estimator, x)[:, 0], rtol=1e-3)
    scaling = estimator.to_model().scaling
    assert np.array_equal(scaling.factor[5:], np.ones(20))
    np.testing.assert_allclose(scaling.factor[:5], 1 / x[:, :5].std(axis=0))
    assert not np.allclose(regressor(standardise=True).fit(matrix, y).to_model().scaling.mean[5:], 0)
    streamed = regressor().partial_fit(matrix, y).partial_fit(matrix, y)
    assert np.abs(streamed.predict(matrix) - y.mean()).max() < 10 * y.std()
    with pytest.raises(InputError, match="too large to be standardised"):
        regressor().fit(sparse.csr_array(x * 1e300), y)


@pytest.mark.parametrize("alpha", [0.001, 10.0])
@pytest.mark.parametrize("ensemble", [1, 2])
def test_sparse_partial_fit_that_diverges_changes_nothing(alpha, ensemble):
    matrix = sparse.csr_array(np.where(np.abs(X_REGRESSION) < 0.7, 0, X_REGRESSION))
    y = Y_REGRESSION / 100
    estimator, twin = (
        regressor(alpha=alpha, standardise=False, ensemble=ensemble).partial_fit(matrix, y) for _ in range(2)
    )
    for n in (9, 40):
        with pytest.raises(InputError, match="non-finite"):
            estimator.partial_fit(matrix[:n], y[:n] * 1e30)
    assert estimator.loss_ == twin.loss_
    # Hundreds of steps of alpha 10 make the weights' scale so small that it is multiplied into all of them.
    for rows in (slice(0, 5), slice(5, 50), slice(0, 150)):
        estimator.partial_fit(matrix[rows], y[rows])
        twin.partial_fit(matrix[rows], y[rows])
    assert estimator.loss_ == twin.loss_
    assert estimator.to_model().sha256() == twin.to_model().sha256()


def test_unsorted_and_duplicate_indices_are_summed():
    matrix = sparse.csr_matrix(
        (np.array([1.0, 2.0, 3.0, 4.0]), np.array([1, 0, 1, 0]), np.array([0, 3, 4])), shape=(2, 2)
    )
    y = [0, 1]
    assert same_weights(classifier().fit(matrix, y), classifier().fit(sparse.csr_matrix([[2.0, 4.0], [4.0, 0.0]]), y))


def frames():
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    names = ["a", "b", "c", "d"]
    return [pandas.DataFrame(X_IRIS, columns=names), polars.DataFrame(X_IRIS, schema=names)]


@pytest.mark.parametrize("which", [0, 1], ids=["pandas", "polars"])
def test_frames(which):
    frame = frames()[which]
    if not hasattr(StandardScaler().fit(frame), "feature_names_in_"):
        pytest.skip("this version of scikit-learn does not read the names of these columns")
    estimator = classifier().fit(frame, Y_IRIS)
    assert list(estimator.feature_names_in_) == ["a", "b", "c", "d"]
    assert same_weights(estimator, classifier().fit(X_IRIS, Y_IRIS))
    classifier(early_stopping=True).fit(frame, Y_IRIS)  # without a warning of names
    assert np.array_equal(estimator.predict(frame), estimator.predict_proba(frame).argmax(axis=1))
    for _ in range(2):
        with pytest.warns(UserWarning, match="does not have valid feature names"):
            estimator.predict(X_IRIS[:1])
    with pytest.raises(InputError, match="feature names should match"):
        estimator.predict(frame[["b", "a", "c", "d"]])
    assert [column.name for column in estimator.to_model().columns] == ["a", "b", "c", "d"]


def test_series_as_targets_and_weights():
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    expected = classifier().fit(X_IRIS, Y_IRIS)
    for series in (pandas.Series, polars.Series):
        weights = series(np.ones(150).tolist())
        assert same_weights(classifier().fit(X_IRIS, series(Y_IRIS.tolist()), sample_weight=weights), expected)


def test_a_frame_with_a_missing_value_names_its_column():
    frame = frames()[0]
    frame.loc[7, "c"] = np.nan
    with pytest.raises(InputError, match=r"Input X contains NaN. \(row 7, column 2, 'c'\).*SimpleImputer"):
        classifier().fit(frame, Y_IRIS)


# ---- bad input ----


@pytest.mark.parametrize(
    ("parameter", "value", "words"),
    [
        ("solver", "adam", "solver='adam' is not available, since"),
        ("batch_size", 200, "batch_size=200 is not available, since"),
        ("batch_size", "auto", "leave batch_size=1"),
        ("activation", "identity", "linear model"),
        ("activation", "gelu", "'activation' parameter of MLP.* must be one of 'logistic', 'tanh', 'relu'. Got 'gelu'"),
        ("hidden_layer_sizes", (5, 0), "each at least 1"),
        ("alpha", -1, r"float in the range \[0"),
        ("learning_rate", "cosine", "one of 'constant'"),
        ("learning_rate_init", 0.0, "or 'auto'"),
        ("power_t", "a", "float"),
        ("max_iter", 0, "int in the range"),
        ("shuffle", 1, "True or False"),
        ("standardise", "yes", "True, False or 'auto'"),
        ("random_state", -1, "RandomState or None"),
        ("tol", np.nan, "float"),
        ("verbose", "yes", "a bool or an int"),
        ("validation_fraction", 1.0, "float in the range"),
        ("n_iter_no_change", 0.5, "inf"),
        ("schedule", "linear", "one of None, 'cosine', 'step'"),
        ("dropout", True, "float"),
        ("averaging", "mean", "one of None"),
        ("ensemble", 101, "100"),
        ("dtype", "int8", "'float32' or 'float64'"),
        ("dtype", "no", "'float32' or 'float64'"),
        ("callbacks", [1], "a callable"),
    ],
)
def test_bad_parameters(parameter, value, words):
    for estimator, y in ((classifier(), Y_IRIS), (regressor(), Y_IRIS)):
        estimator.set_params(**{parameter: value})
        with pytest.raises(ValueError, match=words) as caught:
            estimator.fit(X_IRIS, y)
        assert isinstance(caught.value, InputError)
        assert not [name for name in vars(estimator) if name.endswith("_")]


def test_bad_parameters_of_one_estimator():
    with pytest.raises(InputError, match="'rule' parameter of MLPClassifier must be one of"):
        classifier(rule="hebb").fit(X_IRIS, Y_IRIS)
    with pytest.raises(InputError, match="'class_weight' parameter"):
        classifier(class_weight="even").fit(X_IRIS, Y_IRIS)
    with pytest.raises(InputError, match="'loss' parameter of MLPRegressor must be one of 'squared_error', 'huber'"):
        regressor(loss="poisson").fit(X_IRIS, Y_IRIS)


def with_value(value, row=3, column=1):
    x = X_IRIS.copy()
    x[row, column] = value
    return x


def broken_matrix(form):
    matrix = sparse.csr_matrix(X_IRIS).asformat(form)
    indices = matrix.row if form == "coo" else matrix.indices
    indices[5] = 1 << 30
    return matrix


BAD_DATA = {
    "nan": (with_value(np.nan), Y_IRIS, r"Input X contains NaN. \(row 3, column 1\)"),
    "inf": (with_value(-np.inf), Y_IRIS, r"Input X contains infinity .*\(row 3, column 1\)"),
    "sparse nan": (sparse.csr_array(with_value(np.nan)), Y_IRIS, r"Input X contains NaN. \(row 3, column 1\)"),
    "target nan": (X_IRIS, np.where(np.arange(150) == 9, np.nan, Y_IRIS), r"Input y contains NaN. \(row 9\)"),
    "wide": (X_IRIS[:, :3], Y_IRIS, "X has 3 features, but .* is expecting 4 features"),
    "short": (X_IRIS, Y_IRIS[:-1], "inconsistent numbers of samples"),
    "flat": (X_IRIS[0], Y_IRIS[:1], "Reshape your data"),
    "empty": (X_IRIS[:0], Y_IRIS[:0], "0 sample"),
    "text": (np.array([["a", "b", "c", "d"]] * 2), [0, 1], "could not convert string to float"),
    "flat csr": (sparse.csr_array(X_IRIS[0]), Y_IRIS[:1], "Expected 2D array, got 1D sparse array"),
    "flat coo": (sparse.coo_array(X_IRIS[0]), Y_IRIS[:1], "Expected 2D array, got 1D sparse array"),
    **{f"index {form}": (broken_matrix(form), Y_IRIS, "ind") for form in ("csr", "csc", "coo", "bsr")},
    "huge": (with_value(1e300), Y_IRIS, "."),
}


@pytest.mark.parametrize("name", BAD_DATA)
@pytest.mark.parametrize("make", [classifier, regressor])
def test_bad_data_change_nothing(name, make):
    x, y, words = BAD_DATA[name]
    estimator = make(standardise=False).fit(X_IRIS, Y_IRIS)
    estimator.partial_fit(X_IRIS[:1], Y_IRIS[:1].astype(float))
    before, weights = set(vars(estimator)), estimator.coefs_
    for call in (estimator.partial_fit, estimator.fit):
        if name == "wide" and call == estimator.fit:
            continue
        with pytest.raises(ValueError, match=words) as caught:
            call(x, y)
        assert isinstance(caught.value, InputError)
        assert set(vars(estimator)) == before
        assert all(np.array_equal(left, right) for left, right in zip(weights, estimator.coefs_, strict=True))
    if name not in ("target nan", "short"):
        with pytest.raises(ValueError, match=words):
            estimator.predict(x)


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        (np.ones(149), r"sample_weight.shape == \(149,\), expected \(150,\)!"),
        (np.ones((150, 2)), "must be 1D array or scalar"),
        (np.zeros(150), "at least one non-zero number"),
        (np.where(np.arange(150) == 4, -1.0, 1.0), "Negative values in data passed to `sample_weight`: -1 in row 4"),
        (np.full(150, np.nan), "contains NaN"),
    ],
)
def test_bad_weights_change_nothing(weights, words):
    estimator = classifier().fit(X_IRIS, Y_IRIS)
    before = estimator.coefs_
    for call in (estimator.fit, estimator.partial_fit):
        with pytest.raises(InputError, match=words):
            call(X_IRIS, Y_IRIS, sample_weight=weights)
    assert np.array_equal(before[0], estimator.coefs_[0])


def test_one_class_is_refused():
    with pytest.raises(InputError, match=r"greater than one; got 1 class: \[1\]$"):
        classifier().fit(X_IRIS, np.ones(150, dtype=int))
    with pytest.raises(InputError, match="1 class once samples with weight 0 are left out"):
        classifier().fit(X_IRIS, Y_IRIS, sample_weight=(Y_IRIS == 1).astype(float))


def test_regression_targets_must_fit():
    estimator = regressor().fit(X_IRIS, X_IRIS[:, :2])
    with pytest.raises(InputError, match="has 1 targets, but 2 are expected"):
        estimator.partial_fit(X_IRIS, X_IRIS[:, 0])


@pytest.mark.parametrize(
    ("convert", "words"),
    [
        (lambda y: y.astype(str), r"must hold numbers, not <U"),
        (lambda y: y.astype("datetime64[s]"), r"must hold numbers, not datetime64\[s\]"),
        (lambda y: y.astype("timedelta64[s]"), r"must hold numbers, not timedelta64\[s\]"),
        (lambda y: sparse.csr_array(y[:, None]), "dense array"),
    ],
    ids=["text", "dates", "durations", "sparse"],
)
def test_regression_targets_are_numbers(convert, words):
    estimator, y = regressor().fit(X_IRIS, X_IRIS[:, 0]), convert(X_IRIS[:, 0])
    for call in (estimator.fit, estimator.partial_fit, regressor().partial_fit):
        with pytest.raises(InputError, match=words):
            call(X_IRIS, y)


def test_divergence_is_an_error_and_changes_nothing():
    estimator = regressor(learning_rate_init=100.0, standardise=False)
    with pytest.raises(InputError, match=r"learning rate|learning_rate_init"):
        estimator.fit(X_REGRESSION, Y_REGRESSION)
    assert not hasattr(estimator, "coefs_")
    estimator.set_params(learning_rate_init=1e-6).fit(X_REGRESSION, Y_REGRESSION)
    before = estimator.predict(X_REGRESSION)
    estimator.set_params(learning_rate_init=100.0)
    with pytest.raises(InputError, match="try a learning_rate_init below 100"):
        estimator.partial_fit(X_REGRESSION, Y_REGRESSION)
    assert np.array_equal(estimator.predict(X_REGRESSION), before)


def test_a_single_row_that_diverges_changes_nothing():
    estimator = regressor(learning_rate_init=1e-6, standardise=False).fit(X_REGRESSION, Y_REGRESSION)
    estimator.set_params(learning_rate_init=1e6, alpha=0)
    message = None
    for row, y in zip(X_REGRESSION, Y_REGRESSION, strict=True):
        before, n_steps = [one.copy() for one in (*estimator.coefs_, *estimator.intercepts_)], estimator.t_
        try:
            estimator.partial_fit(row[None], np.array([float(y)]))
        except InputError as error:
            message = str(error)
            break
    assert "try a learning_rate_init below" in (message or "")
    after = (*estimator.coefs_, *estimator.intercepts_)
    assert all(np.array_equal(old, new, equal_nan=True) for old, new in zip(before, after, strict=True))
    assert estimator.t_ == n_steps


def test_unfitted():
    for name in ("coefs_", "intercepts_", "loss_", "t_", "n_outputs_", "out_activation_"):
        assert not hasattr(classifier(), name)
        assert not hasattr(regressor(), name)
    with pytest.raises(NotFittedError):
        classifier().predict(X_IRIS)
    with pytest.raises(NotFittedError):
        regressor().to_model()


def test_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.utils.validation", None)
    with pytest.raises(MissingExtraError, match=r"fastnn-trainer\[sklearn\]"):
        importlib.reload(fastnn.sklearn)


# ---- one row a call ----


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_single_rows_take_the_fast_path_to_the_same_weights(dtype):
    fast, slow = (classifier().fit(X_IRIS, Y_IRIS) for _ in range(2))
    for row, y in zip(X_IRIS.astype(dtype), Y_IRIS, strict=True):
        fast.partial_fit(row[None], np.array([y]))
        slow.partial_fit([row.tolist()], [y])
    assert same_weights(fast, slow)
    assert (fast.t_, fast.loss_) == (slow.t_, slow.loss_)
    together = fast.predict_proba(X_IRIS)
    assert np.array_equal(together, np.concatenate([fast.predict_proba(row[None]) for row in X_IRIS]))


def test_single_rows_of_a_regression():
    fast, slow = (regressor().fit(X_REGRESSION, Y_REGRESSION) for _ in range(2))
    for row, y in zip(X_REGRESSION, Y_REGRESSION, strict=True):
        fast.partial_fit(row[None], np.array([y]))
        slow.partial_fit([row.tolist()], [y])
    assert same_weights(fast, slow)
    together = fast.predict(X_REGRESSION)
    assert np.array_equal(together, np.concatenate([fast.predict(row[None]) for row in X_REGRESSION]))


@pytest.mark.parametrize("make", [classifier, regressor])
def test_small_batches_take_the_fast_path_to_the_same_weights(make):
    y = Y_IRIS if make is classifier else X_IRIS[:, 0] ** 2
    fast, slow = (make().fit(X_IRIS, y) for _ in range(2))
    for start in range(0, 150, 40):
        part = slice(start, start + 40)
        fast.partial_fit(X_IRIS[part], y[part])
        slow.partial_fit(X_IRIS[part].tolist(), y[part].tolist())
    assert same_weights(fast, slow)
    assert (fast.t_, fast.loss_) == (slow.t_, slow.loss_)
    assert np.array_equal(fast.predict(X_IRIS), slow.predict(X_IRIS.tolist()))
    before, loss = fast.coefs_, fast.loss_
    bad = [(with_value(np.nan), y, "Input X contains NaN"), (X_IRIS, y[:-1], "inconsistent"), (X_IRIS[:, :2], y, "2 f")]
    if make is classifier:
        bad.append((X_IRIS, y + 7, "not in `self.classes_`"))
    else:
        bad.append((X_IRIS, np.full(150, np.inf), "Input y contains infinity"))
    for x, targets, words in bad:
        with pytest.raises(InputError, match=words):
            fast.partial_fit(x, targets)
        assert np.array_equal(before[0], fast.coefs_[0])
        assert fast.loss_ == loss


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        (with_value(np.nan)[3:4], np.array([1]), "Input X contains NaN"),
        (with_value(1e300)[3:4], np.array([1]), "too large for float32"),
        (X_IRIS[:1], np.array([5]), "classes not in"),
        (X_IRIS[:1], np.array(["1"]), "classes not in"),
        (X_IRIS[:1], np.array([np.nan]), "Input y contains NaN"),
        (X_IRIS[:1, :3], np.array([1]), "3 features"),
    ],
)
def test_bad_single_rows_change_nothing(x, y, words):
    estimator = classifier().fit(X_IRIS, Y_IRIS)
    for _ in range(3):
        estimator.partial_fit(X_IRIS[:1], Y_IRIS[:1])
    before, loss = estimator.coefs_, estimator.loss_
    with pytest.raises(InputError, match=words):
        estimator.partial_fit(x, y)
    assert np.array_equal(before[0], estimator.coefs_[0])
    assert estimator.loss_ == loss
    if "X" in words or "features" in words:
        estimator.predict(X_IRIS[:1])
        with pytest.raises(InputError, match=words):
            estimator.predict_proba(x)


def test_changed_parameters_count_at_once():
    estimator = classifier().fit(X_IRIS, Y_IRIS)
    for _ in range(2):
        estimator.partial_fit(X_IRIS[:1], Y_IRIS[:1])
    estimator.learning_rate_init = 1e-30
    before = estimator.coefs_
    for _ in range(2):
        estimator.partial_fit(X_IRIS[:1], Y_IRIS[:1])
    assert np.array_equal(before[0], estimator.coefs_[0])
    estimator.set_params(learning_rate_init=0.01)
    estimator.predict(X_IRIS[:1])
    estimator.partial_fit(X_IRIS[:1], Y_IRIS[:1])
    assert not np.array_equal(before[0], estimator.coefs_[0])


def test_members_of_an_ensemble_drop_different_units():
    estimator = classifier(dropout=0.5, ensemble=2).fit(X_IRIS, Y_IRIS)
    networks = [estimator.to_model().networks[0].copy()] * 2
    twins = MLPClassifier.from_model(fastnn.Model(networks, ("0", "1", "2"), takes="rows"), classes=[0, 1, 2])
    twins.set_params(dropout=0.5).partial_fit(X_IRIS, Y_IRIS)
    one, two = twins.to_model().networks
    assert not np.array_equal(one.parameters, two.parameters)


@pytest.mark.parametrize("size", [1e6, 1e15])
def test_an_outlier_in_a_stream_does_little_harm(size):
    x = X_REGRESSION[:1] * [size, 1, 1, 1, 1]
    fast, slow, many = (regressor().fit(X_REGRESSION, Y_REGRESSION) for _ in range(3))
    before = fast.predict(X_REGRESSION)
    for rows in (X_REGRESSION[:1], x, X_REGRESSION[1:2], x):
        fast.partial_fit(rows, Y_REGRESSION[:1])
        slow.partial_fit(rows.tolist(), Y_REGRESSION[:1].tolist())
    assert same_weights(fast, slow)
    fast.partial_fit(np.repeat(x, 3, axis=0), Y_REGRESSION[:3])
    many.partial_fit(np.repeat(x, 3, axis=0).tolist(), Y_REGRESSION[:3])
    for estimator in (fast, many):
        assert np.abs(estimator.predict(X_REGRESSION) - before).max() < 2 * Y_REGRESSION.std()


def test_changed_parameters_are_checked():
    estimator = classifier().fit(X_IRIS, Y_IRIS).set_params(learning_rate_init="fast")
    with pytest.raises(InputError, match="'learning_rate_init' parameter of MLPClassifier must be a float"):
        estimator.partial_fit(X_IRIS, Y_IRIS)
    with pytest.raises(InputError, match="'alpha' parameter of MLPClassifier must be a float"):
        estimator.set_params(learning_rate_init=0.1, alpha=-1).partial_fit(X_IRIS, Y_IRIS)


def test_threads_predict_the_same():
    estimator = classifier().fit(X_IRIS, Y_IRIS)
    alone = estimator.predict_proba(X_IRIS)
    with ThreadPoolExecutor(4) as pool:
        for result in pool.map(estimator.predict_proba, [X_IRIS] * 20 + [X_IRIS[:1]] * 20):
            assert np.array_equal(result, alone[: len(result)])


# ---- with the rest of scikit-learn ----


def test_pipeline_and_grid_search():
    pipeline = make_pipeline(StandardScaler(), classifier(max_iter=20))
    grid = {"mlpclassifier__hidden_layer_sizes": [(5,), (20,)], "mlpclassifier__learning_rate_init": [0.01, 0.05]}
    search = GridSearchCV(pipeline, grid, cv=3, n_jobs=2).fit(X_IRIS, Y_IRIS)
    assert search.best_score_ > 0.9
    assert search.predict(X_IRIS).shape == (150,)


def test_calibration_and_stacking():
    calibrated = CalibratedClassifierCV(classifier(max_iter=20), cv=3).fit(X_IRIS, Y_IRIS)
    assert calibrated.score(X_IRIS, Y_IRIS) > 0.9
    stack = StackingClassifier([("mlp", classifier(max_iter=20))], classifier(), cv=3).fit(X_IRIS, Y_IRIS)
    assert stack.score(X_IRIS, Y_IRIS) > 0.9


def joblib_copy(estimator, tmp_path):
    joblib = pytest.importorskip("joblib")
    joblib.dump(estimator, tmp_path / "estimator")
    return joblib.load(tmp_path / "estimator")


def skops_copy(estimator, _):
    skops = pytest.importorskip("skops.io")
    stored = skops.dumps(estimator)
    return skops.loads(stored, trusted=skops.get_untrusted_types(data=stored))


COPIES = {
    "pickle": lambda estimator, _: pickle.loads(pickle.dumps(estimator)),  # noqa: S301
    "deepcopy": lambda estimator, _: copy.deepcopy(estimator),
    "joblib": joblib_copy,
    "skops": skops_copy,
}


@pytest.mark.parametrize("way", COPIES)
def test_copies_are_independent_and_go_on(way, tmp_path):
    estimator = classifier().fit(X_IRIS, Y_IRIS).partial_fit(X_IRIS, Y_IRIS)
    estimator.predict(X_IRIS[:1])
    loss = estimator.loss_
    other = COPIES[way](estimator, tmp_path)
    assert same_weights(estimator, other)
    assert (other.loss_, other.t_, other.get_params()) == (loss, estimator.t_, estimator.get_params())
    before = estimator.predict_proba(X_IRIS)
    np.testing.assert_allclose(other.predict_proba(X_IRIS), before, atol=1e-6)
    other.partial_fit(X_IRIS, Y_IRIS)
    assert np.array_equal(estimator.predict_proba(X_IRIS), before)
    estimator.partial_fit(X_IRIS, Y_IRIS)
    np.testing.assert_allclose(other.predict_proba(X_IRIS), estimator.predict_proba(X_IRIS), atol=1e-6)


def test_pickles_are_small():
    estimator = classifier().fit(X_IRIS, Y_IRIS)
    estimator.predict(X_IRIS)
    numbers = sum(weights.size for weights in estimator.coefs_ + estimator.intercepts_)
    assert len(pickle.dumps(estimator)) < 16 * 4 * numbers + 5000
    assert not hasattr(clone(estimator), "classes_")


# ---- models ----


@pytest.mark.parametrize("task", ["classes", "labels", "numbers"])
def test_models_predict_the_same(task, tmp_path):
    x, y = {"classes": (X_IRIS, Y_IRIS), "labels": (X_LABELS, Y_LABELS), "numbers": (X_REGRESSION, Y_REGRESSION)}[task]
    # Of kernels that other tests need too.
    settings = {"ensemble": 2, "dtype": "float64", "activation": "logistic", "alpha": 0}
    estimator = (regressor if task == "numbers" else classifier)(**settings).fit(x, y)
    fastnn.save_model(estimator.to_model(), tmp_path / "model.safetensors")
    model = fastnn.load_model(tmp_path / "model.safetensors")
    if task == "numbers":
        again = MLPRegressor.from_model(model)
        np.testing.assert_allclose(model.predict(x).reshape(len(x)), estimator.predict(x), rtol=1e-5, atol=1e-3)
        assert np.array_equal(again.predict(x), estimator.predict(x))
    else:
        again = MLPClassifier.from_model(model, classes=None if task == "labels" else [0, 1, 2])
        np.testing.assert_allclose(model.predict_proba(x), estimator.predict_proba(x), atol=1e-6)
        assert np.array_equal(again.predict_proba(x), estimator.predict_proba(x))
        assert np.array_equal(again.predict(x), estimator.predict(x))
    again.set_params(alpha=0).partial_fit(x, y)
    with pytest.raises(AttributeError, match="ensemble"):
        _ = again.coefs_


def test_classes_of_a_model_are_in_any_order():
    estimator = classifier().fit(X_IRIS, Y_IRIS)
    names = np.array(["c", "b", "a"])
    again = MLPClassifier.from_model(estimator.to_model(), classes=names)
    assert np.array_equal(again.predict(X_IRIS), names[estimator.predict(X_IRIS)])
    estimator.partial_fit(X_IRIS, Y_IRIS)
    again.partial_fit(X_IRIS, names[Y_IRIS], classes=["a", "b", "c"])
    np.testing.assert_allclose(again.predict_proba(X_IRIS), estimator.predict_proba(X_IRIS), atol=1e-6)
    assert again.set_params(warm_start=True).fit(X_IRIS, names[Y_IRIS]).score(X_IRIS, names[Y_IRIS]) > 0.9
    with pytest.raises(InputError, match="classes must be different"):
        MLPClassifier.from_model(estimator.to_model(), classes=[1, 1, 0])


def test_models_of_images():
    networks = (Network((784, 4, 2), rule="backprop", activation="relu").initialise("he"),)
    images = np.random.default_rng(0).integers(0, 256, (5, 784), dtype=np.uint8)
    for invert in (False, True):
        model = fastnn.Model(networks, ("no", "yes"), invert)
        estimator = MLPClassifier.from_model(model)
        np.testing.assert_allclose(estimator.predict_proba(images), model.predict_proba(images), atol=1e-6)
        assert set(estimator.predict(images)) <= {"no", "yes"}
    with pytest.raises(InputError, match="cannot normalise images"):
        MLPClassifier.from_model(fastnn.Model(networks, ("no", "yes"), False, True))
    with pytest.raises(InputError, match="takes models for regression"):
        MLPRegressor.from_model(model)
    with pytest.raises(InputError, match="must be 2 classes"):
        MLPClassifier.from_model(model, classes=[1, 2, 3])
