"""A small model of each kind, with samples for it: what every export must hold or refuse."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn.datasets import Column
from fastnn.datasets.scaling import Scaling
from fastnn.model import Calibration, Model, ModelCard
from fastnn.network import Network
from tests.models import seven

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


@dataclass(frozen=True)
class Kind:
    model: Model
    samples: NDArray[Any]


def _networks(*all_sizes: tuple[int, ...], **options: Any) -> tuple[Network, ...]:
    made = []
    for seed, sizes in enumerate(all_sizes):
        network = Network(sizes, **options).initialise("xavier", seed)
        for bias in network.biases:
            bias[...] = np.random.default_rng([seed, len(bias)]).normal(scale=0.3, size=len(bias))
        made.append(network)
    return tuple(made)


def _names(k: int) -> tuple[str, ...]:
    return tuple(f"name {letter}" for letter in "dbca"[:k])


def _images(networks: tuple[Network, ...], n: int = 12, **options: Any) -> Kind:
    """Return a model of images, and images of white, grey and black pixels."""
    rng = np.random.default_rng(0)
    grey = rng.choice(np.array([0, 255, 255, 255, 100], np.uint8), (n, networks[0].sizes[0]))
    grey[0], grey[1] = 255, 0
    return Kind(Model(networks, _names(networks[0].sizes[-1]), **options), grey)


def _drawings(**options: Any) -> Kind:
    """Return a model that normalises, and drawings: small, large, pale, of 20 pixels, on grey, dark at the border."""
    made = _networks((784, 6, 4), rule="backprop", activation="relu")
    plain = [seven(thick=1), seven(thick=3), np.full((28, 28), 255, np.uint8), np.full((28, 28), 0, np.uint8)]
    spread = np.full((28, 28), 255, np.uint8)
    spread[4:24, 9:11], spread[20:22, 3:25] = 30, 128
    tall = np.full((28, 28), 255, np.uint8)
    tall[2:22, 5:8] = 0
    dark_border = np.full((28, 28), 20, np.uint8)
    dark_border[6:20, 8:20] = 255
    random = np.random.default_rng(1).integers(0, 256, (6, 28, 28)).astype(np.uint8)
    pale = (255 - (255 - seven()) // 12).astype(np.uint8)
    very_pale = (255 - (255 - seven()) // 20).astype(np.uint8)
    grey_paper = np.minimum(seven(), 180).astype(np.uint8)
    dot = np.full((28, 28), 255, np.uint8)
    dot[3, 25] = 90
    pictures = [*plain, spread, tall, dark_border, *random, pale, very_pale, grey_paper, dot, seven(28, 28, thick=5).T]
    return Kind(Model(made, _names(4), normalise=True, **options), np.stack([each.reshape(784) for each in pictures]))


def _rows(networks: tuple[Network, ...], *, scaled: bool, n: int = 12, **options: Any) -> Kind:
    """Return a model of rows, and rows far from 0 and of different sizes."""
    rng, k = np.random.default_rng(2), networks[0].sizes[0]
    mean, deviation = np.linspace(-3, 1000, k), np.geomspace(0.01, 100, k)
    if scaled:
        options["scaling"] = Scaling(mean, 1 / deviation)
    rows = rng.normal(size=(n, k))
    return Kind(
        Model(networks, _names(networks[0].sizes[-1]), takes="rows", **options),
        rows * deviation + mean if scaled else rows,
    )


KINDS: dict[str, Callable[[], Kind]] = {
    "original": lambda: _images(_networks((36, 5, 4, 3))),
    "original, float64": lambda: _images(_networks((36, 5, 4, 4), dtype="float64")),
    "original, inverted, ensemble": lambda: _images(_networks((36, 5, 3), (36, 3, 4, 3)), invert=True),
    "softmax": lambda: _images(_networks((36, 7, 4), rule="backprop", activation="relu"), invert=True),
    "softmax, white is 1": lambda: _images(_networks((36, 7, 4), rule="backprop", activation="tanh")),
    "two classes": lambda: _images(_networks((36, 5, 2), rule="backprop", activation="relu"), invert=True),
    "no hidden layer": lambda: _images(_networks((36, 3), rule="backprop", activation="relu"), invert=True),
    "calibrated": lambda: _images(
        _networks((36, 5, 4), rule="backprop", activation="relu"),
        invert=True,
        card=ModelCard(calibration=Calibration(label_smoothing=0.1)),
    ),
    "calibrated ensemble": lambda: _images(
        _networks((36, 5, 3), (36, 4, 6, 3), rule="backprop", activation="tanh"),
        card=ModelCard(calibration=Calibration(label_smoothing=0.3)),
    ),
    "normalises": lambda: _drawings(invert=True),
    "rows": lambda: _rows(_networks((5, 6, 3), rule="backprop", activation="sigmoid"), scaled=False),
    "rows, standardised, float64": lambda: _rows(
        _networks((5, 6, 3), rule="backprop", activation="relu", dtype="float64"), scaled=True
    ),
    "rows with columns": lambda: _rows(
        _networks((4, 6, 3), rule="backprop", activation="relu"),
        scaled=False,
        columns=(Column('a "quoted" ??/ name'), Column("colour", ("röd", "@p@")), Column("b")),
    ),
    "labels": lambda: _rows(
        _networks((5, 6, 4), rule="backprop", activation="relu", output="sigmoid"), scaled=True
    ),
    "regression": lambda: _rows(
        _networks((5, 6, 1), rule="backprop", activation="tanh", output="identity"), scaled=False
    ),
    "regression, standardised, ensemble": lambda: _rows(
        _networks((5, 6, 2), (5, 3, 2), rule="backprop", activation="relu", output="identity"),
        scaled=True,
        target_scaling=Scaling(np.array([5.0, -300.0]), np.array([10.0, 0.02])),
    ),
    "regression, standardised": lambda: _rows(
        _networks((5, 6, 2), rule="backprop", activation="relu", output="identity", dtype="float64"),
        scaled=True,
        target_scaling=Scaling(np.array([5.0, -300.0]), np.array([10.0, 0.02])),
    ),
}  # fmt: skip
"""Functions that make one, by a name."""
