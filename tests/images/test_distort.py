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
from tests.helpers import ROOT, compiled_only, python

AFFINE = Recipe(rotation=15.0, scale=0.15, shear=0.2, shift=2.0)
ELASTIC = AFFINE.replace(elastic_alpha=1.5, seed=3)


def drawings(n: int = 12) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Strokes with soft rims, in the middle of the paper."""
    y, x = np.mgrid[:28, :28]
    images = []
    for k in range(n):
        angle = k * math.pi / n
        away = np.abs((x - 13.5) * math.cos(angle) + (y - 13.5 - k % 3) * math.sin(angle))
        along = np.abs((y - 13.5) * math.cos(angle) - (x - 13.5) * math.sin(angle))
        images.append(255 - 255 * np.clip(2.5 - away, 0, 1) * (along < 8))
    return np.stack(images).reshape(n, 784).astype(np.uint8)


def distorted(recipe: Recipe, images: Any, order: Any = None, epoch: int = 1) -> tuple[Any, Any]:
    order = np.arange(len(images)) if order is None else np.asarray(order)
    out = np.zeros((len(order), 784), np.uint8)
    grey = np.zeros(len(order), np.int64)
    Distorter(recipe)(images, order, epoch, out, grey)
    return out, grey


def twin(recipe: Recipe, images: Any, order: Any, epoch: int) -> Any:
    """The same in plain NumPy: one pixel at a time, in float64."""
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
    out, grey = distorted(recipe, images, order, 7)
    expected = twin(recipe, images, order, 7)
    # Weights are multiples of 1/256: at an edge of 255 levels the error can be a little over one level along each axis.
    assert np.abs(out - expected).max() < 2.6
    assert np.abs(out - expected).mean() < 0.2
    assert np.array_equal(grey, out.sum(axis=1))


def test_without_distortion_images_are_unchanged() -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 784), dtype=np.uint8)
    assert np.array_equal(distorted(Recipe(), images)[0], images)


def test_it_depends_on_seed_epoch_and_position_alone() -> None:
    images = drawings()
    whole = distorted(ELASTIC, images)[0]
    assert np.array_equal(distorted(ELASTIC, images, [5, 2, 9])[0], whole[[5, 2, 9]])
    same = np.repeat(images[:1], 6, axis=0)
    assert len({row.tobytes() for row in distorted(ELASTIC, same)[0]}) == 6
    others = [distorted(ELASTIC, images, epoch=2)[0], distorted(ELASTIC.replace(seed=4), images)[0]]
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


def test_the_hash_is_splitmix64() -> None:
    golden = 0x9E3779B97F4A7C15

    def mix(z: int) -> int:
        z %= 1 << 64
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % (1 << 64)
        z = (z ^ z >> 27) * 0x94D049BB133111EB % (1 << 64)
        return z ^ z >> 31

    # The first outputs of the reference implementation for state 0.
    assert [mix(golden), mix(2 * golden)] == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4]
    start = mix(mix(9) + 4 * golden)
    expected = [[mix(start + (position * 1024 + 1 + word) * golden) for word in range(2)] for position in (3, 7)]
    assert random_words(9, 4, np.array([3, 7]), 2).tolist() == expected


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


def test_maps_undo_scale_shear_rotation_and_shift() -> None:
    recipe = SimpleNamespace(seed=0, rotation=90, scale=0.3, shear=0.4, shift=3, elastic_alpha=0, elastic_sigma=4)
    words = random_words(0, 1, np.arange(500), 6)
    angle, scale_x, scale_y, shear, shift_x, shift_y = (
        ((words >> np.uint64(11)) * 2.0**-52 - 1) * (np.pi / 2, 0.3, 0.3, 0.4, 3, 3)
    ).T
    one, zero = np.ones(500), np.zeros(500)
    scale = np.array([[1 + scale_x, zero], [zero, 1 + scale_y]])
    sheared = np.einsum("ijm,jkm->ikm", np.array([[one, shear], [zero, one]]), scale)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    forward = np.einsum("ijm,jkm->mik", turn, sheared)
    inverse = np.linalg.inv(forward)
    # Without the shift the centre of the image is a fixed point.
    offset = 13.5 - inverse @ (13.5 + np.array([shift_x, shift_y]).T)[:, :, None]
    expected = np.concatenate([inverse.reshape(500, 4), offset.reshape(500, 2)], axis=1)
    assert Distorter(recipe).maps(words) == pytest.approx(expected, abs=1e-5)  # type: ignore[arg-type]


def test_the_weights_of_the_nodes_are_gaussians() -> None:
    nodes = -(-27 // 4) + 3
    distance = (np.arange(28) - (13.5 + (np.arange(nodes)[:, None] - (nodes - 1) / 2) * 4)) / 4
    weights = np.where(np.abs(distance) <= 3, np.exp(-(distance**2) / 2), 0)
    assert smoothing(4.0)[:, :28] == pytest.approx(weights / np.sqrt((weights**2).sum(axis=0)), abs=1e-5)


_DIGEST = """
import hashlib, sys
from tests.images.test_distort import ELASTIC, distorted, drawings
print(hashlib.sha256(distorted(ELASTIC, drawings())[0].tobytes()).hexdigest())
"""


@compiled_only
@pytest.mark.parametrize("target", ["generic", "haswell"])
def test_every_cpu_makes_the_same_pixels(target: str, tmp_path: Any) -> None:
    here = hashlib.sha256(distorted(ELASTIC, drawings())[0].tobytes()).hexdigest()
    settings = {"NUMBA_CPU_NAME": target, "NUMBA_CPU_FEATURES": ""}
    there = python(_DIGEST, cwd=ROOT, NUMBA_CACHE_DIR=str(tmp_path), **settings)
    assert there.stdout.strip() == here, there.stderr
