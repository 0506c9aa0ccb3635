"""Images of other sizes, scaled to 28x28 pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastnn.datasets.dataset import PIXELS, SIDE

if TYPE_CHECKING:
    from numpy.typing import NDArray


def resized(images: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], str | None]:
    """Return images scaled to 28x28 pixels, and a note if their size was another one.

    The ratio of width to height stays; what is missing then has the usual value of the image's border.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, height, width)

    Returns
    -------
    images : ndarray of uint8, shape (n, 784)
    note : str or None
    """
    from PIL import Image

    n, height, width = images.shape
    if (height, width) == (SIDE, SIDE):
        return np.ascontiguousarray(images.reshape(n, PIXELS)), None
    longest = max(height, width)
    high, wide = (max(1, round(length * SIDE / longest)) for length in (height, width))
    top, left = (SIDE - high) // 2, (SIDE - wide) // 2
    how = Image.Resampling.BOX if longest >= 2 * SIDE else Image.Resampling.BICUBIC
    found = np.empty((n, SIDE, SIDE), dtype=np.uint8)
    for image, scaled in zip(images, found, strict=True):
        border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
        scaled[:] = np.median(border)
        scaled[top : top + high, left : left + wide] = np.asarray(Image.fromarray(image).resize((wide, high), how))
    return found.reshape(n, PIXELS), f"images of {width}x{height} pixels were scaled to {SIDE}x{SIDE}"
