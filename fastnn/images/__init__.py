"""Pictures to 28x28 drawings: reading, fitting and normalising; the one implementation for all of fastnn."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, TypeAlias

import numpy as np

from fastnn.datasets.dataset import PIXELS, SIDE
from fastnn.errors import DataError
from fastnn.kernels.loader import Kernel
from fastnn.kernels.records import NORMALISE
from fastnn.kernels.workspace import ArgumentBlock

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray
    from PIL import Image

Polarity: TypeAlias = Literal["auto", "dark-on-light", "light-on-dark"]
POLARITIES: tuple[Polarity, ...] = ("auto", "dark-on-light", "light-on-dark")

MAX_SIDE = 4096
"""Pictures wider or higher than this are refused before they are decoded."""

_SIGNS = {"auto": 0, "dark-on-light": 1, "light-on-dark": -1}
_BOX = 20
"""Longer side of a normalised drawing (as `BOX` of the kernels)."""
_SMALL = 64
"""Up to this size a picture has no dust and no lighting to see to."""
_PHOTO_SIDE = 1024
_BLANK = 16
"""Ink levels below this are no drawing (as `LEAST` of the kernels)."""
_PEN_LEAST, _PEN_WANTED = 2.4, 3.0
"""Lines thinner than the first, in pixels of a drawing 20 high, are thickened to the second, the median of what is
drawn on the original's page (95 of 100 have 2.3 or more). NN.json, which has learned from those, got 2 % of 300 digits
in lines of a thin pen right as they were, and 78 % thickened so."""
_PEN_SIDE = 160
_CANVAS_LEAST = 9
"""A drawing on a canvas that is smaller than this in 28x28 is enlarged; of 6,844 real digits none is smaller."""


def _arguments(
    images: NDArray[np.uint8], sign: int, result: NDArray[np.uint8], blank: NDArray[np.bool_]
) -> ArgumentBlock:
    """Return the kernel's argument block with its scratch memory."""
    n, height, width = images.shape
    n_weights = max(height, width) // _BOX + 3
    return ArgumentBlock(
        NORMALISE,
        images=images,
        n=n,
        height=height,
        width=width,
        polarity=sign,
        result=result,
        blank=blank,
        counts=np.zeros(256, np.int64),
        levels=np.zeros(256, np.uint8),
        ink=np.zeros((height, width), np.uint8),
        box=np.zeros(4, np.int64),
        rows=np.zeros(width),
        weights=np.zeros(n_weights),
        n_weights=n_weights,
        small=np.zeros((_BOX, _BOX), np.uint8),
        out=np.zeros((_BOX, _BOX)),
    )


def _centres_drawings(kernel: Callable[[int], object]) -> bool:
    """Return whether four drawings of the right size are moved to the centre and nothing else."""
    images = np.full((4, SIDE, SIDE), 255, np.uint8)
    for k in range(4):
        images[k, 2 * k : 2 * k + _BOX, k : k + 7] = 0
    result, blank = np.zeros_like(images), np.ones(4, np.bool_)
    block = _arguments(images, 1, result, blank)
    kernel(block.address)
    centred = np.full((SIDE, SIDE), 255, np.uint8)
    centred[5 : 5 + _BOX, 11:18] = 0
    return not blank.any() and bool((result == centred).all())


normalise_kernel = Kernel("fastnn.kernels.normalise", "normalise", (), _centres_drawings)


