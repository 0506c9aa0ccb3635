"""The built-in digits: drawn on the spot the way people draw them on the original's page.

A digit starts as a skeleton, a few points for each stroke in one of the styles that people write it in. Its points
are shaken, joined by splines, bent, slanted, scaled and moved; then a pen with a hand's speed follows the strokes and
leaves a round dab at every pointer event (:mod:`fastnn.kernels.strokes`).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fastnn.datasets.cache import cached
from fastnn.datasets.dataset import PIXELS, Dataset
from fastnn.errors import DataError
from fastnn.kernels.loader import Kernel, checksum_of_kernels
from fastnn.kernels.records import CANVAS, CANVAS_ROW, DAB_DIAMETER, DAB_ROW, FLOATS_PER_VECTOR, SIDE, STROKES
from fastnn.kernels.workspace import ArgumentBlock

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


# How many of each digit the original's data set has.
COUNTS = (1284, 1441, 1439, 1376, 1431, 1357, 1374, 1465, 1328, 1447)
MOST = 10_000_000

# As in the original's data, which people drew unwatched: some drew another digit than they were asked for, some none.
_WRONG_LABEL = 0.007
_SCRIBBLED = 0.003

# Styles: (class, share, strokes). Strokes are separated by "|", points are "x,y" in hundredths of the digit's height
# with y downwards; "!" marks a corner. Shares are within the class; they were judged by eye on the real digits.
_SCRIBBLE = 10
_STYLES: tuple[tuple[int, float, str], ...] = (
    (0, 0.45, "38,0 12,14 0,50 12,86 37,100 64,86 74,50 63,14 36,0"),
    (0, 0.20, "52,3 22,4 3,40 10,84 36,100 64,86 74,46 60,10 36,1 24,9"),
    (0, 0.15, "54,5 26,0 4,26 1,66 20,96 50,97 71,70 71,30 56,9"),
    (0, 0.17, "30,3 52,2 70,24 73,60 56,94 28,99 6,78 0,40 14,10 34,0"),
    (0, 0.03, "38,0 12,14 0,50 12,86 37,100 64,86 74,50 63,14 36,0 | 74,4 4,94"),
    (1, 0.42, "4,0 4,100"),
    (1, 0.36, "0,30 14,14 28,0! 27,50 26,100"),
    (1, 0.16, "0,17 12,11 20,0! 19,50 18,100"),
    (1, 0.03, "0,24 24,0! 24,50 24,100 | 2,100 50,99"),
    (1, 0.03, "0,30 10,8 24,2 29,18 27,60 24,100"),
    (2, 0.34, "4,24 16,5 38,0 58,12 60,32 42,58 4,97! 38,96 74,95"),
    (2, 0.24, "6,22 20,3 42,1 58,16 52,42 30,72 8,94 3,84 16,76 36,88 54,97 76,93"),
    (2, 0.18, "2,8 26,1 52,4 54,18 36,44 14,76 12,92 28,99 50,98 76,93"),
    (2, 0.12, "2,8 30,3 60,4! 32,50 4,96! 38,95 70,94"),
    (2, 0.12, "8,24 22,4 44,2 58,20 50,48 28,80 12,96! 40,97 78,99"),
    (3, 0.32, "4,14 26,0 50,6 56,24 42,42 24,47! 46,50 62,68 54,90 28,100 0,91"),
    (3, 0.12, "4,12 28,0 52,8 52,28 34,44 20,48 26,41 44,46 62,66 56,90 28,100 0,88"),
    (3, 0.16, "2,4 28,2 56,0! 42,20 24,42! 48,46 63,68 52,92 26,100 0,92"),
    (3, 0.20, "2,16 20,1 44,2 54,20 42,38 28,46 48,54 60,74 48,94 24,100 2,90"),
    (3, 0.10, "4,24 6,8 28,0 52,8 54,26 32,44! 54,54 62,74 50,95 26,100 4,94 0,80"),
    (3, 0.10, "2,10 22,0 48,4 46,24 24,44! 48,46 54,64 40,84 18,97 0,104"),
    (4, 0.36, "24,0 12,26 0,52! 36,54 76,51 | 54,20 53,60 51,100"),
    (4, 0.18, "12,0 8,26 4,52! 34,54 72,52 | 54,8 52,50 52,100"),
    (4, 0.08, "44,0 22,30 0,60! 36,60 70,58 | 48,4 48,50 48,100"),
    (4, 0.06, "50,100 48,50 50,0! 26,30 0,60! 36,59 72,57"),
    (4, 0.20, "14,0 6,26 8,46 30,52 54,46! 60,6! 57,50 54,100"),
    (4, 0.12, "20,2 10,28 0,52! 28,52 54,48! 62,2! 58,50 54,100"),
    (5, 0.38, "14,3 12,24 10,44! 32,37 54,44 62,66 50,90 24,100 0,92 | 14,3 40,2 68,0"),
    (5, 0.26, "66,2 40,1 16,3! 12,24 10,44! 34,37 56,46 63,68 50,91 24,100 0,93"),
    (5, 0.10, "62,4 40,0 20,6 14,26 30,40 52,52 60,72 46,94 22,100 2,92"),
    (5, 0.10, "22,6 16,26 14,46! 36,40 56,52 58,76 42,96 18,99 0,90 | 20,6 44,2 74,1"),
    (5, 0.08, "12,2 10,24 8,42! 34,36 58,46 64,68 50,92 24,100 4,92 2,76 | 12,2 40,1 66,3"),
    (5, 0.08, "76,0 46,4 22,8! 16,26 12,42! 32,40 46,52 48,72 34,92 14,100 0,94"),
    (6, 0.50, "42,0 20,22 5,54 4,84 22,100 46,94 54,74 40,58 20,64 6,84"),
    (6, 0.22, "52,7 34,0 14,18 2,54 6,88 28,100 52,90 58,70 42,55 18,60 5,76"),
    (6, 0.18, "30,0 14,30 3,66 8,92 26,100 46,92 50,74 36,60 18,66 6,86"),
    (6, 0.10, "48,3 22,18 4,50 6,86 32,100 58,86 56,64 34,54 14,62 4,70"),
    (7, 0.34, "0,4 32,3 62,1! 46,34 32,66 24,100"),
    (7, 0.40, "0,4 32,3 60,1! 44,34 32,66 24,100 | 10,52 36,50 64,48"),
    (7, 0.14, "0,6 28,4 54,0! 44,48 34,100 | 16,58 40,54 68,53"),
    (7, 0.04, "2,22 4,3! 34,2 62,1! 42,44 28,100"),
    (7, 0.08, "0,7 26,4 50,1 58,12 46,44 34,70 26,100 | 14,54 58,50"),
    (8, 0.32, "52,10 30,0 10,10 11,30 34,46 54,64 54,88 30,100 6,90 6,68 30,48 50,30 54,8"),
    (8, 0.14, "48,3 24,2 8,18 18,38 40,52 54,74 44,96 18,98 2,82 12,60 36,42 52,22 44,2"),
    (8, 0.08, "28,1 8,12 10,34 32,46 52,32 50,10 28,0 | 30,46 4,62 4,88 30,100 56,88 54,60 28,45"),
    (8, 0.08, "30,46 10,28 12,6 32,0 50,12 46,32 26,48 4,70 8,94 32,100 54,86 50,62 30,47"),
    (8, 0.06, "10,8 30,0 50,10 48,30 26,48 4,68 6,92 30,100 54,88 50,66 28,46 8,28 12,4"),
    (8, 0.12, "50,12 36,2 16,6 12,24 30,42 44,60 42,88 24,100 6,90 8,68 26,48 44,26 60,0"),
    (8, 0.08, "40,10 26,0 12,8 10,24 26,40 48,60 54,84 34,100 10,96 0,78 14,56 34,38 42,20 38,6"),
    (8, 0.12, "54,12 36,0 12,6 2,24 12,42 32,56 42,78 34,97 18,98 14,80 26,58 46,38 56,18 50,4"),
    (9, 0.32, "52,8 30,0 8,10 6,34 26,46 46,34 54,10! 56,50 48,84 26,100 0,92"),
    (9, 0.20, "52,8 30,0 8,10 4,36 24,48 46,36 52,8! 51,52 48,100"),
    (9, 0.20, "48,30 34,44 12,40 2,22 14,4 36,0 52,14 54,44 46,80 24,100 2,94"),
    (9, 0.12, "50,10 28,1 6,14 8,38 28,46 48,28 54,6! 44,54 26,100"),
    (9, 0.08, "50,34 26,44 4,30 10,6 34,0 52,16 50,56 42,100"),
    (9, 0.08, "36,40 18,46 6,30 12,8 30,0 44,14 40,38! 52,60 48,86 26,100 8,92"),
    (_SCRIBBLE, 0.50, "30,50 30,50 30,50 30,50 30,50 30,50 30,50 30,50 30,50"),
    (_SCRIBBLE, 0.25, "0,50 30,50 60,50"),
    (_SCRIBBLE, 0.25, "30,48 30,52"),
)

# How much of the page's canvas a pen's path may span, in pixels.
_ROOM = 270.0
# Splines are followed in this many steps from point to point.
_STEPS = 8
# The hand's tremor, and its slow drift, are splines through so many random points along the whole path.
_TREMOR_KNOTS = 14
_DRIFT_KNOTS = 5
# For the ten digits and a scribble: how far points stray in parts of the height (nobody bends a stick as much as an
# eight, and the eye sees each dent in a round zero), the height against that of the others, and how far the top leans
# to the right of the bottom.
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
# A digit's pointer events; more are lost.
_MOST_EVENTS = 1024
# Digits drawn at a time, so that a million digits need no more scratch memory than a thousand.
_BATCH = 1024


@dataclass(frozen=True, eq=False)
class _Skeleton:
    """One style, ready to be drawn: dense paths are `sharp @ points` or, with the corners rounded, `round @ points`.

    `points` (k, 2) are in parts of the digit's height; `loose` (k,) is 1, or more at the strokes' ends; `sharp` and
    `round` are (p, k); `tremor` and `drift` are (p, knots); `starts` (strokes + 1,) says where in the path each
    stroke begins.
    """

    points: NDArray[np.float64]
    loose: NDArray[np.float64]
    sharp: NDArray[np.float64]
    round: NDArray[np.float64]
    tremor: NDArray[np.float64]
    drift: NDArray[np.float64]
    starts: NDArray[np.int64]


def drawn(n: int = sum(COUNTS), seed: int = 0) -> Dataset:
    """Draw a data set of digits.

    Parameters
    ----------
    n : int
        How many digits; their labels come in the original's proportions.
    seed : int
        The same `n` and `seed` give the same data set, byte for byte.

    Returns
    -------
    Dataset
        In random order. About 0.7 % show another digit than their label says and 0.3 % none, as in the real data.

    Raises
    ------
    DataError
        If `n` lies outside of 1 to 10,000,000 or the seed is negative.
    """
    if not 1 <= n <= MOST:
        raise DataError(f"drawn: cannot draw {n} digits; ask for 1 to {MOST:,}")
    if seed < 0:
        raise DataError(f"drawn: the seed must be 0 or more, not {seed}")
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(10), _shares(n)))
    styles = _choose_styles(labels, rng)
    images = np.empty((n, PIXELS), dtype=np.uint8)
    for style in range(len(_STYLES)):
        where = np.flatnonzero(styles == style)
        for start in range(0, len(where), _BATCH):
            batch = where[start : start + _BATCH]
            images[batch] = _draw(style, len(batch), rng)
    return Dataset(images, labels.astype(np.int64), tuple("0123456789"), _source(seed))


def built_in() -> Dataset:
    """Return what :func:`drawn` draws without being told more, from the user's cache where it was drawn before.

    It is what everybody trains on who has no other digits, and drawing it takes longer than an epoch.
    """
    kernels = checksum_of_kernels()
    if kernels is None:
        return drawn()
    made_from = np.__version__.encode() + kernels + Path(__file__).read_bytes()
    return cached(hashlib.sha256(made_from).hexdigest(), sum(COUNTS) * PIXELS, _source(0), drawn)


def _source(seed: int) -> str:
    return f"drawn (built in, seed {seed})"


def _shares(n: int) -> NDArray[np.int64]:
    """Share out `n` in the proportions of `COUNTS`, whole numbers by largest remainder."""
    whole, rest = np.divmod(np.asarray(COUNTS, dtype=np.int64) * n, sum(COUNTS))
    whole[np.argsort(-rest, kind="stable")[: n - whole.sum()]] += 1
    return whole


def _choose_styles(labels: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Choose for each label one of `_STYLES`; rarely that of another digit, or a scribble."""
    fate = rng.random(len(labels))
    shift = rng.integers(1, 10, len(labels))
    shown = np.where(fate < _WRONG_LABEL, (labels + shift) % 10, labels)
    shown[fate > 1 - _SCRIBBLED] = _SCRIBBLE
    chance = rng.random(len(labels))
    styles = np.empty(len(labels), dtype=np.int64)
    for digit in range(_SCRIBBLE + 1):
        own = np.array([i for i, style in enumerate(_STYLES) if style[0] == digit])
        bounds = np.cumsum([_STYLES[i][1] for i in own])
        mine = shown == digit
        styles[mine] = own[np.searchsorted(bounds[:-1], chance[mine] * bounds[-1], side="right")]
    return styles


