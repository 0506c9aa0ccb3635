"""Networks that other programs trained: their layers, found by the names and shapes of arrays, and all the rest."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from fastnn.datasets.scaling import Scaling
from fastnn.errors import FastnnError, ModelError
from fastnn.model import Model
from fastnn.network import OUTPUTS, Activation, Network, Task

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from fastnn.formats.safetensors import Tensors

    Layer = tuple[NDArray[Any], NDArray[Any]]

_FLOATS = ("F16", "F32", "F64")
_MOST_LAYERS = 63
_NUMBER = re.compile(r"\d+")

_QUESTIONS = {
    "activation": "the activation of the hidden layers (--activation relu, tanh or sigmoid)",
    "task": "the task (--task classification, multilabel or regression)",
    "takes": "what the network takes (--takes images or rows)",
    "invert": "whether white pixels are 0 (--invert) or 1 (--no-invert)",
    "names": "the names of the outputs (--classes)",
}
"""How the command line asks for each fact."""


@dataclass(frozen=True)
class Facts:
    """What is known of a network besides its weights; None for what is not.

    Attributes
    ----------
    activation : {"relu", "tanh", "sigmoid"} or None
        Of the hidden layers.
    task : {"classification", "multilabel", "regression"} or None
        The outputs are before softmax for classes, before the logistic function for labels. One output of a
        classification is that of the second of two classes, before the logistic function.
    takes : {"images", "rows"} or None
    invert : bool or None
        Of images: whether white is 0 and black 1 for the network, see :class:`fastnn.Model`.
    names : tuple of str or None
        Of the classes, labels or targets, in the order of the outputs.
    mean, std : float or None
        The network was fed (x - mean) / std, where x is a value of a row, or of an image a number from 0 to 1.
    """

    activation: Activation | None = None
    task: Task | None = None
    takes: Literal["images", "rows"] | None = None
    invert: bool | None = None
    names: tuple[str, ...] | None = None
    mean: float | None = None
    std: float | None = None

    def joined(self, others: Facts) -> Facts:
        """Return these facts and others; ModelError if they contradict each other."""
        known = {}
        for each in fields(self):
            mine, other = getattr(self, each.name), getattr(others, each.name)
            if mine is not None and other is not None and mine != other:
                raise ModelError(f"its {each.name} is {_shown(mine)}, not {_shown(other)}; leave out the option")
            known[each.name] = other if mine is None else mine
        return Facts(**known)


@dataclass(frozen=True, eq=False)
class Foreign:
    """A network of another program.

    Attributes
    ----------
    layers : list of pairs of ndarray
        Weights of shape (inputs, outputs) and biases of shape (outputs,).
    facts : Facts
        What the file says of it.
    scaling : Scaling or None
        How rows are standardised for it.
    """

    layers: list[Layer]
    facts: Facts = field(default_factory=Facts)
    scaling: Scaling | None = None

    def model(self, given: Facts) -> Model:
        """Return the model.

        Parameters
        ----------
        given : Facts
            What the user says of it.

        Raises
        ------
        ModelError
            If something is not known, contradicts what the file says, or does not fit the layers.
        """
        facts = self.facts.joined(given)
        self._check_known(facts)
        names, task, takes = cast("tuple[str, ...]", facts.names), cast("Task", facts.task), facts.takes
        layers = [(weights, biases) for weights, biases in self.layers]
        if task == "classification" and layers[-1][0].shape[1] == 1:
            if len(names) != 2:
                raise ModelError(
                    "one output tells two classes apart; name both, second the one for which it is high "
                    "(--classes no,yes)"
                )
            layers[-1] = _as_two_outputs(*layers[-1])
        sizes = [layers[0][0].shape[0], *(weights.shape[1] for weights, _ in layers)]
        if len(names) != sizes[-1]:
            raise ModelError(f"the network has {sizes[-1]} outputs, but there are {len(names)} names (--classes)")
        if len(set(names)) != len(names):
            raise ModelError("two outputs have the same name (--classes)")
        scaling = self._scaling(facts, sizes[0])
        if takes == "images" and scaling is not None:
            with np.errstate(over="ignore", invalid="ignore"):  # seen by `check_outputs`
                layers[0] = _unscaled(*layers[0], scaling)
            scaling = None
        dtype = np.result_type(np.float32, *(weights.dtype for weights, _ in self.layers))
        try:
            network = Network(
                sizes, rule="backprop", activation=facts.activation or "relu", output=OUTPUTS[task], dtype=dtype
            )
            with np.errstate(over="ignore"):  # likewise
                for layer, (weights, biases) in enumerate(layers):
                    network.weights[layer][...], network.biases[layer][...] = weights, biases
            model = Model((network,), names, bool(facts.invert), takes=takes or "rows", scaling=scaling)
            model.check_outputs()
        except ModelError:
            raise
        except FastnnError as error:
            raise ModelError(str(error)) from None
        return model

    def _check_known(self, facts: Facts) -> None:
        needed = ["task", "takes", "names"]
        if len(self.layers) > 1:
            needed.append("activation")
        if facts.takes == "images":
            needed.append("invert")
        lacking = [_QUESTIONS[name] for name in _QUESTIONS if name in needed and getattr(facts, name) is None]
        if lacking:
            raise ModelError(f"does not say {'; '.join(lacking)}")
        if facts.takes == "rows" and facts.invert:
            raise ModelError("rows are not inverted; leave out --invert")
        if facts.takes == "images" and facts.task != "classification":
            raise ModelError(f"models of images learn classes, not a {facts.task}; use --takes rows")

    def _scaling(self, facts: Facts, n: int) -> Scaling | None:
        """Return the scaling in the file, or the one that was given."""
        mean, std = facts.mean or 0.0, 1.0 if facts.std is None else facts.std
        if not (np.isfinite(mean) and np.isfinite(std) and std > 0 and np.isfinite(1 / std)):
            raise ModelError("--mean must be a finite number and --std one above 0")
        if facts.mean is None and facts.std is None:
            return self.scaling
        if self.scaling is not None:
            raise ModelError("its inputs are standardised already; leave out --mean and --std")
        return Scaling(np.full(n, mean), np.full(n, 1 / std))


def find_layers(file: Tensors, *, torch_shapes: bool) -> list[Layer]:
    """Return the layers that arrays are, in their order.

    Weights are matrices, biases vectors. The names of all weights must be the same but for numbers, such as
    ``layers.0.weight`` and ``layers.2.weight``, ``W1`` and ``W2``, or ``arr_0`` and ``arr_2``; so must those of the
    biases. The numbers give the order, and say which biases are whose.

    Parameters
    ----------
    file : Tensors
    torch_shapes : bool
        Whether weights whose names end with ``weight`` have the shape (outputs, inputs), as those of PyTorch.

    Raises
    ------
    ModelError
        If the arrays are none, or something else too.
    """
    shapes: dict[str, list[int]] = {}
    names = file.keys()
    if not 1 <= len(names) <= 2 * _MOST_LAYERS:
        raise ModelError(f"holds {len(names):,} arrays, but a network has from 1 to {_MOST_LAYERS} layers")
    for name in names:
        code, shape = file.describe(name)
        if code not in _FLOATS:
            raise ModelError(f"the array {name!r} has the type {code}; store it as float32")
        if len(shape) not in (1, 2) or 0 in shape:
            raise ModelError(f"the array {name!r} has the shape {shape}; only fully connected layers can be read")
        shapes[name] = shape
    weights = _in_order([name for name in names if len(shapes[name]) == 2], "weights")
    biases = _in_order([name for name in names if len(shapes[name]) == 1], "biases")
    pairs = _paired(weights, biases)
    known = torch_shapes and all(name.endswith("weight") for name in weights.values())
    turned = _is_turned([(shapes[w], None if b is None else shapes[b][0]) for w, b in pairs], known=known)
    layers = []
    for weight, bias in pairs:
        matrix = file.get(weight)
        matrix = matrix.T if turned else matrix
        matrix = matrix.astype(np.result_type(matrix.dtype, np.float32), copy=False)
        layers.append((matrix, np.zeros(matrix.shape[1], matrix.dtype) if bias is None else file.get(bias)))
    return layers


def _in_order(names: list[str], what: str) -> dict[tuple[int, ...], str]:
    """Return names by the numbers in them, in ascending order."""
    patterns = {_NUMBER.sub("#", name) for name in names}
    if len(patterns) > 1:
        raise ModelError(
            f"the names of its {what} ({', '.join(sorted(names)[:4])}) do not give their order; name them the same but "
            "for a number, such as layers.0.weight and layers.1.weight"
        )
    numbers = {tuple(int(number[:18]) for number in _NUMBER.findall(name)): name for name in names}
    if len(numbers) != len(names):
        raise ModelError(f"two of its {what} have the same number")
    return dict(sorted(numbers.items()))


def _paired(weights: dict[tuple[int, ...], str], biases: dict[tuple[int, ...], str]) -> list[tuple[str, str | None]]:
    """Return each layer's names of weights and biases."""
    if not weights:
        raise ModelError("holds no matrix of weights")
    if biases.keys() <= weights.keys():
        return [(name, biases.get(number)) for number, name in weights.items()]
    # As numpy.savez numbers arrays without names: weights, biases, weights, biases.
    order = [kind for _, kind in sorted([*((n, "w") for n in weights), *((n, "b") for n in biases)])]
    patterns = {_NUMBER.sub("#", name) for name in (*weights.values(), *biases.values())}
    if len(patterns) == 1 and order == ["w", "b"] * len(weights):
        return list(zip(weights.values(), biases.values(), strict=True))
    raise ModelError("the names do not say which biases belong to which weights; give both the same number")


