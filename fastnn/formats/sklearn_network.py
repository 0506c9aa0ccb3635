"""Writes a model as a scikit-learn estimator in a skops file, and reads such files; only this file imports skops.

A skops file is an archive of arrays and a JSON text that says what objects they belong to. Its types are compared with
a short list of those that multi-layer perceptrons have, before anything is made of them.
"""

from __future__ import annotations

import json
import warnings
from typing import TYPE_CHECKING, Any

from fastnn.datasets.array_stream import ArrayFault
from fastnn.datasets.npz_archive import check_size, opened, read_infos
from fastnn.errors import DataError, FastnnError, MissingExtraError, ModelError
from fastnn.formats.foreign import Facts
from fastnn.reading import read_file

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from fastnn.model import Model

_FILE_LIMIT = 1 << 30
_SCHEMA = "schema.json"
_SCHEMA_LIMIT = 16 << 20

_OPTIMIZERS = [f"sklearn.neural_network._stochastic_optimizers.{name}" for name in ("AdamOptimizer", "SGDOptimizer")]
"""Types that skops does not trust by itself: plain Python objects, which hold a few numbers and arrays."""
_TYPES = {
    "builtins": {"bool", "dict", "float", "int", "list", "NoneType", "str", "tuple"},
    "numpy": {"bool", "bool_", "dtype", "float32", "float64", "int32", "int64", "ndarray", "str_"},
    "numpy.random.mtrand": {"RandomState"},
    "sklearn.neural_network._multilayer_perceptron": {"MLPClassifier", "MLPRegressor"},
    "sklearn.neural_network._stochastic_optimizers": {"AdamOptimizer", "SGDOptimizer"},
    "sklearn.pipeline": {"Pipeline"},
    "sklearn.preprocessing._data": {"StandardScaler"},
    "sklearn.preprocessing._label": {"LabelBinarizer"},
}
_LOADERS = {
    "DictNode", "JsonNode", "ListNode", "NdArrayNode", "ObjectNode", "RandomStateNode", "TupleNode", "TypeNode",
}  # fmt: skip


def dump(model: Model, precision: str) -> bytes:  # noqa: ARG001 - float64, as scikit-learn has it
    """Return the content of the file, see :class:`fastnn.formats.export.Exporter`."""
    skops = _skops()
    from fastnn.sklearn.network import to_sklearn

    content: bytes = skops.dumps(to_sklearn(model))
    return content


def read(path: Path, facts: Facts | None = None) -> Model:
    """Read a multi-layer perceptron of scikit-learn, alone or behind a StandardScaler in a pipeline.

    Parameters
    ----------
    path : Path
    facts : Facts, optional
        What the file does not say. By default it takes rows.

    Raises
    ------
    ModelError
        If it holds something else, or is damaged.
    """
    from fastnn.sklearn.network import foreign_of

    estimator = _load(path)
    try:
        return foreign_of(estimator).model(_with_rows(facts or Facts()))
    except FastnnError as error:
        raise ModelError(f"{path}: {error}") from None


def run(path: Path, model: Model, samples: Any) -> NDArray[np.float64]:
    """Return what the estimator predicts, see :class:`fastnn.formats.export.Exporter`."""
    from fastnn.sklearn.network import answers_of

    return answers_of(_load(path), model, samples)


def _with_rows(facts: Facts) -> Facts:
    return facts if facts.takes is not None else facts.joined(Facts(takes="rows"))


def _skops() -> Any:
    try:
        import skops.io
    except ImportError:
        raise MissingExtraError("a .skops file", "skops") from None
    return skops.io


def _load(path: Path) -> Any:
    """Return the estimator in a file whose types are all known."""
    skops = _skops()
    _check(path)
    content = read_file(path, _FILE_LIMIT, what="a model", error=ModelError)
    try:
        # Of another version of scikit-learn: the arrays are checked here.
        with warnings.catch_warnings(action="ignore"):
            unknown = sorted(set(skops.get_untrusted_types(data=content)) - set(_OPTIMIZERS))
            if unknown:
                raise ModelError(f"{path}: holds the type {unknown[0]}, which is not trusted")
            return skops.loads(content, trusted=_OPTIMIZERS)
    except ModelError:
        raise
    # It makes objects of a text, which may say anything: all kinds of exceptions.
    except Exception as error:
        raise ModelError(f"{path}: not a scikit-learn estimator in skops, or damaged ({_text(error)})") from None


def _check(path: Path) -> None:
    """Raise ModelError if a file holds other types, or arrays that are not what their headers say."""
    try:
        with opened(path, "a model") as (archive, size):
            members = {info.filename: info for info in archive.infolist()}
            if len(members) != len(archive.infolist()):
                raise ArrayFault("two of its files have the same name")
            check_size(members.values(), size)
            read_infos(archive, members)
            schema = members.pop(_SCHEMA, None)
            if schema is None or schema.file_size > _SCHEMA_LIMIT:
                raise ArrayFault(f"no {_SCHEMA} of at most {_SCHEMA_LIMIT >> 20} MiB")
            other = next((name for name in members if not name.endswith(".npy")), None)
            if other is not None:
                raise ArrayFault(f"holds {other!r}, which multi-layer perceptrons do not have")
            _check_types(json.loads(archive.read(schema)))
    except DataError as error:
        raise ModelError(str(error).replace("not an .npz file", "not a skops file")) from None


def _check_types(schema: Any) -> None:
    """Raise an ArrayFault if a schema needs a type that is not on the list."""
    left = [schema]
    while left:
        node = left.pop()
        if isinstance(node, list):
            left += node
        if not isinstance(node, dict):
            continue
        left += node.values()
        if "__class__" in node or "__loader__" in node:
            module, name, loader = (node.get(key) for key in ("__module__", "__class__", "__loader__"))
            if not (isinstance(module, str) and isinstance(name, str) and name in _TYPES.get(module, ())):
                raise ArrayFault(f"holds the type {_text(module)}.{_text(name)}, which is not trusted")
            if loader not in _LOADERS:
                raise ArrayFault(f"holds a {_text(loader)}, which is not trusted")


def _text(value: Any) -> str:
    return " ".join(str(value).split())[:200]
