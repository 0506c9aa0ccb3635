"""Picture sheets: drawings in rows, each with a few words under it."""

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

MOST = 2000
"""Drawings on a sheet; 2,000 make a picture of about 20 MB in memory."""

_SCALE = 3
_GAP = 10
_LINE = 15
_SIZE = 12


@dataclass(frozen=True)
class Colours:
    """Of a sheet: the ground, the first line under a drawing and the second."""

    ground: str
    text: str
    faint: str


LIGHT = Colours("#ffffff", "#1c2733", "#5d6b7a")
DARK = Colours("#14191f", "#e6ebf0", "#98a5b3")


def sheet(
    images: NDArray[np.uint8], captions: Sequence[tuple[str, str]], *, columns: int = 12, colours: Colours = LIGHT
) -> Image.Image:
    """Lay out drawings, each with two lines under it.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, 784)
        1 to 2,000 of them; 255 = paper.
    captions : sequence of (str, str)
        Two lines for each; what is too wide is cut.
    columns : int
    colours : Colours

    Returns
    -------
    PIL.Image.Image
        RGB.

    Raises
    ------
    DataError
        If there are no images, too many, or not as many captions.
    """
    from PIL import Image, ImageDraw, ImageFont

    n = len(images)
    if not 1 <= n <= MOST or len(captions) != n:
        raise DataError(f"a sheet takes 1 to {MOST:,} images and a caption for each, not {n:,} and {len(captions):,}")
    columns = max(1, min(columns, n))
    tile = SIDE * _SCALE
    wide, high = tile + _GAP, tile + 2 * _LINE + _GAP
    picture = Image.new("RGB", (columns * wide + _GAP, -(-n // columns) * high + _GAP), colours.ground)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(_SIZE)
    for i, (image, lines) in enumerate(zip(images, captions, strict=True)):
        left, top = _GAP + i % columns * wide, _GAP + i // columns * high
        large = np.kron(image.reshape(SIDE, SIDE), np.ones((_SCALE, _SCALE), dtype=np.uint8))
        picture.paste(Image.fromarray(large), (left, top))
        draw.rectangle((left - 1, top - 1, left + tile, top + tile), outline=colours.faint)
        for line, (text, colour) in enumerate(zip(lines, (colours.text, colours.faint), strict=True)):
            where = (left + tile / 2, top + tile + 2 + line * _LINE)
            draw.text(where, _cut(text, wide - 2, font.getlength), fill=colour, font=font, anchor="ma")
    return picture


def _cut(text: str, width: float, measure: Callable[[str], float]) -> str:
    """Return `text`, shortened at its end until it is at most `width` pixels wide."""
    if measure(text) <= width:
        return text
    text = text[:40]
    while text and measure(f"{text}...") > width:
        text = text[:-1]
    return f"{text}..."
