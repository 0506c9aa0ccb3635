"""Which columns of a text table are the pixels of images: what is found by names or by values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastnn.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SMALLEST_SIDE, LARGEST_SIDE = 8, 128
"""Width and height of images in pixels."""
MOST_OTHERS = 128
"""Most columns beside the pixels."""
MOST_ENDS = 3
"""Most columns beside the pixels in a table without names, unless ten or more are one-hot labels."""
INDEX_OF_PANDAS = ("", "unnamed: 0")
"""Names of the column that numbers the rows."""
AS_NUMBERS = "the columns are read as numbers, not as pixels of images"


@dataclass(frozen=True, eq=False)
class PixelLayout:
    """Which columns of a table are the pixels of square images.

    Attributes
    ----------
    order : ndarray of int64, shape (side * side,)
        The position of the column of each pixel, row by row.
    side : int
        Width and height of the images in pixels.
    names : tuple of str
        Of all columns; their positions if they have none.
    is_header : bool
        Whether the first row holds the names.
    label : tuple of int or None
        Position of the label, or positions of a one-hot label; empty if there is none. None if names and values of the
        other columns decide.
    notes : tuple of str
        How this was found.
    first_row : bytes or None
        The first row of values, if the row of names holds it.
    """

    order: NDArray[np.int64]
    side: int
    names: tuple[str, ...]
    is_header: bool
    label: tuple[int, ...] | None = None
    notes: tuple[str, ...] = ()
    first_row: bytes | None = None

    @property
    def others(self) -> tuple[int, ...]:
        """Positions of the columns that are not pixels."""
        return tuple(sorted(set(range(len(self.names))) - set(self.order.tolist())))


def no_labels(source: str, why: str) -> DataError:
    """Return the error that a table of pixels has no column of labels."""
    return DataError(
        f"{source}: has no labels: {why}; it cannot train or test a network, but `fastnn predict MODEL {source}` "
        "classifies its rows"
    )
