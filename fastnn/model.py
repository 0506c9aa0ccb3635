"""Models: trained networks with class names, preprocessing and a card that says where they come from."""

from __future__ import annotations

import dataclasses
import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta

from fastnn.datasets.split import Split  # noqa: TC001 - msgspec reads the annotations
from fastnn.engine import Engine, has_finite_outputs, run_images
from fastnn.errors import DataError, ModelError
from fastnn.kernels.workspace import BLOCK
from fastnn.network import OVERFLOW
from fastnn.recipe import Recipe  # noqa: TC001
from fastnn.threads import cores

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from fastnn.network import Network

_Text = Annotated[str, Meta(max_length=1 << 16)]
_Count = Annotated[int, Meta(ge=0, le=(1 << 53) - 1)]

_LEAST_PER_THREAD = 256
"""Least number of images for a thread, which take about a millisecond; for fewer, starting it costs too much."""

_MAX_IDLE = 8
"""Sets of engines kept for later predictions; a server may predict on many threads at once, but seldom does."""

_SHOWN_CLASSES = 30
"""Most class names and metrics shown in a notebook."""


class DataCard(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The data set that a model was trained and tested on.

    Attributes
    ----------
    source : str
        Name, path or URL that :func:`fastnn.load_dataset` takes.
    description : str
        The data set's own description of its source.
    hash : str
        Its :attr:`fastnn.Dataset.content_hash`.
    n_train, n_test : int or None
        Images trained on and held back.
    split : Split or None
        Which of its images were held back; None if unknown.
    """

    source: _Text
    description: _Text
    hash: Annotated[str, Meta(max_length=128)]
    n_train: _Count | None = None
    n_test: _Count | None = None
    split: Split | None = None


class OriginalCard(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The original's JSON file that a model was imported from.

    Attributes
    ----------
    file : str
        Name of the file.
    training : Any
        Value of the file's key ``training``, as parsed JSON; None without one.
    """

    file: _Text
    training: Any = None


class ModelCard(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Where a model comes from; fields that are unknown are None.

    Attributes
    ----------
    recipe : Recipe or None
        Settings that it was trained with.
    epochs : int or None
        Number of epochs that it was trained for.
    data : DataCard or None
        Data set that it was trained and tested on.
    seed : int or None
        Seed of the recipe.
    version : str or None
        Version of fastnn that trained it.
    metrics : dict of str to float
        Results on the test set: ``test_accuracy``, ``balanced_accuracy``, ``test_loss``.
    original : OriginalCard or None
        Set if the model was imported from the original's JSON.
    origin_key : str or None
        Set by the web app's training: key of the model that the server was started with, see
        :class:`fastnn.web.serving.ServedModel`.
    """

    recipe: Recipe | None = None
    epochs: _Count | None = None
    data: DataCard | None = None
    seed: Annotated[int, Meta(ge=0, le=(1 << 63) - 1)] | None = None
    version: Annotated[str, Meta(max_length=100)] | None = None
    metrics: Annotated[dict[Annotated[str, Meta(max_length=100)], float], Meta(max_length=1000)] = {}
    original: OriginalCard | None = None
    origin_key: Annotated[str, Meta(max_length=100)] | None = None


@dataclass(frozen=True, eq=False)
class Model:
    """One or more trained networks that predict from pixels.

    Attributes
    ----------
    networks : tuple of Network
        Usually one; the outputs of several are averaged. All have the same first and last size. They are frozen, see
        :meth:`fastnn.Network.freeze`: to train one further, train its :meth:`~fastnn.Network.copy`.
    classes : tuple of str
        Class name of each output.
    invert : bool
        False: the network's input is value / 255, so that white paper is 1. True: 1 - value / 255, so that white is 0.
    normalise : bool
        Whether images go through :func:`fastnn.images.normalise_picture` first, as they did in training.
    card : ModelCard
        Where the model comes from: recipe, epochs, data, metrics.

    Raises
    ------
    ModelError
        If the sizes of the networks do not fit each other or the classes, or the outputs are not those of classes.

    Examples
    --------
    >>> import fastnn
    >>> data = fastnn.load_dataset("drawn:200")
    >>> model = fastnn.fit(data, fastnn.Recipe(hidden=(16,), epochs=2), progress=False)
    >>> isinstance(model, fastnn.Model)
    True
    >>> model.predict(data.images[:3]).shape
    (3,)
    >>> model.predict_proba(data.images[:3]).shape
    (3, 10)
    """

    networks: tuple[Network, ...]
    classes: tuple[str, ...]
    invert: bool = False
    normalise: bool = False
    card: ModelCard = field(default_factory=ModelCard)
    _idle: list[list[Engine]] = field(default_factory=list, init=False, repr=False)
    _bounded: bool = field(default=False, init=False, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_idle": []}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        # Unpickled arrays are writeable.
        for network in self.networks:
            network.freeze()

    def __post_init__(self) -> None:
        if not self.networks:
            raise ModelError("a model needs at least one network")
        ends = {(network.sizes[0], network.sizes[-1]) for network in self.networks}
        if len(ends) != 1 or self.network.sizes[-1] != len(self.classes):
            raise ModelError(
                f"the networks' sizes {[list(network.sizes) for network in self.networks]} "
                f"do not fit each other and {len(self.classes)} classes"
            )
        for network in self.networks:
            # Model files say the rule alone: other outputs would be read again as a softmax.
            if network.output != ("sigmoid" if network.rule == "original" else "softmax"):
                raise ModelError(f"a model of classes with rule backprop needs softmax outputs: {network}")
        # An engine copies weights that cannot change only once, and not for each prediction.
        for network in self.networks:
            network.freeze()
        # Then no prediction can overflow, and none is checked.
        object.__setattr__(self, "_bounded", all(network.cannot_overflow() for network in self.networks))

    def check_outputs(self) -> None:
        """Raise ModelError if weights are not finite, or so large that the outputs for some images are not finite.

        The images are white, black and noise. Predictions are checked as well, unless it is proven that all of them
        are finite.
        """
        for network in self.networks:
            if not has_finite_outputs(network, self.invert):
                raise ModelError(_overflow(network))

    def with_card(self, **changes: Any) -> Model:
        """Return a model with the same networks and some fields of the card changed."""
        return dataclasses.replace(self, card=msgspec.structs.replace(self.card, **changes))

    @property
    def network(self) -> Network:
        """The first network."""
        return self.networks[0]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Layer sizes of the first network."""
        return self.network.sizes

    def _repr_html_(self) -> str:
        """Return a table for notebooks: layers, recipe, data and accuracy."""
        from fastnn.tables import html_table

        card, shown = self.card, self.classes[:_SHOWN_CLASSES]
        rows = [
            ("networks", len(self.networks)),
            ("layers", "-".join(map(str, self.sizes))),
            ("classes", ", ".join(shown) + (", ..." if len(self.classes) > len(shown) else "")),
        ]
        if card.recipe is not None:
            rows.append(("recipe", f"{card.recipe.name}, seed {card.recipe.seed}"))
        if card.epochs is not None:
            rows.append(("epochs", card.epochs))
        if card.data is not None:
            rows.append(("data", card.data.description))
        rows += [
            (name.replace("_", " "), f"{value:.4f}") for name, value in list(card.metrics.items())[:_SHOWN_CLASSES]
        ]
        return html_table("fastnn.Model", rows)

    def sha256(self) -> str:
        """Return the SHA-256 of the weights; of an ensemble, that of its networks' SHA-256s."""
        checksums = [network.sha256() for network in self.networks]
        return checksums[0] if len(checksums) == 1 else hashlib.sha256("".join(checksums).encode()).hexdigest()

    def outputs(self, images: ArrayLike) -> NDArray[np.float64]:
        """Return the mean of the networks' outputs; :meth:`predict_proba` scales it to probabilities.

        Parameters
        ----------
        images : array_like of uint8, shape (n, pixels) or (pixels,)
            255 = white, 0 = black.

        Returns
        -------
        ndarray of float64, shape (n, classes)

        Raises
        ------
        DataError
            If the images are not whole numbers from 0 to 255, or have another shape.
        ModelError
            If an output is not finite, since the weights are too large.
        """
        pixels = self._as_pixels(images)
        threads = min(cores(), len(pixels) // _LEAST_PER_THREAD) if len(pixels) >= 2 * _LEAST_PER_THREAD else 1
        if threads == 1:
            return self._run(pixels)
        # Kernels release the GIL. Each thread gets whole blocks, so that the number of threads changes no bits.
        share = -(-len(pixels) // (threads * BLOCK)) * BLOCK
        parts = [pixels[start : start + share] for start in range(0, len(pixels), share)]
        with ThreadPoolExecutor(threads) as pool:
            return np.concatenate(list(pool.map(self._run, parts)))

    def _run(self, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        if self.normalise:
            from fastnn.images import normalise_batch

            pixels, _ = normalise_batch(pixels, polarity="dark-on-light")
        # Concurrent threads need an engine each. Idle ones are kept: making one takes longer than predicting a digit.
        try:
            engines = self._idle.pop()
        except IndexError:
            engines = [Engine(network) for network in self.networks]
        outputs = [run_images(engine, pixels, self.invert) for engine in engines]
        if not self._bounded:
            for network, some in zip(self.networks, outputs, strict=True):
                if not np.isfinite(some).all():
                    raise ModelError(_overflow(network))
        if len(self._idle) < _MAX_IDLE:
            self._idle.append(engines)
        if len(outputs) == 1:  # np.mean would take a third of the time of a prediction
            return outputs[0].astype(np.float64)
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
        # If all sigmoids underflow to 0, all classes get the same probability.
        zero = total == 0
        return np.where(zero, 1.0 / len(self.classes), outputs / np.where(zero, 1.0, total))

    def predict(self, images: ArrayLike) -> NDArray[np.int64]:
        """Return the index in `classes` of the most probable class of each image.

        Parameters
        ----------
        images : array_like of uint8, shape (n, pixels) or (pixels,)

        Returns
        -------
        ndarray of int64, shape (n,)
        """
        labels: NDArray[np.int64] = self.outputs(images).argmax(axis=1)
        return labels

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
            raise DataError("pixels must be whole numbers from 0 to 255 (255 = white)")
        return pixels.astype(np.uint8)


def _overflow(network: Network) -> str:
    """Return what is wrong with weights that give outputs that are not finite, and the fix."""
    wrong = OVERFLOW if network.is_finite() else "the network's weights hold NaN or infinity"
    return f"{wrong}; train it again, with a smaller learning rate"


def as_inputs(images: NDArray[np.uint8], invert: bool, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return pixels as inputs of a network, from 0 to 1.

    Parameters
    ----------
    images : ndarray of uint8
        255 = white.
    invert : bool
        See :class:`Model`.
    dtype : dtype
        Type of the result and of the division.

    Returns
    -------
    ndarray of dtype
        The same shape as `images`.
    """
    return input_levels(invert, dtype)[images]


def input_levels(invert: bool, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return the network's input for each of the 256 grey levels, shape (256,)."""
    grey = np.arange(256, dtype=dtype)
    if invert:
        grey = 255 - grey
    return np.asarray(grey / np.asarray(255, dtype=dtype))
