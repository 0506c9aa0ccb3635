"""The built-in data set ``drawn``: digits generated in the way people draw them on the original's web page.

A digit starts as a skeleton, a few points for each stroke in one of the styles in which people write it
(:mod:`fastnn.datasets.skeletons`). Its points are displaced at random and joined by splines; the path is bent, slanted,
scaled and moved. Then a pen follows it at the speed of a hand and leaves a round dab at every pointer event
(:mod:`fastnn.kernels.strokes`).
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fastnn.datasets.cache import cached
from fastnn.datasets.dataset import PIXELS, Dataset
from fastnn.datasets.labels import DIGIT_CLASSES
from fastnn.datasets.skeletons import DRIFT_KNOTS, SCRIBBLE, STYLES, TREMOR_KNOTS, Skeleton, skeleton_of
from fastnn.errors import DataError
from fastnn.kernels.loader import Kernel, checksum_of_kernels
from fastnn.kernels.records import CANVAS, CANVAS_ROW, DAB_DIAMETER, DAB_ROW, FLOATS_PER_VECTOR, SIDE, STROKES
from fastnn.kernels.workspace import ArgumentBlock
from fastnn.reading import read_file

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


# Number of images of each digit in the original's data set.
COUNTS = (1284, 1441, 1439, 1376, 1431, 1357, 1374, 1465, 1328, 1447)
MAX_DIGITS = 10_000_000

# As in the original's data, where some people drew another digit than they were asked for, and some a scribble.
_WRONG_LABEL = 0.007
_SCRIBBLED = 0.003

# Largest extent of a path on the canvas of the page, in pixels.
_MAX_EXTENT = 270.0
# For the ten digits and a scribble: standard deviation of the points as a fraction of the height (a straight one varies
# less than an eight, and dents in a round zero are conspicuous), height relative to the other digits, and how far the
# top leans to the right of the bottom.
_HANDS = (
    (0.022, 0.93, 0.05),
    (0.013, 1.00, 0.05),
    (0.031, 1.00, -0.03),
    (0.032, 1.00, 0.06),
    (0.027, 1.03, -0.05),
    (0.031, 1.00, 0.00),
    (0.031, 1.00, -0.03),
    (0.028, 1.00, -0.03),
    (0.028, 1.03, -0.02),
    (0.031, 1.03, 0.01),
    (0.200, 1.00, 0.00),
)
# Pointer events of a digit; further ones are dropped.
_MOST_EVENTS = 1024
# Digits drawn at a time, so that a million digits need no more scratch memory than a thousand.
_BATCH = 1024


def drawn(n: int = sum(COUNTS), seed: int = 0, *, out: NDArray[np.uint8] | None = None) -> Dataset:
    """Return a data set of generated digits.

    Parameters
    ----------
    n : int
        Number of digits, 1 to 10,000,000; the classes have the proportions of the original data.
    seed : int
        The same `n` and `seed` give the same data set, byte for byte.
    out : ndarray of uint8, shape (n, 784), optional
        Receives the images, which may be a mapped file.

    Returns
    -------
    Dataset
        In random order. About 0.7 % show another digit than their label says and 0.3 % none, as in the real data.

    Raises
    ------
    DataError
        If `n` is out of range or the seed is negative.
    """
    check_count(n, seed)
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(10), _shares(n)))
    styles = choose_styles(labels, rng)
    images = np.empty((n, PIXELS), dtype=np.uint8) if out is None else out
    for style in range(len(STYLES)):
        positions = np.flatnonzero(styles == style)
        for start in range(0, len(positions), _BATCH):
            batch = positions[start : start + _BATCH]
            images[batch] = _draw(style, len(batch), rng)
    return Dataset(images, labels.astype(np.int64), DIGIT_CLASSES, _source(seed), polarity="dark-on-light")


def check_count(n: int, seed: int) -> None:
    """Raise a DataError if so many digits cannot be drawn, or the seed is negative."""
    if not 1 <= n <= MAX_DIGITS:
        raise DataError(f"drawn: cannot draw {n} digits; ask for 1 to {MAX_DIGITS:,}")
    if seed < 0:
        raise DataError(f"drawn: the seed must be 0 or more, not {seed}")


def built_in() -> Dataset:
    """Return the data set ``drawn()``, from the user's cache if it was generated before.

    It is the default for users without other data, and generating it takes longer than an epoch of training.
    """
    kernels = checksum_of_kernels()
    if kernels is None:
        return drawn()
    sources = [read_file(Path(__file__).with_name(name), 1 << 20) for name in ("drawn.py", "skeletons.py")]
    made_from = b"".join([np.__version__.encode(), kernels, *sources])
    return cached(hashlib.sha256(made_from).hexdigest(), sum(COUNTS) * PIXELS, _source(0), drawn)


def _source(seed: int) -> str:
    return f"drawn (built in, seed {seed})"


def _shares(n: int) -> NDArray[np.int64]:
    """Return `n` divided in the proportions of `COUNTS` into whole numbers, by the largest remainder method."""
    whole, rest = np.divmod(np.asarray(COUNTS, dtype=np.int64) * n, sum(COUNTS))
    whole[np.argsort(-rest, kind="stable")[: n - whole.sum()]] += 1
    return whole


def choose_styles(labels: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Return for each label the index of a random style; rarely one of another digit, or of a scribble."""
    fate = rng.random(len(labels))
    shift = rng.integers(1, 10, len(labels))
    shown = np.where(fate < _WRONG_LABEL, (labels + shift) % 10, labels)
    shown[fate > 1 - _SCRIBBLED] = SCRIBBLE
    chance = rng.random(len(labels))
    styles = np.empty(len(labels), dtype=np.int64)
    for digit in range(SCRIBBLE + 1):
        candidates = np.array([i for i, style in enumerate(STYLES) if style[0] == digit])
        bounds = np.cumsum([STYLES[i][1] for i in candidates])
        chosen = shown == digit
        styles[chosen] = candidates[np.searchsorted(bounds[:-1], chance[chosen] * bounds[-1], side="right")]
    return styles


