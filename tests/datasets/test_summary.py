"""Statistics of a data set."""

import numpy as np

from fastnn.datasets import Dataset
from fastnn.datasets.summary import summary
from tests.datasets.samples import dataset, images


def test_summary() -> None:
    first, second = np.full((2, 784), 255, np.uint8)
    first[:196] = 100
    second[0] = 254
    blank, black = np.full(784, 255, np.uint8), np.zeros(784, np.uint8)
    pictures = np.stack([first, second, first, first, second, blank, black])
    made = Dataset(pictures, np.array([0, 1, 0, 2, 1, 0, 0]), ("a", "b", "c"), "here", notes=("a note",))
    figures = summary(made)
    ink = (3 * 196 + 2 * 1 + 0 + 784) / (7 * 784)
    assert figures.pop("ink_share") == ink
    assert figures == {
        "source": "here",
        "hash": made.content_hash,
        "n": 7,
        "classes": {"a": 4, "b": 2, "c": 1},
        "copies": 3,
        "conflicting": 3,
        "blank": 2,
        "polarity": None,
        "notes": ["a note"],
        "test": None,
    }


def test_summary_of_a_test_set() -> None:
    figures = summary(
        dataset([1, 2, 2], test=Dataset(images(2), np.array([3, 3]), tuple("0123456789"), "its test set"))
    )
    assert figures["test"]["n"] == 2
    assert figures["test"]["classes"]["3"] == 2
    assert figures["copies"] == 0
