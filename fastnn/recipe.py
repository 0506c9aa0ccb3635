"""Recipes: all settings of a training run, except the data."""

from __future__ import annotations

import math
import os
import re
import tomllib
from functools import cache
from types import MappingProxyType, NoneType
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

import msgspec
from msgspec import Meta

from fastnn.errors import RecipeError
from fastnn.reading import read_file
from fastnn.storage import user_path

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from fastnn.network import Network, Task

_DISTORTIONS = ("rotation", "scale", "shear", "shift", "elastic_alpha")
"""The fields that distort training images."""

MAX_HIDDEN = 62
"""Most hidden layers; a model file holds networks of at most 64 layers."""

RECIPE_LIMIT = 1 << 16
"""Largest recipe in bytes; written by hand they have a few hundred."""
_MAX_KEY_PARTS = 64
# The time that tomllib takes grows with the square of the parts of a dotted key: 14 s for one of 80 KB.
_LONG_KEY = re.compile(rb"""(?:\.[ \t]*+(?:[\w-]++|"(?:[^"\\\n]|\\.)*+"|'[^'\n]*+')[ \t]*+){%d}""" % _MAX_KEY_PARTS)

# msgspec raises the second for text that is not valid Unicode, such as the name of a file in another encoding.
_INVALID = (msgspec.ValidationError, UnicodeEncodeError)

_Name = Annotated[str, Meta(min_length=1, max_length=100)]
_Units = Annotated[int, Meta(ge=1, le=1 << 20)]
_Count = Annotated[int, Meta(ge=1, le=1_000_000)]
_Seed = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
_Share = Annotated[float, Meta(ge=0, le=0.999)]
_Weight = Annotated[float, Meta(ge=0, le=1e6)]