def _draw(style: int, n: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw `n` images in one style, shape (n, 784)."""
    skeleton = _skeleton(style)
    shake, size, lean = _HANDS[_STYLES[style][0]]
    paths = _place(_shape(skeleton, n, rng, shake, lean), rng, size, skeleton.tremor)
    # A hurried hand, a pause, a sweep: the pace differs from digit to digit and changes along the way.
    hurry = 11.0 * np.exp(0.5 * rng.standard_normal((n, 1)))
    change = rng.standard_normal((n, _TREMOR_KNOTS)) @ skeleton.tremor.T
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
    """Return what one dab leaves of the paper: 0 inside, 1 outside, between on the rim.

    The circle's centre is a corner of the pixel grid, as whole canvas coordinates are. A rim pixel's share is
    counted on 16x16 points, in whole numbers: the same on every machine.

    Returns
    -------
    ndarray of float32, shape (30, 32)
        Two columns of ones at the right make a row whole registers.
    """
    fine = 16
    position = 2 * np.arange(DAB_DIAMETER * fine) + 1 - DAB_DIAMETER * fine
    inside = position[:, None] ** 2 + position[None, :] ** 2 <= (DAB_DIAMETER * fine) ** 2
    share = inside.reshape(DAB_DIAMETER, fine, DAB_DIAMETER, fine).sum(axis=(1, 3))
    dab = np.ones((DAB_DIAMETER, DAB_ROW), np.float32)
    dab[:, :DAB_DIAMETER] = 1.0 - share / (fine * fine)
    dab.flags.writeable = False
    return dab


def _shape(skeleton: _Skeleton, n: int, rng: np.random.Generator, shake: float, lean: float) -> NDArray[np.float64]:
    """Shake, bend, slant and tilt `n` digits: paths around (0, 0) in parts of the height, shape (n, p, 2)."""
    normal = rng.standard_normal
    # Some people take care, some do not.
    care = shake * np.exp(0.4 * normal((n, 1, 1)))
    points = skeleton.points + care * skeleton.loose[:, None] * normal((n, len(skeleton.points), 2))
    roundness = rng.random((n, 1, 1))
    paths = (1.0 - roundness) * (skeleton.sharp @ points) + roundness * (skeleton.round @ points)
    paths += care * (skeleton.drift @ normal((n, _DRIFT_KNOTS, 2)))
    # A scribble is wild enough without.
    bend = np.minimum(care[:, 0], 0.06)
    middle = 0.5 * (skeleton.points.min(axis=0) + skeleton.points.max(axis=0))
    x, y = np.moveaxis(paths - middle, 2, 0)
    # Taper and bend; the second term of y moves the waist, which makes one loop large and the other small.
    x = x * (1.0 + 0.3 * normal((n, 1)) * y) + 2.0 * bend * normal((n, 1)) * (y * y - 0.1)
    y = y + 3.0 * bend * normal((n, 1)) * (x * x - 0.03) + 0.25 * normal((n, 1)) * (0.25 - y * y)
    x = x - (lean + 0.12 * normal((n, 1))) * y
    y = y - 0.08 * normal((n, 1)) * x
    return np.stack((x, y), axis=2)


def _place(
    paths: NDArray[np.float64], rng: np.random.Generator, size: float, tremor: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Scale digits and put them on the canvas, with a hand's tremor: paths in canvas pixels, shape (n, p, 2)."""
    n = len(paths)
    normal = rng.standard_normal
    height = size * np.clip(158.0 + 28.0 * normal((n, 1, 1)), 50.0, 245.0)
    paths = paths * height
    paths[:, :, 0] *= np.exp(0.15 * normal((n, 1)))
    paths += 1.2 * np.exp(0.5 * normal((n, 1, 1))) * (tremor @ normal((n, _TREMOR_KNOTS, 2)))
    low, high = paths.min(axis=1, keepdims=True), paths.max(axis=1, keepdims=True)
    # People start where they like but see the canvas's edge: the line stays on it.
    extent = (high - low).max(axis=2, keepdims=True)
    fit = np.minimum(1.0, _ROOM / extent)
    spare = 0.5 * np.maximum(0.0, _ROOM - (high - low))
    centre = 0.5 * CANVAS + np.clip((14.5, 16.0) * normal((n, 1, 2)), -spare, spare)
    placed: NDArray[np.float64] = centre + fit * (paths - 0.5 * (low + high))
    return placed


@cache
def _skeleton(style: int) -> _Skeleton:
    """Read one of `_STYLES`."""
    points, loose, sharp, smooth = [], [], [], []
    for stroke in _STYLES[style][2].split("|"):
        words = stroke.split()
        points += [[float(part) / 100.0 for part in word.rstrip("!").split(",")] for word in words]
        corners = [i for i, word in enumerate(words) if word.endswith("!")]
        ends = [0, *corners, len(words) - 1]
        pieces = [_spline(len(words), a, b) for a, b in pairwise(ends)]
        sharp.append(np.concatenate(pieces))
        smooth.append(_spline(len(words), 0, len(words) - 1))
        loose += [1.5, *[1.0] * (len(words) - 2), 1.5]
    starts = np.cumsum([0] + [len(part) for part in sharp])
    return _Skeleton(
        points=np.array(points),
        loose=np.array(loose),
        sharp=_blocks(sharp),
        round=_blocks(smooth),
        tremor=_wander(_TREMOR_KNOTS, starts[-1]),
        drift=_wander(_DRIFT_KNOTS, starts[-1]),
        starts=starts.astype(np.int64),
    )


def _wander(knots: int, length: int) -> NDArray[np.float64]:
    """Return the matrix that takes `knots` points to `length` points along a spline through them."""
    whole = _spline(knots, 0, knots - 1)
    return whole[np.linspace(0, len(whole) - 1, length).astype(np.int64)]


def _spline(n: int, first: int, last: int) -> NDArray[np.float64]:
    """Return the matrix that takes `n` points to a dense path through those from `first` to `last`.

    Catmull-Rom splines; beyond the ends the line goes on straight. Shape ((last - first) * 8, n): with a closing
    row where `last` is the last point of all, which would else begin the next piece.
    """
    t = np.arange(_STEPS) / _STEPS
    weights = 0.5 * np.stack(
        (-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, t**3 - t**2), axis=1
    )
    matrix = np.zeros(((last - first) * _STEPS + 1, n))
    matrix[-1, last] = 1.0
    for i in range(first, last):
        rows = matrix[(i - first) * _STEPS : (i - first + 1) * _STEPS]
        for offset in range(4):
            j, weight = i - 1 + offset, weights[:, offset]
            if first <= j <= last:
                rows[:, j] += weight
            else:
                end, inner = (first, first + 1) if j < first else (last, last - 1)
                rows[:, end] += 2 * weight
                rows[:, inner] -= weight
    return matrix if last == n - 1 else matrix[:-1]


def _blocks(parts: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Put matrices on the diagonal of one."""
    whole = np.zeros((sum(len(part) for part in parts), sum(part.shape[1] for part in parts)))
    row = column = 0
    for part in parts:
        whole[row : row + part.shape[0], column : column + part.shape[1]] = part
        row, column = row + part.shape[0], column + part.shape[1]
    return whole
