"""Networks that learned nothing: what counts as one, and what does not."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pytest

from fastnn import Recipe, Session, cross_validate, fit, load_model, presets
from fastnn.evaluation.chance import learned_nothing, other_rate
from fastnn.evaluation.classification import Evaluation, evaluate_classes
from fastnn.evaluation.multilabel import MultilabelEvaluation, evaluate_labels
from fastnn.evaluation.regression import evaluate_regression
from tests.helpers import blobs

if TYPE_CHECKING:
    from pathlib import Path

NAMES = tuple("0123456789")


def classes(
    labels: list[int] | np.ndarray, predicted: int | np.ndarray, *, sure: float = 0.5, k: int = 10
) -> Evaluation:
    """Return the evaluation of a classifier that gives its predictions the probability `sure`."""
    truth = np.asarray(labels, dtype=np.int64)
    guess = np.broadcast_to(np.asarray(predicted, dtype=np.int64), truth.shape)
    probabilities = np.full((len(truth), k), (1 - sure) / (k - 1))
    probabilities[np.arange(len(truth)), guess] = sure
    return evaluate_classes(truth, guess, probabilities, NAMES[:k], 1.0)


def many(n: int, k: int = 10) -> np.ndarray:
    return np.arange(n) % k


@pytest.mark.parametrize(
    ("evaluation", "reason"),
    [
        (classes(many(685), 6), "all 685 test samples are predicted as '6'"),
        (classes(many(20), 3), "all 20 test samples are predicted as '3'"),
        # Rare classes: 95 % right, and still one answer for all.
        (classes([0] * 285 + [1] * 15, 0, sure=0.99, k=2), "all 300 test samples are predicted as '0'"),
        (
            classes(many(1000), np.random.default_rng(0).integers(0, 10, 1000)),
            r"its balanced accuracy on 1,000 test samples, [\d.]+%, is that of chance with 10 classes",
        ),
    ],
)
def test_one_class_for_all_or_chance_is_nothing(evaluation: Evaluation, reason: str) -> None:
    found = learned_nothing(evaluation)
    assert found is not None
    assert re.fullmatch(reason, found)


@pytest.mark.parametrize(
    "evaluation",
    [
        # Too few samples to tell.
        classes(many(9), 3),
        classes(many(20), np.random.default_rng(0).integers(0, 10, 20)),
        classes([0] * 40 + [1] * 4, 0, k=2),
        # The test set has one class.
        classes([3] * 200, 3),
        classes([3] * 200, 4),
        # After a short training: 30 % right.
        classes(many(200), np.where(many(200) < 3, many(200), 3)),
        # The prediction is always the same, but the probabilities tell the classes apart.
        evaluate_classes(
            np.array([0] * 180 + [1] * 20, dtype=np.int64),
            np.zeros(200, dtype=np.int64),
            np.array([[0.98, 0.02]] * 180 + [[0.7, 0.3]] * 20),
            ("a", "b"),
            1.0,
        ),
    ],
)
def test_small_test_sets_and_short_trainings_are_no_reason(evaluation: Evaluation) -> None:
    assert learned_nothing(evaluation) is None


def labels(share: float, right: float, n: int = 200) -> MultilabelEvaluation:
    """Return the evaluation of predictions that copy a part of the labels and say no for the others."""
    rng = np.random.default_rng(0)
    truth = (rng.random((n, 3)) < share).astype(np.uint8)
    known = rng.random((n, 3)) < right
    predicted = np.where(known, truth, 0).astype(np.uint8)
    scores = np.where(known, truth, rng.random((n, 3)))
    return evaluate_labels(truth, predicted, scores, ("a", "b", "c"), 1.0)


def test_labels_no_better_than_their_most_common_value_are_nothing() -> None:
    found = learned_nothing(labels(0.3, 0.0))
    assert found == "no label of 200 test samples is predicted better than by always giving its most common value"
    assert learned_nothing(labels(0.3, 0.3)) is None
    assert learned_nothing(labels(0.01, 0.0)) is None


def test_a_regression_no_better_than_the_mean_is_nothing() -> None:
    rng = np.random.default_rng(0)
    targets = rng.normal(size=(100, 2))
    constant = np.full((100, 2), targets.mean() + 0.1)
    found = learned_nothing(evaluate_regression(targets, constant, ("a", "b"), 1.0))
    assert found is not None
    assert re.fullmatch(r"R2 on 100 test samples is -0\.0\d+, no better than always predicting the mean", found)
    one = np.column_stack([constant[:, 0], 0.5 * targets[:, 1]])
    assert learned_nothing(evaluate_regression(targets, one, ("a", "b"), 1.0)) is None
    assert learned_nothing(evaluate_regression(targets[:9], constant[:9], ("a", "b"), 1.0)) is None
    still = np.full((100, 1), 3.0)
    assert learned_nothing(evaluate_regression(still, still + 1, ("a",), 1.0)) is None


# ---- in a session ----

MUCH = Recipe(hidden=(16,), lr=5.0, epochs=5)


def test_a_session_says_that_its_network_learned_nothing(tmp_path: Path) -> None:
    session = Session(blobs(400), MUCH, f"{tmp_path}/run")
    for _ in session:
        assert session.failure is None
    assert session.learned_nothing is not None
    assert re.fullmatch(
        r"the network learned nothing \((all 40 test samples are predicted as '\d'|its balanced accuracy .*)\); "
        rf"try a learning rate below 5, such as 0\.01, and check the labels; {tmp_path}/run keeps the model",
        session.failure or "",
    )
    assert load_model(f"{tmp_path}/run").card.epochs == 5
    # One epoch is too short to tell.
    short = Session(blobs(400), MUCH.replace(epochs=1))
    for _ in short:
        pass
    assert short.failure is None
    with pytest.warns(UserWarning, match=r"^the network learned nothing .*check the labels$"):
        fit(blobs(400), MUCH, progress=False)


@pytest.mark.parametrize(
    ("lr", "advice"),
    [
        (1e-9, "above 1e-09, such as 0.01"),
        (0.01, "below 0.01, such as 0.001"),
        (0.1, "below 0.1, such as 0.01"),
    ],
)
def test_the_advice_depends_on_the_learning_rate(lr: float, advice: str) -> None:
    assert other_rate(lr) == f"try a learning rate {advice}, and check the labels"


def test_cross_validation_counts_the_folds_that_learned_nothing() -> None:
    result = cross_validate(blobs(400), MUCH, folds=2)
    assert all(fold.learned_nothing is not None for fold in result.folds)
    assert result.failure == (
        f"the networks of 2 of 2 folds learned nothing ({result.folds[0].learned_nothing}); "
        "try a learning rate below 5, such as 0.01, and check the labels"
    )
    assert cross_validate(blobs(200), presets["original"].replace(epochs=1, hidden=(8,)), folds=2).failure is None
