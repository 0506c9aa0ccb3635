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
    "rule": ("original", "backprop"),
    "activation": ("sigmoid", "tanh", "relu"),
    "init": ("uniform", "xavier", "he"),
    "schedule": ("step", "constant", "cosine"),
    "dtype": ("float32", "float64"),
    "first_layer": ("auto", "sparse", "dense"),
    "averaging": ("none", "ema", "tail"),
}

WHOLE = {
    "epochs": (1, 1_000_000),
    "lr_every": (1, 1_000_000),
    "seed": (0, (1 << 63) - 1),
    "per_class": (1, 1 << 32),
    "averaging_epochs": (1, 1_000_000),
    "ensemble": (1, 100),
    "patience": (1, 1_000_000),
}
"""Ranges of the whole numbers."""

NUMBERS = {
    "label_smoothing": (0.0, 0.999),
    "test_fraction": (0.0, 0.999),
    "validation_fraction": (0.0, 0.999),
    "rotation": (0.0, 90.0),
    "scale": (0.0, 0.9),
    "shear": (0.0, 2.0),
    "shift": (0.0, 28.0),
    "elastic_alpha": (0.0, 28.0),
    "elastic_sigma": (2.0, 28.0),
}
"""Ranges of the other numbers that may be at their lower end."""

_MAY_BE_NONE = ("per_class", "patience")

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
    rule : {"original", "backprop"}
        The learning rule, see :class:`fastnn.Network`.
    activation : {"sigmoid", "tanh", "relu"}
        Of the hidden layers.
    init : {"uniform", "xavier", "he"}
        How the weights are drawn.
    invert : bool
        False: the network is fed value / 255, so that white paper is 1. True: 1 - value / 255, so that white is 0.
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
    first_layer : {"auto", "sparse", "dense"}
        How the first layer is computed; "auto" chooses "sparse" where most pixels are white. All give the same
        SGD; the roundings differ.
    normalise : bool
        Whether drawings are cropped, scaled and centred first, see :func:`fastnn.images.normalise`; the model then
        does the same before it predicts.
    rotation : float
        Each time that a drawing is trained on it is turned by a random angle of up to so many degrees either way.
    scale : float
        Likewise its width and its height are each multiplied by up to 1 plus or minus this.
    shear : float
        Likewise its rows are slanted by up to so many pixels a row.
    shift : float
        Likewise it is moved by up to so many pixels along both axes.
    elastic_alpha : float
        Likewise each pixel is moved along both axes by a smooth random field; this is the root of its mean square, in
        pixels. (Simard et al. 2003 give the strength of the noise before it is smoothed: their 34 is 1.4 here.)
    elastic_sigma : float
        Width of the Gaussian that smooths the field, in pixels.
    averaging : {"none", "ema", "tail"}
        Which weights count in the end: the last ones; the exponential moving mean of those after each epoch; or the
        plain mean of those after each of the last `averaging_epochs` epochs.
    averaging_epochs : int
        Epochs that the mean goes back; for "ema" the newest weights count for one part in so many.
    ensemble : int
        Networks that are trained side by side, with the seeds `seed`, `seed` + 1, ..., and predict as one; the split
        is that of `seed`.
    validation_fraction : float
        Share of the training data that is not trained on but measured after each epoch; the weights of the best epoch
        are those that count in the end.
    patience : int or None
        If given, training stops after so many epochs in a row without a better one on the validation part.
    balance : bool
        Whether the learning rate of a sample is multiplied by the mean size of the classes over that of its own.
    class_weight : tuple of float or None
        If given, a factor of the learning rate for the samples of each class.

    Raises
    ------
    RecipeError
        If a value is out of range; the message names it.
    """

    name: str = "original"
    hidden: tuple[int, ...] = (200, 40)
    rule: str = "original"
    activation: str = "sigmoid"
    init: str = "uniform"
    invert: bool = False
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
    first_layer: str = "auto"
    normalise: bool = False
    rotation: float = 0.0
    scale: float = 0.0
    shear: float = 0.0
    shift: float = 0.0
    elastic_alpha: float = 0.0
    elastic_sigma: float = 4.0
    averaging: str = "none"
    averaging_epochs: int = 5
    ensemble: int = 1
    validation_fraction: float = 0.0
    patience: int | None = None
    balance: bool = False
    class_weight: tuple[float, ...] | None = None

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
        for name, (lowest, highest) in WHOLE.items():
            if getattr(self, name) is not None or name not in _MAY_BE_NONE:
                _whole(name, getattr(self, name), lowest, highest)
        _number("lr", self.lr, 0.0, 1e6, open_low=True)
        _number("lr_decay", self.lr_decay, 0.0, 1.0, open_low=True)
        for name, (low, high) in NUMBERS.items():
            _number(name, getattr(self, name), low, high)
        for name in ("invert", "normalise", "balance"):
            if not isinstance(getattr(self, name), bool):
                raise RecipeError(f"{name} must be true or false, not {_shown(getattr(self, name))}")
        if self.class_weight is not None:
            if not isinstance(self.class_weight, list | tuple):
                raise RecipeError(f"class_weight must be a list of numbers, not {_shown(self.class_weight)}")
            object.__setattr__(self, "class_weight", tuple(self.class_weight))
            for weight in self.class_weight:
                _number("class_weight", weight, 0.0, 1e6)
        if self.patience is not None and not self.validation_fraction:
            raise RecipeError(
                "patience needs something to wait for: set validation_fraction, --validation-fraction, too"
            )
        if self.averaging == "tail" and self.averaging_epochs > self.epochs:
            raise RecipeError(
                f"averaging_epochs must be at most the epochs, {self.epochs}, not {self.averaging_epochs}"
            )
        if self.rule == "original" and (self.activation != "sigmoid" or self.label_smoothing):
            raise RecipeError("rule original has sigmoid units and no label smoothing; set rule to backprop for these")

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

    @property
    def distorts(self) -> bool:
        """Whether drawings are distorted at random."""
        return any((self.rotation, self.scale, self.shear, self.shift, self.elastic_alpha))

    @property
    def needs_total(self) -> bool:
        """Whether what happens in an epoch depends on how many there will be."""
        return self.schedule == "cosine" or self.averaging == "tail"

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
        if self.class_weight is not None:
            values["class_weight"] = list(self.class_weight)
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
        values = _current_spelling(values)
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


_OLD_KEYS: dict[str, tuple[str, dict[str, Any]]] = {
    "inputs": ("invert", {"paper": False, "ink": True}),
    "kernel": ("first_layer", {"ink": "sparse"}),
}
_OLD_RULES = {"toy": "original"}


def _current_spelling(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values of a recipe with keys and choices of the first edition spelled as today."""
    current = {}
    for key, value in values.items():
        name, spellings = _OLD_KEYS.get(key, (key, _OLD_RULES if key == "rule" else {}))
        current[name] = spellings.get(value, value) if isinstance(value, str) else value
    return current


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


_MODERN = Recipe(
    name="modern",
    hidden=(500, 150),
    rule="backprop",
    activation="relu",
    init="he",
    invert=True,
    epochs=75,
    lr=0.015,
    schedule="cosine",
    label_smoothing=0.1,
    normalise=True,
    rotation=12.0,
    scale=0.12,
    shear=0.15,
    shift=1.0,
    elastic_alpha=1.0,
    ensemble=2,
)
_MNIST = _MODERN.replace(
    name="mnist",
    hidden=(400, 100),
    epochs=45,
    lr=0.01,
    label_smoothing=0.02,
    rotation=8.0,
    scale=0.08,
    shear=0.1,
    elastic_alpha=0.8,
    ensemble=1,
)
_BEST = _MNIST.replace(
    name="best",
    hidden=(1000, 500),
    epochs=240,
    label_smoothing=0.1,
    rotation=12.0,
    scale=0.12,
    shear=0.15,
    elastic_alpha=1.3,
    elastic_sigma=4.5,
    averaging="tail",
    averaging_epochs=10,
    ensemble=4,
)

PRESETS = {
    "original": Recipe(),
    "modern": _MODERN,
    "mnist": _MNIST,
    "best": _BEST,
}


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
