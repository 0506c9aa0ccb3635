"""Reads and writes a model as the state of PyTorch layers, in a file for ``safetensors.torch.load_file``.

The tensors have the names of the model file's, see :mod:`fastnn.formats.safetensors`, but weights have the shape
(outputs, inputs), as in ``torch.nn.Linear``. The metadata has the model file's JSON text too, under a key of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors.numpy

from fastnn.errors import ModelError
from fastnn.formats.safetensors import KEY as FASTNN_KEY
from fastnn.formats.safetensors import head_text, model_tensors, open_safetensors, read_tensors

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from fastnn.model import Model

KEY = "fastnn.torch"


def dump(model: Model, precision: str) -> bytes:  # noqa: ARG001 - the networks have it
    """Return the content of the file, see :class:`fastnn.formats.export.Exporter`."""
    tensors = {
        name: np.ascontiguousarray(array.T) if name.endswith(".weight") else array
        for name, array in model_tensors(model).items()
    }
    return safetensors.numpy.save(tensors, {KEY: head_text(model)})


def is_one(path: str | Path) -> bool:
    """Return whether :func:`dump` wrote a safetensors file; ModelError if it is damaged."""
    with open_safetensors(path) as file:
        return KEY in file.metadata and FASTNN_KEY not in file.metadata


def read(path: str | Path) -> Model:
    """Read a file that :func:`dump` wrote; ModelError if it is another one, or damaged."""
    with open_safetensors(path, outputs_first=True) as file:
        text = file.metadata.get(KEY)
        if text is None:
            raise ModelError(f"{path}: a safetensors file, but fastnn did not write it (no '{KEY}' in its metadata)")
        return read_tensors(file, text, path)[0]


def run(path: Path, model: Model, samples: Any) -> NDArray[np.float64]:  # noqa: ARG001 - the file holds all
    """Return what the model in the file predicts, see :class:`fastnn.formats.export.Exporter`."""
    return read(path).answers(samples)
