"""Images of other sizes, scaled to 28x28 pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fastnn.datasets.dataset import PIXELS, SIDE

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Resize(NamedTuple):
    """Scales images of one size to 28x28 pixels.

    The ratio of width to height stays; what is missing then has the usual value of the image's border.

    Attributes
    ----------
    height, width : int
        Of the images.
    """

    height: int
    width: int

    @property
    def is_needed(self) -> bool:
        """Whether the images have another size."""
        return (self.height, self.width) != (SIDE, SIDE)

    @property
    def note(self) -> str | None:
        """What the user should know; None if the images are not scaled."""
        return f"images of {self.width}x{self.height} pixels were scaled to {SIDE}x{SIDE}" if self.is_needed else None

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return images with n * height * width pixels as an array of shape (n, 784)."""
        from PIL import Image

        if not self.is_needed:
            return images.reshape(-1, PIXELS)
        longest = max(self.height, self.width)
        high, wide = (max(1, round(length * SIDE / longest)) for length in (self.height, self.width))
        top, left = (SIDE - high) // 2, (SIDE - wide) // 2
        how = Image.Resampling.BOX if longest >= 2 * SIDE else Image.Resampling.BICUBIC
        images = images.reshape(-1, self.height, self.width)
        found = np.empty((len(images), SIDE, SIDE), dtype=np.uint8)
        for image, scaled in zip(images, found, strict=True):
            border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
            scaled[:] = np.median(border)
            scaled[top : top + high, left : left + wide] = np.asarray(Image.fromarray(image).resize((wide, high), how))
        return found.reshape(-1, PIXELS)
