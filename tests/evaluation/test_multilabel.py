import json

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, hamming_loss, precision_score, recall_score, roc_auc_score

from fastnn.evaluation.multilabel import evaluate_labels

NAMES = ("red", "<green>", "never", "always")


def made(n: int = 80) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    targets = (rng.random((n, 4)) < [0.3, 0.6, 0.0, 1.0]).astype(np.uint8)
    probabilities = np.round(np.clip(0.3 * targets + rng.random((n, 4)) * 0.7, 0, 1), 2)
    probabilities[:, 2] = 0.1
    return targets, (probabilities > 0.5).astype(np.uint8), probabilities


def test_the_metrics_are_scikit_learns() -> None:
    targets, predicted, probabilities = made()
    found = evaluate_labels(targets, predicted, probabilities, NAMES, 0.5)
    assert found.score == found.accuracy == accuracy_score(targets, predicted)
    assert found.hamming_loss == pytest.approx(hamming_loss(targets, predicted))
    assert found.label_accuracy == pytest.approx(1 - hamming_loss(targets, predicted))
    options = {"zero_division": 0}
    assert found.micro_f1 == pytest.approx(f1_score(targets, predicted, average="micro", **options))
    assert found.macro_f1 == pytest.approx(f1_score(targets, predicted, average="macro", **options))
    for k, row in enumerate(found.per_label):
        truth, guess = targets[:, k], predicted[:, k]
        assert row["label"] == NAMES[k]
        assert row["count"] == truth.sum()
        assert row["f1"] == pytest.approx(f1_score(truth, guess, **options))
        if k < 2:
            assert row["precision"] == pytest.approx(precision_score(truth, guess))
            assert row["recall"] == pytest.approx(recall_score(truth, guess))
            assert row["roc_auc"] == pytest.approx(roc_auc_score(truth, probabilities[:, k]))
    never, always = found.per_label[2:]
    assert (never["recall"], never["precision"], never["f1"], never["roc_auc"]) == (None, None, 0.0, None)
    assert always["roc_auc"] is None


def test_the_figures_are_fit_for_json_and_notebooks() -> None:
    found = evaluate_labels(*made(), NAMES, 0.5)
    figures = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert (figures["task"], figures["total"]) == ("multilabel", 80)
    assert set(found.metrics) == {"test_accuracy", "label_accuracy", "micro_f1", "macro_f1", "test_loss"}
    shown = found._repr_html_()
    assert "&lt;green&gt;" in shown
    assert "<green" not in shown


def test_no_label_at_all_is_an_f1_of_0() -> None:
    nothing = np.zeros((3, 2), np.uint8)
    found = evaluate_labels(nothing, nothing, np.zeros((3, 2)), ("a", "b"), 0.0)
    assert (found.accuracy, found.micro_f1, found.macro_f1) == (1.0, 0.0, 0.0)
