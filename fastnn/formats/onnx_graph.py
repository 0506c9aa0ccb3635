"""Writes a model as an ONNX graph, and runs it with onnxruntime.

The input ``input`` has any number of samples: of images uint8 of shape (n, pixels), 255 = white; of rows float32 (or
float64, if that is the precision) of shape (n, inputs). All that a model does with them is inside: normalising and
inverting images, standardising rows, the mean of an ensemble, calibration, and scaling targets back. The outputs are
plain tensors:

- classes: ``label``, int64 of shape (n,), the index of the most probable class; ``probabilities``, shape (n, classes)
- labels: ``labels``, int64 of shape (n, labels), 1 where the probability is above 0.5; ``probabilities``
- regression: ``predictions``, shape (n, targets)

Precision float32 computes in float32, and float64 in float64. Of float16 only the weights are stored so, and arithmetic
is float32: processors have no fast float16, and sums would lose digits. Of int8 the weights have 8 bits, with a factor
and an offset for each column, and what they are multiplied with is quantised to 8 bits when the graph runs, by the
range of all samples that are given at once; biases and all else stay float32. A model trained in float64 is rounded to
float32 unless float64 is asked for. Drawings are normalised in float64 in all of them.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from fastnn import __version__
from fastnn.datasets.dataset import PIXELS
from fastnn.datasets.sparse import SparseRows
from fastnn.errors import ModelError
from fastnn.formats.onnx_nodes import MAX_BYTES, OPSET, Graph, Session, metadata_entry
from fastnn.formats.onnx_normalise import normalised
from fastnn.formats.plain import divides_by_sum, input_scaling, layers_from_white, layers_of
from fastnn.model import LEAST_CALIBRATED, OUTPUT_WORDS
from fastnn.reading import open_file

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from fastnn.formats.onnx_nodes import Value
    from fastnn.formats.plain import LayerActivation, PlainLayer
    from fastnn.model import Model

INPUT = "input"
ANSWERS = {"classification": "probabilities", "multilabel": "probabilities", "regression": "predictions"}
"""Name of the output that is :meth:`fastnn.Model.answers`, for each task."""

_OPERATORS: dict[LayerActivation, str] = {"sigmoid": "Sigmoid", "tanh": "Tanh", "relu": "Relu", "softmax": "Softmax"}
_CHECKSUM = "fastnn.checksum"
"""Key of the last entry of the metadata: the SHA-256 of all bytes before this entry."""
_FURTHEST = 1 << 14
"""Most standard deviations between a column's mean and 0: then float32 keeps 1/1000 of a standard deviation."""
_VALUES_AT_ONCE = 1 << 18
"""Inputs that are computed at once, so that memory is bounded."""


def dump(model: Model, precision: str) -> bytes:
    """Return the content of the file, see :class:`fastnn.formats.export.Exporter`."""
    numbers = np.dtype(np.float64 if precision == "float64" else np.float32)
    stored = np.dtype(np.float16 if precision == "float16" else numbers)
    _check(model, numbers, stored)
    graph = Graph()
    inputs = _inputs(graph, model, numbers)
    from_white = model.takes == "images"
    all_layers = [layers_from_white(model, one) if from_white else layers_of(one) for one in model.networks]
    outputs = [
        _network(graph, layers, f"members.{k}." if k else "", inputs, None if precision == "int8" else stored)
        for k, layers in enumerate(all_layers)
    ]
    mean = outputs[0]
    for other in outputs[1:]:
        mean = mean + other
    if len(outputs) > 1:
        mean = mean / len(outputs)
    _answer(graph, model, mean)
    content = graph.dump(_metadata(model, precision), ("fastnn", __version__))
    # Messages of protobuf are merged by writing one after the other.
    return content + metadata_entry(_CHECKSUM, hashlib.sha256(content).hexdigest())


