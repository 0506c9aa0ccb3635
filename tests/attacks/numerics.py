"""Attack the numbers: random networks against the plain-Python rules, and the exponential against exact values.

Each network is trained and run on a few images by the compiled kernel and by ``fastnn.reference``. Every array that the
kernel gets lies between two pages that no one may touch, flush with one of them: a read or write outside of it ends the
child process that runs the attack, which is reported. The tolerance of a comparison is what the plain rules change by
when weights and inputs are changed by a few rounding errors; zeros stay zeros. Cases are counted, not compared, where
that is as much as a step of training.

``--every 1`` tries the exponential for all 2.2 billion float32 numbers in its range (two minutes).
"""

from __future__ import annotations

import ctypes
import decimal
import faulthandler
import mmap
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn.engine import Engine, StepOptions, kernel_for
from fastnn.errors import ModelError
from fastnn.inputs import ImageInput
from fastnn.kernels.workspace import BLOCK, LAYER, N_MASKS, PAIRS, arguments_dtype, workspace_dtype
from fastnn.model import Model, as_inputs
from fastnn.network import LINE, Network
from fastnn.reference import ReferenceNetwork
from tests.attacks import make_parser
from tests.helpers import ROOT, environment
from tests.kernels.plain import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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

    def __init__(self, network: Network, n_images: int, *, at_end: bool) -> None:
        self.run = kernel_for(network.dtype.name, network.loss, network.activation).run
        self.dtype, self.relu, self.n_images, self.at_end = (
            network.dtype,
            network.activation == "relu",
            n_images,
            at_end,
        )
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
        finally:
            for _, copy in copies:
                copy.lift()

    def _of_arguments(self, arguments: Record, layers: list[Record]) -> dict[str, int]:
        """Return the bytes of each array that the arguments point to."""
        return {
            "data": self.n_images * arguments.row_stride,
            "labels": 8 * self.n_images,
            "order": 8 * arguments.n,
            "sample_weights": self.dtype.itemsize * self.n_images,
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
            "sample_offsets": 8 * BLOCK,
            "sample_masks": stride,
            "any_mask": -(-stride // 64) * 8,
        }

    def _of_layer(self, layer: Record, depth: int) -> dict[str, int]:
        size, lanes = self.dtype.itemsize, LINE // self.dtype.itemsize
        transposed = depth > 0 and not self.relu
        rows = -(-layer.n_outputs // 4) * 4 if transposed else layer.n_inputs
        per_unit = ("biases", "activations", "deltas", "scaled_deltas", "unit_mask", "unit_numbers")
        return {
            "weights": rows * layer.stride * size,
            **dict.fromkeys(per_unit, layer.n_vectors * LINE),
            **dict.fromkeys(("active_rows", "active_offsets"), 8 * lanes * layer.n_input_vectors),
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
        engine = Engine(network, GuardedKernel(network, len(self.images), at_end=at_end))
        data = ImageInput(self.images, self.invert, self.first_layer)
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
        changes, wanted = self.plain()
        nearby = [self.plain(rng) for _ in range(3)]
        eps, is_sensitive, faults = float(np.finfo(trained.dtype).eps), False, []
        old, new = ((*one.weights, *one.biases) for one in (self.network, trained))
        triples = [
            (after.astype(np.float64) - before, changes[i], [one[0][i] for one in nearby], np.abs(after).max())
            for i, (before, after) in enumerate(zip(old, new, strict=True))
        ]
        for found, expected, others, largest in (*triples, (outputs, wanted, [one[1] for one in nearby], 1.0)):
            spread = 4 * max(float(np.abs(other - expected).max()) for other in others)
            # Activations have rounding errors of an eps, which are multiplied by the learning rate.
            rounding = 64 * eps * max(float(largest), self.learning_rate)
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
        broken = list(attack_networks(options.n, options.seed))
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
    print("\n".join(line for line in lines if line.startswith("networks")))
    broken = [line.removeprefix("BROKEN: ") for line in lines if line.startswith("BROKEN: ")]
    if child.returncode not in (0, 1) or len(cases) != n or (child.returncode and not broken):
        where = " ".join(child.stderr.split()[-60:])
        broken.append(f"the process ended with {child.returncode} in {cases[-1] if cases else 'its start'}: {where}")
    return broken


if __name__ == "__main__":
    sys.exit(main())
