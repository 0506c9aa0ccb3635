"""JAX on MNIST: 784-400-100-10 in mini-batches, with affine distortion, an epoch one compiled loop.

The data stay on the device as uint8; distortion, back-propagation and Adam (written out, since optax is one more
package) are in one ``lax.scan``. Compiled code comes from JAX's cache on disk after the first run, as fastnn's does.
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.peers import mnist_arrays

if TYPE_CHECKING:
    from benchmarks.contender import Report

SIZES = (784, 400, 100, 10)
BATCH, HIGHEST_LR, SMOOTHING = 128, 0.003, 0.05
ROTATION, SCALE, SHEAR, SHIFT = 8.0 * np.pi / 180, 0.08, 0.1, 1.0


def distorted_mlp(folder: str, seed: int, epochs: int, report: Report) -> None:
    """Train on images that each epoch distorts anew."""
    jax.config.update("jax_compilation_cache_dir", str(Path(folder, "jax")))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    images, labels = mnist_arrays.train(folder)
    batch = min(BATCH, len(images))
    steps = len(images) // batch
    rng, key = np.random.default_rng(seed), jax.random.key(seed)
    weights = [(rng.standard_normal(size) * np.sqrt(2 / size[0])).astype(np.float32) for size in pairwise(SIZES)]
    parameters = [(jnp.array(w), jnp.zeros(w.shape[1], jnp.float32)) for w in weights]
    zeros = jax.tree.map(jnp.zeros_like, parameters)
    state = parameters, zeros, jax.tree.map(jnp.copy, zeros)
    images, labels = jnp.array(images), jnp.array(labels)
    rates = one_cycle(steps * epochs)

    def predict(given: np.ndarray) -> np.ndarray:
        return np.asarray(logits(state[0], jnp.array(given)).argmax(1))

    for epoch in range(epochs):
        order = rng.permutation(len(images))[: steps * batch].reshape(steps, batch)
        count = np.arange(epoch * steps, (epoch + 1) * steps)
        state = train_epoch(state, images, labels, order, rates[count], count, jax.random.fold_in(key, epoch))
        jax.block_until_ready(state)
        report(predict)


def one_cycle(steps: int, warm: float = 0.3) -> np.ndarray:
    """Return the learning rate of each step: up along a cosine, then down to nearly zero."""
    at = np.arange(steps) / max(1, steps - 1)
    up = HIGHEST_LR * (1 / 25 + (1 - 1 / 25) * (1 - np.cos(np.pi * at / warm)) / 2)
    down = HIGHEST_LR * (1 + np.cos(np.pi * (at - warm) / (1 - warm))) / 2
    return np.where(at < warm, up, down).astype(np.float32)


@partial(jax.jit, donate_argnums=0)
def train_epoch(state, images, labels, order, rates, count, key):
    """Train on all batches of `order`, shape (steps, batch)."""

    def step(state, given):
        parameters, means, squares = state
        chosen, rate, number, key = given
        x = distorted(images[chosen], key)
        gradients = jax.grad(loss)(parameters, x, labels[chosen])
        means = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, means, gradients)
        squares = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, squares, gradients)
        first, second = 1 / (1 - 0.9 ** (number + 1.0)), 1 / (1 - 0.999 ** (number + 1.0))
        parameters = jax.tree.map(
            lambda p, m, v: p - rate * first * m / (jnp.sqrt(second * v) + 1e-8), parameters, means, squares
        )
        return (parameters, means, squares), None

    keys = jax.random.split(key, len(order))
    return jax.lax.scan(step, state, (order, rates, count.astype(np.float32), keys))[0]


def loss(parameters, x, labels):
    scores = jax.nn.log_softmax(forward(parameters, x))
    right = jnp.take_along_axis(scores, labels[:, None], 1)[:, 0]
    return -((1 - SMOOTHING) * right + SMOOTHING * scores.mean(1)).mean()


def forward(parameters, x):
    x = (x - 33.3) * (1 / 78.6)
    for w, b in parameters[:-1]:
        x = jax.nn.relu(x @ w + b)
    w, b = parameters[-1]
    return x @ w + b


@jax.jit
def logits(parameters, images):
    return forward(parameters, images.astype(jnp.float32))


def distorted(images, key):
    """Return uint8 images turned, scaled, slanted and moved at random, as float32 of the same shape."""
    n = len(images)
    turn, wide, high, slant, right, down = jax.random.uniform(key, (6, n, 1), jnp.float32, -1, 1)
    turn, wide, high, slant = ROTATION * turn, 1 + SCALE * wide, 1 + SCALE * high, SHEAR * slant
    cos, sin = jnp.cos(turn), jnp.sin(turn)
    row, column = (jnp.arange(784) // 28 - 13.5).astype(jnp.float32), (jnp.arange(784) % 28 - 13.5).astype(jnp.float32)
    x = 13.5 + SHIFT * right + wide * (cos * column + (slant * cos - sin) * row)
    y = 13.5 + SHIFT * down + high * (sin * column + (slant * sin + cos) * row)
    # Two pixels of background on each side, so that the four neighbours need no test; what lies further out is clipped.
    padded = jnp.pad(images.reshape(n, 28, 28), ((0, 0), (2, 2), (2, 2))).reshape(n, 32 * 32)
    x, y = jnp.clip(x + 2, 0, 30.5), jnp.clip(y + 2, 0, 30.5)
    left, top = jnp.floor(x), jnp.floor(y)
    at = (32 * top + left).astype(jnp.int32)
    along, across = x - left, y - top

    def pixel(offset):
        return jnp.take_along_axis(padded, at + offset, 1, mode="promise_in_bounds").astype(jnp.float32)

    upper = pixel(0) + along * (pixel(1) - pixel(0))
    lower = pixel(32) + along * (pixel(33) - pixel(32))
    return upper + across * (lower - upper)