def read_image(source: str | Path | bytes, *, polarity: Polarity | None = None, name: str = "") -> NDArray[np.uint8]:
    """Read a picture of one drawing and fit it to 28x28.

    A picture of 28x28 is taken as it is. A white canvas, a square whose side is a multiple of 28, becomes the mean of
    its blocks, as the original's page does it: a drawing keeps its place. Of any other picture, such as a scan, the
    drawing is cut out and fitted as :func:`normalise` does it, with the lines of a thin pen made as thick as those of
    drawings usually are; so is a drawing on a canvas that would be just a few pixels high.

    Parameters
    ----------
    source : path-like or bytes
        A PNG or JPEG file, or the bytes of one: up to 4096x4096, grey or in colour, of 8 or 16 bits. Transparent is
        paper.
    polarity : {"auto", "dark-on-light", "light-on-dark"}, optional
        By default found from the border.
    name : str, optional
        What messages call the picture; by default the path.

    Returns
    -------
    ndarray of uint8, shape (784,)
        255 = paper, 0 = ink; all 255 if nothing is drawn.

    Raises
    ------
    DataError
        If the file is no such picture.
    """
    return fit(load_picture(source, polarity=polarity, name=name), polarity=polarity)


def load_picture(source: str | Path | bytes, *, polarity: Polarity | None = None, name: str = "") -> NDArray[np.uint8]:
    """Decode a PNG or JPEG file to grey levels; parameters and errors as for :func:`read_image`.

    Returns
    -------
    ndarray of uint8, shape (h, w)
        As in the file: nothing is inverted. Transparent pixels have the colour of the paper.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    _sign(polarity)
    name = name or ("picture" if isinstance(source, bytes) else str(source))
    with _open(source, name) as file, warnings.catch_warnings():
        # Pillow warns of bombs and odd metadata; the first are refused below and the second do not matter here.
        warnings.simplefilter("ignore")
        try:
            with Image.open(file, formats=["PNG", "JPEG"]) as image:
                if max(image.size) > MAX_SIDE:
                    raise DataError(
                        f"{name}: {image.width}x{image.height} pixels are too many; "
                        f"shrink the picture to {MAX_SIDE}x{MAX_SIDE} at most"
                    )
                return _grey(ImageOps.exif_transpose(image), polarity)
        except DataError:
            raise
        except Image.DecompressionBombError:
            raise DataError(f"{name}: too many pixels; shrink the picture to {MAX_SIDE}x{MAX_SIDE} at most") from None
        except UnidentifiedImageError:
            raise DataError(f"{name}: not a PNG or JPEG picture") from None
        except MemoryError:
            raise
        except Exception as error:
            # Pillow's decoders answer damage with many kinds of exceptions (OSError, SyntaxError, struct.error, ...).
            raise DataError(f"{name}: not a whole PNG or JPEG picture ({error})") from None


def _open(source: str | Path | bytes, name: str) -> BinaryIO:
    if isinstance(source, bytes):
        return io.BytesIO(source)
    path = Path(source)
    if path.exists() and not path.is_file():
        raise DataError(f"{name}: not a file")
    try:
        return path.open("rb")
    except OSError as error:
        raise DataError(f"{name}: cannot be read ({error.strerror})") from None


def fit(picture: NDArray[np.uint8], *, polarity: Polarity | None = None) -> NDArray[np.uint8]:
    """Fit a grey picture to 28x28 as :func:`read_image` describes it.

    Parameters
    ----------
    picture : ndarray of uint8, shape (h, w)
    polarity : {"auto", "dark-on-light", "light-on-dark"}, optional

    Returns
    -------
    ndarray of uint8, shape (784,)
    """
    height, width = picture.shape
    if height == width and height % SIDE == 0:
        light, paper = _paper(picture, polarity)
        upright = picture if light else 255 - picture
        if height == SIDE:
            return np.array(upright).reshape(PIXELS)
        if (paper if light else 255 - paper) >= 255 - _BLANK:
            canvas = _block_means(upright, height // SIDE)
            extent = _extent(canvas)
            if extent == 0 or extent >= _CANVAS_LEAST:
                return canvas.reshape(PIXELS)
    ink = _ink(picture, polarity)
    if ink.max() < _BLANK:
        return np.full(PIXELS, 255, np.uint8)
    result, _ = normalise_batch(255 - _thickened(ink)[None], polarity="dark-on-light")
    return result.reshape(PIXELS)


def normalise(picture: ArrayLike, *, polarity: Polarity | None = None, name: str = "picture") -> NDArray[np.uint8]:
    """Cut out the drawing on a picture, scale its longer side to 20 pixels and centre it by mass in 28x28.

    The aspect ratio and the grey levels are kept. The result has its centre of mass within half a pixel of row and
    column 14 (counted from 0), where MNIST has it, unless the drawing would leave the frame. Applied to its own
    result the function changes nothing. Pictures of 28x28 give the same as in :func:`normalise_batch`, bit for bit;
    on larger ones uneven paper is evened and dust is left out.

    Parameters
    ----------
    picture : array_like of uint8, shape (h, w), (h, w, 3), (h, w, 4) or (784,)
        Grey, RGB or RGBA (transparent = paper), up to 4096x4096.
    polarity : {"auto", "dark-on-light", "light-on-dark"}, optional
        By default found from the border.
    name : str, optional
        What messages call the picture.

    Returns
    -------
    ndarray of uint8, shape (784,)
        255 = paper, 0 = ink.

    Raises
    ------
    DataError
        If nothing is drawn on it, or it is not an array as above.
    """
    grey = _as_grey(picture, polarity, name)
    if max(grey.shape) > _SMALL:
        grey, polarity = 255 - _ink(grey, polarity), "dark-on-light"
    result, blank = normalise_batch(grey[None], polarity=polarity)
    if blank[0]:
        raise DataError(f"{name}: nothing is drawn on it")
    return result.reshape(PIXELS)


def normalise_batch(
    images: NDArray[np.uint8], *, polarity: Polarity | None = None
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Normalise many drawings of one size as :func:`normalise` does it.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, 784) or (n, h, w)
        Grey.
    polarity : {"auto", "dark-on-light", "light-on-dark"}, optional
        By default found from the border of each.

    Returns
    -------
    images : ndarray of uint8, shape (n, 784)
        255 = paper. A blank 28x28 image is given back as it came; one of another size is all 255.
    blank : ndarray of bool, shape (n,)
        On which images nothing is drawn.

    Raises
    ------
    DataError
        If the images are not an array as above.
    """
    images = np.asarray(images)
    if images.dtype == np.uint8 and images.ndim == 2 and images.shape[1] == PIXELS:
        images = images.reshape(len(images), SIDE, SIDE)
    if images.dtype != np.uint8 or images.ndim != 3 or 0 in images.shape[1:]:
        raise DataError(
            f"images must be a uint8 array of shape (n, {PIXELS}) or (n, height, width), "
            f"not {images.dtype} of shape {images.shape}"
        )
    square = images.shape[1:] == (SIDE, SIDE)
    result = images.copy() if square else np.full((len(images), SIDE, SIDE), 255, np.uint8)
    blank = np.zeros(len(images), np.bool_)
    normalise_kernel(_arguments(np.ascontiguousarray(images), _sign(polarity), result, blank))
    return result.reshape(len(images), PIXELS), blank


