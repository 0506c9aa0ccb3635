"""Estimators for streams: exact steps on standardised rows, growth, frames, drift, bad input, and River's tools."""

from __future__ import annotations

import copy
import doctest
import math
import pickle
import random
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from river import (
    compose,
    datasets,
    drift,
    ensemble,
    evaluate,
    feature_extraction,
    linear_model,
    metrics,
    multiclass,
    optim,
    preprocessing,
)

import fastnn.river
from fastnn.errors import DataError, RecipeError, TrainingError
from fastnn.feature_columns import FeatureColumns
from fastnn.reference import ReferenceNetwork
from fastnn.river import MLPClassifier, MLPRegressor
from tests.helpers import run_python

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BOTH = pytest.mark.parametrize("estimator", [MLPClassifier, MLPRegressor])


def rings(n: int, seed: int = 0) -> Iterator[tuple[dict[str, float], str]]:
    """Yield points in the plane, whose class depends on the distance from the origin."""
    rng = random.Random(seed)
    for _ in range(n):
        x, y = rng.gauss(0, 1), rng.gauss(0, 1)
        yield {"x": 100 + 10 * x, "y": 0.1 * y}, "inside" if math.hypot(x, y) < 1.2 else "outside"


def texts(n: int, vocabulary: int = 400, seed: int = 0) -> Iterator[tuple[dict[str, float], bool]]:
    """Yield bags of ten words; the class is whether more of them have even than odd numbers."""
    rng = random.Random(seed)
    for _ in range(n):
        words = [int(vocabulary * rng.random() ** 2) for _ in range(10)]
        yield {f"word {word}": 1.0 for word in words}, sum(word % 2 for word in words) < 5


def target_of(estimator: type, x: dict[str, float], y: Any) -> Any:
    return y if estimator is MLPClassifier else sum(x.values())


def state(model: Any) -> bytes:
    return pickle.dumps(model)


# ---- what a step computes ----


class Standardised:
    """Running mean and standard deviation of each feature, in plain Python."""

    def __init__(self) -> None:
        self.values: dict[str, list[float]] = {}

    def learn(self, x: dict[str, float]) -> None:
        for name, value in x.items():
            self.values.setdefault(name, []).append(value)

    def scaled(self, x: dict[str, float], names: list[Any]) -> list[float]:
        return [self._one(name, x[name]) if name in x else 0.0 for name in names]

    def _one(self, name: str, value: float) -> float:
        seen = np.array(self.values[name])
        limit = math.sqrt(len(seen))
        return 0.0 if seen.std() == 0 else float(np.clip((value - seen.mean()) / seen.std(), -limit, limit))


def three_features(n: int) -> list[dict[str, float]]:
    """Return rows of three features, one of which is sometimes absent."""
    rng = random.Random(3)
    rows = [{"a": rng.gauss(5, 2), "b": rng.gauss(-1, 0.1), "c": rng.gauss(0, 30)} for _ in range(n)]
    return [{name: value for name, value in row.items() if i % 3 or name != "b"} for i, row in enumerate(rows, 1)]


def few_of_many_features(n: int) -> list[dict[str, float]]:
    """Return rows of ten of 200 features."""
    rng = random.Random(5)
    return [{f"f{int(200 * rng.random() ** 2)}": rng.gauss(3, 2) for _ in range(10)} for _ in range(n)]


