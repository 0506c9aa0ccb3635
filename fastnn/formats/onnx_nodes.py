"""Builds, checks and runs ONNX graphs; the only file that imports onnx and onnxruntime.

A :class:`Graph` collects nodes. Its :class:`Value` objects stand for tensors, and their operators add nodes::

    graph = Graph()
    pixels = graph.input("input", np.uint8, ("n", 784))
    grey = pixels.cast(np.float32) / 255
    graph.output("label", grey.argmax(axis=1), ("n",))
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn.errors import MissingExtraError, ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import ArrayLike, DTypeLike, NDArray

try:
    import onnx
    from onnx import helper, numpy_helper
except ImportError:
    raise MissingExtraError("exporting to ONNX", "onnx") from None

OPSET = 18
"""Version of the operators: the first whose reductions over the largest value take their axes as an input, as those of
all later versions do."""
_IR = 8
"""Version of the file format that came with this opset."""
MAX_BYTES = (1 << 31) - (1 << 20)
"""Largest file: a message of protobuf has less than 2 GiB."""

_NO_TELEMETRY = "ORT_DISABLE_TELEMETRY"


def load_onnxruntime() -> Any:
    """Return the module onnxruntime, imported so that it sends nothing; MissingExtraError if it is not installed.

    The import of some versions alone writes an identifier of the machine and a database to the user's cache, and events
    are sent to its makers.
    """
    given = os.environ.get(_NO_TELEMETRY)
    os.environ[_NO_TELEMETRY] = "1"
    try:
        import onnxruntime
    except ImportError:
        raise MissingExtraError("running ONNX", "onnx") from None
    finally:
        if given is None:
            del os.environ[_NO_TELEMETRY]
        else:
            os.environ[_NO_TELEMETRY] = given
    return onnxruntime


class Value:
    """A tensor of a graph; operators and methods add nodes that compute others from it.

    Numbers and arrays beside it become constants of its type.

    Attributes
    ----------
    graph : Graph
    name : str
    dtype : dtype
    """

    def __init__(self, graph: Graph, name: str, dtype: DTypeLike) -> None:
        self.graph, self.name, self.dtype = graph, name, np.dtype(dtype)

    def _node(self, operator: str, *others: Any, dtype: DTypeLike | None = None, **attributes: Any) -> Value:
        return self.graph.node(operator, self, *map(self._like, others), dtype=dtype or self.dtype, **attributes)

    def _like(self, other: Any) -> Value:
        return other if isinstance(other, Value) else self.graph.constant(np.asarray(other, self.dtype))

    def __add__(self, other: Any) -> Value:
        return self._node("Add", other)

    def __sub__(self, other: Any) -> Value:
        return self._node("Sub", other)

    def __rsub__(self, other: Any) -> Value:
        return self._like(other) - self

    def __mul__(self, other: Any) -> Value:
        return self._node("Mul", other)

    def __truediv__(self, other: Any) -> Value:
        return self._node("Div", other)

    def __matmul__(self, other: Any) -> Value:
        return self._node("MatMul", other)

    def __gt__(self, other: Any) -> Value:
        return self._node("Greater", other, dtype=np.bool_)

    def __ge__(self, other: Any) -> Value:
        return self._node("GreaterOrEqual", other, dtype=np.bool_)

    def __lt__(self, other: Any) -> Value:
        return self._node("Less", other, dtype=np.bool_)

    def __and__(self, other: Value) -> Value:
        return self._node("And", other)

    def __or__(self, other: Value) -> Value:
        return self._node("Or", other)

    def __invert__(self) -> Value:
        return self._node("Not")

    def equals(self, other: Any) -> Value:
        """Return where both are equal."""
        return self._node("Equal", other, dtype=np.bool_)

    def cast(self, dtype: DTypeLike) -> Value:
        """Return it in another type."""
        to = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return self if self.dtype == dtype else self._node("Cast", dtype=dtype, to=to)

    def floor(self) -> Value:
        """Return it rounded down."""
        return self._node("Floor")

    def ceil(self) -> Value:
        """Return it rounded up."""
        return self._node("Ceil")

    def at_least(self, other: Any) -> Value:
        """Return the larger one of both."""
        return self._node("Max", other)

    def at_most(self, other: Any) -> Value:
        """Return the smaller one of both."""
        return self._node("Min", other)

    def where(self, chosen: Value, other: Any) -> Value:
        """Return `chosen` where this is true, and else `other`."""
        otherwise = other if isinstance(other, Value) else self.graph.constant(np.asarray(other, chosen.dtype))
        return self.graph.node("Where", self, chosen, otherwise, dtype=chosen.dtype)

    def sum(self, *axes: int) -> Value:
        """Return sums over axes, which stay with length 1."""
        return self.graph.node("ReduceSum", self, self.graph.constant(np.array(axes, np.int64)), dtype=self.dtype)

    def max(self, *axes: int) -> Value:
        """Return largest values over axes, which stay with length 1."""
        return self.graph.node("ReduceMax", self, self.graph.constant(np.array(axes, np.int64)), dtype=self.dtype)

    def argmax(self, axis: int, *, last: bool = False, keep: bool = False) -> Value:
        """Return the position of the first (or last) largest value along an axis, in int64."""
        return self._node("ArgMax", dtype=np.int64, axis=axis, select_last_index=int(last), keepdims=int(keep))

    def reshape(self, *shape: int) -> Value:
        """Return it in another shape, in which one length may be -1."""
        return self.graph.node("Reshape", self, self.graph.constant(np.array(shape, np.int64)), dtype=self.dtype)

    def transpose(self, *axes: int) -> Value:
        """Return it with its axes in another order."""
        return self._node("Transpose", perm=list(axes))

    def split(self, axis: int, n: int) -> list[Value]:
        """Return its n parts of length 1 along an axis."""
        return self.graph.split(self, axis, n)

    def apply(self, operator: str, **attributes: Any) -> Value:
        """Return what an operator with one input makes of it, such as Relu."""
        return self._node(operator, **attributes)


class Graph:
    """Nodes, constants, inputs and outputs of an ONNX graph."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._constants: dict[tuple[Any, ...], Value] = {}
        self._initialisers: list[Any] = []
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        self._count = 0

    def _new(self, kind: str, dtype: DTypeLike) -> Value:
        self._count += 1
        return Value(self, f"{kind}_{self._count}", dtype)

    def constant(self, array: NDArray[Any], name: str = "") -> Value:
        """Return a constant; small ones that are equal and have no name are stored once."""
        key = (array.dtype.str, array.shape, array.tobytes()) if not name and array.size <= 64 else None
        if key is not None and key in self._constants:
            return self._constants[key]
        value = Value(self, name, array.dtype) if name else self._new("constant", array.dtype)
        self._initialisers.append(numpy_helper.from_array(np.asarray(array, order="C"), value.name))
        if key is not None:
            self._constants[key] = value
        return value

    def node(self, operator: str, *inputs: Value, dtype: DTypeLike, **attributes: Any) -> Value:
        """Add a node with one output, and return that."""
        value = self._new(operator, dtype)
        names = [each.name for each in inputs]
        self._nodes.append(helper.make_node(operator, names, [value.name], name=value.name, **attributes))
        return value

    def largest(self, values: Value, rank: int) -> Value:
        """Return the value that comes at `rank`, counted from 1 for the largest, in each row; shape (n, 1)."""
        number, place = (self.constant(np.array([each], np.int64)) for each in (rank, rank - 1))
        top, where = self._new("TopK", values.dtype), self._new("TopK", np.int64)
        self._nodes.append(helper.make_node("TopK", [values.name, number.name], [top.name, where.name], name=top.name))
        return self.node("Gather", top, place, dtype=values.dtype, axis=1)

    def split(self, value: Value, axis: int, n: int) -> list[Value]:
        """Return the n parts of length 1 of a value along an axis."""
        parts = [self._new("Split", value.dtype) for _ in range(n)]
        names = [part.name for part in parts]
        self._nodes.append(helper.make_node("Split", [value.name], names, name=names[0], axis=axis, num_outputs=n))
        return parts

    def input(self, name: str, dtype: DTypeLike, shape: Sequence[str | int]) -> Value:
        """Add an input; a length that is a text is free."""
        self._inputs.append(_info(name, dtype, shape))
        return Value(self, name, dtype)

    def output(self, name: str, value: Value, shape: Sequence[str | int]) -> None:
        """Make a value an output."""
        self._nodes.append(helper.make_node("Identity", [value.name], [name], name=name))
        self._outputs.append(_info(name, value.dtype, shape))

    def repeat(
        self,
        most: int,
        go_on: Value,
        states: Sequence[Value],
        body: Callable[[list[Value]], tuple[Value, Sequence[Value]]],
    ) -> list[Value]:
        """Compute states from states until a condition is false.

        Parameters
        ----------
        most : int
            Rounds at most.
        go_on : Value of bool, shape ()
            Whether there is a first round.
        states : sequence of Value
        body : callable
            Takes the states of a round, and returns whether there is another one and the new states.

        Returns
        -------
        list of Value
            The last states.
        """
        outer, self._nodes = self._nodes, []
        given = [self._new("state", each.dtype) for each in states]
        again, changed = body(given)
        inputs = [
            _info(self._new("round", np.int64).name, np.int64, ()),
            _info(self._new("go_on", bool).name, bool, ()),
        ]
        inputs += [_info(each.name, each.dtype, None) for each in given]
        outputs = [_info(each.name, each.dtype, () if each is again else None) for each in (again, *changed)]
        inside, self._nodes = helper.make_graph(self._nodes, "round", inputs, outputs), outer
        results = [self._new("last", each.dtype) for each in states]
        names = [self.constant(np.array(most, np.int64)).name, go_on.name, *(each.name for each in states)]
        self._nodes.append(helper.make_node("Loop", names, [each.name for each in results], body=inside))
        return results

    def product_in_8_bits(self, values: Value, weights: NDArray[np.float32], name: str) -> Value:
        """Return ``values @ weights`` of weights in 8 bits; values are quantised by their range when the graph runs.

        These are the nodes of onnxruntime's own dynamic quantisation, which it runs as one operation.
        """
        quantised, scales, zeros = _in_8_bits(weights)
        made = [self._new("DynamicQuantizeLinear", dtype) for dtype in (np.uint8, np.float32, np.uint8)]
        names = [each.name for each in made]
        self._nodes.append(helper.make_node("DynamicQuantizeLinear", [values.name], names, name=names[0]))
        constants = self.constant(quantised, name), made[2], self.constant(zeros, f"{name}.zero")
        total = self.node("MatMulInteger", made[0], *constants, dtype=np.int32)
        return total.cast(np.float32) * (made[1] * self.constant(scales, f"{name}.scale"))

    def dump(self, metadata: Mapping[str, str], producer: tuple[str, str]) -> bytes:
        """Return the content of an ONNX file with this graph, which the full checker of onnx has seen.

        Parameters
        ----------
        metadata : mapping of str to str
        producer : tuple of str
            Name and version of the program.
        """
        graph = helper.make_graph(self._nodes, producer[0], self._inputs, self._outputs, self._initialisers)
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR)
        helper.set_model_props(model, dict(metadata))
        model.producer_name, model.producer_version = producer
        onnx.checker.check_model(model, full_check=True)
        return bytes(model.SerializeToString(deterministic=True))


