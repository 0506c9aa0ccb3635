"""What is drawn on a picture: on a canvas or a scan, on a photo, or on a sheet with several digits.

There are two ways to the ink. If the paper is even, as on canvases, scans and screenshots, it is what differs from its
level (``fastnn.images.paper``). Other pictures are photos (``fastnn.images.photos``, with OpenCV).
"""

from __future__ import annotations

from dataclasses import astuple, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from fastnn.datasets.dataset import PIXELS, SIDE
from fastnn.datasets.polarity import OF_SIGN, Polarity, dark_on_light, polarity_sign
from fastnn.errors import DataError
from fastnn.images import photos
from fastnn.images.decode import colours, decoded
from fastnn.images.frames import without_frames
from fastnn.images.normalise import is_blank, normalise_batch
from fastnn.images.paper import FAINT_INK, LEAST_INK, EvenInk, even_ink
from fastnn.images.parts import close_gaps, digits_of, labelled, parts_of
from fastnn.images.pen import scaled_drawing, with_usual_lines
from fastnn.images.read import check_picture, grey_levels, luma, opaque
from fastnn.images.touching import cut_apart

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import ArrayLike, NDArray

    from fastnn.images.boxes import Part

_DECODED = 2048
"""Pictures are decoded with at most this many pixels on their longer side, which is enough for the next number."""
_LARGEST = 1024
"""Ink is looked at with at most this many pixels on its longer side."""
_INKED = 64
"""Ink levels from here on are strokes."""
_KEPT_LINE = 1.3
"""A drawing on a canvas keeps its place if its lines are at least so many pixels wide when the canvas is 28 wide."""
_KEPT_EXTENT = 9
"""A drawing smaller than this after its canvas is shrunk to 28x28 is enlarged; of 6,844 real digits none is smaller."""
_SMALL = 64
"""Pictures with sides up to this many pixels are no photos, and are not searched for several digits."""
_TINY = 8
"""A digit with fewer pixels along its longer side cannot be told from noise."""
_CONTRAST = 12.0
"""Least depth of the ink of a photo, in standard deviations of the noise, that is not doubtful."""
_MOST_DIGITS = 400
"""A picture with more of them is a pattern, or a page to cut into several pictures; each takes milliseconds."""
_SMALL_DIGIT = 0.2
"""A mark beside the digits that has this share of their height may be a small digit."""
_BESIDE_SHARE = 0.25
"""Ink beside the digits that is more than this share of theirs makes them doubtful."""


@dataclass(frozen=True, eq=False)
class Drawing:
    """One digit of a picture.

    Attributes
    ----------
    image : ndarray of uint8, shape (784,)
        255 = paper, 0 = ink.
    box : tuple of int
        Left, top, right and bottom in pixels of the picture.
    """

    image: NDArray[np.uint8]
    box: tuple[int, int, int, int]


@dataclass(frozen=True, eq=False)
class Drawings:
    """What is drawn on a picture.

    Attributes
    ----------
    digits : tuple of Drawing
        In reading order; none if nothing is drawn, or too much.
    whole : ndarray of uint8, shape (784,)
        All of the drawing as one image; all 255 if nothing is drawn.
    doubts : tuple of str
        Why the digits may be read wrongly.
    """

    digits: tuple[Drawing, ...]
    whole: NDArray[np.uint8]
    doubts: tuple[str, ...] = ()


_BLANK = np.full(PIXELS, 255, np.uint8)
NOTHING = "nothing is drawn"
FAINT = "the drawing is too faint"
UNCLEAR = "paper and ink are hard to tell"
CROWDED = f"more than {_MOST_DIGITS} marks are drawn; cut it into several pictures"
BESIDE = "there are other marks beside it"
IN_A_LOOP = "there is a loop round it"
CUT_APART = "digits touch and were cut apart"
MAY_TOUCH = "it may be two digits that touch"
TINY = f"it has fewer than {_TINY} pixels along its longer side"
NO_OPENCV = "reading a photo needs OpenCV; install it with: pip install 'fastnn-trainer[photos]'"


