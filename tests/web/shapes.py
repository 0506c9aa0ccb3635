"""Circles, squares and stars: classes that are no digits, as images and as strokes on a page."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from fastnn.datasets import Dataset

if TYPE_CHECKING:
    from collections.abc import Iterable

SHAPES = ("circle", "square", "star")

Stroke = list[tuple[float, float]]


def outline(name: str, size: float = 85.0, turn: float = 0.0, wide: float = 1.0) -> Stroke:
    """Return the outline of a shape in the middle of the canvas of 280 by 280, as one stroke.

    `size` is half its height, `turn` an angle in radians, `wide` its width divided by its height.
    """
    corners: list[tuple[float, float]] = {
        "circle": [(math.cos(k * math.tau / 24), math.sin(k * math.tau / 24)) for k in range(25)],
        "square": [(-1, -1), (1, -1), (1, 1), (-1, 1), (-1, -1)],
        "star": [(math.sin(k * math.tau * 2 / 5), -math.cos(k * math.tau * 2 / 5)) for k in range(6)],
    }[name]
    sine, cosine = math.sin(turn), math.cos(turn)
    return [(140 + size * wide * (x * cosine - y * sine), 140 + size * (x * sine + y * cosine)) for x, y in corners]


def paint(strokes: Iterable[Stroke]) -> bytes:
    """Return the 784 pixels of a drawing as the page sends it: 255 = white."""
    paper = Image.new("L", (280, 280), 255)
    pen = ImageDraw.Draw(paper)
    for stroke in strokes:
        pen.line(stroke, fill=0, width=30, joint="curve")
        for x, y in stroke:
            pen.ellipse((x - 15, y - 15, x + 15, y + 15), fill=0)
    return paper.resize((28, 28), Image.Resampling.BOX).tobytes()


def shapes(n: int, seed: int = 0) -> Dataset:
    """Return drawings of shapes in turn, each of another size, angle and form."""
    random = np.random.default_rng(seed)
    pixels = b"".join(
        paint([outline(SHAPES[k % 3], random.uniform(75, 95), random.uniform(-0.2, 0.2), random.uniform(0.85, 1.15))])
        for k in range(n)
    )
    labels = np.arange(n, dtype=np.int64) % 3
    return Dataset(np.frombuffer(pixels, np.uint8).reshape(n, 784), labels, SHAPES, "shapes")
