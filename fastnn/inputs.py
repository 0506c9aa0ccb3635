"""KernelInput: images as baseline + deviation, in the form that the kernels read."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from fastnn.kernels.workspace import PIXELS_PER_STEP

if TYPE_CHECKING:
    from numpy.typing import NDArray

DENSE_FROM = 0.6
"""Share of non-white pixels from which the dense first layer is faster; "auto" uses it from there on."""

WHITE = 255


class KernelInput:
    """Images in the form that the kernels read.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, pixels)
        255 = white.
    invert : bool
        Whether the network's input is 1 - value / 255 instead of value / 255.
    first_layer : {"auto", "sparse", "dense"}
        Whether kernels visit only pixels that are not white, or all; "auto" decides by their share.

    Attributes
    ----------
    n, n_inputs : int
        Number of images, and of pixels of each.
    images : ndarray of uint8, shape (n, padded pixels)
        Padded with pixels whose deviation is 0.
    first_layer : {"sparse", "dense"}
    white, factor : int, float
        A pixel's deviation is (grey level - white) * factor.
    baseline : int
        The network's input where the deviation is 0: 0 or 1.
    kind : tuple
        White, factor, baseline and whether all pixels are visited.
    """

    def __init__(self, images: NDArray[np.uint8], invert: bool, first_layer: str = "auto") -> None:
        self.n, self.n_inputs = images.shape
        if first_layer == "auto":
            first_layer = "sparse" if density(images) < DENSE_FROM else "dense"
        self.first_layer, self.invert = first_layer, invert
        self.kind = _kind(invert, first_layer)
        self.white, self.factor, self.baseline, self.dense = self.kind
        self.images = padded(images, self.white)

    def empty_like(self, n: int) -> KernelInput:
        """Return a KernelInput of the same kind with `n` white images, as a buffer to write to."""
        white = np.full((n, self.n_inputs), WHITE, dtype=np.uint8)
        return KernelInput(white, self.invert, self.first_layer)


@cache
def _kind(invert: bool, first_layer: str) -> tuple[int, float, int, bool]:
    """Return white, factor, baseline and whether all pixels are visited; see :class:`KernelInput`."""
    sparse = first_layer == "sparse"
    return WHITE if sparse or invert else 0, (-1 if invert else 1) / WHITE, int(sparse and not invert), not sparse


def density(images: NDArray[np.uint8]) -> float:
    """Return the share of pixels that are not white."""
    # In parts, so that the comparison needs little memory.
    parts = (images[start : start + 1024] for start in range(0, len(images), 1024))
    return sum(int(np.count_nonzero(part != WHITE)) for part in parts) / max(1, images.size)


def padded(images: NDArray[np.uint8], level: int) -> NDArray[np.uint8]:
    """Return images, C-contiguous, each padded with this grey level to a multiple of PIXELS_PER_STEP pixels."""
    missing = -images.shape[1] % PIXELS_PER_STEP
    if not missing:
        return np.ascontiguousarray(images)
    return np.pad(np.ascontiguousarray(images), ((0, 0), (0, missing)), constant_values=level)