@pytest.mark.parametrize("stream", [three_features, few_of_many_features])
@pytest.mark.parametrize("standardise", [True, False])
def test_a_step_is_exact_gradient_descent(stream: Callable[[int], list[dict[str, float]]], standardise: bool) -> None:
    rows, rng = stream(120), random.Random(4)
    model, scaling = MLPClassifier((7, 5), "tanh", 0.05, standardise=standardise, seed=1), Standardised()

    def inputs(x: dict[str, float]) -> list[float]:
        values = scaling.scaled(x, names) if standardise else [x.get(name, 0.0) for name in names]
        return values + [0.0] * (n_inputs - len(names))  # inputs that wait for new features

    for i, x in enumerate(rows[:80]):
        model.learn_one(x, "xyz"[i % 3])
        scaling.learn(x)
    assert model.network is not None
    reference, n_inputs = ReferenceNetwork.from_network(model.network), model.network.sizes[0]
    for x in (x for x in rows[80:] if set(x) <= set(model.feature_names)):
        names, label, weight = model.feature_names, rng.choice("xyz"), rng.choice([1.0, 0.5])
        assert list(model.predict_proba_one(x).values()) == pytest.approx(reference.predict(inputs(x)), rel=1e-9)
        model.learn_one(x, label, w=weight)
        scaling.learn(x)
        reference.train(inputs(x), model.classes.index(label), 0.05 * weight)
    for found, own in zip(model.network.weights, reference.weights, strict=True):
        np.testing.assert_allclose(found, own, rtol=1e-9)


def test_targets_are_standardised_and_large_errors_are_clipped() -> None:
    rows, rng = three_features(60), random.Random(4)
    model = MLPRegressor(7, learning_rate=0.1, clip_gradient=0.5, seed=1)
    scaling, targets, n_clipped = Standardised(), Standardised(), 0
    model.learn_one(rows[0], 1000.0)
    assert model.network is not None
    reference = ReferenceNetwork.from_network(model.network)
    scaling.learn(rows[0])
    targets.learn({"y": 1000.0})
    for x in rows[1:]:
        y = 1000.0 + 50 * rng.random()
        scaling.learn(x)
        targets.learn({"y": y})
        model.learn_one(x, y)
        inputs, (target,) = scaling.scaled(x, model.feature_names), targets.scaled({"y": y}, ["y"])
        error = target - reference.predict(inputs)[0]
        n_clipped += abs(error) > 0.5
        # The same step as on a target at the largest error.
        reference.train(inputs, [target - error + max(-0.5, min(0.5, error))], 0.1)
        seen = np.array(targets.values["y"])
        expected = seen.mean() + seen.std() * reference.predict(inputs)[0]
        assert model.predict_one(x) == pytest.approx(expected, rel=1e-9)
    assert 5 < n_clipped < 55


def test_without_standardising_the_network_gets_the_numbers_as_they_are() -> None:
    model = MLPRegressor(4, standardise=False, clip_gradient=math.inf, seed=1)
    model.learn_one({"a": 0.5, "b": 2}, 1.5)
    assert model.network is not None
    assert model.predict_one({"b": 2, "a": 0.5}) == pytest.approx(model.network.outputs(np.array([[0.5, 2]]))[0, 0])
    assert model.predict_one({"b": 2}) == pytest.approx(model.network.outputs(np.array([[0, 2]]))[0, 0])
    assert model.predict_one({"b": 2, "unknown": 5}) == model.predict_one({"b": 2})


@BOTH
def test_a_step_moves_the_weights_of_present_features_only(estimator: Any) -> None:
    model = estimator(8, "tanh", standardise=False, seed=1)
    for x, y in texts(200, vocabulary=3000):
        model.learn_one(x, target_of(estimator, x, y))
    assert 500 < len(model.feature_names) <= model.network.sizes[0] <= 2 * len(model.feature_names)
    before = model.network
    x = {"word 1": 1.0, "word 5": 1.0}
    model.learn_one(x, target_of(estimator, x, True))
    moved = (before.weights[0] != model.network.weights[0]).any(axis=1)
    assert {model.feature_names[j] for j in np.flatnonzero(moved)} == set(x)


def test_it_learns_what_a_linear_model_cannot() -> None:
    def accuracy(model: Any) -> float:
        return float(evaluate.progressive_val_score(rings(3000), model, metrics.Accuracy()).get())

    linear = preprocessing.StandardScaler() | linear_model.LogisticRegression(optim.SGD(0.1))
    as_bool = ({"x": x["x"], "y": x["y"]} for x, _ in rings(3000)), (y == "inside" for _, y in rings(3000))
    score = evaluate.progressive_val_score(zip(*as_bool, strict=True), linear, metrics.Accuracy())
    assert accuracy(MLPClassifier(seed=1)) > 0.9 > score.get() + 0.2


