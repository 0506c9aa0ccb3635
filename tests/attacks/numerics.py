"""Attack the numbers: random networks against the plain-Python rules, and the exponential against exact values.

Each network is trained and run on a few images, or rows of numbers, by the compiled kernel and by
``fastnn.reference``. Every array that the kernel gets lies between two pages that no one may touch, flush with one of
them: a read or write outside of it ends the child process that runs the attack, which is reported. The tolerance of a
comparison is what the plain rules change by when weights and inputs are changed by a few rounding errors; zeros stay
zeros. Cases are counted, not compared, where that is as much as a step of training. Steppers get random calls, some
with numbers to refuse.

``--every 1`` tries the exponential for all 2.2 billion float32 numbers in its range (two minutes).
"""

from __future__ import annotations

import ctypes
import decimal
import faulthandler
import itertools
import mmap
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from fastnn.datasets import Scaling, SparseRows
from fastnn.engine import Engine, StepOptions, kernel_for
from fastnn.errors import DataError, ModelError
from fastnn.inputs import ImageInput, KernelInput, RowInput, SparseInput
from fastnn.kernels.workspace import BLOCK, LAYER, N_MASKS, NARROW, PAIRS, arguments_dtype, workspace_dtype
from fastnn.model import Model, as_inputs
from fastnn.network import LINE, Network
from fastnn.reference import ReferenceNetwork, kept_units
from fastnn.stepping import Stepper
from tests.attacks import make_parser
from tests.helpers import ROOT, environment
from tests.kernels.plain import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

IMAGES = ("usual", "noise", "sparse", "white", "black", "nearly black", "mixed")
WEIGHTS = ("usual", "zeros", "no biases", "large", "tiny", "denormal", "huge")
SIZES = (1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 31, 33, 48, 49, 64, 65)

EXP_RANGE = {"float32": (-87.0, 88.0), "float64": (-708.0, 709.0)}
EXP_BOUND = 1.05
"""Largest error of ``vector.exp`` by its docstring, in units in the last place."""


# ---- guard pages ----


