"""Reads and writes the JSON files of niemenjoki/handwritten-digit-classification; reads the Toy Neural Network's too.

Their matrices have a row for each output; the weights of :class:`fastnn.Network` have one for each input.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta

from fastnn.errors import FastnnError, ModelError
from fastnn.model import Model, ModelCard, OriginalCard
from fastnn.network import Network
from fastnn.reading import read_file
from fastnn.storage import atomic_write, user_path

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

FILE_LIMIT = 64 << 20
"""Largest file that is read into memory, in bytes; NN.json, with 165,650 numbers, has 3.4 MB."""

_Size = Annotated[int, Meta(ge=1, le=1 << 20)]


_NULL = msgspec.Raw(b"null")
_NOTES_LIMIT = 1 << 16
"""Longest notes on the training in bytes; the original's have 200."""
_rows = msgspec.json.Decoder(list[list[float]])


class _Matrix(msgspec.Struct):
    rows: _Size
    cols: _Size
    # Raw: the numbers become Python objects once their count is known to be right.
    values: msgspec.Raw


class _ToyMatrix(msgspec.Struct):
    rows: _Size
    cols: _Size
    data: msgspec.Raw

    @property
    def values(self) -> msgspec.Raw:
        return self.data


class _Original(msgspec.Struct):
    inputs: _Size
    hidden1: _Size
    hidden2: _Size
    outputs: _Size
    weights_ih1: _Matrix
    weights_h1h2: _Matrix
    weights_h2o: _Matrix
    bias_h1: _Matrix
    bias_h2: _Matrix
    bias_o: _Matrix
    training: msgspec.Raw = _NULL

    @property
    def sizes(self) -> list[int]:
        return [self.inputs, self.hidden1, self.hidden2, self.outputs]


class _Toy(msgspec.Struct):
    input_nodes: _Size
    hidden_nodes: _Size
    output_nodes: _Size
    weights_ih: _ToyMatrix
    weights_ho: _ToyMatrix
    bias_h: _ToyMatrix
    bias_o: _ToyMatrix
    training: msgspec.Raw = _NULL

    @property
    def sizes(self) -> list[int]:
        return [self.input_nodes, self.hidden_nodes, self.output_nodes]


_WEIGHTS = {_Original: ("weights_ih1", "weights_h1h2", "weights_h2o"), _Toy: ("weights_ih", "weights_ho")}
_BIASES = {_Original: ("bias_h1", "bias_h2", "bias_o"), _Toy: ("bias_h", "bias_o")}


@dataclass(frozen=True, eq=False)
class Original:
    """A model from the original's JSON, with notes on the file.

    Attributes
    ----------
    model : Model
        A model with rule original and float64 weights that does not invert pixels.
    repaired : bool
        Whether a comma was missing in the file and was added while reading.
    place : str
        Where it was missing ("line 544, column 62"), or "".
    training : Any
        The file's notes on its training, or None.
    """

    model: Model
    repaired: bool
    place: str
    training: Any


def read_original(path: str | Path) -> Original:
    """Read a network from the original's JSON; every weight is the float64 nearest to the number in the file.

    The published NN.json lacks a comma. If one missing comma is the only fault, it is added; any other fault is an
    error.

    Parameters
    ----------
    path : path-like
        A network with two hidden layers (keys ``inputs``, ``hidden1``, ``hidden2``, ``outputs``, ...), or a Toy Neural
        Network with one (``input_nodes``, ``hidden_nodes``, ``output_nodes``, ...).

    Returns
    -------
    Original

    Raises
    ------
    ModelError
        If it is not such a file; the message names the line or the key that is wrong.
    """
    path = user_path(path)
    text = _read_text(path)
    place = ""
    try:
        content = _decode(text)
    except msgspec.ValidationError as error:
        raise _not_a_network(path, error) from None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        repaired, place = _add_missing_comma(text, path, error)
        try:
            content = _decode(repaired)
        except (msgspec.MsgspecError, RecursionError) as fault:
            raise _not_a_network(path, fault) from None
    network, training = _build(content, path), _notes(content, path)
    card = ModelCard(original=OriginalCard(file=path.name, training=training))
    classes = tuple(str(digit) for digit in range(network.sizes[-1]))
    model = Model((network,), classes, card=card)
    try:
        model.check_outputs()
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None
    return Original(model, place != "", place, training)


