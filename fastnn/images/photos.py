"""Ink on photos of paper: uneven light, ruled lines, coloured paper and pens. No other file imports OpenCV."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SIDE = 800
"""Photos are reduced to this many pixels on their longer side."""
_PAPER = 0.3
"""Width of the median that is the paper, as a share of the longer side: wider than two strokes of a large digit."""
_WIDE_PAPER = 0.8
"""The same for a second try, if strokes fill the picture."""
_NOISE = 4.0
"""Ink is what differs from the paper by more than so many standard deviations of the noise."""
_DOUBTED = 0.5
"""Ink that may be the paper, or what lies around it, counts by this share of its contrast."""
_HOLLOW = 0.03
"""Share of the strokes; if more than this is missed in their middle, they are too large for the picture."""
_INKED = 60
_LINE, _LINE_WIDTH = 0.2, 0.013
"""Straight lines longer than the first share of the longer side and thinner than the second are not strokes."""
_ANGLES = (-10.0, -7.5, -5.0, -2.5, 0.0, 2.5, 5.0, 7.5, 10.0)
"""Degrees by which lines are off the rows and columns."""


@dataclass(frozen=True, eq=False)
class PhotoInk:
    """The ink of a photo.

    Attributes
    ----------
    ink : ndarray of uint8, shape (h, w)
        Of the reduced photo.
    factor : float
        Pixels of the photo for each of them.
    contrast : float
        Depth of the ink in standard deviations of the noise; 0 if strokes that fill the picture were taken for paper.
    """

    ink: NDArray[np.uint8]
    factor: float
    contrast: float


def is_available() -> bool:
    """Return whether OpenCV is installed."""
    return importlib.util.find_spec("cv2") is not None


def ink_of_photo(picture: NDArray[np.uint8], sign: int) -> PhotoInk:
    """Return the ink of a photo.

    The paper is a wide median of each colour. Ink differs from it, in the colour and the direction in which it differs
    most in units of the noise. Long straight lines, such as those of ruled paper, are taken out.

    Parameters
    ----------
    picture : ndarray of uint8, shape (h, w, 3)
    sign : {1, -1, 0}
        1 for ink that is darker than the paper, -1 for lighter ink, 0 if the photo decides.
    """
    import cv2

    longer = max(picture.shape[:2])
    factor = max(1.0, longer / _SIDE)
    size = tuple(max(1, round(side / factor)) for side in picture.shape[1::-1])
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA) if factor > 1 else picture
    found = _ink(small, factor, sign, _PAPER)
    if found.contrast == 0.0 and found.ink.any():
        wider = _ink(small, factor, sign, _WIDE_PAPER)
        return wider if wider.contrast > 0.0 else found
    return found


def _ink(small: Any, factor: float, sign: int, share: float) -> PhotoInk:
    """Return the ink of a reduced photo; `share`: width of the median that is the paper."""
    import cv2

    channels = [*cv2.split(small), cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)]
    found = []
    for channel in channels:
        paper, blurred = _paper(channel, share), cv2.GaussianBlur(channel, (0, 0), 0.8)
        depth, brightest = paper.astype(np.float32) - blurred, float(np.percentile(paper[::8, ::8], 95))
        noise = max(1.4826 * float(np.median(np.abs(depth - np.median(depth)))), 0.7)
        for direction in (1, -1) if sign == 0 else (sign,):
            signed = depth * direction
            core, is_ink = _core(signed, _NOISE * noise)
            if direction < 0 and is_ink:
                # Light ink is lighter than all of the paper; the corner of a page on a dark desk is not.
                is_ink = _core(np.minimum(signed, blurred - np.float32(brightest)), _NOISE * noise)[0] > 0.5 * core
            level = blurred.astype(np.float32) * direction
            found.append((core / noise * (1.0 if is_ink else _DOUBTED), core, noise, signed, level))
    _, core, noise, depth, level = max(found, key=lambda one: one[0])
    if core <= 0:
        return PhotoInk(np.zeros(small.shape[:2], np.uint8), factor, 0.0)
    floor = _NOISE * noise
    ink = np.clip((depth - floor) * (255.0 / max(core - floor, 1.0)), 0, 255).astype(np.uint8)
    contrast = 0.0 if _is_hollow(ink, level, core) else core / noise
    return PhotoInk(_without_lines(ink), factor, contrast)


def _paper(channel: Any, share: float) -> Any:
    """Return the brightness of the paper at each pixel: a median over a wide window, of the channel reduced."""
    import cv2

    height, width = channel.shape
    factor = max(height, width) / 120
    small = cv2.resize(
        channel, (max(1, round(width / factor)), max(1, round(height / factor))), interpolation=cv2.INTER_AREA
    )
    window = max(3, round(share * max(small.shape)) | 1)
    padded = cv2.copyMakeBorder(small, window // 2, window // 2, window // 2, window // 2, cv2.BORDER_REFLECT)
    wide = cv2.medianBlur(padded, window)[window // 2 : -(window // 2), window // 2 : -(window // 2)]
    return cv2.resize(wide, (width, height), interpolation=cv2.INTER_CUBIC)


def _core(depth: NDArray[np.float32], floor: float) -> tuple[float, bool]:
    """Return the depth of the darkest strokes, and whether they are apart from the border, as a desk is not.

    The depth is 0 if less than a few pixels are deeper than the floor.
    """
    import cv2

    deep = depth > floor
    least = max(20, depth.size * 2e-4)
    if np.count_nonzero(deep) < least:
        return 0.0, False
    whole: Any = deep.astype(np.uint8)
    # Ruled lines join a digit to the border; without thin lines it is apart.
    for inked in (cv2.morphologyEx(whole, cv2.MORPH_OPEN, np.ones((5, 5), np.uint8)), whole):
        inside = _inside(inked)
        if np.count_nonzero(inside) >= least:
            return float(np.percentile(depth[inside], 80)), True
    return float(np.percentile(depth[deep], 80)), False


def _is_hollow(ink: NDArray[np.uint8], level: NDArray[np.float32], core: float) -> bool:
    """Return whether much that is as dark as the ink, and apart from the border, was taken for the paper."""
    import cv2

    strokes = ink > 2 * _INKED
    if not strokes.any():
        return False
    missed = (level < float(np.median(level[strokes])) + 0.25 * core) & (ink < _INKED)
    # Single pixels are noise.
    solid = cv2.morphologyEx(_inside(missed).astype(np.uint8), cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
    return bool(np.count_nonzero(solid) > _HOLLOW * np.count_nonzero(strokes))


def _inside(inked: Any) -> NDArray[np.bool_]:
    """Return what is not connected to the border."""
    import cv2

    # The frame joins everything that touches the border, so that one fill takes it out.
    framed: Any = np.pad(inked.astype(np.uint8), 1, constant_values=1)
    cv2.floodFill(framed, None, (0, 0), 0)
    return np.asarray(framed[1:-1, 1:-1] > 0)


def _without_lines(ink: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return ink without long, thin and straight lines."""
    import cv2

    inked: Any = (ink > _INKED).astype(np.uint8)
    thickest = 2 * round(_LINE_WIDTH * max(ink.shape) / 2) + 1
    square = np.ones((thickest, thickest), np.uint8)
    thick = cv2.dilate(cv2.morphologyEx(inked, cv2.MORPH_OPEN, square), np.ones((5, 5), np.uint8))
    thin = inked & (1 - thick)
    lines = _straight(thin)
    if not lines.any():
        return ink
    lines = cv2.dilate(lines, np.ones((5, 5), np.uint8)) & inked & (1 - thick)
    # Strokes that a line crossed are closed again.
    repair = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (thickest, thickest))
    bare = np.where(lines > 0, np.uint8(0), ink)
    closed = cv2.morphologyEx(bare, cv2.MORPH_CLOSE, repair)
    return np.where(lines > 0, closed, ink)


def _straight(thin: Any) -> Any:
    """Return where long straight lines are, nearly along rows or columns."""
    import cv2

    height, width = thin.shape
    small = (cv2.resize(thin * 255, (width // 2, height // 2), interpolation=cv2.INTER_AREA) > 60).astype(np.uint8)
    small = cv2.dilate(small, np.ones((3, 3), np.uint8))
    found: Any = np.zeros_like(small)
    length = max(5, round(_LINE * max(small.shape)))
    for angle in _ANGLES:
        reach = round(np.tan(np.radians(angle)) * length / 2)
        for tall in (False, True):
            kernel = np.zeros((2 * abs(reach) + 1, length) if not tall else (length, 2 * abs(reach) + 1), np.uint8)
            ends = ((0, abs(reach) - reach), (length - 1, abs(reach) + reach))
            start, end = (tuple(reversed(one)) for one in ends) if tall else ends
            cv2.line(kernel, start, end, 1)
            found |= cv2.morphologyEx(small, cv2.MORPH_OPEN, kernel)
    return (cv2.resize(found, (width, height), interpolation=cv2.INTER_NEAREST) > 0).astype(np.uint8)
