"""Decoding picture files: the formats that are read, and how large their pictures may be."""

from __future__ import annotations

import contextlib
import io
import math
import os
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np

from fastnn.errors import DataError, MissingExtraError
from fastnn.reading import read_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from numpy.typing import NDArray
    from PIL import Image

MAX_SIDE = 4096
"""Longest side of a decoded picture; larger ones are reduced to it."""
PICTURE_ENDINGS = (
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff", ".pbm", ".pgm", ".ppm",
    ".pnm", ".avif", ".heic", ".heif", ".hif",
)  # fmt: skip
"""Ends of the names of picture files, in lower case; the content decides the format."""
PICTURE_LIMIT = 8 * (MAX_SIDE + 1) * MAX_SIDE
"""Size in bytes of the largest file of a picture: 4096x4096 pixels, not compressed, with four channels of 16 bits."""

KNOWN = "PNG, JPEG, WebP, GIF, BMP, TIFF, PBM, PGM, PPM, AVIF or HEIC"
"""The formats that are read, for messages."""

_LARGEST_SIDE = 12_288
"""Pictures wider or higher than this are refused; phones have up to 12,000."""
_MEMORY = 320 << 20
"""Bytes that a picture may need while it is decoded: 48 million pixels with 6 bytes each."""
_BYTES_PER_PIXEL = {"1": 1, "L": 1, "P": 1, "LA": 4, "PA": 4, "I;16": 2, "I;16B": 2, "I;16L": 2}
"""What Pillow needs for a pixel; of other modes 4."""
_BYTES_IN_PROGRESSIVE_JPEG = 6
"""The decoder keeps the coefficients of three channels, with 2 bytes each, whatever size is asked for."""
_ROWS = 256
"""Rows that are reduced at a time."""

_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "PNG"), (b"\xff\xd8\xff", "JPEG"), (b"GIF8", "GIF"), (b"BM", "BMP"), (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"), (b"II+\0", "TIFF"), (b"MM\0+", "TIFF"),
    *((b"P%d%c" % (number, space), "PPM") for number in range(1, 7) for space in b" \t\r\n#"),
)  # fmt: skip
_NAMES = {"WEBP": "WebP"}
_SEVERAL = ("GIF", "TIFF", "WEBP", "AVIF")
"""Formats whose files may hold several pictures."""
_ORIENTATION = 0x0112
_METADATA = {"exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp"}
"""Where the orientation of a picture may stand, besides the tags of TIFF; looking for it takes a tenth of the time."""


class _Heif(Protocol):
    """What is used of the package pillow-heif."""

    def open_heif(self, file: io.BytesIO) -> Any: ...


@dataclass(frozen=True)
class Decoded:
    """A decoded picture.

    Attributes
    ----------
    image : PIL.Image.Image
        Upright, of any mode, with sides of at most as many pixels as were asked for.
    size : tuple of int
        Width and height of the picture in the file.
    has_more : bool
        Whether the file holds more pictures; the first one is taken.
    """

    image: Image.Image
    size: tuple[int, int]
    has_more: bool


@contextlib.contextmanager
def decoded(
    source: str | Path | bytes, name: str = "", longest: int = MAX_SIDE, *, header_above: int | None = None
) -> Iterator[Decoded]:
    """Decode the first picture of a file.

    A JPEG picture with longer sides is decoded at a half, a quarter or an eighth of its size, which needs little
    memory. Others are reduced after they were decoded, if they do not need too much memory for that.

    Parameters
    ----------
    source : path-like or bytes
        A file, or its content.
    name : str, optional
        What error messages call the picture; by default the path.
    longest : int
        Longest side of the decoded picture in pixels; a larger one is reduced by a whole number.
    header_above : int, optional
        Do not decode a picture with a longer side than this; of its image only the header is read.

    Yields
    ------
    Decoded

    Raises
    ------
    DataError
        If the file cannot be read, is not a picture, is damaged or too large. This includes what Pillow raises while
        the caller works with the image.
    MissingExtraError
        If it is a HEIC picture, and pillow-heif is not installed.
    """
    name = name or ("picture" if isinstance(source, bytes) else str(source))
    content = source if isinstance(source, bytes) else read_file(source, PICTURE_LIMIT, what="a picture")
    with _opened(content, name) as image:
        _check_size(image, name)
        if image.mode == "F":
            raise DataError(f"{name}: stores floats; save the picture with 8 or 16 bits a channel")
        size, has_more = image.size, image.format in _SEVERAL and getattr(image, "n_frames", 1) > 1
        is_decoded = header_above is None or max(size) <= header_above
        yield Decoded(_upright(image, longest) if is_decoded else image, size, has_more)


