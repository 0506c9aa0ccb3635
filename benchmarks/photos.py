"""How well digits on photos and canvases are read: ``python -m benchmarks.photos MODEL --mnist FOLDER``.

For each condition of ``tests/photographs.py`` it counts how many of 20 of MNIST's test digits are read right, wrong
without doubt, and doubtful, and how many of the same digits the model reads right as they are. Needs OpenCV.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from benchmarks.page import add_page_option, show
from fastnn import load_dataset, load_model
from fastnn.images.drawings import find_drawings
from fastnn.recognition import recognise
from tests.photographs import Camera, canvas, crisp

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from fastnn.model import Model

SIDES = (140, 141, 280, 300, 449, 700, 1000, 1401)
PENS = (1, 2, 4, 8, 16)


class Count(NamedTuple):
    """How the digits of a condition are read."""

    name: str
    right: int
    sure_and_wrong: int
    doubtful: int
    total: int
    milliseconds: float


def count(model: Model, name: str, pictures: Iterable[tuple[NDArray[np.uint8], str]]) -> Count:
    """Return how a model reads pictures of one digit each."""
    right = wrong = doubtful = total = 0
    seconds = []
    for picture, label in pictures:
        start = time.perf_counter()
        digits = recognise(model, find_drawings(picture))
        seconds.append(time.perf_counter() - start)
        is_right = [digit.label for digit in digits] == [label]
        is_doubtful = len(digits) != 1 or digits[0].doubtful
        total += 1
        right += is_right
        doubtful += is_doubtful
        wrong += not is_right and not is_doubtful
    return Count(name, right, wrong, doubtful, total, 1000 * statistics.median(seconds))


def as_markdown(counts: Sequence[Count]) -> str:
    """Return the table."""
    lines = ["| picture | right | wrong without doubt | doubtful | ms |", "|---|---:|---:|---:|---:|"]
    lines += [
        f"| {one.name} | {one.right} of {one.total} | {one.sure_and_wrong} | {one.doubtful} | {one.milliseconds:.0f} |"
        for one in counts
    ]
    return "\n".join(lines)


def main() -> None:
    """Take the photos, read them, and print or write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="a run of recipe mnist")
    parser.add_argument("--mnist", default="mnist", help="data set MNIST")
    parser.add_argument("--n", type=int, default=20, help="digits in each condition")
    add_page_option(parser)
    options = parser.parse_args()
    model, test = load_model(options.model), load_dataset(options.mnist).test
    if test is None:
        parser.error("MNIST must have its test set")
    images, labels = test.images[: options.n], [test.classes[k] for k in test.labels[: options.n].tolist()]
    plain = [(image.reshape(28, 28), label) for image, label in zip(images, labels, strict=True)]
    counts = [count(model, "28x28 pixels", plain)]
    for name, take in Camera(seed=1).conditions.items():
        photos = ((np.asarray(take(crisp(image))), label) for image, label in zip(images, labels, strict=True))
        counts.append(count(model, f"photo, {name}", photos))
    for side in SIDES:
        drawn = ((canvas(digit, side, pen), str(digit)) for pen in PENS for digit in range(10))
        counts.append(count(model, f"canvas of {side} pixels, pens of 1 to 16", drawn))
    show(as_markdown(counts), "photos", options.page)


if __name__ == "__main__":
    main()
