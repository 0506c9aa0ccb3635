"""The model that the web app uses, and its change for a better one while requests come in."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn.datasets.dataset import PIXELS
from fastnn.datasets.labels import is_digit
from fastnn.errors import ModelError
from fastnn.web.store import Opinion

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastnn.model import Model

_QUICK = 0.002
"""Seconds that a prediction may hold up the server's loop; a thread would cost 0.1 ms of its own."""


@dataclass(frozen=True, eq=False)
class Loaded:
    """A model ready for use.

    Attributes
    ----------
    model : Model
    name : str
        For people to read.
    key : str
        Sixteen letters that tell it from others.
    quick : bool
        Whether a prediction is over before a thread would have taken it.
    named : str
        The key of the model that the server was given, from which this one took over, perhaps by way of others; empty
        where it was given none. That of the model itself where it is the one given.
    """

    model: Model
    name: str
    key: str
    quick: bool
    named: str = ""

    @classmethod
    def of(cls, model: Model, name: str, named: str | None = None) -> Loaded:
        """Make a model ready: compile what it needs and measure how long it takes.

        Without `named` it is the one that the server was given.

        Raises
        ------
        ModelError
            If the model does not take 28x28 images.
        """
        if model.sizes[0] != PIXELS:
            raise ModelError(f"{name}: the model takes {model.sizes[0]} values, but an image has {PIXELS}")
        digest = hashlib.sha256("".join(network.sha256() for network in model.networks).encode())
        # Of little ink and of much: other kernels may be compiled for each.
        images = np.full((3, PIXELS), 255, np.uint8)
        images[0, 300:400] = images[1, :500] = images[2] = 0
        # The first time compiles; of the others the fastest counts, as something else may keep the processor busy.
        slowest = max(min([_timed(model, image) for _ in range(6)][1:]) for image in images)
        model.predict_proba(images)
        key = digest.hexdigest()[:16]
        return cls(model, name, key, slowest < _QUICK, key if named is None else named)

    def about(self) -> dict[str, Any]:
        """Return what the pages say of the model: ``name, layers, classes, accuracy, tested_on`` (or None)."""
        card = self.model.card
        accuracy = card.metrics.get("test_accuracy")
        return {
            "name": self.name,
            "layers": list(self.model.sizes),
            "classes": list(self.model.classes),
            "accuracy": accuracy if accuracy is not None and 0 <= accuracy <= 1 else None,
            "tested_on": None if card.data is None else card.data.n_test,
        }

    def predict(self, image: NDArray[np.uint8]) -> dict[str, Any]:
        """Return ``label, probabilities, seen`` of a drawing, shape (784,), 255 = paper."""
        row = self.model.predict_proba(image)[0]
        label = self.model.classes[int(row.argmax())]
        return {
            "label": int(label) if is_digit(label) else label,
            "probabilities": row.tolist(),
            "seen": self.seen(image).tolist(),
        }

    def seen(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return what the network sees of a drawing."""
        if not self.model.normalise:
            return image
        from fastnn.images import normalise_batch

        images, _ = normalise_batch(image[None], polarity="dark-on-light")
        return np.asarray(images[0])

    def opinions(self, images: NDArray[np.uint8], labels: list[int]) -> list[Opinion]:
        """Return what the model thinks of digits and the labels given to them; shape (n, 784)."""
        opinions = []
        for row, label in zip(self.model.predict_proba(images), labels, strict=True):
            best = self.model.classes[int(row.argmax())]
            known = str(label) in self.model.classes
            doubt = 1.0 - float(row[self.model.classes.index(str(label))]) if known else 1.0
            opinions.append(Opinion(int(best) if is_digit(best) else None, min(1.0, max(0.0, doubt))))
        return opinions


def _timed(model: Model, image: NDArray[np.uint8]) -> float:
    start = time.perf_counter()
    model.predict_proba(image)
    return time.perf_counter() - start


def model_name(model: Model, fallback: str) -> str:
    """Return what to call a model: the name of its recipe, or `fallback`."""
    return fallback if model.card.recipe is None else model.card.recipe.name