def read_drawings(source: str | Path | bytes, *, polarity: Polarity | None = None, name: str = "") -> Drawings:
    """Read a picture of one or several digits.

    Parameters
    ----------
    source : path-like or bytes
        A picture file, see :func:`fastnn.images.load_picture`, or its content.
    polarity : {"auto", "dark-on-light", "light-on-dark"}, optional
        By default found from the picture.
    name : str, optional
        What error messages call the picture; by default the path.

    Returns
    -------
    Drawings

    Raises
    ------
    DataError
        If the file cannot be read, is not a picture, is damaged or too large.
    """
    sign = polarity_sign(polarity)
    with decoded(source, name, _DECODED) as picture:
        factor, pixels = picture.size[0] / picture.image.width, colours(picture.image)
    found = find_drawings(pixels, sign)
    if factor == 1:
        return found
    return replace(found, digits=tuple(replace(one, box=_scaled(one.box, factor)) for one in found.digits))


def read_image(source: str | Path | bytes, *, polarity: Polarity | None = None, name: str = "") -> NDArray[np.uint8]:
    """Read a picture of one drawing as a 28x28 image.

    - A picture of 28x28 pixels is used as it is.
    - A square canvas of white paper with lines of the usual width is shrunk; the drawing keeps its place, as on the
      original's web page.
    - From any other picture, such as a scan or a photo, the drawing is cut out and fitted as in
      :func:`normalise_picture`. Lines of a thin pen are thickened to the usual width.

    Parameters and errors are those of :func:`read_drawings`.

    Returns
    -------
    ndarray of uint8, shape (784,)
        255 = paper, 0 = ink; all 255 if nothing is drawn.
    """
    return read_drawings(source, polarity=polarity, name=name).whole


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
    return np.array(find_drawings(picture, polarity_sign(polarity)).whole)


