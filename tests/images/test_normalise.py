import functools
import gzip
import io
import json
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from PIL import Image

from fastnn.errors import DataError
from fastnn.images import fit, is_blank, load_picture, normalise_batch, normalise_picture, read_image
from fastnn.images.normalise import BOX
from fastnn.images.paper import LEAST_INK
from fastnn.kernels import normalise as kernel
from tests.models import jpeg, png, seven

Pixels = NDArray[np.uint8]


def square(image: Pixels) -> Pixels:
    return image.reshape(28, 28)


def box(image: Pixels) -> tuple[int, int, int, int]:
    """Return first row, first column, height and width of the ink of at least an eighth of the darkest."""
    ink = 255 - square(image).astype(int)
    rows, columns = np.nonzero((8 * ink >= ink.max()) & (ink > 0))
    return int(rows.min()), int(columns.min()), int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1


def centre(image: Pixels) -> tuple[float, float]:
    ink = 255 - square(image).astype(float)
    y, x = np.mgrid[:28, :28]
    return float((ink * y).sum() / ink.sum()), float((ink * x).sum() / ink.sum())


@functools.cache
def real_digits(shared: Path) -> Pixels:
    content = json.loads((shared / "digits" / "dataset.json").read_bytes())
    return np.array([item["image"] for item in content[::3][:2000]], np.uint8)


# Normalising


