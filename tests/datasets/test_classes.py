"""Choosing classes with ``--classes``, and classes that are too small for a split."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from fastnn import Recipe, Session, load_dataset
from fastnn.datasets import Dataset
from fastnn.datasets.class_choice import keep_classes
from fastnn.datasets.labels import parse_classes
from fastnn.errors import DataError
from fastnn.evaluation.saved_model import evaluate_file
from tests.helpers import blobs, linear_table

if TYPE_CHECKING:
    from pathlib import Path

SMALL = Recipe(hidden=(6,), epochs=1)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("0-9", tuple("0123456789")),
        ("A-C,a", ("A", "B", "C", "a")),
        ("0, 1,seven", ("0", "1", "seven")),
        ("8-11", ("8", "9", "10", "11")),
        ("à-â", ("à", "á", "â")),
        ("-", ("-",)),
    ],
)
def test_lists_and_ranges_of_classes(text: str, names: tuple[str, ...]) -> None:
    assert parse_classes(text) == names


@pytest.mark.parametrize("text", ["", "9-0", "0-999999999", "1,,2", "1,1", "0-3,2", "Z-A"])
def test_impossible_lists_are_refused(text: str) -> None:
    with pytest.raises(DataError):
        parse_classes(text)


def numbers(path: Path) -> Path:
    """Write 60 images with the labels 0 to 9, and 42 and 123 for every sixth."""
    data = blobs(60)
    labels = data.labels.copy()
    labels[::12], labels[6::12] = 42, 123
    np.savez(path, images=data.images, labels=labels)
    return path


def test_labels_of_several_digits_are_as_many_outputs_unless_classes_are_chosen(tmp_path: Path) -> None:
    path = numbers(tmp_path / "a.npz")
    assert load_dataset(path).names[-3:] == ("9", "42", "123")
    assert Session(path, SMALL).sizes[-1] == len(load_dataset(path).names)
    chosen = load_dataset(path, classes="0-9")
    assert chosen.names == tuple("0123456789")
    assert len(chosen) == 50
    assert chosen.notes[-1] == "10 images of other classes are left out: 42 (5), 123 (5)"
    whole = load_dataset(path)
    for name in ("1", "7"):
        own, all_of_it = (part.images[part.labels == part.names.index(name)] for part in (chosen, whole))
        np.testing.assert_array_equal(own, all_of_it)
    order = load_dataset(path, classes=("123", "5", "nobody"))
    assert order.names == ("123", "5", "nobody")
    assert order.counts.tolist() == [5, 6, 0]
    assert order.notes[-1] == "there is no image of class nobody"


def test_a_run_is_resumed_and_evaluated_with_its_classes(tmp_path: Path) -> None:
    path = numbers(tmp_path / "a.npz")
    for _ in Session(load_dataset(path, classes="0-4"), SMALL, tmp_path / "run", source=str(path)):
        pass
    resumed = Session.resume(tmp_path / "run", epochs=2)
    assert resumed.names == tuple("01234")
    assert evaluate_file(str(tmp_path / "run")).samples.names == tuple("01234")


def test_classes_that_are_not_there_are_refused() -> None:
    with pytest.raises(DataError, match="has no image of the classes in --classes; its classes are 0, 1"):
        keep_classes(blobs(20), ("x", "y"))
    with pytest.raises(DataError, match="has no classes to choose from"):
        keep_classes(linear_table(20), ("x", "y"))
    data = replace(blobs(20), test=blobs(2))
    with pytest.raises(DataError, match="has no image of the classes in --classes"):
        keep_classes(data, ("5",))
    kept = keep_classes(replace(blobs(20), test=blobs(10), validation=blobs(3)), ("0", "9"))
    assert kept.test is not None
    assert (len(kept), len(kept.test), kept.validation is not None) == (4, 2, True)


def with_counts(*counts: int) -> Dataset:
    """Return images of classes a, b, ... with these numbers of images."""
    labels = np.repeat(np.arange(len(counts)), counts)
    images = np.random.default_rng(0).integers(0, 256, (len(labels), 784), dtype=np.uint8)
    return Dataset(images, labels, tuple("abcdefghijklmnopqrstuvwxyz"[: len(counts)]), "made")


def test_a_class_that_is_too_small_for_the_split_is_named() -> None:
    (note,) = Session(with_counts(100, 100, 1, 1), SMALL).notes
    assert note == (
        "too few images for the split: none of class 'c' (1), 'd' (1) is tested on; add images, or leave such classes "
        "out with --classes"
    )
    # Enough of each, and a class that does not occur at all.
    assert Session(with_counts(100, 100, 0, 40), SMALL).notes == ()
    own = with_counts(100, 100, 0)
    tested = replace(own, test=with_counts(10, 10, 3))
    assert "none of class 'c' (0) is trained on" in Session(tested, SMALL).notes[0]
