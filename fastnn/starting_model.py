"""Training that starts from a trained model: its recipe, its networks with outputs for new classes, and its inputs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from fastnn.errors import DataError, ModelError, RecipeError
from fastnn.evaluation.matching import match_dataset
from fastnn.formats import load_model
from fastnn.model import Model, StartCard
from fastnn.recipe import Recipe, presets

if TYPE_CHECKING:
    from pathlib import Path

    from fastnn.datasets import Dataset
    from fastnn.datasets.split import Split

EPOCHS, LR = 30, 0.003
"""Schedule of a training that starts from a model, if no recipe is given. A network of MNIST that went on with 200 new
digits learned less of them at 0.001, and forgot twice as much at 0.01."""


@dataclass(frozen=True, eq=False)
class StartingModel:
    """A trained model that training starts from, with an output for each class of the new data.

    Attributes
    ----------
    model : Model
        With outputs for all classes; those of new ones give every sample the same.
    card : StartCard
        What the new model's card says of the model as it was.
    n_known : int
        Number of outputs that the model had.
    """

    model: Model
    card: StartCard
    n_known: int

    @classmethod
    def of(cls, start: Model | str | Path, dataset: Dataset, *, source: str = "") -> StartingModel:
        """Return a model, or the one in a file or run folder, with outputs for the classes of a data set.

        Parameters
        ----------
        start : Model, str or Path
        dataset : Dataset
        source : str
            What the new model's card calls the file of a model that is loaded already.

        Raises
        ------
        FastnnError
            If the model cannot be read, or the data set has another task or other kinds of samples.
        """
        model = start if isinstance(start, Model) else load_model(start)
        card = StartCard(sha256=model.sha256(), source=source if isinstance(start, Model) else str(start))
        return cls(_widened(model, dataset), card, len(model.names))

    @classmethod
    def of_run(cls, model: Model, card: StartCard) -> StartingModel:
        """Return the model of a run that started from another one, to resume it."""
        return cls(model, card, len(model.names))

    def recipe(self, given: Recipe | None) -> Recipe:
        """Return the recipe to train with: the given one, or that of the model with a short schedule.

        Raises
        ------
        RecipeError
            If the given recipe has other layers or inputs than the model.
        """
        own = _own_settings(self.model)
        if given is None:
            base = self.model.card.recipe or presets["table" if self.model.takes == "rows" else "original"]
            values = msgspec.structs.asdict(base) | own | _SCHEDULE
            return Recipe(**values)
        for name, value in own.items():
            if getattr(given, name) != value:
                raise RecipeError(
                    f"{self.card.source or 'the model to start from'}: has {name} = {_shown(value)}, but recipe "
                    f"{given.name} has {_shown(getattr(given, name))}; leave out --{name.replace('_', '-')} and "
                    "--recipe, then these settings are the model's"
                )
        return given

    def split_of(self, dataset: Dataset) -> Split | None:
        """Return the split that the model was trained with if it was trained on the same data, and else None.

        With another split it would be tested on samples that it was trained on.
        """
        about = self.model.card.data
        same = about is not None and about.hash == dataset.content_hash
        return about.split if about is not None and same else None

    def match(self, part: Dataset) -> Dataset:
        """Return samples with the columns and the names of the model; see :func:`match_dataset`."""
        return match_dataset(part, self.model)

    def notes(self, train: Dataset) -> tuple[str, ...]:
        """Return what the user should know about the classes of a matched training set."""
        if self.model.task != "classification":
            return ()
        new = self.model.names[self.n_known :]
        lacking = [name for name, count in zip(self.model.names, train.counts, strict=True) if not count]
        notes = [f"new classes get outputs of their own: {', '.join(new)}"] if new else []
        if lacking:
            notes.append(
                f"no {'image' if train.is_images else 'row'} of class {', '.join(lacking)} is trained on; "
                "the network keeps the output and may forget the class"
            )
        return tuple(notes)


_SCHEDULE: dict[str, Any] = {
    "name": "adapt",
    "epochs": EPOCHS,
    "lr": LR,
    "schedule": "cosine",
    "averaging": "none",
    "per_class": None,
    "validation_fraction": 0.0,
    "patience": None,
    "until": None,
    "class_weight": None,
}
"""Settings that a training does not take over from the model that it starts from."""


def _own_settings(model: Model) -> dict[str, Any]:
    """Return the settings of a recipe that the model decides."""
    network = model.network
    kinds = {(one.sizes, one.rule, one.activation, one.dtype) for one in model.networks}
    if len(kinds) > 1:
        raise ModelError("the networks of the model to start from differ in their layers; start from another model")
    return {
        "hidden": network.sizes[1:-1],
        "rule": network.rule,
        "activation": network.activation,
        "dtype": network.dtype.name,
        "invert": model.invert,
        "normalise": model.normalise,
        "standardise": model.scaling is not None,
        "ensemble": len(model.networks),
    }


def _shown(value: Any) -> str:
    return ",".join(map(str, value)) or "none" if isinstance(value, tuple) else str(value).lower()


def _widened(model: Model, dataset: Dataset) -> Model:
    """Return the model with outputs for the classes or labels that the data set has and the model does not."""
    if dataset.task != model.task:
        match_dataset(dataset, model)  # raises
    new = tuple(name for name in _occurring(dataset) if name not in model.names)
    if not new:
        return model
    if model.task == "regression":
        raise DataError(
            f"{dataset.source}: the model does not predict the target {new[0]!r}; choose those of the model "
            f"({', '.join(model.names[:20])}) with --target"
        )
    networks = tuple(one.grown(n_outputs=len(model.names) + len(new)) for one in model.networks)
    return replace(model, networks=networks, names=(*model.names, *new))


def _occurring(dataset: Dataset) -> list[str]:
    """Return the names of the classes that occur in any part of a data set; of another task all names."""
    if dataset.task != "classification":
        return list(dataset.names)
    parts = [part for part in (dataset, dataset.validation, dataset.test) if part is not None]
    found = dict.fromkeys(name for part in parts for name in np.asarray(part.names)[part.counts > 0].tolist())
    return [name for name in dict.fromkeys(name for part in parts for name in part.names) if name in found]
