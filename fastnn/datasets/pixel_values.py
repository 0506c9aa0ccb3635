"""Values of pixels as people store them, as bytes from 0 to 255."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastnn.datasets.mapped import row_parts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

_ROWS_AT_ONCE = 1024
_NEAR = 0.011
"""How far the lowest and highest value of a scale may be from its ends."""
_SHALLOW = (1, 3, 7, 15, 16)
"""Largest values of images of few greys: of 1 to 4 bits, and of the 8x8 digits of UCI and scikit-learn."""
_PALE = 128
_MANY = 20
"""In so many images the largest value is one of ink on paper, or of paper."""
_GREYS = 16
"""Fractions above 1 and up to this value are no shades of grey."""


class NotPixelsError(Exception):
    """Numbers that are no shades of grey; the text says why."""


class WrongPixelError(Exception):
    """A value that is no pixel.

    Attributes
    ----------
    row, column : int
        From 0.
    value : float
    """

    def __init__(self, row: int, column: int, value: float) -> None:
        super().__init__(f"{value:g} is not the value of a pixel, which is 0 to 255, 0 to 1 or -1 to 1")
        self.row, self.column, self.value = row, column, value


class PixelScale(NamedTuple):
    """How the values of pixels become bytes.

    Attributes
    ----------
    convert : callable or None
        Takes rows of values and returns uint8; None if the values are bytes as they are.
    note : str or None
        What the user should know, such as that values are scaled.
    """

    convert: Callable[[NDArray[Any]], NDArray[np.uint8]] | None
    note: str | None = None

    def __call__(self, values: NDArray[Any]) -> NDArray[np.uint8]:
        """Return some rows as bytes."""
        return values if self.convert is None else self.convert(values)


def scale_of(values: Any) -> PixelScale:
    """Return how the values of pixels become bytes, by all of them.

    Parameters
    ----------
    values : ndarray of uint8 or float32, shape (n, k)
        0 to 255, 0 to 1, -1 to 1, -0.5 to 0.5, -128 to 127, or 0 to 1, 3, 7, 15 or 16. Or anything of which slices are
        such arrays, such as mapped rows: they are read in parts.

    Raises
    ------
    NotPixelsError
        If the values are on none of these scales, as standardised ones.
    WrongPixelError
        If a value is beyond all of these scales, NaN or infinite.
    """
    if values.dtype == np.uint8:
        return _spread(max((int(part.max(initial=0)) for part in row_parts(values)), default=0), len(values))
    low, high, is_whole = math.inf, -math.inf, True
    for begin, part in _parts(values):
        finite = np.isfinite(part)
        if not finite.all():
            raise _wrong(part, ~finite, begin)
        low, high = min(low, float(part.min())), max(high, float(part.max()))
        is_whole = is_whole and bool((part == np.rint(part)).all())
    if is_whole:
        return _whole(values, low, high)
    if low < -1e-3:
        for bottom, top in ((-1.0, 1.0), (-0.5, 0.5)):
            if abs(low - bottom) <= _NEAR and abs(high - top) <= _NEAR:
                return _scaled(255 / (top - bottom), -bottom, f"pixels from {bottom:g} to {top:g} were scaled")
        raise NotPixelsError(f"values from {low:.3g} to {high:.3g} are no pixels, but may be standardised")
    if high <= 1 + 1e-3:
        if low >= 0 and abs(high * 255 - 1) <= _NEAR:
            return _scaled(255.0 * 255.0, 0.0, "pixels from 0 to 1/255 were scaled; they were divided twice")
        pale = (
            f"; the largest is {high:.3g}; the images are pale" if high < _PALE / 255 and len(values) >= _MANY else ""
        )
        return _scaled(255.0, 0.0, f"pixels from 0 to 1 were scaled{pale}")
    if high <= _GREYS:
        raise NotPixelsError(f"fractions from {low:.3g} to {high:.3g} are no pixels")
    _check_range(values, -0.5, 255.5)
    return _scaled(1.0, 0.0, "fractions of pixels from 0 to 255 were rounded")


def _whole(values: Any, low: float, high: float) -> PixelScale:
    """Return how whole numbers become bytes."""
    if low >= 0 or high > 255:
        _check_range(values, 0, 255)
        spread = _spread(int(high), len(values))
        return PixelScale(lambda rows: spread(rows.astype(np.uint8)), spread.note)
    if low >= -1 and high == 1:
        return _scaled(127.5, 1.0, "pixels from -1 to 1 were scaled")
    if -128 <= low <= -100 and high <= 127:
        return _scaled(1.0, 128.0, "pixels from -128 to 127 were moved to 0 to 255")
    _check_range(values, 0, 255)
    return PixelScale(lambda rows: rows.astype(np.uint8))


def _spread(high: int, n: int) -> PixelScale:
    """Return how bytes up to `high`, of `n` images, are spread from 0 to 255 if they are of few greys."""
    if high not in _SHALLOW:
        is_pale = 0 < high < _PALE and n >= _MANY
        return PixelScale(
            None, f"the largest value of a pixel is {high}, not 255; the images are pale" if is_pale else None
        )
    greys = np.rint(np.arange(high + 1) * (255 / high)).astype(np.uint8)
    return PixelScale(lambda rows: greys[rows], f"pixels from 0 to {high} were scaled")


def _parts(values: Any) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yield the first row and the rows of parts, so that all temporary arrays are small."""
    begin = 0
    for part in row_parts(values, _ROWS_AT_ONCE):
        yield begin, part
        begin += len(part)


def _scaled(factor: float, shift: float, note: str) -> PixelScale:
    def convert(rows: NDArray[Any]) -> NDArray[np.uint8]:
        return np.asarray(np.rint((rows.astype(np.float64) + shift) * factor).clip(0, 255).astype(np.uint8))

    return PixelScale(convert, note)


def _check_range(values: Any, low: float, high: float) -> None:
    for begin, part in _parts(values):
        outside = (part < low) | (part > high)
        if outside.any():
            raise _wrong(part, outside, begin)


def _wrong(part: NDArray[np.float32], wrong: NDArray[np.bool_], begin: int) -> WrongPixelError:
    row, column = (int(place[0]) for place in np.nonzero(wrong))
    return WrongPixelError(begin + row, column, float(part[row, column]))