def test_it_learns_a_function_of_numbers() -> None:
    stream = datasets.synth.Friedman(seed=1).take(3000)
    assert evaluate.progressive_val_score(stream, MLPRegressor(seed=1), metrics.R2()).get() > 0.65


def test_it_learns_bags_of_words() -> None:
    model, right = MLPClassifier(50, "tanh", 0.1, standardise=False, seed=1), 0
    for i, (x, y) in enumerate(texts(3000, vocabulary=100)):
        right += i >= 2000 and model.predict_one(x) == y
        model.learn_one(x, y)
    assert right > 800


# ---- growth ----


@BOTH
def test_a_new_feature_changes_no_prediction_without_it(estimator: Any) -> None:
    model = estimator(seed=1)
    samples = list(rings(50))
    for x, y in samples:
        model.learn_one(x, target_of(estimator, x, y))
    before = [model.predict_one(x) for x, _ in samples]
    assert model.feature_names == ["x", "y"]
    # Weight 0: the feature gets a column, and no weight moves.
    model.learn_one({"z": 3}, target_of(estimator, {"z": 3}, "inside"), w=0.0)
    assert model.feature_names == ["x", "y", "z"]
    if estimator is MLPClassifier:  # mean and deviation of the target have moved
        assert [model.predict_one(x) for x, _ in samples] == before
    assert model.predict_one({"x": 99}) == model.predict_one({"x": 99, "w": 1e6})  # w was never learned


def test_a_new_class_leaves_the_ratios_of_the_others() -> None:
    model = MLPClassifier(seed=1)
    assert model.predict_proba_one({"x": 1}) == {}
    assert model.predict_one({"x": 1}) is None
    samples = list(rings(50))
    for x, y in samples:
        model.learn_one(x, y)
    before = [model.predict_proba_one(x) for x, _ in samples]
    model.learn_one(samples[0][0], 3, w=0.0)
    assert model.classes == [samples[0][1], "inside" if samples[0][1] == "outside" else "outside", 3]
    # The moments of the features have moved a little.
    for old, (x, _) in zip(before, samples, strict=True):
        new = model.predict_proba_one(x)
        assert sum(new.values()) == pytest.approx(1)
        assert new["inside"] / new["outside"] == pytest.approx(old["inside"] / old["outside"], rel=0.2)


def test_classes_of_any_hashable_type() -> None:
    model = MLPClassifier(seed=1)
    for label in ("a", 2, True, None.__class__, ("x", 1), np.int64(7)):
        model.learn_one({"x": 1.0}, label)
    assert len(model.predict_proba_one({"x": 1.0})) == 6


@pytest.mark.parametrize(("activation", "dtype"), [("tanh", "float64"), ("sigmoid", "float64"), ("tanh", "float32")])
def test_other_kinds_of_networks(activation: Any, dtype: str) -> None:
    model = MLPClassifier((9, 4), activation, 0.1, dtype=dtype, seed=2)
    for x, y in rings(200):
        model.learn_one(x, y)
    assert model.network is not None
    assert repr(model.network) == (
        f"Network(2-9-4-2, rule='backprop', activation='{activation}', output='softmax', dtype='{dtype}')"
    )
    assert metrics.Accuracy().works_with(model)
    assert sum(model.predict_one(x) == y for x, y in rings(200, seed=1)) > 120


# ---- hashed features ----


def test_more_features_than_columns_share_them() -> None:
    columns = FeatureColumns(limit=10)
    columns.add(["b", "a"])
    columns.add([str(number) for number in range(20)])
    assert columns.names[:2] == ["a", "b"]
    assert len(columns) == 10
    found = columns.find([str(number) for number in range(1000)])
    assert set(found) == set(range(10))
    assert max(map(found.count, range(10))) < 150


