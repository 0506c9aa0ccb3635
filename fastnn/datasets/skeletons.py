"""The styles in which people write each digit, as points, and the splines that join the points to a pen's path."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

SCRIBBLE = 10
"""The class, after the ten digits, of drawings that are not a digit."""

# Splines have this many steps from point to point.
_STEPS = 8
TREMOR_KNOTS = 14
"""The tremor of the hand is a spline through so many random points along the whole path."""
DRIFT_KNOTS = 5
"""The same for its slow drift."""

# (class, share within the class, strokes). Strokes are separated by "|"; points are "x,y" in hundredths of the digit's
# height with y downwards; "!" marks a corner. The shares were estimated by eye on the real digits.
STYLES: tuple[tuple[int, float, str], ...] = (
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
    (SCRIBBLE, 0.50, "30,50 30,50 30,50 30,50 30,50 30,50 30,50 30,50 30,50"),
    (SCRIBBLE, 0.25, "0,50 30,50 60,50"),
    (SCRIBBLE, 0.25, "30,48 30,52"),
)


@dataclass(frozen=True, eq=False)
class Skeleton:
    """One style, as points and as the matrices that make paths of p positions from points.

    Attributes
    ----------
    points : ndarray of float64, shape (k, 2)
        In units of the digit's height.
    loose : ndarray of float64, shape (k,)
        How strongly each point varies: 1, or more at the ends of strokes.
    sharp, round : ndarray of float64, shape (p, k)
        ``sharp @ points`` is the path with its corners, ``round @ points`` the path with rounded corners.
    tremor : ndarray of float64, shape (p, TREMOR_KNOTS)
    drift : ndarray of float64, shape (p, DRIFT_KNOTS)
    starts : ndarray of int64, shape (strokes + 1,)
        Position in the path at which each stroke begins, and p.
    """

    points: NDArray[np.float64]
    loose: NDArray[np.float64]
    sharp: NDArray[np.float64]
    round: NDArray[np.float64]
    tremor: NDArray[np.float64]
    drift: NDArray[np.float64]
    starts: NDArray[np.int64]


@cache
def skeleton_of(style: int) -> Skeleton:
    """Return the skeleton of the style at this index of :data:`STYLES`."""
    points, loose, sharp, smooth = [], [], [], []
    for stroke in STYLES[style][2].split("|"):
        words = stroke.split()
        points += [[float(part) / 100.0 for part in word.rstrip("!").split(",")] for word in words]
        corners = [i for i, word in enumerate(words) if word.endswith("!")]
        ends = [0, *corners, len(words) - 1]
        pieces = [_spline(len(words), a, b) for a, b in pairwise(ends)]
        sharp.append(np.concatenate(pieces))
        smooth.append(_spline(len(words), 0, len(words) - 1))
        loose += [1.5, *[1.0] * (len(words) - 2), 1.5]
    starts = np.cumsum([0] + [len(part) for part in sharp])
    return Skeleton(
        points=np.array(points),
        loose=np.array(loose),
        sharp=_block_diagonal(sharp),
        round=_block_diagonal(smooth),
        tremor=_resampled_spline(TREMOR_KNOTS, starts[-1]),
        drift=_resampled_spline(DRIFT_KNOTS, starts[-1]),
        starts=starts.astype(np.int64),
    )


def _resampled_spline(knots: int, length: int) -> NDArray[np.float64]:
    """Return the matrix that maps `knots` points to `length` points of a spline through them, shape (length, knots)."""
    whole = _spline(knots, 0, knots - 1)
    return whole[np.linspace(0, len(whole) - 1, length).astype(np.int64)]


def _spline(n: int, first: int, last: int) -> NDArray[np.float64]:
    """Return the matrix that maps `n` points to a dense path through those from `first` to `last`.

    It is a Catmull-Rom spline whose ends are extended in a straight line. Shape ((last - first) * 8, n), with one more
    row if `last` is the last of the n points: otherwise that point begins the next piece.
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


def _block_diagonal(parts: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return the block diagonal matrix of some matrices."""
    whole = np.zeros((sum(len(part) for part in parts), sum(part.shape[1] for part in parts)))
    row = column = 0
    for part in parts:
        whole[row : row + part.shape[0], column : column + part.shape[1]] = part
        row, column = row + part.shape[0], column + part.shape[1]
    return whole
