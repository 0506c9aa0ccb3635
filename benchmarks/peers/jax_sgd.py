"""JAX: a jitted ``lax.scan`` over the digits with the update written by hand."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

if TYPE_CHECKING:
    from benchmarks.problem import Problem, RowProblem


@partial(jax.jit, donate_argnums=0)
def train(parameters, inputs, targets, rate):
    """Return the parameters after one pass; weights are (inputs, outputs) and their buffers are donated."""

    def step(parameters, sample):
        w1, b1, w2, b2, w3, b3 = parameters
        x, target = sample
        h1 = jax.nn.sigmoid(x @ w1 + b1)
        h2 = jax.nn.sigmoid(h1 @ w2 + b2)
        out = jax.nn.sigmoid(h2 @ w3 + b3)
        e3 = target - out
        g3 = rate * e3 * out * (1 - out)
        w3, b3 = w3 + jnp.outer(h2, g3), b3 + g3
        e2 = w3 @ e3
        g2 = rate * e2 * h2 * (1 - h2)
        w2, b2 = w2 + jnp.outer(h1, g2), b2 + g2
        e1 = w2 @ e2
        g1 = rate * e1 * h1 * (1 - h1)
        return (w1 + jnp.outer(x, g1), b1 + g1, w2, b2, w3, b3), None

    return jax.lax.scan(step, parameters, (inputs, targets))[0]


class Scan:
    """The whole loop compiled by XLA; arrays are on the device before the clock starts."""

    def __init__(self, problem: Problem) -> None:
        self.parameters = tuple(jnp.array(values) for values in problem.parameters(np.float32))
        self.x = jnp.array(problem.inputs(np.float32))
        self.targets = jnp.eye(problem.sizes[-1], dtype=np.float32)[problem.labels]
        self.rate = np.float32(problem.learning_rate)
        self.chosen: tuple[int, tuple[jax.Array, jax.Array]] = (-1, (self.x, self.targets))

    def run(self, n: int) -> None:
        if self.chosen[0] != n:
            self.chosen = n, (self.x[:n], self.targets[:n])
        self.parameters = jax.block_until_ready(train(self.parameters, *self.chosen[1], self.rate))

    def weights(self) -> list[np.ndarray]:
        return [np.array(values, dtype=np.float64) for values in self.parameters]


@partial(jax.jit, donate_argnums=0)
def train_batches(layers, rows, targets, rate):
    """Return the layers after a step for each batch; `rows` has shape (batches, rows of each, inputs)."""

    def step(layers, batch):
        x, target = batch
        units = [x]
        for w, b in layers[:-1]:
            units.append(jax.nn.relu(units[-1] @ w + b))
        w, b = layers[-1]
        error = target - jax.nn.softmax(units[-1] @ w + b)
        changed = []
        for (w, b), x in zip(layers[::-1], units[::-1], strict=True):
            changed.append((w + rate * (x.T @ error), b + rate * error.sum(0)))
            error = (error @ w.T) * (x > 0)
        return tuple(changed[::-1]), None

    return jax.lax.scan(step, layers, (rows, targets))[0]


class Rows:
    """Float rows in mini-batches: ReLU, softmax; one compiled loop over all batches, the gradients by hand."""

    batch = 32

    def __init__(self, problem: RowProblem) -> None:
        parameters = [jnp.array(values) for values in problem.parameters(np.float32)]
        self.layers = tuple(zip(parameters[::2], parameters[1::2], strict=True))
        whole = len(problem.labels) // self.batch * self.batch
        shape = whole // self.batch, self.batch, -1
        self.x = jnp.array(problem.rows[:whole].reshape(shape))
        self.targets = jnp.array(np.eye(problem.sizes[-1], dtype=np.float32)[problem.labels[:whole]].reshape(shape))
        self.rate = np.float32(problem.learning_rate / self.batch)
        self.chosen: tuple[int, tuple[jax.Array, jax.Array]] = (-1, (self.x, self.targets))

    def run(self, n: int) -> None:
        n //= self.batch
        if self.chosen[0] != n:
            self.chosen = n, (self.x[:n], self.targets[:n])
        self.layers = jax.block_until_ready(train_batches(self.layers, *self.chosen[1], self.rate))

    def weights(self) -> list[np.ndarray]:
        return [np.array(values, dtype=np.float64) for layer in self.layers for values in layer]


class Rows128(Rows):
    """The same in batches of 128."""

    batch = 128
