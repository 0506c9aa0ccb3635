"""The kernels that distort and normalise images, against what they do as plain Python.

What they are to do is tested in tests/images.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fastnn.datasets.drawn import drawn
from fastnn.images import distort as distorting
from fastnn.images import normalise as normalising
from fastnn.images import normalise_batch
from fastnn.images.distort import Distorter
from fastnn.recipe import Recipe
from tests.kernels import plain

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastnn.kernels.workspace import ArgumentBlock


def plain_kernel(module: str, factory: str) -> Callable[[ArgumentBlock], None]:
    """Return a function that runs a kernel as plain Python."""
    function = getattr(plain.kernels(module), factory)()
    return lambda block: function(block.address)


@pytest.fixture(scope="module")
def digits() -> np.ndarray[Any, np.dtype[np.uint8]]:
    return drawn(12, seed=3).images


@pytest.mark.parametrize("elastic", [0.0, 8.0], ids=["affine", "elastic"])
def test_distortions_equal_those_of_plain_python(elastic: float, digits: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    distorter = Distorter(Recipe(rotation=10, scale=0.1, shear=0.1, shift=3, elastic_alpha=elastic, elastic_sigma=5))
    order, found = np.array([3, 0, 7, 3]), []
    for kernel in (distorting.distort, plain_kernel("fastnn.kernels.distort", "distort")):
        monkeypatch.setattr(distorting, "distort", kernel)
        out = np.zeros((len(order), 784), np.uint8)
        distorter(digits, order, 1, out)
        found.append(out)
    # A product and sum is rounded once or twice, so a position between two weights may take either of them.
    np.testing.assert_allclose(found[0], found[1].astype(int), atol=0 if elastic == 0 else 1)
    assert len(np.unique(found[0])) > 10
    assert not np.array_equal(found[0], digits[order])


@pytest.mark.parametrize("polarity", [None, "dark-on-light", "light-on-dark"])
def test_normalising_equals_that_of_plain_python(polarity: Any, digits: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    small = np.full((4, 28, 28), 255, np.uint8)  # the last one is blank
    small[0, 3:9, 1:25] = rng.integers(0, 200, (6, 24))
    # At two edges; source pixels outside are white.
    small[1, :5, :3] = 120
    small[2, -3:, -7:] = 60
    fine = np.full((2, 70, 45), 200, np.uint8)
    fine[0, 10:60, 20:26] = 0
    # A line that is too faint to count after scaling: the rest is scaled again.
    fine[1, 20:40, 10:30] = 0
    fine[1, 30, 30:44] = 165
    pictures = [digits.reshape(-1, 28, 28)[:4], 255 - digits.reshape(-1, 28, 28)[4:7], small, fine]
    results = []
    for kernel in (normalising.normalise_kernel, plain_kernel("fastnn.kernels.normalise", "normalise")):
        monkeypatch.setattr(normalising, "normalise_kernel", kernel)
        results.append([normalise_batch(each, polarity=polarity) for each in pictures])
    for ours, twin in zip(*results, strict=True):
        np.testing.assert_array_equal(ours[0], twin[0])
        np.testing.assert_array_equal(ours[1], twin[1])