def write_original(model: Model, path: str | Path) -> None:
    """Write a model as the original's JSON, which its page and its scripts read, with all digits of the weights.

    Parameters
    ----------
    model : Model
        One network with rule original and two hidden layers, whose input is 1 for white, as in the original.
    path : path-like
        The file; replaced if it exists.

    Raises
    ------
    ModelError
        If the original cannot run such a network.
    OSError
        If the file cannot be written.
    """
    try:
        content = dump(model)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None
    with atomic_write(path) as file:
        file.write(content)


def dump(model: Model, precision: str = "float64") -> bytes:  # noqa: ARG001 - digits of the network's own type
    """Return the content of the file that :func:`write_original` writes; ModelError if it cannot hold the model."""
    network = model.network
    reasons = {
        "it is made of several networks": len(model.networks) > 1,
        f"its rule is {network.rule}": network.rule != "original",
        f"it has {len(network.sizes) - 2} hidden layers": len(network.sizes) != 4,
        "it takes the rows of a table": model.takes != "images",
        "it inverts pixels": model.invert,
        "it normalises its images": model.normalise,
        "its classes are not 0, 1, 2 and so on": model.names != tuple(map(str, range(len(model.names)))),
    }
    for reason, so in reasons.items():
        if so:
            raise ModelError(f"the original's format cannot hold this model: {reason}")
    return _text(network, _notes_for(model.card))


def run(path: Path, model: Model, samples: Any) -> NDArray[np.float64]:  # noqa: ARG001 - the file holds all
    """Return what the network in the file predicts, see :class:`fastnn.formats.export.Exporter`."""
    return read_original(path).model.predict_proba(samples)


def _read_text(path: Path) -> bytes:
    content = read_file(path, FILE_LIMIT, what="a network of the original's", error=ModelError)
    return content.removeprefix(b"\xef\xbb\xbf")


class _Probe(msgspec.Struct):
    input_nodes: msgspec.Raw = _NULL


def _decode(text: bytes) -> _Original | _Toy:
    """Parse a file; its keys say which of the two kinds it is."""
    if bytes(msgspec.json.decode(text, type=_Probe).input_nodes) != b"null":
        return msgspec.json.decode(text, type=_Toy)
    return msgspec.json.decode(text, type=_Original)


def _not_a_network(path: Path, error: Exception) -> ModelError:
    return ModelError(f"{path}: not a network of the original's ({str(error).replace('`', '')})")


def _add_missing_comma(text: bytes, path: Path, error: Exception) -> tuple[bytes, str]:
    """Return the text with one missing comma added, and its place; ModelError if that does not repair the text."""
    try:
        text.decode()
    except UnicodeDecodeError:
        raise ModelError(f"{path}: not a text file in UTF-8") from None
    fault = _syntax_fault(text)
    if fault is None:
        raise _not_a_network(path, error)
    what, at = fault
    if what.startswith("expected ','"):
        end = len(text[:at].rstrip())
        repaired = b"%b,%b" % (text[:end], text[end:])
        if _syntax_fault(repaired) is None:
            return repaired, _place(text, end)
    raise ModelError(f"{path}: not valid JSON ({what} in {_place(text, at)})")


def _syntax_fault(text: bytes) -> tuple[str, int] | None:
    """Return what is wrong in a JSON text and at which byte, or None; builds no objects, whatever it holds."""
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except (msgspec.MsgspecError, RecursionError) as error:
        found = re.fullmatch(r"JSON is malformed: (.*) \(byte (\d+)\)", str(error))
        return (found[1], int(found[2])) if found else (str(error), len(text))
    return None


def _place(text: bytes, at: int) -> str:
    line, start = text.count(b"\n", 0, at) + 1, text.rfind(b"\n", 0, at)
    return f"line {line}, column {at - start}"


