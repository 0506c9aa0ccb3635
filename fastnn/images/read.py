"""Decoding pictures: PNG and JPEG files, or arrays with colours, to grey levels of any size."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from fastnn.datasets.dataset import PIXELS, SIDE
from fastnn.datasets.polarity import Polarity, polarity_sign
from fastnn.errors import DataError
from fastnn.reading import open_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import ArrayLike, NDArray
    from PIL import Image

MAX_SIDE = 4096
"""Pictures wider or higher than this are refused before they are decoded."""

_FILE_LIMIT = 8 * (MAX_SIDE + 1) * MAX_SIDE
"""Size in bytes of the largest picture that is not compressed, with four channels of 16 bits."""

_STRIP = 256
"""Rows of a picture that are converted at a time."""


def load_picture(source: str | Path | bytes, *, polarity: Polarity | None = None, name: str = "") -> NDArray[np.uint8]:
    """Decode a PNG or JPEG file to grey levels.

    Parameters
    ----------
    source : path-like or bytes
        A file, or its content: up to 4096x4096 pixels, grey or in colour, 8 or 16 bits.
    polarity : {"auto", "dark-on-light", "light-on-dark"}, optional
        Decides which colour transparent pixels get; by default found from the border.
    name : str, optional
        What error messages call the picture; by default the path.

    Returns
    -------
    ndarray of uint8, shape (h, w)
        Grey levels as in the file, not inverted. Transparent pixels have the colour of the paper.

    Raises
    ------
    DataError
        If the file cannot be read, is not a PNG or JPEG picture, is damaged or too large.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    polarity_sign(polarity)
    name = name or ("picture" if isinstance(source, bytes) else str(source))
    with io.BytesIO(source) if isinstance(source, bytes) else open_picture(source) as file, warnings.catch_warnings():
        # Pillow warns of decompression bombs, which are refused below, and of odd metadata, which does not matter here.
        warnings.simplefilter("ignore")
        try:
            with Image.open(file, formats=["PNG", "JPEG"]) as image:
                if max(image.size) > MAX_SIDE:
                    raise DataError(
                        f"{name}: {image.width}x{image.height} pixels are too many; "
                        f"shrink the picture to {MAX_SIDE}x{MAX_SIDE} at most"
                    )
                ImageOps.exif_transpose(image, in_place=True)  # otherwise it makes a copy
                return _grey(image, polarity)
        except DataError:
            raise
        except Image.DecompressionBombError:
            raise DataError(f"{name}: too many pixels; shrink the picture to {MAX_SIDE}x{MAX_SIDE} at most") from None
        except UnidentifiedImageError:
            raise DataError(f"{name}: not a PNG or JPEG picture") from None
        except MemoryError:
            raise
        except Exception as error:
            # For damaged files Pillow raises many kinds of exceptions: OSError, SyntaxError, struct.error, ...
            raise DataError(f"{name}: not a complete PNG or JPEG picture ({error})") from None


def open_picture(path: str | Path) -> BinaryIO:
    """Open a file of a picture; DataError if it cannot be read or is larger than any allowed picture."""
    return open_file(path, _FILE_LIMIT, what="a picture")


