"""How much ink each pixel of a picture has: from scans, photos with uneven light, and drawings with thin lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastnn.datasets.polarity import Polarity, polarity_sign
from fastnn.images.read import border

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

LEAST_INK = 16
"""A picture whose ink levels all lie below this is blank (`LEAST` of the kernel)."""
CLEAN_UP_TO = 64
"""Pictures with sides up to this many pixels are not searched for dust or uneven light."""

_PHOTO_SIDE = 1024
_PEN_LEAST, _PEN_WANTED = 2.4, 3.0
"""Lines thinner than the first number, in pixels of a drawing 20 high, are thickened to the second: the median width of
what is drawn on the original's page, where 95 of 100 drawings have 2.3 or more. The original's published network, which
learned from those, classified 2 % of 300 digits written with a thin pen correctly as they were, and 78 % thickened."""
_PEN_SIDE = 160


def paper_level(picture: NDArray[np.uint8], polarity: Polarity | None) -> tuple[bool, int]:
    """Return whether the paper is lighter than the ink, and the grey level of the paper."""
    sign = polarity_sign(polarity)
    low, middle, high = np.percentile(border(picture), (25, 50, 75), method="inverted_cdf")
    light = bool(middle >= 128) if sign == 0 else sign > 0
    return light, int(high if light else low)


def ink_levels(grey: NDArray[np.uint8], polarity: Polarity | None) -> NDArray[np.uint8]:
    """Return how much ink each pixel of a picture has, 0 to 255, without dust.

    Parameters
    ----------
    grey : ndarray of uint8, shape (h, w)
    polarity : {"auto", "dark-on-light", "light-on-dark"} or None

    Returns
    -------
    ndarray of uint8, shape (h, w)
        A photo, whose paper is not evenly lit, is first reduced to 1024 pixels on its longer side.
    """
    light, paper = paper_level(grey, polarity)
    levels = np.arange(256) if light else 255 - np.arange(256)
    white = paper if light else 255 - paper
    edge = levels[border(grey)]
    low, high = np.percentile(edge, (25, 75))
    if high - low > 2 and max(grey.shape) > CLEAN_UP_TO:
        return _without_dust(_ink_of_photo(levels.astype(np.uint8)[grey]))
    # The same arithmetic as in the kernel.
    depth = np.maximum(white - levels, 0)
    ink = ((depth * 255 + white // 2) // max(white, 1)).astype(np.uint8)[grey]
    return _without_dust(ink) if max(grey.shape) > CLEAN_UP_TO else np.asarray(ink)


def _ink_of_photo(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the ink levels of a dark drawing on noisy, unevenly lit paper.

    The paper's brightness is modelled as a polynomial of second degree over the picture, fitted to the border and then
    to everything close to the fit. What is darker than the paper by more than three times the noise is ink; the core of
    the strokes becomes black.
    """
    from PIL import Image, ImageFilter

    image = Image.fromarray(grey)
    factor = -(-max(image.size) // _PHOTO_SIDE)
    if factor > 1:
        image = image.reduce(factor)
    seen = np.asarray(image, dtype=np.float32)
    depth = _fit_paper(image) - seen
    noise = 1.4826 * float(np.median(np.abs(border(depth))))
    floor = 3.0 * noise
    core = _core_depth(depth[depth > floor])
    if core < max(2.0 * floor, 2.0 * LEAST_INK):
        return np.zeros_like(seen, dtype=np.uint8)
    levels: NDArray[np.float32] = np.clip((depth - floor) * (255.0 / (core - floor)), 0.0, 255.0)
    ink = levels.astype(np.uint8)
    if min(ink.shape) < 200:
        return ink
    return np.asarray(Image.fromarray(ink).filter(ImageFilter.MedianFilter(3)))


def _fit_paper(image: Image.Image) -> NDArray[np.float32]:
    """Return the fitted brightness of the paper at each pixel of a photo, shape (h, w)."""
    from PIL import Image

    small = image.resize((min(64, image.width), min(64, image.height)), Image.Resampling.BOX)
    cells = np.asarray(small, dtype=np.float64)
    terms = _quadratic_terms(*cells.shape)
    near = np.ones(cells.shape, np.bool_)
    near[1:-1, 1:-1] = False
    for _ in range(8):
        factors, *_ = np.linalg.lstsq(terms[near], cells[near], rcond=None)
        residuals = np.abs(cells - terms @ factors)
        near = residuals <= max(2.5 * 1.4826 * float(np.median(residuals[near])), 3.0)
    terms = _quadratic_terms(image.height, image.width)
    return np.asarray(terms.astype(np.float32) @ factors.astype(np.float32), dtype=np.float32)


def _quadratic_terms(height: int, width: int) -> NDArray[np.float64]:
    """Return 1, x, y, x², xy, y² at the centres of the pixels, x and y from -1 to 1; shape (h, w, 6)."""
    y, x = np.meshgrid(
        (np.arange(height) + 0.5) * (2.0 / height) - 1.0, (np.arange(width) + 0.5) * (2.0 / width) - 1.0, indexing="ij"
    )
    return np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1)


