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


_WHITE = 255.0


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


def layers_from_white(model: Model, network: Network) -> list[PlainLayer]:
    """Return the layers of a network of images that takes how much its inputs deviate from those of white paper.

    The first biases are the pre-activations of white paper, summed as the kernels sum them, rounding included: with
    another order, probabilities of rule original differ by 2e-6.
    """
    layers, scaling = layers_of(network), input_scaling(model)
    first, white = layers[0], float((_WHITE - scaling.mean[0]) * scaling.factor[0])
    if white == 0:
        return layers
    if white == 1:
        biases = np.add.reduce(np.concatenate([first.biases[None], first.weights]), axis=0)
    else:
        biases = first.biases + white * first.weights.astype(np.float64).sum(axis=0)
    return [PlainLayer(first.weights, biases, first.activation), *layers[1:]]


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
