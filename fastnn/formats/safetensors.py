"""fastnn's own model file: a safetensors file with a JSON text in its metadata.

Tensors: ``layers.0.weight`` of shape (inputs, outputs), ``layers.0.bias``, ``layers.1.weight``, ...; the names of an
ensemble's second network begin with ``members.1.``, and so on. Other tensors, such as the state in a checkpoint, have
names that begin with ``extra.``. ``inputs.mean``, ``inputs.factor``, ``targets.mean`` and ``targets.factor`` are the
scalings of a model of standardised rows, in float64. The metadata has one key, ``fastnn``, whose value is the JSON
text.
"""

from __future__ import annotations

import contextlib
import json
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol

import msgspec
import numpy as np
import safetensors
import safetensors.numpy
from msgspec import Meta

from fastnn.datasets.columns import Column  # noqa: TC001 - msgspec reads the annotations
from fastnn.datasets.scaling import Scaling
from fastnn.datasets.split import Split
from fastnn.errors import FastnnError, ModelError, RecipeError
from fastnn.model import DataCard, Model, ModelCard
from fastnn.network import Activation, Network, Output, Rule
from fastnn.reading import open_file
from fastnn.recipe import Recipe
from fastnn.storage import atomic_write

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

FORMAT = 3
"""Version of the file format; increased when older versions of fastnn cannot read it correctly."""

KEY = "fastnn"
_EXTRA = "extra."
FILE_LIMIT = 1 << 32
"""Largest model file in bytes; that of the largest preset has 40 MB."""
HEADER_LIMIT = 64 << 20
"""Largest header in bytes: a million columns with names of 50 letters fit."""
_CODES = {"float32": "F32", "float64": "F64"}
_FAULTS = (safetensors.SafetensorError, OSError, ValueError, OverflowError)

_Size = Annotated[int, Meta(ge=1, le=1 << 20)]


class _Version(msgspec.Struct):
    format: int


class _Shape(msgspec.Struct, forbid_unknown_fields=True):
    sizes: Annotated[list[_Size], Meta(min_length=2, max_length=64)]
    rule: Rule
    activation: Activation
    dtype: str
    output: Output | None = None


class _Head(msgspec.Struct, forbid_unknown_fields=True):
    format: int
    networks: Annotated[list[_Shape], Meta(min_length=1, max_length=1024)]
    names: Annotated[list[str], Meta(min_length=1, max_length=1 << 20)]
    invert: bool
    normalise: bool
    card: ModelCard
    takes: Literal["images", "rows"] = "images"
    columns: Annotated[tuple[Column, ...], Meta(max_length=1 << 20)] | None = None
    scaled: Annotated[list[Literal["inputs", "targets"]], Meta(max_length=2)] = []
    extra: dict[str, Any] = msgspec.field(default_factory=dict)


class _SecondShape(msgspec.Struct, forbid_unknown_fields=True):
    sizes: Annotated[list[_Size], Meta(min_length=2, max_length=64)]
    rule: Rule
    activation: Activation
    dtype: str


class _SecondHead(msgspec.Struct, forbid_unknown_fields=True):
    format: int
    networks: Annotated[list[_SecondShape], Meta(min_length=1, max_length=1024)]
    classes: Annotated[list[str], Meta(min_length=1, max_length=1 << 20)]
    invert: bool
    normalise: bool
    card: ModelCard
    extra: dict[str, Any] = msgspec.field(default_factory=dict)


class _FirstShape(msgspec.Struct, forbid_unknown_fields=True):
    sizes: Annotated[list[_Size], Meta(min_length=2, max_length=64)]
    rule: Literal["toy", "backprop"]
    activation: Activation
    dtype: str


class _FirstHead(msgspec.Struct, forbid_unknown_fields=True):
    format: int
    networks: Annotated[list[_FirstShape], Meta(min_length=1, max_length=1024)]
    classes: Annotated[list[str], Meta(min_length=1, max_length=1 << 20)]
    inputs: Literal["paper", "ink"]
    normalise: bool
    info: dict[str, Any]
    extra: dict[str, Any] = msgspec.field(default_factory=dict)