def is_blank(image: NDArray[np.uint8]) -> bool:
    """Whether nothing is drawn on a 28x28 image of dark ink: of one grey level, say, though it be no white."""
    return bool(normalise_batch(image.reshape(1, PIXELS), polarity="dark-on-light")[1][0])


def _sign(polarity: str | None) -> int:
    if polarity is None:
        return 0
    if polarity not in _SIGNS:
        raise DataError(f"unknown polarity {polarity!r}; choose one of {', '.join(POLARITIES)}")
    return _SIGNS[polarity]


def _as_grey(picture: ArrayLike, polarity: Polarity | None, name: str) -> NDArray[np.uint8]:
    """Check a picture given as an array and return its grey levels, shape (h, w)."""
    array = np.asarray(picture)
    if array.shape == (PIXELS,):
        array = array.reshape(SIDE, SIDE)
    flat = array.ndim == 2
    if array.dtype != np.uint8 or not (flat or (array.ndim == 3 and array.shape[2] in (3, 4))):
        raise DataError(
            f"{name}: a picture must be a uint8 array of shape (h, w), (h, w, 3) or (h, w, 4), "
            f"not {array.dtype} of shape {array.shape}"
        )
    if not 1 <= min(array.shape[:2]) <= max(array.shape[:2]) <= MAX_SIDE:
        raise DataError(f"{name}: a picture has sides of 1 to {MAX_SIDE} pixels, not {array.shape[:2]}")
    if flat:
        return array
    from PIL import Image

    return _grey(Image.fromarray(np.ascontiguousarray(array)), polarity)


