"""Exports a model to a file that other programs run, and checks that they give the same answers."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, cast

from fastnn.errors import ModelError, cannot_write
from fastnn.storage import atomic_write, check_new_file, user_path

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from fastnn.model import Model

Precision: TypeAlias = Literal["float64", "float32", "float16", "int8"]


class Exporter(Protocol):
    """What the module of a format has."""

    def dump(self, model: Model, precision: Precision) -> bytes:
        """Return the content of the file; ModelError with the reason if the format cannot hold the model."""

    def run(self, path: Path, model: Model, samples: Any) -> NDArray[np.float64]:
        """Return what the file computes for samples, as :meth:`Model.answers` does.

        Raises
        ------
        ModelError
            If what is needed to run it is not installed; the message names it.
        """


@dataclass(frozen=True)
class Format:
    """A format that models are exported to.

    Attributes
    ----------
    ending : str
        Of the file's name.
    name : str
        What it is, in words.
    module : str
        Module of ``fastnn.formats`` that is its :class:`Exporter`.
    precisions : tuple of str
        Types in which it can store the weights; the first is the default. Empty: that of the model.
    named : bool
        Whether its `dump` also takes `name`, the file's name without its ending, which the content repeats.
    """

    ending: str
    name: str
    module: str
    precisions: tuple[Precision, ...] = ()
    named: bool = False

    def exporter(self) -> Exporter:
        """Return the module that writes and runs it."""
        return cast("Exporter", importlib.import_module(f"fastnn.formats.{self.module}"))


FORMATS = (
    Format(".onnx", "ONNX", "onnx_graph", ("float32", "float64", "float16", "int8")),
    Format(".html", "one HTML page", "html_page", ("float16", "float32")),
    Format(".h", "C header", "c_header", ("float32", "int8"), named=True),
    Format(".json", "NN.json of the original", "original_json", ("float64",)),
    Format(".npz", "NumPy arrays", "npz_arrays"),
    Format(".pt", "PyTorch state in safetensors", "torch_tensors"),
    Format(".skops", "scikit-learn estimator", "sklearn_network", ("float64",)),
    Format(".safetensors", "model file of fastnn", "safetensors"),
)


@dataclass(frozen=True)
class Exported:
    """A file that a model was exported to.

    Attributes
    ----------
    path : Path
    format : str
        What it is, in words.
    precision : str
        Type in which the weights are stored.
    size : int
        Bytes.
    """

    path: Path
    format: str
    precision: str
    size: int


def format_of(path: str | Path) -> Format:
    """Return the format that the ending of a path names; ModelError if there is none."""
    ending = PurePath(path).suffix.lower()
    for each in FORMATS:
        if ending == each.ending:
            return each
    endings = ", ".join(each.ending for each in FORMATS)
    raise ModelError(f"{path}: no format has this ending; choose one of {endings}")


def choose_precision(model: Model, chosen: Format, precision: Precision | None) -> Precision:
    """Return the type of the weights in a file; ModelError if the format has no such type.

    By default it is the first one of the format, and float64 for a model in float64 if the format has it.
    """
    own = cast("Precision", model.network.dtype.name)
    allowed = chosen.precisions or (own,)
    if precision is None:
        return own if own == "float64" and own in allowed else allowed[0]
    if precision not in allowed:
        raise ModelError(f"{chosen.name} ({chosen.ending}) has no precision {precision}; choose {' or '.join(allowed)}")
    return precision


def export(model: Model, path: str | Path, *, precision: Precision | None = None, force: bool = False) -> Exported:
    """Write a model as a file that other programs run; the ending of its name says in which format.

    Parameters
    ----------
    model : Model
    path : path-like
        ``.onnx``, ``.html``, ``.h`` (C), ``.json`` (the original's), ``.npz`` (NumPy), ``.pt`` (PyTorch),
        ``.skops`` (scikit-learn) or ``.safetensors``; see ``fastnn guide export``.
    precision : {"float64", "float32", "float16", "int8"}, optional
        Type of the weights in the file; by default the format's own choice.
    force : bool
        Whether an existing file may be replaced.

    Returns
    -------
    Exported

    Raises
    ------
    ModelError
        If the format cannot hold the model, or the file exists or cannot be written. Then no file is left behind.
    MissingExtraError
        If an optional dependency is missing.

    Examples
    --------
    >>> import fastnn
    >>> model = fastnn.fit("drawn:200", fastnn.Recipe(hidden=(16,), epochs=2), progress=False)
    >>> fastnn.export(model, "model.npz").format
    'NumPy arrays'
    """
    path = user_path(path)
    chosen = format_of(path)
    type_of_weights = choose_precision(model, chosen, precision)
    check_new_file(path, force=force)
    try:
        name = {"name": path.name[: -len(chosen.ending)]} if chosen.named else {}
        content = chosen.exporter().dump(model, type_of_weights, **name)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None
    try:
        with atomic_write(path) as file:
            file.write(content)
    except OSError as error:
        raise cannot_write(path, error, ModelError) from None
    return Exported(path, chosen.name, type_of_weights, len(content))