def grey_levels(picture: ArrayLike, polarity: Polarity | None, name: str) -> NDArray[np.uint8]:
    """Return the grey levels of a picture given as an array.

    Parameters
    ----------
    picture : array_like of uint8, shape (h, w), (h, w, 3), (h, w, 4) or (784,)
        Grey, RGB or RGBA.
    polarity : {"auto", "dark-on-light", "light-on-dark"} or None
        Decides which colour transparent pixels get.
    name : str
        What error messages call the picture.

    Returns
    -------
    ndarray of uint8, shape (h, w)

    Raises
    ------
    DataError
        If it is not an array as above, or larger than 4096x4096.
    """
    array = np.asarray(picture)
    if array.shape == (PIXELS,):
        array = array.reshape(SIDE, SIDE)
    is_grey = array.ndim == 2
    if array.dtype != np.uint8 or not (is_grey or (array.ndim == 3 and array.shape[2] in (3, 4))):
        raise DataError(
            f"{name}: a picture must be a uint8 array of shape (h, w), (h, w, 3) or (h, w, 4), "
            f"not {array.dtype} of shape {array.shape}"
        )
    if not 1 <= min(array.shape[:2]) <= max(array.shape[:2]) <= MAX_SIDE:
        raise DataError(f"{name}: a picture must have sides of 1 to {MAX_SIDE} pixels, not {array.shape[:2]}")
    if is_grey:
        return array
    from PIL import Image

    return _grey(Image.fromarray(np.ascontiguousarray(array)), polarity)


def _grey(image: Image.Image, polarity: Polarity | None) -> NDArray[np.uint8]:
    """Decode and return grey levels (luma of ITU-R BT.601), shape (h, w); transparent pixels look like paper."""
    if not image.has_transparency_data:
        return _in_strips(image, _opaque_levels)
    luma = _in_strips(image, lambda strip: _luma(strip.convert("RGBA")))
    alpha = _in_strips(image, lambda strip: np.asarray(strip.convert("RGBA").getchannel("A")))
    return _in_front(luma, alpha, _level_behind(luma, alpha, polarity))


def _in_strips(image: Image.Image, levels: Callable[[Image.Image], NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Return what a function makes of an image, a few rows at a time: Pillow's copies take 4 bytes a pixel."""
    image.load()
    result = np.empty((image.height, image.width), np.uint8)
    for top in range(0, image.height, _STRIP):
        bottom = min(top + _STRIP, image.height)
        result[top:bottom] = levels(image.crop((0, top, image.width, bottom)))
    return result


def _opaque_levels(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode.startswith(("I", "F")):
        deep: NDArray[Any] = np.clip(np.asarray(image), 0, 0xFFFF)
        return (deep.astype(np.uint16) >> 8).astype(np.uint8)
    # Pillow cannot convert every mode to grey directly.
    direct = image.mode in ("1", "L", "P", "RGB")
    return np.asarray((image if direct else image.convert("RGB")).convert("L"))


def _luma(image: Image.Image) -> NDArray[np.uint8]:
    # Blending also reads the colour of a fully transparent pixel, which must not matter.
    return np.asarray(image.convert("RGB").convert("L"))


def _in_front(luma: NDArray[np.uint8], alpha: NDArray[np.uint8], background: int) -> NDArray[np.uint8]:
    """Return partly transparent grey levels in front of a background."""
    from PIL import Image

    for top in range(0, len(luma), _STRIP):
        rows = slice(top, top + _STRIP)
        blended = Image.new("L", luma[rows].shape[::-1], background)
        blended.paste(Image.fromarray(luma[rows]), mask=Image.fromarray(alpha[rows]))
        luma[rows] = np.asarray(blended)
    return luma


def _level_behind(luma: NDArray[np.uint8], alpha: NDArray[np.uint8], polarity: Polarity | None) -> int:
    """Return the grey level to show behind transparent pixels.

    White behind dark ink and black behind light ink. If most of the border is opaque, as with a screenshot that has
    round corners, it is the median level of the border.
    """
    sign = polarity_sign(polarity)
    if sign:
        return 255 if sign > 0 else 0
    edge, opaque = border(luma), border(alpha) >= 128
    if 2 * opaque.sum() > opaque.size:
        return int(np.median(edge[opaque]))
    solid = luma[alpha >= 128]
    return 255 if solid.size == 0 or solid.mean() < 128 else 0


def border(picture: NDArray[Any]) -> NDArray[Any]:
    """Return the outermost pixels of a picture of shape (h, w), as a 1-d array."""
    return np.concatenate([picture[0], picture[-1], picture[1:-1, 0], picture[1:-1, -1]])