def picture_size(content: bytes, name: str = "picture") -> tuple[int, int]:
    """Return width and height of the picture in a file, of which only the header is read.

    Raises
    ------
    DataError
        If it is not a picture, its header is damaged, or it is too large to be decoded.
    MissingExtraError
        If it is a HEIC picture, and pillow-heif is not installed.
    """
    with _opened(content, name, _header) as image:
        _check_size(image, name)
        width, height = image.size
        return int(width), int(height)


def _header(content: bytes, kind: str, name: str) -> AbstractContextManager[Any]:
    """Return an object with the size of a picture; unlike :func:`_open`, decode no HEIC picture."""
    if kind == "HEIC":
        return contextlib.nullcontext(_heif(name).open_heif(io.BytesIO(content)))
    return _open(content, kind, name)


@contextlib.contextmanager
def _opened(
    content: bytes, name: str, opener: Callable[[bytes, str, str], AbstractContextManager[Any]] | None = None
) -> Iterator[Image.Image]:
    """Open a picture and turn whatever Pillow raises until it is closed into a DataError."""
    from PIL import Image, UnidentifiedImageError

    kind = _kind_of(content)
    if kind is None:
        raise DataError(f"{name}: not a picture that can be read ({KNOWN})")
    shown = _NAMES.get(kind, kind)
    with warnings.catch_warnings():
        # Pillow warns of decompression bombs, which are refused, and of odd metadata, which does not matter here.
        warnings.simplefilter("ignore")
        try:
            with (opener or _open)(content, kind, name) as image:
                yield image
        except (DataError, MissingExtraError, MemoryError):
            raise
        except Image.DecompressionBombError:
            raise DataError(
                f"{name}: too many pixels; shrink the picture to {_LARGEST_SIDE}x{_LARGEST_SIDE} at most"
            ) from None
        except UnidentifiedImageError:
            raise DataError(f"{name}: not a complete {shown} picture (its header is damaged)") from None
        except Exception as error:
            # For damaged files Pillow raises many kinds of exceptions: OSError, SyntaxError, struct.error, ...
            text = " ".join(str(error).split())[:200]
            raise DataError(f"{name}: not a complete {shown} picture ({text})") from None


def colours(image: Image.Image) -> NDArray[np.uint8]:
    """Return the colours of an image: RGB, shape (h, w, 3), or RGBA, shape (h, w, 4), if pixels may be transparent."""
    if image.mode.startswith(("I", "F")):
        return np.repeat(deep_levels(image)[:, :, None], 3, axis=2)
    return np.asarray(image.convert("RGBA" if image.has_transparency_data else "RGB"))


def deep_levels(image: Image.Image) -> NDArray[np.uint8]:
    """Return the grey levels of an image of 16 bits, 0 to 255, shape (h, w)."""
    deep: NDArray[Any] = np.clip(np.asarray(image), 0, 0xFFFF)
    return (deep.astype(np.uint16) >> 8).astype(np.uint8)


