"""Ink on even paper: drawings on a canvas, scans, and screenshots."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fastnn.images.read import luma

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEAST_INK = 16
"""A picture whose ink levels all lie below this is blank (`LEAST` of the kernel)."""
FAINT_INK = 6
"""Differences from the paper below this are noise."""
_EVEN, _EVEN_SHARE = 4, 0.65
"""Paper is even if this share of the pixels differ from it by at most so many levels, ..."""
_NOISE, _ABOVE_NOISE = 1.5, 8.0
"""... and their standard deviation is at most the first number. Otherwise ink is deeper than the second number times
that."""
_BOTH = 0.7
"""Ink that is darker than the paper, and ink that is lighter by this share of that: they are hard to tell."""


@dataclass(frozen=True, eq=False)
class EvenInk:
    """The ink of a picture with even paper.

    Attributes
    ----------
    ink : ndarray of uint8, shape (h, w)
        255 is the darkest ink.
    depth : int
        Levels between the paper and the darkest ink.
    paper : int
        Level of the paper, of dark ink on light paper.
    is_unclear : bool
        Whether some ink is darker and some lighter than the paper.
    """

    ink: NDArray[np.uint8]
    depth: int
    paper: int
    is_unclear: bool

    @property
    def is_faint(self) -> bool:
        """Whether there is something, but less than ink."""
        return FAINT_INK <= self.depth < LEAST_INK


def even_ink(picture: NDArray[np.uint8], sign: int, *, if_even: bool = True) -> EvenInk | None:
    """Return the ink of a picture whose paper is even; None if it is not and `if_even` is set.

    The level of the paper is the median. Of several colours the one with the greatest contrast is taken.

    Parameters
    ----------
    picture : ndarray of uint8, shape (h, w) or (h, w, 3)
    sign : {1, -1, 0}
        1 for ink that is darker than the paper, -1 for lighter ink, 0 if the picture decides.
    if_even : bool
        If not set, the paper is taken for even; half of the depth of the ink is then noise.
    """
    channels = [picture] if picture.ndim == 2 else [luma(picture), *np.moveaxis(picture, 2, 0)]
    best: tuple[int, int, int, NDArray[np.uint8]] | None = None
    unclear = False
    for channel in channels:
        counts = np.bincount(channel.ravel(), minlength=256)
        paper = int(np.searchsorted(np.cumsum(counts), channel.size / 2))
        near = counts[max(0, paper - _EVEN) : paper + _EVEN + 1].sum()
        noise = _deviation(counts, paper)
        if if_even and (near < _EVEN_SHARE * channel.size or noise > _NOISE):
            return None
        few = max(4, channel.size // 50_000)
        darkest = int(np.searchsorted(np.cumsum(counts), few))
        lightest = 255 - int(np.searchsorted(np.cumsum(counts[::-1]), few))
        depths = {1: paper - darkest, -1: lightest - paper}
        if if_even:
            depths = {one: depth if depth > _ABOVE_NOISE * noise else 0 for one, depth in depths.items()}
        chosen = sign or max(depths, key=lambda one: depths[one])
        if best is None or depths[chosen] > best[0]:
            best = depths[chosen], chosen, paper, channel
            unclear = not sign and min(depths.values()) > max(_BOTH * max(depths.values()), LEAST_INK)
    if best is None:
        return None
    depth, chosen, paper, channel = best
    levels = (paper - np.arange(256)) * chosen
    if not if_even:
        levels = 2 * levels - depth
    table = np.clip((levels * 255 + depth // 2) // max(depth, 1), 0, 255).astype(np.uint8)
    return EvenInk(table[channel], depth, paper if chosen > 0 else 255 - paper, unclear)


def _deviation(counts: NDArray[np.int64], paper: int) -> float:
    """Return the standard deviation from the level of the paper, by the median of the differences."""
    beyond = counts[paper + 1 :].copy()
    below = counts[:paper][::-1]
    both = np.zeros(max(len(beyond), len(below)), dtype=np.int64)
    both[: len(beyond)] += beyond
    both[: len(below)] += below
    half = counts.sum() / 2 - counts[paper]
    return 0.0 if half <= 0 else 1.4826 * float(np.searchsorted(np.cumsum(both), half) + 1)
