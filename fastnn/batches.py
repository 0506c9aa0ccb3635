"""Training on a stream: batches that arrive one after the other, each trained on once."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from fastnn.datasets.dataset import Dataset
from fastnn.errors import DataError, RecipeError
from fastnn.training import Trainer, as_model

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fastnn.model import Model, ModelCard
    from fastnn.network import Network
    from fastnn.recipe import Recipe
    from fastnn.training import EpochReport, OnChunk

_NOT_OF_STREAMS = {
    "averaging": "none", "validation_fraction": 0.0, "patience": None, "until": None, "per_class": None, "ensemble": 1,
}  # fmt: skip
"""Settings that need the end of an epoch, or all of the data, and their values in a recipe for a stream."""


def stream_recipe(recipe: Recipe) -> tuple[Recipe, tuple[str, ...]]:
    """Return a recipe without the settings that a stream cannot have, and with a constant learning rate; and notes."""
    lost = [name for name, value in _NOT_OF_STREAMS.items() if getattr(recipe, name) != value]
    notes = (f"a stream has no epochs; without effect in recipe {recipe.name}: {', '.join(lost)}",) if lost else ()
    kept = {name: value for name, value in recipe.as_dict().items() if name not in _NOT_OF_STREAMS}
    return type(recipe).from_dict(kept | {"schedule": "constant"}), notes


class BatchTrainer:
    """Trains a network on batches, each once; `network`, `recipe` and errors are those of :func:`train_batches`.

    Parameters
    ----------
    network : Network
    recipe : Recipe
    like : Model, optional
        A model whose scalings are used, instead of those of the first batch.

    Attributes
    ----------
    network : Network
    samples : int
        Number of samples trained on.
    batches : int
        Number of batches trained on.
    """

    def __init__(self, network: Network, recipe: Recipe, like: Model | None = None) -> None:
        for name, value in _NOT_OF_STREAMS.items():
            if getattr(recipe, name) != value:
                raise RecipeError(f"recipe {recipe.name} has {name}, which training on batches cannot have; drop it")
        self.network, self._recipe = network, recipe
        self.samples = self.batches = 0
        self._first: Dataset | None = None
        self._like = like

    def train(self, batch: Dataset, on_chunk: OnChunk | None = None) -> EpochReport:
        """Train on the samples of a batch, in random order; return a report whose epoch is the number of the batch."""
        if not isinstance(batch, Dataset):
            raise DataError(f"a batch must be a Dataset, not {type(batch).__name__}")
        if self._first is None:
            self._first = batch.take([])
            if self._like is None and not batch.is_images:
                self._like = as_model(self.network.copy(), batch, self._recipe)
        elif (batch.names, batch.columns, batch.is_images) != (
            self._first.names,
            self._first.columns,
            self._first.is_images,
        ):
            raise DataError(f"{batch.source}: batch {self.batches + 1} has other names or columns than the first one")
        number = self.batches + 1
        rate = self._recipe.lr_at(min(number, self._recipe.epochs))
        # The order and the distortions depend on the number of the batch, as on that of an epoch.
        recipe = self._recipe.replace(schedule="constant", lr=rate, epochs=max(number, self._recipe.epochs))
        trainer = Trainer(self.network, batch, recipe, like=self._like)
        for note in trainer.notes:
            warnings.warn(note, stacklevel=2)
        report = trainer.epoch(number, on_chunk)
        self.samples, self.batches = self.samples + len(batch), number
        return report

    def model(self, card: ModelCard | None = None) -> Model:
        """Return the model as it is now; there must have been a batch."""
        if self._first is None:
            raise DataError("no batch was trained on yet")
        return as_model(self.network.copy(), self._first, self._recipe, card, like=self._like)


def train_batches(
    network: Network, batches: Iterable[Dataset], recipe: Recipe, on_chunk: OnChunk | None = None
) -> Iterator[EpochReport]:
    """Train one network in place on batches, as they come; :func:`fastnn.train` calls it.

    The samples of a batch are shuffled, and each is trained on once. Batch k has the learning rate of epoch k. Rows are
    standardised as those of the first batch are.

    Parameters
    ----------
    network : Network
    batches : iterable of Dataset
        With the same names and columns.
    recipe : Recipe
        Without averages, validation set, patience, `until`, `per_class` and ensemble.
    on_chunk : callable, optional
        See :func:`fastnn.train`.

    Yields
    ------
    EpochReport
        One for each batch; its accuracy is measured on each sample before it is trained on.

    Raises
    ------
    DataError
        If a batch is not a Dataset or does not fit the first one or the network.
    RecipeError
        If the recipe has a setting that a stream cannot have.
    TrainingError
        If the loss or a weight is not finite.
    """
    trainer = BatchTrainer(network, recipe)
    for batch in batches:
        yield trainer.train(batch, on_chunk)
