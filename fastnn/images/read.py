"""Grey levels of pictures: of files, or of arrays with colours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn.datasets.dataset import PIXELS, SIDE
from fastnn.datasets.polarity import OF_SIGN, Polarity, polarity_sign
from fastnn.errors import DataError
from fastnn.images.decode import MAX_SIDE, decoded, deep_levels

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import ArrayLike, NDArray
    from PIL import Image

_SHEET, _CONTRAST = 0.97, 16
"""Least share of opaque pixels of a sheet with a transparent margin, which may have round corners, and least difference
between its grey levels."""
_STRIP = 256
"""Rows of a picture that are converted at a time."""


def load_picture(source: str | Path | bytes, *, polarity: Polarity | None = None, name: str = "") -> NDArray[np.uint8]:
    """Decode a picture file to grey levels.

    Parameters
    ----------
    source : path-like or bytes
        A PNG, JPEG, WebP, GIF, BMP, TIFF, PBM, PGM, PPM, AVIF or HEIC file, or its content, grey or in colour, 8 or 16
        bits. One larger than 4096x4096 pixels is reduced; of several pictures in a file the first is taken.
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
        If the file cannot be read, is not a picture, is damaged or too large.
    MissingExtraError
        If it is a HEIC picture, and pillow-heif is not installed.
    """
    polarity_sign(polarity)
    with decoded(source, name) as picture:
        return _grey(picture.image, polarity)


def load_small_picture(
    content: bytes, polarity: Polarity | None, name: str, largest: int
) -> tuple[tuple[int, int], bool, NDArray[np.uint8] | None]:
    """Decode a picture unless it has a longer side than `largest`; errors as for :func:`load_picture`.

    Returns
    -------
    size : tuple of int
        Width and height in the file.
    has_more : bool
        Whether the file holds several pictures, of which this is the first.
    grey : ndarray of uint8, shape (h, w), or None
    """
    with decoded(content, name, header_above=largest) as picture:
        grey = _grey(picture.image, polarity) if max(picture.size) <= largest else None
        return picture.size, picture.has_more, grey


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
    array = check_picture(picture, name)
    if array.ndim == 2:
        return array
    from PIL import Image

    return _grey(Image.fromarray(np.ascontiguousarray(array)), polarity)


def check_picture(picture: ArrayLike, name: str) -> NDArray[np.uint8]:
    """Return a picture as an array of shape (h, w), (h, w, 3) or (h, w, 4); errors as for :func:`grey_levels`."""
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
    return array


def luma(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the grey levels (luma of ITU-R BT.601) of a picture of shape (h, w) or (h, w, 3)."""
    if picture.ndim == 2:
        return picture
    from PIL import Image

    return np.asarray(Image.fromarray(np.ascontiguousarray(picture)).convert("L"))


def opaque(picture: NDArray[np.uint8], sign: int) -> tuple[NDArray[np.uint8], int, int]:
    """Return a picture without transparency, and the columns and rows that were cut off at the left and the top.

    A transparent margin round an opaque sheet is cut off. Behind other transparent pixels there is paper.

    Parameters
    ----------
    picture : ndarray of uint8, shape (h, w), (h, w, 3) or (h, w, 4)
    sign : {1, -1, 0}
        1 for ink that is darker than the paper, -1 for lighter ink, 0 if the picture decides.
    """
    if picture.ndim == 2 or picture.shape[2] == 3:
        return picture, 0, 0
    alpha = picture[:, :, 3]
    rows, columns = (np.flatnonzero((alpha >= 128).any(axis=axis)) for axis in (1, 0))
    if len(rows):
        sheet = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        # An opaque rectangle of one colour is ink.
        is_drawn_on = np.ptp(luma(picture[sheet][:, :, :3])) > _CONTRAST
        if is_drawn_on and (alpha[sheet] >= 128).mean() > _SHEET:
            return _filled(picture[sheet]), int(columns[0]), int(rows[0])
    grey = luma(picture[:, :, :3])
    behind = _level_behind(grey, alpha, OF_SIGN[sign])
    return _in_front(grey.copy(), np.ascontiguousarray(alpha), behind), 0, 0


def _filled(sheet: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a sheet without its transparent corners, which get the colour of its border."""
    colours, is_clear = sheet[:, :, :3].copy(), sheet[:, :, 3] < 128
    if is_clear.any():
        edge = border(sheet)
        colours[is_clear] = np.median(edge[edge[:, 3] >= 128][:, :3], axis=0)
    return colours


def _grey(image: Image.Image, polarity: Polarity | None) -> NDArray[np.uint8]:
    """Decode and return grey levels (luma of ITU-R BT.601), shape (h, w); transparent pixels look like paper."""
    if not image.has_transparency_data:
        return _in_strips(image, _opaque_levels)
    # Blending would also read the colour of a fully transparent pixel, which must not matter.
    levels = _in_strips(image, lambda strip: luma(np.asarray(strip.convert("RGBA"))[:, :, :3]))
    alpha = _in_strips(image, lambda strip: np.asarray(strip.convert("RGBA").getchannel("A")))
    return _in_front(levels, alpha, _level_behind(levels, alpha, polarity))


def _in_strips(image: Image.Image, levels: Callable[[Image.Image], NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Return what a function makes of an image, a few rows at a time: Pillow's copies take 4 bytes a pixel."""
    image.load()
    if image.height <= _STRIP:
        return np.array(levels(image))
    result = np.empty((image.height, image.width), np.uint8)
    for top in range(0, image.height, _STRIP):
        bottom = min(top + _STRIP, image.height)
        result[top:bottom] = levels(image.crop((0, top, image.width, bottom)))
    return result


def _opaque_levels(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode.startswith(("I", "F")):
        return deep_levels(image)
    if image.mode == "L":
        return np.asarray(image)
    # Pillow cannot convert every mode to grey directly.
    direct = image.mode in ("1", "P", "RGB")
    return np.asarray((image if direct else image.convert("RGB")).convert("L"))


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
