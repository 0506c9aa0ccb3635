"""Training loops: over the epochs of a data set, or over batches that arrive one after the other, each used once."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from fastnn.datasets.dataset import Dataset
from fastnn.errors import DataError, RecipeError
from fastnn.training import Trainer, as_model

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

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


def train(
    network: Network,
    dataset: Dataset | Iterable[Dataset],
    recipe: Recipe,
    *,
    test: Dataset | None = None,
    first_epoch: int = 1,
    on_chunk: OnChunk | None = None,
    sample_weight: NDArray[Any] | None = None,
) -> Iterator[EpochReport]:
    """Train one network in place, one sample at a time, and report each epoch.

    The data must be split already. :func:`fastnn.fit` and :class:`fastnn.Session` also split the data, train
    ensembles and write run folders.

    The same network, data and recipe give the same weights, bit for bit. Order and distortions of epoch k depend on
    the seed and k alone, so training can continue after any epoch. If the recipe averages weights or selects the best
    epoch, the network gets those weights after the last report.

    Parameters
    ----------
    network : Network
        Changed in place. Read its weights only between two epochs, when a report has been yielded. If the recipe
        standardises, the network takes standardised rows; :func:`fastnn.training.as_model` makes a model of it that
        takes rows as they are.
    dataset : Dataset or iterable of Dataset
        The training set. A part of it is held out if the recipe has a validation fraction. Or batches of a stream,
        each of which is trained on once, see :func:`fastnn.training_loops.train_batches`.
    recipe : Recipe
        For one network, without `per_class`. Its `test_fraction`, `hidden` and `init` have no effect: the test set
        and the network are arguments.
    test : Dataset, optional
        Measured after each epoch.
    first_epoch : int
        Number of the first epoch to train, if the network is already trained for the earlier ones. Not possible with
        weight averages or a validation set; :class:`Trainer` saves and loads their state.
    on_chunk : callable, optional
        Called with a :class:`ChunkReport` about every 20 ms. An exception that it raises ends training in the middle
        of an epoch.
    sample_weight : ndarray, shape (n,), optional
        Factor of the learning rate for each sample; multiplied with class weights.

    Yields
    ------
    EpochReport

    Warns
    -----
    UserWarning
        If images are normalised and some are blank.

    Raises
    ------
    DataError
        If the data do not fit the network or the weights.
    RecipeError
        If the recipe has an ensemble or `per_class`, or if `first_epoch` is not 1 and training needs the state of
        earlier epochs.
    TrainingError
        If the loss or a weight is not finite.

    Examples
    --------
    >>> import fastnn
    >>> train, test = fastnn.split(fastnn.load_dataset("drawn:200"))
    >>> recipe = fastnn.Recipe(hidden=(16,), epochs=2)
    >>> network = recipe.network(784, 10)
    >>> [report.epoch for report in fastnn.train(network, train, recipe, test=test)]
    [1, 2]
    """
    if not isinstance(dataset, Dataset):
        if test is not None or first_epoch != 1 or sample_weight is not None:
            raise RecipeError("batches are trained on without test, first_epoch and sample_weight; drop them")
        yield from train_batches(network, dataset, recipe, on_chunk)
        return
    if recipe.ensemble > 1 or recipe.per_class is not None:
        field = "ensemble" if recipe.ensemble > 1 else "per_class"
        raise RecipeError(
            f"train() trains one network on the data as given, but the recipe has {field} = {getattr(recipe, field)}; "
            "use fastnn.fit or fastnn.Session"
        )
    trainer = Trainer(network, dataset, recipe, test, sample_weight=sample_weight)
    if first_epoch > 1 and trainer.needs_state:
        raise RecipeError(
            "weight averages and a validation set need the state of the earlier epochs; load it into a Trainer instead"
        )
    for note in trainer.notes:
        warnings.warn(note, stacklevel=2)
    trainer.warm_up()
    for epoch in range(first_epoch, recipe.epochs + 1):
        if trainer.stopped:
            break
        yield trainer.epoch(epoch, on_chunk)
    network.parameters[...] = trainer.result().parameters
