"""Images in arrays of any usual shape and type, as bytes."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from fastnn.datasets.mapped import MappedRows, row_parts
from fastnn.datasets.pixel_values import NotPixelsError, PixelScale, WrongPixelError, scale_of
from fastnn.datasets.resize import Resize
from fastnn.datasets.spool import images_from
from fastnn.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

_SMALLEST_SIDE, _LARGEST_SIDE = 8, 4096
_SAMPLE = 500
"""Images that are looked at to tell pixels from other numbers."""
_SMOOTH, _EVEN = 0.9, 2.2
"""Neighbouring pixels of pictures differ at most by this share of the difference of any two pixels, and in one
direction at most by this factor more than in the other. Digits of 8x8 pixels: 0.80 and 1.7; of 16x16: 0.51 and 1.1;
columns in random order: 0.97 and more; time series: 0.71 and 2.9."""
_FEW_PIXELS = 16
"""Fractions in squares of shorter sides are rather other numbers."""
_ROWS_AT_ONCE = 1024
_LUMA = np.array([299, 587, 114], dtype=np.uint32)
"""Thousandths of red, green and blue in grey, as Pillow takes them."""


class Layout(NamedTuple):
    """Where the parts of images are in an array.

    Attributes
    ----------
    samples : int
        The axis of the images.
    height, width : int
    channels : int
        0 for images of one channel.
    channels_first : bool
        Whether the axis of channels is before those of rows and columns.
    is_flat : bool
        Whether the pixels of an image are one axis.
    """

    samples: int
    height: int
    width: int
    channels: int = 0
    channels_first: bool = False
    is_flat: bool = False


def find_layout(shape: tuple[int, ...], n: int) -> Layout | None:
    """Return how an array of this shape may hold `n` images, or None if it cannot.

    The images are the first axis, or the last one, as MATLAB has it. Other axes of length 1 do not count.
    """
    samples = 0 if shape[:1] == (n,) else len(shape) - 1 if shape[-1:] == (n,) else None
    if samples is None:
        return None
    rest = [length for axis, length in enumerate(shape) if axis != samples and length > 1]
    if len(rest) == 1:
        side = math.isqrt(rest[0])
        return Layout(samples, side, side, is_flat=True) if side * side == rest[0] else None
    if len(rest) == 3 and rest[2] in (2, 3, 4):
        return Layout(samples, rest[0], rest[1], rest[2])
    if len(rest) == 3 and rest[0] in (2, 3, 4):
        return Layout(samples, rest[1], rest[2], rest[0], channels_first=True)
    return Layout(samples, rest[0], rest[1]) if len(rest) == 2 else None


class _Rows:
    """The images of an array as rows of their values, of which slices are read at a time.

    Attributes
    ----------
    array : ndarray, shape (n, ...)
    dtype : dtype
        That of the rows.
    """

    def __init__(self, array: NDArray[Any], layout: Layout) -> None:
        self.array = np.moveaxis(array, layout.samples, 0)
        self.array = self.array.view(np.uint8) if array.dtype == np.bool_ else self.array
        self.dtype = self.array.dtype

    def as_floats(self) -> _Rows:
        """Return rows of float32."""
        rows = copy.copy(self)
        rows.dtype = np.dtype(np.float32)
        return rows

    def __len__(self) -> int:
        return len(self.array)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and of values in each."""
        return len(self), math.prod(self.array.shape[1:])

    def __getitem__(self, key: slice) -> NDArray[Any]:
        rows = np.ascontiguousarray(self.array[key])
        with np.errstate(over="ignore"):
            return rows.reshape(len(rows), -1).astype(self.dtype, copy=False)

    def whole(self) -> NDArray[Any] | None:
        """Return all rows, None if that takes a copy."""
        is_view = self.array.dtype == self.dtype and self.array.flags.c_contiguous
        return self.array.reshape(len(self.array), -1) if is_view else None