def test_a_feature_has_the_same_column_in_every_process() -> None:
    code = """
from fastnn.feature_columns import FeatureColumns
columns = FeatureColumns(1000)
columns.add(range(10_000))
print(columns.find(["word", "näme", 123456, 0.5, b"x", ("a", ("b", 1)), None.__class__.__name__]))
"""
    outputs = [run_python(code, PYTHONHASHSEED=seed).stdout for seed in "12"]
    assert outputs[0] == outputs[1] == "[26, 825, 874, 862, 637, 206, 592]\n"


def test_equal_names_have_the_same_column() -> None:
    columns = FeatureColumns(1000)
    columns.add(range(1000))
    one, *others = columns.find([2000, 2000.0, np.int64(2000), np.float64(2000)])
    assert others == [one] * 3
    assert len(set(columns.find(["2000", 2000, b"2000", ("2000",), ("20", "00"), ("2", "000"), 2000.5]))) > 5


def test_names_that_have_no_stable_hash_are_refused_beyond_the_limit() -> None:
    model = MLPClassifier(max_features=3, seed=1)
    model.learn_one({object: 1, "b": 2}, True)
    for names in (("c", object()), (object(),)):
        before = state(model)
        with pytest.raises(DataError, match="names beyond max_features must be texts"):
            model.learn_one(dict.fromkeys(names, 1), True)
        assert state(model) == before
        model.learn_one({"c": 1}, True)


@BOTH
def test_frames_with_such_names_change_nothing(estimator: Any) -> None:
    model = estimator(max_features=2, seed=1)
    model.learn_one({"a": 1, "b": 2}, 1)
    before = state(model)
    with pytest.raises(DataError, match="names beyond max_features must be texts"):
        model.learn_many(pd.DataFrame([[1.0, 2.0], [3.0, 4.0]], columns=["a", object()]), pd.Series([2, 3]))
    assert state(model) == before


@BOTH
def test_memory_is_bounded_by_max_features(estimator: Any) -> None:
    model = estimator(8, max_features=50, standardise=False, seed=1)
    for x, y in texts(100):
        model.learn_one(x, target_of(estimator, x, y))
    assert len(model.feature_names) == model.network.sizes[0] == 50
    # Hashed features count: many rows of one have an output of their own.
    ask = model.predict_proba_one if estimator is MLPClassifier else model.predict_one
    assert len({str(ask({f"new {i}": 3.0})) for i in range(20)}) > 10


# ---- frames ----


@BOTH
@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_frames_are_learned_as_single_rows(estimator: Any, frame: Any) -> None:
    series = pd.Series if frame is pd.DataFrame else pl.Series
    one, many = estimator(5, seed=1), estimator(5, seed=1)
    samples = [({**x, f"extra {i % 2}": i}, target_of(estimator, x, y)) for i, (x, y) in enumerate(rings(90))]
    for start in range(0, 90, 30):
        part = samples[start : start + 30]
        names = ["y", "x"] if start == 0 else ["extra 1", "x", "y"]
        rows = [{name: float(x.get(name, -1)) for name in names} for x, _ in part]
        weights = [0.5 + i % 3 for i in range(30)]
        for x, (_, target), weight in zip(rows, part, weights, strict=True):
            one.learn_one(x, target, w=weight)
        many.learn_many(frame(rows), series([target for _, target in part]), w=series(weights))
        assert many.feature_names == one.feature_names
    for found, own in zip(many.network.weights, one.network.weights, strict=True):
        np.testing.assert_allclose(found, own, rtol=1e-9)
    rows = [{name: x.get(name, 3.0) for name in ("extra 0", "y", "x")} for x, _ in samples[:10]]
    predicted, singles = many.predict_many(frame(rows)), [one.predict_one(x) for x in rows]
    assert isinstance(predicted, series)
    if estimator is MLPClassifier:
        assert predicted.to_list() == singles
        shares = many.predict_proba_many(frame(rows))
        assert list(shares.columns) == one.classes
        np.testing.assert_allclose(shares.to_numpy().sum(axis=1), 1)
    else:
        assert predicted.to_list() == pytest.approx(singles)


