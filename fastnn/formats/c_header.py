"""Writes a model as one C header: constant arrays and functions that need no memory but one buffer.

Weights are 32-bit floats, also those of float64 models; or whole numbers from -127 to 127, with a float for each output
unit. The layers are computed in floats, rows are standardised in doubles. A first layer of images starts from white
paper and adds what deviates, as :mod:`fastnn.inputs` does; so white pixels cost nothing, and int8 weights of them add
no error. Models that normalise drawings have that in the header too, see :mod:`fastnn.formats.c_normalise`.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn import __version__
from fastnn.datasets.sparse import SparseRows
from fastnn.errors import ModelError, fault
from fastnn.formats.plain import divides_by_sum, layers_from_white, layers_of
from fastnn.model import LEAST_CALIBRATED
from fastnn.reading import read_file

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from fastnn.formats.plain import PlainLayer
    from fastnn.model import Model

_FILE_LIMIT = 1 << 30
_SECONDS = 600
"""Longest time for which a compiler or the compiled program may run."""
_WHITE = 255.0
_COMPILERS = ("cc", "gcc", "clang")

_HEAD = """\
/* @DESCRIPTION@, written by fastnn @VERSION@. C99 or C++; link with -lm.
 *
 * @CALL@
 *
 * @INPUT_WORDS@
 * `outputs` gets @N_OUTPUTS@ @OUTPUT_WORDS@ in the order of @p@_names. @MEANING@
 * @p@_compute does the same in a buffer of @P@_BUFFER floats of the caller, not in one on the stack.
 * Constants take @BYTES@ bytes. SHA-256 of the model's weights: @SHA256@
 */
#ifndef @P@_H
#define @P@_H

#include <math.h>
#include <stdint.h>

#define @P@_INPUTS @N_INPUTS@
#define @P@_OUTPUTS @N_OUTPUTS@
#define @P@_NETWORKS @N_NETWORKS@
#define @P@_BUFFER @BUFFER@
"""

_VALUE = """
/* Type of the values of a row; on processors without doubles define it as float before this file is included. */
#ifndef @P@_VALUE
#define @P@_VALUE double
#endif
"""

_ADD = """
static inline void @p@_add(float x, const @WEIGHT@ *weights, int n, float *sums)
{
    int j;
    if (x != 0.0f)
        for (j = 0; j < n; j++)
            sums[j] += x * @CAST@weights[j];
}
"""

_BEGIN = {
    "float32": """
static inline void @p@_begin(const float *biases, int n, float *sums)
{
    int j;
    for (j = 0; j < n; j++)
        sums[j] = biases[j];
}
""",
    "int8": """
static inline void @p@_begin(int n, float *sums)
{
    int j;
    for (j = 0; j < n; j++)
        sums[j] = 0.0f;
}