class Recipe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings of a training run, except the data.

    The values are always checked against the ranges of the fields.

    Attributes
    ----------
    name : str
        Name of the recipe; run folders are named after it.
    hidden : tuple of int
        Units of each hidden layer; may be empty.
    rule : {"original", "backprop"}
        The learning rule, see :class:`fastnn.Network`.
    activation : {"sigmoid", "tanh", "relu"}
        Activation of the hidden layers; rule original allows only sigmoid.
    init : {"uniform", "xavier", "he"}
        Distribution of the initial weights, see :meth:`fastnn.Network.initialise`.
    invert : bool
        False: the network's input is value / 255, so that white paper is 1. True: 1 - value / 255, so that white is 0.
    epochs : int
        Number of passes over the training data.
    lr : float
        Learning rate of the first epoch.
    schedule : {"step", "constant", "cosine", "inverse_scaling", "adaptive"}
        "step": `lr` times `lr_decay` after each `lr_every` epochs. "cosine": from `lr` down to nearly 0 over `epochs`
        along half a cosine; it depends on the total, so such a run can be resumed but not extended. "inverse_scaling":
        `lr` / k ** `power_t` in epoch k. "adaptive": `lr`, multiplied by `lr_decay` each time that the training loss
        has not fallen by more than `tol` for `lr_every` epochs in a row.
    lr_decay : float
        Factor of the learning rate at each step of the schedules "step" and "adaptive".
    lr_every : int
        Number of epochs between two steps of schedule "step", or without progress before a step of "adaptive".
    power_t : float
        Exponent of schedule "inverse_scaling".
    tol : float
        How much the training loss has to fall in an epoch to count as progress, for "adaptive" and for `patience`
        without a validation set.
    label_smoothing : float
        Share of the target that is spread evenly over all classes; for rule backprop and one class of several only.
    calibrate : bool
        Whether the model undoes the label smoothing in its probabilities, see :class:`fastnn.model.Calibration`.
    alpha : float
        Weight decay (L2): the gradient of `alpha` / 2 times the sum of all squared weights is added to that of the
        loss; biases do not decay.
    dropout : float
        Share of the hidden units that are left out at random at each sample (Srivastava et al. 2014).
    huber_delta : float or None
        If given, a regression minimises the Huber loss (Huber 1964), which is linear for errors beyond this; in
        standard deviations of the target if `standardise` is set.
    error_limit : float or None
        If given, errors of a regression are clipped to this before they are passed back, so that outliers change the
        weights less; in the same unit. It has no effect on other tasks, nor with `huber_delta`, which limits the errors
        too.
    seed : int
        Seed of the initial weights, the order of samples, the distortions and the split.
    shuffle : {"exact", "blocks"} or None
        The order of samples in each epoch. "exact", as None: any order is equally likely. "blocks": blocks of 1,024
        neighbours in a random order, and the samples of 64 blocks at a time mixed; for a data set on a slow disk that
        is larger than memory. The samples should not be sorted then.
    test_fraction : float
        Share of the data that is held back as test set; a data set with a test set of its own keeps that instead.
    per_class : int or None
        If given, this many training images of each class are drawn; images of smaller classes are repeated.
    dtype : {"float32", "float64"}
        Type of the weights and of all arithmetic.
    first_layer : {"auto", "sparse", "dense"}
        How the first layer is computed; "auto" chooses "sparse" if enough pixels are white. Both are the same
        SGD, but round differently.
    standardise : bool
        Whether each column of a table, and each target of a regression, is centred on 0 and divided by its standard
        deviation in the training set; the model does the same. Columns of categories are left as they are. A column of
        which more than half is one value is divided by more, so that its other values do not exceed 1.
    normalise : bool
        Whether images are cropped, scaled and centred first, see :func:`fastnn.images.normalise_picture`; the
        model then does the same before it predicts.
    rotation : float
        Random distortion, a new one each time an image is trained on: largest rotation in either direction, in degrees.
    scale : float
        Random distortion: width and height are each multiplied by a factor from 1 - `scale` to 1 + `scale`.
    shear : float
        Random distortion: largest horizontal shift from one row to the next, in pixels.
    shift : float
        Random distortion: largest translation along each axis, in pixels.
    elastic_alpha : float
        Random distortion: root mean square of the smooth random displacement of each pixel along each axis, in pixels.
        (Simard et al. 2003 give the strength of the noise before it is smoothed: their 34 is 1.4 here.)
    elastic_sigma : float
        Standard deviation of the Gaussian that smooths these displacements, in pixels.
    averaging : {"none", "ema", "tail"}
        Which weights the model gets. "none": those after the last epoch. "ema": the exponential moving average of the
        weights after each epoch. "tail": the mean of the weights after each of the last `averaging_epochs` epochs.
    averaging_epochs : int
        Number of epochs in the average; for "ema" the newest weights have a share of 1 / `averaging_epochs`.
    ensemble : int
        Number of networks that are trained with the seeds `seed`, `seed` + 1, ..., and whose outputs are averaged; all
        use the split of `seed`.
    validation_fraction : float
        Share of the training data that is held out and measured after each epoch; the model gets the weights of the
        best epoch.
    patience : int or None
        If given, training stops after this many epochs in a row without a better result on the validation set; without
        such a set, after this many in which the training loss has not fallen by more than `tol`.
    until : float or None
        If given, training ends after the first epoch with this accuracy on the test set, of a regression with this R2.
        The test set then decides when training ends, so that the accuracy on it is too optimistic.
    balance : bool
        Whether the learning rate of a sample is multiplied by (mean size of the classes) / (size of its class).
    class_weight : tuple of float or None
        If given, the factor of the learning rate for the samples of each class.

    Raises
    ------
    RecipeError
        If a value is of the wrong type or out of range; the message names the field and the range.

    Examples
    --------
    >>> import fastnn
    >>> sorted(fastnn.presets)
    ['best', 'mnist', 'modern', 'original', 'table']
    >>> recipe = fastnn.presets["modern"].replace(epochs=10, ensemble=1)
    >>> recipe.hidden, recipe.epochs
    ((500, 150), 10)
    >>> fastnn.Recipe(hidden=(16,), lr=-1.0)
    Traceback (most recent call last):
        ...
    fastnn.errors.RecipeError: lr must be a number above 0 to 1e+06, not -1.0
    """

    name: _Name = "original"
    hidden: Annotated[tuple[_Units, ...], Meta(max_length=MAX_HIDDEN)] = (200, 40)
    rule: Literal["original", "backprop"] = "original"
    activation: Literal["sigmoid", "tanh", "relu"] = "sigmoid"
    init: Literal["uniform", "xavier", "he"] = "uniform"
    invert: bool = False
    epochs: _Count = 60
    lr: Annotated[float, Meta(gt=0, le=1e6)] = 0.01
    schedule: Literal["step", "constant", "cosine", "inverse_scaling", "adaptive"] = "step"
    lr_decay: Annotated[float, Meta(gt=0, le=1)] = 0.5
    lr_every: _Count = 5
    power_t: Annotated[float, Meta(ge=0, le=10)] = 0.5
    tol: Annotated[float, Meta(ge=0, le=1e6)] = 0.0
    label_smoothing: _Share = 0.0
    calibrate: bool = True
    alpha: Annotated[float, Meta(ge=0, le=1e6)] = 0.0
    dropout: _Share = 0.0
    huber_delta: Annotated[float, Meta(gt=0, le=1e6)] | None = None
    error_limit: Annotated[float, Meta(gt=0, le=1e6)] | None = None
    seed: _Seed = 0
    shuffle: Literal["exact", "blocks"] | None = None
    test_fraction: _Share = 0.1
    per_class: Annotated[int, Meta(ge=1, le=1 << 32)] | None = None
    dtype: Literal["float32", "float64"] = "float32"
    first_layer: Literal["auto", "sparse", "dense"] = "auto"
    standardise: bool = False
    normalise: bool = False
    rotation: Annotated[float, Meta(ge=0, le=90)] = 0.0
    scale: Annotated[float, Meta(ge=0, le=0.9)] = 0.0
    shear: Annotated[float, Meta(ge=0, le=2)] = 0.0
    shift: Annotated[float, Meta(ge=0, le=28)] = 0.0
    elastic_alpha: Annotated[float, Meta(ge=0, le=28)] = 0.0
    elastic_sigma: Annotated[float, Meta(ge=2, le=28)] = 4.0
    averaging: Literal["none", "ema", "tail"] = "none"
    averaging_epochs: _Count = 5
    ensemble: Annotated[int, Meta(ge=1, le=100)] = 1
    validation_fraction: _Share = 0.0
    patience: _Count | None = None
    until: Annotated[float, Meta(gt=0, le=1)] | None = None
    balance: bool = False
    class_weight: Annotated[tuple[_Weight, ...], Meta(max_length=1 << 20)] | None = None

    def __post_init__(self) -> None:
        _check_ranges(self)
        if not self.name.isprintable() or "/" in self.name or "\\" in self.name:
            raise RecipeError(f"name must be printable and without slashes, not {_shown(self.name)}")
        if self.averaging == "tail" and self.averaging_epochs > self.epochs:
            raise RecipeError(
                f"averaging_epochs must be at most the epochs, {self.epochs}, not {self.averaging_epochs}; "
                "Recipe.with_epochs changes both"
            )
        if self.rule == "original" and (self.activation != "sigmoid" or self.label_smoothing):
            raise RecipeError("rule original allows only sigmoid units and no label smoothing; set rule to backprop")
        if self.rule == "original" and (self.alpha or self.dropout):
            raise RecipeError("rule original has neither weight decay (alpha) nor dropout; set rule to backprop")
        if self.until is not None and self.validation_fraction:
            raise RecipeError("until and validation_fraction exclude each other; drop one of them")
        if self.schedule == "adaptive" and self.lr_decay == 1:
            raise RecipeError("schedule adaptive needs an lr_decay below 1")

    def replace(self, **changes: Any) -> Recipe:
        """Return a copy with some values changed and checked; a value of None leaves the field as it is."""
        return self._changed(**{key: value for key, value in changes.items() if value is not None})

    def _changed(self, **changes: Any) -> Recipe:
        # Before msgspec 0.21, msgspec.structs.replace does not call __post_init__, which checks the values.
        return type(self)(**{**msgspec.structs.asdict(self), **changes})

    def with_epochs(self, epochs: int) -> Recipe:
        """Return a copy with another number of epochs; an average over the last epochs then covers at most these.

        Examples
        --------
        >>> import fastnn
        >>> recipe = fastnn.presets["best"].with_epochs(2)
        >>> recipe.epochs, recipe.averaging_epochs
        (2, 2)
        """
        # Without averaging, the number of epochs is checked alone.
        changed = self._changed(epochs=epochs, averaging="none")
        averaged = min(epochs, self.averaging_epochs) if self.averaging == "tail" else self.averaging_epochs
        return changed.replace(averaging=self.averaging, averaging_epochs=averaged)

    def lr_at(self, epoch: int) -> float:
        """Return the learning rate of an epoch; the first one is 1. For schedule "adaptive" the initial one."""
        if self.schedule == "step":
            return float(self.lr * self.lr_decay ** ((epoch - 1) // self.lr_every))
        if self.schedule == "cosine":
            return float(self.lr * 0.5 * (1.0 + math.cos(math.pi * (epoch - 1) / self.epochs)))
        if self.schedule == "inverse_scaling":
            return float(self.lr / epoch**self.power_t)
        return float(self.lr)

    @property
    def distorts(self) -> bool:
        """Whether training images are distorted at random."""
        return any(getattr(self, name) for name in _DISTORTIONS)

    @property
    def needs_total(self) -> bool:
        """Whether training in an epoch depends on the total number of epochs."""
        return self.schedule == "cosine" or self.averaging == "tail"

    @property
    def needs_state(self) -> bool:
        """Whether resuming needs more than the weights and the number of the epoch."""
        follows_loss = self.schedule == "adaptive" or self.patience is not None or self.until is not None
        return self.averaging != "none" or self.validation_fraction > 0 or follows_loss

    @property
    def for_images(self) -> tuple[str, ...]:
        """The settings of this recipe that only images can have."""
        return tuple(name for name in ("invert", "normalise", *_DISTORTIONS) if getattr(self, name))

    def network(self, n_inputs: int, n_outputs: int, task: Task = "classification") -> Network:
        """Return a new network with the recipe's hidden layers and initial weights.

        Parameters
        ----------
        n_inputs, n_outputs : int
        task : {"classification", "multilabel", "regression"}
            Decides the activation and the loss of the outputs; rule original is for classification only.
        """
        from fastnn.network import OUTPUTS, Network

        if self.rule == "original" and task != "classification":
            raise RecipeError(f"rule original learns classes, not a {task}; set rule to backprop, as recipe table does")
        network = Network(
            (n_inputs, *self.hidden, n_outputs),
            rule=self.rule,
            activation=self.activation,
            output=None if self.rule == "original" else OUTPUTS[task],
            dtype=self.dtype,
        )
        return network.initialise(self.init, self.seed)

    def as_dict(self) -> dict[str, Any]:
        """Return all fields as a dict that JSON can hold, with lists instead of tuples."""
        values = msgspec.structs.asdict(self)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any], origin: str = "recipe") -> Recipe:
        """Return a recipe from a dict of fields, as :meth:`as_dict` gives it.

        Parameters
        ----------
        values : dict
            Values by field name; missing fields get their defaults. Old names and values (``inputs``, ``kernel``,
            rule ``toy``) are read too.
        origin : str
            The file that the values come from, for error messages.

        Raises
        ------
        RecipeError
            For an unknown name, or a value of the wrong type or out of range.
        """
        known = cls.__struct_fields__
        values = _current_spelling(values)
        for key in values:
            if key not in known:
                raise RecipeError(f"{origin}: unknown key {_shown(key)}; known keys: {', '.join(known)}")
        try:
            return cls(**values)
        except RecipeError as error:
            raise RecipeError(f"{origin}: {error}") from None

    def to_toml(self) -> str:
        """Return the recipe as TOML, one field per line, without fields that are None."""
        lines = [f"{key} = {_toml(value)}" for key, value in self.as_dict().items() if value is not None]
        return "\n".join(lines) + "\n"


_OLD_KEYS: dict[str, tuple[str, dict[str, Any]]] = {
    "inputs": ("invert", {"paper": False, "ink": True}),
    "kernel": ("first_layer", {"ink": "sparse"}),
}
_OLD_RULES = {"toy": "original"}


def _current_spelling(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values of a recipe with old keys and choices replaced by the current ones."""
    current = {}
    for key, value in values.items():
        name, spellings = _OLD_KEYS.get(key, (key, _OLD_RULES if key == "rule" else {}))
        current[name] = spellings.get(value, value) if isinstance(value, str) else value
    return current