def _build(content: _Original | _Toy, path: Path) -> Network:
    kind = type(content)
    sizes = content.sizes
    arrays = []
    for layer, (weight, bias) in enumerate(zip(_WEIGHTS[kind], _BIASES[kind], strict=True)):
        rows, columns = sizes[layer + 1], sizes[layer]
        arrays.append((_array(content, weight, rows, columns, path), _array(content, bias, rows, 1, path)))
    try:
        network = Network(sizes, rule="original", dtype=np.float64)
    except FastnnError as error:
        raise ModelError(f"{path}: {error}") from None
    for layer, (weights, biases) in enumerate(arrays):
        network.weights[layer][...] = weights.T
        network.biases[layer][...] = biases[:, 0]
    return network


def _array(content: _Original | _Toy, key: str, rows: int, columns: int, path: Path) -> NDArray[np.float64]:
    """Return a matrix; ModelError if its shape contradicts its rows, its `rows` and `cols`, or the layer sizes."""
    matrix: _Matrix | _ToyMatrix = getattr(content, key)
    if (matrix.rows, matrix.cols) != (rows, columns):
        raise ModelError(
            f"{path}: {key} is {matrix.rows} x {matrix.cols}, but the sizes {content.sizes} need {rows} x {columns}"
        )
    fault = ModelError(f"{path}: {key} does not hold {rows} rows of {columns} numbers, as it says")
    text = bytes(matrix.values)
    if (text.count(b"["), text.count(b",")) != (rows + 1, rows * columns - 1):
        raise fault
    try:
        values = _rows.decode(text)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ModelError(f"{path}: not a network of the original's ({key}: {str(error).replace('`', '')})") from None
    if len(values) != rows or any(len(row) != columns for row in values):
        raise fault
    return np.asarray(values, dtype=np.float64)


def _notes(content: _Original | _Toy, path: Path) -> Any:
    """Return the file's notes on its training; they may be anything."""
    text = bytes(content.training)
    if len(text) > _NOTES_LIMIT:
        raise ModelError(f"{path}: its notes on the training are longer than {_NOTES_LIMIT >> 10} KiB; shorten them")
    try:
        return msgspec.json.decode(text)
    except UnicodeDecodeError:
        raise ModelError(f"{path}: not a text file in UTF-8") from None
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ModelError(f"{path}: not a network of the original's (training: {error})") from None


def _notes_for(card: ModelCard) -> Any:
    """Return the notes on the training that a file gets: those of the file that was imported, or the card's words."""
    if card.original is not None:
        return card.original.training
    notes: dict[str, Any] = {}
    if card.recipe is not None:
        recipe, epochs = card.recipe, card.recipe.epochs if card.epochs is None else card.epochs
        rate = f"learningRate {recipe.lr:g}"
        if recipe.schedule == "step":
            rate += f", multiplied by {recipe.lr_decay:g} every {recipe.lr_every} epochs"
        elif recipe.schedule != "constant":
            rate += f", schedule {recipe.schedule}"
        notes = {"info": f"{epochs} epochs, {rate}", "learning_rate": recipe.lr}
    if card.data is not None:
        notes["dataset"] = card.data.description
    if "test_accuracy" in card.metrics:
        notes["accuracy"] = 100 * card.metrics["test_accuracy"]  # in percent, as in the original's files
    return notes or None


def _text(network: Network, training: Any) -> bytes:
    """Return each key and each matrix row on a line of its own, as in the original's files."""
    lines = [f'  "{key}": {size}' for key, size in zip(_Original.__struct_fields__, network.sizes, strict=False)]
    for names, arrays in ((_WEIGHTS, network.weights), (_BIASES, network.biases)):
        for key, array in zip(names[_Original], arrays, strict=True):
            matrix = array.T if array.ndim == 2 else array[:, None]
            rows = ",\n      ".join(json.dumps(row) for row in matrix.astype(np.float64).tolist())
            shape = f'"rows": {matrix.shape[0]},\n    "cols": {matrix.shape[1]}'
            lines.append(f'  "{key}": {{\n    {shape},\n    "values": [\n      {rows}\n    ]\n  }}')
    if training is not None:
        lines.append(f'  "training": {json.dumps(training)}')
    return ("{\n" + ",\n".join(lines) + "\n}\n").encode()