def _core_depth(depth: NDArray[np.float32]) -> float:
    """Return the mean of the darker of two classes (Otsu 1979); 0 if there are no pixels."""
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


def thicken_thin_lines(ink: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Thicken lines that would almost vanish in 28x28; return other drawings unchanged.

    The line width is estimated as twice the area of the drawing divided by the length of its outline. If it is too
    small, the drawing is scaled to 160 pixels and each pixel takes the darkest ink within a disc.

    Parameters
    ----------
    ink : ndarray of uint8, shape (h, w)
        Ink levels, not all zero.

    Returns
    -------
    ndarray of uint8
        Shape (h, w) if unchanged; otherwise cropped to the drawing and scaled.
    """
    from PIL import Image

    darkest = int(ink.max())
    rows, columns = (np.flatnonzero((8 * ink.max(axis=axis).astype(np.int64)) >= darkest) for axis in (1, 0))
    drawing = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    scale = _PEN_SIDE / max(drawing.shape)
    size = tuple(max(1, round(side * scale)) for side in drawing.shape)
    method = Image.Resampling.BOX if scale < 1.0 else Image.Resampling.BICUBIC
    scaled = np.asarray(Image.fromarray(drawing).resize(size[::-1], method))
    # Scaling makes a line thinner than a pixel paler; restore its darkest level.
    levels: NDArray[np.float64] = np.minimum(scaled * (darkest / max(int(scaled.max()), 1)), darkest)
    inked = np.pad(levels >= 0.5 * darkest, 1)
    edges = np.count_nonzero(inked[1:] != inked[:-1]) + np.count_nonzero(inked[:, 1:] != inked[:, :-1])
    # Edges counted along rows and columns are longer than the outline, by 4 / pi if it has no preferred direction.
    width = 2.0 * np.count_nonzero(inked) / max(edges * np.pi / 4.0, 1.0) * (20 / _PEN_SIDE)
    if width >= _PEN_LEAST:
        return ink
    return _dilated(levels.astype(np.uint8), 0.5 * (_PEN_WANTED - width) * (_PEN_SIDE / 20))


def _dilated(ink: NDArray[np.uint8], radius: float) -> NDArray[np.uint8]:
    """Return the darkest ink within `radius` of each pixel; the result is larger by the radius on each side."""
    # A line grows by whole pixels only; adding a half rounds the radius to the nearest.
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
    """Erase connected components that have less than a hundredth of the ink of the largest one.

    Components are found on a grid of at most 128x128 cells, so that the dots of one fast stroke count as connected.
    """
    cell = -(-max(ink.shape) // 128)
    height, width = (-(-side // cell) for side in ink.shape)
    padded = np.pad(ink, ((0, height * cell - ink.shape[0]), (0, width * cell - ink.shape[1])))
    cells = padded.reshape(height, cell, width, cell)
    inked = cells.max(axis=(1, 3)).astype(np.int64) * 8 >= max(int(ink.max()), 1)
    mass = cells.sum(axis=(1, 3), dtype=np.int64)
    components = _components(inked)
    weights = [int(mass[tuple(np.transpose(component))].sum()) for component in components]
    dust = [part for part, weight in zip(components, weights, strict=True) if 100 * weight < max(weights)]
    if not dust:
        return ink
    erased = np.zeros((height, width), np.bool_)
    for component in dust:
        erased[tuple(np.transpose(component))] = True
    mask = erased.repeat(cell, axis=0).repeat(cell, axis=1)[: ink.shape[0], : ink.shape[1]]
    return np.where(mask, np.uint8(0), ink)


def _components(inked: NDArray[np.bool_]) -> list[list[tuple[int, int]]]:
    """Return the cells (row, column) of each connected component; cells that share a corner are connected."""
    left = set(zip(*(axis.tolist() for axis in np.nonzero(inked)), strict=True))
    components = []
    while left:
        component = [left.pop()]
        for y, x in component:
            around = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= around
            component.extend(around)
        components.append(component)
    return components
