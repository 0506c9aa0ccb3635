"""Recipes: everything that a training run depends on, apart from the data."""

from __future__ import annotations

import dataclasses
import math
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from fastnn.errors import RecipeError

if TYPE_CHECKING:
    from fastnn.network import Network

CHOICES = {
    "rule": ("toy", "backprop"),
    "activation": ("sigmoid", "tanh", "relu"),
    "init": ("uniform", "xavier", "he"),
    "inputs": ("paper", "ink"),
    "schedule": ("step", "constant", "cosine"),
    "dtype": ("float32", "float64"),
    "kernel": ("auto", "ink", "dense"),
}


MAX_HIDDEN = 62
"""Hidden layers; a model file holds networks of at most 64 layers."""

_MAX_NAME = 100
_MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class Recipe:
    """Everything that a training run depends on, apart from the data.

    Attributes
    ----------
    name : str
        Of the recipe; names run folders.
    hidden : tuple of int
        Units of the hidden layers; may be empty.
    rule : {"toy", "backprop"}
        The learning rule, see :class:`fastnn.Network`.
    activation : {"sigmoid", "tanh", "relu"}
        Of the hidden layers.
    init : {"uniform", "xavier", "he"}
        How the weights are drawn.
    inputs : {"paper", "ink"}
        Whether paper (value / 255) or ink (1 - value / 255) is the 1 that the network sees.
    epochs : int
        Passes over the training data.
    lr : float
        Learning rate at the start.
    schedule : {"step", "constant", "cosine"}
        "step": `lr` times `lr_decay` after each `lr_every` epochs. "cosine": from `lr` down to nearly 0 over `epochs`
        along half a cosine; it depends on the total, so such a run can be resumed but not extended.
    lr_decay : float
        See `schedule`.
    lr_every : int
        See `schedule`; in epochs.
    label_smoothing : float
        Share of the target that is spread evenly over all classes; rule backprop alone.
    seed : int
        Of the weights, the order of samples and the split.
    test_fraction : float
        Share of the data that is held back as test set, unless the data have one of their own.
    per_class : int or None
        If given, this many training digits of each class are drawn (some more than once where a class has fewer).
    dtype : {"float32", "float64"}
        Of weights and arithmetic.
    kernel : {"auto", "ink", "dense"}
        How the first layer is computed; "auto" takes "ink" where most pixels have one value. All give the same
        SGD; the roundings differ.

    Raises
    ------
    RecipeError
        If a value is out of range; the message names it.
    """

    name: str = "original"
    hidden: tuple[int, ...] = (200, 40)
    rule: str = "toy"
    activation: str = "sigmoid"
    init: str = "uniform"
    inputs: str = "paper"
    epochs: int = 60
    lr: float = 0.01
    schedule: str = "step"
    lr_decay: float = 0.5
    lr_every: int = 5
    label_smoothing: float = 0.0
    seed: int = 0
    test_fraction: float = 0.1
    per_class: int | None = None
    dtype: str = "float32"
    kernel: str = "auto"

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise RecipeError(f"{name} must be one of {', '.join(choices)}, not {_shown(getattr(self, name))}")
        _check_name(self.name)
        if not isinstance(self.hidden, list | tuple) or len(self.hidden) > MAX_HIDDEN:
            raise RecipeError(f"hidden must be a list of at most {MAX_HIDDEN} sizes, not {_shown(self.hidden)}")
        object.__setattr__(self, "hidden", tuple(self.hidden))
        for size in self.hidden:
            _whole("hidden", size, 1, 1 << 20)
        _whole("epochs", self.epochs, 1, 1_000_000)
        _whole("lr_every", self.lr_every, 1, 1_000_000)
        _whole("seed", self.seed, 0, (1 << 63) - 1)
        if self.per_class is not None:
            _whole("per_class", self.per_class, 1, 1 << 32)
        _number("lr", self.lr, 0.0, 1e6, open_low=True)
        _number("lr_decay", self.lr_decay, 0.0, 1.0, open_low=True)
        _number("label_smoothing", self.label_smoothing, 0.0, 0.999)
        _number("test_fraction", self.test_fraction, 0.0, 0.999)
        if self.rule == "toy" and (self.activation != "sigmoid" or self.label_smoothing):
            raise RecipeError("rule toy has sigmoid units and no label smoothing; set rule to backprop for these")

    def replace(self, **changes: Any) -> Recipe:
        """Return the recipe with some values changed, checked anew; values of None change nothing."""
        return dataclasses.replace(self, **{key: value for key, value in changes.items() if value is not None})

    def lr_at(self, epoch: int) -> float:
        """Return the learning rate of an epoch; the first one is 1."""
        if self.schedule == "step":
            return float(self.lr * self.lr_decay ** ((epoch - 1) // self.lr_every))
        if self.schedule == "cosine":
            return float(self.lr * 0.5 * (1.0 + math.cos(math.pi * (epoch - 1) / self.epochs)))
        return float(self.lr)

    def network(self, n_inputs: int, n_outputs: int) -> Network:
        """Return a new network as the recipe has it, its weights drawn by the recipe's seed."""
        from fastnn.network import Network

        made = Network(
            (n_inputs, *self.hidden, n_outputs),
            rule=cast(Any, self.rule),
            activation=cast(Any, self.activation),
            dtype=self.dtype,
        )
        return made.initialise(cast(Any, self.init), self.seed)

    def as_dict(self) -> dict[str, Any]:
        """Return the values, fit for JSON."""
        values = dataclasses.asdict(self)
        values["hidden"] = list(self.hidden)
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any], origin: str = "recipe") -> Recipe:
        """Make a recipe of plain values.

        Parameters
        ----------
        values : dict
            Names and values as in :meth:`as_dict`; missing ones take the default.
        origin : str
            The file they come from, for the message.

        Raises
        ------
        RecipeError
            For an unknown name, or a value of the wrong kind or out of range.
        """
        known = {field.name: field for field in dataclasses.fields(cls)}
        for key in values:
            if key not in known:
                raise RecipeError(f"{origin}: unknown key {_shown(key)}; a recipe knows {', '.join(known)}")
        try:
            return cls(**values)
        except RecipeError as error:
            raise RecipeError(f"{origin}: {error}") from None

    def to_toml(self) -> str:
        """Return the recipe as TOML, one line a value; values of None are left out."""
        lines = [f"{key} = {_toml(value)}" for key, value in self.as_dict().items() if value is not None]
        return "\n".join(lines) + "\n"