def metadata_entry(key: str, text: str) -> bytes:
    """Return an entry of the metadata that can be added at the end of a file."""
    model = onnx.ModelProto()
    model.metadata_props.add(key=key, value=text)
    return bytes(model.SerializeToString())


def _info(name: str, dtype: DTypeLike, shape: Sequence[str | int] | None) -> Any:
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)


def _in_8_bits(weights: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.uint8]]:
    """Return weights as (quantised - zero) * scale, with a scale and a zero for each column.

    They have no sign, since processors without instructions for neural networks saturate sums of products of two bytes
    of which one has a sign.
    """
    low, high = np.minimum(weights.min(axis=0), 0), np.maximum(weights.max(axis=0), 0)
    scale = (high.astype(np.float64) - low) / 255
    scale = np.where(scale < np.finfo(np.float32).tiny, 1, scale)
    zero = np.rint(-low / scale)
    quantised = np.clip(np.rint(weights / scale) + zero, 0, 255)
    return quantised.astype(np.uint8), scale.astype(np.float32), zero.astype(np.uint8)


class Session:
    """Runs an ONNX model with onnxruntime.

    Parameters
    ----------
    content : bytes
        Of the file.

    Raises
    ------
    ModelError
        If it cannot be run.
    """

    def __init__(self, content: bytes) -> None:
        onnxruntime = load_onnxruntime()
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        try:
            self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors have no class in common
            raise ModelError(f"onnxruntime cannot load it ({_one_line(error)})") from None

    @property
    def input_dtype(self) -> np.dtype[Any]:
        """Type of the first input."""
        kinds = {"tensor(uint8)": np.uint8, "tensor(float)": np.float32, "tensor(double)": np.float64}
        return np.dtype(kinds[self._session.get_inputs()[0].type])

    def run(self, output: str, inputs: ArrayLike) -> NDArray[Any]:
        """Return an output for some inputs."""
        name = self._session.get_inputs()[0].name
        try:
            return np.asarray(self._session.run([output], {name: inputs})[0])
        except Exception as error:  # onnxruntime's errors have no class in common
            raise ModelError(f"onnxruntime cannot run it ({_one_line(error)})") from None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
