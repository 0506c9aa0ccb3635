"""Predictions of a model for pictures: the digits on each, and what makes them doubtful."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn.datasets.dataset import SIDE
from fastnn.errors import DataError, ModelError
from fastnn.model import LEAST_PROBABILITY, as_probabilities, evidence
from fastnn.predicting import load_image_model
from fastnn.storage import user_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from fastnn.images import Polarity
    from fastnn.images.drawings import Drawings
    from fastnn.model import Model

_MARGIN = 0.6
"""Least difference between the two highest probabilities that is not doubtful: of MNIST's test digits 1.7 % have less,
but 67 % of those that are classified wrongly, and 55 % of drawings of other signs."""


@dataclass(frozen=True, eq=False)
class Digit:
    """The class that a model predicts for one digit of a picture.

    Attributes
    ----------
    label : str
        The class with the highest probability.
    probabilities : tuple of float
        One for each class in the model's order; they sum to 1.
    box : tuple of int
        Left, top, right and bottom of the digit in pixels of the picture.
    reasons : tuple of str
        Why the prediction is doubtful; none if it is not.
    image : ndarray of uint8, shape (784,)
        The image as the network sees it; 255 = paper.
    """

    label: str
    probabilities: tuple[float, ...]
    box: tuple[int, int, int, int]
    reasons: tuple[str, ...]
    image: NDArray[np.uint8]

    @property
    def doubtful(self) -> bool:
        """Whether there is a reason to doubt the prediction."""
        return bool(self.reasons)

    def as_dict(self) -> dict[str, Any]:
        """Return everything but the image, fit for JSON."""
        return {
            "label": self.label,
            "probabilities": list(self.probabilities),
            "doubtful": self.doubtful,
            "reason": "; ".join(self.reasons) or None,
            "box": list(self.box),
        }


@dataclass(frozen=True, eq=False)
class Prediction:
    """The class that a model predicts for a digit in a file.

    Attributes
    ----------
    file : str
    index : int
        Position of the digit in its file, from 0; on a picture in reading order.
    digit : Digit
    """

    file: str
    index: int
    digit: Digit

    @property
    def label(self) -> str:
        """The class with the highest probability."""
        return self.digit.label

    def as_dict(self) -> dict[str, Any]:
        """Return everything but the image, fit for JSON."""
        return {"file": self.file, "index": self.index, **self.digit.as_dict()}


@dataclass(frozen=True, eq=False)
class FilePredictions:
    """The predictions for the digits in some files, and why others cannot be read.

    Attributes
    ----------
    model : Model
    predictions : tuple of Prediction
        In the order of the files, and of the digits in each.
    faults : tuple of str
        One message for each file or image that has no prediction.
    """

    model: Model
    predictions: tuple[Prediction, ...]
    faults: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return classes, predictions and faults, fit for JSON."""
        return {
            "classes": list(self.model.classes),
            "predictions": [item.as_dict() for item in self.predictions],
            "errors": list(self.faults),
        }


def recognise(model: Model, drawings: Drawings) -> list[Digit]:
    """Return the predictions for the digits on a picture, in reading order.

    Parameters
    ----------
    model : Model
        Of images.
    drawings : Drawings
        See :func:`fastnn.images.read_drawings`.

    Raises
    ------
    ModelError
        If an output of the model is not finite.
    """
    return _recognise(model, [drawings])[0]


def _recognise(model: Model, all_drawings: Sequence[Drawings]) -> list[list[Digit]]:
    """Return the predictions for the digits on each of some pictures; all are computed at once."""
    from fastnn.images import normalise_batch

    images = [digit.image for drawings in all_drawings for digit in drawings.digits]
    if not images:
        return [[] for _ in all_drawings]
    stacked = np.stack(images)
    outputs = model.outputs(stacked)
    # Doubts are found with label smoothing left in, as their limits were measured.
    raw, probabilities = as_probabilities(outputs), model.as_probabilities(outputs)
    seen = normalise_batch(stacked, polarity="dark-on-light")[0] if model.normalise else stacked
    rows, result = iter(zip(raw, probabilities, seen, strict=True)), []
    for drawings in all_drawings:
        digits = []
        for drawing in drawings.digits:
            row, shown, image = next(rows)
            best = int(row.argmax())
            reasons = (*drawings.doubts, *_reasons(model, row, best))
            digits.append(Digit(model.classes[best], tuple(shown.tolist()), drawing.box, reasons, image))
        result.append(digits)
    return result