def _check_name(name: Any) -> None:
    fit = isinstance(name, str) and 0 < len(name) <= _MAX_NAME and name.isprintable()
    if not fit or any(letter in name for letter in "/\\"):
        raise RecipeError(f"name must be a word fit for a folder, not {_shown(name)}")


def _whole(name: str, value: Any, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise RecipeError(f"{name} must be a whole number from {low} to {high}, not {_shown(value)}")


def _number(name: str, value: Any, low: float, high: float, *, open_low: bool = False) -> None:
    # A comparison with NaN is false, and unlike math.isfinite it takes whole numbers beyond the floats.
    good = isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high
    if not good or (open_low and value == low):
        raise RecipeError(
            f"{name} must be a number {'above' if open_low else 'from'} {low:g} to {high:g}, not {_shown(value)}"
        )


def _shown(value: Any) -> str:
    """Return `value` as Python writes it, cut where it is too long for a message."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number of thousands of digits, or lists in lists in lists
        return "a value beyond all bounds"
    return text if len(text) <= 60 else f"{text[:57]}..."


def _toml(value: Any) -> str:
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value)


PRESETS = {"original": Recipe()}


def load_recipe(source: str | Path) -> Recipe:
    """Return a preset by its name, or a recipe from a TOML file.

    A file may hold just some of the keys; the key `base` names the preset that gives the others (default: original).

    Raises
    ------
    RecipeError
        If there is no such preset or file, or the file is not a recipe.
    """
    if str(source) in PRESETS:
        return PRESETS[str(source)]
    path = Path(source)
    if path.suffix != ".toml":
        raise RecipeError(f"{source}: no such recipe; give one of {', '.join(PRESETS)} or a .toml file")
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise RecipeError(f"{path}: too large to be a recipe")
        values = tomllib.loads(content.decode())
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise RecipeError(f"{path}: not valid TOML ({error})") from None
    base = values.pop("base", "original")
    if not isinstance(base, str) or base not in PRESETS:
        raise RecipeError(f"{path}: unknown base {_shown(base)}; give one of {', '.join(PRESETS)}")
    values.setdefault("name", path.stem)
    return Recipe.from_dict({**PRESETS[base].as_dict(), **values}, str(path))
