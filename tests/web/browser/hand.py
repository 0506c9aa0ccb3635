"""Draws digits on a page with the mouse or a finger, the way people write them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from playwright.sync_api import Page

HEIGHT = 165.0
"""Height of a digit on the canvas of 280 by 280."""

# How people write the digits 0 to 9, as points "x,y" in hundredths of the height; "|" separates strokes, and "!" marks
# a corner.
SKELETONS = (
    "38,0 12,14 0,50 12,86 37,100 64,86 74,50 63,14 36,0",
    "4,0 4,100",
    "4,24 16,5 38,0 58,12 60,32 42,58 4,97! 38,96 74,95",
    "4,14 26,0 50,6 56,24 42,42 24,47! 46,50 62,68 54,90 28,100 0,91",
    "24,0 12,26 0,52! 36,54 76,51 | 54,20 53,60 51,100",
    "14,3 12,24 10,44! 32,37 54,44 62,66 50,90 24,100 0,92 | 14,3 40,2 68,0",
    "42,0 20,22 5,54 4,84 22,100 46,94 54,74 40,58 20,64 6,84",
    "0,4 32,3 62,1! 46,34 32,66 24,100",
    "52,10 30,0 10,10 11,30 34,46 54,64 54,88 30,100 6,90 6,68 30,48 50,30 54,8",
    "52,8 30,0 8,10 6,34 26,46 46,34 54,10! 56,50 48,84 26,100 0,92",
)


def strokes(digit: int, steps: int = 1) -> list[list[tuple[float, float]]]:
    """Return the strokes of a digit in the middle of the canvas of 280 by 280.

    `steps` is the number of points drawn for each point of the skeleton.
    """
    curves = [
        np.concatenate([_smooth(_points(part), steps) for part in _split_at_corners(stroke.split())])
        for stroke in SKELETONS[digit].split("|")
    ]
    every = np.concatenate(curves)
    middle = 0.5 * (every.min(axis=0) + every.max(axis=0))
    scaled = [140.0 + HEIGHT / 100 * (curve - middle) for curve in curves]
    return [[(float(x), float(y)) for x, y in curve] for curve in scaled]


def _split_at_corners(points: list[str]) -> list[list[str]]:
    """Return the smooth parts of a stroke; a corner ends one part and begins the next."""
    parts: list[list[str]] = [[]]
    for point in points:
        parts[-1].append(point.rstrip("!"))
        if point.endswith("!"):
            parts.append([point.rstrip("!")])
    return parts


def _points(part: list[str]) -> NDArray[np.float64]:
    return np.array([[float(value) for value in point.split(",")] for point in part])


def _smooth(points: NDArray[np.float64], steps: int) -> NDArray[np.float64]:
    """Return points on the Catmull-Rom spline through `points`."""
    padded = np.concatenate([points[:1], points, points[-1:]])
    slopes = 0.5 * (padded[2:] - padded[:-2])
    curve = [points[:1]]
    for position in range(len(points) - 1):
        t = (np.arange(1, steps + 1) / steps)[:, None]
        start, end = points[position], points[position + 1]
        curve.append(
            (2 * t**3 - 3 * t**2 + 1) * start
            + (t**3 - 2 * t**2 + t) * slopes[position]
            + (3 * t**2 - 2 * t**3) * end
            + (t**3 - t**2) * slopes[position + 1]
        )
    return np.concatenate(curve)


def draw(page: Page, digit: int, steps: int = 1) -> None:
    """Draw a digit with the mouse."""
    for stroke in strokes(digit, steps):
        line(page, stroke)


def line(page: Page, points: list[tuple[float, float]]) -> None:
    """Draw one stroke with the mouse through points on the canvas of 280 by 280."""
    first, *rest = placed(page, points)
    page.mouse.move(*first)
    page.mouse.down()
    for point in rest:
        page.mouse.move(*point)
    page.mouse.up()


def touch(page: Page, digit: int, steps: int = 1) -> None:
    """Draw a digit with a finger."""
    touch_lines(page, strokes(digit, steps))


def flick(page: Page) -> None:
    """Draw a 1 with a finger as quickly as possible."""
    touch_lines(page, [[(140.0, 60.0 + 20 * k) for k in range(9)]])


def touch_lines(page: Page, lines: list[list[tuple[float, float]]]) -> None:
    """Draw strokes with a finger, through points on the canvas of 280 by 280."""
    session = page.context.new_cdp_session(page)

    def send(kind: str, *points: tuple[float, float]) -> None:
        touches: list[dict[str, Any]] = [{"x": x, "y": y} for x, y in points]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touches})

    for stroke in lines:
        first, *rest = placed(page, stroke)
        send("touchStart", first)
        for point in rest:
            send("touchMove", point)
        send("touchEnd")
    session.detach()


def placed(page: Page, points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Scroll the canvas into view, and return the positions on the page of points on the canvas of 280 by 280."""
    pad = page.locator("#pad")
    pad.scroll_into_view_if_needed()
    box = pad.bounding_box()
    assert box is not None
    return [(box["x"] + x * box["width"] / 280, box["y"] + y * box["height"] / 280) for x, y in points]


def trace(image: NDArray[np.uint8], size: float = 1.0) -> list[list[tuple[float, float]]]:
    """Return strokes, on the canvas of 280 by 280, that draw a digit of 28 by 28 pixels again.

    The pen follows the digit's skeleton and goes back the same way where a branch ends. `size` scales the digit about
    the middle of the canvas.
    """
    pixels = {(int(y), int(x)) for y, x in zip(*np.nonzero(_thinned(image.reshape(28, 28) < 128)), strict=True)}
    edges = {pixel: {(pixel[0] + dy, pixel[1] + dx) for dy, dx in _CLOCKWISE} & pixels for pixel in pixels}
    strokes = []
    for start in sorted(pixels):
        path = [start]
        branch = [start]
        while branch:
            here = branch[-1]
            if edges[here]:
                there = edges[here].pop()
                edges[there].discard(here)
                branch.append(there)
            else:
                branch.pop()
            path += branch[-1:]
        if len(path) > 1 or not any((start[0] + dy, start[1] + dx) in pixels for dy, dx in _CLOCKWISE):
            strokes.append([(140 + size * (10 * x - 135), 140 + size * (10 * y - 135)) for y, x in path])
    return strokes


# Neighbours of a pixel, clockwise from above.
_CLOCKWISE = ((-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1))


def _thinned(ink: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the skeleton of a shape (Zhang and Suen 1984)."""
    ink = np.pad(ink, 1)
    changed = True
    while changed:
        changed = False
        for step in (0, 1):
            n = [np.roll(ink, (-dy, -dx), (0, 1)) for dy, dx in _CLOCKWISE]
            number = sum(part.astype(int) for part in n)
            turns = sum((~a & b).astype(int) for a, b in zip(n, [*n[1:], n[0]], strict=True))
            first, second = ((0, 2, 4), (2, 4, 6)) if step == 0 else ((0, 2, 6), (0, 4, 6))
            gone = ink & (number >= 2) & (number <= 6) & (turns == 1)
            for three in (first, second):
                gone &= ~(n[three[0]] & n[three[1]] & n[three[2]])
            changed |= bool(gone.any())
            ink = ink & ~gone
    return ink[1:-1, 1:-1]
