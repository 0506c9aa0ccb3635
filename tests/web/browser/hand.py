"""A hand that draws digits on the page, the way people write them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn.datasets import drawn

if TYPE_CHECKING:
    from playwright.sync_api import Page

HEIGHT = 165.0
"""Of a digit on the canvas of 280 points."""


def strokes(digit: int, every: int = 4) -> list[list[tuple[float, float]]]:
    """Return the strokes of a digit in its most usual style, as points on the canvas of 280.

    Of the path's points, one in `every` does for a network, as the page joins them.
    """
    style = next(number for number, (shown, _, _) in enumerate(drawn._STYLES) if shown == digit)
    skeleton = drawn._skeleton(style)
    path = HEIGHT * (skeleton.round @ skeleton.points)
    path += 140.0 - 0.5 * (path.min(axis=0) + path.max(axis=0))
    parts = np.split(path, skeleton.starts[1:-1])
    return [[(float(x), float(y)) for x, y in [*part[:-1:every], part[-1]]] for part in parts]


def draw(page: Page, digit: int, every: int = 4) -> None:
    """Draw a digit with the mouse."""
    for stroke in strokes(digit, every):
        line(page, stroke)


def line(page: Page, points: list[tuple[float, float]]) -> None:
    """Draw one stroke with the mouse, through points on the canvas of 280."""
    first, *rest = placed(page, points)
    page.mouse.move(*first)
    page.mouse.down()
    for point in rest:
        page.mouse.move(*point)
    page.mouse.up()


def touch(page: Page, digit: int, every: int = 4) -> None:
    """Draw a digit with a finger."""
    session = page.context.new_cdp_session(page)

    def send(kind: str, *points: tuple[float, float]) -> None:
        touches: list[dict[str, Any]] = [{"x": x, "y": y} for x, y in points]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touches})

    for stroke in strokes(digit, every):
        first, *rest = placed(page, stroke)
        send("touchStart", first)
        for point in rest:
            send("touchMove", point)
        send("touchEnd")
    session.detach()


def placed(page: Page, points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return where points of the canvas of 280 are on the page; the canvas is scrolled into sight."""
    pad = page.locator("#pad")
    pad.scroll_into_view_if_needed()
    box = pad.bounding_box()
    assert box is not None
    return [(box["x"] + x * box["width"] / 280, box["y"] + y * box["height"] / 280) for x, y in points]
