"""Picture sheets: images in rows, each with two lines of text under it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fastnn.datasets.dataset import SIDE
from fastnn.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray
    from PIL import Image

MAX_IMAGES = 2000
"""Images on a sheet; 2,000 make a picture of about 20 MB in memory."""

_SCALE = 3
_GAP = 10
_LINE_HEIGHT = 15
_FONT_SIZE = 12


@dataclass(frozen=True)
class Colours:
    """Colours of a sheet: background, first line under an image, second line."""

    background: str
    text: str
    faint: str


LIGHT = Colours("#ffffff", "#1c2733", "#5d6b7a")
DARK = Colours("#14191f", "#e6ebf0", "#98a5b3")


def sheet(
    images: NDArray[np.uint8], captions: Sequence[tuple[str, str]], *, columns: int = 12, colours: Colours = LIGHT
) -> Image.Image:
    """Draw a sheet of images, each with two lines of text under it.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, 784)
        1 to 2,000 images; 255 = paper.
    captions : sequence of (str, str)
        The two lines of each image; lines that are too wide are shortened.
    columns : int
        Images in a row.
    colours : Colours

    Returns
    -------
    PIL.Image.Image
        RGB.

    Raises
    ------
    DataError
        If there are no images, too many, or another number of captions.
    """
    from PIL import Image, ImageDraw, ImageFont

    n = len(images)
    if not 1 <= n <= MAX_IMAGES or len(captions) != n:
        raise DataError(
            f"a sheet takes 1 to {MAX_IMAGES:,} images and a caption for each, not {n:,} and {len(captions):,}"
        )
    columns = max(1, min(columns, n))
    tile = SIDE * _SCALE
    width, height = tile + _GAP, tile + 2 * _LINE_HEIGHT + _GAP
    picture = Image.new("RGB", (columns * width + _GAP, -(-n // columns) * height + _GAP), colours.background)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(_FONT_SIZE)
    for i, (image, lines) in enumerate(zip(images, captions, strict=True)):
        left, top = _GAP + i % columns * width, _GAP + i // columns * height
        large = np.kron(image.reshape(SIDE, SIDE), np.ones((_SCALE, _SCALE), dtype=np.uint8))
        picture.paste(Image.fromarray(large), (left, top))
        draw.rectangle((left - 1, top - 1, left + tile, top + tile), outline=colours.faint)
        for line, (text, colour) in enumerate(zip(lines, (colours.text, colours.faint), strict=True)):
            position = (left + tile / 2, top + tile + 2 + line * _LINE_HEIGHT)
            draw.text(position, _shortened(text, width - 2, font.getlength), fill=colour, font=font, anchor="ma")
    return picture


def _shortened(text: str, width: float, measure: Callable[[str], float]) -> str:
    """Return `text`, cut at its end until it is at most `width` pixels wide."""
    if measure(text) <= width:
        return text
    text = text[:40]
    while text and measure(f"{text}...") > width:
        text = text[:-1]
    return f"{text}..."