def normalise_picture(
    picture: ArrayLike, *, polarity: Polarity | None = None, name: str = "picture"
) -> NDArray[np.uint8]:
    """Cut out the drawing on a picture, scale its longer side to 20 pixels and centre it by mass in 28x28.

    Pictures of up to 64 pixels give the same bits as in :func:`fastnn.images.normalise_batch`.

    Parameters
    ----------
    picture : array_like of uint8, shape (h, w), (h, w, 3), (h, w, 4) or (784,)
        Grey, RGB or RGBA, up to 4096x4096. Transparent pixels count as paper.
    polarity : {"auto", "dark-on-light", "light-on-dark"}, optional
        By default found from the picture.
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
    array = check_picture(picture, name)
    if max(array.shape[:2]) <= _SMALL:
        image, blank = normalise_batch(grey_levels(array, polarity, name)[None], polarity=polarity)
    else:
        found = _find(opaque(array, polarity_sign(polarity))[0], polarity_sign(polarity), keeps_lines=True)
        image, blank = normalise_batch(found.whole[None], polarity="dark-on-light")
    if blank[0]:
        raise DataError(f"{name}: nothing is drawn on it")
    return image.reshape(PIXELS)


def find_drawings(picture: NDArray[np.uint8], sign: int = 0) -> Drawings:
    """Return the digits on a picture.

    Parameters
    ----------
    picture : ndarray of uint8, shape (h, w), (h, w, 3) or (h, w, 4)
        Grey, RGB or RGBA.
    sign : {1, -1, 0}
        1 for ink that is darker than the paper, -1 for lighter ink, 0 if the picture decides.
    """
    picture, left, top = opaque(picture, sign)
    height, width = picture.shape[:2]
    if (height, width) == (SIDE, SIDE):
        return _as_it_is(picture, sign)
    found = _find(picture, sign)
    digits = tuple(
        Drawing(one.image, (one.box[0] + left, one.box[1] + top, one.box[2] + left, one.box[3] + top))
        for one in found.digits
    )
    return Drawings(digits, found.whole, found.doubts)


def _as_it_is(picture: NDArray[np.uint8], sign: int) -> Drawings:
    """Return a picture of 28x28 pixels as one digit."""
    grey = luma(picture).reshape(1, PIXELS)
    image = dark_on_light(grey, OF_SIGN[sign]).images[0]
    if is_blank(image):
        return Drawings((), image, (FAINT if int(image.max()) - int(image.min()) >= FAINT_INK else NOTHING,))
    return Drawings((Drawing(image, (0, 0, SIDE, SIDE)),), image)


def _find(picture: NDArray[np.uint8], sign: int, *, keeps_lines: bool = False) -> Drawings:
    """Return what is drawn on an opaque picture; `keeps_lines`: thin lines stay thin, and every drawing is cut out."""
    is_small = max(picture.shape[:2]) <= _SMALL
    even = even_ink(picture, sign)
    if even is not None:
        return _on_even_paper(picture.shape[:2], even, keeps_lines)
    if is_small:
        grey = luma(picture)
        image, blank = normalise_batch(grey[None], polarity=OF_SIGN[sign])
        if blank[0]:
            return Drawings((), _BLANK, (NOTHING,))
        digit = Drawing(image[0], (0, 0, grey.shape[1], grey.shape[0]))
        return Drawings((digit,), image[0], (TINY,) if max(grey.shape) < _TINY else ())
    if not photos.is_available():
        guess = even_ink(picture, sign, if_even=False)
        found = Drawings((), _BLANK) if guess is None else _on_even_paper(picture.shape[:2], guess, keeps_lines)
        return Drawings(found.digits, found.whole, (NO_OPENCV, *found.doubts))
    photo = photos.ink_of_photo(picture if picture.ndim == 3 else np.repeat(picture[:, :, None], 3, axis=2), sign)
    doubts = [UNCLEAR] if photo.contrast < _CONTRAST else []
    return _collect(_Ink(photo.ink, photo.factor, True, keeps_lines), doubts)[0]


def _on_even_paper(shape: tuple[int, ...], even: EvenInk, keeps_lines: bool) -> Drawings:
    if even.depth < LEAST_INK:
        return Drawings((), _BLANK, (FAINT if even.is_faint else NOTHING,))
    ink, factor = even.ink, -(-max(shape) // _LARGEST)
    if factor > 1:
        from PIL import Image

        ink = np.asarray(Image.fromarray(ink).reduce(factor))
        ink = np.minimum(ink * (255.0 / max(int(ink.max()), 1)), 255).astype(np.uint8)
    doubts = [UNCLEAR] if even.is_unclear else []
    found, is_alone = _collect(_Ink(ink, factor, False, keeps_lines), doubts)
    if is_alone and shape[0] == shape[1] and not keeps_lines:
        kept = _kept_in_place(even)
        if kept is not None:
            return Drawings((Drawing(kept, found.digits[0].box),), kept, found.doubts)
    return found


def _kept_in_place(even: EvenInk) -> NDArray[np.uint8] | None:
    """Return a square canvas of white paper shrunk to 28x28; None if the drawing would be too small, or its lines."""
    from PIL import Image

    if even.paper < 255 - LEAST_INK:
        return None
    drawing = scaled_drawing(even.ink)
    small = np.asarray(Image.fromarray(even.ink).resize((SIDE, SIDE), Image.Resampling.BOX))
    rows, columns = np.nonzero(8 * small.astype(np.int64) >= max(int(small.max()), 1))
    extent = max(np.ptp(rows), np.ptp(columns)) + 1
    if extent < _KEPT_EXTENT or drawing.line_width * extent / 20 < _KEPT_LINE:
        return None
    return np.asarray(255 - small).reshape(PIXELS)


@dataclass(frozen=True, eq=False)
class _Ink:
    """Ink levels of a reduced picture, pixels of the picture for each, and how the drawings are made."""

    levels: NDArray[np.uint8]
    factor: float
    is_photo: bool
    keeps_lines: bool


def _collect(found: _Ink, doubts: list[str]) -> tuple[Drawings, bool]:
    """Return the digits that the ink of a picture is, and whether it is one digit with nothing beside or round it."""
    ink = found.levels
    labels = labelled(ink >= _INKED)
    parts, is_framed, is_loop = without_frames(parts_of(labels, ink), labels)
    if is_loop:
        doubts.append(IN_A_LOOP)
    if found.is_photo:
        parts = _inside(parts, ink.shape, doubts)
    if not parts:
        return Drawings((), _BLANK, (NOTHING,)), False
    parts, labels = close_gaps(parts, labels, ink)
    parts, n_cuts, n_doubtful = cut_apart(parts, labels, ink)
    if n_cuts or n_doubtful:
        doubts.append(CUT_APART if n_cuts else MAY_TOUCH)
    digits, left = digits_of(parts)
    total = sum(digit.mass for digit in digits)
    if sum(part.mass for part in left) > _BESIDE_SHARE * total or any(map(partial(_is_in_line, digits=digits), left)):
        doubts.append(BESIDE)
    whole = digits[0]
    for digit in digits[1:]:
        whole = whole.joined(digit)
    if len(digits) > _MOST_DIGITS:
        return Drawings((), _image(found, labels, whole), (CROWDED,)), False
    images = [_image(found, labels, digit) for digit in digits]
    boxes = [_scaled(astuple(digit.box), found.factor) for digit in digits]
    if any(max(digit.box.width, digit.box.height) * found.factor < _TINY for digit in digits):
        doubts.append(TINY)
    everything = images[0] if len(digits) == 1 else _image(found, labels, whole)
    is_alone = len(digits) == 1 and not left and not is_framed
    return Drawings(tuple(map(Drawing, images, boxes)), everything, tuple(doubts)), is_alone


def _is_in_line(mark: Part, digits: list[Part]) -> bool:
    """Return whether a mark stands in the line of digits, and may be a small one."""
    height = mark.box.height
    if height < _SMALL_DIGIT * max(digit.box.height for digit in digits) or mark.box.width > 2 * height:
        return False
    rows = (min(mark.box.bottom, digit.box.bottom) - max(mark.box.top, digit.box.top) for digit in digits)
    return max(rows) > 0.5 * height


def _inside(parts: list[Part], shape: tuple[int, ...], doubts: list[str]) -> list[Part]:
    """Return the parts that do not touch the border of a photo, as a desk does; all if there are no others."""
    height, width = shape
    inside = [p for p in parts if p.box.left > 0 and p.box.top > 0 and p.box.right < width and p.box.bottom < height]
    if inside and inside[0].mass > 0.05 * parts[0].mass:
        return inside
    if parts:
        doubts.append("the drawing touches the border of the picture")
    return parts


def _image(found: _Ink, labels: NDArray[np.int32], part: Part) -> NDArray[np.uint8]:
    """Return the 28x28 image of a part, without the ink of others."""
    ink = found.levels
    box, reach = part.box, 3
    rows = slice(max(0, box.top - reach), box.bottom + reach)
    columns = slice(max(0, box.left - reach), box.right + reach)
    others = (labels[rows, columns] > 0) & ~np.isin(labels[rows, columns], part.labels)
    cut = np.pad(np.where(others, np.uint8(0), ink[rows, columns]), 1)
    drawing = cut if found.keeps_lines else with_usual_lines(cut)
    result, _ = normalise_batch(255 - drawing[None], polarity="dark-on-light")
    return result.reshape(PIXELS)


def _scaled(box: tuple[int, int, int, int], factor: float) -> tuple[int, int, int, int]:
    left, top, right, bottom = (round(side * factor) for side in box)
    return left, top, right, bottom