def _draw(style: int, n: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return `n` images in one style, shape (n, 784)."""
    skeleton = skeleton_of(style)
    shake, size, lean = _HANDS[STYLES[style][0]]
    paths = _place(_shape(skeleton, n, rng, shake, lean), rng, size, skeleton.tremor)
    # The speed of the pen differs from digit to digit and changes along the path.
    hurry = 11.0 * np.exp(0.5 * rng.standard_normal((n, 1)))
    change = rng.standard_normal((n, TREMOR_KNOTS)) @ skeleton.tremor.T
    paces = np.clip(hurry * (1.0 + 0.3 * change), 4.0, 60.0)
    images = np.empty((n, PIXELS), dtype=np.uint8)
    draw(strokes_block(np.ascontiguousarray(paths), np.ascontiguousarray(paces), skeleton.starts, images))
    return images


def strokes_block(
    paths: NDArray[np.float64], paces: NDArray[np.float64], starts: NDArray[np.int64], images: NDArray[np.uint8]
) -> ArgumentBlock:
    """Return the kernel's argument block, with a white canvas; see ``fastnn.kernels.records``."""
    n, n_points = paces.shape
    return ArgumentBlock(
        STROKES,
        paths=paths,
        paces=paces,
        n=n,
        n_points=n_points,
        starts=starts,
        n_strokes=len(starts) - 1,
        dab=round_dab(),
        images=images,
        canvas=np.ones(CANVAS_ROW * CANVAS_ROW + FLOATS_PER_VECTOR, np.float32),
        row=np.zeros(CANVAS_ROW, np.float32),
        events=np.zeros((_MOST_EVENTS, 2), np.int64),
        max_events=_MOST_EVENTS,
        arc=np.zeros(n_points),
    )


def _draws_a_dab(kernel: Callable[[int], object]) -> bool:
    """Return whether four strokes of one point leave the means of one dab, computed with NumPy."""
    centres = np.array([[140.0, 140.0], [100.0, 60.0], [33.0, 201.0], [250.0, 250.0]])
    images = np.zeros((4, PIXELS), np.uint8)
    block = strokes_block(np.ascontiguousarray(centres[:, None]), np.ones((4, 1)), np.array([0, 1]), images)
    kernel(block.address)
    dab, radius = round_dab()[:, :DAB_DIAMETER], DAB_DIAMETER // 2
    for (x, y), image in zip(centres.astype(int).tolist(), images, strict=True):
        canvas = np.ones((CANVAS, CANVAS))
        canvas[y - radius : y + radius, x - radius : x + radius] = dab
        means = canvas.reshape(SIDE, CANVAS // SIDE, SIDE, CANVAS // SIDE).mean(axis=(1, 3))
        if np.abs(means.reshape(-1) * 255 - image).max() > 1:
            return False
    return True


draw = Kernel("fastnn.kernels.strokes", "draw", (), _draws_a_dab)


@cache
def round_dab() -> NDArray[np.float32]:
    """Return the factors by which one dab of the pen darkens the canvas: 0 inside, 1 outside, between on the rim.

    The centre of the circle is a corner of the pixel grid, as are integer canvas coordinates. The coverage of a pixel
    on the rim is counted on 16x16 points, in integers, so that it is the same on every machine.

    Returns
    -------
    ndarray of float32, shape (30, 32)
        Two columns of ones on the right pad a row to whole vector registers.
    """
    fine = 16
    position = 2 * np.arange(DAB_DIAMETER * fine) + 1 - DAB_DIAMETER * fine
    inside = position[:, None] ** 2 + position[None, :] ** 2 <= (DAB_DIAMETER * fine) ** 2
    share = inside.reshape(DAB_DIAMETER, fine, DAB_DIAMETER, fine).sum(axis=(1, 3))
    dab = np.ones((DAB_DIAMETER, DAB_ROW), np.float32)
    dab[:, :DAB_DIAMETER] = 1.0 - share / (fine * fine)
    dab.flags.writeable = False
    return dab


def _shape(skeleton: Skeleton, n: int, rng: np.random.Generator, shake: float, lean: float) -> NDArray[np.float64]:
    """Return `n` random variations of a skeleton: paths around (0, 0) in units of the height, shape (n, p, 2)."""
    normal = rng.standard_normal
    # Some people draw more carefully than others.
    care = shake * np.exp(0.4 * normal((n, 1, 1)))
    points = skeleton.points + care * skeleton.loose[:, None] * normal((n, len(skeleton.points), 2))
    roundness = rng.random((n, 1, 1))
    paths = (1.0 - roundness) * (skeleton.sharp @ points) + roundness * (skeleton.round @ points)
    paths += care * (skeleton.drift @ normal((n, DRIFT_KNOTS, 2)))
    # Scribbles vary enough without being bent.
    bend = np.minimum(care[:, 0], 0.06)
    middle = 0.5 * (skeleton.points.min(axis=0) + skeleton.points.max(axis=0))
    x, y = np.moveaxis(paths - middle, 2, 0)
    # Taper and bend; the last term of y moves the waist, which makes one loop large and the other small.
    x = x * (1.0 + 0.3 * normal((n, 1)) * y) + 2.0 * bend * normal((n, 1)) * (y * y - 0.1)
    y = y + 3.0 * bend * normal((n, 1)) * (x * x - 0.03) + 0.25 * normal((n, 1)) * (0.25 - y * y)
    x = x - (lean + 0.12 * normal((n, 1))) * y
    y = y - 0.08 * normal((n, 1)) * x
    return np.stack((x, y), axis=2)


def _place(
    paths: NDArray[np.float64], rng: np.random.Generator, size: float, tremor: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return paths scaled and placed on the canvas, with the tremor of a hand; in canvas pixels, shape (n, p, 2)."""
    n = len(paths)
    normal = rng.standard_normal
    height = size * np.clip(158.0 + 28.0 * normal((n, 1, 1)), 50.0, 245.0)
    paths = paths * height
    paths[:, :, 0] *= np.exp(0.15 * normal((n, 1)))
    paths += 1.2 * np.exp(0.5 * normal((n, 1, 1))) * (tremor @ normal((n, TREMOR_KNOTS, 2)))
    low, high = paths.min(axis=1, keepdims=True), paths.max(axis=1, keepdims=True)
    # People start anywhere, but keep the line within the canvas.
    extent = (high - low).max(axis=2, keepdims=True)
    fit = np.minimum(1.0, _MAX_EXTENT / extent)
    spare = 0.5 * np.maximum(0.0, _MAX_EXTENT - (high - low))
    centre = 0.5 * CANVAS + np.clip((14.5, 16.0) * normal((n, 1, 2)), -spare, spare)
    placed: NDArray[np.float64] = centre + fit * (paths - 0.5 * (low + high))
    return placed
