"""Random affine and elastic distortions of images, a function of seed, epoch and position in the data set alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastnn.kernels.loader import Kernel
from fastnn.kernels.records import DISTORT, ROW, SIDE
from fastnn.kernels.workspace import ArgumentBlock

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from fastnn.recipe import Recipe


_GOLDEN = 0x9E3779B97F4A7C15
_M1, _M2 = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_WORD = (1 << 64) - 1
_WORDS_PER_SAMPLE_LOG2 = 10
"""Each position in the data set has 1024 random words of its own."""

_UNIFORMS = 6
_CENTRE = (SIDE - 1) / 2


def random_words(seed: int, epoch: int, positions: NDArray[np.int64], count: int) -> NDArray[np.uint64]:
    """Return random 64-bit words that depend on the arguments alone.

    SplitMix64 (Steele, Lea and Flood 2014) as a hash: each word is the mix of a counter whose start depends on seed
    and epoch.

    Parameters
    ----------
    seed, epoch : int
    positions : ndarray of int64, shape (m,)
        Positions of images in the data set.
    count : int
        Words for each position, at most 1024.

    Returns
    -------
    ndarray of uint64, shape (m, count)
    """
    start = _mix_int(_mix_int(seed & _WORD) + epoch * _GOLDEN)
    counters = (np.arange(1, count + 1, dtype=np.uint64)) * np.uint64(_GOLDEN)
    offsets = positions.astype(np.uint64) * np.uint64((_GOLDEN << _WORDS_PER_SAMPLE_LOG2) & _WORD) + np.uint64(start)
    z = offsets[:, None] + counters
    z ^= z >> np.uint64(30)
    z *= np.uint64(_M1)
    z ^= z >> np.uint64(27)
    z *= np.uint64(_M2)
    z ^= z >> np.uint64(31)
    return z


def _mix_int(z: int) -> int:
    z &= _WORD
    z = ((z ^ z >> 30) * _M1) & _WORD
    z = ((z ^ z >> 27) * _M2) & _WORD
    return z ^ z >> 31


class Distorter:
    """Distorts images at random, as strongly as a recipe says.

    Parameters
    ----------
    recipe : Recipe
        Of which seed, rotation, scale, shear, shift, elastic_alpha and elastic_sigma are used.
    """

    def __init__(self, recipe: Recipe) -> None:
        self._seed = recipe.seed
        self._ranges = np.array(
            [
                recipe.rotation * (np.pi / 180),
                recipe.scale,
                recipe.scale,
                recipe.shear,
                recipe.shift,
                recipe.shift,
            ]
        )
        self._smooth = np.zeros((0, ROW), np.float32)
        self._gain = np.float32(0)
        if recipe.elastic_alpha:
            self._smooth = smoothing(recipe.elastic_sigma)
            # Noise is uniform in int16, of variance 2^32 / 12.
            self._gain = np.float32(recipe.elastic_alpha * 12**0.5 / (1 << 16))
        self._arguments = _arguments(self._smooth)

    def maps(self, words: NDArray[np.uint64]) -> NDArray[np.float32]:
        """Return affine maps from output pixels to input pixels.

        Parameters
        ----------
        words : ndarray of uint64, shape (m, 6)
            Random words.

        Returns
        -------
        ndarray of float32, shape (m, 6)
            Rows a, b, c, d, e, f: the output pixel (x, y) shows the input at (a x + b y + e, c x + d y + f).
        """
        uniform = (words >> np.uint64(11)).astype(np.float64) * 2.0**-52 - 1.0
        angle, scale_x, scale_y, shear, shift_x, shift_y = (uniform * self._ranges).T
        sine, cosine = _sine(angle), _cosine(angle)
        # The inverse of scale, then shear, then rotate, then shift. With +, -, * and / alone it is the same on every
        # machine.
        u, v = 1.0 / (1.0 + scale_x), 1.0 / (1.0 + scale_y)
        a, b = u * (cosine + shear * sine), u * (sine - shear * cosine)
        c, d = v * -sine, v * cosine
        e = _CENTRE - a * (_CENTRE + shift_x) - b * (_CENTRE + shift_y)
        f = _CENTRE - c * (_CENTRE + shift_x) - d * (_CENTRE + shift_y)
        return np.stack([a, b, c, d, e, f], axis=1).astype(np.float32)

    def noise(self, words: NDArray[np.uint64]) -> NDArray[np.float32]:
        """Return the noise at the nodes of the elastic grid.

        Parameters
        ----------
        words : ndarray of uint64, shape (m, k)
            Random words, at least one for four values.

        Returns
        -------
        ndarray of float32, shape (m, 2, nodes, nodes)
            Displacements along x and y before smoothing; shape (0, 2, 0, 0) without elastic distortion.
        """
        nodes = len(self._smooth)
        if not nodes:
            return np.zeros((0, 2, 0, 0), np.float32)
        halves = np.ascontiguousarray(words).astype("<u8", copy=False).view("<i2")[:, : 2 * nodes * nodes]
        return (halves * self._gain).reshape(len(words), 2, nodes, nodes)

    def __call__(
        self,
        images: NDArray[np.uint8],
        order: NDArray[np.int64],
        epoch: int,
        out: NDArray[np.uint8],
        positions: NDArray[np.int64] | None = None,
    ) -> None:
        """Distort some of the images and write the results to `out`.

        Parameters
        ----------
        images : ndarray of uint8, shape (n, 784)
        order : ndarray of int64, shape (m,)
            Numbers of the images to distort, which decide how each is distorted.
        epoch : int
            Each epoch distorts an image differently.
        out : ndarray of uint8, shape (m, 784)
            Receives the distorted images.
        positions : ndarray of int64, shape (m,), optional
            Their positions in `images`, by default their numbers.
        """
        nodes = len(self._smooth)
        words = random_words(self._seed, epoch, order, _UNIFORMS + -(-2 * nodes * nodes // 4))
        maps, noise = self.maps(words[:, :_UNIFORMS]), self.noise(words[:, _UNIFORMS:])
        block = self._arguments
        picked = order if positions is None else positions
        block.put(images=images, order=picked, n=len(order), maps=maps, noise=noise if nodes else 0, out=out)
        distort(block)


def _arguments(smooth: NDArray[np.float32]) -> ArgumentBlock:
    """Return an argument block with its scratch memory."""
    nodes = len(smooth)
    return ArgumentBlock(
        DISTORT,
        smooth=smooth,
        n_nodes=nodes,
        ink=np.zeros((SIDE + 2, SIDE + 2), np.int64),
        corners=np.zeros((SIDE + 1, ROW), np.int64),
        columns=np.arange(ROW, dtype=np.float32),
        part=np.zeros((nodes, ROW), np.float32),
        along_x=np.zeros((SIDE, ROW), np.float32),
        along_y=np.zeros((SIDE, ROW), np.float32),
        cells=np.zeros((SIDE, ROW), np.int32),
        found=np.zeros((SIDE, ROW), np.int64),
    )


def _keeps_images(kernel: Callable[[int], object]) -> bool:
    """Return whether the identity map leaves four images as they are."""
    images = (np.arange(4 * SIDE * SIDE) % 251).astype(np.uint8).reshape(4, -1)
    maps, out = np.tile(np.array([1, 0, 0, 1, 0, 0], np.float32), (4, 1)), np.zeros_like(images)
    block = _arguments(np.zeros((0, ROW), np.float32))
    block.put(images=images, order=np.arange(4), n=4, maps=maps, out=out)
    kernel(block.address)
    return np.array_equal(out, images)


distort = Kernel("fastnn.kernels.distort", "distort", (), _keeps_images)


def smoothing(sigma: float) -> NDArray[np.float32]:
    """Return the weights with which the nodes of a coarse grid displace 28 pixels, along one axis.

    The displacement of a pixel is a sum of Gaussians of width `sigma` around nodes that are `sigma` apart and reach one
    node beyond the edges. A Gaussian around every pixel (Simard 2003) gives almost the same field at many times the
    cost. The squared weights of each pixel sum to 1, so that displacements have the variance of the noise.

    Parameters
    ----------
    sigma : float
        In pixels, at least 2.

    Returns
    -------
    ndarray of float32, shape (nodes, 32)
        The last four columns are padding, and not zero.
    """
    nodes = int(np.ceil((SIDE - 1) / sigma)) + 3
    place = _CENTRE + (np.arange(nodes) - (nodes - 1) / 2) * sigma
    distance = (np.arange(ROW) - place[:, None]) / sigma
    # Without nodes more than three widths away a third of the time is saved.
    weights = np.where(np.abs(distance) <= 3, _gaussian(distance), 0.0)
    return np.asarray(weights / np.sqrt((weights**2).sum(axis=0)), dtype=np.float32)


def _gaussian(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return exp(-x^2 / 2) as the limit (1 + y / 2^k)^(2^k), k = 20, the same on every machine unlike np.exp."""
    base = 1.0 - np.minimum(x * x, 100.0) * 0.5 / (1 << 20)
    for _ in range(20):
        base = base * base
    return base


def _sine(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sine by its Taylor series, within 1e-9 for |x| <= pi / 2."""
    y = x * x
    total = np.zeros_like(x)
    for k in (13, 11, 9, 7, 5, 3):
        total = (1.0 + total) * -y / (k * (k - 1))
    return x * (1.0 + total)


def _cosine(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the cosine by its Taylor series, within 1e-8 for |x| <= pi / 2."""
    y = x * x
    total = np.zeros_like(x)
    for k in (12, 10, 8, 6, 4, 2):
        total = (1.0 + total) * -y / (k * (k - 1))
    return 1.0 + total
