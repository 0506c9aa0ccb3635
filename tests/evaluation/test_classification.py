import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, log_loss, roc_auc_score

from fastnn.evaluation.classification import Evaluation, evaluate_classes


def evaluated(k: int, *, labels: np.ndarray | None = None) -> tuple[Evaluation, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(k)
    truth = rng.integers(0, k, 90) if labels is None else labels
    # Rounded, so that there are ties.
    probabilities = np.round(rng.dirichlet(np.ones(k), len(truth)), 1)
    probabilities = (probabilities + 0.01) / (probabilities + 0.01).sum(axis=1, keepdims=True)
    predicted = probabilities.argmax(axis=1)
    names = tuple(f"class {index}" for index in range(k))
    return evaluate_classes(truth, predicted, probabilities, names, 0.5), truth, probabilities


@pytest.mark.parametrize("k", [2, 4])
def test_the_metrics_are_scikit_learns(k: int) -> None:
    found, labels, probabilities = evaluated(k)
    predicted = probabilities.argmax(axis=1)
    assert found.score == found.accuracy == accuracy_score(labels, predicted)
    assert found.balanced_accuracy == pytest.approx(balanced_accuracy_score(labels, predicted))
    assert found.log_loss == pytest.approx(log_loss(labels, probabilities))
    if k == 2:
        assert found.roc_auc == pytest.approx(roc_auc_score(labels, probabilities[:, 1]))
        assert set(found.metrics) == {"test_accuracy", "balanced_accuracy", "test_loss", "roc_auc", "log_loss"}
        assert "ROC AUC" in found._repr_html_()
    else:
        assert found.roc_auc is None
        assert set(found.metrics) == {"test_accuracy", "balanced_accuracy", "test_loss"}


def test_log_loss_of_an_impossible_label_is_that_of_scikit_learn() -> None:
    labels, probabilities = np.array([0, 1]), np.array([[0.0, 1.0], [0.5, 0.5]])
    found = evaluate_classes(labels, np.array([1, 0]), probabilities, ("a", "b"), 0.0)
    assert found.log_loss == pytest.approx(log_loss(labels, probabilities))


def test_one_class_alone_has_no_roc_auc() -> None:
    found, _, _ = evaluated(2, labels=np.zeros(10, np.int64))
    assert found.roc_auc is None
    assert found.as_dict()["roc_auc"] is None
    assert found.balanced_accuracy == found.accuracy