@cache
def _unchecked() -> type[msgspec.Struct]:
    """Return a struct type with the fields and ranges of a recipe, but without its checks at construction."""
    return msgspec.defstruct("_Unchecked", [(field.name, field.type) for field in msgspec.structs.fields(Recipe)])


def _check_ranges(recipe: Recipe) -> None:
    """Check each field's type and range; convert lists to tuples and ints to floats as the fields require.

    msgspec checks values that it decodes, but not the arguments of a constructor.
    """
    values = {name: _plain(getattr(recipe, name)) for name in recipe.__struct_fields__}
    try:
        checked = msgspec.convert(values, _unchecked())
    except _INVALID:
        raise _out_of_range(values) from None
    for name in values:
        value = getattr(checked, name)
        if value is not getattr(recipe, name):
            msgspec.structs.force_setattr(recipe, name, value)


def _plain(value: Any) -> Any:
    """Return a NumPy float64 as a float; msgspec accepts only the exact type."""
    return float(value) if isinstance(value, float) else value


def _out_of_range(values: dict[str, Any]) -> RecipeError:
    """Return an error for the first field that is out of range, with its name, the allowed values and its value."""
    field = next(field for field in msgspec.structs.fields(Recipe) if not _fits(values[field.name], field.type))
    return RecipeError(f"{field.name} must be {_allowed(field.type)}, not {_shown(values[field.name])}")


