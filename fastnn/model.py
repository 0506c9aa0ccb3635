"""Models: trained networks with the names of their outputs, preprocessing and a card that says where they come from."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import msgspec
import numpy as np
from msgspec import Meta

from fastnn.datasets.columns import total_width
from fastnn.datasets.dataset import check_finite
from fastnn.datasets.mapped import ChangedRows, MappedRows
from fastnn.datasets.options import ReadOptions
from fastnn.datasets.polarity import StoredPolarity  # noqa: TC001 - msgspec reads the annotations
from fastnn.datasets.sparse import SparseRows
from fastnn.datasets.split import Split  # noqa: TC001 - msgspec reads the annotations
from fastnn.engine import Engine, has_finite_outputs
from fastnn.errors import DataError, ModelError
from fastnn.inputs import ImageInput, as_rows, kernel_input
from fastnn.kernels.workspace import BLOCK
from fastnn.large_arrays import ROWS_IN_PART
from fastnn.network import OVERFLOW, Task
from fastnn.recipe import Recipe  # noqa: TC001
from fastnn.threads import cores

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from fastnn.datasets.columns import Column
    from fastnn.datasets.scaling import Scaling
    from fastnn.inputs import KernelInput
    from fastnn.network import Network

_Text = Annotated[str, Meta(max_length=1 << 16)]
_Count = Annotated[int, Meta(ge=0, le=(1 << 53) - 1)]

LEAST_PROBABILITY = 1e-30
"""Lower bound in a logarithm; float32 has smaller ones, but not all processors."""

LEAST_CALIBRATED = 1e-4
"""Least probability after label smoothing is undone. With less a wrong class could be impossible; with 1e-3 those of
`modern` are further from the shares of right answers."""

_LEAST_PER_THREAD = 256
"""Least number of samples for a thread, which take about a millisecond if they are images; for fewer, starting it costs
too much."""
_MOST_PER_CALL = 2048
"""Most samples that a thread takes at a time; their images are 1.5 MiB."""

_MAX_IDLE = 8
"""Sets of engines kept for later predictions; a server may predict on many threads at once, but seldom does."""

_SHOWN_NAMES = 30
"""Most names of outputs and metrics shown in a notebook."""

OUTPUT_WORDS: dict[Task, str] = {"classification": "classes", "multilabel": "labels", "regression": "targets"}
"""What the outputs are called, for each task."""


class DataCard(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
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
        Samples trained on and held back.
    split : Split or None
        Which of its samples were held back; None if unknown.
    target : tuple of str or None
        Of a table in a file: the columns that hold the targets.
    task : {"classification", "multilabel", "regression"} or None
        Of a table in a file: what is learned.
    polarity : {"dark-on-light", "light-on-dark", "mixed"} or None
        Of images: how the source stores them, see :class:`fastnn.Dataset`.
    polarity_option : {"dark-on-light", "light-on-dark"} or None
        Of images: how they were asked to be read; None if the images decided.
    classes : tuple of str or None
        The only classes that were taken; None for all.
    """

    source: _Text
    description: _Text
    hash: Annotated[str, Meta(max_length=128)]
    n_train: _Count | None = None
    n_test: _Count | None = None
    split: Split | None = None
    target: Annotated[tuple[_Text, ...], Meta(max_length=1 << 16)] | None = None
    task: Task | None = None
    polarity: StoredPolarity | None = None
    polarity_option: Literal["dark-on-light", "light-on-dark"] | None = None
    classes: Annotated[tuple[_Text, ...], Meta(max_length=1 << 20)] | None = None

    @property
    def options(self) -> ReadOptions:
        """How the data set is read again."""
        return ReadOptions(self.target or (), self.task, self.polarity_option or "auto", classes=self.classes or ())


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


