"""Writes a model as an archive of NumPy arrays, which ``numpy.load`` reads.

The arrays have the names of the model file's tensors, see :mod:`fastnn.formats.safetensors`; the array ``fastnn`` holds
its JSON text.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn.formats.safetensors import KEY, head_text, model_tensors

if TYPE_CHECKING:
    from fastnn.model import Model


def dump(model: Model, precision: str) -> bytes:  # noqa: ARG001 - the networks have it
    """Return the content of the archive, see :class:`fastnn.formats.export.Exporter`."""
    file = io.BytesIO()
    arrays: dict[str, Any] = {KEY: np.array(head_text(model)), **model_tensors(model)}
    np.savez(file, **arrays)
    return file.getvalue()