def check_field(name: str, value: Any) -> Any:
    """Return the value of one field as a recipe keeps it; RecipeError if it is of the wrong type or out of range."""
    kind = next(field.type for field in msgspec.structs.fields(Recipe) if field.name == name)
    try:
        return msgspec.convert(_plain(value), kind)
    except _INVALID:
        raise RecipeError(f"{name} must be {_allowed(kind)}, not {_shown(value)}") from None


def _fits(value: Any, kind: Any) -> bool:
    """Return whether a value is of a type, and in its range."""
    try:
        msgspec.convert(value, kind)
    except _INVALID:
        return False
    return True


def _allowed(kind: Any, several: bool = False) -> str:
    """Describe the values that a field of this type may have; `several` gives the plural."""
    from msgspec import inspect

    if NoneType in get_args(kind):
        kind = next(one for one in get_args(kind) if one is not NoneType)
    if get_origin(kind) is Literal:  # in the order of the source; msgspec would sort them
        return f"one of {', '.join(get_args(kind))}"
    info = kind if isinstance(kind, inspect.Type) else inspect.type_info(kind)
    match info:
        case inspect.BoolType():
            return "true or false"
        case inspect.StrType(min_length=low, max_length=high):
            return f"text of {low} to {high} characters"
        case inspect.VarTupleType(item_type=item, max_length=high):
            return f"a list of at most {high} {_allowed(item, True)}"
        case inspect.IntType(ge=low, le=high):
            return f"{'whole numbers' if several else 'a whole number'} from {low} to {high}"
        case inspect.FloatType(gt=above, ge=low, le=high):
            start = f"from {low:g}" if above is None else f"above {above:g}"
            return f"{'numbers' if several else 'a number'} {start} to {high:g}"
    raise TypeError(f"no words for {info}")