/* The weights of output j are whole numbers times scales[j]. */
static inline void @p@_scale(const float *scales, const float *biases, int n, float *sums)
{
    int j;
    for (j = 0; j < n; j++)
        sums[j] = sums[j] * scales[j] + biases[j];
}
""",
}

_FIRST_IMAGE = """
/* White is in the biases: only other pixels add something. */
static inline void @p@_first(const uint8_t *input, const @WEIGHT@ *weights, int n, float *sums)
{
    int i;
    for (i = 0; i < @P@_INPUTS; i++, weights += n)
        @p@_add((float)(input[i] - 255) / @GREY@, weights, n, sums);
}
"""

_FIRST_ROW = """
static inline void @p@_first(const @P@_VALUE *input, const @WEIGHT@ *weights, int n, float *sums)
{
    int i;
    for (i = 0; i < @P@_INPUTS; i++, weights += n)
        @p@_add((float)(@INPUT@), weights, n, sums);
}
"""

_NEXT = """
static inline void @p@_next(const float *inputs, int n_inputs, const @WEIGHT@ *weights, int n, float *sums)
{
    int i;
    for (i = 0; i < n_inputs; i++, weights += n)
        @p@_add(inputs[i], weights, n, sums);
}
"""

_ACTIVATIONS = {
    "relu": "        x[j] = x[j] > 0.0f ? x[j] : 0.0f;\n",
    "tanh": "        x[j] = tanhf(x[j]);\n",
    "sigmoid": "        x[j] = 1.0f / (1.0f + expf(-x[j]));\n",
}

_ACTIVATION = """
static inline void @p@_@NAME@(float *x, int n)
{
    int j;
    for (j = 0; j < n; j++)
@BODY@}
"""

_SOFTMAX = """
static inline void @p@_softmax(float *x, int n)
{
    float largest = x[0], sum = 0.0f;
    int j;
    for (j = 1; j < n; j++)
        largest = x[j] > largest ? x[j] : largest;
    for (j = 0; j < n; j++)
        sum += x[j] = expf(x[j] - largest);
    for (j = 0; j < n; j++)
        x[j] /= sum;
}
"""

_SHARES = """
/* Divide by the sum, so that the probabilities add up to 1. */
static inline void @p@_shares(float *outputs)
{
    float sum = 0.0f;
    int j;
    for (j = 0; j < @P@_OUTPUTS; j++)
        sum += outputs[j];
    for (j = 0; j < @P@_OUTPUTS; j++)
        outputs[j] = sum > 0.0f ? outputs[j] / sum : 1.0f / @P@_OUTPUTS;
}
"""


def dump(model: Model, precision: str, name: str = "model") -> bytes:
    """Return the content of the header, see :class:`fastnn.formats.export.Exporter`.

    Parameters
    ----------
    model : Model
    precision : {"float32", "int8"}
        Type of the weights.
    name : str
        From which the names in the header are made: all of them begin with it, see :func:`prefix_of`.
    """
    parts = _Parts(model, precision)
    prefix = prefix_of(name)
    text = "".join(parts.text())
    for word, value in parts.words.items():
        text = text.replace(f"@{word}@", value)
    return text.replace("@p@", prefix).replace("@P@", prefix.upper()).encode()


def prefix_of(name: str) -> str:
    """Return a valid identifier of C, made of a file's name without its ending.

    Other characters than letters, digits and underscores of ASCII become underscores. C99 tells names apart by 63
    characters, so that it has at most 32.
    """
    words = re.sub("[^A-Za-z0-9]+", "_", name).strip("_")[:32]
    return words if words[:1].isalpha() else f"model_{words}".strip("_")


def run(path: Path, model: Model, samples: Any) -> NDArray[np.float64]:
    """Compile the header with the system's compiler, and return what it computes; see ``formats.export.Exporter``.

    This runs the code in the file.
    """
    compiler = next(filter(None, map(shutil.which, _COMPILERS)), None)
    if compiler is None:
        raise ModelError(
            f"running it needs a C compiler ({', '.join(_COMPILERS)}), and none is on the PATH; install gcc"
        )
    header = read_file(path, _FILE_LIMIT, what="a C header", error=ModelError)
    found = re.search(rb"static inline (?:int|void) ([A-Za-z][A-Za-z0-9_]*)_predict\(", header)
    if found is None:
        raise ModelError("not a header that fastnn wrote; export the model again")
    rows = samples.toarray() if isinstance(samples, SparseRows) else np.asarray(samples)
    rows = np.ascontiguousarray(rows, np.uint8 if model.takes == "images" else np.float64)
    kind = "uint8_t" if model.takes == "images" else "double"
    prefix = found[1].decode()
    program = _PROGRAM.replace("@p@", prefix).replace("@P@", prefix.upper()).replace("@KIND@", kind)
    try:
        with tempfile.TemporaryDirectory(prefix="fastnn-", ignore_cleanup_errors=True) as folder:
            (Path(folder) / "model.h").write_bytes(header)
            (Path(folder) / "main.c").write_text(program)
            _started([compiler, "-std=c99", "-O2", "-o", "program", "main.c", "-lm"], folder)
            answer = _started([str(Path(folder) / "program")], folder, rows.tobytes())
    except OSError as error:
        raise ModelError(f"cannot be compiled and run ({fault(error)})") from None
    outputs = np.frombuffer(answer[: len(answer) // 4 * 4], np.float32)
    if outputs.size != len(rows) * len(model.names):
        raise ModelError("it is not the header of this model; export the model again")
    return outputs.reshape(len(rows), -1).astype(np.float64)


_PROGRAM = """\
#include <stdio.h>
#ifdef _WIN32
#include <fcntl.h>
#include <io.h>
#endif
#include "model.h"

static @KIND@ input[@P@_INPUTS];
static float outputs[@P@_OUTPUTS];

