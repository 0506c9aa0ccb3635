"""A trained network together with what it needs to be used."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn.errors import DataError, ModelError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from fastnn.engine import Engine
    from fastnn.network import Network


@dataclass(frozen=True, eq=False)
class Model:
    """Networks that predict as one, their classes, and how an image becomes their input.

    Attributes
    ----------
    networks : tuple of Network
        Usually one; the probabilities of several are averaged. All have the same first and last size.
    classes : tuple of str
        Names of the outputs.
    invert : bool
        False: the network is fed value / 255, so that white paper is 1. True: 1 - value / 255, so that white is 0.
    normalise : bool
        Whether images go through :func:`fastnn.images.normalise` first, as they did in training.
    info : dict
        Where the model comes from, fit for JSON: recipe, epochs, data, seed, version, metrics.
    """

    networks: tuple[Network, ...]
    classes: tuple[str, ...]
    invert: bool = False
    normalise: bool = False
    info: dict[str, Any] = field(default_factory=dict)
    _idle: list[list[Engine]] = field(default_factory=list, init=False, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_idle": []}

    def __post_init__(self) -> None:
        if not self.networks:
            raise ModelError("a model needs at least one network")
        ends = {(network.sizes[0], network.sizes[-1]) for network in self.networks}
        if len(ends) != 1 or self.network.sizes[-1] != len(self.classes):
            raise ModelError(
                f"the networks' sizes {[list(network.sizes) for network in self.networks]} "
                f"do not fit each other and {len(self.classes)} classes"
            )

    @property
    def network(self) -> Network:
        """The first network."""
        return self.networks[0]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Layer sizes of the first network."""
        return self.network.sizes

    def sha256(self) -> str:
        """Return the checksum of the weights: that of the network, or of those of several."""
        checksums = [network.sha256() for network in self.networks]
        return checksums[0] if len(checksums) == 1 else hashlib.sha256("".join(checksums).encode()).hexdigest()

    def outputs(self, images: ArrayLike) -> NDArray[np.float64]:
        """Return the outputs of the networks, averaged, as they are.

        Parameters
        ----------
        images : array_like of uint8, shape (n, pixels) or (pixels,)
            255 = paper, 0 = ink.

        Returns
        -------
        ndarray of float64, shape (n, classes)

        Raises
        ------
        DataError
            If the images are not whole numbers of 0 to 255 in that shape.
        """
        from fastnn.engine import Engine, run

        pixels = self._as_pixels(images)
        if self.normalise:
            from fastnn.images import normalise_batch

            pixels, _ = normalise_batch(pixels, polarity="dark-on-light")
        # Each thread that is here at a time has engines of its own; making one takes longer than to classify a digit.
        engines = self._idle.pop() if self._idle else [Engine(network) for network in self.networks]
        outputs = [run(engine, pixels, self.invert) for engine in engines]
        self._idle.append(engines)
        return np.asarray(np.mean(outputs, axis=0, dtype=np.float64))

    def predict_proba(self, images: ArrayLike) -> NDArray[np.float64]:
        """Return the probability of each class; every row sums to 1.

        The outputs of rule original are independent sigmoids; they are divided by their sum.

        Parameters
        ----------
        images : array_like of uint8, shape (n, pixels) or (pixels,)

        Returns
        -------
        ndarray of float64, shape (n, classes)
        """
        outputs = self.outputs(images)
        total = outputs.sum(axis=1, keepdims=True)
        # All sigmoids can underflow to 0 together; nothing is then known of the class.
        blank = total == 0
        return np.where(blank, 1.0 / len(self.classes), outputs / np.where(blank, 1.0, total))

    def predict(self, images: ArrayLike) -> NDArray[np.int64]:
        """Return for each image the index in `classes` of the likeliest class.

        Parameters
        ----------
        images : array_like of uint8, shape (n, pixels) or (pixels,)

        Returns
        -------
        ndarray of int64, shape (n,)
        """
        return np.asarray(self.outputs(images).argmax(axis=1), dtype=np.int64)

    def _as_pixels(self, images: ArrayLike) -> NDArray[np.uint8]:
        pixels = np.asarray(images)
        if pixels.ndim == 1:
            pixels = pixels[None, :]
        if pixels.ndim != 2 or pixels.shape[1] != self.sizes[0]:
            raise DataError(f"the model takes images of {self.sizes[0]} values, not an array of shape {pixels.shape}")
        if pixels.dtype == np.uint8:
            return pixels
        if pixels.dtype.kind not in "iuf" or not (
            np.isfinite(pixels).all() and (pixels == np.floor(pixels)).all() and ((pixels >= 0) & (pixels <= 255)).all()
        ):
            raise DataError("pixels must be whole numbers of 0 to 255 (255 = paper)")
        return pixels.astype(np.uint8)


def division(info: dict[str, Any]) -> tuple[float, int] | None:
    """Return the test fraction and the seed that a model's data were divided with; None if it does not say.

    The networks of an ensemble are trained on one division, whatever their own seeds.

    Parameters
    ----------
    info : dict
        Of a :class:`Model`.
    """
    recipe, data = info.get("recipe"), info.get("data")
    if not isinstance(recipe, dict):
        return None
    fraction, seed = recipe.get("test_fraction"), recipe.get("seed")
    if isinstance(data, dict):
        seed = data.get("split_seed", seed)
    if isinstance(fraction, int | float) and isinstance(seed, int):
        return float(fraction), seed
    return None


def as_inputs(images: NDArray[np.uint8], invert: bool, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Turn pixels into what a network sees.

    Parameters
    ----------
    images : ndarray of uint8
        255 = paper.
    invert : bool
        See :class:`Model`.
    dtype : dtype
        Of the result; the division is done in it.

    Returns
    -------
    ndarray of dtype
        Of the same shape.
    """
    return input_levels(invert, dtype)[images]


def input_levels(invert: bool, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return the input for each of the 256 grey levels, shape (256,), in `dtype`."""
    grey = np.arange(256, dtype=dtype)
    if invert:
        grey = 255 - grey
    return np.asarray(grey / np.asarray(255, dtype=dtype))