def _grey(image: Image.Image, polarity: Polarity | None) -> NDArray[np.uint8]:
    """Decode and return grey levels (luma of ITU-R 601-2), shape (h, w); where the picture is transparent, paper's."""
    from PIL import Image

    if image.mode.startswith(("I", "F")):
        deep: NDArray[Any] = np.clip(np.asarray(image), 0, 0xFFFF)
        return (deep.astype(np.uint16) >> 8).astype(np.uint8)
    if not image.has_transparency_data:
        # Pillow has no way from every mode to grey.
        direct = image.mode in ("1", "L", "P", "RGB")
        return np.asarray((image if direct else image.convert("RGB")).convert("L"))
    colour = image.convert("RGBA")
    alpha = colour.getchannel("A")
    # Blending reads the colour of a transparent pixel too; it must not matter.
    luma = colour.convert("RGB").convert("L")
    paper = _paper_behind(np.asarray(luma), np.asarray(alpha), polarity)
    sheet = Image.new("L", colour.size, paper)
    sheet.paste(luma, mask=alpha)
    return np.asarray(sheet)


def _paper_behind(luma: NDArray[np.uint8], alpha: NDArray[np.uint8], polarity: Polarity | None) -> int:
    """Return the grey level that transparent pixels stand for.

    White under dark ink and black under light ink; but where most of the border is opaque, as around the round
    corners of a screenshot, it is that of the border.
    """
    sign = _sign(polarity)
    if sign:
        return 255 if sign > 0 else 0
    edge, opaque = _border(luma), _border(alpha) >= 128
    if 2 * opaque.sum() > opaque.size:
        return int(np.median(edge[opaque]))
    solid = luma[alpha >= 128]
    return 255 if solid.size == 0 or solid.mean() < 128 else 0


def _border(picture: NDArray[Any]) -> NDArray[Any]:
    """Return the outermost pixels."""
    return np.concatenate([picture[0], picture[-1], picture[1:-1, 0], picture[1:-1, -1]])


def _paper(picture: NDArray[np.uint8], polarity: Polarity | None) -> tuple[bool, int]:
    """Return whether the paper is lighter than the ink, and its grey level."""
    sign = _sign(polarity)
    low, middle, high = np.percentile(_border(picture), (25, 50, 75), method="inverted_cdf")
    light = bool(middle >= 128) if sign == 0 else sign > 0
    return light, int(high if light else low)


