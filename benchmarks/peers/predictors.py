"""Ways to classify: each function returns a function from uint8 images (n, 784) to class indices (n,)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.problem import Problem

    Predict = Callable[[np.ndarray], np.ndarray]


def ours(problem: Problem) -> Predict:
    """`Model.predict`, checks of shape and dtype included."""
    from fastnn.model import Model
    from fastnn.network import Network

    network = Network(problem.sizes, dtype=np.float32)
    for target, values in zip(network.weights + network.biases, problem.weights + problem.biases, strict=True):
        target[...] = values
    return Model((network,), tuple("0123456789")).predict


def plain_python(problem: Problem) -> Predict:
    """`fastnn.reference`, one digit after the other."""
    from fastnn.reference import ReferenceNetwork

    network = ReferenceNetwork.from_arrays(problem.weights, problem.biases)

    def predict(images: np.ndarray) -> np.ndarray:
        outputs = [network.predict([value / 255 for value in image]) for image in images.tolist()]
        return np.array([max(range(len(row)), key=row.__getitem__) for row in outputs])

    return predict


def numpy_batch(problem: Problem) -> Predict:
    """One matrix product per layer."""
    w1, b1, w2, b2, w3, b3 = problem.parameters(np.float32)

    def predict(images: np.ndarray) -> np.ndarray:
        h1 = 1 / (1 + np.exp(-((images / np.float32(255)) @ w1 + b1)))
        h2 = 1 / (1 + np.exp(-(h1 @ w2 + b2)))
        return (h2 @ w3 + b3).argmax(axis=1)

    return predict


def sklearn_mlp(problem: Problem) -> Predict:
    """`MLPClassifier.predict` on float32."""
    from benchmarks.peers.sklearn_mlp import Classifier

    model = Classifier(problem).model
    return lambda images: model.predict(images / np.float32(255))


def torch_eager(problem: Problem) -> Predict:
    """`nn.Sequential` under `inference_mode`."""
    import torch
    from torch import nn

    torch.set_num_threads(1)
    layers: list[nn.Module] = []
    for weight, bias in zip(problem.weights, problem.biases, strict=True):
        layer = nn.Linear(*weight.shape)
        layer.weight.data = torch.from_numpy(weight.T.astype(np.float32))
        layer.bias.data = torch.from_numpy(bias.astype(np.float32))
        layers += [layer, nn.Sigmoid()]
    model = nn.Sequential(*layers[:-1]).eval()

    def predict(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return model(torch.from_numpy(images).float() / 255).argmax(dim=1).numpy()

    return predict


def jax_jit(problem: Problem) -> Predict:
    """One jitted function from pixels to classes."""
    import jax
    import jax.numpy as jnp

    @jax.jit
    def classify(parameters, images):
        w1, b1, w2, b2, w3, b3 = parameters
        h1 = jax.nn.sigmoid((images.astype(jnp.float32) / 255) @ w1 + b1)
        h2 = jax.nn.sigmoid(h1 @ w2 + b2)
        return (h2 @ w3 + b3).argmax(axis=1)

    parameters = tuple(jnp.array(values) for values in problem.parameters(np.float32))
    return lambda images: np.asarray(classify(parameters, images))