@pytest.mark.parametrize("side", [5, 12, 19, 20, 21, 28])
def test_a_drawing_is_scaled_to_20_pixels_and_centred(side: int) -> None:
    image = np.full((28, 28), 255, np.uint8)
    image[:side, : side // 2] = 0
    result = normalise_picture(image)
    _, _, height, width = box(result)
    assert height == 20
    assert abs(width - 20 * (side // 2) / side) < 1
    assert max(abs(place - 14) for place in centre(result)) <= 0.5


def test_the_aspect_ratio_is_kept_when_the_width_is_longer() -> None:
    image = np.full((28, 28), 255, np.uint8)
    image[3:9, 1:25] = 0
    _, _, height, width = box(normalise_picture(image))
    assert (height, width) == (5, 20)


def test_grey_levels_are_kept() -> None:
    image = np.full((28, 28), 255, np.uint8)
    image[4:18, 6:13] = 120
    result = normalise_picture(image)
    assert result.min() == 120
    assert (result == 120).sum() >= 18 * 8


def test_shrinking_takes_the_mean_over_the_area() -> None:
    # From 40 to 20: each pixel of the result is the mean of four, and the drawing lies so that its mass is centred.
    fine = np.full((60, 60), 255, np.uint8)
    fine[10:50, 15:45] = np.random.default_rng(0).integers(0, 200, (40, 30))
    blocks = (255 - fine[10:50, 15:45].astype(float)).reshape(20, 2, 15, 2).mean(axis=(1, 3))
    top, left, height, width = box(normalise_picture(fine))
    assert (height, width) == (20, 15)
    seen = 255 - square(normalise_picture(fine))[top : top + 20, left : left + 15].astype(float)
    # The darkest pixel keeps its level, so that all others are scaled by one factor.
    assert np.allclose(seen, blocks * (255 - fine.min()) / blocks.max(), atol=1)


def test_enlarging_interpolates_linearly() -> None:
    image = np.full((28, 28), 255, np.uint8)
    image[10:20, 10:15] = np.linspace(0, 90, 10).astype(np.uint8)[:, None]
    top, left, *_ = box(normalise_picture(image))
    ramp = square(normalise_picture(image))[top : top + 20, left + 4].astype(int)
    assert np.abs(np.diff(ramp)[1:-2] - 5).max() <= 1


def test_normalising_again_changes_nothing(shared: Path) -> None:
    once, blank = normalise_batch(real_digits(shared))
    twice, _ = normalise_batch(once)
    assert not blank.any()
    assert np.array_equal(once, twice)
    assert {max(box(image)[2:]) for image in once[:200]} == {20}


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(np.uint8, (1, 784), elements=st.sampled_from([0, 30, 120, 200, 240, 254, 255]), fill=st.just(255)),
    st.sampled_from(["dark-on-light", "light-on-dark", None]),
)
def test_normalising_any_image_twice_changes_nothing(image: Pixels, polarity: None) -> None:
    once, blank = normalise_batch(image, polarity=polarity)
    twice, still_blank = normalise_batch(once, polarity=None if blank[0] else "dark-on-light")
    assert once.shape == (1, 784)
    if not blank[0]:
        assert not still_blank[0]
        assert np.abs(once.astype(int) - twice).max() <= 2


def test_mnist_is_normalised_already(shared: Path) -> None:
    with gzip.open(shared / "mnist" / "t10k-images-idx3-ubyte.gz") as file:
        images = 255 - np.frombuffer(file.read(16 + 784 * 500)[16:], np.uint8).reshape(-1, 784)
    result, _ = normalise_batch(images)
    assert np.mean(np.abs(result.astype(int) - images).mean(axis=1) < 1) > 0.9


def test_batches_and_single_images_agree_bit_for_bit(shared: Path) -> None:
    images = real_digits(shared)[:50]
    many, _ = normalise_batch(images)
    assert all(np.array_equal(normalise_picture(square(image)), row) for image, row in zip(images, many, strict=True))
    assert np.array_equal(normalise_picture(images[0]), many[0])
    assert np.array_equal(normalise_batch(images.reshape(-1, 28, 28))[0], many)


def test_polarity_is_found_from_the_border(shared: Path) -> None:
    images = real_digits(shared)[:50]
    assert np.array_equal(normalise_batch(255 - images)[0], normalise_batch(images)[0])


def test_polarity_can_be_given() -> None:
    # Ink over most of the border.
    image = np.zeros((28, 28), np.uint8)
    image[:, 20:] = 255
    assert np.count_nonzero(normalise_picture(image, polarity="dark-on-light") == 0) > 200
    assert np.count_nonzero(normalise_picture(image, polarity="light-on-dark") == 0) < 200
    with pytest.raises(DataError, match="unknown polarity 'sideways'"):
        normalise_picture(image, polarity="sideways")  # type: ignore[arg-type]


def test_grey_paper_is_paper() -> None:
    image = seven()
    assert np.array_equal(normalise_picture(np.where(image == 255, np.uint8(180), image)), normalise_picture(image))


@pytest.mark.parametrize("level", [255, 241, 200, 128, 30])
def test_an_image_of_one_grey_level_is_blank(level: int) -> None:
    assert is_blank(np.full(784, level, np.uint8)) == (level >= 128)


def test_blank_images() -> None:
    images = np.stack([seven().ravel(), np.full(784, 255, np.uint8), np.full(784, 250, np.uint8)])
    result, blank = normalise_batch(images)
    assert blank.tolist() == [False, True, True]
    assert np.array_equal(result[1:], images[1:])
    assert [is_blank(image) for image in images] == [False, True, True]
    with pytest.raises(DataError, match=r"page\.png: nothing is drawn"):
        normalise_picture(np.full((300, 200), 255, np.uint8), name="page.png")


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((28,), "uint8"), ((28, 28), "float64"), ((0, 5), "uint8"), ((5000, 2), "uint8"), ((5, 5, 2), "uint8")],
)
def test_arrays_that_are_not_pictures_are_refused(shape: tuple[int, ...], dtype: str) -> None:
    with pytest.raises(DataError, match=r"^picture: "):
        normalise_picture(np.zeros(shape, dtype))


def test_batches_must_be_arrays_of_images() -> None:
    for wrong in (np.zeros((2, 783), np.uint8), np.zeros((2, 784)), np.zeros((1, 0, 4), np.uint8)):
        with pytest.raises(DataError, match="images must be"):
            normalise_batch(wrong)  # type: ignore[arg-type]
    assert normalise_batch(np.zeros((0, 784), np.uint8))[0].shape == (0, 784)


def test_the_largest_picture_is_normalised() -> None:
    picture = np.zeros((4096, 4096, 4), np.uint8)
    picture[1000:3000, 900:1100, 3] = 255  # black on transparent
    result = normalise_picture(picture)
    assert box(result)[2:] == (20, 2)


