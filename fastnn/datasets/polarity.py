"""Which of ink and paper is the darker one in images, and images with dark ink on light paper made of both kinds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from fastnn.datasets.mapped import ROWS_AT_ONCE, changed, row_parts
from fastnn.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

Polarity: TypeAlias = Literal["auto", "dark-on-light", "light-on-dark"]
"""Whether the ink is darker or lighter than the paper; "auto" decides by the images."""
POLARITIES: tuple[Polarity, ...] = ("auto", "dark-on-light", "light-on-dark")
StoredPolarity: TypeAlias = Literal["dark-on-light", "light-on-dark", "mixed"]
"""How a source stores its images."""

_SIGNS = {"auto": 0, "dark-on-light": 1, "light-on-dark": -1}
OF_SIGN: dict[int, Polarity] = {0: "auto", 1: "dark-on-light", -1: "light-on-dark"}
"""The polarity for each result of :func:`polarity_sign`."""
_CLEAR = 0.85
"""An image whose border is light, or dark, in this share of its pixels tells how it is stored."""
_MIXED = 0.05
"""A set is mixed if this share of the images that tell differ from the others."""
_MIXED_NOTE = (
    "{:,} of {:,} images have light ink on dark paper and were inverted; --polarity reads all of them in one way"
)
_SHOWN = 3


def polarity_sign(polarity: str | None) -> int:
    """Return 1 for dark ink, -1 for light ink, 0 if the images decide.

    Raises
    ------
    DataError
        If `polarity` is not one of :data:`POLARITIES` or None.
    """
    if polarity is None:
        return 0
    if not isinstance(polarity, str) or polarity not in _SIGNS:
        raise DataError(f"unknown polarity {polarity!r}; choose one of {', '.join(POLARITIES)}")
    return _SIGNS[polarity]


@dataclass(frozen=True, eq=False)
class DarkOnLight:
    """Images with dark ink on light paper.

    Attributes
    ----------
    images : ndarray of uint8, shape (n, 784)
        255 = paper.
    polarity : {"dark-on-light", "light-on-dark", "mixed"}
        How they were stored; of "mixed" some.
    n_inverted : int
        How many were inverted.
    note : str or None
        What the user should know about how the images were read.
    unlike : tuple of int
        Positions of the few images that look as if they were stored the other way, but were read like the others.
    """

    images: NDArray[np.uint8]
    polarity: StoredPolarity
    n_inverted: int
    note: str | None = None
    unlike: tuple[int, ...] = ()

    def notes(self, names: Mapping[int, str] | None = None) -> tuple[str, ...]:
        """Return what the user should know, with the names of the images in `unlike`, by default their numbers."""
        if not self.unlike:
            return (self.note,) if self.note else ()
        shown = [str(k) if names is None else names[k] for k in self.unlike[:_SHOWN]]
        more = f" and {len(self.unlike) - _SHOWN:,} more" if len(self.unlike) > _SHOWN else ""
        which = f"{', '.join(shown)}{more}{', counted from 0' if names is None else ''}"
        n = len(self.unlike)
        looks, were, they = ("looks", "was", "it is") if n == 1 else ("look", "were", "they are")
        note = (
            f"{n:,} of {len(self.images):,} images {looks} inverted compared with the others ({which}), but {were} "
            f"read like them, since {they} so few; invert {'it' if n == 1 else 'them'} in the source, or give "
            f"--polarity {self.polarity} if {they} right"
        )
        return (self.note, note) if self.note else (note,)


def dark_on_light(
    images: NDArray[np.uint8], polarity: Polarity = "auto", *, usual: StoredPolarity | None = None
) -> DarkOnLight:
    """Return images with dark ink on light paper, whatever they were stored as.

    The border of an image is mostly paper. If less than 5 % of the images whose border is clearly light or dark differ
    from the others, the majority decides for all, and they are counted; else each image is decided by itself.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, 784)
        As stored.
    polarity : {"auto", "dark-on-light", "light-on-dark"}
        How they are stored, if it is known.
    usual : {"dark-on-light", "light-on-dark"}, optional
        How the format stores images by its definition: for images that do not tell, and not worth a note.

    Returns
    -------
    DarkOnLight
        Its images are the same array if none was inverted.
    """
    if polarity_sign(polarity):
        return _inverted(images, is_dark=polarity == "light-on-dark")
    light = _light_share_of_border(images)
    clear_dark, clear_light = light <= 1 - _CLEAR, light >= _CLEAR
    n_dark, n_light = int(clear_dark.sum()), int(clear_light.sum())
    if min(n_dark, n_light) >= _MIXED * max(n_dark + n_light, 1) and n_dark and n_light:
        dark = clear_dark | (~clear_light & paper_is_dark(images))
        n = int(dark.sum())
        mixed = changed(images, lambda rows, positions: np.where(dark[positions][:, None], ~rows, rows))
        return DarkOnLight(mixed, "mixed", n, _MIXED_NOTE.format(n, len(images)))
    is_dark = n_dark > n_light if n_dark != n_light else usual == "light-on-dark"
    found = _inverted(images, is_dark=is_dark)
    note: str | None = None
    if found.polarity == "light-on-dark" != usual:
        note = "the images have light ink on dark paper (0 = paper) and were inverted; --polarity decides otherwise"
    elif found.polarity == "dark-on-light" and usual == "light-on-dark":
        note = "the images have dark ink on light paper (255 = paper), unlike other files of this format"
    return replace(
        found, note=note, unlike=tuple(_unlike(images, clear_light if is_dark else clear_dark, is_dark=is_dark))
    )


def _unlike(images: NDArray[np.uint8], border_differs: NDArray[np.bool_], *, is_dark: bool) -> list[int]:
    """Return the images that differ from the others not in their border alone: a large 0 may run along it."""
    found = np.flatnonzero(border_differs)
    parts = [(images[found[k : k + ROWS_AT_ONCE]] >= 128).mean(axis=1) for k in range(0, len(found), ROWS_AT_ONCE)]
    light = np.concatenate([np.zeros(0), *parts])
    return [int(k) for k in found[light > 0.5 if is_dark else light < 0.5]]


def _inverted(images: NDArray[np.uint8], *, is_dark: bool) -> DarkOnLight:
    """Return images inverted if their paper is dark."""
    # ~x is 255 - x.
    if not is_dark:
        return DarkOnLight(images, "dark-on-light", 0)
    return DarkOnLight(changed(images, lambda rows, _: ~rows), "light-on-dark", len(images))


def paper_is_dark(images: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return for each image whether its paper is dark, by its border and by all of its pixels.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, 784)

    Returns
    -------
    ndarray of bool, shape (n,)
    """
    light = np.concatenate([np.zeros(0), *((part >= 128).mean(axis=1) for part in row_parts(images))])
    return np.asarray(_light_share_of_border(images) + light < 1.0)


def _light_share_of_border(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the share of the outermost pixels of each image that are light, shape (n,)."""
    side, shares = round(images.shape[1] ** 0.5), [np.zeros(0)]
    for part in row_parts(images):
        square = part.reshape(-1, side, side)
        edges = (square[:, 0], square[:, -1], square[:, 1:-1, 0], square[:, 1:-1, -1])
        n_light = sum(np.count_nonzero(edge >= 128, axis=1) for edge in edges)
        shares.append(np.asarray(n_light / (4.0 * side - 4.0)))
    return np.concatenate(shares)