def dump_model(
    model: Model,
    *,
    extra_tensors: Mapping[str, NDArray[Any]] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> bytes:
    """Return the content of a model file; the same arguments give the same bytes.

    Parameters
    ----------
    model : Model
    extra_tensors : mapping of str to ndarray, optional
        Additional arrays.
    extra : mapping, optional
        Additional values that JSON can hold.

    Returns
    -------
    bytes

    Raises
    ------
    ModelError
        If `model.card` is not valid, it or `extra` cannot be written as JSON, or the file could not be read again.
    """
    text, tensors = head_text(model, extra), model_tensors(model)
    for name, array in (extra_tensors or {}).items():
        tensors[_EXTRA + name] = np.ascontiguousarray(array)
    content = safetensors.numpy.save(tensors, {KEY: text})
    size = _header_size(content)
    if size > HEADER_LIMIT:
        raise ModelError(f"the names of its columns and outputs are too long for a model file ({size:,} bytes)")
    if len(content) > FILE_LIMIT:
        raise ModelError(f"the networks are too large for a model file ({len(content):,} bytes)")
    return content


def head_text(model: Model, extra: Mapping[str, Any] | None = None) -> str:
    """Return all of a model but its tensors, as JSON; ModelError as for :func:`dump_model`."""
    try:
        card = msgspec.to_builtins(model.card)
        # A file that cannot be read again must not be written; constructors of msgspec structs do not check values.
        msgspec.convert(card, ModelCard)
    except (msgspec.MsgspecError, RecipeError, TypeError, ValueError, RecursionError) as error:
        raise ModelError(f"the model's card is not valid ({str(error).replace('`', '')})") from None
    head: dict[str, Any] = {
        "format": FORMAT,
        "networks": [
            {
                "sizes": list(network.sizes),
                "rule": network.rule,
                "activation": network.activation,
                "dtype": network.dtype.name,
                "output": network.output,
            }
            for network in model.networks
        ],
        "names": list(model.names),
        "invert": model.invert,
        "normalise": model.normalise,
        "card": card,
        "takes": model.takes,
        "columns": None if model.columns is None else msgspec.to_builtins(model.columns),
        "scaled": [name for name, scaling in _scalings(model) if scaling is not None],
    }
    if extra:
        head["extra"] = dict(extra)
    try:
        text = json.dumps(head, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ModelError(f"the model's card is not valid as JSON ({error})") from None
    try:
        msgspec.json.decode(text, type=_Head)
    except (msgspec.MsgspecError, RecipeError, RecursionError) as error:
        raise ModelError(f"the model does not fit into a model file ({str(error).replace('`', '')})") from None
    return text


def model_tensors(model: Model) -> dict[str, NDArray[Any]]:
    """Return the weights, biases and scalings of a model by their names in the file."""
    tensors = {}
    for member, network in enumerate(model.networks):
        for name, view in _views(member, network):
            tensors[name] = np.ascontiguousarray(view)
    for name, scaling in _scalings(model):
        if scaling is not None:
            tensors[f"{name}.mean"], tensors[f"{name}.factor"] = scaling.mean, scaling.factor
    return tensors


def dump(model: Model, precision: str) -> bytes:  # noqa: ARG001 - the networks have it
    """Return the content of a model file, see :class:`fastnn.formats.export.Exporter`."""
    return dump_model(model)


def run(path: Path, model: Model, samples: Any) -> NDArray[np.float64]:  # noqa: ARG001 - the file holds all
    """Return what the model in the file predicts, see :class:`fastnn.formats.export.Exporter`."""
    return read_model(path).answers(samples)


def write_model(
    model: Model,
    path: str | Path,
    *,
    extra_tensors: Mapping[str, NDArray[Any]] | None = None,
    extra: Mapping[str, Any] | None = None,
    like: Path | None = None,
) -> None:
    """Write a model file, replacing an older one only when the new one is complete.

    See :func:`dump_model` for the content, and :func:`fastnn.storage.atomic_write` for `like`.

    Raises
    ------
    ModelError
        As for :func:`dump_model`, or if the weights are not finite or too large, see
        :meth:`fastnn.Model.check_outputs`.
    OSError
        If the file cannot be written.
    """
    try:
        model.check_outputs()
    except ModelError as error:
        raise ModelError(f"{path}: not written, since {error}") from None
    content = dump_model(model, extra_tensors=extra_tensors, extra=extra)
    with atomic_write(path, like=like) as file:
        file.write(content)


def read_model(path: str | Path) -> Model:
    """Read a model file.

    Raises
    ------
    ModelError
        If it is damaged or not a model file of fastnn.
    """
    return _read(path, with_extra=False)[0]


def read_with_extra(path: str | Path) -> tuple[Model, dict[str, NDArray[Any]], dict[str, Any]]:
    """Read a model file together with its `extra_tensors` and `extra`; see :func:`dump_model`.

    Raises
    ------
    ModelError
        If it is damaged or not a model file of fastnn.
    """
    return _read(path, with_extra=True)


class Tensors(Protocol):
    """The tensors in a file of some format, which are read one by one."""

    def keys(self) -> set[str]:
        """Return their names."""

    def describe(self, name: str) -> tuple[str, list[int]]:
        """Return type, "F32" or "F64" for those of models, and shape of a tensor that is not read."""

    def get(self, name: str) -> NDArray[Any]:
        """Return a tensor."""


class SafetensorsFile:
    """The tensors in a safetensors file.

    Parameters
    ----------
    file : safetensors.safe_open
    outputs_first : bool
        Whether the file's weights, tensors whose names end with ``weight``, have the shape (outputs, inputs), which is
        turned around.

    Attributes
    ----------
    metadata : dict of str to str
    """

    def __init__(self, file: Any, *, outputs_first: bool = False) -> None:
        self._file, self._outputs_first = file, outputs_first
        self.metadata: dict[str, str] = file.metadata() or {}

    def keys(self) -> set[str]:
        """Return their names."""
        return set(self._file.keys())

    def describe(self, name: str) -> tuple[str, list[int]]:
        """Return type and shape of a tensor that is not read."""
        part = self._file.get_slice(name)
        shape = list(part.get_shape())
        return part.get_dtype(), shape[::-1] if self._turned(name) else shape

    def get(self, name: str) -> NDArray[Any]:
        """Return a tensor."""
        tensor: NDArray[Any] = self._file.get_tensor(name)
        return tensor.T if self._turned(name) else tensor

    def _turned(self, name: str) -> bool:
        return self._outputs_first and name.endswith("weight")


@contextlib.contextmanager
def open_safetensors(path: str | Path, *, outputs_first: bool = False) -> Iterator[SafetensorsFile]:
    """Open a safetensors file; ModelError if it is damaged, also while it is open."""
    _check_header_size(path)
    try:
        with safetensors.safe_open(str(path), framework="numpy") as file:
            yield SafetensorsFile(file, outputs_first=outputs_first)
    except _FAULTS as error:
        raise ModelError(f"{path}: not a whole safetensors file ({error})") from None


def _read(path: str | Path, *, with_extra: bool) -> tuple[Model, dict[str, NDArray[Any]], dict[str, Any]]:
    with open_safetensors(path) as file:
        text = file.metadata.get(KEY)
        if text is None:
            raise ModelError(
                f"{path}: a safetensors file, but not a model of fastnn (no '{KEY}' in its metadata); if it holds a "
                "network of another program: fastnn import"
            )
        return read_tensors(file, text, path, with_extra=with_extra)


def read_tensors(
    file: Tensors, text: str, path: str | Path, *, with_extra: bool = False
) -> tuple[Model, dict[str, NDArray[Any]], dict[str, Any]]:
    """Return the model with some tensors and a JSON text that :func:`head_text` made; see :func:`read_with_extra`.

    Raises
    ------
    ModelError
        If they do not fit each other.
    """
    head = _parse_head(text, path)
    names = file.keys()
    # Every name, shape and type is checked against the sizes before memory for a network is allocated.
    _check_tensors(file, names, head, path)
    networks = tuple(_read_network(file, member, shape, path) for member, shape in enumerate(head.networks))
    scalings = {name: Scaling(file.get(f"{name}.mean"), file.get(f"{name}.factor")) for name in head.scaled}
    tensors = {}
    if with_extra:
        extras = sorted(name for name in names if name.startswith(_EXTRA))
        tensors = {name.removeprefix(_EXTRA): file.get(name) for name in extras}
    try:
        model = Model(
            networks,
            tuple(head.names),
            head.invert,
            head.normalise,
            head.card,
            takes=head.takes,
            columns=head.columns,
            scaling=scalings.get("inputs"),
            target_scaling=scalings.get("targets"),
        )
        model.check_outputs()
    except FastnnError as error:
        raise ModelError(f"{path}: {error}") from None
    return model, tensors, head.extra


def _header_size(content: bytes) -> int:
    """Return the size of the header of a safetensors file, which stands in its first 8 bytes."""
    return int.from_bytes(content[:8], "little")


def _check_header_size(path: str | Path) -> None:
    """Raise ModelError if the header is larger than that of any model; it is not parsed yet."""
    with open_file(path, FILE_LIMIT, what="a model", error=ModelError) as file:
        size = _header_size(file.read(8))
    if size > HEADER_LIMIT:
        raise ModelError(f"{path}: not a model of fastnn (a header of {size:,} bytes)")


def _parse_head(text: str, path: str | Path) -> _Head:
    try:
        version = msgspec.json.decode(text, type=_Version).format
        if version > FORMAT:
            raise ModelError(f"{path}: written by a newer fastnn (format {version}); upgrade fastnn to read it")
        if version < 1:
            raise ModelError(f"{path}: unknown format {version}")
        if version == FORMAT:
            return msgspec.json.decode(text, type=_Head)
        return _from_second_format(text) if version == 2 else _from_first_format(text)
    except (msgspec.MsgspecError, RecipeError, UnicodeError, RecursionError) as error:
        raise ModelError(f"{path}: damaged metadata ({str(error).replace('`', '')})") from None


def _from_second_format(text: str) -> _Head:
    """Read metadata of format 2, in which all models were of images and classes, and `names` was `classes`."""
    head = msgspec.json.decode(text, type=_SecondHead)
    networks = [_Shape(shape.sizes, shape.rule, shape.activation, shape.dtype) for shape in head.networks]
    return _Head(head.format, networks, head.classes, head.invert, head.normalise, head.card, extra=head.extra)


def _from_first_format(text: str) -> _Head:
    """Read metadata of format 1, in which rule "original" was "toy", `invert` was `inputs` and `card` was `info`."""
    head = msgspec.json.decode(text, type=_FirstHead)
    networks = [
        _Shape(shape.sizes, "original" if shape.rule == "toy" else shape.rule, shape.activation, shape.dtype)
        for shape in head.networks
    ]
    card = _card_from_info(head.info)
    return _Head(head.format, networks, head.classes, head.inputs == "ink", head.normalise, card, extra=head.extra)


_FIRST_HASH_RULE = "one in 10 by the SHA-256 of its pixels"


def _card_from_info(info: dict[str, Any]) -> ModelCard:
    """Return the card of a model of format 1; its `info` could hold anything, and invalid values are dropped."""
    fields = {name: info.get(name) for name in ("epochs", "seed", "version", "metrics")}
    fields["origin_key"] = info.get("named")
    fields["data"] = _data_from_info(info)
    if isinstance(info.get("original"), dict):
        fields["original"] = {"file": info.get("source") or "", "training": info["original"].get("training")}
    with contextlib.suppress(RecipeError, RecursionError):
        fields["recipe"] = Recipe.from_dict(info["recipe"]) if isinstance(info.get("recipe"), dict) else None
    return ModelCard(**_valid_fields(ModelCard, fields))


def _data_from_info(info: dict[str, Any]) -> DataCard | None:
    """Return what the `info` of format 1 says about the data; None if it lacks source or hash."""
    recipe, data = _as_dict(info.get("recipe")), _as_dict(info.get("data"))
    fields = {name: data.get(name) for name in ("source", "description", "hash", "n_train", "n_test")}
    if fields["description"] is None:
        fields["description"] = fields["source"]
    if data.get("held_back") == _FIRST_HASH_RULE:
        fields["split"] = Split(kind="hash", fraction=0.1)
    elif "test_fraction" in recipe:
        # The networks of an ensemble have different seeds, but one split.
        seed = data.get("split_seed", recipe.get("seed"))
        fields["split"] = {"kind": "random", "fraction": recipe["test_fraction"], "seed": seed}
    fields = _valid_fields(DataCard, fields)
    return DataCard(**fields) if {"source", "description", "hash"} <= fields.keys() else None


def _as_dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _valid_fields(kind: type[msgspec.Struct], values: dict[str, Any]) -> dict[str, Any]:
    """Return the values that are valid for the fields of a struct."""
    valid = {}
    for each in msgspec.structs.fields(kind):
        if values.get(each.name) is not None:
            with contextlib.suppress(msgspec.ValidationError, RecursionError):
                valid[each.name] = msgspec.convert(values[each.name], each.type)
    return valid


def _scalings(model: Model) -> tuple[tuple[str, Scaling | None], ...]:
    """Return the scalings of a model with the first part of their tensors' names."""
    return ("inputs", model.scaling), ("targets", model.target_scaling)


def _prefix(member: int) -> str:
    return "" if member == 0 else f"members.{member}."


def _views(member: int, network: Network) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield the name in the file and the view of each tensor of a network."""
    for layer, (weight, bias) in enumerate(zip(network.weights, network.biases, strict=True)):
        yield f"{_prefix(member)}layers.{layer}.weight", weight
        yield f"{_prefix(member)}layers.{layer}.bias", bias


def _check_tensors(file: Tensors, names: set[str], head: _Head, path: str | Path) -> None:
    """Raise ModelError if a tensor is missing, superfluous, or of another shape or dtype than the head says."""
    for member, shape in enumerate(head.networks):
        if shape.dtype not in _CODES:
            raise ModelError(f"{path}: unknown dtype {shape.dtype!r}")
        for layer, (n_in, n_out) in enumerate(pairwise(shape.sizes)):
            for name, wanted in ((f"layers.{layer}.weight", [n_in, n_out]), (f"layers.{layer}.bias", [n_out])):
                _check_tensor(file, names, _prefix(member) + name, (_CODES[shape.dtype], wanted, shape.sizes), path)
    sizes = head.networks[0].sizes
    for kind in head.scaled:
        for part in ("mean", "factor"):
            _check_tensor(file, names, f"{kind}.{part}", ("F64", [sizes[0 if kind == "inputs" else -1]], sizes), path)
    stray = sorted(name for name in names if not name.startswith(_EXTRA))
    if stray:
        raise ModelError(f"{path}: {len(stray)} tensors that the sizes do not need, such as {stray[0]!r}")


def _check_tensor(
    file: Tensors, names: set[str], name: str, wanted: tuple[str, list[int], list[int]], path: str | Path
) -> None:
    """Remove a tensor from the names; ModelError if it is missing, or of another dtype or shape than wanted."""
    code, shape, sizes = wanted
    if name not in names:
        raise ModelError(f"{path}: the tensor {name} is missing")
    names.remove(name)
    found_code, found_shape = file.describe(name)
    if (found_code, found_shape) != (code, shape):
        raise ModelError(
            f"{path}: the tensor {name} is {found_code} of shape {found_shape}, "
            f"not {code} of shape {shape} as the sizes {sizes} need"
        )


def _read_network(file: Tensors, member: int, shape: _Shape, path: str | Path) -> Network:
    try:
        network = Network(
            shape.sizes, rule=shape.rule, activation=shape.activation, output=shape.output, dtype=shape.dtype
        )
    except FastnnError as error:
        raise ModelError(f"{path}: {error}") from None
    for name, view in _views(member, network):
        view[...] = file.get(name)
    return network