def test_a_hairline_stays_as_dark_as_it_was() -> None:
    picture = np.full((500, 300), 255, np.uint8)
    picture[20:480, 100] = 0
    assert normalise_picture(picture).min() == 0


# Reading pictures


def test_a_picture_of_28x28_is_used_as_it_is() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (28, 28), dtype=np.uint8)
    noise[[0, -1]] = noise[:, [0, -1]] = 255
    assert np.array_equal(read_image(png(noise)), noise.ravel())
    assert np.array_equal(read_image(png(255 - noise)), noise.ravel())
    assert np.array_equal(read_image(png(noise), polarity="light-on-dark"), 255 - noise.ravel())


def test_a_canvas_becomes_the_mean_of_its_blocks() -> None:
    canvas = np.full((280, 280), 255, np.uint8)
    canvas[30:200, 50:70] = np.random.default_rng(1).integers(0, 60, (170, 20))
    means = canvas.reshape(28, 10, 28, 10).mean(axis=(1, 3))
    result = read_image(png(canvas))
    assert np.abs(square(result) - means).max() <= 1.0
    assert (
        np.array_equal(read_image(png(255 - canvas)), result)
        or np.abs(read_image(png(255 - canvas)).astype(int) - result).max() <= 1
    )


def test_a_speck_on_a_canvas_is_enlarged() -> None:
    canvas = np.full((280, 280), 255, np.uint8)
    canvas[10:60, 20:40] = 0
    assert max(box(read_image(png(canvas)))[2:]) == 20


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P", "1", "I;16", "CMYK"])
def test_every_mode_reads_the_same(mode: str) -> None:
    picture = seven()
    if mode == "I;16":
        image = Image.fromarray(picture.astype(np.uint16) * 257)
    else:
        image = Image.fromarray(picture).convert("RGB").convert(mode)
    file = io.BytesIO()
    image.save(file, "JPEG" if mode == "CMYK" else "PNG", **({"quality": 100} if mode == "CMYK" else {}))
    result = square(read_image(file.getvalue())).astype(int)
    assert np.abs(result - picture).max() <= (25 if mode == "CMYK" else 0)


@pytest.mark.parametrize("ink", [0, 255])
def test_transparent_pixels_are_paper(ink: int) -> None:
    picture = np.full((28, 28, 4), 0 if ink else 77, np.uint8)
    picture[..., 3] = 255 - seven()
    picture[picture[..., 3] > 0, :3] = ink
    assert np.array_equal(square(read_image(png(picture))), seven())


def test_round_corners_are_not_ink() -> None:
    picture = np.dstack([seven()] * 3 + [np.full((28, 28), 255, np.uint8)])
    picture[:3, :3] = 0
    assert np.array_equal(square(read_image(png(picture))), seven())