def _block_means(picture: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Return the mean of each block of side x side pixels, rounded."""
    height, width = picture.shape
    sums = picture.reshape(height // side, side, width // side, side).sum(axis=(1, 3), dtype=np.int64)
    means: NDArray[np.int64] = (2 * sums + side * side) // (2 * side * side)
    return means.astype(np.uint8)


def _extent(image: NDArray[np.uint8]) -> int:
    """Return the longer side of the drawing on white paper in pixels, 0 if it is blank; as the kernel sees it."""
    ink = 255 - image.astype(np.int64)
    if ink.max() < _BLANK:
        return 0
    rows, columns = np.nonzero(8 * ink >= ink.max())
    return int(max(np.ptp(rows), np.ptp(columns))) + 1


def _ink(grey: NDArray[np.uint8], polarity: Polarity | None) -> NDArray[np.uint8]:
    """Return how much ink each pixel of a picture has, without dust; that of a photo is at most 1024 pixels large."""
    light, paper = _paper(grey, polarity)
    levels = np.arange(256) if light else 255 - np.arange(256)
    white = paper if light else 255 - paper
    edge = levels[_border(grey)]
    low, high = np.percentile(edge, (25, 75))
    if high - low > 2 and max(grey.shape) > _SMALL:
        return _without_dust(_ink_of_photo(levels.astype(np.uint8)[grey]))
    # The same arithmetic as in the kernel.
    depth = np.maximum(white - levels, 0)
    ink = ((depth * 255 + white // 2) // max(white, 1)).astype(np.uint8)[grey]
    return _without_dust(ink) if max(grey.shape) > _SMALL else np.asarray(ink)


def _ink_of_photo(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the ink of dark drawings on paper that is noisy and not evenly lit.

    The paper's brightness is taken to be a polynomial of second degree over the picture, fitted to the border and
    then to all that is near it. What is darker than three times the noise is ink; the core of it becomes black.
    """
    from PIL import Image, ImageFilter

    image = Image.fromarray(grey)
    factor = -(-max(image.size) // _PHOTO_SIDE)
    if factor > 1:
        image = image.reduce(factor)
    seen = np.asarray(image, dtype=np.float32)
    depth = _fit_paper(image) - seen
    noise = 1.4826 * float(np.median(np.abs(_border(depth))))
    floor = 3.0 * noise
    core = _core_depth(depth[depth > floor])
    if core < max(2.0 * floor, 2.0 * _BLANK):
        return np.zeros_like(seen, dtype=np.uint8)
    levels: NDArray[np.float32] = np.clip((depth - floor) * (255.0 / (core - floor)), 0.0, 255.0)
    ink = levels.astype(np.uint8)
    if min(ink.shape) < 200:
        return ink
    return np.asarray(Image.fromarray(ink).filter(ImageFilter.MedianFilter(3)))


def _fit_paper(image: Image.Image) -> NDArray[np.float32]:
    """Return the paper's brightness at each pixel of a photo, shape (h, w)."""
    from PIL import Image

    small = image.resize((min(64, image.width), min(64, image.height)), Image.Resampling.BOX)
    cells = np.asarray(small, dtype=np.float64)
    terms = _quadratic_terms(*cells.shape)
    near = np.ones(cells.shape, np.bool_)
    near[1:-1, 1:-1] = False
    for _ in range(8):
        factors, *_ = np.linalg.lstsq(terms[near], cells[near], rcond=None)
        away = np.abs(cells - terms @ factors)
        near = away <= max(2.5 * 1.4826 * float(np.median(away[near])), 3.0)
    terms = _quadratic_terms(image.height, image.width)
    return np.asarray(terms.astype(np.float32) @ factors.astype(np.float32), dtype=np.float32)


def _quadratic_terms(height: int, width: int) -> NDArray[np.float64]:
    """Return 1, x, y, x², xy, y² at the pixels' centres, x and y from -1 to 1; shape (h, w, 6)."""
    y, x = np.meshgrid(
        (np.arange(height) + 0.5) * (2.0 / height) - 1.0, (np.arange(width) + 0.5) * (2.0 / width) - 1.0, indexing="ij"
    )
    return np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1)


def _core_depth(depth: NDArray[np.float32]) -> float:
    """Return the mean of the darker of two classes (Otsu 1979), 0 for no pixels."""
    if depth.size == 0:
        return 0.0
    counts = np.bincount(np.clip(depth, 0, 255).astype(np.int64), minlength=256).astype(np.float64)
    levels = np.arange(256)
    below, total = np.cumsum(counts), counts.sum()
    sum_below = np.cumsum(counts * levels)
    above = total - below
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sum_below / below - (sum_below[-1] - sum_below) / above) ** 2
    split = int(np.argmax(np.nan_to_num(between)))
    if above[split] == 0:
        return float(sum_below[-1] / total)
    return float((sum_below[-1] - sum_below[split]) / above[split])