int main(void)
{
#ifdef _WIN32
    _setmode(_fileno(stdin), _O_BINARY);
    _setmode(_fileno(stdout), _O_BINARY);
#endif
    while (fread(input, sizeof *input, @P@_INPUTS, stdin) == @P@_INPUTS) {
        @p@_predict(input, outputs);
        fwrite(outputs, sizeof *outputs, @P@_OUTPUTS, stdout);
    }
    return 0;
}
"""


def _started(command: list[str], folder: str, given: bytes = b"") -> bytes:
    """Run a program to its end and return what it writes; ModelError if it fails."""
    try:
        # Not a shell, and a program that `shutil.which` found or that was compiled a moment ago.
        done = subprocess.run(  # noqa: S603
            command, cwd=folder, input=given, capture_output=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise ModelError(f"{Path(command[0]).name} did not end in {_SECONDS} seconds") from None
    if done.returncode:
        said = " ".join(done.stderr.decode(errors="replace").split())[:300]
        raise ModelError(f"{Path(command[0]).name} failed ({said or done.returncode})")
    return done.stdout


class _Parts:
    """The parts of a header, with words between @ that stand for names and types.

    Attributes
    ----------
    words : dict of str to str
        What stands for each word but the prefix of the names.
    """

    def __init__(self, model: Model, precision: str) -> None:
        self.model, self.precision, self._bytes = model, precision, 0
        self._activations: dict[str, None] = {}
        self.words = {
            "WEIGHT": "int8_t" if precision == "int8" else "float",
            "CAST": "(float)" if precision == "int8" else "",
            "N_INPUTS": str(model.n_inputs),
            "N_OUTPUTS": str(len(model.names)),
            "N_NETWORKS": str(len(model.networks)),
            "SHA256": model.sha256(),
            "VERSION": __version__,
        }

    def text(self) -> Iterable[str]:
        """Return the parts in their order."""
        model = self.model
        arrays, networks = [], []
        widths = [0, 0]
        for network in model.networks:
            for side in (0, 1):
                widths[side] = max([widths[side], *network.sizes[1 + side :: 2]])
        for member, network in enumerate(model.networks):
            layers = layers_from_white(self.model, network) if self.model.takes == "images" else layers_of(network)
            arrays += [part for depth, layer in enumerate(layers) for part in self._layer(f"{member}_{depth}", layer)]
            networks.append(self._network(member, layers, widths[0]))
        arrays += self._scalings()
        self._describe(sum(widths))
        yield _HEAD
        if model.takes == "rows":
            yield _VALUE
        yield self._names()
        yield from arrays
        yield _ADD + _BEGIN[self.precision]
        yield self._first()
        if any(len(network.sizes) > 2 for network in model.networks):
            yield _NEXT
        for name in self._activations:
            if name == "softmax":
                yield _SOFTMAX
            elif name in _ACTIVATIONS:
                yield _ACTIVATION.replace("@NAME@", name).replace("@BODY@", _ACTIVATIONS[name])
        yield from networks
        if model.task == "classification":
            yield _SHARES
        if model.normalise:
            from fastnn.formats.c_normalise import NORMALISE  # imports Numba

            yield NORMALISE
        yield self._compute()
        yield "\n#endif\n"

    def _describe(self, buffer: int) -> None:
        """Fill in the words of the header's first comment."""
        model = self.model
        sizes = {"-".join(map(str, network.sizes)): None for network in model.networks}
        count = len(model.networks)
        images = model.takes == "images"
        kind = "uint8_t" if images else "@P@_VALUE"
        name = "image" if images else "row"
        side = "@P@_HEIGHT * @P@_WIDTH" if model.normalise else "@P@_INPUTS"
        returned = "int" if model.task == "classification" else "void"
        result = "int class_index = " if model.task == "classification" else ""
        words = {
            "classification": ("probabilities", "They add up to 1. The position of the largest is returned."),
            "multilabel": ("probabilities", "A sample has the labels with more than 0.5."),
            "regression": ("numbers", "They are in the unit of the targets."),
        }
        self.words |= {
            "DESCRIPTION": f"{'A network' if count == 1 else f'The mean of {count} networks'} ({', '.join(sizes)})",
            "CALL": f"{result}@p@_predict({name}, outputs);",
            "INPUT_WORDS": f"`{name}` has {side} "
            + (
                "grey levels, row by row: 255 is white paper, 0 is black."
                if images
                else "values, as they were in the data: they are standardised here."
                if model.scaling is not None
                else "values."
            ),
            "OUTPUT_WORDS": words[model.task][0],
            "MEANING": words[model.task][1],
            "BUFFER": str(buffer),
            "BYTES": f"{self._bytes:,}",
            "INPUT_TYPE": kind,
            "RETURNED": returned,
        }

    def _layer(self, name: str, layer: PlainLayer) -> list[str]:
        self._activations[layer.activation] = None
        weights, biases = layer.weights, layer.biases
        if self.precision != "int8":
            return [
                self._floats(f"weights_{name}", weights),
                self._floats(f"biases_{name}", biases),
            ]
        largest = np.abs(weights.astype(np.float64)).max(axis=0)
        scales = np.where(largest > 0, largest / 127, 1.0)
        whole = np.rint(weights / scales).astype(np.int64)
        self._bytes += whole.size
        return [
            _array("static const int8_t", f"weights_{name}", map(str, whole.ravel().tolist()), whole.size),
            self._floats(f"scales_{name}", scales),
            self._floats(f"biases_{name}", biases),
        ]

    def _floats(self, name: str, values: NDArray[Any]) -> str:
        with np.errstate(over="ignore"):  # seen below
            single = np.asarray(values, dtype=np.float32).ravel()
        if not np.isfinite(single).all():
            raise ModelError("a C header holds 32-bit floats, and the weights are too large for them")
        self._bytes += single.nbytes
        return _array("static const float", name, map(_float_text, single.tolist()), single.size)

    def _values(self, name: str, values: NDArray[np.float64]) -> str:
        self._bytes += values.nbytes
        return _array("static const @P@_VALUE", name, map(repr, values.tolist()), values.size)

    def _scalings(self) -> list[str]:
        arrays = []
        for kind, scaling in (("input", self.model.scaling), ("target", self.model.target_scaling)):
            if scaling is not None:
                arrays += [
                    self._values(f"{kind}_mean", scaling.mean),
                    self._values(f"{kind}_factor", scaling.factor),
                ]
        return arrays

    def _names(self) -> str:
        """Return the names of the outputs, and of the inputs if they have any, as texts in UTF-8."""
        text = _texts("names", "@P@_OUTPUTS", self.model.names)
        if self.model.columns is None:
            return text
        inputs = []
        for column in self.model.columns:
            inputs += [column.name] if column.categories is None else [f"{column.name}={c}" for c in column.categories]
        what = "\n/* What each value of a row is; of a category 1 if the row has it, and else 0. */"
        return text + what + _texts("input_names", "@P@_INPUTS", inputs)

    def _first(self) -> str:
        if self.model.takes == "images":
            return _FIRST_IMAGE.replace("@GREY@", "-255.0f" if self.model.invert else "255.0f")
        scaled = "(input[i] - @p@_input_mean[i]) * @p@_input_factor[i]"
        return _FIRST_ROW.replace("@INPUT@", "input[i]" if self.model.scaling is None else scaled)

    def _network(self, member: int, layers: list[PlainLayer], width: int) -> str:
        """Return the function that adds a network's outputs to the sum of all."""
        lines = []
        for depth, layer in enumerate(layers):
            n_inputs, n = layer.weights.shape
            side, other = ("even", "odd") if depth % 2 == 0 else ("odd", "even")
            arrays = f"{member}_{depth}"
            given = "input, " if depth == 0 else f"{other}, {n_inputs}, "
            call = f"@p@_{'first' if depth == 0 else 'next'}({given}@p@_weights_{arrays}, {n}, {side});"
            if self.precision == "int8":
                scale = f"@p@_scale(@p@_scales_{arrays}, @p@_biases_{arrays}, {n}, {side});"
                lines += [f"@p@_begin({n}, {side});", call, scale]
            else:
                lines += [f"@p@_begin(@p@_biases_{arrays}, {n}, {side});", call]
            if layer.activation != "identity":
                lines.append(f"@p@_{layer.activation}({side}, {n});")
        declared = f"float *even = buffer{', *odd = buffer + ' + str(width) if len(layers) > 1 else ''};"
        body = "".join(f"    {line}\n" for line in [declared, "int j;", *lines])
        return (
            f"\nstatic inline void @p@_network_{member}(const @INPUT_TYPE@ *input, float *outputs, float *buffer)\n{{\n"
            f"{body}    for (j = 0; j < @P@_OUTPUTS; j++)\n        outputs[j] += {side}[j];\n}}\n"
        )

    def _compute(self) -> str:
        """Return the functions that the user calls."""
        model, lines = self.model, []
        given = "image" if model.takes == "images" else "row"
        if model.normalise:
            lines += ["uint8_t normalised[@P@_INPUTS];", "int j;", "@p@_normalise(image, normalised);"]
            given_to_network = "normalised"
        else:
            lines.append("int j;")
            given_to_network = given
        lines += ["for (j = 0; j < @P@_OUTPUTS; j++)", "    outputs[j] = 0.0f;"]
        lines += [f"@p@_network_{k}({given_to_network}, outputs, buffer);" for k in range(len(model.networks))]
        each: list[str] = []
        if len(model.networks) > 1:
            each.append("outputs[j] /= (float)@P@_NETWORKS;")
        if model.target_scaling is not None:
            each.append("outputs[j] = (float)(outputs[j] / @p@_target_factor[j] + @p@_target_mean[j]);")
        if each:
            lines += ["for (j = 0; j < @P@_OUTPUTS; j++) {", *(f"    {one}" for one in each), "}"]
        if model.task == "classification":
            lines += self._probabilities()
        signature = f"(const @INPUT_TYPE@ *{given}, float *outputs"
        body = "".join(f"    {line}\n" for line in lines)
        back = "return " if model.task == "classification" else ""
        return (
            f"\nstatic inline @RETURNED@ @p@_compute{signature}, float *buffer)\n{{\n{body}}}\n"
            f"\nstatic inline @RETURNED@ @p@_predict{signature})\n{{\n    float buffer[@P@_BUFFER];\n"
            f"    {back}@p@_compute({given}, outputs, buffer);\n}}\n"
        )

    def _probabilities(self) -> list[str]:
        """Return the lines that make probabilities of outputs and return the most probable class."""
        if not divides_by_sum(self.model) and self.model.card.calibration is None:
            lines = []
        else:
            lines = ["@p@_shares(outputs);"]
        if self.model.card.calibration is not None:
            slope, offset = self.model.card.calibration.line(len(self.model.names))
            least = _float_text(LEAST_CALIBRATED)
            lines += [
                "/* The training smoothed its labels; this undoes it. */",
                "for (j = 0; j < @P@_OUTPUTS; j++) {",
                f"    outputs[j] = outputs[j] * {_float_text(slope)} + {_float_text(offset)};",
                f"    outputs[j] = outputs[j] > {least} ? outputs[j] : {least};",
                "}",
                "@p@_shares(outputs);",
            ]
        lines.insert(0, "int best = 0;")
        lines += ["for (j = 1; j < @P@_OUTPUTS; j++)", "    best = outputs[j] > outputs[best] ? j : best;"]
        return [*lines, "return best;"]


