"""Small models and pictures that several tests use."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from fastnn.datasets import Column
from fastnn.model import Model, ModelCard
from fastnn.network import Network

if TYPE_CHECKING:
    from numpy.typing import NDArray

DIGITS = tuple("0123456789")


def network(*sizes: int, seed: int = 0, **options: Any) -> Network:
    return Network(sizes or (784, 4, 10), **options).initialise("uniform", seed)


def model(*sizes: int, seed: int = 0, **options: Any) -> Model:
    made = network(*sizes, seed=seed, **options)
    classes = tuple(str(k) for k in range(made.sizes[-1]))
    return Model((made,), classes, card=ModelCard(version="made by a test"))


def row_model(seed: int = 0) -> Model:
    """Return a model of rows with a column of numbers and one of categories."""
    columns = (Column("a"), Column("colour", ("blue", "red")))
    made = Network((3, 2, 2), rule="backprop", activation="relu").initialise("he", seed)
    return Model((made,), ("x", "y"), takes="rows", columns=columns, card=ModelCard(version="made by a test"))


def seven(height: int = 28, width: int = 28, *, thick: int = 3) -> NDArray[np.uint8]:
    """Return a drawing of a 7 in the middle of a white picture."""
    picture = np.full((height, width), 255, np.uint8)
    top, left, size = height // 5, width // 3, height // 2
    picture[top : top + thick, left : left + size * 2 // 3] = 0
    for step in range(size):
        right = left + size * 2 // 3 - step // 2
        picture[top + step, right - thick : right] = 0
    return picture


def png(picture: NDArray[Any], **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG", **options)
    return file.getvalue()


def jpeg(picture: NDArray[Any], **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", **options)
    return file.getvalue()
