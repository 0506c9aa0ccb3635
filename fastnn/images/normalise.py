"""Many grey pictures at once: what is drawn on each is cut out, scaled and centred in 28x28."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastnn.datasets.dataset import PIXELS, SIDE
from fastnn.datasets.polarity import Polarity, polarity_sign
from fastnn.errors import DataError
from fastnn.kernels.loader import Kernel
from fastnn.kernels.records import NORMALISE
from fastnn.kernels.workspace import ArgumentBlock

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

BOX = 20
"""Longer side of a normalised drawing in pixels (`BOX` of the kernel)."""


def _arguments(
    images: NDArray[np.uint8], sign: int, result: NDArray[np.uint8], blank: NDArray[np.bool_]
) -> ArgumentBlock:
    """Return the kernel's argument block with its scratch memory."""
    n, height, width = images.shape
    n_weights = max(height, width) // BOX + 3
    return ArgumentBlock(
        NORMALISE,
        images=images,
        n=n,
        height=height,
        width=width,
        polarity=sign,
        result=result,
        blank=blank,
        counts=np.zeros(256, np.int64),
        levels=np.zeros(256, np.uint8),
        ink=np.zeros((height, width), np.uint8),
        box=np.zeros(4, np.int64),
        rows=np.zeros(width),
        weights=np.zeros(n_weights),
        n_weights=n_weights,
        small=np.zeros((BOX, BOX), np.uint8),
        out=np.zeros((BOX, BOX)),
    )


def _centres_drawings(kernel: Callable[[int], object]) -> bool:
    """Return whether four drawings of the right size are moved to the centre and nothing else."""
    images = np.full((4, SIDE, SIDE), 255, np.uint8)
    for k in range(4):
        images[k, 2 * k : 2 * k + BOX, k : k + 7] = 0
    result, blank = np.zeros_like(images), np.ones(4, np.bool_)
    block = _arguments(images, 1, result, blank)
    kernel(block.address)
    centred = np.full((SIDE, SIDE), 255, np.uint8)
    centred[5 : 5 + BOX, 11:18] = 0
    return not blank.any() and bool((result == centred).all())


normalise_kernel = Kernel("fastnn.kernels.normalise", "normalise", (), _centres_drawings)


def normalise_batch(
    images: NDArray[np.uint8], *, polarity: Polarity | None = None
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Normalise many grey pictures of one size: scale the longer side of each drawing to 20 pixels and centre it.

    The aspect ratio and the grey levels are kept. The centre of mass of the result lies within half a pixel of row and
    column 14 (counted from 0), where MNIST has it, unless the drawing would leave the frame. Normalising a result
    again changes nothing.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, 784) or (n, h, w)
        Grey levels.
    polarity : {"auto", "dark-on-light", "light-on-dark"}, optional
        By default found from the border of each.

    Returns
    -------
    images : ndarray of uint8, shape (n, 784)
        255 = paper. A blank 28x28 image is returned unchanged; a blank one of another size is all 255.
    blank : ndarray of bool, shape (n,)
        Whether nothing is drawn on the image.

    Raises
    ------
    DataError
        If `images` has another dtype or shape.
    """
    images = np.asarray(images)
    if images.dtype == np.uint8 and images.ndim == 2 and images.shape[1] == PIXELS:
        images = images.reshape(len(images), SIDE, SIDE)
    if images.dtype != np.uint8 or images.ndim != 3 or 0 in images.shape[1:]:
        raise DataError(
            f"images must be a uint8 array of shape (n, {PIXELS}) or (n, height, width), "
            f"not {images.dtype} of shape {images.shape}"
        )
    square = images.shape[1:] == (SIDE, SIDE)
    result = images.copy() if square else np.full((len(images), SIDE, SIDE), 255, np.uint8)
    blank = np.zeros(len(images), np.bool_)
    normalise_kernel(_arguments(np.ascontiguousarray(images), polarity_sign(polarity), result, blank))
    return result.reshape(len(images), PIXELS), blank


def is_blank(image: NDArray[np.uint8]) -> bool:
    """Return whether nothing is drawn on a 28x28 image of dark ink; an image of one grey level is blank, too."""
    return bool(normalise_batch(image.reshape(1, PIXELS), polarity="dark-on-light")[1][0])
