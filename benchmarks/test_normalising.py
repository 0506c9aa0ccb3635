"""Time to crop, scale and centre 28x28 images, compared with Pillow, which handles one image at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from benchmarks.problem import make_problem
from benchmarks.race import Candidate, Timing, race
from benchmarks.thresholds import NORMALISING_AT_LEAST

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from benchmarks.conftest import Effort, Results

SIDE, BOX = 28, 20


def by_pillow(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Crop the digit, scale it by area and paste it with its centre of mass in the middle."""
    from PIL import Image

    positions = np.arange(BOX)
    result = np.full((len(images), SIDE * SIDE), 255, np.uint8)
    for image, out in zip(images, result.reshape(-1, SIDE, SIDE), strict=True):
        drawing = Image.fromarray(255 - image.reshape(SIDE, SIDE))
        box = drawing.getbbox()
        if box is None:
            continue
        width, height = box[2] - box[0], box[3] - box[1]
        scale = BOX / max(width, height)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        ink = np.asarray(drawing.resize(size, Image.Resampling.BOX, box))
        mass = ink.sum()
        top = round(SIDE / 2 - float(ink.sum(axis=1) @ positions[: size[1]]) / mass)
        left = round(SIDE / 2 - float(ink.sum(axis=0) @ positions[: size[0]]) / mass)
        top, left = min(max(top, 0), SIDE - size[1]), min(max(left, 0), SIDE - size[0])
        out[top : top + size[1], left : left + size[0]] = 255 - ink
    return result


def by_fastnn(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    from fastnn.images import normalise_batch

    return normalise_batch(images, polarity="dark-on-light")[0]


@pytest.fixture(scope="module")
def timings(effort: Effort, results: Results) -> dict[str, Timing]:
    images = make_problem().images
    measured = race(
        [
            Candidate("fastnn", "fastnn, normalise_batch", lambda n: by_fastnn(images[:n]), 10_000, 10_000),
            Candidate("pillow", "Pillow and NumPy, an image at a time", lambda n: by_pillow(images[:n]), 1000, 1000),
        ],
        rounds=min(3, effort.rounds),
        seconds=0,
    )
    results.add("normalising an image", measured)
    return {timing.key: timing for timing in measured}


def test_both_normalise_alike() -> None:
    images = make_problem().images[:200]
    ours, theirs = (255 - by(images).astype(float) for by in (by_fastnn, by_pillow))
    alike = (ours * theirs).sum(axis=1) / np.sqrt((ours**2).sum(axis=1) * (theirs**2).sum(axis=1))
    assert np.median(alike) > 0.95


@pytest.mark.benchmark(group="loading")
@pytest.mark.parametrize("key", ["fastnn", "pillow"])
def test_normalising(key: str, timings: dict[str, Timing], benchmark: Any) -> None:
    images = make_problem().images[:1000]
    benchmark.extra_info.update(timings[key].record())
    benchmark.pedantic(by_fastnn if key == "fastnn" else by_pillow, args=(images,), rounds=1)


def test_normalising_is_faster_than_pillow(timings: dict[str, Timing], effort: Effort) -> None:
    if effort.quick:
        pytest.skip("--quick measures too shortly to assert ratios")
    assert timings["pillow"].best / timings["fastnn"].best >= NORMALISING_AT_LEAST