def _kind_of(content: bytes) -> str | None:
    """Return the format of a picture by its first bytes, as Pillow calls it; None if it is unknown."""
    for magic, kind in _MAGIC:
        if content.startswith(magic):
            return kind
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "WEBP"
    if content[4:8] == b"ftyp":
        brands = content[8 : min(64, int.from_bytes(content[:4], "big"))]
        if b"avif" in brands or b"avis" in brands:
            return "AVIF"
        if any(brand in brands for brand in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")):
            return "HEIC"
    return None


def _open(content: bytes, kind: str, name: str) -> Image.Image:
    """Return an image of which only the header is read; the caller closes it."""
    from PIL import Image, features

    if kind == "HEIC":
        return _open_heic(content, name)
    if kind in ("AVIF", "WEBP") and not features.check(kind.lower()):
        raise DataError(f"{name}: the installed Pillow cannot read {kind}; update it, or save the picture as PNG")
    return Image.open(io.BytesIO(content), formats=(kind,))


def _open_heic(content: bytes, name: str) -> Image.Image:
    """Return an image of a HEIC file, which pillow-heif has turned upright."""
    held = _heif(name).open_heif(io.BytesIO(content))
    _check_size(held, name)
    return cast("Image.Image", held.to_pillow())


def _heif(name: str) -> _Heif:
    try:
        import pillow_heif
    except ImportError:
        raise MissingExtraError(f"{name}: reading a HEIC picture (or save it as JPEG)", "photos") from None
    return cast("_Heif", pillow_heif)


def _check_size(image: Any, name: str) -> None:
    """Raise a DataError if a picture has too many pixels to be decoded; only its header has been read."""
    width, height = image.size
    if max(width, height) > _LARGEST_SIDE:
        raise DataError(
            f"{name}: {width}x{height} pixels are too many; "
            f"shrink the picture to {_LARGEST_SIDE}x{_LARGEST_SIDE} at most"
        )
    size = _BYTES_PER_PIXEL.get(image.mode, 4)
    if getattr(image, "format", None) in ("JPEG", "MPO"):
        size = _BYTES_IN_PROGRESSIVE_JPEG if image.info.get("progressive") else 0
    if width * height * size > _MEMORY:
        raise DataError(
            f"{name}: {width}x{height} pixels are too many for this kind of picture; "
            f"shrink it to {_MEMORY // size / 1e6:.0f} million pixels at most, or save it as a plain JPEG"
        )


def _upright(image: Image.Image, longest: int) -> Image.Image:
    """Decode an image and return it turned as its EXIF data say, reduced to a longest side."""
    from PIL import ImageOps

    side = max(image.size)
    if side > longest and image.format in ("JPEG", "MPO"):
        scale = next((scale for scale in (2, 4) if -(-side // scale) <= longest), 8)
        image.draft(None, (max(1, image.width // scale), max(1, image.height // scale)))
    with _without_messages(image):
        image.load()
    factor = -(-max(image.size) // longest)
    if factor > 1:
        turned = image.getexif().get(_ORIENTATION)
        image = _reduced(image, factor)
        if turned is not None:
            image.getexif()[_ORIENTATION] = turned
    if image.format == "TIFF" or not _METADATA.isdisjoint(image.info) or factor > 1:
        ImageOps.exif_transpose(image, in_place=True)  # otherwise it makes a copy
    return image


@contextlib.contextmanager
def _without_messages(image: Image.Image) -> Iterator[None]:
    """Keep libtiff, which decodes compressed TIFF files, from printing what is wrong in a damaged one.

    The error says it, in one line. What other threads print in these milliseconds is lost.
    """
    if not any(tile[0] == "libtiff" for tile in getattr(image, "tile", ())):
        yield
        return
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # without standard error nothing is printed
            kept = os.dup(2)
            stack.callback(os.close, kept)
            null = os.open(os.devnull, os.O_WRONLY)
            stack.callback(os.close, null)
            os.dup2(null, 2)
            stack.callback(os.dup2, kept, 2)
        yield


def _reduced(image: Image.Image, factor: int) -> Image.Image:
    """Return a smaller image, made of the mean of each block of factor x factor pixels; a few rows at a time."""
    from PIL import Image

    deep = image.mode.startswith(("I", "F"))
    mode = "RGBA" if image.has_transparency_data else "L" if deep or image.mode in ("1", "L") else "RGB"
    size = tuple(math.ceil(side / factor) for side in image.size)
    result = Image.new(mode, (size[0], size[1]))
    rows = -(-_ROWS // factor) * factor
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        strip = Image.fromarray(deep_levels(strip)) if deep else strip.convert(mode)
        result.paste(strip.reduce(factor), (0, top // factor))
    return result