def _shown(value: Any) -> str:
    """Return the repr of a value, shortened for an error message."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number of thousands of digits, or lists in lists in lists
        return "a value too long to show"
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

_TABLE = Recipe(
    name="table",
    hidden=(100,),
    rule="backprop",
    activation="relu",
    init="he",
    standardise=True,
    epochs=60,
    lr=0.01,
    schedule="cosine",
    # Chosen by 5-fold cross-validation on small and large tables: both helped on all of them or changed nothing.
    alpha=1e-3,
    dropout=0.1,
    # Without a limit, features with heavy tails made some regressions diverge.
    error_limit=5.0,
)

presets: Mapping[str, Recipe] = MappingProxyType(
    {"original": Recipe(), "modern": _MODERN, "mnist": _MNIST, "best": _BEST, "table": _TABLE}
)
"""The built-in recipes, by name; read-only."""


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """Return the content of a TOML file of at most 64 KiB; RecipeError if it is none.

    Parameters
    ----------
    path : Path
    what : str
        What the file should be, for messages.
    """
    content = read_file(path, RECIPE_LIMIT, what=what, error=RecipeError)
    if _LONG_KEY.search(content):
        raise RecipeError(f"{path}: not {what} (a key of more than {_MAX_KEY_PARTS} parts)")
    try:
        return tomllib.loads(content.decode())
    except (ValueError, RecursionError) as error:
        raise RecipeError(f"{path}: not valid TOML ({error})") from None


def load_recipe(source: str | Path) -> Recipe:
    """Return a preset by its name, or a recipe from a TOML file.

    A file needs only some of the fields. Its key `base` names the preset that gives the others (default: original).

    Raises
    ------
    RecipeError
        If there is no such preset or file, the file is not a recipe, or `source` is neither a name nor a path.
    """
    if not isinstance(source, str | os.PathLike):
        # Functions that take a recipe pass everything that is not one to this function.
        raise RecipeError(
            f"recipe must be a Recipe, the name of a preset or a .toml file, not {type(source).__name__}; "
            f"presets: {', '.join(presets)}"
        )
    if str(source) in presets:
        return presets[str(source)]
    path = user_path(source)
    if path.suffix != ".toml":
        raise RecipeError(f"{source}: no such recipe; give one of {', '.join(presets)} or a .toml file")
    values = read_toml(path, "a recipe")
    base = values.pop("base", "original")
    if not isinstance(base, str) or base not in presets:
        raise RecipeError(f"{path}: unknown base {_shown(base)}; give one of {', '.join(presets)}")
    values.setdefault("name", path.stem)
    return Recipe.from_dict({**presets[base].as_dict(), **values}, str(path))