def images_from_array(
    array: NDArray[Any], source: str, n: int | None = None, spool: Path | None = None
) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Return the images of an array as bytes, in grey, scaled to 28x28 pixels.

    Parameters
    ----------
    array : ndarray
        Numbers of shape (n, h, w), (n, h, w, 1), (n, 1, h, w), (n, h * h), of 2 to 4 channels (grey or RGB, with
        opacity or without) in the first or last place, or any of these with `n` last.
    source : str
        What error messages call it.
    n : int, optional
        Number of images; by default the length of the first axis.
    spool : Path, optional
        A temporary folder, if the images are to be left on the disk, as the array is.

    Returns
    -------
    images : ndarray of uint8 or MappedRows, shape (n, 784)
        As stored: light ink or dark.
    notes : tuple of str
        What was changed.

    Raises
    ------
    DataError
        If the array cannot be images, or a value is not one of a pixel.
    """
    n = (len(array) if array.ndim else 0) if n is None else n
    layout = find_layout(array.shape, n) if array.dtype.kind in "biuf" and n else None
    if layout is None or not 1 < min(layout.height, layout.width) <= max(layout.height, layout.width) <= _LARGEST_SIDE:
        dtype = array.dtype.newbyteorder("=")
        raise DataError(
            f"{source}: {dtype} of shape {array.shape} cannot be {n:,} images; store bytes of shape "
            "(n, 28, 28) or (n, 784)"
        )
    try:
        rows, scale = _scaled_rows(array, layout)
    except NotPixelsError as reason:
        raise DataError(f"{source}: {reason}; store 0 to 255 or 0 to 1") from None
    except WrongPixelError as fault:
        raise DataError(f"{source}: image {fault.row}, value {fault.column} (from 0): {fault}") from None
    notes = [scale.note] if scale.note else []
    if layout.samples:
        notes.append("the last axis counts the images")
    if layout.channels:
        notes.append(f"images of {layout.channels} channels were turned to grey")
    resize = Resize(layout.height, layout.width)
    notes += [resize.note] if resize.note else []
    whole = None if scale.convert or layout.channels or resize.is_needed else rows.whole()
    if whole is not None and spool is not None:
        return cast("NDArray[np.uint8]", MappedRows(whole)), tuple(notes)
    # Compiled functions would be compiled once more for an array that is read-only, such as a view of a file's bytes.
    if whole is not None and whole.flags.writeable:
        return whole, tuple(notes)
    parts = (resize(_grey(scale(part), layout) if layout.channels else scale(part)) for part in _parts(rows))
    return images_from(parts, n, spool), tuple(notes)


def images_in_rows(array: NDArray[Any], n: int) -> str | None:
    """Return why the flat rows of an array are rather numbers than pixels, or None if they are pixels.

    784 values from 0 to 1, or on another scale of pixels, are an image. Of other sizes, neighbouring values must be
    alike, too, and those of small images whole.
    """
    layout = find_layout(array.shape, n)
    if layout is None or not layout.is_flat or layout.height < _SMALLEST_SIDE:
        return "they are no squares"
    if layout.height < _FEW_PIXELS and array.dtype.kind == "f":
        values = (np.asarray(part) for part in _parts(_Rows(array, layout)))
        if not all((part == np.rint(part)).all() for part in values):
            return "they are fractions"
    every = max(1, n // _SAMPLE)
    try:
        # All are looked at, since the lowest and highest value tell the scale.
        rows, scale = _scaled_rows(array, layout)
    except (NotPixelsError, WrongPixelError) as fault:
        return str(fault)
    if layout.height == 28 or _is_smooth(scale(rows[::every]).reshape(-1, layout.height, layout.width)):
        return None
    return "neighbouring values are not alike"


def _parts(rows: _Rows) -> Iterator[NDArray[Any]]:
    return row_parts(rows, _ROWS_AT_ONCE)


def _scaled_rows(array: NDArray[Any], layout: Layout) -> tuple[_Rows, PixelScale]:
    """Return the values of images in rows, and how they become bytes."""
    rows = _Rows(array, layout)
    kind = array.dtype.kind
    if kind == "f":
        return rows.as_floats(), scale_of(rows.as_floats())
    if rows.dtype == np.uint8:
        return rows, scale_of(rows)
    low = min(int(part.min()) for part in _parts(rows))
    high = max(int(part.max()) for part in _parts(rows))
    if low >= 0 and high <= 0xFF:
        rows.dtype = np.dtype(np.uint8)
        return rows, scale_of(rows)
    if low >= 0 and 0xFF < high <= 0xFFFF and rows.dtype.itemsize == 2:
        return rows, PixelScale(_upper_bytes, "pixels of 16 bits were reduced to 8")
    return rows.as_floats(), scale_of(rows.as_floats())


def _upper_bytes(rows: NDArray[Any]) -> NDArray[np.uint8]:
    return (rows.astype(np.uint16) >> 8).astype(np.uint8)


def _grey(rows: NDArray[np.uint8], layout: Layout) -> NDArray[np.uint8]:
    """Return images of several channels in grey; where they are transparent, as on white paper."""
    size = (layout.height, layout.width)
    shape = (layout.channels, *size) if layout.channels_first else (*size, layout.channels)
    pixels = rows.reshape(-1, *shape)
    pixels = (np.moveaxis(pixels, 1, -1) if layout.channels_first else pixels).astype(np.uint32)
    grey = (pixels[..., :3] @ _LUMA + 500) // 1000 if layout.channels > 2 else pixels[..., 0]
    if layout.channels in (2, 4):
        opaque = pixels[..., -1]
        grey = (grey * opaque + 255 * (255 - opaque) + 127) // 255
    return grey.astype(np.uint8)


def _is_smooth(images: NDArray[np.uint8]) -> bool:
    """Return whether neighbouring pixels are alike in both directions, as they are in pictures of anything."""
    values = images.astype(np.float32)
    any_two = float(np.abs(values.reshape(len(values), -1) - _shuffled(values)).mean())
    down, across = (float(np.abs(np.diff(values, axis=axis)).mean()) for axis in (1, 2))
    return max(down, across) < min(_SMOOTH * any_two, _EVEN * min(down, across))


def _shuffled(values: NDArray[np.float32]) -> NDArray[np.float32]:
    flat = values.reshape(len(values), -1)
    return flat[:, np.random.default_rng(0).permutation(flat.shape[1])]
