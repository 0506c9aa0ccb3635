"""The model that the web app serves, ready to predict."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fastnn.datasets.dataset import PIXELS
from fastnn.datasets.labels import DIGIT_CLASSES
from fastnn.errors import ModelError
from fastnn.recognition import recognise
from fastnn.web.answers import DigitPrediction, ModelInfo, Prediction
from fastnn.web.store import Score

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from fastnn.images.drawings import Drawings
    from fastnn.model import Model

_MAX_INLINE_SECONDS = 0.002
"""Longest prediction that may block the event loop; handing it to a thread costs 0.1 ms."""


@dataclass(frozen=True, eq=False)
class ServedModel:
    """A compiled model with its name and its measured speed.

    Attributes
    ----------
    model : Model
    name : str
        Name that the pages show.
    key : str
        First 16 hexadecimal digits of the SHA-256 of the weights; identifies the model in the database.
    fast_enough_inline : bool
        Whether a prediction is fast enough to run in the event loop instead of a thread.
    origin_key : str
        Key of the model that ``fastnn serve`` was started with. A model trained by the server keeps the key of the
        model that it replaced, and so on. Equal to `key` for the first model; empty if the server started without one.
    """

    model: Model
    name: str
    key: str
    fast_enough_inline: bool
    origin_key: str = ""

    @classmethod
    def from_model(cls, model: Model, name: str, origin_key: str | None = None) -> ServedModel:
        """Return `model` ready for requests: kernels compiled, prediction time measured.

        Parameters
        ----------
        model : Model
        name : str
            Name that the pages show.
        origin_key : str, optional
            See the class; by default the key of `model`.

        Raises
        ------
        ModelError
            If the model's inputs are not images of 28x28 pixels.
        """
        if model.takes != "images":
            raise ModelError(f"{name}: the model takes the rows of a table, but the web app sends images")
        if model.sizes[0] != PIXELS:
            raise ModelError(f"{name}: the model has {model.sizes[0]} inputs, but an image has {PIXELS} pixels")
        digest = hashlib.sha256("".join(network.sha256() for network in model.networks).encode())
        # Images with little ink and with much ink take different times.
        images = np.full((3, PIXELS), 255, np.uint8)
        images[0, 300:400] = images[1, :500] = images[2] = 0
        # The first call compiles. Of the others the fastest counts, because other processes may take the core.
        slowest = max(min([_predict_seconds(model, image) for _ in range(6)][1:]) for image in images)
        model.predict_proba(images)
        key = digest.hexdigest()[:16]
        return cls(model, name, key, slowest < _MAX_INLINE_SECONDS, key if origin_key is None else origin_key)

    def describe(self) -> ModelInfo:
        """Return what the pages show about the model."""
        card = self.model.card
        accuracy = card.metrics.get("test_accuracy")
        return ModelInfo(
            name=self.name,
            layers=list(self.model.sizes),
            classes=list(self.model.classes),
            accuracy=accuracy if accuracy is not None and 0 <= accuracy <= 1 else None,
            tested_on=None if card.data is None else card.data.n_test,
        )

    def predict(self, drawings: Drawings) -> Prediction:
        """Classify the digits on a picture.

        Parameters
        ----------
        drawings : Drawings
            At least one digit, see :func:`fastnn.images.read_drawings`.

        Returns
        -------
        Prediction
            ``seen`` of the first digit is what :meth:`network_input` returns.
        """
        digits = recognise(self.model, drawings)
        items = [DigitPrediction(**{**digit.as_dict(), "label": self._as_label(digit.label)}) for digit in digits]
        first = items[0]
        return Prediction(
            label=first.label,
            probabilities=first.probabilities,
            doubtful=first.doubtful,
            reason=first.reason,
            seen=digits[0].image.tolist(),
            digits=items,
        )

    def _as_label(self, name: str) -> int | str:
        """Return the position of a class if that is its name, too, as with digits; else its name."""
        position = self.model.classes.index(name)
        return position if name == str(position) else name

    def network_input(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the image that reaches the network: `image`, normalised if the model does so; shape (784,)."""
        if not self.model.normalise:
            return image
        from fastnn.images import normalise_batch

        images, _ = normalise_batch(image[None], polarity="dark-on-light")
        return np.asarray(images[0])

    def scores(
        self, images: NDArray[np.uint8], labels: list[int], classes: Sequence[str] = DIGIT_CLASSES
    ) -> list[Score]:
        """Return the model's prediction for each digit, and its uncertainty about the label that the digit was given.

        Parameters
        ----------
        images : ndarray of uint8, shape (n, 784)
            255 = white paper.
        labels : list of int
            One label, a position in `classes`, for each image.
        classes : sequence of str
            The classes of the database. The model may have other ones, or the same in another order.

        Returns
        -------
        list of Score
        """
        position = {name: k for k, name in enumerate(classes)}
        column = {name: k for k, name in enumerate(self.model.classes)}
        scores = []
        for row, label in zip(self.model.predict_proba(images), labels, strict=True):
            # A damaged database may hold other labels.
            known = column.get(classes[label]) if label in range(len(classes)) else None
            uncertainty = 1.0 if known is None else 1.0 - float(row[known])
            predicted = position.get(self.model.classes[int(row.argmax())])
            scores.append(Score(predicted, min(1.0, max(0.0, uncertainty))))
        return scores


def _predict_seconds(model: Model, image: NDArray[np.uint8]) -> float:
    start = time.perf_counter()
    model.predict_proba(image)
    return time.perf_counter() - start


def model_name(model: Model, fallback: str) -> str:
    """Return the name of the recipe that a model was trained with, or `fallback` if it has none."""
    return fallback if model.card.recipe is None else model.card.recipe.name
