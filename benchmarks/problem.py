"""The problem that every implementation gets: the same digits in the same order, and the same initial weights."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

REAL_DIGITS = Path(__file__).resolve().parents[2] / "shared" / "data" / "digits" / "dataset.json"

SIZES = (784, 200, 40, 10)
LEARNING_RATE = 0.01

SAMPLES = 12_547
"""Training digits in one epoch of the original: nine tenths of 13,942."""

PER_CLASS = 1255
"""Digits of each class: ten classes have at least SAMPLES together."""


class InitialParameters:
    """What problems of all kinds share: the parameters that every implementation starts from."""

    weights: tuple[NDArray[np.float64], ...]
    biases: tuple[NDArray[np.float64], ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Units of each layer, the inputs included."""
        return (len(self.weights[0]), *(len(bias) for bias in self.biases))

    def parameters(self, dtype: DTypeLike, *, output_major: bool = False) -> list[NDArray[Any]]:
        """Return new arrays W1, b1, W2, b2, ...; with `output_major` weights have shape (outputs, inputs)."""
        result = []
        for weight, bias in zip(self.weights, self.biases, strict=True):
            result.append(np.array(weight.T if output_major else weight, dtype=dtype, order="C"))
            result.append(np.array(bias, dtype=dtype))
        return result


@dataclass(frozen=True, eq=False)
class Problem(InitialParameters):
    """Digits in training order, and the initial parameters of a network.

    Attributes
    ----------
    images : ndarray of uint8, shape (n, sizes[0])
        255 = white paper.
    labels : ndarray of int64, shape (n,)
    weights : tuple of ndarray of float64, each of shape (inputs, outputs)
    biases : tuple of ndarray of float64
        All values are float32 numbers, so that every implementation starts from the same ones.
    learning_rate : float
    description : str
        The source of the digits, for the report.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    weights: tuple[NDArray[np.float64], ...]
    biases: tuple[NDArray[np.float64], ...]
    learning_rate: float = LEARNING_RATE
    description: str = ""

    def inputs(self, dtype: DTypeLike) -> NDArray[Any]:
        """Return the inputs of the network: value / 255, so that white is 1; shape (n, sizes[0]), contiguous."""
        return np.ascontiguousarray(np.arange(256, dtype=dtype) / np.asarray(255, dtype=dtype))[self.images]

    def first(self, n: int) -> Problem:
        """Return the same problem with only the first `n` digits."""
        return Problem(
            self.images[:n], self.labels[:n], self.weights, self.biases, self.learning_rate, self.description
        )


@dataclass(frozen=True, eq=False)
class RowProblem(InitialParameters):
    """Rows of numbers in training order, and the initial parameters of a network.

    Attributes
    ----------
    rows : ndarray of float32, shape (n, sizes[0])
    labels : ndarray of int64, shape (n,)
    weights, biases : tuple of ndarray
        As of :class:`Problem`.
    learning_rate : float
    """

    rows: NDArray[np.float32]
    labels: NDArray[np.int64]
    weights: tuple[NDArray[np.float64], ...]
    biases: tuple[NDArray[np.float64], ...]
    learning_rate: float = LEARNING_RATE

    def first(self, n: int) -> RowProblem:
        """Return the same problem with only the first `n` rows."""
        return replace(self, rows=self.rows[:n], labels=self.labels[:n])

    def one_output(self) -> RowProblem:
        """Return the same network with one logistic output for two classes, as some libraries have it."""
        if self.sizes[-1] != 2:
            return self
        weight, bias = (values[..., 1:] - values[..., :1] for values in (self.weights[-1], self.biases[-1]))
        return replace(self, weights=(*self.weights[:-1], weight), biases=(*self.biases[:-1], bias))


@cache
def digits() -> tuple[NDArray[np.uint8], NDArray[np.int64], str]:
    """Return images and labels of 12,547 training digits in random order, and a description.

    If the real digits are in ``../shared/data``: 1,255 of each class, sampled with replacement where a class has
    fewer, as ``fastnn train --per-class 1255`` does. Otherwise the built-in drawn digits.
    """
    from fastnn.datasets import load_dataset, per_class

    real = REAL_DIGITS.is_file()
    dataset = per_class(load_dataset(REAL_DIGITS if real else "drawn"), PER_CLASS, seed=0)
    order = np.random.default_rng(0).permutation(len(dataset))[:SAMPLES]
    images, labels = dataset.images[order], dataset.labels[order]
    kind = "real digits" if real else "built-in drawn digits"
    density = 100 * np.mean(images != 255)
    note = f"{len(images):,} {kind}, {density:.0f} % of their pixels not white"
    return images, labels, note


def synthetic_digits(n: int, density: float, seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return `n` images in which exactly a share of `density` of the pixels, at random, is not white; random labels."""
    rng = np.random.default_rng(seed)
    drawn = rng.random((n, SIZES[0])).argsort(axis=1) < round(density * SIZES[0])
    images = np.where(drawn, rng.integers(0, 255, (n, SIZES[0])), 255).astype(np.uint8)
    return images, rng.integers(0, 10, n)


def make_problem(
    sizes: tuple[int, ...] = SIZES,
    *,
    data: tuple[NDArray[np.uint8], NDArray[np.int64]] | None = None,
    uniform: bool = True,
    seed: int = 0,
) -> Problem:
    """Return the problem that is timed: all digits, with weights and biases from U[-1, 1) as in the original.

    Parameters
    ----------
    sizes : tuple of int
        Units of each layer.
    data : tuple of ndarray, optional
        Images and labels to use instead of :func:`digits`.
    uniform : bool
        False draws weights of variance 2 / inputs and zero biases (He et al. 2015), which ReLU units need.
    seed : int
        Random seed of the weights.
    """
    images, labels, description = digits() if data is None else (*data, "synthetic images")
    weights, biases = initial_parameters(sizes, uniform=uniform, seed=seed)
    return Problem(images, labels, weights, biases, description=description)


def initial_parameters(
    sizes: tuple[int, ...], *, uniform: bool, seed: int = 0
) -> tuple[tuple[NDArray[np.float64], ...], tuple[NDArray[np.float64], ...]]:
    """Return weights and biases as :func:`make_problem` describes them; all values are float32 numbers."""
    rng = np.random.default_rng(seed)
    weights, biases = [], []
    for n_in, n_out in pairwise(sizes):
        if uniform:
            weights.append(rng.uniform(-1, 1, (n_in, n_out)).astype(np.float32).astype(np.float64))
            biases.append(rng.uniform(-1, 1, n_out).astype(np.float32).astype(np.float64))
        else:
            weights.append((rng.standard_normal((n_in, n_out)) * np.sqrt(2 / n_in)).astype(np.float32).astype(float))
            biases.append(np.zeros(n_out))
    return tuple(weights), tuple(biases)
