"""Picture files of all formats and sizes give the right pixels, or are refused in one line."""

import io
import sys
import zlib
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from fastnn.errors import DataError, MissingExtraError
from fastnn.images import load_picture
from fastnn.images.decode import MAX_SIDE, colours, decoded, picture_size
from tests.models import jpeg, png, seven

GREY = np.random.default_rng(0).integers(0, 256, (40, 50), dtype=np.uint8)


def open_colour(content: bytes, longest: int = MAX_SIDE) -> NDArray[np.uint8]:
    with decoded(content, longest=longest) as picture:
        return colours(picture.image)


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


FORMATS: dict[str, tuple[str, dict[str, Any]]] = {
    "png": ("PNG", {}),
    "jpeg": ("JPEG", {"quality": 100}),
    "webp": ("WEBP", {"lossless": True}),
    "gif": ("GIF", {}),
    "bmp": ("BMP", {}),
    "tiff": ("TIFF", {}),
    "tiff, packed": ("TIFF", {"compression": "tiff_lzw"}),
    "pgm": ("PPM", {}),
    "avif": ("AVIF", {"quality": 100}),
}


@pytest.mark.parametrize("case", FORMATS)
def test_all_formats_are_read(case: str) -> None:
    kind, options = FORMATS[case]
    Image.init()
    if kind not in Image.SAVE:
        pytest.skip("this Pillow does not know the format")
    content = saved(Image.fromarray(GREY), kind, **options)
    grey = load_picture(content)
    assert grey.shape == GREY.shape
    assert np.abs(grey.astype(int) - GREY).max() <= 2 * (kind in ("JPEG", "AVIF"))
    colour = open_colour(content)
    assert colour.shape == (40, 50, 3)
    assert np.abs(colour[:, :, 1].astype(int) - GREY).max() <= 4


@pytest.mark.parametrize("mode", ["1", "P", "LA", "RGBA", "CMYK", "I;16"])
def test_modes_of_pixels(mode: str) -> None:
    drawn = seven(40, 30)
    image = Image.fromarray(drawn.astype(np.uint16) * 257) if mode == "I;16" else Image.fromarray(drawn).convert(mode)
    content = saved(image, "TIFF" if mode == "CMYK" else "PNG")
    np.testing.assert_array_equal(load_picture(content), drawn)
    colour = open_colour(content)
    assert colour.shape == (40, 30, 4 if mode in ("LA", "RGBA") else 3)
    np.testing.assert_array_equal(colour[:, :, 2], drawn)


def test_heic_pictures_need_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    header = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "pillow_heif", None)
        with pytest.raises(MissingExtraError, match=r"a\.heic: .*\[photos\]"):
            load_picture(header, name="a.heic")
    heif = pytest.importorskip("pillow_heif")
    with pytest.raises(DataError, match="not a complete HEIC picture"):
        load_picture(header)
    file = io.BytesIO()
    heif.from_pillow(Image.fromarray(GREY).convert("RGB")).save(file, quality=100)
    assert np.abs(load_picture(file.getvalue()).astype(int) - GREY).max() < 5


def sheet(width: int, height: int, mode: str = "L") -> Image.Image:
    """Return a white picture with a black left upper corner."""
    image = Image.new(mode, (width, height), "white")
    image.paste("black", (0, 0, width // 2, height // 4))
    return image


@pytest.mark.parametrize(
    ("size", "kind", "options", "shape"),
    [
        ((6000, 4000), "JPEG", {}, (2000, 3000)),
        ((8000, 6000), "JPEG", {}, (3000, 4000)),
        ((12_000, 40), "JPEG", {}, (10, 3000)),
        ((4500, 40), "JPEG", {"progressive": True}, (20, 2250)),
        ((4500, 40), "PNG", {}, (20, 2250)),
        ((40, 9001), "BMP", {}, (3001, 14)),
    ],
)
def test_large_pictures_are_reduced(
    size: tuple[int, int], kind: str, options: dict[str, Any], shape: tuple[int, int]
) -> None:
    grey = load_picture(saved(sheet(*size), kind, **options))
    assert grey.shape == shape
    assert (grey[1, 1], grey[-1, -1]) == (0, 255)


def test_a_large_picture_is_turned_and_keeps_its_colours() -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    image = Image.new("RGB", (400, 200), (200, 100, 0))
    image.paste((0, 0, 0), (0, 0, 100, 100))
    for kind in ("JPEG", "PNG", "WEBP"):
        colour = open_colour(saved(image, kind, exif=turned.tobytes()), longest=100)
        assert colour.shape == (100, 50, 3)
        assert colour[2, -3].max() < 10
        assert np.abs(colour[-3, 2].astype(int) - (200, 100, 0)).max() < 6
    with decoded(saved(image, "PNG", exif=turned.tobytes()), header_above=100) as picture:
        assert picture.size == (400, 200)


def test_only_the_first_of_several_pictures_is_taken() -> None:
    images = [Image.fromarray(GREY), Image.fromarray(255 - GREY)]
    for kind in ("GIF", "TIFF"):
        content = saved(images[0], kind, save_all=True, append_images=images[1:])
        with decoded(content) as picture:
            assert picture.has_more
        np.testing.assert_array_equal(load_picture(content), GREY)
    with decoded(png(GREY)) as picture:
        assert not picture.has_more


def header(width: int, height: int, colour: int) -> bytes:
    """Return a PNG file that announces a size."""
    content = bytearray(png(GREY if colour == 0 else np.dstack([GREY] * 4)))
    content[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    return bytes(content)


def test_the_size_of_a_picture_is_read_without_decoding_it() -> None:
    assert picture_size(header(3000, 2000, 0)) == (3000, 2000)  # a file without pixels
    assert picture_size(jpeg(seven(40, 30))) == (30, 40)
    with pytest.raises(DataError, match=r"12289x4 pixels are too many"):
        picture_size(header(12_289, 4, 0))
    with pytest.raises(DataError, match="not a picture that can be read"):
        picture_size(b"%PDF-1.7")
    heif, file = pytest.importorskip("pillow_heif"), io.BytesIO()
    heif.from_pillow(Image.new("RGB", (200, 100))).save(file, quality=50)
    assert picture_size(file.getvalue()) == (200, 100)


def test_pictures_that_need_too_much_memory_are_refused(capfd: pytest.CaptureFixture[str]) -> None:
    progressive = bytearray(jpeg(seven(40, 40), progressive=True))
    at = progressive.index(b"\xff\xc2") + 5
    progressive[at : at + 4] = (9000).to_bytes(2, "big") * 2
    floats = saved(Image.fromarray(GREY.astype(np.float32)), "TIFF")
    for content, words in (
        (header(12_000, 12_000, 6), "12000x12000 pixels are too many for this kind"),
        (header(12_289, 4, 0), "12289x4 pixels are too many"),
        (bytes(progressive), "9000x9000 pixels are too many for this kind of picture"),
        (floats, "stores floats"),
        (saved(Image.fromarray(GREY), "TIFF", compression="tiff_lzw")[:-900], "not a complete TIFF"),
        (b"%PDF-1.7", "not a picture that can be read"),
        (b"P7\nWIDTH 2\n", "not a picture that can be read"),
    ):
        with pytest.raises(DataError, match=words) as caught:
            load_picture(content, name="a")
        assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""