@BOTH
def test_frames_keep_index_and_name(estimator: Any) -> None:
    model = estimator(seed=1)
    frame = pd.DataFrame({"x": [1.0, 2.0, 4.0], "y": [0, 1, 0]}, index=[7, 8, 9])
    assert len(model.predict_many(frame)) == 3
    model.learn_many(frame, pd.Series([0, 1, 0], name="what", index=[7, 8, 9]))
    predicted = model.predict_many(frame)
    assert predicted.name == "what"
    assert list(predicted.index) == [7, 8, 9]
    empty = frame.iloc[:0]
    model.learn_many(empty, pd.Series([], dtype=int))
    assert len(model.predict_many(empty)) == 0


def test_a_frame_before_any_class() -> None:
    frame = pd.DataFrame({"x": [1.0, 2.0]})
    model = MLPClassifier()
    assert model.predict_many(frame).to_list() == [None, None]
    assert model.predict_proba_many(frame).shape[1] == 0


def test_wide_frames_of_sparse_features() -> None:
    samples = list(texts(200))
    one, many = (MLPClassifier(6, "tanh", standardise=False, seed=1) for _ in range(2))
    for model in (one, many):
        for x, y in samples[:100]:
            model.learn_one(x, y)
    frame = pd.DataFrame([x for x, _ in samples[100:]]).fillna(0.0)
    for x in frame.to_dict("records"):
        one.learn_one(x, True)
    many.learn_many(frame, pd.Series([True] * 100))
    np.testing.assert_allclose(many.network.weights[0], one.network.weights[0], rtol=1e-9)
    shares = many.predict_proba_many(frame)[True]
    np.testing.assert_allclose(shares, [one.predict_proba_one(x)[True] for x in frame.to_dict("records")], rtol=1e-9)


# ---- copies ----


@BOTH
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])  # noqa: S301
def test_copies_go_on_alike_and_apart(estimator: Any, duplicate: Callable[[Any], Any]) -> None:
    samples = [(x, target_of(estimator, x, y)) for x, y in rings(60)]
    model = estimator(seed=1)
    for x, y in samples[:30]:
        model.learn_one(x, y)
    twin = duplicate(model)
    for x, y in samples[30:]:
        assert twin.predict_one(x) == model.predict_one(x)
        twin.learn_one(x, y)
        model.learn_one(x, y)
    assert twin.network.sha256() == model.network.sha256()
    twin.learn_one(*samples[0])
    assert twin.network.sha256() != model.network.sha256()
    fresh = model.clone()
    assert fresh.feature_names == []
    assert fresh.network is None
    assert fresh.learning_rate == model.learning_rate


def test_seeds_are_reproducible_and_none_is_random() -> None:
    def learned(seed: int | None) -> str:
        model = MLPClassifier(seed=seed)
        for x, y in rings(10):
            model.learn_one(x, y)
        assert model.network is not None
        return model.network.sha256()

    assert learned(1) == learned(1) != learned(2)
    assert learned(None) != learned(None)


@BOTH
def test_the_learning_rate_can_be_changed(estimator: Any) -> None:
    model = estimator(learning_rate=0.5, seed=1)
    for x, y in rings(10):
        model.learn_one(x, target_of(estimator, x, y))
    model.mutate({"learning_rate": 1e-300})
    assert model.learning_rate == 1e-300
    before = model.network.sha256()
    for x, y in rings(10):
        model.learn_one(x, target_of(estimator, x, y))
    assert model.network.sha256() == before


# ---- drift ----


def shift(n: int) -> Iterator[tuple[dict[str, float], Any]]:
    """Yield a stream whose classes change places in the middle."""
    for i, (x, y) in enumerate(rings(n)):
        yield x, y if i < n // 2 else {"inside": "outside", "outside": "inside"}[y]


