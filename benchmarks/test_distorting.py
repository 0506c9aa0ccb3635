"""Time to distort a 28x28 image, as training with preset `modern` does for each digit in each epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from benchmarks.problem import make_problem
from benchmarks.race import Candidate, Timing, race
from benchmarks.thresholds import DISTORTING_AT_LEAST
from fastnn.images.distort import Distorter
from fastnn.recipe import Recipe

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from benchmarks.conftest import Effort, Results

SIDE = 28
AFFINE = {"rotation": 12.0, "scale": 0.12, "shear": 0.15, "shift": 1.0}
CHANGE = np.array([[0.1, -0.15], [0.2, -0.05]])
RECIPES = {
    "affine": ("fastnn, affine", Recipe(**AFFINE)),
    "elastic": ("fastnn, affine and elastic", Recipe(**AFFINE, elastic_alpha=1.0)),
}


def by_fastnn(recipe: Recipe, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    out = np.empty_like(images)
    Distorter(recipe)(images, np.arange(len(images)), 1, out)
    return out


def by_scipy(images: NDArray[np.uint8], change: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Distort all images by one affine map about the centre."""
    from scipy.ndimage import affine_transform

    matrix = np.eye(2) + change
    centre = np.full(2, (SIDE - 1) / 2)
    offset = centre - matrix @ centre
    out = np.empty_like(images)
    for image, result in zip(images.reshape(-1, SIDE, SIDE), out.reshape(-1, SIDE, SIDE), strict=True):
        affine_transform(image, matrix, offset, output=result, order=1, cval=255)
    return out


@pytest.fixture(scope="module")
def candidates() -> dict[str, Candidate]:
    images = make_problem().images
    result = {
        key: Candidate(key, name, lambda n, recipe=recipe: by_fastnn(recipe, images[:n]), 10_000, 10_000)
        for key, (name, recipe) in RECIPES.items()
    }
    result["scipy"] = Candidate(
        "scipy", "SciPy's affine_transform, an image at a time", lambda n: by_scipy(images[:n], CHANGE), 1000, 1000
    )
    return result


@pytest.fixture(scope="module")
def timings(candidates: dict[str, Candidate], effort: Effort, results: Results) -> dict[str, Timing]:
    measured = race(candidates.values(), rounds=min(3, effort.rounds), seconds=0)
    results.add("distorting an image", measured)
    return {timing.key: timing for timing in measured}


def test_no_distortion_changes_nothing() -> None:
    images = make_problem().images[:100]
    np.testing.assert_array_equal(by_fastnn(Recipe(rotation=1e-9), images), images)
    np.testing.assert_array_equal(by_scipy(images, np.zeros((2, 2))), images)


@pytest.mark.benchmark(group="distorting")
@pytest.mark.parametrize("key", [*RECIPES, "scipy"])
def test_distorting(key: str, candidates: dict[str, Candidate], timings: dict[str, Timing], benchmark: Any) -> None:
    benchmark.extra_info.update(timings[key].record())
    benchmark.pedantic(candidates[key].run, args=(1000,), rounds=1)


def test_distorting_is_faster_than_scipy(timings: dict[str, Timing], effort: Effort) -> None:
    if effort.quick:
        pytest.skip("--quick measures too shortly to assert ratios")
    assert timings["scipy"].best / timings["elastic"].best >= DISTORTING_AT_LEAST
