"""The space of recipes that a sweep searches, written in TOML."""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import msgspec
from msgspec import Meta

from fastnn.errors import RecipeError
from fastnn.recipe import Recipe, check_field, load_recipe, presets, read_toml
from fastnn.storage import user_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

_MOST_PARAMETERS = 64
_LARGEST = 1e15
"""Whole numbers up to this are exact as floats."""
_LONGEST_NAME = 200
_FORM = "a value, or a table with low and high (and log or step), or with choices"
_LAYERS, _MOST_LAYERS = "layers", 16
_FIXED = ("seed", "test_fraction", "until")
"""Trials differing in these could not be compared."""

Value: TypeAlias = bool | int | float | str
Params: TypeAlias = "Mapping[str, Value]"


class Range(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """A range of numbers.

    Attributes
    ----------
    low, high : float or int
        Both ends belong to the range.
    log : bool
        Whether a factor counts as much as at any other place: for rates and sizes.
    step : float, int or None
        If given, only `low`, `low` + `step`, ... are tried.
    """

    low: int | float
    high: int | float
    log: bool = False
    step: int | float | None = None

    @property
    def is_int(self) -> bool:
        """Whether the numbers are whole."""
        return isinstance(self.low, int) and isinstance(self.high, int) and isinstance(self.step, int | None)

    @property
    def count(self) -> int | None:
        """Number of different values; None if there are more than a grid can have."""
        if self.step is not None or (self.is_int and not self.log):
            return math.floor((self.high - self.low) / (self.step or 1) + 1e-9) + 1
        return None if self.low < self.high else 1

    def at(self, position: float) -> int | float:
        """Return the number at a position from 0 to below 1."""
        if self.step is not None or (self.is_int and not self.log):
            return self.value(min(int(position * (self.count or 1)), (self.count or 1) - 1))
        if not self.log:
            return min(self.low + position * (self.high - self.low), self.high)
        low, high = (self.low - 0.5, self.high + 0.5) if self.is_int else (self.low, self.high)
        found = math.exp(math.log(low) + position * (math.log(high) - math.log(low)))
        found = round(found) if self.is_int else found
        return min(max(found, self.low), self.high)

    def value(self, index: int) -> int | float:
        """Return the value of this index in the steps of the range."""
        return self.low + index * (1 if self.step is None else self.step)

    def fault(self) -> str | None:
        """Return what is wrong with the range, or None."""
        if not self.low <= self.high:
            return "low must be at most high"
        if not all(-_LARGEST <= value <= _LARGEST for value in (self.low, self.high)):
            return f"low and high must be within {_LARGEST:g}"
        if self.step is not None and not 0 < self.step <= _LARGEST:
            return "step must be above 0"
        if self.step is not None and (self.high - self.low) / self.step > _LARGEST:
            return "there are too many steps"
        if self.log and (self.low <= 0 or self.step is not None):
            return "a range with log needs a low above 0 and no step"
        if self.step is not None:
            # As the numbers are written: 0.1 is no multiple of 0.05 in binary.
            low, high, step = (Decimal(str(value)) for value in (self.low, self.high, self.step))
            if left := (high - low) % step:
                return f"steps of {step} from {low} do not reach high; give high = {high - left}"
        return None


class Choices(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Several values of which one is chosen.

    Attributes
    ----------
    choices : tuple
    """

    choices: Annotated[tuple[Any, ...], Meta(min_length=1, max_length=1000)]

    @property
    def labels(self) -> tuple[Value, ...]:
        """The choices as single values: a list becomes text such as "200, 40"."""
        return tuple(", ".join(map(str, one)) if isinstance(one, list | tuple) else one for one in self.choices)

    @property
    def count(self) -> int:
        """Number of choices."""
        return len(self.choices)

    def at(self, position: float) -> Value:
        """Return the choice at a position from 0 to below 1."""
        return self.labels[min(int(position * self.count), self.count - 1)]

    def value(self, index: int) -> Value:
        """Return the choice of an index."""
        return self.labels[index]


Parameter: TypeAlias = Range | Choices


@dataclass(frozen=True)
class Space:
    """A space of recipes.

    Attributes
    ----------
    name : str
        Name of the recipes.
    base : Recipe
        Gives the fields that are not searched.
    parameters : dict of str to Range or Choices
        What is searched, by names of fields; the units of layer k of "hidden" are "units_k", and their number is
        "layers".
    source : str
        The file, for messages.
    """

    name: str
    base: Recipe
    parameters: Mapping[str, Parameter]
    source: str

    def recipe(self, params: Params) -> Recipe:
        """Return the recipe of a trial; RecipeError if its values exclude each other."""
        changes: dict[str, Any] = {}
        for name, value in params.items():
            parameter = self.parameters[name]
            if name == _LAYERS or name.startswith("units_"):
                continue
            if isinstance(parameter, Choices):
                changes[name] = parameter.choices[parameter.labels.index(value)]
            else:
                # 3 steps of 0.05 are 0.15 and not 0.15000000000000002.
                stepped = parameter.step is not None and isinstance(value, float)
                changes[name] = float(f"{value:.12g}") if stepped else value
        if _LAYERS in self.parameters:
            changes["hidden"] = [params[f"units_{k + 1}"] for k in range(int(params[_LAYERS]))]
        epochs = changes.pop("epochs", None)
        try:
            base = self.base if epochs is None else self.base.with_epochs(epochs)
            return base.replace(**changes)
        except RecipeError as error:
            raise RecipeError(f"{self.source}: {error}") from None

    @property
    def grid_size(self) -> int | None:
        """Number of points of the grid; None if a range has no steps."""
        counts = [parameter.count for parameter in self.parameters.values()]
        return None if None in counts else math.prod(count for count in counts if count is not None)

    def grid_point(self, number: int) -> dict[str, Value]:
        """Return the values at a point of the grid; numbers beyond the last one begin again."""
        found = {}
        for name, parameter in self.parameters.items():
            count = parameter.count or 1
            found[name] = parameter.value(number % count)
            number //= count
        return found

    def point(self, positions: Iterable[float]) -> dict[str, Value]:
        """Return the values at a position from 0 to below 1 for each parameter."""
        return {name: one.at(at) for (name, one), at in zip(self.parameters.items(), positions, strict=True)}

    def as_dict(self) -> dict[str, Any]:
        """Return what a study must agree on, fit for JSON."""
        return {
            "base": self.base.as_dict(),
            "parameters": {name: msgspec.to_builtins(one) for name, one in self.parameters.items()},
        }


def load_space(source: str | Path) -> Space:
    """Return the space in a TOML file.

    Each key is a field of a recipe. A plain value is taken for all trials; a table says what is searched: ``low`` and
    ``high`` with ``log = true`` or a ``step``, or ``choices``; for ``hidden`` also ``layers = [1, 3]`` with a table
    ``units``. The key ``base`` names the preset or recipe file that gives the other fields.

    Raises
    ------
    RecipeError
        If the file cannot be read, a key is unknown (the message names the nearest known one), or a value is out of
        range.
    """
    path = user_path(source)
    values = read_toml(path, "a space of recipes")
    base_name = values.pop("base", "original")
    if not isinstance(base_name, str):
        raise RecipeError(f"{path}: base must be the name of a preset or a recipe file")
    if base_name not in presets and (not base_name.endswith(".toml") or len(base_name) > _LONGEST_NAME):
        raise RecipeError(f"{path}: no such base {base_name[:40]!r}; give one of {', '.join(presets)} or a .toml file")
    # A recipe file is looked for beside the space.
    base = load_recipe(base_name if base_name in presets else path.parent / base_name)
    name = values.pop("name", path.stem)
    constants: dict[str, Any] = {"name": name}
    parameters: dict[str, Parameter] = {}
    known = [field for field in Recipe.__struct_fields__ if field != "name"]
    for key, value in values.items():
        if key not in known:
            raise RecipeError(f"{path}: {_unknown(key, [*known, 'base', 'name'])}")
        if isinstance(value, dict) and key in _FIXED:
            raise RecipeError(f"{path}: {key} must be the same for all trials; give one value")
        if not isinstance(value, dict):
            constants[key] = _checked(path, key, value)
        elif key == "hidden" and not value.keys().isdisjoint(("layers", "units")):
            parameters |= _layers(path, value)
        else:
            parameters[key] = _parameter(path, key, key, value)
    if not parameters:
        raise RecipeError(f"{path}: nothing is searched; give at least one key {_FORM}")
    if len(parameters) > _MOST_PARAMETERS:
        raise RecipeError(f"{path}: searches {len(parameters)} values; at most {_MOST_PARAMETERS} are possible")
    epochs = constants.pop("epochs", None)
    try:
        recipe = (base if epochs is None else base.with_epochs(epochs)).replace(**constants)
    except RecipeError as error:
        raise RecipeError(f"{path}: {error}") from None
    return Space(recipe.name, recipe, parameters, str(path))


def _parameter(path: Path, shown: str, field: str, value: dict[str, Any]) -> Parameter:
    """Return what a table says about a field."""
    kind: type[Parameter] = Choices if "choices" in value else Range
    allowed = kind.__struct_fields__
    for key in value:
        if key not in allowed:
            raise RecipeError(f"{path}: {shown}: {_unknown(key, ['low', 'high', 'log', 'step', 'choices'])}")
    try:
        found = msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise RecipeError(f"{path}: {shown}: {str(error).replace('`', '')}; give {_FORM}") from None
    if isinstance(found, Choices):
        ends: tuple[Any, ...] = found.choices
        if len(set(map(repr, found.labels))) < len(ends):
            raise RecipeError(f"{path}: {shown}: a choice is given twice")
    else:
        fault = found.fault()
        if fault is not None:
            raise RecipeError(f"{path}: {shown}: {fault}")
        ends = (found.low, found.high, *(() if found.step is None else (found.low + found.step,)))
    checked = [_checked(path, field, [end] if field == "hidden" and shown != field else end) for end in ends]
    if isinstance(found, Range) and isinstance(checked[0], float):
        # TOML has 0 for 0.0.
        return Range(
            low=float(found.low),
            high=float(found.high),
            log=found.log,
            step=None if found.step is None else float(found.step),
        )
    return found


def _layers(path: Path, value: dict[str, Any]) -> dict[str, Parameter]:
    """Return the parameters of ``hidden = {layers = [1, 3], units = {...}}``."""
    for key in value:
        if key not in ("layers", "units"):
            raise RecipeError(f"{path}: hidden: {_unknown(key, ['layers', 'units'])}")
    numbers: Any = value.get("layers")
    fewest, most = (*numbers, None, None)[:2] if isinstance(numbers, list) else (numbers, numbers)
    whole = isinstance(fewest, int) and isinstance(most, int) and not (isinstance(numbers, list) and len(numbers) > 2)
    if not whole or not 1 <= fewest <= most <= _MOST_LAYERS or not isinstance(value.get("units"), dict):
        raise RecipeError(
            f"{path}: hidden: give layers, such as [1, 3], from 1 to {_MOST_LAYERS}, and units as a table with low and "
            "high, or with choices"
        )
    units = _parameter(path, "hidden.units", "hidden", value["units"])
    each = {f"units_{k + 1}": units for k in range(most)}
    return {_LAYERS: Range(low=fewest, high=most), **each}


def _checked(path: Path, key: str, value: Any) -> Any:
    try:
        return check_field(key, value)
    except RecipeError as error:
        raise RecipeError(f"{path}: {error}") from None


def _unknown(key: str, known: list[str]) -> str:
    """Return the message that a key is unknown, with the nearest known one."""
    near = difflib.get_close_matches(key, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known keys: {', '.join(known)}"
    return f"unknown key {key[:40]!r}; {hint}"
