"""Models: trained networks with the names of their classes, what they do to pixels, and where they come from."""

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
from fastnn.engine import Engine, run
from fastnn.errors import DataError, ModelError
from fastnn.kernels.workspace import BLOCK
from fastnn.recipe import Recipe  # noqa: TC001
from fastnn.threads import cores

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from fastnn.network import Network

_Text = Annotated[str, Meta(max_length=1 << 16)]
_Count = Annotated[int, Meta(ge=0, le=(1 << 53) - 1)]

_LEAST_PER_THREAD = 256
"""Images that take a thread a millisecond or so; with fewer, starting it costs more than it saves."""

_SHOWN_CLASSES = 30
"""Names listed in a notebook."""


class DataCard(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The data set that a model was trained and tested on.

    Attributes
    ----------
    source : str
        Name, path or URL that :func:`fastnn.load_dataset` takes.
    description : str
        What the data set says of itself.
    hash : str
        Its :attr:`fastnn.Dataset.content_hash`.
    n_train, n_test : int or None
        Images trained on and held back.
    split : Split or None
        Which of its images were held back; None if that is not known.
    """

    source: _Text
    description: _Text
    hash: Annotated[str, Meta(max_length=128)]
    n_train: _Count | None = None
    n_test: _Count | None = None
    split: Split | None = None


class OriginalCard(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file of the original's that a model was imported from.

    Attributes
    ----------
    file : str
        Its name.
    training : Any
        What its key ``training`` holds, as parsed JSON; None without one.
    """

    file: _Text
    training: Any = None


class ModelCard(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Where a model comes from. Every field may be unknown.

    Attributes
    ----------
    recipe : Recipe or None
        What it was trained with.
    epochs : int or None
        Epochs that were trained.
    data : DataCard or None
        What it was trained on.
    seed : int or None
        Seed of the recipe.
    version : str or None
        Version of fastnn that trained it.
    metrics : dict of str to float
        How well it does on the test set: ``test_accuracy``, ``balanced_accuracy``, ``test_loss``.
    original : OriginalCard or None
        Given if the model was imported from a file of the original's.
    origin_key : str or None
        Given by the web app's own training: key of the model that the server was started with, see
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
    """Trained networks that predict from pixels.

    Attributes
    ----------
    networks : tuple of Network
        Usually one; the outputs of several are averaged. All have the same first and last size. They are frozen, see
        :meth:`fastnn.Network.freeze`: to train one further, train its :meth:`~fastnn.Network.copy`.
    classes : tuple of str
        Names of the outputs.
    invert : bool
        False: the network's input is value / 255, so that white paper is 1. True: 1 - value / 255, so that white is 0.
    normalise : bool
        Whether images go through :func:`fastnn.images.normalise_picture` first, as they did in training.
    card : ModelCard
        Where the model comes from: recipe, epochs, data, metrics.

    Raises
    ------
    ModelError
        If the sizes of the networks do not fit each other or the classes.

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

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_idle": []}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        # Arrays lose their being read-only when they are pickled.
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
        # Weights that cannot change are copied into an engine once, and not for each prediction.
        for network in self.networks:
            network.freeze()

    def with_card(self, **changes: Any) -> Model:
        """Return the same model with some fields of its card changed."""
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
        pixels = self._as_pixels(images)
        threads = min(cores(), len(pixels) // _LEAST_PER_THREAD) if len(pixels) >= 2 * _LEAST_PER_THREAD else 1
        if threads == 1:
            return self._run(pixels)
        # Kernels release Python's lock. Whole blocks go to a thread, so that their number changes no bits.
        share = -(-len(pixels) // (threads * BLOCK)) * BLOCK
        parts = [pixels[start : start + share] for start in range(0, len(pixels), share)]
        with ThreadPoolExecutor(threads) as pool:
            return np.concatenate(list(pool.map(self._run, parts)))

    def _run(self, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        if self.normalise:
            from fastnn.images import normalise_batch

            pixels, _ = normalise_batch(pixels, polarity="dark-on-light")
        # Each thread that is here at a time has its own engines; making one takes longer than to classify a digit.
        engines = self._idle.pop() if self._idle else [Engine(network) for network in self.networks]
        outputs = [run(engine, pixels, self.invert) for engine in engines]
        self._idle.append(engines)
        if len(outputs) == 1:  # a third of the time of a prediction is saved
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
            raise DataError("pixels must be whole numbers of 0 to 255 (255 = paper)")
        return pixels.astype(np.uint8)


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
