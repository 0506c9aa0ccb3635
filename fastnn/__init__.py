"""Fast training of small neural networks on one CPU, one sample at a time.

The public names are loaded when they are first used (PEP 562): ``import fastnn`` loads neither Numba nor Pillow. It
imports no other module, so that the command line decides at once what Ctrl-C does.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__version__ = "0.1.0"

_HOME = {
    "Dataset": "fastnn.datasets",
    "FastnnError": "fastnn.errors",
    "Model": "fastnn.model",
    "Recipe": "fastnn.recipe",
    "Session": "fastnn.session",
    "compare": "fastnn.evaluation.compare",
    "cross_validate": "fastnn.crossval",
    "evaluate": "fastnn.evaluation.metrics",
    "export": "fastnn.formats.export",
    "fit": "fastnn.session",
    "load_dataset": "fastnn.datasets",
    "load_model": "fastnn.formats",
    "presets": "fastnn.recipe",
    "save_model": "fastnn.formats",
    "split": "fastnn.datasets",
    "train": "fastnn.training_loops",
}
_ALSO = {"EpochReport": "fastnn.training", "Network": "fastnn.network"}
"""Reachable as well, for annotations; not part of what `from fastnn import *` gives."""

__all__ = ["__version__", *_HOME]  # noqa: PLE0604 - the keys are strings


def __getattr__(name: str) -> "Any":
    import importlib

    home = {**_HOME, **_ALSO}.get(name)
    if home is None:
        raise AttributeError(f"module 'fastnn' has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
