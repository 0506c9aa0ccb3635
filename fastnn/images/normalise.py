"""Pictures to 28x28 images: fit a picture of any size, or normalise what is drawn on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastnn.datasets.dataset import PIXELS, SIDE
from fastnn.datasets.polarity import Polarity, polarity_sign
from fastnn.errors import DataError
from fastnn.images.ink import CLEAN_UP_TO, LEAST_INK, ink_levels, paper_level, thicken_thin_lines
from fastnn.images.read import grey_levels, load_picture
from fastnn.kernels.loader import Kernel
from fastnn.kernels.records import NORMALISE
from fastnn.kernels.workspace import ArgumentBlock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import ArrayLike, NDArray

BOX = 20
"""Longer side of a normalised drawing in pixels (`BOX` of the kernel)."""
_CANVAS_LEAST = 9
"""A drawing smaller than this after its canvas is shrunk to 28x28 is enlarged; of 6,844 real digits none is smaller."""


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


def read_image(source: str | Path | bytes, *, polarity: Polarity | None = None, name: str = "") -> NDArray[np.uint8]:
    """Read a picture of one drawing as a 28x28 image.

    - A picture of 28x28 pixels is used as it is.
    - A white canvas, a square whose side is a multiple of 28, is reduced to the mean of each block, as the original's
      web page does; the drawing keeps its place.
    - From any other picture, such as a scan or a photo, the drawing is cut out and fitted as in
      :func:`normalise_picture`. Lines of a thin pen are thickened to the usual width. The same is done with a
      drawing on a canvas that would be only a few pixels high.

    Parameters
    ----------
    source : path-like or bytes
        A PNG or JPEG file, or its content: up to 4096x4096, grey or in colour, 8 or 16 bits. Transparent pixels
        count as paper.
    polarity : {"auto", "dark-on-light", "light-on-dark"}, optional
        By default found from the border.
    name : str, optional
        What error messages call the picture; by default the path.

    Returns
    -------
    ndarray of uint8, shape (784,)
        255 = paper, 0 = ink; all 255 if nothing is drawn.

    Raises
    ------
    DataError
        If the file cannot be read, is not a PNG or JPEG picture, is damaged or too large.
    """
    return fit(load_picture(source, polarity=polarity, name=name), polarity=polarity)


def fit(picture: NDArray[np.uint8], *, polarity: Polarity | None = None) -> NDArray[np.uint8]:
    """Fit a grey picture to 28x28 by the rules of :func:`read_image`.

    Parameters
    ----------
    picture : ndarray of uint8, shape (h, w)
    polarity : {"auto", "dark-on-light", "light-on-dark"}, optional

    Returns
    -------
    ndarray of uint8, shape (784,)
        255 = paper, 0 = ink; a new array.
    """
    height, width = picture.shape
    if height == width and height % SIDE == 0:
        light, paper = paper_level(picture, polarity)
        dark_on_light = picture if light else 255 - picture
        if height == SIDE:
            return np.array(dark_on_light).reshape(PIXELS)
        if (paper if light else 255 - paper) >= 255 - LEAST_INK:
            canvas = _block_means(dark_on_light, height // SIDE)
            extent = _extent(canvas)
            if extent == 0 or extent >= _CANVAS_LEAST:
                return canvas.reshape(PIXELS)
    ink = ink_levels(picture, polarity)
    if ink.max() < LEAST_INK:
        return np.full(PIXELS, 255, np.uint8)
    result, _ = normalise_batch(255 - thicken_thin_lines(ink)[None], polarity="dark-on-light")
    return result.reshape(PIXELS)


def normalise_picture(
    picture: ArrayLike, *, polarity: Polarity | None = None, name: str = "picture"
) -> NDArray[np.uint8]:
    """Cut out the drawing on a picture, scale its longer side to 20 pixels and centre it by mass in 28x28.

    The aspect ratio and the grey levels are kept. The centre of mass of the result lies within half a pixel of row and
    column 14 (counted from 0), where MNIST has it, unless the drawing would leave the frame. Normalising a result
    again changes nothing. Pictures of 28x28 give the same bits as in :func:`normalise_batch`; on larger ones uneven
    light is corrected and dust is removed first.

    Parameters
    ----------
    picture : array_like of uint8, shape (h, w), (h, w, 3), (h, w, 4) or (784,)
        Grey, RGB or RGBA, up to 4096x4096. Transparent pixels count as paper.
    polarity : {"auto", "dark-on-light", "light-on-dark"}, optional
        By default found from the border.
    name : str, optional
        What error messages call the picture.

    Returns
    -------
    ndarray of uint8, shape (784,)
        255 = paper, 0 = ink.

    Raises
    ------
    DataError
        If nothing is drawn on it, or it is not an array as above.
    """
    grey = grey_levels(picture, polarity, name)
    if max(grey.shape) > CLEAN_UP_TO:
        grey, polarity = 255 - ink_levels(grey, polarity), "dark-on-light"
    result, blank = normalise_batch(grey[None], polarity=polarity)
    if blank[0]:
        raise DataError(f"{name}: nothing is drawn on it")
    return result.reshape(PIXELS)


def normalise_batch(
    images: NDArray[np.uint8], *, polarity: Polarity | None = None
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Normalise many grey pictures of one size, each as in :func:`normalise_picture`.

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


def _block_means(picture: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Return the mean of each block of side x side pixels, rounded."""
    height, width = picture.shape
    sums = picture.reshape(height // side, side, width // side, side).sum(axis=(1, 3), dtype=np.int64)
    means: NDArray[np.int64] = (2 * sums + side * side) // (2 * side * side)
    return means.astype(np.uint8)


def _extent(image: NDArray[np.uint8]) -> int:
    """Return the longer side of the drawing on white paper in pixels, 0 if blank; by the thresholds of the kernel."""
    ink = 255 - image.astype(np.int64)
    if ink.max() < LEAST_INK:
        return 0
    rows, columns = np.nonzero(8 * ink >= ink.max())
    return int(max(np.ptp(rows), np.ptp(columns))) + 1