class Guarded:
    """Memory between two pages that no one may touch; guards are lifted when it is closed.

    Parameters
    ----------
    n_bytes : int
    at_end : bool
        Whether the memory ends where the second guard begins, or begins where the first one ends.
    """

    def __init__(self, n_bytes: int, *, at_end: bool) -> None:
        page, libc = mmap.PAGESIZE, ctypes.CDLL(None, use_errno=True)
        inner = max(page, -(-n_bytes // page) * page)
        self.map = mmap.mmap(-1, inner + 2 * page)
        start = ctypes.addressof(ctypes.c_char.from_buffer(self.map))
        self._protect = lambda flags: [
            libc.mprotect(ctypes.c_void_p(place), ctypes.c_size_t(page), flags)
            for place in (start, start + page + inner)
        ]
        if any(self._protect(0)):
            raise OSError(ctypes.get_errno(), "mprotect failed")
        offset = page + (inner - n_bytes if at_end else 0)
        self.bytes = np.frombuffer(self.map, np.uint8, n_bytes, offset)
        self.address = start + offset

    def lift(self) -> None:
        self._protect(mmap.PROT_READ | mmap.PROT_WRITE)


class GuardedKernel:
    """A kernel for :class:`fastnn.engine.Engine` that runs the compiled one on guarded copies of all its arrays."""

    def __init__(self, network: Network, data: KernelInput, variant: str = "plain", *, at_end: bool) -> None:
        self.run = kernel_for(network.dtype.name, network.loss, network.activation, data.reader, variant).run
        self.dtype, self.relu, self.data, self.at_end = network.dtype, network.activation == "relu", data, at_end
        self.calls = 0

    def __call__(self, address: int) -> None:
        arguments = Record(address, arguments_dtype(self.dtype))
        ws = Record(arguments.workspace, workspace_dtype(self.dtype))
        layers = [Record(ws.layers + depth * LAYER.itemsize, LAYER) for depth in range(ws.n_layers)]
        copies: list[tuple[int, Guarded]] = []  # addresses of the originals

        def guarded(start: int, n_bytes: int) -> Guarded:
            for known, copy in copies:
                if known == start:  # two fields point to one array
                    return copy
            copy = Guarded(n_bytes, at_end=self.at_end)
            copy.bytes[...] = _memory(start, n_bytes)
            copies.append((start, copy))
            return copy

        def with_guarded_arrays(start: int, dtype: np.dtype[Any], lengths: dict[str, int], into: Guarded) -> None:
            """Let the copy of a record, in `into`, point to copies of its arrays."""
            old, new = Record(start, dtype), into.bytes[: dtype.itemsize].view(dtype)
            for name, n_bytes in lengths.items():
                if getattr(old, name):
                    new[name] = guarded(getattr(old, name), n_bytes).address

        try:
            own_arguments = guarded(address, arguments_dtype(self.dtype).itemsize)
            own_ws = guarded(arguments.workspace, workspace_dtype(self.dtype).itemsize)
            own_layers = guarded(ws.layers, ws.n_layers * LAYER.itemsize)
            with_guarded_arrays(
                address, arguments_dtype(self.dtype), self._of_arguments(arguments, layers), own_arguments
            )
            with_guarded_arrays(
                arguments.workspace, workspace_dtype(self.dtype), self._of_workspace(ws, layers), own_ws
            )
            own_arguments.bytes.view(arguments_dtype(self.dtype))["workspace"] = own_ws.address
            own_ws.bytes.view(workspace_dtype(self.dtype))["layers"] = own_layers.address
            for depth in range(ws.n_layers):
                part = Guarded(LAYER.itemsize, at_end=True)  # only to hold the record
                part.bytes[...] = own_layers.bytes[depth * LAYER.itemsize : (depth + 1) * LAYER.itemsize]
                with_guarded_arrays(
                    ws.layers + depth * LAYER.itemsize, LAYER, self._of_layer(layers[depth], depth), part
                )
                own_layers.bytes[depth * LAYER.itemsize : (depth + 1) * LAYER.itemsize] = part.bytes
                part.lift()
            self.run(own_arguments.address)
            self.calls += 1
            records = (address, arguments.workspace, ws.layers)
            for start, copy in copies:
                if start not in records:
                    _memory(start, len(copy.bytes))[...] = copy.bytes
            # Of records only the numbers that a kernel changes for the next call.
            ws.position = int(own_ws.bytes.view(workspace_dtype(self.dtype))["position"][0])
            for layer, scale in zip(layers, own_layers.bytes.view(LAYER)["scale"], strict=True):
                layer.scale = scale
        finally:
            for _, copy in copies:
                copy.lift()

    def _of_arguments(self, arguments: Record, layers: list[Record]) -> dict[str, int]:
        """Return the bytes of each array that the arguments point to."""
        return {
            **{name: array.nbytes for name, array in self.data.arrays.items()},
            "labels": 8 * self.data.n,
            "targets": self.dtype.itemsize * self.data.n * layers[-1].n_outputs,
            "order": 8 * arguments.n,
            "sample_weights": self.dtype.itemsize * self.data.n,
            "totals": 16,
            "outputs": self.dtype.itemsize * arguments.n * layers[-1].n_outputs,
        }

    def _of_workspace(self, ws: Record, layers: list[Record]) -> dict[str, int]:
        size, lanes, stride = self.dtype.itemsize, LINE // self.dtype.itemsize, ws.input_stride
        units = layers[0].n_vectors * LINE
        most = max(max(layer.n_inputs, layer.n_outputs) for layer in layers)
        return {
            "lane_sums": (most + lanes) * LINE,
            **dict.fromkeys(("folded_bias", "column_offset", "zero_bounds"), units),
            **dict.fromkeys(("block_preactivations", "block_deltas"), BLOCK * units),
            "gram": len(PAIRS) * LINE,
            "baseline_products": LINE,
            "is_zero": 8 * BLOCK,
            "deviations": BLOCK * stride * size,
            **dict.fromkeys(("active_inputs", "active_slots"), 4 * N_MASKS * stride),
            "list_ends": 8 * N_MASKS,
            **dict.fromkeys(("sample_offsets", "next_rows"), 8 * BLOCK),
            "sample_masks": stride,
            "any_mask": -(-stride // 64) * 8,
            "slot_of_input": 4 * layers[0].n_inputs,
        }

    def _of_layer(self, layer: Record, depth: int) -> dict[str, int]:
        size, lanes = self.dtype.itemsize, LINE // self.dtype.itemsize
        transposed = depth > 0 and (not self.relu or layer.n_outputs <= NARROW)
        rows = -(-layer.n_outputs // 4) * 4 if transposed else layer.n_inputs
        per_unit = ("biases", "activations", "deltas", "scaled_deltas", "unit_mask", "unit_numbers", "kept")
        return {
            "weights": rows * layer.stride * size,
            **dict.fromkeys(per_unit, layer.n_vectors * LINE),
            "active_rows": 4 * lanes * layer.n_input_vectors,
            "active_values": layer.n_input_vectors * LINE,
            **({"inputs": layer.n_input_vectors * LINE} if depth else {}),
        }


def _memory(address: int, n_bytes: int) -> NDArray[np.uint8]:
    return np.frombuffer((ctypes.c_uint8 * n_bytes).from_address(address), np.uint8)


# ---- networks ----


@dataclass(frozen=True)
class Case:
    """A random network, its images and how it is trained."""

    network: Network
    images: NDArray[np.uint8]
    order: NDArray[np.int64]
    labels: NDArray[np.int64]
    sample_weights: NDArray[Any] | None
    learning_rate: float
    smoothing: float
    invert: bool
    first_layer: str
    kinds: tuple[str, str]
    gain: ClassVar[float] = 1.0

    @classmethod
    def random(cls, rng: np.random.Generator) -> Case:
        activation: Any = str(rng.choice(["sigmoid", "tanh", "relu", "relu"]))
        rule: Any = "original" if activation == "sigmoid" and rng.random() < 0.5 else "backprop"
        sizes = [int(rng.choice(SIZES)) for _ in range(rng.integers(2, 6))]
        if rng.random() < 0.05:
            sizes[0] = 784
        network = Network(sizes, rule=rule, activation=activation, dtype=str(rng.choice(["float32", "float64"])))
        kinds = str(rng.choice(WEIGHTS)), str(rng.choice(IMAGES))
        _draw_weights(network, kinds[0], rng)
        n = int(rng.integers(1, 11))
        images = _draw_images(n, sizes[0], kinds[1], rng)
        weights = rng.choice([0.0, 0.5, 1.0, 3.0], n).astype(network.dtype) if rng.random() < 0.3 else None
        return cls(
            network,
            images,
            rng.integers(0, n, rng.integers(1, n + 1)),
            rng.integers(0, sizes[-1], n),
            weights,
            float(rng.choice([1e-3, 0.02, 0.2])),
            float(rng.choice([0.0, 0.1])) if rule == "backprop" else 0.0,
            bool(rng.random() < 0.4),
            str(rng.choice(["sparse", "dense", "auto"])),
            kinds,
        )

    def __str__(self) -> str:
        weights, images = self.kinds
        how = f"{self.first_layer}, {'inverted' if self.invert else 'plain'}, learning rate {self.learning_rate:g}"
        return f"{self.network!r}, weights {weights}, images {images}, {how}"

    def trained(self, *, at_end: bool) -> tuple[Network, NDArray[Any]]:
        """Return the network after training by the compiled kernel, and its outputs then."""
        network, totals = self.network.copy(), np.zeros(2)
        data = ImageInput(self.images, self.invert, self.first_layer)
        engine = Engine(network, GuardedKernel(network, data, at_end=at_end))
        engine.load_weights(data)
        engine.train(
            data,
            self.labels,
            self.order,
            self.learning_rate,
            totals,
            options=StepOptions(smoothing=self.smoothing),
            weights=self.sample_weights,
        )
        engine.store_weights()
        engine.load_weights(data)
        return network, engine.outputs(data)

    def plain(self, rng: np.random.Generator | None = None) -> tuple[list[NDArray[Any]], NDArray[Any]]:
        """Return the changes of all parameters, and the outputs, by the plain rules; with `rng` of a network nearby."""
        change = _ROUNDING * float(np.finfo(self.network.dtype).eps) * self.network.sizes[0]
        start = _Changed(self.network, rng, change)
        network = ReferenceNetwork.from_network(start, label_smoothing=self.smoothing)
        xs = as_inputs(self.images, self.invert, np.dtype("float64")).tolist()
        for k in self.order.tolist():
            factor = 1.0 if self.sample_weights is None else float(self.sample_weights[k])
            network.train(xs[k], int(self.labels[k]), self.learning_rate * factor)
        pairs = zip((*network.weights, *network.biases), (*start.weights, *start.biases), strict=True)
        return [np.array(end) - begin for end, begin in pairs], np.array([network.predict(x) for x in xs])

    def compare(self, trained: Network, outputs: NDArray[Any], rng: np.random.Generator) -> tuple[bool, list[str]]:
        """Return whether the plain rules are too sensitive to compare with them, and what differs from them."""
        return compare(self, trained, outputs, rng)


def compare(
    case: Case | RowCase, trained: Network, outputs: NDArray[Any], rng: np.random.Generator
) -> tuple[bool, list[str]]:
    """Return whether the plain rules are too sensitive to compare with them, and what differs from them."""
    changes, wanted = case.plain()
    nearby = [case.plain(rng) for _ in range(3)]
    eps, is_sensitive, faults = float(np.finfo(trained.dtype).eps), False, []
    old, new = ((*one.weights, *one.biases) for one in (case.network, trained))
    triples = [
        (after.astype(np.float64) - before, changes[i], [one[0][i] for one in nearby], np.abs(after).max())
        for i, (before, after) in enumerate(zip(old, new, strict=True))
    ]
    for found, expected, others, largest in (*triples, (outputs, wanted, [one[1] for one in nearby], 1.0)):
        spread = 4 * max(float(np.abs(other - expected).max()) for other in others)
        # Activations have rounding errors of an eps, which are multiplied by the learning rate.
        rounding = 64 * eps * max(float(largest), case.learning_rate * case.gain)
        is_sensitive |= spread > max(0.1 * float(np.abs(expected).max()), rounding)
        error = float(np.abs(found - expected).max())
        if not error <= spread + rounding:
            faults.append(f"{error:.1e} (tolerance: {spread + rounding:.1e})")
    return is_sensitive, faults


_ROUNDING = 255.0
"""Relative change of a weight, in eps for each input: with paper as baseline, a sum may be 1 / 255 of its terms."""


class _Changed:
    """A network in float64 with all parameters multiplied by random numbers near 1."""

    def __init__(self, network: Network, rng: np.random.Generator | None, change: float) -> None:
        self.rule, self.activation, self.output = network.rule, network.activation, network.output

        def changed(part: NDArray[Any]) -> NDArray[np.float64]:
            wide = part.astype(np.float64)
            return wide if rng is None else wide * (1 + change * rng.choice([-1.0, 1.0], part.shape))

        self.weights, self.biases = ([changed(part) for part in some] for some in (network.weights, network.biases))


def _draw_weights(network: Network, kind: str, rng: np.random.Generator) -> None:
    network.initialise("uniform" if rng.random() < 0.3 else "xavier", int(rng.integers(1 << 30)))
    tiny = {"tiny": 1e-20, "denormal": float(np.finfo(network.dtype).tiny) / 64, "large": 30.0}
    factor = tiny.get(kind, 1.0)
    if kind == "huge":
        factor = float(np.finfo(network.dtype).max) ** rng.uniform(0.3, 1)
    for weight, bias in zip(network.weights, network.biases, strict=True):
        np.multiply(weight, factor, out=weight)
        np.multiply(bias, factor, out=bias)
        if kind == "zeros":
            weight[rng.random(weight.shape) < 0.6] = 0
            bias[...] = 0
        elif kind == "no biases":
            bias[...] = 0


def _draw_images(n: int, n_pixels: int, kind: str, rng: np.random.Generator) -> NDArray[np.uint8]:
    if kind == "mixed":
        return np.concatenate([_draw_images(1, n_pixels, str(rng.choice(IMAGES[:-1])), rng) for _ in range(n)])
    images = rng.integers(0, 256, (n, n_pixels), dtype=np.uint8)
    share = {"usual": 0.7, "sparse": 0.97}.get(kind, 0.0)
    images[rng.random(images.shape) < share] = 255
    if kind in ("white", "black"):
        images[...] = 255 if kind == "white" else 0
    if kind == "nearly black":
        images[rng.random(images.shape) < 1 - min(0.5, 2 / n_pixels)] = 0
    return images


def attack_networks(n: int, seed: int) -> Iterator[str]:
    """Yield what broke in `n` random networks; print the number of each case before it and counts at the end."""
    compared, sensitive, refused = 0, 0, 0
    for k in range(n):
        print(f"case {k}", flush=True)
        rng = np.random.default_rng([seed, k])
        case = Case.random(rng)
        found = [case.trained(at_end=at_end) for at_end in (True, False)]
        if found[0][0].sha256() != found[1][0].sha256():
            yield f"case {k}: the weights depend on where the arrays are: {case}"
        probabilities = _probabilities(case)
        refused += probabilities is None
        if probabilities is not None and not np.abs(probabilities.sum(axis=1) - 1).max() < 1e-6:  # or NaN
            yield f"case {k}: probabilities that are not finite or do not sum to 1: {case}"
        if case.kinds[0] == "huge":
            continue
        is_sensitive, faults = case.compare(*found[0], rng)
        if is_sensitive:
            sensitive += 1
        elif faults:
            yield f"case {k}: differs from the plain rules by {', '.join(faults)}: {case}"
        else:
            compared += 1
    print(f"networks: {n}, equal to the plain rules: {compared}, too sensitive to rounding: {sensitive}")
    print(f"networks of huge weights that a model refuses to predict with: {refused}")


def _probabilities(case: Case) -> NDArray[Any] | None:
    """Return what a model of the network predicts; None if it refuses, since its sums overflow."""
    model = Model((case.network.copy(),), tuple(map(str, range(case.network.sizes[-1]))), case.invert)
    try:
        return model.predict_proba(case.images)
    except ModelError:
        return None


# ---- rows of numbers ----


@dataclass(frozen=True)
class RowCase:
    """A random network, rows of numbers that it is trained on, and how.

    Attributes
    ----------
    rows : ndarray of float32 or float64, shape (n, n_inputs)
    mean, scale : ndarray of float64, shape (n_inputs,)
        The network's input is (value - mean) * scale.
    level : ndarray, shape (n_inputs,), or None
        Value of each input whose deviation is 0; for a sparse first layer.
    is_sparse : bool
        Whether the rows are given as sparse ones, in which some columns occur twice.
    """

    network: Network
    rows: NDArray[Any]
    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    level: NDArray[Any] | None
    is_sparse: bool
    targets: NDArray[Any]
    order: NDArray[np.int64]
    sample_weights: NDArray[Any] | None
    learning_rate: float
    options: StepOptions
    kinds: tuple[str, str, str]

    @classmethod
    def random(cls, rng: np.random.Generator, kernels: Sequence[tuple[Any, ...]]) -> RowCase:
        dtype, output, activation, reader, variant = kernels[int(rng.integers(len(kernels)))]
        sizes = [int(rng.choice(SIZES)) for _ in range(rng.integers(2, 5))]
        if reader == "sparse" and rng.random() < 0.2:
            sizes[0] = 3000
        network = Network(sizes, rule="backprop", activation=activation, output=output, dtype=dtype)
        kinds = (
            str(rng.choice(("usual", "usual", "zeros", "large"))),
            str(rng.choice(VALUES)),
            str(rng.choice(SCALINGS)),
        )
        _draw_weights(network, kinds[0], rng)
        n, n_inputs, n_outputs = int(rng.integers(1, 11)), sizes[0], sizes[-1]
        rows = _draw_rows((n, n_inputs), kinds[1], sparse=reader == "sparse", rng=rng)
        rows = rows.astype(dtype if reader == "sparse" else reader)
        targets = {
            "softmax": rng.integers(0, n_outputs, n),
            "sigmoid": rng.random((n, n_outputs)).astype(dtype),
            "identity": rng.normal(0, 1, (n, n_outputs)).astype(dtype),
        }[output]
        regularised = variant == "regularised"
        options = StepOptions(
            smoothing=0.1 * (output == "softmax" and rng.random() < 0.5),
            alpha=float(rng.choice([0.0, 0.01, 1.0])) * regularised,
            dropout=float(rng.choice([0.0, 0.3])) * regularised,
            dropout_key=int(rng.integers(1 << 62)),
            error_limit=float(rng.choice([np.inf, 0.5])),
            huber=True,
        )
        return cls(
            network,
            rows,
            *_draw_scaling(rows, kinds[2], rng),
            rows[0].copy() if rng.random() < 0.3 else None,
            reader == "sparse",
            targets,
            rng.integers(0, n, rng.integers(1, 2 * n + 1)),
            rng.choice([0.0, 0.5, 1.0, 3.0], n).astype(dtype) if rng.random() < 0.3 else None,
            float(rng.choice([1e-3, 0.02, 0.1])),
            options,
            kinds,
        )

    def __str__(self) -> str:
        weights, values, scaling = self.kinds
        form = "sparse rows" if self.is_sparse else f"rows of {self.rows.dtype}"
        how = f"{self.options}, learning rate {self.learning_rate:g}"
        return f"{self.network!r}, weights {weights}, {form}: {values}, scaling {scaling}, {how}"

    @property
    def gain(self) -> float:
        """What multiplies rounding errors of activations: errors of at most 1; without a softmax, larger ones."""
        if self.network.output == "softmax":
            return 1.0
        *_, last = self.network.weights
        limit = 1.0 if self.network.output == "sigmoid" else 4 + float(np.abs(last).sum(axis=0).max())
        return min(limit, self.options.error_limit) * max(1.0, float(np.abs(last).max()) * last.shape[1])

    def data(self) -> KernelInput:
        options: Any = {"mean": self.mean, "scale": self.scale}
        if not self.is_sparse:
            first_layer = "auto" if self.level is None else "sparse"
            return RowInput(self.rows, self.network.dtype, level=self.level, first_layer=first_layer, **options)
        values, indices, starts = [], [], [0]
        for row in self.rows:
            columns = np.flatnonzero(row)[::-1]
            # The first value is given as two whose sum it is: exactly half of it each, but for the smallest numbers.
            twice = columns[:1] if len(columns) and row[columns[0]] / 2 * 2 == row[columns[0]] else columns[:0]
            values += [row[columns[len(twice) :]], row[twice] / 2, row[twice] / 2]
            indices += [columns[len(twice) :], twice, twice]
            starts.append(starts[-1] + len(columns) + len(twice))
        arrays = np.concatenate(values), np.concatenate(indices), np.array(starts)
        return SparseInput(*arrays, self.rows.shape[1], self.network.dtype, **options)

    def inputs(self) -> NDArray[np.float64]:
        """Return what the network is fed, in the arithmetic of the kernels."""
        data = self.data()
        baseline = 0.0 if data.baseline is None else data.baseline[: data.n_inputs].astype(np.float64)
        scales = data.arrays["scales"]
        deviations = self.rows * scales if self.is_sparse else (self.rows - data.arrays["levels"]) * scales
        return baseline + deviations.astype(self.network.dtype)

    def trained(self, *, at_end: bool) -> tuple[Network, NDArray[Any]]:
        """Return the network after training by the compiled kernel, and its outputs then."""
        network, data, regularised = self.network.copy(), self.data(), bool(self.options.alpha or self.options.dropout)
        kernel = GuardedKernel(network, data, "regularised" if regularised else "plain", at_end=at_end)
        engine = Engine(network, kernel, regularised=regularised)
        engine.load_weights(data)
        given = self.targets, self.order, self.learning_rate, np.zeros(2)
        engine.train(data, *given, options=self.options, weights=self.sample_weights)
        engine.store_weights()
        engine.load_weights(data)
        return network, engine.outputs(data)

    def plain(self, rng: np.random.Generator | None = None) -> tuple[list[NDArray[Any]], NDArray[Any]]:
        """Return the changes of all parameters, and the outputs, by the plain rules; with `rng` of a network nearby."""
        xs, options, data = self.inputs(), self.options, self.data()
        # Sums of baseline and deviations lose what these are larger than the inputs.
        offset = 0.0 if data.baseline is None else float(np.abs(data.baseline).max())
        lost = 1 + offset / max(float(np.abs(xs).max()), 1e-300)
        change = _ROUNDING * lost * float(np.finfo(self.network.dtype).eps) * self.network.sizes[0]
        start = _Changed(self.network, rng, change)
        if rng is not None and offset:
            # Sums that would be exactly 0 are rounding errors, and ReLU may take them for positive.
            size = np.abs(start.weights[0]).sum(axis=0) * offset + np.abs(start.biases[0])
            start.biases[0] = start.biases[0] + size * np.finfo(self.network.dtype).eps * rng.choice(
                [-1.0, 1.0], size.shape
            )
        network = ReferenceNetwork.from_network(start, label_smoothing=options.smoothing)
        network.alpha, network.error_limit = options.alpha, options.error_limit
        for position, k in enumerate(self.order.tolist()):
            factor = 1.0 if self.sample_weights is None else float(self.sample_weights[k])
            # The weight of a sample does not change the decay.
            factor = max(factor, 1e-290)
            network.alpha = options.alpha / factor
            kept = None
            if options.dropout:
                kept = kept_units(self.network.sizes[1:-1], options.dropout, options.dropout_key, position)
            network.train(xs[k].tolist(), self.targets[k].tolist(), self.learning_rate * factor, kept)
        pairs = zip((*network.weights, *network.biases), (*start.weights, *start.biases), strict=True)
        return [np.array(end) - begin for end, begin in pairs], np.array([network.predict(x) for x in xs.tolist()])


VALUES = ("usual", "sparse", "few", "constant", "counts", "large", "denormal", "huge")
SCALINGS = ("none", "none", "standardised", "random", "tiny", "far")

ROW_KERNELS = [
    ("float64", "softmax", "tanh", "float64", "plain"),
    ("float64", "softmax", "relu", "sparse", "plain"),
    ("float64", "identity", "tanh", "float64", "plain"),
    ("float64", "identity", "tanh", "sparse", "plain"),
    ("float32", "softmax", "relu", "float64", "plain"),
    ("float64", "softmax", "relu", "float64", "regularised"),
]
"""Kernels of a short attack: other tests compile them too."""

ALL_ROW_KERNELS = list(
    itertools.product(
        ("float32", "float64"),
        ("softmax", "sigmoid", "identity"),
        ("tanh", "relu"),
        ("float32", "float64", "sparse"),
        ("plain", "regularised"),
    )
)


def _draw_rows(shape: tuple[int, int], kind: str, *, sparse: bool, rng: np.random.Generator) -> NDArray[np.float64]:
    rows = rng.normal(size=shape)
    if kind in ("sparse", "few") or sparse:
        rows[rng.random(shape) < (0.99 if kind == "few" else 0.7)] = 0
    if kind == "constant":
        rows[...] = rng.normal(size=shape[1])
    if kind == "counts":
        rows = np.floor(np.abs(rows) * 3)
    factor = {"large": 1e3, "denormal": 1e-40, "huge": 10 ** rng.uniform(10, 37)}.get(kind, 1.0)
    return rows * factor


def _draw_scaling(
    rows: NDArray[Any], kind: str, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return means and factors."""
    n, wide = rows.shape[1], rows.astype(np.float64)
    if kind == "none":
        return np.zeros(n), np.ones(n)
    if kind == "standardised":
        scaling = Scaling.fit(wide)
        return scaling.mean, scaling.factor
    mean, scale = rng.normal(size=n), rng.uniform(0.5, 2, n)
    return {"random": (mean, scale), "tiny": (mean, scale * 1e-30), "far": (mean * 1e4, scale)}[kind]


def attack_rows(n: int, seed: int) -> Iterator[str]:
    """Yield what broke in `n` random networks on rows and sparse rows; print counts at the end."""
    kernels, compared, sensitive, overflow = ROW_KERNELS if n < 100 else ALL_ROW_KERNELS, 0, 0, 0
    for k in range(n):
        print(f"case {k}", flush=True)
        rng = np.random.default_rng([seed, k, 1])
        case = RowCase.random(rng, kernels)
        try:
            found = [case.trained(at_end=at_end) for at_end in (True, False)]
        except DataError:
            overflow += 1
            continue
        if found[0][0].sha256() != found[1][0].sha256():
            yield f"rows {k}: the weights depend on where the arrays are: {case}"
        if case.kinds[1] == "huge" or not (found[0][0].is_finite() and np.isfinite(found[0][1]).all()):
            overflow += 1
            continue
        is_sensitive, faults = compare(case, *found[0], rng)
        if is_sensitive:
            sensitive += 1
        elif faults:
            yield f"rows {k}: differs from the plain rules by {', '.join(faults)}: {case}"
        else:
            compared += 1
    counts = f"equal to the plain rules: {compared}, too sensitive to rounding: {sensitive}"
    print(f"rows: {n}, {counts}, refused or huge: {overflow}")


# ---- steps ----

BAD_NUMBERS = (np.nan, np.inf, -np.inf)


@dataclass
class Stream:
    """A stepper and the plain rules, which get the same rows."""

    stepper: Stepper
    plain: ReferenceNetwork
    scaling: Scaling
    rng: np.random.Generator

    @classmethod
    def random(cls, rng: np.random.Generator) -> Stream:
        output: Any = str(rng.choice(["softmax", "identity"]))
        sizes = [int(rng.choice(SIZES)) for _ in range(rng.integers(2, 4))]
        network = Network(sizes, rule="backprop", activation="tanh", output=output, dtype="float64")
        network.initialise("xavier", int(rng.integers(1 << 30)))
        n = sizes[0]
        stepper = Stepper(network, learning_rate=0.0, options=StepOptions(error_limit=1.0, huber=True))
        plain = ReferenceNetwork.from_network(network)
        plain.error_limit = 1.0
        stream = cls(stepper, plain, Scaling(np.zeros(n), np.ones(n)), rng)
        stream.change_rate()
        return stream

    def change_rate(self) -> None:
        """Choose a learning rate at which rounding errors do not grow much."""
        self.stepper.learning_rate = float(self.rng.uniform(0, 0.5 / max(self.stepper.network.sizes)))

    def act(self) -> str | None:
        """Do something at random, with both; return what is wrong."""
        action = str(self.rng.choice(["step", "step", "train", "sparse", "bad row", "bad target", "rescale", "rate"]))
        n = 1 if action == "step" else int(self.rng.integers(0, 9))
        sizes, classes = self.stepper.network.sizes, self.stepper.network.output == "softmax"
        rows = self.rng.normal(size=(n, sizes[0])) * (self.rng.random((n, sizes[0])) < 0.5)
        targets = self.rng.integers(0, sizes[-1], n) if classes else self.rng.normal(size=(n, sizes[-1]))
        if action == "rescale":
            self.scaling = Scaling(self.rng.normal(size=sizes[0]), self.rng.uniform(0.5, 2, sizes[0]))
            self.stepper.rescale(self.scaling)
        elif action == "rate":
            self.change_rate()
        elif action.startswith("bad"):
            return self._refuses(rows, targets, action)
        elif action == "step":
            if self.rng.random() < 0.5:
                self.stepper.step(rows[0], targets[0])
            else:
                row = _as_csr(rows, self.rng)
                self.stepper.step_sparse(row.values, row.indices, targets[0])
        else:
            self.stepper.train(_as_csr(rows, self.rng) if action == "sparse" else rows, targets)
        if action in ("step", "train", "sparse"):
            for x, target in zip(self.scaling.apply(rows).tolist(), targets.tolist(), strict=True):
                self.plain.train(x, target, self.stepper.learning_rate)
        return None

    def _refuses(self, rows: NDArray[Any], targets: NDArray[Any], action: str) -> str | None:
        """Give rows of which one number is bad, or a class; the next comparison finds what they have changed."""
        if not len(rows):
            return None
        bad, k = float(self.rng.choice(BAD_NUMBERS)), int(self.rng.integers(len(rows)))
        if action == "bad row":
            rows[k, self.rng.integers(rows.shape[1])] = bad
        elif targets.ndim == 1:
            targets[k] = self.rng.choice([-1, 1 << 40, self.stepper.network.sizes[-1]])
        else:
            targets[k, self.rng.integers(targets.shape[1])] = bad
        calls = {
            "step": lambda: self.stepper.step(rows[k], targets[k]),
            "train": lambda: self.stepper.train(rows, targets),
            "sparse": lambda: self.stepper.train(_as_csr(rows, self.rng), targets),
            "step_sparse": lambda: self.stepper.step_sparse(
                rows[k], np.arange(rows.shape[1], dtype=np.int32), targets[k]
            ),
        }
        for name, call in calls.items():
            try:
                call()
            except DataError:
                continue
            return f"{name} takes a {action} with {bad}"
        return None

    def difference(self) -> float:
        """Return the largest difference of outputs and weights from the plain rules."""
        rows = self.rng.normal(size=(3, self.stepper.network.sizes[0]))
        expected = np.array([self.plain.predict(x) for x in self.scaling.apply(rows).tolist()])
        errors = [
            np.abs(self.stepper.outputs_of(rows) - expected).max(),
            np.abs(self.stepper.outputs_of(_as_csr(rows, self.rng)) - expected).max(),
            np.abs(self.stepper.outputs(rows[0]) - expected[0]).max(),
            np.abs(self.stepper.outputs_sparse(rows[1], np.arange(rows.shape[1], dtype=np.int32)) - expected[1]).max(),
        ]
        self.stepper.store()
        network = self.stepper.network
        pairs = zip((*network.weights, *network.biases), (*self.plain.weights, *self.plain.biases), strict=True)
        return float(max(*errors, *(np.abs(found - np.array(wanted)).max() for found, wanted in pairs)))


def _as_csr(rows: NDArray[Any], rng: np.random.Generator) -> SparseRows:
    """Return the values that are not 0, those of a row in random order."""
    columns = [rng.permutation(np.flatnonzero(row)) for row in rows]
    starts = np.concatenate([[0], np.cumsum([len(each) for each in columns])]).astype(np.int64)
    values = [row[each] for row, each in zip(rows, columns, strict=True)]
    empty = np.empty(0)
    indices = np.concatenate([empty, *columns]).astype(np.int32)
    return SparseRows(np.concatenate([empty, *values]), indices, starts, rows.shape[1])


def attack_steps(n: int, seed: int) -> Iterator[str]:
    """Yield what broke in `n` streams of random calls of a stepper."""
    for k in range(n):
        stream = Stream.random(np.random.default_rng([seed, k, 2]))
        for _ in range(12):
            fault = stream.act()
            if fault is not None:
                yield f"stream {k}: {fault}"
        if not (error := stream.difference()) <= STREAM_TOLERANCE:
            yield f"stream {k}: differs from the plain rules by {error:.1e}: {stream.stepper.network!r}"
    print(f"streams of steps: {n}")


STREAM_TOLERANCE = 1e-9
"""Rounding errors of 1e-16 in sums of 65 terms below 10, in up to 100 steps with errors of at most 1."""


# ---- the exponential ----


def compiled_exp(dtype: str) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """Return the kernels' exponential as a function of an array whose length is a multiple of a vector's."""
    import numba

    from fastnn.kernels import vector as simd
    from fastnn.kernels.vector import ONE

    kind = getattr(numba, dtype)

    @numba.njit
    def run(source: int, target: int, n: int) -> None:
        x, y = simd.pointer(source, kind), simd.pointer(target, kind)
        for k in range(0, n, simd.floats_per_vector(x)):
            simd.store(y, k, simd.exp(simd.load(x, k, ONE)))

    def exp(x: NDArray[Any]) -> NDArray[Any]:
        result = np.empty_like(x)
        run(x.ctypes.data, result.ctypes.data, len(x))
        return result

    return exp


def floats_in_range(every: int) -> Iterator[NDArray[np.float32]]:
    """Yield all float32 numbers in the exponential's range, or one in `every`, in arrays of whole vectors."""
    for edge in EXP_RANGE["float32"]:
        sign, last = (edge < 0) << 31, int(np.float32(abs(edge)).view(np.uint32))
        for start in range(0, last + 1, every << 22):
            bits = np.arange(start, min(start + (every << 22), last + 1), every, dtype=np.uint32)
            x = (bits | np.uint32(sign)).view(np.float32)
            yield np.concatenate([x, np.full(-len(x) % 16, edge, np.float32)])


def attack_exp(every: int, n: int, seed: int) -> Iterator[str]:
    """Yield what broke in the exponential: float32 one in `every`, float64 `n` random numbers."""
    exp, tried, worst = compiled_exp("float32"), 0, (0.0, 0.0)
    for x in floats_in_range(every):
        found = exp(x)
        # Double precision is exact to 2e-9 units in the last place of single precision.
        errors = np.abs(found - np.exp(x.astype(np.float64))) / np.spacing(found)
        tried, k = tried + len(x), int(errors.argmax())
        worst = max(worst, (float(errors[k]), float(x[k])))
    yield from _report("float32", tried, worst[1], float(exp(np.full(16, worst[1], np.float32))[0]))
    rng, (low, high) = np.random.default_rng(seed), EXP_RANGE["float64"]
    if np.finfo(np.longdouble).nmant <= np.finfo(np.float64).nmant:
        print("exp float64: skipped, since this machine has no wider type")
        return
    halves = (np.arange(-1020, 1022) + 0.5) * np.log(2)  # where the range reduction changes
    parts = [rng.uniform(low, high, n), rng.normal(0, 4, n), rng.normal(0, 1e-4, n), halves, [low, high, 0.0]]
    wide = np.clip(np.concatenate(parts), low, high)
    wide = np.concatenate([wide, np.zeros(-len(wide) % 8)])
    double = compiled_exp("float64")
    found = double(wide)
    k = int((np.abs(found - np.exp(wide.astype(np.longdouble))) / np.spacing(found)).argmax())
    yield from _report("float64", len(wide), float(wide[k]), float(found[k]))


def _report(dtype: str, tried: int, x: float, found: float) -> Iterator[str]:
    """Print the error at the worst place, by decimal arithmetic of 60 digits; yield it if it is above the bound."""
    with decimal.localcontext(prec=60):
        error = abs(decimal.Decimal(found) - decimal.Decimal(x).exp())
        ulps = float(error / decimal.Decimal(float(np.spacing(np.dtype(dtype).type(found)))))
    print(f"exp {dtype}: {tried} numbers, largest error {ulps:.3f} ulp at {x!r} (bound: {EXP_BOUND:g})")
    if not ulps <= EXP_BOUND:
        yield f"exp {dtype}: {ulps:.3f} ulp at {x!r}"


# ---- the program ----


def main(arguments: list[str] | None = None) -> int:
    parser = make_parser("numerics", __doc__, n=240)
    parser.add_argument("--every", type=int, default=1024, metavar="K", help="exp of each K-th float32; 1: all")
    parser.add_argument("--child", action="store_true", help="run the networks in this process")
    options = parser.parse_args(arguments)
    if options.child:
        faulthandler.enable()
        broken = [*attack_networks(options.n, options.seed), *attack_rows(options.n, options.seed)]
        broken += attack_steps(options.n, options.seed)
    elif os.name != "posix":
        print("networks: skipped, since guard pages need a POSIX system")
        broken = list(attack_exp(options.every, 1000 * options.n, options.seed))
    else:
        broken = _run_child(options.n, options.seed)
        broken += attack_exp(options.every, 1000 * options.n, options.seed)
    print("\n".join(f"BROKEN: {one}" for one in broken) or "nothing broke")
    return 1 if broken else 0


def _run_child(n: int, seed: int) -> list[str]:
    """Attack networks in a child process; return what broke, which includes its end by a signal."""
    command = [sys.executable, "-m", "tests.attacks.numerics", "--n", str(n), "--seed", str(seed), "--child"]
    child = subprocess.run(command, cwd=ROOT, env=environment(), text=True, capture_output=True, check=False)
    lines = child.stdout.splitlines()
    cases = [line for line in lines if line.startswith("case ")]
    print("\n".join(line for line in lines if line.startswith(("networks", "rows", "streams"))))
    broken = [line.removeprefix("BROKEN: ") for line in lines if line.startswith("BROKEN: ")]
    if child.returncode not in (0, 1) or len(cases) != 2 * n or (child.returncode and not broken):
        where = " ".join(child.stderr.split()[-60:])
        broken.append(f"the process ended with {child.returncode} in {cases[-1] if cases else 'its start'}: {where}")
    return broken


if __name__ == "__main__":
    sys.exit(main())
