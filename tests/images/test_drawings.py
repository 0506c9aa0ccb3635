"""Digits are found on canvases of any size, on photos and on sheets."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image, ImageDraw

from fastnn.datasets import load_dataset
from fastnn.images import drawings, normalise_batch, photos
from fastnn.images.drawings import (
    BESIDE,
    CROWDED,
    CUT_APART,
    FAINT,
    IN_A_LOOP,
    MAY_TOUCH,
    NO_OPENCV,
    NOTHING,
    TINY,
    UNCLEAR,
    find_drawings,
    read_drawings,
)
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


def placed(places: dict[tuple[int, int], int], shape: tuple[int, int], side: int = 110) -> Pixels:
    """Return a sheet with digits; the places are their tops and lefts."""
    sheet = np.full(shape, 255, np.uint8)
    for (top, left), digit in places.items():
        part = sheet[top : top + side, left : left + side]
        np.minimum(part, canvas(digit, side, 8), out=part)
    return sheet


def read(page: Pixels, side: int = 110) -> str:
    """Return the digits on a page, by their likeness to canvases."""
    known = [find_drawings(canvas(digit, side, 8)).digits[0].image for digit in range(10)]
    return "".join(
        str(int(np.argmax([likeness(one.image, image) for image in known]))) for one in find_drawings(page).digits
    )


@pytest.mark.parametrize("slope", [-0.35, -0.2, 0.2, 0.35])
@pytest.mark.parametrize("text", ["4718203", "47182/36504", "471820356/2"])
def test_a_line_may_rise_or_fall(text: str, slope: float) -> None:
    places = {
        (330 + 150 * y + int(slope * 90 * x), 20 + 90 * x): int(digit)
        for y, row in enumerate(text.split("/"))
        for x, digit in enumerate(row)
    }
    assert read(placed(places, (1000, 900))) == text.replace("/", "")


def test_a_line_may_be_uneven() -> None:
    tops = (80, 25, 130, 40, 110, 60, 135)
    assert read(placed({(top, 20 + 100 * x): x + 2 for x, top in enumerate(tops)}, (300, 760))) == "2345678"


@pytest.mark.parametrize("lines", [1, 3, 9])
def test_frames_and_cells_are_no_digits(lines: int) -> None:
    page = Image.fromarray(placed({(30, 20 + 130 * x): x for x in range(1, 5)} | {(45, 20): 0}, (170, 680)))
    draw = ImageDraw.Draw(page)
    draw.rectangle((3, 3, 676, 166), outline=0, width=lines)
    assert (read(np.asarray(page)), find_drawings(np.asarray(page)).doubts) == ("01234", ())
    for x in range(1, 5):
        draw.line([(5 + 130 * x, 3), (5 + 130 * x, 166)], fill=0, width=lines)
    assert read(np.asarray(page)) == "01234"


@pytest.mark.parametrize("digit", [0, 1, 2, 8])
@pytest.mark.parametrize("gap", [0, 12])
def test_a_frame_round_a_canvas_is_no_ink(digit: int, gap: int) -> None:
    page = canvas(digit, 280, 16).copy()
    inner = page[gap : 280 - gap, gap : 280 - gap]
    inner[:2] = inner[-2:] = inner[:, :2] = inner[:, -2:] = 0
    alone, framed = find_drawings(canvas(digit, 280, 16)), find_drawings(page)
    assert (len(framed.digits), framed.doubts) == (1, ())
    assert likeness(framed.digits[0].image, alone.digits[0].image) > 0.8
    assert np.subtract(framed.digits[0].box, alone.digits[0].box).tolist() == [0] * 4


def test_a_digit_in_a_circle_is_doubtful_and_a_dot_in_a_zero_is_dust() -> None:
    page = Image.fromarray(canvas(3, 300, 12))
    ImageDraw.Draw(page).ellipse((12, 12, 288, 288), outline=0, width=6)
    found, alone = find_drawings(np.asarray(page)), find_drawings(canvas(3, 300, 12))
    assert (len(found.digits), found.doubts) == (1, (IN_A_LOOP,))
    assert likeness(found.digits[0].image, alone.digits[0].image) > 0.9
    dotted = canvas(0, 300, 12).copy()
    dotted[144:156, 144:156] = 0
    (zero,) = find_drawings(dotted).digits
    assert zero.box == find_drawings(canvas(0, 300, 12)).digits[0].box


@pytest.mark.parametrize(("side", "gap"), [(140, 2), (300, 4), (600, 8)])
def test_small_gaps_in_strokes_are_closed(side: int, gap: int) -> None:
    for digit in range(10):
        whole = canvas(digit, side, max(3, side // 40))
        page = whole.copy()
        # A fast mouse, or a line that was rubbed out.
        page[:, side // 2 - gap // 2 : side // 2 + gap // 2] = 255
        found = find_drawings(page)
        assert len(found.digits) == 1, digit
        assert likeness(found.digits[0].image, find_drawings(whole).digits[0].image) > 0.8, digit


def touching(text: str, stretch: float) -> Pixels:
    """Return a page with digits that touch."""
    page = np.full((150, 60 + 120 * len(text)), 255, np.uint8)
    left = 20
    for digit in text:
        drawn = np.asarray(Image.fromarray(canvas(int(digit), 110, 9)).resize((round(110 * stretch), 110)))
        columns = np.flatnonzero((drawn < 128).any(axis=0))
        drawn = drawn[:, columns[0] : columns[-1] + 1]
        part = page[20:130, left : left + drawn.shape[1]]
        np.minimum(part, drawn, out=part)
        left += drawn.shape[1] - 2
    return page


@pytest.mark.parametrize("text", ["38", "926", "625"])
def test_digits_that_touch_are_cut_apart_and_doubtful(text: str) -> None:
    page = touching(text, 1.5)
    assert (read(page), find_drawings(page).doubts) == (text, (CUT_APART,))
    assert {*find_drawings(touching(text, 1.0)).doubts} & {CUT_APART, MAY_TOUCH}


def test_what_is_wider_than_a_digit_is_doubtful() -> None:
    page = Image.new("L", (400, 200), 255)
    draw = ImageDraw.Draw(page)
    draw.line([(40, 40), (360, 40), (40, 160), (360, 160)], fill=0, width=10)
    assert find_drawings(np.asarray(page)).doubts == (MAY_TOUCH,)


def test_a_small_digit_in_the_line_makes_the_others_doubtful() -> None:
    page = placed({(20, 20): 7, (20, 230): 1}, (150, 360))
    page[70:100, 150:180] = canvas(6, 30, 3)
    assert BESIDE in find_drawings(page).doubts


@pytest.mark.parametrize("side", [3, 5, 7])
def test_a_few_pixels_of_noise_are_doubtful(side: int) -> None:
    noise = np.random.default_rng(side).integers(0, 256, (side, side, 3)).astype(np.uint8)
    found = find_drawings(noise)
    assert TINY in found.doubts or not found.digits
    speck = np.full((200, 200), 255, np.uint8)
    speck[90 : 90 + side, 90 : 90 + side] = noise[:, :, 0] // 2
    assert find_drawings(speck).doubts[:1] == (TINY,)


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