def _reasons(model: Model, row: NDArray[np.float64], best: int) -> list[str]:
    """Return why a prediction is doubtful by its probabilities."""
    reasons, others = [], np.delete(row, best)
    if len(others) and row[best] - others.max() < _MARGIN:
        second = int(np.flatnonzero(row == others.max())[-1])
        reasons.append(f"it may be {model.classes[second]}, too")
    least = model.card.least_evidence
    if least is not None and evidence(row[None])[0] < least:
        reasons.append("it is unlike the images that the model learned")
    return reasons


def doubt_limits(model: Model) -> dict[str, Any]:
    """Return the limits below which a prediction is doubtful, for programs that run the model elsewhere.

    Parameters
    ----------
    model : Model
        Of images.

    Returns
    -------
    dict
        ``margin``: least difference of the two highest probabilities, with label smoothing left in. ``evidence``: least
        :func:`fastnn.model.evidence`, or None. ``leastProbability``: the least that logarithms are taken of.
    """
    return {"margin": _MARGIN, "evidence": model.card.least_evidence, "leastProbability": LEAST_PROBABILITY}


def predict_files(model_path: str, files: Sequence[str], polarity: Polarity | None = None) -> FilePredictions:
    """Classify the digits in some files.

    Parameters
    ----------
    model_path : str
        A run folder, a model file or the original's NN.json.
    files : sequence of str
        Picture or JSON files, see :func:`read_pictures`.
    polarity : {"auto", "dark-on-light", "light-on-dark"}, optional
        By default found from each picture.

    Returns
    -------
    FilePredictions
        With a message for each file that cannot be read, and for each picture on which nothing is drawn.

    Raises
    ------
    ModelError
        If the model cannot be read, or its outputs are not finite.
    """
    model = load_image_model(model_path)
    places, found, faults = [], [], []
    for file in files:
        name = _printable(file)
        try:
            pictures = list(read_pictures(user_path(file), polarity))
        except DataError as error:
            faults.append(str(error))
            continue
        for index, drawings in enumerate(pictures):
            if drawings.digits:
                places.append((name, index))
                found.append(drawings)
            else:
                which = f"image {index}: " if len(pictures) > 1 else ""
                faults.append(f"{name}: {which}{'; '.join(drawings.doubts)}")
    try:
        recognised = _recognise(model, found)
    except ModelError as error:
        raise ModelError(f"{model_path}: {error}") from None
    predictions = [
        Prediction(name, index + k, digit)
        for (name, index), digits in zip(places, recognised, strict=True)
        for k, digit in enumerate(digits)
    ]
    return FilePredictions(model, tuple(predictions), tuple(faults))


def _printable(name: str) -> str:
    """Return a file name with bytes that are not valid UTF-8 replaced."""
    return os.fsencode(name).decode(errors="replace")


def read_pictures(path: Path, polarity: Polarity | None = None) -> Iterator[Drawings]:
    """Yield what is drawn on the pictures in a picture or JSON file.

    A JSON file holds one image or an array of images. An image is a list of 784 integers from 0 to 255, or an object
    ``{"image": [784 integers]}``.

    Raises
    ------
    DataError
        If the file cannot be read or its content is invalid.
    """
    from fastnn.images import read_drawings

    if path.name.lower().endswith((".json", ".json.gz")):
        return _read_json(path, polarity)
    return iter([read_drawings(path, polarity=polarity)])


def _read_json(path: Path, polarity: Polarity | None) -> Iterator[Drawings]:
    import msgspec

    from fastnn.datasets.digits_json import parse_pixels
    from fastnn.datasets.polarity import polarity_sign
    from fastnn.images.drawings import find_drawings

    index, sign = -1, polarity_sign(polarity)
    try:
        for index, item in enumerate(_image_texts(path)):
            text: bytes | msgspec.Raw = item
            if item[:1] == b"{":
                text = msgspec.json.decode(item, type=dict[str, msgspec.Raw]).get("image", b"null")
            pixels = np.frombuffer(parse_pixels(text, f"{path}: image {index}"), np.uint8)
            yield find_drawings(pixels.reshape(SIDE, SIDE), sign)
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
