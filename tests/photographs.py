"""Simulated pictures of digits that people take: photos of paper in many conditions, and canvases of any size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Pixels: TypeAlias = NDArray[np.uint8]
    Floats: TypeAlias = NDArray[np.float64]

WIDTH, HEIGHT, DIGIT = 675, 900, 315
"""Sides of a photo, and of the digit on it."""

_rows, _columns = np.mgrid[0:HEIGHT, 0:WIDTH]
_WHITE, _BLUE = (235, 232, 225), (35, 35, 45)

STROKES: dict[int, list[list[tuple[float, float]]]] = {
    0: [[(0.5, 0.15), (0.3, 0.3), (0.28, 0.6), (0.5, 0.85), (0.7, 0.6), (0.7, 0.3), (0.5, 0.15)]],
    1: [[(0.38, 0.3), (0.52, 0.15), (0.52, 0.85)]],
    2: [[(0.3, 0.3), (0.45, 0.15), (0.65, 0.2), (0.66, 0.4), (0.3, 0.82), (0.72, 0.82)]],
    3: [[(0.3, 0.2), (0.55, 0.15), (0.66, 0.3), (0.48, 0.47), (0.68, 0.62), (0.58, 0.82), (0.3, 0.8)]],
    4: [[(0.45, 0.15), (0.28, 0.6), (0.74, 0.6)], [(0.6, 0.35), (0.58, 0.88)]],
    # The hat is apart.
    5: [[(0.36, 0.2), (0.33, 0.45), (0.6, 0.45), (0.68, 0.65), (0.55, 0.84), (0.3, 0.8)], [(0.44, 0.14), (0.72, 0.12)]],
    6: [[(0.6, 0.14), (0.38, 0.4), (0.33, 0.68), (0.5, 0.85), (0.66, 0.7), (0.55, 0.53), (0.36, 0.62)]],
    7: [[(0.28, 0.18), (0.72, 0.18), (0.45, 0.86)]],
    8: [
        [(0.5, 0.48), (0.33, 0.32), (0.5, 0.15), (0.66, 0.32), (0.5, 0.48)],
        [(0.5, 0.48), (0.31, 0.68), (0.5, 0.86), (0.69, 0.68), (0.5, 0.48)],
    ],
    9: [[(0.66, 0.3), (0.5, 0.15), (0.35, 0.3), (0.5, 0.47), (0.66, 0.3), (0.62, 0.86)]],
}
"""Points of the strokes of each digit, in a square of side 1."""


def canvas(digit: int, side: int, pen: int, *, ink: int = 0, paper: int = 255) -> Pixels:
    """Return a square canvas with a digit drawn by a pen of this width in pixels."""
    image = Image.new("L", (side, side), paper)
    draw = ImageDraw.Draw(image)
    for stroke in STROKES[digit]:
        points = [(x * side, y * side) for x, y in stroke]
        draw.line(points, fill=ink, width=pen, joint="curve")
        for x, y in points:
            draw.ellipse([x - pen / 2, y - pen / 2, x + pen / 2, y + pen / 2], fill=ink)
    return np.asarray(image)


def crisp(image: Pixels, side: int = DIGIT) -> Floats:
    """Return the ink, 0 to 1, of a 28x28 image of dark ink, enlarged with crisp strokes."""
    large = Image.fromarray(255 - image.reshape(28, 28)).resize((side, side), Image.Resampling.BICUBIC)
    soft = np.asarray(large.filter(ImageFilter.GaussianBlur(side / 80)), dtype=np.float64) / 255
    return np.asarray(1 / (1 + np.exp(-(soft - 0.5) * 24)))


def _placed(ink: Floats, top: int | None = None, left: int | None = None) -> Floats:
    page = np.zeros((HEIGHT, WIDTH))
    y = (HEIGHT - ink.shape[0]) // 2 if top is None else top
    x = (WIDTH - ink.shape[1]) // 2 if left is None else left
    page[y : y + ink.shape[0], x : x + ink.shape[1]] = ink
    return page


def _with_bars(ink: Floats, *bars: tuple[int, int, int, int]) -> Floats:
    page = _placed(ink)
    for top, bottom, left, right in bars:
        page[top:bottom, left:right] = 1
    return page


def _light(strength: float = 0.35) -> Floats:
    return np.asarray(1 - strength * (_columns / WIDTH * 0.76 + _rows / HEIGHT * 0.64))


def _shadow() -> Floats:
    edge = _light(0.15) * np.where(_columns + 0.6 * _rows > 0.75 * WIDTH, 0.55, 1.0)
    soft = Image.fromarray((edge * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(9))
    return np.asarray(soft, dtype=np.float64) / 255


def _ruled(step: int = 45, colour: tuple[int, int, int] = (120, 150, 200), *, squared: bool = False) -> Floats:
    page = np.ones((HEIGHT, WIDTH, 3)) * np.array(_WHITE, dtype=np.float64)
    for k in range(22, HEIGHT, step):
        page[k : k + 2] = colour
    for k in range(22, WIDTH, step) if squared else ():
        page[:, k : k + 2] = colour
    return page


def _desk() -> Floats:
    page = np.ones((HEIGHT, WIDTH, 3)) * np.array(_WHITE, dtype=np.float64)
    page[:, :105] = page[:90] = (90, 60, 40)
    return page


def _text(ink: Floats) -> Floats:
    page = Image.fromarray((255 * _placed(ink)).astype(np.uint8))
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(size=33)
    draw.text((60, 45), "Name: Anna", fill=255, font=font)
    return np.asarray(page, dtype=np.float64) / 255


class Camera:
    """Takes photos; all noise comes from one seed."""

    def __init__(self, seed: int = 0) -> None:
        self._rng = np.random.default_rng(seed)

    def photo(
        self, ink: Floats, *, paper: Any = _WHITE, pen: Any = _BLUE, light: Floats | None = None, noise: float = 4.0
    ) -> Image.Image:
        """Return a photo of ink, 0 to 1, on paper: a colour or the colours of each pixel."""
        page = np.ones((HEIGHT, WIDTH, 3)) * np.asarray(paper, dtype=np.float64)
        page = page * (1 - ink[..., None]) + np.array(pen, dtype=np.float64) * ink[..., None]
        page = page * (_light() if light is None else light)[..., None] + self._rng.normal(0, noise, page.shape)
        return Image.fromarray(np.clip(page, 0, 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(1.2))

    @property
    def conditions(self) -> dict[str, Callable[[Floats], Image.Image]]:
        """For each condition a function of the digit's ink, 0 to 1, that takes the photo."""
        box = ((250, 256, 150, 525), (660, 666, 150, 525), (250, 666, 150, 156), (250, 666, 519, 525))
        return {
            "plain": lambda ink: self.photo(_placed(ink)),
            "ruled": lambda ink: self.photo(_placed(ink), paper=_ruled()),
            "squared": lambda ink: self.photo(_placed(ink), paper=_ruled(38, squared=True)),
            "hard shadow": lambda ink: self.photo(_placed(ink), light=_shadow()),
            "desk at two sides": lambda ink: self.photo(_placed(ink), paper=_desk()),
            "dim": lambda ink: self.photo(_placed(ink), light=_light(0.3) * 0.35, noise=9),
            "dim and ruled": lambda ink: self.photo(_placed(ink), paper=_ruled(), light=_light(0.3) * 0.4, noise=7),
            "brown paper": lambda ink: self.photo(_placed(ink), paper=(190, 150, 100)),
            "green paper": lambda ink: self.photo(_placed(ink), paper=(150, 200, 150), pen=(30, 50, 120)),
            "red on yellow": lambda ink: self.photo(_placed(ink), paper=(245, 230, 120), pen=(200, 40, 40)),
            "yellow marker": lambda ink: self.photo(_placed(ink), pen=(240, 225, 60)),
            "pencil": lambda ink: self.photo(_placed(ink) * 0.55, pen=(110, 110, 115)),
            "blackboard": lambda ink: self.photo(_placed(ink), paper=(45, 60, 50), pen=(235, 235, 230)),
            "whiteboard": lambda ink: self.photo(_placed(ink), paper=(225, 230, 235), pen=(40, 140, 80)),
            "dark screen": lambda ink: self.photo(_placed(ink), paper=(25, 25, 30), pen=(230, 230, 240), noise=3),
            "boxed": lambda ink: self.photo(_with_bars(ink, *box)),
            "underlined": lambda ink: self.photo(_with_bars(ink, (645, 652, 188, 488))),
            "stroke far away": lambda ink: self.photo(_with_bars(ink, (788, 797, 75, 225))),
            "name beside": lambda ink: self.photo(_text(ink)),
            "small in a corner": lambda ink: self.photo(_placed(ink[::3, ::3], 45, 500)),
            "no margin": lambda ink: self.photo(_placed(ink)).crop((180, 292, 495, 607)),
            "turned by 5 degrees": lambda ink: self.photo(_placed(ink)).rotate(5, Image.Resampling.BICUBIC),
            "225 pixels wide": lambda ink: self.photo(_placed(ink)).resize((225, 300), Image.Resampling.BOX),
            "noisy": lambda ink: self.photo(_placed(ink), noise=15),
            "dim, ruled and on a desk": lambda ink: self.photo(
                _placed(ink), paper=np.where(_desk() < 100, _desk(), _ruled()), light=_light(0.3) * 0.4, noise=8
            ),
            "turned by 10 degrees on a light table": lambda ink: self.photo(_placed(ink)).rotate(
                10, Image.Resampling.BICUBIC, fillcolor=(215, 212, 205)
            ),
        }