def _is_turned(shapes: list[tuple[list[int], int | None]], *, known: bool) -> bool:
    """Return whether the weights have the shape (outputs, inputs); ModelError if they form no chain of layers."""
    fits = {turned: _is_chain(shapes, turned) for turned in ([True] if known else [False, True])}
    if not any(fits.values()):
        text = ", ".join(str(tuple(shape)) for shape, _ in shapes[:6])
        raise ModelError(f"its weights of the shapes {text} do not form a chain of layers")
    if all(fits.values()) and len(fits) == 2:
        raise ModelError(
            "its weights are square, so that it does not say which axis is that of the inputs; store them in a "
            ".safetensors file with PyTorch's names, such as layers.0.weight, and shapes (outputs, inputs)"
        )
    return fits.get(True, False)


def _is_chain(shapes: list[tuple[list[int], int | None]], turned: bool) -> bool:
    before = None
    for shape, n_biases in shapes:
        n_in, n_out = reversed(shape) if turned else shape
        if before not in (None, n_in) or n_biases not in (None, n_out):
            return False
        before = n_out
    return True


def _as_two_outputs(weights: NDArray[Any], biases: NDArray[Any]) -> Layer:
    """Return two outputs whose softmax is 1 - p and p, where p is the logistic function of the one output."""
    return np.hstack([np.zeros_like(weights), weights]), np.concatenate([np.zeros_like(biases), biases])


def _unscaled(weights: NDArray[Any], biases: NDArray[Any], scaling: Scaling) -> Layer:
    """Return a first layer for inputs that are not scaled."""
    scaled = weights.astype(np.float64) * scaling.factor[:, None]
    return scaled, biases - scaling.mean @ scaled


def _shown(value: Any) -> str:
    return ", ".join(value) if isinstance(value, tuple) else str(value)


def read_foreign(path: Path, file: Tensors, given: Facts, *, torch_shapes: bool) -> Model:
    """Return the model whose layers a file holds, see :func:`find_layers`; ModelError names the file."""
    try:
        return Foreign(find_layers(file, torch_shapes=torch_shapes)).model(given)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None