class StartCard(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The trained model that a training started from.

    Attributes
    ----------
    sha256 : str
        Its :meth:`Model.sha256`.
    source : str
        Its file or run folder; empty if it was not read from one.
    """

    sha256: Annotated[str, Meta(max_length=128)]
    source: _Text = ""


class Calibration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How outputs become probabilities that are as large as the share of right answers.

    Training with label smoothing teaches a network to give the right one of k classes at most 1 - s + s / k.

    Attributes
    ----------
    label_smoothing : float
        The s that is undone, in (0, 1), see :meth:`apply`.
    """

    label_smoothing: Annotated[float, Meta(gt=0, lt=1)]

    def apply(self, probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return (p - s / k) / (1 - s) for each probability p, at least 0.0001, divided by their sum.

        The order of the classes does not change.

        Parameters
        ----------
        probabilities : ndarray of float64, shape (n, k)
        """
        slope, offset = self.line(probabilities.shape[1])
        undone = np.maximum(probabilities * slope + offset, LEAST_CALIBRATED)
        return np.asarray(undone / undone.sum(axis=1, keepdims=True))

    def line(self, n_classes: int) -> tuple[float, float]:
        """Return slope and offset of the line that undoes the smoothing."""
        return 1 / (1 - self.label_smoothing), -self.label_smoothing / n_classes / (1 - self.label_smoothing)


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
        Results on the test set, see :attr:`fastnn.evaluation.metrics.Evaluation.metrics`.
    original : OriginalCard or None
        Set if the model was imported from the original's JSON.
    least_evidence : float or None
        Of images: the :func:`evidence` that 99 of 100 test images exceed; less is far from all that was learned.
    origin_key : str or None
        Set by the web app's training: key of the model that the server was started with, see
        :class:`fastnn.web.serving.ServedModel`.
    start : StartCard or None
        Set if training started from a trained model.
    calibration : Calibration or None
        How :meth:`Model.predict_proba` changes the networks' mean outputs; None if it does not.
    """

    recipe: Recipe | None = None
    epochs: _Count | None = None
    data: DataCard | None = None
    seed: Annotated[int, Meta(ge=0, le=(1 << 63) - 1)] | None = None
    version: Annotated[str, Meta(max_length=100)] | None = None
    metrics: Annotated[dict[Annotated[str, Meta(max_length=100)], float], Meta(max_length=1000)] = {}
    original: OriginalCard | None = None
    least_evidence: float | None = None
    origin_key: Annotated[str, Meta(max_length=100)] | None = None
    start: StartCard | None = None
    calibration: Calibration | None = None


def evidence(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the logarithm of the highest probability above the mean of all logarithms, of each sample.

    Of a softmax it is the highest pre-activation above their mean. Drawings of other signs have less of it than digits,
    also where the probability is high: of 288 letters and scribbles, 73 to 82 % have less than all but 2 % of the
    digits, while 53 to 67 % are found by the difference of the two highest probabilities.

    Parameters
    ----------
    probabilities : ndarray of float64, shape (n, classes)

    Returns
    -------
    ndarray of float64, shape (n,)
    """
    logarithms = np.log(np.maximum(probabilities, LEAST_PROBABILITY))
    return np.asarray(logarithms.max(axis=1) - logarithms.mean(axis=1))


@dataclass(frozen=True, eq=False)
class Model:
    """One or more trained networks that predict from images or from the rows of a table.

    Attributes
    ----------
    networks : tuple of Network
        Usually one; the outputs of several are averaged. All have the same sizes and outputs at both ends. They are
        frozen, see :meth:`fastnn.Network.freeze`: to train one further, train its :meth:`~fastnn.Network.copy`.
    names : tuple of str
        Name of each output: of a class, of a label, or of the target of a regression.
    invert : bool
        Of images. False: the network's input is value / 255, so that white paper is 1. True: 1 - value / 255, so that
        white is 0.
    normalise : bool
        Whether images go through :func:`fastnn.images.normalise_picture` first, as they did in training.
    card : ModelCard
        Where the model comes from: recipe, epochs, data, metrics.
    takes : {"images", "rows"}
        What it predicts from.
    columns : tuple of Column or None
        The table's columns, if they have names.
    scaling : Scaling or None
        Standardises rows before the networks get them.
    target_scaling : Scaling or None
        Of a regression whose targets were standardised: the outputs are scaled back.

    Raises
    ------
    ModelError
        If the networks do not fit each other, the names, the columns or the scalings.

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
    names: tuple[str, ...]
    invert: bool = False
    normalise: bool = False
    card: ModelCard = field(default_factory=ModelCard)
    takes: Literal["images", "rows"] = "images"
    columns: tuple[Column, ...] | None = None
    scaling: Scaling | None = None
    target_scaling: Scaling | None = None
    _idle: list[list[Engine]] = field(default_factory=list, init=False, repr=False)
    _bounded: bool = field(default=False, init=False, repr=False)
    _inputs: dict[str, Any] = field(default_factory=dict, init=False, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_idle": [], "_inputs": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        # Unpickled arrays are writeable.
        for network in self.networks:
            network.freeze()

    def __post_init__(self) -> None:
        if not self.networks:
            raise ModelError("a model needs at least one network")
        ends = {(network.sizes[0], network.sizes[-1]) for network in self.networks}
        if len(ends) != 1 or self.network.sizes[-1] != len(self.names):
            raise ModelError(
                f"the networks' sizes {[list(network.sizes) for network in self.networks]} "
                f"do not fit each other and {len(self.names)} {OUTPUT_WORDS[self.network.task]}"
            )
        kinds = {(network.task, network.rule, network.dtype) for network in self.networks}
        if len({task for task, _, _ in kinds}) != 1:
            raise ModelError("the networks' outputs do not fit each other; one model has one task")
        self._check_inputs()
        # An engine copies weights that cannot change only once, and not for each prediction.
        for network in self.networks:
            network.freeze()
        # Then no prediction can overflow, and none is checked.
        bounded = self.takes == "images" and all(network.cannot_overflow() for network in self.networks)
        object.__setattr__(self, "_bounded", bounded)

    def _check_inputs(self) -> None:
        """Raise ModelError if columns or scalings do not fit the networks."""
        if self.card.calibration is not None and self.task != "classification":
            raise ModelError(f"a model whose task is {self.task} has no label smoothing to undo")
        if self.takes == "images":
            if self.columns is not None or self.scaling is not None or self.target_scaling is not None:
                raise ModelError("a model of images has neither columns nor scalings")
            if self.task != "classification":
                raise ModelError(f"a model of images learns classes, not a {self.task}")
            return
        if self.invert or self.normalise:
            raise ModelError("a model of rows does not invert or normalise images")
        if self.columns is not None and total_width(self.columns) != self.n_inputs:
            width = total_width(self.columns)
            raise ModelError(f"the columns are {width} inputs, but the networks have {self.n_inputs}")
        if self.target_scaling is not None and self.task != "regression":
            raise ModelError(f"a model whose task is {self.task} has no scaled targets")
        for scaling, n in ((self.scaling, self.n_inputs), (self.target_scaling, len(self.names))):
            if scaling is not None and not (scaling.mean.shape == scaling.factor.shape == (n,) and scaling.is_finite()):
                raise ModelError(f"the scaling does not hold a finite mean and factor for each of {n} columns")

    @property
    def task(self) -> Task:
        """What the model predicts: "classification", "multilabel" or "regression"."""
        return self.network.task

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes; the same as `names`."""
        return self.names

    @property
    def n_inputs(self) -> int:
        """Number of features of a sample."""
        return self.network.sizes[0]

    def check_outputs(self) -> None:
        """Raise ModelError if weights are not finite, or so large that the outputs for some samples are not finite.

        The samples are a few images or rows. Predictions are checked as well, unless it is proven that all of them are
        finite.
        """
        for network in self.networks:
            if not has_finite_outputs(network, probe_kind(self.takes, self.invert)):
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
        """Return a table for notebooks: layers, recipe, data and results."""
        from fastnn.tables import html_table

        card, shown = self.card, self.names[:_SHOWN_NAMES]
        rows = [
            ("networks", len(self.networks)),
            ("layers", "-".join(map(str, self.sizes))),
            (OUTPUT_WORDS[self.task], ", ".join(shown) + (", ..." if len(self.names) > len(shown) else "")),
        ]
        if card.recipe is not None:
            rows.append(("recipe", f"{card.recipe.name}, seed {card.recipe.seed}"))
        if card.epochs is not None:
            rows.append(("epochs", card.epochs))
        if card.data is not None:
            rows.append(("data", card.data.description))
        rows += [(name.replace("_", " "), f"{value:.4f}") for name, value in list(card.metrics.items())[:_SHOWN_NAMES]]
        return html_table("fastnn.Model", rows)

    def sha256(self) -> str:
        """Return the SHA-256 of the weights; of an ensemble, that of its networks' SHA-256s."""
        checksums = [network.sha256() for network in self.networks]
        return checksums[0] if len(checksums) == 1 else hashlib.sha256("".join(checksums).encode()).hexdigest()

    def outputs(self, samples: Any) -> NDArray[np.float64]:
        """Return the mean of the networks' outputs; :meth:`predict_proba` scales those of classes to probabilities.

        Parameters
        ----------
        samples : array_like, SparseRows or SciPy sparse matrix
            Images: uint8, shape (n, pixels) or (pixels,); 255 = white, 0 = black. Rows: numbers, shape (n, n_inputs)
            or (n_inputs,).

        Returns
        -------
        ndarray of float64, shape (n, len(names))
            Of a regression in the unit of the targets.

        Raises
        ------
        DataError
            If the samples have another shape, images are not whole numbers from 0 to 255, a value of a row is NaN or
            infinite, or the columns of a data frame have other names than those of the model.
        ModelError
            If an output is not finite, since the weights are too large.
        """
        given = self._as_pixels(samples) if self.takes == "images" else self._as_rows(samples)
        n = len(given)
        threads = min(cores(), n // _LEAST_PER_THREAD) if n >= 2 * _LEAST_PER_THREAD else 1
        if threads == 1 and (n <= _MOST_PER_CALL or not isinstance(given, MappedRows)):
            return self._run(given[:] if isinstance(given, MappedRows) else given)
        # Kernels release the GIL. Each thread gets whole blocks, so that the number of threads changes no bits; few, so
        # that all end together and, of mapped rows, few are in memory.
        share = min(_MOST_PER_CALL, -(-n // (threads * BLOCK)) * BLOCK)
        result = np.empty((n, len(self.names)))

        def run(start: int) -> None:
            stop = min(n, start + share)
            result[start:stop] = self._run(_part(given, start, stop))

        with ThreadPoolExecutor(threads) as pool:
            for _ in pool.map(run, range(0, n, share)):
                pass
        return result

    def outputs_in_parts(self, samples: Any, rows: int = 0) -> Iterator[tuple[slice, NDArray[np.float64]]]:
        """Yield which samples a part holds, and their :meth:`outputs`, so that those of few are in memory.

        Of no samples, one part is yielded.

        Parameters
        ----------
        samples : ndarray, MappedRows or SparseRows
            See :meth:`outputs`.
        rows : int
            Samples of a part; by default :data:`fastnn.large_arrays.ROWS_IN_PART`.
        """
        step = rows or ROWS_IN_PART
        for start in range(0, max(1, len(samples)), step):
            stop = min(len(samples), start + step)
            if isinstance(samples, MappedRows) and (samples.index is not None or isinstance(samples, ChangedRows)):
                # Not an array of them all: threads read a few at a time.
                part: Any = samples.take(np.arange(start, stop))
            else:
                part = _part(samples, start, stop)
            yield slice(start, stop), self.outputs(part)

    def _run(self, samples: NDArray[Any] | SparseRows) -> NDArray[np.float64]:
        # Concurrent threads need an engine each. Idle ones are kept: making one takes longer than predicting a digit.
        try:
            engines = self._idle.pop()
        except IndexError:
            engines = [Engine(network) for network in self.networks]
        outputs = []
        for engine, data in zip(engines, self._as_inputs(samples), strict=True):
            engine.load_weights(data)
            outputs.append(engine.outputs(data))
        if not self._bounded:
            for network, some in zip(self.networks, outputs, strict=True):
                if not np.isfinite(some).all():
                    raise ModelError(_overflow(network))
        if len(self._idle) < _MAX_IDLE:
            self._idle.append(engines)
        if len(outputs) == 1:  # np.mean would take a third of the time of a prediction
            mean = outputs[0].astype(np.float64)
        else:
            mean = np.asarray(np.mean(outputs, axis=0, dtype=np.float64))
        return mean if self.target_scaling is None else self.target_scaling.undo(mean)

    def _as_inputs(self, samples: NDArray[Any] | SparseRows) -> list[KernelInput]:
        """Return samples in the form that the kernels read, for each network."""
        if self.takes == "images":
            pixels = cast("NDArray[np.uint8]", samples)
            if self.normalise:
                from fastnn.images import normalise_batch

                pixels, _ = normalise_batch(pixels, polarity="dark-on-light")
            return [ImageInput(pixels, self.invert, "sparse")] * len(self.networks)
        kind = "sparse" if isinstance(samples, SparseRows) else samples.dtype.name
        data: dict[str, KernelInput] = {}
        for dtype in {network.dtype.name for network in self.networks}:
            # The baseline is found once: folding it into the biases of a wide network takes long.
            first = self._inputs.get(f"{kind} {dtype}")
            if first is None:
                # A dense first layer: the level of a column would depend on the other samples.
                first = kernel_input(_part(samples, 0, 0), dtype, scaling=self.scaling, first_layer="dense")
                self._inputs[f"{kind} {dtype}"] = first
            data[dtype] = first.like(samples)
        return [data[network.dtype.name] for network in self.networks]

    def predict_proba(self, samples: Any) -> NDArray[np.float64]:
        """Return the probability of each class, which sum to 1 in every row; of a multilabel model that of each label.

        The outputs of rule original are independent sigmoids; they are divided by their sum. A model that was trained
        with label smoothing undoes it, see :class:`Calibration`.

        Parameters
        ----------
        samples : array_like, SparseRows or SciPy sparse matrix
            See :meth:`outputs`.

        Returns
        -------
        ndarray of float64, shape (n, len(names))

        Raises
        ------
        ModelError
            If the model is a regression.
        """
        if self.task == "regression":
            raise ModelError("a regression predicts numbers, not probabilities; call predict")
        return self.as_probabilities(self.outputs(samples))

    def as_probabilities(self, outputs: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return :meth:`predict_proba` for samples whose :meth:`outputs` are given, for classes or labels."""
        if self.task == "multilabel":
            return outputs
        probabilities, calibration = as_probabilities(outputs), self.card.calibration
        return probabilities if calibration is None else calibration.apply(probabilities)

    def answers(self, samples: Any) -> NDArray[np.float64]:
        """Return :meth:`predict_proba`, or for a regression :meth:`outputs`; shape (n, len(names))."""
        outputs = self.outputs(samples)
        return outputs if self.task == "regression" else self.as_probabilities(outputs)

    def predict(self, samples: Any) -> NDArray[Any]:
        """Return the index in `names` of the most probable class, the labels, or the targets of each sample.

        Parameters
        ----------
        samples : array_like, SparseRows or SciPy sparse matrix
            See :meth:`outputs`.

        Returns
        -------
        ndarray
            Classification: int64, shape (n,). Multilabel: uint8, shape (n, len(names)), 1 for labels whose probability
            is above 0.5. Regression: float64, shape (n,), or (n, len(names)) for several targets.
        """
        predicted = decide(self.task, self.outputs(samples))
        return predicted[:, 0] if self.task == "regression" and len(self.names) == 1 else predicted

    def to_sklearn(self, classes: Any = None) -> Any:
        """Return a fitted estimator of scikit-learn itself with these weights; see :func:`fastnn.sklearn.to_sklearn`.

        Parameters
        ----------
        classes : array_like of shape (n_classes,), optional
            The classes in the order of `names`; by default the names.

        Returns
        -------
        sklearn.neural_network.MLPClassifier or MLPRegressor

        Raises
        ------
        ModelError
            If scikit-learn cannot express the model; the message has the reason.
        MissingExtraError
            If scikit-learn is not installed.
        """
        # By its name: the package imports this module.
        return importlib.import_module("fastnn.sklearn").to_sklearn(self, classes)

    def _as_pixels(self, images: Any) -> NDArray[np.uint8]:
        if not isinstance(images, np.ndarray) and (isinstance(images, SparseRows) or hasattr(images, "tocsr")):
            raise DataError("the model takes images, not the sparse rows of a table")
        if isinstance(images, MappedRows) and images.dtype == np.uint8 and images.shape[1] == self.sizes[0]:
            return cast("NDArray[np.uint8]", images)
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

    def _as_rows(self, samples: Any) -> NDArray[Any] | SparseRows:
        rows: NDArray[Any] | SparseRows
        if isinstance(samples, SparseRows):
            rows = samples
        elif isinstance(samples, MappedRows) and samples.dtype != np.uint8:
            rows = cast("NDArray[Any]", samples)
        elif not isinstance(samples, np.ndarray) and hasattr(samples, "tocsr"):
            rows = SparseRows.from_scipy(samples)
        else:
            if not isinstance(samples, np.ndarray):
                self._check_names(samples)
            array = np.asarray(samples)
            rows = as_rows(array[None, :] if array.ndim == 1 else array, np.float64)
        if rows.shape[1] != self.n_inputs:
            raise DataError(f"the model takes rows of {self.n_inputs} values, not of {rows.shape[1]}")
        if not isinstance(rows, MappedRows):  # those were checked when they were opened
            check_finite(rows, "the samples")
        return rows

    def _check_names(self, samples: Any) -> None:
        """Raise DataError if a data frame has its columns in another order than the model, or other ones."""
        given = list(getattr(samples, "columns", ()))
        # One-hot columns of categories have names that the model does not know.
        if self.columns is None or len(given) != len(self.columns) or len(given) != self.n_inputs:
            return
        for place, (name, column) in enumerate(zip(given, self.columns, strict=True)):
            if isinstance(name, str) and name != column.name:
                raise DataError(f"column {place} of the samples is {name!r}, but the model takes {column.name!r} there")


def decide(task: Task, outputs: NDArray[Any]) -> NDArray[Any]:
    """Return what outputs stand for.

    Parameters
    ----------
    task : {"classification", "multilabel", "regression"}
    outputs : ndarray of floats, shape (n, k)
        Those of classes and labels may be probabilities.

    Returns
    -------
    ndarray
        Classification: int64, shape (n,), the class with the largest output. Multilabel: uint8, shape (n, k), 1 for
        labels whose probability is above 0.5. Regression: the outputs.
    """
    if task == "classification":
        return np.asarray(outputs.argmax(axis=1), dtype=np.int64)
    return (outputs > 0.5).astype(np.uint8) if task == "multilabel" else outputs


def _part(samples: NDArray[Any] | SparseRows, start: int, stop: int) -> Any:
    """Return the samples from `start` up to `stop`."""
    return samples.take(np.arange(start, stop)) if isinstance(samples, SparseRows) else samples[start:stop]


def probe_kind(takes: Literal["images", "rows"], invert: bool) -> Literal["images", "inverted images", "rows"]:
    """Return on what :func:`fastnn.engine.has_finite_outputs` tries a network."""
    if takes == "rows":
        return "rows"
    return "inverted images" if invert else "images"


def as_probabilities(outputs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return outputs for classes, shape (n, classes), divided by their sums, so that every row sums to 1."""
    total = outputs.sum(axis=1, keepdims=True)
    # If all sigmoids underflow to 0, all classes get the same probability.
    zero = total == 0
    return np.where(zero, 1.0 / outputs.shape[1], outputs / np.where(zero, 1.0, total))


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
