"""Pictures to 28x28 images: reading, normalising, random distortion, picture sheets and mosaics.

The functions below are loaded when they are first used, so that importing one module of this package does not load
the others.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastnn.datasets.polarity import POLARITIES, Polarity
    from fastnn.images.decode import MAX_SIDE
    from fastnn.images.drawings import fit, normalise_picture, read_drawings, read_image
    from fastnn.images.normalise import is_blank, normalise_batch
    from fastnn.images.read import load_picture

__all__ = [
    "MAX_SIDE",
    "POLARITIES",
    "Polarity",
    "fit",
    "is_blank",
    "load_picture",
    "normalise_batch",
    "normalise_picture",
    "read_drawings",
    "read_image",
]

_MODULES = {
    "MAX_SIDE": "fastnn.images.decode",
    "load_picture": "fastnn.images.read",
    **dict.fromkeys(("fit", "normalise_picture", "read_drawings", "read_image"), "fastnn.images.drawings"),
    "POLARITIES": "fastnn.datasets.polarity",
    "Polarity": "fastnn.datasets.polarity",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(_MODULES.get(name, "fastnn.images.normalise"))
    value = getattr(module, name)
    globals()[name] = value
    return value