def run(path: Path, model: Model, samples: Any) -> NDArray[np.float64]:
    """Return what onnxruntime computes with the file, see :class:`fastnn.formats.export.Exporter`."""
    session = Session(_read(path))
    double = session.input_dtype == np.float64
    dtype = np.dtype(np.uint8) if model.takes == "images" else np.dtype(np.float64 if double else np.float32)
    n, width = len(samples), model.n_inputs
    step = max(1, _VALUES_AT_ONCE // width)
    parts = [np.zeros((0, len(model.names)))]  # some versions of onnxruntime die of no samples
    for start in range(0, n, step):
        some = samples.take(np.arange(start, min(n, start + step))) if isinstance(samples, SparseRows) else None
        values = np.asarray(samples[start : start + step] if some is None else some.toarray())
        with np.errstate(over="ignore"):  # seen below
            given = np.ascontiguousarray(values, dtype=dtype)
        if not np.isfinite(given).all():
            raise ModelError("the samples are too large for float32; choose --precision float64")
        parts.append(session.run(ANSWERS[model.task], given).astype(np.float64))
    return np.concatenate(parts)


def _read(path: Path) -> bytes:
    """Return the content of a file that :func:`dump` has made; ModelError if it is another one or was changed.

    onnxruntime trusts a graph: one made with bad intent could take any amount of memory.
    """
    with open_file(path, MAX_BYTES, what="an ONNX file", error=ModelError) as file:
        content = file.read()
    length = len(metadata_entry(_CHECKSUM, "0" * 64))
    whole, last = content[:-length], content[-length:]
    if last != metadata_entry(_CHECKSUM, hashlib.sha256(whole).hexdigest()):
        raise ModelError("not an ONNX file as fastnn wrote it; export the model again")
    return content


def _check(model: Model, numbers: np.dtype[Any], stored: np.dtype[Any]) -> None:
    """Raise ModelError if a file cannot hold the model."""
    size = sum(network.n_parameters for network in model.networks) * numbers.itemsize
    if size > MAX_BYTES // 2:  # parts of the checker need a second copy
        raise ModelError(f"an ONNX file cannot hold networks of {size:,} bytes; choose .safetensors")
    if model.normalise and model.n_inputs != PIXELS:
        raise ModelError(f"the model normalises images of {PIXELS} pixels, but its networks take {model.n_inputs}")
    largest = float(np.finfo(stored).max)
    for network in model.networks:
        for array in (*network.weights, *network.biases):
            if not float(np.abs(array).max()) <= largest:
                fix = "; choose --precision float32" if stored == np.float16 else ""
                raise ModelError(f"its weights are too large for {stored.name}{fix}")
    if numbers == np.float64:
        return
    tiny, largest = float(np.finfo(numbers).tiny), float(np.finfo(numbers).max)
    for what, scaling in (("column", model.scaling), ("target", model.target_scaling)):
        if scaling is None:
            continue
        factor, mean = np.abs(scaling.factor), np.abs(scaling.mean)
        fits = (tiny <= factor) & (factor <= 1 / tiny) & (mean <= largest) & (mean * factor <= _FURTHEST)
        if not fits.all():
            raise ModelError(
                f"{what} {int(fits.argmin())} has a mean or a standard deviation with which float32 loses its "
                "differences; choose --precision float64"
            )


def _inputs(graph: Graph, model: Model, numbers: np.dtype[Any]) -> Value:
    """Return what the networks get."""
    given = graph.input(INPUT, np.uint8 if model.takes == "images" else numbers, ("n", model.n_inputs))
    values = (normalised(graph, given) if model.normalise else given).cast(numbers)
    scaling = input_scaling(model)
    if model.takes == "images":
        # From white paper: most pixels are 0, and sums are as exact as in the kernels.
        return (values - 255.0) * scaling.factor
    return values if scaling.is_identity else (values - scaling.mean) * scaling.factor


def _network(graph: Graph, layers: list[PlainLayer], prefix: str, inputs: Value, stored: np.dtype[Any] | None) -> Value:
    """Return the outputs of a network whose parameters are stored in a type; None: its weights in 8 bits."""
    values = inputs
    for depth, layer in enumerate(layers):
        name = f"{prefix}layers.{depth}"
        biases = graph.constant(layer.biases.astype(inputs.dtype if stored is None else stored), f"{name}.bias")
        if stored is None:
            product = graph.product_in_8_bits(values, layer.weights.astype(np.float32), f"{name}.weight")
        else:
            product = values @ graph.constant(layer.weights.astype(stored), f"{name}.weight").cast(inputs.dtype)
        values = product + biases.cast(inputs.dtype)
        if layer.activation != "identity":
            values = values.apply(_OPERATORS[layer.activation])
    return values


def _answer(graph: Graph, model: Model, mean: Value) -> None:
    """Make the outputs of the graph from the mean outputs of the networks."""
    k = len(model.names)
    if model.task == "regression":
        scaling = model.target_scaling
        predictions = mean if scaling is None else mean / scaling.factor + scaling.mean
        graph.output(ANSWERS[model.task], predictions, ("n", k))
        return
    if model.task == "multilabel":
        graph.output("labels", (mean > 0.5).cast(np.int64), ("n", k))
        graph.output(ANSWERS[model.task], mean, ("n", k))
        return
    graph.output("label", mean.argmax(1), ("n",))
    probabilities = mean
    if divides_by_sum(model):
        total = mean.sum(1)
        zero = total.equals(0)
        # If all sigmoids underflow to 0, all classes get the same probability.
        even = graph.constant(np.full((1, 1), 1 / k, mean.dtype))
        probabilities = zero.where(even, mean / zero.where(graph.constant(np.ones((1, 1), mean.dtype)), total))
    if model.card.calibration is not None:
        slope, offset = model.card.calibration.line(k)
        undone = (probabilities * slope + offset).at_least(LEAST_CALIBRATED)
        probabilities = undone / undone.sum(1)
    graph.output(ANSWERS[model.task], probabilities, ("n", k))


def _metadata(model: Model, precision: str) -> dict[str, str]:
    """Return what the file says about the model; values that are not texts are JSON."""
    card = model.card
    found: dict[str, Any] = {
        "fastnn_version": __version__,
        "task": model.task,
        OUTPUT_WORDS[model.task]: list(model.names),
        "takes": model.takes,
        "precision": precision,
        "opset": OPSET,
        "weights_sha256": model.sha256(),
        "calibration": msgspec.to_builtins(card.calibration),
        "recipe": None if card.recipe is None else card.recipe.as_dict(),
        "data": None if card.data is None else card.data.description,
        "data_hash": None if card.data is None else card.data.hash,
    }
    if model.takes == "images":
        found["normalises"] = model.normalise
        found["normalise_first"] = False
        found["pixels"] = "uint8, 255 = white paper, 0 = ink"
    elif model.columns is not None:
        found["columns"] = msgspec.to_builtins(model.columns)
    texts = {
        key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for key, value in found.items()
        if value is not None
    }
    # Names made in Python may hold halves of characters, which UTF-8 has not; the page and the header replace them too.
    return {key: text.encode("utf-8", "replace").decode() for key, text in texts.items()}
