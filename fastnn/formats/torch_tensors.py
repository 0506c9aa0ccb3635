"""Writes a model as the state of PyTorch layers, in a safetensors file that ``safetensors.torch.load_file`` reads.

The tensors have the names of the model file's, see :mod:`fastnn.formats.safetensors`, but weights have the shape
(outputs, inputs), as in ``torch.nn.Linear``. The metadata has the model file's JSON text too, under a key of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import safetensors.numpy

from fastnn.formats.safetensors import head_text, model_tensors

if TYPE_CHECKING:
    from fastnn.model import Model

KEY = "fastnn.torch"


def dump(model: Model, precision: str) -> bytes:  # noqa: ARG001 - the networks have it
    """Return the content of the file, see :class:`fastnn.formats.export.Exporter`."""
    tensors = {
        name: np.ascontiguousarray(array.T) if name.endswith(".weight") else array
        for name, array in model_tensors(model).items()
    }
    return safetensors.numpy.save(tensors, {KEY: head_text(model)})