@BOTH
def test_a_drift_resets_the_network(estimator: Any) -> None:
    model = estimator(drift_detector=drift.ADWIN(), seed=1)
    for i, (x, y) in enumerate(shift(2000)):
        model.learn_one(x, y if estimator is MLPClassifier else (y == "inside") * 10)
        if i == 500:  # errors have become less frequent, which the detector detects too
            assert model.n_drifts == 0
    assert 1 <= model.n_drifts <= 2
    assert model.feature_names == ["x", "y"]
    clone = model.clone()
    assert clone.n_drifts == 0
    assert clone.drift_detector is not model.drift_detector


def test_a_hook_replaces_the_reset() -> None:
    seen = []
    model = MLPClassifier(drift_detector=drift.binary.DDM(), on_drift=seen.append, seed=1)
    for x, y in shift(2000):
        model.learn_one(x, y)
    assert len(seen) == model.n_drifts > 0
    assert seen[0] is model


@BOTH
def test_frames_feed_the_detector_too(estimator: Any) -> None:
    samples = [(x, y if estimator is MLPClassifier else (y == "inside") * 10.0) for x, y in shift(2000)]
    one, many = (estimator(drift_detector=drift.ADWIN(), seed=1) for _ in range(2))
    for x, y in samples:
        one.learn_one(x, y)
    many.learn_many(pd.DataFrame([x for x, _ in samples]), pd.Series([y for _, y in samples]))
    assert one.n_drifts == many.n_drifts > 0
    assert one.network.sha256() == many.network.sha256()


@BOTH
def test_reset_forgets_what_was_learned_but_not_names(estimator: Any) -> None:
    model = estimator(seed=1)
    model.reset()
    samples = [(x, target_of(estimator, x, y)) for x, y in rings(30)]
    for x, y in samples:
        model.learn_one(x, y)
    before = model.network.sha256()
    model.reset()
    assert model.feature_names == ["x", "y"]
    assert model.network.sha256() != before
    if estimator is MLPClassifier:
        assert len(model.classes) == 2
    for x, y in samples:
        model.learn_one(x, y)
    assert np.isfinite(model.network.parameters).all()


def test_river_retrains_it_after_a_drift() -> None:
    model = drift.DriftRetrainingClassifier(MLPClassifier(seed=1), drift.binary.DDM())
    assert evaluate.progressive_val_score(shift(1000), model, metrics.Accuracy()).get() > 0.6


# ---- in River ----


def test_in_a_pipeline_with_texts_encoded() -> None:
    model = compose.Pipeline(
        (compose.SelectType(str) | preprocessing.OneHotEncoder()) + compose.SelectType(float, int),
        MLPClassifier(seed=1),
    )
    samples = [({**x, "colour": "red" if y == "inside" else "blue"}, y) for x, y in rings(300)]
    assert evaluate.progressive_val_score(samples, model, metrics.Accuracy()).get() > 0.85


@pytest.mark.parametrize(
    "wrapper",
    [
        lambda model: ensemble.BaggingClassifier(model, n_models=2, seed=1),
        lambda model: ensemble.ADWINBaggingClassifier(model, n_models=2, seed=1),
        multiclass.OneVsRestClassifier,
        lambda model: preprocessing.StandardScaler() | model,
    ],
)
def test_in_wrappers(wrapper: Callable[[Any], Any]) -> None:
    stream = datasets.ImageSegments().take(500)
    model = wrapper(MLPClassifier(10, learning_rate=0.1, seed=1))
    assert evaluate.progressive_val_score(stream, model, metrics.Accuracy()).get() > 0.6


def test_in_wrappers_of_regressors() -> None:
    model = ensemble.BaggingRegressor(preprocessing.TargetStandardScaler(MLPRegressor(5, seed=1)), n_models=2, seed=1)
    stream = datasets.synth.Friedman(seed=1).take(400)
    assert evaluate.progressive_val_score(stream, model, metrics.R2()).get() > 0


# ---- bad input ----

