"""A model as plain arrays and words, which the exports write in their own formats."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastnn.model import Model
    from fastnn.network import Network

LayerActivation: TypeAlias = Literal["sigmoid", "tanh", "relu", "softmax", "identity"]


@dataclass(frozen=True, eq=False)
class PlainLayer:
    """A layer of a network: ``activation(x @ weights + biases)``.

    Attributes
    ----------
    weights : ndarray, shape (inputs, outputs)
    biases : ndarray, shape (outputs,)
    activation : {"sigmoid", "tanh", "relu", "softmax", "identity"}
    """

    weights: NDArray[Any]
    biases: NDArray[Any]
    activation: LayerActivation


@dataclass(frozen=True, eq=False)
class InputScaling:
    """How what a model is given becomes the input of its networks: ``(value - mean) * factor``.

    Attributes
    ----------
    mean, factor : ndarray of float64, shape (1,) or (inputs,)
        Of images: for grey levels, 255 = white.
    """

    mean: NDArray[np.float64]
    factor: NDArray[np.float64]

    @property
    def is_identity(self) -> bool:
        """Whether the networks get the values as they are."""
        return not self.mean.any() and bool((self.factor == 1).all())


def layers_of(network: Network) -> list[PlainLayer]:
    """Return the layers of a network; of rule original the outputs are sigmoids, not yet divided by their sum."""
    last = len(network.weights) - 1
    return [
        PlainLayer(weights, biases, network.output if depth == last else network.activation)
        for depth, (weights, biases) in enumerate(zip(network.weights, network.biases, strict=True))
    ]


def input_scaling(model: Model) -> InputScaling:
    """Return how a model scales grey levels or rows for its networks."""
    if model.takes == "images":
        mean, factor = (255.0, -1 / 255) if model.invert else (0.0, 1 / 255)
        return InputScaling(np.array([mean]), np.array([factor]))
    if model.scaling is None:
        return InputScaling(np.zeros(1), np.ones(1))
    return InputScaling(model.scaling.mean, model.scaling.factor)


def divides_by_sum(model: Model) -> bool:
    """Whether probabilities are the networks' mean outputs divided by their sum, as those of rule original are."""
    return model.task == "classification" and any(network.output != "softmax" for network in model.networks)
