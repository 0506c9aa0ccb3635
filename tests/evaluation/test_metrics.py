import dataclasses
import json
import math

import numpy as np
import pytest

from fastnn.datasets import Dataset
from fastnn.errors import DataError
from fastnn.evaluation.classification import Evaluation, class_rows, confusion_matrix
from fastnn.evaluation.matching import match_labels
from fastnn.evaluation.metrics import evaluate, mean_loss
from fastnn.model import Model
from fastnn.network import Network
from tests.models import model


def reader(classes: tuple[str, ...], *, rule: str = "backprop") -> Model:
    """Return a model that predicts class k if pixel k is white and the others are black."""
    network = Network((784, len(classes)), rule=rule, dtype=np.float64)  # type: ignore[arg-type]
    for k in range(len(classes)):
        network.weights[0][k, k] = 8.0
    return Model((network,), classes)


def images(*shown: int) -> np.ndarray:
    made = np.zeros((len(shown), 784), np.uint8)
    made[np.arange(len(shown)), shown] = 255
    return made


def dataset(labels: list[int], shown: list[int], classes: tuple[str, ...]) -> Dataset:
    return Dataset(images(*shown), np.array(labels, np.int64), classes, "some.json")


def test_figures_counted_by_hand() -> None:
    labels, shown = [0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 1, 2]
    result = evaluate(reader(("a", "b", "c", "d")), dataset(labels, shown, ("a", "b", "c", "d")))
    assert (result.correct, result.total) == (4, 6)
    assert result.accuracy == pytest.approx(4 / 6)
    assert result.balanced_accuracy == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert result.confusion.tolist() == [[3, 1, 0, 0], [0, 1, 1, 0], [0] * 4, [0] * 4]
    assert result.confusion.dtype == np.int64
    assert result.per_class == [
        {"class": "a", "count": 4, "correct": 3, "recall": 0.75, "precision": 1.0},
        {"class": "b", "count": 2, "correct": 1, "recall": 0.5, "precision": 0.5},
        {"class": "c", "count": 0, "correct": 0, "recall": None, "precision": 0.0},
        {"class": "d", "count": 0, "correct": 0, "recall": None, "precision": None},
    ]


def test_loss_of_backprop_is_the_mean_cross_entropy_in_nats() -> None:
    result = evaluate(reader(("a", "b")), dataset([0, 1], [0, 0], ("a", "b")))
    hit = math.exp(8) / (math.exp(8) + 1)
    assert result.loss == pytest.approx((-math.log(hit) - math.log(1 - hit)) / 2)


def test_loss_of_the_original_rule_is_the_mean_sum_of_squares() -> None:
    result = evaluate(reader(("a", "b"), rule="original"), dataset([0, 1], [0, 0], ("a", "b")))
    on = 1 / (1 + math.exp(-8))
    assert result.loss == pytest.approx((((1 - on) ** 2 + 0.25) + (on**2 + 0.25)) / 2)


def test_loss_stays_finite_where_a_probability_underflows() -> None:
    assert mean_loss(np.array([[1.0, 0.0]]), np.array([1]), "cross_entropy") == pytest.approx(87.3365, abs=1e-3)


def test_classes_are_matched_by_name() -> None:
    known = reader(("a", "b", "c"))
    result = evaluate(known, dataset([0, 0, 1], [2, 2, 0], ("c", "a")))
    assert (result.correct, result.classes) == (3, ("a", "b", "c"))
    # An unknown class that does not occur is allowed.
    assert evaluate(known, dataset([0], [2], ("c", "z"))).correct == 1
    with pytest.raises(DataError, match=r"some.json: the model does not know the class 'z'; it knows a, b, c$"):
        evaluate(known, dataset([1], [2], ("c", "z")))


def test_labels_are_unchanged_if_the_classes_agree() -> None:
    data = dataset([0, 1], [0, 1], ("a", "b"))
    assert match_labels(data, ("a", "b")) is data.labels


def test_an_empty_data_set_cannot_be_evaluated() -> None:
    with pytest.raises(DataError, match=r"some\.json: no images to evaluate on"):
        evaluate(reader(("a", "b")), dataset([], [], ("a", "b")))


def test_a_path_is_no_data_set() -> None:
    model = Model((Network((4, 2), rule="backprop"),), ("a", "b"))
    with pytest.raises(DataError, match=r"wine\.csv: is no Dataset; read it with fastnn\.load_dataset first"):
        evaluate(model, "wine.csv")  # type: ignore[arg-type]


def test_a_confusion_matrix_counts_each_image_once() -> None:
    rng = np.random.default_rng(0)
    labels, guesses = rng.integers(0, 7, (2, 500))
    matrix = confusion_matrix(labels, guesses, 7)
    assert matrix.sum() == 500
    assert all(matrix[a, b] == np.sum((labels == a) & (guesses == b)) for a in range(7) for b in range(7))


def test_the_figures_are_fit_for_json() -> None:
    data = Dataset(
        np.random.default_rng(0).integers(0, 256, (30, 784), dtype=np.uint8),
        np.arange(30, dtype=np.int64) % 7,
        tuple("0123456789"),
        "random",
    )
    result = evaluate(model(), data)
    figures = json.loads(json.dumps(result.as_dict(), allow_nan=False))
    assert set(figures) == {f.name for f in dataclasses.fields(result)} - {"classes"} | {"task"}
    assert np.array_equal(figures["confusion"], result.confusion)


def test_the_notebook_tables_escape_names() -> None:
    classes = ("<script>", *(str(k) for k in range(99)))
    confusion = np.eye(100, dtype=np.int64)
    rows = class_rows(confusion, classes)
    shown = Evaluation(0.875, 0.75, 7, 8, 0.25, rows, confusion, classes, 0.25, None)._repr_html_()
    for text in ("87.50%", "75.00%", "0.2500", "&lt;script&gt;", "the first 50"):
        assert text in shown
    assert "<script" not in shown
    assert shown.count("<tr>") < 60
