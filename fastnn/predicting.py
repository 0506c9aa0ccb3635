"""Classifying images in files with a saved model."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn.datasets.dataset import PIXELS, SIDE
from fastnn.errors import DataError, ModelError
from fastnn.formats import load_model

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from fastnn.images import Polarity
    from fastnn.model import Model


@dataclass(frozen=True, eq=False)
class Prediction:
    """The class that a model predicts for one image.

    Attributes
    ----------
    file : str
    index : int
        Position of the image in its file, from 0.
    label : str
        The class with the highest probability.
    probabilities : tuple of float
        One for each class in the model's order; they sum to 1.
    image : ndarray of uint8, shape (784,)
        The image as the network sees it; 255 = paper.
    """

    file: str
    index: int
    label: str
    probabilities: tuple[float, ...]
    image: NDArray[np.uint8]

    def as_dict(self) -> dict[str, Any]:
        """Return everything but the image, fit for JSON."""
        return {
            "file": self.file,
            "index": self.index,
            "label": self.label,
            "probabilities": list(self.probabilities),
        }


def load_image_model(path: str) -> Model:
    """Load a model whose inputs are 28x28 images.

    Raises
    ------
    ModelError
        If the model cannot be read or has another number of inputs.
    """
    model = load_model(path)
    if model.sizes[0] != PIXELS:
        raise ModelError(f"{path}: the model takes {model.sizes[0]} values, but an image has {PIXELS}")
    return model


def predict_files(
    model_path: str, files: Sequence[str], polarity: Polarity | None = None
) -> tuple[Model, list[Prediction]]:
    """Classify every image in some files.

    Parameters
    ----------
    model_path : str
        A run folder, a model file or the original's NN.json.
    files : sequence of str
        PNG, JPEG or JSON files, see :func:`read_images`.
    polarity : {"auto", "dark-on-light", "light-on-dark"}, optional
        By default found from the border of each image.

    Returns
    -------
    model : Model
    predictions : list of Prediction
        In the order of the files and of the images in them.

    Raises
    ------
    FastnnError
        If the model or a file cannot be read, or nothing is drawn on an image.
    """
    from fastnn.images import is_blank, normalise_batch

    model = load_image_model(model_path)
    sources, found = [], []
    for file in files:
        for index, image in enumerate(read_images(Path(file), polarity)):
            if is_blank(image):
                raise DataError(f"{file}: nothing is drawn on image {index}")
            sources.append((file, index))
            found.append(image)
    images = np.stack(found)
    try:
        probabilities = model.predict_proba(images)
    except ModelError as error:
        raise ModelError(f"{model_path}: {error}") from None
    seen = normalise_batch(images, polarity="dark-on-light")[0] if model.normalise else images
    predictions = [
        Prediction(_printable(file), index, model.classes[int(row.argmax())], tuple(row.tolist()), image)
        for (file, index), row, image in zip(sources, probabilities, seen, strict=True)
    ]
    return model, predictions


def _printable(name: str) -> str:
    """Return a file name with bytes that are not valid UTF-8 replaced."""
    return os.fsencode(name).decode(errors="replace")


def read_images(path: Path, polarity: Polarity | None = None) -> Iterator[NDArray[np.uint8]]:
    """Yield the images in a PNG, JPEG or JSON file, each of shape (784,), 255 = paper.

    A JSON file holds one image or an array of images. An image is a list of 784 integers from 0 to 255, or an object
    ``{"image": [784 integers]}``.

    Raises
    ------
    DataError
        If the file cannot be read or its content is invalid.
    """
    from fastnn.images import read_image

    if path.name.lower().endswith((".json", ".json.gz")):
        return _read_json(path, polarity)
    return iter([read_image(path, polarity=polarity)])


def _read_json(path: Path, polarity: Polarity | None) -> Iterator[NDArray[np.uint8]]:
    import msgspec

    from fastnn.datasets.digits_json import parse_pixels
    from fastnn.images import fit

    index = -1
    try:
        for index, item in enumerate(_image_texts(path)):
            text: bytes | msgspec.Raw = item
            if item[:1] == b"{":
                text = msgspec.json.decode(item, type=dict[str, msgspec.Raw]).get("image", b"null")
            pixels = np.frombuffer(parse_pixels(text, f"{path}: image {index}"), np.uint8)
            yield fit(pixels.reshape(SIDE, SIDE), polarity=polarity)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"{path}: not an image in JSON ({str(error).replace('`', '')})") from None
    if index < 0:
        raise DataError(f"{path}: holds no images")


def _image_texts(path: Path) -> Iterator[bytes]:
    """Yield the JSON text of each image in a file."""
    from fastnn.datasets.json_items import ITEM_LIMIT, array_items
    from fastnn.datasets.safe_read import Unpacked, read_packed

    text = Unpacked(read_packed(path), str(path))
    start = bytes(text.read_up_to(ITEM_LIMIT + 1))
    # The first element tells an array of images from one image, which is an array of numbers.
    if re.match(rb"\s*+\[\s*+[\[{\]]", start):
        yield from array_items(chain([start], text), str(path), "an image is a list of 784 integers")
    elif len(start) > ITEM_LIMIT:
        raise DataError(f"{path}: too long for one image, and not an array of images")
    else:
        yield start.lstrip()