def _thickened(ink: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Thicken lines that would all but vanish in 28x28; leave others as they are.

    The width of the lines is twice the drawing's area over the length of its outline. Where they are too thin the
    drawing is scaled to 160 pixels and each pixel takes the darkest ink within a disc.
    """
    from PIL import Image

    darkest = int(ink.max())
    rows, columns = (np.flatnonzero((8 * ink.max(axis=axis).astype(np.int64)) >= darkest) for axis in (1, 0))
    drawing = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    scale = _PEN_SIDE / max(drawing.shape)
    size = tuple(max(1, round(side * scale)) for side in drawing.shape)
    method = Image.Resampling.BOX if scale < 1.0 else Image.Resampling.BICUBIC
    scaled = np.asarray(Image.fromarray(drawing).resize(size[::-1], method))
    # A line thinner than a pixel has paled.
    levels: NDArray[np.float64] = np.minimum(scaled * (darkest / max(int(scaled.max()), 1)), darkest)
    inked = np.pad(levels >= 0.5 * darkest, 1)
    edges = np.count_nonzero(inked[1:] != inked[:-1]) + np.count_nonzero(inked[:, 1:] != inked[:, :-1])
    # Edges counted along rows and columns are longer than the outline, by 4 / pi for an outline of any direction.
    width = 2.0 * np.count_nonzero(inked) / max(edges * np.pi / 4.0, 1.0) * (20 / _PEN_SIDE)
    if width >= _PEN_LEAST:
        return ink
    return _dilated(levels.astype(np.uint8), 0.5 * (_PEN_WANTED - width) * (_PEN_SIDE / 20))


def _dilated(ink: NDArray[np.uint8], radius: float) -> NDArray[np.uint8]:
    """Return the darkest ink within `radius` of each pixel, on a picture that is larger by the radius on each side."""
    # A line of pixels grows by the whole pixels in the radius; the half makes that the nearest number of them.
    radius += 0.5
    reach = int(radius)
    height, width = ink.shape
    result = np.zeros((height + 2 * reach, width + 2 * reach), np.uint8)
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            if dy * dy + dx * dx <= radius * radius:
                part = result[reach + dy : reach + dy + height, reach + dx : reach + dx + width]
                np.maximum(part, ink, out=part)
    return result


def _without_dust(ink: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Take away what hangs together and has less than a hundredth of the ink of the largest such part.

    Parts are sought among at most 128x128 cells, so that the dots of one fast stroke hang together.
    """
    cell = -(-max(ink.shape) // 128)
    height, width = (-(-side // cell) for side in ink.shape)
    padded = np.pad(ink, ((0, height * cell - ink.shape[0]), (0, width * cell - ink.shape[1])))
    cells = padded.reshape(height, cell, width, cell)
    inked = cells.max(axis=(1, 3)).astype(np.int64) * 8 >= max(int(ink.max()), 1)
    mass = cells.sum(axis=(1, 3), dtype=np.int64)
    parts = _parts(inked)
    weights = [int(mass[tuple(np.transpose(part))].sum()) for part in parts]
    dust = [part for part, weight in zip(parts, weights, strict=True) if 100 * weight < max(weights)]
    if not dust:
        return ink
    gone = np.zeros((height, width), np.bool_)
    for part in dust:
        gone[tuple(np.transpose(part))] = True
    covered = gone.repeat(cell, axis=0).repeat(cell, axis=1)[: ink.shape[0], : ink.shape[1]]
    return np.where(covered, np.uint8(0), ink)


def _parts(inked: NDArray[np.bool_]) -> list[list[tuple[int, int]]]:
    """Return the cells of each part that hangs together, corners included."""
    left = set(zip(*(axis.tolist() for axis in np.nonzero(inked)), strict=True))
    parts = []
    while left:
        part = [left.pop()]
        for y, x in part:
            around = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= around
            part.extend(around)
        parts.append(part)
    return parts