BAD_VALUES = [
    (math.nan, r"feature 'y' is nan; it must be a finite number"),
    (math.inf, r"feature 'y' is inf; it must be a finite number"),
    (1e31, r"feature 'y' is 1e\+31; it must be a number below 1e\+30 in size"),
    (10**400, r"it must be a finite number"),
    (None, r"feature 'y' is None; it must be a finite number"),
    ("red", r"feature 'y' is the text 'red'; encode texts with preprocessing.OneHotEncoder first"),
    ([1.0], r"feature 'y' is \[1.0\]; it must be a finite number"),
]


@BOTH
@pytest.mark.parametrize(("value", "message"), BAD_VALUES, ids=lambda value: str(value)[:20])
def test_a_bad_feature_is_refused_and_changes_nothing(estimator: Any, value: Any, message: str) -> None:
    for n in (0, 30):
        model = estimator(seed=1, drift_detector=drift.ADWIN())
        for x, y in rings(n):
            model.learn_one(x, target_of(estimator, x, y))
        before = state(model)
        for names in (("x", "y"), ("new", "y"), ("y",)):
            with pytest.raises(DataError, match=message):
                model.learn_one({name: value if name == "y" else 0.5 for name in names}, 1)
            if n:
                with pytest.raises(DataError, match=message):
                    model.predict_one({name: value if name == "y" else 0.5 for name in names})
        frame = pd.DataFrame({"x": [1.0, 2.0], "y": pd.Series([0.5, value], dtype=object)})
        with pytest.raises(DataError, match="feature 'y'"):
            model.learn_many(frame, pd.Series([1, 2]))
        with pytest.raises(DataError, match="feature 'y'"):
            model.predict_many(frame)
        assert state(model) == before


@BOTH
@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_texts_in_a_frame_are_refused_even_if_they_look_like_numbers(estimator: Any, frame: Any) -> None:
    model = estimator(seed=1)
    with pytest.raises(DataError, match="row 1: feature 'y' is the text '3'"):
        model.learn_many(frame({"x": [1.0, 2.0], "y": ["3", "4"]}), pd.Series([1, 2]))
    model.learn_many(frame({"x": [1, 2], "y": [True, False]}), pd.Series([1, 2]))


def test_frames_of_word_counts() -> None:
    words = feature_extraction.BagOfWords()
    model = words | MLPClassifier(standardise=False, seed=1)
    lines = pd.Series(["a b b", "c a", "b"])
    model.learn_many(lines, pd.Series(["x", "y", "x"]))
    assert model.predict_many(lines).to_list() == [model.predict_one(line) for line in lines]


@BOTH
def test_the_row_of_a_bad_value_in_a_frame_is_named(estimator: Any) -> None:
    frame = pd.DataFrame({"x": [1.0, 2.0], "y": [0.5, math.nan]})
    with pytest.raises(DataError, match="row 2: feature 'y' is nan"):
        estimator().learn_many(frame, pd.Series([1, 2]))


@BOTH
@pytest.mark.parametrize("weight", [math.nan, math.inf, -1.0, "2"])
def test_a_bad_weight_is_refused_and_changes_nothing(estimator: Any, weight: Any) -> None:
    model = estimator(seed=1)
    model.learn_one({"x": 1}, 1)
    before = state(model)
    with pytest.raises(DataError, match="w: must be finite and not negative"):
        model.learn_one({"x": 2, "z": 1}, 2, w=weight)
    with pytest.raises(DataError, match="w: must be finite and not negative"):
        model.learn_many(pd.DataFrame({"z": [1.0]}), pd.Series([2]), w=pd.Series([weight], dtype=object))
    assert state(model) == before


@pytest.mark.parametrize(
    ("target", "message"), [(None, "missing"), (math.nan, "missing"), (pd.NA, "missing"), ([1], "hashable")]
)
def test_a_bad_class_is_refused_and_changes_nothing(target: Any, message: str) -> None:
    model = MLPClassifier(seed=1)
    model.learn_one({"x": 1}, "a")
    before = state(model)
    with pytest.raises(DataError, match=message):
        model.learn_one({"x": 2, "z": 1}, target)
    with pytest.raises(DataError, match=message):
        model.learn_many(pd.DataFrame({"z": [1.0, 2.0]}), pd.Series(["a", target]))
    assert state(model) == before


