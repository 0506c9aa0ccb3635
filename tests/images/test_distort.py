"""Distortions: their geometry, their dependence on seed, epoch and position alone, and equal bits on every machine."""

from __future__ import annotations

import hashlib
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fastnn.images.distort import Distorter, random_words, smoothing
from fastnn.recipe import Recipe
from tests.helpers import ROOT, run_python

AFFINE = Recipe(rotation=15.0, scale=0.15, shear=0.2, shift=2.0)
ELASTIC = AFFINE.replace(elastic_alpha=1.5, seed=3)


def drawings(n: int = 12) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return strokes with soft edges, in the middle of the image."""
    y, x = np.mgrid[:28, :28]
    images = []
    for k in range(n):
        angle = k * math.pi / n
        away = np.abs((x - 13.5) * math.cos(angle) + (y - 13.5 - k % 3) * math.sin(angle))
        along = np.abs((y - 13.5) * math.cos(angle) - (x - 13.5) * math.sin(angle))
        images.append(255 - 255 * np.clip(2.5 - away, 0, 1) * (along < 8))
    return np.stack(images).reshape(n, 784).astype(np.uint8)


def distorted(recipe: Recipe, images: Any, order: Any = None, epoch: int = 1) -> Any:
    order = np.arange(len(images)) if order is None else np.asarray(order)
    out = np.zeros((len(order), 784), np.uint8)
    Distorter(recipe)(images, order, epoch, out)
    return out


def plain_distort(recipe: Recipe, images: Any, order: Any, epoch: int) -> Any:
    """Distort in plain Python: one pixel at a time, in float64."""
    distorter = Distorter(recipe)
    smooth = smoothing(recipe.elastic_sigma).astype(np.float64)[:, :28] if recipe.elastic_alpha else np.zeros((0, 28))
    count = 6 + 2 * len(smooth) ** 2
    words = random_words(recipe.seed, epoch, order, count)
    maps, noises = distorter.maps(words[:, :6]), distorter.noise(words[:, 6:])
    results = []
    for i, position in enumerate(order):
        ink = np.zeros((31, 31))
        ink[1:29, 1:29] = 255.0 - images[position].reshape(28, 28)
        a, b, c, d, e, f = maps[i].astype(np.float64)
        y, x = np.mgrid[:28, :28]
        px, py = a * x + b * y + e, c * x + d * y + f
        if len(noises):
            px = px + smooth.T @ noises[i, 0] @ smooth
            py = py + smooth.T @ noises[i, 1] @ smooth
        px, py = np.clip(px, -1, 27.999) + 1, np.clip(py, -1, 27.999) + 1
        ix, iy = px.astype(int), py.astype(int)
        fx, fy = px - ix, py - iy
        upper = ink[iy, ix] * (1 - fx) + ink[iy, ix + 1] * fx
        lower = ink[iy + 1, ix] * (1 - fx) + ink[iy + 1, ix + 1] * fx
        results.append(255 - (upper * (1 - fy) + lower * fy).reshape(784))
    return np.stack(results)


@pytest.mark.parametrize("recipe", [AFFINE, ELASTIC], ids=["affine", "elastic"])
def test_it_equals_numpy(recipe: Recipe) -> None:
    images = drawings(3)
    order = np.array([2, 0, 1])
    out = distorted(recipe, images, order, 7)
    expected = plain_distort(recipe, images, order, 7)
    # Weights are multiples of 1/256: at an edge of 255 levels the error can be a little over one level along each axis.
    assert np.abs(out - expected).max() < 2.6
    assert np.abs(out - expected).mean() < 0.2


def test_without_distortion_images_are_unchanged() -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 784), dtype=np.uint8)
    assert np.array_equal(distorted(Recipe(), images), images)


def test_it_depends_on_seed_epoch_and_position_alone() -> None:
    images = drawings()
    whole = distorted(ELASTIC, images)
    assert np.array_equal(distorted(ELASTIC, images, [5, 2, 9]), whole[[5, 2, 9]])
    same = np.repeat(images[:1], 6, axis=0)
    assert len({row.tobytes() for row in distorted(ELASTIC, same)}) == 6
    others = [distorted(ELASTIC, images, epoch=2), distorted(ELASTIC.replace(seed=4), images)]
    for other in others:
        assert not (other == whole).all(axis=1).any()


@pytest.mark.parametrize(
    ("changes", "bounds"),
    [
        ({"rotation": 30.0}, {"angle": 30}),
        ({"shift": 3.0}, {"shift": 3}),
        ({"scale": 0.2}, {"scale": 0.2}),
        ({"shear": 0.3}, {"shear": 0.3}),
    ],
)
def test_ranges_are_reached_and_not_exceeded(changes: dict[str, float], bounds: dict[str, float]) -> None:
    words = random_words(0, 1, np.arange(4000), 6)
    maps = Distorter(Recipe(**changes)).maps(words).astype(np.float64)
    forward = np.linalg.inv(maps[:, :4].reshape(-1, 2, 2))
    centre = (maps[:, 4:] + (maps[:, :4].reshape(-1, 2, 2) @ [13.5, 13.5])) - 13.5
    found = {
        "angle": np.degrees(np.arctan2(forward[:, 1, 0], forward[:, 0, 0])),
        "scale": np.linalg.norm(forward[:, :, 0], axis=1) - 1,
        "shear": forward[:, 0, 1] if "shear" in bounds else np.zeros(1),
        "shift": centre[:, 0],
    }
    for name, values in found.items():
        bound = bounds.get(name, 0.0)
        assert np.abs(values).max() <= bound + 1e-5, name
        assert np.abs(values).max() >= 0.95 * bound, name
        assert abs(values.mean()) <= 0.05 * bound + 1e-6, name


def test_random_words_are_uniform() -> None:
    words = random_words(5, 2, np.arange(2000), 4)
    assert len(np.unique(words)) == words.size
    bits = np.unpackbits(words.view(np.uint8)).mean()
    assert bits == pytest.approx(0.5, abs=0.005)
    uniform = words.astype(np.float64) / 2.0**64
    assert np.abs(np.corrcoef(uniform.T) - np.eye(4)).max() < 0.08
    assert np.histogram(uniform, 10, (0, 1))[0] == pytest.approx(words.size / 10, rel=0.15)


class SplitMix64:
    """The reference implementation of Vigna (2015)."""

    def __init__(self, state: int) -> None:
        self.state = state

    def __call__(self) -> int:
        self.state = (self.state + 0x9E3779B97F4A7C15) % (1 << 64)
        z = self.state
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % (1 << 64)
        z = (z ^ z >> 27) * 0x94D049BB133111EB % (1 << 64)
        return z ^ z >> 31


def test_the_hash_is_splitmix64() -> None:
    known = SplitMix64(0)
    assert [known(), known()] == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4]
    golden, lanes = 0x9E3779B97F4A7C15, 1 << 10
    for seed, epoch, position in ((9, 4, 3), (0, 1, 0), (2**63, 70, 59_999)):
        # Seed and epoch give the start of a stream, of which each position has its part.
        mixed = SplitMix64((seed - golden) % (1 << 64))()
        start = SplitMix64((mixed + (epoch - 1) * golden) % (1 << 64))()
        stream = SplitMix64((start + position * lanes * golden) % (1 << 64))
        assert random_words(seed, epoch, np.array([position]), 5)[0].tolist() == [stream() for _ in range(5)]


@pytest.mark.parametrize("sigma", [2.0, 4.0, 6.5, 28.0])
def test_displacements_have_the_given_strength_and_width(sigma: float) -> None:
    recipe = SimpleNamespace(seed=0, rotation=0, scale=0, shear=0, shift=0, elastic_alpha=1.5, elastic_sigma=sigma)
    distorter = Distorter(recipe)  # type: ignore[arg-type]
    smooth = smoothing(sigma)[:, :28]
    assert (smooth**2).sum(axis=0) == pytest.approx(1.0, abs=1e-5)
    noise = distorter.noise(random_words(0, 1, np.arange(400), -(-2 * len(smooth) ** 2 // 4)))
    field = np.einsum("ky,nakj,jx->nayx", smooth, noise, smooth)
    assert math.sqrt((field**2).mean()) == pytest.approx(1.5, rel=0.1)
    if sigma == 4.0:
        # White noise under a Gaussian of width s is correlated by exp(-d^2 / 4 s^2).
        related = (field[..., 14, 10] * field[..., 14, 16]).mean() / 1.5**2
        assert related == pytest.approx(math.exp(-36 / 64), abs=0.08)


def test_maps_are_those_of_numpys_sines() -> None:
    """Sine and cosine are computed with + and * alone, so that they are the same on every machine."""
    recipe = Recipe(rotation=90.0, scale=0.3, shear=0.5, shift=4.0)
    words = random_words(0, 1, np.arange(2000), 6)
    uniform = (words >> np.uint64(11)).astype(np.float64) * 2.0**-52 - 1.0
    angles, scales_x, scales_y, shears, shifts_x, shifts_y = (uniform * [np.pi / 2, 0.3, 0.3, 0.5, 4, 4]).T
    centre = np.full(2, 13.5)
    for k, found in enumerate(Distorter(recipe).maps(words)):
        rotation = np.array([[np.cos(angles[k]), -np.sin(angles[k])], [np.sin(angles[k]), np.cos(angles[k])]])
        shear = np.array([[1, shears[k]], [0, 1]])
        forward = rotation @ shear @ np.diag([1 + scales_x[k], 1 + scales_y[k]])
        inverse = np.linalg.inv(forward)
        offset = centre - inverse @ (centre + np.array([shifts_x[k], shifts_y[k]]))
        np.testing.assert_allclose(found, [*inverse.ravel(), *offset], rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("sigma", [2.0, 5.5])
def test_smoothing_is_a_gaussian_of_numpys_exp(sigma: float) -> None:
    found = smoothing(sigma).astype(np.float64)[:, :28]
    nodes = 13.5 + (np.arange(len(found)) - (len(found) - 1) / 2) * sigma
    distance = (np.arange(28) - nodes[:, None]) / sigma
    weights = np.exp(-0.5 * distance**2) * (np.abs(distance) <= 3)
    np.testing.assert_allclose(found, weights / np.linalg.norm(weights, axis=0), rtol=0, atol=1e-5)


_DIGEST = """
import hashlib, sys
from tests.images.test_distort import ELASTIC, distorted, drawings
print(hashlib.sha256(distorted(ELASTIC, drawings()).tobytes()).hexdigest())
"""


@pytest.mark.parametrize("target", ["generic", "haswell"])
def test_every_cpu_makes_the_same_pixels(target: str, tmp_path: Any) -> None:
    here = hashlib.sha256(distorted(ELASTIC, drawings()).tobytes()).hexdigest()
    settings = {"NUMBA_CPU_NAME": target, "NUMBA_CPU_FEATURES": ""}
    there = run_python(_DIGEST, cwd=ROOT, NUMBA_CACHE_DIR=str(tmp_path), **settings)
    assert there.stdout.strip() == here, there.stderr
