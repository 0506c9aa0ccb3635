"""Digits are found on canvases of any size, on photos and on sheets."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from fastnn.datasets import load_dataset
from fastnn.images import drawings, normalise_batch, photos
from fastnn.images.drawings import CROWDED, FAINT, NO_OPENCV, NOTHING, UNCLEAR, find_drawings, read_drawings
from tests.models import png
from tests.photographs import Camera, canvas, crisp

if TYPE_CHECKING:
    from pathlib import Path

    from tests.photographs import Pixels

needs_opencv = pytest.mark.skipif(
    not photos.is_available(), reason="needs OpenCV: pip install 'fastnn-trainer[photos]'"
)


def likeness(first: Pixels, second: Pixels) -> float:
    """Return the correlation of two drawings, cut out and centred."""
    return float(np.corrcoef(*normalise_batch(np.stack([first, second]))[0].astype(float))[0, 1])


@pytest.mark.parametrize("side", [140, 141, 224, 280, 300, 561, 1401])
def test_neither_side_nor_pen_nor_level_of_a_canvas_decides(side: int) -> None:
    known = [find_drawings(canvas(digit, 300, 20)).digits[0].image for digit in range(10)]
    for digit in range(10):
        for pen, ink, paper in ((2, 0, 255), (4, 150, 255), (8, 220, 120), (max(9, side // 17), 40, 90)):
            found = find_drawings(canvas(digit, side, pen, ink=ink, paper=paper))
            assert (len(found.digits), found.doubts) == (1, ())
            alike = [likeness(found.digits[0].image, image) for image in known]
            assert (int(np.argmax(alike)), max(alike) > 0.5) == (digit, True)


def test_a_hat_that_is_apart_belongs_to_its_digit() -> None:
    (five,) = find_drawings(canvas(5, 280, 9)).digits
    left, top, right, bottom = five.box
    assert top < 0.15 * 280 < 0.8 * 280 < bottom
    assert left < 0.35 * 280 < 0.7 * 280 < right


def test_a_flat_stroke_far_away_is_no_digit() -> None:
    page = np.full((600, 400), 255, np.uint8)
    page[20:320, 50:350] = canvas(5, 300, 16)
    page[520:532, 60:280] = 0
    assert len(find_drawings(page).digits) == 1


def test_a_pattern_of_thousands_of_marks_is_refused_in_bounded_time() -> None:
    page = np.full((1000, 1000), 255, np.uint8)
    for offset in range(3):
        page[10 + offset : -10 : 5, 10:-10:5] = 0
    found = find_drawings(page)
    assert (found.digits, found.doubts) == ((), (CROWDED,))
    assert found.whole.min() < 255


@pytest.mark.parametrize("text", ["11", "42", "10", "90125", "123/456", "86/75/309"])
def test_a_sheet_is_read_line_by_line(text: str) -> None:
    rows = text.split("/")
    sheet = np.full((170 * len(rows), 130 * max(map(len, rows))), 255, np.uint8)
    for y, row in enumerate(rows):
        for x, digit in enumerate(row):
            # Not quite on a line.
            top, left = 170 * y + 15 + 7 * (x % 3), 130 * x + 15
            sheet[top : top + 110, left : left + 110] = canvas(int(digit), 110, 8)
    found = find_drawings(sheet)
    single = {digit: find_drawings(canvas(int(digit), 110, 8)).digits[0].image for digit in set(text) - {"/"}}
    assert len(found.digits) == sum(map(len, rows))
    for drawing, digit in zip(found.digits, "".join(rows), strict=True):
        alike = {one: likeness(drawing.image, image) for one, image in single.items()}
        assert (max(alike, key=lambda one: alike[one]), alike[digit] > 0.7) == (digit, True)


@needs_opencv
def test_photos_show_the_digit_or_are_doubtful(shared: Path) -> None:
    images = load_dataset(shared / "mnist" / "t10k-images-idx3-ubyte.gz").images
    camera, unlike = Camera(seed=3), []
    for (name, take), image in zip(camera.conditions.items(), images, strict=False):
        found = find_drawings(np.asarray(take(crisp(image))))
        alike = [likeness(one.image, image) for one in found.digits]
        if len(alike) != 1 or alike[0] < 0.65:
            unlike.append((name, alike))
            assert found.doubts or len(alike) > 1, unlike
    assert len(unlike) <= 1, unlike


@needs_opencv
def test_several_digits_on_a_photo_are_found(shared: Path) -> None:
    images = load_dataset(shared / "mnist" / "t10k-images-idx3-ubyte.gz").images[:2]
    ink = np.concatenate([crisp(image, 200) for image in images], axis=1)
    found = find_drawings(np.asarray(Camera().conditions["ruled"](ink)))
    assert [likeness(one.image, image) > 0.75 for one, image in zip(found.digits, images, strict=True)] == [True] * 2


def test_the_box_is_in_pixels_of_the_file() -> None:
    page = np.full((3000, 2200), 255, np.uint8)
    page[600:1160, 300:860] = canvas(3, 560, 40)
    (three,) = read_drawings(png(page)).digits
    left, top, right, bottom = three.box
    assert abs(left - (300 + 0.3 * 560 - 20)) < 25 > abs(top - (600 + 0.15 * 560 - 20))
    assert abs(right - (300 + 0.68 * 560 + 20)) < 25 > abs(bottom - (600 + 0.82 * 560 + 20))


def test_a_transparent_margin_is_no_ink() -> None:
    sheet = Image.fromarray(canvas(4, 200, 14)).convert("RGBA")
    page = Image.new("RGBA", (241, 260), (0, 0, 0, 0))
    page.paste(sheet, (20, 30))
    file = io.BytesIO()
    page.save(file, "PNG")
    found, alone = read_drawings(file.getvalue()), read_drawings(png(canvas(4, 200, 14)))
    assert np.array_equal(found.digits[0].image, alone.digits[0].image)
    assert found.digits[0].box == tuple(np.add(alone.digits[0].box, (20, 30, 20, 30)))


def test_nothing_too_faint_and_hard_to_tell_are_different() -> None:
    both = np.where(canvas(3, 280, 16) < 128, 20, 128).astype(np.uint8)
    both[200:270, 20:80] = 240
    assert find_drawings(np.full((280, 280), 200, np.uint8)).doubts == (NOTHING,)
    assert find_drawings(canvas(3, 280, 16, ink=245)).doubts == (FAINT,)
    assert UNCLEAR in find_drawings(both).doubts
    assert UNCLEAR not in find_drawings(both, 1).doubts


def test_without_opencv_a_photo_is_doubtful(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawings.photos, "is_available", lambda: False)
    shaded = canvas(8, 280, 18) * np.linspace(0.6, 1, 280)
    found = find_drawings(shaded.astype(np.uint8))
    assert found.digits
    assert found.doubts[0] == NO_OPENCV