def test_a_palette_may_be_transparent() -> None:
    image = Image.new("P", (28, 28), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    image.paste(0, mask=Image.fromarray(255 - seven()))
    file = io.BytesIO()
    image.save(file, "PNG", transparency=1)
    assert np.array_equal(square(read_image(file.getvalue())), seven())


def test_the_orientation_in_exif_data_is_respected() -> None:
    picture = seven(84, 84, thick=9)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by 90 degrees
    turned = read_image(jpeg(np.rot90(picture), quality=100, exif=exif))
    assert np.abs(turned.astype(int) - read_image(png(picture))).max() <= 10


def scan(digit: Pixels, rng: np.random.Generator) -> bytes:
    """Return a photograph of a drawing: not centred, unevenly lit, with noise, dust and JPEG artefacts."""
    height, width, side = 600, 1000, 400
    y, x = np.mgrid[:height, :width]
    page = 200 - 70 * x / width + 20 * np.sin(3 * y / height) + rng.normal(0, 6, (height, width))
    large = np.asarray(Image.fromarray(digit).resize((side, side), Image.Resampling.BICUBIC))
    top, left = rng.integers(0, height - side), rng.integers(0, width - side)
    page[top : top + side, left : left + side] *= 1 - 0.75 * (255.0 - large) / 255
    for _ in range(6):
        top, left = rng.integers(0, height - 5), rng.integers(0, width - 5)
        page[top : top + 5, left : left + 5] = 40
    return jpeg(np.clip(page, 0, 255).astype(np.uint8), quality=70)


def test_a_photo_of_a_digit_is_read_as_the_digit(shared: Path) -> None:
    rng = np.random.default_rng(5)
    for image in real_digits(shared)[:6]:
        expected = normalise_picture(image).astype(int)
        seen = read_image(scan(square(image), rng)).astype(int)
        assert max(box(seen.astype(np.uint8))[2:]) == 20
        agreement = np.corrcoef(expected, seen)[0, 1]
        assert agreement > 0.8


def test_thin_lines_are_thickened() -> None:
    thin, thick = (read_image(png(seven(400, 500, thick=width))) for width in (4, 30))
    ink = [float((255 - image.astype(float)).sum()) for image in (thin, thick)]
    assert 0.7 < ink[0] / ink[1] < 1.3
    # But not by `normalise_picture`, which keeps the width of lines.
    assert (255.0 - normalise_picture(seven(400, 500, thick=4))).sum() < 0.5 * ink[1]


def test_nothing_drawn_reads_as_paper() -> None:
    noise = 230 + np.random.default_rng(0).normal(0, 4, (300, 400))
    for picture in (
        np.full((28, 28), 255),
        np.full((280, 280), 255),
        np.full((90, 70), 255),
        noise,
        np.zeros((50, 60)),
    ):
        assert is_blank(read_image(png(picture.astype(np.uint8))))


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (2, 3), (4096, 1), (65, 64)])
def test_pictures_of_odd_shapes_are_read(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    for picture in (np.zeros(shape), np.full(shape, 255), rng.integers(0, 256, shape)):
        assert read_image(png(picture.astype(np.uint8))).shape == (784,)


# What cannot be read


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def bomb(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 10000))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a picture that can be read"),
        (b"no picture", "not a picture that can be read"),
        (b"GIF89a" + bytes(100), "not a complete GIF"),
        (png(seven())[:60], "not a"),
        (png(seven(300, 300))[:-400], "not a complete"),
        (jpeg(seven(300, 300))[:-1500], "not a complete"),
        (png(seven())[:20] + b"\xff" + png(seven())[21:], "not a|too many"),
        (bomb(12_289, 4), "12289x4 pixels are too many"),
        (bomb(12000, 12000), "not a complete"),
        (bomb(60000, 60000), "too many"),
        (bomb(0, 5), "not a"),
        (bomb(4096, 4096), "not a complete"),
    ],
)
def test_damaged_pictures_are_refused_in_one_line(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "drawing.png"
    path.write_bytes(content)
    tracemalloc.start()
    with pytest.raises(DataError, match=message) as caught:
        read_image(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    assert peak < 64 << 20


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        read_image(tmp_path / "none.png")
    with pytest.raises(DataError, match="is a folder, not a regular file"):
        load_picture(tmp_path)
    with pytest.raises(DataError, match=r"^drawing 7: not a picture"):
        read_image(b"", name="drawing 7")


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damage_raises_nothing_but_data_errors(data: st.DataObject) -> None:
    whole = data.draw(st.sampled_from([png(seven(40, 30)), jpeg(seven(40, 30)), png(np.dstack([seven(40, 30)] * 4))]))
    content = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content)))
    try:
        said, shape = "", read_image(bytes(content[:cut])).shape
    except DataError as error:
        said, shape = str(error), (784,)
    assert shape == (784,)
    assert "\n" not in said


def test_fit_leaves_its_input_alone() -> None:
    for picture in (seven(), seven(280, 280), 255 - seven(300, 200)):
        before = picture.copy()
        fit(picture)[:] = 3
        assert np.array_equal(picture, before)


def test_the_kernel_agrees_on_sizes() -> None:
    assert (BOX, LEAST_INK) == (kernel.BOX, kernel.LEAST)
