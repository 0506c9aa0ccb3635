"""Fast training of small neural networks on one CPU, one sample at a time.

The public names are loaded when they are first used (PEP 562): ``import fastnn`` loads neither Numba nor Pillow.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "Dataset": "fastnn.datasets",
    "EpochReport": "fastnn.training",
    "FastnnError": "fastnn.errors",
    "Model": "fastnn.model",
    "Network": "fastnn.network",
    "Recipe": "fastnn.recipe",
    "evaluate": "fastnn.evaluation.metrics",
    "load_dataset": "fastnn.datasets",
    "load_model": "fastnn.formats",
    "presets": "fastnn.recipe",
    "save_model": "fastnn.formats",
    "split": "fastnn.datasets",
    "train": "fastnn.training",
}

__all__ = ["__version__", *_HOME]  # noqa: PLE0604 - the keys are strings


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'fastnn' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
