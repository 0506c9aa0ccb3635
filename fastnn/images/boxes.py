"""Rectangles on a picture, and parts of what is drawn on it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Box:
    """A rectangle of pixels: from `left` and `top` up to `right` and `bottom`, which are not in it."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        """Number of columns."""
        return self.right - self.left

    @property
    def height(self) -> int:
        """Number of rows."""
        return self.bottom - self.top

    def joined(self, other: Box) -> Box:
        """Return the smallest box that holds both."""
        return Box(
            min(self.left, other.left),
            min(self.top, other.top),
            max(self.right, other.right),
            max(self.bottom, other.bottom),
        )

    def gap(self, other: Box) -> int:
        """Return the larger of the distances between the boxes along rows and columns; negative if they overlap."""
        across = max(self.left, other.left) - min(self.right, other.right)
        down = max(self.top, other.top) - min(self.bottom, other.bottom)
        return max(across, down)


@dataclass(frozen=True, eq=False)
class Part:
    """Connected parts of a drawing.

    Attributes
    ----------
    box : Box
    mass : float
        Sum of their ink.
    labels : tuple of int
        Their numbers in the map of :func:`fastnn.images.parts.labelled`.
    """

    box: Box
    mass: float
    labels: tuple[int, ...]

    def joined(self, other: Part) -> Part:
        """Return the part that consists of both."""
        return Part(self.box.joined(other.box), self.mass + other.mass, self.labels + other.labels)
