"""Pictures to 28x28 images: reading, normalising, random distortion, picture sheets and mosaics.

The functions below are loaded when they are first used, so that importing one module of this package does not load
the others.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastnn.images.normalise import fit, is_blank, normalise_batch, normalise_picture, read_image
    from fastnn.images.read import MAX_SIDE, POLARITIES, Polarity, load_picture

__all__ = [
    "MAX_SIDE",
    "POLARITIES",
    "Polarity",
    "fit",
    "is_blank",
    "load_picture",
    "normalise_batch",
    "normalise_picture",
    "read_image",
]

_IN_READ = {"MAX_SIDE", "POLARITIES", "Polarity", "load_picture"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{'read' if name in _IN_READ else 'normalise'}")
    value = getattr(module, name)
    globals()[name] = value
    return value