def _array(kind: str, name: str, values: Iterable[str], n: int) -> str:
    """Return the definition of an array, twelve values a line."""
    texts = list(values)
    lines = "".join(f"    {', '.join(texts[start : start + 12])},\n" for start in range(0, n, 12))
    return f"\n{kind} @p@_{name}[{n}] = {{\n{lines}}};\n"


def _float_text(value: float) -> str:
    """Return a number as a constant of C of type float, with all digits that it has."""
    text = f"{value:.9g}"
    return f"{text}f" if "." in text or "e" in text else f"{text}.0f"


def _texts(name: str, size: str, texts: Iterable[str]) -> str:
    lines = "".join(f'    "{_escaped(text)}",\n' for text in texts)
    return f"\nstatic const char *const @p@_{name}[{size}] = {{\n{lines}}};\n"


def _escaped(text: str) -> str:
    """Return a text as C writes it between quotes, in UTF-8; ModelError if C cannot hold it."""
    if "\0" in text:
        raise ModelError(f"C cannot hold the name {text!r}, which has a null character")
    found = []
    for byte in text.encode(errors="replace"):
        letter = chr(byte)
        # Three octal digits end by themselves; hexadecimal ones would take over digits that follow. A question mark may
        # begin a trigraph, and an at sign one of the words of the templates here.
        plain = letter.isascii() and (letter.isalnum() or letter in " !#$%&'()*+,-./:;<=>[]^_`{|}~")
        found.append(letter if plain else f"\\{byte:03o}")
    return "".join(found)
