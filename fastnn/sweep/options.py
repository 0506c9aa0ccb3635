"""How a sweep searches; without Optuna, so that the command line knows the choices before it needs that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from fastnn.errors import RecipeError

Objective = Literal["accuracy", "time", "size"]
Sampler = Literal["tpe", "random", "qmc", "grid", "nsga2"]
Pruner = Literal["none", "median", "percentile", "halving", "hyperband"]

OBJECTIVES: tuple[str, ...] = get_args(Objective)
SAMPLERS: tuple[str, ...] = get_args(Sampler)
PRUNERS: tuple[str, ...] = get_args(Pruner)

BY_NUMBER = ("random", "qmc", "grid")
"""Samplers whose trials depend on their number alone, and not on the results of others."""


@dataclass(frozen=True, kw_only=True)
class SweepOptions:
    """How a sweep searches.

    Attributes
    ----------
    trials : int, optional
        Number of trials that the study shall have, with those of earlier and other sweeps; by default the size of the
        grid, or without a limit if `seconds` is given.
    seconds : float, optional
        After this time no trial is begun, and running ones are stopped.
    objectives : tuple of str
        One of "accuracy" (on the validation set; of a regression R2), "time" (seconds to `accuracy`) and "size"
        (number of weights and biases), or two of them.
    accuracy : float, optional
        The accuracy to which "time" is measured.
    validation : float
        Share of the training data that validates; data with a validation set of their own keep that.
    sampler : {"tpe", "random", "qmc", "grid", "nsga2"}
        With one objective, "tpe" sees the best 25 and the newest of more than 1,000 trials.
    pruner : {"none", "median", "percentile", "halving", "hyperband"}
        Which trials are stopped early; for one objective only, the accuracy.
    seed : int
        Seed of the sampler.
    lag : int, optional
        If given, trial n is chosen by the results of trials 0 to n - `lag` exactly, so that it does not depend on which
        trial ends first: the same study on any number of workers, of which at most `lag` work at a time.
    study_name : str
        Name of the study in its file or database.

    Raises
    ------
    RecipeError
        If a value is not one of these.
    """

    trials: int | None = None
    seconds: float | None = None
    objectives: tuple[str, ...] = ("accuracy",)
    accuracy: float | None = None
    validation: float = 0.2
    sampler: str = "tpe"
    pruner: str = "none"
    seed: int = 0
    lag: int | None = None
    study_name: str = "fastnn"

    def __post_init__(self) -> None:
        for what, value, known in (("sampler", self.sampler, SAMPLERS), ("pruner", self.pruner, PRUNERS)):
            if value not in known:
                raise RecipeError(f"unknown {what} {value[:40]!r}; give one of {', '.join(known)}")
        unknown = [one for one in self.objectives if one not in OBJECTIVES]
        if unknown or not 1 <= len(set(self.objectives)) == len(self.objectives) <= 2:
            raise RecipeError(f"give one or two different objectives of {', '.join(OBJECTIVES)}")
        if ("time" in self.objectives) != (self.accuracy is not None):
            raise RecipeError("the objective time and an accuracy to reach (--accuracy 0.97) go together")
        if self.accuracy is not None and not 0 < self.accuracy <= 1:
            raise RecipeError(f"the accuracy to reach must be above 0 and at most 1, not {self.accuracy:g}")
        if self.pruner != "none" and self.objectives != ("accuracy",):
            raise RecipeError(f"pruner {self.pruner} stops trials by their accuracy; it needs that as only objective")
        if not 0 < self.validation < 1:
            raise RecipeError(f"the validation fraction must be between 0 and 1, not {self.validation:g}")
        for name, number in (("trials", self.trials), ("lag", self.lag)):
            if number is not None and number < 1:
                raise RecipeError(f"{name} must be at least 1, not {number}")
        if self.lag is not None and self.pruner != "none":
            raise RecipeError("a lag makes trials independent of time, but a pruner depends on it; drop one of them")
        if self.seconds is not None and not self.seconds > 0:
            raise RecipeError("the time must be more than 0 seconds")
        if not 0 <= self.seed < 1 << 63:
            raise RecipeError(f"the seed must be from 0 to 2^63 - 1, not {self.seed}")


def shown_source(source: str) -> str:
    """Return a study's source without a database's password."""
    head, sign, rest = source.partition("://")
    return f"{head}://{rest.rpartition('@')[2]}" if sign and "@" in rest else source