@pytest.mark.parametrize("target", [None, math.nan, math.inf, "1", 1e31, True.__class__])
def test_a_bad_target_is_refused_and_changes_nothing(target: Any) -> None:
    model = MLPRegressor(seed=1)
    model.learn_one({"x": 1}, 2.0)
    before = state(model)
    with pytest.raises(DataError, match=r"the target is (?!.*OneHotEncoder)"):
        model.learn_one({"x": 2, "z": 1}, target)
    with pytest.raises(DataError, match="row 2: the target is"):
        model.learn_many(pd.DataFrame({"z": [1.0, 2.0]}), pd.Series([1.0, target], dtype=object))
    assert state(model) == before


@BOTH
def test_lengths_that_differ_are_refused(estimator: Any) -> None:
    frame = pd.DataFrame({"x": [1.0, 2.0]})
    with pytest.raises(DataError, match="X and y must have the same length, not 2 and 1"):
        estimator().learn_many(frame, pd.Series([1]))
    with pytest.raises(DataError, match="w: must be a number or have 2 of them, not 1"):
        estimator().learn_many(frame, pd.Series([1, 2]), w=pd.Series([1.0]))


@BOTH
@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"hidden_layer_sizes": (5, 0)}, "layer sizes"),
        ({"hidden_layer_sizes": (2.5,)}, "hidden_layer_sizes must be whole numbers, not 2.5"),
        ({"hidden_layer_sizes": "50"}, "hidden_layer_sizes must be whole numbers, not '50'"),
        ({"activation": "gelu"}, "unknown activation 'gelu'"),
        ({"dtype": "int8"}, "unknown dtype 'int8'"),
        ({"learning_rate": 0}, "learning_rate must be positive"),
        ({"learning_rate": math.nan}, "learning_rate must be positive"),
        ({"alpha": -1}, "alpha must be finite and not negative"),
        ({"max_features": 0}, "max_features must be at least 1"),
        ({"max_features": 10_000_000}, "max_features 10,000,000 gives 500,000,000 weights, which is too many"),
        ({"seed": -1}, "seed must not be negative"),
    ],
)
def test_bad_parameters_are_refused(estimator: Any, parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        estimator(**parameters)


def test_a_bad_limit_of_errors_is_refused() -> None:
    with pytest.raises(RecipeError, match="clip_gradient must be positive"):
        MLPRegressor(clip_gradient=0)


@BOTH
def test_a_network_that_diverges_says_so_until_it_is_reset(estimator: Any) -> None:
    options: dict[str, Any] = {} if estimator is MLPClassifier else {"clip_gradient": math.inf}
    model = estimator(learning_rate=1e300, standardise=False, seed=1, **options)
    for x, y in rings(50):
        model.learn_one(x, target_of(estimator, x, y))
    x, y = next(rings(1))
    with pytest.raises(TrainingError, match=r"diverged.*call reset\(\), and take a learning rate below 1e\+300"):
        model.predict_one(x)
    with pytest.raises(TrainingError, match="training diverged"):
        model.predict_many(pd.DataFrame([x]))
    model.learning_rate = 1e-6
    model.reset()
    model.learn_one(x, target_of(estimator, x, y))
    model.predict_one(x)


def test_a_row_without_features() -> None:
    model = MLPClassifier(seed=1)
    model.learn_one({}, "a")
    model.learn_one({}, "b")
    assert set(model.predict_proba_one({})) == {"a", "b"}


def test_without_river_the_error_names_the_extra() -> None:
    code = """
import sys
sys.modules["river"] = None
try:
    import fastnn.river
except Exception as error:
    print(error)
"""
    assert "needs the extra [river]: pip install 'fastnn-trainer[river]'" in run_python(code).stdout


def test_examples_print_the_output_they_show() -> None:
    assert doctest.testmod(fastnn.river).failed == 0
    assert doctest.testmod(fastnn.feature_columns).failed == 0
